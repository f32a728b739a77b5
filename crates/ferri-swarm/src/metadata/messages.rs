//! What peers of a swarm without metadata say: metadata to those who put it together, the rest is kept or passed on.

use std::net::SocketAddr;

use bytes::Bytes;
use ferri_wire::extension::metadata::Metadata;
use ferri_wire::extension::pex::Pex;
use ferri_wire::extension::{DontHave, ExtensionHandshake, HANDSHAKE_ID, UT_METADATA, UploadOnly};
use ferri_wire::{Message, encoded_len};

use super::MetadataSwarm;
use super::peer::Peer;
use crate::extensions::{DONTHAVE_ID, METADATA_ID, PEX_ID, UPLOAD_ONLY_ID, names};
use crate::input::{Direction, PeerKey};
use crate::output::Output;
use crate::reason::{DisconnectReason, Misbehavior};

impl MetadataSwarm {
    /// Says what we want. Nothing about pieces, and no `metadata_size`: we have none.
    pub(super) fn send_extension_handshake(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get(&key) else { return };
        let handshake = ExtensionHandshake {
            m: names(true, self.options.pex),
            v: Some(self.options.client.clone()),
            reqq: Some(self.options.reqq),
            yourip: Some(peer.addr.ip()),
            p: self.options.listen_port,
            ..ExtensionHandshake::default()
        };
        let payload = Bytes::from(handshake.encode());
        self.send(key, Message::Extended { id: HANDSHAKE_ID, payload });
    }

    pub(super) fn tell(&mut self, key: PeerKey, message: &Metadata) {
        let extension = self.peers.get(&key).and_then(|peer| peer.extension.as_ref());
        let Some(id) = extension.and_then(|extension| extension.id(UT_METADATA)) else { return };
        let payload = Bytes::from(message.encode());
        self.send(key, Message::Extended { id, payload });
    }

    pub(super) fn peer_message(&mut self, key: PeerKey, message: &Message) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.last_received = now;
        self.protocol_down += encoded_len(message) as u64;
        let reserved = peer.handshake.reserved;
        if message.is_fast() && !reserved.has_fast() {
            return self.punish(key, Misbehavior::FastNotAnnounced);
        }
        if is_without_effect(message) && !peer.control.take(now) {
            return self.punish(key, Misbehavior::ControlFlood);
        }
        let heard = match message {
            Message::Extended { .. } if !reserved.has_extensions() => {
                Err(Misbehavior::ExtensionsNotAnnounced)
            }
            Message::Extended { id, payload } => return self.extended(key, *id, payload),
            Message::Port(port) => return self.peer_dht_port(key, *port),
            Message::Piece { piece, begin, .. } => {
                Err(Misbehavior::UnrequestedBlock { piece: *piece, begin: *begin })
            }
            // BEP 52: a peer that does not know the torrent has no hashes either.
            Message::HashRequest(range) => return self.send(key, Message::HashReject(*range)),
            // BEP 6: every request has an answer, also from a peer that chokes and has nothing.
            Message::Request { piece, begin, length } if reserved.has_fast() => {
                let (piece, begin, length) = (*piece, *begin, *length);
                return self.send(key, Message::Reject { piece, begin, length });
            }
            other => peer.kept.hear(other, now),
        };
        if let Err(misbehavior) = heard {
            self.punish(key, misbehavior);
        }
    }

    fn extended(&mut self, key: PeerKey, id: u8, payload: &Bytes) {
        let now = self.now;
        if id == METADATA_ID {
            // Paid for by our requests, or by patience of its own.
            return match Metadata::decode(payload) {
                Ok(Some(message)) => self.answered(key, &message),
                Ok(None) => self.spend_patience(key),
                Err(_) => self.punish(key, Misbehavior::BadExtension),
            };
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !peer.extensions.take(now) {
            return self.punish(key, Misbehavior::ExtensionFlood);
        }
        let understood = match id {
            HANDSHAKE_ID => {
                ExtensionHandshake::decode(payload).map(|handshake| self.extension_handshake(key, handshake))
            }
            PEX_ID if self.options.pex => Pex::decode(payload).map(|pex| self.addresses(key, &pex)),
            DONTHAVE_ID => DontHave::decode(payload).map(|lost| peer.kept.lost(lost.piece)),
            UPLOAD_ONLY_ID => UploadOnly::decode(payload).map(|UploadOnly(upload_only)| {
                peer.extension.get_or_insert_default().upload_only = upload_only;
            }),
            // BEP 10: an extension we did not name is ignored.
            _ => Ok(()),
        };
        if understood.is_err() {
            self.punish(key, Misbehavior::BadExtension);
        }
    }

    fn spend_patience(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !peer.extensions.take(self.now) {
            self.punish(key, Misbehavior::ExtensionFlood);
        }
    }

    fn extension_handshake(&mut self, key: PeerKey, handshake: ExtensionHandshake) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let claim = peer.claim();
        let extension = peer.extension.get_or_insert_default();
        extension.update(handshake);
        let (yourip, port) = (extension.yourip, extension.p);
        let mut taken_back = Vec::new();
        if claim != peer.claim() {
            taken_back = peer.take_back();
        }
        if let Some(ip) = yourip
            && !std::mem::replace(&mut peer.seen_as, true)
        {
            let by = peer.addr.ip();
            self.out.push_back(Output::SeenAs { ip, by });
        }
        if let (Direction::Incoming, Some(port)) = (peer.direction, port) {
            let mut addr = peer.addr;
            addr.set_port(port);
            peer.listens = Some(addr);
            self.candidates.claimed(addr, now);
            if self.candidates.is_claim_banned(addr) {
                return self.disconnect(key, DisconnectReason::Banned);
            }
        }
        if !taken_back.is_empty() {
            taken_back.iter().for_each(|asked| self.assemblies.give_back(key, asked.size, asked.part));
            self.assemblies.left(key);
        }
        self.ask_all();
    }

    fn addresses(&mut self, key: PeerKey, pex: &Pex) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.pex.take(now) {
            let teller = peer.addr.ip();
            self.candidates.told(teller, &pex.added, now);
            self.dial();
        }
    }

    fn peer_dht_port(&mut self, key: PeerKey, port: u16) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        // Once: whether the torrent is private is not known yet, and who moves has time until it is.
        if port != 0 && peer.dht_port.is_none() && !self.options.private {
            peer.dht_port = Some(port);
            let addr = SocketAddr::new(peer.addr.ip(), port);
            self.out.push_back(Output::DhtNode { addr });
        }
    }
}

impl Peer {
    /// What the peer's program calls itself.
    pub(super) fn client(&self) -> String {
        let told = self.extension.as_ref().and_then(|extension| extension.v.clone());
        let told = told.filter(|name| !name.is_empty());
        told.or_else(|| self.handshake.peer_id.client()).unwrap_or_else(|| "unknown client".to_owned())
    }
}

/// Messages of which an honest peer sends few while we say nothing about pieces.
fn is_without_effect(message: &Message) -> bool {
    !matches!(
        message,
        Message::Have { .. }
            | Message::Bitfield(_)
            | Message::HaveAll
            | Message::HaveNone
            | Message::Extended { .. }
            | Message::Piece { .. }
    )
}
