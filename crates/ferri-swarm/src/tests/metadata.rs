//! The search for an info dictionary, with peers played by hand: who is asked for what, who is blamed, what is kept.

use std::ops::ControlFlow;
use std::str::FromStr;

use ferri_metainfo::{InfoHash, InfoHashV2};
use ferri_wire::extension::UT_METADATA;
use ferri_wire::extension::metadata::{Metadata, part_length};

use super::*;
use crate::metadata::{METADATA_BYTES_MAX, MetadataSwarm};

const THEIRS: u8 = 3;

struct Lab {
    machine: MetadataSwarm,
    info: Bytes,
    now: Instant,
    next: usize,
}

impl Lab {
    /// Looks for a dictionary of four parts.
    fn new() -> Self {
        let info = info_of(3_000, "");
        let wanted = hashes_of(&info);
        Self::wants(info, wanted)
    }

    fn wants(info: Bytes, wanted: InfoHashes) -> Self {
        let now = Instant::now();
        let options = SwarmOptions::new([1; 20].into(), peer_id(9_999));
        Self { machine: MetadataSwarm::new(options, wanted, 1, now), info, now, next: 0 }
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.machine.handle(input, self.now);
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    fn connect(&mut self) -> PeerKey {
        let n = self.next;
        self.next += 1;
        let peer = PeerKey(n as u64);
        let handshake = Handshake { reserved: capable(), info_hash: [1; 20].into(), peer_id: peer_id(n) };
        self.input(Input::PeerConnected {
            peer,
            addr: addr(n),
            direction: Direction::Incoming,
            handshake,
            crowd: 0,
        });
        peer
    }

    /// A peer that serves a dictionary of this size; the parts it is asked for.
    fn peer(&mut self, size: usize) -> (PeerKey, Vec<u32>) {
        let peer = self.connect();
        let outputs = self.says(peer, claims(size as u32));
        (peer, requests(peer, &outputs))
    }

    fn says(&mut self, peer: PeerKey, message: Message) -> Vec<Output> {
        self.input(Input::PeerMessage { peer, message })
    }

    fn sends(&mut self, peer: PeerKey, info: &Bytes, part: u32) -> Vec<Output> {
        self.says(peer, data(info, part))
    }

    fn rejects(&mut self, peer: PeerKey, part: u32) -> Vec<Output> {
        let payload = Metadata::Reject { part }.encode().into();
        self.says(peer, Message::Extended { id: 2, payload })
    }

    /// Peers answer everything they are asked for until nothing is left to answer; all outputs.
    fn answer(&mut self, asked: Vec<(PeerKey, u32)>, serve: impl Fn(PeerKey) -> Bytes) -> Vec<Output> {
        let mut all = Vec::new();
        let mut asked: std::collections::VecDeque<_> = asked.into();
        while let Some((peer, part)) = asked.pop_front() {
            let outputs = self.sends(peer, &serve(peer), part);
            for key in (0..self.next).map(|n| PeerKey(n as u64)) {
                asked.extend(requests(key, &outputs).into_iter().map(|part| (key, part)));
            }
            all.extend(outputs);
        }
        all
    }

    fn wait(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            outputs.extend(self.input(Input::Timeout));
        }
        self.now = until;
        outputs
    }

    /// The inputs of the swarm that concern one peer.
    fn kept(self, peer: PeerKey, pieces: u32) -> Vec<Message> {
        let info = Info::parse(&info_of(pieces, "")).unwrap();
        let of = |input| match input {
            Input::PeerMessage { peer: from, message } if from == peer => Some(message),
            _ => None,
        };
        self.machine.hand_over(&info).inputs.into_iter().filter_map(of).collect()
    }
}

fn claims(size: u32) -> Message {
    hello(&[(UT_METADATA, THEIRS)], |handshake| handshake.metadata_size = Some(size))
}

fn data(info: &Bytes, part: u32) -> Message {
    let total_size = info.len() as u32;
    let (begin, length) = ((part * PIECE) as usize, part_length(part, total_size).unwrap() as usize);
    let data = info.slice(begin..begin + length);
    Message::Extended { id: 2, payload: Metadata::Data { part, total_size, data }.encode().into() }
}

fn requests(peer: PeerKey, outputs: &[Output]) -> Vec<u32> {
    let request = |message: &Message| match message {
        Message::Extended { id: THEIRS, payload } => match Metadata::decode(payload).unwrap() {
            Some(Metadata::Request { part }) => Some(part),
            _ => None,
        },
        _ => None,
    };
    said(peer, outputs).into_iter().filter_map(request).collect()
}

fn found(outputs: &[Output]) -> Option<&Bytes> {
    outputs.iter().find_map(|output| match output {
        Output::Metadata { bytes } => Some(bytes),
        _ => None,
    })
}

fn corrupted(info: &Bytes) -> Bytes {
    // Each part of it is wrong.
    let flip = |(at, byte): (usize, &u8)| if at % PIECE as usize == 100 { byte ^ 1 } else { *byte };
    info.iter().enumerate().map(flip).collect::<Vec<_>>().into()
}

#[test]
fn it_says_what_it_wants_and_nothing_about_pieces() {
    let mut lab = Lab::new();
    let peer = PeerKey(5);
    let handshake =
        Handshake { reserved: capable().with_dht(), info_hash: [1; 20].into(), peer_id: peer_id(5) };
    let outputs = lab.input(Input::PeerConnected {
        peer,
        addr: addr(5),
        direction: Direction::Outgoing,
        handshake,
        crowd: 0,
    });
    let [Message::Extended { id: 0, payload }] = &said(peer, &outputs)[..] else { panic!("{outputs:?}") };
    let handshake = extension::ExtensionHandshake::decode(payload).unwrap();
    assert_eq!((handshake.id("ut_metadata"), handshake.id("ut_pex")), (Some(2), Some(1)));
    assert_eq!((handshake.metadata_size, handshake.yourip), (None, Some(addr(5).ip())));
}

#[test]
fn several_peers_are_asked_for_different_parts_and_the_last_ones_twice() {
    let mut lab = Lab::new();
    let size = lab.info.len();
    let (one, first) = lab.peer(size);
    assert_eq!(first, [0, 1, 2, 3]);
    let (two, second) = lab.peer(size);
    assert_eq!(second.len(), 4, "nothing is left that nobody was asked for, so the faster one counts");
    let stats = lab.machine.stats();
    assert_eq!((stats.parts_had, stats.parts, stats.size as usize, stats.asked), (0, 4, size, 2));
    let info = lab.info.clone();
    lab.sends(one, &info, 0);
    lab.sends(two, &info, 1);
    lab.sends(one, &info, 3);
    assert_eq!(lab.machine.stats().parts_had, 3);
    assert_eq!(found(&lab.sends(two, &info, 2)), Some(&info));
    assert!(lab.machine.stats().done);
    // The answers that were on their way are no fault.
    assert_eq!(disconnected(two, &lab.sends(two, &info, 0)), None);
    assert_eq!(disconnected(one, &lab.sends(one, &info, 1)), None);
}

#[test]
fn sizes_beyond_reason_are_not_asked_for_and_cost_nothing() {
    let mut lab = Lab::new();
    for size in [METADATA_BYTES_MAX + 1, u32::MAX] {
        let (_, asked) = lab.peer(size as usize);
        assert!(asked.is_empty());
    }
    let (_, asked) = lab.peer(METADATA_BYTES_MAX as usize);
    assert_eq!(asked.len(), 4);
    assert_eq!(lab.machine.stats().without, 2);
}

#[test]
fn a_reject_or_silence_is_for_another_peer() {
    let mut lab = Lab::new();
    let size = lab.info.len();
    let (one, asked) = lab.peer(size);
    for part in asked {
        assert!(requests(one, &lab.rejects(one, part)).is_empty(), "not asked again at once");
    }
    assert_eq!(lab.machine.stats().rejecting, 1);
    let (two, asked) = lab.peer(size);
    assert_eq!(asked, [0, 1, 2, 3]);
    let later = lab.wait(seconds(20));
    assert!(!requests(one, &later).is_empty(), "but later it is");
    assert!(!requests(two, &later).is_empty(), "as is one that was silent");
    let info = lab.info.clone();
    // What comes late is good all the same.
    (0..3).for_each(|part| drop(lab.sends(two, &info, part)));
    assert_eq!(found(&lab.sends(two, &info, 3)), Some(&info));
}

#[test]
fn who_alone_sent_a_wrong_dictionary_is_banned() {
    let mut lab = Lab::new();
    let wrong = corrupted(&lab.info);
    let (liar, asked) = lab.peer(wrong.len());
    let outputs = lab.answer(asked.into_iter().map(|part| (liar, part)).collect(), |_| wrong.clone());
    assert_eq!(disconnected(liar, &outputs), Some(Misbehavior::WrongMetadata.into()));
    assert!(found(&outputs).is_none());
    assert_eq!(lab.machine.stats().corrupt, 1);
    // It is refused from here on, and the ban is handed over.
    let handshake = Handshake { reserved: capable(), info_hash: [1; 20].into(), peer_id: peer_id(77) };
    let (peer, direction) = (PeerKey(77), Direction::Incoming);
    let outputs = lab.input(Input::PeerConnected { peer, addr: addr(0), direction, handshake, crowd: 0 });
    assert_eq!(disconnected(peer, &outputs), Some(DisconnectReason::Banned));
    let info = Info::parse(&lab.info).unwrap();
    let bans = lab.machine.hand_over(&info).inputs;
    assert!(bans.iter().any(|input| matches!(input, Input::Ban { addrs } if addrs[0].ip() == addr(0).ip())));
}

#[test]
fn of_several_senders_the_liar_is_found_by_asking_each_alone() {
    for liars in [vec![0], vec![1], vec![2], vec![0, 1], vec![1, 2]] {
        let mut lab = Lab::new();
        let (info, wrong) = (lab.info.clone(), corrupted(&lab.info));
        let mut asked = Vec::new();
        // All are connected before the first one answers, and each has parts of its own.
        for _ in 0..3 {
            let (peer, parts) = lab.peer(info.len());
            asked.extend(parts.into_iter().map(|part| (peer, part)));
        }
        asked.sort_by_key(|(peer, part)| ((peer.0 + u64::from(*part)) % 3, *part));
        let serve = |peer: PeerKey| {
            if liars.contains(&peer.0) { wrong.clone() } else { info.clone() }
        };
        let mut outputs = lab.answer(asked, serve);
        for _ in 0..60 {
            if found(&outputs).is_some() {
                break;
            }
            let more = lab.wait(seconds(1));
            let keys = (0..3).map(PeerKey);
            let asked = keys.flat_map(|key| requests(key, &more).into_iter().map(move |part| (key, part)));
            outputs.extend(lab.answer(asked.collect(), serve));
        }
        assert_eq!(found(&outputs), Some(&info), "{liars:?}");
        for key in 0..3 {
            if let Some(reason) = disconnected(PeerKey(key), &outputs) {
                assert!(liars.contains(&key), "{liars:?}: {key} is honest");
                assert_eq!(reason, Misbehavior::WrongMetadata.into());
            }
        }
    }
}

#[test]
fn many_sizes_that_are_lies_do_not_keep_out_the_true_one() {
    let mut lab = Lab::new();
    let info = lab.info.clone();
    (0..20).for_each(|n| drop(lab.peer(50_000 + n)));
    let (honest, asked) = lab.peer(info.len());
    assert!(asked.is_empty());
    let outputs = (0..600).try_fold((), |(), _| {
        let outputs = lab.wait(seconds(1));
        (0..21).for_each(|n| drop(lab.says(PeerKey(n), Message::KeepAlive)));
        let asked: Vec<_> = requests(honest, &outputs).into_iter().map(|part| (honest, part)).collect();
        let outputs = lab.answer(asked, |_| info.clone());
        if found(&outputs).is_some() { ControlFlow::Break(outputs) } else { ControlFlow::Continue(()) }
    });
    assert!(outputs.is_break());
}

#[test]
fn data_nobody_asked_for_ends_the_connection() {
    let mut lab = Lab::new();
    let info = lab.info.clone();
    let early = lab.connect();
    let outputs = lab.sends(early, &info, 0);
    assert_eq!(disconnected(early, &outputs), Some(Misbehavior::UnrequestedMetadata { part: 0 }.into()));
    let (peer, _) = lab.peer(info.len());
    lab.sends(peer, &info, 0);
    let outputs = lab.sends(peer, &info, 0);
    assert_eq!(disconnected(peer, &outputs), Some(Misbehavior::UnrequestedMetadata { part: 0 }.into()));
    // Another size than it was asked for.
    let (peer, _) = lab.peer(info.len());
    let longer: Bytes = [&info[..], b"x"].concat().into();
    let outputs = lab.sends(peer, &longer, 0);
    assert_eq!(disconnected(peer, &outputs), Some(Misbehavior::BadExtension.into()));
}

#[test]
fn all_hashes_of_a_hybrid_must_match() {
    let info = Bytes::from_static(b"d4:name1:xe");
    let v1 = Some(InfoHash::from_str("c06fadd1439dd2d619fec4538d69a54e614bb831").unwrap());
    let v2 = Some(
        InfoHashV2::from_str("7d4596d9278e1efc8ff75eb65a1a7a5593d65dab899a6c2a7159a8bfdc2194c2").unwrap(),
    );
    for (wanted, right) in [
        (InfoHashes { v1, v2: None }, true),
        (InfoHashes { v1: None, v2 }, true),
        (InfoHashes { v1, v2 }, true),
        (InfoHashes { v1, v2: Some([0; 32].into()) }, false),
        (InfoHashes { v1: Some([0; 20].into()), v2 }, false),
    ] {
        let mut lab = Lab::wants(info.clone(), wanted);
        let (peer, asked) = lab.peer(info.len());
        assert_eq!(asked, [0]);
        assert_eq!(found(&lab.sends(peer, &info, 0)).is_some(), right);
    }
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out_of_a_search() {
    for after in [0, 3, 15, 40] {
        let mut lab = Lab::new();
        let size = lab.info.len();
        for _ in 0..300 {
            lab.connect();
        }
        lab.wait(seconds(after));
        lab.now += seconds(after);
        let (_, asked) = lab.peer(size);
        assert_ne!(asked, [0; 0], "after {after} s");
        assert!(lab.machine.stats().peers <= 50);
    }
}

#[test]
fn peers_without_metadata_are_counted_and_make_room_for_others() {
    let mut lab = Lab::new();
    lab.machine.handle(
        Input::Budget { peers_max: 2, half_open_max: 8, upload_slots: None, memory_bytes: 1 },
        lab.now,
    );
    let size = lab.info.len();
    let (useful, _) = lab.peer(size);
    let useless = lab.connect();
    lab.says(useless, hello(&[("ut_pex", 1)], |_| {}));
    assert_eq!((lab.machine.stats().without, lab.machine.stats().peers), (1, 2));
    let outputs = lab.input(Input::PeersFound { source: Source::Tracker, addrs: vec![addr(50)] });
    assert!(!outputs.contains(&Output::Connect { addr: addr(50) }), "full");
    let outputs = lab.wait(seconds(11));
    assert_eq!(disconnected(useless, &outputs), Some(DisconnectReason::Replaced));
    assert!(outputs.contains(&Output::Connect { addr: addr(50) }));
    assert_eq!(disconnected(useful, &outputs), None);
}

#[test]
fn what_peers_say_about_pieces_is_kept_and_said_again() {
    let bits = |bytes: &[u8]| Message::Bitfield(Bytes::copy_from_slice(bytes));
    let check = |said: &[Message], pieces: u32, expected: &[Message]| {
        let mut lab = Lab::new();
        let peer = lab.connect();
        for message in said {
            assert_eq!(disconnected(peer, &lab.says(peer, message.clone())), None, "{message:?}");
        }
        assert_eq!(lab.kept(peer, pieces), expected, "{said:?}");
    };
    let have = |piece| Message::Have { piece };
    check(&[], 20, &[]);
    check(&[Message::HaveAll, have(3)], 20, &[Message::HaveAll]);
    check(&[Message::HaveNone], 20, &[Message::HaveNone]);
    check(&[Message::HaveNone, have(0), have(19)], 20, &[bits(&[0x80, 0, 0x10])]);
    check(&[have(9)], 20, &[bits(&[0, 0x40, 0])]);
    check(&[bits(&[1, 2, 0x30]), have(0)], 20, &[bits(&[0x81, 2, 0x30])]);
    // What is wrong is found out by those who know the torrent.
    check(&[bits(&[1, 2])], 20, &[bits(&[1, 2])]);
    check(&[bits(&[1, 2, 0, 0])], 20, &[bits(&[1, 2, 0, 0])]);
    check(&[Message::HaveNone, have(24)], 20, &[have(24)]);
    let open = [
        Message::HaveAll,
        Message::AllowedFast { piece: 4 },
        Message::Suggest { piece: 5 },
        Message::Unchoke,
        Message::Interested,
    ];
    check(&open, 20, &open);
    check(&[Message::Unchoke, Message::HaveNone, Message::Choke], 20, &[Message::HaveNone]);
    let lost = Message::Extended { id: 7, payload: Bytes::from_static(&[0, 0, 0, 1]) };
    check(&[bits(&[0xc0]), lost], 8, &[bits(&[0x80])]);
}

#[test]
fn what_is_kept_of_a_peer_is_bounded() {
    let mut lab = Lab::new();
    for message in [
        Message::Have { piece: ferri_metainfo::limits::PIECES_MAX },
        Message::AllowedFast { piece: u32::MAX },
        Message::Bitfield(vec![0; (256 << 10) + 1].into()),
    ] {
        let peer = lab.connect();
        assert!(disconnected(peer, &lab.says(peer, message)).is_some());
    }
    let peer = lab.connect();
    (0..250).for_each(|piece| drop(lab.says(peer, Message::AllowedFast { piece })));
    assert_eq!(lab.kept(peer, 300).len(), 64);
}

#[test]
fn our_address_and_nodes_of_the_dht_are_passed_on_and_the_vote_is_not_repeated() {
    let mut lab = Lab::new();
    let peer = lab.connect();
    let ip = "203.0.113.9".parse().unwrap();
    let outputs = lab.says(peer, hello(&[], |handshake| handshake.yourip = Some(ip)));
    assert_eq!(outputs, [Output::SeenAs { ip, by: addr(0).ip() }]);
    let mut node = addr(0);
    node.set_port(99);
    assert_eq!(lab.says(peer, Message::Port(99)), [Output::DhtNode { addr: node }]);
    let kept = lab.kept(peer, 20);
    let [Message::Extended { id: 0, payload }] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(extension::ExtensionHandshake::decode(payload).unwrap().yourip, None);
}

#[test]
fn a_pause_disconnects_and_a_stop_is_final() {
    let mut lab = Lab::new();
    let size = lab.info.len();
    lab.input(Input::PeersFound { source: Source::Explicit, addrs: vec![addr(50)] });
    let (peer, _) = lab.peer(size);
    assert_eq!(disconnected(peer, &lab.input(Input::Pause)), Some(DisconnectReason::Paused));
    assert_eq!((lab.machine.poll_timeout(), lab.wait(seconds(300))), (None, vec![]));
    assert_eq!(lab.input(Input::Resume), [Output::Connect { addr: addr(50) }]);
    lab.input(Input::Stop);
    assert_eq!(lab.input(Input::Resume), []);
    let events = lab.input(Input::PeersFound { source: Source::Explicit, addrs: vec![addr(51)] });
    assert_eq!(events, []);
}

#[test]
fn it_asks_for_peers_while_it_has_few() {
    let mut lab = Lab::new();
    lab.input(Input::Sequential { sequential: true });
    let wants = lab.wait(seconds(95)).iter().filter(|output| **output == Output::WantPeers).count();
    assert_eq!(wants, 4);
}
