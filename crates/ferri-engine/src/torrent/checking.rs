//! What comes before a torrent works: its pieces on disk are looked at, and what is in the way of its files is waited for.
//!
//! The torrent's task is at work all the while, and its machines hear everything it is told. Peers are welcome, and are
//! served what the journal vouches for; but no peer is dialled, and no piece begun that may lie there (the swarm's budget
//! allows neither). Trackers are asked when it is known what there is.

mod again;
mod steps;

use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::{Bitfield, Layout, PieceIndex};
use ferri_storage::{CheckNumber, CheckPlace, CheckTicket};

use self::again::Again;
use super::work::RecheckAsker;
use crate::FilePriority;

/// A torrent whose files are not known yet.
#[derive(Debug)]
pub(super) struct Checking {
    pieces: Pieces,
    step: Step,
    /// The look under way, which ends with it.
    ticket: Option<CheckTicket>,
    /// Those that are there, once all were looked at.
    found: Option<Bitfield>,
    /// Something was in the way: the pieces are looked at again once it is not.
    was_blocked: bool,
    /// Which files are wanted, as far as the user has said.
    wishes: Vec<FilePriority>,
    choice: Choice,
    /// Last touches may be missing on what is complete.
    lacks_touches: bool,
    /// It is not the first look.
    again: Option<Again>,
    /// Who asked for another look; of a second one, who waits for this.
    askers: Vec<RecheckAsker>,
}

/// What is to be looked at, and when it is its turn.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    pub(super) pieces: Arc<[PieceIndex]>,
    /// Their bytes.
    pub(super) total: u64,
    /// Where they lie.
    pub(super) device: u64,
    /// Whose torrent was added first is checked first.
    pub(super) number: CheckNumber,
}

/// What became of a change of the wanted files. Nothing is moved while they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// There was none.
    AsAdded,
    /// A thread carries it out before it looks for what is in the way, or did.
    Taken,
    /// No thread has taken it yet.
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Disk threads look at the pieces.
    Looking,
    /// A thread looks for what is in the way.
    Guarding,
    /// What failed is done again at this instant: looking, when nothing is found yet, or guarding.
    Waiting(Instant),
    /// The torrent stops first.
    Over,
}

impl Pieces {
    pub(super) fn new(pieces: Arc<[PieceIndex]>, layout: &Layout, device: u64, number: CheckNumber) -> Self {
        let total = pieces.iter().map(|piece| u64::from(layout.piece_len(*piece))).sum();
        Self { pieces, total, device, number }
    }
}

impl Checking {
    pub(super) fn new(pieces: Pieces, wishes: Vec<FilePriority>, lacks_touches: bool) -> Self {
        Self {
            pieces,
            step: Step::Over,
            ticket: None,
            found: None,
            was_blocked: false,
            wishes,
            choice: Choice::AsAdded,
            lacks_touches,
            again: None,
            askers: Vec::new(),
        }
    }

    /// Whether a thread is at it.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.step, Step::Looking | Step::Guarding)
    }

    /// Where it stands among those that are checked.
    pub(super) fn place(&self) -> Option<CheckPlace> {
        self.ticket.as_ref().map(|ticket| ticket.place().clone())
    }

    /// When `Task::check_again` has something to do.
    pub(super) fn next_try(&self) -> Option<Instant> {
        match self.step {
            Step::Waiting(until) => Some(until),
            Step::Looking | Step::Guarding | Step::Over => None,
        }
    }

    /// Wishes that the disk has to be told, with what it is about to do.
    fn take_choice(&mut self) -> Option<&[FilePriority]> {
        if self.choice == Choice::AsAdded {
            return None;
        }
        self.choice = Choice::Taken;
        Some(&self.wishes)
    }

    /// Ends what is under way as soon as may be.
    pub(super) fn stop(&mut self) {
        if let Some(ticket) = &self.ticket {
            ticket.cancel();
        }
        if !self.is_busy() {
            self.step = Step::Over;
        }
    }
}
