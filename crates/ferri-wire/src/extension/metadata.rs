//! The info dictionary in parts ([BEP 9]): the payloads of `ut_metadata` messages.
//!
//! A part of 16 KiB (the last one may be shorter) lies behind the dictionary that announces it. Whether the parts make
//! up the dictionary that is wanted is not known here, only whether a part can be one of the size its sender tells.
//!
//! [BEP 9]: https://www.bittorrent.org/beps/bep_0009.html

use bytes::Bytes;
use ferri_bencode::{Document, Encoder};

use super::{Error, UT_METADATA, number};

/// Bytes of a part. The last one of a dictionary may be shorter.
pub const PART_LENGTH: u32 = 16 << 10;

/// The longest payload, in bytes: a part, and a dictionary of three numbers with room for what others put beside them.
pub const METADATA_PAYLOAD_MAX: usize = PART_LENGTH as usize + 1024;

/// The payload of a `ut_metadata` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata {
    /// "Send me this part."
    Request {
        /// Index of the part, unchecked.
        part: u32,
    },
    /// A part.
    Data {
        /// Index of the part. Lies inside `total_size`.
        part: u32,
        /// Bytes of the whole dictionary, as the sender says. Not compared with any limit here.
        total_size: u32,
        /// The part: as long as this part of a dictionary of that size is.
        data: Bytes,
    },
    /// "I will not send this part."
    Reject {
        /// Index of the part, unchecked.
        part: u32,
    },
}

impl Metadata {
    /// The payload that is sent.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, part, total_size, data) = match self {
            Self::Request { part } => (REQUEST, *part, None, &[][..]),
            Self::Data { part, total_size, data } => (DATA, *part, Some(*total_size), &data[..]),
            Self::Reject { part } => (REJECT, *part, None, &[][..]),
        };
        let mut out = Encoder::append_to(Vec::with_capacity(64 + data.len()));
        out.begin_dict();
        out.key(b"msg_type").int(kind);
        out.key(b"piece").int(part.into());
        if let Some(size) = total_size {
            out.key(b"total_size").int(size.into());
        }
        out.end();
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(data);
        bytes
    }

    /// Reads a payload; the part shares its memory. `None` for a kind of message that is unknown here, which is to be ignored (BEP 9).
    ///
    /// # Errors
    /// It is too long, not bencode, lacks a number, or holds a part of another length than its place in a dictionary of that
    /// size has.
    pub fn decode(payload: &Bytes) -> Result<Option<Self>, Error> {
        if METADATA_PAYLOAD_MAX < payload.len() {
            let (message, length) = (UT_METADATA, payload.len());
            return Err(Error::MessageTooLong { message, length, limit: METADATA_PAYLOAD_MAX });
        }
        let (document, end) = Document::parse_prefix(payload)?;
        let root = document.root().as_dict().ok_or(Error::NotADictionary)?;
        let field = |name: &'static str| {
            let value = root.get(name.as_bytes()).and_then(number::<u32>);
            value.ok_or(Error::MissingNumber { message: UT_METADATA, name })
        };
        let kind = root.get(b"msg_type").and_then(|kind| kind.as_int());
        let kind = kind.ok_or(Error::MissingNumber { message: UT_METADATA, name: "msg_type" })?;
        Ok(Some(match kind {
            REQUEST => Self::Request { part: field("piece")? },
            REJECT => Self::Reject { part: field("piece")? },
            DATA => {
                let (part, total_size) = (field("piece")?, field("total_size")?);
                let data = payload.slice(end..);
                let expected = part_length(part, total_size).unwrap_or(0) as usize;
                if data.is_empty() || data.len() != expected {
                    return Err(Error::WrongLength { message: UT_METADATA, length: data.len(), expected });
                }
                Self::Data { part, total_size, data }
            }
            _ => return Ok(None),
        }))
    }
}

/// Parts of a dictionary of `size` bytes.
pub fn part_count(size: u32) -> u32 {
    size.div_ceil(PART_LENGTH)
}

/// Bytes of one part of a dictionary of `size` bytes. `None` when it has no such part.
pub fn part_length(part: u32, size: u32) -> Option<u32> {
    let begin = part.checked_mul(PART_LENGTH).filter(|begin| *begin < size)?;
    Some((size - begin).min(PART_LENGTH))
}

const REQUEST: i64 = 0;
const DATA: i64 = 1;
const REJECT: i64 = 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(message: &Metadata, bytes: &[u8]) {
        assert_eq!(message.encode(), bytes);
        assert_eq!(decode(bytes), Ok(Some(message.clone())));
    }

    fn decode(bytes: &[u8]) -> Result<Option<Metadata>, Error> {
        Metadata::decode(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn the_examples_of_bep_9() {
        check(&Metadata::Request { part: 0 }, b"d8:msg_typei0e5:piecei0ee");
        check(&Metadata::Reject { part: 0 }, b"d8:msg_typei2e5:piecei0ee");
        let data = Bytes::from(vec![b'x'; 3425]);
        let bytes = [&b"d8:msg_typei1e5:piecei0e10:total_sizei3425ee"[..], &data].concat();
        check(&Metadata::Data { part: 0, total_size: 3425, data }, &bytes);
    }

    #[test]
    fn a_part_has_the_length_of_its_place() {
        let part = |number: u32, length: usize| {
            let head = format!("d8:msg_typei1e5:piecei{number}e10:total_sizei20000ee");
            decode(&[head.as_bytes(), &vec![1; length]].concat())
        };
        assert!(matches!(part(0, 16_384), Ok(Some(Metadata::Data { part: 0, total_size: 20_000, .. }))));
        assert!(matches!(part(1, 3_616), Ok(Some(Metadata::Data { part: 1, .. }))));
        for (number, length, expected) in [(0, 16_383, 16_384), (1, 3_617, 3_616), (2, 1, 0), (2, 0, 0)] {
            assert_eq!(
                part(number, length),
                Err(Error::WrongLength { message: UT_METADATA, length, expected }),
                "{number}"
            );
        }
        assert!(part(u32::MAX, 10).is_err());
    }

    #[test]
    fn what_is_no_message_is_refused_and_new_kinds_are_ignored() {
        assert_eq!(decode(b"d8:msg_typei7e5:piecei0ee"), Ok(None));
        for bytes in [
            &b""[..],
            b"le",
            b"de",
            b"d8:msg_typei0ee",
            b"d5:piecei0ee",
            b"d8:msg_typei0e5:piecei-1ee",
            b"d8:msg_typei0e5:piecei4294967296ee",
            b"d8:msg_typei1e5:piecei0eex",
            b"d8:msg_typei1e5:piecei0e10:total_sizei0ee",
        ] {
            assert!(decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        let long = vec![b'd'; METADATA_PAYLOAD_MAX + 1];
        assert!(matches!(decode(&long), Err(Error::MessageTooLong { .. })));
    }

    #[test]
    fn parts_are_counted_without_overflow() {
        assert_eq!((part_count(0), part_count(1), part_count(16_384), part_count(16_385)), (0, 1, 1, 2));
        assert_eq!(part_count(u32::MAX), 1 << 18);
        assert_eq!(part_length((1 << 18) - 1, u32::MAX), Some(16_383));
        assert_eq!(part_length(1 << 18, u32::MAX), None);
    }
}
