//! A disk that holds back what it is given, because the torrent's files are being moved.

use std::time::Instant;

use super::{Disk, Touches};

impl Disk {
    /// From here on no job is begun that opens a file. Those that are out are let end: [`Self::is_quiet`] tells.
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    /// No job is out.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_busy()
            && !self.syncing
            && !self.selecting
            && !self.recovery.is_out
            && self.touches != Touches::Asked
            && self.looks.out.is_empty()
            && self.refused.is_empty()
    }

    /// Does what was held back. `is_complete`: nothing that is wanted is missing.
    pub(crate) fn release(&mut self, now: Instant, is_complete: bool) {
        self.is_held = false;
        if self.has_failed() {
            // It may be another disk, and what waits is done when it takes data.
            self.probe_now(now);
        } else {
            self.do_again();
        }
        if self.is_finishing() && is_complete {
            self.finish();
        }
        if self.sync_again {
            self.sync();
        }
        if self.looks.out.is_empty() && self.looks.at.is_none() {
            self.look();
        }
    }
}
