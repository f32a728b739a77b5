//! Queries of ours that are open: what an answer has to match, and when to stop waiting for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::random::Random;
use crate::strangers::HELD_FOR;

/// After this long others are asked instead. Two round trips to the far side of the world, since who does not know us
/// may ping us first, and some for a busy node.
const SHORT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// After this long no answer is expected any more.
const FULL_TIMEOUT: Duration = Duration::from_secs(8);

/// Queries that are open at once. The caller's lookups alone can have a quarter of these.
const OPEN_MAX: usize = 2_048;

/// Pings to strangers that are open at once: they must leave room for our own questions.
pub(crate) const PROOFS_MAX: usize = 1_024;

/// Names an operation among those under way.
pub(crate) type OperationKey = u64;

/// What the answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To see whether a node is there.
    Ping,
    /// To see whether a node that asked is where it says.
    Proof,
    /// To hear what our address is.
    Survey,
    /// To find the nodes closest to something.
    Search(OperationKey),
    /// To store something.
    Store(OperationKey),
}

/// A query that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) to: SocketAddr,
    /// Who should answer, if that is known.
    pub(crate) id: Option<NodeId>,
    pub(crate) purpose: Purpose,
    pub(crate) sent: Instant,
    slow: bool,
}

/// What time did to a query.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Overdue {
    /// It may still be answered.
    Slow(Open),
    /// It will not be answered, and is forgotten.
    Lost(Open),
}

#[derive(Debug, Default)]
pub(crate) struct Transactions {
    open: BTreeMap<u32, Open>,
    due: BTreeSet<(Instant, u32)>,
    /// How many open queries there are to each address.
    addrs: BTreeMap<SocketAddr, u16>,
    proofs: usize,
}

impl Transactions {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn proofs(&self) -> usize {
        self.proofs
    }

    /// A query to this address is open.
    pub(crate) fn is_asking(&self, addr: SocketAddr) -> bool {
        self.addrs.contains_key(&addr)
    }

    /// The transaction id for a new query. `None` when too many are open.
    pub(crate) fn begin(
        &mut self,
        to: SocketAddr,
        id: Option<NodeId>,
        purpose: Purpose,
        random: &mut Random,
        now: Instant,
    ) -> Option<[u8; 4]> {
        if OPEN_MAX <= self.open.len() {
            return None;
        }
        let mut transaction = random.u32();
        while self.open.contains_key(&transaction) {
            transaction = random.u32();
        }
        self.open.insert(transaction, Open { to, id, purpose, sent: now, slow: false });
        self.due.insert((now + SHORT_TIMEOUT, transaction));
        *self.addrs.entry(to).or_default() += 1;
        self.proofs += usize::from(purpose == Purpose::Proof);
        Some(transaction.to_be_bytes())
    }

    /// The query that this answers. `None` unless it came from where the query went.
    pub(crate) fn answer(&mut self, transaction: &[u8], from: SocketAddr) -> Option<Open> {
        let transaction = u32::from_be_bytes(transaction.try_into().ok()?);
        if self.open.get(&transaction)?.to != from {
            return None;
        }
        self.end(transaction)
    }

    fn end(&mut self, transaction: u32) -> Option<Open> {
        let open = self.open.remove(&transaction)?;
        self.due.remove(&(due(&open), transaction));
        if let Some(count) = self.addrs.get_mut(&open.to) {
            *count -= 1;
            if *count == 0 {
                self.addrs.remove(&open.to);
            }
        }
        self.proofs -= usize::from(open.purpose == Purpose::Proof);
        Some(open)
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next query whose time is over, if there is one.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Overdue> {
        let (_, transaction) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        let open = self.open.get_mut(&transaction).expect("what is due is open");
        if open.slow {
            return self.end(transaction).map(Overdue::Lost);
        }
        self.due.pop_first();
        open.slow = true;
        self.due.insert((due(open), transaction));
        Some(Overdue::Slow(*open))
    }
}

fn due(open: &Open) -> Instant {
    open.sent
        + match (open.slow, open.purpose) {
            (false, _) => SHORT_TIMEOUT,
            // A node whose question is held does not wait longer than that.
            (true, Purpose::Proof) => HELD_FOR,
            (true, _) => FULL_TIMEOUT,
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn begin(transactions: &mut Transactions, to: &str, now: Instant) -> Option<[u8; 4]> {
        let mut random = Random::new([transactions.len() as u8; 32]);
        transactions.begin(to.parse().unwrap(), None, Purpose::Ping, &mut random, now)
    }

    #[test]
    fn an_answer_counts_once_and_only_from_where_we_asked() {
        let now = Instant::now();
        let mut transactions = Transactions::default();
        let to = "8.8.8.8:1".parse().unwrap();
        let transaction = begin(&mut transactions, "8.8.8.8:1", now).unwrap();
        assert!(transactions.is_asking(to));
        assert!(transactions.answer(&transaction, "8.8.8.8:2".parse().unwrap()).is_none());
        assert!(transactions.answer(b"xx", to).is_none());
        assert!(transactions.answer(&transaction, to).is_some());
        assert!(transactions.answer(&transaction, to).is_none());
        assert!(!transactions.is_asking(to));
        assert_eq!(transactions.next_due(), None);
    }

    #[test]
    fn a_query_is_slow_before_it_is_lost() {
        let now = Instant::now();
        let mut transactions = Transactions::default();
        begin(&mut transactions, "8.8.8.8:1", now);
        assert_eq!(transactions.next_due(), Some(now + SHORT_TIMEOUT));
        assert!(transactions.overdue(now).is_none());
        assert!(matches!(transactions.overdue(now + SHORT_TIMEOUT), Some(Overdue::Slow(_))));
        assert!(transactions.overdue(now + SHORT_TIMEOUT).is_none());
        assert_eq!(transactions.next_due(), Some(now + FULL_TIMEOUT));
        assert!(matches!(transactions.overdue(now + FULL_TIMEOUT), Some(Overdue::Lost(_))));
        assert_eq!((transactions.len(), transactions.next_due()), (0, None));
    }

    #[test]
    fn open_queries_are_bounded() {
        let now = Instant::now();
        let mut transactions = Transactions::default();
        let mut random = Random::new([1; 32]);
        let to = "8.8.8.8:1".parse().unwrap();
        let begun = (0..5_000).filter_map(|_| transactions.begin(to, None, Purpose::Proof, &mut random, now));
        assert_eq!(begun.count(), OPEN_MAX);
        assert_eq!(transactions.proofs(), OPEN_MAX);
    }
}
