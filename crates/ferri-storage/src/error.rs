//! What can go wrong with a disk, said so that a person can act on it.
//!
//! Every variant is a decision for the caller: wait and try again ([`StorageError::is_recoverable`]), look at the
//! data again, or stop and tell the user. A path is always the one that failed.

use std::io;
use std::path::{Path, PathBuf};

use ferri_metainfo::names::PathProblem;
use rustix::io::Errno;

use crate::way;

/// Why a piece could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The device or the quota is full. `needed` bytes of the torrent are still to be written, `available` are free.
    #[error("{}: no space left{}; it goes on by itself when there is room", .path.display(), figures(*needed, *available))]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
        /// Bytes that are not on disk yet; 0 where that is not known.
        needed: u64,
        /// Bytes the file system would give us.
        available: u64,
    },
    /// The file system has room for bytes and none for another file or folder: its inodes are used up.
    #[error("{}: the file system has no room for more files (its inodes are used up, though {available} bytes are free); it goes on by itself when others are removed", .path.display())]
    NoFiles {
        /// What could not be made.
        path: PathBuf,
        /// Bytes the file system would give us.
        available: u64,
    },
    /// The file system is mounted read-only.
    #[error("{}: the file system is read-only; remount it for writing or choose another folder", .path.display())]
    ReadOnly {
        /// What could not be written.
        path: PathBuf,
    },
    /// Permission was denied.
    #[error("{}: permission denied; change its owner or mode, or choose another folder", .path.display())]
    Denied {
        /// What could not be opened.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("{}: cannot read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing, creating or syncing failed.
    #[error("{}: cannot write: {source}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that should hold data is not there.
    #[error("{}: the file is missing; check the torrent again to fetch it anew", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The download folder is not the one any more in which the files of this torrent are.
    #[error("{}: the download folder is missing or was replaced; put it back, or start again to fetch what was in it anew", .path.display())]
    Moved {
        /// The download folder.
        path: PathBuf,
    },
    /// A file ends before the data that was asked for.
    #[error("{}: the file was cut short, {expected} bytes were expected; check the torrent again", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The length that was needed.
        expected: u64,
    },
    /// A symbolic link lies where a file or folder of the torrent belongs. It is never followed.
    #[error("{}: a symbolic link is in the way; it is not followed: remove it or choose another folder", .path.display())]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// Something that is no regular file (a folder, a pipe, a device) lies where a file belongs.
    #[error("{}: this is not a regular file; move it away or choose another folder", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file lies where a folder belongs.
    #[error("{}: this is not a folder; move it away or choose another folder", .path.display())]
    NotAFolder {
        /// What lies there, if it can be told; else the path that runs through it.
        path: PathBuf,
    },
    /// A folder cannot be made where one is needed.
    #[error("{}: this folder cannot be made: {source}; choose another folder", .path.display())]
    Folder {
        /// The first one on the way that is missing.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system takes none of the names that a file may have.
    #[error("{}: the file system does not take this name, nor a plainer one: {source}; choose another folder", .path.display())]
    Name {
        /// The file, under the last name that was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A piece is what the torrent says and has other bytes than zeros where the torrent has padding, which is not kept.
    #[error("{}: piece {piece} has bytes in the torrent's padding that are not zeros; it cannot be stored, the torrent was made wrongly", .path.display())]
    Padding {
        /// The download folder.
        path: PathBuf,
        /// The piece.
        piece: u32,
    },
    /// Two files of the torrent are one on disk.
    #[error("{}: this is also another file of the torrent, under a second name; move it away or choose another folder", .path.display())]
    SameFile {
        /// The path of the one that was to be written.
        path: PathBuf,
    },
    /// The file system cannot hold a file of this length (FAT32 ends at 4 GiB).
    #[error("{}: the file system cannot hold a file this large; choose another one", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Another process works on the same torrent with the same state folder.
    #[error("{}: another process is using this torrent; stop it or give another --state-dir", .path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// Something of the user's lies where a file of the torrent belongs. It is not written over.
    #[error("{}: this file is there already and {why}; move it away, choose another folder, or replace it with --overwrite", .path.display())]
    InTheWay {
        /// The file.
        path: PathBuf,
        /// What makes it the user's.
        why: Conflict,
    },
    /// Another program is writing to the same file.
    #[error("{}: another program writes to this file; end that one (a download waits for it, then goes on by itself)", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Two torrents have other data for one file; the other one came first.
    #[error("{}: this file is that of torrent {by}, and torrent {torrent} has one in the same place; give one of them another folder, or stop the first and give its file up with --overwrite", .path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// Name and info hash of the torrent that was not to write there.
        torrent: String,
        /// Those of the other one.
        by: String,
    },
    /// A file that another client calls unfinished is whole, and something else has come to lie under its own name.
    #[error("{}: something has come to lie here, and is not replaced; the whole file is at {}: move one of them away", .path.display(), .whole.display())]
    NameTaken {
        /// The name that the file was to get.
        path: PathBuf,
        /// Where it lies.
        whole: PathBuf,
    },
    /// Something was to be written to files that are [only read](crate::StorageOptions::read_only); a fault of the
    /// caller.
    #[error("{}: these files are only shared, and never written to", .path.display())]
    OnlyRead {
        /// The download folder.
        path: PathBuf,
    },
    /// Another program changed a file that is shared; what was found in it before holds no more.
    #[error("{}: another program changed this file; its pieces are checked before they are shared on", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The files are on their way to another folder. This is over soon.
    #[error("{}: the files are being moved to another folder; try again when they are there", .path.display())]
    BeingMoved {
        /// The download folder that they leave.
        path: PathBuf,
    },
    /// Something lies where a file was to be moved, and is not replaced. Nothing was moved.
    #[error("{}: something lies here already, and is not replaced; move it away or choose another folder or name", .path.display())]
    Occupied {
        /// What lies there.
        path: PathBuf,
    },
    /// The path that a user gave a file is none that a file may have.
    #[error("{}: {why}", .path.display())]
    BadPath {
        /// What was given.
        path: PathBuf,
        /// What is wrong with it.
        why: PathProblem,
    },
    /// There is no state folder and this needs one.
    #[error("{}: this needs a state folder and none was given", .path.display())]
    NoState {
        /// The download folder.
        path: PathBuf,
    },
    /// The caller raised its [`Halt`](crate::Halt): not everything was looked at. Nothing was changed by that.
    #[error("stopped before all files were looked at")]
    Halted,
    /// The caller handed in something that does not fit the torrent; a fault of this program.
    #[error("internal error: {0}")]
    Invalid(&'static str),
}

/// Why a file that is there is not a torrent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// None of its pieces matches.
    #[error("holds nothing of this torrent")]
    Foreign,
    /// Some of it is the torrent's, and some is something else.
    #[error("differs from the torrent's")]
    Differs,
    /// There is more than the torrent's file has.
    #[error("is longer than the torrent's")]
    Longer,
    /// It holds no whole piece of its own, and its neighbours do not vouch for it; or what came for it could not be put aside.
    #[error("may be another one of this name (too little of it is there to tell)")]
    Undecided,
    /// It was complete, and a program (or the disk) changed it since.
    #[error("was complete and has changed since")]
    Changed,
}

/// How much is needed and how much there is, where that is known.
fn figures(needed: u64, available: u64) -> String {
    match needed {
        0 => String::new(),
        _ => format!(": {needed} bytes are still to be written, {available} are free"),
    }
}

impl StorageError {
    /// Whether something of the user's is in the way, which only they can move or give up.
    #[must_use]
    pub const fn is_in_the_way(&self) -> bool {
        matches!(
            self,
            Self::InTheWay { .. }
                | Self::Taken { .. }
                | Self::NameTaken { .. }
                | Self::Occupied { .. }
                | Self::Symlink { .. }
                | Self::NotAFile { .. }
                | Self::NotAFolder { .. }
        )
    }

    /// Whether the cause may go away without the torrent being changed: pause, call
    /// [`Storage::probe`](crate::Storage::probe) now and then, and go on when it succeeds.
    #[must_use]
    pub const fn is_recoverable(&self) -> bool {
        match self {
            Self::NoSpace { .. }
            | Self::NoFiles { .. }
            | Self::ReadOnly { .. }
            | Self::Denied { .. }
            | Self::InUse { .. }
            | Self::BeingMoved { .. }
            | Self::Read { .. }
            | Self::Write { .. } => true,
            Self::Missing { .. }
            | Self::Moved { .. }
            | Self::Truncated { .. }
            | Self::Symlink { .. }
            | Self::NotAFile { .. }
            | Self::NotAFolder { .. }
            | Self::Folder { .. }
            | Self::Name { .. }
            | Self::SameFile { .. }
            | Self::Padding { .. }
            | Self::TooLarge { .. }
            | Self::Busy { .. }
            | Self::InTheWay { .. }
            | Self::Taken { .. }
            | Self::NameTaken { .. }
            | Self::Occupied { .. }
            | Self::BadPath { .. }
            | Self::OnlyRead { .. }
            | Self::Changed { .. }
            | Self::NoState { .. }
            | Self::Halted
            | Self::Invalid(_) => false,
        }
    }

    /// The path that failed; `None` for an internal error, and when nothing failed.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::NoSpace { path, .. }
            | Self::NoFiles { path, .. }
            | Self::ReadOnly { path }
            | Self::Denied { path }
            | Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Missing { path }
            | Self::Moved { path }
            | Self::Truncated { path, .. }
            | Self::Symlink { path }
            | Self::NotAFile { path }
            | Self::NotAFolder { path }
            | Self::Folder { path, .. }
            | Self::Name { path, .. }
            | Self::SameFile { path }
            | Self::Padding { path, .. }
            | Self::TooLarge { path }
            | Self::Busy { path }
            | Self::InTheWay { path, .. }
            | Self::InUse { path }
            | Self::Taken { path, .. }
            | Self::NameTaken { path, .. }
            | Self::OnlyRead { path }
            | Self::Changed { path }
            | Self::BeingMoved { path }
            | Self::Occupied { path }
            | Self::BadPath { path, .. }
            | Self::NoState { path } => Some(path),
            Self::Halted | Self::Invalid(_) => None,
        }
    }

    /// How many bytes must be freed before this torrent fits; `None` unless space is what is missing. 0 where bytes are free
    /// and files are what there may be no more of.
    #[must_use]
    pub const fn bytes_missing(&self) -> Option<u64> {
        match self {
            Self::NoSpace { needed, available, .. } => Some(needed.saturating_sub(*available)),
            Self::NoFiles { .. } => Some(0),
            _ => None,
        }
    }

    /// Classifies an error of reading (or of opening for reading).
    pub(crate) fn reading(path: &Path, errno: Errno) -> Self {
        let path = path.to_path_buf();
        match errno {
            Errno::NOENT => Self::Missing { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path },
            Errno::LOOP => Self::Symlink { path },
            Errno::NOTDIR => Self::not_a_folder(&path),
            Errno::ISDIR | Errno::NXIO => Self::NotAFile { path },
            other => Self::Read { path, source: other.into() },
        }
    }

    /// Classifies an error of opening a download folder.
    pub(crate) fn opening_folder(path: &Path, errno: Errno) -> Self {
        match errno {
            // What cannot have its name can never be made.
            Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => {
                Self::Folder { path: way::end_of(path, Path::is_dir), source: errno.into() }
            }
            other => Self::reading(path, other),
        }
    }

    /// Classifies an error of writing; the caller fills in the figures of [`Self::NoSpace`].
    pub(crate) fn writing(path: &Path, errno: Errno) -> Self {
        let path = path.to_path_buf();
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { path, needed: 0, available: 0 },
            Errno::NOENT => Self::Missing { path },
            Errno::ROFS => Self::ReadOnly { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path },
            Errno::LOOP => Self::Symlink { path },
            Errno::NOTDIR => Self::not_a_folder(&path),
            Errno::ISDIR | Errno::NXIO => Self::NotAFile { path },
            Errno::FBIG => Self::TooLarge { path },
            other => Self::Write { path, source: other.into() },
        }
    }

    /// Names the first thing on the way to `path` that is no folder.
    fn not_a_folder(path: &Path) -> Self {
        Self::NotAFolder { path: way::end_of(path, Path::is_dir) }
    }

    /// Classifies an error of making a folder, of which all that are above it are there.
    pub(crate) fn making_folder(path: &Path, errno: Errno) -> Self {
        match errno {
            // Whatever has its name is no folder.
            Errno::EXIST | Errno::NOTDIR | Errno::LOOP => Self::not_a_folder(path),
            // It is the folder above that says who may make others in it.
            Errno::ACCESS | Errno::PERM => Self::Denied { path: path.parent().unwrap_or(path).to_path_buf() },
            // Some file systems (`/proc`) say that a folder is not there when none can be made.
            Errno::NOENT | Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ | Errno::MLINK => {
                Self::Folder { path: path.to_path_buf(), source: errno.into() }
            }
            other => Self::writing(path, other),
        }
    }

    /// The same for an error of the standard library.
    pub(crate) fn writing_io(path: &Path, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::writing(path, Errno::from_raw_os_error(code)),
            None => Self::Write { path: path.to_path_buf(), source: error },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_error_says_path_cause_and_next_step() {
        let full = StorageError::NoSpace { path: "/d/a.iso".into(), needed: 700, available: 100 };
        assert_eq!(
            full.to_string(),
            "/d/a.iso: no space left: 700 bytes are still to be written, 100 are free; it goes on by itself when there is room"
        );
        assert_eq!(full.bytes_missing(), Some(600));
        assert!(full.is_recoverable());
        assert_eq!(full.path(), Some(Path::new("/d/a.iso")));
    }

    #[test]
    fn what_is_no_folder_is_named_and_not_what_was_to_lie_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let said = StorageError::reading(&file.join("a/b"), Errno::NOTDIR).to_string();
        let expected =
            format!("{}: this is not a folder; move it away or choose another folder", file.display());
        assert_eq!(said, expected);
    }

    #[test]
    fn what_only_a_person_can_mend_is_not_recoverable() {
        assert!(!StorageError::writing(Path::new("x"), Errno::LOOP).is_recoverable());
        assert!(!StorageError::writing(Path::new("x"), Errno::FBIG).is_recoverable());
        assert!(StorageError::writing(Path::new("x"), Errno::IO).is_recoverable());
        assert!(StorageError::writing(Path::new("x"), Errno::DQUOT).is_recoverable());
    }
}
