//! Tiers of trackers, and the order in which they are asked ([BEP 12]).
//!
//! [BEP 12]: https://www.bittorrent.org/beps/bep_0012.html

use std::collections::BTreeSet;
use std::time::Instant;

use super::messages::Order;

/// Tiers of which each has a tracker in use, with [`Order::EveryTier`]. A link may list hundreds, each a tier of its own.
pub const TIERS_AT_ONCE: usize = 16;

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
#[derive(Clone, Debug, Default)]
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

    /// The chains for these tiers. One that holds several has the first of them first.
    pub(super) fn for_tiers(tiers: Vec<Vec<usize>>, order: Order) -> Vec<Self> {
        let count = match order {
            Order::Sequential => tiers.len().min(1),
            Order::EveryTier => tiers.len().min(TIERS_AT_ONCE),
        };
        let mut chains = vec![Vec::new(); count];
        for (at, tier) in tiers.into_iter().enumerate() {
            chains[at % count].push(tier);
        }
        chains.into_iter().map(Self::new).collect()
    }

    /// Goes on where those chains were that its trackers come from: `places` says where each tracker of theirs is now. When they
    /// say nothing of when the next round begins, it is due at `due`.
    pub(super) fn go_on(&mut self, before: &[Self], places: &[Option<usize>], due: Option<Instant>) {
        let place = |old: usize| places[old].filter(|&new| self.contains(new));
        let in_use = |chain: &Self| chain.current.and_then(place);
        let tried = |round: &Round| round.tried.iter().filter_map(|&old| place(old)).collect::<BTreeSet<_>>();
        // Of several in use the first in the list is.
        let first = self.trackers().find_map(|new| before.iter().find(|chain| in_use(chain) == Some(new)));
        let is_asking = |chain: &&Self| chain.round.as_ref().is_some_and(|round| !tried(round).is_empty());
        let Some(before) = first.or_else(|| before.iter().find(is_asking)) else {
            self.next_round = due;
            return;
        };
        let round = before.round.as_ref().map(|round| Round { tried: tried(round), ..*round });
        let (current, round) = (in_use(before), round.filter(|round| !round.tried.is_empty()));
        self.next_round = match (current, &round) {
            (_, Some(_)) => None,
            (Some(_), None) => before.next_round.or(due),
            (None, None) => due,
        };
        (self.current, self.round) = (current, round);
    }

    /// One of its trackers is asked, as it is new: a round that looks for a tracker counts that in, and gives it until
    /// `patience`.
    pub(super) fn asks(&mut self, tracker: usize, patience: Instant) {
        if self.round.is_none() && self.current.is_none() {
            self.next_round = None;
            self.round = Some(Round { tried: BTreeSet::new(), impatient_at: Some(patience) });
        }
        if let Some(round) = &mut self.round {
            round.tried.insert(tracker);
        }
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

    #[test]
    fn a_few_tiers_are_in_use_at_once_and_the_others_stand_in() {
        let tiers = |count: usize| (0..count).map(|n| vec![n]).collect::<Vec<_>>();
        let chains = Chain::for_tiers(tiers(TIERS_AT_ONCE + 2), Order::EveryTier);
        let trackers = |chain: &Chain| chain.trackers().collect::<Vec<_>>();
        assert_eq!(chains.len(), TIERS_AT_ONCE);
        assert_eq!((trackers(&chains[0]), trackers(&chains[2])), (vec![0, TIERS_AT_ONCE], vec![2]));
        assert_eq!(
            Chain::for_tiers(tiers(2), Order::Sequential).iter().map(trackers).collect::<Vec<_>>(),
            [[0, 1]]
        );
        assert!(Chain::for_tiers(tiers(0), Order::Sequential).is_empty());
        assert!(Chain::for_tiers(tiers(0), Order::EveryTier).is_empty());
    }
}
