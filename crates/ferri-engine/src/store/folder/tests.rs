//! The list as files: what is put is there again, whatever is damaged beside it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::SystemTime;

use super::*;
use crate::options::AddTorrent;

fn metainfo(name: &str) -> Metainfo {
    let hash = "x".repeat(20);
    let torrent = format!("d4:infod6:lengthi9e4:name1:{name}12:piece lengthi16384e6:pieces20:{hash}ee");
    Metainfo::parse(torrent.as_bytes()).unwrap()
}

fn record(name: &str) -> Arc<Record> {
    let add = AddTorrent { sequential: true, ..AddTorrent::new(metainfo(name), "/srv") };
    Arc::new(Record::new(&add, SystemTime::UNIX_EPOCH))
}

fn names(listed: &Listed) -> Vec<InfoHash> {
    let mut names: Vec<_> = listed.torrents.iter().map(|kept| kept.record.info_hash()).collect();
    names.sort_unstable();
    names
}

fn sorted(records: &[Arc<Record>]) -> Vec<InfoHash> {
    let mut names: Vec<_> = records.iter().map(|record| record.info_hash()).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_is_put_is_there_again_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    assert!(FolderStore::open(dir.path()).is_err(), "one process at a time");
    let magnet = Record {
        source: TorrentSource::Magnet(Magnet::new(InfoHash::from([9; 20]).into())),
        ..(*record("m")).clone()
    };
    let records = [record("a"), record("b"), Arc::new(magnet)];
    store.put(&records).unwrap();
    let paused = Arc::new(Record { paused: true, ..(*records[0]).clone() });
    store.put(std::slice::from_ref(&paused)).unwrap();
    drop(store);

    let store = FolderStore::open(dir.path()).unwrap();
    let listed = store.list().unwrap();
    assert_eq!((names(&listed), listed.damaged.len()), (sorted(&records), 0));
    for kept in listed.torrents {
        assert_eq!(kept.record.paused, kept.record.info_hash() == paused.info_hash());
        assert!(kept.record.sequential);
    }
    store.remove(&[records[0].info_hash(), [8; 20].into()]).unwrap();
    assert_eq!(names(&store.list().unwrap()), sorted(&records[1..]));
}

#[test]
fn what_is_damaged_is_set_aside_and_told_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let records = ["a", "b", "c", "d", "e", "f"].map(record);
    store.put(&records).unwrap();
    let [a, b, c, d, e, _] = &records;
    let flip = |name: String| {
        let path = store.files.path(&name);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(record_name(a.info_hash()));
    flip(torrent_name(b.info_hash()));
    fs::remove_file(store.files.path(&torrent_name(c.info_hash()))).unwrap();
    // Another torrent's record under this name.
    let other = fs::read(store.files.path(&record_name(e.info_hash()))).unwrap();
    fs::write(store.files.path(&record_name(d.info_hash())), other).unwrap();
    // What a process left that was killed between the torrent and its record.
    fs::write(store.files.path(&torrent_name([7; 20].into())), b"d").unwrap();
    let listed = store.list().unwrap();
    assert_eq!(names(&listed), sorted(&records[4..]));
    assert_eq!(listed.damaged.len(), 4);
    for damaged in &listed.damaged {
        assert!(damaged.contains("set aside as") && damaged.contains(".record.aside-1"), "{damaged}");
    }
    // Once.
    assert!(store.list().unwrap().damaged.is_empty());
    assert!(!store.files.names().unwrap().contains(&torrent_name([7; 20].into())));
}

#[test]
fn names_of_files_are_kept_in_a_version_that_programs_without_them_leave_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let mut renamed = (*record("a")).clone();
    renamed.names.files = [(ferri_metainfo::FileIndex(0), "b".into())].into();
    store.put(&[Arc::new(renamed.clone()), record("c")]).unwrap();
    let listed = store.list().unwrap();
    let found = listed.torrents.iter().find(|kept| kept.record.info_hash() == renamed.info_hash()).unwrap();
    assert_eq!((&found.record.names, listed.torrents.len()), (&renamed.names, 2));
    let version = |name: InfoHash| {
        let bytes = fs::read(store.files.path(&record_name(name))).unwrap();
        matches!(unseal(MAGIC, VERSION, &bytes), Unsealed::Content(_))
    };
    assert!(!version(renamed.info_hash()) && version(record("c").info_hash()));
}

#[test]
fn what_a_newer_program_keeps_is_left_alone_and_told_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let record = record("a");
    store.put(std::slice::from_ref(&record)).unwrap();
    let name = record_name(record.info_hash());
    store.files.write([(name.as_str(), &seal(MAGIC, VERSION_WITH_NAMES + 1, b"de")[..])]).unwrap();
    for _ in 0..2 {
        let listed = store.list().unwrap();
        assert!(listed.torrents.is_empty() && listed.damaged[0].contains("version 3"), "{listed:?}");
    }
    assert!(store.files.names().unwrap().contains(&torrent_name(record.info_hash())));
}
