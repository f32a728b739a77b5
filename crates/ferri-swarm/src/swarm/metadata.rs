//! The info dictionary for those who lack it (BEP 9).

use bytes::Bytes;
use ferri_wire::Message;
use ferri_wire::extension::UT_METADATA;
use ferri_wire::extension::metadata::{Metadata, PART_LENGTH, part_count, part_length};

use super::Swarm;
use crate::picker::PeerSlot;
use crate::reason::Misbehavior;

/// Requests for parts that a peer may have waiting: all parts of the largest dictionary, as some ask for everything at once.
const QUEUE_MAX: usize = 2_048;

impl Swarm {
    pub(super) fn metadata_size(&self) -> Option<u32> {
        self.options.metadata.as_ref().and_then(|bytes| u32::try_from(bytes.len()).ok())
    }

    pub(super) fn metadata_message(&mut self, slot: PeerSlot, payload: &Bytes) {
        let now = self.timers.now;
        let parts = self.metadata_size().map_or(0, part_count);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        match Metadata::decode(payload) {
            Err(_) => return self.punish(slot, Misbehavior::BadExtension),
            Ok(Some(Metadata::Request { part })) => {
                let is_new = part < parts && !peer.hints.metadata.contains(&part);
                if is_new && peer.hints.metadata.len() < QUEUE_MAX {
                    peer.hints.metadata.push_back(part);
                    return self.send_metadata(slot);
                }
                if peer.patience.extensions.take(now) {
                    return self.reply(slot, &Metadata::Reject { part });
                }
            }
            // Late answers to what was asked before the dictionary was there, and kinds of message that are unknown.
            Ok(_) => {
                if peer.patience.extensions.take(now) {
                    return;
                }
            }
        }
        self.punish(slot, Misbehavior::ExtensionFlood);
    }

    /// Sends the parts a peer waits for, as many as it may have by now.
    pub(super) fn send_metadata(&mut self, slot: PeerSlot) {
        let now = self.timers.now;
        while let Some(peer) = self.peers.get_mut(slot)
            && let Some(bytes) = &self.options.metadata
            && let Some(part) = peer.hints.metadata.front().copied()
            && peer.patience.metadata.take(now)
        {
            peer.hints.metadata.pop_front();
            let total_size = bytes.len() as u32;
            let length = part_length(part, total_size).expect("checked when it was asked for");
            let begin = (part * PART_LENGTH) as usize;
            let data = bytes.slice(begin..begin + length as usize);
            self.reply(slot, &Metadata::Data { part, total_size, data });
        }
    }

    fn reply(&mut self, slot: PeerSlot, message: &Metadata) {
        let Some(id) = self.peers.get(slot).and_then(|peer| peer.extension.id(UT_METADATA)) else { return };
        let payload = Bytes::from(message.encode());
        self.send(slot, Message::Extended { id, payload });
    }
}
