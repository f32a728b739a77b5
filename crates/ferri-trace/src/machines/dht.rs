//! The node of the DHT. Datagrams are written down as they are, in hex.

use std::time::Instant;

use ferri_dht::{Input, Node, Options, Output, State};
use serde::{Deserialize, Serialize};

use super::Machine;
use crate::line::Kind;

/// What a [`Node`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStart {
    /// How it behaves.
    pub options: Options,
    /// What was saved.
    pub state: Option<State>,
    /// Everything that is left to chance: ids, transactions, tokens.
    pub seed: [u8; 32],
}

impl Machine for Node {
    const KIND: Kind = Kind::Dht;
    /// Some hours of a quiet node; a busy one must not fill the disk.
    const BYTES_MAX: u64 = 64 << 20;
    type Start = NodeStart;
    type Input = Input;
    type Output = Output;
    type Mask = ();

    fn begin(start: NodeStart, now: Instant) -> Result<Self, &'static str> {
        let NodeStart { options, state, seed } = start;
        Ok(Self::new(options, state, seed, now))
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
        format!("{output:?}")
    }
}
