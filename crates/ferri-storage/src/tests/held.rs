//! Files that begin as the torrent's do, until it is known whose they are.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime};

use super::*;
use crate::Conflict;

const BLOCK: usize = 16 << 10;
const P: usize = 4 * BLOCK;

/// Pieces 0 to 4 are a, 5 is a and b, 6 and 7 are b.
fn two() -> Fixture {
    Fixture::with_pieces(P, &[("a", 5 * P as u64 + 100, ""), ("b", 2 * P as u64, "")])
}

/// What a file of the user is known by: its bytes, its length and when it was changed.
type Look = (Vec<u8>, u64, SystemTime);

fn look(t: &Fixture) -> Look {
    let found = fs::metadata(t.file("a")).unwrap();
    (fs::read(t.file("a")).unwrap(), found.len(), found.modified().unwrap())
}

/// Lays down `a` as of long ago.
fn lay(t: &Fixture, bytes: &[u8]) -> Look {
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a"), bytes).unwrap();
    let file = fs::File::options().write(true).open(t.file("a")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1_000)).unwrap();
    look(t)
}

/// The torrent's `a`, of which nothing is there but these blocks of each piece.
fn sparse(t: &Fixture, has: impl Fn(usize, usize) -> bool) -> Vec<u8> {
    let mut bytes = t.data[..5 * P + 100].to_vec();
    for (at, block) in bytes.chunks_mut(BLOCK).enumerate() {
        if !has(at / 4, at % 4) {
            block.fill(0);
        }
    }
    bytes
}

/// A start up to where pieces would be fetched.
fn begin(t: &Fixture) -> (Storage, Vec<u32>) {
    let (storage, resumed) = t.start();
    let found = check::run(&storage, &resumed.recheck, 2, &|_| {}).unwrap();
    let mut have = resumed.have;
    have.union(&found);
    (storage, have.iter_ones().collect())
}

#[track_caller]
fn is_in_the_way<T: std::fmt::Debug>(t: &Fixture, result: Result<T, StorageError>, why: Conflict) {
    match result {
        Err(StorageError::InTheWay { path, why: found }) => assert_eq!((path, found), (t.file("a"), why)),
        other => panic!("{other:?}"),
    }
}

/// Files that are the user's, each with the piece that tells.
fn of_the_user(t: &Fixture) -> Vec<(Vec<u8>, u32)> {
    let whole = &t.data[..5 * P + 100];
    let mut filled = sparse(t, |piece, block| piece < 2 || (piece, block) == (2, 1));
    filled[2 * P..2 * P + 9].copy_from_slice(b"my change");
    let mut tagged = sparse(t, |piece, _| piece != 3);
    tagged[5 * P + 90..].copy_from_slice(b"ID3 my tag");
    vec![
        // It goes on with a word, with more than a block, and with what the torrent has and then a word.
        ([&whole[..2 * P], b"mine"].concat(), 2),
        ([&whole[..2 * P], &[b'M'; BLOCK + 5][..]].concat(), 2),
        ([&whole[..2 * P + BLOCK + 7], b"mine"].concat(), 2),
        ([&whole[..5 * P], b"mine"].concat(), 5),
        (filled, 2),
        (tagged, 5),
    ]
}

#[test]
fn a_file_that_begins_as_the_torrents_and_goes_on_as_the_users_is_never_touched() {
    for (case, (mine, tells)) in of_the_user(&two()).into_iter().enumerate() {
        let t = two();
        let before = lay(&t, &mine);
        for round in 0..3 {
            // Each is killed but the last: nothing is said at the end.
            let (storage, have) = begin(&t);
            storage.guard().unwrap();
            assert_eq!(look(&t), before, "{case}: {round}");
            for piece in (0..8).filter(|piece| *piece != tells && !have.contains(piece)) {
                t.write(&storage, [piece]);
                assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece), "{case}: {piece}");
                assert_eq!(look(&t), before, "{case}: {piece}");
            }
            assert_eq!(storage.on_disk().count_ones(), 7, "{case}: nothing is fetched twice");
            is_in_the_way(&t, t.try_write(&storage, tells), Conflict::Differs);
            storage.spill(t.piece(tells), 0, &t.blocks(tells)).unwrap();
            is_in_the_way(&t, storage.commit_spilled(t.piece(tells)), Conflict::Differs);
            is_in_the_way(&t, storage.finish(), Conflict::Undecided);
            storage.sync().unwrap();
            if round == 2 {
                storage.close().unwrap();
            }
            assert_eq!(look(&t), before, "{case}");
        }
        // Moved away, it makes room for what was put aside.
        fs::rename(t.file("a"), t.file("mine")).unwrap();
        let (storage, have) = begin(&t);
        storage.guard().unwrap();
        t.write(&storage, (0..8).filter(|piece| !have.contains(piece)));
        storage.finish().unwrap();
        assert_eq!(t.good(&storage).len(), 8);
        assert_eq!(fs::read(t.file("mine")).unwrap(), mine);
    }
}

#[test]
fn who_does_not_ask_changes_nothing_either() {
    for (mine, tells) in of_the_user(&two()) {
        let t = two();
        let before = lay(&t, &mine);
        let (storage, _) = t.start();
        t.write(&storage, (0..8).filter(|piece| *piece != tells));
        is_in_the_way(&t, t.try_write(&storage, tells), Conflict::Differs);
        assert_eq!(look(&t), before);
    }
}

/// What other programs leave of a download, with the pieces that tell that it is one.
fn broken_off(t: &Fixture) -> Vec<(Vec<u8>, Vec<u32>)> {
    let whole = &t.data[..5 * P + 100];
    vec![
        (whole[..2 * P + 7].to_vec(), vec![2]),
        (whole[..2 * P + BLOCK].to_vec(), vec![2]),
        (whole[..5 * P + 9].to_vec(), vec![5]),
        (sparse(t, |piece, block| piece == 1 || (piece, block) == (2, 0)), vec![2]),
        (sparse(t, |piece, block| piece == 1 || (piece, block) == (3, 3)), vec![3]),
        (
            sparse(t, |piece, block| piece == 1 || piece == 3 && block % 2 == 0 || piece == 2 && block != 1),
            vec![2, 3],
        ),
        (sparse(t, |piece, block| piece == 5 || piece == 4 || (piece, block) == (0, 2)), vec![0, 5]),
    ]
}

#[test]
fn a_download_that_was_broken_off_in_a_piece_is_gone_on_with_when_that_came() {
    for (case, (left, tell)) in broken_off(&two()).into_iter().enumerate() {
        for is_killed in [false, true] {
            let t = two();
            let before = lay(&t, &left);
            let (mut storage, have) = begin(&t);
            storage.guard().unwrap();
            assert_eq!(numbers(&storage.awaited()), tell);
            for &piece in &tell[1..] {
                t.write(&storage, [piece]);
            }
            assert_eq!(numbers(&storage.awaited()), tell[..1]);
            t.write(&storage, (0..8).filter(|piece| !have.contains(piece) && !tell.contains(piece)));
            assert_eq!(look(&t), before, "{case}");
            if is_killed {
                drop(storage);
                storage = begin(&t).0;
                storage.guard().unwrap();
                assert_eq!(look(&t), before, "{case}");
            }
            t.write(&storage, [tell[0]]);
            assert_eq!(fs::read(t.file("a")).unwrap(), t.data[..5 * P + 100], "{case}");
            storage.finish().unwrap();
            storage.close().unwrap();
            assert_eq!(t.good(&storage).len(), 8);
            drop(storage);
            let parts = fs::metadata(t.state_file("parts")).map_or(0, |parts| parts.blocks() * 512);
            assert!(parts <= 8 << 10, "{case}: its room is given back, {parts} are left");
            assert!(t.start().1.have.is_full());
        }
    }
}

#[test]
fn threads_that_write_side_by_side_agree_on_whose_a_file_is() {
    for (left, _) in broken_off(&two()) {
        let t = two();
        lay(&t, &left);
        let (storage, have) = begin(&t);
        std::thread::scope(|scope| {
            let (t, storage) = (&t, &storage);
            for piece in (0..8).filter(|piece| !have.contains(piece)) {
                scope.spawn(move || t.write(storage, [piece]));
            }
        });
        storage.finish().unwrap();
        assert_eq!(t.good(&storage).len(), 8);
    }
}

#[test]
fn blocks_alone_are_no_reason_to_take_a_file() {
    let t = two();
    let before = lay(&t, &sparse(&t, |piece, block| piece == 2 && block < 3));
    let (storage, _) = begin(&t);
    is_in_the_way(&t, storage.guard(), Conflict::Undecided);
    is_in_the_way(&t, t.try_write(&storage, 2), Conflict::Undecided);
    assert_eq!(look(&t), before);
}

#[test]
fn where_nothing_can_be_put_aside_nothing_is_held() {
    let t = two();
    let before = lay(&t, &t.data[..2 * P + 7]);
    let place = Place { root: t.root(), state_dir: None };
    let paths = LocalPaths::new(&t.info).unwrap();
    let storage = Storage::new(Arc::clone(&t.info), paths, place, Fixture::options(), &[]).unwrap();
    storage.resume().unwrap();
    is_in_the_way(&t, storage.guard(), Conflict::Undecided);
    is_in_the_way(&t, t.try_write(&storage, 3), Conflict::Undecided);
    assert_eq!(look(&t), before);
}

#[test]
fn a_held_file_that_is_not_wanted_or_not_there_any_more_holds_nothing_up() {
    let t = two();
    let before = lay(&t, &[&t.data[..2 * P], b"mine"].concat());
    let (storage, _) = begin(&t);
    storage.guard().unwrap();
    t.write(&storage, [3]);
    storage.set_wanted(&[false, true]).unwrap();
    t.write(&storage, [2, 5, 6, 7]);
    storage.finish().unwrap();
    assert_eq!(look(&t), before);
    is_in_the_way(&t, storage.set_wanted(&[]), Conflict::Differs);
    assert_eq!(look(&t), before);
    fs::rename(t.file("a"), t.file("mine")).unwrap();
    storage.set_wanted(&[]).unwrap();
    // While it runs.
    let t = two();
    lay(&t, &[&t.data[..2 * P], b"mine"].concat());
    let (storage, _) = begin(&t);
    storage.guard().unwrap();
    t.write(&storage, [3]);
    fs::rename(t.file("a"), t.file("mine")).unwrap();
    t.write(&storage, [0, 1, 2, 4, 5, 6, 7]);
    storage.finish().unwrap();
    assert_eq!(t.good(&storage).len(), 8);
}

#[test]
fn two_that_would_write_the_same_agree_on_a_held_file_while_one_is_in_the_middle_of_it() {
    let t = Fixture::new(&[("a", 6 * BLOCK as u64, "")]);
    let other = Fixture::new(&[("a", 6 * BLOCK as u64, "x")]);
    lay(&t, &t.data[..2 * BLOCK + 7]);
    let (first, _) = begin(&t);
    first.guard().unwrap();
    let paths = LocalPaths::new(&other.info).unwrap();
    let place = Place { root: t.root(), state_dir: Some(other.state().into()) };
    let second = Storage::new(Arc::clone(&other.info), paths, place, Fixture::options(), &[]).unwrap();
    second.resume().unwrap();
    second.guard().unwrap();
    assert_eq!((numbers(&first.awaited()), numbers(&second.awaited())), (vec![2], vec![2]));
    t.write(&first, [2]);
    // Half of a piece, as the second may see it.
    let file = fs::File::options().write(true).open(t.file("a")).unwrap();
    file.write_all_at(&t.data[4 * BLOCK..4 * BLOCK + 100], 4 * BLOCK as u64).unwrap();
    other.write(&second, [2, 3, 5]);
    t.write(&first, [3, 4, 5]);
    other.write(&second, [4]);
    second.finish().unwrap();
    assert_eq!(fs::read(t.file("a")).unwrap(), t.data);
}

#[test]
fn a_piece_that_tells_is_written_also_when_looks_have_ended() {
    let t = two();
    lay(&t, &t.data[..2 * P + 7]);
    let (storage, _) = begin(&t);
    storage.guard().unwrap();
    t.write(&storage, [3, 4]);
    storage.halt();
    t.write(&storage, [2, 5]);
    storage.close().unwrap();
    drop(storage);
    let (storage, have) = begin(&t);
    assert_eq!(have, [0, 1, 2, 3, 4, 5]);
    storage.guard().unwrap();
    t.write(&storage, [6, 7]);
    storage.finish().unwrap();
    assert_eq!(t.good(&storage).len(), 8);
}
