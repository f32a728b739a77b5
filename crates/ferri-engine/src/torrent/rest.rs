//! Torrents at rest: state without a task.
//!
//! Most torrents of a long list have no peers and nothing to fetch. Such a torrent needs no task, no channels and no
//! files: [`Task::rest`] leaves its state in the torrent's slot ([`super::TaskSlot`]), with an alarm for the next thing that is due, and
//! [`Resting::wake`] gives it a task again when the alarm rings (`keeper`), a peer comes or a handle asks for something.
//! The machines stay as they are, so nothing that happens later can tell whether the torrent rested.
//!
//! Nothing can be lost in between: a task goes to rest under the lock of its slot, and only when nobody else holds a
//! sender of any of its channels and all are empty. New senders are made under that lock alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_metainfo::Info;
use ferri_storage::Store;
use ferri_swarm::Swarm;
use tokio::sync::mpsc;

use super::account::{Account, Moved};
use super::command::Command;
use super::disk::{Disk, DiskDone};
use super::files::Files;
use super::moving::Moves;
use super::readers::Readers;
use super::task::{Inbox, Task, View};
use super::{COMMANDS_MAX, TaskSlot, Torrent};
use crate::clock;
use crate::crew::{self, Base, Permit, Senders};
use crate::registry::Entry;
use crate::services::Services;
use crate::share::Claim;
use crate::status::StopReason;

/// Nobody goes to rest for less than this.
const REST_MIN: Duration = Duration::from_secs(1);

/// How to reach a torrent's task.
#[derive(Debug)]
pub(super) struct TaskHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) crew: crew::CrewHandle,
}

/// All that is left of a torrent's task.
pub(super) struct Resting {
    /// The torrent is in the session's registry.
    entry: Entry,
    info: Arc<Info>,
    pub(super) crew: Base<Swarm>,
    pub(super) files: Files,
    account: Account,
    pub(super) storage: Arc<Store>,
    pub(super) view: View,
    pub(super) seed_only: bool,
    /// The alarm that is set.
    wakes_at: Option<Instant>,
}

impl std::fmt::Debug for Resting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resting").field("wakes_at", &self.wakes_at).finish_non_exhaustive()
    }
}

/// The channels of a torrent's task: for others, for the crew, for the disk threads, and their ends.
pub(super) fn channels() -> (TaskHandle, Senders, mpsc::UnboundedSender<DiskDone>, Inbox) {
    let (commands, command_inbox) = mpsc::channel(COMMANDS_MAX);
    let (disk_done, disk) = mpsc::unbounded_channel();
    let (handle, senders, crew) = crew::channels();
    (TaskHandle { commands, crew: handle }, senders, disk_done, Inbox { commands: command_inbox, crew, disk })
}

impl Inbox {
    /// Nothing waits, and nobody but the torrent's own task and slot could send anything: no handle that is about to,
    /// no dial, peer, disk job or announce under way.
    fn is_quiet(&self) -> bool {
        self.commands.sender_strong_count() == 1
            && self.disk.sender_strong_count() == 1
            && self.commands.is_empty()
            && self.disk.is_empty()
            && self.crew.is_quiet()
    }
}

impl Task {
    /// Nothing is to be done soon, and nobody is there.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.ending.is_none()
            && self.checking.is_none()
            && self.crew.is_alone()
            && self.readers.is_empty()
            && !self.moves.is_any()
            && !self.view.stale
            && !self.disk.is_busy()
            && self.disk.next_tick().is_none()
            && self.next_due().is_none_or(|at| now + REST_MIN <= at)
            && self.account.is_quiet()
            && self.has_nothing_open(now)
    }

    /// No piece is under way, and what moved is noted.
    fn has_nothing_open(&self, now: Instant) -> bool {
        let stats = self.crew.machine().stats();
        stats.open_bytes == 0 && self.account.news(Moved::from(&stats), now).is_none()
    }

    /// Goes to rest, or comes back because somebody is about to send it something.
    pub(super) fn rest(self, inbox: &Inbox) -> Option<Self> {
        let torrent = self.torrent.clone();
        let mut task_slot = torrent.task_slot();
        if !inbox.is_quiet() {
            return Some(self);
        }
        *task_slot = TaskSlot::Resting(Box::new(self.into_resting()));
        None
    }

    fn into_resting(self) -> Resting {
        self.keep_peers();
        let wakes_at = self.next_due();
        if let Some(at) = wakes_at {
            self.services.keeper.set(at, self.crew.names().handshake.info_hash);
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
            crew: self.crew.rest(),
            files,
            account: self.account,
            storage,
            view: self.view,
            seed_only: self.seed_only,
            wakes_at,
        }
    }
}

impl Resting {
    /// Spawns the task that goes on.
    pub(super) fn wake(self: Box<Self>, services: &Arc<Services>, torrent: Torrent) -> TaskHandle {
        if let Some(at) = self.wakes_at {
            services.keeper.clear(at, self.crew.names.handshake.info_hash);
        }
        let (handle, senders, disk_done, inbox) = channels();
        let disk = Disk::new(
            self.storage.clone(),
            self.info.layout().clone(),
            services.disk.pool.clone(),
            services.capacity.shares.memory(),
            disk_done,
        );
        let claim = Claim::new(services.capacity.shares.clone());
        let crew = self.crew.gather(services.clone(), claim, Permit::EVERYTHING, senders);
        crew.serve_from(self.storage);
        let task = Task {
            services: services.clone(),
            torrent,
            entry: self.entry,
            info: self.info,
            crew,
            files: self.files,
            readers: Readers::default(),
            account: self.account,
            disk,
            moves: Moves::default(),
            view: self.view,
            seed_only: self.seed_only,
            ending: None,
            removal: None,
            checking: None,
        };
        task.spawn(inbox);
        handle
    }

    /// There is nothing that it would want of a peer.
    pub(super) fn is_complete(&self) -> bool {
        self.seed_only || self.crew.machine.stats().left == 0
    }

    /// Lets the machines know what is news to them; the alarm follows.
    pub(super) fn look_at_network(&mut self, services: &Services) {
        self.crew.look_at_network(services, clock::now());
        let info_hash = self.crew.names.handshake.info_hash;
        if let Some(at) = self.wakes_at.take() {
            services.keeper.clear(at, info_hash);
        }
        self.wakes_at = self.crew.next_due();
        if let Some(at) = self.wakes_at {
            services.keeper.set(at, info_hash);
        }
    }

    /// The session was dropped: nobody will wake it any more.
    pub(super) fn abandon(&self) {
        self.view.stopped(StopReason::SessionEnded);
    }
}
