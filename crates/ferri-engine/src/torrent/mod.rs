//! A torrent as its users hold it: a handle that asks by message and looks at snapshots.

mod disk;
mod outbox;
mod spill;
mod start;
mod task;
mod trackers;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ferri_metainfo::{Info, InfoHashes};
use ferri_wire::Handshake;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::status::{Event, PeerStatus, State, TorrentStatus, TrackerStatus};
use crate::{Error, FilePriority};

pub(crate) use start::{add, beside};

/// A torrent of a session. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Torrent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    info: Arc<Info>,
    info_hashes: InfoHashes,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<TorrentStatus>,
    events: broadcast::Sender<Event>,
    /// Everything from the beginning, for the first who asks.
    first_events: Mutex<Option<broadcast::Receiver<Event>>>,
    follow: Arc<AtomicBool>,
}

/// What a session knows of a torrent.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) torrent: Torrent,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    /// What we say to whoever asks for it.
    pub(crate) handshake: Handshake,
}

/// A connection with both handshakes exchanged, or none.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A peer dialled us.
    Accepted {
        /// The connection.
        stream: TcpStream,
        /// The other end.
        addr: SocketAddr,
        /// What it said.
        handshake: Handshake,
    },
    /// We dialled a peer.
    Dialled {
        /// Whom.
        addr: SocketAddr,
        /// The connection and what the peer said, or why there is none.
        result: Result<(TcpStream, Handshake), String>,
    },
}

/// What a handle asks of the torrent's task.
#[derive(Debug)]
pub(crate) enum Command {
    Pause,
    Resume,
    Stop,
    Reannounce,
    AddPeers(Vec<SocketAddr>),
    SetPriorities(Vec<FilePriority>),
    SetLimits { down: Option<u64>, up: Option<u64> },
    SetSequential(Sequential),
    Budget(Budget),
    Peers(oneshot::Sender<Vec<PeerStatus>>),
    Trackers(oneshot::Sender<Vec<TrackerStatus>>),
}

/// Whether pieces come in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequential {
    Yes,
    No,
}

/// A torrent's share of what the session allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) peers_max: usize,
    pub(crate) half_open_max: usize,
    pub(crate) upload_slots: Option<usize>,
    pub(crate) memory: u64,
}

/// Commands waiting for a torrent's task.
const COMMANDS_MAX: usize = 64;
/// Events kept for a subscriber that is slow; it is told how many it missed.
const EVENTS_MAX: usize = 4096;

impl Torrent {
    /// What it is.
    #[must_use]
    pub fn info(&self) -> &Arc<Info> {
        &self.inner.info
    }

    /// Its info hashes.
    #[must_use]
    pub fn info_hashes(&self) -> &InfoHashes {
        &self.inner.info_hashes
    }

    /// How it stands, at most a quarter of a second old. Never waits.
    #[must_use]
    pub fn status(&self) -> TorrentStatus {
        self.inner.status.borrow().clone()
    }

    /// A stream of snapshots: `changed().await` waits for the next one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<TorrentStatus> {
        self.inner.status.clone()
    }

    /// Everything that happens: for the first caller since the torrent was added, for others from here on. A subscriber
    /// that lags misses events and is told so.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        let first = self.inner.first_events.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.inner.events.subscribe())
    }

    /// Also reports every message of the peer protocol as [`Event::Said`].
    pub fn follow(&self) {
        self.inner.follow.store(true, Ordering::Relaxed);
    }

    /// Disconnects everybody and tells the trackers; verified pieces stay.
    pub async fn pause(&self) {
        self.command(Command::Pause).await;
    }

    /// Goes on after [`Self::pause`], or tries again after an error.
    pub async fn resume(&self) {
        self.command(Command::Resume).await;
    }

    /// Asks the trackers again, as soon as they allow it.
    pub async fn reannounce(&self) {
        self.command(Command::Reannounce).await;
    }

    /// Connects to these peers, whatever trackers say.
    pub async fn add_peers(&self, peers: Vec<SocketAddr>) {
        self.command(Command::AddPeers(peers)).await;
    }

    /// Changes which files are wanted, one priority a file; missing ones are `Normal`.
    pub async fn set_priorities(&self, priorities: Vec<FilePriority>) {
        self.command(Command::SetPriorities(priorities)).await;
    }

    /// Changes this torrent's own limits, bytes per second.
    pub async fn set_limits(&self, down: Option<u64>, up: Option<u64>) {
        self.command(Command::SetLimits { down, up }).await;
    }

    /// Fetches pieces in order.
    pub async fn fetch_in_order(&self) {
        self.command(Command::SetSequential(Sequential::Yes)).await;
    }

    /// Fetches the rarest pieces first.
    pub async fn fetch_rarest_first(&self) {
        self.command(Command::SetSequential(Sequential::No)).await;
    }

    /// The connected peers.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        self.ask(Command::Peers).await
    }

    /// The trackers, in the order of their tiers.
    pub async fn trackers(&self) -> Vec<TrackerStatus> {
        self.ask(Command::Trackers).await
    }

    /// Waits until everything wanted is verified, or the torrent stopped.
    pub async fn wait_done(&self) {
        let mut status = self.watch();
        // An error means that the task ended.
        let _ = status.wait_for(|status| status.is_done() || status.state == State::Stopped).await;
    }

    /// Waits until what lies on disk has been looked at, or the torrent stopped.
    pub async fn wait_checked(&self) {
        let mut status = self.watch();
        let _ = status.wait_for(|status| !matches!(status.state, State::Checking { .. })).await;
    }

    /// Waits until the torrent stopped: trackers told, pieces flushed, journal closed.
    pub async fn wait_stopped(&self) {
        let mut status = self.watch();
        let _ = status.wait_for(|status| status.state == State::Stopped).await;
    }

    /// Stops it and waits until it has.
    ///
    /// # Errors
    /// [`Error::Closed`] when its task had ended by itself before.
    pub async fn stop(&self) -> Result<(), Error> {
        self.inner.commands.send(Command::Stop).await.map_err(|_| Error::Closed)?;
        self.wait_stopped().await;
        Ok(())
    }

    pub(crate) async fn begin_stop(&self) {
        self.command(Command::Stop).await;
    }

    pub(crate) fn try_command(&self, command: Command) {
        // A full queue means that a newer budget will follow.
        let _ = self.inner.commands.try_send(command);
    }

    async fn command(&self, command: Command) {
        // A task that ended has nothing left to do.
        let _ = self.inner.commands.send(command).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Vec<T>>) -> Command) -> Vec<T> {
        let (reply, answer) = oneshot::channel();
        self.command(command(reply)).await;
        answer.await.unwrap_or_default()
    }
}
