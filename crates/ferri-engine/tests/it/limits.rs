//! Rate limits, seen from outside: bytes over time, with room for a machine that is busy.

use std::time::{Duration, Instant};

use ferri_engine::{AddTorrent, Session};

use crate::support::{Payload, Seed, options, within};

/// A limit may not be passed by more than its burst and one round of in-flight blocks.
async fn takes_at_least(seconds: f64, seed_limit: Option<u64>, down: Option<u64>, torrent_down: Option<u64>) {
    let payload = Payload::single(2_000_000, 65536);
    let seed = Seed::start_with(&payload, &[], |options, _| options.up_limit = seed_limit).await;
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.down_limit = down;
    let session = Session::start(options).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    add.down_limit = torrent_down;
    let started = Instant::now();
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    let took = started.elapsed();
    payload.assert_at(dir.path());
    assert!(Duration::from_secs_f64(seconds) <= took, "{took:?}, expected at least {seconds} s");
}

#[tokio::test]
async fn a_download_limit_of_the_session_holds() {
    takes_at_least(1.6, None, Some(1_000_000), None).await;
}

#[tokio::test]
async fn a_download_limit_of_the_torrent_holds() {
    takes_at_least(1.6, None, None, Some(1_000_000)).await;
}

#[tokio::test]
async fn an_upload_limit_holds() {
    takes_at_least(1.6, Some(1_000_000), None, None).await;
}

#[tokio::test]
async fn a_limit_lifted_while_it_holds_lets_everything_through() {
    let payload = Payload::single(4_000_000, 65536);
    let seed = Seed::start_with(&payload, &[], |options, _| options.up_limit = Some(50_000)).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    let mut status = torrent.watch();
    within(status.wait_for(|s| 0 < s.downloaded)).await.unwrap();
    seed.session.set_limits(None, None);
    // At 50 kB/s it would take 80 s, beyond the patience of `within`.
    within(torrent.wait_done()).await;
}
