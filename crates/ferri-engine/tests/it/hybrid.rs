//! A hybrid torrent by its two names: a peer that calls it by the second is answered with that one, and served.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferri_engine::dht::{DhtNode, DhtOptions};
use ferri_engine::{AddTorrent, Error, Event, Events, Note, Session, SessionOptions, Torrent};
use ferri_metainfo::create::{Builder, Content, Hasher};
use ferri_metainfo::magnet::{Magnet, PeerAddress};
use ferri_metainfo::{InfoHash, InfoHashes, Metainfo, Version};
use ferri_tracker_server::{Options, TrackerServer};
use ferri_wire::{Handshake, HashRange, Message, PeerId, Reserved, decode, encode};
use tempfile::TempDir;

use crate::support::{options, within};

const PIECE: usize = 16_384;
const PIECES: usize = 20;

fn data() -> Vec<u8> {
    (0..PIECE * PIECES).map(|n| (n / 1_000 % 251) as u8).collect()
}

fn metainfo() -> Metainfo {
    let content = Content::File { length: data().len() as u64, executable: false };
    let mut builder = Builder::new(Version::Hybrid, "payload.bin", content);
    builder.piece_length = Some(PIECE as u32);
    let mut hasher = Hasher::new(Arc::new(builder.plan().unwrap()));
    hasher.feed(&data()).unwrap();
    Metainfo::parse(&hasher.finish().unwrap()).unwrap()
}

fn second_name() -> InfoHash {
    let hashes = metainfo().info().info_hashes();
    let second = hashes.v2.unwrap().truncated();
    assert_ne!(Some(second), hashes.v1);
    second
}

async fn seed() -> (Session, Torrent, TempDir) {
    seed_with(options).await
}

async fn seed_with(options: impl FnOnce(&TempDir) -> SessionOptions) -> (Session, Torrent, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("payload.bin"), data()).unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(metainfo(), dir.path());
    add.seed_only = true;
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_checked()).await;
    (session, torrent, dir)
}

/// A peer that speaks and understands whole messages.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, buffer: BytesMut::new() }
    }

    fn greet(&mut self, info_hash: InfoHash) {
        let peer_id = PeerId::new("XX", [0, 0, 0, 1], rand::random());
        let ours = Handshake { reserved: Reserved::NONE.with_fast(), info_hash, peer_id };
        self.stream.write_all(&ours.encode()).unwrap();
    }

    fn greeting(&mut self) -> InfoHash {
        let mut bytes = [0; 68];
        self.stream.read_exact(&mut bytes).unwrap();
        Handshake::decode_prefix(&bytes).unwrap().unwrap().0.info_hash
    }

    fn say(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        encode(message, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// What it hears; `None` at the end.
    fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = decode(&mut self.buffer).unwrap() {
                return Some(message);
            }
            let mut bytes = [0; 65_536];
            let read = self.stream.read(&mut bytes).unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.buffer.extend_from_slice(&bytes[..read]);
        }
    }

    /// What it hears up to the first message that is meant.
    fn hear_until(&mut self, is_it: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(&is_it) {
            heard.push(self.hear().expect("hung up"));
        }
        heard
    }
}

#[tokio::test]
async fn who_calls_by_the_second_name_is_answered_with_it_and_served() {
    let (session, _torrent, _dir) = seed().await;
    let (addr, names) = (session.listen_addr(), metainfo().info().info_hashes());
    tokio::task::spawn_blocking(move || {
        for name in [names.v1.unwrap(), second_name()] {
            let mut peer = Peer::new(TcpStream::connect(addr).unwrap());
            peer.greet(name);
            assert_eq!(peer.greeting(), name);
            peer.say(&Message::HaveNone);
            peer.say(&Message::Interested);
            peer.hear_until(|message| *message == Message::Unchoke);
            let range =
                HashRange { pieces_root: [1; 32], base_layer: 0, index: 0, length: 2, proof_layers: 0 };
            peer.say(&Message::HashRequest(range));
            peer.say(&Message::Request { piece: 3, begin: 0, length: PIECE as u32 });
            let heard = peer.hear_until(|message| matches!(message, Message::Piece { piece: 3, .. }));
            assert!(heard.contains(&Message::HashReject(range)), "{heard:?}");
            let Some(Message::Piece { data: bytes, .. }) = heard.last() else { panic!("{heard:?}") };
            assert_eq!(bytes[..], data()[3 * PIECE..4 * PIECE]);
        }
    })
    .await
    .unwrap();
}

/// A peer that has everything and answers with this name, whatever it is called.
fn answers_with(name: InfoHash) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut peer = Peer::new(listener.accept().unwrap().0);
        peer.greeting();
        peer.greet(name);
        peer.say(&Message::HaveAll);
        peer.say(&Message::Unchoke);
        while let Some(message) = peer.hear() {
            if let Message::Request { piece, begin, length } = message {
                let from = piece as usize * PIECE + begin as usize;
                let bytes = Bytes::copy_from_slice(&data()[from..from + length as usize]);
                peer.say(&Message::Piece { piece, begin, data: bytes });
            }
        }
    });
    addr
}

#[tokio::test]
async fn who_answers_with_the_second_name_is_this_torrent() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(metainfo(), dir.path());
    add.peers = vec![answers_with([9; 20].into()), answers_with(second_name())];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    assert_eq!(std::fs::read(dir.path().join("payload.bin")).unwrap(), data());
}

#[tokio::test]
async fn a_hybrid_that_runs_is_known_by_both_names_and_by_none_once_it_has_stopped() {
    let (session, torrent, _dir) = seed().await;
    let second = metainfo().info().info_hashes().v2;
    let add = || AddTorrent::magnet_on_hold(Magnet::new(InfoHashes { v1: None, v2: second }));
    let error = session.add(add()).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRunning(_)), "{error}");
    torrent.stop().await.unwrap();
    session.add(add()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn the_dht_finds_a_hybrid_by_either_name() {
    let bind = Some([127, 0, 0, 1].into());
    let node = DhtNode::start(DhtOptions { bind, ..DhtOptions::default() }).await.unwrap();
    let router = format!("127.0.0.1:{}", node.dht().udp_port());
    let with_dht = |dir: &TempDir| {
        let mut options = options(dir);
        (options.dht, options.dht_routers) = (true, vec![router.clone()]);
        options
    };
    let (seed, _torrent, _dir) = seed_with(with_dht).await;
    let hashes = metainfo().info().info_hashes();
    for one in [InfoHashes { v2: None, ..hashes }, InfoHashes { v1: None, ..hashes }] {
        let dir = tempfile::tempdir().unwrap();
        let leech = Session::start(with_dht(&dir)).await.unwrap();
        let torrent = leech.add(AddTorrent::magnet_on_hold(Magnet::new(one))).await.unwrap();
        assert_eq!(within(torrent.resolved()).await.unwrap().info_hashes(), hashes);
        leech.shutdown().await;
    }
    seed.shutdown().await;
    node.shutdown().await;
}

#[tokio::test]
async fn a_session_gives_the_handle_for_each_name_of_a_hybrid() {
    let (session, torrent, _dir) = seed().await;
    let hashes = torrent.info_hashes();
    let found = [
        session.torrent(hashes),
        session.torrent(hashes.v1.unwrap()),
        session.torrent(hashes.v2.unwrap()),
        session.torrent(second_name()),
    ];
    assert!(found.iter().all(|found| found.as_ref().is_some_and(|found| found.info_hashes() == hashes)));
    assert!(session.torrent(InfoHash::from([1; 20])).is_none());
}

fn count(events: &mut Events, matches: impl Fn(&Event) -> bool) -> usize {
    std::iter::from_fn(|| events.try_recv().unwrap()).filter(matches).count()
}

/// A hybrid, by one of its hashes.
fn half(second: bool) -> Magnet {
    let mut hashes = metainfo().info().info_hashes();
    if second {
        hashes.v1 = None;
    } else {
        hashes.v2 = None;
    }
    Magnet::new(hashes)
}

#[tokio::test]
async fn a_hybrid_that_was_sought_by_its_second_hash_goes_on_with_the_same_peers_and_its_first_name() {
    let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
    let (seed, seeding, _seed_dir) = seed().await;
    let mut seen = seeding.events();
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut link = half(true);
    link.trackers = vec![tracker.http_url()];
    link.peers = vec![PeerAddress::Socket(seed.listen_addr())];
    let torrent = session.add(AddTorrent::magnet(link, dir.path())).await.unwrap();
    let mut events = torrent.events();
    within(async { while !matches!(events.recv().await.unwrap(), Event::TrackerAnswered { .. }) {} }).await;
    within(torrent.wait_done()).await;
    assert_eq!(std::fs::read(dir.path().join("payload.bin")).unwrap(), data());
    assert_eq!(count(&mut seen, |event| matches!(event, Event::PeerConnected { .. })), 1);
    assert_eq!(torrent.info_hashes(), metainfo().info().info_hashes());
    // The tracker knows it by its first name alone.
    within(async {
        while tracker.counts() != (1, 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // By either name it is the same one.
    for second in [false, true] {
        let again = session.add(AddTorrent::magnet(half(second), dir.path())).await;
        assert!(matches!(again, Err(Error::AlreadyRunning(_))), "{again:?}");
    }
    session.shutdown().await;
    tracker.shutdown();
}

#[tokio::test]
async fn of_two_links_for_one_hybrid_one_goes_on_and_the_other_says_so() {
    let (seed, _seeding, _seed_dir) = seed().await;
    for first_is_second in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let session = Session::start(options(&dir)).await.unwrap();
        let mut link = half(!first_is_second);
        link.peers = vec![PeerAddress::Socket(seed.listen_addr())];
        let add = AddTorrent::magnet(half(first_is_second), dir.path());
        let lonely = session.add(add).await.unwrap();
        let mut events = lonely.events();
        let torrent = session.add(AddTorrent::magnet(link, dir.path())).await.unwrap();
        within(torrent.wait_done()).await;
        assert_eq!(std::fs::read(dir.path().join("payload.bin")).unwrap(), data());
        within(lonely.wait_stopped()).await;
        assert_eq!(lonely.same_as(), Some(torrent.info_hashes().wire()));
        assert_eq!(count(&mut events, |event| matches!(event, Event::Note(Note::SameAs(_)))), 1);
        assert_eq!(session.torrents().len(), 1);
        let chosen = lonely.choose(AddTorrent::magnet(half(false), dir.path())).await;
        assert!(matches!(chosen, Err(Error::AlreadyRunning(_))), "{chosen:?}");
        session.shutdown().await;
    }
}

#[tokio::test]
async fn of_two_that_wait_for_a_choice_the_one_that_is_chosen_has_both_names() {
    let (seed, _seeding, _seed_dir) = seed().await;
    let dir = tempfile::tempdir().unwrap();
    let link = |second| Magnet { peers: vec![PeerAddress::Socket(seed.listen_addr())], ..half(second) };
    // What the links stand for is known from earlier runs.
    for second in [false, true] {
        let session = Session::start(options(&dir)).await.unwrap();
        let torrent = session.add(AddTorrent::magnet_on_hold(link(second))).await.unwrap();
        within(torrent.resolved()).await.unwrap();
        session.shutdown().await;
    }
    let session = Session::start(options(&dir)).await.unwrap();
    let mut held = Vec::new();
    for second in [false, true] {
        held.push(session.add(AddTorrent::magnet_on_hold(link(second))).await.unwrap());
    }
    within(held[0].choose(AddTorrent::magnet(half(false), dir.path()))).await.unwrap();
    within(held[1].wait_stopped()).await;
    assert_eq!(held[1].same_as(), Some(held[0].id()));
    within(held[0].wait_done()).await;
    assert_eq!(std::fs::read(dir.path().join("payload.bin")).unwrap(), data());
    session.shutdown().await;
}
