//! Whether a download folder can be had, before anything is downloaded.

use std::path::Path;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use crate::beneath::{Rights, Root};
use crate::error::StorageError;
use crate::places::is_refusal;
use crate::way;

/// Whether a download folder is there, or can be made, as far as that can be told without making it: a download that
/// comes to nothing leaves nothing behind, and of two processes neither removes what the other one needs.
///
/// # Errors
/// What the first write to it would say.
pub fn check_folder(path: &Path) -> Result<(), StorageError> {
    match Root::open(path, Rights::Read) {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(StorageError::opening_folder(path, errno)),
    }
    let first = way::end_of(path, Path::is_dir);
    if first.symlink_metadata().is_ok_and(|found| !found.is_dir()) && !first.is_dir() {
        // A link to nothing.
        return Err(StorageError::making_folder(&first, Errno::EXIST));
    }
    let above =
        first.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let rights = Access::WRITE_OK | Access::EXEC_OK;
    // Whatever else it says, only the system that makes a folder knows better.
    let allowed = rustix::fs::accessat(rustix::fs::CWD, above, rights, AtFlags::EACCESS);
    if let Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) = allowed {
        return Err(StorageError::making_folder(&first, errno));
    }
    // The folders will be on the file system of the one above, which says at once which names it cannot hold.
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| *folder != above).collect();
    for missing in missing.into_iter().rev() {
        let Some(name) = missing.file_name() else { continue };
        if let Err(errno) = rustix::fs::lstat(above.join(name))
            && is_refusal(errno)
        {
            return Err(StorageError::making_folder(missing, errno));
        }
    }
    Ok(())
}
