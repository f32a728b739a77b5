//! Traces: everything that the machines of a session hear and say, as JSON lines, and their replay. No I/O: lines in, lines out.
//!
//! A bug report is a trace, and a trace is a test: a machine has no clock and no chance of its own, so the same inputs at the
//! same times give the same outputs. Each line names its machine ([`Kind`]) and whose it is (`of`: an info hash, or what the
//! session calls it). A trace begins with [`first_line`]; a machine with what it was made of, its seed among it. Times count
//! from the beginning of the trace.
//!
//! Payload is recorded as its length, and is zeros in the replay. Secrets in the URLs of trackers are not written down: a
//! stand-in that is as good for the machine takes the place of each URL. What is left is named in [`machines`].
//!
//! [`Recorder`] makes the lines of one machine, [`Replay`] feeds a whole trace to fresh machines and compares.

mod line;
pub mod machines;
mod record;
mod replay;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod urls;

pub use line::{Kind, VERSION, first_line};
pub use machines::Machine;
pub use record::Recorder;
pub use replay::{Replay, ReplayError, Step, What};
