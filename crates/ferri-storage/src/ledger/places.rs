//! What the ledger knows of files: whose they are, and which bytes of them are in the parts file.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use ferri_metainfo::{FileIndex, Layout, PieceIndex};

use super::{Inner, Ledger};
use crate::error::StorageError;
use crate::journal::{Origin, Owner, Record, Stamp, State, runs};
use crate::stamp::Likeness;
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
        inner.append_owner(Vec::new(), number, owner, &self.hooks)
    }

    /// Files that are there and not ours as far as is known.
    pub(crate) fn strangers(&self) -> Vec<FileIndex> {
        let inner = self.lock();
        let is_stranger =
            |file: &u32| inner.state.owners.get(file).is_none_or(|owner| owner.origin == Origin::Theirs);
        let files = inner.state.stamps.files().map(|(file, _)| file).filter(is_stranger);
        files.map(FileIndex).collect()
    }

    /// These files are not there, and may be made: said in the journal before the first of them can have a byte.
    pub(crate) fn claim(&self, files: impl Iterator<Item = u32>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.claims.extend(files);
        inner.is_claim_due = true;
    }

    /// What is known of a file of which a piece turned out not to be there.
    pub(crate) fn standing(&self, file: FileIndex, piece: PieceIndex) -> Standing {
        let inner = self.lock();
        let state = &inner.state;
        let mut pieces = self.layout.file_pieces(file);
        let is_there = |piece| state.durable.get(piece) || state.unsure.get(piece);
        Standing {
            stamp: state.stamps.get(file.0),
            owner: state.owners.get(&file.0).copied(),
            is_parted: state.parted.contains(&(file.0, piece.get())),
            was_whole: state.whole.contains(&file.0) || pieces.all(is_there),
            had_all: self.layout.file_pieces(file).all(|piece| inner.was_right(piece)),
        }
    }

    /// A file of ours that was complete lacks a piece since.
    pub(crate) fn is_whole(&self, number: u32) -> bool {
        self.lock().state.whole.contains(&number)
    }

    /// Files that were complete and that are about to lose one of these pieces, as far as that is not said yet.
    pub(super) fn about_to_lose(&self, inner: &Inner, results: &[(PieceIndex, bool)]) -> BTreeSet<u32> {
        let lost = results.iter().filter(|(_, matched)| !matched).map(|(piece, _)| *piece);
        let is_ours = |file: u32| {
            inner.state.owners.get(&file).is_some_and(|owner| owner.origin != Origin::Theirs)
                && !inner.state.whole.contains(&file)
        };
        losing((&self.layout, &inner.state), lost, |piece| inner.was_right(piece), is_ours)
    }

    /// What another program did to a file since it was complete. One that we write to just now looks as we make it.
    ///
    /// # Errors
    /// Those of `stat`, which is asked under the lock that orders what a file looks like, and must not take it again.
    pub(crate) fn change_since_complete(
        &self,
        number: u32,
        stat: impl FnOnce() -> Result<Option<Stamp>, StorageError>,
    ) -> Result<Likeness, StorageError> {
        let inner = self.lock();
        if inner.flights.contains_key(&number) {
            return Ok(Likeness::Same);
        }
        let (Some(known), Some(now)) = (inner.state.stamps.get(number), stat()?) else {
            return Ok(Likeness::Same);
        };
        let likeness = now.compare(&known);
        let was_complete = || {
            let is_right = |piece| inner.was_right(piece);
            inner.state.whole.contains(&number)
                || is_complete((&self.layout, &inner.state), number, &is_right)
        };
        Ok(if likeness != Likeness::Same && was_complete() { likeness } else { Likeness::Same })
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

/// What is known of a file, and of a piece of it.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What it looked like when we last wrote to it or looked at it.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) owner: Option<Owner>,
    /// The file's bytes in this piece are in the parts file.
    pub(crate) is_parted: bool,
    /// All of its pieces are there, as far as is known, or were until one came into doubt.
    pub(crate) was_whole: bool,
    /// All of its pieces were found to be right, and no look since said otherwise.
    pub(crate) had_all: bool,
}

/// Files that were complete in their places and that lose one of these pieces.
pub(crate) fn losing(
    (layout, state): (&Layout, &State),
    lost: impl Iterator<Item = PieceIndex>,
    was_right: impl Fn(u32) -> bool,
    is_ours: impl Fn(u32) -> bool,
) -> BTreeSet<u32> {
    let spans = lost.flat_map(|piece| layout.file_spans(piece, 0, u32::MAX)).filter(|span| !span.is_pad);
    let mut seen = BTreeSet::new();
    let files = spans.map(|span| span.file.0).filter(|file| seen.insert(*file));
    files.filter(|file| is_ours(*file) && is_complete((layout, state), *file, &was_right)).collect()
}

/// Whether a file was complete, in its place.
fn is_complete((layout, state): (&Layout, &State), number: u32, was_right: &dyn Fn(u32) -> bool) -> bool {
    let is_here = |piece| was_right(piece) && !state.parted.contains(&(number, piece));
    layout.file_pieces(FileIndex(number)).all(is_here)
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
            journal.announced_synced = false;
        }
    }

    /// Appends what a file looks like now and whose it is from here on.
    pub(super) fn append_owner(
        &mut self,
        mut records: Vec<Record>,
        file: u32,
        owner: Option<Owner>,
        hooks: &Hooks,
    ) -> Result<(), StorageError> {
        self.open_session(hooks);
        let is_claimed = self.state.claims.contains(&file);
        let becomes_ours = owner.is_some_and(|owner| match owner.origin {
            // A claim says as much of a file that was not there.
            Origin::Made => !is_claimed,
            Origin::Found => true,
            Origin::Theirs => false,
        });
        if let Some(journal) = self.journal.as_mut().filter(|_| becomes_ours) {
            journal.announced_synced = false;
        }
        if owner.is_some() {
            self.claims.remove(&file);
        }
        records.push(Record::Owner { file, owner });
        self.append(&records, hooks)
    }
}
