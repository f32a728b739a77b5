//! Files of the user: what is shared is only read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use ferri_engine::{AddTorrent, Check, FilePriority, Session, State};

use crate::support::{Payload, Seed, options, within};

const PIECE: usize = 32768;

fn payload() -> Payload {
    Payload::several(&[("a", 4 * PIECE + 100), ("b", 4 * PIECE), ("none", 0), ("c", 4 * PIECE)], PIECE)
}

/// Every file: path, bytes, time, inode.
fn look(folder: &Path) -> Vec<(String, Vec<u8>, SystemTime, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::metadata(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        found.push((name, fs::read(&path).unwrap(), meta.modified().unwrap(), meta.ino()));
    }
    found.sort();
    found
}

/// Serves what `change` made of the payload, beside a peer that has it whole.
async fn serve_changed(change: impl FnOnce(&Path), left: u32) {
    let payload = payload();
    let whole = Seed::start(&payload, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    payload.write(dir.path());
    let folder = dir.path().join("folder");
    change(&folder);
    let before = look(&folder);
    // The second time with a journal.
    for check in [Check::Full, Check::Journal] {
        let session = Session::start(options(&dir)).await.unwrap();
        let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path());
        add.seed_only = true;
        add.preallocate = true;
        add.check = check;
        add.peers = vec![whole.session.listen_addr()];
        let torrent = session.add(add).await.unwrap();
        within(torrent.wait_checked()).await;
        within(torrent.watch().wait_for(|status| status.state == State::Seeding)).await.unwrap();
        torrent.set_priorities(vec![FilePriority::High; 4]).await;
        torrent.pause().await;
        torrent.resume().await;
        within(torrent.watch().wait_for(|status| status.state == State::Seeding)).await.unwrap();
        torrent.add_peers(vec![whole.session.listen_addr()]).await;
        torrent.trackers().await;
        assert_eq!((torrent.status().pieces_done, torrent.status().downloaded), (left, 0));
        session.shutdown().await;
        assert!(look(&folder) == before, "only read");
    }
}

#[tokio::test]
async fn what_is_shared_is_never_changed_and_nothing_is_fetched_over_it() {
    let write = |name: &'static str, bytes: Vec<u8>| {
        move |folder: &Path| fs::write(folder.join(name), &bytes).unwrap()
    };
    serve_changed(|_| {}, 13).await;
    serve_changed(write("b", vec![7; 9 * PIECE]), 8).await;
    serve_changed(write("b", vec![7; 10]), 8).await;
    serve_changed(|folder| fs::remove_file(folder.join("b")).unwrap(), 8).await;
    serve_changed(write("none", b"mine".to_vec()), 13).await;
}
