//! Unwanted files, the parts file, and pieces too large for memory.

use super::*;

/// Piece 0 is a and b, 1 is b, 2 is b, c and d, 3 is d.
fn four() -> Fixture {
    Fixture::new(&[("a", 10_000, ""), ("b", 30_000, ""), ("c", 100, ""), ("d", 20_000, "")])
}

#[test]
fn unwanted_files_are_not_created_and_their_bytes_are_kept_and_read() {
    let t = four();
    let (storage, _) = t.start_wanting(&[true, false, false, true]);
    t.write(&storage, [0, 2, 3]);
    storage.finish().unwrap();
    assert_eq!(tree(&t.root()), ["t/", "t/a", "t/d"]);
    for piece in [0, 2, 3] {
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece));
    }
    assert_eq!(t.good(&storage), [0, 2, 3]);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start_wanting(&[true, false, false, true]);
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [0, 2, 3]);
    assert!(resumed.recheck.is_empty() && resumed.why.is_empty(), "{:?}", resumed.why);
    assert_eq!(t.read(&storage, 2).unwrap(), t.piece_bytes(2));
}

#[test]
fn a_file_that_becomes_wanted_gets_its_bytes_from_the_parts_file() {
    let t = four();
    let (storage, _) = t.start_wanting(&[true, false, false, true]);
    t.write(&storage, [0, 2, 3]);
    storage.sync().unwrap();
    storage.set_wanted(&[true, true, false, true]).unwrap();
    assert_eq!(t.read(&storage, 0).unwrap(), t.piece_bytes(0));
    assert_eq!(tree(&t.root()), ["t/", "t/a", "t/b", "t/d"]);
    let b = std::fs::read(t.file("b")).unwrap();
    assert_eq!(b[..6_384], t.data[10_000..16_384]);
    assert_eq!(b[22_768..], t.data[32_768..40_000]);
    t.write(&storage, [1]);
    storage.set_wanted(&[]).unwrap();
    assert_eq!(std::fs::read(t.file("b")).unwrap(), &t.data[10_000..40_000]);
    assert_eq!(std::fs::read(t.file("c")).unwrap(), &t.data[40_000..40_100]);
    storage.close().unwrap();
    drop(storage);
    std::fs::remove_file(t.state_file("parts")).unwrap();
    let (storage, resumed) = t.start();
    assert_eq!(resumed.have.count_ones(), 4, "nothing is needed from the parts file: {:?}", resumed.why);
    assert_eq!(t.good(&storage).len(), 4);
}

#[test]
fn a_file_no_longer_wanted_stays_and_gets_no_further_bytes() {
    let t = four();
    let (storage, _) = t.start();
    t.write(&storage, [0]);
    storage.set_wanted(&[true, false, true, true]).unwrap();
    assert_eq!(t.read(&storage, 0).unwrap(), t.piece_bytes(0), "what it has is read");
    let before = std::fs::read(t.file("b")).unwrap();
    t.write(&storage, [2]);
    assert_eq!(std::fs::read(t.file("b")).unwrap(), before);
    assert_eq!(t.read(&storage, 2).unwrap(), t.piece_bytes(2));
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start_wanting(&[true, false, true, true]);
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(t.good(&storage), [0, 2]);
    storage.set_wanted(&[]).unwrap();
    assert_eq!(t.good(&storage), [0, 2]);
    t.write(&storage, [1, 3]);
    assert_eq!(std::fs::read(t.file("b")).unwrap(), &t.data[10_000..40_000]);
}

#[test]
fn a_lost_parts_file_costs_only_the_pieces_that_lay_in_it() {
    let t = four();
    let (storage, _) = t.start_wanting(&[true, false, false, true]);
    t.write(&storage, [0, 2, 3]);
    storage.close().unwrap();
    drop(storage);
    std::fs::remove_file(t.state_file("parts")).unwrap();
    let (_, resumed) = t.start_wanting(&[true, false, false, true]);
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [3]);
    assert!(resumed.recheck.is_empty());
    assert_eq!(resumed.why, ["the parts file is missing"]);
}

#[test]
fn a_failed_move_changes_nothing() {
    let t = four();
    let (storage, _) = t.start_wanting(&[true, false, false, true]);
    t.write(&storage, [0, 2, 3]);
    std::fs::create_dir(t.file("b")).unwrap();
    assert!(matches!(storage.set_wanted(&[]), Err(StorageError::NotAFile { .. })));
    assert!(!storage.wanted().get(1));
    for piece in [0, 2, 3] {
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece));
    }
    std::fs::remove_dir(t.file("b")).unwrap();
    storage.set_wanted(&[]).unwrap();
    assert_eq!(t.good(&storage), [0, 2, 3]);
}

#[test]
fn a_piece_too_large_for_memory_waits_beside_the_target_until_it_is_verified() {
    let t = four();
    let (storage, _) = t.start_wanting(&[true, true, false, true]);
    let piece = t.piece(2);
    let bytes = Bytes::copy_from_slice(t.piece_bytes(2));
    storage.spill(piece, 8_000, &[bytes.slice(8_000..9_000), bytes.slice(9_000..)]).unwrap();
    storage.spill(piece, 0, &[Bytes::from(vec![1; 8_000])]).unwrap();
    assert!(!storage.commit_spilled(piece).unwrap(), "its first part is wrong");
    assert_eq!(tree(&t.root()), Vec::<String>::new());
    storage.spill(piece, 0, &[bytes.slice(..8_000)]).unwrap();
    assert!(storage.commit_spilled(piece).unwrap());
    assert_eq!(t.read(&storage, 2).unwrap(), t.piece_bytes(2));
    assert_eq!(tree(&t.root()), ["t/", "t/b", "t/d"]);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start_wanting(&[true, true, false, true]);
    assert_eq!(resumed.have.iter_ones().collect::<Vec<_>>(), [2]);
    assert_eq!(t.good(&storage), [2]);
    assert!(matches!(storage.spill(piece, 1, &[bytes]), Err(StorageError::Invalid(_))));
}

#[test]
fn what_somebody_did_to_the_parts_file_gets_into_no_file() {
    let p = PIECE as u64;
    let t = Fixture::new(&[("a", p + 50, ""), ("b", p, "")]);
    let (storage, _) = t.start_wanting(&[true, false]);
    t.write(&storage, [0, 1]);
    storage.sync().unwrap();
    let length = std::fs::metadata(t.state_file("parts")).unwrap().len() as usize;
    std::fs::write(t.state_file("parts"), vec![7; length]).unwrap();
    storage.set_wanted(&[]).unwrap();
    assert!(!t.file("b").exists());
    assert_eq!(numbers(&storage.doubtful()), [1]);
    assert!(!storage.check_piece(t.piece(1), &mut Vec::new()).unwrap());
    t.write(&storage, [1, 2]);
    assert_eq!(t.good(&storage), [0, 1, 2]);
    storage.close().unwrap();
    drop(storage);
    assert!(t.start().1.have.is_full());
}
