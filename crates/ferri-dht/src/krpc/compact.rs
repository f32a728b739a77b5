//! Addresses and nodes in their compact forms (BEP 5, BEP 32).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::id::NodeId;

/// Bytes of an IPv4 node: id, address, port.
pub const NODE_V4: usize = 26;

/// Bytes of an IPv6 node.
pub const NODE_V6: usize = 38;

/// Appends 6 bytes for an IPv4 address, 18 for an IPv6 one.
pub fn put_addr(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// The address that 6 or 18 bytes are. `None` for any other length.
#[must_use]
pub fn addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).expect("4 bytes"))),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).expect("16 bytes"))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Appends a node: 26 bytes with an IPv4 address, 38 with an IPv6 one.
pub fn put_node(out: &mut Vec<u8>, id: NodeId, addr: SocketAddr) {
    out.extend_from_slice(id.as_bytes());
    put_addr(out, addr);
}

/// The nodes in a `nodes` string. What does not fill a node at the end is left out.
pub fn nodes_v4(bytes: &[u8]) -> impl Iterator<Item = (NodeId, SocketAddr)> {
    bytes.as_chunks::<NODE_V4>().0.iter().map(|node| split_node(node))
}

/// The nodes in a `nodes6` string, as [`nodes_v4`].
pub fn nodes_v6(bytes: &[u8]) -> impl Iterator<Item = (NodeId, SocketAddr)> {
    bytes.as_chunks::<NODE_V6>().0.iter().map(|node| split_node(node))
}

fn split_node(node: &[u8]) -> (NodeId, SocketAddr) {
    let (id, at) = node.split_first_chunk::<20>().expect("a node begins with its id");
    (NodeId::from(*id), addr(at).expect("6 or 18 bytes are left"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_and_nodes_come_back() {
        for text in ["1.2.3.4:5", "[2001:db8::1]:6881"] {
            let at: SocketAddr = text.parse().unwrap();
            let mut bytes = Vec::new();
            put_addr(&mut bytes, at);
            assert_eq!(addr(&bytes), Some(at));
            assert_eq!(addr(&bytes[1..]), None);
            let mut bytes = Vec::new();
            put_node(&mut bytes, NodeId::from([7; 20]), at);
            bytes.extend_from_slice(b"rest");
            let back: Vec<_> =
                if at.is_ipv4() { nodes_v4(&bytes).collect() } else { nodes_v6(&bytes).collect() };
            assert_eq!(back, [(NodeId::from([7; 20]), at)]);
        }
    }
}
