//! What a node wants done or has to tell.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ferri_metainfo::InfoHash;

use crate::id::NodeId;
use crate::input::Lookup;
use crate::items::Item;

/// Which of the two networks (BEP 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address. IPv4 addresses in IPv6 notation count as IPv6, where they are refused.
    pub fn of(addr: SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Something for the caller to carry out or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A datagram to send, of at most 1,232 bytes unless an item of ours is long, from the socket of the family of `to`. It may be lost.
    Send {
        /// The address that it goes to.
        to: SocketAddr,
        /// All of it.
        bytes: Bytes,
    },
    /// Peers that a lookup found. None is told twice in one lookup.
    Peers {
        /// The lookup.
        lookup: Lookup,
        /// Any node may have claimed these.
        peers: Vec<SocketAddr>,
    },
    /// An item that a lookup found; hash or signature are right.
    Item {
        /// The lookup.
        lookup: Lookup,
        /// It has a higher sequence number than any told before in this lookup.
        item: Item,
    },
    /// What one node told about the info hashes it stores (BEP 51).
    Samples {
        /// The lookup.
        lookup: Lookup,
        /// The node.
        from: SocketAddr,
        /// Some of its info hashes.
        info_hashes: Vec<InfoHash>,
        /// How many it has in all, as it says.
        total: u64,
        /// Ask it again after this many seconds and not before.
        interval: u32,
    },
    /// An operation is over.
    Finished {
        /// The operation, whose name is free.
        lookup: Lookup,
        /// How it went.
        outcome: Outcome,
    },
    /// A table is poor: hand in [`Contacts`](crate::Input::Contacts), for example of routers, whose names are resolved
    /// now. Said again with growing pauses while it stays poor.
    WantContacts {
        /// Addresses of this family.
        family: Family,
    },
    /// Something worth knowing.
    Event(NodeEvent),
}

/// How an operation went. All counts are of both families together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Queries sent to find the closest nodes.
    pub queries: u32,
    /// How many of them were answered.
    pub answers: u32,
    /// Different peers told.
    pub peers: u32,
    /// Nodes that had the item, in its newest version.
    pub copies: u32,
    /// Nodes that took the announce or the item.
    pub stored: u32,
    /// Nodes that answered an announce or a put with an error.
    pub refused: u32,
    /// The size of the swarm, when nodes that count were found.
    pub scrape: Option<Scrape>,
}

/// Why an operation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The closest nodes were found and asked.
    #[default]
    Converged,
    /// No node answered; often there was none to ask.
    NoNodes,
    /// The caller cancelled it.
    Cancelled,
    /// Too many operations are waiting, or the name is taken.
    Refused,
}

/// The estimated size of a swarm (BEP 33), good to a few per cent up to 6,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrape {
    /// Peers that have everything.
    pub seeds: u32,
    /// Peers that do not.
    pub leeches: u32,
}

/// Something worth knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// Several nodes agree that this is our address, or the caller said so.
    ExternalAddress {
        /// As others see us.
        ip: IpAddr,
    },
    /// Our id changed because our address did (BEP 42).
    IdChanged {
        /// In this network.
        family: Family,
        /// From here on.
        id: NodeId,
    },
    /// The nodes closest to us were found: the table is usable.
    Bootstrapped {
        /// In this network.
        family: Family,
        /// Good nodes in the table.
        nodes: usize,
    },
    /// No node of this family has answered for a while.
    Lonely {
        /// In this network.
        family: Family,
    },
}
