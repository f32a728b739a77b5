//! The last step of a download: files without bytes, permissions, final names, and then, when the whole tree stands, links.
//!
//! Each of these touches stands alone: what is in the way of one keeps no other from being put. Until all are put the download
//! is not done. What a file system does not have (modes, links) or only a file's owner may do is no failure: it is told once,
//! and the download is done.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use ferri_metainfo::{File, FileIndex};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use crate::beneath::{Access, Looks};
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::Stamp;
use crate::neighbors::Neighbors;
use crate::places::{Alias, is_refusal};
use crate::remarks::Fate;
use crate::storage::Storage;
use crate::witness::Change;

impl Storage {
    /// Puts what a download lacks when all its pieces are there: files without bytes, executable files, the names of files that
    /// another client called unfinished, and the symbolic links of the torrent (which point inside it and are not followed by
    /// anything here). What fails keeps nothing else from being put. Costs nothing where it was put before.
    ///
    /// Files that are [only read](crate::StorageOptions::read_only) have no last step.
    ///
    /// # Errors
    /// The first of these that could not be put: ask again when the cause is gone. [`StorageError::Halted`]: the rest was not
    /// tried, and is to be asked for by the next start too.
    pub fn finish(&self) -> Result<(), StorageError> {
        if self.options().read_only {
            return Ok(());
        }
        self.may_change(&self.placement())?;
        let wanted = self.wanted();
        let mut touches = Touches::default();
        let moved = self.decide_all(&wanted).and_then(|()| self.gather());
        let on_disk = moved.is_err().then(|| self.on_disk());
        touches.put(moved)?;
        let info = Arc::clone(self.info());
        let files = info.files();
        // Opened once: there may be a million files.
        let root = self.root(true)?;
        let mut looks = root.looks();
        let neighbors = self.neighbors_of_unfinished(&mut looks)?;
        for file in files.iter().filter(|file| wanted.get(file.index.0)) {
            if file.attributes.pad || file.attributes.symlink {
                continue;
            }
            self.options().halt.check()?;
            // What could not be moved into its file is not in it.
            let lacks = |on_disk| self.held.has(file.index) || !self.is_whole(file.index, on_disk);
            if !on_disk.as_ref().is_some_and(lacks) {
                touches.put(self.finish_file(&mut looks, &file, &neighbors))?;
            }
        }
        for file in files.iter().filter(|file| file.attributes.symlink && wanted.get(file.index.0)) {
            self.options().halt.check()?;
            touches.put(self.make_link(file.index))?;
        }
        touches.first.map_or(Ok(()), Err)
    }

    fn finish_file(
        &self,
        looks: &mut Looks<'_>,
        file: &File<'_>,
        neighbors: &Neighbors,
    ) -> Result<(), StorageError> {
        let found = self.look_in(looks, file.index)?;
        if let Some(found) = &found {
            self.refuse_odd(&self.local_path(file.index).unwrap_or_default(), found)?;
            if file.length != 0 {
                self.settle_change(file.index, Stamp::of(found))?;
            }
        }
        match found.map(|found| Stamp::of(&found).size) {
            Some(length) if length == file.length => {}
            None if file.length != 0 => {
                if self.ledger.has_stamp(file.index.0) {
                    return Err(self.gone(file.index));
                }
            }
            _ => {
                // It may have been as it should be once.
                self.forget_open(file.index.0);
                drop(self.prepare(file.index)?);
            }
        }
        self.take_name(file.index, neighbors)?;
        if file.attributes.executable { self.make_executable(file.index) } else { Ok(()) }
    }

    /// Whether [`Storage::finish`] has nothing to do, as far as can be told without an error. Asks the disk only about
    /// files without bytes, executable files and links; what the others look like is known from the start.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        if self.options().read_only {
            return true;
        }
        let wanted = self.wanted();
        if self.ledger.parted().iter().any(|(file, _)| wanted.get(*file)) {
            return false;
        }
        let info = Arc::clone(self.info());
        if self.places().moved().any(|(file, _, alias)| alias == Alias::Unfinished && wanted.get(file.0)) {
            return false;
        }
        let mut files = info.files().iter().filter(|file| wanted.get(file.index.0) && !file.attributes.pad);
        // Opened for the first that needs it: most torrents have none.
        let root = OnceCell::new();
        let mut looks = None;
        let mut stat = |file| {
            let root = root.get_or_init(|| self.root(false).ok()).as_ref()?;
            looks.get_or_insert_with(|| root.looks()).stat(&self.local_path(file)?).ok()?
        };
        files.all(|file| {
            let attributes = file.attributes;
            if self.options().halt.is_raised() {
                return false;
            }
            if attributes.symlink {
                self.paths().symlink_target(file.index).is_none() || stat(file.index).is_some()
            } else if attributes.executable || file.length == 0 {
                stat(file.index).is_some_and(|stat| {
                    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                    let is_whole = u64::try_from(stat.st_size) == Ok(file.length);
                    let is_runnable = !attributes.executable || runnable(stat.st_mode) == stat.st_mode;
                    is_file && is_whole && is_runnable
                })
            } else {
                self.ledger.stamp(file.index.0).is_some_and(|stamp| stamp.size == file.length)
            }
        })
    }

    /// What a person should know of files since this was asked last, and is no failure: a sentence for each kind. Files were
    /// taken from other torrents, because the user gives them up ([`StorageOptions::overwrite`](crate::StorageOptions)), or left
    /// under the name that they have there; a mode or a link is one that the file system does not have.
    pub fn take_remarks(&self) -> Vec<String> {
        self.remarks.take()
    }

    fn make_executable(&self, file: FileIndex) -> Result<(), StorageError> {
        let opened = self.open_beneath(file, Access::Read)?;
        let failed = |errno| StorageError::writing(opened.path(), errno);
        let before = rustix::fs::fstat(&opened).map_err(failed)?;
        let mode = before.st_mode & 0o7777;
        let new = runnable(mode);
        if new == mode {
            return Ok(());
        }
        let changed = self
            .hooks()
            .call(Op::SetMode, opened.path(), || rustix::fs::fchmod(&opened, Mode::from_raw_mode(new)));
        match changed {
            Ok(()) => {
                let after = rustix::fs::fstat(&opened).map_err(failed)?;
                self.ledger.own_touch(file.0, Stamp::of(&before), Stamp::of(&after))
            }
            // FAT and its kin have one mode for all files, and only its owner may change a file's: another try helps as little,
            // and the bytes are none the worse.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                self.remarks.add(Fate::NotExecutable, opened.path());
                Ok(())
            }
            Err(errno) => Err(failed(errno)),
        }
    }

    pub(crate) fn make_link(&self, file: FileIndex) -> Result<(), StorageError> {
        let (Some(path), Some(target)) = (self.local_path(file), self.paths().symlink_target(file)) else {
            return Ok(());
        };
        let root = self.root(true)?;
        let full = root.full(&path);
        match self.hooks().call(Op::CreateLink, &full, || root.create_symlink(&path, target)) {
            Ok(()) => {
                self.tell_folders(&path);
                self.hooks().tell(Change::LinkCreated(&full));
                Ok(())
            }
            // What is there already stays: our link from an earlier run, or something of the user's.
            Err(Errno::EXIST) => Ok(()),
            // The file system has no links (symlink(2) says PERM), or does not take this name; the name holds no bytes.
            Err(errno)
                if is_refusal(errno) || matches!(errno, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) =>
            {
                self.remarks.add(Fate::NoLink, &full);
                Ok(())
            }
            Err(errno) => Err(self.explain(root.blame(&path, StorageError::writing(&full, errno)))),
        }
    }

    /// What other torrents say of the files that another client calls unfinished: each journal is read once for all of them.
    fn neighbors_of_unfinished(&self, looks: &mut Looks<'_>) -> Result<Neighbors, StorageError> {
        let unfinished: Vec<FileIndex> = {
            let places = self.places();
            let moved = places.moved().filter(|(_, _, alias)| *alias == Alias::Unfinished);
            moved.map(|(file, ..)| file).collect()
        };
        let mut inodes = BTreeSet::new();
        for file in unfinished {
            self.options().halt.check()?;
            // What cannot be looked at is told when it is its turn.
            if let Ok(Some(found)) = self.look_in(looks, file) {
                inodes.insert(Stamp::of(&found).inode);
            }
        }
        Ok(self.neighbors(inodes))
    }

    /// A file that another client calls unfinished gets its own name when it is whole; not one that is another torrent's too,
    /// which has it under this name: what is whole is the same to both, and is shared as it lies.
    fn take_name(&self, file: FileIndex, neighbors: &Neighbors) -> Result<(), StorageError> {
        let (from, to) = {
            let places = self.places();
            if places.alias(file) != Some(Alias::Unfinished) {
                return Ok(());
            }
            (places.path(file).unwrap_or_default(), places.named(file).unwrap_or_default())
        };
        let opened = self.open_beneath(file, Access::Read)?;
        if let Some(by) = self.owner_beside_us(file, &opened, neighbors)? {
            self.remarks.add(Fate::Shared(by), opened.path());
            self.places_mut().place(file, from, Alias::OtherTorrent);
            return Ok(());
        }
        let failed = |errno| StorageError::reading(opened.path(), errno);
        let before = rustix::fs::fstat(&opened).map_err(failed)?;
        let root = self.root(false)?;
        let (full, new) = (root.full(&from), root.full(&to));
        let renamed = self.hooks().call(Op::Rename, &full, || root.rename_file(&from, &to));
        match renamed {
            Ok(()) => {}
            // The name has come to be another file's: the file is whole where it is.
            Err(Errno::EXIST) => return Err(StorageError::NameTaken { path: new, whole: full }),
            Err(errno) => return Err(self.explain(StorageError::writing(&full, errno))),
        }
        self.hooks().tell(Change::Renamed { from: &full, to: &new });
        self.places_mut().replace(file);
        self.forget_open(file.0);
        self.note_new_folders(file);
        let after = rustix::fs::fstat(&opened).map_err(failed)?;
        self.ledger.own_touch(file.0, Stamp::of(&before), Stamp::of(&after))
    }
}

/// What became of the last touches.
#[derive(Debug, Default)]
struct Touches {
    /// The first that could not be put.
    first: Option<StorageError>,
}

impl Touches {
    /// Books one. `Err`: no other can be put either.
    fn put(&mut self, touch: Result<(), StorageError>) -> Result<(), StorageError> {
        match touch {
            Err(error @ (StorageError::Halted | StorageError::Moved { .. })) => return Err(error),
            Err(error) => drop(self.first.get_or_insert(error)),
            Ok(()) => {}
        }
        Ok(())
    }
}

/// The mode with which all users who may read a file may run it. One that its owner may not write to was locked by its
/// user, and stays as it is.
fn runnable(mode: u32) -> u32 {
    let is_locked = mode & 0o200 == 0;
    if is_locked { mode } else { mode | (mode & 0o444) >> 2 }
}
