//! How a search is found without trackers: the DHT and the local network are asked for its info hash until the torrent
//! is known. Whether it is private is not known before; from then on nobody is asked any more for the search, and the torrent
//! decides for itself (BEP 27).

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use ferri_metainfo::InfoHashes;
use tokio::sync::mpsc;

use crate::services::Services;

/// A search that others look for peers for. Dropping it ends that.
pub(super) struct Discovery {
    services: Arc<Services>,
    hashes: InfoHashes,
    neighbours: Vec<mpsc::Receiver<SocketAddr>>,
}

impl Discovery {
    pub(super) fn begin(services: &Arc<Services>, hashes: InfoHashes) -> Self {
        if let Some(dht) = &services.dht {
            hashes.names().for_each(|name| dht.find(name));
        }
        let neighbours = services.lsd.listen(&hashes);
        Self { services: services.clone(), hashes, neighbours }
    }

    /// There are too few peers.
    pub(super) fn want_peers(&self) {
        if let Some(dht) = &self.services.dht {
            self.hashes.names().for_each(|name| dht.want(name));
        }
    }

    /// A peer on the local network. What the DHT finds comes by the search's door.
    pub(super) async fn neighbour(this: Option<&mut Self>) -> SocketAddr {
        let Some(this) = this else { return std::future::pending().await };
        std::future::poll_fn(|context| {
            let mut found = this.neighbours.iter_mut().map(|neighbours| neighbours.poll_recv(context));
            // One that is closed never has anything more.
            found
                .find_map(|found| if let Poll::Ready(Some(addr)) = found { Some(addr) } else { None })
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        if let Some(dht) = &self.services.dht {
            self.hashes.names().for_each(|name| dht.remove(name));
        }
    }
}
