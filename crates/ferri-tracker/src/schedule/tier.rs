//! Tiers of trackers, and the order in which they are asked ([BEP 12]).
//!
//! [BEP 12]: https://www.bittorrent.org/beps/bep_0012.html

use std::collections::BTreeSet;
use std::time::Instant;

/// Tiers that stand in for each other: one tracker of all of them is in use at a time.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Indexes of trackers, in the order they are asked.
    tiers: Vec<Vec<usize>>,
    /// Who answered the latest round of this session.
    pub(super) current: Option<usize>,
    /// The round under way.
    pub(super) round: Option<Round>,
    /// When the next one begins. `None` while one is under way, and when there is no tracker to ask.
    pub(super) next_round: Option<Instant>,
}

/// One walk along the tiers, until a tracker answers.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Who was asked in this round.
    pub(super) tried: BTreeSet<usize>,
    /// When the one asked last has had the time that it had for itself.
    pub(super) impatient_at: Option<Instant>,
}

impl Chain {
    pub(super) fn new(tiers: Vec<Vec<usize>>) -> Self {
        Self { tiers, ..Self::default() }
    }

    /// Every tracker, in the order they are asked.
    pub(super) fn trackers(&self) -> impl Iterator<Item = usize> {
        self.tiers.iter().flatten().copied()
    }

    pub(super) fn contains(&self, tracker: usize) -> bool {
        self.trackers().any(|other| other == tracker)
    }

    /// Whether `tracker` is asked before the one in use.
    pub(super) fn is_before_current(&self, tracker: usize) -> bool {
        let place = |wanted| self.trackers().position(|other| other == wanted);
        self.current.is_none_or(|current| place(tracker) < place(current))
    }

    /// BEP 12: who answers comes first in its tier from then on.
    pub(super) fn promote(&mut self, tracker: usize) {
        for tier in &mut self.tiers {
            if let Some(place) = tier.iter().position(|&other| other == tracker) {
                tier[..=place].rotate_right(1);
            }
        }
    }

    /// Forgets the session; the order stays as it was learned.
    pub(super) fn rest(&mut self) {
        self.current = None;
        self.round = None;
        self.next_round = None;
    }

    /// Brings the next round forward, but not before `at`.
    pub(super) fn hasten(&mut self, at: Instant) {
        if let Some(next_round) = &mut self.next_round {
            *next_round = at.min(*next_round);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_the_example_of_the_bep() {
        let mut chain = Chain::new(vec![vec![1, 2, 3], vec![4, 5]]);
        chain.promote(2);
        assert_eq!(chain.trackers().collect::<Vec<_>>(), [2, 1, 3, 4, 5]);
        chain.promote(3);
        assert_eq!(chain.trackers().collect::<Vec<_>>(), [3, 2, 1, 4, 5]);
        chain.promote(5);
        assert_eq!(chain.trackers().collect::<Vec<_>>(), [3, 2, 1, 5, 4]);
        chain.promote(9);
        assert_eq!(chain.trackers().collect::<Vec<_>>(), [3, 2, 1, 5, 4]);
    }
}
