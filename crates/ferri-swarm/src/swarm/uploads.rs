//! The sending side: requests in, blocks released as the connection takes them.

use ferri_wire::Message;

use super::{Swarm, reject_of};
use crate::input::PeerKey;
use crate::output::Output;
use crate::picker::PeerSlot;
use crate::reason::Misbehavior;
use crate::upload::Queued;

impl Swarm {
    pub(super) fn requested(&mut self, slot: PeerSlot, piece: u32, begin: u32, length: u32) {
        let now = self.timers.now;
        let Some(block) = self.layout.block(piece, begin, length) else {
            return self.punish(slot, Misbehavior::NoSuchBlock { piece, begin, length });
        };
        let have = self.picker.have().get(piece);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.bitfield_due = false;
        if !have {
            // It may be one we took back (BEP 54).
            let patient = peer.patience.missing.take(now);
            return self.refuse(slot, block, patient, Misbehavior::RequestsForMissing);
        }
        if peer.terms.am_choking && !peer.may_ask_while_choked(block.piece()) {
            // What was under way when we choked is no fault.
            let patient = peer.patience.while_choked.take(now);
            return self.refuse(slot, block, patient, Misbehavior::RequestsWhileChoked);
        }
        match peer.up.request(block, now) {
            Queued::Yes => {
                self.release(slot);
                self.begun(slot, block.piece());
            }
            Queued::Duplicate => {
                if !peer.patience.requests.take(now) {
                    self.punish(slot, Misbehavior::RequestFlood);
                }
            }
            Queued::Full => {
                let patient = peer.patience.requests.take(now);
                self.refuse(slot, block, patient, Misbehavior::RequestFlood);
            }
        }
    }

    /// Says no where BEP 6 is spoken, nothing where it is not; ends the connection when patience has run out.
    fn refuse(
        &mut self,
        slot: PeerSlot,
        block: ferri_metainfo::Block,
        patient: bool,
        otherwise: Misbehavior,
    ) {
        if !patient {
            return self.punish(slot, otherwise);
        }
        if self.peers.get(slot).is_some_and(|peer| peer.id.fast) {
            self.send(slot, reject_of(block));
        }
    }

    /// Releases as many blocks as the connection has room for.
    pub(super) fn release(&mut self, slot: PeerSlot) {
        let now = self.timers.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        loop {
            let choking = peer.terms.am_choking;
            let allowed = &peer.allowed_out;
            let may = |block: ferri_metainfo::Block| {
                !choking
                    || allowed.iter().any(|(piece, left)| *piece == block.piece() && block.length() <= *left)
            };
            let Some(block) = peer.up.release(may, now) else { break };
            if choking
                && let Some((_, left)) =
                    peer.allowed_out.iter_mut().find(|(piece, _)| *piece == block.piece())
            {
                *left -= block.length();
            }
            peer.last_sent = now;
            self.out.push_back(Output::SendBlock { peer: peer.id.key, block });
        }
    }

    pub(super) fn cancelled(&mut self, slot: PeerSlot, piece: u32, begin: u32, length: u32) {
        let Some(block) = self.layout.block(piece, begin, length) else {
            return self.punish(slot, Misbehavior::NoSuchBlock { piece, begin, length });
        };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.up.cancel(block) {
            // It was sent, or never asked for.
            if !peer.patience.requests.take(self.timers.now) {
                self.punish(slot, Misbehavior::RequestFlood);
            }
        } else if peer.id.fast {
            // BEP 6: every request has one answer.
            self.send(slot, reject_of(block));
        }
    }

    pub(super) fn blocks_sent(&mut self, key: PeerKey, blocks: u32, bytes: u64) {
        let now = self.timers.now;
        let Some(slot) = self.peers.slot(key) else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let bytes = peer.up.sent(blocks, bytes, now);
        if bytes != 0 {
            (peer.terms.useful_at, peer.terms.wasted) = (now, 0);
            self.totals.up.add(bytes, now);
        }
        self.release(slot);
    }

    /// A block that was released to a peer is not sent: the peer hears that it gets no other answer.
    pub(super) fn block_unreadable(&mut self, key: PeerKey, piece: u32, begin: u32, length: u32) {
        let Some(slot) = self.peers.slot(key) else { return };
        let fast = self.peers.get(slot).is_some_and(|peer| peer.id.fast);
        if let (true, Some(block)) = (fast, self.layout.block(piece, begin, length)) {
            // BEP 6: every request has one answer.
            self.send(slot, reject_of(block));
        }
        self.blocks_sent(key, 1, 0);
    }

    /// Chokes a peer: what it asked for and was not released is refused, except what it may have all the same.
    pub(super) fn choke(&mut self, slot: PeerSlot) {
        let now = self.timers.now;
        let Some(peer) = self.peers.get_mut(slot).filter(|peer| !peer.terms.am_choking) else { return };
        (peer.terms.am_choking, peer.terms.since) = (true, now);
        (peer.terms.optimistic, peer.terms.is_newcomer) = (false, false);
        let allowed = |piece| peer.may_ask_while_choked(piece);
        let allowed: Vec<_> =
            peer.allowed_out.iter().map(|(piece, _)| *piece).filter(|p| allowed(*p)).collect();
        let dropped = peer.up.drop_where(|block| !allowed.contains(&block.piece()));
        let (key, fast) = (peer.id.key, peer.id.fast);
        // BEP 6: choke first, so that the peer does not ask again for what is rejected.
        self.send(slot, Message::Choke);
        if fast {
            dropped.into_iter().for_each(|block| self.send(slot, reject_of(block)));
        }
        self.emit(crate::output::SwarmEvent::Choked { peer: key });
    }

    pub(super) fn unchoke(&mut self, slot: PeerSlot, optimistic: bool) {
        let now = self.timers.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.terms.optimistic = optimistic;
        if !std::mem::replace(&mut peer.terms.am_choking, false) {
            return;
        }
        (peer.terms.since, peer.terms.last_turn) = (now, Some(now));
        peer.up.sent_in_turn = 0;
        let key = peer.id.key;
        self.send(slot, Message::Unchoke);
        self.emit(crate::output::SwarmEvent::Unchoked { peer: key, optimistic });
        self.suggest(slot);
        self.release(slot);
    }
}
