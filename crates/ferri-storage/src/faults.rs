//! Faults on purpose: a plan that makes chosen file operations fail or fall short.
//!
//! The plan is a function asked before every operation, so that a test or a simulation decides by operation, path,
//! length, count or seed. Without a plan (always, outside tests) the cost is one branch.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Open or create a file of the torrent or the parts file.
    Open,
    /// Make a folder.
    CreateFolder,
    /// Make a symbolic link.
    CreateLink,
    /// Remove a file.
    Remove,
    /// Give a file another mode.
    SetMode,
    /// Ask what a file looks like.
    Stat,
    /// Read payload.
    Read,
    /// Give a file its length.
    Allocate,
    /// Write payload.
    Write,
    /// `fdatasync` or `fsync` of payload, or `syncfs` of its file system.
    Sync,
    /// `fsync` of a folder.
    FolderSync,
    /// Open or create the resume journal.
    JournalOpen,
    /// Read the resume journal.
    JournalRead,
    /// Append to the resume journal, or write a new one.
    JournalWrite,
    /// `fdatasync` of the resume journal.
    JournalSync,
    /// Put a new journal in the place of the old one, or set it aside; give a file its final name.
    Rename,
}

/// What happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with this error number (`libc::EIO` is 5, `ENOSPC` 28) and does nothing.
    Errno(i32),
    /// At most this many bytes are moved this time; at least one.
    Short(usize),
}

type Decide = dyn Fn(Op, &Path, usize) -> Option<Fault> + Send + Sync;

/// Decides for every operation (with its path and its length in bytes, 0 where none applies) whether it fails.
#[derive(Clone)]
pub struct FaultPlan(Arc<Decide>);

impl FaultPlan {
    /// A plan that asks `decide`, from any thread.
    pub fn new(decide: impl Fn(Op, &Path, usize) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// `Ok(n)`: go on with at most `n` bytes.
    pub(crate) fn check(plan: Option<&Self>, op: Op, path: &Path, length: usize) -> Result<usize, Errno> {
        let Some(Self(decide)) = plan else { return Ok(length) };
        match decide(op, path, length) {
            None => Ok(length),
            Some(Fault::Short(most)) => Ok(length.min(most.max(1))),
            Some(Fault::Errno(code)) => Err(Errno::from_raw_os_error(code)),
        }
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultPlan")
    }
}
