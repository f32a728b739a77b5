//! The promises of a node, checked from outside: what it sends to which address, and how large it gets.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::time::Instant;

use ferri_dht::{Family, Node, NodeStatus, Options};

use super::krpc::{self, Head};

/// No datagram is longer: with its headers it fits into the smallest IPv6 packet.
pub(super) const DATAGRAM_MAX: usize = 1_232;

/// Breaches that are kept; the others say the same.
const BREACHES_MAX: usize = 50;

/// Questions and tokens remembered for each pair of a node and another.
const REMEMBERED_MAX: usize = 8;

/// Queries that a node may have open at once.
const QUERIES_OPEN_MAX: usize = 2_048;

/// Nodes in a bucket (BEP 5).
const BUCKET_MAX: usize = 8;

/// What broke.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaches(pub(super) Vec<String>);

impl Breaches {
    pub(super) fn add(&mut self, breach: impl FnOnce() -> String) {
        if self.0.len() < BREACHES_MAX {
            self.0.push(breach());
        }
    }
}

/// What a node and one other address have exchanged.
#[derive(Debug, Default)]
struct Account {
    /// It has answered a question of ours or shown a token of ours: the address is not forged.
    proven: bool,
    /// Bytes that came from it less bytes of our answers.
    credit: i64,
    /// Questions to it that are open, as hashes of their transaction ids.
    asked: Vec<u64>,
    /// Tokens that it was given.
    tokens: Vec<u64>,
}

/// All accounts of a node.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<SocketAddr, Account>,
}

impl Ledger {
    /// A datagram reached the node.
    pub(super) fn received(&mut self, from: SocketAddr, bytes: &[u8]) {
        let account = self.accounts.entry(from).or_default();
        if account.proven {
            return;
        }
        account.credit += bytes.len() as i64;
        let Some(head) = krpc::head(bytes) else { return };
        let token = || krpc::value_of(bytes, b"5:token").map(fingerprint);
        account.proven = match head.kind {
            b'q' => token().is_some_and(|token| account.tokens.contains(&token)),
            _ => account.asked.contains(&fingerprint(head.transaction)),
        };
    }

    /// The node sends a datagram. `Err` when it gives more than it got to who may not be there.
    pub(super) fn sent(&mut self, to: SocketAddr, head: &Head<'_>, bytes: &[u8]) -> Result<(), i64> {
        let account = self.accounts.entry(to).or_default();
        if account.proven {
            return Ok(());
        }
        if head.kind == b'q' {
            remember(&mut account.asked, fingerprint(head.transaction));
            return Ok(());
        }
        if let Some(token) = krpc::value_of(bytes, b"5:token") {
            remember(&mut account.tokens, fingerprint(token));
        }
        account.credit -= bytes.len() as i64;
        if account.credit < 0 { Err(account.credit) } else { Ok(()) }
    }
}

fn remember(list: &mut Vec<u64>, value: u64) {
    if list.len() == REMEMBERED_MAX {
        list.remove(0);
    }
    list.push(value);
}

fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Memory of this process that no file is behind, in bytes; 0 where the system does not say.
pub(super) fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// What is wrong with a node's tables and stores at this moment.
pub(super) fn bounds(node: &Node, options: &Options, now: Instant) -> Option<String> {
    let status = node.status(now);
    if let Some(store) = stores(&status, options) {
        return Some(store);
    }
    Family::ALL.into_iter().find_map(|family| {
        let own = node.id(family)?;
        let table = node.table(family, now);
        let last = table.len().saturating_sub(1);
        table.iter().enumerate().find_map(|(at, bucket)| {
            let count = bucket.nodes.len();
            if BUCKET_MAX < count || BUCKET_MAX < bucket.replacements {
                return Some(format!("bucket {at} has {count} nodes, {} in waiting", bucket.replacements));
            }
            let stray = bucket.nodes.iter().find(|node| {
                let shared = own.shared_prefix(node.id);
                let prefix = usize::from(bucket.prefix);
                if at == last { shared < prefix } else { shared != prefix }
            });
            stray.map(|node| format!("{} lies in bucket {at} of {own}", node.id))
        })
    })
}

fn stores(status: &NodeStatus, options: &Options) -> Option<String> {
    let held = [
        ("torrents", status.torrents, options.torrents_max),
        ("peers", status.peers, options.peers_max),
        ("items", status.items, options.items_max),
        ("open queries", status.queries_open, QUERIES_OPEN_MAX),
    ];
    held.into_iter()
        .find(|(_, count, max)| max < count)
        .map(|(what, count, _)| format!("holds {count} {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    const PONG: &[u8] = b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re";

    #[test]
    fn who_has_not_answered_gets_no_more_than_it_sent() {
        let other = ([1, 2, 3, 4], 5).into();
        let mut ledger = Ledger::default();
        let answer = krpc::head(PONG).unwrap();
        ledger.received(other, PING);
        assert_eq!(ledger.sent(other, &answer, PONG), Ok(()));
        assert_eq!(ledger.sent(other, &answer, PONG), Err(56 - 2 * 47));
        // An answer to nothing proves nothing, one to a question does.
        ledger.received(other, PONG);
        assert!(ledger.sent(other, &answer, PONG).is_err());
        ledger.sent(other, &krpc::head(PING).unwrap(), PING).unwrap();
        ledger.received(other, PONG);
        assert!((0..100).all(|_| ledger.sent(other, &answer, PONG).is_ok()));
    }
}
