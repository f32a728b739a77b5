//! Peer wire framing ([BEP 3]): four bytes of length, a type byte, a body. Bytes in, messages out, and the way back.
//!
//! Every length is compared with what its type allows as soon as the first bytes are there, so a peer can make a
//! reader keep at most one message of the largest allowed size. Payloads share the buffer they arrived in; nothing is
//! copied. A message of a type unknown here is skipped whole.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html

use bytes::{Buf, BufMut, BytesMut};

use crate::hashes::HashRange;
use crate::message::Message;

/// The largest value of the length field that any message may have, in bytes (type byte and body, without the field).
pub const MESSAGE_LEN_MAX: u32 = 1 << 20;

/// The largest bitfield: one bit for each piece of the largest torrent.
pub const BITFIELD_BYTES_MAX: u32 = ferri_metainfo::limits::PIECES_MAX.div_ceil(8);

/// The longest block that may arrive in one message, in bytes. We ask for 16 KiB; some peers are asked for more.
pub const PIECE_DATA_MAX: u32 = ferri_metainfo::limits::MAX_BLOCK_LENGTH;

/// The largest extension handshake, in bytes without the two type bytes. Real ones are a few hundred.
pub const EXTENDED_HANDSHAKE_BYTES_MAX: u32 = 64 << 10;

/// The longest message of an unknown type that is skipped rather than refused (type byte and body).
pub const UNKNOWN_LEN_MAX: u32 = 128 << 10;

/// Bytes of hashes that may arrive in one message (BEP 52): a run of 512 at most, and one hash for each layer above it in
/// the tallest tree.
pub const HASHES_BYTES_MAX: u32 = (512 + 32) * 32;

/// Bytes of a piece message in front of its data: length field, type, piece and begin.
pub const PIECE_HEADER_LEN: usize = 13;

const LENGTH_FIELD: usize = 4;
/// Type byte and range of a message about hashes.
const HASH_RANGE: u32 = 1 + HashRange::LEN as u32;

/// The type bytes.
mod id {
    pub(super) const CHOKE: u8 = 0;
    pub(super) const UNCHOKE: u8 = 1;
    pub(super) const INTERESTED: u8 = 2;
    pub(super) const NOT_INTERESTED: u8 = 3;
    pub(super) const HAVE: u8 = 4;
    pub(super) const BITFIELD: u8 = 5;
    pub(super) const REQUEST: u8 = 6;
    pub(super) const PIECE: u8 = 7;
    pub(super) const CANCEL: u8 = 8;
    pub(super) const PORT: u8 = 9;
    pub(super) const SUGGEST: u8 = 13;
    pub(super) const HAVE_ALL: u8 = 14;
    pub(super) const HAVE_NONE: u8 = 15;
    pub(super) const REJECT: u8 = 16;
    pub(super) const ALLOWED_FAST: u8 = 17;
    pub(super) const EXTENDED: u8 = 20;
    pub(super) const HASH_REQUEST: u8 = 21;
    pub(super) const HASHES: u8 = 22;
    pub(super) const HASH_REJECT: u8 = 23;
}

/// The peer's bytes cannot be what the protocol allows; the connection cannot go on, as the next message cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length field is above [`MESSAGE_LEN_MAX`].
    #[error("the peer sent a message of {length} bytes; the limit is {limit}")]
    TooLong {
        /// Value of the length field.
        length: u32,
        /// The limit it passed.
        limit: u32,
    },
    /// The length is above what this type of message may have.
    #[error("the peer sent a message of type {message} with {length} bytes; the limit is {limit}")]
    MessageTooLong {
        /// Which type it is.
        message: &'static str,
        /// Value of the length field (type byte and body).
        length: u32,
        /// The largest that is allowed.
        limit: u32,
    },
    /// The length is not the only one this type of message can have.
    #[error("the peer sent a message of type {message} with {length} bytes; it has {expected}")]
    WrongLength {
        /// Which type it is.
        message: &'static str,
        /// Value of the length field (type byte and body).
        length: u32,
        /// The right one.
        expected: u32,
    },
    /// The length is below what this type of message needs.
    #[error("the peer sent a message of type {message} with {length} bytes; it has at least {least}")]
    MessageTooShort {
        /// Which type it is.
        message: &'static str,
        /// Value of the length field (type byte and body).
        length: u32,
        /// The smallest that is allowed.
        least: u32,
    },
    /// The first bytes are not those of a BitTorrent handshake (BEP 3).
    #[error("the peer does not speak the BitTorrent protocol: byte {offset} of its handshake is wrong")]
    WrongProtocol {
        /// The first byte that differs, counted from 0.
        offset: usize,
    },
}

/// What the first 13 bytes of a piece message say, for a reader that wants the data straight in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceHeader {
    /// How many bytes of data follow the header. At most [`PIECE_DATA_MAX`].
    pub data_len: u32,
    /// Index of the piece.
    pub piece: u32,
    /// Offset of the data inside the piece, in bytes.
    pub begin: u32,
}

/// The head of the piece message that `buf` starts with.
///
/// `None` when there are fewer than 13 bytes, when it is another message, and when its length is not allowed (which
/// [`frame_len`] and [`decode`] report).
pub fn piece_header(buf: &[u8]) -> Option<PieceHeader> {
    let head = buf.first_chunk::<PIECE_HEADER_LEN>()?;
    if head[LENGTH_FIELD] != id::PIECE {
        return None;
    }
    let length = be32(head, 0);
    check_length(length, id::PIECE, 0).ok()?;
    Some(PieceHeader { data_len: length - 9, piece: be32(head, 5), begin: be32(head, 9) })
}

/// The 13 bytes that stand in front of `length` bytes of data in a piece message.
pub fn encode_piece_header(piece: u32, begin: u32, length: u32) -> [u8; PIECE_HEADER_LEN] {
    debug_assert!(length <= PIECE_DATA_MAX, "a block of {length} bytes is refused by its receiver");
    let mut head = [0; PIECE_HEADER_LEN];
    head[..4].copy_from_slice(&(9 + length).to_be_bytes());
    head[4] = id::PIECE;
    head[5..9].copy_from_slice(&piece.to_be_bytes());
    head[9..].copy_from_slice(&begin.to_be_bytes());
    head
}

/// How many bytes the message at the start of `buf` has in all, its length field included.
///
/// `None` while too few bytes are there to know it (at most 6 are needed). An answer has passed the limits of its type,
/// so it may be waited for.
///
/// # Errors
/// The length is not one that this type of message can have.
pub fn frame_len(buf: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some((prefix, rest)) = buf.split_first_chunk::<LENGTH_FIELD>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix);
    if length == 0 {
        return Ok(Some(LENGTH_FIELD));
    }
    if MESSAGE_LEN_MAX < length {
        return Err(DecodeError::TooLong { length, limit: MESSAGE_LEN_MAX });
    }
    let Some((&id, body)) = rest.split_first() else { return Ok(None) };
    // Which limit an extended message has depends on its second byte. Without one its length is wrong anyway.
    let extended = match body.first() {
        Some(&byte) if 2 <= length => byte,
        None if 2 <= length && id == id::EXTENDED => return Ok(None),
        _ => 0,
    };
    check_length(length, id, extended)?;
    Ok(Some(LENGTH_FIELD + length as usize))
}

/// Takes the first message out of `buf`. `Ok(None)` when it is not complete yet; then nothing was taken.
///
/// The data of the message shares the memory of `buf`; the cost does not depend on its length.
///
/// # Errors
/// The bytes are not a message that a peer may send. `buf` is as it was, and the stream cannot be continued.
pub fn decode(buf: &mut BytesMut) -> Result<Option<Message>, DecodeError> {
    let Some(frame) = frame_len(buf)? else { return Ok(None) };
    if buf.len() < frame {
        return Ok(None);
    }
    if frame == LENGTH_FIELD {
        buf.advance(frame);
        return Ok(Some(Message::KeepAlive));
    }
    let message = match buf[LENGTH_FIELD] {
        id::BITFIELD => Message::Bitfield(payload(buf, frame, 5)),
        id::PIECE => {
            let (piece, begin) = (be32(buf, 5), be32(buf, 9));
            Message::Piece { piece, begin, data: payload(buf, frame, PIECE_HEADER_LEN) }
        }
        id::EXTENDED => {
            let id = buf[5];
            Message::Extended { id, payload: payload(buf, frame, 6) }
        }
        id::HASHES => {
            let body = LENGTH_FIELD + HASH_RANGE as usize;
            let range = HashRange::read(&buf[LENGTH_FIELD + 1..body]);
            Message::Hashes { range, hashes: payload(buf, frame, body) }
        }
        _ => {
            let message = fixed(&buf[LENGTH_FIELD..frame]);
            buf.advance(frame);
            message
        }
    };
    Ok(Some(message))
}

/// Appends `message` to `out`.
///
/// The body of an unknown message is written as zeros. A payload above the limits is a mistake of the caller, which
/// debug builds assert: the receiver would hang up.
pub fn encode(message: &Message, out: &mut BytesMut) {
    let frame = encoded_len(message);
    debug_assert!(frame <= LENGTH_FIELD + MESSAGE_LEN_MAX as usize, "{message:?} is refused by its receiver");
    let length = u32::try_from(frame - LENGTH_FIELD).unwrap_or(u32::MAX);
    out.reserve(frame);
    out.put_u32(length);
    match message {
        Message::KeepAlive => {}
        Message::Choke => out.put_u8(id::CHOKE),
        Message::Unchoke => out.put_u8(id::UNCHOKE),
        Message::Interested => out.put_u8(id::INTERESTED),
        Message::NotInterested => out.put_u8(id::NOT_INTERESTED),
        Message::Have { piece } => put(out, id::HAVE, &[*piece]),
        Message::Bitfield(bits) => {
            out.put_u8(id::BITFIELD);
            out.put_slice(bits);
        }
        Message::Request { piece, begin, length } => put(out, id::REQUEST, &[*piece, *begin, *length]),
        Message::Piece { piece, begin, data } => {
            put(out, id::PIECE, &[*piece, *begin]);
            out.put_slice(data);
        }
        Message::Cancel { piece, begin, length } => put(out, id::CANCEL, &[*piece, *begin, *length]),
        Message::Port(port) => {
            out.put_u8(id::PORT);
            out.put_u16(*port);
        }
        Message::Suggest { piece } => put(out, id::SUGGEST, &[*piece]),
        Message::HaveAll => out.put_u8(id::HAVE_ALL),
        Message::HaveNone => out.put_u8(id::HAVE_NONE),
        Message::Reject { piece, begin, length } => put(out, id::REJECT, &[*piece, *begin, *length]),
        Message::AllowedFast { piece } => put(out, id::ALLOWED_FAST, &[*piece]),
        Message::Extended { id, payload } => {
            out.put_u8(id::EXTENDED);
            out.put_u8(*id);
            out.put_slice(payload);
        }
        Message::HashRequest(range) => put_range(out, id::HASH_REQUEST, range),
        Message::Hashes { range, hashes } => {
            put_range(out, id::HASHES, range);
            out.put_slice(hashes);
        }
        Message::HashReject(range) => put_range(out, id::HASH_REJECT, range),
        Message::Unknown { id, length } => {
            out.put_u8(*id);
            out.put_bytes(0, *length as usize);
        }
    }
}

/// How many bytes [`encode`] appends for `message`.
pub fn encoded_len(message: &Message) -> usize {
    LENGTH_FIELD
        + match message {
            Message::KeepAlive => 0,
            Message::Choke
            | Message::Unchoke
            | Message::Interested
            | Message::NotInterested
            | Message::HaveAll
            | Message::HaveNone => 1,
            Message::Port(_) => 3,
            Message::Have { .. } | Message::Suggest { .. } | Message::AllowedFast { .. } => 5,
            Message::Request { .. } | Message::Cancel { .. } | Message::Reject { .. } => 13,
            Message::Bitfield(bits) => 1 + bits.len(),
            Message::Piece { data, .. } => 9 + data.len(),
            Message::Extended { payload, .. } => 2 + payload.len(),
            Message::HashRequest(_) | Message::HashReject(_) => HASH_RANGE as usize,
            Message::Hashes { hashes, .. } => HASH_RANGE as usize + hashes.len(),
            Message::Unknown { length, .. } => 1 + *length as usize,
        }
}

/// Whether a message of type `id` may have this value in its length field. `extended` is the byte after the type,
/// looked at for extended messages only. `length` is neither 0 nor above [`MESSAGE_LEN_MAX`].
fn check_length(length: u32, id: u8, extended: u8) -> Result<(), DecodeError> {
    let exactly = |message, expected| {
        if length == expected { Ok(()) } else { Err(DecodeError::WrongLength { message, length, expected }) }
    };
    let between = |message, least, limit| {
        if length < least {
            return Err(DecodeError::MessageTooShort { message, length, least });
        }
        if limit < length {
            return Err(DecodeError::MessageTooLong { message, length, limit });
        }
        Ok(())
    };
    match id {
        id::CHOKE => exactly("choke", 1),
        id::UNCHOKE => exactly("unchoke", 1),
        id::INTERESTED => exactly("interested", 1),
        id::NOT_INTERESTED => exactly("not interested", 1),
        id::HAVE => exactly("have", 5),
        id::BITFIELD => between("bitfield", 1, 1 + BITFIELD_BYTES_MAX),
        id::REQUEST => exactly("request", 13),
        id::PIECE => between("piece", 9, 9 + PIECE_DATA_MAX),
        id::CANCEL => exactly("cancel", 13),
        id::PORT => exactly("port", 3),
        id::SUGGEST => exactly("suggest piece", 5),
        id::HAVE_ALL => exactly("have all", 1),
        id::HAVE_NONE => exactly("have none", 1),
        id::REJECT => exactly("reject request", 13),
        id::ALLOWED_FAST => exactly("allowed fast", 5),
        id::EXTENDED if extended == 0 => between("extension handshake", 2, 2 + EXTENDED_HANDSHAKE_BYTES_MAX),
        id::EXTENDED => between("extended", 2, MESSAGE_LEN_MAX),
        id::HASH_REQUEST => exactly("hash request", HASH_RANGE),
        id::HASHES => between("hashes", HASH_RANGE, HASH_RANGE + HASHES_BYTES_MAX),
        id::HASH_REJECT => exactly("hash reject", HASH_RANGE),
        _ => between("unknown", 1, UNKNOWN_LEN_MAX),
    }
}

/// A message without payload, from its type byte and body, whose length was checked.
fn fixed(body: &[u8]) -> Message {
    match body[0] {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have { piece: be32(body, 1) },
        id::REQUEST => Message::Request { piece: be32(body, 1), begin: be32(body, 5), length: be32(body, 9) },
        id::CANCEL => Message::Cancel { piece: be32(body, 1), begin: be32(body, 5), length: be32(body, 9) },
        id::PORT => Message::Port(u16::from_be_bytes([body[1], body[2]])),
        id::SUGGEST => Message::Suggest { piece: be32(body, 1) },
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT => Message::Reject { piece: be32(body, 1), begin: be32(body, 5), length: be32(body, 9) },
        id::ALLOWED_FAST => Message::AllowedFast { piece: be32(body, 1) },
        id::HASH_REQUEST => Message::HashRequest(HashRange::read(&body[1..])),
        id::HASH_REJECT => Message::HashReject(HashRange::read(&body[1..])),
        // The frame is at most UNKNOWN_LEN_MAX long.
        id => Message::Unknown { id, length: body.len() as u32 - 1 },
    }
}

/// Takes the whole frame out of `buf` and gives what follows its first `skip` bytes, without copying it.
fn payload(buf: &mut BytesMut, frame: usize, skip: usize) -> bytes::Bytes {
    let mut whole = buf.split_to(frame);
    whole.advance(skip);
    whole.freeze()
}

fn put(out: &mut BytesMut, id: u8, numbers: &[u32]) {
    out.put_u8(id);
    for number in numbers {
        out.put_u32(*number);
    }
}

fn put_range(out: &mut BytesMut, id: u8, range: &HashRange) {
    out.put_u8(id);
    range.write(out);
}

/// The four bytes at `at`, which were checked to be there.
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<Message>, DecodeError>) {
        let mut buf = BytesMut::from(bytes);
        let got = decode(&mut buf);
        assert_eq!(got, expected);
        match got {
            Ok(Some(message)) => {
                assert!(buf.is_empty(), "{} bytes are left over", buf.len());
                let mut out = BytesMut::new();
                encode(&message, &mut out);
                assert_eq!(out, bytes, "the message does not encode to what it was decoded from");
                assert_eq!(encoded_len(&message), bytes.len());
                assert_eq!(frame_len(bytes), Ok(Some(bytes.len())));
            }
            Ok(None) | Err(_) => assert_eq!(buf, bytes, "bytes were taken although no message was"),
        }
    }

    #[test]
    fn every_message_has_the_bytes_of_its_specification() {
        check(b"\0\0\0\0", Ok(Some(Message::KeepAlive)));
        check(b"\0\0\0\x01\0", Ok(Some(Message::Choke)));
        check(b"\0\0\0\x01\x01", Ok(Some(Message::Unchoke)));
        check(b"\0\0\0\x01\x02", Ok(Some(Message::Interested)));
        check(b"\0\0\0\x01\x03", Ok(Some(Message::NotInterested)));
        check(b"\0\0\0\x05\x04\0\0\x01\x02", Ok(Some(Message::Have { piece: 258 })));
        check(b"\0\0\0\x03\x05\xff\x80", Ok(Some(Message::Bitfield(Bytes::from_static(b"\xff\x80")))));
        check(
            b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0",
            Ok(Some(Message::Request { piece: 1, begin: 16384, length: 16384 })),
        );
        check(
            b"\0\0\0\x0c\x07\0\0\0\x01\0\0\x40\0abc",
            Ok(Some(Message::Piece { piece: 1, begin: 16384, data: Bytes::from_static(b"abc") })),
        );
        check(
            b"\0\0\0\x0d\x08\0\0\0\x01\0\0\x40\0\0\0\x40\0",
            Ok(Some(Message::Cancel { piece: 1, begin: 16384, length: 16384 })),
        );
        check(b"\0\0\0\x03\x09\x1a\xe1", Ok(Some(Message::Port(6881))));
        check(b"\0\0\0\x05\x0d\0\0\0\x07", Ok(Some(Message::Suggest { piece: 7 })));
        check(b"\0\0\0\x01\x0e", Ok(Some(Message::HaveAll)));
        check(b"\0\0\0\x01\x0f", Ok(Some(Message::HaveNone)));
        check(
            b"\0\0\0\x0d\x10\0\0\0\x01\0\0\x40\0\0\0\x40\0",
            Ok(Some(Message::Reject { piece: 1, begin: 16384, length: 16384 })),
        );
        check(b"\0\0\0\x05\x11\0\0\0\x07", Ok(Some(Message::AllowedFast { piece: 7 })));
        check(
            b"\0\0\0\x04\x14\0de",
            Ok(Some(Message::Extended { id: 0, payload: Bytes::from_static(b"de") })),
        );
        check(b"\0\0\0\x02\x14\x03", Ok(Some(Message::Extended { id: 3, payload: Bytes::new() })));
        check(b"\0\0\0\x03\x63\0\0", Ok(Some(Message::Unknown { id: 99, length: 2 })));
    }

    #[test]
    fn hashes_are_asked_for_sent_and_refused() {
        let range =
            HashRange { pieces_root: [7; 32], base_layer: 2, index: 512, length: 512, proof_layers: 9 };
        let body = [&[7; 32][..], b"\0\0\0\x02\0\0\x02\0\0\0\x02\0\0\0\0\x09"].concat();
        check(&[b"\0\0\0\x31\x15", &body[..]].concat(), Ok(Some(Message::HashRequest(range))));
        check(&[b"\0\0\0\x31\x17", &body[..]].concat(), Ok(Some(Message::HashReject(range))));
        let hashes = Message::Hashes { range, hashes: Bytes::from_static(&[1; 64]) };
        check(&[b"\0\0\0\x71\x16", &body[..], &[1; 64]].concat(), Ok(Some(hashes)));
        check(
            b"\0\0\0\x30\x15",
            Err(DecodeError::WrongLength { message: "hash request", length: 48, expected: 49 }),
        );
        check(
            b"\0\0\x44\x32\x16",
            Err(DecodeError::MessageTooLong { message: "hashes", length: 17_458, limit: 17_457 }),
        );
        check(
            b"\0\0\0\x30\x16",
            Err(DecodeError::MessageTooShort { message: "hashes", length: 48, least: 49 }),
        );
        assert_eq!(
            format!("{:?}", Message::HashReject(range)),
            "HashReject(root 07070707, layer 2, 512 from 512, proofs 9)"
        );
    }

    #[test]
    fn a_message_that_is_not_complete_is_waited_for() {
        let whole = b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0";
        for end in 0..whole.len() {
            check(&whole[..end], Ok(None));
        }
    }

    #[test]
    fn a_length_the_peer_invented_is_refused_before_we_allocate() {
        check(b"\xff\xff\xff\xff", Err(DecodeError::TooLong { length: u32::MAX, limit: MESSAGE_LEN_MAX }));
        let error = decode(&mut BytesMut::from(&b"\xff\xff\xff\xff"[..])).unwrap_err();
        assert_eq!(error.to_string(), "the peer sent a message of 4294967295 bytes; the limit is 1048576");
    }

    #[test]
    fn the_length_must_be_the_one_of_the_type() {
        let wrong = |message, length, expected| Err(DecodeError::WrongLength { message, length, expected });
        check(b"\0\0\0\x02\0", wrong("choke", 2, 1));
        check(b"\0\0\0\x04\x04", wrong("have", 4, 5));
        check(b"\0\0\0\x0e\x06", wrong("request", 14, 13));
        check(b"\0\0\0\x0c\x08", wrong("cancel", 12, 13));
        check(b"\0\0\0\x02\x09", wrong("port", 2, 3));
        check(b"\0\0\0\x05\x0e", wrong("have all", 5, 1));
        check(b"\0\0\0\x08\x07", Err(DecodeError::MessageTooShort { message: "piece", length: 8, least: 9 }));
        let short = DecodeError::MessageTooShort { message: "extension handshake", length: 1, least: 2 };
        check(b"\0\0\0\x01\x14", Err(short.clone()));
        // What comes behind the message does not change what is said about it.
        check(b"\0\0\0\x01\x14\x03", Err(short));
    }

    #[test]
    fn the_length_is_limited_for_each_type_with_its_first_bytes() {
        let long = |message, length, limit| Err(DecodeError::MessageTooLong { message, length, limit });
        check(b"\0\x02\0\x0a\x07", long("piece", 131_082, 131_081));
        check(b"\0\x04\0\x02\x05", long("bitfield", 262_146, 262_145));
        check(b"\0\x01\0\x03\x14\0", long("extension handshake", 65_539, 65_538));
        check(b"\0\x02\0\x01\x63", long("unknown", 131_073, 131_072));
        // The largest of each is waited for.
        for head in
            [&b"\0\x02\0\x09\x07"[..], b"\0\x04\0\x01\x05", b"\0\x01\0\x02\x14\0", b"\0\x10\0\0\x14\x01"]
        {
            check(head, Ok(None));
            assert!(frame_len(head).unwrap().is_some());
        }
    }

    #[test]
    fn the_head_of_a_piece_is_read_without_its_data() {
        let head = encode_piece_header(3, 32768, 16384);
        assert_eq!(piece_header(&head), Some(PieceHeader { data_len: 16384, piece: 3, begin: 32768 }));
        assert_eq!(piece_header(&head[..12]), None);
        assert_eq!(frame_len(&head), Ok(Some(13 + 16384)));
        assert_eq!(piece_header(b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0"), None);
        assert_eq!(piece_header(b"\0\0\0\x08\x07\0\0\0\x01\0\0\x40\0"), None);
        assert_eq!(piece_header(b"\xff\0\0\x08\x07\0\0\0\x01\0\0\x40\0"), None);
    }

    #[test]
    fn a_payload_shares_the_memory_it_arrived_in() {
        let mut buf = BytesMut::new();
        let data = Bytes::from(vec![9; 16384]);
        encode(&Message::Piece { piece: 0, begin: 0, data }, &mut buf);
        let place = buf.as_ptr() as usize;
        let Some(Message::Piece { data, .. }) = decode(&mut buf).unwrap() else { panic!("not a piece") };
        assert_eq!(data.as_ptr() as usize, place + PIECE_HEADER_LEN);
    }

    fn bytes_up_to(max: usize) -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
    }

    fn range() -> impl Strategy<Value = HashRange> {
        (any::<[u8; 32]>(), any::<[u32; 4]>()).prop_map(|(pieces_root, numbers)| {
            let [base_layer, index, length, proof_layers] = numbers;
            HashRange { pieces_root, base_layer, index, length, proof_layers }
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let n = any::<u32>;
        prop_oneof![
            Just(Message::KeepAlive),
            Just(Message::Choke),
            Just(Message::Unchoke),
            Just(Message::Interested),
            Just(Message::NotInterested),
            Just(Message::HaveAll),
            Just(Message::HaveNone),
            n().prop_map(|piece| Message::Have { piece }),
            n().prop_map(|piece| Message::Suggest { piece }),
            n().prop_map(|piece| Message::AllowedFast { piece }),
            any::<u16>().prop_map(Message::Port),
            (n(), n(), n()).prop_map(|(piece, begin, length)| Message::Request { piece, begin, length }),
            (n(), n(), n()).prop_map(|(piece, begin, length)| Message::Cancel { piece, begin, length }),
            (n(), n(), n()).prop_map(|(piece, begin, length)| Message::Reject { piece, begin, length }),
            (n(), n(), bytes_up_to(300)).prop_map(|(piece, begin, data)| Message::Piece {
                piece,
                begin,
                data
            }),
            bytes_up_to(300).prop_map(Message::Bitfield),
            (any::<u8>(), bytes_up_to(300)).prop_map(|(id, payload)| Message::Extended { id, payload }),
            (range(), bytes_up_to(300)).prop_map(|(range, hashes)| Message::Hashes { range, hashes }),
            range().prop_map(Message::HashRequest),
            range().prop_map(Message::HashReject),
            (24u8.., 0u32..300).prop_map(|(id, length)| Message::Unknown { id, length }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_however_it_is_cut(
            messages in proptest::collection::vec(message(), 0..12),
            cut in 1usize..40,
        ) {
            let mut stream = BytesMut::new();
            for message in &messages {
                encode(message, &mut stream);
            }
            let (mut buf, mut got) = (BytesMut::new(), Vec::new());
            for part in stream.chunks(cut) {
                buf.extend_from_slice(part);
                while let Some(message) = decode(&mut buf).unwrap() {
                    got.push(message);
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert!(buf.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buf = BytesMut::from(&bytes[..]);
            let _ = piece_header(&bytes);
            while let Ok(Some(message)) = decode(&mut buf) {
                let mut out = BytesMut::new();
                encode(&message, &mut out);
                prop_assert_eq!(decode(&mut out).unwrap(), Some(message));
            }
        }
    }
}
