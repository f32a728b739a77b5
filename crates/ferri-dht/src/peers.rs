//! Peers that others announced to us (BEP 5), counted by BEP 33, sampled by BEP 51. Bounded, and forgotten in time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;

use crate::bloom::Bloom;
use crate::id::{NodeId, is_local};
use crate::options::Options;
use crate::output::Family;
use crate::random::Random;

/// A peer that does not announce again is forgotten after this long. Clients announce every 15 to 30 minutes.
const PEER_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Torrents that one IPv4 address or one IPv6 /64 may announce. Seeds with more reach other nodes with most of theirs,
/// since each torrent goes to its own neighbourhood.
const TORRENTS_PER_OWNER: u16 = 200;

/// Info hashes in a sample (BEP 51): 400 bytes, as libtorrent sends.
const SAMPLE_MAX: usize = 20;

/// A sample is made anew after this long.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// What is stored for one family.
#[derive(Debug)]
pub(crate) struct Peers {
    family: Family,
    made: Instant,
    torrents: BTreeMap<InfoHash, Torrent>,
    /// Peers of each owner, see [`owner_of`]. No zeros.
    owners: BTreeMap<u64, u16>,
    peers: usize,
    torrents_max: usize,
    per_torrent_max: usize,
    peers_max: usize,
    sample: Vec<[u8; 20]>,
    sampled: Option<Instant>,
}

/// Peers of a torrent, ascending by address. BEP 33: one for each address.
#[derive(Debug)]
enum Torrent {
    V4(Vec<Stored<4>>),
    V6(Vec<Stored<16>>),
}

/// 12 bytes for an IPv4 peer, 24 for an IPv6 one.
#[derive(Clone, Copy, Debug)]
struct Stored<const N: usize> {
    ip: [u8; N],
    port: u16,
    seed: bool,
    /// Seconds since the store was made.
    announced: u32,
}

/// Whether an address can have several peers. BEP 33 says no, so that no peer counts twice; on local networks, where
/// several clients of one machine meet, each port is a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Several {
    Yes,
    No,
}

/// What came of an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Stored,
    /// There is no room; nothing was stored.
    Full,
}

impl Peers {
    pub(crate) fn new(family: Family, options: &Options, now: Instant) -> Self {
        Self {
            family,
            made: now,
            torrents: BTreeMap::new(),
            owners: BTreeMap::new(),
            peers: 0,
            torrents_max: options.torrents_max,
            per_torrent_max: options.peers_per_torrent_max,
            peers_max: options.peers_max,
            sample: Vec::new(),
            sampled: None,
        }
    }

    pub(crate) fn torrents(&self) -> usize {
        self.torrents.len()
    }

    pub(crate) fn peers(&self) -> usize {
        self.peers
    }

    /// Stores a peer or brings it up to date. `us` decides whose torrents stay when there are too many.
    pub(crate) fn announce(
        &mut self,
        info_hash: InfoHash,
        peer: SocketAddr,
        seed: bool,
        us: NodeId,
        now: Instant,
    ) -> Announced {
        if Family::of(peer) != self.family {
            return Announced::Full;
        }
        let announced = self.seconds(now);
        if let Some(torrent) = self.torrents.get_mut(&info_hash)
            && torrent.refresh(peer, seed, announced)
        {
            return Announced::Stored;
        }
        if !self.has_room(info_hash, peer, us) {
            return Announced::Full;
        }
        let empty = || match self.family {
            Family::V4 => Torrent::V4(Vec::new()),
            Family::V6 => Torrent::V6(Vec::new()),
        };
        self.torrents.entry(info_hash).or_insert_with(empty).insert(peer, seed, announced);
        *self.owners.entry(owner_of(peer.ip())).or_default() += 1;
        self.peers += 1;
        Announced::Stored
    }

    /// Whether a peer that is not stored yet may be. Makes room by forgetting a torrent that is farther from us than
    /// this one: others would not look for it here.
    fn has_room(&mut self, info_hash: InfoHash, peer: SocketAddr, us: NodeId) -> bool {
        if self.peers_max <= self.peers {
            return false;
        }
        if self.owners.get(&owner_of(peer.ip())).is_some_and(|torrents| TORRENTS_PER_OWNER <= *torrents) {
            return false;
        }
        if let Some(torrent) = self.torrents.get(&info_hash) {
            return torrent.len() < self.per_torrent_max;
        }
        if self.torrents.len() < self.torrents_max {
            return true;
        }
        let distance = |info_hash: &InfoHash| NodeId::from(*info_hash).distance(us);
        let Some(farthest) = self.torrents.keys().max_by_key(|known| distance(known)).copied() else {
            return false;
        };
        if distance(&farthest) <= distance(&info_hash) {
            return false;
        }
        self.forget(farthest);
        true
    }

    fn forget(&mut self, info_hash: InfoHash) {
        let Some(torrent) = self.torrents.remove(&info_hash) else { return };
        for ip in torrent.ips() {
            release(&mut self.owners, ip);
        }
        self.peers -= torrent.len();
    }

    /// Up to `max` peers, another part of them each time; with `noseed` rather such that are no seeds (BEP 33).
    pub(crate) fn some(
        &self,
        info_hash: InfoHash,
        max: usize,
        noseed: bool,
        random: &mut Random,
    ) -> Vec<SocketAddr> {
        let Some(torrent) = self.torrents.get(&info_hash) else { return Vec::new() };
        let length = torrent.len();
        let start = random.below(length);
        let places = (start..length).chain(0..start);
        if !noseed {
            return places.take(max).map(|at| torrent.get(at).0).collect();
        }
        let (seeds, leeches): (Vec<_>, Vec<_>) =
            places.map(|at| torrent.get(at)).partition(|(_, seed)| *seed);
        leeches.into_iter().chain(seeds).take(max).map(|(addr, _)| addr).collect()
    }

    /// Filters with the seeds and the leeches of a torrent (BEP 33). `None` when none are known.
    pub(crate) fn blooms(&self, info_hash: InfoHash) -> Option<Box<[Bloom; 2]>> {
        let torrent = self.torrents.get(&info_hash)?;
        let mut blooms = Box::new([Bloom::new(), Bloom::new()]);
        for at in 0..torrent.len() {
            let (addr, seed) = torrent.get(at);
            blooms[usize::from(!seed)].insert(addr.ip());
        }
        Some(blooms)
    }

    /// Another peer of this torrent would find room. BEP 33: otherwise no token is given.
    pub(crate) fn accepts(&self, info_hash: InfoHash) -> bool {
        self.torrents.get(&info_hash).is_none_or(|torrent| torrent.len() < self.per_torrent_max)
    }

    /// Some info hashes, the same ones until the interval is over, and the seconds until then.
    pub(crate) fn sample(&mut self, random: &mut Random, now: Instant) -> (&[[u8; 20]], u32) {
        let age =
            self.sampled.map(|at| now.saturating_duration_since(at)).filter(|age| *age < SAMPLE_INTERVAL);
        let age = match age {
            Some(age) => age,
            None => {
                self.sample = self.draw(random);
                self.sampled = Some(now);
                Duration::ZERO
            }
        };
        let left = (SAMPLE_INTERVAL - age).as_secs();
        (&self.sample, u32::try_from(left).expect("a quarter of an hour"))
    }

    /// Each info hash is as likely as any other (reservoir sampling).
    fn draw(&self, random: &mut Random) -> Vec<[u8; 20]> {
        let mut sample = Vec::with_capacity(SAMPLE_MAX);
        for (seen, info_hash) in self.torrents.keys().enumerate() {
            if sample.len() < SAMPLE_MAX {
                sample.push(*info_hash.as_bytes());
            } else if let Some(place) = sample.get_mut(random.below(seen + 1)) {
                *place = *info_hash.as_bytes();
            }
        }
        sample
    }

    /// Forgets who has not announced for long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let oldest =
            self.seconds(now).checked_sub(u32::try_from(PEER_LIFETIME.as_secs()).expect("half an hour"));
        let Some(oldest) = oldest else { return };
        let owners = &mut self.owners;
        let mut gone = 0;
        self.torrents.retain(|_, torrent| {
            gone += torrent.expire(oldest, |ip| release(owners, ip));
            torrent.len() != 0
        });
        self.peers -= gone;
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.made).as_secs()).unwrap_or(u32::MAX)
    }
}

/// The IPv4 address, or the /64 of the IPv6 address.
fn owner_of(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

fn release(owners: &mut BTreeMap<u64, u16>, ip: IpAddr) {
    let owner = owner_of(ip);
    if let Some(count) = owners.get_mut(&owner) {
        *count -= 1;
        if *count == 0 {
            owners.remove(&owner);
        }
    }
}

impl Torrent {
    fn len(&self) -> usize {
        match self {
            Self::V4(peers) => peers.len(),
            Self::V6(peers) => peers.len(),
        }
    }

    fn get(&self, at: usize) -> (SocketAddr, bool) {
        match self {
            Self::V4(peers) => (SocketAddr::new(peers[at].ip.into(), peers[at].port), peers[at].seed),
            Self::V6(peers) => (SocketAddr::new(peers[at].ip.into(), peers[at].port), peers[at].seed),
        }
    }

    fn ips(&self) -> impl Iterator<Item = IpAddr> {
        (0..self.len()).map(|at| self.get(at).0.ip())
    }

    /// Brings a peer up to date. `false` when it is not there.
    fn refresh(&mut self, peer: SocketAddr, seed: bool, announced: u32) -> bool {
        let several = if is_local(peer.ip()) { Several::Yes } else { Several::No };
        let port = peer.port();
        match (self, peer.ip()) {
            (Self::V4(peers), IpAddr::V4(ip)) => refresh(peers, ip.octets(), port, seed, announced, several),
            (Self::V6(peers), IpAddr::V6(ip)) => refresh(peers, ip.octets(), port, seed, announced, several),
            _ => false,
        }
    }

    fn insert(&mut self, peer: SocketAddr, seed: bool, announced: u32) {
        let port = peer.port();
        match (self, peer.ip()) {
            (Self::V4(peers), IpAddr::V4(ip)) => {
                insert(peers, Stored { ip: ip.octets(), port, seed, announced });
            }
            (Self::V6(peers), IpAddr::V6(ip)) => {
                insert(peers, Stored { ip: ip.octets(), port, seed, announced });
            }
            _ => unreachable!("the family was checked"),
        }
    }

    /// Removes who announced before `oldest`, and says how many those were.
    fn expire(&mut self, oldest: u32, mut gone: impl FnMut(IpAddr)) -> usize {
        match self {
            Self::V4(peers) => expire(peers, oldest, |ip| gone(ip.into())),
            Self::V6(peers) => expire(peers, oldest, |ip| gone(ip.into())),
        }
    }
}

fn refresh<const N: usize>(
    peers: &mut [Stored<N>],
    ip: [u8; N],
    port: u16,
    seed: bool,
    announced: u32,
    several: Several,
) -> bool {
    let at = peers.partition_point(|stored| stored.ip < ip);
    let same = peers[at..].iter_mut().take_while(|stored| stored.ip == ip);
    let Some(stored) = same.into_iter().find(|stored| several == Several::No || stored.port == port) else {
        return false;
    };
    *stored = Stored { ip, port, seed, announced };
    true
}

fn insert<const N: usize>(peers: &mut Vec<Stored<N>>, peer: Stored<N>) {
    let at = peers.partition_point(|stored| stored.ip < peer.ip);
    // Grows by a quarter: twice the size would leave half of the memory empty.
    if peers.len() == peers.capacity() {
        peers.reserve_exact(peers.len() / 4 + 1);
    }
    peers.insert(at, peer);
}

fn expire<const N: usize>(peers: &mut Vec<Stored<N>>, oldest: u32, mut gone: impl FnMut([u8; N])) -> usize {
    let before = peers.len();
    peers.retain(|stored| {
        let stays = oldest <= stored.announced;
        if !stays {
            gone(stored.ip);
        }
        stays
    });
    before - peers.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use super::*;

    fn store(options: &Options, now: Instant) -> Peers {
        Peers::new(Family::V4, options, now)
    }

    fn peer(n: u32) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::from(0x0800_0000 + n).into(), 6_881)
    }

    const US: [u8; 20] = [0; 20];

    fn add(peers: &mut Peers, first: u8, n: u32, now: Instant) -> Announced {
        peers.announce(InfoHash::from([first; 20]), peer(n), false, NodeId::from(US), now)
    }

    #[test]
    fn an_address_is_stored_once_and_brought_up_to_date() {
        let now = Instant::now();
        let mut peers = store(&Options::default(), now);
        let info_hash = InfoHash::from([1; 20]);
        add(&mut peers, 1, 7, now);
        let moved = SocketAddr::new(peer(7).ip(), 9);
        assert_eq!(peers.announce(info_hash, moved, true, NodeId::from(US), now), Announced::Stored);
        assert_eq!(peers.some(info_hash, 9, false, &mut Random::new([1; 32])), [moved]);
        assert_eq!(peers.peers(), 1);
        let [seeds, leeches] = *peers.blooms(info_hash).unwrap();
        assert!(seeds.contains(moved.ip()));
        assert_eq!(leeches, Bloom::new());
    }

    #[test]
    fn peers_are_forgotten_after_half_an_hour() {
        let start = Instant::now();
        let mut peers = store(&Options::default(), start);
        add(&mut peers, 1, 1, start);
        add(&mut peers, 1, 2, start + Duration::from_secs(60));
        peers.expire(start + PEER_LIFETIME + Duration::from_secs(1));
        assert_eq!(peers.some(InfoHash::from([1; 20]), 9, false, &mut Random::new([1; 32])), [peer(2)]);
        peers.expire(start + PEER_LIFETIME + Duration::from_secs(61));
        assert_eq!((peers.torrents(), peers.peers(), peers.owners.len()), (0, 0, 0));
    }

    #[test]
    fn full_stores_keep_what_is_close_to_us() {
        let now = Instant::now();
        let options = Options { torrents_max: 2, peers_per_torrent_max: 2, ..Options::default() };
        let mut peers = store(&options, now);
        assert_eq!(add(&mut peers, 4, 1, now), Announced::Stored);
        assert_eq!(add(&mut peers, 2, 1, now), Announced::Stored);
        assert_eq!(add(&mut peers, 8, 1, now), Announced::Full);
        assert_eq!(add(&mut peers, 1, 1, now), Announced::Stored);
        assert!(peers.blooms(InfoHash::from([4; 20])).is_none());
        assert_eq!(add(&mut peers, 1, 2, now), Announced::Stored);
        assert!(!peers.accepts(InfoHash::from([1; 20])));
        assert_eq!(add(&mut peers, 1, 3, now), Announced::Full);
        assert_eq!(add(&mut peers, 1, 2, now), Announced::Stored);
    }

    #[test]
    fn one_address_cannot_fill_the_store() {
        let now = Instant::now();
        let mut peers = store(&Options::default(), now);
        let mut stored = 0;
        for n in 0..1_000u16 {
            let mut hash = [0; 20];
            hash[..2].copy_from_slice(&n.to_be_bytes());
            let announced = peers.announce(InfoHash::from(hash), peer(1), false, NodeId::from(US), now);
            stored += usize::from(announced == Announced::Stored);
        }
        assert_eq!(stored, usize::from(TORRENTS_PER_OWNER));
    }

    #[test]
    fn a_part_of_many_peers_is_told_and_leeches_first_when_asked() {
        let now = Instant::now();
        let mut peers = store(&Options::default(), now);
        let info_hash = InfoHash::from([1; 20]);
        for n in 0..100 {
            peers.announce(info_hash, peer(n), n % 2 == 0, NodeId::from(US), now);
        }
        let mut random = Random::new([3; 32]);
        let some = peers.some(info_hash, 50, true, &mut random);
        assert_eq!(some.len(), 50);
        assert!(some.iter().all(|addr| matches!(addr.ip(), IpAddr::V4(ip) if ip.octets()[3] % 2 == 1)));
        let mut all: Vec<_> = (0..100).flat_map(|_| peers.some(info_hash, 10, false, &mut random)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn samples_stay_the_same_for_their_interval() {
        let start = Instant::now();
        let mut peers = store(&Options::default(), start);
        let mut random = Random::new([3; 32]);
        for n in 0..100 {
            add(&mut peers, n, 1, start);
        }
        let (first, interval) = peers.sample(&mut random, start);
        let first = first.to_vec();
        assert_eq!((first.len(), interval), (20, 900));
        let (again, interval) = peers.sample(&mut random, start + Duration::from_secs(100));
        assert_eq!((again, interval), (&first[..], 800));
        assert_ne!(peers.sample(&mut random, start + SAMPLE_INTERVAL).0, first);
    }
}
