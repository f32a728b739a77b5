//! When slots are given out: every ten seconds, and at once when one is free. Who gets them is in `choker.rs`.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{State, Swarm};
use crate::admission::PER_NETWORK;
use crate::choker::{self, Greeting, OPTIMISTIC, ROUND, Rival};
use crate::network::Network;
use crate::peer::Peer;
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
    /// How many peers may be sent to, those with a slot for newcomers left out.
    fn slot_count(&self) -> usize {
        match self.options.upload_slots {
            _ if !self.may_upload() => 0,
            Some(slots) => slots - choker::newcomer_slots(Some(slots)),
            None => choker::slots(self.totals.up.per_second(self.timers.now)),
        }
    }

    fn newcomer_slots(&self) -> usize {
        if self.may_upload() { choker::newcomer_slots(self.options.upload_slots) } else { 0 }
    }

    fn may_upload(&self) -> bool {
        self.options.upload && self.state == State::Active
    }

    fn rivals(&self) -> Vec<Rival> {
        let network = |peer: &Peer| Network::of(peer.id.addr.ip());
        let mut crowds: BTreeMap<Network, u32> = BTreeMap::new();
        self.peers.iter().for_each(|(_, peer)| *crowds.entry(network(peer)).or_default() += 1);
        let rival = |(slot, peer): (PeerSlot, &Peer)| {
            let is_in_crowd = crowds.get(&network(peer)).is_some_and(|crowd| PER_NETWORK < *crowd);
            Rival { is_in_crowd, ..peer.rival(slot, self.timers.now) }
        };
        self.peers.iter().map(rival).collect()
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
        let settled = choker::settled_newcomers(&rivals, now);
        let stays = |rival: &Rival| {
            winners.contains(&rival.slot) || rival.is_newcomer && !settled.contains(&rival.slot)
        };
        for rival in rivals.iter().filter(|rival| rival.unchoked && !stays(rival)) {
            self.choke(rival.slot);
        }
        for slot in winners {
            self.settle(slot);
            self.unchoke(slot, Some(slot) == optimistic);
        }
        self.greet();
    }

    /// A newcomer that has won a slot leaves its place to the next one.
    fn settle(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.terms.is_newcomer = false;
        }
    }

    /// Gives free slots to peers that wait, without taking one away. Newcomers that make use of theirs come first.
    pub(super) fn fill_slots(&mut self) {
        let mut free = self.slot_count().saturating_sub(self.unchoked());
        if free == 0 {
            return;
        }
        let rivals = self.rivals();
        for newcomer in rivals.iter().filter(|rival| rival.is_newcomer && !rival.is_idle).take(free) {
            self.settle(newcomer.slot);
            free -= 1;
        }
        let waiting: Vec<_> =
            rivals.into_iter().filter(|rival| !rival.unchoked && rival.interested).collect();
        for slot in choker::unchoked_by_leech(&waiting, free, None) {
            self.unchoke(slot, false);
        }
    }

    /// Once a second: slots that are not used go to others who wait.
    pub(super) fn reclaim_slots(&mut self) {
        let idle = choker::idle_holders(&self.rivals());
        for slot in idle {
            let now = self.timers.now;
            if let Some(peer) = self.peers.get_mut(slot)
                && (peer.up.sent_in_turn == 0 || peer.is_stuck_in_turn(now))
            {
                peer.terms.wasted += 1;
            }
            if self.slots.optimistic == Some(slot) {
                self.slots.optimistic = None;
            }
            self.choke(slot);
        }
        self.fill_slots();
        self.greet();
    }

    /// Gives slots for newcomers to the newest.
    fn greet(&mut self) {
        let (now, slots) = (self.timers.now, self.newcomer_slots());
        for _ in 0..slots {
            let Some(Greeting { comes, goes }) = choker::next_newcomer(&self.rivals(), slots, now) else {
                return;
            };
            if let Some(goes) = goes {
                self.choke(goes);
            }
            self.unchoke(comes, true);
            if let Some(peer) = self.peers.get_mut(comes) {
                peer.terms.is_newcomer = true;
            }
        }
    }

    fn unchoked(&self) -> usize {
        self.peers.iter().filter(|(_, peer)| !peer.terms.am_choking && !peer.terms.is_newcomer).count()
    }

    pub(super) fn peer_interested(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !std::mem::replace(&mut peer.terms.peer_interested, true) {
            self.fill_slots();
            self.greet();
        }
    }

    pub(super) fn peer_not_interested(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot) {
            // Its slot, if it has one, goes to another in the next round: interest comes and goes.
            peer.terms.peer_interested = false;
        }
    }
}
