//! Whose a file is, as the other torrents of a state folder tell.
//!
//! A journal names the files that are its torrent's, by inode and time of birth. Before a file that is there is taken over,
//! the journals of all other torrents are read for it: so nothing has to be kept in step with them, a torrent whose state
//! was removed has no say, and neither has one whose file was removed or replaced. This is asked about files alone that are
//! there, are not ours and lack something, which are few; each journal is read in one go, and what of it is damaged counts
//! for nothing, as for its own torrent.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferri_metainfo::FileIndex;

use crate::atomic::{PRIVATE_FILE, stage};
use crate::beneath::{birth, identity};
use crate::disk::OpenFile;
use crate::error::StorageError;
use crate::guard::is_born;
use crate::journal::{Encoder, Identity, Origin, Owner, Record, Stamp, each_record, parse};
use crate::ledger::lock_torrent;
use crate::lock::{LockOwner, is_held};
use crate::register::{self, Runs};
use crate::remarks::Fate;
use crate::resume::{read_journal, set_aside};
use crate::stamp::Likeness;
use crate::storage::Storage;

/// What other torrents say of some inodes.
#[derive(Debug, Default)]
pub(crate) struct Neighbors {
    asked: BTreeSet<u64>,
    /// By inode.
    found: BTreeMap<u64, Vec<Neighbor>>,
}

/// Another torrent.
#[derive(Debug)]
struct Speaker {
    journal: PathBuf,
    identity: Identity,
    /// Of the torrent; empty in a journal of an earlier version.
    name: String,
}

/// A file of another torrent.
#[derive(Debug)]
struct Neighbor {
    torrent: Arc<Speaker>,
    file: u32,
    /// `None`: it only reads the file.
    owner: Option<Owner>,
    stamp: Option<Stamp>,
}

impl Neighbor {
    fn told(&self) -> String {
        told(&self.torrent.name, &self.torrent.identity.info_hash)
    }

    /// Whether this is the file that looks like `stamp`, was born then and lies on this device, and is the other torrent's to
    /// write to.
    fn owns(&self, stamp: &Stamp, born: i64, device: u64) -> bool {
        let Some(owner) = self.owner.filter(|owner| owner.inode == stamp.inode && is_born(owner, born))
        else {
            return false;
        };
        (owner.born != 0 && born != 0) || self.has_seen(stamp, device)
    }

    /// Whether it is the file that the other torrent looked at last. Numbers of inodes alone say little.
    fn has_seen(&self, stamp: &Stamp, device: u64) -> bool {
        let is_as_known = self.stamp.is_some_and(|known| stamp.compare(&known) != Likeness::Changed);
        let root = || rustix::fs::stat(&self.torrent.identity.root);
        is_as_known && root().is_ok_and(|root| device_of(&root) == device)
    }
}

impl Storage {
    /// What the other torrents of the state folder say of these inodes.
    pub(crate) fn neighbors(&self, asked: BTreeSet<u64>) -> Neighbors {
        let mut found: BTreeMap<u64, Vec<Neighbor>> = BTreeMap::new();
        let folder = self.state_folder().filter(|_| !asked.is_empty());
        let torrents = folder.as_deref().and_then(Path::parent);
        for entry in torrents.and_then(|torrents| torrents.read_dir().ok()).into_iter().flatten().flatten() {
            let path = entry.path();
            if Some(&path) != folder.as_ref() && is_torrent(&entry.file_name()) {
                for (inode, neighbor) in self.speak(&path.join("journal"), &asked) {
                    found.entry(inode).or_default().push(neighbor);
                }
            }
        }
        Neighbors { asked, found }
    }

    /// What one of them says, by inode.
    fn speak(&self, journal: &Path, asked: &BTreeSet<u64>) -> Vec<(u64, Neighbor)> {
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
        let mut theirs = BTreeSet::new();
        let mut name = String::new();
        let identity = each_record(&bytes, |record| match record {
            Record::Name(found) => name = found,
            Record::Owner { file, owner } => {
                let is_theirs = owner.is_some_and(|owner| owner.origin == Origin::Theirs);
                if is_theirs {
                    theirs.insert(file)
                } else {
                    theirs.remove(&file)
                };
                match owner.filter(|owner| asked.contains(&owner.inode) && !is_theirs) {
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
        let torrent = Arc::new(Speaker { journal: journal.to_path_buf(), identity, name });
        let neighbor = |file, owner, stamp| Neighbor { torrent: torrent.clone(), file, owner, stamp };
        let owned = owners.iter().map(|(&file, &owner): (&u32, &Owner)| {
            (owner.inode, neighbor(file, Some(owner), stamps.get(&file).copied()))
        });
        let is_only_read = |file: &u32| !owners.contains_key(file) && !theirs.contains(file);
        let read = stamps.iter().filter(|(file, _)| is_only_read(file));
        let read =
            read.map(|(&file, &stamp): (&u32, &Stamp)| (stamp.inode, neighbor(file, None, Some(stamp))));
        owned.chain(read).collect()
    }

    /// Who else has a file, by what the journals say that were asked for it and by what is open in this machine: as a user may
    /// know it.
    pub(crate) fn owner_beside_us(
        &self,
        file: FileIndex,
        opened: &OpenFile,
        known: &Neighbors,
    ) -> Result<Option<String>, StorageError> {
        let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::reading(opened.path(), errno))?;
        let (stamp, born, device) = (Stamp::of(&stat), birth(opened.as_fd()), device_of(&stat));
        let mut neighbors = known.found.get(&stamp.inode).into_iter().flatten();
        let has_it = |other: &&Neighbor| {
            other.owns(&stamp, born, device) || (other.owner.is_none() && other.has_seen(&stamp, device))
        };
        if let Some(neighbor) = neighbors.find(has_it) {
            return Ok(Some(format!("torrent {}", neighbor.told())));
        }
        if let Some(other) = register::other_writer((identity(&stat), born), self.id()) {
            let other = told(other.name(), other.info_hashes().wire().as_bytes());
            return Ok(Some(format!("torrent {other}")));
        }
        let is_elsewhere = !self.lock_prepared().get(file.0) && is_held(opened);
        Ok(is_elsewhere.then(|| "another program".to_owned()))
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
        let found = known.found.get(&stamp.inode).into_iter().flatten();
        let place = self.place();
        for neighbor in found.filter(|other| other.owns(stamp, born, device_of(&stat))) {
            let theirs = FileIndex(neighbor.file);
            let taken = || self.taken(opened.path(), neighbor.told());
            let info_hash = &neighbor.torrent.identity.info_hash;
            match register::runs(info_hash, place.state_dir.as_deref(), (theirs, self.info(), file)) {
                Runs::WithSameData => {}
                // What is whole is the same to both, and nothing of it will be changed.
                Runs::No if self.holds_all(file, stamp.size)? => {}
                Runs::No if self.options().overwrite => match self.disown_at(neighbor) {
                    Err(StorageError::Busy { .. }) => return Err(taken()),
                    disowned => {
                        disowned?;
                        self.remarks.add(Fate::Taken(neighbor.told()), opened.path());
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
        let (path, hooks) = (&neighbor.torrent.journal, self.hooks());
        let _lock = lock_torrent(path, &neighbor.torrent.identity, LockOwner::new())?;
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
