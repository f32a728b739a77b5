//! Which path on this disk holds a file: one answer for downloads, checks and seeds.
//!
//! A file has the path that [`LocalPaths`] gives it. It lies elsewhere when
//! - the file system cannot keep that name: it takes it for another file's, or refuses it. Then it has the name of the first
//!   [`Style`] that the file system takes, found when the file is made;
//! - the name on disk is another Unicode normal form of it, as after a copy from a Mac;
//! - another client laid it down and names it otherwise ([`foreign_paths`]), or calls it unfinished;
//! - the torrent's folder has another name for one of these reasons, or another client was told to make none.
//!
//! Or the user renamed it, which the journal knows. Nothing else of this is written down. A start looks for the files
//! ([`Places::find`]) and finds the same again, since what lies under a name of its own goes before what might be meant.
//! A name of a style is believed when the file there has the length of the torrent's; one that only another client gives
//! when the file holds a piece of it too, and may be shorter where the name says that it is unfinished; and none when it
//! is another file of the torrent.

mod find;
mod settle;
mod vouched;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use ferri_metainfo::FileIndex;
use ferri_metainfo::names::{LocalPaths, Style, composed};

pub use find::{Found, unfinished_beside};
pub(crate) use settle::is_refusal;

/// Why a file has another path than its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alias {
    /// The file system cannot keep the name; it has one of this style.
    Styled(Style),
    /// The name on disk is equivalent to it.
    Equivalent,
    /// Another client gives this name.
    OtherClient,
    /// Another client calls it so while it lacks something.
    Unfinished,
    /// The same, and it is another torrent's too, which has the same data and goes on under this name.
    OtherTorrent,
    /// The user calls it so.
    Renamed,
}

impl std::fmt::Display for Alias {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Styled(Style::Folded | Style::Exact) => "the file system takes its name for another file's",
            Self::Styled(Style::Portable) => "the file system does not take its name",
            Self::Styled(Style::Narrow) => "the file system takes only short and plain names",
            Self::Equivalent => "the same name in another Unicode form",
            Self::OtherClient => "another client's name for it",
            Self::Unfinished => "another client's name for it while it is unfinished",
            Self::OtherTorrent => "the name that it has in another torrent",
            Self::Renamed => "the user renamed it",
        })
    }
}

/// Where the files of a torrent lie, relative to the folder of the download.
#[derive(Debug, Clone)]
pub struct Places {
    paths: LocalPaths,
    /// What the torrent's folder (or only file) is called, if not as `LocalPaths::top` says. Empty: the files lie in the
    /// download folder itself.
    top: Option<OsString>,
    /// Whether it was found to be called so.
    is_top_found: bool,
    /// Files that lie elsewhere.
    moved: BTreeMap<FileIndex, (Box<Path>, Alias)>,
}

impl Places {
    /// Where the names say, with another name for the torrent's folder (or only file) if `top` is given. Looks at nothing.
    #[must_use]
    pub fn new(paths: LocalPaths, top: Option<OsString>) -> Self {
        Self { paths, top, is_top_found: false, moved: BTreeMap::new() }
    }

    /// Where the file lies or will lie; `None` for padding.
    #[must_use]
    pub fn path(&self, file: FileIndex) -> Option<PathBuf> {
        self.lies_at(file).map(Cow::into_owned)
    }

    /// The same, for a caller that asks for a million.
    #[must_use]
    pub fn lies_at(&self, file: FileIndex) -> Option<Cow<'_, Path>> {
        match self.moved.get(&file) {
            Some((path, _)) => Some(Cow::Borrowed(path)),
            None => self.is_named(file),
        }
    }

    /// Where the name says; `None` for padding.
    #[must_use]
    pub fn named(&self, file: FileIndex) -> Option<PathBuf> {
        self.is_named(file).map(Cow::into_owned)
    }

    fn is_named(&self, file: FileIndex) -> Option<Cow<'_, Path>> {
        let path = self.paths.path(file)?;
        // Mostly nothing has to be put together.
        let is_own = self.top() == self.paths.top();
        Some(if is_own { Cow::Borrowed(path) } else { Cow::Owned(self.rebased(path)) })
    }

    /// Where the file will lie when it is whole; `None` for padding.
    pub(crate) fn destined(&self, file: FileIndex) -> Option<PathBuf> {
        if self.alias(file) == Some(Alias::Unfinished) { self.named(file) } else { self.path(file) }
    }

    /// What the torrent's folder or only file is called on disk; empty when the files lie in the download folder itself.
    #[must_use]
    pub fn top(&self) -> &OsStr {
        self.top.as_deref().unwrap_or_else(|| self.paths.top().as_os_str())
    }

    /// Files that do not lie where their names say: where, and why, in the order of the torrent.
    pub fn moved(&self) -> impl Iterator<Item = (FileIndex, &Path, Alias)> + '_ {
        self.moved.iter().map(|(file, (path, alias))| (*file, &**path, *alias))
    }

    /// Why this file does not lie where its name says.
    #[must_use]
    pub fn alias(&self, file: FileIndex) -> Option<Alias> {
        self.moved.get(&file).map(|(_, alias)| *alias)
    }

    /// A sentence for each of the first few files that do not lie where their names say. `is_whole`: nothing of a file is missing.
    pub(crate) fn describe_moved(&self, is_whole: impl Fn(FileIndex) -> bool) -> Vec<String> {
        let sentence = |(file, path, alias): (FileIndex, &Path, Alias)| {
            let named = self.named(file).unwrap_or_default();
            let why = if alias == Alias::Unfinished && is_whole(file) {
                "it is whole, and kept this name since another torrent has it too or its own name was taken"
                    .to_owned()
            } else {
                alias.to_string()
            };
            format!("{} lies at {}: {why}", named.display(), path.display())
        };
        let named = self.paths.top().display();
        let found = self.top().to_string_lossy();
        let top = if found.is_empty() {
            format!("{named} lies in the download folder itself, without a folder of its own")
        } else if composed(&found) == composed(&self.paths.top().to_string_lossy()) {
            format!("{named} lies at {found}: {}", Alias::Equivalent)
        } else {
            let is_it =
                |style: &Style| self.paths.top_in(*style).is_some_and(|top| top.as_os_str() == self.top());
            let styled = Style::PARTICULAR.into_iter().find(is_it).map(Alias::Styled);
            format!("{named} lies at {found}: {}", styled.unwrap_or(Alias::OtherClient))
        };
        let mut told: Vec<String> = self.is_top_found.then_some(top).into_iter().collect();
        // What the user did is no news to the user.
        let moved = || self.moved().filter(|(_, _, alias)| *alias != Alias::Renamed);
        told.extend(moved().take(MOVED_TOLD_MAX).map(sentence));
        let count = moved().count();
        if MOVED_TOLD_MAX < count {
            told.push(format!("and {} more files that have another name on disk", count - MOVED_TOLD_MAX));
        }
        told
    }

    pub(crate) fn rival(&self, file: FileIndex) -> Option<(PathBuf, bool)> {
        self.paths.rivals().get(&file).map(|rival| (self.rebased(&rival.path), rival.holds_name))
    }

    /// The names these are made from.
    #[must_use]
    pub fn names(&self) -> &LocalPaths {
        &self.paths
    }

    /// The folder beneath the download folder in which all files lie, or the only file; empty when that is the download folder
    /// itself.
    pub(crate) fn base(&self) -> &OsStr {
        let top = self.top();
        let is_outside = |path: &Path, alias| alias == Alias::Renamed && !path.starts_with(top);
        if self.moved().any(|(_, path, alias)| is_outside(path, alias)) { OsStr::new("") } else { top }
    }

    pub(crate) fn place(&mut self, file: FileIndex, path: PathBuf, alias: Alias) {
        self.moved.insert(file, (path.into(), alias));
    }

    /// The file is called as its name says.
    pub(crate) fn replace(&mut self, file: FileIndex) {
        self.moved.remove(&file);
    }

    /// A path of `LocalPaths` (of any style) in the folder as it is called on disk.
    fn rebased(&self, local: &Path) -> PathBuf {
        let Some(top) = &self.top else { return local.to_path_buf() };
        let mut components = local.components();
        components.next();
        let rest = components.as_path();
        // `join` with nothing would add a slash.
        if rest.as_os_str().is_empty() { PathBuf::from(top) } else { Path::new(top).join(rest) }
    }
}

/// So many files that have another name on disk are told one by one.
const MOVED_TOLD_MAX: usize = 5;
