//! What a caller sees: snapshots of a torrent and the events between them. None of it is a promise about JSON;
//! the edge converts.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_metainfo::{FileIndex, Info, InfoHash, InfoHashes};
use ferri_storage::{CheckPlace, StorageError};
use ferri_swarm::{DisconnectReason, Standstill};
use ferri_tracker::TrackerError;
use ferri_tracker::schedule::TrackerState;

use crate::note::Note;

/// What a torrent is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Only its hash is known: peers are asked for its info dictionary, or looked for ([`TorrentStatus::resolving`]). Or that
    /// is here, and [`crate::Torrent::choose`] is waited for.
    Resolving,
    /// Hashing what lies on disk, or waiting for its turn to do so ([`TorrentStatus::checks_ahead`]): bytes looked at, bytes
    /// to look at.
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
    /// A disk did not take or give data, or a last touch (an empty file, a permission, a link, a final name) could not be put.
    /// The torrent waits, tries again now and then, and goes on when the cause is gone. Or it has ended ([`ErrorReason::Fault`]).
    Error {
        /// What is the matter.
        reason: ErrorReason,
        /// The same for a person: path, cause and what to do.
        text: String,
        /// Whether the cause may go away without anybody doing something about it.
        recoverable: bool,
    },
    /// Shut down; nothing will change any more.
    Stopped,
}

/// Why a torrent is [`State::Stopped`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// A caller wanted it: [`Torrent::stop`](crate::Torrent::stop), [`Session::remove`](crate::Session::remove).
    Asked,
    /// It was deleted, with its data or without ([`Session::delete`](crate::Session::delete)).
    Deleted,
    /// It is the same as this torrent of the session, which goes on.
    SameAs(InfoHash),
    /// Its session ended.
    SessionEnded,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("it was told to stop"),
            Self::Deleted => f.write_str("it was deleted"),
            Self::SameAs(name) => write!(f, "it is the same torrent as {name}, which goes on"),
            Self::SessionEnded => f.write_str("the session ended"),
        }
    }
}

/// Why a torrent is in [`State::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorReason {
    /// The device is full.
    DiskFull {
        /// Bytes that it lacks.
        missing: u64,
    },
    /// Something of the user's lies in the place of a file of the torrent; only they can move it or give it up.
    InTheWay,
    /// A disk does not take or give data, or a last touch could not be put.
    Disk,
    /// What its hash stands for cannot be used, or has no place on this disk.
    BadTorrent,
    /// The torrent is at work already, in this session or with the same state folder.
    AlreadyRunning,
    /// Its task failed by a fault of this program: it is no longer in the session, and may be added again.
    Fault,
}

impl ErrorReason {
    pub(crate) fn of(error: &StorageError) -> Self {
        match error.bytes_missing() {
            Some(missing) => Self::DiskFull { missing },
            None if error.is_in_the_way() => Self::InTheWay,
            None => Self::Disk,
        }
    }
}

impl State {
    pub(crate) fn of_disk(error: &StorageError) -> Self {
        let reason = ErrorReason::of(error);
        Self::Error { reason, text: error.to_string(), recoverable: error.is_recoverable() }
    }
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
    /// What the user calls the torrent ([`crate::Torrent::rename`]), or its own name, as given: sanitise before printing. While
    /// it is not known, what its link calls it, or its hash.
    pub name: String,
    /// What it is known by in its session from its first moment to its last: the hash that it was added by, as peers know it.
    pub id: InfoHash,
    /// Its info hashes, as far as they are known: a magnet link may name one of the two of a hybrid.
    pub info_hashes: InfoHashes,
    /// What it is doing.
    pub state: State,
    /// Why it is [`State::Stopped`], once it is.
    pub stopped: Option<StopReason>,
    /// Where it stands among those whose files are to be checked; see [`Self::checks_ahead`].
    pub check_place: Option<CheckPlace>,
    /// Why nothing comes, while it is [`State::Downloading`] and nothing does.
    pub wait: Option<Box<Wait>>,
    /// Where the file of a single-file torrent lies, while that is not where its name says: it is unfinished, another client
    /// named it, or the file system does not take the name.
    pub lies_at: Option<Arc<Path>>,
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
    /// Bytes sent divided by bytes received, in all sessions, or by what is here if that is more: some of it came another
    /// way.
    pub ratio: f64,
    /// What was done for it in all sessions with this state folder, this one included.
    pub all_time: AllTime,
    /// When the last wanted piece was verified; `None` while one is missing.
    pub complete_since: Option<Instant>,
    /// The session's revision at which it became so; see [`Session::changes_since`](crate::Session::changes_since).
    pub revision: u64,
    /// How the search for its info dictionary stands; `None` when its files are known.
    pub resolving: Option<Box<Resolving>>,
    /// Its files are on their way to another place, which [`crate::Torrent::move_to`] and [`crate::Torrent::rename_file`] ask
    /// for; `None` otherwise.
    pub moving: Option<Box<MovingStatus>>,
}

/// How a move of a torrent's files stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovingStatus {
    /// The folder to which they go; `None` when a file is renamed.
    pub folder: Option<PathBuf>,
    /// Bytes that were copied to another file system.
    pub done: u64,
    /// Bytes to be copied; 0 on the same file system, where files are only renamed.
    pub total: u64,
}

/// How the search for the info dictionary of a magnet link stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resolving {
    /// Peers that have been asked for parts and have not answered yet.
    pub asked: usize,
    /// Connected peers that do not have the info dictionary or do not give it.
    pub without: usize,
    /// Parts of 16 KiB that are here, of the info dictionary that is nearest to completion.
    pub parts_had: u32,
    /// Its parts in all; 0 while no peer has told its size.
    pub parts_total: u32,
    /// Info dictionaries that were complete and had the wrong hash.
    pub corrupt: u32,
    /// Where peers are looked for.
    pub sources: Sources,
}

impl TorrentStatus {
    /// Of a torrent in which nothing has happened yet.
    pub(crate) fn of(info: &Info) -> Self {
        let layout = info.layout();
        Self {
            total: layout.total_length(),
            wanted: layout.total_length(),
            pieces_total: layout.piece_count(),
            ..Self::new(info.name().to_owned(), info.info_hashes())
        }
    }

    /// Of a torrent of which only the hash is known, and perhaps what a link calls it.
    pub(crate) fn unknown(name: String, info_hashes: InfoHashes) -> Self {
        Self { state: State::Resolving, resolving: Some(Box::default()), ..Self::new(name, info_hashes) }
    }

    /// Of a torrent of which nothing else is known yet.
    #[must_use]
    pub fn new(name: String, info_hashes: InfoHashes) -> Self {
        Self {
            name,
            id: info_hashes.wire(),
            info_hashes,
            state: State::Checking { done: 0, total: 0 },
            stopped: None,
            check_place: None,
            wait: None,
            lies_at: None,
            total: 0,
            wanted: 0,
            wanted_done: 0,
            downloaded: 0,
            uploaded: 0,
            wasted: 0,
            down_rate: 0,
            up_rate: 0,
            peers: 0,
            seeds: 0,
            pieces_done: 0,
            pieces_total: 0,
            eta: None,
            ratio: 0.0,
            all_time: AllTime::default(),
            complete_since: None,
            revision: 0,
            resolving: None,
            moving: None,
        }
    }

    /// Every wanted piece is verified and on disk.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Seeding
    }

    /// How many torrents have their files checked before this one can have its own; `None` when it does not wait for them.
    /// True at the moment of asking, however old the snapshot is.
    #[must_use]
    pub fn checks_ahead(&self) -> Option<usize> {
        match self.state {
            State::Checking { .. } => self.check_place.as_ref()?.ahead(),
            _ => None,
        }
    }

    /// For how long it has been complete. A snapshot does not grow old: nothing has to happen for time to pass.
    #[must_use]
    pub fn complete_for(&self, now: Instant) -> Duration {
        self.complete_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// What was done for a torrent in all its sessions. It is kept in the state folder; what a session that was killed did in
/// its last ten seconds may be missing, and the time that the torrent rested since it last did anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllTime {
    /// Payload bytes sent.
    pub uploaded: u64,
    /// Payload bytes received, useful or not.
    pub downloaded: u64,
    /// Payload bytes received in vain.
    pub wasted: u64,
    /// For how long everything wanted was here and served.
    pub seeding: Stopwatch,
    /// For how long it was not paused or stopped, complete or not.
    pub active: Stopwatch,
}

/// A time that adds up. A snapshot of it goes on: nothing has to happen for time to pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stopwatch {
    before: Duration,
    since: Option<Instant>,
}

impl From<Duration> for Stopwatch {
    /// One that stands.
    fn from(before: Duration) -> Self {
        Self { before, since: None }
    }
}

impl Stopwatch {
    /// What it shows.
    #[must_use]
    pub fn at(&self, now: Instant) -> Duration {
        self.since.map_or(self.before, |since| self.before + now.saturating_duration_since(since))
    }

    pub(crate) fn set_running(&mut self, is_running: bool, now: Instant) {
        match (is_running, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(_)) => *self = Self::from(self.at(now)),
            (true, Some(_)) | (false, None) => {}
        }
    }
}

/// What was sent for each byte received, or for each that is here: who fetched a tenth and had the rest has not given back
/// the whole once a tenth was sent.
pub(crate) fn ratio(sent: u64, received: u64, here: u64) -> f64 {
    match received.max(here) {
        0 => 0.0,
        base => sent as f64 / base as f64,
    }
}

/// One file of a torrent at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStatus {
    /// Which.
    pub file: FileIndex,
    /// Its bytes.
    pub length: u64,
    /// Its bytes that lie in verified pieces. Those of a file that is not wanted may be kept aside, and not in its place.
    pub verified: u64,
    /// Whether it is wanted.
    pub wanted: bool,
    /// Whether it is padding (BEP 47), which is on no disk and only counts in pieces.
    pub is_pad: bool,
}

impl FileStatus {
    /// Every byte of it is verified. A file without a byte always is, though it is made when the download is done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.verified == self.length
    }
}

/// One tracker as a torrent sees it.
#[derive(Debug, Clone)]
pub struct TrackerStatus {
    /// Its announce address, as given.
    pub url: String,
    /// Tier, 0 first.
    pub tier: usize,
    /// How it stands.
    pub state: TrackerState,
    /// Seeds it reported last.
    pub seeders: Option<u32>,
    /// Leechers it reported last.
    pub leechers: Option<u32>,
    /// What went wrong last.
    pub error: Option<TrackerError>,
    /// Time until the next announce.
    pub next_announce: Option<Duration>,
}

/// How much of what passes between a peer and us is encrypted (MSE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEncryption {
    /// Nothing.
    None,
    /// The handshake, and nothing after it.
    Handshake,
    /// Everything, with RC4.
    Rc4,
}

impl fmt::Display for PeerEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Handshake => "encrypted handshake",
            Self::Rc4 => "RC4",
        })
    }
}

/// One connected peer.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Where it is.
    pub addr: SocketAddr,
    /// How much of the connection is encrypted.
    pub encryption: PeerEncryption,
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
#[non_exhaustive]
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
        /// Why.
        error: TrackerError,
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
        /// Why.
        reason: DisconnectReason,
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
    /// Every piece of these wanted files is verified: the last one came just now, or the files became wanted and are in their
    /// places. Files without a byte are told when they are made, at the end of the download. What was complete when the
    /// torrent was added is not told; see [`crate::Torrent::files`].
    FilesCompleted {
        /// Which files; thousands, where they are small and lie in one piece.
        files: Arc<[FileIndex]>,
    },
    /// Everything wanted is verified and on disk, and some of it was fetched since the torrent was added. What was complete by
    /// then, or needs nothing for nothing more is wanted, is not told; see [`TorrentStatus::complete_since`].
    Completed,
    /// Its files are in this folder, see [`crate::Torrent::move_to`].
    Moved {
        /// The download folder.
        folder: PathBuf,
    },
    /// The state changed; [`TorrentStatus::state`] has the new one.
    StateChanged(State),
    /// Something a person should read once: pieces found changed on disk, a file name that had to change.
    Note(Note),
}

/// A peer message, reduced to what a reader wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
