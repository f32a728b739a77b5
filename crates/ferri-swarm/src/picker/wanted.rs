//! The picker's other half: which pieces are wanted, had, announced by peers, verified or failed.

use std::time::Instant;

use ferri_metainfo::{Bitfield, PieceIndex};

use super::{Picker, Sender};
use crate::input::Priority;
use crate::pieces::PeerPieces;

/// Who sent the blocks of a piece that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockSenders {
    /// For each block an index into `senders`.
    pub(crate) by_block: Vec<u16>,
    pub(crate) senders: Vec<Sender>,
}

impl Picker {
    /// A peer came with its pieces, or announced all of them at once.
    pub(crate) fn peer_has(&mut self, has: &PeerPieces) {
        match has {
            PeerPieces::All { .. } => self.seeds += 1,
            PeerPieces::Some(bits) => {
                for piece in bits.iter_ones().filter_map(|bit| self.layout.piece(bit)) {
                    self.rarity.increment(piece);
                }
            }
        }
        self.epoch += 1;
    }

    /// A peer left with its pieces.
    pub(crate) fn peer_left(&mut self, has: &PeerPieces) {
        match has {
            PeerPieces::All { .. } => self.seeds -= 1,
            PeerPieces::Some(bits) => {
                for piece in bits.iter_ones().filter_map(|bit| self.layout.piece(bit)) {
                    self.rarity.decrement(piece);
                }
            }
        }
    }

    /// A peer has one piece more.
    pub(crate) fn peer_gained(&mut self, piece: PieceIndex) {
        self.rarity.increment(piece);
    }

    /// A peer has one piece less (BEP 54). One that had all of them is counted piece by piece from here on.
    pub(crate) fn peer_lost(&mut self, has: &mut PeerPieces, piece: PieceIndex) -> bool {
        if !has.has(piece) {
            return false;
        }
        if let PeerPieces::All { len } = *has {
            self.peer_left(has);
            *has = PeerPieces::Some(Bitfield::full(len));
            self.peer_has(has);
        }
        if let PeerPieces::Some(bits) = has {
            bits.clear(piece.get());
        }
        self.rarity.decrement(piece);
        true
    }

    /// Pieces of this peer that we want and lack.
    pub(crate) fn interesting(&self, has: &PeerPieces) -> u32 {
        match has {
            PeerPieces::All { .. } => self.missing,
            PeerPieces::Some(bits) => bits.count_and_not(&self.settled),
        }
    }

    /// Whether this peer has anything that we want and lack and none of the others has.
    pub(crate) fn has_alone(&self, has: &PeerPieces, others: &[&PeerPieces]) -> bool {
        if others.iter().any(|other| other.is_seed()) || self.missing == 0 {
            return false;
        }
        let alone = |piece: &PieceIndex| {
            self.is_missing(*piece) && has.has(*piece) && !others.iter().any(|other| other.has(*piece))
        };
        self.layout.pieces().any(|piece| alone(&piece))
    }

    /// Whether a piece is wanted and not had.
    pub(crate) fn is_missing(&self, piece: PieceIndex) -> bool {
        !self.settled.get(piece.get())
    }

    /// The first piece that is wanted and not had.
    pub(crate) fn first_missing(&self) -> Option<PieceIndex> {
        self.settled.iter_zeros().find_map(|piece| self.layout.piece(piece))
    }

    /// Whether pieces are open, and all of them have come and are being verified, with no room for another.
    pub(crate) fn is_all_verifying(&self) -> bool {
        self.verifying != 0 && self.verifying == self.index.len() && !self.has_more()
    }

    /// Whether a piece is wanted and no block of it was asked of any peer.
    pub(crate) fn is_unbegun(&self, piece: PieceIndex) -> bool {
        self.rarity.contains(piece)
    }

    /// Whether no connected peer has a piece.
    pub(crate) fn is_unseen(&self, piece: PieceIndex) -> bool {
        self.seeds == 0 && self.rarity.is_unseen(piece)
    }

    /// Verified pieces.
    pub(crate) fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Copies of the torrent among the connected peers.
    pub(crate) fn copies(&self) -> f64 {
        f64::from(self.seeds) + self.rarity.copies()
    }

    /// Pieces that are wanted and not had.
    pub(crate) fn missing(&self) -> u32 {
        self.missing
    }

    /// Their bytes.
    pub(crate) fn missing_bytes(&self) -> u64 {
        self.missing_bytes
    }

    /// Bytes of verified pieces.
    pub(crate) fn have_bytes(&self) -> u64 {
        self.have_bytes
    }

    /// Pieces that are not skipped, and their bytes.
    pub(crate) fn wanted(&self) -> (u32, u64) {
        (self.wanted, self.wanted_bytes)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn open_bytes(&self) -> u64 {
        self.open_bytes
    }

    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Changes whenever there may be something to ask for that was not there before.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn priority(&self, piece: PieceIndex) -> Priority {
        self.rarity.priority(piece)
    }

    pub(crate) fn set_memory(&mut self, bytes: u64) {
        self.memory_bytes = bytes;
        self.epoch += 1;
    }

    pub(crate) fn is_sequential(&self) -> bool {
        self.sequential
    }

    pub(crate) fn set_sequential(&mut self, sequential: bool) {
        self.sequential = sequential;
    }

    /// Changes how much each piece is wanted; pieces beyond the list are normal. Returns the open pieces that are
    /// skipped from here on and not being verified: the caller abandons them.
    pub(crate) fn set_priorities(&mut self, priorities: &[Priority]) -> Vec<PieceIndex> {
        self.settled = self.have.clone();
        (self.missing, self.missing_bytes) = (0, 0);
        (self.wanted, self.wanted_bytes) = (0, 0);
        for piece in self.layout.pieces() {
            let priority = priorities.get(piece.as_usize()).copied().unwrap_or_default();
            self.rarity.set_priority(piece, priority);
            if priority != Priority::Skip {
                self.wanted += 1;
                self.wanted_bytes += u64::from(self.layout.piece_len(piece));
            }
            if self.have.get(piece.get()) {
                continue;
            }
            if priority == Priority::Skip {
                self.settled.set(piece.get());
            } else {
                self.missing += 1;
                self.missing_bytes += u64::from(self.layout.piece_len(piece));
                if !self.index.contains_key(&piece) {
                    self.rarity.insert(piece);
                }
            }
        }
        self.epoch += 1;
        let mut dropped: Vec<_> =
            self.index.keys().copied().filter(|piece| !self.is_missing(*piece)).collect();
        dropped.retain(|piece| self.open_piece(*piece).is_some_and(|open| !open.verifying));
        dropped.sort_unstable();
        dropped
    }

    /// Sets or takes back a deadline.
    pub(crate) fn set_deadline(&mut self, piece: PieceIndex, at: Option<Instant>) {
        if let Some(old) = self.deadline_of.remove(&piece) {
            self.deadlines.remove(&(old, piece));
        }
        if let Some(at) = at.filter(|_| self.is_missing(piece)) {
            self.deadline_of.insert(piece, at);
            self.deadlines.insert((at, piece));
            self.epoch += 1;
        }
    }

    /// Whether all blocks of a piece came and the caller is at work on it.
    pub(crate) fn is_verifying(&self, piece: PieceIndex) -> bool {
        self.open_piece(piece).is_some_and(|open| open.verifying)
    }

    /// Who sent all of a piece, if that was one peer.
    pub(crate) fn lone_sender(&self, piece: PieceIndex) -> Option<Sender> {
        self.open_piece(piece)?.lone_sender()
    }

    /// The piece is good and on disk.
    pub(crate) fn verified(&mut self, piece: PieceIndex) {
        debug_assert!(self.is_verifying(piece));
        self.have.set(piece.get());
        self.have_bytes += u64::from(self.layout.piece_len(piece));
        if self.settled.set(piece.get()) {
            self.missing -= 1;
            self.missing_bytes -= u64::from(self.layout.piece_len(piece));
        }
        self.failed.remove(&piece);
        self.set_deadline(piece, None);
        self.close(piece);
    }

    /// The piece did not match its hash. It is fetched again, from one peer alone, so that it is known who is wrong.
    pub(crate) fn corrupt(&mut self, piece: PieceIndex) -> BlockSenders {
        let block_senders = self.open_piece(piece).map(|open| open.block_senders());
        let (by_block, senders) = block_senders.unwrap_or_default();
        self.failed.insert(piece);
        self.close(piece);
        BlockSenders { by_block, senders }
    }

    /// The piece is fetched again (the disk failed), or not at all (it is skipped). Returns how many
    /// bytes of it had come.
    pub(crate) fn abandon(&mut self, piece: PieceIndex) -> u64 {
        let bytes = self.open_piece(piece).map_or(0, |open| open.received_bytes());
        self.close(piece);
        bytes
    }

    /// A piece that is not open turned out to be there. Whether that is news.
    pub(crate) fn found(&mut self, piece: PieceIndex) -> bool {
        if self.index.contains_key(&piece) || !self.have.set(piece.get()) {
            return false;
        }
        self.have_bytes += u64::from(self.layout.piece_len(piece));
        if self.settled.set(piece.get()) {
            self.missing -= 1;
            self.missing_bytes -= u64::from(self.layout.piece_len(piece));
        }
        self.rarity.remove(piece);
        self.failed.remove(&piece);
        self.set_deadline(piece, None);
        true
    }

    /// A piece we had is not there any more.
    pub(crate) fn lost(&mut self, piece: PieceIndex) -> bool {
        if !self.have.clear(piece.get()) {
            return false;
        }
        self.have_bytes -= u64::from(self.layout.piece_len(piece));
        if self.priority(piece) != Priority::Skip {
            self.settled.clear(piece.get());
            self.missing += 1;
            self.missing_bytes += u64::from(self.layout.piece_len(piece));
            self.rarity.insert(piece);
        }
        self.epoch += 1;
        true
    }

    /// Every open piece that is not being verified, ascending.
    pub(crate) fn unfinished(&self) -> Vec<PieceIndex> {
        let mut pieces = self.under_way();
        pieces.retain(|piece| !self.is_verifying(*piece));
        pieces
    }

    /// Open pieces, ascending.
    pub(crate) fn under_way(&self) -> Vec<PieceIndex> {
        let mut pieces: Vec<_> = self.index.keys().copied().collect();
        pieces.sort_unstable();
        pieces
    }

    /// How many peers have each piece.
    pub(crate) fn availability(&self) -> Vec<u32> {
        let seeds = self.seeds;
        self.rarity.availability().map(|peers| seeds + u32::from(peers)).collect()
    }

    /// Whether a peer was asked for a block and may still send it.
    #[cfg(test)]
    pub(crate) fn is_requested(&self, block: ferri_metainfo::Block, slot: super::PeerSlot) -> bool {
        let n = block.begin() / ferri_metainfo::limits::BLOCK_LENGTH;
        self.open_piece(block.piece()).is_some_and(|open| open.holders(n).contains(&slot))
    }
}
