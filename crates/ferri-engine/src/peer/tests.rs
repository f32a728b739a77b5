//! The task of a connection over a link in memory, in time that the test moves.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use bytes::BytesMut;
use ferri_wire::{decode, encode};
use tokio::task::JoinHandle;

use super::*;
use crate::rate::Limiter;
use crate::torrent::outbox::Outbox;

/// What both ends' buffers hold together, as of a slow line.
const ROOM: usize = 64 << 10;

/// A connection at work, and everything around it.
struct Scene {
    peer: Link,
    outbox: Outbox,
    reports: mpsc::Receiver<(PeerKey, Report)>,
    task: JoinHandle<()>,
}

impl Scene {
    /// With a download limit, bytes per second.
    fn start(down: Option<u64>) -> Self {
        let addrs = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 6881)));
        let (link, peer) = memory::pair(addrs, ROOM);
        let blocks = BlockPool::new(4);
        let (outbox, ends) = Outbox::new();
        let (sender, reports) = mpsc::channel(1);
        let limits = |rate| Limits([rate, None].map(|rate| Arc::new(Limiter::new(rate))));
        let connection = Connection {
            key: PeerKey(1),
            wire: Wire::new(link, &blocks),
            ends,
            reports: sender,
            blocks,
            storage: None,
            pool: Pool::new(1).unwrap(),
            down: limits(down),
            up: limits(None),
        };
        Self { peer, outbox, reports, task: tokio::spawn(connection.run()) }
    }

    async fn report(&mut self) -> Report {
        self.reports.recv().await.unwrap().1
    }

    async fn hears(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        encode(message, &mut bytes);
        self.peer.write_all(&bytes).await.unwrap();
    }

    async fn reads(&mut self) -> Message {
        let mut bytes = BytesMut::new();
        loop {
            let mut byte = [0];
            assert_eq!(self.peer.read(&mut byte).await.unwrap(), 1, "it hung up");
            bytes.extend_from_slice(&byte);
            if let Some(message) = decode(&mut bytes).unwrap() {
                return message;
            }
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
    scene.outbox.message(&Message::Interested);
    scene.outbox.message(&Message::Have { piece: 7 });
    scene.outbox.flush();
    assert_eq!(scene.reads().await, Message::Interested);
    assert_eq!(scene.reads().await, Message::Have { piece: 7 });
    let Scene { peer, outbox, mut reports, task } = scene;
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
    // The first bytes are on credit.
    let took = clock::now() - since;
    let expected = Duration::from_secs(3 * (16 << 10) / RATE);
    assert!(expected / 2 < took && took < expected + Duration::from_secs(1), "{took:?}");
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
    let sending = tokio::spawn(async move { peer.write_all(&bytes).await.map(|()| peer) });
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
async fn a_connection_that_is_let_go_keeps_what_it_has_half_read() {
    let mut scene = Scene::start(None);
    let mut bytes = BytesMut::new();
    encode(&Message::Have { piece: 3 }, &mut bytes);
    scene.peer.write_all(&bytes[..6]).await.unwrap();
    tokio::task::yield_now().await;
    let Scene { mut peer, outbox, mut reports, .. } = scene;
    outbox.release();
    let Some((_, Report::Released(wire))) = reports.recv().await else { panic!("not released") };
    let Wire { mut link, mut reader, .. } = *wire;
    let mut messages = Vec::new();
    let nothing = link.try_read(&mut [io::IoSliceMut::new(&mut [0])]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "the beginning was read");
    peer.write_all(&bytes[6..]).await.unwrap();
    reader.read(usize::MAX, &mut messages, |slices| link.try_read(slices)).unwrap();
    assert_eq!(messages, [Message::Have { piece: 3 }]);
}
