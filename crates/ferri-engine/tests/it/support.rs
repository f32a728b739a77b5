//! Payloads, torrents and sessions for the tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use ferri_bencode::Encoder;
use ferri_engine::{AddTorrent, Check, Session, SessionOptions, Torrent};
use ferri_metainfo::{Bitfield, Metainfo};
use ferri_wire::{Handshake, PeerId, Reserved};
use tempfile::TempDir;

/// Nothing here takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Files with contents that no two blocks share.
pub(crate) struct Payload {
    pub(crate) name: &'static str,
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    pub(crate) piece_length: usize,
}

impl Payload {
    pub(crate) fn single(length: usize, piece_length: usize) -> Self {
        Self { name: "payload.bin", files: vec![("", bytes(length, 1))], piece_length }
    }

    pub(crate) fn several(lengths: &[(&'static str, usize)], piece_length: usize) -> Self {
        let files = lengths.iter().enumerate();
        let files = files.map(|(n, (path, length))| (*path, bytes(*length, n as u64 + 1))).collect();
        Self { name: "folder", files, piece_length }
    }

    pub(crate) fn total(&self) -> usize {
        self.files.iter().map(|(_, data)| data.len()).sum()
    }

    pub(crate) fn metainfo(&self, trackers: &[String]) -> Metainfo {
        let all: Vec<u8> = self.files.iter().flat_map(|(_, data)| data.iter().copied()).collect();
        let mut encoder = Encoder::new();
        encoder.begin_dict();
        if let Some(first) = trackers.first() {
            encoder.key(b"announce").bytes(first.as_bytes());
        }
        if 1 < trackers.len() {
            encoder.key(b"announce-list").begin_list();
            for tracker in trackers {
                encoder.begin_list().bytes(tracker.as_bytes()).end();
            }
            encoder.end();
        }
        encoder.key(b"info").begin_dict();
        match &self.files[..] {
            [("", data)] => {
                encoder.key(b"length").int(data.len() as i64);
            }
            files => {
                encoder.key(b"files").begin_list();
                for (path, data) in files {
                    encoder.begin_dict().key(b"length").int(data.len() as i64).key(b"path").begin_list();
                    for component in path.split('/') {
                        encoder.bytes(component.as_bytes());
                    }
                    encoder.end().end();
                }
                encoder.end();
            }
        }
        encoder.key(b"name").bytes(self.name.as_bytes());
        encoder.key(b"piece length").int(self.piece_length as i64);
        let hashes: Vec<u8> = all.chunks(self.piece_length).flat_map(ferri_hash::sha1).collect();
        encoder.key(b"pieces").bytes(&hashes);
        encoder.end().end();
        Metainfo::parse(&encoder.into_bytes()).unwrap()
    }

    /// Writes the payload below `dir`.
    pub(crate) fn write(&self, dir: &Path) {
        for (path, data) in &self.files {
            let path = if path.is_empty() { dir.join(self.name) } else { dir.join(self.name).join(path) };
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, data).unwrap();
        }
    }

    /// Every file below `dir` is there and right.
    pub(crate) fn assert_at(&self, dir: &Path) {
        for (path, data) in &self.files {
            let path = if path.is_empty() { dir.join(self.name) } else { dir.join(self.name).join(path) };
            assert!(std::fs::read(&path).unwrap() == *data, "{} differs", path.display());
        }
    }
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A session on loopback with a state folder of its own below `dir`.
pub(crate) fn options(dir: &TempDir) -> SessionOptions {
    SessionOptions {
        bind: Some([127, 0, 0, 1].into()),
        listen_port: Some(0),
        ..SessionOptions::new(dir.path().join("state")).without_discovery()
    }
}

/// A session that serves the whole payload.
pub(crate) struct Seed {
    pub(crate) session: Session,
    pub(crate) torrent: Torrent,
    pub(crate) dir: TempDir,
}

impl Seed {
    pub(crate) async fn start(payload: &Payload, trackers: &[String]) -> Self {
        Self::start_with(payload, trackers, |_, _| {}).await
    }

    pub(crate) async fn start_with(
        payload: &Payload,
        trackers: &[String],
        change: impl FnOnce(&mut SessionOptions, &mut AddTorrent),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        payload.write(dir.path());
        let metainfo = payload.metainfo(trackers);
        let mut options = options(&dir);
        let mut add = AddTorrent::new(metainfo, dir.path());
        add.seed_only = true;
        change(&mut options, &mut add);
        let session = Session::start(options).await.unwrap();
        let torrent = session.add(add).await.unwrap();
        within(torrent.wait_checked()).await;
        Self { session, torrent, dir }
    }

    /// Serves only some pieces.
    pub(crate) async fn partial(payload: &Payload, pieces: impl Iterator<Item = u32>) -> Self {
        let piece_count = payload.metainfo(&[]).info().layout().piece_count();
        Self::start_with(payload, &[], |_, add| {
            let mut have = Bitfield::new(piece_count);
            for piece in pieces {
                have.set(piece);
            }
            add.check = Check::Trust(have);
        })
        .await
    }
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes far too long")
}

/// Files of ours that are open.
pub(crate) fn open_below(dir: &Path) -> usize {
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.ok()?.path().read_link().ok());
    links.filter(|link| link.starts_with(dir)).count()
}

/// Connects and shakes hands as an ordinary peer that speaks these extensions would.
pub(crate) fn shake(addr: SocketAddr, payload: &Payload, reserved: Reserved) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    let info_hash = payload.metainfo(&[]).info().info_hashes().wire();
    let peer_id = PeerId::new("XX", [0, 0, 0, 1], rand::random());
    let ours = Handshake { reserved, info_hash, peer_id };
    stream.write_all(&ours.encode()).unwrap();
    stream.read_exact(&mut [0; 68]).unwrap();
    stream
}

/// Memory that this process has for itself, bytes: code that is used for the first time does not count.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
