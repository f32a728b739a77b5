//! What is measured: announces, and lookups of what was announced.

use std::net::SocketAddr;

use ferri_dht::{Input, Lookup, Outcome};
use ferri_metainfo::InfoHash;

use super::internet::{Time, micros};
use super::krpc::Head;
use super::world::{Event, World};

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seeker {
    /// Any node that is online and in place.
    Old,
    /// A node that joins for it.
    Fresh,
}

/// An announce or a lookup.
#[derive(Debug)]
pub(super) struct Probe {
    info_hash: InfoHash,
    /// The announce it is to find; an announce has none.
    of: Option<(usize, Seeker)>,
    began: Time,
    /// Queries about the info hash, so far.
    queries: u64,
    /// When the first peers came, and after how many queries.
    first: Option<(Time, u64)>,
    /// The peers announced; of a lookup, those it is to find.
    peers: [Option<SocketAddr>; 2],
    found: bool,
}

/// How long after joining a fresh node has to be in place; then it is abandoned and counted as such.
const PATIENCE: Time = 300_000_000;

/// Where announced peers listen.
const PEER_PORT: u16 = 6_881;

impl World<'_> {
    /// Puts all announces on the calendar.
    pub(super) fn plan_probes(&mut self) {
        let scenario = self.scenario;
        let from = micros(scenario.join_over + scenario.settle);
        let over = micros(scenario.announce_over);
        for at in 0..scenario.announces as u64 {
            // With sybils each one is over before the next begins.
            let chance = if scenario.sybils.is_some() { 0 } else { self.dice.below(over / 10) };
            let time = from + at * over / scenario.announces as u64 + chance;
            self.at(time, Event::Announce);
        }
        self.due = scenario.announces;
    }

    pub(super) fn announce(&mut self) {
        // In a flood every second announce is the victim's own; it looks for the others itself.
        let own = self.victim().filter(|_| self.probes.len().is_multiple_of(2));
        let Some(host) = own.or_else(|| self.pick(None)) else { return self.abandon() };
        let info_hash = self.target.unwrap_or_else(|| self.random_hash());
        let peers = self.hosts[host].addrs.map(|addr| {
            addr.map(|mut addr| {
                addr.set_port(PEER_PORT);
                addr
            })
        });
        let probe = self.begin(host, Probe::new(info_hash, None, peers, self.now));
        let lookup = Lookup(probe as u64);
        self.input(
            host,
            Input::Announce { lookup, info_hash, port: PEER_PORT, implied_port: false, seed: false },
        );
    }

    /// A node looks for what was announced by `probe`.
    pub(super) fn find(&mut self, announce: usize, seeker: Seeker) {
        let peers = self.probes[announce].peers;
        match seeker {
            Seeker::Old => match self.seeker_near(announce) {
                Some(host) => self.look(host, announce, seeker),
                None => self.abandon(),
            },
            Seeker::Fresh => {
                let host = self.join_with(peers.map(|peer| peer.is_some()));
                self.hosts[host].then = Some(announce);
                self.at(self.now + PATIENCE, Event::Impatient(host));
            }
        }
    }

    fn seeker_near(&mut self, announce: usize) -> Option<usize> {
        let peers = self.probes[announce].peers;
        let victim = self.victim().filter(|victim| {
            let ip = self.hosts[*victim].addrs[0].map(|addr| addr.ip());
            peers[0].map(|peer| peer.ip()) != ip
        });
        victim.or_else(|| self.pick(Some(&peers)))
    }

    /// A node is in place, and was perhaps only made to look for something.
    pub(super) fn in_place(&mut self, host: usize) {
        self.report.time_to_place.push((self.now - self.hosts[host].joined) / 1_000);
        if let Some(announce) = self.hosts[host].then.take() {
            self.look(host, announce, Seeker::Fresh);
        }
    }

    /// A fresh node has had time enough.
    pub(super) fn impatient(&mut self, host: usize) {
        if self.hosts[host].then.take().is_some() {
            self.breaches.add(|| format!("node {host} does not find its place"));
            self.abandon();
        }
    }

    fn look(&mut self, host: usize, announce: usize, seeker: Seeker) {
        let Probe { info_hash, peers, .. } = self.probes[announce];
        let probe = self.begin(host, Probe::new(info_hash, Some((announce, seeker)), peers, self.now));
        self.input(host, Input::GetPeers { lookup: Lookup(probe as u64), info_hash });
    }

    fn begin(&mut self, host: usize, probe: Probe) -> usize {
        let number = self.probes.len();
        self.probes.push(probe);
        self.hosts[host].lookups.insert(Lookup(number as u64), number);
        number
    }

    /// One measurement less to wait for.
    pub(super) fn abandon(&mut self) {
        self.report.abandoned += 1;
        self.due -= 1;
    }

    /// A node with probes under way sends.
    pub(super) fn probes_see(&mut self, host: usize, head: &Head<'_>, bytes: &[u8]) {
        if head.query != b"get_peers" {
            return;
        }
        for probe in self.hosts[host].lookups.values() {
            let probe = &mut self.probes[*probe];
            let info_hash = probe.info_hash.as_bytes();
            probe.queries += u64::from(bytes.windows(20).any(|window| window == info_hash));
        }
    }

    pub(super) fn peers_found(&mut self, host: usize, lookup: Lookup, peers: &[SocketAddr]) {
        let Some(number) = self.hosts[host].lookups.get(&lookup) else {
            return self.breaches.add(|| format!("node {host} tells peers of {lookup:?}, which is over"));
        };
        let probe = &mut self.probes[*number];
        probe.first.get_or_insert((self.now, probe.queries));
        probe.found |= peers.iter().any(|peer| probe.peers.contains(&Some(*peer)));
    }

    pub(super) fn finished(&mut self, host: usize, lookup: Lookup, outcome: &Outcome) {
        let Some(number) = self.hosts[host].lookups.remove(&lookup) else {
            return self.breaches.add(|| format!("node {host} ends {lookup:?} twice"));
        };
        let probe = &self.probes[number];
        let Some((_, seeker)) = probe.of else {
            self.report.announces += 1;
            self.report.stored.push(u64::from(outcome.stored));
            return self.plan_finds(number);
        };
        let lookups = match seeker {
            Seeker::Old => &mut self.report.old,
            Seeker::Fresh => &mut self.report.fresh,
        };
        lookups.made += 1;
        lookups.found += usize::from(probe.found);
        lookups.queries.push(u64::from(outcome.queries));
        lookups.time.push((self.now - probe.began) / 1_000);
        if let Some((at, queries)) = probe.first {
            lookups.queries_to_peers.push(queries);
            lookups.time_to_peers.push((at - probe.began) / 1_000);
        }
        self.due -= 1;
    }

    /// An announce is over: when it will be looked for.
    fn plan_finds(&mut self, announce: usize) {
        let (least, most) = self.scenario.find_after;
        let fresh = self.report.announces <= self.scenario.fresh;
        let seekers =
            std::iter::repeat_n(Seeker::Old, self.scenario.finds).chain(fresh.then_some(Seeker::Fresh));
        self.due -= 1;
        for seeker in seekers {
            let at = self.now + self.dice.between(micros(least), micros(most));
            self.due += 1;
            self.at(at, Event::Find { announce, seeker });
        }
    }

    fn random_hash(&mut self) -> InfoHash {
        let mut bytes = [0; 20];
        bytes.iter_mut().for_each(|byte| *byte = self.dice.roll() as u8);
        InfoHash::from(bytes)
    }
}

impl Probe {
    fn new(
        info_hash: InfoHash,
        of: Option<(usize, Seeker)>,
        peers: [Option<SocketAddr>; 2],
        began: Time,
    ) -> Self {
        Self { info_hash, of, began, queries: 0, first: None, peers, found: false }
    }
}
