//! One search: finds the nodes of one family that are closest to a target, in rounds that come closer (BEP 5).
//!
//! A search wants answers of the eight closest nodes. An attacker who wants to be among them for a certain target only
//! has to make up ids, so that the eight are chosen with care: half of the places at most go to *suspects*, which are
//! nodes whose id does not belong to their address (BEP 42), nodes that lie closer to the target than chance explains
//! in a network of this size, and all but two of a neighbourhood of addresses. The other places go to the closest nodes
//! above suspicion. Where suspects would have half of the places, all eight places go to others, and the suspects have
//! four besides: otherwise a lost packet or two would hide an announce. When there are too few of those, as in a
//! network that does not know BEP 42, suspects fill the rest. Of one network one node is considered at all. An announce
//! and the lookups that are to find it choose alike, and so meet at the honest half. libtorrent by default asks every
//! node whatever its id, and considers one of each network; BEP 42 would have us store nothing with misfits, which
//! today are too many for that.
//! store nothing with misfits, which today are too many for that.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::bucket::K;
use crate::id::NodeId;
use crate::net::{neighbourhood, network};
use crate::output::Family;
use crate::table::Contact;

/// Queries that are waited for at once. Kademlia's three make lookups of few queries; the fourth saves a round where a
/// node is slow.
const CONCURRENCY: usize = 4;

/// Addresses without ids that are waited for at once: many of them belong to nodes that are long gone.
const STARTING_MAX: usize = 16;

/// Nodes that are kept in mind.
const CANDIDATES_MAX: usize = 256;

/// Queries of one search. Honest networks of any size need fewer than 60; beyond this an attacker leads us astray.
const QUERIES_MAX: u32 = 120;

/// Places among the eight that suspects may have while others are there.
const SUSPECTS_MAX: usize = K / 2;

/// Suspects that are asked while others are there, in all: enough to go past those of an ordinary network.
const SUSPECTS_ASKED_MAX: u32 = 24;

/// Nodes of a neighbourhood among the eight that are not suspect for that.
const NEIGHBOURS_MAX: usize = 2;

/// Chance puts more than four nodes closer to a target than this part of the distance of the eighth in one of some
/// million lookups.
const CROWD_FRACTION: u64 = 64;

/// Addresses without ids to begin with.
const STARTERS_MAX: usize = 64;

/// Which nodes to ask next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) addr: SocketAddr,
    /// Who should answer there, if that is known.
    pub(crate) id: Option<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    New,
    Asked,
    /// It had time enough. Others are asked meanwhile, but it may still answer.
    Slow,
    Answered,
    Failed,
}

#[derive(Debug)]
struct Candidate {
    distance: NodeId,
    contact: Contact,
    fits: bool,
    progress: Progress,
    token: Option<Bytes>,
    /// It has a version of the item that is looked for.
    has_item: bool,
}

/// A node to store something with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) contact: Contact,
    pub(crate) token: Bytes,
    /// It has a version of the item already.
    pub(crate) has_item: bool,
}

#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) target: NodeId,
    pub(crate) family: Family,
    restricted: bool,
    /// Ascending by distance.
    candidates: Vec<Candidate>,
    /// Addresses whose nodes' ids are not known.
    starters: VecDeque<SocketAddr>,
    /// Starters that have not answered yet.
    starting: Vec<(SocketAddr, Progress)>,
    /// Distances, by their first 64 bits, that are too small to be chance.
    crowd: u64,
    asked: u32,
    suspects_asked: u32,
}

impl Search {
    /// `nodes` is how many the network has; 0 when that is not known.
    pub(crate) fn new(target: NodeId, family: Family, restricted: bool, nodes: u64) -> Self {
        let crowd = crowd(nodes);
        Self {
            target,
            family,
            restricted,
            candidates: Vec::new(),
            starters: VecDeque::new(),
            starting: Vec::new(),
            crowd,
            asked: 0,
            suspects_asked: 0,
        }
    }

    /// No node was found yet that could be asked.
    pub(crate) fn is_starved(&self) -> bool {
        self.candidates.is_empty() && self.starters.is_empty() && self.starting.is_empty()
    }

    /// An address where a node may be.
    pub(crate) fn start_at(&mut self, addr: SocketAddr) {
        if self.starters.len() < STARTERS_MAX && !self.starters.contains(&addr) {
            self.starters.push_back(addr);
        }
    }

    /// A node told of another one.
    pub(crate) fn consider(&mut self, contact: Contact) {
        let fits = contact.id.fits(contact.addr.ip());
        let ours = network(contact.addr);
        let same = |known: &Candidate| {
            known.contact.id == contact.id
                || known.contact.addr == contact.addr
                || (self.restricted && network(known.contact.addr) == ours)
        };
        if let Some(at) = self.candidates.iter().position(same) {
            // The first of a network stays, unless it was not asked yet and lacks the right id.
            let known = &self.candidates[at];
            if known.progress != Progress::New || known.fits || !fits {
                return;
            }
            self.candidates.remove(at);
        }
        let distance = contact.id.distance(self.target);
        let at = self.candidates.partition_point(|known| known.distance < distance);
        let progress = Progress::New;
        let candidate = Candidate { distance, contact, fits, progress, token: None, has_item: false };
        self.candidates.insert(at, candidate);
        if CANDIDATES_MAX < self.candidates.len() {
            self.drop_one();
        }
    }

    /// Forgets the farthest node that was not asked; a suspect while those are the majority, so that a crowd near the
    /// target does not push out all others.
    fn drop_one(&mut self) {
        let suspects = self.candidates.iter().filter(|candidate| self.is_suspect(candidate)).count();
        let only_suspects = CANDIDATES_MAX / 2 < suspects;
        let dispensable = |candidate: &Candidate| {
            candidate.progress == Progress::New && (!only_suspects || self.is_suspect(candidate))
        };
        let at = self.candidates.iter().rposition(dispensable).unwrap_or(self.candidates.len() - 1);
        self.candidates.remove(at);
    }

    fn is_suspect(&self, candidate: &Candidate) -> bool {
        !candidate.fits || candidate.distance.leading() < self.crowd
    }

    /// The eight to be asked, as places among the candidates, ascending. `usable` says who comes into question.
    fn choose(&self, usable: impl Fn(&Candidate) -> bool) -> SmallVec<[usize; K]> {
        let mut chosen: SmallVec<[usize; K]> = SmallVec::new();
        let mut neighbourhoods: SmallVec<[u128; K]> = SmallVec::new();
        let (mut suspects, mut places) = (0, K);
        for (at, candidate) in self.candidates.iter().enumerate().filter(|(_, candidate)| usable(candidate)) {
            let ours = neighbourhood(candidate.contact.addr);
            let neighbours = neighbourhoods.iter().filter(|theirs| **theirs == ours).count();
            let crowded = self.restricted && NEIGHBOURS_MAX <= neighbours;
            if crowded || self.is_suspect(candidate) {
                let is_new = candidate.progress == Progress::New;
                if SUSPECTS_MAX <= suspects || (is_new && SUSPECTS_ASKED_MAX <= self.suspects_asked) {
                    continue;
                }
                suspects += 1;
                if suspects == SUSPECTS_MAX {
                    // A crowd: as many others as usual are asked besides.
                    places = K + suspects;
                }
            }
            neighbourhoods.push(ours);
            chosen.push(at);
            if chosen.len() == places {
                return chosen;
            }
        }
        for (at, candidate) in self.candidates.iter().enumerate() {
            if K <= chosen.len() {
                break;
            }
            if usable(candidate) && !chosen.contains(&at) {
                chosen.push(at);
            }
        }
        chosen.sort_unstable();
        chosen
    }

    fn wanted(&self) -> SmallVec<[usize; K]> {
        self.choose(|candidate| !matches!(candidate.progress, Progress::Slow | Progress::Failed))
    }

    fn waiting(&self) -> usize {
        self.candidates.iter().filter(|candidate| candidate.progress == Progress::Asked).count()
    }

    /// The node to ask, if one should be asked now. Counts as asked from here on.
    pub(crate) fn next(&mut self) -> Option<Ask> {
        if QUERIES_MAX <= self.asked {
            return None;
        }
        let wanted = self.wanted();
        if let Some(at) = wanted.iter().find(|at| self.candidates[**at].progress == Progress::New) {
            if CONCURRENCY <= self.waiting() {
                return None;
            }
            self.suspects_asked += u32::from(self.is_suspect(&self.candidates[*at]));
            let candidate = &mut self.candidates[*at];
            candidate.progress = Progress::Asked;
            self.asked += 1;
            return Some(Ask { addr: candidate.contact.addr, id: Some(candidate.contact.id) });
        }
        let starting = self.starting.iter().filter(|(_, progress)| *progress == Progress::Asked).count();
        if K <= wanted.len() || STARTING_MAX <= starting {
            return None;
        }
        let addr = self.starters.pop_front()?;
        self.starting.push((addr, Progress::Asked));
        self.asked += 1;
        Some(Ask { addr, id: None })
    }

    fn at(&mut self, addr: SocketAddr) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|candidate| candidate.contact.addr == addr)
    }

    /// The node that was asked at `addr` takes its time.
    pub(crate) fn slow(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.at(addr).filter(|candidate| candidate.progress == Progress::Asked) {
            candidate.progress = Progress::Slow;
        }
        self.starting.iter_mut().filter(|(known, _)| *known == addr).for_each(|(_, progress)| {
            *progress = Progress::Slow;
        });
    }

    /// The node that was asked at `addr` did not answer, or not as it should.
    pub(crate) fn failed(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.at(addr).filter(|candidate| candidate.progress != Progress::Answered) {
            candidate.progress = Progress::Failed;
        }
        self.starting.retain(|(known, _)| *known != addr);
    }

    /// A node answered. It may have another id than the one that it is known by: it learnt its address (BEP 42).
    pub(crate) fn answered(&mut self, contact: Contact, token: Option<&[u8]>, has_item: bool) {
        let renamed =
            |known: &Candidate| known.contact.addr == contact.addr && known.contact.id != contact.id;
        if let Some(at) = self.candidates.iter().position(renamed) {
            self.candidates.remove(at);
            self.consider(contact);
        }
        if self.starting.iter().any(|(addr, _)| *addr == contact.addr) {
            self.starting.retain(|(addr, _)| *addr != contact.addr);
            self.consider(contact);
        }
        if let Some(candidate) = self.at(contact.addr).filter(|candidate| candidate.contact.id == contact.id)
        {
            candidate.progress = Progress::Answered;
            candidate.token = token.map(Bytes::copy_from_slice);
            candidate.has_item = has_item;
        }
    }

    /// The closest have answered, or there is none left to ask.
    pub(crate) fn is_done(&self) -> bool {
        let wanted = self.wanted();
        let exhausted = QUERIES_MAX <= self.asked;
        for at in &wanted {
            match self.candidates[*at].progress {
                Progress::New if !exhausted => return false,
                Progress::Asked => return false,
                _ => {}
            }
        }
        if K <= wanted.len() && !exhausted {
            return true;
        }
        let open = |progress: &Progress| matches!(progress, Progress::Asked | Progress::Slow);
        let is_open = self.candidates.iter().any(|candidate| open(&candidate.progress))
            || self.starting.iter().any(|(_, progress)| open(progress));
        !is_open && (self.starters.is_empty() || exhausted)
    }

    /// The closest nodes that gave a token.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let usable =
            |candidate: &Candidate| candidate.progress == Progress::Answered && candidate.token.is_some();
        let holder = |at: usize| {
            let Candidate { contact, token, has_item, .. } = &self.candidates[at];
            token.clone().map(|token| Holder { contact: *contact, token, has_item: *has_item })
        };
        self.choose(usable).into_iter().filter_map(holder).collect()
    }
}

/// Distances below this, by their first 64 bits, are too small to be chance in a network of so many nodes. 0 when their
/// number is not known.
pub(crate) fn crowd(nodes: u64) -> u64 {
    // The eighth of n nodes lies at about 8/n of the space.
    (u64::MAX / CROWD_FRACTION).checked_div(nodes).map_or(0, |part| part * K as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::random::Random;

    const TARGET: [u8; 20] = [0; 20];

    fn search(nodes: u64) -> Search {
        Search::new(NodeId::from(TARGET), Family::V4, true, nodes)
    }

    /// A node whose id begins with `first`, at an address of its own, fitting or not.
    fn contact(random: &mut Random, first: u8, fits: bool) -> Contact {
        loop {
            let ip: [u8; 4] = random.bytes();
            let addr = SocketAddr::new(ip.into(), 6881);
            let fitting = NodeId::for_address(addr.ip(), random.bytes());
            let mut id = if fits { *fitting.as_bytes() } else { random.bytes() };
            id[0] = if fits { id[0] } else { first };
            let id = NodeId::from(id);
            if id.as_bytes()[0] == first && id.fits(addr.ip()) == fits && !crate::id::is_local(addr.ip()) {
                return Contact { id, addr };
            }
        }
    }

    fn answer_all(search: &mut Search, answers: impl Fn(SocketAddr) -> bool) -> Vec<SocketAddr> {
        let mut asked = Vec::new();
        while !search.is_done() {
            let Some(ask) = search.next() else { panic!("stuck") };
            asked.push(ask.addr);
            match ask.id.filter(|_| answers(ask.addr)) {
                Some(id) => search.answered(Contact { id, addr: ask.addr }, Some(b"token"), false),
                None => search.failed(ask.addr),
            }
        }
        asked
    }

    #[test]
    fn a_node_with_a_new_id_is_found_where_it_belongs() {
        let mut random = Random::new([2; 32]);
        let mut search = search(0);
        let known = contact(&mut random, 9, true);
        search.consider(known);
        let asked = search.next().unwrap();
        let id = NodeId::for_address(known.addr.ip(), random.bytes());
        assert_eq!((asked.addr, asked.id), (known.addr, Some(known.id)));
        search.answered(Contact { id, ..known }, Some(b"token"), false);
        assert!(search.is_done());
        let holders: Vec<_> = search.holders().iter().map(|holder| holder.contact).collect();
        assert_eq!(holders, [Contact { id, ..known }]);
    }

    #[test]
    fn the_eight_closest_that_answer_are_found_and_no_more_asked() {
        let mut random = Random::new([1; 32]);
        let mut search = search(0);
        let nodes: Vec<_> = (0..40).map(|n| contact(&mut random, n * 6, true)).collect();
        nodes.iter().for_each(|node| search.consider(*node));
        let silent: Vec<_> = nodes[..4].iter().map(|node| node.addr).collect();
        let asked = answer_all(&mut search, |addr| !silent.contains(&addr));
        let closest: Vec<_> = nodes[4..12].iter().map(|node| node.addr).collect();
        assert_eq!(asked.len(), 12);
        let holders: Vec<_> = search.holders().iter().map(|holder| holder.contact.addr).collect();
        assert_eq!(holders, closest);
    }

    #[test]
    fn at_most_four_are_waited_for_and_slow_ones_make_room() {
        let mut random = Random::new([2; 32]);
        let mut search = search(0);
        (0..20).for_each(|n| search.consider(contact(&mut random, n, true)));
        let first: Vec<_> = std::iter::from_fn(|| search.next()).collect();
        assert_eq!(first.len(), CONCURRENCY);
        search.slow(first[0].addr);
        assert!(search.next().is_some());
        assert!(search.next().is_none());
        let late = Contact { id: first[0].id.unwrap(), addr: first[0].addr };
        search.answered(late, Some(b"t"), false);
        assert_eq!(search.holders()[0].contact, late);
    }

    #[test]
    fn a_crowd_of_made_up_ids_leaves_the_places_to_others() {
        let mut random = Random::new([3; 32]);
        let mut search = search(200);
        for _ in 0..2_000 {
            search.consider(contact(&mut random, 0, false));
        }
        let honest: Vec<_> = (0..30).map(|n| contact(&mut random, 1 + n, true)).collect();
        honest.iter().for_each(|node| search.consider(*node));
        let asked = answer_all(&mut search, |_| true);
        assert!(asked.len() <= 8 + SUSPECTS_ASKED_MAX as usize, "{}", asked.len());
        let holders: Vec<_> = search.holders().iter().map(|holder| holder.contact).collect();
        // A crowd: the eight places are others', and four suspects come besides.
        assert_eq!(holders[SUSPECTS_MAX..], honest[..K]);
    }

    #[test]
    fn ids_closer_than_chance_are_suspect_even_if_they_fit() {
        let mut random = Random::new([4; 32]);
        let mut search = search(200);
        let near = |random: &mut Random| {
            let mut id: [u8; 20] = random.bytes();
            id[..4].copy_from_slice(&[0, 0, 1, 1]);
            // Addresses of a local network fit any id.
            Contact { id: NodeId::from(id), addr: SocketAddr::new([10, id[5], id[6], id[7]].into(), 1) }
        };
        for _ in 0..100 {
            search.consider(near(&mut random));
        }
        let honest: Vec<_> = (0..30).map(|n| contact(&mut random, 20 + n, true)).collect();
        honest.iter().for_each(|node| search.consider(*node));
        answer_all(&mut search, |_| true);
        let holders = search.holders();
        assert_eq!(holders[SUSPECTS_MAX].contact, honest[0]);
    }

    #[test]
    fn silent_suspects_do_not_hold_up_the_search() {
        let mut random = Random::new([5; 32]);
        let mut search = search(200);
        (0..500).for_each(|_| search.consider(contact(&mut random, 0, false)));
        let honest: Vec<_> = (0..12).map(|n| contact(&mut random, 1 + n, true)).collect();
        honest.iter().for_each(|node| search.consider(*node));
        let asked = answer_all(&mut search, |addr| honest.iter().any(|node| node.addr == addr));
        assert!(asked.len() <= 12 + SUSPECTS_ASKED_MAX as usize, "{}", asked.len());
        assert_eq!(search.holders().len(), K);
    }

    #[test]
    fn one_of_each_network_is_considered() {
        let mut random = Random::new([6; 32]);
        let mut search = search(0);
        for last in 0..50 {
            search.consider(Contact {
                id: NodeId::from(random.bytes()),
                addr: SocketAddr::new([8, 8, 8, last].into(), 1),
            });
        }
        assert_eq!(search.candidates.len(), 1);
    }

    #[test]
    fn a_network_without_bep_42_is_searched_all_the_same() {
        let mut random = Random::new([7; 32]);
        let mut search = search(0);
        let nodes: Vec<_> = (0..60).map(|n| contact(&mut random, n, false)).collect();
        nodes.iter().rev().for_each(|node| search.consider(*node));
        answer_all(&mut search, |_| true);
        let holders: Vec<_> = search.holders().iter().map(|holder| holder.contact).collect();
        assert_eq!(holders, nodes[..K]);
    }

    #[test]
    fn starters_are_asked_until_there_are_nodes() {
        let mut random = Random::new([8; 32]);
        let mut search = search(0);
        assert!(search.is_starved());
        let router: SocketAddr = "9.9.9.9:1".parse().unwrap();
        search.start_at(router);
        assert_eq!(search.next(), Some(Ask { addr: router, id: None }));
        assert!(!search.is_done());
        search.answered(Contact { id: NodeId::from([9; 20]), addr: router }, None, false);
        (0..8).for_each(|n| search.consider(contact(&mut random, n, true)));
        search.start_at("9.9.9.1:1".parse().unwrap());
        while let Some(ask) = search.next() {
            search.answered(Contact { id: ask.id.unwrap(), addr: ask.addr }, None, false);
        }
        assert!(search.is_done());
    }
}
