//! Peers that are refused for good, because wrong data was proven to come from there.
//!
//! Many people may share an address (a router, a VPN), so the first proof refuses the address with its port. The port of a
//! connection to us is another one each time, so there it is the one that the peer said it listens on. It may have named a
//! neighbour's: who calls and says the same is refused, but the address is dialled as before. A second culprit
//! refuses the whole [`Network`]. On loopback it never comes to that: a host is not a person there. Peer ids say nothing,
//! as many programs have another one for each connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::network::Network;

/// Networks refused, and as many addresses; the oldest ban is forgotten first.
const BANS_MAX: usize = 4_096;

/// All refused peers, each with the number of the ban.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    networks: BTreeMap<Network, u64>,
    addrs: BTreeMap<SocketAddr, u64>,
    /// Addresses that culprits gave as their own.
    claims: BTreeMap<SocketAddr, u64>,
    count: u64,
}

/// How the address of a peer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The connection is to or from there.
    Connected,
    /// The peer called from another port and says that it listens at this one.
    Claimed,
}

impl Known {
    /// Of a peer that is connected from `connected` and known by `addr`.
    pub(crate) fn of(connected: SocketAddr, addr: SocketAddr) -> Self {
        if connected == addr { Self::Connected } else { Self::Claimed }
    }
}

impl Bans {
    /// Refuses the culprit at `addr`; port 0 stands for all peers there.
    pub(crate) fn add(&mut self, addr: SocketAddr, known: Known) {
        self.count += 1;
        let network = Network::of(addr.ip());
        let others = self.addrs.range(network.range()).chain(self.claims.range(network.range()));
        let is_second = others.map(|(other, _)| *other).any(|other| other != addr);
        if addr.port() != 0 && (addr.ip().is_loopback() || !is_second) {
            let bans = if known == Known::Connected { &mut self.addrs } else { &mut self.claims };
            bans.insert(addr, self.count);
            forget_oldest(bans);
            return;
        }
        for bans in [&mut self.addrs, &mut self.claims] {
            bans.retain(|addr, _| Network::of(addr.ip()) != network);
        }
        self.networks.insert(network, self.count);
        forget_oldest(&mut self.networks);
    }

    /// Whether the address is refused, by itself or with all of its network.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        self.addrs.contains_key(&addr) || self.has_all_of(addr)
    }

    /// Whether a peer that calls us and says that it listens there is refused.
    pub(crate) fn has_claim(&self, addr: SocketAddr) -> bool {
        self.claims.contains_key(&addr) || self.has(addr)
    }

    /// Whether all peers around the address are refused.
    pub(crate) fn has_all_of(&self, addr: SocketAddr) -> bool {
        self.networks.contains_key(&Network::of(addr.ip()))
    }

    /// All that is certain, to be added elsewhere.
    pub(crate) fn list(&self) -> Vec<SocketAddr> {
        let networks = self.networks.keys().map(|network| SocketAddr::new(network.address(), 0));
        networks.chain(self.addrs.keys().copied()).collect()
    }
}

fn forget_oldest<K: Copy + Ord>(bans: &mut BTreeMap<K, u64>) {
    if BANS_MAX < bans.len()
        && let Some(oldest) = bans.iter().min_by_key(|(_, number)| **number).map(|(key, _)| *key)
    {
        bans.remove(&oldest);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(culprits: &[&str], banned: &str, free: &str) {
        let mut bans = Bans::default();
        culprits.iter().for_each(|culprit| bans.add(addr(culprit), Known::Connected));
        let mut copy = Bans::default();
        bans.list().into_iter().for_each(|addr| copy.add(addr, Known::Connected));
        for bans in [bans, copy] {
            assert!(bans.has(addr(banned)), "{banned} {bans:?}");
            assert!(!bans.has(addr(free)), "{free} {bans:?}");
        }
    }

    #[test]
    fn one_culprit_is_refused_with_its_port_and_a_second_one_with_everybody_there() {
        check(&["1.2.3.4:1"], "1.2.3.4:1", "1.2.3.4:2");
        check(&["1.2.3.4:1", "1.2.3.4:1"], "1.2.3.4:1", "1.2.3.4:2");
        check(&["1.2.3.4:1", "1.2.3.4:2"], "1.2.3.4:3", "1.2.3.5:1");
        check(&["1.2.3.4:0"], "1.2.3.4:3", "1.2.3.5:3");
        check(&["[2001:db8::1]:1"], "[2001:db8::1]:1", "[2001:db8::1]:2");
        check(&["[2001:db8::1]:1", "[2001:db8::2]:1"], "[2001:db8::3]:7", "[2001:db8:0:1::1]:1");
        check(&["[2001:db8::1]:0"], "[2001:db8::3]:7", "[2001:db8:0:1::1]:1");
    }

    #[test]
    fn what_a_culprit_says_of_itself_is_refused_to_those_who_say_the_same() {
        let mut bans = Bans::default();
        bans.add(addr("1.2.3.4:1"), Known::Claimed);
        assert!(bans.has_claim(addr("1.2.3.4:1")) && !bans.has_claim(addr("1.2.3.4:2")));
        assert!(!bans.has(addr("1.2.3.4:1")), "it may be a neighbour's");
        bans.add(addr("1.2.3.4:1"), Known::Connected);
        assert!(bans.has(addr("1.2.3.4:1")) && !bans.has(addr("1.2.3.4:2")), "one culprit, twice");
        bans.add(addr("1.2.3.4:3"), Known::Claimed);
        assert!(bans.has(addr("1.2.3.4:2")), "two of them");
    }

    #[test]
    fn on_loopback_a_host_is_not_a_person() {
        check(&["127.0.0.1:1", "127.0.0.1:2"], "127.0.0.1:2", "127.0.0.1:3");
        check(&["[::1]:1", "[::1]:2"], "[::1]:2", "[::1]:3");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let mut bans = Bans::default();
        let host = |n: u32, port| SocketAddr::new(std::net::IpAddr::V4((0x0b00_0000 + n).into()), port);
        (0..6_000).for_each(|n| bans.add(host(n, 1), Known::Connected));
        assert!(!bans.has(host(0, 1)) && bans.has(host(5_999, 1)));
        (0..6_000).for_each(|n| bans.add(host(n, 0), Known::Connected));
        assert!(!bans.has(host(0, 1)) && bans.has(host(5_999, 2)));
        assert!(bans.list().len() <= 2 * BANS_MAX);
    }
}
