//! One tracker as the schedule sees it: what it knows of us, how often we may ask, and what it said.
//!
//! A tracker whose name has addresses of both families is told by both (BEP 7), each a [`Way`]: peers of a family hear of
//! us only if it does. What it must hear is kept for each way; how often it may be asked, and whether it works at all, for
//! the tracker. A way that fails is no failure of the tracker while the other one works.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::way::{Backoff, Flight, Known, Way};
use crate::announce::{AnnounceResponse, Event, RetryIn, TrackerError};
use crate::limits::{INTERVAL_MAX, INTERVAL_MIN, MIN_INTERVAL_DEFAULT};
use crate::udp::Family;
use crate::url::{Transport, literal_ip};

#[derive(Debug)]
pub(super) struct Tracker {
    /// As the torrent has it, blanks around it removed.
    pub(super) url: String,
    /// What requests call it. No other tracker of the schedule has this number.
    pub(super) number: u32,
    pub(super) listing: Listing,
    /// Its tier, from 0; trackers beside the tiers count on.
    pub(super) tier: usize,
    /// It was listed while a session lasts, and is to be asked at once.
    pub(super) is_new: bool,
    pub(super) transport: Result<Transport, TrackerError>,
    /// One or two.
    pub(super) ways: Vec<Way>,
    /// `None` while no announce is under way: most of the time.
    attempt: Option<Box<Attempt>>,
    pub(super) pace: Pace,
    pub(super) heard: Heard,
    /// The number of the scrape under way, and when the last one was sent.
    pub(super) scrape: Option<u32>,
    pub(super) scraped_at: Option<Instant>,
}

/// How a tracker stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// In a tier of the torrent.
    Tier,
    /// Beside the tiers.
    Beside,
    /// Not any more: it is to hear that we go.
    Gone,
}

/// Announces by both ways that are under way together, until none is.
#[derive(Debug, Default)]
struct Attempt {
    answered: bool,
    /// The most telling of those that failed.
    error: Option<TrackerError>,
    peers: BTreeSet<SocketAddr>,
    seeders: Option<u32>,
    leechers: Option<u32>,
}

/// When a tracker may be asked.
#[derive(Debug, Default)]
pub(super) struct Pace {
    backoff: Backoff,
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

impl Tracker {
    pub(super) fn new(
        url: String,
        number: u32,
        (listing, tier): (Listing, usize),
        families: &[Family],
    ) -> Self {
        let ways = match literal_ip(&url) {
            Some(ip) => vec![Way::new(Family::of(SocketAddr::new(ip, 0)))],
            None => families.iter().map(|&family| Way::new(family)).collect(),
        };
        Self {
            transport: Transport::of(&url),
            url,
            number,
            listing,
            tier,
            is_new: false,
            ways,
            attempt: None,
            pace: Pace::default(),
            heard: Heard::default(),
            scrape: None,
            scraped_at: None,
        }
    }

    /// Whether it can be asked at all.
    pub(super) fn is_usable(&self) -> bool {
        self.transport.is_ok() && !self.pace.refused && !self.ways.is_empty()
    }

    /// Whether an announce is under way.
    pub(super) fn is_flying(&self) -> bool {
        self.ways.iter().any(|way| way.flight.is_some())
    }

    /// Whether it may have heard of us in this session, or is about to.
    pub(super) fn may_know(&self) -> bool {
        self.is_flying() || self.ways.iter().any(|way| way.session.known != Known::No)
    }

    /// It is listed, here; before, it was too or was about to go.
    pub(super) fn is_listed_at(&mut self, (listing, tier): (Listing, usize), flight_ends_at: Instant) {
        let was_gone = std::mem::replace(&mut self.listing, listing) == Listing::Gone;
        self.tier = tier;
        if !was_gone {
            return;
        }
        let is_parting =
            |way: &Way| way.flight.as_ref().is_some_and(|flight| flight.event == Some(Event::Stopped));
        // What hears `stopped` has to hear `started` again.
        self.is_new = self.ways.iter().any(is_parting);
        for flight in self.ways.iter_mut().filter_map(|way| way.flight.as_mut()) {
            if flight.event != Some(Event::Stopped) {
                (flight.ends_at, flight.hurried) = (flight_ends_at, false);
            }
        }
    }

    /// It is not listed any more. What is under way ends by `hurry` at the latest.
    pub(super) fn is_gone(&mut self, hurry: Instant) {
        (self.listing, self.is_new, self.scrape) = (Listing::Gone, false, None);
        for flight in self.ways.iter_mut().filter_map(|way| way.flight.as_mut()) {
            flight.hurry(hurry);
        }
    }

    pub(super) fn begin_session(&mut self) {
        self.is_new = false;
        for way in &mut self.ways {
            way.begin_session();
        }
        self.pace.backoff.begin_session();
        self.pace.answered_at = None;
    }

    /// Those that an announce is for when it is the tracker's turn: all that work, or all while none does.
    fn leading(&self) -> impl Iterator<Item = &Way> {
        let works = self.ways.iter().any(|way| !way.backoff.is_failing());
        self.ways.iter().filter(move |way| !works || !way.backoff.is_failing())
    }

    /// The earliest instant for the next announce; `None` is at once. A tracker that has news to hear is not asked for
    /// peers too often by that.
    pub(super) fn allowed_at(&self, left: u64) -> Option<Instant> {
        let spaced = self.leading().map(|way| if way.has_news(left) { None } else { self.pace.early_at() });
        self.pace.blocked_until().max(spaced.min().flatten())
    }

    /// The ways by which an announce goes out when it is allowed: those that failed wait longer, and go along.
    pub(super) fn open_ways(&self, left: u64, now: Instant) -> Vec<usize> {
        let works = self.ways.iter().any(|way| !way.backoff.is_failing());
        let is_due = |way: &Way| way.has_news(left) || self.pace.early_at().is_none_or(|at| at <= now);
        let is_rested = |way: &Way| !works || way.backoff.until().is_none_or(|at| at <= now);
        let due = (0..self.ways.len()).filter(|&way| is_due(&self.ways[way]));
        let (rested, tired): (Vec<_>, Vec<_>) = due.partition(|&way| is_rested(&self.ways[way]));
        if rested.is_empty() { tired } else { rested }
    }

    /// Not before this instant is a way told what it is owed.
    pub(super) fn owed_after(&self, way: usize) -> Option<Instant> {
        self.pace.blocked_until().max(self.ways[way].backoff.until())
    }

    /// Until when the tracker wishes not to be asked.
    pub(super) fn wished_until(&self, way: usize) -> Option<Instant> {
        self.pace.backoff.wished_until.max(self.ways[way].backoff.wished_until)
    }

    /// Shortens our own back-off to its first step, but not what the tracker asked for.
    pub(super) fn forgive(&mut self) {
        self.pace.backoff.forgive();
        for way in &mut self.ways {
            way.backoff.forgive();
        }
    }

    /// Takes note of an answer to `flight`, which tells in the end what both ways brought. Whether there is anything
    /// new in it.
    pub(super) fn answered(
        &mut self,
        way: usize,
        flight: &Flight,
        response: &mut AnnounceResponse,
        now: Instant,
    ) -> bool {
        self.ways[way].answered(flight);
        self.pace.answered(response, now);
        let attempt = self.attempt.get_or_insert_default();
        let known = attempt.peers.len();
        let is_first = !std::mem::replace(&mut attempt.answered, true);
        attempt.peers.extend(response.peers.iter().copied());
        // The same swarm counted twice, or each family by itself: the larger number is nearer to the truth.
        attempt.seeders = attempt.seeders.max(response.seeders);
        attempt.leechers = attempt.leechers.max(response.leechers);
        (response.seeders, response.leechers) = (attempt.seeders, attempt.leechers);
        let heard = &mut self.heard;
        if response.tracker_id.is_some() {
            heard.id.clone_from(&response.tracker_id);
        }
        heard.seeders = response.seeders.or(heard.seeders);
        heard.leechers = response.leechers.or(heard.leechers);
        heard.downloaded = response.downloaded.or(heard.downloaded);
        let peers = attempt.peers.len();
        heard.peers = Some(peers);
        heard.warning.clone_from(&response.warning);
        heard.error = None;
        self.end_attempt();
        is_first || known < peers
    }

    /// Takes note that nothing came of `flight`. Returns why the tracker failed, if it did by that.
    pub(super) fn failed(
        &mut self,
        way: usize,
        flight: &Flight,
        error: TrackerError,
        now: Instant,
    ) -> Option<TrackerError> {
        self.ways[way].failed(flight, &error, self.pace.backoff.wished_until, now);
        let has_answered = |way: &Way| way.session.answered;
        if flight.was_given_up(&error) && !has_answered(&self.ways[way]) && self.ways.iter().any(has_answered)
        {
            // A family that never answered does not hold up who leaves: by the other one the tracker hears of it.
            self.ways[way].session.known = Known::No;
        }
        let attempt = self.attempt.get_or_insert_default();
        let error = match attempt.error.take() {
            Some(earlier) => earlier.or_more_telling(error),
            None => error,
        };
        let works = |way: &Way| !way.backoff.is_failing() && matches!(way.session.known, Known::Yes { .. });
        let is_flying = self.ways.iter().any(|way| way.flight.is_some());
        let is_open = is_flying || attempt.answered || self.ways.iter().any(works);
        if is_open {
            attempt.error = Some(error);
            self.end_attempt();
            return None;
        }
        self.end_attempt();
        let error = match error {
            TrackerError::NoWay { why } => TrackerError::Unreachable { why },
            error => error,
        };
        // After `stopped` there is nothing to try again.
        if !flight.was_given_up(&error) && flight.event != Some(Event::Stopped) {
            self.pace.failed(&error, now);
            self.heard.error = Some(error.clone());
        }
        Some(error)
    }

    fn end_attempt(&mut self) {
        if !self.is_flying() {
            self.attempt = None;
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
        self.backoff.until()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.backoff.is_failing()
    }

    /// Whether the tracker said never.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered_at.is_some()
    }

    fn answered(&mut self, response: &AnnounceResponse, now: Instant) {
        self.backoff = Backoff::default();
        self.answered_at = Some(now);
        // A tracker whose minimum is above its interval means the minimum.
        let min_interval = response.min_interval.map(|min| min.clamp(INTERVAL_MIN, INTERVAL_MAX));
        self.interval =
            response.interval.clamp(INTERVAL_MIN, INTERVAL_MAX).max(min_interval.unwrap_or(INTERVAL_MIN));
        self.min_interval = min_interval.unwrap_or_else(|| MIN_INTERVAL_DEFAULT.min(self.interval));
    }

    fn failed(&mut self, error: &TrackerError, now: Instant) {
        self.backoff.failed(error, now);
        if let TrackerError::Failure { retry_in: RetryIn::Never, .. } = error {
            self.refused = true;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
    fn a_name_is_told_by_both_families_and_an_address_by_its_own() {
        let families = |url: &str| {
            let tracker = Tracker::new(url.to_owned(), 0, (Listing::Tier, 0), &[Family::V4, Family::V6]);
            tracker.ways.iter().map(|way| way.family).collect::<Vec<_>>()
        };
        assert_eq!(families("http://t.example/announce"), [Family::V4, Family::V6]);
        assert_eq!(families("udp://192.0.2.1:80"), [Family::V4]);
        assert_eq!(families("http://[2001:db8::1]/announce"), [Family::V6]);
        assert_eq!(families("http://[::ffff:192.0.2.1]/announce"), [Family::V4]);
    }
}
