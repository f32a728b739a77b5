//! All swarms of the tracker: who is in them, who may be, and who is told of whom. Nothing of HTTP or UDP here.
//!
//! A peer is known by the address its request came from. The parameter `ip` is not believed (BEP 7 says why: it would let
//! anyone announce a victim), unless [`IpParameter::FromLoopback`] allows it to requests from this very machine.
//! A peer's `key` proves that it is itself: without the right one nobody says `stopped` for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;

use super::swarm::{Asker, Has, Peer, Swarm};
use crate::announce::{Announce, Event, Scrape};
use crate::limits::INTERVAL_MIN;
use crate::peers::is_peer_address;
use crate::random::Random;
use crate::siphash::siphash;
use crate::udp::Family;

/// How often everything is looked through for peers that went away without a word.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How a tracker behaves, and what it may hold in memory. A peer takes about 200 bytes.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// When peers are to announce again.
    pub interval: Duration,
    /// How soon they may when peers run short.
    pub min_interval: Duration,
    /// How long a silent peer is kept. At least two intervals, so that one lost announce does no harm.
    pub peer_lifetime: Duration,
    /// Swarms.
    pub swarms_max: usize,
    /// Peers of one swarm from one IPv4 address or IPv6 network (/64), so that nobody fills a swarm alone.
    pub address_peers_max: usize,
    /// Peers of all swarms.
    pub peers_max: usize,
    /// Peers named to those who do not say how many they want.
    pub numwant_default: usize,
    /// Peers named at most.
    pub numwant_max: usize,
    /// Whether to believe the parameter `ip`.
    pub ip_parameter: IpParameter,
    /// Parts that are locked on their own; a power of two. More let more threads answer at the same time.
    pub shards: usize,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        let interval = Duration::from_secs(10 * 60);
        Self {
            interval,
            min_interval: INTERVAL_MIN,
            peer_lifetime: 2 * interval + INTERVAL_MIN,
            swarms_max: 10_000,
            address_peers_max: 256,
            peers_max: 200_000,
            numwant_default: 50,
            numwant_max: 200,
            ip_parameter: IpParameter::Ignored,
            shards: 64,
        }
    }
}

/// Whether the address in the parameter `ip` is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpParameter {
    /// Never.
    #[default]
    Ignored,
    /// In requests from a loopback address. For a seeder on the tracker's machine that others are to reach. Not behind a
    /// reverse proxy on the same machine: there every request comes from loopback.
    FromLoopback,
}

/// Why an announce is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room for another swarm.
    #[error("this tracker has no room for another torrent")]
    SwarmsFull,
}

/// What has happened so far, for people who look after a tracker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Announces answered over HTTP.
    pub http_announces: u64,
    /// Announces answered over UDP.
    pub udp_announces: u64,
    /// Scrapes answered over HTTP.
    pub http_scrapes: u64,
    /// Scrapes answered over UDP.
    pub udp_scrapes: u64,
    /// Requests that were refused or made no sense.
    pub refused: u64,
}

/// All swarms.
#[derive(Debug)]
pub(super) struct Swarms {
    options: RegistryOptions,
    /// No swarm in it is empty after a sweep.
    swarms: BTreeMap<InfoHash, Swarm>,
    /// Of all swarms together.
    peers: usize,
    random: Random,
    /// Keys the connection ids of UDP.
    secret: [u8; 16],
    started: Instant,
    swept: Instant,
    pub(super) counters: Counters,
}

/// All swarms, for any number of threads at once.
#[derive(Debug)]
pub struct Registry {
    options: RegistryOptions,
    swarms: Mutex<Swarms>,
}

impl Registry {
    /// An empty registry. `secret` must not be guessable: whoever knows it can forge the connection ids of UDP.
    pub fn new(options: RegistryOptions, secret: [u8; 16], now: Instant) -> Self {
        Self { options: options.clone(), swarms: Mutex::new(Swarms::new(options, secret, now)) }
    }

    /// How it behaves.
    pub fn options(&self) -> &RegistryOptions {
        &self.options
    }

    /// What it holds.
    pub fn census(&self) -> Census {
        let swarms = self.lock();
        Census { swarms: swarms.swarm_count(), peers: swarms.peer_count() }
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters()
    }

    /// What is known of a swarm. All zeros for one that is not known.
    pub fn scrape(&self, info_hash: &InfoHash) -> Scrape {
        self.lock().scrape(info_hash)
    }

    /// Forgets some of the peers that went away without a word. To be called about once a second, by any thread; it holds no
    /// lock for long, and catches up when it was not called for a while.
    pub fn sweep(&self, now: Instant) {
        self.lock().sweep(now);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Swarms> {
        self.swarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a registry holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Torrents with at least one peer.
    pub swarms: usize,
    /// Peers in all swarms.
    pub peers: usize,
}

/// What an announce brings.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) numbers: Scrape,
    pub(super) peers: Vec<(SocketAddr, [u8; 20])>,
}

impl Swarms {
    /// An empty registry. `secret` must not be guessable: whoever knows it can forge the connection ids of UDP.
    pub(super) fn new(options: RegistryOptions, secret: [u8; 16], now: Instant) -> Self {
        Self {
            options,
            swarms: BTreeMap::new(),
            peers: 0,
            // Another key's worth of numbers, so that the choice of peers tells nothing of the secret.
            random: Random::new(siphash(&secret, b"choice of peers")),
            secret,
            started: now,
            swept: now,
            counters: Counters::default(),
        }
    }

    /// How it behaves.
    pub(super) fn options(&self) -> &RegistryOptions {
        &self.options
    }

    /// Swarms with at least one peer.
    pub(super) fn swarm_count(&self) -> usize {
        self.swarms.len()
    }

    /// Peers in all swarms.
    pub(super) fn peer_count(&self) -> usize {
        self.peers
    }

    /// What has happened so far.
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// What is known of a swarm. All zeros for one that is not known.
    pub(super) fn scrape(&self, info_hash: &InfoHash) -> Scrape {
        let unknown = || Scrape { downloaders: Some(0), ..Scrape::default() };
        self.swarms.get(info_hash).map_or_else(unknown, Swarm::numbers)
    }

    /// Registers a peer that asks from `from`, and chooses others for it. `family` leaves out peers of the other one.
    pub(super) fn announce(
        &mut self,
        announce: &Announce,
        from: IpAddr,
        family: Option<Family>,
        now: Instant,
    ) -> Result<Announced, Refusal> {
        self.sweep(now);
        let addr = SocketAddr::new(self.believed_ip(announce, from.to_canonical()), announce.port);
        let has = match (announce.left, announce.event) {
            (0, _) => Has::All,
            (_, Some(Event::Paused)) => Has::Enough,
            _ => Has::Some,
        };
        if announce.event == Some(Event::Stopped) {
            self.forget(announce, addr);
            return Ok(Announced { numbers: self.scrape(&announce.info_hash), peers: Vec::new() });
        }
        if !self.swarms.contains_key(&announce.info_hash) && self.options.swarms_max <= self.swarms.len() {
            return Err(Refusal::SwarmsFull);
        }
        let peer =
            Peer { addr, peer_id: announce.peer_id, key: announce.key, has, completed: false, seen: now };
        self.register(announce.info_hash, peer, announce.event);
        let numwant = announce.numwant.map_or(self.options.numwant_default, |wanted| wanted as usize);
        let numwant = numwant.min(self.options.numwant_max);
        let asker = Asker { addr, peer_id: announce.peer_id, has, family, numwant };
        let Some(swarm) = self.swarms.get(&announce.info_hash) else {
            return Ok(Announced { numbers: Scrape::default(), peers: Vec::new() });
        };
        let chosen = swarm.choose(&asker, &mut self.random);
        let peers = chosen.into_iter().map(|peer| (peer.addr, peer.peer_id)).collect();
        Ok(Announced { numbers: swarm.numbers(), peers })
    }

    pub(super) fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// Since the registry was made.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The `count` swarms with the most peers, largest first.
    pub(super) fn largest(&self, count: usize) -> Vec<(InfoHash, Scrape)> {
        let mut swarms: Vec<_> = self.swarms.iter().map(|(hash, swarm)| (swarm.len(), *hash)).collect();
        swarms.sort_unstable_by(|a, b| b.cmp(a));
        swarms.truncate(count);
        swarms.into_iter().map(|(_, hash)| (hash, self.scrape(&hash))).collect()
    }

    fn believed_ip(&self, announce: &Announce, from: IpAddr) -> IpAddr {
        match announce.ip {
            Some(ip) if self.options.ip_parameter == IpParameter::FromLoopback && from.is_loopback() => {
                ip.to_canonical()
            }
            _ => from,
        }
    }

    fn register(&mut self, info_hash: InfoHash, mut peer: Peer, event: Option<Event>) {
        // Who cannot be reached is given peers, but not given to peers.
        if !is_peer_address(peer.addr) {
            return;
        }
        let full = self.options.peers_max <= self.peers;
        let swarm = self.swarms.entry(info_hash).or_default();
        let before = swarm.len();
        let is_known = match swarm.get(peer.addr) {
            Some(known) => {
                peer.completed = known.completed && known.peer_id == peer.peer_id;
                true
            }
            None => {
                if let Some(earlier) = swarm.earlier_address(&peer) {
                    peer.completed = swarm.get(earlier).is_some_and(|known| known.completed);
                    swarm.remove(earlier);
                }
                false
            }
        };
        if event == Some(Event::Completed) && peer.has == Has::All && !peer.completed {
            peer.completed = true;
            swarm.count_completed();
        }
        let address_peers_max = self.options.address_peers_max;
        let room = !full && swarm.count_from(peer.addr.ip(), address_peers_max) < address_peers_max;
        if is_known || room {
            swarm.insert(peer);
        }
        self.peers = self.peers - before + swarm.len();
        if swarm.len() == 0 {
            self.swarms.remove(&info_hash);
        }
    }

    /// `stopped`, if it comes from the peer itself.
    fn forget(&mut self, announce: &Announce, addr: SocketAddr) {
        let Some(swarm) = self.swarms.get_mut(&announce.info_hash) else { return };
        if swarm.get(addr).is_some_and(|peer| peer.key == announce.key && peer.peer_id == announce.peer_id) {
            swarm.remove(addr);
            self.peers -= 1;
            if swarm.len() == 0 {
                self.swarms.remove(&announce.info_hash);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        if now < self.swept + SWEEP_INTERVAL {
            return;
        }
        self.swept = now;
        let Some(oldest) = now.checked_sub(self.options.peer_lifetime) else { return };
        for swarm in self.swarms.values_mut() {
            self.peers -= swarm.expire(oldest);
        }
        self.swarms.retain(|_, swarm| 0 < swarm.len());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HASH: [u8; 20] = [7; 20];

    fn registry(options: RegistryOptions) -> (Swarms, Instant) {
        // Far enough from the clock's beginning that a lifetime can be subtracted.
        let now = Instant::now() + Duration::from_secs(100_000);
        (Swarms::new(options, [1; 16], now), now)
    }

    fn announce(number: u8, left: u64, event: Option<Event>) -> Announce {
        let id = [number; 20];
        Announce { left, event, key: 5, ..Announce::new(InfoHash::from(HASH), id, 1000 + u16::from(number)) }
    }

    fn from(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    fn say(registry: &mut Swarms, number: u8, left: u64, event: Option<Event>, now: Instant) -> Announced {
        registry.announce(&announce(number, left, event), from(number), None, now).unwrap()
    }

    #[test]
    fn peers_find_each_other_and_leave() {
        let (mut registry, now) = registry(RegistryOptions::default());
        assert!(say(&mut registry, 1, 0, Some(Event::Started), now).peers.is_empty());
        let second = say(&mut registry, 2, 9, Some(Event::Started), now);
        assert_eq!(second.peers, [("10.0.0.1:1001".parse().unwrap(), [1; 20])]);
        assert_eq!((second.numbers.seeders, second.numbers.leechers), (1, 1));
        assert_eq!(say(&mut registry, 1, 0, None, now).peers.len(), 1);
        say(&mut registry, 2, 0, Some(Event::Completed), now);
        let scrape = registry.scrape(&InfoHash::from(HASH));
        assert_eq!((scrape.seeders, scrape.downloaded), (2, 1));
        say(&mut registry, 2, 0, Some(Event::Completed), now);
        assert_eq!(registry.scrape(&InfoHash::from(HASH)).downloaded, 1);
        assert!(say(&mut registry, 1, 0, Some(Event::Stopped), now).peers.is_empty());
        say(&mut registry, 2, 0, Some(Event::Stopped), now);
        assert_eq!((registry.swarm_count(), registry.peer_count()), (0, 0));
    }

    #[test]
    fn the_silent_are_forgotten() {
        let (mut registry, now) = registry(RegistryOptions::default());
        say(&mut registry, 1, 9, None, now);
        let lifetime = registry.options().peer_lifetime;
        say(&mut registry, 2, 9, None, now + lifetime);
        assert_eq!(registry.peer_count(), 2);
        say(&mut registry, 2, 9, None, now + lifetime + 2 * SWEEP_INTERVAL);
        assert_eq!(registry.peer_count(), 1);
    }

    #[test]
    fn nobody_says_stopped_for_another() {
        let (mut registry, now) = registry(RegistryOptions::default());
        say(&mut registry, 1, 9, None, now);
        let forged = Announce { key: 6, ..announce(1, 9, Some(Event::Stopped)) };
        registry.announce(&forged, from(1), None, now).unwrap();
        assert_eq!(registry.peer_count(), 1);
        registry.announce(&announce(1, 9, Some(Event::Stopped)), from(2), None, now).unwrap();
        assert_eq!(registry.peer_count(), 1);
    }

    #[test]
    fn a_client_that_moved_is_one_peer_and_a_dual_stacked_one_is_two() {
        let (mut registry, now) = registry(RegistryOptions::default());
        say(&mut registry, 1, 9, None, now);
        registry.announce(&announce(1, 9, None), from(99), None, now).unwrap();
        assert_eq!(registry.peer_count(), 1);
        let v6 = "2001:db8::1".parse().unwrap();
        let answer = registry.announce(&announce(1, 9, None), v6, None, now).unwrap();
        assert_eq!((registry.peer_count(), answer.peers.len()), (2, 0));
        // The same id with another key is somebody else, and cannot push the first one out.
        registry.announce(&Announce { key: 1, ..announce(1, 9, None) }, from(50), None, now).unwrap();
        assert_eq!(registry.peer_count(), 3);
    }

    #[test]
    fn every_bound_holds() {
        let options = RegistryOptions {
            swarms_max: 3,
            address_peers_max: 2,
            peers_max: 8,
            numwant_max: 2,
            ..RegistryOptions::default()
        };
        let (mut registry, now) = registry(options);
        for number in 0..100u8 {
            for hash in 0..6 {
                for port in 1..4 {
                    let request = Announce {
                        info_hash: InfoHash::from([hash; 20]),
                        port,
                        numwant: Some(u32::MAX),
                        peer_id: [number.wrapping_mul(3).wrapping_add(port as u8); 20],
                        ..announce(number, 9, None)
                    };
                    match registry.announce(&request, from(number), None, now) {
                        Ok(announced) => assert!(announced.peers.len() <= 2),
                        Err(refusal) => assert_eq!(refusal, Refusal::SwarmsFull),
                    }
                }
            }
            assert!(registry.peer_count() <= 8 && registry.swarm_count() <= 3);
        }
        assert_eq!(registry.peer_count(), 8);
        let counted: usize = registry.swarms.values().map(Swarm::len).sum();
        assert_eq!(counted, registry.peer_count());
    }

    #[test]
    fn who_cannot_be_reached_is_served_and_not_named() {
        let (mut registry, now) = registry(RegistryOptions::default());
        say(&mut registry, 1, 9, None, now);
        let unreachable = Announce { port: 0, ..announce(2, 9, None) };
        assert_eq!(registry.announce(&unreachable, from(2), None, now).unwrap().peers.len(), 1);
        assert_eq!(registry.peer_count(), 1);
        let alone = Announce { info_hash: InfoHash::from([1; 20]), ..unreachable };
        assert!(registry.announce(&alone, from(2), None, now).unwrap().peers.is_empty());
        assert_eq!(registry.swarm_count(), 1);
    }

    #[test]
    fn the_parameter_ip_is_believed_only_where_that_was_chosen() {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        let claims = Announce { ip: Some([10, 9, 9, 9].into()), ..announce(1, 9, None) };
        for (ip_parameter, source, expected) in [
            (IpParameter::Ignored, loopback, None),
            (IpParameter::FromLoopback, loopback, Some("10.9.9.9:1001")),
            (IpParameter::FromLoopback, from(1), Some("10.0.0.1:1001")),
        ] {
            let (mut registry, now) =
                registry(RegistryOptions { ip_parameter, ..RegistryOptions::default() });
            registry.announce(&claims, source, None, now).unwrap();
            let named = say(&mut registry, 2, 9, None, now).peers;
            // A loopback address is not named to other machines.
            let expected: Vec<SocketAddr> = expected.iter().map(|addr| addr.parse().unwrap()).collect();
            assert_eq!(named.iter().map(|(addr, _)| *addr).collect::<Vec<_>>(), expected);
        }
    }
}
