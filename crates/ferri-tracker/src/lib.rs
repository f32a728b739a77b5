//! Talking to and being a BitTorrent tracker, without I/O.
//!
//! A tracker introduces peers to each other. A client announces itself to it now and then, and is told addresses.
//!
//! - [`Schedule`] decides for one torrent when to announce, to which of its trackers, and what to say.
//! - [`pace`] spreads the announces of all torrents of a session over time.
//! - [`http`] and [`exchange`] carry one announce or scrape over HTTP and over UDP; [`udp`] has the packets, [`url`] tells
//!   which of the two a tracker speaks.
//! - [`server`] is the other side: a small tracker with its swarms in memory.
//!
//! Sockets, name look-up, TLS and the clock belong to the caller. [`limits`] says what a caller must enforce (time,
//! redirects, bytes read) and what is enforced here. Text from outside is cut to a length and otherwise left as it is;
//! a caller that shows it sanitises it.
//!
//! Spoken are BEP 3, 7, 12, 15, 21, 23, 24, 31, 41 and 48.

pub mod announce;
pub mod exchange;
pub mod http;
pub mod limits;
pub mod pace;
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
    Input, Notice, Output, Role, Schedule, ScheduleOptions, ScheduledTracker, TrackerId, TrackerState,
};
