//! The registry's time: seconds since it began, and coarser ticks that fit 16 bits for each peer.

use std::time::{Duration, Instant};

/// Ticks in the lifetime of a peer at most. A quarter of what 16 bits can tell apart, so that a peer that was not
/// looked at for two more lifetimes still counts as old.
const LIFETIME_TICKS_MAX: u64 = 1 << 14;

/// Ticks by which a peer may be seen after the moment it is compared with: a look through everything keeps the moment it began
/// at, while peers announce. Far longer than any look takes, and little of what 16 bits can tell apart.
const AHEAD_TICKS_MAX: u16 = 1 << 12;

/// When the registry began, and how long a tick is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
    tick_seconds: u32,
    lifetime_ticks: u16,
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since the registry began.
    pub(super) seconds: u32,
    pub(super) tick: u16,
}

impl Clock {
    pub(super) fn new(began: Instant, lifetime: Duration) -> Self {
        // Longer would be no lifetime at all.
        let seconds = lifetime.as_secs().clamp(1, u64::from(u32::MAX / 8));
        let tick_seconds = seconds.div_ceil(LIFETIME_TICKS_MAX);
        let lifetime_ticks = seconds.div_ceil(tick_seconds);
        Self {
            began,
            tick_seconds: u32::try_from(tick_seconds).unwrap_or(u32::MAX),
            lifetime_ticks: u16::try_from(lifetime_ticks).unwrap_or(u16::MAX / 4),
        }
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    pub(super) fn moment(&self, now: Instant) -> Moment {
        let seconds = u32::try_from(self.age(now).as_secs()).unwrap_or(u32::MAX);
        // The low bits: ticks come round.
        Moment { seconds, tick: (seconds / self.tick_seconds) as u16 }
    }

    /// Whether a peer that was last seen at a tick has been silent for longer than its lifetime.
    pub(super) fn is_over(&self, seen: u16, now: Moment) -> bool {
        self.lifetime_ticks < ticks_since(seen, now)
    }

    /// For how many seconds a peer has been silent.
    pub(super) fn silence(&self, seen: u16, now: Moment) -> u32 {
        u32::from(ticks_since(seen, now)).saturating_mul(self.tick_seconds)
    }

    /// The tick so many seconds ago. `None` when that is longer than a lifetime.
    pub(super) fn tick_before(&self, now: Moment, seconds: u32) -> Option<u16> {
        let ticks = u16::try_from(seconds / self.tick_seconds).ok()?;
        (ticks <= self.lifetime_ticks).then_some(now.tick.wrapping_sub(ticks))
    }
}

/// 0 for a peer that was seen after `now`.
fn ticks_since(seen: u16, now: Moment) -> u16 {
    let ticks = now.tick.wrapping_sub(seen);
    if u16::MAX - AHEAD_TICKS_MAX < ticks { 0 } else { ticks }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(lifetime: u64) {
        let began = Instant::now();
        let clock = Clock::new(began, Duration::from_secs(lifetime));
        // Ticks come round many times.
        for seen in [0, 17, lifetime, 40 * lifetime + 3] {
            let at = |seconds: u64| clock.moment(began + Duration::from_secs(seconds));
            let tick = at(seen).tick;
            let coarse = u64::from(clock.tick_seconds);
            assert!(!clock.is_over(tick, at(seen + lifetime - 1)), "{lifetime} {seen}");
            assert!(clock.is_over(tick, at(seen + lifetime + 2 * coarse)), "{lifetime} {seen}");
            assert!(clock.is_over(tick, at(seen + 3 * lifetime)), "{lifetime} {seen}");
            let silence = u64::from(clock.silence(tick, at(seen + lifetime / 2)));
            assert!(silence.abs_diff(lifetime / 2) <= coarse, "{lifetime} {seen} {silence}");
            let before = clock.tick_before(at(seen + lifetime / 2), (lifetime / 2) as u32).unwrap();
            assert!(tick.wrapping_sub(before) <= 1 || before.wrapping_sub(tick) <= 1);
            assert_eq!(clock.tick_before(at(seen), (2 * lifetime + coarse) as u32), None);
        }
    }

    #[test]
    fn who_is_seen_after_a_look_began_is_not_silent() {
        let began = Instant::now();
        for lifetime in [60, 1260, 16_384, 7 * 24 * 3600] {
            let clock = Clock::new(began, Duration::from_secs(lifetime));
            let tick = u64::from(clock.tick_seconds);
            // Where ticks come round between the two as well.
            for second in [0, 100, tick * (1 << 16) - tick] {
                let now = clock.moment(began + Duration::from_secs(second));
                for ahead in [1, 2, 4_000] {
                    let seen = clock.moment(began + Duration::from_secs(second + ahead * tick)).tick;
                    assert!(!clock.is_over(seen, now), "{lifetime} {second} {ahead}");
                    assert_eq!(clock.silence(seen, now), 0, "{lifetime} {second} {ahead}");
                }
            }
        }
    }

    #[test]
    fn silence_is_told_for_lifetimes_of_minutes_and_of_days() {
        [60, 1260, 16_384, 16_385, 100_000, 7 * 24 * 3600].into_iter().for_each(check);
    }
}
