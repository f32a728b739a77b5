//! What a node remembers from one run to the next: its ids and nodes of both families, bencoded.

use std::net::SocketAddr;

use ferri_bencode::{Document, Encoder, Value};

use crate::id::{NodeId, is_node_address};
use crate::krpc::compact;

/// Ids and nodes, to be saved and handed to the next [`Node`](crate::Node).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct State {
    /// Our id in the IPv4 network.
    pub id_v4: Option<NodeId>,
    /// Our id in the IPv6 network.
    pub id_v6: Option<NodeId>,
    /// Where nodes of both families were that answered lately, at most [`State::NODES_MAX`] of each.
    pub nodes: Vec<SocketAddr>,
}

/// The version that we write, and the only one we read.
const VERSION: i64 = 1;

/// Longer input is no state of ours.
const BYTES_MAX: usize = 64 * 1024;

impl State {
    /// Nodes of a family that are saved: enough that some live after weeks, little enough to ask them all.
    pub const NODES_MAX: usize = 300;

    /// Reads what [`State::encode`] wrote. Parts that are damaged are left out, since half of the nodes are as good as
    /// all of them.
    ///
    /// # Errors
    /// It is not bencode, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        if BYTES_MAX < bytes.len() {
            return Err(StateError::Unreadable);
        }
        let document = Document::parse_lenient(bytes).map_err(|_| StateError::Unreadable)?;
        let dict = document.root().as_dict().ok_or(StateError::Unreadable)?;
        match dict.get(b"version").and_then(Value::as_int) {
            Some(VERSION) => {}
            Some(other) => return Err(StateError::Version(other)),
            None => return Err(StateError::Unreadable),
        }
        let bytes = |key: &[u8]| dict.get(key).and_then(Value::as_bytes);
        let id = |key| bytes(key).and_then(|id| <[u8; 20]>::try_from(id).ok()).map(NodeId::from);
        let addrs = |key: &[u8], size| {
            let addrs = bytes(key).unwrap_or_default().chunks_exact(size).filter_map(compact::addr);
            addrs.filter(|addr| is_node_address(*addr)).take(Self::NODES_MAX)
        };
        let nodes = addrs(b"nodes", 6).chain(addrs(b"nodes6", 18)).collect();
        Ok(Self { id_v4: id(b"id"), id_v6: id(b"id6"), nodes })
    }

    /// The bytes to be saved, at most 8 KiB.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let compact = |v4: bool| {
            let mut out = Vec::new();
            let nodes = self.nodes.iter().filter(|addr| addr.is_ipv4() == v4);
            nodes.take(Self::NODES_MAX).for_each(|addr| compact::put_addr(&mut out, *addr));
            out
        };
        let mut encoder = Encoder::new();
        encoder.begin_dict();
        if let Some(id) = self.id_v4 {
            encoder.key(b"id").bytes(id.as_bytes());
        }
        if let Some(id) = self.id_v6 {
            encoder.key(b"id6").bytes(id.as_bytes());
        }
        encoder.key(b"nodes").bytes(&compact(true));
        encoder.key(b"nodes6").bytes(&compact(false));
        encoder.key(b"version").int(VERSION);
        encoder.end();
        encoder.into_bytes()
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn state(count: u16) -> State {
        let v4 = (1..=count).map(|n| SocketAddr::new([8, 8, 8, 8].into(), n));
        let v6 = (1..=count).map(|n| SocketAddr::new([0x2001, 0, 0, 0, 0, 0, 0, 1].into(), n));
        State { id_v4: Some(NodeId::from([1; 20])), id_v6: None, nodes: v4.chain(v6).collect() }
    }

    #[test]
    fn a_state_comes_back() {
        for count in [0, 1, 300] {
            assert_eq!(State::decode(&state(count).encode()), Ok(state(count)));
        }
        assert_eq!(State::decode(&state(1_000).encode()).unwrap().nodes.len(), 2 * State::NODES_MAX);
        assert!(state(1_000).encode().len() < 8 * 1024);
    }

    #[test]
    fn damaged_parts_are_left_out() {
        let bytes = b"d2:id3:abc3:id620:aaaaaaaaaaaaaaaaaaaa5:nodesi7e6:nodes65:short7:versioni1ee";
        let expected = State { id_v6: Some(NodeId::from([b'a'; 20])), ..State::default() };
        assert_eq!(State::decode(bytes), Ok(expected));
        assert_eq!(State::decode(b"d7:versioni2ee"), Err(StateError::Version(2)));
        assert_eq!(State::decode(b"de"), Err(StateError::Unreadable));
        assert_eq!(State::decode(b"d7:versioni1e"), Err(StateError::Unreadable));
        assert_eq!(State::decode(&[b'i'; BYTES_MAX + 1]), Err(StateError::Unreadable));
        let whole = state(5).encode();
        for end in 0..whole.len() {
            assert!(State::decode(&whole[..end]).is_err());
        }
    }
}
