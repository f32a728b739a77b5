//! What time brings: answers that do not come, getting into the network, keeping tables fresh, forgetting.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::smallvec;

use super::Node;
use crate::id::{NodeId, is_node_address};
use crate::input::ContactKind;
use crate::krpc::Method;
use crate::operation::Wish;
use crate::output::{Family, NodeEvent, Output};
use crate::table::Contact;
use crate::transactions::{Open, Overdue, Purpose};

/// Between two rounds of upkeep. In each, one questionable node of each family is pinged: a table of 150 nodes takes
/// 12 minutes for a turn, less than they stay good.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Between two looks through what is stored for others.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// No node has answered for this long: the network is probably gone.
const LONELY_AFTER: Duration = Duration::from_secs(3 * 60);

/// Addresses that are asked in one attempt to get in.
const STARTERS: usize = 48;

/// Contacts of one input that are looked at.
const CONTACTS_MAX: usize = 320;

/// Contacts of one input that are pinged when the table does not need them.
const PINGS_MAX: usize = 16;

impl Node {
    pub(super) fn timeout(&mut self, now: Instant) {
        while let Some(overdue) = self.transactions.overdue(now) {
            match overdue {
                Overdue::Slow(Open { purpose: Purpose::Search(key), to, .. }) => {
                    self.search_slow(key, to, now);
                }
                Overdue::Slow(_) => {}
                Overdue::Lost(open) => self.lost(&open, now),
            }
        }
        if self.upkeep_at <= now {
            self.upkeep_at = now + UPKEEP_INTERVAL;
            self.upkeep(now);
        }
    }

    fn lost(&mut self, open: &Open, now: Instant) {
        self.counts.timed_out += 1;
        let family = Family::of(open.to);
        if let Some(id) = open.id
            && let Some(network) = self.network_mut(family)
        {
            network.table.failed(Contact { id, addr: open.to });
        }
        match open.purpose {
            // A node may miss one ping (BEP 5): it is asked again at once, and then it is bad.
            Purpose::Ping => self.ping_again(open, now),
            Purpose::Proof | Purpose::Survey => {}
            Purpose::Search(key) => self.search_failed(key, open.to, now),
            Purpose::Store(key) => self.store_ended(key, now),
        }
    }

    fn ping_again(&mut self, open: &Open, now: Instant) {
        let Some(network) = self.network(Family::of(open.to)) else { return };
        let once = |id| {
            network.table.nodes().any(|node| node.id == id && node.addr == open.to && node.failures == 1)
        };
        if open.id.is_some_and(once) {
            self.ping(open.to, open.id, now);
        }
    }

    fn upkeep(&mut self, now: Instant) {
        for at in 0..self.networks.len() {
            self.networks[at].nodes = self.networks[at].table.estimate();
            self.get_in(at, now);
            self.keep_fresh(at, now);
            self.survey(at, now);
            self.notice_silence(at, now);
        }
        self.lose_patience(now);
        self.strangers.expire(now);
        self.tokens.rotate(&mut self.random, now);
        if self.expiry_at <= now {
            self.expiry_at = now + EXPIRY_INTERVAL;
            self.networks.iter_mut().for_each(|network| network.peers.expire(now));
            self.items.expire(now);
        }
    }

    /// Looks for the nodes closest to us, while the table is poor or that was not done yet.
    fn get_in(&mut self, at: usize, now: Instant) {
        let network = &mut self.networks[at];
        let is_poor = network.is_poor(now);
        if !network.entry.is_due(now) || (network.bootstrapped && !is_poor) {
            return;
        }
        let is_first = network.entry.is_first();
        network.entry.back_off(now);
        if network.bootstrap.is_some() {
            // It takes its time: the nodes that it asks are probably gone.
            let family = network.family;
            if is_poor {
                self.outputs.push_back(Output::WantContacts { family });
            }
            return;
        }
        let mut starters: Vec<SocketAddr> = Vec::with_capacity(STARTERS);
        let from = network.contacts.len().saturating_sub(STARTERS);
        // Those that were tried come last next time.
        starters.extend(network.contacts.drain(from..));
        starters.iter().for_each(|addr| network.contacts.push_front(*addr));
        let (family, id) = (network.family, network.id());
        // Routers are for nodes that know no other, so as not to be asked by all of them.
        if starters.is_empty() || !is_first {
            starters.extend(network.routers.iter());
            if is_poor {
                self.outputs.push_back(Output::WantContacts { family });
            }
        }
        let has_start = !starters.is_empty() || self.networks[at].table.nodes().next().is_some();
        if has_start {
            self.bootstrap(at, family, id, &starters, now);
        }
    }

    fn bootstrap(&mut self, at: usize, family: Family, id: NodeId, starters: &[SocketAddr], now: Instant) {
        // It may end at once, so that its key has to be known before.
        self.networks[at].bootstrap = Some(self.next_operation);
        self.begin(None, Wish::Nodes(id), smallvec![family], starters, now);
    }

    /// BEP 5: buckets that did not change are looked into, and nodes that were silent asked whether they are there.
    fn keep_fresh(&mut self, at: usize, now: Instant) {
        let random = self.random.bytes();
        let network = &mut self.networks[at];
        let family = network.family;
        let has_nodes = network.table.nodes().next().is_some();
        if network.bootstrap.is_none()
            && network.refresh.is_none()
            && has_nodes
            && let Some(target) = network.table.stale(random, now)
        {
            network.refresh = Some(self.next_operation);
            self.begin(None, Wish::Nodes(target), smallvec![family], &[], now);
        }
        if let Some(Contact { id, addr }) = self.networks[at].table.questionable(now) {
            self.ping(addr, Some(id), now);
        }
    }

    /// Asks nodes from everywhere in our table what our address is (BEP 42).
    fn survey(&mut self, at: usize, now: Instant) {
        let network = &mut self.networks[at];
        if !network.bootstrapped || !network.survey.is_due(now) {
            return;
        }
        network.survey.back_off(now);
        for Contact { id, addr } in network.voters(now) {
            self.ask(addr, Some(id), Purpose::Survey, Method::Ping, now);
        }
    }

    fn notice_silence(&mut self, at: usize, now: Instant) {
        let network = &mut self.networks[at];
        let is_silent = LONELY_AFTER <= now.saturating_duration_since(network.silent_since);
        if is_silent && !network.lonely {
            network.lonely = true;
            network.bootstrapped = false;
            let family = network.family;
            self.event(NodeEvent::Lonely { family });
        }
    }

    /// Addresses of nodes that the caller knows.
    pub(super) fn contacts(&mut self, addrs: &[SocketAddr], kind: ContactKind, now: Instant) {
        let mut pings = 0;
        for addr in addrs.iter().take(CONTACTS_MAX).copied().filter(|addr| is_node_address(*addr)) {
            let Some(network) = self.network_mut(Family::of(addr)) else { continue };
            let is_poor = network.is_poor(now);
            if !is_poor && kind != ContactKind::Router {
                if pings < PINGS_MAX {
                    pings += 1;
                    self.ping(addr, None, now);
                }
                continue;
            }
            network.add_contact(addr, kind);
            if is_poor {
                self.start_at(addr, now);
            }
        }
    }

    /// Asks at an address at once, in the attempt to get in that is under way or in a new one.
    fn start_at(&mut self, addr: SocketAddr, now: Instant) {
        let family = Family::of(addr);
        let Some(at) = self.networks.iter().position(|network| network.family == family) else { return };
        match self.networks[at].bootstrap {
            Some(key) => {
                let search = self.operations.get_mut(&key).and_then(|operation| operation.search(family));
                if let Some(search) = search {
                    search.start_at(addr);
                }
                self.drive(key, now);
            }
            None => {
                let id = self.networks[at].id();
                self.bootstrap(at, family, id, &[addr], now);
            }
        }
    }

    pub(super) fn network_changed(&mut self, now: Instant) {
        for network in &mut self.networks {
            network.votes.forget();
            network.table.forgive();
            network.entry.retry_soon(now);
            network.survey.retry_soon(now);
            network.bootstrapped = false;
            network.silent_since = now;
        }
        self.upkeep_at = now;
        self.timeout(now);
    }
}
