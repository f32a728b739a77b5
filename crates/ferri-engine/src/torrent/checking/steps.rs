//! How a torrent's task goes through the steps of its start: looking, guarding, waiting, and then work.

use std::time::{Duration, Instant};

use ferri_metainfo::Bitfield;
use ferri_storage::StorageError;
use ferri_swarm::Input;

use super::{Checking, Choice, Step};
use crate::FilePriority;
use crate::status::State;
use crate::torrent::disk::DiskDone;
use crate::torrent::files::Files;
use crate::torrent::task::Task;
use crate::torrent::wishes;

/// What failed or was in the way is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

impl Task {
    /// Has the pieces looked at.
    pub(in crate::torrent) fn look_at_pieces(&mut self) {
        let Some(checking) = &mut self.checking else { return };
        (checking.step, checking.found) = (Step::Looking, None);
        checking.ticket = self.disk.check(&checking.pieces);
        let total = checking.pieces.total;
        self.set_state(State::Checking { done: 0, total });
    }

    /// So many bytes were looked at.
    pub(in crate::torrent) fn looked(&mut self, done: u64) {
        if let Some(checking) = &self.checking
            && checking.step == Step::Looking
        {
            self.view.state = State::Checking { done, total: checking.pieces.total };
            self.view.stale = true;
        }
    }

    /// All pieces were looked at, or could not be.
    pub(in crate::torrent) fn checked(&mut self, result: Result<Bitfield, StorageError>, now: Instant) {
        let Some(checking) = &mut self.checking else { return };
        (checking.step, checking.ticket) = (Step::Over, None);
        match result {
            _ if self.ending.is_some() => {}
            Ok(found) => {
                checking.found = Some(found);
                if checking.again.is_some() {
                    return self.finish_check(now);
                }
                self.look_for_obstacles();
            }
            Err(error) => self.wait_for_disk(&error, now),
        }
    }

    /// Other files are wanted. A torrent that waits for what is in its way may have nothing in it any more.
    pub(in crate::torrent) fn choose_while_checking(&mut self, wishes: &[FilePriority]) {
        let Some(checking) = &mut self.checking else { return };
        (checking.wishes, checking.choice) = (wishes.to_vec(), Choice::New);
        if matches!(checking.step, Step::Waiting(_)) && checking.found.is_some() && !self.moves.is_any() {
            self.look_for_obstacles();
        }
    }

    /// Looks for what lies where the torrent's files are to be written, and is the user's. What was said of the files meanwhile
    /// is carried out first.
    fn look_for_obstacles(&mut self) {
        let Some(checking) = &mut self.checking else { return };
        checking.step = Step::Guarding;
        let wanted = checking.take_choice().map(|wishes| wishes::wanted(&self.info, wishes));
        let (storage, done) = (self.disk.storage().clone(), self.disk.reports());
        let guard = tokio::task::spawn_blocking(move || {
            wanted.map_or(Ok(()), |wanted| storage.set_wanted(&wanted))?;
            storage.guard()
        });
        self.services.tasks.spawn(async move {
            let result = guard.await.unwrap_or(Err(StorageError::Invalid("the look at the files panicked")));
            // The torrent may have ended without waiting for it.
            let _ = done.send(DiskDone::Guarded(result));
        });
    }

    /// Nothing is in the way, or something.
    pub(in crate::torrent) fn guarded(&mut self, result: Result<(), StorageError>, now: Instant) {
        let Some(checking) = &mut self.checking else { return };
        checking.step = Step::Over;
        match result {
            _ if self.ending.is_some() => {}
            // What was moved away is to be missed.
            Ok(()) if std::mem::take(&mut checking.was_blocked) => self.look_at_pieces(),
            Ok(()) => self.finish_check(now),
            Err(error) => {
                checking.was_blocked = true;
                match checking.choice {
                    // It may concern the very file.
                    Choice::New => self.look_for_obstacles(),
                    Choice::AsAdded | Choice::Taken => self.wait_for_disk(&error, now),
                }
            }
        }
    }

    fn wait_for_disk(&mut self, error: &StorageError, now: Instant) {
        if let Some(checking) = &mut self.checking {
            checking.step = Step::Waiting(now + AGAIN);
        }
        self.set_state(State::of_disk(error));
    }

    /// Does again what failed, if that is waited for.
    pub(in crate::torrent) fn check_again(&mut self) {
        match self.checking.as_deref() {
            // They are looked at when they lie still.
            _ if self.moves.is_any() => {}
            Some(Checking { step: Step::Waiting(_), found: Some(_), .. }) => self.look_for_obstacles(),
            Some(Checking { step: Step::Waiting(_), found: None, .. }) => self.look_at_pieces(),
            _ => {}
        }
    }

    /// The files are at another place: what was in the way may not be there.
    pub(in crate::torrent) fn check_elsewhere(&mut self) {
        let device = self.disk.storage().files().map_or(0, |files| files.device());
        if let Some(checking) = &mut self.checking {
            checking.pieces.device = device;
        }
        self.check_again();
    }

    /// The files are known: the torrent works.
    fn finish_check(&mut self, now: Instant) {
        let Some(mut checking) = self.checking.take() else { return };
        if let Some(again) = checking.again.take() {
            return self.finish_recheck(*checking, again, now);
        }
        if let Some(found) = checking.found.take() {
            let pieces = found.iter_ones().collect();
            self.handle(Input::PiecesFound { pieces }, now);
        }
        // What was found is no news of this session.
        let is_finished = !checking.lacks_touches;
        let (layout, wanted) = (self.info.layout().clone(), self.disk.storage().wanted());
        self.files = Files::new(layout, self.crew.machine().have(), wanted, is_finished);
        if checking.choice == Choice::New {
            self.disk.set_wanted(wishes::wanted(&self.info, &checking.wishes));
        }
        self.readers.stale();
        // The look at the files may have found pieces that are needed first.
        self.prefer(&checking.wishes, now);
        // What was just found may never have been synced; once it is, the next start believes it unseen.
        self.disk.sync();
        self.begin(checking.lacks_touches, now);
        self.apply_budget(now);
        self.look_again_if_asked(checking.askers);
    }
}
