//! What the fuzzers run. Each target takes arbitrary bytes, feeds them to one decoder or machine, and asserts what must
//! hold whatever they were. The programs in `fuzz_targets/` call these functions with a fuzzer's bytes, the test in
//! `tests/replay.rs` with those kept in `corpus/`.

#![forbid(unsafe_code)]

mod bencode;
mod dht;
mod hash;
mod ip_filter;
mod journal;
mod lsd;
mod metadata;
mod mse;
mod schedule;
mod script;
pub mod seeds;
mod swarm;
mod torrent;
mod trace;
mod tracker;
mod tracker_files;
mod tracker_request;
mod tracker_server;
mod utp;
mod wire;

pub use bencode::bencode;
pub use dht::{dht_node, dht_state, krpc};
pub use hash::hash;
pub use ip_filter::ip_filter;
pub use journal::journal;
pub use lsd::lsd;
pub use metadata::metadata_swarm;
pub use mse::mse;
pub use schedule::schedule;
pub use swarm::swarm;
pub use torrent::{bitfield, create, info, magnet, metainfo, names};
pub use trace::trace;
pub use tracker::{tracker_announce, tracker_packet, tracker_scrape, tracker_udp, tracker_url};
pub use tracker_files::{tracker_lists, tracker_snapshot};
pub use tracker_request::tracker_request;
pub use tracker_server::tracker_server;
pub use utp::{utp_packet, utp_stream};
pub use wire::{extension, handshake, metadata, pex, wire};

/// One function to be fed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the function, the program, and the folder in `corpus/`.
    pub name: &'static str,
    /// The function. Panics when something does not hold.
    pub run: fn(&[u8]),
    /// How much memory a byte of input may cost at the worst moment, in bytes, beyond [`MEMORY_BASE`].
    pub memory_factor: usize,
}

/// Memory that every target may use whatever its input, in bytes.
pub const MEMORY_BASE: usize = 1 << 20;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "bencode", run: bencode, memory_factor: 64 },
    Target { name: "bitfield", run: bitfield, memory_factor: 128 },
    // A few bytes of script make files of 64 KiB.
    Target { name: "create", run: create, memory_factor: 64 << 10 },
    // A byte of script makes messages, nodes and lookups; an item has a thousand bytes.
    Target { name: "dht_node", run: dht_node, memory_factor: 64 << 10 },
    Target { name: "dht_state", run: dht_state, memory_factor: 512 },
    Target { name: "extension", run: extension, memory_factor: 64 },
    Target { name: "handshake", run: handshake, memory_factor: 64 },
    // A byte of script makes some KiB of messages.
    Target { name: "hash", run: hash, memory_factor: 4096 },
    Target { name: "info", run: info, memory_factor: 128 },
    Target { name: "ip_filter", run: ip_filter, memory_factor: 256 },
    Target { name: "journal", run: journal, memory_factor: 4096 },
    Target { name: "krpc", run: krpc, memory_factor: 1024 },
    Target { name: "lsd", run: lsd, memory_factor: 64 },
    Target { name: "magnet", run: magnet, memory_factor: 128 },
    Target { name: "metadata", run: metadata, memory_factor: 64 },
    Target { name: "metadata_swarm", run: metadata_swarm, memory_factor: 64 << 10 },
    Target { name: "metainfo", run: metainfo, memory_factor: 128 },
    Target { name: "mse", run: mse, memory_factor: 64 },
    Target { name: "names", run: names, memory_factor: 1024 },
    Target { name: "pex", run: pex, memory_factor: 64 },
    Target { name: "schedule", run: schedule, memory_factor: 4096 },
    Target { name: "swarm", run: swarm, memory_factor: 16 << 10 },
    // A line of a trace can tell of a torrent of two million pieces.
    Target { name: "trace", run: trace, memory_factor: 1 << 20 },
    Target { name: "tracker_announce", run: tracker_announce, memory_factor: 64 },
    // A fault is told with what is in its line, twice.
    Target { name: "tracker_lists", run: tracker_lists, memory_factor: 1024 },
    Target { name: "tracker_packet", run: tracker_packet, memory_factor: 64 },
    Target { name: "tracker_request", run: tracker_request, memory_factor: 64 },
    Target { name: "tracker_scrape", run: tracker_scrape, memory_factor: 64 },
    Target { name: "tracker_server", run: tracker_server, memory_factor: 256 },
    Target { name: "tracker_snapshot", run: tracker_snapshot, memory_factor: 256 },
    Target { name: "tracker_udp", run: tracker_udp, memory_factor: 64 },
    Target { name: "tracker_url", run: tracker_url, memory_factor: 64 },
    Target { name: "utp_packet", run: utp_packet, memory_factor: 64 },
    // A few bytes of script make packets that wait.
    Target { name: "utp_stream", run: utp_stream, memory_factor: 4096 },
    Target { name: "wire", run: wire, memory_factor: 64 },
];
