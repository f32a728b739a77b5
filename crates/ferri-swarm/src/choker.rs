//! Which peers get payload. Pure functions over plain data: which peers ask, how fast each was, how long each has
//! waited.
//!
//! While we lack something we give to peers that give (tit for tat, BEP 3). One slot goes to an unknown peer in turn,
//! or no peer could ever show what it is worth. When we have everything, each peer gets a turn; fast and new peers get
//! it sooner.
//!
//! A slot is for a peer that uses it: one that asks for nothing, or takes nothing, loses it to a peer that waits.
//! Beside the slots there are a few that unknown peers get as soon as they come, the newest first, so that no crowd of
//! idle peers is in their way.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crate::picker::PeerSlot;
use crate::rng::Rng;

/// How often slots are given out anew (BEP 3).
pub(crate) const ROUND: Duration = Duration::from_secs(10);
/// How long a stranger keeps the optimistic slot (BEP 3: long enough to get a piece and give one back).
pub(crate) const OPTIMISTIC: Duration = Duration::from_secs(30);
/// A peer is new for so long; until then it is three times as likely to get the optimistic slot.
const NEW: Duration = Duration::from_secs(60);
/// When we have everything: a turn lasts at least so long, or the peer's own ramp-up would be most of it.
const TURN_MIN: Duration = Duration::from_secs(20);
/// And at most so long when others wait, even for a peer too slow to use up its quantum.
const TURN_MAX: Duration = Duration::from_secs(60);
/// Bytes after which a turn ends when others wait.
const QUANTUM: u64 = 8 << 20;
/// A peer with a slot that asks for nothing for so long may lose it: a request is a round trip away.
pub(crate) const IDLE_TURN: Duration = Duration::from_secs(2);
/// A peer that asks and takes nothing for so long may lose it too.
pub(crate) const STUCK_TURN: Duration = Duration::from_secs(10);
/// Slots beside the automatic ones for those who just came.
const NEWCOMERS: usize = 2;
/// A newcomer keeps its slot for so long, however many others come.
const NEWCOMER_TURN: Duration = Duration::from_secs(2);
/// And it loses it by then even if no other peer comes.
const NEWCOMER_TURN_MAX: Duration = Duration::from_secs(30);
/// Automatic slots: at least so many, as many small pipes fill ours better than a few.
const SLOTS_MIN: usize = 8;
/// And at most so many, or each gets too little to be worth its while.
const SLOTS_MAX: usize = 40;

/// A connection, as far as the choker cares.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) slot: PeerSlot,
    /// It wants something of ours.
    pub(crate) interested: bool,
    /// We are sending to it.
    pub(crate) unchoked: bool,
    /// It unchoked us and sends nothing; it gets a slot only by chance.
    pub(crate) snubbed: bool,
    /// Bytes a second it sent us.
    pub(crate) gives: u64,
    /// Bytes a second we sent it.
    pub(crate) takes: u64,
    /// Bytes sent to it since it was unchoked.
    pub(crate) sent: u64,
    /// Bytes ever sent to it.
    pub(crate) sent_total: u64,
    /// When it was choked or unchoked last.
    pub(crate) since: Instant,
    /// When its last turn began. `None`: it never had one.
    pub(crate) last_turn: Option<Instant>,
    /// Turns of which it made no use, since it last took something.
    pub(crate) wasted: u32,
    /// It has one of the slots for newcomers.
    pub(crate) is_newcomer: bool,
    /// It has a slot and does not use it.
    pub(crate) is_idle: bool,
    /// It is one of many from one place.
    pub(crate) is_in_crowd: bool,
    pub(crate) connected: Instant,
}

/// Slots when the user set no number: grows with the square root of the rate, so that both their number and the share
/// of each grow. `up_rate` in bytes a second.
pub(crate) fn slots(up_rate: u64) -> usize {
    let kib = usize::try_from(up_rate >> 10).unwrap_or(usize::MAX);
    (4 + (kib / 3).isqrt()).clamp(SLOTS_MIN, SLOTS_MAX)
}

/// Of the slots, whether the user set their number or they were counted automatically, those for newcomers.
pub(crate) fn newcomer_slots(fixed: Option<usize>) -> usize {
    match fixed {
        None => NEWCOMERS,
        // Where there are few, each is worth more than the sooner start of a stranger.
        Some(slots) => NEWCOMERS.min(slots / 4),
    }
}

/// Who just came and gets a slot for newcomers, and who loses one for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) comes: PeerSlot,
    pub(crate) goes: Option<PeerSlot>,
}

/// The next newcomer, if there is one and one of `slots` to be had.
pub(crate) fn next_newcomer(rivals: &[Rival], slots: usize, now: Instant) -> Option<Greeting> {
    let is_new = |r: &&Rival| {
        let fresh = now.saturating_duration_since(r.connected) < NEW;
        r.interested && !r.unchoked && r.last_turn.is_none() && fresh
    };
    let comes = rivals.iter().filter(is_new).max_by_key(|r| (!r.is_in_crowd, r.connected, r.slot))?.slot;
    let holders = || rivals.iter().filter(|r| r.is_newcomer);
    if holders().count() < slots {
        return Some(Greeting { comes, goes: None });
    }
    let may_go = |r: &&Rival| r.is_idle || NEWCOMER_TURN <= now.saturating_duration_since(r.since);
    let goes = holders().filter(may_go).max_by_key(|r| (r.is_idle, Reverse(r.since), r.slot))?.slot;
    Some(Greeting { comes, goes: Some(goes) })
}

/// Newcomers whose time is over.
pub(crate) fn settled_newcomers(rivals: &[Rival], now: Instant) -> Vec<PeerSlot> {
    let over = |r: &&Rival| r.is_newcomer && NEWCOMER_TURN_MAX <= now.saturating_duration_since(r.since);
    rivals.iter().filter(over).map(|r| r.slot).collect()
}

/// Which peers' slots are given to others when a peer waits that never had one or used it: those that do not use them.
pub(crate) fn idle_holders(rivals: &[Rival]) -> Vec<PeerSlot> {
    let is_waiting = |r: &Rival| r.interested && !r.unchoked && r.wasted == 0;
    if !rivals.iter().any(is_waiting) {
        return Vec::new();
    }
    rivals.iter().filter(|r| r.unchoked && r.is_idle).map(|r| r.slot).collect()
}

/// Which peers get the slots while we lack something: those that give most, then `optimistic`, then the one that waits
/// longest.
pub(crate) fn unchoked_by_leech(
    rivals: &[Rival],
    slots: usize,
    optimistic: Option<PeerSlot>,
) -> Vec<PeerSlot> {
    let optimistic = optimistic.filter(|slot| rivals.iter().any(|r| r.interested && r.slot == *slot));
    let mut regular: Vec<&Rival> =
        rivals.iter().filter(|r| r.interested && !r.snubbed && Some(r.slot) != optimistic).collect();
    // A peer with a slot keeps it unless another is better by a quarter: a slot that flaps serves no peer.
    let gives = |r: &Rival| if r.unchoked { r.gives + r.gives / 4 } else { r.gives };
    regular.sort_by_key(|r| {
        (
            Reverse(gives(r)),
            r.is_idle,
            Reverse(r.unchoked),
            r.is_newcomer,
            r.is_in_crowd,
            r.wasted,
            r.last_turn,
            r.slot,
        )
    });
    let mut winners: Vec<PeerSlot> = optimistic.into_iter().take(slots).collect();
    winners.extend(regular.iter().map(|r| r.slot).take(slots - winners.len()));
    winners
}

/// Who gets the slots when we have everything: turns that are not over, then those who wait, the longest first,
/// then those whose turn is over, the fastest first. Newcomers have slots of their own until they win one here.
pub(crate) fn unchoked_by_seed(rivals: &[Rival], slots: usize, now: Instant) -> Vec<PeerSlot> {
    let mut order: Vec<_> = rivals.iter().filter(|r| r.interested).map(|r| (turn(r, now), r)).collect();
    order.sort_by_key(|(turn, r)| {
        let waiting = *turn == Turn::Waiting;
        let waited = if waiting { r.last_turn } else { None };
        let (had, wasted) = if waiting { (r.sent_total, r.wasted) } else { (0, 0) };
        (*turn, r.is_newcomer, waiting && r.is_in_crowd, wasted, waited, had, Reverse(r.takes), r.slot)
    });
    order.into_iter().map(|(_, r)| r.slot).take(slots).collect()
}

/// Where a peer is in the round robin, in the order in which slots are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Unfinished,
    Waiting,
    Finished,
    /// It has a slot and does not use it.
    Idle,
}

fn turn(rival: &Rival, now: Instant) -> Turn {
    let lasted = now.saturating_duration_since(rival.since);
    match rival {
        r if !r.unchoked => Turn::Waiting,
        r if r.is_idle => Turn::Idle,
        r if TURN_MAX <= lasted || TURN_MIN <= lasted && QUANTUM <= r.sent => Turn::Finished,
        _ => Turn::Unfinished,
    }
}

/// The next stranger: chance among those who wait, new ones three times as likely, and those who made no use of a turn half
/// as likely.
pub(crate) fn next_optimistic(
    rivals: &[Rival],
    current: Option<PeerSlot>,
    now: Instant,
    rng: &mut Rng,
) -> Option<PeerSlot> {
    let weight = |r: &Rival| {
        let waiting = r.interested && (!r.unchoked || Some(r.slot) == current);
        let fresh = now.saturating_duration_since(r.connected) < NEW;
        match (waiting, Some(r.slot) == current) {
            (false, _) | (_, true) => 0,
            _ if 0 < r.wasted => 1,
            _ if fresh => 6,
            _ => 2,
        }
    };
    let total = rivals.iter().map(weight).sum();
    let mut ticket = rng.below(total);
    let winner = rivals.iter().find(|r| {
        let weight = weight(r);
        let won = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        won && 0 < weight
    });
    winner
        .map(|r| r.slot)
        .or_else(|| current.filter(|slot| rivals.iter().any(|r| r.interested && r.slot == *slot)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rivals(n: u32, now: Instant) -> Vec<Rival> {
        let rival = |slot| Rival {
            slot: PeerSlot(slot),
            interested: true,
            unchoked: false,
            snubbed: false,
            gives: 0,
            takes: 0,
            sent: 0,
            sent_total: 0,
            since: now,
            last_turn: None,
            wasted: 0,
            is_newcomer: false,
            is_idle: false,
            is_in_crowd: false,
            connected: now,
        };
        (0..n).map(rival).collect()
    }

    fn slots_of(peers: &[PeerSlot]) -> Vec<u32> {
        peers.iter().map(|slot| slot.0).collect()
    }

    #[test]
    fn those_who_give_most_get_the_slots_and_one_goes_to_a_stranger() {
        let mut rivals = rivals(6, Instant::now());
        [10, 50, 30, 40, 0, 20].into_iter().zip(&mut rivals).for_each(|(gives, r)| r.gives = gives);
        rivals[3].interested = false;
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 3, Some(PeerSlot(4)))), [4, 1, 2]);
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 3, None)), [1, 2, 5]);
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 0, Some(PeerSlot(4)))), [0u32; 0]);
    }

    #[test]
    fn a_slot_changes_hands_only_for_a_clearly_better_peer() {
        let mut rivals = rivals(2, Instant::now());
        (rivals[0].gives, rivals[0].unchoked) = (100, true);
        rivals[1].gives = 120;
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 1, None)), [0]);
        rivals[1].gives = 126;
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 1, None)), [1]);
    }

    #[test]
    fn who_snubs_us_gets_a_slot_only_by_chance() {
        let mut rivals = rivals(2, Instant::now());
        (rivals[0].gives, rivals[0].snubbed) = (100, true);
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 2, None)), [1]);
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 2, Some(PeerSlot(0)))), [0, 1]);
    }

    #[test]
    fn every_stranger_gets_the_optimistic_slot_and_new_ones_three_times_as_often() {
        let start = Instant::now();
        let now = start + Duration::from_secs(100);
        let mut rivals = rivals(4, start);
        rivals[0].connected = now;
        rivals[1].unchoked = true;
        let mut rng = Rng::new(5);
        let mut wins = [0; 4];
        for _ in 0..1000 {
            wins[next_optimistic(&rivals, None, now, &mut rng).unwrap().0 as usize] += 1;
        }
        assert_eq!(wins[1], 0);
        assert!(wins[0] > 2 * wins[2] && wins[2] > 100 && wins[3] > 100, "{wins:?}");
    }

    #[test]
    fn the_stranger_changes_when_there_is_another() {
        let now = Instant::now();
        let mut rivals = rivals(2, now);
        rivals[0].unchoked = true;
        let mut rng = Rng::new(5);
        assert_eq!(next_optimistic(&rivals, Some(PeerSlot(0)), now, &mut rng), Some(PeerSlot(1)));
        rivals[1].interested = false;
        assert_eq!(next_optimistic(&rivals, Some(PeerSlot(0)), now, &mut rng), Some(PeerSlot(0)));
        rivals[0].interested = false;
        assert_eq!(next_optimistic(&rivals, Some(PeerSlot(0)), now, &mut rng), None);
    }

    #[test]
    fn a_seed_gives_everybody_a_turn_of_the_same_length() {
        let start = Instant::now();
        let mut now = start;
        let mut rivals = rivals(10, start);
        let mut turns = [0; 10];
        for _ in 0..300 {
            let winners = unchoked_by_seed(&rivals, 3, now);
            assert_eq!(winners.len(), 3);
            for rival in &mut rivals {
                let won = winners.contains(&rival.slot);
                turns[rival.slot.0 as usize] += u32::from(won);
                if won != rival.unchoked {
                    (rival.unchoked, rival.since, rival.sent) = (won, now, 0);
                    rival.last_turn = if won { Some(now) } else { rival.last_turn };
                }
                rival.sent += if won { 1 << 20 } else { 0 };
                rival.sent_total += if won { 1 << 20 } else { 0 };
            }
            now += ROUND;
        }
        assert!(turns.iter().all(|n| (80..=100).contains(n)), "{turns:?}");
    }

    #[test]
    fn with_free_slots_nobody_is_choked_by_a_seed() {
        let now = Instant::now();
        let mut rivals = rivals(3, now);
        (rivals[0].unchoked, rivals[0].sent) = (true, QUANTUM);
        let later = now + TURN_MAX;
        assert_eq!(unchoked_by_seed(&rivals, 3, later).len(), 3);
        assert_eq!(slots_of(&unchoked_by_seed(&rivals, 2, later)), [1, 2]);
    }

    #[test]
    fn a_peer_that_does_not_use_its_turn_loses_it_first() {
        let now = Instant::now();
        let mut rivals = rivals(2, now);
        (rivals[0].unchoked, rivals[0].takes, rivals[0].is_idle) = (true, 5, true);
        (rivals[1].unchoked, rivals[1].sent) = (true, QUANTUM);
        assert_eq!(slots_of(&unchoked_by_seed(&rivals, 1, now + TURN_MIN)), [1]);
    }

    #[test]
    fn who_wasted_a_turn_waits_behind_everybody_who_did_not() {
        let now = Instant::now();
        let mut rivals = rivals(3, now);
        (rivals[0].wasted, rivals[0].last_turn) = (1, Some(now));
        rivals[2].last_turn = Some(now + Duration::from_secs(1));
        assert_eq!(slots_of(&unchoked_by_seed(&rivals, 2, now)), [1, 2]);
        assert_eq!(slots_of(&unchoked_by_leech(&rivals, 2, None)), [1, 2]);
    }

    #[test]
    fn idle_slots_are_given_away_when_somebody_waits_who_may_use_them() {
        let mut rivals = rivals(4, Instant::now());
        (rivals[0].unchoked, rivals[0].is_idle) = (true, true);
        rivals[1].unchoked = true;
        rivals[2].interested = false;
        assert_eq!(slots_of(&idle_holders(&rivals)), [0]);
        rivals[3].wasted = 1;
        assert_eq!(slots_of(&idle_holders(&rivals)), [0u32; 0]);
    }

    #[test]
    fn the_newest_stranger_gets_a_slot_at_once_and_keeps_it_for_a_moment() {
        let start = Instant::now();
        let now = start + Duration::from_secs(10);
        let mut rivals = rivals(5, start);
        (rivals[3].connected, rivals[1].connected) = (now, now - Duration::from_secs(1));
        let greet = |rivals: &[Rival], slots, now| next_newcomer(rivals, slots, now);
        let newest = Greeting { comes: PeerSlot(3), goes: None };
        assert_eq!(greet(&rivals, 1, now), Some(newest));
        assert_eq!(greet(&rivals, 0, now), None);
        (rivals[3].unchoked, rivals[3].is_newcomer) = (true, true);
        (rivals[3].since, rivals[3].last_turn) = (now, Some(now));
        assert_eq!(greet(&rivals, 2, now).unwrap().comes, PeerSlot(1));
        assert_eq!(greet(&rivals, 1, now + Duration::from_secs(1)), None);
        let goes = Greeting { comes: PeerSlot(1), goes: Some(PeerSlot(3)) };
        assert_eq!(greet(&rivals, 1, now + NEWCOMER_TURN), Some(goes));
        rivals[3].is_idle = true;
        assert_eq!(greet(&rivals, 1, now), Some(goes));
        rivals[1].is_in_crowd = true;
        assert_eq!(greet(&rivals[..3], 1, now).unwrap().comes, PeerSlot(2), "a crowd comes last");
        // A peer that has been waiting for long is no newcomer.
        assert_eq!(greet(&rivals[..1], 1, start + NEW), None);
    }

    #[test]
    fn slots_that_somebody_set_are_no_more_with_newcomers() {
        assert_eq!([None, Some(0), Some(3), Some(4), Some(100)].map(newcomer_slots), [2, 0, 0, 1, 2]);
    }

    #[test]
    fn automatic_slots_follow_the_rate() {
        assert_eq!(slots(0), 8);
        assert_eq!(slots(1 << 20), 22);
        assert_eq!(slots(100 << 20), 40);
    }
}
