//! Commands whose answer is more than yes or no.

use std::path::PathBuf;
use std::sync::Arc;

use ferri_metainfo::FileIndex;
use ferri_storage::{Data, Moved, Removed};
use tokio::sync::oneshot;

use super::refused::{FilesError, Refused};
use super::stream::Stream;
use crate::trackers::{RefusedTracker, TrackerEdit};

/// Something for a torrent's task, and where the answer goes.
#[derive(Debug)]
pub(super) enum Work {
    /// Serves a reader.
    Read(Arc<Stream>, oneshot::Sender<Result<(), Refused>>),
    /// Looks at everything again.
    Recheck(RecheckAsker),
    /// Changes which trackers it has.
    EditTrackers(TrackerEdit, EditAsker),
    /// Stops it and removes it, with its data or without.
    Remove(Data, RemoveAsker),
    /// Moves its files to this folder.
    Move(PathBuf, MoveAsker),
    /// Gives a file this path in the folder.
    RenameFile(FileIndex, PathBuf, RenameAsker),
}

impl Work {
    /// It is not done.
    pub(super) fn refuse(self, why: Refused) {
        // The caller may have stopped waiting.
        match self {
            Self::Read(_, reply) => drop(reply.send(Err(why))),
            Self::Recheck(asker) => drop(asker.send(Err(why))),
            Self::EditTrackers(_, asker) => drop(asker.send(Err(why))),
            Self::Remove(_, asker) => drop(asker.send(Err(why.into()))),
            Self::Move(_, asker) => drop(asker.send(Err(why.into()))),
            Self::RenameFile(_, _, asker) => drop(asker.send(Err(why.into()))),
        }
    }
}

/// Who waits until a torrent is removed.
pub(super) type RemoveAsker = oneshot::Sender<Result<Removed, FilesError>>;

/// Who waits until files are moved.
pub(super) type MoveAsker = oneshot::Sender<Result<Moved, FilesError>>;

/// Who waits until a file is renamed.
pub(super) type RenameAsker = oneshot::Sender<Result<(), FilesError>>;

/// Who waits for the end of a second look.
pub(super) type RecheckAsker = oneshot::Sender<Result<Rechecked, Refused>>;

/// Who waits for the end of an edit.
pub(super) type EditAsker = oneshot::Sender<Result<Vec<RefusedTracker>, Refused>>;

/// What a look at everything found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rechecked {
    /// Pieces that were looked at: all but those that were being fetched.
    pub looked_at: u32,
    /// Pieces that are there.
    pub have: u32,
    /// Pieces that were there and are not any more.
    pub lost: u32,
    /// Pieces that are there and were not known to be.
    pub found: u32,
}
