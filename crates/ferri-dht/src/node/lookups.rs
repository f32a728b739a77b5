//! Operations: from the wish to the end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use smallvec::SmallVec;

use super::Node;
use crate::bucket::K;
use crate::id::{NodeId, is_node_address, may_name};
use crate::input::{ContactKind, Lookup};
use crate::krpc::{Response, compact};
use crate::operation::{Operation, Stage, Wish};
use crate::output::{End, Family, NodeEvent, Outcome, Output};
use crate::search::Search;
use crate::table::Contact;
use crate::transactions::{OperationKey, Purpose};

/// Operations that wait for their turn. A session with more torrents than this announces them one after the other.
const WAITING_MAX: usize = 10_000;

/// A lookup that begins before we are in the network waits this long for a node to ask.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes of the table that a search begins with: more than it needs, since some are gone.
const SEEDS: usize = 2 * K;

/// Nodes of each family that are taken from one answer. Eight are usual, and some send more.
const TOLD_MAX: usize = 20;

/// Nodes in the table from which on a search that waited begins.
const ENOUGH: usize = 4;

impl Node {
    pub(super) fn wish(&mut self, lookup: Lookup, wish: Wish, now: Instant) {
        let is_taken =
            self.names.contains_key(&lookup) || self.waiting.iter().any(|(name, _)| *name == lookup);
        let end = if is_taken || WAITING_MAX <= self.waiting.len() {
            End::Refused
        } else if self.networks.is_empty() {
            End::NoNodes
        } else {
            self.waiting.push_back((lookup, wish));
            return self.begin_waiting(now);
        };
        self.outputs.push_back(Output::Finished { lookup, outcome: Outcome { end, ..Outcome::default() } });
    }

    fn begin_waiting(&mut self, now: Instant) {
        while self.names.len() < self.options.lookups_max.max(1) {
            let Some((lookup, wish)) = self.waiting.pop_front() else { return };
            let families = self.networks.iter().map(|network| network.family).collect();
            self.begin(Some(lookup), wish, families, &[], now);
        }
    }

    /// Begins an operation in some families; `starters` are addresses of nodes with unknown ids.
    pub(super) fn begin(
        &mut self,
        lookup: Option<Lookup>,
        wish: Wish,
        families: SmallVec<[Family; 2]>,
        starters: &[SocketAddr],
        now: Instant,
    ) -> OperationKey {
        let key = self.next_operation;
        self.next_operation += 1;
        let patience = if lookup.is_some() { PATIENCE } else { Duration::ZERO };
        let mut operation = Operation::new(lookup, wish, now + patience);
        for family in families {
            let search = match lookup {
                Some(_) => self.search_for_caller(family, operation.wish.target(), now),
                None => self.search(family, operation.wish.target()),
            };
            operation.searches.extend(search);
        }
        for search in &mut operation.searches {
            let family = search.family;
            let ours = starters.iter().filter(|addr| Family::of(**addr) == family);
            ours.for_each(|addr| search.start_at(*addr));
        }
        if let Some(lookup) = lookup {
            self.names.insert(lookup, key);
        }
        self.operations.insert(key, Box::new(operation));
        self.drive(key, now);
        key
    }

    /// One that looks for something in the network. Where there are too few nodes for that, routers take part.
    fn search_for_caller(&self, family: Family, target: NodeId, now: Instant) -> Option<Search> {
        let mut search = self.search(family, target)?;
        self.network(family)?.stand_ins(now).for_each(|addr| search.start_at(addr));
        Some(search)
    }

    fn search(&self, family: Family, target: NodeId) -> Option<Search> {
        let network = self.network(family)?;
        // Around ourselves a crowd is what we look for.
        let nodes = if target == network.id() { 0 } else { network.nodes };
        let mut search = Search::new(target, family, self.options.restrict_networks, nodes);
        for (contact, _) in network.table.closest(target, SEEDS) {
            search.consider(contact);
        }
        Some(search)
    }

    /// Does what an operation can do now.
    pub(super) fn drive(&mut self, key: OperationKey, now: Instant) {
        let Some(mut operation) = self.operations.remove(&key) else { return };
        if operation.stage == Stage::Searching {
            self.ask_on(key, &mut operation, now);
            // A family without any node, which is how most hosts have IPv6, does not hold up the other.
            let waits = now < operation.patience && operation.searches.iter().all(Search::is_starved);
            if !waits && operation.searches.iter().all(Search::is_done) {
                let told = self.part(key, &operation, now);
                operation.stage = Stage::Storing(told);
            }
        }
        if operation.stage == Stage::Storing(0) {
            let end = if operation.outcome.answers == 0 { End::NoNodes } else { End::Converged };
            self.finish(key, *operation, end, now);
        } else {
            self.operations.insert(key, operation);
        }
    }

    fn ask_on(&mut self, key: OperationKey, operation: &mut Operation, now: Instant) {
        let question = operation.wish.question();
        for search in &mut operation.searches {
            while let Some(ask) = search.next() {
                if self.ask(ask.addr, ask.id, Purpose::Search(key), question.clone(), now) {
                    operation.outcome.queries += 1;
                } else {
                    search.failed(ask.addr);
                }
            }
        }
    }

    /// Tells the closest nodes what they are to store; says how many.
    fn part(&mut self, key: OperationKey, operation: &Operation, now: Instant) -> usize {
        let mut told = 0;
        for holder in operation.searches.iter().flat_map(Search::holders) {
            let Some(method) = operation.wish.parting(&holder) else { continue };
            let Contact { id, addr } = holder.contact;
            told += usize::from(self.ask(addr, Some(id), Purpose::Store(key), method, now));
        }
        told
    }

    fn finish(&mut self, key: OperationKey, mut operation: Operation, end: End, now: Instant) {
        operation.estimate();
        operation.outcome.end = end;
        if let Some(lookup) = operation.lookup {
            self.names.remove(&lookup);
            self.outputs.push_back(Output::Finished { lookup, outcome: operation.outcome });
            return self.begin_waiting(now);
        }
        for at in 0..self.networks.len() {
            if self.networks[at].refresh == Some(key) {
                self.networks[at].refresh = None;
            }
            if self.networks[at].bootstrap == Some(key) {
                self.networks[at].bootstrap = None;
                self.bootstrap_ended(at, operation.outcome, now);
            }
        }
    }

    fn bootstrap_ended(&mut self, at: usize, outcome: Outcome, now: Instant) {
        let network = &mut self.networks[at];
        network.nodes = network.table.estimate();
        let nodes = network.table.qualities(now).good;
        let family = network.family;
        if 0 < outcome.answers && 0 < nodes {
            let is_first = !std::mem::replace(&mut network.bootstrapped, true);
            if !network.is_poor(now) {
                network.entry.reset_pause();
            }
            if is_first {
                // What our address is can be asked now.
                self.upkeep_at = now;
                self.event(NodeEvent::Bootstrapped { family, nodes });
            }
        }
        // Where a router alone answered, it is the network.
        if 0 < outcome.answers {
            self.feed_all(family, now);
        }
    }

    pub(super) fn cancel(&mut self, lookup: Lookup, now: Instant) {
        if let Some(at) = self.waiting.iter().position(|(name, _)| *name == lookup) {
            self.waiting.remove(at);
            let outcome = Outcome { end: End::Cancelled, ..Outcome::default() };
            self.outputs.push_back(Output::Finished { lookup, outcome });
        } else if let Some(key) = self.names.get(&lookup).copied()
            && let Some(operation) = self.operations.remove(&key)
        {
            self.finish(key, *operation, End::Cancelled, now);
        }
    }

    /// A node that a search asked answered.
    pub(super) fn search_answered(
        &mut self,
        key: OperationKey,
        contact: Contact,
        response: &Response<'_>,
        now: Instant,
    ) {
        self.spread(key, contact.addr, response, now);
        let Some(operation) = self.operations.get_mut(&key) else { return };
        operation.outcome.answers += 1;
        let found = operation.take(response, contact.addr);
        if let Some(search) = operation.search(Family::of(contact.addr)) {
            search.answered(contact, response.token, found.has_item);
        }
        if let Some(lookup) = operation.lookup {
            if !found.peers.is_empty() {
                self.outputs.push_back(Output::Peers { lookup, peers: found.peers });
            }
            if let Some(item) = found.item {
                if item.author().is_none() {
                    // There is no newer version to look for.
                    operation.stage = Stage::Storing(0);
                }
                self.outputs.push_back(Output::Item { lookup, item });
            }
            self.tell_samples(key, lookup, contact.addr, response);
        }
        self.drive(key, now);
    }

    fn tell_samples(&mut self, key: OperationKey, lookup: Lookup, from: SocketAddr, response: &Response<'_>) {
        let is_wanted =
            self.operations.get(&key).is_some_and(|operation| matches!(operation.wish, Wish::Sample(_)));
        if let Some(sample) = response.sample.filter(|_| is_wanted) {
            let info_hashes = sample.info_hashes.iter().map(|hash| InfoHash::from(*hash)).collect();
            let (total, interval) = (sample.total, sample.interval);
            self.outputs.push_back(Output::Samples { lookup, from, info_hashes, total, interval });
        }
    }

    /// Hands the nodes that an answer names to the searches of their families.
    fn spread(&mut self, key: OperationKey, from: SocketAddr, response: &Response<'_>, now: Instant) {
        let v4 = compact::nodes_v4(response.nodes.unwrap_or_default()).take(TOLD_MAX);
        let v6 = compact::nodes_v6(response.nodes6.unwrap_or_default()).take(TOLD_MAX);
        let useful = |addr: SocketAddr| is_node_address(addr) && may_name(from.ip(), addr.ip());
        for (id, addr) in v4.chain(v6).filter(|(_, addr)| useful(*addr)) {
            let family = Family::of(addr);
            let Self { networks, operations, .. } = self;
            let Some(network) = networks.iter_mut().find(|network| network.family == family) else {
                continue;
            };
            if id == network.id() {
                continue;
            }
            let search = operations.get_mut(&key).and_then(|operation| operation.search(family));
            match search {
                Some(search) => search.consider(Contact { id, addr }),
                // BEP 32: the other network's nodes help to get into it.
                None if network.is_poor(now) => network.add_contact(addr, ContactKind::Saved),
                None => {}
            }
        }
    }

    pub(super) fn search_slow(&mut self, key: OperationKey, addr: SocketAddr, now: Instant) {
        if let Some(search) = self.search_of(key, addr) {
            search.slow(addr);
            self.drive(key, now);
        }
    }

    pub(super) fn search_failed(&mut self, key: OperationKey, addr: SocketAddr, now: Instant) {
        if let Some(search) = self.search_of(key, addr) {
            search.failed(addr);
            self.drive(key, now);
        }
    }

    fn search_of(&mut self, key: OperationKey, addr: SocketAddr) -> Option<&mut Search> {
        self.operations.get_mut(&key)?.search(Family::of(addr))
    }

    pub(super) fn store_answered(&mut self, key: OperationKey, now: Instant) {
        if let Some(operation) = self.operations.get_mut(&key) {
            operation.outcome.stored += 1;
        }
        self.store_ended(key, now);
    }

    pub(super) fn store_refused(&mut self, key: OperationKey, now: Instant) {
        if let Some(operation) = self.operations.get_mut(&key) {
            operation.outcome.refused += 1;
        }
        self.store_ended(key, now);
    }

    /// One node less to wait for.
    pub(super) fn store_ended(&mut self, key: OperationKey, now: Instant) {
        if let Some(operation) = self.operations.get_mut(&key)
            && let Stage::Storing(open) = &mut operation.stage
        {
            *open = open.saturating_sub(1);
            self.drive(key, now);
        }
    }

    /// Searches that found no node to ask begin when there is one.
    pub(super) fn feed(&mut self, family: Family, now: Instant) {
        let enough = |node: &Self| {
            node.network(family).is_some_and(|network| ENOUGH <= network.table.nodes().take(ENOUGH).count())
        };
        if self.operations.values().any(|operation| is_starved(operation, family)) && enough(self) {
            self.feed_all(family, now);
        }
    }

    fn feed_all(&mut self, family: Family, now: Instant) {
        let starved = self.operations.iter().filter(|(_, operation)| is_starved(operation, family));
        let keys: Vec<_> = starved.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(target) = self.operations.get(&key).map(|operation| operation.wish.target()) else {
                continue;
            };
            let fed = self.search_for_caller(family, target, now);
            let search = self.operations.get_mut(&key).and_then(|operation| operation.search(family));
            if let (Some(fed), Some(search)) = (fed, search) {
                *search = fed;
            }
            self.drive(key, now);
        }
    }

    /// Ends operations that have waited long enough for a node to ask.
    pub(super) fn lose_patience(&mut self, now: Instant) {
        let over = self.operations.iter().filter(|(_, operation)| operation.patience <= now);
        let over = over.filter(|(_, operation)| operation.searches.iter().any(Search::is_starved));
        let keys: Vec<_> = over.map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.drive(key, now));
    }
}

fn is_starved(operation: &Operation, family: Family) -> bool {
    operation.stage == Stage::Searching
        && operation.searches.iter().any(|search| search.family == family && search.is_starved())
}
