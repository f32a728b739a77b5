//! How long datagrams may be on the way to a peer.
//!
//! A packet keeps its number and so its bytes when it is sent again. So what was once sent too long cannot be divided
//! afterwards, and most datagrams leave with fragmentation allowed. Now and then one is sent longer than the others,
//! with fragmentation forbidden. If it arrives the others get as long. If it is lost it is sent again as the others
//! are; that says nothing about congestion, and the next one is shorter.

use crate::time::{SECOND, Time};

/// What every path carries in practice: 576 bytes with IPv4, 1,280 with IPv6 (RFC 8200), headers included.
const FLOOR_V4: u16 = 576 - 28;
const FLOOR_V6: u16 = 1_280 - 48;
/// The length to begin with; few paths carry less, and those fragment it.
const FIRST: u16 = 1_200;
/// The search ends when it is known this well.
const PRECISION: u16 = 16;
/// Losses of a probe that mean that it is too long; one may be chance.
const LOSSES_MAX: u8 = 2;
/// A path may change: what was found is tried again after this.
const AGAIN: u64 = 60 * SECOND;
/// A path may get better: after so many confirmations longer ones are tried.
const CONFIRMATIONS: u8 = 5;

/// The search for the longest datagram. Lengths are those of the datagram, from the header of uTP on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathMtu {
    /// The length of normal datagrams.
    current: u16,
    /// The longest that may still work.
    ceiling: u16,
    max: u16,
    floor: u16,
    under_way: bool,
    losses: u8,
    confirmed: u8,
    /// When the result is tried again.
    again_at: Time,
}

impl PathMtu {
    pub(crate) fn new(is_v4: bool, max: u16) -> Self {
        let floor = if is_v4 { FLOOR_V4 } else { FLOOR_V6 }.min(max);
        let current = FIRST.clamp(floor, max);
        Self {
            current,
            ceiling: max,
            max,
            floor,
            under_way: false,
            losses: 0,
            confirmed: 0,
            again_at: Time::default(),
        }
    }

    /// The length of normal datagrams.
    pub(crate) fn current(&self) -> u16 {
        self.current
    }

    /// The length of the probe to send, if it is time for one.
    pub(crate) fn probe(&self, now: Time) -> Option<u16> {
        if self.under_way {
            None
        } else if self.is_searching() {
            // Most paths carry everything, so that is tried first.
            let is_first = self.ceiling == self.max && self.losses < LOSSES_MAX;
            Some(if is_first { self.max } else { self.current + (self.ceiling - self.current).div_ceil(2) })
        } else {
            (self.again_at <= now).then_some(self.current)
        }
    }

    fn is_searching(&self) -> bool {
        PRECISION <= self.ceiling - self.current || (self.ceiling == self.max && self.current < self.max)
    }

    pub(crate) fn sent(&mut self) {
        self.under_way = true;
    }

    /// A probe of this length arrived.
    pub(crate) fn arrived(&mut self, length: u16, now: Time) {
        self.under_way = false;
        self.losses = 0;
        self.confirmed = if length == self.current { self.confirmed + 1 } else { 0 };
        self.current = self.current.max(length.min(self.ceiling));
        if CONFIRMATIONS <= self.confirmed {
            self.confirmed = 0;
            self.ceiling = self.max;
        }
        self.again_at = now.plus(AGAIN);
    }

    /// A probe of this length was lost.
    pub(crate) fn lost(&mut self, length: u16, now: Time) {
        self.under_way = false;
        // The system may have said so before.
        if length <= self.ceiling {
            self.losses += 1;
            if LOSSES_MAX <= self.losses {
                self.is_too_long(length, now);
            }
        }
    }

    /// A datagram of this length cannot pass. Datagrams get shorter if theirs is not.
    pub(crate) fn is_too_long(&mut self, length: u16, now: Time) {
        if self.ceiling < length {
            return;
        }
        self.under_way = false;
        self.losses = 0;
        if length <= self.current {
            // The path got worse.
            self.current = self.floor;
        }
        self.ceiling = length.saturating_sub(1).clamp(self.current, self.max);
        self.again_at = now.plus(AGAIN);
    }

    /// Nothing gets through: it may be the length.
    pub(crate) fn black_hole(&mut self, now: Time) {
        if self.floor < self.current {
            self.is_too_long(self.current, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes until the result stands; how many it took.
    fn search(mtu: &mut PathMtu, path: u16, now: Time) -> usize {
        for count in 0..100 {
            let Some(length) = mtu.probe(now) else { return count };
            mtu.sent();
            assert_eq!(mtu.probe(now), None);
            if length <= path { mtu.arrived(length, now) } else { mtu.lost(length, now) }
        }
        panic!("the search does not end");
    }

    #[test]
    fn what_the_path_carries_is_found() {
        for path in [548, 560, 1_000, 1_199, 1_252, 1_300, 1_464, 1_471, 1_472, 9_000] {
            let mut mtu = PathMtu::new(true, 1_472);
            // The length to begin with is not probed; what it does to a path that is narrower is fragmented.
            let expected = path.clamp(1_200, 1_472);
            assert!(search(&mut mtu, path, Time(0)) <= 20, "{path}");
            assert!(mtu.current() <= expected && expected <= mtu.current() + PRECISION, "{path}: {mtu:?}");
        }
    }

    #[test]
    fn a_path_that_gets_narrower_or_wider_is_noticed() {
        let mut mtu = PathMtu::new(true, 1_472);
        search(&mut mtu, 1_472, Time(0));
        assert_eq!((mtu.current(), mtu.probe(Time(AGAIN - 1))), (1_472, None));
        search(&mut mtu, 1_252, Time(AGAIN));
        assert!((1_236..=1_252).contains(&mtu.current()), "{mtu:?}");
        for minute in 2..10 {
            search(&mut mtu, 1_472, Time(minute * AGAIN));
        }
        assert_eq!(mtu.current(), 1_472);
    }

    #[test]
    fn what_the_system_says_is_believed_at_once() {
        let mut mtu = PathMtu::new(false, 1_452);
        mtu.sent();
        mtu.is_too_long(1_452, Time(0));
        assert_eq!(mtu.probe(Time(0)), Some(1_342));
        mtu.arrived(1_342, Time(0));
        mtu.black_hole(Time(0));
        assert_eq!((mtu.current(), mtu.probe(Time(0))), (1_232, Some(1_287)));
    }
}
