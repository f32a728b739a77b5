//! Our address as others see it: votes from the `ip` of their answers (BEP 42).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::net::network;

/// The latest votes that count.
const VOTES_MAX: usize = 32;

/// So many voters from different networks must agree before an address is believed. Nodes that a newcomer asks first may
/// be of one person; the networks of four are not likely to be.
const VOTERS_MIN: usize = 4;

/// What the latest voters said.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    votes: VecDeque<(u128, IpAddr)>,
    believed: Option<IpAddr>,
}

impl Votes {
    pub(crate) fn believed(&self) -> Option<IpAddr> {
        self.believed
    }

    /// A node that answered sees us at `ip`. The address, when it is believed and was not before.
    pub(crate) fn vote(&mut self, voter: SocketAddr, ip: IpAddr) -> Option<IpAddr> {
        if ip.is_unspecified() || ip.is_multicast() || ip.is_ipv4() != voter.is_ipv4() {
            return None;
        }
        let voter = network(voter);
        // One network has one vote, its latest.
        self.votes.retain(|(known, _)| *known != voter);
        if self.votes.len() == VOTES_MAX {
            self.votes.pop_front();
        }
        self.votes.push_back((voter, ip));
        let agree = self.votes.iter().filter(|(_, vote)| *vote == ip).count();
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
    fn four_networks_that_agree_are_believed() {
        let mut votes = Votes::default();
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        for port in 1..20 {
            assert_eq!(votes.vote(SocketAddr::new([9, 9, 9, 9].into(), port), ip), None);
        }
        assert_eq!(votes.vote(voter(1), ip), None);
        assert_eq!(votes.vote(voter(2), ip), None);
        assert_eq!(votes.vote(voter(3), ip), Some(ip));
        assert_eq!(votes.vote(voter(4), ip), None);
        assert_eq!(votes.believed(), Some(ip));
    }

    #[test]
    fn a_minority_of_liars_changes_nothing_and_a_move_does() {
        let mut votes = Votes::default();
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        let lie: IpAddr = "198.51.100.1".parse().unwrap();
        for n in 0..12 {
            votes.vote(voter(n), ip);
        }
        for n in 20..30 {
            assert_eq!(votes.vote(voter(n), lie), None);
        }
        assert_eq!(votes.believed(), Some(ip));
        let moved: IpAddr = "203.0.113.99".parse().unwrap();
        let heard: Vec<_> = (0..VOTES_MAX as u8).filter_map(|n| votes.vote(voter(100 + n), moved)).collect();
        assert_eq!(heard, [moved]);
    }

    #[test]
    fn nonsense_and_the_other_family_have_no_vote() {
        let mut votes = Votes::default();
        for n in 0..9 {
            assert_eq!(votes.vote(voter(n), "::1".parse().unwrap()), None);
            assert_eq!(votes.vote(voter(n), "0.0.0.0".parse().unwrap()), None);
        }
    }
}
