//! Connections over a simulated network.

#![allow(clippy::unwrap_used, missing_docs)]

mod congestion;
mod endings;
mod measure;
mod network;
mod properties;
mod stream;
mod tcp;
mod transfers;
