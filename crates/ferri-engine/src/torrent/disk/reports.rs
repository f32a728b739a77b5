//! What the disk threads report, as the torrent's task takes it: what it means for the swarm, and what users see of it.

use std::time::Instant;

use ferri_metainfo::{Bitfield, Block, PieceIndex};
use ferri_storage::{Storage, StorageError};
use ferri_swarm::{Input, PeerKey};

use super::{DiskDone, Verdict};
use crate::clock;
use crate::note::Note;
use crate::status::{ErrorReason, Event, State};
use crate::torrent::task::Task;

impl Task {
    /// A block that a peer asked for cannot be read and is not sent. What is gone is fetched again, what is only
    /// out of reach is waited for.
    pub(in crate::torrent) fn unreadable(
        &mut self,
        peer: PeerKey,
        block: Block,
        error: &StorageError,
        now: Instant,
    ) {
        let (piece, begin, length) = (block.piece(), block.begin(), block.length());
        self.handle(Input::BlockUnreadable { peer, piece: piece.get(), begin, length }, now);
        use StorageError::{BeingMoved, Changed, Missing, Truncated};
        if matches!(error, BeingMoved { .. }) {
            // The peer asks again, and the file is in its place then.
            return;
        }
        if !matches!(error, Missing { .. } | Truncated { .. } | Changed { .. }) {
            self.disk.failed(error, now);
            self.disk_failed(error, now);
        } else if self.crew.machine().have().get(piece.get())
            && self.disk.unreadable(piece)
            && !matches!(error, Changed { .. })
        {
            let note = Note::PieceGone { piece: piece.get(), why: error.to_string() };
            self.view.event(Event::Note(note));
        }
        self.hear_of_changes();
    }

    /// Somebody may have been seen to change files that are served: all their pieces are looked at.
    pub(in crate::torrent) fn hear_of_changes(&mut self) {
        let changed = self.disk.storage().files().map(Storage::take_changed).unwrap_or_default();
        if changed.is_empty() {
            return;
        }
        for path in changed {
            self.view.event(Event::Note(Note::FileChanged { path }));
        }
        self.disk.recheck(self.disk.storage().doubtful());
    }

    /// Pieces that were in doubt were looked at: those that are gone are taken back from the peers and fetched again.
    fn rechecked(&mut self, result: Result<Bitfield, StorageError>, now: Instant) {
        match self.disk.rechecked(result, now) {
            Ok(gone) => self.lose(gone, now),
            Err(error) => self.disk_answered(Err(error), now),
        }
    }

    /// These pieces are not there any more: they are taken back from the peers and fetched again.
    pub(in crate::torrent) fn lose(&mut self, gone: Vec<PieceIndex>, now: Instant) {
        let is_complete = self.seed_only || self.view.completed_at.is_some();
        let storage = self.disk.storage().clone();
        let files = storage.files();
        let is_changed = |piece| files.is_some_and(|files| files.is_changed_by_others(piece));
        // A file that was complete and that its user changed is the user's: nothing is fetched over it.
        self.files.lost(gone.iter().copied());
        self.readers.looked_again();
        let (kept, lost): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|piece| is_complete && is_changed(*piece));
        let is_any_lost = !lost.is_empty();
        for piece in lost {
            self.handle(Input::PieceLost { piece: piece.get() }, now);
        }
        if !kept.is_empty() {
            self.withdraw(&kept, now);
        }
        if is_any_lost {
            self.readers.end_loan();
            self.view.completed_at = self.view.completed_at.filter(|_| self.crew.machine().stats().left == 0);
        }
        self.show_work();
    }

    fn withdraw(&mut self, pieces: &[PieceIndex], now: Instant) {
        let count = pieces.len();
        let pieces = pieces.iter().map(|piece| piece.get()).collect();
        self.handle(Input::PiecesWithdrawn { pieces }, now);
        self.view.event(Event::Note(Note::Withdrawn { pieces: count }));
    }

    pub(in crate::torrent) fn disk_done(&mut self, done: DiskDone) {
        let now = clock::now();
        // A file that appeared since the start may be another torrent's that the user gives up.
        let notes = self.disk.storage().files().map(Storage::take_remarks);
        for note in notes.unwrap_or_default() {
            self.view.event(Event::Note(Note::FileOfTwo(note)));
        }
        match done {
            DiskDone::Piece { piece, result } => match self.disk.piece_done(piece, result, now) {
                Ok(Verdict { ok, digests }) => {
                    self.handle(Input::PieceVerified { piece: piece.get(), ok, digests }, now);
                    if ok && matches!(self.view.state, State::Paused) && !self.disk.is_busy() {
                        self.disk.settle();
                    }
                    self.disk_works(now);
                }
                Err(error) => self.disk_failed(&error, now),
            },
            DiskDone::Spilled { piece, round, unwritten, error } => {
                match self.disk.spilled(piece, round, unwritten, error, now) {
                    Ok(()) => self.disk_works(now),
                    Err(error) => self.disk_failed(&error, now),
                }
            }
            DiskDone::Synced(result) => {
                self.disk.synced(&result, now);
                self.disk_answered(result, now);
            }
            DiskDone::Finished(result) => self.touched(result, now),
            DiskDone::Selected(wanted, result) => {
                self.disk.selected(wanted, &result);
                if result.is_ok() {
                    let complete =
                        self.files.selected(self.disk.storage().wanted(), self.crew.machine().have());
                    self.files_completed(complete);
                    self.disk_works(now);
                }
                if result.is_ok() && self.disk.is_finishing() && self.crew.machine().stats().left == 0 {
                    self.disk.finish();
                }
                self.disk_answered(result, now);
            }
            DiskDone::Noted(result) => self.noted(result, now),
            // The torrent's task has a gap in what it knows, as if it had panicked itself.
            DiskDone::Panicked(text) => std::panic::resume_unwind(Box::new(text)),
            DiskDone::Looked(bytes) => self.looked(bytes),
            DiskDone::Checked(result) => self.checked(result, now),
            DiskDone::Guarded(result) => self.guarded(result, now),
            DiskDone::Doubtful(pieces) => self.disk.recheck(pieces),
            DiskDone::Rechecked(result) => self.rechecked(result, now),
            DiskDone::Probed(result) => self.probed(&result, now),
            DiskDone::Moving(progress) => self.moving(progress),
            DiskDone::Moved(result) => self.moved(result, now),
        }
        self.disk.tick(now);
    }

    /// That is noted, or not. It is no reason to stop anything.
    fn noted(&mut self, result: Result<(), StorageError>, now: Instant) {
        match result {
            Ok(()) => self.account.noted(),
            Err(error) if self.account.failed(now) => {
                self.view.event(Event::Note(Note::TotalsNotKept(error.to_string())));
            }
            Err(_) => {}
        }
    }

    /// The device takes data again, or not.
    fn probed(&mut self, result: &Result<(), StorageError>, now: Instant) {
        if !self.disk.probed(result, now) {
            if let Err(error) = result
                && self.checking.is_none()
                && !matches!(self.view.state, State::Error { .. })
            {
                self.disk_failed(error, now);
            }
            return;
        }
        if self.disk.is_finishing() && self.crew.machine().stats().left == 0 {
            self.disk.finish();
        }
        // Else the end of what is done again tells.
        if !self.disk.is_retrying() {
            self.disk_is_back(now);
        }
    }

    /// Something was done that had failed before, or nothing had.
    fn disk_works(&mut self, now: Instant) {
        if self.disk.take_retried() && !self.disk.is_retrying() {
            self.disk_is_back(now);
        }
    }

    fn disk_is_back(&mut self, now: Instant) {
        if self.checking.is_none() && matches!(self.view.state, State::Error { .. }) {
            self.set_state(self.working_state());
            self.apply_budget(now);
        }
    }

    fn disk_answered(&mut self, result: Result<(), StorageError>, now: Instant) {
        match result {
            // It was asked to stop, and does.
            Ok(()) | Err(StorageError::Halted) => {}
            Err(error) => {
                self.disk.failed(&error, now);
                self.disk_failed(&error, now);
            }
        }
    }

    fn disk_failed(&mut self, error: &StorageError, now: Instant) {
        self.tell_failure(error, error.is_recoverable(), now);
    }

    fn tell_failure(&mut self, error: &StorageError, recoverable: bool, now: Instant) {
        // What is parked waits for bytes, if bytes are what is missing.
        let parked = if matches!(error, StorageError::NoFiles { .. }) { 0 } else { self.disk.parked_bytes() };
        let reason = match ErrorReason::of(error) {
            ErrorReason::DiskFull { missing } => ErrorReason::DiskFull { missing: missing.max(parked) },
            reason => reason,
        };
        let was_working = !matches!(self.view.state, State::Error { .. });
        let state = State::Error { reason, text: error.to_string(), recoverable };
        let is_full =
            |state: &State| matches!(state, State::Error { reason: ErrorReason::DiskFull { .. }, .. });
        if is_full(&self.view.state) && is_full(&state) {
            // Only the figures are other ones, at each try.
            (self.view.state, self.view.stale) = (state, true);
        } else {
            self.set_state(state);
        }
        if was_working {
            tracing::error!(%error, "the disk does not take or give data");
            self.apply_budget(now);
        }
    }

    /// Nothing that is wanted is missing any more, whether or not anything was fetched.
    pub(in crate::torrent) fn nothing_is_missing(&mut self, now: Instant) {
        self.view.completed_at = Some(now);
        if let Some(dht) = &self.services.dht {
            self.info.info_hashes().names().for_each(|name| dht.set_seed(name, true));
        }
        // Who only serves has no last touch to put.
        if !self.seed_only {
            self.disk.finish();
        }
    }

    /// And some of it was fetched: others are told.
    pub(in crate::torrent) fn completed(&mut self, now: Instant) {
        self.view.missing.completes = true;
        self.crew.completed(now);
    }

    /// The last touches are put: now it is complete for everybody to see.
    fn touched(&mut self, result: Result<(), StorageError>, now: Instant) {
        if !self.disk.finished(&result) {
            // Without an error the selection is still to be changed.
            return result.map_or_else(|error| self.lacks_touches(&error, now), |()| ());
        }
        self.disk.settle();
        let complete = self.files.finished(self.crew.machine().have());
        self.files_completed(complete);
        let was_failed = matches!(self.view.state, State::Error { .. });
        if self.crew.machine().stats().left == 0 && !self.view.is_paused {
            self.set_state(State::Seeding);
            if std::mem::take(&mut self.view.missing.completes) {
                self.view.event(Event::Completed);
            }
        } else if was_failed {
            self.set_state(self.working_state());
        }
        if was_failed {
            // While the disk failed nothing was to be begun.
            self.apply_budget(now);
        }
    }

    /// Not all last touches could be put. Every byte is there, so nothing is gained by waiting for a person who does not know of
    /// it: but for what goes away by itself, a caller is told that this is the end. They are tried again all the same.
    fn lacks_touches(&mut self, error: &StorageError, now: Instant) {
        use StorageError::{Halted, InUse, NoFiles, NoSpace};
        // It was asked to stop, and does.
        if !matches!(error, Halted) {
            self.disk.failed(error, now);
            let passes = matches!(error, NoSpace { .. } | NoFiles { .. } | InUse { .. });
            self.tell_failure(error, passes, now);
        }
    }
}
