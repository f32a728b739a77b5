//! What a session keeps of its torrents from one start to the next, and where: a [`Store`] keeps it, of which
//! [`FolderStore`] is one, and `writer` hands it what changes, one after the other.
//!
//! A torrent's files and its journal are no part of this: they tell what is on disk, and are looked at whenever a torrent is
//! added. A session without a store keeps those alone, and begins with no torrent.

mod codec;
mod folder;
mod record;
mod writer;

use std::fmt;
use std::sync::Arc;

use ferri_metainfo::InfoHash;
pub use ferri_storage::Totals;

pub use self::folder::FolderStore;
pub use self::record::{KNOWN_PEERS_MAX, PEERS_MAX, Record, RecordNames, RecordTrackers};
pub(crate) use self::writer::{Reply, Writer};

/// Keeps a session's list of torrents. Its functions may wait for a disk: they are called from one thread of the session's
/// own, one at a time, but for [`Self::list`], which is called once at the start.
///
/// What was put survives the death of the process at any moment after the call returned. A caller of the session that
/// changed something hears of it only then.
pub trait Store: fmt::Debug + Send + Sync {
    /// Everything that is kept, in the order in which the torrents were added. What is damaged is put out of the way and told;
    /// it is no reason to lose the rest.
    ///
    /// # Errors
    /// When it cannot be said what is kept: the session does not start.
    fn list(&self) -> Result<Listed, StoreError>;

    /// Keeps these torrents, each in the place of what was kept of it before.
    ///
    /// # Errors
    /// When not all of them are kept. The session then tries each alone.
    fn put(&self, records: &[Arc<Record>]) -> Result<(), StoreError>;

    /// Keeps these torrents no longer, by the hash by which peers know them; those that are not there are as good.
    ///
    /// # Errors
    /// When not all of them are forgotten. The session then tries each alone.
    fn remove(&self, torrents: &[InfoHash]) -> Result<(), StoreError>;

    /// Keeps what was done for these torrents in all sessions; each comes every few seconds while it does something. Totals
    /// are kept in the session's state folder as well, and when both are there the larger counts: a store whose torrents never
    /// leave their state folder may do nothing here.
    ///
    /// # Errors
    /// When not all of them are kept. They come again with the next change. Those of a torrent that is not kept say nothing.
    fn put_totals(&self, totals: &[(InfoHash, Totals)]) -> Result<(), StoreError>;
}

/// What a [`Store`] keeps.
#[derive(Debug, Default)]
pub struct Listed {
    /// The torrents.
    pub torrents: Vec<Kept>,
    /// What could not be read, and where it is now, in words.
    pub damaged: Vec<String>,
}

/// One torrent as a [`Store`] keeps it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// How it is to be added again.
    pub record: Record,
    /// What was put last by [`Store::put_totals`].
    pub totals: Option<Totals>,
}

/// Why a store did not keep something.
#[derive(Debug, Clone)]
pub struct StoreError(Arc<dyn std::error::Error + Send + Sync>);

/// Equal are those that say the same.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for StoreError {}

impl StoreError {
    /// What the store ran into, or words that say it.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the list of torrents cannot be kept: {}", self.0)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
