//! What a handle asks of a torrent's task, and what comes of it.

use std::net::SocketAddr;
use std::sync::Arc;

use ferri_metainfo::{Bitfield, Info, InfoHash};
use tokio::sync::oneshot;

use crate::status::{PeerStatus, TrackerStatus};
use crate::store::StoreError;
use crate::{AddTorrent, Error, FilePriority};

/// Why a torrent does not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It has stopped, or is about to.
    #[error("the torrent has stopped; add it again")]
    Stopped,
    /// It is paused, and says nothing to trackers.
    #[error("the torrent is paused; resume it first")]
    Paused,
    /// There is nobody to announce it to.
    #[error("the torrent has no tracker; give it one when it is added")]
    NoTracker,
    /// It does not have so many files.
    #[error("there are priorities for {given} files, and the torrent has {files}")]
    TooManyPriorities {
        /// Priorities that were given.
        given: usize,
        /// Files of the torrent.
        files: usize,
    },
    /// Its info dictionary is not here yet, so it has no files that could be named.
    #[error("which files the torrent has is not known yet; wait until it is resolved")]
    Unresolved,
    /// It is done, and could not be kept: at the next start it is as it was before.
    #[error("it is done, but it cannot be kept for the next start: {0}")]
    NotKept(StoreError),
    /// It only serves what is there: nothing is to be fetched.
    #[error("the torrent only serves what is there and fetches no file; add it without `seed_only`")]
    OnlyServes,
}

/// Something for a torrent's task.
#[derive(Debug)]
pub(super) enum Command {
    /// To be done, and answered.
    Do(Order, oneshot::Sender<Result<(), Refused>>),
    /// Verified pieces and wanted files.
    Have(oneshot::Sender<(Bitfield, Bitfield)>),
    Peers(oneshot::Sender<Vec<PeerStatus>>),
    Trackers(oneshot::Sender<Vec<TrackerStatus>>),
    /// Where the files of a torrent go that waits for that.
    Choose(Box<AddTorrent>, oneshot::Sender<Result<(), Error>>),
    /// Another torrent of the session turned out to be this one.
    SameAs(InfoHash),
    /// The info dictionary, as soon as it is here.
    Info(oneshot::Sender<Result<Arc<Info>, Error>>),
    /// Has the task panic.
    #[cfg(test)]
    Panic,
}

/// What a user wants of a torrent. In every state it is done at once, or noted and done when the state allows it.
#[derive(Debug)]
pub(super) enum Order {
    Pause,
    Resume,
    Stop,
    Reannounce,
    AddPeers(Vec<SocketAddr>),
    SetPriorities(Vec<FilePriority>),
    SetLimits { down: Option<u64>, up: Option<u64> },
    SetSequential(Sequential),
}

/// Whether pieces come in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequential {
    Yes,
    No,
}
