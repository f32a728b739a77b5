//! Which pieces a peer has. A peer that has all of them costs nothing.

use ferri_metainfo::{Bitfield, PieceIndex};

/// What a peer announced.
#[derive(Clone, Debug)]
pub(crate) enum PeerPieces {
    /// Everything, from the start of the connection.
    All {
        /// How many that is.
        len: u32,
    },
    /// These. May be all of them in the end.
    Some(Bitfield),
}

impl PeerPieces {
    /// Nothing of `len` pieces.
    pub(crate) fn none(len: u32) -> Self {
        Self::Some(Bitfield::new(len))
    }

    pub(crate) fn from_bitfield(bits: Bitfield) -> Self {
        if bits.is_full() { Self::All { len: bits.len() } } else { Self::Some(bits) }
    }

    pub(crate) fn has(&self, piece: PieceIndex) -> bool {
        match self {
            Self::All { .. } => true,
            Self::Some(bits) => bits.get(piece.get()),
        }
    }

    /// Whether the piece was new.
    pub(crate) fn insert(&mut self, piece: PieceIndex) -> bool {
        match self {
            Self::All { .. } => false,
            Self::Some(bits) => bits.set(piece.get()),
        }
    }

    pub(crate) fn count(&self) -> u32 {
        match self {
            Self::All { len } => *len,
            Self::Some(bits) => bits.count_ones(),
        }
    }

    pub(crate) fn is_seed(&self) -> bool {
        match self {
            Self::All { .. } => true,
            Self::Some(bits) => bits.is_full(),
        }
    }
}
