//! What a simulation is made of.

use std::time::Duration;

use crate::chance::Chance;

/// What a node is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plays by the rules.
    Honest,
    /// Sends wrong data: so many of a thousand blocks.
    Liar {
        /// 1 to 1000.
        permille: u32,
    },
    /// Announces, unchokes, and never sends a block.
    Staller,
    /// Sends the first half of each piece and keeps silent about the second.
    HalfPiece,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// How it behaves.
    pub kind: Kind,
    /// Whether it has everything from the start.
    pub seed: bool,
    /// Bytes a second it can send.
    pub up: u64,
    /// Bytes a second it can receive.
    pub down: u64,
    /// One way to the middle of the network; a message takes the sum of both ends'.
    pub latency: Duration,
    /// When it comes.
    pub joins: Duration,
    /// When it disappears.
    pub quits: Option<Duration>,
    /// Whether it speaks the fast extension.
    pub fast: bool,
    /// Whether it uploads at all.
    pub uploads: bool,
    /// Upload slots; `None` lets the swarm choose.
    pub slots: Option<usize>,
    /// Bytes its unverified pieces may occupy.
    pub memory: u64,
    /// Connections.
    pub peers_max: usize,
    /// So many of a thousand blocks its disk does not give when they are to be sent.
    pub unreadable: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            kind: Kind::Honest,
            seed: false,
            up: 1 << 20,
            down: 8 << 20,
            latency: Duration::from_millis(20),
            joins: Duration::ZERO,
            quits: None,
            fast: true,
            uploads: true,
            slots: None,
            memory: 16 << 20,
            peers_max: 50,
            unreadable: 0,
        }
    }
}

/// A torrent, the nodes, and how long to watch them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Bytes a piece.
    pub piece_length: u32,
    /// Bytes in all.
    pub total: u64,
    /// Who takes part.
    pub nodes: Vec<Node>,
    /// How long one connection lasts on average; `None` for as long as its ends want.
    pub connection_life: Option<Duration>,
    /// How long a node takes to check and write a piece.
    pub verify: Duration,
    /// When to stop at the latest.
    pub limit: Duration,
    /// Whether to stop as soon as all peers that should be done are.
    pub stop_when_done: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            piece_length: 64 << 10,
            total: 4 << 20,
            nodes: Vec::new(),
            connection_life: None,
            verify: Duration::from_millis(5),
            limit: Duration::from_secs(3600),
            stop_when_done: true,
        }
    }
}

impl Scenario {
    /// A small swarm of everything that can happen, different for each seed. One honest seed always stays, so that all
    /// can finish.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let piece_length = [16 << 10, 64 << 10, 48 << 10, 256 << 10][dice.below(4) as usize];
        let total = u64::from(piece_length) * dice.between(3, 40) + dice.below(u64::from(piece_length));
        let mut nodes = vec![Node { seed: true, ..dice.node(piece_length) }];
        nodes.extend((0..dice.below(3)).map(|_| Node { seed: true, ..dice.node(piece_length) }));
        nodes.extend((0..dice.between(1, 8)).map(|_| dice.node(piece_length)));
        for _ in 0..dice.below(3) {
            let permille = [1, 20, 200, 1000][dice.below(4) as usize];
            nodes.push(Node { seed: true, kind: Kind::Liar { permille }, ..dice.node(piece_length) });
        }
        for _ in 0..dice.below(3) {
            nodes.push(Node { seed: true, kind: Kind::Staller, ..dice.node(piece_length) });
        }
        for node in nodes.iter_mut().skip(1) {
            node.joins = Duration::from_millis(if dice.below(3) == 0 { dice.below(60_000) } else { 0 });
            if dice.below(5) == 0 {
                node.quits = Some(node.joins + Duration::from_millis(dice.between(1_000, 60_000)));
            }
        }
        let connection_life = (dice.below(3) == 0).then(|| Duration::from_secs(dice.between(5, 120)));
        let verify = Duration::from_millis(dice.below(200));
        for _ in 0..dice.below(3) {
            nodes.push(Node { seed: true, kind: Kind::HalfPiece, ..dice.node(piece_length) });
        }
        for node in &mut nodes {
            node.unreadable = [0, 0, 0, 5, 100][dice.below(5) as usize];
        }
        Self { piece_length, total, nodes, connection_life, verify, ..Self::default() }
    }
}

/// Chance for scenarios and for the network.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Chance);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0.next()
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    fn node(&mut self, piece_length: u32) -> Node {
        let up = self.between(20, 2_000) << 10;
        Node {
            up,
            down: up * self.between(1, 10),
            latency: Duration::from_millis(self.between(1, 150)),
            fast: self.below(4) != 0,
            slots: (self.below(2) == 0).then(|| self.between(1, 6) as usize),
            // Sometimes not even one piece fits.
            memory: u64::from(piece_length) * self.between(1, 12) - 1,
            peers_max: self.between(3, 30) as usize,
            ..Node::default()
        }
    }
}
