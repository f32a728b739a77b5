//! Blocks asked for twice: in the end game those that slow peers hold, before it those of late pieces. Who is slow is
//! looked up for all peers together and not for each one that runs dry, so that a block costs the same in any crowd.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use ferri_metainfo::Block;

use super::Swarm;
use super::download::asker;
use crate::output::SwarmEvent;
use crate::peer::{Peer, Peers};
use crate::picker::{Asker, Copied, PeerSlot, Picker};
use crate::requests::Trust;

/// Blocks asked for twice at a time by one peer.
const COPIES_AT_ONCE: usize = 16;
/// How much sooner than the first peer a second one has to be for its request to be worth the waste.
const COPY_ADVANTAGE: u32 = 2;
/// A piece with a deadline is late when so little time is left.
const LATE: Duration = Duration::from_secs(2);
/// How long a look at all peers holds.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Blocks and peers looked at for one peer that runs dry.
const LOOK: usize = 256;
/// A peer that gave up takes longer than any.
const NEVER: Duration = Duration::MAX;

/// Who holds requests, and how long each will take with them.
#[derive(Debug)]
pub(super) struct SlowPeers {
    again: Instant,
    /// The slowest last. Those without a block that one more peer may be asked for are gone from the end.
    order: Vec<(Duration, Reverse<PeerSlot>)>,
}

impl SlowPeers {
    pub(super) fn new(now: Instant) -> Self {
        Self { again: now, order: Vec::new() }
    }
}

impl Swarm {
    /// Asks a peer that would be idle for blocks that others are slow with: in the end game, and for late pieces.
    pub(super) fn pick_copies(&mut self, slot: PeerSlot, count: usize, blocks: &mut Vec<Block>) {
        let now = self.timers.now;
        let end_game = self.picker.is_end_game();
        if !end_game && !self.picker.is_late(now, LATE) {
            return;
        }
        let Some(peer) = self.peers.get_mut(slot) else { return };
        // A peer that keeps back what it has would only hold more.
        if peer.down.trust(now) != Trust::Full || !peer.down.may_copy(now) {
            return;
        }
        let until = blocks.len() + count.min(COPIES_AT_ONCE);
        if end_game {
            self.look_for_laggards();
            self.copy_from_laggards(slot, until, blocks);
            if !std::mem::replace(&mut self.timers.end_game, true) {
                self.emit(SwarmEvent::EndGame);
            }
        } else {
            self.copy_late(slot, until, blocks);
        }
    }

    fn look_for_laggards(&mut self) {
        let now = self.timers.now;
        if now < self.slow_peers.again {
            return;
        }
        self.slow_peers.again = now + LOOK_AGAIN;
        let holders = self.peers.iter().filter(|(_, peer)| peer.down.len() != 0);
        let times = holders.filter_map(|(slot, peer)| Some((time_of(peer, now)?, Reverse(slot))));
        self.slow_peers.order.clear();
        self.slow_peers.order.extend(times);
        self.slow_peers.order.sort_unstable();
    }

    /// Takes from the slowest first, and of each what it was asked for last.
    fn copy_from_laggards(&mut self, slot: PeerSlot, until: usize, blocks: &mut Vec<Block>) {
        let Self { picker, peers, slow_peers, .. } = self;
        let Some(race) = Race::new(peers, slot, self.layout.piece_length(), self.timers.now) else { return };
        let (mut at, mut look) = (slow_peers.order.len(), LOOK);
        while let Some((theirs, Reverse(holder))) = at.checked_sub(1).map(|at| slow_peers.order[at])
            && race.is_sooner_than(theirs)
            && 0 < look
        {
            (at, look) = (at - 1, look - 1);
            let mut used_up = true;
            for block in peers.get(holder).iter().flat_map(|peer| peer.down.outstanding().rev()) {
                if look == 0 || blocks.len() == until {
                    return;
                }
                look -= 1;
                match race.copy(picker, block) {
                    Copied::Yes => blocks.push(block),
                    Copied::NotHere => used_up = false,
                    Copied::Enough => {}
                }
            }
            if used_up && at + 1 == slow_peers.order.len() {
                slow_peers.order.pop();
            }
        }
    }

    fn copy_late(&mut self, slot: PeerSlot, until: usize, blocks: &mut Vec<Block>) {
        let late = self.picker.late(self.timers.now, LATE);
        let Some(race) = Race::new(&self.peers, slot, self.layout.piece_length(), self.timers.now) else {
            return;
        };
        for block in late {
            if blocks.len() < until && race.copy(&mut self.picker, block) == Copied::Yes {
                blocks.push(block);
            }
        }
    }
}

/// A peer that would be idle, against those that hold what it could send.
struct Race<'a> {
    peers: &'a Peers,
    asker: Asker<'a>,
    ours: Option<Duration>,
    now: Instant,
}

impl<'a> Race<'a> {
    fn new(peers: &'a Peers, slot: PeerSlot, piece_length: u32, now: Instant) -> Option<Self> {
        let peer = peers.get(slot)?;
        let ours = peer.down.drain_time(now);
        Some(Self { peers, asker: asker(slot, peer, piece_length, now), ours, now })
    }

    fn is_sooner_than(&self, theirs: Duration) -> bool {
        theirs == NEVER || self.ours.is_some_and(|ours| ours * COPY_ADVANTAGE < theirs)
    }

    fn copy(&self, picker: &mut Picker, block: Block) -> Copied {
        let time_of = |holder: PeerSlot| self.peers.get(holder).and_then(|peer| time_of(peer, self.now));
        let worth = |holder| time_of(holder).is_some_and(|theirs| self.is_sooner_than(theirs));
        let stalled = |holder| time_of(holder) == Some(NEVER);
        picker.copy(&self.asker, block, worth, stalled)
    }
}

/// How long a peer will take with one block more. `None`: nothing is known of it.
fn time_of(peer: &Peer, now: Instant) -> Option<Duration> {
    if peer.down.trust(now) == Trust::Full { peer.down.drain_time(now) } else { Some(NEVER) }
}
