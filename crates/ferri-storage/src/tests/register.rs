//! Several torrents whose files have one place.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const P: u64 = PIECE as u64;

/// What a torrent is called in messages.
fn told(t: &Fixture) -> String {
    format!("\"t\" ({})", t.info.info_hashes().wire())
}

/// A start of the torrent in this folder, with this state.
fn begin(t: &Fixture, root: &Path, state: &Path, wanted: &[bool]) -> Result<Storage, StorageError> {
    let paths = LocalPaths::new(&t.info).unwrap();
    let place = Place { root: root.into(), state_dir: Some(state.into()) };
    let storage = Storage::new(Arc::clone(&t.info), paths, place, Fixture::options(), wanted)?;
    storage.resume()?;
    Ok(storage)
}

#[track_caller]
fn is_taken<T>(result: Result<T, StorageError>, torrents: (&Fixture, &Fixture), path: &Path) {
    match result.map(drop) {
        Err(StorageError::Taken { path: found, torrent, by }) => {
            assert_eq!((found.as_path(), torrent, by), (path, told(torrents.0), told(torrents.1)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_nobody_made_yet_is_the_first_torrents_however_its_folder_is_spelled() {
    let t = Fixture::new(&[("sub/a", 2 * P, ""), ("b", 9, "")]);
    let (first, _) = t.start();
    let other = Fixture::new(&[("x", 7, ""), ("sub/a", P, "")]);
    fs::create_dir_all(t.root()).unwrap();
    symlink(t.root(), t.folder.path().join("link")).unwrap();
    let spellings = [
        t.root(),
        t.folder.path().join("link"),
        t.root().join("."),
        t.folder.path().join("link/../downloads"),
    ];
    for root in &spellings {
        let refused = begin(&other, root, &other.state(), &[]);
        is_taken(refused, (&other, &t), &root.join("t/sub/a"));
    }
    assert_eq!(tree(&t.root()), Vec::<String>::new());
    t.write_all(&first);
    first.finish().unwrap();
    drop(first);
    // No torrent is at work there any more. Whose the file is that lies there is another question.
    fs::remove_dir_all(t.root()).unwrap();
    let second = begin(&other, &t.root(), &other.state(), &[]).unwrap();
    other.write_all(&second);
}

#[test]
fn a_file_and_a_folder_do_not_get_one_name() {
    let file = Fixture::new(&[("x", P, "")]);
    let folder = Fixture::new(&[("x/y/z", P, "")]);
    let (first, _) = file.start();
    is_taken(begin(&folder, &file.root(), &folder.state(), &[]), (&folder, &file), &file.file("x/y/z"));
    drop(first);
    let (first, _) = folder.start();
    is_taken(begin(&file, &folder.root(), &file.state(), &[]), (&file, &folder), &folder.file("x"));
    drop(first);
    // Also when one download folder lies in the other.
    let outer = Fixture::new(&[("t", P, "")]);
    let inner = Fixture::new(&[("y", P, "")]);
    let (first, _) = outer.start();
    let root = outer.root().join("t");
    is_taken(begin(&inner, &root, &inner.state(), &[]), (&inner, &outer), &root.join("t/y"));
    outer.write_all(&first);
}

#[test]
fn a_folder_of_several_torrents_with_different_files_or_the_same_data_is_nobodys() {
    let t = Fixture::new(&[("nfo", P, ""), ("e1", 3 * P, "")]);
    let other = Fixture::new(&[("nfo", P, ""), ("e2", 2 * P, "")]);
    let (first, _) = t.start();
    let second = begin(&other, &t.root(), &other.state(), &[]).unwrap();
    t.write_all(&first);
    other.write_all(&second);
    for piece in first.doubtful() {
        assert!(first.check_piece(piece, &mut Vec::new()).unwrap());
    }
    first.finish().unwrap();
    second.finish().unwrap();
    assert_eq!((t.good(&first).len(), other.good(&second).len()), (4, 3));
}

#[test]
fn a_file_that_becomes_wanted_meets_the_others_and_one_that_is_given_up_is_free() {
    let t = Fixture::new(&[("a", P, ""), ("b", P, "")]);
    let other = Fixture::new(&[("c", 7, ""), ("b", P, "")]);
    let (first, _) = t.start();
    let second = begin(&other, &t.root(), &other.state(), &[true, false]).unwrap();
    is_taken(second.set_wanted(&[]), (&other, &t), &t.file("b"));
    assert_eq!(second.wanted().count_ones(), 1);
    first.set_wanted(&[true, false]).unwrap();
    second.set_wanted(&[]).unwrap();
    is_taken(first.set_wanted(&[]), (&t, &other), &t.file("b"));
    other.write_all(&second);
    t.write(&first, [0]);
    assert_eq!((t.good(&first), other.good(&second)), (vec![0], vec![0, 1]));
}

#[test]
fn a_name_that_a_file_will_get_is_its_own_already() {
    let t = Fixture::new(&[("a", 3 * P, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a.part"), &t.data[..PIECE]).unwrap();
    let (first, _) = t.start();
    let other = Fixture::new(&[("a", P, "")]);
    is_taken(begin(&other, &t.root(), &other.state(), &[]), (&other, &t), &t.file("a"));
    first.guard().unwrap();
    t.write_all(&first);
    first.finish().unwrap();
    assert_eq!(fs::read(t.file("a")).unwrap(), t.data);
}

#[test]
fn a_file_under_two_names_is_one() {
    let t = Fixture::new(&[("a", 3 * P, "")]);
    let other = Fixture::new(&[("b", 2 * P, "")]);
    let (first, _) = t.start();
    t.write(&first, [0]);
    fs::hard_link(t.file("a"), t.file("b")).unwrap();
    let options = StorageOptions { overwrite: true, ..Fixture::options() };
    let paths = LocalPaths::new(&other.info).unwrap();
    let place = Place { root: t.root(), state_dir: Some(other.state().into()) };
    let second = Storage::new(Arc::clone(&other.info), paths, place, options, &[]).unwrap();
    second.resume().unwrap();
    for _ in 0..2 {
        is_taken(other.try_write(&second, 0), (&other, &t), &t.file("b"));
        first.close().unwrap();
    }
    t.write(&first, [1, 2]);
    assert_eq!(t.good(&first).len(), 3);
}

#[test]
fn who_was_refused_keeps_nobody_away() {
    let t = Fixture::new(&[("a", 3 * P, "")]);
    let other = Fixture::new(&[("a", 2 * P, "")]);
    let (first, _) = t.start();
    t.write(&first, [0]);
    first.close().unwrap();
    drop(first);
    let second = begin(&other, &t.root(), &other.state(), &[]).unwrap();
    assert!(other.try_write(&second, 0).is_err());
    let (first, _) = t.start();
    t.write(&first, [1, 2]);
    assert_eq!(t.good(&first).len(), 3);
}

/// A start in the first torrent's folder with its state, up to where files would be fetched.
fn beside(t: &Fixture, other: &Fixture, options: StorageOptions) -> Result<Storage, StorageError> {
    let paths = LocalPaths::new(&other.info).unwrap();
    let storage = Storage::new(Arc::clone(&other.info), paths, t.place(), options, &[])?;
    let resumed = storage.resume()?;
    check::run(&storage, &resumed.recheck, 2, &|_| {})?;
    storage.guard()?;
    Ok(storage)
}

fn overwriting() -> StorageOptions {
    StorageOptions { overwrite: true, ..Fixture::options() }
}

/// A download of `a` that was left behind, and another torrent with a file of that name.
fn left_behind(fill: impl Fn(usize) -> u8) -> (Fixture, Fixture) {
    let data = (0..3 * PIECE).map(fill).collect();
    let t = Fixture::with_data(&[("a", 3 * P, "")], data);
    let (storage, _) = t.start();
    t.write(&storage, [0]);
    storage.close().unwrap();
    drop(storage);
    (t, Fixture::new(&[("b", P, ""), ("a", 4 * P, "")]))
}

#[test]
fn what_an_earlier_run_left_is_its_torrents_whatever_is_in_it() {
    // Of the second there is nothing in it but zeros.
    for fill in [|at: usize| at as u8 | 1, |at: usize| u8::from(PIECE <= at)] {
        let (t, other) = left_behind(fill);
        for _ in 0..2 {
            is_taken(beside(&t, &other, Fixture::options()), (&other, &t), &t.file("a"));
        }
        // A torrent that does not ask is refused all the same.
        let second = begin(&other, &t.root(), &t.state(), &[]).unwrap();
        is_taken(other.try_write(&second, 1), (&other, &t), &t.file("a"));
        drop(second);
        let (first, resumed) = t.start();
        assert_eq!(numbers(&resumed.recheck), Vec::<u32>::new());
        t.write(&first, [1, 2]);
        assert_eq!(t.good(&first).len(), 3);
    }
}

#[test]
fn a_torrent_whose_state_or_file_is_gone_keeps_nobody_away() {
    let gone: [fn(&Fixture); 3] = [
        |t| fs::remove_dir_all(t.state_file("")).unwrap(),
        |t| fs::remove_file(t.file("a")).unwrap(),
        |t| {
            fs::remove_file(t.file("a")).unwrap();
            fs::write(t.file("a"), b"").unwrap();
        },
    ];
    for (at, gone) in gone.into_iter().enumerate() {
        let (t, other) = left_behind(|at| u8::from(PIECE <= at));
        gone(&t);
        let second = beside(&t, &other, Fixture::options()).unwrap();
        other.write_all(&second);
        assert_eq!(other.good(&second).len(), 5, "{at}");
    }
}

#[test]
fn what_is_whole_is_shared_with_a_torrent_of_an_earlier_run() {
    let t = Fixture::new(&[("a", 2 * P, ""), ("b", P, "")]);
    let other = Fixture::new(&[("a", 2 * P, ""), ("c", 3 * P, "")]);
    let (first, _) = t.start();
    t.write(&first, [0, 1]);
    first.close().unwrap();
    drop(first);
    let second = beside(&t, &other, Fixture::options()).unwrap();
    other.write(&second, [2, 3, 4]);
    second.finish().unwrap();
    assert_eq!(other.good(&second).len(), 5);
}

#[test]
fn what_another_torrent_completed_meanwhile_and_left_is_shared() {
    let t = Fixture::new(&[("a", 2 * P, ""), ("b", P, "")]);
    let other = Fixture::new(&[("a", 2 * P, ""), ("c", 3 * P, "")]);
    let (first, _) = t.start();
    let second = begin(&other, &t.root(), &t.state(), &[]).unwrap();
    t.write(&first, [0]);
    first.close().unwrap();
    first.leave();
    is_taken(other.try_write(&second, 1), (&other, &t), &t.file("a"));
    t.write(&first, [1, 2]);
    first.close().unwrap();
    first.leave();
    other.write_all(&second);
    assert_eq!((t.good(&first).len(), other.good(&second).len()), (3, 5));
}

#[test]
fn two_that_run_and_would_write_the_same_may() {
    let t = Fixture::new(&[("a", 2 * P, ""), ("b", P, "")]);
    let other = Fixture::new(&[("a", 2 * P, ""), ("c", 3 * P, "")]);
    let (first, _) = t.start();
    t.write(&first, [0]);
    let second = beside(&t, &other, Fixture::options()).unwrap();
    other.write_all(&second);
    assert_eq!(other.good(&second).len(), 5);
}

#[test]
fn a_file_that_is_given_up_is_the_other_torrents_from_then_on() {
    for is_torn in [false, true] {
        let (t, other) = left_behind(|at| u8::from(PIECE <= at));
        if is_torn {
            let mut journal = fs::read(t.state_file("journal")).unwrap();
            journal.extend(b"\x05\x04");
            fs::write(t.state_file("journal"), journal).unwrap();
        }
        let second = beside(&t, &other, overwriting()).unwrap();
        let path = t.file("a");
        let told =
            format!("{} was taken from torrent {}, which lacks it from here on", path.display(), told(&t));
        assert_eq!((second.take_remarks(), second.take_remarks()), (vec![told], vec![]));
        second.close().unwrap();
        drop(second);
        // Nothing of it is written yet, and still it is not the first one's any more.
        let (first, _) = t.start();
        is_taken(first.guard(), (&t, &other), &t.file("a"));
        is_taken(t.try_write(&first, 1), (&t, &other), &t.file("a"));
        drop(first);
        let second = beside(&t, &other, Fixture::options()).unwrap();
        other.write_all(&second);
        second.close().unwrap();
        drop(second);
        let (first, _) = t.start();
        check::run(&first, &t.info.layout().pieces().collect::<Vec<_>>(), 1, &|_| {}).unwrap();
        is_taken(first.guard(), (&t, &other), &t.file("a"));
        drop(first);
        assert_eq!(other.good(&beside(&t, &other, Fixture::options()).unwrap()).len(), 5);
    }
}

#[test]
fn nothing_is_taken_from_a_torrent_that_runs_here_or_elsewhere() {
    let (t, other) = left_behind(|at| at as u8 | 1);
    let (first, _) = t.start();
    is_taken(beside(&t, &other, overwriting()), (&other, &t), &t.file("a"));
    drop(first);
    // As another process has it.
    let hash = *t.info.info_hashes().wire().as_bytes();
    let lock = crate::lock::TorrentLock::take(&t.state().join("torrents/lock"), &hash).unwrap();
    is_taken(beside(&t, &other, overwriting()), (&other, &t), &t.file("a"));
    drop(lock);
    beside(&t, &other, overwriting()).unwrap();
}

#[test]
fn a_torrent_that_runs_with_another_state_is_not_the_one_that_left_a_file() {
    let (t, other) = left_behind(|at| at as u8 | 1);
    let data = t.data.clone();
    let elsewhere = Fixture { info: t.info.clone(), ..Fixture::with_data(&[("a", 3 * P, "")], data) };
    let (running, _) = elsewhere.start();
    is_taken(beside(&t, &other, Fixture::options()), (&other, &t), &t.file("a"));
    other.write_all(&beside(&t, &other, overwriting()).unwrap());
    elsewhere.write_all(&running);
}

#[test]
fn a_journal_that_is_damaged_speaks_as_far_as_it_goes() {
    let (t, other) = left_behind(|at| u8::from(PIECE <= at));
    let whole = fs::read(t.state_file("journal")).unwrap();
    fs::write(t.state_file("journal"), [&whole[..], b"torn"].concat()).unwrap();
    is_taken(beside(&t, &other, Fixture::options()), (&other, &t), &t.file("a"));
    for damaged in [&b"no journal"[..], b"", &whole[..40]] {
        fs::write(t.state_file("journal"), damaged).unwrap();
        fs::create_dir_all(t.state().join("torrents").join("ab".repeat(20)).join("journal")).unwrap();
        beside(&t, &other, Fixture::options()).unwrap();
        fs::remove_dir_all(t.state().join("torrents").join(other.info.info_hashes().wire().to_string()))
            .unwrap();
    }
}

#[test]
fn names_that_a_file_system_takes_for_one_are_one_place() {
    let t = Fixture::new(&[("Notes/ReadMe", 2 * P, "")]);
    let other = Fixture::new(&[("notes/readme", 3 * P, "")]);
    fs::create_dir_all(t.root()).unwrap();
    crate::beneath::fake::register(&t.root(), crate::beneath::fake::Fake::Folds);
    let (first, _) = t.start();
    // Where nothing is yet it cannot be told.
    let second = begin(&other, &t.root(), &t.state(), &[]).unwrap();
    t.write(&first, [0]);
    is_taken(other.try_write(&second, 0), (&other, &t), &t.file("notes/readme"));
    drop(second);
    is_taken(beside(&t, &other, Fixture::options()), (&other, &t), &t.file("notes/readme"));
    is_taken(beside(&t, &other, overwriting()), (&other, &t), &t.file("notes/readme"));
    t.write(&first, [1]);
    first.close().unwrap();
    assert_eq!(
        (t.good(&first).len(), tree(&t.root())),
        (2, vec!["t/".into(), "t/Notes/".into(), "t/Notes/ReadMe".into()])
    );
}

#[test]
fn what_is_there_is_not_written_over_by_two_that_would_write_the_same_either() {
    let t = Fixture::new(&[("a", 3 * P, "")]);
    let other = Fixture::new(&[("a", 3 * P, "x")]);
    fs::create_dir_all(t.file("")).unwrap();
    let mut there = t.data[..PIECE].to_vec();
    there.extend([b'u'; 500]);
    fs::write(t.file("a"), &there).unwrap();
    let (first, _) = t.start();
    first.guard().unwrap();
    let second = begin(&other, &t.root(), &other.state(), &[]).unwrap();
    second.guard().unwrap();
    t.write(&first, [2]);
    other.write(&second, [2]);
    for storage in [&first, &second] {
        assert!(matches!(t.try_write(storage, 1), Err(StorageError::InTheWay { .. })));
    }
    assert_eq!(fs::read(t.file("a")).unwrap()[..there.len()], there[..]);
}

#[test]
fn an_empty_file_that_another_program_fills_is_not_ours_because_it_was_empty_once() {
    let t = Fixture::new(&[("a", 3 * P, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a"), vec![0; 3 * PIECE]).unwrap();
    let (storage, _) = t.start();
    storage.guard().unwrap();
    let theirs = fs::OpenOptions::new().read(true).write(true).open(t.file("a")).unwrap();
    assert!(crate::lock::hold(&theirs));
    assert!(matches!(t.try_write(&storage, 0), Err(StorageError::InUse { .. })));
    fs::write(t.file("a"), vec![b'u'; 3 * PIECE]).unwrap();
    assert!(matches!(t.try_write(&storage, 0), Err(StorageError::InUse { .. })));
    drop(theirs);
    assert!(matches!(t.try_write(&storage, 0), Err(StorageError::InTheWay { .. })));
    assert_eq!(fs::read(t.file("a")).unwrap(), vec![b'u'; 3 * PIECE]);
}

#[test]
fn a_file_that_was_given_up_is_not_taken_back_by_a_power_cut() {
    let t = Fixture::new(&[("z", P, ""), ("a", 3 * P, "")]);
    let (storage, _) = t.start();
    // The session says that it may make the other one too.
    t.write(&storage, [0, 1]);
    storage.sync().unwrap();
    drop(storage);
    let other = Fixture::new(&[("b", P, ""), ("a", 4 * P, "")]);
    let second = beside(&t, &other, overwriting()).unwrap();
    second.close().unwrap();
    drop(second);
    resume::edit_boot(&t);
    let (first, _) = t.start();
    is_taken(first.guard(), (&t, &other), &t.file("a"));
    is_taken(t.try_write(&first, 2), (&t, &other), &t.file("a"));
}

#[test]
fn who_is_refused_one_file_keeps_its_claim_on_the_others() {
    let t = Fixture::new(&[("a", 3 * P, ""), ("b", P, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a.part"), &t.data[..PIECE]).unwrap();
    let (first, _) = t.start_wanting(&[true, false]);
    // Another process is going to make b.
    symlink("state", t.folder.path().join("other")).unwrap();
    let torrents = t.folder.path().join("other/torrents");
    let rival = Fixture::new(&[("b", P, "")]);
    let hash = *rival.info.info_hashes().wire().as_bytes();
    let _running = crate::lock::TorrentLock::take(&torrents.join("lock"), &hash).unwrap();
    let claim = crate::register::Claim {
        id: 9_000,
        info: Arc::clone(&rival.info),
        root: t.root().canonicalize().unwrap(),
        places: Arc::new(std::sync::RwLock::new(crate::Places::new(
            LocalPaths::new(&rival.info).unwrap(),
            None,
        ))),
        files: ferri_metainfo::Bitfield::full(1),
    };
    crate::claims::claim(&torrents, &claim, &crate::witness::Hooks::default()).unwrap();
    is_taken(first.set_wanted(&[]), (&t, &rival), &t.file("b"));
    let third = Fixture::new(&[("a", P, "")]);
    is_taken(begin(&third, &t.root(), &third.state(), &[]), (&third, &t), &t.file("a"));
    crate::claims::leave(9_000);
    first.set_wanted(&[]).unwrap();
}
