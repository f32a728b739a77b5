//! Which torrent is announced in the DHT next. No I/O: time is an argument.
//!
//! Every torrent is announced again before its last announce is forgotten, spread by chance so that thousands do not
//! come at once; one that is looking for peers comes before its time, though not more often than is decent. A lookup
//! that found no peer, or told hardly any node about us, is repeated within seconds, a few times: in a small network
//! others are just coming in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ferri_dht::{End, Lookup, Outcome};
use ferri_metainfo::InfoHash;

/// Nodes keep what they are told for half an hour; one announce may be lost.
const INTERVAL: Duration = Duration::from_secs(14 * 60);
/// Each interval is longer by up to this part of it, by chance.
const SPREAD: f64 = 0.15;
/// A torrent that wants peers is not looked up more often than this.
const WANTED_AGAIN: Duration = Duration::from_secs(60);
/// After a lookup that came to nothing; twice as long after each further one.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
/// No such wait is longer.
const AGAIN_MAX: Duration = Duration::from_secs(5 * 60);
/// So often a lookup that found nodes, but little else, is repeated early: for five minutes in all. Most torrents
/// without a peer found have none.
const MEAGER_MAX: u32 = 6;
/// Fewer nodes that were told about us are few: half of the eight that are looked for.
const FEW_STORED: u32 = 4;
/// So many peers may be we ourselves.
const PEERS_MIN: u32 = 2;
/// Regular announces under way at once.
const REGULAR_AT_ONCE: usize = 4;
/// Those of torrents that want peers, beside the regular ones.
const WANTED_AT_ONCE: usize = 16;

/// All torrents that may be announced, and when each comes.
#[derive(Debug, Default)]
pub(crate) struct Announces {
    torrents: BTreeMap<InfoHash, Entry>,
    wanted: Queue,
    regular: Queue,
    under_way: BTreeMap<Lookup, UnderWay>,
    /// Lookups under way for torrents that are no more.
    cancelled: Vec<Lookup>,
}

/// The torrents of one class.
#[derive(Debug, Default)]
struct Queue {
    /// Those without a lookup under way, and when they are due.
    due: BTreeSet<(Instant, InfoHash)>,
    /// How many have one.
    under_way: usize,
}

/// A lookup that was begun.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    class: Class,
    info_hash: InfoHash,
    /// What it was begun for; the torrent may have another purpose by the time it ends.
    purpose: Purpose,
}

/// What came of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// No node answered.
    Nobody,
    /// Nodes answered, but who looks for peers found none, or hardly any node took our announce.
    Meager,
    /// What it was for.
    Enough,
}

impl Verdict {
    fn of(outcome: &Outcome, purpose: Purpose) -> Option<Self> {
        let finds_peers = purpose == Purpose::Seed || PEERS_MIN <= outcome.peers;
        let is_told = purpose == Purpose::Find || FEW_STORED <= outcome.stored;
        match outcome.end {
            End::NoNodes | End::Refused => Some(Self::Nobody),
            End::Converged if finds_peers && is_told => Some(Self::Enough),
            End::Converged => Some(Self::Meager),
            End::Cancelled => None,
        }
    }
}

/// Who comes first when several are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Lookups in a row that came to nothing.
    vain: u32,
    purpose: Purpose,
    is_under_way: bool,
}

impl Announces {
    /// A torrent that is to be looked up now, and then regularly. What was under way for it is done anew.
    pub(crate) fn add(&mut self, info_hash: InfoHash, purpose: Purpose, now: Instant) {
        self.remove(info_hash);
        // One that has everything is in no hurry.
        let class = if purpose == Purpose::Seed { Class::Regular } else { Class::Wanted };
        let entry = Entry { class, next: now, looked_at: None, vain: 0, purpose, is_under_way: false };
        self.torrents.insert(info_hash, entry);
        self.queue(class).due.insert((now, info_hash));
    }

    /// A torrent that is no more, or not to be found any more.
    pub(crate) fn remove(&mut self, info_hash: InfoHash) {
        let Some(entry) = self.torrents.remove(&info_hash) else { return };
        if !entry.is_under_way {
            self.queue(entry.class).due.remove(&(entry.next, info_hash));
            return;
        }
        self.queue(entry.class).under_way -= 1;
        let cancelled = self.under_way.extract_if(.., |_, begun| begun.info_hash == info_hash);
        self.cancelled.extend(cancelled.map(|(lookup, _)| lookup));
    }

    /// The lookups that are not needed any more.
    pub(crate) fn take_cancelled(&mut self) -> Vec<Lookup> {
        std::mem::take(&mut self.cancelled)
    }

    /// The node forgot all lookups: what was under way is done anew, soon.
    pub(crate) fn lookups_lost(&mut self, now: Instant) {
        self.cancelled.clear();
        for UnderWay { class, info_hash, .. } in std::mem::take(&mut self.under_way).into_values() {
            self.queue(class).under_way -= 1;
            let Some(entry) = self.torrents.get_mut(&info_hash) else { continue };
            (entry.class, entry.next, entry.is_under_way) = (class, now + AGAIN_FIRST, false);
            self.queue(class).due.insert((now + AGAIN_FIRST, info_hash));
        }
    }

    /// It has everything now, or lacks something again.
    pub(crate) fn set_purpose(&mut self, info_hash: InfoHash, purpose: Purpose) {
        if let Some(entry) = self.torrents.get_mut(&info_hash) {
            entry.purpose = purpose;
        }
    }

    /// It looks for peers: sooner than planned, but not at once if it was looked up just now.
    pub(crate) fn want(&mut self, info_hash: InfoHash, now: Instant) {
        let Some(entry) = self.torrents.get(&info_hash).filter(|entry| !entry.is_under_way) else { return };
        let at = entry.looked_at.map_or(now, |last| now.max(last + WANTED_AGAIN));
        if at < entry.next {
            self.move_to(info_hash, Class::Wanted, at);
        }
    }

    /// Nodes were found: whatever came to nothing is looked up again.
    pub(crate) fn bootstrapped(&mut self, now: Instant) {
        let is_vain = |entry: &Entry| 0 < entry.vain && now < entry.next && !entry.is_under_way;
        let vain = self.torrents.iter().filter(|(_, entry)| is_vain(entry));
        for (info_hash, class) in vain.map(|(info_hash, entry)| (*info_hash, entry.class)).collect::<Vec<_>>()
        {
            self.move_to(info_hash, class, now);
        }
    }

    /// When [`Self::start`] has something to do; `None` while as much is under way as may be.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let first = |queue: &Queue, class| {
            queue.due.first().filter(|_| queue.under_way < at_once(class)).map(|(at, _)| *at)
        };
        [first(&self.wanted, Class::Wanted), first(&self.regular, Class::Regular)].into_iter().flatten().min()
    }

    /// The torrents to look up now; `name` gives their lookups names. Without a port, 0, there is nothing to tell the
    /// nodes.
    pub(crate) fn start(
        &mut self,
        port: u16,
        now: Instant,
        mut name: impl FnMut() -> Lookup,
    ) -> Vec<(Lookup, InfoHash, Purpose)> {
        let mut started = Vec::new();
        for class in [Class::Wanted, Class::Regular] {
            while let Some(info_hash) = self.queue(class).take(at_once(class), now)
                && let Some(entry) = self.torrents.get_mut(&info_hash)
            {
                (entry.looked_at, entry.is_under_way) = (Some(now), true);
                let lookup = name();
                let purpose = if port == 0 { Purpose::Find } else { entry.purpose };
                self.under_way.insert(lookup, UnderWay { class, info_hash, purpose });
                started.push((lookup, info_hash, purpose));
            }
        }
        started
    }

    /// Whose lookup that is.
    pub(crate) fn torrent(&self, lookup: Lookup) -> Option<InfoHash> {
        self.under_way.get(&lookup).map(|begun| begun.info_hash)
    }

    /// It ended. `chance` is between 0 and 1. Whether it was one of ours.
    pub(crate) fn finished(&mut self, lookup: Lookup, outcome: &Outcome, chance: f64, now: Instant) -> bool {
        let Some(UnderWay { class: before, info_hash, purpose }) = self.under_way.remove(&lookup) else {
            return false;
        };
        self.queue(before).under_way -= 1;
        let Some(entry) = self.torrents.get_mut(&info_hash) else { return true };
        let verdict = Verdict::of(outcome, purpose);
        match verdict {
            Some(Verdict::Nobody | Verdict::Meager) => entry.vain = entry.vain.saturating_add(1),
            Some(Verdict::Enough) | None => entry.vain = 0,
        }
        let again = AGAIN_FIRST.saturating_mul(1 << entry.vain.saturating_sub(1).min(10)).min(AGAIN_MAX);
        let is_soon = match verdict {
            Some(Verdict::Nobody) => true,
            Some(Verdict::Meager) => entry.vain <= MEAGER_MAX,
            Some(Verdict::Enough) | None => false,
        };
        let (class, wait) = if is_soon {
            (entry.class, again)
        } else {
            (Class::Regular, INTERVAL.mul_f64(1.0 + SPREAD * chance))
        };
        let next = now + wait;
        (entry.class, entry.next, entry.is_under_way) = (class, next, false);
        self.queue(class).due.insert((next, info_hash));
        true
    }

    fn queue(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Wanted => &mut self.wanted,
            Class::Regular => &mut self.regular,
        }
    }

    fn move_to(&mut self, info_hash: InfoHash, class: Class, at: Instant) {
        let Some(entry) = self.torrents.get_mut(&info_hash) else { return };
        let (class_before, next_before) = (entry.class, entry.next);
        (entry.class, entry.next) = (class, at);
        self.queue(class_before).due.remove(&(next_before, info_hash));
        self.queue(class).due.insert((at, info_hash));
    }
}

impl Queue {
    /// The next one that is due, unless enough are under way; it counts as under way from here on.
    fn take(&mut self, at_once: usize, now: Instant) -> Option<InfoHash> {
        if at_once <= self.under_way {
            return None;
        }
        let due = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.remove(&due);
        self.under_way += 1;
        Some(due.1)
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

    /// What came of a lookup.
    fn outcome(end: End, peers: u32, stored: u32) -> Outcome {
        Outcome { end, peers, stored, ..Outcome::default() }
    }

    /// It went well.
    fn well() -> Outcome {
        outcome(End::Converged, 50, 8)
    }

    /// Starts what is due, naming lookups upwards from `first`.
    fn start(announces: &mut Announces, now: Instant, first: u64) -> Vec<(Lookup, InfoHash, Purpose)> {
        let mut next = first;
        announces.start(6881, now, || {
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
        assert!(announces.finished(Lookup(7), &well(), 1.0, now));
        let next = announces.next_due().expect("it comes again");
        assert!(now + INTERVAL < next && next < now + Duration::from_secs(20 * 60));
        assert!(start(&mut announces, next - Duration::from_secs(1), 8).is_empty());
        assert_eq!(start(&mut announces, next, 8).len(), 1);
    }

    #[test]
    fn lookups_that_the_node_lost_are_done_anew() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        announces.add(hash(2), Purpose::Seed, now);
        assert_eq!(start(&mut announces, now, 7).len(), 2);
        announces.remove(hash(2));
        announces.lookups_lost(now);
        assert_eq!(announces.next_due(), Some(now + AGAIN_FIRST));
        let again = start(&mut announces, now + AGAIN_FIRST, 9);
        assert_eq!(again, [(Lookup(9), hash(1), Purpose::Leech)]);
        assert!(announces.take_cancelled().is_empty());
        assert!(announces.finished(Lookup(9), &well(), 1.0, now + AGAIN_FIRST));
    }

    #[test]
    fn whoever_wants_peers_comes_before_its_time_but_not_all_the_time() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        start(&mut announces, now, 0);
        announces.want(hash(1), now);
        assert_eq!(announces.next_due(), None, "it is being looked for");
        announces.finished(Lookup(0), &well(), 0.0, now);
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
        announces.finished(Lookup(0), &well(), 0.0, now);
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
            announces.finished(Lookup(n), &outcome(End::NoNodes, 0, 0), 0.5, now);
        }
        assert_eq!(waits, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
        announces.bootstrapped(now);
        assert_eq!(announces.next_due(), Some(now));
    }

    /// The pauses between lookups that all end like this, in seconds.
    fn pauses(purpose: Purpose, outcome: &Outcome) -> Vec<u64> {
        let (mut announces, mut now) = (Announces::default(), Instant::now());
        announces.add(hash(1), purpose, now);
        let mut pauses = Vec::new();
        for n in 0..9 {
            let at = announces.next_due().expect("it comes again");
            pauses.push(at.duration_since(now).as_secs());
            now = at;
            start(&mut announces, now, n);
            announces.finished(Lookup(n), outcome, 0.0, now);
        }
        pauses
    }

    #[test]
    fn a_lookup_that_found_nothing_is_repeated_within_seconds_a_few_times() {
        let vain = [0, 5, 10, 20, 40, 80, 160, 840, 840];
        let (nobody, alone) = (outcome(End::Converged, 0, 8), outcome(End::Converged, 1, 8));
        let (others, few_told) = (outcome(End::Converged, 2, 8), outcome(End::Converged, 9, 1));
        assert_eq!(pauses(Purpose::Find, &nobody), vain);
        assert_eq!(pauses(Purpose::Leech, &nobody), vain);
        // The one peer that was found may be we ourselves.
        assert_eq!(pauses(Purpose::Leech, &alone), vain);
        assert_eq!(pauses(Purpose::Leech, &few_told), vain);
        assert_eq!(pauses(Purpose::Seed, &outcome(End::Converged, 0, 0)), vain);
        let well = [0, 840, 840, 840, 840, 840, 840, 840, 840];
        assert_eq!(pauses(Purpose::Leech, &others), well);
        assert_eq!(pauses(Purpose::Find, &few_told), well);
        assert_eq!(pauses(Purpose::Seed, &nobody), well);
    }

    #[test]
    fn who_told_hardly_anybody_says_it_again_when_more_nodes_are_there() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Seed, now);
        start(&mut announces, now, 0);
        announces.finished(Lookup(0), &outcome(End::Converged, 0, 1), 0.0, now);
        announces.bootstrapped(now);
        assert_eq!(start(&mut announces, now, 1), [(Lookup(1), hash(1), Purpose::Seed)]);
        announces.finished(Lookup(1), &well(), 0.0, now);
        announces.bootstrapped(now);
        assert!(start(&mut announces, now, 2).is_empty());
    }

    #[test]
    fn who_listens_nowhere_only_looks() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        assert_eq!(announces.start(0, now, || Lookup(0)), [(Lookup(0), hash(1), Purpose::Find)]);
        announces.finished(Lookup(0), &outcome(End::Converged, 9, 0), 0.0, now);
        assert_eq!(announces.next_due(), Some(now + INTERVAL));
    }

    #[test]
    fn one_that_is_gone_never_comes_again() {
        let (mut announces, now) = (Announces::default(), Instant::now());
        announces.add(hash(1), Purpose::Leech, now);
        announces.add(hash(2), Purpose::Leech, now);
        start(&mut announces, now, 0);
        announces.remove(hash(1));
        assert_eq!((announces.take_cancelled(), announces.take_cancelled()), (vec![Lookup(0)], vec![]));
        assert!(
            !announces.finished(Lookup(0), &outcome(End::Cancelled, 0, 0), 0.0, now),
            "it is nobody's any more"
        );
        announces.finished(Lookup(1), &well(), 0.0, now);
        announces.remove(hash(2));
        assert_eq!(announces.next_due(), None);
        assert!(!announces.finished(Lookup(9), &well(), 0.0, now), "somebody else's");
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
