//! The receiving side: requests out, blocks in, pieces verified or fetched again.

use std::ops::Bound;

use bytes::Bytes;
use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Block, PieceIndex};
use ferri_wire::Message;

use super::{Swarm, cancel_of, request_of};
use crate::bans::Known;
use crate::blame::Verdict;
use crate::output::{Output, SwarmEvent};
use crate::peer::Peer;
use crate::picker::{Arrival, Asker, PeerSlot, Sender};
use crate::reason::Misbehavior;
use crate::requests::{Asked, Trust};

/// Rejects without a block in between, after which a peer is of no use.
const REJECTS_MAX: u32 = 64;
/// Blocks looked at for one peer that has nothing else to do.
const TAKE_OVER_LOOK: usize = 512;

impl Swarm {
    /// Blocks of memory a single peer's requests may bind: a fast peer must not starve the others.
    pub(super) fn share(&self) -> usize {
        let blocks =
            usize::try_from(self.picker.memory_bytes() / u64::from(BLOCK_LENGTH)).unwrap_or(usize::MAX);
        (blocks - blocks / 4) / self.timers.downloading.max(1)
    }

    /// Sends a peer as many requests as it should have, if it should have many more than it has.
    pub(super) fn refill(&mut self, slot: PeerSlot) {
        let (now, share) = (self.timers.now, self.share());
        let Some(peer) = self.peers.get(slot) else { return };
        if !peer.is_askable() || peer.interesting(&self.picker) == 0 {
            self.peers.waiting.remove(&slot);
            return;
        }
        let room = peer.down.room(share);
        if room == 0 {
            return;
        }
        let mut blocks = std::mem::take(&mut self.picked);
        blocks.clear();
        if peer.down.idle_epoch != self.picker.epoch() {
            self.pick(slot, room, &mut blocks);
        }
        if blocks.len() < room && self.take_over(slot, room - blocks.len()) {
            self.pick(slot, room - blocks.len(), &mut blocks);
        }
        if blocks.len() < room {
            self.pick_copies(slot, room - blocks.len(), &mut blocks);
        }
        if blocks.len() < room {
            self.peers.waiting.insert(slot);
        } else {
            self.peers.waiting.remove(&slot);
        }
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.down.asked(&blocks, now);
        }
        for block in &blocks {
            self.send(slot, request_of(*block));
        }
        self.picked = blocks;
    }

    fn pick(&mut self, slot: PeerSlot, count: usize, blocks: &mut Vec<Block>) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let until = blocks.len() + count;
        peer.suggested.retain(|piece| self.picker.is_unbegun(*piece));
        let asker = asker(slot, peer, self.layout.piece_length(), self.timers.now);
        let working = self.picker.pick(&asker, count, self.timers.now, blocks);
        peer.down.working = working;
        if blocks.len() < until {
            peer.down.idle_epoch = self.picker.epoch();
        }
    }

    /// Frees up to `count` blocks that less reliable peers hold and this one has, for a peer with nothing else to do. Whether
    /// there were any.
    fn take_over(&mut self, slot: PeerSlot, count: usize) -> bool {
        let now = self.timers.now;
        let Some(peer) = self.peers.get(slot).filter(|_| !self.timers.unreliable.is_empty()) else {
            return false;
        };
        let ours = peer.down.trust(now);
        if Trust::Stalled <= ours {
            return false;
        }
        let asker = asker(slot, peer, self.layout.piece_length(), now);
        let unreliable =
            self.timers.unreliable.iter().filter_map(|slot| Some((*slot, self.peers.get(*slot)?)));
        let worse = unreliable.filter(|(_, peer)| ours < peer.down.trust(now));
        // In the end game who was never late before is raced rather than replaced, until enough are in the race and all late.
        let end_game = self.picker.is_end_game();
        let is_raced = |holder: PeerSlot, block: Block| {
            let is_unlucky = self
                .peers
                .get(holder)
                .is_some_and(|peer| peer.down.trust(now) == Trust::Stalled && !peer.down.is_defaulter());
            end_game && is_unlucky && self.picker.may_be_copied(block)
        };
        // What was asked for last comes last.
        let held =
            worse.flat_map(|(holder, peer)| peer.down.outstanding().rev().map(move |block| (holder, block)));
        let fits =
            |(holder, block): &(PeerSlot, Block)| asker.fits(block.piece()) && !is_raced(*holder, *block);
        let freed: Vec<_> = held.take(TAKE_OVER_LOOK).filter(fits).take(count).collect();
        for (holder, block) in &freed {
            if let Some(peer) = self.peers.get_mut(*holder) {
                peer.down.take_back(*block, now);
            }
            self.picker.give_back(*block, *holder);
            self.send(*holder, cancel_of(*block));
        }
        !freed.is_empty()
    }

    /// Looks for the peers on which one cannot count.
    pub(super) fn look_for_unreliable(&mut self) {
        let now = self.timers.now;
        let holds = |peer: &Peer| peer.down.len() != 0 && peer.down.trust(now) != Trust::Full;
        let unreliable = self.peers.iter().filter(|(_, peer)| holds(peer)).map(|(slot, _)| slot);
        self.timers.unreliable.clear();
        self.timers.unreliable.extend(unreliable);
    }

    /// Gives every peer with room another look, starting with another one each time.
    pub(super) fn refill_all(&mut self) {
        let count = self.peers.slot_count();
        self.look_for_unreliable();
        self.timers.turn = self.timers.turn.wrapping_add(1);
        for n in 0..count {
            self.refill(PeerSlot((n + self.timers.turn) % count));
        }
    }

    /// Room for a piece has come free: peers that wait for something to ask for get it, another one first each time.
    fn refill_waiting(&mut self) {
        self.timers.turn = self.timers.turn.wrapping_add(1);
        let first = PeerSlot(self.timers.turn % self.peers.slot_count().max(1));
        let mut next = self.peers.waiting.range(first..).next().copied();
        let (mut turned, mut looked) = (false, 0);
        while looked < self.peers.len() && self.picker.has_more() {
            let Some(slot) = next else {
                if turned {
                    return;
                }
                turned = true;
                next = self.peers.waiting.range(..first).next().copied();
                continue;
            };
            self.refill(slot);
            looked += 1;
            next = self.peers.waiting.range((Bound::Excluded(slot), Bound::Unbounded)).next().copied();
            next = next.filter(|next| !turned || *next < first);
        }
    }

    pub(super) fn received(&mut self, slot: PeerSlot, piece: u32, begin: u32, data: Bytes) {
        let now = self.timers.now;
        let length = data.len() as u64;
        self.totals.down.add(length, now);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.bitfield_due = false;
        let block = u32::try_from(data.len()).ok().and_then(|length| self.layout.block(piece, begin, length));
        let asked = block.map_or(Asked::Never, |block| peer.down.arrived(block, now));
        let (Some(block), true) = (block, asked != Asked::Never) else {
            self.totals.wasted += length;
            if !peer.patience.unrequested.take(now) {
                self.punish(slot, Misbehavior::UnrequestedBlock { piece, begin });
            }
            return;
        };
        peer.terms.useful_at = now;
        peer.patience.control.give(1);
        let addr = peer.dial_addr();
        let sender = Sender { peer: peer.id.key, addr, known: Known::of(peer.id.addr, addr) };
        match self.picker.receive(block, slot, sender, now) {
            Arrival::Unwanted => self.totals.wasted += length,
            Arrival::Stored { complete, others } => {
                self.out.push_back(Output::StoreBlock { block, data });
                for other in others {
                    if self.peers.get_mut(other).is_some_and(|other| other.down.take_back(block, now)) {
                        self.send(other, cancel_of(block));
                    }
                }
                if complete {
                    let piece = block.piece();
                    self.out.push_back(Output::VerifyPiece { piece, digests: self.blame.remembers(piece) });
                }
            }
        }
        self.refill(slot);
    }

    pub(super) fn unchoked_us(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if std::mem::replace(&mut peer.terms.peer_choking, false) {
            peer.down.unchoked(self.timers.now);
            let peer = peer.id.key;
            self.timers.downloading += 1;
            self.emit(SwarmEvent::UnchokedUs { peer });
            self.refill(slot);
        }
    }

    pub(super) fn choked_us(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if std::mem::replace(&mut peer.terms.peer_choking, true) {
            return;
        }
        let (key, fast) = (peer.id.key, peer.id.fast);
        self.timers.downloading = self.timers.downloading.saturating_sub(1);
        self.picker.disown(slot);
        if !fast {
            // BEP 3: a choke drops every request. With BEP 6 each one is rejected.
            self.take_back(slot, |_| true);
        }
        self.emit(SwarmEvent::ChokedUs { peer: key });
        self.refill(slot);
    }

    /// Frees requests of a peer without telling it; their answers are tolerated.
    pub(super) fn take_back(&mut self, slot: PeerSlot, which: impl Fn(Block) -> bool) -> Vec<Block> {
        let Some(peer) = self.peers.get_mut(slot) else { return Vec::new() };
        let blocks = peer.down.forgive_where(which);
        blocks.iter().for_each(|block| self.picker.give_back(*block, slot));
        blocks
    }

    pub(super) fn rejected(&mut self, slot: PeerSlot, piece: u32, begin: u32, length: u32) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let block = self.layout.block(piece, begin, length);
        match block.map(|block| (block, peer.down.rejected(block))) {
            Some((block, Asked::Yes)) => {
                peer.allowed_in.retain(|allowed| *allowed != block.piece());
                if !peer.terms.peer_choking {
                    peer.down.refuse(block.piece(), self.timers.now);
                }
                let useless = REJECTS_MAX < peer.down.rejects() && !peer.terms.peer_choking;
                self.picker.give_back(block, slot);
                if useless {
                    return self.punish(slot, Misbehavior::RejectsEverything);
                }
                self.refill(slot);
            }
            Some((_, Asked::Once)) => {}
            Some((_, Asked::Never)) | None => {
                if !peer.patience.rejects.take(self.timers.now) {
                    self.punish(slot, Misbehavior::UnrequestedReject);
                }
            }
        }
    }

    pub(super) fn piece_verified(&mut self, piece: u32, ok: bool, digests: Vec<u64>) {
        let Some(piece) = self.layout.piece(piece).filter(|piece| self.picker.is_verifying(*piece)) else {
            return;
        };
        if ok {
            self.piece_completed(piece);
            for sender in self.blame.proven(piece, &digests) {
                self.convict(sender, piece);
            }
        } else {
            self.piece_corrupt(piece, digests);
        }
        self.refill_waiting();
    }

    fn piece_completed(&mut self, piece: PieceIndex) {
        if let Some(sender) = self.picker.lone_sender(piece)
            && let Some(slot) = self.peers.slot(sender.peer)
            && let Some(peer) = self.peers.get_mut(slot)
        {
            // A whole good piece by itself: not suspect any more.
            (peer.suspect, peer.proven, peer.strikes) = (false, true, 0);
            peer.down.idle_epoch = 0;
        }
        let wanted = self.picker.is_missing(piece);
        self.picker.verified(piece);
        self.totals.fetched = true;
        self.emit(SwarmEvent::PieceCompleted { piece });
        // Peers that have everything need no Have, and what they have for us is known without counting.
        let partial: Vec<PeerSlot> = self.peers.partial().collect();
        for slot in partial {
            let Some(peer) = self.peers.get_mut(slot) else { continue };
            if !peer.has.has(piece) {
                // It may well become interested for this, and lose interest when it has it.
                peer.patience.control.give(2);
                self.send(slot, Message::Have { piece: piece.get() });
            } else if wanted {
                peer.interesting -= 1;
                self.update_interest(slot);
            }
        }
        if self.picker.missing() == 0 {
            self.for_each_peer(Self::update_interest);
        }
        self.update_role();
    }

    fn piece_corrupt(&mut self, piece: PieceIndex, digests: Vec<u64>) {
        self.totals.wasted += u64::from(self.layout.piece_len(piece));
        let block_senders = self.picker.corrupt(piece);
        let senders = block_senders.senders.clone();
        self.emit(SwarmEvent::PieceCorrupt {
            piece,
            senders: senders.iter().map(|sender| sender.addr).collect(),
        });
        match self.blame.failed(piece, block_senders, digests) {
            Verdict::Guilty(sender) => self.convict(sender, piece),
            Verdict::Suspects => {
                for sender in senders {
                    if let Some(peer) = self.peers.slot(sender.peer).and_then(|slot| self.peers.get_mut(slot))
                    {
                        peer.suspect = true;
                    }
                }
            }
        }
    }

    /// Stops fetching an open piece: its requests are cancelled, its blocks dropped.
    pub(super) fn abandon(&mut self, piece: PieceIndex) {
        self.for_each_peer(|swarm, slot| {
            for block in swarm.take_back(slot, |block| block.piece() == piece) {
                swarm.send(slot, cancel_of(block));
            }
        });
        let bytes = self.picker.abandon(piece);
        self.discard(piece, bytes);
    }

    pub(super) fn discard(&mut self, piece: PieceIndex, bytes: u64) {
        if bytes != 0 {
            self.totals.wasted += bytes;
            self.out.push_back(Output::DiscardPiece { piece });
        }
    }
}

pub(super) fn asker(slot: PeerSlot, peer: &Peer, piece_length: u32, now: std::time::Instant) -> Asker<'_> {
    let trust = peer.down.trust(now);
    Asker {
        slot,
        peer: peer.id.key,
        has: &peer.has,
        working: peer.down.working,
        whole: peer.down.is_fast(piece_length, now) && trust == Trust::Full,
        alone: peer.suspect,
        suggested: &peer.suggested,
        only: peer.terms.peer_choking.then_some(peer.allowed_in.as_slice()),
        refused: &peer.down.refused,
        // Of those that keep blocks back each gets one piece at a time.
        may_open: match trust {
            Trust::Full | Trust::Stalled => true,
            Trust::Little => peer.down.len() == 0,
            Trust::Snubbing => false,
        },
    }
}
