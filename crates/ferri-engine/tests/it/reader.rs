//! Files that are read while they are fetched.

use std::fs::{self, File};
use std::io::{ErrorKind, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ferri_engine::{
    AddTorrent, Check, Event, FilePriority, FileReader, ReadError, Refused, Session, State, Torrent,
};
use ferri_metainfo::{Bitfield, FileIndex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::{Payload, Seed, options, within};

const PIECE: usize = 32768;

/// A torrent that was just added, after `prepare` has been at its folder.
async fn start(
    payload: &Payload,
    prepare: impl FnOnce(&Path, &mut AddTorrent),
) -> (TempDir, Session, Torrent) {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
    prepare(dir.path(), &mut add);
    let torrent = session.add(add).await.unwrap();
    (dir, session, torrent)
}

async fn read(reader: &mut FileReader, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    within(reader.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// Why a read of the next byte fails.
async fn failure(reader: &mut FileReader) -> ReadError {
    let error = within(reader.read_u8()).await.unwrap_err();
    *error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("{error:?}"))
}

/// Bytes of one file that are not those of the torrent.
fn spoil(path: &Path, at: usize) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(b"somebody was here", at as u64).unwrap();
}

#[tokio::test]
async fn what_a_reader_needs_comes_before_everything_else() {
    let payload = Payload::single(64 * PIECE, PIECE);
    let data = &payload.files[0].1;
    let seed = Seed::start_with(&payload, &[], |_, add| add.limits.up = Some(1 << 20)).await;
    let (_dir, session, torrent) = start(&payload, |_, add| {
        add.peers = vec![seed.session.listen_addr()];
        // The last pieces would come last.
        add.sequential = true;
    })
    .await;
    let mut reader = within(torrent.reader(FileIndex(0))).await.unwrap();
    assert_eq!(reader.length(), data.len() as u64);
    reader.seek(SeekFrom::End(-(8 * PIECE as i64) - 5)).await.unwrap();
    assert_eq!(read(&mut reader, 8 * PIECE + 5).await, data[56 * PIECE - 5..]);
    let done = torrent.status().pieces_done;
    assert!(done < 50, "{done} of 64 pieces came before the last nine were there");
    // Then it is at the end, and goes back.
    assert_eq!(within(reader.read(&mut [0; 10])).await.unwrap(), 0);
    reader.rewind().await.unwrap();
    assert_eq!(read(&mut reader, data.len()).await, *data);
    within(torrent.wait_done()).await;
    session.shutdown().await;
}

#[tokio::test]
async fn several_read_at_once_and_what_one_no_longer_needs_is_left_to_the_others() {
    let payload = Payload::several(&[("a", 30 * PIECE - 7), ("b", 30 * PIECE)], PIECE);
    let seed = Seed::start_with(&payload, &[], |_, add| add.limits.up = Some(2 << 20)).await;
    let (_dir, session, torrent) =
        start(&payload, |_, add| add.peers = vec![seed.session.listen_addr()]).await;
    let mut readers = Vec::new();
    for (file, start) in [(0, 0), (0, 20 * PIECE + 1), (1, 3), (1, 29 * PIECE)] {
        let mut reader = within(torrent.reader(FileIndex(file))).await.unwrap();
        let expected = payload.files[file as usize].1[start..].to_vec();
        readers.push(tokio::spawn(async move {
            reader.seek(SeekFrom::Start(start as u64)).await.unwrap();
            assert!(read(&mut reader, expected.len()).await == expected, "{file} from {start}");
        }));
        // One that is dropped while it waits.
        let mut dropped = within(torrent.reader(FileIndex(file))).await.unwrap();
        let waited = tokio::time::timeout(std::time::Duration::ZERO, dropped.read_u8()).await;
        assert!(waited.is_err() || waited.is_ok_and(|byte| byte.is_ok()));
    }
    for reader in readers {
        within(reader).await.unwrap();
    }
    session.shutdown().await;
}

#[tokio::test]
async fn a_file_that_is_not_wanted_is_read_and_appears_nowhere() {
    let payload = Payload::several(&[("a", 10 * PIECE), ("b", 20 * PIECE - 9), ("c", 0)], PIECE);
    let seed = Seed::start(&payload, &[]).await;
    let wishes = vec![FilePriority::Normal, FilePriority::Skip, FilePriority::Normal];
    let (dir, session, torrent) = start(&payload, |_, add| {
        add.peers = vec![seed.session.listen_addr()];
        add.priorities = wishes.clone();
    })
    .await;
    let mut events = torrent.events();
    within(torrent.wait_done()).await;
    let mut status = torrent.watch();
    let mut reader = within(torrent.reader(FileIndex(1))).await.unwrap();
    assert_eq!(read(&mut reader, 20 * PIECE - 9).await, payload.files[1].1);
    assert_eq!(torrent.settings().await.unwrap().priorities, wishes);
    assert!(!dir.path().join("folder/b").exists(), "nobody wants it");
    drop(reader);
    // It is as complete as it was, and nobody hears of it twice.
    let is_as_before = |status: &ferri_engine::TorrentStatus| {
        status.state == State::Seeding
            && status.wanted == 10 * PIECE as u64
            && status.complete_since.is_some()
    };
    within(status.wait_for(is_as_before)).await.unwrap();
    within(torrent.stop()).await.unwrap();
    let events: Vec<_> = std::iter::from_fn(|| events.try_recv().unwrap()).collect();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Completed)).count(), 1, "{events:?}");
    session.shutdown().await;
}

#[tokio::test]
async fn a_reader_that_leaves_before_its_file_is_there_leaves_the_torrent_complete() {
    let payload = Payload::several(&[("a", 4 * PIECE), ("b", 20 * PIECE)], PIECE);
    // Nobody has the end of `b`.
    let seed = Seed::partial(&payload, 0..8).await;
    let (_dir, session, torrent) = start(&payload, |_, add| {
        add.peers = vec![seed.session.listen_addr()];
        add.priorities = vec![FilePriority::Normal, FilePriority::Skip];
    })
    .await;
    let mut events = torrent.events();
    within(torrent.wait_done()).await;
    let mut status = torrent.watch();
    let mut reader = within(torrent.reader(FileIndex(1))).await.unwrap();
    assert_eq!(read(&mut reader, 4 * PIECE).await, payload.files[1].1[..4 * PIECE]);
    assert_eq!(torrent.status().state, State::Downloading, "it fetches for the reader");
    drop(reader);
    within(status.wait_for(|status| status.state == State::Seeding)).await.unwrap();
    within(torrent.stop()).await.unwrap();
    let events: Vec<_> = std::iter::from_fn(|| events.try_recv().unwrap()).collect();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Completed)).count(), 1, "{events:?}");
    session.shutdown().await;
}

#[tokio::test]
async fn a_reader_of_a_torrent_that_stops_or_fetches_nothing_is_told_so() {
    let payload = Payload::single(4 * PIECE, PIECE);
    let (_dir, session, torrent) = start(&payload, |_, _| {}).await;
    let mut reader = within(torrent.reader(FileIndex(0))).await.unwrap();
    let waiting = tokio::spawn(async move { failure(&mut reader).await });
    within(torrent.stop()).await.unwrap();
    assert_eq!(within(waiting).await.unwrap(), ReadError::Stopped);
    assert_eq!(torrent.reader(FileIndex(0)).await.unwrap_err(), Refused::Stopped);
    session.shutdown().await;

    let (_dir, session, torrent) = start(&payload, |dir, add| {
        payload.write(dir);
        let mut have = Bitfield::new(4);
        have.set(2);
        (add.seed_only, add.check) = (true, Check::Trust(have));
    })
    .await;
    let mut reader = within(torrent.reader(FileIndex(0))).await.unwrap();
    assert_eq!(failure(&mut reader).await, ReadError::OnlyServes);
    reader.seek(SeekFrom::Start(2 * PIECE as u64)).await.unwrap();
    assert_eq!(read(&mut reader, PIECE).await, payload.files[0].1[2 * PIECE..3 * PIECE]);
    assert_eq!(failure(&mut reader).await, ReadError::OnlyServes);
    session.shutdown().await;
}

#[tokio::test]
async fn what_somebody_changed_on_disk_is_fetched_again_and_nobody_reads_it() {
    let payload = Payload::single(20 * PIECE, PIECE);
    let seed = Seed::partial(&payload, 0..10).await;
    let (dir, session, torrent) =
        start(&payload, |_, add| add.peers = vec![seed.session.listen_addr()]).await;
    within(torrent.watch().wait_for(|status| status.pieces_done == 10)).await.unwrap();
    spoil(&dir.path().join(payload.name), 3 * PIECE + 100);
    let mut reader = within(torrent.reader(FileIndex(0))).await.unwrap();
    assert!(read(&mut reader, 10 * PIECE).await == payload.files[0].1[..10 * PIECE]);
    session.shutdown().await;
}

#[tokio::test]
async fn what_somebody_changed_after_it_was_complete_is_not_read_and_the_rest_is() {
    let payload = Payload::single(20 * PIECE, PIECE);
    let seed = Seed::start(&payload, &[]).await;
    let (dir, session, torrent) =
        start(&payload, |_, add| add.peers = vec![seed.session.listen_addr()]).await;
    within(torrent.wait_done()).await;
    spoil(&dir.path().join(payload.name), 3 * PIECE + 100);
    let data = &payload.files[0].1;
    let mut reader = within(torrent.reader(FileIndex(0))).await.unwrap();
    assert!(read(&mut reader, 3 * PIECE).await == data[..3 * PIECE]);
    assert_eq!(failure(&mut reader).await, ReadError::Changed);
    reader.seek(SeekFrom::Start(4 * PIECE as u64)).await.unwrap();
    assert!(read(&mut reader, 16 * PIECE).await == data[4 * PIECE..]);
    let spoilt = fs::read(dir.path().join(payload.name)).unwrap();
    assert!(spoilt[3 * PIECE + 100..].starts_with(b"somebody was here"), "it is theirs");
    session.shutdown().await;
}

#[tokio::test]
async fn a_reader_moves_as_one_of_a_file_does() {
    let payload = Payload::several(&[("a", 3 * PIECE), ("b", 0)], PIECE);
    let (_dir, session, torrent) = start(&payload, |dir, add| {
        payload.write(dir);
        add.seed_only = true;
    })
    .await;
    let mut reader = within(torrent.reader(FileIndex(0))).await.unwrap().with_read_ahead(u64::MAX);
    let end = 3 * PIECE as u64;
    for (to, expected) in [
        (SeekFrom::Start(7), 7),
        (SeekFrom::Current(-7), 0),
        (SeekFrom::End(0), end),
        (SeekFrom::End(10), end + 10),
        (SeekFrom::Start(u64::MAX), u64::MAX),
    ] {
        assert_eq!(reader.seek(to).await.unwrap(), expected);
        assert_eq!(reader.position(), expected);
    }
    assert_eq!(within(reader.read(&mut [0; 10])).await.unwrap(), 0, "behind the end");
    assert_eq!(
        reader.seek(SeekFrom::End(-(end as i64) - 1)).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    reader.seek(SeekFrom::Start(PIECE as u64 - 1)).await.unwrap();
    assert_eq!(read(&mut reader, 2).await, payload.files[0].1[PIECE - 1..=PIECE]);
    let mut empty = within(torrent.reader(FileIndex(1))).await.unwrap();
    assert_eq!(within(empty.read(&mut [0; 10])).await.unwrap(), 0);
    assert_eq!(torrent.reader(FileIndex(2)).await.unwrap_err(), Refused::NoSuchFile { file: 2 });
    let mut readers = Vec::new();
    let refused = loop {
        match torrent.reader(FileIndex(0)).await {
            Ok(reader) => readers.push(reader),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused, readers.len()), (Refused::TooManyReaders, 62));
    readers.clear();
    drop(empty);
    within(async {
        while torrent.reader(FileIndex(0)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    session.shutdown().await;
}
