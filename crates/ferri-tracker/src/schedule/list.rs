//! The list of trackers: how it is made and changed, and the way out of those that are listed no more.

use std::collections::BTreeSet;
use std::time::Instant;

use super::messages::{Notice, Output, TrackerId};
use super::tier::Chain;
use super::tracker::{Listing, Tracker};
use super::turn::Turn;
use super::{FLIGHT_TIME_MAX, HAND_OVER, PATIENCE, Phase, Schedule};
use crate::limits::TRACKERS_MAX;

/// New trackers that are asked at once. A person who pastes a list of hundreds does not want all of their answers.
pub const NEW_AT_ONCE: usize = 16;

/// A tier as it is to be.
struct Tier {
    urls: Vec<String>,
    listing: Listing,
}

/// The tiers of a list: blanks removed, each URL once, none empty and none beyond [`TRACKERS_MAX`]. Also, how many are beyond.
fn sift(tiers: Vec<Vec<String>>, beside: Vec<String>) -> (Vec<Tier>, usize) {
    let mut seen = BTreeSet::new();
    let mut is_listed = |url: &String| !url.is_empty() && seen.insert(url.clone());
    let mut room = TRACKERS_MAX;
    let mut left_out = 0;
    let tiers = tiers.into_iter().map(|urls| (urls, Listing::Tier));
    let beside = beside.into_iter().map(|url| (vec![url], Listing::Beside));
    let mut listed = Vec::new();
    for (urls, listing) in tiers.chain(beside) {
        let urls = urls.into_iter().map(|url| url.trim().to_owned());
        let mut urls: Vec<String> = urls.filter(&mut is_listed).collect();
        left_out += urls.len().saturating_sub(room);
        urls.truncate(room);
        room -= urls.len();
        if !urls.is_empty() {
            listed.push(Tier { urls, listing });
        }
    }
    (listed, left_out)
}

impl Schedule {
    /// How many are listed: those come first.
    pub(super) fn listed(&self) -> usize {
        self.trackers.partition_point(|tracker| tracker.listing != Listing::Gone)
    }

    /// Makes this the list. Those of the list before that stay, stay as they are.
    pub(super) fn set_trackers(&mut self, tiers: Vec<Vec<String>>, beside: Vec<String>, now: Instant) {
        let (tiers, left_out) = sift(tiers, beside);
        let learned = self.learned_order();
        let mut before: Vec<_> = std::mem::take(&mut self.trackers).into_iter().map(Some).collect();
        let mut places = vec![None; before.len()];
        let mut next_number = before.iter().flatten().map(|tracker| tracker.number + 1).max().unwrap_or(0);
        let mut new = 0;
        // Most torrents have one or two, and there may be thousands of torrents.
        self.trackers.reserve_exact(tiers.iter().map(|tier| tier.urls.len()).sum());
        let (mut in_tiers, mut alone) = (Vec::new(), Vec::new());
        for (tier, Tier { urls, listing }) in tiers.into_iter().enumerate() {
            let mut indexes = Vec::new();
            for url in urls {
                let index = self.trackers.len();
                let old = before.iter().position(|old| old.as_ref().is_some_and(|old| old.url == url));
                let tracker = match old.and_then(|old| Some((old, before[old].take()?))) {
                    Some((old, mut tracker)) => {
                        places[old] = Some(index);
                        tracker.is_listed_at((listing, tier), now + FLIGHT_TIME_MAX);
                        tracker
                    }
                    None => {
                        new += 1;
                        next_number += 1;
                        let mut tracker = self.make_tracker(url, next_number - 1, (listing, tier));
                        tracker.is_new = self.phase == Phase::Running && new <= NEW_AT_ONCE;
                        tracker
                    }
                };
                self.trackers.push(tracker);
                indexes.push(index);
            }
            self.random.shuffle(&mut indexes);
            // Those that are known keep the order that was learned, before those that are new.
            let rank = |index: &usize| {
                let old = places.iter().position(|place| *place == Some(*index));
                old.and_then(|old| learned.iter().position(|learned| *learned == old)).unwrap_or(usize::MAX)
            };
            indexes.sort_by_key(rank);
            if listing == Listing::Beside { alone.push(indexes) } else { in_tiers.push(indexes) }
        }
        let mut chains = Chain::for_tiers(in_tiers, self.options.order);
        chains.reserve_exact(alone.len());
        chains.extend(alone.into_iter().map(|indexes| Chain::new(vec![indexes])));
        let due = (self.phase == Phase::Running).then_some(now);
        for chain in &mut chains {
            chain.go_on(&self.chains, &places, due);
        }
        self.chains = chains;
        self.leave(before.into_iter().flatten(), now);
        if self.chains.iter().any(|chain| chain.next_round == Some(now)) {
            // A person does not wait for others.
            self.turn = Turn::Ours;
        }
        if 0 < left_out {
            self.outputs.push_back(Output::Event(Notice::LeftOut { trackers: left_out }));
        }
    }

    /// The places of all trackers, in the order in which they are asked.
    fn learned_order(&self) -> Vec<usize> {
        self.chains.iter().flat_map(Chain::trackers).collect()
    }

    fn make_tracker(&mut self, url: String, number: u32, place: (Listing, usize)) -> Tracker {
        let tracker = Tracker::new(url, number, place, &self.options.families);
        if let Err(error) = &tracker.transport {
            let notice = Notice::Unusable { url: tracker.url.clone(), error: error.clone() };
            self.outputs.push_back(Output::Event(notice));
        }
        tracker
    }

    pub(super) fn add_tracker(&mut self, url: &str, now: Instant) {
        let (url, listed) = (url.trim(), self.listed());
        if url.is_empty() || self.trackers[..listed].iter().any(|tracker| tracker.url == url) {
            return;
        }
        if TRACKERS_MAX <= listed {
            self.outputs.push_back(Output::Event(Notice::LeftOut { trackers: 1 }));
            return;
        }
        let place = (Listing::Beside, self.trackers[..listed].last().map_or(0, |tracker| tracker.tier + 1));
        let mut chain = Chain::new(vec![vec![listed]]);
        chain.next_round = (self.phase == Phase::Running).then_some(now);
        self.chains.reserve_exact(1);
        self.chains.push(chain);
        let gone = self.trackers[listed..].iter().position(|tracker| tracker.url == url);
        let tracker = match gone {
            Some(gone) => {
                let mut tracker = self.trackers.remove(listed + gone);
                tracker.is_listed_at(place, now + FLIGHT_TIME_MAX);
                tracker
            }
            None => {
                let number = self.trackers.iter().map(|tracker| tracker.number + 1).max().unwrap_or(0);
                self.make_tracker(url.to_owned(), number, place)
            }
        };
        self.trackers.reserve_exact(1);
        self.trackers.insert(listed, tracker);
    }

    /// These are listed no more. Those that may know us are kept until they have been told.
    fn leave(&mut self, gone: impl Iterator<Item = Tracker>, now: Instant) {
        for mut tracker in gone.filter(|tracker| self.phase != Phase::Idle && tracker.may_know()) {
            if tracker.listing != Listing::Gone {
                tracker.is_gone(now + HAND_OVER);
            }
            self.trackers.push(tracker);
        }
        // Those that went first are the last.
        while TRACKERS_MAX < self.trackers.len() - self.listed() {
            let flights = self.trackers.pop().into_iter().flat_map(|tracker| {
                let number = tracker.number;
                let flights = tracker.ways.into_iter().filter_map(|way| way.flight);
                flights.map(move |flight| TrackerId::new(number, flight.request))
            });
            self.outputs.extend(flights.map(|tracker| Output::Cancel { tracker }));
        }
    }

    /// Tells those that are listed no more that we go.
    pub(super) fn part(&mut self, now: Instant) {
        for index in self.listed()..self.trackers.len() {
            for way in 0..self.trackers[index].ways.len() {
                if let Some((_, event)) = self.parting(index, way) {
                    self.tell(index, way, Some(event), now);
                }
            }
        }
    }

    /// Those that are listed no more and have nothing to hear are forgotten.
    pub(super) fn forget_parted(&mut self) {
        for index in (self.listed()..self.trackers.len()).rev() {
            let tracker = &self.trackers[index];
            let is_owed = (0..tracker.ways.len()).any(|way| self.parting(index, way).is_some());
            if !tracker.is_flying() && !is_owed {
                self.trackers.remove(index);
            }
        }
    }

    /// Asks those that are new, whatever their place in the list.
    pub(super) fn greet(&mut self, now: Instant) {
        for index in 0..self.listed() {
            let tracker = &mut self.trackers[index];
            if !tracker.is_new || tracker.is_flying() {
                continue;
            }
            tracker.is_new = false;
            let is_allowed = tracker.allowed_at(self.totals.left).is_none_or(|at| at <= now);
            if !tracker.is_usable() || !is_allowed {
                continue;
            }
            for chain in self.chains.iter_mut().filter(|chain| chain.contains(index)) {
                chain.asks(index, now + PATIENCE);
            }
            self.ask(index, now);
        }
    }
}
