//! Which hashes of a file's Merkle tree a peer is asked for ([BEP 52]): the body that three messages share.
//!
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

use std::fmt;

use bytes::{BufMut, BytesMut};

/// A run of neighbouring hashes in one layer of a file's tree. All of it is an unchecked claim of the sender.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HashRange {
    /// The root of the file's tree: which file is meant.
    pub pieces_root: [u8; 32],
    /// The layer; 0 is that of blocks of 16 KiB.
    pub base_layer: u32,
    /// The first hash, counted from 0 in its layer.
    pub index: u32,
    /// How many hashes.
    pub length: u32,
    /// Layers above for which the hashes that prove the run are wanted too.
    pub proof_layers: u32,
}

impl HashRange {
    /// How long it is in a message.
    pub(crate) const LEN: usize = 48;

    /// From a body that is at least [`Self::LEN`] bytes long.
    pub(crate) fn read(body: &[u8]) -> Self {
        let number = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let mut pieces_root = [0; 32];
        pieces_root.copy_from_slice(&body[..32]);
        Self {
            pieces_root,
            base_layer: number(32),
            index: number(36),
            length: number(40),
            proof_layers: number(44),
        }
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        out.put_slice(&self.pieces_root);
        let numbers = [self.base_layer, self.index, self.length, self.proof_layers];
        numbers.into_iter().for_each(|number| out.put_u32(number));
    }
}

/// The root as its first bytes: enough to tell files apart.
impl fmt::Debug for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.pieces_root;
        let Self { base_layer, index, length, proof_layers, .. } = self;
        write!(
            f,
            "root {a:02x}{b:02x}{c:02x}{d:02x}, layer {base_layer}, {length} from {index}, proofs {proof_layers}"
        )
    }
}
