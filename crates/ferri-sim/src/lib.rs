//! Swarms on a virtual network with a virtual clock (development only).
//!
//! [`run`] lets the nodes of a [`Scenario`] find each other through a little tracker and exchange a torrent: real
//! `ferri_swarm::Swarm`s, links with latency and rates, connections that break, nodes that lie, stall, come late or
//! quit. A minute of it takes milliseconds. Meanwhile it watches that the machines keep their promises and writes down
//! every breach in the [`Report`]; the same scenario and seed give the same report.
//!
//! Blocks carry no payload, only whether they are genuine. Bytes on the wire are `ferri-wire`'s business and not here.
//!
//! [`Chance`] is the one source of repeatable numbers of all development-only crates.
//!
//! [`disk`] is the other half: a disk with a power switch. [`dht`] is the third: a network of nodes of the DHT. [`trackers`]
//! is the fourth: the announces of a whole session.

mod chance;
pub mod dht;
pub mod disk;
mod node;
mod report;
mod scenario;
pub mod trackers;
mod watch;
mod world;

pub use chance::Chance;
pub use report::{NodeReport, Report};
pub use scenario::{Kind, Node, Scenario};
pub use world::run;
