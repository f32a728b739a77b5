//! What a caller may set about a whole session: plain structs with defaults, passed in. Nothing here reads flags, files or
//! the environment.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_wire::mse::Encryption;

use crate::feature::Feature;
use crate::store::Store;

/// What a whole session does. Rates are in bytes per second, sizes in bytes.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The TCP port to listen on; `None` or 0 lets the system pick one.
    pub listen_port: Option<u16>,
    /// The address to listen on and to connect from; `None` is every address, both families.
    pub bind: Option<IpAddr>,
    /// Whether connections to peers are encrypted (MSE), in both directions.
    pub encryption: Encryption,
    /// What all torrents may use together. It can be changed while the session runs.
    pub limits: SessionLimits,
    /// Where journals and other state live. Created when missing.
    pub state_dir: PathBuf,
    /// What keeps the list of torrents from one start to the next, with what a person wants of each: those that it has come back
    /// with [`Session::start`](crate::Session::start). `None`: the session begins with no torrent, and only what is on disk is
    /// remembered of each.
    pub store: Option<Arc<dyn Store>>,
    /// Threads that hash, write and read files.
    pub disk_threads: usize,
    /// Where every input and output of the session's machines is recorded as JSON lines: a new file, made when it
    /// could start. One that is there already is an error.
    pub trace: Option<PathBuf>,
    /// Whether the DHT is used (BEP 5). `false`: not a packet of it is sent or answered; the default in a build without the feature
    /// `dht`, in which a session that is to have one does not start.
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
            encryption: Encryption::default(),
            limits: SessionLimits::default(),
            state_dir: state_dir.into(),
            store: None,
            disk_threads: 2,
            trace: None,
            dht: Feature::Dht.is_built(),
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

    /// For tests: a session that only this machine can reach, with its state in this folder.
    #[cfg(test)]
    pub(crate) fn on_loopback(folder: &std::path::Path) -> Self {
        let options = Self::new(folder.join("state")).without_discovery();
        Self { bind: Some([127, 0, 0, 1].into()), listen_port: Some(0), ..options }
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
