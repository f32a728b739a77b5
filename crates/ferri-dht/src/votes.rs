//! Our address as others see it: votes from the `ip` of their answers (BEP 42).

use std::collections::VecDeque;
use std::net::IpAddr;

use smallvec::SmallVec;

use crate::net::network;
use crate::table::Contact;

/// The latest votes of each kind that count.
const VOTES_MAX: usize = 32;

/// So many voters from different networks must agree before an address is believed. Nodes that a newcomer asks first may
/// be of one person; the networks of four are not likely to be.
const VOTERS_MIN: usize = 4;

/// What the latest voters said.
///
/// Nodes whose ids belong to their addresses have the say. The others are heard while there are few of those, as in
/// a network that begins: a crowd around one target, which all who look there ask, can choose its ids freely only as
/// long as they do not fit, and would otherwise outvote everybody else.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    fitting: VecDeque<(u128, IpAddr)>,
    others: VecDeque<(u128, IpAddr)>,
    believed: Option<IpAddr>,
}

impl Votes {
    pub(crate) fn believed(&self) -> Option<IpAddr> {
        self.believed
    }

    /// A node that answered sees us at `ip`. The address, when it is believed and was not before.
    pub(crate) fn vote(&mut self, voter: Contact, ip: IpAddr) -> Option<IpAddr> {
        let from = voter.addr;
        if ip.is_unspecified() || ip.is_multicast() || ip.is_ipv4() != from.is_ipv4() {
            return None;
        }
        let voters = network(from);
        let fits = voter.id.fits(from.ip());
        // One network has one vote, its latest.
        self.fitting.retain(|(known, _)| *known != voters);
        self.others.retain(|(known, _)| *known != voters);
        let votes = if fits { &mut self.fitting } else { &mut self.others };
        if votes.len() == VOTES_MAX {
            votes.pop_front();
        }
        votes.push_back((voters, ip));
        if !fits && VOTERS_MIN <= self.fitting.len() {
            return None;
        }
        let few = self.fitting.len() < VOTERS_MIN;
        let others = few.then_some(&self.others).into_iter().flatten();
        let heard: SmallVec<[IpAddr; 64]> =
            self.fitting.iter().chain(others).map(|(_, vote)| *vote).collect();
        let agree = heard.iter().filter(|vote| **vote == ip).count();
        let majority = heard.len() < 2 * agree;
        (VOTERS_MIN <= agree && majority).then(|| self.believe(ip)).flatten()
    }

    /// Takes an address as true. Returns it when it was not believed before.
    pub(crate) fn believe(&mut self, ip: IpAddr) -> Option<IpAddr> {
        (self.believed.replace(ip) != Some(ip)).then_some(ip)
    }

    /// Forgets the votes; what was believed stays until others say otherwise.
    pub(crate) fn forget(&mut self) {
        self.fitting.clear();
        self.others.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::SocketAddr;

    use super::*;
    use crate::id::NodeId;

    fn at(ip: [u8; 4], port: u16) -> Contact {
        Contact { id: NodeId::from([7; 20]), addr: SocketAddr::new(ip.into(), port) }
    }

    /// A node whose id is not its own.
    fn voter(n: u8) -> Contact {
        at([8, 8, n, 1], 1)
    }

    fn fitting(n: u8) -> Contact {
        let ip = [9, 9, n, 1];
        Contact { id: NodeId::for_address(ip.into(), [n; 20]), ..at(ip, 1) }
    }

    #[test]
    fn four_networks_that_agree_are_believed() {
        let mut votes = Votes::default();
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        for port in 1..20 {
            assert_eq!(votes.vote(at([9, 9, 9, 9], port), ip), None);
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
    fn nodes_with_fitting_ids_are_not_outvoted_by_others() {
        let mut votes = Votes::default();
        let lie: IpAddr = "198.51.100.1".parse().unwrap();
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        let heard: Vec<_> = (0..4).filter_map(|n| votes.vote(voter(n), lie)).collect();
        assert_eq!(heard, [lie]);
        let heard: Vec<_> = (0..4).filter_map(|n| votes.vote(fitting(n), ip)).collect();
        assert_eq!(heard, [ip]);
        for n in 0..200 {
            assert_eq!(votes.vote(voter(n), lie), None);
        }
        assert_eq!(votes.believed(), Some(ip));
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
