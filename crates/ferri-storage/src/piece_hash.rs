//! The hash of a piece that is still arriving: blocks are hashed while they are warm, those of several pieces together.
//!
//! A [`PieceHash`] is at most once in the pool's queue and in at most one thread's hands, so that no thread waits for
//! its hash: blocks that arrive meanwhile wait with it. When the last block is in and hashed, the piece goes on to be
//! written, or is answered for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ferri_metainfo::{Info, PieceIndex};

use crate::pool::Reply;
use crate::store::Store;
use crate::verify::Verifier;

/// A piece on its way from the network to its hash.
pub struct PieceHash {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` while a thread has it, and when the torrent does not tell this piece's hash.
    verifier: Option<Verifier>,
    /// Blocks that came since.
    waiting: Vec<Bytes>,
    /// Blocks that came in all.
    pushed: usize,
    /// All blocks came; what is to happen when they are hashed.
    last: Option<Whole>,
    /// In the pool's queue or in a thread's hands.
    queued: bool,
}

/// A piece that has all its blocks.
pub(crate) struct Whole {
    pub(crate) storage: Arc<Store>,
    pub(crate) piece: PieceIndex,
    pub(crate) blocks: Vec<Bytes>,
    pub(crate) reply: Reply,
}

/// What a thread has at hand of a piece.
pub(crate) struct Portion {
    hash: Arc<PieceHash>,
    verifier: Option<Verifier>,
    blocks: Vec<Bytes>,
    /// Of `blocks`, the first that is not hashed.
    next: usize,
    /// Nothing will follow.
    is_last: bool,
}

/// What comes after a portion.
pub(crate) enum After {
    /// More came meanwhile.
    More(Arc<PieceHash>),
    /// More will come.
    Rest,
    /// The piece is hashed; whether it is what it should be.
    Whole(Box<Whole>, bool),
}

impl PieceHash {
    /// Nothing of the piece hashed yet.
    #[must_use]
    pub fn new(info: &Info, piece: PieceIndex) -> Arc<Self> {
        let verifier = Verifier::new(info, piece);
        Arc::new(Self { state: Mutex::new(State { verifier, ..State::default() }) })
    }

    /// Takes the next blocks of the piece, in order and without a gap. Whether it has to be put into the queue.
    pub(crate) fn push(&self, blocks: impl IntoIterator<Item = Bytes>) -> bool {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.extend(blocks);
        state.pushed += state.waiting.len() - before;
        !state.waiting.is_empty() && !std::mem::replace(&mut state.queued, true)
    }

    /// All blocks are there: takes those that were not pushed. Whether it has to be put into the queue.
    pub(crate) fn complete(&self, whole: Whole) -> bool {
        let mut state = self.lock();
        let known = state.pushed;
        state.waiting.extend(whole.blocks.iter().skip(known).cloned());
        state.last = Some(whole);
        !std::mem::replace(&mut state.queued, true)
    }

    /// Takes what waits, to be hashed by [`Portion::hash_all`].
    pub(crate) fn take(self: Arc<Self>) -> Portion {
        let mut state = self.lock();
        let (verifier, blocks) = (state.verifier.take(), std::mem::take(&mut state.waiting));
        let is_last = state.last.is_some();
        drop(state);
        Portion { hash: self, verifier, blocks, next: 0, is_last }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere cannot have spoilt it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Portion {
    /// Hashes portions side by side. What would be hashed all alone is left for another time, unless it is the end of its
    /// piece.
    pub(crate) fn hash_all(portions: &mut [Self]) {
        loop {
            let mut lanes: Vec<&mut Self> =
                portions.iter_mut().filter(|portion| portion.next < portion.blocks.len()).collect();
            // Two at a time is the narrowest that is faster than one by one.
            if !lanes.len().is_multiple_of(2)
                && let Some(at) = lanes.iter().rposition(|lane| !lane.is_last)
            {
                lanes.remove(at);
            }
            if lanes.is_empty() {
                return;
            }
            let mut parts = Vec::with_capacity(lanes.len());
            for lane in lanes {
                let count = if lane.is_tree() { lane.blocks.len() - lane.next } else { 1 };
                let blocks = &lane.blocks[lane.next..lane.next + count];
                lane.next += count;
                parts.extend(lane.verifier.as_mut().map(|verifier| (verifier, blocks)));
            }
            Verifier::update_many(&mut parts);
        }
    }

    fn is_tree(&self) -> bool {
        matches!(self.verifier, Some(Verifier::V2 { .. }))
    }

    /// Gives the hash back, and what is not hashed.
    pub(crate) fn done(mut self) -> After {
        // The buffers go back before anything else happens to the piece.
        self.blocks.drain(..self.next);
        let mut state = self.hash.lock();
        let has_more = !state.waiting.is_empty() || (state.last.is_some() && !self.blocks.is_empty());
        state.waiting.splice(..0, self.blocks);
        if has_more {
            state.verifier = self.verifier;
            drop(state);
            return After::More(self.hash);
        }
        if let Some(whole) = state.last.take() {
            drop(state);
            return After::Whole(Box::new(whole), self.verifier.is_some_and(Verifier::finish));
        }
        state.verifier = self.verifier;
        state.queued = false;
        After::Rest
    }
}

impl fmt::Debug for PieceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PieceHash").field("pushed", &self.lock().pushed).finish_non_exhaustive()
    }
}
