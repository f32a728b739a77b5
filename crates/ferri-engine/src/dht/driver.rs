//! The task that owns the node: datagrams and wishes in, datagrams and findings out, nodes saved now and then.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ferri_dht::{ContactKind, Family, Input, Lookup, Node, NodeEvent, Outcome, Output, State};
use ferri_metainfo::InfoHash;
use ferri_trace::machines::NodeStart;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::announces::Purpose;
use super::news::News;
use super::reach::Reach;
use super::{COMMANDS_MAX, Command, Dht, DhtOptions, Found, ROUTERS, Torrents};
use crate::egress::{Egress, host_and_port};
use crate::panics::caught;
use crate::trace_file::{TraceFile, Traced};
use crate::udp::{Datagram, Sockets};

/// Nodes are saved this often, and at the end.
const SAVE_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The first time is earlier: a run that is cut short soon leaves something too.
const SAVE_FIRST: Duration = Duration::from_secs(60);
/// Nodes are counted for people this often, while anything happens.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);
/// Names that are looked up or wait for it ([`Egress`](crate::egress::Egress) looks up a few at a time): those of many torrents
/// that are added at once.
const RESOLVING_MAX: usize = 1_024;
/// Between the end of a node that panicked and the next one.
const RENEW_PAUSE: Duration = Duration::from_secs(1);
/// Commands taken before the node's outputs are carried out.
const COMMAND_BATCH: usize = 16;
/// Saved nodes larger than this are not ours.
const STATE_BYTES_MAX: u64 = 256 << 10;

/// What the session hears.
#[derive(Debug)]
pub(crate) enum Told {
    /// Peers of one of the announced torrents.
    Peers(InfoHash, Vec<SocketAddr>),
    /// Other nodes agree on our address.
    ExternalAddress(IpAddr),
}

/// Everything the task has.
#[derive(Debug)]
pub(crate) struct Driver {
    node: Traced<Node>,
    origin: Origin,
    ways: Ways,
    commands: mpsc::Receiver<Command>,
    handle: Dht,
    torrents: Arc<Torrents>,
    searches: BTreeMap<Lookup, Ongoing>,
    next_lookup: u64,
    routers: Vec<(String, u16)>,
    resolving: JoinSet<(ContactKind, Vec<SocketAddr>)>,
    state: Option<PathBuf>,
    save_at: Instant,
    counted_at: Instant,
    reach: Reach,
    said_why_alone: bool,
}

/// What a node is made of, that of before and the next one.
#[derive(Debug)]
struct Origin {
    options: ferri_dht::Options,
    /// Where it is recorded.
    trace: Option<Arc<TraceFile>>,
}

impl Origin {
    fn node(&self, state: Option<State>, now: Instant) -> Traced<Node> {
        let start = NodeStart { options: self.options.clone(), state, seed: rand::random() };
        Traced::new(self.trace.as_ref(), "session", start, now)
    }
}

/// How others are reached, and reach the node.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) egress: Arc<Egress>,
    pub(crate) sockets: Sockets,
    /// What came by the sockets and is for the node.
    pub(crate) datagrams: mpsc::Receiver<Vec<Datagram>>,
}

/// A search of a caller.
#[derive(Debug)]
struct Ongoing {
    found: mpsc::Sender<Found>,
    outcome: oneshot::Sender<Outcome>,
}

impl Driver {
    /// A node with what was saved.
    pub(crate) async fn new(options: DhtOptions, ways: Ways, trace: Option<Arc<TraceFile>>) -> Self {
        let state = saved(options.state.clone()).await;
        let (ipv4, ipv6) = ways.sockets.families();
        let routers = routers(&options);
        let node_options = ferri_dht::Options {
            ipv4: options.node.ipv4 && ipv4,
            ipv6: options.node.ipv6 && ipv6,
            ..options.node
        };
        let origin = Origin { options: node_options, trace };
        let now = Instant::now();
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let torrents = Arc::<Torrents>::default();
        let handle = Dht { commands: sender, udp_port: ways.sockets.port(), torrents: torrents.clone() };
        Self {
            node: origin.node(state, now),
            origin,
            ways,
            commands,
            handle,
            torrents,
            searches: BTreeMap::new(),
            next_lookup: 0,
            routers,
            resolving: JoinSet::new(),
            state: options.state,
            save_at: now + SAVE_FIRST,
            counted_at: now,
            reach: Reach::new(now),
            said_why_alone: false,
        }
    }

    /// How others reach it.
    pub(crate) fn handle(&self) -> Dht {
        self.handle.clone()
    }

    /// Runs until cancelled, then saves the nodes. `tell` hears what concerns the session. A node that panics is replaced by
    /// another one.
    pub(crate) async fn run(mut self, cancel: CancellationToken, tell: impl Fn(Told) + Send + Sync) {
        while let Err(panic) = caught(self.work(&cancel, &tell)).await {
            tracing::error!(%panic, "the DHT node failed by a fault of ours; another one begins");
            if cancel.run_until_cancelled(tokio::time::sleep(RENEW_PAUSE)).await.is_none() {
                return;
            }
            self.renew().await;
        }
        self.save().await;
    }

    /// A new node in the place of the old one, whose lookups are lost.
    async fn renew(&mut self) {
        let (state, now) = (saved(self.state.clone()).await, Instant::now());
        self.node = self.origin.node(state, now);
        (self.reach, self.save_at) = (Reach::new(now), now + SAVE_FIRST);
        self.searches.clear();
        self.torrents.announces().lookups_lost(now);
    }

    /// Runs until cancelled.
    async fn work(&mut self, cancel: &CancellationToken, tell: &(impl Fn(Told) + Sync)) {
        let mut commands = Vec::with_capacity(COMMAND_BATCH);
        self.drain(tell);
        loop {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(wake.into()) => self.timeout().await,
                Some(Ok((kind, addrs))) = self.resolving.join_next() => {
                    self.node.handle(Input::Contacts { addrs, kind }, Instant::now());
                }
                () = self.torrents.changed.notified() => self.torrents_changed(),
                _ = self.commands.recv_many(&mut commands, COMMAND_BATCH) => {
                    for command in commands.drain(..) {
                        self.command(command);
                    }
                }
                Some(batch) = self.ways.datagrams.recv() => self.received(batch),
            }
            self.drain(tell);
            self.count();
        }
    }

    fn wake_at(&self) -> Instant {
        let due = [self.node.poll_timeout(), self.torrents.announces().next_due(), self.reach.poll_timeout()];
        due.into_iter().flatten().fold(self.save_at, Instant::min)
    }

    async fn timeout(&mut self) {
        let now = Instant::now();
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.node.handle(Input::Timeout, now);
        }
        if self.save_at <= now {
            self.save_at = now + SAVE_INTERVAL;
            self.save().await;
        }
        if self.reach.timeout(now) {
            tracing::info!("no stranger reaches the DHT node: it only asks from here on");
            self.node.handle(Input::ReadOnly { read_only: true }, now);
        }
        self.announce(now);
    }

    fn torrents_changed(&mut self) {
        let now = Instant::now();
        self.hear(self.torrents.take_news(), now);
        let gone = self.torrents.announces().take_cancelled();
        for lookup in gone {
            self.node.handle(Input::Cancel { lookup }, now);
        }
        self.announce(now);
    }

    fn announce(&mut self, now: Instant) {
        let (next, port) = (&mut self.next_lookup, self.torrents.port.load(Ordering::Relaxed));
        let started = self.torrents.announces().start(port, now, || {
            *next += 1;
            Lookup(*next)
        });
        for (lookup, info_hash, purpose) in started {
            let tell = |seed| Input::Announce { lookup, info_hash, port, implied_port: false, seed };
            let input = match purpose {
                Purpose::Find => Input::GetPeers { lookup, info_hash },
                Purpose::Leech => tell(false),
                Purpose::Seed => tell(true),
            };
            self.node.handle(input, now);
        }
    }

    fn received(&mut self, batch: Vec<Datagram>) {
        let now = Instant::now();
        for (from, bytes) in batch {
            if self.reach.received(from, &bytes) {
                self.node.handle(Input::ReadOnly { read_only: false }, now);
            }
            self.node.handle(Input::Datagram { from, bytes }, now);
        }
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Search { input, found, outcome } => {
                self.next_lookup += 1;
                let lookup = Lookup(self.next_lookup);
                self.searches.insert(lookup, Ongoing { found, outcome });
                self.node.handle(input.named(lookup), now);
            }
            Command::Input(input) => self.node.handle(input, now),
            // The caller may have stopped waiting.
            Command::Status(reply) => drop(reply.send(self.node.status(now))),
            Command::Buckets(family, reply) => drop(reply.send(self.node.table(family, now))),
            #[cfg(test)]
            Command::Panic => panic!("on purpose"),
        }
    }

    fn hear(&mut self, news: News, now: Instant) {
        if news.has_moved || news.is_reach_new {
            self.reach_changed(now);
        }
        if news.has_moved {
            self.node.handle(Input::NetworkChanged, now);
        }
        for ip in news.external.into_iter().flatten() {
            self.node.handle(Input::ExternalAddress { ip }, now);
        }
        if !news.contacts.is_empty() {
            let addrs = news.contacts.into_iter().collect();
            self.node.handle(Input::Contacts { addrs, kind: ContactKind::Port }, now);
        }
        self.resolve(ContactKind::Torrent, news.hosts.into_iter().collect(), |_| true);
    }

    fn reach_changed(&mut self, now: Instant) {
        if self.reach.changed(now) {
            self.node.handle(Input::ReadOnly { read_only: false }, now);
        }
    }

    fn drain(&mut self, tell: &impl Fn(Told)) {
        let now = Instant::now();
        let deserted = self.searches.iter().filter(|(_, search)| search.found.is_closed());
        for lookup in deserted.map(|(lookup, _)| *lookup).collect::<Vec<_>>() {
            self.searches.remove(&lookup);
            self.node.handle(Input::Cancel { lookup }, now);
        }
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    self.reach.sent(to, now);
                    if let Err(error) = self.ways.sockets.send(to, &bytes) {
                        tracing::trace!(%to, %error, "a datagram could not be sent");
                    }
                }
                Output::Peers { lookup, peers } => {
                    let torrent = self.torrents.announces().torrent(lookup);
                    match torrent {
                        Some(info_hash) => tell(Told::Peers(info_hash, peers)),
                        None => self.found(lookup, Found::Peers(peers)),
                    }
                }
                Output::Item { lookup, item } => self.found(lookup, Found::Item(item)),
                Output::Samples { lookup, from, info_hashes, total, .. } => {
                    self.found(lookup, Found::Samples { from, info_hashes, total });
                }
                Output::Finished { lookup, outcome } => {
                    let is_announce =
                        self.torrents.announces().finished(lookup, &outcome, rand::random(), now);
                    if !is_announce && let Some(search) = self.searches.remove(&lookup) {
                        // The caller may have stopped waiting.
                        let _ = search.outcome.send(outcome);
                    }
                }
                Output::WantContacts { family } => {
                    self.say_why_alone();
                    let routers = self.routers.clone();
                    self.resolve(ContactKind::Router, routers, move |addr| Family::of(*addr) == family);
                }
                Output::Event(event) => self.event(event, tell, now),
            }
        }
    }

    /// A node on this host alone does not ask the usual routers, and finds no other until one is named.
    fn say_why_alone(&mut self) {
        if self.routers.is_empty() && !std::mem::replace(&mut self.said_why_alone, true) {
            tracing::info!(
                "the DHT knows no node: on loopback the public ones are not asked, and no router was named"
            );
        }
    }

    /// Lets others see how many nodes there are, now and then.
    fn count(&mut self) {
        let now = Instant::now();
        if self.counted_at + COUNT_INTERVAL <= now {
            self.counted_at = now;
            let good = self.node.status(now).families.iter().map(|family| family.good).sum();
            self.torrents.good.store(good, Ordering::Relaxed);
        }
    }

    /// A listener that sleeps misses what does not fit.
    fn found(&self, lookup: Lookup, found: Found) {
        if let Some(search) = self.searches.get(&lookup) {
            let _ = search.found.try_send(found);
        }
    }

    fn event(&mut self, event: NodeEvent, tell: &impl Fn(Told), now: Instant) {
        match event {
            NodeEvent::ExternalAddress { ip } => tell(Told::ExternalAddress(ip)),
            NodeEvent::Bootstrapped { family, nodes } => {
                tracing::info!(?family, nodes, "the DHT is reached");
                self.torrents.announces().bootstrapped(now);
                self.reach.entered(now);
            }
            NodeEvent::IdChanged { family, id } => tracing::debug!(?family, %id, "the node has a new id"),
            NodeEvent::Lonely { family } => tracing::info!(?family, "no DHT node answers"),
        }
    }

    fn resolve(
        &mut self,
        kind: ContactKind,
        hosts: Vec<(String, u16)>,
        is_wanted: impl Fn(&SocketAddr) -> bool + Copy + Send + Sync + 'static,
    ) {
        for (host, port) in hosts {
            if RESOLVING_MAX <= self.resolving.len() {
                return;
            }
            let egress = self.ways.egress.clone();
            self.resolving.spawn(async move {
                let addrs = match egress.look_up(&host, port, None).await {
                    Ok(addrs) => addrs.into_iter().filter(is_wanted).collect(),
                    Err(error) => {
                        tracing::debug!(host, %error, "a node has no address");
                        Vec::new()
                    }
                };
                (kind, addrs)
            });
        }
    }

    async fn save(&self) {
        let Some(path) = self.state.clone() else { return };
        let state = self.node.state();
        // What was saved before is better than nothing.
        if state.nodes.is_empty() {
            return;
        }
        let saved =
            tokio::task::spawn_blocking(move || ferri_storage::atomic_write_private(&path, &state.encode()));
        if let Ok(Err(error)) = saved.await {
            tracing::warn!(%error, "the DHT nodes could not be saved");
        }
    }
}

/// Those that the caller named, and the usual ones unless the node stays on this host anyway.
fn routers(options: &DhtOptions) -> Vec<(String, u16)> {
    let usual = if options.bind.is_some_and(|ip| ip.is_loopback()) { &[][..] } else { &ROUTERS };
    let named = options.routers.iter().map(String::as_str).chain(usual.iter().copied());
    let read = |router: &str| {
        let place = host_and_port(router);
        if place.is_none() {
            tracing::warn!(router, "this router is left out: it should be HOST:PORT");
        }
        place.map(|(host, port)| (host.to_owned(), port))
    };
    named.filter_map(read).collect()
}

/// What was saved, if anything was.
async fn saved(path: Option<PathBuf>) -> Option<State> {
    let path = path?;
    tokio::task::spawn_blocking(move || load(&path)).await.ok().flatten()
}

/// What was saved. A file that is none of ours is as good as none: the next save replaces it.
fn load(path: &Path) -> Option<State> {
    let length = std::fs::metadata(path).ok()?.len();
    if STATE_BYTES_MAX < length {
        tracing::warn!(path = %path.display(), "these are no saved DHT nodes; beginning without");
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    State::decode(&bytes)
        .inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "beginning without saved DHT nodes"),
        )
        .ok()
}
