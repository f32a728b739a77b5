//! Comparing a payload with its torrent, without a session.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{Bitfield, Info};
use ferri_storage::{Halt, Place, Places, Progress, Storage, StorageError, StorageOptions, check};

use crate::Error;
use crate::torrent::beside;

/// Hashes the payload at `payload` (for several files the folder that holds them) with `threads` threads, and says
/// which pieces match. `progress` hears the bytes looked at and the bytes in all; raising `halt` ends it early with
/// `None`. Waits for the disk: call it where that is allowed.
///
/// # Errors
/// [`Error::Name`] when a path in the torrent has no place on this disk, [`Error::Storage`] when the disk cannot be
/// read. A missing or short file is no error: its pieces do not match.
pub fn verify(
    info: &Arc<Info>,
    payload: &Path,
    threads: usize,
    halt: &Halt,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Option<Bitfield>, Error> {
    let (root, top) = beside(payload)?;
    let pieces: Vec<u32> = (0..info.layout().piece_count()).collect();
    let places = match Places::find_until(info, LocalPaths::new(info)?, &root, Some(top), halt) {
        Err(StorageError::Halted) => return Ok(None),
        places => places?,
    };
    verify_places(info, &root, places, &pieces, threads, halt, progress)
}

/// As [`verify`], of files whose places beneath `root` are known, and of these pieces alone; those that the torrent does not
/// have are left out.
///
/// # Errors
/// As [`verify`].
pub fn verify_places(
    info: &Arc<Info>,
    root: &Path,
    places: Places,
    pieces: &[u32],
    threads: usize,
    halt: &Halt,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Option<Bitfield>, Error> {
    let place = Place { root: root.to_owned(), state_dir: None };
    let options = StorageOptions {
        top: Some(places.top().to_owned()),
        places: Some(places),
        read_only: true,
        halt: halt.clone(),
        ..StorageOptions::default()
    };
    let wanted = vec![true; info.layout().file_count()];
    let storage = Storage::new(info.clone(), LocalPaths::new(info)?, place, options, &wanted)?;
    let layout = info.layout();
    let pieces: Vec<_> = pieces.iter().filter_map(|piece| layout.piece(*piece)).collect();
    let total = pieces.iter().map(|piece| u64::from(layout.piece_len(*piece))).sum();
    let report = |at: Progress| progress(at.bytes, total);
    match check::run(&storage, &pieces, threads, &report) {
        Err(StorageError::Halted) => Ok(None),
        have => Ok(Some(have?)),
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use ferri_metainfo::Metainfo;

    use super::*;

    /// Two files of five bytes in one piece.
    fn torrent() -> Arc<Info> {
        let mut bytes = b"d4:infod5:filesld6:lengthi5e4:pathl1:aeed6:lengthi5e4:pathl1:beee4:name1:t\
            12:piece lengthi16384e6:pieces20:"
            .to_vec();
        bytes.extend(ferri_hash::sha1(b"aaaaabbbbb"));
        bytes.extend(b"ee");
        Metainfo::parse(&bytes).unwrap().shared_info()
    }

    #[test]
    fn a_comparison_that_was_halted_says_nothing() {
        let (folder, info) = (tempfile::tempdir().unwrap(), torrent());
        let payload = folder.path().join("t");
        fs::create_dir(&payload).unwrap();
        fs::write(payload.join("a"), b"aaaaa").unwrap();
        fs::write(payload.join("b"), b"bbbbb").unwrap();
        let halt = Halt::default();
        let whole = verify(&info, &payload, 1, &halt, &|_, _| {}).unwrap();
        assert!(whole.unwrap().is_full());
        halt.raise();
        assert_eq!(verify(&info, &payload, 1, &halt, &|_, _| {}).unwrap(), None);
    }
}
