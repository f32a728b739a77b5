//! The readers of a torrent's files, as its task serves them: the pieces before a reader are due soon, and it is told when
//! they are there.
//!
//! A file that nobody wants is fetched as long as it is read. That is no news to anybody else: when the user's own selection
//! was complete it stays so, whatever a reader fetches beyond it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::FileIndex;
use ferri_swarm::Input;

use super::refused::Refused;
use super::stream::{ReadError, Stream};
use super::task::Task;
use super::work::Work;
use crate::FilePriority;

/// Readers of one torrent.
const READERS_MAX: usize = 64;

impl Task {
    pub(super) fn work(&mut self, work: Work, now: Instant) {
        // The caller may have stopped waiting.
        match work {
            Work::Read(stream, reply) => drop(reply.send(self.read(stream))),
            Work::Recheck(asker) => self.recheck_all(asker),
            Work::EditTrackers(edit, asker) => self.edit_trackers(edit, asker, now),
            Work::Remove(data, asker) => self.remove(data, asker, now),
            Work::Move(folder, asker) => self.move_files(folder, asker, now),
            Work::RenameFile(file, path, asker) => self.rename_file(file, path, asker, now),
        }
    }

    fn read(&mut self, stream: Arc<Stream>) -> Result<(), Refused> {
        if self.ending.is_some() {
            return Err(Refused::Stopped);
        }
        if READERS_MAX <= self.readers.streams.len() {
            return Err(Refused::TooManyReaders);
        }
        stream.open(self.disk.storage());
        self.readers.streams.push(stream);
        self.readers.stale();
        Ok(())
    }

    /// Does for the readers what is to be done since the last call. `false`: nothing was.
    pub(super) fn serve_readers(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.readers.is_stale) {
            return false;
        }
        let mut streams = std::mem::take(&mut self.readers.streams);
        let mut windows = Vec::with_capacity(streams.len());
        streams.retain(|stream| {
            let wish = stream.take_wish();
            if let Some(piece) = wish.doubt {
                self.doubt(piece);
            }
            if wish.is_open {
                windows.push(wish.window);
            }
            wish.is_open
        });
        self.lend(&streams, now);
        for (piece, within) in self.readers.plan(&windows, self.crew.machine().have(), now) {
            self.handle(Input::Deadline { piece, within }, now);
        }
        for (stream, window) in streams.iter().zip(&windows) {
            let is_here =
                |piece: &u32| self.crew.machine().have().get(*piece) && !self.readers.doubted.contains(piece);
            let ready = window.clone().find(|piece| !is_here(piece)).unwrap_or(window.end);
            stream.tell(window, ready, self.refusal(ready));
        }
        self.readers.streams = streams;
        true
    }

    /// A reader found a piece not to be what it should be.
    fn doubt(&mut self, piece: u32) {
        if let Some(index) = self.info.layout().piece(piece).filter(|_| self.crew.machine().have().get(piece))
        {
            self.readers.doubted.insert(piece);
            self.hear_of_changes();
            self.disk.unreadable(index);
        }
    }

    /// Why a piece will not come.
    fn refusal(&self, piece: u32) -> Option<ReadError> {
        let is_gone = self.checking.is_none() && !self.crew.machine().have().get(piece);
        if is_gone && self.crew.machine().is_withdrawn(piece) {
            Some(ReadError::Changed)
        } else {
            (is_gone && self.seed_only).then_some(ReadError::OnlyServes)
        }
    }

    /// Has files fetched that only readers want, once it is known what there is.
    fn lend(&mut self, streams: &[Arc<Stream>], now: Instant) {
        if self.checking.is_some() || self.seed_only {
            return;
        }
        let wishes = self.files.wishes();
        let read = streams.iter().map(|stream| stream.file);
        let lent: BTreeSet<FileIndex> =
            read.filter(|file| wishes[file.as_usize()] == FilePriority::Skip).collect();
        if lent == self.readers.lent {
            return;
        }
        let (is_first, is_over) = (self.readers.lent.is_empty(), lent.is_empty());
        let was_complete = self.crew.machine().stats().left == 0;
        self.readers.lent = lent;
        if is_first {
            self.readers.is_loan = was_complete;
        }
        let priorities = self.piece_priorities(&wishes);
        self.handle(Input::Priorities { priorities }, now);
        if is_over && was_complete {
            // The swarm has nothing to tell.
            self.readers.is_loan = false;
        }
        self.show_work();
    }
}
