//! Peers come and go: which to dial, which to accept, what to do when one is gone.

use std::net::SocketAddr;
use std::time::Duration;

use ferri_metainfo::PieceIndex;
use ferri_wire::{Handshake, Message};

use super::{State, Swarm};
use crate::admission::{self, Admission, Occupant};
use crate::bans::Known;
use crate::candidates::{Need, Parting, canonical};
use crate::duplicate::keeps_newer;
use crate::input::{Direction, PeerKey, Source};
use crate::network::Network;
use crate::output::{Output, SwarmEvent};
use crate::peer::{Identity, Peer};
use crate::picker::{PeerSlot, Sender};
use crate::reason::{DisconnectReason, Misbehavior};
use crate::status::Role;

/// A connection on which nothing happened for so long makes room for one of higher canonical priority (BEP 40).
const SPARE: Duration = Duration::from_secs(10);
/// A connection without use for so long had its chance.
const USELESS: Duration = Duration::from_secs(60);
/// A request of the peer that waits for so long, and nothing of which it takes, does not keep it here.
const STUCK: Duration = Duration::from_secs(30);
/// A connection that brought so much may be opened again as soon as the first time.
const FRUITFUL: u64 = 256 << 10;
/// Wrong pieces in a row that the only one who has them may send: one bad disk block does not end a download, and a liar
/// costs no more than this.
const PAROLE_MAX: u8 = 3;

impl Swarm {
    pub(super) fn peers_found(&mut self, source: Source, addrs: &[SocketAddr]) {
        if self.takes_from(source) {
            self.candidates.found(source, addrs, self.timers.now);
            self.dial();
        }
    }

    /// BEP 27: a private torrent has its addresses from trackers and people.
    fn takes_from(&self, source: Source) -> bool {
        !(self.options.private && source.is_public())
    }

    /// Dials that another machine began count as ours.
    pub(super) fn dialling(&mut self, source: Source, addrs: &[SocketAddr]) {
        if self.takes_from(source) {
            self.candidates.found(source, addrs, self.timers.now);
            self.candidates.dialling(addrs, self.timers.now);
        }
    }

    /// Refuses addresses that were proven bad elsewhere, and their connections.
    pub(super) fn refuse_addrs(&mut self, addrs: &[SocketAddr]) {
        addrs.iter().for_each(|addr| self.candidates.ban(*addr, Known::Connected));
        self.for_each_peer(|swarm, slot| {
            if swarm.peers.get(slot).is_some_and(|peer| swarm.candidates.is_banned(peer.dial_addr())) {
                swarm.disconnect(slot, DisconnectReason::Banned);
            }
        });
    }

    pub(super) fn connect_failed(&mut self, addr: SocketAddr) {
        self.candidates.failed(addr, self.timers.now);
        self.dial();
    }

    /// Opens connections, as many as may be open.
    pub(super) fn dial(&mut self) {
        if self.state != State::Active {
            return;
        }
        let connecting = self.candidates.connecting();
        let room = admission::for_dials(self.options.peers_max).saturating_sub(self.peers.len() + connecting);
        let count = room.min(self.options.half_open_max.saturating_sub(connecting));
        for addr in self.candidates.next(count, self.need(), self.timers.now) {
            self.out.push_back(Output::Connect { addr });
        }
    }

    /// Which peers we need.
    pub(super) fn need(&self) -> Need {
        let gives =
            |peer: &Peer| peer.terms.am_interested && !peer.terms.peer_choking && !peer.down.is_snubbed();
        match self.role {
            Role::Leech if self.peers.iter().any(|(_, peer)| gives(peer)) => Need::Any,
            Role::Leech => Need::AnyAtOnce,
            Role::Seed | Role::PartialSeed => Need::NotSeeds,
        }
    }

    pub(super) fn peer_connected(
        &mut self,
        key: PeerKey,
        addr: SocketAddr,
        direction: Direction,
        handshake: &Handshake,
        crowd: u32,
    ) {
        let now = self.timers.now;
        let addr = canonical(addr);
        let refusal = self.refusal(addr, direction, handshake).or_else(|| self.admit(addr, direction, crowd));
        if let Some(reason) = refusal {
            if direction == Direction::Outgoing {
                let connected = self.is_connected_to(addr);
                self.candidates.refused(addr, reason, connected, now);
            }
            self.out.push_back(Output::Disconnect { peer: key, reason });
            return;
        }
        let reserved = handshake.reserved;
        let source = match direction {
            Direction::Incoming => Source::Incoming,
            // What is not on the list any more was dialled for a person.
            Direction::Outgoing => self.candidates.source(addr).unwrap_or(Source::Explicit),
        };
        let peer = Peer::new(
            Identity {
                key,
                addr,
                direction,
                source,
                peer_id: handshake.peer_id,
                fast: reserved.has_fast(),
                extensions: reserved.has_extensions(),
                dht: reserved.has_dht(),
                connected: now,
            },
            self.layout.piece_count(),
        );
        let client = peer.client();
        self.candidates.connected(addr);
        let slot = self.peers.insert(peer);
        self.emit(SwarmEvent::PeerConnected { peer: key, addr, client });
        self.send_pieces(slot);
        if reserved.has_extensions() {
            self.send_extension_handshake(slot);
        }
        self.send_dht_port(slot);
        if direction == Direction::Outgoing {
            self.introduce(slot, addr);
        }
    }

    /// Why a new connection is not wanted, whichever peers are there. Of two to the same peer one goes.
    fn refusal(
        &mut self,
        addr: SocketAddr,
        direction: Direction,
        handshake: &Handshake,
    ) -> Option<DisconnectReason> {
        match self.state {
            State::Active => {}
            State::Paused => return Some(DisconnectReason::Paused),
            State::Stopped => return Some(DisconnectReason::Stopped),
        }
        if !self.options.is_named(handshake.info_hash) {
            return Some(DisconnectReason::OtherTorrent);
        }
        if handshake.peer_id == self.options.peer_id {
            return Some(DisconnectReason::Ourselves);
        }
        if self.candidates.is_banned(addr) {
            return Some(DisconnectReason::Banned);
        }
        // A dial that was begun before it was known that the torrent is private (BEP 27).
        if self.options.private && direction == Direction::Outgoing && self.candidates.source(addr).is_none()
        {
            return Some(DisconnectReason::Private);
        }
        let same =
            |(_, peer): &(PeerSlot, &Peer)| peer.id.addr == addr || peer.id.peer_id == handshake.peer_id;
        let old = self.peers.iter().find(same).map(|(slot, old)| (slot, old.id.direction, old.id.connected));
        if let Some((slot, old_direction, connected)) = old {
            let age = self.timers.now.saturating_duration_since(connected);
            let ours_is_greater = handshake.peer_id < self.options.peer_id;
            if !keeps_newer(ours_is_greater, old_direction, age, direction) {
                return Some(DisconnectReason::Duplicate);
            }
            self.disconnect(slot, DisconnectReason::Duplicate);
        }
        None
    }

    /// Makes room for a new connection where there is none; why there is none to be made.
    fn admit(&mut self, addr: SocketAddr, direction: Direction, crowd: u32) -> Option<DisconnectReason> {
        let max = self.options.peers_max;
        if crowd == 0 && 2 * self.peers.len() < max {
            return None;
        }
        let (network, now) = (Network::of(addr.ip()), self.timers.now);
        let occupants: Vec<_> = self.peers.iter().map(|(slot, peer)| self.occupant(slot, peer)).collect();
        match self.admissions.admit(&occupants, network, crowd, max, now) {
            Admission::Welcome => None,
            Admission::InPlaceOf(slot) => {
                self.replace(slot);
                None
            }
            // People know what they want.
            Admission::Crowded if self.is_named_by_a_person(addr, direction) => {
                (max <= self.peers.len()).then_some(DisconnectReason::TooManyPeers)
            }
            Admission::Crowded => Some(DisconnectReason::Crowded),
            Admission::Full if direction == Direction::Incoming && self.drop_for_priority(addr) => None,
            Admission::Full => Some(DisconnectReason::TooManyPeers),
        }
    }

    fn is_named_by_a_person(&self, addr: SocketAddr, direction: Direction) -> bool {
        // What is not on the list any more was dialled for a person.
        let source = self.candidates.source(addr).unwrap_or(Source::Explicit);
        direction == Direction::Outgoing && source == Source::Explicit
    }

    /// A connection as admission sees it.
    fn occupant(&self, slot: PeerSlot, peer: &Peer) -> Occupant<PeerSlot> {
        let now = self.timers.now;
        let exchanged = 0 < peer.down.rate.total() + peer.up.rate.total();
        // What it may have while choked is no reason to stay.
        let asks_us = !peer.terms.am_choking
            && peer.up.len() != 0
            && now.saturating_duration_since(peer.terms.useful_at.max(peer.terms.since)) < STUCK;
        let answers = peer.down.len() != 0 && !peer.down.is_snubbed();
        Occupant {
            key: slot,
            network: Network::of(peer.id.addr.ip()),
            connected: peer.id.connected,
            useful_at: exchanged.then_some(peer.terms.useful_at),
            stays: asks_us || answers || peer.id.source == Source::Explicit,
            wasted: peer.is_wasting(now) || peer.is_useless_for(USELESS, now),
            priority: self.candidates.priority(peer.id.addr),
        }
    }

    /// Disconnects a peer for one that knocks.
    fn replace(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(slot) else { return };
        let occupant = self.occupant(slot, peer);
        self.admissions.replaced(occupant.network, occupant.useful_at, self.timers.now);
        self.disconnect(slot, DisconnectReason::Replaced);
    }

    /// BEP 40: peers that connect most often must not choose which peers are connected. Of the connections that would
    /// not be missed, the one of the lowest priority goes if the new one's is higher. Whether one went.
    fn drop_for_priority(&mut self, addr: SocketAddr) -> bool {
        let now = self.timers.now;
        let Some(priority) = self.candidates.priority(addr) else { return false };
        let spare = self.peers.iter().filter(|(_, peer)| peer.is_spare(SPARE, now));
        let rank = |(slot, peer): (PeerSlot, &Peer)| Some((self.candidates.priority(peer.id.addr)?, slot));
        match spare.filter_map(rank).min() {
            Some((lowest, slot)) if lowest < priority => {
                self.disconnect(slot, DisconnectReason::Replaced);
                true
            }
            _ => false,
        }
    }

    fn is_connected_to(&self, addr: SocketAddr) -> bool {
        self.peers.iter().any(|(_, peer)| peer.id.addr == addr || peer.listens == Some(addr))
    }

    /// Disconnects the peer that has been without use for longest, if that is so long. Whether there was one.
    pub(super) fn drop_useless(&mut self, time: Duration) -> bool {
        let now = self.timers.now;
        let useless = self.peers.iter().filter(|(_, peer)| peer.is_useless_for(time, now));
        let worst = useless.min_by_key(|(slot, peer)| (peer.terms.useful_at, *slot)).map(|(slot, _)| slot);
        worst.inspect(|slot| self.disconnect(*slot, DisconnectReason::Replaced)).is_some()
    }

    /// Tells a new peer what we have: exactly one message where BEP 6 is spoken, a bitfield if there is something to
    /// say where it is not.
    fn send_pieces(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(slot) else { return };
        let have = self.picker.have();
        let message = match (peer.id.fast, have.none(), have.is_full()) {
            (true, true, _) => Message::HaveNone,
            (true, _, true) => Message::HaveAll,
            (false, true, _) => return,
            _ => Message::Bitfield(have.to_wire().into()),
        };
        self.send(slot, message);
    }

    pub(super) fn peer_disconnected(&mut self, key: PeerKey) {
        if let Some(slot) = self.peers.slot(key) {
            self.forget(slot, DisconnectReason::Closed);
        }
    }

    /// Closes a connection.
    pub(super) fn disconnect(&mut self, slot: PeerSlot, reason: DisconnectReason) {
        if let Some(peer) = self.peers.get(slot) {
            self.out.push_back(Output::Disconnect { peer: peer.id.key, reason });
            self.forget(slot, reason);
        }
    }

    /// Closes the connection of a peer that broke a rule.
    pub(super) fn punish(&mut self, slot: PeerSlot, misbehavior: Misbehavior) {
        self.disconnect(slot, misbehavior.into());
    }

    /// A connection is gone: its requests are free again, its pieces no longer counted.
    fn forget(&mut self, slot: PeerSlot, reason: DisconnectReason) {
        let Some(peer) = self.peers.remove(slot) else { return };
        self.picker.peer_left(&peer.has);
        for block in peer.down.outstanding() {
            self.picker.give_back(block, slot);
        }
        self.picker.disown(slot);
        self.suggested_pieces.take_back(&peer.up.suggested);
        self.pex_log.went(&peer.pex);
        if self.slots.optimistic == Some(slot) {
            self.slots.optimistic = None;
        }
        let exchanged = 0 < peer.down.rate.total() + peer.up.rate.total();
        let agreed = matches!(
            reason,
            DisconnectReason::NothingToExchange | DisconnectReason::Paused | DisconnectReason::Duplicate
        );
        let parting = match reason {
            DisconnectReason::Misbehavior(_) => Parting::Guilty,
            _ if FRUITFUL <= peer.down.rate.total() => Parting::Fruitful,
            _ if agreed || exchanged => Parting::Useful,
            _ => Parting::Useless,
        };
        self.candidates.disconnected(peer.dial_addr(), parting, peer.wants_nothing(), self.timers.now);
        self.emit(SwarmEvent::PeerDisconnected { peer: peer.id.key, addr: peer.id.addr, reason });
        if !peer.terms.am_choking {
            self.fill_slots();
        }
    }

    /// A peer is proven to have sent wrong data: it is refused from here on, unless no other peer has what it has.
    pub(super) fn convict(&mut self, sender: Sender, piece: PieceIndex) {
        if let Some(slot) = self.peers.slot(sender.peer)
            && self.is_only_source(slot)
            && let Some(peer) = self.peers.get_mut(slot)
            && peer.strikes < PAROLE_MAX
        {
            peer.strikes += 1;
            peer.suspect = true;
            return self.emit(SwarmEvent::OnParole { addr: sender.addr, piece });
        }
        self.ban(sender, piece);
    }

    /// Whether there is something that we want and could have from this peer alone.
    fn is_only_source(&self, slot: PeerSlot) -> bool {
        let Some(peer) = self.peers.get(slot) else { return false };
        let is_source = |(other, source): &(PeerSlot, &Peer)| {
            let gave = !source.terms.peer_choking || 0 < source.down.rate.total();
            *other != slot && gave && source.strikes == 0
        };
        let others: Vec<_> = self.peers.iter().filter(is_source).map(|(_, source)| &source.has).collect();
        self.picker.has_alone(&peer.has, &others)
    }

    /// Refuses a peer that is proven to have sent wrong data, and all peers that are refused with it. A peer that
    /// shares the address and has shown to be honest stays.
    fn ban(&mut self, sender: Sender, piece: PieceIndex) {
        if !self.candidates.is_banned(sender.addr) {
            self.candidates.ban(sender.addr, sender.known);
            self.emit(SwarmEvent::Banned { addr: sender.addr, piece });
        }
        let banned = |peer: &Peer| {
            peer.id.key == sender.peer || !peer.proven && self.candidates.is_banned(peer.dial_addr())
        };
        let slots: Vec<_> =
            self.peers.iter().filter(|(_, peer)| banned(peer)).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.punish(slot, Misbehavior::WrongData { piece: piece.get() });
        }
    }

    /// Closes every connection.
    pub(super) fn disconnect_all(&mut self, reason: DisconnectReason) {
        for slot in (0..self.peers.slot_count()).map(PeerSlot) {
            self.disconnect(slot, reason);
        }
        self.candidates.forget_dials(self.timers.now);
    }

    /// Closes connections on which neither side will ever ask for anything.
    pub(super) fn drop_if_pointless(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get(slot)
            && self.role != Role::Leech
            && peer.wants_nothing()
        {
            self.disconnect(slot, DisconnectReason::NothingToExchange);
        }
    }
}
