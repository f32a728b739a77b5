//! A torrent's way to its files: blocks wait here until their piece is whole, then go to a disk thread together.
//!
//! Nothing here waits. Jobs go out, [`DiskDone`] comes back to the torrent's task. A piece that the disk did not take
//! is kept, so that a full disk costs no verified byte: it is written when a probe finds the cause gone. A job that the
//! threads have no room for is kept too, and given to them a little later.

mod hold;
mod reports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Bitfield, Block, Info, Layout, PieceIndex};
use ferri_storage::{
    CheckOrder, CheckTicket, Done, Job, MoveProgress, Moved, PieceHash, Pool, Rejected, StorageError, Store,
    Totals,
};
use tokio::sync::mpsc;

use super::checking::Pieces;
use super::spill::{Runs, Spills, Step};
use crate::clock;
use crate::panics::caught_now;

/// Verified pieces are made durable when the oldest has waited this long...
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// ...or, when there are so many bytes of them...
const SYNC_BYTES: u64 = 64 << 20;
/// ...after this: while a file system commits it holds up writers, which a fast download would feel.
const SYNC_SOON: Duration = Duration::from_secs(2);
/// Blocks are hashed when so many bytes of them wait: still in the cache, and of several pieces.
const HASH_BYTES: usize = 512 << 10;
/// How often a disk that failed is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// When jobs that found no room are given to the disk threads again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// What a disk thread reports.
#[derive(Debug)]
pub(crate) enum DiskDone {
    /// A piece was hashed and, if it matched, written.
    Piece {
        /// Which.
        piece: PieceIndex,
        /// Whether the hash matched and the write succeeded.
        result: Result<bool, StorageError>,
    },
    /// Blocks of a piece too large for memory were written aside, or not.
    Spilled {
        /// Which piece.
        piece: PieceIndex,
        /// To be given back to [`Disk::spilled`].
        round: u32,
        /// What could not be written.
        unwritten: Runs,
        /// Why not.
        error: Option<StorageError>,
    },
    /// Written pieces are durable and recorded, or not.
    Synced(Result<(), StorageError>),
    /// Whether the device takes data again.
    Probed(Result<(), StorageError>),
    /// A check has come so far, in bytes.
    Looked(u64),
    /// Which of the pieces that may be there are.
    Checked(Result<Bitfield, StorageError>),
    /// Whether something is in the way.
    Guarded(Result<(), StorageError>),
    /// Pieces that may not be there any more, for [`Disk::recheck`].
    Doubtful(Vec<PieceIndex>),
    /// Which of the pieces that were looked at again are there.
    Rechecked(Result<Bitfield, StorageError>),
    /// The last touches were put to a finished download.
    Finished(Result<(), StorageError>),
    /// The selection was changed to this, or not.
    Selected(Vec<bool>, Result<(), StorageError>),
    /// The torrent's totals are in the state folder, or not.
    Noted(Result<(), StorageError>),
    /// Files are being copied to another place.
    Moving(MoveProgress),
    /// They are there, or where they were.
    Moved(Result<Moved, StorageError>),
    /// A job failed by a fault of ours: what it was to tell will never be known.
    Panicked(String),
}

/// The disk side of one torrent.
#[derive(Debug)]
pub(crate) struct Disk {
    storage: Arc<Store>,
    layout: Layout,
    pool: Pool,
    done: mpsc::UnboundedSender<DiskDone>,
    /// Unverified pieces.
    pieces: BTreeMap<u32, Arriving>,
    /// Bytes that could be hashed, and the pieces they belong to.
    unhashed: usize,
    unhashed_pieces: Vec<u32>,
    spills: Spills,
    /// Whole pieces whose blocks the swarm wants to compare with those of a copy that failed.
    compared: BTreeSet<u32>,
    /// Pieces with a disk thread. Kept until the answer: a piece that fails is compared, one that could not be
    /// written is tried again.
    jobs: BTreeMap<u32, Vec<Bytes>>,
    /// Pieces whose write failed, to be tried again.
    parked: Vec<(PieceIndex, Vec<Bytes>)>,
    /// Jobs that the disk threads had no room for, and when they are offered again.
    refused: VecDeque<Job>,
    retry_at: Option<Instant>,
    syncing: bool,
    /// Another sync is wanted as soon as the one under way is over.
    sync_again: bool,
    /// After the next sync nothing is to be open.
    settles: bool,
    unsynced: u64,
    unsynced_since: Option<Instant>,
    recovery: Recovery,
    touches: Touches,
    /// A selection that nobody carries out yet.
    selection: Option<Vec<bool>>,
    selecting: bool,
    looks: Looks,
    /// The files are being moved.
    is_held: bool,
}

/// How a disk that failed is found to work again.
#[derive(Debug, Default)]
struct Recovery {
    /// When it is tried next.
    probe_at: Option<Instant>,
    /// What failed last.
    failed: Option<PathBuf>,
    /// It is being tried.
    is_out: bool,
    /// The device takes data, and what had failed is done again: only that tells whether the cause is gone.
    is_retried: bool,
}

/// How the last touches of a finished download stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touches {
    /// They are put, or nobody asked for them.
    Put,
    /// A disk thread is at it.
    Asked,
    /// To be tried again when the disk is back.
    Failed,
}

/// Pieces we had that have to be looked at again.
#[derive(Debug, Default)]
struct Looks {
    /// Still to be looked at.
    due: BTreeSet<PieceIndex>,
    /// Being looked at.
    out: BTreeSet<PieceIndex>,
    /// Not before; the disk could not be read.
    at: Option<Instant>,
    /// Ends the check under way.
    cancel: Arc<AtomicBool>,
}

/// A piece whose blocks are arriving.
#[derive(Debug)]
struct Arriving {
    /// At `begin / 16 KiB`.
    blocks: Vec<Option<Bytes>>,
    hash: Arc<PieceHash>,
    /// Blocks from the first one on that are there.
    front: usize,
    /// Those of them that were not given to be hashed: the last ones, in bytes.
    unhashed: usize,
    /// Blocks that were.
    hashed: usize,
}

impl Arriving {
    fn new(info: &Info, piece: PieceIndex, count: usize) -> Self {
        let hash = PieceHash::new(info, piece);
        Self { blocks: vec![None; count], hash, front: 0, unhashed: 0, hashed: 0 }
    }

    fn store(&mut self, at: usize, data: Bytes) {
        self.blocks[at] = Some(data);
        while let Some(Some(block)) = self.blocks.get(self.front) {
            self.unhashed += block.len();
            self.front += 1;
        }
    }

    fn take_unhashed(&mut self) -> Vec<Bytes> {
        self.unhashed = 0;
        let from = std::mem::replace(&mut self.hashed, self.front);
        self.blocks[from..self.front].iter().flatten().cloned().collect()
    }
}

/// What digests of blocks are made with. One for the whole run: those of two copies of a piece are compared, however much
/// later the second one comes.
static DIGESTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn digest(block: &Bytes) -> u64 {
    DIGESTS.hash_one(&block[..])
}

impl Disk {
    pub(crate) fn new(
        storage: Arc<Store>,
        layout: Layout,
        pool: Pool,
        memory: u64,
        done: mpsc::UnboundedSender<DiskDone>,
    ) -> Self {
        Self {
            spills: Spills::new(memory),
            storage,
            layout,
            pool,
            done,
            pieces: BTreeMap::new(),
            unhashed: 0,
            unhashed_pieces: Vec::new(),
            compared: BTreeSet::new(),
            jobs: BTreeMap::new(),
            parked: Vec::new(),
            refused: VecDeque::new(),
            retry_at: None,
            syncing: false,
            sync_again: false,
            settles: false,
            unsynced: 0,
            unsynced_since: None,
            recovery: Recovery::default(),
            touches: Touches::Put,
            selection: None,
            selecting: false,
            looks: Looks::default(),
            is_held: false,
        }
    }

    /// There is so much memory for pieces in the session: larger ones are spilled.
    pub(crate) fn set_memory(&mut self, memory: u64) {
        self.spills.set_memory(memory);
    }

    pub(crate) fn storage(&self) -> &Arc<Store> {
        &self.storage
    }

    /// Where disk threads report to.
    pub(crate) fn reports(&self) -> mpsc::UnboundedSender<DiskDone> {
        self.done.clone()
    }

    /// Keeps a block until its piece is whole.
    pub(crate) fn store(&mut self, block: Block, data: Bytes) {
        // A piece ends where it began, whatever became of the memory meanwhile.
        let is_spilled = self.spills.has(block.piece().get())
            || self.spills.takes(self.layout.piece_len(block.piece()))
                && !self.pieces.contains_key(&block.piece().get());
        if is_spilled {
            let digest = digest(&data);
            let step = self.spills.store(block.piece().get(), block.begin(), data, digest);
            return self.spill(block.piece(), step);
        }
        let (piece, count) = (block.piece(), self.layout.block_count(block.piece()) as usize);
        let arriving = self
            .pieces
            .entry(piece.get())
            .or_insert_with(|| Arriving::new(self.storage.info(), piece, count));
        debug_assert!(block.begin().is_multiple_of(BLOCK_LENGTH) && data.len() == block.length() as usize);
        let before = arriving.unhashed;
        arriving.store((block.begin() / BLOCK_LENGTH) as usize, data);
        if before == 0 && arriving.unhashed != 0 {
            self.unhashed_pieces.push(piece.get());
        }
        self.unhashed += arriving.unhashed - before;
        if HASH_BYTES <= self.unhashed {
            self.hash();
        }
    }

    /// Gives what can be hashed to a disk thread, all pieces together.
    fn hash(&mut self) {
        self.unhashed = 0;
        let pieces = &mut self.pieces;
        let part =
            |piece| pieces.get_mut(&piece).map(|arriving| (arriving.hash.clone(), arriving.take_unhashed()));
        let parts: Vec<_> = self.unhashed_pieces.drain(..).filter_map(part).collect();
        self.pool.hash_ahead(parts);
    }

    /// Forgets the blocks of a piece.
    pub(crate) fn discard(&mut self, piece: PieceIndex) {
        self.pieces.remove(&piece.get());
        self.spills.discard(piece.get());
    }

    /// Sends a whole piece to be hashed and written. `digests`: those of its blocks are wanted even when it is good.
    pub(crate) fn verify(&mut self, piece: PieceIndex, digests: bool) {
        if digests {
            self.compared.insert(piece.get());
        }
        if self.spills.has(piece.get()) {
            let step = self.spills.complete(piece.get());
            return self.spill(piece, step);
        }
        let arriving = self.pieces.remove(&piece.get());
        let arriving = arriving.unwrap_or_else(|| Arriving::new(self.storage.info(), piece, 0));
        let blocks: Vec<Bytes> = arriving.blocks.into_iter().flatten().collect();
        // The others fill the lanes next to this one.
        self.hash();
        self.submit(piece, blocks, arriving.hash);
    }

    fn submit(&mut self, piece: PieceIndex, blocks: Vec<Bytes>, hash: Arc<PieceHash>) {
        if self.is_held {
            return self.parked.push((piece, blocks));
        }
        let done = self.done.clone();
        let job = Job::WritePiece {
            storage: self.storage.clone(),
            piece,
            blocks: blocks.clone(),
            hash,
            reply: Box::new(move |reply| {
                if let Done::Piece { piece, result } = reply {
                    // The torrent's task outlives its jobs, except when the process is being torn down.
                    let _ = done.send(DiskDone::Piece { piece, result });
                }
            }),
        };
        if self.give(job) {
            self.jobs.insert(piece.get(), blocks);
        }
    }

    /// Gives a job to the disk threads, at once or as soon as they have room. `false`: they are gone, and there will be
    /// no answer.
    fn give(&mut self, job: Job) -> bool {
        match self.pool.submit(job) {
            Ok(()) => true,
            Err(Rejected::Full(job)) => {
                self.refused.push_back(job);
                self.retry_at.get_or_insert_with(|| clock::now() + RETRY_INTERVAL);
                true
            }
            Err(Rejected::Closed(_)) => {
                tracing::error!("the disk threads are gone");
                false
            }
        }
    }

    fn give_again(&mut self) {
        self.retry_at = None;
        for job in std::mem::take(&mut self.refused) {
            self.give(job);
        }
    }

    /// Carries on with a piece too large for memory.
    fn spill(&mut self, piece: PieceIndex, step: Option<Step>) {
        match step {
            None => {}
            Some(Step::Write(round, runs)) if self.is_held => {
                // As if the disk had not taken it.
                drop(self.spills.written(piece.get(), round, runs));
            }
            Some(Step::Commit) if self.is_held => self.spills.committed(piece.get(), None),
            Some(Step::Write(round, mut runs)) => {
                self.run(move |storage| {
                    while let Some((begin, blocks)) = runs.last() {
                        if let Err(error) = storage.spill(piece, *begin, blocks) {
                            return DiskDone::Spilled { piece, round, unwritten: runs, error: Some(error) };
                        }
                        runs.pop();
                    }
                    DiskDone::Spilled { piece, round, unwritten: runs, error: None }
                });
            }
            Some(Step::Commit) => {
                self.run(move |storage| DiskDone::Piece { piece, result: storage.commit_spilled(piece) });
            }
        }
    }

    /// Books a portion of a spilled piece. `Err` is a disk that does not take data: the portion is kept.
    pub(crate) fn spilled(
        &mut self,
        piece: PieceIndex,
        round: u32,
        unwritten: Runs,
        error: Option<StorageError>,
        now: Instant,
    ) -> Result<(), StorageError> {
        let step = self.spills.written(piece.get(), round, unwritten);
        self.spill(piece, step);
        match error {
            None => Ok(()),
            Some(error) => {
                self.failed(&error, now);
                Err(error)
            }
        }
    }

    /// Does something that may wait, on a disk thread. `false`: there will be no answer.
    fn run(&mut self, work: impl FnOnce(&Store) -> DiskDone + Send + 'static) -> bool {
        let (storage, done) = (self.storage.clone(), self.done.clone());
        self.give(Job::Run(Box::new(move || {
            let answer = caught_now(|| work(&storage));
            tell(&storage, &done, answer.unwrap_or_else(|panic| DiskDone::Panicked(panic.to_string())));
        })))
    }

    /// Books the answer to [`Self::verify`]. `Err` is a disk that does not take data: the piece is kept.
    pub(crate) fn piece_done(
        &mut self,
        piece: PieceIndex,
        result: Result<bool, StorageError>,
        now: Instant,
    ) -> Result<Verdict, StorageError> {
        let blocks = self.jobs.remove(&piece.get()).unwrap_or_default();
        let is_spilled = self.spills.has(piece.get());
        let spilled = self.spills.digests(piece.get());
        self.spills.committed(piece.get(), result.as_ref().ok().copied());
        match result {
            Ok(ok) => {
                if ok {
                    self.unsynced += u64::from(self.layout.piece_len(piece));
                    self.unsynced_since.get_or_insert(now);
                }
                let is_compared = self.compared.remove(&piece.get());
                let digests = match is_compared || !ok {
                    true if is_spilled => spilled,
                    true => blocks.iter().map(digest).collect(),
                    false => Vec::new(),
                };
                Ok(Verdict { ok, digests })
            }
            Err(error) => {
                if !is_spilled {
                    self.parked.push((piece, blocks));
                }
                self.failed(&error, now);
                Err(error)
            }
        }
    }

    /// A piece could not be read: it is looked at again, with all others that the same cause took away. `false`: that is
    /// under way already.
    pub(crate) fn unreadable(&mut self, piece: PieceIndex) -> bool {
        if self.looks.out.contains(&piece) || !self.looks.due.insert(piece) {
            return false;
        }
        if self.is_held {
            return true;
        }
        self.run(move |storage| DiskDone::Doubtful(storage.lost_with(piece).unwrap_or_else(|_| vec![piece])))
    }

    /// Has pieces looked at that may be there, when it is their turn. `None`: the disk threads are gone, and there will be no
    /// answer.
    pub(crate) fn check(&self, pieces: &Pieces) -> Option<CheckTicket> {
        let (looked, done) = (self.done.clone(), self.done.clone());
        let order = CheckOrder {
            storage: self.storage.clone(),
            pieces: pieces.pieces.clone(),
            device: pieces.device,
            number: pieces.number,
            // The torrent may have ended without waiting for it.
            progress: Box::new(move |at| drop(looked.send(DiskDone::Looked(at.bytes)))),
            reply: Box::new(move |reply| {
                if let Done::Checked(result) = reply {
                    let _ = done.send(DiskDone::Checked(result));
                }
            }),
        };
        self.pool.check(order).ok()
    }

    /// Looks again at pieces that may not be there any more.
    pub(crate) fn recheck(&mut self, pieces: Vec<PieceIndex>) {
        self.looks.due.extend(pieces.into_iter().filter(|piece| !self.looks.out.contains(piece)));
        if self.looks.out.is_empty() && self.looks.at.is_none() {
            self.look();
        }
    }

    /// Has all pieces checked that are due.
    fn look(&mut self) {
        if self.is_held {
            return;
        }
        self.looks.at = None;
        let pieces: Vec<_> = std::mem::take(&mut self.looks.due).into_iter().collect();
        if pieces.is_empty() {
            return;
        }
        self.looks.out.extend(&pieces);
        let done = self.done.clone();
        let job = Job::CheckPieces {
            storage: self.storage.clone(),
            pieces,
            cancel: self.looks.cancel.clone(),
            progress: Box::new(|_| {}),
            reply: Box::new(move |reply| {
                if let Done::Checked(result) = reply {
                    let _ = done.send(DiskDone::Rechecked(result));
                }
            }),
        };
        self.give(job);
    }

    /// Books a check: the pieces that are gone. `Err` is a disk that cannot be read: they stay in doubt.
    pub(crate) fn rechecked(
        &mut self,
        result: Result<Bitfield, StorageError>,
        now: Instant,
    ) -> Result<Vec<PieceIndex>, StorageError> {
        let mut looked = std::mem::take(&mut self.looks.out);
        match result {
            Ok(found) => {
                self.look();
                looked.retain(|piece| !found.get(piece.get()));
                Ok(looked.into_iter().collect())
            }
            Err(error) => {
                self.looks.due.append(&mut looked);
                self.looks.at = Some(now + PROBE_INTERVAL);
                Err(error)
            }
        }
    }

    /// Puts the last touches to a finished download: empty files, permissions, links.
    pub(crate) fn finish(&mut self) {
        if self.is_held {
            self.touches = Touches::Failed;
        } else if self.touches != Touches::Asked {
            self.touches = Touches::Asked;
            self.run(|storage| DiskDone::Finished(storage.finish()));
        }
    }

    /// Books the last touches. `false`: one of them could not be put, or a file is not yet wanted as far as the disk is
    /// concerned; they are to be tried again.
    pub(crate) fn finished(&mut self, result: &Result<(), StorageError>) -> bool {
        let is_put = result.is_ok() && !self.selecting && self.selection.is_none();
        self.touches = if is_put { Touches::Put } else { Touches::Failed };
        is_put
    }

    /// The last touches are asked for and not put: it is not done yet.
    pub(crate) fn is_finishing(&self) -> bool {
        self.touches != Touches::Put
    }

    /// Changes which files are wanted.
    pub(crate) fn set_wanted(&mut self, wanted: Vec<bool>) {
        self.selection = Some(wanted);
        self.select();
    }

    /// One at a time, so that the last wish is the last to be carried out.
    fn select(&mut self) {
        if !self.selecting
            && !self.is_held
            && let Some(wanted) = self.selection.take()
        {
            self.selecting = self.run(move |storage| {
                let result = storage.set_wanted(&wanted);
                DiskDone::Selected(wanted, result)
            });
        }
    }

    /// Books a change of the selection. One that failed is tried again when the disk is back, unless there is another wish.
    pub(crate) fn selected(&mut self, wanted: Vec<bool>, result: &Result<(), StorageError>) {
        self.selecting = false;
        if result.is_ok() {
            self.select();
        } else {
            self.selection.get_or_insert(wanted);
        }
    }

    /// Starts what is due: jobs that were refused, a sync, a probe of a failed disk, a second look.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.give_again();
        }
        if self.is_held {
            return;
        }
        if self.sync_at().is_some_and(|at| at <= now) {
            self.sync();
        }
        if self.recovery.probe_at.take_if(|at| *at <= now).is_some() {
            let failed = self.recovery.failed.clone();
            self.recovery.is_out =
                self.run(move |storage| DiskDone::Probed(storage.probe(failed.as_deref())));
        }
        if self.looks.at.is_some_and(|at| at <= now) {
            self.look();
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        if self.is_held {
            return self.retry_at;
        }
        [self.sync_at(), self.recovery.probe_at, self.retry_at, self.looks.at].into_iter().flatten().min()
    }

    fn sync_at(&self) -> Option<Instant> {
        let wait = if SYNC_BYTES <= self.unsynced { SYNC_SOON } else { SYNC_INTERVAL };
        self.unsynced_since.filter(|_| !self.syncing).map(|since| since + wait)
    }

    /// Makes what was written durable and records it, at once or as soon as the sync under way is over.
    pub(crate) fn sync(&mut self) {
        if self.syncing || self.is_held {
            self.sync_again = true;
            return;
        }
        (self.unsynced, self.unsynced_since, self.sync_again) = (0, None, false);
        let settles = std::mem::take(&mut self.settles);
        let (storage, done) = (self.storage.clone(), self.done.clone());
        let reply = move |reply| {
            let Done::Synced(result) = reply else { return };
            if settles && result.is_ok() {
                storage.close_idle();
            }
            tell(&storage, &done, DiskDone::Synced(result));
        };
        self.syncing = self.give(Job::Sync { storage: self.storage.clone(), reply: Box::new(reply) });
    }

    /// Notes what the torrent did. `false`: there will be no answer.
    pub(crate) fn note(&mut self, totals: Totals) -> bool {
        self.run(move |storage| DiskDone::Noted(storage.write_totals(&totals)))
    }

    /// Nothing more is written for a while: syncs at once and closes the files, so that they may be unmounted.
    pub(crate) fn settle(&mut self) {
        self.settles = true;
        self.sync();
    }

    /// Books a sync. One that failed is tried again in a while, whether or not anything is written meanwhile.
    pub(crate) fn synced(&mut self, result: &Result<(), StorageError>, now: Instant) {
        self.syncing = false;
        if result.is_err() {
            self.unsynced_since = Some(now);
        } else if self.sync_again && !self.is_held {
            self.sync();
        }
    }

    /// Books a probe. `true`: the device takes data again, and what had failed is done again.
    pub(crate) fn probed(&mut self, result: &Result<(), StorageError>, now: Instant) -> bool {
        self.recovery.is_out = false;
        if result.is_err() {
            self.recovery.probe_at = Some(now + PROBE_INTERVAL);
            return false;
        }
        self.recovery.failed = None;
        self.recovery.is_retried = self.do_again();
        true
    }

    /// Does again what the disk did not take or what was held back. `false`: there is nothing.
    fn do_again(&mut self) -> bool {
        if self.is_held {
            return false;
        }
        let parked = std::mem::take(&mut self.parked);
        let spilled = self.spills.resume();
        let is_any = !parked.is_empty() || !spilled.is_empty() || self.selection.is_some();
        for (piece, blocks) in parked {
            let hash = PieceHash::new(self.storage.info(), piece);
            self.submit(piece, blocks, hash);
        }
        self.select();
        for (piece, step) in spilled {
            if let Some(piece) = self.layout.piece(piece) {
                self.spill(piece, Some(step));
            }
        }
        is_any
    }

    /// Tries the failed disk again soon.
    pub(crate) fn failed(&mut self, error: &StorageError, now: Instant) {
        self.recovery.failed = error.path().map(Path::to_path_buf);
        self.recovery.probe_at.get_or_insert(now + PROBE_INTERVAL);
        self.recovery.is_retried = false;
    }

    /// Tries the failed disk again at once.
    pub(crate) fn probe_now(&mut self, now: Instant) {
        self.recovery.probe_at = Some(now);
    }

    /// What had failed is done again, and nothing is known of it yet.
    pub(crate) fn is_retrying(&self) -> bool {
        self.recovery.is_retried || self.touches == Touches::Asked
    }

    /// Something was done. Whether that ends the doubt about a disk that had failed.
    pub(crate) fn take_retried(&mut self) -> bool {
        std::mem::take(&mut self.recovery.is_retried)
    }

    /// The disk failed, and has not been seen to work since.
    pub(crate) fn has_failed(&self) -> bool {
        self.recovery.failed.is_some() || self.recovery.probe_at.is_some()
    }

    /// Piece jobs are out.
    pub(crate) fn is_busy(&self) -> bool {
        !self.jobs.is_empty() || self.spills.is_busy()
    }

    /// Bytes that the parked pieces need.
    pub(crate) fn parked_bytes(&self) -> u64 {
        self.parked.iter().map(|(piece, _)| u64::from(self.layout.piece_len(*piece))).sum()
    }
}

/// Tells the torrent's task what became of a job, and what the job found out beside that.
fn tell(storage: &Store, done: &mpsc::UnboundedSender<DiskDone>, answer: DiskDone) {
    // The torrent's task outlives its jobs, except when the process is being torn down.
    let _ = done.send(answer);
    let doubtful = storage.doubtful();
    if !doubtful.is_empty() {
        let _ = done.send(DiskDone::Doubtful(doubtful));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.looks.cancel.store(true, Ordering::Relaxed);
    }
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The hash matched, and the bytes are written.
    pub(crate) ok: bool,
    /// Of its blocks, in their order: of a piece that did not match, and of one that is compared with an earlier copy.
    pub(crate) digests: Vec<u64>,
}
