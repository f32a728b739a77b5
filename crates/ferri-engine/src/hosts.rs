//! What stands in a session's registry: torrents, and searches for those of which only the hash is known.

use std::net::SocketAddr;

use ferri_metainfo::{InfoHash, InfoHashes};
use ferri_swarm::Source;

use crate::crew::Door;
use crate::handshake::Arrival;
use crate::listen;
use crate::lsd::Neighbour;
use crate::registry::Registry;
use crate::torrent::Torrent;

/// Whom peers mean when they name an info hash.
#[derive(Debug, Clone)]
pub(crate) enum Host {
    Torrent(Torrent),
    Search(Door),
}

/// A session's registry.
pub(crate) type Hosts = Registry<Host>;

impl Hosts {
    /// The torrents, in the order of their info hashes.
    pub(crate) fn torrents(&self) -> Vec<Torrent> {
        let torrent = |host| match host {
            Host::Torrent(torrent) => Some(torrent),
            Host::Search(_) => None,
        };
        self.all().into_iter().filter_map(torrent).collect()
    }

    /// The torrent that goes by one of these names.
    pub(crate) fn torrent(&self, hashes: &InfoHashes) -> Option<Torrent> {
        hashes.names().find_map(|name| match self.get(name)? {
            Host::Torrent(torrent) => Some(torrent),
            Host::Search(_) => None,
        })
    }

    /// Ends those that no task will end.
    pub(crate) fn abandon_resting(&self) {
        self.torrents().iter().for_each(Torrent::abandon_resting);
    }

    /// There is news about the session's address or port.
    pub(crate) fn moved(&self) {
        for host in self.all() {
            match host {
                Host::Torrent(torrent) => torrent.look_at_network(),
                Host::Search(search) => search.mail.moved(),
            }
        }
    }

    /// Gives a torrent a task, if it rests.
    pub(crate) fn wake(&self, name: InfoHash) {
        if let Some(Host::Torrent(torrent)) = self.get(name) {
            torrent.wake();
        }
    }

    /// Peers were found by something that looks for all torrents.
    pub(crate) fn found(&self, name: InfoHash, source: Source, addrs: Vec<SocketAddr>) {
        match self.get(name) {
            Some(Host::Torrent(torrent)) => torrent.bring_peers(source, addrs),
            Some(Host::Search(search)) => search.mail.found(source, addrs),
            None => {}
        }
    }

    /// A peer on the local network was heard.
    pub(crate) fn heard(&self, neighbour: Neighbour) {
        match neighbour {
            // A torrent that lacks nothing tries a newcomer, who heard our last announce hardly ever, and once: if
            // it lacks nothing either, they need not meet again.
            Neighbour::New(name, addr) => self.found(name, Source::Lsd, vec![addr]),
            Neighbour::Known(name, addr) => match self.get(name) {
                Some(Host::Torrent(torrent)) => torrent.offer_peers(Source::Lsd, vec![addr]),
                Some(Host::Search(search)) => search.mail.found(Source::Lsd, vec![addr]),
                None => {}
            },
        }
    }
}

impl Host {
    /// Whether the DHT must not hear of it (BEP 27). Of a search that is not known.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, Self::Torrent(torrent) if torrent.info().is_private())
    }
}

impl listen::Host for Host {
    async fn arrive(self, arrival: Arrival) {
        match self {
            Self::Torrent(torrent) => torrent.arrive(arrival).await,
            // It may have ended since.
            Self::Search(search) => drop(search.arrivals.send(arrival).await),
        }
    }
}
