//! Rate limits, seen from outside: bytes over time, with room for a machine that is busy.

use std::time::{Duration, Instant};

use ferri_engine::{AddTorrent, Error, LimitsError, Session, SessionLimits, SessionOptions};
use ferri_wire::Reserved;

use crate::support::{Payload, Seed, options, shake, within};

/// A limit may not be passed by more than its burst and one round of in-flight blocks.
async fn takes_at_least(seconds: f64, seed_limit: Option<u64>, down: Option<u64>, torrent_down: Option<u64>) {
    let payload = Payload::single(2_000_000, 65536);
    let seed = Seed::start_with(&payload, &[], |options, _| options.limits.up = seed_limit).await;
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.limits.down = down;
    let session = Session::start(options).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    add.limits.down = torrent_down;
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
    let seed = Seed::start_with(&payload, &[], |options, _| options.limits.up = Some(50_000)).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    let torrent = session.add(add).await.unwrap();
    let mut status = torrent.watch();
    within(status.wait_for(|s| 0 < s.downloaded)).await.unwrap();
    let limits = seed.session.limits();
    assert_eq!(limits.up, Some(50_000));
    seed.session.set_limits(SessionLimits { up: None, ..limits }).unwrap();
    // At 50 kB/s it would take 80 s, beyond the patience of `within`.
    within(torrent.wait_done()).await;
}

#[tokio::test]
async fn the_connections_that_a_session_allows_change_while_it_runs() {
    let payload = Payload::single(100_000, 32768);
    let seed = Seed::start(&payload, &[]).await;
    let addr = seed.session.listen_addr();
    let call = move || {
        let payload = Payload::single(100_000, 32768);
        [(); 3].map(|()| shake(addr, &payload, Reserved::NONE.with_fast()))
    };
    let _held = tokio::task::spawn_blocking(call).await.unwrap();
    let mut status = seed.torrent.watch();
    within(status.wait_for(|status| status.peers == 3)).await.unwrap();
    let limits = SessionLimits { peers_per_torrent: 1, ..seed.session.limits() };
    seed.session.set_limits(limits.clone()).unwrap();
    assert_eq!(seed.session.limits(), limits);
    within(status.wait_for(|status| status.peers == 1)).await.unwrap();
}

#[tokio::test]
async fn limits_with_which_nothing_would_work_are_refused_and_those_before_stand() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let good = SessionLimits::default;
    let refused = [
        (SessionLimits { down: Some(0), ..good() }, LimitsError::NoRate),
        (SessionLimits { up: Some(0), ..good() }, LimitsError::NoRate),
        (SessionLimits { memory: 16_383, ..good() }, LimitsError::NoMemory),
        (SessionLimits { peers_max: 0, ..good() }, LimitsError::NoPeers),
        (SessionLimits { peers_per_torrent: 0, ..good() }, LimitsError::NoPeers),
        (SessionLimits { half_open_max: 0, ..good() }, LimitsError::NoPeers),
        (SessionLimits { checks_at_once: 0, ..good() }, LimitsError::NoChecks),
    ];
    for (limits, error) in refused {
        assert_eq!(session.set_limits(limits.clone()), Err(error));
        let other = tempfile::tempdir().unwrap();
        let start = Session::start(SessionOptions { limits, ..options(&other) }).await;
        assert!(matches!(start, Err(Error::Limits(found)) if found == error), "{start:?}");
    }
    assert_eq!(session.limits(), good());
}
