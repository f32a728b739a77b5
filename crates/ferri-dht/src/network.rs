//! One of the two networks (BEP 32): our id there, our table, and how we get in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::bucket::Entry;
use crate::id::NodeId;
use crate::input::ContactKind;
use crate::output::Family;
use crate::peers::Peers;
use crate::status::Quality;
use crate::table::{Contact, Table};
use crate::transactions::OperationKey;
use crate::votes::{Region, Votes, region};

/// With fewer good nodes a table is poor: lookups that begin with fewer find too little when some of them are gone, and so
/// routers take part in them.
pub(crate) const POOR: usize = 8;

/// Addresses that wait to be asked. A torrent's `nodes` are a few, saved nodes 300.
const CONTACTS_MAX: usize = 320;

/// Routers that are known. There are five or six in public use.
const ROUTERS_MAX: usize = 32;

/// The pause after the first attempt; it doubles each time.
const RETRY_MIN: Duration = Duration::from_secs(5);

/// The longest pause between attempts to get in.
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);

/// The longest pause between two questions what our address is. A newcomer asks more often: it knows few nodes, which may
/// all be of one person.
const SURVEY_MAX: Duration = Duration::from_secs(30 * 60);

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
    /// Attempts to get in.
    pub(crate) entry: Attempts,
    /// Questions what our address is.
    pub(crate) survey: Attempts,
    /// Since when no node has answered.
    pub(crate) silent_since: Instant,
    /// It was told that no node answers.
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
            entry: Attempts::new(RETRY_MAX, now),
            survey: Attempts::new(SURVEY_MAX, now),
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

    /// Routers that take part in lookups and are told of announces: all of them while we are in and know too few nodes
    /// to do without, as in a home where all nodes know the same router. A node that is just getting in finds better
    /// ones first.
    pub(crate) fn stand_ins(&self, now: Instant) -> impl Iterator<Item = SocketAddr> {
        let is_getting_in = self.bootstrap.is_some() && !self.bootstrapped;
        let are_needed = !is_getting_in && !self.routers.is_empty() && self.is_poor(now);
        self.routers.iter().copied().filter(move |_| are_needed)
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

    /// Which nodes to ask what our address is: one node of each region, of those that answered last.
    pub(crate) fn voters(&self, now: Instant) -> Vec<Contact> {
        let mut voters: BTreeMap<Region, &Entry> = BTreeMap::new();
        for node in self.table.nodes().filter(|node| node.quality(now) != Quality::Bad) {
            let voter = voters.entry(region(node.id)).or_insert(node);
            if voter.answered < node.answered {
                *voter = node;
            }
        }
        voters.into_values().map(|node| Contact { id: node.id, addr: node.addr }).collect()
    }
}

/// When something is tried again.
#[derive(Debug)]
pub(crate) struct Attempts {
    next: Instant,
    pause: Duration,
    pause_max: Duration,
}

impl Attempts {
    fn new(pause_max: Duration, now: Instant) -> Self {
        Self { next: now, pause: RETRY_MIN, pause_max }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// An attempt begins: the next one comes after a pause that is twice as long.
    pub(crate) fn back_off(&mut self, now: Instant) {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(self.pause_max);
    }

    /// The pause is the shortest one again.
    pub(crate) fn reset_pause(&mut self) {
        self.pause = RETRY_MIN;
    }

    /// No attempt was made yet, or the last one succeeded.
    pub(crate) fn is_first(&self) -> bool {
        self.pause == RETRY_MIN
    }

    /// The next attempt comes at once.
    pub(crate) fn retry_soon(&mut self, now: Instant) {
        *self = Self::new(self.pause_max, now);
    }
}
