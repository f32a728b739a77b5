//! Why a connection ended, in words. Sorted by fault: the peer's is [`Misbehavior`], the rest is no fault.

use thiserror::Error;

/// Why we closed a connection or it closed. The text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DisconnectReason {
    /// The connection ended without our doing.
    #[error("the peer closed the connection")]
    Closed,
    /// It is us.
    #[error("this is our own address")]
    Ourselves,
    /// There is another connection to the same peer.
    #[error("already connected to this peer")]
    Duplicate,
    /// The handshake names another torrent.
    #[error("the peer speaks about another torrent")]
    OtherTorrent,
    /// The address was banned earlier.
    #[error("this address sent wrong data before")]
    Banned,
    /// No room.
    #[error("too many connections")]
    TooManyPeers,
    /// No room for more of one network.
    #[error("too many connections from this address")]
    Crowded,
    /// The connection was of no use, and others wait for the room.
    #[error("making room for a more useful peer")]
    Replaced,
    /// Neither side lacks what the other has.
    #[error("both sides have all they want")]
    NothingToExchange,
    /// Silence.
    #[error("silent for two minutes")]
    Idle,
    /// The address came from where a private torrent takes none (BEP 27).
    #[error("the torrent is private and no tracker named this peer")]
    Private,
    /// The user paused the torrent.
    #[error("paused")]
    Paused,
    /// The torrent is being stopped.
    #[error("stopped")]
    Stopped,
    /// The peer broke the rules.
    #[error("{0}")]
    Misbehavior(#[from] Misbehavior),
}

/// Which rule a peer broke. Each variant ends the connection; where honest peers may slip, only after many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Misbehavior {
    /// Blocks we never asked for.
    #[error("sent blocks that were not requested (the last one: piece {piece}, offset {begin})")]
    UnrequestedBlock {
        /// Index of the piece.
        piece: u32,
        /// Offset inside the piece.
        begin: u32,
    },
    /// A piece number beyond the end of the torrent.
    #[error("named piece {piece}, which this torrent does not have")]
    NoSuchPiece {
        /// The number.
        piece: u32,
    },
    /// A request that does not lie inside one piece, or is empty, or longer than 128 KiB.
    #[error("asked for {length} bytes at offset {begin} of piece {piece}, which is no block")]
    NoSuchBlock {
        /// Index of the piece.
        piece: u32,
        /// Offset inside the piece.
        begin: u32,
        /// Length in bytes.
        length: u32,
    },
    /// A bitfield of the wrong length or with spare bits set.
    #[error("sent a bitfield that does not fit this torrent")]
    BadBitfield,
    /// A bitfield (or Have All, Have None) that was not the first message.
    #[error("sent its bitfield late, or again and again")]
    LateBitfield,
    /// A message of the fast extension without having announced it (BEP 6).
    #[error("used the fast extension without announcing it")]
    FastNotAnnounced,
    /// A message of the extension protocol without having announced it (BEP 10).
    #[error("used the extension protocol without announcing it")]
    ExtensionsNotAnnounced,
    /// An extension message that cannot be read.
    #[error("sent an extension message that cannot be read")]
    BadExtension,
    /// Many requests for pieces we never announced.
    #[error("kept asking for pieces we do not have")]
    RequestsForMissing,
    /// Many requests while choked.
    #[error("kept asking although it was choked")]
    RequestsWhileChoked,
    /// Many more requests than we said we keep.
    #[error("sent far more requests than we keep")]
    RequestFlood,
    /// The same pieces announced over and over.
    #[error("announced the same pieces over and over")]
    HaveFlood,
    /// Parts of the info dictionary that we never asked for (BEP 9).
    #[error("sent metadata that was not requested (part {part})")]
    UnrequestedMetadata {
        /// Index of the part.
        part: u32,
    },
    /// An info dictionary, all of it from this peer, that does not match the info hash; the address is banned too.
    #[error("sent an info dictionary that does not match the info hash")]
    WrongMetadata,
    /// Too many extension messages.
    #[error("sent too many extension messages")]
    ExtensionFlood,
    /// Too many messages without effect: keep-alives, changes of choke or interest, hints, unknown ones.
    #[error("sent too many messages without effect")]
    ControlFlood,
    /// Rejects of requests we never made (BEP 6).
    #[error("rejected requests that were never made")]
    UnrequestedReject,
    /// It unchokes us, and rejects what we ask for.
    #[error("rejects everything it is asked for")]
    RejectsEverything,
    /// Data proven wrong; the address is banned too.
    #[error("sent wrong data for piece {piece}")]
    WrongData {
        /// Index of the piece.
        piece: u32,
    },
}
