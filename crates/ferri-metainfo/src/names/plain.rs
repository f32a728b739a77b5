//! The usual torrent: none of its names has to change, and none is there twice. Then each path is what the torrent says, and
//! no tree of all names has to be built to find that out.

use std::hash::BuildHasher;
use std::sync::OnceLock;

use rustc_hash::FxBuildHasher;

use super::component::local_component;
use super::{Inner, LocalPaths, PATH_BYTES_MAX, PATHS_BYTES_MAX};
use crate::Info;
use crate::paths::Paths;

/// The paths of such a torrent. `None`: it may be none, and has to be looked at by the rules.
pub(super) fn paths(info: &Info) -> Option<LocalPaths> {
    if !info.is_multi_file() || !info.files.symlinks.is_empty() {
        return None;
    }
    let top = local_component(info.name())?;
    let names = &info.files.paths;
    if !are_plain(info, names) {
        return None;
    }
    let mut inner = Inner {
        top: (&*top).into(),
        text: String::new(),
        ends: Vec::with_capacity(names.len()),
        changed: Vec::new(),
        changed_top: (top != info.name()).then(|| info.name().into()),
        links: Vec::new(),
        ignored_links: Vec::new(),
        particulars: OnceLock::new(),
    };
    // The folder around the file before: neighbours mostly share it.
    let (mut last, mut folder) = (None, String::new());
    for file in info.files() {
        if !file.is_pad() {
            let at = file.index.as_usize();
            let directory = names.directory(at);
            if last != Some(directory) {
                last = Some(directory);
                folder.clear();
                folder.push_str(&top);
                for part in names.directory_path(directory) {
                    folder.push('/');
                    folder.push_str(part);
                }
            }
            let length = folder.len() + 1 + file.name().len();
            if PATH_BYTES_MAX < length || PATHS_BYTES_MAX < inner.text.len() + length {
                return None;
            }
            inner.text.push_str(&folder);
            inner.text.push('/');
            inner.text.push_str(file.name());
        }
        inner.ends.push(u32::try_from(inner.text.len()).expect("PATHS_BYTES_MAX is below"));
    }
    inner.text.shrink_to_fit();
    Some(LocalPaths(inner.into()))
}

/// Whether every name may stay, no two files have one path, and no file has that of a folder. A hash that two paths have by
/// chance says no, which costs time and nothing else.
fn are_plain(info: &Info, names: &Paths) -> bool {
    let hasher = FxBuildHasher;
    let mut hashes: Vec<u64> = Vec::with_capacity(names.len());
    for (directory, name) in names.names() {
        if local_component(name).as_deref() != Some(name) {
            return false;
        }
        let around = directory.number().map_or(0, |number| hashes[number as usize]);
        hashes.push(hasher.hash_one((around, name)));
    }
    let mut files = Vec::with_capacity(names.len());
    let mut next_folder = 0;
    let mut folders = Vec::new();
    for (file, &number) in info.files().iter().zip(names.file_numbers()) {
        // Files are named in their order, each behind the folders that are new.
        folders.extend(hashes.get(next_folder..number as usize).unwrap_or_default());
        next_folder = number as usize + 1;
        if !file.is_pad() {
            files.push(hashes[number as usize]);
        }
    }
    files.sort_unstable();
    let is_twice = files.windows(2).any(|pair| pair[0] == pair[1]);
    !is_twice && folders.iter().all(|folder| files.binary_search(folder).is_err())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::FileIndex;
    use crate::names::NameError;

    /// A torrent of files of a byte.
    fn torrent(name: &str, files: &[Vec<&str>]) -> Info {
        let mut out = b"d5:filesl".to_vec();
        for path in files {
            out.extend(b"d6:lengthi1e4:pathl");
            path.iter().for_each(|part| out.extend(format!("{}:{part}", part.len()).bytes()));
            out.extend(b"ee");
        }
        out.extend(format!("e4:name{}:{name}12:piece lengthi16384e6:pieces20:", name.len()).bytes());
        out.extend([b'h'; 20]);
        out.push(b'e');
        Info::parse(&out).unwrap()
    }

    type Mapped = Result<(Vec<Option<String>>, String, Vec<(u32, String)>), NameError>;

    fn all(paths: &LocalPaths, count: u32) -> Mapped {
        let path = |file| Some(paths.path(FileIndex(file))?.to_str()?.to_owned());
        let changed = paths.changed().map(|(file, original, _)| (file.0, original.to_owned())).collect();
        let top = format!("{:?} {:?}", paths.top(), paths.changed_top());
        Ok(((0..count).map(path).collect(), top, changed))
    }

    #[test]
    fn what_has_to_change_or_is_there_twice_is_left_to_the_rules() {
        let is_plain = |files: &[Vec<&str>]| paths(&torrent("T", files)).is_some();
        assert!(is_plain(&[vec!["a"], vec!["b", "c"], vec!["b", "d"], vec!["e"], vec!["b", "f"], vec!["é"]]));
        for files in [
            [vec!["a"], vec!["a"]],
            [vec!["a"], vec!["a", "b"]],
            [vec!["a", "b"], vec!["a"]],
            [vec!["a"], vec![".."]],
            [vec!["a"], vec!["", "b"]],
            [vec!["a"], vec!["b/c"]],
            [vec!["a"], vec!["b", "c\u{7f}"]],
        ] {
            assert!(!is_plain(&files), "{files:?}");
        }
        let long = "x".repeat(256);
        assert!(!is_plain(&[vec!["a"], vec![&long]]));
    }

    proptest! {
        #[test]
        fn both_ways_lead_to_the_same_paths(
            name in "[aT/.]{1,3}",
            files in proptest::collection::vec(proptest::collection::vec("[ab]{1,2}|c\\.d|\\.\\.|é", 1..4), 1..12),
        ) {
            let files: Vec<Vec<&str>> =
                files.iter().map(|path| path.iter().map(String::as_str).collect()).collect();
            let info = torrent(&name, &files);
            let count = u32::try_from(files.len()).unwrap();
            let by_rules = LocalPaths::by_tree(&info).and_then(|paths| all(&paths, count));
            if let Some(plain) = paths(&info) {
                prop_assert_eq!(all(&plain, count), by_rules);
            }
        }
    }
}
