//! What another process says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::record::{FRAME_LENGTH, Head, Paths};
use super::{Elsewhere, LENGTH_MAX};
use crate::lock::{is_held, is_held_elsewhere};

/// Torrents of one process that are heard of; more than it has memory for.
const TORRENTS_MAX: usize = 1 << 16;

/// What another process said, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Process {
    inode: u64,
    /// Bytes of whole records...
    read: u64,
    /// ...of so many that were there at the last look.
    seen: u64,
    /// The last word of each torrent, and where its hashes begin.
    torrents: HashMap<[u8; 20], (Head, u64)>,
    /// The same by base.
    by_base: BTreeMap<PathBuf, BTreeSet<[u8; 20]>>,
}

impl Process {
    /// Reads the heads of what was added. `false`: the process does not live, and its file is removed.
    pub(super) fn look(&mut self, path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            // It has just ended.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if !is_held(&file) {
            std::fs::remove_file(path)?;
            return Ok(false);
        }
        let found = file.metadata()?;
        let length = found.len().min(LENGTH_MAX);
        if self.inode != found.ino() || length < self.seen {
            *self = Self { inode: found.ino(), ..Self::default() };
        }
        if self.seen < length {
            let mut reader = BufReader::new(file);
            reader.seek(SeekFrom::Start(self.read))?;
            while self.read < length {
                if self.take_record(&mut reader, length)?.is_none() {
                    tracing::warn!(path = %path.display(), "what another process says of the files it is going to make is damaged");
                    break;
                }
            }
            self.seen = length;
        }
        Ok(true)
    }

    /// `None`: it is damaged, or not all of it is there.
    fn take_record(&mut self, reader: &mut BufReader<File>, length: u64) -> io::Result<Option<()>> {
        let mut frame = [0; FRAME_LENGTH];
        let mut head = Vec::new();
        let mut read = |buffer: &mut [u8]| match reader.read_exact(buffer) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| true),
        };
        if !read(&mut frame)? {
            return Ok(None);
        }
        let Some(head_length) = Head::length(frame) else { return Ok(None) };
        head.resize(head_length, 0);
        if !read(&mut head)? {
            return Ok(None);
        }
        let Some(head) = Head::parse(frame, &head) else { return Ok(None) };
        let hashes = self.read + (FRAME_LENGTH + head_length) as u64;
        let end = hashes + head.hashes_length();
        if length < end {
            return Ok(None);
        }
        // At most twice 2^32 times 8.
        reader.seek_relative(i64::try_from(head.hashes_length()).map_err(io::Error::other)?)?;
        self.read = end;
        self.put(head, hashes);
        Ok(Some(()))
    }

    /// The last word of each torrent counts.
    fn put(&mut self, head: Head, hashes: u64) {
        if let Some((before, _)) = self.torrents.remove(&head.info_hash)
            && let Some(torrents) = self.by_base.get_mut(&before.base)
        {
            torrents.remove(&before.info_hash);
            if torrents.is_empty() {
                self.by_base.remove(&before.base);
            }
        }
        if self.torrents.len() < TORRENTS_MAX {
            self.by_base.entry(head.base.clone()).or_default().insert(head.info_hash);
            self.torrents.insert(head.info_hash, (head, hashes));
        }
    }

    /// A torrent that runs, by the lock file at `lock`, and is going to make one of these files.
    pub(super) fn clash(&self, path: &Path, paths: &Paths, lock: &Path) -> io::Result<Option<Elsewhere>> {
        let base = &paths.base;
        let within = self.by_base.range(base.clone()..).take_while(|(other, _)| other.starts_with(base));
        let around = base.ancestors().skip(1).filter_map(|folder| self.by_base.get_key_value(folder));
        let met = within.chain(around).flat_map(|(_, torrents)| torrents);
        for info_hash in met {
            let Some((head, at)) = self.torrents.get(info_hash) else { continue };
            // Asking about a lock costs a call, reading the hashes more.
            if !is_held_elsewhere(lock, info_hash) {
                continue;
            }
            // It lies within the file's length, which has a bound.
            let mut bytes = vec![0; usize::try_from(head.hashes_length()).map_err(io::Error::other)?];
            File::open(path)?.read_exact_at(&mut bytes, *at)?;
            if let Some(hashes) = head.hashes(&bytes)
                && let Some(file) = paths.clash(&hashes)
            {
                return Ok(Some(Elsewhere { file, info_hash: *info_hash, name: head.name.clone() }));
            }
        }
        Ok(None)
    }
}
