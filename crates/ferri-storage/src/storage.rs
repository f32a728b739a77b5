//! One torrent's files: whole verified pieces in, bytes out.
//!
//! Where the bytes of a piece go:
//! - a wanted file: to that file, which is created with its folders when its first byte arrives and has its full
//!   length from then on (sparse, or allocated if [`StorageOptions::preallocate`] asks for it);
//! - an unwanted file, whether it exists or not: to the parts file in the state folder, at piece index times piece length
//!   plus the offset in the piece (the file is sparse, so this costs only what it holds). When the file becomes wanted
//!   they are moved into it;
//! - padding: nowhere; it reads as zeros.
//!
//! What is read of an unwanted file comes from wherever its bytes were put: the journal says which are in the parts file.
//! Nothing is written to a file that is the user's, see `guard`.
//!
//! Everything under the download folder is opened beneath it, see `beneath`. All methods block on the disk except
//! [`Storage::read_cached`].

use std::collections::HashMap;
use std::fmt;
use std::io::IoSliceMut;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Bitfield, FileIndex, Info, Layout, PieceIndex};
use rustix::io::Errno;

use crate::atomic::{SHARED_FOLDER, create_folders};
use crate::beneath::{Access, Rights, Root};
use crate::disk::{self, OpenFile};
use crate::error::StorageError;
use crate::faults::{FaultPlan, Op};
use crate::held::Held;
use crate::journal::Stamp;
use crate::ledger::{InParts, Ledger, parts_number};
use crate::options::{Place, StorageOptions};
use crate::places::{Alias, Places, is_refusal};
use crate::remarks::Remarks;
use crate::served::Served;
use crate::stamp::Likeness;
use crate::verify::Verifier;
use crate::witness::{Change, Hooks};

/// Read at once when a piece is checked.
const CHECK_LENGTH: usize = 1 << 20;

/// The files of one torrent. Used behind an `Arc` from any number of threads.
pub struct Storage {
    /// Tells our files from those of other torrents in the cache.
    id: u64,
    info: Arc<Info>,
    layout: Layout,
    paths: LocalPaths,
    places: Arc<RwLock<Places>>,
    /// Files by device and inode that were opened for writing.
    identities: Mutex<HashMap<(u64, u64), FileIndex>>,
    place: RwLock<Arc<Place>>,
    options: StorageOptions,
    hooks: Hooks,
    pub(crate) ledger: Ledger,
    placement: RwLock<Placement>,
    /// Device and inode of the download folder when it was opened last.
    known_root: Mutex<Option<(u64, u64)>>,
    /// Files that this process has made ready for writing.
    prepared: Mutex<Bitfield>,
    pub(crate) served: Served,
    pub(crate) held: Held,
    pub(crate) remarks: Remarks,
    /// Wanted files in whose place something lies that is no file, as of the start.
    odd_places: Mutex<Vec<FileIndex>>,
    /// One sync at a time.
    pub(crate) sync_lock: Mutex<()>,
    /// The number of the slot of totals that was written last.
    pub(crate) totals: Mutex<u64>,
}

/// Where bytes of files go.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) wanted: Bitfield,
    /// Files that are wanted or exist: what is not known to be in the parts file is in them.
    pub(crate) real: Bitfield,
    pub(crate) transit: Transit,
    /// Grows when files begin to leave their places and when they are in them again: a failure between two looks at this may
    /// mean nothing.
    pub(crate) moves: u64,
}

impl Placement {
    /// Of so many files, none of which is wanted or exists.
    pub(crate) fn new(count: u32) -> Self {
        let none = || Bitfield::new(count);
        Self { wanted: none(), real: none(), transit: Transit::None, moves: 0 }
    }
}

/// Whether files are being moved to another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transit {
    /// They lie in their places.
    None,
    /// They do, and are copied: nothing is written to them.
    Copied,
    /// They are somewhere between: none is opened.
    OnTheWay,
}

/// Where a run of bytes of a piece lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    Pad,
    File(FileIndex),
    Parts,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) location: Location,
    /// In the file or the parts file.
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl Storage {
    /// Gets ready; nothing is created yet. `wanted` says for each file whether it is to be downloaded; a file beyond
    /// its end is.
    ///
    /// Call [`Storage::resume`] next when there is a state folder.
    ///
    /// # Errors
    /// When the state of unwanted files cannot be looked up.
    pub fn new(
        info: Arc<Info>,
        paths: LocalPaths,
        mut place: Place,
        mut options: StorageOptions,
        wanted: &[bool],
    ) -> Result<Self, StorageError> {
        place.root =
            std::path::absolute(&place.root).map_err(|e| StorageError::writing_io(&place.root, e))?;
        let layout = info.layout().clone();
        let count = parts_number(&layout);
        let hooks = Hooks { faults: options.faults.clone(), witness: options.witness.clone() };
        let mut places = match options.places.take() {
            Some(places) => places,
            None => {
                Places::find_until(&info, paths.clone(), &place.root, options.top.clone(), &options.halt)?
            }
        };
        for (&file, path) in &options.renamed {
            places.place(file, path.clone(), Alias::Renamed);
        }
        let storage = Self {
            id: Self::next_id(),
            ledger: Ledger::new(layout.clone(), options.compact_length, hooks.clone()),
            hooks,
            placement: RwLock::new(Placement::new(count)),
            known_root: Mutex::default(),
            prepared: Mutex::new(Bitfield::new(count)),
            served: Served::new(),
            held: Held::default(),
            remarks: Remarks::default(),
            odd_places: Mutex::default(),
            sync_lock: Mutex::default(),
            totals: Mutex::default(),
            info,
            layout,
            paths,
            places: Arc::new(RwLock::new(places)),
            identities: Mutex::default(),
            place: RwLock::new(Arc::new(place)),
            options,
        };
        let placement = storage.placement_for(wanted)?;
        *storage.placement.write().unwrap_or_else(PoisonError::into_inner) = placement;
        Ok(storage)
    }

    /// The device that its files are on, or will be on. Waits for the disk when it was not asked for anything yet.
    #[must_use]
    pub fn device(&self) -> u64 {
        let known = *self.known_root.lock().unwrap_or_else(PoisonError::into_inner);
        known.map_or_else(|| self.place().device(), |(device, _)| device)
    }

    /// What it stores.
    #[must_use]
    pub fn info(&self) -> &Arc<Info> {
        &self.info
    }

    /// Where its bytes are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where it lives at this moment; the root is absolute. [`Storage::move_to`] changes it.
    #[must_use]
    pub fn place(&self) -> Arc<Place> {
        self.place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_root(&self, root: PathBuf) {
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(Place { root, state_dir: place.state_dir.clone() });
        // It is another folder.
        *self.known_root.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Where a file lies or will lie, relative to the root; `None` for padding.
    #[must_use]
    pub fn local_path(&self, file: FileIndex) -> Option<PathBuf> {
        self.places().path(file)
    }

    /// Where the file of a single-file torrent lies, if that is not where its name says.
    #[must_use]
    pub fn only_file_elsewhere(&self) -> Option<PathBuf> {
        if self.info.is_multi_file() {
            return None;
        }
        let places = self.places();
        places.alias(FileIndex(0))?;
        Some(self.place().root.join(places.path(FileIndex(0))?))
    }

    /// Where all files lie, see [`Places`].
    pub fn places(&self) -> RwLockReadGuard<'_, Places> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shared_places(&self) -> Arc<RwLock<Places>> {
        self.places.clone()
    }

    pub(crate) fn places_mut(&self) -> RwLockWriteGuard<'_, Places> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn identities(&self) -> MutexGuard<'_, HashMap<(u64, u64), FileIndex>> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these are the bytes of the piece. Hashes what it is given, in order, without a copy.
    #[must_use]
    pub fn hash_blocks(&self, piece: PieceIndex, blocks: &[Bytes]) -> bool {
        let Some(mut verifier) = Verifier::new(&self.info, piece) else { return false };
        blocks.iter().for_each(|block| verifier.update(block));
        verifier.finish()
    }

    /// Raises its [`Halt`](crate::Halt): looks at many files end soon, for good. Writing, syncing and closing go on.
    pub fn halt(&self) {
        self.options.halt.raise();
    }

    /// Numbers of stores.
    pub(crate) fn next_id() -> u64 {
        static IDS: AtomicU64 = AtomicU64::new(0);
        IDS.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no other store of this process has.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Fills `buffer` from the piece, from `begin` bytes on, for a peer. Hashes it only where another program may have
    /// changed it: the files are looked at when the last look is a second old.
    ///
    /// # Errors
    /// [`StorageError::Missing`] or [`StorageError::Truncated`] when the bytes are not there, [`StorageError::Changed`] when
    /// they may be other ones, [`StorageError::BeingMoved`] when they are on their way to another folder.
    pub fn read(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<(), StorageError> {
        let moves = self.placement().moves;
        self.read_in_place(piece, begin, buffer).map_err(|error| self.unless_moved(moves, error))
    }

    /// An error of a read that began after so many moves: it means nothing when the files were moved meanwhile.
    pub(crate) fn unless_moved(&self, moves: u64, error: StorageError) -> StorageError {
        if self.placement().moves == moves { error } else { self.being_moved() }
    }

    pub(crate) fn being_moved(&self) -> StorageError {
        StorageError::BeingMoved { path: self.place().root.clone() }
    }

    /// Files may be opened where they lie.
    pub(crate) fn may_open(&self, placement: &Placement) -> Result<(), StorageError> {
        if placement.transit == Transit::OnTheWay { Err(self.being_moved()) } else { Ok(()) }
    }

    /// Files may be written to where they lie.
    pub(crate) fn may_change(&self, placement: &Placement) -> Result<(), StorageError> {
        if placement.transit == Transit::None { Ok(()) } else { Err(self.being_moved()) }
    }

    fn read_in_place(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<(), StorageError> {
        let length = self.inside(piece, begin, buffer.len())?;
        let locations: Vec<Location> = {
            let placement = self.placement();
            self.may_open(&placement)?;
            self.targets(&placement, piece, begin, length).map(|target| target.location).collect()
        };
        self.look_before_serving(piece, &locations)?;
        let placement = self.placement();
        self.may_open(&placement)?;
        let mut rest = buffer;
        for target in self.targets(&placement, piece, begin, length) {
            let (now, after) = rest.split_at_mut(target.length);
            self.read_target(target, now)?;
            rest = after;
        }
        Ok(())
    }

    /// The same from the page cache, without ever waiting for the device; for a thread that must not block.
    /// `false`: some of it is not cached, the file is not open or an error is in the way; ask [`Storage::read`] on a
    /// disk thread. `buffer` may hold anything then.
    #[must_use]
    pub fn read_cached(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> bool {
        let Ok(length) = self.inside(piece, begin, buffer.len()) else { return false };
        let Ok(placement) = self.placement.try_read() else { return false };
        if placement.transit == Transit::OnTheWay {
            return false;
        }
        let mut rest = buffer;
        for target in self.targets(&placement, piece, begin, length) {
            let (now, after) = rest.split_at_mut(target.length);
            if let Some(number) = self.number(target.location) {
                let Some(file) = self.options.files.get((self.id, number), false) else { return false };
                let is_fresh = target.location == Location::Parts || self.served.is_fresh(piece, &file);
                if !is_fresh
                    || !disk::read_cached(&file, &mut [IoSliceMut::new(now)], target.offset).unwrap_or(false)
                {
                    return false;
                }
            } else {
                now.fill(0);
            }
            rest = after;
        }
        true
    }

    /// The same with one call for several neighbouring parts, which must lie in one file. `false` also when they do not.
    #[must_use]
    pub fn read_cached_together(
        &self,
        piece: PieceIndex,
        begin: u32,
        buffers: &mut [IoSliceMut<'_>],
    ) -> bool {
        let total = buffers.iter().map(|buffer| buffer.len()).sum();
        let Ok(length) = self.inside(piece, begin, total) else { return false };
        let Ok(placement) = self.placement.try_read() else { return false };
        let Some(target) = self.targets(&placement, piece, begin, length).next() else { return false };
        let file =
            self.number(target.location).and_then(|number| self.options.files.get((self.id, number), false));
        target.length == total
            && file.is_some_and(|file| {
                (target.location == Location::Parts || self.served.is_fresh(piece, &file))
                    && disk::read_cached(&file, buffers, target.offset).unwrap_or(false)
            })
    }

    /// Tells the kernel that `length` bytes from `begin` in this piece on are read soon, as far as they lie in one file
    /// (they may run on into the next pieces). Only a hint.
    pub fn read_ahead(&self, piece: PieceIndex, begin: u32, length: u32) {
        let placement = self.placement();
        if let Some(target) = self.targets(&placement, piece, begin, 1).next()
            && let Ok(Some(file)) = self.open(target.location, Access::Read)
        {
            disk::will_need(&file, target.offset, u64::from(length));
        }
    }

    /// Reads the piece from disk and says whether its hash matches; missing or short files mean `false`. What was
    /// found is remembered. `scratch` is working memory to be used again, at most 1 MiB.
    ///
    /// # Errors
    /// When the disk could not be read, or a link is in the way.
    pub fn check_piece(&self, piece: PieceIndex, scratch: &mut Vec<u8>) -> Result<bool, StorageError> {
        let matched = self.matches_on_disk(piece, scratch)?;
        self.record_checks(&[(piece, matched)]);
        Ok(matched)
    }

    /// Reads the piece in portions and hashes it.
    pub(crate) fn matches_on_disk(
        &self,
        piece: PieceIndex,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, StorageError> {
        self.matches_at(&self.placement(), piece, scratch)
    }

    /// The same where the files are known to lie.
    pub(crate) fn matches_at(
        &self,
        placement: &Placement,
        piece: PieceIndex,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, StorageError> {
        let Some(mut verifier) = Verifier::new(&self.info, piece) else { return Ok(false) };
        self.may_open(placement)?;
        for target in self.targets(placement, piece, 0, self.layout.piece_len(piece)) {
            let mut done = 0;
            while done < target.length {
                let length = (target.length - done).min(CHECK_LENGTH);
                if scratch.len() < length {
                    scratch.resize(length, 0);
                }
                let part = Target { offset: target.offset + done as u64, length, ..target };
                if !self.read_for_check(part, &mut scratch[..length])? {
                    return Ok(false);
                }
                verifier.update(&scratch[..length]);
                done += length;
            }
        }
        Ok(verifier.finish())
    }

    /// `false` when the bytes are not there.
    pub(crate) fn read_for_check(&self, target: Target, buffer: &mut [u8]) -> Result<bool, StorageError> {
        let read = self.open(target.location, Access::Read).and_then(|file| {
            if let (Some(number), Some(file)) = (self.number(target.location), &file)
                && !self.ledger.has_stamp(number)
            {
                self.ledger.stamp_before_check(number, file);
            }
            Self::read_open(file.as_deref(), target, buffer, self.faults())
        });
        match read {
            Ok(()) => Ok(true),
            Err(
                StorageError::Missing { .. }
                | StorageError::Truncated { .. }
                | StorageError::NotAFile { .. }
                | StorageError::NotAFolder { .. },
            ) => Ok(false),
            // What is only shared is as good as gone behind a link; where something is to be written, the link is in the way.
            Err(StorageError::Symlink { .. }) if self.options.read_only => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn record_checks(&self, results: &[(PieceIndex, bool)]) {
        self.note_checked(results);
        let placement = self.placement();
        // Mostly neighbours: a file comes again at once or not at all.
        let mut files = Vec::new();
        for (piece, _) in results.iter().filter(|(piece, matched)| !matched && self.ledger.had(*piece)) {
            self.disown_changed(*piece);
        }
        for (piece, _) in results.iter().filter(|(_, matched)| *matched) {
            // A journal that was lost may have said so. That it cannot be written is told by the next sync.
            let _ = self.ledger.lay(*piece, &self.parts_of(&placement, *piece));
            let targets = self.targets(&placement, *piece, 0, self.layout.piece_len(*piece));
            for location in targets.map(|target| target.location) {
                if let Some(number) = self.number(location)
                    && files.last() != Some(&number)
                {
                    files.push(number);
                }
            }
        }
        // The process that made them may have died before their folders were synced.
        self.note_folders_of(&files);
        self.ledger.checked(results, files.into_iter());
    }

    /// Closes what is open; it is opened again when needed. After a sync it is files in the [`FileCache`] at most.
    pub fn close_idle(&self) {
        self.options.files.remove_all(self.id);
        self.ledger.rest();
    }

    /// Pieces that are on disk as far as is known, synced or not.
    #[must_use]
    pub fn on_disk(&self) -> Bitfield {
        self.ledger.on_disk()
    }

    pub(crate) fn read_target(&self, target: Target, buffer: &mut [u8]) -> Result<(), StorageError> {
        let file = self.open(target.location, Access::Read)?;
        Self::read_open(file.as_deref(), target, buffer, self.faults())
    }

    /// `None` is padding.
    fn read_open(
        file: Option<&OpenFile>,
        target: Target,
        buffer: &mut [u8],
        faults: Option<&FaultPlan>,
    ) -> Result<(), StorageError> {
        let Some(file) = file else {
            buffer.fill(0);
            return Ok(());
        };
        let read = disk::read_full(file, buffer, target.offset, faults)
            .map_err(|errno| StorageError::reading(file.path(), errno))?;
        if read < buffer.len() {
            let expected = target.offset + target.length as u64;
            return Err(StorageError::Truncated { path: file.path().into(), expected });
        }
        Ok(())
    }

    /// Which of the bytes of a piece that was just found are in the parts file.
    fn parts_of(&self, placement: &Placement, piece: PieceIndex) -> Vec<(FileIndex, InParts)> {
        let spans = self.layout.file_spans(piece, 0, u32::MAX).filter(|span| !span.is_pad);
        let in_parts =
            spans.filter(|span| !placement.real.get(span.file.0) || self.ledger.is_parted(span.file, piece));
        in_parts.map(|span| (span.file, InParts::Yes)).collect()
    }

    /// Where `length` bytes of a piece lie, from `begin` on, in order.
    pub(crate) fn targets<'a>(
        &'a self,
        placement: &'a Placement,
        piece: PieceIndex,
        begin: u32,
        length: u32,
    ) -> impl Iterator<Item = Target> + 'a {
        let mut slot = u64::from(piece.get()) * u64::from(self.layout.piece_length()) + u64::from(begin);
        self.layout.file_spans(piece, begin, length).map(move |span| {
            let (location, offset) = if span.is_pad {
                (Location::Pad, 0)
            } else if placement.real.get(span.file.0) && !self.ledger.is_parted(span.file, piece) {
                (Location::File(span.file), span.offset)
            } else {
                (Location::Parts, slot)
            };
            slot += span.length;
            let length = usize::try_from(span.length).expect("a piece length is a u32");
            Target { location, offset, length }
        })
    }

    /// The number of a location in the journal and the cache; `None` for padding.
    pub(crate) fn number(&self, location: Location) -> Option<u32> {
        match location {
            Location::Pad => None,
            Location::File(file) => Some(file.0),
            Location::Parts => Some(parts_number(&self.layout)),
        }
    }

    /// An open file for a location; `None` for padding. With [`Access::Create`] the file is made ready for writing.
    pub(crate) fn open(
        &self,
        location: Location,
        access: Access,
    ) -> Result<Option<Arc<OpenFile>>, StorageError> {
        let Some(number) = self.number(location) else { return Ok(None) };
        let writable = access != Access::Read;
        if let Location::File(file) = location
            && writable
            && self.ledger.is_whole(number)
            && self.change_since_complete(file)? != Likeness::Same
        {
            // The question whose it is has to be asked again, also for a file that is open.
            self.forget_open(number);
        }
        let is_ready = !writable || location == Location::Parts || self.lock_prepared().get(number);
        if is_ready && let Some(file) = self.options.files.get((self.id, number), writable) {
            return Ok(Some(file));
        }
        if access == Access::Create {
            self.ledger.about_to_create();
        }
        let file = match location {
            Location::File(file) if writable => self.prepare(file)?,
            Location::File(file) => Arc::new(self.open_beneath(file, access)?),
            Location::Pad | Location::Parts => Arc::new(self.open_parts(access)?),
        };
        self.options.files.insert((self.id, number), Arc::clone(&file));
        Ok(Some(file))
    }

    fn change_since_complete(&self, file: FileIndex) -> Result<Likeness, StorageError> {
        let Some(path) = self.local_path(file) else { return Ok(Likeness::Same) };
        let root = self.root(true)?;
        let full = root.full(&path);
        self.ledger.change_since_complete(file.0, || match root.stat(&path) {
            Ok(stat) => Ok(stat.as_ref().map(Stamp::of)),
            // Whatever is in the way is told where the file is opened.
            Err(Errno::LOOP | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(StorageError::reading(&full, errno)),
        })
    }

    /// Opens a file of the torrent as it is.
    pub(crate) fn open_beneath(&self, file: FileIndex, access: Access) -> Result<OpenFile, StorageError> {
        let Some(relative) = self.local_path(file) else {
            return Err(StorageError::Invalid("padding has no file"));
        };
        let root = self.root(access == Access::New)?;
        let path = root.full(&relative);
        let classify = if access == Access::Read { StorageError::reading } else { StorageError::writing };
        let opened = self.hooks.call(Op::Open, &path, || match root.open_file(&relative, access) {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.options.files.shrink();
                root.open_file(&relative, access)
            }
            other => other,
        });
        match opened {
            Ok(fd) => {
                if access == Access::New {
                    self.tell_folders(&relative);
                    self.hooks.tell(Change::FileCreated(&path));
                }
                Ok(OpenFile::new(fd, path, access != Access::Read))
            }
            Err(errno) if is_refusal(errno) && access == Access::New => {
                Err(StorageError::Name { path, source: errno.into() })
            }
            // What cannot have this name is not there.
            Err(errno) if is_refusal(errno) => Err(StorageError::Missing { path }),
            Err(errno) => Err(root.blame(&relative, classify(&path, errno))),
        }
    }

    /// The folders between the root and `relative` came to be.
    pub(crate) fn tell_folders(&self, relative: &Path) {
        if self.hooks.witness.is_some() {
            let folders: Vec<_> = relative.ancestors().skip(1).collect();
            let folders = folders.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty());
            folders
                .for_each(|folder| self.hooks.tell(Change::FolderCreated(&self.place().root.join(folder))));
        }
    }

    /// Makes room for the process to open a file again under another inode.
    pub(crate) fn forget_open(&self, number: u32) {
        self.options.files.remove((self.id, number));
        // The parts file needs no preparation.
        if number != parts_number(&self.layout) {
            self.lock_prepared().clear(number);
        }
    }

    /// The download folder, opened; with `create`, made if missing. Not kept open: that would be a descriptor for
    /// every torrent, and a folder that was mounted anew would not be noticed.
    ///
    /// It is [`StorageError::Moved`] when this process saw our files in another one: what is written to those that are
    /// open goes where no user looks for it.
    pub(crate) fn root(&self, create: bool) -> Result<Root, StorageError> {
        let place = self.place();
        let path = &place.root;
        let mut known = self.known_root.lock().unwrap_or_else(PoisonError::into_inner);
        let rights = if self.options.read_only { Rights::Read } else { Rights::Write };
        let opened = match Root::open(path, rights) {
            Err(Errno::NOENT) if known.is_some() && self.ledger.has_stamps() => {
                return Err(StorageError::Moved { path: path.clone() });
            }
            Err(Errno::NOENT) if create && rights == Rights::Write => {
                create_folders(path, SHARED_FOLDER, &self.hooks).map_err(|error| self.explain(error))?;
                Root::open(path, rights)
            }
            opened => opened,
        };
        let failed = |errno| StorageError::opening_folder(path, errno);
        let root = opened.map_err(failed)?;
        let found = root.identity().map_err(failed)?;
        if known.is_some_and(|known| known != found) && !self.has_our_files(&root) {
            return Err(StorageError::Moved { path: path.clone() });
        }
        *known = Some(found);
        Ok(root)
    }

    /// Whether a file of ours lies in this folder, or there is none yet. A disk that was unplugged may come back under
    /// another number, with the same files.
    fn has_our_files(&self, root: &Root) -> bool {
        let is_there = |file| {
            let (path, stamp) = (self.local_path(file)?, self.ledger.stamp(file.0)?);
            let found = root.stat(&path).ok()??;
            Some(Stamp::of(&found).inode == stamp.inode)
        };
        !self.ledger.has_stamps() || self.layout.files().any(|file| is_there(file) == Some(true))
    }

    /// Each write asks this first. Where folders are opened it is made sure that nothing is written; here it gets its
    /// name.
    pub(crate) fn may_write(&self) -> Result<(), StorageError> {
        if self.options.read_only {
            Err(StorageError::OnlyRead { path: self.place().root.clone() })
        } else {
            Ok(())
        }
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    pub(crate) fn faults(&self) -> Option<&FaultPlan> {
        self.hooks.faults.as_ref()
    }

    pub(crate) fn options(&self) -> &StorageOptions {
        &self.options
    }

    pub(crate) fn paths(&self) -> &LocalPaths {
        &self.paths
    }

    pub(crate) fn placement(&self) -> RwLockReadGuard<'_, Placement> {
        self.placement.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn placement_lock(&self) -> &RwLock<Placement> {
        &self.placement
    }

    /// Wanted files in whose place something else lies, as of the start.
    pub(crate) fn odd_places(&self) -> Vec<FileIndex> {
        self.odd_places.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_odd_places(&self, files: Vec<FileIndex>) {
        *self.odd_places.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    pub(crate) fn lock_prepared(&self) -> MutexGuard<'_, Bitfield> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `length` as a `u32`, if the bytes are all inside the piece.
    fn inside(&self, piece: PieceIndex, begin: u32, length: usize) -> Result<u32, StorageError> {
        u32::try_from(length)
            .ok()
            .filter(|length| {
                begin.checked_add(*length).is_some_and(|end| end <= self.layout.piece_len(piece))
            })
            .ok_or(StorageError::Invalid("bytes beyond the end of a piece"))
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("place", &self.place)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.leave();
    }
}
