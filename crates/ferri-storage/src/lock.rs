//! One process at a time works on a torrent: a byte of a lock file for each torrent of a state folder.
//!
//! The locks are those of an open file description (`F_OFD_SETLK`, fcntl(2)) and end with the process, however it ends.
//! All torrents of a process share one description, so thousands of locks cost one file descriptor. Such locks do not
//! hold between users of one description, so the process itself remembers which bytes it has.
//!
//! Where the file system has no locks (some network ones), only this process is kept from itself; then the user must
//! see to it that there is no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::atomic::PRIVATE_FILE;
use crate::error::StorageError;

/// The right to work on a torrent; given back when dropped.
#[derive(Debug)]
pub(crate) struct TorrentLock {
    file: Arc<LockFile>,
    byte: i64,
}

/// The lock file of a state folder, open as long as a lock in it is held.
#[derive(Debug)]
struct LockFile {
    file: File,
    /// Bytes that this process has.
    held: Mutex<BTreeSet<i64>>,
}

/// By path.
static LOCK_FILES: Mutex<BTreeMap<PathBuf, Weak<LockFile>>> = Mutex::new(BTreeMap::new());

impl TorrentLock {
    /// Takes the lock of a torrent in the lock file at `path`, which is created if missing.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when this or another process has it; any error of opening the file.
    pub(crate) fn take(path: &Path, info_hash: &[u8; 20]) -> Result<Self, StorageError> {
        let file = LockFile::open(path)?;
        let byte = byte_of(info_hash);
        let mut held = lock(&file.held);
        if held.contains(&byte) || file.set(byte, libc::F_WRLCK) == Err(Errno::EAGAIN) {
            return Err(StorageError::Busy { path: path.into() });
        }
        held.insert(byte);
        drop(held);
        Ok(Self { file, byte })
    }
}

/// Keeps every other torrent and program from writing to a file as long as this description of it is open. `false`:
/// another one has it. Where the file system has no locks none is kept away.
pub(crate) fn hold(file: &impl AsFd) -> bool {
    let request = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&request)) != Err(Errno::EAGAIN)
}

/// The file at `path`, which is created if missing, locked as long as it is open. `None`: another torrent has it, in
/// this process or another one. The lock ends with the process, however that ends; the file stays. Where the file
/// system has no locks none is kept away.
///
/// # Errors
/// When it cannot be opened.
pub fn try_lock_file(path: &Path) -> std::io::Result<Option<File>> {
    let file = open_lock_file(path)?;
    Ok(hold(&file).then_some(file))
}

/// Whether there is a lock on this file. Asks without taking it for a moment: others may ask at the same time.
pub(crate) fn is_held(file: &impl AsFd) -> bool {
    is_locked(file, 0, 0)
}

/// Whether another description of the file has a lock on these bytes; 0 is all of them.
fn is_locked(file: &impl AsFd, start: i64, length: i64) -> bool {
    let mut request = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    let asked = fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut request));
    asked.is_ok() && request.l_type != libc::F_UNLCK as libc::c_short
}

fn open_lock_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(path)
}

/// Whether another process works on a torrent, by the lock file at `path`.
pub(crate) fn is_held_elsewhere(path: &Path, info_hash: &[u8; 20]) -> bool {
    let Ok(file) = LockFile::open(path) else { return false };
    let (byte, held) = (byte_of(info_hash), lock(&file.held));
    if held.contains(&byte) {
        return false;
    }
    is_locked(&file.file, byte, 1)
}

/// The file at `path`, locked as long as it is open: what others do with it is done. After [`TURN_WAIT`] it is given out
/// without.
pub(crate) fn take_turn(path: &Path) -> std::io::Result<File> {
    let file = open_lock_file(path)?;
    let until = Instant::now() + TURN_WAIT;
    while !hold(&file) && Instant::now() < until {
        std::thread::sleep(TURN_INTERVAL);
    }
    Ok(file)
}

/// A turn takes milliseconds; a process that was stopped in the middle of one must not stop the others.
const TURN_WAIT: Duration = Duration::from_secs(2);

/// Asking is all that a lock with an end of waiting offers.
const TURN_INTERVAL: Duration = Duration::from_millis(1);

impl Drop for TorrentLock {
    fn drop(&mut self) {
        let mut held = lock(&self.file.held);
        // That it fails where locks are missing is no news.
        let _ = self.file.set(self.byte, libc::F_UNLCK);
        held.remove(&self.byte);
    }
}

impl LockFile {
    fn open(path: &Path) -> Result<Arc<Self>, StorageError> {
        let mut files = lock(&LOCK_FILES);
        if let Some(file) = files.get(path).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = open_lock_file(path).map_err(|error| StorageError::writing_io(path, error))?;
        let file = Arc::new(Self { file, held: Mutex::default() });
        files.retain(|_, file| file.strong_count() != 0);
        files.insert(path.to_path_buf(), Arc::downgrade(&file));
        Ok(file)
    }

    /// Locks or unlocks a byte for this process, without waiting.
    fn set(&self, byte: i64, kind: libc::c_int) -> Result<(), Errno> {
        let request = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: byte,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&request)).map(drop)
    }
}

/// 62 bits, so that two torrents never share a byte by chance and no offset overflows. Who makes two that do makes
/// them exclude one another, no more.
fn byte_of(info_hash: &[u8; 20]) -> i64 {
    let (first, _) = info_hash.split_first_chunk().expect("8 of 20 bytes");
    (u64::from_be_bytes(*first) >> 2).cast_signed()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both maps are whole after every operation.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: [u8; 20] = [255; 20];
    const B: [u8; 20] = [0; 20];

    #[test]
    fn one_torrent_is_locked_and_the_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = TorrentLock::take(&path, &A).unwrap();
        let other = TorrentLock::take(&path, &B).unwrap();
        assert!(
            matches!(TorrentLock::take(&path, &A), Err(StorageError::Busy { path: busy }) if busy == path)
        );
        drop(first);
        let again = TorrentLock::take(&path, &A).unwrap();
        assert!(Arc::ptr_eq(&again.file, &other.file), "one descriptor for all");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "a lock beyond the end takes no room");
    }

    #[test]
    fn another_description_of_the_file_is_kept_out_by_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = TorrentLock::take(&path, &A).unwrap();
        // What another process would have.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let stranger = LockFile { file, held: Mutex::default() };
        assert_eq!(stranger.set(byte_of(&A), libc::F_WRLCK), Err(Errno::EAGAIN));
        stranger.set(byte_of(&B), libc::F_WRLCK).unwrap();
        assert!(matches!(TorrentLock::take(&path, &B), Err(StorageError::Busy { .. })));
        drop(lock);
        stranger.set(byte_of(&A), libc::F_WRLCK).unwrap();
        drop(stranger);
        TorrentLock::take(&path, &A).unwrap();
    }

    #[test]
    fn asking_about_a_lock_keeps_nobody_from_taking_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        // What another process would have.
        let theirs = folder.path().join("other");
        File::create(&path).unwrap();
        std::fs::hard_link(&path, &theirs).unwrap();
        let _open = LockFile::open(&theirs).unwrap();
        let until = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !until.load(std::sync::atomic::Ordering::Relaxed) {
                    is_held_elsewhere(&theirs, &A);
                }
            });
            let taken = (0..20_000).all(|_| TorrentLock::take(&path, &A).is_ok());
            until.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(taken);
        });
        let held = TorrentLock::take(&path, &A).unwrap();
        assert!(is_held_elsewhere(&theirs, &A) && !is_held_elsewhere(&theirs, &B));
        assert!(!is_held_elsewhere(&path, &A), "by this process");
        drop(held);
        assert!(!is_held_elsewhere(&theirs, &A));
    }
}
