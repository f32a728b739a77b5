//! Who is refused for wrong data: the one that sent it, not its neighbours, and not the only one that has anything.

use super::*;

/// A peer at this address that has everything and unchokes us; and what we ask it for.
fn seed_at(lab: &mut Lab, at: &str, listens: Option<u16>) -> (PeerKey, Vec<(u32, u32)>) {
    let peer = PeerKey(lab.next);
    lab.next += 1;
    let reserved = Reserved::NONE.with_fast().with_extensions();
    lab.connect_as(peer, at.parse().unwrap(), Direction::Incoming, peer_id(peer.0), reserved);
    let handshake = extension::ExtensionHandshake { p: listens, ..Default::default() };
    lab.says(peer, Message::Extended { id: 0, payload: handshake.encode().into() });
    lab.says(peer, Message::HaveAll);
    let outputs = lab.says(peer, Message::Unchoke);
    (peer, requests(peer, &outputs))
}

/// A peer sends the piece it was asked for first, and that is wrong or right.
fn sends_piece(lab: &mut Lab, peer: PeerKey, asked: &[(u32, u32)], ok: bool) -> Vec<Output> {
    let piece = asked[0].0;
    let mut outputs = lab.sends(peer, (piece, 0));
    outputs.extend(lab.sends(peer, (piece, BLOCK)));
    outputs.extend(lab.verified(piece, ok));
    outputs
}

fn is_banned(outputs: &[Output], at: &str) -> bool {
    has_event(outputs, |event| matches!(event, SwarmEvent::Banned { addr, .. } if addr.to_string() == at))
}

fn is_refused(lab: &mut Lab, at: &str) -> Option<DisconnectReason> {
    let peer = PeerKey(lab.next);
    lab.next += 1;
    let outputs =
        lab.connect_as(peer, at.parse().unwrap(), Direction::Incoming, peer_id(peer.0), Reserved::NONE);
    disconnected(peer, &outputs)
}

#[test]
fn a_ban_leaves_those_alone_who_share_the_address() {
    let mut lab = Lab::new(&[]);
    let (liar, asked) = seed_at(&mut lab, "10.78.5.5:33002", None);
    let (neighbour, _) = seed_at(&mut lab, "10.78.5.5:33001", None);
    let outputs = sends_piece(&mut lab, liar, &asked, false);
    assert!(is_banned(&outputs, "10.78.5.5:33002"), "{outputs:?}");
    assert!(disconnected(liar, &outputs).is_some() && disconnected(neighbour, &outputs).is_none());
    assert_eq!(is_refused(&mut lab, "10.78.5.5:33002"), Some(DisconnectReason::Banned));
    assert_eq!(is_refused(&mut lab, "10.78.5.5:33003"), None);
}

#[test]
fn a_second_culprit_behind_an_address_bans_it_but_not_who_was_proven_honest_there() {
    let mut lab = Lab::new(&[]);
    let mut asked = Vec::new();
    for port in 1..=4 {
        asked.push(seed_at(&mut lab, &format!("10.78.5.5:{port}"), None));
    }
    let outputs = sends_piece(&mut lab, asked[3].0, &asked[3].1.clone(), true);
    assert_eq!(disconnected(asked[3].0, &outputs), None);
    sends_piece(&mut lab, asked[0].0, &asked[0].1.clone(), false);
    let outputs = sends_piece(&mut lab, asked[1].0, &asked[1].1.clone(), false);
    assert!(disconnected(asked[2].0, &outputs).is_some(), "{outputs:?}");
    assert_eq!(disconnected(asked[3].0, &outputs), None);
    assert_eq!(is_refused(&mut lab, "10.78.5.5:77"), Some(DisconnectReason::Banned));
    assert_eq!(is_refused(&mut lab, "10.78.5.6:77"), None);
}

#[test]
fn who_called_us_is_known_by_the_port_it_listens_on() {
    let mut lab = Lab::new(&[]);
    seed_at(&mut lab, "10.0.0.1:1", None);
    let (liar, asked) = seed_at(&mut lab, "10.78.5.5:50001", Some(7000));
    let outputs = sends_piece(&mut lab, liar, &asked, false);
    assert!(is_banned(&outputs, "10.78.5.5:7000"), "{outputs:?}");
    // It calls again from another port, with another peer id.
    let peer = PeerKey(lab.next);
    seed_at(&mut lab, "10.78.5.5:50002", Some(7000));
    assert!(lab.swarm.peers().all(|status| status.peer != peer));
    let (neighbour, _) = seed_at(&mut lab, "10.78.5.5:50003", Some(7001));
    assert!(lab.swarm.peers().any(|status| status.peer == neighbour));
}

#[test]
fn a_port_that_a_liar_names_is_still_dialled() {
    let mut lab = Lab::new(&[]);
    seed_at(&mut lab, "10.0.0.1:1", None);
    // The port is that of a neighbour behind the same router.
    let (liar, asked) = seed_at(&mut lab, "10.78.5.5:50001", Some(7000));
    let outputs = sends_piece(&mut lab, liar, &asked, false);
    assert!(disconnected(liar, &outputs).is_some(), "{outputs:?}");
    let neighbour = PeerKey(lab.next);
    lab.next += 1;
    let at = "10.78.5.5:7000".parse().unwrap();
    let outputs = lab.connect_as(neighbour, at, Direction::Outgoing, peer_id(neighbour.0), Reserved::NONE);
    assert_eq!(disconnected(neighbour, &outputs), None);
}

#[test]
fn a_port_that_a_liar_names_is_dialled_while_it_is_connected_and_gives_nothing() {
    let mut lab = Lab::new(&[]);
    let neighbour: SocketAddr = "10.78.5.5:7000".parse().unwrap();
    let liar = lab.next;
    lab.next += 1;
    let at = "10.78.5.5:50001".parse().unwrap();
    let reserved = Reserved::NONE.with_extensions();
    lab.connect_as(PeerKey(liar), at, Direction::Incoming, peer_id(liar), reserved);
    let handshake = extension::ExtensionHandshake { p: Some(7000), ..Default::default() };
    lab.says(PeerKey(liar), Message::Extended { id: 0, payload: handshake.encode().into() });
    let outputs = lab.input(Input::PeersFound { source: Source::Tracker, addrs: vec![neighbour] });
    let dial = Output::Connect { addr: neighbour };
    assert!(!outputs.contains(&dial), "it may well be the peer that is here");
    assert!(lab.wait(seconds(15)).contains(&dial));
    assert!(lab.swarm.peers().any(|status| status.peer == PeerKey(liar)));
}

#[test]
fn the_only_source_is_on_parole_and_its_next_good_piece_ends_that() {
    let mut lab = Lab::new(&[]);
    let (only, asked) = seed_at(&mut lab, "10.0.0.1:1", None);
    let outputs = sends_piece(&mut lab, only, &asked, false);
    assert!(has_event(&outputs, |event| matches!(event, SwarmEvent::OnParole { .. })), "{outputs:?}");
    assert!(lab.swarm.peers().all(|status| status.flags.suspect));
    // The same piece is asked of it again, and is right.
    let mut open: Vec<_> = asked.into_iter().skip(2).chain(requests(only, &outputs)).collect();
    let mut verified = 0;
    while let Some(block) = (!open.is_empty()).then(|| open.remove(0)) {
        let outputs = lab.sends(only, block);
        open.extend(requests(only, &outputs));
        for output in outputs {
            if let Output::VerifyPiece { piece, .. } = output {
                verified += 1;
                open.extend(requests(only, &lab.verified(piece.get(), true)));
            }
        }
    }
    assert_eq!((verified, lab.swarm.stats().left), (PIECES, 0));
}

#[test]
fn the_only_source_is_banned_when_nothing_but_wrong_pieces_comes_from_it() {
    let mut lab = Lab::new(&[]);
    let (only, mut asked) = seed_at(&mut lab, "10.0.0.1:1", None);
    for n in 0..4 {
        let outputs = sends_piece(&mut lab, only, &asked, false);
        assert_eq!(is_banned(&outputs, "10.0.0.1:1"), n == 3, "{n}: {outputs:?}");
        asked = asked.into_iter().skip(2).chain(requests(only, &outputs)).collect();
    }
    assert_eq!(lab.swarm.stats().peers, 0);
}
