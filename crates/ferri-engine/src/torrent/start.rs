//! From a torrent and a folder to a running task: names, files, what is there already, and then the loop, or rest at
//! once when there is nothing to do.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use ferri_metainfo::magnet::PeerAddress;
use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Bitfield, Info, InfoHash, PieceIndex};
use ferri_storage::{CheckNumber, Halt, Place, Resumed, Storage, StorageError, StorageOptions, Totals};
use ferri_swarm::{Input, MetadataSwarm, Priority, Source, Swarm, SwarmOptions};
use ferri_tracker::schedule::Order;
use ferri_wire::Handshake;
use tokio::sync::mpsc::UnboundedSender;

use super::account::Account;
use super::checking::{Checking, Pieces};
use super::disk::{Disk, DiskDone};
use super::files::Files;
use super::rest::channels;
use super::task::{Task, View};
use super::wishes::{piece_priorities, wanted};
use super::{Inner, Seat, Torrent};
use crate::clock;
use crate::crew::{Base, Crew, Names, Permit, Reporter, Senders, TorrentLimits};
use crate::dht::Dht;
use crate::events::EventLog;
use crate::feed::Snapshots;
use crate::network::Facts;
use crate::registry::Entry;
use crate::resolve::Estate;
use crate::services::Services;
use crate::share::{Budget, Claim, Use};
use crate::status::{Event, State, TorrentStatus};
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

    let status = Snapshots::new(first_status(&info), services.feed.clone());
    let events = EventLog::of(hashes.wire(), services.feed.events.clone());
    let follow = Arc::new(AtomicBool::new(false));
    let torrent = Torrent {
        inner: Arc::new(Inner {
            services: Arc::downgrade(services),
            info: info.clone(),
            info_hashes: hashes,
            seat: Mutex::new(Seat::Empty),
            status: status.watch(),
            events: events.clone(),
            follow: follow.clone(),
        }),
    };
    let view = View {
        status,
        events,
        follow,
        state: State::Checking { done: 0, total: 0 },
        is_paused: false,
        completed_at: None,
        published_at: clock::now(),
        stale: true,
    };
    let is_private = info.is_private();
    let handshake =
        if is_private { services.private_handshake(info_hash) } else { services.handshake(info_hash) };
    let seat = torrent.seat();
    let entry = enter(&torrent, estate.as_mut().and_then(|estate| estate.entry.take()))?;
    view.status.enter();
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
            // One that has stopped meanwhile needs none.
            let _ = torrent.add_peers(resolve::look_up(&egress, &name, port).await).await;
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
    let total = info.layout().total_length();
    TorrentStatus {
        total,
        wanted: total,
        pieces_total: info.layout().piece_count(),
        ..TorrentStatus::new(info.name().to_owned(), info.info_hashes())
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

impl Start {
    /// Lets the torrent work, if there is anything to do.
    fn begin(mut self, resumed: Resumed, mut seat: MutexGuard<'_, Seat>) {
        let found = Found::new(&self.add, &resumed, &self.info);
        for why in resumed.why.into_iter().chain(self.opened.storage.take_given_up()) {
            self.view.event(Event::Note(why));
        }
        let (mut door, senders, disk_done, mut inbox) = channels();
        let crew = match self.estate.take() {
            Some(estate) => {
                // Dials and announces that a search began end in its channels: those become the torrent's.
                let Estate { crew, inbox: begun, door: open, .. } = *estate;
                (inbox.crew, door.crew) = (begun, open);
                self.inherit(crew, &found)
            }
            None => self.crew(&found, senders),
        };
        *seat = Seat::Awake(door);
        drop(seat);
        let is_checked_first = !found.recheck.is_empty();
        let mut task = self.task(found, crew, disk_done);
        if is_checked_first {
            task.look_at_pieces();
        } else {
            // What is due now may come to nothing but another wait.
            task.timeout();
        }
        task.drain();
        if !task.is_idle(clock::now()) {
            task.spawn(inbox);
        } else if let Some(task) = task.rest(&inbox) {
            task.spawn(inbox);
        }
    }

    /// The torrent, which works or waits for its pieces to be looked at.
    fn task(self, found: Found, crew: Crew<Swarm>, disk_done: UnboundedSender<DiskDone>) -> Task {
        let now = clock::now();
        let storage = self.opened.storage;
        let is_finished = self.opened.is_finished;
        let (layout, wanted) = (self.info.layout().clone(), storage.wanted());
        let files = Files::new(layout.clone(), crew.machine().have(), wanted, is_finished);
        crew.serve_from(storage.clone());
        let pool = self.services.disk.pool.clone();
        let disk =
            Disk::new(storage, layout, pool, self.services.capacity.shares.memory(), disk_done.clone());
        let mut task = Task {
            services: self.services,
            torrent: self.torrent,
            entry: self.entry,
            info: self.info,
            crew,
            files,
            account: Account::new(self.opened.totals, now),
            disk,
            disk_done,
            view: self.view,
            seed_only: self.add.seed_only,
            ending: None,
            checking: None,
        };
        task.prefer(&self.add.priorities, now);
        if let Some(dht) = task.services.dht.as_ref().filter(|_| !task.info.is_private()) {
            dht.add_hosts(self.add.metainfo.nodes());
        }
        task.introduce(self.add.peers, now);
        let lacks_touches = !is_finished;
        if found.recheck.is_empty() {
            task.begin(lacks_touches, now);
        } else {
            let pieces =
                Pieces::new(found.recheck, task.info.layout(), self.opened.device, self.check_number);
            task.checking = Some(Box::new(Checking::new(pieces, self.add.priorities, lacks_touches)));
        }
        task
    }

    /// What the torrent's machine may do first: nothing is fetched, and nobody dialled, before it is known what there is.
    fn permit(found: &Found) -> Permit {
        if found.recheck.is_empty() { Permit::EVERYTHING } else { Permit::NOTHING }
    }

    fn names(&self) -> Names {
        Names { handshake: self.handshake, hashes: self.info.info_hashes() }
    }

    /// The crew of a torrent that nothing is known of yet.
    fn crew(&self, found: &Found, senders: Senders) -> Crew<Swarm> {
        let now = clock::now();
        let mut claim = Claim::new(self.services.capacity.shares.clone());
        let budget = claim.renew(Use { peers: 0, dials: 0, memory: 0, fetches: !found.have.is_full() });
        let permit = Self::permit(found);
        let told = Facts { port: self.services.network.facts().port, v4: None, v6: None };
        let trackers = Trackers::new(self.trackers(told.port), now);
        let first = permit.apply(budget);
        let (machine, trace) = self.swarm(found.have.clone(), &first, told.port, now);
        let base = Base {
            machine,
            trace,
            names: self.names(),
            trackers,
            limits: TorrentLimits::new(self.add.down_limit, self.add.up_limit),
            budget,
            told,
            reporter: Reporter { events: self.view.events.clone(), follow: self.view.follow.clone() },
            span: self.services.torrent_span(self.handshake.info_hash),
        };
        base.gather(self.services.clone(), claim, permit, senders)
    }

    /// The crew of a search goes on.
    fn inherit(&self, mut crew: Crew<MetadataSwarm>, found: &Found) -> Crew<Swarm> {
        let now = clock::now();
        let options = self.trackers(self.services.network.facts().port);
        let total = self.info.layout().total_length();
        crew.learn_trackers(total, options.tiers, options.extra, now);
        crew.limits().set(self.add.down_limit, self.add.up_limit);
        let permit = Self::permit(found);
        let (budget, port) = (permit.apply(crew.budget()), crew.port());
        let reporter = Reporter { events: self.view.events.clone(), follow: self.view.follow.clone() };
        let make = || self.swarm(found.have.clone(), &budget, port, now);
        crew.exchange(&self.info, self.names(), permit, reporter, make, now)
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
}

impl Task {
    /// Tells the swarm what is to be fetched for these wishes, if that is not simply everything.
    pub(super) fn prefer(&mut self, files: &[FilePriority], now: Instant) {
        if !files.is_empty() || self.seed_only || !self.disk.storage().awaited().is_empty() {
            let priorities = self.piece_priorities(files);
            self.handle(Input::Priorities { priorities }, now);
        }
    }

    /// Tells the machines who we are and whom a person named.
    fn introduce(&mut self, peers: Vec<SocketAddr>, now: Instant) {
        if let Some(ip) = self.services.egress.source() {
            // Trackers name us to ourselves; there is no need to dial to find out.
            self.handle(Input::ExternalAddress { ip }, now);
        }
        self.crew.look_at_network(now);
        if !peers.is_empty() {
            self.handle(Input::PeersFound { source: Source::Explicit, addrs: peers }, now);
        }
    }

    /// Works, for it is known which pieces are there. `lacks_touches`: whoever downloaded it may have died before it was done.
    pub(super) fn begin(&mut self, lacks_touches: bool, now: Instant) {
        if self.crew.machine().stats().left == 0 {
            self.view.completed_at = Some(now);
            if lacks_touches {
                self.disk.finish();
            }
        }
        if self.view.is_paused {
            self.pause(now);
        } else {
            self.show();
            // A search may have begun to talk with them.
            if self.crew.trackers().is_stopped() {
                self.crew.start_trackers(now);
            }
            self.set_state(self.working_state());
        }
        self.publish(now);
    }
}
