//! What lies below a path, as a torrent's content. Looks at names and lengths; reads no file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::create::{Content, NewFile};

use crate::exit::Failure;

/// Content, and where each of its files is on this disk.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) content: Content,
    /// For a single file, the key is empty.
    pub(crate) paths: Paths,
    /// What a torrent cannot or should not carry.
    pub(crate) skipped: Vec<Skipped>,
}

/// Components in the torrent to the path on disk.
pub(crate) type Paths = std::collections::BTreeMap<Vec<String>, PathBuf>;

#[derive(Debug)]
pub(crate) struct Skipped {
    pub(crate) path: PathBuf,
    pub(crate) why: &'static str,
}

/// `root` is a file or a folder; `except` is the torrent being made, which may lie inside.
pub(crate) fn payload(root: &Path, except: Option<&Path>) -> Result<Payload, Failure> {
    let failed = |path: &Path, error: io::Error| Failure::file("read", path, &error);
    let meta = fs::metadata(root).map_err(|error| failed(root, error))?;
    if !meta.is_dir() {
        let content = Content::File { length: meta.len(), executable: is_executable(&meta) };
        let paths = Paths::from([(Vec::new(), root.to_owned())]);
        return Ok(Payload { content, paths, skipped: Vec::new() });
    }
    let mut files = Vec::new();
    let (mut paths, mut skipped) = (Paths::new(), Vec::new());
    let mut folders = vec![(root.to_owned(), Vec::new())];
    while let Some((folder, components)) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| failed(&folder, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(&folder, error))?;
            let path = entry.path();
            if except == Some(&path) {
                continue;
            }
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(Failure::usage(format!("{}: its name is no UTF-8 text", path.display()))
                    .hint("rename it; a torrent's names are UTF-8"));
            };
            // Not through links: what is shared is what lies here.
            let meta = fs::symlink_metadata(&path).map_err(|error| failed(&path, error))?;
            let mut below = components.clone();
            below.push(name);
            if meta.is_dir() {
                folders.push((path, below));
            } else if meta.is_file() {
                let file =
                    NewFile { executable: is_executable(&meta), ..NewFile::new(below.clone(), meta.len()) };
                files.push(file);
                paths.insert(below, path);
            } else {
                let why = if meta.is_symlink() { "a symbolic link" } else { "neither a file nor a folder" };
                skipped.push(Skipped { path, why });
            }
        }
    }
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Payload { content: Content::Folder(files), paths, skipped })
}

fn is_executable(meta: &Metadata) -> bool {
    meta.permissions().mode() & 0o100 != 0
}
