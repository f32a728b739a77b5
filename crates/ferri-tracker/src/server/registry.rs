//! All swarms of the tracker: which peers are in them, which may be, and which are told of which. Nothing of HTTP or
//! UDP here.
//!
//! A peer is known by the address its request came from. The parameters `ip`, `ipv4` and `ipv6` are not believed (BEP 7
//! says why: a client could announce a victim), unless [`IpParameter`] allows them to requests from some addresses. A
//! peer's id and key prove that it is itself: without the right ones no client says `stopped` for it.
//!
//! Swarms fall to shards by their info hashes. Each shard has a lock, and no thread holds two at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;

use super::clock::{Clock, Moment};
use super::counters::{Counters, Tallies};
use super::crowds::Crowds;
use super::hashing::TableKey;
use super::index::PLACES_MAX;
use super::ledger::Ledger;
use super::refusal::Refusal;
use super::shard::{Answer, Ask, Attempt, Looks, Shard, Shared, VICTIMS_LOOKED_AT, Visit, unknown};
use crate::announce::{Event, Scrape};
use crate::limits::INTERVAL_MIN;
use crate::random::Random;
use crate::siphash::siphash;
use crate::udp::Family;

/// In this time everything is looked through once for peers that went away without a word.
const SWEEP_TIME_MAX: Duration = Duration::from_secs(120);

/// A look through everything takes this part of a lifetime at most, so that the silent do not stay much longer than others.
const SWEEPS_PER_LIFETIME: u32 = 8;

/// Peers and swarms looked at while a shard is locked: well below a millisecond.
const SWEEP_STEP_MAX: usize = 4096;

/// Shards that are asked to make room for one newcomer. More would let refused announces cost much.
const SHARDS_ASKED_MAX: usize = 8;

/// In a tracker of so few swarms all shards are asked: that is as much to look at as [`SHARDS_ASKED_MAX`] shards with many.
const ALL_ASKED_SWARMS_MAX: usize = SHARDS_ASKED_MAX * VICTIMS_LOOKED_AT;

/// Peers and torrents that one registry holds at most, whatever its options say: places in its tables have 26 bits.
pub const PEERS_LIMIT: usize = PLACES_MAX;

/// Shards at most. Each is some hundred bytes when empty.
const SHARDS_MAX: usize = 1 << 12;

/// How a tracker behaves, and what it may hold in memory. An IPv4 peer takes 20 to 30 bytes, an IPv6 peer 32 to 45, a torrent
/// with one peer 60.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// When peers are to announce again, at the latest. Each answer says up to an eighth less, so that a herd spreads.
    pub interval: Duration,
    /// How soon they may when peers run short.
    pub min_interval: Duration,
    /// How long a silent peer is kept. At least two intervals, so that one lost announce does no harm.
    pub peer_lifetime: Duration,
    /// Torrents, at most [`PEERS_LIMIT`].
    pub swarms_max: usize,
    /// Peers of one torrent from one IPv4 address or IPv6 network (/64), so that no network fills a swarm alone;
    /// sixteen times as many from one site (/48). More are served, but not remembered. High, since a whole company may
    /// be behind one address.
    pub address_peers_max: usize,
    /// Peers of all torrents, at most [`PEERS_LIMIT`].
    pub peers_max: usize,
    /// Peers named to those who do not say how many they want.
    pub numwant_default: usize,
    /// Peers named at most.
    pub numwant_max: usize,
    /// Whether to believe the parameters `ip`, `ipv4` and `ipv6`.
    pub ip_parameter: IpParameter,
    /// Parts that are locked on their own; a power of two, or the next one is taken. More let more threads answer at the same
    /// time.
    pub shards: usize,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        let interval = Duration::from_secs(10 * 60);
        Self {
            interval,
            min_interval: INTERVAL_MIN,
            peer_lifetime: 2 * interval + INTERVAL_MIN,
            swarms_max: 1_000_000,
            address_peers_max: 4_096,
            peers_max: 4_000_000,
            numwant_default: 50,
            numwant_max: 200,
            ip_parameter: IpParameter::Ignored,
            shards: 64,
        }
    }
}

/// Whether the address in the parameters `ip`, `ipv4` and `ipv6` is believed: a tracker within a network that reaches
/// the outside through a router sees addresses of its neighbours that cannot be reached from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpParameter {
    /// Never.
    #[default]
    Ignored,
    /// In requests from a loopback address. For a seeder on the tracker's machine that others are to reach. Not behind a
    /// reverse proxy on the same machine that the tracker does not know of: there every request comes from loopback.
    FromLoopback,
    /// In requests from loopback, private and link-local addresses. For a tracker of a network that knows all its machines.
    FromPrivate,
}

/// All swarms, for any number of threads at once.
#[derive(Debug)]
pub struct Registry {
    shared: Shared,
    shards: Box<[Mutex<Shard>]>,
    /// When everything was swept last, in milliseconds since the registry began.
    swept: AtomicU64,
    /// The shard that is asked for room next.
    asked: AtomicUsize,
    pub(super) connections: Connections,
    pub(super) users: UsersSecret,
    pub(super) tallies: Tallies,
}

/// What the connection ids of UDP are made of: a registry with the same knows those that another one gave.
#[derive(Clone, Copy)]
pub(super) struct Connections {
    /// Not guessable.
    pub(super) secret: [u8; 16],
    /// The second when the registry began, by which minutes are counted.
    pub(super) began: u64,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connections")
    }
}

/// Keys the hashes of passkeys that users are known by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct UsersSecret(pub(super) [u8; 16]);

impl std::fmt::Debug for UsersSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UsersSecret")
    }
}

/// What a registry holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Torrents with at least one peer.
    pub swarms: usize,
    /// Peers in all swarms.
    pub peers: usize,
    /// Those of them with an IPv6 address.
    pub peers_v6: usize,
    /// Those of them that have everything.
    pub seeds: usize,
    /// Bytes of memory that all of it takes.
    pub bytes: usize,
}

impl Registry {
    /// An empty registry. `secret` must not be guessable: with it a client can forge the connection ids of UDP.
    pub fn new(mut options: RegistryOptions, secret: [u8; 16], now: Instant) -> Self {
        options.shards = options.shards.clamp(1, SHARDS_MAX).next_power_of_two();
        options.peers_max = options.peers_max.min(PEERS_LIMIT);
        options.swarms_max = options.swarms_max.min(PEERS_LIMIT);
        // Another key's worth of numbers, so that the choice of peers tells nothing of the secret.
        let mut random = Random::new(siphash(&secret, b"choice of peers"));
        let key = TableKey::new(std::array::from_fn(|at| siphash(&secret, &[at as u8])));
        let shards = (0..options.shards).map(|_| Mutex::new(Shard::new(random.next_u64()))).collect();
        let first_asked = random.below(options.shards);
        let shared = Shared {
            clock: Clock::new(now, options.peer_lifetime),
            key,
            crowds: Crowds::new(options.peers_max, key),
            ledger: Ledger::new(),
            swarms: AtomicUsize::new(0),
            peers: AtomicUsize::new(0),
            expired: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            unremembered: AtomicU64::new(0),
            options,
        };
        Self {
            shared,
            shards,
            swept: AtomicU64::new(0),
            asked: AtomicUsize::new(first_asked),
            connections: Connections { secret, began: 0 },
            users: UsersSecret(secret),
            tallies: Tallies::default(),
        }
    }

    /// Gives the connection ids of UDP that every registry with this secret gives at the same time, so that a restart
    /// loses no client. `unix` is the second of the calendar at which the registry began.
    pub fn share_connections(&mut self, secret: [u8; 16], unix: u64) {
        self.connections = Connections { secret, began: unix };
    }

    /// Knows users by the hashes that every registry with this secret knows them by, so that the limits of a passkey outlive a restart.
    /// For [`Passkeys::parse`](super::access::Passkeys::parse) the secret is the same.
    pub fn share_users(&mut self, secret: [u8; 16]) {
        self.users = UsersSecret(secret);
    }

    /// How it behaves, with the limits that hold.
    pub fn options(&self) -> &RegistryOptions {
        &self.shared.options
    }

    /// What it holds. Locks one shard after the other, each for a moment.
    pub fn census(&self) -> Census {
        let mut census =
            Census { bytes: size_of::<Self>() + self.shared.crowds.bytes(), ..Census::default() };
        for shard in &self.shards {
            let shard = lock(shard);
            let tally = shard.tally();
            census.swarms += shard.swarms().len();
            census.peers += tally.v4 + tally.v6;
            census.peers_v6 += tally.v6;
            census.seeds += tally.seeds;
            census.bytes += tally.bytes + size_of::<Mutex<Shard>>();
        }
        census
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            expired: load(&self.shared.expired),
            evicted: load(&self.shared.evicted),
            unremembered: load(&self.shared.unremembered),
            ..self.tallies.sum()
        }
    }

    /// What is known of a swarm. All zeros for one that is not known.
    pub fn scrape(&self, info_hash: &InfoHash) -> Scrape {
        let hash = self.hash(info_hash);
        let shard = lock(self.shard(hash));
        shard.find(hash, info_hash).map_or_else(unknown, |at| shard.swarms()[at].numbers())
    }

    /// Forgets some of the peers that went away without a word. To be called about once a second, by any thread; it holds no
    /// lock for long, and catches up when it was not called for a while.
    pub fn sweep(&self, now: Instant) {
        let milliseconds = u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX);
        let before = self.swept.fetch_max(milliseconds, Ordering::Relaxed);
        let passed = u128::from(milliseconds.saturating_sub(before));
        let cycle = SWEEP_TIME_MAX.min(self.options().peer_lifetime / SWEEPS_PER_LIFETIME).as_millis().max(1);
        let now = self.moment(now);
        for shard in &self.shards {
            let all = lock(shard).items();
            let due = (all as u128 * passed).div_ceil(cycle);
            // A round more would see the same again.
            let mut due = usize::try_from(due).unwrap_or(usize::MAX).min(all + 1);
            while 0 < due {
                let step = due.min(SWEEP_STEP_MAX);
                lock(shard).sweep(&self.shared, now, step);
                due -= step;
            }
        }
    }

    /// Registers who asks and chooses peers for it. `write` writes the answer down while the swarm is held.
    pub(super) fn announce<R>(
        &self,
        ask: &Ask,
        now: Instant,
        mut write: impl FnMut(&Answer<'_>) -> R,
    ) -> Result<R, Refusal> {
        let now = self.moment(now);
        let owner = match &ask.user {
            // A peer that may not say that it leaves would keep its place.
            Some(user) if ask.event != Some(Event::Stopped) => {
                self.shared.ledger.announce(user, now.seconds).map_err(Refusal::Limit)?
            }
            _ => 0,
        };
        let hash = self.hash(&ask.info_hash);
        let mut attempt = Attempt::First;
        let mut has_asked_for_swarm = false;
        loop {
            let visit = Visit { ask, hash, owner, now, attempt };
            let answer = lock(self.shard(hash)).announce(&self.shared, visit, &mut write);
            let full = match answer {
                Err(Refusal::PeersFull) if attempt == Attempt::First => Refusal::PeersFull,
                Err(Refusal::TorrentsFull) if !has_asked_for_swarm => Refusal::TorrentsFull,
                answer => return answer,
            };
            self.make_room_elsewhere(full, ask.addr.ip());
            match full {
                Refusal::PeersFull => attempt = Attempt::Last,
                _ => has_asked_for_swarm = true,
            }
        }
    }

    /// A shard in which no peer makes room may be full of honest peers while others are not. One after the other is
    /// asked, so that no two are held at once, and the next newcomer asks the shards behind them.
    fn make_room_elsewhere(&self, full: Refusal, newcomer: IpAddr) {
        let newcomer = self.shared.crowds.network(newcomer);
        if !self.shared.may_yield(newcomer) {
            return;
        }
        let asked = match self.shared.swarms.load(Ordering::Relaxed) {
            0..=ALL_ASKED_SWARMS_MAX => self.shards.len(),
            _ => SHARDS_ASKED_MAX.min(self.shards.len()),
        };
        let mut looks = Looks::new(self.options());
        let begin = self.asked.fetch_add(asked, Ordering::Relaxed);
        for at in 0..asked {
            let mut shard = lock(&self.shards[begin.wrapping_add(at) & (self.shards.len() - 1)]);
            let has_room = match full {
                Refusal::PeersFull => shard.evict_peer(&self.shared, newcomer),
                _ => shard.evict_swarm(&self.shared, newcomer, &mut looks),
            };
            if has_room {
                return;
            }
        }
    }

    /// Since the registry was made.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.shared.clock.age(now)
    }

    pub(super) fn moment(&self, now: Instant) -> Moment {
        self.shared.clock.moment(now)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn lock_shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        lock(&self.shards[number])
    }

    pub(super) fn lock_shard_of(&self, info_hash: &InfoHash) -> MutexGuard<'_, Shard> {
        lock(self.shard(self.hash(info_hash)))
    }

    /// The `count` swarms with the most peers, largest first.
    pub(super) fn largest(&self, count: usize) -> Vec<(InfoHash, Scrape)> {
        let mut largest = BinaryHeap::with_capacity(count + 1);
        for shard in &self.shards {
            let shard = lock(shard);
            for swarm in shard.swarms() {
                let peers = swarm.len(Family::V4) + swarm.len(Family::V6);
                largest.push(Reverse((peers, Reverse(swarm.info_hash))));
                if count < largest.len() {
                    largest.pop();
                }
            }
        }
        let largest = largest.into_sorted_vec().into_iter();
        largest.map(|Reverse((_, Reverse(info_hash)))| (info_hash, self.scrape(&info_hash))).collect()
    }

    /// Whether the word of this address about other addresses of its own is taken.
    pub(super) fn believes(&self, from: IpAddr) -> bool {
        let is_private = match from {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match self.options().ip_parameter {
            IpParameter::Ignored => false,
            IpParameter::FromLoopback => from.is_loopback(),
            IpParameter::FromPrivate => from.is_loopback() || is_private,
        }
    }

    fn hash(&self, info_hash: &InfoHash) -> u64 {
        self.shared.key.hash(info_hash.as_bytes())
    }

    /// By bits that the shard's index does not use.
    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 12) as usize & (self.shards.len() - 1)]
    }
}

/// A thread that panicked left a shard as it was between two steps, each of which leaves it whole.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
