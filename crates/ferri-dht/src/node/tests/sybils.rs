//! An attacker with many made-up ids near a target.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ferri_metainfo::InfoHash;

use super::world::{World, peers_of};
use crate::id::NodeId;
use crate::input::Input;
use crate::krpc::{self, Body, Message, Method, Response, compact};
use crate::output::Family;
use crate::random::Random;

/// Answers every question with eight of its own kind, and every search for peers with one that does not exist.
fn stranger(ids: Vec<(NodeId, SocketAddr)>) -> super::world::Stranger {
    let mine: BTreeMap<SocketAddr, NodeId> = ids.iter().map(|(id, addr)| (*addr, *id)).collect();
    let mut random = Random::new([1; 32]);
    Box::new(move |to, _, datagram| {
        let document = krpc::parse(datagram).ok()?;
        let message = krpc::read(&document).ok()?;
        let Body::Query(query) = &message.body else { return None };
        let mut nodes = Vec::new();
        for _ in 0..8 {
            let (id, addr) = ids[random.below(ids.len())];
            compact::put_node(&mut nodes, id, addr);
        }
        let peers = matches!(query.method, Method::GetPeers { .. });
        let response = Response {
            nodes: Some(&nodes),
            token: Some(b"sybil"),
            values: if peers { vec!["6.6.6.6:666".parse().unwrap()] } else { vec![] },
            ..Response::new(mine[&to])
        };
        let body = Body::Response(response);
        Some(
            Message { transaction: message.transaction, client: None, ip: None, read_only: false, body }
                .encode(),
        )
    })
}

#[test]
fn an_honest_peer_is_found_among_sybils_near_its_torrent() {
    let mut world = World::new(20);
    world.grow(100, Family::V4);
    world.run(Duration::from_secs(60));
    let target = [0x5a; 20];
    let mut random = Random::new([3; 32]);
    let mut ids = Vec::new();
    for n in 0..1_000 {
        let addr = world.fresh_addr(Family::V4);
        let id = NodeId::from(target).sibling(20 + n % 100, random.bytes());
        world.strangers.insert(addr, n);
        ids.push((id, addr));
    }
    world.stranger = Some(stranger(ids.clone()));
    // They make themselves known to all nodes.
    for (n, (id, addr)) in ids.iter().enumerate() {
        let query = krpc::Query { id: *id, want: None, method: Method::FindNode { target: *id } };
        let body = Body::Query(query);
        let bytes = Message { transaction: b"sy", client: None, ip: None, read_only: false, body }.encode();
        for at in [n % 100, (n * 7 + 1) % 100, (n * 13 + 2) % 100] {
            world.input(at, Input::Datagram { from: *addr, bytes: bytes.clone().into() });
        }
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_secs(60));
    let info_hash = InfoHash::from(target);
    world.ask(5, |lookup| Input::Announce {
        lookup,
        info_hash,
        port: 6_881,
        implied_port: false,
        seed: false,
    });
    let honest = SocketAddr::new(world.addr(5).ip(), 6_881);
    let mut found = 0;
    for at in 10..60 {
        let (outcome, told) = world.ask(at, |lookup| Input::GetPeers { lookup, info_hash });
        found += usize::from(peers_of(&told).contains(&honest));
        assert!(outcome.queries <= 60, "{outcome:?}");
    }
    assert!(48 <= found, "{found} of 50");
}
