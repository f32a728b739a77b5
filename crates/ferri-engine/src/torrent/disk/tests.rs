//! A torrent's disk side with a disk that fails and threads that have no room.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::mpsc as blocking;

use ferri_metainfo::Metainfo;
use ferri_metainfo::names::LocalPaths;
use ferri_storage::{Fault, FaultPlan, Lanes, Op, Place, PoolOptions, Storage, StorageOptions};

use super::*;

const EIO: i32 = 5;
const PIECE: usize = 32 << 10;
const PIECES: u32 = 4;
/// More than a test needs, and soon full.
const LANES: Lanes = Lanes { pieces: 8, others: 8, syncs: 8, reads: 8, looks: 8 };
/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A torrent of one file, whose disk fails at what `broken` says.
struct Fixture {
    folder: tempfile::TempDir,
    disk: Disk,
    done: mpsc::UnboundedReceiver<DiskDone>,
    broken: Arc<Mutex<Option<Op>>>,
    pool: Pool,
}

impl Fixture {
    fn new(threads: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..PIECES).flat_map(block).collect();
        let hashes: Vec<u8> = data.chunks(PIECE).flat_map(ferri_hash::sha1).collect();
        let mut encoder = ferri_bencode::Encoder::new();
        encoder.begin_dict().key(b"info").begin_dict();
        encoder.key(b"length").int(data.len() as i64).key(b"name").bytes(b"file");
        encoder.key(b"piece length").int(PIECE as i64).key(b"pieces").bytes(&hashes).end().end();
        let info = Metainfo::parse(&encoder.into_bytes()).unwrap().shared_info();

        let broken = Arc::new(Mutex::new(None));
        let switch = Arc::clone(&broken);
        let plan = FaultPlan::new(move |op, _, _| {
            (*switch.lock().unwrap() == Some(op)).then_some(Fault::Errno(EIO))
        });
        let options = StorageOptions { faults: Some(plan), ..StorageOptions::default() };
        let (root, state_dir) = (folder.path().join("downloads"), Some(folder.path().join("state").into()));
        let (paths, place) = (LocalPaths::new(&info).unwrap(), Place { root, state_dir });
        let layout = info.layout().clone();
        let storage = Arc::new(Store::from(Storage::new(info, paths, place, options, &[]).unwrap()));
        storage.resume().unwrap();
        let pool = Pool::with(&PoolOptions { lanes: LANES, ..PoolOptions::new(threads) }).unwrap();
        let (sender, done) = mpsc::unbounded_channel();
        let disk = Disk::new(storage, layout, pool.clone(), 1 << 20, sender);
        Self { folder, disk, done, broken, pool }
    }

    fn breaks(&self, op: Option<Op>) {
        *self.broken.lock().unwrap() = op;
    }

    fn piece(&self, piece: u32) -> PieceIndex {
        self.disk.layout.piece(piece).unwrap()
    }

    /// All blocks of a piece arrive.
    fn arrives(&mut self, piece: u32) {
        let index = self.piece(piece);
        let bytes = Bytes::from(block(piece));
        for n in 0..self.disk.layout.block_count(index) {
            let block = self.disk.layout.nth_block(index, n).unwrap();
            let begin = block.begin() as usize;
            self.disk.store(block, bytes.slice(begin..begin + block.length() as usize));
        }
        self.disk.verify(index, false);
    }

    fn write(&mut self, piece: u32) {
        self.arrives(piece);
        let DiskDone::Piece { piece, result } = self.next() else { panic!("a piece was to be written") };
        let verdict = self.disk.piece_done(piece, result, Instant::now()).unwrap();
        assert_eq!(verdict, Verdict { ok: true, digests: Vec::new() });
    }

    /// The only thread waits until the answer is dropped, and behind it as many jobs as may, in each lane.
    fn fill(&self) -> blocking::Sender<()> {
        let (release, wait) = blocking::channel::<()>();
        let (began, begins) = blocking::channel();
        let hold = Job::Run(Box::new(move || {
            began.send(()).unwrap();
            let _ = wait.recv();
        }));
        self.pool.submit(hold).unwrap();
        begins.recv().unwrap();
        let storage = || self.disk.storage.clone();
        let write = || Job::WritePiece {
            storage: storage(),
            piece: self.piece(3),
            blocks: Vec::new(),
            hash: PieceHash::new(self.disk.storage.info(), self.piece(3)),
            reply: Box::new(|_| {}),
        };
        let look = || Job::CheckPieces {
            storage: storage(),
            pieces: Vec::new(),
            cancel: Arc::default(),
            progress: Box::new(|_| {}),
            reply: Box::new(|_| {}),
        };
        while self.pool.submit(write()).is_ok() {}
        while self.pool.submit(look()).is_ok() {}
        while self.pool.submit(Job::Sync { storage: storage(), reply: Box::new(|_| {}) }).is_ok() {}
        while self.pool.submit(Job::Run(Box::new(|| {}))).is_ok() {}
        release
    }

    /// Offers what found no room until there is some.
    fn offer_again(&mut self) {
        while !self.disk.refused.is_empty() {
            std::thread::yield_now();
            self.disk.tick(Instant::now() + RETRY_INTERVAL);
        }
    }

    fn next(&mut self) -> DiskDone {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.done.try_recv() {
                Ok(done) => return done,
                Err(_) => assert!(Instant::now() < deadline, "no answer"),
            }
            std::thread::yield_now();
        }
    }

    fn synced(&mut self, now: Instant) -> Result<(), StorageError> {
        let DiskDone::Synced(result) = self.next() else { panic!("a sync was to end") };
        self.disk.synced(&result, now);
        result
    }

    /// What the storage doubts is looked at; the pieces that are gone.
    fn looks(&mut self, now: Instant) -> Result<Vec<u32>, StorageError> {
        let DiskDone::Doubtful(pieces) = self.next() else { panic!("something was to be in doubt") };
        self.disk.recheck(pieces);
        let DiskDone::Rechecked(result) = self.next() else { panic!("pieces were to be looked at") };
        let gone = self.disk.rechecked(result, now)?;
        Ok(gone.iter().map(|piece| piece.get()).collect())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.pool.shutdown();
    }
}

fn block(piece: u32) -> Vec<u8> {
    (0..PIECE as u32).map(|at| (at * 7 + at / 256 + piece * 31) as u8).collect()
}

#[test]
fn a_failed_sync_is_tried_again_by_itself_and_what_it_covered_is_looked_at() {
    let mut t = Fixture::new(2);
    t.write(0);
    t.write(1);
    t.breaks(Some(Op::Sync));
    t.disk.sync();
    let now = Instant::now();
    assert!(t.synced(now).is_err());
    // The device kept one of the two.
    let file = std::fs::File::options().write(true).open(t.folder.path().join("downloads/file")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 100], PIECE as u64).unwrap();
    assert_eq!(t.looks(now).unwrap(), [1]);
    assert_eq!(t.disk.next_tick(), Some(now + SYNC_INTERVAL), "later, and not in a tight loop");
    t.breaks(None);
    t.disk.tick(now + SYNC_INTERVAL);
    assert!(t.synced(now).is_ok());
    assert_eq!(t.disk.next_tick(), None);
    assert_eq!(t.disk.storage.files().unwrap().on_disk().iter_ones().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_piece_ends_where_it_began_though_the_memory_changes_meanwhile() {
    let mut t = Fixture::new(1);
    for (piece, memory) in [(0, [1 << 20, 1]), (1, [1, 1 << 20])] {
        let (index, bytes) = (t.piece(piece), Bytes::from(block(piece)));
        for (n, memory) in (0..).zip(memory) {
            t.disk.set_memory(memory);
            let block = t.disk.layout.nth_block(index, n).unwrap();
            let begin = block.begin() as usize;
            t.disk.store(block, bytes.slice(begin..begin + block.length() as usize));
        }
        t.disk.verify(index, false);
        let result = loop {
            match t.next() {
                DiskDone::Spilled { piece, round, unwritten, error } => {
                    t.disk.spilled(piece, round, unwritten, error, Instant::now()).unwrap();
                }
                DiskDone::Piece { result, .. } => break result,
                other => panic!("{other:?}"),
            }
        };
        let verdict = t.disk.piece_done(index, result, Instant::now()).unwrap();
        assert_eq!(verdict, Verdict { ok: true, digests: Vec::new() }, "piece {piece}");
    }
}

#[test]
fn digests_of_two_copies_differ_where_the_copies_do() {
    for memory in [PIECE as u64, PIECE as u64 - 1] {
        let mut t = Fixture::new(1);
        t.disk.spills = Spills::new(memory);
        let index = t.piece(0);
        let mut wrong = block(0);
        wrong[20 << 10] ^= 1;
        let mut verdict = |bytes: Vec<u8>, digests| {
            let bytes = Bytes::from(bytes);
            for n in 0..t.disk.layout.block_count(index) {
                let block = t.disk.layout.nth_block(index, n).unwrap();
                let begin = block.begin() as usize;
                t.disk.store(block, bytes.slice(begin..begin + block.length() as usize));
            }
            t.disk.verify(index, digests);
            loop {
                match t.next() {
                    DiskDone::Spilled { piece, round, unwritten, error } => {
                        t.disk.spilled(piece, round, unwritten, error, Instant::now()).unwrap();
                    }
                    DiskDone::Piece { piece, result } => {
                        return t.disk.piece_done(piece, result, Instant::now()).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let bad = verdict(wrong, false);
        let good = verdict(block(0), true);
        assert_eq!((bad.ok, good.ok), (false, true));
        let differs = bad.digests.iter().zip(&good.digests).map(|(bad, good)| bad != good);
        assert_eq!(differs.collect::<Vec<_>>(), [false, true], "with {memory} bytes of memory");
    }
}

#[test]
fn much_is_synced_soon_and_little_later() {
    let mut t = Fixture::new(2);
    t.write(0);
    let since = t.disk.unsynced_since.unwrap();
    assert_eq!(t.disk.next_tick(), Some(since + SYNC_INTERVAL));
    t.disk.unsynced = SYNC_BYTES;
    assert_eq!(t.disk.next_tick(), Some(since + SYNC_SOON));
    t.disk.tick(since + SYNC_SOON);
    assert!(t.synced(since + SYNC_SOON).is_ok());
    assert_eq!(t.disk.next_tick(), None);
}

#[test]
fn what_is_in_doubt_and_cannot_be_read_stays_in_doubt_until_it_can() {
    let mut t = Fixture::new(2);
    (0..PIECES).for_each(|piece| t.write(piece));
    t.breaks(Some(Op::Sync));
    t.disk.sync();
    let now = Instant::now();
    assert!(t.synced(now).is_err());
    t.breaks(Some(Op::Read));
    assert!(t.looks(now).is_err());
    t.breaks(None);
    t.disk.tick(now + PROBE_INTERVAL);
    let (mut synced, mut gone) = (false, None);
    while !synced || gone.is_none() {
        // Two threads answer, in any order; a sync may find the doubt before the look has cleared it.
        match t.next() {
            DiskDone::Synced(Ok(())) => synced = true,
            DiskDone::Doubtful(pieces) => t.disk.recheck(pieces),
            DiskDone::Rechecked(result) => gone = Some(t.disk.rechecked(result, now).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gone, Some(Vec::new()), "all of them are there");
}

#[test]
fn a_sync_asked_for_while_one_is_under_way_follows_it() {
    let mut t = Fixture::new(1);
    t.write(0);
    t.disk.sync();
    t.disk.sync();
    assert!(t.synced(Instant::now()).is_ok());
    assert!(t.synced(Instant::now()).is_ok());
    assert!(t.done.try_recv().is_err() && !t.disk.syncing, "two and no more");
}

#[test]
fn what_settles_is_synced_at_once_and_no_file_stays_open() {
    let mut t = Fixture::new(1);
    t.write(0);
    let payload = t.folder.path().join("downloads");
    let is_open = || {
        let links =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fd.ok()?.path().read_link().ok());
        links.filter(|link| link.starts_with(&payload)).count() != 0
    };
    // A sync that came just before is not enough.
    t.disk.sync();
    t.disk.settle();
    assert!(t.synced(Instant::now()).is_ok());
    assert!(t.synced(Instant::now()).is_ok());
    assert!(!is_open() && t.disk.next_tick().is_none());
    t.write(1);
    assert!(is_open());
}

#[test]
fn an_unreadable_piece_is_looked_at_with_all_that_the_same_cut_took() {
    let mut t = Fixture::new(2);
    (0..PIECES).for_each(|piece| t.write(piece));
    let path = t.folder.path().join("downloads/file");
    std::fs::File::options().write(true).open(path).unwrap().set_len(PIECE as u64 + 5).unwrap();
    assert!(t.disk.unreadable(t.piece(2)));
    assert!(!t.disk.unreadable(t.piece(2)), "once is enough");
    assert_eq!(t.looks(Instant::now()).unwrap(), [1, 2, 3]);
}

#[test]
fn jobs_that_find_no_room_are_done_when_there_is_some() {
    let mut t = Fixture::new(1);
    t.write(0);
    let release = t.fill();
    t.disk.sync();
    t.disk.finish();
    t.disk.set_wanted(vec![true]);
    t.disk.unreadable(t.piece(0));
    t.disk.recheck(vec![t.piece(0)]);
    t.disk.probe_now(Instant::now());
    t.disk.tick(Instant::now());
    t.arrives(1);
    assert!(t.disk.syncing && t.disk.is_busy());
    t.disk.tick(Instant::now() + RETRY_INTERVAL);
    assert!(t.done.try_recv().is_err(), "there is no room yet");
    assert!(t.disk.next_tick().is_some());
    drop(release);
    t.offer_again();
    let mut kinds: Vec<u8> = (0..7)
        .map(|_| match t.next() {
            DiskDone::Piece { result: Ok(true), .. } => 0,
            DiskDone::Synced(Ok(())) => 1,
            DiskDone::Finished(Ok(())) => 2,
            DiskDone::Selected(_, Ok(())) => 3,
            DiskDone::Doubtful(_) => 4,
            DiskDone::Rechecked(Ok(_)) => 5,
            DiskDone::Probed(Ok(())) => 6,
            other => panic!("{other:?}"),
        })
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_piece_too_large_for_memory_finds_room_later_too() {
    let mut t = Fixture::new(1);
    t.disk.spills = Spills::new(PIECE as u64 - 1);
    let release = t.fill();
    t.arrives(3);
    drop(release);
    t.offer_again();
    let DiskDone::Spilled { piece, round, unwritten, error } = t.next() else {
        panic!("it was to be put aside")
    };
    t.disk.spilled(piece, round, unwritten, error, Instant::now()).unwrap();
    let DiskDone::Piece { result, .. } = t.next() else { panic!("it was to be moved to its file") };
    assert!(result.unwrap());
}

#[test]
fn of_many_selections_the_last_one_is_carried_out_if_need_be_when_the_disk_is_back() {
    let mut t = Fixture::new(1);
    t.write(0);
    t.disk.sync();
    t.synced(Instant::now()).unwrap();
    t.breaks(Some(Op::Stat));
    t.disk.set_wanted(vec![false]);
    t.disk.set_wanted(vec![true]);
    t.disk.set_wanted(vec![false]);
    let DiskDone::Selected(wanted, result) = t.next() else { panic!("a selection was to be changed") };
    let Err(error) = &result else { panic!("it was to fail") };
    t.disk.failed(error, Instant::now());
    t.disk.selected(wanted, &result);
    assert!(t.disk.storage.wanted().get(0) && t.done.try_recv().is_err());
    t.breaks(None);
    t.disk.tick(Instant::now() + PROBE_INTERVAL);
    let DiskDone::Probed(result) = t.next() else { panic!("the disk was to be tried") };
    assert!(t.disk.probed(&result, Instant::now()));
    let DiskDone::Selected(wanted, result) = t.next() else { panic!("it was to be tried again") };
    assert!(result.is_ok());
    t.disk.selected(wanted, &result);
    assert!(t.done.try_recv().is_err(), "once is enough");
    assert!(!t.disk.storage.wanted().get(0));
}

#[test]
fn last_touches_that_were_halted_are_still_to_be_put() {
    let mut t = Fixture::new(1);
    t.write(0);
    t.disk.storage().halt();
    t.disk.finish();
    let DiskDone::Finished(result) = t.next() else { panic!("the last touches were to be put") };
    assert!(matches!(result, Err(StorageError::Halted)));
    assert!(!t.disk.finished(&result) && t.disk.is_finishing());
    // The end in order goes on.
    t.disk.sync();
    t.synced(Instant::now()).unwrap();
    t.disk.storage().close().unwrap();
}
