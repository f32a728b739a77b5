//! Why a torrent gets nothing: the swarm's reason, and where it looks for peers when it has none.

use std::time::Instant;

use ferri_swarm::Dials;

use super::task::Task;
use crate::dht::Dht;
use crate::status::{Sources, State, Wait};

impl Task {
    pub(super) fn wait(&self, now: Instant) -> Option<Wait> {
        if self.view.state != State::Downloading {
            return None;
        }
        if self.crew.machine().stats().left == 0 {
            // Only the last touches are due.
            return Some(Wait::Disk);
        }
        Some(self.crew.machine().standstill()?.map_alone(|dials| self.sources(dials, now)))
    }

    fn sources(&self, dials: Dials, now: Instant) -> Sources {
        let is_public = !self.info.is_private();
        let trackers = self.crew.tracker_statuses(now);
        Sources {
            dht_nodes: self.services.dht.as_ref().filter(|_| is_public).map(Dht::good_nodes),
            lsd: is_public && self.services.lsd.is_on(),
            trackers: trackers.len(),
            trackers_failed: trackers.iter().filter(|tracker| tracker.error.is_some()).count(),
            known: dials.known,
            connecting: dials.connecting,
        }
    }
}
