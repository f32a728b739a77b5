//! Checks of pieces of all lengths and versions, and of those that end early.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ferri_metainfo::create::{Builder, Content, Hasher, NewFile};
use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Info, Metainfo, Version};

use super::*;
use crate::{FaultPlan, FileCache, Op, Place, Resumed, StorageOptions};

/// A payload on disk, and the torrent of it.
struct Payload {
    folder: tempfile::TempDir,
    info: Arc<Info>,
}

impl Payload {
    fn new(version: Version, piece_length: u32, lengths: &[u64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = (0..lengths.len()).map(|number| format!("{number:03}"));
        let files = names.zip(lengths).map(|(name, length)| NewFile::new(vec![name], *length)).collect();
        let mut builder = Builder::new(version, "t", Content::Folder(files));
        builder.piece_length = Some(piece_length);
        let plan = Arc::new(builder.plan().unwrap());
        let mut hasher = Hasher::new(plan.clone());
        std::fs::create_dir(folder.path().join("t")).unwrap();
        for (number, file) in plan.files().iter().enumerate() {
            let byte = |at: u64| (at * 31 + at / 251 + at / 65_537 + number as u64 * 7) as u8;
            let bytes: Vec<u8> = (0..file.file.length).map(byte).collect();
            hasher.feed(&bytes).unwrap();
            std::fs::write(folder.path().join("t").join(file.file.path.last().unwrap()), bytes).unwrap();
        }
        let info = Metainfo::parse(&hasher.finish().unwrap()).unwrap().shared_info();
        Self { folder, info }
    }

    fn file(&self, number: usize) -> std::path::PathBuf {
        self.folder.path().join("t").join(format!("{number:03}"))
    }

    fn start(&self, state: Option<&Path>, faults: Option<FaultPlan>) -> (Storage, Resumed) {
        let place = Place { root: self.folder.path().to_owned(), state_dir: state.map(Into::into) };
        let options = StorageOptions { files: FileCache::new(8), faults, ..StorageOptions::default() };
        let paths = LocalPaths::new(&self.info).unwrap();
        let storage = Storage::new(self.info.clone(), paths, place, options, &[]).unwrap();
        let resumed = storage.resume().unwrap();
        (storage, resumed)
    }

    fn bad(&self) -> Vec<u32> {
        let pieces: Vec<_> = self.info.layout().pieces().collect();
        let (storage, _) = self.start(None, None);
        let progress = Mutex::new(Progress::default());
        let note = |now: Progress| {
            let mut last = lock(&progress);
            last.checked = last.checked.max(now.checked);
            last.bytes = last.bytes.max(now.bytes);
        };
        let found = run(&storage, &pieces, 2, &note).unwrap();
        let total = pieces.iter().map(|piece| u64::from(self.info.layout().piece_len(*piece))).sum();
        let last = *lock(&progress);
        assert_eq!(
            (last.checked as usize, last.bytes),
            (pieces.len(), total),
            "the progress ends at the end"
        );
        (0..self.info.layout().piece_count()).filter(|piece| !found.get(*piece)).collect()
    }
}

fn damage(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Of stripes longer and shorter than pieces, in groups that are full and not.
#[test]
fn pieces_of_all_lengths_and_versions_are_told_from_damaged_ones() {
    const KIB: u64 = 1 << 10;
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        for piece_length in [16 * KIB, 128 * KIB, 2048 * KIB] {
            let payload = Payload::new(
                version,
                piece_length as u32,
                &[5, 0, 3 * piece_length, 2 * piece_length + 100, 1, 40 * KIB, 5000 * KIB],
            );
            assert_eq!(payload.bad(), [0; 0], "{version:?}, {piece_length}");
            let layout = payload.info.layout();
            let file = |number| layout.files().filter(|file| !layout.is_pad(*file)).nth(number).unwrap();
            damage(&payload.file(6), 5000 * 1024 - 1);
            std::fs::remove_file(payload.file(4)).unwrap();
            let short = std::fs::File::options().write(true).open(payload.file(2)).unwrap();
            short.set_len(3 * piece_length - 1).unwrap();
            let mut expected: Vec<u32> = [layout.piece_count() - 1].into_iter().collect();
            expected.extend(layout.file_pieces(file(4)));
            expected.extend(layout.file_pieces(file(2)).last());
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(payload.bad(), expected, "{version:?}, {piece_length}");
        }
    }
}

/// 40 pieces of which 3 and 17 are damaged.
fn damaged() -> Payload {
    let payload = Payload::new(Version::V1, 1 << 20, &[40 << 20]);
    damage(&payload.file(0), 3 << 20);
    damage(&payload.file(0), (18 << 20) - 1);
    payload
}

/// Starts again after an end of any kind, and checks what the storage wants to be checked: how many bytes it read.
fn go_on(payload: &Payload, state: &Path) -> usize {
    let read = Arc::new(AtomicUsize::new(0));
    let faults = {
        let read = read.clone();
        FaultPlan::new(move |op, _, length| {
            if op == Op::Read {
                read.fetch_add(length, Ordering::Relaxed);
            }
            None
        })
    };
    let (storage, resumed) = payload.start(Some(state), Some(faults));
    let found = run(&storage, &resumed.recheck, 2, &|_| {}).unwrap();
    let all = (0..40).filter(|piece| found.get(*piece) || resumed.have.get(*piece));
    assert_eq!(all.collect::<Vec<_>>(), (0..40).filter(|piece| ![3, 17].contains(piece)).collect::<Vec<_>>());
    read.load(Ordering::Relaxed)
}

#[test]
fn a_check_that_was_stopped_goes_on_where_it_was() {
    let payload = damaged();
    let state = tempfile::tempdir().unwrap();
    let (storage, resumed) = payload.start(Some(state.path()), None);
    assert_eq!(resumed.recheck.len(), 40, "nothing is known");
    let done = AtomicU32::new(0);
    let note = |now: Progress| {
        done.fetch_max(now.checked, Ordering::Relaxed);
        if 0 < now.checked {
            storage.halt();
        }
    };
    assert!(matches!(run(&storage, &resumed.recheck, 1, &note), Err(StorageError::Halted)));
    let done = done.load(Ordering::Relaxed) as usize;
    assert!((4..40).contains(&done), "one group, of {done} pieces");
    storage.close().unwrap();
    drop(storage);
    assert_eq!(go_on(&payload, state.path()), (40 - done) << 20, "neither good nor bad ones are read again");
}

#[test]
fn a_check_whose_process_was_killed_goes_on_where_it_was_synced() {
    let payload = damaged();
    let state = tempfile::tempdir().unwrap();
    let (storage, resumed) = payload.start(Some(state.path()), None);
    let work = Work { sync_interval: Duration::ZERO, ..Work::new(storage.info(), resumed.recheck.len()) };
    let mut scratch = Vec::new();
    let mut done = 0;
    while done == 0 {
        done = work
            .step(&storage, &resumed.recheck, &mut scratch, &AtomicBool::new(false))
            .unwrap()
            .unwrap()
            .checked as usize;
    }
    // And a bit of the next group.
    work.step(&storage, &resumed.recheck, &mut scratch, &AtomicBool::new(false)).unwrap().unwrap();
    drop(storage);
    assert_eq!(go_on(&payload, state.path()), (40 - done) << 20);
}

/// How often a file is opened while everything is checked.
fn opens(payload: &Payload) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let faults = FaultPlan::new(move |op, _, _| {
        counted.fetch_add(usize::from(op == Op::Open), Ordering::Relaxed);
        None
    });
    let (storage, _) = payload.start(None, Some(faults));
    let pieces: Vec<_> = payload.info.layout().pieces().collect();
    run(&storage, &pieces, 1, &|_| {}).unwrap();
    count.load(Ordering::Relaxed)
}

#[test]
fn a_piece_over_a_crowd_of_files_costs_what_the_crowd_is_large() {
    const FILES: usize = 900;
    let payload = Payload::new(Version::V1, 16 << 10, &[1; FILES]);
    let ahead = group::FILES_AHEAD_MAX + 1;
    assert_eq!(payload.bad(), [0; 0]);
    assert!((FILES..=FILES + ahead).contains(&opens(&payload)), "present: {}", opens(&payload));
    for number in (0..FILES).step_by(2) {
        std::fs::remove_file(payload.file(number)).unwrap();
    }
    assert!(opens(&payload) <= ahead + 1, "the first absent one decides: {}", opens(&payload));
    assert_eq!(payload.bad(), [0]);
    std::fs::remove_dir_all(payload.folder.path().join("t")).unwrap();
    assert!(opens(&payload) <= ahead + 1, "absent: {}", opens(&payload));
    // A piece for each file: every one has to be looked at, and once.
    let single = Payload::new(Version::V2, 16 << 10, &[1; FILES]);
    std::fs::remove_dir_all(single.folder.path().join("t")).unwrap();
    let ahead = FILES.div_ceil(64) * ahead * 2;
    assert!(opens(&single) <= FILES + ahead, "absent pieces: {}", opens(&single));
}
