//! The paths of a torrent in another [`Style`], and the files for which the file system may matter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustc_hash::FxBuildHasher;

use super::style::{Style, is_plain_anywhere};
use super::tree::{Source, Tree};
use super::{Inner, LocalPaths, index};
use crate::FileIndex;

/// What has a name that some file system takes for a file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The other file or a folder of the torrent.
    pub path: Box<Path>,
    /// Whether the file keeps its name where the file system takes both for one.
    pub holds_name: bool,
}

/// What file systems that are more particular than Linux's own have against the names of a torrent.
#[derive(Debug)]
pub(super) struct Particulars {
    rivals: BTreeMap<FileIndex, Rival>,
    /// The least particular style in which a name on its own has to change.
    refused_from: Option<Style>,
}

impl LocalPaths {
    /// The paths in a more particular style, made from these. Links lead nowhere in them, and [`LocalPaths::changed`]
    /// says which differ from these. `None` when none would, or when one would be too long.
    #[must_use]
    pub fn restyled(&self, style: Style) -> Option<Self> {
        let particulars = self.particulars();
        if particulars.rivals.is_empty() && particulars.refused_from.is_none_or(|least| style < least) {
            return None;
        }
        let count = u32::try_from(self.0.ends.len()).expect("FILES_MAX is far below");
        let source = |file: FileIndex| {
            let path = self.0.path(file.as_usize());
            Source {
                path: path.map(|path| path.split('/').collect()).unwrap_or_default(),
                is_pad: path.is_none(),
                link: None,
            }
        };
        let tree = Tree::build(style, count, &source);
        let mut inner = Inner {
            top: style.component(&self.0.top)?.into(),
            text: String::new(),
            ends: Vec::with_capacity(self.0.ends.len()),
            changed: Vec::new(),
            changed_top: None,
            links: Vec::new(),
            ignored_links: Vec::new(),
            particulars: OnceLock::new(),
        };
        for file in (0..count).map(FileIndex) {
            inner.add(file, &source(file), &tree, "").ok()?;
        }
        Some(Self(inner.into()))
    }

    /// What the torrent's folder or only file is called in a style.
    #[must_use]
    pub fn top_in(&self, style: Style) -> Option<PathBuf> {
        style.component(&self.0.top).map(|name| PathBuf::from(&*name))
    }

    /// Files that some file system cannot tell from another file or a folder of the torrent. Mostly none. Looked for once.
    #[must_use]
    pub fn rivals(&self) -> &BTreeMap<FileIndex, Rival> {
        &self.particulars().rivals
    }

    fn particulars(&self) -> &Particulars {
        self.0.particulars.get_or_init(|| {
            let survey = Survey::of(self);
            let rivals = if survey.are_apart() { BTreeMap::new() } else { self.find_rivals(&survey) };
            Particulars { rivals, refused_from: survey.refused_from }
        })
    }

    fn find_rivals(&self, survey: &Survey) -> BTreeMap<FileIndex, Rival> {
        // Who has which name: the first file, or the folder, which always keeps it.
        let mut holders: HashMap<String, (Option<FileIndex>, &str)> = HashMap::new();
        let mut rivals = BTreeMap::new();
        for (_, path) in self.all() {
            for (end, _) in path.match_indices('/') {
                let folder = &path[..end];
                if survey.is_file(hash_of(folder)) {
                    holders.entry(fold(folder)).or_insert((None, folder));
                }
            }
        }
        for (file, path) in self.all() {
            if survey.is_alone(hash_of(path)) {
                continue;
            }
            let (holder, taken) = *holders.entry(fold(path)).or_insert((Some(file), path));
            if holder == Some(file) {
                continue;
            }
            rivals.insert(file, Rival { path: Path::new(taken).into(), holds_name: false });
            if let Some(holder) = holder {
                rivals
                    .entry(holder)
                    .or_insert_with(|| Rival { path: Path::new(path).into(), holds_name: true });
            }
        }
        rivals
    }

    fn all(&self) -> impl Iterator<Item = (FileIndex, &str)> {
        (0..self.0.ends.len()).filter_map(|at| Some((index(at), self.0.path(at)?)))
    }
}

/// One look at all names. For nearly every torrent it tells that there is nothing more to be done.
struct Survey {
    /// Hashes of the files' paths, folded and ascending.
    files: Vec<u64>,
    /// The same of folders. By a secret key, for strangers choose the names.
    folders: HashSet<u64>,
    refused_from: Option<Style>,
}

impl Survey {
    fn of(paths: &LocalPaths) -> Self {
        let mut survey = Self {
            files: Vec::with_capacity(paths.0.ends.len()),
            folders: HashSet::default(),
            refused_from: None,
        };
        // Neighbours mostly share their folder.
        let (mut folder, mut around) = ("", TOP_HASH);
        for (_, path) in paths.all() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if parent != folder {
                (folder, around) = (parent, TOP_HASH);
                for part in parent.split('/') {
                    survey.see(part);
                    around = below(around, part);
                    survey.folders.insert(around);
                }
            }
            survey.see(name);
            // A file at the top has no folder around it.
            survey.files.push(below(if parent.is_empty() { TOP_HASH } else { around }, name));
        }
        survey.files.sort_unstable();
        survey
    }

    fn see(&mut self, name: &str) {
        if is_plain_anywhere(name) {
            return;
        }
        let refuses = |style: &Style| style.component(name).as_deref() != Some(name);
        let least = Style::PARTICULAR.into_iter().find(refuses);
        self.refused_from = [self.refused_from, least].into_iter().flatten().min();
    }

    fn are_apart(&self) -> bool {
        let is_twice = self.files.windows(2).any(|pair| pair[0] == pair[1]);
        !is_twice && !self.folders.iter().any(|folder| self.is_file(*folder))
    }

    fn is_file(&self, hash: u64) -> bool {
        self.files.binary_search(&hash).is_ok()
    }

    /// Whether no other file and no folder has this hash of a file.
    fn is_alone(&self, hash: u64) -> bool {
        let at = self.files.partition_point(|other| *other < hash);
        self.files.get(at + 1) != Some(&hash) && !self.folders.contains(&hash)
    }
}

/// Around the first component.
const TOP_HASH: u64 = 0;

/// The hash of a path, as [`Survey`] has it.
fn hash_of(path: &str) -> u64 {
    path.split('/').fold(TOP_HASH, below)
}

fn below(around: u64, name: &str) -> u64 {
    FxBuildHasher.hash_one((around, Style::Folded.key(name.into())))
}

fn fold(path: &str) -> String {
    let mut key = String::with_capacity(path.len());
    for (depth, part) in path.split('/').enumerate() {
        if depth != 0 {
            key.push('/');
        }
        key.push_str(&Style::Folded.key(part.into()));
    }
    key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{file, map_files};
    use super::*;

    fn paths(names: &[&str]) -> LocalPaths {
        let files: Vec<_> = names.iter().map(|name| file(&name.split('/').collect::<Vec<_>>())).collect();
        map_files("T", &files).unwrap()
    }

    #[track_caller]
    fn check(style: Style, names: &[&str], expected: &[&str]) {
        let paths = paths(names);
        let styled = paths.restyled(style).unwrap_or(paths);
        let found: Vec<_> = styled.all().map(|(_, path)| path.strip_prefix("T/").unwrap()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rule_18_the_later_of_two_names_that_are_one_is_numbered() {
        check(
            Style::Folded,
            &["ReadMe.txt", "readme.txt", "README.TXT"],
            &["ReadMe.txt", "readme.1.txt", "README.2.TXT"],
        );
        check(Style::Folded, &["D/x", "d/x", "d/y"], &["D/x", "d/x.1", "d/y"]);
        check(Style::Folded, &["a", "A/b"], &["a.1", "A/b"]);
        check(Style::Folded, &["\u{e9}", "e\u{301}", "e"], &["\u{e9}", "e\u{301}.1", "e"]);
        check(Style::Folded, &["x", "X", "x.1"], &["x", "X.2", "x.1"]);
        assert!(paths(&["a", "b"]).restyled(Style::Folded).is_none());
    }

    #[test]
    fn rule_19_a_name_that_was_changed_is_nobody_elses() {
        check(Style::Portable, &["a:b", "a_b", "A?B"], &["a_b.1", "a_b", "A_B.2"]);
        let top = map_files("Show: One", &[file(&["x"])]).unwrap().restyled(Style::Portable).unwrap();
        assert_eq!(top.path(FileIndex(0)), Some(Path::new("Show_ One/x")));
        assert_eq!(top.top(), Path::new("Show_ One"));
    }

    #[test]
    fn no_file_has_in_one_style_the_path_of_another_in_a_second_one() {
        let names = [
            "a:b", "a_b", "A_b", "A?b", "é", "É", "e\u{301}", "_", "con", "_con", "a_b.1", "D/é", "d/_",
            "x.", "x_",
        ];
        let exact = paths(&names);
        let mut owners: HashMap<String, FileIndex> = HashMap::new();
        for style in [Style::Exact].into_iter().chain(Style::PARTICULAR) {
            let styled = if style == Style::Exact { exact.clone() } else { exact.restyled(style).unwrap() };
            for (file, path) in styled.all() {
                assert_eq!(*owners.entry(path.to_owned()).or_insert(file), file, "{path} in {style:?}");
            }
        }
    }

    #[test]
    fn rivals_are_named_to_each_other() {
        let paths_of_rivals = paths(&["ReadMe", "other", "readme", "d", "D/x"]);
        let rivals = paths_of_rivals.rivals();
        let found: Vec<_> = rivals
            .iter()
            .map(|(file, rival)| (file.0, rival.path.to_str().unwrap(), rival.holds_name))
            .collect();
        assert_eq!(found, [(0, "T/readme", true), (2, "T/ReadMe", false), (3, "T/D", false)]);
        assert!(paths(&["a", "b/c", "b/d"]).rivals().is_empty());
    }
}
