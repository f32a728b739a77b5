//! Files of which only the inode was changed: edits whose time was set back, and modes, owners and links that change no byte.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use super::*;
use crate::Conflict;
use crate::journal::tests::in_version_1;

const P: u64 = PIECE as u64;

/// Pieces 0 and 1 are f0, 1 is f1 too, and 2 to 10 are f1.
fn pair() -> Fixture {
    Fixture::with_pieces(2 * PIECE, &[("f0", 40_000, ""), ("f1", 300_000, "")])
}

/// Lets the clock of inodes, which is coarse, go on after the last change of this one.
fn next_tick(path: &Path) {
    let ctime = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.ctime(), found.ctime_nsec())
    };
    let (probe, last) = (path.with_extension("probe"), ctime(path));
    loop {
        fs::write(&probe, b"x").unwrap();
        if last < ctime(&probe) {
            return fs::remove_file(&probe).unwrap();
        }
    }
}

/// Edits a file and sets its time back.
fn edit(path: &Path, offset: u64) -> (Vec<u8>, SystemTime) {
    next_tick(path);
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"a word of mine", offset).unwrap();
    file.set_modified(time).unwrap();
    looks(path)
}

/// What must stay: bytes and time.
fn looks(path: &Path) -> (Vec<u8>, SystemTime) {
    (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap())
}

fn link(path: &Path) {
    next_tick(path);
    let _ = fs::remove_file(path.with_extension("backup"));
    fs::hard_link(path, path.with_extension("backup")).unwrap();
}

/// A start with what it checks: what it has, and what it looked at.
fn checked(t: &Fixture) -> (Storage, Vec<u32>, Vec<u32>) {
    let (storage, resumed) = t.start();
    let found = check::run(&storage, &resumed.recheck, 2, &|_| {}).unwrap();
    let mut have = resumed.have;
    have.union(&found);
    (storage, have.iter_ones().collect(), numbers(&resumed.recheck))
}

fn complete(t: &Fixture) {
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.finish().unwrap();
    storage.close().unwrap();
}

#[track_caller]
fn is_in_the_way<T: std::fmt::Debug>(result: Result<T, StorageError>, at: &Path, why: Conflict) {
    match result {
        Err(StorageError::InTheWay { path, why: found }) => assert_eq!((&*path, found), (at, why)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_edit_that_set_its_time_back_is_found_by_the_next_start_and_kept() {
    for is_killed in [false, true] {
        let t = pair();
        complete(&t);
        let mine = edit(&t.file("f1"), 200_000);
        if is_killed {
            // Before anything was looked at.
            let (storage, resumed) = t.start();
            assert_eq!(numbers(&resumed.recheck), (1..=10).collect::<Vec<_>>());
            drop(storage);
        }
        for _ in 0..2 {
            let (storage, have, _) = checked(&t);
            assert_eq!(have, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10], "killed: {is_killed}");
            is_in_the_way(storage.guard(), &t.file("f1"), Conflict::Changed);
            assert!(t.try_write(&storage, 7).is_err());
            storage.close().unwrap();
            assert_eq!(looks(&t.file("f1")), mine);
        }
    }
}

#[test]
fn another_mode_or_link_costs_one_look_and_the_file_stays_ours() {
    let mode = |path: &Path| {
        next_tick(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    for touch in [mode as fn(&Path), link] {
        let t = pair();
        complete(&t);
        touch(&t.file("f1"));
        let (storage, resumed) = t.start();
        assert_eq!(numbers(&resumed.recheck), (1..=10).collect::<Vec<_>>());
        assert!(resumed.why[0].starts_with("t/f1 has its size and time"), "{:?}", resumed.why);
        assert_eq!(t.good(&storage).len(), 11);
        storage.guard().unwrap();
        assert!(storage.is_finished());
        storage.close().unwrap();
        drop(storage);
        let (storage, have, looked) = checked(&t);
        assert_eq!((have.len(), looked), (11, vec![]), "once");
        drop(storage);
        // What is ours is mended.
        fs::remove_file(t.file("f0")).unwrap();
        let (storage, ..) = checked(&t);
        storage.guard().unwrap();
        t.write(&storage, [0, 1]);
        storage.finish().unwrap();
        assert_eq!(t.good(&storage).len(), 11);
    }
}

#[test]
fn what_we_do_to_an_inode_ourselves_is_no_change_of_somebody_else() {
    let t = Fixture::new(&[("run", 3 * P, "x"), ("a", 2 * P, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a.part"), &t.data[3 * PIECE..4 * PIECE]).unwrap();
    let (storage, ..) = checked(&t);
    storage.guard().unwrap();
    t.write(&storage, [0, 1, 2, 4]);
    storage.sync().unwrap();
    next_tick(&t.file("run"));
    next_tick(&t.file("a.part"));
    storage.finish().unwrap();
    storage.finish().unwrap();
    assert!(storage.doubtful().is_empty());
    storage.close().unwrap();
    drop(storage);
    assert_eq!(fs::metadata(t.file("run")).unwrap().mode() & 0o111, 0o111);
    let (storage, resumed) = t.start();
    assert!(resumed.have.is_full() && resumed.recheck.is_empty(), "{:?}", resumed.why);
    assert!(resumed.why.is_empty() && storage.is_finished());
}

#[test]
fn a_journal_of_version_1_knows_no_times_of_inodes_until_it_is_written_anew() {
    let t = pair();
    complete(&t);
    let journal = t.state_file("journal");
    fs::write(&journal, in_version_1(&fs::read(&journal).unwrap())).unwrap();
    link(&t.file("f1"));
    let (storage, resumed) = t.start();
    assert!(resumed.have.is_full() && resumed.recheck.is_empty() && resumed.why.is_empty());
    drop(storage);
    link(&t.file("f1"));
    let (_, resumed) = t.start();
    assert_eq!(resumed.recheck.len(), 10);
}

#[test]
fn an_edit_of_what_is_unfinished_is_found_too_and_a_link_to_it_is_not_an_edit() {
    let t = pair();
    let (storage, _) = t.start();
    t.write(&storage, [0, 1, 2, 5, 6]);
    storage.close().unwrap();
    drop(storage);
    link(&t.file("f1"));
    let (storage, have, looked) = checked(&t);
    assert_eq!((have, looked.contains(&5)), (vec![0, 1, 2, 5, 6], true));
    storage.guard().unwrap();
    t.write(&storage, [3]);
    storage.close().unwrap();
    drop(storage);
    // Within piece 5 alone.
    let mine = edit(&t.file("f1"), 5 * 2 * P - 40_000 + 9);
    for _ in 0..2 {
        let (storage, have, _) = checked(&t);
        assert_eq!(have, [0, 1, 2, 3, 6]);
        is_in_the_way(storage.guard(), &t.file("f1"), Conflict::Differs);
        for piece in [4, 5, 7] {
            let _ = t.try_write(&storage, piece);
        }
        storage.close().unwrap();
        assert_eq!(looks(&t.file("f1")), mine);
    }
}

#[test]
fn a_link_to_what_is_being_written_has_it_looked_at_again_and_nothing_is_lost() {
    let t = pair();
    let (storage, _) = t.start();
    t.write(&storage, [0, 1, 2]);
    link(&t.file("f1"));
    t.write(&storage, [3]);
    assert_eq!(numbers(&storage.doubtful()), [1, 2]);
    for piece in storage.doubtful() {
        assert!(storage.check_piece(piece, &mut Vec::new()).unwrap());
    }
    t.write(&storage, 4..11);
    link(&t.file("f1"));
    storage.finish().unwrap();
    storage.close().unwrap();
    drop(storage);
    let (_, resumed) = t.start();
    assert!(resumed.have.is_full() && resumed.recheck.is_empty(), "{:?}", resumed.why);
}

#[test]
fn what_is_complete_and_only_touched_takes_the_piece_that_its_neighbor_lost() {
    for is_edited in [false, true] {
        let t = pair();
        complete(&t);
        fs::remove_file(t.file("f0")).unwrap();
        let (storage, ..) = checked(&t);
        storage.guard().unwrap();
        let mine = if is_edited { edit(&t.file("f1"), 200_000) } else { looks(&t.file("f1")) };
        if is_edited {
            is_in_the_way(t.try_write(&storage, 1), &t.file("f1"), Conflict::Changed);
            assert_eq!(looks(&t.file("f1")), mine);
        } else {
            link(&t.file("f1"));
            t.write(&storage, [0, 1]);
            storage.finish().unwrap();
            assert_eq!(t.good(&storage).len(), 11);
        }
    }
}
