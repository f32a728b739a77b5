//! Reading and hashing pieces on all cores. Pieces are taken in order; which thread takes which does not matter.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use ferri_metainfo::create::{Hasher, PieceHash, Plan};

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
    let job = Job { plan: &plan, files: &files, progress, next: AtomicU32::new(0) };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
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

/// What a thread reads before it hashes: enough for several streams at once, little enough for the cache.
const BATCH_BYTES: u32 = 4 << 20;

struct Job<'a> {
    plan: &'a Plan,
    files: &'a [PathBuf],
    progress: &'a Progress,
    /// The first piece that nobody has taken.
    next: AtomicU32,
}

type Hashed = Result<Vec<(u32, PieceHash)>, Failure>;

impl Job<'_> {
    fn work(&self, results: &SyncSender<Hashed>) {
        let batch = (BATCH_BYTES / self.plan.piece_length()).max(1);
        let mut reader = Reader { files: self.files, open: None };
        while !self.progress.is_cancelled() {
            let first = self.next.fetch_add(batch, Ordering::Relaxed);
            let pieces = first..first.saturating_add(batch).min(self.plan.piece_count());
            if pieces.is_empty() {
                return;
            }
            let result = self.hash(pieces, &mut reader);
            let is_last = result.is_err();
            if results.send(result).is_err() || is_last {
                // Nobody else should go on either.
                self.next.store(self.plan.piece_count(), Ordering::Relaxed);
                return;
            }
        }
    }

    fn hash(&self, pieces: std::ops::Range<u32>, reader: &mut Reader<'_>) -> Hashed {
        let mut buffers = Vec::new();
        for piece in pieces {
            let mut bytes = vec![0; self.plan.piece_bytes(piece) as usize];
            let mut rest = bytes.as_mut_slice();
            for span in self.plan.spans(piece) {
                let (part, after) = rest.split_at_mut(span.length as usize);
                reader.read(span.file, span.offset, part)?;
                rest = after;
            }
            buffers.push((piece, bytes));
        }
        let slices: Vec<(u32, &[u8])> =
            buffers.iter().map(|(piece, bytes)| (*piece, bytes.as_slice())).collect();
        let hashes = self.plan.hash_pieces(&slices).map_err(internal)?;
        let bytes = slices.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.progress.add(bytes);
        Ok(slices.iter().map(|(piece, _)| *piece).zip(hashes).collect())
    }
}

/// One thread's open file.
struct Reader<'a> {
    files: &'a [PathBuf],
    open: Option<(usize, File)>,
}

impl Reader<'_> {
    fn read(&mut self, file: usize, offset: u64, into: &mut [u8]) -> Result<(), Failure> {
        let path = &self.files[file];
        let failed = |error: &io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Failure::new(Exit::Io, format!("{} became shorter while it was read", path.display()))
                    .hint("run the command again when nobody writes there")
            }
            _ => Failure::file("read", path, error),
        };
        if self.open.as_ref().is_none_or(|(index, _)| *index != file) {
            self.open = Some((file, File::open(path).map_err(|error| failed(&error))?));
        }
        match &self.open {
            Some((_, open)) => open.read_exact_at(into, offset).map_err(|error| failed(&error)),
            None => Ok(()),
        }
    }
}

fn internal(error: ferri_metainfo::create::CreateError) -> Failure {
    Failure::new(Exit::Internal, format!("the torrent cannot be made: {error}"))
}
