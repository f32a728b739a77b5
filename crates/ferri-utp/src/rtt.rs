//! The round-trip time, and how long to wait for an answer.

use crate::time::{MILLISECOND, SECOND};

/// BEP 29: a packet has at least half a second to be acknowledged.
const TIMEOUT_MIN: u64 = 500 * MILLISECOND;
/// BEP 29: before anything was measured.
const TIMEOUT_FIRST: u64 = SECOND;
/// However often nothing came; a peer that is back is noticed after this.
const TIMEOUT_MAX: u64 = 15 * SECOND;
/// How long other clients wait before they acknowledge a single packet.
const DELAYED_ACK_MAX: u64 = 100 * MILLISECOND;

/// Smoothed round-trip time. All in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    /// `None` before the first measurement.
    smoothed: Option<u64>,
    variance: u64,
    latest: u64,
    min: u64,
}

impl Rtt {
    /// A packet that was sent once was acknowledged after `sample`.
    pub(crate) fn add(&mut self, sample: u64) {
        self.latest = sample;
        let Some(smoothed) = self.smoothed else {
            *self = Self { smoothed: Some(sample), variance: sample / 2, latest: sample, min: sample };
            return;
        };
        self.min = self.min.min(sample);
        // BEP 29, in whole microseconds.
        self.variance = (3 * self.variance + smoothed.abs_diff(sample)) / 4;
        self.smoothed = Some((7 * smoothed + sample) / 8);
    }

    /// The smoothed time; a guess before the first measurement.
    pub(crate) fn smoothed(&self) -> u64 {
        self.smoothed.unwrap_or(100 * MILLISECOND)
    }

    /// The shortest time measured; 0 before the first.
    pub(crate) fn min(&self) -> u64 {
        self.min
    }

    /// After how long without progress everything under way counts as lost, when that already happened `times` times
    /// in a row.
    pub(crate) fn timeout(&self, times: u32) -> u64 {
        let base =
            self.smoothed.map_or(TIMEOUT_FIRST, |smoothed| (smoothed + 4 * self.variance).max(TIMEOUT_MIN));
        base.saturating_mul(1 << times.min(10)).min(TIMEOUT_MAX.max(base))
    }

    /// After how long without progress the last packet is sent again, to learn from the answer what is missing.
    /// `None` before the first measurement.
    pub(crate) fn probe_timeout(&self) -> Option<u64> {
        self.smoothed.map(|smoothed| smoothed + (4 * self.variance).max(smoothed / 4) + DELAYED_ACK_MAX)
    }

    /// A packet that was sent before one that is acknowledged, and this long ago, is lost (RFC 9002, 6.1.2).
    pub(crate) fn reorder_time(&self) -> u64 {
        self.smoothed().max(self.latest) * 9 / 8 + MILLISECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_follow_the_measurements_within_their_bounds() {
        let mut rtt = Rtt::default();
        assert_eq!((rtt.timeout(0), rtt.timeout(2), rtt.probe_timeout()), (SECOND, 4 * SECOND, None));
        for _ in 0..50 {
            rtt.add(50 * MILLISECOND);
        }
        assert_eq!((rtt.smoothed(), rtt.timeout(0)), (50 * MILLISECOND, TIMEOUT_MIN));
        rtt.add(2 * SECOND);
        assert!(2 * SECOND < rtt.timeout(0));
        assert_eq!((rtt.timeout(31), rtt.min()), (TIMEOUT_MAX, 50 * MILLISECOND));
    }
}
