//! Being a tracker: swarms in memory, and the answers over HTTP and UDP. No I/O: requests in, replies out.
//!
//! Made for a company, a lab, a test; not for the whole internet. Everything is bounded and forgotten in time.

pub mod access;
pub mod http;
mod registry;
mod stats;
mod swarm;
pub mod udp;

pub use access::Access;
pub use registry::{Census, Counters, IpParameter, Refusal, Registry, RegistryOptions};
