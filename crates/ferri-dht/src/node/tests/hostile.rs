//! What strangers get from a node that they lie to or flood.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::id::NodeId;
use crate::input::Input;
use crate::krpc::{self, Body, Message, Method, Query, Response, Want, code};
use crate::node::Node;
use crate::options::Options;
use crate::output::{Family, Output};
use crate::random::Random;
use crate::table::Contact;
use ferri_metainfo::InfoHash;

fn query(method: Method<'_>, read_only: bool) -> Vec<u8> {
    let body =
        Body::Query(Query { id: NodeId::from([8; 20]), want: Some(Want { v4: true, v6: true }), method });
    Message { transaction: b"ab", client: None, ip: None, read_only, body }.encode()
}

fn find_node() -> Vec<u8> {
    query(Method::FindNode { target: NodeId::from([3; 20]) }, false)
}

/// A node with a full table that has asked nothing yet.
fn node(now: Instant) -> Node {
    let mut node = Node::new(Options::default(), None, [1; 32], now);
    let mut random = Random::new([2; 32]);
    for _ in 0..500 {
        let addr = SocketAddr::new(random.bytes::<4>().into(), 6_881);
        let contact = Contact { id: NodeId::from(random.bytes()), addr };
        node.network_mut(Family::V4).unwrap().table.answered(contact, None, now);
    }
    node
}

fn sent(node: &mut Node) -> Vec<(SocketAddr, Bytes)> {
    let outputs = std::iter::from_fn(|| node.poll_output());
    outputs
        .filter_map(|output| if let Output::Send { to, bytes } = output { Some((to, bytes)) } else { None })
        .collect()
}

fn receive(node: &mut Node, from: SocketAddr, bytes: Vec<u8>, now: Instant) -> Vec<(SocketAddr, Bytes)> {
    node.handle(Input::Datagram { from, bytes: bytes.into() }, now);
    sent(node)
}

fn stranger() -> SocketAddr {
    "203.0.113.5:6881".parse().unwrap()
}

#[test]
fn nobody_gets_more_than_it_sent_before_it_is_proven() {
    let now = Instant::now();
    let mut node = node(now);
    let info_hash = InfoHash::from([3; 20]);
    let target = NodeId::from([3; 20]);
    let datagrams = [
        query(Method::Ping, false),
        query(Method::Ping, true),
        find_node(),
        query(Method::FindNode { target }, true),
        query(Method::GetPeers { info_hash, noseed: false, scrape: true }, false),
        query(Method::GetPeers { info_hash, noseed: false, scrape: false }, true),
        query(Method::Get { target, seq: None }, false),
        query(Method::Get { target, seq: None }, true),
        query(Method::SampleInfohashes { target }, false),
        query(Method::SampleInfohashes { target }, true),
        query(Method::Unknown { name: b"x", target: None }, false),
        query(Method::Unknown { name: b"x", target: Some(target) }, false),
        b"d1:q4:ping1:t2:aa1:y1:qe".to_vec(),
        b"d1:ad2:id2:aae1:q4:ping1:t2:aa1:y1:qe".to_vec(),
        b"garbage".to_vec(),
    ];
    for (n, datagram) in datagrams.into_iter().enumerate() {
        let from = SocketAddr::new(Ipv4Addr::new(198, 51, 100, n as u8).into(), 1);
        let length = datagram.len();
        let out = receive(&mut node, from, datagram, now);
        let bytes: usize = out.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= length, "{n}: {bytes} for {length}");
        assert!(out.iter().all(|(to, _)| *to == from));
    }
}

#[test]
fn a_question_is_answered_when_its_address_is_proven() {
    let now = Instant::now();
    let mut node = node(now);
    let out = receive(&mut node, stranger(), find_node(), now);
    let document = krpc::parse(&out[0].1).unwrap();
    let ping = krpc::read(&document).unwrap();
    assert!(matches!(ping.body, Body::Query(Query { method: Method::Ping, .. })));
    let pong = Message {
        transaction: ping.transaction,
        client: None,
        ip: None,
        read_only: false,
        body: Body::Response(Response::new(NodeId::from([8; 20]))),
    };
    let out = receive(&mut node, stranger(), pong.encode(), now);
    assert_eq!(out.len(), 1);
    let document = krpc::parse(&out[0].1).unwrap();
    let Body::Response(answer) = krpc::read(&document).unwrap().body else { panic!("not an answer") };
    assert_eq!(answer.nodes.unwrap().len(), 8 * 26);
    let out = receive(&mut node, stranger(), find_node(), now);
    assert!(200 < out[0].1.len());
}

#[test]
fn a_budget_for_strangers_is_kept() {
    let now = Instant::now();
    let options = Options { unproven_bytes_per_second: 1_000, ..Options::default() };
    let mut node = node(now);
    node.unproven = crate::limiter::Bucket::new(1_000, 2, now);
    node.options = options;
    let mut excess = 0;
    for n in 0..200u8 {
        let from = SocketAddr::new(Ipv4Addr::new(198, 51, n, 1).into(), 1);
        let length = find_node().len();
        for (_, bytes) in receive(&mut node, from, find_node(), now) {
            excess += bytes.len().saturating_sub(length);
        }
    }
    assert!((1_000..=2_000).contains(&excess), "{excess}");
}

#[test]
fn tokens_are_checked_and_errors_told() {
    let now = Instant::now();
    let mut node = node(now);
    let announce = krpc::Announce {
        info_hash: InfoHash::from([3; 20]),
        port: 1,
        implied_port: false,
        seed: false,
        token: b"forged token of some length",
    };
    let out = receive(&mut node, stranger(), query(Method::AnnouncePeer(announce), false), now);
    let document = krpc::parse(&out[0].1).unwrap();
    let Body::Error(fault) = krpc::read(&document).unwrap().body else { panic!("not an error") };
    assert_eq!(fault.code, code::PROTOCOL);
    assert_eq!(node.status(now).peers, 0);
    let token = node.tokens.make(stranger().ip(), NodeId::from([3; 20]));
    let announce = krpc::Announce { token: &token, ..announce };
    let elsewhere: SocketAddr = "203.0.113.6:6881".parse().unwrap();
    receive(&mut node, elsewhere, query(Method::AnnouncePeer(announce), false), now);
    assert_eq!(node.status(now).peers, 0);
    receive(&mut node, stranger(), query(Method::AnnouncePeer(announce), false), now);
    assert_eq!(node.status(now).peers, 1);
}

#[test]
fn the_errors_of_bep_44_are_told() {
    let now = Instant::now();
    let mut node = node(now);
    let mut check = |value: &[u8], salt: &[u8], signature: Option<[u8; 64]>, expected: i64| {
        let key = crate::items::SigningKey::from_seed(&[1; 32]);
        let item = crate::items::Item::sign(&key, Bytes::new(), 1, Bytes::from_static(b"i1e")).unwrap();
        let author = item.author().unwrap();
        let target = crate::items::Item::mutable_target(&author.public_key, salt);
        let token = node.tokens.make(stranger().ip(), target);
        let put = krpc::Put {
            token: &token,
            value,
            author: Some(krpc::PutAuthor {
                public_key: author.public_key,
                salt,
                seq: 1,
                signature: signature.unwrap_or(author.signature),
                cas: None,
            }),
        };
        let out = receive(&mut node, stranger(), query(Method::Put(put), false), now);
        let document = krpc::parse(&out[0].1).unwrap();
        let code = match krpc::read(&document).unwrap().body {
            Body::Error(fault) => fault.code,
            Body::Response(_) => 0,
            Body::Query(_) => panic!("a question"),
        };
        assert_eq!(code, expected);
    };
    check(b"i1e", b"", None, 0);
    check(b"i1e", b"", Some([1; 64]), code::SIGNATURE);
    check(b"i1e", &[0; 65], None, code::SALT_TOO_LONG);
    check(format!("1200:{}", "x".repeat(1_200)).as_bytes(), b"", None, code::VALUE_TOO_LONG);
}

#[test]
fn answers_from_elsewhere_or_to_nothing_are_dropped() {
    let now = Instant::now();
    let mut node = Node::new(Options::default(), None, [1; 32], now);
    let addrs = vec![stranger()];
    node.handle(Input::Contacts { addrs, kind: crate::input::ContactKind::Saved }, now);
    let out = sent(&mut node);
    let document = krpc::parse(&out[0].1).unwrap();
    let transaction = krpc::read(&document).unwrap().transaction.to_vec();
    let answer = |transaction: &[u8]| {
        let body = Body::Response(Response::new(NodeId::from([8; 20])));
        Message { transaction, client: None, ip: None, read_only: false, body }.encode()
    };
    receive(&mut node, "203.0.113.6:6881".parse().unwrap(), answer(&transaction), now);
    receive(&mut node, stranger(), answer(b"wxyz"), now);
    assert_eq!(node.status(now).families[0].good, 0);
    assert_eq!(node.status(now).counts.refused, 2);
    receive(&mut node, stranger(), answer(&transaction), now);
    assert_eq!(node.status(now).families[0].good, 1);
}

#[test]
fn a_flood_changes_no_table_and_ends_in_bounded_memory() {
    let start = Instant::now();
    let mut node = node(start);
    let before = node.status(start).families[0].good;
    let mut random = Random::new([9; 32]);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for n in 0..50_000u64 {
        let now = start + Duration::from_micros(20 * n);
        let from = SocketAddr::new(random.bytes::<4>().into(), 6_881);
        let datagram = match n % 5 {
            0 => query(Method::Ping, false),
            1 => query(
                Method::GetPeers { info_hash: InfoHash::from(random.bytes()), noseed: false, scrape: true },
                false,
            ),
            2 => random.bytes::<60>().to_vec(),
            _ => find_node(),
        };
        bytes_in += datagram.len();
        bytes_out +=
            receive(&mut node, from, datagram, now).iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    assert!(bytes_out <= bytes_in, "{bytes_out} for {bytes_in}");
    assert_eq!(node.status(start).families[0].good, before);
    assert!(node.transactions.len() <= 2_048);
}

#[test]
fn an_answer_with_peers_fits_into_a_datagram() {
    let now = Instant::now();
    let mut node = node(now);
    let info_hash = InfoHash::from([3; 20]);
    for n in 0..500u32 {
        let peer = SocketAddr::new(Ipv4Addr::from(0x0800_0000 + n).into(), 1);
        let network = node.network_mut(Family::V4).unwrap();
        network.peers.announce(info_hash, peer, n % 3 == 0, NodeId::from([0; 20]), now);
    }
    for scrape in [false, true] {
        drop(node.strangers.prove(stranger(), now));
        let method = Method::GetPeers { info_hash, noseed: false, scrape };
        let out = receive(&mut node, stranger(), query(method, false), now);
        assert!(out[0].1.len() < 1_200, "{}", out[0].1.len());
        let document = krpc::parse(&out[0].1).unwrap();
        let Body::Response(answer) = krpc::read(&document).unwrap().body else { panic!("not an answer") };
        assert!(12 <= answer.values.len());
        assert_eq!(answer.blooms.is_some(), scrape);
        assert!(answer.token.is_some());
    }
}

#[test]
fn mangled_messages_of_every_kind_are_survived() {
    let start = Instant::now();
    let mut node = node(start);
    let mut random = Random::new([11; 32]);
    let target = NodeId::from([3; 20]);
    let mut open: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    let addrs = (0..40u8).map(|n| SocketAddr::new([9, n, 1, 1].into(), 1_000)).collect::<Vec<_>>();
    for n in 0..20_000u64 {
        let now = start + Duration::from_millis(n);
        let lookup = crate::input::Lookup(n);
        match n % 50 {
            0 => node.handle(Input::GetPeers { lookup, info_hash: InfoHash::from(random.bytes()) }, now),
            1 => node.handle(Input::Scrape { lookup, info_hash: InfoHash::from(random.bytes()) }, now),
            2 => node.handle(Input::Sample { lookup, target: NodeId::from(random.bytes()) }, now),
            3 => node.handle(Input::Timeout, now),
            4 => node.handle(Input::Cancel { lookup: crate::input::Lookup(n - 4) }, now),
            _ => {}
        }
        for (to, bytes) in sent(&mut node) {
            let document = krpc::parse(&bytes).unwrap();
            let message = krpc::read(&document).unwrap();
            if matches!(message.body, Body::Query(_)) {
                open.push((to, message.transaction.to_vec()));
            }
        }
        let (from, mut datagram) = if n % 2 == 0 && !open.is_empty() {
            let (from, transaction) = open.swap_remove(random.below(open.len()));
            let nodes: [u8; 200] = random.bytes();
            let response = Response {
                nodes: Some(&nodes),
                nodes6: Some(&nodes),
                token: Some(b"token"),
                values: addrs.clone(),
                value: Some(b"i1e"),
                seq: Some(1),
                sample: Some(krpc::Sample { info_hashes: &[[1; 20]; 3], total: 9, interval: 1 }),
                ..Response::new(NodeId::from(random.bytes()))
            };
            let body = Body::Response(response);
            let ip = Some(stranger());
            let transaction = &transaction;
            (from, Message { transaction, client: None, ip, read_only: false, body }.encode())
        } else {
            let method = match n % 6 {
                1 => {
                    Method::GetPeers { info_hash: InfoHash::from(random.bytes()), noseed: true, scrape: true }
                }
                3 => Method::Get { target, seq: Some(3) },
                _ => Method::SampleInfohashes { target },
            };
            (addrs[random.below(addrs.len())], query(method, n % 9 == 0))
        };
        for _ in 0..random.below(4) {
            let at = random.below(datagram.len());
            datagram[at] = random.bytes::<1>()[0];
        }
        node.handle(Input::Datagram { from, bytes: datagram.into() }, now);
    }
    let status = node.status(start + Duration::from_secs(20));
    assert!(status.queries_open <= 2_048);
    assert!(0 < status.counts.answered && 0 < status.counts.refused);
}
