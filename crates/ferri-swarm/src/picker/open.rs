//! A piece between its first request and its verification: who was asked for each block, and who sent it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Block, PieceIndex};
use smallvec::SmallVec;

use crate::bans::Known;
use crate::input::PeerKey;

/// A begun piece that was asked of no peer for so long may be dropped to make room.
const IDLE: Duration = Duration::from_secs(15);

/// A peer's place in the swarm's table. Given to another peer after the first one is gone, and then nothing is
/// outstanding from the first one any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerSlot(pub(crate) u32);

/// Who sent a block, so that it can be said when the peer is long gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) peer: PeerKey,
    pub(crate) addr: SocketAddr,
    /// How the address is known.
    pub(crate) known: Known,
}

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockState {
    /// It was asked of no peer.
    Free,
    /// This peer was asked (and those in `OpenPiece::copies`).
    Requested(PeerSlot),
    /// It came from this one of `OpenPiece::senders`.
    Received(u16),
}

/// Which end of the free blocks is given away: the owner takes from the front, helpers from the back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

/// An open piece.
#[derive(Debug)]
pub(crate) struct OpenPiece {
    pub(crate) piece: PieceIndex,
    blocks: Vec<BlockState>,
    /// One bit a block, set for those that are `Free`.
    free_bits: Vec<u64>,
    /// Words of `free_bits` before this one are 0.
    first_word: usize,
    free: u32,
    received: u32,
    received_bytes: u64,
    /// The fast peer that gets the whole piece.
    pub(crate) owner: Option<PeerSlot>,
    /// Only the owner may be asked: the piece failed before, or the owner is suspect.
    pub(crate) alone: bool,
    /// Further requests of a block in state `Requested`.
    copies: SmallVec<[(u32, PeerSlot); 2]>,
    senders: Vec<Sender>,
    /// All blocks were received and the caller is at work on them.
    pub(crate) verifying: bool,
    /// Place in the picker's list of pieces with free blocks.
    pub(crate) free_at: Option<u32>,
    /// When a block last came or was asked for.
    pub(crate) touched: Instant,
}

impl OpenPiece {
    pub(crate) fn new(piece: PieceIndex, blocks: u32, now: Instant) -> Self {
        let mut open = Self {
            piece,
            blocks: Vec::new(),
            free_bits: Vec::new(),
            first_word: 0,
            free: 0,
            received: 0,
            received_bytes: 0,
            owner: None,
            alone: false,
            copies: SmallVec::new(),
            senders: Vec::new(),
            verifying: false,
            free_at: None,
            touched: now,
        };
        open.reset(piece, blocks, now);
        open
    }

    /// Makes it another piece, with the memory of the old one.
    pub(crate) fn reset(&mut self, piece: PieceIndex, blocks: u32, now: Instant) {
        self.piece = piece;
        self.blocks.clear();
        self.blocks.resize(blocks as usize, BlockState::Free);
        self.free_bits.clear();
        self.free_bits.resize(blocks.div_ceil(64) as usize, u64::MAX);
        if let Some(last) = self.free_bits.last_mut()
            && !blocks.is_multiple_of(64)
        {
            *last = (1 << (blocks % 64)) - 1;
        }
        (self.first_word, self.free, self.received, self.received_bytes) = (0, blocks, 0, 0);
        (self.owner, self.alone, self.verifying, self.free_at) = (None, false, false, None);
        self.copies.clear();
        self.senders.clear();
        self.touched = now;
    }

    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    pub(crate) fn received(&self) -> u32 {
        self.received
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Blocks that were asked for and have not come.
    pub(crate) fn requested(&self) -> u32 {
        self.blocks.len() as u32 - self.free - self.received
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.received as usize == self.blocks.len()
    }

    pub(crate) fn state(&self, block: u32) -> BlockState {
        self.blocks[block as usize]
    }

    /// Who sent each block of a complete piece: an index into the second list for each block.
    pub(crate) fn block_senders(&self) -> (Vec<u16>, Vec<Sender>) {
        let sender = |state: &BlockState| match state {
            BlockState::Received(sender) => *sender,
            BlockState::Free | BlockState::Requested(_) => u16::MAX,
        };
        (self.blocks.iter().map(sender).collect(), self.senders.clone())
    }

    /// No peer is asked for anything of it, and none was for long.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.requested() == 0 && IDLE <= now.saturating_duration_since(self.touched)
    }

    /// Who sent all that came, if that was one peer.
    pub(crate) fn lone_sender(&self) -> Option<Sender> {
        if let [sender] = self.senders.as_slice() { Some(*sender) } else { None }
    }

    /// Gives a free block to a peer.
    pub(crate) fn request(&mut self, slot: PeerSlot, end: End, now: Instant) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        let block = match end {
            End::Front => {
                while self.free_bits[self.first_word] == 0 {
                    self.first_word += 1;
                }
                self.first_word as u32 * 64 + self.free_bits[self.first_word].trailing_zeros()
            }
            End::Back => {
                let word = self.free_bits.iter().rposition(|word| *word != 0)?;
                word as u32 * 64 + 63 - self.free_bits[word].leading_zeros()
            }
        };
        self.unfree(block);
        self.blocks[block as usize] = BlockState::Requested(slot);
        self.touched = now;
        Some(block)
    }

    /// Who has been asked for a block and may still send it.
    pub(crate) fn holders(&self, block: u32) -> SmallVec<[PeerSlot; 4]> {
        let mut holders: SmallVec<[PeerSlot; 4]> = SmallVec::new();
        if let BlockState::Requested(first) = self.state(block) {
            holders.push(first);
            holders.extend(self.copies.iter().filter(|(of, _)| *of == block).map(|(_, holder)| *holder));
        }
        holders
    }

    /// Blocks that were asked for and have not come, the last first: what is asked for first comes first.
    pub(crate) fn requested_blocks(&self) -> impl Iterator<Item = u32> + '_ {
        let is_requested = |block: &u32| matches!(self.state(*block), BlockState::Requested(_));
        (0..self.blocks.len() as u32).rev().filter(is_requested)
    }

    /// Asks one more peer for a block that has been asked for.
    pub(crate) fn request_copy(&mut self, block: u32, slot: PeerSlot) {
        debug_assert!(matches!(self.state(block), BlockState::Requested(first) if first != slot));
        self.copies.push((block, slot));
    }

    /// The peer will not send the block (or is not to). Whether it is free now.
    pub(crate) fn give_back(&mut self, block: u32, slot: PeerSlot) -> bool {
        if self.state(block) == BlockState::Requested(slot) {
            if let Some(copy) = self.copies.iter().position(|(of, _)| *of == block) {
                self.blocks[block as usize] = BlockState::Requested(self.copies.swap_remove(copy).1);
                return false;
            }
            self.blocks[block as usize] = BlockState::Free;
            self.free_bits[block as usize / 64] |= 1 << (block % 64);
            self.first_word = self.first_word.min(block as usize / 64);
            self.free += 1;
            return true;
        }
        self.copies.retain(|copy| *copy != (block, slot));
        false
    }

    /// A block came. `None` if it had come before; otherwise the other peers that were asked for it.
    pub(crate) fn receive(
        &mut self,
        block: Block,
        from: PeerSlot,
        sender: Sender,
        now: Instant,
    ) -> Option<SmallVec<[PeerSlot; 4]>> {
        let length = block.length();
        let block = block.begin() / BLOCK_LENGTH;
        let mut others = SmallVec::new();
        match self.state(block) {
            BlockState::Received(_) => return None,
            BlockState::Free => self.unfree(block),
            BlockState::Requested(first) => {
                if first != from {
                    others.push(first);
                }
                if !self.copies.is_empty() {
                    let copies = self.copies.iter().filter(|(of, holder)| *of == block && *holder != from);
                    others.extend(copies.map(|(_, holder)| *holder));
                    self.copies.retain(|(of, _)| *of != block);
                }
            }
        }
        let sender = self.sender(sender);
        self.blocks[block as usize] = BlockState::Received(sender);
        self.received += 1;
        self.received_bytes += u64::from(length);
        self.touched = now;
        Some(others)
    }

    /// Whether another peer than `slot` was asked for, or sent, a block of this piece.
    pub(crate) fn is_touched_by_others(&self, slot: PeerSlot, peer: PeerKey) -> bool {
        self.senders.iter().any(|sender| sender.peer != peer)
            || self.copies.iter().any(|(_, holder)| *holder != slot)
            || (0 < self.requested()
                && self.blocks.iter().any(|s| matches!(s, BlockState::Requested(holder) if *holder != slot)))
    }

    fn unfree(&mut self, block: u32) {
        self.free_bits[block as usize / 64] &= !(1 << (block % 64));
        self.free -= 1;
    }

    fn sender(&mut self, sender: Sender) -> u16 {
        // Blocks of a piece come in runs from one peer: the newest sender is the likeliest.
        if let Some(at) = self.senders.iter().rposition(|known| known.peer == sender.peer) {
            return at as u16;
        }
        // A piece has at most 32,768 blocks, each with one sender.
        self.senders.push(sender);
        self.senders.len() as u16 - 1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ferri_metainfo::Layout;

    use super::*;

    const A: PeerSlot = PeerSlot(1);
    const B: PeerSlot = PeerSlot(2);
    const C: PeerSlot = PeerSlot(3);

    fn layout() -> Layout {
        Layout::single(130 << 14, 130 << 14).unwrap()
    }

    fn open(blocks: u32) -> OpenPiece {
        OpenPiece::new(layout().piece(0).unwrap(), blocks, Instant::now())
    }

    fn block(n: u32) -> Block {
        layout().nth_block(layout().piece(0).unwrap(), n).unwrap()
    }

    fn sender(n: u64) -> Sender {
        Sender { peer: PeerKey(n), addr: "1.2.3.4:5".parse().unwrap(), known: Known::Connected }
    }

    #[test]
    fn the_owner_takes_from_the_front_and_helpers_from_the_back() {
        let now = Instant::now();
        let mut open = open(130);
        assert_eq!(open.request(A, End::Front, now), Some(0));
        assert_eq!(open.request(B, End::Back, now), Some(129));
        assert_eq!(open.request(B, End::Back, now), Some(128));
        assert_eq!(open.request(B, End::Back, now), Some(127));
        assert_eq!(open.request(A, End::Front, now), Some(1));
        assert_eq!((open.free(), open.requested(), open.received()), (125, 5, 0));
        while open.request(A, End::Front, now).is_some() {}
        assert_eq!((open.free(), open.requested()), (0, 130));
    }

    #[test]
    fn a_block_given_back_is_the_next_one_given_away() {
        let now = Instant::now();
        let mut open = open(100);
        (0..100).for_each(|n| assert_eq!(open.request(A, End::Front, now), Some(n)));
        assert!(open.give_back(3, A));
        assert!(!open.give_back(4, B));
        assert_eq!(open.request(B, End::Front, now), Some(3));
        assert_eq!(open.request(B, End::Front, now), None);
    }

    #[test]
    fn copies_are_cancelled_when_one_arrives_and_promoted_when_the_first_fails() {
        let now = Instant::now();
        let mut open = open(2);
        open.request(A, End::Front, now);
        open.request_copy(0, B);
        open.request_copy(0, C);
        assert_eq!(open.holders(0).as_slice(), [A, B, C]);
        assert!(open.holders(1).is_empty());
        assert!(!open.give_back(0, A));
        assert_eq!(open.state(0), BlockState::Requested(B));
        assert_eq!(open.receive(block(0), C, sender(3), now).unwrap().as_slice(), [B]);
        assert_eq!(open.receive(block(0), B, sender(2), now), None);
        assert!(!open.give_back(0, B));
        assert_eq!(open.receive(block(1), B, sender(2), now).unwrap().len(), 0);
        assert!(open.is_complete());
        assert_eq!(open.block_senders(), (vec![0, 1], vec![sender(3), sender(2)]));
    }

    #[test]
    fn who_else_touched_a_piece_is_known() {
        let now = Instant::now();
        let mut open = open(4);
        open.request(A, End::Front, now);
        assert!(!open.is_touched_by_others(A, PeerKey(1)));
        assert!(open.is_touched_by_others(B, PeerKey(2)));
        open.receive(block(0), A, sender(1), now);
        assert!(!open.is_touched_by_others(A, PeerKey(1)));
        assert!(open.is_touched_by_others(B, PeerKey(2)));
    }
}
