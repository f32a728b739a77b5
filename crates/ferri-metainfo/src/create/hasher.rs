//! The hashes of a torrent in the making, by piece.

use std::sync::Arc;

use ferri_hash::{Sha1, Sha1Digest, Sha256, Sha256Digest, merkle};

use super::plan::update_zeros;
use super::{CreateError, Plan, encode};
use crate::Bitfield;
use crate::limits::BLOCK_LENGTH;

/// What a torrent keeps of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PieceHash {
    /// SHA-1 of the piece, padding included; for v1 and hybrid.
    pub v1: Option<Sha1Digest>,
    /// Merkle root over the piece's blocks; over all blocks of its file where that is no longer than a piece. For
    /// v2 and hybrid.
    pub v2: Option<Sha256Digest>,
}

/// Collects hashes and then makes the torrent.
///
/// Use [`Hasher::feed`] or [`Hasher::set`]; a piece that was set is not needed from the feed and the other way
/// round, but feeding always begins with the first byte.
#[derive(Debug)]
pub struct Hasher {
    plan: Arc<Plan>,
    pub(super) hashes: Hashes,
    /// Pieces whose hash is there.
    done: Bitfield,
    feed: Feed,
}

/// By piece. A vector is empty when the version has no such hash.
#[derive(Debug)]
pub(super) struct Hashes {
    pub(super) v1: Vec<Sha1Digest>,
    pub(super) v2: Vec<Sha256Digest>,
}

/// The piece that is being fed.
#[derive(Debug)]
struct Feed {
    piece: u32,
    /// Bytes until the piece ends; 0 once all pieces have ended.
    left: u32,
    sha1: Sha1,
    leaf: Sha256,
    /// Bytes in `leaf`, below a block.
    leaf_bytes: u32,
    leaves: Vec<Sha256Digest>,
}

impl Hasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let count = plan.piece_count();
        let of = |wanted: bool| if wanted { count as usize } else { 0 };
        let hashes = Hashes {
            v1: vec![[0; 20]; of(plan.version().has_v1())],
            v2: vec![[0; 32]; of(plan.version().has_v2())],
        };
        let feed = Feed {
            piece: 0,
            left: plan.piece_bytes(0),
            sha1: Sha1::new(),
            leaf: Sha256::new(),
            leaf_bytes: 0,
            leaves: Vec::new(),
        };
        Self { plan, hashes, done: Bitfield::new(count), feed }
    }

    /// The geometry.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Pieces hashed so far, out of [`Plan::piece_count`].
    #[must_use]
    pub fn done(&self) -> u32 {
        self.done.count_ones()
    }

    /// Takes the next bytes of all [`Plan::files`] one after the other, in portions of any size.
    ///
    /// # Errors
    /// When more comes than the files have.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), CreateError> {
        while !bytes.is_empty() {
            if self.feed.left == 0 {
                return Err(CreateError::TooMuchData);
            }
            let take = bytes.len().min(self.feed.left as usize);
            let (now, later) = bytes.split_at(take);
            self.feed.update(now, &self.plan);
            bytes = later;
            if self.feed.left == 0 {
                self.end_piece()?;
            }
        }
        Ok(())
    }

    /// Takes the hash of a piece that [`Plan::hash_pieces`] made, in any order. A later one replaces an earlier
    /// one.
    ///
    /// # Errors
    /// When there is no such piece or the hash is for another version.
    pub fn set(&mut self, piece: u32, hash: PieceHash) -> Result<(), CreateError> {
        if self.plan.piece_count() <= piece {
            return Err(CreateError::NoSuchPiece(piece));
        }
        let version = self.plan.version();
        if hash.v1.is_some() != version.has_v1() || hash.v2.is_some() != version.has_v2() {
            return Err(CreateError::WrongHash(piece));
        }
        if let Some(v1) = hash.v1 {
            self.hashes.v1[piece as usize] = v1;
        }
        if let Some(v2) = hash.v2 {
            self.hashes.v2[piece as usize] = v2;
        }
        self.done.set(piece);
        Ok(())
    }

    /// The bytes of the .torrent file.
    ///
    /// # Errors
    /// When a piece was not hashed, or the file is longer than clients take.
    pub fn finish(self) -> Result<Vec<u8>, CreateError> {
        let total = self.plan.piece_count();
        let missing = total - self.done();
        if missing != 0 {
            return Err(CreateError::Unfinished { missing, total });
        }
        encode::torrent(&self.plan, &self.hashes)
    }

    fn end_piece(&mut self) -> Result<(), CreateError> {
        let hash = self.feed.take_hash(&self.plan);
        let piece = self.feed.piece;
        self.feed.piece += 1;
        self.feed.left = self.plan.piece_bytes(self.feed.piece);
        self.set(piece, hash)
    }
}

impl Feed {
    /// `bytes` lie inside the piece.
    fn update(&mut self, mut bytes: &[u8], plan: &Plan) {
        self.left -= u32::try_from(bytes.len()).expect("no more than what is left");
        if plan.version().has_v1() {
            self.sha1.update(bytes);
        }
        while plan.version().has_v2() && !bytes.is_empty() {
            let take = bytes.len().min((BLOCK_LENGTH - self.leaf_bytes) as usize);
            let (now, later) = bytes.split_at(take);
            self.leaf.update(now);
            self.leaf_bytes += u32::try_from(take).expect("no more than a block");
            if self.leaf_bytes == BLOCK_LENGTH {
                self.end_leaf();
            }
            bytes = later;
        }
    }

    fn end_leaf(&mut self) {
        self.leaves.push(std::mem::replace(&mut self.leaf, Sha256::new()).finish());
        self.leaf_bytes = 0;
    }

    fn take_hash(&mut self, plan: &Plan) -> PieceHash {
        let mut hash = PieceHash::default();
        if plan.version().has_v1() {
            let mut sha1 = std::mem::replace(&mut self.sha1, Sha1::new());
            update_zeros(&mut sha1, plan.padding_after(self.piece));
            hash.v1 = Some(sha1.finish());
        }
        if plan.version().has_v2() {
            if self.leaf_bytes != 0 {
                self.end_leaf();
            }
            hash.v2 = Some(file_or_piece_root(plan, self.piece, &self.leaves));
            self.leaves.clear();
        }
        hash
    }
}

/// BEP 52: the tree over a file is as wide as the next power of two of its blocks; where the file has a piece
/// layer, that layer's nodes are each as wide as a piece, the last one too.
pub(super) fn file_or_piece_root(plan: &Plan, piece: u32, leaves: &[Sha256Digest]) -> Sha256Digest {
    let width = if plan.file_of(piece).file.length <= u64::from(plan.piece_length()) {
        leaves.len().next_power_of_two()
    } else {
        (plan.piece_length() / BLOCK_LENGTH) as usize
    };
    merkle::root(leaves, width)
}

/// Hashes of several pieces that advance side by side. No piece has to be in memory as a whole, and together they take
/// less time than one after the other.
#[derive(Debug)]
pub struct PieceHasher<'a> {
    plan: &'a Plan,
    pieces: Vec<PiecePart>,
}

/// What there is of a piece.
#[derive(Debug)]
struct PiecePart {
    piece: u32,
    /// Bytes until the piece ends.
    left: u32,
    sha1: Sha1,
    leaves: Vec<Sha256Digest>,
}

impl<'a> PieceHasher<'a> {
    pub(super) fn new(plan: &'a Plan, pieces: &[u32]) -> Result<Self, CreateError> {
        let part = |&piece| {
            let left = plan.checked_piece_bytes(piece)?;
            Ok(PiecePart { piece, left, sha1: Sha1::new(), leaves: Vec::new() })
        };
        Ok(Self { plan, pieces: pieces.iter().map(part).collect::<Result<_, _>>()? })
    }

    /// The next bytes of every piece, in the order in which they were named: as many as blocks of 16 KiB have, or else
    /// all that is left; nothing for a piece that has ended.
    ///
    /// # Errors
    /// When that is not so. Then nothing was hashed.
    pub fn update(&mut self, parts: &[&[u8]]) -> Result<(), CreateError> {
        assert_eq!(parts.len(), self.pieces.len(), "one part for each piece");
        for (piece, part) in self.pieces.iter().zip(parts) {
            let (got, left) = (part.len(), piece.left as usize);
            let is_whole = got == left || (got < left && got.is_multiple_of(BLOCK_LENGTH as usize));
            if !is_whole {
                return Err(CreateError::WrongLength { piece: piece.piece, expected: piece.left, got });
            }
        }
        let (mut sha1, mut leaves) = (Vec::new(), Vec::new());
        for (piece, part) in self.pieces.iter_mut().zip(parts) {
            piece.left -= u32::try_from(part.len()).expect("no more than what is left");
            sha1.push((&mut piece.sha1, *part));
            leaves.push((&mut piece.leaves, *part));
        }
        if self.plan.version().has_v1() {
            Sha1::update_many(&mut sha1);
        }
        if self.plan.version().has_v2() {
            merkle::leaves_many(&mut leaves);
        }
        Ok(())
    }

    /// The hashes in the order in which the pieces were named.
    ///
    /// # Errors
    /// When bytes of a piece are missing.
    pub fn finish(self) -> Result<Vec<PieceHash>, CreateError> {
        let version = self.plan.version();
        let finish = |mut piece: PiecePart| {
            if piece.left != 0 {
                let expected = self.plan.checked_piece_bytes(piece.piece)?;
                let got = (expected - piece.left) as usize;
                return Err(CreateError::WrongLength { piece: piece.piece, expected, got });
            }
            update_zeros(&mut piece.sha1, self.plan.padding_after(piece.piece));
            Ok(PieceHash {
                v1: version.has_v1().then(|| piece.sha1.finish()),
                v2: version.has_v2().then(|| file_or_piece_root(self.plan, piece.piece, &piece.leaves)),
            })
        };
        self.pieces.into_iter().map(finish).collect()
    }
}
