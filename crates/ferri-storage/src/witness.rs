//! A listener that is told every change of the disk, so that a simulation can say what of it a power cut would leave.
//!
//! Like a [`FaultPlan`] it is a function, called on the thread that made the change, after the system call succeeded.
//! Without one (always, outside simulations) the cost is one branch.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::faults::{FaultPlan, Op};

/// Something that was done to the disk. Paths are full. What exists already may be told as created again.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// An empty file came to be.
    FileCreated(&'a Path),
    /// A folder came to be.
    FolderCreated(&'a Path),
    /// A symbolic link came to be.
    LinkCreated(&'a Path),
    /// Bytes were written.
    Written {
        /// The file.
        path: &'a Path,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// A range was made to read as zeros.
    Cleared {
        /// The file.
        path: &'a Path,
        /// Where, in bytes.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// A file was cut or grown, or got another time.
    Resized {
        /// The file.
        path: &'a Path,
        /// Its new length in bytes.
        length: u64,
    },
    /// A file got another name, in the same folder or in another one; what had that name is gone.
    Renamed {
        /// Its old path.
        from: &'a Path,
        /// Its new path.
        to: &'a Path,
    },
    /// A file lost its name, or an empty folder is gone.
    Removed(&'a Path),
    /// A sync of a file or folder begins. What is changed from here on need not be covered by it.
    Syncing(&'a Path),
    /// It ended well.
    Synced(&'a Path, Synced),
}

/// What a sync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// The bytes and the length of a file (`fdatasync`), not its times.
    Data,
    /// All of a file.
    File,
    /// The entries of a folder.
    Folder,
    /// Everything beneath a folder (`syncfs`).
    FileSystem,
}

type Tell = dyn Fn(Change<'_>) + Send + Sync;

/// Hears of every change, and stands for the machine that is simulated.
#[derive(Clone)]
pub struct Witness {
    boot_id: [u8; 16],
    tell: Arc<Tell>,
}

impl Witness {
    /// `boot_id` tells one boot of the simulated machine from another; `tell` is called from any thread, at times with
    /// locks held, so it must not use the storage.
    pub fn new(boot_id: [u8; 16], tell: impl Fn(Change<'_>) + Send + Sync + 'static) -> Self {
        Self { boot_id, tell: Arc::new(tell) }
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

/// What tests and simulations attach to the operations of a storage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) faults: Option<FaultPlan>,
    pub(crate) witness: Option<Witness>,
}

impl Hooks {
    /// Before an operation of `length` bytes; `Ok(n)`: go on with at most `n` of them.
    pub(crate) fn check(&self, op: Op, path: &Path, length: usize) -> Result<usize, Errno> {
        FaultPlan::check(self.faults.as_ref(), op, path, length)
    }

    /// After it succeeded.
    pub(crate) fn tell(&self, change: Change<'_>) {
        if let Some(witness) = &self.witness {
            (witness.tell)(change);
        }
    }

    /// Does an operation that has no length, again when it was interrupted.
    pub(crate) fn call<T>(
        &self,
        op: Op,
        path: &Path,
        mut call: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        loop {
            match self.check(op, path, 0).and_then(|_| call()) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The same for one of a million: the path is put together only for a listener that asked to hear of it.
    pub(crate) fn call_at<T>(
        &self,
        op: Op,
        path: impl FnOnce() -> PathBuf,
        mut call: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if self.faults.is_some() {
            return self.call(op, &path(), call);
        }
        loop {
            match call() {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Does a sync, which the witness hears begin and end.
    pub(crate) fn sync(
        &self,
        (op, path, what): (Op, &Path, Synced),
        call: impl FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.tell(Change::Syncing(path));
        self.call(op, path, call)?;
        self.tell(Change::Synced(path, what));
        Ok(())
    }

    /// The boot of a simulated machine.
    pub(crate) fn boot_id(&self) -> Option<[u8; 16]> {
        Some(self.witness.as_ref()?.boot_id)
    }
}

/// The number of an error of the standard library.
pub(crate) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
