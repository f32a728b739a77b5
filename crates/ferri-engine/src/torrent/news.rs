//! Where a torrent may be shown.

use super::task::Task;

impl Task {
    /// Lets others find the torrent without a tracker, unless it is private (BEP 27).
    pub(super) fn show(&self) {
        if !self.info.is_private() {
            let hashes = self.info.info_hashes();
            self.services.lsd.announce(&hashes);
            if let Some(dht) = &self.services.dht {
                let is_seed = self.crew.machine().stats().left == 0;
                hashes.names().for_each(|name| dht.add(name, is_seed));
            }
        }
    }

    /// Is no longer found without a tracker.
    pub(super) fn hide(&self) {
        self.services.hide(&self.info.info_hashes());
    }
}
