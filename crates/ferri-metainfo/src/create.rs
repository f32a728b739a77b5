//! Making a torrent: geometry, hashing and encoding, without reading a file ([BEP 3], [BEP 47], [BEP 52]).
//!
//! The steps, so that reading and hashing can be spread over threads as the caller likes:
//!
//! 1. [`Builder`] says what is wanted; [`Builder::plan`] checks it and fixes the order of the files and the pieces.
//! 2. The caller reads. Either everything in order, into [`Hasher::feed`]; or piece by piece in any order and on any
//!    thread: [`Plan::spans`] says what to read, [`Plan::hash_pieces`] (pure, `&self`) hashes it, [`Hasher::set`]
//!    takes the result.
//! 3. [`Hasher::finish`] gives the bytes of the .torrent file.
//!
//! The same input gives the same bytes: files are sorted by their path, component by component as bytes (the order
//! of a v2 file tree, used for v1 too), keys are canonical, and there is no date unless asked for.
//!
//! A hybrid torrent gets padding files (`.pad/N`, attribute `p`) so that each file begins with a piece in v1 as it
//! does in v2.
//!
//! The piece length, unless given, is what libtorrent chooses, so that most programs make the same torrent of the same
//! files; imdl's choice is the same save for the top fifth of each row, where it takes twice as much. Beyond 16 MiB it
//! grows only where there would be more pieces than clients take, and ends where clients refuse the pieces themselves:
//!
//! | payload up to (bytes) | piece length | | payload up to (bytes) | piece length |
//! |---:|---:|---|---:|---:|
//! | 2,684,355 | 16 KiB | | 10,995,116,278 | 1 MiB |
//! | 10,737,418 | 32 KiB | | 43,980,465,111 | 2 MiB |
//! | 42,949,673 | 64 KiB | | 175,921,860,444 | 4 MiB |
//! | 171,798,692 | 128 KiB | | 703,687,441,777 | 8 MiB |
//! | 687,194,767 | 256 KiB | | 32 TiB | 16 MiB |
//! | 2,748,779,069 | 512 KiB | | 256 TiB | 128 MiB |
//!
//! With these defaults the info hash of a single file is that of libtorrent 2.1 in every version, and that of a folder
//! is libtorrent's in version 2. In version 1 the order of files is imdl's and create-torrent's (component by
//! component); libtorrent takes the order of the file system, mktorrent that of whole paths, which is the same unless a
//! folder and a file begin with the same name. libtorrent also pads behind the last file of a hybrid folder.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [BEP 47]: https://www.bittorrent.org/beps/bep_0047.html
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html

mod check;
mod encode;
mod hasher;
mod plan;

pub use self::hasher::{Hasher, PieceHash};
pub use self::plan::{Plan, PlannedFile, Span};
use crate::Version;
use crate::limits::{
    FILES_MAX, PATH_COMPONENT_BYTES_MAX, PIECE_LENGTH_MAX_MADE, PIECE_LENGTH_MIN, PIECES_MAX,
    TORRENT_BYTES_MAX,
};

/// What the torrent shall be. Fill the fields, then [`Builder::plan`].
#[derive(Debug, Clone)]
pub struct Builder {
    /// Which hashes it carries.
    pub version: Version,
    /// The file's name, or that of the folder.
    pub name: String,
    /// What is in it.
    pub content: Content,
    /// Bytes a piece, 16 KiB to 128 MiB; a power of two in v2 and hybrid. `None`: [`piece_length_for`] the payload.
    pub piece_length: Option<u32>,
    /// Tracker URLs in tiers (BEP 12). Empty tiers and repeated URLs are left out.
    pub trackers: Vec<Vec<String>>,
    /// HTTP or FTP URLs of the payload (BEP 19).
    pub web_seeds: Vec<String>,
    /// DHT nodes to begin with (BEP 5): host and port.
    pub nodes: Vec<(String, u16)>,
    /// Peers come from the trackers alone (BEP 27).
    pub private: bool,
    /// Makes the info hash differ from the same payload elsewhere; private trackers ask for it.
    pub source: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// Seconds since 1970. Left out by default, so that the same payload gives the same torrent.
    pub creation_date: Option<i64>,
}

/// One file, or a folder of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A single file.
    File {
        /// In bytes.
        length: u64,
        /// It may be run (attribute `x`).
        executable: bool,
    },
    /// A folder. The order does not matter.
    ///
    /// BEP 52 has no way to say that a single file at the top lies in a folder: a v2 torrent of such a folder (v1 and
    /// hybrid ones are fine) is read as that file alone, by us and by others.
    Folder(Vec<NewFile>),
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewFile {
    /// Components below the folder.
    pub path: Vec<String>,
    /// In bytes; 0 for a symbolic link.
    pub length: u64,
    /// It may be run (attribute `x`).
    pub executable: bool,
    /// It is not shown by default (attribute `h`).
    pub hidden: bool,
    /// It is a symbolic link (attribute `l`) to this path below the folder.
    pub symlink_target: Option<Vec<String>>,
}

impl NewFile {
    /// An ordinary file.
    #[must_use]
    pub fn new(path: Vec<String>, length: u64) -> Self {
        Self { path, length, ..Self::default() }
    }
}

impl Builder {
    /// A torrent of this content with everything else left out.
    #[must_use]
    pub fn new(version: Version, name: impl Into<String>, content: Content) -> Self {
        Self {
            version,
            name: name.into(),
            content,
            piece_length: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            nodes: Vec::new(),
            private: false,
            source: None,
            comment: None,
            created_by: None,
            creation_date: None,
        }
    }

    /// Checks everything that can be wrong before a byte is read, and settles the geometry.
    ///
    /// # Errors
    /// Names that cannot be stored, two files of one name, nothing to share, a piece length out of range, too many
    /// files or pieces, URLs that are none.
    pub fn plan(self) -> Result<Plan, CreateError> {
        check::builder(&self)?;
        Plan::new(self)
    }
}

/// The piece length for so many bytes of payload; see the table in the [module's documentation](self).
#[must_use]
pub fn piece_length_for(total_length: u64) -> u32 {
    let doublings = AUTOMATIC_UP_TO.iter().take_while(|up_to| **up_to < total_length).count();
    let mut length = PIECE_LENGTH_MIN << doublings;
    while length < PIECE_LENGTH_MAX_MADE && u64::from(PIECES_MAX) < total_length.div_ceil(u64::from(length)) {
        length *= 2;
    }
    length
}

/// Payloads up to which libtorrent 2.1 takes 16 KiB, 32 KiB and so on; 16 MiB beyond the last.
const AUTOMATIC_UP_TO: [u64; 10] = [
    2_684_355,
    10_737_418,
    42_949_673,
    171_798_692,
    687_194_767,
    2_748_779_069,
    10_995_116_278,
    43_980_465_111,
    175_921_860_444,
    703_687_441_777,
];

/// Why there is no torrent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// No file, or not a byte in any.
    #[error("there is nothing to share: no file has a byte")]
    Empty,
    /// More files than any torrent may have; padding counts.
    #[error("{0} files (padding included), but a torrent has at most {FILES_MAX}")]
    TooManyFiles(usize),
    /// The sum of all lengths passes what can be counted.
    #[error("the files add up to more than 2^63 bytes")]
    TooLong,
    /// A piece length out of range.
    #[error("a piece length of {0} bytes, but it must be from {PIECE_LENGTH_MIN} to {PIECE_LENGTH_MAX_MADE}")]
    PieceLength(u32),
    /// A piece length that v2 does not allow.
    #[error("a piece length of {0} bytes, but version 2 wants a power of two")]
    NotPowerOfTwo(u32),
    /// More pieces than peers take.
    #[error("{count} pieces of {piece_length} bytes, but at most {PIECES_MAX} are taken")]
    TooManyPieces {
        /// How many there would be.
        count: u64,
        /// With this piece length, in bytes.
        piece_length: u32,
    },
    /// A name that cannot be stored or would not come out as it went in.
    #[error("\"{path}\" cannot be in a torrent: {problem}")]
    Name {
        /// The path, made harmless for printing.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A URL or host that is none.
    #[error("{what} \"{url}\" is not one that can be used")]
    Url {
        /// `tracker`, `web seed` or `node`.
        what: &'static str,
        /// The text, made harmless for printing.
        url: String,
    },
    /// The bytes handed in for a piece are not as many as it has.
    #[error("piece {piece} has {expected} bytes, but {got} came: a file changed while it was read")]
    WrongLength {
        /// The piece.
        piece: u32,
        /// Bytes it has.
        expected: u32,
        /// Bytes that were handed in.
        got: usize,
    },
    /// There is no such piece.
    #[error("there is no piece {0}")]
    NoSuchPiece(u32),
    /// A hash of the wrong version for this torrent.
    #[error("piece {0} was hashed for another version")]
    WrongHash(u32),
    /// More bytes came than the files have.
    #[error("more bytes came than the files had: a file changed while it was read")]
    TooMuchData,
    /// Finished before every piece was hashed.
    #[error("{missing} of {total} pieces were not hashed")]
    Unfinished {
        /// Pieces without a hash.
        missing: u32,
        /// All pieces.
        total: u32,
    },
    /// The file would be longer than clients take.
    #[error("the torrent would have {0} bytes, but at most {TORRENT_BYTES_MAX} are taken; use longer pieces")]
    TorrentTooLarge(usize),
}

#[cfg(test)]
mod tests;
