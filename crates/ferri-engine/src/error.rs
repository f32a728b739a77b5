//! What can go wrong at the engine's boundary; each variant is a decision for the caller.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ferri_metainfo::display::redact_url;
use ferri_metainfo::names::NameError;
use ferri_metainfo::{InfoHash, MetainfoError};
use ferri_storage::StorageError;

use crate::feature::NotBuilt;
use crate::fetch_error::FetchError;
use crate::session_options::LimitsError;
use crate::store::StoreError;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listening address is taken or not ours.
    #[error("cannot listen on {addr}: {source}; choose another port or address")]
    Listen {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// This torrent runs here already, or another process runs it with the same state folder.
    #[error(
        "torrent {0} is already running with this state folder; stop the other one or use another --state-dir"
    )]
    AlreadyRunning(InfoHash),
    /// A session was to have what the build leaves out.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// The torrent can be described but not transferred.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// What a magnet link's hash stands for is no torrent that can be used.
    #[error("the torrent's description cannot be used: {0}")]
    BadInfo(MetainfoError),
    /// A path in the torrent has no place on this disk.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file or folder of ours.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A document could not be fetched.
    #[error("cannot fetch {}: {reason}", redact_url(url))]
    Fetch {
        /// From where, with its secrets; the text has none.
        url: String,
        /// Why.
        reason: FetchError,
    },
    /// A part of the engine failed by a fault of its own; the log says where.
    #[error("this is a fault of the program, please report it: {0}")]
    Fault(String),
    /// Limits with which nothing would work.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// What keeps the list of torrents.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session has no torrent with this hash.
    #[error("there is no such torrent in the session")]
    NoSuchTorrent,
    /// There is no runtime to work in.
    #[error("a session needs a tokio runtime: start it from a task of one, with its timers and I/O enabled")]
    NoRuntime,
    /// The session is shutting down.
    #[error("the session is shutting down")]
    Closed,
}

/// What cannot be transferred, or not from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// A torrent that has no version 1 in it.
    #[error(
        "this torrent is version 2 only, and transfer of version 2 is not there yet; a hybrid of it would work"
    )]
    VersionTwoOnly,
    /// A payload at a path that ends in no name, as `/` does.
    #[error("{}: this is no file or folder with a name", .0.display())]
    Nameless(PathBuf),
}

impl Error {
    /// Of work that was waited for on another thread.
    pub(crate) fn of_thread(error: tokio::task::JoinError) -> Self {
        if error.is_panic() {
            tracing::error!(%error, "work for a caller failed by a fault of ours");
            return Self::Fault(error.to_string());
        }
        // The runtime ends.
        Self::Closed
    }
}
