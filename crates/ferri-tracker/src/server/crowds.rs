//! How many peers each network has, an IPv4 address or an IPv6 /64, in the whole tracker and in one swarm. A fixed table of
//! counters without names (a count-min sketch): it never says too few, and of a network that has many it says little too many.
//!
//! An exact count would take a name and a number for each network, as much memory as the peers themselves.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::hashing::TableKey;

/// Counters of the smallest table.
const COUNTERS_MIN: usize = 1 << 10;

/// Counters of the largest, 4 MiB. With 50 million peers each is off by 190 on average, while whoever fills a tracker has
/// millions.
const COUNTERS_MAX: usize = 1 << 20;

/// Peers for each counter, in a full tracker. A quarter of a byte of memory more for each peer halves what counts are off by.
const PEERS_PER_COUNTER: usize = 4;

/// Counters that a peer raises: two for its network, two for its network in its swarm.
const RAISED: usize = 4;

/// The counters. Shared by all shards, without a lock: each is a number of its own.
pub(super) struct Crowds {
    counters: Box<[AtomicU32]>,
    key: TableKey,
    noise: u32,
}

/// A network, as the counters know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network(u64);

impl Crowds {
    pub(super) fn new(peers_max: usize, key: TableKey) -> Self {
        let wanted = (peers_max / PEERS_PER_COUNTER).next_power_of_two();
        let count = wanted.clamp(COUNTERS_MIN, COUNTERS_MAX);
        let noise = u32::try_from(RAISED.saturating_mul(peers_max) / count).unwrap_or(u32::MAX);
        Self { counters: (0..count).map(|_| AtomicU32::new(0)).collect(), key, noise }
    }

    pub(super) fn network(&self, ip: IpAddr) -> Network {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Network(self.key.hash(&ip.octets())),
            IpAddr::V6(ip) => {
                let (network, _) =
                    ip.octets().split_first_chunk::<8>().map(|(a, b)| (*a, b.len())).unwrap_or_default();
                Network(self.key.hash(&network))
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

    /// Peers of the network in the tracker, or a little more.
    pub(super) fn weight(&self, network: Network) -> u32 {
        self.least(network.0)
    }

    /// Peers of the network in one swarm, or a little more.
    pub(super) fn weight_in(&self, network: Network, swarm: u64) -> u32 {
        self.least(self.key.join(network.0, swarm))
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
        self.two(network.0).into_iter().chain(self.two(self.key.join(network.0, swarm)))
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
