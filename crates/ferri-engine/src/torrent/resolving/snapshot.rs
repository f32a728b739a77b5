//! What is seen of a torrent that is not known yet.

use std::time::Instant;

use super::Search;
use crate::clock;
use crate::dht::Dht;
use crate::status::{Event, Resolving, Sources, State, TorrentStatus};

impl Search {
    pub(super) fn set_state(&mut self, state: State) {
        if self.view.state != state {
            self.view.state = state.clone();
            self.view.event(Event::StateChanged(state));
            self.publish(clock::now());
        }
    }

    pub(super) fn publish(&mut self, now: Instant) {
        let stats = self.crew.machine().stats();
        let mut status = match self.torrent.info() {
            Some(info) => TorrentStatus::of(info),
            None => {
                let hashes = self.magnet.info_hashes;
                let name = self.magnet.display_name.clone();
                TorrentStatus::unknown(name.unwrap_or_else(|| hashes.wire().to_string()), hashes)
            }
        };
        (status.state, status.stopped) = (self.view.state.clone(), self.view.stop_reason);
        status.name = self.view.name(status.name);
        status.peers = stats.peers;
        status.resolving = Some(Box::new(Resolving {
            asked: stats.asked,
            without: stats.without + stats.rejecting,
            parts_had: stats.parts_had,
            parts_total: stats.parts,
            corrupt: stats.corrupt,
            sources: self.sources(now),
        }));
        self.view.stale = false;
        self.crew.take_change();
        self.view.published_at = now;
        self.view.status.publish(status);
    }

    fn sources(&self, now: Instant) -> Sources {
        let (stats, trackers) = (self.crew.machine().stats(), self.crew.tracker_statuses(now));
        Sources {
            dht_nodes: self.services.dht.as_ref().map(Dht::good_nodes),
            lsd: self.services.lsd.is_on(),
            trackers: trackers.len(),
            trackers_failed: trackers.iter().filter(|tracker| tracker.error.is_some()).count(),
            known: stats.candidates,
            connecting: stats.connecting,
        }
    }
}
