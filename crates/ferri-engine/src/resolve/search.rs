//! The task of a search: the machine that asks peers for the info dictionary, its connections and its trackers.
//!
//! It is what a torrent's task is before there is a torrent. Once the info dictionary is there it goes on (connections
//! are kept alive, peers may come) until somebody takes what it has or nobody can any more. A private torrent's
//! connections rest from that moment on: nothing more is said to peers that its trackers did not name (BEP 27).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferri_metainfo::magnet::{Magnet, PeerAddress};
use ferri_metainfo::{Info, InfoHash};
use ferri_swarm::{Input, MetadataSwarm, Output, Source, SwarmOptions};
use ferri_tracker::schedule::Order;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::discovery::Discovery;
use super::{Claim, Estate, ResolveState, ResolveStatus, Resolved, cache, look_up};
use crate::clock;
use crate::crew::{self, Base, Crew, Door, Happened, Inbox, Names, Permit, Reporter, TorrentLimits};
use crate::dht::Dht;
use crate::events::EventLog;
use crate::network::Facts;
use crate::panics::caught;
use crate::registry::Entry;
use crate::services::Services;
use crate::share::{self, Use};
use crate::trackers::{Trackers, TrackersOptions};
use crate::{Error, Event, ResolveMagnet};

/// A snapshot at most this often.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// Trackers of a link that are asked at the same time. Further ones stand in for those that fail.
const TRACKERS_AT_ONCE: usize = 16;

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
    crew: Crew<MetadataSwarm>,
    door: Door,
    view: View,
    published_at: Instant,
    /// The info dictionary, once.
    found: Option<Bytes>,
    /// Whom a person named.
    named: Vec<PeerAddress>,
    /// Until the torrent is known.
    discovery: Option<Discovery>,
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
    let (door, senders, inbox) = crew::channels();
    let entry = enter(door.clone())?;
    let crew = crew(services, &resolve, senders, &view);
    let span = crew.span().clone();
    let mut search = Search {
        services: services.clone(),
        entry,
        named: super::peers(&resolve),
        magnet: resolve.magnet,
        crew,
        door,
        view,
        published_at: clock::now(),
        found: None,
        discovery: None,
    };
    search.begin();
    search.dial_named(&stop);
    let status = search.view.status.clone();
    let run = async move {
        // What waits for the search hears that it is over, and so does the registry.
        if let Err(panic) = caught(search.run(inbox, give, stop)).await {
            tracing::error!(%panic, "the search for a magnet link failed by a fault of ours");
            status.send_modify(|status| status.state = ResolveState::Ended);
        }
    };
    let run = run.instrument(span);
    services.tasks.spawn(services.shutdown.searches.track_future(run));
    Ok(())
}

/// The crew of a torrent of which only the hash is known.
fn crew(
    services: &Arc<Services>,
    resolve: &ResolveMagnet,
    senders: crew::Senders,
    view: &View,
) -> Crew<MetadataSwarm> {
    let now = clock::now();
    let hashes = resolve.magnet.info_hashes;
    let handshake = services.handshake(hashes.wire());
    let mut claim = share::Claim::new(services.capacity.shares.clone());
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
    let base = Base {
        machine: MetadataSwarm::new(options, hashes, rand::random(), now),
        trace: None,
        names: Names { handshake, hashes },
        trackers: Trackers::new(trackers(resolve, services, handshake.info_hash), now),
        limits: TorrentLimits::new(None, None),
        budget,
        told,
        reporter: Reporter { events: view.events.clone(), follow: Arc::new(AtomicBool::new(false)) },
        span: services.torrent_span(handshake.info_hash),
    };
    base.gather(services.clone(), claim, Permit::EVERYTHING, senders)
}

impl Search {
    fn begin(&mut self) {
        let now = clock::now();
        if let Some(ip) = self.services.egress.source() {
            // Trackers name us to ourselves; there is no need to dial to find out.
            self.crew.handle(Input::ExternalAddress { ip }, now);
        }
        self.crew.look_at_network(now);
        self.crew.start_trackers(now);
        self.discovery = Some(Discovery::begin(&self.services, self.magnet.info_hashes));
        self.publish(ResolveState::Searching);
    }

    /// Whom the link and the caller name, and the addresses of hosts as they come.
    fn dial_named(&mut self, stop: &CancellationToken) {
        let mut addrs = Vec::new();
        for peer in self.named.clone() {
            match peer {
                PeerAddress::Socket(addr) => addrs.push(addr),
                PeerAddress::Host { name, port } => {
                    let (door, egress) = (self.door.clone(), self.services.egress.clone());
                    let ask = async move {
                        door.mail.found(Source::Explicit, look_up(&egress, &name, port).await);
                    };
                    self.services.tasks.spawn(stop.clone().run_until_cancelled_owned(ask));
                }
            }
        }
        if !addrs.is_empty() {
            self.crew.handle(Input::PeersFound { source: Source::Explicit, addrs }, clock::now());
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
        let services = self.services.clone();
        let reply = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            reply = &mut asked => reply.ok(),
            never = self.go_on(&mut inbox) => match never {},
        };
        if reply.is_none() {
            return self.end(inbox).await;
        }
        let estate = self.hand_over(inbox);
        give_over(&services, estate, reply).await;
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
        let wake = self.next_due();
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(wake.into()) => self.timeout(),
            happened = inbox.next() => self.happened(happened, inbox),
        }
        self.drain();
    }

    fn happened(&mut self, happened: Happened, inbox: &mut Inbox) {
        let now = clock::now();
        let Happened::Reports = happened else { return self.crew.happened(happened, now) };
        for (peer, report) in inbox.reports() {
            // Nobody has a block of a torrent that is not known.
            let _ = self.crew.report(peer, report, now);
        }
    }

    fn next_due(&self) -> Instant {
        let publish = self.published_at + PUBLISH_INTERVAL;
        self.crew.next_due().map_or(publish, |due| due.min(publish))
    }

    fn timeout(&mut self) {
        let now = clock::now();
        self.crew.timeout(now);
        if self.published_at + PUBLISH_INTERVAL <= now {
            self.publish(self.state());
        }
    }

    /// Carries out everything the machines want, then hands the gathered messages over, once a peer.
    fn drain(&mut self) {
        let now = clock::now();
        while let Some(output) = self.crew.poll(now) {
            match output {
                Output::Metadata { bytes } => self.found = Some(bytes),
                Output::WantPeers => self.crew.want_peers(now),
                Output::Event(event) => self.event(event),
                // About pieces, which a torrent has that is known.
                _ => {}
            }
        }
        self.crew.flush();
    }

    fn event(&self, event: ferri_swarm::Event) {
        use ferri_swarm::Event as Swarmed;
        let event = match event {
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
        let now = clock::now();
        let (stats, trackers) = (self.crew.machine().stats(), self.crew.tracker_statuses(now));
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
            claim: Some(Claim { info_hash: self.crew.names().handshake.info_hash, ask }),
        }
    }

    /// Packs everything.
    fn hand_over(self, inbox: Inbox) -> Box<Estate> {
        Box::new(Estate { crew: self.crew, inbox, door: self.door, entry: Some(self.entry) })
    }

    /// Closes everything and tells the trackers.
    async fn end(self, inbox: Inbox) {
        let services = self.services.clone();
        self.hand_over(inbox).end(&services).await;
    }
}

/// Gives everything to whoever asked for it; what nobody wants ends here.
async fn give_over(
    services: &Arc<Services>,
    estate: Box<Estate>,
    reply: Option<oneshot::Sender<Box<Estate>>>,
) {
    let left = match reply {
        Some(reply) => reply.send(estate).err(),
        None => Some(estate),
    };
    if let Some(left) = left {
        left.end(services).await;
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
