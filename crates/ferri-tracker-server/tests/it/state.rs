//! Restarts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferri_tracker_server::{Error, Listener, Notice, Options, TrackerServer};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Client, PATIENCE, announce, who};

type Told = Arc<Mutex<Vec<Notice>>>;

fn start(path: &Path) -> (TrackerServer, Told) {
    let told = Told::default();
    let hears = told.clone();
    let options = Options {
        state: Some(path.to_owned()),
        state_interval: Duration::from_secs(1),
        listener: Listener(Arc::new(move |notice| hears.lock().unwrap().push(notice.clone()))),
        ..Options::on("127.0.0.1:0")
    };
    (TrackerServer::start(options).unwrap(), told)
}

/// Three peers of two torrents.
fn fill(tracker: &TrackerServer) {
    for (swarm, peer) in [(1, 1), (1, 2), (2, 3)] {
        assert_eq!(Client::from(tracker.addr(), who(peer)).get(&announce(swarm, peer, 0)).status, 200);
    }
}

#[test]
fn a_restart_loses_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/of/mine/tracker.peers");
    let (tracker, _) = start(&path);
    fill(&tracker);
    tracker.shutdown();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (tracker, told) = start(&path);
    assert_eq!(tracker.counts(), (2, 3));
    assert_eq!(*told.lock().unwrap(), [Notice::Restored { peers: 3, silent: 0 }]);
    let answer = Client::from(tracker.addr(), who(9)).get(&announce(2, 9, 1));
    assert!(answer.body.windows(6).any(|window| window == [127, 0, 0, 3, 0x17, 0x73]), "{}", answer.text());
}

#[test]
fn what_a_killed_tracker_wrote_last_is_a_whole_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a"), folder.path().join("b"));
    let (tracker, _) = start(&path);
    fill(&tracker);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // As it lies there if the process ends at any time.
        fs::copy(&path, &copy).unwrap();
        let (again, told) = start(&copy);
        assert!(told.lock().unwrap().iter().all(|notice| !notice.is_bad()));
        if again.counts() == (2, 3) {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    assert_eq!(tracker.counts(), (2, 3));
}

fn check_set_aside(damage: impl Fn(&mut Vec<u8>), why: &str, known: (usize, usize)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracker.peers");
    let (tracker, _) = start(&path);
    fill(&tracker);
    tracker.shutdown();
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let (tracker, told) = start(&path);
    let notice = told.lock().unwrap()[0].clone();
    assert!(notice.is_bad() && notice.to_string().contains(why), "{notice}");
    assert_eq!(fs::read(folder.path().join("tracker.peers.damaged")).unwrap(), bytes);
    assert_eq!(tracker.counts(), known);
    fill(&tracker);
    tracker.shutdown();
    let (tracker, _) = start(&path);
    assert_eq!(tracker.counts(), (2, 3));
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_named_and_the_tracker_starts() {
    check_set_aside(|bytes| bytes.clear(), "no snapshot", (0, 0));
    check_set_aside(|bytes| bytes[0] ^= 1, "no snapshot", (0, 0));
    check_set_aside(|bytes| bytes[11] = 9, "a newer program wrote it: its version is 9", (0, 0));
    check_set_aside(|bytes| bytes[60] ^= 1, "damaged between", (0, 0));
    // Only the mark of the end is missing.
    check_set_aside(|bytes| bytes.truncate(bytes.len() - 1), "in the middle", (2, 3));
}

#[test]
fn a_state_file_that_cannot_be_written_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let options = Options { state: Some(file.join("state")), ..Options::on("127.0.0.1:0") };
    let error = TrackerServer::start(options).unwrap_err();
    assert!(matches!(error, Error::State { .. }) && error.to_string().contains("file/state"), "{error}");
}

#[test]
fn a_state_file_that_is_no_plain_file_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let options = Options { state: Some(fifo), ..Options::on("127.0.0.1:0") };
    let error = TrackerServer::start(options).unwrap_err();
    assert!(error.to_string().ends_with("it is a FIFO or pipe, not a plain file"), "{error}");
}

#[test]
fn a_folder_of_others_stays_as_it_is_and_new_ones_are_for_their_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    let theirs = folder.path().join("torrents");
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    start(&folder.path().join("peers")).0.shutdown();
    start(&folder.path().join("new/peers")).0.shutdown();
    assert_eq!((mode("torrents"), mode("new"), mode("peers")), (0o755, 0o700, 0o600));
}

#[test]
fn a_second_tracker_with_the_same_file_is_refused_until_the_first_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (first, _) = start(&path);
    fill(&first);
    let second = Options { state: Some(path.clone()), ..Options::on("127.0.0.1:0") };
    let error = TrackerServer::start(second).unwrap_err();
    assert!(matches!(&error, Error::StateBusy { path: busy } if *busy == path), "{error}");
    first.shutdown();
    let (again, _) = start(&path);
    assert_eq!(again.counts(), (2, 3));
}

#[test]
fn what_a_killed_tracker_was_writing_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join(".peers.4711-3.tmp");
    fs::write(&left, "half").unwrap();
    start(&folder.path().join("peers")).0.shutdown();
    assert!(!left.exists());
}

#[test]
fn what_has_no_room_any_more_is_kept_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (tracker, _) = start(&path);
    fill(&tracker);
    tracker.shutdown();
    let written = fs::read(&path).unwrap();
    let start_small = || {
        let told = Told::default();
        let hears = told.clone();
        let mut options = Options {
            state: Some(path.clone()),
            listener: Listener(Arc::new(move |notice| hears.lock().unwrap().push(notice.clone()))),
            ..Options::on("127.0.0.1:0")
        };
        options.registry.peers_max = 1;
        TrackerServer::start(options).unwrap().shutdown();
        told
    };
    let told = start_small();
    let full = folder.path().join("peers.full");
    assert_eq!(fs::read(&full).unwrap(), written);
    let expected =
        [Notice::Restored { peers: 1, silent: 0 }, Notice::NoRoom { peers: 2, kept: full.clone() }];
    assert_eq!(*told.lock().unwrap(), expected);
    fs::rename(&full, &path).unwrap();
    assert_eq!(start(&path).0.counts(), (2, 3));
    // One that is damaged too lies where that puts it.
    fs::write(&path, &written[..written.len() - 1]).unwrap();
    let told = start_small();
    let damaged = folder.path().join("peers.damaged");
    assert!(damaged.exists() && !full.exists());
    let kept = Notice::NoRoom { peers: 2, kept: damaged };
    assert!(told.lock().unwrap().contains(&kept), "{told:?}");
}
