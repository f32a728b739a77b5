//! Everything this process does with torrents: the listener, the services that all share, and who hears of what.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ferri_metainfo::InfoHashes;
use ferri_storage::{BlockPool, Data, Pool, PoolOptions, Removed};
use ferri_wire::PeerId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::dht::{self, Dht};
use crate::egress::Egress;
use crate::events::SessionEvents;
use crate::feature::{Feature, NotBuilt};
use crate::feed::Changes;
use crate::hosts::Hosts;
use crate::http::Http;
use crate::lsd::Lsd;
use crate::network::{Network, NetworkStatus};
use crate::options::Stored;
use crate::pace::Turns;
use crate::rate::Limiter;
use crate::services::{Capacity, DiskServices, Identity, Rates, Services, Shutdown, TrackerClients};
use crate::status::State;
use crate::store::{Kept, Listed, Record, Store, StoreError, Writer};
use crate::torrent::{self, Earlier, FilesError, Refused, Torrent};
use crate::trace_file::TraceFile;
use crate::tracker_udp::UdpTrackers;
use crate::udp::{self, Sockets};
use crate::watch::{Ended, Watch};
use crate::{AddTorrent, Error, LimitsError, SessionLimits, SessionOptions, panics, wiring};

/// Block buffers kept while nothing is going on: 1 MiB.
const SPARE_BLOCKS: usize = 64;
/// Shutting down takes at most this long: trackers are told, pieces flushed, journals synced.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Resting torrents whose trackers are told at once.
const STOPPING_MAX: usize = 64;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

mod restore;

/// A running session. Clones are the same session. Dropping the last one without [`Session::shutdown`] ends its tasks at
/// once, as a crash would: nothing verified is lost, but trackers are not told.
///
/// # Runtime
/// It works in the tokio runtime from which it was started, which may be one of many threads or of the current one alone;
/// timers and I/O must be enabled ([`enable_all`](tokio::runtime::Builder::enable_all)). In a runtime of the current thread
/// everything rests while that thread does something else. Disks are waited for in threads of the session's own.
///
/// # Examples
/// A service with a list that outlives it, which follows all torrents at once:
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use ferri_engine::store::FolderStore;
/// use ferri_engine::{Session, SessionLimits, SessionOptions};
///
/// let state_dir = Path::new("/var/lib/ferriswarm");
/// let options = SessionOptions {
///     store: Some(Arc::new(FolderStore::open(state_dir)?)),
///     limits: SessionLimits { up: Some(1 << 20), ..SessionLimits::default() },
///     ..SessionOptions::new(state_dir)
/// };
/// let session = Session::start(options).await?;
/// for (hashes, error) in session.wait_restored().await?.failed {
///     eprintln!("{}: {error}", hashes.wire());
/// }
/// let mut revision = 0;
/// while let Ok(_) = session.changed_after(revision).await {
///     let changes = session.changes_since(revision);
///     for torrent in &changes.torrents {
///         println!("{}: {} of {} bytes", torrent.name, torrent.wanted_done, torrent.wanted);
///     }
///     revision = changes.revision;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Session {
    services: Arc<Services>,
    hosts: Arc<Hosts>,
    restored: Watch<Option<Restored>>,
    /// `None` in what works for the session and does not keep it alive.
    _life: Option<Arc<Life>>,
}

/// What became of the torrents that the store had when the session started.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Restored {
    /// How many are in the session again.
    pub torrents: usize,
    /// Those that could not be added, and why. They stay in the store, and are tried again at the next start.
    pub failed: Vec<(InfoHashes, Arc<Error>)>,
    /// What the store could not read, in words.
    pub damaged: Vec<String>,
}

/// Ends the session when its last handle is dropped.
#[derive(Debug)]
struct Life {
    services: Arc<Services>,
    hosts: Arc<Hosts>,
}

impl Session {
    /// Opens the listening socket and starts the disk threads.
    ///
    /// The first session of a process also puts itself before the process's panic hook, to know where a task of its own
    /// panicked; the hook that was there goes on as before.
    ///
    /// # Errors
    /// [`Error::NoRuntime`]; [`Error::NotBuilt`]; [`Error::Limits`]; [`Error::Store`]; [`Error::Listen`] when the address is not
    /// to be had; [`Error::Io`] when the state folder cannot be made.
    pub async fn start(options: SessionOptions) -> Result<Self, Error> {
        verify(&options)?;
        let io_error = |path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Io { path, source }
        };
        panics::note_places();
        ferri_storage::create_state_folder(&options.state_dir).map_err(io_error(&options.state_dir))?;
        let egress = Arc::new(Egress::new(options.bind));
        let listener = egress.listen(options.listen_port).await?;
        let listen_addr = listener.local_addr().map_err(io_error(&options.state_dir))?;
        let sockets = open_sockets(&options, &egress, listen_addr.port())?;
        let pool = PoolOptions {
            checks_at_once: options.limits.checks_at_once,
            ..PoolOptions::new(options.disk_threads)
        };
        let pool = Pool::with(&pool).map_err(io_error(&options.state_dir))?;
        let (store, listed) = open_store(options.store.clone()).await?;
        let (batches, datagrams) = mpsc::channel(udp::BATCHES_MAX);
        let ways = dht::Ways { egress: egress.clone(), sockets: sockets.clone(), datagrams };
        // Last of what can fail, so that a session that cannot start leaves no empty trace.
        let trace = match &options.trace {
            Some(path) => Some(Arc::new(TraceFile::create(path).map_err(io_error(path))?)),
            None => None,
        };
        let node = dht::open(&options, ways, trace.clone()).await;
        let services = Arc::new(Services {
            identity: Identity::new(listen_addr, PeerId::new("FS", version(), rand::random())),
            disk: DiskServices::new(pool, BlockPool::new(SPARE_BLOCKS), store, &options.state_dir),
            limits: Rates {
                down: Arc::new(Limiter::new(options.limits.down)),
                up: Arc::new(Limiter::new(options.limits.up)),
            },
            capacity: Capacity::new(&options),
            trackers: TrackerClients {
                http: Arc::new(Http::new(egress.clone())),
                udp: Arc::new(UdpTrackers::new(egress.clone(), sockets.clone())),
                turns: Arc::new(Turns::new(trace.as_ref())),
            },
            keeper: Arc::default(),
            network: Arc::new(Network::new(&options, listen_addr.port())),
            feed: Arc::default(),
            lsd: Arc::new(Lsd::new(wiring::why_off(options.lsd, Feature::Lsd, listen_addr).is_none())),
            dht: node.as_ref().map(dht::Driver::handle),
            egress,
            trace,
            tasks: TaskTracker::new(),
            shutdown: Shutdown::default(),
            options,
        });
        let hosts = Arc::new(Hosts::default());
        let batches = node.is_some().then_some(batches);
        let read = move || sockets.clone().read(batches.clone());
        let read = panics::kept("reading datagrams", services.shutdown.cancel.clone(), read);
        services.tasks.spawn(services.shutdown.cancel.clone().run_until_cancelled_owned(read));
        wiring::start(&services, &hosts, listener, node);
        let (done, restored) = watch::channel(None);
        let worker = Self { services, hosts, restored: Watch::new(restored), _life: None };
        let life = Life { services: worker.services.clone(), hosts: worker.hosts.clone() };
        let session = Self { _life: Some(Arc::new(life)), ..worker.clone() };
        session.services.spawn_until_stop(restore::all(worker, listed, done));
        Ok(session)
    }

    /// A session of these services: without a listener, a store or anything that looks for peers.
    #[cfg(test)]
    pub(crate) fn in_memory(services: Arc<Services>) -> (Self, Arc<Hosts>) {
        panics::note_places();
        let hosts = Arc::new(Hosts::default());
        wiring::start_keeper(&services, &hosts);
        let (_, restored) = watch::channel(Some(Restored::default()));
        (Self { services, hosts: hosts.clone(), restored: Watch::new(restored), _life: None }, hosts)
    }

    /// Where peers can reach this session.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.services.identity.listen_addr
    }

    /// How the session stands with the network around it: its address outside, the gateway, the local network.
    #[must_use]
    pub fn network(&self) -> NetworkStatus {
        self.services.network.status()
    }

    /// The same to be waited for.
    #[must_use]
    pub fn watch_network(&self) -> Watch<NetworkStatus> {
        Watch::new(self.services.network.watch())
    }

    /// The session's DHT node; `None` when it is off.
    #[must_use]
    pub fn dht(&self) -> Option<&Dht> {
        self.services.dht.as_ref()
    }

    /// Adds a torrent and starts it: what is on disk is checked first, in the background. Of a magnet link the info
    /// dictionary is looked for before that ([`State::Resolving`](crate::State::Resolving)); an error about its files is a
    /// state of the torrent then, or the answer of [`Torrent::choose`].
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`], [`Error::Name`], [`Error::Storage`], [`Error::Unsupported`], [`Error::Store`],
    /// [`Error::Closed`]; nothing was started then.
    pub async fn add(&self, add: AddTorrent) -> Result<Torrent, Error> {
        let store = self.services.disk.store.as_ref();
        // What is not in files is not there at the next start.
        let lasts = !matches!(add.stored, Some(Stored::In(_)));
        let record = store.filter(|_| lasts).map(|_| Arc::new(Record::new(&add, SystemTime::now())));
        let torrent =
            torrent::add(&self.services, &self.hosts, add, Earlier { record, totals: None }).await?;
        self.keep(torrent).await
    }

    /// Waits until the torrents that the store had are in the session again; they come up one after the other from
    /// [`Self::start`] on, and each is among [`Self::torrents`] once it is there.
    ///
    /// # Errors
    /// [`Ended`] when the session is over first.
    pub async fn wait_restored(&self) -> Result<Restored, Ended> {
        let restored = self.restored.clone().wait_for(Option::is_some).await?;
        restored.ok_or(Ended)
    }

    /// Adds a torrent as it was kept: by the store of another session, or by another program.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub async fn restore(&self, kept: Kept) -> Result<Torrent, Error> {
        let torrent = self.take_back(kept).await?;
        self.keep(torrent).await
    }

    /// The same for what the session's own store has.
    pub(crate) async fn take_back(&self, kept: Kept) -> Result<Torrent, Error> {
        let Kept { record, totals } = kept;
        let add = record.to_add();
        let record = self.services.disk.store.is_some().then(|| Arc::new(record));
        torrent::add(&self.services, &self.hosts, add, Earlier { record, totals }).await
    }

    /// A torrent that the store does not take is not in the session.
    async fn keep(&self, torrent: Torrent) -> Result<Torrent, Error> {
        let Err(error) = torrent.keep_now(|_| {}).await else { return Ok(torrent) };
        // It does not come back if part of it was kept; one that ended by itself is as good.
        let _ = torrent.forget().await;
        let _ = torrent.stop().await;
        Err(error.into())
    }

    /// The torrents that run, in the order of their info hashes.
    #[must_use]
    pub fn torrents(&self) -> Vec<Torrent> {
        self.hosts.torrents()
    }

    /// As [`Self::remove`], and removes what the state folder knows of the torrent, and its data if that is wanted. Of the
    /// data only files go that the torrent made or took over, as they were left; what the user put there or changed stays, and
    /// so does what another torrent has. Then the folders go that are empty. The answer says which files stay, and why. A
    /// torrent that is still being resolved has no files: it stops.
    ///
    /// # Errors
    /// [`Refused::Stopped`] when it has ended already: add it again, or remove its files
    /// yourself. [`FilesError::Store`] when the store cannot forget it: then it goes on. [`FilesError::Storage`] when the
    /// files cannot be looked at; it has stopped then, and may be added and deleted again.
    pub async fn delete(&self, torrent: &Torrent, data: Data) -> Result<Removed, FilesError> {
        torrent.forget().await?;
        match torrent.remove(data).await {
            Err(FilesError::Refused(Refused::Unresolved)) => {
                torrent.stop().await?;
                Ok(Removed::default())
            }
            other => other,
        }
    }

    /// The torrent with this info hash: of version 1, of version 2, whole or cut to 20 bytes, or with one of several.
    #[must_use]
    pub fn torrent(&self, hashes: impl Into<InfoHashes>) -> Option<Torrent> {
        self.hosts.torrent(&hashes.into())
    }

    /// Takes a torrent out of the session for good: the store keeps it no longer, and it is stopped as by
    /// [`Torrent::stop`]. Its files stay, and so does what the state folder knows of them.
    ///
    /// # Errors
    /// [`Error::NoSuchTorrent`]; [`Error::Store`] when the store cannot forget it: then it goes on.
    pub async fn remove(&self, hashes: impl Into<InfoHashes>) -> Result<(), Error> {
        let torrent = self.torrent(hashes).ok_or(Error::NoSuchTorrent)?;
        torrent.forget().await?;
        // One that ended by itself meanwhile is gone too.
        let _ = torrent.stop().await;
        Ok(())
    }

    /// What happens to all torrents, from here on. A listener that lags misses events and is told so; it holds up no torrent.
    #[must_use]
    pub fn events(&self) -> SessionEvents {
        self.services.feed.events.subscribe()
    }

    /// The torrents that changed after a revision of this session, those that are gone, and the revision to ask for next. All
    /// of it costs as much as changed, however many torrents there are. 0 asks for everything.
    #[must_use]
    pub fn changes_since(&self, revision: u64) -> Changes {
        self.services.feed.changes_since(revision)
    }

    /// Waits until something changed after a revision of this session, and returns the newest one. Torrents at work change up
    /// to four times a second each; a caller that wants less waits before it asks again. May be dropped while it waits.
    ///
    /// # Errors
    /// [`Ended`] when the session is over.
    pub async fn changed_after(&self, revision: u64) -> Result<u64, Ended> {
        self.services.feed.changed_after(revision).await.ok_or(Ended)
    }

    /// What all torrents may use together at this moment.
    #[must_use]
    pub fn limits(&self) -> SessionLimits {
        self.services.limits()
    }

    /// Changes that: rates at once, the rest within two seconds, as each torrent looks at what it may use. Connections and
    /// memory above a new limit are given up then; of checks under way none is broken off.
    ///
    /// # Errors
    /// When nothing would work with them; what was set before stands.
    pub fn set_limits(&self, limits: SessionLimits) -> Result<(), LimitsError> {
        self.services.set_limits(limits)
    }

    /// Stops everything: no new peers, trackers told within five seconds, pieces flushed and journals synced within
    /// ten, then whatever is left is cut off.
    pub async fn shutdown(&self) {
        let services = &self.services;
        self.hosts.close();
        services.shutdown.stop_accepting.cancel();
        let (resting, awake): (Vec<_>, Vec<_>) = self.torrents().into_iter().partition(Torrent::is_resting);
        for torrent in &awake {
            torrent.begin_stop().await;
        }
        // Those that rest have written everything: what is left to do is to tell the trackers, a few at a time.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, stop_all(resting)).await;
        services.shutdown.farewells.close();
        let drain = async {
            for torrent in &awake {
                torrent.wait_stopped().await;
            }
            services.shutdown.farewells.wait().await;
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, drain).await.is_err() {
            for torrent in awake.iter().filter(|torrent| torrent.status().state != State::Stopped) {
                tracing::error!(
                    info_hash = %torrent.id(),
                    "a torrent did not stop in time; what it wrote last is checked at the next start"
                );
            }
        }
        services.shutdown.cancel.cancel();
        self.hosts.abandon_resting();
        services.tasks.close();
        services.tasks.wait().await;
        let ours = services.clone();
        // Joining threads blocks; the runtime has other work to finish meanwhile.
        let join = move || {
            ours.disk.pool.shutdown();
            if let Some(store) = &ours.disk.store {
                store.end();
                store.join();
            }
        };
        let _ = tokio::task::spawn_blocking(join).await;
        services.feed.end();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.hosts.close();
        self.services.shutdown.stop_accepting.cancel();
        self.services.shutdown.cancel.cancel();
        self.hosts.abandon_resting();
        self.services.feed.end();
    }
}

/// What the store has, and the way to it.
async fn open_store(store: Option<Arc<dyn Store>>) -> Result<(Option<Writer>, Listed), Error> {
    let Some(store) = store else { return Ok((None, Listed::default())) };
    let asked = store.clone();
    let listed = tokio::task::spawn_blocking(move || asked.list()).await.map_err(Error::of_thread)??;
    let writer = Writer::start(store).map_err(StoreError::new)?;
    Ok((Some(writer), listed))
}

/// Stops torrents, a few at a time.
async fn stop_all(torrents: Vec<Torrent>) {
    let mut stopping = JoinSet::new();
    for torrent in torrents {
        if STOPPING_MAX <= stopping.len() {
            stopping.join_next().await;
        }
        // One that ended by itself is as good.
        stopping.spawn(async move { torrent.stop().await });
    }
    while stopping.join_next().await.is_some() {}
}

/// The sockets for datagrams, on the port of the listener unless another one is wished for.
/// Whether a session can be started here, and so.
fn verify(options: &SessionOptions) -> Result<(), Error> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(Error::NoRuntime);
    }
    options.limits.verify()?;
    if options.dht && !Feature::Dht.is_built() {
        return Err(NotBuilt(Feature::Dht).into());
    }
    Ok(())
}

fn open_sockets(options: &SessionOptions, egress: &Egress, listen_port: u16) -> Result<Sockets, Error> {
    match options.dht_port {
        Some(port) => Sockets::bind(egress, port),
        // Another program may have that port for UDP; any other one does as well.
        None => Sockets::bind(egress, listen_port).or_else(|_| Sockets::bind(egress, 0)),
    }
}

/// The version as a peer id shows it: `0.1.0` is `0100`.
fn version() -> [u8; 4] {
    let place = |part: &str| part.parse().unwrap_or(0);
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    [place(major), place(minor), place(env!("CARGO_PKG_VERSION_PATCH")), 0]
}
