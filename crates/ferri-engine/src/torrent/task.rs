//! The one owner of a torrent's state: inputs in, machines handled, outputs carried out, a snapshot published.
//!
//! The loop takes what has happened in batches, gives each thing to the machine it concerns, and then drains the
//! machines once. It never waits for anything but the next thing that happens. When nothing is left to happen soon it
//! ends, and the state goes to rest (`rest`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferri_metainfo::{FileIndex, Info};
use ferri_swarm::{Direction, Input, Output, PeerKey, Priority, Role, Source, Swarm};
use ferri_wire::{Handshake, Message};
use tokio::sync::{mpsc, watch};

use super::account::{Account, Moved};
use super::checking::Checking;
use super::command::{Command, Order, Refused, Sequential};
use super::disk::{Disk, DiskDone};
use super::fault::Remains;
use super::files::Files;
use super::{Seat, Torrent, wishes};
use crate::FilePriority;
use crate::crowd::Pass;
use crate::events::EventLog;
use crate::external::Voter;
use crate::handshake::{self, Arrival};
use crate::mailbox::{Mail, Mailbox};
use crate::network::Facts;
use crate::outbox::Outbox;
use crate::peer::link::Link;
use crate::peer::{Connection, Report, Wire};
use crate::rate::{Limiter, Limits};
use crate::registry::Entry;
use crate::services::Services;
use crate::share::{Budget, Claim, Use};
use crate::status::{Event, PeerStatus, Said, State, TorrentStatus, ratio};
use crate::trace_file::Trace;
use crate::trackers::{Answer, Trackers};

/// Reports of peers taken at once, each a batch of messages itself.
const BATCH_MAX: usize = 64;
/// A snapshot at most this often.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// What this torrent may use is found out anew after this.
pub(super) const BUDGET_INTERVAL: Duration = Duration::from_secs(1);
/// A task with nothing to do that cannot go to rest, for somebody is about to send it something, looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Trackers are told and the disk is flushed within this, then the torrent ends anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that reaches the task.
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) mail: Arc<Mailbox>,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    pub(super) reports: mpsc::Receiver<(PeerKey, Report)>,
    /// Bounded by the jobs in flight, which the swarm's memory budget bounds, and by the batches of one check.
    pub(super) disk: mpsc::UnboundedReceiver<DiskDone>,
    /// Bounded by the announces in flight, one a tracker.
    pub(super) answers: mpsc::UnboundedReceiver<Answer>,
}

/// Where the task's own children report to.
#[derive(Clone)]
pub(super) struct Senders {
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) reports: mpsc::Sender<(PeerKey, Report)>,
    pub(super) disk: mpsc::UnboundedSender<DiskDone>,
    pub(super) answers: mpsc::UnboundedSender<Answer>,
}

/// A torrent's task.
pub(super) struct Task {
    pub(super) services: Arc<Services>,
    pub(super) torrent: Torrent,
    /// The torrent is in the session's registry.
    pub(super) entry: Entry,
    pub(super) info: Arc<Info>,
    pub(super) handshake: Handshake,
    pub(super) swarm: Swarm,
    pub(super) files: Files,
    pub(super) account: Account,
    pub(super) trackers: Trackers,
    pub(super) disk: Disk,
    pub(super) view: View,
    pub(super) limits: TorrentLimits,
    pub(super) senders: Senders,
    pub(super) trace: Option<Trace>,
    pub(super) peers: BTreeMap<PeerKey, Peer>,
    /// Peers with something in their outbox.
    pub(super) unflushed: Vec<PeerKey>,
    pub(super) claim: Claim,
    pub(super) budget: Budget,
    pub(super) budget_at: Instant,
    /// What is already on disk is served, nothing more is fetched.
    pub(super) seed_only: bool,
    /// Its files are not known yet.
    pub(super) checking: Option<Box<Checking>>,
    pub(super) ending: Option<Instant>,
    /// What the machines know of the session's address and port.
    pub(super) told: Facts,
}

/// This torrent's own buckets.
pub(super) struct TorrentLimits {
    pub(super) down: Arc<Limiter>,
    pub(super) up: Arc<Limiter>,
}

/// What a search for the info dictionary left.
pub(super) struct Learnt {
    /// Each has its `PeerConnected` in `inputs`.
    pub(super) wires: BTreeMap<PeerKey, Wire>,
    /// What the swarm is told first.
    pub(super) inputs: Vec<Input>,
}

/// The task's side of a connection.
pub(super) struct Peer {
    addr: SocketAddr,
    /// The fast extension is spoken (BEP 6).
    pub(super) fast: bool,
    outbox: Outbox,
    /// It counts among the connections of the session.
    _pass: Pass,
}

/// What users see, and when they see it next.
pub(super) struct View {
    pub(super) status: watch::Sender<TorrentStatus>,
    pub(super) events: EventLog,
    pub(super) follow: Arc<AtomicBool>,
    pub(super) state: State,
    /// The user wants it to do nothing.
    pub(super) is_paused: bool,
    pub(super) completed_at: Option<Instant>,
    pub(super) published_at: Instant,
    /// Something changed since.
    pub(super) stale: bool,
}

impl View {
    pub(super) fn event(&self, event: Event) {
        self.events.send(event);
    }

    /// The last thing to be seen.
    pub(super) fn stopped(&self) {
        self.status.send_modify(|status| status.state = State::Stopped);
    }
}

impl Task {
    /// Lets the torrent work in a task of the session.
    pub(super) fn spawn(self, inbox: Inbox) {
        let remains = Remains {
            services: self.services.clone(),
            torrent: self.torrent.clone(),
            info: self.info.clone(),
            storage: self.disk.storage().clone(),
            status: self.view.status.clone(),
            events: self.view.events.clone(),
        };
        remains.spawn(self.run(inbox));
    }

    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let cancel = self.services.shutdown.cancel.clone();
        let mut reports = Vec::with_capacity(BATCH_MAX);
        self.drain();
        while !self.has_ended() {
            let now = Instant::now();
            let mut wake = now + LOOK_AGAIN;
            if self.is_idle(now) {
                match self.rest(&inbox) {
                    None => return,
                    Some(task) => self = task,
                }
            } else if let Some(due) = [self.next_due(), self.account.next_due()].into_iter().flatten().min() {
                wake = due;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(done) = inbox.disk.recv() => self.disk_done(done),
                Some(command) = inbox.commands.recv() => self.command(command),
                () = inbox.mail.changed() => self.mail(inbox.mail.take()),
                Some(answer) = inbox.answers.recv() => self.trackers.answered(answer, &self.swarm, Instant::now()),
                () = tokio::time::sleep_until(wake.into()) => self.timeout(),
                Some(arrival) = inbox.arrivals.recv() => self.arrival(arrival),
                _ = inbox.reports.recv_many(&mut reports, BATCH_MAX) => {
                    for (peer, report) in reports.drain(..) {
                        self.report(peer, report);
                    }
                }
            }
            self.drain();
        }
        self.services.disk.blocks.release();
        self.end().await;
    }

    /// When something is due; `None` when only others can bring something about.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let publish = self.view.stale.then(|| self.view.published_at + PUBLISH_INTERVAL);
        let wakes = [
            self.swarm.poll_timeout(),
            self.trackers.poll_timeout(),
            self.disk.next_tick(),
            self.checking.as_ref().and_then(|checking| checking.next_try()),
            publish,
            self.ending,
        ];
        wakes.into_iter().flatten().min()
    }

    pub(super) fn timeout(&mut self) {
        let now = Instant::now();
        if self.budget_at <= now {
            self.renew_budget(now);
        }
        if self.swarm.poll_timeout().is_some_and(|at| at <= now) {
            self.handle(Input::Timeout, now);
        }
        self.trackers.timeout(&self.swarm, &self.services.trackers.pace, now);
        self.disk.tick(now);
        self.note_totals(now);
        if self.checking.as_ref().and_then(|checking| checking.next_try()).is_some_and(|at| at <= now) {
            self.check_again();
        }
        if self.view.stale && self.view.published_at + PUBLISH_INTERVAL <= now {
            if self.peers.is_empty() {
                // Rates are as of the last input, and a swarm without peers has none for long.
                self.handle(Input::Timeout, now);
            }
            self.publish(now);
        }
    }

    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        if let Some(trace) = &self.trace {
            trace.input(&input, now);
        }
        self.swarm.handle(input, now);
        self.view.stale = true;
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        // Whoever asked may have stopped waiting.
        match command {
            Command::Do(order, reply) => drop(reply.send(self.obey(order, now))),
            Command::Have(reply) => {
                drop(reply.send((self.swarm.have().clone(), self.files.wanted().clone())));
            }
            Command::Peers(reply) => drop(reply.send(self.peer_statuses())),
            Command::Trackers(reply) => drop(reply.send(self.trackers.statuses(now))),
            #[cfg(test)]
            Command::Panic => panic!("on purpose"),
        }
    }

    fn mail(&mut self, mail: Mail) {
        let now = Instant::now();
        if mail.has_moved {
            self.look_at_network(now);
        }
        for (source, addrs) in mail.peers {
            self.handle(Input::PeersFound { source, addrs: addrs.into_iter().collect() }, now);
        }
    }

    fn obey(&mut self, order: Order, now: Instant) -> Result<(), Refused> {
        match order {
            Order::Stop => self.stop(now),
            _ if self.ending.is_some() => return Err(Refused::Stopped),
            Order::Pause => self.pause(now),
            Order::Resume => self.resume(now),
            Order::Reannounce if self.view.is_paused => return Err(Refused::Paused),
            Order::Reannounce if self.trackers.is_empty() => return Err(Refused::NoTracker),
            Order::Reannounce => self.trackers.reannounce(&self.swarm, now),
            Order::AddPeers(addrs) => {
                self.handle(Input::PeersFound { source: Source::Explicit, addrs }, now);
            }
            Order::SetPriorities(files) => return self.set_priorities(&files, now),
            Order::SetLimits { down, up } => {
                self.limits.down.set_rate(down);
                self.limits.up.set_rate(up);
            }
            Order::SetSequential(order) => {
                self.handle(Input::Sequential { sequential: order == Sequential::Yes }, now);
            }
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.view.is_paused = true;
        self.hide();
        self.handle(Input::Pause, now);
        self.trackers.stop(&self.swarm, now);
        if self.checking.is_none() {
            self.set_state(State::Paused);
            self.disk.settle();
        }
    }

    fn resume(&mut self, now: Instant) {
        let was_paused = std::mem::take(&mut self.view.is_paused);
        self.handle(Input::Resume, now);
        if self.checking.is_some() {
            return self.check_again();
        }
        if matches!(self.view.state, State::Error { .. }) {
            self.disk.probe_now(now);
        }
        if was_paused {
            self.show();
            self.trackers.start(now);
        }
        self.set_state(self.working_state());
        // After an error no piece was begun.
        self.apply_budget(now);
    }

    fn stop(&mut self, now: Instant) {
        if self.ending.is_none() {
            self.ending = Some(now + STOP_TIMEOUT);
            // What looks at a million files is done again by the next start.
            self.disk.storage().halt();
            if let Some(checking) = &mut self.checking {
                checking.stop();
            }
            self.hide();
            self.handle(Input::Stop, now);
            self.trackers.stop(&self.swarm, now);
        }
    }

    /// Stopping is over: trackers answered and disk jobs are done, or time is up.
    fn has_ended(&self) -> bool {
        self.ending.is_some_and(|deadline| {
            let is_checking = self.checking.as_ref().is_some_and(|checking| checking.is_busy());
            let is_done =
                self.trackers.is_stopped() && !self.disk.is_busy() && !is_checking && self.account.is_quiet();
            is_done || deadline <= Instant::now()
        })
    }

    async fn end(mut self) {
        for (_, peer) in std::mem::take(&mut self.peers) {
            peer.outbox.close();
        }
        let storage = self.disk.storage().clone();
        let totals = self.account.totals(Moved::from(&self.swarm.stats()), Instant::now());
        let close = move || {
            let noted = storage.write_totals(&totals);
            let closed = storage.close().and(noted);
            // Somebody may still hold it to read; its places are free.
            storage.leave();
            closed
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.view.event(Event::Note(error.to_string())),
            Err(error) => tracing::error!(%error, "closing the files failed"),
        }
        self.entry.leave();
        self.services.hide(&self.info.info_hashes());
        if let Some(trace) = &self.services.trace {
            trace.flush();
        }
        *self.torrent.seat() = Seat::Empty;
        self.view.state = State::Stopped;
        self.publish(Instant::now());
    }

    pub(super) fn set_state(&mut self, state: State) {
        if self.view.state != state {
            let is_progress =
                matches!((&self.view.state, &state), (State::Checking { .. }, State::Checking { .. }));
            self.view.state = state.clone();
            if !is_progress {
                self.view.event(Event::StateChanged(state));
            }
            self.publish(Instant::now());
        }
    }

    /// What it does when nothing keeps it from that.
    pub(super) fn working_state(&self) -> State {
        if self.view.is_paused {
            return State::Paused;
        }
        let is_done = self.swarm.stats().left == 0 && !self.disk.is_finishing();
        if self.seed_only || is_done { State::Seeding } else { State::Downloading }
    }

    /// What the swarm is to fetch for these wishes; nothing when it only serves.
    pub(super) fn piece_priorities(&self, files: &[FilePriority]) -> Vec<Priority> {
        if self.seed_only {
            vec![Priority::Skip; self.info.layout().piece_count() as usize]
        } else {
            let mut priorities = wishes::piece_priorities(&self.info, files);
            for piece in self.disk.storage().awaited() {
                // Until they come, all else for their files is put aside.
                if let Some(wish) =
                    priorities.get_mut(piece.as_usize()).filter(|wish| **wish != Priority::Skip)
                {
                    *wish = Priority::High;
                }
            }
            priorities
        }
    }

    fn set_priorities(&mut self, given: &[FilePriority], now: Instant) -> Result<(), Refused> {
        let files = self.info.layout().file_count();
        if self.seed_only {
            return Err(Refused::OnlyServes);
        }
        if files < given.len() {
            return Err(Refused::TooManyPriorities { given: given.len(), files });
        }
        match &mut self.checking {
            Some(checking) => checking.choose(given),
            None => self.disk.set_wanted(wishes::wanted(&self.info, given)),
        }
        let priorities = self.piece_priorities(given);
        self.handle(Input::Priorities { priorities }, now);
        if matches!(self.view.state, State::Downloading | State::Seeding) {
            self.set_state(self.working_state());
        }
        // Who hears that it is done may look at once.
        self.publish(now);
        Ok(())
    }

    fn renew_budget(&mut self, now: Instant) {
        let stats = self.swarm.stats();
        let budget = self.claim.renew(Use {
            peers: stats.peers,
            dials: stats.connecting,
            memory: stats.open_bytes,
            fetches: self.swarm.role() == Role::Leech && 0 < stats.peers,
        });
        self.budget_at = now + BUDGET_INTERVAL;
        self.services.disk.blocks.trim();
        if self.budget != budget {
            self.budget = budget;
            self.apply_budget(now);
        }
    }

    pub(super) fn apply_budget(&mut self, now: Instant) {
        let budget = self.budget;
        let is_known = self.checking.is_none();
        // While the disk takes nothing, no further piece is begun; those under way are kept in memory.
        let may_begin = is_known && !matches!(self.view.state, State::Error { .. });
        self.handle(
            Input::Budget {
                peers_max: budget.peers_max,
                half_open_max: if is_known { budget.half_open_max } else { 0 },
                upload_slots: budget.upload_slots,
                memory_bytes: if may_begin { budget.memory } else { 0 },
            },
            now,
        );
    }

    pub(super) fn arrival(&mut self, arrival: Arrival) {
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
                self.handle(Input::ConnectFailed { addr }, now);
            }
        }
    }

    fn connected(&mut self, link: Link, direction: Direction, handshake: Handshake, now: Instant) {
        let (key, addr) = (self.services.identity.next_peer(), link.addr());
        tracing::debug!(%addr, link = %link.kind(), ?direction, "connected");
        let crowd = self.attach(key, Wire::new(link, &self.services.disk.blocks), addr, handshake);
        self.handle(Input::PeerConnected { peer: key, addr, direction, handshake, crowd }, now);
    }

    /// Gives a connection a task. How many others the session has with the same network, where that matters.
    fn attach(&mut self, key: PeerKey, wire: Wire, addr: SocketAddr, handshake: Handshake) -> u32 {
        let (outbox, ends) = Outbox::new();
        let connection = Connection {
            key,
            wire,
            ends,
            reports: self.senders.reports.clone(),
            blocks: self.services.disk.blocks.clone(),
            storage: Some(self.disk.storage().clone()),
            pool: self.services.disk.pool.clone(),
            down: Limits([self.limits.down.clone(), self.services.limits.down.clone()]),
            up: Limits([self.limits.up.clone(), self.services.limits.up.clone()]),
        };
        self.services.tasks.spawn(connection.run_watched());
        let fast = handshake.reserved.has_fast() && self.handshake.reserved.has_fast();
        let (pass, crowd) = self.services.capacity.crowds.enter(addr.ip());
        self.peers.insert(key, Peer { addr, fast, outbox, _pass: pass });
        crowd
    }

    /// Goes on with what a search for the torrent's info dictionary has.
    pub(super) fn adopt(&mut self, learnt: Learnt, now: Instant) {
        let Learnt { mut wires, inputs } = learnt;
        for input in inputs {
            match &input {
                // The torrent has its own.
                Input::Budget { .. } => continue,
                Input::PeerConnected { peer, addr, handshake, .. } => {
                    // Without a connection, which ends with the session only, there is no such peer.
                    let Some(wire) = wires.remove(peer) else { continue };
                    self.attach(*peer, wire, *addr, *handshake);
                }
                _ => {}
            }
            self.handle(input, now);
        }
    }

    fn report(&mut self, peer: PeerKey, report: Report) {
        let now = Instant::now();
        match report {
            Report::Messages(messages) => {
                for message in messages {
                    if self.view.follow.load(Ordering::Relaxed) {
                        self.said(peer, Direction::Incoming, &message);
                    }
                    self.handle(Input::PeerMessage { peer, message }, now);
                }
            }
            Report::Sent(sent) => {
                self.handle(Input::BlocksSent { peer, blocks: sent.blocks, bytes: sent.bytes }, now);
                self.hear_of_changes();
            }
            Report::Unreadable { block, error } => self.unreadable(peer, block, &error, now),
            // No connection is let go here; one that was would be over.
            Report::Released(_) => self.report(peer, Report::Gone(String::new())),
            Report::Gone(reason) => {
                if let Some(gone) = self.peers.remove(&peer) {
                    tracing::debug!(addr = %gone.addr, reason, "connection ended");
                    self.handle(Input::PeerDisconnected { peer }, now);
                }
            }
        }
    }

    /// Carries out everything the machines want, then hands the gathered messages over, once a peer.
    pub(super) fn drain(&mut self) {
        let now = Instant::now();
        loop {
            while let Some(output) = self.swarm.poll_output() {
                if let Some(trace) = &self.trace {
                    trace.output(&output);
                }
                self.carry_out(output, now);
            }
            let found = self.trackers.drain(&self.view.events, &self.services, &self.senders.answers);
            if found.is_empty() {
                break;
            }
            for input in found {
                self.handle(input, now);
            }
        }
        for key in std::mem::take(&mut self.unflushed) {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.outbox.flush();
            }
        }
    }

    pub(super) fn carry_out(&mut self, output: Output, now: Instant) {
        match output {
            Output::Connect { addr } => {
                let (other, arrivals) = (self.info.info_hashes().other(), self.senders.arrivals.clone());
                handshake::dial_for(&self.services, addr, self.handshake, other, arrivals);
            }
            Output::Send { peer, message } => {
                if self.view.follow.load(Ordering::Relaxed) {
                    self.said(peer, Direction::Outgoing, &message);
                }
                self.outbox(peer, |outbox| outbox.message(message));
            }
            Output::SendBlock { peer, block } => {
                if self.view.follow.load(Ordering::Relaxed) {
                    let (piece, begin, length) = (block.piece().get(), block.begin(), block.length());
                    self.say(peer, Direction::Outgoing, Said::Piece { piece, begin, length });
                }
                self.outbox(peer, |outbox| outbox.block(block));
            }
            Output::Disconnect { peer, reason } => {
                if let Some(gone) = self.peers.remove(&peer) {
                    tracing::debug!(addr = %gone.addr, %reason, "disconnected");
                    gone.outbox.close();
                }
            }
            Output::StoreBlock { block, data } => self.disk.store(block, data),
            Output::VerifyPiece { piece } => self.disk.verify(piece),
            Output::DiscardPiece { piece } => self.disk.discard(piece),
            Output::KeepSuspect { piece } => self.disk.keep_suspect(piece),
            // Nobody would be dialled.
            Output::WantPeers if self.checking.is_some() => {}
            Output::WantPeers => {
                self.trackers.want_peers(&self.swarm, now);
                if let Some(dht) = &self.services.dht {
                    self.info.info_hashes().names().for_each(|name| dht.want(name));
                }
            }
            Output::DhtNode { addr } => {
                if let Some(dht) = &self.services.dht {
                    dht.hint(addr);
                }
            }
            Output::SeenAs { ip, by } => self.services.network.seen_as(Voter::Stranger(by), ip),
            Output::Event(event) => self.event(event, now),
            // Only of a swarm whose info dictionary is not known.
            Output::Metadata { .. } => {}
        }
    }

    fn outbox(&mut self, key: PeerKey, add: impl FnOnce(&mut Outbox)) {
        if let Some(peer) = self.peers.get_mut(&key) {
            if peer.outbox.is_empty() {
                self.unflushed.push(key);
            }
            add(&mut peer.outbox);
        }
    }

    fn event(&mut self, event: ferri_swarm::Event, now: Instant) {
        use ferri_swarm::Event as Swarmed;
        let event = match event {
            Swarmed::PeerConnected { addr, client, peer } => {
                let incoming =
                    self.swarm.peers().any(|p| p.peer == peer && p.direction == Direction::Incoming);
                Event::PeerConnected { addr, client, incoming }
            }
            Swarmed::PeerDisconnected { addr, reason, .. } => {
                Event::PeerDisconnected { addr, reason: reason.to_string() }
            }
            Swarmed::PieceCompleted { piece } => {
                self.view.event(Event::PieceVerified { piece: piece.get() });
                let complete = self.files.piece(piece, self.swarm.have());
                return self.files_completed(complete);
            }
            Swarmed::PieceCorrupt { piece, .. } => Event::PieceFailed { piece: piece.get() },
            Swarmed::Banned { addr, piece } => Event::Note(format!(
                "{addr} sent wrong data in piece {}; it is refused from here on",
                piece.get()
            )),
            Swarmed::OnParole { addr, piece } => Event::Note(format!(
                "{addr} sent wrong data in piece {}; nobody else has it, so it is asked again",
                piece.get()
            )),
            // Of files that are not known it cannot be said.
            Swarmed::Completed if self.checking.is_some() => return,
            Swarmed::Completed => {
                self.completed(now);
                return;
            }
            _ => return,
        };
        self.view.event(event);
    }

    pub(super) fn files_completed(&self, files: Vec<FileIndex>) {
        if !files.is_empty() {
            self.view.event(Event::FilesCompleted { files: files.into() });
        }
    }

    fn peer_statuses(&self) -> Vec<PeerStatus> {
        let status = |peer: ferri_swarm::PeerStatus| PeerStatus {
            addr: peer.addr,
            client: peer.client,
            down_rate: peer.down_rate,
            up_rate: peer.up_rate,
            downloaded: peer.downloaded,
            uploaded: peer.uploaded,
            progress: f64::from(peer.progress),
            am_choking: peer.flags.am_choking,
            peer_choking: peer.flags.peer_choking,
            peer_interested: peer.flags.peer_interested,
            am_interested: peer.flags.am_interested,
            snubbed: peer.flags.snubbed,
        };
        self.swarm.peers().map(status).collect()
    }

    fn said(&self, peer: PeerKey, direction: Direction, message: &Message) {
        let said = match *message {
            Message::KeepAlive => Said::Other("keep-alive"),
            Message::Choke => Said::Choke,
            Message::Unchoke => Said::Unchoke,
            Message::Interested => Said::Interested,
            Message::NotInterested => Said::NotInterested,
            Message::Have { piece } => Said::Have(piece),
            Message::Bitfield(ref bits) => Said::Bitfield(bits.iter().map(|byte| byte.count_ones()).sum()),
            Message::HaveAll => Said::Bitfield(self.info.layout().piece_count()),
            Message::HaveNone => Said::Bitfield(0),
            Message::Request { piece, begin, length } => Said::Request { piece, begin, length },
            Message::Piece { piece, begin, ref data } => {
                Said::Piece { piece, begin, length: u32::try_from(data.len()).unwrap_or(u32::MAX) }
            }
            Message::Cancel { piece, begin, .. } => Said::Cancel { piece, begin },
            Message::Reject { piece, begin, .. } => Said::Reject { piece, begin },
            Message::Extended { id: 0, .. } => Said::ExtensionHandshake,
            _ => Said::Other("extension"),
        };
        self.say(peer, direction, said);
    }

    fn say(&self, peer: PeerKey, direction: Direction, message: Said) {
        if let Some(peer) = self.peers.get(&peer) {
            let outgoing = direction == Direction::Outgoing;
            self.view.event(Event::Said { addr: peer.addr, outgoing, message });
        }
    }

    pub(super) fn publish(&mut self, now: Instant) {
        let stats = self.swarm.stats();
        let layout = self.info.layout();
        self.account.follow(&self.view.state, self.view.completed_at.is_some(), now);
        let all_time = self.account.all_time(Moved::from(&stats));
        let status = TorrentStatus {
            name: self.info.name().to_owned(),
            info_hashes: self.info.info_hashes(),
            state: self.view.state.clone(),
            check_place: self.checking.as_ref().and_then(|checking| checking.place()),
            wait: self.wait(now),
            total: layout.total_length(),
            wanted: if self.seed_only { stats.have_bytes } else { stats.wanted_bytes },
            wanted_done: if self.seed_only { stats.have_bytes } else { stats.wanted_bytes - stats.left },
            downloaded: stats.downloaded,
            uploaded: stats.uploaded,
            wasted: stats.wasted,
            down_rate: stats.down_rate,
            up_rate: stats.up_rate,
            peers: stats.peers,
            seeds: stats.seeds,
            pieces_done: stats.have_pieces,
            pieces_total: layout.piece_count(),
            eta: (0 < stats.down_rate && 0 < stats.left)
                .then(|| Duration::from_secs(stats.left / stats.down_rate)),
            ratio: ratio(all_time.uploaded, all_time.downloaded, stats.have_bytes),
            all_time,
            complete_since: self.view.completed_at,
        };
        // Rates fall while nothing arrives: keep looking until they are at rest.
        self.view.stale = 0 < stats.down_rate || 0 < stats.up_rate;
        self.view.published_at = now;
        self.view.status.send_replace(status);
    }
}
