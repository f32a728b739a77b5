//! Files that torrents of several processes with one state folder are going to make: a file is claimed by its path before
//! it is there, so that the second torrent is refused before it fetches anything.
//!
//! Each process has a file in `torrents/claims`, locked as long as it lives, to which it appends the paths (as hashes) of
//! what its torrents lack. A record counts while its torrent's lock is held, so that nothing has to be taken back; a file that
//! nobody holds is removed by whoever sees it. All of it is worthless after the process and is not synced. What cannot be
//! read or written is told and keeps nobody from working: then two meet where the first of them makes the file.
//!
//! ```text
//! length u32  checksum u32  info hash 20 bytes  base u16 and bytes  name u16 and bytes  files u32 and hashes u64  folders u32 and hashes u64
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferri_metainfo::FileIndex;

use crate::atomic::{PRIVATE_FILE, PRIVATE_FOLDER, create_folders};
use crate::crc32c::crc32c;
use crate::lock::{hold, is_held_elsewhere, take_turn};
use crate::register::Claim;
use crate::witness::Hooks;

/// Of a torrent that lacks more files than this, the first are claimed: half a mebibyte of hashes. The others meet where they
/// are made.
const FILES_MAX: usize = 1 << 16;

/// Bytes of one process that are read: some hundred torrents that lack everything.
const LENGTH_MAX: u64 = 64 << 20;

/// A torrent of another process that is going to make a file, or a folder in its place.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) file: FileIndex,
    pub(crate) info_hash: [u8; 20],
    pub(crate) name: String,
}

/// What this process claims in a state folder.
#[derive(Debug)]
struct Own {
    file: File,
    path: PathBuf,
    length: u64,
    /// Of the storages.
    ids: BTreeSet<u64>,
}

/// By the folder `torrents`.
static OWN: Mutex<BTreeMap<PathBuf, Own>> = Mutex::new(BTreeMap::new());

/// Says in `torrents` what a torrent is going to make, unless one of another process is going to make it.
pub(crate) fn claim(torrents: &Path, claim: &Claim, hooks: &Hooks) -> Result<(), Elsewhere> {
    let paths = Paths::of(claim);
    match enter(&mut lock(), torrents, claim.id, &paths, hooks) {
        Ok(entered) => entered,
        Err(error) => {
            tracing::warn!(%error, folder = %torrents.display(), "other processes cannot be told which files are going to be made");
            Ok(())
        }
    }
}

/// A torrent makes nothing any more.
pub(crate) fn leave(id: u64) {
    lock().retain(|_, own| {
        let is_last = own.ids.remove(&id) && own.ids.is_empty();
        if is_last {
            // Whoever sees it removes it otherwise.
            let _ = std::fs::remove_file(&own.path);
        }
        !is_last
    });
}

fn enter(
    own: &mut BTreeMap<PathBuf, Own>,
    torrents: &Path,
    id: u64,
    paths: &Paths,
    hooks: &Hooks,
) -> io::Result<Result<(), Elsewhere>> {
    let folder = torrents.join("claims");
    create_folders(&folder, PRIVATE_FOLDER, hooks).map_err(io::Error::other)?;
    // Two that say and look at the same time would both see the other, or neither.
    let _turn = take_turn(&folder.join("lock"))?;
    let mine = own.get(torrents).map(|own| own.path.clone());
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        let is_other = Some(&path) != mine.as_ref() && path.file_name().is_some_and(|name| name != "lock");
        if !is_other || !entry.file_type()?.is_file() {
            continue;
        }
        match look(&path, torrents, paths) {
            Ok(None) => {}
            Ok(Some(elsewhere)) => return Ok(Err(elsewhere)),
            // One that cannot be read does not silence the others.
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "what another process says of the files it is going to make cannot be read");
            }
        }
    }
    if !own.contains_key(torrents) {
        own.insert(torrents.to_path_buf(), Own::create(&folder)?);
    }
    if let Some(own) = own.get_mut(torrents) {
        own.ids.insert(id);
        own.append(&paths.record())?;
    }
    Ok(Ok(()))
}

/// What a process says, if it lives.
fn look(path: &Path, torrents: &Path, paths: &Paths) -> io::Result<Option<Elsewhere>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        // It has just ended.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if hold(&file) {
        std::fs::remove_file(path)?;
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX).read_to_end(&mut bytes)?;
    let mut rest = &bytes[..];
    let mut others = BTreeMap::new();
    while !rest.is_empty() {
        let Some(other) = take_record(&mut rest) else {
            tracing::warn!(path = %path.display(), "what another process says of the files it is going to make is damaged");
            break;
        };
        // The last word of each counts.
        others.insert(other.info_hash, other);
    }
    let lock = torrents.join("lock");
    let running = others.into_values().filter(|other| {
        // Most are of other folders, and asking about a lock costs a call.
        paths.clash(other).is_some() && is_held_elsewhere(&lock, &other.info_hash)
    });
    let met = { running }.find_map(|other| Some((paths.clash(&other)?, other)));
    Ok(met.map(|(file, other)| Elsewhere { file, info_hash: other.info_hash, name: other.name }))
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
                    return Ok(Self { file, path, length: 0, ids: BTreeSet::new() });
                }
                // Of a process of another machine or namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if LENGTH_MAX < self.length + record.len() as u64 {
            return Err(io::Error::other("too many files are going to be made"));
        }
        self.file.write_all(record)?;
        self.length += record.len() as u64;
        Ok(())
    }
}

/// The paths of a claim.
struct Paths {
    info_hash: [u8; 20],
    base: PathBuf,
    name: String,
    files: Vec<(u64, FileIndex)>,
    /// All that these lie in, each with a file in it.
    folders: BTreeMap<u64, FileIndex>,
}

/// The same of another process.
struct Other {
    info_hash: [u8; 20],
    base: PathBuf,
    name: String,
    files: HashSet<u64>,
    folders: HashSet<u64>,
}

impl Paths {
    fn of(claim: &Claim) -> Self {
        let mut paths = Self {
            info_hash: *claim.info.info_hashes().wire().as_bytes(),
            base: claim.base(),
            name: claim.info.name().to_owned(),
            files: Vec::new(),
            folders: BTreeMap::new(),
        };
        claim.each(|file, path| {
            paths.files.push((hash(&path), file));
            for folder in path.ancestors().skip(1) {
                // Those above it came with it.
                if paths.folders.insert(hash(folder), file).is_some() {
                    break;
                }
            }
            (FILES_MAX <= paths.files.len()).then_some(file)
        });
        paths
    }

    fn clash(&self, other: &Other) -> Option<FileIndex> {
        if !self.base.starts_with(&other.base) && !other.base.starts_with(&self.base) {
            return None;
        }
        let is_met = |path: &u64| other.files.contains(path) || other.folders.contains(path);
        let file = self.files.iter().find(|(path, _)| is_met(path));
        let above = || self.folders.iter().find(|(folder, _)| other.files.contains(folder));
        file.map(|(_, file)| *file).or_else(|| above().map(|(_, file)| *file))
    }

    fn record(&self) -> Vec<u8> {
        let mut payload = self.info_hash.to_vec();
        for text in [self.base.as_os_str().as_bytes(), self.name.as_bytes()] {
            let text = &text[..text.len().min(usize::from(u16::MAX))];
            payload.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
            payload.extend(text);
        }
        let files: Vec<u64> = self.files.iter().map(|(path, _)| *path).collect();
        let folders: Vec<u64> = self.folders.keys().copied().collect();
        for hashes in [files, folders] {
            payload.extend(u32::try_from(hashes.len()).unwrap_or(0).to_le_bytes());
            payload.extend(hashes.iter().flat_map(|hash| hash.to_le_bytes()));
        }
        let mut record = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes().to_vec();
        record.extend(crc32c(0, &payload).to_le_bytes());
        record.extend(payload);
        record
    }
}

/// How many intact records these bytes begin with; for the fuzz target, since such bytes come from another process.
#[must_use]
pub fn intact_claims(mut bytes: &[u8]) -> usize {
    std::iter::from_fn(|| take_record(&mut bytes)).count()
}

/// `None`: it is damaged.
fn take_record(bytes: &mut &[u8]) -> Option<Other> {
    let length = u32::from_le_bytes(take(bytes)?);
    let checksum = u32::from_le_bytes(take(bytes)?);
    let mut payload = take_slice(bytes, length as usize)?;
    if crc32c(0, payload) != checksum {
        return None;
    }
    let p = &mut payload;
    let info_hash = take(p)?;
    let base = u16::from_le_bytes(take(p)?);
    let base = PathBuf::from(std::ffi::OsStr::from_bytes(take_slice(p, base.into())?));
    let name = u16::from_le_bytes(take(p)?);
    let name = String::from_utf8_lossy(take_slice(p, name.into())?).into_owned();
    let (files, folders) = (take_hashes(p)?, take_hashes(p)?);
    p.is_empty().then_some(Other { info_hash, base, name, files, folders })
}

fn take_hashes(bytes: &mut &[u8]) -> Option<HashSet<u64>> {
    let count = u32::from_le_bytes(take(bytes)?) as usize;
    let hashes = take_slice(bytes, count.checked_mul(8)?)?;
    Some(hashes.as_chunks().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*array)
}

fn take_slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (slice, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(slice)
}

/// The same in every process.
fn hash(path: &Path) -> u64 {
    let digest = ferri_hash::sha1(path.as_os_str().as_bytes());
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 20 bytes"))
}

fn lock() -> MutexGuard<'static, BTreeMap<PathBuf, Own>> {
    // Each entry stands alone.
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, RwLock};

    use ferri_metainfo::Bitfield;
    use ferri_metainfo::names::LocalPaths;

    use super::*;
    use crate::lock::TorrentLock;
    use crate::places::Places;
    use crate::tests::{Fixture, names};

    /// Two ways to one state folder, which are two processes as far as locks can tell.
    fn processes(folder: &Path) -> [PathBuf; 2] {
        std::fs::create_dir_all(folder.join("state/torrents")).unwrap();
        std::os::unix::fs::symlink("state", folder.join("other")).unwrap();
        [folder.join("state/torrents"), folder.join("other/torrents")]
    }

    /// What lacks all of its files.
    fn lacking(t: &Fixture, id: u64, root: &str) -> Claim {
        let places = Places::new(LocalPaths::new(&t.info).unwrap(), None);
        let count = u32::try_from(t.info.layout().file_count()).unwrap();
        Claim {
            id,
            info: t.info.clone(),
            root: root.into(),
            places: Arc::new(RwLock::new(places)),
            files: Bitfield::full(count),
        }
    }

    fn hash_of(t: &Fixture) -> [u8; 20] {
        *t.info.info_hashes().wire().as_bytes()
    }

    #[test]
    fn what_a_process_is_going_to_make_no_other_one_makes_while_the_torrent_runs() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, theirs] = processes(folder.path());
        let t = Fixture::new(&[("a", 9, ""), ("sub/b", 9, "")]);
        let hooks = Hooks::default();
        // Nobody's words.
        std::fs::create_dir_all(ours.join("claims/a folder")).unwrap();
        claim(&ours, &lacking(&t, 1_000, "/d"), &hooks).unwrap();
        let running = TorrentLock::take(&ours.join("lock"), &hash_of(&t)).unwrap();
        for (files, met) in [
            (&[("c", 5, ""), ("sub/c", 5, "")][..], None),
            (&[("c", 5, ""), ("sub/b", 5, "")], Some(1)),
            (&[("c", 5, ""), ("a/c", 5, "")], Some(1)),
            (&[("sub", 5, "")], Some(0)),
        ] {
            let other = Fixture::new(files);
            let found = claim(&theirs, &lacking(&other, 2_000, "/d"), &hooks).err();
            assert_eq!(found.as_ref().map(|found| found.file.0), met, "{files:?}");
            assert!(found.is_none_or(|found| found.name == "t" && found.info_hash == hash_of(&t)));
            claim(&theirs, &lacking(&other, 2_000, "/e"), &hooks).unwrap();
        }
        // The last word counts.
        let rival = Fixture::new(&[("a", 5, "")]);
        let mut less = lacking(&t, 1_000, "/d");
        less.files.clear(0);
        claim(&ours, &less, &hooks).unwrap();
        claim(&theirs, &lacking(&rival, 2_001, "/d"), &hooks).unwrap();
        leave(2_001);
        claim(&ours, &lacking(&t, 1_000, "/d"), &hooks).unwrap();
        claim(&theirs, &lacking(&rival, 2_002, "/d"), &hooks).unwrap_err();
        drop(running);
        claim(&theirs, &lacking(&rival, 2_002, "/d"), &hooks).unwrap();
        leave(1_000);
        leave(2_000);
        leave(2_002);
        assert_eq!(names(&ours.join("claims")), ["a folder", "lock"]);
    }

    #[test]
    fn what_a_dead_process_left_or_somebody_damaged_keeps_nobody_away() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, theirs] = processes(folder.path());
        let (t, hooks) = (Fixture::new(&[("a", 9, "")]), Hooks::default());
        let _running = TorrentLock::take(&ours.join("lock"), &hash_of(&t)).unwrap();
        claim(&ours, &lacking(&t, 3_000, "/d"), &hooks).unwrap();
        let left = ours.join("claims").join(&names(&ours.join("claims"))[0]);
        let bytes = std::fs::read(&left).unwrap();
        let rival = Fixture::new(&[("a", 5, "")]);
        assert_eq!(intact_claims(&[&bytes[..], &bytes, &bytes[..9]].concat()), 2);
        let beside = ours.join("claims/1-1");
        for length in 0..=bytes.len() {
            // Damaged, and of a process that lives.
            std::fs::write(&beside, &bytes[..length]).unwrap();
            let alive = File::options().write(true).open(&beside).unwrap();
            assert!(hold(&alive));
            std::fs::remove_file(&left).ok();
            let claimed = claim(&theirs, &lacking(&rival, 4_000, "/d"), &hooks);
            assert_eq!(claimed.is_err(), length == bytes.len(), "{length}");
            drop(alive);
        }
        claim(&theirs, &lacking(&rival, 4_000, "/d"), &hooks).unwrap();
        assert!(!beside.exists(), "nobody holds it");
        leave(3_000);
        leave(4_000);
    }
}
