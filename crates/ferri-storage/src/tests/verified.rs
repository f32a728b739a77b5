//! Bytes that were hashed before they are handed out.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::*;

const FILES: &[Spec<'_>] = &[("a", PIECE as u64 + 100, ""), ("b", 2 * PIECE as u64, ""), ("c", 50, "")];

/// Every piece, in ranges of odd lengths.
#[track_caller]
fn assert_reads(t: &Fixture, storage: &Storage) {
    for piece in t.info.layout().pieces() {
        let expected = t.piece_bytes(piece.get());
        let length = expected.len() as u32;
        for range in [0..length, 0..0, 5..17, length - 1..length, 99.min(length)..length.min(5_000)] {
            let found = storage.read_verified(piece, range.clone()).unwrap().unwrap();
            assert_eq!(found, expected[range.start as usize..range.end as usize], "{piece:?} {range:?}");
        }
    }
}

#[test]
fn what_is_there_is_read_wherever_it_lies() {
    let t = Fixture::new(FILES);
    // What `b` shares with its neighbours lies in the parts file.
    let (storage, _) = t.start_wanting(&[true, false, true]);
    t.write_all(&storage);
    assert!(!t.file("b").exists());
    assert_reads(&t, &storage);
    let beyond = storage.read_verified(t.piece(0), 0..PIECE as u32 + 1);
    assert!(matches!(beyond, Err(StorageError::Invalid(_))), "{beyond:?}");
}

#[test]
fn nothing_of_a_piece_is_read_that_is_not_right_whoever_changed_it_and_when() {
    let t = Fixture::new(FILES);
    let (storage, _) = t.start();
    t.write_all(&storage);
    assert_reads(&t, &storage);
    let read = |piece| storage.read_verified(t.piece(piece), 0..10).unwrap();
    // The last byte of piece 1, which has its first ones in `a`.
    let file = File::options().write(true).open(t.file("b")).unwrap();
    file.write_all_at(b"!", PIECE as u64 - 101).unwrap();
    assert_eq!(read(1), None);
    assert!(read(0).is_some() && read(2).is_some());
    file.set_len(2 * PIECE as u64 - 1).unwrap();
    assert_eq!(read(3), None);
    fs::remove_file(t.file("a")).unwrap();
    storage.close_idle();
    assert_eq!(read(0), None);
    assert!(read(2).is_some());
}
