//! Peers that keep back what they were asked for: others get it, and they are trusted with less.

use super::*;

/// A peer that has everything, unchokes us, and sends first halves of pieces only; and what it was asked for.
fn halver(lab: &mut Lab) -> (PeerKey, Vec<(u32, u32)>) {
    lab.generous_seed()
}

/// The first halves of what a peer was asked for arrive, and of what it is asked for then.
fn sends_halves(lab: &mut Lab, peer: PeerKey, mut asked: Vec<(u32, u32)>) {
    while let Some(block) = asked.pop() {
        if block.1 < PIECE / 2 {
            lab.now += Duration::from_millis(2);
            let outputs = lab.sends(peer, block);
            asked.extend(requests(peer, &outputs));
        }
    }
}

#[test]
fn what_a_peer_keeps_back_is_asked_of_another_within_two_seconds() {
    let mut lab = Lab::new(&[]);
    let (bad, asked) = halver(&mut lab);
    sends_halves(&mut lab, bad, asked);
    let held = lab.swarm.peers().find(|peer| peer.peer == bad).unwrap().requests_out;
    assert!(8 <= held, "{held}");
    // Nothing but what the other one holds is left for this one.
    let (good, mut open) = lab.generous_seed();
    let start = lab.now;
    while lab.swarm.stats().left != 0 {
        assert!(lab.now - start < seconds(3), "{:?}", lab.swarm.stats());
        let outputs = match open.pop() {
            Some(block) => {
                lab.now += Duration::from_millis(4);
                let mut outputs = lab.sends(good, block);
                for piece in 0..PIECES {
                    outputs.extend(lab.verified(piece, true));
                }
                outputs
            }
            None => lab.wait(Duration::from_millis(100)),
        };
        open.extend(requests(good, &outputs));
    }
    assert_eq!(lab.swarm.stats().wasted, 0);
}
