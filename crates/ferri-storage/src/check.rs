//! Checking many pieces: hashed several at a time, by several threads, read in the order of the files.
//!
//! **Stripes.** A thread takes a group of pieces and goes through all of them at once, a stripe of each in every round,
//! so that many are hashed side by side, whatever their length, and none is in memory as a whole; see [`Stripes`].
//!
//! **The device.** Threads take groups in order, and what is not in the page cache is asked for in that order, one
//! group ahead: the device reads from front to back, and the stripes find their bytes in the cache. So the memory of
//! this process is one round a thread, and that of the page cache a group a thread.

mod group;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ferri_hash::Stripes;
use ferri_metainfo::{Bitfield, Info, PieceIndex};
use group::{Group, read_ahead};

use crate::error::StorageError;
use crate::storage::Storage;

/// Rounds until a thread looks for more urgent work.
const ROUNDS_AT_ONCE: usize = 4;

/// More threads than this would wait for memory.
const THREADS_MAX: usize = 16;

/// What was found is made durable this often. A process that is killed looks at so much again.
const SYNC_INTERVAL: Duration = Duration::from_secs(3);

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Pieces looked at.
    pub checked: u32,
    /// Pieces to look at.
    pub total: u32,
    /// Pieces that were found whole.
    pub matched: u32,
    /// Bytes looked at, also of pieces whose end was not reached.
    pub bytes: u64,
}

/// Checks pieces against their hashes on `threads` threads (1 to 16) and returns those that match.
///
/// `progress` is called often, from any of the threads. Missing and short files make pieces not match. What was found, and
/// what was not, is remembered by the storage, so that the next start need not look again.
///
/// # Errors
/// The first disk error (not a missing or short file), or a link in the way. [`StorageError::Halted`] soon after the storage's
/// [`Halt`](crate::Halt) was raised; what was found until then is remembered.
pub fn run(
    storage: &Storage,
    pieces: &[PieceIndex],
    threads: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Bitfield, StorageError> {
    let work = Work::new(storage.info(), pieces.len());
    let (failure, halt) = (Mutex::new(None), &storage.options().halt);
    let worker = || {
        let mut scratch = Vec::new();
        loop {
            match halt.check().and_then(|()| work.step(storage, pieces, &mut scratch, halt.flag())) {
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
    let threads = threads.clamp(1, THREADS_MAX).min(work.group_count().max(1));
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
    stripes: Stripes,
    queue: Mutex<Queue>,
    /// The next piece of the list that the device was not asked for.
    asked: Mutex<usize>,
    checked: AtomicU32,
    matched: AtomicU32,
    bytes: AtomicU64,
    found: Mutex<Bitfield>,
    sync_interval: Duration,
    synced: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The next piece of the list that no thread has taken.
    next: usize,
    /// Groups that were begun and that no thread has at the moment.
    waiting: Vec<Group>,
}

impl Work {
    pub(crate) fn new(info: &Info, total: usize) -> Self {
        let piece_length = info.layout().piece_length() as usize;
        let has_v1 = info.version().has_v1();
        Self {
            total,
            stripes: if has_v1 { Stripes::for_sha1(piece_length) } else { Stripes::for_merkle(piece_length) },
            queue: Mutex::default(),
            asked: Mutex::default(),
            checked: AtomicU32::new(0),
            matched: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            found: Mutex::new(Bitfield::new(info.layout().piece_count())),
            sync_interval: SYNC_INTERVAL,
            synced: Mutex::new(Instant::now()),
        }
    }

    fn group_count(&self) -> usize {
        self.total.div_ceil(self.stripes.pieces)
    }

    /// No thread takes another group.
    pub(crate) fn stop(&self) {
        let mut queue = lock(&self.queue);
        queue.next = self.total;
        queue.waiting.clear();
    }

    pub(crate) fn into_found(self) -> Bitfield {
        self.found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn found(&self) -> Bitfield {
        lock(&self.found).clone()
    }

    /// Goes on with a group for some rounds; `None` when nothing is left to be taken. A group that is cancelled is lost: nothing
    /// is said of its pieces.
    pub(crate) fn step(
        &self,
        storage: &Storage,
        pieces: &[PieceIndex],
        scratch: &mut Vec<u8>,
        cancel: &AtomicBool,
    ) -> Result<Option<Progress>, StorageError> {
        let Some(mut group) = self.take(storage, pieces) else { return Ok(None) };
        let mut bytes = 0;
        for _ in 0..ROUNDS_AT_ONCE {
            bytes += group.round(storage, self.stripes, scratch, cancel)?;
            if group.is_done() {
                return Ok(Some(self.end(storage, group, bytes)));
            }
        }
        lock(&self.queue).waiting.push(group);
        Ok(Some(self.add(0, 0, bytes)))
    }

    /// As [`Self::step`] where the pieces lie in no file: one piece, whole.
    pub(crate) fn step_of(
        &self,
        pieces: &[PieceIndex],
        is_right: &mut dyn FnMut(PieceIndex) -> Result<bool, StorageError>,
    ) -> Result<Option<Progress>, StorageError> {
        let at = {
            let mut queue = lock(&self.queue);
            let at = queue.next;
            queue.next = self.total.min(at + 1);
            at
        };
        let Some(piece) = pieces.get(at) else { return Ok(None) };
        let matched = is_right(*piece)?;
        if matched {
            lock(&self.found).set(piece.get());
        }
        Ok(Some(self.add(1, u32::from(matched), 0)))
    }

    /// A group that waits, or else the next pieces of the list.
    fn take(&self, storage: &Storage, pieces: &[PieceIndex]) -> Option<Group> {
        let (start, end) = {
            let mut queue = lock(&self.queue);
            if let Some(group) = queue.waiting.pop() {
                return Some(group);
            }
            let start = queue.next;
            queue.next = self.total.min(start + self.stripes.pieces);
            (start, queue.next)
        };
        let members = pieces.get(start..end).filter(|members| !members.is_empty())?;
        // Under a lock of its own: the device is asked in order, and who has a group goes on with it meanwhile.
        let mut asked = lock(&self.asked);
        let coming = self.total.min(end + self.stripes.pieces);
        if let Some(unasked) = pieces.get((*asked).max(start)..coming) {
            read_ahead(storage, unasked);
            *asked = coming;
        }
        Some(Group::new(storage, members))
    }

    fn end(&self, storage: &Storage, group: Group, bytes: u64) -> Progress {
        let results = group.finish();
        storage.record_checks(&results);
        let mut matched = 0;
        {
            let mut found = lock(&self.found);
            for (piece, _) in results.iter().filter(|(_, matched)| *matched) {
                found.set(piece.get());
                matched += 1;
            }
        }
        self.sync_sometimes(storage);
        self.add(results.len() as u32, matched, bytes)
    }

    /// Makes what was found durable when it is time for it. A torrent that has no journal remembers nothing.
    fn sync_sometimes(&self, storage: &Storage) {
        let Ok(mut synced) = self.synced.try_lock() else { return };
        if storage.place().state_dir.is_some() && self.sync_interval <= synced.elapsed() {
            // What this cannot sync is looked at again; the syncs of other torrents tell what is wrong.
            let _ = storage.sync();
            *synced = Instant::now();
        }
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
