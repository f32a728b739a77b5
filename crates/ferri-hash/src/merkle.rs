//! The Merkle trees of [BEP 52]: leaves are SHA-256 of 16 KiB blocks, missing leaves are zero, nodes hash two children.
//!
//! Levels are counted from the leaves: level 0 is a block, level `n` covers `2^n` blocks. Here are roots and paddings
//! only; proofs for single hashes belong to the code that talks about them on the wire.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

use crate::{Sha256, Sha256Digest, sha256_many};

/// Bytes under a leaf.
pub const BLOCK_LENGTH: usize = 16 << 10;

/// Levels that a tree can have: more leaves than 2^47 would be more than 2^61 bytes.
pub const LEVELS_MAX: u32 = 47;

/// Appends to each list the leaves over the bytes beside it, all hashed together. The last block may be short, and then
/// nothing can follow it.
pub fn leaves_many(parts: &mut [(&mut Vec<Sha256Digest>, &[u8])]) {
    let blocks: Vec<&[u8]> = parts.iter().flat_map(|(_, bytes)| bytes.chunks(BLOCK_LENGTH)).collect();
    let mut digests = vec![[0; 32]; blocks.len()];
    sha256_many(&blocks, &mut digests);
    let mut rest = digests.as_slice();
    for (leaves, bytes) in parts {
        let (own, others) = rest.split_at(bytes.len().div_ceil(BLOCK_LENGTH));
        leaves.extend_from_slice(own);
        rest = others;
    }
}

/// The node above two others.
pub fn parent(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    let mut hash = Sha256::new();
    hash.update(left);
    hash.update(right);
    hash.finish()
}

/// The node at `level` above nothing but missing leaves.
///
/// # Panics
/// Above [`LEVELS_MAX`].
pub fn pad_hash(level: u32) -> Sha256Digest {
    assert!(level <= LEVELS_MAX, "a tree of {level} levels");
    (0..level).fold([0; 32], |pad, _| parent(&pad, &pad))
}

/// The root over `leaves`, padded with zero leaves up to `width`.
///
/// # Panics
/// Unless `width` is a power of two that holds the leaves.
pub fn root(leaves: &[Sha256Digest], width: usize) -> Sha256Digest {
    assert!(width.is_power_of_two() && leaves.len() <= width, "{} leaves in a row of {width}", leaves.len());
    fold(leaves, 0, width.trailing_zeros())
}

/// The root over a whole layer at `layer_level`, padded with what missing leaves make at that level, up to the next
/// power of two. This is how `piece layers` lead to a `pieces root`.
///
/// # Panics
/// When the layer is empty or too high to be one.
pub fn root_of_layer(layer: &[Sha256Digest], layer_level: u32) -> Sha256Digest {
    assert!(!layer.is_empty(), "a layer has a hash");
    fold(layer, layer_level, layer.len().next_power_of_two().trailing_zeros())
}

/// The node `levels` above the first of `row`, whose nodes stand at level `level`.
///
/// Takes the row from left to right and keeps one pending node a level, so the row is never copied.
fn fold(row: &[Sha256Digest], level: u32, levels: u32) -> Sha256Digest {
    assert!(level + levels <= LEVELS_MAX, "a tree of {} levels", level + levels);
    let mut pending: [Sha256Digest; LEVELS_MAX as usize + 1] = [[0; 32]; LEVELS_MAX as usize + 1];
    for (index, hash) in row.iter().enumerate() {
        // Bits that are 1 in `index` are left siblings that wait, as in binary addition.
        let mut node = *hash;
        let mut height = 0;
        while index >> height & 1 == 1 {
            node = parent(&pending[height], &node);
            height += 1;
        }
        pending[height] = node;
    }
    // Close the right edge with padding.
    let mut pad = pad_hash(level);
    let mut edge: Option<Sha256Digest> = None;
    for (height, left) in pending.iter().enumerate().take(levels as usize) {
        let waiting = row.len() >> height & 1 == 1;
        edge = match (waiting, edge) {
            (true, Some(right)) => Some(parent(left, &right)),
            (true, None) => Some(parent(left, &pad)),
            (false, Some(node)) => Some(parent(&node, &pad)),
            (false, None) => None,
        };
        pad = parent(&pad, &pad);
    }
    match edge {
        Some(root) => root,
        None if row.is_empty() => pad,
        // A full row: its last node completed the tree.
        None => pending[levels as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;

    /// The definition, row by row.
    fn plain(leaves: &[Sha256Digest], pad: Sha256Digest, width: usize) -> Sha256Digest {
        let mut row = leaves.to_vec();
        row.resize(width, pad);
        while 1 < row.len() {
            row = row.chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        }
        row[0]
    }

    fn leaves(count: usize) -> Vec<Sha256Digest> {
        (0..count).map(|n| sha256(&n.to_le_bytes())).collect()
    }

    #[test]
    fn the_root_is_what_the_definition_says() {
        for count in 0..=33 {
            for width in [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|width| count <= *width) {
                assert_eq!(
                    root(&leaves(count), width),
                    plain(&leaves(count), [0; 32], width),
                    "{count} of {width}"
                );
            }
        }
    }

    #[test]
    fn leaves_of_several_lists_are_hashed_together() {
        let data: Vec<u8> = (0..5 * BLOCK_LENGTH).map(|n| (n / 7) as u8).collect();
        let inputs = [&data[..], &data[..0], &data[3..BLOCK_LENGTH], &data[1..=2 * BLOCK_LENGTH + 1]];
        let mut lists = vec![vec![[1; 32]]; inputs.len()];
        leaves_many(&mut lists.iter_mut().zip(inputs).collect::<Vec<_>>());
        for (list, input) in lists.iter().zip(inputs) {
            let expected = input.chunks(BLOCK_LENGTH).map(sha256);
            assert_eq!(*list, [[1; 32]].into_iter().chain(expected).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_layer_leads_to_the_same_root_as_its_leaves() {
        for count in 1..=40_usize {
            for level in 0..4_u32 {
                let width = 1 << level;
                let layer: Vec<_> = leaves(count).chunks(width).map(|part| root(part, width)).collect();
                let whole = count.next_power_of_two().max(width);
                assert_eq!(
                    root_of_layer(&layer, level),
                    root(&leaves(count), whole),
                    "{count} leaves, level {level}"
                );
            }
        }
    }

    #[test]
    fn padding_is_the_root_of_missing_leaves() {
        for level in 0..6 {
            assert_eq!(pad_hash(level), root(&[], 1 << level));
        }
    }

    #[test]
    #[should_panic(expected = "leaves in a row")]
    fn a_width_that_is_no_power_of_two_is_a_bug() {
        root(&leaves(3), 3);
    }
}
