//! What happens because time passes: silence, overdue blocks, rounds of the choker, dials.

use std::time::{Duration, Instant};

use ferri_wire::Message;

use super::{State, Swarm, cancel_of};
use crate::admission;
use crate::candidates::Need;
use crate::output::{Output, SwarmEvent};
use crate::picker::PeerSlot;
use crate::reason::DisconnectReason;
use crate::status::Role;

/// While blocks are outstanding, idle peers get another look this often.
const TICK: Duration = Duration::from_millis(250);
/// In the end game each moment counts.
const TICK_END_GAME: Duration = Duration::from_millis(100);
/// Everything else is measured in seconds.
const SECOND: Duration = Duration::from_secs(1);
/// A connection without any message for so long is dead (BEP 3: two minutes).
const IDLE: Duration = Duration::from_secs(120);
/// We say something before a peer takes us for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// How often the caller is asked for more addresses.
const WANT_PEERS: Duration = Duration::from_secs(30);
/// Fewer connections than this are few.
const FEW_PEERS: usize = 20;
/// A connection without use for so long makes room for an address that was not tried.
const USELESS_FOR_CANDIDATE: Duration = Duration::from_secs(180);
/// What a new peer wants is not known before.
const SETTLED: Duration = Duration::from_secs(10);

/// The clock of the swarm, and what is counted once a second rather than at each block.
#[derive(Debug)]
pub(super) struct Timers {
    /// The greatest time seen.
    pub(super) now: Instant,
    pub(super) tick_at: Option<Instant>,
    next_second: Instant,
    want_peers_at: Instant,
    /// Peers that answer our requests and have something for us.
    pub(super) downloading: usize,
    /// Peers that held blocks at the last look and on which one cannot count.
    pub(super) unreliable: Vec<PeerSlot>,
    /// Which peer is looked at first in the next round.
    pub(super) turn: u32,
    /// The end game was announced.
    pub(super) end_game: bool,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            now,
            tick_at: None,
            next_second: now,
            want_peers_at: now,
            downloading: 0,
            unreliable: Vec::new(),
            turn: 0,
            end_game: false,
        }
    }
}

impl Swarm {
    /// Makes sure that time is looked at again when there is anything that time can change.
    pub(super) fn schedule(&mut self) {
        if !self.is_alive() {
            return;
        }
        let now = self.timers.now;
        match self.timers.tick_at {
            None => self.timers.tick_at = Some(now + TICK),
            // It was set when no peer was connected.
            Some(at) if !self.peers.is_empty() => self.timers.tick_at = Some(at.min(now + SECOND)),
            Some(_) => {}
        }
    }

    fn is_alive(&self) -> bool {
        self.state == State::Active
            && (!self.peers.is_empty()
                || self.role == Role::Leech
                || self.candidates.are_of_use(Need::NotSeeds))
    }

    pub(super) fn timeout(&mut self) {
        let now = self.timers.now;
        if self.timers.tick_at.is_none_or(|at| now < at) {
            return;
        }
        if self.state == State::Active {
            if self.timers.next_second <= now {
                self.timers.next_second = now + SECOND;
                self.each_second();
            }
            if self.slots.next_round <= now {
                self.choke_round();
            }
            self.refill_all();
        }
        self.timers.tick_at = self.next_tick();
    }

    fn next_tick(&self) -> Option<Instant> {
        let now = self.timers.now;
        if !self.is_alive() {
            return None;
        }
        if self.peers.is_empty() {
            let later = if self.role == Role::Leech { Some(self.timers.want_peers_at) } else { None };
            let change = self.candidates.next_change(self.need(), now).into_iter().chain(later).min();
            return change.map(|at| at.max(now + SECOND));
        }
        let busy = 0 < self.timers.downloading && self.role == Role::Leech;
        let tick = match busy {
            true if self.timers.end_game => TICK_END_GAME,
            true => TICK,
            false => SECOND,
        };
        Some(now + tick)
    }

    fn each_second(&mut self) {
        self.timers.downloading = 0;
        self.for_each_peer(Self::look_after);
        self.picker.release_idle(self.timers.now);
        if let Some((piece, bytes)) = self.picker.evict(self.timers.now) {
            self.discard(piece, bytes);
        }
        self.candidates.expire(self.timers.now);
        self.reclaim_slots();
        self.make_room();
        self.dial();
        self.ask_for_peers();
    }

    fn look_after(&mut self, slot: PeerSlot) {
        let now = self.timers.now;
        let leech = self.role == Role::Leech;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if IDLE <= now.saturating_duration_since(peer.last_received) {
            return self.disconnect(slot, DisconnectReason::Idle);
        }
        let settled = SETTLED <= now.saturating_duration_since(peer.id.connected);
        let nothing_to_give = peer.extension.upload_only && peer.interesting(&self.picker) == 0;
        if settled && (nothing_to_give || !leech && peer.wants_nothing()) {
            return self.disconnect(slot, DisconnectReason::NothingToExchange);
        }
        peer.down.adjust(now);
        let silent = peer.down.went_silent(now);
        let blocks = if silent { peer.down.forgive_where(|_| true) } else { peer.down.overdue(now) };
        let quiet = KEEP_ALIVE <= now.saturating_duration_since(peer.last_sent);
        let key = peer.id.key;
        self.timers.downloading += usize::from(!peer.terms.peer_choking && peer.terms.am_interested);
        for block in blocks {
            self.picker.give_back(block, slot);
            self.send(slot, cancel_of(block));
        }
        if silent {
            self.picker.disown(slot);
            self.emit(SwarmEvent::Snubbed { peer: key });
        }
        self.lose_interest(slot);
        self.send_metadata(slot);
        self.send_pex(slot);
        if quiet {
            self.send(slot, Message::KeepAlive);
        }
    }

    /// All slots are taken, and others wait to be tried: one that has been of no use goes. While no peer gives us
    /// anything, one in twenty goes each second, and soon.
    fn make_room(&mut self) {
        let (need, max) = (self.need(), self.options.peers_max);
        if self.peers.len() < admission::for_dials(max) || self.candidates.ready(need, self.timers.now) == 0 {
            return;
        }
        if need == Need::AnyAtOnce {
            let few = (max - admission::for_dials(max)).max(1);
            let _ = (0..few).all(|_| self.drop_useless(admission::IDLE));
        } else {
            self.drop_useless(USELESS_FOR_CANDIDATE);
        }
    }

    fn ask_for_peers(&mut self) {
        let now = self.timers.now;
        let few = FEW_PEERS.min(self.options.peers_max);
        if self.role == Role::Leech
            && self.timers.want_peers_at <= now
            && self.peers.len() + self.candidates.connecting() < few
            && self.candidates.ready(Need::Any, now) == 0
        {
            self.timers.want_peers_at = now + WANT_PEERS;
            self.out.push_back(Output::WantPeers);
        }
    }
}
