//! What a person should read once about a torrent: a type for programs, and words beside it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ferri_metainfo::InfoHash;
use ferri_storage::StorageError;

use crate::refused::Refused;

/// Something that a person should read once: pieces found changed on disk, a file name that had to change. Its `Display` is for
/// people; names and paths in it are not made harmless to print.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The torrent lists more trackers than are used.
    TrackersLeftOut {
        /// How many are not.
        trackers: usize,
    },
    /// It is the same torrent as another one of the session, which goes on; this one ends.
    SameAs(InfoHash),
    /// The info dictionary that an earlier run left is damaged or cannot be read, and is fetched again; why, in words.
    InfoDamaged(String),
    /// The info dictionary could not be kept: the next start has to ask peers again; why, in words.
    InfoNotKept(String),
    /// An info dictionary came whole and has another hash; others are asked.
    InfoCorrupt {
        /// Who sent parts of it.
        senders: Vec<SocketAddr>,
    },
    /// What it was told before its files were known does not fit them.
    NotDone(Refused),
    /// Why some or all of what is on disk is looked at, in the storage's words.
    LookedAt(String),
    /// A file that lies where two torrents have one: whose it is from here on, in the storage's words.
    FileOfTwo(String),
    /// A piece that was here is no longer on disk, and is fetched again.
    PieceGone {
        /// Its index.
        piece: u32,
        /// What became of it, in words.
        why: String,
    },
    /// A file that is served was changed by another program; its pieces are looked at.
    FileChanged {
        /// Where it is.
        path: PathBuf,
    },
    /// Pieces of complete files that another program changed: they are not offered any more, and nothing is fetched in their
    /// place.
    Withdrawn {
        /// How many.
        pieces: usize,
    },
    /// What was sent and received cannot be remembered; why, in words.
    TotalsNotKept(String),
    /// The files could not be closed in order; why, in words.
    NotClosed(String),
    /// A peer sent wrong data, and is refused from here on.
    Banned {
        /// Where it was.
        addr: SocketAddr,
        /// The piece.
        piece: u32,
    },
    /// A peer sent wrong data, and is asked again, for no other peer has the piece.
    OnParole {
        /// Where it is.
        addr: SocketAddr,
        /// The piece.
        piece: u32,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrackersLeftOut { trackers } => {
                write!(f, "{trackers} of the torrent's trackers are not used: there are too many")
            }
            Self::SameAs(name) => {
                write!(f, "this is the same torrent as {name}, which the session has; that one goes on")
            }
            Self::InfoNotKept(why) => write!(f, "the next start has to ask peers again: {why}"),
            Self::InfoCorrupt { senders } => {
                let senders: Vec<_> = senders.iter().map(SocketAddr::to_string).collect();
                let senders = senders.join(", ");
                write!(f, "a description of the torrent was wrong (from {senders}); asking others")
            }
            Self::NotDone(refused) => refused.fmt(f),
            Self::PieceGone { piece, why } => write!(f, "piece {piece} is no longer on disk: {why}"),
            Self::FileChanged { path } => StorageError::Changed { path: path.clone() }.fmt(f),
            Self::Withdrawn { pieces } => {
                let (pieces, their) = match pieces {
                    1 => ("1 piece is".to_owned(), "its"),
                    _ => (format!("{pieces} pieces are"), "their"),
                };
                write!(
                    f,
                    "{pieces} not offered any more, and nothing is fetched in {their} place: \
                     the files are as somebody changed them"
                )
            }
            Self::TotalsNotKept(why) => write!(f, "what was sent and received cannot be remembered: {why}"),
            Self::Banned { addr, piece } => {
                write!(f, "{addr} sent wrong data in piece {piece}; it is refused from here on")
            }
            Self::OnParole { addr, piece } => {
                write!(f, "{addr} sent wrong data in piece {piece}; nobody else has it, so it is asked again")
            }
            Self::InfoDamaged(words)
            | Self::LookedAt(words)
            | Self::FileOfTwo(words)
            | Self::NotClosed(words) => f.write_str(words),
        }
    }
}
