//! Claims of processes, as two ways to one state folder have them.
#![allow(clippy::unwrap_used)]
use std::sync::{Arc, RwLock};

use ferri_metainfo::Bitfield;
use ferri_metainfo::names::LocalPaths;

use super::*;
use crate::lock::TorrentLock;
use crate::places::Places;
use crate::tests::{Fixture, names};

/// Two ways to one state folder, which are two processes as far as locks can tell.
fn processes(folder: &Path) -> [PathBuf; 2] {
    std::fs::create_dir_all(folder.join("state/torrents")).unwrap();
    std::os::unix::fs::symlink("state", folder.join("other")).unwrap();
    [folder.join("state/torrents"), folder.join("other/torrents")]
}

/// What lacks all of its files.
fn lacking(t: &Fixture, id: u64, root: &str) -> Claim {
    let places = Places::new(LocalPaths::new(&t.info).unwrap(), None);
    let count = u32::try_from(t.info.layout().file_count()).unwrap();
    Claim {
        id,
        info: t.info.clone(),
        root: root.into(),
        places: Arc::new(RwLock::new(places)),
        files: Bitfield::full(count),
    }
}

fn hash_of(t: &Fixture) -> [u8; 20] {
    *t.info.info_hashes().wire().as_bytes()
}

#[test]
fn what_a_process_is_going_to_make_no_other_one_makes_while_the_torrent_runs() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = processes(folder.path());
    let t = Fixture::new(&[("a", 9, ""), ("sub/b", 9, "")]);
    let hooks = Hooks::default();
    // Words of no program.
    std::fs::create_dir_all(ours.join("claims/a folder")).unwrap();
    claim(&ours, &lacking(&t, 1_000, "/d"), &hooks).unwrap();
    let running = TorrentLock::take(&ours.join("lock"), &hash_of(&t)).unwrap();
    for (files, met) in [
        (&[("c", 5, ""), ("sub/c", 5, "")][..], None),
        (&[("c", 5, ""), ("sub/b", 5, "")], Some(1)),
        (&[("c", 5, ""), ("a/c", 5, "")], Some(1)),
        (&[("sub", 5, "")], Some(0)),
    ] {
        let other = Fixture::new(files);
        let found = claim(&theirs, &lacking(&other, 2_000, "/d"), &hooks).err();
        assert_eq!(found.as_ref().map(|found| found.file.0), met, "{files:?}");
        assert!(found.is_none_or(|found| found.name == "t" && found.info_hash == hash_of(&t)));
        claim(&theirs, &lacking(&other, 2_000, "/e"), &hooks).unwrap();
    }
    // The last word counts.
    let rival = Fixture::new(&[("a", 5, "")]);
    let mut less = lacking(&t, 1_000, "/d");
    less.files.clear(0);
    claim(&ours, &less, &hooks).unwrap();
    claim(&theirs, &lacking(&rival, 2_001, "/d"), &hooks).unwrap();
    leave(2_001);
    claim(&ours, &lacking(&t, 1_000, "/d"), &hooks).unwrap();
    claim(&theirs, &lacking(&rival, 2_002, "/d"), &hooks).unwrap_err();
    drop(running);
    claim(&theirs, &lacking(&rival, 2_002, "/d"), &hooks).unwrap();
    leave(1_000);
    leave(2_000);
    leave(2_002);
    assert_eq!(names(&ours.join("claims")), ["a folder", "lock"]);
}

#[test]
fn what_a_dead_process_left_or_somebody_damaged_keeps_nobody_away() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = processes(folder.path());
    let (t, hooks) = (Fixture::new(&[("a", 9, "")]), Hooks::default());
    let _running = TorrentLock::take(&ours.join("lock"), &hash_of(&t)).unwrap();
    claim(&ours, &lacking(&t, 3_000, "/d"), &hooks).unwrap();
    let left = ours.join("claims").join(&names(&ours.join("claims"))[0]);
    let bytes = std::fs::read(&left).unwrap();
    let rival = Fixture::new(&[("a", 5, "")]);
    assert_eq!(intact_claims(&[&bytes[..], &bytes, &bytes[..9]].concat()), 2);
    let beside = ours.join("claims/1-1");
    for length in 0..=bytes.len() {
        // Damaged, and of a process that lives.
        std::fs::write(&beside, &bytes[..length]).unwrap();
        let alive = File::options().write(true).open(&beside).unwrap();
        assert!(hold(&alive));
        std::fs::remove_file(&left).ok();
        let claimed = claim(&theirs, &lacking(&rival, 4_000, "/d"), &hooks);
        assert_eq!(claimed.is_err(), length == bytes.len(), "{length}");
        drop(alive);
    }
    claim(&theirs, &lacking(&rival, 4_000, "/d"), &hooks).unwrap();
    assert!(!beside.exists(), "nobody holds it");
    leave(3_000);
    leave(4_000);
}

#[test]
fn what_a_process_said_once_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = processes(folder.path());
    let (t, rival, hooks) = (Fixture::new(&[("a", 9, "")]), Fixture::new(&[("a", 5, "")]), Hooks::default());
    let _running = TorrentLock::take(&ours.join("lock"), &hash_of(&t)).unwrap();
    claim(&ours, &lacking(&t, 5_000, "/d"), &hooks).unwrap();
    claim(&theirs, &lacking(&rival, 6_000, "/d"), &hooks).unwrap_err();
    // The head could not be read again.
    let said = ours.join("claims").join(&names(&ours.join("claims"))[0]);
    let file = File::options().write(true).open(said).unwrap();
    file.write_all_at(&[0xff; 16], 0).unwrap();
    claim(&theirs, &lacking(&rival, 6_000, "/d"), &hooks).unwrap_err();
    claim(&theirs, &lacking(&rival, 6_000, "/e"), &hooks).unwrap();
    leave(5_000);
    leave(6_000);
}

#[test]
fn what_a_process_says_again_and_again_does_not_grow() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = processes(folder.path());
    let files: Vec<String> = (0..4_000).map(|file| format!("f{file}")).collect();
    let files: Vec<_> = files.iter().map(|name| (name.as_str(), 1, "")).collect();
    let (many, t, hooks) = (Fixture::new(&files), Fixture::new(&[("a", 9, "")]), Hooks::default());
    let rival = Fixture::new(&[("a", 5, "")]);
    let _running = TorrentLock::take(&ours.join("lock"), &hash_of(&t)).unwrap();
    claim(&ours, &lacking(&t, 7_000, "/d"), &hooks).unwrap();
    for _ in 0..200 {
        claim(&ours, &lacking(&many, 7_001, "/d"), &hooks).unwrap();
        let length: u64 = names(&ours.join("claims"))
            .iter()
            .map(|name| std::fs::metadata(ours.join("claims").join(name)).unwrap().len())
            .sum();
        assert!(length < 2 * COMPACT_LENGTH, "{length}");
    }
    // What others said before is still said.
    claim(&theirs, &lacking(&rival, 8_000, "/d"), &hooks).unwrap_err();
    for id in [7_000, 7_001, 8_000] {
        leave(id);
    }
    assert_eq!(names(&ours.join("claims")), ["lock"]);
}
