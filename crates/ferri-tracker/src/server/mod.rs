//! Being a tracker: swarms in memory, and the answers over HTTP and UDP. No I/O: requests in, replies out.
//!
//! A [`Registry`] is asked by any number of threads at once. An announce costs the same in a swarm of ten peers and in one of a
//! million, an answer allocates nothing, and everything is bounded and forgotten in time. Who may ask at all is decided by
//! [`Access`], which is handed in with each request so that it can be swapped while the tracker runs.

pub mod access;
mod clock;
mod counters;
mod crowds;
mod group;
mod hashing;
pub mod http;
mod index;
mod ledger;
mod metrics;
mod path;
mod query;
mod refusal;
mod registry;
mod shard;
pub mod snapshot;
mod stats;
mod swarm;
pub mod udp;
mod words;

pub use access::Access;
pub use counters::{Counters, Protocol, Requests};
pub use registry::{Census, IpParameter, PEERS_LIMIT, Registry, RegistryOptions};
