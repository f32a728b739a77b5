//! Time inside the machine: microseconds since it was made, which is also what packets carry.

use std::time::{Duration, Instant};

/// Microseconds since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    /// How long after `earlier`, in microseconds; 0 when it is before it.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// As in a packet, where it wraps after 71 minutes.
    pub(crate) fn stamp(self) -> u32 {
        self.0 as u32
    }
}

/// Between the caller's clock and ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now }
    }

    pub(crate) fn time(self, now: Instant) -> Time {
        Time(micros(now.saturating_duration_since(self.began)))
    }

    pub(crate) fn instant(self, time: Time) -> Instant {
        self.began + Duration::from_micros(time.0)
    }
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

pub(crate) const MILLISECOND: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;
