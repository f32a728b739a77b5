//! A torrent's trackers, changed by its users: in every state, and for good.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Torrent;
use super::command::Command;
use super::refused::Refused;
use super::task::Task;
use super::work::{EditAsker, Work};
use crate::store::{RecordTrackers, StoreError};
use crate::trackers::{RefusedTracker, TrackerEdit};

impl Torrent {
    /// Puts these tiers (BEP 12) in the place of all trackers that it has; no tier at all takes them away. Works in every state, and
    /// is kept for the next start. While the torrent works, trackers that stay go on as if nothing had happened, those that go hear
    /// `stopped` if they may have heard of us, and new ones are asked at once, 16 at most. Nothing else that looks for peers changes,
    /// and a private torrent stays one.
    ///
    /// Returns the URLs that were left out, and why; the others are listed then, as [`Self::trackers`] shows. What the torrent had
    /// listed before is not left out, even if it cannot be used.
    ///
    /// # Errors
    /// [`Refused::Stopped`]; [`Refused::NotKept`] when it is done for this session alone.
    pub async fn set_trackers(&self, tiers: Vec<Vec<String>>) -> Result<Vec<RefusedTracker>, Refused> {
        self.edit_trackers(TrackerEdit::Set(tiers)).await
    }

    /// Adds these trackers, each in a tier of its own and asked in any case, whatever those of the torrent answer. For the rest as
    /// [`Self::set_trackers`].
    ///
    /// # Errors
    /// As [`Self::set_trackers`].
    pub async fn add_trackers(&self, urls: Vec<String>) -> Result<Vec<RefusedTracker>, Refused> {
        self.edit_trackers(TrackerEdit::Add(urls)).await
    }

    /// Takes these trackers away. For the rest as [`Self::set_trackers`].
    ///
    /// # Errors
    /// As [`Self::set_trackers`].
    pub async fn remove_trackers(&self, urls: Vec<String>) -> Result<Vec<RefusedTracker>, Refused> {
        self.edit_trackers(TrackerEdit::Remove(urls)).await
    }

    /// Puts the tracker `with` in the place of the tracker `url`. For the rest as [`Self::set_trackers`].
    ///
    /// # Errors
    /// As [`Self::set_trackers`].
    pub async fn replace_tracker(&self, url: String, with: String) -> Result<Vec<RefusedTracker>, Refused> {
        self.edit_trackers(TrackerEdit::Replace { url, with }).await
    }

    async fn edit_trackers(&self, edit: TrackerEdit) -> Result<Vec<RefusedTracker>, Refused> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Work(Work::EditTrackers(edit, reply))).await;
        answer.await.unwrap_or(Err(Refused::Stopped))
    }

    /// Answers an edit once it is kept. `changed`: the trackers as they are now, if they changed.
    pub(super) fn answer_edit(
        &self,
        changed: Option<RecordTrackers>,
        refused: Vec<RefusedTracker>,
        asker: EditAsker,
    ) {
        let reply = move |kept: Result<(), StoreError>| {
            // The caller may have stopped waiting.
            drop(asker.send(kept.map(|()| refused).map_err(Refused::NotKept)));
        };
        match changed {
            Some(trackers) => self.keep(|record| record.trackers = trackers, Box::new(reply)),
            None => reply(Ok(())),
        }
    }
}

impl Task {
    pub(super) fn edit_trackers(&mut self, edit: TrackerEdit, asker: EditAsker, now: Instant) {
        if self.ending.is_some() {
            // The caller may have stopped waiting.
            return drop(asker.send(Err(Refused::Stopped)));
        }
        let (refused, is_changed) = self.crew.edit_trackers(edit, now);
        let changed = is_changed.then(|| self.crew.trackers().to_record());
        self.torrent.answer_edit(changed, refused, asker);
    }
}
