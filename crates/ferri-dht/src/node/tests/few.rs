//! Networks of a few nodes: a home, a laboratory, the processes of one host.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{World, peers_of};
use super::{announce, get_peers};
use crate::output::{End, Family};

/// Nodes at these addresses; all know the first one as a router, and nothing else.
fn world(addrs: impl IntoIterator<Item = SocketAddr>) -> World {
    let mut world = World::new(1);
    for addr in addrs {
        world.add_at(addr);
    }
    world
}

fn home(last: u8) -> SocketAddr {
    SocketAddr::new([10, 0, 0, last].into(), 6_881)
}

#[test]
fn two_who_know_one_node_meet_there() {
    let mut world = world([home(1)]);
    let seed = world.add_at(home(2));
    let (outcome, _) = world.ask(seed, announce(1, 6_881, true));
    assert_eq!((outcome.end, outcome.stored), (End::Converged, 1), "the router took it");
    world.run(Duration::from_secs(6));
    let leech = world.add_at(home(3));
    let begun = world.now();
    let (outcome, told) = world.ask(leech, get_peers(1));
    assert_eq!((outcome.end, peers_of(&told)), (End::Converged, vec![home(2)]));
    assert!(world.now() - begun < Duration::from_secs(2), "{:?}", world.now() - begun);
}

#[test]
fn they_meet_whoever_comes_first_and_when_many_come_at_once() {
    for count in [3, 5, 8, 9, 12, 30] {
        let mut world = world((1..=count).map(home));
        let seed = usize::from(count) - 1;
        let (outcome, _) = world.ask(seed, announce(1, 6_881, true));
        assert!(0 < outcome.stored, "{count}: {outcome:?}");
        let (_, told) = world.ask(1, get_peers(1));
        assert_eq!(peers_of(&told), [home(count)], "{count}");
    }
}

#[test]
fn a_router_that_is_not_needed_is_left_alone() {
    let mut world = World::new(2);
    world.grow(40, Family::V4);
    world.run(Duration::from_secs(60));
    for n in 0..20 {
        world.ask(usize::from(n) + 3, announce(n, 6_881, false));
    }
    assert_eq!(world.status(0).peers, 0);
}

#[test]
fn a_newcomer_to_a_large_network_does_not_look_its_torrents_up_at_the_router() {
    let mut world = World::new(3);
    world.grow(40, Family::V4);
    world.run(Duration::from_secs(60));
    let late = world.add_one(Family::V4);
    let (outcome, _) = world.ask(late, announce(1, 6_881, false));
    assert!(4 <= outcome.stored, "{outcome:?}");
    assert_eq!(world.status(0).peers, 0);
}

#[test]
fn processes_of_one_host_are_a_network() {
    let here = |port| SocketAddr::new([127, 0, 0, 1].into(), port);
    let mut world = world((7_001..7_021).map(here));
    world.run(Duration::from_secs(60));
    for at in 1..20 {
        let family = &world.status(at).families[0];
        assert!(super::super::super::network::POOR <= family.good, "{at}: {family:?}");
    }
    let (outcome, _) = world.ask(7, announce(1, 9_000, false));
    assert_eq!((outcome.end, outcome.stored), (End::Converged, 8));
    world.ask(8, announce(1, 9_001, false));
    let (_, told) = world.ask(15, get_peers(1));
    let mut found = peers_of(&told);
    found.sort_unstable();
    assert_eq!(found, [here(9_000), here(9_001)]);
}

#[test]
fn hosts_with_one_address_behind_several_ports_are_a_network() {
    let there = |port| SocketAddr::new("fd00::9".parse().unwrap(), port);
    let mut world = world((7_001..7_013).map(there));
    world.run(Duration::from_secs(60));
    world.ask(3, announce(1, 9_000, false));
    let (_, told) = world.ask(11, get_peers(1));
    assert_eq!(peers_of(&told), [there(9_000)]);
}

#[test]
fn a_node_outside_names_nobody_of_our_local_network() {
    use crate::krpc::{self, Body, Message, Response};
    let mut world = World::new(4);
    let stranger: SocketAddr = "9.9.9.9:6881".parse().unwrap();
    world.strangers.insert(stranger, 0);
    let (near, far) = (home(7), "8.8.8.8:1".parse().unwrap());
    world.stranger = Some(Box::new(move |_, _, bytes| {
        let document = krpc::parse(bytes).ok()?;
        let message = krpc::read(&document).ok()?;
        let Body::Query(_) = message.body else { return None };
        let values = vec![near, "127.0.0.1:22".parse().unwrap(), far];
        let id = crate::id::NodeId::for_address(stranger.ip(), [7; 20]);
        let body = Body::Response(Response { values, token: Some(b"t"), ..Response::new(id) });
        let transaction = message.transaction;
        Some(Message { transaction, client: None, ip: None, read_only: false, body }.encode())
    }));
    let node = world.add_alone(Family::V4);
    let contacts =
        crate::input::Input::Contacts { addrs: vec![stranger], kind: crate::input::ContactKind::Saved };
    world.input(node, contacts);
    let (_, told) = world.ask(node, get_peers(1));
    assert_eq!(peers_of(&told), [far]);
}
