//! One of the two networks (BEP 32): our id there, our table, and how we get in.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::input::ContactKind;
use crate::output::Family;
use crate::peers::Peers;
use crate::table::Table;
use crate::transactions::OperationKey;
use crate::votes::Votes;

/// With fewer good nodes a table is poor: lookups that begin with fewer find too little when some of them are gone.
pub(crate) const POOR: usize = 8;

/// Addresses that wait to be asked. A torrent's `nodes` are a few, saved nodes 300.
const CONTACTS_MAX: usize = 320;

/// Routers that are known. There are five or six in public use.
const ROUTERS_MAX: usize = 32;

/// The pause after the first attempt to get in that did not succeed; it doubles each time.
const RETRY_MIN: Duration = Duration::from_secs(5);

/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) family: Family,
    pub(crate) table: Table,
    pub(crate) votes: Votes,
    pub(crate) peers: Peers,
    /// Addresses to begin with, the most recent ones last.
    pub(crate) contacts: VecDeque<SocketAddr>,
    pub(crate) routers: BTreeSet<SocketAddr>,
    /// How many nodes there are, as [`Table::estimate`] said a few seconds ago.
    pub(crate) nodes: u64,
    /// The search for the nodes closest to us, while it is under way.
    pub(crate) bootstrap: Option<OperationKey>,
    pub(crate) bootstrapped: bool,
    /// The search that keeps a bucket fresh, while it is under way.
    pub(crate) refresh: Option<OperationKey>,
    /// When to try again to get in.
    pub(crate) retry_at: Instant,
    retry: Duration,
    /// Since when nobody has answered.
    pub(crate) silent_since: Instant,
    /// It was told that nobody answers.
    pub(crate) lonely: bool,
}

impl Network {
    pub(crate) fn new(family: Family, table: Table, peers: Peers, now: Instant) -> Self {
        Self {
            family,
            table,
            votes: Votes::default(),
            peers,
            contacts: VecDeque::new(),
            routers: BTreeSet::new(),
            nodes: 0,
            bootstrap: None,
            bootstrapped: false,
            refresh: None,
            retry_at: now,
            retry: RETRY_MIN,
            silent_since: now,
            lonely: false,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.table.id()
    }

    pub(crate) fn is_poor(&self, now: Instant) -> bool {
        self.table.qualities(now).good < POOR
    }

    /// Addresses that may be of use. The oldest make room.
    pub(crate) fn add_contact(&mut self, addr: SocketAddr, kind: ContactKind) {
        if kind == ContactKind::Router {
            if self.routers.len() < ROUTERS_MAX {
                self.routers.insert(addr);
            }
            return;
        }
        if self.contacts.contains(&addr) {
            return;
        }
        if self.contacts.len() == CONTACTS_MAX {
            self.contacts.pop_front();
        }
        self.contacts.push_back(addr);
    }

    /// An attempt to get in begins: the next one comes after a pause that is twice as long.
    pub(crate) fn back_off(&mut self, now: Instant) {
        self.retry_at = now + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    /// The pause is the shortest one again.
    pub(crate) fn reset_pause(&mut self) {
        self.retry = RETRY_MIN;
    }

    /// No attempt was made yet, or the last one succeeded.
    pub(crate) fn is_first_attempt(&self) -> bool {
        self.retry == RETRY_MIN
    }

    /// The next attempt comes soon.
    pub(crate) fn retry_soon(&mut self, now: Instant) {
        self.retry = RETRY_MIN;
        self.retry_at = now;
    }
}
