//! The few messages that the load speaks ([BEP 3]), without any extension.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html

use std::io::Read;
use std::net::TcpStream;

use anyhow::{Result, ensure};

/// The unit of requests.
pub(crate) const BLOCK_LENGTH: u32 = 16384;

/// Message ids.
pub(crate) const CHOKE: u8 = 0;
pub(crate) const UNCHOKE: u8 = 1;
pub(crate) const REQUEST: u8 = 6;
pub(crate) const PIECE: u8 = 7;
const INTERESTED: u8 = 2;
const BITFIELD: u8 = 5;

const HANDSHAKE_LEN: usize = 68;

/// Length prefix, id, piece, begin: what stands before a block's data.
pub(crate) const PIECE_HEAD_LEN: usize = 13;

/// A whole request on the wire.
pub(crate) const REQUEST_LEN: usize = 17;

/// No message that a peer sends to us is longer, blocks apart; a bitfield of 2^21 pieces is 256 KiB.
const SMALL_MESSAGE_MAX: usize = 1 << 20;

/// Our half of the handshake; `number` makes peer ids of one process differ.
pub(crate) fn handshake(info_hash: &[u8; 20], number: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HANDSHAKE_LEN);
    bytes.extend_from_slice(b"\x13BitTorrent protocol");
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(info_hash);
    bytes.extend_from_slice(b"-FB0001-loadgenerat");
    bytes.push(number);
    bytes
}

/// Reads the other half.
///
/// # Errors
/// When it is not a handshake for this torrent.
pub(crate) fn read_handshake(stream: &mut TcpStream, info_hash: &[u8; 20]) -> Result<()> {
    let mut bytes = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut bytes)?;
    ensure!(bytes.starts_with(b"\x13BitTorrent protocol"), "not a plain handshake");
    ensure!(bytes[28..48] == *info_hash, "a handshake for another torrent");
    Ok(())
}

/// What a seed says first.
pub(crate) fn seed_greeting(bitfield: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_head(&mut bytes, BITFIELD, bitfield.len());
    bytes.extend_from_slice(bitfield);
    push_head(&mut bytes, UNCHOKE, 0);
    bytes
}

/// What a leecher says first.
pub(crate) fn leech_greeting() -> Vec<u8> {
    let mut bytes = Vec::new();
    push_head(&mut bytes, INTERESTED, 0);
    bytes
}

/// Adds a request to what will be sent.
pub(crate) fn push_request(bytes: &mut Vec<u8>, piece: u32, begin: u32, length: u32) {
    push_head(bytes, REQUEST, 12);
    for number in [piece, begin, length] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
}

/// What stands before a block's data.
pub(crate) fn piece_head(piece: u32, begin: u32, length: u32) -> [u8; PIECE_HEAD_LEN] {
    let mut head = [0; PIECE_HEAD_LEN];
    head[..4].copy_from_slice(&(length + 9).to_be_bytes());
    head[4] = PIECE;
    head[5..9].copy_from_slice(&piece.to_be_bytes());
    head[9..].copy_from_slice(&begin.to_be_bytes());
    head
}

/// The big-endian number at `at`.
pub(crate) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Reads messages until the peer unchokes us.
///
/// # Errors
/// When the connection ends first.
pub(crate) fn wait_for_unchoke(stream: &mut TcpStream) -> Result<()> {
    loop {
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix)?;
        if skip_message(stream, number(&prefix, 0))? == Some(UNCHOKE) {
            return Ok(());
        }
    }
}

/// Reads the rest of a message that is no block, after its length prefix; returns its id.
///
/// # Errors
/// When the connection ends or the length is absurd.
pub(crate) fn skip_message(stream: &mut TcpStream, length: u32) -> Result<Option<u8>> {
    ensure!(length as usize <= SMALL_MESSAGE_MAX, "a message of {length} bytes");
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    Ok(body.first().copied())
}

fn push_head(bytes: &mut Vec<u8>, id: u8, body_len: usize) {
    let length = u32::try_from(body_len + 1).expect("our own messages are short");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(id);
}
