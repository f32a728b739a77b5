//! The engine over real sockets on loopback and real files in a temporary folder. Every test waits for a condition.
#![allow(clippy::unwrap_used, missing_docs)]

mod disk;
mod files;
mod hostile;
mod hybrid;
mod limits;
mod magnet;
mod many;
mod moving;
mod network;
mod reader;
mod removal;
mod resume;
mod session;
mod states;
mod store;
mod support;
mod trace;
mod trackers;
mod transfer;
