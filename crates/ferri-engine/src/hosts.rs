//! What stands in a session's registry, and how it is told what comes from outside.

use std::net::SocketAddr;

use ferri_metainfo::{InfoHash, InfoHashes};
use ferri_swarm::Source;

use crate::handshake::Arrival;
use crate::listen;
use crate::lsd::Neighbour;
use crate::registry::Registry;
use crate::torrent::Torrent;

/// A session's registry.
pub(crate) type Hosts = Registry<Torrent>;

impl Hosts {
    /// The torrents, in the order of their info hashes.
    pub(crate) fn torrents(&self) -> Vec<Torrent> {
        self.all()
    }

    /// The torrent that goes by one of these names.
    pub(crate) fn torrent(&self, hashes: &InfoHashes) -> Option<Torrent> {
        hashes.names().find_map(|name| self.get(name))
    }

    /// Ends those that no task will end.
    pub(crate) fn abandon_resting(&self) {
        self.torrents().iter().for_each(Torrent::abandon_resting);
    }

    /// There is news about the session's address or port.
    pub(crate) fn moved(&self) {
        self.all().iter().for_each(Torrent::look_at_network);
    }

    /// Gives a torrent a task, if it rests.
    pub(crate) fn wake(&self, name: InfoHash) {
        if let Some(torrent) = self.get(name) {
            torrent.wake();
        }
    }

    /// Peers were found by something that looks for all torrents.
    pub(crate) fn found(&self, name: InfoHash, source: Source, addrs: Vec<SocketAddr>) {
        if let Some(torrent) = self.get(name) {
            torrent.bring_peers(source, addrs);
        }
    }

    /// A peer on the local network was heard.
    pub(crate) fn heard(&self, neighbour: Neighbour) {
        match neighbour {
            // A torrent that lacks nothing tries a newcomer, who heard our last announce hardly ever, and once: if
            // it lacks nothing either, they need not meet again.
            Neighbour::New(name, addr) => self.found(name, Source::Lsd, vec![addr]),
            Neighbour::Known(name, addr) => {
                if let Some(torrent) = self.get(name) {
                    torrent.offer_peers(Source::Lsd, vec![addr]);
                }
            }
        }
    }
}

impl listen::Host for Torrent {
    async fn arrive(self, arrival: Arrival) {
        Self::arrive(&self, arrival).await;
    }
}
