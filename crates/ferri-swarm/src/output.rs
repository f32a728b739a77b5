//! Everything a swarm wants done or tells, as values.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ferri_metainfo::{Block, PieceIndex};
use ferri_wire::Message;

use crate::input::PeerKey;
use crate::reason::DisconnectReason;
use crate::status::Role;

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a connection and exchange handshakes, then answer `PeerConnected` or `ConnectFailed`.
    Connect {
        /// Where to.
        addr: SocketAddr,
    },
    /// Send a message. Never a `Piece`, those are [`Output::SendBlock`].
    Send {
        /// The peer that gets it.
        peer: PeerKey,
        /// The message.
        message: Message,
    },
    /// Read a block of a piece we have and send it; answer with `BlocksSent` or `BlockUnreadable`. Cannot be taken back.
    SendBlock {
        /// The peer that gets it.
        peer: PeerKey,
        /// Which.
        block: Block,
    },
    /// Close the connection (what was sent before may still leave). The swarm has forgotten the peer.
    Disconnect {
        /// Which.
        peer: PeerKey,
        /// Why, to be shown.
        reason: DisconnectReason,
    },
    /// Keep a block until its piece is verified or discarded. Comes once a block.
    StoreBlock {
        /// Which.
        block: Block,
        /// Its bytes; as long as the block.
        data: Bytes,
    },
    /// Every block of the piece was stored: compare the hash, write, then answer `PieceVerified`. A disk that does not take
    /// the piece is tried again, or the torrent is stopped: there is no other answer.
    VerifyPiece {
        /// Which.
        piece: PieceIndex,
        /// The answer is to have the digests of the blocks also when the hash matches: a copy that failed is compared with them.
        digests: bool,
    },
    /// Drop the stored blocks of a piece that was not given to `VerifyPiece`.
    DiscardPiece {
        /// Which.
        piece: PieceIndex,
    },
    /// The info dictionary that was asked for, of [`MetadataSwarm`](crate::MetadataSwarm) only: its hash is right, what is
    /// in it was not looked at. Comes once.
    Metadata {
        /// Its bytes.
        bytes: Bytes,
    },
    /// A peer told the port of its DHT node (BEP 5): worth a ping. Never of a private torrent.
    DhtNode {
        /// The peer's address and that port.
        addr: SocketAddr,
    },
    /// A peer told as which address it sees us (BEP 10 `yourip`): one vote. Once a connection.
    SeenAs {
        /// Our address, in the peer's words.
        ip: IpAddr,
        /// The peer's own address.
        by: IpAddr,
    },
    /// There are too few peers and no addresses left to try. At most once in 30 s.
    WantPeers,
    /// Something to tell.
    Event(SwarmEvent),
}

/// What people and other parts of the program may want to know. Nothing needs to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum SwarmEvent {
    /// A connection was accepted into the swarm.
    PeerConnected {
        /// Which.
        peer: PeerKey,
        /// The other end.
        addr: SocketAddr,
        /// Its client, guessed from the peer id or told by the extension handshake. From outside: print with care.
        client: String,
    },
    /// A connection that had been announced by `PeerConnected` ended.
    PeerDisconnected {
        /// Which.
        peer: PeerKey,
        /// The other end.
        addr: SocketAddr,
        /// Why.
        reason: DisconnectReason,
    },
    /// The peer will answer our requests.
    UnchokedUs {
        /// Which.
        peer: PeerKey,
    },
    /// The peer will no longer answer our requests.
    ChokedUs {
        /// Which.
        peer: PeerKey,
    },
    /// We answer the peer's requests.
    Unchoked {
        /// Which.
        peer: PeerKey,
        /// Whether that is the slot that gives strangers a chance.
        optimistic: bool,
    },
    /// We no longer answer the peer's requests.
    Choked {
        /// Which.
        peer: PeerKey,
    },
    /// The peer has not sent anything it was asked for; its blocks are asked of others.
    Snubbed {
        /// Which.
        peer: PeerKey,
    },
    /// A piece was verified, written and announced.
    PieceCompleted {
        /// Which.
        piece: PieceIndex,
    },
    /// A piece did not match its hash.
    PieceCorrupt {
        /// Which.
        piece: PieceIndex,
        /// Who sent blocks of it.
        senders: Vec<SocketAddr>,
    },
    /// An address is refused from here on, because wrong data was proven to come from there.
    Banned {
        /// Which.
        addr: SocketAddr,
        /// The piece that proved it.
        piece: PieceIndex,
    },
    /// Wrong data was proven to come from an address that no other peer can replace. It is asked again, for whole
    /// pieces, until it has sent several in a row that are wrong.
    OnParole {
        /// Which.
        addr: SocketAddr,
        /// The piece that proved it.
        piece: PieceIndex,
    },
    /// An info dictionary had the wrong hash (of [`MetadataSwarm`](crate::MetadataSwarm) only).
    MetadataCorrupt {
        /// Its length in bytes.
        size: u32,
        /// Who sent parts of it. A single one is refused from here on.
        senders: Vec<SocketAddr>,
    },
    /// Every remaining block has been requested; from here on the last ones are requested twice.
    EndGame,
    /// We have everything we want, and fetched some of it: the last piece was verified, or the rest is not wanted any more. Comes
    /// once, and again only when more becomes wanted and some of that is fetched too.
    Completed,
    /// What we are in the swarm changed.
    RoleChanged {
        /// To this.
        role: Role,
    },
}
