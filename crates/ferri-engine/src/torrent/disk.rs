//! A torrent's way to its files: blocks wait here until their piece is whole, then go to a disk thread together.
//!
//! Nothing here waits. Jobs go out, [`DiskDone`] comes back to the torrent's task. A piece that the disk did not take
//! is kept, so that a full disk costs no verified byte: it is written when [`Disk::probe`] finds the cause gone.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Block, Layout, PieceIndex};
use ferri_storage::{Done, Job, PieceHash, Pool, Storage, StorageError};
use tokio::sync::mpsc;

use super::spill::{Runs, Spills, Step};

/// Verified pieces are made durable when this many bytes of them are not yet...
const SYNC_BYTES: u64 = 64 << 20;
/// ...or the oldest has waited this long.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Blocks are hashed when so many bytes of them wait: still in the cache, and of several pieces.
const HASH_BYTES: usize = 512 << 10;
/// How often a disk that failed is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

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
    /// Whether a piece that could not be read is still what it should be.
    Rechecked(PieceIndex, Result<bool, StorageError>),
    /// The last touches were put to a finished download.
    Finished(Result<(), StorageError>),
    /// The selection was changed.
    Selected(Result<(), StorageError>),
}

/// The disk side of one torrent.
#[derive(Debug)]
pub(crate) struct Disk {
    storage: Arc<Storage>,
    layout: Layout,
    pool: Pool,
    done: mpsc::UnboundedSender<DiskDone>,
    /// Unverified pieces.
    pieces: BTreeMap<u32, Arriving>,
    /// Bytes that could be hashed, and the pieces they belong to.
    unhashed: usize,
    unhashed_pieces: Vec<u32>,
    spills: Spills,
    blame: Blame,
    /// Pieces with a disk thread. Kept until the answer: a piece that fails is compared, one that could not be
    /// written is tried again.
    jobs: BTreeMap<u32, Vec<Bytes>>,
    /// Pieces whose write failed, to be tried again.
    parked: Vec<(PieceIndex, Vec<Bytes>)>,
    syncing: bool,
    unsynced: u64,
    unsynced_since: Option<Instant>,
    probe_at: Option<Instant>,
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
    fn new(storage: &Storage, piece: PieceIndex, count: usize) -> Self {
        let hash = PieceHash::new(storage, piece);
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

/// What is remembered of pieces that failed, so that the senders of their bad blocks can be told from the others.
#[derive(Debug)]
struct Blame {
    hasher: RandomState,
    /// Digests of the piece that just failed, in case the swarm asks to keep them.
    last: Option<(u32, Vec<u64>)>,
    /// Digests of failed copies, by piece.
    kept: BTreeMap<u32, Vec<u64>>,
    /// Digests of the copies being verified, of pieces in `kept`.
    candidates: BTreeMap<u32, Vec<u64>>,
}

impl Disk {
    pub(crate) fn new(
        storage: Arc<Storage>,
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
            blame: Blame {
                hasher: RandomState::new(),
                last: None,
                kept: BTreeMap::new(),
                candidates: BTreeMap::new(),
            },
            jobs: BTreeMap::new(),
            parked: Vec::new(),
            syncing: false,
            unsynced: 0,
            unsynced_since: None,
            probe_at: None,
        }
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Keeps a block until its piece is whole.
    pub(crate) fn store(&mut self, block: Block, data: Bytes) {
        if self.spills.takes(self.layout.piece_len(block.piece())) {
            let digest = self.blame.hasher.hash_one(&data[..]);
            let step = self.spills.store(block.piece().get(), block.begin(), data, digest);
            return self.spill(block.piece(), step);
        }
        let (piece, count) = (block.piece(), self.layout.block_count(block.piece()) as usize);
        let arriving =
            self.pieces.entry(piece.get()).or_insert_with(|| Arriving::new(&self.storage, piece, count));
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

    /// Sends a whole piece to be hashed and written.
    pub(crate) fn verify(&mut self, piece: PieceIndex) {
        if self.spills.has(piece.get()) {
            if self.blame.kept.contains_key(&piece.get()) {
                self.blame.candidates.insert(piece.get(), self.spills.digests(piece.get()));
            }
            let step = self.spills.complete(piece.get());
            return self.spill(piece, step);
        }
        let arriving = self.pieces.remove(&piece.get());
        let arriving = arriving.unwrap_or_else(|| Arriving::new(&self.storage, piece, 0));
        let blocks: Vec<Bytes> = arriving.blocks.into_iter().flatten().collect();
        if self.blame.kept.contains_key(&piece.get()) {
            let digests = self.blame.digests(&blocks);
            self.blame.candidates.insert(piece.get(), digests);
        }
        // The others fill the lanes next to this one.
        self.hash();
        self.submit(piece, blocks, arriving.hash);
    }

    fn submit(&mut self, piece: PieceIndex, blocks: Vec<Bytes>, hash: Arc<PieceHash>) {
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
        if self.pool.submit(job).is_ok() {
            self.jobs.insert(piece.get(), blocks);
        } else {
            self.park(piece, blocks, Instant::now());
        }
    }

    /// Carries on with a piece too large for memory.
    fn spill(&self, piece: PieceIndex, step: Option<Step>) {
        match step {
            None => {}
            Some(Step::Write(round, runs)) => self.run(move |storage| {
                let mut runs = runs;
                while let Some((begin, blocks)) = runs.last() {
                    if let Err(error) = storage.spill(piece, *begin, blocks) {
                        return DiskDone::Spilled { piece, round, unwritten: runs, error: Some(error) };
                    }
                    runs.pop();
                }
                DiskDone::Spilled { piece, round, unwritten: runs, error: None }
            }),
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
                self.probe_at = Some(now + PROBE_INTERVAL);
                Err(error)
            }
        }
    }

    fn park(&mut self, piece: PieceIndex, blocks: Vec<Bytes>, now: Instant) {
        self.parked.push((piece, blocks));
        self.probe_at = Some(now + PROBE_INTERVAL);
    }

    /// Does something that may wait, on a disk thread.
    fn run(&self, work: impl FnOnce(&Storage) -> DiskDone + Send + 'static) {
        self.try_run(work);
    }

    /// The same; `false`: there will be no answer.
    fn try_run(&self, work: impl FnOnce(&Storage) -> DiskDone + Send + 'static) -> bool {
        let (storage, done) = (self.storage.clone(), self.done.clone());
        let job = Job::Run(Box::new(move || drop(done.send(work(&storage)))));
        let submitted = self.pool.submit(job);
        if submitted.is_err() {
            tracing::error!("the disk threads are overloaded or gone");
        }
        submitted.is_ok()
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
            Ok(true) => {
                self.unsynced += u64::from(self.layout.piece_len(piece));
                self.unsynced_since.get_or_insert(now);
                Ok(Verdict::Good { suspects: self.blame.good(piece) })
            }
            Ok(false) => {
                let digests = if is_spilled { spilled } else { self.blame.digests(&blocks) };
                self.blame.last = Some((piece.get(), digests));
                self.blame.candidates.remove(&piece.get());
                Ok(Verdict::Bad)
            }
            Err(error) => {
                if is_spilled {
                    self.probe_at = Some(now + PROBE_INTERVAL);
                } else {
                    self.park(piece, blocks, now);
                }
                Err(error)
            }
        }
    }

    /// Looks again at a piece that could not be read.
    pub(crate) fn recheck(&self, piece: PieceIndex) {
        self.run(move |storage| DiskDone::Rechecked(piece, storage.check_piece(piece, &mut Vec::new())));
    }

    /// Puts the last touches to a finished download: empty files, permissions, links.
    pub(crate) fn finish(&self) {
        self.run(|storage| DiskDone::Finished(storage.finish()));
    }

    /// Changes which files are wanted.
    pub(crate) fn set_wanted(&self, wanted: Vec<bool>) {
        self.run(move |storage| DiskDone::Selected(storage.set_wanted(&wanted)));
    }

    /// The swarm wants the digests of the piece that just failed.
    pub(crate) fn keep_suspect(&mut self, piece: PieceIndex) {
        if let Some((failed, digests)) = self.blame.last.take_if(|(failed, _)| *failed == piece.get()) {
            self.blame.kept.insert(failed, digests);
        }
    }

    /// Starts what is due: a sync, a probe of a failed disk.
    pub(crate) fn tick(&mut self, now: Instant) {
        let due = SYNC_BYTES <= self.unsynced
            || self.unsynced_since.is_some_and(|since| since + SYNC_INTERVAL <= now);
        if due && !self.syncing {
            self.sync();
        }
        if self.probe_at.is_some_and(|at| at <= now) {
            let is_asked = self.try_run(|storage| DiskDone::Probed(storage.probe()));
            self.probe_at = (!is_asked).then_some(now + PROBE_INTERVAL);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let sync = self.unsynced_since.filter(|_| !self.syncing).map(|since| since + SYNC_INTERVAL);
        [sync, self.probe_at].into_iter().flatten().min()
    }

    /// Makes what was written durable and records it.
    pub(crate) fn sync(&mut self) {
        self.syncing = self.try_run(|storage| DiskDone::Synced(storage.sync()));
        self.unsynced = 0;
        // Refused, it is due again in a while.
        self.unsynced_since = (!self.syncing).then(Instant::now);
    }

    pub(crate) fn synced(&mut self) {
        self.syncing = false;
    }

    /// Books a probe. `true`: the disk takes data again, and the kept pieces are on their way.
    pub(crate) fn probed(&mut self, result: &Result<(), StorageError>, now: Instant) -> bool {
        if result.is_err() {
            self.probe_at = Some(now + PROBE_INTERVAL);
            return false;
        }
        for (piece, blocks) in std::mem::take(&mut self.parked) {
            let hash = PieceHash::new(&self.storage, piece);
            self.submit(piece, blocks, hash);
        }
        for (piece, step) in self.spills.resume() {
            if let Some(piece) = self.layout.piece(piece) {
                self.spill(piece, Some(step));
            }
        }
        true
    }

    /// Tries the failed disk again soon, after an error that was not about a piece.
    pub(crate) fn probe_later(&mut self, now: Instant) {
        self.probe_at.get_or_insert(now + PROBE_INTERVAL);
    }

    /// Tries the failed disk again at once.
    pub(crate) fn probe_now(&mut self, now: Instant) {
        self.probe_at = Some(now);
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

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Hash matched, bytes written. `suspects`: offsets of the blocks in which an earlier failed copy differed.
    Good {
        /// `None` when no failed copy was kept.
        suspects: Option<Vec<u32>>,
    },
    /// The hash did not match.
    Bad,
}

impl Blame {
    fn digests(&self, blocks: &[Bytes]) -> Vec<u64> {
        blocks.iter().map(|block| self.hasher.hash_one(&block[..])).collect()
    }

    fn good(&mut self, piece: PieceIndex) -> Option<Vec<u32>> {
        let failed = self.kept.remove(&piece.get())?;
        let good = self.candidates.remove(&piece.get())?;
        let differs = |(n, (failed, good)): (usize, (&u64, &u64))| {
            (failed != good).then_some(u32::try_from(n).ok()? * BLOCK_LENGTH)
        };
        Some(failed.iter().zip(&good).enumerate().filter_map(differs).collect())
    }
}
