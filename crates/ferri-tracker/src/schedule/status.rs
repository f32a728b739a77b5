//! What a person wants to know of a tracker.

use std::fmt;
use std::time::Instant;

use crate::announce::TrackerError;

/// One tracker at one moment. Text is as it came from outside; a caller that shows it sanitises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledTracker {
    /// As the torrent has it. May hold a passkey.
    pub url: String,
    /// Its tier, from 0. Trackers beside the tiers of the torrent have one each, behind those.
    pub tier: usize,
    /// Whether it stands beside the tiers of the torrent and is asked in any case.
    pub is_beside: bool,
    /// How it stands.
    pub state: TrackerState,
    /// Peers that have everything, as it said last.
    pub seeders: Option<u32>,
    /// Peers that have not, as it said last.
    pub leechers: Option<u32>,
    /// Downloads ever completed, as it said last.
    pub downloaded: Option<u32>,
    /// Peers in its last answer.
    pub peers: Option<usize>,
    /// When it will be asked next, as far as is known.
    pub next_announce: Option<Instant>,
    /// Why the last announce brought nothing; `None` when it did not fail.
    pub last_error: Option<TrackerError>,
    /// The remark in its last answer.
    pub warning: Option<String>,
}

/// How a tracker stands. Its `Display` is meant for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackerState {
    /// Its URL is none that we can use.
    Unusable,
    /// Another one answers; this one stands by.
    Unused,
    /// An announce is under way.
    Announcing,
    /// It answered the last announce.
    Working,
    /// The last announce failed; it will be tried again.
    Failing,
    /// It said that it never wants to be asked again (BEP 31).
    Refused,
    /// The torrent is stopped.
    Stopped,
}

impl fmt::Display for TrackerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unusable => "cannot be used",
            Self::Unused => "not needed yet",
            Self::Announcing => "announcing",
            Self::Working => "working",
            Self::Failing => "failing",
            Self::Refused => "wants no more requests",
            Self::Stopped => "stopped",
        })
    }
}
