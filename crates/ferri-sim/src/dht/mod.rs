//! Many nodes of the DHT on a virtual internet.
//!
//! [`run`] lets the real `ferri_dht::Node`s of a [`Scenario`] join through a few routers, live through loss, NAT and
//! churn, announce peers and look for them, with or without sybils around a target. It counts what lookups cost and find,
//! and watches each promise of the machine; the same scenario and seed give the same [`Report`].

mod flood;
mod gang;
mod host;
mod internet;
mod krpc;
mod probe;
mod report;
mod scenario;
mod watch;
mod world;

pub use report::{FloodReport, Lookups, Report, Sizes, quantile};
pub use scenario::{Families, Flooding, Networks, Scenario, Sybils};
pub use world::{run, run_and_keep};
