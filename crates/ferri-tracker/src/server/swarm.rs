//! The peers of one torrent, as the tracker knows them, and which of them a client is told of.
//!
//! Most torrents have one peer, so one IPv4 peer is kept without any further memory.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ferri_metainfo::InfoHash;

use super::group::{Compact, Group, Has, Marks, Peer, Runs};
use super::hashing::TableKey;
use crate::announce::Scrape;
use crate::random::Random;
use crate::udp::Family;

/// An asker that has everything, or a magnet link and does not know yet what it lacks (aria2, rqbit: `left=0`), is filled up to
/// so many peers with others that have everything. Enough to get an info dictionary from, and few enough that real seeds waste
/// little on each other.
const SEEDS_FOR_A_SEED: usize = 20;

/// The peers of one torrent: 48 bytes if it is one IPv4 peer.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) info_hash: InfoHash,
    downloaded: u32,
    body: Body,
}

#[derive(Debug)]
enum Body {
    None,
    One(Peer<[u8; 6]>),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    v4: Group<[u8; 6]>,
    v6: Group<[u8; 18]>,
}

/// Where a peer is in its swarm, until something is added or removed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) family: Family,
    pub(super) at: usize,
}

/// What is known of a peer beside its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) seen: u16,
    pub(super) identity: u32,
    pub(super) marks: Marks,
}

/// Who asks for peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) has: Has,
    /// It said `completed`, and so has everything for certain.
    pub(super) has_completed: bool,
    pub(super) family: Family,
    pub(super) families: Families,
    pub(super) numwant: usize,
    /// Not told to itself.
    pub(super) place: Option<Place>,
}

/// Which peers can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Families {
    /// A datagram has room for one form of addresses.
    Own,
    Both,
}

/// What a swarm counts for in the shard's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) v4: usize,
    pub(super) v6: usize,
    pub(super) seeds: usize,
    pub(super) bytes: usize,
}

impl Swarm {
    /// Without peers yet.
    pub(super) fn new(info_hash: InfoHash, downloaded: u32) -> Self {
        Self { info_hash, downloaded, body: Body::None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len(Family::V4) + self.len(Family::V6) == 0
    }

    pub(super) fn len(&self, family: Family) -> usize {
        match family {
            Family::V4 => self.v4().len(),
            Family::V6 => self.v6().len(),
        }
    }

    pub(super) fn v4(&self) -> &[Peer<[u8; 6]>] {
        match &self.body {
            Body::None => &[],
            Body::One(peer) => std::slice::from_ref(peer),
            Body::Many(many) => many.v4.peers(),
        }
    }

    pub(super) fn v6(&self) -> &[Peer<[u8; 18]>] {
        match &self.body {
            Body::None | Body::One(_) => &[],
            Body::Many(many) => many.v6.peers(),
        }
    }

    pub(super) fn downloaded(&self) -> u32 {
        self.downloaded
    }

    pub(super) fn count_completed(&mut self) {
        self.downloaded = self.downloaded.saturating_add(1);
    }

    pub(super) fn addr(&self, place: Place) -> SocketAddr {
        match place.family {
            Family::V4 => self.v4()[place.at].addr.addr(),
            Family::V6 => self.v6()[place.at].addr.addr(),
        }
    }

    pub(super) fn known(&self, place: Place) -> Known {
        fn of<A>(peer: &Peer<A>) -> Known {
            Known { seen: peer.seen, identity: peer.identity, marks: peer.marks }
        }
        match place.family {
            Family::V4 => of(&self.v4()[place.at]),
            Family::V6 => of(&self.v6()[place.at]),
        }
    }

    pub(super) fn find(&self, key: &TableKey, addr: SocketAddr) -> Option<Place> {
        let family = Family::of(addr);
        let at = match (&self.body, family) {
            (Body::One(peer), Family::V4) => (peer.addr == <[u8; 6]>::of(addr)).then_some(0),
            (Body::None, _) | (Body::One(_), Family::V6) => None,
            (Body::Many(many), Family::V4) => many.v4.find(key, &Compact::of(addr)),
            (Body::Many(many), Family::V6) => many.v6.find(key, &Compact::of(addr)),
        };
        at.map(|at| Place { family, at })
    }

    /// The same client under another address of a family, as far as that is looked for. BEP 7 has a client announce from an
    /// address of either family, which are both good.
    pub(super) fn find_identity(&self, identity: u32, family: Family) -> Option<Place> {
        let at = match (&self.body, family) {
            (Body::One(peer), Family::V4) => (peer.identity == identity).then_some(0),
            (Body::None, _) | (Body::One(_), Family::V6) => None,
            (Body::Many(many), Family::V4) => many.v4.find_identity(identity),
            (Body::Many(many), Family::V6) => many.v6.find_identity(identity),
        };
        at.map(|at| Place { family, at })
    }

    /// Adds a peer whose address is not there yet.
    pub(super) fn insert(&mut self, key: &TableKey, addr: SocketAddr, known: Known) -> Place {
        let Known { seen, identity, marks } = known;
        let family = Family::of(addr);
        if family == Family::V4 && self.is_empty() {
            self.body = Body::One(Peer { addr: Compact::of(addr), seen, identity, marks });
            return Place { family, at: 0 };
        }
        let many = self.many(key);
        let at = match family {
            Family::V4 => many.v4.insert(key, Peer { addr: Compact::of(addr), seen, identity, marks }),
            Family::V6 => many.v6.insert(key, Peer { addr: Compact::of(addr), seen, identity, marks }),
        };
        Place { family, at }
    }

    /// Changes what is known of a peer. Says where it is then.
    pub(super) fn update(&mut self, key: &TableKey, place: Place, known: Known) -> Place {
        let Known { seen, identity, marks } = known;
        let at = match (&mut self.body, place.family) {
            (Body::None, _) => place.at,
            (Body::One(peer), _) => {
                (peer.seen, peer.identity, peer.marks) = (seen, identity, marks);
                0
            }
            (Body::Many(many), Family::V4) => many.v4.update(key, place.at, seen, identity, marks),
            (Body::Many(many), Family::V6) => many.v6.update(key, place.at, seen, identity, marks),
        };
        Place { at, ..place }
    }

    /// Takes a peer out. Gives its address and its marks.
    pub(super) fn remove(&mut self, key: &TableKey, place: Place) -> (SocketAddr, Marks) {
        let gone = (self.addr(place), self.known(place).marks);
        match (&mut self.body, place.family) {
            (Body::None | Body::One(_), _) => self.body = Body::None,
            (Body::Many(many), Family::V4) => drop(many.v4.remove(key, place.at)),
            (Body::Many(many), Family::V6) => drop(many.v6.remove(key, place.at)),
        }
        match (self.v4(), self.v6()) {
            ([], []) => self.body = Body::None,
            (&[peer], []) => self.body = Body::One(peer),
            _ => {}
        }
        gone
    }

    /// What a scrape says.
    pub(super) fn numbers(&self) -> Scrape {
        let of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let tally = self.tally();
        let peers = tally.v4 + tally.v6;
        let (idle, wanting) = self.kinds();
        debug_assert_eq!(idle + wanting, peers);
        Scrape {
            seeders: of(tally.seeds),
            leechers: of(peers - tally.seeds),
            downloaded: self.downloaded,
            downloaders: Some(of(wanting)),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        match &self.body {
            Body::None => Tally::default(),
            Body::One(peer) => {
                let seeds = usize::from(peer.marks.has() == Has::All);
                Tally { v4: 1, v6: 0, seeds, bytes: 0 }
            }
            Body::Many(many) => Tally {
                v4: many.v4.peers().len(),
                v6: many.v6.peers().len(),
                seeds: many.v4.seeds() + many.v6.seeds(),
                bytes: size_of::<Many>() + many.v4.bytes() + many.v6.bytes(),
            },
        }
    }

    /// Chooses peers for an asker, never itself. Those that want nothing of each other are not brought together, but for
    /// [`SEEDS_FOR_A_SEED`]. Of each kind and family every peer is as likely as any other, and an asker who wants more is told
    /// of both kinds as they are in the swarm.
    pub(super) fn choose(&self, asker: &Asker, random: &mut Random) -> Picks<'_> {
        let (own, other) = (asker.family, opposite(asker.family));
        let own_kinds = self.kinds_without(own, asker.place);
        let other_kinds = match asker.families {
            Families::Own => (0, 0),
            Families::Both => self.kinds_without(other, asker.place),
        };
        let (idle, wanting) = (own_kinds.0 + other_kinds.0, own_kinds.1 + other_kinds.1);
        let numwant = asker.numwant;
        let (want_idle, want_wanting) = match asker.has {
            Has::Some => share(numwant, idle, wanting, random),
            Has::All if !asker.has_completed => {
                let first = numwant.min(wanting);
                let more = SEEDS_FOR_A_SEED.min(numwant).saturating_sub(first);
                (more.min(idle), first)
            }
            Has::All | Has::Enough => (0, numwant.min(wanting)),
        };
        let idle = share_with_own(want_idle, own_kinds.0, other_kinds.0, random);
        let wanting = share_with_own(want_wanting, own_kinds.1, other_kinds.1, random);
        let mut runs = |family, idle, wanting| self.runs(family, idle, wanting, asker.place, random);
        let (own_runs, other_runs) = (runs(own, idle.0, wanting.0), runs(other, idle.1, wanting.1));
        let (v4_runs, v6_runs) = match own {
            Family::V4 => (own_runs, other_runs),
            Family::V6 => (other_runs, own_runs),
        };
        Picks { v4: self.v4(), v4_runs, v6: self.v6(), v6_runs, but: 0, tells_loopback: true }
    }

    fn runs(
        &self,
        family: Family,
        idle: usize,
        wanting: usize,
        but: Option<Place>,
        random: &mut Random,
    ) -> Runs {
        let but = but.filter(|place| place.family == family).map(|place| place.at);
        match (&self.body, family) {
            _ if idle + wanting == 0 => Runs::default(),
            (Body::One(_), Family::V4) => Runs::one(),
            (Body::None, _) | (Body::One(_), Family::V6) => Runs::default(),
            (Body::Many(many), Family::V4) => many.v4.choose(idle, wanting, but, random),
            (Body::Many(many), Family::V6) => many.v6.choose(idle, wanting, but, random),
        }
    }

    /// How many want nothing, and how many want more.
    fn kinds(&self) -> (usize, usize) {
        let (v4, v6) = (self.kinds_without(Family::V4, None), self.kinds_without(Family::V6, None));
        (v4.0 + v6.0, v4.1 + v6.1)
    }

    fn kinds_without(&self, family: Family, but: Option<Place>) -> (usize, usize) {
        let all = self.len(family);
        let idle = match (&self.body, family) {
            (Body::One(peer), Family::V4) => usize::from(peer.marks.has() != Has::Some),
            (Body::None, _) | (Body::One(_), Family::V6) => 0,
            (Body::Many(many), Family::V4) => many.v4.idle(),
            (Body::Many(many), Family::V6) => many.v6.idle(),
        };
        match but.filter(|place| place.family == family) {
            Some(place) if place.at < idle => (idle - 1, all - idle),
            Some(_) => (idle, all - idle - 1),
            None => (idle, all - idle),
        }
    }

    fn many(&mut self, key: &TableKey) -> &mut Many {
        if !matches!(self.body, Body::Many(_)) {
            let mut many = Box::<Many>::default();
            if let Body::One(peer) = self.body {
                many.v4.insert(key, peer);
            }
            self.body = Body::Many(many);
        }
        match &mut self.body {
            Body::Many(many) => many,
            Body::None | Body::One(_) => unreachable!("made into many above"),
        }
    }
}

/// Peers that were chosen, of each family.
#[derive(Clone, Debug)]
pub(super) struct Picks<'a> {
    v4: &'a [Peer<[u8; 6]>],
    v4_runs: Runs,
    v6: &'a [Peer<[u8; 18]>],
    v6_runs: Runs,
    but: u32,
    tells_loopback: bool,
}

impl<'a> Picks<'a> {
    pub(super) fn none() -> Self {
        let (v4_runs, v6_runs) = (Runs::default(), Runs::default());
        Picks { v4: &[], v4_runs, v6: &[], v6_runs, but: 0, tells_loopback: true }
    }

    /// For an asker at this address: without its own other addresses, and without addresses on the peer's own machine,
    /// which lead other clients to themselves.
    pub(super) fn for_asker(mut self, identity: u32, ip: IpAddr) -> Self {
        (self.but, self.tells_loopback) = (identity, ip.is_loopback());
        self.v4_runs.read_ahead(self.v4);
        self.v6_runs.read_ahead(self.v6);
        self
    }

    pub(super) fn v4(&self) -> impl Iterator<Item = &[u8; 6]> {
        let told =
            |peer: &&Peer<[u8; 6]>| peer.identity != self.but && (self.tells_loopback || peer.addr[0] != 127);
        self.v4_runs.of(self.v4).filter(told).map(|peer| &peer.addr)
    }

    pub(super) fn v6(&self) -> impl Iterator<Item = &[u8; 18]> {
        let told = |peer: &&Peer<[u8; 18]>| {
            peer.identity != self.but
                && (self.tells_loopback || peer.addr[..16] != Ipv6Addr::LOCALHOST.octets())
        };
        self.v6_runs.of(self.v6).filter(told).map(|peer| &peer.addr)
    }
}

fn opposite(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

/// Divides `count` among two kinds by how many there are of each. What is left of a peer falls to either by chance, so
/// that all peers are told equally often.
fn share(count: usize, first: usize, second: usize, random: &mut Random) -> (usize, usize) {
    let all = first + second;
    if all <= count {
        return (first, second);
    }
    let whole = count * first / all;
    let rest = count * first % all;
    let of_first = whole + usize::from(random.below(all) < rest);
    (of_first, count - of_first)
}

/// The same for the asker's own family and the other one. At least half are of its own, as far as there are so many: it
/// is not known whether it can reach the others.
fn share_with_own(count: usize, own: usize, other: usize, random: &mut Random) -> (usize, usize) {
    let (of_own, _) = share(count, own, other, random);
    let of_own = of_own.max(own.min(count.div_ceil(2)));
    (of_own, count.min(own + other) - of_own)
}
