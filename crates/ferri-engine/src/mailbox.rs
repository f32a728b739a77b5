//! What a torrent or a search is told by tasks that cannot wait for it. It is gathered until the torrent looks: nothing
//! is lost to a busy task, and nothing grows without end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferri_swarm::Source;
use tokio::sync::Notify;

/// Addresses that wait: as many as a swarm remembers in all, so that what does not fit here would not fit there.
const PEERS_MAX: usize = 3_000;
/// Trackers that wait: more than a torrent asks.
const TRACKERS_MAX: usize = 200;

/// A place for news that one task takes from.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    changed: Notify,
}

/// What came since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mail {
    /// Where peers may be, by who says so. None of the sets is empty.
    pub(crate) peers: BTreeMap<Source, BTreeSet<SocketAddr>>,
    /// Trackers that may know the torrent.
    pub(crate) trackers: BTreeSet<String>,
    /// The session's own address or port is another one.
    pub(crate) has_moved: bool,
    /// A reader of a file has something to say.
    pub(crate) has_readers: bool,
}

impl Mailbox {
    /// Peers may be at these addresses.
    pub(crate) fn found(&self, source: Source, addrs: Vec<SocketAddr>) {
        let mut mail = self.lock();
        let room = PEERS_MAX.saturating_sub(mail.peers.values().map(BTreeSet::len).sum());
        if room == 0 || addrs.is_empty() {
            return;
        }
        mail.peers.entry(source).or_default().extend(addrs.into_iter().take(room));
        drop(mail);
        self.changed.notify_one();
    }

    /// These trackers may know the torrent.
    pub(crate) fn trackers(&self, urls: Vec<String>) {
        let mut mail = self.lock();
        let room = TRACKERS_MAX.saturating_sub(mail.trackers.len());
        mail.trackers.extend(urls.into_iter().take(room));
        drop(mail);
        self.changed.notify_one();
    }

    /// The session's own address or port is another one.
    pub(crate) fn moved(&self) {
        self.lock().has_moved = true;
        self.changed.notify_one();
    }

    /// A reader of a file has something to say.
    pub(crate) fn read(&self) {
        self.lock().has_readers = true;
        self.changed.notify_one();
    }

    /// Waits until there may be something. May be dropped while it waits.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn take(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self.lock() == Mail::default()
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], port))
    }

    #[tokio::test]
    async fn however_much_is_told_before_somebody_looks_nothing_is_lost_and_nothing_comes_twice() {
        let mailbox = Mailbox::default();
        for port in 1..=1_000 {
            mailbox.found(Source::Dht, vec![addr(port)]);
            mailbox.found(Source::Lsd, vec![addr(port % 7)]);
            mailbox.moved();
        }
        mailbox.changed().await;
        let mail = mailbox.take();
        assert_eq!((mail.peers[&Source::Dht].len(), mail.peers[&Source::Lsd].len()), (1_000, 7));
        assert!(mail.has_moved && mailbox.is_empty());
    }

    #[test]
    fn a_flood_fills_no_memory() {
        let mailbox = Mailbox::default();
        (1..=u16::MAX).for_each(|port| mailbox.found(Source::Dht, vec![addr(port)]));
        assert_eq!(mailbox.take().peers[&Source::Dht].len(), PEERS_MAX);
    }
}
