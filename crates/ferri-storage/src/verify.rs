//! The hash of one piece, fed in any portions: SHA-1 for v1 and hybrid torrents, a Merkle tree of blocks for v2.

use bytes::Bytes;
use ferri_hash::{Sha1, Sha1Digest, Sha256, Sha256Digest, merkle, sha256_many};
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

    /// The next blocks of each of several hashes, all at once, which takes less time than one after the other.
    pub(crate) fn update_many(parts: &mut [(&mut Self, &[Bytes])]) {
        // SHA-1 goes through a piece from front to back: side by side go the pieces.
        let rounds = parts.iter().map(|(_, blocks)| blocks.len()).max().unwrap_or(0);
        for round in 0..rounds {
            let mut streams = Vec::with_capacity(parts.len());
            for (verifier, blocks) in &mut *parts {
                if let (Self::V1 { hash, .. }, Some(block)) = (&mut **verifier, blocks.get(round)) {
                    streams.push((hash, &block[..]));
                }
            }
            Sha1::update_many(&mut streams);
        }
        // The leaves of a tree are independent of one another: side by side go all blocks.
        for (verifier, blocks) in &mut *parts {
            let are_leaves = blocks.iter().all(|block| block.len() == BLOCK_LENGTH as usize);
            if matches!(verifier, Self::V2 { filled, .. } if *filled != 0 || !are_leaves) {
                std::mem::take(blocks).iter().for_each(|block| verifier.update(block));
            }
        }
        let mut leaves_of = Vec::new();
        let mut whole = Vec::new();
        for (verifier, blocks) in parts {
            if let Self::V2 { leaves, .. } = &mut **verifier {
                leaves_of.push((leaves, blocks.len()));
                whole.extend(blocks.iter().map(|block| &block[..]));
            }
        }
        let mut digests = vec![Sha256Digest::default(); whole.len()];
        sha256_many(&whole, &mut digests);
        let mut digests = digests.into_iter();
        for (leaves, count) in leaves_of {
            leaves.extend(digests.by_ref().take(count));
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
