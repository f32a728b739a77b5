//! Being a tracker: swarms in memory, and the answers over HTTP and UDP. No I/O: requests in, replies out.
//!
//! Made for a company, a lab, a test; not for the whole internet. Everything is bounded and forgotten in time.

mod http;
mod registry;
mod stats;
mod swarm;
mod udp;

pub use http::{Reply, http_reply};
pub use registry::{Counters, IpParameter, Refusal, Registry, RegistryOptions};
pub use udp::udp_reply;
