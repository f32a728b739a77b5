//! Starting again: after a clean stop, after none, and after another program touched the files.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ferri_engine::{AddTorrent, Check, Event, Session, Torrent};

use crate::support::{Payload, Seed, options, within};

const PIECE: usize = 32768;

fn payload() -> Payload {
    Payload::several(&[("a", 20 * PIECE), ("b", 20 * PIECE), ("c", 20 * PIECE)], PIECE)
}

async fn add(session: &Session, payload: &Payload, dir: &Path, seed: &Seed) -> Torrent {
    add_with(session, payload, dir, seed, |_| {}).await
}

async fn add_with(
    session: &Session,
    payload: &Payload,
    dir: &Path,
    seed: &Seed,
    change: impl FnOnce(&mut AddTorrent),
) -> Torrent {
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir);
    change(&mut add);
    add.peers = vec![seed.session.listen_addr()];
    session.add(add).await.unwrap()
}

/// Downloads everything, stops cleanly, lets `meddle` at the files, and returns the bytes fetched in a second run, for which
/// the user gives up what they changed.
async fn fetched_again(meddle: impl FnOnce(&Path)) -> u64 {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    within(add(&session, &payload, dir.path(), &seed).await.wait_done()).await;
    session.shutdown().await;
    meddle(&dir.path().join("folder"));
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add_with(&session, &payload, dir.path(), &seed, |add| add.overwrite = true).await;
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    torrent.status().downloaded
}

#[tokio::test]
async fn after_a_clean_stop_nothing_is_fetched_again() {
    assert_eq!(fetched_again(|_| {}).await, 0);
}

#[tokio::test]
async fn a_changed_piece_alone_is_fetched_again() {
    let fetched = fetched_again(|dir| {
        let file = std::fs::File::options().write(true).open(dir.join("b")).unwrap();
        file.write_all_at(b"meddled", 5 * PIECE as u64 + 3).unwrap();
    })
    .await;
    assert_eq!(fetched, PIECE as u64);
}

#[tokio::test]
async fn a_missing_file_alone_is_fetched_again() {
    let fetched = fetched_again(|dir| std::fs::remove_file(dir.join("c")).unwrap()).await;
    assert_eq!(fetched, 20 * PIECE as u64);
}

#[tokio::test]
async fn what_was_cut_off_alone_is_fetched_again() {
    let fetched = fetched_again(|dir| {
        std::fs::File::options().write(true).open(dir.join("a")).unwrap().set_len(10 * PIECE as u64).unwrap();
    })
    .await;
    assert_eq!(fetched, 10 * PIECE as u64);
}

#[tokio::test]
async fn an_interrupted_download_fetches_only_the_rest() {
    let payload = payload();
    let seed = Seed::start_with(&payload, &[], |options, _| options.limits.up = Some(3_000_000)).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add(&session, &payload, dir.path(), &seed).await;
    let mut status = torrent.watch();
    within(status.wait_for(|s| 10 < s.pieces_done)).await.unwrap();
    session.shutdown().await;
    let done = u64::from(torrent.status().pieces_done) * PIECE as u64;
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add(&session, &payload, dir.path(), &seed).await;
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    let status = torrent.status();
    assert_eq!(status.downloaded - status.wasted, payload.total() as u64 - done);
}

#[tokio::test]
async fn data_that_lies_there_already_is_found_by_a_check() {
    let payload = payload();
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.check = Check::Full;
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    assert_eq!(torrent.status().pieces_done, 60);
    assert_eq!(torrent.status().downloaded, 0);
}

#[tokio::test]
async fn without_a_journal_data_that_lies_there_is_believed_only_after_a_check() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    let file = std::fs::File::options().write(true).open(dir.path().join("folder/a")).unwrap();
    file.write_all_at(b"meddled", 7).unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add_with(&session, &payload, dir.path(), &seed, |add| add.overwrite = true).await;
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    assert_eq!(torrent.status().downloaded, PIECE as u64);
}

#[tokio::test]
async fn what_was_sent_and_received_is_remembered_by_the_next_session() {
    let payload = payload();
    let total = payload.total() as u64;
    let (seed_dir, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    payload.write(seed_dir.path());
    let serve = async || {
        let session = Session::start(options(&seed_dir)).await.unwrap();
        let torrent = session.add(AddTorrent::new(payload.metainfo(&[]), seed_dir.path())).await.unwrap();
        within(torrent.wait_done()).await;
        (session, torrent)
    };
    let (session, torrent) = serve().await;
    assert_eq!(torrent.status().all_time.uploaded, 0);
    let leech = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![session.listen_addr()];
    within(leech.add(add).await.unwrap().wait_done()).await;
    leech.shutdown().await;
    within(torrent.watch().wait_for(|status| status.uploaded == total)).await.unwrap();
    session.shutdown().await;
    let seeded = torrent.status().all_time.seeding.at(Instant::now());
    assert_ne!(seeded, Duration::ZERO);

    let (session, torrent) = serve().await;
    let status = torrent.status();
    assert_eq!((status.uploaded, status.all_time.uploaded), (0, total));
    assert!((status.ratio - 1.0).abs() < 1e-9, "{}", status.ratio);
    let seeding = status.all_time.seeding.at(Instant::now() + Duration::from_secs(60));
    assert!(seeded + Duration::from_secs(59) < seeding, "{seeded:?} {seeding:?}");
    session.shutdown().await;
    let leech = Session::start(options(&dir)).await.unwrap();
    let torrent = leech.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await.unwrap();
    within(torrent.wait_done()).await;
    assert_eq!((torrent.status().downloaded, torrent.status().all_time.downloaded), (0, total));
    leech.shutdown().await;

    // Damage is told, and is no reason not to go on.
    let state = dir.path().join("state/torrents").join(torrent.info_hashes().wire().to_string());
    std::fs::write(state.join("totals"), b"damaged").unwrap();
    let leech = Session::start(options(&dir)).await.unwrap();
    let torrent = leech.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await.unwrap();
    let mut events = torrent.events();
    within(torrent.wait_done()).await;
    assert_eq!(torrent.status().all_time.downloaded, 0);
    let is_told = std::iter::from_fn(|| events.try_recv().unwrap())
        .any(|event| matches!(event, Event::Note(note) if note.to_string().contains("totals.aside-1")));
    assert!(is_told && state.join("totals.aside-1").exists());
    leech.shutdown().await;
}
