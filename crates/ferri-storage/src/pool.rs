//! Disk threads: jobs in, answers out.
//!
//! A queue in lanes, each with a bound of its own, so that none can fill up another: writes and other work, then syncs, then
//! hashes, then reads, then checks (see `pool/lanes.rs`). Pieces that wait for their hash are hashed side by side, which is
//! faster than one after the other. A torrent is written to by one thread at a time: two would only wait for one another in
//! the kernel. A check is done a batch at a time and goes back to the end of its lane in between, so that it holds up
//! nothing and still uses every idle thread; how many torrents of a device are checked at once is said in `pool/turns.rs`.
//! A job's answer is a closure that the disk thread calls; it must not block (send on a channel that has room).

mod lanes;
mod turns;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Block, PieceIndex};

use crate::buffers::{BlockBytes, BlockPool};
use crate::check::{Progress, Work};
use crate::error::StorageError;
use crate::piece_hash::{After, PieceHash, Portion, Whole};
use crate::store::Store;

use self::lanes::{Next, Queue};
use self::turns::Key;

pub use self::lanes::Lanes;
pub use self::turns::{CheckNumber, CheckPlace};

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
        storage: Arc<Store>,
        /// The piece.
        piece: PieceIndex,
        /// All of its bytes, as consecutive slices.
        blocks: Vec<Bytes>,
        /// Its hash, as far as blocks were given to [`Pool::hash_ahead`] before.
        hash: Arc<PieceHash>,
        /// Gets [`Done::Piece`].
        reply: Reply,
    },
    /// Read blocks.
    ReadBlocks {
        /// The torrent.
        storage: Arc<Store>,
        /// Which.
        blocks: Vec<Block>,
        /// Where the memory comes from.
        buffers: BlockPool,
        /// Gets [`Done::Blocks`].
        reply: Reply,
    },
    /// Check pieces against their hashes at once, beside the [`CheckOrder`]s that wait for their turn: a look at a few
    /// pieces that is needed soon.
    CheckPieces {
        /// The torrent.
        storage: Arc<Store>,
        /// Which; ascending is fastest.
        pieces: Vec<PieceIndex>,
        /// Set it to end the check soon.
        cancel: Arc<AtomicBool>,
        /// Called after every batch, on a disk thread.
        progress: Box<dyn Fn(Progress) + Send + Sync>,
        /// Gets [`Done::Checked`].
        reply: Reply,
    },
    /// [`Store::sync`].
    Sync {
        /// The torrent.
        storage: Arc<Store>,
        /// Gets [`Done::Synced`].
        reply: Reply,
    },
    /// Anything else that blocks; it sends its own answer.
    Run(Box<dyn FnOnce() + Send>),
}

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    /// Of [`Job::WritePiece`].
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
    /// Its lane is full; offer it again in a while.
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
    /// See [`Pool::number`].
    numbers: AtomicU64,
    /// Without threads: who submits a job does it.
    is_inline: bool,
}

/// What a [`Pool`] is made of.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Threads; at least one.
    pub threads: usize,
    /// Torrents of one device that are checked at the same time; at least one.
    pub checks_at_once: usize,
    /// How much may wait.
    pub lanes: Lanes,
}

impl PoolOptions {
    /// So many threads, and defaults for the rest.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads, checks_at_once: CHECKS_AT_ONCE, lanes: Lanes::default() }
    }
}

/// While one waits for its files to be found and opened, the other one has the device.
const CHECKS_AT_ONCE: usize = 2;

/// Pieces of a torrent that are to be checked when it is its turn.
pub struct CheckOrder {
    /// The torrent.
    pub storage: Arc<Store>,
    /// Which pieces; ascending is fastest.
    pub pieces: Arc<[PieceIndex]>,
    /// Checks of one device wait for one another: [`Place::device`](crate::Place::device).
    pub device: u64,
    /// Those with a smaller one come first.
    pub number: CheckNumber,
    /// Called after every batch, on a disk thread.
    pub progress: Box<dyn Fn(Progress) + Send + Sync>,
    /// Gets [`Done::Checked`]: when the check was cancelled or the pool shut down, with what was found until then.
    pub reply: Reply,
}

/// The pool is shutting down: nothing is checked any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// A check that waits or is under way. Dropping it cancels it.
#[derive(Debug)]
pub struct CheckTicket {
    pool: Pool,
    device: u64,
    key: Key,
    place: CheckPlace,
    cancel: Arc<AtomicBool>,
}

impl CheckTicket {
    /// How many others come first.
    #[must_use]
    pub fn place(&self) -> &CheckPlace {
        &self.place
    }

    /// Ends the check soon; the answer comes as ever.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
        let waiting = lock(&self.pool.shared.queue).turns.leave(self.device, self.key);
        if let Some(check) = waiting {
            check.answer();
        }
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

impl Drop for CheckTicket {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Pool {
    /// Starts `threads` threads (at least one), with defaults for the rest.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        Self::with(&PoolOptions::new(threads))
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn with(options: &PoolOptions) -> std::io::Result<Self> {
        let queue = Mutex::new(Queue::new(options));
        let pool = Self::of(queue, false);
        for number in 0..options.threads.max(1) {
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

    /// Without threads: each job is done, and answered, before the call that submits it returns. For tests and simulations,
    /// in which nothing is to happen beside what they move.
    #[must_use]
    pub fn inline() -> Self {
        Self::of(Mutex::new(Queue::new(&PoolOptions::new(1))), true)
    }

    fn of(queue: Mutex<Queue>, is_inline: bool) -> Self {
        let shared = Shared { queue, changed: Condvar::new(), numbers: AtomicU64::new(0), is_inline };
        Self { shared: Arc::new(shared), threads: Arc::default() }
    }

    /// Does what waits, where there are no threads for that.
    fn act(&self) {
        if self.shared.is_inline {
            let mut scratch = Vec::new();
            loop {
                let next = lock(&self.shared.queue).next();
                let Some(next) = next else { return };
                if !act(&self.shared, next, &mut scratch) {
                    return;
                }
            }
        }
    }

    /// Puts a job into its lane. Never blocks.
    ///
    /// # Errors
    /// Gives the job back when there is no room, or no longer a pool.
    pub fn submit(&self, job: Job) -> Result<(), Rejected> {
        let mut queue = lock(&self.shared.queue);
        if queue.closing {
            return Err(Rejected::Closed(job));
        }
        if !queue.has_room_for(&job) {
            return Err(Rejected::Full(job));
        }
        let is_check = matches!(job, Job::CheckPieces { .. });
        queue.push(job);
        drop(queue);
        self.act();
        if is_check {
            self.shared.changed.notify_all();
        } else {
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// The next number for [`CheckOrder::number`]: a torrent takes one when it is added.
    #[must_use]
    pub fn number(&self) -> CheckNumber {
        CheckNumber(self.shared.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// Checks pieces of a torrent as soon as it is its turn. Never blocks, and never lacks room.
    ///
    /// # Errors
    /// When the pool is shutting down; there is no answer then.
    pub fn check(&self, order: CheckOrder) -> Result<CheckTicket, Closed> {
        let CheckOrder { storage, pieces, device, number, progress, reply } = order;
        let cancel = Arc::new(AtomicBool::new(false));
        let check = Arc::new(Check {
            turn: Turn::OfDevice(device),
            ..Check::new(storage, pieces, cancel.clone(), progress, reply)
        });
        let mut queue = lock(&self.shared.queue);
        if queue.closing {
            return Err(Closed);
        }
        let (key, place, next) = queue.turns.enter(device, number, check);
        if let Some(next) = next {
            queue.begin(next);
            self.shared.changed.notify_all();
        }
        drop(queue);
        self.act();
        Ok(CheckTicket { pool: self.clone(), device, key, place, cancel })
    }

    /// Changes how many torrents of one device are checked at the same time; at least one. Of those under way none is broken
    /// off.
    pub fn set_checks_at_once(&self, at_once: usize) {
        let mut queue = lock(&self.shared.queue);
        for next in queue.turns.set_at_once(at_once) {
            queue.begin(next);
        }
        drop(queue);
        self.shared.changed.notify_all();
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
        self.act();
        self.shared.changed.notify_one();
    }

    /// Jobs that wait.
    pub(crate) fn queued(&self) -> usize {
        lock(&self.shared.queue).len()
    }

    /// Takes no more jobs, does those that wait (checks end early), and joins the threads. Every job gets its answer.
    /// To be called from another thread than theirs; the second call does nothing.
    pub fn shutdown(&self) {
        let mut queue = lock(&self.shared.queue);
        queue.closing = true;
        let waiting = queue.turns.drain();
        drop(queue);
        self.shared.changed.notify_all();
        waiting.iter().for_each(|check| check.answer());
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

impl fmt::Debug for CheckOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOrder")
            .field("number", &self.number)
            .field("pieces", &self.pieces.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WritePiece { .. } => "WritePiece",
            Self::ReadBlocks { .. } => "ReadBlocks",
            Self::CheckPieces { .. } => "CheckPieces",
            Self::Sync { .. } => "Sync",
            Self::Run(_) => "Run",
        })
    }
}

fn work(shared: &Shared) {
    let mut scratch = Vec::new();
    while act(shared, next(shared), &mut scratch) {}
}

/// Does one thing. `false`: it was the last.
fn act(shared: &Shared, next: Next, scratch: &mut Vec<u8>) -> bool {
    match next {
        Next::Write(whole) => write(shared, whole),
        Next::Job(job) => execute(job),
        Next::Sync(job) => {
            execute(job);
            lock(&shared.queue).syncing -= 1;
        }
        Next::Hashes(portions) => hash(shared, portions),
        Next::Check(check, closing) => {
            if closing {
                check.cancel.store(true, Ordering::Relaxed);
            }
            if check.step(scratch) {
                lock(&shared.queue).checks.push_back(check);
            } else {
                // A check is rare; its memory is not kept for the next one.
                *scratch = Vec::new();
                leave(shared, &check);
            }
        }
        Next::End => return false,
    }
    true
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

/// A thread leaves a check. The last one answers, and begins the check whose turn it is.
fn leave(shared: &Shared, check: &Check) {
    if check.working.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    check.answer();
    let mut queue = lock(&shared.queue);
    let next = match check.turn {
        Turn::AtOnce => {
            queue.looks -= 1;
            None
        }
        Turn::OfDevice(device) => queue.turns.ended(device),
    };
    if let Some(next) = next {
        queue.begin(next);
        drop(queue);
        shared.changed.notify_all();
    }
}

/// Writes a piece whose hash matched, and gives its answer.
fn write(shared: &Shared, whole: Whole) {
    let Whole { storage, piece, blocks, reply } = whole;
    let result = guarded(|| storage.put(piece, &blocks).map(|()| true));
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

/// Does a job and gives its answer, even when the code in between panics: the caller must not wait for ever.
fn execute(job: Job) {
    match job {
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

fn read_block(storage: &Store, block: Block, buffers: &BlockPool) -> Result<BlockBytes, StorageError> {
    let mut bytes = buffers.take_for(block.length() as usize);
    storage.read(block.piece(), block.begin(), &mut bytes)?;
    Ok(bytes)
}

/// A check that several threads work on.
struct Check {
    storage: Arc<Store>,
    pieces: Arc<[PieceIndex]>,
    cancel: Arc<AtomicBool>,
    progress: Box<dyn Fn(Progress) + Send + Sync>,
    turn: Turn,
    /// Made when it begins: a check that waits costs next to nothing.
    work: OnceLock<Work>,
    /// Threads that have not left. Set when it begins.
    working: AtomicUsize,
    failure: Mutex<Option<StorageError>>,
    /// Taken by the last thread to leave.
    reply: Mutex<Option<Reply>>,
}

/// When a check begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    AtOnce,
    OfDevice(u64),
}

impl Check {
    fn new(
        storage: Arc<Store>,
        pieces: Arc<[PieceIndex]>,
        cancel: Arc<AtomicBool>,
        progress: Box<dyn Fn(Progress) + Send + Sync>,
        reply: Reply,
    ) -> Self {
        Self {
            storage,
            pieces,
            cancel,
            progress,
            turn: Turn::AtOnce,
            work: OnceLock::new(),
            working: AtomicUsize::new(0),
            failure: Mutex::default(),
            reply: Mutex::new(Some(reply)),
        }
    }

    /// So many threads will work on it.
    fn begin(&self, threads: usize) {
        self.working.store(threads, Ordering::Relaxed);
    }

    /// One batch; whether there may be more.
    fn step(&self, scratch: &mut Vec<u8>) -> bool {
        if self.cancel.load(Ordering::Relaxed) {
            return false;
        }
        let work = self.work.get_or_init(|| Work::new(self.storage.info(), self.pieces.len()));
        let step = || match &*self.storage {
            Store::Files(files) => work.step(files, &self.pieces, scratch, &self.cancel),
            Store::Pieces(plain) => {
                work.step_of(&self.pieces, &mut |piece| plain.check_piece(piece, scratch))
            }
        };
        match guarded(step) {
            Ok(Some(now)) => {
                (self.progress)(now);
                true
            }
            Ok(None) => false,
            Err(StorageError::Halted) if self.cancel.load(Ordering::Relaxed) => false,
            Err(error) => {
                work.stop();
                lock(&self.failure).get_or_insert(error);
                false
            }
        }
    }

    /// Tells what was found. No thread works on it any more, or ever did.
    fn answer(&self) {
        let found = match self.work.get() {
            Some(work) => work.found(),
            None => Bitfield::new(self.storage.layout().piece_count()),
        };
        let result = lock(&self.failure).take().map_or(Ok(found), Err);
        if let Some(reply) = lock(&self.reply).take() {
            reply(Done::Checked(result));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
