//! Everything that can happen to a swarm, as values, so that it can be logged, replayed and shrunk.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferri_wire::{Handshake, Message};

/// A connection. Given by the caller, never used for a second connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerKey(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Direction {
    /// The peer did.
    Incoming,
    /// We did.
    Outgoing,
}

/// Where an address came from. What it may be depends on that, see [`Source::may_name_loopback`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Source {
    /// A person, on the command line or in a magnet link.
    Explicit,
    /// A tracker's answer.
    Tracker,
    /// The saved state of an earlier run.
    Resume,
    /// The local network (BEP 14).
    Lsd,
    /// A peer that connected to us and said where it listens.
    Incoming,
    /// Another peer (BEP 11).
    Pex,
    /// The DHT (BEP 5).
    Dht,
}

impl Source {
    /// All of them, in their order.
    pub const ALL: [Self; 7] =
        [Self::Explicit, Self::Tracker, Self::Resume, Self::Lsd, Self::Incoming, Self::Pex, Self::Dht];

    /// Whether it may name loopback addresses: people, trackers, and the DHT, which believes that of nodes on this host alone.
    /// Other peers would have us knock at our own doors.
    pub fn may_name_loopback(self) -> bool {
        matches!(self, Self::Explicit | Self::Tracker | Self::Resume | Self::Dht)
    }

    /// Whether a private torrent refuses what comes from here (BEP 27).
    pub fn is_public(self) -> bool {
        matches!(self, Self::Lsd | Self::Pex | Self::Dht)
    }
}

/// How much a piece is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Priority {
    /// Not fetched.
    Skip,
    /// After everything else.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

/// What happened.
///
/// Piece numbers and offsets are bare `u32`s because many come from outside; those that lie outside the torrent are
/// refused at the door. An input about a peer that the swarm has forgotten is ignored.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Input {
    /// Addresses at which peers of this torrent may be.
    PeersFound {
        /// Who says so.
        source: Source,
        /// The addresses.
        addrs: Vec<SocketAddr>,
    },
    /// Addresses that are being dialled already, as if [`Output::Connect`](crate::Output::Connect) had named them: what
    /// another machine began for the same torrent ([`MetadataSwarm::hand_over`](crate::MetadataSwarm::hand_over)).
    Dialling {
        /// Who named them.
        source: Source,
        /// The addresses.
        addrs: Vec<SocketAddr>,
    },
    /// Addresses that are refused from here on, for what was proven elsewhere.
    Ban {
        /// The addresses. Port 0 stands for all peers around one: the IPv4 address, or 64 bits of an IPv6 address.
        addrs: Vec<SocketAddr>,
    },
    /// The answer to [`Output::Connect`](crate::Output::Connect) when it failed (the handshake included).
    ConnectFailed {
        /// The address dialled.
        addr: SocketAddr,
    },
    /// A connection on which the 68-byte handshakes were exchanged; answers `Connect` when it is outgoing.
    PeerConnected {
        /// The caller's name for the connection.
        peer: PeerKey,
        /// The other end. For an outgoing connection the address that was dialled.
        addr: SocketAddr,
        /// Who opened it.
        direction: Direction,
        /// What the peer sent.
        handshake: Handshake,
        /// How many connections the whole session has with the peer's [`Network`](crate::Network), this one left out, once
        /// half of the session's slots are taken; 0 before that.
        #[cfg_attr(feature = "serde", serde(default))]
        crowd: u32,
    },
    /// A message arrived.
    PeerMessage {
        /// The peer that sent it.
        peer: PeerKey,
        /// The message.
        message: Message,
    },
    /// The connection is gone. Not needed after [`Output::Disconnect`](crate::Output::Disconnect), and harmless then.
    PeerDisconnected {
        /// Which.
        peer: PeerKey,
    },
    /// Blocks released by [`Output::SendBlock`](crate::Output::SendBlock) left for the network, or never will
    /// (`blocks` counts both, `bytes` only what was sent).
    BlocksSent {
        /// The peer that it was sent to.
        peer: PeerKey,
        /// How many of the released blocks are done with, in the order of their release.
        blocks: u32,
        /// Payload bytes that were sent.
        bytes: u64,
    },
    /// A block released by [`Output::SendBlock`](crate::Output::SendBlock) cannot be read and is not sent. It takes the place
    /// of a `BlocksSent`; the peer is told that it gets no other answer, if it speaks BEP 6.
    BlockUnreadable {
        /// The peer that asked for it.
        peer: PeerKey,
        /// Its piece.
        piece: u32,
        /// Where it begins in the piece.
        begin: u32,
        /// Its length in bytes.
        length: u32,
    },
    /// The answer to [`Output::VerifyPiece`](crate::Output::VerifyPiece): its hash was compared and, if it matched, every
    /// write succeeded. The caller holds no blocks of the piece any more.
    PieceVerified {
        /// Which.
        piece: u32,
        /// Whether the hash matched.
        ok: bool,
        /// A digest of each block in their order, when the hash did not match or the output asked for them. Equal blocks have
        /// equal digests; they are made with a key that peers do not know. Without them the senders cannot be told apart.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
        digests: Vec<u64>,
    },
    /// Pieces that were on disk without having been fetched: a check found them and their hashes match. They were not
    /// fetched, so they make nothing complete as [`SwarmEvent::Completed`](crate::SwarmEvent::Completed) means it.
    PiecesFound {
        /// Which.
        pieces: Vec<u32>,
    },
    /// A verified piece turned out to be damaged or gone. It is taken back from the peers that know how (BEP 54)
    /// and fetched again.
    PieceLost {
        /// Which.
        piece: u32,
    },
    /// Verified pieces that another program changed on disk. They are taken back from the peers that know how (BEP 54),
    /// and are not fetched again, whatever the priorities say: what lies in their place is the user's work.
    PiecesWithdrawn {
        /// Which.
        pieces: Vec<u32>,
    },
    /// This torrent's share of what the session allows.
    Budget {
        /// Connections.
        peers_max: usize,
        /// Outgoing connections that are not established yet.
        half_open_max: usize,
        /// Peers that are sent payload at the same time; `None` lets the number follow the upload rate.
        upload_slots: Option<usize>,
        /// Bytes that unverified pieces may occupy; one piece always may, unless this is 0: then none is begun.
        memory_bytes: u64,
    },
    /// How much each piece is wanted. Pieces beyond the end of the list are `Normal`.
    Priorities {
        /// One entry a piece.
        priorities: Vec<Priority>,
    },
    /// A piece is needed by a certain time.
    Deadline {
        /// Which.
        piece: u32,
        /// From now; `None` takes an earlier deadline back.
        within: Option<Duration>,
    },
    /// Whether pieces are fetched in their order instead of the rarest first.
    Sequential {
        /// Whether.
        sequential: bool,
    },
    /// Our address as the world sees it (BEP 24). Canonical peer priority (BEP 40) needs it.
    ExternalAddress {
        /// The address.
        ip: IpAddr,
    },
    /// The port we listen on.
    ListenPort {
        /// The port.
        port: u16,
    },
    /// Disconnect all peers and do nothing until [`Input::Resume`]. Pieces that are being verified stay.
    Pause,
    /// Go on.
    Resume,
    /// Disconnect all peers, for good.
    Stop,
    /// The instant of `poll_timeout` has come.
    Timeout,
}
