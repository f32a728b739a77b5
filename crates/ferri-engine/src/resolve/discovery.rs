//! How a search is found without trackers: the DHT and the local network are asked for its info hash until the torrent
//! is known. Whether it is private is not known before; from then on nobody is asked any more for the search, and the torrent
//! decides for itself (BEP 27).

use std::sync::Arc;

use ferri_metainfo::InfoHashes;

use crate::services::Services;

/// A search that others look for peers for. Dropping it ends that.
pub(super) struct Discovery {
    services: Arc<Services>,
    hashes: InfoHashes,
}

impl Discovery {
    pub(super) fn begin(services: &Arc<Services>, hashes: InfoHashes) -> Self {
        services.lsd.announce(&hashes);
        if let Some(dht) = &services.dht {
            hashes.names().for_each(|name| dht.find(name));
        }
        Self { services: services.clone(), hashes }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.services.hide(&self.hashes);
    }
}
