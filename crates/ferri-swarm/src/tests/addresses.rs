//! Addresses, ports and our own address, as peers tell them.

use ferri_metainfo::{Bitfield, Layout};
use ferri_wire::extension::metadata::Metadata;
use ferri_wire::extension::pex::{Pex, PexFlags};
use ferri_wire::extension::{UT_METADATA, UT_PEX};

use super::wired::Net;
use super::*;
use crate::swarm::Swarm;

const PEX: u8 = 9;

/// A swarm of twenty pieces, and peers played by hand.
struct Lab {
    swarm: Swarm,
    now: Instant,
}

impl Lab {
    fn new(change: impl FnOnce(&mut SwarmOptions)) -> Self {
        let layout = Layout::single(PIECE, 20 * u64::from(PIECE)).unwrap();
        let mut options = SwarmOptions::new([1; 20].into(), peer_id(9_999));
        change(&mut options);
        let (now, have) = (Instant::now(), Bitfield::new(layout.piece_count()));
        Self { swarm: Swarm::new(options, layout, have, 1, now), now }
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.swarm.handle(input, self.now);
        std::iter::from_fn(|| self.swarm.poll_output()).collect()
    }

    fn connect(&mut self, n: usize, direction: Direction, reserved: Reserved) -> (PeerKey, Vec<Output>) {
        let peer = PeerKey(n as u64);
        let handshake = Handshake { reserved, info_hash: [1; 20].into(), peer_id: peer_id(n) };
        let outputs =
            self.input(Input::PeerConnected { peer, addr: addr(n), direction, handshake, crowd: 0 });
        (peer, outputs)
    }

    /// A peer that exchanges addresses.
    fn peer(&mut self, n: usize, direction: Direction) -> PeerKey {
        let (peer, _) = self.connect(n, direction, capable());
        self.says(peer, hello(&[(UT_PEX, PEX)], |_| {}));
        peer
    }

    fn says(&mut self, peer: PeerKey, message: Message) -> Vec<Output> {
        self.input(Input::PeerMessage { peer, message })
    }

    fn tells(&mut self, peer: PeerKey, addrs: impl IntoIterator<Item = SocketAddr>) -> Vec<Output> {
        let added = addrs.into_iter().map(|addr| (addr, PexFlags::NONE)).collect();
        let payload = Pex { added, dropped: vec![] }.encode().into();
        self.says(peer, Message::Extended { id: 1, payload })
    }

    fn wait(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.swarm.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            outputs.extend(self.input(Input::Timeout));
        }
        self.now = until;
        outputs
    }
}

/// The lists a peer was sent.
fn lists(peer: PeerKey, outputs: &[Output]) -> Vec<Pex> {
    let list = |message: &Message| match message {
        Message::Extended { id: PEX, payload } => Some(Pex::decode(payload).unwrap()),
        _ => None,
    };
    said(peer, outputs).into_iter().filter_map(list).collect()
}

fn connects(outputs: &[Output]) -> Vec<SocketAddr> {
    let addr = |output: &Output| match output {
        Output::Connect { addr } => Some(*addr),
        _ => None,
    };
    outputs.iter().filter_map(addr).collect()
}

#[test]
fn peers_that_only_another_peer_knows_are_found() {
    let info = info_of(50, "");
    let mut net = Net::new(&info);
    let (middle, left, right) = (net.add_leech(|_| {}), net.add_leech(|_| {}), net.add_leech(|_| {}));
    net.finds(left, Source::Explicit, &[middle]);
    net.finds(right, Source::Explicit, &[middle]);
    assert!(
        net.run(seconds(5), |net| [left, right, middle].iter().all(|n| net.swarm(*n).stats().peers == 2))
    );
    let from: Vec<_> =
        [left, right].iter().map(|n| net.swarm(*n).stats().peers_from.get(Source::Pex)).collect();
    assert_eq!(from.iter().sum::<usize>(), 1, "one of them dialled what it was told");
    for off in [left, right, middle] {
        let mut net = Net::new(&info);
        for node in 0..3 {
            net.add_leech(|options| options.pex = node != off);
        }
        net.finds(left, Source::Explicit, &[middle]);
        net.finds(right, Source::Explicit, &[middle]);
        net.run(seconds(200), |_| false);
        assert_eq!(net.swarm(off).stats().peers_from.get(Source::Pex), 0);
        if off == middle {
            assert_eq!(net.swarm(left).stats().peers, 1);
        }
    }
}

#[test]
fn listening_addresses_are_told_with_flags_and_never_a_peer_to_itself() {
    let mut lab = Lab::new(|_| {});
    let listener = lab.peer(0, Direction::Incoming);
    lab.wait(seconds(2));
    let dialled = lab.peer(1, Direction::Outgoing);
    lab.says(dialled, Message::HaveAll);
    let silent = lab.peer(2, Direction::Incoming);
    let (open, _) = lab.connect(3, Direction::Incoming, capable());
    lab.says(open, hello(&[(UT_PEX, PEX)], |handshake| handshake.p = Some(7_000)));
    let outputs = lab.wait(seconds(2));
    let mut told = addr(3);
    told.set_port(7_000);
    let expected = [(addr(1), PexFlags::SEED.with(PexFlags::REACHABLE)), (told, PexFlags::NONE)];
    assert_eq!(lists(listener, &outputs), [Pex { added: expected.to_vec(), dropped: vec![] }]);
    assert_eq!(lists(silent, &outputs).len(), 1);
    assert_eq!(lists(dialled, &outputs)[0].added, expected[1..]);
    assert_eq!(lists(open, &outputs)[0].added, expected[..1]);
    // Once a minute, and only news.
    lab.input(Input::PeerDisconnected { peer: dialled });
    assert_eq!(lists(listener, &lab.wait(seconds(55))), []);
    lab.says(listener, Message::KeepAlive);
    let expected = Pex { added: vec![], dropped: vec![addr(1)] };
    assert_eq!(lists(listener, &lab.wait(seconds(10))), [expected]);
    for peer in [listener, silent, open] {
        lab.says(peer, Message::KeepAlive);
    }
    assert_eq!(lists(listener, &lab.wait(seconds(100))), []);
}

#[test]
fn what_a_peer_tells_is_dialled_within_bounds() {
    let mut lab = Lab::new(|options| options.half_open_max = 4);
    let peer = lab.peer(0, Direction::Incoming);
    let loopback = "127.0.0.1:5000".parse().unwrap();
    let outputs = lab.tells(peer, [loopback].into_iter().chain((1..=49).map(addr)));
    assert_eq!(connects(&outputs).len(), 4);
    assert_eq!(lab.swarm.stats().candidates_from.get(Source::Pex), 49);
    (0..2).for_each(|n| drop(lab.tells(peer, (51..=100).map(|host| addr(host + 50 * n)))));
    assert_eq!(lab.swarm.stats().candidates, 100, "one teller, a hundred addresses");
    let other = lab.peer(500, Direction::Incoming);
    // Four messages at once are forgiven, the fifth is not looked at.
    (0..5).for_each(|n| drop(lab.tells(other, [addr(300 + n)])));
    assert_eq!(lab.swarm.stats().candidates, 104);
    lab.wait(seconds(31));
    lab.tells(other, [addr(400)]);
    assert_eq!(lab.swarm.stats().candidates, 105);
    let broken = Message::Extended { id: 1, payload: Bytes::from_static(b"d5:added1:xe") };
    let outputs = lab.says(other, broken);
    assert_eq!(disconnected(other, &outputs), Some(Misbehavior::BadExtension.into()));
}

#[test]
fn a_private_torrent_hears_and_says_nothing_of_it() {
    let mut lab = Lab::new(|options| (options.private, options.dht_port) = (true, Some(5)));
    for source in [Source::Dht, Source::Pex, Source::Lsd] {
        assert_eq!(lab.input(Input::PeersFound { source, addrs: vec![addr(50)] }), []);
        assert_eq!(lab.input(Input::Dialling { source, addrs: vec![addr(50)] }), []);
    }
    let (peer, outputs) = lab.connect(0, Direction::Incoming, capable().with_dht());
    let Some(Message::Extended { payload, .. }) = said(peer, &outputs).last().copied() else { panic!() };
    assert_eq!(extension::ExtensionHandshake::decode(payload).unwrap().id(UT_PEX), None);
    lab.says(peer, hello(&[(UT_PEX, PEX)], |_| {}));
    assert_eq!(lab.tells(peer, [addr(60)]), []);
    assert_eq!(lab.says(peer, Message::Port(7)), []);
    lab.input(Input::PeersFound { source: Source::Tracker, addrs: vec![addr(1)] });
    lab.peer(1, Direction::Outgoing);
    assert_eq!(lists(peer, &lab.wait(seconds(100))), []);
    assert_eq!(lab.swarm.stats().candidates, 1);
    let (stranger, outputs) = lab.connect(2, Direction::Outgoing, capable());
    assert_eq!(disconnected(stranger, &outputs), Some(DisconnectReason::Private));
}

#[test]
fn nodes_of_the_dht_are_told_both_ways() {
    let mut lab = Lab::new(|options| options.dht_port = Some(6_881));
    let (_, outputs) = lab.connect(0, Direction::Incoming, capable());
    assert!(!outputs.iter().any(|o| matches!(o, Output::Send { message: Message::Port(_), .. })));
    let (peer, outputs) = lab.connect(1, Direction::Incoming, capable().with_dht());
    assert_eq!(said(peer, &outputs).last(), Some(&&Message::Port(6_881)));
    let mut node = addr(1);
    node.set_port(99);
    assert_eq!(lab.says(peer, Message::Port(99)), [Output::DhtNode { addr: node }]);
    assert_eq!(lab.says(peer, Message::Port(99)), []);
    assert_eq!(lab.says(peer, Message::Port(0)), []);
    let moves: usize = (100..110).map(|port| lab.says(peer, Message::Port(port)).len()).sum();
    assert_eq!(moves, 3);
}

#[test]
fn our_address_in_a_peers_words_is_passed_on_once() {
    let mut lab = Lab::new(|_| {});
    let (peer, _) = lab.connect(0, Direction::Incoming, capable());
    let ip = "203.0.113.9".parse().unwrap();
    let say = || hello(&[], |handshake| handshake.yourip = Some(ip));
    assert_eq!(lab.says(peer, say()), [Output::SeenAs { ip, by: addr(0).ip() }]);
    assert_eq!(lab.says(peer, say()), []);
}

#[test]
fn a_full_house_lets_a_higher_priority_in_where_nobody_is_harmed() {
    let ours: SocketAddr = "203.0.113.9:6881".parse().unwrap();
    let rank = |n: &usize| crate::bep40::priority(ours, addr(*n));
    // Their networks differ in bits that count.
    let mut order = [0, 3, 4, 200, 203, 204, 800, 803, 804, 1_000];
    order.sort_by_key(rank);
    let mut lab = Lab::new(|options| (options.peers_max, options.listen_port) = (2, Some(6_881)));
    lab.input(Input::ExternalAddress { ip: ours.ip() });
    // The lowest has something to do, so the next one is the least of those that would not be missed.
    let busy = lab.peer(order[0], Direction::Incoming);
    let spare = lab.peer(order[4], Direction::Incoming);
    lab.says(busy, Message::HaveAll);
    lab.says(busy, Message::Unchoke);
    let (early, outputs) = lab.connect(order[8], Direction::Incoming, capable());
    assert_eq!(disconnected(early, &outputs), Some(DisconnectReason::TooManyPeers));
    lab.now += seconds(10);
    let (low, outputs) = lab.connect(order[3], Direction::Incoming, capable());
    assert_eq!(disconnected(low, &outputs), Some(DisconnectReason::TooManyPeers));
    let (high, outputs) = lab.connect(order[9], Direction::Incoming, capable());
    assert_eq!(disconnected(spare, &outputs), Some(DisconnectReason::Replaced));
    assert_eq!((disconnected(high, &outputs), disconnected(busy, &outputs)), (None, None));
}

fn part(outputs: &[Output], peer: PeerKey) -> Vec<Metadata> {
    let part = |message: &Message| match message {
        Message::Extended { id: 5, payload } => Metadata::decode(payload).unwrap(),
        _ => None,
    };
    said(peer, outputs).into_iter().filter_map(part).collect()
}

#[test]
fn the_dictionary_is_served_in_parts_no_faster_than_allowed() {
    let bytes: Bytes = (0..PIECE as usize * 99 + 5).map(|n| n as u8).collect::<Vec<_>>().into();
    let mut lab = Lab::new(|options| options.metadata = Some(bytes.clone()));
    let (peer, _) = lab.connect(0, Direction::Incoming, capable());
    lab.says(peer, hello(&[(UT_METADATA, 5)], |_| {}));
    let ask = |lab: &mut Lab, part: u32| {
        let payload = Metadata::Request { part }.encode().into();
        lab.says(peer, Message::Extended { id: 2, payload })
    };
    let outputs = ask(&mut lab, 99);
    let [Metadata::Data { part: 99, total_size, data }] = &part(&outputs, peer)[..] else { panic!() };
    assert_eq!((*total_size as usize, &data[..]), (bytes.len(), &bytes[99 * PIECE as usize..]));
    assert_eq!(part(&ask(&mut lab, 100), peer), [Metadata::Reject { part: 100 }]);
    let at_once: usize = (0..99).map(|n| part(&ask(&mut lab, n), peer).len()).sum();
    assert_eq!(at_once, 63);
    assert_eq!(part(&ask(&mut lab, 98), peer), [Metadata::Reject { part: 98 }], "it waits already");
    let later = lab.wait(seconds(5));
    assert_eq!(part(&later, peer).len(), 36, "the rest comes by and by");
    let flood = (0..1_000).find_map(|_| disconnected(peer, &ask(&mut lab, u32::MAX)));
    assert_eq!(flood, Some(Misbehavior::ExtensionFlood.into()));
}

#[test]
fn who_has_no_dictionary_does_not_offer_one() {
    let mut lab = Lab::new(|_| {});
    let (peer, outputs) = lab.connect(0, Direction::Incoming, capable());
    let Some(Message::Extended { payload, .. }) = said(peer, &outputs).last().copied() else { panic!() };
    assert_eq!(extension::ExtensionHandshake::decode(payload).unwrap().id(UT_METADATA), None);
    let payload = Metadata::Request { part: 0 }.encode().into();
    assert_eq!(lab.says(peer, Message::Extended { id: 2, payload }), []);
}
