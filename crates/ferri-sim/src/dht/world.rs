//! The clock and the network: events in order of time, each handed to the one node it concerns.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_dht::{ContactKind, Family, Input, Node, NodeEvent, Output};
use ferri_metainfo::InfoHash;

use crate::scenario::Dice;

use super::flood::{Flood, Heard};
use super::gang::Gang;
use super::host::Host;
use super::internet::{Internet, Nat, Time, distance, latency, micros};
use super::krpc;
use super::probe::{Probe, Seeker};
use super::report::{Report, Sizes};
use super::scenario::{Families, Scenario};
use super::watch::{self, Breaches, DATAGRAM_MAX, Ledger};

/// Nodes that all others know. They join first, can be reached and stay.
const ROUTERS: usize = 4;

/// How long it takes to resolve the names of the routers.
const RESOLVING: Time = 50_000;

/// How often some nodes are looked at from outside, and how many.
const LOOKS: (Time, usize) = (10_000_000, 20);

/// How often a sybil asks some honest node something.
const SYBIL_PAUSE: Time = 60_000_000;

/// How long it may take until another node comes when one left.
const VACANCY: Time = 60_000_000;

/// How often hostile packets come.
const FLOOD_STEP: Time = 1_000;

/// How far the attacker is from the backbone.
const FLOOD_DISTANCE: Time = 10_000;

/// From the last announce to the end at the latest, beyond the time of the lookups.
const END: Duration = Duration::from_secs(900);

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    Join,
    Leave(usize),
    Wake(usize),
    Contacts(usize, Family),
    Arrives { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    SybilAsks(usize),
    Look,
    Flood,
    Weigh,
    Announce,
    Find { announce: usize, seeker: Seeker },
    Impatient(usize),
}

/// An entry of the calendar: by time, then in the order in which they were made.
#[derive(Debug)]
struct Entry {
    at: Time,
    number: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// Who is at an address.
#[derive(Clone, Copy, Debug)]
enum Place {
    Host(usize),
    Sybil(usize),
}

/// Everything there is.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    start: Instant,
    pub(super) now: Time,
    calendar: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    internet: Internet<Place>,
    /// All that ever joined.
    pub(super) hosts: Vec<Host>,
    /// Those of them that are there.
    online: Vec<usize>,
    gang: Option<Gang>,
    flood: Option<Flood>,
    /// What the sybils surround.
    pub(super) target: Option<InfoHash>,
    pub(super) probes: Vec<Probe>,
    /// Measurements to come or under way.
    pub(super) due: usize,
    pub(super) dice: Dice,
    pub(super) report: Report,
    pub(super) breaches: Breaches,
    trace: DefaultHasher,
}

/// Runs a scenario to its end.
///
/// # Panics
/// The scenario has no nodes.
#[must_use]
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    run_and_keep(scenario, seed).0
}

/// The same, and the nodes as they were at the end, to be weighed.
///
/// # Panics
/// The scenario has no nodes.
#[must_use]
pub fn run_and_keep(scenario: &Scenario, seed: u64) -> (Report, Vec<Node>) {
    assert!(0 < scenario.nodes, "somebody has to be there");
    let mut world = World::new(scenario, seed);
    world.populate();
    world.plan_probes();
    world.run();
    world.finish()
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let target = scenario.sybils.as_ref().map(|_| {
            let mut bytes = [0; 20];
            bytes.iter_mut().for_each(|byte| *byte = dice.roll() as u8);
            InfoHash::from(bytes)
        });
        Self {
            scenario,
            start: Instant::now(),
            now: 0,
            calendar: BinaryHeap::new(),
            entries: 0,
            internet: Internet::new(),
            hosts: Vec::new(),
            online: Vec::new(),
            gang: scenario
                .sybils
                .as_ref()
                .zip(target)
                .map(|(spec, target)| Gang::new(spec, target, &mut dice)),
            flood: scenario.flood.map(|_| Flood::new(&mut dice)),
            target,
            probes: Vec::new(),
            due: 0,
            dice,
            report: Report { seed, ..Report::default() },
            breaches: Breaches::default(),
            trace: DefaultHasher::new(),
        }
    }

    fn populate(&mut self) {
        let over = micros(self.scenario.join_over);
        let routers = ROUTERS.min(self.scenario.nodes);
        for _ in 0..routers {
            let everywhere = [self.scenario.families != Families::V6, self.scenario.families != Families::V4];
            let router = self.add(everywhere);
            self.hosts[router].nat = None;
        }
        for router in 0..routers {
            self.drain(router);
        }
        for _ in routers..self.scenario.nodes {
            let at = self.dice.below(over);
            self.at(at, Event::Join);
        }
        let gang = self.gang.iter().flat_map(|gang| &gang.sybils).map(|sybil| sybil.addr);
        let sybils: Vec<SocketAddr> = gang.collect();
        for (at, addr) in sybils.into_iter().enumerate() {
            self.internet.settle(addr, Place::Sybil(at));
            let first = self.dice.below(over);
            self.at(first, Event::SybilAsks(at));
        }
        self.at(LOOKS.0, Event::Look);
        if self.flood.is_some() {
            let begins = micros(self.scenario.join_over + self.scenario.settle);
            self.at(begins, Event::Weigh);
            self.at(begins, Event::Flood);
        }
    }

    fn run(&mut self) {
        let scenario = self.scenario;
        let all = scenario.join_over + scenario.settle + scenario.announce_over + scenario.find_after.1 + END;
        let end = micros(all);
        while let Some(Reverse(entry)) = self.calendar.pop() {
            if self.due == 0 && self.flood_ends() < entry.at {
                return;
            }
            if end < entry.at {
                let due = self.due;
                return self.breaches.add(|| format!("{due} measurements do not end"));
            }
            self.now = entry.at;
            self.report.events += 1;
            self.happen(entry.event);
        }
    }

    pub(super) fn at(&mut self, at: Time, event: Event) {
        self.entries += 1;
        self.calendar.push(Reverse(Entry { at, number: self.entries, event }));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join => {
                let has = match (self.scenario.families, self.dice.below(3)) {
                    (Families::V4, _) | (Families::Mixed, 0) => [true, false],
                    (Families::V6, _) | (Families::Mixed, 1) => [false, true],
                    (Families::Mixed, _) => [true, true],
                };
                self.join_with(has);
            }
            Event::Leave(host) => self.leave(host),
            Event::Wake(host) => self.wake(host),
            Event::Contacts(host, family) => self.contacts(host, family),
            Event::Arrives { from, to, bytes } => self.arrives(from, to, bytes),
            Event::SybilAsks(sybil) => self.sybil_asks(sybil),
            Event::Look => self.look_around(),
            Event::Flood => self.pour(),
            Event::Weigh => self.weigh(),
            Event::Announce => self.announce(),
            Event::Find { announce, seeker } => self.find(announce, seeker),
            Event::Impatient(host) => self.impatient(host),
        }
    }

    /// A node with these families comes online; its number.
    pub(super) fn join_with(&mut self, has: [bool; 2]) -> usize {
        let host = self.add(has);
        if self.dice.below(1_000) < self.scenario.nat {
            self.hosts[host].nat = Some(Nat::default());
        }
        if let Some(mean) = self.scenario.session {
            let chance = (self.dice.below(1 << 32) + 1) as f64 / f64::from(u32::MAX);
            let stays = mean.mul_f64(-chance.min(1.0).ln());
            self.at(self.now + micros(stays), Event::Leave(host));
        }
        self.drain(host);
        host
    }

    fn add(&mut self, has: [bool; 2]) -> usize {
        let number = self.hosts.len();
        let mut addrs = [None; 2];
        if has[0] {
            addrs[0] = Some(self.internet.v4(&mut self.dice));
        }
        if has[1] {
            addrs[1] = Some(self.internet.v6(&mut self.dice));
        }
        let distance = distance(&mut self.dice);
        let times = (self.now, self.instant());
        let mut host = Host::new(addrs, distance, &self.scenario.options, &mut self.dice, times);
        host.online_at = self.online.len();
        // The attacker keeps the accounts of the node that is flooded.
        let watched = number.is_multiple_of(self.scenario.watch_every) && self.victim() != Some(number);
        host.ledger = watched.then(Ledger::default);
        self.online.push(number);
        for addr in addrs.into_iter().flatten() {
            self.internet.settle(addr, Place::Host(number));
        }
        self.hosts.push(host);
        number
    }

    fn leave(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.node = None;
        host.nat = None;
        host.ledger = None;
        let open = host.lookups.len() + usize::from(host.then.take().is_some());
        host.lookups.clear();
        let (at, addrs) = (host.online_at, host.addrs);
        for addr in addrs.into_iter().flatten() {
            self.internet.leave(addr);
        }
        self.online.swap_remove(at);
        if let Some(moved) = self.online.get(at) {
            self.hosts[*moved].online_at = at;
        }
        (0..open).for_each(|_| self.abandon());
        if self.online.len() < self.scenario.nodes {
            let at = self.now + self.dice.below(VACANCY);
            self.at(at, Event::Join);
        }
    }

    fn wake(&mut self, host: usize) {
        let (now, instant) = (self.now, self.instant());
        let state = &mut self.hosts[host];
        if state.wakes != Some(now) {
            return;
        }
        state.wakes = None;
        let Some(node) = &state.node else { return };
        if node.poll_timeout().is_some_and(|at| at <= instant) {
            if !state.wake(now) {
                return self.breaches.add(|| format!("node {host} wants to be woken again and again"));
            }
            return self.input(host, Input::Timeout);
        }
        self.set_alarm(host);
    }

    fn contacts(&mut self, host: usize, family: Family) {
        let routers = 0..ROUTERS.min(self.scenario.nodes);
        // Routers are each other's saved nodes; a router of one's own would not be kept.
        let kind = if routers.contains(&host) { ContactKind::Saved } else { ContactKind::Router };
        let others = routers.filter(|router| *router != host);
        let addrs = others.filter_map(|router| self.hosts[router].addr(family)).collect();
        self.input(host, Input::Contacts { addrs, kind });
    }

    fn arrives(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        match self.internet.at(to) {
            Some(Place::Host(number)) => {
                let host = &mut self.hosts[number];
                if host.nat.as_ref().is_some_and(|nat| !nat.lets_in(from, self.now)) {
                    self.report.undelivered += 1;
                    return;
                }
                if let Some(ledger) = &mut host.ledger {
                    ledger.received(from, &bytes);
                }
                if self.victim() == Some(number) {
                    let is_query = krpc::head(&bytes).is_some_and(|head| head.kind == b'q');
                    self.report.flood.honest_queries += u64::from(is_query && self.pouring());
                }
                self.input(number, Input::Datagram { from, bytes });
            }
            Some(Place::Sybil(sybil)) => {
                let Some(gang) = &self.gang else { return };
                if let Some(answer) = gang.answer(sybil, from, &bytes, &mut self.dice) {
                    self.transmit(to, from, gang_distance(&self.gang, sybil), answer);
                }
            }
            None => self.report.undelivered += 1,
        }
    }

    fn sybil_asks(&mut self, sybil: usize) {
        let victim = self.online[self.dice.below(self.online.len() as u64) as usize];
        let (Some(gang), Some(to)) = (&self.gang, self.hosts[victim].addr(Family::V4)) else { return };
        let (from, bytes) = (gang.sybils[sybil].addr, gang.greeting(sybil, &mut self.dice));
        self.transmit(from, to, gang_distance(&self.gang, sybil), bytes);
        let pause = SYBIL_PAUSE / 2 + self.dice.below(SYBIL_PAUSE);
        self.at(self.now + pause, Event::SybilAsks(sybil));
    }

    fn look_around(&mut self) {
        for _ in 0..LOOKS.1 {
            let host = self.online[self.dice.below(self.online.len() as u64) as usize];
            self.check_bounds(host);
        }
        self.at(self.now + LOOKS.0, Event::Look);
    }

    fn check_bounds(&mut self, host: usize) {
        let (options, now) = (&self.scenario.options, self.instant());
        let node = self.hosts[host].node.as_ref();
        if let Some(breach) = node.and_then(|node| watch::bounds(node, options, now)) {
            self.breaches.add(|| format!("node {host}: {breach}"));
        }
    }

    /// The node that the flood is for.
    pub(super) fn victim(&self) -> Option<usize> {
        self.flood.as_ref().map(|_| ROUTERS)
    }

    /// A millisecond's worth of hostile packets.
    fn pour(&mut self) {
        let (Some(spec), Some(victim)) = (self.scenario.flood, self.victim()) else { return };
        if !self.pouring() {
            return;
        }
        for _ in 0..spec.per_second / 1_000 {
            let honest = self.dice.below(self.hosts.len() as u64) as usize;
            let (Some(flood), Some(addr)) = (&mut self.flood, self.hosts[honest].addr(Family::V4)) else {
                continue;
            };
            let (from, bytes) = flood.packet(addr, &mut self.dice);
            self.input(victim, Input::Datagram { from, bytes });
        }
        self.at(self.now + FLOOD_STEP, Event::Flood);
    }

    /// The flood is going on.
    fn pouring(&self) -> bool {
        let begins = self.scenario.join_over + self.scenario.settle;
        (micros(begins)..self.flood_ends()).contains(&self.now)
    }

    /// 0 when there is none.
    fn flood_ends(&self) -> Time {
        let begins = self.scenario.join_over + self.scenario.settle;
        self.scenario.flood.map_or(0, |flood| micros(begins + flood.lasts))
    }

    fn weigh(&mut self) {
        let now = self.instant();
        let node = self.victim().and_then(|victim| self.hosts[victim].node.as_ref());
        let Some(status) = node.map(|node| node.status(now)) else { return };
        self.report.flood.sizes.push(Sizes {
            torrents: status.torrents,
            peers: status.peers,
            items: status.items,
            queries_open: status.queries_open,
            memory: watch::anonymous_memory(),
        });
        self.at(self.now + 1_000_000, Event::Weigh);
    }

    /// The flooded node sends to the attacker.
    fn attacker_hears(&mut self, host: usize, to: SocketAddr, from: SocketAddr, bytes: &Bytes) {
        let Some(flood) = &mut self.flood else { return };
        match flood.heard(to, bytes, &mut self.dice) {
            Heard::Reply(bytes) => {
                let at = self.now + latency(FLOOD_DISTANCE, self.hosts[host].distance, &mut self.dice);
                self.at(at, Event::Arrives { from: to, to: from, bytes });
            }
            Heard::Nothing => {}
            Heard::TooMuch(bytes) => self
                .breaches
                .add(|| format!("{to}, who perhaps never sent anything, gets {bytes} bytes more than came")),
        }
    }

    /// A node that is in place and, if that is asked for, in a network of these addresses, but not at them.
    pub(super) fn pick(&mut self, near: Option<&[Option<SocketAddr>; 2]>) -> Option<usize> {
        for _ in 0..1_000 {
            let number = self.online[self.dice.below(self.online.len() as u64) as usize];
            let host = &self.hosts[number];
            let elsewhere =
                |addr: &SocketAddr| near.into_iter().flatten().flatten().all(|other| other.ip() != addr.ip());
            if host.is_ready()
                && near.is_none_or(|addrs| host.can_meet(addrs))
                && host.addrs.iter().flatten().all(elsewhere)
            {
                return Some(number);
            }
        }
        None
    }

    /// Hands an input to a node and does what it wants done.
    pub(super) fn input(&mut self, host: usize, input: Input) {
        let now = self.instant();
        let Some(node) = &mut self.hosts[host].node else { return };
        node.handle(input, now);
        self.drain(host);
    }

    fn drain(&mut self, host: usize) {
        while let Some(output) = self.hosts[host].node.as_mut().and_then(|node| node.poll_output()) {
            self.output(host, output);
        }
        self.set_alarm(host);
    }

    fn set_alarm(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(at) = host.node.as_ref().and_then(|node| node.poll_timeout()) else { return };
        // Rounded up, so that the time has come when the alarm goes off.
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        let at = u64::try_from(nanos.div_ceil(1_000)).unwrap_or(Time::MAX).max(self.now);
        if host.wakes.is_none_or(|wakes| at < wakes) {
            host.wakes = Some(at);
            self.at(at, Event::Wake(number));
        }
    }

    fn output(&mut self, host: usize, output: Output) {
        match output {
            Output::Send { to, bytes } => self.send(host, to, bytes),
            Output::Peers { lookup, peers } => self.peers_found(host, lookup, &peers),
            Output::Finished { lookup, outcome } => self.finished(host, lookup, &outcome),
            Output::WantContacts { family } => self.at(self.now + RESOLVING, Event::Contacts(host, family)),
            Output::Event(NodeEvent::Bootstrapped { family, .. }) => {
                let was_ready = self.hosts[host].is_ready();
                self.hosts[host].settle(family);
                if !was_ready && self.hosts[host].is_ready() {
                    self.in_place(host);
                }
            }
            Output::Event(_) | Output::Item { .. } | Output::Samples { .. } => {}
        }
    }

    fn send(&mut self, number: usize, to: SocketAddr, bytes: Bytes) {
        self.report.datagrams += 1;
        self.report.bytes += bytes.len() as u64;
        if DATAGRAM_MAX < bytes.len() {
            self.breaches.add(|| format!("node {number} sends a datagram of {} bytes", bytes.len()));
        }
        let Some(head) = krpc::head(&bytes) else {
            return self.breaches.add(|| format!("node {number} sends what is no message"));
        };
        let Some(from) = self.hosts[number].addr(Family::of(to)) else {
            return self.breaches.add(|| format!("node {number} sends to {to} in a network it is not in"));
        };
        if !self.hosts[number].lookups.is_empty() {
            self.probes_see(number, &head, &bytes);
        }
        let now = self.now;
        let host = &mut self.hosts[number];
        if let Some(nat) = &mut host.nat {
            nat.sent(to, now);
        }
        if let Some(Err(credit)) = host.ledger.as_mut().map(|ledger| ledger.sent(to, &head, &bytes)) {
            self.breaches.add(|| format!("node {number} answers {to}, who proved nothing: {credit} bytes"));
        }
        let distance = host.distance;
        if self.victim() == Some(number) {
            if Flood::owns(to) {
                return self.attacker_hears(number, to, from, &bytes);
            }
            self.report.flood.honest_answers += u64::from(head.kind != b'q' && self.pouring());
        }
        self.transmit(from, to, distance, bytes);
    }

    /// A datagram sets out.
    fn transmit(&mut self, from: SocketAddr, to: SocketAddr, sender: Time, bytes: Bytes) {
        self.trace.write_u64(self.now);
        self.trace.write_u16(from.port());
        self.trace.write(&bytes);
        let lost = self.dice.below(1_000) < self.scenario.loss;
        let receiver = match self.internet.at(to) {
            Some(Place::Host(host)) => self.hosts[host].distance,
            Some(Place::Sybil(sybil)) => gang_distance(&self.gang, sybil),
            None => Time::MAX,
        };
        if lost || receiver == Time::MAX {
            self.report.undelivered += 1;
            return;
        }
        let at = self.now + latency(sender, receiver, &mut self.dice);
        self.at(at, Event::Arrives { from, to, bytes });
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn finish(mut self) -> (Report, Vec<Node>) {
        let now = self.instant();
        for host in 0..self.hosts.len() {
            self.check_bounds(host);
        }
        let online = self.online.iter().map(|host| &self.hosts[*host]);
        self.report.in_place = online.clone().filter(|host| host.is_ready()).count();
        self.report.misfits = online.clone().filter(|host| host.is_misfit()).count();
        let good = |node: &Node| node.status(now).families.iter().map(|family| family.good as u64).sum();
        self.report.table = online.filter_map(|host| host.node.as_deref()).map(good).collect();
        self.report.table.sort_unstable();
        self.report.time_to_place.sort_unstable();
        self.report.stored.sort_unstable();
        self.report.old.sort();
        self.report.fresh.sort();
        self.report.online = self.online.len();
        self.report.joined = self.hosts.len();
        self.report.lasted = Duration::from_micros(self.now);
        if let Some(flood) = &self.flood {
            self.report.flood.packets = flood.packets;
            self.report.flood.answers = flood.answers;
        }
        self.report.breaches = self.breaches.0;
        self.report.trace = self.trace.finish();
        let nodes = self.hosts.into_iter().filter_map(|host| host.node.map(|node| *node)).collect();
        (self.report, nodes)
    }
}

fn gang_distance(gang: &Option<Gang>, sybil: usize) -> Time {
    gang.as_ref().map_or(0, |gang| gang.sybils[sybil].distance)
}
