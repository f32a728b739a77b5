//! Tests of the crate as its users see it: whole lives of a schedule, and client against server.
#![allow(clippy::unwrap_used, missing_docs)]

mod asking;
mod bytes;
mod editing;
mod life;
mod machine;
mod pacing;
mod transports;
mod world;
