//! What a node shows to people.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::id::NodeId;
use crate::output::Family;

/// A node at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The networks it takes part in.
    pub families: Vec<FamilyStatus>,
    /// It answers no queries (BEP 43).
    pub read_only: bool,
    /// Operations of the caller, those that wait for their turn included.
    pub lookups: usize,
    /// Queries of ours that are open.
    pub queries_open: usize,
    /// Info hashes with peers stored for others.
    pub torrents: usize,
    /// Peers stored for others.
    pub peers: usize,
    /// Items stored for others (BEP 44).
    pub items: usize,
    /// What went through it since it was made.
    pub counts: Counts,
}

/// One network (BEP 32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyStatus {
    /// Which.
    pub family: Family,
    /// Our id there.
    pub id: NodeId,
    /// Our address as others see it.
    pub external: Option<IpAddr>,
    /// Nodes that are good by BEP 5.
    pub good: usize,
    /// Nodes that were good once and have to show it again.
    pub questionable: usize,
    /// Nodes that left two queries unanswered and wait for another node to take their place.
    pub bad: usize,
    /// How many nodes the network has, judged by how close the closest ones are. 0 when unknown.
    pub estimated_nodes: u64,
    /// The closest nodes have been looked for, with success.
    pub bootstrapped: bool,
}

/// Datagrams and bytes since the node was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came in, whatever they were.
    pub datagrams_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Datagrams for the caller to send.
    pub datagrams_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Queries of ours.
    pub queries_out: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that were not answered in time.
    pub timed_out: u64,
    /// Queries of others.
    pub queries_in: u64,
    /// Queries of others that were not answered because of a limit.
    pub limited: u64,
    /// Datagrams that no message was in, or answers to no query of ours.
    pub refused: u64,
}

/// One bucket of a routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketStatus {
    /// Its nodes share this many leading bits with our id; those of the last bucket share at least that many.
    pub prefix: u8,
    /// Since when nothing has changed.
    pub unchanged_for: Duration,
    /// Its nodes, at most 8.
    pub nodes: Vec<TableNodeStatus>,
    /// Nodes that could take the place of others.
    pub replacements: usize,
}

/// A node in a routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNodeStatus {
    /// Its id.
    pub id: NodeId,
    /// Where it is.
    pub addr: SocketAddr,
    /// How much we think of it.
    pub quality: Quality,
    /// Its id belongs to its address (BEP 42).
    pub id_fits: bool,
    /// How long it took to answer last.
    pub round_trip: Option<Duration>,
}

/// What BEP 5 calls a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    /// It answered within 15 minutes, or answered once and asked within 15 minutes.
    Good,
    /// It was good once.
    Questionable,
    /// It left two queries in a row unanswered.
    Bad,
}
