//! One alarm clock for all resting torrents.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ferri_metainfo::InfoHash;
use tokio::sync::Notify;

use crate::clock;

/// When resting torrents want to be woken. Each has one alarm at most.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    alarms: Mutex<BTreeSet<(Instant, InfoHash)>>,
    /// The first alarm is another one.
    changed: Notify,
}

impl Keeper {
    /// A torrent goes to rest until `at`.
    pub(crate) fn set(&self, at: Instant, torrent: InfoHash) {
        let mut alarms = self.lock();
        alarms.insert((at, torrent));
        if alarms.first() == Some(&(at, torrent)) {
            self.changed.notify_one();
        }
    }

    /// It woke for another reason.
    pub(crate) fn clear(&self, at: Instant, torrent: InfoHash) {
        self.lock().remove(&(at, torrent));
    }

    fn take_due(&self, now: Instant) -> Vec<InfoHash> {
        let mut alarms = self.lock();
        let mut due = Vec::new();
        while let Some((_, torrent)) = alarms.first().filter(|(at, _)| *at <= now) {
            due.push(*torrent);
            alarms.pop_first();
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        self.lock().first().map(|(at, _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Instant, InfoHash)>> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has torrents woken until it is dropped.
pub(crate) async fn run(keeper: Arc<Keeper>, wake: impl Fn(InfoHash)) {
    loop {
        keeper.take_due(clock::now()).into_iter().for_each(&wake);
        let next = keeper.next();
        tokio::select! {
            biased;
            () = keeper.changed.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn alarms_ring_in_order_once_and_not_when_cleared() {
        let (keeper, now) = (Keeper::default(), Instant::now());
        let hash = |n: u8| InfoHash::from([n; 20]);
        let at = |seconds| now + Duration::from_secs(seconds);
        for n in [3, 1, 2] {
            keeper.set(at(u64::from(n)), hash(n));
        }
        keeper.clear(at(2), hash(2));
        assert_eq!(keeper.take_due(now), []);
        assert_eq!(keeper.next(), Some(at(1)));
        assert_eq!(keeper.take_due(at(9)), [hash(1), hash(3)]);
        assert_eq!(keeper.next(), None);
    }
}
