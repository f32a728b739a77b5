//! The pieces that are not begun, sorted by priority and then by how many peers have them.
//!
//! Each (priority, availability) is a bucket, each piece knows its place in its bucket, so every change is a move of one piece
//! in O(1). Peers that have everything are not counted: they would move every piece by one and change no order.

use ferri_metainfo::{Bitfield, PieceIndex};

use crate::input::Priority;
use crate::pieces::PeerPieces;
use crate::rng::Rng;

/// Pieces looked at in each bucket before the next one is tried; there are at most as many buckets as peers.
const PROBES: usize = 12;
/// Pieces compared when probing failed and the peer's own pieces are looked at in their order.
const MATCHES: usize = 64;
/// Not in a bucket.
const NOWHERE: u32 = u32::MAX;
/// Skipped pieces are in no bucket; the others are sorted by class, the most wanted first.
const CLASSES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

/// The buckets of one priority.
#[derive(Debug)]
struct Class {
    /// `buckets[n]`: pieces that `n` peers have, in no order.
    buckets: Vec<Vec<PieceIndex>>,
    /// Pieces in all buckets.
    count: usize,
    /// The pieces that are *not* in these buckets: what a peer has beyond them is what it could give.
    closed: Bitfield,
}

/// Pieces to begin with, the rarest first.
#[derive(Debug)]
pub(crate) struct Rarity {
    /// Peers that have the piece, those that have everything not counted.
    availability: Vec<u16>,
    /// `histogram[n]`: pieces that `n` peers have, whether in a bucket or not.
    histogram: Vec<u32>,
    priority: Vec<Priority>,
    /// Index in the bucket, or `NOWHERE`.
    position: Vec<u32>,
    classes: [Class; 3],
}

impl Rarity {
    /// `len` pieces of normal priority, none in a bucket.
    pub(crate) fn new(len: u32) -> Self {
        let class = || Class { buckets: Vec::new(), count: 0, closed: Bitfield::full(len) };
        Self {
            availability: vec![0; len as usize],
            histogram: vec![len],
            priority: vec![Priority::Normal; len as usize],
            position: vec![NOWHERE; len as usize],
            classes: [class(), class(), class()],
        }
    }

    /// Pieces in buckets.
    pub(crate) fn len(&self) -> usize {
        self.classes.iter().map(|class| class.count).sum()
    }

    pub(crate) fn priority(&self, piece: PieceIndex) -> Priority {
        self.priority[piece.as_usize()]
    }

    pub(crate) fn contains(&self, piece: PieceIndex) -> bool {
        self.position[piece.as_usize()] != NOWHERE
    }

    /// Whether a piece is one of those that fewest peers have, of the most wanted.
    pub(crate) fn is_rarest(&self, piece: PieceIndex) -> bool {
        let most_wanted = self.classes.iter().find(|class| class.count != 0);
        let rarest = most_wanted.and_then(|class| class.buckets.iter().find(|bucket| !bucket.is_empty()));
        rarest.and_then(|bucket| bucket.get(self.position[piece.as_usize()] as usize)) == Some(&piece)
    }

    /// Whether no counted peer has the piece.
    pub(crate) fn is_unseen(&self, piece: PieceIndex) -> bool {
        self.availability[piece.as_usize()] == 0
    }

    /// How many of the counted peers have each piece.
    pub(crate) fn availability(&self) -> impl Iterator<Item = u16> + '_ {
        self.availability.iter().copied()
    }

    /// Copies among the counted peers: whole ones, and the share of pieces of which there is one more.
    pub(crate) fn copies(&self) -> f64 {
        let Some(least) = self.histogram.iter().position(|pieces| *pieces != 0) else { return 0.0 };
        let total = self.availability.len() as f64;
        least as f64 + (total - f64::from(self.histogram[least])) / total
    }

    /// Puts a piece into its bucket, unless it is skipped or in one already.
    pub(crate) fn insert(&mut self, piece: PieceIndex) {
        let at = piece.as_usize();
        if self.position[at] == NOWHERE
            && let Some(class) = class_of(self.priority[at])
        {
            let class = &mut self.classes[class];
            class.count += 1;
            class.closed.clear(piece.get());
            self.position[at] = class.push(piece, self.availability[at]);
        }
    }

    /// Takes a piece out of its bucket, if it is in one.
    pub(crate) fn remove(&mut self, piece: PieceIndex) {
        let at = piece.as_usize();
        if let Some(class) = class_of(self.priority[at]).filter(|_| self.position[at] != NOWHERE) {
            let class = &mut self.classes[class];
            class.count -= 1;
            class.closed.set(piece.get());
            class.take(self.position[at], self.availability[at], &mut self.position);
            self.position[at] = NOWHERE;
        }
    }

    /// Changes how much a piece is wanted. It stays in a bucket if it was in one and is not skipped.
    pub(crate) fn set_priority(&mut self, piece: PieceIndex, priority: Priority) {
        let contained = self.contains(piece);
        self.remove(piece);
        self.priority[piece.as_usize()] = priority;
        if contained {
            self.insert(piece);
        }
    }

    /// One more peer has the piece.
    pub(crate) fn increment(&mut self, piece: PieceIndex) {
        let from = self.availability[piece.as_usize()];
        self.moved(piece, from, from.saturating_add(1));
    }

    /// One peer less has the piece.
    pub(crate) fn decrement(&mut self, piece: PieceIndex) {
        let from = self.availability[piece.as_usize()];
        self.moved(piece, from, from.saturating_sub(1));
    }

    fn moved(&mut self, piece: PieceIndex, from: u16, to: u16) {
        let at = piece.as_usize();
        self.histogram[usize::from(from)] -= 1;
        if self.histogram.len() <= usize::from(to) {
            self.histogram.resize(usize::from(to) + 1, 0);
        }
        self.histogram[usize::from(to)] += 1;
        self.availability[at] = to;
        if let Some(class) = class_of(self.priority[at]).filter(|_| self.position[at] != NOWHERE) {
            let class = &mut self.classes[class];
            class.take(self.position[at], from, &mut self.position);
            self.position[at] = class.push(piece, to);
        }
    }

    /// The piece to begin with for a peer: of the most wanted it has one of the rarest, equals by chance.
    /// `allowed` narrows the choice further.
    pub(crate) fn rarest(
        &self,
        has: &PeerPieces,
        rng: &mut Rng,
        allowed: impl Fn(PieceIndex) -> bool,
    ) -> Option<PieceIndex> {
        let fits = |piece: PieceIndex| has.has(piece) && allowed(piece);
        for class in self.classes.iter().filter(|class| class.count != 0) {
            for bucket in class.buckets.iter().filter(|bucket| !bucket.is_empty()) {
                let start = rng.below(bucket.len());
                let turned = bucket[start..].iter().chain(&bucket[..start]);
                if let Some(piece) = turned.take(PROBES).copied().find(|piece| fits(*piece)) {
                    return Some(piece);
                }
            }
            let rarest = |a: &PieceIndex| (self.availability[a.as_usize()], a.get());
            let found = match has {
                // Every probe hits unless `allowed` refuses it.
                PeerPieces::All { .. } => self
                    .in_order(class.closed.iter_zeros())
                    .filter(|p| allowed(*p))
                    .take(MATCHES)
                    .min_by_key(rarest),
                PeerPieces::Some(bits) => self
                    .in_order(bits.iter_and_not(&class.closed))
                    .filter(|piece| allowed(*piece))
                    .take(MATCHES)
                    .min_by_key(rarest),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Any piece, all equally likely: a new peer needs something to trade soon, and common pieces come faster.
    pub(crate) fn random(
        &self,
        has: &PeerPieces,
        rng: &mut Rng,
        allowed: impl Fn(PieceIndex) -> bool,
    ) -> Option<PieceIndex> {
        let class = self.classes.iter().find(|class| class.count != 0)?;
        (0..PROBES).find_map(|_| {
            let mut n = rng.below(class.count);
            let bucket = class.buckets.iter().find(|bucket| {
                let here = n < bucket.len();
                n -= if here { 0 } else { bucket.len() };
                here
            })?;
            Some(bucket[n]).filter(|piece| has.has(*piece) && allowed(*piece))
        })
    }

    /// The first piece of the most wanted.
    pub(crate) fn first(&self, has: &PeerPieces, allowed: impl Fn(PieceIndex) -> bool) -> Option<PieceIndex> {
        self.classes.iter().filter(|class| class.count != 0).find_map(|class| match has {
            PeerPieces::All { .. } => self.in_order(class.closed.iter_zeros()).find(|piece| allowed(*piece)),
            PeerPieces::Some(bits) => {
                self.in_order(bits.iter_and_not(&class.closed)).find(|piece| allowed(*piece))
            }
        })
    }

    /// Bits that are open in a class are pieces in its buckets, so each finds itself there.
    fn in_order<'a>(&'a self, bits: impl Iterator<Item = u32> + 'a) -> impl Iterator<Item = PieceIndex> + 'a {
        bits.filter_map(|bit| {
            let bucket = usize::from(self.availability[bit as usize]);
            let class = &self.classes[class_of(self.priority[bit as usize])?];
            class.buckets.get(bucket)?.get(self.position[bit as usize] as usize).copied()
        })
    }
}

impl Class {
    /// Appends to a bucket and says where.
    fn push(&mut self, piece: PieceIndex, availability: u16) -> u32 {
        let bucket = usize::from(availability);
        if self.buckets.len() <= bucket {
            self.buckets.resize_with(bucket + 1, Vec::new);
        }
        self.buckets[bucket].push(piece);
        self.buckets[bucket].len() as u32 - 1
    }

    /// Takes out of a bucket; the last piece of the bucket takes the place.
    fn take(&mut self, position: u32, availability: u16, positions: &mut [u32]) {
        let bucket = &mut self.buckets[usize::from(availability)];
        bucket.swap_remove(position as usize);
        if let Some(moved) = bucket.get(position as usize) {
            positions[moved.as_usize()] = position;
        }
        // Pieces wander through the buckets together; each would keep room for all of them.
        if SHRINK_ABOVE < bucket.capacity() && bucket.len() < bucket.capacity() / 4 {
            bucket.shrink_to(bucket.capacity() / 2);
        }
    }
}

/// Smaller buckets keep their memory.
const SHRINK_ABOVE: usize = 64;

fn class_of(priority: Priority) -> Option<usize> {
    CLASSES.iter().position(|class| *class == priority)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ferri_metainfo::Layout;
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const PIECES: u32 = 40;

    fn layout() -> Layout {
        Layout::single(16 << 10, u64::from(PIECES) * (16 << 10)).unwrap()
    }

    fn p(n: u32) -> PieceIndex {
        layout().piece(n).unwrap()
    }

    fn peer(pieces: &[u32]) -> PeerPieces {
        let mut has = PeerPieces::none(PIECES);
        pieces.iter().for_each(|n| assert!(has.insert(p(*n))));
        has
    }

    fn all() -> PeerPieces {
        PeerPieces::All { len: PIECES }
    }

    fn rarity_of_all() -> Rarity {
        let mut rarity = Rarity::new(PIECES);
        layout().pieces().for_each(|piece| rarity.insert(piece));
        rarity
    }

    #[test]
    fn the_rarest_piece_the_peer_has_comes_first() {
        let mut rarity = rarity_of_all();
        layout().pieces().for_each(|piece| rarity.increment(piece));
        (0..PIECES).filter(|n| *n != 9).for_each(|n| rarity.increment(p(n)));
        let mut rng = Rng::new(3);
        assert_eq!(rarity.rarest(&all(), &mut rng, |_| true), Some(p(9)));
        assert_eq!((0..PIECES).filter(|n| rarity.is_rarest(p(*n))).collect::<Vec<_>>(), [9]);
        assert!(rarity.is_unseen(p(9)) == (rarity.availability[9] == 0) && !rarity.is_unseen(p(3)));
        assert_eq!(rarity.rarest(&peer(&[3]), &mut rng, |_| true), Some(p(3)));
        assert_eq!(rarity.rarest(&peer(&[3, 9]), &mut rng, |piece| piece != p(9)), Some(p(3)));
        rarity.remove(p(9));
        assert_eq!(rarity.rarest(&peer(&[9]), &mut rng, |_| true), None);
    }

    #[test]
    fn equals_are_chosen_by_chance_and_every_one_can_be() {
        let rarity = rarity_of_all();
        let mut rng = Rng::new(3);
        let mut seen = Bitfield::new(PIECES);
        (0..1000).for_each(|_| {
            seen.set(rarity.rarest(&all(), &mut rng, |_| true).unwrap().get());
        });
        assert!(seen.is_full());
    }

    #[test]
    fn priority_is_stronger_than_rarity_and_skipped_pieces_never_come() {
        let mut rarity = rarity_of_all();
        (0..9).for_each(|_| rarity.increment(p(5)));
        rarity.set_priority(p(5), Priority::High);
        rarity.set_priority(p(6), Priority::Low);
        rarity.set_priority(p(7), Priority::Skip);
        let mut rng = Rng::new(3);
        assert_eq!(rarity.rarest(&all(), &mut rng, |_| true), Some(p(5)));
        assert_eq!(rarity.first(&all(), |_| true), Some(p(5)));
        assert_eq!(rarity.first(&peer(&[6, 8]), |_| true), Some(p(8)));
        assert_eq!(rarity.rarest(&peer(&[6, 7]), &mut rng, |_| true), Some(p(6)));
        assert_eq!(rarity.rarest(&peer(&[7]), &mut rng, |_| true), None);
    }

    #[test]
    fn copies_are_whole_ones_and_a_share() {
        let mut rarity = Rarity::new(PIECES);
        assert_eq!(rarity.copies(), 0.0);
        (0..10).for_each(|n| rarity.increment(p(n)));
        assert_eq!(rarity.copies(), 0.25);
        (0..PIECES).for_each(|n| rarity.increment(p(n)));
        assert_eq!(rarity.copies(), 1.25);
    }

    /// What the buckets must always say, in the slow way.
    fn check_against_model(rarity: &Rarity, availability: &[u16], inside: &[bool]) {
        for n in 0..PIECES {
            let at = n as usize;
            assert_eq!(rarity.availability[at], availability[at]);
            let expected = inside[at] && rarity.priority[at] != Priority::Skip;
            assert_eq!(rarity.contains(p(n)), expected, "piece {n}");
            if expected {
                let class = &rarity.classes[class_of(rarity.priority[at]).unwrap()];
                assert!(!class.closed.get(n));
                assert_eq!(class.buckets[usize::from(availability[at])][rarity.position[at] as usize], p(n));
            } else {
                assert!(rarity.classes.iter().all(|class| class.closed.get(n)));
            }
        }
        for (n, pieces) in rarity.histogram.iter().enumerate() {
            assert_eq!(*pieces as usize, availability.iter().filter(|a| usize::from(**a) == n).count());
        }
        for class in &rarity.classes {
            assert_eq!(class.count, class.buckets.iter().map(Vec::len).sum::<usize>());
        }
    }

    proptest! {
        #[test]
        fn buckets_agree_with_a_naive_model(
            steps in prop::collection::vec((0u8..5, 0..PIECES, 0usize..4), 1..300),
            has in prop::collection::vec(any::<bool>(), PIECES as usize),
        ) {
            let mut rarity = Rarity::new(PIECES);
            let mut availability = vec![0u16; PIECES as usize];
            let mut inside = vec![false; PIECES as usize];
            for (step, n, level) in steps {
                let at = n as usize;
                match step {
                    0 => { rarity.insert(p(n)); inside[at] |= rarity.priority[at] != Priority::Skip }
                    1 => { rarity.remove(p(n)); inside[at] = false }
                    2 => { rarity.increment(p(n)); availability[at] += 1 }
                    3 if 0 < availability[at] => { rarity.decrement(p(n)); availability[at] -= 1 }
                    3 => {}
                    _ => {
                        let priority = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High][level];
                        rarity.set_priority(p(n), priority);
                        inside[at] &= priority != Priority::Skip;
                    }
                }
            }
            check_against_model(&rarity, &availability, &inside);
            let pieces: Vec<u32> = (0..PIECES).filter(|n| has[*n as usize]).collect();
            let best = pieces.iter().filter(|n| rarity.contains(p(**n)))
                .map(|n| (std::cmp::Reverse(rarity.priority[*n as usize]), availability[*n as usize])).min();
            let found = rarity.rarest(&peer(&pieces), &mut Rng::new(1), |_| true);
            prop_assert_eq!(found.is_some(), best.is_some());
            if let (Some(found), Some((class, least))) = (found, best) {
                prop_assert_eq!(std::cmp::Reverse(rarity.priority(found)), class);
                // Buckets of up to `PROBES` pieces are looked at wholly, so the answer is exact there.
                if rarity.classes.iter().all(|c| c.buckets.iter().all(|b| b.len() <= PROBES)) {
                    prop_assert_eq!(availability[found.as_usize()], least);
                }
            }
        }
    }
}
