//! Transfers on networks with one peculiarity each.

use std::time::Duration;

use ferri_utp::{CloseReason, Input, Options};

use crate::network::{Link, Network};
use crate::stream::{Plan, hear, pair, run};

/// Both sides send so much; how long it took.
fn exchange(network: &mut Network, bytes: u64) -> Duration {
    let mut sides = pair([Plan::bytes(bytes), Plan::bytes(bytes)], network);
    let began = network.elapsed();
    run(&mut sides, network, Duration::from_secs(3_600));
    for side in &sides {
        assert_eq!((side.read, side.closed), (bytes, Some(CloseReason::Finished)), "host {}", side.host);
    }
    network.elapsed() - began
}

fn network(options: Options, link: Link) -> Network {
    Network::new([options.clone(), options], [link.clone(), link], 7)
}

#[test]
fn numbers_wrap_in_both_directions_while_packets_are_lost() {
    let options = Options { datagram_max_v4: 20 + 8, ..Options::default() };
    let link = Link { loss: 0.002, delay: Duration::from_millis(5), ..Link::default() };
    let mut network = network(options, link);
    // 75,000 packets of eight bytes.
    exchange(&mut network, 600_000);
    assert!(network.links.iter().all(|link| 70_000 < link.packets));
}

#[test]
fn datagrams_get_as_long_as_the_path_carries() {
    for mtu in [600, 1_280, 1_400, 1_500] {
        let mut network = network(Options::default(), Link { mtu, rate: Some(1e6), ..Link::default() });
        let mut pairs = [pair([Plan::bytes(1 << 30), Plan::bytes(0)], &mut network)];
        while network.elapsed() < Duration::from_secs(10) {
            hear(&mut pairs, &mut network);
            pairs[0].iter_mut().for_each(|side| _ = side.act(&mut network));
            let limit = network.elapsed() + Duration::from_millis(100);
            network.step(limit);
        }
        let status = network.hosts[0].utp.status(pairs[0][0].key.unwrap()).unwrap();
        let longest = mtu as u16 - 28;
        // What is narrower than the length to begin with has its datagrams fragmented.
        let expected = longest.max(1_200);
        assert!((expected.saturating_sub(16)..=expected).contains(&status.datagram), "{mtu}: {status:?}");
        // Lost probes are no congestion.
        assert!(9_000_000 < pairs[0][1].read, "{mtu}: {}", pairs[0][1].read);
    }
}

#[test]
fn a_path_that_gets_narrower_goes_on() {
    let mut network = network(Options::default(), Link { rate: Some(1e6), ..Link::default() });
    let mut pairs = [pair([Plan::bytes(1 << 30), Plan::bytes(0)], &mut network)];
    let mut read = 0;
    while network.elapsed() < Duration::from_secs(140) {
        if Duration::from_secs(10) <= network.elapsed() && network.links[0].mtu == 1_500 {
            network.links[0].mtu = 1_280;
            read = pairs[0][1].read;
        }
        hear(&mut pairs, &mut network);
        pairs[0].iter_mut().for_each(|side| _ = side.act(&mut network));
        let limit = network.elapsed() + Duration::from_millis(100);
        network.step(limit);
    }
    let status = network.hosts[0].utp.status(pairs[0][0].key.unwrap()).unwrap();
    assert!((1_236..=1_252).contains(&status.datagram), "{status:?}");
    assert!(100_000_000 < pairs[0][1].read - read);
}

#[test]
fn a_system_that_says_too_long_is_believed() {
    let mut network = network(Options::default(), Link::default());
    let mut pairs = [pair([Plan::bytes(1 << 30), Plan::bytes(0)], &mut network)];
    for round in 0..100 {
        hear(&mut pairs, &mut network);
        pairs[0].iter_mut().for_each(|side| _ = side.act(&mut network));
        let limit = network.elapsed() + Duration::from_millis(20);
        network.step(limit);
        if round == 50 {
            let (to, now) = (network.hosts[1].addr, network.now());
            network.hosts[0].utp.handle(Input::TooLong { to, length: 1_300 }, now);
            let status = network.hosts[0].utp.status(pairs[0][0].key.unwrap()).unwrap();
            assert!(status.datagram < 1_300, "{status:?}");
        }
    }
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_loses_nothing() {
    let options = Options { receive_buffer: 50_000, ..Options::default() };
    let mut network = network(options, Link::default());
    let mut pairs = [pair([Plan::bytes(300_000), Plan::bytes(0)], &mut network)];
    while network.elapsed() < Duration::from_secs(100) {
        hear(&mut pairs, &mut network);
        pairs[0][0].act(&mut network);
        let limit = network.elapsed() + Duration::from_secs(1);
        network.step(limit);
    }
    let (front, back) = network.hosts[1].utp.peek(pairs[0][1].key.unwrap());
    let waiting = front.len() + back.len();
    assert!((40_000..=50_000).contains(&waiting), "{waiting}");
    let packets = network.links[0].packets;
    assert!(packets < 150, "{packets} packets to a peer without room");
    let [pair] = &mut pairs;
    run(pair, &mut network, Duration::from_secs(200));
    assert_eq!((pair[1].read, pair[1].closed), (300_000, Some(CloseReason::Finished)));
}

#[test]
fn many_connections_share_a_socket() {
    let mut network = network(Options::default(), Link { loss: 0.01, ..Link::default() });
    let mut pairs: Vec<_> =
        (0..100).map(|_| pair([Plan::bytes(20_000), Plan::bytes(20_000)], &mut network)).collect();
    // Which of them is accepted first is chance: all send the same.
    while pairs.iter().flatten().any(|side| side.closed.is_none()) {
        assert!(network.elapsed() < Duration::from_secs(60));
        hear(&mut pairs, &mut network);
        pairs.iter_mut().flatten().for_each(|side| _ = side.act(&mut network));
        let limit = network.elapsed() + Duration::from_millis(100);
        network.step(limit);
    }
    assert!(pairs.iter().flatten().all(|side| side.read == 20_000));
}

#[test]
fn small_writes_go_in_few_packets_and_do_not_wait_long() {
    let mut network = network(Options::default(), Link::default());
    let mut sides = pair([Plan { write: 17, ..Plan::bytes(17_000) }, Plan::bytes(0)], &mut network);
    run(&mut sides, &mut network, Duration::from_secs(60));
    assert_eq!(sides[1].read, 17_000);
    let (packets, time) = (network.links[0].packets, network.elapsed());
    assert!(packets < 40 && time < Duration::from_secs(1), "{packets} packets, {time:?}");
}
