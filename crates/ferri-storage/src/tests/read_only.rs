//! Payload that is only shared: whatever is asked for, nothing in the download folder changes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use super::*;

const FILES: &[Spec<'_>] = &[
    ("a", 3 * PIECE as u64 + 100, ""),
    ("sub/b", 2 * PIECE as u64, "x"),
    ("empty", 0, ""),
    ("link", 0, "l>a"),
    ("c", PIECE as u64, ""),
];

/// Every file: path, bytes, length, mode, time, inode.
type Look = Vec<(String, Vec<u8>, u64, u32, SystemTime, u64)>;

fn look(folder: &Path) -> Look {
    let seen = |name: String| {
        let path = folder.join(&name);
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        (name, bytes, meta.len(), meta.permissions().mode(), meta.modified().unwrap(), meta.ino())
    };
    tree(folder).into_iter().map(seen).collect()
}

/// The payload as the user has it.
fn lay(t: &Fixture) {
    std::fs::create_dir_all(t.file("sub")).unwrap();
    std::fs::write(t.file("a"), &t.data[..3 * PIECE + 100]).unwrap();
    std::fs::write(t.file("sub/b"), &t.data[3 * PIECE + 100..5 * PIECE + 100]).unwrap();
    std::fs::write(t.file("c"), &t.data[5 * PIECE + 100..]).unwrap();
}

/// All that a caller can ask for.
fn try_everything(t: &Fixture, storage: &Storage) {
    let count = t.info.layout().piece_count();
    for piece in 0..count {
        assert!(matches!(t.try_write(storage, piece), Err(StorageError::OnlyRead { .. })));
        let spilled = storage.spill(t.piece(piece), 0, &t.blocks(piece));
        assert!(matches!(spilled, Err(StorageError::OnlyRead { .. })));
        assert!(matches!(storage.commit_spilled(t.piece(piece)), Err(StorageError::OnlyRead { .. })));
        let _ = t.read(storage, piece);
    }
    t.good(storage);
    for wanted in [&[false; 5][..], &[true, false, true], &[]] {
        storage.set_wanted(wanted).unwrap();
        storage.finish().unwrap();
        storage.sync().unwrap();
        storage.probe().unwrap();
        storage.probe_after(&t.file("sub/b")).unwrap();
    }
    assert!(storage.is_finished());
    storage.close().unwrap();
}

#[track_caller]
fn untouched(what: &str, change: impl FnOnce(&Fixture)) {
    let t = Fixture::new(FILES);
    lay(&t);
    change(&t);
    let old = SystemTime::now() - Duration::from_secs(1_000);
    for file in ["a", "sub/b", "c"] {
        if let Ok(file) = std::fs::File::open(t.file(file)) {
            let _ = file.set_modified(old);
        }
    }
    let before = look(&t.root());
    // The second run has a journal of the first.
    for _ in 0..2 {
        for preallocate in [false, true] {
            let options = StorageOptions { read_only: true, preallocate, ..Fixture::options() };
            let (storage, _) = t.start_with(options, &[]);
            try_everything(&t, &storage);
        }
        assert_eq!(look(&t.root()), before, "{what}");
    }
}

#[test]
fn shared_files_are_left_alone_whatever_they_are_like() {
    let write =
        |path: &'static str, bytes: Vec<u8>| move |t: &Fixture| std::fs::write(t.file(path), &bytes).unwrap();
    untouched("whole", |_| {});
    untouched("longer", write("a", vec![7; 20 * PIECE]));
    untouched("shorter", write("a", vec![7; 10]));
    untouched("of the same length", write("sub/b", vec![7; 2 * PIECE]));
    untouched("without a byte", write("c", Vec::new()));
    untouched("one that should be empty", write("empty", b"mine".to_vec()));
    untouched("missing", |t| std::fs::remove_file(t.file("a")).unwrap());
    untouched("read-only", |t| {
        let mode = |path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::write(t.file("a"), b"short").unwrap();
        mode(t.file("a"), 0o444);
    });
    untouched("a re-tagged song", |t| {
        let mut song = t.data[..3 * PIECE + 100].to_vec();
        let end = song.len() - 128;
        song[end..].fill(b'T');
        std::fs::write(t.file("a"), song).unwrap();
    });
    untouched("the wrong folder", |t| {
        std::fs::remove_dir_all(t.file("")).unwrap();
        std::fs::write(t.root().join("other"), b"mine").unwrap();
    });
    untouched("a folder for a file", |t| {
        std::fs::remove_file(t.file("c")).unwrap();
        std::fs::create_dir(t.file("c")).unwrap();
    });
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let t = Fixture::new(FILES);
    let options = StorageOptions { read_only: true, ..Fixture::options() };
    let storage = t.storage_with(options, &[]);
    assert!(storage.resume().unwrap().have.none());
    assert!(matches!(storage.probe(), Err(StorageError::Missing { .. })));
    assert!(t.good(&storage).is_empty());
    storage.finish().unwrap();
    storage.close().unwrap();
    assert!(!t.root().exists());
}

#[test]
fn what_was_found_is_remembered_and_read() {
    let t = Fixture::new(FILES);
    lay(&t);
    let start = || t.start_with(StorageOptions { read_only: true, ..Fixture::options() }, &[]);
    let (storage, resumed) = start();
    assert_eq!(resumed.recheck.len(), 7);
    assert_eq!(t.good(&storage).len(), 7);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = start();
    assert!(resumed.have.is_full(), "{:?}", resumed.why);
    assert_eq!(t.read(&storage, 3).unwrap(), t.piece_bytes(3));
}
