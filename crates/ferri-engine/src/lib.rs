//! The library: sessions, torrents, sockets, trackers. The only crate with a runtime.
//!
//! ```no_run
//! # async fn example(bytes: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
//! use ferri_engine::{AddTorrent, Session, SessionOptions};
//! use ferri_metainfo::Metainfo;
//!
//! let session = Session::start(SessionOptions::new("/var/lib/ferriswarm")).await?;
//! let torrent = session.add(AddTorrent::new(Metainfo::parse(&bytes)?, "/srv/downloads")).await?;
//! torrent.wait_done().await;
//! session.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! All are on unless a build says otherwise ([`Feature`]): `dht`, `lsd` (local discovery), `port-mapping` (PCP, NAT-PMP, UPnP) and
//! `tls` (HTTPS). What a build leaves out says so when it is asked for: [`WhyOff::NotBuilt`], [`Error::NotBuilt`],
//! [`TrackerRefusal::NotBuilt`].
//!
//! # How it is built
//! Every torrent is a task that owns two machines without I/O, a `ferri_swarm::Swarm` (a `MetadataSwarm` while a magnet
//! link is all that is known of it) and a `ferri_tracker::Schedule`, and carries out what they say. Every connection is a task that owns a socket. Disk
//! threads hash, write and read. Messages go one way, peer to torrent to disk, through bounded channels; what comes
//! back never waits. Callers hold handles: they ask by message and look at snapshots.
//!
//! Start reading at [`Session`], then `torrent/task.rs` (the loop), `crew/mod.rs` (its peers), `peer/mod.rs` (a connection) and
//! `torrent/disk.rs` (what becomes of a block).

mod address_policy;
mod check;
mod clock;
mod crew;
mod crowd;
#[cfg_attr(not(feature = "dht"), path = "dht/off.rs")]
pub mod dht;
mod egress;
mod error;
mod events;
mod exchange_turns;
mod external;
mod feature;
mod feed;
mod fetch;
mod fetch_error;
mod greetings;
mod handshake;
mod hosts;
mod http;
mod keeper;
mod listen;
#[cfg_attr(not(feature = "lsd"), path = "lsd/off.rs")]
mod lsd;
mod mailbox;
mod network;
mod note;
mod options;
mod pace;
mod panics;
mod peer;
mod port_mapping;
mod rate;
mod refused;
mod registry;
mod route;
mod scrape;
mod services;
mod session;
mod session_options;
mod share;
mod status;
pub mod store;
mod torrent;
mod trace_file;
mod tracker_client;
mod tracker_udp;
mod trackers;
mod udp;
mod watch;
mod why_off;
mod wiring;

pub use check::{locate, verify, verify_places};
pub use egress::{LookupError, look_up};
pub use error::{Error, Unsupported};
pub use events::{Events, EventsError, SessionEvent, SessionEvents};
pub use feature::{Feature, NotBuilt};
pub use feed::Changes;
pub use fetch::{Fetched, document as fetch_document, torrent as fetch_torrent};
pub use fetch_error::FetchError;
pub use http::USER_AGENT;
pub use network::{LsdStatus, NetworkStatus};
pub use note::Note;
pub use options::{AddTorrent, Check, FilePriority, RateLimits, Stored, TorrentSource};
pub use port_mapping::{MappedPort, MappingFailure, MappingProtocol, PortMappingStatus, Transport};
pub use scrape::Scraper;
pub use session::{Restored, Session};
pub use session_options::{LimitsError, SessionLimits, SessionOptions};
pub use status::{
    AllTime, ErrorReason, Event, FileStatus, MovingStatus, PeerEncryption, PeerStatus, Resolving, Said,
    Sources, State, StopReason, Stopwatch, TorrentStatus, TrackerStatus, Wait,
};
pub use torrent::{
    FileReader, FilesError, PieceMap, ReadError, Rechecked, Refused, Torrent, TorrentSettings, known_torrent,
};
pub use trackers::{RefusedTracker, TrackerRefusal};
pub use watch::{Ended, Watch};
pub use why_off::WhyOff;

/// What [`Scraper`] answers.
pub use ferri_tracker::Scrape;

/// Whether connections are encrypted.
pub use ferri_wire::mse::Encryption;

/// Why a tracker or a peer is of no use, and how a tracker stands: each says itself in words.
pub use ferri_swarm::{DisconnectReason, Misbehavior};
pub use ferri_tracker::TrackerError;
pub use ferri_tracker::schedule::TrackerState;

pub use ferri_storage::{
    Alias, CheckPlace, Conflict, Data, Found, Halt, Left, MemoryStore, Moved, PieceStore, Places, Removed,
    StorageError, atomic_write, check_folder, create_state_folder, is_out_of_files, unfinished_beside,
};
/// Recorded runs of a session's machines, and their replay.
pub use ferri_trace as trace;
