//! Torrents at work whose files are looked at again, moved and removed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ferri_engine::{AddTorrent, Check, Data, FilesError, Left, Refused, Session, State, Torrent};
use tempfile::TempDir;

use crate::support::{Payload, Seed, options, within};

const PIECE: usize = 32768;

async fn start(
    payload: &Payload,
    prepare: impl FnOnce(&Path, &mut AddTorrent),
) -> (TempDir, Session, Torrent) {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path().join("downloads"));
    fs::create_dir(dir.path().join("downloads")).unwrap();
    prepare(&dir.path().join("downloads"), &mut add);
    let torrent = session.add(add).await.unwrap();
    (dir, session, torrent)
}

/// A download that is complete.
async fn downloaded(payload: &Payload, seed: &Seed) -> (TempDir, Session, Torrent) {
    let started = start(payload, |_, add| add.peers = vec![seed.session.listen_addr()]).await;
    within(started.2.wait_done()).await;
    started
}

fn several() -> Payload {
    Payload::several(&[("a", 5 * PIECE), ("sub/b", 5 * PIECE - 9), ("c", 0)], PIECE)
}

fn spoil(path: &Path, at: usize) {
    File::options().write(true).open(path).unwrap().write_all_at(b"somebody was here", at as u64).unwrap();
}

fn state_of(dir: &TempDir, torrent: &Torrent) -> std::path::PathBuf {
    dir.path().join("state/torrents").join(torrent.info_hashes().wire().to_string())
}

#[tokio::test]
async fn a_second_look_finds_nothing_new_and_keeps_the_peers() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    let (_dir, session, torrent) = downloaded(&payload, &seed).await;
    let [one, two] = [torrent.recheck(), torrent.recheck()];
    let (one, two) = tokio::join!(within(one), within(two));
    let result = one.unwrap();
    assert_eq!((result.looked_at, result.have, result.lost, result.found), (10, 10, 0, 0));
    assert_eq!(two, Ok(result));
    assert_eq!(torrent.status().state, State::Seeding);
    session.shutdown().await;
}

#[tokio::test]
async fn what_is_gone_is_fetched_again_and_what_came_by_itself_is_found() {
    let payload = Payload::single(20 * PIECE, PIECE);
    let seed = Seed::partial(&payload, 0..10).await;
    let (dir, session, torrent) =
        start(&payload, |_, add| add.peers = vec![seed.session.listen_addr()]).await;
    within(torrent.watch().wait_for(|status| status.pieces_done == 10)).await.unwrap();
    let path = dir.path().join("downloads").join(payload.name);
    spoil(&path, 3 * PIECE + 100);
    let piece = &payload.files[0].1[15 * PIECE..16 * PIECE];
    File::options().write(true).open(&path).unwrap().write_all_at(piece, 15 * PIECE as u64).unwrap();
    let result = within(torrent.recheck()).await.unwrap();
    assert_eq!((result.looked_at, result.have, result.lost, result.found), (20, 10, 1, 1));
    // The third one comes again.
    within(torrent.watch().wait_for(|status| status.pieces_done == 11)).await.unwrap();
    assert_eq!(fs::read(&path).unwrap()[..10 * PIECE], payload.files[0].1[..10 * PIECE]);
    session.shutdown().await;
}

#[tokio::test]
async fn what_somebody_changed_after_it_was_complete_is_withdrawn_and_stays() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    let (dir, session, torrent) = downloaded(&payload, &seed).await;
    let path = dir.path().join("downloads/folder/a");
    spoil(&path, 100);
    let result = within(torrent.recheck()).await.unwrap();
    assert_eq!((result.have, result.lost), (9, 1));
    assert_eq!(torrent.status().state, State::Seeding);
    assert_eq!(torrent.piece_map().await.unwrap().have.count_ones(), 9);
    assert!(fs::read(&path).unwrap()[100..].starts_with(b"somebody was here"));
    within(torrent.stop()).await.unwrap();
    assert_eq!(torrent.recheck().await, Err(Refused::Stopped));
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_is_removed_and_its_data_stays() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    let (dir, session, torrent) = downloaded(&payload, &seed).await;
    assert!(state_of(&dir, &torrent).join("journal").exists());
    let removed = within(session.delete(&torrent, Data::Keep)).await.unwrap();
    assert_eq!((removed.files, removed.left.len()), (0, 0));
    assert!(!state_of(&dir, &torrent).exists() && session.torrents().is_empty());
    payload.assert_at(&dir.path().join("downloads"));
    let again = within(session.delete(&torrent, Data::Delete)).await;
    assert!(matches!(again, Err(FilesError::Refused(Refused::Stopped))), "{again:?}");
    payload.assert_at(&dir.path().join("downloads"));
    session.shutdown().await;
}

#[tokio::test]
async fn with_the_data_everything_goes_that_is_the_torrents_and_nothing_else() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    let (dir, session, torrent) = downloaded(&payload, &seed).await;
    let folder = dir.path().join("downloads/folder");
    fs::write(folder.join("mine"), b"MINE").unwrap();
    let removed = within(session.delete(&torrent, Data::Delete)).await.unwrap();
    assert_eq!((removed.files, removed.bytes), (3, payload.total() as u64));
    assert!(removed.left.is_empty(), "{removed:?}");
    assert!(!state_of(&dir, &torrent).exists());
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine"]);

    // A torrent of which nothing came has nothing to lose.
    let nothing =
        session.add(AddTorrent::new(payload.metainfo(&[]), dir.path().join("other"))).await.unwrap();
    let removed = within(session.delete(&nothing, Data::Delete)).await.unwrap();
    assert_eq!((removed.files, removed.left.len()), (0, 0));
    session.shutdown().await;
}

#[tokio::test]
async fn what_the_user_brought_changed_or_shares_stays_and_is_named() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    // `a` was there before the torrent.
    let (dir, session, torrent) = start(&payload, |dir, add| {
        fs::create_dir(dir.join("folder")).unwrap();
        fs::write(dir.join("folder/a"), &payload.files[0].1).unwrap();
        add.peers = vec![seed.session.listen_addr()];
        add.check = Check::Full;
    })
    .await;
    within(torrent.wait_done()).await;
    let folder = dir.path().join("downloads/folder");
    spoil(&folder.join("sub/b"), 2 * PIECE);
    let removed = within(session.delete(&torrent, Data::Delete)).await.unwrap();
    assert_eq!(removed.left, [(folder.join("a"), Left::NotOurs), (folder.join("sub/b"), Left::Changed)]);
    assert_eq!(fs::read(folder.join("a")).unwrap(), payload.files[0].1);
    assert!(folder.join("sub/b").exists() && !folder.join("c").exists());
    session.shutdown().await;

    // Another torrent with the same data serves what this one fetched.
    let (dir, session, torrent) = downloaded(&payload, &seed).await;
    let twin = Payload { piece_length: 2 * PIECE, ..several() };
    let mut add = AddTorrent::new(twin.metainfo(&[]), dir.path().join("downloads"));
    add.check = Check::Full;
    let twin = session.add(add).await.unwrap();
    within(twin.wait_done()).await;
    let removed = within(session.delete(&torrent, Data::Delete)).await.unwrap();
    assert!(removed.left.iter().all(|(_, why)| matches!(why, Left::Shared { .. })), "{removed:?}");
    assert_eq!(removed.left.len(), 3);
    payload.assert_at(&dir.path().join("downloads"));
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_that_is_still_being_resolved_has_no_files_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let link = format!("magnet:?xt=urn:btih:{}", several().metainfo(&[]).info().info_hashes().wire());
    let add = AddTorrent::magnet(link.parse().unwrap(), dir.path().join("downloads"));
    let torrent = session.add(add).await.unwrap();
    let removed = within(session.delete(&torrent, Data::Delete)).await.unwrap();
    assert_eq!((removed.files, removed.left.len()), (0, 0));
    within(torrent.wait_stopped()).await;
    assert!(session.torrents().is_empty());
    session.shutdown().await;
}
