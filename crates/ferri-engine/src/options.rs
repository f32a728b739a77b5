//! What a caller may set about one torrent: plain structs with defaults, passed in. Nothing here reads flags, files or the
//! environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{Bitfield, InfoHashes, Metainfo};
use ferri_storage::{PieceStore, Places};

/// How much of what is already on disk is believed when a torrent is added.
#[derive(Debug, Clone, Default)]
pub enum Check {
    /// What the journal vouches for is believed; only doubtful pieces are hashed. Without a journal, whatever
    /// lies in the files already is hashed.
    #[default]
    Journal,
    /// Every piece is hashed.
    Full,
    /// The caller has verified these pieces itself, just now.
    Trust(Bitfield),
}

/// How wanted a file is. Pieces take the highest priority of the files they touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum FilePriority {
    /// Not downloaded and not created.
    Skip,
    /// After everything else.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

/// How fast a torrent may be, in bytes per second. `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// What it may receive.
    pub down: Option<u64>,
    /// What it may send.
    pub up: Option<u64>,
}

/// What a torrent is known by when it is added.
#[derive(Debug, Clone)]
pub enum TorrentSource {
    /// Its info dictionary, and more.
    Metainfo(Metainfo),
    /// Its hash. The info dictionary is fetched from peers, or was left in the state folder by an earlier run; then the
    /// torrent starts by itself.
    Magnet(Magnet),
    /// The same, but no file is looked for before [`Torrent::choose`](crate::Torrent::choose) says which, and where.
    MagnetOnHold(Magnet),
}

impl TorrentSource {
    /// The hashes that it names.
    #[must_use]
    pub fn info_hashes(&self) -> InfoHashes {
        match self {
            Self::Metainfo(metainfo) => metainfo.info().info_hashes(),
            Self::Magnet(magnet) | Self::MagnetOnHold(magnet) => magnet.info_hashes,
        }
    }

    /// Trackers, by tier. A link has no tiers: each of its trackers is one of its own.
    pub(crate) fn tiers(&self) -> Vec<Vec<String>> {
        match self {
            Self::Metainfo(metainfo) => metainfo.trackers().to_vec(),
            Self::Magnet(magnet) | Self::MagnetOnHold(magnet) => {
                magnet.trackers.iter().map(|url| vec![url.clone()]).collect()
            }
        }
    }

    /// Nodes of the DHT.
    pub(crate) fn nodes(&self) -> &[(String, u16)] {
        match self {
            Self::Metainfo(metainfo) => metainfo.nodes(),
            Self::Magnet(_) | Self::MagnetOnHold(_) => &[],
        }
    }
}

/// A torrent to add, and what to do with it.
#[derive(Debug, Clone)]
pub struct AddTorrent {
    /// What to download or serve.
    pub source: TorrentSource,
    /// The folder that receives (or holds) the torrent's file or folder.
    pub output: PathBuf,
    /// The payload itself, when it does not lie at `output` under the torrent's name: for a single file its path,
    /// for several the folder that holds them.
    pub payload: Option<PathBuf>,
    /// One priority a file, in the torrent's order; empty is all [`FilePriority::Normal`]. With [`Self::seed_only`] and
    /// [`Check::Full`] pieces of skipped files alone are neither looked at nor served.
    pub priorities: Vec<FilePriority>,
    /// How much of what is on disk is believed.
    pub check: Check,
    /// Serve only: what is missing or differs after the check is not downloaded, and nothing in the folder is changed in
    /// any way: files are opened for reading alone.
    pub seed_only: bool,
    /// Pieces in order instead of rarest first.
    pub sequential: bool,
    /// Trackers beside those of the torrent, each in a tier of its own.
    pub extra_trackers: Vec<String>,
    /// Ask no tracker at all.
    pub no_trackers: bool,
    /// Peers to connect to, whatever trackers say.
    pub peers: Vec<SocketAddr>,
    /// How fast it may be.
    pub limits: RateLimits,
    /// Reserve the disk space of a file when its first piece arrives.
    pub preallocate: bool,
    /// Write also to plain files that lie where the torrent's belong and are not its own. Without it the torrent waits in
    /// [`State::Error`](crate::State::Error), or is refused, until they are moved away.
    pub overwrite: bool,
    /// It is paused from the start: what is on disk is looked at, and nothing else happens.
    pub paused: bool,
    /// Where its pieces are, if that is known. `None`: in files, which are looked for.
    pub stored: Option<Stored>,
}

/// Where the pieces of a torrent are.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In files that a caller looked for a moment ago: [`Places::find`] in [`AddTorrent::output`].
    At(Places),
    /// In a store that is not files. There is no folder, no journal and nothing to check then: the store says which pieces are
    /// there ([`PieceStore::have`]).
    In(Arc<dyn PieceStore>),
}

impl AddTorrent {
    /// Download `metainfo` into `output` with the defaults.
    #[must_use]
    pub fn new(metainfo: Metainfo, output: impl Into<PathBuf>) -> Self {
        Self::from_source(TorrentSource::Metainfo(metainfo), output)
    }

    /// Download what `magnet` stands for into `output` with the defaults, as soon as peers told what that is.
    #[must_use]
    pub fn magnet(magnet: Magnet, output: impl Into<PathBuf>) -> Self {
        Self::from_source(TorrentSource::Magnet(magnet), output)
    }

    /// Find out what `magnet` stands for; what becomes of it is said by [`Torrent::choose`](crate::Torrent::choose).
    #[must_use]
    pub fn magnet_on_hold(magnet: Magnet) -> Self {
        Self::from_source(TorrentSource::MagnetOnHold(magnet), PathBuf::new())
    }

    pub(crate) fn from_source(source: TorrentSource, output: impl Into<PathBuf>) -> Self {
        Self {
            source,
            output: output.into(),
            payload: None,
            priorities: Vec::new(),
            check: Check::Journal,
            seed_only: false,
            sequential: false,
            extra_trackers: Vec::new(),
            no_trackers: false,
            peers: Vec::new(),
            limits: RateLimits::default(),
            paused: false,
            preallocate: false,
            overwrite: false,
            stored: None,
        }
    }
}
