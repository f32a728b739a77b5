//! A torrent's files go to another folder, or one of them gets another name, while the torrent is at work.
//!
//! Peers stay and are served, but for the moment in which files are renamed. Nothing is written meanwhile: no piece is begun,
//! the disk holds back what it is given ([`Disk::hold`](super::disk::Disk::hold)), and the jobs that are out are waited for.
//! Then a thread moves the files (`ferri_storage`'s `relocate`). While files are looked at for the first time a move waits
//! for the end of that. What is done is kept for the next start, and only then is the caller answered.

mod orders;
mod steps;

use std::collections::VecDeque;
use std::path::PathBuf;

use ferri_metainfo::FileIndex;
use ferri_storage::MoveProgress;

use super::work::{MoveAsker, RecheckAsker, RenameAsker};

/// What is to be done with the files.
#[derive(Debug)]
pub(super) enum Move {
    /// All of them go to this folder.
    Folder(PathBuf, MoveAsker),
    /// This one is called so.
    File(FileIndex, PathBuf, RenameAsker),
}

/// What is to be done with the files of a torrent, one thing after the other.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) waiting: VecDeque<Move>,
    /// A thread is at it.
    pub(super) out: Option<Move>,
    pub(super) progress: Option<MoveProgress>,
    /// Callers who want everything looked at afterwards.
    pub(super) rechecks: Vec<RecheckAsker>,
}

impl Moves {
    /// Something is being moved, or waits for that.
    pub(super) fn is_any(&self) -> bool {
        self.out.is_some() || !self.waiting.is_empty()
    }

    /// A thread is at it.
    pub(super) fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// What waits is not done. `true`: there was something, and nothing is under way.
    pub(super) fn give_up(&mut self) -> bool {
        let was_any = !self.waiting.is_empty();
        self.waiting.clear();
        was_any && self.out.is_none()
    }
}
