//! From a magnet link to a download: over loopback, between sessions, with liars, and again after a restart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use ferri_engine::{AddTorrent, Error, Event, Events, Session, State, Torrent, known_torrent};
use ferri_metainfo::magnet::{Magnet, PeerAddress};
use ferri_tracker_server::{Options, TrackerServer};
use ferri_wire::extension::metadata::Metadata;
use ferri_wire::extension::{ExtensionHandshake, HANDSHAKE_ID, UT_METADATA};
use ferri_wire::{Handshake, Message, PeerId, Reserved, decode, encode};
use tempfile::TempDir;

use crate::support::{Payload, Seed, options, within};

/// Its info dictionary has two parts.
fn payload() -> Payload {
    Payload::single(14_000_000, 16_384)
}

fn magnet(payload: &Payload) -> Magnet {
    Magnet::new(payload.metainfo(&[]).info().info_hashes())
}

fn from_peer(payload: &Payload, peer: SocketAddr) -> Magnet {
    Magnet { peers: vec![PeerAddress::Socket(peer)], ..magnet(payload) }
}

async fn session() -> (Session, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Session::start(options(&dir)).await.unwrap(), dir)
}

/// A torrent that is known, and waits for what becomes of it.
async fn find(session: &Session, magnet: Magnet) -> Torrent {
    let torrent = session.add(AddTorrent::magnet_on_hold(magnet)).await.unwrap();
    within(torrent.resolved()).await.unwrap();
    torrent
}

/// Lets one that was found go on.
async fn fetch(torrent: &Torrent, magnet: Magnet, out: &Path) {
    within(torrent.choose(AddTorrent::magnet(magnet, out))).await.unwrap();
    within(torrent.wait_done()).await;
}

fn count(events: &mut Events, matches: impl Fn(&Event) -> bool) -> usize {
    std::iter::from_fn(|| events.try_recv().unwrap()).filter(matches).count()
}

#[tokio::test]
async fn a_magnet_link_downloads_over_the_connection_that_brought_its_description() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let mut seen = seed.torrent.events();
    let (session, dir) = session().await;
    let magnet = from_peer(&payload, seed.session.listen_addr());
    let torrent = session.add(AddTorrent::magnet(magnet, dir.path())).await.unwrap();
    let mut events = torrent.events();
    assert_eq!((torrent.status().state, torrent.info().is_none()), (State::Resolving, true));
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    assert_eq!(torrent.info().unwrap().bytes(), payload.metainfo(&[]).info_bytes());
    let status = torrent.status();
    assert_eq!((status.wasted, status.resolving, status.name), (0, None, payload.name.to_owned()));
    assert_eq!(count(&mut seen, |event| matches!(event, Event::PeerConnected { .. })), 1);
    let fetches = |event: &Event| matches!(event, Event::StateChanged(State::Downloading));
    assert_eq!(count(&mut events, fetches), 1);
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_on_hold_waits_for_a_choice_and_touches_nothing_before() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let mut seen = seed.torrent.events();
    let (session, dir) = session().await;
    let out = dir.path().join("out");
    let magnet = from_peer(&payload, seed.session.listen_addr());
    let torrent = find(&session, magnet.clone()).await;
    assert_eq!(torrent.status().state, State::Resolving);
    assert!(!out.exists());
    // What cannot be is said, and another choice may be made.
    std::fs::write(dir.path().join("file"), b"x").unwrap();
    let wrong = AddTorrent::magnet(magnet.clone(), dir.path().join("file"));
    assert!(matches!(within(torrent.choose(wrong)).await, Err(Error::Storage(_) | Error::Io { .. })));
    assert_eq!(torrent.status().state, State::Resolving);
    fetch(&torrent, magnet.clone(), &out).await;
    payload.assert_at(&out);
    assert_eq!(count(&mut seen, |event| matches!(event, Event::PeerConnected { .. })), 1);
    let again = torrent.choose(AddTorrent::magnet(magnet, &out)).await;
    assert!(matches!(again, Err(Error::AlreadyRunning(_))), "{again:?}");
    session.shutdown().await;
}

#[tokio::test]
async fn a_choice_may_come_before_the_torrent_is_known() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, dir) = session().await;
    let magnet = magnet(&payload);
    let torrent = session.add(AddTorrent::magnet_on_hold(magnet.clone())).await.unwrap();
    let chosen = tokio::spawn({
        let (torrent, add) = (torrent.clone(), AddTorrent::magnet(magnet, dir.path()));
        async move { torrent.choose(add).await }
    });
    within(seed.torrent.add_peers(vec![session.listen_addr()])).await.unwrap();
    within(chosen).await.unwrap().unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn a_peer_that_dialled_us_goes_on_with_us_too() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let mut seen = seed.torrent.events();
    let (session, dir) = session().await;
    let torrent = session.add(AddTorrent::magnet(magnet(&payload), dir.path())).await.unwrap();
    seed.torrent.add_peers(vec![session.listen_addr()]).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    assert_eq!(count(&mut seen, |event| matches!(event, Event::PeerConnected { .. })), 1);
}

#[tokio::test]
async fn connections_wait_while_files_are_looked_at() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let mut seen = seed.torrent.events();
    let (session, dir) = session().await;
    // Whole pieces: bytes of a part of one would be somebody's for all that is known.
    let half = payload.files[0].1.len() / 2 / 16_384 * 16_384;
    std::fs::write(dir.path().join(payload.name), &payload.files[0].1[..half]).unwrap();
    let magnet = from_peer(&payload, seed.session.listen_addr());
    let torrent = session.add(AddTorrent::magnet(magnet, dir.path())).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    assert!(torrent.status().downloaded <= (half + 16_384) as u64, "{}", torrent.status().downloaded);
    assert_eq!(count(&mut seen, |event| matches!(event, Event::PeerConnected { .. })), 1);
}

#[tokio::test]
async fn trackers_are_greeted_once_and_told_at_the_end() {
    let payload = payload();
    let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
    let seed = Seed::start(&payload, &[tracker.http_url()]).await;
    let (session, dir) = session().await;
    let url = tracker.http_url();
    let trackers = vec!["http://127.0.0.1:1/dead".to_owned(), url.clone()];
    let magnet = Magnet { trackers, ..magnet(&payload) };
    let torrent = session.add(AddTorrent::magnet(magnet, dir.path())).await.unwrap();
    let mut events = torrent.events();
    within(torrent.wait_done()).await;
    let greets =
        |event: &Event| matches!(event, Event::Announcing { url: to, event: "started" } if *to == url);
    assert_eq!(count(&mut events, greets), 1);
    assert_eq!(torrent.trackers().await.len(), 2);
    assert_eq!(tracker.counts().1, 2);
    session.shutdown().await;
    seed.session.shutdown().await;
    assert_eq!(tracker.counts().1, 0, "all said stopped");
    tracker.shutdown();
}

#[tokio::test]
async fn one_that_stops_before_it_is_known_tells_its_trackers_and_leaves_nothing() {
    let payload = payload();
    let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
    let (session, dir) = session().await;
    let magnet = Magnet { trackers: vec![tracker.http_url()], ..magnet(&payload) };
    let add = || AddTorrent::magnet(magnet.clone(), dir.path());
    let torrent = session.add(add()).await.unwrap();
    let mut events = torrent.events();
    within(async { while !matches!(events.recv().await.unwrap(), Event::TrackerAnswered { .. }) {} }).await;
    assert_eq!(tracker.counts().1, 1);
    let waiting = tokio::spawn({
        let torrent = torrent.clone();
        async move { torrent.resolved().await }
    });
    within(torrent.stop()).await.unwrap();
    assert_eq!(tracker.counts().1, 0, "it said stopped");
    assert!(matches!(within(waiting).await.unwrap(), Err(Error::Closed)));
    assert_eq!((torrent.status().state, session.torrents().len()), (State::Stopped, 0));

    session.add(add()).await.unwrap();
    within(session.shutdown()).await;
    assert_eq!(tracker.counts().1, 0);
    tracker.shutdown();
}

#[tokio::test]
async fn a_torrent_is_looked_for_once_and_not_beside_itself() {
    let payload = payload();
    let (session, dir) = session().await;
    let link = || AddTorrent::magnet(magnet(&payload), dir.path());
    let torrent = session.add(link()).await.unwrap();
    let again = session.add(link()).await;
    assert!(matches!(again, Err(Error::AlreadyRunning(_))), "{again:?}");
    let add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    let beside = session.add(add.clone()).await;
    assert!(matches!(beside, Err(Error::AlreadyRunning(_))), "{beside:?}");
    within(torrent.stop()).await.unwrap();
    session.add(add).await.unwrap();
    let again = session.add(link()).await;
    assert!(matches!(again, Err(Error::AlreadyRunning(_))), "{again:?}");
}

#[tokio::test]
async fn after_a_restart_nobody_is_asked_again() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, dir) = session().await;
    let peer = seed.session.listen_addr();
    find(&session, from_peer(&payload, peer)).await;
    session.shutdown().await;

    let session = Session::start(options(&dir)).await.unwrap();
    let trackers = vec!["http://tracker.example/announce".to_owned()];
    let link = Magnet { trackers, ..magnet(&payload) };
    assert!(known_torrent(&dir.path().join("state"), &link).is_some());
    let mut add = AddTorrent::magnet_on_hold(link.clone());
    (add.no_trackers, add.peers) = (true, vec![peer]);
    let held = session.add(add.clone()).await.unwrap();
    assert!(held.info().is_some());
    assert_eq!(held.status().state, State::Resolving);
    within(held.stop()).await.unwrap();

    let mut add = AddTorrent { output: dir.path().to_owned(), ..AddTorrent::magnet(link, "") };
    (add.no_trackers, add.peers) = (true, vec![peer]);
    let torrent = session.add(add).await.unwrap();
    assert_ne!(torrent.status().state, State::Resolving, "it starts at once");
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn a_damaged_description_is_set_aside_and_fetched_again() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, dir) = session().await;
    let folder = dir.path().join("state/torrents").join(magnet(&payload).info_hashes.wire().to_string());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("info"), b"d4:name5:othere").unwrap();
    let add = AddTorrent::magnet_on_hold(from_peer(&payload, seed.session.listen_addr()));
    let torrent = session.add(add).await.unwrap();
    let mut events = torrent.events();
    assert!(torrent.info().is_none());
    within(torrent.resolved()).await.unwrap();
    assert_eq!(count(&mut events, |event| matches!(event, Event::Note(_))), 1);
    session.shutdown().await;
    let info = payload.metainfo(&[]).info_bytes().to_vec();
    assert_eq!(std::fs::read(folder.join("info")).unwrap(), info);
    assert_eq!(std::fs::read(folder.join("info.aside")).unwrap(), b"d4:name5:othere");
}

/// A peer that gives an info dictionary of the right length and the wrong content, for as long as somebody asks.
fn liar(payload: &Payload) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (info_hash, size) = {
        let metainfo = payload.metainfo(&[]);
        (metainfo.info().info_hashes().wire(), metainfo.info_bytes().len())
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut theirs = [0; 68];
            let reserved = Reserved::default().with_fast().with_extensions();
            let ours = Handshake { reserved, info_hash, peer_id: PeerId::new("XX", [0; 4], [3; 12]) };
            let introduction = ExtensionHandshake {
                m: [(UT_METADATA.to_owned(), 9)].into(),
                metadata_size: Some(size as u32),
                ..ExtensionHandshake::default()
            };
            let mut out = BytesMut::new();
            encode(&Message::HaveAll, &mut out);
            encode(&Message::Extended { id: HANDSHAKE_ID, payload: introduction.encode().into() }, &mut out);
            if stream.read_exact(&mut theirs).is_err()
                || stream.write_all(&ours.encode()).is_err()
                || stream.write_all(&out).is_err()
            {
                continue;
            }
            lie(&mut stream, size);
        }
    });
    addr
}

fn lie(stream: &mut std::net::TcpStream, size: usize) {
    let (mut buffer, mut read, mut theirs) = (BytesMut::new(), [0; 4096], 0);
    loop {
        while let Ok(Some(message)) = decode(&mut buffer) {
            let Message::Extended { id, payload } = message else { continue };
            if id == HANDSHAKE_ID {
                theirs = ExtensionHandshake::decode(&payload).unwrap().id(UT_METADATA).unwrap_or(0);
            } else if let Ok(Some(Metadata::Request { part })) = Metadata::decode(&payload) {
                let length = (size - part as usize * 16_384).min(16_384);
                let data = Bytes::from(vec![b'x'; length]);
                let part = Metadata::Data { part, total_size: size as u32, data };
                let mut out = BytesMut::new();
                encode(&Message::Extended { id: theirs, payload: part.encode().into() }, &mut out);
                if stream.write_all(&out).is_err() {
                    return;
                }
            }
        }
        match stream.read(&mut read) {
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.extend_from_slice(&read[..count]),
        }
    }
}

#[tokio::test]
async fn peers_that_lie_about_the_description_do_not_win() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, _dir) = session().await;
    let mut magnet = magnet(&payload);
    magnet.peers = (0..3).map(|_| PeerAddress::Socket(liar(&payload))).collect();
    let torrent = session.add(AddTorrent::magnet_on_hold(magnet)).await.unwrap();
    let mut status = torrent.watch();
    let lied = |resolving: &ferri_engine::Resolving| 0 < resolving.corrupt;
    within(status.wait_for(|status| status.resolving.as_deref().is_some_and(lied))).await.unwrap();
    seed.torrent.add_peers(vec![session.listen_addr()]).await.unwrap();
    let info = within(torrent.resolved()).await.unwrap();
    assert_eq!(info.bytes(), payload.metainfo(&[]).info_bytes());
}

#[tokio::test]
async fn what_lies_there_but_for_a_piece_is_completed_by_the_peer_that_the_link_names() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, dir) = session().await;
    let peer = seed.session.listen_addr();
    find(&session, from_peer(&payload, peer)).await;
    session.shutdown().await;
    payload.write(dir.path());
    let file = std::fs::File::options().write(true).open(dir.path().join(payload.name)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 16_384], 7 * 16_384).unwrap();

    // The link's torrent is known, so its files are looked at while the name of the peer is looked up.
    let session = Session::start(options(&dir)).await.unwrap();
    let mut link = magnet(&payload);
    link.peers = vec![PeerAddress::Host { name: "localhost".to_owned(), port: peer.port() }];
    let torrent = session.add(AddTorrent::magnet(link, dir.path())).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    assert_eq!(torrent.status().downloaded, 16_384);
}

#[tokio::test]
async fn files_in_the_way_are_a_state_that_ends_when_they_are_gone() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, dir) = session().await;
    let mine = dir.path().join(payload.name);
    std::fs::create_dir(&mine).unwrap();
    let magnet = from_peer(&payload, seed.session.listen_addr());
    let torrent = session.add(AddTorrent::magnet(magnet, dir.path())).await.unwrap();
    let mut status = torrent.watch();
    let is_waiting = |state: &State| matches!(state, State::Error { .. });
    within(status.wait_for(|status| is_waiting(&status.state))).await.unwrap();
    assert_eq!(torrent.pause().await, Ok(()));
    std::fs::remove_dir(&mine).unwrap();
    assert_eq!(torrent.resume().await, Ok(()));
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}
