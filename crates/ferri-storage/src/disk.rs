//! Positioned reads and writes of whole slices, and the bounded cache of open files.
//!
//! The loops here hide what the kernel may do (short counts, `EINTR`, `IOV_MAX`), so that everything above deals in
//! "all of it" or an error. Nothing here knows torrents.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::{Errno, ReadWriteFlags};

use crate::error::StorageError;
use crate::faults::{FaultPlan, Op};
use crate::journal::Stamp;
use crate::served::LookedAt;
use crate::witness::{Change, Hooks, Synced};

/// Slices one system call takes (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// Files this process keeps open unless told otherwise; the usual soft limit for all descriptors is 1024.
const OPEN_FILES_MAX: usize = 128;

/// A file of a torrent, open. Dropping the last handle closes it.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    path: PathBuf,
    writable: bool,
    /// How to read without waiting; an [`Unwaiting`].
    unwaiting: AtomicU8,
    pub(crate) looked_at: LookedAt,
}

/// What a file system offers to a reader that must not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Unwaiting {
    /// `RWF_NOWAIT`, as far as is known.
    Asked,
    /// Any read: the file is memory.
    Always,
    /// None.
    Never,
}

impl Stamp {
    /// `None` when the file has been removed or replaced since it was opened.
    pub(crate) fn of_open(file: &OpenFile) -> Result<Option<Self>, StorageError> {
        let stat = rustix::fs::fstat(file).map_err(|errno| StorageError::reading(file.path(), errno))?;
        Ok((stat.st_nlink != 0).then(|| Self::of(&stat)))
    }
}

impl OpenFile {
    pub(crate) fn new(fd: OwnedFd, path: PathBuf, writable: bool) -> Self {
        Self {
            fd,
            path,
            writable,
            unwaiting: AtomicU8::new(Unwaiting::Asked as u8),
            looked_at: LookedAt::default(),
        }
    }

    /// The full path it was opened as.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn unwaiting(&self) -> Unwaiting {
        match self.unwaiting.load(Ordering::Relaxed) {
            0 => Unwaiting::Asked,
            1 => Unwaiting::Always,
            _ => Unwaiting::Never,
        }
    }

    /// The file system has no `RWF_NOWAIT`: is it one that needs none?
    fn find_unwaiting(&self) -> Unwaiting {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        let kind = rustix::fs::fstatfs(self).map_or(0, |found| found.f_type);
        let found = if kind == TMPFS || kind == RAMFS { Unwaiting::Always } else { Unwaiting::Never };
        self.unwaiting.store(found as u8, Ordering::Relaxed);
        found
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Writes all of `slices` at `offset`.
pub(crate) fn write_all(
    file: &OpenFile,
    slices: &mut [IoSlice<'_>],
    mut offset: u64,
    hooks: &Hooks,
) -> Result<(), Errno> {
    let mut rest = slices;
    // An empty first slice would make a count of 0 ambiguous.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let batch = &rest[..rest.len().min(IOV_MAX)];
        let length: usize = batch.iter().map(|slice| slice.len()).sum();
        let result = hooks.check(Op::Write, file.path(), length).and_then(|allowed| {
            if allowed < length {
                let part = batch[0].len().min(allowed);
                rustix::io::pwrite(file, &batch[0][..part], offset)
            } else {
                rustix::io::pwritev(file, batch, offset)
            }
        });
        match result {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                if hooks.witness.is_some() {
                    tell_written(file, batch, offset, written, hooks);
                }
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn tell_written(file: &OpenFile, slices: &[IoSlice<'_>], mut offset: u64, mut written: usize, hooks: &Hooks) {
    for slice in slices {
        let bytes = &slice[..slice.len().min(written)];
        hooks.tell(Change::Written { path: file.path(), offset, bytes });
        offset += bytes.len() as u64;
        written -= bytes.len();
    }
}

/// Reads until `buffer` is full or the file ends; how many bytes came.
pub(crate) fn read_full(
    file: &OpenFile,
    buffer: &mut [u8],
    offset: u64,
    faults: Option<&FaultPlan>,
) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        let allowed = FaultPlan::check(faults, Op::Read, file.path(), buffer.len() - done);
        let read = |length| rustix::io::pread(file, &mut buffer[done..done + length], offset + done as u64);
        match allowed.and_then(read) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(done)
}

/// Reads what the page cache holds, without ever waiting for the device. `false` when that is not all of it, or the
/// file system cannot say (it then has to be read on a disk thread).
pub(crate) fn read_cached(
    file: &OpenFile,
    buffers: &mut [IoSliceMut<'_>],
    offset: u64,
) -> Result<bool, Errno> {
    let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    let read = match file.unwaiting() {
        Unwaiting::Asked => rustix::io::preadv2(file, buffers, offset, ReadWriteFlags::NOWAIT),
        Unwaiting::Always => rustix::io::preadv(file, buffers, offset),
        Unwaiting::Never => return Ok(false),
    };
    match read {
        Ok(read) => Ok(read == length),
        // Once a file at most: the answer is kept.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => match file.find_unwaiting() {
            Unwaiting::Always => read_cached(file, buffers, offset),
            Unwaiting::Asked | Unwaiting::Never => Ok(false),
        },
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Asks the kernel to read this range soon. Nothing depends on whether it does.
pub(crate) fn will_need(file: &OpenFile, offset: u64, length: u64) {
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length), rustix::fs::Advice::WillNeed);
}

/// Drops what the page cache holds of this range, but for what is still to be written: it is read from the device next.
pub(crate) fn forget_cached(file: &OpenFile, offset: u64, length: u64) {
    // The kernel drops whole pages only; this is a multiple of any page.
    const PAGES: u64 = 64 << 10;
    let start = offset / PAGES * PAGES;
    let length = (offset + length).next_multiple_of(PAGES) - start;
    let _ = rustix::fs::fadvise(file, start, NonZeroU64::new(length), rustix::fs::Advice::DontNeed);
}

/// Makes the data (and what is needed to find it) survive a power cut.
pub(crate) fn sync_data(file: &OpenFile, hooks: &Hooks) -> Result<(), Errno> {
    hooks.sync((Op::Sync, file.path(), Synced::Data), || rustix::fs::fdatasync(file))
}

/// The same, with times and all else the inode says.
pub(crate) fn sync_all(file: &OpenFile, hooks: &Hooks) -> Result<(), Errno> {
    hooks.sync((Op::Sync, file.path(), Synced::File), || rustix::fs::fsync(file))
}

/// A bounded store of open files, shared by the torrents of a process. Clones share the store.
///
/// The bound is on what the cache keeps; a file in use stays open until its user is done with it.
#[derive(Debug, Clone)]
pub struct FileCache {
    shared: Arc<Mutex<Entries>>,
}

/// A torrent (a number this process gave it) and one of its files.
pub(crate) type FileKey = (u64, u32);

#[derive(Debug)]
struct Entries {
    limit: usize,
    files: BTreeMap<FileKey, Entry>,
    /// Counts uses, so that the smallest `used` is the least recent.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    file: Arc<OpenFile>,
    used: u64,
}

impl FileCache {
    /// A cache that keeps at most `limit` files open (at least one).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let entries = Entries { limit: limit.max(1), files: BTreeMap::new(), clock: 0 };
        Self { shared: Arc::new(Mutex::new(entries)) }
    }

    /// The cache of this process: 128 files.
    #[must_use]
    pub fn process() -> Self {
        static CACHE: OnceLock<FileCache> = OnceLock::new();
        CACHE.get_or_init(|| Self::new(OPEN_FILES_MAX)).clone()
    }

    /// How many files it keeps open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.with(|entries| entries.files.len())
    }

    pub(crate) fn get(&self, key: FileKey, writable: bool) -> Option<Arc<OpenFile>> {
        self.with(|entries| {
            entries.clock += 1;
            let entry = entries.files.get_mut(&key)?;
            if writable && !entry.file.is_writable() {
                return None;
            }
            entry.used = entries.clock;
            Some(Arc::clone(&entry.file))
        })
    }

    pub(crate) fn insert(&self, key: FileKey, file: Arc<OpenFile>) {
        // Closing may take long on a network file system: not under the lock.
        let closed = self.with(|entries| {
            let mut closed = Vec::new();
            while entries.limit <= entries.files.len() && !entries.files.contains_key(&key) {
                closed.extend(entries.remove_oldest());
            }
            entries.clock += 1;
            let used = entries.clock;
            closed.extend(entries.files.insert(key, Entry { file, used }));
            closed
        });
        drop(closed);
    }

    /// Closes half of the files, for when the process has run out of descriptors.
    pub(crate) fn shrink(&self) {
        let closed = self.with(|entries| {
            let keep = entries.files.len() / 2;
            let mut closed = Vec::new();
            while keep < entries.files.len() {
                closed.extend(entries.remove_oldest());
            }
            closed
        });
        drop(closed);
    }

    pub(crate) fn remove(&self, key: FileKey) {
        drop(self.with(|entries| entries.files.remove(&key)));
    }

    /// Closes all files of one torrent.
    pub(crate) fn remove_all(&self, torrent: u64) {
        let closed = self.with(|entries| {
            let mut rest = entries.files.split_off(&(torrent, 0));
            let mut after = rest.split_off(&(torrent.wrapping_add(1), 0));
            entries.files.append(&mut after);
            rest
        });
        drop(closed);
    }

    fn with<T>(&self, f: impl FnOnce(&mut Entries) -> T) -> T {
        // The map is whole after every operation, so a panic elsewhere cannot have spoilt it.
        f(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entries {
    fn remove_oldest(&mut self) -> Option<Entry> {
        let oldest = *self.files.iter().min_by_key(|(_, entry)| entry.used)?.0;
        self.files.remove(&oldest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::faults::Fault;
    use std::os::fd::OwnedFd;

    fn open(folder: &tempfile::TempDir, name: &str) -> OpenFile {
        let path = folder.path().join(name);
        let file =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        OpenFile::new(OwnedFd::from(file.unwrap()), path, true)
    }

    #[test]
    fn many_slices_and_short_writes_end_as_one_whole_write() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder, "f");
        let data: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
        for short in [None, Some(FaultPlan::new(|_, _, _| Some(Fault::Short(7))))] {
            // 2,500 slices of 4 bytes, empty ones between: more than one call takes.
            let mut slices: Vec<_> =
                data.chunks(4).flat_map(|c| [IoSlice::new(&[]), IoSlice::new(c)]).collect();
            let hooks = Hooks { faults: short.clone(), witness: None };
            write_all(&file, &mut slices, 100, &hooks).unwrap();
            let mut back = vec![0; data.len() + 50];
            assert_eq!(read_full(&file, &mut back, 100, short.as_ref()).unwrap(), data.len());
            assert_eq!(&back[..data.len()], &data);
        }
    }

    #[test]
    fn an_injected_error_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder, "f");
        let plan = FaultPlan::new(|op, _, _| (op == Op::Write).then_some(Fault::Errno(28)));
        let hooks = Hooks { faults: Some(plan.clone()), witness: None };
        let error = write_all(&file, &mut [IoSlice::new(b"x")], 0, &hooks).unwrap_err();
        assert_eq!(error, Errno::NOSPC);
        assert_eq!(read_full(&file, &mut [0; 4], 0, Some(&plan)), Ok(0));
    }

    #[test]
    fn reading_from_the_cache_gives_all_or_says_no() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder, "f");
        write_all(&file, &mut [IoSlice::new(&[7; 100])], 0, &Hooks::default()).unwrap();
        let mut buffer = [0; 100];
        if read_cached(&file, &mut [IoSliceMut::new(&mut buffer)], 0).unwrap() {
            assert_eq!(buffer, [7; 100]);
        }
        let mut beyond = [IoSliceMut::new(&mut buffer)];
        assert!(!read_cached(&file, &mut beyond, 50).unwrap(), "beyond the end is never all of it");
    }

    #[test]
    fn the_cache_closes_what_was_not_used_for_longest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FileCache::new(2);
        for (number, name) in [(0, "a"), (1, "b")] {
            cache.insert((1, number), Arc::new(open(&folder, name)));
        }
        assert!(cache.get((1, 0), true).is_some());
        cache.insert((2, 0), Arc::new(open(&folder, "c")));
        assert!(cache.get((1, 1), false).is_none());
        assert!(cache.get((1, 0), false).is_some());
        cache.remove_all(1);
        assert_eq!(cache.open_count(), 1);
        assert!(cache.get((2, 0), false).is_some());
    }
}
