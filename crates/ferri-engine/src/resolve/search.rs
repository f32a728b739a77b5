//! The task of a search: the machine that asks peers for the info dictionary, its connections and its trackers.
//!
//! It is what a torrent's task is before there is a torrent. Once the info dictionary is there it goes on (connections
//! are kept alive, peers may come) until somebody takes what it has or nobody can any more. A private torrent's
//! connections rest from that moment on: nothing more is said to peers that its trackers did not name (BEP 27).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::magnet::{Magnet, PeerAddress};
use ferri_metainfo::{Info, InfoHash};
use ferri_swarm::{Direction, Input, MetadataSwarm, Output, PeerKey, Source, SwarmOptions};
use ferri_tracker::schedule::Order;
use ferri_wire::Handshake;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::discovery::Discovery;
use super::farewell::{Unknown, farewell};
use super::handover::{Estate, Release};
use super::{Claim, Door, ResolveState, ResolveStatus, Resolved, cache, look_up};
use crate::crowd::Pass;
use crate::dht::Dht;
use crate::events::EventLog;
use crate::external::Voter;
use crate::handshake::Arrival;
use crate::mailbox::{Mail, Mailbox};
use crate::outbox::Outbox;
use crate::panics::caught;
use crate::peer::link::Link;
use crate::peer::{Connection, Report, Wire};
use crate::rate::{Limiter, Limits};
use crate::registry::Entry;
use crate::services::Services;
use crate::share::{self, Budget, Use};
use crate::trackers::{Answer, Trackers, TrackersOptions};
use crate::{Error, Event, ResolveMagnet, handshake};

/// Reports of peers taken at once.
const BATCH_MAX: usize = 64;
/// Reports of peers waiting for the task, each of at most one read; beyond that peers wait, and TCP slows them.
const REPORTS_MAX: usize = 8;
/// Connections waiting to be admitted.
const ARRIVALS_MAX: usize = 64;
/// A snapshot at most this often.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// How many connections the search may have is found out anew after this.
const BUDGET_INTERVAL: Duration = Duration::from_secs(1);
/// Trackers of a link that are asked at the same time. Further ones stand in for those that fail.
const TRACKERS_AT_ONCE: usize = 16;

/// Everything that reaches the task.
#[derive(Debug)]
struct Inbox {
    mail: Arc<Mailbox>,
    arrivals: mpsc::Receiver<Arrival>,
    reports: mpsc::Receiver<(PeerKey, Report)>,
    /// Bounded by the announces in flight, one a tracker.
    answers: mpsc::UnboundedReceiver<Answer>,
}

/// Where the task's own children report to.
#[derive(Debug)]
struct Senders {
    arrivals: mpsc::Sender<Arrival>,
    reports: mpsc::Sender<(PeerKey, Report)>,
    answers: mpsc::UnboundedSender<Answer>,
}

/// What users see.
pub(super) struct View {
    pub(super) status: watch::Sender<ResolveStatus>,
    pub(super) events: EventLog,
    pub(super) since: Instant,
}

/// A search's task.
struct Search {
    services: Arc<Services>,
    /// The search is in the session's registry.
    entry: Entry,
    magnet: Magnet,
    handshake: Handshake,
    machine: MetadataSwarm,
    trackers: Trackers,
    senders: Senders,
    peers: BTreeMap<PeerKey, Peer>,
    /// Peers with something in their outbox.
    unflushed: Vec<PeerKey>,
    claim: share::Claim,
    budget: Budget,
    budget_at: Instant,
    view: View,
    published_at: Instant,
    /// The info dictionary, once.
    found: Option<Bytes>,
    /// Whom a person named.
    named: Vec<PeerAddress>,
    /// Until the torrent is known.
    discovery: Option<Discovery>,
}

/// The task's side of a connection.
struct Peer {
    addr: SocketAddr,
    direction: Direction,
    outbox: Outbox,
    /// It counts among the connections of the session.
    _pass: Pass,
}

/// Registers a search and lets it run. What it finds it gives to `give`.
pub(super) fn start(
    services: &Arc<Services>,
    resolve: ResolveMagnet,
    view: View,
    give: oneshot::Sender<Result<Resolved, Error>>,
    stop: CancellationToken,
    enter: impl FnOnce(Door) -> Result<Entry, Error>,
) -> Result<(), Error> {
    let (arrivals, arrival_inbox) = mpsc::channel(ARRIVALS_MAX);
    let (reports, report_inbox) = mpsc::channel(REPORTS_MAX);
    let mail = Arc::<Mailbox>::default();
    let (answers, answer_inbox) = mpsc::unbounded_channel();
    let inbox =
        Inbox { mail: mail.clone(), arrivals: arrival_inbox, reports: report_inbox, answers: answer_inbox };
    let door = Door { arrivals: arrivals.clone(), mail };
    let entry = enter(door.clone())?;
    let senders = Senders { arrivals, reports, answers };
    let mut search = Search::new(services, entry, resolve, senders, view);
    search.begin();
    search.dial_named(&door, &stop);
    let (status, info_hash) = (search.view.status.clone(), search.magnet.info_hashes.wire());
    let run = async move {
        // What waits for the search hears that it is over, and so does the registry.
        if let Err(panic) = caught(search.run(inbox, give, stop)).await {
            tracing::error!(%info_hash, %panic, "the search for a magnet link failed by a fault of ours");
            status.send_modify(|status| status.state = ResolveState::Ended);
        }
    };
    services.tasks.spawn(services.shutdown.searches.track_future(run));
    Ok(())
}

impl Search {
    fn new(
        services: &Arc<Services>,
        entry: Entry,
        resolve: ResolveMagnet,
        senders: Senders,
        view: View,
    ) -> Self {
        let now = Instant::now();
        let hashes = resolve.magnet.info_hashes;
        let handshake = services.handshake(hashes.wire());
        let mut claim = share::Claim::new(services.capacity.shares.clone());
        let budget = claim.renew(Use { peers: 0, dials: 0, memory: 0, fetches: false });
        let options = SwarmOptions {
            listen_port: Some(services.network.facts().port),
            pex: services.options.pex,
            peers_max: budget.peers_max,
            half_open_max: budget.half_open_max,
            other_hash: hashes.other(),
            ..SwarmOptions::new(handshake.info_hash, handshake.peer_id)
        };
        let machine = MetadataSwarm::new(options, hashes, rand::random(), now);
        let trackers = Trackers::new(trackers(&resolve, services, handshake.info_hash), now);
        let named = super::peers(&resolve);
        Self {
            services: services.clone(),
            entry,
            magnet: resolve.magnet,
            handshake,
            machine,
            trackers,
            senders,
            peers: BTreeMap::new(),
            unflushed: Vec::new(),
            claim,
            budget,
            budget_at: now + BUDGET_INTERVAL,
            view,
            published_at: now,
            found: None,
            named,
            discovery: None,
        }
    }

    fn begin(&mut self) {
        let now = Instant::now();
        if let Some(ip) = self.services.egress.source() {
            // Trackers name us to ourselves; there is no need to dial to find out.
            self.machine.handle(Input::ExternalAddress { ip }, now);
        }
        self.trackers.start(now);
        self.discovery = Some(Discovery::begin(&self.services, self.magnet.info_hashes));
        self.publish(ResolveState::Searching);
    }

    /// Whom the link and the caller name, and the addresses of hosts as they come.
    fn dial_named(&mut self, door: &Door, stop: &CancellationToken) {
        let mut addrs = Vec::new();
        for peer in self.named.clone() {
            match peer {
                PeerAddress::Socket(addr) => addrs.push(addr),
                PeerAddress::Host { name, port } => {
                    let (door, egress) = (door.clone(), self.services.egress.clone());
                    let ask = async move {
                        door.mail.found(Source::Explicit, look_up(&egress, &name, port).await);
                    };
                    self.services.tasks.spawn(stop.clone().run_until_cancelled_owned(ask));
                }
            }
        }
        if !addrs.is_empty() {
            self.machine.handle(Input::PeersFound { source: Source::Explicit, addrs }, Instant::now());
        }
    }

    async fn run(
        self,
        inbox: Inbox,
        give: oneshot::Sender<Result<Resolved, Error>>,
        stop: CancellationToken,
    ) {
        let status = self.view.status.clone();
        self.work(inbox, give, stop).await;
        status.send_modify(|status| status.state = ResolveState::Ended);
    }

    /// Searches, gives what it finds, and waits for whoever wants the rest.
    async fn work(
        mut self,
        mut inbox: Inbox,
        mut give: oneshot::Sender<Result<Resolved, Error>>,
        stop: CancellationToken,
    ) {
        let bytes = tokio::select! {
            biased;
            () = stop.cancelled() => return self.end(inbox).await,
            () = give.closed() => return self.end(inbox).await,
            bytes = self.search(&mut inbox) => bytes,
        };
        self.discovery = None;
        let info = match Info::parse(&bytes) {
            Ok(info) => info,
            Err(error) => {
                // Its hash is right: nobody has a better one.
                let _ = give.send(Err(Error::BadInfo(error)));
                return self.end(inbox).await;
            }
        };
        self.keep(bytes);
        self.publish(ResolveState::Found);
        let (ask, mut asked) = oneshot::channel();
        // Without a listener the question never comes, and the search ends below.
        let _ = give.send(Ok(self.resolved(info.clone(), ask)));
        let (services, events) = (self.services.clone(), self.view.events.clone());
        if info.is_private() {
            let estate = self.hand_over(inbox, &info).await;
            let reply = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                reply = asked => reply.ok(),
            };
            return give_over(&services, &events, estate, reply).await;
        }
        let reply = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            reply = &mut asked => reply.ok(),
            never = self.go_on(&mut inbox) => match never {},
        };
        if reply.is_none() {
            return self.end(inbox).await;
        }
        let estate = self.hand_over(inbox, &info).await;
        give_over(&services, &events, estate, reply).await;
    }

    /// Works until the info dictionary is there.
    async fn search(&mut self, inbox: &mut Inbox) -> Bytes {
        self.drain();
        loop {
            if let Some(bytes) = self.found.take() {
                return bytes;
            }
            self.step(inbox).await;
        }
    }

    /// Keeps the connections alive.
    async fn go_on(&mut self, inbox: &mut Inbox) -> Infallible {
        loop {
            self.step(inbox).await;
        }
    }

    /// Takes what has happened, or waits for it. May be dropped while it waits.
    async fn step(&mut self, inbox: &mut Inbox) {
        let mut reports = Vec::new();
        let wake = self.next_due();
        tokio::select! {
            biased;
            () = inbox.mail.changed() => self.mail(inbox.mail.take()),
            Some(answer) = inbox.answers.recv() => self.trackers.answered(answer, &Unknown, Instant::now()),
            () = tokio::time::sleep_until(wake.into()) => self.timeout(),
            Some(arrival) = inbox.arrivals.recv() => self.arrival(arrival),
            _ = inbox.reports.recv_many(&mut reports, BATCH_MAX) => {
                for (peer, report) in reports {
                    self.report(peer, report);
                }
            }
        }
        self.drain();
    }

    fn mail(&mut self, mail: Mail) {
        let now = Instant::now();
        for (source, addrs) in mail.peers {
            self.machine.handle(Input::PeersFound { source, addrs: addrs.into_iter().collect() }, now);
        }
        if mail.has_moved {
            let port = self.services.network.facts().port;
            self.machine.handle(Input::ListenPort { port }, now);
            self.trackers.listen_port(port, now);
        }
    }

    fn next_due(&self) -> Instant {
        let wakes = [
            self.machine.poll_timeout(),
            self.trackers.poll_timeout(),
            Some(self.published_at + PUBLISH_INTERVAL),
        ];
        wakes.into_iter().flatten().min().unwrap_or(self.budget_at).min(self.budget_at)
    }

    fn timeout(&mut self) {
        let now = Instant::now();
        if self.budget_at <= now {
            self.renew_budget(now);
        }
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle(Input::Timeout, now);
        }
        self.trackers.timeout(&Unknown, &self.services.trackers.pace, now);
        if self.published_at + PUBLISH_INTERVAL <= now {
            self.publish(self.state());
        }
    }

    fn renew_budget(&mut self, now: Instant) {
        let stats = self.machine.stats();
        let uses = Use { peers: stats.peers, dials: stats.connecting, memory: 0, fetches: false };
        let budget = self.claim.renew(uses);
        self.budget_at = now + BUDGET_INTERVAL;
        if self.budget != budget {
            self.budget = budget;
            let input = Input::Budget {
                peers_max: budget.peers_max,
                half_open_max: budget.half_open_max,
                upload_slots: budget.upload_slots,
                memory_bytes: 0,
            };
            self.machine.handle(input, now);
        }
    }

    fn arrival(&mut self, arrival: Arrival) {
        let now = Instant::now();
        match arrival {
            Arrival::Accepted { link, handshake } => {
                self.connected(link, Direction::Incoming, handshake, now);
            }
            Arrival::Dialled { result: Ok((link, handshake)), .. } => {
                self.connected(link, Direction::Outgoing, handshake, now);
            }
            Arrival::Dialled { addr, result: Err(reason) } => {
                tracing::debug!(%addr, reason, "dial failed");
                self.machine.handle(Input::ConnectFailed { addr }, now);
            }
        }
    }

    fn connected(&mut self, link: Link, direction: Direction, handshake: Handshake, now: Instant) {
        let (key, addr) = (self.services.identity.next_peer(), link.addr());
        tracing::debug!(%addr, link = %link.kind(), ?direction, "connected");
        let wire = Wire::new(link, &self.services.disk.blocks);
        let unlimited = || Arc::new(Limiter::new(None));
        let (outbox, ends) = Outbox::new();
        let connection = Connection {
            key,
            wire,
            ends,
            reports: self.senders.reports.clone(),
            blocks: self.services.disk.blocks.clone(),
            storage: None,
            pool: self.services.disk.pool.clone(),
            down: Limits([unlimited(), self.services.limits.down.clone()]),
            up: Limits([unlimited(), self.services.limits.up.clone()]),
        };
        self.services.tasks.spawn(connection.run_watched());
        let (pass, crowd) = self.services.capacity.crowds.enter(addr.ip());
        self.peers.insert(key, Peer { addr, direction, outbox, _pass: pass });
        self.machine.handle(Input::PeerConnected { peer: key, addr, direction, handshake, crowd }, now);
    }

    fn report(&mut self, peer: PeerKey, report: Report) {
        let now = Instant::now();
        match report {
            Report::Messages(messages) => {
                for message in messages {
                    self.machine.handle(Input::PeerMessage { peer, message }, now);
                }
            }
            Report::Gone(reason) => {
                if let Some(gone) = self.peers.remove(&peer) {
                    tracing::debug!(addr = %gone.addr, reason, "connection ended");
                    self.machine.handle(Input::PeerDisconnected { peer }, now);
                }
            }
            // Nobody has a block of a torrent that is not known, and no connection is let go before the end.
            Report::Sent(_) | Report::Unreadable { .. } | Report::Released(_) => {}
        }
    }

    /// Carries out everything the machines want, then hands the gathered messages over, once a peer.
    fn drain(&mut self) {
        let now = Instant::now();
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.carry_out(output, now);
            }
            let found = self.trackers.drain(&self.view.events, &self.services, &self.senders.answers);
            if found.is_empty() {
                break;
            }
            for input in found {
                self.machine.handle(input, now);
            }
        }
        for key in std::mem::take(&mut self.unflushed) {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.outbox.flush();
            }
        }
    }

    fn carry_out(&mut self, output: Output, now: Instant) {
        match output {
            Output::Connect { addr } => {
                let other = self.magnet.info_hashes.other();
                let arrivals = self.senders.arrivals.clone();
                handshake::dial_for(&self.services, addr, self.handshake, other, arrivals);
            }
            Output::Send { peer, message } => {
                if let Some(to) = self.peers.get_mut(&peer) {
                    if to.outbox.is_empty() {
                        self.unflushed.push(peer);
                    }
                    to.outbox.message(message);
                }
            }
            Output::Disconnect { peer, reason } => {
                if let Some(gone) = self.peers.remove(&peer) {
                    tracing::debug!(addr = %gone.addr, %reason, "disconnected");
                    gone.outbox.close();
                }
            }
            Output::Metadata { bytes } => self.found = Some(bytes),
            Output::WantPeers => {
                self.trackers.want_peers(&Unknown, now);
                if let Some(discovery) = &self.discovery {
                    discovery.want_peers();
                }
            }
            Output::Event(event) => self.event(event),
            Output::DhtNode { addr } => {
                if let Some(dht) = &self.services.dht {
                    dht.hint(addr);
                }
            }
            Output::SeenAs { ip, by } => self.services.network.seen_as(Voter::Stranger(by), ip),
            // About pieces, which a torrent has that is known.
            Output::SendBlock { .. }
            | Output::StoreBlock { .. }
            | Output::VerifyPiece { .. }
            | Output::DiscardPiece { .. }
            | Output::KeepSuspect { .. } => {}
        }
    }

    fn event(&self, event: ferri_swarm::Event) {
        use ferri_swarm::Event as Swarmed;
        let event = match event {
            Swarmed::PeerConnected { addr, client, peer } => {
                let direction = self.peers.get(&peer).map(|peer| peer.direction);
                Event::PeerConnected { addr, client, incoming: direction == Some(Direction::Incoming) }
            }
            Swarmed::PeerDisconnected { addr, reason, .. } => {
                Event::PeerDisconnected { addr, reason: reason.to_string() }
            }
            Swarmed::MetadataCorrupt { senders, .. } => {
                let senders: Vec<_> = senders.iter().map(SocketAddr::to_string).collect();
                let senders = senders.join(", ");
                Event::Note(format!("a description of the torrent was wrong (from {senders}); asking others"))
            }
            _ => return,
        };
        self.view.events.send(event);
    }

    fn state(&self) -> ResolveState {
        self.view.status.borrow().state
    }

    fn publish(&mut self, state: ResolveState) {
        let now = Instant::now();
        let (stats, trackers) = (self.machine.stats(), self.trackers.statuses(now));
        self.view.status.send_replace(ResolveStatus {
            state,
            elapsed: now.saturating_duration_since(self.view.since),
            peers: stats.peers,
            connecting: stats.connecting,
            candidates: stats.candidates,
            asked: stats.asked,
            without: stats.without + stats.rejecting,
            parts_had: stats.parts_had,
            parts_total: stats.parts,
            corrupt: stats.corrupt,
            dht_nodes: self.services.dht.as_ref().map(Dht::good_nodes),
            lsd: self.services.lsd.is_on(),
            trackers: trackers.len(),
            trackers_failed: trackers.iter().filter(|tracker| tracker.error.is_some()).count(),
            ..ResolveStatus::new(self.magnet.info_hashes, self.magnet.display_name.clone(), state)
        });
        self.published_at = now;
    }

    /// Leaves the info dictionary for the next run, while this one goes on.
    fn keep(&self, bytes: Bytes) {
        let (state_dir, wanted) = (self.services.options.state_dir.clone(), self.magnet.info_hashes);
        let events = self.view.events.clone();
        let write = move || {
            if let Err(error) = cache::write(&state_dir, &wanted, &bytes) {
                events.send(Event::Note(format!("the next start has to ask peers again: {error}")));
            }
        };
        let written = tokio::task::spawn_blocking(write);
        self.services.tasks.spawn(async move { drop(written.await) });
    }

    fn resolved(&self, info: Info, ask: oneshot::Sender<oneshot::Sender<Box<Estate>>>) -> Resolved {
        Resolved {
            metainfo: super::metainfo(info, &self.magnet),
            peers: self.named.clone(),
            from_state: false,
            claim: Some(Claim { info_hash: self.handshake.info_hash, ask }),
        }
    }

    /// Takes the connections from their tasks, and packs everything.
    async fn hand_over(mut self, mut inbox: Inbox, info: &Info) -> Box<Estate> {
        self.drain();
        let dial = |addr| {
            let (other, arrivals) = (self.magnet.info_hashes.other(), self.senders.arrivals.clone());
            handshake::dial_for(&self.services, addr, self.handshake, other, arrivals);
        };
        let outboxes = std::mem::take(&mut self.peers).into_iter().map(|(key, peer)| (key, peer.outbox));
        let mut release = Release::begin(outboxes);
        let cancel = self.services.shutdown.cancel.clone();
        loop {
            release.drain(&mut self.machine, dial);
            if release.is_over() {
                break;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some((peer, report)) = inbox.reports.recv() => {
                    release.report(&mut self.machine, peer, report, Instant::now());
                }
            }
        }
        let (wires, inputs) = release.end(self.machine, info);
        Box::new(Estate {
            wires,
            inputs,
            trackers: self.trackers,
            arrivals: (self.senders.arrivals, inbox.arrivals),
            answers: (self.senders.answers, inbox.answers),
            mail: inbox.mail,
            entry: Some(self.entry),
        })
    }

    /// Closes everything and tells the trackers.
    async fn end(self, inbox: Inbox) {
        for (_, peer) in self.peers {
            peer.outbox.close();
        }
        drop(self.entry);
        let answers = (self.senders.answers, inbox.answers);
        farewell(&self.services, &self.view.events, self.trackers, answers).await;
    }
}

/// Gives everything to whoever asked for it; what nobody wants ends here.
async fn give_over(
    services: &Arc<Services>,
    events: &EventLog,
    estate: Box<Estate>,
    reply: Option<oneshot::Sender<Box<Estate>>>,
) {
    let left = match reply {
        Some(reply) => reply.send(estate).err(),
        None => Some(estate),
    };
    if let Some(left) = left {
        left.end(services, events).await;
    }
}

/// What the trackers of a link are told, of which a few are asked at the same time: one that does not answer must not hold
/// up the others.
fn trackers(resolve: &ResolveMagnet, services: &Services, info_hash: InfoHash) -> TrackersOptions {
    let (tiers, extra) = if resolve.no_trackers {
        (Vec::new(), Vec::new())
    } else {
        (side_by_side(&resolve.magnet.trackers), resolve.extra_trackers.clone())
    };
    TrackersOptions {
        tiers,
        extra,
        total: None,
        order: Order::EveryTier,
        info_hash,
        peer_id: services.identity.peer_id,
        port: services.network.facts().port,
        bind: services.options.bind,
    }
}

/// At most [`TRACKERS_AT_ONCE`] tiers, the first trackers of the link first in each.
fn side_by_side(urls: &[String]) -> Vec<Vec<String>> {
    let mut tiers = vec![Vec::new(); urls.len().min(TRACKERS_AT_ONCE)];
    for (at, url) in urls.iter().enumerate() {
        tiers[at % TRACKERS_AT_ONCE].push(url.clone());
    }
    tiers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_trackers_of_a_link_are_asked_at_once_and_the_others_stand_in() {
        let urls: Vec<String> = (0..TRACKERS_AT_ONCE + 2).map(|n| n.to_string()).collect();
        let tiers = side_by_side(&urls);
        assert_eq!(
            (tiers.len(), &tiers[0], &tiers[2]),
            (16, &vec!["0".into(), "16".into()], &vec!["2".into()])
        );
        assert_eq!(side_by_side(&urls[..1]), [["0"]]);
        assert_eq!(side_by_side(&[]), [[""; 0]; 0]);
    }
}
