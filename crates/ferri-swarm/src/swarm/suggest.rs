//! What a seed gives to each peer first: it suggests to each peer pieces that no other peer has and that it suggested
//! to no other peer ([BEP 6]), so that the first copy of the torrent leaves it without being sent in part twice.
//! Advice, no more: a peer that does not follow it gets what it asks for. While others seed too, nothing is suggested.
//!
//! [BEP 6]: https://www.bittorrent.org/beps/bep_0006.html

use ferri_metainfo::{Bitfield, Layout, PieceIndex};
use ferri_wire::Message;

use super::Swarm;
use crate::picker::PeerSlot;
use crate::rng::Rng;
use crate::status::Role;

/// A peer shall know pieces of so many bytes ahead.
const AHEAD_BYTES: u32 = 1 << 20;
/// But at least and at most so many.
const AHEAD_MIN: u32 = 2;
const AHEAD_MAX: u32 = 16;
/// Pieces looked at for one suggestion.
const LOOK: u32 = 1_024;

/// Which pieces were given away.
#[derive(Debug)]
pub(super) struct SuggestedPieces {
    /// Suggested to a peer, or asked for. Empty before the first.
    given: Option<Bitfield>,
    pieces: u32,
    /// The next to be suggested, and how many there are before the round is over.
    next: u32,
    left: u32,
}

impl SuggestedPieces {
    pub(super) fn new(layout: &Layout, rng: &mut Rng) -> Self {
        let pieces = layout.piece_count();
        Self { given: None, pieces, next: rng.below(pieces as usize) as u32, left: pieces }
    }

    fn next(&mut self) -> u32 {
        let next = self.next;
        (self.next, self.left) = ((next + 1) % self.pieces, self.left - 1);
        next
    }

    /// Whether the piece had not been given to any peer.
    fn give(&mut self, piece: PieceIndex) -> bool {
        self.given.get_or_insert_with(|| Bitfield::new(self.pieces)).set(piece.get())
    }

    /// Suggestions that the peer did not follow before it left are for others.
    pub(super) fn take_back(&mut self, pieces: &[PieceIndex]) {
        if let Some(given) = self.given.as_mut().filter(|_| !pieces.is_empty()) {
            for piece in pieces {
                given.clear(piece.get());
            }
            self.left = self.pieces;
        }
    }
}

impl Swarm {
    /// A peer asks for a block of a piece.
    pub(super) fn begun(&mut self, slot: PeerSlot, piece: PieceIndex) {
        if self.role != Role::Seed {
            return;
        }
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let before = peer.up.suggested.len();
        peer.up.suggested.retain(|suggested| *suggested != piece);
        let followed = peer.up.suggested.len() < before;
        if self.suggested_pieces.left != 0 && (self.suggested_pieces.give(piece) || followed) {
            self.suggest(slot);
        }
    }

    /// Tells a peer that is sent to which pieces no other peer is to ask for.
    pub(super) fn suggest(&mut self, slot: PeerSlot) {
        let alone = self.peers.len() < 2;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if alone || self.role != Role::Seed || !peer.id.fast || peer.terms.am_choking || peer.wants_nothing()
        {
            return;
        }
        let ahead = (AHEAD_BYTES / self.layout.piece_length()).clamp(AHEAD_MIN, AHEAD_MAX) as usize;
        let mut found = Vec::new();
        let mut look = LOOK.min(self.suggested_pieces.left);
        while peer.up.suggested.len() < ahead && 0 < look {
            look -= 1;
            if let Some(piece) = self.layout.piece(self.suggested_pieces.next())
                && self.picker.is_unseen(piece)
                && self.suggested_pieces.give(piece)
            {
                peer.up.suggested.push(piece);
                found.push(piece);
            }
        }
        for piece in found {
            self.send(slot, Message::Suggest { piece: piece.get() });
        }
    }
}
