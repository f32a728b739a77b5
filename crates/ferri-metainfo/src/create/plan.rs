//! The order of the files and where the pieces lie in them.

use ferri_hash::{Sha1, Stripes};

use super::hasher::{PieceHash, PieceHasher};
use super::{Builder, Content, CreateError, NewFile, piece_length_for};
use crate::Version;
use crate::limits::{BLOCK_LENGTH, FILES_MAX, PIECE_LENGTH_MAX_MADE, PIECES_MAX, TOTAL_LENGTH_MAX};

/// A checked [`Builder`] with its geometry: what to read for which piece. Immutable, so that threads can share it.
#[derive(Debug)]
pub struct Plan {
    pub(super) builder: Builder,
    pub(super) piece_length: u32,
    /// Sorted by path. For a single file the path is the torrent's name.
    pub(super) files: Vec<PlannedFile>,
    /// Indices into `files` of those that have bytes; so their starts are strictly ascending.
    full: Vec<u32>,
    piece_count: u32,
    total_length: u64,
}

/// A file and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// The file as the builder had it.
    pub file: NewFile,
    /// Its first byte in the space of pieces: `start / piece_length` is its first piece.
    pub start: u64,
}

/// A run of bytes to read for a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Index into [`Plan::files`].
    pub file: usize,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes, at least one.
    pub length: u64,
}

impl Plan {
    pub(super) fn new(mut builder: Builder) -> Result<Self, CreateError> {
        let mut files = match &mut builder.content {
            Content::File { length, executable } => {
                let file = NewFile::new(vec![builder.name.clone()], *length);
                vec![NewFile { executable: *executable, ..file }]
            }
            Content::Folder(files) => std::mem::take(files),
        };
        // Components compare as bytes, which is the order of the dictionaries in a v2 file tree.
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let total_length = files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.length));
        let total_length = total_length.filter(|&sum| sum <= TOTAL_LENGTH_MAX).ok_or(CreateError::TooLong)?;
        if total_length == 0 {
            return Err(CreateError::Empty);
        }
        let aligned = builder.version.has_v2();
        let piece_length =
            builder.piece_length.map_or_else(|| automatic_piece_length(&files, total_length, aligned), Ok)?;
        let piece_count = count_pieces(&files, piece_length, aligned)?;
        let piece_count = u32::try_from(piece_count)
            .ok()
            .filter(|&count| count <= PIECES_MAX)
            .ok_or(CreateError::TooManyPieces { count: piece_count, piece_length })?;
        let mut start = 0;
        let files: Vec<_> = files
            .into_iter()
            .map(|file| {
                if aligned && file.length != 0 {
                    start = u64::next_multiple_of(start, u64::from(piece_length));
                }
                let planned = PlannedFile { start, file };
                start += planned.file.length;
                planned
            })
            .collect();
        let full =
            (0_u32..).zip(&files).filter(|(_, planned)| planned.file.length != 0).map(|(at, _)| at).collect();
        let plan = Self { builder, piece_length, files, full, piece_count, total_length };
        let listed = plan.files.len() + plan.pads().count();
        if FILES_MAX < listed { Err(CreateError::TooManyFiles(listed)) } else { Ok(plan) }
    }

    /// The version being made.
    #[must_use]
    pub fn version(&self) -> Version {
        self.builder.version
    }

    /// The files in the order in which they are in the torrent, and in which [`super::Hasher::feed`] wants their
    /// bytes.
    #[must_use]
    pub fn files(&self) -> &[PlannedFile] {
        &self.files
    }

    /// Bytes a piece.
    #[must_use]
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// How many pieces are to be hashed.
    #[must_use]
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Bytes to be read: all files, without padding.
    #[must_use]
    pub fn total_length(&self) -> u64 {
        self.total_length
    }

    /// What to read for a piece, in this order; nothing for a piece that is not there. In v2 and hybrid it is
    /// always one span.
    pub fn spans(&self, piece: u32) -> impl Iterator<Item = Span> + '_ {
        let begin = u64::from(piece) * u64::from(self.piece_length);
        let end = begin + u64::from(self.piece_length);
        let first = self.full.partition_point(|&at| {
            let file = &self.files[at as usize];
            file.start + file.file.length <= begin
        });
        self.full[first..].iter().map_while(move |&at| {
            let file = &self.files[at as usize];
            let from = file.start.max(begin);
            let to = (file.start + file.file.length).min(end);
            (from < to).then(|| Span { file: at as usize, offset: from - file.start, length: to - from })
        })
    }

    /// Bytes of a piece without padding; 0 for a piece that is not there.
    #[must_use]
    pub fn piece_bytes(&self, piece: u32) -> u32 {
        let sum = self.spans(piece).map(|span| span.length).sum::<u64>();
        u32::try_from(sum).expect("a piece is no longer than the piece length")
    }

    /// Hashes one piece: `bytes` are those of its [`Plan::spans`] one after the other.
    ///
    /// # Errors
    /// When there is no such piece, or the bytes are not as many as it has.
    pub fn hash_piece(&self, piece: u32, bytes: &[u8]) -> Result<PieceHash, CreateError> {
        let mut hashes = self.hash_pieces(&[(piece, bytes)])?;
        Ok(hashes.pop().expect("one piece in, one hash out"))
    }

    /// [`Plan::hash_piece`] for several at once, which costs less than one after the other.
    ///
    /// # Errors
    /// As for one piece; then none of the hashes is given.
    pub fn hash_pieces(&self, pieces: &[(u32, &[u8])]) -> Result<Vec<PieceHash>, CreateError> {
        let (numbers, bytes): (Vec<u32>, Vec<&[u8]>) = pieces.iter().copied().unzip();
        let mut hashes = PieceHasher::new(self, &numbers)?;
        hashes.update(&bytes)?;
        hashes.finish()
    }

    /// Begins to hash pieces side by side, a stripe of each at a time; [`Plan::stripes`] says what goes well together.
    ///
    /// # Errors
    /// When there is no such piece.
    pub fn hash_stripes(&self, pieces: &[u32]) -> Result<PieceHasher<'_>, CreateError> {
        PieceHasher::new(self, pieces)
    }

    /// How many pieces to hash side by side, and how much of each at a time.
    #[must_use]
    pub fn stripes(&self) -> Stripes {
        let piece_length = self.piece_length as usize;
        if self.version().has_v1() {
            Stripes::for_sha1(piece_length)
        } else {
            Stripes::for_merkle(piece_length)
        }
    }

    /// Zeros that a hybrid's padding file adds to this piece: all that is missing, save for the torrent's last
    /// piece.
    pub(super) fn padding_after(&self, piece: u32) -> u32 {
        if self.version() != Version::Hybrid || self.piece_count <= piece + 1 {
            return 0;
        }
        self.piece_length - self.piece_bytes(piece)
    }

    /// The padding files of a hybrid: each follows the file of this index and has this length.
    pub(super) fn pads(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let piece_length = u64::from(self.piece_length);
        let last = self.full.last().copied();
        let padded =
            self.full.iter().filter(move |&&at| self.version() == Version::Hybrid && Some(at) != last);
        padded.filter_map(move |&at| {
            let length = self.files[at as usize].file.length;
            let padding = length.next_multiple_of(piece_length) - length;
            (padding != 0).then_some((at as usize, padding))
        })
    }

    /// The file whose only this piece belongs to; for v2 and hybrid.
    pub(super) fn file_of(&self, piece: u32) -> &PlannedFile {
        let span = self.spans(piece).next().expect("the caller knows that the piece exists");
        &self.files[span.file]
    }

    pub(super) fn checked_piece_bytes(&self, piece: u32) -> Result<u32, CreateError> {
        match self.piece_bytes(piece) {
            0 => Err(CreateError::NoSuchPiece(piece)),
            bytes => Ok(bytes),
        }
    }
}

pub(super) fn update_zeros(sha1: &mut Sha1, mut count: u32) {
    while count != 0 {
        let part = count.min(BLOCK_LENGTH);
        sha1.update(&ZEROS[..part as usize]);
        count -= part;
    }
}

static ZEROS: [u8; BLOCK_LENGTH as usize] = [0; BLOCK_LENGTH as usize];

/// Alignment adds pieces, so that many small files may need more than the payload alone would.
fn automatic_piece_length(files: &[NewFile], total_length: u64, aligned: bool) -> Result<u32, CreateError> {
    let mut length = piece_length_for(total_length);
    while length < PIECE_LENGTH_MAX_MADE && u64::from(PIECES_MAX) < count_pieces(files, length, aligned)? {
        length *= 2;
    }
    Ok(length)
}

/// # Errors
/// When padding makes the torrent longer than can be counted.
fn count_pieces(files: &[NewFile], piece_length: u32, aligned: bool) -> Result<u64, CreateError> {
    let piece_length = u64::from(piece_length);
    let count = if aligned {
        files.iter().map(|file| file.length.div_ceil(piece_length)).sum()
    } else {
        // The sum was checked when the files were sorted.
        files.iter().map(|file| file.length).sum::<u64>().div_ceil(piece_length)
    };
    if TOTAL_LENGTH_MAX / piece_length < count { Err(CreateError::TooLong) } else { Ok(count) }
}
