//! Our address as others see it: votes from the `ip` of their answers (BEP 42).
//!
//! Only nodes that we chose have a vote. A node that asks us, or lies close to our id or to what the caller looks for,
//! may have gone there in order to be asked; a crowd around one target meets all nodes that look there. So now and then
//! one node of our table is asked from each sixteenth of the ids: a crowd lies in one of them, and has one vote.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::id::NodeId;
use crate::net::network;

/// A sixteenth of the ids.
pub(crate) type Region = u8;

/// So many voters of different regions and networks must agree before an address is believed.
const VOTERS_MIN: usize = 4;

/// Where an id lies: its first four bits.
pub(crate) fn region(id: NodeId) -> Region {
    id.as_bytes()[0] >> 4
}

/// What the latest voter of each region said.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    votes: BTreeMap<Region, Vote>,
    believed: Option<IpAddr>,
}

#[derive(Debug)]
struct Vote {
    /// The voter's network, which has one vote.
    network: u128,
    ip: IpAddr,
}

impl Votes {
    pub(crate) fn believed(&self) -> Option<IpAddr> {
        self.believed
    }

    /// A node that we chose sees us at `ip`. The address, when it is believed and was not before.
    pub(crate) fn vote(&mut self, region: Region, voter: SocketAddr, ip: IpAddr) -> Option<IpAddr> {
        if ip.is_unspecified() || ip.is_multicast() || ip.is_ipv4() != voter.is_ipv4() {
            return None;
        }
        let network = network(voter);
        self.votes.retain(|_, vote| vote.network != network);
        self.votes.insert(region, Vote { network, ip });
        let agree = self.votes.values().filter(|vote| vote.ip == ip).count();
        let majority = self.votes.len() < 2 * agree;
        (VOTERS_MIN <= agree && majority).then(|| self.believe(ip)).flatten()
    }

    /// Takes an address as true. Returns it when it was not believed before.
    pub(crate) fn believe(&mut self, ip: IpAddr) -> Option<IpAddr> {
        (self.believed.replace(ip) != Some(ip)).then_some(ip)
    }

    /// Forgets the votes; what was believed stays until others say otherwise.
    pub(crate) fn forget(&mut self) {
        self.votes.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn voter(n: u8) -> SocketAddr {
        SocketAddr::new([8, 8, n, 1].into(), 1)
    }

    #[test]
    fn four_regions_and_networks_that_agree_are_believed() {
        let mut votes = Votes::default();
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        for n in 1..16 {
            assert_eq!(votes.vote(n, SocketAddr::new([9, 9, 9, 9].into(), n.into()), ip), None);
            assert_eq!(votes.vote(0, voter(n), ip), None);
        }
        assert_eq!(votes.vote(1, voter(1), ip), None);
        assert_eq!(votes.vote(2, voter(2), ip), Some(ip));
        assert_eq!(votes.vote(3, voter(3), ip), None);
        assert_eq!(votes.believed(), Some(ip));
    }

    #[test]
    fn a_minority_of_liars_changes_nothing_and_a_move_does() {
        let mut votes = Votes::default();
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        let lie: IpAddr = "198.51.100.1".parse().unwrap();
        for n in 0..9 {
            votes.vote(n, voter(n), ip);
        }
        for n in 9..16 {
            assert_eq!(votes.vote(n, voter(n), lie), None);
        }
        assert_eq!(votes.believed(), Some(ip));
        let moved: IpAddr = "203.0.113.99".parse().unwrap();
        let heard: Vec<_> = (0..16).filter_map(|n| votes.vote(n, voter(n), moved)).collect();
        assert_eq!(heard, [moved]);
    }

    #[test]
    fn nonsense_and_the_other_family_have_no_vote() {
        let mut votes = Votes::default();
        for n in 0..9 {
            assert_eq!(votes.vote(n, voter(n), "::1".parse().unwrap()), None);
            assert_eq!(votes.vote(n, voter(n), "0.0.0.0".parse().unwrap()), None);
        }
    }
}
