//! Files that are replaced whole or not at all: tmp, fsync, rename, fsync of the folder.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::StorageError;
use crate::faults::Op;
use crate::witness::{Change, Hooks, Synced, errno};

/// Readable for all users who can reach the folder above it, within the user's mask.
pub(crate) const SHARED_FOLDER: u32 = 0o777;

const SHARED_FILE: u32 = 0o666;

/// State tells what was downloaded, from which peers, and the keys in tracker addresses: only its user may read it.
pub(crate) const PRIVATE_FOLDER: u32 = 0o700;

/// The same for a file.
pub(crate) const PRIVATE_FILE: u32 = 0o600;

/// Replaces the file at `path` by `bytes`; after `Ok` the new content survives a power cut, and at every moment
/// before that a reader (or the next start) sees either the old file or the new one, whole.
///
/// The folder must exist. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// Says which path failed; the old file is then untouched and the temporary one removed.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let hooks = Hooks::default();
    stage(path, bytes, SHARED_FILE, &hooks)?.put(&hooks)
}

/// The same for a file of a state folder, which only its user may read (mode 0600).
///
/// # Errors
/// As for [`atomic_write`].
pub fn atomic_write_private(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let hooks = Hooks::default();
    stage(path, bytes, PRIVATE_FILE, &hooks)?.put(&hooks)
}

/// The same for content that need not be in memory as a whole: `next` appends the next piece to an empty buffer, and says whether there
/// are more.
///
/// # Errors
/// As for [`atomic_write`].
pub fn atomic_write_private_in_pieces(
    path: &Path,
    next: impl FnMut(&mut Vec<u8>) -> bool,
) -> Result<(), StorageError> {
    let hooks = Hooks::default();
    stage_pieces(path, next, PRIVATE_FILE, &hooks)?.put(&hooks)
}

/// Makes a state folder with all that are missing above it, for its user alone (mode 0700). One that is there stays
/// as it is, since others may have to read what else lies in it; what is ours in it, `torrents`, is closed to others.
///
/// # Errors
/// When it cannot be made.
pub fn create_state_folder(path: &Path) -> io::Result<()> {
    create_private_folders(path)?;
    close_to_others(&path.join("torrents"));
    Ok(())
}

/// Makes a folder with all that are missing above it, for its user alone (mode 0700). What is there stays as it is, and so does
/// everything in it: the folder may be one that others own and share.
///
/// # Errors
/// When it cannot be made.
pub fn create_private_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(path)
}

/// Removes what a process that was killed in the middle of [`atomic_write`] left beside `path`. The caller knows that
/// no other process writes there.
pub fn remove_left_overs(path: &Path) {
    let Some(name) = path.file_name() else { return };
    let entries = fs::read_dir(folder_of(path)).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_left_over(&entry.file_name(), name)) {
        // One that stays only takes room.
        let _ = fs::remove_file(entry.path());
    }
}

/// Whether `found` is the name of a temporary file for `name`, as [`create_beside`] gives them.
fn is_left_over(found: &OsStr, name: &OsStr) -> bool {
    let begin = [b".", name.as_bytes(), b"."].concat();
    let numbers = found.as_bytes().strip_prefix(&*begin).and_then(|rest| rest.strip_suffix(b".tmp"));
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let mut parts = numbers.unwrap_or_default().split(|byte| *byte == b'-');
    parts.next().is_some_and(is_number) && parts.next().is_some_and(is_number) && parts.next().is_none()
}

/// A folder of ours that an earlier version, or a copy, left open to others. That it cannot be closed is no reason not
/// to work.
fn close_to_others(folder: &Path) {
    if let Ok(found) = fs::symlink_metadata(folder)
        && found.is_dir()
        && found.permissions().mode() & 0o077 != 0
    {
        let _ = fs::set_permissions(folder, Permissions::from_mode(PRIVATE_FOLDER));
    }
}

/// A file that is written and synced under a temporary name, which it loses when dropped.
pub(crate) struct Staged<'a> {
    path: &'a Path,
    temporary: Option<PathBuf>,
}

/// The first half of [`atomic_write`]: nothing at `path` is touched.
pub(crate) fn stage<'a>(
    path: &'a Path,
    bytes: &[u8],
    mode: u32,
    hooks: &Hooks,
) -> Result<Staged<'a>, StorageError> {
    let whole = |piece: &mut Vec<u8>| {
        piece.extend_from_slice(bytes);
        false
    };
    stage_pieces(path, whole, mode, hooks)
}

fn stage_pieces<'a>(
    path: &'a Path,
    mut next: impl FnMut(&mut Vec<u8>) -> bool,
    mode: u32,
    hooks: &Hooks,
) -> Result<Staged<'a>, StorageError> {
    let (temporary, file) = create_beside(path, mode, hooks)?;
    // From here on it is removed when something fails; a left-over of a power cut is harmless.
    let staged = Staged { path, temporary: Some(temporary) };
    let temporary = staged.temporary.as_deref().unwrap_or(path);
    let (mut piece, mut offset, mut has_more) = (Vec::new(), 0, true);
    while has_more {
        piece.clear();
        has_more = next(&mut piece);
        write_all(&file, temporary, offset, &piece, hooks)
            .map_err(|errno| StorageError::writing(path, errno))?;
        offset += piece.len() as u64;
    }
    hooks
        .sync((Op::JournalSync, temporary, Synced::File), || rustix::fs::fsync(&file))
        .map_err(|errno| StorageError::writing(path, errno))?;
    Ok(staged)
}

impl Staged<'_> {
    /// The second half: after an error either the old or the new content may be what a power cut leaves.
    pub(crate) fn put(self, hooks: &Hooks) -> Result<(), StorageError> {
        let path = self.path;
        self.put_unsynced(hooks)?;
        sync_folder(folder_of(path), hooks)
    }

    /// The same for a caller that syncs the folder: until then a power cut may leave the old content.
    pub(crate) fn put_unsynced(mut self, hooks: &Hooks) -> Result<(), StorageError> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        rename(temporary, self.path, hooks)?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The first error is the one to tell.
            let _ = fs::remove_file(temporary);
        }
    }
}

pub(crate) fn rename(from: &Path, to: &Path, hooks: &Hooks) -> Result<(), StorageError> {
    let renamed = hooks.call(Op::Rename, to, || fs::rename(from, to).map_err(errno));
    renamed.map_err(|errno| StorageError::writing(to, errno))?;
    hooks.tell(Change::Renamed { from, to });
    Ok(())
}

/// Makes the entries of a folder (new, renamed and removed files) survive a power cut.
pub(crate) fn sync_folder(folder: &Path, hooks: &Hooks) -> Result<(), StorageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = hooks.sync((Op::FolderSync, folder, Synced::Folder), || {
        let opened = rustix::fs::open(folder, flags, Mode::empty())?;
        match rustix::fs::fsync(opened) {
            // A file system that does not sync folders.
            Err(Errno::INVAL) => Ok(()),
            other => other,
        }
    });
    synced.map_err(|errno| StorageError::writing(folder, errno))
}

/// Makes a folder with all that are missing above it, each of which survives a power cut.
pub(crate) fn create_folders(path: &Path, mode: u32, hooks: &Hooks) -> Result<(), StorageError> {
    // A link to a folder is one; whatever else is there makes the creation fail.
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = folder_of(path);
    create_folders(parent, mode, hooks)?;
    let created =
        hooks.call(Op::CreateFolder, path, || DirBuilder::new().mode(mode).create(path).map_err(errno));
    match created {
        Ok(()) => hooks.tell(Change::FolderCreated(path)),
        Err(Errno::EXIST) if path.is_dir() => {}
        Err(errno) => return Err(StorageError::making_folder(path, errno)),
    }
    match sync_folder(parent, hooks) {
        // A folder that may be passed and not read cannot be synced by us.
        Ok(()) | Err(StorageError::Denied { .. }) => Ok(()),
        Err(error) => {
            // So that the next try syncs it.
            if fs::remove_dir(path).is_ok() {
                hooks.tell(Change::Removed(path));
            }
            Err(error)
        }
    }
}

pub(crate) fn write_all(
    file: &File,
    path: &Path,
    offset: u64,
    bytes: &[u8],
    hooks: &Hooks,
) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let allowed = hooks.check(Op::JournalWrite, path, rest.len());
        match allowed.and_then(|allowed| rustix::io::pwrite(file, &rest[..allowed], offset + done as u64)) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                let bytes = &rest[..written];
                hooks.tell(Change::Written { path, offset: offset + done as u64, bytes });
                done += written;
            }
            Err(Errno::INTR) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// All of a file, or its first `bytes_max` bytes, with one read when it is not longer than `length`.
pub(crate) fn read_whole(file: &File, length: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = length.min(bytes_max);
    // Without room for one byte more the end of the file would only be found by growing.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn create_beside(path: &Path, mode: u32, hooks: &Hooks) -> Result<(PathBuf, File), StorageError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else { return Err(StorageError::NotAFile { path: path.into() }) };
    // Process id and counter tell writers apart; a left-over of a dead process with our id is simply replaced.
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = folder_of(path).join(temporary);
    let _ = fs::remove_file(&temporary);
    let file = hooks
        .call(Op::JournalOpen, &temporary, || {
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(errno)
        })
        .map_err(|errno| StorageError::writing(&temporary, errno))?;
    hooks.tell(Change::FileCreated(&temporary));
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
    fn pieces_are_one_file_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut left = 3;
        let pieces = |piece: &mut Vec<u8>| {
            left -= 1;
            piece.extend_from_slice(if left == 1 { b"" } else { b"piece " });
            left != 0
        };
        atomic_write_private_in_pieces(&path, pieces).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"piece piece ");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE_FILE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_our_own_temporary_files_are_left_overs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let kept = [
            "state",
            ".state.tmp",
            ".state.1.tmp",
            ".state.a-1.tmp",
            ".other.1-1.tmp",
            ".state.1-2-3.tmp",
            ".state.-1.tmp",
        ];
        for name in kept.iter().chain(&[".state.4711-0.tmp", ".state.1-22.tmp"]) {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_left_overs(&path);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), kept.len());
        assert!(kept.iter().all(|name| folder.path().join(name).exists()));
    }

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
