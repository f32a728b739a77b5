//! A torrent as its users hold it: a handle that asks by message and looks at snapshots.

mod account;
mod checking;
mod command;
mod disk;
mod fault;
mod files;
mod news;
mod rest;
mod spill;
mod start;
mod task;
mod waits;
mod wishes;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ferri_metainfo::{Info, InfoHashes};
use ferri_swarm::Source;
use tokio::sync::oneshot;

pub use self::command::Refused;
use self::command::{Command, Order, Sequential};
use self::rest::{Door, Resting};
use crate::FilePriority;
use crate::clock;
use crate::events::{EventLog, Events};
use crate::handshake::Arrival;
use crate::services::Services;
use crate::status::{FileStatus, PeerStatus, State, TorrentStatus, TrackerStatus};
use crate::watch::Watch;

pub(crate) use start::{add, beside};

/// A torrent of a session. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Torrent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Weak<Services>,
    info: Arc<Info>,
    info_hashes: InfoHashes,
    seat: Mutex<Seat>,
    status: Watch<TorrentStatus>,
    events: EventLog,
    follow: Arc<AtomicBool>,
}

/// Who has the torrent's state.
#[derive(Debug)]
enum Seat {
    /// A task; this is how to reach it.
    Awake(Door),
    /// Nobody: there is nothing to do. Whoever wants something wakes it.
    Resting(Box<Resting>),
    /// It has not begun, or it stopped.
    Empty,
}

/// Commands waiting for a torrent's task.
const COMMANDS_MAX: usize = 64;

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
        self.inner.status.get()
    }

    /// The same to be waited for.
    #[must_use]
    pub fn watch(&self) -> Watch<TorrentStatus> {
        self.inner.status.clone()
    }

    /// Everything that happens: for the first caller since the torrent was added (or, when that is long ago, what
    /// happened last), for others from here on. A listener that lags misses events and is told so.
    #[must_use]
    pub fn events(&self) -> Events {
        self.inner.events.subscribe()
    }

    /// Also reports every message of the peer protocol as [`Event::Said`].
    pub fn follow(&self) {
        self.inner.follow.store(true, Ordering::Relaxed);
    }

    /// Disconnects everybody and tells the trackers; verified pieces stay. While files are looked at that goes on, and the
    /// torrent is paused afterwards.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn pause(&self) -> Result<(), Refused> {
        self.order(Order::Pause).await
    }

    /// Goes on after [`Self::pause`], or tries again after an error.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn resume(&self) -> Result<(), Refused> {
        self.order(Order::Resume).await
    }

    /// Asks the trackers again, as soon as they allow it; while files are looked at, as soon as that is over.
    ///
    /// # Errors
    /// [`Refused::Stopped`], [`Refused::Paused`], [`Refused::NoTracker`].
    pub async fn reannounce(&self) -> Result<(), Refused> {
        self.order(Order::Reannounce).await
    }

    /// Connects to these peers, whatever trackers say; when it is paused or its files are looked at, afterwards.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn add_peers(&self, peers: Vec<SocketAddr>) -> Result<(), Refused> {
        self.order(Order::AddPeers(peers)).await
    }

    /// Changes which files are wanted, one priority a file; missing ones are `Normal`.
    ///
    /// # Errors
    /// [`Refused::Stopped`], [`Refused::TooManyPriorities`], [`Refused::OnlyServes`].
    pub async fn set_priorities(&self, priorities: Vec<FilePriority>) -> Result<(), Refused> {
        self.order(Order::SetPriorities(priorities)).await
    }

    /// Changes this torrent's own limits, bytes per second.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn set_limits(&self, down: Option<u64>, up: Option<u64>) -> Result<(), Refused> {
        self.order(Order::SetLimits { down, up }).await
    }

    /// Fetches pieces in order.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn fetch_in_order(&self) -> Result<(), Refused> {
        self.order(Order::SetSequential(Sequential::Yes)).await
    }

    /// Fetches the rarest pieces first.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn fetch_rarest_first(&self) -> Result<(), Refused> {
        self.order(Order::SetSequential(Sequential::No)).await
    }

    /// The connected peers.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        // Looking does not wake it.
        if matches!(*self.seat(), Seat::Awake(_)) { self.ask(Command::Peers).await } else { Vec::new() }
    }

    /// How its files stand, in the torrent's order with padding included: while they are checked, as far as the journal
    /// vouches for them. Empty when it stopped.
    pub async fn files(&self) -> Vec<FileStatus> {
        let resting = match &*self.seat() {
            Seat::Resting(resting) => {
                Some((resting.crew.machine.have().clone(), resting.files.wanted().clone()))
            }
            Seat::Awake(_) | Seat::Empty => None,
        };
        let pieces = match resting {
            Some(pieces) => Some(pieces),
            None => {
                let (reply, answer) = oneshot::channel();
                self.command(Command::Have(reply)).await;
                answer.await.ok()
            }
        };
        // The torrent's task has better to do than to look at a million files.
        pieces
            .map_or_else(Vec::new, |(have, wanted)| files::statuses(self.inner.info.layout(), &have, &wanted))
    }

    /// The trackers, in the order of their tiers.
    pub async fn trackers(&self) -> Vec<TrackerStatus> {
        let resting = match &*self.seat() {
            Seat::Resting(resting) => Some(resting.crew.trackers.statuses(clock::now())),
            Seat::Awake(_) | Seat::Empty => None,
        };
        match resting {
            Some(statuses) => statuses,
            None => self.ask(Command::Trackers).await,
        }
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
    /// [`Refused::Stopped`] when it had ended by itself before.
    pub async fn stop(&self) -> Result<(), Refused> {
        self.order(Order::Stop).await?;
        self.wait_stopped().await;
        Ok(())
    }

    /// Tells it to stop, and does not wait for an answer.
    pub(crate) async fn begin_stop(&self) {
        let (reply, _) = oneshot::channel();
        self.command(Command::Do(Order::Stop, reply)).await;
    }

    /// Whether no task has it.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(*self.seat(), Seat::Resting(_))
    }

    /// Gives it a task, if it rests.
    pub(crate) fn wake(&self) {
        self.rouse(&mut self.seat());
    }

    /// Ends it without a word, if it rests. The session is over: nobody could wake it.
    pub(crate) fn abandon_resting(&self) {
        let mut seat = self.seat();
        if let Seat::Resting(resting) = &*seat {
            resting.abandon();
            *seat = Seat::Empty;
        }
    }

    /// Names peers to it, unless it rests and has everything: then those who lack something will come.
    pub(crate) fn offer_peers(&self, source: Source, addrs: Vec<SocketAddr>) {
        let is_content = matches!(&*self.seat(), Seat::Resting(resting) if resting.is_complete());
        if !is_content {
            self.bring_peers(source, addrs);
        }
    }

    /// Names peers to it, without waiting.
    pub(crate) fn bring_peers(&self, source: Source, addrs: Vec<SocketAddr>) {
        let mut seat = self.seat();
        self.rouse(&mut seat);
        if let Seat::Awake(door) = &*seat {
            door.crew.mail.found(source, addrs);
        }
    }

    /// There is news in `Services::network`.
    pub(crate) fn look_at_network(&self) {
        match &mut *self.seat() {
            Seat::Awake(door) => door.crew.mail.moved(),
            Seat::Resting(resting) => {
                if let Some(services) = self.inner.services.upgrade() {
                    resting.look_at_network(&services);
                }
            }
            Seat::Empty => {}
        }
    }

    /// Hands over a connection.
    pub(crate) async fn arrive(&self, arrival: Arrival) {
        let door = self.door(|door| door.crew.arrivals.clone());
        if let Some(arrivals) = door {
            // The torrent may have ended since.
            let _ = arrivals.send(arrival).await;
        }
    }

    async fn order(&self, order: Order) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Do(order, reply)).await;
        // A task that ended first did nothing of it.
        answer.await.unwrap_or(Err(Refused::Stopped))
    }

    /// `false`: the torrent ended and has nothing left to do.
    async fn command(&self, command: Command) -> bool {
        let door = self.door(|door| door.commands.clone());
        match door {
            Some(commands) => commands.send(command).await.is_ok(),
            None => false,
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Vec<T>>) -> Command) -> Vec<T> {
        let (reply, answer) = oneshot::channel();
        self.command(command(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// A way to the torrent's task, which does not go to rest while somebody holds it.
    fn door<T>(&self, take: impl FnOnce(&Door) -> T) -> Option<T> {
        let mut seat = self.seat();
        self.rouse(&mut seat);
        match &*seat {
            Seat::Awake(door) => Some(take(door)),
            Seat::Resting(_) | Seat::Empty => None,
        }
    }

    fn rouse(&self, seat: &mut Seat) {
        if let Seat::Resting(_) = seat
            && let Some(services) = self.inner.services.upgrade()
            && let Seat::Resting(resting) = std::mem::replace(seat, Seat::Empty)
        {
            *seat = Seat::Awake(resting.wake(&services, self.clone()));
        }
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.inner.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
