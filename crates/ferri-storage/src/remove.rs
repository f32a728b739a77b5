//! A torrent goes: what is remembered of it, and, if that is wanted, its data.
//!
//! With the data only files go that are the torrent's by its journal, as they were left: what the user put there, took over
//! or changed stays, and so does what another torrent of the state folder has. Then folders go that are empty. The journal
//! goes last, so that a removal that is interrupted can be repeated.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ferri_metainfo::FileIndex;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::atomic::sync_folder;
use crate::beneath::{Access, Root, birth};
use crate::error::StorageError;
use crate::guard::is_born;
use crate::journal::{Origin, Stamp};
use crate::neighbors::Neighbors;
use crate::stamp::Likeness;
use crate::storage::Storage;
use crate::witness::{Change, errno};

/// So many files that stay are named; the others are counted.
const LEFT_NAMED_MAX: usize = 100;

/// Whether the data of a torrent that is removed goes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// It stays.
    Keep,
    /// What is the torrent's is deleted.
    Delete,
}

/// What became of a torrent's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Files that were deleted.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The first hundred files that are still there although they were to be deleted, and why.
    pub left: Vec<(PathBuf, Left)>,
    /// How many more.
    pub more: usize,
}

/// Why a file was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Left {
    /// It was there before the torrent, or another program made it.
    #[error("it is not the torrent's: it was there before, or something else lies there")]
    NotOurs,
    /// It was complete, and another program changed it since.
    #[error("it was changed after it was complete")]
    Changed,
    /// The torrent only served it.
    #[error("the torrent only served it")]
    OnlyServed,
    /// Another torrent of the state folder has it too.
    #[error("{by} has it too")]
    Shared {
        /// Name and info hash of the other torrent, or another program.
        by: String,
    },
    /// It could not be deleted.
    #[error("{0}")]
    Failed(String),
}

impl Removed {
    fn leave(&mut self, path: PathBuf, why: Left) {
        if self.left.len() < LEFT_NAMED_MAX {
            self.left.push((path, why));
        } else {
            self.more += 1;
        }
    }
}

impl Storage {
    /// Removes what is remembered of the torrent from the state folder, and its data if that is wanted. For a torrent that was
    /// [closed](Storage::close) and does nothing any more.
    ///
    /// # Errors
    /// When the files could not be looked at, or the state folder not be changed. Then what is remembered of it stays, and it
    /// may be tried again.
    pub fn remove(&self, data: Data) -> Result<Removed, StorageError> {
        let removed = match data {
            Data::Keep => Removed::default(),
            Data::Delete => self.delete_files()?,
        };
        self.forget_state()?;
        Ok(removed)
    }

    fn delete_files(&self) -> Result<Removed, StorageError> {
        let mut removed = Removed::default();
        let root = match self.root(false) {
            // There is nothing, and there was nothing.
            Err(StorageError::Missing { .. }) => return Ok(removed),
            root => root?,
        };
        let inodes = self.layout().files().filter_map(|file| Some(self.ledger.stamp(file.0)?.inode));
        let neighbors = self.neighbors(inodes.collect());
        let mut folders = BTreeSet::new();
        for file in self.layout().files() {
            let Some(path) = self.local_path(file) else { continue };
            match self.why_left(&root, file, &path, &neighbors)? {
                Verdict::Absent => {}
                Verdict::Left(why) => removed.leave(root.full(&path), why),
                Verdict::Ours(bytes) => match root.remove_file(&path) {
                    Ok(()) | Err(Errno::NOENT) => {
                        self.hooks().tell(Change::Removed(&root.full(&path)));
                        (removed.files, removed.bytes) = (removed.files + 1, removed.bytes + bytes);
                        folders.extend(path.ancestors().skip(1).map(Path::to_path_buf));
                    }
                    Err(errno) => {
                        let failed = StorageError::writing(&root.full(&path), errno);
                        removed.leave(root.full(&path), Left::Failed(failed.to_string()));
                    }
                },
            }
        }
        // The deepest first. One that is not empty stays, and so does the download folder.
        for folder in folders.iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
            let _ = root.remove_folder(folder);
        }
        Ok(removed)
    }

    /// Whether a file may be deleted.
    fn why_left(
        &self,
        root: &Root,
        file: FileIndex,
        path: &Path,
        neighbors: &Neighbors,
    ) -> Result<Verdict, StorageError> {
        let failed = |errno| root.blame(path, StorageError::reading(&root.full(path), errno));
        let found = match root.stat(path) {
            // Something else lies where its folder was.
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(Verdict::Absent),
            found => found.map_err(failed)?,
        };
        let Some(found) = found else { return Ok(Verdict::Absent) };
        if self.options().read_only {
            return Ok(Verdict::Left(Left::OnlyServed));
        }
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink if self.is_our_link(root, file, path) => return Ok(Verdict::Ours(0)),
            FileType::RegularFile => {}
            _ => return Ok(Verdict::Left(Left::NotOurs)),
        }
        let opened = match self.open_beneath(file, Access::Read) {
            Ok(opened) => opened,
            // Whose it is cannot be told.
            Err(StorageError::Denied { .. }) => return Ok(Verdict::Left(Left::NotOurs)),
            Err(error) => return Err(error),
        };
        let (stamp, born) = (Stamp::of(&found), birth(opened.as_fd()));
        let owner =
            self.ledger.owner(file.0).filter(|owner| owner.inode == stamp.inode && is_born(owner, born));
        let verdict = match owner {
            None => Verdict::Left(Left::NotOurs),
            Some(owner) if owner.origin == Origin::Theirs => Verdict::Left(Left::Changed),
            Some(_)
                if self.ledger.change_since_complete(file.0, || Ok(Some(stamp)))? == Likeness::Changed =>
            {
                Verdict::Left(Left::Changed)
            }
            Some(_) => match self.owner_beside_us(file, &opened, neighbors)? {
                Some(by) => Verdict::Left(Left::Shared { by }),
                None => Verdict::Ours(stamp.size),
            },
        };
        Ok(verdict)
    }

    /// Whether this is the link that the last touches put there.
    pub(crate) fn is_our_link(&self, root: &Root, file: FileIndex, path: &Path) -> bool {
        let target = self.paths().symlink_target(file);
        target.is_some_and(|target| root.read_link(path).is_ok_and(|found| found == target.as_os_str()))
    }

    /// Removes the torrent's folder from the state folder, the journal last. What is not ours in it stays.
    fn forget_state(&self) -> Result<(), StorageError> {
        let Some(folder) = self.state_folder() else { return Ok(()) };
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| StorageError::writing_io(&folder, error))?,
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| is_state(name));
        names.sort_by_key(|name| name == "journal");
        for name in names {
            let path = folder.join(name);
            match std::fs::remove_file(&path).map_err(errno) {
                Ok(()) | Err(Errno::NOENT) => self.hooks().tell(Change::Removed(&path)),
                Err(errno) => return Err(StorageError::writing(&path, errno)),
            }
        }
        // Something else may lie in it.
        let _ = std::fs::remove_dir(&folder);
        match folder.parent() {
            Some(torrents) => sync_folder(torrents, self.hooks()),
            None => Ok(()),
        }
    }
}

/// What is to become of a file.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// There is none.
    Absent,
    /// It is deleted, with so many bytes.
    Ours(u64),
    Left(Left),
}

/// Whether a file of this name in a torrent's state folder is ours.
fn is_state(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_temporary = name.starts_with('.') && name.ends_with(".tmp");
    matches!(&*name, "journal" | "parts" | "totals" | "info" | "place")
        || name.starts_with("journal.aside-")
        || is_temporary
}
