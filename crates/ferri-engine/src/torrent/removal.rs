//! A torrent that leaves the session for good: it stops first, and its task, which still has its place in the session, takes
//! what is remembered of it along, and its data if that is wanted.

use std::time::Instant;

use ferri_storage::{Data, Removed};
use tokio::sync::oneshot;

use super::Torrent;
use super::command::Command;
use super::refused::{FilesError, Refused};
use super::task::Task;
use super::work::{RemoveAsker, Work};

impl Torrent {
    pub(crate) async fn remove(&self, data: Data) -> Result<Removed, FilesError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Work(Work::Remove(data, reply))).await;
        answer.await.unwrap_or(Err(FilesError::Refused(Refused::Stopped)))
    }
}

impl Task {
    /// Stops, and then removes. Of several who ask for it the first one counts.
    pub(super) fn remove(&mut self, data: Data, asker: RemoveAsker, now: Instant) {
        if self.removal.is_some() {
            // The caller may have stopped waiting.
            return drop(asker.send(Err(FilesError::Refused(Refused::Stopped))));
        }
        self.removal = Some((data, asker));
        self.stop(now);
    }
}
