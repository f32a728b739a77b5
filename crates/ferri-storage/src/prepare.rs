//! Files come into being: created and sized; and bytes that wait in the parts file.

use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use ferri_metainfo::{Bitfield, FileIndex, PieceIndex};
use rustix::fs::{FallocateFlags, FileType, Stat};
use rustix::io::Errno;

use crate::atomic::{PRIVATE_FILE, PRIVATE_FOLDER, create_folders, sync_folder};
use crate::beneath::{Access, Looks, split};
use crate::disk::{self, OpenFile};
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::{Origin, Stamp};
use crate::ledger::{Dirty, InParts, parts_number};
use crate::lock::hold;
use crate::slices::Slices;
use crate::storage::{Location, Placement, Storage, Target};
use crate::verify::Verifier;
use crate::witness::{Change, errno};

/// Copied at once between the parts file and a real one.
const COPY_LENGTH: usize = 1 << 20;

/// So many bytes are moved out of the parts file at once: meanwhile no other thread may read or write.
const GATHERED_AT_ONCE: usize = 32 << 20;

/// Takes the next bytes of a copy, with how many came before.
type TakeBytes<'a> = dyn FnMut(&[u8], u64) -> Result<(), StorageError> + 'a;

impl Storage {
    /// Changes which files are downloaded; `wanted` as for [`Storage::new`].
    ///
    /// Bytes of a file that becomes wanted and lie in the parts file (from pieces it shares with others) are moved
    /// into it. A file that is no longer wanted stays as it is.
    ///
    /// # Errors
    /// When something of the user's is [in the way](StorageError::InTheWay) or bytes could not be moved; the selection is then
    /// what it was, and no byte is lost.
    pub fn set_wanted(&self, wanted: &[bool]) -> Result<(), StorageError> {
        let new = self.placement_for(wanted)?;
        if self.options().read_only {
            // What only serves reads each file where it is.
            let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
            (placement.wanted, placement.real) = (new.wanted, new.real);
            return Ok(());
        }
        // Exclusive: no other thread may read or write bytes while they move.
        let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
        self.may_change(&placement)?;
        let on_disk = self.on_disk();
        let added: Vec<FileIndex> = new.wanted.iter_and_not(&placement.wanted).map(FileIndex).collect();
        let real: Vec<FileIndex> =
            added.iter().copied().filter(|file| !self.layout().is_pad(*file)).collect();
        self.guard_files(&real, &on_disk)?;
        self.claim_absent(added.into_iter(), &new.wanted)?;
        let parted: Vec<_> = self.ledger.parted().into_iter().collect();
        let moved = self.join_all(&placement, &new.wanted, &parted);
        if moved.is_ok() {
            self.held.release(|file| !new.wanted.get(file.0));
            (placement.wanted, placement.real) = (new.wanted, new.real);
        } else {
            placement.real = new.real;
        }
        self.keep_places(&placement.wanted);
        moved
    }

    /// Moves what the parts file holds of wanted files into them: they may have become wanted between two runs, or whose they are
    /// was not known.
    pub(crate) fn gather(&self) -> Result<(), StorageError> {
        let parted = self.ledger.parted();
        if parted.is_empty() {
            return Ok(());
        }
        let wanted = self.wanted();
        let waiting: Vec<_> = parted.into_iter().filter(|(file, _)| wanted.get(*file)).collect();
        let at_once = GATHERED_AT_ONCE / (self.layout().piece_length() as usize).max(1);
        for waiting in waiting.chunks(at_once.max(1)) {
            let placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
            self.may_change(&placement)?;
            self.join_all(&placement, &placement.wanted, waiting)?;
        }
        Ok(())
    }

    /// Copies, syncs, and only then says that the bytes are in their files: until then they are where they were. Of a
    /// parts file that another program changed nothing gets into a file: the pieces are in doubt.
    fn join_all(
        &self,
        placement: &Placement,
        wanted: &Bitfield,
        waiting: &[(u32, u32)],
    ) -> Result<(), StorageError> {
        let on_disk = self.ledger.on_disk();
        let (mut joined, mut scratch) = (Vec::new(), Vec::new());
        for &(file, piece) in waiting.iter().filter(|(file, piece)| wanted.get(*file) && on_disk.get(*piece))
        {
            self.options().halt.check()?;
            let file = FileIndex(file);
            if let Some(piece) = self.layout().piece(piece)
                && !self.held.has(file)
                && self.ledger.is_parted(file, piece)
            {
                if !self.matches_at(placement, piece, &mut scratch)? {
                    self.ledger.doubt_piece(piece)?;
                    continue;
                }
                self.join(piece, file)?;
                joined.push((file, piece));
            }
        }
        if joined.is_empty() {
            return Ok(());
        }
        self.sync_files(&joined.iter().map(|(file, _)| file.0).collect())?;
        joined.iter().try_for_each(|(file, piece)| self.ledger.lay(*piece, &[(*file, InParts::No)]))?;
        self.clear_joined(&joined)
    }

    /// Gives back the room that these bytes had in the parts file, when a power cut cannot bring back that they are there.
    fn clear_joined(&self, joined: &[(FileIndex, PieceIndex)]) -> Result<(), StorageError> {
        self.ledger.commit(&Dirty::default())?;
        let Some(parts) = self.open(Location::Parts, Access::Create)? else { return Ok(()) };
        let mut ranges = Vec::with_capacity(joined.len());
        for &(file, piece) in joined {
            let mut slot = self.slot(piece);
            for span in self.layout().file_spans(piece, 0, u32::MAX) {
                if span.file == file && !span.is_pad {
                    ranges.push((slot, span.length));
                }
                slot += span.length;
            }
        }
        self.punch(&parts, &ranges);
        Ok(())
    }

    /// Those of these files that are not there may be made.
    fn claim_absent(
        &self,
        files: impl Iterator<Item = FileIndex>,
        wanted: &Bitfield,
    ) -> Result<(), StorageError> {
        let mut absent = Vec::new();
        for file in files {
            self.options().halt.check()?;
            if self.local_path(file).is_some() && self.stat_now(file)?.is_none() {
                absent.push(file.0);
            }
        }
        self.claim_places(&absent, wanted)?;
        self.ledger.claim(absent.into_iter());
        Ok(())
    }

    /// Which files are wanted, in the order of the torrent.
    #[must_use]
    pub fn wanted(&self) -> Bitfield {
        self.placement().wanted.clone()
    }

    /// The placement of a selection, as the disk is.
    pub(crate) fn placement_for(&self, wanted: &[bool]) -> Result<Placement, StorageError> {
        let count = parts_number(self.layout());
        let mut placement = Placement::new(count);
        let mut others = Vec::new();
        for file in self.layout().files() {
            let is_wanted = wanted.get(file.as_usize()).copied().unwrap_or(true);
            if is_wanted {
                placement.wanted.set(file.0);
            }
            if self.layout().is_pad(file) {
                continue;
            }
            if is_wanted {
                placement.real.set(file.0);
            } else {
                others.push(file);
            }
        }
        if others.is_empty() {
            return Ok(placement);
        }
        let root = match self.root(false) {
            Ok(root) => root,
            Err(StorageError::Missing { .. }) => return Ok(placement),
            Err(error) => return Err(error),
        };
        let mut looks = root.looks();
        for file in others {
            self.options().halt.check()?;
            if self.exists(&mut looks, file)? {
                placement.real.set(file.0);
            }
        }
        Ok(placement)
    }

    fn exists(&self, looks: &mut Looks<'_>, file: FileIndex) -> Result<bool, StorageError> {
        let Some(path) = self.local_path(file) else { return Ok(false) };
        match self.stat_in(looks, &path) {
            Ok(stat) => Ok(stat.is_some_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile)),
            // What is in the way is told when the file is wanted.
            Err(Errno::LOOP | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(StorageError::reading(&self.place().root.join(path), errno)),
        }
    }

    /// What lies at a path beneath the root.
    pub(crate) fn stat_in(&self, looks: &mut Looks<'_>, path: &Path) -> Result<Option<Stat>, Errno> {
        self.hooks().call_at(Op::Stat, || self.place().root.join(path), || looks.stat(path))
    }

    /// What lies in a file's place now; `None` when nothing does.
    pub(crate) fn stat_now(&self, file: FileIndex) -> Result<Option<Stat>, StorageError> {
        let Some(path) = self.local_path(file) else { return Ok(None) };
        let root = match self.root(false) {
            Err(StorageError::Missing { .. }) => return Ok(None),
            root => root?,
        };
        let full = root.full(&path);
        let found = self.hooks().call(Op::Stat, &full, || root.stat(&path));
        found.map_err(|errno| root.blame(&path, StorageError::reading(&full, errno)))
    }

    /// A file of ours was removed or moved away: its pieces are [doubtful](Storage::doubtful).
    pub(crate) fn gone(&self, file: FileIndex) -> StorageError {
        self.forget_open(file.0);
        let path = self.place().root.join(self.local_path(file).unwrap_or_default());
        // What the journal cannot take waits, and is told by the next sync.
        let _ = self.ledger.distrust(file.0);
        StorageError::Missing { path }
    }

    pub(crate) fn length_on_disk(&self, file: FileIndex) -> Result<Option<u64>, StorageError> {
        self.length_in(&mut self.root(true)?.looks(), file)
    }

    fn length_in(&self, looks: &mut Looks<'_>, file: FileIndex) -> Result<Option<u64>, StorageError> {
        Ok(self.look_in(looks, file)?.and_then(|stat| u64::try_from(stat.st_size).ok()))
    }

    pub(crate) fn look_in(
        &self,
        looks: &mut Looks<'_>,
        file: FileIndex,
    ) -> Result<Option<Stat>, StorageError> {
        let Some(path) = self.local_path(file) else { return Ok(None) };
        let found = looks.stat(&path);
        let failed = |errno| {
            let error = StorageError::reading(&self.place().root.join(&path), errno);
            looks.root().blame(&path, error)
        };
        found.map_err(failed)
    }

    /// Opens a file for writing, created and with its full length. Every write to the download folder comes through here, so
    /// this is where files of the user are refused.
    pub(crate) fn prepare(&self, file: FileIndex) -> Result<Arc<OpenFile>, StorageError> {
        self.may_write()?;
        // Held to the end, so that two threads do not size a file while a third already writes.
        let mut prepared = self.lock_prepared();
        if prepared.get(file.0) {
            match self.open_beneath(file, Access::Write) {
                Ok(opened) if self.is_owner(file, &opened)? => {
                    hold(&opened);
                    return Ok(Arc::new(opened));
                }
                // It was replaced or removed since it was made ready.
                Ok(_) | Err(StorageError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (opened, before) = self.open_or_make(file)?;
        let owner = if before.is_some() {
            self.take(file, &opened)?
        } else {
            self.enter(file, &opened)?;
            Some(self.owner_of(&opened, Origin::Made)?)
        };
        let length = self.layout().file_len(file);
        let changed = self.size(&opened, length, before).map_err(|error| self.explain(error))?;
        if changed || before.is_none() || owner.is_some() {
            let told = self.ledger.own_change(file.0, before, owner, &opened);
            told.map_err(|error| self.explain(error))?;
        }
        // Also of a file that was there: who made it may have died before its folders were synced.
        self.note_new_folders(file);
        prepared.set(file.0);
        Ok(Arc::new(opened))
    }

    /// Gives a file its length; whether anything was changed.
    fn size(&self, file: &OpenFile, length: u64, before: Option<Stamp>) -> Result<bool, StorageError> {
        let failed = |errno| StorageError::writing(file.path(), errno);
        let size = before.map_or(0, |stamp| stamp.size);
        self.hooks().call(Op::Allocate, file.path(), || Ok(())).map_err(failed)?;
        if self.options().preallocate && length != 0 {
            let blocks = rustix::fs::fstat(file).map_err(failed)?.st_blocks;
            // Blocks are counted in units of 512 bytes whatever the file system's are.
            if u64::try_from(blocks).unwrap_or(0).saturating_mul(512) < length {
                match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
                    Ok(()) if size <= length => {
                        self.hooks().tell(Change::Resized { path: file.path(), length });
                        return Ok(true);
                    }
                    Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
        }
        if size == length {
            return Ok(false);
        }
        rustix::fs::ftruncate(file, length).map_err(failed)?;
        self.hooks().tell(Change::Resized { path: file.path(), length });
        Ok(true)
    }

    /// The next sync has to cover the way to this file.
    pub(crate) fn note_new_folders(&self, file: FileIndex) {
        if let Some(path) = self.local_path(file) {
            self.ledger.add_dirty_folders(path.ancestors().skip(1));
        }
    }

    /// The same for many: those of one folder are mostly neighbours.
    pub(crate) fn note_folders_of(&self, numbers: &[u32]) {
        let mut folders: Vec<PathBuf> = Vec::new();
        {
            let places = self.places();
            for file in numbers.iter().map(|number| FileIndex(*number)) {
                let Some(path) = places.lies_at(file) else { continue };
                let folder = split(&path).0;
                if folders.last().is_none_or(|last| last.as_os_str() != folder.as_os_str()) {
                    folders.push(folder.to_owned());
                }
            }
        }
        // Not while the places are held: who has the ledger may wait for them.
        folders.iter().for_each(|folder| self.ledger.add_dirty_folders(folder.ancestors()));
    }

    /// `torrents/<info hash>` in the state folder.
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        let place = self.place();
        let state = place.state_dir.as_ref()?;
        Some(state.join("torrents").join(self.info().info_hashes().wire().to_string()))
    }

    pub(crate) fn open_parts(&self, access: Access) -> Result<OpenFile, StorageError> {
        let no_state = || StorageError::NoState { path: self.place().root.clone() };
        let folder = self.state_folder().ok_or_else(no_state)?;
        let path = folder.join("parts");
        let writable = access != Access::Read;
        let is_new = writable && !path.exists();
        if is_new {
            create_folders(&folder, PRIVATE_FOLDER, self.hooks())?;
        }
        let mut open = std::fs::OpenOptions::new();
        open.read(true).write(writable).create(writable).truncate(false).mode(PRIVATE_FILE);
        match self.hooks().call(Op::Open, &path, || open.open(&path).map_err(errno)) {
            Ok(file) => {
                if is_new {
                    self.hooks().tell(Change::FileCreated(&path));
                    sync_folder(&folder, self.hooks())?;
                }
                Ok(OpenFile::new(OwnedFd::from(file), path, writable))
            }
            Err(errno) => Err(StorageError::writing(&path, errno)),
        }
    }

    /// Puts blocks of a piece that does not fit into memory aside, unverified, in the piece's slot of the parts file.
    /// The download folder never sees them before [`Storage::commit_spilled`] has verified the whole.
    ///
    /// # Errors
    /// Any error of writing.
    pub fn spill(&self, piece: PieceIndex, begin: u32, blocks: &[Bytes]) -> Result<(), StorageError> {
        self.may_write()?;
        let length: usize = blocks.iter().map(Bytes::len).sum();
        if u64::from(self.layout().piece_len(piece)) < u64::from(begin) + length as u64 {
            return Err(StorageError::Invalid("bytes beyond the end of a piece"));
        }
        let Some(parts) = self.open(Location::Parts, Access::Create)? else { return Ok(()) };
        let number = parts_number(self.layout());
        self.ledger.begin(None, &[(number, &parts)]).map_err(|error| self.explain(error))?;
        let offset = self.slot(piece) + u64::from(begin);
        let written = disk::write_all(&parts, &mut Slices::new(blocks).take(length), offset, self.hooks());
        self.ledger.end(None, &[(number, &parts)]);
        written.map_err(|errno| self.explain(StorageError::writing(parts.path(), errno)))
    }

    /// Verifies a piece all of whose blocks were spilled, and moves it to its files. `false`: the hash did not match;
    /// the blocks may be spilled again.
    ///
    /// # Errors
    /// Any [`StorageError`]; the piece is then not in its files.
    pub fn commit_spilled(&self, piece: PieceIndex) -> Result<bool, StorageError> {
        self.may_write()?;
        let Some(mut verifier) = Verifier::new(self.info(), piece) else { return Ok(false) };
        let length = self.layout().piece_len(piece) as usize;
        let parts =
            self.open(Location::Parts, Access::Create)?.ok_or(StorageError::Invalid("parts are a file"))?;
        self.copy_from(&parts, self.slot(piece), length, &mut |bytes, _| {
            verifier.update(bytes);
            Ok(())
        })?;
        if !verifier.finish() {
            return Ok(false);
        }
        let new = |at: u64, buffer: &mut [u8]| self.fill_from(&parts, self.slot(piece) + at, buffer);
        let targets = self.put(piece, &new, &mut |targets| {
            let mut from = self.slot(piece);
            self.write_targets(piece, targets, &new, &mut |file, target| {
                let slot = from;
                from += target.length as u64;
                // What lies in the parts file is where it belongs.
                match (target.location, file) {
                    (Location::File(_), Some(file)) => self.copy(&parts, slot, file, target),
                    (Location::Pad, _) => self.copy_from(&parts, slot, target.length, &mut |bytes, _| {
                        let is_zero = bytes.iter().all(|byte| *byte == 0);
                        if is_zero { Ok(()) } else { Err(self.odd_padding(piece)) }
                    }),
                    _ => Ok(()),
                }
            })
        })?;
        let mut slot = self.slot(piece);
        let mut moved = Vec::with_capacity(targets.len());
        for target in targets {
            let length = target.length as u64;
            if target.location != Location::Parts {
                moved.push((slot, length));
            }
            slot += length;
        }
        self.punch(&parts, &moved);
        Ok(true)
    }

    /// Where the bytes of a piece go, in order: what is wanted to its files, what is not or is held to the parts file.
    pub(crate) fn destinations(&self, placement: &Placement, piece: PieceIndex) -> Vec<Target> {
        let mut slot = u64::from(piece.get()) * u64::from(self.layout().piece_length());
        let spans = self.layout().file_spans(piece, 0, self.layout().piece_len(piece));
        let target = spans.map(|span| {
            let (location, offset) = if span.is_pad {
                (Location::Pad, 0)
            } else if placement.wanted.get(span.file.0) && !self.held.has(span.file) {
                (Location::File(span.file), span.offset)
            } else {
                (Location::Parts, slot)
            };
            slot += span.length;
            Target {
                location,
                offset,
                length: usize::try_from(span.length).expect("a piece length is a u32"),
            }
        });
        target.collect()
    }

    /// Says where the bytes of a piece that is about to be written will be.
    pub(crate) fn lay(&self, piece: PieceIndex, targets: &[Target]) -> Result<(), StorageError> {
        let spans =
            self.layout().file_spans(piece, 0, u32::MAX).zip(targets).filter(|(span, _)| !span.is_pad);
        let place =
            |target: &Target| if target.location == Location::Parts { InParts::Yes } else { InParts::No };
        let places: Vec<_> = spans.map(|(span, target)| (span.file, place(target))).collect();
        self.ledger.lay(piece, &places)
    }

    /// Copies the bytes of one file in one piece from the parts file to where they belong.
    fn join(&self, piece: PieceIndex, file: FileIndex) -> Result<(), StorageError> {
        let Some(parts) = self.open(Location::Parts, Access::Create)? else { return Ok(()) };
        let start = self.slot(piece);
        let mut at = 0;
        for span in self.layout().file_spans(piece, 0, u32::MAX) {
            let begin = at;
            at += span.length;
            if span.is_pad || span.file != file {
                continue;
            }
            let length = usize::try_from(span.length).expect("a piece length is a u32");
            let target = Target { location: Location::File(file), offset: span.offset, length };
            let Some(opened) = self.open(target.location, Access::Create)? else { continue };
            self.compare(&target, &opened, begin, &|at, buffer| self.fill_from(&parts, start + at, buffer))?;
            self.ledger.begin(None, &[(file.0, &opened)])?;
            let copied = self.copy(&parts, start + begin, &opened, &target);
            self.ledger.end(None, &[(file.0, &opened)]);
            copied.map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    pub(crate) fn fill_from(
        &self,
        file: &OpenFile,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StorageError> {
        let read = disk::read_full(file, buffer, offset, self.faults())
            .map_err(|errno| StorageError::reading(file.path(), errno))?;
        if read < buffer.len() {
            let expected = offset + buffer.len() as u64;
            return Err(StorageError::Truncated { path: file.path().into(), expected });
        }
        Ok(())
    }

    fn copy(&self, from: &OpenFile, offset: u64, to: &OpenFile, target: &Target) -> Result<(), StorageError> {
        self.copy_from(from, offset, target.length, &mut |bytes, done| {
            let slices = &mut [std::io::IoSlice::new(bytes)];
            disk::write_all(to, slices, target.offset + done, self.hooks())
                .map_err(|errno| StorageError::writing(to.path(), errno))
        })
    }

    fn copy_from(
        &self,
        from: &OpenFile,
        offset: u64,
        length: usize,
        each: &mut TakeBytes<'_>,
    ) -> Result<(), StorageError> {
        let mut buffer = vec![0; length.min(COPY_LENGTH)];
        let mut done = 0;
        while done < length {
            let part = &mut buffer[..(length - done).min(COPY_LENGTH)];
            let at = offset + done as u64;
            let read = disk::read_full(from, part, at, self.faults())
                .map_err(|errno| StorageError::reading(from.path(), errno))?;
            if read < part.len() {
                return Err(StorageError::Truncated {
                    path: from.path().into(),
                    expected: at + part.len() as u64,
                });
            }
            each(part, done as u64)?;
            done += part.len();
        }
        Ok(())
    }

    /// Gives the room of bytes back that have moved on. That it fails costs room only.
    fn punch(&self, parts: &OpenFile, ranges: &[(u64, u64)]) {
        let number = parts_number(self.layout());
        if self.ledger.begin(None, &[(number, parts)]).is_err() {
            return;
        }
        for &(offset, length) in ranges {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if rustix::fs::fallocate(parts, how, offset, length).is_ok() {
                self.hooks().tell(Change::Cleared { path: parts.path(), offset, length });
            }
        }
        self.ledger.end(None, &[(number, parts)]);
    }

    pub(crate) fn slot(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.get()) * u64::from(self.layout().piece_length())
    }
}
