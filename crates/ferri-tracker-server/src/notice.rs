//! What a tracker tells while it runs: things that its operator should know.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A list was read, and holds from here on.
    ListRead {
        /// Which one.
        list: String,
        /// How many torrents or users are in it.
        entries: usize,
    },
    /// A list has nothing in it any more, and that holds from here on.
    ListEmptied {
        /// Which one.
        list: String,
        /// How many torrents or users were in it.
        before: usize,
    },
    /// A list could not be read again; the old one holds.
    ListKept {
        /// Which one.
        list: String,
        /// Why.
        why: String,
    },
    /// A certificate was read again, and is shown from here on.
    CertificateRead,
    /// A certificate could not be read again; the old one is shown.
    CertificateKept {
        /// Why.
        why: String,
    },
    /// What an earlier run knew is known again.
    Restored {
        /// Peers that are known.
        peers: usize,
        /// Peers that were silent for too long since.
        silent: usize,
    },
    /// An earlier run knew more than there is room for. What it wrote is kept.
    NoRoom {
        /// Peers that are not known any more.
        peers: usize,
        /// Where it lies.
        kept: PathBuf,
    },
    /// What an earlier run wrote is damaged. The tracker begins with what is whole of it.
    StateSetAside {
        /// The file.
        path: PathBuf,
        /// Where it lies now, unless it could not be moved.
        aside: Option<PathBuf>,
        /// What is wrong with it.
        why: String,
    },
    /// What is known could not be written, and would be lost with the process. It is tried again each minute.
    StateNotWritten {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Notice {
    /// Whether the operator has to do something about it.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        match self {
            Self::ListRead { .. } | Self::CertificateRead | Self::Restored { .. } => false,
            Self::ListKept { .. }
            | Self::ListEmptied { .. }
            | Self::NoRoom { .. }
            | Self::CertificateKept { .. }
            | Self::StateSetAside { .. }
            | Self::StateNotWritten { .. } => true,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListRead { list, entries: 1 } => write!(f, "{list} was read: 1 entry"),
            Self::ListRead { list, entries } => write!(f, "{list} was read: {entries} entries"),
            Self::ListKept { list, why } => write!(f, "{list} stays as it was: {why}"),
            Self::ListEmptied { list, before } => {
                write!(
                    f,
                    "{list} is empty, and that holds: look whether it should be; it had {before} entries"
                )
            }
            Self::CertificateRead => f.write_str("the TLS certificate was read again"),
            Self::CertificateKept { why } => write!(f, "the TLS certificate stays as it was: {why}"),
            Self::Restored { peers, silent: 0 } => write!(f, "peers known from the last run: {peers}"),
            Self::Restored { peers, silent } => {
                write!(f, "peers known from the last run: {peers} ({silent} were silent for too long)")
            }
            Self::NoRoom { peers, kept } => write!(
                f,
                "no room for {peers} peers of the last run, which --max-peers and --max-torrents bound; {} keeps them",
                kept.display()
            ),
            Self::StateSetAside { path, aside: Some(aside), why } => {
                let (path, aside) = (path.display(), aside.display());
                write!(
                    f,
                    "{path} cannot be used ({why}) and lies at {aside} now; peers that were lost are known again when they next announce"
                )
            }
            Self::StateSetAside { path, aside: None, why } => {
                write!(
                    f,
                    "{} cannot be used ({why}) and cannot be moved away; it will be replaced",
                    path.display()
                )
            }
            Self::StateNotWritten { path, why } => {
                write!(f, "cannot write {}, which a restart begins with: {why}", path.display())
            }
        }
    }
}

/// The listener that hears of it. Called by threads of the tracker, so it should not take long.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Fn(&Notice) + Send + Sync>);

impl Listener {
    pub(crate) fn tell(&self, notice: &Notice) {
        if notice.is_bad() {
            tracing::warn!("{notice}");
        } else {
            tracing::info!("{notice}");
        }
        (self.0)(notice);
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self(Arc::new(|_| {}))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
