//! A session as a service holds it: clones, names, events and changes of all torrents together.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ferri_engine::{AddTorrent, Ended, Error, Event, EventsError, Session, SessionEvent, State};

use crate::support::{Payload, options, within};

fn payload(name: &'static str) -> Payload {
    Payload { name, ..Payload::single(100_000, 16 << 10) }
}

#[test]
fn a_session_without_a_runtime_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let start = pin!(Session::start(options(&dir)));
    let Poll::Ready(Err(error)) = start.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nothing is there to wait for")
    };
    assert!(matches!(error, Error::NoRuntime) && error.to_string().contains("tokio runtime"), "{error}");
    assert!(!dir.path().join("state").exists(), "nothing was begun");
}

async fn a_clone_is_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let clone = session.clone();
    let torrent = clone.add(AddTorrent::new(payload("a").metainfo(&[]), dir.path())).await.unwrap();
    drop(clone);
    within(torrent.wait_checked()).await;
    assert_eq!(torrent.status().state, State::Downloading);
    assert_eq!(session.torrents().len(), 1);
    drop(session);
    within(torrent.wait_stopped()).await;
}

#[tokio::test]
async fn a_session_lives_as_long_as_its_last_clone_in_a_runtime_of_one_thread() {
    a_clone_is_the_session().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lives_as_long_as_its_last_clone_in_a_runtime_of_many_threads() {
    a_clone_is_the_session().await;
}

#[tokio::test]
async fn who_follows_a_session_hears_of_each_torrent_by_its_hash_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut events = session.events();
    assert!(session.changes_since(0).torrents.is_empty());
    let mut names = BTreeSet::new();
    for name in ["a", "b", "c"] {
        let metainfo = payload(name).metainfo(&[]);
        names.insert(metainfo.info().info_hashes().wire());
        session.add(AddTorrent::new(metainfo, dir.path())).await.unwrap();
    }
    let changes = session.changes_since(0);
    let seen: BTreeSet<_> = changes.torrents.iter().map(|status| status.info_hashes.wire()).collect();
    assert!(changes.is_everything && seen == names);
    let (mut added, mut working) = (BTreeSet::new(), BTreeSet::new());
    while working != names {
        match within(events.recv()).await.unwrap() {
            SessionEvent::Added { info_hash } => drop(added.insert(info_hash)),
            SessionEvent::Torrent { info_hash, event } => {
                assert!(added.contains(&info_hash), "its first event is that it was added");
                if let Event::StateChanged(State::Downloading) = event {
                    working.insert(info_hash);
                }
            }
            other => panic!("{other:?}"),
        }
    }

    let gone = *names.first().unwrap();
    let torrent = session.torrent(gone).unwrap();
    let mut revision = session.changes_since(0).revision;
    torrent.stop().await.unwrap();
    assert!(session.torrent(gone).is_none());
    drop(torrent);
    loop {
        revision = within(session.changed_after(revision)).await.unwrap();
        if session.changes_since(changes.revision).removed == [gone] {
            break;
        }
    }
    assert_eq!(session.changes_since(0).torrents.len(), 2);
    session.shutdown().await;
    let mut removed = BTreeSet::new();
    let end = loop {
        match events.try_recv() {
            Ok(Some(SessionEvent::Removed { info_hash })) => drop(removed.insert(info_hash)),
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(end.unwrap_err(), EventsError::Ended);
    assert_eq!(removed, names);
    let revision = session.changes_since(0).revision;
    assert_eq!(session.changed_after(revision).await, Err(Ended));
}
