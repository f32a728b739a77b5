//! What waits for a disk thread, in lanes: each has its bound and its place in the order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::turns::Turns;
use super::{Check, Job, PoolOptions};
use crate::piece_hash::{PieceHash, Portion, Whole};

/// Pieces hashed side by side: as many as the widest kernel takes.
const HASHES_AT_ONCE: usize = 16;

/// How much may wait in each lane. What jobs hold in memory is limited by the callers that submit them; these bounds
/// only stop a mistake, and keep one kind of work from being refused because of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lanes {
    /// Whole pieces that wait for their hash or to be written.
    pub pieces: usize,
    /// What else a torrent wants of its files: spilled blocks, last touches, another selection.
    pub others: usize,
    /// Syncs: one a torrent.
    pub syncs: usize,
    /// Blocks for peers: one a connection.
    pub reads: usize,
    /// Looks at pieces in doubt: one a torrent.
    pub looks: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { pieces: 4096, others: 4096, syncs: 4096, reads: 4096, looks: 1024 }
    }
}

pub(super) struct Queue {
    lanes: Lanes,
    threads: usize,
    /// Pieces whose hash matched.
    pub(super) verified: VecDeque<Whole>,
    /// Torrents of which a thread is writing a piece.
    pub(super) writing: Vec<u64>,
    others: VecDeque<Job>,
    syncs: VecDeque<Job>,
    /// Threads that sync.
    pub(super) syncing: usize,
    pub(super) hashes: VecDeque<Arc<PieceHash>>,
    reads: VecDeque<Job>,
    /// Checks that are under way: each stands here once for every thread it may use.
    pub(super) checks: VecDeque<Arc<Check>>,
    /// Those of them that did not wait.
    pub(super) looks: usize,
    /// Checks that wait.
    pub(super) turns: Turns,
    pub(super) closing: bool,
}

/// What a thread does next.
pub(super) enum Next {
    Write(Whole),
    Job(Job),
    Sync(Job),
    Hashes(Vec<Portion>),
    Check(Arc<Check>, bool),
    End,
}

impl Queue {
    pub(super) fn new(options: &PoolOptions) -> Self {
        Self {
            lanes: options.lanes.clone(),
            threads: options.threads.max(1),
            verified: VecDeque::new(),
            writing: Vec::new(),
            others: VecDeque::new(),
            syncs: VecDeque::new(),
            syncing: 0,
            hashes: VecDeque::new(),
            reads: VecDeque::new(),
            checks: VecDeque::new(),
            looks: 0,
            turns: Turns::new(options.checks_at_once),
            closing: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        let lanes = [self.verified.len(), self.others.len(), self.syncs.len(), self.hashes.len()];
        lanes.iter().sum::<usize>() + self.reads.len() + self.checks.len() + self.turns.waiting()
    }

    pub(super) fn has_room_for(&self, job: &Job) -> bool {
        let (waiting, most) = match job {
            Job::WritePiece { .. } => (self.hashes.len() + self.verified.len(), self.lanes.pieces),
            Job::Run(_) => (self.others.len(), self.lanes.others),
            Job::Sync { .. } => (self.syncs.len(), self.lanes.syncs),
            Job::ReadBlocks { .. } => (self.reads.len(), self.lanes.reads),
            Job::CheckPieces { .. } => (self.looks, self.lanes.looks),
        };
        waiting < most
    }

    pub(super) fn push(&mut self, job: Job) {
        match job {
            Job::WritePiece { storage, piece, blocks, hash, reply } => {
                if hash.complete(Whole { storage, piece, blocks, reply }) {
                    self.hashes.push_back(hash);
                }
            }
            Job::Run(_) => self.others.push_back(job),
            Job::Sync { .. } => self.syncs.push_back(job),
            Job::ReadBlocks { .. } => self.reads.push_back(job),
            Job::CheckPieces { storage, pieces, cancel, progress, reply } => {
                self.looks += 1;
                self.begin(Arc::new(Check::new(storage, pieces.into(), cancel, progress, reply)));
            }
        }
    }

    /// A check's turn has come.
    pub(super) fn begin(&mut self, check: Arc<Check>) {
        check.begin(self.threads);
        self.checks.extend(std::iter::repeat_n(check, self.threads));
    }

    pub(super) fn next(&mut self) -> Option<Next> {
        let is_free = |whole: &Whole| !self.writing.contains(&whole.storage.id());
        if let Some(at) = self.verified.iter().position(is_free)
            && let Some(whole) = self.verified.remove(at)
        {
            self.writing.push(whole.storage.id());
            return Some(Next::Write(whole));
        }
        if let Some(job) = self.others.pop_front() {
            return Some(Next::Job(job));
        }
        // A sync waits for the device: many torrents that sync leave half of the threads to those who wait for bytes.
        if self.syncing < (self.threads / 2).max(1)
            && let Some(job) = self.syncs.pop_front()
        {
            self.syncing += 1;
            return Some(Next::Sync(job));
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
        // A thread that writes a piece finds the others of its torrent, and one that syncs the other syncs.
        self.closing.then_some(Next::End)
    }
}
