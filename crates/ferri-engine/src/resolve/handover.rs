//! What a search leaves to its torrent: connections that nobody reads from for a moment, and everything that was learnt.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::Info;
use ferri_swarm::{HandOver, Input, MetadataSwarm, Output, PeerKey};
use ferri_wire::Message;
use tokio::sync::mpsc;

use super::farewell::{Answers, farewell};
use crate::events::EventLog;
use crate::handshake::Arrival;
use crate::mailbox::Mailbox;
use crate::outbox::Outbox;
use crate::peer::{Report, Wire};
use crate::registry::Entry;
use crate::services::Services;
use crate::trackers::Trackers;

/// A search's channel of arrivals: dials that are under way end in it.
pub(crate) type Arrivals = (mpsc::Sender<Arrival>, mpsc::Receiver<Arrival>);

/// What a search has when it ends.
#[derive(Debug)]
pub(crate) struct Estate {
    /// Each has its `PeerConnected` in `inputs`.
    pub(crate) wires: BTreeMap<PeerKey, Wire>,
    /// What the torrent's swarm is told first.
    pub(crate) inputs: Vec<Input>,
    pub(crate) trackers: Trackers,
    pub(crate) arrivals: Arrivals,
    pub(crate) answers: Answers,
    /// What was found and not looked at yet.
    pub(crate) mail: Arc<Mailbox>,
    /// Incoming peers are sent to the search until the torrent takes its place.
    pub(crate) entry: Option<Entry>,
}

/// Connections that are being taken from their tasks.
#[derive(Debug, Default)]
pub(super) struct Release {
    /// Their tasks have not let go yet.
    waiting: BTreeSet<PeerKey>,
    wires: BTreeMap<PeerKey, Wire>,
    /// What the machine says while they are on their way.
    late: BTreeMap<PeerKey, Vec<Message>>,
}

impl Release {
    /// Tells the connections' tasks to let go, between two messages.
    pub(super) fn begin(outboxes: impl IntoIterator<Item = (PeerKey, Outbox)>) -> Self {
        let mut release = Self::default();
        for (key, outbox) in outboxes {
            outbox.release();
            release.waiting.insert(key);
        }
        release
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A connection's task reports, for the last time or before that.
    pub(super) fn report(
        &mut self,
        machine: &mut MetadataSwarm,
        peer: PeerKey,
        report: Report,
        now: Instant,
    ) {
        match report {
            Report::Messages(messages) => {
                for message in messages {
                    machine.handle(Input::PeerMessage { peer, message }, now);
                }
            }
            Report::Released(wire) => {
                if self.waiting.remove(&peer) {
                    self.wires.insert(peer, *wire);
                }
            }
            Report::Gone(_) => {
                self.waiting.remove(&peer);
                machine.handle(Input::PeerDisconnected { peer }, now);
            }
            // Nobody has a block of a torrent that is not known.
            Report::Sent(_) | Report::Unreadable { .. } => {}
        }
    }

    /// Carries out what the machine still wants.
    pub(super) fn drain(&mut self, machine: &mut MetadataSwarm, dial: impl Fn(SocketAddr)) {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Send { peer, message } => self.late.entry(peer).or_default().push(message),
                Output::Disconnect { peer, .. } => self.close(peer),
                Output::Connect { addr } => dial(addr),
                _ => {}
            }
        }
    }

    /// The connection ends, when its task has let go at the latest.
    fn close(&mut self, peer: PeerKey) {
        self.waiting.remove(&peer);
        self.wires.remove(&peer);
    }

    /// The connections that stay, and what the torrent's swarm hears first.
    pub(super) fn end(
        mut self,
        machine: MetadataSwarm,
        info: &Info,
    ) -> (BTreeMap<PeerKey, Wire>, Vec<Input>) {
        let HandOver { inputs, disconnects } = machine.hand_over(info);
        for (peer, reason) in disconnects {
            tracing::debug!(?peer, %reason, "not handed over");
            self.close(peer);
        }
        let is_known: BTreeSet<PeerKey> = inputs.iter().filter_map(connected).collect();
        self.wires.retain(|peer, _| is_known.contains(peer));
        for (peer, messages) in self.late {
            if let Some(wire) = self.wires.get_mut(&peer) {
                wire.say(messages);
            }
        }
        (self.wires, inputs)
    }
}

fn connected(input: &Input) -> Option<PeerKey> {
    match input {
        Input::PeerConnected { peer, .. } => Some(*peer),
        _ => None,
    }
}

impl Estate {
    /// Closes everything and tells the trackers. Nobody wants it.
    pub(crate) async fn end(self: Box<Self>, services: &Arc<Services>, events: &EventLog) {
        let Self { trackers, answers, wires, entry, .. } = *self;
        drop((wires, entry));
        farewell(services, events, trackers, answers).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ferri_bencode::Encoder;
    use ferri_metainfo::InfoHashes;
    use ferri_storage::BlockPool;
    use ferri_swarm::{Direction, Source, SwarmOptions};
    use ferri_wire::{Handshake, PeerId, Reserved};

    use super::*;
    use crate::peer::memory;

    fn info(private: i64) -> Info {
        let mut encoder = Encoder::new();
        encoder.begin_dict().key(b"length").int(1).key(b"name").bytes(b"a");
        encoder.key(b"piece length").int(16 << 10).key(b"pieces").bytes(&[7; 20]);
        encoder.key(b"private").int(private).end();
        Info::parse(&encoder.into_bytes()).unwrap()
    }

    /// Which of a tracker's, a peer's and the DHT's peers stay connected to such a torrent.
    fn handed_over(info: &Info) -> (Vec<PeerKey>, Vec<Source>) {
        let now = Instant::now();
        let info_hash = info.info_hashes().wire();
        let options = SwarmOptions::new(info_hash, PeerId::new("FS", [0; 4], [1; 12]));
        let wanted = InfoHashes { v1: Some(info_hash), v2: None };
        let mut machine = MetadataSwarm::new(options, wanted, 7, now);
        let mut release = Release::default();
        for (number, source) in (1..).zip([Source::Tracker, Source::Pex, Source::Dht]) {
            let addr = SocketAddr::from(([203, 0, 113, number], 6881));
            machine.handle(Input::PeersFound { source, addrs: vec![addr] }, now);
            let peer = PeerKey(u64::from(number));
            let peer_id = PeerId::new("XX", [0; 4], [number; 12]);
            let handshake = Handshake { reserved: Reserved::default().with_extensions(), info_hash, peer_id };
            machine.handle(
                Input::PeerConnected { peer, addr, direction: Direction::Outgoing, handshake, crowd: 0 },
                now,
            );
            release.waiting.insert(peer);
            let (link, _) = memory::pair([addr, addr], 1);
            let wire = Box::new(Wire::new(link, &BlockPool::new(1)));
            release.report(&mut machine, peer, Report::Released(wire), now);
        }
        assert!(release.is_over());
        release.drain(&mut machine, |_| ());
        let (wires, inputs) = release.end(machine, info);
        let sources = inputs.iter().filter_map(|input| match input {
            Input::PeersFound { source, .. } | Input::Dialling { source, .. } => Some(*source),
            _ => None,
        });
        (wires.into_keys().collect(), sources.collect())
    }

    #[test]
    fn what_strangers_named_does_not_reach_a_private_torrent() {
        let (peers, sources) = handed_over(&info(1));
        assert_eq!(peers, [PeerKey(1)]);
        assert!(!sources.iter().any(|source| source.is_public()), "{sources:?}");
        let (peers, _) = handed_over(&info(0));
        assert_eq!(peers, [PeerKey(1), PeerKey(2), PeerKey(3)]);
    }
}
