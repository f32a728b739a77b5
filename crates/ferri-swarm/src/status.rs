//! What a swarm looks like from outside: numbers for people and for other parts of the program. Snapshots, no links.

use std::net::SocketAddr;

use ferri_wire::PeerId;

use crate::input::{Direction, PeerKey, Source};

/// What we are in the swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Role {
    /// We lack something we want.
    Leech,
    /// We have what we want, but not everything (BEP 21).
    PartialSeed,
    /// We have everything.
    Seed,
}

/// How many of something came from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts([usize; Source::ALL.len()]);

impl SourceCounts {
    /// How many came from `source`.
    pub fn get(&self, source: Source) -> usize {
        self.0[source as usize]
    }

    /// All sources and how many came from there, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Source, usize)> + '_ {
        Source::ALL.into_iter().map(|source| (source, self.get(source)))
    }

    pub(crate) fn add(&mut self, source: Source) {
        self.0[source as usize] += 1;
    }

    pub(crate) fn remove(&mut self, source: Source) {
        self.0[source as usize] -= 1;
    }
}

/// Totals and rates of one swarm. Bytes since the swarm was made; rates in bytes a second over about five seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SwarmStats {
    /// Payload bytes received and kept or thrown away (`wasted` is part of it).
    pub downloaded: u64,
    /// Payload bytes sent.
    pub uploaded: u64,
    /// Payload bytes received in vain: late duplicates and pieces that failed their hash.
    pub wasted: u64,
    /// Bytes of everything else received, message lengths included.
    pub protocol_down: u64,
    /// Bytes of everything else sent, message lengths included.
    pub protocol_up: u64,
    /// Bytes of wanted pieces that are not verified yet.
    pub left: u64,
    /// Bytes of pieces that are verified.
    pub have_bytes: u64,
    /// Bytes of pieces that are wanted.
    pub wanted_bytes: u64,
    /// Blocks of unverified pieces that have arrived, in bytes: the progress within open pieces.
    pub pending_bytes: u64,
    /// Pieces that are verified.
    pub have_pieces: u32,
    /// Pieces that are wanted.
    pub wanted_pieces: u32,
    /// Pieces that are wanted and verified.
    pub wanted_have_pieces: u32,
    /// Pieces between their first request and their verification.
    pub open_pieces: u32,
    /// Memory those pieces may grow to, in bytes.
    pub open_bytes: u64,
    /// Payload bytes received a second.
    pub down_rate: u64,
    /// Payload bytes sent a second.
    pub up_rate: u64,
    /// Connections.
    pub peers: usize,
    /// Connections to peers that have everything.
    pub seeds: usize,
    /// Connections being opened.
    pub connecting: usize,
    /// Addresses known.
    pub candidates: usize,
    /// Where those addresses came from.
    pub candidates_from: SourceCounts,
    /// Where the addresses of the connected peers came from; those that called us count as `Incoming`.
    pub peers_from: SourceCounts,
    /// Peers that answer our requests.
    pub unchoked_us: usize,
    /// Peers whose requests we answer.
    pub unchoked: usize,
    /// Copies of the torrent among the connected peers (not us): whole ones and the fraction of pieces beyond.
    pub availability: f64,
    /// Whether the last blocks are being requested twice.
    pub end_game: bool,
}

/// Why a swarm that wants something gets nothing. `P` says where peers are looked for: the swarm itself knows addresses
/// only, its owner knows where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standstill<P = Dials> {
    /// No peer is connected.
    Alone(P),
    /// No connected peer has any of what is missing.
    Unseen {
        /// The first missing piece.
        first: u32,
        /// How many are missing.
        pieces: u32,
    },
    /// All peers that have something of it choke us.
    Choked {
        /// How many there are.
        peers: usize,
    },
    /// Peers answer our requests, and send nothing.
    Silent {
        /// How many there are.
        peers: usize,
    },
    /// All that was asked for has come, and the caller has not said that it is verified.
    Disk,
}

/// What becomes of the addresses that a swarm knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dials {
    /// Connections being opened.
    pub connecting: usize,
    /// Addresses known.
    pub known: usize,
}

impl<P> Standstill<P> {
    /// The same, with what `find` says about where peers are looked for.
    pub fn map_alone<Q>(self, find: impl FnOnce(P) -> Q) -> Standstill<Q> {
        match self {
            Self::Alone(places) => Standstill::Alone(find(places)),
            Self::Unseen { first, pieces } => Standstill::Unseen { first, pieces },
            Self::Choked { peers } => Standstill::Choked { peers },
            Self::Silent { peers } => Standstill::Silent { peers },
            Self::Disk => Standstill::Disk,
        }
    }
}

/// The state of a connection, as people know it from other clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerFlags {
    /// We do not answer the peer's requests.
    pub am_choking: bool,
    /// The peer has something we want.
    pub am_interested: bool,
    /// The peer does not answer our requests.
    pub peer_choking: bool,
    /// We have something the peer wants.
    pub peer_interested: bool,
    /// The peer has our optimistic slot.
    pub optimistic: bool,
    /// The peer unchoked us and sends nothing.
    pub snubbed: bool,
    /// The peer has everything.
    pub seed: bool,
    /// The peer wants nothing (BEP 21).
    pub upload_only: bool,
    /// Both sides speak the fast extension.
    pub fast: bool,
    /// The peer sent blocks of a piece that failed, together with others; it gets whole pieces alone.
    pub suspect: bool,
}

/// One connection.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStats {
    /// The caller's name for it.
    pub peer: PeerKey,
    /// The other end.
    pub addr: SocketAddr,
    /// Who opened it.
    pub direction: Direction,
    /// Who named the address, when we opened it.
    pub source: Source,
    /// The peer's id.
    pub peer_id: PeerId,
    /// Its client, as told or guessed. From outside: print with care.
    pub client: String,
    /// Its state.
    pub flags: PeerFlags,
    /// Payload bytes received a second.
    pub down_rate: u64,
    /// Payload bytes sent a second.
    pub up_rate: u64,
    /// Payload bytes received.
    pub downloaded: u64,
    /// Payload bytes sent.
    pub uploaded: u64,
    /// Pieces it has, of all.
    pub pieces: u32,
    /// The same as a share, 0 to 1.
    pub progress: f32,
    /// Our requests it has not answered.
    pub requests_out: usize,
    /// Its requests we have not answered.
    pub requests_in: usize,
    /// How many requests we would like it to have.
    pub window: usize,
}
