//! What lies where, with which length and mode, after pieces were written.

use std::io::IoSliceMut;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;

use super::*;
use crate::Progress;

fn several() -> Fixture {
    Fixture::new(&[
        ("a", 20_000, ""),
        ("sub/b", 5, ""),
        ("sub/empty", 0, ""),
        ("pad", 12_763, "p"),
        ("sub/deeper/c", 70_001, "x"),
    ])
}

#[test]
fn pieces_written_in_any_order_make_the_files() {
    let t = several();
    let (storage, resumed) = t.start();
    assert!(resumed.have.none() && resumed.recheck.is_empty() && resumed.why.is_empty());
    t.write(&storage, [6, 3, 0, 1, 2, 5, 4]);
    storage.finish().unwrap();
    storage.close().unwrap();
    assert_eq!(
        tree(&t.root()),
        ["t/", "t/a", "t/sub/", "t/sub/b", "t/sub/deeper/", "t/sub/deeper/c", "t/sub/empty"]
    );
    assert_eq!(std::fs::read(t.file("a")).unwrap(), &t.data[..20_000]);
    assert_eq!(std::fs::read(t.file("sub/b")).unwrap(), &t.data[20_000..20_005]);
    assert_eq!(std::fs::read(t.file("sub/empty")).unwrap(), b"");
    assert_eq!(std::fs::read(t.file("sub/deeper/c")).unwrap(), &t.data[32_768..]);
    for piece in 0..7 {
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece));
    }
}

#[test]
fn any_range_of_a_piece_reads_back_also_from_the_page_cache() {
    let t = several();
    let (storage, _) = t.start();
    t.write_all(&storage);
    for (begin, length) in [(0, PIECE), (3_615, 10), (3_616, 6), (3_619, 100), (PIECE - 1, 1), (5, 0)] {
        let mut buffer = vec![9; length];
        storage.read(t.piece(1), begin as u32, &mut buffer).unwrap();
        let expected = &t.piece_bytes(1)[begin..begin + length];
        assert_eq!(buffer, expected);
        let mut cached = vec![9; length];
        if storage.read_cached(t.piece(1), begin as u32, &mut cached) {
            assert_eq!(cached, expected);
        }
        let mut cached = vec![9; length];
        let (left, right) = cached.split_at_mut(length / 2);
        let is_one_file = begin + length <= 3_616;
        let mut parts = [IoSliceMut::new(left), IoSliceMut::new(right)];
        if storage.read_cached_together(t.piece(1), begin as u32, &mut parts) {
            assert!(is_one_file && cached == expected);
        }
    }
    assert!(matches!(storage.read(t.piece(1), 16_000, &mut [0; 1_000]), Err(StorageError::Invalid(_))));
    storage.close_idle();
    assert!(!storage.read_cached(t.piece(1), 0, &mut [0; 10]), "opening could block");
}

#[test]
fn a_file_has_its_length_from_its_first_piece_and_its_mode_from_the_umask() {
    let t = several();
    let (storage, _) = t.start();
    t.write(&storage, [3]);
    let metadata = std::fs::metadata(t.file("sub/deeper/c")).unwrap();
    assert_eq!(metadata.len(), 70_001);
    assert!(metadata.blocks() * 512 < 40_000, "sparse");
    assert_eq!(tree(&t.root()), ["t/", "t/sub/", "t/sub/deeper/", "t/sub/deeper/c"]);

    let reference = t.folder.path().join("reference");
    std::fs::write(&reference, b"").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&t.file("sub/deeper/c")), mode(&reference));
    t.write_all(&storage);
    storage.finish().unwrap();
    assert_eq!(mode(&t.file("sub/deeper/c")), mode(&reference) | (mode(&reference) & 0o444) >> 2);
    assert_eq!(mode(&t.file("a")), mode(&reference));
}

#[test]
fn preallocation_takes_the_room_at_once() {
    let t = several();
    let options = StorageOptions { preallocate: true, ..Fixture::options() };
    let (storage, _) = t.start_with(options, &[]);
    t.write(&storage, [3]);
    let metadata = std::fs::metadata(t.file("sub/deeper/c")).unwrap();
    assert_eq!(metadata.len(), 70_001);
    assert!(70_001 <= metadata.blocks() * 512);
    t.write_all(&storage);
    assert_eq!(t.good(&storage).len(), 7);
}

#[test]
fn links_of_the_torrent_come_last_and_stay_inside() {
    let t = Fixture::new(&[
        ("real/file", 100, ""),
        ("links/in", 0, "l>real/file"),
        ("links/folder", 0, "l>real"),
        ("links/out", 0, "l>../../../etc/passwd"),
    ]);
    let (storage, _) = t.start();
    t.write_all(&storage);
    assert_eq!(tree(&t.root()), ["t/", "t/real/", "t/real/file"]);
    storage.finish().unwrap();
    assert_eq!(std::fs::read_link(t.file("links/in")).unwrap(), Path::new("../real/file"));
    assert_eq!(std::fs::read_link(t.file("links/folder")).unwrap(), Path::new("../real"));
    assert!(!t.file("links/out").exists());
    storage.finish().unwrap();
    assert_eq!(t.good(&storage), [0]);
}

#[test]
fn a_file_that_was_too_long_gets_its_length_when_it_is_given_up() {
    let t = several();
    std::fs::create_dir_all(t.file("")).unwrap();
    std::fs::write(t.file("a"), vec![7; 50_000]).unwrap();
    let options = StorageOptions { overwrite: true, ..Fixture::options() };
    let (storage, resumed) = t.start_with(options, &[]);
    assert_eq!(numbers(&resumed.recheck), [0], "piece 1 needs other files too");
    t.write_all(&storage);
    assert_eq!(std::fs::read(t.file("a")).unwrap(), &t.data[..20_000]);
}

#[test]
fn the_top_can_have_another_name_on_disk() {
    let t = several();
    let options = StorageOptions { top: Some("other name".into()), ..Fixture::options() };
    let storage = t.storage_with(options, &[]);
    storage.resume().unwrap();
    t.write(&storage, [0]);
    assert_eq!(tree(&t.root()), ["other name/", "other name/a"]);
}

#[test]
fn a_piece_over_many_small_files_needs_few_descriptors() {
    let names: Vec<String> = (0..300).map(|n| format!("f{n}")).collect();
    let specs: Vec<Spec<'_>> = names.iter().map(|name| (name.as_str(), 60, "")).collect();
    let t = Fixture::new(&specs);
    let (storage, _) = t.start();
    t.write_all(&storage);
    assert!(storage.options().files.open_count() <= 8);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert!(resumed.have.is_full());
    assert_eq!(t.good(&storage), [0, 1]);
}

#[test]
fn a_full_check_finds_exactly_the_good_pieces_and_tells_how_far_it_is() {
    let files: &[Spec<'_>] = &[("a", 3 * PIECE as u64, ""), ("b", 10, ""), ("c", 40 * PIECE as u64 + 7, "")];
    let t = Fixture::new(files);
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.close_idle();
    let mut content = std::fs::read(t.file("c")).unwrap();
    content[10 * PIECE] ^= 1;
    content.truncate(30 * PIECE);
    std::fs::write(t.file("c"), content).unwrap();
    std::fs::remove_file(t.file("b")).unwrap();

    let seen = Mutex::new(Progress::default());
    let note = |now: Progress| {
        let mut seen = seen.lock().unwrap();
        if seen.checked <= now.checked {
            *seen = now;
        }
    };
    let pieces: Vec<_> = t.info.layout().pieces().collect();
    let found = check::run(&storage, &pieces, 3, &note).unwrap();
    let expected: Vec<u32> = (0..3).chain(4..13).chain(14..33).collect();
    assert_eq!(found.iter_ones().collect::<Vec<_>>(), expected);
    let total = pieces.len() as u32;
    assert_eq!(
        *seen.lock().unwrap(),
        Progress { checked: total, total, matched: 31, bytes: t.data.len() as u64 }
    );

    storage.halt();
    assert!(matches!(check::run(&storage, &pieces, 2, &|_| {}), Err(StorageError::Halted)));
}

#[test]
fn without_a_state_folder_a_payload_can_be_verified_and_nothing_is_written() {
    let t = several();
    let (storage, _) = t.start();
    t.write_all(&storage);
    drop(storage);
    std::fs::remove_dir_all(t.state()).unwrap();
    let place = Place { root: t.root(), state_dir: None };
    let paths = LocalPaths::new(&t.info).unwrap();
    let storage = Storage::new(Arc::clone(&t.info), paths, place, Fixture::options(), &[]).unwrap();
    let resumed = storage.resume().unwrap();
    assert_eq!(resumed.recheck.len(), 7);
    let before = tree(t.folder.path());
    assert_eq!(t.good(&storage), (0..7).collect::<Vec<_>>());
    storage.sync().unwrap();
    storage.close().unwrap();
    assert_eq!(tree(t.folder.path()), before);
}

#[test]
fn a_finished_download_is_told_from_one_that_lacks_its_last_touches() {
    let t = Fixture::new(&[("a", PIECE as u64, ""), ("empty", 0, ""), ("run", 10, "x"), ("link", 0, "l>a")]);
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.close().unwrap();
    drop(storage);
    let (storage, resumed) = t.start();
    assert!(resumed.have.is_full() && !storage.is_finished());
    storage.finish().unwrap();
    assert!(storage.is_finished());
    let set_mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(t.file("run"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let remove = |name| std::fs::remove_file(t.file(name)).unwrap();
    for undo in [&|| remove("empty"), &|| set_mode(0o644), &|| remove("link")] as [&dyn Fn(); 3] {
        undo();
        assert!(!storage.is_finished());
        storage.finish().unwrap();
        assert!(storage.is_finished());
    }
    storage.close().unwrap();
    drop(storage);
    std::fs::File::options().append(true).open(t.file("a")).unwrap().set_len(PIECE as u64 + 1).unwrap();
    let (storage, _) = t.start();
    assert!(!storage.is_finished(), "it has grown");
}

#[test]
fn with_an_unreadable_piece_all_that_the_same_cause_took_are_named() {
    let p = PIECE as u64;
    let t = Fixture::new(&[("a", 4 * p + 10, ""), ("b", 2 * p, "")]);
    let (storage, _) = t.start();
    t.write(&storage, [0, 1, 2, 4, 5]);
    let lost = |piece| numbers(&storage.lost_with(t.piece(piece)).unwrap());
    assert_eq!(lost(1), [1], "nothing is missing but what could not be read");
    std::fs::File::options().write(true).open(t.file("a")).unwrap().set_len(p + 100).unwrap();
    assert_eq!(lost(2), [1, 2, 4], "piece 3 was never there");
    assert_eq!(lost(4), [1, 2, 4]);
    std::fs::remove_file(t.file("b")).unwrap();
    assert_eq!(lost(4), [1, 2, 4, 5]);
}

#[test]
fn padding_that_is_not_zeros_is_told_and_not_called_done() {
    // The torrent's hash is right for bytes that are not what padding has to be.
    let odd = Fixture::new(&[("a", 100, ""), ("pad", PIECE as u64 - 100, ""), ("b", 5, "")]);
    let t = Fixture::with_data(
        &[("a", 100, ""), (".pad/16284", PIECE as u64 - 100, "p"), ("b", 5, "")],
        odd.data,
    );
    let (storage, _) = t.start();
    let error = t.try_write(&storage, 0).unwrap_err();
    assert!(matches!(error, StorageError::Padding { piece: 0, .. }) && !error.is_recoverable(), "{error}");
    assert!(!storage.on_disk().get(0));
    t.write(&storage, [1]);
    for (at, block) in t.blocks(0).iter().enumerate() {
        storage.spill(t.piece(0), at as u32 * 5_000, std::slice::from_ref(block)).unwrap();
    }
    assert!(matches!(storage.commit_spilled(t.piece(0)), Err(StorageError::Padding { .. })));
}
