//! Our side of a swarm, and the search for an info dictionary.

use std::time::Instant;

use ferri_metainfo::{Bitfield, InfoHash, InfoHashV2, InfoHashes, Layout};
use ferri_swarm::{Input, MetadataSwarm, Output, Swarm, SwarmOptions};
use serde::{Deserialize, Serialize};

use super::Machine;
use crate::line::Kind;

/// What a [`Swarm`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwarmStart {
    /// How it behaves.
    pub options: SwarmOptions,
    /// Its torrent.
    pub layout: Layout,
    /// The pieces that are there.
    pub have: Bitfield,
    /// Everything that is left to chance.
    pub seed: u64,
}

impl Machine for Swarm {
    const KIND: Kind = Kind::Swarm;
    type Start = SwarmStart;
    type Input = Input;
    type Output = Output;
    type Mask = ();

    fn begin(start: SwarmStart, now: Instant) -> Result<Self, &'static str> {
        let SwarmStart { options, layout, have, seed } = start;
        if have.len() != layout.piece_count() {
            return Err("the pieces do not fit the torrent");
        }
        Ok(Self::new(options, layout, have, seed, now))
    }

    fn handle(&mut self, input: Input, now: Instant) {
        self.handle(input, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn text(output: &Output, _: &(), _: Instant) -> String {
        text(output)
    }
}

/// What a [`MetadataSwarm`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SearchStart {
    /// How it behaves.
    pub options: SwarmOptions,
    /// The version 1 hash of the torrent that is sought.
    pub v1: Option<InfoHash>,
    /// Its version 2 hash, in hex. One of the two is there.
    pub v2: Option<String>,
    /// Everything that is left to chance.
    pub seed: u64,
}

impl SearchStart {
    /// For a torrent with these hashes.
    pub fn new(options: SwarmOptions, wanted: InfoHashes, seed: u64) -> Self {
        Self { options, v1: wanted.v1, v2: wanted.v2.map(|hash| hash.to_string()), seed }
    }
}

impl Machine for MetadataSwarm {
    const KIND: Kind = Kind::Search;
    type Start = SearchStart;
    type Input = Input;
    type Output = Output;
    type Mask = ();

    fn begin(start: SearchStart, now: Instant) -> Result<Self, &'static str> {
        let SearchStart { options, v1, v2, seed } = start;
        let v2: Option<InfoHashV2> = match v2 {
            Some(hash) => Some(hash.parse().map_err(|_| "a version 2 hash has 64 hex digits")?),
            None => None,
        };
        if v1.is_none() && v2.is_none() {
            return Err("nothing is sought");
        }
        Ok(Self::new(options, InfoHashes { v1, v2 }, seed, now))
    }

    fn handle(&mut self, input: Input, now: Instant) {
        self.handle(input, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn text(output: &Output, _: &(), _: Instant) -> String {
        text(output)
    }
}

/// Payload and info dictionaries are told as their length.
fn text(output: &Output) -> String {
    match output {
        Output::StoreBlock { block, data } => {
            format!("StoreBlock {{ block: {block:?}, data: {} bytes }}", data.len())
        }
        Output::Metadata { bytes } => format!("Metadata {{ bytes: {} bytes }}", bytes.len()),
        other => format!("{other:?}"),
    }
}
