//! Torrents at work whose files are moved to another folder and renamed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferri_engine::store::FolderStore;
use ferri_engine::{
    AddTorrent, Data, ErrorReason, Event, FilesError, MemoryStore, Refused, Session, SessionOptions, State,
    StorageError, Stored, Torrent,
};
use ferri_metainfo::FileIndex;
use ferri_metainfo::magnet::Magnet;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::{Payload, Seed, options, within};

const PIECE: usize = 32768;

fn several() -> Payload {
    Payload::several(&[("a", 60 * PIECE), ("sub/b", 60 * PIECE - 9), ("c", 0)], PIECE)
}

/// A session that keeps its list in its state folder, as soon as the one before has let go of it.
async fn kept(dir: &TempDir) -> Session {
    let opened = async {
        loop {
            match FolderStore::open(&dir.path().join("state")) {
                Ok(store) => return store,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let store = within(opened).await;
    Session::start(SessionOptions { store: Some(Arc::new(store)), ..options(dir) }).await.unwrap()
}

/// A folder on another file system than that of temporary folders.
fn other_file_system() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn add(payload: &Payload, folder: &Path, seed: &Seed) -> AddTorrent {
    AddTorrent { peers: vec![seed.session.listen_addr()], ..AddTorrent::new(payload.metainfo(&[]), folder) }
}

async fn folder(torrent: &Torrent) -> PathBuf {
    within(torrent.settings()).await.unwrap().folder
}

/// Nothing lies there.
fn is_empty(folder: &Path) -> bool {
    !folder.exists() || fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn a_download_is_moved_again_and_again_and_ends_with_the_right_bytes() {
    let payload = several();
    let seed = Seed::start_with(&payload, &[], |_, add| add.limits.up = Some(1 << 20)).await;
    let (dir, shm) = (tempfile::tempdir().unwrap(), other_file_system());
    let session = Session::start(options(&dir)).await.unwrap();
    let old = dir.path().join("old");
    let torrent = session.add(add(&payload, &old, &seed)).await.unwrap();
    let mut events = torrent.events();
    for (at, new) in [
        (10, dir.path().join("new")),
        (40, shm.path().join("far")),
        (70, old.clone()),
        (100, shm.path().join("end")),
    ] {
        within(torrent.watch().wait_for(|status| at <= status.pieces_done)).await.unwrap();
        let before = folder(&torrent).await;
        let moved = within(torrent.move_to(&new)).await.unwrap();
        assert!(0 < moved.files && moved.stayed.is_empty(), "{moved:?}");
        assert_eq!(folder(&torrent).await, new);
        assert!(is_empty(&before), "{at}");
        // Nothing had to be fetched twice, and the peer stayed.
        let status = torrent.status();
        assert!(at <= status.pieces_done && status.moving.is_none());
        assert_eq!(status.peers, 1);
    }
    within(torrent.wait_done()).await;
    payload.assert_at(&shm.path().join("end"));
    assert!(is_empty(&old));
    let status = torrent.status();
    assert_eq!((status.wasted, status.downloaded), (0, payload.total() as u64));
    let mut told = Vec::new();
    while let Ok(Some(event)) = events.try_recv() {
        if let Event::Moved { folder } = event {
            told.push(folder);
        }
    }
    assert_eq!(told.len(), 4);
    session.shutdown().await;
}

#[tokio::test]
async fn a_seed_is_moved_while_it_serves_and_a_start_seeds_from_the_new_place() {
    let payload = several();
    let (dir, new) = (tempfile::tempdir().unwrap(), other_file_system());
    payload.write(dir.path());
    let session = kept(&dir).await;
    let plain = AddTorrent {
        limits: ferri_engine::RateLimits { up: Some(1 << 20), down: None },
        ..AddTorrent::new(payload.metainfo(&[]), dir.path())
    };
    let torrent = session.add(plain).await.unwrap();
    within(torrent.wait_done()).await;
    let leech_dir = tempfile::tempdir().unwrap();
    let leech = Session::start(options(&leech_dir)).await.unwrap();
    let mut fetched = AddTorrent::new(payload.metainfo(&[]), leech_dir.path());
    fetched.peers = vec![session.listen_addr()];
    let fetched = leech.add(fetched).await.unwrap();
    within(fetched.watch().wait_for(|status| 20 <= status.pieces_done)).await.unwrap();
    // A reader goes on meanwhile.
    let mut reader = within(torrent.reader(FileIndex(1))).await.unwrap();
    let mut first = vec![0; 5 * PIECE];
    within(reader.read_exact(&mut first)).await.unwrap();
    within(torrent.move_to(new.path())).await.unwrap();
    within(torrent.move_to(dir.path().join("there"))).await.unwrap();
    within(torrent.move_to(new.path())).await.unwrap();
    within(reader.seek(std::io::SeekFrom::Start(0))).await.unwrap();
    let mut all = Vec::new();
    within(reader.read_to_end(&mut all)).await.unwrap();
    assert!(all == payload.files[1].1);
    drop(reader);
    within(fetched.wait_done()).await;
    payload.assert_at(leech_dir.path());
    payload.assert_at(new.path());
    assert!(!dir.path().join("folder").exists());
    let id = torrent.info_hashes();
    session.shutdown().await;
    drop((torrent, session));

    let session = kept(&dir).await;
    assert_eq!(session.wait_restored().await.unwrap().torrents, 1);
    let torrent = session.torrent(id).unwrap();
    // Without a look: the journal has moved with the files.
    assert_eq!((torrent.status().state, folder(&torrent).await), (State::Seeding, new.path().into()));
    assert_eq!(torrent.status().pieces_done, 120);
    let again_dir = tempfile::tempdir().unwrap();
    let again = Session::start(options(&again_dir)).await.unwrap();
    let mut fetched = AddTorrent::new(payload.metainfo(&[]), again_dir.path());
    fetched.peers = vec![session.listen_addr()];
    let fetched = again.add(fetched).await.unwrap();
    within(fetched.wait_done()).await;
    payload.assert_at(again_dir.path());
    for session in [session, leech, again] {
        session.shutdown().await;
    }
}

#[tokio::test]
async fn names_are_kept_and_what_is_renamed_is_served_and_deleted() {
    let payload = several();
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&payload, &[]).await;
    let session = kept(&dir).await;
    let downloads = dir.path().join("downloads");
    let torrent = session.add(add(&payload, &downloads, &seed)).await.unwrap();
    // Before and after it is there.
    within(torrent.rename_file(FileIndex(0), "folder/first")).await.unwrap();
    within(torrent.wait_done()).await;
    within(torrent.rename_file(FileIndex(1), "elsewhere/second")).await.unwrap();
    torrent.rename("What I call it").await.unwrap();
    let own_name = || Some("What I call it".to_owned());
    assert_eq!(Some(torrent.status().name), own_name());
    let paths = ["folder/first", "elsewhere/second", "folder/c"].map(|path| Some(PathBuf::from(path)));
    assert_eq!(within(torrent.file_paths()).await.unwrap(), paths);
    let read = |path: &str| fs::read(downloads.join(path)).unwrap();
    assert!(read("folder/first") == payload.files[0].1 && read("elsewhere/second") == payload.files[1].1);
    assert!(!downloads.join("folder/sub").exists());
    let id = torrent.info_hashes();
    session.shutdown().await;
    drop((torrent, session));

    let session = kept(&dir).await;
    session.wait_restored().await.unwrap();
    let torrent = session.torrent(id).unwrap();
    assert_eq!(torrent.status().state, State::Seeding);
    assert_eq!(Some(torrent.status().name), own_name());
    assert_eq!(within(torrent.file_paths()).await.unwrap(), paths);
    assert_eq!(within(torrent.recheck()).await.unwrap().have, 120);
    torrent.rename("").await.unwrap();
    assert_eq!(torrent.status().name, "folder");
    let too_long = Refused::NameTooLong { bytes: 256, most: 255 };
    assert_eq!(torrent.rename("x".repeat(256)).await, Err(too_long));
    let removed = within(session.delete(&torrent, Data::Delete)).await.unwrap();
    assert_eq!((removed.files, removed.left.len()), (3, 0));
    assert!(is_empty(&downloads));
    session.shutdown().await;
}

#[tokio::test]
async fn a_folder_in_which_something_lies_is_refused_and_the_torrent_goes_on() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    let (dir, shm) = (tempfile::tempdir().unwrap(), other_file_system());
    let session = Session::start(options(&dir)).await.unwrap();
    let old = dir.path().join("old");
    let torrent = session.add(add(&payload, &old, &seed)).await.unwrap();
    within(torrent.wait_done()).await;
    let mine = shm.path().join("folder/sub/b");
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(&mine, "mine").unwrap();
    match within(torrent.move_to(shm.path())).await {
        Err(FilesError::Storage(StorageError::Occupied { path })) => assert_eq!(path, mine),
        other => panic!("{other:?}"),
    }
    // Another torrent of the session is going to make its files there.
    let other = Payload { name: "folder", ..Payload::several(&[("a", PIECE)], PIECE) };
    let other = AddTorrent::new(other.metainfo(&[]), dir.path().join("others"));
    let other = session.add(other).await.unwrap();
    match within(torrent.move_to(dir.path().join("others"))).await {
        Err(FilesError::Storage(StorageError::Taken { by, torrent: moved, .. })) => {
            let told = |torrent: &Torrent| format!("\"folder\" ({})", torrent.id());
            assert_eq!((moved, by), (told(&torrent), told(&other)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(torrent.status().state, State::Seeding);
    assert_eq!(folder(&torrent).await, old);
    assert_eq!(within(torrent.recheck()).await.unwrap().have, 120);
    payload.assert_at(&old);
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_that_is_paused_is_moved_and_stays_paused() {
    let payload = several();
    let seed = Seed::start_with(&payload, &[], |_, add| add.limits.up = Some(1 << 20)).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(add(&payload, &dir.path().join("old"), &seed)).await.unwrap();
    within(torrent.watch().wait_for(|status| 10 <= status.pieces_done)).await.unwrap();
    torrent.pause().await.unwrap();
    let new = dir.path().join("new");
    within(torrent.move_to(&new)).await.unwrap();
    assert_eq!((torrent.status().state, folder(&torrent).await), (State::Paused, new.clone()));
    torrent.resume().await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(&new);
    assert!(is_empty(&dir.path().join("old")));
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_moves_away_from_what_is_in_its_way() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let mine = dir.path().join("folder/sub/b");
    payload.write(dir.path());
    fs::write(&mine, "mine").unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(add(&payload, dir.path(), &seed)).await.unwrap();
    let is_blocked = |state: &State| matches!(state, State::Error { reason: ErrorReason::InTheWay, .. });
    within(torrent.watch().wait_for(|status| is_blocked(&status.state))).await.unwrap();
    let new = dir.path().join("new");
    within(torrent.move_to(&new)).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(&new);
    assert_eq!(fs::read(mine).unwrap(), b"mine");
    assert!(!dir.path().join("folder/a").exists());
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_that_is_being_resolved_is_told_where_its_files_will_go() {
    let payload = several();
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let link = Magnet::new(payload.metainfo(&[]).info().info_hashes());
    let torrent = session.add(AddTorrent::magnet(link, dir.path().join("old"))).await.unwrap();
    torrent.rename("mine").await.unwrap();
    assert_eq!(torrent.status().name, "mine");
    let new = dir.path().join("new");
    within(torrent.move_to(&new)).await.unwrap();
    let seed = Seed::start(&payload, &[]).await;
    torrent.add_peers(vec![seed.session.listen_addr()]).await.unwrap();
    within(torrent.resolved()).await.unwrap();
    // While its files are looked for, or afterwards.
    within(torrent.rename_file(FileIndex(0), "folder/first")).await.unwrap();
    within(torrent.wait_done()).await;
    assert_eq!((torrent.status().name.as_str(), folder(&torrent).await), ("mine", new.clone()));
    assert!(fs::read(new.join("folder/first")).unwrap() == payload.files[0].1);
    assert!(!dir.path().join("old").exists());
    session.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_moved_says_why() {
    let payload = several();
    let seed = Seed::start(&payload, &[]).await;
    let refused = |result: Result<_, FilesError>| match result {
        Err(FilesError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refused(within(seed.torrent.move_to(dir.path())).await.map(drop)), Refused::OnlyServes);
    assert_eq!(refused(within(seed.torrent.rename_file(FileIndex(0), "x")).await), Refused::OnlyServes);
    let no_such = Refused::NoSuchFile { file: 3 };
    assert_eq!(refused(within(seed.torrent.rename_file(FileIndex(3), "x")).await), no_such);
    let session = Session::start(options(&dir)).await.unwrap();
    let memory = Arc::new(MemoryStore::new(payload.metainfo(&[]).info()));
    let stored =
        AddTorrent { stored: Some(Stored::In(memory)), ..AddTorrent::new(payload.metainfo(&[]), dir.path()) };
    let torrent = session.add(stored).await.unwrap();
    assert_eq!(refused(within(torrent.move_to(dir.path())).await.map(drop)), Refused::NoFiles);
    assert_eq!(within(torrent.file_paths()).await, Ok(Vec::new()));
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_that_is_stopped_or_deleted_while_it_is_moved_is_at_one_place() {
    let payload = Payload::single(600 * PIECE, PIECE);
    for is_deleted in [false, true] {
        let (dir, shm) = (tempfile::tempdir().unwrap(), other_file_system());
        payload.write(dir.path());
        let session = Session::start(options(&dir)).await.unwrap();
        let torrent = session.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await.unwrap();
        within(torrent.wait_done()).await;
        let moving = torrent.clone();
        let new = shm.path().join("new");
        let to = new.clone();
        let moving = tokio::spawn(async move { moving.move_to(to).await });
        within(torrent.watch().wait_for(|status| status.moving.is_some())).await.unwrap();
        if is_deleted {
            within(session.delete(&torrent, Data::Keep)).await.unwrap();
        } else {
            within(torrent.stop()).await.unwrap();
        }
        // It may have been quicker than we were.
        let is_moved = within(moving).await.unwrap().is_ok();
        payload.assert_at(if is_moved { &new } else { dir.path() });
        assert!(is_empty(&new) != is_moved);
        session.shutdown().await;
    }
}
