//! What a handle asks of a torrent's task, and what comes of it.

use std::net::SocketAddr;
use std::sync::Arc;

use ferri_metainfo::{Bitfield, Info, InfoHash};
use tokio::sync::oneshot;

use super::look::Look;
use super::refused::Refused;
use super::setting::Setting;
use super::work::Work;
use crate::status::{PeerStatus, TrackerStatus};
use crate::{AddTorrent, Error, FilePriority};

/// Something for a torrent's task.
#[derive(Debug)]
pub(super) enum Command {
    /// To be done, and answered.
    Do(Order, oneshot::Sender<Result<(), Refused>>),
    /// To be done, and answered with more than that.
    Work(Work),
    /// Verified pieces and wanted files.
    Have(oneshot::Sender<(Bitfield, Bitfield)>),
    /// Somebody wants to look.
    Look(Look),
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
    SetLimits {
        down: Option<u64>,
        up: Option<u64>,
    },
    Set(Setting),
    /// `None`: by its own name again.
    Rename(Option<String>),
}
