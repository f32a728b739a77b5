//! What the session or a person wants: limits, priorities, deadlines, pause and stop; and what we are as a result.

use std::borrow::Cow;
use std::time::Duration;

use ferri_wire::Message;

use super::{State, Swarm};
use crate::input::Priority;
use crate::output::SwarmEvent;
use crate::reason::DisconnectReason;
use crate::status::Role;

impl Swarm {
    pub(super) fn set_budget(
        &mut self,
        peers_max: usize,
        half_open_max: usize,
        upload_slots: Option<usize>,
        memory_bytes: u64,
    ) {
        let slots_changed = self.options.upload_slots != upload_slots;
        (self.options.peers_max, self.options.half_open_max) = (peers_max, half_open_max);
        self.options.upload_slots = upload_slots;
        if self.picker.memory_bytes() != memory_bytes {
            self.picker.set_memory(memory_bytes);
            self.refill_all();
        }
        while peers_max < self.peers.len() && self.drop_useless(Duration::ZERO) {}
        if slots_changed {
            self.choke_round();
        }
        self.dial();
    }

    pub(super) fn set_listen_port(&mut self, port: u16) {
        self.options.listen_port = Some(port).filter(|port| *port != 0);
        self.candidates.set_listen_port(port);
    }

    pub(super) fn set_priorities(&mut self, priorities: &[Priority]) {
        let mut priorities = Cow::Borrowed(priorities);
        for piece in &self.withdrawn {
            let priorities = priorities.to_mut();
            // Beyond the end of the list they are normal.
            priorities.resize(priorities.len().max(*piece as usize + 1), Priority::Normal);
            priorities[*piece as usize] = Priority::Skip;
        }
        for piece in self.picker.set_priorities(&priorities) {
            self.abandon(piece);
        }
        self.recount_interest();
        self.update_role();
        self.refill_all();
    }

    pub(super) fn set_deadline(&mut self, piece: u32, within: Option<Duration>) {
        if let Some(piece) = self.layout.piece(piece) {
            // A deadline beyond the end of time is none.
            let at = within.and_then(|within| self.timers.now.checked_add(within));
            self.picker.set_deadline(piece, at);
            self.refill_all();
        }
    }

    pub(super) fn pieces_found(&mut self, pieces: &[u32]) {
        let found: Vec<_> = pieces.iter().filter_map(|piece| self.layout.piece(*piece)).collect();
        for piece in self.picker.unfinished() {
            if pieces.contains(&piece.get()) {
                self.abandon(piece);
            }
        }
        for piece in found {
            if self.picker.found(piece) {
                self.for_each_peer(|swarm, slot| {
                    if swarm.peers.get(slot).is_some_and(|peer| !peer.has.has(piece)) {
                        swarm.send(slot, Message::Have { piece: piece.get() });
                    }
                });
            }
        }
        self.recount_interest();
        if self.change_role() == Some(Role::Leech) {
            self.for_each_peer(Self::drop_if_pointless);
        }
    }

    pub(super) fn piece_lost(&mut self, piece: u32) {
        let Some(index) = self.layout.piece(piece) else { return };
        if self.picker.lost(index) {
            self.announce_lost(piece);
            self.recount_interest();
            self.update_role();
        }
    }

    pub(super) fn pieces_withdrawn(&mut self, pieces: &[u32]) {
        let inside = pieces.iter().filter(|piece| self.layout.piece(**piece).is_some());
        self.withdrawn.extend(inside);
        // First, or we would be a leech for a moment.
        let priorities: Vec<_> = self.layout.pieces().map(|piece| self.picker.priority(piece)).collect();
        self.set_priorities(&priorities);
        for piece in pieces {
            self.piece_lost(*piece);
        }
    }

    fn recount_interest(&mut self) {
        self.for_each_peer(|swarm, slot| {
            if let Some(peer) = swarm.peers.get_mut(slot) {
                peer.interesting = swarm.picker.interesting(&peer.has);
                swarm.update_interest(slot);
            }
        });
    }

    /// Recognises what we have become, and tells all peers that it concerns.
    pub(super) fn update_role(&mut self) {
        if self.change_role() == Some(Role::Leech) {
            if std::mem::take(&mut self.totals.fetched) {
                self.emit(SwarmEvent::Completed);
            }
            self.for_each_peer(Self::drop_if_pointless);
        }
    }

    /// Recognises what we have become; what we were, if that was something else.
    fn change_role(&mut self) -> Option<Role> {
        let role = match self.picker.missing() {
            0 if self.picker.have().is_full() => Role::Seed,
            0 => Role::PartialSeed,
            _ => Role::Leech,
        };
        let before = std::mem::replace(&mut self.role, role);
        if before == role {
            return None;
        }
        self.emit(SwarmEvent::RoleChanged { role });
        if role == Role::Leech || before == Role::Leech {
            self.timers.end_game = false;
            self.announce_upload_only();
        }
        if role == Role::Leech {
            self.candidates.welcome_back(self.timers.now);
            self.dial();
        }
        Some(before)
    }

    pub(super) fn pause(&mut self) {
        if self.state == State::Active {
            self.state = State::Paused;
            self.rest(DisconnectReason::Paused);
        }
    }

    pub(super) fn resume(&mut self) {
        if self.state == State::Paused {
            self.state = State::Active;
            self.candidates.welcome_back(self.timers.now);
            self.dial();
        }
    }

    pub(super) fn stop(&mut self) {
        if self.state != State::Stopped {
            self.state = State::Stopped;
            self.rest(DisconnectReason::Stopped);
        }
    }

    /// No peer is connected, nothing is kept but what is being verified.
    fn rest(&mut self, reason: DisconnectReason) {
        self.disconnect_all(reason);
        for piece in self.picker.unfinished() {
            self.abandon(piece);
        }
    }
}
