//! Talking to and being a BitTorrent tracker, without I/O.

pub mod announce;
pub mod exchange;
pub mod http;
pub mod limits;
mod peers;
mod random;
pub mod schedule;
pub mod server;
mod siphash;
pub mod udp;
pub mod url;

pub use announce::{Announce, AnnounceResponse, Event, RetryIn, Scrape, TrackerError};
pub use peers::is_peer_address;
pub use schedule::{
    Input, Notice, Output, Role, Schedule, ScheduleOptions, TrackerId, TrackerState, TrackerStatus,
};
