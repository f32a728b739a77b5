//! What a torrent sent and received in all its sessions, and for how long: counted here, and noted in the state folder
//! while it grows.

use std::time::{Duration, Instant};

use ferri_storage::Totals;
use ferri_swarm::SwarmStats;

use crate::status::{AllTime, State, Stopwatch};

/// Totals that changed are noted this often: a process that is killed loses no more of them.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);
/// Addresses of peers that changed are kept this often.
const PEERS_INTERVAL: Duration = Duration::from_secs(300);
/// After a failure it is tried again this much later. It is no reason to stop anything.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Payload bytes of this session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    uploaded: u64,
    downloaded: u64,
    wasted: u64,
}

impl From<&SwarmStats> for Moved {
    fn from(stats: &SwarmStats) -> Self {
        Self { uploaded: stats.uploaded, downloaded: stats.downloaded, wasted: stats.wasted }
    }
}

/// A torrent's totals.
#[derive(Debug)]
pub(super) struct Account {
    /// Of earlier sessions.
    before: Totals,
    seeding: Stopwatch,
    active: Stopwatch,
    /// What the state folder has.
    noted: Totals,
    /// What is on its way there.
    noting: Option<Totals>,
    /// Not before.
    next: Instant,
    is_failure_told: bool,
    /// When addresses of peers were kept last.
    peers_kept_at: Option<Instant>,
}

impl Account {
    pub(super) fn new(before: Totals, now: Instant) -> Self {
        Self {
            before,
            seeding: Stopwatch::from(before.seeding),
            active: Stopwatch::from(before.active),
            noted: before,
            noting: None,
            next: now,
            is_failure_told: false,
            peers_kept_at: None,
        }
    }

    /// Time goes on according to what the torrent does. A disk that is in the way stops no clock.
    pub(super) fn follow(&mut self, state: &State, is_complete: bool, now: Instant) {
        let is_active = matches!(state, State::Downloading | State::Seeding | State::Error { .. });
        self.active.set_running(is_active, now);
        self.seeding.set_running(is_active && is_complete, now);
    }

    /// With what this session moved.
    pub(super) fn all_time(&self, moved: Moved) -> AllTime {
        AllTime {
            uploaded: self.before.uploaded.saturating_add(moved.uploaded),
            downloaded: self.before.downloaded.saturating_add(moved.downloaded),
            wasted: self.before.wasted.saturating_add(moved.wasted),
            seeding: self.seeding,
            active: self.active,
        }
    }

    /// What is to be noted.
    pub(super) fn totals(&self, moved: Moved, now: Instant) -> Totals {
        let all = self.all_time(moved);
        Totals {
            uploaded: all.uploaded,
            downloaded: all.downloaded,
            wasted: all.wasted,
            seeding: all.seeding.at(now),
            active: all.active.at(now),
        }
    }

    /// What differs from what is noted so much that it has to be noted.
    pub(super) fn news(&self, moved: Moved, now: Instant) -> Option<Totals> {
        let totals = self.totals(moved, now);
        let bytes = |totals: &Totals| (totals.uploaded, totals.downloaded, totals.wasted);
        let is_late = self.noted.active + NOTE_INTERVAL <= totals.active;
        (is_late || bytes(&totals) != bytes(&self.noted)).then_some(totals)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.noting.is_none() && self.next <= now
    }

    /// It is time to look: what is to be noted now.
    pub(super) fn take_news(&mut self, moved: Moved, now: Instant) -> Option<Totals> {
        self.next = now + NOTE_INTERVAL;
        self.noting = self.news(moved, now);
        self.noting
    }

    /// When there may be something to note; only for a torrent at work.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.noting.is_none().then_some(self.next)
    }

    /// What [`Self::take_news`] gave is in the state folder.
    pub(super) fn noted(&mut self) {
        if let Some(totals) = self.noting.take() {
            self.noted = totals;
        }
    }

    /// It could not be written. Whether that is news.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        (self.noting, self.next) = (None, now + RETRY_INTERVAL);
        !std::mem::replace(&mut self.is_failure_told, true)
    }

    /// Addresses of peers may be kept again.
    pub(super) fn are_peers_due(&self, now: Instant) -> bool {
        self.peers_kept_at.is_none_or(|at| at + PEERS_INTERVAL <= now)
    }

    /// They were.
    pub(super) fn peers_kept(&mut self, now: Instant) {
        self.peers_kept_at = Some(now);
    }

    /// Nothing is on its way to the state folder.
    pub(super) fn is_quiet(&self) -> bool {
        self.noting.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ErrorReason;

    const SECOND: Duration = Duration::from_secs(1);

    fn moved(uploaded: u64) -> Moved {
        Moved { uploaded, downloaded: 10, wasted: 1 }
    }

    fn before() -> Totals {
        Totals { uploaded: 100, downloaded: 50, wasted: 5, seeding: 60 * SECOND, active: 90 * SECOND }
    }

    #[test]
    fn a_session_adds_to_those_before() {
        let now = Instant::now();
        let mut account = Account::new(before(), now);
        account.follow(&State::Downloading, false, now);
        account.follow(&State::Seeding, true, now + SECOND);
        let error = State::Error { reason: ErrorReason::Disk, text: String::new(), recoverable: true };
        account.follow(&error, true, now + 2 * SECOND);
        account.follow(&State::Paused, true, now + 4 * SECOND);
        let (seeding, active) = (63 * SECOND, 94 * SECOND);
        let expected = Totals { uploaded: 107, downloaded: 60, wasted: 6, seeding, active };
        assert_eq!(account.totals(moved(7), now + 1_000 * SECOND), expected);
    }

    #[test]
    fn what_moved_is_noted_and_time_alone_when_there_is_more_of_it() {
        let now = Instant::now();
        let mut account = Account::new(before(), now);
        assert!(account.is_due(now));
        assert_eq!(account.take_news(Moved::default(), now), None);
        account.follow(&State::Seeding, true, now);
        let soon = now + NOTE_INTERVAL - SECOND;
        assert!(!account.is_due(soon), "not so soon again");
        assert_eq!(account.news(Moved::default(), soon), None, "it may rest");
        assert!(account.news(moved(1), soon).is_some(), "it may not");
        let later = now + NOTE_INTERVAL;
        assert!(account.is_due(later));
        assert!(account.take_news(Moved::default(), later).is_some(), "time alone");
        assert!(!account.is_due(later + NOTE_INTERVAL), "one at a time");
        account.noted();
        assert_eq!(account.news(Moved::default(), later + SECOND), None);
        account.follow(&State::Paused, true, later + SECOND);
        assert_eq!(account.news(Moved::default(), now + 1_000 * SECOND), None);
    }
}
