//! What a torrent is told while it is not known: done at once, noted for later, or refused with the reason.

use std::path::PathBuf;
use std::time::Instant;

use ferri_storage::{Moved, StorageError};
use ferri_swarm::Input;

use super::{Chosen, STOP_TIMEOUT, Search, Step};
use crate::Error;
use crate::clock;
use crate::status::{State, StopReason};
use crate::store::StoreError;
use crate::torrent::TaskSlot;
use crate::torrent::command::{Command, Order};
use crate::torrent::refused::{FilesError, Refused};
use crate::torrent::work::{MoveAsker, Work};

/// Moves and renames that wait until the files are there.
const NOTED_MAX: usize = 64;

impl Search {
    pub(super) fn command(&mut self, command: Command) {
        let now = clock::now();
        // The caller may have stopped waiting.
        match command {
            Command::Do(order, reply) => {
                let change = order.change();
                let result = self.obey(order, now);
                self.torrent.answer(change, result, reply);
            }
            Command::Choose(_, reply) if self.ending.is_some() => drop(reply.send(Err(Error::Closed))),
            Command::Choose(add, reply) => match &self.step {
                Step::Useless(error) => drop(reply.send(Err(Error::BadInfo(error.clone())))),
                Step::Opening(info, _) => {
                    drop(reply.send(Err(Error::AlreadyRunning(info.info_hashes().wire()))));
                }
                Step::Seeking | Step::Held(_) | Step::Failed(..) => {
                    self.choose(Chosen { add, reply: Some(reply) }, now);
                }
            },
            Command::Info(reply) => match (&self.step, self.torrent.info()) {
                (_, Some(info)) => drop(reply.send(Ok(info.clone()))),
                (Step::Useless(error), None) => drop(reply.send(Err(Error::BadInfo(error.clone())))),
                _ => {
                    self.asking.retain(|asking| !asking.is_closed());
                    self.asking.push(reply);
                }
            },
            Command::Peers(reply) => drop(reply.send(self.crew.peer_statuses())),
            Command::Trackers(reply) => drop(reply.send(self.crew.tracker_statuses(now))),
            Command::Work(work) if self.ending.is_some() => work.refuse(Refused::Stopped),
            Command::Work(Work::EditTrackers(edit, asker)) => {
                let (refused, is_changed) = self.crew.edit_trackers(edit, now);
                let changed = is_changed.then(|| self.crew.trackers().to_record());
                self.torrent.answer_edit(changed, refused, asker);
            }
            Command::Work(Work::Move(folder, asker)) => self.move_to(folder, asker, now),
            // Its files are looked for.
            Command::Work(work @ Work::RenameFile(..)) if matches!(self.step, Step::Opening(..)) => {
                self.note_work(work);
            }
            Command::Work(work) => work.refuse(Refused::Unresolved),
            Command::Look(look) => look.at_nothing(),
            Command::SameAs(name) => drop(self.is_twin_of(name, now)),
            // There are no files yet.
            Command::Have(_) => {}
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
            Order::AddPeers(addrs) => self.add_peers(addrs, now),
            Order::SetPriorities(files) => {
                let info = self.torrent.info().ok_or(Refused::Unresolved)?;
                let (given, files_max) = (files.len(), info.layout().file_count());
                if files_max < given {
                    return Err(Refused::TooManyPriorities { given, files: files_max });
                }
                self.noted.wishes = Some(files);
            }
            Order::SetLimits { down, up } => self.crew.limits().set(down, up),
            Order::Set(setting) => self.noted.set(setting),
            Order::Rename(name) => {
                self.view.name = name;
                self.publish(now);
            }
        }
        Ok(())
    }

    /// Its files will go to this folder.
    fn move_to(&mut self, folder: PathBuf, asker: MoveAsker, now: Instant) {
        let chosen = match (&self.step, &mut self.chosen) {
            (Step::Opening(..), Some(_)) => return self.note_work(Work::Move(folder, asker)),
            (_, Some(chosen)) => chosen,
            // The choice says where.
            (_, None) => return Work::Move(folder, asker).refuse(Refused::Unresolved),
        };
        if chosen.add.seed_only || chosen.add.stored.is_some() {
            let why = if chosen.add.seed_only { Refused::OnlyServes } else { Refused::NoFiles };
            return Work::Move(folder, asker).refuse(why);
        }
        let folder = match std::path::absolute(&folder) {
            Ok(folder) => folder,
            Err(source) => {
                let error = StorageError::Folder { path: folder, source };
                return drop(asker.send(Err(FilesError::Storage(error))));
            }
        };
        if let Some(payload) = &mut chosen.add.payload {
            let name = payload.file_name().map(ToOwned::to_owned).unwrap_or_default();
            *payload = folder.join(name);
        }
        chosen.add.output.clone_from(&folder);
        let reply = |kept: Result<(), StoreError>| {
            let moved = kept.map(|()| Moved::default());
            drop(asker.send(moved.map_err(|error| FilesError::Refused(Refused::NotKept(error)))));
        };
        self.torrent.keep(|record| record.move_to(&folder), Box::new(reply));
        if matches!(self.step, Step::Failed(..)) {
            self.open(now);
        }
    }

    /// To be done when its files are there.
    fn note_work(&mut self, work: Work) {
        if NOTED_MAX <= self.noted.work.len() {
            return work.refuse(Refused::TooManyMoves);
        }
        self.noted.work.push(work);
    }

    fn pause(&mut self, now: Instant) {
        self.view.is_paused = true;
        self.hide();
        self.crew.handle(Input::Pause, now);
        self.crew.stop_trackers(now);
        if self.is_waiting() {
            self.set_state(State::Paused);
        }
    }

    fn resume(&mut self, now: Instant) {
        let was_paused = std::mem::take(&mut self.view.is_paused);
        self.crew.handle(Input::Resume, now);
        if was_paused && self.is_waiting() {
            self.set_state(State::Resolving);
            self.crew.start_trackers(now);
            if self.is_seeking() {
                self.show();
            }
        }
        if matches!(self.step, Step::Failed(..)) {
            self.open(now);
        }
    }

    /// For peers, or for a choice.
    fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Seeking | Step::Held(_))
    }

    pub(super) fn stop(&mut self, now: Instant) {
        if self.ending.is_none() {
            self.ending = Some(now + STOP_TIMEOUT);
            // Files are not looked for any more.
            if let Step::Opening(info, _) = &self.step {
                self.step = Step::Held(info.clone());
            }
            self.hide();
            self.crew.handle(Input::Stop, now);
            self.crew.stop_trackers(now);
        }
    }

    /// Stopping is over: trackers answered, or time is up.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some_and(|deadline| self.crew.trackers().is_stopped() || deadline <= clock::now())
    }

    pub(super) fn end(mut self) {
        self.crew.close_all();
        self.entry.leave();
        self.hide();
        *self.torrent.task_slot() = TaskSlot::Empty;
        self.view.state = State::Stopped;
        let twin = self.torrent.same_as().map(StopReason::SameAs);
        self.view.stop_reason = Some(twin.unwrap_or_else(|| self.services.why_stopped()));
        self.publish(clock::now());
    }
}
