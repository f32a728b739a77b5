//! Files that are moved to another folder or renamed, on one file system and on two; and whatever happens in between.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use ferri_metainfo::FileIndex;

use super::*;
use crate::{Halt, MoveProgress, Moved, Op};

const P: u64 = PIECE as u64;

/// Two files in a folder, one beside it, one without a byte; three pieces and a bit.
fn torrent() -> Fixture {
    Fixture::new(&[("a", P + 9, ""), ("sub/b", 2 * P, ""), ("sub/empty", 0, ""), ("c", 100, "")])
}

/// A folder on another file system than that of temporary folders.
fn other_file_system() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let here = tempfile::tempdir().unwrap();
    let device = |folder: &tempfile::TempDir| fs::metadata(folder.path()).unwrap().dev();
    assert_ne!(
        device(&folder),
        device(&here),
        "these tests need /dev/shm on another file system than the temporary folder"
    );
    folder
}

fn move_to(storage: &Storage, folder: &Path) -> Result<Moved, StorageError> {
    storage.move_to(folder, &|_| {})
}

/// A start with this download folder.
fn start_in(t: &Fixture, root: &Path, options: StorageOptions) -> Result<(Storage, Resumed), StorageError> {
    let paths = LocalPaths::new(&t.info).unwrap();
    let place = Place { root: root.into(), state_dir: Some(t.state().into()) };
    let storage = Storage::new(Arc::clone(&t.info), paths, place, options, &[])?;
    let resumed = storage.resume()?;
    Ok((storage, resumed))
}

/// The files of [`torrent`] lie beneath this folder, and nothing else does.
#[track_caller]
fn is_whole_at(t: &Fixture, root: &Path) {
    let expected = ["t/", "t/a", "t/c", "t/sub/", "t/sub/b", "t/sub/empty"];
    assert_eq!(tree(root), expected);
    let read = |name: &str| fs::read(root.join("t").join(name)).unwrap();
    assert!([read("a"), read("sub/b"), read("c")].concat() == t.data);
}

fn done(t: &Fixture) -> Storage {
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.finish().unwrap();
    storage
}

#[test]
fn files_go_to_another_folder_and_a_start_there_has_them_without_a_look() {
    let shm = other_file_system();
    for is_copied in [false, true] {
        let t = torrent();
        let to = if is_copied { shm.path().join("new") } else { t.folder.path().join("new/deeper") };
        let storage = done(&t);
        let inode = fs::metadata(t.file("a")).unwrap().ino();
        fs::write(t.file("sub/mine"), "mine").unwrap();
        let told: Mutex<Vec<MoveProgress>> = Mutex::default();
        let moved = storage.move_to(&to, &|progress| told.lock().unwrap().push(progress)).unwrap();
        assert_eq!((moved.files, moved.stayed.len()), (4, 0));
        assert_eq!(moved.copied, if is_copied { t.data.len() as u64 } else { 0 });
        is_whole_at(&t, &to);
        assert_eq!(is_copied, fs::metadata(to.join("t/a")).unwrap().ino() != inode);
        // What is the user's stays, and the folders around it.
        assert_eq!(tree(&t.root()), ["t/", "t/sub/", "t/sub/mine"]);
        let told = told.into_inner().unwrap();
        assert_eq!(
            told.last().copied(),
            is_copied.then_some(MoveProgress { done: moved.copied, total: moved.copied })
        );
        // It goes on there.
        assert_eq!(*storage.place().root, to);
        assert_eq!(t.read(&storage, 1).unwrap(), t.piece_bytes(1));
        t.try_write(&storage, 2).unwrap();
        storage.finish().unwrap();
        storage.confirm_move(&to);
        storage.close().unwrap();
        drop(storage);
        let (storage, resumed) = start_in(&t, &to, Fixture::options()).unwrap();
        assert_eq!((numbers(&resumed.recheck), resumed.why), (vec![], vec![]));
        assert!(resumed.have.is_full() && storage.is_finished());
    }
}

#[test]
fn a_download_is_moved_in_the_middle_and_holes_stay_holes() {
    let shm = other_file_system();
    let t = Fixture::new(&[("a", 64 * P, ""), ("b", P, "")]);
    let (storage, _) = t.start();
    t.write(&storage, [3, 40]);
    let moved = move_to(&storage, shm.path()).unwrap();
    assert_eq!(moved.files, 1);
    let found = fs::metadata(shm.path().join("t/a")).unwrap();
    assert_eq!(found.len(), 64 * P);
    assert!(found.blocks() * 512 < 16 * P, "{} blocks", found.blocks());
    t.write(&storage, (0..65).filter(|piece| ![3, 40].contains(piece)));
    storage.finish().unwrap();
    assert_eq!(t.good(&storage).len(), 65);
    assert_eq!(tree(&t.root()), Vec::<String>::new());
}

#[test]
fn a_torrent_without_a_file_yet_is_made_at_the_new_place() {
    let t = torrent();
    let (storage, _) = t.start();
    let to = t.folder.path().join("new");
    assert_eq!(move_to(&storage, &to).unwrap(), Moved::default());
    assert!(!to.exists() && !t.root().exists());
    t.write_all(&storage);
    storage.finish().unwrap();
    is_whole_at(&t, &to);
    assert!(!t.root().exists());
    assert_eq!(move_to(&storage, &to.join(".")).unwrap(), Moved::default(), "it is there");
}

#[test]
fn who_still_names_the_old_folder_is_told_where_the_files_are_until_the_move_is_confirmed() {
    for is_confirmed in [false, true] {
        let t = torrent();
        let storage = done(&t);
        let to = t.folder.path().join("new");
        move_to(&storage, &to).unwrap();
        if is_confirmed {
            storage.confirm_move(&to);
        }
        drop(storage);
        let (storage, resumed) = t.start();
        if is_confirmed {
            // Another download in another folder: what was moved away is not looked for.
            assert_eq!((resumed.have.count_ones(), storage.place().root.clone()), (0, t.root()));
            is_whole_at(&t, &to);
        } else {
            assert!(resumed.have.is_full() && resumed.recheck.is_empty(), "{:?}", resumed.why);
            assert_eq!(storage.place().root, to.canonicalize().unwrap());
            drop(storage);
            // Again, for it was not confirmed; and by the new name.
            assert!(t.start().1.have.is_full());
            assert!(start_in(&t, &to, Fixture::options()).unwrap().1.have.is_full());
            // Who names the new folder knows it.
            assert_eq!(t.start().1.have.count_ones(), 0);
        }
    }
}

#[test]
fn what_lies_at_the_new_place_is_not_replaced_and_nothing_is_moved() {
    let shm = other_file_system();
    let own = tempfile::tempdir().unwrap();
    for to in [own.path(), shm.path()] {
        let t = torrent();
        let storage = done(&t);
        fs::create_dir_all(to.join("t/sub")).unwrap();
        fs::write(to.join("t/sub/b"), "mine").unwrap();
        let error = move_to(&storage, to).unwrap_err();
        assert!(matches!(&error, StorageError::Occupied { path } if *path == to.join("t/sub/b")), "{error}");
        assert!(error.is_in_the_way());
        assert_eq!(tree(to), ["t/", "t/sub/", "t/sub/b"]);
        is_whole_at(&t, &t.root());
        fs::remove_file(to.join("t/sub/b")).unwrap();
        // Nor does anything go through a link, or where a file is.
        symlink(t.folder.path(), to.join("t/a")).unwrap();
        assert!(move_to(&storage, to).is_err());
        fs::remove_dir(to.join("t/sub")).unwrap();
        fs::remove_file(to.join("t/a")).unwrap();
        symlink(t.folder.path(), to.join("t/sub")).unwrap();
        let error = move_to(&storage, to).unwrap_err();
        assert!(matches!(&error, StorageError::Symlink { path } if *path == to.join("t/sub")), "{error}");
        let file = to.join("file");
        fs::write(&file, "").unwrap();
        assert!(move_to(&storage, &file).is_err());
        is_whole_at(&t, &t.root());
        assert_eq!(t.read(&storage, 2).unwrap(), t.piece_bytes(2));
        fs::remove_file(to.join("t/sub")).unwrap();
        move_to(&storage, to).unwrap();
        assert_eq!(t.good(&storage).len(), 4);
    }
}

#[test]
fn the_place_of_another_torrent_is_refused_with_both_names() {
    let told = |t: &Fixture| format!("\"t\" ({})", t.info.info_hashes().wire());
    let (t, other) = (torrent(), torrent());
    let storage = done(&t);
    // One that made nothing yet.
    let (there, _) = other.start();
    let is_taken = |result: Result<Moved, StorageError>| match result {
        Err(StorageError::Taken { path, torrent, by }) => {
            assert!(path.starts_with(other.root()), "{path:?}");
            assert_eq!((torrent, by), (told(&t), told(&other)));
        }
        result => panic!("{result:?}"),
    };
    is_taken(move_to(&storage, &other.root()));
    // One that made its files, and one that did so in the same state folder and does not run.
    other.write_all(&there);
    is_taken(move_to(&storage, &other.root()));
    drop(there);
    is_whole_at(&t, &t.root());
    // The other way round: what is being moved keeps others away, and the old place is free.
    let new = t.folder.path().join("new");
    move_to(&storage, &new).unwrap();
    let third = torrent();
    let (third_storage, _) = third.start();
    match move_to(&third_storage, &new) {
        Err(StorageError::Taken { .. } | StorageError::Occupied { .. }) => {}
        result => panic!("{result:?}"),
    }
    move_to(&third_storage, &t.root()).unwrap();
    third.write_all(&third_storage);
}

#[test]
fn a_claim_is_free_again_when_the_move_comes_to_nothing() {
    let (t, other) = (torrent(), torrent());
    let storage = done(&t);
    let to = t.folder.path().join("new");
    fs::create_dir_all(to.join("t")).unwrap();
    fs::write(to.join("t/a"), "mine").unwrap();
    move_to(&storage, &to).unwrap_err();
    fs::remove_file(to.join("t/a")).unwrap();
    let (there, _) = start_in(&other, &to, Fixture::options()).unwrap();
    other.write_all(&there);
}

#[test]
fn a_file_that_another_torrent_has_too_is_not_taken_away_from_it() {
    let t = torrent();
    let storage = done(&t);
    storage.close().unwrap();
    // The same data under another hash, in the same folder and state.
    let twin = torrent();
    let paths = LocalPaths::new(&twin.info).unwrap();
    let second = Storage::new(Arc::clone(&twin.info), paths, t.place(), Fixture::options(), &[]).unwrap();
    second.resume().unwrap();
    assert_eq!(twin.good(&second).len(), 4);
    second.close().unwrap();
    let error = move_to(&storage, &t.folder.path().join("new")).unwrap_err();
    assert!(matches!(error, StorageError::Taken { .. }), "{error}");
    is_whole_at(&t, &t.root());
}

#[test]
fn what_is_the_users_stays_and_is_fetched_anew_at_the_new_place() {
    let t = torrent();
    let storage = done(&t);
    // It was complete, and its user changed it.
    fs::write(t.file("sub/b"), vec![7; 2 * PIECE]).unwrap();
    for piece in 0..4 {
        let _ = storage.check_piece(t.piece(piece), &mut Vec::new()).unwrap();
    }
    let to = t.folder.path().join("new");
    let moved = move_to(&storage, &to).unwrap();
    assert_eq!(moved.stayed, [t.file("sub/b")]);
    assert_eq!(fs::read(t.file("sub/b")).unwrap(), vec![7; 2 * PIECE]);
    assert_eq!(tree(&to), ["t/", "t/a", "t/c", "t/sub/", "t/sub/empty"]);
    t.write_all(&storage);
    storage.finish().unwrap();
    is_whole_at(&t, &to);
}

#[test]
fn nothing_is_written_while_files_are_moved_and_reading_goes_on_while_they_are_copied() {
    let (shm, t) = (other_file_system(), torrent());
    let storage = done(&t);
    let seen = AtomicUsize::new(0);
    storage
        .move_to(shm.path(), &|_| {
            seen.fetch_add(1, Ordering::Relaxed);
            assert_eq!(t.read(&storage, 1).unwrap(), t.piece_bytes(1));
            let refused = t.try_write(&storage, 1).unwrap_err();
            assert!(matches!(refused, StorageError::BeingMoved { .. }), "{refused}");
            assert!(refused.is_recoverable());
            assert!(matches!(storage.set_wanted(&[false]), Err(StorageError::BeingMoved { .. })));
            assert!(matches!(storage.finish(), Err(StorageError::BeingMoved { .. })));
            let again = move_to(&storage, &shm.path().join("elsewhere")).unwrap_err();
            assert!(matches!(again, StorageError::BeingMoved { .. }), "{again}");
        })
        .unwrap();
    assert!(0 < seen.into_inner());
    t.try_write(&storage, 1).unwrap();
}

#[test]
fn a_move_that_is_halted_leaves_everything_where_it_was() {
    let (shm, t) = (other_file_system(), torrent());
    let halt = Halt::default();
    let (storage, _) = t.start_with(StorageOptions { halt: halt.clone(), ..Fixture::options() }, &[]);
    t.write_all(&storage);
    storage.finish().unwrap();
    let to = shm.path().join("new/deeper");
    let error = storage.move_to(&to, &|_| halt.raise()).unwrap_err();
    assert!(matches!(error, StorageError::Halted), "{error}");
    assert!(!shm.path().join("new").exists());
    is_whole_at(&t, &t.root());
    storage.close().unwrap();
    drop(storage);
    let (_, resumed) = t.start();
    assert!(resumed.have.is_full() && resumed.recheck.is_empty(), "{:?}", resumed.why);
}

#[test]
fn a_full_disk_at_the_new_place_is_told_and_nothing_is_moved() {
    let (shm, t) = (other_file_system(), torrent());
    let to = shm.path().join("new");
    let full = to.clone();
    let plan = FaultPlan::new(move |op, path, _| {
        (op == Op::Write && path.starts_with(&full) && path.ends_with("sub/b")).then_some(Fault::Errno(28))
    });
    let storage = t.start_with_faults(plan);
    t.write_all(&storage);
    storage.finish().unwrap();
    let error = move_to(&storage, &to).unwrap_err();
    assert!(matches!(&error, StorageError::NoSpace { path, .. } if path.starts_with(&to)), "{error}");
    assert!(!to.exists());
    is_whole_at(&t, &t.root());
    assert_eq!(t.good(&storage).len(), 4);
    t.try_write(&storage, 3).unwrap();
}

/// A disk on which the operation number `at` fails, counted from when the switch is set; where that is fatal the process dies
/// there, with nothing put in order. The switch, and the operations so far.
fn fails_at(at: usize, is_fatal: bool) -> (Arc<AtomicBool>, Arc<AtomicUsize>, FaultPlan) {
    let (armed, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (switch, counter) = (armed.clone(), count.clone());
    let plan = FaultPlan::new(move |op, path, _| {
        if !switch.load(Ordering::Relaxed) || counter.fetch_add(1, Ordering::Relaxed) + 1 != at {
            return None;
        }
        assert!(!is_fatal, "died at {op:?} of {path:?}");
        Some(Fault::Errno(5))
    });
    (armed, count, plan)
}

#[test]
fn whatever_fails_all_of_it_is_at_one_place_and_nothing_is_lost() {
    let shm = other_file_system();
    let mut lengths = Vec::new();
    for is_copied in [false, true] {
        for (at, is_fatal) in (1..).flat_map(|at| [(at, false), (at, true)]) {
            let t = torrent();
            let to = if is_copied {
                shm.path().join(format!("{at}-{is_fatal}"))
            } else {
                t.folder.path().join("new")
            };
            let old = t.root();
            let (armed, count, plan) = fails_at(at, is_fatal);
            let storage = t.start_with_faults(plan);
            t.write_all(&storage);
            storage.finish().unwrap();
            armed.store(true, Ordering::Relaxed);
            let result = catch_unwind(AssertUnwindSafe(|| move_to(&storage, &to)));
            armed.store(false, Ordering::Relaxed);
            if let Ok(result) = &result {
                let is_moved = result.is_ok();
                is_whole_at(&t, if is_moved { &to } else { &old });
                assert_eq!(t.good(&storage).len(), 4);
            }
            drop(storage);
            // The caller's list names the old folder.
            let (storage, resumed) = t.start();
            let root = storage.place().root.clone();
            assert!(root == t.root() || root == to.canonicalize().unwrap(), "{root:?}");
            is_whole_at(&t, &root);
            let mut have = resumed.have.count_ones();
            for piece in resumed.recheck {
                have += u32::from(storage.check_piece(piece, &mut Vec::new()).unwrap());
            }
            assert_eq!(have, 4, "{is_copied} {at} {:?}", resumed.why);
            let other = if root == old { &to } else { &old };
            assert_eq!(tree(other), Vec::<String>::new(), "{is_copied} {at} {is_fatal}");
            // It can be tried again.
            if root == t.root() {
                move_to(&storage, &to).unwrap();
                is_whole_at(&t, &to);
            }
            if count.load(Ordering::Relaxed) < at {
                lengths.push(at);
                break;
            }
        }
    }
    assert!(lengths.iter().all(|length| 20 < *length), "{lengths:?}");
}

#[test]
fn a_file_gets_another_name_and_keeps_it() {
    let t = torrent();
    let storage = done(&t);
    let renamed = |storage: &Storage| -> Vec<(u32, String)> {
        storage.renamed().iter().map(|(file, path)| (file.0, path.display().to_string())).collect()
    };
    storage.rename_file(FileIndex(1), Path::new("t/new/folder/b.bin")).unwrap();
    storage.rename_file(FileIndex(0), Path::new("outside")).unwrap();
    assert_eq!(
        tree(&t.root()),
        ["outside", "t/", "t/c", "t/new/", "t/new/folder/", "t/new/folder/b.bin", "t/sub/", "t/sub/empty"]
    );
    let expected = [(0, "outside".to_owned()), (1, "t/new/folder/b.bin".to_owned())];
    assert_eq!(renamed(&storage), expected);
    assert_eq!(t.read(&storage, 1).unwrap(), t.piece_bytes(1));
    t.try_write(&storage, 1).unwrap();
    // With a kill and without, by who knows of it and by who does not.
    let mut storage = storage;
    for is_closed in [false, true] {
        if is_closed {
            storage.close().unwrap();
        }
        drop(storage);
        let (again, resumed) = t.start();
        assert_eq!(t.good(&again).len(), 4, "{:?}", resumed.why);
        assert_eq!(renamed(&again), expected);
        assert!(!is_closed || resumed.have.is_full(), "{:?}", resumed.why);
        storage = again;
    }
    drop(storage);
    // A lost journal: the caller's list tells.
    fs::remove_file(t.state_file("journal")).unwrap();
    let names = [(FileIndex(0), "outside".into()), (FileIndex(1), "t/new/folder/b.bin".into())];
    let (storage, resumed) =
        t.start_with(StorageOptions { renamed: names.into(), ..Fixture::options() }, &[]);
    assert_eq!((numbers(&resumed.recheck), t.good(&storage).len()), (vec![0, 1, 2, 3], 4));
    // Back to its own name, and all of it to another folder.
    storage.rename_file(FileIndex(1), Path::new("t/sub/b")).unwrap();
    assert_eq!(renamed(&storage), expected[..1]);
    let to = t.folder.path().join("new");
    move_to(&storage, &to).unwrap();
    assert_eq!(tree(&to), ["outside", "t/", "t/c", "t/sub/", "t/sub/b", "t/sub/empty"]);
    storage.rename_file(FileIndex(0), Path::new("t/a")).unwrap();
    is_whole_at(&t, &to);
    assert_eq!(tree(&t.root()), Vec::<String>::new());
}

#[test]
fn a_file_that_is_not_there_yet_is_made_under_its_new_name() {
    let t = torrent();
    let (storage, _) = t.start();
    // Where it would have been, a folder is.
    storage.rename_file(FileIndex(0), Path::new("t/a/a")).unwrap();
    assert!(!t.root().exists());
    t.write_all(&storage);
    storage.finish().unwrap();
    assert_eq!(tree(&t.root()), ["t/", "t/a/", "t/a/a", "t/c", "t/sub/", "t/sub/b", "t/sub/empty"]);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert!(resumed.have.is_full() && storage.is_finished(), "{:?}", resumed.why);
}

#[test]
fn a_name_that_cannot_be_had_is_refused_and_nothing_is_changed() {
    let t = torrent();
    let storage = done(&t);
    fs::write(t.file("mine"), "mine").unwrap();
    symlink(t.folder.path(), t.file("link")).unwrap();
    for (path, expected) in [
        ("../a", "bad"),
        ("/tmp/a", "bad"),
        ("t/..", "bad"),
        ("", "bad"),
        ("t/a\n", "bad"),
        // Another file's, a folder of others, and beneath a file.
        ("t/c", "occupied"),
        ("t/sub", "occupied"),
        ("t", "occupied"),
        ("t/c/a", "occupied"),
        ("t/mine", "occupied"),
        ("t/mine/a", "else"),
        ("t/link/a", "else"),
        ("t/link", "occupied"),
    ] {
        let error = storage.rename_file(FileIndex(0), Path::new(path)).unwrap_err();
        let found = match error {
            StorageError::BadPath { .. } => "bad",
            StorageError::Occupied { .. } => "occupied",
            StorageError::Symlink { .. } | StorageError::NotAFolder { .. } => "else",
            error => panic!("{path}: {error}"),
        };
        assert_eq!(found, expected, "{path}");
    }
    assert_eq!(tree(&t.root()), ["t/", "t/a", "t/c", "t/link", "t/mine", "t/sub/", "t/sub/b", "t/sub/empty"]);
    assert_eq!(t.good(&storage).len(), 4);
    storage.close().unwrap();
    let (storage, _) = t.start_with(StorageOptions { read_only: true, ..Fixture::options() }, &[]);
    assert!(matches!(storage.rename_file(FileIndex(0), Path::new("x")), Err(StorageError::OnlyRead { .. })));
    assert!(matches!(move_to(&storage, t.folder.path()), Err(StorageError::OnlyRead { .. })));
}

#[test]
fn whatever_fails_a_file_has_one_of_its_two_names() {
    for (at, is_fatal) in (1..).flat_map(|at| [(at, false), (at, true)]) {
        let t = torrent();
        let (armed, count, plan) = fails_at(at, is_fatal);
        let storage = t.start_with_faults(plan);
        t.write_all(&storage);
        storage.finish().unwrap();
        armed.store(true, Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| storage.rename_file(FileIndex(1), Path::new("t/x/b"))));
        armed.store(false, Ordering::Relaxed);
        drop(storage);
        let (storage, resumed) = t.start();
        let (old, new) = (t.file("sub/b").exists(), t.file("x/b").exists());
        assert!(old != new);
        assert_eq!(new, storage.renamed().contains_key(&FileIndex(1)), "{at}");
        if let Ok(result) = result {
            assert_eq!(new, result.is_ok(), "{at}");
        }
        assert!(new || !t.file("x").exists(), "{at}");
        let mut have = resumed.have.count_ones();
        for piece in resumed.recheck {
            have += u32::from(storage.check_piece(piece, &mut Vec::new()).unwrap());
        }
        assert_eq!(have, 4, "{at} {:?}", resumed.why);
        if count.load(Ordering::Relaxed) < at {
            assert!(10 < at);
            break;
        }
    }
}

#[test]
fn bytes_of_files_that_are_not_wanted_stay_in_the_state_folder() {
    let t = torrent();
    let (storage, _) = t.start_wanting(&[false]);
    t.write_all(&storage);
    storage.finish().unwrap();
    let to = t.folder.path().join("new");
    move_to(&storage, &to).unwrap();
    assert_eq!(tree(&to), ["t/", "t/c", "t/sub/", "t/sub/b", "t/sub/empty"]);
    assert!(t.state_file("parts").exists());
    assert_eq!(t.good(&storage).len(), 4);
    storage.set_wanted(&[]).unwrap();
    storage.finish().unwrap();
    is_whole_at(&t, &to);
}
