//! What a person should know of files and is no failure: each is told once, the first of a kind by its path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What was not told yet.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    /// A torrent at work asks often, and mostly there is nothing.
    is_any: AtomicBool,
    /// The first file of each kind, and how many more.
    files: Mutex<BTreeMap<Fate, (PathBuf, usize)>>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It was this torrent's, and the user gave it up.
    Taken(String),
    /// A whole file was left with this torrent or program under its name.
    Shared(String),
    /// The file system, or its owner, does not let us make it executable.
    NotExecutable,
    /// The file system has no symbolic links, or does not take the name of this one.
    NoLink,
}

impl Remarks {
    pub(crate) fn add(&self, fate: Fate, path: &Path) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let more = files.entry(fate).and_modify(|(_, more)| *more += 1);
        more.or_insert_with(|| (path.to_path_buf(), 0));
        self.is_any.store(true, Ordering::Release);
    }

    /// A sentence for each kind, once.
    pub(crate) fn take(&self) -> Vec<String> {
        if !self.is_any.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let files = std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner));
        files.into_iter().map(|(fate, (path, more))| fate.sentence(&path, more)).collect()
    }
}

impl Fate {
    fn sentence(&self, path: &Path, more: usize) -> String {
        let files = match more {
            0 => path.display().to_string(),
            1 => format!("{} and 1 more file", path.display()),
            more => format!("{} and {more} more files", path.display()),
        };
        let one_or_many = |one, many| if more == 0 { one } else { many };
        match self {
            Self::Taken(torrent) => {
                let taken = one_or_many("was taken from torrent", "were taken from torrent");
                let lacks = one_or_many("it", "them");
                format!("{files} {taken} {torrent}, which lacks {lacks} from here on")
            }
            Self::Shared(by) => {
                let used = one_or_many("is used by", "are used by");
                let keeps = one_or_many("keeps its name", "keep their names");
                format!("{files} {used} {by} too, and {keeps}")
            }
            Self::NotExecutable => {
                let is = one_or_many("is not", "are not");
                let belongs = one_or_many("it belongs", "they belong");
                format!(
                    "{files} {is} executable as the torrent says: the file system has no such mode, or {belongs} to another user"
                )
            }
            Self::NoLink => {
                let was = one_or_many("was not", "were not");
                let link = one_or_many("a symbolic link of the torrent", "symbolic links of the torrent");
                format!("{files}, {link}, {was} made: the file system does not take it; no data is missing")
            }
        }
    }
}
