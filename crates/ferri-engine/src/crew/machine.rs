//! What a crew works for: one of the two machines of a torrent.

use ferri_swarm::{Input, MetadataSwarm, Output, PeerStats, Role, Swarm};

use crate::share::Use;
use crate::trackers::{Announced, Totals};

/// A machine that decides about the connections of a torrent. One crew works for one kind of machine, which the compiler
/// knows: there is no dynamic dispatch for a block.
pub(crate) trait Machine: Announced + ferri_trace::Machine<Input = Input, Output = Output> {
    /// What it uses of that which the torrents of a session share.
    fn uses(&self) -> Use;

    /// The torrent's pieces; 0 while they are not known.
    fn piece_count(&self) -> u32;

    /// The connections.
    fn connections(&self) -> Vec<PeerStats>;
}

impl Machine for Swarm {
    fn uses(&self) -> Use {
        let stats = self.stats();
        Use {
            peers: stats.peers,
            dials: stats.connecting,
            memory: stats.open_bytes,
            fetches: self.role() == Role::Leech && 0 < stats.peers,
        }
    }

    fn piece_count(&self) -> u32 {
        self.have().len()
    }

    fn connections(&self) -> Vec<PeerStats> {
        self.peers().collect()
    }
}

impl Machine for MetadataSwarm {
    fn uses(&self) -> Use {
        let stats = self.stats();
        Use { peers: stats.peers, dials: stats.connecting, memory: 0, fetches: false }
    }

    fn piece_count(&self) -> u32 {
        0
    }

    fn connections(&self) -> Vec<PeerStats> {
        self.peers().collect()
    }
}

/// Of a torrent that is not known nothing is here.
impl Announced for MetadataSwarm {
    fn totals(&self) -> Totals {
        let role = ferri_tracker::schedule::Role::Downloading;
        Totals { uploaded: 0, downloaded: 0, have: 0, role }
    }
}
