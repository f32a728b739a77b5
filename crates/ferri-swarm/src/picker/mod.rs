//! Which block next: rarest first, started pieces before new ones, whole pieces to fast peers, all within a memory budget.
//!
//! Cost a block does not depend on how many pieces or peers there are: blocks are given away in runs, a run needs one choice
//! of a piece, and a choice looks at a bounded number of pieces. What a peer is worth (its rate, its window, whether it is
//! suspect) is said by the caller; see `requests.rs`.

mod open;
mod rarity;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Bitfield, Block, Layout, PieceIndex};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::input::PeerKey;
use crate::pieces::PeerPieces;
use crate::rng::Rng;
use open::{End, OpenPiece};
pub(crate) use open::{PeerSlot, Sender};
use rarity::Rarity;
pub(crate) use wanted::BlockSenders;

/// The first pieces are any pieces: something to trade is worth more than the rarest.
const RANDOM_FIRST: u32 = 4;
/// Open pieces looked at for one choice. When memory is short all are, as there is nothing else to do.
const LOOK: usize = 24;
/// Pieces with a deadline looked at for one choice.
const DEADLINE_LOOK: usize = 16;
/// Blocks of late pieces looked at for one search of blocks to ask for twice.
const LATE_LOOK: usize = 1_024;
/// A block is asked of so many peers at a time in the end game, and of one more if all of them are stalled.
const COPIES_MAX: usize = 2;
/// Begun pieces may take so much memory before peers help one another with them rather than begin further ones.
const OPEN_BYTES: u64 = 4 << 20;
/// With more than this in begun pieces, no further one is begun while any waits for the disk.
const BUSY_BYTES: u64 = 8 << 20;
/// Closed pieces whose memory is kept for the next ones.
const SPARE_MAX: usize = 16;

/// A peer that could be asked for blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) slot: PeerSlot,
    pub(crate) peer: PeerKey,
    pub(crate) has: &'a PeerPieces,
    /// The piece it got blocks of the last time.
    pub(crate) working: Option<PieceIndex>,
    /// It is fast enough to get whole pieces.
    pub(crate) whole: bool,
    /// It is suspect: only pieces that no other peer touches.
    pub(crate) alone: bool,
    /// Of the rarest pieces, these first.
    pub(crate) suggested: &'a VecDeque<PieceIndex>,
    /// Only these (a choked peer and its allowed fast set).
    pub(crate) only: Option<&'a [PieceIndex]>,
    /// Not these: it rejected requests for them.
    pub(crate) refused: &'a [PieceIndex],
    /// Whether it may begin pieces. A snubbed peer must not, as it would only hold memory.
    pub(crate) may_open: bool,
}

impl Asker<'_> {
    pub(crate) fn fits(&self, piece: PieceIndex) -> bool {
        self.has.has(piece)
            && self.only.is_none_or(|only| only.contains(&piece))
            && (self.refused.is_empty() || !self.refused.contains(&piece))
    }
}

/// What became of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is not needed (any more).
    Unwanted,
    /// It is new.
    Stored {
        /// It was the last one of its piece.
        complete: bool,
        /// Who else was asked for it.
        others: SmallVec<[PeerSlot; 4]>,
    },
}

/// What became of the wish to ask one more peer for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// It is asked.
    Yes,
    /// Not this peer.
    NotHere,
    /// No further peer: enough were asked, or it came.
    Enough,
}

/// What is wanted, what is begun, and what comes next.
#[derive(Debug)]
pub(crate) struct Picker {
    layout: Layout,
    have: Bitfield,
    /// Pieces that are not to be fetched: skipped or had.
    settled: Bitfield,
    rarity: Rarity,
    /// Connected peers that have everything from the start.
    seeds: u32,
    open: Vec<OpenPiece>,
    /// Places in `open` that are not in use.
    vacant: Vec<u32>,
    index: FxHashMap<PieceIndex, u32>,
    /// Open pieces with free blocks, in no order. Each knows its place.
    with_free: Vec<u32>,
    open_bytes: u64,
    memory_bytes: u64,
    /// Received blocks of open pieces, in bytes.
    pending_bytes: u64,
    /// Open pieces that are being verified.
    verifying: usize,
    /// Their bytes.
    verifying_bytes: u64,
    /// Pieces with a deadline that are not had, by time.
    deadlines: BTreeSet<(Instant, PieceIndex)>,
    deadline_of: BTreeMap<PieceIndex, Instant>,
    /// Pieces that failed their hash and are fetched from one peer alone.
    failed: BTreeSet<PieceIndex>,
    sequential: bool,
    /// Grows when something became available that was not: peers that found nothing need not look before.
    epoch: u64,
    missing: u32,
    missing_bytes: u64,
    /// Pieces that are not skipped.
    wanted: u32,
    wanted_bytes: u64,
    have_bytes: u64,
    rng: Rng,
}

impl Picker {
    pub(crate) fn new(
        layout: Layout,
        have: Bitfield,
        memory_bytes: u64,
        sequential: bool,
        seed: u64,
    ) -> Self {
        let pieces = layout.piece_count();
        assert_eq!(have.len(), pieces, "a bitfield of another torrent");
        let mut picker = Self {
            settled: have.clone(),
            rarity: Rarity::new(pieces),
            seeds: 0,
            open: Vec::new(),
            vacant: Vec::new(),
            index: FxHashMap::default(),
            with_free: Vec::new(),
            open_bytes: 0,
            memory_bytes,
            pending_bytes: 0,
            verifying: 0,
            verifying_bytes: 0,
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            failed: BTreeSet::new(),
            sequential,
            epoch: 1,
            missing: 0,
            missing_bytes: 0,
            wanted: pieces,
            wanted_bytes: 0,
            have_bytes: 0,
            rng: Rng::new(seed),
            layout,
            have,
        };
        for piece in picker.layout.pieces() {
            let length = u64::from(picker.layout.piece_len(piece));
            picker.wanted_bytes += length;
            if picker.have.get(piece.get()) {
                picker.have_bytes += length;
            } else {
                picker.rarity.insert(piece);
                picker.missing += 1;
                picker.missing_bytes += length;
            }
        }
        picker
    }

    /// Gives up to `count` blocks to a peer, appended to `blocks`, and returns the piece of the last one.
    pub(crate) fn pick(
        &mut self,
        asker: &Asker<'_>,
        count: usize,
        now: Instant,
        blocks: &mut Vec<Block>,
    ) -> Option<PieceIndex> {
        let until = blocks.len() + count;
        let mut working = asker.working;
        while blocks.len() < until {
            let Some((at, end)) = self.choose(&Asker { working, ..*asker }, now) else { break };
            working = Some(self.open[at as usize].piece);
            self.take_run(at, asker.slot, end, until, now, blocks);
        }
        working
    }

    fn take_run(
        &mut self,
        at: u32,
        slot: PeerSlot,
        end: End,
        until: usize,
        now: Instant,
        blocks: &mut Vec<Block>,
    ) {
        let open = &mut self.open[at as usize];
        while blocks.len() < until
            && let Some(block) = open.request(slot, end, now)
        {
            blocks.push(nth_block(&self.layout, open.piece, block));
        }
        if open.free() == 0 {
            self.unlist_free(at);
        }
    }

    /// The open piece to take blocks of; opens one if that is the best.
    fn choose(&mut self, asker: &Asker<'_>, now: Instant) -> Option<(u32, End)> {
        if !self.deadlines.is_empty()
            && let Some(at) = self.choose_by_deadline(asker, now)
        {
            return Some((at, End::Front));
        }
        if let Some(at) = asker.working.and_then(|piece| self.index.get(&piece).copied())
            && self.may_take(at, asker)
        {
            let open = &mut self.open[at as usize];
            if open.owner == Some(asker.slot) && !asker.whole && !open.alone {
                open.owner = None;
            }
            return Some((at, End::Front));
        }
        if let Some(at) = self.choose_begun(asker) {
            let open = &mut self.open[at as usize];
            if asker.whole || asker.alone || open.alone {
                open.owner = Some(asker.slot);
                open.alone |= asker.alone;
            }
            return Some((at, End::Front));
        }
        if !self.is_roomy()
            && !asker.alone
            && let Some(at) = self.choose_shared(asker)
        {
            return Some((at, End::Back));
        }
        if let Some(at) = self.open_new(asker, now) {
            return Some((at, End::Front));
        }
        let shared = self.choose_shared(asker).or_else(|| {
            // Suspects are kept apart while there is something else for them, or a swarm of suspects would stand still.
            if asker.alone { self.choose_shared(&Asker { alone: false, ..*asker }) } else { None }
        });
        shared.map(|at| (at, End::Back))
    }

    /// Pieces that are needed by a certain time go before everything else, whichever peer owns them.
    fn choose_by_deadline(&mut self, asker: &Asker<'_>, now: Instant) -> Option<u32> {
        let urgent: SmallVec<[PieceIndex; DEADLINE_LOOK]> =
            self.deadlines.iter().map(|(_, piece)| *piece).take(DEADLINE_LOOK).collect();
        for piece in urgent.into_iter().filter(|piece| asker.fits(*piece)) {
            match self.index.get(&piece).copied() {
                Some(at) if self.may_help(at, asker) => return Some(at),
                None if self.may_open(asker, piece) && self.rarity.contains(piece) => {
                    return Some(self.open(piece, asker, now));
                }
                _ => {}
            }
        }
        None
    }

    /// A begun piece that no peer owns. Of those looked at, the one that needs the fewest blocks (in sequential mode,
    /// the first), so that few are open at a time.
    fn choose_begun(&mut self, asker: &Asker<'_>) -> Option<u32> {
        if self.with_free.is_empty() {
            return None;
        }
        let start = if self.with_free.len() <= LOOK { 0 } else { self.rng.below(self.with_free.len()) };
        let turned = self.with_free[start..].iter().chain(&self.with_free[..start]).take(LOOK).copied();
        let key = |at: &u32| {
            let open = &self.open[*at as usize];
            (if self.sequential { open.piece.get() } else { open.free() }, open.piece.get())
        };
        turned.filter(|at| self.may_take(*at, asker)).min_by_key(key)
    }

    /// Any piece with free blocks, even another's own: better to help than to be idle.
    fn choose_shared(&self, asker: &Asker<'_>) -> Option<u32> {
        let fewest = |at: &u32| (self.open[*at as usize].free(), *at);
        self.with_free.iter().copied().filter(|at| self.may_help(*at, asker)).min_by_key(fewest)
    }

    /// Whether the peer may take blocks of an open piece that it owns or no peer owns.
    fn may_take(&self, at: u32, asker: &Asker<'_>) -> bool {
        let open = &self.open[at as usize];
        open.owner.is_none_or(|owner| owner == asker.slot) && self.may_help(at, asker)
    }

    /// Whether the peer may take blocks of an open piece, whichever peer owns it.
    fn may_help(&self, at: u32, asker: &Asker<'_>) -> bool {
        let open = &self.open[at as usize];
        0 < open.free()
            && asker.fits(open.piece)
            && (!open.alone || open.owner.is_none_or(|owner| owner == asker.slot))
            // A late block of another peer does not take the piece away from its owner.
            && (!asker.alone || open.owner == Some(asker.slot) || !open.is_touched_by_others(asker.slot, asker.peer))
    }

    fn open_new(&mut self, asker: &Asker<'_>, now: Instant) -> Option<u32> {
        if !asker.may_open || self.rarity.len() == 0 || !self.has_room(self.layout.piece_length()) {
            return None;
        }
        let fits = |piece: PieceIndex| {
            asker.only.is_none_or(|only| only.contains(&piece)) && !asker.refused.contains(&piece)
        };
        let begun = self.have.count_ones() + self.index.len() as u32;
        let piece = if let Some(only) = asker.only {
            only.iter().copied().find(|piece| self.rarity.contains(*piece) && asker.fits(*piece))
        } else if self.sequential {
            self.rarity.first(asker.has, fits)
        } else {
            let is_rarest =
                |piece: &PieceIndex| asker.has.has(*piece) && fits(*piece) && self.rarity.is_rarest(*piece);
            let suggested = asker.suggested.iter().copied().find(is_rarest);
            let first = suggested.or_else(|| {
                (begun < RANDOM_FIRST).then(|| self.rarity.random(asker.has, &mut self.rng, fits)).flatten()
            });
            first.or_else(|| self.rarity.rarest(asker.has, &mut self.rng, fits))
        };
        piece.map(|piece| self.open(piece, asker, now))
    }

    /// Whether one more piece would be no burden.
    fn is_roomy(&self) -> bool {
        self.open_bytes - self.verifying_bytes + self.memory_of(self.layout.piece_length()) <= OPEN_BYTES
    }

    fn may_open(&self, asker: &Asker<'_>, piece: PieceIndex) -> bool {
        asker.may_open && self.has_room(self.layout.piece_len(piece))
    }

    /// Memory for one more piece. One may always be open, unless there is to be no memory at all. While more than a disk
    /// needs to be busy waits for it, no piece is
    /// begun: a disk slower than the network must slow the network, not fill the memory.
    fn has_room(&self, length: u32) -> bool {
        let length = self.memory_of(length);
        let has_memory = self.memory_bytes != 0;
        has_memory && self.index.is_empty()
            || self.open_bytes + length <= self.memory_bytes
                && (self.verifying == 0 || self.open_bytes + length <= BUSY_BYTES)
    }

    /// What a piece of so many bytes takes while it is open: in torrents of tiny pieces each holds a buffer of a whole block.
    fn memory_of(&self, length: u32) -> u64 {
        let is_tiny = self.layout.piece_length() < BLOCK_LENGTH;
        u64::from(if is_tiny { BLOCK_LENGTH } else { length })
    }

    fn open(&mut self, piece: PieceIndex, asker: &Asker<'_>, now: Instant) -> u32 {
        self.rarity.remove(piece);
        let blocks = self.layout.block_count(piece);
        let at = match self.vacant.pop() {
            Some(at) => {
                self.open[at as usize].reset(piece, blocks, now);
                at
            }
            None => {
                self.open.push(OpenPiece::new(piece, blocks, now));
                self.open.len() as u32 - 1
            }
        };
        self.index.insert(piece, at);
        self.open_bytes += self.memory_of(self.layout.piece_len(piece));
        let alone = asker.alone || self.failed.contains(&piece);
        let open = &mut self.open[at as usize];
        open.alone = alone;
        open.owner = (alone || asker.whole).then_some(asker.slot);
        self.list_free(at);
        at
    }

    /// Closes an open piece. It goes back among those to begin if it is wanted and not had.
    fn close(&mut self, piece: PieceIndex) {
        let Some(at) = self.index.remove(&piece) else { return };
        self.unlist_free(at);
        let memory = self.memory_of(self.layout.piece_len(piece));
        self.open_bytes -= memory;
        let open = &mut self.open[at as usize];
        self.pending_bytes -= open.received_bytes();
        if open.verifying {
            self.verifying -= 1;
            self.verifying_bytes -= memory;
        }
        let touched = open.touched;
        if self.vacant.len() < SPARE_MAX {
            open.reset(piece, 0, touched);
        } else {
            *open = OpenPiece::new(piece, 0, touched);
        }
        self.vacant.push(at);
        if !self.have.get(piece.get()) {
            self.rarity.insert(piece);
        }
        // Room for another piece, if there is one.
        if self.rarity.len() != 0 {
            self.epoch += 1;
        }
    }

    fn list_free(&mut self, at: u32) {
        if self.open[at as usize].free_at.is_none() {
            self.open[at as usize].free_at = Some(self.with_free.len() as u32);
            self.with_free.push(at);
            self.epoch += 1;
        }
    }

    fn unlist_free(&mut self, at: u32) {
        if let Some(place) = self.open[at as usize].free_at.take() {
            self.with_free.swap_remove(place as usize);
            if let Some(moved) = self.with_free.get(place as usize) {
                self.open[*moved as usize].free_at = Some(place);
            }
        }
    }

    fn open_piece(&self, piece: PieceIndex) -> Option<&OpenPiece> {
        self.index.get(&piece).map(|at| &self.open[*at as usize])
    }

    /// A block came from a peer, asked for or not.
    pub(crate) fn receive(&mut self, block: Block, from: PeerSlot, sender: Sender, now: Instant) -> Arrival {
        let Some(at) = self.index.get(&block.piece()).copied() else { return Arrival::Unwanted };
        let memory = self.memory_of(self.layout.piece_len(block.piece()));
        let open = &mut self.open[at as usize];
        let Some(others) = open.receive(block, from, sender, now) else { return Arrival::Unwanted };
        self.pending_bytes += u64::from(block.length());
        let complete = open.is_complete();
        open.verifying = complete;
        if complete {
            self.verifying += 1;
            self.verifying_bytes += memory;
        }
        if open.free() == 0 {
            self.unlist_free(at);
        }
        Arrival::Stored { complete, others }
    }

    /// A peer will not send a block. A piece of which nothing is there and nothing is asked for is closed.
    pub(crate) fn give_back(&mut self, block: Block, slot: PeerSlot) {
        let Some(at) = self.index.get(&block.piece()).copied() else { return };
        let open = &mut self.open[at as usize];
        if open.owner == Some(slot) {
            open.owner = None;
        }
        if open.give_back(block.begin() / BLOCK_LENGTH, slot) {
            if open.received() == 0 && open.requested() == 0 {
                let piece = open.piece;
                self.close(piece);
            } else {
                self.list_free(at);
                self.epoch += 1;
            }
        }
    }

    /// A peer no longer gets whole pieces: it is gone, choked us or is stalled.
    pub(crate) fn disown(&mut self, slot: PeerSlot) {
        for open in self.open.iter_mut().filter(|open| open.owner == Some(slot)) {
            open.owner = None;
            self.epoch += 1;
        }
    }

    /// Whether nothing is left to be asked for the first time, and something is outstanding.
    pub(crate) fn is_end_game(&self) -> bool {
        self.rarity.len() == 0 && self.with_free.is_empty() && self.verifying < self.index.len()
    }

    /// Whether there is a block that was asked of no peer, and memory for it.
    pub(crate) fn has_more(&self) -> bool {
        !self.with_free.is_empty()
            || self.rarity.len() != 0 && self.has_room(self.layout.piece_length())
            || !self.deadlines.is_empty()
    }

    /// Whether a piece is late: its deadline is nearer than `within`.
    pub(crate) fn is_late(&self, now: Instant, within: Duration) -> bool {
        self.deadlines.first().is_some_and(|(at, _)| *at <= now + within)
    }

    /// Blocks that were asked for and have not come, of pieces that are due within so long. The first ones only.
    pub(crate) fn late(&self, now: Instant, within: Duration) -> Vec<Block> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now + within).take(DEADLINE_LOOK);
        let open = due.filter_map(|(_, piece)| self.open_piece(*piece)).filter(|open| !open.verifying);
        open.flat_map(|open| open.requested_blocks().map(|block| nth_block(&self.layout, open.piece, block)))
            .take(LATE_LOOK)
            .collect()
    }

    /// Whether one more peer could be asked for a block, however late those are that were.
    pub(crate) fn may_be_copied(&self, block: Block) -> bool {
        let open = self.open_piece(block.piece());
        open.is_some_and(|open| open.holders(block.begin() / BLOCK_LENGTH).len() <= COPIES_MAX)
    }

    /// Asks a peer for a block that others have been asked for already, if that is worth it. `worth`: whether this peer
    /// would be sooner than that one; `stalled`: whether one gave up on that one.
    pub(crate) fn copy(
        &mut self,
        asker: &Asker<'_>,
        block: Block,
        worth: impl Fn(PeerSlot) -> bool,
        stalled: impl Fn(PeerSlot) -> bool,
    ) -> Copied {
        let Some(at) = self.index.get(&block.piece()).copied() else { return Copied::Enough };
        let open = &mut self.open[at as usize];
        let n = block.begin() / BLOCK_LENGTH;
        let holders = open.holders(n);
        let few =
            holders.len() < COPIES_MAX || holders.len() == COPIES_MAX && holders.iter().all(|h| stalled(*h));
        if holders.is_empty() || !few {
            return Copied::Enough;
        }
        let kept = (open.alone || asker.alone)
            && open.owner.is_some_and(|owner| owner != asker.slot && !stalled(owner));
        if kept
            || holders.contains(&asker.slot)
            || !asker.fits(open.piece)
            || !holders.iter().all(|holder| worth(*holder))
        {
            return Copied::NotHere;
        }
        open.request_copy(n, asker.slot);
        Copied::Yes
    }

    /// A begun piece that was asked of no peer for long loses its owner, whatever was said about it.
    pub(crate) fn release_idle(&mut self, now: Instant) {
        for at in &self.with_free {
            let open = &mut self.open[*at as usize];
            if (open.owner.is_some() || open.alone) && open.is_idle(now) {
                (open.owner, open.alone) = (None, false);
                self.epoch += 1;
            }
        }
    }

    /// Memory is short and nothing moves: the begun piece that was asked of no peer for the longest time, if that is
    /// long enough. It is closed; the bytes of it that had come are returned.
    pub(crate) fn evict(&mut self, now: Instant) -> Option<(PieceIndex, u64)> {
        if self.rarity.len() == 0 || self.has_room(self.layout.piece_length()) {
            return None;
        }
        let idle = |at: &u32| self.open[*at as usize].is_idle(now);
        let at =
            self.with_free.iter().copied().filter(idle).min_by_key(|at| self.open[*at as usize].touched)?;
        let open = &self.open[at as usize];
        let (piece, bytes) = (open.piece, open.received_bytes());
        self.close(piece);
        Some((piece, bytes))
    }
}

/// Blocks an open piece counts are blocks of its layout.
fn nth_block(layout: &Layout, piece: PieceIndex, block: u32) -> Block {
    layout.nth_block(piece, block).expect("an open piece has as many blocks as its layout says")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
