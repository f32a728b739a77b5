//! Which torrent is announced in the DHT next. No I/O: time is an argument.
//!
//! Every torrent is announced again before its last announce is forgotten, spread by chance so that thousands do not come
//! at once; one that is looking for peers comes before its time, though not more often than is decent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ferri_dht::{End, Lookup};
use ferri_metainfo::InfoHash;

/// Nodes keep what they are told for half an hour; one announce may be lost.
const INTERVAL: Duration = Duration::from_secs(14 * 60);
/// Each interval is longer by up to this part of it, by chance.
const SPREAD: f64 = 0.15;
/// A torrent that wants peers is not looked up more often than this.
const WANTED_AGAIN: Duration = Duration::from_secs(60);
/// After a lookup that found no node to ask; twice as long after each further one.
const LONELY_FIRST: Duration = Duration::from_secs(5);
/// No such wait is longer.
const LONELY_MAX: Duration = Duration::from_secs(5 * 60);
/// Regular announces under way at once.
const REGULAR_AT_ONCE: usize = 4;
/// Those of torrents that want peers, beside the regular ones.
const WANTED_AT_ONCE: usize = 16;

/// All torrents that may be announced, and when each comes.
#[derive(Debug, Default)]
pub(crate) struct Announces {
    torrents: BTreeMap<InfoHash, Entry>,
    /// Those without a lookup under way; those that want peers first.
    due: BTreeSet<(Class, Instant, InfoHash)>,
    under_way: BTreeMap<Lookup, (Class, InfoHash)>,
    /// Lookups under way for torrents that are no more.
    cancelled: Vec<Lookup>,
}

/// Who comes first when several are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Wanted,
    Regular,
}

/// What a torrent is looked up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To find peers, without a word about us.
    Find,
    /// To find peers and say that we are one.
    Leech,
    /// To say that we have everything (BEP 33).
    Seed,
}

#[derive(Debug)]
struct Entry {
    class: Class,
    next: Instant,
    looked_at: Option<Instant>,
    /// Lookups in a row that found no node.
    lonely: u32,
    purpose: Purpose,
}

impl Announces {
    /// A torrent that is to be looked up now, and then regularly. What was under way for it is done anew.
    pub(crate) fn add(&mut self, info_hash: InfoHash, purpose: Purpose, now: Instant) {
        self.remove(info_hash);
        // One that has everything is in no hurry.
        let class = if purpose == Purpose::Seed { Class::Regular } else { Class::Wanted };
        let entry = Entry { class, next: now, looked_at: None, lonely: 0, purpose };
        self.torrents.insert(info_hash, entry);
        self.due.insert((class, now, info_hash));
    }

    /// A torrent that is no more, or not to be found any more.
    pub(crate) fn remove(&mut self, info_hash: InfoHash) {
        let Some(entry) = self.torrents.remove(&info_hash) else { return };
        self.due.remove(&(entry.class, entry.next, info_hash));
        let cancelled = self.under_way.extract_if(.., |_, (_, other)| *other == info_hash);
        self.cancelled.extend(cancelled.map(|(lookup, _)| lookup));
    }

    /// The lookups that nobody needs any more.
    pub(crate) fn take_cancelled(&mut self) -> Vec<Lookup> {
        std::mem::take(&mut self.cancelled)
    }

    /// It has everything now, or lacks something again.
    pub(crate) fn set_purpose(&mut self, info_hash: InfoHash, purpose: Purpose) {
        if let Some(entry) = self.torrents.get_mut(&info_hash) {
            entry.purpose = purpose;
        }
    }

    /// It looks for peers: sooner than planned, but not at once if it was looked up just now.
    pub(crate) fn want(&mut self, info_hash: InfoHash, now: Instant) {
        if self.is_under_way(info_hash) {
            return;
        }
        let Some(entry) = self.torrents.get(&info_hash) else { return };
        let at = entry.looked_at.map_or(now, |last| now.max(last + WANTED_AGAIN));
        if at < entry.next {
            self.move_to(info_hash, Class::Wanted, at);
        }
    }

    /// Nodes were found: whoever found none is looked up again.
    pub(crate) fn bootstrapped(&mut self, now: Instant) {
        let lonely = self.torrents.iter().filter(|(_, entry)| 0 < entry.lonely && now < entry.next);
        let lonely: Vec<_> = lonely.map(|(info_hash, entry)| (*info_hash, entry.class)).collect();
        for (info_hash, class) in lonely {
            if !self.is_under_way(info_hash) {
                self.move_to(info_hash, class, now);
            }
        }
    }

    /// When [`Self::start`] has something to do; `None` while as much is under way as may be.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let first = |class| {
            let room = self.under_way(class) < at_once(class);
            self.first(class).filter(|_| room).map(|(at, _)| at)
        };
        [Class::Wanted, Class::Regular].into_iter().filter_map(first).min()
    }

    /// The torrents to look up now; `name` gives their lookups names.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        mut name: impl FnMut() -> Lookup,
    ) -> Vec<(Lookup, InfoHash, Purpose)> {
        let mut started = Vec::new();
        for class in [Class::Wanted, Class::Regular] {
            while self.under_way(class) < at_once(class)
                && let Some((at, info_hash)) = self.first(class).filter(|(at, _)| *at <= now)
                && let Some(entry) = self.torrents.get_mut(&info_hash)
            {
                self.due.remove(&(class, at, info_hash));
                entry.looked_at = Some(now);
                let lookup = name();
                self.under_way.insert(lookup, (class, info_hash));
                started.push((lookup, info_hash, entry.purpose));
            }
        }
        started
    }

    /// Whose lookup that is.
    pub(crate) fn torrent(&self, lookup: Lookup) -> Option<InfoHash> {
        self.under_way.get(&lookup).map(|(_, info_hash)| *info_hash)
    }

    /// It ended. `chance` is between 0 and 1. Whether it was one of ours.
    pub(crate) fn finished(&mut self, lookup: Lookup, end: End, chance: f64, now: Instant) -> bool {
        let Some((_, info_hash)) = self.under_way.remove(&lookup) else { return false };
        let Some(entry) = self.torrents.get_mut(&info_hash) else { return true };
        let class = match end {
            End::NoNodes | End::Refused => {
                entry.lonely = entry.lonely.saturating_add(1);
                entry.class
            }
            End::Converged | End::Cancelled => {
                entry.lonely = 0;
                Class::Regular
            }
        };
        let wait = match entry.lonely {
            0 => INTERVAL.mul_f64(1.0 + SPREAD * chance),
            lonely => LONELY_FIRST.saturating_mul(1 << (lonely - 1).min(10)).min(LONELY_MAX),
        };
        (entry.class, entry.next) = (class, now + wait);
        self.due.insert((class, entry.next, info_hash));
        true
    }

    fn first(&self, class: Class) -> Option<(Instant, InfoHash)> {
        let mut of_class = self.due.iter();
        let first = match class {
            Class::Wanted => of_class.next(),
            Class::Regular => of_class.find(|(other, ..)| *other == class),
        };
        first.filter(|(other, ..)| *other == class).map(|(_, at, info_hash)| (*at, *info_hash))
    }

    fn under_way(&self, class: Class) -> usize {
        self.under_way.values().filter(|(other, _)| *other == class).count()
    }

    fn is_under_way(&self, info_hash: InfoHash) -> bool {
        self.under_way.values().any(|(_, other)| *other == info_hash)
    }

    fn move_to(&mut self, info_hash: InfoHash, class: Class, at: Instant) {
        let Some(entry) = self.torrents.get_mut(&info_hash) else { return };
        self.due.remove(&(entry.class, entry.next, info_hash));
        (entry.class, entry.next) = (class, at);
        self.due.insert((class, at, info_hash));
    }
}

fn at_once(class: Class) -> usize {
    match class {
        Class::Wanted => WANTED_AT_ONCE,
        Class::Regular => REGULAR_AT_ONCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u16) -> InfoHash {
        let mut bytes = [0; 20];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        InfoHash::from(bytes)
    }

    /// Starts what is due, naming lookups upwards from `first`.
    fn start(announces: &mut Announces, now: Instant, first: u64) -> Vec<(Lookup, InfoHash, Purpose)> {
        let mut next = first;
        announces.start(now, || {
            next += 1;
            Lookup(next - 1)
        })
    }

    #[test]
    fn a_torrent_is_announced_at_once_and_then_before_it_is_forgotten() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        assert_eq!(announces.next_due(), Some(now));
        assert_eq!(start(&mut announces, now, 7), [(Lookup(7), hash(1), Purpose::Leech)]);
        assert_eq!((announces.torrent(Lookup(7)), announces.next_due()), (Some(hash(1)), None));
        assert!(announces.finished(Lookup(7), End::Converged, 1.0, now));
        let next = announces.next_due().expect("it comes again");
        assert!(now + INTERVAL < next && next < now + Duration::from_secs(20 * 60));
        assert!(start(&mut announces, next - Duration::from_secs(1), 8).is_empty());
        assert_eq!(start(&mut announces, next, 8).len(), 1);
    }

    #[test]
    fn whoever_wants_peers_comes_before_its_time_but_not_all_the_time() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        start(&mut announces, now, 0);
        announces.want(hash(1), now);
        assert_eq!(announces.next_due(), None, "it is being looked for");
        announces.finished(Lookup(0), End::Converged, 0.0, now);
        announces.want(hash(1), now);
        assert_eq!(announces.next_due(), Some(now + WANTED_AGAIN));
        let later = now + 2 * WANTED_AGAIN;
        announces.want(hash(1), later);
        assert_eq!(announces.next_due(), Some(now + WANTED_AGAIN), "never later than it was");
    }

    #[test]
    fn thousands_of_seeds_do_not_keep_a_download_waiting() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        for n in 0..5000 {
            announces.add(hash(n), Purpose::Seed, now);
        }
        assert_eq!(start(&mut announces, now, 0).len(), REGULAR_AT_ONCE);
        assert!(start(&mut announces, now, 100).is_empty());
        announces.add(hash(6000), Purpose::Leech, now);
        assert_eq!(start(&mut announces, now, 100), [(Lookup(100), hash(6000), Purpose::Leech)]);
        announces.finished(Lookup(0), End::Converged, 0.0, now);
        assert_eq!(start(&mut announces, now, 200).len(), 1, "the next one takes the place");
    }

    #[test]
    fn a_lookup_without_nodes_is_tried_again_soon_and_at_once_when_there_are_some() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        let mut waits = Vec::new();
        for n in 0..9 {
            let at = announces.next_due().expect("it comes again");
            waits.push(at.duration_since(now).as_secs());
            start(&mut announces, at, n);
            announces.finished(Lookup(n), End::NoNodes, 0.5, now);
        }
        assert_eq!(waits, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
        announces.bootstrapped(now);
        assert_eq!(announces.next_due(), Some(now));
    }

    #[test]
    fn one_that_is_gone_never_comes_again() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        announces.add(hash(2), Purpose::Leech, now);
        start(&mut announces, now, 0);
        announces.remove(hash(1));
        assert_eq!((announces.take_cancelled(), announces.take_cancelled()), (vec![Lookup(0)], vec![]));
        assert!(!announces.finished(Lookup(0), End::Cancelled, 0.0, now), "it is nobody's any more");
        announces.finished(Lookup(1), End::Converged, 0.0, now);
        announces.remove(hash(2));
        assert_eq!(announces.next_due(), None);
        assert!(!announces.finished(Lookup(9), End::Converged, 0.0, now), "somebody else's");
        announces.set_purpose(hash(2), Purpose::Seed);
        announces.want(hash(2), now);
        assert_eq!(announces.next_due(), None);
    }

    #[test]
    fn a_search_that_became_a_torrent_is_announced_at_once() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Find, now);
        assert_eq!(start(&mut announces, now, 0), [(Lookup(0), hash(1), Purpose::Find)]);
        announces.add(hash(1), Purpose::Leech, now);
        assert_eq!(announces.take_cancelled(), [Lookup(0)]);
        assert_eq!(start(&mut announces, now, 1), [(Lookup(1), hash(1), Purpose::Leech)]);
    }

    #[test]
    fn what_became_complete_is_announced_as_a_seed() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        announces.set_purpose(hash(1), Purpose::Seed);
        assert_eq!(start(&mut announces, now, 0), [(Lookup(0), hash(1), Purpose::Seed)]);
    }
}
