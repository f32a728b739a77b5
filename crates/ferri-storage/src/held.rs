//! Files that may be ours and of which some bytes have to be compared first.
//!
//! A download that another program broke off in the middle of a piece, and a file of the user that begins as the torrent's
//! does, look the same until the pieces come in which they may differ. Until all of these came, such a file is *held*:
//! neither its length nor a byte of it is changed, and what comes for it goes to the parts file, as for a file that is not
//! wanted. A piece that does not agree with what is there is refused: the file is the user's. When the last of them came and
//! agreed the file is ours, and what waited is moved into it.
//!
//! Nothing of this is written down. The journal says what is in the parts file, and a start compares that with the file again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Bitfield, FileIndex, PieceIndex};

use crate::beneath::Access;
use crate::error::{Conflict, StorageError};
use crate::guard::NewBytes;
use crate::journal::Stamp;
use crate::storage::{Location, Storage, Target};

/// The held files of a torrent.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Most torrents have none, and this is asked for every piece.
    is_any: AtomicBool,
    /// How often a file was held.
    times: AtomicU64,
    files: Mutex<BTreeMap<u32, HeldFile>>,
}

#[derive(Debug)]
struct HeldFile {
    /// How it looked when it was judged.
    stamp: Stamp,
    /// Pieces that have to come before it is known whose it is. Never empty.
    awaited: BTreeSet<u32>,
    /// Pieces that came since, and agreed.
    agreed: BTreeSet<u32>,
}

impl Held {
    /// Holds a file that looks like `stamp` until these pieces came.
    pub(crate) fn hold(&self, file: FileIndex, stamp: Stamp, awaited: BTreeSet<u32>) {
        let mut files = self.lock();
        let mut held = HeldFile { stamp, awaited, agreed: BTreeSet::new() };
        if let Some(before) = files.remove(&file.0).filter(|before| before.stamp == stamp) {
            held.agreed = before.agreed;
        }
        files.insert(file.0, held);
        self.is_any.store(true, Ordering::Release);
        self.times.fetch_add(1, Ordering::Release);
    }

    /// A caller that sees another number than before looks again where pieces go.
    pub(crate) fn times(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    /// We gave a file another place, and it looks like this there.
    pub(crate) fn restamp(&self, file: FileIndex, stamp: Stamp) {
        if let Some(held) = self.lock().get_mut(&file.0) {
            held.stamp = stamp;
        }
    }

    /// It is known whose the file is, or it is not wanted.
    pub(crate) fn release(&self, is_released: impl Fn(FileIndex) -> bool) {
        if self.is_any.load(Ordering::Acquire) {
            let mut files = self.lock();
            files.retain(|file, _| !is_released(FileIndex(*file)));
            self.is_any.store(!files.is_empty(), Ordering::Release);
        }
    }

    pub(crate) fn has(&self, file: FileIndex) -> bool {
        self.is_any.load(Ordering::Acquire) && self.lock().contains_key(&file.0)
    }

    pub(crate) fn files(&self) -> Vec<FileIndex> {
        self.lock().keys().map(|file| FileIndex(*file)).collect()
    }

    /// Whether a piece came and agreed with a file that looks like `stamp`.
    pub(crate) fn has_agreed(&self, file: FileIndex, piece: PieceIndex, stamp: &Stamp) -> bool {
        let files = self.lock();
        files.get(&file.0).is_some_and(|held| held.stamp == *stamp && held.agreed.contains(&piece.get()))
    }

    fn awaits(&self, file: FileIndex, piece: PieceIndex) -> bool {
        self.is_any.load(Ordering::Acquire)
            && self.lock().get(&file.0).is_some_and(|held| held.awaited.contains(&piece.get()))
    }

    /// A piece came and agrees. Whether it was the last that the file waited for.
    fn agree(&self, file: FileIndex, piece: PieceIndex) -> bool {
        self.lock().get_mut(&file.0).is_some_and(|held| {
            held.agreed.insert(piece.get());
            held.awaited.iter().all(|piece| held.agreed.contains(piece))
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, HeldFile>> {
        // The map is whole after every operation.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// Pieces that tell whether files are ours, and before which nothing is written to these files. Ascending; the sooner they
    /// come the less has to be put aside.
    #[must_use]
    pub fn awaited(&self) -> Vec<PieceIndex> {
        let files = self.held.lock();
        let awaited = files.values().flat_map(|held| held.awaited.difference(&held.agreed).copied());
        let pieces: BTreeSet<u32> = awaited.collect();
        pieces.into_iter().filter_map(|piece| self.layout().piece(piece)).collect()
    }

    /// Compares a piece that is about to be written with what held files have of it. Those that waited for nothing else are
    /// ours from here on, and what waited for them is moved into them.
    ///
    /// # Errors
    /// [`StorageError::InTheWay`]: a file has something else. Errors of the disk.
    pub(crate) fn decide(&self, piece: PieceIndex, new: &NewBytes<'_>) -> Result<(), StorageError> {
        if !self.held.is_any.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut decided = Vec::new();
        let mut at = 0;
        for span in self.layout().file_spans(piece, 0, u32::MAX) {
            let begin = at;
            at += span.length;
            if span.is_pad || !self.held.awaits(span.file, piece) {
                continue;
            }
            match self.open_beneath(span.file, Access::Read) {
                Ok(opened) => {
                    let length = usize::try_from(span.length).expect("a piece length is a u32");
                    let target = Target { location: Location::File(span.file), offset: span.offset, length };
                    self.agree(&target, &opened, begin, new)?;
                }
                // There is nothing in it any more that could differ.
                Err(StorageError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
            if self.held.agree(span.file, piece) {
                decided.push(span.file);
            }
        }
        if decided.is_empty() {
            return Ok(());
        }
        match self.guard_files(&decided, &self.on_disk()).and_then(|()| self.gather()) {
            // Looks have ended and writes go on: what was not moved is in the parts file for the next start.
            Err(StorageError::Halted) => Ok(()),
            moved => moved,
        }
    }

    /// At the end of a download nothing is held: every piece came.
    ///
    /// # Errors
    /// [`StorageError::InTheWay`].
    pub(crate) fn decide_all(&self, wanted: &Bitfield) -> Result<(), StorageError> {
        let held = || self.held.files().into_iter().filter(|file| wanted.get(file.0));
        self.guard_files(&held().collect::<Vec<_>>(), &self.on_disk())?;
        match held().next() {
            Some(file) => {
                let path = self.place().root.join(self.local_path(file).unwrap_or_default());
                Err(StorageError::InTheWay { path, why: Conflict::Undecided })
            }
            None => Ok(()),
        }
    }
}

/// The blocks of a piece in which `length` bytes from `at` on lie, each as a range of these bytes.
pub(crate) fn blocks(at: u64, length: usize) -> impl Iterator<Item = Range<usize>> {
    divided(at, length, u64::from(BLOCK_LENGTH))
}

/// Ranges of the `length` bytes from `at` on, divided where a multiple of `unit` (not 0) is.
pub(crate) fn divided(at: u64, length: usize, unit: u64) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0usize;
    std::iter::from_fn(move || {
        let left = (unit - (at + start as u64) % unit) as usize;
        let part = start..length.min(start.saturating_add(left));
        start = part.end;
        (!part.is_empty()).then_some(part)
    })
}
