//! How long packets wait in queues on the way to the peer.
//!
//! The peer says of each packet how long it seemed to take, by two clocks that differ by an unknown amount. The shortest
//! time of the last minutes is that of an empty queue; what a packet takes longer, it waits. The clocks also drift
//! apart, and routes change, so the shortest time is forgotten after a while.

use crate::time::{SECOND, Time};

/// A minute of history is one bucket.
const BUCKET: u64 = 60 * SECOND;
const BUCKETS: usize = 3;
/// One packet may wait by chance; a queue holds up several in a row.
const FILTER: usize = 4;

/// The shortest of the delays in the last minutes. Delays wrap, as the clocks of packets do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BaseDelay {
    /// The newest first. `None` while nothing was heard in that minute.
    buckets: [Option<u32>; BUCKETS],
    began: Time,
}

impl BaseDelay {
    pub(crate) fn add(&mut self, delay: u32, now: Time) {
        let passed = (now.since(self.began) / BUCKET).min(BUCKETS as u64) as usize;
        if 0 < passed {
            self.buckets.rotate_right(passed);
            self.buckets[..passed].fill(None);
            self.began = now;
        }
        self.buckets[0] = Some(self.buckets[0].map_or(delay, |shortest| shorter(shortest, delay)));
    }

    pub(crate) fn get(&self) -> Option<u32> {
        self.buckets.iter().copied().flatten().reduce(shorter)
    }

    /// All delays were this much longer than they seemed.
    fn shift(&mut self, micros: u32) {
        for bucket in self.buckets.iter_mut().flatten() {
            *bucket = bucket.wrapping_add(micros);
        }
    }
}

/// Which is less, of two numbers that wrap and are close to each other.
fn shorter(a: u32, b: u32) -> u32 {
    if (a.wrapping_sub(b) as i32) < 0 { a } else { b }
}

/// The delays of both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    /// From us to the peer.
    base: BaseDelay,
    latest: [u32; FILTER],
    count: usize,
    /// From the peer to us: what its packets seem to take.
    theirs: BaseDelay,
    /// What the peer's last packet seemed to take. It is told so.
    reply: u32,
}

impl Delays {
    /// A packet came that was sent at `timestamp` by the peer's clock.
    pub(crate) fn heard(&mut self, timestamp: u32, now: Time) {
        self.reply = now.stamp().wrapping_sub(timestamp);
        let before = self.theirs.get();
        self.theirs.add(self.reply, now);
        // A way that seems to get shorter, without having been shorter before, is a clock that drifts. The other
        // direction then seems to get longer by as much, which would look like a queue (as libutp does).
        if let (Some(before), Some(after)) = (before, self.theirs.get()) {
            let drift = before.wrapping_sub(after);
            if (1..=10_000).contains(&drift) {
                self.base.shift(drift);
            }
        }
    }

    /// What the next packet tells the peer.
    pub(crate) fn reply(&self) -> u32 {
        self.reply
    }

    /// The peer says what our packet seemed to take.
    pub(crate) fn told(&mut self, delay: u32, now: Time) {
        self.base.add(delay, now);
        self.latest[self.count % FILTER] = delay;
        self.count += 1;
    }

    /// How long our packets wait, in microseconds. `None` before the peer told anything.
    pub(crate) fn queue(&self) -> Option<u64> {
        let base = self.base.get()?;
        let latest = self.latest.iter().take(self.count).copied().reduce(shorter)?;
        // After a shift by drift it may seem to be less than nothing.
        Some(u64::from(u32::try_from(latest.wrapping_sub(base) as i32).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_what_is_above_the_shortest_time() {
        let mut delays = Delays::default();
        assert_eq!(delays.queue(), None);
        for (delay, queue) in [(500, 0), (700, 0), (900, 0), (800, 0), (800, 200), (990, 300)] {
            // The clocks are almost half of their range apart, and wrap.
            delays.told((u32::MAX - 600).wrapping_add(delay), Time(0));
            assert_eq!(delays.queue(), Some(queue), "{delay}");
        }
    }

    #[test]
    fn the_shortest_time_is_forgotten_after_minutes() {
        let mut base = BaseDelay::default();
        base.add(100, Time(0));
        for minute in 0..6 {
            base.add(150, Time(minute * BUCKET));
            assert_eq!(base.get(), Some(if minute < 3 { 100 } else { 150 }), "{minute}");
        }
        base.add(300, Time(1_000 * BUCKET));
        assert_eq!(base.get(), Some(300));
    }

    #[test]
    fn a_drifting_clock_is_no_queue() {
        let mut delays = Delays::default();
        // Our packets seem to take a microsecond longer each millisecond, and the peer's as much shorter: 1,000 ppm.
        for n in 0..60_000u64 {
            let now = Time(n * 1_000);
            delays.heard(now.stamp().wrapping_sub(100_000 - n as u32), now);
            delays.told(5_000 + n as u32, now);
        }
        assert!(delays.queue() < Some(1_000), "{:?}", delays.queue());
    }
}
