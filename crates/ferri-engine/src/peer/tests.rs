//! The task of a connection over a link in memory, in time that the test moves.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use ferri_metainfo::Metainfo;
use ferri_metainfo::names::LocalPaths;
use ferri_storage::{Lanes, Place, PoolOptions, Storage, StorageOptions};
use ferri_wire::{decode, encode, encoded_len};
use tokio::task::JoinHandle;

use super::*;
use crate::crew::Outbox;
use crate::rate::Limiter;

/// What both ends' buffers hold together, as of a slow line.
const ROOM: usize = 64 << 10;

/// A connection at work, and everything around it.
struct Scene {
    peer: Link,
    /// What came to the peer and is no whole message yet.
    came: BytesMut,
    outbox: Outbox,
    reports: mpsc::Receiver<(PeerKey, Report)>,
    task: JoinHandle<()>,
}

impl Scene {
    /// With a download limit, bytes per second.
    fn start(down: Option<u64>) -> Self {
        Self::with(down, None)
    }

    fn with(down: Option<u64>, storage: Option<Arc<Store>>) -> Self {
        Self::over(Pool::new(1).unwrap(), [down, None], storage)
    }

    /// With these disk threads, and a limit for what comes and what leaves.
    fn over(pool: Pool, [down, up]: [Option<u64>; 2], storage: Option<Arc<Store>>) -> Self {
        let addrs = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 6881)));
        let (link, peer) = memory::pair(addrs, ROOM);
        let blocks = BlockPool::new(4);
        let (outbox, ends) = Outbox::new();
        let (sender, reports) = mpsc::channel(1);
        let limits = |rate| Limits([rate, None].map(|rate| Arc::new(Limiter::new(rate))));
        let connection = Connection {
            key: PeerKey(1),
            link,
            ends,
            reports: sender,
            blocks,
            source: Arc::new(storage.map_or_else(OnceLock::new, OnceLock::from)),
            pool,
            down: limits(down),
            up: limits(up),
        };
        Self { peer, came: BytesMut::new(), outbox, reports, task: tokio::spawn(connection.run()) }
    }

    async fn report(&mut self) -> Report {
        self.reports.recv().await.unwrap().1
    }

    async fn hears(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        encode(message, &mut bytes);
        self.peer.write_all(&mut bytes).await.unwrap();
    }

    async fn reads(&mut self) -> Message {
        loop {
            if let Some(message) = decode(&mut self.came).unwrap() {
                return message;
            }
            let mut buffer = [0; 1000];
            let count = self.peer.read(&mut buffer).await.unwrap();
            assert!(0 < count, "it hung up");
            self.came.extend_from_slice(&buffer[..count]);
        }
    }
}

fn piece(length: usize) -> Message {
    Message::Piece { piece: 0, begin: 0, data: vec![7; length].into() }
}

#[tokio::test(start_paused = true)]
async fn messages_pass_both_ways_in_order_until_the_peer_hangs_up() {
    let mut scene = Scene::start(None);
    scene.hears(&Message::Unchoke).await;
    scene.hears(&piece(16 << 10)).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let Report::Messages(messages) = scene.report().await else { panic!("no messages") };
        heard.extend(messages);
    }
    assert_eq!(heard, [Message::Unchoke, piece(16 << 10)]);
    scene.outbox.message(Message::Interested);
    scene.outbox.message(Message::Have { piece: 7 });
    scene.outbox.flush();
    assert_eq!(scene.reads().await, Message::Interested);
    assert_eq!(scene.reads().await, Message::Have { piece: 7 });
    let Scene { peer, outbox, mut reports, task, .. } = scene;
    drop(peer);
    let Some((PeerKey(1), Report::Gone(why))) = reports.recv().await else { panic!("not gone") };
    assert_eq!(why, "the peer closed the connection");
    task.await.unwrap();
    drop(outbox);
}

#[tokio::test(start_paused = true)]
async fn a_download_limit_spreads_what_comes_over_time() {
    /// Bytes per second.
    const RATE: u64 = 4 << 10;
    let mut scene = Scene::start(Some(RATE));
    let since = clock::now();
    for _ in 0..3 {
        scene.hears(&piece(16 << 10)).await;
    }
    let mut pieces = 0;
    while pieces < 3 {
        let Report::Messages(messages) = scene.report().await else { panic!("no messages") };
        pieces += messages.len();
    }
    let took = clock::now() - since;
    let expected = Duration::from_secs(3 * (16 << 10) / RATE);
    // Nothing is read before a second's worth is there.
    let tolerance = Duration::from_secs(2);
    assert!(expected - tolerance < took && took < expected + tolerance, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn while_its_torrent_is_busy_the_peer_is_not_read_from() {
    let Scene { mut peer, outbox, mut reports, .. } = Scene::start(None);
    // More than the report that waits, the one that follows it, and what lies between the two ends.
    let mut bytes = BytesMut::new();
    while bytes.len() < 6 * ROOM {
        encode(&piece(16 << 10), &mut bytes);
    }
    let total = bytes.len() / (13 + (16 << 10));
    let sending = tokio::spawn(async move { peer.write_all(&mut bytes).await.map(|()| peer) });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!sending.is_finished(), "nobody took what came");
    let mut pieces = 0;
    while pieces < total {
        let Some((_, Report::Messages(messages))) = reports.recv().await else { panic!("no messages") };
        pieces += messages.len();
    }
    assert!(sending.await.unwrap().is_ok());
    drop(outbox);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_and_does_not_read_the_answers_is_hung_up_on() {
    let mut scene = Scene::start(None);
    let answer = Message::Extended { id: 3, payload: vec![7; 16 << 10].into() };
    // What lies between the two ends has left.
    let fits = (OWED_MAX + ROOM / 2) / encoded_len(&answer) - 1;
    for _ in 0..fits {
        scene.outbox.message(answer.clone());
        scene.outbox.flush();
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(scene.reports.try_recv().is_err(), "as much may wait");
    // It is not about pieces, which are told once each.
    for piece in 0..100_000 {
        scene.outbox.message(Message::Have { piece });
    }
    scene.outbox.flush();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(scene.reports.try_recv().is_err(), "so may they");
    // As much is encoded already, and leaves next.
    for _ in 0..2 * OWED_MAX / encoded_len(&answer) {
        scene.outbox.message(answer.clone());
    }
    scene.outbox.flush();
    let Report::Gone(why) = scene.report().await else { panic!("it goes on") };
    assert_eq!(why, "the peer asks and does not read the answers");
}

/// Blocks in the file of [`served`].
const BLOCKS: usize = 6;

/// A torrent of one file that is there, and its bytes.
fn served(folder: &Path) -> (Arc<Store>, Bytes) {
    let data: Vec<u8> = (0..BLOCKS << 14).map(|n| (n % 251) as u8).collect();
    std::fs::write(folder.join("file"), &data).unwrap();
    let mut encoder = ferri_bencode::Encoder::new();
    encoder.begin_dict().key(b"info").begin_dict();
    encoder.key(b"length").int(data.len() as i64).key(b"name").bytes(b"file");
    encoder.key(b"piece length").int(32 << 10);
    encoder.key(b"pieces").bytes(&data.chunks(32 << 10).flat_map(ferri_hash::sha1).collect::<Vec<_>>());
    encoder.end().end();
    let info = Metainfo::parse(&encoder.into_bytes()).unwrap().shared_info();
    let paths = LocalPaths::new(&info).unwrap();
    let place = Place { root: folder.to_owned(), state_dir: None };
    let options = StorageOptions { read_only: true, ..StorageOptions::default() };
    (Arc::new(Storage::new(info, paths, place, options, &[]).unwrap().into()), data.into())
}

#[tokio::test(start_paused = true)]
async fn blocks_and_messages_leave_in_order_and_each_byte_is_sealed_once() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, data) = served(folder.path());
    let layout = storage.layout().clone();
    let mut scene = Scene::with(None, Some(storage));
    let (mut expected, mut blocks) = (vec![Message::Unchoke], 0);
    scene.outbox.message(Message::Unchoke);
    for piece in layout.pieces() {
        for block in layout.blocks(piece) {
            // The first one comes by a disk thread, which opens the file; the others are in the page cache.
            scene.outbox.block(block);
            let offset = blocks << 14;
            let data = data.slice(offset..offset + block.length() as usize);
            expected.push(Message::Piece { piece: piece.get(), begin: block.begin(), data });
            blocks += 1;
        }
        scene.outbox.message(Message::Have { piece: piece.get() });
        expected.push(Message::Have { piece: piece.get() });
    }
    scene.outbox.flush();
    let (_, gone) = mpsc::channel(1);
    let mut reports = std::mem::replace(&mut scene.reports, gone);
    let counting = tokio::spawn(async move {
        let mut sent = Sent::default();
        while sent.blocks < BLOCKS as u32 {
            let Some((_, Report::Sent(more))) = reports.recv().await else { panic!("something else") };
            (sent.blocks, sent.bytes) = (sent.blocks + more.blocks, sent.bytes + more.bytes);
        }
        sent
    });
    for message in expected {
        assert!(scene.reads().await == message, "{message:?} did not come as it left");
    }
    assert_eq!(counting.await.unwrap(), Sent { blocks: BLOCKS as u32, bytes: data.len() as u64 });
}

/// The pool's only thread waits until the answer is dropped, and its lane for reads is full.
fn fill(pool: &Pool, storage: &Arc<Store>) -> std::sync::mpsc::Sender<()> {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (began, begins) = std::sync::mpsc::channel();
    let hold = Job::Run(Box::new(move || {
        began.send(()).unwrap();
        let _ = wait.recv();
    }));
    pool.submit(hold).unwrap();
    begins.recv().unwrap();
    let (storage, blocks, buffers) = (storage.clone(), Vec::new(), BlockPool::new(1));
    pool.submit(Job::ReadBlocks { storage, blocks, buffers, reply: Box::new(|_| {}) }).unwrap();
    release
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_block_finds_no_room_waits_and_is_not_hung_up_on() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, data) = served(folder.path());
    let lanes = Lanes { reads: 1, ..Lanes::default() };
    let pool = Pool::with(&PoolOptions { lanes, ..PoolOptions::new(1) }).unwrap();
    let release = fill(&pool, &storage);
    let block = storage.layout().block(0, 0, 16 << 10).unwrap();
    let mut scene = Scene::over(pool.clone(), [None, Some(16 << 10)], Some(storage));
    scene.outbox.block(block);
    scene.outbox.flush();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(scene.reports.try_recv().is_err(), "it hung up");
    drop(release);
    let expected = Message::Piece { piece: 0, begin: 0, data: data.slice(..16 << 10) };
    assert!(scene.reads().await == expected);
    let Report::Sent(Sent { blocks: 1, .. }) = scene.report().await else { panic!("something else") };
    pool.shutdown();
}
