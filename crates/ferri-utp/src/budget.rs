//! How many resets are sent to strangers.

use crate::time::{SECOND, Time};

/// Resets a second. They are a courtesy: without one the peer finds out by itself.
const RATE: u64 = 50;
/// That many at once.
const BURST: u64 = 100;

/// Fills up with time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    left: u64,
    filled: Time,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: BURST, filled: Time::default() }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let gained = now.since(self.filled) * RATE / SECOND;
        if 0 < gained {
            self.left = (self.left + gained).min(BURST);
            self.filled = now;
        }
        let has_one = 0 < self.left;
        self.left -= u64::from(has_one);
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_the_burst_and_then_the_rate() {
        let mut budget = Budget::new();
        let taken = (0..10 * SECOND).step_by(100).filter(|now| budget.take(Time(*now))).count();
        assert!((590..=600).contains(&taken), "{taken}");
    }
}
