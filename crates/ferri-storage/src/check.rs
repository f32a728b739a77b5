//! Checking many pieces at once: large sequential reads, hashing on several threads, bounded memory.
//!
//! Pieces are taken in batches of at most 4 MiB; neighbours in a file are read with one call and hashed together. A
//! piece larger than a batch is streamed. Memory is one batch a thread and never above 28 MiB.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ferri_metainfo::{Bitfield, PieceIndex};

use crate::error::StorageError;
use crate::storage::{Home, Storage, Target};

/// Bytes read and hashed at once by a thread.
const BATCH_LENGTH: usize = 4 << 20;

/// More threads than this would take more than 32 MiB.
const THREADS_MAX: usize = 7;

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Pieces looked at.
    pub checked: u32,
    /// Pieces to look at.
    pub total: u32,
    /// Pieces that were found whole.
    pub matched: u32,
    /// Bytes of the pieces looked at.
    pub bytes: u64,
}

/// Checks pieces against their hashes on `threads` threads (1 to 7) and returns those that match.
///
/// `progress` is called after every batch, from any of the threads. Missing and short files make pieces not match.
/// When `cancel` becomes true, it stops soon and returns what was found until then. What was found is remembered by
/// the storage, so that the next start need not look again.
///
/// # Errors
/// The first disk error (not a missing or short file), or a link in the way.
pub fn run(
    storage: &Storage,
    pieces: &[PieceIndex],
    threads: usize,
    cancel: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Bitfield, StorageError> {
    let work = Work::new(storage, pieces.len());
    let failure = Mutex::new(None);
    let worker = || {
        let mut scratch = Vec::new();
        while !cancel.load(Ordering::Relaxed) {
            match work.step(storage, pieces, &mut scratch) {
                Ok(Some(now)) => progress(now),
                Ok(None) => return,
                Err(error) => {
                    work.stop();
                    lock(&failure).get_or_insert(error);
                    return;
                }
            }
        }
    };
    let threads = threads.clamp(1, THREADS_MAX).min(work.batch_count().max(1));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(worker);
        }
        worker();
    });
    match lock(&failure).take() {
        Some(error) => Err(error),
        None => Ok(work.into_found()),
    }
}

/// A check in progress, shared by the threads that work on it.
#[derive(Debug)]
pub(crate) struct Work {
    /// Pieces in the list.
    total: usize,
    /// Pieces in a batch.
    per_batch: usize,
    /// The next piece of the list that nobody has taken.
    next: AtomicUsize,
    checked: AtomicU32,
    matched: AtomicU32,
    bytes: AtomicU64,
    found: Mutex<Bitfield>,
}

impl Work {
    pub(crate) fn new(storage: &Storage, total: usize) -> Self {
        Self {
            total,
            per_batch: (BATCH_LENGTH / storage.layout().piece_length() as usize).max(1),
            next: AtomicUsize::new(0),
            checked: AtomicU32::new(0),
            matched: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            found: Mutex::new(Bitfield::new(storage.layout().piece_count())),
        }
    }

    fn batch_count(&self) -> usize {
        self.total.div_ceil(self.per_batch)
    }

    /// Nobody takes another batch.
    pub(crate) fn stop(&self) {
        self.next.store(self.total, Ordering::Relaxed);
    }

    pub(crate) fn into_found(self) -> Bitfield {
        self.found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn found(&self) -> Bitfield {
        lock(&self.found).clone()
    }

    /// Checks the next batch; `None` when there is none.
    pub(crate) fn step(
        &self,
        storage: &Storage,
        pieces: &[PieceIndex],
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Progress>, StorageError> {
        let start = self.next.fetch_add(self.per_batch, Ordering::Relaxed);
        if self.total <= start {
            // Counting on for ever could overflow one day.
            self.stop();
            return Ok(None);
        }
        if let Some(&next) = pieces.get(start + self.per_batch) {
            // The disk reads on while this batch is hashed.
            storage.read_ahead(next, 0, BATCH_LENGTH as u32);
        }
        let batch = &pieces[start..self.total.min(start + self.per_batch)];
        let lengths: Vec<usize> =
            batch.iter().map(|&piece| storage.layout().piece_len(piece) as usize).collect();
        let length = lengths.iter().sum::<usize>();
        let results = if BATCH_LENGTH < length {
            let check = |&piece| Ok((piece, storage.matches_on_disk(piece, scratch)?));
            batch.iter().map(check).collect::<Result<Vec<_>, StorageError>>()?
        } else {
            if scratch.len() < length {
                scratch.resize(length, 0);
            }
            check_batch(storage, batch, &lengths, &mut scratch[..length])?
        };
        storage.record_checks(&results);
        let matched: Vec<_> =
            results.iter().filter(|(_, matched)| *matched).map(|(piece, _)| *piece).collect();
        {
            let mut found = lock(&self.found);
            matched.iter().for_each(|piece| {
                found.set(piece.get());
            });
        }
        Ok(Some(self.add(batch.len() as u32, matched.len() as u32, length as u64)))
    }

    fn add(&self, checked: u32, matched: u32, bytes: u64) -> Progress {
        Progress {
            checked: self.checked.fetch_add(checked, Ordering::Relaxed) + checked,
            total: u32::try_from(self.total).unwrap_or(u32::MAX),
            matched: self.matched.fetch_add(matched, Ordering::Relaxed) + matched,
            bytes: self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
        }
    }
}

/// Reads pieces one after the other into `buffer` and hashes them together.
fn check_batch(
    storage: &Storage,
    batch: &[PieceIndex],
    lengths: &[usize],
    buffer: &mut [u8],
) -> Result<Vec<(PieceIndex, bool)>, StorageError> {
    let present = read_batch(storage, batch, lengths, buffer)?;
    let mut rest = &*buffer;
    let mut inputs = Vec::with_capacity(batch.len());
    let mut results: Vec<_> = batch.iter().map(|&piece| (piece, false)).collect();
    for (at, &length) in lengths.iter().enumerate() {
        let (bytes, after) = rest.split_at(length);
        rest = after;
        if present[at] {
            inputs.push((at, bytes));
        }
    }
    if storage.info().version().has_v1() {
        let bytes: Vec<&[u8]> = inputs.iter().map(|(_, bytes)| *bytes).collect();
        let mut digests = vec![[0; 20]; bytes.len()];
        ferri_hash::sha1_many(&bytes, &mut digests);
        for ((at, _), digest) in inputs.iter().zip(digests) {
            results[*at].1 = storage.info().piece_hash_v1(batch[*at]) == Some(digest);
        }
    } else {
        for (at, bytes) in inputs {
            results[at].1 = storage.hash_matches(batch[at], bytes);
        }
    }
    Ok(results)
}

/// Fills `buffer`; which pieces are really there.
fn read_batch(
    storage: &Storage,
    batch: &[PieceIndex],
    lengths: &[usize],
    buffer: &mut [u8],
) -> Result<Vec<bool>, StorageError> {
    let homes = storage.homes();
    let mut present = vec![true; batch.len()];
    // The run that is being collected, where it goes, and the pieces it is for.
    let mut run: Option<(Target, usize, Vec<usize>)> = None;
    let mut position = 0;
    let mut read = |run: Option<(Target, usize, Vec<usize>)>, present: &mut [bool]| {
        let Some((target, start, members)) = run else { return Ok(()) };
        if storage.read_for_check(target, &mut buffer[start..start + target.length])? {
            return Ok(());
        }
        if members.len() == 1 {
            present[members[0]] = false;
            return Ok(());
        }
        // The file ends within the run: which pieces are still whole?
        let mut offset = target.offset;
        let mut at = start;
        for &member in &members {
            let end = lengths[..=member].iter().sum::<usize>().min(start + target.length);
            let part = Target { offset, length: end - at, ..target };
            present[member] &= storage.read_for_check(part, &mut buffer[at..end])?;
            offset += part.length as u64;
            at = end;
        }
        Ok::<_, StorageError>(())
    };
    for (at, &piece) in batch.iter().enumerate() {
        for target in storage.targets(&homes, piece, 0, u32::MAX) {
            match &mut run {
                Some((last, _, members)) if continues(last, &target) => {
                    last.length += target.length;
                    if members.last() != Some(&at) {
                        members.push(at);
                    }
                }
                _ => read(run.replace((target, position, vec![at])), &mut present)?,
            }
            position += target.length;
        }
    }
    read(run, &mut present)?;
    Ok(present)
}

fn continues(last: &Target, next: &Target) -> bool {
    last.home == next.home && (last.home == Home::Pad || last.offset + last.length as u64 == next.offset)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
