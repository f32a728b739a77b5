//! Files that another program changes while they are served.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use super::*;

const FILES: &[Spec<'_>] = &[("a", 4 * PIECE as u64, ""), ("b", 4 * PIECE as u64, "")];

/// A complete torrent whose pieces were all served a moment ago.
fn serving() -> (Fixture, Storage) {
    let t = Fixture::new(FILES);
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.sync().unwrap();
    let old = SystemTime::now() - Duration::from_secs(1_000);
    // As a file is that was there before, and not one of this second.
    for name in ["a", "b"] {
        File::options().write(true).open(t.file(name)).unwrap().set_modified(old).unwrap();
    }
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start_with(StorageOptions { read_only: true, ..Fixture::options() }, &[]);
    assert_eq!(resumed.recheck.len(), 8, "their times were changed");
    assert_eq!(t.good(&storage).len(), 8);
    for piece in 0..8 {
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece));
        assert!(is_cached(&t, &storage, piece));
    }
    (t, storage)
}

fn is_cached(t: &Fixture, storage: &Storage, piece: u32) -> bool {
    let mut buffer = vec![0; PIECE];
    storage.read_cached(t.piece(piece), 0, &mut buffer)
        || storage.read_cached_together(t.piece(piece), 0, &mut [std::io::IoSliceMut::new(&mut buffer)])
}

/// After `change`, nothing wrong leaves: what is right is served after a check, which leaves `good` of the pieces of `a`.
#[track_caller]
fn changed(what: &str, change: impl FnOnce(&Path), good: &[u32]) {
    let (t, storage) = serving();
    change(&t.file("a"));
    storage.let_a_second_pass();
    for piece in 0..4 {
        assert!(!is_cached(&t, &storage, piece), "{what}: piece {piece} without a look");
    }
    for piece in 0..4 {
        // Each is checked when it is asked for, and none is read unchecked.
        match t.read(&storage, piece) {
            Ok(bytes) => {
                assert!(good.contains(&piece) && bytes == t.piece_bytes(piece), "{what}: piece {piece}");
            }
            Err(StorageError::Changed { path }) => {
                assert!(!good.contains(&piece) && path == t.file("a"), "{what}: piece {piece}");
            }
            Err(error) => panic!("{what}: piece {piece}: {error}"),
        }
    }
    assert_eq!(storage.take_changed(), [t.file("a")], "{what}");
    assert_eq!(t.read(&storage, 5).unwrap(), t.piece_bytes(5));
    let mut scratch = Vec::new();
    for piece in storage.doubtful() {
        let found = storage.check_piece(piece, &mut scratch).unwrap();
        assert_eq!(found, good.contains(&piece.get()), "{what}: piece {}", piece.get());
    }
    for &piece in good {
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece), "{what}");
        assert!(storage.is_changed_by_others(t.piece(piece)));
    }
    assert!(!storage.is_changed_by_others(t.piece(4)));
    // Requests for what is wrong may still be on their way.
    for piece in (0..4).filter(|piece| !good.contains(piece)) {
        assert!(t.read(&storage, piece).is_err() && !is_cached(&t, &storage, piece), "{what}: piece {piece}");
    }
    storage.let_a_second_pass();
    for &piece in good {
        // The same change is told once.
        assert!(storage.take_changed().is_empty(), "{what}");
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece), "{what}");
        assert!(is_cached(&t, &storage, piece), "{what}");
    }
    storage.close().unwrap();
}

/// Writes over a part of piece 2.
fn overwrite(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0; 100], 2 * PIECE as u64 + 50).unwrap();
}

#[test]
fn what_somebody_changed_is_not_served_before_it_was_looked_at() {
    changed("overwritten in place", overwrite, &[0, 1, 3]);
    let cut = |path: &Path| File::options().write(true).open(path).unwrap().set_len(PIECE as u64).unwrap();
    changed("cut", cut, &[0]);
    let zeroed = |path: &Path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(4 * PIECE as u64).unwrap();
    };
    changed("cut and extended", zeroed, &[]);
    let longer = |path: &Path| {
        File::options().write(true).open(path).unwrap().set_len(9 * PIECE as u64).unwrap();
    };
    changed("longer", longer, &[0, 1, 2, 3]);
    let replaced = |path: &Path| {
        fs::write(path.with_extension("new"), vec![9; 4 * PIECE]).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    changed("replaced", replaced, &[]);
    let touched = |path: &Path| {
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now()).unwrap();
    };
    changed("touched", touched, &[0, 1, 2, 3]);
}

#[test]
fn what_is_not_there_any_more_is_not_served_from_what_is_open() {
    let gone = |what: &str, change: &dyn Fn(&Path)| {
        let (t, storage) = serving();
        change(&t.file("a"));
        storage.let_a_second_pass();
        assert!(!is_cached(&t, &storage, 1), "{what}");
        let refused = t.read(&storage, 1).unwrap_err();
        assert!(matches!(refused, StorageError::Missing { .. }), "{what}: {refused:?}");
        assert_eq!(numbers(&storage.doubtful()), [0, 1, 2, 3], "{what}");
        // Also when nothing is open.
        storage.close_idle();
        let refused = t.read(&storage, 1).unwrap_err();
        assert!(matches!(refused, StorageError::Missing { .. }), "{what}: {refused:?}");
        assert_eq!(t.good(&storage), [4, 5, 6, 7], "{what}");
        assert_eq!(t.read(&storage, 4).unwrap(), t.piece_bytes(4), "{what}");
    };
    gone("removed", &|path| fs::remove_file(path).unwrap());
    gone("moved", &|path| fs::rename(path, path.with_extension("moved")).unwrap());
    gone("a link", &|path| {
        fs::rename(path, path.with_extension("moved")).unwrap();
        std::os::unix::fs::symlink(path.with_extension("moved"), path).unwrap();
    });
    gone("a folder", &|path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
}

#[test]
fn a_write_whose_time_was_set_back_is_found_by_the_inode() {
    let (t, storage) = serving();
    let time = fs::metadata(t.file("a")).unwrap().modified().unwrap();
    overwrite(&t.file("a"));
    File::options().write(true).open(t.file("a")).unwrap().set_modified(time).unwrap();
    storage.let_a_second_pass();
    // The first piece is right still, and is served once it was hashed.
    assert!(!is_cached(&t, &storage, 0));
    assert_eq!(t.read(&storage, 0).unwrap(), t.piece_bytes(0));
    assert!(is_cached(&t, &storage, 0));
    let refused = t.read(&storage, 2).unwrap_err();
    assert!(matches!(refused, StorageError::Changed { .. }), "{refused:?}");
    assert_eq!(numbers(&storage.doubtful()), [2]);
    assert!(storage.is_changed_by_others(t.piece(2)));
    assert!(!storage.check_piece(t.piece(2), &mut Vec::new()).unwrap());
}

#[test]
fn a_copy_with_the_old_time_is_hashed_piece_by_piece() {
    for is_right in [true, false] {
        let (t, storage) = serving();
        let time = fs::metadata(t.file("a")).unwrap().modified().unwrap();
        let copy = t.folder.path().join("copy");
        fs::copy(t.file("a"), &copy).unwrap();
        if !is_right {
            overwrite(&copy);
        }
        File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
        fs::rename(&copy, t.file("a")).unwrap();
        storage.let_a_second_pass();
        assert_eq!(t.read(&storage, 0).unwrap(), t.piece_bytes(0));
        assert_eq!(t.read(&storage, 2).is_ok(), is_right);
        assert_eq!(storage.is_changed_by_others(t.piece(2)), !is_right);
        assert_eq!(t.read(&storage, 0).unwrap(), t.piece_bytes(0));
        // While a piece is in doubt, others are read by who may wait.
        assert_eq!(is_cached(&t, &storage, 0), is_right, "once");
    }
}

#[test]
fn a_hard_link_for_a_backup_costs_one_hash_a_piece() {
    let (t, storage) = serving();
    fs::hard_link(t.file("a"), t.folder.path().join("backup")).unwrap();
    storage.let_a_second_pass();
    for piece in 0..8 {
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece));
        assert!(is_cached(&t, &storage, piece));
    }
    assert!(storage.doubtful().is_empty());
    assert!(!storage.is_changed_by_others(t.piece(0)));
}

#[test]
fn our_own_writes_are_nobody_elses_changes() {
    let t = Fixture::new(FILES);
    let (storage, _) = t.start();
    for piece in 0..8 {
        t.write(&storage, [piece]);
        storage.let_a_second_pass();
        for served in 0..=piece {
            assert_eq!(t.read(&storage, served).unwrap(), t.piece_bytes(served));
        }
        assert!(storage.doubtful().is_empty());
    }
    storage.finish().unwrap();
    storage.let_a_second_pass();
    assert_eq!(t.read(&storage, 0).unwrap(), t.piece_bytes(0));
}

#[test]
fn a_download_folder_that_is_gone_is_told_and_nobody_waits_for_himself() {
    let (t, storage) = serving();
    fs::remove_dir_all(t.root()).unwrap();
    storage.let_a_second_pass();
    let (said, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(t.read(&storage, 0).map_err(|error| error.to_string())));
    let answer = hears.recv_timeout(Duration::from_secs(60)).expect("an answer");
    assert!(answer.unwrap_err().contains("the download folder is missing or was replaced"));
}
