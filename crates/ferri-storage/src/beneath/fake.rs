//! A stand-in for file systems that fold names or refuse some: beneath a folder that was registered, names are looked
//! up as such a file system would. For tests, which cannot mount one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// How names are treated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fake {
    /// Case does not count, and a name keeps the case in which it was made.
    Folds,
    /// Names with one of these characters are refused with this error.
    Refuses(&'static [char], Errno),
}

static FAKES: Mutex<BTreeMap<PathBuf, Fake>> = Mutex::new(BTreeMap::new());

/// Beneath `root` names are treated so from here on.
pub(crate) fn register(root: &Path, fake: Fake) {
    FAKES.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_path_buf(), fake);
}

/// The path as the file system would understand it.
pub(super) fn actual(root: &Path, relative: &Path) -> Result<PathBuf, Errno> {
    let fake = FAKES.lock().unwrap_or_else(PoisonError::into_inner).get(root).copied();
    match fake {
        None => Ok(relative.to_path_buf()),
        Some(Fake::Refuses(refused, errno)) => {
            let is_refused = relative.to_string_lossy().contains(refused);
            if is_refused { Err(errno) } else { Ok(relative.to_path_buf()) }
        }
        Some(Fake::Folds) => {
            let mut found = PathBuf::new();
            for component in relative.components() {
                let wanted = component.as_os_str();
                let entries = std::fs::read_dir(root.join(&found)).into_iter().flatten().flatten();
                let entry =
                    entries.map(|entry| entry.file_name()).find(|name| name.eq_ignore_ascii_case(wanted));
                found.push(entry.unwrap_or_else(|| wanted.to_owned()));
            }
            Ok(found)
        }
    }
}
