//! What happens to a node.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ferri_metainfo::InfoHash;

use crate::id::NodeId;
use crate::items::{Item, ItemKey};

/// The caller's name for an operation. Every operation ends with one [`Output::Finished`](crate::Output::Finished);
/// until then its name is not given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lookup(pub u64);

/// Where addresses of nodes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ContactKind {
    /// We knew them in an earlier run.
    Saved,
    /// The `nodes` of a torrent file (BEP 5).
    Torrent,
    /// A peer's PORT message (BEP 5).
    Port,
    /// Well-known nodes for newcomers. They are asked, and told of announces, while a table is poor, and never kept in one.
    Router,
}

/// Something for the node to deal with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Input {
    /// A datagram that came in.
    Datagram {
        /// Who sent it, or claims to have.
        from: SocketAddr,
        /// All of it.
        #[cfg_attr(feature = "serde", serde(with = "crate::serial::hex"))]
        bytes: Bytes,
    },
    /// Addresses where nodes may be. They are asked and belong into the table when they answer, routers excepted.
    Contacts {
        /// Those of a family that is off are ignored; so are those beyond a bound.
        addrs: Vec<SocketAddr>,
        /// Where they came from.
        kind: ContactKind,
    },
    /// Finds peers. They are told by [`Output::Peers`](crate::Output::Peers).
    GetPeers {
        /// Its name.
        lookup: Lookup,
        /// The torrent.
        info_hash: InfoHash,
    },
    /// Finds peers and tells the nodes closest to the info hash that we are one.
    Announce {
        /// Its name.
        lookup: Lookup,
        /// The torrent.
        info_hash: InfoHash,
        /// Where our peer listens. With 0, unless the port is implied, peers are looked for and nothing is announced.
        port: u16,
        /// Others see our peer at the port our DHT packets come from (uTP through a NAT), whatever `port` says.
        implied_port: bool,
        /// We have all of it (BEP 33).
        seed: bool,
    },
    /// Estimates how many seeds and leeches there are (BEP 33). Peers found on the way are told as well.
    Scrape {
        /// Its name.
        lookup: Lookup,
        /// The torrent.
        info_hash: InfoHash,
    },
    /// Finds an item (BEP 44). Told by [`Output::Item`](crate::Output::Item), a mutable one again whenever a newer
    /// version is found.
    Get {
        /// Its name.
        lookup: Lookup,
        /// Which item.
        key: ItemKey,
        /// Only versions of a mutable item with a higher sequence number are of interest.
        newer_than: Option<i64>,
    },
    /// Stores an item with the nodes closest to its key (BEP 44).
    Put {
        /// Its name.
        lookup: Lookup,
        /// The item, signed if it is mutable.
        item: Item,
        /// Only replace this sequence number. Nodes that store another one refuse, which
        /// [`Outcome::refused`](crate::Outcome::refused) counts.
        cas: Option<i64>,
    },
    /// Asks nodes on the way to an id which info hashes they know (BEP 51).
    Sample {
        /// Its name.
        lookup: Lookup,
        /// Where in the space of ids.
        target: NodeId,
    },
    /// Ends an operation. Its `Finished` follows at once.
    Cancel {
        /// Its name.
        lookup: Lookup,
    },
    /// Our address from a source that is trusted, for example the router that maps our port.
    ExternalAddress {
        /// As others see us.
        ip: IpAddr,
    },
    /// Addresses or routes of this machine changed: what was learned about our address is void, and nodes that did not
    /// answer lately may answer again.
    NetworkChanged,
    /// Begins or ends being read-only (BEP 43).
    ReadOnly {
        /// Answer no queries.
        read_only: bool,
    },
    /// The time of [`Node::poll_timeout`](crate::Node::poll_timeout) has come.
    Timeout,
}
