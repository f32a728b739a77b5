//! A torrent of which only the hash is known: its info dictionary is fetched from peers, or was left in the state folder
//! by an earlier run.
//!
//! It is a torrent like others, with one task that hears everything it is told: what can be done is done at once, and the
//! rest is noted for [`Task`], which goes on in the same channels and with the same crew. Once the dictionary is here its
//! files are opened, when it is known where (the caller may want to choose first), while connections are kept alive and
//! peers may come.

mod cache;
mod known;
mod orders;
mod snapshot;

use std::future::pending;
use std::mem::discriminant;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::magnet::{Magnet, PeerAddress};
use ferri_metainfo::{Info, Metainfo, MetainfoError};
use ferri_storage::{CheckNumber, StorageError, TorrentLock};
use ferri_swarm::{Input, MetadataSwarm, Output, Source, SwarmOptions};
use ferri_trace::machines::SearchStart;
use ferri_tracker::schedule::Order;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use self::cache::Cached;
use super::disk::DiskDone;
use super::fault::Remains;
use super::opening::{Opened, Opening};
use super::rest::channels;
use super::setting::Setting;
use super::start::Added;
use super::task::{Inbox, View};
use super::work::Work;
use super::{TaskSlot, Torrent};
use crate::clock;
use crate::crew::{self, Base, Crew, Happened, Names, Permit, Reporter, TorrentLimits};
use crate::network::Facts;
use crate::note::Note;
use crate::registry::{Entry, Registry};
use crate::services::Services;
use crate::share::{Claim, Use};
use crate::status::Event;
use crate::trace_file::Traced;
use crate::trackers::{TrackerLists, Trackers, TrackersOptions};
use crate::{AddTorrent, Error, FilePriority};

/// A snapshot at most this often, when something changed.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// And this often when nothing did: the DHT comes and goes without a word.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Trackers are told within this that it is over, or not at all.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// The task of a torrent that is not known yet.
pub(super) struct Search {
    services: Arc<Services>,
    registry: Arc<Registry<Torrent>>,
    torrent: Torrent,
    entry: Entry,
    magnet: Magnet,
    crew: Crew<MetadataSwarm>,
    disk_done: UnboundedSender<DiskDone>,
    view: View,
    /// Its turn among those that are checked.
    number: CheckNumber,
    /// Until its files are opened, which has a lock of its own.
    _lock: Option<TorrentLock>,
    step: Step,
    /// Where its files go, once that is known.
    chosen: Option<Chosen>,
    noted: Noted,
    /// They wait for the info dictionary.
    asking: Vec<oneshot::Sender<Result<Arc<Info>, Error>>>,
    ending: Option<Instant>,
}

/// How far it is.
enum Step {
    /// Peers are asked for the info dictionary, or looked for.
    Seeking,
    /// It is here, and the caller is to say what becomes of it.
    Held(Arc<Info>),
    /// Its files are looked for.
    Opening(Arc<Info>, Opening),
    /// Its files could not be opened. That is tried again at this instant, when it may help.
    Failed(Arc<Info>, Option<Instant>),
    /// Nothing can come of it.
    Useless(MetainfoError),
}

/// What becomes of it.
struct Chosen {
    add: Box<AddTorrent>,
    /// The caller that chose waits for what comes of it; otherwise that is a state of the torrent.
    reply: Option<oneshot::Sender<Result<(), Error>>>,
}

/// What it was told that only a torrent with pieces can do.
#[derive(Debug, Default)]
struct Noted {
    wishes: Option<Vec<FilePriority>>,
    /// One of a kind.
    settings: Vec<Setting>,
    /// Moves and renames.
    work: Vec<Work>,
}

impl Noted {
    fn set(&mut self, setting: Setting) {
        self.settings.retain(|noted| discriminant(noted) != discriminant(&setting));
        self.settings.push(setting);
    }
}

/// How to begin with what an earlier run left.
#[derive(Debug)]
pub(super) enum Begin {
    /// The info dictionary is here.
    Known(Box<Info>),
    /// It has to be fetched.
    Unknown {
        /// For a person.
        note: Option<String>,
        /// `None`: the state folder has no locks, or cannot be written to, which is told when files are opened.
        lock: Option<TorrentLock>,
    },
}

/// Looks for what an earlier run left of a magnet link's torrent. Where that is nothing, the torrent is locked from here on: a
/// second process with the same state folder would otherwise hear of the first one only when the info dictionary is there.
pub(super) async fn look(services: &Services, magnet: &Magnet) -> Result<Begin, Error> {
    let (state_dir, wanted) = (services.disk.state_dir.clone(), magnet.info_hashes);
    let owner = services.disk.lock_owner;
    let look = move || {
        let note = match cache::read(&state_dir, &wanted) {
            Cached::Info(info) => return Ok(Begin::Known(info)),
            Cached::Nothing => None,
            Cached::Damaged(why) => Some(why),
        };
        match TorrentLock::search(&state_dir, &wanted, owner) {
            Err(StorageError::Busy { .. }) => Err(Error::AlreadyRunning(wanted.wire())),
            lock => Ok(Begin::Unknown { note, lock: lock.ok() }),
        }
    };
    tokio::task::spawn_blocking(look).await.map_err(Error::of_thread)?
}

/// The torrent of a magnet link, if an earlier run left its info dictionary in `state_dir`. Asks no peer; waits for the disk.
#[must_use]
pub fn known_torrent(state_dir: &Path, magnet: &Magnet) -> Option<Metainfo> {
    cache::peek(state_dir, &magnet.info_hashes).map(|info| magnet.metainfo(info))
}

/// Peers that a magnet link and its caller name.
pub(super) fn named(magnet: &Magnet, add: &AddTorrent) -> Vec<PeerAddress> {
    let typed = add.peers.iter().copied().map(PeerAddress::Socket);
    magnet.peers.iter().cloned().chain(typed).collect()
}

/// Lets a torrent work of which only the hash is known, or which waits for a choice.
pub(super) fn start(
    added: Added,
    mut task_slot: MutexGuard<'_, TaskSlot>,
    magnet: Magnet,
    add: AddTorrent,
    begin: Begin,
    is_held: bool,
) {
    let Added { services, registry, torrent, entry, view, number } = added;
    let (handle, senders, disk_done, inbox) = channels();
    let record = torrent.record();
    let lists = TrackerLists::of(&add, record.as_deref());
    let crew = crew(&services, &magnet, (&add, lists), senders, &view);
    *task_slot = TaskSlot::Awake(handle);
    drop(task_slot);
    let peers = named(&magnet, &add);
    let (begin, lock) = match begin {
        Begin::Known(info) => (Ok(info), None),
        Begin::Unknown { note, lock } => (Err(note), lock),
    };
    let mut search = Search {
        services,
        registry,
        torrent,
        entry,
        magnet,
        crew,
        disk_done,
        view,
        number,
        _lock: lock,
        step: Step::Seeking,
        chosen: (!is_held).then(|| Chosen { add: Box::new(add), reply: None }),
        noted: Noted::default(),
        asking: Vec::new(),
        ending: None,
    };
    let now = clock::now();
    // What is logged here is of the torrent and not of its caller.
    let span = search.crew.span().clone();
    let _entered = span.enter();
    match begin {
        Ok(info) => {
            // There is nothing to ask peers for.
            search.crew.permit(Permit::NOTHING, now);
            search.learn(Arc::new(*info), now);
        }
        Err(note) => {
            if let Some(note) = note {
                search.view.event(Event::Note(Note::InfoDamaged(note)));
            }
            search.begin(now);
        }
    }
    search.introduce(peers, now);
    search.spawn(inbox);
}

/// The crew of a torrent of which only the hash is known.
fn crew(
    services: &Arc<Services>,
    magnet: &Magnet,
    (add, lists): (&AddTorrent, TrackerLists),
    senders: crew::Senders,
    view: &View,
) -> Crew<MetadataSwarm> {
    let now = clock::now();
    let hashes = magnet.info_hashes;
    let handshake = services.handshake(hashes.wire());
    let mut claim = Claim::new(services.capacity.shares.clone());
    let budget = claim.renew(Use { peers: 0, dials: 0, memory: 0, fetches: false });
    let told = Facts { port: services.network.facts().port, v4: None, v6: None };
    let options = SwarmOptions {
        listen_port: Some(told.port),
        pex: services.options.pex,
        peers_max: budget.peers_max,
        half_open_max: budget.half_open_max,
        other_hash: hashes.other(),
        ..SwarmOptions::new(handshake.info_hash, handshake.peer_id)
    };
    let start = SearchStart::new(options, hashes, services.identity.seed());
    let base = Base {
        machine: Traced::new(services.trace.as_ref(), &handshake.info_hash.to_string(), start, now),
        names: Names { handshake, hashes },
        trackers: Trackers::new(trackers(services, magnet, lists), now),
        limits: TorrentLimits::new(add.limits.down, add.limits.up),
        budget,
        told,
        reporter: Reporter { events: view.events.clone(), follow: view.follow.clone() },
        span: services.torrent_span(handshake.info_hash),
    };
    base.gather(services.clone(), claim, Permit::EVERYTHING, senders)
}

impl Search {
    /// Works in a task of the session.
    fn spawn(self, inbox: Inbox) {
        let remains = Remains {
            services: self.services.clone(),
            torrent: self.torrent.clone(),
            storage: None,
            status: self.view.status.clone(),
            events: self.view.events.clone(),
        };
        let span = self.crew.span().clone();
        remains.spawn(self.run(inbox), span);
    }

    async fn run(mut self, mut inbox: Inbox) {
        let cancel = self.services.shutdown.cancel.clone();
        self.drain();
        while !self.has_ended() {
            let wake = self.next_due();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                opened = opened(&mut self.step) => {
                    if let Some(opened) = self.opened(opened) {
                        return self.become_known(opened, inbox);
                    }
                }
                Some(command) = inbox.commands.recv() => self.command(command),
                () = tokio::time::sleep_until(wake.into()) => self.timeout(),
                happened = inbox.crew.next() => self.happened(happened, &mut inbox.crew),
            }
            self.drain();
        }
        self.end();
    }

    /// Looks for peers.
    fn begin(&mut self, now: Instant) {
        self.crew.start_trackers(now);
        self.show();
        self.publish(now);
    }

    /// Tells the machine who we are and which peers a person named, and asks for the addresses of hosts.
    fn introduce(&mut self, named: Vec<PeerAddress>, now: Instant) {
        if let Some(ip) = self.services.egress.source() {
            // Trackers name us to ourselves; there is no need to dial to find out.
            self.crew.handle(Input::ExternalAddress { ip }, now);
        }
        self.crew.look_at_network(now);
        let (addrs, hosts) = split(named);
        self.add_peers(addrs, now);
        ask_for(&self.services, &self.torrent, hosts);
    }

    fn add_peers(&mut self, addrs: Vec<SocketAddr>, now: Instant) {
        if !addrs.is_empty() {
            self.crew.handle(Input::PeersFound { source: Source::Explicit, addrs }, now);
        }
    }

    /// Lets others find the torrent without a tracker. Whether it is private is not known: nothing is said about us, peers
    /// are only asked for; the local network is told.
    fn show(&self) {
        let hashes = self.crew.names().hashes;
        self.services.lsd.announce(&hashes);
        if let Some(dht) = &self.services.dht {
            hashes.names().for_each(|name| dht.find(name));
        }
    }

    fn hide(&self) {
        self.services.hide(&self.crew.names().hashes);
    }

    fn is_seeking(&self) -> bool {
        matches!(self.step, Step::Seeking)
    }

    fn next_due(&self) -> Instant {
        let interval = if self.view.stale { PUBLISH_INTERVAL } else { LOOK_AGAIN };
        let again = match self.step {
            Step::Failed(_, again) => again,
            _ => None,
        };
        let wakes = [self.crew.next_due(), self.ending, again, Some(self.view.published_at + interval)];
        wakes.into_iter().flatten().min().unwrap_or_else(|| clock::now() + LOOK_AGAIN)
    }

    fn timeout(&mut self) {
        let now = clock::now();
        self.crew.timeout(now);
        if let Step::Failed(_, Some(again)) = self.step
            && again <= now
        {
            self.open(now);
        }
        let interval = if self.view.stale { PUBLISH_INTERVAL } else { LOOK_AGAIN };
        if self.view.published_at + interval <= now {
            self.publish(now);
        }
    }

    fn happened(&mut self, happened: Happened, inbox: &mut crew::Inbox) {
        let now = clock::now();
        let Happened::Reports = happened else { return self.crew.happened(happened, now) };
        for (peer, report) in inbox.reports() {
            // No peer is sent a block of a torrent that is not known.
            let _ = self.crew.report(peer, report, now);
        }
    }

    /// Carries out everything the machines want, then hands the gathered messages over, once a peer.
    fn drain(&mut self) {
        let now = clock::now();
        while let Some(output) = self.crew.poll(now) {
            match output {
                Output::Metadata { bytes } => self.found(&bytes, now),
                Output::WantPeers => self.crew.want_peers(now),
                Output::Event(event) => self.event(event),
                // About pieces, which a torrent has that is known.
                _ => {}
            }
        }
        self.crew.flush();
        self.view.stale |= self.crew.take_change();
    }

    fn event(&self, event: ferri_swarm::SwarmEvent) {
        if let ferri_swarm::SwarmEvent::MetadataCorrupt { senders, .. } = event {
            self.view.event(Event::Note(Note::InfoCorrupt { senders }));
        }
    }

    /// A whole dictionary with the right hash.
    fn found(&mut self, bytes: &Bytes, now: Instant) {
        // One that is held was here before.
        if !self.is_seeking() {
            return;
        }
        match Info::parse(bytes) {
            Ok(info) => {
                self.keep(bytes.clone());
                self.learn(Arc::new(info), now);
            }
            // Its hash is right: no peer has a better one.
            Err(error) => self.give_up(error, now),
        }
    }

    /// Leaves the info dictionary for the next run, while this one goes on.
    fn keep(&self, bytes: Bytes) {
        let (state_dir, wanted) = (self.services.disk.state_dir.clone(), self.magnet.info_hashes);
        let events = self.view.events.clone();
        let write = move || {
            if let Err(error) = cache::write(&state_dir, &wanted, &bytes) {
                events.send(Event::Note(Note::InfoNotKept(error.to_string())));
            }
        };
        let written = tokio::task::spawn_blocking(write);
        self.services.tasks.spawn(async move { drop(written.await) });
    }
}

/// What came of the look for the torrent's files; waits for ever while there is no look.
async fn opened(step: &mut Step) -> Result<Opened, Error> {
    match step {
        Step::Opening(_, opening) => opening.await,
        _ => pending().await,
    }
}

/// Addresses, and hosts that have to be asked for.
pub(super) fn split(named: Vec<PeerAddress>) -> (Vec<SocketAddr>, Vec<(String, u16)>) {
    let (mut addrs, mut hosts) = (Vec::new(), Vec::new());
    for peer in named {
        match peer {
            PeerAddress::Socket(addr) => addrs.push(addr),
            PeerAddress::Host { name, port } => hosts.push((name, port)),
        }
    }
    (addrs, hosts)
}

/// Adds the peers behind these hosts, as they are found.
pub(super) fn ask_for(services: &Services, torrent: &Torrent, hosts: Vec<(String, u16)>) {
    for (name, port) in hosts {
        let (torrent, egress) = (torrent.clone(), services.egress.clone());
        services.spawn_until_stop(async move {
            match egress.look_up(&name, port, None).await {
                Ok(addrs) => {
                    torrent.bring_peers(Source::Explicit, addrs.into_iter().take(ADDRESSES_MAX).collect());
                }
                Err(error) => tracing::debug!(name, %error, "a peer of the magnet link has no address"),
            }
        });
    }
}

/// How the trackers of a link are asked: a few at the same time, as one that does not answer must not hold up the others.
fn trackers(services: &Services, magnet: &Magnet, lists: TrackerLists) -> TrackersOptions {
    TrackersOptions {
        lists,
        total: None,
        order: Order::EveryTier,
        info_hash: magnet.info_hashes.wire(),
        peer_id: services.identity.peer_id,
        port: services.network.facts().port,
        bind: services.options.bind,
        trace: services.trace.clone(),
    }
}
