//! Where the payload of a torrent lies, when a person names it or the folder around it.

use std::path::{Path, PathBuf};

use ferri_metainfo::Metainfo;
use ferri_metainfo::names::LocalPaths;

use crate::exit::{Exit, Failure};

/// The file of a single-file torrent, or the folder that holds the files of another. `path` is the payload or the
/// folder that holds it; `typed` is how the person wrote it.
pub(crate) fn payload(metainfo: &Metainfo, path: &Path, typed: &Path) -> Result<PathBuf, Failure> {
    let meta = std::fs::metadata(path).map_err(|error| Failure::file("read", typed, &error))?;
    let info = metainfo.info();
    let names = LocalPaths::new(info).map_err(|error| Failure::new(Exit::BadTorrent, error.to_string()))?;
    let inside = path.join(names.top());
    match (info.is_multi_file(), meta.is_dir()) {
        (false, false) => Ok(path.to_owned()),
        (false, true) if inside.is_file() => Ok(inside),
        (false, true) => Err(Failure::new(
            Exit::NotFound,
            format!("{} holds no file named {}", typed.display(), names.top().display()),
        )),
        (true, true) if inside.is_dir() => Ok(inside),
        (true, true) => Ok(path.to_owned()),
        (true, false) => Err(Failure::new(
            Exit::NotFound,
            format!("{} is a file, but the torrent is a folder of files", typed.display()),
        )),
    }
}
