//! What lies below a path, as a torrent's content. Looks at names and lengths; reads no file but one that may be the
//! torrent of an earlier run.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::Metainfo;
use ferri_metainfo::create::{Content, NewFile};
use ferri_metainfo::limits::{FILES_MAX, PATH_COMPONENTS_MAX, TORRENT_BYTES_MAX};
use serde::Serialize;

use super::choice::{Choice, Verdict};
use crate::exit::{Exit, Failure};
use crate::out::Identity;
use crate::work::Progress;

/// Content, and where each of its files is on this disk.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) content: Content,
    /// For a single file, the key is empty.
    pub(crate) paths: Paths,
    pub(crate) left_out: LeftOut,
}

/// Components in the torrent to the path on disk.
pub(crate) type Paths = std::collections::BTreeMap<Vec<String>, PathBuf>;

/// What is not shared. Folders count as one, whatever is in them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LeftOut {
    /// What operating systems and their programs leave behind.
    pub(crate) litter: u64,
    /// By `--no-hidden`.
    pub(crate) hidden: u64,
    /// By `--exclude`, or because no `--include` names it.
    pub(crate) excluded: u64,
    /// Links, devices and the like.
    pub(crate) special: u64,
    /// The names of the litter.
    #[serde(skip)]
    pub(crate) litter_names: BTreeSet<String>,
    /// The first of the special ones, with the reason.
    #[serde(skip)]
    pub(crate) specials: Vec<(PathBuf, &'static str)>,
}

/// So many of what is left out are told by name.
const NAMED_MAX: usize = 20;

/// `root` is a file or a folder; `outputs` are what will be replaced, which may lie inside. Ends early when `progress` is
/// cancelled.
pub(crate) fn payload(
    root: &Path,
    outputs: &[Identity],
    choice: &Choice,
    progress: &Progress,
) -> Result<Payload, Failure> {
    let meta = fs::metadata(root).map_err(|error| failed(root, &error))?;
    if !meta.is_dir() {
        if outputs.contains(&Identity::of(&meta)) {
            return Err(own_input(root));
        }
        let content = Content::File { length: meta.len(), executable: is_executable(&meta) };
        let paths = Paths::from([(Vec::new(), root.to_owned())]);
        return Ok(Payload { content, paths, left_out: LeftOut::default() });
    }
    let mut walk = Walk {
        outputs,
        choice,
        progress,
        files: Vec::new(),
        paths: Paths::new(),
        left_out: LeftOut::default(),
        folders: Vec::new(),
        seen: 0,
    };
    let top = Folder {
        path: root.to_owned(),
        components: Vec::new(),
        is_named: false,
        above: vec![Identity::of(&meta)],
    };
    walk.folders.push(top);
    while let Some(folder) = walk.folders.pop() {
        walk.folder(&folder)?;
    }
    let Walk { files, paths, mut left_out, .. } = walk;
    left_out.specials.sort();
    Ok(Payload { content: Content::Folder(files), paths, left_out })
}

struct Walk<'a> {
    outputs: &'a [Identity],
    choice: &'a Choice,
    progress: &'a Progress,
    files: Vec<NewFile>,
    paths: Paths,
    left_out: LeftOut,
    folders: Vec<Folder>,
    /// Files and folders so far.
    seen: usize,
}

/// A folder that has not been looked into.
struct Folder {
    path: PathBuf,
    components: Vec<String>,
    /// Everything in it is wanted by name.
    is_named: bool,
    /// It and the folders above it, when links are followed: one that leads back to them has no end.
    above: Vec<Identity>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Folder) -> Result<(), Failure> {
        let entries = fs::read_dir(&folder.path).map_err(|error| failed(&folder.path, &error))?;
        for entry in entries {
            if self.progress.is_cancelled() {
                return Err(stopped());
            }
            let entry = entry.map_err(|error| failed(&folder.path, &error))?;
            self.entry(folder, entry.path(), &entry.file_name())?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Folder, path: PathBuf, name: &std::ffi::OsStr) -> Result<(), Failure> {
        let Some(name) = name.to_str() else {
            return Err(Failure::usage(format!("{}: its name is no UTF-8 text", path.display()))
                .hint("rename it, or leave it out with --exclude; a torrent's names are UTF-8"));
        };
        let mut components = folder.components.clone();
        components.push(name.to_owned());
        let is_named = match self.choice.verdict(&components, folder.is_named) {
            Verdict::Named => true,
            Verdict::Unnamed => false,
            Verdict::Litter => {
                self.left_out.litter += 1;
                if self.left_out.litter_names.len() < NAMED_MAX {
                    self.left_out.litter_names.insert(name.to_owned());
                }
                return Ok(());
            }
            Verdict::Hidden => {
                self.left_out.hidden += 1;
                return Ok(());
            }
            Verdict::Excluded => {
                self.left_out.excluded += 1;
                return Ok(());
            }
        };
        let own = fs::symlink_metadata(&path).map_err(|error| failed(&path, &error))?;
        let meta = match (own.is_symlink(), self.choice.follows_links()) {
            (false, _) => own,
            (true, false) => return self.special(path, "a symbolic link"),
            (true, true) => match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(_) => return self.special(path, "a symbolic link that leads nowhere"),
            },
        };
        if meta.is_dir() {
            return self.subfolder(folder, path, components, is_named, &meta);
        }
        if !meta.is_file() {
            return self.special(path, "neither a file nor a folder");
        }
        if self.outputs.contains(&Identity::of(&meta)) {
            // What an earlier run made is no part of what it was made of.
            return if is_torrent(&path) { Ok(()) } else { Err(own_input(&path)) };
        }
        if !is_named && self.choice.has_includes() {
            self.left_out.excluded += 1;
            return Ok(());
        }
        self.count(&path)?;
        let executable = is_executable(&meta);
        self.files.push(NewFile { executable, ..NewFile::new(components.clone(), meta.len()) });
        self.paths.insert(components, path);
        Ok(())
    }

    fn subfolder(
        &mut self,
        parent: &Folder,
        path: PathBuf,
        components: Vec<String>,
        is_named: bool,
        meta: &Metadata,
    ) -> Result<(), Failure> {
        let mut above = Vec::new();
        if self.choice.follows_links() {
            let identity = Identity::of(meta);
            if parent.above.contains(&identity) {
                return self.special(path, "a symbolic link to a folder that it lies in");
            }
            above.clone_from(&parent.above);
            above.push(identity);
        }
        self.count(&path)?;
        if PATH_COMPONENTS_MAX < components.len() {
            return Err(Failure::usage(format!("{} lies too deep for a torrent", path.display()))
                .hint("move it up, or leave it out with --exclude"));
        }
        self.folders.push(Folder { path, components, is_named, above });
        Ok(())
    }

    fn special(&mut self, path: PathBuf, why: &'static str) -> Result<(), Failure> {
        self.left_out.special += 1;
        if self.left_out.specials.len() < NAMED_MAX {
            self.left_out.specials.push((path, why));
        }
        Ok(())
    }

    /// One more; links can make a folder of a few files endless.
    fn count(&mut self, path: &Path) -> Result<(), Failure> {
        self.seen += 1;
        self.progress.add(1);
        if FILES_MAX < self.seen {
            let message = format!("more than {FILES_MAX} files and folders, at {}", path.display());
            return Err(Failure::usage(message).hint("a torrent has no more; leave some out with --exclude"));
        }
        Ok(())
    }
}

/// Why nothing is made after Ctrl-C.
pub(super) fn stopped() -> Failure {
    Failure::new(Exit::Interrupted, "stopped; nothing was written")
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::file("read", path, error)
}

fn own_input(path: &Path) -> Failure {
    let message = format!("{} is part of what is shared, and the torrent would replace it", path.display());
    Failure::new(Exit::WouldOverwrite, message).hint("choose another name with -o")
}

fn is_torrent(path: &Path) -> bool {
    let is_small = fs::metadata(path).is_ok_and(|meta| meta.len() <= TORRENT_BYTES_MAX as u64);
    is_small && fs::read(path).is_ok_and(|bytes| Metainfo::parse(&bytes).is_ok())
}

fn is_executable(meta: &Metadata) -> bool {
    meta.permissions().mode() & 0o100 != 0
}
