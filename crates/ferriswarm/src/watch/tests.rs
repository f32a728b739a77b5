//! Torrents of a real session, watched to ends that were not asked for.
#![allow(clippy::unwrap_used)]

use ferri_engine::{AddTorrent, Session, SessionOptions};
use ferri_metainfo::Metainfo;
use tempfile::TempDir;

use super::*;
use crate::console::Wanted;
use crate::testing::env;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session that no peer can reach, and a torrent that no peer has.
async fn alone(folder: &TempDir) -> (Session, Torrent, Watched) {
    let options = SessionOptions {
        bind: Some([127, 0, 0, 1].into()),
        listen_port: Some(0),
        ..SessionOptions::new(folder.path().join("state")).without_discovery()
    };
    let session = Session::start(options).await.unwrap();
    let torrent =
        format!("d4:infod6:lengthi1e4:name1:n12:piece lengthi16384e6:pieces20:{}ee", "x".repeat(20));
    let metainfo = Metainfo::parse(torrent.as_bytes()).unwrap();
    let facts = Facts::new(&metainfo);
    let torrent = session.add(AddTorrent::new(metainfo, folder.path())).await.unwrap();
    let setup = Setup {
        facts,
        path: folder.path().join("n"),
        lies_at: folder.path().join("n"),
        odd: Odd::default(),
        port: 1,
        goal: Goal::Verified,
        is_seeder: false,
        part: None,
        talk: TrackerTalk::default(),
    };
    let watched = Watched::new((torrent.clone(), torrent.events()), setup);
    (session, torrent, watched)
}

#[tokio::test]
async fn a_torrent_that_somebody_else_stopped_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (session, torrent, watched) = alone(&folder).await;
    let (env, _captured) = env(&[]);
    let (console, interrupts) = (Console::new(&env, Wanted::default(), None), env.interrupts.listen());
    let mut nobody = ();
    let watching = watch(vec![watched], &mut nobody, &console, &interrupts);
    let (ended, stopped) = tokio::join!(tokio::time::timeout(PATIENCE, watching), torrent.stop());
    stopped.unwrap();
    let failure = ended.expect("it waits for ever").unwrap_err();
    assert_eq!(
        (failure.exit, failure.message.as_str()),
        (Exit::Internal, "n was stopped before it was done")
    );
    session.shutdown().await;
}
