//! Full, read-only and broken disks: said in words, nothing claimed, and over when it is over.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{Fault, Op, check_folder};

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn three() -> Fixture {
    Fixture::new(&[("a", 3 * PIECE as u64, "")])
}

/// A plan that makes one operation fail while the switch holds an error number.
fn switched(op: Op) -> (FaultPlan, Arc<AtomicU32>) {
    let switch = Arc::new(AtomicU32::new(0));
    let read = Arc::clone(&switch);
    let plan = FaultPlan::new(move |now, _, _| {
        let code = read.load(Ordering::Relaxed) as i32;
        (now == op && code != 0).then_some(Fault::Errno(code))
    });
    (plan, switch)
}

fn set(switch: &AtomicU32, code: i32) {
    switch.store(code as u32, Ordering::Relaxed);
}

#[test]
fn a_full_disk_is_told_with_path_and_bytes_and_leaves_all_sane() {
    let t = three();
    let (plan, switch) = switched(Op::Write);
    let storage = t.start_with_faults(plan);
    t.write(&storage, [0]);
    set(&switch, ENOSPC);
    let error = t.try_write(&storage, 1).unwrap_err();
    let StorageError::NoSpace { path, needed, available } = &error else { panic!("{error}") };
    assert_eq!((path, *needed), (&t.file("a"), 2 * PIECE as u64));
    assert!(*available != 0 && error.is_recoverable());
    set(&switch, 0);
    storage.probe().unwrap();
    t.write(&storage, [2]);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [0, 2]);
    assert!(resumed.recheck.is_empty());
    t.write(&storage, [1]);
    assert_eq!(t.good(&storage), [0, 1, 2]);
}

#[test]
fn each_cause_has_its_name() {
    let t = three();
    for op in [Op::Write, Op::Open, Op::Allocate] {
        let (plan, switch) = switched(op);
        let storage = t.storage_with(StorageOptions { faults: Some(plan), ..Fixture::options() }, &[]);
        let fails_with = |code| {
            set(&switch, code);
            t.try_write(&storage, 0).unwrap_err()
        };
        assert!(matches!(fails_with(EROFS), StorageError::ReadOnly { .. }));
        assert!(matches!(fails_with(EACCES), StorageError::Denied { .. }));
        assert!(matches!(fails_with(EIO), StorageError::Write { .. }));
        assert!(matches!(fails_with(ENOSPC), StorageError::NoSpace { .. }));
        set(&switch, 0);
        t.write(&storage, [0]);
    }
    let (plan, switch) = switched(Op::Read);
    let storage = t.storage_with(StorageOptions { faults: Some(plan), ..Fixture::options() }, &[]);
    set(&switch, EIO);
    let error = t.read(&storage, 0).unwrap_err();
    assert!(error.to_string().contains("downloads/t/a: cannot read: Input/output error"), "{error}");
    assert!(storage.check_piece(t.piece(0), &mut Vec::new()).is_err(), "an error is not a mismatch");
    let pieces: Vec<_> = t.info.layout().pieces().collect();
    assert!(check::run(&storage, &pieces, 2, &|_| {}).is_err());
}

#[test]
fn short_reads_and_writes_are_completed() {
    let t = three();
    let storage =
        t.start_with_faults(FaultPlan::new(|_, _, length| (length != 0).then_some(Fault::Short(1_000))));
    t.write_all(&storage);
    assert_eq!(t.good(&storage), [0, 1, 2]);
    storage.close().unwrap();
    drop(storage);
    assert!(t.start().1.have.is_full());
}

#[test]
fn a_piece_whose_sync_failed_is_never_called_durable() {
    let t = three();
    let (plan, switch) = switched(Op::Sync);
    let storage = t.start_with_faults(plan);
    t.write(&storage, [0]);
    storage.sync().unwrap();
    t.write(&storage, [1]);
    set(&switch, EIO);
    assert!(matches!(storage.sync(), Err(StorageError::Write { .. })));
    set(&switch, 0);
    assert_eq!(numbers(&storage.doubtful()), [1]);
    assert_eq!(storage.on_disk().iter_ones().collect::<Vec<_>>(), [0]);
    t.write(&storage, [2]);
    storage.close().unwrap();
    drop(storage);
    let (_, resumed) = t.start();
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(numbers(&resumed.recheck), [1], "the kernel may have thrown it away");
}

#[test]
fn a_piece_whose_sync_failed_can_be_looked_at_or_written_again() {
    let t = Fixture::new(&[("a", 2 * PIECE as u64, ""), ("b", PIECE as u64, "")]);
    let (plan, switch) = switched(Op::Sync);
    let storage = t.start_with_faults(plan);
    t.write_all(&storage);
    set(&switch, EIO);
    assert!(storage.sync().is_err());
    set(&switch, 0);
    assert_eq!(numbers(&storage.doubtful()), [0, 1, 2]);
    // What the device has of it is what counts: here not all.
    std::fs::write(t.file("b"), vec![0; PIECE]).unwrap();
    assert!(storage.check_piece(t.piece(0), &mut Vec::new()).unwrap());
    assert!(!storage.check_piece(t.piece(2), &mut Vec::new()).unwrap());
    t.write(&storage, [1]);
    assert!(storage.doubtful().is_empty());
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [0, 1]);
    t.write(&storage, [2]);
    assert_eq!(t.good(&storage), [0, 1, 2]);
}

#[test]
fn what_is_doubtful_is_read_from_the_device() {
    let t = three();
    let (plan, switch) = switched(Op::Sync);
    let storage = t.start_with_faults(plan);
    t.write(&storage, [0]);
    storage.sync().unwrap();
    t.write(&storage, [1]);
    let mut buffer = vec![0; PIECE];
    // Looked at, as files are before they are served.
    t.read(&storage, 1).unwrap();
    let could_tell = storage.read_cached(t.piece(1), 0, &mut buffer);
    // As after a failed sync: nothing is left to be written.
    let raw = std::fs::File::open(t.file("a")).unwrap();
    raw.sync_all().unwrap();
    set(&switch, EIO);
    assert!(storage.sync().is_err());
    // A memory file system has nothing but the cache.
    let is_memory = rustix::fs::fstatfs(&raw).is_ok_and(|found| found.f_type == 0x0102_1994);
    assert!(could_tell, "it was just written");
    assert_eq!(storage.read_cached(t.piece(1), 0, &mut buffer), is_memory);
}

#[test]
fn a_full_state_folder_stops_writing_before_it_begins_and_nothing_is_lost() {
    let t = three();
    let (plan, switch) = switched(Op::JournalWrite);
    let storage = t.start_with_faults(plan);
    t.write(&storage, [0]);
    set(&switch, ENOSPC);
    for _ in 0..3 {
        let error = t.try_write(&storage, 1).unwrap_err();
        let StorageError::NoSpace { path, .. } = &error else { panic!("{error}") };
        assert_eq!(path, &t.state_file("journal"));
    }
    assert!(storage.probe().is_err());
    assert!(storage.sync().is_err());
    assert!(!storage.check_piece(t.piece(1), &mut Vec::new()).unwrap(), "not one byte was written");
    set(&switch, 0);
    storage.probe().unwrap();
    t.write(&storage, [1]);
    storage.close().unwrap();
    drop(storage);
    let (_, resumed) = t.start();
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [0, 1]);
    assert!(resumed.recheck.is_empty(), "{resumed:?}");
}

#[test]
fn a_journal_that_fails_after_the_data_was_written_does_not_lose_the_piece() {
    let t = three();
    // The first journal; the file is sized; then an intent and an end for each piece. The end of the second piece fails.
    let count = AtomicU32::new(0);
    let plan = FaultPlan::new(move |op, _, _| {
        let is_it = op == Op::JournalWrite && count.fetch_add(1, Ordering::Relaxed) == 5;
        is_it.then_some(Fault::Errno(ENOSPC))
    });
    let storage = t.start_with_faults(plan);
    t.write(&storage, [0, 1, 2]);
    storage.close().unwrap();
    drop(storage);
    assert!(t.start().1.have.is_full());
}

#[test]
fn a_failing_journal_sync_is_told() {
    let t = three();
    let (plan, switch) = switched(Op::JournalSync);
    let storage = t.start_with_faults(plan);
    t.write(&storage, [0]);
    set(&switch, EIO);
    let error = storage.sync().unwrap_err();
    assert_eq!(error.path(), Some(t.state_file("journal").as_path()));
    set(&switch, 0);
    storage.sync().unwrap();
}

#[test]
fn a_file_deleted_or_cut_under_us_is_told_and_can_be_had_again() {
    let t = three();
    let (storage, _) = t.start();
    t.write(&storage, [0, 1]);
    storage.sync().unwrap();
    std::fs::remove_file(t.file("a")).unwrap();
    let error = t.try_write(&storage, 2).unwrap_err();
    assert!(matches!(&error, StorageError::Missing { path } if *path == t.file("a")), "{error}");
    t.write(&storage, [2]);
    assert_eq!(std::fs::metadata(t.file("a")).unwrap().len(), 3 * PIECE as u64);
    storage.close().unwrap();
    assert_eq!(t.good(&storage), [2]);

    std::fs::File::options().write(true).open(t.file("a")).unwrap().set_len(100).unwrap();
    assert!(matches!(t.read(&storage, 2), Err(StorageError::Changed { .. })));
    storage.close_idle();
    std::fs::remove_file(t.file("a")).unwrap();
    assert!(matches!(t.read(&storage, 2), Err(StorageError::Missing { .. })));
}

#[test]
fn a_download_folder_that_was_moved_and_replaced_is_told_and_taken_again_when_it_is_back() {
    let t = three();
    let (storage, _) = t.start();
    t.write(&storage, [0]);
    storage.sync().unwrap();
    t.write(&storage, [1]);
    let aside = t.folder.path().join("elsewhere");
    for replace in [false, true] {
        std::fs::rename(t.root(), &aside).unwrap();
        if replace {
            std::fs::create_dir(t.root()).unwrap();
        }
        for failed in [storage.sync(), storage.finish(), storage.probe(), storage.close()] {
            let Err(StorageError::Moved { path }) = failed else { panic!("{failed:?}") };
            assert_eq!(path, t.root());
        }
        assert!(matches!(t.read(&storage, 0), Err(StorageError::Moved { .. })), "nothing is lost for that");
        assert!(storage.check_piece(t.piece(0), &mut Vec::new()).is_err());
        assert!(tree(&t.root()).is_empty() && storage.doubtful().is_empty());
        let _ = std::fs::remove_dir(t.root());
        std::fs::rename(&aside, t.root()).unwrap();
        storage.probe().unwrap();
    }
    t.write(&storage, [2]);
    storage.finish().unwrap();
    storage.close().unwrap();
    drop(storage);
    assert!(t.start().1.have.is_full());
}

#[test]
fn a_file_taken_away_after_its_last_write_is_missed_by_the_sync_and_by_the_last_touches() {
    let t = three();
    for late in [false, true] {
        let (storage, _) = t.start();
        t.write(&storage, [0]);
        storage.sync().unwrap();
        t.write(&storage, [1, 2]);
        if late {
            storage.sync().unwrap();
        }
        std::fs::rename(t.file("a"), t.file("kept")).unwrap();
        let missed = if late { storage.finish() } else { storage.sync() };
        assert!(matches!(&missed, Err(StorageError::Missing { path }) if *path == t.file("a")), "{missed:?}");
        assert_eq!(numbers(&storage.doubtful()), [0, 1, 2]);
        for piece in storage.doubtful() {
            assert!(!storage.check_piece(piece, &mut Vec::new()).unwrap());
        }
        t.write_all(&storage);
        storage.finish().unwrap();
        storage.close().unwrap();
    }
}

#[test]
fn probing_tells_what_is_in_the_way_and_leaves_nothing() {
    let t = three();
    let (storage, _) = t.start();
    storage.probe().unwrap();
    assert_eq!(tree(&t.root()), Vec::<String>::new());
    std::fs::remove_dir(t.root()).unwrap();
    std::fs::write(t.root(), b"").unwrap();
    let error = storage.probe().unwrap_err();
    assert_eq!(error.path(), Some(t.root().as_path()));
    std::fs::remove_file(t.root()).unwrap();
    storage.probe().unwrap();
}

#[test]
fn a_file_system_mounted_beneath_the_download_folder_is_asked_for_room_itself() {
    let t = Fixture::new(&[("sub/deeper/a", PIECE as u64, ""), ("b", PIECE as u64, "")]);
    let inner = t.file("sub");
    let full = Arc::new(AtomicBool::new(true));
    let (switch, beneath) = (Arc::clone(&full), inner.clone());
    let storage = t.start_with_faults(FaultPlan::new(move |op, path, _| {
        let is_full = path.starts_with(&beneath) && switch.load(Ordering::Relaxed);
        (op == Op::Allocate && is_full).then_some(Fault::Errno(ENOSPC))
    }));
    let error = t.try_write(&storage, 0).unwrap_err();
    assert!(
        matches!(&error, StorageError::NoSpace { path, .. } if *path == t.file("sub/deeper/a")),
        "{error}"
    );
    storage.probe().unwrap();
    let still = storage.probe_after(error.path().unwrap()).unwrap_err();
    assert!(matches!(&still, StorageError::NoSpace { path, .. } if path.starts_with(&inner)), "{still}");
    storage.probe_after(&t.file("b")).unwrap();
    storage.probe_after(&t.state_file("journal")).unwrap();
    storage.probe_after(&t.file("not/yet/there")).unwrap();
    full.store(false, Ordering::Relaxed);
    storage.probe_after(error.path().unwrap()).unwrap();
    t.write_all(&storage);
    assert_eq!(tree(&t.file("sub")), ["deeper/", "deeper/a"]);
}

/// What a first write says when `root` is the download folder.
fn refusal(root: &Path) -> StorageError {
    let t = three();
    let place = Place { root: root.to_owned(), state_dir: Some(t.state().into()) };
    let paths = LocalPaths::new(&t.info).unwrap();
    let storage = Storage::new(Arc::clone(&t.info), paths, place, Fixture::options(), &[]);
    storage.and_then(|storage| t.try_write(&storage, 0)).unwrap_err()
}

#[test]
fn a_download_folder_that_cannot_be_made_is_told_with_the_part_that_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "x").unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
    let long = "x".repeat(256);
    let in_proc = PathBuf::from("/proc/no process");
    let too_long = "this folder cannot be made: File name too long";
    for (root, part, why) in [
        (at("file"), at("file"), "this is not a folder"),
        (at("file/deeper/still"), at("file"), "this is not a folder"),
        (at("dangling/deeper"), at("dangling"), "this is not a folder"),
        (at(&long), at(&long), too_long),
        (at(&long).join("deeper"), at(&long), too_long),
        (at("new").join(&long).join("deeper"), at("new").join(&long), too_long),
        (in_proc.join("x"), in_proc.clone(), "this folder cannot be made: No such file"),
    ] {
        let first_write = refusal(&root).to_string();
        assert!(first_write.starts_with(&format!("{}: {why}", part.display())), "{first_write}");
        assert!(first_write.contains("choose another folder"), "{first_write}");
        // The same is told before a tracker is asked, but for what only the attempt shows.
        let _ = std::fs::remove_dir(at("new"));
        let checked = check_folder(&root).map_err(|error| error.to_string());
        let expected = if part == in_proc { Ok(()) } else { Err(first_write) };
        assert_eq!(checked, expected, "{}", root.display());
        assert!(!at("new").exists(), "a look makes nothing");
    }
    for fine in [folder.path().to_owned(), at("new"), at("new/deeper")] {
        assert_eq!(check_folder(&fine).map_err(|error| error.to_string()), Ok(()), "{}", fine.display());
        assert!(!at("new").exists(), "a look makes nothing");
    }
    let (plan, switch) = switched(Op::CreateFolder);
    let t = three();
    let storage = t.start_with_faults(plan);
    set(&switch, EACCES);
    let error = t.try_write(&storage, 0).unwrap_err();
    assert!(matches!(&error, StorageError::Denied { path } if path == t.folder.path()), "{error}");
}

#[test]
fn the_wrong_number_of_bytes_is_our_own_fault() {
    let t = three();
    let (storage, _) = t.start();
    let error = storage.write_piece(t.piece(0), &t.blocks(0)[1..]).unwrap_err();
    assert!(matches!(error, StorageError::Invalid(_)) && error.path().is_none());
    assert_eq!(tree(&t.root()), Vec::<String>::new());
}

#[test]
fn a_state_folder_that_is_full_is_told_with_figures_that_are_true() {
    let t = Fixture::new(&[("a", 2 * PIECE as u64, ""), ("b", PIECE as u64, "")]);
    let (plan, switch) = switched(Op::JournalWrite);
    let storage = t.storage_with(StorageOptions { faults: Some(plan), ..Fixture::options() }, &[true, false]);
    storage.resume().unwrap();
    set(&switch, ENOSPC);
    for error in [
        t.try_write(&storage, 0).unwrap_err(),
        t.try_write(&storage, 2).unwrap_err(),
        storage.spill(t.piece(1), 0, &t.blocks(1)).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains(": no space left: 65536 bytes are still to be written, "), "{text}");
        assert!(!text.contains(" 0 are free"), "{text}");
    }
    // Where it is not known how much, nothing is said of it.
    let unknown = StorageError::NoSpace { path: t.file("a"), needed: 0, available: 0 };
    let expected =
        format!("{}: no space left; it goes on by itself when there is room", t.file("a").display());
    assert_eq!((unknown.to_string(), unknown.bytes_missing()), (expected, Some(0)));
}
