//! Pieces larger than all the memory for pieces: their blocks go, unverified, to the parts file in the state folder, and
//! the piece is verified there before a byte of it reaches a file of the user. One job at a time a piece, so that writes
//! never overtake each other.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Blocks are written in portions of this size.
const PORTION: u64 = 4 << 20;

/// Consecutive blocks, and where in the piece they begin.
pub(super) type Runs = Vec<(u32, Vec<Bytes>)>;

/// The pieces that are being spilled.
#[derive(Debug)]
pub(super) struct Spills {
    memory: u64,
    pieces: BTreeMap<u32, Spill>,
}

#[derive(Debug, Default)]
struct Spill {
    /// Blocks that no disk thread has yet, by their offset.
    waiting: BTreeMap<u32, Bytes>,
    waiting_bytes: u64,
    /// Digests of all blocks, by their offset: the blocks themselves will be gone when the hash is known.
    digests: BTreeMap<u32, u64>,
    /// A disk thread has this piece.
    busy: bool,
    /// Every block has come.
    whole: bool,
    /// The disk failed; nothing more until it is back.
    stalled: bool,
    /// Counts how often the piece began anew, to tell old answers.
    round: u32,
}

/// What to do with a piece next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write these blocks; answer with [`Spills::written`].
    Write(u32, Runs),
    /// Verify it and move it to its files; answer with [`Spills::committed`].
    Commit,
}

impl Spills {
    pub(super) fn new(memory: u64) -> Self {
        Self { memory, pieces: BTreeMap::new() }
    }

    /// From here on there is so much memory. Pieces that are being spilled go on so.
    pub(super) fn set_memory(&mut self, memory: u64) {
        self.memory = memory;
    }

    /// Pieces of this length do not fit into memory.
    pub(super) fn takes(&self, piece_length: u32) -> bool {
        self.memory < u64::from(piece_length)
    }

    pub(super) fn has(&self, piece: u32) -> bool {
        self.pieces.contains_key(&piece)
    }

    pub(super) fn store(&mut self, piece: u32, begin: u32, data: Bytes, digest: u64) -> Option<Step> {
        let spill = self.pieces.entry(piece).or_default();
        spill.digests.insert(begin, digest);
        spill.waiting_bytes += data.len() as u64;
        spill.waiting.insert(begin, data);
        spill.step()
    }

    /// Every block of the piece has come.
    pub(super) fn complete(&mut self, piece: u32) -> Option<Step> {
        let spill = self.pieces.get_mut(&piece)?;
        spill.whole = true;
        spill.step()
    }

    /// Begins the piece anew.
    pub(super) fn discard(&mut self, piece: u32) {
        if let Some(spill) = self.pieces.get_mut(&piece) {
            *spill = Spill { busy: spill.busy, round: spill.round + 1, ..Spill::default() };
            if !spill.busy {
                self.pieces.remove(&piece);
            }
        }
    }

    /// A portion was written, or could not be (`unwritten`).
    pub(super) fn written(&mut self, piece: u32, round: u32, unwritten: Runs) -> Option<Step> {
        let spill = self.pieces.get_mut(&piece)?;
        spill.busy = false;
        if round == spill.round && !unwritten.is_empty() {
            spill.stalled = true;
            for (begin, blocks) in unwritten {
                let mut at = begin;
                for block in blocks {
                    let length = block.len();
                    spill.waiting_bytes += length as u64;
                    spill.waiting.insert(at, block);
                    at += u32::try_from(length).unwrap_or(u32::MAX);
                }
            }
        }
        spill.step()
    }

    /// The piece was verified (`Some`), or the disk failed and it stays as it is (`None`).
    pub(super) fn committed(&mut self, piece: u32, matched: Option<bool>) {
        match matched {
            Some(_) => drop(self.pieces.remove(&piece)),
            None => {
                if let Some(spill) = self.pieces.get_mut(&piece) {
                    (spill.busy, spill.stalled) = (false, true);
                }
            }
        }
    }

    /// The disk is back: what to do with each piece that waited for it.
    pub(super) fn resume(&mut self) -> Vec<(u32, Step)> {
        let steps = self.pieces.iter_mut().filter_map(|(piece, spill)| {
            spill.stalled = false;
            Some((*piece, spill.step()?))
        });
        steps.collect()
    }

    /// Digests of the piece's blocks in their order.
    pub(super) fn digests(&self, piece: u32) -> Vec<u64> {
        self.pieces.get(&piece).map(|spill| spill.digests.values().copied().collect()).unwrap_or_default()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.pieces.values().any(|spill| spill.busy)
    }
}

impl Spill {
    fn step(&mut self) -> Option<Step> {
        if self.busy || self.stalled {
            return None;
        }
        if !self.waiting.is_empty() && (self.whole || PORTION <= self.waiting_bytes) {
            self.busy = true;
            self.waiting_bytes = 0;
            return Some(Step::Write(self.round, runs(std::mem::take(&mut self.waiting))));
        }
        (self.whole && self.waiting.is_empty()).then(|| {
            self.busy = true;
            Step::Commit
        })
    }
}

/// Joins neighbours.
fn runs(blocks: BTreeMap<u32, Bytes>) -> Runs {
    let mut runs: Runs = Vec::new();
    let mut end = None;
    for (begin, block) in blocks {
        let next = begin + u32::try_from(block.len()).unwrap_or(u32::MAX);
        match runs.last_mut() {
            Some((_, run)) if end == Some(begin) => run.push(block),
            _ => runs.push((begin, vec![block])),
        }
        end = Some(next);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 1 << 20])
    }

    fn store(spills: &mut Spills, n: u32) -> Option<Step> {
        spills.store(0, n << 20, block(n as u8), u64::from(n))
    }

    #[test]
    fn portions_are_joined_and_the_commit_comes_last() {
        let mut spills = Spills::new(1 << 20);
        assert!(spills.takes(8 << 20) && !spills.takes(1 << 20));
        for n in [0, 1, 5] {
            assert_eq!(store(&mut spills, n), None);
        }
        let Some(Step::Write(round, runs)) = store(&mut spills, 2) else { panic!("a portion is due") };
        assert_eq!(runs.iter().map(|(at, run)| (*at >> 20, run.len())).collect::<Vec<_>>(), [(0, 3), (5, 1)]);
        assert_eq!(store(&mut spills, 3), None, "one job at a time");
        assert_eq!(spills.complete(0), None);
        assert!(matches!(spills.written(0, round, Vec::new()), Some(Step::Write(..))));
        assert_eq!(spills.written(0, round, Vec::new()), Some(Step::Commit));
        assert_eq!(spills.digests(0), [0, 1, 2, 3, 5]);
        spills.committed(0, Some(true));
        assert!(!spills.has(0) && !spills.is_busy());
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_written_when_it_is_back() {
        let mut spills = Spills::new(0);
        store(&mut spills, 0);
        let Some(Step::Write(round, runs)) = spills.complete(0) else { panic!("it is whole") };
        assert_eq!(spills.written(0, round, runs), None);
        assert!(matches!(&spills.resume()[..], [(0, Step::Write(..))]));
        assert_eq!(spills.written(0, round, Vec::new()), Some(Step::Commit));
    }

    #[test]
    fn a_piece_begun_anew_does_not_mind_old_answers() {
        let mut spills = Spills::new(0);
        store(&mut spills, 0);
        let Some(Step::Write(round, runs)) = spills.complete(0) else { panic!("it is whole") };
        spills.discard(0);
        assert_eq!(store(&mut spills, 7), None, "the old write is still under way");
        assert_eq!(spills.written(0, round, runs), None);
        assert_eq!(spills.digests(0), [7]);
        assert!(matches!(spills.complete(0), Some(Step::Write(1, _))));
    }
}
