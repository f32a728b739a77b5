//! The one owner of a torrent's state: inputs in, machines handled, outputs carried out, a snapshot published.
//!
//! The loop takes what has happened in batches, gives each thing to the machine it concerns, and then drains the
//! machines once. It never waits for anything but the next thing that happens. When nothing is left to happen soon it
//! ends, and the state goes to rest (`rest`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ferri_metainfo::{FileIndex, Info};
use ferri_storage::{Data, Removed, Storage};
use ferri_swarm::{Input, Output, Priority, Role, Source, Swarm};
use tokio::sync::mpsc;

use super::account::{Account, Moved};
use super::checking::Checking;
use super::command::{Command, Order};
use super::disk::{Disk, DiskDone};
use super::fault::Remains;
use super::files::Files;
use super::moving::Moves;
use super::readers::Readers;
use super::refused::{FilesError, Refused};
use super::work::RemoveAsker;
use super::{TaskSlot, Torrent, wishes};
use crate::clock;
use crate::crew::{self, Allowed, Crew, Happened, Permit, Upload};
use crate::events::EventLog;
use crate::feed::Snapshots;
use crate::note::Note;
use crate::registry::Entry;
use crate::services::Services;
use crate::status::{Event, State, StopReason, TorrentStatus, ratio};
use crate::{Error, FilePriority};

/// A snapshot at most this often.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// A task with nothing to do that cannot go to rest, for somebody is about to send it something, looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Trackers are told and the disk is flushed within this, then the torrent ends anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that reaches the task.
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) crew: crew::Inbox,
    /// Bounded by the jobs in flight, which the swarm's memory budget bounds, and by the batches of one check.
    pub(super) disk: mpsc::UnboundedReceiver<DiskDone>,
}

/// A torrent's task.
pub(super) struct Task {
    pub(super) services: Arc<Services>,
    pub(super) torrent: Torrent,
    /// The torrent is in the session's registry.
    pub(super) entry: Entry,
    pub(super) info: Arc<Info>,
    pub(super) crew: Crew<Swarm>,
    pub(super) files: Files,
    pub(super) readers: Readers,
    pub(super) account: Account,
    pub(super) disk: Disk,
    pub(super) moves: Moves,
    pub(super) view: View,
    /// What is already on disk is served, nothing more is fetched.
    pub(super) seed_only: bool,
    /// Its files are not known yet.
    pub(super) checking: Option<Box<Checking>>,
    pub(super) ending: Option<Instant>,
    /// It is to be removed when it has stopped.
    pub(super) removal: Option<(Data, RemoveAsker)>,
}

/// What users see, and when they see it next.
pub(super) struct View {
    pub(super) status: Snapshots,
    pub(super) events: EventLog,
    pub(super) follow: Arc<AtomicBool>,
    pub(super) state: State,
    pub(super) stop_reason: Option<StopReason>,
    /// What the user calls the torrent; `None`: as it is called itself.
    pub(super) name: Option<String>,
    /// The user wants it to do nothing.
    pub(super) is_paused: bool,
    pub(super) completed_at: Option<Instant>,
    pub(super) missing: Missing,
    pub(super) published_at: Instant,
    /// Something changed since.
    pub(super) stale: bool,
}

/// What was missing at the last look, and came.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Something that is wanted was missing.
    pub(super) lacks: bool,
    /// What was missing was a file that is fetched for a reader alone.
    pub(super) is_loan: bool,
    /// Something was fetched since nothing was missing for the last time, and [`Event::Completed`] is not told yet.
    pub(super) completes: bool,
}

impl View {
    /// What the torrent is called, whose own name this is.
    pub(super) fn name(&self, own: String) -> String {
        self.name.clone().unwrap_or(own)
    }

    pub(super) fn event(&self, event: Event) {
        self.events.send(event);
    }

    /// The last thing to be seen.
    pub(super) fn stopped(&self, why: StopReason) {
        self.status.change(|status| (status.state, status.stopped) = (State::Stopped, Some(why)));
    }
}

impl Task {
    /// Lets the torrent work in a task of the session.
    pub(super) fn spawn(self, inbox: Inbox) {
        let remains = Remains {
            services: self.services.clone(),
            torrent: self.torrent.clone(),
            storage: Some(self.disk.storage().clone()),
            status: self.view.status.clone(),
            events: self.view.events.clone(),
        };
        let span = self.crew.span().clone();
        remains.spawn(self.run(inbox), span);
    }

    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let cancel = self.services.shutdown.cancel.clone();
        self.drain();
        while !self.has_ended() {
            let now = clock::now();
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
                () = tokio::time::sleep_until(wake.into()) => self.timeout(),
                happened = inbox.crew.next() => self.happened(happened, &mut inbox.crew),
            }
            if self.moves.is_any() {
                self.move_next();
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
            self.crew.next_due(),
            self.disk.next_tick(),
            self.checking.as_ref().filter(|_| !self.moves.is_any()).and_then(|checking| checking.next_try()),
            publish,
            self.ending,
        ];
        wakes.into_iter().flatten().min()
    }

    pub(super) fn timeout(&mut self) {
        let now = clock::now();
        self.crew.timeout(now);
        self.disk.set_memory(self.services.capacity.shares.memory());
        self.disk.tick(now);
        self.keep_account(now);
        if self.checking.as_ref().and_then(|checking| checking.next_try()).is_some_and(|at| at <= now) {
            self.check_again();
        }
        if self.view.stale && self.view.published_at + PUBLISH_INTERVAL <= now {
            if self.crew.is_alone() {
                // Rates are as of the last input, and a swarm without peers has none for long.
                self.handle(Input::Timeout, now);
            }
            self.publish(now);
        }
    }

    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        self.crew.handle(input, now);
    }

    fn happened(&mut self, happened: Happened, inbox: &mut crew::Inbox) {
        let now = clock::now();
        if let Happened::Mail(mail) = &happened
            && mail.has_readers
        {
            self.readers.stale();
        }
        let Happened::Reports = happened else { return self.crew.happened(happened, now) };
        for (peer, report) in inbox.reports() {
            match self.crew.report(peer, report, now) {
                Some(Upload::Sent) => self.hear_of_changes(),
                Some(Upload::Unreadable { block, error }) => self.unreadable(peer, block, &error, now),
                None => {}
            }
        }
    }

    fn command(&mut self, command: Command) {
        let now = clock::now();
        // The caller may have stopped waiting.
        match command {
            Command::Do(order, reply) => {
                let change = order.change();
                let result = self.obey(order, now);
                self.torrent.answer(change, result, reply);
            }
            Command::Have(reply) => {
                drop(reply.send((self.crew.machine().have().clone(), self.files.wanted().clone())));
            }
            Command::Peers(reply) => drop(reply.send(self.crew.peer_statuses())),
            Command::Work(work) => self.work(work, now),
            Command::Look(look) => self.show_to(look),
            Command::Trackers(reply) => drop(reply.send(self.crew.tracker_statuses(now))),
            Command::Choose(_, reply) => {
                drop(reply.send(Err(Error::AlreadyRunning(self.info.info_hashes().wire()))));
            }
            // It is the one that is known by its info dictionary.
            Command::SameAs(_) => {}
            Command::Info(reply) => drop(reply.send(Ok(self.info.clone()))),
            #[cfg(test)]
            Command::Panic => panic!("on purpose"),
        }
    }

    fn obey(&mut self, order: Order, now: Instant) -> Result<(), Refused> {
        match order {
            Order::Stop => self.stop(now),
            _ if self.ending.is_some() => return Err(Refused::Stopped),
            Order::Pause => self.pause(now),
            Order::Resume => self.resume(now),
            Order::Reannounce if self.view.is_paused => return Err(Refused::Paused),
            Order::Reannounce if self.crew.trackers().is_empty() => return Err(Refused::NoTracker),
            Order::Reannounce => self.crew.reannounce(now),
            Order::AddPeers(addrs) => {
                self.handle(Input::PeersFound { source: Source::Explicit, addrs }, now);
            }
            Order::SetPriorities(files) => return self.set_priorities(&files, now),
            Order::SetLimits { down, up } => self.crew.limits().set(down, up),
            Order::Set(setting) => self.handle(setting.input(), now),
            Order::Rename(name) => {
                self.view.name = name;
                self.publish(now);
            }
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.view.is_paused = true;
        self.hide();
        self.handle(Input::Pause, now);
        self.crew.stop_trackers(now);
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
            self.crew.start_trackers(now);
        }
        self.set_state(self.working_state());
        // After an error no piece was begun.
        self.apply_budget(now);
    }

    pub(super) fn stop(&mut self, now: Instant) {
        if self.ending.is_none() {
            self.ending = Some(now + STOP_TIMEOUT);
            // What looks at a million files is done again by the next start.
            self.disk.storage().halt();
            if let Some(checking) = &mut self.checking {
                checking.stop();
            }
            if self.moves.give_up() {
                self.disk.release(now, false);
            }
            self.hide();
            self.handle(Input::Stop, now);
            self.crew.stop_trackers(now);
        }
    }

    /// Stopping is over: trackers answered and disk jobs are done, or time is up.
    fn has_ended(&self) -> bool {
        self.ending.is_some_and(|deadline| {
            let is_checking = self.checking.as_ref().is_some_and(|checking| checking.is_busy());
            let is_done = self.crew.trackers().is_stopped()
                && !self.disk.is_busy()
                && !is_checking
                && self.account.is_quiet();
            // A move hears that it is to end, and ends with the files at one place.
            !self.moves.is_out() && (is_done || deadline <= clock::now())
        })
    }

    async fn end(mut self) {
        self.crew.close_all();
        let storage = self.disk.storage().clone();
        if self.moves.is_out() {
            // The files are closed when they are at one place.
            storage.halt();
        }
        let totals = self.account.totals(Moved::from(&self.crew.machine().stats()), clock::now());
        self.keep_totals(totals);
        self.keep_peers();
        let removal = self.removal.take();
        let why = match removal {
            Some(_) => StopReason::Deleted,
            None => self.services.why_stopped(),
        };
        let close = move || {
            let noted = storage.write_totals(&totals);
            let closed = storage.close().and(noted);
            let removed = removal.map(|(data, asker)| {
                let removed =
                    storage.files().map_or_else(|| Ok(Removed::default()), |files| files.remove(data));
                (asker, removed)
            });
            // Somebody may still hold it to read; its places are free.
            storage.leave();
            (closed, removed)
        };
        let mut removed = None;
        match tokio::task::spawn_blocking(close).await {
            Ok((Ok(()), answer)) => removed = answer,
            Ok((Err(error), answer)) => {
                removed = answer;
                self.view.event(Event::Note(Note::NotClosed(error.to_string())));
            }
            Err(error) => tracing::error!(%error, "closing the files failed"),
        }
        self.entry.leave();
        self.services.hide(&self.info.info_hashes());
        if let Some(trace) = &self.services.trace {
            trace.flush();
        }
        *self.torrent.task_slot() = TaskSlot::Empty;
        self.view.state = State::Stopped;
        self.view.stop_reason = Some(why);
        self.publish(clock::now());
        if let Some((asker, removed)) = removed {
            // The caller may have stopped waiting.
            let _ = asker.send(removed.map_err(FilesError::Storage));
        }
    }

    pub(super) fn set_state(&mut self, state: State) {
        if self.view.state != state {
            let is_progress =
                matches!((&self.view.state, &state), (State::Checking { .. }, State::Checking { .. }));
            self.view.state = state.clone();
            if !is_progress {
                self.view.event(Event::StateChanged(state));
            }
            self.publish(clock::now());
        }
    }

    /// What is missing is another thing now.
    pub(super) fn show_work(&mut self) {
        if matches!(self.view.state, State::Downloading | State::Seeding) {
            self.set_state(self.working_state());
        }
    }

    /// What it does when nothing keeps it from that.
    pub(super) fn working_state(&self) -> State {
        if self.view.is_paused {
            return State::Paused;
        }
        let is_done = self.crew.machine().stats().left == 0 && !self.disk.is_finishing();
        if self.seed_only || is_done { State::Seeding } else { State::Downloading }
    }

    /// What the swarm is to fetch for these wishes; nothing when it only serves.
    pub(super) fn piece_priorities(&self, files: &[FilePriority]) -> Vec<Priority> {
        if self.seed_only {
            vec![Priority::Skip; self.info.layout().piece_count() as usize]
        } else {
            let mut priorities = wishes::piece_priorities(&self.info, &self.readers.with_lent(files));
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

    pub(super) fn set_priorities(&mut self, given: &[FilePriority], now: Instant) -> Result<(), Refused> {
        let files = self.info.layout().file_count();
        if self.seed_only {
            return Err(Refused::OnlyServes);
        }
        if files < given.len() {
            return Err(Refused::TooManyPriorities { given: given.len(), files });
        }
        self.files.wish(given);
        self.readers.end_loan();
        match &self.checking {
            Some(_) => self.choose_while_checking(given),
            None => self.disk.set_wanted(wishes::wanted(&self.info, given)),
        }
        let priorities = self.piece_priorities(given);
        self.handle(Input::Priorities { priorities }, now);
        self.show_work();
        // Who hears that it is done may look at once.
        self.publish(now);
        Ok(())
    }

    /// What the swarm may do in the torrent's state.
    pub(super) fn apply_budget(&mut self, now: Instant) {
        let dials = if self.checking.is_none() { Allowed::Yes } else { Allowed::No };
        // While the disk takes nothing, no further piece is begun; those under way are kept in memory.
        let is_held = self.moves.is_any() || matches!(self.view.state, State::Error { .. });
        let pieces = if is_held { Allowed::No } else { dials };
        self.crew.permit(Permit { dials, pieces }, now);
    }

    /// Carries out everything the machines want, then hands the gathered messages over, once a peer.
    pub(super) fn drain(&mut self) {
        let now = clock::now();
        loop {
            while let Some(output) = self.crew.poll(now) {
                self.carry_out(output, now);
            }
            if !self.serve_readers(now) {
                break;
            }
        }
        self.crew.flush();
        self.view.stale |= self.crew.take_change();
    }

    fn carry_out(&mut self, output: Output, now: Instant) {
        match output {
            Output::StoreBlock { block, data } => self.disk.store(block, data),
            Output::VerifyPiece { piece, digests } => self.disk.verify(piece, digests),
            Output::DiscardPiece { piece } => self.disk.discard(piece),
            // Nobody would be dialled.
            Output::WantPeers if self.checking.is_some() => {}
            Output::WantPeers => self.crew.want_peers(now),
            Output::Event(event) => self.event(event, now),
            // The others are the crew's, or of a machine that lacks the info dictionary.
            _ => {}
        }
    }

    fn event(&mut self, event: ferri_swarm::SwarmEvent, now: Instant) {
        use ferri_swarm::SwarmEvent;
        let event = match event {
            SwarmEvent::PieceCompleted { piece } => {
                self.view.event(Event::PieceVerified { piece: piece.get() });
                self.readers.stale();
                let complete = self.files.piece(piece, self.crew.machine().have());
                return self.files_completed(complete);
            }
            SwarmEvent::PieceCorrupt { piece, .. } => Event::PieceFailed { piece: piece.get() },
            SwarmEvent::Banned { addr, piece } => Event::Note(Note::Banned { addr, piece: piece.get() }),
            SwarmEvent::OnParole { addr, piece } => Event::Note(Note::OnParole { addr, piece: piece.get() }),
            SwarmEvent::RoleChanged { role: Role::Leech } => {
                self.view.missing.lacks = true;
                return;
            }
            // Of files that are not known it cannot be said.
            SwarmEvent::Completed | SwarmEvent::RoleChanged { .. } if self.checking.is_some() => return,
            SwarmEvent::RoleChanged { .. } if !std::mem::take(&mut self.view.missing.lacks) => return,
            SwarmEvent::RoleChanged { .. } => return self.lacks_nothing(now),
            // Only a file of a reader was missing.
            SwarmEvent::Completed if self.view.missing.is_loan => return,
            SwarmEvent::Completed => return self.completed(now),
            _ => return,
        };
        self.view.event(event);
    }

    /// Nothing that is wanted is missing any more.
    fn lacks_nothing(&mut self, now: Instant) {
        self.view.missing.is_loan = self.readers.is_completed_loan();
        match self.view.missing.is_loan {
            true => self.show_work(),
            false => self.nothing_is_missing(now),
        }
    }

    pub(super) fn files_completed(&self, files: Vec<FileIndex>) {
        if !files.is_empty() {
            self.view.event(Event::FilesCompleted { files: files.into() });
        }
    }

    pub(super) fn publish(&mut self, now: Instant) {
        let stats = self.crew.machine().stats();
        self.account.follow(&self.view.state, self.view.completed_at.is_some(), now);
        let all_time = self.account.all_time(Moved::from(&stats));
        let status = TorrentStatus {
            state: self.view.state.clone(),
            stopped: self.view.stop_reason,
            check_place: self.checking.as_ref().and_then(|checking| checking.place()),
            wait: self.wait(now).map(Box::new),
            lies_at: self.disk.storage().files().and_then(Storage::only_file_elsewhere).map(Arc::from),
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
            eta: (0 < stats.down_rate && 0 < stats.left)
                .then(|| Duration::from_secs(stats.left / stats.down_rate)),
            ratio: ratio(all_time.uploaded, all_time.downloaded, stats.have_bytes),
            all_time,
            complete_since: self.view.completed_at,
            moving: self.moving_status().map(Box::new),
            name: self.view.name(self.info.name().to_owned()),
            ..TorrentStatus::of(&self.info)
        };
        // Rates fall while nothing arrives: keep looking until they are at rest.
        self.view.stale = 0 < stats.down_rate || 0 < stats.up_rate;
        self.crew.take_change();
        self.view.published_at = now;
        self.view.status.publish(status);
    }
}
