//! Our side of a swarm whose info dictionary we lack ([BEP 9]): a second machine, that ends where [`Swarm`](crate::Swarm) begins.
//!
//! [BEP 9]: https://www.bittorrent.org/beps/bep_0009.html

use std::collections::VecDeque;
use std::time::Instant;

use ferri_metainfo::{Info, InfoHashes};

use crate::input::{Input, PeerKey};
use crate::options::SwarmOptions;
use crate::output::Output;
use crate::reason::DisconnectReason;
use crate::status::PeerStatus;

/// Bytes of an info dictionary that is fetched from peers, at most. The largest real torrents end near 30 MiB.
pub const METADATA_BYTES_MAX: u32 = 32 << 20;

/// How far we are, in numbers that can be told in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataStats {
    /// Parts of 16 KiB that have arrived, of the dictionary that is nearest to completion.
    pub parts_had: u32,
    /// Parts of it in all; 0 while no peer has told a size.
    pub parts: u32,
    /// Its size in bytes, in the words of the peers; 0 while none has told one.
    pub size: u32,
    /// Connections.
    pub peers: usize,
    /// Connections being opened.
    pub connecting: usize,
    /// Addresses known.
    pub candidates: usize,
    /// Peers that have been asked for parts and have not answered yet.
    pub asked: usize,
    /// Peers that said they do not serve metadata: no BEP 10, no `ut_metadata`, or no size.
    pub without: usize,
    /// Peers that rejected what they were asked for, and have not sent anything since.
    pub rejecting: usize,
    /// Dictionaries that were complete and had the wrong hash.
    pub corrupt: u32,
    /// Bytes of everything received, message lengths included.
    pub protocol_down: u64,
    /// Bytes of everything sent, message lengths included.
    pub protocol_up: u64,
    /// Whether the dictionary was found.
    pub done: bool,
}

/// What [`MetadataSwarm::hand_over`] gives: what a fresh [`Swarm`](crate::Swarm) is told first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HandOver {
    /// To be handled by the swarm in this order, before anything else.
    pub inputs: Vec<Input>,
    /// Connections that are not handed over and have to be closed, and why.
    pub disconnects: Vec<(PeerKey, DisconnectReason)>,
}

/// Looks for the info dictionary of a torrent that is known by its hashes only. Driven as [`Swarm`](crate::Swarm) is;
/// inputs about pieces are ignored.
#[derive(Debug)]
pub struct MetadataSwarm {
    options: SwarmOptions,
    wanted: InfoHashes,
    out: VecDeque<Output>,
}

impl MetadataSwarm {
    /// A search for the info dictionary that has all the hashes `wanted`. `options` are those the torrent's
    /// [`Swarm`](crate::Swarm) will have (`metadata` and `private` are of no effect). `seed` decides everything that is left to chance.
    pub fn new(options: SwarmOptions, wanted: InfoHashes, seed: u64, now: Instant) -> Self {
        let _ = (seed, now);
        Self { options, wanted, out: VecDeque::new() }
    }

    /// Takes note of what happened. Never blocks, never fails.
    pub fn handle(&mut self, input: Input, now: Instant) {
        let _ = (input, now, &self.options, &self.wanted);
    }

    /// What is to be done next. Drain after each `handle`, or after a few.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call `handle(Input::Timeout, now)` at the latest; `None` if only inputs can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// How far we are.
    pub fn stats(&self) -> MetadataStats {
        MetadataStats::default()
    }

    /// The connections.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        std::iter::empty()
    }

    /// Ends the search: everything that was learnt, as the first inputs of the torrent's [`Swarm`](crate::Swarm).
    ///
    /// Connections keep their keys and go on; their `PeerConnected` comes again, so that the swarm announces them by events again.
    /// Dials go on too and are answered to the swarm. Outputs that were not polled yet are lost: drain first. When `info` is
    /// private (BEP 27), what came from the DHT, PEX and LSD is left out: candidates are forgotten, connections closed.
    pub fn hand_over(self, info: &Info) -> HandOver {
        let _ = info;
        HandOver::default()
    }
}
