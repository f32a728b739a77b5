//! The hash of one piece, fed in any portions: SHA-1 for v1 and hybrid torrents, a Merkle tree of blocks for v2.

use ferri_hash::{Sha1, Sha1Digest, Sha256, Sha256Digest, merkle};
use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Info, PieceIndex, PieceTree};

/// A running hash with what it has to become.
pub(crate) enum Verifier {
    V1 { hash: Sha1, expected: Sha1Digest },
    V2 { leaf: Sha256, filled: usize, leaves: Vec<Sha256Digest>, tree: PieceTree },
}

impl Verifier {
    /// `None` when the torrent does not tell the hash of this piece (v2 without its piece layers): then nothing can
    /// be claimed of it.
    pub(crate) fn new(info: &Info, piece: PieceIndex) -> Option<Self> {
        if let Some(expected) = info.piece_hash_v1(piece) {
            return Some(Self::V1 { hash: Sha1::new(), expected });
        }
        let tree = info.piece_tree_v2(piece)?;
        Some(Self::V2 { leaf: Sha256::new(), filled: 0, leaves: Vec::new(), tree })
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        match self {
            Self::V1 { hash, .. } => hash.update(bytes),
            Self::V2 { leaf, filled, leaves, .. } => {
                while !bytes.is_empty() {
                    let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_LENGTH as usize - *filled));
                    leaf.update(now);
                    *filled += now.len();
                    bytes = rest;
                    if *filled == BLOCK_LENGTH as usize {
                        leaves.push(std::mem::replace(leaf, Sha256::new()).finish());
                        *filled = 0;
                    }
                }
            }
        }
    }

    /// Whether what was fed is the piece.
    pub(crate) fn finish(self) -> bool {
        match self {
            Self::V1 { hash, expected } => hash.finish() == expected,
            Self::V2 { leaf, filled, mut leaves, tree } => {
                if filled != 0 {
                    leaves.push(leaf.finish());
                }
                leaves.len() <= tree.width && merkle::root(&leaves, tree.width) == tree.root
            }
        }
    }
}
