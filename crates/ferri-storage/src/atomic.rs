//! Files that are replaced whole or not at all: tmp, fsync, rename, fsync of the folder.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StorageError;

/// Replaces the file at `path` by `bytes`; after `Ok` the new content survives a power cut, and at every moment
/// before that a reader (or the next start) sees either the old file or the new one, whole.
///
/// The folder must exist. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// Says which path failed; the old file is then untouched and the temporary one removed.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| StorageError::writing_io(path, error));
    if written.is_err() {
        // The first error is the one to tell; a left-over temporary file is harmless.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder(folder_of(path))
}

/// Makes the entries of a folder (new, renamed and removed files) survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| StorageError::writing_io(folder, error))
}

fn create_beside(path: &Path) -> Result<(PathBuf, File), StorageError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else { return Err(StorageError::NotAFile { path: path.into() }) };
    // Process id and counter tell writers apart; a left-over of a dead process with our id is simply replaced.
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = folder_of(path).join(temporary);
    let _ = fs::remove_file(&temporary);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)
        .map_err(|error| StorageError::writing_io(&temporary, error))?;
    Ok((temporary, file))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        atomic_write(&path, b"one").unwrap();
        atomic_write(&path, b"two, longer").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two, longer");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_content_and_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        let error = atomic_write(&path, b"new").unwrap_err();
        assert_eq!(error.path(), Some(path.as_path()));
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_at_the_path_is_replaced_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, b"mine").unwrap();
        let path = folder.path().join("state");
        std::os::unix::fs::symlink(&outside, &path).unwrap();
        atomic_write(&path, b"new").unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"mine");
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
