//! Tests of the whole machine: a small torrent, peers played by hand.

mod admission;
mod blame;
mod exchange;
mod late;
mod rules;
mod standstill;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Layout};
use ferri_wire::{Handshake, Message, PeerId, Reserved, extension};

use super::Swarm;
use crate::input::{Direction, Input, PeerKey, Source};
use crate::options::SwarmOptions;
use crate::output::{Output, SwarmEvent};
use crate::reason::{DisconnectReason, Misbehavior};

const BLOCK: u32 = 16 << 10;
/// Two blocks a piece.
const PIECE: u32 = 2 * BLOCK;
const PIECES: u32 = 20;

/// A swarm and the world around it.
struct Lab {
    swarm: Swarm,
    now: Instant,
    next: u64,
}

impl Lab {
    fn new(have: &[u32]) -> Self {
        Self::with(have, |_| {})
    }

    fn seed() -> Self {
        Self::new(&(0..PIECES).collect::<Vec<_>>())
    }

    fn with(have: &[u32], change: impl FnOnce(&mut SwarmOptions)) -> Self {
        let layout = Layout::single(PIECE, u64::from(PIECE) * u64::from(PIECES)).unwrap();
        let mut pieces = Bitfield::new(PIECES);
        have.iter().for_each(|piece| assert!(pieces.set(*piece)));
        let mut options = SwarmOptions::new([1; 20].into(), PeerId::from([1; 20]));
        change(&mut options);
        let now = Instant::now();
        Self { swarm: Swarm::new(options, layout, pieces, 1, now), now, next: 1 }
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.swarm.handle(input, self.now);
        std::iter::from_fn(|| self.swarm.poll_output()).collect()
    }

    /// A peer connects that speaks BEP 6 and 10.
    fn peer(&mut self) -> PeerKey {
        self.connect(Reserved::NONE.with_fast().with_extensions()).0
    }

    fn plain_peer(&mut self) -> PeerKey {
        self.connect(Reserved::NONE).0
    }

    fn connect(&mut self, reserved: Reserved) -> (PeerKey, Vec<Output>) {
        let key = PeerKey(self.next);
        self.next += 1;
        let outputs = self.connect_as(key, addr(key.0), Direction::Incoming, peer_id(key.0), reserved);
        (key, outputs)
    }

    fn connect_as(
        &mut self,
        peer: PeerKey,
        addr: SocketAddr,
        direction: Direction,
        peer_id: PeerId,
        reserved: Reserved,
    ) -> Vec<Output> {
        let handshake = Handshake { reserved, info_hash: [1; 20].into(), peer_id };
        self.input(Input::PeerConnected { peer, addr, direction, handshake, crowd: 0 })
    }

    fn says(&mut self, peer: PeerKey, message: Message) -> Vec<Output> {
        self.input(Input::PeerMessage { peer, message })
    }

    /// A peer that has everything and unchokes us; and what we ask it for.
    fn generous_seed(&mut self) -> (PeerKey, Vec<(u32, u32)>) {
        let peer = self.peer();
        self.says(peer, Message::HaveAll);
        let outputs = self.says(peer, Message::Unchoke);
        (peer, requests(peer, &outputs))
    }

    fn sends(&mut self, peer: PeerKey, (piece, begin): (u32, u32)) -> Vec<Output> {
        let data = Bytes::from(vec![0; BLOCK as usize]);
        self.says(peer, Message::Piece { piece, begin, data })
    }

    /// The hash of a piece was compared.
    fn verified(&mut self, piece: u32, ok: bool) -> Vec<Output> {
        self.input(Input::PieceVerified { piece, ok, digests: Vec::new() })
    }

    /// Time passes, in the steps the machine asks for.
    fn wait(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.swarm.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            outputs.extend(self.input(Input::Timeout));
        }
        self.now = until;
        outputs
    }
}

fn addr(n: u64) -> SocketAddr {
    format!("10.0.{}.{}:4000", n / 200, n % 200 + 1).parse().unwrap()
}

fn peer_id(n: u64) -> PeerId {
    let mut id = *b"-XX0000-000000000000";
    id[12..].copy_from_slice(&n.to_be_bytes());
    PeerId::from(id)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What was said to a peer.
fn said(peer: PeerKey, outputs: &[Output]) -> Vec<&Message> {
    let to = |output| match output {
        &Output::Send { peer: to, ref message } if to == peer => Some(message),
        _ => None,
    };
    outputs.iter().filter_map(to).collect()
}

fn requests(peer: PeerKey, outputs: &[Output]) -> Vec<(u32, u32)> {
    let request = |message: &Message| match message {
        Message::Request { piece, begin, .. } => Some((*piece, *begin)),
        _ => None,
    };
    said(peer, outputs).into_iter().filter_map(request).collect()
}

fn disconnected(peer: PeerKey, outputs: &[Output]) -> Option<DisconnectReason> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { peer: gone, reason } if *gone == peer => Some(*reason),
        _ => None,
    })
}

fn has_event(outputs: &[Output], event: impl Fn(&SwarmEvent) -> bool) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Event(told) if event(told)))
}
