//! Files of the user where those of the torrent belong.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;
use crate::Conflict;
use crate::journal::{Record, Stamp};

const P: u64 = PIECE as u64;

/// Pieces 0 to 2 are a, 3 is a and b, 4 and 5 are b, 6 is b, c and d, 7 is d.
fn four() -> Fixture {
    Fixture::new(&[("a", 3 * P + 100, ""), ("b", 3 * P, ""), ("c", 50, ""), ("d", P, "")])
}

/// The torrent's bytes of a file.
fn bytes_of(t: &Fixture, name: &str) -> Vec<u8> {
    let (start, length) = match name {
        "a" => (0, 3 * PIECE + 100),
        "b" => (3 * PIECE + 100, 3 * PIECE),
        "c" => (6 * PIECE + 100, 50),
        _ => (6 * PIECE + 150, PIECE),
    };
    t.data[start..start + length].to_vec()
}

fn lay(t: &Fixture, name: &str, bytes: &[u8]) {
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file(name), bytes).unwrap();
}

/// A start with what it checks.
fn checked(t: &Fixture, wanted: &[bool]) -> (Storage, Vec<u32>) {
    checked_with(t, Fixture::options(), wanted)
}

fn checked_with(t: &Fixture, options: StorageOptions, wanted: &[bool]) -> (Storage, Vec<u32>) {
    let (storage, resumed) = t.start_with(options, wanted);
    let found = check::run(&storage, &resumed.recheck, 2, &|_| {}).unwrap();
    let mut have = resumed.have;
    have.union(&found);
    (storage, have.iter_ones().collect())
}

#[track_caller]
fn is_in_the_way<T: std::fmt::Debug>(
    t: &Fixture,
    result: Result<T, StorageError>,
    name: &str,
    why: Conflict,
) {
    match result {
        Err(StorageError::InTheWay { path, why: found }) => {
            assert_eq!((path, found), (t.file(name), why));
        }
        other => panic!("{other:?}"),
    }
}

/// Writes every piece that is not there, as far as that is allowed.
fn try_all(t: &Fixture, storage: &Storage, have: &[u32]) -> Vec<Result<(), StorageError>> {
    (0..8).filter(|piece| !have.contains(piece)).map(|piece| t.try_write(storage, piece)).collect()
}

#[test]
fn a_file_of_the_user_is_named_and_kept_whoever_is_asked() {
    let whole = bytes_of(&four(), "b");
    let tagged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at..at + 9].copy_from_slice(b"my change");
        bytes
    };
    for (mine, why) in [
        (vec![b'M'; 3 * PIECE], Conflict::Foreign),
        (vec![b'M'; PIECE + PIECE / 2], Conflict::Undecided),
        (vec![b'M'; 2 * PIECE], Conflict::Foreign),
        (b"MINE".to_vec(), Conflict::Undecided),
        ([&whole[..], b"more"].concat(), Conflict::Longer),
        (vec![b'M'; 5 * PIECE], Conflict::Longer),
        (tagged(2 * PIECE), Conflict::Differs),
    ] {
        let t = four();
        lay(&t, "a", &bytes_of(&t, "a"));
        lay(&t, "b", &mine);
        // The second time there is a journal of the first.
        for _ in 0..2 {
            let (storage, have) = checked(&t, &[]);
            assert!(have.starts_with(&[0, 1, 2]), "a is the torrent's: {have:?}");
            is_in_the_way(&t, storage.guard(), "b", why);
            // A torrent that does not ask is refused all the same.
            let refused = try_all(&t, &storage, &have);
            assert!(refused.iter().any(|result| matches!(result, Err(StorageError::InTheWay { .. }))));
            assert!(storage.set_wanted(&[]).is_ok(), "nothing is newly wanted");
            let _ = storage.finish();
            storage.close().unwrap();
            assert_eq!(fs::read(t.file("b")).unwrap(), mine, "{why:?}");
        }
    }
}

#[test]
fn a_change_at_an_end_that_no_piece_vouches_for_is_kept_when_its_piece_comes() {
    let t = four();
    let mut song = bytes_of(&t, "b");
    song[..3].copy_from_slice(b"TAG");
    lay(&t, "b", &song);
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have, [4, 5]);
    storage.guard().unwrap();
    t.write(&storage, [0, 1, 2, 6, 7]);
    is_in_the_way(&t, t.try_write(&storage, 3), "b", Conflict::Differs);
    let piece = t.piece(3);
    storage.spill(piece, 0, &t.blocks(3)).unwrap();
    is_in_the_way(&t, storage.commit_spilled(piece), "b", Conflict::Differs);
    assert_eq!(fs::read(t.file("b")).unwrap(), song);
    storage.close().unwrap();
    drop(storage);
    // It is ours to go on with and still not to be changed.
    let (storage, _) = checked(&t, &[]);
    storage.guard().unwrap();
    is_in_the_way(&t, t.try_write(&storage, 3), "b", Conflict::Differs);
    drop(storage);
    let options = StorageOptions { overwrite: true, ..Fixture::options() };
    let (storage, have) = checked_with(&t, options, &[]);
    assert_eq!(have, [0, 1, 2, 4, 5, 6, 7]);
    t.write(&storage, [3]);
    assert_eq!(fs::read(t.file("b")).unwrap(), bytes_of(&t, "b"));
}

#[test]
fn what_another_program_left_is_gone_on_with() {
    let t = four();
    let mut half = bytes_of(&t, "b");
    half[2 * PIECE - 100..].fill(0);
    lay(&t, "b", &half);
    lay(&t, "a", &bytes_of(&t, "a")[..2 * PIECE]);
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have, [0, 1, 4]);
    storage.guard().unwrap();
    t.write(&storage, [2, 3, 5, 6, 7]);
    storage.close().unwrap();
    assert_eq!(t.good(&storage).len(), 8);
}

#[test]
fn a_file_without_a_byte_that_counts_is_taken_however_it_came_to_be() {
    let t = four();
    lay(&t, "a", b"");
    lay(&t, "b", &vec![0; 2 * PIECE + 5]);
    lay(&t, "c", b"");
    fs::File::options().write(true).open(t.file("c")).unwrap().set_len(50).unwrap();
    let (storage, have) = checked(&t, &[]);
    storage.guard().unwrap();
    t.write(&storage, (0..8).filter(|piece| !have.contains(piece)));
    assert_eq!(t.good(&storage).len(), 8);
}

#[test]
fn a_small_file_is_compared_through_the_pieces_it_shares() {
    let t = four();
    for (name, bytes) in [("b", bytes_of(&t, "b")), ("c", bytes_of(&t, "c")), ("d", bytes_of(&t, "d"))] {
        lay(&t, name, &bytes);
    }
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have, [4, 5, 6, 7]);
    storage.guard().unwrap();
    drop(storage);
    let t = four();
    lay(&t, "c", &bytes_of(&t, "c"));
    let (storage, _) = checked(&t, &[]);
    is_in_the_way(&t, storage.guard(), "c", Conflict::Undecided);
    is_in_the_way(&t, t.try_write(&storage, 6), "c", Conflict::Undecided);
}

#[test]
fn an_unwanted_file_is_never_written_to_whatever_it_is() {
    for mine in [b"MINE".to_vec(), vec![b'M'; 3 * PIECE], vec![b'M'; 4 * PIECE]] {
        let t = four();
        lay(&t, "b", &mine);
        let wanted = [true, false, true, true];
        let (storage, _) = checked(&t, &wanted);
        storage.guard().unwrap();
        t.write(&storage, [0, 1, 2, 3, 6, 7]);
        storage.finish().unwrap();
        for piece in [3, 6] {
            assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece));
        }
        assert_eq!(t.good(&storage), [0, 1, 2, 3, 6, 7]);
        storage.close().unwrap();
        drop(storage);
        let (storage, resumed) = t.start_wanting(&wanted);
        assert_eq!(resumed.have.count_ones(), 6, "{:?}", resumed.why);
        // It becomes wanted: the user's is in the way until it is moved.
        let why = if mine.len() > 3 * PIECE { Conflict::Longer } else { Conflict::Foreign };
        is_in_the_way(&t, storage.set_wanted(&[]), "b", why);
        assert_eq!(fs::read(t.file("b")).unwrap(), mine);
        assert_eq!(t.good(&storage), [0, 1, 2, 3, 6, 7], "nothing changed");
        fs::rename(t.file("b"), t.file("kept")).unwrap();
        storage.set_wanted(&[]).unwrap();
        assert_eq!(t.good(&storage), [0, 1, 2, 3, 6, 7]);
        t.write(&storage, [4, 5]);
        storage.close().unwrap();
        assert_eq!(fs::read(t.file("b")).unwrap(), bytes_of(&t, "b"));
    }
}

#[test]
fn what_the_parts_file_holds_is_not_fetched_again_by_a_run_that_wants_more() {
    let t = four();
    let (storage, _) = t.start_wanting(&[false, true, false, false]);
    t.write(&storage, [3, 4, 5, 6]);
    storage.finish().unwrap();
    storage.close().unwrap();
    assert_eq!(tree(&t.root()), ["t/", "t/b"]);
    drop(storage);
    for _ in 0..2 {
        let (storage, resumed) = t.start();
        assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [3, 4, 5, 6], "{:?}", resumed.why);
        assert_eq!(t.good(&storage), [3, 4, 5, 6]);
        storage.guard().unwrap();
        assert_eq!(t.good(&storage), [3, 4, 5, 6]);
        storage.sync().unwrap();
    }
    let (storage, _) = t.start();
    t.write(&storage, [0, 1, 2, 7]);
    storage.finish().unwrap();
    storage.close().unwrap();
    drop(storage);
    fs::remove_file(t.state_file("parts")).unwrap();
    assert!(t.start().1.have.is_full(), "nothing is needed from the parts file");
    for name in ["a", "b", "c", "d"] {
        assert_eq!(fs::read(t.file(name)).unwrap(), bytes_of(&t, name));
    }
}

#[test]
fn a_file_that_changed_is_the_users_complete_or_not() {
    let change = |t: &Fixture, name: &str| {
        let file = fs::File::options().write(true).open(t.file(name)).unwrap();
        file.write_all_at(b"my change", 2 * P).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    };
    let t = four();
    let (storage, _) = t.start();
    t.write(&storage, 0..5);
    storage.close().unwrap();
    drop(storage);
    change(&t, "a");
    change(&t, "b");
    let (changed, half) = (fs::read(t.file("a")).unwrap(), fs::read(t.file("b")).unwrap());
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have, [0, 1, 3, 4], "a lost 2, and of b 5 was never there");
    is_in_the_way(&t, storage.guard(), "a", Conflict::Changed);
    is_in_the_way(&t, t.try_write(&storage, 2), "a", Conflict::Changed);
    is_in_the_way(&t, t.try_write(&storage, 5), "b", Conflict::Differs);
    assert_eq!(fs::read(t.file("a")).unwrap(), changed);
    assert_eq!(fs::read(t.file("b")).unwrap(), half);
    fs::write(t.file("b"), bytes_of(&t, "b")).unwrap();
    t.write(&storage, [5, 6, 7]);
    storage.close().unwrap();
    drop(storage);
    // What only looks changed is the torrent's still.
    fs::write(t.file("a"), bytes_of(&t, "a")).unwrap();
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have.len(), 8);
    storage.guard().unwrap();
    storage.finish().unwrap();
}

#[test]
fn a_change_of_a_complete_file_while_we_run_is_kept_too() {
    let t = four();
    let (storage, _) = t.start();
    t.write(&storage, 0..7);
    storage.sync().unwrap();
    let file = fs::File::options().write(true).open(t.file("a")).unwrap();
    file.set_len(P + 5).unwrap();
    file.write_all_at(b"mine", P).unwrap();
    let mine = fs::read(t.file("a")).unwrap();
    for piece in storage.lost_with(t.piece(2)).unwrap() {
        assert!(!storage.check_piece(piece, &mut Vec::new()).unwrap());
    }
    assert!(!storage.check_piece(t.piece(1), &mut Vec::new()).unwrap());
    for piece in [1, 2, 3] {
        let refused = t.try_write(&storage, piece);
        assert!(
            matches!(&refused, Err(StorageError::InTheWay { path, .. }) if *path == t.file("a")),
            "{refused:?}"
        );
    }
    t.write(&storage, [7]);
    assert_eq!(fs::read(t.file("a")).unwrap(), mine);
}

#[test]
fn a_download_that_another_client_broke_off_in_a_piece_is_gone_on_with_and_nothing_else_is_written_over() {
    let t = four();
    let cut = bytes_of(&t, "b")[..2 * PIECE].to_vec();
    lay(&t, "b", &cut);
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have, [4]);
    storage.guard().unwrap();
    t.write_all(&storage);
    assert_eq!(t.good(&storage).len(), 8);
    drop(storage);
    // What the torrent has not at its end stays.
    let t = four();
    let mut mine = cut;
    mine.extend(b"and a word of mine");
    lay(&t, "b", &mine);
    let (storage, have) = checked(&t, &[]);
    storage.guard().unwrap();
    let refused = try_all(&t, &storage, &have);
    assert_eq!(refused.iter().filter(|result| result.is_err()).count(), 1);
    is_in_the_way(&t, t.try_write(&storage, 5), "b", Conflict::Differs);
    assert!(fs::read(t.file("b")).unwrap().windows(mine.len()).any(|found| found == mine));
}

/// A download of `a` that is complete, as of the next start.
fn complete() -> Fixture {
    let t = four();
    let (storage, _) = t.start();
    t.write(&storage, 0..4);
    storage.close().unwrap();
    t
}

#[test]
fn a_complete_file_that_was_cut_is_not_taken_for_one_that_another_client_broke_off() {
    let cuts: [fn(&Fixture); 2] = [
        |t| fs::File::options().write(true).open(t.file("a")).unwrap().set_len(P + 5).unwrap(),
        // As an editor does that saves under another name first.
        |t| {
            fs::write(t.file("new"), &bytes_of(t, "a")[..PIECE + 5]).unwrap();
            fs::rename(t.file("new"), t.file("a")).unwrap();
        },
    ];
    for cut in cuts {
        let t = complete();
        cut(&t);
        let mine = fs::read(t.file("a")).unwrap();
        for _ in 0..3 {
            let (storage, have) = checked(&t, &[]);
            assert_eq!(have, [0]);
            is_in_the_way(&t, storage.guard(), "a", Conflict::Changed);
            is_in_the_way(&t, t.try_write(&storage, 1), "a", Conflict::Changed);
            storage.close().unwrap();
            assert_eq!(fs::read(t.file("a")).unwrap(), mine);
        }
        // Moved away, it is another client's again that lies there.
        fs::rename(t.file("a"), t.file("kept")).unwrap();
        checked(&t, &[]).0.close().unwrap();
        lay(&t, "a", &mine);
        let (storage, _) = checked(&t, &[]);
        storage.guard().unwrap();
        drop(storage);
        // And given up it is ours.
        let t = complete();
        cut(&t);
        let options = StorageOptions { overwrite: true, ..Fixture::options() };
        let (storage, have) = checked_with(&t, options, &[]);
        storage.guard().unwrap();
        assert!(try_all(&t, &storage, &have).iter().all(Result::is_ok));
        assert_eq!(t.good(&storage).len(), 8);
    }
}

/// Changes bytes of the first file without a trace, as a disk does: no time tells of it, not that of the inode either.
fn rot(t: &Fixture, name: &str, offset: u64) {
    let file = fs::File::options().write(true).open(t.file(name)).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"rot", offset).unwrap();
    file.set_modified(modified).unwrap();
    let stamp = Some(Stamp::of(&rustix::fs::fstat(&file).unwrap()));
    resume::edit_journal(t, |state| {
        assert!(state.apply(&Record::Stamp { file: 0, stamp }) && state.apply(&Record::Closed));
    });
}

#[test]
fn what_rots_is_mended_if_we_made_it_and_named_if_it_was_only_found() {
    let t = complete();
    rot(&t, "a", P);
    let (storage, _) = t.start();
    assert!(!t.good(&storage).contains(&1));
    storage.guard().unwrap();
    t.write_all(&storage);
    assert_eq!(t.good(&storage).len(), 8);

    let t = four();
    lay(&t, "a", &bytes_of(&t, "a"));
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have, [0, 1, 2]);
    storage.guard().unwrap();
    t.write(&storage, [3]);
    storage.close().unwrap();
    drop(storage);
    rot(&t, "a", P);
    for _ in 0..2 {
        let (storage, _) = t.start();
        assert!(!t.good(&storage).contains(&1));
        is_in_the_way(&t, storage.guard(), "a", Conflict::Changed);
        is_in_the_way(&t, t.try_write(&storage, 1), "a", Conflict::Changed);
        storage.close().unwrap();
    }
    // Never written to by us: the same.
    let t = Fixture::new(&[("a", 3 * P, "")]);
    lay(&t, "a", &t.data);
    let (storage, have) = checked(&t, &[]);
    assert_eq!(have.len(), 3);
    storage.guard().unwrap();
    storage.close().unwrap();
    drop(storage);
    rot(&t, "a", P);
    let (storage, _) = t.start();
    assert_eq!(t.good(&storage), [0, 2]);
    is_in_the_way(&t, storage.guard(), "a", Conflict::Changed);
    is_in_the_way(&t, t.try_write(&storage, 1), "a", Conflict::Changed);
}

#[test]
fn a_file_put_in_the_place_of_a_partial_one_is_the_users_also_with_its_inode_number() {
    let t = four();
    let (storage, _) = t.start();
    t.write(&storage, [0, 4]);
    storage.close().unwrap();
    // While it runs, and not open.
    fs::remove_file(t.file("a")).unwrap();
    fs::write(t.file("a"), b"mine").unwrap();
    let refused = t.try_write(&storage, 1);
    assert!(matches!(refused, Err(StorageError::InTheWay { .. })), "{refused:?}");
    assert_eq!(fs::read(t.file("a")).unwrap(), b"mine");
    drop(storage);
    // And between two runs.
    fs::remove_file(t.file("b")).unwrap();
    fs::write(t.file("b"), b"mine too").unwrap();
    let (storage, _) = checked(&t, &[]);
    assert!(matches!(storage.guard(), Err(StorageError::InTheWay { .. })));
    for piece in [1, 5] {
        let refused = t.try_write(&storage, piece);
        assert!(matches!(refused, Err(StorageError::InTheWay { .. })), "{refused:?}");
    }
    assert_eq!(fs::read(t.file("b")).unwrap(), b"mine too");
}

#[test]
fn a_file_that_appears_before_its_first_piece_is_kept() {
    let t = four();
    let (storage, _) = t.start();
    storage.guard().unwrap();
    lay(&t, "a", b"mine");
    assert!(matches!(t.try_write(&storage, 0), Err(StorageError::InTheWay { .. })));
    assert_eq!(fs::read(t.file("a")).unwrap(), b"mine");
}

#[test]
fn what_is_given_up_is_replaced_if_it_is_a_plain_file() {
    let t = four();
    lay(&t, "a", &vec![b'M'; 9 * PIECE]);
    lay(&t, "outside", b"precious");
    symlink("outside", t.file("b")).unwrap();
    fs::create_dir(t.file("c")).unwrap();
    let options = || StorageOptions { overwrite: true, ..Fixture::options() };
    let (storage, resumed) = t.start_with(options(), &[]);
    assert!(resumed.have.none());
    assert!(matches!(storage.guard(), Err(StorageError::Symlink { path }) if path == t.file("b")));
    t.write(&storage, [0, 1, 2]);
    assert!(matches!(t.try_write(&storage, 4), Err(StorageError::Symlink { .. })));
    fs::remove_file(t.file("b")).unwrap();
    assert!(matches!(t.try_write(&storage, 6), Err(StorageError::NotAFile { path }) if path == t.file("c")));
    fs::remove_dir(t.file("c")).unwrap();
    t.write(&storage, 3..8);
    assert_eq!(t.good(&storage).len(), 8);
    assert_eq!(fs::read(t.file("outside")).unwrap(), b"precious");
    assert_eq!(fs::metadata(t.file("a")).unwrap().len(), 3 * P + 100);
}

#[test]
fn sharing_gives_no_right_to_write() {
    let t = four();
    lay(&t, "a", &bytes_of(&t, "a"));
    lay(&t, "b", &vec![b'M'; 3 * PIECE]);
    let options = StorageOptions { read_only: true, ..Fixture::options() };
    let (storage, have) = checked_with(&t, options, &[]);
    assert_eq!(have, [0, 1, 2]);
    storage.guard().unwrap();
    storage.close().unwrap();
    drop(storage);
    let (storage, _) = checked(&t, &[]);
    is_in_the_way(&t, storage.guard(), "b", Conflict::Foreign);
}

#[test]
fn a_journal_of_another_folder_gives_no_right_here() {
    let t = four();
    let (storage, _) = t.start();
    t.write(&storage, [0]);
    storage.close().unwrap();
    drop(storage);
    // As a disk that is not mounted: another folder under the same name.
    fs::rename(t.root(), t.folder.path().join("aside")).unwrap();
    lay(&t, "a", &vec![b'M'; 3 * PIECE + 100]);
    let (storage, _) = checked(&t, &[]);
    is_in_the_way(&t, storage.guard(), "a", Conflict::Foreign);
}

#[test]
fn files_without_bytes_are_not_missed_by_the_next_run() {
    let t = Fixture::new(&[("a", P, ""), ("none", 0, ""), ("sub/none", 0, "x"), ("link", 0, "l>a")]);
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.guard().unwrap();
    storage.finish().unwrap();
    storage.close().unwrap();
    drop(storage);
    for _ in 0..2 {
        let (storage, resumed) = t.start();
        assert_eq!(resumed.why, Vec::<String>::new());
        assert!(resumed.have.is_full() && storage.is_finished());
        storage.close().unwrap();
    }
    // Something of the user's in its place is kept.
    fs::write(t.file("none"), b"mine").unwrap();
    let (storage, _) = t.start();
    assert!(!storage.is_finished());
    is_in_the_way(&t, storage.guard(), "none", Conflict::Longer);
    is_in_the_way(&t, storage.finish(), "none", Conflict::Longer);
    assert_eq!(fs::read(t.file("none")).unwrap(), b"mine");
}

#[test]
fn a_file_that_another_program_writes_to_is_left_to_it() {
    let t = four();
    lay(&t, "a", b"");
    let theirs = fs::File::options().write(true).open(t.file("a")).unwrap();
    assert!(crate::lock::hold(&theirs));
    let (storage, _) = t.start();
    for _ in 0..2 {
        let refused = t.try_write(&storage, 0);
        assert!(matches!(&refused, Err(StorageError::InUse { path }) if *path == t.file("a")), "{refused:?}");
    }
    drop(theirs);
    t.write(&storage, [0]);
}
