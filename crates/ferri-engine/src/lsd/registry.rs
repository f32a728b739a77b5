//! Which torrents are announced on the local network, when, and who is listened to ([BEP 14]). No I/O.
//!
//! [BEP 14]: https://www.bittorrent.org/beps/bep_0014.html

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_wire::lsd::{Announce, INFO_HASHES_MAX};

/// A torrent is announced this often (BEP 14, "Usage").
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// And never sooner than this after the last time, however often it comes and goes.
const INTERVAL_MIN: Duration = Duration::from_secs(60);
/// One datagram at most in this time: with more torrents than fit, each waits longer.
const PACKET_INTERVAL: Duration = Duration::from_secs(1);
/// Who announces a torrent stays known for so long: three intervals, for datagrams get lost.
const KNOWN_FOR: Duration = Duration::from_secs(15 * 60);
/// Of them, for one torrent. Beyond that no neighbour is new, and a torrent at rest is left alone.
const KNOWN_MAX: usize = 32;

/// Datagrams of one sender: a client with many torrents may say each in a datagram of its own, all at once.
const SENDER: Rate = Rate { burst: 64, each: Duration::from_millis(500) };
/// Datagrams of all neighbours.
const EVERYBODY: Rate = Rate { burst: 512, each: Duration::from_millis(10) };
/// Senders that are counted; the one that was silent for longest makes room.
const SENDERS_MAX: usize = 256;

/// The torrents that are announced, and who is listened to.
#[derive(Debug)]
pub(super) struct Registry {
    /// Recognized in our own datagrams.
    cookie: String,
    entries: BTreeMap<InfoHash, Entry>,
    /// When each entry is announced next, or forgotten.
    due: BTreeSet<(Instant, InfoHash)>,
    packet_at: Option<Instant>,
    heard: BTreeMap<IpAddr, Bucket>,
    heard_all: Bucket,
}

#[derive(Debug, Default)]
struct Entry {
    /// A torrent of the session.
    is_torrent: bool,
    /// Who announced it, and when last.
    known: Vec<(SocketAddr, Instant)>,
    announced_at: Option<Instant>,
    due: Option<Instant>,
}

/// The torrent that a found peer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// The torrent with this info hash, which has been told of the peer before.
    Torrent(InfoHash),
    /// The torrent with this info hash, which has not.
    TorrentAnew(InfoHash),
}

impl Registry {
    pub(super) fn new(cookie: String, now: Instant) -> Self {
        Self {
            cookie,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            packet_at: None,
            heard: BTreeMap::new(),
            heard_all: Bucket::new(now),
        }
    }

    /// Announces a torrent of the session from here on.
    pub(super) fn announce(&mut self, info_hash: InfoHash, now: Instant) {
        self.entries.entry(info_hash).or_default().is_torrent = true;
        self.schedule(info_hash, now);
    }

    /// The session's torrent is no longer announced.
    pub(super) fn forget(&mut self, info_hash: InfoHash) {
        // The entry stays until it is due: it knows when it was announced last.
        if let Some(entry) = self.entries.get_mut(&info_hash) {
            entry.is_torrent = false;
        }
    }

    /// There is a new network to announce everything on.
    pub(super) fn announce_all(&mut self, now: Instant) {
        let all: Vec<_> = self.entries.keys().copied().collect();
        for info_hash in all {
            self.schedule(info_hash, now);
        }
    }

    /// Whether it is still to be announced.
    pub(super) fn is_wanted(&self, info_hash: InfoHash) -> bool {
        self.entries.get(&info_hash).is_some_and(Entry::is_wanted)
    }

    /// Everything that was announced before, and still is.
    pub(super) fn announced(&self) -> impl Iterator<Item = InfoHash> {
        let said = self.entries.iter().filter(|(_, entry)| entry.announced_at.is_some() && entry.is_wanted());
        said.map(|(info_hash, _)| *info_hash)
    }

    /// When [`Self::take_due`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        Some(self.packet_at.map_or(*due, |at| at.max(*due)))
    }

    /// What the next datagram announces; empty while there is nothing to say.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<InfoHash> {
        let mut batch = Vec::new();
        while self.poll_timeout().is_some_and(|at| at <= now) && batch.len() < INFO_HASHES_MAX {
            let Some((_, info_hash)) = self.due.pop_first() else { break };
            let Some(entry) = self.entries.get_mut(&info_hash) else { continue };
            entry.due = None;
            if entry.is_wanted() {
                entry.announced_at = Some(now);
                batch.push(info_hash);
            } else {
                self.entries.remove(&info_hash);
            }
        }
        for info_hash in &batch {
            self.set_due(*info_hash, now + INTERVAL);
        }
        if !batch.is_empty() {
            self.packet_at = Some(now + PACKET_INTERVAL);
        }
        batch
    }

    /// The announce that says so.
    pub(super) fn say(&self, info_hashes: Vec<InfoHash>, port: u16) -> Announce {
        Announce { port, info_hashes, cookie: Some(self.cookie.clone()) }
    }

    /// Whether this sender may be heard at all; asked before its datagram is read.
    pub(super) fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        if !self.heard.contains_key(&from) && SENDERS_MAX <= self.heard.len() {
            let silent = self.heard.iter().min_by_key(|(_, bucket)| bucket.at).map(|(ip, _)| *ip);
            if let Some(silent) = silent {
                self.heard.remove(&silent);
            }
        }
        self.heard.entry(from).or_insert_with(|| Bucket::new(now)).take(SENDER, now)
            && self.heard_all.take(EVERYBODY, now)
    }

    /// The torrents that want to know of the announce of this peer: none when it is our own, or of torrents that we do
    /// not have.
    pub(super) fn hear(&mut self, announce: &Announce, peer: SocketAddr, now: Instant) -> Vec<For> {
        if announce.cookie.as_ref() == Some(&self.cookie) {
            return Vec::new();
        }
        let mut wanted = Vec::new();
        for info_hash in announce.info_hashes.iter().collect::<BTreeSet<_>>() {
            let Some(entry) = self.entries.get_mut(info_hash) else { continue };
            if entry.is_torrent {
                wanted.push(match entry.meet(peer, now) {
                    Met::Anew => For::TorrentAnew(*info_hash),
                    Met::Before => For::Torrent(*info_hash),
                });
            }
        }
        wanted
    }

    /// Has it announced as soon as may be.
    fn schedule(&mut self, info_hash: InfoHash, now: Instant) {
        let announced_at = self.entries.get(&info_hash).and_then(|entry| entry.announced_at);
        let soonest = announced_at.map_or(now, |at| now.max(at + INTERVAL_MIN));
        self.set_due(info_hash, soonest);
    }

    fn set_due(&mut self, info_hash: InfoHash, at: Instant) {
        let Some(entry) = self.entries.get_mut(&info_hash) else { return };
        if let Some(before) = entry.due.replace(at) {
            self.due.remove(&(before, info_hash));
        }
        self.due.insert((at, info_hash));
    }
}

/// Whether a peer was there before.
enum Met {
    Before,
    Anew,
}

impl Entry {
    fn meet(&mut self, peer: SocketAddr, now: Instant) -> Met {
        self.known.retain(|(_, at)| now.saturating_duration_since(*at) < KNOWN_FOR);
        if let Some((_, at)) = self.known.iter_mut().find(|(known, _)| *known == peer) {
            *at = now;
            Met::Before
        } else if self.known.len() < KNOWN_MAX {
            self.known.push((peer, now));
            Met::Anew
        } else {
            Met::Before
        }
    }

    fn is_wanted(&self) -> bool {
        self.is_torrent
    }
}

/// So many at once, and then one each time.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    each: Duration,
}

/// What is left of a [`Rate`].
#[derive(Debug)]
struct Bucket {
    taken: u32,
    at: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { taken: 0, at: now }
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_nanos() / rate.each.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed != 0 {
            self.taken = self.taken.saturating_sub(passed);
            self.at = now;
        }
        let is_allowed = self.taken < rate.burst;
        self.taken += u32::from(is_allowed);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash(n: u16) -> InfoHash {
        let mut bytes = [0; 20];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        bytes.into()
    }

    fn registry(torrents: u16, now: Instant) -> Registry {
        let mut registry = Registry::new("ours".to_owned(), now);
        (0..torrents).for_each(|n| registry.announce(hash(n), now));
        registry
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::new([10, 0, 0, n].into(), 6881)
    }

    /// What comes of an announce by another client.
    fn hear(registry: &mut Registry, info_hashes: Vec<InfoHash>) -> Vec<For> {
        let announce = Announce { port: 6881, info_hashes, cookie: None };
        registry.hear(&announce, peer(1), Instant::now())
    }

    #[test]
    fn a_torrent_is_announced_at_once_and_every_five_minutes() {
        let start = Instant::now();
        let mut registry = registry(1, start);
        for n in 0..3 {
            let at = start + n * INTERVAL;
            assert_eq!(registry.poll_timeout(), Some(at));
            assert_eq!(registry.take_due(at), [hash(0)]);
            assert_eq!(registry.take_due(at), []);
        }
    }

    #[test]
    fn one_that_comes_and_goes_is_announced_once_a_minute_at_most() {
        let start = Instant::now();
        let mut registry = registry(1, start);
        assert_eq!(registry.take_due(start), [hash(0)]);
        for n in 1..60 {
            registry.forget(hash(0));
            registry.announce(hash(0), start + seconds(n));
            assert_eq!(registry.take_due(start + seconds(n)), []);
        }
        assert_eq!(registry.take_due(start + INTERVAL_MIN), [hash(0)]);
    }

    #[test]
    fn many_share_datagrams_one_a_second() {
        let start = Instant::now();
        let mut registry = registry(100, start);
        let (mut now, mut announced) = (start, BTreeSet::new());
        while announced.len() < 100 {
            let batch = registry.take_due(now);
            assert!((1..=INFO_HASHES_MAX).contains(&batch.len()));
            assert_eq!(registry.take_due(now), []);
            announced.extend(batch);
            now += PACKET_INTERVAL;
        }
        assert_eq!(now - start, 5 * PACKET_INTERVAL);
    }

    #[test]
    fn ten_thousand_are_all_announced_in_turn() {
        let start = Instant::now();
        let mut registry = registry(10_000, start);
        let mut announced = BTreeMap::new();
        for n in 0..900 {
            for info_hash in registry.take_due(start + seconds(n)) {
                *announced.entry(info_hash).or_insert(0) += 1;
            }
        }
        assert_eq!(announced.len(), 10_000);
        assert!(announced.values().all(|count| (1..=3).contains(count)));
    }

    #[test]
    fn what_is_forgotten_is_not_announced_not_heard_and_leaves_nothing_behind() {
        let start = Instant::now();
        let mut registry = registry(1, start);
        registry.take_due(start);
        registry.forget(hash(0));
        assert!(hear(&mut registry, vec![hash(0)]).is_empty());
        assert_eq!(registry.take_due(start + INTERVAL), []);
        assert!(registry.entries.is_empty() && registry.due.is_empty());
    }

    #[test]
    fn our_own_announces_and_unknown_torrents_are_for_nobody() {
        let start = Instant::now();
        let mut registry = registry(2, start);
        let own = registry.say(vec![hash(0)], 1);
        assert!(registry.hear(&own, peer(1), start).is_empty());
        assert!(hear(&mut registry, vec![hash(9)]).is_empty());
        let heard = hear(&mut registry, vec![hash(9), hash(1), hash(1)]);
        assert!(matches!(heard[..], [For::TorrentAnew(one)] if one == hash(1)));
    }

    #[test]
    fn a_peer_is_new_once_as_long_as_it_keeps_announcing_and_a_crowd_is_not_new_at_all() {
        let start = Instant::now();
        let mut registry = registry(1, start);
        let announce = Announce { port: 6881, info_hashes: vec![hash(0)], cookie: None };
        let mut is_new = |n: u8, at| {
            let heard = registry.hear(&announce, peer(n), start + seconds(at));
            matches!(heard[..], [For::TorrentAnew(_)])
        };
        assert!(is_new(1, 0) && is_new(2, 0));
        assert!((1..20).all(|n| !is_new(1, n * 300)));
        assert!(is_new(2, 6000));
        let crowd = (3..200).filter(|n| is_new(*n, 6000)).count();
        assert!(crowd < KNOWN_MAX, "{crowd}");
    }

    #[test]
    fn a_sender_that_talks_too_much_is_not_heard_and_others_are() {
        let start = Instant::now();
        let mut registry = registry(0, start);
        let heard = |registry: &mut Registry, ip: [u8; 4], at| {
            (0..1000).filter(|_| registry.admit(ip.into(), at)).count()
        };
        assert_eq!(heard(&mut registry, [10, 0, 0, 1], start), 64);
        assert_eq!(heard(&mut registry, [10, 0, 0, 2], start), 64);
        assert_eq!(heard(&mut registry, [10, 0, 0, 1], start + seconds(5)), 10);
    }

    #[test]
    fn a_flood_from_many_addresses_is_cut_and_takes_no_memory() {
        let start = Instant::now();
        let mut registry = registry(0, start);
        let heard =
            (0..50_000u32).filter(|n| registry.admit(IpAddr::V4((0x0a00_0000 + n).into()), start)).count();
        assert_eq!(heard, 512);
        assert!(registry.heard.len() <= SENDERS_MAX);
        assert!(registry.admit([10, 0, 0, 1].into(), start + seconds(1)));
    }

    #[test]
    fn what_is_forgotten_is_neither_announced_nor_heard_nor_kept() {
        let start = Instant::now();
        let mut registry = registry(1, start);
        assert_eq!(registry.take_due(start), [hash(0)]);
        assert_eq!(hear(&mut registry, vec![hash(0)]), [For::TorrentAnew(hash(0))]);
        registry.forget(hash(0));
        assert_eq!(hear(&mut registry, vec![hash(0)]), []);
        assert_eq!(registry.take_due(start + INTERVAL), []);
        assert!(registry.entries.is_empty());
    }

    #[test]
    fn on_a_new_network_all_are_announced_again_but_none_twice_a_minute() {
        let start = Instant::now();
        let mut registry = registry(1, start);
        registry.take_due(start);
        registry.announce_all(start + seconds(90));
        assert_eq!(registry.poll_timeout(), Some(start + seconds(90)));
        registry.take_due(start + seconds(90));
        registry.announce_all(start + seconds(91));
        assert_eq!(registry.poll_timeout(), Some(start + seconds(90) + INTERVAL_MIN));
    }
}
