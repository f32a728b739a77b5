//! What came of a simulation.

use std::fmt;
use std::time::Duration;

/// One node at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// When it had everything, since the start of the simulation. Zero for seeds.
    pub completed: Option<Duration>,
    /// Payload bytes it received.
    pub downloaded: u64,
    /// Payload bytes it received in vain.
    pub wasted: u64,
    /// Payload bytes it sent, to each node.
    pub sent_to: Vec<u64>,
    /// When it had sent every block at least once, since the start of the simulation.
    pub sent_all: Option<Duration>,
    /// Payload bytes it sent that it had sent before.
    pub sent_again: u64,
    /// Times it had the optimistic slot of each node.
    pub optimistic: Vec<u32>,
    /// Nodes it banned.
    pub banned: Vec<usize>,
    /// The most memory its unverified pieces took.
    pub memory_peak: u64,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// How long it went on in the simulated world.
    pub time: Duration,
    /// The nodes, as in the scenario.
    pub nodes: Vec<NodeReport>,
    /// Promises that were broken. Empty is what one wants.
    pub breaches: Vec<String>,
    /// A digest of every output of every machine, in order.
    pub trace: u64,
    /// Events of the simulated world.
    pub events: u64,
    /// Blocks that arrived.
    pub blocks: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.nodes.iter().filter(|node| node.completed.is_some()).count();
        let wasted: u64 = self.nodes.iter().map(|node| node.wasted).sum();
        write!(
            f,
            "seed {}: {done} of {} nodes done after {:.1} s, {} blocks, {wasted} bytes wasted, {} events, trace {:016x}",
            self.seed,
            self.nodes.len(),
            self.time.as_secs_f64(),
            self.blocks,
            self.events,
            self.trace
        )?;
        self.breaches.iter().try_for_each(|breach| write!(f, "\n  {breach}"))
    }
}
