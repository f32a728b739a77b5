//! Who is to blame for a piece that failed its hash. Only what is proven counts: an honest peer is never banned.
//!
//! One sender alone is proven wrong at once. Of several, each may be honest: digests of the blocks of the failed copy are kept,
//! the piece is fetched again from one peer alone, and when a good copy is there the blocks that differ name their senders.

use std::collections::BTreeMap;

use ferri_metainfo::PieceIndex;

use crate::picker::{BlockSenders, Sender};

/// Failed copies remembered; a piece beyond that is fetched again without finding out who it was.
const FAILED_MAX: usize = 256;

/// What a failed piece proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This one sent it all.
    Guilty(Sender),
    /// One of several did it.
    Suspects,
}

/// Failed copies of pieces that are not verified yet.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    failed: BTreeMap<PieceIndex, Copy>,
}

/// A copy that failed.
#[derive(Debug)]
struct Copy {
    block_senders: BlockSenders,
    /// Of its blocks, in their order.
    digests: Vec<u64>,
}

impl Blame {
    /// A piece failed its hash; `digests` are those of its blocks. A copy that cannot be remembered, or has no digests, is not
    /// compared later.
    pub(crate) fn failed(
        &mut self,
        piece: PieceIndex,
        block_senders: BlockSenders,
        digests: Vec<u64>,
    ) -> Verdict {
        if let [sender] = block_senders.senders.as_slice() {
            // The blocks of an earlier copy stay suspect: it may have had another culprit.
            return Verdict::Guilty(*sender);
        }
        let is_told = digests.len() == block_senders.by_block.len();
        if is_told && (self.failed.len() < FAILED_MAX || self.remembers(piece)) {
            self.failed.insert(piece, Copy { block_senders, digests });
        }
        Verdict::Suspects
    }

    /// Whether a copy of the piece that failed waits for a good one.
    pub(crate) fn remembers(&self, piece: PieceIndex) -> bool {
        self.failed.contains_key(&piece)
    }

    /// A good copy is there with these digests: who sent the blocks of the failed one that differ.
    pub(crate) fn proven(&mut self, piece: PieceIndex, good: &[u64]) -> Vec<Sender> {
        let mut guilty: Vec<Sender> = Vec::new();
        // Against a part of the piece nothing is proven.
        let Some(Copy { block_senders, digests }) =
            self.failed.remove(&piece).filter(|failed| failed.digests.len() == good.len())
        else {
            return guilty;
        };
        let sent =
            block_senders.by_block.iter().map(|sender| block_senders.senders.get(usize::from(*sender)));
        for (sender, _) in sent.zip(digests.iter().zip(good)).filter(|(_, (failed, good))| failed != good) {
            if let Some(sender) = sender.filter(|sender| !guilty.contains(sender)) {
                guilty.push(*sender);
            }
        }
        guilty
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ferri_metainfo::Layout;

    use super::*;
    use crate::input::PeerKey;

    fn piece(n: u32) -> PieceIndex {
        Layout::single(16 << 10, 1 << 30).unwrap().piece(n).unwrap()
    }

    fn sender(n: u64) -> Sender {
        Sender { peer: PeerKey(n), addr: "1.2.3.4:5".parse().unwrap(), known: crate::bans::Known::Connected }
    }

    fn copy(by_block: &[u16], senders: u64) -> BlockSenders {
        BlockSenders { by_block: by_block.to_vec(), senders: (0..senders).map(sender).collect() }
    }

    #[test]
    fn one_sender_alone_is_guilty() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(piece(0), copy(&[0, 0], 1), vec![5, 6]), Verdict::Guilty(sender(0)));
        assert!(!blame.remembers(piece(0)));
    }

    #[test]
    fn of_several_only_those_are_guilty_whose_blocks_differ() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(piece(0), copy(&[0, 1, 2, 1], 3), vec![1, 2, 3, 4]), Verdict::Suspects);
        assert!(blame.remembers(piece(0)));
        assert_eq!(blame.proven(piece(0), &[1, 7, 3, 8]), [sender(1)]);
        assert_eq!(blame.proven(piece(0), &[7, 7, 7, 7]), []);
    }

    #[test]
    fn a_lone_failure_in_between_keeps_the_first_copy() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(piece(0), copy(&[0, 1], 2), vec![1, 2]), Verdict::Suspects);
        assert_eq!(blame.failed(piece(0), copy(&[0, 0], 1), vec![3, 4]), Verdict::Guilty(sender(0)));
        assert_eq!(blame.proven(piece(0), &[1, 9]), [sender(1)]);
    }

    #[test]
    fn without_digests_nothing_is_proven() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(piece(0), copy(&[0, 1], 2), Vec::new()), Verdict::Suspects);
        assert!(!blame.remembers(piece(0)));
        assert_eq!(blame.failed(piece(1), copy(&[0, 1], 2), vec![1, 2]), Verdict::Suspects);
        assert_eq!(blame.proven(piece(1), &[7]), []);
    }

    #[test]
    fn memory_is_bounded() {
        let mut blame = Blame::default();
        for n in 0..FAILED_MAX as u32 + 1 {
            assert_eq!(blame.failed(piece(n), copy(&[0, 1], 2), vec![1, 2]), Verdict::Suspects);
        }
        assert!(blame.remembers(piece(0)) && !blame.remembers(piece(FAILED_MAX as u32)));
        assert_eq!(blame.failed(piece(3), copy(&[0, 1], 2), vec![1, 8]), Verdict::Suspects);
        assert_eq!(blame.proven(piece(3), &[1, 2]), [sender(1)], "the newer copy counts");
    }
}
