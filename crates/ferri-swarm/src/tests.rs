//! Both machines of a torrent, alone and wired together: metadata, peers that tell of peers, private torrents.

mod addresses;
mod hand_over;
mod metadata;
mod wired;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::{Info, InfoHashes};
use ferri_wire::extension::{self, HANDSHAKE_ID};
use ferri_wire::{Handshake, Message, PeerId, Reserved};

use crate::input::{Direction, Input, PeerKey, Source};
use crate::options::SwarmOptions;
use crate::output::Output;
use crate::reason::{DisconnectReason, Misbehavior};

const PIECE: u32 = 16 << 10;

/// An info dictionary of so many pieces of 16 KiB of zeros.
fn info_of(pieces: u32, extra: &str) -> Bytes {
    // The hashes are not compared with data here: any 20 bytes do.
    let hash = [7; 20];
    let length = u64::from(pieces) * u64::from(PIECE);
    let head = format!("d6:lengthi{length}e4:name4:test12:piece lengthi{PIECE}e6:pieces{}:", pieces * 20);
    [head.as_bytes(), &hash.repeat(pieces as usize), extra.as_bytes(), b"e"].concat().into()
}

fn hashes_of(info: &[u8]) -> InfoHashes {
    let hashes = Info::parse(info).unwrap().info_hashes();
    assert!(hashes.are_of(info));
    hashes
}

fn addr(n: usize) -> SocketAddr {
    format!("10.0.{}.{}:4000", n / 200, n % 200 + 1).parse().unwrap()
}

fn peer_id(n: usize) -> PeerId {
    let mut id = *b"-XX0000-000000000000";
    id[12..].copy_from_slice(&(n as u64).to_be_bytes());
    PeerId::from(id)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn capable() -> Reserved {
    Reserved::NONE.with_fast().with_extensions()
}

/// What was said to a peer.
fn said(peer: PeerKey, outputs: &[Output]) -> Vec<&Message> {
    let to = |output| match output {
        &Output::Send { peer: to, ref message } if to == peer => Some(message),
        _ => None,
    };
    outputs.iter().filter_map(to).collect()
}

fn disconnected(peer: PeerKey, outputs: &[Output]) -> Option<DisconnectReason> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { peer: gone, reason } if *gone == peer => Some(*reason),
        _ => None,
    })
}

/// An extension handshake that names these extensions.
fn hello(names: &[(&str, u8)], change: impl FnOnce(&mut extension::ExtensionHandshake)) -> Message {
    let m = names.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
    let mut handshake = extension::ExtensionHandshake { m, ..Default::default() };
    change(&mut handshake);
    Message::Extended { id: HANDSHAKE_ID, payload: handshake.encode().into() }
}
