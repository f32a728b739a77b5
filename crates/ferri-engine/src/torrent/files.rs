//! Which files of a torrent are complete. Each is told once, when its last piece has come.
//!
//! What was complete when the torrent was added is not told: a torrent may have a million files, and nothing happened to
//! them. A file that nobody wants is not told either, for its bytes are not in its place; it is when it becomes wanted.
//! Files without a byte are there once the last touches are put. Padding is no file.

use ferri_metainfo::{Bitfield, FileIndex, Layout, PieceIndex};

use crate::FilePriority;
use crate::status::FileStatus;

/// What was told of files, and what they lack.
#[derive(Debug)]
pub(super) struct Files {
    layout: Layout,
    /// How wanted they are; those beyond the end are normal.
    wishes: Vec<FilePriority>,
    /// Files that are in their places as far as their bytes are here.
    wanted: Bitfield,
    /// Files that were told to be complete, or were so from the beginning.
    told: Bitfield,
    /// How many pieces each file lacks. Counted when the first piece comes, so that a torrent at rest keeps no list.
    missing: Option<Vec<u32>>,
}

impl Files {
    /// `is_finished`: files without a byte are there.
    pub(super) fn new(layout: Layout, have: &Bitfield, wanted: Bitfield, is_finished: bool) -> Self {
        let mut files =
            Self { told: Bitfield::new(count(&layout)), layout, wishes: Vec::new(), wanted, missing: None };
        let empty = if is_finished { Empty::There } else { Empty::Missing };
        files.take_news(have, empty);
        files
    }

    /// The user wants the files like this; those beyond the end are normal.
    pub(super) fn wish(&mut self, wishes: &[FilePriority]) {
        // Most torrents are wanted as they are, and there may be thousands of torrents.
        let is_plain = wishes.iter().all(|wish| *wish == FilePriority::Normal);
        self.wishes = if is_plain { Vec::new() } else { wishes.into() };
    }

    /// How wanted each file is.
    pub(super) fn wishes(&self) -> Vec<FilePriority> {
        let mut wishes = self.wishes.clone();
        wishes.resize(self.layout.file_count(), FilePriority::Normal);
        wishes
    }

    /// A piece was verified and is among `have`: the files that are complete with it.
    pub(super) fn piece(&mut self, piece: PieceIndex, have: &Bitfield) -> Vec<FileIndex> {
        let layout = self.layout.clone();
        let is_counted = self.missing.is_some();
        let missing = self.missing.get_or_insert_with(|| count_missing(&layout, have));
        let mut complete = Vec::new();
        for span in layout.file_spans(piece, 0, layout.piece_len(piece)).filter(|span| !span.is_pad) {
            let lacks = &mut missing[span.file.as_usize()];
            // A first count has taken this piece into account.
            *lacks = lacks.saturating_sub(u32::from(is_counted));
            if *lacks == 0 && self.wanted.get(span.file.0) && self.told.set(span.file.0) {
                complete.push(span.file);
            }
        }
        complete
    }

    /// Pieces are not there any more: their files will be complete another time.
    pub(super) fn lost(&mut self, pieces: impl IntoIterator<Item = PieceIndex>) {
        self.missing = None;
        for piece in pieces {
            for span in self.layout.file_spans(piece, 0, self.layout.piece_len(piece)) {
                self.told.clear(span.file.0);
            }
        }
    }

    /// Pieces were found that nobody fetched: files that are complete with them.
    pub(super) fn found(&mut self, have: &Bitfield) -> Vec<FileIndex> {
        self.missing = None;
        self.take_news(have, Empty::Missing)
    }

    /// Other files are wanted: those of them that are complete already.
    pub(super) fn selected(&mut self, wanted: Bitfield, have: &Bitfield) -> Vec<FileIndex> {
        self.wanted = wanted;
        self.take_news(have, Empty::Missing)
    }

    /// The last touches are put: files without a byte are there.
    pub(super) fn finished(&mut self, have: &Bitfield) -> Vec<FileIndex> {
        self.take_news(have, Empty::There)
    }

    /// Nothing comes for a while.
    pub(super) fn rest(&mut self) {
        self.missing = None;
    }

    pub(super) fn wanted(&self) -> &Bitfield {
        &self.wanted
    }

    /// Wanted files that are complete and were not told.
    fn take_news(&mut self, have: &Bitfield, empty: Empty) -> Vec<FileIndex> {
        let mut news = Vec::new();
        for file in self.wanted.iter_and_not(&self.told).map(FileIndex) {
            let is_empty = self.layout.file_len(file) == 0;
            let is_complete =
                if is_empty { empty == Empty::There } else { lacks(&self.layout, file, have) == 0 };
            if is_complete && !self.layout.is_pad(file) {
                news.push(file);
            }
        }
        for file in &news {
            self.told.set(file.0);
        }
        news
    }
}

/// Whether files without a byte have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    There,
    Missing,
}

/// How every file stands, in the torrent's order.
pub(super) fn statuses(layout: &Layout, have: &Bitfield, wanted: &Bitfield) -> Vec<FileStatus> {
    let status = |file| FileStatus {
        file,
        length: layout.file_len(file),
        verified: verified(layout, file, have),
        wanted: wanted.get(file.0),
        is_pad: layout.is_pad(file),
    };
    layout.files().map(status).collect()
}

/// Bytes of a file that lie in pieces that are there.
fn verified(layout: &Layout, file: FileIndex, have: &Bitfield) -> u64 {
    let (range, length) = (layout.file_range(file), u64::from(layout.piece_length()));
    let bytes = |piece: u32| {
        let begin = u64::from(piece) * length;
        range.end.min(begin + length) - range.start.max(begin)
    };
    layout.file_pieces(file).filter(|piece| have.get(*piece)).map(bytes).sum()
}

fn count_missing(layout: &Layout, have: &Bitfield) -> Vec<u32> {
    layout.files().map(|file| lacks(layout, file, have)).collect()
}

/// Pieces of a file that are not there.
fn lacks(layout: &Layout, file: FileIndex, have: &Bitfield) -> u32 {
    let missing = layout.file_pieces(file).filter(|piece| !have.get(*piece)).count();
    u32::try_from(missing).unwrap_or(u32::MAX)
}

fn count(layout: &Layout) -> u32 {
    u32::try_from(layout.file_count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ferri_metainfo::Version;

    use super::*;

    const PIECE: u64 = 16 << 10;

    /// Seven pieces: `a` shares its second one with `b`, `c` and the padding, and `d` and `e` lie in one.
    fn layout() -> Layout {
        let files = [
            (PIECE + 5, false),
            (0, false),
            (7, false),
            (PIECE - 12, true),
            (2 * PIECE, false),
            (PIECE - 9, false),
            (9, false),
            (PIECE + 1, false),
        ];
        Layout::new(Version::V1, PIECE as u32, files).unwrap()
    }

    fn bits(len: u32, ones: &[u32]) -> Bitfield {
        let mut bits = Bitfield::new(len);
        for one in ones {
            bits.set(*one);
        }
        bits
    }

    fn numbers(files: &[FileIndex]) -> Vec<u32> {
        files.iter().map(|file| file.0).collect()
    }

    /// What is told while pieces come in this order.
    fn told(had: &[u32], wanted: &[u32], order: &[u32]) -> Vec<(u32, Vec<u32>)> {
        let layout = layout();
        let mut have = bits(layout.piece_count(), had);
        let mut files = Files::new(layout.clone(), &have, bits(count(&layout), wanted), false);
        let mut told = Vec::new();
        for piece in order {
            have.set(*piece);
            let complete = files.piece(layout.piece(*piece).unwrap(), &have);
            if !complete.is_empty() {
                told.push((*piece, numbers(&complete)));
            }
        }
        told
    }

    #[test]
    fn a_file_is_told_when_its_last_piece_comes_and_only_then() {
        let all = [0, 1, 2, 3, 4, 5, 6, 7];
        for (had, wanted, order, expected) in [
            // From the first to the last, and backwards.
            (
                &[][..],
                &all[..],
                &[0, 1, 2, 3, 4, 5, 6][..],
                &[(1, vec![0, 2]), (3, vec![4]), (4, vec![5, 6]), (6, vec![7])][..],
            ),
            (
                &[],
                &all,
                &[6, 5, 4, 3, 2, 1, 0],
                &[(5, vec![7]), (4, vec![5, 6]), (2, vec![4]), (1, vec![2]), (0, vec![0])],
            ),
            // What was there is counted and not told.
            (&[0, 2, 3, 4], &all, &[1, 6, 5], &[(1, vec![0, 2]), (5, vec![7])]),
            (&[0, 1, 2, 3, 4, 5, 6], &all, &[], &[]),
            // Nobody wants `a`, whose last bytes come with `b`.
            (&[0], &[2, 4], &[1, 2, 3], &[(1, vec![2]), (3, vec![4])]),
            (&[], &[], &[0, 1, 2, 3, 4, 5, 6], &[]),
        ] {
            assert_eq!(told(had, wanted, order), expected, "{had:?} {wanted:?} {order:?}");
        }
    }

    #[test]
    fn what_becomes_wanted_and_is_there_is_told_then() {
        let layout = layout();
        let have = bits(7, &[0, 1, 2]);
        let mut files = Files::new(layout.clone(), &have, bits(8, &[2]), false);
        assert_eq!(numbers(&files.selected(bits(8, &[0, 1, 2, 3, 4]), &have)), [0]);
        assert_eq!(numbers(&files.selected(bits(8, &[2]), &have)), [0; 0]);
        assert_eq!(numbers(&files.selected(bits(8, &[0, 2]), &have)), [0; 0], "once is enough");
    }

    #[test]
    fn files_without_a_byte_are_told_with_the_last_touches() {
        let (layout, all) = (layout(), bits(7, &[0, 1, 2, 3, 4, 5, 6]));
        let mut files = Files::new(layout.clone(), &all, bits(8, &[0, 1]), false);
        assert_eq!(numbers(&files.finished(&all)), [1]);
        assert_eq!(numbers(&files.finished(&all)), [0; 0]);
        let mut files = Files::new(layout, &all, bits(8, &[0, 1]), true);
        assert_eq!(numbers(&files.finished(&all)), [0; 0], "the last run put them");
    }

    #[test]
    fn a_file_that_was_lost_is_complete_another_time() {
        let layout = layout();
        let mut have = bits(7, &[0, 2, 3, 4, 5, 6]);
        let mut files = Files::new(layout.clone(), &have, bits(8, &[0, 2, 4, 5, 6, 7]), false);
        let piece = |piece| layout.piece(piece).unwrap();
        have.set(1);
        assert_eq!(numbers(&files.piece(piece(1), &have)), [0, 2]);
        have.clear(0);
        have.clear(4);
        files.lost([piece(0), piece(4)]);
        have.set(4);
        assert_eq!(numbers(&files.piece(piece(4), &have)), [5, 6]);
        files.rest();
        have.set(0);
        assert_eq!(numbers(&files.piece(piece(0), &have)), [0]);
    }

    #[test]
    fn bytes_count_where_their_pieces_are_there() {
        let layout = layout();
        let wanted = bits(8, &[0, 1]);
        for (have, expected) in [
            (&[][..], [0, 0, 0, 0, 0, 0, 0, 0]),
            (&[0], [PIECE, 0, 0, 0, 0, 0, 0, 0]),
            (&[1], [5, 0, 7, PIECE - 12, 0, 0, 0, 0]),
            (&[2, 4, 6], [0, 0, 0, 0, PIECE, PIECE - 9, 9, 1]),
            (&[0, 1, 2, 3, 4, 5, 6], [PIECE + 5, 0, 7, PIECE - 12, 2 * PIECE, PIECE - 9, 9, PIECE + 1]),
        ] {
            let statuses = statuses(&layout, &bits(7, have), &wanted);
            assert_eq!(statuses.iter().map(|status| status.verified).collect::<Vec<_>>(), expected);
        }
        let statuses = statuses(&layout, &bits(7, &[]), &wanted);
        assert_eq!(statuses.iter().filter(|status| status.wanted).count(), 2);
        assert!(statuses[1].is_complete() && !statuses[0].is_complete() && statuses[3].is_pad);
    }

    #[test]
    fn files_of_version_2_begin_with_a_piece() {
        let layout = Layout::new(Version::V2, PIECE as u32, [(5, false), (PIECE + 5, false)]).unwrap();
        let statuses = statuses(&layout, &bits(3, &[0, 2]), &bits(2, &[0, 1]));
        assert_eq!(statuses.iter().map(|status| status.verified).collect::<Vec<_>>(), [5, 5]);
    }
}
