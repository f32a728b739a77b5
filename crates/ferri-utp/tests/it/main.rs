//! Connections over a simulated network.

#![allow(clippy::unwrap_used, missing_docs)]

mod network;
mod properties;
mod stream;
