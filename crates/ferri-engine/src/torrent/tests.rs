//! A torrent's task over links and stores in memory, in time that the test moves: no socket, no file, no sleep.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use ferri_metainfo::Metainfo;
use ferri_storage::{BlockPool, MemoryStore, PieceStore, Pool};
use ferri_wire::{Handshake, PeerId};
use tokio_util::task::TaskTracker;

use super::*;
use crate::crowd::Crowds;
use crate::egress::Egress;
use crate::http::Http;
use crate::lsd::Lsd;
use crate::network::Network;
use crate::pace::Turns;
use crate::peer::memory;
use crate::rate::Limiter;
use crate::registry::Registry;
use crate::services::{Capacity, DiskServices, Identity, Rates, Shutdown, TrackerClients};
use crate::share::Shares;
use crate::tracker_udp::UdpTrackers;
use crate::udp::Sockets;
use crate::{AddTorrent, ErrorReason, Event, SessionOptions, Stored};

const PIECE: usize = 32 << 10;
const PIECES: usize = 12;
/// What both ends' buffers of a connection hold together.
const ROOM: usize = 64 << 10;
/// In the time of the test.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two files, the first of which ends within a piece.
fn payload() -> (Metainfo, Vec<u8>) {
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

/// A session without a network and without files, and its only torrent.
struct Client {
    services: Arc<Services>,
    _registry: Arc<Registry<Torrent>>,
    torrent: Torrent,
    store: Arc<MemoryStore>,
    addr: SocketAddr,
}

impl Client {
    async fn start(last: u8, metainfo: &Metainfo, store: MemoryStore) -> Self {
        let addr = SocketAddr::from(([10, 0, 0, last], 6881));
        let (services, store) = (services(addr), Arc::new(store));
        let registry = Arc::new(Registry::default());
        let mut add = AddTorrent::new(metainfo.clone(), "no folder");
        add.stored = Some(Stored::In(store.clone()));
        add.no_trackers = true;
        let torrent = super::add(&services, &registry, add, Earlier::default()).await.unwrap();
        Self { services, _registry: registry, torrent, store, addr }
    }

    fn handshake(&self) -> Handshake {
        self.services.handshake(self.torrent.info_hashes().wire())
    }

    /// Connects the two.
    async fn meet(&self, other: &Self) {
        let (ours, theirs) = memory::pair([self.addr, other.addr], ROOM);
        self.torrent.arrive(Arrival::Accepted { link: ours, handshake: other.handshake() }).await;
        let result = Ok((theirs, self.handshake()));
        other.torrent.arrive(Arrival::Dialled { addr: self.addr, result }).await;
    }

    async fn until(&self, is_it: impl FnMut(&TorrentStatus) -> bool) -> TorrentStatus {
        let mut watch = self.torrent.watch();
        let seen = tokio::time::timeout(PATIENCE, watch.wait_for(is_it)).await;
        seen.unwrap_or_else(|_| panic!("{:?}", self.torrent.status())).unwrap().clone()
    }

    fn assert_holds(&self, data: &[u8]) {
        let layout = self.torrent.info().unwrap().layout();
        for piece in layout.pieces() {
            let mut bytes = vec![0; layout.piece_len(piece) as usize];
            self.store.read(piece, 0, &mut bytes).unwrap();
            assert!(bytes == data[piece.as_usize() * PIECE..][..bytes.len()], "piece {}", piece.get());
        }
    }
}

fn services(addr: SocketAddr) -> Arc<Services> {
    let options = SessionOptions::new("no folder").without_discovery();
    let egress = Arc::new(Egress::new(None));
    Arc::new(Services {
        identity: Identity::new(addr, PeerId::new("FS", [0; 4], rand::random())),
        disk: DiskServices { pool: Pool::inline(), blocks: BlockPool::new(4), store: None },
        limits: Rates { down: Arc::new(Limiter::new(None)), up: Arc::new(Limiter::new(None)) },
        capacity: Capacity {
            shares: Arc::new(Shares::new(&options.limits)),
            crowds: Arc::new(Crowds::new(options.limits.peers_max)),
            limits: options.limits.clone().into(),
        },
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

#[tokio::test(start_paused = true)]
async fn a_torrent_is_fetched_over_a_link_in_memory_into_a_store_in_memory() {
    let (metainfo, data) = payload();
    let seed = Client::start(1, &metainfo, MemoryStore::full(metainfo.info(), &data)).await;
    let leech = Client::start(2, &metainfo, MemoryStore::new(metainfo.info())).await;
    seed.until(TorrentStatus::is_done).await;
    leech.until(|status| status.state == State::Downloading).await;
    let mut events = leech.torrent.events();
    seed.meet(&leech).await;
    let done = leech.until(TorrentStatus::is_done).await;
    assert_eq!((done.pieces_done as usize, done.downloaded as usize), (PIECES, data.len()));
    leech.assert_holds(&data);
    let events: Vec<_> = std::iter::from_fn(|| events.try_recv().unwrap()).collect();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Completed)).count(), 1);
    for client in [leech, seed] {
        client.torrent.stop().await.unwrap();
        assert_eq!(client.torrent.status().state, State::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_is_told_once_costs_nothing_and_is_gone_on_with_when_it_has_room() {
    let (metainfo, data) = payload();
    let seed = Client::start(1, &metainfo, MemoryStore::full(metainfo.info(), &data)).await;
    let leech = Client::start(2, &metainfo, MemoryStore::new(metainfo.info())).await;
    leech.store.set_room(5 * PIECE as u64);
    let mut events = leech.torrent.events();
    seed.meet(&leech).await;
    let full = leech.until(|status| matches!(status.state, State::Error { .. })).await;
    let State::Error { reason, recoverable, .. } = &full.state else { panic!("just seen") };
    assert!(*recoverable && matches!(reason, ErrorReason::DiskFull { .. }), "{reason:?}");
    // It is tried every five seconds.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(leech.torrent.status().state, State::Error { .. }));
    let held = leech.store.have().count_ones();
    assert_eq!(held, 5);
    leech.store.set_room(u64::MAX);
    let done = leech.until(TorrentStatus::is_done).await;
    assert_eq!((done.downloaded as usize, done.wasted), (data.len(), 0), "no byte is fetched twice");
    leech.assert_holds(&data);
    let states: Vec<State> = std::iter::from_fn(|| events.try_recv().unwrap())
        .filter_map(|event| match event {
            Event::StateChanged(state) => Some(state),
            _ => None,
        })
        .collect();
    let errors = states.iter().filter(|state| matches!(state, State::Error { .. })).count();
    assert_eq!(errors, 1, "{states:?}");
}
