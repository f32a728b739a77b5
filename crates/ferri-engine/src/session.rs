//! Everything this process does with torrents: the listener, the registry, and the limits they share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferri_metainfo::{InfoHash, InfoHashes};
use ferri_storage::{BlockPool, Pool};
use ferri_swarm::{PeerKey, Source};
use ferri_wire::{Handshake, PeerId, Reserved};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crowd::Crowds;
use crate::dht::{self, Dht};
use crate::external::Voter;
use crate::http::Http;
use crate::keeper::Keeper;
use crate::lsd::Lsd;
use crate::network::{LsdStatus, Network, NetworkStatus};
use crate::pace::Pace;
use crate::port_mapping::{self, PortMappingStatus, Transport};
use crate::rate::Limiter;
use crate::share::Shares;
use crate::torrent::{self, Torrent};
use crate::trace_file::TraceFile;
use crate::tracker_udp::UdpTrackers;
use crate::udp::Sockets;
use crate::{
    AddTorrent, Error, ResolveMagnet, Resolved, Resolving, SessionOptions, keeper, listen, lsd, network,
    resolve,
};

/// Ports tried first when the caller has no wish: those that people opened for BitTorrent long ago.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;
/// The listener's backlog.
const BACKLOG: i32 = 1024;
/// Block buffers kept while nothing is going on: 1 MiB.
const SPARE_BLOCKS: usize = 64;
/// Shutting down takes at most this long: trackers are told, pieces flushed, journals synced.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Resting torrents whose trackers are told at once.
const STOPPING_MAX: usize = 64;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// A running session. Dropping it without [`Session::shutdown`] ends its tasks at once, as a crash would: nothing
/// verified is lost, but trackers are not told.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
}

/// What every task of a session may use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: SessionOptions,
    pub(crate) listen_addr: SocketAddr,
    pub(crate) peer_id: PeerId,
    pub(crate) pool: Pool,
    pub(crate) blocks: BlockPool,
    pub(crate) down: Arc<Limiter>,
    pub(crate) up: Arc<Limiter>,
    pub(crate) http: Arc<Http>,
    pub(crate) udp_trackers: Arc<UdpTrackers>,
    pub(crate) trace: Option<Arc<TraceFile>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: Shutdown,
    pub(crate) shares: Arc<Shares>,
    pub(crate) crowds: Arc<Crowds>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) keeper: Keeper,
    pub(crate) network: Network,
    pub(crate) lsd: Lsd,
    pub(crate) dht: Option<Dht>,
    torrents: Mutex<BTreeMap<InfoHash, Torrent>>,
    /// Torrents of which only the hash is known. Locked after `torrents`, where both are.
    searches: Mutex<BTreeMap<InfoHash, resolve::Door>>,
    /// The other names of hybrid torrents and of searches for them: what each is known by in the two maps above. Locked
    /// after those, where they are.
    names: Mutex<BTreeMap<InfoHash, InfoHash>>,
    /// Searches that are under way or tell their trackers that they are over.
    pub(crate) searching: TaskTracker,
    next_peer: AtomicU64,
}

/// The phases of the end, each a token that stays cancelled.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    /// No new connections in either direction.
    pub(crate) stop_accepting: CancellationToken,
    /// Everything that is left, at once.
    pub(crate) cancel: CancellationToken,
}

impl Session {
    /// Opens the listening socket and starts the disk threads.
    ///
    /// # Errors
    /// [`Error::Listen`] when the address is not to be had; [`Error::Io`] when the state folder cannot be made.
    pub async fn start(options: SessionOptions) -> Result<Self, Error> {
        let io_error = |path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Io { path, source }
        };
        ferri_storage::create_state_folder(&options.state_dir).map_err(io_error(&options.state_dir))?;
        let listener = bind(&options)?;
        let listen_addr = listener.local_addr().map_err(io_error(&options.state_dir))?;
        let from = options.bind.filter(|ip| !ip.is_unspecified());
        let (http, udp_trackers) = (Arc::new(Http::new(from)), Arc::new(UdpTrackers::new(from)));
        let pool = Pool::new(options.disk_threads).map_err(io_error(&options.state_dir))?;
        let node = open_node(&options, listen_addr.port()).await?;
        // Last of what can fail, so that a session that cannot start leaves no empty trace.
        let trace = match &options.trace {
            Some(path) => Some(Arc::new(TraceFile::create(path).map_err(io_error(path))?)),
            None => None,
        };
        let is_lsd_on = network_off(options.lsd, listen_addr).is_none();
        let shared = Arc::new(Shared {
            listen_addr,
            peer_id: PeerId::new("FS", version(), rand::random()),
            pool,
            blocks: BlockPool::new(SPARE_BLOCKS),
            down: Arc::new(Limiter::new(options.down_limit)),
            up: Arc::new(Limiter::new(options.up_limit)),
            http,
            udp_trackers,
            trace,
            tasks: TaskTracker::new(),
            shutdown: Shutdown::default(),
            shares: Arc::new(Shares::new(&options)),
            crowds: Arc::new(Crowds::new(options.peers_max)),
            pace: Arc::default(),
            keeper: Keeper::default(),
            network: Network::new(&options, listen_addr.port()),
            lsd: Lsd::new(is_lsd_on),
            dht: node.as_ref().map(dht::Driver::handle),
            torrents: Mutex::new(BTreeMap::new()),
            searches: Mutex::new(BTreeMap::new()),
            names: Mutex::new(BTreeMap::new()),
            searching: TaskTracker::new(),
            next_peer: AtomicU64::new(1),
            options,
        });
        let accept = listen::run(listener, shared.clone());
        shared.tasks.spawn(shared.shutdown.stop_accepting.clone().run_until_cancelled_owned(accept));
        let keep = keeper::run(shared.clone());
        shared.tasks.spawn(shared.shutdown.stop_accepting.clone().run_until_cancelled_owned(keep));
        let (http, udp) = (shared.http.clone(), shared.udp_trackers.clone());
        let close_idle = async move { tokio::join!(http.close_idle(), udp.close_idle()) };
        shared.tasks.spawn(shared.shutdown.stop_accepting.clone().run_until_cancelled_owned(close_idle));
        start_network(&shared);
        if let Some(node) = node {
            start_node(&shared, node);
        }
        Ok(Self { shared })
    }

    /// Where peers can reach this session.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.shared.listen_addr
    }

    /// How the session stands with the network around it: its address outside, the gateway, the local network.
    #[must_use]
    pub fn network(&self) -> NetworkStatus {
        self.shared.network.status()
    }

    /// A stream of the same: `changed().await` waits for news.
    #[must_use]
    pub fn watch_network(&self) -> watch::Receiver<NetworkStatus> {
        self.shared.network.watch()
    }

    /// The session's DHT node; `None` when it is off.
    #[must_use]
    pub fn dht(&self) -> Option<&Dht> {
        self.shared.dht.as_ref()
    }

    /// Adds a torrent and starts it: what is on disk is checked first, in the background.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`], [`Error::Name`], [`Error::Storage`], [`Error::Unsupported`]; nothing was started then.
    pub async fn add(&self, add: AddTorrent) -> Result<Torrent, Error> {
        if self.shared.shutdown.stop_accepting.is_cancelled() {
            return Err(Error::Closed);
        }
        torrent::add(&self.shared, add, None).await
    }

    /// Begins to look for the torrent of a magnet link, or has it at once when an earlier run has left it in the state
    /// folder.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when the torrent runs or is looked for already, [`Error::Closed`].
    pub async fn resolve(&self, magnet: ResolveMagnet) -> Result<Resolving, Error> {
        self.shared.refuse_known(magnet.magnet.info_hashes.wire())?;
        resolve::resolve(&self.shared, magnet).await
    }

    /// As [`Self::add`] for a torrent that was looked for: its connections, the addresses it learnt and its talk with
    /// trackers go on. Those of `add` come to them.
    ///
    /// # Errors
    /// Those of [`Self::add`]; what was found is dropped then.
    pub async fn add_resolved(&self, add: AddTorrent, resolved: Resolved) -> Result<Torrent, Error> {
        if self.shared.shutdown.stop_accepting.is_cancelled() {
            return Err(Error::Closed);
        }
        torrent::add(&self.shared, add, Some(resolved)).await
    }

    /// The torrents that run, in the order of their info hashes.
    #[must_use]
    pub fn torrents(&self) -> Vec<Torrent> {
        self.shared.torrents().values().cloned().collect()
    }

    /// Changes the limits of all torrents together, bytes per second, at once.
    pub fn set_limits(&self, down: Option<u64>, up: Option<u64>) {
        self.shared.down.set_rate(down);
        self.shared.up.set_rate(up);
    }

    /// Stops everything: no new peers, trackers told within five seconds, pieces flushed and journals synced within
    /// ten, then whatever is left is cut off.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.shutdown.stop_accepting.cancel();
        let (resting, awake): (Vec<_>, Vec<_>) = self.torrents().into_iter().partition(Torrent::is_resting);
        for torrent in &awake {
            torrent.begin_stop().await;
        }
        // Those that rest have written everything: what is left to do is to tell the trackers, a few at a time.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, stop_all(resting)).await;
        shared.searching.close();
        let drain = async {
            shared.searching.wait().await;
            for torrent in &awake {
                torrent.wait_stopped().await;
            }
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, drain).await.is_err() {
            tracing::error!(
                "some torrents did not stop in time; what they wrote last is checked at the next start"
            );
        }
        shared.shutdown.cancel.cancel();
        self.abandon_resting();
        shared.tasks.close();
        shared.tasks.wait().await;
        let pool = shared.pool.clone();
        // Joining threads blocks; the runtime has other work to finish meanwhile.
        let _ = tokio::task::spawn_blocking(move || pool.shutdown()).await;
    }

    /// Ends those that no task will end.
    fn abandon_resting(&self) {
        for torrent in self.torrents() {
            if torrent.abandon_resting()
                && let Some(info_hash) = torrent.info_hashes().v1
            {
                self.shared.torrents().remove(&info_hash);
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.shutdown.stop_accepting.cancel();
        self.shared.shutdown.cancel.cancel();
        self.abandon_resting();
    }
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

impl Shared {
    pub(crate) fn torrents(&self) -> MutexGuard<'_, BTreeMap<InfoHash, Torrent>> {
        self.torrents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Peers of a torrent were found by something that looks for all torrents.
    pub(crate) fn found(&self, info_hash: InfoHash, source: Source, peers: Vec<SocketAddr>) {
        if let Some(torrent) = self.torrent(info_hash) {
            return torrent.bring_peers(source, peers);
        }
        if let Some(search) = self.search(info_hash) {
            search.found(source, peers);
        }
    }

    /// The torrent that goes by this name on the wire, or by this one too.
    pub(crate) fn torrent(&self, info_hash: InfoHash) -> Option<Torrent> {
        let name = self.name_of(info_hash);
        self.torrents().get(&name).cloned()
    }

    /// The search that goes by this name on the wire, or by this one too.
    pub(crate) fn search(&self, info_hash: InfoHash) -> Option<resolve::Door> {
        let name = self.name_of(info_hash);
        self.searches().get(&name).cloned()
    }

    /// What a torrent or search is registered as.
    pub(crate) fn name_of(&self, info_hash: InfoHash) -> InfoHash {
        self.names().get(&info_hash).copied().unwrap_or(info_hash)
    }

    /// Makes the other name of a hybrid known, under the lock of the map that it is about.
    pub(crate) fn name(&self, hashes: &InfoHashes) {
        if let Some(other) = hashes.other() {
            self.names().insert(other, hashes.wire());
        }
    }

    /// A torrent or a search has left its map: its other name goes, unless it is in the other map.
    pub(crate) fn forget_name(&self, hashes: &InfoHashes) {
        let Some(other) = hashes.other() else { return };
        let (torrents, searches) = (self.torrents(), self.searches());
        if !torrents.contains_key(&hashes.wire()) && !searches.contains_key(&hashes.wire()) {
            self.names().remove(&other);
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<InfoHash, InfoHash>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A torrent is not to be found without its trackers any more.
    pub(crate) fn hide(&self, hashes: &InfoHashes) {
        for name in hashes.names() {
            self.lsd.forget(name);
            if let Some(dht) = &self.dht {
                dht.remove(name);
            }
        }
    }

    pub(crate) fn searches(&self) -> MutexGuard<'_, BTreeMap<InfoHash, resolve::Door>> {
        self.searches.lock().unwrap_or_else(PoisonError::into_inner)
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
        Handshake { reserved, info_hash, peer_id: self.peer_id }
    }

    pub(crate) fn next_peer(&self) -> PeerKey {
        PeerKey(self.next_peer.fetch_add(1, Ordering::Relaxed))
    }
}

/// Starts what has to do with the networks around, as far as it is wanted. On loopback there is nobody to be found.
fn start_network(shared: &Arc<Shared>) {
    let (options, addr) = (&shared.options, shared.listen_addr);
    let until_stop = || shared.shutdown.stop_accepting.clone();
    shared.tasks.spawn(until_stop().run_until_cancelled_owned(network::tell(shared.clone())));
    if !addr.ip().is_loopback() {
        shared.tasks.spawn(until_stop().run_until_cancelled_owned(network::look(shared.clone())));
    }
    match network_off(options.lsd, addr) {
        None => drop(shared.tasks.spawn(until_stop().run_until_cancelled_owned(lsd::run(shared.clone())))),
        Some(why) => shared.network.update(|status| status.lsd = LsdStatus::Off { why: why.to_owned() }),
    }
    match network_off(options.port_mapping, addr) {
        // It ends by itself: ports are given back first.
        None => {
            let udp = shared.dht.as_ref().map(|dht| (Transport::Udp, dht.udp_port()));
            let ports = [(Transport::Tcp, addr.port())].into_iter().chain(udp).collect();
            drop(shared.tasks.spawn(port_mapping::run(shared.clone(), ports)));
        }
        Some(why) => shared
            .network
            .update(|status| status.port_mapping = PortMappingStatus::Off { why: why.to_owned() }),
    }
}

/// The DHT node, with sockets on the port of the listener unless another one is wished for.
async fn open_node(options: &SessionOptions, listen_port: u16) -> Result<Option<dht::Driver>, Error> {
    if !options.dht {
        return Ok(None);
    }
    let sockets = match options.dht_port {
        Some(port) => Sockets::bind(options.bind, port)?,
        // Somebody else may have that port for UDP; any other one does as well.
        None => Sockets::bind(options.bind, listen_port).or_else(|_| Sockets::bind(options.bind, 0))?,
    };
    let node = dht::DhtOptions {
        bind: options.bind,
        port: options.dht_port,
        routers: options.dht_routers.clone(),
        state: Some(options.state_dir.join(dht::STATE_FILE)),
        node: dht::Options::default(),
    };
    Ok(Some(dht::Driver::new(node, sockets).await))
}

fn start_node(shared: &Arc<Shared>, node: dht::Driver) {
    node.handle().set_port(shared.network.facts().port);
    let session = Arc::downgrade(shared);
    let tell = move |told| {
        if let Some(shared) = session.upgrade() {
            match told {
                dht::Told::Peers(info_hash, peers) => shared.found(info_hash, Source::Dht, peers),
                dht::Told::ExternalAddress(ip) => shared.network.seen_as(Voter::Nodes, ip),
            }
        }
    };
    shared.tasks.spawn(node.run(shared.shutdown.cancel.clone(), tell));
}

/// Why something that looks for others is off, if it is.
fn network_off(is_wanted: bool, listen_addr: SocketAddr) -> Option<&'static str> {
    match (is_wanted, listen_addr.ip().is_loopback()) {
        (false, _) => Some("switched off"),
        (true, true) => Some("the session is bound to this host alone"),
        (true, false) => None,
    }
}

/// The version as a peer id shows it: `0.1.0` is `0100`.
fn version() -> [u8; 4] {
    let place = |part: &str| part.parse().unwrap_or(0);
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    [place(major), place(minor), place(env!("CARGO_PKG_VERSION_PATCH")), 0]
}

/// One listener for both families where the system allows it.
fn bind(options: &SessionOptions) -> Result<TcpListener, Error> {
    let ips = match options.bind {
        Some(ip) => vec![ip],
        None => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    };
    let ports: Vec<u16> = match options.listen_port {
        Some(port) => vec![port],
        None => PORTS.chain([0]).collect(),
    };
    let mut failure = None;
    for port in ports {
        for &ip in &ips {
            let addr = SocketAddr::new(ip, port);
            match listen_on(addr) {
                Ok(listener) => return Ok(listener),
                Err(source) => failure = Some(Error::Listen { addr, source }),
            }
        }
    }
    Err(failure.unwrap_or(Error::Closed))
}

fn listen_on(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // A restart must not wait for the connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
