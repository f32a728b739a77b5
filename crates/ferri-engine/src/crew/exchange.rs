//! The info dictionary is here: a machine that knows peers makes room for one that knows pieces.

use std::time::Instant;

use ferri_metainfo::Info;
use ferri_swarm::{HandOver, Input, MetadataSwarm, Swarm};

use super::{Base, Crew, Names, Permit};
use crate::trace_file::Traced;

impl Crew<MetadataSwarm> {
    /// Goes on with a swarm that `make` makes. Connections, dials and announces under way are not touched: their tasks do
    /// not notice. What the machine learnt becomes the first inputs of the swarm. Poll first: outputs that wait are lost.
    pub(crate) fn exchange(
        self,
        info: &Info,
        names: Names,
        permit: Permit,
        make: impl FnOnce() -> Traced<Swarm>,
        now: Instant,
    ) -> Crew<Swarm> {
        let Base { machine, trackers, limits, budget, told, reporter, .. } = self.base;
        let span = self.services.torrent_span(names.handshake.info_hash);
        let HandOver { inputs, disconnects } = machine.into_inner().hand_over(info);
        let base = Base { machine: make(), names, trackers, limits, budget, told, reporter, span };
        let mut crew = Crew {
            base,
            services: self.services,
            peers: self.peers,
            unflushed: self.unflushed,
            claim: self.claim,
            budget_at: self.budget_at,
            permit,
            blocks: self.blocks,
            senders: self.senders,
            is_changed: true,
        };
        for (peer, reason) in disconnects {
            crew.disconnect(peer, reason);
        }
        for input in inputs {
            let is_due = match &input {
                // The torrent has its own.
                Input::Budget { .. } => false,
                // A connection that ended meanwhile reports that to the swarm.
                Input::PeerConnected { peer, .. } => crew.has(*peer),
                _ => true,
            };
            if is_due {
                crew.handle(input, now);
            }
        }
        crew
    }
}
