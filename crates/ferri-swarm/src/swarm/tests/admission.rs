//! All slots are taken: a peer that comes with something to exchange is accepted and served, whatever crowd is there.

use super::*;

/// A seed with room for 200, full of peers that want everything and ask for nothing.
fn besieged(addr_of: impl Fn(u64) -> String) -> Lab {
    let mut lab = Lab::with(&(0..PIECES).collect::<Vec<_>>(), |options| options.peers_max = 200);
    for n in 0..300 {
        knocks(&mut lab, &addr_of(n));
        lab.now += Duration::from_millis(5);
    }
    lab
}

/// A peer comes that has nothing and is interested.
fn knocks(lab: &mut Lab, at: &str) -> (PeerKey, Vec<Output>) {
    let peer = PeerKey(lab.next);
    lab.next += 1;
    let mut outputs =
        lab.connect_as(peer, at.parse().unwrap(), Direction::Incoming, peer_id(peer.0), Reserved::NONE);
    outputs.extend(lab.says(peer, Message::Interested));
    (peer, outputs)
}

/// How long it takes until the newcomer may ask.
fn waits(lab: &mut Lab, at: &str) -> Duration {
    let start = lab.now;
    let (peer, mut outputs) = knocks(lab, at);
    assert_eq!(disconnected(peer, &outputs), None, "not let in");
    while !said(peer, &outputs).contains(&&Message::Unchoke) {
        assert!(lab.now - start < seconds(60), "not served");
        assert_eq!(disconnected(peer, &outputs), None, "thrown out");
        outputs = lab.wait(Duration::from_millis(250));
    }
    let asked = lab.says(peer, Message::Request { piece: 0, begin: 0, length: BLOCK });
    assert!(asked.iter().any(|output| matches!(output, Output::SendBlock { .. })));
    lab.input(Input::BlocksSent { peer, blocks: 1, bytes: u64::from(BLOCK) });
    lab.now - start
}

#[test]
fn three_hundred_idle_peers_keep_nobody_out() {
    let one = |n: u64| format!("10.66.0.1:{}", 1_000 + n);
    let many = |n: u64| format!("10.66.{}.1:{}", n % 200, 1_000 + n);
    for crowd in [&one as &dyn Fn(u64) -> String, &many] {
        let mut lab = besieged(crowd);
        for n in 0..20 {
            // All who were sent away come back at once, again and again.
            for other in 0..300 {
                knocks(&mut lab, &crowd(other + 1_000 * (n + 1)));
            }
            let took = waits(&mut lab, &format!("10.99.{n}.1:5"));
            assert!(took <= seconds(3), "newcomer {n} waited {took:?}");
            lab.wait(seconds(3));
            assert!(lab.swarm.stats().peers <= 200);
        }
    }
}

#[test]
fn one_address_has_no_more_than_half_and_then_four() {
    let mut lab = besieged(|n| format!("10.66.0.1:{}", 1_000 + n));
    assert_eq!(lab.swarm.stats().peers, 100);
    let (late, outputs) = knocks(&mut lab, "10.66.0.1:7");
    assert_eq!(disconnected(late, &outputs), Some(DisconnectReason::Crowded));
    let same = |n: u64| format!("[2001:db8:0:1::{n:x}]:9");
    let refused = (0..6).filter(|n| {
        let (peer, outputs) = knocks(&mut lab, &same(*n));
        disconnected(peer, &outputs) == Some(DisconnectReason::Crowded)
    });
    assert_eq!(refused.count(), 2);
}

#[test]
fn a_person_may_name_as_many_ports_of_a_host_as_there_are_slots() {
    let mut lab = Lab::with(&[], |options| (options.peers_max, options.half_open_max) = (20, 99));
    let addrs: Vec<SocketAddr> = (1..=19).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
    lab.input(Input::PeersFound { source: Source::Explicit, addrs: addrs.clone() });
    for (n, addr) in addrs.into_iter().enumerate() {
        let key = PeerKey(lab.next);
        lab.next += 1;
        let outputs = lab.connect_as(key, addr, Direction::Outgoing, peer_id(key.0), Reserved::NONE);
        assert_eq!(disconnected(key, &outputs), None, "{n}");
    }
}

#[test]
fn dials_leave_one_slot_in_twenty_to_those_who_knock() {
    let mut lab = Lab::with(&[], |options| (options.peers_max, options.half_open_max) = (100, 500));
    let addrs: Vec<SocketAddr> = (0..500).map(addr).collect();
    let outputs = lab.input(Input::PeersFound { source: Source::Tracker, addrs });
    assert_eq!(outputs.iter().filter(|output| matches!(output, Output::Connect { .. })).count(), 95);
}

#[test]
fn seeds_that_give_nothing_make_room_for_those_that_were_not_tried() {
    let mut lab = Lab::with(&[], |options| (options.peers_max, options.half_open_max) = (200, 50));
    let addrs: Vec<SocketAddr> = (0..261).map(addr).collect();
    let mut outputs = lab.input(Input::PeersFound { source: Source::Tracker, addrs });
    let (start, mut tried) = (lab.now, 0);
    while tried < 261 {
        assert!(lab.now - start < seconds(25), "{tried} tried");
        for output in std::mem::take(&mut outputs) {
            if let Output::Connect { addr } = output {
                let key = PeerKey(lab.next);
                lab.next += 1;
                tried += 1;
                let reserved = Reserved::NONE.with_fast();
                outputs.extend(lab.connect_as(key, addr, Direction::Outgoing, peer_id(key.0), reserved));
                outputs.extend(lab.says(key, Message::HaveAll));
            }
        }
        if outputs.is_empty() {
            outputs = lab.wait(seconds(1));
        }
    }
}
