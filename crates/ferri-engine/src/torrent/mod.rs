//! A torrent as its users hold it: a handle that asks by message and looks at snapshots.

mod account;
mod add;
mod checking;
mod command;
mod disk;
mod fault;
mod files;
mod kept;
mod look;
mod moving;
mod news;
mod opening;
mod reader;
mod readers;
mod reading;
mod removal;
mod resolving;
mod rest;
mod setting;
mod settings;
mod spill;
mod start;
mod stream;
mod task;
#[cfg(test)]
mod tests;
mod trackers;
mod waits;
mod wishes;
mod work;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use ferri_metainfo::{Info, InfoHash, InfoHashes};
use ferri_swarm::Source;
use tokio::sync::oneshot;

use self::command::{Command, Order};
pub use self::reader::FileReader;
use self::rest::{Resting, TaskHandle};
pub use self::settings::{PieceMap, TorrentSettings};
pub use self::stream::ReadError;
pub use self::work::Rechecked;
use crate::clock;
use crate::events::{EventLog, Events};
use crate::handshake::Arrival;
pub(crate) use crate::refused;
pub use crate::refused::{FilesError, Refused};
use crate::services::Services;
use crate::status::{FileStatus, PeerStatus, State, TorrentStatus, TrackerStatus};
use crate::store::Record;
use crate::watch::Watch;
use crate::{AddTorrent, Error, FilePriority};

pub(crate) use add::add;
pub(crate) use kept::Earlier;
pub(crate) use opening::beside;
pub use resolving::known_torrent;

/// A torrent of a session. Cheap to clone; dropping it changes nothing.
///
/// # Examples
/// ```no_run
/// # async fn example(torrent: ferri_engine::Torrent) -> Result<(), Box<dyn std::error::Error>> {
/// use ferri_engine::{FilePriority, State};
///
/// torrent.set_priorities(vec![FilePriority::High, FilePriority::Skip]).await?;
/// let status = torrent.watch().wait_for(|status| !matches!(status.state, State::Checking { .. })).await?;
/// println!("{}: {} of {} pieces", status.name, status.pieces_done, status.pieces_total);
/// for file in torrent.files().await.iter().filter(|file| file.wanted) {
///     println!("{} of {} bytes", file.verified, file.length);
/// }
/// torrent.wait_done().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Torrent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Weak<Services>,
    /// Those that it was added by.
    hashes: InfoHashes,
    info: OnceLock<Arc<Info>>,
    same_as: OnceLock<InfoHash>,
    /// Its files were looked for: it keeps its names.
    has_begun: AtomicBool,
    task_slot: Mutex<TaskSlot>,
    status: Watch<TorrentStatus>,
    events: EventLog,
    follow: Arc<AtomicBool>,
    /// What is kept of it for the next start; `None` in a session that keeps nothing.
    kept: Option<kept::Kept>,
}

/// Who has the torrent's state.
#[derive(Debug)]
enum TaskSlot {
    /// A task; this is how to reach it.
    Awake(TaskHandle),
    /// Nobody: there is nothing to do. Whoever wants something wakes it.
    Resting(Box<Resting>),
    /// It has not begun, or it stopped.
    Empty,
}

/// Commands waiting for a torrent's task.
const COMMANDS_MAX: usize = 64;

impl Torrent {
    /// What it is; `None` while only its hash is known.
    #[must_use]
    pub fn info(&self) -> Option<&Arc<Info>> {
        self.inner.info.get()
    }

    /// Its info hashes, as far as they are known: a magnet link may name one of the two of a hybrid.
    #[must_use]
    pub fn info_hashes(&self) -> InfoHashes {
        self.info().map_or(self.inner.hashes, |info| info.info_hashes())
    }

    /// What it is known by in its session from its first moment to its last: the hash that it was added by, as peers know
    /// it. Of the two of a hybrid a magnet link may name either.
    #[must_use]
    pub fn id(&self) -> InfoHash {
        self.inner.hashes.wire()
    }

    /// The torrent of the session that this one turned out to be: it was added by two magnet links, of which each named one
    /// of its hashes. This one has stopped then; what it knew of peers and trackers went over.
    #[must_use]
    pub fn same_as(&self) -> Option<InfoHash> {
        self.inner.same_as.get().copied()
    }

    /// Waits for the info dictionary of a magnet link. There is no deadline: peers may come at any time.
    ///
    /// # Errors
    /// [`Error::BadInfo`] when what the hash stands for is no torrent that can be used; [`Error::Closed`] when the torrent
    /// stopped first.
    pub async fn resolved(&self) -> Result<Arc<Info>, Error> {
        if let Some(info) = self.info() {
            return Ok(info.clone());
        }
        let (reply, answer) = oneshot::channel();
        self.command(Command::Info(reply)).await;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Says what becomes of a torrent that was added on hold ([`TorrentSource::MagnetOnHold`](crate::TorrentSource)), and waits
    /// until it works or checks its files. What `add` says of files and order counts, and its limits; its trackers and peers
    /// come to those that are known; its source is not looked at. May be said before the torrent is known: then it goes on by
    /// itself.
    ///
    /// # Errors
    /// Those of [`Session::add`](crate::Session::add); another choice may be made then. [`Error::AlreadyRunning`] when its
    /// files were chosen before, or when it is the same as another torrent of the session ([`Self::same_as`]).
    /// [`Error::Closed`] when it stopped. [`Error::Store`] when it works so and the choice could not be kept.
    pub async fn choose(&self, add: AddTorrent) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        // It is consumed; what is kept of it is small.
        let chosen = self.record().map(|_| Record::new(&add, SystemTime::now()));
        self.command(Command::Choose(Box::new(add), reply)).await;
        answer.await.unwrap_or_else(|_| Err(self.same_as().map_or(Error::Closed, Error::AlreadyRunning)))?;
        match chosen {
            Some(chosen) => Ok(self.keep_now(|record| record.choose(chosen)).await?),
            None => Ok(()),
        }
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

    /// The connected peers.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        // Looking does not wake it.
        if matches!(*self.task_slot(), TaskSlot::Awake(_)) {
            self.ask(Command::Peers).await
        } else {
            Vec::new()
        }
    }

    /// How its files stand, in the torrent's order with padding included: while they are checked, as far as the journal
    /// vouches for them. Empty when it stopped.
    pub async fn files(&self) -> Vec<FileStatus> {
        let resting = match &*self.task_slot() {
            TaskSlot::Resting(resting) => {
                Some((resting.crew.machine.have().clone(), resting.files.wanted().clone()))
            }
            TaskSlot::Awake(_) | TaskSlot::Empty => None,
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
        let statuses = pieces
            .zip(self.info())
            .map(|((have, wanted), info)| files::statuses(info.layout(), &have, &wanted));
        statuses.unwrap_or_default()
    }

    /// The trackers, in the order of their tiers.
    pub async fn trackers(&self) -> Vec<TrackerStatus> {
        let resting = match &*self.task_slot() {
            TaskSlot::Resting(resting) => Some(resting.crew.trackers.statuses(clock::now())),
            TaskSlot::Awake(_) | TaskSlot::Empty => None,
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

    /// Waits until it is resolved and what lies on disk has been looked at, or the torrent stopped.
    pub async fn wait_checked(&self) {
        let mut status = self.watch();
        let is_open = |state: &State| matches!(state, State::Resolving | State::Checking { .. });
        let _ = status.wait_for(|status| !is_open(&status.state)).await;
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
        matches!(*self.task_slot(), TaskSlot::Resting(_))
    }

    /// Gives it a task, if it rests.
    pub(crate) fn wake(&self) {
        self.rouse(&mut self.task_slot());
    }

    /// Ends it without a word, if it rests. The session is over: nobody could wake it.
    pub(crate) fn abandon_resting(&self) {
        let mut task_slot = self.task_slot();
        if let TaskSlot::Resting(resting) = &*task_slot {
            resting.abandon();
            *task_slot = TaskSlot::Empty;
        }
    }

    /// Names peers to it, unless it rests and has everything: then those who lack something will come.
    pub(crate) fn offer_peers(&self, source: Source, addrs: Vec<SocketAddr>) {
        let is_content = matches!(&*self.task_slot(), TaskSlot::Resting(resting) if resting.is_complete());
        if !is_content {
            self.bring_peers(source, addrs);
        }
    }

    /// Names peers to it, without waiting.
    pub(crate) fn bring_peers(&self, source: Source, addrs: Vec<SocketAddr>) {
        let mut task_slot = self.task_slot();
        self.rouse(&mut task_slot);
        if let TaskSlot::Awake(handle) = &*task_slot {
            handle.crew.mail.found(source, addrs);
        }
    }

    /// These trackers may know it.
    pub(crate) fn bring_trackers(&self, urls: Vec<String>) {
        let mut task_slot = self.task_slot();
        self.rouse(&mut task_slot);
        if let TaskSlot::Awake(handle) = &*task_slot {
            handle.crew.mail.trackers(urls);
        }
    }

    /// Whether the DHT must not hear of it (BEP 27). That is not known before its info dictionary is.
    pub(crate) fn is_private(&self) -> bool {
        self.info().is_some_and(|info| info.is_private())
    }

    /// Its info dictionary has come.
    fn learn(&self, info: Arc<Info>) {
        // It has one.
        let _ = self.inner.info.set(info);
    }

    /// Its files are looked for.
    fn begin(&self) {
        self.inner.has_begun.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.inner.has_begun.load(Ordering::Relaxed)
    }

    fn is_twin_of(&self, name: InfoHash) {
        let _ = self.inner.same_as.set(name);
        // The other one is kept.
        drop(self.begin_to_forget(Box::new(|_| {})));
    }

    /// Whether these are handles of the same torrent.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// There is news in `Services::network`.
    pub(crate) fn look_at_network(&self) {
        match &mut *self.task_slot() {
            TaskSlot::Awake(handle) => handle.crew.mail.moved(),
            TaskSlot::Resting(resting) => {
                if let Some(services) = self.inner.services.upgrade() {
                    resting.look_at_network(&services);
                }
            }
            TaskSlot::Empty => {}
        }
    }

    /// Hands over a connection.
    pub(crate) async fn arrive(&self, arrival: Arrival) {
        let handle = self.handle(|handle| handle.crew.arrivals.clone());
        if let Some(arrivals) = handle {
            // The torrent may have ended since.
            let _ = arrivals.send(Box::new(arrival)).await;
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
        let handle = self.handle(|handle| handle.commands.clone());
        match handle {
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
    fn handle<T>(&self, take: impl FnOnce(&TaskHandle) -> T) -> Option<T> {
        let mut task_slot = self.task_slot();
        self.rouse(&mut task_slot);
        match &*task_slot {
            TaskSlot::Awake(handle) => Some(take(handle)),
            TaskSlot::Resting(_) | TaskSlot::Empty => None,
        }
    }

    fn rouse(&self, task_slot: &mut TaskSlot) {
        if let TaskSlot::Resting(_) = task_slot
            && let Some(services) = self.inner.services.upgrade()
            && let TaskSlot::Resting(resting) = std::mem::replace(task_slot, TaskSlot::Empty)
        {
            *task_slot = TaskSlot::Awake(resting.wake(&services, self.clone()));
        }
    }

    fn task_slot(&self) -> MutexGuard<'_, TaskSlot> {
        self.inner.task_slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
