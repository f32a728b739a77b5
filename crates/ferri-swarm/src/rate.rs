//! Bytes a second, smoothed over about five seconds: a ring of half-second slots, so that old bytes are forgotten exactly.

use std::time::{Duration, Instant};

/// How much time one slot of the ring covers.
const SLOT: Duration = Duration::from_millis(500);
/// Slots in the ring; the oldest is being filled while the others are full.
const SLOTS: usize = 10;
/// A rate is never computed over less time than this, or a single early block would look like gigabytes a second.
const SPAN_MIN: Duration = Duration::from_millis(500);

/// Measures one flow of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    slots: [u64; SLOTS],
    /// When the slot at `at` began.
    began: Instant,
    at: usize,
    /// Sum of `slots`.
    sum: u64,
    /// When the flow began; the ring is not full before `SLOT * SLOTS` have passed.
    started: Instant,
    total: u64,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self { slots: [0; SLOTS], began: now, at: 0, sum: 0, started: now, total: 0 }
    }

    /// `bytes` moved.
    pub(crate) fn add(&mut self, bytes: u64, now: Instant) {
        if self.sum == 0 {
            // A flow that pauses for the whole ring starts anew, or its rate would creep up from zero.
            self.restart(now);
        } else {
            self.turn(now);
        }
        self.slots[self.at] += bytes;
        self.sum += bytes;
        self.total += bytes;
    }

    /// Bytes a second over the time the ring covers.
    pub(crate) fn per_second(&self, now: Instant) -> u64 {
        let mut turned = self.clone();
        turned.turn(now);
        if turned.sum == 0 {
            return 0;
        }
        let covered = SLOT * (SLOTS as u32 - 1) + now.saturating_duration_since(turned.began);
        let span = covered.min(now.saturating_duration_since(turned.started)).max(SPAN_MIN);
        // Five seconds of a terabyte each are still far from the end of 64 bits.
        turned.sum.saturating_mul(1_000_000) / (span.as_micros() as u64)
    }

    /// All bytes ever added.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    fn restart(&mut self, now: Instant) {
        self.slots = [0; SLOTS];
        (self.began, self.started, self.at) = (now, now, 0);
    }

    /// Forgets the slots that have become older than the ring.
    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed < SLOT {
            return;
        }
        let passed = usize::try_from(passed.as_millis() / SLOT.as_millis()).unwrap_or(usize::MAX);
        for _ in 0..passed.min(SLOTS) {
            self.at = (self.at + 1) % SLOTS;
            self.sum -= self.slots[self.at];
            self.slots[self.at] = 0;
        }
        if passed < SLOTS { self.began += SLOT * passed as u32 } else { self.began = now }
    }
}

/// A leaky bucket: how much of something a peer may do at once and over time.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    level: u32,
    burst: u32,
    /// Refilled each `period`.
    refill: u32,
    /// In seconds, at least 1.
    period: u32,
    at: Instant,
}

impl Bucket {
    /// Full: `burst` at once, `per_second` for good.
    pub(crate) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { level: burst, burst, refill: per_second, period: 1, at: now }
    }

    /// Full: `burst` at once, one each `period` seconds for good.
    pub(crate) fn slow(burst: u32, period: u32, now: Instant) -> Self {
        Self { level: burst, burst, refill: 1, period, at: now }
    }

    /// Takes one out; `false` if there is none.
    #[must_use]
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.level == 0 {
            let seconds = now.saturating_duration_since(self.at).as_secs();
            let periods = seconds / u64::from(self.period);
            let refill = u64::from(self.refill).saturating_mul(periods).min(u64::from(self.burst));
            if refill == 0 {
                return false;
            }
            self.level = refill as u32;
            self.at = now;
        }
        self.level -= 1;
        true
    }

    /// Puts some back, no more than there were at first.
    pub(crate) fn give(&mut self, count: u32) {
        self.level = self.level.saturating_add(count).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_steady_flow_has_its_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for tick in 0..200 {
            rate.add(1_000, start + ms(tick * 100));
        }
        // 100 blocks of the last ten slots are 50, the newest slot holds 5 and 400 ms have passed in it.
        assert_eq!(rate.per_second(start + ms(19_900)), 50 * 1_000 * 1_000 / 4_900);
        assert_eq!(rate.per_second(start + ms(20_000)), 45 * 1_000 * 1_000 / 4_500);
        assert_eq!(rate.total(), 200_000);
    }

    #[test]
    fn a_flow_that_stops_is_forgotten_within_the_ring() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.add(1_000_000, start);
        assert_eq!(rate.per_second(start), 2_000_000);
        assert_eq!(rate.per_second(start + ms(2_000)), 500_000);
        assert!(rate.per_second(start + ms(4_900)) > 0);
        assert_eq!(rate.per_second(start + ms(5_000)), 0);
    }

    #[test]
    fn a_flow_that_pauses_starts_anew() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.add(10, start);
        let later = start + ms(60_000);
        assert_eq!(rate.per_second(later), 0);
        let _ = rate.clone();
        rate.turn(later);
        rate.add(1_000, later);
        assert_eq!(rate.per_second(later + ms(1_000)), 1_000);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2, start);
        assert!((0..3).all(|_| bucket.take(start)));
        assert!(!bucket.take(start + ms(900)));
        assert!(bucket.take(start + ms(1_000)) && bucket.take(start + ms(1_000)));
        assert!(!bucket.take(start + ms(1_100)));
        assert!((0..3).all(|_| bucket.take(start + ms(100_000))));
        assert!(!bucket.take(start + ms(100_000)));
        let mut slow = Bucket::slow(1, 30, start);
        assert!(slow.take(start) && !slow.take(start + ms(29_999)));
        assert!(slow.take(start + ms(30_000)) && !slow.take(start + ms(30_000)));
    }
}
