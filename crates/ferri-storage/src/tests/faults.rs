//! Downloads on a disk that fails at random: every failure has a name, nothing false is claimed, and when the cause is
//! gone the download ends well.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Fault, Op};

/// Schedules of faults.
const SEEDS: u64 = 500;

/// Every operation that can be told to fail.
const OPS: [Op; 15] = [
    Op::Open,
    Op::CreateFolder,
    Op::CreateLink,
    Op::Remove,
    Op::Stat,
    Op::Read,
    Op::Allocate,
    Op::Write,
    Op::Sync,
    Op::FolderSync,
    Op::JournalOpen,
    Op::JournalRead,
    Op::JournalWrite,
    Op::JournalSync,
    Op::Rename,
];

/// `EINTR`, `EIO`, `EACCES`, `ENOSPC`, `EROFS`, `EDQUOT`.
const ERRNOS: [i32; 6] = [4, 5, 13, 28, 30, 122];

/// Chance (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A download that is interrupted by everything.
struct Ordeal {
    t: Fixture,
    plan: FaultPlan,
    /// Faults happen.
    broken: Arc<AtomicBool>,
    /// Errors that were met.
    named: usize,
    seed: u64,
}

impl Ordeal {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let some = dice.below(1 << OPS.len()) | 1 << dice.below(OPS.len() as u64);
        let errno = ERRNOS[dice.below(6) as usize];
        let one_in = [2, 5, 20, 60][dice.below(4) as usize];
        let broken = Arc::new(AtomicBool::new(true));
        let (switch, chance) = (Arc::clone(&broken), Mutex::new(Dice(!seed)));
        let plan = FaultPlan::new(move |op, _, length| {
            let mut dice = chance.lock().unwrap();
            let is_struck = OPS.iter().position(|other| *other == op).is_some_and(|at| some >> at & 1 == 1);
            if !switch.load(Ordering::Relaxed) || !is_struck || dice.below(one_in) != 0 {
                return None;
            }
            let is_short = length != 0 && dice.below(3) == 0;
            Some(if is_short {
                Fault::Short(1 + dice.below(length as u64) as usize)
            } else {
                Fault::Errno(errno)
            })
        });
        let p = PIECE as u64;
        let t = Fixture::new(&[
            ("a", 3 * p + 5, ""),
            ("d/b", 70, ""),
            ("d/c", 4 * p - 100, ""),
            ("e", 2 * p, ""),
        ]);
        let memory = tempfile::tempdir_in("/dev/shm").ok();
        let t = Fixture { folder: memory.unwrap_or_else(|| tempfile::tempdir().unwrap()), ..t };
        Self { t, plan, broken, named: 0, seed }
    }

    /// An error says where, and is one that the caller can act on.
    fn note<T>(&mut self, result: Result<T, StorageError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let path = error.path().unwrap_or_else(|| panic!("seed {}: {error}", self.seed));
                assert!(path.starts_with(self.t.folder.path()), "seed {}: {error}", self.seed);
                assert!(error.to_string().contains(path.to_str().unwrap()), "seed {}: {error}", self.seed);
                self.named += 1;
                None
            }
        }
    }

    /// Starts, if need be when the disk is whole again.
    fn start(&mut self) -> (Storage, Resumed) {
        for _ in 0..8 {
            let options = StorageOptions { faults: Some(self.plan.clone()), ..Fixture::options() };
            let paths = LocalPaths::new(&self.t.info).unwrap();
            let wanted = [true, false, true, true];
            let storage = Storage::new(Arc::clone(&self.t.info), paths, self.t.place(), options, &wanted);
            if let Some(storage) = self.note(storage) {
                let resumed = storage.resume();
                if let Some(resumed) = self.note(resumed) {
                    return (storage, resumed);
                }
            }
        }
        self.broken.store(false, Ordering::Relaxed);
        let started = self.start();
        self.broken.store(true, Ordering::Relaxed);
        started
    }

    /// What a start claims is so.
    fn prove(&self, storage: &Storage, resumed: &Resumed) {
        let was = self.broken.swap(false, Ordering::Relaxed);
        for piece in resumed.have.iter_ones() {
            let read = self.t.read(storage, piece);
            let is_right = read.as_ref().is_ok_and(|bytes| bytes == self.t.piece_bytes(piece));
            assert!(is_right, "seed {}: piece {piece} is claimed and wrong: {:?}", self.seed, read.err());
        }
        self.broken.store(was, Ordering::Relaxed);
    }

    fn check(&mut self, storage: &Storage, pieces: &[PieceIndex], have: &mut BTreeSet<u32>) {
        for &piece in pieces {
            let checked = storage.check_piece(piece, &mut Vec::new());
            match self.note(checked) {
                Some(true) => have.insert(piece.get()),
                Some(false) => have.remove(&piece.get()),
                None => false,
            };
        }
    }

    /// One life of the process.
    fn live(&mut self, dice: &mut Dice) {
        let (storage, resumed) = self.start();
        self.prove(&storage, &resumed);
        let mut have: BTreeSet<u32> = resumed.have.iter_ones().collect();
        self.check(&storage, &resumed.recheck, &mut have);
        let count = u64::from(self.t.info.layout().piece_count());
        for _ in 0..dice.below(30) {
            let piece = dice.below(count) as u32;
            let done = match dice.below(12) {
                0 => storage.sync().map(|()| None),
                1 => storage.probe().map(|()| None),
                2 => self.spill(&storage, piece).map(|()| Some(piece)),
                3 => storage.set_wanted(&[true, dice.below(2) == 0, true, true]).map(|()| None),
                4 => storage.finish().map(|()| None),
                5 => storage.close().map(|()| None),
                6 if dice.below(4) == 0 => {
                    self.meddle(dice);
                    Ok(None)
                }
                _ if have.contains(&piece) => Ok(None),
                _ => self.t.try_write(&storage, piece).map(|()| Some(piece)),
            };
            have.extend(self.note(done).flatten());
            let doubtful = storage.doubtful();
            doubtful.iter().for_each(|piece| {
                have.remove(&piece.get());
            });
            self.check(&storage, &doubtful, &mut have);
        }
        let closed = if dice.below(2) == 0 { storage.close() } else { Ok(()) };
        self.note(closed);
    }

    fn spill(&self, storage: &Storage, piece: u32) -> Result<(), StorageError> {
        let mut begin = 0;
        for block in self.t.blocks(piece) {
            storage.spill(self.t.piece(piece), begin, std::slice::from_ref(&block))?;
            begin += block.len() as u32;
        }
        // It may find that another program changed the parts file.
        storage.commit_spilled(self.t.piece(piece)).map(drop)
    }

    /// Another program: a file is cut, removed, replaced or written to.
    fn meddle(&self, dice: &mut Dice) {
        let state = self.t.state_file("journal");
        let paths =
            [self.t.file("a"), self.t.file("d/c"), self.t.file("e"), state, self.t.state_file("parts")];
        let path = &paths[dice.below(5) as usize];
        let Ok(length) = fs::metadata(path).map(|found| found.len()) else { return };
        let file = fs::File::options().write(true).open(path).unwrap();
        match dice.below(4) {
            0 => file.set_len(dice.below(length + 1)).unwrap(),
            1 => fs::remove_file(path).unwrap(),
            2 => {
                let copy = path.with_extension("copy");
                fs::write(&copy, vec![7; length as usize]).unwrap();
                fs::rename(copy, path).unwrap();
            }
            _ => file.write_all_at(&[99; 50], dice.below(length + 1)).unwrap(),
        }
    }

    fn download(&mut self) -> Result<(), StorageError> {
        let (storage, resumed) = self.start();
        self.prove(&storage, &resumed);
        let mut have: BTreeSet<u32> = resumed.have.iter_ones().collect();
        for piece in resumed.recheck {
            if storage.check_piece(piece, &mut Vec::new())? {
                have.insert(piece.get());
            }
        }
        storage.guard()?;
        storage.probe()?;
        let count = self.t.info.layout().piece_count();
        (0..count)
            .filter(|piece| !have.contains(piece))
            .try_for_each(|piece| self.t.try_write(&storage, piece))?;
        storage.close()
    }

    /// The cause is gone: whatever is there, the download ends and is right. A file that another program put there or
    /// changed when it was complete is refused, and moved away.
    fn recover(&mut self) {
        self.broken.store(false, Ordering::Relaxed);
        while let Err(error) = self.download() {
            let StorageError::InTheWay { path, .. } = error else { panic!("seed {}: {error}", self.seed) };
            fs::remove_file(path).unwrap();
        }
        let (storage, resumed) = self.start();
        assert!(resumed.have.is_full() && resumed.recheck.is_empty(), "seed {}: {resumed:?}", self.seed);
        self.prove(&storage, &resumed);
    }
}

#[test]
fn whatever_fails_it_has_a_name_nothing_false_is_claimed_and_the_download_ends() {
    let mut named = 0;
    for seed in 0..SEEDS {
        let mut ordeal = Ordeal::new(seed);
        let mut dice = Dice(seed << 32 | 1);
        (0..3).for_each(|_| ordeal.live(&mut dice));
        ordeal.recover();
        named += ordeal.named;
    }
    assert!(SEEDS as usize * 10 < named, "only {named} operations failed");
}
