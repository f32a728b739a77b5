//! A pattern for files and folders of a torrent.
//!
//! It is compared with the path inside the torrent, with and without the torrent's own name, and with the last part of the
//! path alone. What matches no file may match folders, which mean all files below them; with a slash at its end it means
//! folders only. Names are full of brackets, so that a name as it is matches itself whatever its characters mean in a glob.

use globset::{GlobBuilder, GlobMatcher};

/// As typed, and what it means.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    typed: String,
    /// Without the slash at its end.
    plain: String,
    /// `None` when it makes no sense as a glob: then it matches its own characters only.
    glob: Option<GlobMatcher>,
    any_case: Option<GlobMatcher>,
    means_folders: bool,
}

impl Pattern {
    pub(crate) fn new(typed: &str) -> Self {
        let plain = typed.strip_prefix("./").unwrap_or(typed);
        let (plain, means_folders) = match plain.strip_suffix('/') {
            Some(plain) if !plain.is_empty() => (plain, true),
            _ => (plain, false),
        };
        let glob = |any_case| {
            let glob = GlobBuilder::new(plain).case_insensitive(any_case).build().ok();
            glob.map(|glob| glob.compile_matcher())
        };
        Self {
            typed: typed.to_owned(),
            plain: plain.to_owned(),
            glob: glob(false),
            any_case: glob(true),
            means_folders,
        }
    }

    pub(crate) fn typed(&self) -> &str {
        &self.typed
    }

    /// One answer a file of the torrent `name`.
    pub(crate) fn matching(&self, name: &str, paths: &[&str]) -> Vec<bool> {
        if !self.means_folders {
            let files: Vec<bool> = paths.iter().map(|path| self.is_match(name, path)).collect();
            if files.contains(&true) {
                return files;
            }
        }
        paths
            .iter()
            .map(|path| self.plain == name || folders(path).any(|folder| self.is_match(name, folder)))
            .collect()
    }

    fn is_match(&self, name: &str, path: &str) -> bool {
        let last = path.rsplit('/').next().unwrap_or(path);
        let whole = format!("{name}/{path}");
        let is_one =
            |text: &str| self.plain == text || self.glob.as_ref().is_some_and(|glob| glob.is_match(text));
        is_one(path) || is_one(last) || is_one(&whole)
    }

    /// A file or folder that would match if capitals did not count.
    pub(crate) fn in_other_case<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        let any_case = self.any_case.as_ref()?;
        let candidates = paths.iter().flat_map(|path| folders(path).chain([*path]));
        let is_match = |path: &&str| {
            let last = path.rsplit('/').next().unwrap_or(path);
            (any_case.is_match(path) || any_case.is_match(last)) && !self.is_match("", path)
        };
        candidates.into_iter().find(is_match)
    }
}

/// `a/b/c`: `a`, `a/b`.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}
