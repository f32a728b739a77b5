//! The internet between the nodes: addresses, distances and NAT.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::scenario::Dice;

use super::scenario::Networks;

/// How long a NAT remembers which addresses its host sent to.
const NAT_REMEMBERS: Time = 60_000_000;

/// Microseconds since the simulation began.
pub(super) type Time = u64;

/// `duration` on the clock of the simulation.
pub(super) fn micros(duration: Duration) -> Time {
    u64::try_from(duration.as_micros()).expect("a simulation lasts hours")
}

/// Hands out addresses and knows who has which.
#[derive(Debug)]
pub(super) struct Internet<P> {
    places: HashMap<SocketAddr, P>,
    /// Networks with hosts in them, and where others may move in.
    settled: Vec<IpAddr>,
}

impl<P: Copy> Internet<P> {
    pub(super) fn new() -> Self {
        Self { places: HashMap::new(), settled: Vec::new() }
    }

    pub(super) fn at(&self, addr: SocketAddr) -> Option<P> {
        self.places.get(&addr).copied()
    }

    pub(super) fn settle(&mut self, addr: SocketAddr, place: P) {
        self.places.insert(addr, place);
    }

    pub(super) fn leave(&mut self, addr: SocketAddr) {
        self.places.remove(&addr);
    }

    /// A free IPv4 address: mostly in a network of its own, one in twenty in a /24 with others, one in a hundred at an
    /// address that others have as well, with another port.
    pub(super) fn v4(&mut self, dice: &mut Dice) -> SocketAddr {
        self.free(dice, |dice, settled| match (settled, dice.below(100)) {
            (Some(neighbour @ IpAddr::V4(_)), 0) => neighbour,
            (Some(IpAddr::V4(neighbour)), 1..=5) => {
                let [a, b, c, _] = neighbour.octets();
                Ipv4Addr::new(a, b, c, dice.between(1, 254) as u8).into()
            }
            _ => public_v4(dice).into(),
        })
    }

    /// A free IPv6 address: mostly in a /64 of its own, one in twenty in one with others.
    pub(super) fn v6(&mut self, dice: &mut Dice) -> SocketAddr {
        self.free(dice, |dice, settled| match (settled, dice.below(20)) {
            (Some(IpAddr::V6(neighbour)), 0) => {
                Ipv6Addr::from(u128::from(neighbour) >> 64 << 64 | u128::from(dice.roll())).into()
            }
            _ => {
                let network = 0x2000_0000_0000_0000 | dice.roll() >> 3;
                Ipv6Addr::from(u128::from(network) << 64 | u128::from(dice.roll())).into()
            }
        })
    }

    fn free(&mut self, dice: &mut Dice, ip: impl Fn(&mut Dice, Option<IpAddr>) -> IpAddr) -> SocketAddr {
        loop {
            let settled = match self.settled.len() {
                0 => None,
                count => Some(self.settled[dice.below(count as u64) as usize]),
            };
            let addr = SocketAddr::new(ip(dice, settled), dice.between(1_024, 65_535) as u16);
            if !self.places.contains_key(&addr) {
                self.settled.push(addr.ip());
                return addr;
            }
        }
    }
}

/// An address that any host could have.
pub(super) fn public_v4(dice: &mut Dice) -> Ipv4Addr {
    loop {
        let ip = Ipv4Addr::from(dice.roll() as u32);
        let [a, b, ..] = ip.octets();
        let special = matches!(a, 0 | 10 | 127 | 224..)
            || matches!(
                (a, b),
                (100, 64..=127) | (169, 254) | (172, 16..=31) | (192, 0 | 168) | (198, 18 | 19)
            );
        if !special {
            return ip;
        }
    }
}

/// The addresses of `count` sybils.
pub(super) fn attackers(dice: &mut Dice, networks: Networks, count: usize) -> Vec<SocketAddr> {
    let homes =
        |dice: &mut Dice, homes: usize| (0..homes).map(|_| public_v4(dice).octets()).collect::<Vec<_>>();
    let port = |dice: &mut Dice| dice.between(1_024, 65_535) as u16;
    match networks {
        Networks::Slash24(number) => {
            let homes = homes(dice, number);
            let ip = |at: usize| {
                let [a, b, c, _] = homes[at % number];
                Ipv4Addr::new(a, b, c, (at / number % 254 + 1) as u8)
            };
            (0..count).map(|at| (ip(at), port(dice)).into()).collect()
        }
        Networks::Slash16(number) => {
            let homes = homes(dice, number);
            let ip = |at: usize| {
                let [a, b, ..] = homes[at % number];
                Ipv4Addr::new(a, b, (at / number % 256) as u8, (at / number / 256 + 1) as u8)
            };
            (0..count).map(|at| (ip(at), port(dice)).into()).collect()
        }
        Networks::Everywhere => (0..count).map(|_| (public_v4(dice), port(dice)).into()).collect(),
    }
}

/// How long a datagram is under way between two places, of which each lies so many microseconds off the backbone.
pub(super) fn latency(from: Time, to: Time, dice: &mut Dice) -> Time {
    from + to + dice.below(10_000)
}

/// How far a place is from the backbone: with another one and the jitter that makes 10 to 300 ms.
pub(super) fn distance(dice: &mut Dice) -> Time {
    // Most are near.
    let far = dice.below(140_000).min(dice.below(140_000));
    5_000 + far
}

/// A NAT that filters by address and port.
#[derive(Debug, Default)]
pub(super) struct Nat {
    sent: BTreeMap<SocketAddr, Time>,
    /// Entries at which it is cleared of old ones.
    clear_at: usize,
}

impl Nat {
    /// Its host sends.
    pub(super) fn sent(&mut self, to: SocketAddr, now: Time) {
        self.sent.insert(to, now);
        if self.clear_at < self.sent.len() {
            self.sent.retain(|_, at| now <= *at + NAT_REMEMBERS);
            self.clear_at = 64 + 2 * self.sent.len();
        }
    }

    /// What comes from `from` reaches its host.
    pub(super) fn lets_in(&self, from: SocketAddr, now: Time) -> bool {
        self.sent.get(&from).is_some_and(|at| now <= *at + NAT_REMEMBERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_lets_in_who_was_written_to_within_a_minute() {
        let (friend, stranger) = (([1, 2, 3, 4], 5).into(), ([1, 2, 3, 4], 6).into());
        let mut nat = Nat::default();
        nat.sent(friend, 7);
        assert!(nat.lets_in(friend, 60_000_007));
        assert!(!nat.lets_in(friend, 60_000_008));
        assert!(!nat.lets_in(stranger, 8));
    }

    #[test]
    fn sybils_stay_in_their_networks() {
        let mut dice = Dice::new(1);
        let networks = |addrs: &[SocketAddr], bytes: usize| {
            let mut networks: Vec<Vec<u8>> = addrs
                .iter()
                .map(|addr| match addr.ip() {
                    IpAddr::V4(ip) => ip.octets()[..bytes].to_vec(),
                    IpAddr::V6(_) => panic!("the attacker has IPv4"),
                })
                .collect();
            networks.sort_unstable();
            networks.dedup();
            networks.len()
        };
        let few = attackers(&mut dice, Networks::Slash24(4), 2_000);
        assert_eq!(networks(&few, 3), 4);
        let some = attackers(&mut dice, Networks::Slash16(4), 2_000);
        assert_eq!((networks(&some, 2), networks(&some, 3)), (4, 1_024));
        let many = attackers(&mut dice, Networks::Everywhere, 2_000);
        assert!(1_990 < networks(&many, 3));
    }
}
