//! Torrents at rest: state without a task.
//!
//! Most torrents of a long list have no peers and nothing to fetch. Such a torrent needs no task, no channels and no
//! files: [`Task::rest`] puts its state on a shelf ([`super::Seat`]), with an alarm for the next thing that is due, and
//! [`Resting::wake`] gives it a task again when the alarm rings (`keeper`), a peer comes or a handle asks for something.
//! The machines stay as they are, so nothing that happens later can tell whether the torrent rested.
//!
//! Nothing can be lost in between: a task goes to rest under the lock of its seat, and only when nobody else holds a
//! sender of any of its channels and all are empty. New senders are made under that lock alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_metainfo::Info;
use ferri_storage::Storage;
use ferri_swarm::Swarm;
use ferri_wire::Handshake;
use tokio::sync::mpsc;

use super::account::{Account, Moved};
use super::command::Command;
use super::disk::Disk;
use super::files::Files;
use super::task::{Inbox, Senders, Task, TorrentLimits, View};
use super::{COMMANDS_MAX, Seat, Torrent};
use crate::handshake::Arrival;
use crate::mailbox::Mailbox;
use crate::network::Facts;
use crate::registry::Entry;
use crate::resolve::Estate;
use crate::services::Services;
use crate::share::{Budget, Claim};
use crate::trace_file::Trace;
use crate::trackers::Trackers;

/// Reports of peers waiting for the torrent's task, each up to 256 KiB of blocks; beyond that peers wait, and TCP slows them.
const REPORTS_MAX: usize = 8;
/// Connections waiting to be admitted.
const ARRIVALS_MAX: usize = 64;
/// Nobody goes to rest for less than this.
const REST_MIN: Duration = Duration::from_secs(1);

/// How to reach a torrent's task.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) mail: Arc<Mailbox>,
}

/// All that is left of a torrent's task.
pub(super) struct Resting {
    /// The torrent is in the session's registry.
    entry: Entry,
    info: Arc<Info>,
    handshake: Handshake,
    pub(super) swarm: Swarm,
    pub(super) files: Files,
    account: Account,
    pub(super) trackers: Trackers,
    storage: Arc<Storage>,
    view: View,
    limits: TorrentLimits,
    /// As the swarm knows it.
    budget: Budget,
    trace: Option<Trace>,
    seed_only: bool,
    told: Facts,
    /// The alarm that is set.
    wakes_at: Option<Instant>,
}

impl std::fmt::Debug for Resting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resting").field("wakes_at", &self.wakes_at).finish_non_exhaustive()
    }
}

/// The channels of a torrent's task: for others, for itself, and their ends.
pub(super) fn channels() -> (Door, Senders, Inbox) {
    let (commands, command_inbox) = mpsc::channel(COMMANDS_MAX);
    let (arrivals, arrival_inbox) = mpsc::channel(ARRIVALS_MAX);
    let (reports, report_inbox) = mpsc::channel(REPORTS_MAX);
    let (disk, disk_inbox) = mpsc::unbounded_channel();
    let (answers, answer_inbox) = mpsc::unbounded_channel();
    let mail = Arc::<Mailbox>::default();
    let inbox = Inbox {
        commands: command_inbox,
        mail: mail.clone(),
        arrivals: arrival_inbox,
        reports: report_inbox,
        disk: disk_inbox,
        answers: answer_inbox,
    };
    (Door { commands, arrivals: arrivals.clone(), mail }, Senders { arrivals, reports, disk, answers }, inbox)
}

/// Dials and announces that a search began end in its channels: those become the torrent's.
pub(super) fn take_over(estate: &mut Estate, door: &mut Door, senders: &mut Senders, inbox: &mut Inbox) {
    std::mem::swap(&mut estate.arrivals.0, &mut senders.arrivals);
    std::mem::swap(&mut estate.arrivals.1, &mut inbox.arrivals);
    std::mem::swap(&mut estate.answers.0, &mut senders.answers);
    std::mem::swap(&mut estate.answers.1, &mut inbox.answers);
    door.arrivals = senders.arrivals.clone();
    // What was found for the search and not looked at yet.
    inbox.mail = estate.mail.clone();
    door.mail = estate.mail.clone();
}

impl Inbox {
    /// Nothing waits, and nobody but the torrent's own task and seat could send anything: no handle that is about to,
    /// no dial, peer, disk job or announce under way.
    fn is_quiet(&self) -> bool {
        let own = (1, 2, 1, 2, 1);
        let senders = (
            self.commands.sender_strong_count(),
            self.arrivals.sender_strong_count(),
            self.reports.sender_strong_count(),
            self.disk.sender_strong_count(),
            self.answers.sender_strong_count(),
        );
        senders == own
            && self.commands.is_empty()
            // Nobody writes to it but under the lock of the seat.
            && self.mail.is_empty()
            && self.arrivals.is_empty()
            && self.reports.is_empty()
            && self.disk.is_empty()
            && self.answers.is_empty()
    }
}

impl Task {
    /// Nothing is to be done soon, and nobody is there.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.ending.is_none()
            && self.checking.is_none()
            && self.peers.is_empty()
            && !self.view.stale
            && !self.disk.is_busy()
            && self.disk.next_tick().is_none()
            && self.next_due().is_none_or(|at| now + REST_MIN <= at)
            && self.account.is_quiet()
            && self.has_nothing_open(now)
    }

    /// No piece is under way, and what moved is noted.
    fn has_nothing_open(&self, now: Instant) -> bool {
        let stats = self.swarm.stats();
        stats.open_bytes == 0 && self.account.news(Moved::from(&stats), now).is_none()
    }

    /// Goes to rest, or comes back because somebody is about to send it something.
    pub(super) fn rest(self, inbox: &Inbox) -> Option<Self> {
        let torrent = self.torrent.clone();
        let mut seat = torrent.seat();
        if !inbox.is_quiet() {
            return Some(self);
        }
        *seat = Seat::Resting(Box::new(self.into_resting()));
        None
    }

    fn into_resting(self) -> Resting {
        let wakes_at = self.next_due();
        if let Some(at) = wakes_at {
            self.services.keeper.set(at, self.handshake.info_hash);
        }
        self.view.events.rest();
        let mut files = self.files;
        files.rest();
        let storage = self.disk.storage().clone();
        storage.close_idle();
        self.services.disk.blocks.release();
        Resting {
            entry: self.entry,
            info: self.info,
            handshake: self.handshake,
            swarm: self.swarm,
            files,
            account: self.account,
            trackers: self.trackers,
            storage,
            view: self.view,
            limits: self.limits,
            budget: self.budget,
            trace: self.trace,
            seed_only: self.seed_only,
            told: self.told,
            wakes_at,
        }
    }
}

impl Resting {
    /// Spawns the task that goes on.
    pub(super) fn wake(self: Box<Self>, services: &Arc<Services>, torrent: Torrent) -> Door {
        if let Some(at) = self.wakes_at {
            services.keeper.clear(at, self.handshake.info_hash);
        }
        let (door, senders, inbox) = channels();
        let disk = Disk::new(
            self.storage,
            self.info.layout().clone(),
            services.disk.pool.clone(),
            services.options.memory,
            senders.disk.clone(),
        );
        let task = Task {
            services: services.clone(),
            torrent,
            entry: self.entry,
            info: self.info,
            handshake: self.handshake,
            swarm: self.swarm,
            files: self.files,
            account: self.account,
            trackers: self.trackers,
            disk,
            view: self.view,
            limits: self.limits,
            senders,
            trace: self.trace,
            peers: BTreeMap::new(),
            unflushed: Vec::new(),
            claim: Claim::new(services.capacity.shares.clone()),
            budget: self.budget,
            budget_at: Instant::now(),
            seed_only: self.seed_only,
            told: self.told,
            ending: None,
            checking: None,
        };
        task.spawn(inbox);
        door
    }

    /// There is nothing that it would want of a peer.
    pub(super) fn is_complete(&self) -> bool {
        self.seed_only || self.swarm.stats().left == 0
    }

    /// Lets the machines know what is news to them; the alarm follows.
    pub(super) fn look_at_network(&mut self, services: &Services) {
        let now = Instant::now();
        for input in self.told.replace(services.network.facts(), &mut self.trackers, now) {
            if let Some(trace) = &self.trace {
                trace.input(&input, now);
            }
            self.swarm.handle(input, now);
        }
        let info_hash = self.handshake.info_hash;
        if let Some(at) = self.wakes_at.take() {
            services.keeper.clear(at, info_hash);
        }
        self.wakes_at = [self.swarm.poll_timeout(), self.trackers.poll_timeout()].into_iter().flatten().min();
        if let Some(at) = self.wakes_at {
            services.keeper.set(at, info_hash);
        }
    }

    /// The session was dropped: nobody will wake it any more.
    pub(super) fn abandon(&self) {
        self.view.stopped();
    }
}
