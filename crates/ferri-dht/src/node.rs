//! The node: routes what happens to the parts that it concerns.

use std::collections::VecDeque;
use std::time::Instant;

use crate::id::NodeId;
use crate::input::Input;
use crate::options::Options;
use crate::output::{Family, Output};
use crate::state::State;
use crate::status::{BucketStatus, NodeStatus};

/// A DHT node.
#[derive(Debug)]
pub struct Node {
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that begins to look for its place in the network at once. `seed` is secret and random: ids, transaction
    /// ids and tokens come from it.
    #[must_use]
    pub fn new(_options: Options, _state: Option<State>, _seed: [u8; 32], _now: Instant) -> Self {
        Self { outputs: VecDeque::new() }
    }

    /// Deals with what happened. Time does not run backwards.
    pub fn handle(&mut self, _input: Input, _now: Instant) {}

    /// The next thing to carry out; `None` when there is none until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`]. `None` while no family is on.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Our id in a network. `None` when it is off.
    #[must_use]
    pub fn id(&self, _family: Family) -> Option<NodeId> {
        None
    }

    /// Ids and nodes for the next run.
    #[must_use]
    pub fn state(&self) -> State {
        State::default()
    }

    /// The node at a glance.
    #[must_use]
    pub fn status(&self, _now: Instant) -> NodeStatus {
        NodeStatus {
            families: Vec::new(),
            read_only: false,
            lookups: 0,
            queries_open: 0,
            torrents: 0,
            peers: 0,
            items: 0,
            counts: crate::status::Counts::default(),
        }
    }

    /// The routing table of a family, the bucket that is farthest from us first. Empty when the family is off.
    #[must_use]
    pub fn table(&self, _family: Family, _now: Instant) -> Vec<BucketStatus> {
        Vec::new()
    }
}
