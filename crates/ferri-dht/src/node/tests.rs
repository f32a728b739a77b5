//! Nodes wired together in memory, in virtual time.

#![allow(clippy::unwrap_used)]

mod amplification;
mod few;
mod hostile;
mod sybils;
mod world;

use std::time::Duration;

use bytes::Bytes;
use ferri_metainfo::InfoHash;

use super::*;
use crate::items::{Item, ItemKey, SigningKey};
use crate::output::{End, Outcome};
use crate::status::Quality;
use world::{World, peers_of};

fn info_hash(n: u8) -> InfoHash {
    InfoHash::from([n; 20])
}

fn announce(n: u8, port: u16, seed: bool) -> impl FnOnce(Lookup) -> Input {
    move |lookup| Input::Announce { lookup, info_hash: info_hash(n), port, implied_port: false, seed }
}

fn get_peers(n: u8) -> impl FnOnce(Lookup) -> Input {
    move |lookup| Input::GetPeers { lookup, info_hash: info_hash(n) }
}

#[test]
fn newcomers_get_in_through_one_router_and_take_ids_that_fit() {
    let mut world = World::new(1);
    world.grow(60, Family::V4);
    world.run(Duration::from_secs(60));
    for at in 1..60 {
        let status = world.status(at);
        let family = &status.families[0];
        assert!(family.bootstrapped, "{at}: {family:?}");
        assert!(super::super::network::POOR <= family.good, "{at}: {family:?}");
        assert_eq!(family.external, Some(world.addr(at).ip()));
        assert!(family.id.fits(world.addr(at).ip()));
        let router = world.addr(0);
        let table = world.node(at).table(Family::V4, world.now());
        assert!(table.iter().flat_map(|bucket| &bucket.nodes).all(|node| node.addr != router));
    }
}

#[test]
fn what_is_announced_is_found() {
    let mut world = World::new(2);
    world.grow(40, Family::V4);
    world.run(Duration::from_secs(60));
    let (outcome, _) = world.ask(7, announce(1, 6_881, false));
    assert_eq!((outcome.end, outcome.stored, outcome.refused), (End::Converged, 8, 0));
    let (outcome, told) = world.ask(31, get_peers(1));
    let expected = SocketAddr::new(world.addr(7).ip(), 6_881);
    assert_eq!(peers_of(&told), [expected]);
    assert_eq!((outcome.peers, outcome.end), (1, End::Converged));
    let (outcome, told) = world.ask(31, get_peers(2));
    assert_eq!((outcome.peers, peers_of(&told)), (0, vec![]));
}

#[test]
fn an_implied_port_is_the_one_the_packet_came_from() {
    let mut world = World::new(3);
    world.grow(12, Family::V4);
    world.run(Duration::from_secs(60));
    world.ask(5, |lookup| Input::Announce {
        lookup,
        info_hash: info_hash(1),
        port: 1,
        implied_port: true,
        seed: false,
    });
    let (_, told) = world.ask(6, get_peers(1));
    assert_eq!(peers_of(&told), [world.addr(5)]);
}

#[test]
fn swarms_are_counted() {
    let mut world = World::new(4);
    world.grow(40, Family::V4);
    world.run(Duration::from_secs(60));
    for at in 1..21 {
        world.ask(at, announce(9, 6_881, at <= 5));
    }
    let (outcome, _) = world.ask(30, |lookup| Input::Scrape { lookup, info_hash: info_hash(9) });
    let scrape = outcome.scrape.unwrap();
    assert!((4..=6).contains(&scrape.seeds), "{scrape:?}");
    assert!((14..=16).contains(&scrape.leeches), "{scrape:?}");
}

#[test]
fn items_are_put_found_and_replaced() {
    let mut world = World::new(5);
    // So few that all nodes keep each item, but the one that asks and the router, which is in no table.
    world.grow(10, Family::V4);
    world.run(Duration::from_secs(60));
    let item = Item::immutable(Bytes::from_static(b"5:hello")).unwrap();
    let put = item.clone();
    let (outcome, _) = world.ask(3, |lookup| Input::Put { lookup, item: put, cas: None });
    assert_eq!((outcome.stored, outcome.refused), (8, 0));
    let (_, told) = world.ask(7, |lookup| Input::Get { lookup, key: item.key(), newer_than: None });
    assert!(told.iter().any(|output| matches!(output, Output::Item { item: found, .. } if *found == item)));

    let key = SigningKey::from_seed(&[7; 32]);
    let version = |seq: i64| {
        Item::sign(&key, Bytes::from_static(b"salt"), seq, Bytes::from(format!("i{seq}e"))).unwrap()
    };
    world.ask(3, |lookup| Input::Put { lookup, item: version(1), cas: None });
    let (outcome, _) = world.ask(4, |lookup| Input::Put { lookup, item: version(5), cas: Some(1) });
    assert_eq!((outcome.stored, outcome.refused), (8, 0));
    let (outcome, _) = world.ask(4, |lookup| Input::Put { lookup, item: version(6), cas: Some(1) });
    assert_eq!((outcome.stored, outcome.refused), (0, 8));
    let (outcome, _) = world.ask(4, |lookup| Input::Put { lookup, item: version(4), cas: None });
    assert_eq!((outcome.stored, outcome.refused), (0, 8));
    let wanted = ItemKey::Mutable { public_key: key.public_key(), salt: Bytes::from_static(b"salt") };
    let get = wanted.clone();
    let (outcome, told) = world.ask(8, |lookup| Input::Get { lookup, key: get, newer_than: Some(4) });
    let found: Vec<_> = told.iter().filter(|output| matches!(output, Output::Item { .. })).collect();
    assert_eq!(found.len(), 1);
    assert!(matches!(found[0], Output::Item { item, .. } if *item == version(5)));
    // The node that asks may be one of the eight.
    assert!((7..=8).contains(&outcome.copies), "{outcome:?}");
    let (_, told) = world.ask(8, |lookup| Input::Get { lookup, key: wanted, newer_than: Some(5) });
    assert!(!told.iter().any(|output| matches!(output, Output::Item { .. })));
}

#[test]
fn info_hashes_are_sampled() {
    let mut world = World::new(6);
    world.grow(20, Family::V4);
    world.run(Duration::from_secs(60));
    for n in 0..5 {
        world.ask(2, announce(n, 6_881, false));
    }
    let target = NodeId::from([3; 20]);
    let (outcome, told) = world.ask(8, |lookup| Input::Sample { lookup, target });
    let mut found: Vec<_> = told
        .iter()
        .flat_map(|output| match output {
            Output::Samples { info_hashes, interval, .. } => {
                assert!(*interval <= 900);
                info_hashes.clone()
            }
            _ => vec![],
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, (0..5).map(info_hash).collect::<Vec<_>>());
    assert!(8 <= outcome.answers);
}

#[test]
fn the_ipv6_network_works_alone_and_beside_the_other() {
    let mut world = World::new(7);
    world.grow(30, Family::V6);
    world.run(Duration::from_secs(60));
    assert!(world.status(20).families[0].id.fits(world.addr(20).ip()));
    world.ask(7, announce(1, 6_881, false));
    let (_, told) = world.ask(20, get_peers(1));
    assert_eq!(peers_of(&told), [SocketAddr::new(world.addr(7).ip(), 6_881)]);
}

#[test]
fn lookups_before_there_is_a_network_wait_for_it() {
    let mut world = World::new(8);
    world.grow(20, Family::V4);
    world.run(Duration::from_secs(60));
    world.ask(7, announce(1, 6_881, false));
    let late = world.add_one(Family::V4);
    let (outcome, told) = world.ask(late, get_peers(1));
    assert_eq!(outcome.end, End::Converged);
    assert_eq!(peers_of(&told).len(), 1);
    let lonely = world.add_alone(Family::V4);
    let begun = world.now();
    let (outcome, _) = world.ask(lonely, get_peers(1));
    assert_eq!(outcome.end, End::NoNodes);
    assert!(Duration::from_secs(20) <= world.now() - begun && world.now() - begun <= Duration::from_secs(26));
}

#[test]
fn contacts_are_asked_for_with_growing_pauses() {
    let start = Instant::now();
    let mut node = Node::new(Options { ipv6: false, ..Options::default() }, None, [1; 32], start);
    let mut asked = Vec::new();
    let end = start + Duration::from_secs(3_600);
    while let Some(at) = node.poll_timeout().filter(|at| *at < end) {
        node.handle(Input::Timeout, at);
        while let Some(output) = node.poll_output() {
            match output {
                Output::WantContacts { family: Family::V4 } => asked.push(at - start),
                Output::Event(NodeEvent::Lonely { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(asked[0], Duration::ZERO);
    assert!((10..25).contains(&asked.len()), "{asked:?}");
    let pauses: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.is_sorted(), "{pauses:?}");
}

#[test]
fn a_restart_with_saved_nodes_needs_no_router() {
    let mut world = World::new(9);
    world.grow(30, Family::V4);
    world.run(Duration::from_secs(60));
    let state = State::decode(&world.node(5).state().encode()).unwrap();
    assert!(8 <= state.nodes.len());
    let again = world.restart(5, state.clone());
    world.run(Duration::from_secs(30));
    let status = world.status(again);
    assert_eq!(Some(status.families[0].id), state.id_v4);
    assert!(status.families[0].bootstrapped);
    assert!(!world.told(again).iter().any(|output| matches!(output, Output::WantContacts { .. })));
}

#[test]
fn names_are_taken_once_and_cancelled_lookups_end() {
    let mut world = World::new(10);
    world.grow(20, Family::V4);
    world.run(Duration::from_secs(60));
    let now = world.now();
    let lookup = Lookup(77);
    let node = world.node_mut(4);
    let input = || Input::GetPeers { lookup, info_hash: info_hash(1) };
    node.handle(input(), now);
    node.handle(input(), now);
    node.handle(Input::Cancel { lookup }, now);
    let ends: Vec<_> = std::iter::from_fn(|| node.poll_output())
        .filter_map(|output| match output {
            Output::Finished { outcome: Outcome { end, .. }, .. } => Some(end),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [End::Refused, End::Cancelled]);
}

#[test]
fn more_lookups_than_allowed_take_turns() {
    let mut world = World::new(11);
    world.grow(20, Family::V4);
    world.run(Duration::from_secs(60));
    let now = world.now();
    for n in 0..200u64 {
        let input = Input::GetPeers { lookup: Lookup(n), info_hash: info_hash(n as u8) };
        world.node_mut(4).handle(input, now);
    }
    assert!(world.node(4).transactions.len() <= 32 * 4);
    world.run(Duration::from_secs(120));
    let finished = world.told(4).iter().filter(|output| matches!(output, Output::Finished { .. })).count();
    assert_eq!(finished, 200);
}

#[test]
fn a_read_only_node_finds_peers_and_is_in_no_table() {
    let mut world = World::new(12);
    world.grow(25, Family::V4);
    world.run(Duration::from_secs(60));
    world.ask(7, announce(1, 6_881, false));
    let shy = world.add_one(Family::V4);
    let now = world.now();
    world.node_mut(shy).handle(Input::ReadOnly { read_only: true }, now);
    let (_, told) = world.ask(shy, get_peers(1));
    assert_eq!(peers_of(&told).len(), 1);
    world.run(Duration::from_secs(60));
    let addr = world.addr(shy);
    for at in 0..25 {
        let table = world.node(at).table(Family::V4, world.now());
        assert!(table.iter().flat_map(|bucket| &bucket.nodes).all(|node| node.addr != addr), "{at}");
    }
}

#[test]
fn the_dead_leave_the_tables_and_a_network_that_was_gone_comes_back() {
    let mut world = World::new(13);
    world.grow(30, Family::V4);
    world.run(Duration::from_secs(60));
    (20..30).for_each(|at| world.kill(at));
    world.run(Duration::from_secs(40 * 60));
    let dead: Vec<_> = (20..30).map(|at| world.addr(at)).collect();
    let good = |world: &World, at: usize| {
        let table = world.node(at).table(Family::V4, world.now());
        let nodes = table.into_iter().flat_map(|bucket| bucket.nodes);
        nodes.filter(|node| node.quality == Quality::Good).map(|node| node.addr).collect::<Vec<_>>()
    };
    for at in 1..20 {
        assert!(good(&world, at).iter().all(|addr| !dead.contains(addr)), "{at}");
    }
    world.unplug(3);
    world.run(Duration::from_secs(40 * 60));
    assert_eq!(good(&world, 3), []);
    assert!(world.told(3).iter().any(|output| matches!(output, Output::Event(NodeEvent::Lonely { .. }))));
    world.plug(3);
    let now = world.now();
    world.input(3, Input::NetworkChanged);
    world.run(Duration::from_secs(20));
    assert!(8 <= good(&world, 3).len(), "{:?}", world.status(3));
    assert!(now < world.now());
}

#[test]
fn lookups_with_loss_and_nat_are_short_and_find_what_is_there() {
    let mut world = World::new(14);
    world.loss_percent = 3;
    world.nat_percent = 30;
    world.grow(300, Family::V4);
    world.run(Duration::from_secs(180));
    let mut queries = Vec::new();
    let mut found = 0;
    for n in 0..60u8 {
        world.ask(1 + usize::from(n) * 4, announce(n, 6_881, false));
        let (outcome, told) = world.ask(299 - usize::from(n) * 4, get_peers(n));
        queries.push(outcome.queries);
        found += usize::from(!peers_of(&told).is_empty());
    }
    queries.sort_unstable();
    let median = queries[queries.len() / 2];
    assert!(median <= 24, "{queries:?}");
    assert_eq!(found, 60);
}
