//! Disk threads: jobs in, answers out.
//!
//! One bounded queue in lanes: writes (with syncs and other work), then hashes, then reads, then checks. Pieces that wait
//! for their hash are hashed side by side, which is faster than one after the other. A torrent is written to by one
//! thread at a time: two would only wait for one another in the kernel. A check is done a batch at a time and goes back
//! to the end of its lane in between, so that it holds up nothing and still uses every idle thread. A job's answer is a closure that the disk thread calls; it must not block (send on a channel that has
//! room).

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Block, PieceIndex};

use crate::buffers::{BlockBytes, BlockPool};
use crate::check::{Progress, Work};
use crate::error::StorageError;
use crate::piece_hash::{After, PieceHash, Portion, Whole};
use crate::storage::Storage;

/// Jobs that may wait. What they hold in memory is limited by whoever submits them; this only stops a mistake.
const JOBS_MAX: usize = 4096;

/// Pieces hashed side by side: as many as the widest kernel takes.
const HASHES_AT_ONCE: usize = 16;

/// Read at once, in bytes, when a block has to come from the device: peers ask for the rest of a piece in order, and a
/// line of this length costs a disk little more than a block.
const READ_AHEAD: u32 = 128 << 10;

/// Called once with the outcome, on a disk thread; must not block.
pub type Reply = Box<dyn FnOnce(Done) + Send>;

/// Something to do on a disk thread.
pub enum Job {
    /// Hash a piece and, if it is right, write it.
    WritePiece {
        /// The torrent.
        storage: Arc<Storage>,
        /// The piece.
        piece: PieceIndex,
        /// All of its bytes, as consecutive slices.
        blocks: Vec<Bytes>,
        /// Its hash, as far as blocks were given to [`Pool::hash_ahead`] before.
        hash: Arc<PieceHash>,
        /// Gets [`Done::Piece`].
        reply: Reply,
    },
    /// Verify a piece whose blocks were spilled, and move it to its files.
    CommitSpilled {
        /// The torrent.
        storage: Arc<Storage>,
        /// The piece.
        piece: PieceIndex,
        /// Gets [`Done::Piece`].
        reply: Reply,
    },
    /// Read blocks.
    ReadBlocks {
        /// The torrent.
        storage: Arc<Storage>,
        /// Which.
        blocks: Vec<Block>,
        /// Where the memory comes from.
        buffers: BlockPool,
        /// Gets [`Done::Blocks`].
        reply: Reply,
    },
    /// Check pieces against their hashes.
    CheckPieces {
        /// The torrent.
        storage: Arc<Storage>,
        /// Which; ascending is fastest.
        pieces: Vec<PieceIndex>,
        /// Set it to end the check soon.
        cancel: Arc<AtomicBool>,
        /// Called after every batch, on a disk thread.
        progress: Box<dyn Fn(Progress) + Send + Sync>,
        /// Gets [`Done::Checked`].
        reply: Reply,
    },
    /// [`Storage::sync`].
    Sync {
        /// The torrent.
        storage: Arc<Storage>,
        /// Gets [`Done::Synced`].
        reply: Reply,
    },
    /// Anything else that blocks; it sends its own answer.
    Run(Box<dyn FnOnce() + Send>),
}

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    /// Of [`Job::WritePiece`] and [`Job::CommitSpilled`].
    Piece {
        /// The piece.
        piece: PieceIndex,
        /// Whether its hash matched; if so, it is written.
        result: Result<bool, StorageError>,
    },
    /// Of [`Job::ReadBlocks`], in the order asked for.
    Blocks(Vec<(Block, Result<BlockBytes, StorageError>)>),
    /// Of [`Job::CheckPieces`]: those that matched, of all pieces of the torrent. When cancelled, those found so far.
    Checked(Result<Bitfield, StorageError>),
    /// Of [`Job::Sync`].
    Synced(Result<(), StorageError>),
}

/// Why a job was not taken.
#[derive(Debug)]
pub enum Rejected {
    /// The queue is full; wait for answers.
    Full(Job),
    /// The pool is shutting down.
    Closed(Job),
}

/// Disk threads. Clones are handles to the same threads.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Pieces whose hash matched.
    verified: VecDeque<Whole>,
    /// Torrents of which a thread is writing a piece.
    writing: Vec<u64>,
    /// What else writes.
    writes: VecDeque<Job>,
    hashes: VecDeque<Arc<PieceHash>>,
    reads: VecDeque<Job>,
    /// The same check stands here once for every thread it may use.
    checks: VecDeque<Arc<Check>>,
    closing: bool,
}

impl Pool {
    /// Starts `threads` threads (at least one).
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let pool = Self { shared, threads: Arc::default() };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let thread =
                std::thread::Builder::new().name(format!("disk-{number}")).spawn(move || work(&shared));
            match thread {
                Ok(thread) => lock(&pool.threads).push(thread),
                Err(error) => {
                    pool.shutdown();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    /// Puts a job into the queue. Never blocks.
    ///
    /// # Errors
    /// Gives the job back when there is no room, or no longer a pool.
    pub fn submit(&self, job: Job) -> Result<(), Rejected> {
        let mut queue = lock(&self.shared.queue);
        if queue.closing {
            return Err(Rejected::Closed(job));
        }
        if JOBS_MAX <= queue.len() {
            return Err(Rejected::Full(job));
        }
        match job {
            Job::WritePiece { storage, piece, blocks, hash, reply } => {
                if hash.complete(Whole { storage, piece, blocks, reply }) {
                    queue.hashes.push_back(hash);
                }
            }
            Job::ReadBlocks { .. } => queue.reads.push_back(job),
            Job::CheckPieces { storage, pieces, cancel, progress, reply } => {
                let copies = lock(&self.threads).len().max(1);
                let work = Work::new(&storage, pieces.len());
                let (working, reply) = (AtomicUsize::new(copies), Mutex::new(Some(reply)));
                let check = Arc::new(Check {
                    storage,
                    pieces,
                    cancel,
                    progress,
                    work,
                    working,
                    failure: Mutex::default(),
                    reply,
                });
                queue.checks.extend(std::iter::repeat_n(check, copies));
                drop(queue);
                self.shared.changed.notify_all();
                return Ok(());
            }
            other => queue.writes.push_back(other),
        }
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Hashes the next blocks of pieces that are not whole yet. Give several pieces at once: they are hashed side by
    /// side. Blocks of a piece come in order and without a gap. There is no answer; what is not hashed by then is
    /// hashed when the piece is whole.
    pub fn hash_ahead(&self, parts: impl IntoIterator<Item = (Arc<PieceHash>, Vec<Bytes>)>) {
        let mut queue = lock(&self.shared.queue);
        for (hash, blocks) in parts {
            if hash.push(blocks) {
                queue.hashes.push_back(hash);
            }
        }
        drop(queue);
        self.shared.changed.notify_one();
    }

    /// Jobs that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        lock(&self.shared.queue).len()
    }

    /// Takes no more jobs, does those that wait (checks end early), and joins the threads. Every job gets its answer.
    /// To be called from another thread than theirs; the second call does nothing.
    pub fn shutdown(&self) {
        lock(&self.shared.queue).closing = true;
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WritePiece { .. } => "WritePiece",
            Self::CommitSpilled { .. } => "CommitSpilled",
            Self::ReadBlocks { .. } => "ReadBlocks",
            Self::CheckPieces { .. } => "CheckPieces",
            Self::Sync { .. } => "Sync",
            Self::Run(_) => "Run",
        })
    }
}

enum Next {
    Write(Whole),
    Job(Job),
    Hashes(Vec<Portion>),
    Check(Arc<Check>, bool),
    End,
}

fn work(shared: &Shared) {
    let mut scratch = Vec::new();
    loop {
        match next(shared) {
            Next::Write(whole) => write(shared, whole),
            Next::Job(job) => execute(job),
            Next::Hashes(portions) => hash(shared, portions),
            Next::Check(check, closing) => {
                if closing {
                    check.cancel.store(true, Ordering::Relaxed);
                }
                if check.step(&mut scratch) {
                    lock(&shared.queue).checks.push_back(check);
                } else {
                    // A check is rare; its memory is not kept for the next one.
                    scratch = Vec::new();
                    check.leave();
                }
            }
            Next::End => return,
        }
    }
}

fn next(shared: &Shared) -> Next {
    let mut queue = lock(&shared.queue);
    loop {
        if let Some(next) = queue.next() {
            return next;
        }
        queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.verified.len() + self.writes.len() + self.hashes.len() + self.reads.len() + self.checks.len()
    }

    fn next(&mut self) -> Option<Next> {
        let is_free = |whole: &Whole| !self.writing.contains(&whole.storage.id());
        if let Some(at) = self.verified.iter().position(is_free)
            && let Some(whole) = self.verified.remove(at)
        {
            self.writing.push(whole.storage.id());
            return Some(Next::Write(whole));
        }
        if let Some(job) = self.writes.pop_front() {
            return Some(Next::Job(job));
        }
        if !self.hashes.is_empty() {
            let count = self.hashes.len().min(HASHES_AT_ONCE);
            return Some(Next::Hashes(self.hashes.drain(..count).map(PieceHash::take).collect()));
        }
        if let Some(job) = self.reads.pop_front() {
            return Some(Next::Job(job));
        }
        if let Some(check) = self.checks.pop_front() {
            return Some(Next::Check(check, self.closing));
        }
        // Whoever writes a piece will find the others of its torrent.
        self.closing.then_some(Next::End)
    }
}

/// Writes a piece whose hash matched, and gives its answer.
fn write(shared: &Shared, whole: Whole) {
    let Whole { storage, piece, blocks, reply } = whole;
    let result = guarded(|| storage.write_piece(piece, &blocks).map(|()| true));
    // The buffers go back before the answer makes room for the next piece.
    drop(blocks);
    let mut queue = lock(&shared.queue);
    queue.writing.retain(|id| *id != storage.id());
    drop(queue);
    reply(Done::Piece { piece, result });
}

/// Hashes what is there of several pieces; those that are whole then go on to be written.
fn hash(shared: &Shared, mut portions: Vec<Portion>) {
    let hashed = guarded(|| {
        Portion::hash_all(&mut portions);
        Ok(())
    });
    let mut wrong = Vec::new();
    let mut queue = lock(&shared.queue);
    for portion in portions {
        match portion.done() {
            After::More(hash) => queue.hashes.push_back(hash),
            After::Rest => {}
            After::Whole(whole, true) if hashed.is_ok() => queue.verified.push_back(*whole),
            After::Whole(whole, _) => wrong.push(whole),
        }
    }
    // This thread takes the next job itself.
    let for_another = 1 < queue.len();
    drop(queue);
    if for_another {
        shared.changed.notify_one();
    }
    for whole in wrong {
        let (piece, reply, blocks) = (whole.piece, whole.reply, whole.blocks);
        drop(blocks);
        let result = if hashed.is_ok() { Ok(false) } else { Err(PANICKED) };
        reply(Done::Piece { piece, result });
    }
}

/// Does a job and gives its answer, even when the code in between panics: whoever waits must not wait for ever.
fn execute(job: Job) {
    match job {
        Job::CommitSpilled { storage, piece, reply } => {
            reply(Done::Piece { piece, result: guarded(|| storage.commit_spilled(piece)) });
        }
        Job::ReadBlocks { storage, blocks, buffers, reply } => {
            // These were not in the cache, so what follows them will not be either.
            if let Some(first) = blocks.first() {
                storage.read_ahead(first.piece(), first.begin(), READ_AHEAD);
            }
            let read = |block| (block, guarded(|| read_block(&storage, block, &buffers)));
            reply(Done::Blocks(blocks.into_iter().map(read).collect()));
        }
        Job::Sync { storage, reply } => reply(Done::Synced(guarded(|| storage.sync()))),
        Job::Run(run) => {
            let _ = guarded(|| {
                run();
                Ok(())
            });
        }
        // These have lanes of their own.
        Job::WritePiece { piece, reply, .. } => {
            reply(Done::Piece { piece, result: Err(StorageError::Invalid("a piece among jobs")) });
        }
        Job::CheckPieces { reply, .. } => {
            reply(Done::Checked(Err(StorageError::Invalid("a check among jobs"))));
        }
    }
}

const PANICKED: StorageError = StorageError::Invalid("a disk thread panicked");

fn guarded<T>(f: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(Err(PANICKED))
}

fn read_block(storage: &Storage, block: Block, buffers: &BlockPool) -> Result<BlockBytes, StorageError> {
    let mut bytes = buffers.take_for(block.length() as usize);
    storage.read(block.piece(), block.begin(), &mut bytes)?;
    Ok(bytes)
}

/// A check that several threads work on.
struct Check {
    storage: Arc<Storage>,
    pieces: Vec<PieceIndex>,
    cancel: Arc<AtomicBool>,
    progress: Box<dyn Fn(Progress) + Send + Sync>,
    work: Work,
    /// Threads that have not left.
    working: AtomicUsize,
    failure: Mutex<Option<StorageError>>,
    /// Taken by the last thread to leave.
    reply: Mutex<Option<Reply>>,
}

impl Check {
    /// One batch; whether there may be more.
    fn step(&self, scratch: &mut Vec<u8>) -> bool {
        if self.cancel.load(Ordering::Relaxed) {
            return false;
        }
        match guarded(|| self.work.step(&self.storage, &self.pieces, scratch, &self.cancel)) {
            Ok(Some(now)) => {
                (self.progress)(now);
                true
            }
            Ok(None) => false,
            Err(StorageError::Halted) if self.cancel.load(Ordering::Relaxed) => false,
            Err(error) => {
                self.work.stop();
                lock(&self.failure).get_or_insert(error);
                false
            }
        }
    }

    fn leave(&self) {
        if self.working.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let result = lock(&self.failure).take().map_or_else(|| Ok(self.work.found()), Err);
        if let Some(reply) = lock(&self.reply).take() {
            reply(Done::Checked(result));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
