//! The promises of the machines, watched from outside: nothing announced or sent unverified, nothing asked for twice before
//! the end game, memory within its bound, blocks kept once.

use std::collections::BTreeMap;
use std::time::Instant;

use ferri_metainfo::{Bitfield, Block, Layout};
use ferri_swarm::{Output, PeerKey};
use ferri_wire::Message;

use crate::node::Node;
use crate::report::NodeReport;
use crate::scenario::Scenario;

/// Breaches that are written down; one is enough to fail.
const BREACHES_MAX: usize = 20;

#[derive(Debug)]
pub(crate) struct Watch {
    breaches: Vec<String>,
    trace: u64,
    piece_length: u64,
    /// When the newest message of each connection arrives.
    arrivals: BTreeMap<PeerKey, Instant>,
}

impl Watch {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            breaches: Vec::new(),
            trace: 0xcbf2_9ce4_8422_2325,
            piece_length: u64::from(scenario.piece_length),
            arrivals: BTreeMap::new(),
        }
    }

    pub(crate) fn breach(&mut self, what: String) {
        if self.breaches.len() < BREACHES_MAX {
            self.breaches.push(what);
        }
    }

    /// Messages of one connection arrive in the order in which they were sent.
    pub(crate) fn in_order(&mut self, key: PeerKey, at: Instant) -> Instant {
        let last = self.arrivals.entry(key).or_insert(at);
        *last = at.max(*last);
        *last
    }

    /// What a node is about to say.
    pub(crate) fn outgoing(
        &mut self,
        at: usize,
        node: &mut Node,
        layout: &Layout,
        peer: PeerKey,
        message: &Message,
    ) {
        match message {
            Message::Have { piece } if !node.verified.get(*piece) => {
                self.breach(format!("node {at} announced piece {piece} before it was verified"));
            }
            Message::HaveAll if !node.verified.is_full() => {
                self.breach(format!("node {at} announced everything"));
            }
            Message::Bitfield(bits) => {
                let claimed = Bitfield::from_wire(bits, layout.piece_count());
                if claimed.is_ok_and(|claimed| claimed.any_and_not(&node.verified)) {
                    self.breach(format!("node {at} announced unverified pieces"));
                }
            }
            Message::Request { piece, begin, length } => {
                self.requests(at, node, layout.block(*piece, *begin, *length), peer);
            }
            Message::Cancel { piece, begin, length } => {
                forget(node, layout.block(*piece, *begin, *length), peer);
            }
            _ => {}
        }
    }

    fn requests(&mut self, at: usize, node: &mut Node, block: Option<Block>, peer: PeerKey) {
        let Some(block) = block else { return self.breach(format!("node {at} asked for what is no block")) };
        if node.verified.get(block.piece().get()) {
            self.breach(format!("node {at} asked for {block:?}, which it has"));
        }
        let asked = node.outstanding.entry(block).or_default();
        let others = asked.len();
        if !asked.insert(peer) {
            self.breach(format!("node {at} asked the same peer twice for {block:?}"));
        }
        if others != 0 && !node.was_end_game && !node.swarm.stats().end_game {
            self.breach(format!("node {at} asked two peers for {block:?} before the end game"));
        }
        if 2 < others {
            self.breach(format!("node {at} asked {} peers for {block:?}", others + 1));
        }
    }

    /// What a node is about to hear.
    pub(crate) fn incoming(&self, node: &mut Node, layout: &Layout, peer: PeerKey, message: &Message) {
        match message {
            Message::Piece { piece, begin, data } => {
                forget(node, layout.block(*piece, *begin, data.len() as u32), peer);
            }
            Message::Reject { piece, begin, length } => {
                forget(node, layout.block(*piece, *begin, *length), peer);
            }
            Message::Choke => {
                let fast = node.spec.fast
                    && node.swarm.peers().any(|status| status.peer == peer && status.flags.fast);
                if !fast {
                    node.outstanding.retain(|_, asked| {
                        asked.remove(&peer);
                        !asked.is_empty()
                    });
                }
            }
            _ => {}
        }
    }

    pub(crate) fn sends(&mut self, at: usize, node: &Node, block: Block) {
        if !node.verified.get(block.piece().get()) {
            self.breach(format!("node {at} sends {block:?}, which it does not have"));
        }
    }

    pub(crate) fn stores(&mut self, at: usize, node: &Node, block: Block) {
        let stored = node.stored.get(&block.piece().get());
        if stored.is_some_and(|blocks| blocks.contains_key(&block.begin())) {
            self.breach(format!("node {at} stored {block:?} twice"));
        }
    }

    pub(crate) fn verifies(&mut self, at: usize, node: &Node, layout: &Layout, piece: u32) {
        let stored = node.stored.get(&piece).map_or(0, BTreeMap::len);
        let all = layout.piece(piece).map_or(0, |piece| layout.block_count(piece) as usize);
        if stored != all {
            self.breach(format!("node {at} verifies piece {piece} with {stored} of {all} blocks"));
        }
    }

    /// After each input: what the node holds.
    pub(crate) fn after(&mut self, at: usize, node: &mut Node, layout: &Layout) {
        let lengths =
            node.stored.keys().filter_map(|piece| layout.piece(*piece)).map(|piece| layout.piece_len(piece));
        let memory: u64 = lengths.map(u64::from).sum();
        node.report.memory_peak = node.report.memory_peak.max(memory);
        if node.spec.memory.max(self.piece_length) < memory {
            self.breach(format!("node {at} holds {memory} bytes where {} are allowed", node.spec.memory));
        }
    }

    /// Adds an output to the digest of the run.
    pub(crate) fn fold(&mut self, node: usize, output: &Output) {
        let mut fold = |n: u64| self.trace = (self.trace ^ n).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        fold(node as u64);
        match output {
            Output::Connect { addr } => fold(u64::from(addr.port())),
            Output::Send { peer, message } => {
                fold(peer.0);
                message.name().bytes().for_each(|byte| fold(u64::from(byte)));
                match message {
                    Message::Request { piece, begin, .. } | Message::Cancel { piece, begin, .. } => {
                        fold(u64::from(*piece) << 32 | u64::from(*begin));
                    }
                    Message::Have { piece } => fold(u64::from(*piece)),
                    _ => {}
                }
            }
            Output::SendBlock { peer, block } => {
                fold(peer.0);
                fold(u64::from(block.piece().get()) << 32 | u64::from(block.begin()));
            }
            Output::Disconnect { peer, reason } => {
                fold(peer.0);
                reason.to_string().bytes().for_each(|byte| fold(u64::from(byte)));
            }
            Output::StoreBlock { block, .. } => {
                fold(u64::from(block.piece().get()) << 32 | u64::from(block.begin()));
            }
            Output::VerifyPiece { piece, .. } | Output::DiscardPiece { piece } => {
                fold(u64::from(piece.get()));
            }
            Output::WantPeers => fold(1),
            Output::Event(_) => fold(2),
            Output::Metadata { .. } => fold(3),
            Output::DhtNode { addr } => fold(u64::from(addr.port())),
            Output::SeenAs { .. } => fold(4),
        }
    }

    pub(crate) fn report_of(&self, node: &Node) -> NodeReport {
        let stats = node.swarm.stats();
        let mut report = node.report.clone();
        (report.downloaded, report.wasted) = (stats.downloaded, stats.wasted);
        if node.spec.seed {
            report.completed = Some(std::time::Duration::ZERO);
        }
        report
    }

    pub(crate) fn into_result(self) -> (Vec<String>, u64) {
        (self.breaches, self.trace)
    }
}

fn forget(node: &mut Node, block: Option<Block>, peer: PeerKey) {
    if let Some(block) = block
        && let Some(asked) = node.outstanding.get_mut(&block)
    {
        asked.remove(&peer);
        if asked.is_empty() {
            node.outstanding.remove(&block);
        }
    }
}
