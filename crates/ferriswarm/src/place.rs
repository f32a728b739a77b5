//! Where the payload of a torrent lies, or will lie, on this disk.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use ferri_metainfo::names::LocalPaths;
use ferri_metainfo::{FileIndex, Info, Metainfo};

use crate::exit::{Exit, Failure};
use crate::session;

/// The paths of a torrent's files below one payload.
#[derive(Debug)]
pub(crate) struct Place {
    names: LocalPaths,
    /// The file of a single-file torrent, or the folder that holds the files of another.
    payload: PathBuf,
}

impl Place {
    /// Below the folder that downloads go to.
    pub(crate) fn in_folder(info: &Info, folder: &Path) -> Result<Self, Failure> {
        let names = names(info)?;
        let payload = folder.join(names.top());
        Ok(Self { names, payload })
    }

    /// At `path`, which is the payload or the folder that holds it; `typed` is how the person wrote it.
    pub(crate) fn at(metainfo: &Metainfo, path: &Path, typed: &Path) -> Result<Self, Failure> {
        let meta = fs::metadata(path).map_err(|error| Failure::file("read", typed, &error))?;
        let info = metainfo.info();
        if info.is_multi_file() && !meta.is_dir() {
            let message = format!("{} is a file, but the torrent is a folder of files", typed.display());
            return Err(Failure::new(Exit::NotFound, message));
        }
        let payload = ferri_engine::locate(info, path).map_err(|error| session::failure(&error))?;
        Ok(Self { names: names(info)?, payload })
    }

    pub(crate) fn payload(&self) -> &Path {
        &self.payload
    }

    /// `None` for padding, which is never kept.
    pub(crate) fn path(&self, file: FileIndex) -> Option<PathBuf> {
        let local = self.names.path(file)?;
        // The payload may have another name than the torrent.
        let below = local.strip_prefix(self.names.top()).unwrap_or(local);
        Some(if below.as_os_str().is_empty() { self.payload.clone() } else { self.payload.join(below) })
    }

    /// What lies there now; never looks through a link.
    pub(crate) fn metadata(&self, file: FileIndex) -> Option<Metadata> {
        self.path(file).and_then(|path| fs::symlink_metadata(path).ok())
    }
}

fn names(info: &Info) -> Result<LocalPaths, Failure> {
    LocalPaths::new(info).map_err(|error| Failure::new(Exit::BadTorrent, error.to_string()))
}
