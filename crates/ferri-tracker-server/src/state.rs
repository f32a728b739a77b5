//! What a restart begins with: the registry in a file, written each minute and at the end.
//!
//! The file is replaced whole or not at all, and only its user may read it (mode 0600): it says which clients share
//! which torrents, and has the secret of the connection ids that clients were given over UDP, which stay good, and that
//! of the hashes that users are known by. One that is damaged is set aside, since the operator may want to know what
//! happened, and the tracker begins with what was whole of it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferri_storage::{
    atomic_write_private_in_pieces, create_private_folders, remove_left_overs, try_lock_file,
};
use ferri_tracker::server::Registry;
use ferri_tracker::server::snapshot::{HEAD_BYTES, Snapshot, connections, restore, users};

use crate::error::Error;
use crate::limits;
use crate::notice::{Listener, Notice};
use crate::plain::open_plain;

/// What is added to the name of a damaged file.
const DAMAGED: &str = ".damaged";

/// What is added to the name of a file with more peers than there is room for.
const FULL: &str = ".full";

/// What is added to the name of the file whose lock its tracker has. The file itself is another one after each write.
const LOCK: &str = ".lock";

/// The file, and who hears of it.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    /// How often it is written.
    pub(crate) interval: Duration,
    listener: Listener,
    /// Keeps other trackers from the file as long as this one is there.
    lock: Option<File>,
}

impl State {
    pub(crate) fn new(path: PathBuf, interval: Duration, listener: Listener) -> Self {
        Self { path, interval, listener, lock: None }
    }

    /// The secret of the hashes that an earlier run knew its users by.
    pub(crate) fn users(&self) -> Option<[u8; 16]> {
        let mut head = Vec::new();
        open_plain(&self.path).ok()?.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
        users(&head)
    }

    /// Takes what an earlier run wrote into the registry, and makes sure that this one can write.
    pub(crate) fn begin(&mut self, registry: &mut Registry) -> Result<(), Error> {
        let unusable = |why: String| Error::State { path: self.path.clone(), why };
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or(Ok(()), create_private_folders).map_err(|error| unusable(error.to_string()))?;
        let lock = try_lock_file(&beside(&self.path, LOCK)).map_err(|error| unusable(error.to_string()))?;
        self.lock = Some(lock.ok_or_else(|| Error::StateBusy { path: self.path.clone() })?);
        remove_left_overs(&self.path);
        let written = match read(&self.path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(error.to_string())),
        };
        let known = written.as_deref().and_then(|bytes| connections(bytes, unix()));
        registry.share_connections(known.unwrap_or_else(rand::random), unix());
        written.map_or(Ok(()), |bytes| self.restore(registry, &bytes))?;
        self.try_write(registry).map_err(unusable)
    }

    fn restore(&self, registry: &Registry, bytes: &[u8]) -> Result<(), Error> {
        let outcome = restore(registry, bytes, Instant::now(), unix());
        let (restored, damage) = match outcome {
            Ok(restored) => (restored, None),
            Err((damage, restored)) => (restored, Some(damage)),
        };
        let damaged = damage.as_ref().and_then(|_| set_aside(&self.path, DAMAGED).ok());
        if let Some(damage) = &damage {
            let (path, aside, why) = (self.path.clone(), damaged.clone(), damage.to_string());
            self.listener.tell(&Notice::StateSetAside { path, aside, why });
        }
        if damage.is_none() || restored.peers != 0 {
            let (peers, silent) = (restored.peers, restored.silent);
            self.listener.tell(&Notice::Restored { peers, silent });
        }
        if restored.no_room != 0 {
            // The next write would forget them for good. A damaged file lies aside already.
            let kept = if damage.is_some() { damaged } else { Some(self.keep_full()?) };
            if let Some(kept) = kept {
                self.listener.tell(&Notice::NoRoom { peers: restored.no_room, kept });
            }
        }
        Ok(())
    }

    /// Moves a file with more peers than there is room for to another name.
    fn keep_full(&self) -> Result<PathBuf, Error> {
        set_aside(&self.path, FULL).map_err(|error| Error::State {
            path: self.path.clone(),
            why: format!("it has more peers than there is room for, and cannot be kept: {error}"),
        })
    }

    /// Writes what is known. That it fails is told, and no reason to stop.
    pub(crate) fn write(&self, registry: &Registry) {
        if let Err(why) = self.try_write(registry) {
            self.listener.tell(&Notice::StateNotWritten { path: self.path.clone(), why });
        }
    }

    fn try_write(&self, registry: &Registry) -> Result<(), String> {
        let mut head = Vec::new();
        let mut snapshot = Snapshot::begin(registry, Instant::now(), unix(), &mut head);
        let pieces = |piece: &mut Vec<u8>| {
            piece.append(&mut head);
            snapshot.next_chunk(piece)
        };
        atomic_write_private_in_pieces(&self.path, pieces).map_err(|error| error.to_string())
    }
}

/// Everything that a registry of this machine can have written.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let most = limits::memory() / MEMORY_PART;
    let mut file = open_plain(path)?;
    let length = file.metadata()?.len();
    if most < length {
        return Err(io::Error::other(format!("it has {length} bytes, more than half of the memory")));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map(|_| bytes)
}

/// A file of this part of the memory is none that a tracker on this machine wrote.
const MEMORY_PART: u64 = 2;

/// Moves a file to a name of its own beside it, and says which: `peers.damaged`, then `peers.damaged.2` and so on. When all
/// names are taken, the file that was written first goes.
fn set_aside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let first = beside(path, suffix);
    let names: Vec<PathBuf> = std::iter::once(first.clone())
        .chain((2..=SET_ASIDE_MAX).map(|number| beside(&first, &format!(".{number}"))))
        .collect();
    let written = |name: &PathBuf| fs::symlink_metadata(name).and_then(|found| found.modified()).ok();
    let free = names.iter().find(|name| fs::symlink_metadata(name).is_err());
    let aside = free.or_else(|| names.iter().min_by_key(|name| written(name))).unwrap_or(&first);
    fs::rename(path, aside).map(|()| aside.clone())
}

/// Files of one kind that are kept. Each may be as large as the registry was.
const SET_ASIDE_MAX: usize = 5;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_set_aside_keeps_what_lies_there_already_up_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers");
        let begin = SystemTime::now() - Duration::from_secs(3600);
        let set_aside = |age: u64| {
            let file = File::create(&path).unwrap();
            file.set_modified(begin + Duration::from_secs(age)).unwrap();
            let aside = set_aside(&path, DAMAGED).unwrap();
            aside.file_name().unwrap().to_str().unwrap().to_owned()
        };
        // The second one is the oldest.
        let names: Vec<String> = [10, 5, 20, 30, 40].map(set_aside).into();
        let expected =
            ["peers.damaged", "peers.damaged.2", "peers.damaged.3", "peers.damaged.4", "peers.damaged.5"];
        assert_eq!(names, expected);
        assert_eq!([50, 60].map(set_aside), ["peers.damaged.2", "peers.damaged"], "the oldest goes");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), SET_ASIDE_MAX);
    }
}
