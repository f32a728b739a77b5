//! A torrent's state as those see it who only look, in its task or where it rests.

use ferri_storage::Store;
use ferri_swarm::Swarm;

use super::files::Files;
use crate::trackers::Trackers;

/// What there is to be seen.
pub(super) struct Seen<'a> {
    pub(super) swarm: &'a Swarm,
    pub(super) files: &'a Files,
    pub(super) trackers: &'a Trackers,
    pub(super) storage: &'a Store,
    /// Down and up, bytes per second.
    pub(super) limits: (Option<u64>, Option<u64>),
    pub(super) is_paused: bool,
    pub(super) seed_only: bool,
}

/// A look that the torrent's task is asked for.
pub(super) struct Look(Box<Looking>);

/// Gets `None` where there is nothing to be seen yet.
type Looking = dyn FnOnce(Option<&Seen<'_>>) + Send;

impl Look {
    /// `look` sends its answer by itself.
    pub(super) fn new(look: impl FnOnce(Option<&Seen<'_>>) + Send + 'static) -> Self {
        Self(Box::new(look))
    }

    pub(super) fn at(self, seen: &Seen<'_>) {
        (self.0)(Some(seen));
    }

    /// There is nothing to be seen yet.
    pub(super) fn at_nothing(self) {
        (self.0)(None);
    }
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}
