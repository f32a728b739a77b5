//! What a session keeps of its torrents from one start to the next: in files, and in a store that a test has in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ferri_engine::store::{FolderStore, Kept, Listed, Record, Store, StoreError, Totals};
use ferri_engine::{
    AddTorrent, Error, FilePriority, RateLimits, Refused, Session, SessionOptions, State, Torrent,
};
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{InfoHash, Metainfo};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, Payload, Seed, options, within};

/// A store in memory, which outlives sessions.
#[derive(Debug, Default)]
struct Memory {
    torrents: Mutex<BTreeMap<InfoHash, Kept>>,
    is_broken: AtomicBool,
}

impl Memory {
    fn works(&self) -> Result<(), StoreError> {
        if self.is_broken.load(Ordering::Relaxed) { Err(StoreError::new("on purpose")) } else { Ok(()) }
    }

    fn record(&self, torrent: &Torrent) -> Record {
        self.torrents.lock().unwrap()[&torrent.info_hashes().wire()].record.clone()
    }
}

impl Store for Memory {
    fn list(&self) -> Result<Listed, StoreError> {
        self.works()?;
        let torrents = self.torrents.lock().unwrap().values().cloned().collect();
        Ok(Listed { torrents, ..Listed::default() })
    }

    fn put(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        self.works()?;
        let mut torrents = self.torrents.lock().unwrap();
        for record in records {
            let totals = torrents.get(&record.info_hash()).and_then(|kept| kept.totals);
            torrents.insert(record.info_hash(), Kept { record: (**record).clone(), totals });
        }
        Ok(())
    }

    fn remove(&self, torrents: &[InfoHash]) -> Result<(), StoreError> {
        self.works()?;
        self.torrents.lock().unwrap().retain(|name, _| !torrents.contains(name));
        Ok(())
    }

    fn put_totals(&self, totals: &[(InfoHash, Totals)]) -> Result<(), StoreError> {
        let mut torrents = self.torrents.lock().unwrap();
        for (name, totals) in totals {
            if let Some(kept) = torrents.get_mut(name) {
                kept.totals = Some(*totals);
            }
        }
        Ok(())
    }
}

fn kept_by(store: &Arc<Memory>, dir: &TempDir) -> SessionOptions {
    SessionOptions { store: Some(store.clone()), ..options(dir) }
}

/// A life of a process: whatever is not kept when `work` is done is lost.
fn live<T>(work: impl Future<Output = T>) -> T {
    let runtime = Runtime::new().unwrap();
    // A thousand torrents wait for the disk some thousand times.
    let result =
        runtime.block_on(async { tokio::time::timeout(5 * PATIENCE, work).await.expect("it hangs") });
    // Nothing is told to anybody, and no task is polled again.
    runtime.shutdown_background();
    result
}

fn three_files(name: &'static str) -> Payload {
    Payload { name, ..Payload::several(&[("a", 40_000), ("b", 40_000), ("c", 40_000)], 16 << 10) }
}

#[test]
fn torrents_come_back_after_a_death_as_they_were_told_to_be() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::<Memory>::default());
    let peer = "203.0.113.5:6881".parse().unwrap();
    let wishes = vec![FilePriority::High, FilePriority::Skip, FilePriority::Low];
    let (first, second) = live(async {
        let session = Session::start(kept_by(&store, &dir)).await.unwrap();
        assert_eq!(session.wait_restored().await.unwrap().torrents, 0);
        let first =
            session.add(AddTorrent::new(three_files("first").metainfo(&[]), dir.path())).await.unwrap();
        let add =
            AddTorrent { paused: true, ..AddTorrent::new(three_files("second").metainfo(&[]), dir.path()) };
        let second = session.add(add).await.unwrap();
        first.set_priorities(wishes.clone()).await.unwrap();
        first.set_limits(Some(70_000), None).await.unwrap();
        first.fetch_in_order().await.unwrap();
        first.add_peers(vec![peer]).await.unwrap();
        // What was answered is kept.
        let record = store.record(&first);
        assert_eq!((record.priorities, record.sequential, record.paused), (wishes.clone(), true, false));
        assert_eq!(record.limits, RateLimits { down: Some(70_000), up: None });
        assert_eq!((record.peers, record.output.as_path()), (vec![peer], dir.path()));
        second.resume().await.unwrap();
        assert!(!store.record(&second).paused);
        second.pause().await.unwrap();
        let third =
            session.add(AddTorrent::new(three_files("third").metainfo(&[]), dir.path())).await.unwrap();
        session.remove(third.info_hashes()).await.unwrap();
        assert_eq!((third.status().state, session.torrents().len()), (State::Stopped, 2));
        (first.info_hashes(), second.info_hashes())
    });
    live(async {
        let session = Session::start(kept_by(&store, &dir)).await.unwrap();
        assert_eq!(session.wait_restored().await.unwrap().torrents, 2);
        let (first, second) = (session.torrent(first).unwrap(), session.torrent(second).unwrap());
        second.wait_checked().await;
        assert_eq!(second.status().state, State::Paused);
        first.wait_checked().await;
        assert_eq!(first.status().state, State::Downloading);
        assert_eq!(
            first.files().await.iter().map(|file| file.wanted).collect::<Vec<_>>(),
            [true, false, true]
        );
        let record = store.record(&first);
        assert_eq!((record.priorities, record.sequential, record.peers), (wishes, true, vec![peer]));
        session.shutdown().await;
    });
    live(async {
        // One that only does something once begins with none.
        let session = Session::start(options(&dir)).await.unwrap();
        assert_eq!(session.wait_restored().await.unwrap().torrents, 0);
        assert!(session.torrents().is_empty());
    });
}

#[test]
fn a_magnet_link_that_was_not_resolved_is_looked_for_again_after_a_death() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::<Memory>::default());
    let hash = InfoHash::from([9; 20]);
    live(async {
        let session = Session::start(kept_by(&store, &dir)).await.unwrap();
        let torrent = session.add(AddTorrent::magnet(Magnet::new(hash.into()), dir.path())).await.unwrap();
        torrent.set_limits(None, Some(5_000)).await.unwrap();
        assert_eq!(torrent.status().state, State::Resolving);
    });
    live(async {
        let session = Session::start(kept_by(&store, &dir)).await.unwrap();
        assert_eq!(session.wait_restored().await.unwrap().torrents, 1);
        let torrent = session.torrent(hash).unwrap();
        assert_eq!(torrent.status().state, State::Resolving);
        assert_eq!(store.record(&torrent).limits.up, Some(5_000));
        session.shutdown().await;
    });
}

#[tokio::test]
async fn where_peers_were_is_known_and_used_at_the_next_start() {
    let payload = Payload::single(300_000, 16 << 10);
    let seed = Seed::start(&payload, &[]).await;
    let addr = seed.session.listen_addr();
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::<Memory>::default());
    let session = Session::start(kept_by(&store, &dir)).await.unwrap();
    let add = AddTorrent { peers: vec![addr], ..AddTorrent::new(payload.metainfo(&[]), dir.path()) };
    let torrent = session.add(add).await.unwrap();
    within(torrent.wait_done()).await;
    let uploaded = within(seed.torrent.watch().wait_for(|status| 300_000 <= status.uploaded)).await.unwrap();
    assert_eq!(uploaded.uploaded, 300_000);
    session.shutdown().await;
    let kept = store.torrents.lock().unwrap().values().next().unwrap().clone();
    assert_eq!(kept.record.known_peers, [addr]);
    assert_eq!(kept.totals.map(|totals| totals.downloaded), Some(300_000));

    // Nobody names the seed, in a place where nothing is.
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::<Memory>::default();
    let record = Record { peers: Vec::new(), output: dir.path().to_owned(), ..kept.record };
    let session = Session::start(kept_by(&store, &dir)).await.unwrap();
    let torrent = session.restore(Kept { record, totals: kept.totals }).await.unwrap();
    assert_eq!(store.record(&torrent).known_peers, [addr]);
    within(torrent.wait_done()).await;
    payload.assert_at(dir.path());
    assert_eq!(torrent.status().all_time.downloaded, 600_000, "in both sessions");
    session.shutdown().await;
}

/// A torrent of 9 bytes that nobody has.
fn small(n: usize) -> Metainfo {
    let hash = "x".repeat(20);
    let torrent = format!("d4:infod6:lengthi9e4:name5:{n:05}12:piece lengthi16384e6:pieces20:{hash}ee");
    Metainfo::parse(torrent.as_bytes()).unwrap()
}

/// The list, as soon as a session that ended has let go of it.
fn open(dir: &Path) -> Arc<FolderStore> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match FolderStore::open(dir) {
            Ok(store) => return Arc::new(store),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_thousand_torrents_come_back_after_a_death_and_a_damaged_one_is_told() {
    const TORRENTS: usize = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let (state_dir, downloads) = (dir.path().join("state"), dir.path().join("downloads"));
    let kept = || SessionOptions { store: Some(open(&state_dir)), ..options(&dir) };
    let mut names = live(async {
        let session = Session::start(kept()).await.unwrap();
        let (mut names, mut adding) = (BTreeSet::new(), JoinSet::new());
        for n in 0..TORRENTS {
            let add = AddTorrent { paused: n % 2 == 0, ..AddTorrent::new(small(n), &downloads) };
            let session = session.clone();
            adding.spawn(async move { session.add(add).await.unwrap().info_hashes().wire() });
            if 100 <= adding.len() {
                names.extend(adding.join_next().await.unwrap());
            }
        }
        names.extend(adding.join_all().await);
        names
    });
    let damaged = names.pop_first().unwrap();
    let path = state_dir.join("list").join(format!("{damaged}.record"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    live(async {
        let session = Session::start(kept()).await.unwrap();
        let restored = session.wait_restored().await.unwrap();
        assert_eq!((restored.torrents, restored.failed.len()), (TORRENTS - 1, 0));
        assert!(
            matches!(&restored.damaged[..], [words] if words.contains(&damaged.to_string())),
            "{restored:?}"
        );
        let found: BTreeSet<_> =
            session.torrents().iter().map(|torrent| torrent.info_hashes().wire()).collect();
        assert!(found == names);
        let paused =
            session.torrents().iter().filter(|torrent| torrent.status().state == State::Paused).count();
        assert!((TORRENTS / 2 - 1..=TORRENTS / 2).contains(&paused), "{paused}");
        session.shutdown().await;
    });
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_called_done() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::<Memory>::default());
    let session = Session::start(kept_by(&store, &dir)).await.unwrap();
    let torrent = session.add(AddTorrent::new(small(1), dir.path())).await.unwrap();
    store.is_broken.store(true, Ordering::Relaxed);
    let refused = torrent.set_limits(Some(1_000), None).await;
    assert!(matches!(&refused, Err(Refused::NotKept(_))), "{refused:?}");
    assert!(torrent.reannounce().await == Err(Refused::NoTracker), "what is not kept does not mind");
    let error = session.add(AddTorrent::new(small(2), dir.path())).await.unwrap_err();
    assert!(matches!(error, Error::Store(_)) && error.to_string().contains("on purpose"), "{error}");
    assert_eq!(session.torrents().len(), 1);
    let error = session.remove(torrent.info_hashes()).await.unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error}");
    assert_eq!(torrent.status().state, State::Downloading, "it goes on");
    store.is_broken.store(false, Ordering::Relaxed);
    session.remove(torrent.info_hashes()).await.unwrap();
    let again = session.remove(torrent.info_hashes()).await;
    assert!(matches!(again, Err(Error::NoSuchTorrent)), "{again:?}");
    session.shutdown().await;
    assert!(store.torrents.lock().unwrap().is_empty(), "what it did last did not bring it back");
    store.is_broken.store(true, Ordering::Relaxed);
    let other = tempfile::tempdir().unwrap();
    let start = Session::start(kept_by(&store, &other)).await;
    assert!(matches!(start, Err(Error::Store(_))), "a list that cannot be read is not an empty one");
}
