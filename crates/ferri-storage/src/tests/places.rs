//! Names that a file system cannot keep, and names that others gave.

use std::fs;
use std::path::Path;

use ferri_metainfo::FileIndex;
use ferri_metainfo::names::Style;
use rustix::io::Errno;

use super::*;
use crate::beneath::fake::{Fake, register};
use crate::{Alias, FaultPlan, Op};

const LEN: u64 = PIECE as u64 + 100;

fn bytes_of(t: &Fixture, file: u32) -> Vec<u8> {
    let range = t.info.layout().file_range(FileIndex(file));
    t.data[range.start as usize..range.end as usize].to_vec()
}

/// Every file as it should be, at a path beneath `t/`.
#[track_caller]
fn check_files(t: &Fixture, expected: &[(u32, &str)]) {
    for (file, path) in expected {
        assert!(fs::read(t.file(path)).unwrap() == bytes_of(t, *file), "file {file} at {path}");
    }
    assert_eq!(tree(&t.root().join("t")).iter().filter(|path| !path.ends_with('/')).count(), expected.len());
}

fn aliases(storage: &Storage) -> Vec<(u32, String, Alias)> {
    let places = storage.places();
    places.moved().map(|(file, path, alias)| (file.0, path.to_str().unwrap().to_owned(), alias)).collect()
}

#[test]
fn two_names_that_are_one_are_two_files_whichever_comes_first() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let t = Fixture::new(&[
            ("ReadMe.txt", LEN, ""),
            ("readme.txt", LEN, ""),
            ("D/x", 50, ""),
            ("d/X", 60, ""),
        ]);
        fs::create_dir(t.root()).unwrap();
        register(&t.root(), Fake::Folds);
        let (storage, _) = t.start();
        let pieces = t.info.layout().piece_count();
        t.write(&storage, order.into_iter().filter(|piece| *piece < pieces));
        storage.finish().unwrap();
        storage.close().unwrap();
        drop(storage);
        let names = tree(&t.root());
        let folder = if names.contains(&"t/D/".to_owned()) { "D" } else { "d" };
        let (x, other) = (format!("{folder}/x"), format!("{folder}/X.1"));
        check_files(&t, &[(0, "ReadMe.txt"), (1, "readme.1.txt"), (2, &x), (3, &other)]);
        // The next start finds the same, with and without a journal.
        let (storage, resumed) = t.start();
        assert!(resumed.have.is_full(), "{:?}", resumed.why);
        assert_eq!(t.good(&storage).len(), pieces as usize);
        drop(storage);
        fs::remove_dir_all(t.state()).unwrap();
        let (storage, resumed) = t.start();
        assert_eq!(resumed.recheck.len(), pieces as usize);
        assert_eq!(t.good(&storage).len(), pieces as usize);
        assert_eq!(aliases(&storage)[0].2, Alias::Styled(Style::Folded));
    }
}

#[test]
fn a_file_system_that_keeps_names_apart_is_left_alone() {
    let t = Fixture::new(&[("ReadMe", LEN, ""), ("readme", LEN, ""), ("a", 1, ""), ("A/b", 1, "")]);
    let (storage, _) = t.start();
    t.write_all(&storage);
    check_files(&t, &[(0, "ReadMe"), (1, "readme"), (2, "a"), (3, "A/b")]);
    assert_eq!(aliases(&storage), []);
}

#[test]
fn only_the_second_of_two_is_wanted_first() {
    let t = Fixture::new(&[("A", LEN, ""), ("a", LEN, "")]);
    fs::create_dir(t.root()).unwrap();
    register(&t.root(), Fake::Folds);
    let (storage, _) = t.start_wanting(&[false, true]);
    t.write(&storage, [1, 2]);
    storage.close().unwrap();
    drop(storage);
    check_files(&t, &[(1, "a.1")]);
    let (storage, _) = t.start();
    t.write(&storage, [0, 1]);
    storage.finish().unwrap();
    check_files(&t, &[(0, "A"), (1, "a.1")]);
}

#[test]
fn a_name_that_is_refused_gets_a_plainer_one() {
    let t = Fixture::new(&[("One: Why?.pdf", LEN, ""), ("plain", LEN, ""), ("a|b/c", 70, "")]);
    fs::create_dir(t.root()).unwrap();
    register(&t.root(), Fake::Refuses(&[':', '?', '|'], Errno::INVAL));
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.close().unwrap();
    drop(storage);
    check_files(&t, &[(0, "One_ Why_.pdf"), (1, "plain"), (2, "a_b/c")]);
    let (storage, resumed) = t.start();
    assert!(resumed.have.is_full());
    assert!(
        resumed.why[0].contains("One_ Why_.pdf: the file system does not take its name"),
        "{:?}",
        resumed.why
    );
    assert_eq!(t.good(&storage).len(), t.info.layout().piece_count() as usize);
}

#[test]
fn letters_and_lengths_that_are_refused_get_ascii_and_a_tag() {
    let t = Fixture::new(&[("日本.txt", LEN, "")]);
    fs::create_dir(t.root()).unwrap();
    register(&t.root(), Fake::Refuses(&['日'], Errno::ILSEQ));
    let (storage, _) = t.start();
    t.write_all(&storage);
    let found = &aliases(&storage)[0];
    assert_eq!(found.2, Alias::Styled(Style::Narrow));
    assert!(found.1.starts_with("t/__~") && found.1.ends_with(".txt") && t.root().join(&found.1).is_file());
}

#[test]
fn when_no_name_is_taken_the_error_names_the_file_and_the_cause() {
    let t = Fixture::new(&[("a", LEN, "")]);
    let plan = FaultPlan::new(|op, path, _| {
        (op == Op::Open && path.ends_with("t/a") && path.parent().unwrap().exists())
            .then_some(Fault::Errno(36))
    });
    fs::create_dir_all(t.root().join("t")).unwrap();
    let storage = t.start_with_faults(plan);
    let error = t.try_write(&storage, 0).unwrap_err();
    assert!(matches!(error, StorageError::Name { .. }) && !error.is_recoverable());
    assert!(error.to_string().contains("t/a: the file system does not take this name"), "{error}");
}

#[test]
fn a_hard_link_to_another_file_of_the_torrent_is_not_written_to() {
    let t = Fixture::new(&[("a", LEN, ""), ("b", LEN, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a"), b"").unwrap();
    fs::hard_link(t.file("a"), t.file("b")).unwrap();
    let (storage, _) = t.start();
    t.write(&storage, [0]);
    let error = t.try_write(&storage, 2).unwrap_err();
    assert!(matches!(&error, StorageError::SameFile { path } if path.ends_with("t/b")), "{error}");
}

/// Lays the files down at these paths beneath the download folder, checks all, and names those that moved.
#[track_caller]
fn check_found(specs: &[(&str, u64, &str)], laid: &[(u32, &str)], alias: Alias) {
    let t = Fixture::new(specs);
    for (file, path) in laid {
        let path = t.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes_of(&t, *file)).unwrap();
    }
    let before = tree(&t.root());
    let (storage, resumed) = t.start();
    assert_eq!(t.good(&storage).len(), t.info.layout().piece_count() as usize, "{specs:?} {:?}", resumed.why);
    let found = aliases(&storage);
    assert!(found.iter().all(|(.., found)| *found == alias), "{found:?}");
    assert!(!resumed.why.is_empty(), "it is said");
    assert_eq!(tree(&t.root()), before);
}

#[test]
fn equivalent_names_are_found_and_said() {
    let specs = [("Caf\u{e9}/\u{e9}t\u{e9}", LEN, ""), ("plain", 20, "")];
    check_found(&specs, &[(0, "t/Cafe\u{301}/e\u{301}te\u{301}"), (1, "t/plain")], Alias::Equivalent);
    let specs = [("Cafe\u{301}/x", LEN, ""), ("e\u{301}", 20, "")];
    check_found(&specs, &[(0, "t/Caf\u{e9}/x"), (1, "t/\u{e9}")], Alias::Equivalent);
}

#[test]
fn two_equivalent_names_of_one_torrent_stay_two() {
    let t = Fixture::new(&[("\u{e9}", LEN, ""), ("e\u{301}", LEN, "")]);
    let (storage, _) = t.start();
    t.write(&storage, [2]);
    drop(storage);
    let (storage, _) = t.start();
    assert_eq!(aliases(&storage), [], "what is there is the other one");
    t.write_all(&storage);
    check_files(&t, &[(0, "\u{e9}"), (1, "e\u{301}")]);
}

#[test]
fn what_other_clients_laid_down_is_found() {
    check_found(&[("X", LEN, ""), ("x", LEN, "")], &[(0, "t/X"), (1, "t/x.1")], Alias::Styled(Style::Folded));
    check_found(&[("a\\b", LEN, ""), ("c\u{202e}d", 9, "")], &[(0, "t/ab"), (1, "t/cd")], Alias::OtherClient);
    check_found(&[("a", LEN, ""), ("b", LEN, "")], &[(0, "t/a.!qB"), (1, "t/b.part")], Alias::Unfinished);
    // No folder for the torrent.
    check_found(&[("a", LEN, ""), ("s/b", LEN, "")], &[(0, "a"), (1, "s/b")], Alias::OtherClient);
}

#[test]
fn a_strangers_file_of_another_length_is_not_taken_for_ours() {
    let t = Fixture::new(&[("a:b", LEN, ""), ("é", LEN, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a_b"), vec![1; LEN as usize - 1]).unwrap();
    let (storage, _) = t.start();
    assert_eq!(aliases(&storage), []);
    t.write_all(&storage);
    assert_eq!(fs::read(t.file("a_b")).unwrap(), vec![1; LEN as usize - 1]);
}

#[test]
fn an_unfinished_file_of_another_client_is_finished_and_named() {
    let t = Fixture::new(&[("a", LEN, ""), ("b", LEN, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a.!qB"), &bytes_of(&t, 0)[..PIECE]).unwrap();
    let (storage, resumed) = t.start();
    assert_eq!(numbers(&resumed.recheck), [0]);
    assert_eq!(t.good(&storage), [0]);
    t.write(&storage, 1..t.info.layout().piece_count());
    assert!(!storage.is_finished());
    storage.finish().unwrap();
    storage.close().unwrap();
    assert!(storage.is_finished());
    check_files(&t, &[(0, "a"), (1, "b")]);
    drop(storage);
    let (_, resumed) = t.start();
    assert!(resumed.have.is_full() && resumed.why.is_empty(), "{:?}", resumed.why);
    assert!(!Path::new(&t.file("a.!qB")).exists());
}

#[test]
fn a_file_of_the_torrent_that_is_called_like_an_unfinished_one_is_itself() {
    for name in ["a.part", "a.!qB"] {
        let files = [("a", 3 * PIECE as u64, ""), (name, 2 * PIECE as u64, "")];
        let mut data = Fixture::new(&files).data;
        data.copy_within(..2 * PIECE, 3 * PIECE);
        let t = Fixture::with_data(&files, data);
        fs::create_dir_all(t.file("")).unwrap();
        fs::write(t.file(name), bytes_of(&t, 1)).unwrap();
        let (storage, _) = t.start();
        assert_eq!(aliases(&storage), []);
        storage.guard().unwrap();
        t.write(&storage, 0..3);
        storage.finish().unwrap();
        check_files(&t, &[(0, "a"), (1, name)]);
    }
}

#[test]
fn a_name_that_is_somebody_elses_meanwhile_is_told_and_not_taken() {
    let t = Fixture::new(&[("a", LEN, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    fs::write(t.file("a.part"), &bytes_of(&t, 0)[..PIECE]).unwrap();
    let (storage, _) = t.start();
    t.write_all(&storage);
    fs::write(t.file("a"), b"theirs").unwrap();
    let error = storage.finish().unwrap_err();
    assert!(
        matches!(&error, StorageError::NameTaken { path, whole } if *path == t.file("a") && *whole == t.file("a.part"))
    );
    assert!(error.is_in_the_way() && error.path() == Some(&*t.file("a")), "{error}");
    assert_eq!(fs::read(t.file("a")).unwrap(), b"theirs");
    assert!(fs::read(t.file("a.part")).unwrap() == bytes_of(&t, 0));
    fs::remove_file(t.file("a")).unwrap();
    storage.finish().unwrap();
    check_files(&t, &[(0, "a")]);
}

#[test]
fn what_only_has_the_name_of_an_unfinished_file_is_left_alone() {
    let files = [("a", LEN, ""), ("none of its own", 50, ""), ("b", 2 * LEN, "")];
    let t = Fixture::new(&files);
    fs::create_dir_all(t.file("")).unwrap();
    let before: Vec<_> = ["a.part", "a.!qB", "a.aria2", "none of its own.part", "b.part"]
        .into_iter()
        .map(|name| {
            // Also one that begins as the torrent's, but not with a piece.
            let bytes =
                [&bytes_of(&t, 0)[..9], &vec![b'M'; if name == "b.part" { PIECE * 2 } else { 30 }]].concat();
            fs::write(t.file(name), &bytes).unwrap();
            (name, bytes, fs::metadata(t.file(name)).unwrap().modified().unwrap())
        })
        .collect();
    let (storage, resumed) = t.start();
    assert_eq!((aliases(&storage), resumed.why), (vec![], vec![]));
    storage.guard().unwrap();
    t.write_all(&storage);
    storage.finish().unwrap();
    storage.close().unwrap();
    for (file, (name, ..)) in (0..).zip(files) {
        assert!(fs::read(t.file(name)).unwrap() == bytes_of(&t, file), "{name}");
    }
    for (name, bytes, modified) in before {
        assert_eq!(fs::read(t.file(name)).unwrap(), bytes, "{name}");
        assert_eq!(fs::metadata(t.file(name)).unwrap().modified().unwrap(), modified, "{name}");
    }
}

#[test]
fn a_small_file_that_is_unfinished_by_its_name_is_known_by_its_neighbours() {
    let t = Fixture::new(&[("a", LEN, ""), ("small", 50, ""), ("b", LEN, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    for (file, name) in [(0, "a"), (1, "small.part"), (2, "b.!qB")] {
        fs::write(t.file(name), bytes_of(&t, file)).unwrap();
    }
    let (storage, _) = t.start();
    let found: Vec<_> = aliases(&storage).into_iter().map(|(file, ..)| file).collect();
    assert_eq!(found, [1, 2]);
    assert_eq!(t.good(&storage).len(), 3);
    drop(storage);
    fs::write(t.file("small.part"), [b'M'; 50]).unwrap();
    let (storage, _) = t.start();
    assert_eq!(aliases(&storage).len(), 1);
}

#[test]
fn a_strangers_file_of_the_same_length_under_another_clients_name_is_not_taken_for_ours() {
    // As libtorrent calls it, and without a folder for the torrent.
    for (specs, stranger) in [
        (vec![("a\\b", LEN, ""), ("c", LEN, "")], vec!["t/ab"]),
        (vec![("a", LEN, ""), ("s/b", LEN, "")], vec!["a", "s/b"]),
    ] {
        let t = Fixture::new(&specs);
        for path in &stranger {
            let path = t.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'M'; LEN as usize]).unwrap();
        }
        let (storage, resumed) = t.start();
        assert_eq!((aliases(&storage), resumed.why), (vec![], vec![]));
        storage.guard().unwrap();
        t.write_all(&storage);
        storage.finish().unwrap();
        for path in &stranger {
            assert_eq!(fs::read(t.root().join(path)).unwrap(), vec![b'M'; LEN as usize]);
        }
    }
}

#[test]
fn an_unfinished_file_that_holds_a_piece_and_something_else_differs() {
    let t = Fixture::new(&[("a", 3 * PIECE as u64, "")]);
    fs::create_dir_all(t.file("")).unwrap();
    let mut mine = bytes_of(&t, 0);
    mine[..9].copy_from_slice(b"mine, all");
    fs::write(t.file("a.part"), &mine).unwrap();
    let (storage, _) = t.start();
    assert_eq!(aliases(&storage).len(), 1);
    assert_eq!(t.good(&storage), [1, 2]);
    let error = storage.guard().unwrap_err();
    assert!(error.to_string().contains("is there already and differs from the torrent's;"), "{error}");
    assert_eq!(fs::read(t.file("a.part")).unwrap(), mine);
}
