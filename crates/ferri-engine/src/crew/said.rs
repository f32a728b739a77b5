//! What peers and we say to each other, for those who want to follow it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferri_metainfo::Block;
use ferri_swarm::Direction;
use ferri_wire::Message;

use crate::events::EventLog;
use crate::status::{Event, Said};

/// Where a crew tells what happens.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) events: EventLog,
    /// Every message is told too.
    pub(crate) follow: Arc<AtomicBool>,
}

impl Reporter {
    pub(super) fn follows(&self) -> bool {
        self.follow.load(Ordering::Relaxed)
    }

    /// `pieces`: of the torrent.
    pub(super) fn said(&self, addr: SocketAddr, direction: Direction, message: &Message, pieces: u32) {
        let said = match *message {
            Message::KeepAlive => Said::Other("keep-alive"),
            Message::Choke => Said::Choke,
            Message::Unchoke => Said::Unchoke,
            Message::Interested => Said::Interested,
            Message::NotInterested => Said::NotInterested,
            Message::Have { piece } => Said::Have(piece),
            Message::Bitfield(ref bits) => Said::Bitfield(bits.iter().map(|byte| byte.count_ones()).sum()),
            Message::HaveAll => Said::Bitfield(pieces),
            Message::HaveNone => Said::Bitfield(0),
            Message::Request { piece, begin, length } => Said::Request { piece, begin, length },
            Message::Piece { piece, begin, ref data } => {
                Said::Piece { piece, begin, length: u32::try_from(data.len()).unwrap_or(u32::MAX) }
            }
            Message::Cancel { piece, begin, .. } => Said::Cancel { piece, begin },
            Message::Reject { piece, begin, .. } => Said::Reject { piece, begin },
            Message::Extended { id: 0, .. } => Said::ExtensionHandshake,
            _ => Said::Other("extension"),
        };
        self.say(addr, direction, said);
    }

    pub(super) fn block(&self, addr: SocketAddr, block: Block) {
        let (piece, begin, length) = (block.piece().get(), block.begin(), block.length());
        self.say(addr, Direction::Outgoing, Said::Piece { piece, begin, length });
    }

    fn say(&self, addr: SocketAddr, direction: Direction, message: Said) {
        self.events.send(Event::Said { addr, outgoing: direction == Direction::Outgoing, message });
    }
}
