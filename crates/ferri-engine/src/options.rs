//! What a caller may set: plain structs with defaults, passed in. Nothing here reads flags, files or the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{Bitfield, Metainfo};
use ferri_storage::Places;

/// What a whole session does. Rates are in bytes per second, sizes in bytes.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The TCP port to listen on; `None` or 0 lets the system pick one.
    pub listen_port: Option<u16>,
    /// The address to listen on and to connect from; `None` is every address, both families.
    pub bind: Option<IpAddr>,
    /// Memory for pieces in flight, all torrents together.
    pub memory: u64,
    /// Connections of all torrents together.
    pub peers_max: usize,
    /// Connections of one torrent.
    pub peers_per_torrent: usize,
    /// Dials under way at once, all torrents together.
    pub half_open_max: usize,
    /// Peers of one torrent that may download from us at once; `None` adapts to what the line carries.
    pub upload_slots: Option<usize>,
    /// Download limit of all torrents together; `None` is unlimited.
    pub down_limit: Option<u64>,
    /// Upload limit of all torrents together; `None` is unlimited.
    pub up_limit: Option<u64>,
    /// Where journals and other state live. Created when missing.
    pub state_dir: PathBuf,
    /// Threads that hash, write and read files.
    pub disk_threads: usize,
    /// Torrents on one device (that of their download folder) whose files are checked at the same time. The others wait, in
    /// the order in which they were added.
    pub checks_at_once: usize,
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
            memory: 64 << 20,
            peers_max: 500,
            peers_per_torrent: 200,
            half_open_max: 50,
            upload_slots: None,
            down_limit: None,
            up_limit: None,
            state_dir: state_dir.into(),
            disk_threads: 2,
            checks_at_once: 2,
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

/// A magnet link whose torrent is to be found, and whom to ask beside those that it names.
#[derive(Debug, Clone)]
pub struct ResolveMagnet {
    /// The link. Its trackers and peers are asked.
    pub magnet: Magnet,
    /// Trackers beside those of the link.
    pub extra_trackers: Vec<String>,
    /// Ask no tracker at all.
    pub no_trackers: bool,
    /// Peers to connect to, whatever trackers say.
    pub peers: Vec<SocketAddr>,
}

impl ResolveMagnet {
    /// Ask those that `magnet` names.
    #[must_use]
    pub fn new(magnet: Magnet) -> Self {
        Self { magnet, extra_trackers: Vec::new(), no_trackers: false, peers: Vec::new() }
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

/// A torrent to add, and what to do with it.
#[derive(Debug, Clone)]
pub struct AddTorrent {
    /// What to download or serve.
    pub metainfo: Metainfo,
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
    /// Where the files lie, for whoever looked a moment ago: [`Places::find`] in [`Self::output`].
    pub places: Option<Places>,
}

impl AddTorrent {
    /// Download `metainfo` into `output` with the defaults.
    #[must_use]
    pub fn new(metainfo: Metainfo, output: impl Into<PathBuf>) -> Self {
        Self {
            metainfo,
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
            places: None,
        }
    }
}
