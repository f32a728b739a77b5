//! How many peers each network has, an IPv4 address or an IPv6 /64, in the whole tracker and in one swarm. A fixed table of
//! counters without names (a count-min sketch): it never says too few, and of a network that has many it says little too many.
//!
//! The owner of a /48 has 65,536 networks. So peers are counted for their site too, and a network weighs as much as its
//! part of it.
//!
//! An exact count would take a name and a number for each network, as much memory as the peers themselves.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::hashing::TableKey;

/// Counters of the smallest table.
const COUNTERS_MIN: usize = 1 << 10;

/// Counters of the largest, 4 MiB. With 50 million peers each is off by 190 on average, while an attacker that fills a
/// tracker has millions.
const COUNTERS_MAX: usize = 1 << 20;

/// Peers for each counter, in a full tracker. A quarter of a byte of memory more for each peer halves what counts are off by.
const PEERS_PER_COUNTER: usize = 4;

/// Counters that a peer raises at most: two for its network, two for its network in its swarm, and as many for its site.
const RAISED: usize = 8;

/// A site counts as so many networks: a household or an office uses a few, and an attacker who makes more up gains
/// nothing by them.
const SITE_NETWORKS: u32 = 16;

/// Bytes of an IPv6 address that are a network's, a /64.
const NETWORK_BYTES: usize = 8;

/// Bytes of an IPv6 address that are a site's, a /48: the most that a customer is given (RFC 6177).
const SITE_BYTES: usize = 6;

/// The counters. Shared by all shards, without a lock: each is a number of its own.
pub(super) struct Crowds {
    counters: Box<[AtomicU32]>,
    key: TableKey,
    noise: u32,
}

/// A network, as the counters know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    own: u64,
    /// Of IPv6, what it is a part of.
    site: Option<u64>,
}

impl Crowds {
    pub(super) fn new(peers_max: usize, key: TableKey) -> Self {
        let wanted = (peers_max / PEERS_PER_COUNTER).next_power_of_two();
        let count = wanted.clamp(COUNTERS_MIN, COUNTERS_MAX);
        let noise = u32::try_from(RAISED.saturating_mul(peers_max) / count).unwrap_or(u32::MAX);
        Self { counters: (0..count).map(|_| AtomicU32::new(0)).collect(), key, noise }
    }

    pub(super) fn network(&self, ip: IpAddr) -> Network {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Network { own: self.key.hash(&ip.octets()), site: None },
            IpAddr::V6(ip) => {
                let ip = ip.octets();
                let (own, site) = (self.key.hash(&ip[..NETWORK_BYTES]), self.key.hash(&ip[..SITE_BYTES]));
                Network { own, site: Some(site) }
            }
        }
    }

    /// A peer of this network came to the swarm with this hash.
    pub(super) fn add(&self, network: Network, swarm: u64) {
        for counter in self.all(network, swarm) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It went.
    pub(super) fn remove(&self, network: Network, swarm: u64) {
        for counter in self.all(network, swarm) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Peers of the network in the tracker, or a little more; at least its part of those of its site.
    pub(super) fn weight(&self, network: Network) -> u32 {
        let of_site = network.site.map_or(0, |site| self.least(site) / SITE_NETWORKS);
        self.least(network.own).max(of_site)
    }

    /// The same for one swarm.
    pub(super) fn weight_in(&self, network: Network, swarm: u64) -> u32 {
        let of_site = network.site.map_or(0, |site| self.least(self.key.join(site, swarm)) / SITE_NETWORKS);
        self.least(self.key.join(network.own, swarm)).max(of_site)
    }

    /// Whether a peer of one network makes room for one of another in a full tracker: only where it has far more, so that
    /// honest networks do not push each other out by turns.
    pub(super) fn yields(&self, heavy: u32, newcomer: u32) -> bool {
        newcomer.saturating_add(self.noise).saturating_mul(2) < heavy
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.counters)
    }

    fn least(&self, hash: u64) -> u32 {
        self.two(hash).map(|counter| counter.load(Ordering::Relaxed)).into_iter().min().unwrap_or(0)
    }

    fn all(&self, network: Network, swarm: u64) -> impl Iterator<Item = &AtomicU32> {
        let hashes = std::iter::once(network.own).chain(network.site);
        hashes.flat_map(move |hash| self.two(hash).into_iter().chain(self.two(self.key.join(hash, swarm))))
    }

    fn two(&self, hash: u64) -> [&AtomicU32; 2] {
        let mask = self.counters.len() - 1;
        // Always two different ones, so that a counter is raised once by each.
        let first = hash as usize & mask;
        let step = (hash >> 32) as usize & mask | 1;
        [&self.counters[first], &self.counters[(first + step) & mask]]
    }
}

impl std::fmt::Debug for Crowds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crowds({} counters)", self.counters.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn crowds(peers_max: usize) -> Crowds {
        Crowds::new(peers_max, TableKey::of_seed(2))
    }

    #[test]
    fn counts_follow_who_comes_and_goes() {
        let crowds = crowds(1_000);
        let network = |ip: &str| crowds.network(ip.parse().unwrap());
        let (here, there) = (network("192.0.2.1"), network("192.0.2.2"));
        (0..5).for_each(|swarm| crowds.add(here, swarm % 2));
        crowds.add(there, 0);
        assert_eq!((crowds.weight(here), crowds.weight(there)), (5, 1));
        assert_eq!(
            (crowds.weight_in(here, 0), crowds.weight_in(here, 1), crowds.weight_in(there, 1)),
            (3, 2, 0)
        );
        (0..5).for_each(|swarm| crowds.remove(here, swarm % 2));
        assert_eq!((crowds.weight(here), crowds.weight_in(here, 0), crowds.weight(there)), (0, 0, 1));
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let crowds = crowds(1_000);
        let network = |ip: &str| crowds.network(ip.parse().unwrap());
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:9:9:9:9"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }

    #[test]
    fn a_site_counts_as_sixteen_networks() {
        let crowds = crowds(1_000_000);
        let network = |ip: &str| crowds.network(ip.parse().unwrap());
        for number in 0..640 {
            crowds.add(network(&format!("2001:db8:7:{number:x}::1")), 5);
        }
        // Also for one of them that has no peers yet.
        let new = network("2001:db8:7:ffff::1");
        assert_eq!((crowds.weight(new), crowds.weight_in(new, 5), crowds.weight_in(new, 6)), (40, 40, 0));
        let other = network("2001:db8:8:1::1");
        assert_eq!((crowds.weight(other), crowds.weight_in(other, 5)), (0, 0));
        for number in 0..640 {
            crowds.remove(network(&format!("2001:db8:7:{number:x}::1")), 5);
        }
        assert_eq!((crowds.weight(new), crowds.weight_in(new, 5)), (0, 0));
        assert!(crowds.counters.iter().all(|counter| counter.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn in_a_full_tracker_the_one_who_filled_it_stands_out() {
        let peers = 200_000;
        let crowds = crowds(peers);
        let attacker = crowds.network([192, 0, 2, 1].into());
        for number in 0..peers as u32 / 2 {
            crowds.add(attacker, u64::from(number) << 20);
            crowds.add(crowds.network((0x0a00_0000 + number).to_be_bytes().into()), u64::from(number));
        }
        let honest: Vec<u32> = (0..2_000u32)
            .map(|number| crowds.weight(crowds.network((0x0a00_0000 + number).to_be_bytes().into())))
            .collect();
        assert!(crowds.weight(attacker) >= 100_000);
        assert!(honest.iter().all(|weight| crowds.yields(crowds.weight(attacker), *weight)));
        assert!(honest.iter().all(|weight| !crowds.yields(*weight, 1)), "{:?}", honest.iter().max());
    }
}
