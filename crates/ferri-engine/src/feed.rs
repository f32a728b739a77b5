//! What changes in a session, for those who follow thousands of torrents: each change has a number, the revision, and who
//! knows the session as of one revision asks for what changed since.
//!
//! Of each torrent only its last change is known, so that memory depends on how many torrents there are and not on what
//! they do. Those that are gone are remembered for a while; who asks for more than that gets everything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferri_metainfo::InfoHash;
use tokio::sync::watch;

use crate::events::{SessionEvent, SessionLog};
use crate::status::TorrentStatus;
use crate::watch::Watch;

/// Torrents that are gone and still remembered: about 1 MiB of them.
const REMOVED_MAX: usize = 20_000;

/// What changed in a session since some revision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Changes {
    /// What to ask for next. Revisions of another session mean nothing in this one.
    pub revision: u64,
    /// Every torrent of the session is in [`Self::torrents`]; others that the caller knows of are gone. It is so when 0 was
    /// asked for, or a revision that is too long ago or not of this session.
    pub is_everything: bool,
    /// The torrents that changed or are new, each as it is now, in the order in which they changed last.
    pub torrents: Vec<TorrentStatus>,
    /// Those that are gone, by their [`TorrentStatus::id`]; none when this is everything. One that was added again is not
    /// among them.
    pub removed: Vec<InfoHash>,
}

/// What a session tells those who follow it.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    known: Mutex<Known>,
    pub(crate) events: Arc<SessionLog>,
    newest: watch::Sender<Newest>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    revision: u64,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Known {
    /// Of the last change.
    revision: u64,
    torrents: BTreeMap<InfoHash, Followed>,
    /// The last change of each torrent.
    changed: BTreeMap<u64, InfoHash>,
    /// Those that are gone, in the order in which they went.
    removed: VecDeque<(u64, InfoHash)>,
    /// Who went at this revision or before it may be forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Followed {
    /// Which of those that had this name one after the other.
    since: u64,
    /// Its last change.
    revision: u64,
    status: watch::Receiver<TorrentStatus>,
}

/// Where a torrent's snapshots go. Clones are the same; with the last one it is gone.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots(Arc<Place>);

#[derive(Debug)]
struct Place {
    info_hash: InfoHash,
    status: watch::Sender<TorrentStatus>,
    feed: Arc<Feed>,
    /// 0: not in the feed yet.
    since: AtomicU64,
}

impl Feed {
    /// What changed after `revision`.
    pub(crate) fn changes_since(&self, revision: u64) -> Changes {
        let known = self.lock();
        let is_everything = revision == 0 || revision < known.forgotten || known.revision < revision;
        let after = if is_everything { 0 } else { revision };
        let status = |info_hash| known.torrents.get(info_hash).map(|followed| followed.status.clone());
        let changed: Vec<_> = known.changed.range(after + 1..).filter_map(|(_, name)| status(name)).collect();
        let begin = match is_everything {
            true => known.removed.len(),
            false => known.removed.partition_point(|(at, _)| *at <= after),
        };
        let gone = known.removed.range(begin..).map(|(_, name)| *name);
        let removed = gone.filter(|name| !known.torrents.contains_key(name)).collect();
        let revision = known.revision;
        drop(known);
        let torrents = changed.iter().map(|status| status.borrow().clone()).collect();
        Changes { revision, is_everything, torrents, removed }
    }

    /// Waits until something changed after `revision`; `None`: nothing will, for the session is over.
    pub(crate) async fn changed_after(&self, revision: u64) -> Option<u64> {
        let mut newest = self.newest.subscribe();
        let found = newest.wait_for(|newest| revision != newest.revision || newest.is_over).await;
        let newest = *found.ok()?;
        (newest.revision != revision).then_some(newest.revision)
    }

    /// Nothing will change any more.
    pub(crate) fn end(&self) {
        self.newest.send_modify(|newest| newest.is_over = true);
        self.events.end();
    }

    fn tell(&self, revision: u64) {
        // Two that changed at the same time may come in the other order.
        self.newest.send_if_modified(|newest| {
            let is_news = newest.revision < revision;
            newest.revision = newest.revision.max(revision);
            is_news
        });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The torrent that has this name since `since` changes. The revision, if it still has the name.
    fn change(&mut self, info_hash: InfoHash, since: u64) -> Option<u64> {
        let revision = self.revision + 1;
        let followed = self.torrents.get_mut(&info_hash).filter(|followed| followed.since == since)?;
        let before = std::mem::replace(&mut followed.revision, revision);
        self.changed.remove(&before);
        self.changed.insert(revision, info_hash);
        self.revision = revision;
        Some(revision)
    }

    /// Another torrent has the name from here on.
    fn add(&mut self, info_hash: InfoHash, status: watch::Receiver<TorrentStatus>) -> u64 {
        self.revision += 1;
        let revision = self.revision;
        let added = Followed { since: revision, revision, status };
        if let Some(before) = self.torrents.insert(info_hash, added) {
            self.changed.remove(&before.revision);
        }
        self.changed.insert(revision, info_hash);
        revision
    }

    /// The torrent that has this name since `since` is gone. Whether it was there.
    fn remove(&mut self, info_hash: InfoHash, since: u64) -> bool {
        if self.torrents.get(&info_hash).is_none_or(|followed| followed.since != since) {
            return false;
        }
        if let Some(followed) = self.torrents.remove(&info_hash) {
            self.changed.remove(&followed.revision);
        }
        self.revision += 1;
        self.removed.push_back((self.revision, info_hash));
        if REMOVED_MAX < self.removed.len()
            && let Some((at, _)) = self.removed.pop_front()
        {
            self.forgotten = at;
        }
        true
    }
}

impl Snapshots {
    /// Of a torrent that is not in the session yet.
    pub(crate) fn new(status: TorrentStatus, feed: Arc<Feed>) -> Self {
        let info_hash = status.info_hashes.wire();
        let (status, _) = watch::channel(status);
        Self(Arc::new(Place { info_hash, status, feed, since: AtomicU64::new(0) }))
    }

    /// The torrent is in the session from here on.
    pub(crate) fn enter(&self) {
        let place = &*self.0;
        let mut known = place.feed.lock();
        let since = known.add(place.info_hash, place.status.subscribe());
        place.status.send_modify(|status| status.revision = since);
        place.since.store(since, Ordering::Relaxed);
        drop(known);
        place.feed.tell(since);
        place.feed.events.send(|| SessionEvent::Added { info_hash: place.info_hash });
    }

    /// The next snapshot.
    pub(crate) fn publish(&self, status: TorrentStatus) {
        self.change(|before| *before = TorrentStatus { id: before.id, ..status });
    }

    /// Changes the snapshot.
    pub(crate) fn change(&self, change: impl FnOnce(&mut TorrentStatus)) {
        let place = &*self.0;
        let mut known = place.feed.lock();
        let revision = known.change(place.info_hash, place.since.load(Ordering::Relaxed));
        // Under the lock: who hears of the revision finds the snapshot.
        place.status.send_modify(|status| {
            let before = status.revision;
            change(status);
            status.revision = revision.unwrap_or(before);
        });
        drop(known);
        if let Some(revision) = revision {
            place.feed.tell(revision);
        }
    }

    /// For those who want to see.
    pub(crate) fn watch(&self) -> Watch<TorrentStatus> {
        Watch::new(self.0.status.subscribe())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.feed.lock();
        if known.remove(self.info_hash, self.since.load(Ordering::Relaxed)) {
            let revision = known.revision;
            drop(known);
            self.feed.tell(revision);
            self.feed.events.send(|| SessionEvent::Removed { info_hash: self.info_hash });
        }
    }
}

#[cfg(test)]
mod tests;
