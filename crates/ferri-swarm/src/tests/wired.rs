//! Machines wired together: what one sends the next one hears at once, dials always work, disks never fail.

use std::collections::{BTreeMap, VecDeque};

use ferri_metainfo::{Bitfield, Block};

use super::*;
use crate::metadata::MetadataSwarm;
use crate::swarm::Swarm;

/// Either machine.
pub(super) enum Machine {
    Whole(Box<Swarm>),
    Seeking(Box<MetadataSwarm>),
}

struct Node {
    machine: Option<Machine>,
    /// The other end of each connection.
    remote: BTreeMap<PeerKey, (usize, PeerKey)>,
}

/// All of them.
pub(super) struct Net {
    info: Bytes,
    nodes: Vec<Node>,
    pub(super) now: Instant,
    next_key: u64,
    queue: VecDeque<(usize, Input)>,
    /// What each said that does not concern the wires.
    pub(super) told: Vec<(usize, Output)>,
}

impl Net {
    pub(super) fn new(info: &Bytes) -> Self {
        Self {
            info: info.clone(),
            nodes: Vec::new(),
            now: Instant::now(),
            next_key: 1,
            queue: VecDeque::new(),
            told: Vec::new(),
        }
    }

    fn options(&self, change: impl FnOnce(&mut SwarmOptions)) -> SwarmOptions {
        let mut options = SwarmOptions::new(hashes_of(&self.info).wire(), peer_id(self.nodes.len()));
        options.listen_port = Some(4000);
        options.metadata = Some(self.info.clone());
        options.private = Info::parse(&self.info).unwrap().is_private();
        change(&mut options);
        options
    }

    fn add(&mut self, machine: Machine) -> usize {
        self.nodes.push(Node { machine: Some(machine), remote: BTreeMap::new() });
        self.nodes.len() - 1
    }

    pub(super) fn add_seed(&mut self, change: impl FnOnce(&mut SwarmOptions)) -> usize {
        let layout = Info::parse(&self.info).unwrap().layout().clone();
        let have = Bitfield::full(layout.piece_count());
        let swarm = Swarm::new(self.options(change), layout, have, 1, self.now);
        self.add(Machine::Whole(Box::new(swarm)))
    }

    pub(super) fn add_leech(&mut self, change: impl FnOnce(&mut SwarmOptions)) -> usize {
        let layout = Info::parse(&self.info).unwrap().layout().clone();
        let have = Bitfield::new(layout.piece_count());
        let swarm = Swarm::new(self.options(change), layout, have, 2, self.now);
        self.add(Machine::Whole(Box::new(swarm)))
    }

    pub(super) fn add_seeker(&mut self) -> usize {
        let wanted = hashes_of(&self.info);
        let machine = MetadataSwarm::new(
            self.options(|options| (options.metadata, options.private) = (None, false)),
            wanted,
            3,
            self.now,
        );
        self.add(Machine::Seeking(Box::new(machine)))
    }

    /// The dictionary is there: the other machine goes on.
    pub(super) fn hand_over(&mut self, node: usize) {
        let Some(Machine::Seeking(seeking)) = self.nodes[node].machine.take() else { panic!() };
        let info = Info::parse(&self.info).unwrap();
        let hand_over = seeking.hand_over(&info);
        let mut options = self.options(|_| {});
        options.peer_id = peer_id(node);
        let have = Bitfield::new(info.layout().piece_count());
        let swarm = Swarm::new(options, info.layout().clone(), have, 4, self.now);
        self.nodes[node].machine = Some(Machine::Whole(Box::new(swarm)));
        for (peer, reason) in hand_over.disconnects {
            self.carry_out(node, Output::Disconnect { peer, reason });
        }
        // What others said meanwhile comes after what it is told first.
        let waiting = std::mem::take(&mut self.queue);
        self.queue.extend(hand_over.inputs.into_iter().map(|input| (node, input)));
        self.queue.extend(waiting);
    }

    pub(super) fn swarm(&self, node: usize) -> &Swarm {
        let Some(Machine::Whole(swarm)) = &self.nodes[node].machine else { panic!() };
        swarm
    }

    pub(super) fn seeking(&self, node: usize) -> &MetadataSwarm {
        let Some(Machine::Seeking(machine)) = &self.nodes[node].machine else { panic!() };
        machine
    }

    /// Tells a node of others.
    pub(super) fn finds(&mut self, node: usize, source: Source, others: &[usize]) {
        let addrs = others.iter().map(|other| addr(*other)).collect();
        self.queue.push_back((node, Input::PeersFound { source, addrs }));
    }

    /// Lets it go on for so long, or until `done`. Whether it was.
    pub(super) fn run(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + time;
        loop {
            while let Some((node, input)) = self.queue.pop_front() {
                self.handle(node, input);
                if done(self) {
                    return true;
                }
            }
            let timeout = |node: &Node| match node.machine.as_ref()? {
                Machine::Whole(swarm) => swarm.poll_timeout(),
                Machine::Seeking(machine) => machine.poll_timeout(),
            };
            let next =
                (0..self.nodes.len()).filter_map(|node| Some((timeout(&self.nodes[node])?, node))).min();
            match next {
                Some((at, node)) if at <= until => {
                    self.now = self.now.max(at);
                    self.queue.push_back((node, Input::Timeout));
                }
                _ => {
                    self.now = until;
                    return done(self);
                }
            }
        }
    }

    fn handle(&mut self, node: usize, input: Input) {
        let now = self.now;
        let outputs: Vec<Output> = match self.nodes[node].machine.as_mut().unwrap() {
            Machine::Whole(swarm) => {
                swarm.handle(input, now);
                std::iter::from_fn(|| swarm.poll_output()).collect()
            }
            Machine::Seeking(machine) => {
                machine.handle(input, now);
                std::iter::from_fn(|| machine.poll_output()).collect()
            }
        };
        outputs.into_iter().for_each(|output| self.carry_out(node, output));
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Connect { addr: to } => self.connect(node, to),
            Output::Send { peer, message } => self.deliver(node, peer, message),
            Output::SendBlock { peer, block } => {
                self.deliver(node, peer, piece_of(block));
                let bytes = u64::from(block.length());
                self.queue.push_back((node, Input::BlocksSent { peer, blocks: 1, bytes }));
            }
            Output::Disconnect { peer, .. } => {
                if let Some((other, key)) = self.nodes[node].remote.remove(&peer) {
                    self.nodes[other].remote.remove(&key);
                    self.queue.push_back((other, Input::PeerDisconnected { peer: key }));
                }
                self.told.push((node, output));
            }
            Output::VerifyPiece { piece, .. } => {
                let verified = Input::PieceVerified { piece: piece.get(), ok: true, digests: Vec::new() };
                self.queue.push_back((node, verified));
            }
            Output::StoreBlock { .. } => {}
            other => self.told.push((node, other)),
        }
    }

    fn connect(&mut self, from: usize, to: SocketAddr) {
        let Some(other) = (0..self.nodes.len()).find(|node| addr(*node) == to) else {
            return self.queue.push_back((from, Input::ConnectFailed { addr: to }));
        };
        let keys = (PeerKey(self.next_key), PeerKey(self.next_key + 1));
        self.next_key += 2;
        self.nodes[from].remote.insert(keys.0, (other, keys.1));
        self.nodes[other].remote.insert(keys.1, (from, keys.0));
        let mut origin = addr(from);
        origin.set_port(30_000 + keys.0.0 as u16);
        for (node, peer, addr, direction, whose) in [
            (from, keys.0, to, Direction::Outgoing, other),
            (other, keys.1, origin, Direction::Incoming, from),
        ] {
            let info_hash = hashes_of(&self.info).wire();
            let handshake = Handshake { reserved: capable(), info_hash, peer_id: peer_id(whose) };
            self.queue.push_back((node, Input::PeerConnected { peer, addr, direction, handshake, crowd: 0 }));
        }
    }

    fn deliver(&mut self, node: usize, peer: PeerKey, message: Message) {
        if let Some((other, key)) = self.nodes[node].remote.get(&peer).copied() {
            self.queue.push_back((other, Input::PeerMessage { peer: key, message }));
        }
    }

    /// What a node told, as far as `of` wants it.
    pub(super) fn told<'a, T>(
        &'a self,
        node: usize,
        of: impl Fn(&'a Output) -> Option<T> + 'a,
    ) -> impl Iterator<Item = T> + 'a {
        self.told.iter().filter(move |(who, _)| *who == node).filter_map(move |(_, output)| of(output))
    }

    /// The dictionary a node found.
    pub(super) fn found(&self, node: usize) -> Option<Bytes> {
        let metadata = |output: &Output| match output {
            Output::Metadata { bytes } => Some(bytes.clone()),
            _ => None,
        };
        self.told(node, metadata).next()
    }
}

fn piece_of(block: Block) -> Message {
    static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
    let data = Bytes::from_static(&ZEROS).slice(..block.length() as usize);
    Message::Piece { piece: block.piece().get(), begin: block.begin(), data }
}
