//! How a search is found without trackers: the DHT and the local network are asked for its info hash until the torrent
//! is known. Whether it is private is not known before; from then on nobody is asked any more for the search, and the torrent
//! decides for itself (BEP 27).

use std::net::SocketAddr;
use std::sync::Arc;

use ferri_metainfo::InfoHash;
use tokio::sync::mpsc;

use crate::session::Shared;

/// A search that others look for peers for. Dropping it ends that.
pub(super) struct Discovery {
    shared: Arc<Shared>,
    info_hash: InfoHash,
    neighbours: mpsc::Receiver<SocketAddr>,
}

impl Discovery {
    pub(super) fn begin(shared: &Arc<Shared>, info_hash: InfoHash) -> Self {
        if let Some(dht) = &shared.dht {
            dht.find(info_hash);
        }
        Self { shared: shared.clone(), info_hash, neighbours: shared.lsd.listen(info_hash) }
    }

    /// There are too few peers.
    pub(super) fn want_peers(&self) {
        if let Some(dht) = &self.shared.dht {
            dht.want(self.info_hash);
        }
    }

    /// A peer on the local network. What the DHT finds comes by the search's door.
    pub(super) async fn neighbour(this: Option<&mut Self>) -> SocketAddr {
        if let Some(this) = this
            && let Some(addr) = this.neighbours.recv().await
        {
            return addr;
        }
        std::future::pending().await
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        if let Some(dht) = &self.shared.dht {
            dht.remove(self.info_hash);
        }
    }
}
