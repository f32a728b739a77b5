//! Whether strangers reach our node (BEP 43). No I/O: time is an argument.
//!
//! A node in other nodes' tables that cannot be reached wastes their time, so it says that it is read-only. That
//! strangers reach us shows when a node asks us something to which we had sent nothing: what comes back through a
//! router only because we sent something there first does not count. A node that is not asked for a while after it has
//! entered the network, although others know it, is not reached.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Routers forget within minutes where something was sent to; two generations of this long.
const GENERATION: Duration = Duration::from_secs(3 * 60);
/// Addresses remembered in a generation. Beyond it strangers may be taken for acquaintances, which only delays the finding.
const ASKED_MAX: usize = 4096;
/// In public networks strangers ask within seconds.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What is known so far.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Addresses that we sent something to: lately, and before that.
    asked: [HashSet<SocketAddr>; 2],
    rotated_at: Instant,
    /// Since when others know us.
    known_since: Option<Instant>,
    reached: bool,
    read_only: bool,
}

impl Reach {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            asked: Default::default(),
            rotated_at: now,
            known_since: None,
            reached: false,
            read_only: false,
        }
    }

    /// A datagram leaves.
    pub(crate) fn sent(&mut self, to: SocketAddr, now: Instant) {
        if self.reached {
            return;
        }
        if self.rotated_at + GENERATION <= now {
            self.rotated_at = now;
            self.asked.swap(0, 1);
            self.asked[0].clear();
        }
        if self.asked[0].len() < ASKED_MAX {
            self.asked[0].insert(to);
        }
    }

    /// A datagram came. Whether that ends being read-only.
    pub(crate) fn received(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        if self.reached || !is_query(bytes) || self.asked.iter().any(|asked| asked.contains(&from)) {
            return false;
        }
        self.reached = true;
        self.asked = Default::default();
        std::mem::take(&mut self.read_only)
    }

    /// The node is in others' tables.
    pub(crate) fn entered(&mut self, now: Instant) {
        self.known_since.get_or_insert(now);
    }

    /// Something changed about how we are reached: another network, a port that a router forwards. Whether that ends being
    /// read-only.
    pub(crate) fn changed(&mut self, now: Instant) -> bool {
        self.reached = false;
        self.known_since = self.known_since.map(|_| now);
        std::mem::take(&mut self.read_only)
    }

    /// When [`Self::timeout`] has something to say.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.known_since.filter(|_| !self.reached && !self.read_only).map(|since| since + PATIENCE)
    }

    /// Whether being read-only begins now.
    pub(crate) fn timeout(&mut self, now: Instant) -> bool {
        let is_due = self.poll_timeout().is_some_and(|at| at <= now);
        self.read_only |= is_due;
        is_due
    }
}

/// BEP 5: a message is a query if its `y` is `q`. That of a query is the last key there is, `v` excepted.
fn is_query(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == b"1:y1:q")
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:xx1:y1:qe";
    const ANSWER: &[u8] = b"d1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t2:xx1:y1:re";

    fn addr(n: u8) -> SocketAddr {
        ([192, 0, 2, n], 6881).into()
    }

    #[test]
    fn a_node_that_no_stranger_asks_is_read_only_until_something_changes() {
        let now = Instant::now();
        let mut reach = Reach::new(now);
        assert_eq!(reach.poll_timeout(), None, "nobody knows it yet");
        reach.sent(addr(1), now);
        reach.entered(now);
        assert!(!reach.received(addr(1), QUERY), "it may come through the hole that we made");
        assert!(!reach.received(addr(2), ANSWER), "nobody had to reach us for that");
        let due = now + PATIENCE;
        assert_eq!(reach.poll_timeout(), Some(due));
        assert!(!reach.timeout(due - GENERATION) && reach.timeout(due) && !reach.timeout(due + PATIENCE));
        assert!(reach.changed(due), "another network may let strangers in");
        assert_eq!(reach.poll_timeout(), Some(due + PATIENCE));
    }

    #[test]
    fn a_stranger_who_asks_has_reached_us() {
        let now = Instant::now();
        let mut reach = Reach::new(now);
        reach.entered(now);
        assert!(!reach.received(addr(1), QUERY), "it was not read-only");
        assert_eq!((reach.poll_timeout(), reach.timeout(now + 2 * PATIENCE)), (None, false));
    }

    #[test]
    fn acquaintances_are_forgotten_as_routers_forget_them() {
        let now = Instant::now();
        let mut reach = Reach::new(now);
        reach.entered(now);
        reach.sent(addr(1), now);
        reach.sent(addr(2), now + GENERATION);
        assert!(!reach.received(addr(1), QUERY) && reach.poll_timeout().is_some());
        reach.sent(addr(3), now + 2 * GENERATION);
        reach.received(addr(1), QUERY);
        assert_eq!(reach.poll_timeout(), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut reach = Reach::new(now);
        for n in 0..20_000_u32 {
            reach.sent(SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 1), now);
        }
        assert_eq!(reach.asked[0].len(), ASKED_MAX);
    }
}
