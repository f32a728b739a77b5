//! From a torrent and a folder to a running task: names, files, what is there already, and then the loop.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Bitfield, Info, InfoHash, PieceIndex};
use ferri_storage::{Done, Job, Place, Progress, Resumed, Storage, StorageError, StorageOptions};
use ferri_swarm::{Input, Priority, Source, Swarm, SwarmOptions};
use ferri_wire::{Handshake, Reserved};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::disk::Disk;
use super::task::{Inbox, Senders, Task, TorrentLimits, View, priority};
use super::trackers::{Trackers, TrackersOptions};
use super::{Budget, COMMANDS_MAX, Command, EVENTS_MAX, Entry, Inner, Torrent};
use crate::rate::Limiter;
use crate::session::Shared;
use crate::status::{Event, State, TorrentStatus};
use crate::trace_file::Trace;
use crate::{AddTorrent, Check, Error, FilePriority};

/// Reports of peers waiting for the torrent's task, each up to 256 KiB of blocks; beyond that peers wait, and TCP slows them.
const REPORTS_MAX: usize = 32;
/// Connections waiting to be admitted.
const ARRIVALS_MAX: usize = 64;

/// Registers and starts a torrent.
pub(crate) async fn add(shared: &Arc<Shared>, add: AddTorrent) -> Result<Torrent, Error> {
    let info = add.metainfo.shared_info();
    let hashes = info.info_hashes();
    let Some(info_hash) = hashes.v1 else {
        return Err(Error::Unsupported(
            "this torrent is version 2 only, and transfer of version 2 is not there yet; a hybrid of it would work".to_owned(),
        ));
    };
    if shared.torrents().contains_key(&info_hash) {
        return Err(Error::AlreadyRunning(info_hash));
    }
    let (storage, resumed) = open(shared, &add, &info, info_hash).await?;

    let handshake = Handshake {
        reserved: Reserved::default().with_fast().with_extensions(),
        info_hash,
        peer_id: shared.peer_id,
    };
    let (commands, command_inbox) = mpsc::channel(COMMANDS_MAX);
    let (arrivals, arrival_inbox) = mpsc::channel(ARRIVALS_MAX);
    let (events, first_events) = broadcast::channel(EVENTS_MAX);
    let (status, snapshot) = watch::channel(first_status(&info));
    let follow = Arc::new(AtomicBool::new(false));
    let torrent = Torrent {
        inner: Arc::new(Inner {
            info: info.clone(),
            info_hashes: hashes,
            commands,
            status: snapshot,
            events: events.clone(),
            first_events: Mutex::new(Some(first_events)),
            follow: follow.clone(),
        }),
    };
    let entry = Entry { torrent: torrent.clone(), arrivals: arrivals.clone(), handshake };
    {
        let mut torrents = shared.torrents();
        if torrents.contains_key(&info_hash) {
            return Err(Error::AlreadyRunning(info_hash));
        }
        torrents.insert(info_hash, entry);
    }
    let view = View {
        status,
        events,
        follow,
        state: State::Checking { done: 0, total: 0 },
        completed_at: None,
        published_at: Instant::now(),
        stale: true,
    };
    let start = Start { shared: shared.clone(), add, info, handshake, storage, resumed, view, arrivals };
    shared.tasks.spawn(start.run(command_inbox, arrival_inbox));
    share_budgets(shared);
    Ok(torrent)
}

/// Forgets a torrent that ended.
pub(super) fn remove(shared: &Arc<Shared>, info: &Info) {
    if let Some(info_hash) = info.info_hashes().v1 {
        shared.torrents().remove(&info_hash);
    }
    if let Some(trace) = &shared.trace {
        trace.flush();
    }
    share_budgets(shared);
}

/// Gives every torrent its share of what the session allows.
fn share_budgets(shared: &Arc<Shared>) {
    let torrents: Vec<Torrent> = shared.torrents().values().map(|entry| entry.torrent.clone()).collect();
    let budget = budget(shared, torrents.len());
    for torrent in torrents {
        torrent.try_command(Command::Budget(budget));
    }
}

fn budget(shared: &Shared, torrents: usize) -> Budget {
    let options = &shared.options;
    let share = torrents.max(1);
    Budget {
        peers_max: options.peers_per_torrent.min((options.peers_max / share).max(4)),
        half_open_max: (options.half_open_max / share).max(2),
        upload_slots: options.upload_slots,
        memory: options.memory / share as u64,
    }
}

/// The torrent's files, and what the journal says of them.
async fn open(
    shared: &Shared,
    add: &AddTorrent,
    info: &Arc<Info>,
    info_hash: InfoHash,
) -> Result<(Arc<Storage>, Resumed), Error> {
    let paths = LocalPaths::new(info)?;
    let (root, top) = match &add.payload {
        Some(payload) => {
            let (root, top) = beside(payload)?;
            (root, Some(top))
        }
        None => (add.output.clone(), None),
    };
    let place = Place { root, state_dir: Some(shared.options.state_dir.clone()) };
    let wanted = wanted(info, &add.priorities);
    let options = StorageOptions { preallocate: add.preallocate, top, ..StorageOptions::default() };
    let info = info.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let storage = Arc::new(Storage::new(info, paths, place, options, &wanted)?);
        let resumed = storage.resume()?;
        Ok((storage, resumed))
    });
    match opened.await.map_err(|_| Error::Closed)? {
        Ok(opened) => Ok(opened),
        Err(StorageError::Busy { .. }) => Err(Error::AlreadyRunning(info_hash)),
        Err(error) => Err(error.into()),
    }
}

/// The folder that a payload lies in, and its name there.
pub(crate) fn beside(payload: &Path) -> Result<(PathBuf, OsString), Error> {
    let payload =
        std::path::absolute(payload).map_err(|source| Error::Io { path: payload.to_owned(), source })?;
    match (payload.parent(), payload.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_owned(), name.to_owned())),
        _ => Err(Error::Unsupported(format!("{}: this is no file or folder with a name", payload.display()))),
    }
}

/// Whether each file is wanted at all; files without a wish are.
pub(super) fn wanted(info: &Info, files: &[FilePriority]) -> Vec<bool> {
    let wish = |n| files.get(n).copied().unwrap_or_default();
    (0..info.layout().file_count()).map(|n| wish(n) != FilePriority::Skip).collect()
}

/// One priority a piece: the highest of the files it touches.
pub(super) fn piece_priorities(info: &Info, files: &[FilePriority]) -> Vec<Priority> {
    let layout = info.layout();
    let mut pieces = vec![Priority::Skip; layout.piece_count() as usize];
    for file in layout.files().filter(|file| !layout.is_pad(*file)) {
        let wanted = priority(files.get(file.as_usize()).copied().unwrap_or_default());
        for piece in layout.file_pieces(file) {
            let piece = &mut pieces[piece as usize];
            *piece = wanted.max(*piece);
        }
    }
    pieces
}

fn first_status(info: &Info) -> TorrentStatus {
    TorrentStatus {
        name: info.name().to_owned(),
        info_hashes: info.info_hashes(),
        state: State::Checking { done: 0, total: 0 },
        total: info.layout().total_length(),
        wanted: info.layout().total_length(),
        wanted_done: 0,
        downloaded: 0,
        uploaded: 0,
        wasted: 0,
        down_rate: 0,
        up_rate: 0,
        peers: 0,
        seeds: 0,
        pieces_done: 0,
        pieces_total: info.layout().piece_count(),
        eta: None,
        ratio: 0.0,
        seeding_for: Duration::ZERO,
    }
}

/// A torrent whose files are being looked at.
struct Start {
    shared: Arc<Shared>,
    add: AddTorrent,
    info: Arc<Info>,
    handshake: Handshake,
    storage: Arc<Storage>,
    resumed: Resumed,
    view: View,
    arrivals: mpsc::Sender<super::Arrival>,
}

/// How looking at the files ended.
enum Checked {
    /// These pieces are there.
    Have(Bitfield),
    /// The caller stopped it.
    Stopped,
    /// The disk did not let us.
    Failed(StorageError),
}

impl Start {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut arrivals: mpsc::Receiver<super::Arrival>,
    ) {
        let mut paused = false;
        let have = loop {
            match self.check(&mut commands, &mut arrivals, &mut paused).await {
                Checked::Have(have) => break have,
                Checked::Stopped => return self.abandon().await,
                Checked::Failed(error) => {
                    if !self.wait_for_disk(&error, &mut commands).await {
                        return self.abandon().await;
                    }
                }
            }
        };
        let now = Instant::now();
        let (reports, report_inbox) = mpsc::channel(REPORTS_MAX);
        let (disk_done, disk_inbox) = mpsc::unbounded_channel();
        let (answers, answer_inbox) = mpsc::unbounded_channel();
        let (swarm, trace) = self.swarm(have, now);
        let trackers = Trackers::new(self.trackers(), answers, now);
        let disk = Disk::new(
            self.storage.clone(),
            self.info.layout().clone(),
            self.shared.pool.clone(),
            self.shared.options.memory,
            disk_done,
        );
        let budget = budget(&self.shared, self.shared.torrents().len());
        let mut task = Task {
            limits: TorrentLimits {
                down: Arc::new(Limiter::new(self.add.down_limit)),
                up: Arc::new(Limiter::new(self.add.up_limit)),
            },
            budget,
            senders: Senders { arrivals: self.arrivals, reports },
            shared: self.shared,
            info: self.info,
            handshake: self.handshake,
            swarm,
            trackers,
            disk,
            view: self.view,
            trace,
            peers: BTreeMap::new(),
            unflushed: Vec::new(),
            seed_only: self.add.seed_only,
            ending: None,
        };
        task.begin(&self.add.priorities, self.add.peers, paused);
        let inbox =
            Inbox { commands, arrivals, reports: report_inbox, disk: disk_inbox, answers: answer_inbox };
        task.run(inbox).await;
    }

    fn swarm(&self, have: Bitfield, now: Instant) -> (Swarm, Option<Trace>) {
        let budget = budget(&self.shared, self.shared.torrents().len());
        let options = SwarmOptions {
            listen_port: Some(self.shared.listen_addr.port()),
            metadata_size: u32::try_from(self.info.bytes().len()).ok(),
            sequential: self.add.sequential,
            peers_max: budget.peers_max,
            half_open_max: budget.half_open_max,
            upload_slots: budget.upload_slots,
            memory_bytes: budget.memory,
            ..SwarmOptions::new(self.handshake.info_hash, self.handshake.peer_id)
        };
        let seed = rand::random();
        let layout = self.info.layout().clone();
        let trace =
            self.shared.trace.clone().map(|file| Trace::new(file, &options, &layout, &have, seed, now));
        (Swarm::new(options, layout, have, seed, now), trace)
    }

    fn trackers(&self) -> TrackersOptions {
        let (tiers, extra) = if self.add.no_trackers {
            (Vec::new(), Vec::new())
        } else {
            (self.add.metainfo.trackers().to_vec(), self.add.extra_trackers.clone())
        };
        TrackersOptions {
            tiers,
            extra,
            total: self.info.layout().total_length(),
            info_hash: self.handshake.info_hash,
            peer_id: self.handshake.peer_id,
            port: self.shared.listen_addr.port(),
            bind: self.shared.options.bind,
            http: self.shared.http.clone(),
            tasks: self.shared.tasks.clone(),
            cancel: self.shared.shutdown.cancel.clone(),
        }
    }

    /// Finds out which pieces are on disk, on a thread that may wait for it, while commands are still heard.
    async fn check(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        arrivals: &mut mpsc::Receiver<super::Arrival>,
        paused: &mut bool,
    ) -> Checked {
        let shutdown = self.shared.shutdown.cancel.clone();
        let layout = self.info.layout();
        let (mut have, pieces) = match &self.add.check {
            Check::Journal => (self.resumed.have.clone(), self.resumed.recheck.clone()),
            Check::Full => (Bitfield::new(layout.piece_count()), layout.pieces().collect()),
            Check::Trust(have) => (have.clone(), Vec::new()),
        };
        for why in self.resumed.why.drain(..) {
            self.view.event(Event::Note(why));
        }
        if pieces.is_empty() {
            return Checked::Have(have);
        }
        let total: u64 = pieces.iter().map(|piece| u64::from(layout.piece_len(*piece))).sum();
        let cancel = Arc::new(AtomicBool::new(false));
        let (mut progress_inbox, mut answer) = self.submit_check(pieces, cancel.clone());
        loop {
            tokio::select! {
                biased;
                result = &mut answer => return match result {
                    Ok(Ok(_)) if cancel.load(Ordering::Relaxed) => Checked::Stopped,
                    Ok(Ok(found)) => {
                        have.union(&found);
                        Checked::Have(have)
                    }
                    Ok(Err(error)) => Checked::Failed(error),
                    Err(_) => Checked::Stopped,
                },
                () = shutdown.cancelled(), if !cancel.load(Ordering::Relaxed) => {
                    cancel.store(true, Ordering::Relaxed);
                }
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => cancel.store(true, Ordering::Relaxed),
                    Some(Command::Pause) => *paused = true,
                    Some(Command::Resume) => *paused = false,
                    // Everything else has its time when the torrent runs; budgets come again.
                    Some(_) => {}
                },
                // Peers that come too early may come again.
                Some(_) = arrivals.recv() => {}
                Ok(()) = progress_inbox.changed() => {
                    let done = progress_inbox.borrow_and_update().bytes;
                    self.set_state(State::Checking { done, total });
                }
            }
        }
    }

    /// Gives pieces to the disk threads to be hashed. The answer never comes when there are no threads any more.
    fn submit_check(
        &self,
        pieces: Vec<PieceIndex>,
        cancel: Arc<AtomicBool>,
    ) -> (watch::Receiver<Progress>, oneshot::Receiver<Result<Bitfield, StorageError>>) {
        let (progress, progress_inbox) = watch::channel(Progress::default());
        let (reply, answer) = oneshot::channel();
        let job = Job::CheckPieces {
            storage: self.storage.clone(),
            pieces,
            cancel,
            progress: Box::new(move |at| {
                progress.send_replace(at);
            }),
            reply: Box::new(move |done| {
                if let Done::Checked(result) = done {
                    // The torrent's task waits for it, except when the process is being torn down.
                    let _ = reply.send(result);
                }
            }),
        };
        if self.shared.pool.submit(job).is_err() {
            tracing::error!("the disk threads are overloaded or gone");
        }
        (progress_inbox, answer)
    }

    /// Waits until the disk may be tried again. `false`: the torrent was stopped meanwhile.
    async fn wait_for_disk(&mut self, error: &StorageError, commands: &mut mpsc::Receiver<Command>) -> bool {
        self.set_state(State::Error {
            text: error.to_string(),
            recoverable: error.is_recoverable(),
            missing: error.bytes_missing(),
        });
        let retry = tokio::time::sleep(CHECK_AGAIN);
        tokio::pin!(retry);
        loop {
            tokio::select! {
                biased;
                () = self.shared.shutdown.cancel.cancelled() => return false,
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => return false,
                    Some(Command::Resume) => return true,
                    Some(_) => {}
                },
                () = &mut retry => return true,
            }
        }
    }

    fn set_state(&mut self, state: State) {
        self.view.state = state.clone();
        self.view.status.send_modify(|status| status.state = state.clone());
        if !matches!(state, State::Checking { .. }) {
            self.view.event(Event::StateChanged(state));
        }
    }

    /// Ends before it began.
    async fn abandon(mut self) {
        let storage = self.storage.clone();
        // What the journal held is untouched, whether or not closing works.
        let _ = tokio::task::spawn_blocking(move || storage.close()).await;
        remove(&self.shared, &self.info);
        self.set_state(State::Stopped);
    }
}

/// A disk that failed while files were looked at is tried again after this.
const CHECK_AGAIN: Duration = Duration::from_secs(10);

impl Task {
    fn begin(&mut self, priorities: &[FilePriority], peers: Vec<std::net::SocketAddr>, paused: bool) {
        let now = Instant::now();
        if !priorities.is_empty() || self.seed_only {
            let priorities = self.piece_priorities(priorities);
            self.handle(Input::Priorities { priorities }, now);
        }
        if let Some(ip) = self.shared.options.bind.filter(|ip| !ip.is_unspecified()) {
            // Trackers name us to ourselves; there is no need to dial to find out.
            self.handle(Input::ExternalAddress { ip }, now);
        }
        if !peers.is_empty() {
            self.handle(Input::PeersFound { source: Source::Explicit, addrs: peers }, now);
        }
        if paused {
            self.pause(now);
        } else {
            self.trackers.start(&self.swarm, now);
            self.set_state(self.working_state());
        }
        if self.swarm.stats().left == 0 {
            self.view.completed_at = Some(now);
        }
        self.publish(now);
    }
}
