//! What all workers share: the registry, who may use it, which proxies are believed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use ferri_tracker::server::http::{self, Request, Status};
use ferri_tracker::server::{Access, Registry, udp};

use crate::proxy::Proxies;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) registry: Registry,
    pub(crate) proxies: Proxies,
    access: RwLock<Arc<Access>>,
    /// Grows with each change of `access`.
    generation: AtomicU64,
    pub(crate) tally: Tally,
}

/// What the sockets see, for people who look after a tracker.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers over UDP that the network did not take.
    pub(crate) unsent: AtomicU64,
    /// Connections over HTTP that are open.
    pub(crate) connections: AtomicU64,
    /// Connections that were closed to make room for others.
    pub(crate) closed_for_room: AtomicU64,
}

/// A worker's view of who may use the tracker. It is looked after once a batch, and costs nothing while nothing changes.
#[derive(Debug)]
pub(crate) struct View {
    generation: u64,
    access: Arc<Access>,
}

impl Service {
    pub(crate) fn new(registry: Registry, access: Access, proxies: Proxies) -> Self {
        Self {
            registry,
            proxies,
            access: RwLock::new(Arc::new(access)),
            generation: AtomicU64::new(0),
            tally: Tally::default(),
        }
    }

    pub(crate) fn access(&self) -> Arc<Access> {
        self.access.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn view(&self) -> View {
        View { generation: self.generation.load(Ordering::Acquire), access: self.access() }
    }

    pub(crate) fn refresh(&self, view: &mut View) {
        if view.generation != self.generation.load(Ordering::Acquire) {
            *view = self.view();
        }
    }

    /// Puts the answer to a datagram at the front of `out`, and says how long it is. `None`: there is none.
    pub(crate) fn datagram(
        &self,
        view: &View,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
        out: &mut [u8],
    ) -> Option<usize> {
        udp::answer(&self.registry, &view.access, datagram, from, now, out)
    }

    /// Appends the body of the answer to a request.
    pub(crate) fn request(
        &self,
        view: &View,
        request: &Request<'_>,
        now: Instant,
        body: &mut Vec<u8>,
    ) -> Status {
        http::answer(&self.registry, &view.access, request, now, body)
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        let census = self.registry.census();
        (census.swarms, census.peers)
    }
}

/// Adds to a number that nothing else depends on.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
