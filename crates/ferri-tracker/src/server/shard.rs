//! One part of the registry, behind a lock of its own: the swarms whose hashes fall to it. Who is let in, who makes room, who
//! is forgotten.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ferri_metainfo::InfoHash;

use super::access::User;
use super::clock::{Clock, Moment};
use super::crowds::{Crowds, Network};
use super::group::{Has, Marks};
use super::hashing::TableKey;
use super::index::Index;
use super::ledger::Ledger;
use super::refusal::Refusal;
use super::registry::RegistryOptions;
use super::swarm::{Asker, Families, Known, Picks, Place, Swarm, Tally};
use crate::announce::{Event, Scrape};
use crate::peers::is_peer_address;
use crate::random::Random;
use crate::udp::Family;

/// Swarms looked at when a peer has to make room. A network with a tenth of a full tracker is found in 96 of 100 tries.
pub(super) const VICTIMS_LOOKED_AT: usize = 32;

/// Peers looked at to find a swarm that makes room, in all shards that are asked: all of one that may have to go, up to the first
/// that stays. Enough for [`VICTIMS_LOOKED_AT`] swarms of 64 peers in each of eight shards.
const LOOKS_MAX: usize = 64 * 8 * VICTIMS_LOOKED_AT;

/// Networks that may have filled one swarm, each up to its bound, and are still found: an IPv4 address and a /64, twice.
const LOOKED_NETWORKS: usize = 4;

/// Peers that may still be looked at for one newcomer, so that no client makes a search long with large swarms.
#[derive(Debug)]
pub(super) struct Looks(usize);

impl Looks {
    pub(super) fn new(options: &RegistryOptions) -> Self {
        Self(LOOKS_MAX.max(options.address_peers_max.saturating_mul(LOOKED_NETWORKS)))
    }
}

/// What all shards share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: RegistryOptions,
    pub(super) clock: Clock,
    pub(super) key: TableKey,
    pub(super) crowds: Crowds,
    pub(super) ledger: Ledger,
    pub(super) swarms: AtomicUsize,
    pub(super) peers: AtomicUsize,
    pub(super) expired: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) unremembered: AtomicU64,
}

impl Shared {
    /// Whether any network can have so much that it makes room for this one. Who fills the tracker is refused without a search.
    pub(super) fn may_yield(&self, newcomer: Network) -> bool {
        let all = u32::try_from(self.peers.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        self.crowds.yields(all, self.crowds.weight(newcomer))
    }
}

/// Who announces what.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) info_hash: InfoHash,
    /// Where peers are to connect to.
    pub(super) addr: SocketAddr,
    /// Of its peer id and key.
    pub(super) identity: u32,
    pub(super) has: Has,
    pub(super) event: Option<Event>,
    pub(super) numwant: Option<u32>,
    pub(super) families: Families,
    pub(super) user: Option<User>,
}

/// An announce on its way through a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit<'a> {
    pub(super) ask: &'a Ask,
    /// Of the info hash.
    pub(super) hash: u64,
    /// The number of the user, 0 where there are no users.
    pub(super) owner: u32,
    pub(super) now: Moment,
    pub(super) attempt: Attempt,
}

/// How often a newcomer has asked for room in a full tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// When the shard has none, others are asked for it.
    First,
    /// A peer without room is served, but not remembered.
    Last,
}

/// What an announce brings.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) numbers: Scrape,
    /// Seconds until the next one, somewhat different for each peer so that a herd spreads.
    pub(super) interval: u32,
    pub(super) picks: Picks<'a>,
}

/// Swarms.
#[derive(Debug)]
pub(super) struct Shard {
    /// None is empty.
    swarms: Vec<Swarm>,
    index: Index,
    random: Random,
    tally: Tally,
    cursor: Cursor,
}

/// How far a look through all peers has come. It goes from the end, since what is taken out is replaced from the end.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Swarms not looked at.
    swarms: usize,
    family: Family,
    /// Peers of the family not looked at in the last of them.
    peers: usize,
}

impl Cursor {
    const fn before(swarms: usize) -> Self {
        Self { swarms, family: Family::V6, peers: usize::MAX }
    }
}

impl Shard {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            swarms: Vec::new(),
            index: Index::new(),
            random: Random::new(seed),
            tally: Tally::default(),
            cursor: Cursor::before(0),
        }
    }

    pub(super) fn swarms(&self) -> &[Swarm] {
        &self.swarms
    }

    /// Sums over all swarms, with the memory of the shard itself.
    pub(super) fn tally(&self) -> Tally {
        let own = self.swarms.capacity() * size_of::<Swarm>() + self.index.bytes();
        Tally { bytes: self.tally.bytes + own, ..self.tally }
    }

    pub(super) fn find(&self, hash: u64, info_hash: &InfoHash) -> Option<usize> {
        self.index.find(hash, |at| self.swarms[at].info_hash == *info_hash)
    }

    /// Registers who asks and chooses peers for it; `write` writes them down.
    pub(super) fn announce<R>(
        &mut self,
        shared: &Shared,
        visit: Visit<'_>,
        mut write: impl FnMut(&Answer<'_>) -> R,
    ) -> Result<R, Refusal> {
        let Visit { ask, hash, .. } = visit;
        let interval = interval(&shared.options, &mut self.random);
        if ask.event == Some(Event::Stopped) {
            self.leave(shared, visit);
            let swarm = self.find(hash, &ask.info_hash).map(|at| &self.swarms[at]);
            let numbers = swarm.map_or_else(unknown, Swarm::numbers);
            return Ok(write(&Answer { numbers, interval, picks: Picks::none() }));
        }
        let (at, place) = self.register(shared, visit)?;
        let Some(swarm) = at.map(|at| &self.swarms[at]) else {
            return Ok(write(&Answer { numbers: unknown(), interval, picks: Picks::none() }));
        };
        let options = &shared.options;
        let numwant = ask.numwant.map_or(options.numwant_default, |wanted| wanted as usize);
        let asker = Asker {
            has: ask.has,
            has_completed: place.is_some_and(|place| swarm.known(place).marks.has_completed()),
            family: Family::of(ask.addr),
            families: ask.families,
            numwant: numwant.min(options.numwant_max),
            place,
        };
        let picks = swarm.choose(&asker, &mut self.random).for_asker(ask.identity, ask.addr.ip());
        Ok(write(&Answer { numbers: swarm.numbers(), interval, picks }))
    }

    /// Says where the swarm is, if there is one, and the peer in it, if it is remembered.
    fn register(
        &mut self,
        shared: &Shared,
        visit: Visit<'_>,
    ) -> Result<(Option<usize>, Option<Place>), Refusal> {
        let Visit { ask, hash, .. } = visit;
        let at = self.find(hash, &ask.info_hash);
        // A peer that cannot be reached is given peers, but not given to peers.
        if !is_peer_address(ask.addr) {
            return Ok((at, None));
        }
        let known = at.and_then(|at| Some((at, self.swarms[at].find(&shared.key, ask.addr)?)));
        if let Some((at, place)) = known {
            self.check_owner(shared, self.swarms[at].known(place), visit)?;
            let place = self.refresh(shared, at, place, visit);
            return Ok((Some(at), Some(place)));
        }
        let family = Family::of(ask.addr);
        let moved = at.and_then(|at| Some((at, self.swarms[at].find_identity(ask.identity, family)?)));
        if let Some((at, place)) = moved {
            let known = self.swarms[at].known(place);
            self.check_owner(shared, known, visit)?;
            self.take_out(shared, at, place, hash);
            let place = self.put_in(shared, at, visit, known.marks.has_completed());
            return Ok((Some(at), Some(place)));
        }
        if let Some(user) = &ask.user {
            shared.ledger.check(visit.owner, user, hash).map_err(Refusal::Limit)?;
        }
        let network = shared.crowds.network(ask.addr.ip());
        let in_swarm = shared.crowds.weight_in(network, hash) as usize;
        let is_crowded = shared.options.address_peers_max <= in_swarm;
        if is_crowded || !self.make_room_for_peer(shared, network) {
            if !is_crowded && visit.attempt == Attempt::First {
                return Err(Refusal::PeersFull);
            }
            shared.unremembered.fetch_add(1, Ordering::Relaxed);
            return Ok((self.find(hash, &ask.info_hash), None));
        }
        // A peer may have made room, which moves swarms.
        let at = match self.find(hash, &ask.info_hash) {
            Some(at) => at,
            None => match self.make_room_for_swarm(shared, network) {
                true => self.add_swarm(shared, hash, Swarm::new(ask.info_hash, 0)),
                false => {
                    shared.peers.fetch_sub(1, Ordering::Relaxed);
                    return Err(Refusal::TorrentsFull);
                }
            },
        };
        Ok((Some(at), Some(self.put_in(shared, at, visit, false))))
    }

    /// Whether a known peer may be this user's. It had no user when it comes from a snapshot of before version 3, which
    /// names no users.
    fn check_owner(&self, shared: &Shared, known: Known, visit: Visit<'_>) -> Result<(), Refusal> {
        match &visit.ask.user {
            Some(user) if known.marks.owner() != visit.owner => {
                shared.ledger.check(visit.owner, user, visit.hash).map_err(Refusal::Limit)
            }
            _ => Ok(()),
        }
    }

    /// A known peer is here again.
    fn refresh(&mut self, shared: &Shared, at: usize, place: Place, visit: Visit<'_>) -> Place {
        let known = self.swarms[at].known(place);
        if known.marks.owner() != visit.owner {
            shared.ledger.remove(known.marks.owner(), visit.hash);
            shared.ledger.add(visit.owner, visit.hash);
        }
        let same = known.identity == visit.ask.identity;
        let known = self.marked(at, visit, same && known.marks.has_completed());
        self.changed(at, |swarm| swarm.update(&shared.key, place, known))
    }

    /// What is to be known of a peer. Counts its `completed`, once.
    fn marked(&mut self, at: usize, visit: Visit<'_>, completed: bool) -> Known {
        let Visit { ask, owner, now, .. } = visit;
        let mut marks = Marks::new(ask.has).owned_by(owner);
        if ask.event == Some(Event::Completed) && !completed {
            self.swarms[at].count_completed();
        }
        if completed && ask.has == Has::All || ask.event == Some(Event::Completed) {
            marks = marks.completed();
        }
        Known { seen: now.tick, identity: ask.identity, marks }
    }

    fn put_in(&mut self, shared: &Shared, at: usize, visit: Visit<'_>, completed: bool) -> Place {
        let known = self.marked(at, visit, completed);
        self.put(shared, at, visit.ask.addr, visit.hash, known)
    }

    fn put(&mut self, shared: &Shared, at: usize, addr: SocketAddr, hash: u64, known: Known) -> Place {
        shared.crowds.add(shared.crowds.network(addr.ip()), hash);
        shared.ledger.add(known.marks.owner(), hash);
        self.changed(at, |swarm| swarm.insert(&shared.key, addr, known))
    }

    /// `stopped`, if it comes from the peer itself. That of an unknown peer is as good: Transmission begins with one.
    fn leave(&mut self, shared: &Shared, visit: Visit<'_>) {
        let ask = visit.ask;
        let Some(at) = self.find(visit.hash, &ask.info_hash) else { return };
        let Some(place) = self.swarms[at].find(&shared.key, ask.addr) else { return };
        if self.swarms[at].known(place).identity == ask.identity {
            self.remove(shared, at, place);
        }
    }

    /// Forgets a peer, and its swarm with the last one. Says whether the swarm went.
    fn remove(&mut self, shared: &Shared, at: usize, place: Place) -> bool {
        let hash = shared.key.hash(self.swarms[at].info_hash.as_bytes());
        self.take_out(shared, at, place, hash);
        shared.peers.fetch_sub(1, Ordering::Relaxed);
        if !self.swarms[at].is_empty() {
            return false;
        }
        self.remove_swarm(shared, at, hash);
        true
    }

    /// Takes a peer out of a swarm that may be empty then, for a moment.
    fn take_out(&mut self, shared: &Shared, at: usize, place: Place, hash: u64) {
        let (addr, marks) = self.changed(at, |swarm| swarm.remove(&shared.key, place));
        shared.crowds.remove(shared.crowds.network(addr.ip()), hash);
        shared.ledger.remove(marks.owner(), hash);
    }

    fn add_swarm(&mut self, shared: &Shared, hash: u64, swarm: Swarm) -> usize {
        let at = self.swarms.len();
        if at == self.swarms.capacity() {
            self.swarms.reserve_exact(4 + at / 8);
        }
        self.tally.bytes += swarm.tally().bytes;
        self.swarms.push(swarm);
        let Self { swarms, index, .. } = self;
        index.insert(hash, at, |at| shared.key.hash(swarms[at].info_hash.as_bytes()));
        at
    }

    fn remove_swarm(&mut self, shared: &Shared, at: usize, hash: u64) {
        let hash_at = |swarms: &[Swarm], at: usize| shared.key.hash(swarms[at].info_hash.as_bytes());
        let Self { swarms, index, .. } = self;
        index.remove(hash, at, |at| hash_at(swarms, at));
        self.tally.bytes -= self.swarms[at].tally().bytes;
        self.swarms.swap_remove(at);
        if at < self.swarms.len() {
            self.index.relocate(hash_at(&self.swarms, at), self.swarms.len(), at);
        }
        if 2 * self.swarms.len() + 16 < self.swarms.capacity() {
            self.swarms.shrink_to(self.swarms.len() + self.swarms.len() / 8);
        }
        shared.swarms.fetch_sub(1, Ordering::Relaxed);
    }

    /// Changes a swarm and keeps the sums right.
    fn changed<R>(&mut self, at: usize, change: impl FnOnce(&mut Swarm) -> R) -> R {
        let before = self.swarms[at].tally();
        let result = change(&mut self.swarms[at]);
        let after = self.swarms[at].tally();
        self.tally.v4 = self.tally.v4 + after.v4 - before.v4;
        self.tally.v6 = self.tally.v6 + after.v6 - before.v6;
        self.tally.seeds = self.tally.seeds + after.seeds - before.seeds;
        self.tally.bytes = self.tally.bytes + after.bytes - before.bytes;
        result
    }

    /// Takes one of the places for peers; in a full tracker, one of a peer whose network has far more.
    fn make_room_for_peer(&mut self, shared: &Shared, newcomer: Network) -> bool {
        if reserve(&shared.peers, shared.options.peers_max) {
            return true;
        }
        self.evict_peer(shared, newcomer) && reserve(&shared.peers, shared.options.peers_max)
    }

    /// Makes a peer go whose network has far more than the newcomer's. Says whether one went.
    pub(super) fn evict_peer(&mut self, shared: &Shared, newcomer: Network) -> bool {
        let Some((at, place)) = self.heaviest_peer(shared, newcomer) else { return false };
        self.remove(shared, at, place);
        shared.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Takes one of the places for swarms, by the same rule.
    fn make_room_for_swarm(&mut self, shared: &Shared, newcomer: Network) -> bool {
        if reserve(&shared.swarms, shared.options.swarms_max) {
            return true;
        }
        let mut looks = Looks::new(&shared.options);
        self.evict_swarm(shared, newcomer, &mut looks) && reserve(&shared.swarms, shared.options.swarms_max)
    }

    /// Makes a swarm go whose networks all have far more than the newcomer's. Says whether one went.
    pub(super) fn evict_swarm(&mut self, shared: &Shared, newcomer: Network, looks: &mut Looks) -> bool {
        let Some(at) = self.heaviest_swarm(shared, newcomer, looks) else { return false };
        while let Some(place) = first_place(&self.swarms[at]) {
            shared.evicted.fetch_add(1, Ordering::Relaxed);
            if self.remove(shared, at, place) {
                return true;
            }
        }
        false
    }

    /// Of some peers, the one whose network has most, if it is to make room. Swarms are chosen first and peers in them then, so
    /// those alone in their swarm are looked at most.
    fn heaviest_peer(&mut self, shared: &Shared, newcomer: Network) -> Option<(usize, Place)> {
        if !shared.may_yield(newcomer) {
            return None;
        }
        let mut heaviest = (shared.crowds.weight(newcomer), None);
        for _ in 0..VICTIMS_LOOKED_AT.min(4 * self.swarms.len()) {
            let at = self.random.below(self.swarms.len());
            let swarm = &self.swarms[at];
            let number = self.random.below(swarm.len(Family::V4) + swarm.len(Family::V6));
            let place = place_of(swarm, number);
            let weight = shared.crowds.weight(shared.crowds.network(swarm.addr(place).ip()));
            if shared.crowds.yields(weight, shared.crowds.weight(newcomer)) && heaviest.0 < weight {
                heaviest = (weight, Some((at, place)));
            }
        }
        heaviest.1
    }

    /// Of some swarms, or all where there are few, the one whose lightest network has most, if it is to make room.
    fn heaviest_swarm(&mut self, shared: &Shared, newcomer: Network, looks: &mut Looks) -> Option<usize> {
        if !shared.may_yield(newcomer) {
            return None;
        }
        let own = shared.crowds.weight(newcomer);
        let mut heaviest = (own, None);
        for number in 0..VICTIMS_LOOKED_AT.min(self.swarms.len()) {
            let at = match self.swarms.len() {
                0..=VICTIMS_LOOKED_AT => number,
                swarms => self.random.below(swarms),
            };
            if let Some(weight) = lightest(shared, &self.swarms[at], own, looks)
                && heaviest.0 < weight
            {
                heaviest = (weight, Some(at));
            }
        }
        heaviest.1
    }

    /// How much there is to look through.
    pub(super) fn items(&self) -> usize {
        2 * self.swarms.len() + self.tally.v4 + self.tally.v6
    }

    /// Looks at so many peers and swarms, from where the last look ended, and forgets who has been silent for too long.
    pub(super) fn sweep(&mut self, shared: &Shared, now: Moment, items: usize) {
        for _ in 0..items {
            self.cursor.swarms = self.cursor.swarms.min(self.swarms.len());
            let Some(at) = self.cursor.swarms.checked_sub(1) else {
                self.cursor = Cursor::before(self.swarms.len());
                continue;
            };
            let family = self.cursor.family;
            let Some(peer) = self.cursor.peers.min(self.swarms[at].len(family)).checked_sub(1) else {
                match family {
                    Family::V6 => (self.cursor.family, self.cursor.peers) = (Family::V4, usize::MAX),
                    Family::V4 => self.cursor = Cursor::before(at),
                }
                continue;
            };
            self.cursor.peers = peer;
            let place = Place { family, at: peer };
            if shared.clock.is_over(self.swarms[at].known(place).seen, now) {
                shared.expired.fetch_add(1, Ordering::Relaxed);
                if self.remove(shared, at, place) {
                    self.cursor = Cursor::before(at);
                }
            }
        }
    }

    /// Puts back what an earlier run knew of a peer. Says whether there was room.
    pub(super) fn restore(
        &mut self,
        shared: &Shared,
        info_hash: InfoHash,
        downloaded: u32,
        addr: SocketAddr,
        known: Known,
    ) -> bool {
        let hash = shared.key.hash(info_hash.as_bytes());
        let at = self.find(hash, &info_hash);
        if at.is_some_and(|at| self.swarms[at].find(&shared.key, addr).is_some()) {
            return true;
        }
        if !is_peer_address(addr) || !reserve(&shared.peers, shared.options.peers_max) {
            return false;
        }
        let at = match at {
            Some(at) => at,
            None if reserve(&shared.swarms, shared.options.swarms_max) => {
                self.add_swarm(shared, hash, Swarm::new(info_hash, downloaded))
            }
            None => {
                shared.peers.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
        };
        self.put(shared, at, addr, hash, known);
        true
    }
}

pub(super) fn unknown() -> Scrape {
    Scrape { downloaders: Some(0), ..Scrape::default() }
}

/// Up to an eighth earlier than the longest: never later, so that no peer outlives its registration.
fn interval(options: &RegistryOptions, random: &mut Random) -> u32 {
    let longest =
        usize::try_from(options.interval.as_secs()).unwrap_or(usize::MAX).clamp(1, i32::MAX as usize);
    let seconds = longest - random.below(longest / 8 + 1);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn reserve(count: &AtomicUsize, max: usize) -> bool {
    let taken =
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1));
    taken.is_ok()
}

fn place_of(swarm: &Swarm, number: usize) -> Place {
    match number.checked_sub(swarm.len(Family::V4)) {
        None => Place { family: Family::V4, at: number },
        Some(at) => Place { family: Family::V6, at },
    }
}

fn first_place(swarm: &Swarm) -> Option<Place> {
    (!swarm.is_empty()).then(|| place_of(swarm, 0))
}

/// How much the lightest of a swarm's networks has. `None` where one of them does not yield to a newcomer that has `own`, or where
/// the swarm has more peers than may still be looked at.
fn lightest(shared: &Shared, swarm: &Swarm, own: u32, looks: &mut Looks) -> Option<u32> {
    let peers = swarm.len(Family::V4) + swarm.len(Family::V6);
    if looks.0 < peers {
        return None;
    }
    let (mut lightest, mut before) = (None, None);
    for number in 0..peers {
        looks.0 -= 1;
        let network = shared.crowds.network(swarm.addr(place_of(swarm, number)).ip());
        // Those of one network mostly stand in a row.
        if before.replace(network) == Some(network) {
            continue;
        }
        let weight = shared.crowds.weight(network);
        if !shared.crowds.yields(weight, own) {
            return None;
        }
        lightest = Some(lightest.map_or(weight, |lightest: u32| lightest.min(weight)));
    }
    lightest
}
