//! When slots are given out: every ten seconds, and at once when one is free. Who gets them is in `choker.rs`.

use std::time::Instant;

use super::{State, Swarm};
use crate::choker::{self, OPTIMISTIC, ROUND, Rival};
use crate::picker::PeerSlot;
use crate::status::Role;

/// The state of the rounds.
#[derive(Debug)]
pub(super) struct Slots {
    /// Who has the optimistic slot.
    pub(super) optimistic: Option<PeerSlot>,
    pub(super) next_round: Instant,
    next_optimistic: Instant,
}

impl Slots {
    pub(super) fn new(now: Instant) -> Self {
        Self { optimistic: None, next_round: now + ROUND, next_optimistic: now + OPTIMISTIC }
    }
}

impl Swarm {
    /// How many peers may be sent to.
    fn slot_count(&self) -> usize {
        match self.options.upload_slots {
            _ if !self.options.upload || self.state != State::Active => 0,
            Some(slots) => slots,
            None => choker::slots(self.totals.up.per_second(self.timers.now)),
        }
    }

    fn rivals(&self) -> Vec<Rival> {
        self.peers.iter().map(|(slot, peer)| peer.rival(slot, self.timers.now)).collect()
    }

    /// Gives out all slots anew.
    pub(super) fn choke_round(&mut self) {
        let now = self.timers.now;
        self.slots.next_round = now + ROUND;
        let slots = self.slot_count();
        let rivals = self.rivals();
        let leech = self.role == Role::Leech;
        if !leech {
            self.slots.optimistic = None;
        } else if self.slots.next_optimistic <= now || self.slots.optimistic.is_none() {
            self.slots.next_optimistic = now + OPTIMISTIC;
            self.slots.optimistic =
                choker::next_optimistic(&rivals, self.slots.optimistic, now, &mut self.rng);
        }
        let optimistic = self.slots.optimistic;
        let winners = if leech {
            choker::unchoked_by_leech(&rivals, slots, optimistic)
        } else {
            choker::unchoked_by_seed(&rivals, slots, now)
        };
        for rival in rivals.iter().filter(|rival| rival.unchoked && !winners.contains(&rival.slot)) {
            self.choke(rival.slot);
        }
        for slot in winners {
            self.unchoke(slot, Some(slot) == optimistic);
        }
    }

    /// Gives free slots to those who wait, without taking one from anybody.
    pub(super) fn fill_slots(&mut self) {
        let free = self.slot_count().saturating_sub(self.unchoked());
        if free == 0 {
            return;
        }
        let rivals: Vec<_> =
            self.rivals().into_iter().filter(|rival| !rival.unchoked && rival.interested).collect();
        for slot in choker::unchoked_by_leech(&rivals, free, None) {
            self.unchoke(slot, false);
        }
    }

    fn unchoked(&self) -> usize {
        self.peers.iter().filter(|(_, peer)| !peer.terms.am_choking).count()
    }

    pub(super) fn peer_interested(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !std::mem::replace(&mut peer.terms.peer_interested, true) {
            self.fill_slots();
        }
    }

    pub(super) fn peer_not_interested(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot) {
            // Its slot, if it has one, goes to another in the next round: interest comes and goes.
            peer.terms.peer_interested = false;
        }
    }
}
