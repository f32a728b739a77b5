//! Reading many files one after the other for a check: a piece may lie over a million of them.
//!
//! A file that is read as a whole is opened in its folder, which is held open while its neighbours come, and closed at
//! once: it is not read again soon. Everything else goes through the store of open files.

use std::path::PathBuf;

use ferri_metainfo::FileIndex;
use rustix::io::Errno;

use crate::beneath::{Looks, Root};
use crate::error::StorageError;
use crate::journal::Stamp;
use crate::storage::{Location, Storage, Target};

/// Looks at files that are told to the ledger at once.
const STAMPS_AT_ONCE: usize = 4096;

/// Torrents with fewer files have each of them open.
const FILES_MIN: usize = 64;

/// A reader for one round of a check.
pub(crate) struct Reader<'s> {
    storage: &'s Storage,
    /// `None` where each operation goes its usual way.
    looks: Option<Looks<'s>>,
    /// What files looked like just before they were read.
    stamps: Vec<(u32, Stamp)>,
    /// To be used again.
    path: PathBuf,
}

impl Storage {
    /// The download folder for [`Storage::reader`], where it is of use.
    pub(crate) fn root_of_many(&self) -> Option<Root> {
        let is_of_use = FILES_MIN < self.layout().file_count() && self.faults().is_none();
        // What is wrong with it is told by those that need it.
        if is_of_use { self.root(false).ok() } else { None }
    }

    /// A reader for one round of a check.
    pub(crate) fn reader<'s>(&'s self, root: Option<&'s Root>) -> Reader<'s> {
        Reader { storage: self, looks: root.map(Root::looks), stamps: Vec::new(), path: PathBuf::new() }
    }
}

impl Reader<'_> {
    /// Before the next file.
    pub(crate) fn check_halt(&self) -> Result<(), StorageError> {
        self.storage.options().halt.check()
    }

    /// As [`Storage::read_for_check`].
    pub(crate) fn read(&mut self, target: Target, buffer: &mut [u8]) -> Result<bool, StorageError> {
        if let Location::File(file) = target.location
            && target.offset == 0
            && target.length as u64 == self.storage.layout().file_len(file)
            && let Some(is_there) = self.read_whole(file, buffer)
        {
            return Ok(is_there);
        }
        self.storage.read_for_check(target, buffer)
    }

    /// `None`: it has to be read in the usual way, which also tells what is in the way.
    fn read_whole(&mut self, file: FileIndex, buffer: &mut [u8]) -> Option<bool> {
        let looks = self.looks.as_mut()?;
        self.path.clear();
        self.path.push(self.storage.places().lies_at(file)?);
        let (opened, stat) = looks.open(&self.path).ok()?;
        if stat.st_nlink != 0 {
            self.stamps.push((file.0, Stamp::of(&stat)));
        }
        if STAMPS_AT_ONCE <= self.stamps.len() {
            self.end();
        }
        let mut done = 0;
        while done < buffer.len() {
            match rustix::io::pread(&opened, &mut buffer[done..], done as u64) {
                Ok(0) => return Some(false),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        Some(true)
    }

    /// What is found holds for the files as they were seen.
    pub(crate) fn end(&mut self) {
        self.storage.ledger.stamp_all_before_check(&self.stamps);
        self.stamps.clear();
    }
}
