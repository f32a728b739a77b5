//! The look for a torrent's files, and at what earlier sessions noted of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{FileIndex, Info};
use ferri_storage::{
    Halt, PieceStore, Place, PlainStore, Resumed, Storage, StorageError, StorageOptions, Store, Totals,
};

use super::wishes::wanted;
use crate::services::Services;
use crate::{AddTorrent, Check, Error, FilePriority, Stored, Unsupported};

/// A torrent's files as they were found.
pub(super) struct Opened {
    pub(super) storage: Arc<Store>,
    pub(super) resumed: Resumed,
    /// A complete download needs no last touches.
    pub(super) is_finished: bool,
    /// Where they lie.
    pub(super) device: u64,
    /// What earlier sessions did.
    pub(super) totals: Totals,
}

/// A look that is under way. Dropped, it ends.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>;

/// Looks for the torrent's files, and at what the journal says of them.
/// `renamed`: what the user calls files, as far as a store knows.
pub(super) fn open(
    services: &Services,
    add: &mut AddTorrent,
    info: Arc<Info>,
    renamed: BTreeMap<FileIndex, PathBuf>,
) -> Opening {
    let (payload, output) = (add.payload.clone(), add.output.clone());
    let state_dir = services.disk.state_dir.clone();
    let checks = add.check.clone();
    let (places, elsewhere) = match add.stored.take() {
        Some(Stored::At(places)) => (Some(places), None),
        Some(Stored::In(pieces)) => (None, Some(pieces)),
        None => (None, None),
    };
    // A caller that gives up the wait ends the look.
    let halt = Halt::default();
    let options = StorageOptions {
        preallocate: add.preallocate,
        // Payload that is only served is not touched.
        read_only: add.seed_only,
        overwrite: add.overwrite,
        places,
        renamed,
        lock_owner: Some(services.disk.lock_owner),
        halt: halt.clone(),
        ..StorageOptions::default()
    };
    // What is only served is read where it lies, the neighbours of a chosen file too.
    let wishes = if add.seed_only { Vec::new() } else { add.priorities.clone() };
    Box::pin(async move {
        let Some(info_hash) = info.info_hashes().v1 else {
            return Err(Error::Unsupported(Unsupported::VersionTwoOnly));
        };
        if let Some(pieces) = elsewhere {
            return open_elsewhere(info, pieces, &wishes);
        }
        let paths = LocalPaths::new(&info)?;
        let (root, top) = match &payload {
            Some(payload) => beside(payload).map(|(root, top)| (root, Some(top)))?,
            None => (output, None),
        };
        let place = Place { root, state_dir: Some(state_dir) };
        let (options, wanted) = (StorageOptions { top, ..options }, wanted(&info, &wishes));
        let halt_on_drop = halt.raise_on_drop();
        let opened = tokio::task::spawn_blocking(move || {
            look(Storage::new(info, paths, place, options, &wanted)?, &checks)
        });
        let opened = opened.await.map_err(Error::of_thread)?;
        halt_on_drop.disarm();
        match opened {
            Ok(opened) => Ok(opened),
            Err(StorageError::Busy { .. }) => Err(Error::AlreadyRunning(info_hash)),
            Err(error) => Err(error.into()),
        }
    })
}

/// Waits for the disk.
fn look(storage: Storage, checks: &Check) -> Result<Opened, StorageError> {
    let mut resumed = storage.resume()?;
    let (totals, note) = storage.read_totals()?;
    resumed.why.extend(note);
    let is_finished = storage.is_finished();
    // What is checked first is looked at afterwards.
    let is_checked_first = match checks {
        Check::Journal => !resumed.recheck.is_empty(),
        Check::Full => true,
        Check::Trust(_) => false,
    };
    if !(is_checked_first || is_finished && resumed.have.is_full()) {
        storage.guard()?;
    }
    let device = storage.device();
    Ok(Opened { storage: Arc::new(storage.into()), resumed, is_finished, device, totals })
}

/// Pieces that lie in no file are what their store says.
fn open_elsewhere(
    info: Arc<Info>,
    pieces: Arc<dyn PieceStore>,
    wishes: &[FilePriority],
) -> Result<Opened, Error> {
    let wanted = wanted(&info, wishes);
    let store = Store::Pieces(Box::new(PlainStore::new(info, pieces, &wanted)));
    let resumed = store.resume()?;
    let storage = Arc::new(store);
    Ok(Opened { storage, resumed, is_finished: true, device: 0, totals: Totals::default() })
}

/// The folder that a payload lies in, and its name there.
pub(crate) fn beside(payload: &Path) -> Result<(PathBuf, OsString), Error> {
    let payload =
        std::path::absolute(payload).map_err(|source| Error::Io { path: payload.to_owned(), source })?;
    match (payload.parent(), payload.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_owned(), name.to_owned())),
        _ => Err(Error::Unsupported(Unsupported::Nameless(payload))),
    }
}
