//! Reading and hashing pieces on all cores. Groups of pieces are taken in order and read a stripe of each piece at a time,
//! so that the pieces of a group are hashed side by side and none is in memory as a whole. The device is asked for the
//! next group in the order of the files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use ferri_metainfo::create::{Hasher, PieceHash, Plan, Span};
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::process::{Resource, getrlimit};

use super::walk::Paths;
use crate::exit::{Exit, Failure};
use crate::work::Progress;

/// The bytes of the .torrent file.
pub(crate) fn hash(plan: Plan, paths: &Paths, progress: &Progress) -> Result<Vec<u8>, Failure> {
    let plan = Arc::new(plan);
    let files: Vec<PathBuf> = plan
        .files()
        .iter()
        .map(|planned| paths.get(&planned.file.path).or_else(|| paths.get(&Vec::new())).cloned())
        .map(Option::unwrap_or_default)
        .collect();
    let mut hasher = Hasher::new(plan.clone());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let descriptors = spare_descriptors();
    let workers = cores.min(WORKERS_MAX).min(descriptors);
    let open_max = (descriptors / workers).min(OPEN_FILES_MAX);
    let job = Job { plan: &plan, files: &files, progress, open_max, queue: Mutex::default() };
    let (sender, results) = sync_channel(workers * 2);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (job, sender) = (&job, sender.clone());
            scope.spawn(move || job.work(&sender));
        }
        drop(sender);
        for result in results {
            for (piece, hash) in result? {
                hasher.set(piece, hash).map_err(internal)?;
            }
        }
        Ok::<(), Failure>(())
    })?;
    if progress.is_cancelled() {
        return Err(Failure::new(Exit::Interrupted, "stopped"));
    }
    hasher.finish().map_err(internal)
}

/// More threads than this wait for the disk, not for each other.
const WORKERS_MAX: usize = 16;

/// Files a thread keeps open at most: the stripes of a group may lie in so many.
const OPEN_FILES_MAX: usize = 32;

/// Files that this process may still open, at least one.
fn spare_descriptors() -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return usize::MAX };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Where this cannot be looked up, a program that has just begun has few.
    let in_use = fs::read_dir("/proc/self/fd").map_or(IN_USE_USUALLY, Iterator::count);
    limit.saturating_sub(in_use + KEPT_FREE).max(1)
}

const IN_USE_USUALLY: usize = 16;

/// Descriptors for everything else: the output, a terminal's size.
const KEPT_FREE: usize = 4;

/// The kernel is asked to read this much at a time; of longer requests it reads only the beginning.
const READ_AHEAD: u64 = 128 << 10;

/// Whether the page cache has this much is told by its first byte.
const CACHED_TOGETHER: u64 = 1 << 20;

struct Job<'a> {
    plan: &'a Plan,
    files: &'a [PathBuf],
    progress: &'a Progress,
    /// Files a thread may keep open.
    open_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The first piece that no thread has taken.
    next: u32,
    /// The first piece that the device was not asked for.
    ahead: u32,
}

type Hashed = Result<Vec<(u32, PieceHash)>, Failure>;

impl Job<'_> {
    fn work(&self, results: &SyncSender<Hashed>) {
        let mut reader = Reader { files: self.files, open_max: self.open_max, open: BTreeMap::new() };
        let mut buffer = Vec::new();
        while !self.progress.is_cancelled() {
            let pieces = self.take(&mut reader);
            if pieces.is_empty() {
                return;
            }
            let result = self.hash(pieces, &mut reader, &mut buffer);
            let is_last = result.is_err();
            if results.send(result).is_err() || is_last {
                // The other threads should not go on either.
                self.lock().next = self.plan.piece_count();
                return;
            }
        }
    }

    fn take(&self, reader: &mut Reader<'_>) -> Range<u32> {
        let count = self.plan.piece_count();
        let group = u32::try_from(self.plan.stripes().pieces).unwrap_or(u32::MAX);
        // The device is asked under the lock, so that it is asked in order.
        let mut queue = self.lock();
        let begin = queue.next.min(count);
        let end = begin.saturating_add(group).min(count);
        let ahead = end.saturating_add(group).min(count);
        for span in self.spans(queue.ahead.max(begin)..ahead) {
            reader.read_ahead(&span);
        }
        *queue = Queue { next: end, ahead };
        begin..end
    }

    fn hash(&self, pieces: Range<u32>, reader: &mut Reader<'_>, buffer: &mut Vec<u8>) -> Hashed {
        let shape = self.plan.stripes();
        let stripe = shape.length as u64;
        let pieces: Vec<u32> = pieces.collect();
        let lengths: Vec<u64> = pieces.iter().map(|&piece| self.plan.piece_bytes(piece).into()).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut hasher = self.plan.hash_stripes(&pieces).map_err(internal)?;
        for begin in (0..longest).step_by(shape.length) {
            if self.progress.is_cancelled() {
                return Err(Failure::new(Exit::Interrupted, "stopped"));
            }
            let within = |length: &u64| length.saturating_sub(begin).min(stripe) as usize;
            let total: usize = lengths.iter().map(within).sum();
            let needed = total + pieces.len() * shape.gap;
            if buffer.len() < needed {
                buffer.resize(needed, 0);
            }
            let parts = pieces.iter().map(|&piece| part(self.plan.spans(piece), begin, stripe));
            if shape.gap == 0 {
                // Whole pieces: neighbours are read together.
                reader.read_all(&joined(parts.flatten()), buffer)?;
            } else {
                let mut rest = buffer.as_mut_slice();
                for (spans, length) in parts.zip(&lengths) {
                    let (now, later) = rest.split_at_mut(within(length) + shape.gap);
                    reader.read_all(&joined(spans), now)?;
                    rest = later;
                }
            }
            let mut rest = buffer.as_slice();
            let part = |length| {
                let (now, later) = rest.split_at(within(length) + shape.gap);
                rest = later;
                &now[..within(length)]
            };
            let parts: Vec<&[u8]> = lengths.iter().map(part).collect();
            hasher.update(&parts).map_err(internal)?;
            self.progress.add(total as u64);
        }
        Ok(pieces.into_iter().zip(hasher.finish().map_err(internal)?).collect())
    }

    fn spans(&self, pieces: Range<u32>) -> Vec<Span> {
        joined(pieces.flat_map(|piece| self.plan.spans(piece)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `length` bytes of a piece from `begin` on.
fn part(spans: impl Iterator<Item = Span>, begin: u64, length: u64) -> impl Iterator<Item = Span> {
    let mut start = 0;
    spans.filter_map(move |span| {
        let from = begin.max(start);
        let to = (begin + length).min(start + span.length);
        let offset = span.offset + from.saturating_sub(start);
        start += span.length;
        (from < to).then(|| Span { offset, length: to - from, ..span })
    })
}

/// Neighbours in a file become one span.
fn joined(spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if last.file == span.file && last.offset + last.length == span.offset => {
                last.length += span.length;
            }
            _ => joined.push(span),
        }
    }
    joined
}

/// One thread's open files.
struct Reader<'a> {
    files: &'a [PathBuf],
    open_max: usize,
    open: BTreeMap<usize, File>,
}

impl Reader<'_> {
    /// One span after the other.
    fn read_all(&mut self, spans: &[Span], into: &mut [u8]) -> Result<(), Failure> {
        let mut rest = into;
        for span in spans {
            let (now, later) = rest.split_at_mut(span.length as usize);
            self.read(span.file, span.offset, now)?;
            rest = later;
        }
        Ok(())
    }

    fn read(&mut self, file: usize, offset: u64, into: &mut [u8]) -> Result<(), Failure> {
        let read = self.file(file).and_then(|open| open.read_exact_at(into, offset));
        read.map_err(|error| {
            let path = &self.files[file];
            match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    Failure::new(Exit::Io, format!("{} became shorter while it was read", path.display()))
                        .hint("run the command again when no program writes there")
                }
                _ => Failure::file("read", path, &error),
            }
        })
    }

    /// Only a hint: errors come when it is read.
    fn read_ahead(&mut self, span: &Span) {
        let Ok(open) = self.file(span.file) else { return };
        for start in (0..span.length).step_by(CACHED_TOGETHER as usize) {
            let offset = span.offset + start;
            if preadv2(open, &mut [IoSliceMut::new(&mut [0])], offset, ReadWriteFlags::NOWAIT).is_ok() {
                continue;
            }
            let end = span.length.min(start + CACHED_TOGETHER);
            for start in (start..end).step_by(READ_AHEAD as usize) {
                let length = NonZeroU64::new(READ_AHEAD.min(end - start));
                let _ = fadvise(open, span.offset + start, length, Advice::WillNeed);
            }
        }
    }

    fn file(&mut self, file: usize) -> io::Result<&File> {
        if self.open_max <= self.open.len() && !self.open.contains_key(&file) {
            self.open.clear();
        }
        match self.open.entry(file) {
            std::collections::btree_map::Entry::Occupied(open) => Ok(open.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                Ok(place.insert(File::open(&self.files[file])?))
            }
        }
    }
}

fn internal(error: ferri_metainfo::create::CreateError) -> Failure {
    Failure::new(Exit::Internal, format!("the torrent cannot be made: {error}"))
}
