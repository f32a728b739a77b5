//! Where a torrent lives and how its files are treated.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferri_metainfo::FileIndex;

use crate::disk::FileCache;
use crate::faults::FaultPlan;
use crate::halt::Halt;
use crate::lock::LockOwner;
use crate::places::Places;
use crate::witness::Witness;

/// Where a torrent lives.
#[derive(Debug, Clone)]
pub struct Place {
    /// The download folder, created if missing when something is written. It may be a link; nothing beneath it is followed.
    pub root: PathBuf,
    /// Where `torrents/<info hash>/{journal,parts}` and `torrents/lock` are kept. `None`: nothing is remembered, and a torrent with
    /// unwanted files cannot be downloaded; enough to verify. Shared by the torrents of a session.
    pub state_dir: Option<Arc<Path>>,
}

impl Place {
    /// The device that the download folder is on, or will be on once it is made. Waits for the disk.
    #[must_use]
    pub fn device(&self) -> u64 {
        let mut there = self.root.ancestors().filter_map(|folder| std::fs::metadata(folder).ok());
        there.next().map_or(0, |found| found.dev())
    }
}

/// How to treat a torrent's files.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Allocate a file's blocks when it is created, instead of letting them come as pieces do.
    pub preallocate: bool,
    /// What the torrent's folder (or only file) is called on disk, if not as `LocalPaths::top` says.
    pub top: Option<OsString>,
    /// Only read: nothing in the download folder is made, written, sized, removed, linked or given another mode, whatever is
    /// asked for. For payload that is shared and not downloaded. The state folder is used as ever.
    pub read_only: bool,
    /// Write also to plain files that are not this torrent's; without it they are [in the way](StorageError::InTheWay).
    pub overwrite: bool,
    /// The open files, shared with other torrents.
    pub files: FileCache,
    /// A resume journal below this length in bytes is not worth being written anew.
    pub compact_length: u64,
    /// Where the files lie, from a caller that looked a moment ago ([`Places::find`] in the same folder, with the same
    /// `top`).
    pub places: Option<Places>,
    /// Where files lie that the user renamed, relative to the download folder. A journal that is there knows better
    /// ([`Storage::renamed`](crate::Storage::renamed)).
    pub renamed: BTreeMap<FileIndex, PathBuf>,
    /// On whose behalf the torrent is locked. `None`: another user of this process is kept out as well.
    pub lock_owner: Option<LockOwner>,
    /// Ends looks at many files.
    pub halt: Halt,
    /// Faults to inject, for tests and simulations.
    pub faults: Option<FaultPlan>,
    /// Who is told every change of the disk, for simulations.
    pub witness: Option<Witness>,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            preallocate: false,
            top: None,
            read_only: false,
            overwrite: false,
            files: FileCache::process(),
            compact_length: 1 << 20,
            places: None,
            renamed: BTreeMap::new(),
            lock_owner: None,
            halt: Halt::default(),
            faults: None,
            witness: None,
        }
    }
}
