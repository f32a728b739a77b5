//! Comparing a payload with its torrent, without a session.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Bitfield, Info};
use ferri_storage::{Place, Places, Progress, Storage, StorageOptions, check};

use crate::Error;
use crate::torrent::beside;

/// Hashes the payload at `payload` (for several files the folder that holds them) with `threads` threads, and says
/// which pieces match. `progress` hears the bytes looked at and the bytes in all; raising `cancel` ends it early with
/// `None`. Waits for the disk: call it where that is allowed.
///
/// # Errors
/// [`Error::Name`] when a path in the torrent has no place on this disk, [`Error::Storage`] when the disk cannot be
/// read. A missing or short file is no error: its pieces do not match.
pub fn verify(
    info: &Arc<Info>,
    payload: &Path,
    threads: usize,
    cancel: &AtomicBool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Option<Bitfield>, Error> {
    let all: Vec<u32> = (0..info.layout().piece_count()).collect();
    verify_pieces(info, payload, &all, threads, cancel, progress)
}

/// As [`verify`], of these pieces alone; those that the torrent does not have are left out.
///
/// # Errors
/// As [`verify`].
pub fn verify_pieces(
    info: &Arc<Info>,
    payload: &Path,
    pieces: &[u32],
    threads: usize,
    cancel: &AtomicBool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Option<Bitfield>, Error> {
    let (root, top) = beside(payload)?;
    let place = Place { root, state_dir: None };
    let options = StorageOptions { top: Some(top), read_only: true, ..StorageOptions::default() };
    let wanted = vec![true; info.layout().file_count()];
    let storage = Storage::new(info.clone(), LocalPaths::new(info)?, place, options, &wanted)?;
    let layout = info.layout();
    let pieces: Vec<_> = pieces.iter().filter_map(|piece| layout.piece(*piece)).collect();
    let total = pieces.iter().map(|piece| u64::from(layout.piece_len(*piece))).sum();
    let report = |at: Progress| progress(at.bytes, total);
    let have = check::run(&storage, &pieces, threads, cancel, &report)?;
    Ok((!cancel.load(Ordering::Relaxed)).then_some(have))
}

/// Where the payload of a torrent is, when `path` is either the payload itself or the folder that holds it.
///
/// # Errors
/// [`Error::Name`] when the torrent's name has no place on this disk.
pub fn locate(info: &Info, path: &Path) -> Result<PathBuf, Error> {
    let names = LocalPaths::new(info)?;
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let top = Places::find_top(info, names, path);
    let inside = path.join(&top);
    let is_holder = !top.is_empty() && (!info.is_multi_file() || inside.is_dir());
    Ok(if is_holder { inside } else { path.to_owned() })
}
