//! What a torrent's task knows of those who read its files: which pieces they need, and which files it fetches for them alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_metainfo::{Bitfield, FileIndex};

use super::stream::Stream;
use crate::FilePriority;

/// Each piece of a window is due so much later than the one before. Pieces that are due within two seconds are asked of
/// several peers.
const STEP: Duration = Duration::from_secs(1);

/// The readers of a torrent's files.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pub(super) streams: Vec<Arc<Stream>>,
    /// When the pieces that they need and lack are due, as the swarm knows it.
    due: BTreeMap<u32, Instant>,
    /// Pieces that were read and were not what they should be, until they were looked at again.
    pub(super) doubted: BTreeSet<u32>,
    /// Files that are fetched for readers alone.
    pub(super) lent: BTreeSet<FileIndex>,
    /// Everything else was complete when the first of them was.
    pub(super) is_loan: bool,
    /// There may be something to do.
    pub(super) is_stale: bool,
}

impl Readers {
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Something happened that may concern a reader.
    pub(super) fn stale(&mut self) {
        self.is_stale = true;
    }

    /// The pieces in doubt were looked at.
    pub(super) fn looked_again(&mut self) {
        self.doubted.clear();
        self.is_stale = true;
    }

    /// What is missing from here on is missing to others as well.
    pub(super) fn end_loan(&mut self) {
        (self.is_loan, self.is_stale) = (false, true);
    }

    /// Whether it is no news that nothing is missing any more: only a reader's file was.
    pub(super) fn is_completed_loan(&mut self) -> bool {
        let is_over = self.lent.is_empty();
        if is_over { std::mem::take(&mut self.is_loan) } else { self.is_loan }
    }

    /// These wishes, with the files that are fetched for readers.
    pub(super) fn with_lent<'w>(&self, wishes: &'w [FilePriority]) -> Cow<'w, [FilePriority]> {
        let mut wishes = Cow::Borrowed(wishes);
        for file in &self.lent {
            if wishes.get(file.as_usize()) == Some(&FilePriority::Skip) {
                wishes.to_mut()[file.as_usize()] = FilePriority::Low;
            }
        }
        wishes
    }

    /// What the swarm is to be told of deadlines for these windows.
    pub(super) fn plan(
        &mut self,
        windows: &[Range<u32>],
        have: &Bitfield,
        now: Instant,
    ) -> Vec<(u32, Option<Duration>)> {
        let mut needed: BTreeMap<u32, Duration> = BTreeMap::new();
        for window in windows {
            for (rank, piece) in (0..).zip(window.clone()).filter(|(_, piece)| !have.get(*piece)) {
                let within = needed.entry(piece).or_insert(Duration::MAX);
                *within = (STEP * rank).min(*within);
            }
        }
        let mut told = Vec::new();
        self.due.retain(|piece, _| {
            let stays = needed.contains_key(piece);
            if !stays && !have.get(*piece) {
                told.push((*piece, None));
            }
            stays
        });
        for (piece, within) in needed {
            let at = now + within;
            // Time alone makes it no later.
            if self.due.get(&piece).is_none_or(|due| at < *due) {
                self.due.insert(piece, at);
                told.push((piece, Some(within)));
            }
        }
        told
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.streams.iter().for_each(|stream| stream.end());
    }
}

#[cfg(test)]
mod tests {
    // One window is as good as many.
    #![allow(clippy::single_range_in_vec_init)]
    use super::*;

    fn bits(ones: &[u32]) -> Bitfield {
        let mut bits = Bitfield::new(100);
        for one in ones {
            bits.set(*one);
        }
        bits
    }

    fn due(piece: u32, seconds: u64) -> (u32, Option<Duration>) {
        (piece, Some(Duration::from_secs(seconds)))
    }

    #[test]
    fn pieces_before_a_reader_are_due_in_order_and_those_it_leaves_are_not() {
        let now = Instant::now();
        let mut readers = Readers::default();
        let have = bits(&[11]);
        let mut plan = |windows: &[Range<u32>], have: &Bitfield, seconds| {
            readers.plan(windows, have, now + Duration::from_secs(seconds))
        };
        assert_eq!(plan(&[10..13], &have, 0), [due(10, 0), due(12, 2)]);
        assert_eq!(plan(&[10..13], &have, 5), [], "nothing new");
        let have = bits(&[10, 11]);
        assert_eq!(plan(&[11..14], &have, 6), [due(13, 2)], "what is late stays so");
        // Somewhere else: it is soon again, although it was due later.
        assert_eq!(plan(&[13..14, 50..52], &have, 6), [(12, None), due(13, 0), due(50, 0), due(51, 1)]);
        assert_eq!(plan(&[50..52], &have, 6), [(13, None)]);
        // Two readers need one piece: the sooner one counts, and it stays due until both are gone.
        assert_eq!(plan(&[50..52, 51..52], &have, 6), [due(51, 0)]);
        assert_eq!(plan(&[51..52], &have, 7), [(50, None)]);
        assert_eq!(plan(&[], &have, 8), [(51, None)]);
    }

    #[test]
    fn a_piece_that_was_lost_is_due_again() {
        let now = Instant::now();
        let mut readers = Readers::default();
        assert_eq!(readers.plan(&[1..2], &bits(&[]), now), [due(1, 0)]);
        assert_eq!(readers.plan(&[1..2], &bits(&[1]), now), []);
        assert_eq!(readers.plan(&[1..2], &bits(&[]), now), [due(1, 0)]);
    }
}
