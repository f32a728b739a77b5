//! Who has how many connections, and whose makes room. No I/O.

use std::time::Instant;

use rustc_hash::FxHashMap;

use super::connection::State;
use crate::network::Network;

/// How many connections each network has.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    counts: FxHashMap<Network, usize>,
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

/// The `count` connections that are closed to make room: those of the networks that have the most, and of these the ones that have
/// kept us waiting longest for the rest of a request or for taking an answer, before those that are at rest.
pub(super) fn victims(mut held: Vec<Held>, count: usize) -> Vec<usize> {
    // Within a network the one that is kept longest comes first.
    held.sort_unstable_by_key(|held| (held.network, std::cmp::Reverse(nuisance(held))));
    let mut ordinal = 0;
    let mut before = None;
    let mut ranked: Vec<(usize, Held)> = Vec::with_capacity(held.len());
    for held in held {
        ordinal = if before == Some(held.network) { ordinal + 1 } else { 0 };
        before = Some(held.network);
        ranked.push((ordinal, held));
    }
    ranked.sort_unstable_by_key(|(ordinal, held)| (std::cmp::Reverse(*ordinal), nuisance(held)));
    ranked.into_iter().take(count).map(|(_, held)| held.index).collect()
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
        assert_eq!(victims(all.clone(), 1), [3]);
        // Level with the next one then, and of all seconds the half-sent request is closed before the idle connection.
        assert_eq!(victims(all.clone(), 3), [3, 2, 5]);
        // Among networks with one each the half-sent request goes.
        assert_eq!(victims(all.clone(), 4), [3, 2, 5, 0]);
        assert_eq!(victims(all, 100).len(), 6);
    }

    #[test]
    fn a_network_is_forgotten_with_its_last_connection() {
        let mut crowd = Crowd::default();
        let network = Network::from(std::net::IpAddr::from([127, 0, 0, 1]));
        crowd.enter(network);
        crowd.enter(network);
        crowd.leave(network);
        assert_eq!(crowd.count(network), 1);
        crowd.leave(network);
        crowd.leave(network);
        assert_eq!((crowd.count(network), crowd.counts.len()), (0, 0));
    }
}
