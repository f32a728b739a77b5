//! The peers of one swarm, as the tracker knows them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use crate::announce::Scrape;
use crate::random::Random;
use crate::udp::Family;

/// One peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) addr: SocketAddr,
    pub(super) peer_id: [u8; 20],
    pub(super) key: u32,
    pub(super) has: Has,
    /// It said `completed` before; saying it again counts nothing.
    pub(super) completed: bool,
    pub(super) seen: Instant,
}

/// What a peer has and wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// Some, and wants more.
    Some,
    /// Some, and wants no more (BEP 21).
    Enough,
    /// All.
    All,
}

/// The peers of one torrent.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// In no order that means anything.
    peers: Vec<Peer>,
    /// Where each address is in `peers`.
    places: BTreeMap<SocketAddr, usize>,
    downloaded: u32,
}

/// Who asks for peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) addr: SocketAddr,
    pub(super) peer_id: [u8; 20],
    pub(super) has: Has,
    /// `None` takes peers of both families.
    pub(super) family: Option<Family>,
    pub(super) numwant: usize,
}

impl Swarm {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn get(&self, addr: SocketAddr) -> Option<&Peer> {
        self.places.get(&addr).map(|&place| &self.peers[place])
    }

    /// Adds a peer, or replaces what was known of its address.
    pub(super) fn insert(&mut self, peer: Peer) {
        if let Some(&place) = self.places.get(&peer.addr) {
            self.peers[place] = peer;
        } else {
            self.places.insert(peer.addr, self.peers.len());
            self.peers.push(peer);
        }
    }

    pub(super) fn remove(&mut self, addr: SocketAddr) {
        let Some(place) = self.places.remove(&addr) else { return };
        self.peers.swap_remove(place);
        if let Some(moved) = self.peers.get(place) {
            self.places.insert(moved.addr, place);
        }
    }

    /// The earlier address of a client that moved: same id, same secret key, same family. BEP 7 has a client announce
    /// from an address of either family, which are both good.
    pub(super) fn earlier_address(&self, peer: &Peer) -> Option<SocketAddr> {
        let same = |other: &&Peer| {
            other.peer_id == peer.peer_id
                && other.key == peer.key
                && other.addr != peer.addr
                && Family::of(other.addr) == Family::of(peer.addr)
        };
        self.peers.iter().find(same).map(|other| other.addr)
    }

    /// How many peers are registered from one machine, as far as can be told: one IPv4 address, or one IPv6 network.
    pub(super) fn count_from(&self, ip: IpAddr, at_most: usize) -> usize {
        let (first, last) = match ip {
            IpAddr::V4(_) => (ip, ip),
            IpAddr::V6(ip) => {
                let network = ip.to_bits() & (u128::MAX << 64);
                let last = network | u128::from(u64::MAX);
                (IpAddr::V6(Ipv6Addr::from_bits(network)), IpAddr::V6(Ipv6Addr::from_bits(last)))
            }
        };
        let range = SocketAddr::new(first, 0)..=SocketAddr::new(last, u16::MAX);
        self.places.range(range).take(at_most).count()
    }

    /// Forgets peers not seen since `oldest`. Says how many.
    pub(super) fn expire(&mut self, oldest: Instant) -> usize {
        let before = self.peers.len();
        self.peers.retain(|peer| oldest <= peer.seen);
        let gone = before - self.peers.len();
        if 0 < gone {
            self.places = self.peers.iter().enumerate().map(|(place, peer)| (peer.addr, place)).collect();
        }
        gone
    }

    pub(super) fn count_completed(&mut self) {
        self.downloaded = self.downloaded.saturating_add(1);
    }

    pub(super) fn numbers(&self) -> Scrape {
        let count = |wanted| {
            let count = self.peers.iter().filter(|peer| peer.has == wanted).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let downloaders = count(Has::Some);
        Scrape {
            seeders: count(Has::All),
            leechers: downloaders.saturating_add(count(Has::Enough)),
            downloaded: self.downloaded,
            downloaders: Some(downloaders),
        }
    }

    /// Peers for an asker: never itself, and none that both want nothing of each other. Every peer is as likely as any
    /// other; which ones come together is not quite random.
    pub(super) fn choose(&self, asker: &Asker, random: &mut Random) -> Vec<&Peer> {
        let count = self.peers.len();
        let mut chosen = Vec::with_capacity(asker.numwant.min(count));
        let mut place = random.below(count);
        // Steps that share no factor with the count visit every place once.
        let step =
            (1 + random.below(count)..).find(|&step| greatest_common_divisor(step, count) <= 1).unwrap_or(1);
        for _ in 0..count {
            if asker.numwant <= chosen.len() {
                break;
            }
            let peer = &self.peers[place];
            if suits(peer, asker) {
                chosen.push(peer);
            }
            place = (place + step) % count;
        }
        chosen
    }
}

fn suits(peer: &Peer, asker: &Asker) -> bool {
    let own = peer.addr == asker.addr || peer.peer_id == asker.peer_id;
    let useful = asker.has == Has::Some || peer.has == Has::Some;
    // An address on the peer's own machine leads anybody else to themselves.
    let reachable = !peer.addr.ip().is_loopback() || asker.addr.ip().is_loopback();
    let readable = asker.family.is_none_or(|family| family == Family::of(peer.addr));
    !own && useful && reachable && readable
}

fn greatest_common_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16, has: Has, seen: Instant) -> Peer {
        let mut peer_id = [0; 20];
        peer_id[..2].copy_from_slice(&number.to_be_bytes());
        let addr = SocketAddr::from(([10, 0, 0, 1], number));
        Peer { addr, peer_id, key: 0, has, completed: false, seen }
    }

    fn asker(has: Has, numwant: usize) -> Asker {
        let addr = SocketAddr::from(([10, 0, 0, 2], 1));
        Asker { addr, peer_id: [9; 20], has, family: None, numwant }
    }

    #[test]
    fn every_peer_is_chosen_as_often_as_any_other() {
        let now = Instant::now();
        let mut swarm = Swarm::default();
        for number in 1..=60 {
            swarm.insert(peer(number, Has::Some, now));
        }
        let mut random = Random::new(3);
        let mut times = [0u32; 61];
        for _ in 0..6000 {
            let chosen = swarm.choose(&asker(Has::Some, 10), &mut random);
            assert_eq!(chosen.len(), 10);
            chosen.iter().for_each(|peer| times[usize::from(peer.addr.port())] += 1);
        }
        assert!(times[1..].iter().all(|times| (850..1150).contains(times)), "{times:?}");
    }

    #[test]
    fn those_who_want_nothing_meet_only_those_who_do() {
        let now = Instant::now();
        let mut swarm = Swarm::default();
        swarm.insert(peer(1, Has::All, now));
        swarm.insert(peer(2, Has::Some, now));
        swarm.insert(peer(3, Has::Enough, now));
        let ports = |asker| {
            let mut random = Random::new(1);
            let mut ports: Vec<u16> =
                swarm.choose(&asker, &mut random).iter().map(|peer| peer.addr.port()).collect();
            ports.sort_unstable();
            ports
        };
        assert_eq!(ports(asker(Has::Some, 9)), [1, 2, 3]);
        assert_eq!(ports(asker(Has::All, 9)), [2]);
        assert_eq!(ports(asker(Has::Enough, 9)), [2]);
        assert_eq!(ports(asker(Has::Some, 0)), [0; 0]);
        assert_eq!(ports(Asker { family: Some(Family::V6), ..asker(Has::Some, 9) }), [0; 0]);
        assert_eq!(
            ports(Asker { addr: SocketAddr::from(([10, 0, 0, 1], 2)), ..asker(Has::Some, 9) }),
            [1, 3]
        );
        assert!(Swarm::default().choose(&asker(Has::Some, 9), &mut Random::new(1)).is_empty());
    }

    #[test]
    fn places_stay_right_when_peers_go() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let mut swarm = Swarm::default();
        for number in 1..=9 {
            swarm.insert(peer(number, Has::Some, if number % 3 == 0 { now } else { later }));
        }
        swarm.remove(SocketAddr::from(([10, 0, 0, 1], 1)));
        swarm.remove(SocketAddr::from(([10, 0, 0, 1], 77)));
        assert_eq!(swarm.expire(later), 3);
        assert_eq!((swarm.len(), swarm.places.len()), (5, 5));
        for (addr, &place) in &swarm.places {
            assert_eq!(swarm.peers[place].addr, *addr);
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one_machine() {
        let now = Instant::now();
        let mut swarm = Swarm::default();
        for host in 1..=5u16 {
            let addr = SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, host], 6881));
            swarm.insert(Peer { addr, ..peer(host, Has::Some, now) });
        }
        assert_eq!(swarm.count_from(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9).into(), 100), 5);
        assert_eq!(swarm.count_from(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9).into(), 3), 3);
        assert_eq!(swarm.count_from(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1).into(), 100), 0);
        assert_eq!(swarm.count_from([10, 0, 0, 1].into(), 100), 0);
    }
}
