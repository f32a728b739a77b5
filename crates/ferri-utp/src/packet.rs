//! The datagrams of uTP ([BEP 29]): a header of 20 bytes, a chain of extensions, a payload.
//!
//! ```text
//!  0       4       8               16                              32
//! +-------+-------+---------------+-------------------------------+
//! | kind  | 1     | extension     | connection id                 |
//! +-------+-------+---------------+-------------------------------+
//! | when it was sent, microseconds of the sender's clock          |
//! +---------------------------------------------------------------+
//! | how long the last packet of the other side took, by our clock |
//! +---------------------------------------------------------------+
//! | how many bytes we have room for                               |
//! +-------------------------------+-------------------------------+
//! | sequence number               | last one that came in order   |
//! +-------------------------------+-------------------------------+
//! ```
//!
//! An extension begins with the kind of the next one and its own length. Only the selective acknowledgement (1) is
//! used; clients also send 2 (µTorrent's capabilities) and 3 (libtorrent's reason for closing), which are skipped.
//!
//! [BEP 29]: https://www.bittorrent.org/beps/bep_0029.html

use thiserror::Error;

use crate::seq::Seq;

/// Bytes of a header.
pub const HEADER_LEN: usize = 20;

/// Extensions that a packet may have. Clients send at most two.
const EXTENSIONS_MAX: usize = 8;

const VERSION: u8 = 1;
const SELECTIVE_ACK: u8 = 1;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Carries a part of the stream.
    Data,
    /// The stream ends here; no packet has a higher number.
    Fin,
    /// Only acknowledges. It has no number of its own and shows that of the next packet.
    State,
    /// The sender knows no such connection (any more).
    Reset,
    /// Begins a connection.
    Syn,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Data, Self::Fin, Self::State, Self::Reset, Self::Syn];
}

/// The fixed part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub kind: Kind,
    /// The connection's id on the side of the receiver, except in a SYN, which has that of the sender's side.
    pub connection_id: u16,
    /// When it was sent, in microseconds of the sender's clock.
    pub timestamp: u32,
    /// How long the last packet of the other side seemed to take. The clocks differ, so only its changes mean
    /// something. 0 is unknown.
    pub timestamp_difference: u32,
    /// Bytes that the sender of this has room for.
    pub window: u32,
    /// The packet's number.
    pub seq: Seq,
    /// The last packet that came in order.
    pub ack: Seq,
}

/// A packet, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed part.
    pub header: Header,
    /// Which packets came after one that is missing.
    pub selective_ack: Option<SelectiveAck<'a>>,
    /// A part of the stream.
    pub payload: &'a [u8],
}

/// Why a datagram is no packet of ours. It is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Shorter than a header.
    #[error("a datagram of {0} bytes is no uTP packet")]
    TooShort(usize),
    /// Another version, or another protocol.
    #[error("unknown version {0} of uTP")]
    Version(u8),
    /// A kind that does not exist.
    #[error("unknown kind {0} of uTP packet")]
    Kind(u8),
    /// An extension that goes on beyond the end, or too many of them.
    #[error("the extensions of a uTP packet do not fit in it")]
    Extensions,
}

/// Whether a datagram that begins with this byte may be uTP. It is neither KRPC (`d`) nor a tracker's answer (0).
#[must_use]
pub fn begins_with(byte: u8) -> bool {
    byte & 0x0f == VERSION && usize::from(byte >> 4) < Kind::ALL.len()
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// It is no packet of uTP; the peer or the network is at fault.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((head, mut rest)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(DecodeError::TooShort(datagram.len()));
        };
        if head[0] & 0x0f != VERSION {
            return Err(DecodeError::Version(head[0] & 0x0f));
        }
        let kind = Kind::ALL.get(usize::from(head[0] >> 4)).ok_or(DecodeError::Kind(head[0] >> 4))?;
        let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let header = Header {
            kind: *kind,
            connection_id: u16_at(2),
            timestamp: u32_at(4),
            timestamp_difference: u32_at(8),
            window: u32_at(12),
            seq: Seq(u16_at(16)),
            ack: Seq(u16_at(18)),
        };
        let mut selective_ack = None;
        let mut extension = head[1];
        for _ in 0..EXTENSIONS_MAX {
            if extension == 0 {
                return Ok(Self { header, selective_ack, payload: rest });
            }
            let Some(([next, length], behind)) = rest.split_first_chunk::<2>() else {
                return Err(DecodeError::Extensions);
            };
            let Some((body, behind)) = behind.split_at_checked(usize::from(*length)) else {
                return Err(DecodeError::Extensions);
            };
            if extension == SELECTIVE_ACK && selective_ack.is_none() {
                selective_ack = Some(SelectiveAck(body));
            }
            extension = *next;
            rest = behind;
        }
        Err(DecodeError::Extensions)
    }
}

impl Header {
    /// Appends the header of a packet without extensions. The payload follows it.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_with(0, out);
    }

    /// Appends a packet that says which packets came after the missing one: bit `i` of `bits`, from the lowest bit of
    /// the first byte on, is packet `ack + 2 + i`. `bits` is filled up to a multiple of four bytes, of which there are
    /// at most 252.
    pub fn write_selective(&self, bits: &[u8], out: &mut Vec<u8>) {
        let bits = &bits[..bits.len().min(252)];
        let length = bits.len().next_multiple_of(4).max(4);
        self.write_with(SELECTIVE_ACK, out);
        out.extend([0, u8::try_from(length).expect("at most 252")]);
        out.extend(bits);
        out.resize(out.len() + length - bits.len(), 0);
    }

    fn write_with(&self, extension: u8, out: &mut Vec<u8>) {
        let mut head = [0; HEADER_LEN];
        head[0] = (self.kind as u8) << 4 | VERSION;
        head[1] = extension;
        head[2..4].copy_from_slice(&self.connection_id.to_be_bytes());
        head[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        head[8..12].copy_from_slice(&self.timestamp_difference.to_be_bytes());
        head[12..16].copy_from_slice(&self.window.to_be_bytes());
        head[16..18].copy_from_slice(&self.seq.0.to_be_bytes());
        head[18..20].copy_from_slice(&self.ack.0.to_be_bytes());
        out.extend_from_slice(&head);
    }
}

/// A mask of packets that came although an earlier one is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectiveAck<'a>(&'a [u8]);

impl<'a> SelectiveAck<'a> {
    /// How far after `ack` each of the packets is, ascending. The first that can be told of is 2 after it.
    pub fn offsets(self) -> impl Iterator<Item = u16> + 'a {
        (0u16..).zip(self.0).flat_map(|(at, byte)| {
            let mut bits = *byte;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as u16;
                bits &= bits.wrapping_sub(1);
                (bit < 8).then_some(2 + 8 * at + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HEADER: Header = Header {
        kind: Kind::State,
        connection_id: 0x1234,
        timestamp: 0xdead_beef,
        timestamp_difference: 7,
        window: 1 << 20,
        seq: Seq(65_535),
        ack: Seq(2),
    };

    fn with(extension: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        HEADER.write_with(extension, &mut bytes);
        bytes.extend(rest);
        bytes
    }

    fn check(bytes: &[u8], expected: Result<(&[u16], &[u8]), DecodeError>) {
        let found = Packet::decode(bytes).map(|packet| {
            assert_eq!(packet.header, HEADER);
            let offsets = packet.selective_ack.map(|ack| ack.offsets().collect::<Vec<_>>());
            (offsets.unwrap_or_default(), packet.payload)
        });
        assert_eq!(found, expected.map(|(offsets, payload)| (offsets.to_vec(), payload)));
    }

    #[test]
    fn a_syn_of_transmission_is_read() {
        // Extension 2 with eight zero bytes, a window of 256 KiB.
        let mut bytes = b"\x41\x02\x12\x34\0\0\0\x09\0\0\0\0\0\x04\0\0\0\x01\0\0".to_vec();
        bytes.extend(b"\0\x08\0\0\0\0\0\0\0\0");
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!((packet.header.kind, packet.header.connection_id), (Kind::Syn, 0x1234));
        assert_eq!((packet.header.window, packet.header.seq, packet.payload), (262_144, Seq(1), &b""[..]));
    }

    #[test]
    fn what_is_written_is_read() {
        check(&with(0, b"abc"), Ok((&[], b"abc")));
        let mut bytes = Vec::new();
        HEADER.write_selective(&[0b1000_0001, 0, 1, 0, 2], &mut bytes);
        assert_eq!(bytes.len(), HEADER_LEN + 2 + 8);
        check(&bytes, Ok((&[2, 9, 18, 35], b"")));
        bytes.clear();
        HEADER.write_selective(&[0xff; 300], &mut bytes);
        assert_eq!(bytes.len(), HEADER_LEN + 2 + 252);
    }

    #[test]
    fn unknown_extensions_are_skipped() {
        check(&with(2, b"\x01\x02zz\x03\x04\x01\0\0\0\0\x01!data"), Ok((&[2], b"data")));
        check(&with(3, b"\0\x04\0\0\0\x05"), Ok((&[], b"")));
        // An empty mask, and a second one that does not count.
        check(&with(1, b"\x01\0\0\x01\x01"), Ok((&[], b"")));
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        check(b"", Err(DecodeError::TooShort(0)));
        check(&with(0, b"")[..19], Err(DecodeError::TooShort(19)));
        check(b"d1:ad2:id20:aaaaaaaaaaaaaaaa", Err(DecodeError::Version(4)));
        check(&[0x51; 20], Err(DecodeError::Kind(5)));
        check(&with(2, b"\0"), Err(DecodeError::Extensions));
        check(&with(2, b"\0\x05abcd"), Err(DecodeError::Extensions));
        check(&with(2, &[2, 0].repeat(700)), Err(DecodeError::Extensions));
    }

    #[test]
    fn the_first_byte_tells() {
        let ours = (0..=255).filter(|byte| begins_with(*byte)).collect::<Vec<u8>>();
        assert_eq!(ours, [0x01, 0x11, 0x21, 0x31, 0x41]);
    }
}
