//! The machines that are traced, and what they are made of.
//!
//! What a trace tells to those who read it: info hashes, addresses of peers and nodes, hosts of trackers, what trackers answered,
//! and the seeds of the machines. The seed of a DHT node makes the tokens that it gives to others, until it ends.

#[cfg(feature = "dht")]
mod dht;
mod schedule;
mod swarm;

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::line::Kind;
#[cfg(feature = "dht")]
pub use dht::NodeStart;
pub use schedule::{PaceStart, ScheduleStart};
pub use swarm::{SearchStart, SwarmStart};

/// A machine as a trace sees it.
pub trait Machine: Sized {
    /// The word in its lines.
    const KIND: Kind;
    /// Bytes that its lines have together, at most; then its trace ends.
    const BYTES_MAX: u64 = u64::MAX;
    /// Everything it is made of, its seed among it.
    type Start: Clone + fmt::Debug + Serialize + DeserializeOwned;
    /// What happens to it.
    type Input: Clone + fmt::Debug + Serialize + DeserializeOwned;
    /// What it wants done or tells.
    type Output;
    /// What its lines do not say.
    type Mask: Default + fmt::Debug;

    /// Makes it.
    ///
    /// # Errors
    /// What does not fit in `start`.
    fn begin(start: Self::Start, now: Instant) -> Result<Self, &'static str>;

    /// Takes note of what happened.
    fn handle(&mut self, input: Self::Input, now: Instant);

    /// What to do; ask until `None`.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When its timeout is to be handed in.
    fn poll_timeout(&self) -> Option<Instant>;

    /// What it is made of, as it is written down.
    fn shown_start<'a>(start: &'a Self::Start, _mask: &mut Self::Mask) -> Cow<'a, Self::Start> {
        Cow::Borrowed(start)
    }

    /// An input, as it is written down.
    fn shown_input<'a>(input: &'a Self::Input, _mask: &mut Self::Mask) -> Cow<'a, Self::Input> {
        Cow::Borrowed(input)
    }

    /// An output as people and comparisons see it. Instants are told as the time since `since`, when the trace began.
    fn text(output: &Self::Output, mask: &Self::Mask, since: Instant) -> String;
}
