//! A network of nodes with latency, loss and NAT, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::input::{ContactKind, Input, Lookup};
use crate::node::Node;
use crate::options::Options;
use crate::output::{Family, Outcome, Output};
use crate::random::Random;
use crate::state::State;
use crate::status::NodeStatus;

/// Who answers datagrams in place of a node.
pub(super) type Stranger = Box<dyn FnMut(SocketAddr, SocketAddr, &[u8]) -> Option<Vec<u8>>>;

struct Member {
    node: Node,
    addr: SocketAddr,
    alive: bool,
    plugged: bool,
    /// Behind a NAT only those are heard that were spoken to.
    natted: bool,
    spoken_to: BTreeSet<SocketAddr>,
    told: Vec<Output>,
    timer: Option<Instant>,
}

enum Happening {
    Arrives { to: SocketAddr, from: SocketAddr, bytes: Bytes },
    Timer(usize),
}

pub(super) struct World {
    now: Instant,
    random: Random,
    members: Vec<Member>,
    by_addr: BTreeMap<SocketAddr, usize>,
    pub(super) strangers: BTreeMap<SocketAddr, usize>,
    pub(super) stranger: Option<Stranger>,
    happenings: BTreeMap<(Instant, u64), Happening>,
    count: u64,
    pub(super) loss_percent: usize,
    pub(super) nat_percent: usize,
}

/// What a node that cannot be resolved otherwise is asked for.
const ROUTER: usize = 0;

impl World {
    pub(super) fn new(seed: u8) -> Self {
        Self {
            now: Instant::now(),
            random: Random::new([seed; 32]),
            members: Vec::new(),
            by_addr: BTreeMap::new(),
            strangers: BTreeMap::new(),
            stranger: None,
            happenings: BTreeMap::new(),
            count: 0,
            loss_percent: 0,
            nat_percent: 0,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn node(&self, at: usize) -> &Node {
        &self.members[at].node
    }

    pub(super) fn node_mut(&mut self, at: usize) -> &mut Node {
        &mut self.members[at].node
    }

    pub(super) fn addr(&self, at: usize) -> SocketAddr {
        self.members[at].addr
    }

    pub(super) fn told(&self, at: usize) -> &[Output] {
        &self.members[at].told
    }

    pub(super) fn status(&self, at: usize) -> NodeStatus {
        self.members[at].node.status(self.now)
    }

    /// An address on the public network that no node has.
    pub(super) fn fresh_addr(&mut self, family: Family) -> SocketAddr {
        let port = 1_024 + self.random.below(60_000) as u16;
        loop {
            let ip = match family {
                Family::V4 => Ipv4Addr::from(0x0b00_0000 | (self.random.u32() & 0x7fff_ffff)).into(),
                Family::V6 => {
                    let low = u128::from(self.random.u64() & 0x0000_ffff_ffff_ffff) << 64;
                    Ipv6Addr::from(0x2001_u128 << 112 | low | 1).into()
                }
            };
            let addr = SocketAddr::new(ip, port);
            if !crate::id::is_local(ip)
                && crate::id::is_node_address(addr)
                && !self.by_addr.contains_key(&addr)
            {
                return addr;
            }
        }
    }

    /// Nodes that come in one after the other and know the first one as a router.
    pub(super) fn grow(&mut self, count: usize, family: Family) {
        for _ in 0..count {
            self.add_one(family);
            self.run(Duration::from_millis(200));
        }
    }

    pub(super) fn add_one(&mut self, family: Family) -> usize {
        let addr = self.fresh_addr(family);
        self.add_at(addr)
    }

    /// A node at this address, which knows the first one as a router.
    pub(super) fn add_at(&mut self, addr: SocketAddr) -> usize {
        let at = self.add(addr, None);
        if at != ROUTER {
            let addrs = vec![self.members[ROUTER].addr];
            let natted = self.random.below(100) < self.nat_percent;
            self.members[at].natted = natted;
            self.input(at, Input::Contacts { addrs, kind: ContactKind::Router });
        }
        at
    }

    pub(super) fn add_alone(&mut self, family: Family) -> usize {
        let addr = self.fresh_addr(family);
        self.add(addr, None)
    }

    fn add(&mut self, addr: SocketAddr, state: Option<State>) -> usize {
        let options = Options { ipv4: addr.is_ipv4(), ipv6: addr.is_ipv6(), ..Options::default() };
        let node = Node::new(options, state, self.random.bytes(), self.now);
        let at = self.members.len();
        self.by_addr.insert(addr, at);
        self.members.push(Member {
            node,
            addr,
            alive: true,
            plugged: true,
            natted: false,
            spoken_to: BTreeSet::new(),
            told: Vec::new(),
            timer: None,
        });
        self.drain(at);
        at
    }

    /// Another node at the same address.
    pub(super) fn restart(&mut self, at: usize, state: State) -> usize {
        self.kill(at);
        let addr = self.members[at].addr;
        self.add(addr, Some(state))
    }

    pub(super) fn kill(&mut self, at: usize) {
        self.members[at].alive = false;
    }

    pub(super) fn unplug(&mut self, at: usize) {
        self.members[at].plugged = false;
    }

    pub(super) fn plug(&mut self, at: usize) {
        self.members[at].plugged = true;
    }

    pub(super) fn input(&mut self, at: usize, input: Input) {
        let now = self.now;
        self.members[at].node.handle(input, now);
        self.drain(at);
    }

    /// Runs an operation to its end and returns what was told.
    pub(super) fn ask(&mut self, at: usize, input: impl FnOnce(Lookup) -> Input) -> (Outcome, Vec<Output>) {
        self.count += 1;
        let name = Lookup(self.count);
        let before = self.members[at].told.len();
        self.input(at, input(name));
        for _ in 0..600 {
            let outcome = self.members[at].told[before..].iter().find_map(|output| match output {
                Output::Finished { lookup, outcome } if *lookup == name => Some(*outcome),
                _ => None,
            });
            if let Some(outcome) = outcome {
                return (outcome, self.members[at].told[before..].to_vec());
            }
            self.run(Duration::from_millis(100));
        }
        panic!("the operation does not end");
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.members[at].node.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    assert!(bytes.len() <= 1_500);
                    self.carry(at, to, bytes);
                }
                other => self.members[at].told.push(other),
            }
        }
        let timer = self.members[at].node.poll_timeout();
        if self.members[at].timer != timer {
            self.members[at].timer = timer;
            if let Some(due) = timer {
                self.schedule(due.max(self.now), Happening::Timer(at));
            }
        }
    }

    fn carry(&mut self, at: usize, to: SocketAddr, bytes: Bytes) {
        let member = &mut self.members[at];
        if member.natted {
            member.spoken_to.insert(to);
        }
        let (from, plugged) = (member.addr, member.plugged);
        if plugged && self.loss_percent <= self.random.below(100) {
            let latency = Duration::from_millis(20 + self.random.below(80) as u64);
            self.schedule(self.now + latency, Happening::Arrives { to, from, bytes });
        }
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), happening);
    }

    pub(super) fn run(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(entry) = self.happenings.first_entry() {
            let (at, _) = *entry.key();
            if end < at {
                break;
            }
            self.now = at;
            match entry.remove() {
                Happening::Timer(member) => self.ring(member),
                Happening::Arrives { to, from, bytes } => self.arrive(to, from, bytes),
            }
        }
        self.now = end;
    }

    fn ring(&mut self, at: usize) {
        let member = &self.members[at];
        if member.alive && member.timer.is_some_and(|due| due <= self.now) {
            self.members[at].timer = None;
            self.input(at, Input::Timeout);
        }
    }

    fn arrive(&mut self, to: SocketAddr, from: SocketAddr, bytes: Bytes) {
        if let Some(at) = self.by_addr.get(&to).copied() {
            let member = &self.members[at];
            let heard = !member.natted || member.spoken_to.contains(&from);
            if member.alive && member.plugged && heard {
                self.input(at, Input::Datagram { from, bytes });
            }
        } else if self.strangers.contains_key(&to)
            && let Some(stranger) = &mut self.stranger
            && let Some(answer) = stranger(to, from, &bytes)
        {
            let bytes = Bytes::from(answer);
            let latency = Duration::from_millis(20 + self.random.below(80) as u64);
            self.schedule(self.now + latency, Happening::Arrives { to: from, from: to, bytes });
        }
    }
}

pub(super) fn peers_of(told: &[Output]) -> Vec<SocketAddr> {
    let peers = told.iter().flat_map(|output| match output {
        Output::Peers { peers, .. } => peers.clone(),
        _ => vec![],
    });
    peers.collect()
}
