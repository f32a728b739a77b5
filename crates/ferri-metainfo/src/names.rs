//! From the paths in a torrent to paths on this disk.
//!
//! A torrent's paths come from a stranger. [`LocalPaths`] maps each file to a relative path that lies inside the folder
//! a download goes to, is no other file's, and is the same every time. It does no I/O: not to follow links that were
//! planted in the target is the storage's part.
//!
//! The rule of thumb: a name stays as it is wherever Linux can store it and it does no harm; what would be harmful
//! anywhere is replaced by `_`; a path of which nothing sensible is left is refused.
//!
//! | # | in the torrent | on this disk |
//! |--:|---|---|
//! | 1 | empty component, `.` | left out: `a//./b` is `a/b`, `/etc/x` is `etc/x` |
//! | 2 | `..` | `_` |
//! | 3 | `/` or `\` inside a component | `_` each: `../../x` in one component is `.._.._x` |
//! | 4 | NUL, other control characters (C0, DEL, C1) | `_` each |
//! | 5 | bidirectional controls, line and paragraph separators | `_` each |
//! | 6 | names Windows reserves (`CON`, `NUL.txt`, `a:b`, `end.`), a leading `-` or `~`, spaces | kept: they are ordinary names here |
//! | 7 | any script, any Unicode normal form, joiners | kept byte for byte: NFC and NFD names are two names |
//! | 8 | a component over 255 bytes | cut between characters, `~` and 8 hex digits of its SHA-1 added, extension kept |
//! | 9 | the same path twice, also after rules 1 to 8 | the later one is numbered: `name.1.ext`, `name.2.ext`, ... |
//! | 10 | names that differ by case only | kept: they are two names here, unless rule 18 applies |
//! | 11 | a file where another file needs a folder | the file is numbered, the folder keeps its name |
//! | 12 | a path that is over 3,840 bytes, with the torrent's name | refused: no shortening would leave it recognisable |
//! | 13 | a path without any name (`[]`, `["", "."]`) | refused |
//! | 14 | the same for the torrent's own name | the info hash in hex |
//! | 15 | padding: `attr` says so (BEP 47), or `.pad/N` or `_____padding_file_...` that fills its piece | no path: not stored, reads as zeros |
//! | 16 | a symbolic link to a file or folder of the torrent | a relative target, which cannot leave the torrent's folder |
//! | 17 | any other link (`..`, absolute, to nothing, to itself or a folder around it) | not made; [`LocalPaths::ignored_links`] says why |
//!
//! A folder may lie on a file system that is more particular. Then a file is called by the first [`Style`] that the
//! file system takes; who stores the file finds out which.
//!
//! | # | the file system | on this disk |
//! |--:|---|---|
//! | 18 | takes names for one that differ by case, normal form or what cannot be seen | the later one is numbered as in rule 9 |
//! | 19 | refuses a name that Windows refuses | `_` for `"`, `*`, `:`, `<`, `>`, `?`, `\|` and a dot or space at the end; `_CON` for `CON` |
//! | 20 | refuses it still (only ASCII, short names) | `_` for other letters, at most 143 bytes, and `~` with 8 hex digits of the SHA-1 |
//! | 21 | refuses that too | an error with the file's name and what the system said |
//!
//! A file whose path needs no change keeps it, whatever a changed one would like to be called. Files of several
//! torrents are kept apart by their folders, which the caller chooses.

mod component;
mod foreign;
mod links;
mod plain;
mod restyle;
mod style;
mod tree;
mod user;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use self::component::{COMPONENT_BYTES_MAX, local_component};
pub use self::foreign::foreign_paths;
pub use self::links::LinkProblem;
use self::restyle::Particulars;
pub use self::restyle::Rival;
pub use self::style::{Style, composed};
use self::tree::{Source, Tree};
pub use self::user::{PathProblem, user_path};
use crate::display::sanitize;
use crate::{FileIndex, Info};

/// Where each file of a torrent goes, relative to the folder of the download. Cheap to clone.
///
/// Injective: no two files have one path, and no file lies where another needs a folder. Idempotent: the paths of a
/// torrent that was made from the result stay as they are.
#[derive(Clone)]
pub struct LocalPaths(Arc<Inner>);

struct Inner {
    top: Box<str>,
    /// All paths one after the other.
    text: String,
    /// Where each file's path ends in `text`; for padding, where the one before ends.
    ends: Vec<u32>,
    /// Files with another name than they had, ascending, and what the torrent calls them.
    changed: Vec<(FileIndex, Box<str>)>,
    /// What the torrent calls itself, where that was changed.
    changed_top: Option<Box<str>>,
    /// Ascending by file.
    links: Vec<(FileIndex, Box<str>)>,
    /// Ascending by file.
    ignored_links: Vec<(FileIndex, LinkProblem)>,
    /// What particular file systems could have against the names, once a caller asked.
    particulars: OnceLock<Particulars>,
}

impl LocalPaths {
    /// Maps the paths of a torrent; once for all that ask.
    ///
    /// # Errors
    /// When a file's path cannot be meant: rules 12 and 13 in the [module's documentation](self).
    pub fn new(info: &Info) -> Result<Self, NameError> {
        info.local_paths.get_or_init(|| plain::paths(info).map_or_else(|| Self::by_tree(info), Ok)).clone()
    }

    /// For any names.
    fn by_tree(info: &Info) -> Result<Self, NameError> {
        let files = info.files();
        let source = |file: FileIndex| {
            let file = files.get(file).expect("asked for files of this torrent only");
            Source { path: file.path(), is_pad: file.is_pad(), link: file.symlink_target }
        };
        let fallback = info.info_hashes().wire().to_string();
        let count = u32::try_from(files.len()).expect("FILES_MAX is far below");
        if info.is_multi_file() {
            Self::folder(info.name(), &fallback, count, source)
        } else {
            Self::single(&source(FileIndex(0)), &fallback)
        }
    }

    /// Where the file goes. Relative, without `.` and `..`; below [`LocalPaths::top`] if the torrent has a folder.
    /// `None` for padding and for an index that the torrent does not have.
    #[must_use]
    pub fn path(&self, file: FileIndex) -> Option<&Path> {
        self.0.path(file.as_usize()).map(Path::new)
    }

    /// The one name that all paths begin with: the torrent's folder, or its only file.
    #[must_use]
    pub fn top(&self) -> &Path {
        Path::new(&*self.0.top)
    }

    /// Files that are stored, and where, in the order of the torrent.
    pub fn iter(&self) -> impl Iterator<Item = (FileIndex, &Path)> + '_ {
        (0..self.0.ends.len()).filter_map(|at| Some((index(at), Path::new(self.0.path(at)?))))
    }

    /// What a symbolic link must contain: relative to the folder it is in, and never out of the torrent's own.
    /// `None` for a file that is no link, and for one that is not to be made.
    #[must_use]
    pub fn symlink_target(&self, file: FileIndex) -> Option<&Path> {
        let links = &self.0.links;
        let at = links.binary_search_by_key(&file, |(link, _)| *link).ok()?;
        Some(Path::new(&*links[at].1))
    }

    /// The links of the torrent that are not made, and why, in the order of the torrent.
    #[must_use]
    pub fn ignored_links(&self) -> &[(FileIndex, LinkProblem)] {
        &self.0.ignored_links
    }

    /// Files that have another path than the torrent says: which, what it says (components joined with `/`,
    /// unchecked text), and where they go. A change of the torrent's own name is [`LocalPaths::changed_top`], not
    /// repeated here for each file.
    pub fn changed(&self) -> impl Iterator<Item = (FileIndex, &str, &Path)> + '_ {
        self.0.changed.iter().map(|(file, original)| {
            let local = self.path(*file).expect("only files that are stored are noted");
            (*file, &**original, local)
        })
    }

    /// What the torrent calls itself (unchecked text), if [`LocalPaths::top`] is called otherwise.
    #[must_use]
    pub fn changed_top(&self) -> Option<&str> {
        self.0.changed_top.as_deref()
    }

    fn single(file: &Source<'_>, fallback: &str) -> Result<Self, NameError> {
        let original = file.path.join("/");
        let local: Vec<_> = file.path.iter().filter_map(|part| local_component(part)).collect();
        // The file carries the torrent's name, so rule 14 applies and not rule 13.
        let local = if local.is_empty() { fallback.to_owned() } else { local.join("/") };
        if PATH_BYTES_MAX < local.len() {
            return Err(NameError {
                file: FileIndex(0),
                path: original,
                reason: NameProblem::TooLong(local.len()),
            });
        }
        let end = u32::try_from(local.len()).expect("checked above");
        let changed = original != local;
        Ok(Self(Arc::new(Inner {
            top: local.split('/').next().unwrap_or(&local).into(),
            text: local,
            ends: vec![end],
            changed: if changed { vec![(FileIndex(0), original.into())] } else { Vec::new() },
            changed_top: None,
            links: Vec::new(),
            ignored_links: file.link.map(|_| (FileIndex(0), LinkProblem::Nothing)).into_iter().collect(),
            particulars: OnceLock::new(),
        })))
    }

    fn folder<'a>(
        name: &str,
        fallback: &str,
        count: u32,
        source: impl Fn(FileIndex) -> Source<'a>,
    ) -> Result<Self, NameError> {
        check_amount(count, &source)?;
        let top = local_component(name).unwrap_or(Cow::Borrowed(fallback));
        let tree = Tree::build(Style::Exact, count, &source);
        let mut inner = Inner {
            top: (&*top).into(),
            text: String::new(),
            ends: Vec::with_capacity(count as usize),
            changed: Vec::new(),
            changed_top: (top != name).then(|| name.into()),
            links: Vec::new(),
            ignored_links: Vec::new(),
            particulars: OnceLock::new(),
        };
        for file in (0..count).map(FileIndex) {
            inner.add(file, &source(file), &tree, &top)?;
        }
        for file in (0..count).map(FileIndex) {
            if let Some(target) = source(file).link.filter(|_| inner.path(file.as_usize()).is_some()) {
                match links::resolve(file, target, &tree, &source, &inner) {
                    Ok(target) => inner.links.push((file, target.into())),
                    Err(problem) => inner.ignored_links.push((file, problem)),
                }
            }
        }
        Ok(Self(Arc::new(inner)))
    }
}

impl fmt::Debug for LocalPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPaths")
            .field("top", &self.0.top)
            .field("files", &self.0.ends.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn path(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        (begin < end).then(|| &self.text[begin..end])
    }

    /// The next file's path, below `top`; an empty one adds nothing.
    fn add(
        &mut self,
        file: FileIndex,
        source: &Source<'_>,
        tree: &Tree<'_>,
        top: &str,
    ) -> Result<(), NameError> {
        if !source.is_pad {
            let refuse = |reason| NameError { file, path: source.path.join("/"), reason };
            let local = tree.local_path(file, source);
            if local.is_empty() {
                return Err(refuse(NameProblem::Nothing));
            }
            let length = top.len() + local.iter().map(|part| 1 + part.len()).sum::<usize>();
            if PATH_BYTES_MAX < length {
                return Err(refuse(NameProblem::TooLong(length)));
            }
            if PATHS_BYTES_MAX < self.text.len() + length {
                return Err(refuse(NameProblem::TooMuch));
            }
            self.text.push_str(top);
            for (depth, part) in local.iter().enumerate() {
                if depth != 0 || !top.is_empty() {
                    self.text.push('/');
                }
                self.text.push_str(part);
            }
            if source.path != local {
                self.changed.push((file, source.path.join("/").into()));
            }
        }
        self.ends.push(u32::try_from(self.text.len()).expect("PATHS_BYTES_MAX is below"));
        Ok(())
    }
}

/// A file of a torrent has a path that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// Which file.
    pub file: FileIndex,
    /// Its path in the torrent, components joined with `/`. Unchecked text; printing the error makes it harmless.
    pub path: String,
    /// What is wrong with it.
    pub reason: NameProblem,
}

impl std::error::Error for NameError {}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = self.path.floor_char_boundary(SHOWN_BYTES_MAX);
        let dots = if cut < self.path.len() { "..." } else { "" };
        let shown = sanitize(&self.path[..cut]);
        write!(f, "file {} of the torrent, \"{shown}{dots}\", cannot be stored: {}", self.file.0, self.reason)
    }
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// Nothing but empty components and dots.
    #[error("there is no name in it")]
    Nothing,
    /// So many bytes, with the torrent's name.
    #[error("its path has {0} bytes, but at most {PATH_BYTES_MAX} can be used")]
    TooLong(usize),
    /// All paths of the torrent written out would take more memory than they are worth.
    #[error("the paths of the torrent are more than {PATHS_BYTES_MAX} bytes together")]
    TooMuch,
}

/// Before the real work, which would take long for as much text as there can be.
fn check_amount<'a>(count: u32, source: &impl Fn(FileIndex) -> Source<'a>) -> Result<(), NameError> {
    let mut bytes = 0;
    for file in (0..count).map(FileIndex) {
        let source = source(file);
        if !source.is_pad {
            bytes += source.path.iter().map(|part| 1 + part.len()).sum::<usize>();
        }
        if PATHS_BYTES_MAX < bytes {
            return Err(NameError { file, path: source.path.join("/"), reason: NameProblem::TooMuch });
        }
    }
    Ok(())
}

fn index(at: usize) -> FileIndex {
    FileIndex(u32::try_from(at).expect("FILES_MAX is far below"))
}

/// Linux takes 4,096 bytes with the closing NUL; 256 are left for the folder that the download goes to.
pub const PATH_BYTES_MAX: usize = 4096 - 256;

/// A torrent can name a deep folder once and put a million files into it. With this many bytes, 2^20 files may have
/// paths of 256.
const PATHS_BYTES_MAX: usize = 256 << 20;

/// So much of a path is repeated in an error.
const SHOWN_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests;
