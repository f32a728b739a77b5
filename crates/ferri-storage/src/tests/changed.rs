//! Files that were complete once and that their user changed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::Conflict;

const P: u64 = PIECE as u64;

/// Pieces 0 and 1 are f0, 1 is f1 too, and 2 to 10 are f1.
fn pair() -> Fixture {
    Fixture::with_pieces(2 * PIECE, &[("f0", 40_000, ""), ("f1", 300_000, "")])
}

/// Opens a file as an editor does that keeps the inode, and sets a time that differs from ours.
fn change(path: &Path, how: impl FnOnce(&fs::File)) {
    let file = fs::File::options().write(true).open(path).unwrap();
    how(&file);
    file.set_modified(SystemTime::now() - Duration::from_secs(5)).unwrap();
}

/// What must stay: bytes, length and time.
fn looks(path: &Path) -> (Vec<u8>, SystemTime) {
    (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap())
}

fn checked(t: &Fixture) -> (Storage, Resumed) {
    let (storage, mut resumed) = t.start();
    let found = check::run(&storage, &resumed.recheck, 2, &|_| {}).unwrap();
    resumed.have.union(&found);
    (storage, resumed)
}

#[track_caller]
fn is_in_the_way<T: std::fmt::Debug>(result: Result<T, StorageError>, at: &Path, why: Conflict) {
    match result {
        Err(StorageError::InTheWay { path, why: found }) => assert_eq!((&*path, found), (at, why)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_changed_before_the_end_is_the_users_and_the_end_does_not_come() {
    let changes: [fn(&fs::File); 6] = [
        |file| file.set_len(P + 5).unwrap(),
        |file| file.set_len(0).unwrap(),
        |file| file.write_all_at(b"a word of mine", 3 * P + 100).unwrap(),
        |file| file.write_all_at(b"mine", 100).unwrap(),
        |file| {
            file.set_len(0).unwrap();
            file.write_all_at(b"all mine", 0).unwrap();
        },
        |file| {
            file.set_len(0).unwrap();
            file.write_all_at(&[7; 5 * PIECE], 0).unwrap();
        },
    ];
    for how in changes {
        let t = Fixture::new(&[("a", 3 * P + 100, ""), ("b", 3 * P, "")]);
        let (storage, _) = t.start();
        t.write(&storage, 0..4);
        storage.sync().unwrap();
        change(&t.file("a"), how);
        let mine = looks(&t.file("a"));
        t.write(&storage, 4..7);
        for _ in 0..2 {
            is_in_the_way(storage.finish(), &t.file("a"), Conflict::Changed);
            assert_eq!(looks(&t.file("a")), mine);
        }
        // As a caller that asks for the end does with what is in doubt.
        for piece in storage.doubtful() {
            if !storage.check_piece(piece, &mut Vec::new()).unwrap() {
                let _ = t.try_write(&storage, piece.get());
            }
        }
        if !mine.0.is_empty() {
            assert_eq!(looks(&t.file("a")), mine);
            storage.close().unwrap();
            drop(storage);
            let (storage, _) = checked(&t);
            assert!(
                matches!(storage.guard(), Err(StorageError::InTheWay { path, .. }) if path == t.file("a"))
            );
            assert_eq!(looks(&t.file("a")), mine);
        }
    }
}

#[test]
fn what_was_only_touched_before_the_end_is_finished() {
    let t = pair();
    let (storage, _) = t.start();
    t.write_all(&storage);
    change(&t.file("f0"), |_| {});
    storage.finish().unwrap();
    storage.finish().unwrap();
    assert!(storage.doubtful().is_empty());
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = checked(&t);
    assert!(resumed.have.is_full());
    storage.guard().unwrap();
    assert!(storage.is_finished());
}

#[test]
fn a_file_given_up_that_changed_before_the_end_is_not_finished_before_it_is_mended() {
    let t = pair();
    let (storage, _) = t.start_with(StorageOptions { overwrite: true, ..Fixture::options() }, &[]);
    t.write_all(&storage);
    change(&t.file("f1"), |file| file.set_len(P).unwrap());
    assert!(matches!(storage.finish(), Err(StorageError::Changed { path }) if path == t.file("f1")));
    for piece in storage.doubtful() {
        if !storage.check_piece(piece, &mut Vec::new()).unwrap() {
            t.write(&storage, [piece.get()]);
        }
    }
    storage.finish().unwrap();
    assert_eq!(t.good(&storage).len() as u32, t.info.layout().piece_count());
}

#[test]
fn a_file_was_complete_also_when_its_neighbor_is_gone() {
    for is_killed in [false, true] {
        let t = pair();
        let (storage, _) = t.start();
        t.write_all(&storage);
        storage.finish().unwrap();
        storage.close().unwrap();
        drop(storage);
        fs::remove_file(t.file("f0")).unwrap();
        let (storage, resumed) = checked(&t);
        assert_eq!(resumed.have.iter_ones().next(), Some(2));
        if is_killed {
            // The piece of f0 alone is fetched.
            storage.guard().unwrap();
            t.write(&storage, [0]);
            storage.sync().unwrap();
        } else {
            storage.close().unwrap();
        }
        drop(storage);
        change(&t.file("f1"), |file| file.write_all_at(b"mine", 200_000).unwrap());
        let mine = looks(&t.file("f1"));
        for _ in 0..2 {
            let (storage, _) = checked(&t);
            is_in_the_way(storage.guard(), &t.file("f1"), Conflict::Changed);
            for piece in 0..11 {
                let _ = t.try_write(&storage, piece);
            }
            storage.close().unwrap();
            assert_eq!(looks(&t.file("f1")), mine, "killed: {is_killed}");
        }
    }
}

#[test]
fn a_complete_file_goes_on_when_its_neighbor_comes_again() {
    let t = pair();
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.close().unwrap();
    drop(storage);
    fs::remove_file(t.file("f0")).unwrap();
    checked(&t).0.close().unwrap();
    let (storage, _) = checked(&t);
    storage.guard().unwrap();
    // Killed, and the next one goes on.
    t.write(&storage, [1]);
    drop(storage);
    let (storage, _) = checked(&t);
    storage.guard().unwrap();
    t.write(&storage, [0, 1]);
    storage.finish().unwrap();
    assert_eq!(t.good(&storage).len(), 11);
}

#[test]
fn what_the_user_put_into_a_stopped_download_is_kept() {
    let t = pair();
    let (storage, _) = t.start();
    t.write(&storage, 0..6);
    storage.close().unwrap();
    drop(storage);
    // As `cp` does: the inode stays.
    fs::write(t.file("f1"), vec![b'm'; 70_000]).unwrap();
    let mine = looks(&t.file("f1"));
    for _ in 0..2 {
        let (storage, resumed) = checked(&t);
        let refused = storage.guard();
        assert!(
            matches!(&refused, Err(StorageError::InTheWay { path, .. }) if *path == t.file("f1")),
            "{refused:?}"
        );
        for piece in (0..11).filter(|piece| !resumed.have.get(*piece)) {
            let _ = t.try_write(&storage, piece);
        }
        storage.close().unwrap();
        assert_eq!(looks(&t.file("f1")), mine);
    }
    // What was only touched or cut goes on.
    for how in [|_: &fs::File| {}, |file: &fs::File| file.set_len(100_000).unwrap()] {
        let t = pair();
        let (storage, _) = t.start();
        t.write(&storage, 0..6);
        storage.close().unwrap();
        drop(storage);
        change(&t.file("f1"), how);
        let (storage, _) = checked(&t);
        storage.guard().unwrap();
        t.write_all(&storage);
        storage.finish().unwrap();
        assert_eq!(t.good(&storage).len(), 11);
    }
}
