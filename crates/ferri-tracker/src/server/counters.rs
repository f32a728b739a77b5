//! What has happened so far. Several sets of counters, each for some of the askers, so that threads seldom write to the same
//! memory.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::Reason;
use crate::udp::Family;

/// Sets of counters; a power of two. With a handful of threads hardly two of them meet.
const SETS: usize = 16;

/// By which protocol a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP, with or without TLS.
    Http,
    /// UDP.
    Udp,
}

/// Requests of one protocol and one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Connection ids given (UDP only).
    pub connects: u64,
    /// Announces answered.
    pub announces: u64,
    /// Scrapes answered.
    pub scrapes: u64,
}

/// What has happened so far, for people who look after a tracker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Over HTTP, from IPv4 and from IPv6 addresses.
    pub http: [Requests; 2],
    /// Over UDP, from IPv4 and from IPv6 addresses.
    pub udp: [Requests; 2],
    pub(super) refused: [u64; Reason::COUNT],
    /// Peers that were silent for too long.
    pub expired: u64,
    /// Peers that made room in a full tracker for a client of a network with far less.
    pub evicted: u64,
    /// Announces that were answered without remembering the peer: a full tracker, or too many of its address.
    pub unremembered: u64,
}

impl Counters {
    /// Requests that were refused or made no sense.
    pub fn refused(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// The same by reason, in the words of metrics.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.into_iter().map(|(reason, name)| (name, self.refused[reason as usize]))
    }
}

/// What to count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted {
    Connect,
    Announce,
    Scrape,
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set {
    /// By protocol, family and event.
    answered: [[[AtomicU64; 3]; 2]; 2],
    refused: [AtomicU64; Reason::COUNT],
}

#[derive(Debug, Default)]
pub(super) struct Tallies([Set; SETS]);

impl Tallies {
    pub(super) fn answered(&self, protocol: Protocol, event: Counted, from: IpAddr) {
        let family = Family::of((from, 0).into()) as usize;
        let counter = &self.set(from).answered[protocol as usize][family][event as usize];
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, reason: Reason, from: IpAddr) {
        self.set(from).refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The sums of all sets.
    pub(super) fn sum(&self) -> Counters {
        let mut sum = Counters::default();
        for set in &self.0 {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            for (requests, answered) in [(&mut sum.http, &set.answered[0]), (&mut sum.udp, &set.answered[1])]
            {
                for (requests, [connects, announces, scrapes]) in requests.iter_mut().zip(answered) {
                    requests.connects += load(connects);
                    requests.announces += load(announces);
                    requests.scrapes += load(scrapes);
                }
            }
            for (sum, refused) in sum.refused.iter_mut().zip(&set.refused) {
                *sum += load(refused);
            }
        }
        sum
    }

    fn set(&self, from: IpAddr) -> &Set {
        let last = match from {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        &self.0[usize::from(last) % SETS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_once_whoever_asks() {
        let tallies = Tallies::default();
        for last in 0..100 {
            tallies.answered(Protocol::Udp, Counted::Announce, [10, 0, 0, last].into());
            tallies.answered(
                Protocol::Http,
                Counted::Scrape,
                [0, 0, 0, 0, 0, 0, 0, u16::from(last) + 9].into(),
            );
            tallies.refused(Reason::Full, [10, 0, 0, last].into());
        }
        let sum = tallies.sum();
        assert_eq!((sum.udp[0].announces, sum.http[1].scrapes, sum.refused()), (100, 100, 100));
        assert_eq!((sum.udp[1], sum.http[0]), (Requests::default(), Requests::default()));
        assert!(sum.refused_by_reason().all(|(name, count)| (name == "full") == (count == 100)));
    }
}
