//! What happened to a disk, in order: told by a `ferri_storage::Witness`, and by the workload in between.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ferri_metainfo::FileIndex;
use ferri_storage::{Change, Synced, Witness};

/// One entry of the record. Files are told apart by their inode numbers, which outlive a crash (see `image`).
#[derive(Clone, Debug)]
pub(super) enum Event {
    File(PathBuf, u64, SystemTime),
    Folder(PathBuf),
    Link(PathBuf, PathBuf),
    Data(u64, Edit, SystemTime),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    Syncing(PathBuf),
    Synced(PathBuf, Synced),
    /// A write of this piece returned.
    Verified(u32),
    /// A sync returned: whatever happens, a start has these pieces.
    Promised(Vec<u32>),
    /// These pieces are on their way to another file: the promise is taken back.
    Moved(Vec<u32>),
    /// The selection, as the next start would be told.
    Wanted(Vec<bool>),
    /// Files are being moved to this folder, from here on and until `None`.
    Moving(Option<PathBuf>),
    /// The files lie beneath this folder: a start that names it has them, as has one that names the listed one.
    Lies(PathBuf),
    /// Where the session's list says that the files are, as the next start would be told.
    Listed(Listed),
}

/// What a session keeps of where the files of its torrent are, beside the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) root: PathBuf,
    pub(super) names: BTreeMap<FileIndex, PathBuf>,
}

/// A change of a file's bytes.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Write(u64, Vec<u8>),
    Clear(u64, u64),
    Resize(u64),
}

/// Writes events down. Clones write the same record.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    stash: PathBuf,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    /// Every file gets a second name in `stash`, which keeps its inode.
    pub(super) fn new(stash: PathBuf) -> Self {
        Self { stash, events: Arc::default() }
    }

    pub(super) fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// The record so far; a new one begins.
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A witness for this boot of the machine.
    pub(super) fn witness(&self, boot: u64) -> Witness {
        let recorder = self.clone();
        Witness::new(boot_id(boot), move |change| {
            // What is gone already (a temporary file after an error) has no future that matters.
            if let Some(event) = recorder.event(change) {
                recorder.push(event);
            }
        })
    }

    fn event(&self, change: Change<'_>) -> Option<Event> {
        let data = |path: &Path, edit| {
            let found = fs::metadata(path).ok()?;
            Some(Event::Data(found.ino(), edit, found.modified().ok()?))
        };
        match change {
            Change::FileCreated(path) => {
                let found = fs::metadata(path).ok()?;
                let inode = found.ino();
                // It has its second name already when it is told again.
                let _ = fs::hard_link(path, self.stash.join(inode.to_string()));
                Some(Event::File(path.into(), inode, found.modified().ok()?))
            }
            Change::FolderCreated(path) => Some(Event::Folder(path.into())),
            Change::LinkCreated(path) => Some(Event::Link(path.into(), fs::read_link(path).ok()?)),
            Change::Written { path, offset, bytes } => data(path, Edit::Write(offset, bytes.to_vec())),
            Change::Cleared { path, offset, length } => data(path, Edit::Clear(offset, length)),
            Change::Resized { path, length } => data(path, Edit::Resize(length)),
            Change::Renamed { from, to } => Some(Event::Renamed(from.into(), to.into())),
            Change::Removed(path) => Some(Event::Removed(path.into())),
            Change::Syncing(path) => Some(Event::Syncing(path.into())),
            Change::Synced(path, what) => Some(Event::Synced(path.into(), what)),
        }
    }
}

/// A witness that writes nothing down, for a boot in which nothing is lost.
pub(super) fn silent(boot: u64) -> Witness {
    Witness::new(boot_id(boot), |_| {})
}

fn boot_id(boot: u64) -> [u8; 16] {
    u128::from(boot + 1).to_le_bytes()
}
