//! Every file of the state folder, cut at every byte and with bits flipped in every byte: the next start succeeds,
//! claims nothing that is not so, loses no piece that is on disk, and looks only at what the damage put in doubt.

use std::fs;

use super::*;

/// Some pieces in files of their own, some in the parts file, some not synced, some missing.
fn settled() -> Fixture {
    let p = PIECE as u64;
    let t = Fixture::new(&[("a", 3 * p + 100, ""), ("b", 300, ""), ("c", 3 * p - 400, ""), ("d", 2 * p, "")]);
    let memory = tempfile::tempdir_in("/dev/shm").ok();
    let t = Fixture { folder: memory.unwrap_or_else(|| tempfile::tempdir().unwrap()), ..t };
    let (storage, _) = t.start_wanting(&WANTED);
    t.write(&storage, SYNCED);
    storage.sync().unwrap();
    t.write(&storage, [WRITTEN]);
    drop(storage);
    t
}

const WANTED: [bool; 4] = [true, false, true, true];

/// On disk and synced.
const SYNCED: [u32; 3] = [0, 3, 6];

/// On disk and not synced: with the record of it the piece may be lost.
const WRITTEN: u32 = 4;

/// A start with this content in the state file; the files are put back afterwards.
fn check(t: &Fixture, name: &str, whole: &[u8], damaged: &[u8]) {
    // In place, so that only the content differs; and a change leaves its time.
    fs::write(t.state_file(name), damaged).unwrap();
    let (storage, resumed) = t.start_wanting(&WANTED);
    let told = || format!("{name}, {} of {} bytes: {resumed:?}", damaged.len(), whole.len());
    let mut had: Vec<u32> = resumed.have.iter_ones().collect();
    for &piece in &had {
        assert_eq!(t.read(&storage, piece).unwrap(), t.piece_bytes(piece), "{}", told());
    }
    for &piece in &resumed.recheck {
        if storage.check_piece(piece, &mut Vec::new()).unwrap() {
            had.push(piece.get());
        }
    }
    had.sort_unstable();
    let is_there = |piece: &u32| name != "parts" || *piece != 3;
    assert!(had.iter().all(|piece| *piece == WRITTEN || SYNCED.contains(piece)), "{}", told());
    assert!(SYNCED.iter().filter(|piece| is_there(piece)).all(|piece| had.contains(piece)), "{}", told());
    if name == "parts" {
        // Only what lies in it is in doubt, beside what was never synced.
        assert!(numbers(&resumed.recheck).iter().all(|piece| [3, WRITTEN].contains(piece)), "{}", told());
    }
    drop(storage);
}

/// Cuts at every byte and flips of every bit; of a long file the ends, and a bit in every sixty-first byte.
fn damages(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let places = (0..whole.len()).filter(|at| *at < 600 || whole.len() < *at + 600 || at % 61 == 0);
    places.flat_map(move |at| {
        let flipped = move |bit: u32| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1 << bit;
            bytes
        };
        let bits = if whole.len() < 2_000 { 0..8 } else { 3..5 };
        std::iter::once(whole[..at].to_vec()).chain(bits.map(flipped))
    })
}

#[test]
fn every_state_file_may_be_damaged_anywhere() {
    let t = settled();
    let folder = t.state_file("journal").parent().unwrap().to_path_buf();
    let names = ["journal", "parts"];
    assert_eq!(tree(&folder), names, "all there is");
    assert_eq!(
        tree(folder.parent().unwrap()).iter().filter(|name| !name.contains('/')).count(),
        1,
        "and the lock"
    );
    let keep: Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> = names
        .iter()
        .map(|name| folder.join(name))
        .map(|path| {
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), fs::read(path).unwrap(), time)
        })
        .collect();
    for name in names {
        let whole = fs::read(folder.join(name)).unwrap();
        for damaged in damages(&whole) {
            check(&t, name, &whole, &damaged);
            // As it was, whatever the start made of it: the parts file with its inode and time.
            for aside in tree(&folder).iter().filter(|name| !names.contains(&name.as_str())) {
                fs::remove_file(folder.join(aside)).unwrap();
            }
            for (path, bytes, time) in &keep {
                fs::write(path, bytes).unwrap();
                fs::File::options().write(true).open(path).unwrap().set_modified(*time).unwrap();
            }
        }
    }
}

#[test]
fn the_lock_file_may_hold_anything_or_be_gone() {
    let t = settled();
    let lock = t.state().join("torrents/lock");
    fs::write(&lock, b"something").unwrap();
    drop(t.start_wanting(&WANTED));
    fs::remove_file(&lock).unwrap();
    drop(t.start_wanting(&WANTED));
}

#[test]
fn what_is_no_file_in_the_journals_place_is_set_aside() {
    let t = settled();
    let journal = t.state_file("journal");
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    fs::write(journal.join("inside"), b"kept").unwrap();
    let (storage, resumed) = t.start_wanting(&WANTED);
    assert!(resumed.why[0].ends_with("it is not a regular file"), "{:?}", resumed.why);
    assert_eq!(fs::read(t.state_file("journal.aside-1").join("inside")).unwrap(), b"kept");
    assert!(SYNCED.iter().all(|piece| numbers(&resumed.recheck).contains(piece)));
    drop(storage);

    fs::remove_file(&journal).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &journal, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (_, resumed) = t.start_wanting(&WANTED);
    assert!(resumed.why[0].contains("journal.aside-2"), "a pipe is not waited for: {:?}", resumed.why);
}
