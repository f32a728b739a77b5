//! What a caller may set: plain structs with defaults, passed in. Nothing here reads flags, files or the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{Bitfield, InfoHashes, Metainfo};
use ferri_storage::{PieceStore, Places};

/// What a whole session does. Rates are in bytes per second, sizes in bytes.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The TCP port to listen on; `None` or 0 lets the system pick one.
    pub listen_port: Option<u16>,
    /// The address to listen on and to connect from; `None` is every address, both families.
    pub bind: Option<IpAddr>,
    /// What all torrents may use together. It can be changed while the session runs.
    pub limits: SessionLimits,
    /// Where journals and other state live. Created when missing.
    pub state_dir: PathBuf,
    /// Threads that hash, write and read files.
    pub disk_threads: usize,
    /// Where every input and output of the swarm machines is recorded as JSON lines: a new file, made when the session
    /// could start. One that is there already is an error.
    pub trace: Option<PathBuf>,
    /// Whether the DHT is used (BEP 5). `false`: not a packet of it is sent or answered.
    pub dht: bool,
    /// The UDP port, of the DHT node and of what is asked of UDP trackers; `None` takes that of the listener, or any when it
    /// is taken.
    pub dht_port: Option<u16>,
    /// Nodes by which the DHT is entered beside those that are known, as `HOST:PORT`.
    pub dht_routers: Vec<String>,
    /// Whether peers are asked for further peers, and told some (BEP 11).
    pub pex: bool,
    /// Whether peers of the local network are looked for (BEP 14); never for private torrents, and not in a session that is
    /// bound to loopback. `false`: not a packet of it is sent or answered.
    pub lsd: bool,
    /// Whether the gateway is asked to forward our port, by PCP, NAT-PMP or UPnP; not in a session that is bound to loopback.
    /// `false`: it hears nothing.
    pub port_mapping: bool,
}

impl SessionOptions {
    /// The defaults, with state kept in `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen_port: None,
            bind: None,
            limits: SessionLimits::default(),
            state_dir: state_dir.into(),
            disk_threads: 2,
            trace: None,
            dht: true,
            dht_port: None,
            dht_routers: Vec::new(),
            pex: true,
            lsd: true,
            port_mapping: true,
        }
    }
}

impl SessionOptions {
    /// Peers come from trackers, people and other peers alone: no DHT, no look around the local network, no word to the
    /// router.
    #[must_use]
    pub fn without_discovery(self) -> Self {
        Self { dht: false, lsd: false, port_mapping: false, ..self }
    }
}

/// What all torrents of a session may use together. Rates are in bytes per second, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// Download limit; `None` is unlimited.
    pub down: Option<u64>,
    /// Upload limit; `None` is unlimited.
    pub up: Option<u64>,
    /// Memory for pieces in flight; at least 16 KiB, a block.
    pub memory: u64,
    /// Connections; at least 1. However many torrents there are, each may have four.
    pub peers_max: usize,
    /// Connections of one torrent; at least 1.
    pub peers_per_torrent: usize,
    /// Dials under way at once; at least 1. However many torrents there are, each may have two.
    pub half_open_max: usize,
    /// Peers of one torrent that may download from us at once; `None` adapts to what the line carries.
    pub upload_slots: Option<usize>,
    /// Torrents on one device (that of their download folder) whose files are checked at the same time; at least 1. The
    /// others wait, in the order in which they were added.
    pub checks_at_once: usize,
}

/// Why limits are refused: with one of them everything would stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A rate of 0.
    #[error("at a rate of 0 nothing is ever transferred; leave the limit out, or pause the torrents")]
    NoRate,
    /// Memory for less than a block.
    #[error("pieces need memory for at least one block of 16 KiB")]
    NoMemory,
    /// Not one connection, or no dial.
    #[error("without a connection there is no peer; allow at least one, and one dial")]
    NoPeers,
    /// Not one check at a time.
    #[error("torrents that wait for their check would wait for ever; allow at least one at a time")]
    NoChecks,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            down: None,
            up: None,
            memory: 64 << 20,
            peers_max: 500,
            peers_per_torrent: 200,
            half_open_max: 50,
            upload_slots: None,
            checks_at_once: 2,
        }
    }
}

impl SessionLimits {
    /// Whether a session can work with them.
    ///
    /// # Errors
    /// What is wrong.
    pub fn verify(&self) -> Result<(), LimitsError> {
        if self.down == Some(0) || self.up == Some(0) {
            return Err(LimitsError::NoRate);
        }
        if self.memory < u64::from(BLOCK_LENGTH) {
            return Err(LimitsError::NoMemory);
        }
        if [self.peers_max, self.peers_per_torrent, self.half_open_max].contains(&0) {
            return Err(LimitsError::NoPeers);
        }
        if self.checks_at_once == 0 { Err(LimitsError::NoChecks) } else { Ok(()) }
    }
}

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
    /// Download limit of this torrent, bytes per second.
    pub down_limit: Option<u64>,
    /// Upload limit of this torrent, bytes per second.
    pub up_limit: Option<u64>,
    /// Reserve the disk space of a file when its first piece arrives.
    pub preallocate: bool,
    /// Write also to plain files that lie where the torrent's belong and are not its own. Without it the torrent waits in
    /// [`State::Error`](crate::State::Error), or is refused, until they are moved away.
    pub overwrite: bool,
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

    fn from_source(source: TorrentSource, output: impl Into<PathBuf>) -> Self {
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
            down_limit: None,
            up_limit: None,
            preallocate: false,
            overwrite: false,
            stored: None,
        }
    }
}
