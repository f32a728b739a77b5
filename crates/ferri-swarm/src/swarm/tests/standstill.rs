//! What the swarm tells of a wait.

use super::*;
use crate::status::{Dials, Standstill};

impl Lab {
    /// What there is to tell after so many seconds in which no peer said anything.
    fn after(&mut self, time: u64) -> Option<Standstill> {
        self.wait(seconds(time));
        self.input(Input::Timeout);
        self.swarm.standstill()
    }
}

#[test]
fn nobody_is_there() {
    let mut lab = Lab::new(&[]);
    assert_eq!(lab.swarm.standstill(), Some(Standstill::Alone(Dials { connecting: 0, known: 0 })));
    lab.input(Input::PeersFound { source: Source::Tracker, addrs: vec![addr(77)] });
    assert_eq!(lab.swarm.standstill(), Some(Standstill::Alone(Dials { connecting: 1, known: 1 })));
}

#[test]
fn whoever_wants_nothing_waits_for_nothing() {
    assert_eq!(Lab::seed().swarm.standstill(), None);
    let mut lab = Lab::new(&[]);
    lab.input(Input::Pause);
    assert_eq!(lab.swarm.standstill(), None);
}

#[test]
fn what_no_peer_has_is_named() {
    let have: Vec<u32> = (0..PIECES).filter(|piece| *piece != 7 && *piece != 9).collect();
    let mut lab = Lab::new(&have);
    let peer = lab.peer();
    lab.says(peer, Message::Have { piece: 3 });
    // It may still be about to tell more.
    assert_eq!(lab.swarm.standstill(), None);
    assert_eq!(lab.after(3), Some(Standstill::Unseen { first: 7, pieces: 2 }));
    lab.says(peer, Message::Have { piece: 9 });
    assert_eq!(lab.swarm.standstill(), Some(Standstill::Choked { peers: 1 }));
}

#[test]
fn peers_that_choke_us_and_peers_that_are_silent_differ() {
    let mut lab = Lab::new(&[]);
    let (first, second) = (lab.peer(), lab.peer());
    lab.says(first, Message::HaveAll);
    lab.says(second, Message::HaveAll);
    assert_eq!(lab.after(3), Some(Standstill::Choked { peers: 2 }));
    lab.says(second, Message::Unchoke);
    assert_eq!(lab.swarm.standstill(), Some(Standstill::Silent { peers: 1 }));
}

#[test]
fn a_disk_that_has_everything_is_waited_for() {
    let have: Vec<u32> = (1..PIECES).collect();
    let mut lab = Lab::new(&have);
    let (peer, asked) = lab.generous_seed();
    for block in asked {
        lab.sends(peer, block);
    }
    assert_eq!(lab.swarm.standstill(), None, "its data has just come");
    assert_eq!(lab.after(30), Some(Standstill::Disk));
    lab.verified(0, true);
    assert_eq!(lab.swarm.standstill(), None);
}
