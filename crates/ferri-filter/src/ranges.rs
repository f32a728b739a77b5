//! Sorted ranges that do not touch, and the search in them.

use std::ops::RangeInclusive;

/// Of so many ranges the first address of one is in the index. The index of half a million ranges fits into the cache of a
/// core; what is left to be searched lies in a few cache lines side by side.
const STRIDE: usize = 16;

/// Ranges of addresses of one size.
#[derive(Debug)]
struct Ranges<A> {
    /// First and last address.
    pairs: Box<[(A, A)]>,
    index: Box<[A]>,
}

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Self { pairs: Box::default(), index: Box::default() }
    }
}

impl<A: Copy + Ord> Ranges<A> {
    fn new(mut ranges: Vec<(A, A)>, next: impl Fn(A) -> Option<A>) -> Self {
        merge(&mut ranges, next);
        let index = ranges.iter().step_by(STRIDE).map(|range| range.0).collect();
        Self { pairs: ranges.into_boxed_slice(), index }
    }

    fn contains(&self, address: A) -> bool {
        let strides = self.index.partition_point(|first| *first <= address);
        let Some(begin) = strides.checked_sub(1).map(|stride| stride * STRIDE) else { return false };
        let near = &self.pairs[begin..self.pairs.len().min(begin + STRIDE)];
        let found = near.partition_point(|(first, _)| *first <= address);
        // The first of them begins at or before the address.
        address <= near[found - 1].1
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.pairs) + size_of_val(&*self.index)
    }
}

/// Ranges of IPv4.
#[derive(Debug, Default)]
pub(crate) struct RangesV4(Ranges<u32>);

impl RangesV4 {
    pub(crate) fn new(ranges: Vec<(u32, u32)>) -> Self {
        Self(Ranges::new(ranges, |last| last.checked_add(1)))
    }

    pub(crate) fn contains(&self, address: u32) -> bool {
        self.0.contains(address)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.pairs.len()
    }

    pub(crate) fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// Ranges of IPv6. Networks have 64 bits at most (RFC 4291 section 2.5.1), and so most ranges are known by the upper half of
/// their addresses.
#[derive(Debug, Default)]
pub(crate) struct RangesV6 {
    /// The upper halves of networks that are blocked as a whole.
    networks: Ranges<u64>,
    /// What is blocked of others.
    parts: Ranges<u128>,
}

impl RangesV6 {
    pub(crate) fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        merge(&mut ranges, |last| last.checked_add(1));
        let (mut networks, mut parts) = (Vec::new(), Vec::new());
        for (first, last) in ranges {
            let (mut from, mut to) = (network(first), network(last));
            if from << 64 != first {
                parts.push((first, last.min(from << 64 | LOWER)));
                from += 1;
            }
            if to << 64 | LOWER != last {
                if from <= to {
                    parts.push((to << 64, last));
                }
                // The first network of all may be one of which the end is not blocked.
                let Some(before) = to.checked_sub(1) else { continue };
                to = before;
            }
            if from <= to {
                networks.push((from as u64, to as u64));
            }
        }
        let next = |last: u64| last.checked_add(1);
        Self { networks: Ranges::new(networks, next), parts: Ranges::new(parts, |last| last.checked_add(1)) }
    }

    pub(crate) fn contains(&self, address: u128) -> bool {
        self.networks.contains(network(address) as u64) || self.parts.contains(address)
    }

    pub(crate) fn len(&self) -> usize {
        self.networks.pairs.len() + self.parts.pairs.len()
    }

    pub(crate) fn memory(&self) -> usize {
        self.networks.memory() + self.parts.memory()
    }
}

const LOWER: u128 = u64::MAX as u128;

fn network(address: u128) -> u128 {
    address >> 64
}

/// The inclusive range of a prefix: `width` is the bits of an address, `length` those of the prefix.
pub(crate) fn of_prefix(address: u128, width: u32, length: u32) -> Option<RangeInclusive<u128>> {
    let free = width.checked_sub(length)?;
    // A shift by all of its bits has no meaning in Rust.
    let mask = 1u128.checked_shl(free).map_or(u128::MAX, |beyond| beyond - 1);
    Some(address & !mask..=address | mask)
}

/// Sorts ranges and makes one of those that overlap or follow one another.
fn merge<A: Ord + Copy>(ranges: &mut Vec<(A, A)>, next: impl Fn(A) -> Option<A>) {
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, kept)| {
        let touches = next(*kept).is_none_or(|next| *first <= next);
        if touches {
            *kept = (*kept).max(*last);
        }
        touches
    });
}
