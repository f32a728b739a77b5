//! The node: routes what happens to the parts that it concerns.

mod answers;
mod incoming;
mod lookups;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::id::{NodeId, is_node_address};
use crate::input::{ContactKind, Input, Lookup};
use crate::item_store::ItemStore;
use crate::krpc::{Body, Message, Method, Query, Want};
use crate::limiter::{Bucket, Limiter};
use crate::network::Network;
use crate::operation::{Announcement, Operation, Wish};
use crate::options::Options;
use crate::output::{Family, NodeEvent, Output};
use crate::peers::Peers;
use crate::random::Random;
use crate::state::State;
use crate::status::{BucketStatus, Counts, FamilyStatus, NodeStatus};
use crate::strangers::Strangers;
use crate::table::Table;
use crate::token::Tokens;
use crate::transactions::{OperationKey, Purpose, Transactions};

/// The nodes of our tables have this part of what we answer to themselves.
const KNOWN_SHARE: u32 = 4;

/// A DHT node.
#[derive(Debug)]
pub struct Node {
    options: Options,
    random: Random,
    networks: SmallVec<[Network; 2]>,
    transactions: Transactions,
    operations: BTreeMap<OperationKey, Box<Operation>>,
    names: BTreeMap<Lookup, OperationKey>,
    /// Operations that wait for their turn.
    waiting: VecDeque<(Lookup, Wish)>,
    next_operation: OperationKey,
    tokens: Tokens,
    items: ItemStore,
    strangers: Strangers,
    limiter: Limiter,
    /// Bytes of answers to all that ask.
    answers: Bucket,
    /// Further bytes of answers, to nodes of our tables.
    answers_to_known: Bucket,
    /// Bytes beyond what came in, to addresses that are not proven.
    unproven: Bucket,
    /// When upkeep is due.
    upkeep_at: Instant,
    /// When what is stored for others is looked through.
    expiry_at: Instant,
    outputs: VecDeque<Output>,
    counts: Counts,
}

impl Node {
    /// A node that begins to look for its place in the network at once. `seed` is secret and random: ids, transaction
    /// ids and tokens come from it.
    #[must_use]
    pub fn new(options: Options, state: Option<State>, seed: [u8; 32], now: Instant) -> Self {
        let mut random = Random::new(seed);
        let state = state.unwrap_or_default();
        let tokens = Tokens::new(&mut random, now);
        let limiter = Limiter::new(options.queries_per_address, &mut random, now);
        let to_known = options.answer_bytes_per_second / KNOWN_SHARE;
        let mut node = Self {
            networks: SmallVec::new(),
            transactions: Transactions::default(),
            operations: BTreeMap::new(),
            names: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_operation: 0,
            tokens,
            items: ItemStore::new(options.items_max),
            strangers: Strangers::default(),
            limiter,
            answers: Bucket::new(options.answer_bytes_per_second - to_known, 2, now),
            answers_to_known: Bucket::new(to_known, 2, now),
            unproven: Bucket::new(options.unproven_bytes_per_second, 2, now),
            upkeep_at: now,
            expiry_at: now,
            outputs: VecDeque::new(),
            counts: Counts::default(),
            random,
            options,
        };
        if node.options.ipv4 {
            node.join(Family::V4, state.id_v4, now);
        }
        if node.options.ipv6 {
            node.join(Family::V6, state.id_v6, now);
        }
        for addr in state.nodes {
            node.remember(addr);
        }
        node
    }

    fn join(&mut self, family: Family, id: Option<NodeId>, now: Instant) {
        let id = id.unwrap_or_else(|| NodeId::from(self.random.bytes()));
        let table = Table::new(id, self.options.restrict_networks, now);
        let peers = Peers::new(family, &self.options, now);
        self.networks.push(Network::new(family, table, peers, now));
    }

    /// A node of an earlier run: it is asked when we get in.
    fn remember(&mut self, addr: SocketAddr) {
        if let Some(network) = self.network_mut(Family::of(addr)).filter(|_| is_node_address(addr)) {
            network.add_contact(addr, ContactKind::Saved);
        }
    }

    /// Deals with what happened. Time does not run backwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Datagram { from, bytes } => self.receive(from, &bytes, now),
            Input::Contacts { addrs, kind } => self.contacts(&addrs, kind, now),
            Input::GetPeers { lookup, info_hash } => {
                self.wish(lookup, Wish::Peers { info_hash, scrape: false, announce: None }, now);
            }
            Input::Announce { lookup, info_hash, port, implied_port, seed } => {
                let announcement = Announcement { port, implied_port, seed };
                // No peer could come to port 0, and no node would store it.
                let announce = (implied_port || port != 0).then_some(announcement);
                self.wish(lookup, Wish::Peers { info_hash, scrape: false, announce }, now);
            }
            Input::Scrape { lookup, info_hash } => {
                self.wish(lookup, Wish::Peers { info_hash, scrape: true, announce: None }, now);
            }
            Input::Get { lookup, key, newer_than } => self.wish(lookup, Wish::Get { key, newer_than }, now),
            Input::Put { lookup, item, cas } => self.wish(lookup, Wish::Put { item, cas }, now),
            Input::Sample { lookup, target } => self.wish(lookup, Wish::Sample(target), now),
            Input::Cancel { lookup } => self.cancel(lookup, now),
            Input::ExternalAddress { ip } => self.external_address(ip, now),
            Input::NetworkChanged => self.network_changed(now),
            Input::ReadOnly { read_only } => self.options.read_only = read_only,
            Input::Timeout => self.timeout(now),
        }
    }

    /// The next thing to carry out; `None` when there is none until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`]. `None` while no family is on.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.networks.is_empty() {
            return None;
        }
        Some(self.transactions.next_due().map_or(self.upkeep_at, |due| due.min(self.upkeep_at)))
    }

    /// Our id in a network. `None` when it is off.
    #[must_use]
    pub fn id(&self, family: Family) -> Option<NodeId> {
        self.network(family).map(Network::id)
    }

    /// Ids and nodes for the next run.
    #[must_use]
    pub fn state(&self) -> State {
        let mut state = State { id_v4: self.id(Family::V4), id_v6: self.id(Family::V6), nodes: Vec::new() };
        for network in &self.networks {
            let mut nodes: Vec<_> = network.table.nodes().collect();
            // Those that answered last are the likeliest to be there tomorrow.
            nodes.sort_by_key(|node| (node.failures, std::cmp::Reverse(node.answered)));
            let mut addrs: Vec<_> = nodes.into_iter().map(|node| node.addr).collect();
            // A node that stops before it got in keeps what it had.
            if addrs.is_empty() {
                addrs.extend(network.contacts.iter().rev());
            }
            addrs.truncate(State::NODES_MAX);
            state.nodes.extend(addrs);
        }
        state
    }

    /// The node at a glance.
    #[must_use]
    pub fn status(&self, now: Instant) -> NodeStatus {
        let family = |network: &Network| {
            let qualities = network.table.qualities(now);
            FamilyStatus {
                family: network.family,
                id: network.id(),
                external: network.votes.believed(),
                good: qualities.good,
                questionable: qualities.questionable,
                bad: qualities.bad,
                estimated_nodes: network.table.estimate(),
                bootstrapped: network.bootstrapped,
            }
        };
        NodeStatus {
            families: self.networks.iter().map(family).collect(),
            read_only: self.options.read_only,
            lookups: self.names.len() + self.waiting.len(),
            queries_open: self.transactions.len(),
            torrents: self.networks.iter().map(|network| network.peers.torrents()).sum(),
            peers: self.networks.iter().map(|network| network.peers.peers()).sum(),
            items: self.items.len(),
            counts: self.counts,
        }
    }

    /// The routing table of a family, the bucket that is farthest from us first. Empty when the family is off.
    #[must_use]
    pub fn table(&self, family: Family, now: Instant) -> Vec<BucketStatus> {
        self.network(family).map(|network| network.table.status(now)).unwrap_or_default()
    }

    fn network(&self, family: Family) -> Option<&Network> {
        self.networks.iter().find(|network| network.family == family)
    }

    fn network_mut(&mut self, family: Family) -> Option<&mut Network> {
        self.networks.iter_mut().find(|network| network.family == family)
    }

    fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.counts.datagrams_out += 1;
        self.counts.bytes_out += bytes.len() as u64;
        self.outputs.push_back(Output::Send { to, bytes: Bytes::from(bytes) });
    }

    fn event(&mut self, event: NodeEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Asks a node something. `false` when too many queries are open or its family is off.
    fn ask(
        &mut self,
        to: SocketAddr,
        id: Option<NodeId>,
        purpose: Purpose,
        method: Method<'_>,
        now: Instant,
    ) -> bool {
        let family = Family::of(to);
        let Some(ours) = self.network(family).map(Network::id) else { return false };
        let want = match method {
            Method::FindNode { .. } | Method::GetPeers { .. } | Method::Get { .. } => {
                Some(self.want(family, now))
            }
            _ => None,
        };
        let begun = self.transactions.begin(to, id, purpose, &mut self.random, now);
        let Some(transaction) = begun else { return false };
        let client = self.options.client;
        let message = Message {
            transaction: &transaction,
            client: Some(&client),
            ip: None,
            read_only: self.options.read_only,
            body: Body::Query(Query { id: ours, want, method }),
        };
        let bytes = message.encode();
        self.counts.queries_out += 1;
        self.send(to, bytes);
        true
    }

    /// BEP 32: nodes of the family that is asked; of the other one as well while its table is poor.
    fn want(&self, family: Family, now: Instant) -> Want {
        let wants =
            |other| self.network(other).is_some_and(|network| other == family || network.is_poor(now));
        Want { v4: wants(Family::V4), v6: wants(Family::V6) }
    }

    fn ping(&mut self, to: SocketAddr, id: Option<NodeId>, now: Instant) {
        if !self.transactions.is_asking(to) {
            self.ask(to, id, Purpose::Ping, Method::Ping, now);
        }
    }

    /// A source said what our address is. An address of a local network says nothing.
    fn external_address(&mut self, ip: IpAddr, now: Instant) {
        let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let Some(network) = self.network_mut(family) else { return };
        if network.votes.believe(ip).is_some() {
            self.moved(family, ip, now);
        }
    }

    /// Our address in a family is another one: our id follows (BEP 42).
    fn moved(&mut self, family: Family, ip: IpAddr, now: Instant) {
        self.event(NodeEvent::ExternalAddress { ip });
        let random = self.random.bytes();
        let Some(network) = self.network_mut(family).filter(|network| !network.id().fits(ip)) else { return };
        let id = NodeId::for_address(ip, random);
        network.table.rebuild(id, now);
        // Nodes close to the new id are not known yet.
        network.entry.retry_soon(now);
        network.bootstrapped = false;
        self.upkeep_at = now;
        self.event(NodeEvent::IdChanged { family, id });
    }
}

#[cfg(test)]
mod tests;
