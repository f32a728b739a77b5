//! How a torrent's task moves its files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ferri_metainfo::FileIndex;
use ferri_storage::{MoveProgress, Moved, StorageError, Store};

use super::Move;
use crate::clock;
use crate::status::{Event, MovingStatus};
use crate::store::{Record, StoreError};
use crate::torrent::disk::DiskDone;
use crate::torrent::refused::{FilesError, Refused};
use crate::torrent::task::Task;
use crate::torrent::work::{MoveAsker, RecheckAsker, RenameAsker};

/// Moves that wait for their turn.
const WAITING_MAX: usize = 64;

/// Bytes that are copied between two words about it.
const PROGRESS_STEP: u64 = 16 << 20;

/// What a thread of its own does.
type Job = Box<dyn FnOnce(&Store) -> Result<Moved, StorageError> + Send>;

impl Task {
    pub(in crate::torrent) fn move_files(&mut self, folder: PathBuf, asker: MoveAsker, now: Instant) {
        match self.refuses_to_move(None) {
            // The caller may have stopped waiting.
            Some(why) => drop(asker.send(Err(why.into()))),
            None => self.add_move(Move::Folder(folder, asker), now),
        }
    }

    pub(in crate::torrent) fn rename_file(
        &mut self,
        file: FileIndex,
        path: PathBuf,
        asker: RenameAsker,
        now: Instant,
    ) {
        match self.refuses_to_move(Some(file)) {
            Some(why) => drop(asker.send(Err(why.into()))),
            None => self.add_move(Move::File(file, path, asker), now),
        }
    }

    fn refuses_to_move(&self, file: Option<FileIndex>) -> Option<Refused> {
        let layout = self.info.layout();
        let is_file = |file: FileIndex| file.as_usize() < layout.file_count() && !layout.is_pad(file);
        match file {
            _ if self.ending.is_some() => Some(Refused::Stopped),
            Some(file) if !is_file(file) => Some(Refused::NoSuchFile { file: file.0 }),
            _ if self.disk.storage().files().is_none() => Some(Refused::NoFiles),
            _ if self.seed_only => Some(Refused::OnlyServes),
            _ if WAITING_MAX <= self.moves.waiting.len() => Some(Refused::TooManyMoves),
            _ => None,
        }
    }

    fn add_move(&mut self, order: Move, now: Instant) {
        self.moves.waiting.push_back(order);
        self.disk.hold();
        self.apply_budget(now);
        self.move_next();
    }

    /// Everything is to be looked at again once nothing is moved any more.
    pub(in crate::torrent) fn recheck_after_moves(&mut self, asker: RecheckAsker) {
        self.moves.rechecks.push(asker);
    }

    /// Begins with the next move, if nothing is under way that it would have to wait for.
    pub(in crate::torrent) fn move_next(&mut self) {
        let is_checking = self.checking.as_ref().is_some_and(|checking| checking.is_busy());
        let is_free = !self.moves.is_out() && self.ending.is_none() && !is_checking;
        if !is_free || !self.disk.is_quiet() {
            return;
        }
        let Some(order) = self.moves.waiting.pop_front() else { return };
        let (storage, done) = (self.disk.storage().clone(), self.disk.reports());
        // What is kept of it is the last word; where nothing is, there is nothing to wait for.
        let is_kept = self.torrent.record().is_some();
        let work: Job = match &order {
            Move::Folder(folder, _) => {
                let (folder, told, done) = (folder.clone(), AtomicU64::new(0), done.clone());
                let tell = move |progress: MoveProgress| {
                    let last = told.load(Ordering::Relaxed);
                    if progress.done == 0 || last + PROGRESS_STEP <= progress.done {
                        told.store(progress.done, Ordering::Relaxed);
                        // The torrent may have ended without waiting for it.
                        let _ = done.send(DiskDone::Moving(progress));
                    }
                };
                Box::new(move |storage| move_to(storage, &folder, &tell))
            }
            Move::File(file, path, _) => {
                let (file, path) = (*file, path.clone());
                Box::new(move |storage| rename_file(storage, file, &path))
            }
        };
        let moving = tokio::task::spawn_blocking(move || {
            let moved = work(&storage);
            if let (false, true, Some(files)) = (is_kept, moved.is_ok(), storage.files()) {
                files.confirm_move(&files.place().root);
            }
            moved
        });
        self.services.tasks.spawn(async move {
            let moved = moving.await.unwrap_or(Err(StorageError::Invalid("the move of the files panicked")));
            let _ = done.send(DiskDone::Moved(moved));
        });
        self.moves.out = Some(order);
        self.publish(clock::now());
    }

    /// So much was copied.
    pub(in crate::torrent) fn moving(&mut self, progress: MoveProgress) {
        self.moves.progress = Some(progress);
        self.view.stale = true;
    }

    /// The files are there, or where they were.
    pub(in crate::torrent) fn moved(&mut self, result: Result<Moved, StorageError>, now: Instant) {
        self.moves.progress = None;
        let Some(order) = self.moves.out.take() else { return };
        match (order, result) {
            // The caller may have stopped waiting.
            (Move::Folder(_, asker), Err(error)) => drop(asker.send(Err(error.into()))),
            (Move::File(_, _, asker), Err(error)) => drop(asker.send(Err(error.into()))),
            (Move::Folder(_, asker), Ok(moved)) => {
                let folder = self.disk.storage().files().map(|files| files.place().root.clone());
                if let Some(folder) = folder.clone() {
                    self.view.event(Event::Moved { folder });
                }
                let change = move |record: &mut Record| {
                    folder.into_iter().for_each(|folder| record.move_to(&folder));
                };
                self.keep_move(change, move |kept| {
                    drop(asker.send(kept.map(|()| moved)));
                });
            }
            (Move::File(_, _, asker), Ok(_)) => {
                let renamed = self.disk.storage().files().map(|files| files.renamed()).unwrap_or_default();
                self.keep_move(
                    move |record| record.names.files = renamed,
                    move |kept| drop(asker.send(kept)),
                );
            }
        }
        self.move_next();
        if !self.moves.is_any() {
            self.end_moves(now);
        }
        self.publish(now);
    }

    /// Keeps where the files are; only then need a start not find that out.
    fn keep_move(
        &self,
        change: impl FnOnce(&mut Record),
        answer: impl FnOnce(Result<(), FilesError>) + Send + 'static,
    ) {
        let storage = self.disk.storage().clone();
        let is_kept = self.torrent.record().is_some();
        // The next move may be under way, or done, when the answer comes.
        let folder = storage.files().map(|files| files.place().root.clone()).unwrap_or_default();
        let reply = move |result: Result<(), StoreError>| {
            if let (Ok(()), true, Some(files)) = (&result, is_kept, storage.files()) {
                files.confirm_move(&folder);
            }
            answer(result.map_err(|error| FilesError::Refused(Refused::NotKept(error))));
        };
        self.torrent.keep(change, Box::new(reply));
    }

    /// Nothing is moved any more: what waited for that goes on.
    fn end_moves(&mut self, now: Instant) {
        let is_any_missing = self.crew.machine().stats().left != 0;
        self.disk.release(now, !is_any_missing);
        self.apply_budget(now);
        self.readers.stale();
        self.hear_of_changes();
        // What is the user's stayed where it was.
        let doubtful = self.disk.storage().doubtful();
        if !doubtful.is_empty() {
            self.disk.recheck(doubtful);
        }
        if self.checking.is_some() {
            self.check_elsewhere();
        }
        for asker in std::mem::take(&mut self.moves.rechecks) {
            self.recheck_all(asker);
        }
    }

    /// What users see of a move.
    pub(in crate::torrent) fn moving_status(&self) -> Option<MovingStatus> {
        let progress = self.moves.progress.unwrap_or(MoveProgress { done: 0, total: 0 });
        let folder = match self.moves.out.as_ref()? {
            Move::Folder(folder, _) => Some(folder.clone()),
            Move::File(..) => None,
        };
        Some(MovingStatus { folder, done: progress.done, total: progress.total })
    }
}

fn move_to(
    storage: &Store,
    folder: &Path,
    tell: &(dyn Fn(MoveProgress) + Sync),
) -> Result<Moved, StorageError> {
    let files = storage.files().ok_or(StorageError::Invalid("there are no files"))?;
    files.move_to(folder, tell)
}

fn rename_file(storage: &Store, file: FileIndex, path: &Path) -> Result<Moved, StorageError> {
    let files = storage.files().ok_or(StorageError::Invalid("there are no files"))?;
    files.rename_file(file, path).map(|()| Moved::default())
}
