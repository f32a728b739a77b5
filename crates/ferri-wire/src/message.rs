//! The messages peers exchange ([BEP 3], [BEP 6], [BEP 10], [BEP 52]), as values. How they look as bytes is in `codec.rs`.
//!
//! Indexes, offsets and lengths are what the peer wrote; only a torrent's layout can say whether they mean anything.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [BEP 6]: https://www.bittorrent.org/beps/bep_0006.html
//! [BEP 10]: https://www.bittorrent.org/beps/bep_0010.html
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

use std::fmt;

use bytes::Bytes;

use crate::hashes::HashRange;

/// One message between peers. All numbers are unchecked claims of the sender.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Message {
    /// Nothing, so that the connection is not taken for dead.
    KeepAlive,
    /// "I will not answer your requests."
    Choke,
    /// "I will answer your requests."
    Unchoke,
    /// "You have something I want."
    Interested,
    /// "You have nothing I want."
    NotInterested,
    /// "I have this piece, its hash matched."
    Have {
        /// Index of the piece.
        piece: u32,
    },
    /// "These are the pieces I have": one bit a piece, the first piece in the highest bit of the first byte.
    Bitfield(#[cfg_attr(feature = "serde", serde(with = "crate::serial::hex"))] Bytes),
    /// "Send me this block."
    Request {
        /// Index of the piece.
        piece: u32,
        /// Offset of the block inside the piece, in bytes.
        begin: u32,
        /// Length of the block, in bytes.
        length: u32,
    },
    /// A block.
    Piece {
        /// Index of the piece.
        piece: u32,
        /// Offset of the block inside the piece, in bytes.
        begin: u32,
        /// The block. In serialised form only its length is kept, and it comes back as zeros.
        #[cfg_attr(feature = "serde", serde(with = "crate::serial::length"))]
        data: Bytes,
    },
    /// "I no longer need this block."
    Cancel {
        /// Index of the piece.
        piece: u32,
        /// Offset of the block inside the piece, in bytes.
        begin: u32,
        /// Length of the block, in bytes.
        length: u32,
    },
    /// The UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// BEP 6: "you might like this piece".
    Suggest {
        /// Index of the piece.
        piece: u32,
    },
    /// BEP 6: a bitfield of ones.
    HaveAll,
    /// BEP 6: a bitfield of zeros.
    HaveNone,
    /// BEP 6: "this request will not be answered".
    Reject {
        /// Index of the piece.
        piece: u32,
        /// Offset of the block inside the piece, in bytes.
        begin: u32,
        /// Length of the block, in bytes.
        length: u32,
    },
    /// BEP 6: "this piece you may ask for even while choked".
    AllowedFast {
        /// Index of the piece.
        piece: u32,
    },
    /// BEP 10: a message of an extension; 0 is the extension handshake, other numbers are what the receiver named in its own.
    Extended {
        /// Number of the extension message, as chosen by its receiver.
        id: u8,
        /// What the extension makes of it.
        #[cfg_attr(feature = "serde", serde(with = "crate::serial::hex"))]
        payload: Bytes,
    },
    /// BEP 52: "send me these hashes".
    HashRequest(HashRange),
    /// BEP 52: hashes that were asked for, and those that prove them.
    Hashes {
        /// Which.
        range: HashRange,
        /// The hashes, one after the other.
        #[cfg_attr(feature = "serde", serde(with = "crate::serial::hex"))]
        hashes: Bytes,
    },
    /// BEP 52: "these hashes you will not get from me".
    HashReject(HashRange),
    /// A message of a type unknown to us. Its content was skipped.
    Unknown {
        /// The type byte.
        id: u8,
        /// How many bytes followed the type byte.
        length: u32,
    },
}

impl Message {
    /// The name of the type, as the specifications write it, in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Choke => "choke",
            Self::Unchoke => "unchoke",
            Self::Interested => "interested",
            Self::NotInterested => "not interested",
            Self::Have { .. } => "have",
            Self::Bitfield(_) => "bitfield",
            Self::Request { .. } => "request",
            Self::Piece { .. } => "piece",
            Self::Cancel { .. } => "cancel",
            Self::Port(_) => "port",
            Self::Suggest { .. } => "suggest piece",
            Self::HaveAll => "have all",
            Self::HaveNone => "have none",
            Self::Reject { .. } => "reject request",
            Self::AllowedFast { .. } => "allowed fast",
            Self::Extended { .. } => "extended",
            Self::HashRequest(_) => "hash request",
            Self::Hashes { .. } => "hashes",
            Self::HashReject(_) => "hash reject",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Whether BEP 6 adds this message: a peer that did not set the bit for it must not send it.
    pub fn is_fast(&self) -> bool {
        matches!(
            self,
            Self::Suggest { .. }
                | Self::HaveAll
                | Self::HaveNone
                | Self::Reject { .. }
                | Self::AllowedFast { .. }
        )
    }
}

/// Payloads are shown as their length: a line of log is no place for 16 KiB.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepAlive => f.write_str("KeepAlive"),
            Self::Choke => f.write_str("Choke"),
            Self::Unchoke => f.write_str("Unchoke"),
            Self::Interested => f.write_str("Interested"),
            Self::NotInterested => f.write_str("NotInterested"),
            Self::Have { piece } => write!(f, "Have {{ piece: {piece} }}"),
            Self::Bitfield(bits) => write!(f, "Bitfield({} bytes)", bits.len()),
            Self::Request { piece, begin, length } => block(f, "Request", *piece, *begin, *length),
            Self::Piece { piece, begin, data } => {
                write!(f, "Piece {{ piece: {piece}, begin: {begin}, data: {} bytes }}", data.len())
            }
            Self::Cancel { piece, begin, length } => block(f, "Cancel", *piece, *begin, *length),
            Self::Port(port) => write!(f, "Port({port})"),
            Self::Suggest { piece } => write!(f, "Suggest {{ piece: {piece} }}"),
            Self::HaveAll => f.write_str("HaveAll"),
            Self::HaveNone => f.write_str("HaveNone"),
            Self::Reject { piece, begin, length } => block(f, "Reject", *piece, *begin, *length),
            Self::AllowedFast { piece } => write!(f, "AllowedFast {{ piece: {piece} }}"),
            Self::Extended { id, payload } => {
                write!(f, "Extended {{ id: {id}, payload: {} bytes }}", payload.len())
            }
            Self::HashRequest(range) => write!(f, "HashRequest({range:?})"),
            Self::Hashes { range, hashes } => write!(f, "Hashes({range:?}: {} bytes)", hashes.len()),
            Self::HashReject(range) => write!(f, "HashReject({range:?})"),
            Self::Unknown { id, length } => write!(f, "Unknown {{ id: {id}, length: {length} }}"),
        }
    }
}

fn block(f: &mut fmt::Formatter<'_>, name: &str, piece: u32, begin: u32, length: u32) -> fmt::Result {
    write!(f, "{name} {{ piece: {piece}, begin: {begin}, length: {length} }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_shown_as_its_length() {
        let piece = Message::Piece { piece: 1, begin: 16384, data: Bytes::from(vec![7; 16384]) };
        assert_eq!(format!("{piece:?}"), "Piece { piece: 1, begin: 16384, data: 16384 bytes }");
        let bits = Message::Bitfield(Bytes::from(vec![0xff; 9]));
        assert_eq!(format!("{bits:?}"), "Bitfield(9 bytes)");
        let extended = Message::Extended { id: 3, payload: Bytes::from_static(b"d1:md6:ut_pexi1eee") };
        assert_eq!(format!("{extended:?}"), "Extended { id: 3, payload: 18 bytes }");
    }

    #[test]
    fn only_the_five_messages_of_bep_6_need_the_fast_bit() {
        assert!(Message::HaveAll.is_fast());
        assert!(Message::Reject { piece: 0, begin: 0, length: 1 }.is_fast());
        assert!(!Message::Bitfield(Bytes::new()).is_fast());
        assert!(!Message::Cancel { piece: 0, begin: 0, length: 1 }.is_fast());
    }
}
