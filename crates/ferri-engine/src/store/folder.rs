//! The list as files: two a torrent, what a person wants of it and the torrent itself, in a folder of their own.
//!
//! `INFO_HASH.record` is a sealed file (`ferri_storage::seal`) with what `codec` says; `INFO_HASH.torrent` is the torrent as
//! people exchange it. The torrent is written first and once; it counts when a record names it by its checksum.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ferri_bencode::Document;
use ferri_metainfo::limits::TORRENT_BYTES_MAX;
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{InfoHash, Metainfo};
use ferri_storage::{StateFiles, StorageError, Totals, Unsealed, crc32c, seal, try_lock_file, unseal};

use super::codec::{self, Described};
use super::record::Record;
use super::{Kept, Listed, Store, StoreError};
use crate::options::TorrentSource;

const MAGIC: [u8; 8] = *b"ferrirec";
const VERSION: u16 = 1;
/// The same with names of files. A program that does not know these leaves such a record alone, for it would look for the files
/// where they are not.
const VERSION_WITH_NAMES: u16 = 2;
/// A record is not longer: a million priorities, a thousand trackers in each of a thousand tiers are not meant.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Records that are written before the folder is synced: as much of them is in memory at once.
const AT_ONCE: usize = 64;

/// A [`Store`] of files, in the folder `list` of a state folder. For one process at a time.
#[derive(Debug)]
pub struct FolderStore {
    files: StateFiles,
    /// Keeps other processes away.
    _lock: File,
}

impl FolderStore {
    /// The list in this state folder, which is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or when another process has it.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let files = StateFiles::open(state_dir.join("list"))?;
        let path = files.path("lock");
        let lock = try_lock_file(&path).map_err(StoreError::new)?;
        let busy = || StoreError::new(format!("another process has {}", path.display()));
        Ok(Self { _lock: lock.ok_or_else(busy)?, files })
    }

    /// Puts a few records there: first the torrents that are not there yet, so that a power cut leaves no record without one.
    fn put_some(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        let (mut torrents, mut sealed) = (Vec::new(), Vec::new());
        for record in records {
            let info_hash = record.info_hash();
            let checksum = match &record.source {
                TorrentSource::Metainfo(metainfo) => {
                    let bytes = metainfo.encode().map_err(StoreError::new)?;
                    let (name, checksum) = (torrent_name(info_hash), crc32c(0, &bytes));
                    if self.files.read(&name, TORRENT_BYTES_MAX as u64)?.is_none_or(|found| found != bytes) {
                        torrents.push((name, bytes));
                    }
                    Some(checksum)
                }
                TorrentSource::Magnet(_) | TorrentSource::MagnetOnHold(_) => None,
            };
            let version = if record.names.files.is_empty() { VERSION } else { VERSION_WITH_NAMES };
            let bytes = seal(MAGIC, version, &codec::encode(record, checksum));
            if RECORD_BYTES_MAX < bytes.len() {
                return Err(StoreError::new(format!(
                    "what is to be kept of torrent {info_hash} is too long"
                )));
            }
            sealed.push((record_name(info_hash), bytes));
        }
        for files in [torrents, sealed] {
            self.files.write(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))?;
        }
        Ok(())
    }

    /// Reads the record of a torrent. `Err`: what is wrong with it.
    fn read(&self, info_hash: InfoHash) -> Result<Result<Record, Wrong>, StorageError> {
        let bytes = self.files.read(&record_name(info_hash), RECORD_BYTES_MAX as u64)?.unwrap_or_default();
        let unsealed = match unseal(MAGIC, VERSION, &bytes) {
            Unsealed::OtherVersion(VERSION_WITH_NAMES) => unseal(MAGIC, VERSION_WITH_NAMES, &bytes),
            unsealed => unsealed,
        };
        let content = match unsealed {
            Unsealed::Content(content) => content,
            Unsealed::OtherVersion(version) => return Ok(Err(Wrong::OtherVersion(version))),
            Unsealed::Damaged => return Ok(Err(Wrong::Damaged)),
        };
        let Ok(document) = Document::parse(content) else { return Ok(Err(Wrong::Damaged)) };
        let source = match codec::described(&document) {
            Some(Described::Magnet(link)) => Magnet::parse(link).ok().map(TorrentSource::Magnet),
            Some(Described::Torrent(checksum)) => {
                let torrent = self.files.read(&torrent_name(info_hash), TORRENT_BYTES_MAX as u64)?;
                let torrent = torrent.filter(|bytes| crc32c(0, bytes) == checksum);
                torrent.and_then(|bytes| Metainfo::parse(&bytes).ok()).map(TorrentSource::Metainfo)
            }
            None => None,
        };
        let record = source.and_then(|source| codec::decode(&document, source));
        Ok(record.filter(|record| record.info_hash() == info_hash).ok_or(Wrong::Damaged))
    }

    /// Puts what is damaged out of the way. What to say of it.
    fn set_aside(&self, info_hash: InfoHash) -> Result<String, StorageError> {
        let aside = self.files.set_aside(&record_name(info_hash))?;
        let torrent = torrent_name(info_hash);
        if self.files.read(&torrent, 0)?.is_some() {
            self.files.set_aside(&torrent)?;
        }
        Ok(format!(
            "what was kept of torrent {info_hash} is damaged and was set aside as {}; add the torrent again, its files are \
             as they were",
            aside.display()
        ))
    }
}

/// Why a record cannot be used.
enum Wrong {
    Damaged,
    OtherVersion(u16),
}

impl Store for FolderStore {
    fn list(&self) -> Result<Listed, StoreError> {
        let mut listed = Listed::default();
        let names = self.files.names()?;
        for info_hash in names.iter().filter_map(|name| name.strip_suffix(RECORD)?.parse().ok()) {
            match self.read(info_hash)? {
                Ok(record) => listed.torrents.push(Kept { record, totals: None }),
                Err(Wrong::Damaged) => listed.damaged.push(self.set_aside(info_hash)?),
                Err(Wrong::OtherVersion(version)) => listed.damaged.push(format!(
                    "what is kept of torrent {info_hash} is of version {version}, which this program does not know; it is \
                     left alone in {}",
                    self.files.path(&record_name(info_hash)).display()
                )),
            }
        }
        // Of a torrent that was not yet kept, or not any more, when the process died.
        let is_left_over = |name: &&String| {
            let hash = name.strip_suffix(TORRENT);
            hash.is_some_and(|hash| names.binary_search(&format!("{hash}{RECORD}")).is_err())
        };
        let left_over: Vec<_> = names.iter().filter(is_left_over).cloned().collect();
        if !left_over.is_empty() {
            self.files.remove(&left_over)?;
        }
        listed.torrents.sort_by_key(|kept| kept.record.added_at);
        Ok(listed)
    }

    fn put(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        records.chunks(AT_ONCE).try_for_each(|records| self.put_some(records))
    }

    fn remove(&self, torrents: &[InfoHash]) -> Result<(), StoreError> {
        // The record first: a torrent without one is nothing.
        let records: Vec<_> = torrents.iter().copied().map(record_name).collect();
        self.files.remove(&records)?;
        let torrents: Vec<_> = torrents.iter().copied().map(torrent_name).collect();
        Ok(self.files.remove(&torrents)?)
    }

    /// The state folder has them, beside each torrent's journal.
    fn put_totals(&self, _totals: &[(InfoHash, Totals)]) -> Result<(), StoreError> {
        Ok(())
    }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        Self::new(error)
    }
}

const RECORD: &str = ".record";
const TORRENT: &str = ".torrent";

fn record_name(info_hash: InfoHash) -> String {
    format!("{info_hash}{RECORD}")
}

fn torrent_name(info_hash: InfoHash) -> String {
    format!("{info_hash}{TORRENT}")
}

#[cfg(test)]
mod tests;
