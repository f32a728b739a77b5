//! The extension protocol (BEP 10): what we say about ourselves, what peers say, and two small extensions (BEP 21, 54).

use bytes::Bytes;
use ferri_wire::Message;
use ferri_wire::extension::{
    DontHave, ExtensionHandshake, HANDSHAKE_ID, LT_DONTHAVE, UPLOAD_ONLY, UploadOnly,
};

use super::Swarm;
use crate::extensions::{DONTHAVE_ID, METADATA_ID, PEX_ID, UPLOAD_ONLY_ID, names};
use crate::input::Direction;
use crate::output::Output;
use crate::picker::PeerSlot;
use crate::reason::{DisconnectReason, Misbehavior};
use crate::status::Role;

impl Swarm {
    pub(super) fn send_extension_handshake(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(slot) else { return };
        let handshake = ExtensionHandshake {
            m: names(self.options.metadata.is_some(), self.exchanges_peers()),
            v: Some(self.options.client.clone()),
            reqq: Some(self.options.reqq),
            yourip: Some(peer.id.addr.ip()),
            upload_only: self.role != Role::Leech,
            p: self.options.listen_port,
            metadata_size: self.metadata_size(),
            ..ExtensionHandshake::default()
        };
        let payload = Bytes::from(handshake.encode());
        self.send(slot, Message::Extended { id: HANDSHAKE_ID, payload });
    }

    pub(super) fn extended(&mut self, slot: PeerSlot, id: u8, payload: &Bytes) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.id.extensions {
            return self.punish(slot, Misbehavior::ExtensionsNotAnnounced);
        }
        if id == METADATA_ID && self.options.metadata.is_some() {
            // What is sent in return has a bound of its own.
            return self.metadata_message(slot, payload);
        }
        if !peer.patience.extensions.take(self.timers.now) {
            return self.punish(slot, Misbehavior::ExtensionFlood);
        }
        match id {
            HANDSHAKE_ID => match ExtensionHandshake::decode(payload) {
                Ok(handshake) => self.extension_handshake(slot, handshake),
                Err(_) => self.punish(slot, Misbehavior::BadExtension),
            },
            DONTHAVE_ID => match DontHave::decode(payload) {
                Ok(DontHave { piece }) => self.peer_lost(slot, piece),
                Err(_) => self.punish(slot, Misbehavior::BadExtension),
            },
            UPLOAD_ONLY_ID => match UploadOnly::decode(payload) {
                Ok(UploadOnly(upload_only)) => self.peer_upload_only(slot, upload_only),
                Err(_) => self.punish(slot, Misbehavior::BadExtension),
            },
            PEX_ID => self.pex_message(slot, payload),
            // BEP 10: an extension we did not name is ignored.
            _ => {}
        }
    }

    fn extension_handshake(&mut self, slot: PeerSlot, handshake: ExtensionHandshake) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.extension.update(handshake);
        if let Some(ip) = peer.extension.yourip
            && !std::mem::replace(&mut peer.hints.seen_as, true)
        {
            let by = peer.id.addr.ip();
            self.out.push_back(Output::SeenAs { ip, by });
        }
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if let Some(reqq) = peer.extension.reqq {
            peer.down.set_reqq(reqq);
        }
        if let (Direction::Incoming, Some(port)) = (peer.id.direction, peer.extension.p) {
            let mut addr = peer.id.addr;
            addr.set_port(port);
            self.candidates.claimed(addr, self.timers.now);
            if let Some(peer) = self.peers.get_mut(slot) {
                peer.listens = Some(addr);
            }
            if self.candidates.is_claim_banned(addr) {
                return self.disconnect(slot, DisconnectReason::Banned);
            }
            self.introduce(slot, addr);
        }
        self.drop_if_pointless(slot);
    }

    fn peer_upload_only(&mut self, slot: PeerSlot, upload_only: bool) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.extension.upload_only = upload_only;
        }
        self.drop_if_pointless(slot);
    }

    /// Tells all peers whether we still want anything (BEP 21).
    pub(super) fn announce_upload_only(&mut self) {
        let upload_only = self.role != Role::Leech;
        self.for_each_peer(|swarm, slot| {
            let id = swarm.peers.get(slot).and_then(|peer| peer.extension.id(UPLOAD_ONLY));
            if let Some(id) = id {
                let payload = Bytes::copy_from_slice(&UploadOnly(upload_only).encode());
                swarm.send(slot, Message::Extended { id, payload });
            }
        });
    }

    /// Takes a have back, from those who understand it (BEP 54).
    pub(super) fn announce_lost(&mut self, piece: u32) {
        self.for_each_peer(|swarm, slot| {
            let id = swarm.peers.get(slot).and_then(|peer| peer.extension.id(LT_DONTHAVE));
            if let Some(id) = id {
                let payload = Bytes::copy_from_slice(&DontHave { piece }.encode());
                swarm.send(slot, Message::Extended { id, payload });
            }
        });
    }
}
