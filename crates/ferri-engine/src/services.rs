//! What every task of a session may use: disk threads, limits, clients of trackers, ways to be found. Nothing here knows
//! a torrent; who is to hear of something is told by a callback (`session.rs`).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ferri_metainfo::{InfoHash, InfoHashes};
use ferri_storage::{BlockPool, LockOwner, Pool};
use ferri_swarm::PeerKey;
use ferri_wire::{Handshake, PeerId, Reserved};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::crowd::Crowds;
use crate::dht::Dht;
use crate::egress::Egress;
use crate::exchange_turns::ExchangeTurns;
use crate::feed::Feed;
use crate::greetings::Greetings;
use crate::http::Http;
use crate::keeper::Keeper;
use crate::lsd::Lsd;
use crate::network::Network;
use crate::pace::Turns;
use crate::panics;
use crate::rate::Limiter;
use crate::share::Shares;
use crate::status::StopReason;
use crate::store::Writer;
use crate::trace_file::TraceFile;
use crate::tracker_udp::UdpTrackers;
use crate::{LimitsError, SessionLimits, SessionOptions};

/// What every task of a session may use.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) options: SessionOptions,
    pub(crate) identity: Identity,
    pub(crate) disk: DiskServices,
    pub(crate) egress: Arc<Egress>,
    pub(crate) limits: Rates,
    pub(crate) capacity: Capacity,
    pub(crate) trackers: TrackerClients,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) network: Arc<Network>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) lsd: Arc<Lsd>,
    pub(crate) dht: Option<Dht>,
    pub(crate) trace: Option<Arc<TraceFile>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: Shutdown,
}

/// Who we are to peers.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) listen_addr: SocketAddr,
    pub(crate) peer_id: PeerId,
    next_peer: AtomicU64,
    /// A test wants the same chance again.
    #[cfg(test)]
    seeds: Option<AtomicU64>,
    /// What the log lines of the session's tasks are known by.
    span: Span,
}

/// Threads that wait for disks, memory for blocks, and what keeps the list of torrents.
#[derive(Debug)]
pub(crate) struct DiskServices {
    pub(crate) pool: Pool,
    pub(crate) blocks: BlockPool,
    pub(crate) store: Option<Writer>,
    /// Torrents are locked in the state folder on its behalf.
    pub(crate) lock_owner: LockOwner,
    pub(crate) state_dir: Arc<Path>,
}

impl DiskServices {
    pub(crate) fn new(pool: Pool, blocks: BlockPool, store: Option<Writer>, state_dir: &Path) -> Self {
        Self { pool, blocks, store, lock_owner: LockOwner::new(), state_dir: state_dir.into() }
    }
}

/// Rates of all torrents together.
#[derive(Debug)]
pub(crate) struct Rates {
    pub(crate) down: Arc<Limiter>,
    pub(crate) up: Arc<Limiter>,
}

/// Connections, dials and memory of all torrents together, and what was learned of them.
#[derive(Debug)]
pub(crate) struct Capacity {
    /// What was set last, rates and checks included.
    pub(crate) limits: Mutex<SessionLimits>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) crowds: Arc<Crowds>,
    /// How peers are greeted, and which of them want it otherwise.
    pub(crate) greetings: Arc<Greetings>,
    /// What strangers may have us compute.
    pub(crate) exchanges: ExchangeTurns,
}

impl Capacity {
    pub(crate) fn new(options: &SessionOptions) -> Self {
        Self {
            limits: options.limits.clone().into(),
            shares: Arc::new(Shares::new(&options.limits)),
            crowds: Arc::new(Crowds::new(options.limits.peers_max)),
            greetings: Arc::new(Greetings::new(options.encryption)),
            exchanges: ExchangeTurns::new(),
        }
    }
}

/// How trackers are asked, and whose turn it is.
#[derive(Debug)]
pub(crate) struct TrackerClients {
    pub(crate) http: Arc<Http>,
    pub(crate) udp: Arc<UdpTrackers>,
    pub(crate) turns: Arc<Turns>,
}

/// The phases of the end, each a token that stays cancelled.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    /// No new connections in either direction.
    pub(crate) stop_accepting: CancellationToken,
    /// Tasks that tell trackers that we went; waited for in between.
    pub(crate) farewells: TaskTracker,
    /// Everything that is left, at once.
    pub(crate) cancel: CancellationToken,
}

impl Identity {
    pub(crate) fn new(listen_addr: SocketAddr, peer_id: PeerId) -> Self {
        let span = tracing::error_span!("session", listen = %listen_addr);
        Self {
            listen_addr,
            peer_id,
            next_peer: AtomicU64::new(1),
            #[cfg(test)]
            seeds: None,
            span,
        }
    }

    /// The same with chance that comes from a seed.
    #[cfg(test)]
    pub(crate) fn seeded(listen_addr: SocketAddr, peer_id: PeerId, seed: u64) -> Self {
        Self { seeds: Some(AtomicU64::new(seed)), ..Self::new(listen_addr, peer_id) }
    }

    /// The seed of a machine.
    pub(crate) fn seed(&self) -> u64 {
        #[cfg(test)]
        if let Some(seeds) = &self.seeds {
            return seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        }
        rand::random()
    }

    /// A name for a connection.
    pub(crate) fn next_peer(&self) -> PeerKey {
        PeerKey(self.next_peer.fetch_add(1, Ordering::Relaxed))
    }
}

impl Services {
    /// What the log lines of a torrent's tasks are known by, whatever their level.
    pub(crate) fn torrent_span(&self, info_hash: InfoHash) -> Span {
        tracing::error_span!(parent: &self.identity.span, "torrent", %info_hash)
    }

    /// What is allowed at this moment.
    pub(crate) fn limits(&self) -> SessionLimits {
        self.capacity.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Allows more or less from here on.
    pub(crate) fn set_limits(&self, limits: SessionLimits) -> Result<(), LimitsError> {
        limits.verify()?;
        // Held meanwhile: what is read back is what is in force.
        let mut current = self.capacity.limits.lock().unwrap_or_else(PoisonError::into_inner);
        self.limits.down.set_rate(limits.down);
        self.limits.up.set_rate(limits.up);
        self.capacity.shares.set(&limits);
        self.capacity.crowds.set_max(limits.peers_max);
        self.disk.pool.set_checks_at_once(limits.checks_at_once);
        *current = limits;
        Ok(())
    }

    /// What we say to the peers of a torrent.
    pub(crate) fn handshake(&self, info_hash: InfoHash) -> Handshake {
        let handshake = self.private_handshake(info_hash);
        match &self.dht {
            Some(_) => Handshake { reserved: handshake.reserved.with_dht(), ..handshake },
            None => handshake,
        }
    }

    /// The same for a private torrent, of which the DHT does not hear (BEP 27).
    pub(crate) fn private_handshake(&self, info_hash: InfoHash) -> Handshake {
        let reserved = Reserved::default().with_fast().with_extensions();
        Handshake { reserved, info_hash, peer_id: self.identity.peer_id }
    }

    /// A torrent is not to be found without its trackers any more.
    pub(crate) fn hide(&self, hashes: &InfoHashes) {
        self.lsd.forget(hashes);
        if let Some(dht) = &self.dht {
            hashes.names().for_each(|name| dht.remove(name));
        }
    }

    /// Why a torrent stops that is not deleted.
    pub(crate) fn why_stopped(&self) -> StopReason {
        match self.shutdown.stop_accepting.is_cancelled() {
            true => StopReason::SessionEnded,
            false => StopReason::Asked,
        }
    }

    /// Runs a part of the session until no new peers are accepted; again when it panicked.
    pub(crate) fn keep<F>(&self, part: &'static str, begin: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_until_stop(panics::kept(part, self.shutdown.stop_accepting.clone(), begin));
    }

    /// Runs a task until no new peers are accepted.
    pub(crate) fn spawn_until_stop(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.shutdown.stop_accepting.clone().run_until_cancelled_owned(task));
    }
}
