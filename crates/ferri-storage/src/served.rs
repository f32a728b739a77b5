//! Whether a file that is shared is still what it was when its pieces were found to be right.
//!
//! Another program may write to a file, cut, replace or remove it while peers are sent its bytes. So a file is looked
//! at before it is served, and again when the last look is a second old: size, time of the last change and inode are
//! compared with what the journal has, which a write through `mmap` changes too. A difference puts all pieces of the
//! file in [doubt](Storage::doubtful), and none of them is read before a check found it to be right: the one that a
//! peer asks for is checked at once.
//!
//! Who writes and sets the old time again changes nothing but the time of the inode's last change, and a copy that keeps
//! the time only the inode. A hard link for a backup does the first, a file system in user space that gives inodes their
//! numbers anew the second, so neither is a reason to read a whole file: each of its pieces is hashed once, before it is
//! served the next time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_metainfo::{FileIndex, Layout, PieceIndex};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::beneath::{Access, Root};
use crate::disk::OpenFile;
use crate::error::StorageError;
use crate::journal::Stamp;
use crate::ledger::Looked;
use crate::storage::{Location, Storage};

/// A file is served for so long after a look at it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the files of a torrent from looks at them.
#[derive(Debug)]
pub(crate) struct Served {
    start: Instant,
    /// There may be something in `inner` that keeps a piece from being read at once.
    holds: AtomicBool,
    has_news: AtomicBool,
    inner: Mutex<Inner>,
    /// Milliseconds that tests let pass.
    #[cfg(test)]
    passed: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// What another program made of a file. Its pieces went into doubt when this was seen; it is no news any more.
    changed: BTreeMap<u32, Stamp>,
    /// How files looked at the last look.
    seen: BTreeMap<u32, Stamp>,
    /// Files that were seen to be changed, which was not told yet.
    news: BTreeSet<u32>,
    /// Pieces of such files may be in doubt still.
    in_doubt: bool,
    /// Pieces to be hashed before they are served.
    suspects: BTreeSet<u32>,
    /// Pieces that were right and are not any more. Requests for them may be on their way when they are withdrawn.
    wrong: BTreeSet<u32>,
}

impl Inner {
    fn is_free(&self, piece: PieceIndex) -> bool {
        let piece = piece.get();
        !self.in_doubt && !self.suspects.contains(&piece) && !self.wrong.contains(&piece)
    }

    /// The first file of this piece that was seen to be changed by another program.
    fn changed_file(&self, layout: &Layout, piece: PieceIndex) -> Option<FileIndex> {
        let mut files = layout.file_spans(piece, 0, u32::MAX).map(|span| span.file);
        files.find(|file| self.changed.contains_key(&file.0))
    }

    /// Some piece must not be read at once.
    fn holds(&self) -> bool {
        self.in_doubt || !self.suspects.is_empty() || !self.wrong.is_empty()
    }
}

/// When a file was looked at last, in milliseconds of [`Served::start`] and one more; 0: never.
#[derive(Debug, Default)]
pub(crate) struct LookedAt(AtomicU64);

/// Whether a file's inode is the one in the journal, unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inode {
    Same,
    Other,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            holds: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            inner: Mutex::default(),
            #[cfg(test)]
            passed: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        #[cfg(test)]
        let elapsed = elapsed + self.passed.load(Ordering::Relaxed);
        elapsed.saturating_add(1)
    }

    fn is_looked_at(&self, file: &OpenFile) -> bool {
        let looked_at = file.looked_at.0.load(Ordering::Relaxed);
        let interval = u64::try_from(LOOK_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        looked_at != 0 && self.now().saturating_sub(interval) <= looked_at
    }

    /// The last look at this file is recent, and nothing says that the piece has to be checked before it is read.
    pub(crate) fn is_fresh(&self, piece: PieceIndex, file: &OpenFile) -> bool {
        self.is_looked_at(file) && (!self.holds.load(Ordering::Acquire) || self.lock().is_free(piece))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each entry stands alone.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// Looks at the files of a run of bytes before they are served.
    ///
    /// # Errors
    /// [`StorageError::Changed`]: the piece is not right any more. [`StorageError::Missing`]: the file is not in its place.
    pub(crate) fn look_before_serving(
        &self,
        piece: PieceIndex,
        locations: &[Location],
    ) -> Result<(), StorageError> {
        for location in locations {
            let Location::File(file) = *location else { continue };
            match self.open(*location, Access::Read) {
                Ok(Some(open)) if !self.served.is_looked_at(&open) => self.look(file, &open)?,
                Ok(_) => {}
                // Something else took its place: the file is gone, and the rest is served on.
                Err(
                    StorageError::Symlink { .. }
                    | StorageError::NotAFile { .. }
                    | StorageError::NotAFolder { .. },
                ) if self.options().read_only => {
                    return Err(self.gone(file));
                }
                Err(error) => return Err(error),
            }
        }
        if self.served.holds.load(Ordering::Acquire) { self.trust(piece) } else { Ok(()) }
    }

    /// Files that were seen to be changed by another program since the last call. Their pieces are in
    /// [doubt](Storage::doubtful) until they are looked at; costs nothing while there is no news.
    #[must_use]
    pub fn take_changed(&self) -> Vec<PathBuf> {
        if !self.served.has_news.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let files = std::mem::take(&mut self.served.lock().news);
        files.into_iter().map(|number| self.full_path(FileIndex(number))).collect()
    }

    /// Whether a file of this piece was seen to be changed by another program while it was served. What is right in it
    /// is served on; nothing of it is ours to write over.
    #[must_use]
    pub fn is_changed_by_others(&self, piece: PieceIndex) -> bool {
        self.served.lock().changed_file(self.layout(), piece).is_some()
    }

    #[cfg(test)]
    pub(crate) fn let_a_second_pass(&self) {
        let passed = u64::try_from(LOOK_INTERVAL.as_millis()).unwrap_or(0) + 1;
        self.served.passed.fetch_add(passed, Ordering::Relaxed);
    }

    pub(crate) fn look(&self, file: FileIndex, open: &OpenFile) -> Result<(), StorageError> {
        let number = file.0;
        let now = self.served.now();
        let accepted = self.served.lock().changed.get(&number).copied();
        let Some(path) = self.local_path(file) else { return Ok(()) };
        // Before the ledger is held, which is asked whether the folder is the one that it knows.
        let root = self.root(false)?;
        let looked = self.ledger.look(number, accepted, || stat_for_serving(&root, &path))?;
        match looked {
            Looked::Busy => {}
            Looked::Unknown => self.ledger.stamp_before_check(number, open),
            Looked::Same(stamp) => self.note_inode(file, stamp, Inode::Same),
            Looked::Inode(stamp) => self.note_inode(file, stamp, Inode::Other),
            Looked::Changed(stamp) => {
                let mut inner = self.served.lock();
                inner.changed.insert(number, stamp);
                inner.seen.remove(&number);
                inner.in_doubt = true;
                inner.news.insert(number);
                self.served.holds.store(true, Ordering::Release);
                self.served.has_news.store(true, Ordering::Release);
                drop(inner);
                self.forget_open(number);
                return Ok(());
            }
            Looked::Gone => return Err(self.gone(file)),
        }
        open.looked_at.0.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Size and time are as they were. Is the inode what it was at the last look, or, at the first one, what is known?
    fn note_inode(&self, file: FileIndex, stamp: Stamp, inode: Inode) {
        let mut inner = self.served.lock();
        let seen = inner.seen.insert(file.0, stamp);
        // Where size or time differ from the last look, it was we who wrote.
        let seen = seen.filter(|seen| (seen.size, seen.mtime) == (stamp.size, stamp.mtime));
        let is_other = seen.map_or(inode == Inode::Other, |seen| seen != stamp);
        if is_other {
            inner.suspects.extend(self.layout().file_pieces(file));
            self.served.holds.store(true, Ordering::Release);
            if seen.is_none_or(|seen| seen.inode != stamp.inode) {
                // What is open is the old one.
                self.forget_open(file.0);
            }
        }
    }

    /// Whether a piece may be read although something of this torrent waits for a check.
    fn trust(&self, piece: PieceIndex) -> Result<(), StorageError> {
        let is_suspect = {
            let mut inner = self.served.lock();
            if inner.wrong.contains(&piece.get()) {
                drop(inner);
                return Err(self.changed_piece(piece));
            }
            if inner.in_doubt && self.ledger.is_doubtful(piece) {
                drop(inner);
                // It was not looked at yet: no reason to send a peer away that asks for what is right.
                let is_right = self.check_piece(piece, &mut Vec::new())?;
                return if is_right { Ok(()) } else { Err(self.changed_piece(piece)) };
            }
            // Code that puts pieces in doubt says so here afterwards.
            inner.in_doubt = inner.in_doubt && self.ledger.has_doubts();
            inner.suspects.contains(&piece.get())
        };
        if is_suspect {
            if !self.matches_on_disk(piece, &mut Vec::new())? {
                self.ledger.doubt_piece(piece)?;
                self.mark_changed(piece);
                return Err(self.changed_piece(piece));
            }
            self.served.lock().suspects.remove(&piece.get());
        }
        let inner = self.served.lock();
        self.served.holds.store(inner.holds(), Ordering::Release);
        Ok(())
    }

    /// A check found these pieces right or not.
    pub(crate) fn note_checked(&self, results: &[(PieceIndex, bool)]) {
        let mut inner = self.served.lock();
        if inner.changed.is_empty() && inner.wrong.is_empty() {
            return;
        }
        for (piece, is_right) in results {
            if *is_right {
                inner.wrong.remove(&piece.get());
            } else if inner.changed_file(self.layout(), *piece).is_some() {
                inner.wrong.insert(piece.get());
            }
        }
        self.served.holds.store(inner.holds(), Ordering::Release);
    }

    /// The files of a piece that is no longer right are the user's work.
    fn mark_changed(&self, piece: PieceIndex) {
        let mut inner = self.served.lock();
        for span in self.layout().file_spans(piece, 0, u32::MAX) {
            if let Some(stamp) = inner.seen.get(&span.file.0).copied() {
                inner.changed.insert(span.file.0, stamp);
            }
        }
        inner.suspects.remove(&piece.get());
        inner.in_doubt = true;
    }

    fn changed_piece(&self, piece: PieceIndex) -> StorageError {
        let file = self.served.lock().changed_file(self.layout(), piece);
        StorageError::Changed { path: self.full_path(file.unwrap_or(FileIndex(0))) }
    }

    fn full_path(&self, file: FileIndex) -> PathBuf {
        self.place().root.join(self.local_path(file).unwrap_or_default())
    }
}

/// `None`: there is no regular file in its place.
fn stat_for_serving(root: &Root, path: &Path) -> Result<Option<Stamp>, StorageError> {
    let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    match root.stat(path) {
        Ok(stat) => Ok(stat.filter(is_file).as_ref().map(Stamp::of)),
        Err(Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(StorageError::reading(&root.full(path), errno)),
    }
}
