//! Who is to blame for a piece that failed its hash. Only what is proven counts: an honest peer is never banned.
//!
//! One sender alone is proven wrong at once. Of several, each may be honest: the caller keeps digests of the failed copy, the
//! piece is fetched again from one peer alone, and when a good copy is there the blocks that differ name their senders.

use std::collections::BTreeMap;

use ferri_metainfo::PieceIndex;

use crate::picker::{Provenance, Sender};

/// Failed copies remembered; a piece beyond that is fetched again without finding out who it was.
const FAILED_MAX: usize = 256;

/// What a failed piece proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This one sent it all.
    Guilty(Sender),
    /// One of several did it; remember the copy. These are suspect.
    Suspects,
    /// One of several did it, and there is no room to remember.
    Unknown,
}

/// Failed copies of pieces that are not verified yet.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    failed: BTreeMap<PieceIndex, Provenance>,
}

impl Blame {
    /// A piece failed its hash.
    pub(crate) fn failed(&mut self, piece: PieceIndex, provenance: Provenance) -> Verdict {
        match provenance.senders.as_slice() {
            // The blocks of an earlier copy stay suspect: it may have had another culprit.
            [sender] => Verdict::Guilty(*sender),
            _ if self.failed.len() < FAILED_MAX || self.failed.contains_key(&piece) => {
                self.failed.insert(piece, provenance);
                Verdict::Suspects
            }
            _ => Verdict::Unknown,
        }
    }

    /// A good copy is there, and these blocks of the failed one differed: who sent them.
    pub(crate) fn proven(&mut self, piece: PieceIndex, bad: impl Iterator<Item = usize>) -> Vec<Sender> {
        let Some(failed) = self.failed.remove(&piece) else { return Vec::new() };
        let mut guilty: Vec<Sender> = Vec::new();
        for block in bad {
            let sender =
                failed.by_block.get(block).and_then(|sender| failed.senders.get(usize::from(*sender)));
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

    fn copy(by_block: &[u16], senders: u64) -> Provenance {
        Provenance { by_block: by_block.to_vec(), senders: (0..senders).map(sender).collect() }
    }

    #[test]
    fn one_sender_alone_is_guilty() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(piece(0), copy(&[0, 0], 1)), Verdict::Guilty(sender(0)));
    }

    #[test]
    fn of_several_only_those_are_guilty_whose_blocks_differ() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(piece(0), copy(&[0, 1, 2, 1], 3)), Verdict::Suspects);
        assert_eq!(blame.proven(piece(0), [1, 3].into_iter()), [sender(1)]);
        assert_eq!(blame.proven(piece(0), [0].into_iter()), []);
    }

    #[test]
    fn a_lone_failure_in_between_keeps_the_first_copy() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(piece(0), copy(&[0, 1], 2)), Verdict::Suspects);
        assert_eq!(blame.failed(piece(0), copy(&[0, 0], 1)), Verdict::Guilty(sender(0)));
        assert_eq!(blame.proven(piece(0), [1, 77].into_iter()), [sender(1)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut blame = Blame::default();
        for n in 0..FAILED_MAX as u32 {
            assert_eq!(blame.failed(piece(n), copy(&[0, 1], 2)), Verdict::Suspects);
        }
        assert_eq!(blame.failed(piece(1000), copy(&[0, 1], 2)), Verdict::Unknown);
        assert_eq!(blame.failed(piece(3), copy(&[0, 1], 2)), Verdict::Suspects);
    }
}
