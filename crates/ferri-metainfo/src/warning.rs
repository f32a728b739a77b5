//! What was odd in a torrent and could be understood: where, what, and what was made of it.

use std::fmt;

use crate::error::MetainfoErrorKind;
use crate::limits::URLS_MAX;

/// Something odd in a torrent that could be understood. Harmless to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where, as in `info.files[3].length`. Empty for the whole file.
    pub path: String,
    /// What, and what was made of it.
    pub kind: WarningKind,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { self.kind.fmt(f) } else { write!(f, "{}: {}", self.path, self.kind) }
    }
}

/// What is odd, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarningKind {
    /// Bencode that no careful program writes: unsorted or doubled keys (the first one counts), leading zeros, numbers
    /// beyond 64 bits.
    #[error(transparent)]
    Bencode(ferri_bencode::Error),
    /// Bytes behind the end of the torrent.
    #[error("{0} bytes behind the end are ignored")]
    BehindTheEnd(usize),
    /// Another kind of value than the one due, where nothing depends on it.
    #[error("should be {0}, and is ignored")]
    Ignored(&'static str),
    /// More trackers than are used.
    #[error("only the first {URLS_MAX} trackers are used")]
    TooManyTrackers,
    /// A text longer than is kept, in bytes.
    #[error("only the first {0} bytes are kept")]
    Cut(usize),
    /// The torrent has an empty name.
    #[error("the torrent has no name")]
    NoName,
    /// Names that are not UTF-8, and the encoding that was chosen.
    #[error("names that are not UTF-8 were read as {0}")]
    Encoding(&'static str),
    /// A `private` that is neither 0 nor 1: in doubt the swarm is protected (BEP 27).
    #[error("should be the number 0 or 1, and is taken as 1: peers come from the trackers only")]
    Private,
    /// BEP 47: a symbolic link says where it leads.
    #[error("a symbolic link without a target is taken as a file")]
    LinkWithoutTarget,
    /// BEP 47: the length of a symbolic link is zero.
    #[error("a symbolic link has no bytes; its length of {0} is taken as 0")]
    LinkWithLength(u64),
    /// The only file of a torrent is marked as padding.
    #[error("the only file cannot be padding")]
    OnlyPadding,
    /// Both `length` and `files`.
    #[error("ignored, as there are `files` too")]
    LengthBesideFiles,
    /// Both `length` and an empty list of `files`.
    #[error("ignored, as it is empty and there is a `length`")]
    NoFilesBesideLength,
    /// A hybrid whose sides have the same files in another order.
    #[error(
        "version 1 and version 2 have the files in another order, so pieces differ; only version 1 is used"
    )]
    HybridOrder,
    /// A hybrid without piece layers, as one is that was made from a magnet link.
    #[error("missing: only the version 1 side of this hybrid can be verified")]
    NoLayers,
    /// A hybrid with piece layers that cannot be used, and why.
    #[error("{0}; only the version 1 side of this hybrid can be verified")]
    UnusableLayers(MetainfoErrorKind),
    /// Layers of files that are no longer than a piece and need none.
    #[error("{0} layers of files that need none are ignored")]
    NeedlessLayers(usize),
}
