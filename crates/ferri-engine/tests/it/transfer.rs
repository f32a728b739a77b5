//! From one session to another: whole torrents, parts of them, through trackers and without.

use ferri_engine::{AddTorrent, Encryption, FilePriority, PeerEncryption, Session, SessionOptions, State};
use ferri_tracker_server::{Options, TrackerServer};

use crate::support::{Payload, Seed, options, within};

/// Downloads `payload` from a seed that only a tracker knows.
async fn through_tracker(payload: &Payload, url: impl Fn(&TrackerServer) -> String) {
    let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
    let trackers = [url(&tracker)];
    let seed = Seed::start(payload, &trackers).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let out = dir.path().join("out");
    let torrent = session.add(AddTorrent::new(payload.metainfo(&trackers), &out)).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(&out);
    let status = torrent.status();
    assert_eq!(status.downloaded - status.wasted, payload.total() as u64);
    session.shutdown().await;
    seed.session.shutdown().await;
    assert_eq!(tracker.counts().1, 0, "both said stopped");
    tracker.shutdown();
}

#[tokio::test]
async fn a_single_file_comes_over_an_http_tracker() {
    through_tracker(&Payload::single(5_000_123, 65536), TrackerServer::http_url).await;
}

#[tokio::test]
async fn several_files_come_over_a_udp_tracker() {
    let files = [("a.txt", 1), ("b/c.bin", 3_000_000), ("b/empty", 0), ("b/d/e.bin", 70_001), ("z", 16384)];
    through_tracker(&Payload::several(&files, 32768), TrackerServer::udp_url).await;
}

#[tokio::test]
async fn pieces_smaller_than_a_block_come_too() {
    through_tracker(&Payload::several(&[("a", 5_000), ("b/c", 12_345)], 100), TrackerServer::http_url).await;
}

#[tokio::test]
async fn an_encrypted_download_comes_whole_and_both_sides_say_that_it_is_encrypted() {
    let payload = Payload::single(3_000_123, 32768);
    for (encryption, expected) in
        [(Encryption::Require, PeerEncryption::Rc4), (Encryption::Allow, PeerEncryption::None)]
    {
        let seed = Seed::start(&payload, &[]).await;
        let dir = tempfile::tempdir().unwrap();
        let mut options = SessionOptions { encryption, ..options(&dir) };
        options.limits.down = Some(2_000_000);
        let session = Session::start(options).await.unwrap();
        let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
        add.peers = vec![seed.session.listen_addr()];
        let torrent = session.add(add).await.unwrap();
        within(torrent.watch().wait_for(|status| 5 < status.pieces_done)).await.unwrap();
        for torrent in [&torrent, &seed.torrent] {
            let peers = torrent.peers().await;
            let found: Vec<_> = peers.iter().map(|peer| peer.encryption).collect();
            assert_eq!(found, [expected]);
        }
        within(torrent.wait_done()).await;
        payload.assert_at(dir.path());
    }
}

#[tokio::test]
async fn partial_seeds_complete_each_other() {
    let payload = Payload::single(3_000_000, 32768);
    let pieces = payload.total().div_ceil(32768) as u32;
    let even = Seed::partial(&payload, (0..pieces).filter(|n| n % 2 == 0)).await;
    let odd = Seed::partial(&payload, (0..pieces).filter(|n| n % 2 == 1)).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![even.session.listen_addr(), odd.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn unwanted_files_are_not_created_until_they_are_wanted() {
    let payload = Payload::several(&[("one", 50_000), ("two", 50_000), ("three", 50_000)], 32768);
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    add.priorities = vec![FilePriority::Skip, FilePriority::Normal, FilePriority::Skip];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    let folder = dir.path().join("folder");
    assert!(std::fs::read(folder.join("two")).unwrap() == payload.files[1].1);
    assert!(!folder.join("one").exists() && !folder.join("three").exists());
    torrent.set_priorities(Vec::new()).await.unwrap();
    torrent.add_peers(vec![seed.session.listen_addr()]).await.unwrap();
    let mut status = torrent.watch();
    within(status.wait_for(|s| s.wanted == s.total && s.is_done())).await.unwrap();
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn pieces_larger_than_the_memory_for_pieces_come_all_the_same() {
    let payload = Payload::several(&[("a", 9_000_000), ("b", 3_000_001)], 8 << 20);
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.limits.memory = 1 << 20;
    let session = Session::start(options).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_pauses_and_goes_on() {
    let payload = Payload::single(4_000_000, 65536);
    let seed = Seed::start_with(&payload, &[], |options, _| options.limits.up = Some(2_000_000)).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    let mut status = torrent.watch();
    within(status.wait_for(|s| 0 < s.pieces_done)).await.unwrap();
    torrent.pause().await.unwrap();
    within(status.wait_for(|s| s.state == State::Paused && s.peers == 0)).await.unwrap();
    torrent.resume().await.unwrap();
    torrent.add_peers(vec![seed.session.listen_addr()]).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn a_seed_serves_from_the_payload_itself_under_another_name() {
    let payload = Payload::single(500_000, 32768);
    let elsewhere = tempfile::tempdir().unwrap();
    let renamed = elsewhere.path().join("renamed.img");
    std::fs::write(&renamed, &payload.files[0].1).unwrap();
    let seed = Seed::start_with(&payload, &[], |_, add| add.payload = Some(renamed)).await;
    assert!(seed.torrent.status().is_done());
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    within(session.add(add).await.unwrap().wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn the_same_torrent_twice_is_refused() {
    let payload = Payload::single(100_000, 32768);
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    session.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await.unwrap();
    let again = session.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await;
    assert!(matches!(again, Err(ferri_engine::Error::AlreadyRunning(_))), "{again:?}");
    let other = Session::start(options(&dir)).await.unwrap();
    let again = other.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await;
    assert!(matches!(again, Err(ferri_engine::Error::AlreadyRunning(_))), "{again:?}");
}
