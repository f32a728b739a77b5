//! What a handle asks for: files at another place, other names, and where everything is.

use std::path::PathBuf;
use std::sync::Arc;

use ferri_metainfo::FileIndex;
use ferri_storage::{Moved, Store};
use tokio::sync::oneshot;

use crate::store::{Record, StoreError};
use crate::torrent::Torrent;
use crate::torrent::command::{Command, Order};
use crate::torrent::refused::{FilesError, Refused};
use crate::torrent::work::Work;

/// A name of a torrent may be as long as that of a file.
const NAME_BYTES_MAX: usize = 255;

impl Torrent {
    /// Moves its files to another download folder while it works; the folder is made if it is missing. All of them are there
    /// afterwards, or none is. Peers stay and are served; nothing is fetched meanwhile. On the same file system that is a
    /// matter of moments. To another one files are copied first, which [`TorrentStatus::moving`](crate::TorrentStatus::moving)
    /// shows, and which [`Self::stop`] and [`Session::delete`](crate::Session::delete) end.
    ///
    /// Works in every state: at once, or as soon as the first look at its files is over; of a torrent that is being resolved it
    /// says where its files will go. Only files with data of the torrent are moved; the answer names those that stay.
    /// [`TorrentSettings::folder`](crate::TorrentSettings) tells the folder, and the session's store keeps it.
    ///
    /// # Errors
    /// Everything is where it was then, but with [`Refused::NotKept`]: that says that it is done.
    /// - [`FilesError::Refused`]: [`Refused::Stopped`], [`Refused::OnlyServes`], [`Refused::NoFiles`],
    ///   [`Refused::TooManyMoves`]; [`Refused::Unresolved`] when the torrent waits for [`Self::choose`].
    /// - [`FilesError::Storage`]: [`Occupied`](crate::StorageError::Occupied) or [`Taken`](crate::StorageError::Taken)
    ///   when something, or another torrent, is where a file was to go; [`NoSpace`](crate::StorageError::NoSpace);
    ///   [`Halted`](crate::StorageError::Halted) when it was stopped meanwhile; other errors of the disk.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(torrent: ferri_engine::Torrent) -> Result<(), Box<dyn std::error::Error>> {
    /// use ferri_engine::{FilesError, StorageError};
    ///
    /// match torrent.move_to("/mnt/archive").await {
    ///     Ok(moved) => println!("{} files are there, {} stayed", moved.files, moved.stayed.len()),
    ///     Err(FilesError::Storage(StorageError::Occupied { path })) => {
    ///         println!("{} lies there already", path.display());
    ///     }
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn move_to(&self, folder: impl Into<PathBuf>) -> Result<Moved, FilesError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Work(Work::Move(folder.into(), reply))).await;
        answer.await.unwrap_or(Err(FilesError::Refused(Refused::Stopped)))
    }

    /// Gives a file another path, relative to the download folder ([`TorrentSettings::folder`](crate::TorrentSettings)), as
    /// "rename files" of other clients does: `name/sub/file` of a torrent with several files, or a name alone. Folders are made, and
    /// empty ones removed. Also of a file that is not there yet. [`Self::file_paths`] tells the path, and the session's store
    /// keeps it.
    ///
    /// # Errors
    /// As [`Self::move_to`], and: [`Refused::NoSuchFile`]; [`BadPath`](crate::StorageError::BadPath) when no file may be
    /// called so; [`Occupied`](crate::StorageError::Occupied) when another file of the torrent, or something else, is.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(torrent: ferri_engine::Torrent) -> Result<(), Box<dyn std::error::Error>> {
    /// use ferri_metainfo::FileIndex;
    ///
    /// torrent.rename_file(FileIndex(0), "holiday/first day.mkv").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rename_file(&self, file: FileIndex, path: impl Into<PathBuf>) -> Result<(), FilesError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Work(Work::RenameFile(file, path.into(), reply))).await;
        answer.await.unwrap_or(Err(FilesError::Refused(Refused::Stopped)))
    }

    /// Calls the torrent by this name from here on, as "rename torrent" of other clients does: it is what is shown
    /// ([`TorrentStatus::name`](crate::TorrentStatus::name)) and kept by the session's store. Nothing on disk changes: for that
    /// there are [`Self::rename_file`] and [`Self::move_to`]. An empty name is the torrent's own again.
    ///
    /// # Errors
    /// [`Refused::Stopped`], [`Refused::NameTooLong`].
    pub async fn rename(&self, name: impl Into<String>) -> Result<(), Refused> {
        let name = name.into();
        if NAME_BYTES_MAX < name.len() {
            return Err(Refused::NameTooLong { bytes: name.len(), most: NAME_BYTES_MAX });
        }
        self.order(Order::Rename(Some(name).filter(|name| !name.is_empty()))).await
    }

    /// Where each file lies, or will lie when it is there, relative to the download folder, in the torrent's order; `None` for
    /// padding. Empty when its pieces do not lie in files.
    ///
    /// # Errors
    /// [`Refused::Stopped`], [`Refused::Unresolved`].
    pub async fn file_paths(&self) -> Result<Vec<Option<PathBuf>>, Refused> {
        // The torrent's task has better to do than to name a million files.
        let places = self.look(|seen| seen.storage.files().map(|files| files.places().clone())).await?;
        let paths = places
            .zip(self.info())
            .map(|(places, info)| info.layout().files().map(|file| places.path(file)).collect::<Vec<_>>());
        Ok(paths.unwrap_or_default())
    }

    /// Its files are where the storage found them, which what is kept of it did not know: the last process died before it was
    /// kept.
    pub(in crate::torrent) fn keep_place(&self, storage: &Arc<Store>) {
        let Some(files) = storage.files().filter(|files| files.is_unconfirmed()) else { return };
        let (folder, renamed) = (files.place().root.clone(), files.renamed());
        let (storage, kept) = (storage.clone(), folder.clone());
        let reply = move |result: Result<(), StoreError>| {
            if let (Ok(()), Some(files)) = (result, storage.files()) {
                files.confirm_move(&kept);
            }
        };
        let change = move |record: &mut Record| {
            record.move_to(&folder);
            record.names.files = renamed;
        };
        self.keep(change, Box::new(reply));
    }
}
