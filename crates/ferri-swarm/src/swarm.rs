//! Input to output: the table of contents of the crate. Each arm is one call into the module that knows.

use std::collections::VecDeque;
use std::time::Instant;

use ferri_metainfo::{Bitfield, Layout};

use crate::input::Input;
use crate::options::SwarmOptions;
use crate::output::Output;
use crate::status::{PeerStatus, Role, SwarmStats};

/// Our side of one swarm. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Swarm {
    have: Bitfield,
    out: VecDeque<Output>,
}

impl Swarm {
    /// A swarm of which we have the pieces `have` (as long as the layout has pieces). `seed` decides everything that is
    /// left to chance.
    pub fn new(_options: SwarmOptions, _layout: Layout, have: Bitfield, _seed: u64, _now: Instant) -> Self {
        Self { have, out: VecDeque::new() }
    }

    /// Takes note of what happened. Never blocks, never fails.
    pub fn handle(&mut self, _input: Input, _now: Instant) {}

    /// What is to be done next. Drain after each `handle`, or after a few.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call `handle(Input::Timeout, now)` at the latest; `None` if only inputs can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Verified pieces.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// What we are in the swarm.
    pub fn role(&self) -> Role {
        Role::Leech
    }

    /// Totals and rates.
    pub fn stats(&self) -> SwarmStats {
        SwarmStats::default()
    }

    /// The connections, in the order they were made.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        std::iter::empty()
    }
}
