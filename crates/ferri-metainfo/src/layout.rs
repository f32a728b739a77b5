//! Where bytes are: files, pieces and blocks of one torrent, for v1, v2 and hybrid alike.
//!
//! [`Layout`] is the only maker of [`PieceIndex`] and [`Block`], so one that you hold lies inside its torrent.
//! It knows lengths and order, not names or hashes.
//!
//! In v1 (BEP 3) and hybrid torrents the files follow each other without gaps, padding files (BEP 47) included. In v2
//! (BEP 52) each file that is not empty begins with a new piece and its last piece is as short as the file makes it.

use std::ops::Range;
use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::limits::{
    BLOCK_LENGTH, FILES_MAX, MAX_BLOCK_LENGTH, PIECE_LENGTH_MAX, PIECE_LENGTH_MIN, PIECE_LENGTH_MIN_V1,
    PIECES_MAX, TOTAL_LENGTH_MAX,
};

/// Which rules a torrent follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Version {
    /// BEP 3.
    V1,
    /// BEP 52 alone.
    V2,
    /// Both at once, over the same bytes.
    Hybrid,
}

impl Version {
    /// Whether there is a v1 side: SHA-1 hashes of pieces.
    pub fn has_v1(self) -> bool {
        matches!(self, Self::V1 | Self::Hybrid)
    }

    /// Whether there is a v2 side: a Merkle tree for each file.
    pub fn has_v2(self) -> bool {
        matches!(self, Self::V2 | Self::Hybrid)
    }
}

/// A piece of the torrent whose [`Layout`] made it. Counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number on the wire.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The same, for slices.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<PieceIndex> for u32 {
    fn from(piece: PieceIndex) -> Self {
        piece.0
    }
}

/// A run of bytes inside one piece: what is requested and sent. Never empty, 128 KiB at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    piece: PieceIndex,
    begin: u32,
    length: u32,
}

impl Block {
    /// The piece it lies in.
    pub fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Its first byte, counted from the start of the piece.
    pub fn begin(self) -> u32 {
        self.begin
    }

    /// Its bytes.
    pub fn length(self) -> u32 {
        self.length
    }

    /// The byte behind its last, counted from the start of the piece.
    pub fn end(self) -> u32 {
        self.begin + self.length
    }
}

/// A file of a torrent, padding included. Counted from 0 in the order of the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIndex(pub u32);

impl FileIndex {
    /// The same, for slices.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// A part of a piece that lies in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSpan {
    /// The file.
    pub file: FileIndex,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes, never 0.
    pub length: u64,
    /// The bytes are zeros by definition and are not kept (BEP 47).
    pub is_pad: bool,
}

/// Why lengths make no torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Outside of what we take, see [`limits`](crate::limits).
    #[error(
        "a piece length of {0} bytes, but it must be from {PIECE_LENGTH_MIN_V1} (version 2: {PIECE_LENGTH_MIN}) to {PIECE_LENGTH_MAX}"
    )]
    PieceLength(u64),
    /// BEP 52 wants a power of two.
    #[error("a piece length of {0}, but version 2 wants a power of two")]
    NotPowerOfTwo(u32),
    /// More than [`FILES_MAX`].
    #[error("more than {FILES_MAX} files")]
    TooManyFiles,
    /// More than [`PIECES_MAX`].
    #[error("{0} pieces, but at most {PIECES_MAX} are taken")]
    TooManyPieces(u64),
    /// The sum of the lengths passes 2^63 - 1.
    #[error("the lengths of the files add up to more than 2^63 bytes")]
    TooLong,
    /// Not one byte in all files.
    #[error("there is nothing in it: no file has a byte")]
    Empty,
}

/// The geometry of a torrent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Layout(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: Version,
    piece_length: u32,
    piece_count: u32,
    /// Payload: the sum of all files, and of all pieces.
    total_length: u64,
    /// Where each file ends in piece space. Ascending. A file that ends where its predecessor does is empty.
    ends: Vec<u64>,
    /// Which files are padding. Of length 0 when none is.
    pads: Bitfield,
}

impl Layout {
    /// From the files in order: their lengths, and whether they are padding.
    ///
    /// # Errors
    /// Lengths that pass the [`limits`](crate::limits) or make no torrent. Nothing is allocated for more than
    /// [`FILES_MAX`] files.
    pub fn new(
        version: Version,
        piece_length: u32,
        files: impl IntoIterator<Item = (u64, bool)>,
    ) -> Result<Self, LayoutError> {
        let files = files.into_iter();
        let mut builder = LayoutBuilder::new(version, piece_length, files.size_hint().0)?;
        for (length, is_pad) in files {
            builder.push(length, is_pad)?;
        }
        builder.finish()
    }

    /// One file of `total` bytes, by the rules of v1.
    ///
    /// # Errors
    /// As for [`Layout::new`].
    pub fn single(piece_length: u32, total: u64) -> Result<Self, LayoutError> {
        Self::new(Version::V1, piece_length, [(total, false)])
    }

    /// The rules it follows.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// How many pieces there are; at least 1.
    pub fn piece_count(&self) -> u32 {
        self.0.piece_count
    }

    /// Bytes of a full piece. Some pieces are shorter, see [`Layout::piece_len`].
    pub fn piece_length(&self) -> u32 {
        self.0.piece_length
    }

    /// Bytes of all files together, padding included: the sum of all pieces.
    pub fn total_length(&self) -> u64 {
        self.0.total_length
    }

    /// `None` unless the torrent has that piece.
    pub fn piece(&self, index: u32) -> Option<PieceIndex> {
        (index < self.0.piece_count).then_some(PieceIndex(index))
    }

    /// Every piece, ascending.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.0.piece_count as usize).map(|index| PieceIndex(index as u32))
    }

    /// Bytes of this piece, from 1 to [`Layout::piece_length`].
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        let start = self.piece_start(piece);
        let limit = match self.0.version {
            // The piece ends with the one file it belongs to.
            Version::V2 => self.0.ends[self.file_at(start)],
            Version::V1 | Version::Hybrid => self.0.ends.last().copied().unwrap_or(0),
        };
        let left = limit.saturating_sub(start).min(u64::from(self.0.piece_length));
        u32::try_from(left).expect("a piece length is a u32")
    }

    /// `None` unless the block lies inside one piece of this torrent, has a byte and is not above
    /// [`MAX_BLOCK_LENGTH`].
    pub fn block(&self, piece: u32, begin: u32, length: u32) -> Option<Block> {
        let piece = self.piece(piece)?;
        let end = begin.checked_add(length)?;
        (0 < length && length <= MAX_BLOCK_LENGTH && end <= self.piece_len(piece)).then_some(Block {
            piece,
            begin,
            length,
        })
    }

    /// How many blocks of 16 KiB this piece has; the last may be shorter.
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_LENGTH)
    }

    /// A block of this piece by its place on the 16 KiB grid.
    pub fn nth_block(&self, piece: PieceIndex, n: u32) -> Option<Block> {
        let begin = n.checked_mul(BLOCK_LENGTH)?;
        let left = self.piece_len(piece).checked_sub(begin).filter(|left| *left != 0)?;
        Some(Block { piece, begin, length: left.min(BLOCK_LENGTH) })
    }

    /// The blocks of this piece on the 16 KiB grid, ascending.
    pub fn blocks(&self, piece: PieceIndex) -> impl Iterator<Item = Block> + use<> {
        let length = self.piece_len(piece);
        (0..length.div_ceil(BLOCK_LENGTH)).map(move |n| {
            let begin = n * BLOCK_LENGTH;
            Block { piece, begin, length: (length - begin).min(BLOCK_LENGTH) }
        })
    }

    /// How many files there are, padding included; at least 1.
    pub fn file_count(&self) -> usize {
        self.0.ends.len()
    }

    /// Every file, padding included, in order.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = FileIndex> + ExactSizeIterator + use<> {
        (0..self.0.ends.len()).map(|index| FileIndex(index as u32))
    }

    /// Bytes of this file. 0 for an index that the torrent does not have.
    pub fn file_len(&self, file: FileIndex) -> u64 {
        let range = self.file_range(file);
        range.end - range.start
    }

    /// Whether this file is padding (BEP 47).
    pub fn is_pad(&self, file: FileIndex) -> bool {
        self.0.pads.get(file.0)
    }

    /// Where this file lies in piece space: piece `n` begins at `n` times [`Layout::piece_length`]. Empty for an index
    /// that the torrent does not have.
    pub fn file_range(&self, file: FileIndex) -> Range<u64> {
        let Some(&end) = self.0.ends.get(file.as_usize()) else { return 0..0 };
        let before = file.as_usize().checked_sub(1).map_or(0, |index| self.0.ends[index]);
        let start = match self.0.version {
            Version::V2 if before != end => before.next_multiple_of(u64::from(self.0.piece_length)),
            _ => before,
        };
        start..end
    }

    /// The pieces that hold a byte of this file. Empty for an empty file.
    pub fn file_pieces(&self, file: FileIndex) -> Range<u32> {
        let range = self.file_range(file);
        let length = u64::from(self.0.piece_length);
        let narrow = |piece: u64| u32::try_from(piece).expect("no more pieces than PIECES_MAX");
        let first = narrow(range.start / length);
        if range.is_empty() { first..first } else { first..narrow(range.end.div_ceil(length)) }
    }

    /// Where `length` bytes of a piece lie, from `begin` on, in order. What reaches beyond the piece is left out.
    pub fn file_spans(&self, piece: PieceIndex, begin: u32, length: u32) -> FileSpans<'_> {
        let piece_len = self.piece_len(piece);
        let begin = begin.min(piece_len);
        let at = self.piece_start(piece) + u64::from(begin);
        let end = at + u64::from(length.min(piece_len - begin));
        let file = if at < end { self.file_at(at) } else { 0 };
        FileSpans { layout: self, file, at, end }
    }

    /// The spans of a block.
    pub fn block_spans(&self, block: Block) -> FileSpans<'_> {
        self.file_spans(block.piece, block.begin, block.length)
    }

    fn piece_start(&self, piece: PieceIndex) -> u64 {
        assert!(
            piece.0 < self.0.piece_count,
            "piece {piece} of a torrent with {} pieces",
            self.0.piece_count
        );
        u64::from(piece.0) * u64::from(self.0.piece_length)
    }

    /// The file that holds the byte at `at`, which is inside of one.
    fn file_at(&self, at: u64) -> usize {
        self.0.ends.partition_point(|end| *end <= at)
    }
}

/// A [`Layout`] to which files are added one by one.
#[derive(Debug)]
pub(crate) struct LayoutBuilder {
    version: Version,
    piece_length: u32,
    total_length: u64,
    ends: Vec<u64>,
    /// Which files are padding, ascending.
    padding: Vec<u32>,
}

impl LayoutBuilder {
    /// Checks the piece length and makes room for as many files.
    pub(crate) fn new(version: Version, piece_length: u32, files: usize) -> Result<Self, LayoutError> {
        let least = if version.has_v2() { PIECE_LENGTH_MIN } else { PIECE_LENGTH_MIN_V1 };
        if !(least..=PIECE_LENGTH_MAX).contains(&piece_length) {
            return Err(LayoutError::PieceLength(u64::from(piece_length)));
        }
        if version.has_v2() && !piece_length.is_power_of_two() {
            return Err(LayoutError::NotPowerOfTwo(piece_length));
        }
        let ends = Vec::with_capacity(files.min(FILES_MAX));
        Ok(Self { version, piece_length, total_length: 0, ends, padding: Vec::new() })
    }

    /// Whether a next file of this length would do what padding does in a v1 torrent: begin inside a piece and end with it.
    pub(crate) fn fills_piece(&self, length: u64) -> bool {
        let piece_length = u64::from(self.piece_length);
        let begin = self.ends.last().copied().unwrap_or(0) % piece_length;
        begin != 0 && length == piece_length - begin
    }

    /// The next file.
    pub(crate) fn push(&mut self, length: u64, is_pad: bool) -> Result<(), LayoutError> {
        if self.ends.len() == FILES_MAX {
            return Err(LayoutError::TooManyFiles);
        }
        let end = self.ends.last().copied().unwrap_or(0);
        let start = match self.version {
            Version::V2 if length != 0 => end.next_multiple_of(u64::from(self.piece_length)),
            _ => end,
        };
        let end =
            start.checked_add(length).filter(|end| *end <= TOTAL_LENGTH_MAX).ok_or(LayoutError::TooLong)?;
        self.total_length += length;
        if is_pad {
            self.padding.push(narrow(self.ends.len()));
        }
        self.ends.push(end);
        Ok(())
    }

    /// Checks the whole.
    pub(crate) fn finish(self) -> Result<Layout, LayoutError> {
        let Self { version, piece_length, total_length, ends, padding } = self;
        let end = ends.last().copied().unwrap_or(0);
        if end == 0 {
            return Err(LayoutError::Empty);
        }
        let pieces = end.div_ceil(u64::from(piece_length));
        let piece_count = u32::try_from(pieces).ok().filter(|count| *count <= PIECES_MAX);
        let piece_count = piece_count.ok_or(LayoutError::TooManyPieces(pieces))?;
        let mut pads = Bitfield::new(if padding.is_empty() { 0 } else { narrow(ends.len()) });
        for file in padding {
            pads.set(file);
        }
        Ok(Layout(Arc::new(Inner { version, piece_length, piece_count, total_length, ends, pads })))
    }
}

/// A file's number.
fn narrow(file: usize) -> u32 {
    u32::try_from(file).expect("no more files than FILES_MAX")
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        a.version == b.version && a.piece_length == b.piece_length && a.ends == b.ends && a.pads == b.pads
    }
}

impl Eq for Layout {}

/// The parts of a run of bytes, file by file. Made by [`Layout::file_spans`].
#[derive(Clone, Debug)]
pub struct FileSpans<'a> {
    layout: &'a Layout,
    /// The file that holds the byte at `at`, if any is left.
    file: usize,
    at: u64,
    end: u64,
}

impl Iterator for FileSpans<'_> {
    type Item = FileSpan;

    fn next(&mut self) -> Option<FileSpan> {
        if self.at == self.end {
            return None;
        }
        let ends = &self.layout.0.ends;
        if ends[self.file] <= self.at {
            // Usually the next file; a crowd of empty ones is jumped over.
            self.file += 1;
            if ends[self.file] <= self.at {
                self.file += ends[self.file..].partition_point(|end| *end <= self.at);
            }
        }
        let file = FileIndex(narrow(self.file));
        let range = self.layout.file_range(file);
        let length = range.end.min(self.end) - self.at;
        let span = FileSpan { file, offset: self.at - range.start, length, is_pad: self.layout.is_pad(file) };
        self.at += length;
        Some(span)
    }
}

/// As what [`Layout::new`] takes, through which it comes back.
#[cfg(feature = "serde")]
mod serde_impls {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::{Layout, Version};

    #[derive(Serialize, Deserialize)]
    struct Written {
        version: Version,
        piece_length: u32,
        files: Vec<(u64, bool)>,
    }

    impl Serialize for Layout {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let files = self.files().map(|file| (self.file_len(file), self.is_pad(file))).collect();
            Written { version: self.version(), piece_length: self.piece_length(), files }
                .serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Layout {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let written = Written::deserialize(deserializer)?;
            Self::new(written.version, written.piece_length, written.files).map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const K16: u32 = 16 << 10;

    fn files(version: Version, lengths: &[u64]) -> Result<Layout, LayoutError> {
        Layout::new(version, K16, lengths.iter().map(|length| (*length, false)))
    }

    #[test]
    fn lengths_that_make_no_torrent_are_refused() {
        let length = |length| Err(LayoutError::PieceLength(u64::from(length)));
        for piece_length in [0, (512 << 20) + 1, 1 << 30, u32::MAX] {
            assert_eq!(Layout::single(piece_length, 1), length(piece_length));
        }
        for piece_length in [1, 15 << 10, K16 - 1] {
            assert_eq!(Layout::new(Version::V2, piece_length, [(1, false)]), length(piece_length));
        }
        for piece_length in [1, 999, 15 << 10, K16, K16 + 1, 512 << 20] {
            assert!(Layout::single(piece_length, 1).is_ok());
        }
        let odd = Layout::new(Version::V2, K16 + 1, [(1, false)]);
        assert_eq!(odd, Err(LayoutError::NotPowerOfTwo(K16 + 1)));
        assert_eq!(files(Version::V1, &[]), Err(LayoutError::Empty));
        assert_eq!(files(Version::V1, &[0, 0]), Err(LayoutError::Empty));
        for version in [Version::V1, Version::V2, Version::Hybrid] {
            assert_eq!(files(version, &[u64::MAX]), Err(LayoutError::TooLong));
            assert_eq!(files(version, &[1 << 62, 1 << 62]), Err(LayoutError::TooLong));
            assert_eq!(files(version, &[u64::MAX >> 1, 1]), Err(LayoutError::TooLong));
        }
        let most = u64::from(K16) * u64::from(PIECES_MAX);
        assert_eq!(files(Version::V1, &[most]).unwrap().piece_count(), PIECES_MAX);
        assert_eq!(
            files(Version::V1, &[most, 1]),
            Err(LayoutError::TooManyPieces(u64::from(PIECES_MAX) + 1))
        );
        assert_eq!(files(Version::V1, &[1 << 62]), Err(LayoutError::TooManyPieces(1 << 48)));
        let endless = std::iter::repeat((0, false));
        assert_eq!(Layout::new(Version::V1, K16, endless), Err(LayoutError::TooManyFiles));
    }

    #[test]
    fn v1_files_follow_each_other_and_v2_files_begin_with_a_piece() {
        let v1 = files(Version::V1, &[10, 0, 20_000, 5]).unwrap();
        assert_eq!((v1.piece_count(), v1.total_length()), (2, 20_015));
        let lens: Vec<_> = v1.pieces().map(|piece| v1.piece_len(piece)).collect();
        assert_eq!(lens, [16_384, 3_631]);
        let ranges: Vec<_> = v1.files().map(|file| v1.file_range(file)).collect();
        assert_eq!(ranges, [0..10, 10..10, 10..20_010, 20_010..20_015]);
        let pieces: Vec<_> = v1.files().map(|file| v1.file_pieces(file)).collect();
        assert_eq!(pieces, [0..1, 0..0, 0..2, 1..2]);

        let v2 = files(Version::V2, &[10, 0, 20_000, 5]).unwrap();
        assert_eq!((v2.piece_count(), v2.total_length()), (4, 20_015));
        let lens: Vec<_> = v2.pieces().map(|piece| v2.piece_len(piece)).collect();
        assert_eq!(lens, [10, 16_384, 3_616, 5]);
        let pieces: Vec<_> = v2.files().map(|file| v2.file_pieces(file)).collect();
        assert_eq!(pieces, [0..1, 0..0, 1..3, 3..4]);
        assert_eq!(v2.files().map(|file| v2.file_len(file)).collect::<Vec<_>>(), [10, 0, 20_000, 5]);
    }

    #[test]
    fn padding_is_marked_in_its_spans() {
        let layout = Layout::new(Version::Hybrid, K16, [(10, false), (16_374, true), (7, false)]).unwrap();
        let spans: Vec<_> = layout.file_spans(layout.piece(0).unwrap(), 5, 16_379).collect();
        let span = |file, offset, length, is_pad| FileSpan { file: FileIndex(file), offset, length, is_pad };
        assert_eq!(spans, [span(0, 5, 5, false), span(1, 0, 16_374, true)]);
        assert_eq!(layout.files().filter(|file| layout.is_pad(*file)).count(), 1);
    }

    #[test]
    fn a_block_lies_inside_its_piece_or_is_none() {
        let layout = Layout::single(4 * K16, 10 * u64::from(K16) + 100).unwrap();
        let is = |piece, begin, length| layout.block(piece, begin, length).is_some();
        assert!(is(0, 0, K16) && is(0, 1, 1) && is(0, 0, 4 * K16) && is(2, 2 * K16, 100));
        assert!(!is(0, 0, 0) && !is(0, 1, 4 * K16) && !is(3, 0, 1) && !is(u32::MAX, 0, 1));
        assert!(!is(2, 2 * K16, 101) && !is(0, u32::MAX, 1) && !is(0, 1, u32::MAX) && !is(0, 4 * K16, 1));
        let large = Layout::single(PIECE_LENGTH_MAX, 1 << 40).unwrap();
        assert!(large.block(0, 0, MAX_BLOCK_LENGTH).is_some());
        assert!(large.block(0, 0, MAX_BLOCK_LENGTH + 1).is_none());
    }

    #[test]
    fn a_crowd_of_empty_files_costs_nothing_to_pass() {
        let crowd = std::iter::repeat_n((0, false), FILES_MAX - 2);
        let files = std::iter::once((8, false)).chain(crowd).chain([(8, false)]);
        let layout = Layout::new(Version::V1, K16, files).unwrap();
        let piece = layout.piece(0).unwrap();
        for _ in 0..10_000 {
            let spans: Vec<_> = layout.file_spans(piece, 0, 16).map(|span| span.file.0).collect();
            assert_eq!(spans, [0, FILES_MAX as u32 - 1]);
        }
    }

    fn any_layout() -> impl Strategy<Value = (Layout, Vec<u64>)> {
        let length = prop_oneof![Just(0_u64), 1..100_u64, Just(u64::from(K16)), 0..200_000_u64];
        let version = prop_oneof![Just(Version::V1), Just(Version::V2), Just(Version::Hybrid)];
        let piece_length = prop_oneof![Just(K16), Just(2 * K16), Just(8 * K16)];
        (version, piece_length, prop::collection::vec((length, any::<bool>()), 1..12)).prop_filter_map(
            "nothing in it",
            |(version, piece_length, files)| {
                let lengths = files.iter().map(|(length, _)| *length).collect();
                Layout::new(version, piece_length, files).ok().map(|layout| (layout, lengths))
            },
        )
    }

    proptest! {
        #[test]
        fn spans_of_all_pieces_cover_all_files_exactly((layout, lengths) in any_layout()) {
            let mut reached = vec![0; lengths.len()];
            for piece in layout.pieces() {
                let mut covered = 0;
                for span in layout.file_spans(piece, 0, u32::MAX) {
                    let file = span.file.as_usize();
                    prop_assert_eq!(span.offset, reached[file], "in order, without gaps");
                    prop_assert!(0 < span.length);
                    prop_assert!(layout.file_pieces(span.file).contains(&piece.get()));
                    prop_assert_eq!(span.is_pad, layout.is_pad(span.file));
                    reached[file] += span.length;
                    covered += span.length;
                }
                prop_assert_eq!(covered, u64::from(layout.piece_len(piece)));
                prop_assert!(0 < covered && covered <= u64::from(layout.piece_length()));
            }
            prop_assert_eq!(&reached, &lengths);
            prop_assert_eq!(layout.total_length(), lengths.iter().sum::<u64>());
            for (file, length) in layout.files().zip(&lengths) {
                prop_assert_eq!(layout.file_len(file), *length);
            }
        }

        #[test]
        fn blocks_tile_their_piece((layout, _) in any_layout()) {
            for piece in layout.pieces() {
                let mut end = 0;
                let mut pieces = Vec::new();
                for (n, block) in layout.blocks(piece).enumerate() {
                    prop_assert_eq!(Some(block), layout.nth_block(piece, n as u32));
                    prop_assert_eq!(Some(block), layout.block(piece.get(), block.begin(), block.length()));
                    prop_assert_eq!(block.begin(), end);
                    end = block.end();
                    pieces.extend(layout.block_spans(block));
                }
                prop_assert_eq!(end, layout.piece_len(piece));
                let count = layout.block_count(piece);
                prop_assert_eq!(layout.blocks(piece).count(), count as usize);
                prop_assert_eq!(layout.nth_block(piece, count), None);
                prop_assert_eq!(layout.nth_block(piece, u32::MAX), None);
                let whole: u64 = pieces.iter().map(|span| span.length).sum();
                prop_assert_eq!(whole, u64::from(end));
            }
        }

        #[test]
        fn a_part_of_a_piece_is_that_part_of_its_spans(
            (layout, _) in any_layout(), begin in 0..200_000_u32, length in 0..200_000_u32,
        ) {
            for piece in layout.pieces() {
                let part: u64 = layout.file_spans(piece, begin, length).map(|span| span.length).sum();
                let left = layout.piece_len(piece).saturating_sub(begin);
                prop_assert_eq!(part, u64::from(left.min(length)));
                for span in layout.file_spans(piece, begin, length) {
                    prop_assert!(span.offset + span.length <= layout.file_len(span.file));
                }
            }
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_written_as_what_it_is_made_from() {
        let layout = Layout::new(Version::Hybrid, K16, [(10, false), (16_374, true), (7, false)]).unwrap();
        let text = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), layout);
        let empty = r#"{"version":"v1","piece_length":16384,"files":[[0,false]]}"#;
        assert!(serde_json::from_str::<Layout>(empty).is_err());
    }
}
