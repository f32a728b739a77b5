//! How connections begin and end, and that neither loses anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_utp::packet::{Header, Kind, Packet};
use ferri_utp::{CloseReason, ConnectError, ConnectionKey, Input, Multiplexer, Options, Output, Seq};

use crate::network::{Link, Network};
use crate::stream::{Plan, hear, pair, run};

const SECOND: Duration = Duration::from_secs(1);

fn network(links: Link) -> Network {
    Network::new([Options::default(), Options::default()], [links.clone(), links], 1)
}

/// Goes on for so long.
fn pass(network: &mut Network, time: Duration) {
    let until = network.elapsed() + time;
    while network.step(until) {}
}

#[test]
fn a_peer_that_is_not_there_is_given_up_after_three_syns() {
    let mut network = network(Link { loss: 1.0, ..Link::default() });
    let mut sides = pair([Plan::bytes(5), Plan::bytes(5)], &mut network);
    sides[1].closed = Some(CloseReason::NotAnswered);
    run(&mut sides, &mut network, 60 * SECOND);
    assert_eq!(sides[0].closed, Some(CloseReason::NotAnswered));
    assert_eq!((network.elapsed(), network.links[0].packets), (7 * SECOND, 3));
    assert!(network.hosts[0].utp.is_empty());
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    let mut network = network(Link::default());
    let mut sides = pair([Plan::bytes(1 << 30), Plan::bytes(0)], &mut network);
    run(&mut sides, &mut network, 2 * SECOND);
    assert!(sides[1].read != 0);
    network.links.iter_mut().for_each(|link| link.loss = 1.0);
    let before = network.elapsed();
    run(&mut sides, &mut network, 600 * SECOND);
    assert_eq!(sides[0].closed, Some(CloseReason::TimedOut));
    assert_eq!(sides[1].closed, Some(CloseReason::TimedOut));
    assert!(network.elapsed() - before < 160 * SECOND, "{:?}", network.elapsed());
}

#[test]
fn a_quiet_connection_lives_as_long_as_both_sides_do() {
    let mut network = network(Link::default());
    let mut pairs = [pair([Plan::bytes(0), Plan::bytes(0)], &mut network)];
    pass(&mut network, 3_600 * SECOND);
    hear(&mut pairs, &mut network);
    assert_eq!(pairs[0].each_ref().map(|side| side.closed), [None, None]);
    let packets = network.links[0].packets;
    assert!((120..=130).contains(&packets), "{packets} packets in an hour");
    network.links[0].loss = 1.0;
    pass(&mut network, 160 * SECOND);
    hear(&mut pairs, &mut network);
    assert_eq!(pairs[0][1].closed, Some(CloseReason::TimedOut));
}

#[test]
fn what_was_written_before_closing_arrives() {
    let mut network = network(Link { loss: 0.05, rate: Some(1e6), ..Link::default() });
    let mut sides = pair([Plan::bytes(500_000), Plan::bytes(1 << 30)], &mut network);
    while sides[0].written < 500_000 {
        hear(std::slice::from_mut(&mut sides), &mut network);
        for side in &mut sides {
            side.act(&mut network);
        }
        let limit = network.elapsed() + SECOND;
        network.step(limit);
    }
    // The user of host 0 leaves, and reads no more of what the other has to say.
    let now = network.now();
    network.hosts[0].utp.close(sides[0].key.take().unwrap(), now);
    while sides[1].closed.is_none() && network.elapsed() < 60 * SECOND {
        hear(std::slice::from_mut(&mut sides), &mut network);
        sides[1].act(&mut network);
        let limit = network.elapsed() + SECOND;
        network.step(limit);
    }
    assert_eq!((sides[1].read, sides[1].ended), (500_000, true));
    assert!(network.hosts[0].utp.is_empty(), "the one that left waits for the other's end, but not for ever");
}

#[test]
fn what_came_before_a_reset_can_be_read() {
    let mut network = network(Link::default());
    let mut pairs = [pair([Plan::bytes(1 << 30), Plan::bytes(0)], &mut network)];
    for _ in 0..200 {
        hear(&mut pairs, &mut network);
        pairs[0][0].act(&mut network);
        let limit = network.elapsed() + Duration::from_millis(10);
        network.step(limit);
    }
    let key = pairs[0][1].key.unwrap();
    let now = network.now();
    network.hosts[0].utp.reset(pairs[0][0].key.unwrap(), now);
    pass(&mut network, SECOND);
    let (front, back) = network.hosts[1].utp.peek(key);
    let waiting = (front.len() + back.len()) as u64;
    assert_ne!(waiting, 0);
    assert!(!network.hosts[1].outputs.iter().any(|output| matches!(output, Output::Closed { .. })));
    let mut sides = [pairs[0][0].clone(), pairs[0][1].clone()];
    sides[0].closed = Some(CloseReason::Reset);
    run(&mut sides, &mut network, 10 * SECOND);
    assert_eq!((sides[1].read, sides[1].ended, sides[1].closed), (waiting, false, Some(CloseReason::Reset)));
    assert!(network.hosts.iter().all(|host| host.utp.is_empty()));
}

/// A machine that has dialled the first stranger, and its SYN.
fn dialling(now: Instant) -> (Multiplexer, ConnectionKey, Header) {
    let mut utp = Multiplexer::new(Options::default(), [5; 32], now);
    let key = utp.connect(stranger(1), now).unwrap();
    let mut buffer = Vec::new();
    utp.poll_transmit(&mut buffer, now).unwrap();
    let syn = Packet::decode(&buffer).unwrap().header;
    (utp, key, syn)
}

#[test]
fn a_reset_of_a_stranger_does_nothing() {
    let now = Instant::now();
    let (mut utp, key, syn) = dialling(now);
    let mut hear = |kind, seq, ack| {
        let packet = bytes(&header(kind, syn.connection_id, seq, ack));
        utp.handle(Input::Datagram { from: stranger(1), bytes: &packet }, now);
        utp.poll_output()
    };
    assert_eq!(hear(Kind::State, Seq(9), syn.seq), Some(Output::Connected { key }));
    // The id is known, the numbers of what we sent last are not.
    let known = [syn.seq, syn.seq.plus(1)];
    for ack in (0..=u16::MAX).map(Seq).filter(|ack| !known.contains(ack)) {
        assert_eq!(hear(Kind::Reset, Seq(0), ack), None);
    }
    let closed = Output::Closed { key, reason: CloseReason::Reset };
    assert_eq!(hear(Kind::Reset, Seq(0), known[1]), Some(closed));
}

#[test]
fn an_end_that_came_before_the_read_is_told_after_it() {
    let mut network = network(Link::default());
    let mut pairs = [pair([Plan::bytes(10), Plan::bytes(0)], &mut network)];
    pass(&mut network, SECOND);
    hear(&mut pairs, &mut network);
    pairs[0][0].act(&mut network);
    pass(&mut network, SECOND);
    let (key, now) = (pairs[0][1].key.unwrap(), network.now());
    let host = &mut network.hosts[1];
    assert_eq!(host.utp.read(key, &mut [0; 10], now), Some(10));
    assert_eq!(host.utp.poll_output(), Some(Output::Readable { key }));
    assert_eq!(host.utp.read(key, &mut [0; 10], now), Some(0));
    assert_eq!((host.utp.poll_output(), host.utp.read(key, &mut [0; 10], now)), (None, Some(0)));
}

fn header(kind: Kind, connection_id: u16, seq: Seq, ack: Seq) -> Header {
    Header { kind, connection_id, timestamp: 9, timestamp_difference: 0, window: 0, seq, ack }
}

fn bytes(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    bytes
}

/// A machine that is flooded, and what it sent.
fn flooded(packets: impl Iterator<Item = (SocketAddr, Vec<u8>)>) -> (Multiplexer, usize, usize) {
    let now = Instant::now();
    let mut utp = Multiplexer::new(Options::default(), [5; 32], now);
    let (mut came, mut left) = (0, 0);
    let mut buffer = Vec::new();
    for (from, bytes) in packets {
        came += bytes.len();
        utp.handle(Input::Datagram { from, bytes: &bytes }, now);
        while let Some(transmit) = utp.poll_transmit(&mut buffer, now) {
            assert_eq!(transmit.to, from);
            left += buffer.len();
        }
    }
    (utp, came, left)
}

fn stranger(number: u32) -> SocketAddr {
    SocketAddr::from((number.to_be_bytes(), 6_881))
}

#[test]
fn syns_of_strangers_make_no_connections_and_get_no_more_than_they_sent() {
    let syns = (0..100_000).map(|n| (stranger(n), bytes(&header(Kind::Syn, n as u16, Seq(1), Seq(0)))));
    let (utp, came, left) = flooded(syns);
    assert_eq!((utp.len(), utp.poll_timeout(), came, left), (0, None, 2_000_000, 2_000_000));
}

#[test]
fn resets_are_few_and_are_not_answered() {
    let packets = |kind| move |n: u32| (stranger(n), bytes(&header(kind, 7, Seq(9), Seq(n as u16))));
    let (_, _, left) = flooded((0..50_000).map(packets(Kind::Reset)));
    assert_eq!(left, 0);
    // The seventh in ten thousand guesses the number of an answer that it did not get. It is a connection that ends by itself.
    let (utp, _, left) = flooded((0..50_000).map(packets(Kind::State)));
    assert!(left <= 20 * 100 && utp.len() <= 50, "{left} bytes, {} connections", utp.len());
}

#[test]
fn a_peer_that_does_not_know_the_connection_ends_it() {
    let now = Instant::now();
    let (mut utp, key, syn) = dialling(now);
    // As libutp does it: the id that it got, and the number that it answers.
    for ack in [syn.seq.plus(100), syn.seq] {
        assert_eq!(utp.poll_output(), None);
        let reset = bytes(&header(Kind::Reset, syn.connection_id, Seq(0), ack));
        utp.handle(Input::Datagram { from: stranger(1), bytes: &reset }, now);
    }
    assert_eq!(utp.poll_output(), Some(Output::Closed { key, reason: CloseReason::Reset }));
}

#[test]
fn there_are_no_more_connections_than_allowed() {
    let now = Instant::now();
    let options = Options { connecting_max: 3, ..Options::default() };
    let mut utp = Multiplexer::new(options, [5; 32], now);
    let keys: Vec<_> = (0..3).map(|n| utp.connect(stranger(n), now).unwrap()).collect();
    assert_eq!(utp.connect(stranger(9), now), Err(ConnectError::TooMany));
    utp.close(keys[1], now);
    assert!(utp.connect(stranger(9), now).is_ok());
    // A key is never used twice.
    assert_eq!((utp.status(keys[1]), utp.write(keys[1], b"x", now)), (None, 0));
}
