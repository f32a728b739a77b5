//! What the ledger knows of files: whose they are, and which bytes of them are in the parts file.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use ferri_metainfo::{FileIndex, PieceIndex};

use super::{Inner, Ledger, runs};
use crate::error::StorageError;
use crate::journal::{Origin, Owner, Record, Stamp};
use crate::witness::Hooks;

impl Ledger {
    /// Why a file is ours to write to, if it is.
    pub(crate) fn owner(&self, number: u32) -> Option<Owner> {
        self.lock().state.owners.get(&number).copied()
    }

    /// Remembers whose a file is.
    pub(crate) fn own(&self, number: u32, owner: Option<Owner>) -> Result<(), StorageError> {
        let mut inner = self.lock();
        if inner.state.owners.get(&number).copied() == owner {
            return Ok(());
        }
        inner.append(&[Record::Owner { file: number, owner }], &self.hooks)
    }

    /// Files that are there and not ours as far as is known.
    pub(crate) fn strangers(&self) -> Vec<FileIndex> {
        let inner = self.lock();
        let files = inner.state.stamps.range(..super::parts_number(&self.layout));
        files
            .filter(|(file, _)| {
                inner.state.owners.get(file).is_none_or(|owner| owner.origin == Origin::Theirs)
            })
            .map(|(&file, _)| FileIndex(file))
            .collect()
    }

    /// These files are not there, and may be made: said in the journal before the first of them can have a byte.
    pub(crate) fn claim(&self, files: impl Iterator<Item = u32>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.claims.extend(files);
        inner.is_claim_due = true;
    }

    /// All of a file's pieces are there, as far as is known or was until one came into doubt.
    pub(crate) fn has_all(&self, number: u32) -> bool {
        let inner = self.lock();
        let mut pieces = self.layout.file_pieces(FileIndex(number));
        pieces.all(|piece| inner.state.durable.get(piece) || inner.state.unsure.get(piece))
    }

    /// All of a file's pieces were found to be right, and no look since said otherwise.
    pub(crate) fn had_all(&self, number: u32) -> bool {
        let inner = self.lock();
        self.layout.file_pieces(FileIndex(number)).all(|piece| inner.was_right(piece))
    }

    /// A file of ours that was complete lacks a piece since.
    pub(crate) fn is_whole(&self, number: u32) -> bool {
        self.lock().state.whole.contains(&number)
    }

    /// Files that were complete and that are about to lose one of these pieces, as far as that is not said yet.
    pub(super) fn losing(&self, inner: &Inner, results: &[(PieceIndex, bool)]) -> BTreeSet<u32> {
        let lost = results.iter().filter(|(_, matched)| !matched).map(|(piece, _)| *piece);
        let files = lost.flat_map(|piece| self.layout.file_spans(piece, 0, u32::MAX));
        let mut seen = BTreeSet::new();
        let files = files.filter(|span| !span.is_pad && seen.insert(span.file.0)).map(|span| span.file.0);
        let is_ours = |file: &u32| {
            inner.state.owners.get(file).is_some_and(|owner| owner.origin != Origin::Theirs)
                && !inner.state.whole.contains(file)
        };
        files.filter(|file| is_ours(file) && self.was_complete(inner, *file)).collect()
    }

    /// A file was complete, in its place.
    fn was_complete(&self, inner: &Inner, number: u32) -> bool {
        let is_here = |piece| inner.was_right(piece) && !inner.state.parted.contains(&(number, piece));
        self.layout.file_pieces(FileIndex(number)).all(is_here)
    }

    /// Whether another program changed a file since it was complete. One that we write to just now looks as we make it.
    ///
    /// # Errors
    /// Those of `stat`, which is asked under the lock that orders what a file looks like, and must not take it again.
    pub(crate) fn is_changed_since_complete(
        &self,
        number: u32,
        stat: impl FnOnce() -> Result<Option<Stamp>, StorageError>,
    ) -> Result<bool, StorageError> {
        let inner = self.lock();
        if inner.flights.contains_key(&number) {
            return Ok(false);
        }
        let (known, Some(now)) = (inner.state.stamps.get(&number), stat()?) else { return Ok(false) };
        let is_changed = known.is_some_and(|known| *known != now);
        Ok(is_changed && (inner.state.whole.contains(&number) || self.was_complete(&inner, number)))
    }

    /// A piece was there, or is doubtful.
    pub(crate) fn had(&self, piece: PieceIndex) -> bool {
        let inner = self.lock();
        inner.state.durable.get(piece.get()) || inner.state.unsure.get(piece.get())
    }

    /// The bytes of a file in a piece are in the parts file.
    pub(crate) fn is_parted(&self, file: FileIndex, piece: PieceIndex) -> bool {
        // Most torrents have nothing there, and this is asked for every block that is read.
        self.parted_count.load(Ordering::Acquire) != 0
            && self.lock().state.parted.contains(&(file.0, piece.get()))
    }

    /// What a journal says of the parts file holds from here on, before all of it is taken over.
    pub(crate) fn recall_parted(&self, parted: &BTreeSet<(u32, u32)>) {
        let mut inner = self.lock();
        inner.state.parted.clone_from(parted);
        self.parted_count.store(parted.len(), Ordering::Release);
    }

    /// Everything that is in the parts file: file and piece.
    pub(crate) fn parted(&self) -> BTreeSet<(u32, u32)> {
        if self.parted_count.load(Ordering::Acquire) == 0 {
            return BTreeSet::new();
        }
        self.lock().state.parted.clone()
    }

    /// Says where the bytes of a piece are: of each file, whether they are in the parts file.
    pub(crate) fn lay(&self, piece: PieceIndex, places: &[(FileIndex, InParts)]) -> Result<(), StorageError> {
        let mut inner = self.lock();
        let piece = piece.get();
        let mut records = Vec::new();
        for &(FileIndex(file), place) in places {
            match (inner.state.parted.contains(&(file, piece)), place) {
                (false, InParts::Yes) => records.push(Record::Parted { file, piece }),
                (true, InParts::No) => records.push(Record::Joined { file, piece }),
                _ => {}
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let appended = inner.append(&records, &self.hooks);
        self.parted_count.store(inner.state.parted.len(), Ordering::Release);
        appended
    }
}

/// Whether bytes are in the parts file or in their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InParts {
    Yes,
    No,
}

impl Inner {
    /// A piece was found to be right, and no look since said otherwise.
    fn was_right(&self, piece: u32) -> bool {
        self.state.durable.get(piece) || self.pending.contains_key(&piece) || self.doubtful.contains(&piece)
    }

    /// Says which files this session may make, as far as that is not said.
    pub(super) fn tell_claims(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.in_session) else { return };
        if !std::mem::take(&mut self.is_claim_due) {
            return;
        }
        let told = &self.state.claims;
        let claims: Vec<u32> = self.claims.iter().copied().filter(|file| !told.contains(file)).collect();
        for (first, count) in runs(&claims) {
            let record = Record::Claim { first, count };
            self.state.apply(&record);
            journal.push(&record);
            // Before a byte is written this has to be on the device, as the session itself.
            journal.session_synced = false;
        }
    }

    /// Appends what a file looks like now and whose it is.
    pub(super) fn append_owner(
        &mut self,
        mut records: Vec<Record>,
        (file, owner): (u32, Option<Owner>),
        hooks: &Hooks,
    ) -> Result<(), StorageError> {
        if owner.is_some() {
            self.claims.remove(&file);
            records.push(Record::Owner { file, owner });
        }
        self.append(&records, hooks)
    }
}
