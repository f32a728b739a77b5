//! What a tracker must hear by one family of addresses, and what came of the announces by it.

use std::time::{Duration, Instant};

use crate::announce::{Event, TrackerError};
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, NO_WAY_WAIT};
use crate::udp::Family;

/// A tracker by one family.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) family: Family,
    pub(super) session: Session,
    pub(super) backoff: Backoff,
    /// The announce under way. One at a time.
    pub(super) flight: Option<Flight>,
}

/// What it was told in this session: from Start to Stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) known: Known,
    /// It has answered in this session.
    pub(super) answered: bool,
    /// It has taken `completed`.
    pub(super) completed: bool,
    /// What was left when `started` was first sent.
    pub(super) begun: Option<u64>,
    /// The server is there, but had no time for our last announce.
    busy: bool,
    /// Once we are leaving: what it was still owed came to nothing.
    pub(super) gave_up: bool,
}

/// Whether it has heard `started`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It cannot have.
    No,
    /// It was sent and not answered. It is sent again, and `stopped` too if it comes to that.
    Perhaps,
    /// It answered, and heard that this many bytes were left.
    Yes { left: u64 },
}

#[derive(Debug)]
pub(super) struct Flight {
    /// Quoted by the answer.
    pub(super) request: u32,
    pub(super) event: Option<Event>,
    /// As announced.
    pub(super) left: u64,
    /// When we stop waiting.
    pub(super) ends_at: Instant,
    pub(super) purpose: Purpose,
    /// Something else waits for it to end. That it did not in so short a time is not the tracker's fault.
    pub(super) hurried: bool,
    /// It was sent while we were leaving.
    pub(super) parting: bool,
}

/// Why an announce was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// As part of its chain's round: its success ends the round, its failure makes the next tracker's turn.
    Round,
    /// To tell this very tracker something.
    News,
}

/// Waits after failures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    /// In a row.
    failures: u32,
    /// Our own.
    retry_at: Option<Instant>,
    failed_at: Option<Instant>,
    /// The tracker asked for patience (BEP 31, `Retry-After`).
    pub(super) wished_until: Option<Instant>,
}

impl Flight {
    /// Something waits for it: it ends by `at` at the latest.
    pub(super) fn hurry(&mut self, at: Instant) {
        self.ends_at = self.ends_at.min(at);
        self.hurried = true;
    }

    /// Whether we did not wait for it.
    pub(super) fn was_given_up(&self, error: &TrackerError) -> bool {
        self.hurried && *error == TrackerError::TimedOut
    }
}

impl Session {
    const NEW: Self = Self {
        known: Known::No,
        answered: false,
        completed: false,
        begun: None,
        busy: false,
        gave_up: false,
    };

    /// BEP 3: only a tracker that was told we lack something hears that we have it all.
    pub(super) fn owes_completed(&self, left: u64) -> bool {
        left == 0 && !self.completed && matches!(self.known, Known::Yes { left } if 0 < left)
    }

    /// Whether one who leaves still says `started`: the server only had no time for it, and `completed` is to follow.
    pub(super) fn owes_started(&self, left: u64) -> bool {
        self.known == Known::Perhaps && self.busy && left == 0 && self.begun.is_some_and(|begun| 0 < begun)
    }

    /// What is left as `started` says it: late, it is what was left when it should have been heard, so that `completed` may
    /// follow.
    pub(super) fn left_at_start(&self, left: u64) -> u64 {
        if left == 0 { self.begun.unwrap_or(0) } else { left }
    }
}

impl Way {
    pub(super) fn new(family: Family) -> Self {
        Self { family, session: Session::NEW, backoff: Backoff::default(), flight: None }
    }

    pub(super) fn begin_session(&mut self) {
        self.session = Session::NEW;
        self.backoff.begin_session();
    }

    /// Whether there is something to be said that is not merely due.
    pub(super) fn has_news(&self, left: u64) -> bool {
        !matches!(self.session.known, Known::Yes { .. }) || self.session.owes_completed(left)
    }

    pub(super) fn answered(&mut self, flight: &Flight) {
        match flight.event {
            Some(Event::Started) => self.session.known = Known::Yes { left: flight.left },
            Some(Event::Completed) => self.session.completed = true,
            Some(Event::Stopped) => self.session.known = Known::No,
            Some(Event::Paused) | None => {}
        }
        self.session.answered = true;
        self.session.busy = false;
        self.backoff = Backoff::default();
    }

    /// Takes note that nothing came of `flight`. The tracker as a whole wished to be left alone until `wished_until`.
    pub(super) fn failed(
        &mut self,
        flight: &Flight,
        error: &TrackerError,
        wished_until: Option<Instant>,
        now: Instant,
    ) {
        match flight.event {
            // `stopped` is said once, heard or not.
            Some(Event::Stopped) => self.session.known = Known::No,
            Some(Event::Started) if error.may_have_been_seen() => self.session.known = Known::Perhaps,
            Some(Event::Started | Event::Completed | Event::Paused) | None => {}
        }
        let given_up = flight.was_given_up(error);
        self.session.busy = matches!(error, TrackerError::Status { .. });
        // A torrent that leaves tries once more only if the tracker will have time while we have, by both of its
        // wishes.
        let again_at =
            error.wish().map(|wish| wished_until.map_or(now + wish, |until| until.max(now + wish)));
        let is_last = again_at.is_none_or(|at| flight.ends_at <= at);
        self.session.gave_up |= flight.parting && is_last || given_up;
        if !given_up && flight.event != Some(Event::Stopped) {
            self.backoff.failed(error, now);
        }
    }
}

impl Backoff {
    pub(super) fn failed(&mut self, error: &TrackerError, now: Instant) {
        let wish = error.wish();
        let doubled = |failures: u32| BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
        let wait = match error {
            TrackerError::NoWay { .. } => NO_WAY_WAIT,
            // A busy server knows best, once.
            TrackerError::Status { retry_after: Some(_), .. } => {
                self.failures.checked_sub(1).map_or(Duration::ZERO, doubled)
            }
            _ => doubled(self.failures),
        };
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.retry_at = Some(now + wait);
        if let Some(wish) = wish {
            self.wished_until = Some(now + wish);
        }
    }

    pub(super) fn begin_session(&mut self) {
        self.failures = 0;
        self.forgive();
    }

    /// Shortens our own wait to its first step.
    pub(super) fn forgive(&mut self) {
        let first = self.failed_at.map(|at| at + BACKOFF_FIRST);
        self.retry_at = self.retry_at.and_then(|at| first.map(|first| first.min(at)));
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.retry_at.max(self.wished_until)
    }

    pub(super) fn is_failing(&self) -> bool {
        0 < self.failures
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flight(event: Option<Event>, left: u64, now: Instant) -> Flight {
        let purpose = Purpose::Round;
        Flight { request: 0, event, left, ends_at: now, purpose, hurried: false, parting: false }
    }

    fn busy(retry_after: Option<u64>) -> TrackerError {
        let retry_after = retry_after.map(Duration::from_secs);
        TrackerError::Status { status: 503, excerpt: String::new(), retry_after }
    }

    fn waits(error: &TrackerError, count: usize) -> Vec<u64> {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut wait = || {
            backoff.failed(error, now);
            (backoff.until().unwrap() - now).as_secs()
        };
        (0..count).map(|_| wait()).collect()
    }

    #[test]
    fn the_wait_doubles_from_fifteen_seconds_to_half_an_hour() {
        let waits = waits(&TrackerError::TimedOut, 40);
        assert_eq!(waits[..9], [15, 30, 60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(waits[39], 1800);
    }

    #[test]
    fn a_busy_server_is_asked_when_it_says_and_then_ever_more_rarely() {
        assert_eq!(waits(&busy(Some(1)), 4), [1, 15, 30, 60]);
        assert_eq!(waits(&busy(Some(0)), 2), [1, 15]);
        assert_eq!(waits(&busy(Some(40)), 4), [40, 40, 40, 60]);
        assert_eq!(waits(&busy(None), 3), [15, 30, 60]);
    }

    #[test]
    fn completed_is_owed_only_to_those_who_heard_that_something_was_left() {
        let now = Instant::now();
        let mut way = Way::new(Family::V4);
        assert!(!way.session.owes_completed(0));
        way.answered(&flight(Some(Event::Started), 0, now));
        assert!(!way.session.owes_completed(0));
        way.answered(&flight(Some(Event::Started), 9, now));
        assert!(way.session.owes_completed(0));
        assert!(!way.session.owes_completed(1));
        way.failed(&flight(Some(Event::Completed), 0, now), &TrackerError::TimedOut, None, now);
        assert!(way.session.owes_completed(0));
        way.answered(&flight(Some(Event::Completed), 0, now));
        assert!(!way.session.owes_completed(0));
    }
}
