//! Files that torrents of several processes with one state folder are going to make: a file is claimed by its path before
//! it is there, so that the second torrent is refused before it fetches anything.
//!
//! Each process has a file in `torrents/claims`, locked as long as it lives, to which it appends the paths (as hashes)
//! of what its torrents lack. A record counts while its torrent's lock is held, so that nothing has to be taken back.
//! The file is written anew when most of it is of no use any more; a file without a lock is removed by the first
//! process that sees it. All of it is worthless after the process and is not synced. A file that cannot be read or
//! written is told and stops no torrent: then two torrents meet where the first of them makes the file.
//!
//! **Cost.** Of another process a claim reads what was added since the last one, and of that only the heads; hashes of files
//! are read of torrents whose folder is, contains or lies in ours. Heads are kept by folder.
//!
//! ```text
//! head length u32  checksum u32  head  hashes
//! head: info hash 20 bytes  base u16 and bytes  name u16 and bytes  counts of files and folders u32  checksum of the hashes u32
//! hashes: u64 of each file, then of each folder around them
//! ```

mod others;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferri_metainfo::FileIndex;

use crate::atomic::{PRIVATE_FILE, PRIVATE_FOLDER, create_folders};
use crate::lock::{hold, take_turn};
use crate::register::Claim;
use crate::witness::Hooks;

use others::Process;
use record::Paths;
pub use record::intact_claims;

/// Bytes that one process says: some hundred torrents that lack everything.
const LENGTH_MAX: u64 = 64 << 20;

/// A file below this length is not worth being written anew.
const COMPACT_LENGTH: u64 = 1 << 20;

/// A torrent of another process that is going to make a file, or a folder in its place.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) file: FileIndex,
    pub(crate) info_hash: [u8; 20],
    pub(crate) name: String,
}

/// The claims in a state folder, as this process has them.
#[derive(Debug, Default)]
struct State {
    /// Storages that claimed something, and have not left.
    ids: BTreeSet<u64>,
    /// Held over reads and writes: one torrent claims at a time.
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    /// What this process says.
    own: Option<Own>,
    /// What others said when they were looked at last, by file.
    others: BTreeMap<PathBuf, Process>,
}

/// The file of this process.
#[derive(Debug)]
struct Own {
    file: File,
    path: PathBuf,
    length: u64,
    /// Where the last word of each torrent is, by storage.
    words: BTreeMap<u64, Range<u64>>,
}

/// By the folder `torrents`. Never locked while something is read or written.
static STATES: Mutex<BTreeMap<PathBuf, State>> = Mutex::new(BTreeMap::new());

/// Says in `torrents` what a torrent is going to make, unless one of another process is going to make it.
pub(crate) fn claim(torrents: &Path, claim: &Claim, hooks: &Hooks) -> Result<(), Elsewhere> {
    let paths = Paths::of(claim);
    let told = {
        let mut states = lock(&STATES);
        let state = states.entry(torrents.to_path_buf()).or_default();
        state.ids.insert(claim.id);
        state.told.clone()
    };
    let claimed = lock(&told).claim(torrents, claim.id, &paths, hooks);
    claimed.unwrap_or_else(|error| {
        tracing::warn!(%error, folder = %torrents.display(), "other processes cannot be told which files are going to be made");
        Ok(())
    })
}

/// A torrent makes nothing any more.
pub(crate) fn leave(id: u64) {
    let mut left = Vec::new();
    lock(&STATES).retain(|_, state| {
        let is_last = state.ids.remove(&id) && state.ids.is_empty();
        if is_last {
            left.push(state.told.clone());
        }
        !is_last
    });
    for told in left {
        if let Some(own) = lock(&told).own.take() {
            // Another process that sees it removes it otherwise.
            let _ = std::fs::remove_file(own.path);
        }
    }
}

impl Told {
    fn claim(
        &mut self,
        torrents: &Path,
        id: u64,
        paths: &Paths,
        hooks: &Hooks,
    ) -> io::Result<Result<(), Elsewhere>> {
        let folder = torrents.join("claims");
        create_folders(&folder, PRIVATE_FOLDER, hooks).map_err(io::Error::other)?;
        // Two that say and look at the same time would both see the other, or neither.
        let _turn = take_turn(&folder.join("lock"))?;
        if let Some(elsewhere) = self.look(&folder, torrents, paths)? {
            return Ok(Err(elsewhere));
        }
        let mut own = match self.own.take() {
            Some(own) => own,
            None => Own::create(&folder)?,
        };
        let said = own.say(&folder, id, &paths.record());
        self.own = Some(own);
        said.map(Ok)
    }

    /// Looks at what the other processes say.
    fn look(&mut self, folder: &Path, torrents: &Path, paths: &Paths) -> io::Result<Option<Elsewhere>> {
        let mine = self.own.as_ref().map(|own| own.path.clone());
        let mut alive = BTreeMap::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            let path = entry.path();
            let is_other =
                Some(&path) != mine.as_ref() && path.file_name().is_some_and(|name| name != "lock");
            if !is_other || !entry.file_type()?.is_file() {
                continue;
            }
            let mut process = self.others.remove(&path).unwrap_or_default();
            match process.look(&path) {
                Ok(true) => drop(alive.insert(path, process)),
                Ok(false) => {}
                // One that cannot be read does not silence the others.
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "what another process says of the files it is going to make cannot be read");
                }
            }
        }
        self.others = alive;
        let lock = torrents.join("lock");
        for (path, process) in &self.others {
            match process.clash(path, paths, &lock) {
                Ok(None) => {}
                Ok(met) => return Ok(met),
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "what another process says of the files it is going to make cannot be read");
                }
            }
        }
        Ok(None)
    }
}

impl Own {
    fn create(folder: &Path) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}", std::process::id()));
            let mut open = OpenOptions::new();
            match open.read(true).write(true).create_new(true).mode(PRIVATE_FILE).open(&path) {
                Ok(file) => {
                    hold(&file);
                    return Ok(Self { file, path, length: 0, words: BTreeMap::new() });
                }
                // Of a process of another machine or namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends the word of a torrent, which counts instead of the last one.
    fn say(&mut self, folder: &Path, id: u64, record: &[u8]) -> io::Result<()> {
        self.words.remove(&id);
        let useful: u64 = self.words.values().map(|word| word.end - word.start).sum();
        if COMPACT_LENGTH.max(useful.saturating_mul(2)) < self.length {
            self.compact(folder)?;
        }
        if LENGTH_MAX < self.length + record.len() as u64 {
            return Err(io::Error::other("too many files are going to be made"));
        }
        self.file.write_all(record)?;
        let start = self.length;
        self.length += record.len() as u64;
        self.words.insert(id, start..self.length);
        Ok(())
    }

    /// Begins another file with what counts of this one.
    fn compact(&mut self, folder: &Path) -> io::Result<()> {
        let mut new = Self::create(folder)?;
        for (&id, word) in &self.words {
            let mut record = vec![0; usize::try_from(word.end - word.start).map_err(io::Error::other)?];
            let copied = self.file.read_exact_at(&mut record, word.start);
            if let Err(error) = copied.and_then(|()| new.file.write_all(&record)) {
                let _ = std::fs::remove_file(&new.path);
                return Err(error);
            }
            let start = new.length;
            new.length += record.len() as u64;
            new.words.insert(id, start..new.length);
        }
        let old = std::mem::replace(self, new);
        // Another process that sees it removes it otherwise.
        let _ = std::fs::remove_file(old.path);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is half told is told again by the next claim.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
