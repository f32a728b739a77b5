//! Making it last: syncing what was written, closing in order, and finding out whether a full or broken disk has
//! recovered.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use ferri_metainfo::{FileIndex, PieceIndex};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, StatVfs};
use rustix::io::Errno;

use crate::atomic::{PRIVATE_FOLDER, create_folders};
use crate::beneath::{Access, Rights, Root, identity};
use crate::disk::{self, OpenFile};
use crate::error::StorageError;
use crate::faults::Op;
use crate::ledger::{Dirty, parts_number};
use crate::storage::{Location, Placement, Storage};
use crate::witness::{Hooks, Synced};

/// With more dirty files and folders than this, one `syncfs` is cheaper than so many syncs.
const SYNC_ONE_BY_ONE_MAX: usize = 128;

/// What the journal may need before the next compaction; used to see whether the state folder has room.
const JOURNAL_ROOM: u64 = 64 << 10;

impl Storage {
    /// Makes every piece that was written before this call survive a power cut, then records that in the journal.
    /// To be called every few seconds while pieces are written; blocks for as long as the device takes.
    ///
    /// # Errors
    /// When something could not be synced. Call it again when [`Storage::probe`] succeeds, or after a while, whether or
    /// not more was written meanwhile: what is in other files waits for that. What is in the file that failed is
    /// [doubtful](Storage::doubtful), for the kernel may have thrown it away, and does not say so twice.
    pub fn sync(&self) -> Result<(), StorageError> {
        let _one = self.lock_sync();
        let dirty = self.ledger.take_dirty();
        self.sync_dirty(dirty, disk::sync_data)
    }

    /// Pieces that were there until the sync of their file failed or another program was seen to have changed it. They
    /// are no longer [on disk](Storage::on_disk) as far as is known: look at each with [`Storage::check_piece`], which
    /// then reads from the device, and fetch it again if it does not match. Until then they are doubtful, at the next
    /// start too.
    #[must_use]
    pub fn doubtful(&self) -> Vec<PieceIndex> {
        self.ledger.doubtful()
    }

    /// This piece and all others that cannot be read because a file of this one is gone or was cut short. To be looked
    /// at like those that are doubtful.
    ///
    /// # Errors
    /// When the files cannot be looked up, or the download folder [was moved](StorageError::Moved).
    pub fn lost_with(&self, piece: PieceIndex) -> Result<Vec<PieceIndex>, StorageError> {
        let on_disk = self.on_disk();
        let mut lost = BTreeSet::from([piece]);
        let real = self.placement().real.clone();
        for span in self.layout().file_spans(piece, 0, u32::MAX).filter(|span| real.get(span.file.0)) {
            let length = self.length_on_disk(span.file)?.unwrap_or(0);
            let ends_later = |piece: &PieceIndex| {
                let mut spans = self.layout().file_spans(*piece, 0, u32::MAX);
                spans.any(|other| other.file == span.file && length < other.offset + other.length)
            };
            let pieces = self.layout().file_pieces(span.file).filter(|&piece| on_disk.get(piece));
            lost.extend(pieces.filter_map(|piece| self.layout().piece(piece)).filter(ends_later));
        }
        Ok(lost.into_iter().collect())
    }

    /// What the page cache says of these pieces is no proof that the device has them.
    pub(crate) fn distrust_cache(&self, placement: &Placement, pieces: &[PieceIndex]) {
        for &piece in pieces {
            for target in self.targets(placement, piece, 0, self.layout().piece_len(piece)) {
                if let Ok(Some(file)) = self.open(target.location, Access::Read) {
                    disk::forget_cached(&file, target.offset, target.length as u64);
                }
            }
        }
    }

    /// Syncs everything, with file times, and notes in the journal that all is in order: after this the next start
    /// needs no check. Open files are closed. The storage can still be used; that ends the good order until the next
    /// close.
    ///
    /// # Errors
    /// As for [`Storage::sync`]; the journal then says what it can vouch for.
    pub fn close(&self) -> Result<(), StorageError> {
        let _one = self.lock_sync();
        let dirty = self.ledger.take_touched();
        self.sync_dirty(dirty, disk::sync_all)?;
        self.ledger.close()?;
        self.close_idle();
        Ok(())
    }

    fn sync_dirty(&self, mut dirty: Dirty, sync: SyncFile) -> Result<(), StorageError> {
        if !dirty.files.is_empty()
            && let Err(error @ StorageError::Moved { .. }) = self.root(false)
        {
            self.ledger.put_back(dirty, &BTreeSet::new());
            return Err(error);
        }
        let mut failed = BTreeSet::new();
        let mut first_error = None;
        let parts = parts_number(self.layout());
        let is_many = SYNC_ONE_BY_ONE_MAX < dirty.files.len() + dirty.folders.len();
        if is_many && let Err(error) = self.sync_file_system() {
            failed.clone_from(&dirty.files);
            first_error = Some(error);
        }
        // The parts file is on the file system of the state.
        for &number in dirty.files.iter().filter(|&&number| !is_many || number == parts) {
            if let Err(error) = self.sync_file(number, sync) {
                failed.insert(number);
                first_error.get_or_insert(error);
            }
        }
        for folder in dirty.folders.iter().filter(|_| !is_many) {
            if let Err(error) = self.sync_folder_beneath(folder) {
                first_error.get_or_insert(error);
            }
        }
        let Some(error) = first_error else { return self.ledger.commit(&dirty) };
        if let StorageError::Missing { .. } = error {
            // A file that is gone cannot be synced the next time either.
            dirty.files.retain(|number| !failed.contains(number));
        }
        self.ledger.put_back(dirty, &failed);
        self.distrust_cache(&self.placement(), &self.doubtful());
        Err(self.explain(error))
    }

    /// Makes what was written to these files survive a power cut, with the way to them.
    pub(crate) fn sync_files(&self, files: &BTreeSet<u32>) -> Result<(), StorageError> {
        if SYNC_ONE_BY_ONE_MAX < files.len() {
            return self.sync_file_system();
        }
        let mut folders = BTreeSet::new();
        for &file in files {
            self.sync_file(file, disk::sync_data)?;
            let path = self.local_path(FileIndex(file)).unwrap_or_default();
            folders.extend(path.ancestors().skip(1).map(Path::to_path_buf));
        }
        folders.iter().try_for_each(|folder| self.sync_folder_beneath(folder))
    }

    fn sync_file(&self, number: u32, sync: SyncFile) -> Result<(), StorageError> {
        let location = if number == parts_number(self.layout()) {
            Location::Parts
        } else {
            Location::File(FileIndex(number))
        };
        let Some(file) = self.open(location, Access::Read)? else { return Ok(()) };
        if let Location::File(index) = location
            && !self.is_in_place(index, &file)?
        {
            return Err(self.gone(index));
        }
        sync(&file, self.hooks()).map_err(|errno| StorageError::writing(file.path(), errno))
    }

    /// Whether the file that we hold open is the one that its path leads to.
    fn is_in_place(&self, index: FileIndex, file: &OpenFile) -> Result<bool, StorageError> {
        let failed = |errno| StorageError::reading(file.path(), errno);
        let Some(path) = self.local_path(index) else { return Ok(true) };
        let found = self.root(false)?.stat(&path).map_err(failed)?;
        let held = rustix::fs::fstat(file).map_err(failed)?;
        Ok(found.is_some_and(|found| identity(&found) == identity(&held)))
    }

    fn sync_folder_beneath(&self, folder: &Path) -> Result<(), StorageError> {
        let root = self.root(false)?;
        let path = root.full(folder);
        let synced = self.hooks().sync((Op::FolderSync, &path, Synced::Folder), || {
            match root.open_folder(folder).and_then(rustix::fs::fsync) {
                // Removed meanwhile, or a file system that does not sync folders.
                Err(Errno::NOENT | Errno::INVAL) => Ok(()),
                other => other,
            }
        });
        synced.map_err(|errno| StorageError::writing(&path, errno))
    }

    fn sync_file_system(&self) -> Result<(), StorageError> {
        let root = self.root(false)?;
        let synced = self.hooks().sync((Op::Sync, &self.place().root, Synced::FileSystem), || {
            root.open_folder(Path::new("")).and_then(rustix::fs::syncfs)
        });
        synced.map_err(|errno| StorageError::writing(&self.place().root, errno))
    }

    /// Whether writing could succeed again after an error that [is recoverable](StorageError::is_recoverable): tries
    /// the folder, room for one piece, and the journal. Leaves nothing behind.
    ///
    /// # Errors
    /// What is still in the way.
    pub fn probe(&self) -> Result<(), StorageError> {
        let room = u64::from(self.layout().piece_length());
        // What is open may lie on a file system that is no longer there.
        self.close_idle();
        let root = self.root(true)?;
        if !self.options().read_only {
            self.probe_folder(&root, Path::new(""), room)?;
        }
        if let Some(folder) = self.state_folder() {
            create_folders(&folder, PRIVATE_FOLDER, self.hooks()).map_err(|error| self.explain(error))?;
            let state =
                Root::open(&folder, Rights::Write).map_err(|errno| StorageError::reading(&folder, errno))?;
            self.probe_folder(&state, Path::new(""), JOURNAL_ROOM)?;
            self.ledger.flush().map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// The same after an error about `path`, which may lie on another file system, mounted beneath the download folder.
    ///
    /// # Errors
    /// As for [`Storage::probe`].
    pub fn probe_after(&self, path: &Path) -> Result<(), StorageError> {
        self.probe()?;
        if self.options().read_only {
            return Ok(());
        }
        let root = self.root(false)?;
        let Ok(relative) = path.strip_prefix(&self.place().root) else { return Ok(()) };
        let folders = relative.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        for folder in folders {
            match self.probe_folder(&root, folder, u64::from(self.layout().piece_length())) {
                // It is still to be made.
                Err(StorageError::Missing { .. }) => {}
                probed => return probed,
            }
        }
        Ok(())
    }

    /// Whether there is room in a folder beneath `root`.
    fn probe_folder(&self, root: &Root, folder: &Path, room: u64) -> Result<(), StorageError> {
        let path = root.full(folder);
        let failed = |errno| self.explain(StorageError::writing(&path, errno));
        self.hooks().call(Op::Allocate, &path, || Ok(())).map_err(failed)?;
        let folder = root.open_folder(folder).map_err(failed)?;
        // A file without a name: gone when closed, whatever happens.
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&folder, ".", flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, room) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(failed(errno)),
            },
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let how = (rustix::fs::Access::WRITE_OK, AtFlags::empty());
                rustix::fs::accessat(&folder, ".", how.0, how.1).map_err(failed)?;
            }
            Err(Errno::NOSPC) if is_out_of_files(&path) => {
                return Err(StorageError::NoFiles { available: available(&path).unwrap_or(0), path });
            }
            Err(errno) => return Err(failed(errno)),
        }
        if rustix::fs::fstatvfs(&folder).is_ok_and(|stat| room_on(&stat) < room) {
            return Err(failed(Errno::NOSPC));
        }
        Ok(())
    }

    /// Fills in how much is needed and how much there is.
    pub(crate) fn explain(&self, error: StorageError) -> StorageError {
        let StorageError::NoSpace { path, needed: 0, .. } = error else { return error };
        let is_journal =
            self.state_folder().is_some_and(|folder| path.starts_with(folder) && !path.ends_with("parts"));
        let needed = if is_journal { JOURNAL_ROOM } else { self.bytes_to_come() };
        let available = path.ancestors().find_map(available).unwrap_or(0);
        // What is there already needs bytes alone.
        let wants_bytes = available < needed && path.symlink_metadata().is_ok();
        if !wants_bytes && available != 0 && is_out_of_files(&path) {
            return StorageError::NoFiles { path, available };
        }
        StorageError::NoSpace { path, needed, available }
    }

    /// Bytes of wanted pieces that are not on disk.
    fn bytes_to_come(&self) -> u64 {
        let on_disk = self.on_disk();
        // An error while the placement is being changed must not wait for that change.
        let placement = self.placement_lock().try_read();
        let is_wanted = |piece| {
            let Ok(placement) = &placement else { return true };
            self.layout().file_spans(piece, 0, u32::MAX).any(|span| placement.wanted.get(span.file.0))
        };
        let missing = self.layout().pieces().filter(|piece| !on_disk.get(piece.get()) && is_wanted(*piece));
        missing.map(|piece| u64::from(self.layout().piece_len(piece))).sum::<u64>().max(1)
    }

    pub(crate) fn lock_sync(&self) -> MutexGuard<'_, ()> {
        self.sync_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type SyncFile = fn(&OpenFile, &Hooks) -> Result<(), Errno>;

/// Bytes that an ordinary user may still write to the file system of `path`; `None` when it cannot be asked.
fn available(path: &Path) -> Option<u64> {
    rustix::fs::statvfs(path).ok().map(|stat| room_on(&stat))
}

/// Whether the file system that holds `path`, or will hold it, takes no more files. Some count none, and never say so.
#[must_use]
pub fn is_out_of_files(path: &Path) -> bool {
    let stat = path.ancestors().find_map(|there| rustix::fs::statvfs(there).ok());
    stat.is_some_and(|stat| stat.f_files != 0 && stat.f_favail == 0)
}

fn room_on(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}
