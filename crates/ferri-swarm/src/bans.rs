//! Who is refused for good, because wrong data was proven to come from there.
//!
//! Many people may share an address (a router, a VPN), so the first proof refuses the address with its port: the one that
//! the peer listens on, where it said so, for that of a connection to us is another one each time. A second culprit
//! refuses the whole [`Network`]. On loopback it never comes to that: a host is not a person there. Peer ids say nothing,
//! as many programs have another one for each connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::network::Network;

/// Networks refused, and as many addresses; the oldest ban is forgotten first.
const BANS_MAX: usize = 4_096;

/// Everybody who is refused, each with the number of the ban.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    networks: BTreeMap<Network, u64>,
    addrs: BTreeMap<SocketAddr, u64>,
    count: u64,
}

impl Bans {
    /// Refuses the culprit at `addr`; port 0 stands for everybody there.
    pub(crate) fn add(&mut self, addr: SocketAddr) {
        self.count += 1;
        let network = Network::of(addr.ip());
        let is_second = self.addrs.range(network.range()).any(|(known, _)| *known != addr);
        if addr.port() != 0 && (addr.ip().is_loopback() || !is_second) {
            self.addrs.insert(addr, self.count);
            forget_oldest(&mut self.addrs);
            return;
        }
        let known: Vec<_> = self.addrs.range(network.range()).map(|(addr, _)| *addr).collect();
        self.addrs.retain(|addr, _| !known.contains(addr));
        self.networks.insert(network, self.count);
        forget_oldest(&mut self.networks);
    }

    /// Whether the address is refused, by itself or with all of its network.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        self.addrs.contains_key(&addr) || self.has_all_of(addr)
    }

    /// Whether everybody around the address is refused.
    pub(crate) fn has_all_of(&self, addr: SocketAddr) -> bool {
        self.networks.contains_key(&Network::of(addr.ip()))
    }

    /// All of it, to be added elsewhere.
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
        culprits.iter().for_each(|culprit| bans.add(addr(culprit)));
        let mut copy = Bans::default();
        bans.list().into_iter().for_each(|addr| copy.add(addr));
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
    fn on_loopback_a_host_is_not_a_person() {
        check(&["127.0.0.1:1", "127.0.0.1:2"], "127.0.0.1:2", "127.0.0.1:3");
        check(&["[::1]:1", "[::1]:2"], "[::1]:2", "[::1]:3");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let mut bans = Bans::default();
        let host = |n: u32, port| SocketAddr::new(std::net::IpAddr::V4((0x0b00_0000 + n).into()), port);
        (0..6_000).for_each(|n| bans.add(host(n, 1)));
        assert!(!bans.has(host(0, 1)) && bans.has(host(5_999, 1)));
        (0..6_000).for_each(|n| bans.add(host(n, 0)));
        assert!(!bans.has(host(0, 1)) && bans.has(host(5_999, 2)));
        assert!(bans.list().len() <= 2 * BANS_MAX);
    }
}
