//! Asking a loop over many files to stop: a torrent may have a million, and a disk may be slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::StorageError;

/// Raised once, by a caller that wants looks at files to end before all are looked at. Every loop over files and pieces
/// asks before each one. What has to be done to end in order (syncs, the journal, the files in the way of a write) does
/// not ask. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Ends what asks.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same, as a flag.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// Raises it when the result is dropped: for a caller that waits for a thread, and may be dropped meanwhile.
    #[must_use]
    pub fn raise_on_drop(&self) -> RaiseOnDrop {
        RaiseOnDrop(Some(self.clone()))
    }

    /// Before the next file.
    ///
    /// # Errors
    /// [`StorageError::Halted`].
    pub fn check(&self) -> Result<(), StorageError> {
        if self.is_raised() { Err(StorageError::Halted) } else { Ok(()) }
    }
}

/// Made by [`Halt::raise_on_drop`].
#[derive(Debug)]
pub struct RaiseOnDrop(Option<Halt>);

impl RaiseOnDrop {
    /// What was waited for has come.
    pub fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        if let Some(halt) = &self.0 {
            halt.raise();
        }
    }
}
