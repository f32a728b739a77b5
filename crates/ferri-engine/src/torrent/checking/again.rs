//! A torrent at work whose files are looked at again, all of them: somebody asked for it.
//!
//! Peers stay and are served. No piece is begun meanwhile, and those that are under way are left out, so that nothing is
//! written to what is looked at. What is gone is taken back from the peers and fetched again; what is there and was not known
//! is offered.

use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::{Bitfield, PieceIndex};
use ferri_swarm::Input;
use tokio::sync::oneshot;

use super::{Checking, Pieces};
use crate::clock;
use crate::torrent::Torrent;
use crate::torrent::command::Command;
use crate::torrent::refused::Refused;
use crate::torrent::task::Task;
use crate::torrent::wishes;
use crate::torrent::work::{RecheckAsker, Rechecked, Work};

/// A second look, beside what every look has.
#[derive(Debug)]
pub(super) struct Again {
    /// What was there before.
    before: Bitfield,
}

impl Torrent {
    /// Looks at all of its files again and compares every piece with its hash. Peers stay. Pieces that are gone are taken back
    /// from the peers and fetched again; in a file that was complete and that somebody changed they are taken back only. The
    /// torrent is [`State::Checking`](crate::State::Checking) meanwhile and begins no piece. While its files are looked at
    /// already because it was just added, it is done afterwards. Ends when everything was looked at, which may take hours, and
    /// goes on when the caller does not wait for that.
    ///
    /// # Errors
    /// [`Refused::Stopped`], also when it stops before everything was looked at.
    pub async fn recheck(&self) -> Result<Rechecked, Refused> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Work(Work::Recheck(reply))).await;
        answer.await.unwrap_or(Err(Refused::Stopped))
    }
}

impl Task {
    /// Looks at everything again, at once or after the look that is under way.
    pub(in crate::torrent) fn recheck_all(&mut self, asker: RecheckAsker) {
        if self.ending.is_some() {
            // The caller may have stopped waiting.
            return drop(asker.send(Err(Refused::Stopped)));
        }
        match &mut self.checking {
            _ if self.moves.is_any() => self.recheck_after_moves(asker),
            Some(checking) => checking.askers.push(asker),
            None => self.look_again(vec![asker]),
        }
    }

    fn look_again(&mut self, askers: Vec<RecheckAsker>) {
        let under_way = self.crew.machine().pieces_under_way();
        let is_still = |piece: &PieceIndex| under_way.binary_search(piece).is_err();
        let pieces: Arc<[PieceIndex]> = self.info.layout().pieces().filter(is_still).collect();
        let storage = self.disk.storage();
        // It was added long ago, and waits for its turn like those that come now.
        let number = self.services.disk.pool.number();
        let pieces = Pieces::new(
            pieces,
            self.info.layout(),
            storage.files().map_or(0, |files| files.device()),
            number,
        );
        let mut checking = Checking::new(pieces, self.files.wishes(), false);
        checking.askers = askers;
        checking.again = Some(Again { before: self.crew.machine().have().clone() });
        self.checking = Some(Box::new(checking));
        self.look_at_pieces();
        self.apply_budget(clock::now());
    }

    /// Everything was looked at again.
    pub(super) fn finish_recheck(&mut self, mut checking: Checking, again: Again, now: Instant) {
        let wanted = checking.take_choice().map(|wishes| wishes::wanted(&self.info, wishes));
        let Checking { pieces, found, askers, .. } = checking;
        let found = found.unwrap_or_else(|| again.before.clone());
        let is_lost = |piece: &&PieceIndex| again.before.get(piece.get()) && !found.get(piece.get());
        let lost: Vec<_> = pieces.pieces.iter().filter(is_lost).copied().collect();
        let have = self.crew.machine().have();
        let new: Vec<u32> = found.iter_ones().filter(|piece| !have.get(*piece)).collect();
        let result = Rechecked {
            looked_at: u32::try_from(pieces.pieces.len()).unwrap_or(u32::MAX),
            have: found.count_ones(),
            lost: u32::try_from(lost.len()).unwrap_or(u32::MAX),
            found: u32::try_from(new.len()).unwrap_or(u32::MAX),
        };
        if let Some(files) = self.disk.storage().files() {
            files.look_for_changes(&lost);
        }
        self.hear_of_changes();
        self.lose(lost, now);
        if !new.is_empty() {
            self.handle(Input::PiecesFound { pieces: new }, now);
            let complete = self.files.found(self.crew.machine().have());
            self.files_completed(complete);
        }
        self.readers.stale();
        if let Some(wanted) = wanted {
            self.disk.set_wanted(wanted);
        }
        self.disk.sync();
        if self.crew.machine().stats().left == 0 && self.view.completed_at.is_none() {
            if result.found == 0 {
                // The last piece came meanwhile.
                self.nothing_is_missing(now);
                self.completed(now);
            } else {
                self.view.completed_at = Some(now);
                // Files that are only served have no last touches.
                self.disk.finish();
            }
        }
        if !self.view.is_paused {
            self.show();
            // It may have been paused meanwhile, and resumed.
            if self.crew.trackers().is_stopped() {
                self.crew.start_trackers(now);
            }
        }
        self.set_state(self.working_state());
        if self.disk.has_failed() {
            // Whether it fails still is told then.
            self.disk.probe_now(now);
        }
        self.apply_budget(now);
        self.publish(now);
        for asker in askers {
            // The caller may have stopped waiting.
            let _ = asker.send(Ok(result));
        }
    }

    /// Somebody asked for another look during the first one, which is over.
    pub(super) fn look_again_if_asked(&mut self, askers: Vec<RecheckAsker>) {
        if !askers.is_empty() {
            self.look_again(askers);
        }
    }
}
