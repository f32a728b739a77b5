//! No address that is not proven gets a byte more than came from there, whatever it asks, until the end of time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;

use super::super::incoming::PING_LENGTH;
use crate::id::NodeId;
use crate::input::Input;
use crate::items::Item;
use crate::krpc::{self, Body, Method};
use crate::node::Node;
use crate::options::Options;
use crate::output::{Family, Output};
use crate::random::Random;
use crate::table::Contact;

const TARGET: [u8; 20] = [3; 20];

/// A node that has as much to say about [`TARGET`] as any: full tables, peers and an item.
fn node(options: Options, now: Instant) -> Node {
    let mut node = Node::new(options, None, [1; 32], now);
    let mut random = Random::new([2; 32]);
    for _ in 0..500 {
        let v4 = SocketAddr::new(random.bytes::<4>().into(), 6_881);
        let v6 = SocketAddr::new(random.bytes::<16>().into(), 6_881);
        for addr in [v4, v6] {
            let contact = Contact { id: NodeId::from(random.bytes()), addr };
            let network = node.network_mut(Family::of(addr)).unwrap();
            network.table.answered(contact, None, now);
            network.peers.announce(InfoHash::from(TARGET), addr, false, NodeId::from([0; 20]), now);
        }
    }
    let item = Item::immutable(bytes::Bytes::from_static(b"5:hello")).unwrap();
    node.items.put(item, None, "9.9.9.9:1".parse().unwrap(), NodeId::from([0; 20]), now).unwrap();
    while node.poll_output().is_some() {}
    node
}

/// Everything that can stand in `a`, each alone: from nothing to what each query needs, right and wrong.
fn arguments() -> Vec<Vec<u8>> {
    let id = [b"2:id20:".as_slice(), &[8; 20]].concat();
    let with = |more: &[&[u8]]| [id.as_slice(), &more.concat()].concat();
    let hello = *Item::immutable(bytes::Bytes::from_static(b"5:hello")).unwrap().target().as_bytes();
    let put = [b"1:k32:".as_slice(), &[9; 32], b"3:seqi1e3:sig64:", &[9; 64], b"5:token1:t1:v0:"].concat();
    vec![
        Vec::new(),
        b"2:id2:aa".to_vec(),
        id.clone(),
        with(&[b"6:target20:", &TARGET]),
        with(&[b"6:target20:", &hello]),
        with(&[b"6:target2:aa"]),
        with(&[b"9:info_hash20:", &TARGET]),
        with(&[b"9:info_hash20:", &TARGET, b"6:scrapei1e"]),
        with(&[b"9:info_hash20:", &TARGET, b"4:wantl2:n42:n6e"]),
        with(&[b"9:info_hash20:", &TARGET, b"4:porti1e5:token0:"]),
        with(&[b"12:implied_porti1e9:info_hash20:", &TARGET, b"5:token1:t"]),
        with(&[b"5:token0:1:v0:"]),
        with(&[&put]),
    ]
}

/// All queries of all kinds, from the shortest on.
fn datagrams() -> Vec<Vec<u8>> {
    let methods: [&[u8]; 10] = [
        b"",
        b"x",
        b"ping",
        b"find_node",
        b"get_peers",
        b"announce_peer",
        b"get",
        b"put",
        b"sample_infohashes",
        b"vote",
    ];
    let transactions: [&[u8]; 4] = [b"", b"t", b"tttt", &[b't'; krpc::TRANSACTION_MAX]];
    let ends: [&[u8]; 3] = [b"", b"1:v4:LT00", b"1:v40:0000000000000000000000000000000000000000"];
    let mut all = Vec::new();
    for arguments in arguments() {
        for method in methods {
            for transaction in transactions {
                for end in ends {
                    for read_only in [b"".as_slice(), b"2:roi1e"] {
                        let mut bytes = [b"d1:ad", arguments.as_slice(), b"e1:q"].concat();
                        bytes.extend(format!("{}:", method.len()).bytes());
                        bytes.extend([method, read_only, b"1:t"].concat());
                        bytes.extend(format!("{}:", transaction.len()).bytes());
                        bytes.extend([transaction, end, b"1:y1:qe"].concat());
                        all.push(bytes);
                    }
                }
            }
        }
    }
    all.push(b"d1:q4:ping1:t2:aa1:y1:qe".to_vec());
    all.push(b"d1:q4:ping1:y1:qe".to_vec());
    all.push(b"d1:y1:qe".to_vec());
    all.push(b"d1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t1:a1:y1:re".to_vec());
    all.push(b"d1:eli201e1:xe1:t1:a1:y1:ee".to_vec());
    all
}

/// Bytes that go to `from` because of what came from there, at once and in the minute after.
fn bytes_to(node: &mut Node, from: SocketAddr, datagrams: &[&[u8]], now: Instant) -> usize {
    let mut bytes = 0;
    let mut drain = |node: &mut Node| {
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { to, bytes: sent } if to == from => bytes += sent.len(),
                _ => {}
            }
        }
    };
    for datagram in datagrams {
        node.handle(Input::Datagram { from, bytes: datagram.to_vec().into() }, now);
        drain(node);
    }
    let end = now + Duration::from_secs(60);
    while let Some(at) = node.poll_timeout().filter(|at| *at <= end) {
        node.handle(Input::Timeout, at);
        drain(node);
    }
    bytes
}

#[test]
fn no_stranger_gets_more_than_it_sent() {
    let start = Instant::now();
    let (mut node, mut now) = (node(Options::default(), start), start);
    for (n, datagram) in datagrams().iter().enumerate() {
        let [.., a, b] = u32::try_from(n).unwrap().to_be_bytes();
        let v4 = SocketAddr::new([203, 0, a, b].into(), 1);
        let v6 = SocketAddr::new([0x2a00, 0, n as u16, 0, 0, 0, 0, 1].into(), 1);
        for from in [v4, v6] {
            now += Duration::from_secs(1);
            let sent = bytes_to(&mut node, from, &[datagram], now);
            let text = String::from_utf8_lossy(datagram);
            assert!(sent <= datagram.len(), "{sent} for {}: {text}", datagram.len());
        }
    }
}

#[test]
fn no_stranger_that_asks_several_things_gets_more_than_it_sent() {
    let start = Instant::now();
    let (mut node, mut random) = (node(Options::default(), start), Random::new([7; 32]));
    let all = datagrams();
    for n in 0..2_000u16 {
        let now = start + Duration::from_secs(u64::from(n) * 61);
        let [a, b] = n.to_be_bytes();
        let from = SocketAddr::new([203, 1, a, b].into(), 1);
        let chosen: Vec<&[u8]> =
            (0..1 + random.below(9)).map(|_| all[random.below(all.len())].as_slice()).collect();
        let received: usize = chosen.iter().map(|datagram| datagram.len()).sum();
        let sent = bytes_to(&mut node, from, &chosen, now);
        assert!(sent <= received, "{sent} for {received}");
    }
}

#[test]
fn a_read_only_node_says_nothing_to_strangers() {
    let now = Instant::now();
    let mut node = node(Options { read_only: true, ..Options::default() }, now);
    for datagram in datagrams() {
        assert_eq!(bytes_to(&mut node, "203.0.113.5:1".parse().unwrap(), &[&datagram], now), 0);
    }
}

#[test]
fn a_ping_of_ours_is_as_long_as_is_reckoned_with() {
    let now = Instant::now();
    let mut node = node(Options::default(), now);
    let to = "203.0.113.5:1".parse().unwrap();
    node.ping(to, None, now);
    let Some(Output::Send { bytes, .. }) = node.poll_output() else { panic!("nothing was sent") };
    let document = krpc::parse(&bytes).unwrap();
    let Body::Query(query) = krpc::read(&document).unwrap().body else { panic!("not a question") };
    assert_eq!((query.method, bytes.len()), (Method::Ping, PING_LENGTH));
}
