//! Honest peers: what is said, asked, stored, announced and sent.

use super::*;
use crate::input::Priority;
use crate::status::Role;

#[test]
fn a_connection_begins_with_what_we_have_and_who_we_are() {
    let all: Vec<u32> = (0..PIECES).collect();
    let both = Reserved::NONE.with_fast().with_extensions();
    let check = |have: &[u32], reserved, expected: Option<Message>| {
        let mut lab = Lab::new(have);
        let (peer, outputs) = lab.connect(reserved);
        let said = said(peer, &outputs);
        let extended =
            said.iter().filter(|message| matches!(message, Message::Extended { id: 0, .. })).count();
        assert_eq!(extended, usize::from(reserved.has_extensions()));
        assert_eq!(said.first().copied().filter(|_| extended < said.len()), expected.as_ref());
    };
    check(&[], both, Some(Message::HaveNone));
    check(&all, both, Some(Message::HaveAll));
    check(&[0, 9], both, Some(Message::Bitfield(Bytes::from_static(&[0x80, 0x40, 0]))));
    check(&[], Reserved::NONE, None);
    check(&all, Reserved::NONE, Some(Message::Bitfield(Bytes::from_static(&[0xff, 0xff, 0xf0]))));
}

#[test]
fn the_extension_handshake_says_what_people_want_to_know() {
    let change = |options: &mut SwarmOptions| {
        (options.listen_port, options.metadata) = (Some(6881), Some(Bytes::from(vec![1; 12_345])));
    };
    let mut lab = Lab::with(&[], change);
    let (peer, outputs) = lab.connect(Reserved::NONE.with_extensions());
    let Some(Message::Extended { id: 0, payload }) = said(peer, &outputs).first() else { panic!() };
    let handshake = extension::ExtensionHandshake::decode(payload).unwrap();
    assert!(handshake.v.unwrap().starts_with("Ferriswarm "));
    assert_eq!((handshake.reqq, handshake.p, handshake.metadata_size), (Some(500), Some(6881), Some(12_345)));
    assert_eq!(handshake.yourip, Some(addr(peer.0).ip()));
    assert!(!handshake.upload_only && handshake.m.contains_key("lt_donthave"));
}

#[test]
fn a_torrent_is_fetched_announced_and_completed() {
    let mut lab = Lab::new(&[]);
    let watcher = lab.peer();
    lab.says(watcher, Message::HaveNone);
    let peer = lab.peer();
    let outputs = lab.says(peer, Message::HaveAll);
    assert_eq!(said(peer, &outputs), [&Message::Interested]);
    let mut asked = requests(peer, &lab.says(peer, Message::Unchoke));
    assert_eq!(asked.len(), 4);
    let (mut announced, mut completed, mut stored) = (Vec::new(), false, 0);
    while let Some(block) = (!asked.is_empty()).then(|| asked.remove(0)) {
        lab.now += Duration::from_millis(10);
        let outputs = lab.sends(peer, block);
        asked.extend(requests(peer, &outputs));
        assert!(!said(watcher, &outputs).iter().any(|message| matches!(message, Message::Have { .. })));
        stored += outputs.iter().filter(|output| matches!(output, Output::StoreBlock { .. })).count();
        let verify = outputs.iter().find_map(|output| match output {
            Output::VerifyPiece { piece, .. } => Some(piece.get()),
            _ => None,
        });
        if let Some(piece) = verify {
            let outputs = lab.verified(piece, true);
            asked.extend(requests(peer, &outputs));
            announced.extend(said(watcher, &outputs).into_iter().cloned());
            completed |= has_event(&outputs, |event| *event == SwarmEvent::Completed);
        }
    }
    assert!(completed);
    assert_eq!((stored, announced.len()), (2 * PIECES as usize, PIECES as usize));
    let stats = lab.swarm.stats();
    assert_eq!((stats.wasted, stats.left, stats.open_pieces), (0, 0, 0));
    assert_eq!(stats.downloaded, u64::from(PIECE * PIECES));
    // The seed is of no use any more, the watcher is.
    assert_eq!(lab.swarm.peers().map(|peer| peer.peer).collect::<Vec<_>>(), [watcher]);
}

#[test]
fn blocks_of_a_peer_that_leaves_are_asked_of_another() {
    let mut lab = Lab::new(&[]);
    let (first, asked) = lab.generous_seed();
    let (second, others) = lab.generous_seed();
    assert!(asked.iter().all(|block| !others.contains(block)));
    lab.input(Input::PeerDisconnected { peer: first });
    let (mut open, mut later) = (others, Vec::new());
    while let Some(block) = open.pop() {
        open.extend(requests(second, &lab.sends(second, block)));
        later.push(block);
    }
    assert!(asked.iter().all(|block| later.contains(block)), "{asked:?} {later:?}");
    assert_eq!(later.len(), 2 * PIECES as usize);
}

#[test]
fn a_choke_drops_requests_and_with_the_fast_extension_each_is_rejected() {
    let mut lab = Lab::new(&[]);
    let peer = lab.plain_peer();
    lab.says(peer, Message::Bitfield(Bytes::from_static(&[0xff, 0xff, 0xf0])));
    assert_eq!(requests(peer, &lab.says(peer, Message::Unchoke)).len(), 4);
    lab.says(peer, Message::Choke);
    assert_eq!(lab.swarm.peers().next().unwrap().requests_out, 0);
    let mut lab = Lab::new(&[]);
    let (peer, asked) = lab.generous_seed();
    lab.says(peer, Message::Choke);
    assert_eq!(lab.swarm.peers().next().unwrap().requests_out, 4);
    for (piece, begin) in asked {
        lab.says(peer, Message::Reject { piece, begin, length: BLOCK });
    }
    assert_eq!(lab.swarm.peers().next().unwrap().requests_out, 0);
    assert_eq!(lab.swarm.stats().open_pieces, 0);
}

#[test]
fn a_choked_peer_asks_only_for_what_is_allowed_fast() {
    let mut lab = Lab::new(&[]);
    let peer = lab.peer();
    lab.says(peer, Message::HaveAll);
    let outputs = lab.says(peer, Message::AllowedFast { piece: 3 });
    assert_eq!(requests(peer, &outputs), [(3, 0), (3, BLOCK)]);
}

#[test]
fn a_starting_peer_is_served_a_few_pieces_while_choked_once() {
    let mut lab = Lab::with(&(0..PIECES).collect::<Vec<_>>(), |options| options.upload_slots = Some(0));
    let peer = lab.peer();
    let outputs = lab.says(peer, Message::HaveNone);
    let allowed: Vec<u32> = said(peer, &outputs)
        .iter()
        .filter_map(|message| if let Message::AllowedFast { piece } = message { Some(*piece) } else { None })
        .collect();
    assert_eq!(allowed.len(), 10);
    let ask = |lab: &mut Lab, begin| {
        let outputs = lab.says(peer, Message::Request { piece: allowed[0], begin, length: BLOCK });
        outputs.iter().any(|output| matches!(output, Output::SendBlock { .. }))
    };
    assert!(ask(&mut lab, 0) && ask(&mut lab, BLOCK));
    assert!(!ask(&mut lab, 0));
}

#[test]
fn an_interested_peer_is_unchoked_served_and_gets_its_credit_back() {
    let mut lab = Lab::seed();
    let peer = lab.peer();
    let outputs = lab.says(peer, Message::Interested);
    assert_eq!(said(peer, &outputs), [&Message::Unchoke]);
    let mut sent = 0;
    for n in 0..2 * PIECES {
        let request = Message::Request { piece: n / 2, begin: n % 2 * BLOCK, length: BLOCK };
        sent += lab.says(peer, request).len();
    }
    // 256 KiB, until some of it is reported as sent.
    assert_eq!(sent, 16);
    let outputs = lab.input(Input::BlocksSent { peer, blocks: 3, bytes: u64::from(3 * BLOCK) });
    assert_eq!(outputs.len(), 3);
    assert_eq!(lab.swarm.stats().uploaded, u64::from(3 * BLOCK));
    let outputs = lab.says(peer, Message::Cancel { piece: PIECES - 1, begin: BLOCK, length: BLOCK });
    assert_eq!(said(peer, &outputs), [&Message::Reject { piece: PIECES - 1, begin: BLOCK, length: BLOCK }]);
}

#[test]
fn a_stalled_peer_loses_its_blocks_to_others_within_seconds() {
    let mut lab = Lab::new(&(4..PIECES).collect::<Vec<_>>());
    let (stalled, held) = lab.generous_seed();
    assert_eq!(held.len(), 4);
    let outputs = lab.wait(seconds(6));
    assert!(has_event(&outputs, |event| matches!(event, SwarmEvent::Snubbed { .. })));
    let cancelled =
        said(stalled, &outputs).iter().filter(|message| matches!(message, Message::Cancel { .. })).count();
    assert_eq!(cancelled, 4);
    let (second, mut asked) = lab.generous_seed();
    while let Some(block) = asked.pop() {
        asked.extend(requests(second, &lab.sends(second, block)));
    }
    assert_eq!(lab.swarm.stats().open_pieces, 4);
    assert_eq!(lab.swarm.stats().pending_bytes, u64::from(4 * PIECE));
}

#[test]
fn the_last_blocks_are_asked_of_two_and_cancelled_when_one_comes() {
    let mut lab = Lab::new(&(1..PIECES).collect::<Vec<_>>());
    let (slow, held) = lab.generous_seed();
    assert_eq!(held.len(), 2);
    let (fast, asked) = lab.generous_seed();
    assert_eq!(asked, []);
    let outputs = lab.wait(seconds(2));
    assert!(lab.swarm.stats().end_game);
    let asked = requests(fast, &outputs);
    assert_eq!(asked.len(), 2);
    let outputs = lab.sends(fast, asked[0]);
    let (piece, begin) = asked[0];
    assert_eq!(said(slow, &outputs), [&Message::Cancel { piece, begin, length: BLOCK }]);
    // It was on its way already: no fault, only waste.
    assert_eq!(disconnected(slow, &lab.sends(slow, asked[0])), None);
    assert_eq!(lab.swarm.stats().wasted, u64::from(BLOCK));
}

#[test]
fn of_several_senders_of_a_bad_piece_only_the_proven_one_is_banned() {
    let mut lab = Lab::new(&(1..PIECES).collect::<Vec<_>>());
    let (honest, liar) = (lab.peer(), lab.peer());
    for peer in [honest, liar] {
        // Each is asked for one block only.
        let handshake = extension::ExtensionHandshake { reqq: Some(1), ..Default::default() };
        lab.says(peer, Message::Extended { id: 0, payload: handshake.encode().into() });
        lab.says(peer, Message::HaveAll);
    }
    let mut asked = requests(honest, &lab.says(honest, Message::Unchoke));
    asked.extend(requests(liar, &lab.says(liar, Message::Unchoke)));
    assert_eq!(asked, [(0, 0), (0, BLOCK)]);
    lab.sends(honest, asked[0]);
    lab.sends(liar, asked[1]);
    let outputs = lab.input(Input::PieceVerified { piece: 0, ok: false, digests: vec![7, 8] });
    assert!(lab.swarm.peers().all(|peer| peer.flags.suspect));
    // From here on one of them gets the piece alone.
    let again: Vec<_> =
        [honest, liar].into_iter().filter(|peer| !requests(*peer, &outputs).is_empty()).collect();
    assert_eq!(again.len(), 1);
    let mut block = requests(again[0], &outputs)[0];
    let mut compared = false;
    for _ in 0..2 {
        let outputs = lab.sends(again[0], block);
        compared |= outputs.iter().any(|output| matches!(output, Output::VerifyPiece { digests: true, .. }));
        block = requests(again[0], &outputs).first().copied().unwrap_or_default();
    }
    assert!(compared, "the digests of the good copy are asked for");
    let outputs = lab.input(Input::PieceVerified { piece: 0, ok: true, digests: vec![7, 9] });
    let banned = |event: &SwarmEvent| matches!(event, SwarmEvent::Banned { addr: banned, .. } if *banned == addr(liar.0));
    assert!(has_event(&outputs, banned), "{outputs:?}");
    assert!(!has_event(
        &outputs,
        |event| matches!(event, SwarmEvent::Banned { addr: banned, .. } if *banned == addr(honest.0))
    ));
}

#[test]
fn a_block_that_cannot_be_read_is_rejected_where_that_is_spoken_and_makes_room_for_the_next() {
    for fast in [true, false] {
        let mut lab = Lab::seed();
        let (peer, _) = lab.connect(if fast { Reserved::NONE.with_fast() } else { Reserved::NONE });
        lab.says(peer, Message::Interested);
        lab.wait(seconds(1));
        assert!(lab.swarm.peers().all(|peer| !peer.flags.am_choking));
        let asked = |n: u32| Message::Request { piece: n / 2, begin: n % 2 * BLOCK, length: BLOCK };
        let released = |outputs: &[Output]| {
            outputs.iter().filter(|output| matches!(output, Output::SendBlock { .. })).count()
        };
        let sent: usize = (0..40).map(|n| released(&lab.says(peer, asked(n)))).sum();
        assert_eq!(sent, 16, "as much as the connection has room for");
        let unreadable = Input::BlockUnreadable { peer, piece: 0, begin: 0, length: BLOCK };
        let outputs = lab.input(unreadable.clone());
        let reject = Message::Reject { piece: 0, begin: 0, length: BLOCK };
        assert_eq!(said(peer, &outputs), if fast { vec![&reject] } else { vec![] });
        assert_eq!(released(&outputs), 1);
        lab.input(Input::PeerDisconnected { peer });
        assert_eq!(lab.input(unreadable), []);
    }
}

#[test]
fn what_is_complete_without_a_transfer_is_not_told_as_completed() {
    let is_told = |outputs: &[Output]| outputs.contains(&Output::Event(SwarmEvent::Completed));
    // Nothing of what is missing is wanted, from the first moment on.
    let mut lab = Lab::new(&[0, 1]);
    let skip = |from: u32| {
        let wish = |piece| if from <= piece { Priority::Skip } else { Priority::Normal };
        Input::Priorities { priorities: (0..PIECES).map(wish).collect() }
    };
    let outputs = lab.input(skip(2));
    assert!(has_event(&outputs, |event| *event == SwarmEvent::RoleChanged { role: Role::PartialSeed }));
    assert!(!is_told(&outputs));
    // One more is wanted, and fetched.
    lab.input(skip(3));
    let (peer, asked) = lab.generous_seed();
    asked.iter().for_each(|block| drop(lab.sends(peer, *block)));
    assert!(is_told(&lab.verified(2, true)));
    // Of two more one is fetched, and the other not wanted any more.
    lab.input(skip(5));
    let (peer, asked) = lab.generous_seed();
    let piece = asked[0].0;
    asked.iter().filter(|block| block.0 == piece).for_each(|block| drop(lab.sends(peer, *block)));
    assert!(!is_told(&lab.verified(piece, true)));
    let mut wishes = vec![Priority::Skip; PIECES as usize];
    [0, 1, 2, piece].iter().for_each(|piece| wishes[*piece as usize] = Priority::Normal);
    assert!(is_told(&lab.input(Input::Priorities { priorities: wishes })));
    // And nothing more is fetched before it is complete again.
    lab.input(skip(6));
    assert!(!is_told(&lab.input(skip(0))));
}

#[test]
fn a_lost_piece_is_taken_back_and_fetched_again() {
    let mut lab = Lab::seed();
    let peer = lab.peer();
    let handshake =
        extension::ExtensionHandshake { m: [("lt_donthave".to_owned(), 9)].into(), ..Default::default() };
    lab.says(peer, Message::Extended { id: 0, payload: handshake.encode().into() });
    lab.says(peer, Message::Bitfield(Bytes::from_static(&[0xff, 0xff, 0xe0])));
    let outputs = lab.input(Input::PieceLost { piece: 2 });
    let lost = Message::Extended { id: 9, payload: Bytes::from_static(&[0, 0, 0, 2]) };
    assert!(said(peer, &outputs).contains(&&lost));
    assert!(said(peer, &outputs).contains(&&Message::Interested));
    let outputs = lab.says(peer, Message::Extended { id: 7, payload: Bytes::from_static(&[0, 0, 0, 2]) });
    assert_eq!(said(peer, &outputs), [&Message::Choke; 0]);
    assert_eq!(said(peer, &lab.wait(seconds(5))), [&Message::NotInterested]);
}

#[test]
fn pieces_found_on_disk_are_offered_and_not_fetched_and_complete_nothing() {
    let mut lab = Lab::new(&[]);
    let outputs = lab.input(Input::Pause);
    assert_eq!(outputs, []);
    let most = (0..PIECES - 1).chain([PIECES]).collect();
    lab.input(Input::PiecesFound { pieces: most });
    lab.input(Input::Resume);
    assert_eq!(lab.swarm.stats().have_pieces, PIECES - 1);
    let (_, asked) = lab.generous_seed();
    assert!(!asked.is_empty() && asked.iter().all(|(piece, _)| *piece == PIECES - 1), "{asked:?}");
    let leech = lab.peer();
    lab.says(leech, Message::HaveNone);
    let outputs = lab.input(Input::PiecesFound { pieces: vec![PIECES - 1] });
    assert!(said(leech, &outputs).contains(&&Message::Have { piece: PIECES - 1 }));
    assert!(!outputs.contains(&Output::Event(SwarmEvent::Completed)), "nobody fetched it");
    assert_eq!((lab.swarm.role(), lab.swarm.stats().left), (Role::Seed, 0));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Connect { .. })));
}

#[test]
fn withdrawn_pieces_are_taken_back_and_never_fetched() {
    let mut lab = Lab::seed();
    let peer = lab.peer();
    let handshake =
        extension::ExtensionHandshake { m: [("lt_donthave".to_owned(), 9)].into(), ..Default::default() };
    lab.says(peer, Message::Extended { id: 0, payload: handshake.encode().into() });
    lab.says(peer, Message::Bitfield(Bytes::from_static(&[0xff, 0xff, 0xc0])));
    // One is beyond the end.
    let outputs = lab.input(Input::PiecesWithdrawn { pieces: vec![2, 4, PIECES] });
    for piece in [2, 4] {
        let lost = Message::Extended { id: 9, payload: Bytes::from(vec![0, 0, 0, piece]) };
        assert!(said(peer, &outputs).contains(&&lost), "{piece}");
    }
    assert!(!said(peer, &outputs).contains(&&Message::Interested));
    assert_eq!((lab.swarm.stats().left, lab.swarm.stats().have_pieces), (0, PIECES - 2));
    assert_eq!(lab.swarm.role(), Role::PartialSeed);
    for priorities in [vec![], vec![Priority::High; PIECES as usize], vec![Priority::High; 3]] {
        let outputs = lab.input(Input::Priorities { priorities });
        assert!(!said(peer, &outputs).contains(&&Message::Interested));
        assert_eq!(lab.swarm.stats().left, 0);
    }
}

#[test]
fn a_peer_that_has_nothing_for_a_moment_is_not_told() {
    let mut lab = Lab::new(&(1..PIECES).collect::<Vec<_>>());
    let peer = lab.peer();
    let outputs = lab.says(peer, Message::HaveAll);
    assert!(said(peer, &outputs).contains(&&Message::Interested));
    let outputs = lab.says(peer, Message::Unchoke);
    let asked = requests(peer, &outputs);
    asked.into_iter().for_each(|block| drop(lab.sends(peer, block)));
    let outputs = lab.verified(0, true);
    assert!(said(peer, &outputs).contains(&&Message::NotInterested), "nothing is wanted any more");

    let mut lab = Lab::new(&[]);
    let peer = lab.peer();
    lab.says(peer, Message::Bitfield(Bytes::from_static(&[0x80, 0, 0])));
    let outputs = lab.says(peer, Message::Unchoke);
    for block in requests(peer, &outputs) {
        lab.sends(peer, block);
    }
    let outputs = lab.verified(0, true);
    assert!(!said(peer, &outputs).contains(&&Message::NotInterested));
    assert!(!said(peer, &lab.wait(seconds(2))).contains(&&Message::NotInterested));
    let outputs = lab.says(peer, Message::Have { piece: 1 });
    assert_eq!(requests(peer, &outputs), [(1, 0), (1, BLOCK)]);
    assert!(!said(peer, &outputs).contains(&&Message::Interested));
}

fn suggestions(peer: PeerKey, outputs: &[Output]) -> Vec<u32> {
    let suggestion = |message: &Message| match message {
        Message::Suggest { piece } => Some(*piece),
        _ => None,
    };
    said(peer, outputs).into_iter().filter_map(suggestion).collect()
}

#[test]
fn a_seed_suggests_each_piece_to_one_peer() {
    let mut lab = Lab::seed();
    let lone = lab.peer();
    lab.says(lone, Message::HaveNone);
    assert_eq!(suggestions(lone, &lab.says(lone, Message::Interested)), [0; 0]);
    let peers: Vec<PeerKey> = (0..2).map(|_| lab.peer()).collect();
    let mut named: Vec<Vec<u32>> = Vec::new();
    for peer in &peers {
        lab.says(*peer, Message::HaveNone);
        named.push(suggestions(*peer, &lab.says(*peer, Message::Interested)));
    }
    assert_eq!(named[0].len(), 16);
    assert_eq!(named[1].len(), PIECES as usize - 16);
    assert!(named[1].iter().all(|piece| !named[0].contains(piece)));
    // What one did not begin is for another when it is gone.
    let request = |piece| Message::Request { piece, begin: 0, length: BLOCK };
    lab.says(peers[0], request(named[0][3]));
    lab.input(Input::PeerDisconnected { peer: peers[0] });
    let mut late = suggestions(peers[1], &lab.says(peers[1], request(named[1][0])));
    named[0].remove(3);
    assert_eq!(late.len(), 13);
    late.retain(|piece| !named[0].contains(piece));
    assert_eq!(late, [0; 0]);
}

#[test]
fn what_somebody_has_is_not_suggested() {
    let mut lab = Lab::seed();
    let peers: Vec<PeerKey> = (0..2).map(|_| lab.peer()).collect();
    lab.says(peers[0], Message::Bitfield(Bytes::from_static(&[0xff, 0xff, 0x00])));
    lab.says(peers[1], Message::HaveNone);
    let mut named = suggestions(peers[1], &lab.says(peers[1], Message::Interested));
    named.sort_unstable();
    assert_eq!(named, [16, 17, 18, 19]);
}

#[test]
fn a_suggested_piece_comes_first_if_it_is_as_rare_as_any() {
    let mut lab = Lab::new(&[]);
    let (peer, other) = (lab.peer(), lab.peer());
    lab.says(other, Message::Bitfield(Bytes::from_static(&[0x80, 0, 0])));
    lab.says(peer, Message::HaveAll);
    for piece in [0, 13, 7] {
        assert_eq!(said(peer, &lab.says(peer, Message::Suggest { piece })), [&Message::Choke; 0]);
    }
    let outputs = lab.says(peer, Message::Unchoke);
    assert_eq!(requests(peer, &outputs), [(13, 0), (13, BLOCK), (7, 0), (7, BLOCK)]);
}

#[test]
fn skipped_pieces_are_not_fetched_and_a_partial_seed_says_so() {
    use crate::input::Priority;
    let mut lab = Lab::new(&[]);
    let (peer, asked) = lab.generous_seed();
    assert_eq!(asked.len(), 4);
    let handshake =
        extension::ExtensionHandshake { m: [("upload_only".to_owned(), 4)].into(), ..Default::default() };
    lab.says(peer, Message::Extended { id: 0, payload: handshake.encode().into() });
    let mut priorities = vec![Priority::Skip; PIECES as usize];
    priorities[7] = Priority::High;
    let outputs = lab.input(Input::Priorities { priorities });
    let cancelled =
        said(peer, &outputs).iter().filter(|message| matches!(message, Message::Cancel { .. })).count();
    let kept = asked.iter().filter(|(piece, _)| *piece == 7).count();
    assert_eq!(cancelled, 4 - kept);
    let asked = if kept == 0 { requests(peer, &outputs) } else { vec![(7, 0), (7, BLOCK)] };
    assert_eq!(asked, [(7, 0), (7, BLOCK)]);
    asked.iter().for_each(|block| drop(lab.sends(peer, *block)));
    let outputs = lab.verified(7, true);
    assert!(has_event(&outputs, |event| *event == SwarmEvent::Completed));
    assert_eq!(lab.swarm.role(), Role::PartialSeed);
    let upload_only = Message::Extended { id: 4, payload: Bytes::from_static(&[1]) };
    assert!(said(peer, &outputs).contains(&&upload_only));
}

#[test]
fn deadlines_come_first_and_sequential_goes_in_order() {
    let mut lab = Lab::with(&[], |options| options.sequential = true);
    lab.input(Input::Deadline { piece: 9, within: Some(seconds(10)) });
    let (_, asked) = lab.generous_seed();
    assert_eq!(asked, [(9, 0), (9, BLOCK), (0, 0), (0, BLOCK)]);
}

#[test]
fn the_port_a_peer_listens_on_is_dialled_after_it_left() {
    let mut lab = Lab::new(&[]);
    let peer = lab.peer();
    let handshake = extension::ExtensionHandshake { p: Some(7000), ..Default::default() };
    lab.says(peer, Message::Extended { id: 0, payload: handshake.encode().into() });
    lab.wait(seconds(5));
    lab.input(Input::PeerDisconnected { peer });
    let mut dialled = addr(peer.0);
    dialled.set_port(7000);
    assert!(lab.wait(seconds(60)).contains(&Output::Connect { addr: dialled }));
}

#[test]
fn the_last_one_left_is_dialled_again_soon_however_often_it_hangs_up() {
    let mut lab = Lab::new(&[]);
    let only = addr(500);
    let mut outputs = lab.input(Input::PeersFound { source: Source::Tracker, addrs: vec![only] });
    let mut waits = Vec::new();
    for key in 500..505 {
        let start = lab.now;
        while !outputs.contains(&Output::Connect { addr: only }) {
            outputs = lab.wait(seconds(1));
        }
        waits.push((lab.now - start).as_secs());
        let peer = PeerKey(key);
        lab.connect_as(peer, only, Direction::Outgoing, peer_id(key), Reserved::NONE.with_fast());
        lab.says(peer, Message::HaveAll);
        let asked = requests(peer, &lab.says(peer, Message::Unchoke));
        lab.sends(peer, asked[0]);
        outputs = lab.input(Input::PeerDisconnected { peer });
    }
    assert!(
        waits.iter().zip([0, 1, 2, 4, 8]).all(|(waited, at_least)| (at_least..at_least + 3).contains(waited)),
        "{waits:?}"
    );
}

#[test]
fn a_seed_that_knows_nobody_but_seeds_has_nothing_to_wait_for() {
    let mut lab = Lab::new(&(1..PIECES).collect::<Vec<_>>());
    let seed = addr(500);
    lab.input(Input::PeersFound { source: Source::Explicit, addrs: vec![seed] });
    let peer = PeerKey(500);
    lab.connect_as(peer, seed, Direction::Outgoing, peer_id(500), Reserved::NONE.with_fast());
    lab.says(peer, Message::HaveAll);
    for block in requests(peer, &lab.says(peer, Message::Unchoke)) {
        lab.sends(peer, block);
    }
    let outputs = lab.verified(0, true);
    assert_eq!(disconnected(peer, &outputs), Some(DisconnectReason::NothingToExchange));
    lab.wait(seconds(2));
    assert_eq!(lab.swarm.poll_timeout(), None);
}

#[test]
fn few_peers_and_no_addresses_are_said_once_in_a_while() {
    let mut lab = Lab::new(&[]);
    lab.input(Input::Sequential { sequential: false });
    let outputs = lab.wait(seconds(95));
    assert_eq!(outputs.iter().filter(|output| **output == Output::WantPeers).count(), 4);
}
