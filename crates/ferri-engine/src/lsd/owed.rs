//! What could not be said on a link, and when it is tried again. No I/O.
//!
//! An address that is not usable yet, a link that is just coming up or a full queue lose an announce, and the next regular
//! one is minutes away. So each family of each link is told again within seconds what it missed, until one datagram with
//! it has left there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_wire::lsd::INFO_HASHES_MAX;

/// The pause after an announce that was not sent; it doubles each time. An IPv6 address is usable after one or two seconds.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause. A link where nothing can ever be sent costs two attempts a minute.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Between two datagrams of what is owed.
const PACKET_INTERVAL: Duration = Duration::from_secs(1);
/// Torrents owed to one family of one link; further ones wait for their regular announce, which with so many is not far.
const OWED_MAX: usize = 1_024;

/// A family on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    /// The interface's index.
    pub(super) link: u32,
    /// Where the group stands among all.
    pub(super) group: usize,
}

/// What is owed to all lanes.
#[derive(Debug, Default)]
pub(super) struct Owed {
    debts: BTreeMap<Lane, Debt>,
}

#[derive(Debug)]
struct Debt {
    /// Never empty.
    info_hashes: BTreeSet<InfoHash>,
    due: Instant,
    /// Attempts in a row that failed.
    failures: u32,
}

impl Owed {
    /// A lane that is new has missed everything: it is told at once.
    pub(super) fn missed(
        &mut self,
        lane: Lane,
        info_hashes: impl IntoIterator<Item = InfoHash>,
        now: Instant,
    ) {
        self.add(lane, info_hashes, now);
    }

    /// An announce of these could not be sent.
    pub(super) fn failed(&mut self, lane: Lane, info_hashes: &[InfoHash], now: Instant) {
        self.add(lane, info_hashes.iter().copied(), now);
        if let Some(debt) = self.debts.get_mut(&lane) {
            debt.due = now + RETRY_MIN.saturating_mul(1 << debt.failures.min(16)).min(RETRY_MAX);
            debt.failures += 1;
        }
    }

    /// An announce of these was sent.
    pub(super) fn sent(&mut self, lane: Lane, info_hashes: &[InfoHash], now: Instant) {
        let Some(debt) = self.debts.get_mut(&lane) else { return };
        for info_hash in info_hashes {
            debt.info_hashes.remove(info_hash);
        }
        // What goes once goes again.
        (debt.due, debt.failures) = (now + PACKET_INTERVAL, 0);
        if debt.info_hashes.is_empty() {
            self.debts.remove(&lane);
        }
    }

    /// Forgets lanes that are no more.
    pub(super) fn keep(&mut self, is_there: impl Fn(Lane) -> bool) {
        self.debts.retain(|lane, _| is_there(*lane));
    }

    /// When [`Self::due`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.debts.values().map(|debt| debt.due).min()
    }

    /// What the next datagrams are to say, one for each lane that is due, and as much as fits. [`Self::sent`] or
    /// [`Self::failed`] is to follow for each.
    pub(super) fn due(&self, now: Instant) -> Vec<(Lane, Vec<InfoHash>)> {
        let due = self.debts.iter().filter(|(_, debt)| debt.due <= now);
        let batch = |debt: &Debt| debt.info_hashes.iter().take(INFO_HASHES_MAX).copied().collect();
        due.map(|(lane, debt)| (*lane, batch(debt))).collect()
    }

    fn add(&mut self, lane: Lane, info_hashes: impl IntoIterator<Item = InfoHash>, now: Instant) {
        let mut info_hashes = info_hashes.into_iter().peekable();
        if info_hashes.peek().is_none() {
            return;
        }
        let empty = || Debt { info_hashes: BTreeSet::new(), due: now, failures: 0 };
        let debt = self.debts.entry(lane).or_insert_with(empty);
        let room = OWED_MAX.saturating_sub(debt.info_hashes.len());
        debt.info_hashes.extend(info_hashes.take(room));
        if debt.info_hashes.is_empty() {
            self.debts.remove(&lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane { link: 2, group: 1 };
    const OTHER: Lane = Lane { link: 2, group: 0 };

    fn hash(n: u16) -> InfoHash {
        let mut bytes = [0; 20];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        bytes.into()
    }

    #[test]
    fn what_was_not_sent_is_tried_again_within_seconds_until_it_is() {
        let start = Instant::now();
        let (mut owed, mut now, mut pauses) = (Owed::default(), start, Vec::new());
        owed.failed(LANE, &[hash(1)], now);
        for _ in 0..7 {
            let at = owed.poll_timeout().expect("it is owed");
            pauses.push((at - now).as_secs());
            now = at;
            assert_eq!(owed.due(now), [(LANE, vec![hash(1)])]);
            owed.failed(LANE, &[hash(1)], now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        owed.sent(LANE, &[hash(1)], now);
        assert_eq!((owed.poll_timeout(), owed.due(now)), (None, vec![]));
    }

    #[test]
    fn a_lane_is_told_what_it_missed_and_others_are_left_alone() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.failed(LANE, &[hash(1), hash(2)], now);
        owed.sent(OTHER, &[hash(1), hash(2)], now);
        // A regular announce of one of them got through meanwhile.
        owed.sent(LANE, &[hash(1)], now);
        let at = now + PACKET_INTERVAL;
        assert_eq!(owed.due(at), [(LANE, vec![hash(2)])]);
        owed.keep(|lane| lane != LANE);
        assert_eq!(owed.poll_timeout(), None);
    }

    #[test]
    fn a_new_lane_hears_everything_a_datagram_a_second() {
        let start = Instant::now();
        let (mut owed, mut now, mut told) = (Owed::default(), start, BTreeSet::new());
        owed.missed(LANE, (0..100).map(hash), now);
        assert_eq!(owed.poll_timeout(), Some(start));
        while let Some(at) = owed.poll_timeout() {
            now = at;
            for (lane, batch) in owed.due(now) {
                assert!(batch.len() <= INFO_HASHES_MAX);
                told.extend(batch.iter().copied());
                owed.sent(lane, &batch, now);
            }
        }
        assert_eq!((told.len(), now - start), (100, 4 * PACKET_INTERVAL));
        owed.missed(LANE, [], now);
        assert_eq!(owed.poll_timeout(), None);
    }

    #[test]
    fn a_link_that_never_works_takes_bounded_memory() {
        let now = Instant::now();
        let mut owed = Owed::default();
        for n in 0..10_000 {
            owed.failed(LANE, &[hash(n)], now);
        }
        assert!(owed.debts.values().all(|debt| debt.info_hashes.len() <= OWED_MAX));
        assert!(owed.poll_timeout().is_some_and(|at| at <= now + RETRY_MAX));
    }
}
