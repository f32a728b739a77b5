//! How to go through pieces of any length so that they are hashed side by side: a stripe of each at a time.
//!
//! SHA-1 is fastest with a piece for each lane of the processor, which need not be in memory as a whole for that. All
//! stripes of a round together are about what the processor's own cache holds, where they lie from being read to being hashed. A
//! Merkle tree has many leaves in one piece, and needs no other one beside it.

use crate::kernels::{self, Kernel};

/// Bytes in a round.
const ROUND: usize = 1 << 20;

/// Pieces that are read side by side are no longer than this together, unless they are two: the device should read
/// them from front to back, and the page cache hold them until their turn comes.
const WINDOW: usize = 64 << 20;

/// Pieces to be hashed side by side, and how much of each in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripes {
    /// How many pieces, at least one.
    pub pieces: usize,
    /// Bytes of a piece in a round, at least one; the last stripe of a piece may be shorter. Whole blocks of 64 bytes,
    /// and whole leaves of a Merkle tree, unless a piece is no more than one stripe.
    pub length: usize,
    /// Bytes between two stripes in memory. Lanes that are the same distance from a page's start would want the same few
    /// lines of the processor's first cache, all of them at once. None between whole pieces, which can be read together.
    pub gap: usize,
}

/// Three lines: sixteen lanes are spread over most of a page.
const GAP: usize = 192;

impl Stripes {
    /// For pieces of this many bytes, at least one, whose SHA-1 is wanted. Good enough for Merkle trees beside that.
    #[must_use]
    pub fn for_sha1(piece_length: usize) -> Self {
        let lanes = kernels::sha1().iter().map(Kernel::lanes).max().unwrap_or(1);
        Self::new(piece_length, lanes.min((WINDOW / piece_length).max(2)))
    }

    /// For pieces of this many bytes, at least one, of which only Merkle trees are wanted.
    #[must_use]
    pub fn for_merkle(piece_length: usize) -> Self {
        Self::new(piece_length, 1)
    }

    fn new(piece_length: usize, side_by_side: usize) -> Self {
        let share = (ROUND / side_by_side.next_power_of_two()).min(piece_length);
        let gap = if share < piece_length && 1 < side_by_side { GAP } else { 0 };
        Self { pieces: ROUND / share, length: share, gap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_bounded_and_stripes_whole_leaves() {
        for piece_length in (1..200).map(|n| n << 10).chain((14..28).map(|bits| 1 << bits)).chain([1, 999]) {
            for stripes in [Stripes::for_sha1(piece_length), Stripes::for_merkle(piece_length)] {
                assert!(0 < stripes.pieces && 0 < stripes.length, "{piece_length}: {stripes:?}");
                assert!(stripes.pieces * stripes.length <= ROUND, "{piece_length}: {stripes:?}");
                let is_whole = stripes.length == piece_length;
                assert!(is_whole || stripes.length.is_multiple_of(16 << 10), "{piece_length}: {stripes:?}");
                let window = stripes.pieces * piece_length;
                assert!(is_whole || window <= WINDOW.max(2 * piece_length), "{piece_length}: {stripes:?}");
            }
        }
    }
}
