//! Where in an array each thing is, by the hash of its name. Grows and shrinks in small steps (extendible hashing): however
//! large it is, no insertion moves more than [`SEGMENT_SLOTS`] entries.
//!
//! The standard library's table doubles at once, which would hold up a whole shard for as long as a swarm is large, and
//! takes 9 to 17 bytes for what takes 4 to 11 here.

/// A slot without an entry.
const EMPTY: u32 = u32::MAX;

/// Low bits of a slot: the place. The rest is a tag of the hash, which spares looking at most entries that are another's.
const PLACE_BITS: u32 = 26;

/// Places in one array: with 26 bits, one less so that no entry looks like an empty slot.
pub(super) const PLACES_MAX: usize = (1 << PLACE_BITS) - 1;

/// Slots of a segment when it splits. 4 KiB; moving its entries takes some microseconds.
const SEGMENT_SLOTS: usize = 1024;

/// Slots of the first segment at the least.
const SLOTS_MIN: usize = 16;

/// Bits of the hash that choose a segment at most. Entries that agree in so many are no accident a larger directory would help
/// against.
const BITS_MAX: u32 = 20;

/// Places by hash. Which thing is at a place, only the owner of the array knows.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// By the first `bits` bits of the hash, which segment.
    directory: Vec<u32>,
    bits: u32,
    /// The first segment, here so that a small index is reached in one step less.
    first: Segment,
    /// The others, from number 1.
    more: Vec<Segment>,
    /// Of all segments.
    slots: usize,
}

#[derive(Clone, Debug)]
struct Segment {
    /// Entries here agree in so many first bits of their hashes.
    bits: u32,
    used: u32,
    /// A power of two, at most three quarters full.
    slots: Box<[u32]>,
}

impl Index {
    pub(super) fn new() -> Self {
        let segment = Segment { bits: 0, used: 0, slots: vec![EMPTY; SLOTS_MIN].into() };
        Self { directory: vec![0], bits: 0, first: segment, more: Vec::new(), slots: SLOTS_MIN }
    }

    /// An index of things whose hashes are given in the order of their places.
    pub(super) fn of(hashes: &[u64]) -> Self {
        let mut index = Self::new();
        for (place, hash) in hashes.iter().enumerate() {
            index.insert(*hash, place, |place| hashes[place]);
        }
        index
    }

    /// The place of the thing with this hash that `is_it`.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let segment = self.segment(self.segment_of(hash));
        let mask = segment.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = segment.slots[at];
            if slot == EMPTY {
                return None;
            }
            if slot >> PLACE_BITS == tag(hash) && is_it(place(slot)) {
                return Some(place(slot));
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a thing that is not there yet. `hash_at` gives the hash of what is at a place.
    pub(super) fn insert(&mut self, hash: u64, place: usize, hash_at: impl Fn(usize) -> u64) {
        debug_assert!(place < PLACES_MAX);
        loop {
            let number = self.segment_of(hash);
            let segment = self.segment_mut(number);
            if 4 * (segment.used as usize + 1) <= 3 * segment.slots.len() {
                segment.put(hash, place);
                return;
            }
            if segment.slots.len() < SEGMENT_SLOTS || segment.bits == BITS_MAX {
                let slots = segment.slots.len();
                segment.resize(2 * slots, &hash_at);
                self.slots += slots;
            } else {
                self.split(number, hash, &hash_at);
            }
        }
    }

    /// Two things have changed places. Each is named by its hash and where it was.
    pub(super) fn exchange(&mut self, one: (u64, usize), other: (u64, usize)) {
        // Both are looked up before either is written: afterwards they may look the same.
        let slots = [one, other].map(|(hash, place)| {
            let number = self.segment_of(hash);
            (number, self.segment(number).slot_of(hash, place))
        });
        for ((number, at), (hash, place)) in slots.into_iter().zip([(one.0, other.1), (other.0, one.1)]) {
            if let Some(at) = at {
                self.segment_mut(number).slots[at] = slot(hash, place);
            }
        }
    }

    /// A thing has moved to a place that nothing else has.
    pub(super) fn relocate(&mut self, hash: u64, from: usize, to: usize) {
        let number = self.segment_of(hash);
        let segment = self.segment_mut(number);
        if let Some(at) = segment.slot_of(hash, from) {
            segment.slots[at] = slot(hash, to);
        }
    }

    /// Takes out the thing that was at a place. `hash_at` gives the hash of what is at any other place.
    pub(super) fn remove(&mut self, hash: u64, place: usize, hash_at: impl Fn(usize) -> u64) {
        let number = self.segment_of(hash);
        let segment = self.segment_mut(number);
        let Some(at) = segment.slot_of(hash, place) else { return };
        segment.close_gap(at, &hash_at);
        segment.used -= 1;
        // An eighth: far enough from three quarters that nothing grows and shrinks by turns.
        if 8 * (segment.used as usize) < segment.slots.len() {
            if SLOTS_MIN < segment.slots.len() && segment.bits == 0 {
                let slots = segment.slots.len() / 2;
                segment.resize(slots, &hash_at);
                self.slots -= slots;
            } else if 0 < segment.bits {
                self.merge(number, hash, &hash_at);
            }
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.directory.capacity() * size_of::<u32>()
            + self.more.capacity() * size_of::<Segment>()
            + self.slots * size_of::<u32>()
    }

    fn segment_of(&self, hash: u64) -> usize {
        match self.bits {
            0 => 0,
            bits => self.directory[first_bits(hash, bits)] as usize,
        }
    }

    fn segment(&self, number: usize) -> &Segment {
        match number.checked_sub(1) {
            None => &self.first,
            Some(at) => &self.more[at],
        }
    }

    fn segment_mut(&mut self, number: usize) -> &mut Segment {
        match number.checked_sub(1) {
            None => &mut self.first,
            Some(at) => &mut self.more[at],
        }
    }

    /// The part of the directory for hashes that begin like this one.
    fn directory_range(&self, hash: u64, bits: u32) -> std::ops::Range<usize> {
        let width = 1 << (self.bits - bits);
        let begin = first_bits(hash, bits) * width;
        begin..begin + width
    }

    /// Makes two segments of a full one, by the next bit.
    fn split(&mut self, number: usize, hash: u64, hash_at: &impl Fn(usize) -> u64) {
        let bits = self.segment(number).bits + 1;
        if self.bits < bits {
            self.directory = self.directory.iter().flat_map(|segment| [*segment; 2]).collect();
            self.bits = bits;
        }
        let mut halves = [0, 1].map(|_| Segment { bits, used: 0, slots: vec![EMPTY; SEGMENT_SLOTS].into() });
        for slot in self.segment(number).slots.iter().filter(|slot| **slot != EMPTY) {
            let hash = hash_at(place(*slot));
            halves[first_bits(hash, bits) & 1].put(hash, place(*slot));
        }
        let range = self.directory_range(hash, bits - 1);
        let second = u32::try_from(1 + self.more.len()).expect("at most 2^20 segments");
        self.directory[range.start + range.len() / 2..range.end].fill(second);
        let [low, high] = halves;
        self.slots += 2 * SEGMENT_SLOTS - self.segment(number).slots.len();
        *self.segment_mut(number) = low;
        self.more.push(high);
    }

    /// Joins a nearly empty segment with the one it was split from, when that has room.
    fn merge(&mut self, number: usize, hash: u64, hash_at: &impl Fn(usize) -> u64) {
        let bits = self.segment(number).bits;
        let other_hash = hash ^ 1 << (u64::BITS - bits);
        let other = self.segment_of(other_hash);
        let used = self.segment(number).used + self.segment(other).used;
        if self.segment(other).bits != bits || SEGMENT_SLOTS < 2 * used as usize {
            return;
        }
        let mut joined = Segment { bits: bits - 1, used: 0, slots: vec![EMPTY; SEGMENT_SLOTS].into() };
        for slot in [number, other].iter().flat_map(|number| self.segment(*number).slots.iter()) {
            if *slot != EMPTY {
                joined.put(hash_at(place(*slot)), place(*slot));
            }
        }
        let (kept, gone) = (number.min(other), number.max(other));
        let range = self.directory_range(hash, bits - 1);
        self.directory[range].fill(u32::try_from(kept).expect("at most 2^20 segments"));
        self.slots += SEGMENT_SLOTS;
        self.slots -= self.segment(kept).slots.len() + self.segment(gone).slots.len();
        *self.segment_mut(kept) = joined;
        // The first segment has the least number, so it is never the one that goes.
        self.more.swap_remove(gone - 1);
        // The last segment took the free number.
        if gone <= self.more.len() {
            let last = u32::try_from(1 + self.more.len()).expect("at most 2^20 segments");
            let number = u32::try_from(gone).expect("at most 2^20 segments");
            self.directory
                .iter_mut()
                .filter(|segment| **segment == last)
                .for_each(|segment| *segment = number);
        }
    }
}

impl Segment {
    /// Into the first free slot. There is one.
    fn put(&mut self, hash: u64, place: usize) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot(hash, place);
        self.used += 1;
    }

    fn slot_of(&self, hash: u64, place: usize) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            if self.slots[at] == slot(hash, place) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Empties a slot, and moves back what went around it.
    fn close_gap(&mut self, mut gap: usize, hash_at: &impl Fn(usize) -> u64) {
        let mask = self.slots.len() - 1;
        self.slots[gap] = EMPTY;
        let mut at = (gap + 1) & mask;
        while self.slots[at] != EMPTY {
            let home = hash_at(place(self.slots[at])) as usize & mask;
            // From its home to its slot it passed the gap.
            if (at.wrapping_sub(gap) & mask) <= (at.wrapping_sub(home) & mask) {
                self.slots[gap] = self.slots[at];
                self.slots[at] = EMPTY;
                gap = at;
            }
            at = (at + 1) & mask;
        }
    }

    fn resize(&mut self, slots: usize, hash_at: &impl Fn(usize) -> u64) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots].into());
        self.used = 0;
        for slot in old.iter().filter(|slot| **slot != EMPTY) {
            self.put(hash_at(place(*slot)), place(*slot));
        }
    }
}

fn first_bits(hash: u64, bits: u32) -> usize {
    // A shift by all 64 bits would be none.
    hash.checked_shr(u64::BITS - bits).unwrap_or(0) as usize
}

/// Bits that choose neither slot nor segment.
fn tag(hash: u64) -> u32 {
    (hash >> 26) as u32 & (u32::MAX >> PLACE_BITS)
}

fn slot(hash: u64, place: usize) -> u32 {
    let place = u32::try_from(place).expect("below PLACES_MAX");
    tag(hash) << PLACE_BITS | place
}

fn place(slot: u32) -> usize {
    (slot & PLACES_MAX as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// An array of numbers with its index, as a swarm has it.
    struct Numbers {
        numbers: Vec<u64>,
        index: Index,
    }

    impl Index {
        fn segments(&self) -> impl Iterator<Item = &Segment> {
            std::iter::once(&self.first).chain(&self.more)
        }
    }

    fn hash(number: u64) -> u64 {
        Random::new(number).next_u64()
    }

    impl Numbers {
        fn new() -> Self {
            Self { numbers: Vec::new(), index: Index::new() }
        }

        fn find(&self, number: u64) -> Option<usize> {
            self.index.find(hash(number), |place| self.numbers[place] == number)
        }

        fn add(&mut self, number: u64) {
            self.numbers.push(number);
            let Self { numbers, index } = self;
            index.insert(hash(number), numbers.len() - 1, |place| hash(numbers[place]));
        }

        fn remove(&mut self, number: u64) {
            let place = self.find(number).expect("it is there");
            let Self { numbers, index } = self;
            index.remove(hash(number), place, |place| hash(numbers[place]));
            let last = numbers.len() - 1;
            numbers.swap_remove(place);
            if place < last {
                index.relocate(hash(numbers[place]), last, place);
            }
        }
    }

    #[test]
    fn everything_is_found_while_a_hundred_thousand_come_and_go() {
        let mut all = Numbers::new();
        (0..100_000).for_each(|number| all.add(number));
        assert!(
            (0..100_000).all(|number| all.find(number).is_some_and(|place| all.numbers[place] == number))
        );
        assert_eq!(all.find(100_000), None);
        let full = all.index.bytes();
        assert!(full < 11 * 100_000, "{full} bytes");
        (0..100_000).filter(|number| number % 100 != 7).for_each(|number| all.remove(number));
        assert!((0..100_000).all(|number| all.find(number).is_some() == (number % 100 == 7)));
        assert!(all.index.bytes() < full / 16, "{} bytes of {full}", all.index.bytes());
        (0..100_000).filter(|number| number % 100 == 7).for_each(|number| all.remove(number));
        assert!(all.numbers.is_empty() && all.index.segments().all(|segment| segment.used == 0));
    }

    #[test]
    fn random_comings_and_goings_leave_it_right() {
        let mut random = Random::new(5);
        let mut all = Numbers::new();
        for step in 0..40_000 {
            // Waves, so that segments are split and joined many times.
            let grows = step / 4_000 % 2 == 0;
            let number = random.below(6_000) as u64;
            match all.find(number) {
                Some(_) if !grows || random.below(4) == 0 => all.remove(number),
                None if grows || random.below(4) == 0 => all.add(number),
                _ => {}
            }
        }
        let used: u32 = all.index.segments().map(|segment| segment.used).sum();
        assert_eq!(used as usize, all.numbers.len());
        let slots: usize = all.index.segments().map(|segment| segment.slots.len()).sum();
        assert_eq!(slots, all.index.slots);
        assert!(all.numbers.iter().enumerate().all(|(place, number)| all.find(*number) == Some(place)));
    }

    #[test]
    fn things_of_one_hash_are_told_apart() {
        let mut index = Index::new();
        for place in 0..2_000 {
            index.insert(7, place, |_| 7);
        }
        assert!((0..2_000).all(|wanted| index.find(7, |place| place == wanted) == Some(wanted)));
        for place in 0..2_000 {
            index.remove(7, place, |_| 7);
        }
        assert_eq!(index.find(7, |_| true), None);
    }
}
