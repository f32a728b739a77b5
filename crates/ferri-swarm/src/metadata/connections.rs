//! Peers of a swarm without metadata come and go.

use std::net::SocketAddr;
use std::time::Duration;

use ferri_wire::{Handshake, Message};

use super::peer::Peer;
use super::{MetadataSwarm, PEERS_MAX, State};
use crate::admission::{self, Admission, Occupant};
use crate::bans::Known;
use crate::candidates::{Need, Parting, canonical};
use crate::duplicate::keeps_newer;
use crate::input::{Direction, PeerKey, Source};
use crate::network::Network;
use crate::output::{Output, SwarmEvent};
use crate::reason::{DisconnectReason, Misbehavior};

/// A connection without any message for so long is dead (BEP 3: two minutes).
const IDLE: Duration = Duration::from_secs(120);
/// We say something before a peer takes us for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// A peer that has not said that it serves metadata after this time does not. It makes room for others, if there are any.
const SETTLED: Duration = Duration::from_secs(10);

impl MetadataSwarm {
    pub(super) fn peers_found(&mut self, source: Source, addrs: &[SocketAddr]) {
        self.candidates.found(source, addrs, self.now);
        self.dial();
    }

    pub(super) fn dialling(&mut self, source: Source, addrs: &[SocketAddr]) {
        self.candidates.found(source, addrs, self.now);
        self.candidates.dialling(addrs, self.now);
    }

    pub(super) fn ban(&mut self, addrs: &[SocketAddr]) {
        addrs.iter().for_each(|addr| self.candidates.ban(*addr, Known::Connected));
        self.close_banned();
    }

    pub(super) fn close_banned(&mut self) {
        let banned = self.peers.iter().filter(|(_, peer)| self.candidates.is_banned(peer.dial_addr()));
        for key in banned.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.disconnect(key, DisconnectReason::Banned);
        }
    }

    pub(super) fn connect_failed(&mut self, addr: SocketAddr) {
        self.candidates.failed(addr, self.now);
        self.dial();
    }

    /// Opens connections, as many as may be open.
    pub(super) fn dial(&mut self) {
        if self.state != State::Seeking {
            return;
        }
        let connecting = self.candidates.connecting();
        let room = admission::for_dials(self.peers_max()).saturating_sub(self.peers.len() + connecting);
        let count = room.min(self.options.half_open_max.saturating_sub(connecting));
        for addr in self.candidates.next(count, self.need(), self.now) {
            self.out.push_back(Output::Connect { addr });
        }
    }

    /// Which peers we need.
    pub(super) fn need(&self) -> Need {
        if self.peers.values().any(|peer| peer.claim().is_some()) { Need::Any } else { Need::AnyAtOnce }
    }

    fn peers_max(&self) -> usize {
        self.options.peers_max.min(PEERS_MAX)
    }

    pub(super) fn peer_connected(
        &mut self,
        key: PeerKey,
        addr: SocketAddr,
        direction: Direction,
        handshake: Handshake,
        crowd: u32,
    ) {
        let now = self.now;
        let addr = canonical(addr);
        let refusal =
            self.refusal(addr, direction, &handshake).or_else(|| self.admit(addr, direction, crowd));
        if let Some(reason) = refusal {
            if direction == Direction::Outgoing {
                let connected = self.is_connected_to(addr);
                self.candidates.refused(addr, reason, connected, now);
            }
            self.out.push_back(Output::Disconnect { peer: key, reason });
            return;
        }
        let source = match direction {
            Direction::Incoming => Source::Incoming,
            Direction::Outgoing => self.candidates.source(addr).unwrap_or(Source::Explicit),
        };
        let peer = Peer::new(addr, direction, source, handshake, now);
        let client = peer.client();
        self.candidates.connected(addr);
        self.peers.insert(key, peer);
        self.emit(SwarmEvent::PeerConnected { peer: key, addr, client });
        if handshake.reserved.has_extensions() {
            self.send_extension_handshake(key);
        }
    }

    /// Why a new connection is not wanted.
    fn refusal(
        &mut self,
        addr: SocketAddr,
        direction: Direction,
        handshake: &Handshake,
    ) -> Option<DisconnectReason> {
        match self.state {
            State::Seeking | State::Done => {}
            State::Paused => return Some(DisconnectReason::Paused),
            State::Stopped => return Some(DisconnectReason::Stopped),
        }
        if !self.options.is_named(handshake.info_hash) {
            return Some(DisconnectReason::OtherTorrent);
        }
        let is_stranger = direction == Direction::Outgoing && self.is_strange(addr, Source::Explicit);
        if self.options.private && is_stranger {
            return Some(DisconnectReason::Private);
        }
        if handshake.peer_id == self.options.peer_id {
            return Some(DisconnectReason::Ourselves);
        }
        if self.candidates.is_banned(addr) {
            return Some(DisconnectReason::Banned);
        }
        let same =
            |(_, peer): &(&PeerKey, &Peer)| peer.addr == addr || peer.handshake.peer_id == handshake.peer_id;
        if let Some((old_key, old)) = self.peers.iter().find(same) {
            let age = self.now.saturating_duration_since(old.connected);
            let ours_is_greater = handshake.peer_id < self.options.peer_id;
            if !keeps_newer(ours_is_greater, old.direction, age, direction) {
                return Some(DisconnectReason::Duplicate);
            }
            let old_key = *old_key;
            self.disconnect(old_key, DisconnectReason::Duplicate);
        }
        None
    }

    /// Makes room for a new connection where there is none; why there is none to be made.
    fn admit(&mut self, addr: SocketAddr, direction: Direction, crowd: u32) -> Option<DisconnectReason> {
        let (max, now) = (self.peers_max(), self.now);
        let occupants: Vec<_> = self.peers.iter().map(|(key, peer)| self.occupant(*key, peer)).collect();
        match self.admissions.admit(&occupants, Network::of(addr.ip()), crowd, max, now) {
            Admission::Welcome => None,
            Admission::InPlaceOf(key) => {
                if let Some(peer) = self.peers.get(&key) {
                    self.admissions.replaced(Network::of(peer.addr.ip()), peer.gave_at, now);
                }
                self.disconnect(key, DisconnectReason::Replaced);
                None
            }
            // People know what they want.
            Admission::Crowded
                if direction == Direction::Outgoing
                    && self.candidates.source(addr).unwrap_or(Source::Explicit) == Source::Explicit =>
            {
                (max <= self.peers.len()).then_some(DisconnectReason::TooManyPeers)
            }
            Admission::Crowded => Some(DisconnectReason::Crowded),
            Admission::Full => Some(DisconnectReason::TooManyPeers),
        }
    }

    /// A connection as admission sees it.
    fn occupant(&self, key: PeerKey, peer: &Peer) -> Occupant<PeerKey> {
        Occupant {
            key,
            network: Network::of(peer.addr.ip()),
            connected: peer.connected,
            useful_at: peer.gave_at,
            stays: !peer.asked.is_empty() || peer.source == Source::Explicit,
            wasted: self.is_without(peer) || peer.rejects,
            priority: self.candidates.priority(peer.addr),
        }
    }

    fn is_connected_to(&self, addr: SocketAddr) -> bool {
        self.peers.values().any(|peer| peer.addr == addr || peer.listens == Some(addr))
    }

    /// Whether the peer is known not to have what we look for.
    pub(super) fn is_without(&self, peer: &Peer) -> bool {
        let settled = SETTLED <= self.now.saturating_duration_since(peer.connected);
        let silent = peer.handshake.reserved.has_extensions() && peer.extension.is_none() && !settled;
        !silent && peer.claim().is_none()
    }

    /// Disconnects the one that has been without metadata for longest. Whether there was one.
    fn drop_without(&mut self) -> bool {
        let settled = |peer: &Peer| SETTLED <= self.now.saturating_duration_since(peer.connected);
        let without = self.peers.iter().filter(|(_, peer)| self.is_without(peer) && settled(peer));
        let oldest = without.min_by_key(|(key, peer)| (peer.connected, **key)).map(|(key, _)| *key);
        oldest.inspect(|key| self.disconnect(*key, DisconnectReason::Replaced)).is_some()
    }

    /// Full, and others wait: one that has nothing for us goes.
    pub(super) fn make_room(&mut self) {
        if self.state == State::Seeking
            && admission::for_dials(self.peers_max()) <= self.peers.len()
            && 0 < self.candidates.ready(Need::Any, self.now)
        {
            self.drop_without();
        }
    }

    /// Once a second: silence, parts that do not come, and our own sign of life.
    pub(super) fn look_after(&mut self, key: PeerKey) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if IDLE <= now.saturating_duration_since(peer.last_received) {
            return self.disconnect(key, DisconnectReason::Idle);
        }
        let quiet = KEEP_ALIVE <= now.saturating_duration_since(peer.last_sent);
        for asked in peer.overdue(now) {
            self.assemblies.give_back(key, asked.size, asked.part);
        }
        if quiet {
            self.send(key, Message::KeepAlive);
        }
    }

    /// Closes a connection.
    pub(super) fn disconnect(&mut self, key: PeerKey, reason: DisconnectReason) {
        if self.peers.contains_key(&key) {
            self.out.push_back(Output::Disconnect { peer: key, reason });
            self.forget(key, reason);
        }
    }

    /// Closes the connection of a peer that broke a rule.
    pub(super) fn punish(&mut self, key: PeerKey, misbehavior: Misbehavior) {
        self.disconnect(key, misbehavior.into());
    }

    /// A connection is gone: what it was asked for is asked of others.
    pub(super) fn forget(&mut self, key: PeerKey, reason: DisconnectReason) {
        let Some(peer) = self.peers.remove(&key) else { return };
        for asked in &peer.asked {
            self.assemblies.give_back(key, asked.size, asked.part);
        }
        self.assemblies.left(key);
        // A peer that spoke the protocol is worth another dial; one that was closed for a fault is not.
        let parting = match reason {
            DisconnectReason::Misbehavior(_) => Parting::Guilty,
            _ if peer.gave_at.is_some() => Parting::Fruitful,
            _ if peer.extension.is_some() => Parting::Useful,
            _ => Parting::Useless,
        };
        self.candidates.disconnected(peer.dial_addr(), parting, peer.kept.is_seed(), self.now);
        self.emit(SwarmEvent::PeerDisconnected { peer: key, addr: peer.addr, reason });
        if !peer.asked.is_empty() {
            self.ask_all();
        }
    }

    pub(super) fn pause(&mut self) {
        if self.state == State::Seeking {
            self.state = State::Paused;
            self.disconnect_all(DisconnectReason::Paused);
        }
    }

    pub(super) fn resume(&mut self) {
        if self.state == State::Paused {
            self.state = State::Seeking;
            self.candidates.welcome_back(self.now);
            self.dial();
        }
    }

    pub(super) fn stop(&mut self) {
        if self.state != State::Stopped {
            self.state = State::Stopped;
            self.disconnect_all(DisconnectReason::Stopped);
        }
    }

    fn disconnect_all(&mut self, reason: DisconnectReason) {
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(key, reason);
        }
        self.candidates.forget_dials(self.now);
        self.tick_at = None;
    }
}
