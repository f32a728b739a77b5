//! Who announces: peers by number, with what each says of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use ferri_sim::Chance;

/// Peers at one address: a user shares a handful of torrents.
const PEERS_AN_ADDRESS: u32 = 4;

/// 127.0.0.0/8 has more, and the addresses of a loopback network that end in 0 or 255 are as good as others.
const ADDRESSES_MAX: u32 = 1 << 23;

/// Of the first peer at an address.
const PORT: u16 = 6881;

/// Peers by number: those of a swarm follow each other.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    swarms: u32,
    /// Of each swarm.
    peers: u32,
    /// Percent.
    seeds: u32,
    addresses: u32,
    v6: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) swarm: u32,
    /// Which of the crowd's addresses.
    pub(super) address: u32,
    pub(super) port: u16,
    pub(super) is_seed: bool,
}

impl Crowd {
    pub(super) fn new(swarms: u32, peers: u32, seeds: u32, to: SocketAddr) -> Result<Self> {
        let total = swarms.checked_mul(peers).context("too many peers")?;
        let addresses = total.div_ceil(PEERS_AN_ADDRESS);
        ensure!(addresses <= ADDRESSES_MAX, "at most {} peers", ADDRESSES_MAX * PEERS_AN_ADDRESS);
        Ok(Self { swarms, peers, seeds, addresses, v6: to.is_ipv6() })
    }

    pub(super) fn swarms(&self) -> u32 {
        self.swarms
    }

    /// Of each swarm.
    pub(super) fn peers(&self) -> u32 {
        self.peers
    }

    pub(super) fn total(&self) -> u32 {
        self.swarms * self.peers
    }

    pub(super) fn addresses(&self) -> u32 {
        self.addresses
    }

    pub(super) fn peer(&self, number: u32) -> Peer {
        let (swarm, nth) = (number / self.peers, number % self.peers);
        // Spread evenly over the swarm.
        let seeds_before = |nth: u32| u64::from(nth) * u64::from(self.seeds) / 100;
        Peer {
            swarm,
            address: number % self.addresses,
            port: PORT + (number / self.addresses) as u16,
            is_seed: seeds_before(nth) < seeds_before(nth + 1),
        }
    }

    /// No two share a /64, and those that follow each other no /48: a tracker may count a /48 as a few networks.
    pub(super) fn ip(&self, address: u32) -> IpAddr {
        let [a, b, c, d] = address.to_be_bytes();
        if self.v6 {
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            return Ipv6Addr::new(0xfd20, 0, low, high, 0, 0, 0, 1).into();
        }
        Ipv4Addr::new(127, 128 | b, c, d).into()
    }

    pub(super) fn info_hash(&self, swarm: u32) -> [u8; 20] {
        let mut hash = [0; 20];
        Chance::new(u64::from(swarm) << 32).fill(&mut hash);
        hash
    }

    pub(super) fn peer_id(&self, number: u32) -> [u8; 20] {
        let mut id = *b"-FB0100-000000000000";
        id[8..].copy_from_slice(format!("{number:012}").as_bytes());
        id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn crowd(swarms: u32, peers: u32, seeds: u32, to: &str) -> Crowd {
        Crowd::new(swarms, peers, seeds, to.parse().expect("an address")).expect("not too many")
    }

    #[test]
    fn no_two_peers_are_alike() {
        for to in ["127.0.0.1:6969", "[::1]:6969"] {
            let crowd = crowd(7, 30, 50, to);
            let all: HashSet<_> = (0..crowd.total())
                .map(|number| {
                    let peer = crowd.peer(number);
                    (crowd.info_hash(peer.swarm), crowd.ip(peer.address), peer.port)
                })
                .collect();
            assert_eq!(all.len(), 210);
        }
        let ids: HashSet<_> = (0..1000).map(|number| crowd(1, 1, 0, "[::1]:1").peer_id(number)).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn every_swarm_has_its_share_of_seeds() {
        for (seeds, expected) in [(0, 0), (10, 3), (50, 15), (100, 30)] {
            let crowd = crowd(3, 30, seeds, "127.0.0.1:1");
            for swarm in 0..3 {
                let count = (0..crowd.total())
                    .map(|n| crowd.peer(n))
                    .filter(|peer| peer.swarm == swarm && peer.is_seed);
                assert_eq!(count.count(), expected);
            }
        }
    }

    #[test]
    fn addresses_lie_in_the_loopback_network() {
        let crowd = crowd(1 << 12, 1 << 13, 50, "127.0.0.1:1");
        assert_eq!(crowd.addresses(), 1 << 23);
        assert_eq!(crowd.ip(0), IpAddr::from([127, 128, 0, 0]));
        assert_eq!(crowd.ip((1 << 23) - 1), IpAddr::from([127, 255, 255, 255]));
        assert!(Crowd::new(1 << 13, 1 << 13, 50, SocketAddr::from(([127, 0, 0, 1], 1))).is_err());
    }
}
