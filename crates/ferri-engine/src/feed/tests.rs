//! Thousands of torrents that come, change and go, and mirrors of them that ask now and then what changed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ferri_metainfo::InfoHashes;

use super::*;
use crate::events::EventsError;

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn name(n: usize) -> InfoHash {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    bytes.into()
}

fn torrent(feed: &Arc<Feed>, n: usize) -> Snapshots {
    let hashes = InfoHashes::from(name(n));
    let snapshots = Snapshots::new(TorrentStatus::new(n.to_string(), hashes), feed.clone());
    snapshots.enter();
    snapshots
}

/// The session as a caller knows it that is told of changes only.
#[derive(Default)]
struct Mirror {
    revision: u64,
    downloaded: BTreeMap<InfoHash, u64>,
    /// Snapshots that it was given.
    given: usize,
}

impl Mirror {
    fn look(&mut self, feed: &Feed) {
        let changes = feed.changes_since(self.revision);
        if changes.is_everything {
            self.downloaded.clear();
            assert_eq!(changes.removed, []);
        }
        self.given += changes.torrents.len();
        for name in changes.removed {
            self.downloaded.remove(&name);
        }
        for status in changes.torrents {
            self.downloaded.insert(status.info_hashes.wire(), status.downloaded);
            assert!(self.revision < status.revision || changes.is_everything, "it had not changed");
        }
        self.revision = changes.revision;
    }
}

#[test]
fn whoever_asks_however_seldom_knows_ten_thousand_torrents_as_they_are() {
    const TORRENTS: usize = 10_000;
    let feed = Arc::<Feed>::default();
    let mut numbers = Numbers(7);
    let mut torrents: BTreeMap<usize, Snapshots> = (0..TORRENTS).map(|n| (n, torrent(&feed, n))).collect();
    let mut mirrors: Vec<Mirror> = (0..5).map(|_| Mirror::default()).collect();
    for step in 1..60_000_u64 {
        let n = numbers.below(TORRENTS);
        match (numbers.below(10), torrents.get(&n)) {
            (0, Some(_)) => drop(torrents.remove(&n)),
            (_, Some(snapshots)) => snapshots.change(|status| status.downloaded = step),
            (_, None) => drop(torrents.insert(n, torrent(&feed, n))),
        }
        for (at, mirror) in mirrors.iter_mut().enumerate() {
            if step % 10_u64.pow(at as u32 + 1) == 0 {
                mirror.look(&feed);
            }
        }
        if step % 10_000 == 0 {
            let known = feed.lock();
            assert_eq!(known.changed.len(), known.torrents.len(), "the last change of each, and no other");
            assert!(known.removed.len() <= REMOVED_MAX);
        }
    }
    let expected: BTreeMap<_, _> =
        torrents.iter().map(|(n, snapshots)| (name(*n), snapshots.watch().get().downloaded)).collect();
    for mirror in &mut mirrors {
        mirror.look(&feed);
        assert!(mirror.downloaded == expected);
    }
    assert!(mirrors[0].given < TORRENTS + 70_000, "what changed, and not all of it each time");
}

#[test]
fn what_is_too_long_ago_is_everything_and_what_went_is_forgotten_in_order() {
    let feed = Arc::<Feed>::default();
    let stays = torrent(&feed, 0);
    let before = feed.changes_since(0);
    assert!(before.is_everything && before.torrents.len() == 1);
    let removals = |count| (1..=count).for_each(|n| drop(torrent(&feed, n)));
    removals(REMOVED_MAX);
    let changes = feed.changes_since(before.revision);
    assert_eq!(
        (changes.is_everything, changes.torrents.len(), changes.removed.len()),
        (false, 0, REMOVED_MAX)
    );
    removals(1);
    let everything = feed.changes_since(before.revision);
    assert!(everything.is_everything && everything.removed.is_empty());
    assert_eq!(everything.torrents[0].info_hashes, stays.watch().get().info_hashes);
    assert_eq!(feed.changes_since(changes.revision).removed, [name(1)]);
    // Of another session.
    assert!(feed.changes_since(everything.revision + 1).is_everything);
}

#[test]
fn one_that_is_added_again_is_not_removed_by_the_end_of_the_one_before() {
    let feed = Arc::<Feed>::default();
    let refused = Snapshots::new(TorrentStatus::new(String::new(), name(1).into()), feed.clone());
    let first = torrent(&feed, 1);
    drop(refused);
    let second = torrent(&feed, 1);
    first.change(|status| status.downloaded = 1);
    drop(first);
    second.change(|status| status.uploaded = 2);
    let changes = feed.changes_since(0);
    assert_eq!((changes.torrents.len(), changes.torrents[0].uploaded), (1, 2));
    drop(second);
    let changes = feed.changes_since(changes.revision);
    assert_eq!((changes.torrents.len(), changes.removed), (0, vec![name(1)]));
}

#[tokio::test]
async fn who_waits_wakes_for_a_change_and_for_the_end() {
    let feed = Arc::<Feed>::default();
    let snapshots = torrent(&feed, 1);
    let mut events = feed.events.subscribe();
    let revision = feed.changed_after(0).await.unwrap();
    let waiting = feed.clone();
    let waiter = tokio::spawn(async move {
        let changed = waiting.changed_after(revision).await.unwrap();
        (changed, waiting.changed_after(changed).await)
    });
    tokio::task::yield_now().await;
    snapshots.change(|status| status.peers = 1);
    feed.end();
    assert_eq!(waiter.await.unwrap(), (revision + 1, None));
    drop(snapshots);
    assert_eq!(events.recv().await.unwrap_err(), EventsError::Ended);
}
