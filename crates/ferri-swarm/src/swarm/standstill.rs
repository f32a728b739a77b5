//! Why nothing comes, as far as the swarm can tell: for people, who would do something about it. Decides nothing.

use std::time::Duration;

use super::{State, Swarm};
use crate::peer::Peer;
use crate::status::{Dials, Role, Standstill};

/// A peer that has just come has had no time to say what it has and to unchoke us.
const ARRIVAL: Duration = Duration::from_secs(2);

impl Swarm {
    /// Why a swarm that wants something gets nothing; `None` while anything comes, and when nothing is wanted. Looks at
    /// all peers, and at all pieces when no peer has any of those that are missing: not for every block.
    pub fn standstill(&self) -> Option<Standstill> {
        let stats = &self.totals.down;
        if self.role != Role::Leech || self.state != State::Active || stats.per_second(self.timers.now) != 0 {
            return None;
        }
        if self.peers.is_empty() {
            let (connecting, known) = (self.candidates.connecting(), self.candidates.len());
            return Some(Standstill::Alone(Dials { connecting, known }));
        }
        if self.picker.is_all_verifying() {
            return Some(Standstill::Disk);
        }
        let peers = || self.peers.iter().map(|(_, peer)| peer);
        let is_new = |peer: &Peer| self.timers.now.saturating_duration_since(peer.id.connected) < ARRIVAL;
        if peers().any(is_new) {
            return None;
        }
        let useful = || peers().filter(|peer| peer.interesting(&self.picker) != 0);
        let answering = useful().filter(|peer| peer.is_askable()).count();
        match (useful().count(), answering) {
            (0, _) => self.unseen(),
            (peers, 0) => Some(Standstill::Choked { peers }),
            (_, peers) => Some(Standstill::Silent { peers }),
        }
    }

    fn unseen(&self) -> Option<Standstill> {
        let first = self.picker.first_missing()?;
        Some(Standstill::Unseen { first: first.get(), pieces: self.picker.missing() })
    }
}
