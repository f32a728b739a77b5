//! Moves that fail, die and follow one another: what the next start finds, and what a power cut would leave.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use ferri_metainfo::FileIndex;

use super::*;
use crate::{Change, Moved, Op, Synced, Witness};

const P: u64 = PIECE as u64;

/// `EIO`.
const BROKEN: Fault = Fault::Errno(5);

/// `EXDEV`.
const OTHER_FILE_SYSTEM: Fault = Fault::Errno(18);

fn torrent() -> Fixture {
    Fixture::new(&[("a", P + 9, ""), ("sub/b", 2 * P, ""), ("sub/empty", 0, ""), ("c", 100, "")])
}

fn done(t: &Fixture, storage: &Storage) {
    t.write_all(storage);
    storage.finish().unwrap();
}

fn move_to(storage: &Storage, folder: &Path) -> Result<Moved, StorageError> {
    storage.move_to(folder, &|_| {})
}

/// A start with this download folder.
fn start_in(t: &Fixture, root: &Path) -> (Storage, Resumed) {
    let paths = LocalPaths::new(&t.info).unwrap();
    let place = Place { root: root.into(), state_dir: Some(t.state().into()) };
    let storage = Storage::new(Arc::clone(&t.info), paths, place, Fixture::options(), &[]).unwrap();
    let resumed = storage.resume().unwrap();
    (storage, resumed)
}

/// All files lie in one of these folders, with the right bytes, and nothing lies in the others. Which one it is.
#[track_caller]
fn is_whole_in_one_of<'r>(t: &Fixture, roots: &[&'r Path]) -> &'r Path {
    let files =
        |root: &Path| tree(root).into_iter().filter(|name| !name.ends_with('/')).collect::<Vec<String>>();
    let whole: Vec<&Path> = roots.iter().filter(|root| !files(root).is_empty()).copied().collect();
    assert_eq!(whole.len(), 1, "{:?}", roots.iter().map(|root| tree(root)).collect::<Vec<_>>());
    assert_eq!(files(whole[0]), ["t/a", "t/c", "t/sub/b", "t/sub/empty"]);
    let read = |name: &str| fs::read(whole[0].join("t").join(name)).unwrap();
    assert!([read("a"), read("sub/b"), read("c")].concat() == t.data);
    whole[0]
}

/// A start with this folder has every piece, at the place where the files are.
#[track_caller]
fn has_all(t: &Fixture, named: &Path, lies: &Path) {
    let (storage, resumed) = start_in(t, named);
    assert_eq!(storage.place().root.canonicalize().unwrap(), lies.canonicalize().unwrap());
    let mut have = resumed.have.count_ones();
    for piece in resumed.recheck {
        have += u32::from(storage.check_piece(piece, &mut Vec::new()).unwrap());
    }
    assert_eq!(have, 4, "{:?}", resumed.why);
}

/// Faults that begin when the switch is set: between two file systems, where renaming is not possible, and from one operation
/// on.
struct Faults {
    armed: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    plan: FaultPlan,
}

fn faults(is_apart: bool, fails: impl Fn(usize, Op, &Path) -> bool + Send + Sync + 'static) -> Faults {
    let (armed, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (switch, counter) = (armed.clone(), count.clone());
    let plan = FaultPlan::new(move |op, path, _| {
        if !switch.load(Ordering::Relaxed) {
            return None;
        }
        let at = counter.fetch_add(1, Ordering::Relaxed) + 1;
        if fails(at, op, path) {
            return Some(BROKEN);
        }
        (is_apart && op == Op::Rename && !path.ends_with("journal")).then_some(OTHER_FILE_SYSTEM)
    });
    Faults { armed, count, plan }
}

/// A complete download, and a folder on what behaves as another file system.
fn apart() -> (Fixture, Storage, PathBuf) {
    let t = torrent();
    let faults = faults(true, |_, _, _| false);
    let storage = t.start_with_faults(faults.plan);
    done(&t, &storage);
    faults.armed.store(true, Ordering::Relaxed);
    let to = t.folder.path().join("new");
    (t, storage, to)
}

#[test]
fn moves_that_follow_one_another_are_all_known_until_they_are_confirmed() {
    let t = torrent();
    let (storage, _) = t.start();
    done(&t, &storage);
    let (second, third) = (t.folder.path().join("second"), t.folder.path().join("third"));
    move_to(&storage, &second).unwrap();
    move_to(&storage, &third).unwrap();
    // Another name in the same folder is no other place.
    storage.rename_file(FileIndex(3), Path::new("t/d")).unwrap();
    storage.rename_file(FileIndex(3), Path::new("t/c")).unwrap();
    drop(storage);
    for named in [t.root(), second.clone(), third.clone()] {
        has_all(&t, &named, &third);
    }
}

#[test]
fn a_move_that_fails_does_not_unsay_the_one_before() {
    let t = torrent();
    let faults = faults(false, |_, op, path| op == Op::Rename && path.ends_with("sub/b"));
    let storage = t.start_with_faults(faults.plan);
    done(&t, &storage);
    let (second, third) = (t.folder.path().join("second"), t.folder.path().join("third"));
    move_to(&storage, &second).unwrap();
    faults.armed.store(true, Ordering::Relaxed);
    move_to(&storage, &third).unwrap_err();
    faults.armed.store(false, Ordering::Relaxed);
    drop(storage);
    has_all(&t, &t.root(), &second);
}

#[test]
fn a_confirmation_that_comes_late_says_nothing_of_the_move_that_follows() {
    for dies in [false, true] {
        let t = torrent();
        let faults = faults(true, |_, _, _| false);
        let storage = t.start_with_faults(faults.plan);
        done(&t, &storage);
        let (second, third) = (t.folder.path().join("second"), t.folder.path().join("third"));
        move_to(&storage, &second).unwrap();
        faults.armed.store(true, Ordering::Relaxed);
        let moved = catch_unwind(AssertUnwindSafe(|| {
            storage.move_to(&third, &|progress| {
                storage.confirm_move(&second);
                assert!(!dies || progress.done == 0, "died");
            })
        }));
        assert_eq!(moved.is_err(), dies);
        faults.armed.store(false, Ordering::Relaxed);
        drop(storage);
        // Its list says so: the word of the second move came too late for the third.
        let lies = if dies { &second } else { &third };
        has_all(&t, &second, lies);
        assert_eq!(is_whole_in_one_of(&t, &[&t.root(), &second, &third]), lies);
    }
}

#[test]
fn a_disk_that_takes_nothing_more_loses_nothing() {
    for (is_apart, is_state) in [(false, false), (true, false), (false, true), (true, true)] {
        for at in (1..).step_by(2) {
            let t = torrent();
            let state = t.state();
            let faults =
                faults(is_apart, move |now, _, path| at <= now && (!is_state || path.starts_with(&state)));
            let storage = t.start_with_faults(faults.plan);
            done(&t, &storage);
            let to = t.folder.path().join("new");
            faults.armed.store(true, Ordering::Relaxed);
            let is_moved = move_to(&storage, &to).is_ok();
            // The process dies with the disk.
            drop(storage);
            let (storage, resumed) = t.start();
            let root = is_whole_in_one_of(&t, &[&t.root(), &to]).to_path_buf();
            assert_eq!(storage.place().root.canonicalize().unwrap(), root.canonicalize().unwrap(), "{at}");
            let mut have = resumed.have.count_ones();
            for piece in resumed.recheck {
                have += u32::from(storage.check_piece(piece, &mut Vec::new()).unwrap());
            }
            assert_eq!(have, 4, "{is_apart} {is_state} {at} {:?}", resumed.why);
            if is_moved && faults.count.load(Ordering::Relaxed) < at {
                assert!(20 < at);
                break;
            }
        }
    }
}

#[test]
fn a_state_folder_that_takes_nothing_more_leaves_a_file_one_of_its_names() {
    for (is_apart, first) in
        [(false, None), (true, None), (false, Some("t/before")), (true, Some("t/before"))]
    {
        for at in 1.. {
            let t = torrent();
            let state = t.state();
            let faults = faults(is_apart, move |now, _, path| at <= now && path.starts_with(&state));
            let storage = t.start_with_faults(faults.plan);
            done(&t, &storage);
            if let Some(first) = first {
                storage.rename_file(FileIndex(1), Path::new(first)).unwrap();
                storage.confirm_move(&t.root());
            }
            let old = first.unwrap_or("t/sub/b");
            faults.armed.store(true, Ordering::Relaxed);
            // Back to its own name, or to another one.
            let new = if first.is_some() { "t/sub/b" } else { "t/x/b" };
            let is_renamed = storage.rename_file(FileIndex(1), Path::new(new)).is_ok();
            drop(storage);
            let (storage, _) = t.start();
            assert_eq!(t.good(&storage).len(), 4, "{is_apart} {first:?} {at}");
            let path = storage.places().path(FileIndex(1)).unwrap();
            assert!(path == Path::new(old) || path == Path::new(new), "{path:?}");
            assert!(t.root().join(old).exists() != t.root().join(new).exists(), "{is_apart} {first:?} {at}");
            if is_renamed && faults.count.load(Ordering::Relaxed) < at {
                assert!(10 < at);
                break;
            }
        }
    }
}

#[test]
fn what_could_not_be_removed_for_good_is_named_until_a_start_removes_it() {
    let t = torrent();
    // The last sync of a folder, after all that was copied was removed.
    let is_removed = AtomicBool::new(false);
    let faults = faults(true, move |_, op, path| {
        let is_removed = is_removed.fetch_or(op == Op::Remove, Ordering::Relaxed);
        is_removed && op == Op::FolderSync && path.ends_with("downloads")
    });
    let storage = t.start_with_faults(faults.plan);
    done(&t, &storage);
    // A second name keeps the inode, as a disk does whose power goes before it removed the file.
    let (before, kept) = (t.file("c"), t.folder.path().join("kept"));
    fs::hard_link(&before, &kept).unwrap();
    let to = t.folder.path().join("new");
    faults.armed.store(true, Ordering::Relaxed);
    move_to(&storage, &to).unwrap();
    faults.armed.store(false, Ordering::Relaxed);
    storage.confirm_move(&to);
    storage.close().unwrap();
    drop(storage);
    fs::create_dir_all(before.parent().unwrap()).unwrap();
    fs::rename(&kept, &before).unwrap();
    has_all(&t, &to, &to);
    assert_eq!(is_whole_in_one_of(&t, &[&t.root(), &to]), to);
}

#[test]
fn what_only_looks_like_one_file_system_is_copied_and_read_meanwhile() {
    let (t, storage, to) = apart();
    let read = AtomicUsize::new(0);
    let moved = storage.move_to(&to, &|_| {
        assert_eq!(t.read(&storage, 1).unwrap(), t.piece_bytes(1));
        read.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(moved.unwrap().copied, t.data.len() as u64);
    assert!(0 < read.into_inner());
    assert_eq!(is_whole_in_one_of(&t, &[&t.root(), &to]), to);
}

#[test]
fn a_file_that_its_user_changes_after_it_was_copied_is_not_removed() {
    let (t, storage, to) = apart();
    let moved = storage.move_to(&to, &|progress| {
        if progress.done == progress.total {
            fs::write(t.file("a"), "mine").unwrap();
        }
    });
    assert_eq!(moved.unwrap().stayed, [t.file("a")]);
    assert_eq!(fs::read(t.file("a")).unwrap(), b"mine");
    drop(storage);
    has_all(&t, &t.root(), &to);
    assert_eq!(fs::read(t.file("a")).unwrap(), b"mine");
}

#[test]
fn a_file_that_had_two_names_when_the_process_died_has_one_again() {
    let t = torrent();
    let to = t.folder.path().join("new");
    let target = to.clone();
    // As on a file system where a rename that replaces nothing is a second name and the removal of the first.
    let faults = faults(false, move |_, op, path| {
        if op == Op::Rename && path.ends_with("sub/b") {
            fs::create_dir_all(target.join("t/sub")).unwrap();
            fs::hard_link(path, target.join("t/sub/b")).unwrap();
            panic!("died");
        }
        false
    });
    let storage = t.start_with_faults(faults.plan);
    done(&t, &storage);
    faults.armed.store(true, Ordering::Relaxed);
    catch_unwind(AssertUnwindSafe(|| move_to(&storage, &to))).unwrap_err();
    drop(storage);
    has_all(&t, &t.root(), &t.root());
    assert_eq!(is_whole_in_one_of(&t, &[&t.root(), &to]), t.root());
}

/// What a witness hears of payload that goes, of folders that are synced, and of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Gone(PathBuf),
    Synced(PathBuf),
    Journal,
}

#[test]
fn what_is_gone_is_gone_on_the_disk_before_the_journal_forgets_it() {
    for (is_apart, fails) in [(false, true), (true, true), (true, false)] {
        let t = torrent();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let ear = heard.clone();
        let witness = Witness::new([1; 16], move |change| {
            let told = match change {
                Change::Renamed { to, .. } if to.ends_with("journal") => Heard::Journal,
                Change::Written { path, .. } if path.ends_with("journal") => Heard::Journal,
                Change::Renamed { from, .. } | Change::Removed(from) => Heard::Gone(from.into()),
                Change::Synced(path, Synced::Folder) => Heard::Synced(path.into()),
                _ => return,
            };
            ear.lock().unwrap().push(told);
        });
        let faults =
            faults(is_apart, move |_, op, path| fails && op == Op::Rename && path.ends_with("journal"));
        let options =
            StorageOptions { faults: Some(faults.plan), witness: Some(witness), ..Fixture::options() };
        let (storage, _) = t.start_with(options, &[]);
        done(&t, &storage);
        heard.lock().unwrap().clear();
        faults.armed.store(true, Ordering::Relaxed);
        let to = t.folder.path().join("new");
        assert_eq!(move_to(&storage, &to).is_err(), fails);
        faults.armed.store(false, Ordering::Relaxed);
        storage.confirm_move(&to);
        storage.close().unwrap();
        let heard = heard.lock().unwrap().clone();
        let is_file = |path: &Path| ["t/a", "t/c", "t/sub/b"].iter().any(|name| path.ends_with(name));
        let gone: Vec<(usize, &PathBuf)> = (0..)
            .zip(&heard)
            .filter_map(|(at, told)| match told {
                Heard::Gone(path) if is_file(path) => Some((at, path)),
                _ => None,
            })
            .collect();
        assert!(3 <= gone.len(), "{heard:?}");
        for (at, path) in gone {
            // The folder itself may be gone, and then the one around it says so.
            let is_around = |told: &Heard| matches!(told, Heard::Synced(folder) if path.starts_with(folder));
            let synced = heard[at..].iter().position(is_around).unwrap_or(usize::MAX);
            let said = heard[at..].iter().position(|told| *told == Heard::Journal).unwrap();
            assert!(synced < said, "{is_apart} {fails} {}: {heard:#?}", path.display());
        }
    }
}

#[test]
fn a_move_that_dies_after_one_that_nothing_confirmed_is_undone_whatever_folder_is_named() {
    for is_apart in [false, true] {
        let t = torrent();
        let faults = faults(is_apart, |_, op, path| {
            assert!(!(op == Op::JournalOpen && path.extension().is_some()), "died");
            false
        });
        let storage = t.start_with_faults(faults.plan);
        done(&t, &storage);
        let (second, third) = (t.folder.path().join("second"), t.folder.path().join("third"));
        move_to(&storage, &second).unwrap();
        faults.armed.store(true, Ordering::Relaxed);
        // Everything is at the third place when the journal is to be written anew.
        catch_unwind(AssertUnwindSafe(|| move_to(&storage, &third))).unwrap_err();
        drop(storage);
        has_all(&t, &t.root(), &second);
        assert_eq!(is_whole_in_one_of(&t, &[&t.root(), &second, &third]), second);
    }
}

#[test]
fn what_a_process_that_died_did_not_remove_is_removed_and_not_taken_for_the_torrent() {
    // A folder on the way of a new name may be another file system; and a folder may lie in that of the torrent, where the
    // files that are left look as if they were those of a torrent without a folder.
    for is_rename in [false, true] {
        let t = torrent();
        let faults = faults(true, |_, op, _| {
            assert!(op != Op::Remove, "died");
            false
        });
        let storage = t.start_with_faults(faults.plan);
        done(&t, &storage);
        faults.armed.store(true, Ordering::Relaxed);
        let to = t.root().join("t");
        catch_unwind(AssertUnwindSafe(|| match is_rename {
            true => storage.rename_file(FileIndex(1), Path::new("t/disk/b")).unwrap(),
            false => drop(move_to(&storage, &to).unwrap()),
        }))
        .unwrap_err();
        drop(storage);
        has_all(&t, &t.root(), if is_rename { t.root() } else { to.clone() }.as_path());
        let expected = match is_rename {
            true => vec!["t/", "t/a", "t/c", "t/disk/", "t/disk/b", "t/sub/", "t/sub/empty"],
            false => vec!["t/", "t/t/", "t/t/a", "t/t/c", "t/t/sub/", "t/t/sub/b", "t/t/sub/empty"],
        };
        assert_eq!(tree(&t.root()), expected);
    }
}

#[test]
fn a_folder_by_another_way_is_the_same_folder() {
    let t = torrent();
    let (storage, _) = t.start();
    done(&t, &storage);
    let link = t.folder.path().join("link");
    std::os::unix::fs::symlink(t.root(), &link).unwrap();
    let way = t.root().join("t/../../downloads");
    for same in [link.clone(), way, link.join("."), t.root()] {
        assert_eq!(move_to(&storage, &same).unwrap(), Moved::default(), "{same:?}");
        assert_eq!(*storage.place().root, t.root());
    }
    // Through a link into a folder of its own, out to the folder around, and back.
    let inner = link.join("t/inner");
    for to in [&inner, &t.folder.path().to_path_buf(), &t.root()] {
        move_to(&storage, to).unwrap();
        assert_eq!(t.good(&storage).len(), 4);
        assert!(fs::read(to.join("t/c")).unwrap() == t.data[t.data.len() - 100..]);
    }
    assert_eq!(is_whole_in_one_of(&t, &[&t.root()]), t.root());
}

#[test]
fn a_source_that_goes_in_the_middle_fails_the_move_and_takes_nothing_along() {
    for is_apart in [false, true] {
        let t = torrent();
        let source = t.file("c");
        let faults = faults(is_apart, move |_, op, path| {
            if op == Op::Rename && path.ends_with("sub/b") {
                let _ = fs::remove_file(&source);
            }
            false
        });
        let storage = t.start_with_faults(faults.plan);
        done(&t, &storage);
        faults.armed.store(true, Ordering::Relaxed);
        let to = t.folder.path().join("new");
        let moved = storage.move_to(&to, &|progress| {
            if 0 < progress.done {
                let _ = fs::remove_file(t.file("c"));
            }
        });
        let error = moved.unwrap_err();
        assert!(
            matches!(error, StorageError::Changed { .. } | StorageError::Missing { .. }),
            "{is_apart} {error}"
        );
        assert_eq!(tree(&t.root()), ["t/", "t/a", "t/sub/", "t/sub/b", "t/sub/empty"]);
        assert!(!to.exists(), "{:?}", tree(&to));
        assert_eq!(t.read(&storage, 1).unwrap(), t.piece_bytes(1));
        drop(storage);
        let (storage, _) = t.start();
        assert_eq!(t.good(&storage).len(), 3);
        t.write_all(&storage);
        storage.finish().unwrap();
        assert_eq!(is_whole_in_one_of(&t, &[&t.root(), &to]), t.root());
    }
}

#[test]
fn links_and_programs_are_what_they_were() {
    use std::os::unix::fs::PermissionsExt;
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    let t = Fixture::new(&[("run", P, "x"), ("sub/data", P, ""), ("link", 0, "l>sub/data")]);
    let (storage, _) = t.start();
    done(&t, &storage);
    assert!(fs::symlink_metadata(t.file("link")).unwrap().is_symlink());
    let there = t.folder.path().join("there");
    for to in [shm.path(), &there, shm.path()] {
        move_to(&storage, to).unwrap();
        assert_eq!(tree(to), ["t/", "t/link", "t/run", "t/sub/", "t/sub/data"]);
        assert_eq!(fs::read(to.join("t/link")).unwrap(), t.piece_bytes(1));
        assert_eq!(fs::metadata(to.join("t/run")).unwrap().permissions().mode() & 0o111, 0o111);
        assert_eq!(tree(&t.root()), Vec::<String>::new());
    }
    assert_eq!(tree(&there), Vec::<String>::new());
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = start_in(&t, shm.path());
    assert!(resumed.have.is_full() && storage.is_finished(), "{:?}", resumed.why);
}

#[test]
fn a_name_may_be_as_long_as_the_file_system_allows() {
    let t = torrent();
    let (storage, _) = t.start();
    done(&t, &storage);
    let longest = PathBuf::from("t").join("x".repeat(255));
    storage.rename_file(FileIndex(0), &longest).unwrap();
    let too_long = PathBuf::from("t").join("x".repeat(256));
    let deep: PathBuf = std::iter::repeat_n("folder of a name", 400).collect();
    for path in [&too_long, &deep] {
        let error = storage.rename_file(FileIndex(0), path).unwrap_err();
        assert!(matches!(error, StorageError::BadPath { .. } | StorageError::Name { .. }), "{error}");
        assert!(t.root().join(&longest).is_file());
    }
    assert_eq!(t.good(&storage).len(), 4);
    drop(storage);
    has_all(&t, &t.root(), &t.root());
    assert!(t.root().join(&longest).is_file());
}

#[test]
fn readers_and_movers_at_once_see_the_right_bytes_or_hear_of_the_move() {
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    let t = torrent();
    let (storage, _) = t.start();
    done(&t, &storage);
    let is_over = AtomicBool::new(false);
    let roots = [shm.path().join("far"), t.folder.path().join("near"), t.root()];
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|piece| {
                let (t, storage, is_over) = (&t, &storage, &is_over);
                scope.spawn(move || {
                    let mut reads = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        match t.read(storage, piece) {
                            Ok(bytes) => assert!(bytes == t.piece_bytes(piece)),
                            Err(StorageError::BeingMoved { .. }) => storage.wait_until_moved(),
                            Err(error) => panic!("{error}"),
                        }
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let mover = |from: usize| {
            let (storage, roots) = (&storage, &roots);
            move || {
                let mut moves = 0;
                for at in 0..60 {
                    match move_to(storage, &roots[(from + at) % 3]) {
                        Ok(_) => moves += 1,
                        Err(StorageError::BeingMoved { .. }) => storage.wait_until_moved(),
                        Err(error) => panic!("{error}"),
                    }
                }
                moves
            }
        };
        let movers = [scope.spawn(mover(0)), scope.spawn(mover(1))];
        let moves: usize = movers.into_iter().map(|mover| mover.join().unwrap()).sum();
        is_over.store(true, Ordering::Relaxed);
        assert!(20 < moves, "{moves}");
        assert!(readers.into_iter().all(|reader| 20 < reader.join().unwrap()));
    });
    let roots: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
    let root = is_whole_in_one_of(&t, &roots);
    drop(storage);
    has_all(&t, root, root);
}

/// Where a process of its own moves files, at which operation it dies, and whether to another file system.
const VICTIM: &str = "FERRI_TEST_MOVE_VICTIM";

#[test]
fn a_process_that_is_killed_at_any_step_leaves_all_of_it_at_one_place() {
    if let Ok(told) = std::env::var(VICTIM) {
        return be_killed(&told);
    }
    for is_apart in [false, true] {
        for at in (1..).step_by(4) {
            let t = torrent();
            fs::write(t.folder.path().join("info"), t.info.bytes()).unwrap();
            let told = format!("{at} {is_apart} {}", t.folder.path().display());
            let name = "tests::moves::a_process_that_is_killed_at_any_step_leaves_all_of_it_at_one_place";
            let mut victim = std::process::Command::new(std::env::current_exe().unwrap());
            let victim = victim.args([name, "--exact"]).env(VICTIM, told).output().unwrap();
            let to = t.folder.path().join("new");
            // The list names the old folder; what was begun is undone, and what was not removed is.
            let (storage, _) = t.start();
            let lies = storage.place().root.clone();
            drop(storage);
            has_all(&t, &t.root(), &lies);
            assert_eq!(is_whole_in_one_of(&t, &[&t.root(), &to]), lies.canonicalize().unwrap(), "{at}");
            if victim.status.success() {
                assert!(20 < at);
                break;
            }
        }
    }
}

fn be_killed(told: &str) {
    let mut told = told.splitn(3, ' ');
    let (at, is_apart): (usize, bool) =
        (told.next().unwrap().parse().unwrap(), told.next().unwrap().parse().unwrap());
    let folder = PathBuf::from(told.next().unwrap());
    let faults = faults(is_apart, move |now, _, _| {
        if now == at {
            // As good as a kill: nothing is put in order.
            std::process::abort();
        }
        false
    });
    // No two of a process are one torrent.
    let info = Arc::new(Info::parse(&fs::read(folder.join("info")).unwrap()).unwrap());
    let t = Fixture { info, ..torrent() };
    let place = Place { root: folder.join("downloads"), state_dir: Some(folder.join("state").into()) };
    let options = StorageOptions { faults: Some(faults.plan), ..Fixture::options() };
    let paths = LocalPaths::new(&t.info).unwrap();
    let storage = Storage::new(Arc::clone(&t.info), paths, place, options, &[]).unwrap();
    storage.resume().unwrap();
    done(&t, &storage);
    faults.armed.store(true, Ordering::Relaxed);
    move_to(&storage, &folder.join("new")).unwrap();
}
