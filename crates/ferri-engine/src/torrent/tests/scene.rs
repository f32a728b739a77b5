//! Sessions over a network, stores and time in memory: no socket, no file, no sleep.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Info, Metainfo, PieceIndex};
use ferri_storage::{BlockPool, MemoryStore, PieceStore, Pool, StorageError};
use ferri_wire::{Handshake, PeerId};
use tokio_util::task::TaskTracker;

use crate::egress::Egress;
use crate::handshake::{Arrival, accept};
use crate::hosts::Hosts;
use crate::http::Http;
use crate::lsd::Lsd;
use crate::network::Network;
use crate::pace::Turns;
use crate::peer::memory::{self, Net};
use crate::rate::Limiter;
use crate::services::{Capacity, DiskServices, Identity, Rates, Services, Shutdown, TrackerClients};
use crate::status::{State, TorrentStatus};
use crate::torrent::Torrent;
use crate::tracker_udp::UdpTrackers;
use crate::udp::Sockets;
use crate::{AddTorrent, Session, SessionOptions, Stored, wiring};

pub(super) const PIECE: usize = 32 << 10;
pub(super) const PIECES: usize = 12;
/// What both ends' buffers of a connection hold together.
pub(super) const ROOM: usize = 64 << 10;
/// In the time of the test.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Two files, the first of which ends within a piece, and its bytes.
pub(super) fn payload() -> (Metainfo, Vec<u8>) {
    let data: Vec<u8> = (0..PIECE * PIECES - 700).map(|at| (at * 7 + at / 256) as u8).collect();
    let hashes: Vec<u8> = data.chunks(PIECE).flat_map(ferri_hash::sha1).collect();
    let mut encoder = ferri_bencode::Encoder::new();
    encoder.begin_dict().key(b"info").begin_dict().key(b"files").begin_list();
    let first = 3 * PIECE + 5;
    for (name, length) in [("a", first), ("b", data.len() - first)] {
        encoder.begin_dict().key(b"length").int(length as i64).key(b"path").begin_list();
        encoder.bytes(name.as_bytes()).end().end();
    }
    encoder.end().key(b"name").bytes(b"t").key(b"piece length").int(PIECE as i64);
    encoder.key(b"pieces").bytes(&hashes).end().end();
    (Metainfo::parse(&encoder.into_bytes()).unwrap(), data)
}

/// A store in memory that fails when it is told to.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: MemoryStore,
    faults: Mutex<Faults>,
}

/// What fails from here on.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    pub(super) read: Option<Fault>,
    pub(super) put: Option<Fault>,
    pub(super) sync: Option<Fault>,
    /// Pieces that are gone until they are put again.
    pub(super) lost: BTreeSet<u32>,
}

/// How an operation fails; each goes away by itself as far as a torrent knows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Denied,
    Broken,
    ReadOnly,
    NoFiles,
}

impl Fault {
    fn error(self) -> StorageError {
        let path = "memory".into();
        match self {
            Self::Denied => StorageError::Denied { path },
            Self::Broken => StorageError::Write { path, source: io::Error::other("broken on purpose") },
            Self::ReadOnly => StorageError::ReadOnly { path },
            Self::NoFiles => StorageError::NoFiles { path, available: 1 },
        }
    }
}

impl From<MemoryStore> for Faulty {
    fn from(inner: MemoryStore) -> Self {
        Self { inner, faults: Mutex::default() }
    }
}

impl Faulty {
    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_room(&self, bytes: u64) {
        self.inner.set_room(bytes);
    }

    /// Bytes as they were put, whatever fails.
    pub(super) fn bytes(&self, piece: PieceIndex, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.inner.read(piece, 0, &mut bytes).ok().map(|()| bytes)
    }
}

impl PieceStore for Faulty {
    fn read(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<(), StorageError> {
        let faults = self.faults();
        if faults.lost.contains(&piece.get()) {
            return Err(StorageError::Missing { path: "memory".into() });
        }
        faults.read.map_or(Ok(()), |fault| Err(fault.error()))?;
        self.inner.read(piece, begin, buffer)
    }

    fn put(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StorageError> {
        let mut faults = self.faults();
        faults.put.map_or(Ok(()), |fault| Err(fault.error()))?;
        self.inner.put(piece, blocks)?;
        faults.lost.remove(&piece.get());
        Ok(())
    }

    fn have(&self) -> Bitfield {
        let mut have = self.inner.have();
        for piece in &self.faults().lost {
            have.clear(*piece);
        }
        have
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.faults().sync.map_or(Ok(()), |fault| Err(fault.error()))
    }
}

/// A session without sockets and without files, and its only torrent.
pub(super) struct Client {
    pub(super) session: Session,
    services: Arc<Services>,
    pub(super) torrent: Torrent,
    pub(super) store: Arc<Faulty>,
    pub(super) addr: SocketAddr,
}

impl Client {
    /// On a network of its own: it is met, and meets no peer by itself.
    pub(super) async fn start(last: u8, metainfo: &Metainfo, store: MemoryStore) -> Self {
        let net = Arc::new(Net::new(ROOM));
        Self::on(
            &net,
            last,
            u64::from(last),
            AddTorrent::new(metainfo.clone(), "no folder"),
            Arc::new(store.into()),
        )
        .await
    }

    /// At the address `10.0.0.last`, with the chance of a seed.
    pub(super) async fn on(
        net: &Arc<Net>,
        last: u8,
        seed: u64,
        mut add: AddTorrent,
        store: Arc<Faulty>,
    ) -> Self {
        let addr = addr(last);
        let services = services(net, addr, seed);
        let (session, hosts) = Session::in_memory(services.clone());
        listen(net, addr, &services, &hosts);
        add.stored = Some(Stored::In(store.clone()));
        add.no_trackers = true;
        let torrent = session.add(add).await.unwrap();
        Self { session, services, torrent, store, addr }
    }

    pub(super) fn handshake(&self) -> Handshake {
        self.services.handshake(self.torrent.info_hashes().wire())
    }

    /// Connects the two.
    pub(super) async fn meet(&self, other: &Self) {
        let (ours, theirs) = memory::pair([self.addr, other.addr], ROOM);
        self.torrent.arrive(Arrival::Accepted { link: ours, handshake: other.handshake() }).await;
        let result = Ok((theirs, self.handshake()));
        other.torrent.arrive(Arrival::Dialled { addr: self.addr, result }).await;
    }

    pub(super) async fn until(&self, is_it: impl FnMut(&TorrentStatus) -> bool) -> TorrentStatus {
        self.until_within(PATIENCE, is_it).await
    }

    pub(super) async fn until_within(
        &self,
        patience: Duration,
        is_it: impl FnMut(&TorrentStatus) -> bool,
    ) -> TorrentStatus {
        let mut watch = self.torrent.watch();
        let seen = tokio::time::timeout(patience, watch.wait_for(is_it)).await;
        seen.unwrap_or_else(|_| panic!("it never came to that: {:?}", self.torrent.status())).unwrap().clone()
    }

    /// All of it is there, and right.
    pub(super) fn assert_holds(&self, data: &[u8]) {
        let info = self.torrent.info().unwrap();
        info.layout().pieces().for_each(|piece| self.assert_right(info, piece, data));
    }

    /// This piece is there, and right.
    pub(super) fn assert_right(&self, info: &Info, piece: PieceIndex, data: &[u8]) {
        let length = info.layout().piece_len(piece) as usize;
        let bytes = self.store.bytes(piece, length);
        let right = &data[piece.as_usize() * PIECE..][..length];
        assert!(bytes.is_some_and(|bytes| bytes == right), "piece {} of {}", piece.get(), self.addr);
    }

    /// Shuts it down, which takes no longer than a session promises, and leaves no task.
    pub(super) async fn shut_down(self) {
        let Self { session, services, torrent, .. } = self;
        let begun = tokio::time::Instant::now();
        session.shutdown().await;
        assert!(begun.elapsed() <= SHUTDOWN, "it took {:?}", begun.elapsed());
        assert!(services.tasks.is_empty() && session.torrents().is_empty());
        assert_eq!(torrent.status().state, State::Stopped);
    }
}

/// Trackers five seconds, pieces and journals ten, and what is cut off then.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(16);

pub(super) fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 6881))
}

/// Takes connections as a session's listener does.
fn listen(net: &Arc<Net>, addr: SocketAddr, services: &Arc<Services>, hosts: &Arc<Hosts>) {
    let mut calls = net.listen(addr);
    let front = wiring::Front { services: services.clone(), hosts: hosts.clone() };
    let ours = services.clone();
    services.spawn_until_stop(async move {
        while let Some(mut link) = calls.recv().await {
            let front = front.clone();
            ours.spawn_until_stop(async move {
                if let Ok((torrent, handshake)) = accept(&mut link, &front).await {
                    torrent.arrive(Arrival::Accepted { link, handshake }).await;
                }
            });
        }
    });
}

fn services(net: &Arc<Net>, addr: SocketAddr, seed: u64) -> Arc<Services> {
    // A folder in which nothing can be made: what a search would keep there is told and goes without.
    let options = SessionOptions { pex: false, ..SessionOptions::new("/dev/null/state").without_discovery() };
    let egress = Arc::new(Egress::in_memory(net.clone(), addr));
    let mut name = [0; 12];
    name[..8].copy_from_slice(&seed.to_be_bytes());
    name[11] = addr.port() as u8 ^ u8::try_from(addr.to_string().len()).unwrap();
    Arc::new(Services {
        identity: Identity::seeded(addr, PeerId::new("FS", [0; 4], name), seed),
        disk: DiskServices::new(Pool::inline(), BlockPool::new(4), None, &options.state_dir),
        limits: Rates { down: Arc::new(Limiter::new(None)), up: Arc::new(Limiter::new(None)) },
        capacity: Capacity::new(&options),
        trackers: TrackerClients {
            http: Arc::new(Http::new(egress.clone())),
            udp: Arc::new(UdpTrackers::new(egress.clone(), Sockets::none())),
            turns: Arc::new(Turns::new(None)),
        },
        keeper: Arc::default(),
        network: Arc::new(Network::new(&options, addr.port())),
        feed: Arc::default(),
        lsd: Arc::new(Lsd::new(false)),
        dht: None,
        egress,
        trace: None,
        tasks: TaskTracker::new(),
        shutdown: Shutdown::default(),
        options,
    })
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts panics of this thread from here on, those that a task's owner catches too.
pub(super) fn count_panics() -> usize {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            hook(info);
        }));
    });
    PANICS.get()
}

/// Tasks of this runtime, the caller's own not among them.
pub(super) fn tasks_alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
