//! One node: a `Swarm`, its storage of imaginary blocks, and the link that carries its uploads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Block, InfoHash, Layout};
use ferri_swarm::{PeerKey, Swarm, SwarmOptions};
use ferri_wire::{Handshake, PeerId, Reserved};

use crate::report::NodeReport;
use crate::scenario::Node as Spec;

/// The content of a genuine block and of a wrong one; blocks are slices of these, so none is ever copied.
static GENUINE: [u8; 16 << 10] = [0; 16 << 10];
static WRONG: [u8; 16 << 10] = [1; 16 << 10];

pub(crate) fn content(genuine: bool, length: u32) -> Bytes {
    Bytes::from_static(if genuine { &GENUINE } else { &WRONG }).slice(..length as usize)
}

pub(crate) fn is_genuine(data: &[u8]) -> bool {
    data.first() == Some(&0)
}

/// The other end of a connection, as a node sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    pub(crate) node: usize,
    pub(crate) key: PeerKey,
}

/// A node that has joined.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) spec: Spec,
    pub(crate) swarm: Swarm,
    pub(crate) connections: BTreeMap<PeerKey, Remote>,
    /// Blocks to send to each peer; the link takes one from each in turn.
    pub(crate) sending: BTreeMap<PeerKey, VecDeque<Block>>,
    /// Blocks it sent to any peer.
    pub(crate) sent: BTreeSet<Block>,
    /// The peer that the link served last, and whether it is at work.
    pub(crate) last_served: PeerKey,
    pub(crate) link_busy: bool,
    /// When the receiving side of the link is free.
    pub(crate) down_free: Instant,
    /// Received blocks of unverified pieces: whether each is genuine.
    pub(crate) stored: BTreeMap<u32, BTreeMap<u32, bool>>,
    /// Pieces whose digests are wanted even when they are good.
    pub(crate) compared: BTreeSet<u32>,
    pub(crate) verified: Bitfield,
    /// Requests on their way or with a peer: who was asked for each block.
    pub(crate) outstanding: BTreeMap<Block, BTreeSet<PeerKey>>,
    /// Whether it was in the end game before the input it is busy with, which may well have ended it.
    pub(crate) was_end_game: bool,
    /// The timeout for which an event is in the queue.
    pub(crate) wakes: Option<Instant>,
    pub(crate) report: NodeReport,
}

impl Node {
    pub(crate) fn new(
        index: usize,
        spec: Spec,
        nodes: usize,
        layout: &Layout,
        seed: u64,
        now: Instant,
    ) -> Self {
        let pieces = layout.piece_count();
        let verified = if spec.seed { Bitfield::full(pieces) } else { Bitfield::new(pieces) };
        let options = SwarmOptions {
            listen_port: Some(PORT),
            upload: spec.uploads,
            upload_slots: spec.slots,
            memory_bytes: spec.memory,
            peers_max: spec.peers_max,
            ..SwarmOptions::new(info_hash(), peer_id(index))
        };
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
        let swarm = Swarm::new(options, layout.clone(), verified.clone(), seed, now);
        let report =
            NodeReport { sent_to: vec![0; nodes], optimistic: vec![0; nodes], ..NodeReport::default() };
        Self {
            spec,
            swarm,
            connections: BTreeMap::new(),
            sending: BTreeMap::new(),
            sent: BTreeSet::new(),
            last_served: PeerKey(0),
            link_busy: false,
            down_free: now,
            stored: BTreeMap::new(),
            compared: BTreeSet::new(),
            verified,
            outstanding: BTreeMap::new(),
            was_end_game: false,
            wakes: None,
            report,
        }
    }

    /// The next block the link carries: the peers take turns.
    pub(crate) fn next_block(&mut self) -> Option<(PeerKey, Block)> {
        let after =
            self.sending.range(PeerKey(self.last_served.0 + 1)..).find(|(_, queue)| !queue.is_empty());
        let next = after.or_else(|| self.sending.iter().find(|(_, queue)| !queue.is_empty()));
        let key = next.map(|(key, _)| *key)?;
        self.last_served = key;
        let block = self.sending.get_mut(&key)?.pop_front()?;
        Some((key, block))
    }

    /// What it says when a connection opens.
    pub(crate) fn handshake(&self, index: usize) -> Handshake {
        let reserved = Reserved::NONE.with_extensions();
        let reserved = if self.spec.fast { reserved.with_fast() } else { reserved };
        Handshake { reserved, info_hash: info_hash(), peer_id: peer_id(index) }
    }

    /// A connection is gone.
    pub(crate) fn drop_connection(&mut self, key: PeerKey) {
        self.connections.remove(&key);
        self.sending.remove(&key);
        self.outstanding.retain(|_, asked| {
            asked.remove(&key);
            !asked.is_empty()
        });
    }
}

pub(crate) const PORT: u16 = 6881;

pub(crate) fn info_hash() -> InfoHash {
    InfoHash::from([7; 20])
}

fn peer_id(index: usize) -> PeerId {
    let mut id = *b"-FS0100-000000000000";
    id[8..16].copy_from_slice(&(index as u64 + 1).to_be_bytes());
    PeerId::from(id)
}
