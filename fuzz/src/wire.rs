//! Any bytes from a peer: handshake, message stream, extension handshake.

use bytes::{Bytes, BytesMut};
use ferri_wire::extension::metadata::{METADATA_PAYLOAD_MAX, Metadata, PART_LENGTH, part_count, part_length};
use ferri_wire::extension::pex::{PEX_ENTRIES_MAX, Pex};
use ferri_wire::{
    DecodeError, HANDSHAKE_LEN, Handshake, MESSAGE_LEN_MAX, Message, PIECE_HEADER_LEN, Reserved, decode,
    encode, encode_piece_header, encoded_len, extension, frame_len, piece_header,
};

use crate::script::Script;

/// The first byte says how the rest is cut into reads. However it is cut, the same messages come out, the same error ends
/// them, and each message encodes to the bytes it came from.
pub fn wire(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let (whole, whole_end) = read(stream, stream.len().max(1));
    let (parts, parts_end) = read(stream, 1 + usize::from(cut));
    assert_eq!(whole, parts);
    assert_eq!(whole_end, parts_end);
    check_messages(stream, &whole);
}

/// All messages of a stream that arrives `cut` bytes at a time, and what ended it.
fn read(stream: &[u8], cut: usize) -> (Vec<Message>, Result<(), DecodeError>) {
    let (mut buf, mut messages) = (BytesMut::new(), Vec::new());
    for part in stream.chunks(cut) {
        buf.extend_from_slice(part);
        loop {
            let before = buf.len();
            match decode(&mut buf) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => {
                    assert_eq!(buf.len(), before, "bytes were taken although no message was");
                    assert!(
                        buf.len() < 4 + MESSAGE_LEN_MAX as usize,
                        "a reader must keep {} bytes",
                        buf.len()
                    );
                    break;
                }
                Err(error) => {
                    assert_eq!(buf.len(), before);
                    assert!(!error.to_string().is_empty());
                    return (messages, Err(error));
                }
            }
        }
    }
    (messages, Ok(()))
}

/// The messages are what the stream begins with.
fn check_messages(mut stream: &[u8], messages: &[Message]) {
    let mut out = BytesMut::new();
    for message in messages {
        let length = encoded_len(message);
        let (frame, rest) = stream.split_at(length);
        assert_eq!(frame_len(frame), Ok(Some(length)));
        out.clear();
        encode(message, &mut out);
        match message {
            Message::Unknown { .. } => assert_eq!(out[..5], frame[..5], "the head of what was skipped"),
            _ => assert_eq!(out, frame, "{message:?}"),
        }
        let head = piece_header(frame);
        if let Message::Piece { piece, begin, data } = message {
            let head = head.expect("the header of a piece");
            assert_eq!((head.piece, head.begin, head.data_len as usize), (*piece, *begin, data.len()));
            let bytes = encode_piece_header(*piece, *begin, head.data_len);
            assert_eq!(bytes, frame[..PIECE_HEADER_LEN]);
        } else {
            assert_eq!(head, None);
        }
        check_json(message);
        assert!(format!("{message:?}").len() < 120, "what is logged is short");
        stream = rest;
    }
}

/// A recorded message comes back, the data of a block as zeros.
fn check_json(message: &Message) {
    let text = serde_json::to_string(message).expect("a message can be written");
    let mut expected = message.clone();
    if let Message::Piece { data, .. } = &mut expected {
        assert!(text.len() < 100, "the data of a block is recorded");
        *data = vec![0; data.len()].into();
    }
    let back: Message = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(back, expected);
}

/// Any bytes as the first ones of a connection. A wrong one is known as soon as it arrives, a handshake encodes to itself.
pub fn handshake(data: &[u8]) {
    let result = Handshake::decode_prefix(data);
    for end in 0..data.len().min(HANDSHAKE_LEN) {
        match Handshake::decode_prefix(&data[..end]) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("a handshake of {end} bytes"),
            Err(error) => {
                assert_eq!(Err(error.clone()), result, "more bytes change the verdict");
                assert!(matches!(error, DecodeError::WrongProtocol { offset } if offset < end));
            }
        }
    }
    let Ok(Some((handshake, length))) = result else { return };
    assert_eq!(length, HANDSHAKE_LEN);
    assert_eq!(handshake.encode(), data[..length]);
    let text = serde_json::to_string(&handshake).expect("a handshake can be written");
    assert_eq!(serde_json::from_str::<Handshake>(&text).expect("and read"), handshake);
    let reserved = handshake.reserved;
    assert_eq!(Reserved::from(*reserved.as_bytes()), reserved);
    assert!(reserved.with_fast().has_fast() && reserved.with_extensions().has_extensions());
    let name = handshake.peer_id.client().unwrap_or_default();
    assert!(name.len() <= 64 && !name.contains(char::is_control), "{name:?}");
    assert!(handshake.peer_id.to_string().is_ascii());
}

/// Any bytes as extension messages. What is kept is bounded, writes as canonical bencode and reads back the same.
pub fn extension(data: &[u8]) {
    let mut script = Script::new(data);
    let mut so_far = extension::ExtensionHandshake::default();
    while !script.is_empty() {
        let payload = match script.u8() {
            // One payload in the common case, several with a separator otherwise.
            b'd' if data.first() == Some(&b'd') => {
                script.rest();
                data
            }
            length => script.slice(usize::from(length)),
        };
        if let Ok(message) = extension::DontHave::decode(payload) {
            assert_eq!(message.encode(), payload);
        }
        if let Ok(message) = extension::UploadOnly::decode(payload) {
            assert_eq!(extension::UploadOnly::decode(&message.encode()), Ok(message));
        }
        let Ok(handshake) = extension::ExtensionHandshake::decode(payload) else { continue };
        check_extension(&handshake);
        so_far.update(handshake);
        check_extension(&so_far);
    }
}

fn check_extension(handshake: &extension::ExtensionHandshake) {
    assert!(handshake.m.len() <= extension::EXTENSIONS_MAX);
    assert!(handshake.m.keys().all(|name| (1..=extension::EXTENSION_NAME_MAX).contains(&name.len())));
    assert!(handshake.v.as_ref().is_none_or(|name| name.len() <= extension::CLIENT_NAME_MAX));
    assert!(handshake.m.keys().all(|name| handshake.id(name) != Some(0)));
    let bytes = handshake.encode();
    ferri_bencode::Document::parse(&bytes).expect("canonical");
    assert_eq!(extension::ExtensionHandshake::decode(&bytes).as_ref(), Ok(handshake));
}

/// Any bytes as a `ut_metadata` message. What is understood lies inside the dictionary it is about, and comes back from its own
/// encoding.
pub fn metadata(data: &[u8]) {
    let Ok(Some(message)) = Metadata::decode(&Bytes::copy_from_slice(data)) else { return };
    if let Metadata::Data { part, total_size, data } = &message {
        assert!(*part < part_count(*total_size) && !data.is_empty());
        assert_eq!(part_length(*part, *total_size), Some(data.len() as u32));
        assert!(data.len() <= PART_LENGTH as usize);
    }
    let bytes = message.encode();
    assert!(bytes.len() <= METADATA_PAYLOAD_MAX);
    assert_eq!(Metadata::decode(&bytes.into()), Ok(Some(message)));
}

/// Any bytes as a `ut_pex` message. What is taken is bounded, has ports, and comes back from its own encoding.
pub fn pex(data: &[u8]) {
    let Ok(pex) = Pex::decode(data) else { return };
    assert!(pex.added.len() <= 2 * PEX_ENTRIES_MAX && pex.dropped.len() <= 2 * PEX_ENTRIES_MAX);
    assert!(pex.added.iter().all(|(addr, _)| addr.port() != 0 && addr.ip() == addr.ip().to_canonical()));
    let bytes = pex.encode();
    ferri_bencode::Document::parse(&bytes).expect("canonical");
    let back = Pex::decode(&bytes).expect("what was written can be read");
    // IPv4 inside of IPv6 moves to its own list, before the others.
    let mut expected = pex.added[..pex.added.len().min(PEX_ENTRIES_MAX)].to_vec();
    expected.sort_by_key(|(addr, _)| addr.is_ipv6());
    assert_eq!(back.added, expected);
    assert!(back.dropped.len() <= PEX_ENTRIES_MAX);
}
