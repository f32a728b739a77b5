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

/// A connection, as far as the doorkeeper cares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest<K> {
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

impl<K> Guest<K> {
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

/// What the doorkeeper remembers.
#[derive(Debug, Default)]
pub(crate) struct Doorkeeper {
    turned_away: BTreeMap<Network, Instant>,
}

impl Doorkeeper {
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

    /// Whether the next one from `network` is let into a house of `max` slots, and who goes. `crowd`: how many connections
    /// the caller counts from there elsewhere too, where that matters.
    pub(crate) fn admit<K: Copy + Ord>(
        &self,
        guests: &[Guest<K>],
        network: Network,
        crowd: u32,
        max: usize,
        now: Instant,
    ) -> Admission<K> {
        let mut crowds: BTreeMap<Network, u32> = BTreeMap::new();
        guests.iter().for_each(|guest| *crowds.entry(guest.network).or_default() += 1);
        let ours = crowds.get(&network).copied().unwrap_or(0);
        let is_crowded = max <= 2 * guests.len() && PER_NETWORK <= ours || PER_NETWORK <= crowd;
        if is_crowded {
            // A neighbour that is of no use makes room: others behind that address may be honest. One at a time, or the crowd
            // would always be of those who just came.
            let neighbours = || guests.iter().filter(|guest| guest.network == network);
            if neighbours().any(|guest| guest.is_new(now)) {
                return Admission::Crowded;
            }
            let idle = neighbours().filter(|guest| guest.is_idle(now));
            let longest = idle.min_by_key(|guest| (guest.useful_at.unwrap_or(guest.connected), guest.key));
            return longest.map_or(Admission::Crowded, |guest| Admission::InPlaceOf(guest.key));
        }
        if guests.len() < max {
            return Admission::Welcome;
        }
        let away = self.turned_away.get(&network);
        if away.is_some_and(|at| now.saturating_duration_since(*at) < TURNED_AWAY) {
            return Admission::Full;
        }
        let of = |guest: &Guest<K>| crowds.get(&guest.network).copied().unwrap_or(0);
        let dispensable = dispensable(guests, of, ours, now);
        dispensable.or_else(|| for_newcomers(guests, max, now)).map_or(Admission::Full, Admission::InPlaceOf)
    }
}

/// Of those who are idle, the one from the largest crowd, if that is larger than the newcomer's; or one that had its chance.
fn dispensable<K: Copy + Ord>(
    guests: &[Guest<K>],
    crowd_of: impl Fn(&Guest<K>) -> u32,
    ours: u32,
    now: Instant,
) -> Option<K> {
    let idle = guests.iter().filter(|guest| guest.is_idle(now));
    let may_go = idle.filter(|guest| {
        let crowd = crowd_of(guest);
        1 < crowd && ours < crowd || guest.wasted && ours <= crowd
    });
    let first = may_go.max_by_key(|guest| {
        let idle = now.saturating_duration_since(guest.useful_at.unwrap_or(guest.connected));
        (crowd_of(guest), guest.wasted, idle, std::cmp::Reverse(guest.key))
    });
    first.map(|guest| guest.key)
}

/// The slots that are kept for newcomers. As long as fewer are new, one that is idle goes, the lowest priority first, or the
/// one that was of use longest ago; otherwise the one that has been new for longest, one of no use before others.
fn for_newcomers<K: Copy + Ord>(guests: &[Guest<K>], max: usize, now: Instant) -> Option<K> {
    let kept = max / KEPT;
    if kept == 0 {
        return None;
    }
    let may_go = || guests.iter().filter(|guest| !guest.stays);
    let goes = if guests.iter().filter(|guest| guest.is_new(now)).count() < kept {
        may_go().min_by_key(|guest| {
            let busy = !guest.is_idle(now);
            let priority = guest.priority.filter(|_| !busy);
            (busy, priority, guest.useful_at.unwrap_or(guest.connected), guest.key)
        })
    } else {
        let new = may_go().filter(|guest| guest.is_new(now));
        new.min_by_key(|guest| (guest.useful_at.is_some(), guest.connected, guest.key))
    };
    goes.map(|guest| guest.key)
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
    fn guest(key: u32, of: u32, connected: Instant) -> Guest<u32> {
        let network = network(of);
        Guest { key, network, connected, useful_at: None, stays: false, wasted: false, priority: None }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn below_half_everybody_is_welcome_and_above_four_of_a_network() {
        let (keeper, start) = (Doorkeeper::default(), Instant::now());
        let mut guests: Vec<_> = (0..49).map(|n| guest(n, 7, start)).collect();
        let admit = |guests: &[Guest<u32>], of| keeper.admit(guests, network(of), 0, 100, start);
        assert_eq!(admit(&guests, 7), Admission::Welcome);
        guests.push(guest(49, 7, start));
        assert_eq!(admit(&guests, 7), Admission::Crowded);
        assert_eq!(admit(&guests, 8), Admission::Welcome);
        guests.extend((50..53).map(|n| guest(n, 8, start)));
        assert_eq!(admit(&guests, 8), Admission::Welcome);
        guests.push(guest(53, 8, start));
        assert_eq!(admit(&guests, 8), Admission::Crowded);
    }

    #[test]
    fn what_the_session_counts_elsewhere_counts() {
        let (keeper, now) = (Doorkeeper::default(), Instant::now());
        let admit = |crowd| keeper.admit::<u32>(&[], network(1), crowd, 100, now);
        assert_eq!((admit(3), admit(4)), (Admission::Welcome, Admission::Crowded));
    }

    #[test]
    fn an_idle_neighbour_makes_room_for_another_one_behind_the_same_address() {
        let (keeper, start) = (Doorkeeper::default(), Instant::now());
        let mut guests: Vec<_> = (0..60).map(|n| guest(n, 7, start)).collect();
        guests[0].stays = true;
        let admit = |at| keeper.admit(&guests, network(7), 0, 100, at);
        assert_eq!(admit(start + seconds(9)), Admission::Crowded);
        assert_eq!(admit(start + seconds(10)), Admission::InPlaceOf(1));
        guests[1].connected = start + seconds(10);
        let admit = |at| keeper.admit(&guests, network(7), 0, 100, at);
        assert_eq!(admit(start + seconds(19)), Admission::Crowded);
        assert_eq!(admit(start + seconds(20)), Admission::InPlaceOf(2));
    }

    #[test]
    fn in_a_full_house_the_largest_idle_crowd_goes_first() {
        let (keeper, start) = (Doorkeeper::default(), Instant::now());
        let mut guests: Vec<_> = (0..100).map(|n| guest(n, n, start)).collect();
        (guests[40].network, guests[41].network, guests[42].network) = (network(1), network(1), network(2));
        guests[1].stays = true;
        let now = start + seconds(10);
        assert_eq!(keeper.admit(&guests, network(500), 0, 100, now), Admission::InPlaceOf(40));
        // A network with a crowd of the same size does not gain by it.
        assert_eq!(keeper.admit(&guests, network(2), 0, 100, now), Admission::InPlaceOf(40));
        guests[77].wasted = true;
        guests.iter_mut().for_each(|guest| guest.stays |= guest.key != 77);
        assert_eq!(keeper.admit(&guests, network(500), 0, 100, now), Admission::InPlaceOf(77));
    }

    #[test]
    fn one_slot_in_twenty_changes_hands_and_who_had_to_go_waits() {
        let (mut keeper, start) = (Doorkeeper::default(), Instant::now());
        let mut guests: Vec<_> = (0..200).map(|n| guest(n, n, start)).collect();
        // All are new: the oldest of them goes.
        assert_eq!(keeper.admit(&guests, network(900), 0, 200, start + seconds(3)), Admission::InPlaceOf(0));
        // All have been there for long: ten may come, one after the other, and then they take turns.
        let now = start + seconds(30);
        for n in 0..10 {
            assert_eq!(keeper.admit(&guests, network(900 + n), 0, 200, now), Admission::InPlaceOf(n));
            keeper.replaced(network(n), None, now);
            guests[n as usize] = guest(300 + n, 900 + n, now);
        }
        assert_eq!(keeper.admit(&guests, network(990), 0, 200, now), Admission::InPlaceOf(300));
        assert_eq!(keeper.admit(&guests, network(3), 0, 200, now), Admission::Full);
        let later = now + TURNED_AWAY;
        assert_ne!(keeper.admit(&guests, network(3), 0, 200, later), Admission::Full);
        // A peer with something under way stays.
        guests.iter_mut().skip(1).for_each(|guest| guest.useful_at = Some(now));
        guests[0].stays = true;
        let admit = |guests: &[Guest<u32>]| keeper.admit(guests, network(991), 0, 200, now + seconds(1));
        assert_eq!(admit(&guests), Admission::InPlaceOf(301), "of all who were of use, the newest crowd");
        guests.iter_mut().for_each(|guest| guest.stays = true);
        assert_eq!(admit(&guests), Admission::Full);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut keeper, now) = (Doorkeeper::default(), Instant::now());
        (0..9_000).for_each(|n| keeper.replaced(network(n), None, now));
        assert_eq!(keeper.turned_away.len(), TURNED_AWAY_MAX);
    }
}
