//! Which peers are accepted, and which are disconnected for them, so that no attacker can hold all slots: not with many
//! connections from one place, and not with few from many places. Pure functions over plain data, as in `choker.rs`.
//!
//! While half of the slots are free all peers are accepted: a whole household may share one address. After that a
//! network has [`PER_NETWORK`] at most. When all slots are taken, the first to go are peers that had their chance and
//! did not use it, and peers of crowded networks; and one slot in [`KEPT`] changes hands for newcomers in any case. A
//! peer that was disconnected without having given or taken anything is no newcomer for a while, or the same crowd
//! would go round in a circle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::network::Network;

/// Connections to one network once half of the slots are taken.
pub(crate) const PER_NETWORK: u32 = 4;
/// One slot in so many is kept for newcomers.
const KEPT: usize = 20;
/// A peer that gave and took nothing for so long may be asked to go; and for so long a newcomer is one.
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// A network whose peer was disconnected without having given or taken anything displaces no peer for so long.
const TURNED_AWAY: Duration = Duration::from_secs(60);
/// Networks remembered that had to go; the oldest is forgotten first.
const TURNED_AWAY_MAX: usize = 4_096;

/// A connection, as far as admission asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occupant<K> {
    pub(crate) key: K,
    pub(crate) network: Network,
    pub(crate) connected: Instant,
    /// When either side last had anything from the other; `None`: never.
    pub(crate) useful_at: Option<Instant>,
    /// One side waits for something from the other, or a person named it: it does not go.
    pub(crate) stays: bool,
    /// It had its chance and did not use it.
    pub(crate) wasted: bool,
    /// Canonical priority (BEP 40), where it is known.
    pub(crate) priority: Option<u32>,
}

impl<K> Occupant<K> {
    /// Gave and took nothing for a while, and nothing is under way.
    fn is_idle(&self, now: Instant) -> bool {
        !self.stays && IDLE <= now.saturating_duration_since(self.useful_at.unwrap_or(self.connected))
    }

    /// Came just now.
    fn is_new(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.connected) < IDLE
    }
}

/// What becomes of a peer that asks for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission<K> {
    /// There is room.
    Welcome,
    /// There is room once this one has gone.
    InPlaceOf(K),
    /// There are enough from that network.
    Crowded,
    /// There is no room.
    Full,
}

/// How many of `max` slots connections of our own making may take: the others are for those who knock.
pub(crate) fn for_dials(max: usize) -> usize {
    max - max / KEPT
}

/// What is remembered of those who were turned away or replaced.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    turned_away: BTreeMap<Network, Instant>,
}

impl Admissions {
    /// A connection ended to make room. `useful`: it gave or took something before.
    pub(crate) fn replaced(&mut self, network: Network, useful: Option<Instant>, now: Instant) {
        if useful.is_some() {
            return;
        }
        self.turned_away.insert(network, now);
        if TURNED_AWAY_MAX < self.turned_away.len()
            && let Some(oldest) = self.turned_away.iter().min_by_key(|(_, at)| **at).map(|(who, _)| *who)
        {
            self.turned_away.remove(&oldest);
        }
    }

    /// Whether the next one from `network` is let in where there are `max` slots, and who goes. `crowd`: how many connections
    /// the caller counts from there elsewhere too, where that matters.
    pub(crate) fn admit<K: Copy + Ord>(
        &self,
        occupants: &[Occupant<K>],
        network: Network,
        crowd: u32,
        max: usize,
        now: Instant,
    ) -> Admission<K> {
        let mut crowds: BTreeMap<Network, u32> = BTreeMap::new();
        occupants.iter().for_each(|occupant| *crowds.entry(occupant.network).or_default() += 1);
        let ours = crowds.get(&network).copied().unwrap_or(0);
        let is_crowded = max <= 2 * occupants.len() && PER_NETWORK <= ours || PER_NETWORK <= crowd;
        if is_crowded {
            // A neighbour that is of no use makes room: others behind that address may be honest. One at a time, or the crowd
            // would always be of those who just came.
            let neighbours = || occupants.iter().filter(|occupant| occupant.network == network);
            if neighbours().any(|occupant| occupant.is_new(now)) {
                return Admission::Crowded;
            }
            let idle = neighbours().filter(|occupant| occupant.is_idle(now));
            let longest =
                idle.min_by_key(|occupant| (occupant.useful_at.unwrap_or(occupant.connected), occupant.key));
            return longest.map_or(Admission::Crowded, |occupant| Admission::InPlaceOf(occupant.key));
        }
        if occupants.len() < max {
            return Admission::Welcome;
        }
        let away = self.turned_away.get(&network);
        if away.is_some_and(|at| now.saturating_duration_since(*at) < TURNED_AWAY) {
            return Admission::Full;
        }
        let of = |occupant: &Occupant<K>| crowds.get(&occupant.network).copied().unwrap_or(0);
        let dispensable = dispensable(occupants, of, ours, now);
        dispensable
            .or_else(|| for_newcomers(occupants, max, now))
            .map_or(Admission::Full, Admission::InPlaceOf)
    }
}

/// Of those who are idle, the one from the largest crowd, if that is larger than the newcomer's; or one that had its chance.
fn dispensable<K: Copy + Ord>(
    occupants: &[Occupant<K>],
    crowd_of: impl Fn(&Occupant<K>) -> u32,
    ours: u32,
    now: Instant,
) -> Option<K> {
    let idle = occupants.iter().filter(|occupant| occupant.is_idle(now));
    let may_go = idle.filter(|occupant| {
        let crowd = crowd_of(occupant);
        1 < crowd && ours < crowd || occupant.wasted && ours <= crowd
    });
    let first = may_go.max_by_key(|occupant| {
        let idle = now.saturating_duration_since(occupant.useful_at.unwrap_or(occupant.connected));
        (crowd_of(occupant), occupant.wasted, idle, std::cmp::Reverse(occupant.key))
    });
    first.map(|occupant| occupant.key)
}

/// The slots that are kept for newcomers. As long as fewer are new, one that is idle goes, the lowest priority first, or the
/// one that was of use longest ago; otherwise the one that has been new for longest, one of no use before others.
fn for_newcomers<K: Copy + Ord>(occupants: &[Occupant<K>], max: usize, now: Instant) -> Option<K> {
    let kept = max / KEPT;
    if kept == 0 {
        return None;
    }
    let may_go = || occupants.iter().filter(|occupant| !occupant.stays);
    let goes = if occupants.iter().filter(|occupant| occupant.is_new(now)).count() < kept {
        may_go().min_by_key(|occupant| {
            let busy = !occupant.is_idle(now);
            let priority = occupant.priority.filter(|_| !busy);
            (busy, priority, occupant.useful_at.unwrap_or(occupant.connected), occupant.key)
        })
    } else {
        let new = may_go().filter(|occupant| occupant.is_new(now));
        new.min_by_key(|occupant| (occupant.useful_at.is_some(), occupant.connected, occupant.key))
    };
    goes.map(|occupant| occupant.key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(n: u32) -> Network {
        Network::of(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n)))
    }

    /// One that came at `connected` and did nothing since.
    fn occupant(key: u32, of: u32, connected: Instant) -> Occupant<u32> {
        let network = network(of);
        Occupant { key, network, connected, useful_at: None, stays: false, wasted: false, priority: None }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn below_half_everybody_is_welcome_and_above_four_of_a_network() {
        let (admissions, start) = (Admissions::default(), Instant::now());
        let mut occupants: Vec<_> = (0..49).map(|n| occupant(n, 7, start)).collect();
        let admit = |occupants: &[Occupant<u32>], of| admissions.admit(occupants, network(of), 0, 100, start);
        assert_eq!(admit(&occupants, 7), Admission::Welcome);
        occupants.push(occupant(49, 7, start));
        assert_eq!(admit(&occupants, 7), Admission::Crowded);
        assert_eq!(admit(&occupants, 8), Admission::Welcome);
        occupants.extend((50..53).map(|n| occupant(n, 8, start)));
        assert_eq!(admit(&occupants, 8), Admission::Welcome);
        occupants.push(occupant(53, 8, start));
        assert_eq!(admit(&occupants, 8), Admission::Crowded);
    }

    #[test]
    fn what_the_session_counts_elsewhere_counts() {
        let (admissions, now) = (Admissions::default(), Instant::now());
        let admit = |crowd| admissions.admit::<u32>(&[], network(1), crowd, 100, now);
        assert_eq!((admit(3), admit(4)), (Admission::Welcome, Admission::Crowded));
    }

    #[test]
    fn an_idle_neighbour_makes_room_for_another_one_behind_the_same_address() {
        let (admissions, start) = (Admissions::default(), Instant::now());
        let mut occupants: Vec<_> = (0..60).map(|n| occupant(n, 7, start)).collect();
        occupants[0].stays = true;
        let admit = |at| admissions.admit(&occupants, network(7), 0, 100, at);
        assert_eq!(admit(start + seconds(9)), Admission::Crowded);
        assert_eq!(admit(start + seconds(10)), Admission::InPlaceOf(1));
        occupants[1].connected = start + seconds(10);
        let admit = |at| admissions.admit(&occupants, network(7), 0, 100, at);
        assert_eq!(admit(start + seconds(19)), Admission::Crowded);
        assert_eq!(admit(start + seconds(20)), Admission::InPlaceOf(2));
    }

    #[test]
    fn in_a_full_house_the_largest_idle_crowd_goes_first() {
        let (admissions, start) = (Admissions::default(), Instant::now());
        let mut occupants: Vec<_> = (0..100).map(|n| occupant(n, n, start)).collect();
        (occupants[40].network, occupants[41].network, occupants[42].network) =
            (network(1), network(1), network(2));
        occupants[1].stays = true;
        let now = start + seconds(10);
        assert_eq!(admissions.admit(&occupants, network(500), 0, 100, now), Admission::InPlaceOf(40));
        // A network with a crowd of the same size does not gain by it.
        assert_eq!(admissions.admit(&occupants, network(2), 0, 100, now), Admission::InPlaceOf(40));
        occupants[77].wasted = true;
        occupants.iter_mut().for_each(|occupant| occupant.stays |= occupant.key != 77);
        assert_eq!(admissions.admit(&occupants, network(500), 0, 100, now), Admission::InPlaceOf(77));
    }

    #[test]
    fn one_slot_in_twenty_changes_hands_and_who_had_to_go_waits() {
        let (mut admissions, start) = (Admissions::default(), Instant::now());
        let mut occupants: Vec<_> = (0..200).map(|n| occupant(n, n, start)).collect();
        // All are new: the oldest of them goes.
        assert_eq!(
            admissions.admit(&occupants, network(900), 0, 200, start + seconds(3)),
            Admission::InPlaceOf(0)
        );
        // All have been there for long: ten may come, one after the other, and then they take turns.
        let now = start + seconds(30);
        for n in 0..10 {
            assert_eq!(admissions.admit(&occupants, network(900 + n), 0, 200, now), Admission::InPlaceOf(n));
            admissions.replaced(network(n), None, now);
            occupants[n as usize] = occupant(300 + n, 900 + n, now);
        }
        assert_eq!(admissions.admit(&occupants, network(990), 0, 200, now), Admission::InPlaceOf(300));
        assert_eq!(admissions.admit(&occupants, network(3), 0, 200, now), Admission::Full);
        let later = now + TURNED_AWAY;
        assert_ne!(admissions.admit(&occupants, network(3), 0, 200, later), Admission::Full);
        // A peer with something under way stays.
        occupants.iter_mut().skip(1).for_each(|occupant| occupant.useful_at = Some(now));
        occupants[0].stays = true;
        let admit =
            |occupants: &[Occupant<u32>]| admissions.admit(occupants, network(991), 0, 200, now + seconds(1));
        assert_eq!(admit(&occupants), Admission::InPlaceOf(301), "of all who were of use, the newest crowd");
        occupants.iter_mut().for_each(|occupant| occupant.stays = true);
        assert_eq!(admit(&occupants), Admission::Full);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut admissions, now) = (Admissions::default(), Instant::now());
        (0..9_000).for_each(|n| admissions.replaced(network(n), None, now));
        assert_eq!(admissions.turned_away.len(), TURNED_AWAY_MAX);
    }
}
