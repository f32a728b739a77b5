//! Many torrents, nearly all of them idle: what they cost, and that resting costs them nothing.

use ferri_tracker_server::{Options, TrackerServer};
use std::path::Path;
use std::time::{Duration, Instant};

use ferri_bencode::Encoder;
use ferri_engine::{AddTorrent, Event, Refused, Session, SessionLimits, SessionOptions, State, Torrent};
use ferri_metainfo::Metainfo;
use tempfile::TempDir;

use crate::support::{Payload, open_below, options, within};

const TORRENTS: usize = 300;
/// Tasks of a session without a torrent at work: the listener, the keeper, who reads the UDP sockets, who tells torrents of
/// the network, and who closes connections to trackers that idle.
const TASKS_OF_A_SESSION: usize = 5;

fn payload(n: usize) -> Payload {
    let mut payload = Payload::single(64 << 10, 16 << 10);
    payload.name = Box::leak(format!("payload-{n}").into_boxed_str());
    payload
}

/// A session's folder with the payloads of many torrents.
fn folder(torrents: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    (0..torrents).for_each(|n| payload(n).write(dir.path()));
    dir
}

async fn add_all(session: &Session, dir: &Path, torrents: usize, trackers: &[String]) -> Vec<Torrent> {
    let mut added = Vec::new();
    for n in 0..torrents {
        added.push(session.add(AddTorrent::new(payload(n).metainfo(trackers), dir)).await.unwrap());
    }
    added
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Waits until everything rests but the sessions.
async fn rest(sessions: usize) {
    within(async {
        while sessions * TASKS_OF_A_SESSION < tasks() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn idle_torrents_have_no_task_and_no_file_and_serve_who_comes() {
    let dir = folder(TORRENTS);
    let session = Session::start(options(&dir)).await.unwrap();
    // The first time everything is looked at, which takes tasks.
    for torrent in add_all(&session, dir.path(), TORRENTS, &[]).await {
        within(torrent.wait_done()).await;
    }
    rest(1).await;
    session.shutdown().await;
    // The second time the journals say that there is nothing to do.
    let session = Session::start(options(&dir)).await.unwrap();
    let torrents = add_all(&session, dir.path(), TORRENTS, &[]).await;
    assert!(torrents.iter().all(|torrent| torrent.status().is_done()));
    assert_eq!(tasks(), TASKS_OF_A_SESSION);
    assert!(open_below(dir.path()) <= 1, "the lock of all torrents");
    let (status, later) = (torrents[0].status(), Duration::from_secs(3600));
    assert!(later <= status.complete_for(Instant::now() + later), "time passes for those at rest too");

    for round in 1..=2 {
        let leech_dir = tempfile::tempdir().unwrap();
        let leech = Session::start(options(&leech_dir)).await.unwrap();
        let wanted = payload(TORRENTS / 2);
        let mut add = AddTorrent::new(wanted.metainfo(&[]), leech_dir.path());
        add.peers = vec![session.listen_addr()];
        within(leech.add(add).await.unwrap().wait_done()).await;
        wanted.assert_at(leech_dir.path());
        leech.shutdown().await;
        rest(1).await;
        let status = torrents[TORRENTS / 2].status();
        assert_eq!(status.uploaded, round * wanted.total() as u64, "what was sent before a rest counts");
        assert!(open_below(dir.path()) <= 1);
    }
    session.shutdown().await;
    assert!(torrents.iter().all(|torrent| torrent.status().state == State::Stopped));
}

#[tokio::test]
async fn more_torrents_than_the_disk_threads_once_had_room_for_are_all_checked() {
    // A check stood in a queue of 4,096 once a thread: with eight threads there was room for 512.
    const MANY: usize = 600;
    let dir = folder(MANY);
    let threads = SessionOptions { disk_threads: 8, ..options(&dir) };
    let session = Session::start(threads).await.unwrap();
    let torrents = add_all(&session, dir.path(), MANY, &[]).await;
    let mut longest = 0;
    for torrent in &torrents {
        longest = longest.max(torrent.status().checks_ahead().unwrap_or(0));
        within(torrent.wait_done()).await;
        assert_eq!(torrent.status().state, State::Seeding);
    }
    assert!(longest < MANY, "{longest}");
    session.shutdown().await;
}

/// A file without a block on disk, and its torrent: to be checked for a while.
fn zeros(dir: &Path, length: usize) -> Metainfo {
    const PIECE: usize = 1 << 20;
    std::fs::File::create(dir.join("zeros")).unwrap().set_len(length as u64).unwrap();
    let mut encoder = Encoder::new();
    encoder.begin_dict().key(b"info").begin_dict().key(b"length").int(length as i64);
    encoder.key(b"name").bytes(b"zeros").key(b"piece length").int(PIECE as i64);
    encoder.key(b"pieces").bytes(&ferri_hash::sha1(&vec![0; PIECE]).repeat(length / PIECE));
    encoder.end().end();
    Metainfo::parse(&encoder.into_bytes()).unwrap()
}

#[tokio::test]
async fn a_torrent_that_waits_for_others_to_be_checked_says_so_and_can_be_stopped() {
    let dir = folder(3);
    let limits = SessionLimits { checks_at_once: 1, ..SessionLimits::default() };
    let session = Session::start(SessionOptions { disk_threads: 1, limits, ..options(&dir) });
    let session = session.await.unwrap();
    let slow = zeros(dir.path(), 512 << 20);
    let mut torrents = vec![session.add(AddTorrent::new(slow, dir.path())).await.unwrap()];
    torrents.extend(add_all(&session, dir.path(), 3, &[]).await);
    let ahead: Vec<_> = torrents.iter().map(|torrent| torrent.status().checks_ahead()).collect();
    assert_eq!(ahead, [None, Some(1), Some(2), Some(3)]);
    let status = torrents[2].status();
    assert_eq!(status.state, State::Checking { done: 0, total: 64 << 10 });
    within(torrents[2].stop()).await.unwrap();
    assert_eq!(torrents[2].status().state, State::Stopped);
    for torrent in [&torrents[0], &torrents[1], &torrents[3]] {
        within(torrent.wait_done()).await;
    }
    session.shutdown().await;
}

#[tokio::test]
async fn announces_are_spread_and_everybody_says_stopped() {
    const MANY: usize = 60;
    let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
    let dir = folder(MANY);
    let session = Session::start(options(&dir)).await.unwrap();
    let began = Instant::now();
    let torrents = add_all(&session, dir.path(), MANY, &[tracker.http_url()]).await;
    let announced = within(async {
        let mut seen = Vec::new();
        while seen.last() != Some(&MANY) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            seen.push(tracker.counts().1);
            // Ten at once, then one every 50 ms; in a test that runs at once with others it may look late.
            let due = 10 + (began.elapsed().as_millis() / 50) as usize + 1;
            assert!(*seen.last().unwrap() <= due, "{seen:?}");
        }
        seen
    })
    .await;
    assert!(announced.iter().any(|seen| (1..MANY).contains(seen)), "not all at once: {announced:?}");
    let statuses = within(torrents[0].trackers()).await;
    assert!(statuses[0].next_announce.is_some_and(|wait| Duration::from_secs(60) < wait), "{statuses:?}");
    session.shutdown().await;
    assert_eq!(tracker.counts().1, 0, "all said stopped");
    tracker.shutdown();
}

#[tokio::test]
async fn a_paused_torrent_rests_and_goes_on_when_resumed() {
    let wanted = payload(0);
    let (seed_dir, dir) = (folder(1), tempfile::tempdir().unwrap());
    let seed = Session::start(options(&seed_dir)).await.unwrap();
    let serving = add_all(&seed, seed_dir.path(), 1, &[]).await;
    within(serving[0].wait_done()).await;
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(AddTorrent::new(wanted.metainfo(&[]), dir.path())).await.unwrap();
    let mut events = torrent.events();
    torrent.pause().await.unwrap();
    rest(2).await;
    assert_eq!(torrent.status().state, State::Paused);
    assert!(torrent.peers().await.is_empty() && torrent.trackers().await.is_empty());
    assert_eq!(tasks(), 2 * TASKS_OF_A_SESSION, "a look does not wake it");

    torrent.add_peers(vec![seed.listen_addr()]).await.unwrap();
    torrent.resume().await.unwrap();
    within(torrent.wait_done()).await;
    wanted.assert_at(dir.path());
    let mut states = Vec::new();
    while let Ok(Some(event)) = events.try_recv() {
        if let Event::StateChanged(state) = event {
            states.push(state);
        }
    }
    assert_eq!(states, [State::Downloading, State::Paused, State::Downloading, State::Seeding]);

    rest(2).await;
    within(torrent.stop()).await.unwrap();
    assert!(session.torrents().is_empty());
    assert!(torrent.stop().await.is_err(), "it has stopped");
    within(torrent.wait_stopped()).await;
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_no_torrent_waiting() {
    let dir = folder(1);
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = add_all(&session, dir.path(), 1, &[]).await.remove(0);
    within(torrent.wait_done()).await;
    rest(1).await;
    drop(session);
    within(torrent.wait_stopped()).await;
    assert_eq!(torrent.resume().await, Err(Refused::Stopped));
    assert_eq!(torrent.status().state, State::Stopped);
    // The lock was given back with the rest.
    let again = Session::start(options(&dir)).await.unwrap();
    add_all(&again, dir.path(), 1, &[]).await;
}
