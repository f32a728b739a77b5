//! The routing table of one family (BEP 5): buckets that get finer towards our own id.
//!
//! A node has a place only after it answered us. Of each address there is one node in the whole table, of each network
//! one in a bucket. Who is good is not put out by newcomers, with two exceptions that make the table better and end:
//! nodes whose id fits their address are preferred (BEP 42), and nodes that spread over their bucket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::bucket::{Bucket, Entry, FAILURES_MAX, GOOD_FOR, K, Outcome};
use crate::id::{BITS, NodeId};
use crate::net::owner;
use crate::status::{BucketStatus, Quality, TableNodeStatus};

/// A node that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) id: NodeId,
    pub(crate) addr: SocketAddr,
}

/// What a table made of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The node was known or has a place.
    Known,
    /// All places are taken, one of them perhaps by a node that is gone: it should be pinged.
    Doubtful(Contact),
    /// There is no place for it.
    Refused,
}

/// How many good, questionable and bad nodes a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Qualities {
    pub(crate) good: usize,
    pub(crate) questionable: usize,
    pub(crate) bad: usize,
}

#[derive(Debug)]
pub(crate) struct Table {
    id: NodeId,
    /// Bucket `n` has the nodes that share exactly `n` bits with our id, the last one all that share more.
    buckets: Vec<Bucket>,
    /// Which node has an address, see [`owner`]. Exactly the nodes in places.
    owners: BTreeMap<u128, NodeId>,
    /// One node of each network in a bucket, and one of each address in the table.
    restricted: bool,
}

impl Table {
    pub(crate) fn new(id: NodeId, restricted: bool, now: Instant) -> Self {
        Self { id, buckets: vec![Bucket::new(now)], owners: BTreeMap::new(), restricted }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    fn index(&self, id: NodeId) -> usize {
        self.id.shared_prefix(id).min(self.buckets.len() - 1)
    }

    fn key(&self, addr: SocketAddr) -> u128 {
        if self.restricted { owner(addr) } else { owner(addr) ^ u128::from(addr.port()) << 100 }
    }

    fn find(&mut self, id: NodeId) -> Option<&mut Entry> {
        let index = self.index(id);
        self.buckets[index].nodes.iter_mut().find(|node| node.id == id)
    }

    /// Whether a node at exactly this address has a place.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        let id = self.owners.get(&self.key(addr));
        id.is_some_and(|id| {
            self.buckets[self.index(*id)].nodes.iter().any(|node| node.id == *id && node.addr == addr)
        })
    }

    /// A node answered a query of ours.
    pub(crate) fn answered(
        &mut self,
        contact: Contact,
        round_trip: Option<Duration>,
        now: Instant,
    ) -> Answered {
        let Contact { id, addr } = contact;
        if id == self.id {
            return Answered::Refused;
        }
        let fits = id.fits(addr.ip());
        let entry = Entry { id, addr, answered: now, seen: now, failures: 0, fits, round_trip };
        if let Some(known) = self.owners.get(&self.key(addr)).copied() {
            if known == id {
                return self.renew(entry);
            }
            if !self.gives_way(known, addr) {
                return Answered::Refused;
            }
        }
        // An id that is known at another address stays there while that one is not bad: ids are easy to claim.
        if let Some(node) = self.find(id) {
            if node.failures < FAILURES_MAX {
                return Answered::Refused;
            }
            self.remove(id);
        }
        loop {
            let index = self.index(id);
            if let Some(neighbour) = self.neighbour(index, addr) {
                let node = &self.buckets[index].nodes[neighbour];
                if node.failures < FAILURES_MAX {
                    return Answered::Refused;
                }
                let gone = node.id;
                self.remove(gone);
            }
            let last = index + 1 == self.buckets.len();
            if !(last && self.buckets[index].is_full() && self.split(now)) {
                return self.put(index, entry);
            }
        }
    }

    /// The node is known at this address: brings it up to date.
    fn renew(&mut self, entry: Entry) -> Answered {
        let index = self.index(entry.id);
        self.buckets[index].changed = entry.answered;
        let Some(node) = self.buckets[index].nodes.iter_mut().find(|node| node.id == entry.id) else {
            return Answered::Refused;
        };
        // Another port: a good node keeps the one we know, since one of the two may be an impostor behind one NAT.
        if node.addr != entry.addr && node.failures == 0 {
            return Answered::Refused;
        }
        let round_trip = entry.round_trip.or(node.round_trip);
        *node = Entry { round_trip, ..entry };
        Answered::Known
    }

    /// The address of a node that is known answers with another id. A node that is seen at exactly this address has lost
    /// its place (BEP 45); one at another port keeps it unless it is bad. Whether the place of the known one is free now.
    fn gives_way(&mut self, known: NodeId, addr: SocketAddr) -> bool {
        let Some(node) = self.find(known) else { return true };
        let (same_addr, is_bad) = (node.addr == addr, FAILURES_MAX <= node.failures);
        if same_addr || is_bad {
            self.remove(known);
        }
        // A node that changes ids is not rewarded with a place at once.
        is_bad && !same_addr
    }

    fn neighbour(&self, index: usize, addr: SocketAddr) -> Option<usize> {
        if self.restricted { self.buckets[index].neighbour(addr) } else { None }
    }

    fn put(&mut self, index: usize, entry: Entry) -> Answered {
        let (key, id, now) = (self.key(entry.addr), entry.id, entry.answered);
        // All but the last bucket share the bit in which they differ from us, too.
        let depth = if index + 1 == self.buckets.len() { index } else { index + 1 };
        match self.buckets[index].place(entry, depth) {
            Outcome::Placed => {
                self.owners.insert(key, id);
                Answered::Known
            }
            Outcome::Replaced(addr) => {
                let gone = self.key(addr);
                self.owners.remove(&gone);
                self.owners.insert(key, id);
                Answered::Known
            }
            Outcome::Waiting => {
                let doubtful = least_recently_seen(&self.buckets[index], now);
                doubtful.map_or(Answered::Refused, Answered::Doubtful)
            }
        }
    }

    /// Halves the last bucket. `false` when it is not worth it or the ids have no more bits.
    fn split(&mut self, now: Instant) -> bool {
        let depth = self.buckets.len() - 1;
        let last = self.buckets.last_mut().expect("there is always a bucket");
        if !last.is_full() || BITS - 1 <= depth {
            return false;
        }
        let id = self.id;
        let mut near = Bucket::new(now);
        near.changed = last.changed;
        let is_near = |node: &Entry| depth < id.shared_prefix(node.id);
        (near.nodes, last.nodes) = std::mem::take(&mut last.nodes).into_iter().partition(is_near);
        (near.replacements, last.replacements) =
            std::mem::take(&mut last.replacements).into_iter().partition(is_near);
        self.buckets.push(near);
        true
    }

    fn remove(&mut self, id: NodeId) {
        let index = self.index(id);
        let bucket = &mut self.buckets[index];
        if let Some(at) = bucket.nodes.iter().position(|node| node.id == id) {
            let gone = bucket.nodes.remove(at);
            let key = self.key(gone.addr);
            self.owners.remove(&key);
        }
    }

    /// A node asked us something. Whether one that is not known might find a place, if it answered.
    pub(crate) fn asked(&mut self, contact: Contact, now: Instant) -> bool {
        let Contact { id, addr } = contact;
        if id == self.id {
            return false;
        }
        if let Some(node) = self.find(id) {
            if node.addr == addr {
                // BEP 5: who answered once is good while it asks. One that fails to answer has to answer first.
                node.seen = now;
            }
            return false;
        }
        if self.owners.contains_key(&self.key(addr)) {
            return false;
        }
        let index = self.index(id);
        let bucket = &self.buckets[index];
        if self.neighbour(index, addr).is_some() {
            return false;
        }
        let last = index + 1 == self.buckets.len();
        let fits = id.fits(addr.ip());
        let place = |node: &Entry| node.quality(now) != Quality::Good || (fits && !node.fits);
        !bucket.is_full() || last || bucket.nodes.iter().any(place)
    }

    /// A node did not answer.
    pub(crate) fn failed(&mut self, contact: Contact) {
        let index = self.index(contact.id);
        let bucket = &mut self.buckets[index];
        let Some(at) =
            bucket.nodes.iter().position(|node| node.id == contact.id && node.addr == contact.addr)
        else {
            bucket.replacements.retain(|waiting| waiting.addr != contact.addr);
            return;
        };
        let node = &mut bucket.nodes[at];
        node.failures = node.failures.saturating_add(1);
        if FAILURES_MAX <= node.failures {
            self.replace(index, at);
        }
    }

    /// Gives the place of a bad node to one that waits. It stays while none does: when the network is down all are bad.
    fn replace(&mut self, index: usize, at: usize) {
        let restricted = self.restricted;
        let owners = &self.owners;
        let key = |addr: SocketAddr| {
            if restricted { owner(addr) } else { owner(addr) ^ u128::from(addr.port()) << 100 }
        };
        let bucket = &mut self.buckets[index];
        let gone = key(bucket.nodes[at].addr);
        let allowed = |bucket: &Bucket, entry: &Entry| {
            let free = !owners.contains_key(&key(entry.addr)) || key(entry.addr) == gone;
            free && (!restricted || bucket.neighbour(entry.addr).is_none())
        };
        let Some(entry) = bucket.promote(at, allowed) else { return };
        let (new, id) = (key(entry.addr), entry.id);
        self.owners.remove(&gone);
        self.owners.insert(new, id);
    }

    /// Up to `count` nodes that are not bad, closest first. Those that failed lately come only when others do not suffice.
    pub(crate) fn closest(&self, target: NodeId, count: usize) -> SmallVec<[(Contact, bool); 16]> {
        let mut found = self.gather(target, count, 0);
        if found.len() < count {
            found = self.gather(target, count, FAILURES_MAX - 1);
        }
        found.sort_unstable_by_key(|(contact, _)| contact.id.distance(target));
        found.truncate(count);
        found
    }

    /// All nodes of the buckets closest to `target`, at least `count` if there are as many.
    fn gather(&self, target: NodeId, count: usize, failures: u8) -> SmallVec<[(Contact, bool); 16]> {
        let mut found = SmallVec::new();
        let mut take = |bucket: &Bucket| {
            let nodes = bucket.nodes.iter().filter(|node| node.failures <= failures);
            found.extend(nodes.map(|node| (Contact { id: node.id, addr: node.addr }, node.fits)));
            found.len()
        };
        let home = self.index(target);
        // Nodes of the target's bucket share one more bit with it than those of deeper buckets, which all share as many
        // as our own id does; the others are the farther the less they share with us.
        let mut length = take(&self.buckets[home]);
        if length < count {
            for bucket in &self.buckets[home + 1..] {
                length = take(bucket);
            }
        }
        for bucket in self.buckets[..home].iter().rev() {
            if count <= length {
                break;
            }
            length = take(bucket);
        }
        found
    }

    /// The node that has been silent longest, if it is questionable.
    pub(crate) fn questionable(&self, now: Instant) -> Option<Contact> {
        let nodes = self.buckets.iter().filter_map(|bucket| {
            let questionable = |node: &&Entry| node.quality(now) == Quality::Questionable;
            bucket.nodes.iter().filter(questionable).min_by_key(|node| node.seen)
        });
        nodes.min_by_key(|node| node.seen).map(|node| Contact { id: node.id, addr: node.addr })
    }

    /// A bucket in which nothing has changed for 15 minutes: an id in it to look for. It counts as changed from here on.
    pub(crate) fn stale(&mut self, random: [u8; 20], now: Instant) -> Option<NodeId> {
        let last = self.buckets.len() - 1;
        let stale = |bucket: &Bucket| GOOD_FOR <= now.saturating_duration_since(bucket.changed);
        let index = self.buckets.iter().rposition(stale)?;
        self.buckets[index].changed = now;
        Some(if index == last { self.id } else { self.id.sibling(index, random) })
    }

    /// All nodes get another chance, since it was our network that was gone.
    pub(crate) fn forgive(&mut self) {
        for node in self.buckets.iter_mut().flat_map(|bucket| bucket.nodes.iter_mut()) {
            node.failures = node.failures.min(FAILURES_MAX - 1);
        }
    }

    /// The same nodes around another id of ours.
    pub(crate) fn rebuild(&mut self, id: NodeId, now: Instant) {
        let old = std::mem::replace(self, Self::new(id, self.restricted, now));
        for node in old.buckets.into_iter().flat_map(|bucket| bucket.nodes) {
            let (answered, failures, seen) = (node.answered, node.failures, node.seen);
            self.answered(Contact { id: node.id, addr: node.addr }, node.round_trip, answered);
            if let Some(node) = self.find(node.id) {
                (node.failures, node.seen) = (failures, seen);
            }
        }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(|bucket| bucket.nodes.iter())
    }

    pub(crate) fn qualities(&self, now: Instant) -> Qualities {
        let mut counts = Qualities::default();
        for node in self.nodes() {
            match node.quality(now) {
                Quality::Good => counts.good += 1,
                Quality::Questionable => counts.questionable += 1,
                Quality::Bad => counts.bad += 1,
            }
        }
        counts
    }

    /// How many nodes the network has, judged by the distances of the eight that are closest to us. 0 when we know less.
    pub(crate) fn estimate(&self) -> u64 {
        let closest = self.closest(self.id, K);
        match closest.get(K - 1) {
            None => 0,
            // The eighth of n nodes lies at about 8/n of the space.
            Some((eighth, _)) => {
                let distance = eighth.id.distance(self.id).leading().max(1);
                let nodes = ((K as u128) << 64) / u128::from(distance);
                u64::try_from(nodes).unwrap_or(u64::MAX)
            }
        }
    }

    pub(crate) fn status(&self, now: Instant) -> Vec<BucketStatus> {
        let node = |node: &Entry| TableNodeStatus {
            id: node.id,
            addr: node.addr,
            quality: node.quality(now),
            id_fits: node.fits,
            round_trip: node.round_trip,
        };
        let bucket = |(prefix, bucket): (usize, &Bucket)| BucketStatus {
            prefix: u8::try_from(prefix).expect("at most 160 buckets"),
            unchanged_for: now.saturating_duration_since(bucket.changed),
            nodes: bucket.nodes.iter().map(node).collect(),
            replacements: bucket.replacements.len(),
        };
        self.buckets.iter().enumerate().map(bucket).collect()
    }
}

fn least_recently_seen(bucket: &Bucket, now: Instant) -> Option<Contact> {
    let questionable = bucket.nodes.iter().filter(|node| node.quality(now) == Quality::Questionable);
    questionable.min_by_key(|node| node.seen).map(|node| Contact { id: node.id, addr: node.addr })
}

#[cfg(test)]
mod tests;
