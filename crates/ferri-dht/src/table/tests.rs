//! The routing table: who gets a place, who loses it, and who is told.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::random::Random;

const US: [u8; 20] = [0; 20];

fn table(now: Instant) -> Table {
    Table::new(NodeId::from(US), true, now)
}

/// A node with a random id that begins like `first`, at its own network, with an id that fits if `fits`.
fn node(random: &mut Random, first: u8, fits: bool) -> Contact {
    loop {
        let ip: [u8; 4] = random.bytes();
        let addr = SocketAddr::new([8, ip[1], ip[2], ip[3]].into(), 6881);
        let id =
            if fits { NodeId::for_address(addr.ip(), random.bytes()) } else { NodeId::from(random.bytes()) };
        let mut bytes = *id.as_bytes();
        if !fits {
            bytes[0] = first;
        }
        if bytes[0] >> 4 == first >> 4 && NodeId::from(bytes).fits(addr.ip()) == fits {
            return Contact { id: NodeId::from(bytes), addr };
        }
    }
}

fn fill(table: &mut Table, random: &mut Random, count: usize, now: Instant) -> Vec<Contact> {
    let nodes: Vec<_> = (0..count).map(|_| node(random, 0xf0, true)).collect();
    nodes.iter().for_each(|node| {
        table.answered(*node, None, now);
    });
    nodes
}

/// An address that any id would not fit.
fn public(random: &mut Random) -> SocketAddr {
    let [a, b, c, d] = random.bytes();
    SocketAddr::new([11 + a % 100, b, c, d].into(), 6881)
}

fn has(table: &Table, contact: Contact) -> bool {
    table.nodes().any(|node| node.id == contact.id && node.addr == contact.addr)
}

#[test]
fn buckets_hold_eight_and_split_along_our_id_only() {
    let now = Instant::now();
    let mut random = Random::new([1; 32]);
    let mut table = table(now);
    for _ in 0..5_000 {
        let id = NodeId::from(random.bytes());
        let addr = SocketAddr::new(random.bytes::<4>().into(), 6881);
        table.answered(Contact { id, addr }, None, now);
    }
    let status = table.status(now);
    assert!((8..13).contains(&status.len()), "{}", status.len());
    for bucket in &status {
        assert!(bucket.nodes.len() <= K);
        for node in &bucket.nodes {
            let shared = node.id.shared_prefix(NodeId::from(US));
            assert!(shared == usize::from(bucket.prefix) || usize::from(bucket.prefix) + 1 == status.len());
        }
    }
    assert_eq!(table.owners.len(), table.nodes().count());
    let estimate = table.estimate();
    assert!((1_500..20_000).contains(&estimate), "{estimate}");
}

#[test]
fn the_closest_are_told_in_order_and_are_the_closest_there_are() {
    let now = Instant::now();
    let mut random = Random::new([2; 32]);
    let mut table = table(now);
    for _ in 0..2_000 {
        let addr = SocketAddr::new(random.bytes::<4>().into(), 6881);
        table.answered(Contact { id: NodeId::from(random.bytes()), addr }, None, now);
    }
    for _ in 0..200 {
        let target = NodeId::from(US).sibling(random.below(12), random.bytes());
        let mut all: Vec<_> = table.nodes().map(|node| node.id.distance(target)).collect();
        all.sort_unstable();
        all.truncate(8);
        let told: Vec<_> =
            table.closest(target, 8).iter().map(|(node, _)| node.id.distance(target)).collect();
        assert_eq!(told, all);
    }
}

#[test]
fn good_nodes_are_not_put_out_and_bad_ones_are() {
    let now = Instant::now();
    let mut random = Random::new([3; 32]);
    let mut table = table(now);
    fill(&mut table, &mut random, 60, now);
    let members: Vec<Contact> = table.nodes().map(|node| Contact { id: node.id, addr: node.addr }).collect();
    let unfit: Vec<_> = (0..50).map(|_| node(&mut random, 0xf0, false)).collect();
    for stranger in &unfit {
        table.answered(*stranger, None, now);
        assert!(!has(&table, *stranger));
    }
    table.failed(members[0]);
    assert!(has(&table, members[0]));
    table.failed(members[0]);
    assert!(!has(&table, members[0]));
    assert_eq!(table.nodes().count(), members.len());
    assert_eq!(table.owners.len(), members.len());
}

#[test]
fn the_questionable_one_is_named_before_it_is_replaced() {
    let start = Instant::now();
    let mut random = Random::new([4; 32]);
    let mut table = table(start);
    // Eight in the far half, so that its bucket is full, and one near us, so that it is not the last one.
    let mut far = Vec::new();
    while table.status(start)[0].nodes.len() < 8 || table.buckets.len() < 2 {
        let node = node(&mut random, if far.len() % 3 == 0 { 0x10 } else { 0xf0 }, true);
        table.answered(node, None, start);
        far.push(node);
    }
    let later = start + GOOD_FOR;
    let stranger = node(&mut random, 0xf0, true);
    let Answered::Doubtful(doubtful) = table.answered(stranger, None, later) else { panic!("not doubtful") };
    assert!(has(&table, doubtful));
    assert!(!has(&table, stranger));
    table.failed(doubtful);
    table.failed(doubtful);
    assert!(has(&table, stranger));
}

#[test]
fn one_of_each_network_in_a_bucket_and_one_of_each_address_in_the_table() {
    let now = Instant::now();
    let mut table = table(now);
    let contact = |first: u8, addr: &str| {
        let mut id = [7; 20];
        id[0] = first;
        Contact { id: NodeId::from(id), addr: addr.parse().unwrap() }
    };
    assert_eq!(table.answered(contact(0xf0, "8.8.8.1:1"), None, now), Answered::Known);
    assert_eq!(table.answered(contact(0xf1, "8.8.8.2:1"), None, now), Answered::Refused);
    assert_eq!(table.answered(contact(0x0f, "8.8.8.1:2"), None, now), Answered::Refused);
    assert_eq!(table.answered(contact(0xf1, "10.0.0.1:1"), None, now), Answered::Known);
    assert_eq!(table.answered(contact(0xf2, "10.0.0.1:2"), None, now), Answered::Known);
    assert_eq!(table.answered(contact(0xf3, "10.0.0.2:1"), None, now), Answered::Known);
}

#[test]
fn who_changes_its_id_loses_its_place_and_who_claims_an_id_gets_none() {
    let now = Instant::now();
    let mut random = Random::new([5; 32]);
    let mut table = table(now);
    let nodes = fill(&mut table, &mut random, 4, now);
    let claim = Contact { id: nodes[0].id, addr: "9.9.9.9:9".parse().unwrap() };
    assert_eq!(table.answered(claim, None, now), Answered::Refused);
    assert!(has(&table, nodes[0]));
    let changed = Contact { id: node(&mut random, 0xf0, true).id, addr: nodes[1].addr };
    assert_eq!(table.answered(changed, None, now), Answered::Refused);
    assert!(!has(&table, nodes[1]));
    assert!(!has(&table, changed));
}

#[test]
fn a_crowd_of_ids_fills_no_bucket_but_its_own() {
    let now = Instant::now();
    let mut random = Random::new([6; 32]);
    let mut table = table(now);
    // Sybils that all share 24 bits, first to come; then honest nodes of the same half.
    for _ in 0..2_000 {
        let mut id: [u8; 20] = random.bytes();
        id[..3].copy_from_slice(&[0xf5, 1, 2]);
        let addr = public(&mut random);
        table.answered(Contact { id: NodeId::from(id), addr }, None, now);
    }
    for _ in 0..100 {
        let mut id: [u8; 20] = random.bytes();
        id[0] |= 0x80;
        let addr = public(&mut random);
        table.answered(Contact { id: NodeId::from(id), addr }, None, now);
    }
    let sybils = table.nodes().filter(|node| node.id.as_bytes()[..3] == [0xf5, 1, 2]).count();
    assert!(sybils <= 1, "{sybils} of {}", table.nodes().count());
}

#[test]
fn strangers_that_ask_are_wanted_while_there_is_room() {
    let now = Instant::now();
    let mut random = Random::new([7; 32]);
    let mut table = table(now);
    let stranger = node(&mut random, 0xf0, true);
    assert!(table.asked(stranger, now));
    table.answered(stranger, None, now);
    assert!(!table.asked(stranger, now));
    assert!(!table.asked(Contact { id: NodeId::from([9; 20]), ..stranger }, now));
    assert!(!table.asked(Contact { id: NodeId::from(US), addr: "9.9.9.9:9".parse().unwrap() }, now));
    let asked = now + GOOD_FOR - Duration::from_secs(1);
    table.asked(stranger, asked);
    assert_eq!(table.qualities(now + GOOD_FOR).good, 1);
    assert_eq!(table.qualities(asked + GOOD_FOR).questionable, 1);
    assert_eq!(table.questionable(asked + GOOD_FOR), Some(stranger));
}

#[test]
fn a_new_id_keeps_the_nodes_it_has_room_for() {
    let now = Instant::now();
    let mut random = Random::new([8; 32]);
    let mut table = table(now);
    fill(&mut table, &mut random, 30, now);
    let before = table.nodes().count();
    let id = node(&mut random, 0xf0, true).id;
    table.rebuild(id, now);
    assert_eq!(table.id(), id);
    assert!(before <= table.nodes().count());
    assert_eq!(table.owners.len(), table.nodes().count());
}

#[test]
fn stale_buckets_are_named_once() {
    let start = Instant::now();
    let mut random = Random::new([9; 32]);
    let mut table = table(start);
    fill(&mut table, &mut random, 9, start);
    let buckets = table.buckets.len();
    let later = start + GOOD_FOR;
    let stale = (0..20).filter_map(|_| table.stale(random.bytes(), later)).count();
    assert_eq!(stale, buckets);
}
