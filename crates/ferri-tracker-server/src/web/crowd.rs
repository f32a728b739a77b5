//! Who has how many connections, and whose makes room. No I/O.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use super::connection::State;
use crate::network::{Network, SITE_NETWORKS};

/// How many connections each network has.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Hashed with a secret of its own: clients choose their addresses, and could choose ones that collide.
    counts: HashMap<Network, usize>,
}

impl Crowd {
    pub(super) fn enter(&mut self, network: Network) {
        *self.counts.entry(network).or_default() += 1;
    }

    pub(super) fn leave(&mut self, network: Network) {
        if let Some(count) = self.counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&network);
            }
        }
    }

    pub(super) fn count(&self, network: Network) -> usize {
        self.counts.get(&network).copied().unwrap_or(0)
    }
}

/// A connection, as far as it matters for who makes room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) index: usize,
    pub(super) network: Network,
    pub(super) state: State,
    pub(super) since: Instant,
}

/// The `count` connections that are closed to make room: those of the networks that have the most, or the most for a part of their
/// site, and of these the ones that have kept us waiting longest for the rest of a request or for taking an answer, before those
/// that are at rest.
pub(super) fn victims(held: &[Held], count: usize) -> Vec<usize> {
    let in_network = ordinals(held, |held| Some(held.network));
    let in_site = ordinals(held, |held| held.network.site());
    let mut ranked: Vec<(usize, &Held)> = in_network
        .into_iter()
        .zip(in_site)
        .zip(held)
        .map(|((in_network, in_site), held)| (in_network.max(in_site / SITE_NETWORKS), held))
        .collect();
    ranked.sort_unstable_by_key(|(ordinal, held)| (Reverse(*ordinal), nuisance(held)));
    ranked.into_iter().take(count).map(|(_, held)| held.index).collect()
}

/// Of each, how many of the same group are kept shorter; 0 for what is in none.
fn ordinals<K: Ord + Copy>(held: &[Held], group: impl Fn(&Held) -> Option<K>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..held.len()).filter(|at| group(&held[*at]).is_some()).collect();
    order.sort_unstable_by_key(|at| (group(&held[*at]), Reverse(nuisance(&held[*at]))));
    let mut ordinals = vec![0; held.len()];
    let (mut ordinal, mut before) = (0, None);
    for at in order {
        let group = group(&held[at]);
        ordinal = if before == group { ordinal + 1 } else { 0 };
        (before, ordinals[at]) = (group, ordinal);
    }
    ordinals
}

/// What comes first goes first.
fn nuisance(held: &Held) -> (u8, Instant) {
    let rank = match held.state {
        State::Closing => 0,
        State::Asking => 1,
        State::Answering => 2,
        State::Idle => 3,
    };
    (rank, held.since)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    fn held(index: usize, who: u8, state: State, age: u64, now: Instant) -> Held {
        let since = now - Duration::from_secs(age);
        Held { index, network: Network::V4(u32::from(who)), state, since }
    }

    #[test]
    fn the_heaviest_network_loses_its_oldest_half_sent_requests() {
        let now = Instant::now() + Duration::from_secs(3600);
        let all = vec![
            held(0, 1, State::Asking, 900, now),
            held(1, 2, State::Idle, 50, now),
            held(2, 2, State::Asking, 3, now),
            held(3, 2, State::Asking, 7, now),
            held(4, 3, State::Idle, 800, now),
            held(5, 3, State::Idle, 900, now),
        ];
        assert_eq!(victims(&all, 1), [3]);
        // Level with the next one then, and of all seconds the half-sent request is closed before the idle connection.
        assert_eq!(victims(&all, 3), [3, 2, 5]);
        // Among networks with one each the half-sent request goes.
        assert_eq!(victims(&all, 4), [3, 2, 5, 0]);
        assert_eq!(victims(&all, 100).len(), 6);
    }

    #[test]
    fn a_site_with_many_networks_loses_connections_before_a_network_with_two() {
        let now = Instant::now() + Duration::from_secs(3600);
        let v6 = |index: usize, ip: &str, state| {
            let network = Network::from(ip.parse::<IpAddr>().unwrap());
            Held { index, network, state, since: now - Duration::from_secs(index as u64) }
        };
        let mut all: Vec<Held> =
            (0..40).map(|at| v6(at, &format!("2001:db8:7:{at:x}::1"), State::Asking)).collect();
        all.push(held(100, 1, State::Asking, 900, now));
        all.push(held(101, 1, State::Asking, 800, now));
        all.push(v6(102, "2001:db8:8:1::1", State::Asking));
        // Forty count as three: those behind the 32nd, kept longest, go first.
        assert_eq!(victims(&all, 8), [39, 38, 37, 36, 35, 34, 33, 32]);
        // Level with an address that has two then.
        assert_eq!(victims(&all, 9)[8], 100);
    }

    #[test]
    fn which_networks_collide_cannot_be_known_outside() {
        use std::hash::BuildHasher as _;
        let network = Network::from(IpAddr::from([192, 0, 2, 1]));
        let [one, other] =
            [Crowd::default(), Crowd::default()].map(|crowd| crowd.counts.hasher().hash_one(network));
        assert_ne!(one, other);
    }

    #[test]
    fn a_network_is_forgotten_with_its_last_connection() {
        let mut crowd = Crowd::default();
        let network = Network::from(IpAddr::from([127, 0, 0, 1]));
        crowd.enter(network);
        crowd.enter(network);
        crowd.leave(network);
        assert_eq!(crowd.count(network), 1);
        crowd.leave(network);
        crowd.leave(network);
        assert_eq!((crowd.count(network), crowd.counts.len()), (0, 0));
    }
}
