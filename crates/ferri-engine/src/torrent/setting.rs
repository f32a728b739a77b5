//! Settings of the machine that may change while the torrent runs. All that a new one needs of the engine is in this file,
//! and in [`super::settings`], where it is set and read back.

use ferri_swarm::Input;

use crate::AddTorrent;
use crate::store::Record;

/// A setting with its new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// Pieces come in order, not the rarest first.
    Sequential(bool),
}

impl Setting {
    /// For a machine that runs.
    pub(super) fn input(self) -> Input {
        match self {
            Self::Sequential(sequential) => Input::Sequential { sequential },
        }
    }

    /// For one that is still to begin.
    pub(super) fn prepare(self, add: &mut AddTorrent) {
        match self {
            Self::Sequential(sequential) => add.sequential = sequential,
        }
    }

    /// For the next start.
    pub(super) fn keep(self, record: &mut Record) {
        match self {
            Self::Sequential(sequential) => record.sequential = sequential,
        }
    }
}
