//! Sybils: the nodes of an attacker, who wants to hide the peers of one info hash. They are good members of the network
//! in all but the contents of their answers.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ferri_bencode::Encoder;
use ferri_dht::NodeId;
use ferri_metainfo::InfoHash;

use crate::scenario::Dice;

use super::internet::{self, Time};
use super::krpc;
use super::scenario::Sybils;

/// Sybils named in an answer.
const NAMED: usize = 8;

/// False peers told in an answer.
const FALSE_PEERS: usize = 20;

/// What all victims are told to be their address.
const WRONG_ADDRESS: [u8; 6] = [45, 66, 77, 88, 0x1a, 0xe1];

/// Leading bits that every sybil shares with the target at least, if it has the choice: more than any honest node will.
const SHARED_BITS: u64 = 18;

/// All sybils.
#[derive(Debug)]
pub(super) struct Gang {
    pub(super) sybils: Vec<Sybil>,
    spec: Sybils,
    target: InfoHash,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Sybil {
    pub(super) addr: SocketAddr,
    /// How far it is from the backbone.
    pub(super) distance: Time,
    id: NodeId,
}

impl Gang {
    pub(super) fn new(spec: &Sybils, target: InfoHash, dice: &mut Dice) -> Self {
        let addrs = internet::attackers(dice, spec.networks, spec.count);
        let sybils = addrs
            .into_iter()
            .map(|addr| Sybil {
                addr,
                distance: internet::distance(dice),
                id: if spec.ids_fit { fitting(addr.ip(), target, dice) } else { near(target, dice) },
            })
            .collect();
        Self { sybils, spec: spec.clone(), target }
    }

    /// A datagram for a sybil, and what it says to it.
    pub(super) fn answer(
        &self,
        sybil: usize,
        from: SocketAddr,
        bytes: &[u8],
        dice: &mut Dice,
    ) -> Option<Bytes> {
        let head = krpc::head(bytes)?;
        if head.kind != b'q' {
            return None;
        }
        let mut message = Encoder::new();
        message.begin_dict();
        message.key(b"ip");
        match from {
            SocketAddr::V4(_) if self.spec.lie_about_address => message.bytes(&WRONG_ADDRESS),
            _ => message.bytes(&compact(from)),
        };
        message.key(b"r").begin_dict().key(b"id").bytes(self.sybils[sybil].id.as_bytes());
        if matches!(head.query, b"find_node" | b"get_peers") {
            message.key(b"nodes").bytes(&self.names(dice));
        }
        if head.query == b"get_peers" {
            message.key(b"token").bytes(b"gotcha");
            if self.spec.false_peers {
                message.key(b"values").begin_list();
                for _ in 0..FALSE_PEERS {
                    let peer =
                        SocketAddr::new(internet::public_v4(dice).into(), dice.between(1, 65_535) as u16);
                    message.bytes(&compact(peer));
                }
                message.end();
            }
        }
        message.end().key(b"t").bytes(head.transaction).key(b"y").bytes(b"r").end();
        Some(message.into_bytes().into())
    }

    /// How a sybil makes itself known to an honest node: by asking it for the target.
    pub(super) fn greeting(&self, sybil: usize, dice: &mut Dice) -> Bytes {
        let mut message = Encoder::new();
        message.begin_dict().key(b"a").begin_dict();
        message.key(b"id").bytes(self.sybils[sybil].id.as_bytes());
        message.key(b"target").bytes(self.target.as_bytes()).end();
        message.key(b"q").bytes(b"find_node");
        message.key(b"t").bytes(&dice.roll().to_be_bytes()[..4]).key(b"y").bytes(b"q").end();
        message.into_bytes().into()
    }

    /// Other sybils in compact form.
    fn names(&self, dice: &mut Dice) -> Vec<u8> {
        let mut nodes = Vec::with_capacity(NAMED * 26);
        for _ in 0..NAMED {
            let sybil = &self.sybils[dice.below(self.sybils.len() as u64) as usize];
            nodes.extend(sybil.id.as_bytes());
            nodes.extend(compact(sybil.addr));
        }
        nodes
    }
}

fn compact(addr: SocketAddr) -> Vec<u8> {
    let mut bytes = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(addr.port().to_be_bytes());
    bytes
}

/// An id as close to the target as one likes.
fn near(target: InfoHash, dice: &mut Dice) -> NodeId {
    let shared = dice.between(SHARED_BITS, 40) as usize;
    let mut id = *target.as_bytes();
    id[shared / 8] ^= 0x80 >> (shared % 8);
    for byte in &mut id[shared / 8 + 1..] {
        *byte = dice.roll() as u8;
    }
    NodeId::from(id)
}

/// The id closest to the target that belongs to `ip` (BEP 42), among the eight kinds that there are.
fn fitting(ip: IpAddr, target: InfoHash, dice: &mut Dice) -> NodeId {
    let goal = NodeId::from(target);
    let ids = (0..8).map(|chance| {
        let mut random = *target.as_bytes();
        random[18] = dice.roll() as u8;
        random[19] = (dice.roll() as u8 & !7) | chance;
        NodeId::for_address(ip, random)
    });
    ids.min_by_key(|id| id.distance(goal)).expect("there are eight")
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Networks;
    use super::*;

    #[test]
    fn sybils_are_nearer_than_chance_would_put_them() {
        let spec = |ids_fit| Sybils {
            count: 2_000,
            networks: Networks::Everywhere,
            ids_fit,
            false_peers: true,
            lie_about_address: true,
        };
        let target = InfoHash::from([0x5a; 20]);
        let shared = |gang: &Gang| {
            let mut bits: Vec<usize> =
                gang.sybils.iter().map(|sybil| sybil.id.shared_prefix(target.into())).collect();
            bits.sort_unstable();
            bits
        };
        let free = Gang::new(&spec(false), target, &mut Dice::new(1));
        assert!(SHARED_BITS as usize <= shared(&free)[0]);
        let tied = Gang::new(&spec(true), target, &mut Dice::new(1));
        assert!(tied.sybils.iter().all(|sybil| sybil.id.fits(sybil.addr.ip())));
        // Eight tries at each of 2,000 addresses.
        assert!(10 <= shared(&tied)[1_999 - NAMED]);
    }
}
