//! What a caller sees: snapshots of a torrent and the events between them. None of it is a promise about JSON;
//! the edge converts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_metainfo::{FileIndex, InfoHashes};
use ferri_swarm::Standstill;

/// What a torrent is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Hashing what lies on disk: bytes looked at, bytes to look at.
    Checking {
        /// Bytes hashed so far.
        done: u64,
        /// Bytes to hash.
        total: u64,
    },
    /// Fetching what is missing.
    Downloading,
    /// Everything wanted is verified; serving it.
    Seeding,
    /// Stopped by the caller; [`crate::Torrent::resume`] goes on.
    Paused,
    /// A disk did not take or give data. The torrent waits; it goes on by itself when the cause is gone and
    /// `recoverable` is true.
    Error {
        /// Path, cause and what to do, for a person.
        text: String,
        /// Whether waiting can help.
        recoverable: bool,
        /// Bytes missing on the device, when it is full.
        missing: Option<u64>,
        /// Whether it is something of the user's, in the place of a file of the torrent, that only they can move or give up.
        in_the_way: bool,
    },
    /// Shut down; nothing will change any more.
    Stopped,
}

/// Why a torrent that wants something gets nothing at the moment.
pub type Wait = Standstill<Sources>;

/// Where addresses of peers could come from, and what became of those that came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sources {
    /// Good nodes of the DHT; `None` when it is not asked.
    pub dht_nodes: Option<usize>,
    /// Whether the local network is asked.
    pub lsd: bool,
    /// Trackers that are asked.
    pub trackers: usize,
    /// Those of them whose last answer was a failure.
    pub trackers_failed: usize,
    /// Addresses known.
    pub known: usize,
    /// Connections being opened.
    pub connecting: usize,
}

/// One torrent at one moment.
#[derive(Debug, Clone)]
pub struct TorrentStatus {
    /// The torrent's name, as given: sanitise before printing.
    pub name: String,
    /// Its info hashes.
    pub info_hashes: InfoHashes,
    /// What it is doing.
    pub state: State,
    /// Why nothing comes, while it is [`State::Downloading`] and nothing does.
    pub wait: Option<Wait>,
    /// Bytes of all files.
    pub total: u64,
    /// Bytes of the wanted pieces; of those served, when nothing is to be fetched.
    pub wanted: u64,
    /// Verified bytes of the wanted pieces.
    pub wanted_done: u64,
    /// Payload bytes received in this session, useful or not.
    pub downloaded: u64,
    /// Payload bytes sent in this session.
    pub uploaded: u64,
    /// Payload bytes received in vain: duplicates and pieces that failed their hash.
    pub wasted: u64,
    /// Payload bytes per second received, smoothed.
    pub down_rate: u64,
    /// Payload bytes per second sent, smoothed.
    pub up_rate: u64,
    /// Connected peers.
    pub peers: usize,
    /// Connected peers that have everything.
    pub seeds: usize,
    /// Verified pieces.
    pub pieces_done: u32,
    /// Pieces of the torrent.
    pub pieces_total: u32,
    /// Time until done at the present rate; `None` when it cannot be said.
    pub eta: Option<Duration>,
    /// Bytes sent divided by bytes received, or by what is here if that is more: some of it came another way.
    pub ratio: f64,
    /// When the last wanted piece was verified; `None` while one is missing.
    pub complete_since: Option<Instant>,
}

impl TorrentStatus {
    /// Every wanted piece is verified and on disk.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Seeding
    }

    /// For how long it has been complete. A snapshot does not grow old: nothing has to happen for time to pass.
    #[must_use]
    pub fn complete_for(&self, now: Instant) -> Duration {
        self.complete_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// What was sent for each byte received, or for each that is here: who fetched a tenth in this session and had the rest
/// has not given back the whole once a tenth was sent.
pub(crate) fn ratio(sent: u64, received: u64, here: u64) -> f64 {
    match received.max(here) {
        0 => 0.0,
        base => sent as f64 / base as f64,
    }
}

/// One tracker as a torrent sees it.
#[derive(Debug, Clone)]
pub struct TrackerStatus {
    /// Its announce address, as given.
    pub url: String,
    /// Tier, 0 first.
    pub tier: usize,
    /// How it stands, in words.
    pub state: String,
    /// Seeds it reported last.
    pub seeders: Option<u32>,
    /// Leechers it reported last.
    pub leechers: Option<u32>,
    /// What went wrong last, in words.
    pub error: Option<String>,
    /// Time until the next announce.
    pub next_announce: Option<Duration>,
}

/// One connected peer.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Where it is.
    pub addr: SocketAddr,
    /// What it calls itself, from its extension handshake or peer id: sanitise before printing.
    pub client: String,
    /// Bytes per second from it.
    pub down_rate: u64,
    /// Bytes per second to it.
    pub up_rate: u64,
    /// Payload bytes from it.
    pub downloaded: u64,
    /// Payload bytes to it.
    pub uploaded: u64,
    /// The share of the torrent it has, 0 to 1.
    pub progress: f64,
    /// We have choked it.
    pub am_choking: bool,
    /// It has choked us.
    pub peer_choking: bool,
    /// It wants something we have.
    pub peer_interested: bool,
    /// We want something it has.
    pub am_interested: bool,
    /// It unchoked us and sends nothing.
    pub snubbed: bool,
}

/// Something that happened to a torrent, in the order it happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A tracker is being asked; `event` is BEP 3's word (`started`, `completed`, `stopped`) or empty.
    Announcing {
        /// The tracker.
        url: String,
        /// BEP 3's event word, empty for a regular announce.
        event: &'static str,
    },
    /// A tracker answered.
    TrackerAnswered {
        /// The tracker.
        url: String,
        /// Seeds it knows.
        seeders: Option<u32>,
        /// Leechers it knows.
        leechers: Option<u32>,
        /// Addresses it gave.
        peers: usize,
        /// What it wants the user to know.
        warning: Option<String>,
    },
    /// A tracker failed.
    TrackerFailed {
        /// The tracker.
        url: String,
        /// Why, in words.
        text: String,
    },
    /// A peer finished its handshake with us.
    PeerConnected {
        /// Where it is.
        addr: SocketAddr,
        /// What its peer id says it is.
        client: String,
        /// It dialled us.
        incoming: bool,
    },
    /// A peer is gone.
    PeerDisconnected {
        /// Where it was.
        addr: SocketAddr,
        /// Why, in words.
        reason: String,
    },
    /// A message of the peer protocol went out (`outgoing`) or came in, for those who want to follow the talk.
    /// Sent only when [`crate::Torrent::follow`] was called.
    Said {
        /// The peer.
        addr: SocketAddr,
        /// We said it.
        outgoing: bool,
        /// What was said.
        message: Said,
    },
    /// A piece's hash matched and its bytes are written.
    PieceVerified {
        /// Its index.
        piece: u32,
    },
    /// A piece's hash did not match; its blocks are fetched again.
    PieceFailed {
        /// Its index.
        piece: u32,
    },
    /// Every piece of a file is verified.
    FileCompleted {
        /// Which file.
        file: FileIndex,
    },
    /// Everything wanted is verified and on disk.
    Completed,
    /// The state changed; [`TorrentStatus::state`] has the new one.
    StateChanged(State),
    /// Something a person should read once: pieces found changed on disk, a file name that had to change.
    Note(String),
}

/// A peer message, reduced to what a reader wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It will answer no requests.
    Choke,
    /// It will answer requests.
    Unchoke,
    /// It wants something the other has.
    Interested,
    /// It wants nothing the other has.
    NotInterested,
    /// It has this piece.
    Have(u32),
    /// It told which pieces it has: how many.
    Bitfield(u32),
    /// It asks for a block.
    Request {
        /// Piece index.
        piece: u32,
        /// Offset in the piece, bytes.
        begin: u32,
        /// Length, bytes.
        length: u32,
    },
    /// It sends a block.
    Piece {
        /// Piece index.
        piece: u32,
        /// Offset in the piece, bytes.
        begin: u32,
        /// Length, bytes.
        length: u32,
    },
    /// It no longer wants a block.
    Cancel {
        /// Piece index.
        piece: u32,
        /// Offset in the piece, bytes.
        begin: u32,
    },
    /// It will not send a block that was asked for.
    Reject {
        /// Piece index.
        piece: u32,
        /// Offset in the piece, bytes.
        begin: u32,
    },
    /// It introduced itself and its extensions (BEP 10).
    ExtensionHandshake,
    /// Anything else, by name.
    Other(&'static str),
}

#[cfg(test)]
mod tests {
    use super::ratio;

    #[test]
    fn what_came_another_way_counts_as_received() {
        for (sent, received, here, expected) in [
            (0, 0, 0, 0.0),
            (50, 100, 100, 0.5),
            (10, 10, 100, 0.1),
            (100, 0, 100, 1.0),
            (100, 200, 100, 0.5),
        ] {
            assert!((ratio(sent, received, here) - expected).abs() < 1e-9, "{sent} {received} {here}");
        }
    }
}
