//! Connections that wait for the next request to the same server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::dial::Place;
use super::link::Link;

/// Connections kept for the next announce of another torrent, for as long as below.
const IDLE_PER_PLACE: usize = 8;
/// Connections kept in all; each is a descriptor.
const IDLE_MAX: usize = 64;
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The connections, and since when each is not used. The oldest of a place comes first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    links: Mutex<BTreeMap<Place, Vec<(Instant, Link)>>>,
    added: Notify,
}

impl Kept {
    /// The connection that was used last, if one leads to an address that `is_allowed`.
    pub(super) fn take(&self, place: &Place, is_allowed: impl Fn(IpAddr) -> bool) -> Option<Link> {
        let mut links = self.lock();
        let of_place = links.get_mut(place)?;
        let fresh = |since: Instant| since.elapsed() < IDLE_TIMEOUT;
        let at = of_place.iter().rposition(|(since, link)| fresh(*since) && is_allowed(link.ip))?;
        let (_, link) = of_place.remove(at);
        if of_place.is_empty() {
            links.remove(place);
        }
        Some(link)
    }

    pub(super) fn keep(&self, place: &Place, link: Link) {
        let mut links = self.lock();
        if IDLE_MAX <= links.values().map(Vec::len).sum() {
            return;
        }
        let of_place = links.entry(place.clone()).or_default();
        if of_place.len() < IDLE_PER_PLACE {
            of_place.push((Instant::now(), link));
            self.added.notify_one();
        }
    }

    /// Closes what was not used for [`IDLE_TIMEOUT`]. Ends when dropped.
    pub(super) async fn close_idle(&self) {
        loop {
            let oldest = self.drop_idle(Instant::now());
            match oldest {
                Some(since) => sleep_until((since + IDLE_TIMEOUT).into()).await,
                None => self.added.notified().await,
            }
        }
    }

    /// Returns since when the one that waits longest does.
    pub(super) fn drop_idle(&self, now: Instant) -> Option<Instant> {
        let mut links = self.lock();
        links.retain(|_, of_place| {
            of_place.retain(|(since, _)| now < *since + IDLE_TIMEOUT);
            !of_place.is_empty()
        });
        links.values().flatten().map(|(since, _)| *since).min()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Vec<(Instant, Link)>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
