//! Files of the user: what is shared is only read, and what lies in the way is kept.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use ferri_engine::{
    AddTorrent, Check, Error, ErrorReason, Event, Events, FilePriority, Note, Refused, Session, State,
    Torrent,
};
use ferri_storage::StorageError;

use crate::support::{Payload, Seed, options, within};

const PIECE: usize = 32768;

fn payload() -> Payload {
    Payload::several(&[("a", 4 * PIECE + 100), ("b", 4 * PIECE), ("none", 0), ("c", 4 * PIECE)], PIECE)
}

/// Every file: path, bytes, time, inode.
fn look(folder: &Path) -> Vec<(String, Vec<u8>, SystemTime, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::metadata(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        found.push((name, fs::read(&path).unwrap(), meta.modified().unwrap(), meta.ino()));
    }
    found.sort();
    found
}

/// Bytes, time and inode of a file.
fn look_at(path: &Path) -> (Vec<u8>, SystemTime, u64) {
    let meta = fs::metadata(path).unwrap();
    (fs::read(path).unwrap(), meta.modified().unwrap(), meta.ino())
}

/// Serves what `change` made of the payload, beside a peer that has it whole.
async fn serve_changed(change: impl FnOnce(&Path), left: u32) {
    let payload = payload();
    let whole = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    let folder = dir.path().join("folder");
    change(&folder);
    let before = look(&folder);
    // The second time with a journal.
    for check in [Check::Full, Check::Journal] {
        let session = Session::start(options(&dir)).await.unwrap();
        let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
        add.seed_only = true;
        add.preallocate = true;
        add.check = check;
        add.peers = vec![whole.session.listen_addr()];
        let torrent = session.add(add).await.unwrap();
        within(torrent.wait_checked()).await;
        within(torrent.watch().wait_for(|status| status.state == State::Seeding)).await.unwrap();
        let refused = torrent.set_priorities(vec![FilePriority::High; 4]).await;
        assert_eq!(refused, Err(Refused::OnlyServes));
        torrent.pause().await.unwrap();
        torrent.resume().await.unwrap();
        within(torrent.watch().wait_for(|status| status.state == State::Seeding)).await.unwrap();
        torrent.add_peers(vec![whole.session.listen_addr()]).await.unwrap();
        torrent.trackers().await;
        assert_eq!((torrent.status().pieces_done, torrent.status().downloaded), (left, 0));
        session.shutdown().await;
        assert!(look(&folder) == before, "only read");
    }
}

#[tokio::test]
async fn what_is_shared_is_never_changed_and_nothing_is_fetched_over_it() {
    let write = |name: &'static str, bytes: Vec<u8>| {
        move |folder: &Path| fs::write(folder.join(name), &bytes).unwrap()
    };
    serve_changed(|_| {}, 13).await;
    serve_changed(write("b", vec![7; 9 * PIECE]), 8).await;
    serve_changed(write("b", vec![7; 10]), 8).await;
    serve_changed(|folder| fs::remove_file(folder.join("b")).unwrap(), 8).await;
    serve_changed(write("none", b"mine".to_vec()), 13).await;
}

/// A leech that has nothing, on a folder of its own, with this peer.
async fn leech(payload: &Payload, seed: std::net::SocketAddr) -> (Session, Torrent, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed];
    let torrent = session.add(add).await.unwrap();
    (session, torrent, dir)
}

/// Another program writes over a file that is shared: nothing wrong is served, what is right goes on, the file stays as
/// it is.
async fn edit_while_shared(seed_only: bool) {
    let payload = payload();
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.seed_only = seed_only;
    add.check = Check::Full;
    let seed = session.add(add).await.unwrap();
    within(seed.watch().wait_for(|status| status.state == State::Seeding)).await.unwrap();
    let (one, first, _first_dir) = leech(&payload, session.listen_addr()).await;
    within(first.wait_done()).await;

    let mut edited = fs::read(dir.path().join("folder/c")).unwrap();
    edited[2 * PIECE..2 * PIECE + 5].fill(0xee);
    fs::write(dir.path().join("folder/c"), &edited).unwrap();
    let before = look(&dir.path().join("folder"));
    let mut events = seed.events();
    // For a second after a look, a file is served as it was then.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let (other, second, second_dir) = leech(&payload, session.listen_addr()).await;
    // All but what shares a piece with the edit, from the seeder alone; the first one has the rest.
    within(second.watch().wait_for(|status| 11 <= status.pieces_done)).await.unwrap();
    let mut notes = Vec::new();
    while notes.len() < 2 {
        if let Event::Note(note) = within(events.recv()).await.unwrap() {
            notes.push(note.to_string());
        }
    }
    assert!(notes[0].contains("folder/c: another program changed this file"), "{notes:?}");
    assert!(notes[1].contains("not offered any more, and nothing is fetched"), "{notes:?}");
    // What is shown follows what is told.
    let status = within(seed.watch().wait_for(|status| status.pieces_done < 13)).await.unwrap();
    assert_eq!((status.state, status.downloaded), (State::Seeding, 0));
    second.add_peers(vec![one.listen_addr()]).await.unwrap();
    within(second.wait_done()).await;
    // A peer has what the seeder lacks, and would give it.
    seed.add_peers(vec![one.listen_addr(), other.listen_addr()]).await.unwrap();
    within(other.shutdown()).await;
    within(one.shutdown()).await;
    within(session.shutdown()).await;
    assert_eq!(fs::read(second_dir.path().join("folder/c")).unwrap()[2 * PIECE], payload_byte(&payload));
    assert!(look(&dir.path().join("folder")) == before, "the edit stays");
    assert_eq!(seed.status().downloaded, 0);
}

/// The byte of the payload that the edit replaced.
fn payload_byte(payload: &Payload) -> u8 {
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    fs::read(dir.path().join("folder/c")).unwrap()[2 * PIECE]
}

#[tokio::test]
async fn an_edit_of_a_shared_file_is_neither_served_nor_overwritten() {
    edit_while_shared(true).await;
}

#[tokio::test]
async fn an_edit_of_a_finished_download_is_neither_served_nor_overwritten() {
    edit_while_shared(false).await;
}

/// A download into `dir`, from `seed`.
fn download(payload: &Payload, dir: &Path, seed: &Seed) -> AddTorrent {
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir);
    add.peers = vec![seed.session.listen_addr()];
    add
}

/// Waits until it says which file is in the way.
async fn is_refused(torrent: &Torrent, path: &Path) {
    let mut status = torrent.watch();
    let found = within(status.wait_for(|status| matches!(status.state, State::Error { .. }))).await.unwrap();
    let State::Error { reason, text, recoverable } = &found.state else { panic!("just seen") };
    assert!(text.starts_with(&format!("{}: ", path.display())), "{text}");
    assert!(!recoverable && *reason == ErrorReason::InTheWay, "{text}");
}

#[tokio::test]
async fn a_file_of_the_user_is_named_and_kept_until_it_is_moved_away() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a"), &payload.files[0].1).unwrap();
    fs::write(folder.join("b"), vec![b'M'; 4 * PIECE]).unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(download(&payload, dir.path(), &seed)).await.unwrap();
    is_refused(&torrent, &folder.join("b")).await;
    assert_eq!(torrent.status().downloaded, 0, "nothing is fetched in vain");
    assert_eq!(fs::read(folder.join("b")).unwrap(), vec![b'M'; 4 * PIECE]);
    fs::rename(folder.join("b"), dir.path().join("kept")).unwrap();
    torrent.resume().await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn a_file_that_becomes_wanted_later_meets_the_same_guard() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("b"), b"MINE").unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = download(&payload, dir.path(), &seed);
    add.priorities = vec![FilePriority::Normal, FilePriority::Skip];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    assert_eq!(fs::read(folder.join("b")).unwrap(), b"MINE");
    torrent.set_priorities(Vec::new()).await.unwrap();
    is_refused(&torrent, &folder.join("b")).await;
    assert_eq!(fs::read(folder.join("b")).unwrap(), b"MINE");
    fs::remove_file(folder.join("b")).unwrap();
    torrent.resume().await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
}

#[tokio::test]
async fn a_file_that_goes_on_as_the_users_is_refused_untouched_and_a_download_that_was_broken_off_is_gone_on_with()
 {
    let payload = Payload::single(400 * PIECE, PIECE);
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(payload.name);
    let whole = &payload.files[0].1;
    fs::write(&path, [&whole[..150 * PIECE + 9], b"and a word of mine"].concat()).unwrap();
    let before = look_at(&path);
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(download(&payload, dir.path(), &seed)).await.unwrap();
    is_refused(&torrent, &path).await;
    assert!(look_at(&path) == before);
    session.shutdown().await;
    assert!(look_at(&path) == before);
    // Without the word it is what another client left.
    fs::write(&path, &whole[..150 * PIECE + 9]).unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = download(&payload, dir.path(), &seed);
    add.check = Check::Full;
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    session.shutdown().await;
}

#[tokio::test]
async fn what_needs_no_look_into_it_is_refused_at_once() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("folder/b");
    fs::create_dir(dir.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    for overwrite in [false, true] {
        let mut add = download(&payload, dir.path(), &seed);
        add.overwrite = overwrite;
        let refused = session.add(add).await;
        assert!(
            matches!(&refused, Err(Error::Storage(StorageError::Symlink { path })) if *path == link),
            "{refused:?}"
        );
    }
    assert!(link.is_symlink() && !dir.path().join("folder/a").exists());
}

#[tokio::test]
async fn a_selection_that_grows_between_two_runs_fetches_nothing_twice() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let mut fetched = 0;
    for priorities in
        [vec![FilePriority::Skip, FilePriority::Normal, FilePriority::Skip, FilePriority::Skip], Vec::new()]
    {
        let session = Session::start(options(&dir)).await.unwrap();
        let mut add = download(&payload, dir.path(), &seed);
        add.priorities = priorities;
        let torrent = session.add(add).await.unwrap();
        within(torrent.wait_done()).await;
        fetched += torrent.status().downloaded;
        session.shutdown().await;
    }
    payload.assert_at(dir.path());
    assert_eq!(fetched, payload.total() as u64);
}

/// Two torrents with one path and other data, and who has them.
async fn rivals() -> [(Payload, Seed); 2] {
    let first = Payload::single(20 * PIECE, PIECE);
    let second = Payload { files: vec![("", vec![b'2'; 20 * PIECE])], ..Payload::single(0, PIECE) };
    let seeds = (Seed::start(&first, &[]).await, Seed::start(&second, &[]).await);
    [(first, seeds.0), (second, seeds.1)]
}

/// Whether an error names a file and both torrents.
#[track_caller]
fn assert_taken(error: &str, path: &Path, torrents: [&Payload; 2]) {
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    for torrent in torrents {
        let hash = torrent.metainfo(&[]).shared_info().info_hashes().wire().to_string();
        assert!(error.contains(&format!("{:?} ({hash})", torrent.name)), "{error}");
    }
}

/// What a torrent says that is refused at once or after a look at its files.
async fn refusal(session: &Session, add: AddTorrent, path: &Path) -> String {
    let torrent = match session.add(add).await {
        Err(error) => return error.to_string(),
        Ok(torrent) => torrent,
    };
    is_refused(&torrent, path).await;
    let State::Error { text, .. } = torrent.status().state else { panic!("just seen") };
    torrent.stop().await.unwrap();
    text
}

#[tokio::test]
async fn of_two_torrents_with_one_path_the_second_is_refused_before_anything_is_there() {
    let [(first, seed), (second, other)] = rivals().await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    // No peer has it yet, so that nothing comes to be.
    let torrent = session.add(AddTorrent::new(first.metainfo(&[]), dir.path())).await.unwrap();
    let refused = session.add(download(&second, dir.path(), &other)).await.unwrap_err();
    let Error::Storage(error @ StorageError::Taken { .. }) = &refused else { panic!("{refused}") };
    assert!(error.is_in_the_way());
    assert_taken(&refused.to_string(), &dir.path().join(first.name), [&first, &second]);
    assert!(!dir.path().join(first.name).exists());
    torrent.add_peers(vec![seed.session.listen_addr()]).await.unwrap();
    within(torrent.wait_done()).await;
    first.assert_at(dir.path());
    // What is done keeps its file, also from one that may overwrite.
    let mut add = download(&second, dir.path(), &other);
    add.overwrite = true;
    let path = dir.path().join(first.name);
    assert_taken(&refusal(&session, add.clone(), &path).await, &path, [&first, &second]);
    first.assert_at(dir.path());
    // One that was stopped gives its file up to that.
    torrent.stop().await.unwrap();
    let torrent = session.add(add).await.unwrap();
    let mut events = torrent.events();
    within(torrent.wait_done()).await;
    second.assert_at(dir.path());
    let told = loop {
        match within(events.recv()).await.unwrap() {
            Event::Note(note @ Note::FileOfTwo(_))
                if note.to_string().contains(" was taken from torrent ") =>
            {
                break note.to_string();
            }
            _ => {}
        }
    };
    let hash = first.metainfo(&[]).shared_info().info_hashes().wire().to_string();
    let loser = format!("{:?} ({hash})", first.name);
    assert_eq!(
        told,
        format!("{} was taken from torrent {loser}, which lacks it from here on", path.display())
    );
    session.shutdown().await;
}

#[tokio::test]
async fn a_later_run_does_not_write_to_what_another_torrent_began() {
    let [(first, seed), (second, other)] = rivals().await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(download(&first, dir.path(), &seed)).await.unwrap();
    within(torrent.watch().wait_for(|status| status.pieces_done != 0)).await.unwrap();
    torrent.pause().await.unwrap();
    session.shutdown().await;
    let path = dir.path().join(first.name);
    for check in [Check::Journal, Check::Full] {
        let session = Session::start(options(&dir)).await.unwrap();
        let mut add = download(&second, dir.path(), &other);
        add.check = check;
        assert_taken(&refusal(&session, add, &path).await, &path, [&first, &second]);
        session.shutdown().await;
    }
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(download(&first, dir.path(), &seed)).await.unwrap();
    within(torrent.wait_done()).await;
    first.assert_at(dir.path());
    session.shutdown().await;
}

#[tokio::test]
async fn a_file_that_becomes_wanted_meets_the_other_torrents() {
    let first = Payload::several(&[("a", 4 * PIECE), ("b", 4 * PIECE)], PIECE);
    let second = Payload::several(&[("c", 2 * PIECE), ("b", 2 * PIECE)], PIECE);
    let seed = Seed::start(&second, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    session.add(AddTorrent::new(first.metainfo(&[]), dir.path())).await.unwrap();
    let mut add = download(&second, dir.path(), &seed);
    add.priorities = vec![FilePriority::Normal, FilePriority::Skip];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    torrent.set_priorities(Vec::new()).await.unwrap();
    let path = dir.path().join("folder/b");
    is_refused(&torrent, &path).await;
    let State::Error { text, .. } = torrent.status().state else { panic!("just seen") };
    assert_taken(&text, &path, [&first, &second]);
    assert!(!path.exists());
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_that_has_the_same_data_shares_what_is_whole() {
    // The small file has no piece of its own in either.
    let first = Payload::several(&[("a", 4 * PIECE), ("nfo", 100), ("b", PIECE)], PIECE);
    let second = Payload {
        piece_length: 2 * PIECE,
        ..Payload::several(&[("a", 4 * PIECE), ("nfo", 100), ("b", PIECE)], PIECE)
    };
    let dir = tempfile::tempdir().unwrap();
    first.write(dir.path());
    let session = Session::start(options(&dir)).await.unwrap();
    for payload in [&first, &second, &first] {
        let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
        add.check = Check::Full;
        match session.add(add).await {
            Ok(torrent) => within(torrent.wait_done()).await,
            Err(error) => assert!(matches!(error, Error::AlreadyRunning(_)), "{error}"),
        }
    }
    assert!(session.torrents().iter().all(|torrent| torrent.status().is_done()));
    session.shutdown().await;
    first.assert_at(dir.path());
}

/// Files that were told to be complete, by their numbers, as they came.
fn completed(events: &mut Events) -> Vec<u32> {
    let events = std::iter::from_fn(|| events.try_recv().unwrap());
    let files = |event| match event {
        Event::FilesCompleted { files } => files.iter().map(|file| file.0).collect(),
        _ => Vec::new(),
    };
    events.flat_map(files).collect()
}

#[tokio::test]
async fn files_are_told_when_they_are_complete_and_looked_at_at_any_time() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.peers = vec![seed.session.listen_addr()];
    // The first piece of `b` has the last bytes of `a`.
    add.priorities = vec![FilePriority::Skip, FilePriority::Normal, FilePriority::Skip, FilePriority::Skip];
    add.sequential = true;
    let torrent = session.add(add).await.unwrap();
    let mut events = torrent.events();
    within(torrent.wait_done()).await;
    assert_eq!(completed(&mut events), [1]);
    let files = within(torrent.files()).await;
    let verified: Vec<_> =
        files.iter().map(|file| (file.verified, file.wanted, file.is_complete())).collect();
    let (begun, piece) = (PIECE as u64 - 100, PIECE as u64);
    let expected = [(100, false, false), (4 * piece, true, true), (0, false, true), (begun, false, false)];
    assert_eq!(verified, expected);

    // What becomes wanted is told when it is there.
    torrent.set_priorities(vec![FilePriority::Normal; 4]).await.unwrap();
    within(torrent.watch().wait_for(|status| status.wanted == status.total)).await.unwrap();
    within(torrent.wait_done()).await;
    let mut told = completed(&mut events);
    assert_eq!(told.last(), Some(&2), "files without a byte are made at the end");
    told.sort_unstable();
    assert_eq!(told, [0, 2, 3]);
    assert!(within(torrent.files()).await.iter().all(|file| file.is_complete() && file.wanted));
    payload.assert_at(dir.path());
    session.shutdown().await;

    // The next session finds them: nothing has happened to them.
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await.unwrap();
    within(torrent.wait_done()).await;
    assert_eq!(completed(&mut torrent.events()), [0; 0]);
    assert!(within(torrent.files()).await.iter().all(|file| file.is_complete()));
}

/// A torrent that looks for peers in a folder with these files, and those who will be told of it.
async fn waiting(payload: &Payload, dir: &tempfile::TempDir, lay: &[(&str, &[u8])]) -> (Session, Torrent) {
    fs::create_dir_all(dir.path().join("folder")).unwrap();
    for (name, bytes) in lay {
        fs::write(dir.path().join("folder").join(name), bytes).unwrap();
    }
    let session = Session::start(options(dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    add.check = Check::Full;
    let torrent = session.add(add).await.unwrap();
    within(torrent.watch().wait_for(|status| status.state == State::Downloading)).await.unwrap();
    (session, torrent)
}

/// Fetches all with something at `path` that is in the way of the last step, which comes when that is gone and not before.
async fn last_touch(lay: &[(&str, &[u8])], path: &str, put: impl Fn(&Path), take: impl Fn(&Path)) {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let (session, torrent) = waiting(&payload, &dir, lay).await;
    let path = dir.path().join("folder").join(path);
    put(&path);
    let mut events = torrent.events();
    torrent.add_peers(vec![seed.session.listen_addr()]).await.unwrap();
    is_refused(&torrent, &path).await;
    let status = torrent.status();
    assert!(!status.is_done() && status.wanted_done == status.wanted, "{status:?}");
    take(&path);
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    let events = std::iter::from_fn(|| events.try_recv().unwrap());
    let told: Vec<_> = events
        .filter_map(|event| match event {
            Event::StateChanged(state) => Some(state),
            Event::Completed => Some(State::Stopped),
            _ => None,
        })
        .collect();
    assert!(
        matches!(&told[..], [State::Downloading, State::Error { .. }, State::Seeding, State::Stopped]),
        "one trouble, then the end: {told:?}"
    );
    session.shutdown().await;
}

#[tokio::test]
async fn what_is_in_the_way_of_a_last_touch_is_told_once_and_the_end_comes_when_it_is_gone() {
    let make = |path: &Path| fs::create_dir(path).unwrap();
    last_touch(&[], "none", make, |path| fs::remove_dir(path).unwrap()).await;
    let payload = payload();
    let part = &payload.files[0].1[..PIECE];
    let put = |path: &Path| fs::write(path, b"theirs").unwrap();
    last_touch(&[("a.part", part)], "a", put, |path| fs::remove_file(path).unwrap()).await;
}

#[tokio::test]
async fn a_torrent_that_waits_for_a_file_in_its_way_goes_on_without_that_file() {
    let payload = payload();
    let seed = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a"), &payload.files[0].1).unwrap();
    fs::write(folder.join("b"), vec![b'M'; 4 * PIECE]).unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(download(&payload, dir.path(), &seed)).await.unwrap();
    is_refused(&torrent, &folder.join("b")).await;
    // Another one does not help.
    let skip =
        |file: usize| (0..4).map(move |n| if n == file { FilePriority::Skip } else { FilePriority::Normal });
    torrent.set_priorities(skip(3).collect()).await.unwrap();
    is_refused(&torrent, &folder.join("b")).await;
    torrent.set_priorities(skip(1).collect()).await.unwrap();
    within(torrent.wait_done()).await;
    assert_eq!(fs::read(folder.join("b")).unwrap(), vec![b'M'; 4 * PIECE]);
    for (name, bytes) in payload.files.iter().filter(|(name, _)| *name != "b") {
        assert_eq!(&fs::read(folder.join(name)).unwrap(), bytes, "{name}");
    }
    session.shutdown().await;
}

#[tokio::test]
async fn what_another_torrent_of_the_session_was_going_to_make_is_free_when_that_is_removed() {
    let first = Payload::several(&[("a", 4 * PIECE), ("b", 4 * PIECE)], PIECE);
    let second = Payload::several(&[("c", 2 * PIECE), ("b", 2 * PIECE)], PIECE);
    let seed = Seed::start(&second, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let other = session.add(AddTorrent::new(first.metainfo(&[]), dir.path())).await.unwrap();
    let mut add = download(&second, dir.path(), &seed);
    add.priorities = vec![FilePriority::Normal, FilePriority::Skip];
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    let mut events = torrent.events();
    torrent.set_priorities(Vec::new()).await.unwrap();
    is_refused(&torrent, &dir.path().join("folder/b")).await;
    other.stop().await.unwrap();
    // It is not told: it tries again by itself, and says nothing of trials that fail.
    within(torrent.wait_done()).await;
    second.assert_at(dir.path());
    let errors = std::iter::from_fn(|| events.try_recv().unwrap())
        .filter(|event| matches!(event, Event::StateChanged(State::Error { .. })));
    assert_eq!(errors.count(), 1);
    session.shutdown().await;
}

#[tokio::test]
async fn a_torrent_goes_on_when_one_with_the_same_data_that_shared_its_files_is_removed() {
    let first = Payload::several(&[("a", 8 * PIECE), ("b", PIECE)], PIECE);
    let second = Payload::several(&[("a", 8 * PIECE), ("c", PIECE)], PIECE);
    let seeds = (Seed::start(&first, &[]).await, Seed::start(&second, &[]).await);
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = download(&first, dir.path(), &seeds.0);
    add.limits.down = Some(2 * PIECE as u64);
    let one = session.add(add).await.unwrap();
    within(one.watch().wait_for(|status| status.pieces_done != 0)).await.unwrap();
    let mut add = download(&second, dir.path(), &seeds.1);
    add.limits.down = Some(2 * PIECE as u64);
    let two = session.add(add).await.unwrap();
    within(two.watch().wait_for(|status| status.pieces_done != 0)).await.unwrap();
    one.stop().await.unwrap();
    two.set_limits(None, None).await.unwrap();
    within(two.wait_done()).await;
    second.assert_at(dir.path());
    session.shutdown().await;
}
