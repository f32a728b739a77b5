//! The peers of one swarm and one address family, in one array: who wants nothing first, then who wants more. Nothing here
//! takes longer in a large swarm than in a small one.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::hashing::TableKey;
use super::index::Index;
use crate::random::Random;

/// Up to here an array is looked through: it is a few cache lines, and an index would take as many to read.
const SCANNED_MAX: usize = 64;

/// An array that shrank to this size gives its index up. Half, so that none is made and given up by turns.
const INDEX_DROPPED_AT: usize = SCANNED_MAX / 2;

/// From how many places of the array the peers of one answer and kind come at most. Peers that arrived together are named
/// together less often the more there are, and each costs a cache line or two.
const WINDOWS_MAX: usize = 3;

/// Peers of one window at the least, where there are so many.
const WINDOW_MIN: usize = 8;

/// An address and a port in their compact form, which is what peers are told (BEP 23, BEP 7).
pub(super) trait Compact: Copy + Eq + std::fmt::Debug {
    fn of(addr: SocketAddr) -> Self;
    fn bytes(&self) -> &[u8];
    fn addr(&self) -> SocketAddr;
}

impl Compact for [u8; 6] {
    fn of(addr: SocketAddr) -> Self {
        let ip = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        let mut bytes = [0; 6];
        bytes[..4].copy_from_slice(&ip);
        bytes[4..].copy_from_slice(&addr.port().to_be_bytes());
        bytes
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn addr(&self) -> SocketAddr {
        let [a, b, c, d, high, low] = *self;
        SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
    }
}

impl Compact for [u8; 18] {
    fn of(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&ip);
        bytes[16..].copy_from_slice(&addr.port().to_be_bytes());
        bytes
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn addr(&self) -> SocketAddr {
        let (ip, port) = self.split_first_chunk::<16>().expect("18 bytes begin with 16");
        SocketAddr::from((*ip, u16::from_be_bytes([port[0], port[1]])))
    }
}

/// One peer: 16 bytes with an IPv4 address, 28 with an IPv6 address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer<A> {
    pub(super) addr: A,
    /// In ticks of the registry, which come round.
    pub(super) seen: u16,
    /// Of its peer id and key.
    pub(super) identity: u32,
    pub(super) marks: Marks,
}

/// Whose a peer is and what it said, in 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u32);

/// What a peer has and wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// Some, and wants more.
    Some,
    /// Some, and wants no more (BEP 21).
    Enough,
    /// All, as far as it says.
    All,
}

impl Marks {
    const ENOUGH: u32 = 1 << 31;
    const ALL: u32 = 1 << 30;
    const COMPLETED: u32 = 1 << 29;
    /// Low bits: the number of the passkey, 0 for none.
    pub(super) const OWNER_MAX: u32 = (1 << 24) - 1;

    pub(super) fn new(has: Has) -> Self {
        Self(0).with(has)
    }

    pub(super) fn with(self, has: Has) -> Self {
        let has = match has {
            Has::Some => 0,
            Has::Enough => Self::ENOUGH,
            Has::All => Self::ALL,
        };
        Self(self.0 & !(Self::ENOUGH | Self::ALL) | has)
    }

    pub(super) fn completed(self) -> Self {
        Self(self.0 | Self::COMPLETED)
    }

    pub(super) fn owned_by(self, owner: u32) -> Self {
        Self(self.0 & !Self::OWNER_MAX | owner & Self::OWNER_MAX)
    }

    pub(super) fn has(self) -> Has {
        match (self.0 & Self::ENOUGH, self.0 & Self::ALL) {
            (0, 0) => Has::Some,
            (_, 0) => Has::Enough,
            _ => Has::All,
        }
    }

    fn is_idle(self) -> bool {
        self.0 & (Self::ENOUGH | Self::ALL) != 0
    }

    /// It said `completed` before.
    pub(super) fn has_completed(self) -> bool {
        self.0 & Self::COMPLETED != 0
    }

    pub(super) fn owner(self) -> u32 {
        self.0 & Self::OWNER_MAX
    }
}

/// The peers.
#[derive(Debug)]
pub(super) struct Group<A> {
    /// The first `idle` of them want nothing, the others want more.
    peers: Vec<Peer<A>>,
    idle: u32,
    /// Those of the idle that do not have everything.
    partial: u32,
    index: Option<Box<Index>>,
}

impl<A> Default for Group<A> {
    fn default() -> Self {
        Self { peers: Vec::new(), idle: 0, partial: 0, index: None }
    }
}

impl<A: Compact> Group<A> {
    pub(super) fn peers(&self) -> &[Peer<A>] {
        &self.peers
    }

    /// How many want nothing.
    pub(super) fn idle(&self) -> usize {
        self.idle as usize
    }

    /// How many have everything.
    pub(super) fn seeds(&self) -> usize {
        (self.idle - self.partial) as usize
    }

    pub(super) fn find(&self, key: &TableKey, addr: &A) -> Option<usize> {
        match &self.index {
            Some(index) => index.find(key.hash(addr.bytes()), |place| self.peers[place].addr == *addr),
            None => self.peers.iter().position(|peer| peer.addr == *addr),
        }
    }

    /// Another address under which the same client is known, looked for in small swarms only: there one that leads nowhere
    /// does harm, and there it costs next to nothing.
    pub(super) fn find_identity(&self, identity: u32) -> Option<usize> {
        if self.index.is_some() {
            return None;
        }
        self.peers.iter().position(|peer| peer.identity == identity)
    }

    /// Adds a peer whose address is not there yet. Says where it is.
    pub(super) fn insert(&mut self, key: &TableKey, peer: Peer<A>) -> usize {
        if self.peers.len() == self.peers.capacity() {
            // An eighth: doubling would leave a quarter of the memory of large swarms unused on average.
            self.peers.reserve_exact(1 + self.peers.len() / 8);
        }
        let end = self.peers.len();
        self.peers.push(peer);
        let hash_at = |peers: &[Peer<A>], place: usize| key.hash(peers[place].addr.bytes());
        match &mut self.index {
            Some(index) => {
                let peers = &self.peers;
                index.insert(key.hash(peer.addr.bytes()), end, |place| hash_at(peers, place));
            }
            None if SCANNED_MAX <= end => {
                let hashes: Vec<u64> = self.peers.iter().map(|peer| key.hash(peer.addr.bytes())).collect();
                self.index = Some(Box::new(Index::of(&hashes)));
            }
            None => {}
        }
        if !peer.marks.is_idle() {
            return end;
        }
        self.count_idle(peer.marks);
        self.exchange(key, end, self.idle as usize - 1)
    }

    /// Changes what is known of a peer, all but its address. Says where it is then.
    pub(super) fn update(
        &mut self,
        key: &TableKey,
        place: usize,
        seen: u16,
        identity: u32,
        marks: Marks,
    ) -> usize {
        let before = self.peers[place].marks;
        let peer = &mut self.peers[place];
        (peer.seen, peer.identity, peer.marks) = (seen, identity, marks);
        match (before.is_idle(), marks.is_idle()) {
            (false, false) => place,
            (true, true) => {
                self.uncount_idle(before);
                self.count_idle(marks);
                place
            }
            (false, true) => {
                self.count_idle(marks);
                self.exchange(key, place, self.idle as usize - 1)
            }
            (true, false) => {
                self.uncount_idle(before);
                self.exchange(key, place, self.idle as usize)
            }
        }
    }

    pub(super) fn remove(&mut self, key: &TableKey, place: usize) -> Peer<A> {
        let gone = self.peers[place];
        let mut place = place;
        if gone.marks.is_idle() {
            self.uncount_idle(gone.marks);
            let last_idle = self.idle as usize;
            self.exchange(key, place, last_idle);
            place = last_idle;
        }
        let end = self.peers.len() - 1;
        self.exchange(key, place, end);
        if let Some(index) = &mut self.index {
            let peers = &self.peers;
            index.remove(key.hash(gone.addr.bytes()), end, |place| key.hash(peers[place].addr.bytes()));
        }
        self.peers.pop();
        if self.peers.len() <= INDEX_DROPPED_AT {
            self.index = None;
        }
        if 2 * self.peers.len() + 8 < self.peers.capacity() {
            self.peers.shrink_to(self.peers.len() + self.peers.len() / 8);
        }
        gone
    }

    /// Bytes of memory beside the group itself.
    pub(super) fn bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| index.bytes());
        self.peers.capacity() * size_of::<Peer<A>>() + index
    }

    /// Chooses `idle` of those who want nothing and `wanting` of those who want more, without the one at `but`. Each is as
    /// likely as any other of its kind.
    pub(super) fn choose(
        &self,
        idle: usize,
        wanting: usize,
        but: Option<usize>,
        random: &mut Random,
    ) -> Runs {
        let mut runs = Runs::default();
        runs.choose(0..self.idle(), idle, but, random);
        runs.choose(self.idle()..self.peers.len(), wanting, but, random);
        runs
    }

    /// Two peers change places. Says where the first one is then.
    fn exchange(&mut self, key: &TableKey, one: usize, other: usize) -> usize {
        if one == other {
            return other;
        }
        if let Some(index) = &mut self.index {
            let hash = |place: usize| key.hash(self.peers[place].addr.bytes());
            index.exchange((hash(one), one), (hash(other), other));
        }
        self.peers.swap(one, other);
        other
    }

    fn count_idle(&mut self, marks: Marks) {
        self.idle += 1;
        self.partial += u32::from(marks.has() == Has::Enough);
    }

    fn uncount_idle(&mut self, marks: Marks) {
        self.idle -= 1;
        self.partial -= u32::from(marks.has() == Has::Enough);
    }
}

/// Runs of places: for each of two kinds [`WINDOWS_MAX`], one of them cut where the array ends and one where the asker is.
const RUNS_MAX: usize = 2 * (WINDOWS_MAX + 2);

/// Which peers of a group were chosen, as runs of places.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    runs: [(u32, u32); RUNS_MAX],
    count: usize,
}

impl Runs {
    /// The whole of an array of one peer.
    pub(super) fn one() -> Self {
        let mut runs = Self::default();
        runs.push_run(0, 1);
        runs
    }

    /// Reads a word at the beginning of each run, so that the memory of all of them is on its way before the first is copied.
    /// In a large swarm that takes as long as waiting for one.
    pub(super) fn read_ahead<A>(&self, peers: &[Peer<A>]) {
        let begins = self.runs[..self.count].iter().filter_map(|(begin, _)| peers.get(*begin as usize));
        let ends = self.runs[..self.count].iter().filter_map(|(_, end)| peers.get(*end as usize - 1));
        std::hint::black_box(begins.chain(ends).fold(0, |sum, peer| sum ^ peer.identity));
    }

    /// The peers, of the array that they were chosen from.
    pub(super) fn of<'a, A>(&'a self, peers: &'a [Peer<A>]) -> impl Iterator<Item = &'a Peer<A>> {
        self.runs[..self.count].iter().flat_map(|(begin, end)| &peers[*begin as usize..*end as usize])
    }

    /// Chooses `count` places of a range. The range is taken as a circle, turned by chance and cut into as many arcs as there
    /// are windows; in each arc the window is somewhere. Turning is what makes all places equally likely.
    fn choose(&mut self, range: Range<usize>, count: usize, but: Option<usize>, random: &mut Random) {
        let but = but.filter(|place| range.contains(place));
        let places = range.len() - usize::from(but.is_some());
        let count = count.min(places);
        if count == 0 {
            return;
        }
        let arcs = if places < 2 * count { 1 } else { (count / WINDOW_MIN).clamp(1, WINDOWS_MAX) };
        let turn = random.below(places);
        for arc in 0..arcs {
            let window = count * (arc + 1) / arcs - count * arc / arcs;
            let begin = places * arc / arcs;
            let room = places * (arc + 1) / arcs - begin;
            let at = (turn + begin + random.below(room - window + 1)) % places;
            // What goes beyond the end goes on at the beginning.
            let before_end = window.min(places - at);
            self.push(&range, at, before_end, but);
            self.push(&range, 0, window - before_end, but);
        }
    }

    /// A run of places, counted without the one left out.
    fn push(&mut self, range: &Range<usize>, begin: usize, length: usize, but: Option<usize>) {
        let (begin, end) = (range.start + begin, range.start + begin + length);
        match but {
            Some(but) if but <= begin => self.push_run(begin + 1, end + 1),
            Some(but) if but < end => {
                self.push_run(begin, but);
                self.push_run(but + 1, end + 1);
            }
            _ => self.push_run(begin, end),
        }
    }

    fn push_run(&mut self, begin: usize, end: usize) {
        if begin < end {
            let run = (begin, end);
            self.runs[self.count] = (
                u32::try_from(run.0).expect("below PLACES_MAX"),
                u32::try_from(run.1).expect("below PLACES_MAX"),
            );
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Group4 = Group<[u8; 6]>;

    fn key() -> TableKey {
        TableKey::of_seed(3)
    }

    fn peer(number: u32, has: Has) -> Peer<[u8; 6]> {
        let [a, b, c, d] = number.to_be_bytes();
        Peer { addr: [10, b, c, d, 1, a], seen: 0, identity: number, marks: Marks::new(has) }
    }

    fn group(idle: u32, wanting: u32) -> Group4 {
        let mut group = Group4::default();
        for number in 0..idle + wanting {
            let has = if number < idle { Has::All } else { Has::Some };
            group.insert(&key(), peer(number, has));
        }
        group
    }

    fn check(group: &Group4) {
        let (idle, wanting) = group.peers.split_at(group.idle());
        assert!(
            idle.iter().all(|peer| peer.marks.is_idle()) && !wanting.iter().any(|peer| peer.marks.is_idle())
        );
        let partial = idle.iter().filter(|peer| peer.marks.has() == Has::Enough).count();
        assert_eq!(partial, group.partial as usize);
        for (place, peer) in group.peers.iter().enumerate() {
            assert_eq!(group.find(&key(), &peer.addr), Some(place));
        }
    }

    #[test]
    fn marks_keep_what_was_said_apart() {
        let marks = Marks::new(Has::Enough).completed().owned_by(Marks::OWNER_MAX);
        assert_eq!(
            (marks.has(), marks.has_completed(), marks.owner()),
            (Has::Enough, true, Marks::OWNER_MAX)
        );
        let marks = marks.with(Has::Some).owned_by(3);
        assert_eq!((marks.has(), marks.has_completed(), marks.owner()), (Has::Some, true, 3));
        assert_eq!((size_of::<Peer<[u8; 6]>>(), size_of::<Peer<[u8; 18]>>()), (16, 28));
    }

    #[test]
    fn kinds_stay_apart_and_everybody_is_found_whatever_happens() {
        let mut random = Random::new(1);
        let mut group = Group4::default();
        let has = |number: usize| [Has::Some, Has::Enough, Has::All][number];
        for step in 0..6_000 {
            let grows = step / 600 % 2 == 0;
            let number = random.below(200) as u32;
            let wanted = peer(number, has(random.below(3)));
            match group.find(&key(), &wanted.addr) {
                Some(place) if grows || random.below(3) == 0 => {
                    group.update(&key(), place, 1, number, wanted.marks);
                }
                Some(place) => assert_eq!(group.remove(&key(), place).addr, wanted.addr),
                None if grows => drop(group.insert(&key(), wanted)),
                None => {}
            }
            if step % 50 == 0 {
                check(&group);
            }
        }
        check(&group);
        while !group.peers.is_empty() {
            group.remove(&key(), group.peers.len() / 2);
        }
        assert_eq!((group.idle, group.partial, group.index.is_none()), (0, 0, true));
        assert!(group.bytes() <= 16 * 16);
    }

    #[test]
    fn as_many_as_asked_for_are_chosen_each_once_and_never_the_one_left_out() {
        let mut random = Random::new(2);
        for (idle, wanting) in [(0, 1), (1, 0), (3, 5), (70, 200), (1000, 9)] {
            let group = group(idle, wanting);
            let all = group.peers.len();
            for but in [None, Some(0), Some(all - 1), Some(all / 2)] {
                for (want_idle, want_wanting) in [(0, 0), (1, 1), (10, 40), (50, 0), (200, 200)] {
                    let runs = group.choose(want_idle, want_wanting, but, &mut random);
                    let mut chosen: Vec<u32> = runs.of(&group.peers).map(|peer| peer.identity).collect();
                    let but = but.map(|but| group.peers[but]);
                    let left = |is_idle: bool, count: u32| {
                        count as usize - usize::from(but.is_some_and(|but| but.marks.is_idle() == is_idle))
                    };
                    let expected = want_idle.min(left(true, idle)) + want_wanting.min(left(false, wanting));
                    assert_eq!(chosen.len(), expected, "{idle} {wanting} {want_idle} {want_wanting}");
                    chosen.sort_unstable();
                    chosen.dedup();
                    assert_eq!(chosen.len(), expected);
                    assert!(but.is_none_or(|but| !chosen.contains(&but.identity)));
                }
            }
        }
    }

    /// The sum of squared differences from what is expected, in units of what is expected.
    fn chi_square(times: &[u32], expected: f64) -> f64 {
        times.iter().map(|times| (f64::from(*times) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn every_peer_is_chosen_as_often_as_any_other() {
        for (wanting, wanted, but, seed) in
            [(60, 10, None, 3), (500, 50, Some(499), 4), (101, 100, Some(0), 5), (333, 25, Some(100), 6)]
        {
            let group = group(0, wanting);
            let mut random = Random::new(seed);
            let mut times = vec![0; wanting as usize];
            let rounds = 20_000;
            for _ in 0..rounds {
                let runs = group.choose(0, wanted, but, &mut random);
                runs.of(&group.peers).for_each(|peer| times[peer.identity as usize] += 1);
            }
            if let Some(but) = but {
                assert_eq!(times.remove(but), 0);
            }
            let degrees = times.len() as f64 - 1.0;
            let expected = f64::from(rounds) * wanted as f64 / times.len() as f64;
            // Windows make neighbours alike, which widens the sum, but never shifts a mean: five deviations of it.
            let wide = wanted as f64 / WINDOWS_MAX.min((wanted / WINDOW_MIN).max(1)) as f64;
            let bound = wide * (degrees + 5.0 * (2.0 * degrees).sqrt());
            let sum = chi_square(&times, expected);
            assert!(sum < bound, "{sum} of {bound} for {wanted} of {wanting}");
            let most =
                times.iter().map(|times| (f64::from(*times) / expected - 1.0).abs()).fold(0.0, f64::max);
            assert!(most < 0.12, "{most} for {wanted} of {wanting}");
        }
    }
}
