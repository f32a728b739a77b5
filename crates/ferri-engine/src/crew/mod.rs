//! The crew of a torrent: its connections, dials, trackers and its part of what the session shares, and the machine that
//! decides about them.
//!
//! There is one crew from the moment when a torrent is added until it stops. While only its hash is known the machine is a
//! [`MetadataSwarm`]; then it is exchanged for a [`Swarm`] under the connections ([`Crew::exchange`]), whose tasks go on as
//! they are: what a connection needs of a torrent that is known, the place of its blocks, lies in a cell that they share.
//!
//! The torrent's task gives the crew what happened, polls what the crew does not do itself, and then has it
//! [`flush`](Crew::flush) what the peers are to be sent.

mod connections;
mod exchange;
mod inbox;
mod machine;
mod news;
mod outbox;
mod parting;
mod said;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ferri_metainfo::{InfoHash, InfoHashes};
use ferri_storage::Store;
use ferri_swarm::{Input, Output, PeerKey};
use ferri_wire::Handshake;
use tracing::Span;

use self::connections::Peer;
pub(crate) use self::connections::Upload;
pub(crate) use self::inbox::{CrewHandle, Happened, Inbox, Senders, channels};
pub(crate) use self::machine::Machine;
pub(crate) use self::outbox::Outbox;
pub(crate) use self::said::Reporter;
use crate::clock;
use crate::external::Voter;
use crate::mailbox::Mail;
use crate::network::Facts;
use crate::peer::PieceSource;
use crate::rate::Limiter;
use crate::services::Services;
use crate::share::{Budget, Claim};
use crate::status::{Event, TrackerStatus};
use crate::trace_file::Traced;
use crate::trackers::{RefusedTracker, TrackerEdit, TrackerLists, Trackers};

/// What a torrent may use is found out anew after this.
const BUDGET_INTERVAL: Duration = Duration::from_secs(1);

/// A crew at work.
pub(crate) struct Crew<M: Machine> {
    base: Base<M>,
    services: Arc<Services>,
    peers: BTreeMap<PeerKey, Peer>,
    /// Peers with something in their outbox.
    unflushed: Vec<PeerKey>,
    claim: Claim,
    budget_at: Instant,
    permit: Permit,
    /// Where connections read blocks, once it is known.
    blocks: PieceSource,
    senders: Senders,
    /// The machine heard something since [`Self::take_change`].
    is_changed: bool,
}

/// What is left of a crew that has no connections and no channels.
pub(crate) struct Base<M: Machine> {
    pub(crate) machine: Traced<M>,
    pub(crate) names: Names,
    pub(crate) trackers: Trackers,
    pub(crate) limits: TorrentLimits,
    /// As the machine knows it.
    pub(crate) budget: Budget,
    /// What the machines know of the session's address and port.
    pub(crate) told: Facts,
    pub(crate) reporter: Reporter,
    pub(crate) span: Span,
}

/// What peers know the torrent by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// What we say to peers that we dial.
    pub(crate) handshake: Handshake,
    pub(crate) hashes: InfoHashes,
}

/// The torrent's own limits.
#[derive(Debug)]
pub(crate) struct TorrentLimits {
    pub(crate) down: Arc<Limiter>,
    pub(crate) up: Arc<Limiter>,
}

/// What a machine may do of that which its budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) dials: Allowed,
    /// Pieces that are not begun.
    pub(crate) pieces: Allowed,
}

/// Whether something may be done at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    Yes,
    No,
}

impl Names {
    /// The other name of a hybrid, by which peers may answer too.
    pub(crate) fn other(&self) -> Option<InfoHash> {
        self.hashes.other()
    }
}

impl TorrentLimits {
    /// Bytes per second.
    pub(crate) fn new(down: Option<u64>, up: Option<u64>) -> Self {
        Self { down: Arc::new(Limiter::new(down)), up: Arc::new(Limiter::new(up)) }
    }

    /// Down and up, bytes per second.
    pub(crate) fn rates(&self) -> (Option<u64>, Option<u64>) {
        (self.down.rate(), self.up.rate())
    }

    pub(crate) fn set(&self, down: Option<u64>, up: Option<u64>) {
        self.down.set_rate(down);
        self.up.set_rate(up);
    }
}

impl Permit {
    pub(crate) const EVERYTHING: Self = Self { dials: Allowed::Yes, pieces: Allowed::Yes };
    /// What there is is looked at first.
    pub(crate) const NOTHING: Self = Self { dials: Allowed::No, pieces: Allowed::No };

    /// What is left of a budget.
    pub(crate) fn apply(self, budget: Budget) -> Budget {
        let half_open_max = if self.dials == Allowed::Yes { budget.half_open_max } else { 0 };
        let memory = if self.pieces == Allowed::Yes { budget.memory } else { 0 };
        Budget { half_open_max, memory, ..budget }
    }
}

impl<M: Machine> Base<M> {
    /// Goes to work, with these channels. `claim` has the budget that the machine knows, or one that is soon renewed.
    pub(crate) fn gather(
        self,
        services: Arc<Services>,
        claim: Claim,
        permit: Permit,
        senders: Senders,
    ) -> Crew<M> {
        Crew {
            base: self,
            services,
            peers: BTreeMap::new(),
            unflushed: Vec::new(),
            claim,
            budget_at: clock::now(),
            permit,
            blocks: Arc::new(OnceLock::new()),
            senders,
            is_changed: false,
        }
    }

    /// When something is due; `None` when only others can bring something about.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        [self.machine.poll_timeout(), self.trackers.poll_timeout()].into_iter().flatten().min()
    }

    /// Lets the machines know what is news to them.
    pub(crate) fn look_at_network(&mut self, services: &Services, now: Instant) {
        for input in self.told.replace(services.network.facts(), &mut self.trackers, now) {
            self.machine.handle(input, now);
        }
    }
}

impl<M: Machine> Crew<M> {
    pub(crate) fn machine(&self) -> &M {
        &self.base.machine
    }

    pub(crate) fn names(&self) -> &Names {
        &self.base.names
    }

    pub(crate) fn limits(&self) -> &TorrentLimits {
        &self.base.limits
    }

    pub(crate) fn trackers(&self) -> &Trackers {
        &self.base.trackers
    }

    /// What the machine may use, before the permit.
    pub(crate) fn budget(&self) -> Budget {
        self.base.budget
    }

    /// The session's port, as the machines know it.
    pub(crate) fn port(&self) -> u16 {
        self.base.told.port
    }

    pub(crate) fn span(&self) -> &Span {
        &self.base.span
    }

    /// Blocks that peers ask for are here.
    pub(crate) fn serve_from(&self, storage: Arc<Store>) {
        // It never changes: a torrent has one place in its life.
        let _ = self.blocks.set(storage);
    }

    /// Whether the machine heard something since this was asked last.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    pub(crate) fn handle(&mut self, input: Input, now: Instant) {
        self.base.machine.handle(input, now);
        self.is_changed = true;
    }

    /// Something reached the crew, but for [`Happened::Reports`], which are for [`Self::report`].
    pub(crate) fn happened(&mut self, happened: Happened, now: Instant) {
        match happened {
            Happened::Mail(mail) => self.mail(mail, now),
            Happened::Answer(answer) => {
                self.base.trackers.answered(answer, &*self.base.machine, now);
            }
            Happened::Arrival(arrival) => self.arrival(arrival, now),
            Happened::Reports => {}
        }
    }

    fn mail(&mut self, mail: Mail, now: Instant) {
        if mail.has_moved {
            self.look_at_network(now);
        }
        for (source, addrs) in mail.peers {
            self.handle(Input::PeersFound { source, addrs: addrs.into_iter().collect() }, now);
        }
        self.base.trackers.add(mail.trackers, now);
    }

    /// Hears what is news about the session's address and port.
    pub(crate) fn look_at_network(&mut self, now: Instant) {
        self.base.look_at_network(&self.services, now);
        self.is_changed = true;
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.base.next_due()
    }

    /// Some time has passed.
    pub(crate) fn timeout(&mut self, now: Instant) {
        if self.budget_at <= now {
            self.renew_budget(now);
        }
        if self.base.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.handle(Input::Timeout, now);
        }
        self.base.trackers.timeout(&*self.base.machine, now);
    }

    fn renew_budget(&mut self, now: Instant) {
        let budget = self.claim.renew(self.base.machine.uses());
        self.budget_at = now + BUDGET_INTERVAL;
        self.services.disk.blocks.trim();
        if self.base.budget != budget {
            self.base.budget = budget;
            self.apply_budget(now);
        }
    }

    /// What the machine may do changes with what the torrent does.
    pub(crate) fn permit(&mut self, permit: Permit, now: Instant) {
        self.permit = permit;
        self.apply_budget(now);
    }

    fn apply_budget(&mut self, now: Instant) {
        let Budget { peers_max, half_open_max, upload_slots, memory } = self.permit.apply(self.base.budget);
        self.handle(Input::Budget { peers_max, half_open_max, upload_slots, memory_bytes: memory }, now);
    }

    /// The next thing that the machine wants of the crew's owner; what concerns connections, trackers and the session's
    /// other services is done on the way.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Output> {
        loop {
            while let Some(output) = self.base.machine.poll_output() {
                if let Some(output) = self.carry_out(output) {
                    return Some(output);
                }
            }
            let events = &self.base.reporter.events;
            let found =
                self.base.trackers.drain(events, &self.services, &self.senders.answers, &self.base.span);
            if found.is_empty() {
                return None;
            }
            for input in found {
                self.handle(input, now);
            }
        }
    }

    /// `Some`: that is not the crew's.
    fn carry_out(&mut self, output: Output) -> Option<Output> {
        match output {
            Output::Connect { addr } => self.dial(addr),
            Output::Send { peer, message } => self.send(peer, message),
            Output::SendBlock { peer, block } => self.send_block(peer, block),
            Output::Disconnect { peer, reason } => self.disconnect(peer, reason),
            Output::DhtNode { addr } => {
                if let Some(dht) = &self.services.dht {
                    dht.hint(addr);
                }
            }
            Output::SeenAs { ip, by } => self.services.network.seen_as(Voter::Stranger(by), ip),
            Output::Event(event) => return self.event(event).map(Output::Event),
            Output::WantPeers
            | Output::Metadata { .. }
            | Output::StoreBlock { .. }
            | Output::VerifyPiece { .. }
            | Output::DiscardPiece { .. } => return Some(output),
        }
        None
    }

    /// Tells of peers that came and went; other events are the owner's.
    fn event(&self, event: ferri_swarm::SwarmEvent) -> Option<ferri_swarm::SwarmEvent> {
        use ferri_swarm::SwarmEvent;
        let event = match event {
            SwarmEvent::PeerConnected { addr, client, peer } => {
                Event::PeerConnected { addr, client, incoming: self.is_incoming(peer) }
            }
            SwarmEvent::PeerDisconnected { addr, reason, .. } => Event::PeerDisconnected { addr, reason },
            other => return Some(other),
        };
        self.base.reporter.events.send(event);
        None
    }

    /// There are too few peers: those who look for some are asked.
    pub(crate) fn want_peers(&mut self, now: Instant) {
        self.base.trackers.want_peers(&*self.base.machine, now);
        if let Some(dht) = &self.services.dht {
            self.base.names.hashes.names().for_each(|name| dht.want(name));
        }
    }

    /// The torrent's size is known, and these trackers.
    pub(crate) fn learn_trackers(&mut self, total: u64, lists: TrackerLists, now: Instant) {
        self.base.trackers.learn(total, lists, now);
    }

    /// The user names these trackers too.
    pub(crate) fn add_trackers(&mut self, urls: Vec<String>, now: Instant) {
        self.base.trackers.add_typed(urls, now);
    }

    /// Other trackers are asked from here on. Returns what is not taken of the edit, and whether anything changed.
    pub(crate) fn edit_trackers(&mut self, edit: TrackerEdit, now: Instant) -> (Vec<RefusedTracker>, bool) {
        self.is_changed = true;
        self.base.trackers.edit(edit, &*self.base.machine, now)
    }

    /// Trackers are told that we are there, as soon as it is our turn.
    pub(crate) fn start_trackers(&mut self, now: Instant) {
        self.base.trackers.start(now);
    }

    /// Trackers are told that we go.
    pub(crate) fn stop_trackers(&mut self, now: Instant) {
        self.base.trackers.stop(&*self.base.machine, now);
    }

    /// Trackers are told that everything is here.
    pub(crate) fn completed(&mut self, now: Instant) {
        self.base.trackers.completed(&*self.base.machine, now);
    }

    pub(crate) fn reannounce(&mut self, now: Instant) {
        self.base.trackers.reannounce(&*self.base.machine, now);
    }

    pub(crate) fn tracker_statuses(&self, now: Instant) -> Vec<TrackerStatus> {
        self.base.trackers.statuses(now)
    }

    /// Leaves the channels, once no peer is connected. The crew goes on when it is [gathered](Base::gather) again.
    pub(crate) fn rest(self) -> Base<M> {
        debug_assert!(self.peers.is_empty());
        self.base
    }
}
