//! Who may use the tracker: lists of torrents, passkeys, and what happens to them while it runs.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ferri_tracker_server::{Error, Fetch, Listener, Lists, Notice, Options, Source, TrackerServer};

use super::{Client, PATIENCE, announce};

fn listener() -> (Listener, Receiver<Notice>) {
    let (told, hears) = channel();
    let told = Mutex::new(told);
    (Listener(Arc::new(move |notice| told.lock().unwrap().send(notice.clone()).unwrap())), hears)
}

/// Writes as if it had been some time ago: no more is waited for.
fn write_text(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(100);
    File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

/// A list of one torrent.
fn write(path: &Path, byte: u8) {
    write_text(path, &format!("{byte:02x}").repeat(20));
}

/// Whether an announce for the torrent is answered with peers.
fn is_served(tracker: &TrackerServer, byte: u8) -> bool {
    let text = Client::new(tracker.addr()).get(&announce(byte, 1, 1)).text();
    assert_ne!(text.contains("failure reason"), text.contains("interval"), "{text}");
    text.contains("interval")
}

#[test]
fn a_list_is_read_again_when_asked_and_the_old_one_stays_when_it_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deny");
    write(&path, 1);
    let (listener, notices) = listener();
    let lists = Lists { deny: Some(Source::File(path.clone())), ..Lists::default() };
    let tracker = TrackerServer::start(Options { lists, listener, ..Options::on("127.0.0.1:0") }).unwrap();
    // A worker that was there before is told too.
    let mut kept = Client::new(tracker.addr());
    assert_eq!((is_served(&tracker, 1), is_served(&tracker, 2)), (false, true));
    write(&path, 2);
    tracker.reload();
    assert!(matches!(notices.recv_timeout(PATIENCE).unwrap(), Notice::ListRead { entries: 1, .. }));
    assert_eq!((is_served(&tracker, 1), is_served(&tracker, 2)), (true, false));
    assert!(kept.get(&announce(2, 1, 1)).text().contains("failure reason"));
    write_text(&path, "who wrote this\n");
    tracker.reload();
    let notice = notices.recv_timeout(PATIENCE).unwrap();
    assert!(notice.is_bad() && notice.to_string().contains("stays as it was: line 1"), "{notice}");
    assert_eq!((is_served(&tracker, 1), is_served(&tracker, 2)), (true, false));
    write_text(&path, "# nothing\n");
    tracker.reload();
    let notice = notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(notice, Notice::ListEmptied { before: 1, .. }) && notice.is_bad(), "{notice}");
    write(&path, 2);
    tracker.reload();
    assert!(!notices.recv_timeout(PATIENCE).unwrap().is_bad());
    fs::remove_file(&path).unwrap();
    tracker.reload();
    assert!(notices.recv_timeout(PATIENCE).unwrap().is_bad());
    assert!(!is_served(&tracker, 2));
}

#[test]
fn a_list_may_come_from_an_address() {
    let text = Arc::new(Mutex::new("01".repeat(20)));
    let served = text.clone();
    let fetch = Some(Fetch(Arc::new(move |_, _| Ok(served.lock().unwrap().clone().into_bytes()))));
    let (listener, notices) = listener();
    let lists =
        Lists { allow: Some(Source::Url("https://index.example/all".to_owned())), ..Lists::default() };
    let options = Options { lists, fetch, listener, ..Options::on("127.0.0.1:0") };
    let tracker = TrackerServer::start(options).unwrap();
    assert_eq!((is_served(&tracker, 1), is_served(&tracker, 2)), (true, false));
    *text.lock().unwrap() = "02".repeat(20);
    tracker.reload();
    assert!(matches!(notices.recv_timeout(PATIENCE).unwrap(), Notice::ListRead { .. }));
    assert_eq!((is_served(&tracker, 1), is_served(&tracker, 2)), (false, true));
}

/// A tracker with a list from an address, each fetch of which after the first one is told, and waits for a permit.
fn held(options: Options) -> (TrackerServer, Receiver<()>, Sender<()>, Arc<AtomicUsize>) {
    let (begun, begins) = channel();
    let (permit, permits) = channel::<()>();
    let shared = Mutex::new((begun, permits));
    let count = Arc::new(AtomicUsize::new(0));
    let fetched = count.clone();
    let fetch = move |_: &str, _: usize| {
        if fetched.fetch_add(1, Ordering::Relaxed) != 0 {
            let (begun, permits) = &*shared.lock().unwrap();
            let _ = begun.send(());
            // A test that failed is not waited for.
            let _ = permits.recv();
        }
        Ok(Vec::new())
    };
    let lists = Lists { deny: Some(Source::Url("https://x/".to_owned())), ..Lists::default() };
    let options = Options { lists, fetch: Some(Fetch(Arc::new(fetch))), ..options };
    (TrackerServer::start(options).unwrap(), begins, permit, count)
}

#[test]
fn orders_that_come_while_a_list_is_read_are_one() {
    let (tracker, begins, permit, fetched) = held(Options::on("127.0.0.1:0"));
    tracker.reload();
    begins.recv_timeout(PATIENCE).unwrap();
    (0..100).for_each(|_| tracker.reload());
    permit.send(()).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    drop(permit);
    tracker.shutdown();
    assert_eq!(fetched.load(Ordering::Relaxed), 3, "at the start, for the first order, for all others");
}

#[test]
fn the_last_snapshot_waits_for_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("peers"), folder.path().join("copy"));
    let hour = Duration::from_secs(3_600);
    let kept = |path: &Path| Options {
        state: Some(path.to_owned()),
        state_interval: hour,
        ..Options::on("127.0.0.1:0")
    };
    let (tracker, begins, permit, _) = held(kept(&path));
    assert!(is_served(&tracker, 1));
    tracker.reload();
    begins.recv_timeout(PATIENCE).unwrap();
    let ending = std::thread::spawn(move || tracker.shutdown());
    let deadline = Instant::now() + PATIENCE;
    loop {
        fs::copy(&path, &copy).unwrap();
        if TrackerServer::start(kept(&copy)).unwrap().counts() == (1, 1) {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    drop(permit);
    ending.join().unwrap();
}

#[test]
fn limits_of_a_passkey_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (users, state) = (folder.path().join("users"), folder.path().join("peers"));
    write_text(&users, "alice-0001 peers=3\n");
    let start = || {
        let lists = Lists { passkeys: Some(users.clone()), ..Lists::default() };
        TrackerServer::start(Options { lists, state: Some(state.clone()), ..Options::on("127.0.0.1:0") })
            .unwrap()
    };
    let is_served = |tracker: &TrackerServer, peer| {
        let told = Client::new(tracker.addr()).get(&format!("/alice-0001{}", announce(1, peer, 1))).text();
        assert_ne!(told.contains("failure reason"), told.contains("interval"), "{told}");
        told.contains("interval")
    };
    let tracker = start();
    assert!((1..4).all(|peer| is_served(&tracker, peer)) && !is_served(&tracker, 4));
    tracker.shutdown();
    let tracker = start();
    assert!(!is_served(&tracker, 4), "it came first, but others have the places");
    assert!((1..4).all(|peer| is_served(&tracker, peer)));
}

#[test]
fn a_tracker_with_a_bad_list_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    write_text(&path, "alice-0001\nshort\n");
    let lists = Lists { passkeys: Some(path), ..Lists::default() };
    let error = TrackerServer::start(Options { lists, ..Options::on("127.0.0.1:0") }).unwrap_err();
    assert!(matches!(error, Error::List { .. }));
    assert!(error.to_string().contains("users): line 2: a passkey has 8 to 128 characters"), "{error}");
}

#[test]
fn users_of_a_private_tracker_have_their_own_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    write_text(&path, "alice-0001 # the boss\nbob-000001\n");
    let lists = Lists { passkeys: Some(path.clone()), ..Lists::default() };
    let (listener, notices) = listener();
    let tracker = TrackerServer::start(Options { lists, listener, ..Options::on("127.0.0.1:0") }).unwrap();
    let mut client = Client::new(tracker.addr());
    let mut ask = |key: &str| client.get(&format!("{key}{}", announce(1, 1, 1))).text();
    assert!(ask("/alice-0001").contains("interval"));
    assert!(ask("/alice-0002").contains("failure reason"));
    assert!(ask("").contains("passkey"));
    write_text(&path, "alice-0002\n");
    tracker.reload();
    assert!(!notices.recv_timeout(PATIENCE).unwrap().is_bad());
    assert!(ask("/alice-0001").contains("failure reason"));
    assert!(ask("/alice-0002").contains("interval"));
}
