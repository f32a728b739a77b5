//! Why a torrent cannot be used, and where in it.

use std::fmt;

use crate::layout::LayoutError;
use crate::limits::{
    FILES_MAX, NAMES_BYTES_MAX, PATH_COMPONENT_BYTES_MAX, PATH_COMPONENTS_MAX, SYMLINKS_MAX,
    TORRENT_BYTES_MAX,
};

/// A torrent that cannot be used: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetainfoError {
    /// The place in the torrent, as in `info.files[3].length`. Empty for the whole of it. Harmless to print.
    pub path: String,
    /// The place in the file, in bytes from its start, if there is one. For a bare info dictionary, from its start.
    pub offset: Option<usize>,
    /// What is wrong there.
    pub kind: MetainfoErrorKind,
}

impl fmt::Display for MetainfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.kind)?;
        match self.offset {
            Some(offset) => write!(f, " (at byte {offset})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for MetainfoError {}

/// What a torrent is refused for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetainfoErrorKind {
    /// Longer than [`TORRENT_BYTES_MAX`].
    #[error("{0} bytes are more than a torrent may have ({TORRENT_BYTES_MAX})")]
    TooLarge(usize),
    /// No bytes at all.
    #[error("the file is empty")]
    NoBytes,
    /// Not bencode.
    #[error("the file is no bencode: {0}")]
    Bencode(ferri_bencode::ErrorKind),
    /// A key that must be there is not.
    #[error("is missing")]
    Missing,
    /// Another kind of value than the one due.
    #[error("should be {0}")]
    NotA(&'static str),
    /// A number below the least that makes sense.
    #[error("{0} is out of range")]
    OutOfRange(i64),
    /// A number that does not fit into 64 bits.
    #[error("the number is out of range")]
    Overflow,
    /// No torrent, but what a server says in its place.
    #[error("no torrent came, but a refusal: \"{0}\"")]
    FailureReason(String),
    /// Lengths that make no torrent.
    #[error(transparent)]
    Layout(LayoutError),
    /// Neither `length` nor `files`.
    #[error("there is neither `length` nor `files`")]
    NoFiles,
    /// A list of files, or a file tree, without a file.
    #[error("no file is listed")]
    EmptyFileList,
    /// A path without components.
    #[error("the path has no components")]
    EmptyPath,
    /// More than [`PATH_COMPONENTS_MAX`] components.
    #[error("the path has more than {PATH_COMPONENTS_MAX} components")]
    PathTooDeep,
    /// A component above [`PATH_COMPONENT_BYTES_MAX`].
    #[error("a name of {0} bytes is longer than {PATH_COMPONENT_BYTES_MAX}")]
    NameTooLong(usize),
    /// All names together pass [`NAMES_BYTES_MAX`].
    #[error("the names of all files are longer than {NAMES_BYTES_MAX} bytes")]
    TooMuchText,
    /// More than [`FILES_MAX`] files.
    #[error("more than {FILES_MAX} files")]
    TooManyFiles,
    /// More than [`SYMLINKS_MAX`] links.
    #[error("more than {SYMLINKS_MAX} symbolic links")]
    TooManySymlinks,
    /// The list of SHA-1 hashes is not made of 20-byte hashes.
    #[error("{0} bytes are not a row of 20-byte hashes")]
    OddPieces(usize),
    /// Too many or too few hashes.
    #[error("{hashes} hashes for {pieces} pieces")]
    PieceCount {
        /// What is there.
        hashes: usize,
        /// What the lengths ask for.
        pieces: u32,
    },
    /// A `meta version` that is not known.
    #[error("version {0} of the format is not known to this program")]
    MetaVersion(i64),
    /// A file tree without `meta version`, and nothing of v1.
    #[error("there is a `file tree` but no `meta version`")]
    NoMetaVersion,
    /// A file tree node that is a file and a folder at once, or the root as a file.
    #[error("is a file and a folder at once")]
    FileAndFolder,
    /// A file or folder of a file tree without a name.
    #[error("a file has no name")]
    EmptyName,
    /// A file tree whose names are not in ascending order, or one twice.
    #[error("the names of a file tree should ascend, and this one does not")]
    UnsortedTree,
    /// A root that is not 32 bytes, or zero.
    #[error("is no hash of 32 bytes")]
    NotARoot,
    /// Version 2 without any layers.
    #[error(
        "the hashes of its pieces are missing, and fetching them from peers is not there yet: get a .torrent file that has them"
    )]
    NoLayers,
    /// Layers that belong to no file.
    #[error("{0} layers belong to no file")]
    SurplusLayers(usize),
    /// No layer for a file longer than a piece.
    #[error("the hashes of the pieces of `{0}` are missing")]
    MissingLayer(String),
    /// A layer under a key that is no hash.
    #[error("a key has {0} bytes, but the hash that belongs there has 32")]
    LayerKey(usize),
    /// A layer of the wrong length.
    #[error("{got} bytes of hashes where {expected} are due")]
    LayerLength {
        /// Bytes due.
        expected: u64,
        /// Bytes there.
        got: usize,
    },
    /// A layer that does not lead to its root.
    #[error("the hashes do not lead to the file's root")]
    LayerMismatch,
    /// The two sides of a hybrid describe different content.
    #[error("version 1 and version 2 disagree: {0}")]
    HybridMismatch(String),
}
