//! Tests of a whole [`Storage`] on real files, by concern; and the torrents they use.
#![allow(clippy::unwrap_used)]

mod changed;
mod damage;
mod errors;
mod faults;
mod files;
mod finish;
mod guard;
mod held;
mod hostile;
mod many;
mod mounts;
mod moves;
mod parts;
mod places;
mod pool;
mod read_only;
mod register;
mod relocate;
mod resume;
mod served;
mod store;
mod totals;
mod touched;
mod verified;
mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Info, PieceIndex};

use crate::{Fault, FaultPlan, FileCache, Place, Resumed, Storage, StorageError, StorageOptions, check};

/// Bytes in a piece of the test torrents.
pub(crate) const PIECE: usize = 16 << 10;

/// A file of a test torrent: path, length, `attr`.
type Spec<'a> = (&'a str, u64, &'a str);

/// A torrent with its payload, a download folder and a state folder.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) info: Arc<Info>,
    /// The payload in piece space, padding included.
    pub(crate) data: Vec<u8>,
    /// Bytes in a piece.
    piece: usize,
}

impl Fixture {
    /// A multi-file v1 torrent named `t`.
    pub(crate) fn new(files: &[Spec<'_>]) -> Self {
        Self::with_pieces(PIECE, files)
    }

    /// The same with pieces of this many bytes.
    pub(crate) fn with_pieces(piece: usize, files: &[Spec<'_>]) -> Self {
        let mut data = Vec::new();
        for (number, (_, length, attr)) in files.iter().enumerate() {
            let byte =
                |i: u64| if attr.contains('p') { 0 } else { (i * 31 + i / 251 + number as u64 * 7) as u8 };
            data.extend((0..*length).map(byte));
        }
        Self::of(piece, files, data)
    }

    /// The same with this payload, in piece space.
    pub(crate) fn with_data(files: &[Spec<'_>], data: Vec<u8>) -> Self {
        Self::of(PIECE, files, data)
    }

    fn of(piece: usize, files: &[Spec<'_>], data: Vec<u8>) -> Self {
        let info = Arc::new(Info::parse(&info_bytes(piece, files, &data)).unwrap());
        Self { folder: tempfile::tempdir().unwrap(), info, data, piece }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root().join("t").join(path)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn state_file(&self, name: &str) -> PathBuf {
        self.state().join("torrents").join(self.info.info_hashes().wire().to_string()).join(name)
    }

    pub(crate) fn place(&self) -> Place {
        Place { root: self.root(), state_dir: Some(self.state().into()) }
    }

    pub(crate) fn options() -> StorageOptions {
        StorageOptions { files: FileCache::new(8), ..StorageOptions::default() }
    }

    /// A storage that has not resumed.
    pub(crate) fn storage_with(&self, options: StorageOptions, wanted: &[bool]) -> Storage {
        let paths = LocalPaths::new(&self.info).unwrap();
        Storage::new(Arc::clone(&self.info), paths, self.place(), options, wanted).unwrap()
    }

    /// Starts as a program does.
    pub(crate) fn start(&self) -> (Storage, Resumed) {
        self.start_with(Self::options(), &[])
    }

    pub(crate) fn start_wanting(&self, wanted: &[bool]) -> (Storage, Resumed) {
        self.start_with(Self::options(), wanted)
    }

    pub(crate) fn start_with(&self, options: StorageOptions, wanted: &[bool]) -> (Storage, Resumed) {
        let storage = self.storage_with(options, wanted);
        let resumed = storage.resume().unwrap();
        (storage, resumed)
    }

    pub(crate) fn start_with_faults(&self, plan: FaultPlan) -> Storage {
        self.start_with(StorageOptions { faults: Some(plan), ..Self::options() }, &[]).0
    }

    pub(crate) fn piece(&self, piece: u32) -> PieceIndex {
        self.info.layout().piece(piece).unwrap()
    }

    pub(crate) fn piece_bytes(&self, piece: u32) -> &[u8] {
        let start = piece as usize * self.piece;
        &self.data[start..self.data.len().min(start + self.piece)]
    }

    /// The piece in slices of odd lengths.
    pub(crate) fn blocks(&self, piece: u32) -> Vec<Bytes> {
        self.piece_bytes(piece).chunks(5_000).map(Bytes::copy_from_slice).collect()
    }

    pub(crate) fn write(&self, storage: &Storage, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            self.try_write(storage, piece).unwrap();
        }
    }

    pub(crate) fn try_write(&self, storage: &Storage, piece: u32) -> Result<(), StorageError> {
        assert!(storage.hash_blocks(self.piece(piece), &self.blocks(piece)));
        storage.write_piece(self.piece(piece), &self.blocks(piece))
    }

    pub(crate) fn write_all(&self, storage: &Storage) {
        self.write(storage, 0..self.info.layout().piece_count());
    }

    pub(crate) fn read(&self, storage: &Storage, piece: u32) -> Result<Vec<u8>, StorageError> {
        let mut buffer = vec![1; self.piece_bytes(piece).len()];
        storage.read(self.piece(piece), 0, &mut buffer).map(|()| buffer)
    }

    /// Every piece, as a full check sees it.
    pub(crate) fn good(&self, storage: &Storage) -> Vec<u32> {
        let pieces: Vec<_> = self.info.layout().pieces().collect();
        let found = check::run(storage, &pieces, 2, &|_| {}).unwrap();
        found.iter_ones().collect()
    }
}

fn info_bytes(piece: usize, files: &[Spec<'_>], data: &[u8]) -> Vec<u8> {
    let mut encoder = ferri_bencode::Encoder::new();
    encoder.begin_dict();
    encoder.key(b"files");
    encoder.begin_list();
    for (path, length, attr) in files {
        encoder.begin_dict();
        let (attr, target) = attr.split_once('>').unwrap_or((attr, ""));
        if !attr.is_empty() {
            encoder.key(b"attr");
            encoder.bytes(attr.as_bytes());
        }
        encoder.key(b"length");
        encoder.int(*length as i64);
        for (key, path) in [("path", *path), ("symlink path", target)] {
            if !path.is_empty() {
                encoder.key(key.as_bytes());
                encoder.begin_list();
                path.split('/').for_each(|part| {
                    encoder.bytes(part.as_bytes());
                });
                encoder.end();
            }
        }
        encoder.end();
    }
    encoder.end();
    encoder.key(b"name");
    encoder.bytes(b"t");
    encoder.key(b"piece length");
    encoder.int(piece as i64);
    encoder.key(b"pieces");
    encoder.bytes(&data.chunks(piece).flat_map(ferri_hash::sha1).collect::<Vec<_>>());
    // No two tests have one torrent: which ones run is known to the whole process.
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    encoder.key(b"test");
    encoder.int(COUNTER.fetch_add(1, Ordering::Relaxed) as i64);
    encoder.end();
    encoder.into_bytes()
}

/// Every path under a folder, relative, sorted; folders end with `/`.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let mut name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                name.push('/');
            }
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Numbers of pieces.
pub(crate) fn numbers(pieces: &[PieceIndex]) -> Vec<u32> {
    pieces.iter().map(|piece| piece.get()).collect()
}

/// Names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
