//! From a torrent and a folder to a running task: names, files, what is there already, and then the loop, or rest at
//! once when there is nothing to do.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Info, InfoHashes, PieceIndex};
use ferri_storage::{CheckNumber, Resumed, Storage};
use ferri_swarm::{Input, MetadataSwarm, Priority, Source, Swarm, SwarmOptions};
use ferri_trace::machines::SwarmStart;
use ferri_tracker::schedule::Order;
use ferri_wire::Handshake;
use tokio::sync::mpsc::UnboundedSender;

use super::account::Account;
use super::checking::{Checking, Pieces};
use super::disk::{Disk, DiskDone};
use super::files::Files;
use super::moving::Moves;
use super::opening::Opened;
use super::readers::Readers;
use super::rest::channels;
use super::task::{Inbox, Missing, Task, View};
use super::wishes::piece_priorities;
use super::work::Work;
use super::{Inner, TaskSlot, Torrent};
use crate::clock;
use crate::crew::{self, Base, Crew, Names, Permit, Reporter, Senders, TorrentLimits};
use crate::dht::Dht;
use crate::events::EventLog;
use crate::feed::Snapshots;
use crate::network::Facts;
use crate::note::Note;
use crate::registry::{Entry, Registry};
use crate::services::Services;
use crate::share::{Budget, Claim, Use};
use crate::status::{Event, TorrentStatus};
use crate::store::Record;
use crate::trace_file::Traced;
use crate::trackers::{TrackerLists, Trackers, TrackersOptions};
use crate::{AddTorrent, Check, FilePriority};

/// A torrent that has its place, and no task.
pub(super) struct Added {
    pub(super) services: Arc<Services>,
    pub(super) registry: Arc<Registry<Torrent>>,
    pub(super) torrent: Torrent,
    pub(super) entry: Entry,
    pub(super) view: View,
    /// Its turn among those that are checked where its files lie.
    pub(super) number: CheckNumber,
}

/// A handle, and what it shows.
pub(super) fn new(
    services: &Arc<Services>,
    hashes: InfoHashes,
    info: Option<Arc<Info>>,
    first: TorrentStatus,
    record: Option<Arc<Record>>,
) -> (Torrent, View) {
    let (state, is_known) = (first.state.clone(), info.is_some());
    let name = record.as_ref().and_then(|record| record.names.torrent.clone());
    let first = TorrentStatus { name: name.clone().unwrap_or(first.name), ..first };
    let status = Snapshots::new(first, services.feed.clone());
    let events = EventLog::of(hashes.wire(), services.feed.events.clone());
    let follow = Arc::new(AtomicBool::new(false));
    let torrent = Torrent {
        inner: Arc::new(Inner {
            services: Arc::downgrade(services),
            hashes,
            info: info.map_or_else(OnceLock::new, OnceLock::from),
            same_as: OnceLock::new(),
            has_begun: AtomicBool::new(is_known),
            task_slot: Mutex::new(TaskSlot::Empty),
            status: status.watch(),
            events: events.clone(),
            follow: follow.clone(),
            kept: record.map(|record| Mutex::new(Some(record))),
        }),
    };
    let view = View {
        status,
        events,
        follow,
        state,
        stop_reason: None,
        name,
        is_paused: false,
        completed_at: None,
        missing: Missing::default(),
        published_at: clock::now(),
        stale: true,
    };
    (torrent, view)
}

/// A torrent whose files are there.
pub(super) struct Start {
    services: Arc<Services>,
    torrent: Torrent,
    entry: Entry,
    add: AddTorrent,
    info: Arc<Info>,
    handshake: Handshake,
    opened: Opened,
    /// Its turn among those that are checked where its files lie.
    number: CheckNumber,
    view: View,
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
    pub(super) fn new(added: Added, add: AddTorrent, info: Arc<Info>, opened: Opened) -> Self {
        let Added { services, torrent, entry, view, number, .. } = added;
        let info_hash = info.info_hashes().wire();
        let handshake = match info.is_private() {
            true => services.private_handshake(info_hash),
            false => services.handshake(info_hash),
        };
        Self { services, torrent, entry, add, info, handshake, opened, number, view }
    }

    /// Lets a torrent work that was known from the beginning.
    pub(super) fn begin(mut self, mut task_slot: MutexGuard<'_, TaskSlot>) {
        let found = self.found();
        let (handle, senders, disk_done, inbox) = channels();
        let crew = self.crew(&found, senders);
        *task_slot = TaskSlot::Awake(handle);
        drop(task_slot);
        self.task(found, crew, disk_done).launch(inbox);
    }

    /// Lets a torrent work that was sought: its crew goes on, and what reaches it comes where it did. `noted`: the files that
    /// were wished for meanwhile.
    pub(super) fn go_on(
        mut self,
        crew: Crew<MetadataSwarm>,
        (disk_done, mut inbox): (UnboundedSender<DiskDone>, Inbox),
        (noted, work): (Option<Vec<FilePriority>>, Vec<Work>),
    ) {
        let found = self.found();
        let crew = self.inherit(crew, &found, &mut inbox.crew);
        let mut task = self.task(found, crew, disk_done);
        if let Some(wishes) = noted
            && let Err(refused) = task.set_priorities(&wishes, clock::now())
        {
            task.view.event(Event::Note(Note::NotDone(refused)));
        }
        work.into_iter().for_each(|work| task.work(work, clock::now()));
        task.launch(inbox);
    }

    /// What is there, and what has to be said of it.
    fn found(&mut self) -> Found {
        let found = Found::new(&self.add, &self.opened.resumed, &self.info);
        let why = std::mem::take(&mut self.opened.resumed.why);
        let notes = self.opened.storage.files().map(Storage::take_remarks).unwrap_or_default();
        let notes = notes.into_iter().map(Note::FileOfTwo);
        for note in why.into_iter().map(Note::LookedAt).chain(notes) {
            self.view.event(Event::Note(note));
        }
        found
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
        let disk = Disk::new(storage, layout, pool, self.services.capacity.shares.memory(), disk_done);
        let mut task = Task {
            services: self.services,
            torrent: self.torrent,
            entry: self.entry,
            info: self.info,
            crew,
            files,
            readers: Readers::default(),
            account: Account::new(self.opened.totals, now),
            disk,
            moves: Moves::default(),
            view: self.view,
            seed_only: self.add.seed_only,
            ending: None,
            removal: None,
            checking: None,
        };
        task.torrent.keep_place(task.disk.storage());
        task.prefer(&self.add.priorities, now);
        if let Some(dht) = task.services.dht.as_ref().filter(|_| !task.info.is_private()) {
            dht.add_hosts(self.add.source.nodes());
        }
        let known_peers = task.torrent.record().map_or_else(Vec::new, |record| record.known_peers.clone());
        task.introduce(self.add.peers, known_peers, now);
        let lacks_touches = !is_finished;
        if found.recheck.is_empty() {
            task.begin(lacks_touches, now);
        } else {
            let pieces = Pieces::new(found.recheck, task.info.layout(), self.opened.device, self.number);
            task.checking = Some(Box::new(Checking::new(pieces, self.add.priorities, lacks_touches)));
            if task.view.is_paused {
                task.pause(now);
            }
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
        let base = Base {
            machine: self.swarm(found.have.clone(), &first, told.port, now),
            names: self.names(),
            trackers,
            limits: TorrentLimits::new(self.add.limits.down, self.add.limits.up),
            budget,
            told,
            reporter: Reporter { events: self.view.events.clone(), follow: self.view.follow.clone() },
            span: self.services.torrent_span(self.handshake.info_hash),
        };
        base.gather(self.services.clone(), claim, permit, senders)
    }

    /// The crew of a search goes on.
    fn inherit(&self, mut crew: Crew<MetadataSwarm>, found: &Found, inbox: &mut crew::Inbox) -> Crew<Swarm> {
        let now = clock::now();
        let mut options = self.trackers(crew.port());
        if crew.trackers().is_edited() {
            options.lists = crew.trackers().lists();
        }
        if crew.names().handshake.info_hash == self.handshake.info_hash {
            let total = self.info.layout().total_length();
            crew.learn_trackers(total, options.lists, now);
        } else {
            // It was sought by the second name of a hybrid.
            crew.replace_trackers(Trackers::new(options, now), inbox);
        }
        let permit = Self::permit(found);
        let (budget, port) = (permit.apply(crew.budget()), crew.port());
        let make = || self.swarm(found.have.clone(), &budget, port, now);
        crew.exchange(&self.info, self.names(), permit, make, now)
    }

    fn swarm(&self, have: Bitfield, budget: &Budget, port: u16, now: Instant) -> Traced<Swarm> {
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
        let of = self.handshake.info_hash.to_string();
        let start = SwarmStart {
            options,
            layout: self.info.layout().clone(),
            have,
            seed: self.services.identity.seed(),
        };
        Traced::new(self.services.trace.as_ref(), &of, start, now)
    }

    fn trackers(&self, port: u16) -> TrackersOptions {
        let record = self.torrent.record();
        TrackersOptions {
            lists: TrackerLists::of(&self.add, record.as_deref()),
            total: Some(self.info.layout().total_length()),
            order: Order::default(),
            info_hash: self.handshake.info_hash,
            peer_id: self.handshake.peer_id,
            port,
            bind: self.services.options.bind,
            trace: self.services.trace.clone(),
        }
    }
}

impl Task {
    /// Begins to work, if there is anything to do.
    fn launch(mut self, inbox: Inbox) {
        // What is logged here is of the torrent and not of its caller.
        let span = self.crew.span().clone();
        let _entered = span.enter();
        if self.checking.is_some() {
            self.look_at_pieces();
        } else {
            // What is due now may come to nothing but another wait.
            self.timeout();
        }
        self.drain();
        if !self.is_idle(clock::now()) {
            self.spawn(inbox);
        } else if let Some(task) = self.rest(&inbox) {
            task.spawn(inbox);
        }
    }

    /// Tells the swarm what is to be fetched for these wishes, if that is not simply everything.
    pub(super) fn prefer(&mut self, files: &[FilePriority], now: Instant) {
        self.files.wish(files);
        if !files.is_empty() || self.seed_only || !self.disk.storage().awaited().is_empty() {
            let priorities = self.piece_priorities(files);
            self.handle(Input::Priorities { priorities }, now);
        }
    }

    /// Tells the machines who we are and whom a person named.
    fn introduce(&mut self, peers: Vec<SocketAddr>, known: Vec<SocketAddr>, now: Instant) {
        if let Some(ip) = self.services.egress.source() {
            // Trackers name us to ourselves; there is no need to dial to find out.
            self.handle(Input::ExternalAddress { ip }, now);
        }
        self.crew.look_at_network(now);
        if !peers.is_empty() {
            self.handle(Input::PeersFound { source: Source::Explicit, addrs: peers }, now);
        }
        if !known.is_empty() {
            self.handle(Input::PeersFound { source: Source::Resume, addrs: known }, now);
        }
    }

    /// Works, for it is known which pieces are there. `lacks_touches`: whoever downloaded it may have died before it was done.
    pub(super) fn begin(&mut self, lacks_touches: bool, now: Instant) {
        self.view.missing.lacks = self.crew.machine().stats().left != 0;
        if !self.view.missing.lacks {
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
