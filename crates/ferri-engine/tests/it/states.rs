//! What a torrent is told is done in every state, or noted and done when the state allows it; and every command answers.

use std::path::Path;
use std::sync::Mutex;
use std::{fs, io};

use ferri_bencode::Encoder;
use ferri_engine::{
    AddTorrent, Check, Data, ErrorReason, FilePriority, FilesError, Rechecked, Refused, RefusedTracker,
    Session, State, Torrent, TrackerRefusal, TrackerStatus,
};
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{FileIndex, Metainfo};
use ferri_tracker_server::{Options, TrackerServer};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use crate::support::{Payload, Seed, options, within};

const PIECE: usize = 32768;
/// Each of the three files.
const FILE: usize = 20 * PIECE;
/// Torrents that keep the only disk thread busy, and their length: far more than is looked at while a test runs.
const HOGS: usize = 4;
const HOG: u64 = 64 << 30;
/// The last file is not wanted.
const TWO: [FilePriority; 3] = [FilePriority::Normal, FilePriority::High, FilePriority::Skip];

/// What the last file is renamed to.
const LAST: &str = "folder/named/last";

fn payload() -> Payload {
    Payload::several(&[("a", FILE), ("b", FILE), ("c", FILE)], PIECE)
}

/// A torrent in some state, and what leads out of it.
struct Scene {
    payload: Payload,
    seed: Seed,
    tracker: TrackerServer,
    session: Session,
    torrent: Torrent,
    dir: TempDir,
    hogs: Vec<Torrent>,
    /// Those who read the first file.
    readers: Mutex<Vec<JoinHandle<io::Result<Vec<u8>>>>>,
    /// Those who had everything looked at again.
    rechecks: Mutex<Vec<JoinHandle<Result<Rechecked, Refused>>>>,
    /// Those who had the last file renamed.
    renames: Mutex<Vec<JoinHandle<Result<(), FilesError>>>>,
}

impl Scene {
    /// A session whose torrent was just added, after `prepare` has been at its folder.
    async fn new(prepare: impl FnOnce(&Payload, &Path), change: impl FnOnce(&mut AddTorrent)) -> Self {
        let (payload, dir) = (payload(), tempfile::tempdir().unwrap());
        prepare(&payload, dir.path());
        let mut options = options(&dir);
        options.disk_threads = 1;
        let session = Session::start(options).await.unwrap();
        Self::with(payload, session, dir, Vec::new(), change).await
    }

    async fn with(
        payload: Payload,
        session: Session,
        dir: TempDir,
        hogs: Vec<Torrent>,
        change: impl FnOnce(&mut AddTorrent),
    ) -> Self {
        let seed = Seed::start(&payload, &[]).await;
        let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
        let mut add = AddTorrent::new(payload.metainfo(&[tracker.http_url()]), dir.path());
        change(&mut add);
        let torrent = session.add(add).await.unwrap();
        Self {
            payload,
            seed,
            tracker,
            session,
            torrent,
            dir,
            hogs,
            readers: Mutex::default(),
            rechecks: Mutex::default(),
            renames: Mutex::default(),
        }
    }

    /// Its files are looked at, until [`Self::release`].
    async fn checking() -> Self {
        let (payload, dir) = (payload(), tempfile::tempdir().unwrap());
        payload.write(dir.path());
        // One piece is missing.
        let hole = [0; PIECE];
        let file = fs::File::options().write(true).open(dir.path().join("folder/a")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &hole, 0).unwrap();
        let mut options = options(&dir);
        options.disk_threads = 1;
        let session = Session::start(options).await.unwrap();
        let mut hogs = Vec::new();
        for n in 0..HOGS {
            hogs.push(hog(&session, dir.path(), n).await);
        }
        let scene = Self::with(payload, session, dir, hogs, |add| add.check = Check::Full).await;
        assert!(matches!(scene.torrent.status().state, State::Checking { .. }));
        scene
    }

    /// Nothing keeps it from working any more.
    async fn release(&mut self) {
        for hog in self.hogs.drain(..) {
            within(hog.stop()).await.unwrap();
        }
    }

    /// Waits until it is in such a state.
    async fn is(&self, matches: impl Fn(&State) -> bool) {
        within(self.torrent.watch().wait_for(|status| matches(&status.state))).await.unwrap();
    }

    /// Tells it everything there is to tell. `paused`: what comes of an announce.
    async fn tell(&self, reannounced: Result<(), Refused>) {
        let torrent = &self.torrent;
        let mut reader = within(torrent.reader(FileIndex(0))).await.unwrap();
        self.readers.lock().unwrap().push(tokio::spawn(async move {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).await.map(|_| bytes)
        }));
        let too_many = Refused::TooManyPriorities { given: 4, files: 3 };
        assert_eq!(torrent.set_priorities(vec![FilePriority::Low; 4]).await, Err(too_many));
        assert_eq!(torrent.set_priorities(TWO.to_vec()).await, Ok(()));
        assert_eq!(torrent.set_limits(Some(50 << 20), Some(50 << 20)).await, Ok(()));
        assert_eq!(torrent.fetch_rarest_first().await, Ok(()));
        assert_eq!(torrent.fetch_in_order().await, Ok(()));
        assert_eq!(torrent.add_peers(vec![self.seed.session.listen_addr()]).await, Ok(()));
        assert_eq!(torrent.reannounce().await, reannounced);
        assert_eq!(within(torrent.trackers()).await.len(), 1);
        within(torrent.peers()).await;
        edit_trackers(torrent, &self.tracker.http_url()).await;
        assert_eq!(torrent.rename("mine").await, Ok(()));
        self.read_back(reannounced == Err(Refused::Paused)).await;
        // It may have to wait until the files were looked at.
        let renamed = torrent.clone();
        let rename = async move { renamed.rename_file(FileIndex(2), LAST).await };
        self.renames.lock().unwrap().push(tokio::spawn(rename));
        let torrent = torrent.clone();
        self.rechecks.lock().unwrap().push(tokio::spawn(async move { torrent.recheck().await }));
    }

    /// It knows what it was told.
    async fn read_back(&self, paused: bool) {
        let settings = within(self.torrent.settings()).await.unwrap();
        assert_eq!(settings.priorities, TWO);
        assert_eq!((settings.down_limit, settings.up_limit), (Some(50 << 20), Some(50 << 20)));
        assert_eq!((settings.sequential, settings.paused, settings.seed_only), (true, paused, false));
        assert_eq!((&*settings.folder, settings.name.to_str()), (self.dir.path(), Some("folder")));
        assert_eq!(settings.trackers, [[self.tracker.http_url()]]);
        assert_eq!(self.torrent.status().name, "mine");
        let map = within(self.torrent.piece_map()).await.unwrap();
        assert_eq!((map.have.len(), map.availability.len()), (60, 60));
    }

    /// All of it was done: two files are wanted and here, whichever torrent had them.
    async fn has_two(self) {
        within(self.torrent.wait_done()).await;
        let status = self.torrent.status();
        assert_eq!((status.wanted, status.wanted_done), (2 * FILE as u64, 2 * FILE as u64));
        for (path, data) in &self.payload.files[..2] {
            assert_eq!(fs::read(self.dir.path().join("folder").join(path)).unwrap(), *data, "{path}");
        }
        let rechecks = std::mem::take(&mut *self.rechecks.lock().unwrap());
        for recheck in rechecks {
            within(recheck).await.unwrap().unwrap();
        }
        let readers = std::mem::take(&mut *self.readers.lock().unwrap());
        for reader in readers {
            assert!(within(reader).await.unwrap().unwrap() == self.payload.files[0].1);
        }
        let renames = std::mem::take(&mut *self.renames.lock().unwrap());
        let last = if renames.is_empty() { "folder/c" } else { LAST };
        for rename in renames {
            within(rename).await.unwrap().unwrap();
        }
        let paths = within(self.torrent.file_paths()).await.unwrap();
        assert_eq!(paths[2].as_deref(), Some(Path::new(last)));
        // All of it goes to another folder.
        let new = self.dir.path().join("moved");
        within(self.torrent.move_to(&new)).await.unwrap();
        assert_eq!(within(self.torrent.settings()).await.unwrap().folder, new);
        for (path, data) in &self.payload.files[..2] {
            assert_eq!(fs::read(new.join("folder").join(path)).unwrap(), *data, "{path}");
            assert!(!self.dir.path().join("folder").join(path).exists());
        }
        within(async {
            while self.tracker.counts().1 == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        within(self.torrent.stop()).await.unwrap();
        self.is_stopped().await;
        self.session.shutdown().await;
        self.tracker.shutdown();
    }

    /// It says so to everything.
    async fn is_stopped(&self) {
        let torrent = &self.torrent;
        assert_eq!(torrent.status().state, State::Stopped);
        let answers = [
            torrent.pause().await,
            torrent.resume().await,
            torrent.reannounce().await,
            torrent.add_peers(Vec::new()).await,
            torrent.set_priorities(Vec::new()).await,
            torrent.set_limits(None, None).await,
            torrent.fetch_in_order().await,
            torrent.rename("mine").await,
            torrent.stop().await,
        ];
        assert_eq!(answers, [const { Err(Refused::Stopped) }; 9]);
        let moved = torrent.move_to(self.dir.path()).await.map(drop);
        for moved in [moved, torrent.rename_file(FileIndex(0), "x").await] {
            assert!(matches!(moved, Err(FilesError::Refused(Refused::Stopped))), "{moved:?}");
        }
        assert_eq!(torrent.file_paths().await, Err(Refused::Stopped));
        assert_eq!(torrent.settings().await, Err(Refused::Stopped));
        assert_eq!(torrent.set_trackers(Vec::new()).await, Err(Refused::Stopped));
        assert_eq!(torrent.add_trackers(Vec::new()).await, Err(Refused::Stopped));
        assert_eq!(torrent.remove_trackers(Vec::new()).await, Err(Refused::Stopped));
        assert_eq!(torrent.replace_tracker(String::new(), String::new()).await, Err(Refused::Stopped));
        assert_eq!(torrent.piece_map().await, Err(Refused::Stopped));
        assert_eq!(torrent.recheck().await, Err(Refused::Stopped));
        let removed = self.session.delete(torrent, Data::Delete).await;
        assert!(matches!(removed, Err(FilesError::Refused(Refused::Stopped))), "{removed:?}");
        assert_eq!(torrent.reader(FileIndex(0)).await.err(), Some(Refused::Stopped));
        assert!(torrent.peers().await.is_empty() && torrent.trackers().await.is_empty());
    }
}

/// Changes its trackers in each way, and back to the one that it has.
async fn edit_trackers(torrent: &Torrent, url: &str) {
    let own = vec![vec![url.to_owned()]];
    let other = |n: u8| format!("http://127.0.0.1:1/{n}");
    assert_eq!(
        within(torrent.set_trackers(vec![vec![other(1)], vec![url.to_owned()]])).await,
        Ok(Vec::new())
    );
    let refused = within(torrent.add_trackers(vec![other(2), "gone".to_owned()])).await.unwrap();
    assert!(matches!(&refused[..], [RefusedTracker { why: TrackerRefusal::Unusable(_), .. }]), "{refused:?}");
    assert_eq!(within(torrent.replace_tracker(other(2), other(3))).await, Ok(Vec::new()));
    let urls =
        |trackers: Vec<TrackerStatus>| trackers.into_iter().map(|tracker| tracker.url).collect::<Vec<_>>();
    assert_eq!(urls(within(torrent.trackers()).await), [other(1), url.to_owned(), other(3)]);
    let refused = within(torrent.remove_trackers(vec![other(1), other(2), other(3)])).await.unwrap();
    assert!(matches!(&refused[..], [RefusedTracker { why: TrackerRefusal::NotListed, .. }]), "{refused:?}");
    assert_eq!(within(torrent.set_trackers(own)).await, Ok(Vec::new()));
    assert_eq!(urls(within(torrent.trackers()).await), [url]);
}

/// A torrent of zeros, none of which are right, that takes long to look at.
async fn hog(session: &Session, dir: &Path, n: usize) -> Torrent {
    let name = format!("hog-{n}");
    fs::File::create(dir.join(&name)).unwrap().set_len(HOG).unwrap();
    let mut encoder = Encoder::new();
    encoder.begin_dict().key(b"info").begin_dict().key(b"length").int(HOG as i64);
    encoder.key(b"name").bytes(name.as_bytes()).key(b"piece length").int(16 << 20);
    encoder.key(b"pieces").bytes(&vec![7; 20 * (HOG >> 24) as usize]).end().end();
    let mut add = AddTorrent::new(Metainfo::parse(&encoder.into_bytes()).unwrap(), dir);
    (add.check, add.seed_only) = (Check::Full, true);
    session.add(add).await.unwrap()
}

#[tokio::test]
async fn told_while_its_files_are_looked_at() {
    let mut scene = Scene::checking().await;
    scene.tell(Ok(())).await;
    assert!(matches!(scene.torrent.status().state, State::Checking { .. }), "it was told in time");
    scene.release().await;
    scene.has_two().await;
}

#[tokio::test]
async fn paused_and_resumed_while_its_files_are_looked_at() {
    let mut scene = Scene::checking().await;
    assert_eq!(scene.torrent.pause().await, Ok(()));
    assert!(matches!(scene.torrent.status().state, State::Checking { .. }), "it was told in time");
    scene.tell(Err(Refused::Paused)).await;
    scene.release().await;
    scene.is(|state| *state == State::Paused).await;
    assert_eq!(scene.torrent.status().downloaded, 0);
    assert_eq!(scene.torrent.resume().await, Ok(()));
    scene.has_two().await;
}

#[tokio::test]
async fn stopped_while_its_files_are_looked_at() {
    let scene = Scene::checking().await;
    within(scene.torrent.stop()).await.unwrap();
    scene.is_stopped().await;
    within(scene.session.shutdown()).await;
}

#[tokio::test]
async fn told_while_it_waits_for_what_is_in_the_way() {
    let mine = |payload: &Payload, dir: &Path| {
        fs::create_dir(dir.join("folder")).unwrap();
        fs::write(dir.join("folder/a"), &payload.files[0].1).unwrap();
        fs::write(dir.join("folder/b"), vec![b'M'; 4 * PIECE]).unwrap();
    };
    let scene = Scene::new(mine, |_| {}).await;
    scene.is(|state| matches!(state, State::Error { reason: ErrorReason::InTheWay, .. })).await;
    scene.tell(Ok(())).await;
    scene.is(|state| matches!(state, State::Error { reason: ErrorReason::InTheWay, .. })).await;
    fs::remove_file(scene.dir.path().join("folder/b")).unwrap();
    assert_eq!(scene.torrent.resume().await, Ok(()));
    scene.has_two().await;
}

#[tokio::test]
async fn told_while_it_waits_for_its_disk() {
    // A link is not followed: what it leads to cannot be looked at.
    let link = |payload: &Payload, dir: &Path| {
        payload.write(dir);
        fs::rename(dir.join("folder/b"), dir.join("b")).unwrap();
        std::os::unix::fs::symlink(dir.join("b"), dir.join("folder/b")).unwrap();
    };
    let scene = Scene::new(link, |add| add.check = Check::Full).await;
    scene.is(|state| matches!(state, State::Error { .. })).await;
    scene.tell(Ok(())).await;
    scene.is(|state| matches!(state, State::Error { .. })).await;
    fs::remove_file(scene.dir.path().join("folder/b")).unwrap();
    assert_eq!(scene.torrent.resume().await, Ok(()));
    scene.has_two().await;
}

#[tokio::test]
async fn told_while_it_downloads() {
    let scene = Scene::new(|_, _| {}, |_| {}).await;
    scene.is(|state| *state == State::Downloading).await;
    scene.tell(Ok(())).await;
    scene.has_two().await;
}

#[tokio::test]
async fn told_while_it_seeds() {
    let scene = Scene::new(Payload::write, |_| {}).await;
    scene.is(|state| *state == State::Seeding).await;
    scene.tell(Ok(())).await;
    scene.has_two().await;
}

#[tokio::test]
async fn told_while_it_rests() {
    let (payload, dir) = (payload(), tempfile::tempdir().unwrap());
    payload.write(dir.path());
    let session = Session::start(options(&dir)).await.unwrap();
    let torrent = session.add(AddTorrent::new(payload.metainfo(&[]), dir.path())).await.unwrap();
    within(torrent.wait_done()).await;
    session.shutdown().await;
    // Its journal says that there is nothing to do.
    let session = Session::start(options(&dir)).await.unwrap();
    let scene = Scene::with(payload, session, dir, Vec::new(), |_| {}).await;
    assert_eq!(scene.torrent.status().state, State::Seeding);
    scene.tell(Ok(())).await;
    scene.has_two().await;
}

#[tokio::test]
async fn told_while_it_is_paused() {
    let scene = Scene::new(|_, _| {}, |_| {}).await;
    assert_eq!(scene.torrent.pause().await, Ok(()));
    assert_eq!(scene.torrent.status().state, State::Paused);
    scene.tell(Err(Refused::Paused)).await;
    scene.is(|state| *state == State::Paused).await;
    assert_eq!(scene.torrent.status().downloaded, 0);
    assert_eq!(scene.torrent.resume().await, Ok(()));
    scene.has_two().await;
}

#[tokio::test]
async fn told_while_its_disk_fails() {
    let scene = Scene::new(|_, _| {}, |add| add.priorities = vec![FilePriority::Skip; 3]).await;
    scene.is(|state| *state == State::Seeding).await;
    // What is of the user lies where a file is to be made.
    fs::create_dir_all(scene.dir.path().join("folder")).unwrap();
    fs::write(scene.dir.path().join("folder/a"), b"MINE").unwrap();
    scene.tell(Ok(())).await;
    scene.is(|state| matches!(state, State::Error { .. })).await;
    scene.tell(Ok(())).await;
    fs::remove_file(scene.dir.path().join("folder/a")).unwrap();
    assert_eq!(scene.torrent.resume().await, Ok(()));
    scene.has_two().await;
}

/// A torrent of which only the hash is known, and no peer.
struct Sought {
    payload: Payload,
    tracker: TrackerServer,
    session: Session,
    torrent: Torrent,
    dir: TempDir,
}

impl Sought {
    /// The same once it has a peer to fetch from.
    fn into_scene(self, seed: Seed) -> Scene {
        let Self { payload, tracker, session, torrent, dir } = self;
        Scene {
            payload,
            seed,
            tracker,
            session,
            torrent,
            dir,
            hogs: Vec::new(),
            readers: Mutex::default(),
            rechecks: Mutex::default(),
            renames: Mutex::default(),
        }
    }

    async fn new() -> Self {
        let (payload, dir) = (payload(), tempfile::tempdir().unwrap());
        let tracker = TrackerServer::start(Options::on("127.0.0.1:0")).unwrap();
        let session = Session::start(options(&dir)).await.unwrap();
        let mut link = Magnet::new(payload.metainfo(&[]).info().info_hashes());
        link.trackers = vec![tracker.http_url()];
        let torrent = session.add(AddTorrent::magnet(link, dir.path())).await.unwrap();
        Self { payload, tracker, session, torrent, dir }
    }

    /// As [`Scene::tell`]; which files there are is not known.
    async fn tell(&self, reannounced: Result<(), Refused>) {
        let torrent = &self.torrent;
        assert_eq!(torrent.settings().await, Err(Refused::Unresolved));
        assert_eq!(torrent.piece_map().await, Err(Refused::Unresolved));
        assert_eq!(torrent.recheck().await, Err(Refused::Unresolved));
        assert_eq!(torrent.reader(FileIndex(0)).await.err(), Some(Refused::Unresolved));
        assert_eq!(torrent.file_paths().await, Err(Refused::Unresolved));
        let renamed = torrent.rename_file(FileIndex(2), LAST).await;
        assert!(matches!(renamed, Err(FilesError::Refused(Refused::Unresolved))), "{renamed:?}");
        within(torrent.move_to(self.dir.path())).await.unwrap();
        assert_eq!(torrent.rename("mine").await, Ok(()));
        assert_eq!(torrent.set_priorities(TWO.to_vec()).await, Err(Refused::Unresolved));
        assert_eq!(torrent.set_limits(Some(50 << 20), Some(50 << 20)).await, Ok(()));
        assert_eq!(torrent.fetch_rarest_first().await, Ok(()));
        assert_eq!(torrent.fetch_in_order().await, Ok(()));
        assert_eq!(torrent.reannounce().await, reannounced);
        assert_eq!(within(torrent.trackers()).await.len(), 1);
        edit_trackers(torrent, &self.tracker.http_url()).await;
        assert!(within(torrent.peers()).await.is_empty());
        assert!(within(torrent.files()).await.is_empty());
    }
}

#[tokio::test]
async fn told_while_it_is_resolved() {
    let sought = Sought::new().await;
    let torrent = &sought.torrent;
    sought.tell(Ok(())).await;
    assert_eq!(torrent.status().state, State::Resolving, "it was told in time");
    assert_eq!(torrent.pause().await, Ok(()));
    assert_eq!(torrent.status().state, State::Paused);
    sought.tell(Err(Refused::Paused)).await;
    let seed = Seed::start(&sought.payload, &[]).await;
    assert_eq!(torrent.add_peers(vec![seed.session.listen_addr()]).await, Ok(()));
    assert_eq!(torrent.resume().await, Ok(()));
    // From here on it has files, whatever it does with them.
    within(torrent.resolved()).await.unwrap();
    let too_many = Refused::TooManyPriorities { given: 4, files: 3 };
    assert_eq!(torrent.set_priorities(vec![FilePriority::Low; 4]).await, Err(too_many));
    assert_eq!(torrent.set_priorities(TWO.to_vec()).await, Ok(()));
    let scene = sought.into_scene(seed);
    scene.has_two().await;
}

#[tokio::test]
async fn paused_while_it_is_resolved_it_begins_nothing_until_it_is_resumed() {
    let sought = Sought::new().await;
    let torrent = &sought.torrent;
    let seed = Seed::start(&sought.payload, &[]).await;
    assert_eq!(torrent.pause().await, Ok(()));
    assert_eq!(torrent.add_peers(vec![seed.session.listen_addr()]).await, Ok(()));
    // A peer that calls is sent away.
    within(seed.torrent.add_peers(vec![sought.session.listen_addr()])).await.unwrap();
    within(async {
        while !matches!(seed.torrent.status().peers, 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(torrent.info().is_none());
    assert_eq!(torrent.resume().await, Ok(()));
    within(torrent.resolved()).await.unwrap();
    within(torrent.wait_done()).await;
    sought.payload.assert_at(sought.dir.path());
    sought.session.shutdown().await;
    sought.tracker.shutdown();
}

#[tokio::test]
async fn stopped_while_it_is_resolved() {
    let sought = Sought::new().await;
    within(sought.torrent.stop()).await.unwrap();
    let seed = Seed::start(&sought.payload, &[]).await;
    let scene = sought.into_scene(seed);
    scene.is_stopped().await;
    within(scene.session.shutdown()).await;
    scene.tracker.shutdown();
}
