//! The info dictionary is here: names are taken, files opened, and the torrent goes on as one with pieces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_metainfo::{Info, InfoHash, MetainfoError};
use ferri_swarm::Input;

use super::{Chosen, Search, Step};
use crate::Error;
use crate::clock;
use crate::note::Note;
use crate::status::{ErrorReason, Event, State};
use crate::torrent::Torrent;
use crate::torrent::command::Command;
use crate::torrent::opening::{Opened, open};
use crate::torrent::start::{Added, Start};
use crate::torrent::task::Inbox;

/// Files that could not be opened are looked for again after this.
const AGAIN: Duration = Duration::from_secs(10);

impl Search {
    /// Nothing more has to be asked of peers. Those who wait for the info dictionary get it, and files are looked for as soon
    /// as it is known where.
    pub(super) fn learn(&mut self, info: Arc<Info>, now: Instant) {
        // From here on the torrent decides where it is shown (BEP 27).
        self.hide();
        self.torrent.learn(info.clone());
        for reply in self.asking.drain(..) {
            // The caller may have stopped waiting.
            let _ = reply.send(Ok(info.clone()));
        }
        self.step = Step::Held(info);
        self.publish(now);
        self.open(now);
    }

    /// What the hash stands for is no torrent that can be used.
    pub(super) fn give_up(&mut self, error: MetainfoError, now: Instant) {
        for reply in self.asking.drain(..) {
            let _ = reply.send(Err(Error::BadInfo(error.clone())));
        }
        if let Some(reply) = self.chosen.as_mut().and_then(|chosen| chosen.reply.take()) {
            let _ = reply.send(Err(Error::BadInfo(error.clone())));
        }
        self.hide();
        self.crew.handle(Input::Stop, now);
        self.crew.stop_trackers(now);
        let state = failed(&Error::BadInfo(error.clone()));
        self.step = Step::Useless(error);
        self.set_state(state);
    }

    /// Says what becomes of it, now or once it is known.
    pub(super) fn choose(&mut self, chosen: Chosen, now: Instant) {
        self.add_peers(chosen.add.peers.clone(), now);
        self.crew.limits().set(chosen.add.limits.down, chosen.add.limits.up);
        if !chosen.add.no_trackers {
            self.crew.add_trackers(chosen.add.extra_trackers.clone(), now);
        }
        self.chosen = Some(chosen);
        if matches!(self.step, Step::Held(_) | Step::Failed(..)) {
            self.open(now);
        }
    }

    /// Looks for the files of a torrent that is known, if it is known where they go.
    pub(super) fn open(&mut self, now: Instant) {
        let (Step::Held(info) | Step::Failed(info, _)) = &self.step else { return };
        if self.chosen.is_none() {
            return;
        }
        let info = info.clone();
        // The link may have named one of two hashes, and another link the other one.
        let hashes = info.info_hashes();
        match self.registry.rename(&mut self.entry, &hashes, |other| !other.has_begun()) {
            Ok(twins) => twins.into_iter().for_each(|twin| self.tell_twin(twin, hashes.wire())),
            Err(error) => return self.cannot_open(info, error, now),
        }
        self.torrent.begin();
        let Some(chosen) = &mut self.chosen else { return };
        let renamed = self.torrent.record().map(|record| record.names.files.clone()).unwrap_or_default();
        let opening = open(&self.services, &mut chosen.add, info.clone(), renamed);
        self.step = Step::Opening(info, opening);
        self.set_state(State::Checking { done: 0, total: 0 });
    }

    /// Its files are there, or not.
    pub(super) fn opened(&mut self, opened: Result<Opened, Error>) -> Option<Opened> {
        let Step::Opening(info, _) = &self.step else { return None };
        match opened {
            Ok(opened) => Some(opened),
            Err(error) => {
                self.cannot_open(info.clone(), error, clock::now());
                None
            }
        }
    }

    fn cannot_open(&mut self, info: Arc<Info>, error: Error, now: Instant) {
        if let Error::AlreadyRunning(name) = error
            && self.is_twin_of(name, now)
        {
            return;
        }
        let reply = self.chosen.as_mut().and_then(|chosen| chosen.reply.take());
        if let Some(reply) = reply {
            // The caller may choose again.
            self.chosen = None;
            self.step = Step::Held(info);
            self.set_state(State::Resolving);
            let _ = reply.send(Err(error));
            return;
        }
        let helps =
            matches!(&error, Error::Storage(error) if error.is_recoverable() || error.is_in_the_way());
        self.step = Step::Failed(info, helps.then(|| now + AGAIN));
        self.set_state(failed(&error));
    }

    /// It hears that it is sought twice.
    fn tell_twin(&self, twin: Torrent, name: InfoHash) {
        self.services.spawn_until_stop(async move {
            // One that has stopped meanwhile needs no telling.
            let _ = twin.command(Command::SameAs(name)).await;
        });
    }

    /// It is a torrent that the session has by another name: that one hears of the peers and trackers, and this one ends.
    pub(super) fn is_twin_of(&mut self, name: InfoHash, now: Instant) -> bool {
        let Some(twin) = self.registry.get(name).filter(|twin| !twin.is(&self.torrent)) else { return false };
        let is_private = twin.is_private();
        for (source, addrs) in self.crew.machine().known() {
            if !(is_private && source.is_public()) {
                twin.bring_peers(source, addrs);
            }
        }
        twin.bring_trackers(self.crew.trackers().lists().urls().cloned().collect());
        self.torrent.is_twin_of(name);
        if let Some(reply) = self.chosen.as_mut().and_then(|chosen| chosen.reply.take()) {
            let _ = reply.send(Err(Error::AlreadyRunning(name)));
        }
        self.view.event(Event::Note(Note::SameAs(name)));
        self.stop(now);
        true
    }

    /// Goes on as a torrent with pieces: in the same channels, with the same crew and the same place in the registry.
    pub(super) fn become_known(self, opened: Opened, inbox: Inbox) {
        let Self {
            services,
            registry,
            torrent,
            entry,
            crew,
            disk_done,
            view,
            number,
            step,
            chosen,
            noted,
            ..
        } = self;
        let (Step::Opening(info, _), Some(Chosen { mut add, reply })) = (step, chosen) else { return };
        noted.settings.into_iter().for_each(|setting| setting.prepare(&mut add));
        let added = Added { services, registry, torrent, entry, view, number };
        let start = Start::new(added, *add, info, opened);
        start.go_on(crew, (disk_done, inbox), (noted.wishes, noted.work));
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
    }
}

/// What a torrent is in whose files cannot be had.
fn failed(error: &Error) -> State {
    let reason = match error {
        Error::Storage(error) => return State::of_disk(error),
        Error::BadInfo(_) | Error::Name(_) | Error::Unsupported(_) => ErrorReason::BadTorrent,
        Error::AlreadyRunning(_) => ErrorReason::AlreadyRunning,
        Error::Fault(_) => ErrorReason::Fault,
        _ => ErrorReason::Disk,
    };
    State::Error { reason, text: error.to_string(), recoverable: false }
}
