//! What the swarm machine costs a block as torrents and swarms grow: the machine alone, without sockets or disk.
//!
//! Every peer has everything and answers requests in their order, time is imaginary, blocks are all the same bytes, and
//! what is counted is this thread's processor time. The first quarter of the blocks warms up and does not count, and
//! neither does the arrival of the peers.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use ferri_metainfo::{Bitfield, InfoHash, Layout};
use ferri_swarm::{Direction, Input, Output, PeerKey, Swarm, SwarmOptions};
use ferri_wire::{Handshake, Message, PeerId, Reserved};

use crate::hash::cpu_time;
use crate::protocol::BLOCK_LENGTH;
use crate::say;

/// Blocks a piece: pieces of 256 KiB.
const PIECE_BLOCKS: u32 = 16;

/// Between two blocks of the whole swarm: 16 KiB in 100 us are 160 MiB a second.
const BLOCK_TIME: Duration = Duration::from_micros(100);

static CONTENT: [u8; BLOCK_LENGTH as usize] = [0; BLOCK_LENGTH as usize];

/// Downloads `blocks` blocks of a torrent of `pieces` pieces from `peers` peers, and prints nanoseconds a block as JSON.
///
/// # Errors
/// When the torrent has no room for so many blocks, or the machine stops asking.
pub(crate) fn run(pieces: u32, peers: u16, blocks: u32) -> Result<()> {
    ensure!(blocks <= pieces.saturating_mul(PIECE_BLOCKS), "the torrent has fewer blocks");
    let mut world = World::new(pieces, peers)?;
    world.deliver(blocks / 4)?;
    let before = cpu_time();
    let counted = blocks - blocks / 4;
    world.deliver(counted)?;
    let spent = cpu_time() - before;
    say(&format!("{{\"nanoseconds\":{}}}", spent.as_nanos() / u128::from(counted)))
}

/// The machine, and the requests that its peers have.
struct World {
    swarm: Swarm,
    now: Instant,
    requests: VecDeque<Request>,
    cancelled: HashSet<Request>,
}

/// The peer, and the block: piece, begin, length.
type Request = (PeerKey, u32, u32, u32);

impl World {
    fn new(pieces: u32, peers: u16) -> Result<Self> {
        let piece_length = PIECE_BLOCKS * BLOCK_LENGTH;
        let layout = Layout::single(piece_length, u64::from(piece_length) * u64::from(pieces))?;
        let options = SwarmOptions {
            peers_max: usize::from(peers),
            ..SwarmOptions::new(InfoHash::from([7; 20]), PeerId::from(*b"-FB0001-000000000000"))
        };
        let now = Instant::now();
        let swarm = Swarm::new(options, layout, Bitfield::new(pieces), 1, now);
        let mut world = Self { swarm, now, requests: VecDeque::new(), cancelled: HashSet::new() };
        let have = Bytes::from(Bitfield::full(pieces).to_wire());
        for n in 1..=peers {
            let peer = PeerKey(u64::from(n));
            let [high, low] = n.to_be_bytes();
            let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, high, low)), 6881);
            let mut id = *b"-FB0001-000000000000";
            id[18..].copy_from_slice(&n.to_be_bytes());
            let handshake = Handshake {
                reserved: Reserved::NONE,
                info_hash: InfoHash::from([7; 20]),
                peer_id: PeerId::from(id),
            };
            world.input(Input::PeerConnected {
                peer,
                addr,
                direction: Direction::Incoming,
                handshake,
                crowd: 0,
            });
            world.input(Input::PeerMessage { peer, message: Message::Bitfield(have.clone()) });
            world.input(Input::PeerMessage { peer, message: Message::Unchoke });
        }
        Ok(world)
    }

    fn deliver(&mut self, blocks: u32) -> Result<()> {
        let mut delivered = 0;
        while delivered < blocks {
            let request = self.requests.pop_front().context("the machine asks for nothing")?;
            if self.cancelled.remove(&request) {
                continue;
            }
            let (peer, piece, begin, length) = request;
            let data = Bytes::from_static(&CONTENT).slice(..length as usize);
            self.now += BLOCK_TIME;
            self.input(Input::PeerMessage { peer, message: Message::Piece { piece, begin, data } });
            delivered += 1;
            if self.swarm.poll_timeout().is_some_and(|at| at <= self.now) {
                self.input(Input::Timeout);
            }
        }
        Ok(())
    }

    /// Hands something in and does what comes of it.
    fn input(&mut self, input: Input) {
        self.swarm.handle(input, self.now);
        while let Some(output) = self.swarm.poll_output() {
            match output {
                Output::Send { peer, message: Message::Request { piece, begin, length } } => {
                    self.requests.push_back((peer, piece, begin, length));
                }
                Output::Send { peer, message: Message::Cancel { piece, begin, length } } => {
                    self.cancelled.insert((peer, piece, begin, length));
                }
                Output::VerifyPiece { piece, .. } => {
                    let verified = Input::PieceVerified { piece: piece.get(), ok: true, digests: Vec::new() };
                    self.swarm.handle(verified, self.now);
                }
                _ => {}
            }
        }
    }
}
