//! Rate limits where bytes move: one token bucket per direction and level, shared by the peer tasks.
//!
//! The single deliberate piece of shared state in the engine. A bucket without a limit costs one atomic load.
//! Time is an argument, so that a minute of traffic is tested in a microsecond.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A token bucket: tokens are bytes. It may go into debt by one grant, so that a block larger than the burst
/// still passes and is paid for afterwards.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Bytes per second; 0 is unlimited.
    rate: AtomicU64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// At most `BURST` worth of the rate; negative while in debt.
    tokens: f64,
    filled_at: Option<Instant>,
}

/// What a bucket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Move up to this many bytes now.
    Bytes(usize),
    /// Ask again at this instant.
    Wait(Instant),
}

impl Limiter {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self {
            rate: AtomicU64::new(rate.unwrap_or(0)),
            bucket: Mutex::new(Bucket { tokens: 0.0, filled_at: None }),
        }
    }

    pub(crate) fn set_rate(&self, rate: Option<u64>) {
        self.rate.store(rate.unwrap_or(0), Ordering::Relaxed);
    }

    /// Bytes per second; `None` is unlimited.
    pub(crate) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate != 0)
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.rate.load(Ordering::Relaxed) != 0
    }

    /// Takes up to `want` tokens; at least `least` are granted, on credit if need be, once the bucket is not in
    /// debt. `least` is 1 for reads, which can stop anywhere, and a whole block for writes, which cannot.
    fn take(&self, want: usize, least: usize, now: Instant) -> Grant {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == 0 {
            return Grant::Bytes(want);
        }
        let rate = rate as f64;
        let burst = (rate * BURST.as_secs_f64()).max(GRANT_MIN);
        let mut bucket = self.bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = bucket.filled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        bucket.tokens = (bucket.tokens + elapsed.as_secs_f64() * rate).min(burst);
        bucket.filled_at = Some(now);
        let threshold = GRANT_MIN.min(want as f64);
        if bucket.tokens < threshold {
            let missing = (threshold - bucket.tokens) / rate;
            return Grant::Wait(now + Duration::from_secs_f64(missing.min(60.0)) + Duration::from_millis(1));
        }
        let granted = (bucket.tokens as usize).clamp(least.min(want), want.max(1));
        bucket.tokens -= granted as f64;
        Grant::Bytes(granted)
    }

    fn refund(&self, bytes: usize) {
        if bytes != 0 && self.is_limited() {
            self.bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner).tokens += bytes as f64;
        }
    }
}

/// The buckets that one direction of a peer passes, widest last.
#[derive(Debug, Clone)]
pub(crate) struct Limits(pub(crate) [std::sync::Arc<Limiter>; 2]);

impl Limits {
    pub(crate) fn is_limited(&self) -> bool {
        self.0.iter().any(|limiter| limiter.is_limited())
    }

    /// As [`Limiter::take`], from every level or none.
    pub(crate) fn take(&self, want: usize, least: usize, now: Instant) -> Grant {
        let [first, second] = &self.0;
        let granted = match first.take(want, least, now) {
            Grant::Bytes(granted) => granted,
            wait @ Grant::Wait(_) => return wait,
        };
        match second.take(granted, least, now) {
            Grant::Bytes(less) => {
                first.refund(granted - less);
                Grant::Bytes(less)
            }
            wait @ Grant::Wait(_) => {
                first.refund(granted);
                wait
            }
        }
    }

    /// Gives back tokens that were not used.
    pub(crate) fn refund(&self, bytes: usize) {
        for limiter in &self.0 {
            limiter.refund(bytes);
        }
    }
}

/// A bucket holds this much of its rate: short enough to feel even, long enough not to wake for crumbs.
const BURST: Duration = Duration::from_millis(100);

/// No task is woken for less than this many bytes.
const GRANT_MIN: f64 = 4096.0;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn moved_in(limits: &Limits, seconds: u64, least: usize) -> usize {
        let start = Instant::now();
        let mut now = start;
        let mut moved = 0;
        while now < start + Duration::from_secs(seconds) {
            match limits.take(16384, least, now) {
                Grant::Bytes(bytes) => moved += bytes,
                Grant::Wait(until) => now = until,
            }
        }
        moved
    }

    fn limits(first: Option<u64>, second: Option<u64>) -> Limits {
        Limits([Arc::new(Limiter::new(first)), Arc::new(Limiter::new(second))])
    }

    #[test]
    fn a_minute_at_a_limit_moves_a_minute_of_bytes() {
        for least in [1, 16384] {
            let moved = moved_in(&limits(Some(1_000_000), None), 60, least);
            assert!((59_000_000..61_000_000).contains(&moved), "{moved}");
        }
    }

    #[test]
    fn a_limit_below_one_block_a_second_still_lets_blocks_through() {
        let moved = moved_in(&limits(Some(2_000), None), 100, 16384);
        assert!((180_000..=240_000).contains(&moved), "{moved}");
    }

    #[test]
    fn the_narrower_of_two_levels_decides_and_the_wider_is_not_charged_for_it() {
        let limits = limits(Some(1_000_000), Some(100_000));
        let moved = moved_in(&limits, 10, 1);
        assert!((980_000..1_100_000).contains(&moved), "{moved}");
    }

    #[test]
    fn without_limits_everything_is_granted_at_once() {
        assert_eq!(limits(None, None).take(1 << 20, 1, Instant::now()), Grant::Bytes(1 << 20));
    }

    #[test]
    fn a_limit_can_change_while_in_use() {
        let limits = limits(Some(1000), None);
        assert!(moved_in(&limits, 10, 1) < 20_000);
        limits.0[0].set_rate(None);
        assert!(!limits.is_limited());
        assert_eq!(limits.take(5, 1, Instant::now()), Grant::Bytes(5));
    }
}
