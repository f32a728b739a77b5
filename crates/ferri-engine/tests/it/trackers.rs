//! Trackers of a torrent that change while it is in a session.

use std::sync::Arc;

use ferri_engine::store::FolderStore;
use ferri_engine::{AddTorrent, Session, SessionOptions, State, Torrent, TrackerRefusal};
use ferri_metainfo::magnet::Magnet;
use ferri_tracker_server::{Options, TrackerServer};

use crate::support::{Payload, Seed, options, within};

fn server() -> TrackerServer {
    TrackerServer::start(Options::on("127.0.0.1:0")).unwrap()
}

/// Waits until so many peers are known to a tracker.
async fn knows(tracker: &TrackerServer, peers: usize) {
    within(async {
        while tracker.counts().1 != peers {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn urls(torrent: &Torrent) -> Vec<(String, usize)> {
    within(torrent.trackers()).await.into_iter().map(|tracker| (tracker.url, tracker.tier)).collect()
}

#[tokio::test]
async fn the_old_tracker_hears_stopped_and_the_new_one_started() {
    let (payload, [old, new, more]) = (Payload::single(100_000, 16 << 10), [server(), server(), server()]);
    let seed = Seed::start(&payload, &[old.http_url()]).await;
    knows(&old, 1).await;
    let refused = seed.torrent.replace_tracker(old.http_url(), new.udp_url()).await;
    assert_eq!(refused, Ok(Vec::new()));
    knows(&old, 0).await;
    knows(&new, 1).await;
    assert_eq!(urls(&seed.torrent).await, [(new.udp_url(), 0)]);
    // One that comes beside it is asked too, and both hear the end.
    assert_eq!(seed.torrent.add_trackers(vec![more.http_url()]).await, Ok(Vec::new()));
    knows(&more, 1).await;
    let settings = within(seed.torrent.settings()).await.unwrap();
    assert_eq!(settings.trackers, [[new.udp_url()], [more.http_url()]]);
    seed.session.shutdown().await;
    knows(&new, 0).await;
    knows(&more, 0).await;
    [old, new, more].into_iter().for_each(|server| server.shutdown());
}

#[tokio::test]
async fn peers_come_from_a_tracker_that_is_given_to_a_download() {
    let (payload, tracker, dir) =
        (Payload::single(300_000, 16 << 10), server(), tempfile::tempdir().unwrap());
    let seed = Seed::start(&payload, &[tracker.http_url()]).await;
    knows(&tracker, 1).await;
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await.unwrap();
    within(torrent.wait_checked()).await;
    let tiers = vec![vec!["ftp://no".to_owned(), tracker.http_url()]];
    let refused = torrent.set_trackers(tiers).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].url == "ftp://no" && matches!(refused[0].why, TrackerRefusal::Unusable(_)),
        "{refused:?}"
    );
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    within(session.shutdown()).await;
    within(seed.session.shutdown()).await;
    tracker.shutdown();
}

#[tokio::test]
async fn an_edit_is_there_after_a_restart() {
    // Of what is on this machine only what a person named is asked with a query of its own.
    let own_query = |server: &TrackerServer| format!("{}?key=word", server.http_url());
    let (payload, [old, new, more]) = (Payload::single(100_000, 16 << 10), [server(), server(), server()]);
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    let kept = || {
        let store = FolderStore::open(&dir.path().join("state")).unwrap();
        SessionOptions { store: Some(Arc::new(store)), ..options(&dir) }
    };
    let session = Session::start(kept()).await.unwrap();
    let metainfo = payload.metainfo(&[old.http_url()]);
    let torrent = session.add(AddTorrent::new(metainfo, dir.path())).await.unwrap();
    knows(&old, 1).await;
    assert_eq!(torrent.set_trackers(vec![vec![own_query(&new)]]).await, Ok(Vec::new()));
    assert_eq!(torrent.add_trackers(vec![own_query(&more)]).await, Ok(Vec::new()));
    let (hashes, listed) = (torrent.info_hashes(), urls(&torrent).await);
    assert_eq!(listed, [(own_query(&new), 0), (own_query(&more), 1)]);
    session.shutdown().await;
    drop((session, torrent));
    knows(&old, 0).await;
    let session = Session::start(kept()).await.unwrap();
    assert_eq!(within(session.wait_restored()).await.unwrap().torrents, 1);
    let torrent = session.torrent(hashes).unwrap();
    assert_eq!(urls(&torrent).await, listed);
    knows(&new, 1).await;
    knows(&more, 1).await;
    assert_eq!(old.counts().1, 0);
    within(session.shutdown()).await;
    [old, new, more].into_iter().for_each(|server| server.shutdown());
}

#[tokio::test]
async fn an_edit_of_a_link_stays_when_its_torrent_is_known() {
    let (payload, [old, new]) = (Payload::single(100_000, 16 << 10), [server(), server()]);
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut link = Magnet::new(payload.metainfo(&[]).info().info_hashes());
    link.trackers = vec![old.http_url()];
    let mut add = AddTorrent::magnet(link, dir.path());
    add.extra_trackers = vec!["http://127.0.0.1:1/x".to_owned()];
    let torrent = session.add(add).await.unwrap();
    knows(&old, 1).await;
    assert_eq!(torrent.status().state, State::Resolving);
    assert_eq!(torrent.set_trackers(vec![vec![new.http_url()]]).await, Ok(Vec::new()));
    knows(&old, 0).await;
    knows(&new, 1).await;
    let seed = Seed::start(&payload, &[new.http_url()]).await;
    within(torrent.add_peers(vec![seed.session.listen_addr()])).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    assert_eq!(urls(&torrent).await, [(new.http_url(), 0)]);
    assert_eq!(old.counts().1, 0);
    within(session.shutdown()).await;
    within(seed.session.shutdown()).await;
    [old, new].into_iter().for_each(|server| server.shutdown());
}

#[tokio::test]
async fn a_torrent_that_was_to_ask_nobody_asks_whom_it_is_told_to() {
    let (payload, [own, other]) = (Payload::single(100_000, 16 << 10), [server(), server()]);
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    let kept = || {
        let store = FolderStore::open(&dir.path().join("state")).unwrap();
        SessionOptions { store: Some(Arc::new(store)), ..options(&dir) }
    };
    let session = Session::start(kept()).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[own.http_url()]), dir.path());
    add.no_trackers = true;
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_checked()).await;
    assert_eq!(torrent.add_trackers(vec![other.http_url()]).await, Ok(Vec::new()));
    knows(&other, 1).await;
    let hashes = torrent.info_hashes();
    session.shutdown().await;
    drop((session, torrent));
    let session = Session::start(kept()).await.unwrap();
    within(session.wait_restored()).await.unwrap();
    knows(&other, 1).await;
    assert_eq!(urls(&session.torrent(hashes).unwrap()).await, [(other.http_url(), 0)]);
    assert_eq!(own.counts().1, 0);
    within(session.shutdown()).await;
    [own, other].into_iter().for_each(|server| server.shutdown());
}
