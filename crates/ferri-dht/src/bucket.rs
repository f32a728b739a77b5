//! A bucket of the routing table: up to eight nodes, and those that wait for a place (BEP 5).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::net::network;
use crate::status::Quality;

/// BEP 5: nodes in a bucket.
pub(crate) const K: usize = 8;

/// Nodes that wait for a place in one bucket.
const REPLACEMENTS_MAX: usize = 8;

/// BEP 5: a node that did not show up for this long is questionable.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(15 * 60);

/// BEP 5: "multiple queries in a row".
pub(crate) const FAILURES_MAX: u8 = 2;

/// A node that answered us at least once.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: NodeId,
    pub(crate) addr: SocketAddr,
    /// Its latest answer.
    pub(crate) answered: Instant,
    /// The latest of its answers and queries.
    pub(crate) seen: Instant,
    /// Queries in a row without an answer.
    pub(crate) failures: u8,
    /// Its id belongs to its address (BEP 42).
    pub(crate) fits: bool,
    pub(crate) round_trip: Option<Duration>,
}

impl Entry {
    pub(crate) fn quality(&self, now: Instant) -> Quality {
        if FAILURES_MAX <= self.failures {
            Quality::Bad
        } else if self.failures == 0 && now.saturating_duration_since(self.seen) < GOOD_FOR {
            Quality::Good
        } else {
            Quality::Questionable
        }
    }
}

/// What became of a node that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has a place.
    Placed,
    /// It has the place of this node.
    Replaced(SocketAddr),
    /// It waits for a place.
    Waiting,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) nodes: Vec<Entry>,
    /// The most recent one last.
    pub(crate) replacements: VecDeque<Entry>,
    pub(crate) changed: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant) -> Self {
        Self { nodes: Vec::with_capacity(K), replacements: VecDeque::new(), changed: now }
    }

    pub(crate) fn is_full(&self) -> bool {
        K <= self.nodes.len()
    }

    /// The node of the same network, if only one of each is wanted.
    pub(crate) fn neighbour(&self, addr: SocketAddr) -> Option<usize> {
        let ours = network(addr);
        self.nodes.iter().position(|node| network(node.addr) == ours)
    }

    /// Finds a place for a node of which nothing is in the bucket yet. `depth` is the number of bits that all of its nodes
    /// share.
    pub(crate) fn place(&mut self, entry: Entry, depth: usize) -> Outcome {
        if !self.is_full() {
            self.changed = entry.answered;
            self.nodes.push(entry);
            return Outcome::Placed;
        }
        let victim = self.bad().or_else(|| self.misfit(&entry)).or_else(|| self.redundant(&entry, depth));
        let Some(victim) = victim else { return self.wait(entry) };
        self.changed = entry.answered;
        let gone = std::mem::replace(&mut self.nodes[victim], entry);
        let addr = gone.addr;
        if gone.failures < FAILURES_MAX {
            self.wait(gone);
        }
        Outcome::Replaced(addr)
    }

    fn bad(&self) -> Option<usize> {
        self.nodes.iter().position(|node| FAILURES_MAX <= node.failures)
    }

    /// BEP 42: a node whose id belongs to its address is preferred to one whose does not.
    fn misfit(&self, newcomer: &Entry) -> Option<usize> {
        if !newcomer.fits {
            return None;
        }
        self.nodes.iter().rposition(|node| !node.fits)
    }

    /// A node that is one of several in its eighth of the bucket, when the newcomer's eighth is empty: nodes that are
    /// spread make each step of a lookup gain three bits, and a crowd of ids near one target fills no bucket but its own.
    fn redundant(&self, newcomer: &Entry, depth: usize) -> Option<usize> {
        let eighth = |id: NodeId| (id.leading_after(depth) >> 61) as usize;
        let mut crowd = [0u8; 8];
        self.nodes.iter().for_each(|node| crowd[eighth(node.id)] += 1);
        if 0 < crowd[eighth(newcomer.id)] {
            return None;
        }
        let crowded = |node: &Entry| 1 < crowd[eighth(node.id)] && (newcomer.fits || !node.fits);
        self.nodes.iter().rposition(crowded)
    }

    fn wait(&mut self, entry: Entry) -> Outcome {
        self.replacements.retain(|known| known.id != entry.id && known.addr != entry.addr);
        if self.replacements.len() == REPLACEMENTS_MAX {
            self.replacements.pop_front();
        }
        self.replacements.push_back(entry);
        Outcome::Waiting
    }

    /// Gives the place of `nodes[at]` to the best of those that wait. `None` when none does.
    pub(crate) fn promote(&mut self, at: usize, allowed: impl Fn(&Self, &Entry) -> bool) -> Option<&Entry> {
        let gone = self.nodes.remove(at);
        let fitting = self.replacements.iter().rposition(|entry| entry.fits && allowed(self, entry));
        let best = fitting.or_else(|| self.replacements.iter().rposition(|entry| allowed(self, entry)));
        let Some(entry) = best.and_then(|best| self.replacements.remove(best)) else {
            self.nodes.insert(at, gone);
            return None;
        };
        self.nodes.insert(at, entry);
        self.nodes.get(at)
    }
}
