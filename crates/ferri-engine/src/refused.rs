//! Why a torrent does not do what it was told.

use ferri_storage::StorageError;

use crate::store::StoreError;

/// Why a torrent does not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It has stopped, or is about to.
    #[error("the torrent has stopped; add it again")]
    Stopped,
    /// It is paused, and says nothing to trackers.
    #[error("the torrent is paused; resume it first")]
    Paused,
    /// There is nobody to announce it to.
    #[error("the torrent has no tracker; give it one first")]
    NoTracker,
    /// It does not have so many files.
    #[error("there are priorities for {given} files, and the torrent has {files}")]
    TooManyPriorities {
        /// Priorities that were given.
        given: usize,
        /// Files of the torrent.
        files: usize,
    },
    /// Its info dictionary is not here yet, so it has no files that could be named.
    #[error("which files the torrent has is not known yet; wait until it is resolved")]
    Unresolved,
    /// It is done, and could not be kept: at the next start it is as it was before.
    #[error("it is done, but it cannot be kept for the next start: {0}")]
    NotKept(StoreError),
    /// It only serves what is there: nothing is to be fetched.
    #[error("the torrent only serves what is there and fetches no file; add it without `seed_only`")]
    OnlyServes,
    /// It has no file of this number, or the file is padding.
    #[error("the torrent has no file {file}")]
    NoSuchFile {
        /// The number that was given, counted from 0.
        file: u32,
    },
    /// Its pieces do not lie in files.
    #[error("the torrent has no files: its pieces are kept elsewhere")]
    NoFiles,
    /// So many moves may not wait.
    #[error("64 moves of the torrent's files wait already; wait for some first")]
    TooManyMoves,
    /// So long a name is none.
    #[error("the name has {bytes} bytes, but at most {most} can be used")]
    NameTooLong {
        /// Bytes that were given.
        bytes: usize,
        /// The most that there may be.
        most: usize,
    },
    /// So many readers of one torrent there may not be.
    #[error("the torrent has 64 readers already; drop some first")]
    TooManyReaders,
}

/// Why a torrent's files were not moved, renamed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The torrent does not do it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store of the session cannot forget the torrent.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk, or something that lies where the files are to go.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
