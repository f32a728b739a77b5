//! Turns: when a round of regular announces may begin, with all the other torrents of the session in mind, and how late it is.

use std::time::{Duration, Instant};

use super::Schedule;
use super::messages::Output;
use super::tier::Chain;
use super::tracker::Tracker;
use crate::url::authority;

/// A regular announce is up to this part of its interval late.
const LATE_PARTS: u32 = 20;

/// As finely as chance divides that.
const LATE_STEPS: u32 = 1 << 10;

/// A turn that is later than this is asked for again: a clock is wrong.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3600);

/// How we stand with the other torrents of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing regular was due since the last one.
    Unasked,
    /// The answer comes before time goes on.
    Asked,
    /// It comes then.
    At(Instant),
    /// What is due may begin.
    Ours,
}

impl Schedule {
    pub(super) fn turn_given(&mut self, wait: Duration, now: Instant) {
        if self.turn == Turn::Asked {
            self.turn = match wait.is_zero() {
                true => Turn::Ours,
                false => Turn::At(now + wait.min(TURN_WAIT_MAX)),
            };
        }
    }

    /// Whether a round may begin. Asks for a turn when one is due and has none.
    pub(super) fn may_begin(&mut self, now: Instant) -> bool {
        if !self.is_held() {
            // What is under way took our turn, or needed none.
            self.turn = Turn::Unasked;
            return true;
        }
        let is_due = |chain: &&Chain| chain.round.is_none() && chain.next_round.is_some_and(|at| at <= now);
        let Some(due) = self.chains.iter().filter(is_due).min_by_key(|chain| chain.next_round) else {
            return false;
        };
        let mut trackers = due.trackers().map(|index| &self.trackers[index]);
        let Some(first) = trackers.find(|tracker| tracker.is_usable()) else {
            // It comes to nothing.
            return true;
        };
        match self.turn {
            Turn::Ours => return true,
            Turn::Asked => return false,
            Turn::At(at) if now < at => return false,
            Turn::Unasked | Turn::At(_) => {}
        }
        let host = authority(&first.url).unwrap_or_default().to_owned();
        self.outputs.push_back(Output::WantTurn { host, had: self.turn != Turn::Unasked });
        self.turn = Turn::Asked;
        false
    }

    /// When a round that is due at this instant is to be looked at: not before its turn.
    pub(super) fn in_turn(&self, due: Instant) -> Instant {
        match self.turn {
            Turn::At(at) if self.is_held() => due.max(at),
            _ => due,
        }
    }

    /// Rounds wait for their turn: the torrent takes part in that, and has no announce under way.
    fn is_held(&self) -> bool {
        self.options.paced && !self.trackers.iter().any(Tracker::is_flying)
    }

    /// A little later than `at`, by chance.
    pub(super) fn late(&mut self, at: Instant, now: Instant) -> Instant {
        if !self.options.paced {
            return at;
        }
        let longest = at.saturating_duration_since(now) / LATE_PARTS;
        at + longest / LATE_STEPS * self.random.below(LATE_STEPS as usize + 1) as u32
    }
}
