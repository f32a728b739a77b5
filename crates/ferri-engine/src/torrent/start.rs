//! From a torrent and a folder to a running task: names, files, what is there already, and then the loop, or rest at
//! once when there is nothing to do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::magnet::PeerAddress;
use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Bitfield, Info, InfoHash, PieceIndex};
use ferri_storage::{
    CheckNumber, CheckOrder, CheckTicket, Done, Halt, Place, Progress, Resumed, Storage, StorageError,
    StorageOptions, Totals,
};
use ferri_swarm::{Input, Priority, Source, Swarm, SwarmOptions};
use ferri_tracker::schedule::Order;
use ferri_wire::Handshake;
use tokio::sync::{mpsc, oneshot, watch};

use super::account::Account;
use super::disk::Disk;
use super::fault::Remains;
use super::files::Files;
use super::rest::{channels, take_over};
use super::task::{BUDGET_INTERVAL, Inbox, Learnt, Senders, Task, TorrentLimits, View};
use super::wishes::{piece_priorities, wanted};
use super::{Command, Inner, Seat, Torrent};
use crate::dht::Dht;
use crate::events::EventLog;
use crate::handshake::Arrival;
use crate::network::Facts;
use crate::rate::Limiter;
use crate::registry::Entry;
use crate::resolve::Estate;
use crate::services::Services;
use crate::share::{Budget, Claim, Use};
use crate::status::{AllTime, Event, State, TorrentStatus};
use crate::trace_file::Trace;
use crate::trackers::{Trackers, TrackersOptions};
use crate::{AddTorrent, Check, Error, FilePriority, Resolved, resolve};

/// Starts a torrent. `enter` registers it, in the place of the search for it where there is one.
pub(crate) async fn add(
    services: &Arc<Services>,
    mut add: AddTorrent,
    mut resolved: Option<Resolved>,
    enter: impl FnOnce(&Torrent, Option<Entry>) -> Result<Entry, Error>,
) -> Result<Torrent, Error> {
    let check_number = services.disk.pool.number();
    let info = add.metainfo.shared_info();
    let hashes = info.info_hashes();
    let Some(info_hash) = hashes.v1 else {
        return Err(Error::Unsupported(
            "this torrent is version 2 only, and transfer of version 2 is not there yet; a hybrid of it would work".to_owned(),
        ));
    };
    let (opened, resumed) = open(services, &mut add, &info, info_hash).await?;
    let mut estate = match &mut resolved {
        Some(resolved) => resolved.claim(info_hash).await,
        None => None,
    };
    // What a search has it knows already.
    let named = resolved.filter(|_| estate.is_none()).map_or_else(Vec::new, Resolved::into_peers);
    let hosts = name_peers(&mut add, named);

    let (status, snapshot) = watch::channel(first_status(&info));
    let events = EventLog::new();
    let follow = Arc::new(AtomicBool::new(false));
    let torrent = Torrent {
        inner: Arc::new(Inner {
            services: Arc::downgrade(services),
            info: info.clone(),
            info_hashes: hashes,
            seat: Mutex::new(Seat::Empty),
            status: snapshot,
            events: events.clone(),
            follow: follow.clone(),
        }),
    };
    let view = View {
        status,
        events,
        follow,
        state: State::Checking { done: 0, total: 0 },
        completed_at: None,
        published_at: Instant::now(),
        stale: true,
    };
    let is_private = info.is_private();
    let handshake =
        if is_private { services.private_handshake(info_hash) } else { services.handshake(info_hash) };
    let seat = torrent.seat();
    let entry = enter(&torrent, estate.as_mut().and_then(|estate| estate.entry.take()))?;
    let start = Start {
        services: services.clone(),
        torrent: torrent.clone(),
        entry,
        add,
        info,
        handshake,
        opened,
        check_number,
        view,
        estate,
    };
    start.begin(resumed, seat);
    ask_for(services, &torrent, hosts);
    Ok(torrent)
}

/// Adds peers that a magnet link names, except those whose host has to be asked for.
fn name_peers(add: &mut AddTorrent, named: Vec<PeerAddress>) -> Vec<(String, u16)> {
    let mut hosts = Vec::new();
    for peer in named {
        match peer {
            PeerAddress::Socket(addr) => add.peers.push(addr),
            PeerAddress::Host { name, port } => hosts.push((name, port)),
        }
    }
    hosts
}

/// Adds the peers behind these hosts, as they are found.
fn ask_for(services: &Services, torrent: &Torrent, hosts: Vec<(String, u16)>) {
    for (name, port) in hosts {
        let (torrent, egress) = (torrent.clone(), services.egress.clone());
        services.spawn_until_stop(async move {
            torrent.add_peers(resolve::look_up(&egress, &name, port).await).await;
        });
    }
}

/// A torrent's files as they were found.
struct Opened {
    storage: Arc<Storage>,
    /// A complete download needs no last touches.
    is_finished: bool,
    /// Where they lie.
    device: u64,
    /// What earlier sessions did.
    totals: Totals,
}

/// Looks for the torrent's files, and at what the journal says of them.
async fn open(
    services: &Services,
    add: &mut AddTorrent,
    info: &Arc<Info>,
    info_hash: InfoHash,
) -> Result<(Opened, Resumed), Error> {
    let paths = LocalPaths::new(info)?;
    // Who gives up the wait for it lets nobody go on with it.
    let halt = Halt::default();
    let (root, top) = match &add.payload {
        Some(payload) => {
            let (root, top) = beside(payload)?;
            (root, Some(top))
        }
        None => (add.output.clone(), None),
    };
    let place = Place { root, state_dir: Some(services.options.state_dir.clone()) };
    // What is only served is read where it lies, the neighbours of a chosen file too.
    let wanted = if add.seed_only { wanted(info, &[]) } else { wanted(info, &add.priorities) };
    let options = StorageOptions {
        preallocate: add.preallocate,
        top,
        // Payload that is only services is nobody's to touch.
        read_only: add.seed_only,
        overwrite: add.overwrite,
        places: add.places.take(),
        halt: halt.clone(),
        ..StorageOptions::default()
    };
    let halt_on_drop = halt.raise_on_drop();
    let info = info.clone();
    let checks = add.check.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let storage = Arc::new(Storage::new(info, paths, place, options, &wanted)?);
        let mut resumed = storage.resume()?;
        let (totals, note) = storage.read_totals()?;
        resumed.why.extend(note);
        let is_finished = storage.is_finished();
        // What is checked first is looked at afterwards.
        let is_checked_first = match checks {
            Check::Journal => !resumed.recheck.is_empty(),
            Check::Full => true,
            Check::Trust(_) => false,
        };
        if !(is_checked_first || is_finished && resumed.have.is_full()) {
            storage.guard()?;
        }
        let device = storage.place().device();
        Ok((Opened { storage, is_finished, device, totals }, resumed))
    });
    let opened = opened.await?;
    halt_on_drop.disarm();
    match opened {
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

fn first_status(info: &Info) -> TorrentStatus {
    TorrentStatus {
        name: info.name().to_owned(),
        info_hashes: info.info_hashes(),
        state: State::Checking { done: 0, total: 0 },
        check_place: None,
        wait: None,
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
        all_time: AllTime::default(),
        complete_since: None,
    }
}

/// A torrent whose files are being looked at.
struct Start {
    services: Arc<Services>,
    torrent: Torrent,
    entry: Entry,
    add: AddTorrent,
    info: Arc<Info>,
    handshake: Handshake,
    opened: Opened,
    /// Its turn among those that are checked where its files lie.
    check_number: CheckNumber,
    view: View,
    /// What a search for the info dictionary left.
    estate: Option<Box<Estate>>,
}

/// What there is, and what may be.
struct Found {
    have: Bitfield,
    recheck: Arc<[PieceIndex]>,
}

/// Pieces that are being checked, or wait for that.
struct Checking {
    /// `None`: the disk threads are gone.
    ticket: Option<CheckTicket>,
    /// Bytes to look at.
    total: u64,
    progress: watch::Receiver<Progress>,
    answer: oneshot::Receiver<Result<Bitfield, StorageError>>,
}

impl Checking {
    fn cancel(&self) {
        if let Some(ticket) = &self.ticket {
            ticket.cancel();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.ticket.as_ref().is_some_and(CheckTicket::is_cancelled)
    }
}

impl Found {
    fn new(add: &AddTorrent, resumed: &Resumed, info: &Info) -> Self {
        let layout = info.layout();
        match &add.check {
            Check::Journal => Self { have: resumed.have.clone(), recheck: resumed.recheck.as_slice().into() },
            // Of what is only served nobody asks for the rest.
            Check::Full if add.seed_only => {
                let wishes = piece_priorities(info, &add.priorities);
                let is_served = |piece: &PieceIndex| wishes[piece.as_usize()] != Priority::Skip;
                let recheck = layout.pieces().filter(is_served).collect();
                Self { have: Bitfield::new(layout.piece_count()), recheck }
            }
            Check::Full => {
                Self { have: Bitfield::new(layout.piece_count()), recheck: layout.pieces().collect() }
            }
            Check::Trust(have) => Self { have: have.clone(), recheck: Arc::default() },
        }
    }
}

/// Whether somebody paused it while its files were looked at.
enum Paused {
    Yes,
    No,
}

/// How looking at the files ended.
enum Checked {
    /// These of the pieces that may be there are.
    Have(Bitfield),
    /// The caller stopped it.
    Stopped,
    /// The disk did not let us.
    Failed(StorageError),
}

/// Whether something is in the way.
enum Way {
    /// No.
    Clear,
    /// Not any more.
    Cleared,
    /// Yes, and the caller stopped it.
    Stopped,
}

impl Start {
    /// Lets the torrent work, if there is anything to do.
    fn begin(mut self, resumed: Resumed, mut seat: MutexGuard<'_, Seat>) {
        let found = Found::new(&self.add, &resumed, &self.info);
        for why in resumed.why.into_iter().chain(self.opened.storage.take_given_up()) {
            self.view.event(Event::Note(why));
        }
        let (mut door, mut senders, mut inbox) = channels();
        if let Some(estate) = &mut self.estate {
            take_over(estate, &mut door, &mut senders, &mut inbox);
        }
        *seat = Seat::Awake(door);
        drop(seat);
        if found.recheck.is_empty() {
            let mut task = self.task(found.have, Paused::No, senders);
            // What is due now may come to nothing but another wait.
            task.timeout();
            task.drain();
            if !task.is_idle(Instant::now()) {
                task.spawn(inbox);
            } else if let Some(task) = task.rest(&inbox) {
                task.spawn(inbox);
            }
        } else {
            let checking = self.begin_check(&found.recheck);
            self.spawn(found, checking, senders, inbox);
        }
    }

    fn spawn(self, found: Found, checking: Checking, senders: Senders, inbox: Inbox) {
        let remains = Remains {
            services: self.services.clone(),
            torrent: self.torrent.clone(),
            info: self.info.clone(),
            storage: self.opened.storage.clone(),
            status: self.view.status.clone(),
            events: self.view.events.clone(),
        };
        remains.spawn(self.run(found, checking, senders, inbox));
    }

    async fn run(mut self, mut found: Found, mut checking: Checking, senders: Senders, mut inbox: Inbox) {
        let mut paused = Paused::No;
        loop {
            match self.check(checking, &mut inbox, &mut paused).await {
                Checked::Have(checked) => {
                    match self.clear_the_way(&mut inbox.commands).await {
                        Way::Clear => {}
                        // What was moved away is to be missed.
                        Way::Cleared => {
                            checking = self.begin_check(&found.recheck);
                            continue;
                        }
                        Way::Stopped => return self.abandon().await,
                    }
                    found.have.union(&checked);
                    let mut task = self.task(found.have, paused, senders);
                    // What was just found may never have been synced; once it is, the next start believes it unseen.
                    task.disk.sync();
                    return task.run(inbox).await;
                }
                Checked::Stopped => return self.abandon().await,
                Checked::Failed(error) => {
                    if !self.wait_for_disk(&error, &mut inbox.commands).await {
                        return self.abandon().await;
                    }
                    checking = self.begin_check(&found.recheck);
                }
            }
        }
    }

    /// The torrent, ready to run.
    fn task(mut self, have: Bitfield, paused: Paused, senders: Senders) -> Task {
        let now = Instant::now();
        let mut claim = Claim::new(self.services.capacity.shares.clone());
        let budget = claim.renew(Use { peers: 0, dials: 0, memory: 0, fetches: !have.is_full() });
        let told = Facts { port: self.services.network.facts().port, v4: None, v6: None };
        let (trackers, learnt) = self.inherit(told.port, now);
        let (swarm, trace) = self.swarm(have, &budget, told.port, now);
        let files = Files::new(
            self.info.layout().clone(),
            swarm.have(),
            self.opened.storage.wanted(),
            self.opened.is_finished,
        );
        let disk = Disk::new(
            self.opened.storage.clone(),
            self.info.layout().clone(),
            self.services.disk.pool.clone(),
            self.services.options.memory,
            senders.disk.clone(),
        );
        let mut task = Task {
            limits: TorrentLimits {
                down: Arc::new(Limiter::new(self.add.down_limit)),
                up: Arc::new(Limiter::new(self.add.up_limit)),
            },
            trackers,
            claim,
            budget,
            budget_at: now + BUDGET_INTERVAL,
            senders,
            services: self.services,
            torrent: self.torrent,
            entry: self.entry,
            info: self.info,
            handshake: self.handshake,
            swarm,
            files,
            account: Account::new(self.opened.totals, now),
            disk,
            view: self.view,
            trace,
            peers: BTreeMap::new(),
            unflushed: Vec::new(),
            seed_only: self.add.seed_only,
            told,
            ending: None,
        };
        task.prefer(&self.add.priorities);
        if !self.opened.is_finished && task.swarm.stats().left == 0 {
            // Whoever downloaded it died before it was done.
            task.disk.finish();
        }
        if let Some(dht) = task.services.dht.as_ref().filter(|_| !task.info.is_private()) {
            dht.add_hosts(self.add.metainfo.nodes());
        }
        if let Some(learnt) = learnt {
            task.adopt(learnt, now);
        }
        task.begin(self.add.peers, paused);
        task
    }

    /// The talk with the trackers, new or begun by a search, and what else the search left.
    fn inherit(&mut self, port: u16, now: Instant) -> (Trackers, Option<Learnt>) {
        let options = self.trackers(port);
        let Some(estate) = self.estate.take() else { return (Trackers::new(options, now), None) };
        let Estate { mut trackers, wires, inputs, dialled, .. } = *estate;
        trackers.learn(self.info.layout().total_length(), options.tiers, options.extra, now);
        (trackers, Some(Learnt { wires, inputs, dialled }))
    }

    fn swarm(&self, have: Bitfield, budget: &Budget, port: u16, now: Instant) -> (Swarm, Option<Trace>) {
        let private = self.info.is_private();
        let options = SwarmOptions {
            listen_port: Some(port),
            metadata: Some(Bytes::from_owner(self.info.shared_bytes())),
            private,
            other_hash: self.info.info_hashes().other(),
            pex: self.services.options.pex && !private,
            dht_port: self.services.dht.as_ref().filter(|_| !private).map(Dht::udp_port),
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
            self.services.trace.clone().map(|file| Trace::new(file, &options, &layout, &have, seed, now));
        (Swarm::new(options, layout, have, seed, now), trace)
    }

    fn trackers(&self, port: u16) -> TrackersOptions {
        let (tiers, extra) = if self.add.no_trackers {
            (Vec::new(), Vec::new())
        } else {
            (self.add.metainfo.trackers().to_vec(), self.add.extra_trackers.clone())
        };
        TrackersOptions {
            tiers,
            extra,
            total: Some(self.info.layout().total_length()),
            order: Order::default(),
            info_hash: self.handshake.info_hash,
            peer_id: self.handshake.peer_id,
            port,
            bind: self.services.options.bind,
        }
    }

    /// Finds out which pieces are on disk, on a thread that may wait for it, while commands are still heard.
    async fn check(&mut self, mut checking: Checking, inbox: &mut Inbox, paused: &mut Paused) -> Checked {
        let shutdown = self.services.shutdown.cancel.clone();
        loop {
            tokio::select! {
                biased;
                result = &mut checking.answer => return match result {
                    Ok(Ok(_)) if checking.is_cancelled() => Checked::Stopped,
                    Ok(Ok(found)) => Checked::Have(found),
                    Ok(Err(StorageError::Halted)) => Checked::Stopped,
                    Ok(Err(error)) => Checked::Failed(error),
                    Err(_) => Checked::Stopped,
                },
                () = shutdown.cancelled(), if !checking.is_cancelled() => checking.cancel(),
                command = inbox.commands.recv() => match command {
                    Some(Command::Stop) | None => checking.cancel(),
                    Some(Command::Pause) => *paused = Paused::Yes,
                    Some(Command::Resume) => *paused = Paused::No,
                    // Everything else has its time when the torrent runs.
                    Some(_) => {}
                },
                Some(arrival) = inbox.arrivals.recv() => {
                    // A swarm that is to be waits for how these went; peers that come too early may come again.
                    if let (Arrival::Dialled { .. }, Some(estate)) = (&arrival, &mut self.estate) {
                        estate.dialled.push(arrival);
                    }
                }
                Ok(()) = checking.progress.changed() => {
                    let done = checking.progress.borrow_and_update().bytes;
                    self.set_state(State::Checking { done, total: checking.total });
                }
            }
        }
    }

    /// Gives pieces to the disk threads to be hashed when it is their turn. The answer never comes when there are no threads
    /// any more.
    fn begin_check(&mut self, pieces: &Arc<[PieceIndex]>) -> Checking {
        let layout = self.info.layout();
        let total: u64 = pieces.iter().map(|piece| u64::from(layout.piece_len(*piece))).sum();
        let (progress, progress_inbox) = watch::channel(Progress::default());
        let (reply, answer) = oneshot::channel();
        let order = CheckOrder {
            storage: self.opened.storage.clone(),
            pieces: pieces.clone(),
            device: self.opened.device,
            number: self.check_number,
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
        let ticket = self.services.disk.pool.check(order).ok();
        let place = ticket.as_ref().map(|ticket| ticket.place().clone());
        self.view.status.send_modify(|status| status.check_place = place);
        self.set_state(State::Checking { done: 0, total });
        Checking { ticket, total, progress: progress_inbox, answer }
    }

    /// Waits until nothing of the user's lies where the torrent's files are to be written.
    async fn clear_the_way(&mut self, commands: &mut mpsc::Receiver<Command>) -> Way {
        let mut way = Way::Clear;
        loop {
            match self.guard().await {
                Ok(Ok(())) => {
                    for note in self.opened.storage.take_given_up() {
                        self.view.event(Event::Note(note));
                    }
                    return way;
                }
                Ok(Err(StorageError::Halted)) => return Way::Stopped,
                Ok(Err(error)) => {
                    if !self.wait_for_disk(&error, commands).await {
                        return Way::Stopped;
                    }
                    way = Way::Cleared;
                }
                Err(_) => return Way::Stopped,
            }
        }
    }

    /// Looks for what is in the way, until the session ends.
    async fn guard(&self) -> Result<Result<(), StorageError>, tokio::task::JoinError> {
        let storage = self.opened.storage.clone();
        let mut guard = tokio::task::spawn_blocking(move || storage.guard());
        tokio::select! {
            biased;
            result = &mut guard => result,
            () = self.services.shutdown.stop_accepting.cancelled() => {
                self.opened.storage.halt();
                guard.await
            }
        }
    }

    /// Waits until the disk may be tried again. `false`: the torrent was stopped meanwhile.
    async fn wait_for_disk(&mut self, error: &StorageError, commands: &mut mpsc::Receiver<Command>) -> bool {
        self.set_state(State::Error {
            text: error.to_string(),
            recoverable: error.is_recoverable(),
            missing: error.bytes_missing(),
            in_the_way: error.is_in_the_way(),
            fault: false,
        });
        let retry = tokio::time::sleep(CHECK_AGAIN);
        tokio::pin!(retry);
        loop {
            tokio::select! {
                biased;
                () = self.services.shutdown.cancel.cancelled() => return false,
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
        if let Some(estate) = self.estate.take() {
            estate.end(&self.services, &self.view.events).await;
        }
        let storage = self.opened.storage.clone();
        // What the journal held is untouched, whether or not closing works.
        let close = move || {
            let _ = storage.close();
            storage.leave();
        };
        let _ = tokio::task::spawn_blocking(close).await;
        self.entry.leave();
        self.services.hide(&self.info.info_hashes());
        *self.torrent.seat() = Seat::Empty;
        self.set_state(State::Stopped);
    }
}

/// A disk that failed while files were looked at is tried again after this.
const CHECK_AGAIN: Duration = Duration::from_secs(10);

impl Task {
    fn prefer(&mut self, files: &[FilePriority]) {
        if !files.is_empty() || self.seed_only || !self.disk.storage().awaited().is_empty() {
            let priorities = self.piece_priorities(files);
            self.handle(Input::Priorities { priorities }, Instant::now());
        }
    }

    fn begin(&mut self, peers: Vec<std::net::SocketAddr>, paused: Paused) {
        let now = Instant::now();
        if let Some(ip) = self.services.egress.source() {
            // Trackers name us to ourselves; there is no need to dial to find out.
            self.handle(Input::ExternalAddress { ip }, now);
        }
        self.look_at_network(now);
        if !peers.is_empty() {
            self.handle(Input::PeersFound { source: Source::Explicit, addrs: peers }, now);
        }
        match paused {
            Paused::Yes => self.pause(now),
            Paused::No => {
                self.show();
                // A search may have begun to talk with them.
                if self.trackers.is_stopped() {
                    self.trackers.start(now);
                }
                self.set_state(self.working_state());
            }
        }
        if self.swarm.stats().left == 0 {
            self.view.completed_at = Some(now);
        }
        self.publish(now);
    }
}
