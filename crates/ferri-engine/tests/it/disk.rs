//! What others do to files and folders while a torrent is at work, and what was left undone by a process that died.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ferri_engine::{AddTorrent, Check, Session, State, Torrent};
use ferri_wire::{Message, Reserved, decode, encode};

use crate::support::{PATIENCE, Payload, Seed, open_below, options, shake, within};

const PIECE: usize = 32768;

fn payload() -> Payload {
    Payload::several(&[("a", 20 * PIECE), ("b", 20 * PIECE), ("none", 0), ("c", 20 * PIECE)], PIECE)
}

/// A download that takes a second or more.
async fn slow_seed(payload: &Payload) -> Seed {
    Seed::start_with(payload, &[], |options, _| options.limits.up = Some(1_500_000)).await
}

async fn add(session: &Session, payload: &Payload, dir: &Path, seed: Option<&Seed>) -> Torrent {
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir);
    add.peers = seed.iter().map(|seed| seed.session.listen_addr()).collect();
    add.sequential = true;
    session.add(add).await.unwrap()
}

/// Waits until nothing below `dir` is open, for less than a sync would be waited for.
async fn closed_soon(dir: &Path) {
    let start = Instant::now();
    while open_below(dir) != 0 {
        assert!(start.elapsed() < Duration::from_millis(4_500), "files stay open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_finished_or_paused_download_has_no_file_open_and_waits_for_no_interval() {
    let payload = payload();
    let seed = slow_seed(&payload).await;
    let dir = tempfile::tempdir().unwrap();
    let downloads = dir.path().join("downloads");
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add(&session, &payload, &downloads, Some(&seed)).await;
    within(torrent.watch().wait_for(|s| 5 < s.pieces_done)).await.unwrap();
    torrent.pause().await.unwrap();
    within(torrent.watch().wait_for(|s| s.state == State::Paused)).await.unwrap();
    closed_soon(&downloads).await;
    torrent.resume().await.unwrap();
    torrent.add_peers(vec![seed.session.listen_addr()]).await.unwrap();
    within(torrent.wait_done()).await;
    closed_soon(&downloads).await;
}

#[tokio::test]
async fn a_process_that_died_before_the_last_touches_leaves_them_to_the_next() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    within(add(&session, &payload, dir.path(), Some(&seed)).await.wait_done()).await;
    session.shutdown().await;
    let empty = dir.path().join("folder/none");
    for check in [Check::Journal, Check::Full] {
        fs::remove_file(&empty).unwrap();
        let session = Session::start(options(&dir)).await.unwrap();
        let mut shared = AddTorrent::new(payload.metainfo(&[]), dir.path());
        shared.seed_only = true;
        let torrent = session.add(shared).await.unwrap();
        within(torrent.wait_done()).await;
        session.shutdown().await;
        assert!(!empty.exists(), "payload that is only shared is left alone");

        let session = Session::start(options(&dir)).await.unwrap();
        let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
        add.check = check;
        let torrent = session.add(add).await.unwrap();
        within(torrent.wait_done()).await;
        payload.assert_at(dir.path());
        session.shutdown().await;
    }
}

#[tokio::test]
async fn a_file_taken_away_during_the_download_is_fetched_again() {
    let payload = payload();
    let seed = slow_seed(&payload).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add(&session, &payload, dir.path(), Some(&seed)).await;
    within(torrent.watch().wait_for(|s| 25 < s.pieces_done)).await.unwrap();
    fs::rename(dir.path().join("folder/a"), dir.path().join("elsewhere")).unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn a_download_folder_that_is_moved_and_replaced_is_missed_until_it_is_back() {
    let payload = payload();
    let seed = slow_seed(&payload).await;
    let dir = tempfile::tempdir().unwrap();
    let (downloads, aside) = (dir.path().join("downloads"), dir.path().join("elsewhere"));
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add(&session, &payload, &downloads, Some(&seed)).await;
    within(torrent.watch().wait_for(|s| 10 < s.pieces_done)).await.unwrap();
    fs::rename(&downloads, &aside).unwrap();
    fs::create_dir(&downloads).unwrap();
    let mut status = torrent.watch();
    let failed = within(status.wait_for(|s| matches!(s.state, State::Error { .. }))).await.unwrap();
    let State::Error { text, .. } = failed.state else { panic!("just seen") };
    assert!(text.starts_with(&format!("{}: ", downloads.display())) && text.contains("replaced"), "{text}");
    assert_eq!(fs::read_dir(&downloads).unwrap().count(), 0, "nothing goes to the wrong folder");
    fs::remove_dir(&downloads).unwrap();
    fs::rename(&aside, &downloads).unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(&downloads);
    assert!(!aside.exists());
}

/// A peer by hand.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Peer {
    fn new(addr: SocketAddr, payload: &Payload, reserved: Reserved) -> Self {
        let stream = shake(addr, payload, reserved);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: BytesMut::new() }
    }

    fn say(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        encode(message, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn asks(&mut self, piece: u32) {
        self.say(&Message::Request { piece, begin: 0, length: 16384 });
    }

    /// The next message that `takes` takes; others are passed over.
    fn hears<T>(&mut self, takes: impl Fn(Message) -> Option<T>) -> T {
        loop {
            while let Some(message) = decode(&mut self.buffer).unwrap() {
                if let Some(taken) = takes(message) {
                    return taken;
                }
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).unwrap();
            assert_ne!(read, 0, "the connection ended");
            self.buffer.extend_from_slice(&bytes[..read]);
        }
    }

    /// The next answer to a request: the piece, and whether the block came.
    fn answer(&mut self) -> (u32, bool) {
        self.hears(|message| match message {
            Message::Piece { piece, .. } => Some((piece, true)),
            Message::Reject { piece, .. } => Some((piece, false)),
            _ => None,
        })
    }
}

/// A served file is cut after ten of its twenty pieces; `ask` is a peer that is unchoked.
async fn cut_short(reserved: Reserved, ask: impl FnOnce(&mut Peer) + Send + 'static) {
    let payload = Payload::single(20 * PIECE, PIECE);
    let seed = Seed::start(&payload, &[]).await;
    let file = fs::File::options().write(true).open(seed.dir.path().join(payload.name)).unwrap();
    file.set_len(10 * PIECE as u64 + 5).unwrap();
    let addr = seed.session.listen_addr();
    let asking = tokio::task::spawn_blocking(move || {
        let mut peer = Peer::new(addr, &payload, reserved);
        peer.say(&if reserved.has_fast() { Message::HaveNone } else { Message::Bitfield(vec![0; 3].into()) });
        peer.say(&Message::Interested);
        peer.hears(|message| (message == Message::Unchoke).then_some(()));
        ask(&mut peer);
        payload
    });
    let payload = within(asking).await.unwrap();
    within(seed.torrent.watch().wait_for(|status| status.pieces_done == 10)).await.unwrap();
    let fresh = tokio::task::spawn_blocking(move || {
        let mut peer = Peer::new(addr, &payload, reserved);
        peer.hears(|message| match message {
            Message::Bitfield(bits) => Some(bits.to_vec()),
            Message::HaveAll => panic!("it has no more than half"),
            _ => None,
        })
    });
    assert_eq!(within(fresh).await.unwrap(), [0xff, 0xc0, 0], "peers are told nothing false");
}

#[tokio::test]
async fn a_block_that_cannot_be_read_is_rejected_and_the_others_are_served_on() {
    cut_short(Reserved::NONE.with_fast(), |peer| {
        peer.asks(3);
        assert_eq!(peer.answer(), (3, true));
        for piece in [15, 4, 12, 9] {
            peer.asks(piece);
        }
        let answers: Vec<_> = (0..4).map(|_| peer.answer()).collect();
        for answer in [(15, false), (4, true), (12, false), (9, true)] {
            assert!(answers.contains(&answer), "{answers:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_without_rejects_gets_no_answer_for_what_cannot_be_read_and_the_rest() {
    cut_short(Reserved::NONE, |peer| {
        [15, 4, 12, 9].iter().for_each(|piece| peer.asks(*piece));
        assert_eq!([peer.answer(), peer.answer()], [(4, true), (9, true)]);
    })
    .await;
}
