//! What others do to files and folders while a torrent is at work, and what was left undone by a process that died.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ferri_engine::{AddTorrent, Check, Session, State, Torrent};

use crate::support::{Payload, Seed, open_below, options, within};

const PIECE: usize = 32768;

fn payload() -> Payload {
    Payload::several(&[("a", 20 * PIECE), ("b", 20 * PIECE), ("none", 0), ("c", 20 * PIECE)], PIECE)
}

/// A download that takes a second or more.
async fn slow_seed(payload: &Payload) -> Seed {
    Seed::start_with(payload, &[], |options, _| options.up_limit = Some(1_500_000)).await
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
    torrent.pause().await;
    within(torrent.watch().wait_for(|s| s.state == State::Paused)).await.unwrap();
    closed_soon(&downloads).await;
    torrent.resume().await;
    torrent.add_peers(vec![seed.session.listen_addr()]).await;
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
    let failed = within(status.wait_for(|s| matches!(s.state, State::Error { .. }))).await.unwrap().clone();
    let State::Error { text, .. } = failed.state else { panic!("just seen") };
    assert!(text.starts_with(&format!("{}: ", downloads.display())) && text.contains("replaced"), "{text}");
    assert_eq!(fs::read_dir(&downloads).unwrap().count(), 0, "nothing goes to the wrong folder");
    fs::remove_dir(&downloads).unwrap();
    fs::rename(&aside, &downloads).unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(&downloads);
    assert!(!aside.exists());
}
