//! How much we answer: queries of one address, and bytes in all. Flat memory whatever comes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::net::owner;
use crate::random::Random;

/// Addresses whose queries are counted. A flood from more than these makes them share places, in which case it is the
/// bytes in all that limit us.
const SETS: usize = 1_024;

/// Places in a set; of a full set the one that has been silent longest is given away.
const WAYS: usize = 4;

/// Seconds' worth of queries that an address may ask at once.
const BURST_SECONDS: u32 = 4;

/// Something that fills up at a rate and is drawn from.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: u32,
    /// In thousandths.
    level: u64,
    capacity: u64,
    filled: Instant,
}

impl Bucket {
    /// Full, with room for `seconds` at `rate` a second.
    pub(crate) fn new(rate: u32, seconds: u32, now: Instant) -> Self {
        let capacity = u64::from(rate) * u64::from(seconds) * 1_000;
        Self { rate, level: capacity, capacity, filled: now }
    }

    /// Takes all of `amount`, or nothing.
    pub(crate) fn take(&mut self, amount: usize, now: Instant) -> bool {
        let millis =
            u64::try_from(now.saturating_duration_since(self.filled).as_millis()).unwrap_or(u64::MAX);
        if 0 < millis {
            self.level =
                self.level.saturating_add(millis.saturating_mul(self.rate.into())).min(self.capacity);
            self.filled += Duration::from_millis(millis);
        }
        let Some(left) = self.level.checked_sub(amount as u64 * 1_000) else { return false };
        self.level = left;
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    owner: u128,
    /// Thousandths of queries.
    level: u32,
    /// Milliseconds since the limiter was made; 0 is a place that was never used.
    filled: u64,
}

/// Queries an address may ask.
#[derive(Debug)]
pub(crate) struct Limiter {
    key: u64,
    made: Instant,
    rate: u32,
    places: Vec<[Place; WAYS]>,
}

impl Limiter {
    pub(crate) fn new(rate: u32, random: &mut Random, now: Instant) -> Self {
        let empty = Place { owner: 0, level: 0, filled: 0 };
        // Odd, so that no bit of what is multiplied with it is lost.
        let key = random.u64() | 1;
        Self { key, made: now, rate, places: vec![[empty; WAYS]; SETS] }
    }

    /// Whether one more query of this address is answered.
    pub(crate) fn admit(&mut self, from: SocketAddr, now: Instant) -> bool {
        let owner = owner(from);
        let now =
            1 + u64::try_from(now.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX - 1);
        let full = u64::from(self.rate) * u64::from(BURST_SECONDS) * 1_000;
        let set = self.set(owner);
        let places = &mut self.places[set];
        let at = match places.iter().position(|place| place.filled != 0 && place.owner == owner) {
            Some(at) => at,
            None => {
                let at = (0..WAYS).min_by_key(|at| places[*at].filled).expect("a set has places");
                places[at] = Place { owner, level: u32::try_from(full).unwrap_or(u32::MAX), filled: now };
                at
            }
        };
        let place = &mut places[at];
        let gained = (now - place.filled.min(now)).saturating_mul(self.rate.into());
        let level = u64::from(place.level).saturating_add(gained).min(full);
        place.filled = now;
        let left = level.checked_sub(1_000);
        place.level = u32::try_from(left.unwrap_or(level)).unwrap_or(u32::MAX);
        left.is_some()
    }

    /// Which set: a keyed hash, so that an attacker cannot pick addresses that crowd out a certain other.
    fn set(&self, owner: u128) -> usize {
        let folded = (owner as u64) ^ ((owner >> 64) as u64).rotate_left(29);
        let product = u128::from(folded ^ self.key) * u128::from(self.key.rotate_left(31) | 1);
        let mixed = (product as u64 ^ (product >> 64) as u64).wrapping_mul(self.key);
        (mixed >> 54) as usize % SETS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use super::*;

    fn limiter(now: Instant) -> Limiter {
        Limiter::new(10, &mut Random::new([1; 32]), now)
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut limiter = limiter(start);
        let from = |port| SocketAddr::new("203.0.113.5".parse().unwrap(), port);
        let admitted = (0..1_000).filter(|n| limiter.admit(from(*n), start)).count();
        assert_eq!(admitted, 40);
        let later = start + Duration::from_secs(2);
        let admitted = (0..1_000).filter(|n| limiter.admit(from(*n), later)).count();
        assert_eq!(admitted, 20);
        assert!(limiter.admit("203.0.113.6:1".parse().unwrap(), later));
    }

    #[test]
    fn a_flood_of_addresses_does_not_silence_one_that_keeps_asking() {
        let start = Instant::now();
        let mut limiter = limiter(start);
        let honest: SocketAddr = "198.51.100.1:6881".parse().unwrap();
        for n in 0..50_000u32 {
            let now = start + Duration::from_micros(20 * u64::from(n));
            limiter.admit(SocketAddr::new(Ipv4Addr::from(0x0100_0000 + n * 77).into(), 1), now);
            if n % 10_000 == 0 {
                assert!(limiter.admit(honest, now));
            }
        }
    }

    #[test]
    fn a_bucket_gives_what_it_has() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 2, start);
        assert!(!bucket.take(201, start));
        assert!(bucket.take(200, start));
        assert!(!bucket.take(1, start));
        assert!(bucket.take(50, start + Duration::from_millis(500)));
        assert!(!bucket.take(1, start + Duration::from_millis(500)));
        assert!(!Bucket::new(0, 2, start).take(1, start + Duration::from_secs(9)));
    }
}
