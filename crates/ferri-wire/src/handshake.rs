//! The 68 bytes each side of a connection sends first ([BEP 3]), and the bits in them that announce extensions.
//!
//! It says nothing about whether we know the torrent; that is for the caller.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html

use std::fmt;

use ferri_metainfo::InfoHash;

use crate::codec::DecodeError;
use crate::peer_id::PeerId;

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 68;

/// The length of the protocol's name and the name itself, with which every handshake starts.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The eight bytes of a handshake in which a peer says what it can do besides BEP 3.
///
/// An extension is in use when both sides set its bit. Bits unknown to us are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reserved([u8; 8]);

impl Reserved {
    /// No bit set.
    pub const NONE: Self = Self([0; 8]);

    /// Whether the extension protocol is spoken (BEP 10).
    pub const fn has_extensions(self) -> bool {
        self.0[5] & 0x10 != 0
    }

    /// Whether the fast extension is spoken (BEP 6).
    pub const fn has_fast(self) -> bool {
        self.0[7] & 0x04 != 0
    }

    /// Whether the peer has a DHT node, whose port it sends (BEP 5).
    pub const fn has_dht(self) -> bool {
        self.0[7] & 0x01 != 0
    }

    /// Whether the peer of a hybrid torrent would go over to version 2 (BEP 52).
    pub const fn has_v2(self) -> bool {
        self.0[7] & 0x10 != 0
    }

    /// The same and the extension protocol (BEP 10).
    #[must_use]
    pub const fn with_extensions(mut self) -> Self {
        self.0[5] |= 0x10;
        self
    }

    /// The same and the fast extension (BEP 6).
    #[must_use]
    pub const fn with_fast(mut self) -> Self {
        self.0[7] |= 0x04;
        self
    }

    /// The same and a DHT node (BEP 5).
    #[must_use]
    pub const fn with_dht(mut self) -> Self {
        self.0[7] |= 0x01;
        self
    }

    /// The same and version 2 of a hybrid torrent (BEP 52).
    #[must_use]
    pub const fn with_v2(mut self) -> Self {
        self.0[7] |= 0x10;
        self
    }

    /// The bytes as they are sent.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl From<[u8; 8]> for Reserved {
    fn from(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserved({:016x})", u64::from_be_bytes(self.0))
    }
}

/// What each side says first: what it can do, which torrent it means, and who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Handshake {
    /// What the sender can do.
    pub reserved: Reserved,
    /// Which torrent the connection is for.
    pub info_hash: InfoHash,
    /// The name the sender gave itself.
    pub peer_id: PeerId,
}

impl Handshake {
    /// The bytes that are sent.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut out = [0; HANDSHAKE_LEN];
        out[..20].copy_from_slice(PROTOCOL);
        out[20..28].copy_from_slice(&self.reserved.0);
        out[28..48].copy_from_slice(self.info_hash.as_bytes());
        out[48..].copy_from_slice(self.peer_id.as_bytes());
        out
    }

    /// Reads a whole handshake.
    ///
    /// # Errors
    /// [`DecodeError::WrongProtocol`] when it does not start with the protocol's name.
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, DecodeError> {
        check_protocol(bytes)?;
        let (mut reserved, mut info_hash, mut peer_id) = ([0; 8], [0; 20], [0; 20]);
        reserved.copy_from_slice(&bytes[20..28]);
        info_hash.copy_from_slice(&bytes[28..48]);
        peer_id.copy_from_slice(&bytes[48..]);
        Ok(Self {
            reserved: Reserved(reserved),
            info_hash: InfoHash::from(info_hash),
            peer_id: PeerId::from(peer_id),
        })
    }

    /// Reads a handshake from the start of `buf` and says how many bytes it had. `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`DecodeError::WrongProtocol`] with the first byte that is not of the protocol's name, without waiting for the
    /// rest: a peer that sends something else can be told at once.
    pub fn decode_prefix(buf: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        match buf.first_chunk::<HANDSHAKE_LEN>() {
            Some(bytes) => Ok(Some((Self::decode(bytes)?, HANDSHAKE_LEN))),
            None => check_protocol(buf).map(|()| None),
        }
    }
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// With the handshake of BEP 3.
    Plain,
    /// With the key exchange of [`crate::mse`], or something that we do not speak: a public key has no form.
    Exchange,
}

impl Greeting {
    /// What these are the first bytes of. `None` while both are possible: a public key, too, may begin with a part of the
    /// protocol's name.
    pub fn of(first: &[u8]) -> Option<Self> {
        match check_protocol(first) {
            Err(_) => Some(Self::Exchange),
            Ok(()) => (PROTOCOL.len() <= first.len()).then_some(Self::Plain),
        }
    }
}

/// Compares as many bytes as there are with the protocol's name.
fn check_protocol(bytes: &[u8]) -> Result<(), DecodeError> {
    match PROTOCOL.iter().zip(bytes).position(|(expected, byte)| expected != byte) {
        Some(offset) => Err(DecodeError::WrongProtocol { offset }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ours() -> Handshake {
        Handshake {
            reserved: Reserved::NONE.with_extensions().with_fast(),
            info_hash: InfoHash::from([0xaa; 20]),
            peer_id: PeerId::from(*b"-FS0100-abcdefghijkl"),
        }
    }

    #[test]
    fn the_bytes_are_those_of_bep_3() {
        let mut expected = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04".to_vec();
        expected.extend([0xaa; 20]);
        expected.extend(b"-FS0100-abcdefghijkl");
        assert_eq!(ours().encode().as_slice(), expected);
        assert_eq!(Handshake::decode(&ours().encode()), Ok(ours()));
    }

    #[test]
    fn a_prefix_is_waited_for_and_what_follows_is_left_alone() {
        let mut bytes = ours().encode().to_vec();
        for end in 0..bytes.len() {
            assert_eq!(Handshake::decode_prefix(&bytes[..end]), Ok(None));
        }
        bytes.extend(b"\0\0\0\x01\x0e");
        assert_eq!(Handshake::decode_prefix(&bytes), Ok(Some((ours(), HANDSHAKE_LEN))));
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_wrong_byte() {
        let wrong = |offset| Err(DecodeError::WrongProtocol { offset });
        assert_eq!(Handshake::decode_prefix(b"GET / HTTP/1.1\r\n"), wrong(0));
        assert_eq!(Handshake::decode_prefix(b"\x13BitTorrent Protocol"), wrong(12));
        let mut bytes = ours().encode();
        bytes[19] = b'L';
        assert_eq!(Handshake::decode(&bytes), Err(DecodeError::WrongProtocol { offset: 19 }));
    }

    #[test]
    fn a_greeting_is_a_handshake_if_all_of_the_protocols_name_is_there() {
        let plain = ours().encode();
        for end in 0..plain.len() {
            assert_eq!(Greeting::of(&plain[..end]), (20 <= end).then_some(Greeting::Plain), "{end}");
        }
        for wrong in 0..20 {
            let mut key = plain;
            key[wrong] ^= 1;
            for end in 0..key.len() {
                let expected = (wrong < end).then_some(Greeting::Exchange);
                assert_eq!(Greeting::of(&key[..end]), expected, "{wrong} {end}");
            }
        }
    }

    #[test]
    fn bits_are_where_their_specifications_put_them() {
        assert_eq!(Reserved::NONE.with_extensions().as_bytes(), b"\0\0\0\0\0\x10\0\0");
        assert_eq!(Reserved::NONE.with_fast().as_bytes(), b"\0\0\0\0\0\0\0\x04");
        assert_eq!(Reserved::NONE.with_dht().as_bytes(), b"\0\0\0\0\0\0\0\x01");
        assert_eq!(Reserved::NONE.with_v2().as_bytes(), b"\0\0\0\0\0\0\0\x10");
        let all = Reserved::from([0xff; 8]);
        assert!(all.has_extensions() && all.has_fast() && all.has_dht() && all.has_v2());
        let none = Reserved::NONE;
        assert!(!none.has_extensions() && !none.has_fast() && !none.has_dht() && !none.has_v2());
        assert_eq!(format!("{:?}", none.with_dht()), "Reserved(0000000000000001)");
    }
}
