//! Whose a file is, as the other torrents of a state folder tell.
//!
//! A journal names the files that are its torrent's, by inode and time of birth. Before a file that is there is taken over,
//! the journals of all other torrents are read for it: so nothing has to be kept in step with them, a torrent whose state
//! was removed has no say, and neither has one whose file was removed or replaced. This is asked about files alone that are
//! there, are not ours and lack something, which are few; each journal is read in one go, and what of it is damaged counts
//! for nothing, as for its own torrent.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ferri_metainfo::FileIndex;

use crate::atomic::{PRIVATE_FILE, stage};
use crate::disk::OpenFile;
use crate::error::StorageError;
use crate::guard::is_born;
use crate::journal::{Encoder, Identity, Origin, Owner, Record, Stamp, each_record, parse};
use crate::ledger::lock_torrent;
use crate::register::{self, Runs};
use crate::resume::{read_journal, set_aside};
use crate::storage::Storage;

/// What other torrents say of some inodes.
#[derive(Debug, Default)]
pub(crate) struct Neighbors {
    asked: BTreeSet<u64>,
    found: Vec<Neighbor>,
}

/// A file of another torrent.
#[derive(Debug)]
struct Neighbor {
    journal: PathBuf,
    identity: Identity,
    /// Of the torrent; empty in a journal of an earlier version.
    name: String,
    file: u32,
    owner: Owner,
    stamp: Option<Stamp>,
}

impl Neighbor {
    fn told(&self) -> String {
        told(&self.name, &self.identity.info_hash)
    }

    /// Whether this is the file that looks like `stamp`, was born then and lies on this device.
    fn is_it(&self, stamp: &Stamp, born: i64, device: u64) -> bool {
        if self.owner.inode != stamp.inode || !is_born(&self.owner, born) {
            return false;
        }
        if self.owner.born != 0 && born != 0 {
            return true;
        }
        // Where no births are known, numbers of inodes say little.
        let root = rustix::fs::stat(&self.identity.root);
        root.is_ok_and(|root| device_of(&root) == device) && self.stamp.as_ref() == Some(stamp)
    }
}

/// Files that were taken from other torrents and were not told yet: the first of each torrent, and how many more.
#[derive(Debug, Default)]
pub(crate) struct GivenUp {
    /// A torrent at work asks often, and mostly there is nothing.
    is_any: AtomicBool,
    files: Mutex<BTreeMap<String, (PathBuf, usize)>>,
}

impl GivenUp {
    fn add(&self, torrent: String, path: &Path) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.entry(torrent).and_modify(|(_, more)| *more += 1).or_insert_with(|| (path.to_path_buf(), 0));
        self.is_any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<String> {
        if !self.is_any.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let files = std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner));
        let sentence = |(torrent, (path, more)): (String, (PathBuf, usize))| {
            let path = path.display();
            match more {
                0 => format!("{path} was taken from torrent {torrent}, which lacks it from here on"),
                _ => {
                    format!(
                        "{path} and {more} more files were taken from torrent {torrent}, which lacks them from here on"
                    )
                }
            }
        };
        files.into_iter().map(sentence).collect()
    }
}

impl Storage {
    /// What the other torrents of the state folder say of these inodes.
    pub(crate) fn neighbors(&self, asked: BTreeSet<u64>) -> Neighbors {
        let mut found = Vec::new();
        let folder = self.state_folder().filter(|_| !asked.is_empty());
        let torrents = folder.as_deref().and_then(Path::parent);
        for entry in torrents.and_then(|torrents| torrents.read_dir().ok()).into_iter().flatten().flatten() {
            let path = entry.path();
            if Some(&path) != folder.as_ref() && is_torrent(&entry.file_name()) {
                found.extend(self.speak(&path.join("journal"), &asked));
            }
        }
        Neighbors { asked, found }
    }

    /// What one of them says.
    fn speak(&self, journal: &Path, asked: &BTreeSet<u64>) -> Vec<Neighbor> {
        let bytes = match read_journal(journal, self.hooks()) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "a journal that cannot be read does not keep its torrent's files from others");
                return Vec::new();
            }
        };
        let mut owners = BTreeMap::new();
        let mut stamps = BTreeMap::new();
        let mut name = String::new();
        let identity = each_record(&bytes, |record| match record {
            Record::Name(found) => name = found,
            Record::Owner { file, owner } => {
                let owner =
                    owner.filter(|owner| asked.contains(&owner.inode) && owner.origin != Origin::Theirs);
                match owner {
                    Some(owner) => drop(owners.insert(file, owner)),
                    None => drop(owners.remove(&file)),
                }
            }
            Record::Stamp { file, stamp } => match stamp.filter(|stamp| asked.contains(&stamp.inode)) {
                Some(stamp) => drop(stamps.insert(file, stamp)),
                None => drop(stamps.remove(&file)),
            },
            _ => {}
        });
        let Ok(identity) = identity else { return Vec::new() };
        let neighbor = |(file, owner)| Neighbor {
            journal: journal.to_path_buf(),
            identity: identity.clone(),
            name: name.clone(),
            file,
            owner,
            stamp: stamps.get(&file).copied(),
        };
        owners.into_iter().map(neighbor).collect()
    }

    /// Sees to it that a file is no other torrent's: it is not, or that torrent would write the same and runs beside us, or all
    /// of ours is there, or the user gives the file up.
    ///
    /// # Errors
    /// [`StorageError::Taken`]; those of the other torrent's journal.
    pub(crate) fn part_with_neighbors(
        &self,
        file: FileIndex,
        opened: &OpenFile,
        (stamp, born): (&Stamp, i64),
        known: &Neighbors,
    ) -> Result<(), StorageError> {
        let asked;
        let known = if known.asked.contains(&stamp.inode) {
            known
        } else {
            asked = self.neighbors(BTreeSet::from([stamp.inode]));
            &asked
        };
        let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::reading(opened.path(), errno))?;
        for neighbor in known.found.iter().filter(|other| other.is_it(stamp, born, device_of(&stat))) {
            let theirs = FileIndex(neighbor.file);
            let taken = || self.taken(opened.path(), neighbor.told());
            match register::runs(&neighbor.identity.info_hash, (theirs, self.info(), file)) {
                Runs::WithSameData => {}
                // What is whole is the same to both, and nothing of it will be changed.
                Runs::No if self.holds_all(file, stamp.size)? => {}
                Runs::No if self.options().overwrite => match self.disown_at(neighbor) {
                    Err(StorageError::Busy { .. }) => return Err(taken()),
                    disowned => {
                        disowned?;
                        self.given_up.add(neighbor.told(), opened.path());
                    }
                },
                Runs::WithOtherData | Runs::No => return Err(taken()),
            }
        }
        Ok(())
    }

    /// Takes a file from a torrent that does not run: its journal is no licence from here on. Done before it is ours, so that
    /// at no moment it is both's.
    fn disown_at(&self, neighbor: &Neighbor) -> Result<(), StorageError> {
        let (path, hooks) = (&neighbor.journal, self.hooks());
        let _lock = lock_torrent(path, &neighbor.identity)?;
        let Some(bytes) = read_journal(path, hooks)? else { return Ok(()) };
        let parsed = match parse(&bytes) {
            Ok(parsed) if !parsed.is_torn => parsed,
            // It cannot be gone on with, and shortening it would hide that from its torrent.
            _ => return set_aside(path, hooks).map(drop),
        };
        let mut state = parsed.state;
        let is_closed = state.closed;
        state.apply(&Record::Owner { file: neighbor.file, owner: None });
        // After a power cut it would be taken for one that its session made.
        state.claims.remove(&neighbor.file);
        state.closed = is_closed;
        let mut encoder = Encoder::begin(&parsed.identity);
        state.records().iter().for_each(|record| encoder.push(record));
        stage(path, &encoder.bytes, PRIVATE_FILE, hooks)?.put(hooks)
    }

    /// What was taken from other torrents since this was asked last, because the user gives it up
    /// ([`StorageOptions::overwrite`](crate::StorageOptions)): a sentence for each torrent.
    pub fn take_given_up(&self) -> Vec<String> {
        self.given_up.take()
    }
}

/// A torrent as its user may know it.
pub(crate) fn told(name: &str, info_hash: &[u8; 20]) -> String {
    let hash: String = info_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if name.is_empty() { hash } else { format!("{name:?} ({hash})") }
}

/// Whether a torrent's state may lie in a folder of this name.
fn is_torrent(name: &OsStr) -> bool {
    name.len() == 40 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

// The field has other types on other platforms.
#[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
fn device_of(stat: &rustix::fs::Stat) -> u64 {
    stat.st_dev as u64
}
