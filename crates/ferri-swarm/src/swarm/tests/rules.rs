//! Peers that break rules: one test for each `Misbehavior`, and for the other reasons to part.

use super::*;

fn request(piece: u32, begin: u32, length: u32) -> Message {
    Message::Request { piece, begin, length }
}

/// Repeats what a peer says until it is thrown out; how often that took.
fn check_flood(
    lab: &mut Lab,
    peer: PeerKey,
    expected: Misbehavior,
    most: usize,
    say: impl Fn(usize) -> Message,
) -> usize {
    for n in 1..=most {
        let outputs = lab.says(peer, say(n));
        assert!(outputs.len() < 100, "{} outputs for one message", outputs.len());
        if let Some(reason) = disconnected(peer, &outputs) {
            assert_eq!(reason, DisconnectReason::Misbehavior(expected));
            return n;
        }
    }
    panic!("still there after {most}");
}

fn check(lab: &mut Lab, peer: PeerKey, message: Message, expected: Misbehavior) {
    let outputs = lab.says(peer, message);
    assert_eq!(disconnected(peer, &outputs), Some(expected.into()), "{outputs:?}");
    assert_eq!(lab.swarm.stats().peers, 0);
    // What it says after that is ignored.
    assert_eq!(lab.says(peer, Message::Unchoke), []);
    assert!(!expected.to_string().is_empty());
}

#[test]
fn unrequested_block() {
    let mut lab = Lab::new(&[]);
    let (peer, _) = lab.generous_seed();
    let expected = Misbehavior::UnrequestedBlock { piece: 5, begin: 7 };
    let block = |_| Message::Piece { piece: 5, begin: 7, data: Bytes::from_static(&[0; 100]) };
    assert_eq!(check_flood(&mut lab, peer, expected, 100, block), 17);
    assert_eq!(lab.swarm.stats().wasted, 1_700);
}

#[test]
fn no_such_piece() {
    let expected = Misbehavior::NoSuchPiece { piece: PIECES };
    for message in [
        Message::Have { piece: PIECES },
        Message::Suggest { piece: PIECES },
        Message::AllowedFast { piece: PIECES },
    ] {
        let mut lab = Lab::new(&[]);
        let peer = lab.peer();
        check(&mut lab, peer, message, expected);
    }
}

#[test]
fn no_such_block() {
    for (piece, begin, length) in [
        (PIECES, 0, BLOCK),
        (0, PIECE, 1),
        (0, 0, 0),
        (0, BLOCK, BLOCK + 1),
        (0, u32::MAX, 2),
        (0, 0, u32::MAX),
    ] {
        let expected = Misbehavior::NoSuchBlock { piece, begin, length };
        let mut lab = Lab::seed();
        let peer = lab.peer();
        check(&mut lab, peer, request(piece, begin, length), expected);
        let mut lab = Lab::seed();
        let peer = lab.peer();
        check(&mut lab, peer, Message::Cancel { piece, begin, length }, expected);
    }
}

#[test]
fn bad_bitfield() {
    for bytes in [vec![], vec![0; 2], vec![0; 4], vec![0, 0, 1]] {
        let mut lab = Lab::new(&[]);
        let peer = lab.peer();
        check(&mut lab, peer, Message::Bitfield(bytes.into()), Misbehavior::BadBitfield);
    }
}

#[test]
fn late_bitfield() {
    for first in [Message::HaveAll, Message::HaveNone, Message::Have { piece: 0 }, request(0, 0, BLOCK)] {
        let mut lab = Lab::seed();
        lab.swarm.handle(Input::PieceLost { piece: 1 }, lab.now);
        let peer = lab.peer();
        lab.says(peer, first);
        check(&mut lab, peer, Message::HaveAll, Misbehavior::LateBitfield);
    }
    let mut lab = Lab::seed();
    lab.swarm.handle(Input::PieceLost { piece: 1 }, lab.now);
    let peer = lab.peer();
    for _ in 0..65 {
        lab.says(peer, Message::Bitfield(vec![0; 3].into()));
    }
    check(&mut lab, peer, Message::Bitfield(vec![0; 3].into()), Misbehavior::LateBitfield);
}

#[test]
fn a_second_bitfield_counts_as_haves_of_what_is_new_in_it() {
    let mut lab = Lab::new(&[]);
    let peer = lab.peer();
    lab.says(peer, Message::Have { piece: 0 });
    lab.says(peer, Message::Bitfield(vec![0b1010_0000, 0, 0].into()));
    let status = lab.swarm.peers().next().unwrap();
    assert_eq!(status.pieces, 2);
    lab.says(peer, Message::Bitfield(vec![0b0010_0000, 0, 0].into()));
    assert_eq!(lab.swarm.peers().next().unwrap().pieces, 2, "it loses nothing by saying less");
}

#[test]
fn fast_not_announced() {
    let block = Message::Reject { piece: 0, begin: 0, length: BLOCK };
    for message in [Message::HaveAll, Message::HaveNone, block, Message::AllowedFast { piece: 0 }] {
        let mut lab = Lab::new(&[]);
        let peer = lab.plain_peer();
        check(&mut lab, peer, message, Misbehavior::FastNotAnnounced);
    }
}

#[test]
fn extensions_not_announced() {
    let mut lab = Lab::new(&[]);
    let peer = lab.plain_peer();
    let message = Message::Extended { id: 0, payload: Bytes::from_static(b"de") };
    check(&mut lab, peer, message, Misbehavior::ExtensionsNotAnnounced);
}

#[test]
fn bad_extension() {
    for (id, payload) in [(0, "garbage"), (7, "abc"), (3, "")] {
        let mut lab = Lab::new(&[]);
        let peer = lab.peer();
        let message = Message::Extended { id, payload: Bytes::from_static(payload.as_bytes()) };
        check(&mut lab, peer, message, Misbehavior::BadExtension);
    }
}

#[test]
fn requests_for_missing() {
    let mut lab = Lab::new(&[1]);
    let peer = lab.peer();
    let outputs = lab.says(peer, request(0, 0, BLOCK));
    assert_eq!(said(peer, &outputs), [&Message::Reject { piece: 0, begin: 0, length: BLOCK }]);
    check_flood(&mut lab, peer, Misbehavior::RequestsForMissing, 200, |_| request(0, 0, BLOCK));
}

#[test]
fn requests_while_choked() {
    let mut lab = Lab::with(&(0..PIECES).collect::<Vec<_>>(), |options| options.upload = false);
    let peer = lab.peer();
    let outputs = lab.says(peer, request(0, 0, BLOCK));
    assert_eq!(said(peer, &outputs), [&Message::Reject { piece: 0, begin: 0, length: BLOCK }]);
    // A window that was under way when we choked is no fault.
    let took = check_flood(&mut lab, peer, Misbehavior::RequestsWhileChoked, 5_000, |_| request(0, 0, BLOCK));
    assert!(1_000 < took);
}

#[test]
fn request_flood() {
    let mut lab = Lab::seed();
    let peer = lab.peer();
    lab.says(peer, Message::Interested);
    let say = |n: usize| request(n as u32 % PIECES, (n as u32 * 7) % 1000, 1_000);
    let took = check_flood(&mut lab, peer, Misbehavior::RequestFlood, 1_000_000, say);
    assert!(took < 10_000);
}

#[test]
fn have_flood() {
    let mut lab = Lab::new(&[]);
    let peer = lab.peer();
    let took = check_flood(&mut lab, peer, Misbehavior::HaveFlood, 1_000, |n| Message::Have {
        piece: n as u32 % PIECES,
    });
    assert!(500 < took);
}

#[test]
fn extension_flood() {
    let mut lab = Lab::new(&[]);
    let peer = lab.peer();
    let message = |_| Message::Extended { id: 99, payload: Bytes::new() };
    check_flood(&mut lab, peer, Misbehavior::ExtensionFlood, 1_000, message);
}

#[test]
fn control_flood() {
    let toggles = |n: usize| if n.is_multiple_of(2) { Message::Interested } else { Message::NotInterested };
    let unknown = |_: usize| Message::Unknown { id: 77, length: 5 };
    for say in [|_: usize| Message::KeepAlive, toggles, unknown, |_: usize| Message::Port(5)] {
        let mut lab = Lab::seed();
        let peer = lab.peer();
        check_flood(&mut lab, peer, Misbehavior::ControlFlood, 1_000, say);
    }
}

#[test]
fn unrequested_reject() {
    let mut lab = Lab::new(&[]);
    let peer = lab.peer();
    let message = |_| Message::Reject { piece: 0, begin: 0, length: BLOCK };
    check_flood(&mut lab, peer, Misbehavior::UnrequestedReject, 200, message);
}

#[test]
fn rejects_everything() {
    let mut lab = Lab::new(&[]);
    let (peer, mut asked) = lab.generous_seed();
    let mut rejected = 0;
    let reason = loop {
        let (piece, begin) = asked.pop().unwrap_or((0, 0));
        let outputs = lab.says(peer, Message::Reject { piece, begin, length: BLOCK });
        rejected += 1;
        if let Some(reason) = disconnected(peer, &outputs) {
            break reason;
        }
        asked.extend(requests(peer, &outputs));
        if asked.is_empty() {
            // It refused every piece. It may think better of it when it unchokes us again.
            lab.says(peer, Message::Choke);
            asked.extend(requests(peer, &lab.says(peer, Message::Unchoke)));
        }
        assert!(rejected < 1_000);
    };
    assert_eq!(reason, Misbehavior::RejectsEverything.into());
}

#[test]
fn wrong_data() {
    let mut lab = Lab::new(&[]);
    let (peer, asked) = lab.generous_seed();
    let _another_source = lab.generous_seed();
    let (piece, _) = asked[0];
    lab.sends(peer, (piece, 0));
    let outputs = lab.sends(peer, (piece, BLOCK));
    assert!(outputs.iter().any(|output| matches!(output, Output::VerifyPiece { .. })));
    let outputs = lab.verified(piece, false);
    assert_eq!(disconnected(peer, &outputs), Some(Misbehavior::WrongData { piece }.into()));
    assert!(has_event(&outputs, |event| matches!(event, SwarmEvent::Banned { .. })));
    assert_eq!(lab.swarm.stats().wasted, u64::from(PIECE));
    // It is not let in again.
    let reserved = Reserved::NONE;
    let outputs = lab.connect_as(PeerKey(99), addr(peer.0), Direction::Incoming, peer_id(99), reserved);
    assert_eq!(disconnected(PeerKey(99), &outputs), Some(DisconnectReason::Banned));
}

#[test]
fn ourselves_strangers_and_duplicates_are_not_let_in() {
    let mut lab = Lab::new(&[]);
    let reserved = Reserved::NONE.with_fast();
    let ours = PeerId::from([1; 20]);
    lab.input(Input::PeersFound { source: Source::Tracker, addrs: vec![addr(7)] });
    let outputs = lab.connect_as(PeerKey(7), addr(7), Direction::Outgoing, ours, reserved);
    assert_eq!(disconnected(PeerKey(7), &outputs), Some(DisconnectReason::Ourselves));
    let outputs = lab.input(Input::PeersFound { source: Source::Tracker, addrs: vec![addr(7)] });
    assert_eq!(outputs, []);
    let handshake = Handshake { reserved, info_hash: [9; 20].into(), peer_id: peer_id(8) };
    let outputs = lab.input(Input::PeerConnected {
        peer: PeerKey(8),
        addr: addr(8),
        direction: Direction::Incoming,
        handshake,
        crowd: 0,
    });
    assert_eq!(disconnected(PeerKey(8), &outputs), Some(DisconnectReason::OtherTorrent));
    lab.connect_as(PeerKey(9), addr(9), Direction::Incoming, peer_id(9), reserved);
    let outputs = lab.connect_as(PeerKey(10), addr(10), Direction::Incoming, peer_id(9), reserved);
    assert_eq!(disconnected(PeerKey(10), &outputs), Some(DisconnectReason::Duplicate));
    assert_eq!(lab.swarm.stats().peers, 1);
}

#[test]
fn of_two_connections_made_at_once_both_ends_keep_the_same() {
    for (theirs, kept) in [([0; 20], Direction::Outgoing), ([2; 20], Direction::Incoming)] {
        let mut lab = Lab::new(&[]);
        let theirs = PeerId::from(theirs);
        lab.connect_as(PeerKey(1), addr(1), Direction::Incoming, theirs, Reserved::NONE);
        lab.connect_as(PeerKey(2), addr(2), Direction::Outgoing, theirs, Reserved::NONE);
        let directions: Vec<_> = lab.swarm.peers().map(|peer| peer.direction).collect();
        assert_eq!(directions, [kept]);
    }
}

#[test]
fn a_full_house_lets_nobody_in_but_makes_room_from_the_useless() {
    let mut lab = Lab::with(&[], |options| options.peers_max = 2);
    let (useful, _) = lab.generous_seed();
    let useless = lab.peer();
    let (third, outputs) = lab.connect(Reserved::NONE);
    assert_eq!(disconnected(third, &outputs), Some(DisconnectReason::TooManyPeers));
    lab.now += seconds(61);
    lab.says(useful, Message::KeepAlive);
    let (_, outputs) = lab.connect(Reserved::NONE);
    assert_eq!(disconnected(useless, &outputs), Some(DisconnectReason::Replaced));
}

#[test]
fn silence_ends_a_connection_and_keep_alives_hold_it() {
    let mut lab = Lab::seed();
    let (silent, alive) = (lab.peer(), lab.peer());
    let mut outputs = lab.wait(seconds(100));
    lab.says(alive, Message::KeepAlive);
    outputs.extend(lab.wait(seconds(25)));
    assert_eq!(disconnected(silent, &outputs), Some(DisconnectReason::Idle));
    assert_eq!(disconnected(alive, &outputs), None);
    assert!(said(alive, &outputs).contains(&&Message::KeepAlive));
}

#[test]
fn two_seeds_have_nothing_to_say_to_each_other() {
    let mut lab = Lab::seed();
    let peer = lab.peer();
    let outputs = lab.says(peer, Message::HaveAll);
    assert_eq!(disconnected(peer, &outputs), Some(DisconnectReason::NothingToExchange));
    let peer = lab.peer();
    let handshake = extension::ExtensionHandshake { upload_only: true, ..Default::default() };
    let outputs = lab.says(peer, Message::Extended { id: 0, payload: handshake.encode().into() });
    assert_eq!(disconnected(peer, &outputs), Some(DisconnectReason::NothingToExchange));
}

#[test]
fn pause_disconnects_everybody_and_resume_dials_again() {
    let mut lab = Lab::new(&[]);
    lab.input(Input::PeersFound { source: Source::Explicit, addrs: vec![addr(50)] });
    let (peer, asked) = lab.generous_seed();
    lab.sends(peer, asked[0]);
    let outputs = lab.input(Input::Pause);
    assert_eq!(disconnected(peer, &outputs), Some(DisconnectReason::Paused));
    assert!(outputs.iter().any(|output| matches!(output, Output::DiscardPiece { .. })));
    assert_eq!((lab.swarm.stats().open_pieces, lab.swarm.poll_timeout().is_some()), (0, true));
    assert_eq!(lab.wait(seconds(300)), []);
    assert_eq!(lab.swarm.poll_timeout(), None);
    let (late, outputs) = lab.connect(Reserved::NONE);
    assert_eq!(disconnected(late, &outputs), Some(DisconnectReason::Paused));
    assert_eq!(lab.input(Input::Resume), [Output::Connect { addr: addr(50) }]);
    lab.input(Input::Stop);
    assert_eq!(lab.input(Input::Resume), []);
}
