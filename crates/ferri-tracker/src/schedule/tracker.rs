//! One tracker as the schedule sees it: what it knows of us, how often we may ask, and what it said.

use std::time::{Duration, Instant};

use crate::announce::{AnnounceResponse, Event, RetryIn, TrackerError};
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, INTERVAL_MAX, INTERVAL_MIN, MIN_INTERVAL_DEFAULT};
use crate::url::Transport;

#[derive(Debug)]
pub(super) struct Tracker {
    /// As the torrent has it, blanks around it removed.
    pub(super) url: String,
    /// The place in the torrent's list, from 0; trackers added later count on.
    pub(super) tier: usize,
    pub(super) transport: Result<Transport, TrackerError>,
    pub(super) session: Session,
    pub(super) pace: Pace,
    pub(super) heard: Heard,
    /// The announce under way. One at a time.
    pub(super) flight: Option<Flight>,
    /// The number of the scrape under way, and when the last one was sent.
    pub(super) scrape: Option<u32>,
    pub(super) scraped_at: Option<Instant>,
}

/// What a tracker knows of this session: from Start to Stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) known: Known,
    pub(super) completed: Completed,
}

/// Whether a tracker has heard `started`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It cannot have.
    No,
    /// It was sent and not answered. It is sent again, and `stopped` too if it comes to that.
    Perhaps,
    /// It answered, and heard that this many bytes were left.
    Yes { left: u64 },
}

/// Whether a tracker has heard `completed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    Unsent,
    /// It was not answered; it goes with the next announce that is due.
    Unanswered,
    Answered,
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
}

/// Why an announce was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// As part of its chain's round: its success ends the round, its failure makes the next tracker's turn.
    Round,
    /// To tell this very tracker something.
    News,
}

/// When a tracker may be asked.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// In a row.
    failures: u32,
    /// Our own back-off.
    retry_at: Option<Instant>,
    failed_at: Option<Instant>,
    /// BEP 31: the tracker asked for patience.
    refused_until: Option<Instant>,
    /// BEP 31: the tracker said never.
    refused: bool,
    /// Of this session.
    answered_at: Option<Instant>,
    interval: Duration,
    min_interval: Duration,
}

/// What a tracker said last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) id: Option<Vec<u8>>,
    pub(super) seeders: Option<u32>,
    pub(super) leechers: Option<u32>,
    pub(super) downloaded: Option<u32>,
    pub(super) peers: Option<usize>,
    pub(super) warning: Option<String>,
    pub(super) error: Option<TrackerError>,
}

impl Session {
    const NEW: Self = Self { known: Known::No, completed: Completed::Unsent };

    /// BEP 3: only a tracker that was told we lack something hears that we have it all.
    pub(super) fn owes_completed(&self, left: u64) -> bool {
        left == 0
            && self.completed != Completed::Answered
            && matches!(self.known, Known::Yes { left } if 0 < left)
    }
}

impl Tracker {
    pub(super) fn new(url: String, tier: usize) -> Self {
        Self {
            transport: Transport::of(&url),
            url,
            tier,
            session: Session::NEW,
            pace: Pace::default(),
            heard: Heard::default(),
            flight: None,
            scrape: None,
            scraped_at: None,
        }
    }

    /// Whether it can be asked at all.
    pub(super) fn is_usable(&self) -> bool {
        self.transport.is_ok() && !self.pace.refused
    }

    pub(super) fn begin_session(&mut self) {
        self.session = Session::NEW;
        self.pace.failures = 0;
        self.pace.answered_at = None;
        self.forgive();
    }

    /// The earliest instant for the next announce; `None` is at once. A tracker that has news to hear is not asked for
    /// peers too often by that.
    pub(super) fn allowed_at(&self, left: u64) -> Option<Instant> {
        let has_news = !matches!(self.session.known, Known::Yes { .. }) || self.session.owes_completed(left);
        let spaced = if has_news { None } else { self.pace.early_at() };
        self.pace.blocked_until().max(spaced)
    }

    /// Shortens our own back-off to its first step, but not what the tracker asked for.
    pub(super) fn forgive(&mut self) {
        let first = self.pace.failed_at.map(|at| at + BACKOFF_FIRST);
        self.pace.retry_at = self.pace.retry_at.and(first);
    }

    /// Takes note of an answer to `flight`.
    pub(super) fn answered(&mut self, flight: &Flight, response: &AnnounceResponse, now: Instant) {
        match flight.event {
            Some(Event::Started) => self.session.known = Known::Yes { left: flight.left },
            Some(Event::Completed) => self.session.completed = Completed::Answered,
            Some(Event::Stopped) => self.session.known = Known::No,
            Some(Event::Paused) | None => {}
        }
        self.pace.answered(response, now);
        let heard = &mut self.heard;
        if response.tracker_id.is_some() {
            heard.id.clone_from(&response.tracker_id);
        }
        heard.seeders = response.seeders.or(heard.seeders);
        heard.leechers = response.leechers.or(heard.leechers);
        heard.downloaded = response.downloaded.or(heard.downloaded);
        heard.peers = Some(response.peers.len());
        heard.warning.clone_from(&response.warning);
        heard.error = None;
    }

    /// Takes note that nothing came of `flight`.
    pub(super) fn failed(&mut self, flight: &Flight, error: TrackerError, now: Instant) {
        match flight.event {
            // `stopped` is said once, heard or not.
            Some(Event::Stopped) => self.session.known = Known::No,
            Some(Event::Started) if error.may_have_been_seen() => self.session.known = Known::Perhaps,
            Some(Event::Completed) => self.session.completed = Completed::Unanswered,
            Some(Event::Started | Event::Paused) | None => {}
        }
        let given_up = flight.hurried && error == TrackerError::TimedOut;
        // After `stopped` there is nothing to try again.
        if !given_up && flight.event != Some(Event::Stopped) {
            self.pace.failed(&error, now);
            self.heard.error = Some(error);
        }
    }
}

impl Pace {
    /// When peers that run short may be asked for.
    fn early_at(&self) -> Option<Instant> {
        self.answered_at.map(|at| at + self.min_interval)
    }

    /// When the next announce is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.answered_at.map(|at| at + self.interval)
    }

    /// Not before this instant, whatever there is to say.
    pub(super) fn blocked_until(&self) -> Option<Instant> {
        self.retry_at.max(self.refused_until)
    }

    pub(super) fn is_failing(&self) -> bool {
        0 < self.failures
    }

    /// Whether the tracker said never.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered_at.is_some()
    }

    fn answered(&mut self, response: &AnnounceResponse, now: Instant) {
        self.failures = 0;
        self.retry_at = None;
        self.refused_until = None;
        self.answered_at = Some(now);
        // A tracker whose minimum is above its interval means the minimum.
        let min_interval = response.min_interval.map(|min| min.clamp(INTERVAL_MIN, INTERVAL_MAX));
        self.interval =
            response.interval.clamp(INTERVAL_MIN, INTERVAL_MAX).max(min_interval.unwrap_or(INTERVAL_MIN));
        self.min_interval = min_interval.unwrap_or_else(|| MIN_INTERVAL_DEFAULT.min(self.interval));
    }

    fn failed(&mut self, error: &TrackerError, now: Instant) {
        let doubled = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.retry_at = Some(now + doubled.min(BACKOFF_MAX));
        match error {
            TrackerError::Failure { retry_in: RetryIn::Never, .. } => self.refused = true,
            TrackerError::Failure { retry_in: RetryIn::After(wait), .. } => {
                self.refused_until = Some(now + (*wait).clamp(INTERVAL_MIN, INTERVAL_MAX));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flight(event: Option<Event>, left: u64, now: Instant) -> Flight {
        Flight { request: 0, event, left, ends_at: now, purpose: Purpose::Round, hurried: false }
    }

    #[test]
    fn the_wait_doubles_from_fifteen_seconds_to_half_an_hour() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        for _ in 0..40 {
            pace.failed(&TrackerError::TimedOut, now);
            waits.push((pace.blocked_until().unwrap() - now).as_secs());
        }
        assert_eq!(waits[..9], [15, 30, 60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(waits[39], 1800);
    }

    #[test]
    fn a_minimum_above_the_interval_counts() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let hour = Duration::from_secs(3600);
        let minute = Duration::from_secs(60);
        pace.answered(&AnnounceResponse { min_interval: Some(hour), ..AnnounceResponse::new(minute) }, now);
        assert_eq!(pace.due_at(), Some(now + hour));
        pace.answered(&AnnounceResponse::new(hour), now);
        assert_eq!(pace.early_at(), Some(now + 5 * minute));
        pace.answered(&AnnounceResponse::new(minute), now);
        assert_eq!(pace.early_at(), Some(now + minute));
    }

    #[test]
    fn completed_is_owed_only_to_those_who_heard_that_something_was_left() {
        let now = Instant::now();
        let mut tracker = Tracker::new("http://t/announce".to_owned(), 0);
        let response = AnnounceResponse::new(INTERVAL_MIN);
        assert!(!tracker.session.owes_completed(0));
        tracker.answered(&flight(Some(Event::Started), 0, now), &response, now);
        assert!(!tracker.session.owes_completed(0));
        tracker.answered(&flight(Some(Event::Started), 9, now), &response, now);
        assert!(tracker.session.owes_completed(0));
        assert!(!tracker.session.owes_completed(1));
        tracker.failed(&flight(Some(Event::Completed), 0, now), TrackerError::TimedOut, now);
        assert!(tracker.session.owes_completed(0));
        tracker.answered(&flight(Some(Event::Completed), 0, now), &response, now);
        assert!(!tracker.session.owes_completed(0));
    }
}
