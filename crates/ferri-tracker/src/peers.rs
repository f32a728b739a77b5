//! Lists of peers as trackers write them: compact ([BEP 23], [BEP 7]) and filtered of what cannot be a peer.
//!
//! [BEP 7]: https://www.bittorrent.org/beps/bep_0007.html
//! [BEP 23]: https://www.bittorrent.org/beps/bep_0023.html

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PEERS_MAX;

/// Whether a peer can be listening at this address: port 0, unspecified, multicast and broadcast addresses cannot.
/// Loopback and private addresses can: swarms live there too.
pub fn is_peer_address(addr: SocketAddr) -> bool {
    let ip = match addr.ip().to_canonical() {
        // 0.0.0.0/8 means this network, 240.0.0.0/4 is reserved and ends with the broadcast address.
        IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_multicast() && ip.octets()[0] < 240,
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    ip && addr.port() != 0
}

/// Addresses in the order they came, each once, none that cannot be a peer, at most [`PEERS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct PeerList {
    addrs: Vec<SocketAddr>,
    seen: BTreeSet<SocketAddr>,
}

impl PeerList {
    pub(crate) fn push(&mut self, ip: IpAddr, port: u16) {
        let addr = SocketAddr::new(ip.to_canonical(), port);
        if !self.is_full() && is_peer_address(addr) && self.seen.insert(addr) {
            self.addrs.push(addr);
        }
    }

    /// Six bytes a peer (BEP 23); a part of one at the end is left out.
    pub(crate) fn extend_v4(&mut self, compact: &[u8]) {
        for &[a, b, c, d, high, low] in compact.as_chunks::<6>().0 {
            if self.is_full() {
                return;
            }
            self.push(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]));
        }
    }

    /// Eighteen bytes a peer (BEP 7); a part of one at the end is left out.
    pub(crate) fn extend_v6(&mut self, compact: &[u8]) {
        for peer in compact.as_chunks::<18>().0 {
            if self.is_full() {
                return;
            }
            let (ip, port) = peer.split_first_chunk::<16>().expect("18 bytes begin with 16");
            let port = port.first_chunk::<2>().expect("18 bytes end with 2 after 16");
            self.push(Ipv6Addr::from(*ip).into(), u16::from_be_bytes(*port));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        PEERS_MAX <= self.addrs.len()
    }

    pub(crate) fn into_addrs(self) -> Vec<SocketAddr> {
        self.addrs
    }
}

/// Appends one peer in compact form: 6 bytes for IPv4, 18 for IPv6.
pub(crate) fn encode_compact(addr: SocketAddr, out: &mut Vec<u8>) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check_is_peer(addr: &str, expected: bool) {
        assert_eq!(is_peer_address(addr.parse().unwrap()), expected, "{addr}");
    }

    #[test]
    fn what_cannot_be_a_peer_is_told_apart() {
        check_is_peer("192.0.2.1:6881", true);
        check_is_peer("127.0.0.1:6881", true);
        check_is_peer("10.0.0.1:1", true);
        check_is_peer("[2001:db8::1]:6881", true);
        check_is_peer("[::1]:6881", true);
        check_is_peer("192.0.2.1:0", false);
        check_is_peer("0.0.0.0:6881", false);
        check_is_peer("0.1.2.3:6881", false);
        check_is_peer("224.0.0.1:6881", false);
        check_is_peer("239.255.255.255:6881", false);
        check_is_peer("255.255.255.255:6881", false);
        check_is_peer("[::]:6881", false);
        check_is_peer("[ff02::1]:6881", false);
        check_is_peer("[::ffff:0.0.0.0]:6881", false);
        check_is_peer("[::ffff:192.0.2.1]:6881", true);
    }

    #[test]
    fn compact_peers_come_once_in_order_and_without_the_cut_one() {
        let mut list = PeerList::default();
        list.extend_v4(b"\x01\x02\x03\x04\x1a\xe1\x05\x06\x07\x08\x1a\xe1\x01\x02\x03\x04\x1a\xe1\x09\x09");
        let addrs = list.into_addrs();
        assert_eq!(addrs, ["1.2.3.4:6881".parse().unwrap(), "5.6.7.8:6881".parse().unwrap()]);
    }

    #[test]
    fn an_address_mapped_into_ipv6_is_the_ipv4_peer() {
        let mut compact = Vec::new();
        encode_compact("[::ffff:1.2.3.4]:6881".parse().unwrap(), &mut compact);
        assert_eq!(compact.len(), 18);
        let mut list = PeerList::default();
        list.extend_v6(&compact);
        assert_eq!(list.into_addrs(), ["1.2.3.4:6881".parse().unwrap()]);
    }

    #[test]
    fn no_more_than_two_thousand_are_kept() {
        let compact: Vec<u8> =
            (0..10_000u32).flat_map(|number| [1, (number >> 8) as u8, number as u8, 1, 0x1a, 0xe1]).collect();
        let mut list = PeerList::default();
        list.extend_v4(&compact);
        assert_eq!(list.into_addrs().len(), PEERS_MAX);
    }
}
