//! Where the payload of a torrent lies, or will lie, on this disk.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ferri_engine::{Alias, Error, Found, Halt, Places, StorageError, unfinished_beside};
use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{FileIndex, Info, Metainfo};

use crate::exit::{Exit, Failure};
use crate::session;

/// The paths of a torrent's files below one payload.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    /// What the files' places are relative to.
    root: PathBuf,
    /// The file of a single-file torrent, or the folder that holds the files of another.
    payload: PathBuf,
}

impl Place {
    /// Below the folder that downloads go to.
    pub(crate) fn in_folder(info: &Info, folder: &Path, halt: &Halt) -> Result<Self, Failure> {
        let places = Places::find_until(info, names(info)?, folder, None, halt).map_err(halted)?;
        let payload = payload(folder, &places);
        Ok(Self { places, root: folder.to_owned(), payload })
    }

    /// Of a path that is known to be the payload.
    pub(crate) fn of_payload(info: &Info, payload: &Path, halt: &Halt) -> Result<Self, Failure> {
        let (root, top) = match (payload.parent(), payload.file_name()) {
            (Some(root), Some(top)) => (root.to_owned(), top.to_owned()),
            // A folder without a name of its own (`..`): the files lie in it all the same.
            _ => (payload.to_owned(), OsString::new()),
        };
        let places = Places::find_until(info, names(info)?, &root, Some(top), halt).map_err(halted)?;
        Ok(Self { places, root, payload: payload.to_owned() })
    }

    /// At `path`, which is the payload or the folder that holds it; `typed` is how the person wrote it.
    pub(crate) fn at(metainfo: &Metainfo, path: &Path, typed: &Path, halt: &Halt) -> Result<Self, Failure> {
        let info = metainfo.info();
        Self::of_payload(info, &payload_at(metainfo, path, typed)?, halt)
    }

    /// What a torrent that is added is told, so that no file is looked at twice.
    pub(crate) fn into_places(self) -> Places {
        self.places
    }

    pub(crate) fn payload(&self) -> &Path {
        &self.payload
    }

    /// The payload as it lies now: the file of a single-file torrent may have another name while it is unfinished.
    pub(crate) fn lies_at(&self, info: &Info) -> PathBuf {
        let only = if info.is_multi_file() { None } else { self.path(FileIndex(0)) };
        only.unwrap_or_else(|| self.payload.clone())
    }

    /// What the files' places are relative to.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// `None` for padding, which is never kept.
    pub(crate) fn path(&self, file: FileIndex) -> Option<PathBuf> {
        self.places.path(file).map(|path| self.root.join(path))
    }

    /// Why the file does not lie where its name says.
    pub(crate) fn alias(&self, file: FileIndex) -> Option<Alias> {
        self.places.alias(file)
    }

    /// What lies in the places of files now; never looks through a link.
    pub(crate) fn look_at(
        &self,
        files: impl IntoIterator<Item = FileIndex>,
        halt: &Halt,
        each: impl FnMut(FileIndex, Found),
    ) -> Result<(), Failure> {
        self.places.look_at(&self.root, files, halt, each).map_err(halted)
    }
}

/// The payload of a torrent, at `path` or in it; `typed` is how the person wrote that.
pub(crate) fn payload_at(metainfo: &Metainfo, path: &Path, typed: &Path) -> Result<PathBuf, Failure> {
    let meta = fs::metadata(path).map_err(|error| match unfinished_beside(path) {
        Some(beside) if error.kind() == ErrorKind::NotFound => {
            let message = format!("{} is not there, but {} is", typed.display(), beside.display());
            Failure::new(Exit::NotFound, message).hint(UNFINISHED)
        }
        _ => Failure::file("read", typed, &error),
    })?;
    let info = metainfo.info();
    if info.is_multi_file() && !meta.is_dir() {
        let message = format!("{} is a file, but the torrent is a folder of files", typed.display());
        return Err(Failure::new(Exit::NotFound, message).hint("name the folder that holds its files"));
    }
    ferri_engine::locate(info, path).map_err(|error| session::failure(&error))
}

/// What to do about a file that lies beside its name.
pub(crate) const UNFINISHED: &str = "that is what an unfinished download is called: `ferriswarm get` finishes it, or name it as \
     the payload";

fn halted(error: StorageError) -> Failure {
    session::failure(&Error::Storage(error))
}

/// The file or folder that the files lie in, beneath `folder`.
fn payload(folder: &Path, places: &Places) -> PathBuf {
    // Another client may have been told to make no folder.
    if places.top().is_empty() { folder.to_owned() } else { folder.join(places.top()) }
}

fn names(info: &Info) -> Result<LocalPaths, Failure> {
    LocalPaths::new(info).map_err(|error| {
        Failure::new(Exit::BadTorrent, error.to_string()).hint("ask the maker of the torrent for another one")
    })
}
