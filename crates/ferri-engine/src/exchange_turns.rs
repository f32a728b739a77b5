//! What strangers may cost with encrypted handshakes: their exponentiations have a tenth of a core.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Of the time, strangers have one part of so many.
const SHARE: u32 = 10;
/// What was not used for so long can be used at once: about a hundred exchanges.
const SAVED_MAX: Duration = Duration::from_millis(100);
/// Longer than an exchange takes on a slow machine. If more passed, other programs had the processor.
const COST_MAX: Duration = Duration::from_millis(2);

/// The turns of those who dialled us and wait for an exponentiation.
#[derive(Debug)]
pub(crate) struct ExchangeTurns {
    /// From when on the next has its turn. Locked by the one that waits for that, and asked for by others in their order.
    free_at: Mutex<Instant>,
}

impl ExchangeTurns {
    pub(crate) fn new() -> Self {
        Self { free_at: Mutex::new(Instant::now()) }
    }

    /// Computes when there is time for it. May be dropped while it waits.
    pub(crate) async fn run<T>(&self, compute: impl FnOnce() -> T) -> T {
        let mut free_at = self.free_at.lock().await;
        sleep_until(*free_at).await;
        let begun = std::time::Instant::now();
        let result = compute();
        let cost = begun.elapsed();
        *free_at = next(*free_at, cost, Instant::now());
        result
    }
}

/// When the next has its turn.
fn next(free_at: Instant, cost: Duration, now: Instant) -> Instant {
    let saved = now.checked_sub(SAVED_MAX).map_or(free_at, |earliest| free_at.max(earliest));
    saved + SHARE * cost.min(COST_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_has_a_tenth_of_the_time_and_a_hundred_exchanges_at_once() {
        let start = Instant::now() + Duration::from_secs(60);
        let cost = Duration::from_micros(100);
        // Each begins when it may, and a crowd always waits.
        let (mut free_at, mut now, mut at_once) = (Instant::now(), start, 0);
        for _ in 0..10_000 {
            at_once += u32::from(now == start);
            free_at = next(free_at, cost, now);
            now = now.max(free_at);
        }
        assert_eq!(at_once, 101);
        let spent = 10_000 * cost;
        assert!(SHARE * spent <= now - start + SAVED_MAX + SHARE * cost, "{:?} of {:?}", spent, now - start);
        assert!(now - start <= SHARE * spent);
        assert_eq!(next(start, Duration::from_secs(1), start), start + SHARE * COST_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_order_and_one_that_is_given_up_stops_no_other() {
        let turns = Arc::new(ExchangeTurns::new());
        *turns.free_at.lock().await = Instant::now() + Duration::from_secs(1);
        let spawn = |n: u32| {
            let turns = turns.clone();
            tokio::spawn(async move { turns.run(|| (n, Instant::now())).await })
        };
        let begun = Instant::now();
        let (first, second, third) = (spawn(1), spawn(2), spawn(3));
        tokio::task::yield_now().await;
        first.abort();
        let (second, third) = (second.await.expect("its turn"), third.await.expect("its turn"));
        assert_eq!((second.0, third.0), (2, 3));
        assert!(Duration::from_secs(1) <= second.1 - begun && second.1 <= third.1);
    }
}
