//! How a simulation went.

use std::fmt;
use std::time::Duration;

/// What lookups of one kind cost and found. The lists are sorted and have an entry for each lookup they apply to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// How many there were.
    pub made: usize,
    /// Those that found the peer in question.
    pub found: usize,
    /// Queries sent until the first peers came.
    pub queries_to_peers: Vec<u64>,
    /// Queries sent until the closest nodes were known.
    pub queries: Vec<u64>,
    /// Milliseconds until the first peers came.
    pub time_to_peers: Vec<u64>,
    /// Milliseconds until the lookup ended.
    pub time: Vec<u64>,
}

impl Lookups {
    /// Of a hundred. 0 when there was none.
    #[must_use]
    pub fn found_percent(&self) -> f64 {
        100.0 * self.found as f64 / self.made.max(1) as f64
    }

    pub(super) fn sort(&mut self) {
        for list in [&mut self.queries_to_peers, &mut self.queries, &mut self.time_to_peers, &mut self.time] {
            list.sort_unstable();
        }
    }
}

impl fmt::Display for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |list: &[u64]| format!("{}/{}", quantile(list, 0.5), quantile(list, 0.99));
        write!(
            f,
            "{} of {} found; queries to peers {}, to the end {}; ms to peers {}, to the end {}",
            self.found,
            self.made,
            pair(&self.queries_to_peers),
            pair(&self.queries),
            pair(&self.time_to_peers),
            pair(&self.time)
        )
    }
}

/// How large a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Torrents that it stores peers of.
    pub torrents: usize,
    /// Peers that it stores.
    pub peers: usize,
    /// Items that it stores.
    pub items: usize,
    /// Queries of its own that are open.
    pub queries_open: usize,
    /// Anonymous memory of this process in bytes; 0 where that is not to be had.
    pub memory: u64,
}

/// How a flood went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloodReport {
    /// Hostile packets that the node got.
    pub packets: u64,
    /// Datagrams that it sent to addresses where the attacker really is.
    pub answers: u64,
    /// Queries of honest nodes that reached it meanwhile.
    pub honest_queries: u64,
    /// Those that it answered.
    pub honest_answers: u64,
    /// The node each virtual second.
    pub sizes: Vec<Sizes>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Nodes that were online at the end.
    pub online: usize,
    /// Those that had found their place.
    pub in_place: usize,
    /// Those whose id does not belong to their address (BEP 42), because they were told a wrong one or none.
    pub misfits: usize,
    /// Nodes that ever joined.
    pub joined: usize,
    /// Milliseconds from joining to having found their place, sorted.
    pub time_to_place: Vec<u64>,
    /// Things that happened.
    pub events: u64,
    /// Virtual time.
    pub lasted: Duration,
    /// Datagrams sent by nodes.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that got lost, met a NAT or no host.
    pub undelivered: u64,
    /// Announces that ended.
    pub announces: usize,
    /// Nodes that took each of them, sorted.
    pub stored: Vec<u64>,
    /// Lookups by nodes that had been there for a while.
    pub old: Lookups,
    /// Lookups by nodes that had just found their place.
    pub fresh: Lookups,
    /// Lookups that ended because their node left, or never began.
    pub abandoned: usize,
    /// Good nodes in the tables at the end, sorted.
    pub table: Vec<u64>,
    /// What a flood did.
    pub flood: FloodReport,
    /// Promises broken; none in a good run.
    pub breaches: Vec<String>,
    /// A hash of all that was sent.
    pub trace: u64,
}

/// The entry that `share` of a sorted list is below; 0 in an empty one.
#[must_use]
pub fn quantile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} nodes online, {} in place, {} with ids of others, {} joined, {} events in {:.0} s",
            self.seed,
            self.online,
            self.in_place,
            self.misfits,
            self.joined,
            self.events,
            self.lasted.as_secs_f64()
        )?;
        writeln!(
            f,
            "  {} datagrams of {} bytes, {} undelivered; {} ms to find the place, {} good nodes in the table",
            self.datagrams,
            self.bytes / self.datagrams.max(1),
            self.undelivered,
            quantile(&self.time_to_place, 0.5),
            quantile(&self.table, 0.5)
        )?;
        writeln!(
            f,
            "  {} announces, taken by {} nodes at the median, {} at least; {} abandoned",
            self.announces,
            quantile(&self.stored, 0.5),
            quantile(&self.stored, 0.0),
            self.abandoned
        )?;
        writeln!(f, "  old nodes: {}\n  fresh nodes: {}", self.old, self.fresh)?;
        if let Some(last) = self.flood.sizes.last() {
            let FloodReport { packets, answers, honest_queries, honest_answers, .. } = &self.flood;
            let Sizes { torrents, peers, items, queries_open, memory } = last;
            writeln!(
                f,
                "  {packets} hostile packets, {answers} datagrams to the attacker, {honest_answers} of {honest_queries} \
                 honest queries answered; {torrents} torrents, {peers} peers, {items} items, {queries_open} queries open, \
                 {} KiB of memory",
                memory >> 10
            )?;
        }
        self.breaches.iter().try_for_each(|breach| writeln!(f, "  BROKEN: {breach}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_entries_of_the_list() {
        let list: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&list, 0.0), quantile(&list, 0.5), quantile(&list, 0.99)), (1, 51, 100));
        assert_eq!((quantile(&[], 0.5), quantile(&[7], 1.0)), (0, 7));
    }
}
