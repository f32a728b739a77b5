//! Files are copied to another file system: holes stay holes, and a copy counts when it is synced and as long as it should be.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use ferri_metainfo::FileIndex;
use rustix::fs::{Mode, SeekFrom, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::plan::{Plan, Step, Way};
use super::{MoveProgress, Undo};
use crate::beneath::{Access, Root, birth};
use crate::disk::{self, OpenFile};
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::{Birth, MoveRecord, Stamp};
use crate::storage::Storage;
use crate::witness::Change;

/// Copied at once.
const COPY_LENGTH: u64 = 1 << 20;

/// Counts what was copied.
struct Meter<'p> {
    progress: MoveProgress,
    tell: &'p (dyn Fn(MoveProgress) + Sync),
}

impl Storage {
    /// Copies what goes to another file system. All copies are made before the first has a byte, so that what is in the way
    /// is found at once, and so that the journal knows them.
    pub(super) fn copy_all(
        &self,
        plan: &Plan<'_>,
        to: &Root,
        undo: &mut Undo,
        tell: &(dyn Fn(MoveProgress) + Sync),
    ) -> Result<BTreeMap<FileIndex, Birth>, StorageError> {
        let mut copies = BTreeMap::new();
        let steps = || plan.steps.iter().filter(|step| step.way == Way::Copy);
        for step in steps() {
            self.options().halt.check()?;
            let copy = self.create_copy(plan, step, to, undo)?;
            copies.insert(step.file, copy);
        }
        if copies.is_empty() {
            return Ok(copies);
        }
        let records = copies.iter().map(|(file, copy)| MoveRecord::Copy { file: file.0, copy: *copy });
        self.ledger.announce_move(records.collect())?;
        let progress = MoveProgress { done: 0, total: plan.bytes_to_copy() };
        let mut meter = Meter { progress, tell };
        (meter.tell)(meter.progress);
        for step in steps() {
            self.copy_file(plan, step, to, &mut meter)?;
        }
        Ok(copies)
    }

    fn create_copy(
        &self,
        plan: &Plan<'_>,
        step: &Step,
        to: &Root,
        undo: &mut Undo,
    ) -> Result<Birth, StorageError> {
        let path = plan.to(step.file);
        let full = to.full(&path);
        self.make_folder_of(&path, to, undo)?;
        let opened = self.hooks().call(Op::Open, &full, || to.open_file(&path, Access::New));
        let opened = match opened {
            Err(Errno::EXIST) => return Err(StorageError::Occupied { path: full }),
            opened => opened.map_err(|errno| to.blame(&path, StorageError::writing(&full, errno)))?,
        };
        self.hooks().tell(Change::FileCreated(&full));
        let found = rustix::fs::fstat(&opened).map_err(|errno| StorageError::reading(&full, errno))?;
        let copy = Birth { inode: Stamp::of(&found).inode, born: birth(opened.as_fd()) };
        undo.copies.push((path, copy));
        Ok(copy)
    }

    fn copy_file(
        &self,
        plan: &Plan<'_>,
        step: &Step,
        to: &Root,
        meter: &mut Meter<'_>,
    ) -> Result<(), StorageError> {
        let path = plan.to(step.file);
        let full = to.full(&path);
        let source = self.open_beneath(step.file, Access::Read)?;
        let opened = self.hooks().call(Op::Open, &full, || to.open_file(&path, Access::Write));
        let opened = opened.map_err(|errno| StorageError::writing(&full, errno))?;
        let copy = OpenFile::new(opened, full, true);
        let failed = |errno| StorageError::writing(copy.path(), errno);
        self.copy_bytes(step, &source, &copy, meter)?;
        self.hooks().call(Op::Allocate, copy.path(), || Ok(())).map_err(failed)?;
        rustix::fs::ftruncate(&copy, step.stamp.size).map_err(failed)?;
        let before = stat(&source)?;
        // A file system with one mode for all files, or none that sets times, holds the bytes all the same.
        let _ = rustix::fs::fchmod(&copy, Mode::from_raw_mode(before.st_mode & 0o777));
        let _ = rustix::fs::futimens(&copy, &times(&before));
        self.hooks().tell(Change::Resized { path: copy.path(), length: step.stamp.size });
        disk::sync_all(&copy, self.hooks()).map_err(failed)?;
        // A copy of what another program was writing to is worth nothing.
        if Stamp::of(&before) != step.stamp {
            return Err(StorageError::Changed { path: source.path().into() });
        }
        match Stamp::of(&stat(&copy)?).size == step.stamp.size {
            true => Ok(()),
            false => Err(StorageError::Truncated { path: copy.path().into(), expected: step.stamp.size }),
        }
    }

    /// Copies what is no hole.
    fn copy_bytes(
        &self,
        step: &Step,
        source: &OpenFile,
        copy: &OpenFile,
        meter: &mut Meter<'_>,
    ) -> Result<(), StorageError> {
        let size = step.stamp.size;
        let mut buffer = vec![0; usize::try_from(COPY_LENGTH.min(size)).unwrap_or(0)];
        let mut at = 0;
        while let Some(run) = next_data(source, at, size)? {
            at = run.start;
            while at < run.end {
                self.options().halt.check()?;
                let length = usize::try_from(COPY_LENGTH.min(run.end - at)).unwrap_or(0);
                let part = &mut buffer[..length];
                self.fill_from(source, at, part)?;
                disk::write_all(copy, &mut [std::io::IoSlice::new(part)], at, self.hooks())
                    .map_err(|errno| StorageError::writing(copy.path(), errno))?;
                at += length as u64;
                meter.count(length as u64);
            }
        }
        Ok(())
    }
}

impl Meter<'_> {
    fn count(&mut self, bytes: u64) {
        self.progress.done = self.progress.total.min(self.progress.done + bytes);
        (self.tell)(self.progress);
    }
}

/// The next bytes from `at` on that are no hole; everything where the file system does not say.
fn next_data(file: &OpenFile, at: u64, size: u64) -> Result<Option<std::ops::Range<u64>>, StorageError> {
    if size <= at {
        return Ok(None);
    }
    let seek = |from| rustix::fs::seek(file, from);
    match seek(SeekFrom::Data(at)) {
        // A hole up to the end.
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at..size)),
        Err(errno) => Err(StorageError::reading(file.path(), errno)),
        Ok(start) => Ok(Some(start..seek(SeekFrom::Hole(start)).unwrap_or(size).min(size))),
    }
}

fn stat(file: &OpenFile) -> Result<Stat, StorageError> {
    rustix::fs::fstat(file).map_err(|errno| StorageError::reading(file.path(), errno))
}

// The fields have other types on other platforms.
#[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
fn times(found: &Stat) -> Timestamps {
    let time = |seconds: i64, rest: i64| Timespec { tv_sec: seconds, tv_nsec: rest as _ };
    Timestamps {
        last_access: time(found.st_atime as i64, found.st_atime_nsec as i64),
        last_modification: time(found.st_mtime as i64, found.st_mtime_nsec as i64),
    }
}
