//! Whose the files are that lie where those of a torrent belong, and that those of the user are not written over.
//!
//! A file is ours when
//! - we made it and it is still the one that we made (its inode, with the time at which that was born, is remembered); a
//!   complete one must also look as we left it, for what changed since is the user's work;
//! - or every byte of it is the torrent's or zero: its own pieces match. Then it was *found*. A file of which a whole piece
//!   matches may have bytes that no piece vouches for yet: in pieces that it shares with others, in those that another
//!   client's broken download has a part of. Until these pieces came and agreed it is *held* ([`held`](crate::held)): nothing
//!   is written to it. Nothing but zeros is ever written over. When nothing at all vouches for a file, it is not ours.
//!
//! A file that is longer than the torrent's is never ours: we make none such. Nor is one that was complete and changed since
//! ([`Origin::Theirs`]), until it is gone: cut short it would look like a download that was broken off. What was only found
//! is the user's too when a piece of it rots without a trace; what we made is mended. A file of another torrent
//! ([`neighbors`](crate::neighbors)) is that one's. One that the user gives up
//! ([`StorageOptions::overwrite`](crate::StorageOptions)) is ours, whatever it holds, as long as it is a plain file and no
//! torrent that runs has it. Links, devices and folders are always in the way.
//!
//! [`Storage::guard`] looks before the download begins, so that nothing is fetched in vain. The same look decides where
//! a file is opened for writing (`prepare`), so that no caller gets past it.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

use ferri_metainfo::{Bitfield, FileIndex, FileSpan, Info, PieceIndex};
use rustix::fs::{FileType, Stat};

use crate::beneath::{Access, birth, identity};
use crate::claims::{self, Elsewhere};
use crate::disk::{self, OpenFile};
use crate::error::{Conflict, StorageError};
use crate::held::{blocks, divided};
use crate::journal::{Origin, Owner, Stamp};
use crate::ledger::parts_number;
use crate::lock::hold;
use crate::neighbors::{self, Neighbors};
use crate::places::Alias;
use crate::register::{self, Claim, Entered};
use crate::resume::resolved;
use crate::stamp::Likeness;
use crate::storage::{Location, Storage, Target};
use crate::verify::Verifier;

/// The least that a disk writes whole or not at all.
const SECTOR_LENGTH: u64 = 512;

/// Read at once.
const LOOK_LENGTH: usize = 1 << 20;

/// Gives bytes of a piece that is about to be written, from an offset in it.
pub(crate) type NewBytes<'a> = dyn Fn(u64, &mut [u8]) -> Result<(), StorageError> + 'a;

impl Storage {
    /// Makes sure that nothing of the user's lies where wanted files are to be written, and moves what the parts file holds of
    /// them to where it belongs. Call it when what lies there was checked, before anything is fetched.
    ///
    /// # Errors
    /// [`StorageError::InTheWay`], or [`StorageError::NotAFile`] and its kin: the first file that is in the way. Nothing was
    /// changed then. Errors of the disk.
    pub fn guard(&self) -> Result<(), StorageError> {
        if self.options().read_only {
            return Ok(());
        }
        self.may_change(&self.placement())?;
        let on_disk = self.on_disk();
        let wanted = self.wanted();
        let strangers = self.ledger.strangers();
        let files = self.odd_places().into_iter().chain(strangers).filter(|file| wanted.get(file.0));
        self.guard_files(&files.collect::<Vec<_>>(), &on_disk)?;
        self.gather()
    }

    /// The same for these files.
    pub(crate) fn guard_files(&self, files: &[FileIndex], on_disk: &Bitfield) -> Result<(), StorageError> {
        let lacking = files.iter().filter(|file| !self.is_whole(**file, on_disk));
        let inodes = lacking.filter_map(|file| Some(self.ledger.stamp(file.0)?.inode)).collect();
        let neighbors = self.neighbors(inodes);
        files.iter().try_for_each(|file| {
            self.options().halt.check()?;
            self.guard_file(*file, on_disk, &neighbors)
        })
    }

    /// All of it is there, as far as is known, and in its place.
    pub(crate) fn is_whole(&self, file: FileIndex, on_disk: &Bitfield) -> bool {
        let mut pieces = self.layout().file_pieces(file).filter_map(|piece| self.layout().piece(piece));
        pieces.all(|piece| on_disk.get(piece.get()) && !self.ledger.is_parted(file, piece))
    }

    fn guard_file(
        &self,
        file: FileIndex,
        on_disk: &Bitfield,
        neighbors: &Neighbors,
    ) -> Result<(), StorageError> {
        let length = self.layout().file_len(file);
        let (Some(path), Some(stat)) = (self.local_path(file), self.stat_now(file)?) else {
            self.held.release(|held| held == file);
            return Ok(());
        };
        self.refuse_odd(&path, &stat)?;
        // Nothing is to be written, whichever torrent has it.
        if self.is_whole(file, on_disk) && u64::try_from(stat.st_size) == Ok(length) {
            self.held.release(|held| held == file);
            return Ok(());
        }
        let opened = self.open_beneath(file, Access::Read)?;
        let owner = match self.license(file, &opened, neighbors)? {
            License::Held(stamp, awaited) => {
                self.held.hold(file, stamp, awaited);
                return Ok(());
            }
            // One with nothing in it becomes ours when we lock it: until then another process may put its data there.
            License::Taken(owner) => {
                Some(owner).filter(|owner| owner.origin == Origin::Found || self.options().overwrite)
            }
            License::Ours => None,
        };
        if let Some(owner) = owner {
            self.ledger.own(file.0, Some(owner))?;
        }
        self.held.release(|held| held == file);
        Ok(())
    }

    /// Whether an open file may be written to.
    ///
    /// # Errors
    /// [`StorageError::InTheWay`], [`StorageError::Taken`].
    fn license(
        &self,
        file: FileIndex,
        opened: &OpenFile,
        neighbors: &Neighbors,
    ) -> Result<License, StorageError> {
        let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::reading(opened.path(), errno))?;
        let stamp = Stamp::of(&stat);
        let is_ours = self.is_owner(file, opened)?;
        if !is_ours {
            self.part_with_neighbors(file, opened, (&stamp, birth(opened.as_fd())), neighbors)?;
        }
        if self.options().overwrite {
            let made = || self.owner_of(opened, Origin::Made).map(License::Taken);
            return if is_ours { Ok(License::Ours) } else { made() };
        }
        let in_the_way = |why| StorageError::InTheWay { path: opened.path().into(), why };
        if self.layout().file_len(file) < stamp.size {
            return Err(in_the_way(Conflict::Longer));
        }
        let mut is_changed = false;
        if is_ours {
            match self.ledger.change_since_complete(file.0, || Stamp::of_open(opened))? {
                Likeness::Same => return Ok(License::Ours),
                Likeness::Touched if self.holds_what_is_known(file)? => {
                    self.ledger.restamp(file.0, stamp)?;
                    // No piece vouches for bytes that it shares with what is missing: they are compared.
                    return self.owner_of(opened, Origin::Found).map(License::Taken);
                }
                Likeness::Touched | Likeness::Changed => is_changed = true,
            }
        }
        if (is_changed || self.has_owner(file, opened, Origin::Theirs)?)
            && !is_blank(opened, 0..stamp.size, &mut vec![0; LOOK_LENGTH])?
        {
            if is_changed {
                self.ledger.own(file.0, Some(self.owner_of(opened, Origin::Theirs)?))?;
            }
            return Err(in_the_way(Conflict::Changed));
        }
        // A torrent that writes the same here may be in the middle of it.
        if register::is_written(place_of(opened)?, self.id(), (self.info(), file)) {
            return self.owner_of(opened, Origin::Found).map(License::Taken);
        }
        match self.appraise(file, opened, &stamp)? {
            Appraised::Ours(origin) => self.owner_of(opened, origin).map(License::Taken),
            // What comes for it has to be put somewhere meanwhile.
            Appraised::Undecided(_) if self.state_folder().is_none() => Err(in_the_way(Conflict::Undecided)),
            Appraised::Undecided(awaited) => Ok(License::Held(stamp, awaited)),
        }
    }

    /// What is remembered of a file that is ours.
    pub(crate) fn owner_of(&self, opened: &OpenFile, origin: Origin) -> Result<Owner, StorageError> {
        let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::reading(opened.path(), errno))?;
        Ok(Owner { origin, inode: Stamp::of(&stat).inode, born: birth(opened.as_fd()) })
    }

    /// Takes a file that is there, open for writing, if that is allowed and no other torrent has it.
    pub(crate) fn take(&self, file: FileIndex, opened: &OpenFile) -> Result<Option<Owner>, StorageError> {
        if self.enter(file, opened)? != Entered::Together {
            let refused = match self.license(file, opened, &Neighbors::default()) {
                Ok(License::Ours) => return Ok(None),
                Ok(License::Taken(owner)) => return Ok(Some(owner)),
                Ok(License::Held(stamp, awaited)) => {
                    self.held.hold(file, stamp, awaited);
                    StorageError::InTheWay { path: opened.path().into(), why: Conflict::Undecided }
                }
                Err(error) => error,
            };
            register::give_up(place_of(opened)?, self.id());
            return Err(refused);
        }
        // Other torrents that write here write the same, and are at it: there is nothing to be judged.
        if self.is_owner(file, opened)? { Ok(None) } else { self.owner_of(opened, Origin::Found).map(Some) }
    }

    /// Enters a file into the register of those that are written to. Two that begin one file would both find nothing in it.
    pub(crate) fn enter(&self, file: FileIndex, opened: &OpenFile) -> Result<Entered, StorageError> {
        let place = place_of(opened)?;
        let entered = register::enter(place, self.id(), self.info(), file)
            .map_err(|by| self.taken(opened.path(), told(&by)))?;
        // A file that this torrent has open already is held by that.
        if !hold(opened) && entered == Entered::First {
            register::give_up(place, self.id());
            return Err(StorageError::InUse { path: opened.path().into() });
        }
        Ok(entered)
    }

    /// From here on no other torrent of this process or state folder makes these files, which are not there, nor those
    /// of the wanted that will get another name when they are whole.
    ///
    /// # Errors
    /// [`StorageError::Taken`]: another one is going to make one of them.
    pub(crate) fn claim_places(&self, absent: &[u32], wanted: &Bitfield) -> Result<(), StorageError> {
        let mut files = Bitfield::new(parts_number(self.layout()));
        let is_link =
            |file: u32| self.info().file(FileIndex(file)).is_none_or(|file| file.attributes.symlink);
        let renamed: Vec<u32> = {
            let places = self.places();
            let unfinished = places.moved().filter(|(_, _, alias)| *alias == Alias::Unfinished);
            unfinished.map(|(file, ..)| file.0).filter(|file| wanted.get(*file)).collect()
        };
        for &file in absent.iter().filter(|file| !is_link(**file)).chain(&renamed) {
            files.set(file);
        }
        if files.none() {
            return Ok(());
        }
        let claim = Claim {
            id: self.id(),
            info: self.info().clone(),
            root: resolved(&self.place().root),
            places: self.shared_places(),
            files,
        };
        let place_of = |file| {
            let path = self.places().destined(file).unwrap_or_default();
            self.place().root.join(path)
        };
        let (claimed, added) =
            register::claim(&claim).map_err(|clash| self.taken(&place_of(clash.file), told(&clash.by)))?;
        self.tell_others(&claimed).map_err(|elsewhere| {
            register::give_back(self.id(), &added);
            self.taken(&place_of(elsewhere.file), neighbors::told(&elsewhere.name, &elsewhere.info_hash))
        })
    }

    /// This torrent claims none but these files any more.
    pub(crate) fn keep_places(&self, wanted: &Bitfield) {
        if let Some(claimed) = register::keep(self.id(), wanted) {
            // Less than before: there is nothing to object to.
            let _ = self.tell_others(&claimed);
        }
    }

    /// Says to other processes with this state folder what is going to be made.
    pub(crate) fn tell_others(&self, claimed: &Claim) -> Result<(), Elsewhere> {
        let folder = self.state_folder();
        let torrents = folder.as_deref().and_then(Path::parent);
        torrents.map_or(Ok(()), |torrents| claims::claim(torrents, claimed, self.hooks()))
    }

    /// Gives up all places of this torrent, so that others of this process may have them. It still can be used: what it
    /// writes to from here on it enters anew.
    pub fn leave(&self) {
        register::leave(self.id());
        claims::leave(self.id());
        let count = parts_number(self.layout());
        *self.lock_prepared() = Bitfield::new(count);
        self.options().files.remove_all(self.id());
    }

    pub(crate) fn taken(&self, path: &Path, by: String) -> StorageError {
        StorageError::Taken { path: path.to_path_buf(), torrent: told(self.info()), by }
    }

    /// Whether this is the file that we own.
    pub(crate) fn is_owner(&self, file: FileIndex, opened: &OpenFile) -> Result<bool, StorageError> {
        Ok(self.has_owner(file, opened, Origin::Made)? || self.has_owner(file, opened, Origin::Found)?)
    }

    /// Whether this is the file that is remembered, for this reason.
    fn has_owner(&self, file: FileIndex, opened: &OpenFile, why: Origin) -> Result<bool, StorageError> {
        let Some(owner) = self.ledger.owner(file.0).filter(|owner| owner.origin == why) else {
            return Ok(false);
        };
        let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::reading(opened.path(), errno))?;
        Ok(owner.inode == Stamp::of(&stat).inode && is_born(&owner, birth(opened.as_fd())))
    }

    /// What a file that looks like `stamp` holds, if that makes it ours.
    fn appraise(&self, file: FileIndex, opened: &OpenFile, stamp: &Stamp) -> Result<Appraised, StorageError> {
        let on_disk = self.on_disk();
        // What is known of pieces is known of the file that they were seen in.
        let is_known = self.is_as_known(file, stamp);
        let mut scratch = vec![0; LOOK_LENGTH];
        let (mut is_matched, mut has_agreed, mut undecided) = (false, false, BTreeSet::new());
        let in_the_way = |why| StorageError::InTheWay { path: opened.path().into(), why };
        for piece in self.layout().file_pieces(file).filter_map(|piece| self.layout().piece(piece)) {
            let Some((begin, span)) = self.span_in(piece, file) else { continue };
            if stamp.size <= span.offset {
                break;
            }
            let is_parted = self.ledger.is_parted(file, piece);
            if is_known && on_disk.get(piece.get()) && !is_parted {
                is_matched = true;
                continue;
            }
            let length = usize::try_from(span.length).expect("a piece length is a u32");
            let target = Target { location: Location::File(file), offset: span.offset, length };
            let has_come = is_parted && on_disk.get(piece.get());
            match self.content(piece, (begin, target), (opened, stamp), has_come, &mut scratch)? {
                Content::Blank => {}
                Content::Piece => is_matched = true,
                Content::Agreed => has_agreed = true,
                Content::Undecided => drop(undecided.insert(piece.get())),
                Content::Other if is_matched || self.holds_any(file, piece, is_known, &mut scratch)? => {
                    return Err(in_the_way(Conflict::Differs));
                }
                Content::Other => return Err(in_the_way(Conflict::Foreign)),
            }
        }
        if undecided.is_empty() {
            let origin = if is_matched || has_agreed { Origin::Found } else { Origin::Made };
            return Ok(Appraised::Ours(origin));
        }
        if is_matched { Ok(Appraised::Undecided(undecided)) } else { Err(in_the_way(Conflict::Undecided)) }
    }

    /// What a file has in the place of its bytes in a piece, which `begin` there. `has_come`: they are in the parts file.
    fn content(
        &self,
        piece: PieceIndex,
        (begin, target): (u64, Target),
        (opened, stamp): (&OpenFile, &Stamp),
        has_come: bool,
        scratch: &mut [u8],
    ) -> Result<Content, StorageError> {
        let Location::File(file) = target.location else { return Ok(Content::Blank) };
        let whole_end = target.offset + target.length as u64;
        let end = stamp.size.min(whole_end);
        let is_cut = end < whole_end;
        if is_blank(opened, target.offset..end, scratch)? {
            return Ok(Content::Blank);
        }
        if !is_cut && self.matches_in_files(piece, scratch)? {
            return Ok(Content::Piece);
        }
        if self.held.has_agreed(file, piece, stamp) {
            return Ok(Content::Agreed);
        }
        if has_come && let Some(parts) = self.open(Location::Parts, Access::Read)? {
            let came = |at, buffer: &mut [u8]| self.fill_from(&parts, self.slot(piece) + at, buffer);
            return match self.agree(&target, opened, begin, &came) {
                Ok(()) => Ok(Content::Agreed),
                Err(StorageError::InTheWay { .. }) => Ok(Content::Other),
                Err(error) => Err(error),
            };
        }
        let is_undecided =
            is_cut || self.is_shared(piece) || has_blank_block(opened, &target, begin, scratch)?;
        Ok(if is_undecided { Content::Undecided } else { Content::Other })
    }

    /// Where the bytes of a file begin in a piece, and which they are.
    fn span_in(&self, piece: PieceIndex, file: FileIndex) -> Option<(u64, FileSpan)> {
        let mut begin = 0;
        for span in self.layout().file_spans(piece, 0, u32::MAX) {
            if !span.is_pad && span.file == file {
                return Some((begin, span));
            }
            begin += span.length;
        }
        None
    }

    /// Whether all that the torrent has of a file of this size is there.
    pub(crate) fn holds_all(&self, file: FileIndex, size: u64) -> Result<bool, StorageError> {
        if size != self.layout().file_len(file) {
            return Ok(false);
        }
        let mut scratch = vec![0; LOOK_LENGTH];
        for piece in self.layout().file_pieces(file).filter_map(|piece| self.layout().piece(piece)) {
            if !self.matches_in_files(piece, &mut scratch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a piece after this one, of the file alone, is right.
    fn holds_any(
        &self,
        file: FileIndex,
        after: PieceIndex,
        is_known: bool,
        scratch: &mut [u8],
    ) -> Result<bool, StorageError> {
        let on_disk = self.on_disk();
        let later = self.layout().file_pieces(file).filter(|piece| after.get() < *piece);
        for piece in later.filter_map(|piece| self.layout().piece(piece)) {
            self.options().halt.check()?;
            let is_right = match is_known {
                true => on_disk.get(piece.get()) && !self.ledger.is_parted(file, piece),
                false => !self.is_shared(piece) && self.matches_in_files(piece, scratch)?,
            };
            if is_right {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a file that was complete still holds its own pieces, but for those that are known to be missing.
    fn holds_what_is_known(&self, file: FileIndex) -> Result<bool, StorageError> {
        let (on_disk, mut scratch) = (self.on_disk(), vec![0; LOOK_LENGTH]);
        for piece in self.layout().file_pieces(file).filter_map(|piece| self.layout().piece(piece)) {
            self.options().halt.check()?;
            let is_to_match = on_disk.get(piece.get()) && !self.is_shared(piece);
            if is_to_match && !self.matches_in_files(piece, &mut scratch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a file looks as it did when it was last written to or looked at.
    fn is_as_known(&self, file: FileIndex, stamp: &Stamp) -> bool {
        self.ledger.stamp(file.0).is_some_and(|known| stamp.compare(&known) == Likeness::Same)
    }

    /// Refuses what is no file in the place of one.
    pub(crate) fn refuse_odd(&self, path: &Path, stat: &Stat) -> Result<(), StorageError> {
        let path = || self.place().root.join(path);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(()),
            FileType::Symlink => Err(StorageError::Symlink { path: path() }),
            _ => Err(StorageError::NotAFile { path: path() }),
        }
    }

    /// Whether a piece has bytes of several files.
    fn is_shared(&self, piece: PieceIndex) -> bool {
        let mut files = self.layout().file_spans(piece, 0, u32::MAX).filter(|span| !span.is_pad);
        let first = files.next().map(|span| span.file);
        files.any(|span| Some(span.file) != first)
    }

    /// Whether the files themselves hold this piece, whatever the parts file has.
    fn matches_in_files(&self, piece: PieceIndex, scratch: &mut [u8]) -> Result<bool, StorageError> {
        let Some(mut verifier) = Verifier::new(self.info(), piece) else { return Ok(false) };
        for span in self.layout().file_spans(piece, 0, u32::MAX) {
            let location = if span.is_pad { Location::Pad } else { Location::File(span.file) };
            let mut offset = span.offset;
            let end = span.offset + span.length;
            while offset < end {
                let length = (end - offset).min(scratch.len() as u64) as usize;
                let part = &mut scratch[..length];
                if !self.read_for_check(Target { location, offset, length }, part)? {
                    return Ok(false);
                }
                verifier.update(part);
                offset += length as u64;
            }
        }
        Ok(verifier.finish())
    }

    /// Before bytes are written into a file that was found: what is there already must be the same, or nothing. `at` is where
    /// they begin in their piece.
    ///
    /// # Errors
    /// [`StorageError::InTheWay`].
    pub(crate) fn compare(
        &self,
        target: &Target,
        opened: &OpenFile,
        at: u64,
        new: &NewBytes<'_>,
    ) -> Result<(), StorageError> {
        let Location::File(file) = target.location else { return Ok(()) };
        if self.options().overwrite
            || self.ledger.owner(file.0).is_none_or(|owner| owner.origin == Origin::Made)
        {
            return Ok(());
        }
        self.agree(target, opened, at, new)
    }

    /// Makes sure that a file has nothing else in the place of these bytes: each sector is the same, or only zeros. A power cut
    /// leaves some sectors of a write and not others.
    ///
    /// # Errors
    /// [`StorageError::InTheWay`].
    pub(crate) fn agree(
        &self,
        target: &Target,
        opened: &OpenFile,
        at: u64,
        new: &NewBytes<'_>,
    ) -> Result<(), StorageError> {
        // A torrent that writes the same may be in the middle of it.
        let is_shared = register::is_shared(place_of(opened)?);
        let mut there = vec![0; target.length.min(LOOK_LENGTH)];
        let mut coming = there.clone();
        let mut done = 0;
        while done < target.length {
            let length = (target.length - done).min(LOOK_LENGTH);
            let read =
                disk::read_full(opened, &mut there[..length], target.offset + done as u64, self.faults());
            let read = read.map_err(|errno| StorageError::reading(opened.path(), errno))?;
            new(at + done as u64, &mut coming[..length])?;
            // Zeros at the end may be a hole, or what the file was grown by.
            let end = there[..read].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let differs = divided(target.offset + done as u64, end, SECTOR_LENGTH).any(|sector| {
                let (there, coming) = (&there[sector.clone()], &coming[sector]);
                let is_begun =
                    || there.iter().zip(coming).all(|(there, coming)| *there == 0 || there == coming);
                there != coming && !is_zero(there) && !(is_shared && is_begun())
            });
            if differs {
                return Err(StorageError::InTheWay { path: opened.path().into(), why: Conflict::Differs });
            }
            if read < length {
                break;
            }
            done += length;
        }
        Ok(())
    }

    /// Before the last touches: a complete file that does not look as we left it is looked at. Where it holds what it
    /// should, it was only touched.
    ///
    /// # Errors
    /// [`StorageError::InTheWay`]: it is the user's, and the pieces that it lacks are [doubtful](Storage::doubtful).
    /// [`StorageError::Changed`]: the same of one that the user gave up.
    pub(crate) fn settle_change(&self, file: FileIndex, found: Stamp) -> Result<(), StorageError> {
        let change = self.ledger.change_since_complete(file.0, || Ok(Some(found)))?;
        if change == Likeness::Same {
            return Ok(());
        }
        self.forget_open(file.0);
        self.ledger.distrust(file.0)?;
        let (mut right, mut wrong, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        for piece in self.layout().file_pieces(file).filter_map(|piece| self.layout().piece(piece)) {
            self.options().halt.check()?;
            match self.matches_on_disk(piece, &mut scratch)? {
                true => right.push((piece, true)),
                false => wrong.push(piece),
            }
        }
        self.record_checks(&right);
        wrong.iter().for_each(|piece| self.disown_changed(*piece));
        if wrong.is_empty() && change == Likeness::Touched {
            // The next start need not look again.
            self.ledger.restamp(file.0, found)?;
        }
        let path = self.place().root.join(self.local_path(file).unwrap_or_default());
        let is_longer = self.layout().file_len(file) < found.size;
        match self.options().overwrite {
            // What is too long is cut.
            true if wrong.is_empty() => Ok(()),
            true => Err(StorageError::Changed { path }),
            false if wrong.is_empty() && !is_longer => Ok(()),
            false => Err(StorageError::InTheWay { path, why: Conflict::Changed }),
        }
    }

    /// A piece that was there no longer matches: if the user changed a file of it that was complete, it is not ours any more,
    /// nor to be taken for a broken download. One that looks as we left it rotted; if it was the user's before, it is still.
    pub(crate) fn disown_changed(&self, piece: PieceIndex) {
        for span in self.layout().file_spans(piece, 0, u32::MAX).filter(|span| !span.is_pad) {
            let file = span.file;
            let standing = self.ledger.standing(file, piece);
            let Some(known) = standing.stamp.filter(|_| !standing.is_parted) else { continue };
            let Ok(found) = self.stat_now(file) else { continue };
            let likeness = found.map_or(Likeness::Changed, |found| Stamp::of(&found).compare(&known));
            let owner = if standing.was_whole {
                let is_ours = standing.owner.is_some_and(|owner| owner.origin == Origin::Made);
                let is_as_left = likeness == Likeness::Same;
                if is_as_left && (is_ours || self.is_shared(piece) || !standing.had_all) {
                    continue;
                }
                let opened = self.open_beneath(file, Access::Read);
                opened.ok().and_then(|opened| self.owner_of(&opened, Origin::Theirs).ok())
            } else if likeness == Likeness::Touched {
                // What is not complete was written to by another program that set the time again: what it holds says whose
                // it is.
                None
            } else {
                continue;
            };
            // What the journal cannot take waits, and is told by the next sync.
            let _ = self.ledger.own(file.0, owner);
            self.forget_open(file.0);
        }
    }
}

/// A torrent as its user may know it; names are not unique.
pub(crate) fn told(info: &Info) -> String {
    format!("{:?} ({})", info.name(), info.info_hashes().wire())
}

/// Where a file stands in the register of those that are written to.
fn place_of(opened: &OpenFile) -> Result<register::Place, StorageError> {
    let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::reading(opened.path(), errno))?;
    Ok((identity(&stat), birth(opened.as_fd())))
}

/// Whether a file that was born then can be the one that we own; who does not know does not object.
pub(crate) fn is_born(owner: &Owner, born: i64) -> bool {
    owner.born == 0 || born == 0 || owner.born == born
}

/// What may be done with a file that is there.
enum License {
    /// It is ours.
    Ours,
    /// It is ours from here on, because of what it holds; to be remembered.
    Taken(Owner),
    /// It looks like this, and may be ours when these pieces came.
    Held(Stamp, BTreeSet<u32>),
}

/// Whose a file may be by what it holds.
enum Appraised {
    Ours(Origin),
    /// These pieces tell when they come.
    Undecided(BTreeSet<u32>),
}

/// What a file has in the place of its bytes in a piece.
enum Content {
    /// Nothing, or only zeros.
    Blank,
    /// The piece is right.
    Piece,
    /// The piece is known, and what is there of it is right.
    Agreed,
    /// Something that only the piece itself can tell from the user's.
    Undecided,
    /// Something else.
    Other,
}

/// Whether there are only zeros: a hole, room that was reserved, or nothing that would be missed.
fn is_blank(file: &OpenFile, range: std::ops::Range<u64>, scratch: &mut [u8]) -> Result<bool, StorageError> {
    let mut at = range.start;
    while at < range.end {
        let length = (range.end - at).min(scratch.len() as u64) as usize;
        let read = disk::read_full(file, &mut scratch[..length], at, None)
            .map_err(|errno| StorageError::reading(file.path(), errno))?;
        if !is_zero(&scratch[..read]) {
            return Ok(false);
        }
        if read < length {
            break;
        }
        at += length as u64;
    }
    Ok(true)
}

/// Whether a block of a piece, whose bytes begin at `at` in it, has only zeros: then another program may have fetched only
/// the other ones.
fn has_blank_block(
    file: &OpenFile,
    target: &Target,
    at: u64,
    scratch: &mut [u8],
) -> Result<bool, StorageError> {
    for block in blocks(at, target.length) {
        let from = target.offset + block.start as u64;
        if is_blank(file, from..from + block.len() as u64, scratch)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
