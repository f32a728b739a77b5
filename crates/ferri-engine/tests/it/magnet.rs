//! From a magnet link to a download: over loopback, between sessions, with liars, and again after a restart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use ferri_engine::{
    AddTorrent, Error, Event, Events, ResolveMagnet, ResolveState, Resolved, Session, known_torrent,
};
use ferri_metainfo::magnet::{Magnet, PeerAddress};
use ferri_tracker_server::{Options, TrackerServer};
use ferri_wire::extension::metadata::Metadata;
use ferri_wire::extension::{HANDSHAKE_ID, Handshake as Extensions, UT_METADATA};
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

fn from_peer(payload: &Payload, peer: SocketAddr) -> ResolveMagnet {
    let mut magnet = magnet(payload);
    magnet.peers = vec![PeerAddress::Socket(peer)];
    ResolveMagnet::new(magnet)
}

async fn session() -> (Session, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Session::start(options(&dir)).await.unwrap(), dir)
}

async fn find(session: &Session, magnet: ResolveMagnet) -> Resolved {
    within(session.resolve(magnet).await.unwrap().wait()).await.unwrap()
}

/// Downloads what was found.
async fn fetch(session: &Session, resolved: Resolved, out: &Path) -> ferri_engine::Torrent {
    let add = AddTorrent::new(resolved.metainfo().clone(), out);
    let torrent = session.add_resolved(add, resolved).await.unwrap();
    within(torrent.wait_done()).await;
    torrent
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
    let resolved = find(&session, from_peer(&payload, seed.session.listen_addr())).await;
    assert_eq!(resolved.metainfo().info_bytes(), payload.metainfo(&[]).info_bytes());
    let torrent = fetch(&session, resolved, dir.path()).await;
    payload.assert_at(dir.path());
    assert_eq!(torrent.status().wasted, 0);
    assert_eq!(count(&mut seen, |event| matches!(event, Event::PeerConnected { .. })), 1);
    session.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_dialled_us_goes_on_with_us_too() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let mut seen = seed.torrent.events();
    let (session, dir) = session().await;
    let resolving = session.resolve(ResolveMagnet::new(magnet(&payload))).await.unwrap();
    seed.torrent.add_peers(vec![session.listen_addr()]).await.unwrap();
    let resolved = within(resolving.wait()).await.unwrap();
    fetch(&session, resolved, dir.path()).await;
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
    let resolved = find(&session, from_peer(&payload, seed.session.listen_addr())).await;
    let torrent = fetch(&session, resolved, dir.path()).await;
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
    let mut magnet = magnet(&payload);
    magnet.trackers = vec!["http://127.0.0.1:1/dead".to_owned(), tracker.http_url()];
    let resolving = session.resolve(ResolveMagnet::new(magnet)).await.unwrap();
    let mut sought = resolving.events();
    let resolved = within(resolving.wait()).await.unwrap();
    assert_eq!(resolved.metainfo().trackers().len(), 2);
    let url = tracker.http_url();
    let greets =
        |event: &Event| matches!(event, Event::Announcing { url: to, event: "started" } if *to == url);
    assert_eq!(count(&mut sought, greets), 1);
    let add = AddTorrent::new(resolved.metainfo().clone(), dir.path());
    let torrent = session.add_resolved(add, resolved).await.unwrap();
    let mut fetched = torrent.events();
    within(torrent.wait_done()).await;
    assert_eq!(count(&mut fetched, greets), 0);
    assert_eq!(tracker.counts().1, 2);
    session.shutdown().await;
    seed.session.shutdown().await;
    assert_eq!(tracker.counts().1, 0, "all said stopped");
    tracker.shutdown();
}

#[tokio::test]
async fn a_search_that_is_cancelled_or_dropped_tells_its_trackers_and_leaves_nothing() {
    let payload = payload();
    let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
    let (session, _dir) = session().await;
    let mut magnet = magnet(&payload);
    magnet.trackers = vec![tracker.http_url()];
    let resolving = session.resolve(ResolveMagnet::new(magnet.clone())).await.unwrap();
    let mut events = resolving.events();
    within(async { while !matches!(events.recv().await.unwrap(), Event::TrackerAnswered { .. }) {} }).await;
    assert_eq!(tracker.counts().1, 1);
    within(resolving.cancel()).await;
    assert_eq!(tracker.counts().1, 0, "it said stopped");

    let resolving = session.resolve(ResolveMagnet::new(magnet.clone())).await.unwrap();
    let mut status = resolving.watch();
    drop(resolving);
    within(status.wait_for(|status| status.state == ResolveState::Ended)).await.unwrap();
    drop(session.resolve(ResolveMagnet::new(magnet)).await.unwrap());
    within(session.shutdown()).await;
    assert_eq!(tracker.counts().1, 0);
    tracker.shutdown();
}

#[tokio::test]
async fn what_nobody_adds_ends_with_its_connections() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, _dir) = session().await;
    let resolved = find(&session, from_peer(&payload, seed.session.listen_addr())).await;
    let mut status = seed.torrent.watch();
    within(status.wait_for(|status| status.peers == 1)).await.unwrap();
    drop(resolved);
    within(status.wait_for(|status| status.peers == 0)).await.unwrap();
}

#[tokio::test]
async fn a_torrent_is_looked_for_once_and_not_beside_itself() {
    let payload = payload();
    let (session, dir) = session().await;
    let resolving = session.resolve(ResolveMagnet::new(magnet(&payload))).await.unwrap();
    let again = session.resolve(ResolveMagnet::new(magnet(&payload))).await;
    assert!(matches!(again, Err(Error::AlreadyRunning(_))), "{again:?}");
    let add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    let beside = session.add(add.clone()).await;
    assert!(matches!(beside, Err(Error::AlreadyRunning(_))), "{beside:?}");
    within(resolving.cancel()).await;
    session.add(add).await.unwrap();
    let again = session.resolve(ResolveMagnet::new(magnet(&payload))).await;
    assert!(matches!(again, Err(Error::AlreadyRunning(_))), "{again:?}");
}

#[tokio::test]
async fn after_a_restart_nobody_is_asked_again() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, dir) = session().await;
    let peer = seed.session.listen_addr();
    drop(find(&session, from_peer(&payload, peer)).await);
    session.shutdown().await;

    let session = Session::start(options(&dir)).await.unwrap();
    let mut link = magnet(&payload);
    link.trackers = vec!["http://tracker.example/announce".to_owned()];
    assert!(known_torrent(&dir.path().join("state"), &link).is_some());
    let mut resolve = ResolveMagnet { no_trackers: true, ..ResolveMagnet::new(link) };
    resolve.peers = vec![peer];
    let resolved = find(&session, resolve).await;
    assert!(resolved.is_from_state());
    assert_eq!(resolved.metainfo().trackers(), [["http://tracker.example/announce"]]);
    let mut add = AddTorrent::new(resolved.metainfo().clone(), dir.path());
    add.no_trackers = true;
    let torrent = session.add_resolved(add, resolved).await.unwrap();
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
    let resolving = session.resolve(from_peer(&payload, seed.session.listen_addr())).await.unwrap();
    let mut events = resolving.events();
    assert!(!within(resolving.wait()).await.unwrap().is_from_state());
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
            let introduction = Extensions {
                m: [(UT_METADATA.to_owned(), 9)].into(),
                metadata_size: Some(size as u32),
                ..Extensions::default()
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
                theirs = Extensions::decode(&payload).unwrap().id(UT_METADATA).unwrap_or(0);
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
    let resolving = session.resolve(ResolveMagnet::new(magnet)).await.unwrap();
    let mut status = resolving.watch();
    within(status.wait_for(|status| 0 < status.corrupt)).await.unwrap();
    seed.torrent.add_peers(vec![session.listen_addr()]).await.unwrap();
    let resolved = within(resolving.wait()).await.unwrap();
    assert_eq!(resolved.metainfo().info_bytes(), payload.metainfo(&[]).info_bytes());
}

#[tokio::test]
async fn what_lies_there_but_for_a_piece_is_completed_by_the_peer_that_the_link_names() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let (session, dir) = session().await;
    let peer = seed.session.listen_addr();
    drop(find(&session, from_peer(&payload, peer)).await);
    session.shutdown().await;
    payload.write(dir.path());
    let file = std::fs::File::options().write(true).open(dir.path().join(payload.name)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 16_384], 7 * 16_384).unwrap();

    // The link's torrent is known, so its files are looked at while the name of the peer is looked up.
    let session = Session::start(options(&dir)).await.unwrap();
    let mut link = magnet(&payload);
    link.peers = vec![PeerAddress::Host { name: "localhost".to_owned(), port: peer.port() }];
    let resolved = find(&session, ResolveMagnet::new(link)).await;
    let torrent = fetch(&session, resolved, dir.path()).await;
    payload.assert_at(dir.path());
    assert_eq!(torrent.status().downloaded, 16_384);
}
