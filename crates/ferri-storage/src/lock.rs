//! One process at a time works on a torrent: a byte of a lock file for each torrent of a state folder.
//!
//! The locks are those of an open file description (`F_OFD_SETLK`, fcntl(2)) and end with the process, however it ends.
//! All torrents of a process share one description, so thousands of locks cost one file descriptor. Such locks do not
//! hold between users of one description, so the process itself remembers which bytes it has.
//!
//! Where the file system has no locks (some network ones), only this process is kept from itself; then the user must
//! see to it that there is no other.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHashes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::atomic::{PRIVATE_FILE, create_state_folder};
use crate::error::StorageError;

/// The right to work on a torrent, or to look for what its hash stands for; given back when dropped.
#[derive(Debug)]
pub struct TorrentLock {
    file: Arc<LockFile>,
    /// Those that it has, one for each name of the torrent.
    bytes: Vec<i64>,
    number: u64,
}

/// On whose behalf torrents are locked: a session. It sees to it by itself that it does one thing with a torrent at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockOwner(u64);

/// What a lock is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To read and write its files and its journal: one at a time.
    Work,
    /// To find out what its hash stands for: beside other searches and the work of the same owner.
    Search,
}

/// One lock of a byte.
#[derive(Debug)]
struct Holder {
    number: u64,
    owner: LockOwner,
    purpose: Purpose,
}

/// The lock file of a state folder, open as long as a lock in it is held.
#[derive(Debug)]
struct LockFile {
    file: File,
    /// Bytes that this process has. Never an empty list.
    held: Mutex<BTreeMap<i64, Vec<Holder>>>,
}

/// By path.
static LOCK_FILES: Mutex<BTreeMap<PathBuf, Weak<LockFile>>> = Mutex::new(BTreeMap::new());

static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl LockOwner {
    /// One that is no other's.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are alike")]
    pub fn new() -> Self {
        Self(NUMBERS.fetch_add(1, Ordering::Relaxed))
    }
}

impl TorrentLock {
    /// Locks the torrent with these hashes, of which more may turn out to be its own, for a search for its info dictionary.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when another owner or process has it; any error of making or opening the lock file.
    pub fn search(state_dir: &Path, hashes: &InfoHashes, owner: LockOwner) -> Result<Self, StorageError> {
        let torrents = state_dir.join("torrents");
        create_state_folder(&torrents).map_err(|error| StorageError::writing_io(&torrents, error))?;
        Self::take_all(&torrents.join("lock"), hashes, owner, Purpose::Search)
    }

    /// Locks the torrent with these hashes for who works on it, in the lock file at `path`, which is created if missing. A link
    /// to one of its names meets a link to the other.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when another one has it, in this process or in another; any error of opening the file.
    pub(crate) fn work(path: &Path, hashes: &InfoHashes, owner: LockOwner) -> Result<Self, StorageError> {
        Self::take_all(path, hashes, owner, Purpose::Work)
    }

    #[cfg(test)]
    pub(crate) fn take(path: &Path, info_hash: &[u8; 20]) -> Result<Self, StorageError> {
        let hashes = InfoHashes { v1: Some((*info_hash).into()), v2: None };
        Self::work(path, &hashes, LockOwner::new())
    }

    fn take_all(
        path: &Path,
        hashes: &InfoHashes,
        owner: LockOwner,
        purpose: Purpose,
    ) -> Result<Self, StorageError> {
        let file = LockFile::open(path)?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        // What was taken is given back when the rest is not to be had.
        let mut taken = Self { file, bytes: Vec::new(), number };
        for name in hashes.names() {
            let byte = byte_of(name.as_bytes());
            let mut held = lock(&taken.file.held);
            let holders = held.get(&byte).map_or(&[][..], |holders| holders);
            let stands_alone = |holder: &Holder| {
                holder.owner != owner || (holder.purpose, purpose) == (Purpose::Work, Purpose::Work)
            };
            let is_free = match holders {
                // That locks are missing where they are is no refusal.
                [] => taken.file.set(byte, libc::F_WRLCK) != Err(Errno::EAGAIN),
                holders => !holders.iter().any(stands_alone),
            };
            if !is_free {
                return Err(StorageError::Busy { path: path.into() });
            }
            held.entry(byte).or_default().push(Holder { number, owner, purpose });
            drop(held);
            taken.bytes.push(byte);
        }
        Ok(taken)
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
    if held.contains_key(&byte) {
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
        for byte in &self.bytes {
            let Some(holders) = held.get_mut(byte) else { continue };
            holders.retain(|holder| holder.number != self.number);
            if holders.is_empty() {
                held.remove(byte);
                // That it fails where locks are missing is no news.
                let _ = self.file.set(*byte, libc::F_UNLCK);
            }
        }
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
    fn a_search_stands_beside_the_work_of_its_session_and_of_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (LockOwner::new(), LockOwner::new());
        let v1 = InfoHashes { v1: Some(A.into()), v2: None };
        let v2 = InfoHashes { v1: None, v2: Some([7; 32].into()) };
        let both = InfoHashes { v1: v1.v1, v2: v2.v2 };
        let search = |hashes, owner| TorrentLock::search(folder.path(), hashes, owner);
        let work = |hashes, owner| TorrentLock::work(&folder.path().join("torrents/lock"), hashes, owner);
        let is_busy =
            |taken: Result<TorrentLock, StorageError>| matches!(taken, Err(StorageError::Busy { .. }));
        let (first, second) = (search(&v1, ours).unwrap(), search(&v2, ours).unwrap());
        assert!(
            is_busy(search(&v1, theirs)) && is_busy(search(&v2, theirs)) && is_busy(search(&both, theirs))
        );
        assert!(is_busy(work(&both, theirs)));
        // The search turns into work while another link to the same torrent is still looked for.
        let known = work(&both, ours).unwrap();
        assert!(is_busy(work(&both, ours)), "two that work are never let in");
        drop((first, second));
        assert!(is_busy(search(&v1, theirs)) && is_busy(search(&v2, theirs)));
        drop(known);
        // What was refused half-way has left nothing behind.
        search(&v1, theirs).unwrap();
        search(&v2, theirs).unwrap();
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
                while !until.load(Ordering::Relaxed) {
                    is_held_elsewhere(&theirs, &A);
                }
            });
            let taken = (0..20_000).all(|_| TorrentLock::take(&path, &A).is_ok());
            until.store(true, Ordering::Relaxed);
            assert!(taken);
        });
        let held = TorrentLock::take(&path, &A).unwrap();
        assert!(is_held_elsewhere(&theirs, &A) && !is_held_elsewhere(&theirs, &B));
        assert!(!is_held_elsewhere(&path, &A), "by this process");
        drop(held);
        assert!(!is_held_elsewhere(&theirs, &A));
    }
}
