//! A torrent as it is to be added again at the next start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ferri_metainfo::{FileIndex, InfoHash, InfoHashes};

use crate::options::{AddTorrent, FilePriority, RateLimits, TorrentSource};

/// Peers of a torrent that a person named and that are kept: the last ones.
pub const PEERS_MAX: usize = 1_000;
/// Addresses of peers of a torrent that are kept: enough to be in the swarm again without asking anybody.
pub const KNOWN_PEERS_MAX: usize = 200;

/// How a torrent is to be added again: what it is, where its files are, and what a person wants of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it is.
    pub source: TorrentSource,
    /// [`AddTorrent::output`].
    pub output: PathBuf,
    /// [`AddTorrent::payload`].
    pub payload: Option<PathBuf>,
    /// What a person calls it and its files.
    pub names: RecordNames,
    /// [`AddTorrent::priorities`].
    pub priorities: Vec<FilePriority>,
    /// [`AddTorrent::sequential`].
    pub sequential: bool,
    /// [`AddTorrent::limits`].
    pub limits: RateLimits,
    /// Whom it asks for peers.
    pub trackers: RecordTrackers,
    /// Peers that a person named; at most [`PEERS_MAX`].
    pub peers: Vec<SocketAddr>,
    /// Where peers were last; at most [`KNOWN_PEERS_MAX`].
    pub known_peers: Vec<SocketAddr>,
    /// Whether it is paused.
    pub paused: bool,
    /// [`AddTorrent::seed_only`].
    pub seed_only: bool,
    /// [`AddTorrent::preallocate`].
    pub preallocate: bool,
    /// [`AddTorrent::overwrite`].
    pub overwrite: bool,
    /// When it was added first.
    pub added_at: SystemTime,
}

/// What a person calls a torrent and its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordNames {
    /// The torrent; `None`: as it is called itself.
    pub torrent: Option<String>,
    /// Files that were renamed: where they lie, relative to [`Record::output`].
    pub files: BTreeMap<FileIndex, PathBuf>,
}

/// Whom a torrent asks for peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordTrackers {
    /// In the place of those of the torrent, in tiers, once a person changed them.
    pub edited: Option<Vec<Vec<String>>>,
    /// [`AddTorrent::extra_trackers`].
    pub extra: Vec<String>,
    /// [`AddTorrent::no_trackers`].
    pub none: bool,
}

impl Record {
    /// Of a torrent that is being added.
    #[must_use]
    pub fn new(add: &AddTorrent, now: SystemTime) -> Self {
        let mut record = Self {
            source: add.source.clone(),
            output: add.output.clone(),
            payload: add.payload.clone(),
            names: RecordNames::default(),
            priorities: add.priorities.clone(),
            sequential: add.sequential,
            limits: add.limits,
            trackers: RecordTrackers {
                edited: None,
                extra: add.extra_trackers.clone(),
                none: add.no_trackers,
            },
            peers: Vec::new(),
            known_peers: Vec::new(),
            paused: add.paused,
            seed_only: add.seed_only,
            preallocate: add.preallocate,
            overwrite: add.overwrite,
            added_at: now,
        };
        record.add_peers(&add.peers);
        record
    }

    /// The hashes by which it is known.
    #[must_use]
    pub fn info_hashes(&self) -> InfoHashes {
        self.source.info_hashes()
    }

    /// The hash by which peers know it.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        self.info_hashes().wire()
    }

    /// Its files are in this folder from here on.
    pub(crate) fn move_to(&mut self, folder: &Path) {
        if let Some(payload) = &mut self.payload {
            let name = payload.file_name().map(ToOwned::to_owned).unwrap_or_default();
            *payload = folder.join(name);
        }
        self.output = folder.to_owned();
    }

    /// A person named these peers too.
    pub(crate) fn add_peers(&mut self, peers: &[SocketAddr]) {
        self.peers.retain(|known| !peers.contains(known));
        self.peers.extend(peers);
        let many = self.peers.len().saturating_sub(PEERS_MAX);
        self.peers.drain(..many);
    }

    /// It was on hold, and goes on as `chosen` says, whose source is not looked at.
    pub(crate) fn choose(&mut self, chosen: Self) {
        let source = match &self.source {
            TorrentSource::MagnetOnHold(magnet) => TorrentSource::Magnet(magnet.clone()),
            source => source.clone(),
        };
        let mut trackers = self.trackers.clone();
        trackers.extra.extend(chosen.trackers.extra);
        let before = std::mem::replace(self, Self { source, trackers, added_at: self.added_at, ..chosen });
        self.add_peers(&before.peers);
        (self.names, self.known_peers) = (before.names, before.known_peers);
    }

    /// How to add it again.
    pub(crate) fn to_add(&self) -> AddTorrent {
        AddTorrent {
            payload: self.payload.clone(),
            priorities: self.priorities.clone(),
            seed_only: self.seed_only,
            sequential: self.sequential,
            extra_trackers: self.trackers.extra.clone(),
            no_trackers: self.trackers.none,
            peers: self.peers.clone(),
            limits: self.limits,
            preallocate: self.preallocate,
            overwrite: self.overwrite,
            paused: self.paused,
            ..AddTorrent::from_source(self.source.clone(), &self.output)
        }
    }
}
