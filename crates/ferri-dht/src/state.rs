//! What a node remembers from one run to the next: its ids and nodes of both families, bencoded.

use std::net::SocketAddr;

use crate::id::NodeId;

/// Ids and nodes, to be saved and handed to the next [`Node`](crate::Node).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Our id in the IPv4 network.
    pub id_v4: Option<NodeId>,
    /// Our id in the IPv6 network.
    pub id_v6: Option<NodeId>,
    /// Nodes of both families that were good, at most [`State::NODES_MAX`] of each.
    pub nodes: Vec<(NodeId, SocketAddr)>,
}

impl State {
    /// Nodes of a family that are saved: enough that some live after weeks, little enough to ask them all.
    pub const NODES_MAX: usize = 300;
}

/// Bytes that are no state at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not bencode, or more than any state has.
    #[error("the saved DHT nodes cannot be read")]
    Unreadable,
    /// Written by a later version.
    #[error("the saved DHT nodes are of version {0}, which is not known")]
    Version(i64),
}
