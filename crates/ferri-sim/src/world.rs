//! The network, the clock and the tracker: events in order of time, each handed to the one machine it concerns.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_metainfo::{Block, Layout};
use ferri_swarm::{Direction, Input, Output, PeerKey, Source, SwarmEvent};
use ferri_wire::{Message, Reserved};

use crate::node::{Node, PORT, Remote, content, is_genuine};
use crate::report::Report;
use crate::scenario::{Dice, Kind, Scenario};
use crate::watch::Watch;

/// Addresses in one answer of the tracker.
const TRACKER_PEERS: u64 = 50;
/// How long the tracker takes.
const TRACKER: Duration = Duration::from_millis(100);
/// How long it takes to find out that no peer is there.
const CONNECT_FAILS: Duration = Duration::from_secs(1);
/// A simulation that goes on after so many events runs in a circle.
const EVENTS_MAX: u64 = 50_000_000;

/// Something that will happen.
#[derive(Debug, PartialEq)]
enum Event {
    Join(usize),
    Quit(usize),
    Wake(usize),
    Tracker(usize),
    Dialled { from: usize, to: SocketAddr },
    Breaks { node: usize, key: PeerKey },
    Arrives { node: usize, key: PeerKey, message: Message },
    Sent { node: usize, key: PeerKey, block: Block },
    Checked { node: usize, piece: u32 },
    Closed { node: usize, key: PeerKey },
}

struct World {
    scenario: Scenario,
    layout: Layout,
    /// Blocks of the torrent.
    blocks: u64,
    nodes: Vec<Option<Node>>,
    /// Reports of nodes that left.
    gone: Vec<Option<crate::report::NodeReport>>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    /// What happens at each entry of `queue`, by its number.
    events: VecDeque<Option<Event>>,
    first_event: u64,
    now: Instant,
    start: Instant,
    dice: Dice,
    next_key: u64,
    watch: Watch,
    report: Report,
    seed: u64,
}

/// Runs a scenario to its end.
///
/// # Panics
/// The scenario has no bytes, or pieces of a length that no torrent has.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    let layout = Layout::single(scenario.piece_length, scenario.total).expect("a scenario is a torrent");
    let start = Instant::now();
    let count = scenario.nodes.len();
    let mut world = World {
        blocks: layout.pieces().map(|piece| u64::from(layout.block_count(piece))).sum(),
        layout,
        nodes: (0..count).map(|_| None).collect(),
        gone: vec![None; count],
        queue: BinaryHeap::new(),
        events: VecDeque::new(),
        first_event: 0,
        now: start,
        start,
        dice: Dice::new(seed),
        next_key: 1,
        watch: Watch::new(scenario),
        report: Report { seed, ..Report::default() },
        seed,
        scenario: scenario.clone(),
    };
    for node in 0..count {
        world.at(start + scenario.nodes[node].joins, Event::Join(node));
    }
    world.run();
    world.finish()
}

impl World {
    fn run(&mut self) {
        let end = self.start + self.scenario.limit;
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if end < at || self.scenario.stop_when_done && self.is_done() {
                return;
            }
            self.now = at;
            self.report.events += 1;
            if EVENTS_MAX < self.report.events {
                self.watch.breach("runs in a circle".to_owned());
                return;
            }
            let event = self.events[(number - self.first_event) as usize].take();
            while self.events.front().is_some_and(Option::is_none) {
                self.events.pop_front();
                self.first_event += 1;
            }
            if let Some(event) = event {
                self.happen(event);
            }
        }
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.queue.push(Reverse((at, self.first_event + self.events.len() as u64)));
        self.events.push_back(Some(event));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join(node) => self.join(node),
            Event::Quit(node) => self.quit(node),
            Event::Wake(node) => {
                if let Some(state) = &mut self.nodes[node] {
                    state.wakes = None;
                }
                self.input(node, Input::Timeout);
            }
            Event::Tracker(node) => self.tracker_answers(node),
            Event::Dialled { from, to } => self.dialled(from, to),
            Event::Breaks { node, key } => {
                if let Some(remote) = self.unlink(node, key) {
                    self.input(node, Input::PeerDisconnected { peer: key });
                    self.input(remote.node, Input::PeerDisconnected { peer: remote.key });
                }
            }
            Event::Closed { node, key } => {
                if let Some(state) = &mut self.nodes[node] {
                    state.drop_connection(key);
                }
                self.input(node, Input::PeerDisconnected { peer: key });
            }
            Event::Arrives { node, key, message } => self.arrives(node, key, message),
            Event::Sent { node, key, block } => self.sent(node, key, block),
            Event::Checked { node, piece } => self.checked(node, piece),
        }
    }

    fn join(&mut self, node: usize) {
        let spec = self.scenario.nodes[node].clone();
        if let Some(quits) = spec.quits {
            self.at(self.start + quits, Event::Quit(node));
        }
        let count = self.nodes.len();
        self.nodes[node] = Some(Node::new(node, spec, count, &self.layout, self.seed, self.now));
        self.input(node, Input::ExternalAddress { ip: addr_of(node).ip() });
        self.at(self.now + TRACKER, Event::Tracker(node));
    }

    fn quit(&mut self, node: usize) {
        let keys: Vec<PeerKey> =
            self.nodes[node].iter().flat_map(|state| state.connections.keys().copied()).collect();
        for key in keys {
            if let Some(remote) = self.unlink(node, key) {
                self.input(remote.node, Input::PeerDisconnected { peer: remote.key });
            }
        }
        if let Some(state) = self.nodes[node].take() {
            self.gone[node] = Some(self.watch.report_of(&state));
        }
    }

    fn tracker_answers(&mut self, node: usize) {
        let mut others: Vec<usize> =
            (0..self.nodes.len()).filter(|n| *n != node && self.nodes[*n].is_some()).collect();
        for at in (1..others.len()).rev() {
            others.swap(at, self.dice.below(at as u64 + 1) as usize);
        }
        let addrs = others.into_iter().take(TRACKER_PEERS as usize).map(addr_of).collect();
        self.input(node, Input::PeersFound { source: Source::Tracker, addrs });
    }

    fn dialled(&mut self, from: usize, addr: SocketAddr) {
        let to = node_at(addr).filter(|to| *to < self.nodes.len() && *to != from);
        let (Some(to), Some(a)) = (to, &self.nodes[from]) else {
            return self.input(from, Input::ConnectFailed { addr });
        };
        let Some(b) = &self.nodes[to] else { return self.input(from, Input::ConnectFailed { addr }) };
        let keys = (PeerKey(self.next_key), PeerKey(self.next_key + 1));
        self.next_key += 2;
        let (mut ours, mut theirs) = (a.handshake(from), b.handshake(to));
        if !a.spec.fast || !b.spec.fast {
            // A peer that does not speak BEP 6 does not see that the other does.
            (ours.reserved, theirs.reserved) =
                (Reserved::NONE.with_extensions(), Reserved::NONE.with_extensions());
        }
        self.link(from, keys.0, Remote { node: to, key: keys.1 });
        self.link(to, keys.1, Remote { node: from, key: keys.0 });
        if let Some(life) = self.scenario.connection_life {
            let at = self.now + life.mul_f64(self.dice.below(2000) as f64 / 1000.0);
            self.at(at, Event::Breaks { node: from, key: keys.0 });
        }
        let mut incoming = addr_of(from);
        incoming.set_port(40_000);
        self.input(
            from,
            Input::PeerConnected {
                peer: keys.0,
                addr,
                direction: Direction::Outgoing,
                handshake: theirs,
                crowd: 0,
            },
        );
        self.input(
            to,
            Input::PeerConnected {
                peer: keys.1,
                addr: incoming,
                direction: Direction::Incoming,
                handshake: ours,
                crowd: 0,
            },
        );
    }

    fn link(&mut self, node: usize, key: PeerKey, remote: Remote) {
        if let Some(state) = &mut self.nodes[node] {
            state.connections.insert(key, remote);
            state.sending.insert(key, VecDeque::new());
        }
    }

    /// Takes a connection down on both sides; who was at the other end.
    fn unlink(&mut self, node: usize, key: PeerKey) -> Option<Remote> {
        let remote = *self.nodes[node].as_ref()?.connections.get(&key)?;
        self.nodes[node].as_mut()?.drop_connection(key);
        if let Some(other) = &mut self.nodes[remote.node] {
            other.drop_connection(remote.key);
        }
        Some(remote)
    }

    fn arrives(&mut self, node: usize, key: PeerKey, message: Message) {
        let Some(state) = &mut self.nodes[node] else { return };
        if !state.connections.contains_key(&key) {
            return;
        }
        self.watch.incoming(state, &self.layout, key, &message);
        self.report.blocks += u64::from(matches!(message, Message::Piece { .. }));
        self.input(node, Input::PeerMessage { peer: key, message });
    }

    /// The last byte of a block left a node.
    fn sent(&mut self, node: usize, key: PeerKey, block: Block) {
        let Some(state) = &mut self.nodes[node] else { return };
        state.link_busy = false;
        let Some(remote) = state.connections.get(&key).copied() else { return self.start_sending(node) };
        if is_withheld(&state.spec, &self.layout, block) {
            self.input(node, Input::BlocksSent { peer: key, blocks: 1, bytes: 0 });
            return self.start_sending(node);
        }
        if state.spec.unreadable != 0 && self.dice.below(1000) < u64::from(state.spec.unreadable) {
            let (piece, begin, length) = (block.piece().get(), block.begin(), block.length());
            self.input(node, Input::BlockUnreadable { peer: key, piece, begin, length });
            return self.start_sending(node);
        }
        state.report.sent_to[remote.node] += u64::from(block.length());
        if !state.sent.insert(block) {
            state.report.sent_again += u64::from(block.length());
        } else if state.sent.len() as u64 == self.blocks {
            state.report.sent_all = Some(self.now - self.start);
        }
        let genuine = match state.spec.kind {
            Kind::Liar { permille } => u64::from(permille) <= self.dice.below(1000),
            Kind::Honest | Kind::Staller | Kind::HalfPiece => true,
        };
        let message = Message::Piece {
            piece: block.piece().get(),
            begin: block.begin(),
            data: content(genuine, block.length()),
        };
        self.transmit(node, remote, message);
        self.input(node, Input::BlocksSent { peer: key, blocks: 1, bytes: u64::from(block.length()) });
        self.start_sending(node);
    }

    /// Lets the link carry the next block, if it is free and there is one.
    fn start_sending(&mut self, node: usize) {
        let Some(state) = &mut self.nodes[node] else { return };
        if state.link_busy || state.spec.kind == Kind::Staller {
            return;
        }
        let Some((key, block)) = state.next_block() else { return };
        state.link_busy = true;
        let takes = match is_withheld(&state.spec, &self.layout, block) {
            true => Duration::ZERO,
            false => Duration::from_micros(u64::from(block.length()) * 1_000_000 / state.spec.up),
        };
        self.at(self.now + takes, Event::Sent { node, key, block });
    }

    /// A message leaves for the other end of a connection. Messages of one connection stay in order.
    fn transmit(&mut self, from: usize, to: Remote, message: Message) {
        let latency = self.scenario.nodes[from].latency + self.scenario.nodes[to.node].latency;
        let mut at = self.now + latency;
        let Some(state) = &mut self.nodes[to.node] else { return };
        if let Message::Piece { data, .. } = &message {
            at = at.max(state.down_free)
                + Duration::from_micros(data.len() as u64 * 1_000_000 / state.spec.down);
            state.down_free = at;
        }
        at = self.watch.in_order(to.key, at);
        self.at(at, Event::Arrives { node: to.node, key: to.key, message });
    }

    fn checked(&mut self, node: usize, piece: u32) {
        let Some(state) = &mut self.nodes[node] else { return };
        let blocks = state.stored.remove(&piece).unwrap_or_default();
        let ok = blocks.values().all(|genuine| *genuine);
        if ok {
            state.verified.set(piece);
        }
        let is_compared = state.compared.remove(&piece);
        let digests = match is_compared || !ok {
            true => blocks.values().map(|genuine| u64::from(*genuine)).collect(),
            false => Vec::new(),
        };
        self.input(node, Input::PieceVerified { piece, ok, digests });
    }

    /// Hands an input to a machine and does what it wants done.
    fn input(&mut self, node: usize, input: Input) {
        let now = self.now;
        let Some(state) = &mut self.nodes[node] else { return };
        state.was_end_game = state.swarm.stats().end_game;
        state.swarm.handle(input, now);
        while let Some(output) = self.nodes[node].as_mut().and_then(|state| state.swarm.poll_output()) {
            self.watch.fold(node, &output);
            self.output(node, output);
        }
        let Some(state) = &mut self.nodes[node] else { return };
        self.watch.after(node, state, &self.layout);
        if let Some(at) = state.swarm.poll_timeout()
            && state.wakes.is_none_or(|wakes| at < wakes)
        {
            state.wakes = Some(at);
            self.at(at.max(now), Event::Wake(node));
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        let now = self.now;
        let Some(state) = &mut self.nodes[node] else { return };
        match output {
            Output::Connect { addr } => {
                let to = node_at(addr).and_then(|to| self.nodes.get(to)).and_then(Option::as_ref);
                let takes =
                    to.map_or(CONNECT_FAILS, |to| (to.spec.latency + self.scenario.nodes[node].latency) * 3);
                self.at(now + takes, Event::Dialled { from: node, to: addr });
            }
            Output::Send { peer, message } => {
                self.watch.outgoing(node, state, &self.layout, peer, &message);
                if let Some(remote) = state.connections.get(&peer).copied() {
                    self.transmit(node, remote, message);
                }
            }
            Output::SendBlock { peer, block } => {
                self.watch.sends(node, state, block);
                if let Some(queue) = state.sending.get_mut(&peer) {
                    queue.push_back(block);
                }
                self.start_sending(node);
            }
            Output::Disconnect { peer, .. } => {
                if let Some(remote) = state.connections.get(&peer).copied() {
                    state.drop_connection(peer);
                    let latency =
                        self.scenario.nodes[node].latency + self.scenario.nodes[remote.node].latency;
                    let at = self.watch.in_order(remote.key, now + latency);
                    self.at(at, Event::Closed { node: remote.node, key: remote.key });
                }
            }
            Output::StoreBlock { block, data } => {
                self.watch.stores(node, state, block);
                state.stored.entry(block.piece().get()).or_default().insert(block.begin(), is_genuine(&data));
            }
            Output::VerifyPiece { piece, digests } => {
                let piece = piece.get();
                if digests {
                    state.compared.insert(piece);
                }
                self.watch.verifies(node, state, &self.layout, piece);
                self.at(now + self.scenario.verify, Event::Checked { node, piece });
            }
            Output::DiscardPiece { piece } => {
                state.stored.remove(&piece.get());
            }
            Output::WantPeers => self.at(now + TRACKER, Event::Tracker(node)),
            Output::Event(event) => self.told(node, &event),
            Output::Metadata { .. } | Output::DhtNode { .. } | Output::SeenAs { .. } => {}
        }
    }

    fn told(&mut self, node: usize, event: &SwarmEvent) {
        let Some(state) = &mut self.nodes[node] else { return };
        match event {
            SwarmEvent::Completed => state.report.completed = Some(self.now - self.start),
            SwarmEvent::Banned { addr, .. } => {
                let banned = node_at(*addr).unwrap_or(usize::MAX);
                state.report.banned.push(banned);
                if !matches!(self.scenario.nodes.get(banned).map(|n| n.kind), Some(Kind::Liar { .. })) {
                    self.watch.breach(format!("node {node} banned the honest node {banned}"));
                }
            }
            SwarmEvent::Unchoked { peer, optimistic: true } => {
                if let Some(remote) = state.connections.get(peer) {
                    state.report.optimistic[remote.node] += 1;
                }
            }
            SwarmEvent::PeerDisconnected { addr, reason, .. } => {
                let kind = node_at(*addr).and_then(|n| self.scenario.nodes.get(n)).map(|n| n.kind);
                if let ferri_swarm::DisconnectReason::Misbehavior(what) = reason
                    && kind == Some(Kind::Honest)
                {
                    self.watch.breach(format!("node {node} threw out the honest {addr}: {what}"));
                }
            }
            _ => {}
        }
    }

    /// All peers that should have everything have it.
    fn is_done(&self) -> bool {
        let owes = |n: &usize| {
            let spec = &self.scenario.nodes[*n];
            !spec.seed && spec.quits.is_none() && spec.kind == Kind::Honest
        };
        (0..self.nodes.len())
            .filter(owes)
            .all(|n| self.nodes[n].as_ref().is_some_and(|state| state.verified.is_full()))
    }

    fn finish(mut self) -> Report {
        if self.scenario.stop_when_done && !self.is_done() {
            let missing: Vec<usize> = (0..self.nodes.len())
                .filter(|n| self.nodes[*n].as_ref().is_some_and(|state| !state.verified.is_full()))
                .collect();
            self.watch.breach(format!("nodes {missing:?} are not done"));
            for node in missing {
                self.describe(node);
            }
        }
        let mut report = self.report;
        report.time = self.now - self.start;
        for (node, state) in self.nodes.iter().enumerate() {
            let of_gone = self.gone[node].take().unwrap_or_default();
            report.nodes.push(state.as_ref().map_or(of_gone, |state| self.watch.report_of(state)));
        }
        (report.breaches, report.trace) = self.watch.into_result();
        report
    }
}

impl World {
    /// Writes down what a stuck node sees.
    fn describe(&mut self, node: usize) {
        let Some(state) = &self.nodes[node] else { return };
        self.watch.breach(format!("node {node}: {:?}", state.swarm.stats()));
        for peer in state.swarm.peers() {
            let remote = state.connections.get(&peer.peer);
            let other = remote.map(|remote| remote.node);
            let back = remote.and_then(|remote| {
                self.nodes[remote.node].as_ref()?.swarm.peers().find(|status| status.peer == remote.key)
            });
            self.watch.breach(format!("  and back: {back:?}"));
            self.watch.breach(format!(
                "node {node} to {other:?}: {:?}, {} pieces, {} out, {} in, {} down, {} up",
                peer.flags, peer.pieces, peer.requests_out, peer.requests_in, peer.downloaded, peer.uploaded
            ));
        }
    }
}

/// Whether a node never sends this block.
fn is_withheld(spec: &crate::scenario::Node, layout: &Layout, block: Block) -> bool {
    spec.kind == Kind::HalfPiece && layout.piece_len(block.piece()) / 2 <= block.begin()
}

/// The address of a node: no two share a network of 16 bits, as in a swarm of strangers.
fn addr_of(node: usize) -> SocketAddr {
    let (high, low) = ((node / 200) as u8, (node % 200) as u8);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(11 + high, low, 1, 1)), PORT)
}

fn node_at(addr: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = addr.ip() else { return None };
    let [high, low, ..] = ip.octets();
    Some(usize::from(high.checked_sub(11)?) * 200 + usize::from(low))
}
