//! Looking for the files of a torrent under all names that they may have.
//!
//! Costs a look at every file, or a listing of every folder that has many of them; names that only might be are asked
//! for when the file itself is not there. Whatever cannot be looked at counts as not there: who opens it later tells why.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::names::{LocalPaths, Style, composed, foreign_paths};
use ferri_metainfo::{FileIndex, Info, Layout};
use rustix::fs::FileType;

use super::{Alias, Places};
use crate::beneath::{Rights, Root};

/// A folder with more files of the torrent than this is listed instead of asked for each of them.
const ASKED_MAX: usize = 16;

/// Entries of a folder that are listed. A torrent has at most 2^20 files; the rest of a larger folder is not ours.
const ENTRIES_MAX: usize = 1 << 21;

/// What other clients append to a file that lacks something: qBittorrent, Transmission.
const UNFINISHED: [&str; 2] = [".!qB", ".part"];

/// Files that are looked at to find out whether the download folder itself is the torrent's.
const SAMPLE: usize = 16;

impl Places {
    /// Looks for the files in `root`. `top` is the name of the torrent's folder or only file where somebody chose it.
    #[must_use]
    pub fn find(info: &Info, paths: LocalPaths, root: &Path, top: Option<OsString>) -> Self {
        let is_chosen = top.is_some();
        let mut places = Self::new(paths, top);
        let Ok(root) = Root::open(root, Rights::Read) else { return places };
        let search = Search { info, layout: info.layout(), root: &root };
        if info.is_multi_file() && !search.is_folder(Path::new(places.top())) {
            if is_chosen {
                return places;
            }
            let Some(found) = search.top(&places) else { return places };
            places.top = Some(found);
            places.is_top_found = true;
        }
        let absent = search.by_name(&mut places);
        if !absent.is_empty() {
            search.by_style(&mut places, &absent);
            search.by_other_clients(&mut places, &absent);
        }
        places
    }

    /// What the payload of a torrent is called in `root`, if anything is there that may be it.
    #[must_use]
    pub fn find_top(info: &Info, paths: LocalPaths, root: &Path) -> OsString {
        let places = Self::new(paths, None);
        let Ok(root) = Root::open(root, Rights::Read) else { return places.top().to_owned() };
        let search = Search { info, layout: info.layout(), root: &root };
        let is_there = search.kind(Path::new(places.top())).is_some();
        let found = if is_there { None } else { search.top(&places) };
        found.unwrap_or_else(|| places.top().to_owned())
    }
}

struct Search<'a> {
    info: &'a Info,
    layout: &'a Layout,
    root: &'a Root,
}

/// Names in a folder.
type Listing = HashSet<OsString>;

/// Files of one folder.
struct Group {
    folder: PathBuf,
    files: Vec<(FileIndex, OsString)>,
}

impl Search<'_> {
    /// The torrent's folder or only file under another name. Empty: the files lie in the download folder itself.
    fn top(&self, places: &Places) -> Option<OsString> {
        let wanted = places.top();
        let is_it = |name: &OsStr| {
            let kind = self.kind(Path::new(name));
            if self.info.is_multi_file() {
                kind == Some(FileType::Directory)
            } else {
                self.is_whole(Path::new(name), FileIndex(0))
            }
        };
        let styled =
            Style::PARTICULAR.into_iter().filter_map(|style| Some(places.names().top_in(style)?.into()));
        let foreign = foreign_paths(self.info).into_iter().next().and_then(|(_, path)| first(as_path(&path)));
        let equivalent = equivalent(self.list(Path::new("")).as_ref(), wanted);
        let named: Vec<OsString> = equivalent.into_iter().chain(styled).chain(foreign).collect();
        if let Some(found) = named.into_iter().find(|name| name.as_os_str() != wanted && is_it(name)) {
            return Some(found);
        }
        (self.info.is_multi_file() && self.is_without_folder(places)).then(OsString::new)
    }

    /// Whether another client was told to make no folder for this torrent: its largest file is there, and whatever else
    /// of a sample has a length.
    fn is_without_folder(&self, places: &Places) -> bool {
        let layout = self.layout;
        let files = || layout.files().filter(|file| !layout.is_pad(*file) && layout.file_len(*file) != 0);
        let Some(largest) = files().max_by_key(|file| layout.file_len(*file)) else { return false };
        let mut flat = places.clone();
        flat.top = Some(OsString::new());
        let mut sample = std::iter::once(largest).chain(files().take(SAMPLE));
        sample.all(|file| flat.named(file).is_some_and(|path| self.is_whole(&path, file)))
    }

    /// Files that lie where their names say, but for the form of these; the others are returned, ascending.
    fn by_name(&self, places: &mut Places) -> BTreeSet<FileIndex> {
        let mut absent = BTreeSet::new();
        let rivals: HashSet<FileIndex> = places.rivals.keys().copied().collect();
        let mut renamed = HashMap::new();
        for group in self.groups(places) {
            let Some(folder) = self.folder(&group.folder, &mut renamed) else {
                absent.extend(group.files.iter().map(|(file, _)| *file));
                continue;
            };
            let is_moved = folder != group.folder;
            let mut listing = (ASKED_MAX < group.files.len()
                || group.files.iter().any(|(file, _)| rivals.contains(file)))
            .then(|| self.list(&folder).unwrap_or_default());
            for (file, name) in &group.files {
                let path = folder.join(name);
                let is_there = match &listing {
                    Some(listing) => listing.contains(name),
                    None => self.kind(&path).is_some(),
                };
                if is_there {
                    if is_moved {
                        places.place(*file, path, Alias::Equivalent);
                    }
                    continue;
                }
                if !name.as_bytes().is_ascii() {
                    let listing = listing.get_or_insert_with(|| self.list(&folder).unwrap_or_default());
                    let found = equivalent(Some(listing), name);
                    // It may be another file of this torrent, which then has the name to itself.
                    if let Some(found) =
                        found.filter(|found| group.files.iter().all(|(_, other)| other != found))
                    {
                        places.place(*file, folder.join(found), Alias::Equivalent);
                        continue;
                    }
                }
                match self.unfinished(&path, *file, listing.as_ref()) {
                    Some(found) => places.place(*file, found, Alias::Unfinished),
                    None => drop(absent.insert(*file)),
                }
            }
        }
        absent
    }

    /// The file under the name that it has in another client while it lacks something.
    fn unfinished(&self, path: &Path, file: FileIndex, listing: Option<&Listing>) -> Option<PathBuf> {
        let length = self.layout.file_len(file);
        UNFINISHED.iter().find_map(|suffix| {
            let mut name = path.file_name()?.to_owned();
            name.push(suffix);
            if listing.is_some_and(|listing| !listing.contains(&name)) {
                return None;
            }
            let path = path.with_file_name(name);
            self.length(&path).is_some_and(|found| (1..=length).contains(&found)).then_some(path)
        })
    }

    /// Files that got their names because of the file system, now or in an earlier run.
    fn by_style(&self, places: &mut Places, absent: &BTreeSet<FileIndex>) {
        for style in Style::PARTICULAR {
            let Some(styled) = places.names().restyled(style) else { continue };
            let changed: Vec<_> = styled
                .changed()
                .filter(|(file, ..)| absent.contains(file) && places.alias(*file).is_none())
                .map(|(file, _, path)| (file, places.rebased(path)))
                .collect();
            for (file, path) in changed {
                // What is not in the folder's listing and there nevertheless is another file of the torrent.
                let is_taken = || {
                    style == Style::Folded
                        && places.named(file).is_some_and(|path| self.kind(&path).is_some())
                };
                if self.is_whole(&path, file) || is_taken() {
                    places.place(file, path, Alias::Styled(style));
                }
            }
        }
    }

    fn by_other_clients(&self, places: &mut Places, absent: &BTreeSet<FileIndex>) {
        let mut found: HashMap<PathBuf, FileIndex> = HashMap::new();
        for (file, path) in foreign_paths(self.info) {
            if !absent.contains(&file) || places.alias(file).is_some() {
                continue;
            }
            let path = places.rebased(as_path(&path));
            if places.named(file).as_ref() != Some(&path) && self.is_whole(&path, file) {
                found.insert(path, file);
            }
        }
        if let Some(path) = self.in_own_folder(places).filter(|_| absent.contains(&FileIndex(0))) {
            found.insert(path, FileIndex(0));
        }
        if found.is_empty() {
            return;
        }
        for file in self.layout.files() {
            if let Some(path) = places.path(file) {
                found.remove(&path);
            }
        }
        for (path, file) in found {
            places.place(file, path, Alias::OtherClient);
        }
    }

    /// The only file in a folder of its own, which another client was told to make: called like it, without its extension.
    fn in_own_folder(&self, places: &Places) -> Option<PathBuf> {
        if self.info.is_multi_file() || places.alias(FileIndex(0)).is_some() {
            return None;
        }
        let named = places.named(FileIndex(0))?;
        let path = Path::new(named.file_stem()?).join(&named);
        self.is_whole(&path, FileIndex(0)).then_some(path)
    }

    /// All files by folder. Files of one folder are mostly neighbours; the others are brought together, or a folder would
    /// be listed again and again.
    fn groups(&self, places: &Places) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_folder: HashMap<PathBuf, usize> = HashMap::new();
        for file in self.layout.files() {
            let Some(path) = places.named(file) else { continue };
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let entry = (file, name.to_owned());
            if let Some(last) = groups.last_mut().filter(|last| last.folder == folder) {
                last.files.push(entry);
            } else if let Some(at) = by_folder.get(folder) {
                groups[*at].files.push(entry);
            } else {
                by_folder.insert(folder.to_owned(), groups.len());
                groups.push(Group { folder: folder.to_owned(), files: vec![entry] });
            }
        }
        groups
    }

    /// The folder as it is called on disk.
    fn folder(&self, named: &Path, renamed: &mut HashMap<PathBuf, Option<PathBuf>>) -> Option<PathBuf> {
        if named.as_os_str().is_empty() || self.is_folder(named) {
            return Some(named.to_owned());
        }
        if named.as_os_str().as_bytes().is_ascii() {
            return None;
        }
        if let Some(known) = renamed.get(named) {
            return known.clone();
        }
        let mut actual = PathBuf::new();
        for component in named.components() {
            let next = actual.join(component);
            if self.is_folder(&next) {
                actual = next;
                continue;
            }
            let found = equivalent(self.list(&actual).as_ref(), component.as_os_str());
            let Some(found) = found.map(|name| actual.join(name)).filter(|path| self.is_folder(path)) else {
                renamed.insert(named.to_owned(), None);
                return None;
            };
            actual = found;
        }
        renamed.insert(named.to_owned(), Some(actual.clone()));
        Some(actual)
    }

    fn list(&self, folder: &Path) -> Option<Listing> {
        self.root.list(folder, ENTRIES_MAX)
    }

    fn kind(&self, path: &Path) -> Option<FileType> {
        self.root.stat(path).ok()?.map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.kind(path) == Some(FileType::Directory)
    }

    /// The length of a regular file.
    fn length(&self, path: &Path) -> Option<u64> {
        let stat = self.root.stat(path).ok()??;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        u64::try_from(stat.st_size).ok().filter(|_| is_file)
    }

    /// Whether a file of the right length is there. Of files without bytes any might be meant.
    fn is_whole(&self, path: &Path, file: FileIndex) -> bool {
        let length = self.layout.file_len(file);
        length != 0 && self.length(path) == Some(length)
    }
}

/// An entry whose name is equivalent to `name` and not the same.
fn equivalent(listing: Option<&Listing>, name: &OsStr) -> Option<OsString> {
    let name = name.to_str().filter(|name| !name.is_ascii())?;
    let wanted = composed(name);
    let is_it = |entry: &&OsString| {
        let entry = entry.to_str().filter(|entry| !entry.is_ascii());
        entry.is_some_and(|entry| entry != name && composed(entry) == wanted)
    };
    // The least one, since a listing has no order.
    listing?.iter().filter(is_it).min().cloned()
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn first(path: &Path) -> Option<OsString> {
    path.components().next().map(|component| component.as_os_str().to_owned())
}
