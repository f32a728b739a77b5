//! What peers tell each other about other peers and themselves: addresses (BEP 11), ports of DHT nodes (BEP 5).

use std::net::SocketAddr;

use bytes::Bytes;
use ferri_wire::Message;
use ferri_wire::extension::UT_PEX;
use ferri_wire::extension::pex::{Pex, PexFlags};

use super::Swarm;
use crate::input::Direction;
use crate::output::Output;
use crate::peer::Peer;
use crate::picker::PeerSlot;
use crate::reason::Misbehavior;

/// How often a peer may say that its DHT node moved; further words are not passed on.
const DHT_PORTS_MAX: u8 = 4;

impl Swarm {
    /// Whether addresses of peers are told and heard. BEP 27: a private torrent does neither.
    pub(super) fn exchanges_peers(&self) -> bool {
        self.options.pex && !self.options.private
    }

    /// A peer can be dialled at `addr`: others may hear of it.
    pub(super) fn introduce(&mut self, slot: PeerSlot, addr: SocketAddr) {
        if self.exchanges_peers()
            && let Some(peer) = self.peers.get_mut(slot)
        {
            self.pex_log.came(&mut peer.pex, slot, addr);
        }
    }

    /// Tells a peer which peers came and went since it was told last, at most once a minute.
    pub(super) fn send_pex(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let Some(id) = peer.extension.id(UT_PEX).filter(|_| self.options.pex && !self.options.private) else {
            return;
        };
        let Some(update) = self.pex_log.update(&mut peer.pex, self.timers.now) else { return };
        let flags = |slot| self.peers.get(slot).map_or(PexFlags::NONE, pex_flags);
        let added = update.added.into_iter().map(|(slot, addr)| (addr, flags(slot))).collect();
        let payload = Bytes::from(Pex { added, dropped: update.dropped }.encode());
        self.send(slot, Message::Extended { id, payload });
    }

    pub(super) fn pex_message(&mut self, slot: PeerSlot, payload: &[u8]) {
        if !self.exchanges_peers() {
            return;
        }
        let Ok(pex) = Pex::decode(payload) else { return self.punish(slot, Misbehavior::BadExtension) };
        let now = self.timers.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        // A peer that is gone is found out by dialling; and what comes more often than once a minute is not looked at.
        if peer.patience.pex.take(now) {
            let teller = peer.id.addr.ip();
            self.candidates.told(teller, &pex.added, now);
            self.dial();
        }
    }

    /// Tells a peer that has a DHT node where ours is (BEP 5).
    pub(super) fn send_dht_port(&mut self, slot: PeerSlot) {
        if let Some(port) = self.options.dht_port.filter(|_| !self.options.private)
            && self.peers.get(slot).is_some_and(|peer| peer.id.dht)
        {
            self.send(slot, Message::Port(port));
        }
    }

    /// A peer says where its DHT node is (BEP 5).
    pub(super) fn peer_dht_port(&mut self, slot: PeerSlot, port: u16) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if self.options.private || port == 0 || peer.hints.dht_port == Some(port) {
            return;
        }
        if peer.hints.dht_ports < DHT_PORTS_MAX {
            peer.hints.dht_ports += 1;
            peer.hints.dht_port = Some(port);
            let addr = SocketAddr::new(peer.id.addr.ip(), port);
            self.out.push_back(Output::DhtNode { addr });
        }
    }
}

/// What we say about a peer.
fn pex_flags(peer: &Peer) -> PexFlags {
    let seed = if peer.wants_nothing() { PexFlags::SEED } else { PexFlags::NONE };
    match peer.id.direction {
        // BEP 11: an outgoing connection shows that the peer can be reached.
        Direction::Outgoing => seed.with(PexFlags::REACHABLE),
        Direction::Incoming => seed,
    }
}
