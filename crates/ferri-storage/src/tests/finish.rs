//! The last touches: each is put although others fail, and none takes what is another torrent's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;

use super::*;
use crate::{Alias, Op};

const P: u64 = PIECE as u64;
const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EOPNOTSUPP: i32 = 95;
const EIO: i32 = 5;

/// Two files without bytes, two that are to be run, and a link.
fn touches() -> Fixture {
    let files = [("e1", 0, ""), ("x1", P, "x"), ("e2", 0, ""), ("x2", P, "x"), ("l", 0, "l>x2")];
    Fixture::new(&files)
}

fn is_runnable(t: &Fixture, name: &str) -> bool {
    fs::metadata(t.file(name)).unwrap().mode() & 0o100 != 0
}

#[test]
fn what_is_in_the_way_of_one_touch_is_in_the_way_of_no_other() {
    let t = touches();
    let (storage, _) = t.start();
    t.write_all(&storage);
    fs::create_dir(t.file("e1")).unwrap();
    for _ in 0..2 {
        let error = storage.finish().unwrap_err();
        assert!(matches!(&error, StorageError::NotAFile { path } if *path == t.file("e1")), "{error}");
        assert!(error.is_in_the_way() && !storage.is_finished());
        assert!(is_runnable(&t, "x1") && is_runnable(&t, "x2"));
        assert!(t.file("e2").is_file() && t.file("l").is_symlink());
    }
    fs::remove_dir(t.file("e1")).unwrap();
    storage.finish().unwrap();
    assert!(t.file("e1").is_file() && storage.is_finished());
}

#[test]
fn what_has_the_length_of_a_file_and_is_none_is_in_its_way() {
    let t = Fixture::new(&[("run", P, "x"), ("a", P, "")]);
    let (storage, _) = t.start();
    t.write_all(&storage);
    let target = "x".repeat(PIECE / 16);
    let t = Fixture::new(&[("run", target.len() as u64, "x")]);
    let (storage, _) = {
        drop(storage);
        t.start()
    };
    t.write_all(&storage);
    assert!(!storage.is_finished());
    fs::remove_file(t.file("run")).unwrap();
    std::os::unix::fs::symlink(&target, t.file("run")).unwrap();
    let error = storage.finish().unwrap_err();
    assert!(matches!(&error, StorageError::Symlink { path } if *path == t.file("run")), "{error}");
    assert!(!storage.is_finished());
}

#[test]
fn the_first_touch_that_fails_is_told_and_the_others_are_put() {
    let part = |t: &Fixture| fs::write(t.file("a.part"), &t.data[..PIECE]).unwrap();
    for (op, name, errno) in [
        (Op::Open, "e1", EACCES),
        (Op::SetMode, "x1", EIO),
        (Op::Rename, "a.part", EACCES),
        (Op::CreateLink, "l", EACCES),
    ] {
        let t = Fixture::new(&[
            ("a", 2 * P, ""),
            ("e1", 0, ""),
            ("x1", P, "x"),
            ("e2", 0, ""),
            ("x2", P, "x"),
            ("l", 0, "l>x2"),
        ]);
        fs::create_dir_all(t.file("")).unwrap();
        part(&t);
        let broken = Arc::new(Mutex::new(false));
        let (switch, at) = (broken.clone(), t.file(name));
        let plan = FaultPlan::new(move |found, path, _| {
            (found == op && path == at && *switch.lock().unwrap()).then_some(Fault::Errno(errno))
        });
        let storage = t.start_with_faults(plan);
        assert_eq!(t.good(&storage), [0]);
        storage.guard().unwrap();
        t.write(&storage, 1..4);
        *broken.lock().unwrap() = true;
        let error = storage.finish().unwrap_err();
        assert_eq!(error.path(), Some(&*t.file(name)), "{error}");
        assert!(!error.is_in_the_way() && !storage.is_finished(), "{error}");
        let put = [
            ("a", t.file("a").is_file()),
            ("e1", t.file("e1").is_file()),
            ("x1", is_runnable(&t, "x1")),
            ("e2", t.file("e2").is_file()),
            ("x2", is_runnable(&t, "x2")),
            ("l", t.file("l").is_symlink()),
        ];
        for (touch, is_put) in put {
            assert_eq!(is_put, touch != name.trim_end_matches(".part"), "{name}: {touch}");
        }
        *broken.lock().unwrap() = false;
        storage.finish().unwrap();
        assert!(storage.is_finished());
    }
}

#[test]
fn what_the_file_system_does_not_have_is_told_once_and_keeps_no_download_from_being_done() {
    for (op, errno, names, told) in [
        (Op::SetMode, EPERM, ["x1", "x2"], " and 1 more file are not executable as the torrent says: "),
        (Op::SetMode, EOPNOTSUPP, ["x1", "x2"], " and 1 more file are not executable as the torrent says: "),
        (Op::SetMode, EPERM, ["x1", "x1"], " is not executable as the torrent says: "),
        (Op::CreateLink, EPERM, ["l", "l"], ", a symbolic link of the torrent, was not made: "),
        (Op::CreateLink, EOPNOTSUPP, ["l", "l"], ", a symbolic link of the torrent, was not made: "),
    ] {
        let t = touches();
        let at = names.map(|name| t.file(name));
        let plan = FaultPlan::new(move |found, path, _| {
            (found == op && at.iter().any(|at| at == path)).then_some(Fault::Errno(errno))
        });
        let storage = t.start_with_faults(plan);
        t.write_all(&storage);
        storage.finish().unwrap();
        let remarks = storage.take_remarks();
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        let expected = format!("{}{told}", t.file(names[0]).display());
        assert!(remarks[0].starts_with(&expected), "{remarks:?}");
        assert!(storage.take_remarks().is_empty());
    }
}

#[test]
fn a_mode_that_its_user_locked_stays() {
    for (mode, expected) in [(0o400, 0o400), (0o444, 0o444), (0o644, 0o755), (0o600, 0o700), (0o640, 0o750)] {
        let t = Fixture::new(&[("run", P, "x")]);
        let (storage, _) = t.start();
        t.write_all(&storage);
        fs::set_permissions(t.file("run"), fs::Permissions::from_mode(mode)).unwrap();
        storage.finish().unwrap();
        assert_eq!(fs::metadata(t.file("run")).unwrap().mode() & 0o7777, expected, "{mode:o}");
        assert!(storage.is_finished());
    }
}

/// A torrent whose file is called as an unfinished one of the other, with the same data in the same folder and state.
fn namesakes() -> (Fixture, Fixture) {
    let one = Fixture::new(&[("a.part", 3 * P, "")]);
    let two = Fixture::with_data(&[("a", 3 * P, "")], one.data.clone());
    (one, two)
}

/// A start of the torrent in the folder of the other one.
fn beside(t: &Fixture, host: &Fixture, state: PathBuf, options: StorageOptions) -> (Storage, Resumed) {
    let paths = LocalPaths::new(&t.info).unwrap();
    let place = Place { root: host.root(), state_dir: Some(state.into()) };
    let storage = Storage::new(t.info.clone(), paths, place, options, &[]).unwrap();
    let resumed = storage.resume().unwrap();
    (storage, resumed)
}

#[test]
fn a_whole_file_of_another_torrent_keeps_its_name_and_is_shared_as_it_lies() {
    for is_seed in [false, true] {
        let (one, two) = namesakes();
        let options = || StorageOptions { read_only: is_seed, ..Fixture::options() };
        let (first, _) = if is_seed {
            fs::create_dir_all(one.file("")).unwrap();
            fs::write(one.file("a.part"), &one.data).unwrap();
            one.start_with(options(), &[])
        } else {
            let (first, _) = one.start();
            one.write_all(&first);
            (first, Resumed { have: ferri_metainfo::Bitfield::new(3), recheck: Vec::new(), why: Vec::new() })
        };
        assert_eq!(one.good(&first), [0, 1, 2]);
        first.close().unwrap();
        let mut told = Vec::new();
        for round in 0..2 {
            let (second, resumed) = beside(&two, &one, one.state(), Fixture::options());
            let found = check::run(&second, &resumed.recheck, 2, &|_| {}).unwrap();
            assert_eq!(found.count_ones() + resumed.have.count_ones(), 3);
            let why = resumed.why.iter().find(|why| why.starts_with("t/a lies at t/a.part: ")).unwrap();
            let was_whole = resumed.have.count_ones() == 3;
            assert_eq!(why.ends_with("it is whole, and kept this name since another torrent has it too or its own name was taken"), was_whole, "{why}");
            assert!(was_whole || round == 0, "the journal says so by then");
            second.guard().unwrap();
            second.finish().unwrap();
            assert!(second.is_finished());
            let aliases: Vec<_> = second.places().moved().map(|(.., alias)| alias).collect();
            assert_eq!(aliases, [Alias::OtherTorrent]);
            told.extend(second.take_remarks());
            let mut buffer = vec![0; PIECE];
            second.read(two.piece(1), 0, &mut buffer).unwrap();
            assert_eq!(buffer, two.piece_bytes(1));
            second.close().unwrap();
            assert_eq!(names(&one.file("")), ["a.part"], "seed: {is_seed}");
        }
        let expected = format!(
            "{} is used by torrent \"t\" ({}) too, and keeps its name",
            one.file("a.part").display(),
            one.info.info_hashes().wire()
        );
        assert_eq!(told, [&*expected, &*expected]);
        // The first goes on with it.
        assert_eq!(one.good(&first), [0, 1, 2]);
        drop(first);
        // One that was removed has no say.
        let hash = one.info.info_hashes().wire().to_string();
        fs::remove_dir_all(one.state().join("torrents").join(hash)).unwrap();
        let (second, _) = beside(&two, &one, one.state(), Fixture::options());
        second.finish().unwrap();
        assert_eq!(names(&one.file("")), ["a"]);
    }
}

#[test]
fn a_whole_file_that_another_torrent_writes_keeps_its_name_also_without_a_common_state() {
    let (one, two) = namesakes();
    let (first, _) = one.start();
    one.write_all(&first);
    let (second, resumed) = beside(&two, &one, two.state(), Fixture::options());
    assert_eq!(check::run(&second, &resumed.recheck, 2, &|_| {}).unwrap().count_ones(), 3);
    second.finish().unwrap();
    assert_eq!(names(&one.file("")), ["a.part"]);
}

#[test]
fn the_journals_are_read_once_for_all_files_that_are_unfinished_by_their_names() {
    let files: Vec<String> = (0..200).map(|number| format!("f{number}")).collect();
    let specs: Vec<_> = files.iter().map(|name| (name.as_str(), P, "")).collect();
    let parts: Vec<String> = files.iter().map(|name| format!("{name}.part")).collect();
    let part_specs: Vec<_> = parts.iter().map(|name| (name.as_str(), P, "")).collect();
    let one = Fixture::new(&part_specs);
    let two = Fixture::with_data(&specs, one.data.clone());
    let (first, _) = one.start();
    one.write_all(&first);
    first.close().unwrap();
    let reads = Arc::new(Mutex::new(0));
    let (count, journal) = (reads.clone(), one.state_file("journal"));
    let plan = FaultPlan::new(move |op, path, _| {
        *count.lock().unwrap() += u32::from(op == Op::JournalRead && path == journal);
        None
    });
    let options = StorageOptions { faults: Some(plan), ..Fixture::options() };
    let (second, resumed) = beside(&two, &one, one.state(), options);
    assert_eq!(check::run(&second, &resumed.recheck, 2, &|_| {}).unwrap().count_ones(), 200);
    let before = *reads.lock().unwrap();
    second.finish().unwrap();
    assert_eq!(*reads.lock().unwrap() - before, 1);
    assert_eq!(names(&one.file("")).len(), 200);
    assert!(second.take_remarks()[0].contains(" and 199 more files are used by torrent "));
}
