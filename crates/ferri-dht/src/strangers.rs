//! Who has shown that it is where it says, and who has not yet.
//!
//! The source of a datagram is easily forged, and our answers are longer than the questions. A node that has answered a
//! query of ours is *proven* for a while. Any other address gets no byte more than came from there: a short answer that
//! fits, or a ping, while the question is held until the ping is answered.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

/// How long an address stays proven: as long as a token lives (BEP 5).
const PROVEN_FOR: Duration = Duration::from_secs(10 * 60);

/// Addresses that are remembered as proven.
const PROVEN_MAX: usize = 8_192;

/// Addresses of which questions are held: at most a megabyte and a half.
const HELD_MAX: usize = 1_024;

/// Questions of one address that are held: one for each query of a lookup, and one more.
const HELD_PER_ADDRESS: usize = 5;

/// The node that asks does not wait longer.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(3);

/// Longer questions are not held; a `put` has its own proof, the token.
const HELD_BYTES_MAX: usize = 300;

/// What to do about a question that was to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is held; a ping is to be sent.
    Ping,
    /// It is held, and a ping is under way.
    Wait,
    /// There is no room.
    Full,
}

#[derive(Debug, Default)]
pub(crate) struct Strangers {
    proven: BTreeMap<SocketAddr, Instant>,
    /// When each was proven, the oldest first. An address that was proven again has several entries.
    order: VecDeque<(Instant, SocketAddr)>,
    held: BTreeMap<SocketAddr, Held>,
    /// When [`Strangers::expire`] ran last: a flood that fills the table does not make us look through it each time.
    expired: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    questions: SmallVec<[Bytes; 1]>,
}

impl Strangers {
    pub(crate) fn is_proven(&self, addr: SocketAddr, now: Instant) -> bool {
        self.proven.get(&addr).is_some_and(|at| now.saturating_duration_since(*at) < PROVEN_FOR)
    }

    /// An address received what we sent there. Returns the questions from there that were held.
    pub(crate) fn prove(&mut self, addr: SocketAddr, now: Instant) -> SmallVec<[Bytes; 1]> {
        // Proving it again every few seconds would only make the list longer.
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < PROVEN_FOR / 10;
        if !self.proven.get(&addr).is_some_and(fresh) {
            self.proven.insert(addr, now);
            self.order.push_back((now, addr));
            self.forget(now);
        }
        self.held.remove(&addr).map(|held| held.questions).unwrap_or_default()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, addr)) = self.order.front().copied() {
            let old = PROVEN_FOR <= now.saturating_duration_since(at);
            if !old && self.order.len() <= PROVEN_MAX {
                break;
            }
            self.order.pop_front();
            if self.proven.get(&addr) == Some(&at) {
                self.proven.remove(&addr);
            }
        }
    }

    /// Keeps a question until its address is proven.
    pub(crate) fn hold(&mut self, addr: SocketAddr, question: &[u8], now: Instant) -> Hold {
        if HELD_BYTES_MAX < question.len() {
            return Hold::Full;
        }
        if let Some(held) = self.held.get_mut(&addr) {
            if held.questions.len() == HELD_PER_ADDRESS {
                return Hold::Full;
            }
            held.questions.push(Bytes::copy_from_slice(question));
            if now.saturating_duration_since(held.since) < HELD_FOR {
                return Hold::Wait;
            }
            held.since = now;
            return Hold::Ping;
        }
        if HELD_MAX <= self.held.len() {
            self.make_room(now);
        }
        if HELD_MAX <= self.held.len() {
            return Hold::Full;
        }
        let questions = SmallVec::from_iter([Bytes::copy_from_slice(question)]);
        self.held.insert(addr, Held { since: now, questions });
        Hold::Ping
    }

    fn make_room(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < HELD_FOR / 10;
        if !self.expired.is_some_and(lately) {
            self.expire(now);
        }
    }

    /// Forgets questions that are not waited for any more.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.expired = Some(now);
        self.held.retain(|_, held| now.saturating_duration_since(held.since) < HELD_FOR);
        self.forget(now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::from(0x0800_0000 + n).into(), 1)
    }

    #[test]
    fn questions_wait_for_the_proof_of_their_address() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        assert_eq!(strangers.hold(addr(1), b"a", now), Hold::Ping);
        assert_eq!(strangers.hold(addr(1), b"b", now), Hold::Wait);
        assert!(!strangers.is_proven(addr(1), now));
        assert_eq!(strangers.prove(addr(1), now).as_slice(), [&b"a"[..], b"b"]);
        assert!(strangers.is_proven(addr(1), now));
        assert!(!strangers.is_proven(addr(1), now + PROVEN_FOR));
        assert!(strangers.prove(addr(1), now).is_empty());
    }

    #[test]
    fn memory_stays_flat_whoever_asks() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        for n in 0..20_000 {
            let at = now + Duration::from_micros(n.into());
            strangers.hold(addr(n), b"question", at);
            strangers.prove(addr(n / 2), at);
        }
        assert!(strangers.held.len() <= HELD_MAX);
        assert!(strangers.proven.len() <= PROVEN_MAX && strangers.order.len() <= PROVEN_MAX);
        strangers.expire(now + PROVEN_FOR + HELD_FOR);
        assert_eq!((strangers.held.len(), strangers.proven.len(), strangers.order.len()), (0, 0, 0));
    }

    #[test]
    fn one_address_holds_few_questions_and_none_that_is_long() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        let held = (0..20).filter(|_| strangers.hold(addr(1), b"q", now) != Hold::Full).count();
        assert_eq!(held, HELD_PER_ADDRESS);
        assert_eq!(strangers.hold(addr(2), &[0; 301], now), Hold::Full);
    }
}
