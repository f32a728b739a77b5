//! What a peer says: each message to the one function that knows it, after a look at whether the peer may say it at all.

use std::time::Duration;

use ferri_metainfo::{Bitfield, PieceIndex};
use ferri_wire::{Message, allowed_fast_set, encoded_len};

use super::Swarm;
use crate::input::PeerKey;
use crate::peer::Peer;
use crate::picker::{PeerSlot, Picker};
use crate::pieces::PeerPieces;
use crate::reason::Misbehavior;

/// Pieces a starting peer may ask for while choked; a peer that has as many is no longer starting (BEP 6).
const ALLOWED_FAST: u32 = 10;
/// Pieces we remember that a choked peer lets us ask for.
const ALLOWED_IN_MAX: usize = 64;
/// Suggestions of one peer that are remembered.
const SUGGESTED_MAX: usize = 32;
/// A peer that has had nothing for us for so long is told.
const UNINTERESTED: Duration = Duration::from_secs(3);

impl Swarm {
    pub(super) fn peer_message(&mut self, key: PeerKey, message: Message) {
        let Some(slot) = self.peers.slot(key) else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.last_received = self.timers.now;
        let payload = if let Message::Piece { data, .. } = &message { data.len() } else { 0 };
        self.totals.protocol_down += (encoded_len(&message) - payload) as u64;
        if message.is_fast() && !peer.id.fast {
            return self.punish(slot, Misbehavior::FastNotAnnounced);
        }
        if is_without_effect(&message) && !peer.patience.control.take(self.timers.now) {
            return self.punish(slot, Misbehavior::ControlFlood);
        }
        match message {
            Message::KeepAlive | Message::Unknown { .. } => {}
            // BEP 52: hashes are not served here; that is said, so that the peer asks another one.
            Message::HashRequest(range) => self.send(slot, Message::HashReject(range)),
            // They were not asked for.
            Message::Hashes { .. } | Message::HashReject(_) => {}
            Message::Port(port) => self.peer_dht_port(slot, port),
            Message::Choke => self.choked_us(slot),
            Message::Unchoke => self.unchoked_us(slot),
            Message::Interested => self.peer_interested(slot),
            Message::NotInterested => self.peer_not_interested(slot),
            Message::Have { piece } => self.peer_has(slot, piece),
            Message::Bitfield(bits) => match Bitfield::from_wire(&bits, self.layout.piece_count()) {
                Ok(bits) => self.peer_bitfield(slot, bits),
                Err(_) => self.punish(slot, Misbehavior::BadBitfield),
            },
            Message::HaveAll => self.peer_pieces(slot, PeerPieces::All { len: self.layout.piece_count() }),
            Message::HaveNone => self.peer_pieces(slot, PeerPieces::none(self.layout.piece_count())),
            Message::Request { piece, begin, length } => self.requested(slot, piece, begin, length),
            Message::Piece { piece, begin, data } => self.received(slot, piece, begin, data),
            Message::Cancel { piece, begin, length } => self.cancelled(slot, piece, begin, length),
            Message::Suggest { piece } => self.suggested(slot, piece),
            Message::Reject { piece, begin, length } => self.rejected(slot, piece, begin, length),
            Message::AllowedFast { piece } => self.allowed_fast(slot, piece),
            Message::Extended { id, payload } => self.extended(slot, id, &payload),
        }
    }

    /// A piece a peer named; a peer that names one that does not exist is thrown out.
    pub(super) fn piece_named_by(&mut self, slot: PeerSlot, piece: u32) -> Option<PieceIndex> {
        let index = self.layout.piece(piece);
        if index.is_none() {
            self.punish(slot, Misbehavior::NoSuchPiece { piece });
        }
        index
    }

    /// BEP 3 wants the bitfield first and once. aria2 sends another in place of many Haves; what is new in it counts as those.
    fn peer_bitfield(&mut self, slot: PeerSlot, bits: Bitfield) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.bitfield_due {
            return self.peer_pieces(slot, PeerPieces::from_bitfield(bits));
        }
        if !peer.patience.bitfields.take(self.timers.now) {
            return self.punish(slot, Misbehavior::LateBitfield);
        }
        let is_new = |piece: &u32| self.layout.piece(*piece).is_some_and(|piece| !peer.has.has(piece));
        let news: Vec<u32> = bits.iter_ones().filter(is_new).collect();
        for piece in news {
            self.peer_has(slot, piece);
        }
    }

    /// The first thing a peer says about its pieces: all that it has.
    fn peer_pieces(&mut self, slot: PeerSlot, pieces: PeerPieces) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.bitfield_due {
            return self.punish(slot, Misbehavior::LateBitfield);
        }
        peer.bitfield_due = false;
        peer.has = pieces;
        self.picker.peer_has(&peer.has);
        peer.interesting = self.picker.interesting(&peer.has);
        self.peers.recount(slot);
        self.offer_allowed_fast(slot);
        self.drop_if_pointless(slot);
        self.update_interest(slot);
    }

    fn peer_has(&mut self, slot: PeerSlot, piece: u32) {
        let Some(piece) = self.piece_named_by(slot, piece) else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.bitfield_due = false;
        if !peer.has.insert(piece) {
            if !peer.patience.haves.take(self.timers.now) {
                self.punish(slot, Misbehavior::HaveFlood);
            }
            return;
        }
        self.picker.peer_gained(piece);
        let full = peer.has.is_seed();
        if self.picker.is_missing(piece) {
            peer.interesting += 1;
            peer.down.idle_epoch = 0;
            self.update_interest(slot);
            self.refill(slot);
        }
        if full {
            self.drop_if_pointless(slot);
        }
    }

    /// Says that the peer has something we want, as soon as it has. That it has nothing more is said when we are done, or
    /// by [`Swarm::lose_interest`]: among fast peers it changes with every piece, and each change moves slots.
    pub(super) fn update_interest(&mut self, slot: PeerSlot) {
        let done = self.picker.missing() == 0;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let interested = peer.interesting(&self.picker) != 0;
        if interested && !peer.terms.am_interested {
            peer.terms.am_interested = true;
            self.send(slot, Message::Interested);
            self.refill(slot);
        } else if done && peer.terms.am_interested {
            peer.terms.am_interested = false;
            self.send(slot, Message::NotInterested);
        }
    }

    /// Once a second: says that the peer has nothing for us if that has been so for a while.
    pub(super) fn lose_interest(&mut self, slot: PeerSlot) {
        let now = self.timers.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.terms.am_interested || peer.interesting(&self.picker) != 0 {
            peer.terms.idle_since = None;
        } else if UNINTERESTED <= now.saturating_duration_since(*peer.terms.idle_since.get_or_insert(now)) {
            peer.terms.am_interested = false;
            self.send(slot, Message::NotInterested);
        }
    }

    /// A piece that the peer would rather send us than others (BEP 6): one that a seed names to no other peer.
    fn suggested(&mut self, slot: PeerSlot, piece: u32) {
        let Some(piece) = self.piece_named_by(slot, piece) else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if SUGGESTED_MAX <= peer.suggested.len() {
            peer.suggested.pop_front();
        }
        if self.picker.is_unbegun(piece) && !peer.suggested.contains(&piece) {
            peer.suggested.push_back(piece);
        }
    }

    fn allowed_fast(&mut self, slot: PeerSlot, piece: u32) {
        let Some(piece) = self.piece_named_by(slot, piece) else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.allowed_in.len() < ALLOWED_IN_MAX && !peer.allowed_in.contains(&piece) {
            peer.allowed_in.push(piece);
            peer.down.idle_epoch = 0;
            self.refill(slot);
        }
    }

    /// Lets a peer that has next to nothing ask for a few pieces at once (BEP 6).
    fn offer_allowed_fast(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.id.fast || !self.options.upload || ALLOWED_FAST <= peer.has.count() {
            return;
        }
        let count = self.layout.piece_count();
        let set = allowed_fast_set(peer.id.addr.ip(), &self.options.info_hash, count, ALLOWED_FAST as usize);
        let have = |piece: &PieceIndex| self.picker.have().get(piece.get());
        let pieces: Vec<_> = set.into_iter().filter_map(|n| self.layout.piece(n)).filter(have).collect();
        // Each byte once: what is lost on the way is not worth a hole for downloads without end.
        peer.allowed_out = pieces.iter().map(|piece| (*piece, self.layout.piece_len(*piece))).collect();
        for piece in pieces {
            self.send(slot, Message::AllowedFast { piece: piece.get() });
        }
    }

    /// A peer no longer has a piece (BEP 54).
    pub(super) fn peer_lost(&mut self, slot: PeerSlot, piece: u32) {
        let Some(piece) = self.piece_named_by(slot, piece) else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if self.picker.peer_lost(&mut peer.has, piece) && self.picker.is_missing(piece) {
            peer.interesting = self.picker.interesting(&peer.has);
            self.update_interest(slot);
        }
        self.peers.recount(slot);
    }

    /// Runs `act` for every peer; ones that leave meanwhile are left out.
    pub(super) fn for_each_peer(&mut self, mut act: impl FnMut(&mut Self, PeerSlot)) {
        for slot in (0..self.peers.slot_count()).map(PeerSlot) {
            if self.peers.get(slot).is_some() {
                act(self, slot);
            }
        }
    }
}

/// Messages of which an honest peer sends few, because each costs the same as a useful one and brings nothing.
fn is_without_effect(message: &Message) -> bool {
    matches!(
        message,
        Message::KeepAlive
            | Message::Choke
            | Message::Unchoke
            | Message::Interested
            | Message::NotInterested
            | Message::Port(_)
            | Message::Suggest { .. }
            | Message::AllowedFast { .. }
            | Message::HashRequest(_)
            | Message::Hashes { .. }
            | Message::HashReject(_)
            | Message::Unknown { .. }
    )
}

impl Peer {
    /// Pieces of it that we want and lack.
    pub(super) fn interesting(&self, picker: &Picker) -> u32 {
        if let PeerPieces::All { .. } = self.has { picker.missing() } else { self.interesting }
    }

    /// Whether a piece is in the set we let it have while choked.
    pub(super) fn may_ask_while_choked(&self, piece: PieceIndex) -> bool {
        self.has.count() <= ALLOWED_FAST
            && self.allowed_out.iter().any(|(allowed, left)| *allowed == piece && 0 < *left)
    }
}
