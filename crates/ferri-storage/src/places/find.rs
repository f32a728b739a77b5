//! Looking for the files of a torrent under all names that they may have.
//!
//! Costs a look at every file, or a listing of every folder that has many of them; names that only might be are asked
//! for when the file itself is not there. A file that another client seems not to have finished is read up to its first piece
//! that is right. Whatever cannot be looked at counts as not there: who opens it later tells why.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::names::{LocalPaths, Style, composed, foreign_paths};
use ferri_metainfo::{Bitfield, FileIndex, Info, Layout};
use rustix::fs::{FileType, Stat};

use super::{Alias, Places};
use crate::beneath::{Rights, Root, split};
use crate::error::StorageError;
use crate::halt::Halt;

/// A folder with more files of the torrent than this is listed instead of asked for each of them.
const ASKED_MAX: usize = 16;

/// Entries of a folder that are listed. A torrent has at most 2^20 files; the rest of a larger folder is not ours.
const ENTRIES_MAX: usize = 1 << 21;

/// What other clients append to a file that lacks something: qBittorrent, Transmission.
pub(super) const UNFINISHED: [&str; 2] = [".!qB", ".part"];

/// What lies beside `path` under a name that clients give an unfinished file.
#[must_use]
pub fn unfinished_beside(path: &Path) -> Option<PathBuf> {
    let named = UNFINISHED.into_iter().map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    });
    named.into_iter().find(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()))
}

/// Files that are looked at to find out whether the download folder itself is the torrent's.
const SAMPLE: usize = 16;

impl Places {
    /// Looks for the files in `root`. `top` is the name of the torrent's folder or only file where the user chose it.
    #[must_use]
    pub fn find(info: &Info, paths: LocalPaths, root: &Path, top: Option<OsString>) -> Self {
        let named = Self::new(paths.clone(), top.clone());
        // There is no caller that halts it.
        Self::find_until(info, paths, root, top, &Halt::default()).unwrap_or(named)
    }

    /// The same, until the caller halts it.
    ///
    /// # Errors
    /// [`StorageError::Halted`].
    pub fn find_until(
        info: &Info,
        paths: LocalPaths,
        root: &Path,
        top: Option<OsString>,
        halt: &Halt,
    ) -> Result<Self, StorageError> {
        halt.check()?;
        let is_chosen = top.is_some();
        let mut places = Self::new(paths, top);
        let Ok(root) = Root::open(root, Rights::Read) else { return Ok(places) };
        let search = Search { info, layout: info.layout(), root: &root, halt };
        if info.is_multi_file() && !search.is_folder(Path::new(places.top())) {
            if is_chosen {
                return Ok(places);
            }
            let Some(found) = search.top(&places)? else { return Ok(places) };
            places.top = Some(found);
            places.is_top_found = true;
        }
        let absent = search.by_name(&mut places)?;
        if !absent.none() {
            search.by_style(&mut places, &absent)?;
            search.by_other_clients(&mut places, &absent)?;
        }
        Ok(places)
    }

    /// Looks at files one after the other: what lies in the place of each, beneath `root`. Links are not followed.
    ///
    /// # Errors
    /// [`StorageError::Halted`].
    pub fn look_at(
        &self,
        root: &Path,
        files: impl IntoIterator<Item = FileIndex>,
        halt: &Halt,
        mut each: impl FnMut(FileIndex, Found),
    ) -> Result<(), StorageError> {
        let root = Root::open(root, Rights::Read);
        let mut looks = root.as_ref().ok().map(Root::looks);
        for file in files {
            halt.check()?;
            let path = self.lies_at(file);
            let stat = looks.as_mut().zip(path).and_then(|(looks, path)| looks.stat(&path).ok()?);
            each(file, stat.map_or(Found::Nothing, |stat| Found::of(&stat)));
        }
        Ok(())
    }

    /// What the payload of a torrent is called in `root`, if anything is there that may be it.
    #[must_use]
    pub fn find_top(info: &Info, paths: LocalPaths, root: &Path) -> OsString {
        let places = Self::new(paths, None);
        let Ok(root) = Root::open(root, Rights::Read) else { return places.top().to_owned() };
        let search = Search { info, layout: info.layout(), root: &root, halt: &Halt::default() };
        let is_there = search.kind(Path::new(places.top())).is_some();
        // It is not halted.
        let found = if is_there { None } else { search.top(&places).unwrap_or_default() };
        found.unwrap_or_else(|| places.top().to_owned())
    }
}

/// What lies in the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or it cannot be looked at.
    Nothing,
    /// A regular file.
    File {
        /// Its bytes.
        length: u64,
        /// Bytes of the device that it takes.
        allocated: u64,
    },
    /// Something else: a folder, a link, a device.
    Other,
}

impl Found {
    fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File {
                length: u64::try_from(stat.st_size).unwrap_or(0),
                // Blocks are counted in units of 512 bytes whatever the file system's are.
                allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            },
            _ => Self::Other,
        }
    }
}

pub(super) struct Search<'a> {
    pub(super) info: &'a Info,
    pub(super) layout: &'a Layout,
    pub(super) root: &'a Root,
    pub(super) halt: &'a Halt,
}

/// Names in a folder.
type Listing = HashSet<OsString>;

/// Files of one folder, ascending.
struct Group {
    folder: PathBuf,
    files: Vec<FileIndex>,
}

impl Search<'_> {
    /// The torrent's folder or only file under another name. Empty: the files lie in the download folder itself.
    fn top(&self, places: &Places) -> Result<Option<OsString>, StorageError> {
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
        let is_it = |name: &OsString| name.as_os_str() != wanted && is_it(name);
        if let Some(found) = equivalent.into_iter().chain(styled).find(is_it) {
            return Ok(Some(found));
        }
        if let Some(found) = foreign.filter(is_it)
            && (self.info.is_multi_file() || self.is_vouched(Path::new(&found), FileIndex(0), places)?)
        {
            return Ok(Some(found));
        }
        let is_without = self.info.is_multi_file() && self.is_without_folder(places)?;
        Ok(is_without.then(OsString::new))
    }

    /// Whether another client was told to make no folder for this torrent: its largest file is there and holds a piece, and
    /// whatever else of a sample has a length.
    fn is_without_folder(&self, places: &Places) -> Result<bool, StorageError> {
        let layout = self.layout;
        let files = || layout.files().filter(|file| !layout.is_pad(*file) && layout.file_len(*file) != 0);
        let Some(largest) = files().max_by_key(|file| layout.file_len(*file)) else { return Ok(false) };
        let mut flat = places.clone();
        flat.top = Some(OsString::new());
        let mut sample = std::iter::once(largest).chain(files().take(SAMPLE));
        if !sample.all(|file| flat.named(file).is_some_and(|path| self.is_whole(&path, file))) {
            return Ok(false);
        }
        self.is_vouched(&flat.named(largest).unwrap_or_default(), largest, &flat)
    }

    /// Files that lie where their names say, but for the form of these; the others are returned.
    fn by_name(&self, places: &mut Places) -> Result<Bitfield, StorageError> {
        let mut absent = Bitfield::new(u32::try_from(self.layout.file_count()).expect("at most FILES_MAX"));
        let mut renamed = HashMap::new();
        let names = places.names().clone();
        let mut own = None;
        // The only file carries the name that was chosen.
        let only = (!self.info.is_multi_file()).then(|| places.top().to_owned());
        // All groups are of one torrent, so that an absent folder is often around the next one.
        let mut missing: Option<PathBuf> = None;
        for group in self.groups(places)? {
            let is_missing = missing.as_ref().is_some_and(|missing| group.folder.starts_with(missing));
            let folder = if is_missing { None } else { self.folder(&group.folder, &mut renamed) };
            let Some(folder) = folder else {
                group.files.iter().for_each(|file| {
                    absent.set(file.0);
                });
                if !is_missing {
                    missing = self.absent_ancestor(&group.folder);
                }
                continue;
            };
            let is_moved = folder != group.folder;
            let mut listing = (ASKED_MAX < group.files.len()
                || group.files.iter().any(|file| places.rival(*file).is_some()))
            .then(|| self.list(&folder).unwrap_or_default());
            let mut others = None;
            let mut looks = self.root.looks();
            for &file in &group.files {
                self.halt.check()?;
                let Some(path) = names.path(file) else { continue };
                let name = only.as_deref().unwrap_or_else(|| split(path).1);
                let is_there = match &listing {
                    Some(listing) => listing.contains(name),
                    None => matches!(looks.stat(&folder.join(name)), Ok(Some(_))),
                };
                if is_there {
                    if is_moved {
                        places.place(file, folder.join(name), Alias::Equivalent);
                    }
                    continue;
                }
                if !name.as_bytes().is_ascii() {
                    let listing = listing.get_or_insert_with(|| self.list(&folder).unwrap_or_default());
                    // It may be another file of this torrent, which then has the name to itself.
                    let others = others.get_or_insert_with(|| others_of(&names, &group.files));
                    let found = equivalent(Some(listing), name).filter(|found| !others.contains(&**found));
                    if let Some(found) = found {
                        places.place(file, folder.join(found), Alias::Equivalent);
                        continue;
                    }
                }
                let found = self.unfinished(&folder, name, file, listing.as_ref(), places)?;
                // It may be another file of this torrent that is called so.
                let own = found.as_ref().map(|_| own.get_or_insert_with(|| self.all_named(places)));
                match found.filter(|found| own.is_none_or(|own| !own.contains(found))) {
                    Some(found) => places.place(file, found, Alias::Unfinished),
                    None => {
                        absent.set(file.0);
                    }
                }
            }
        }
        Ok(absent)
    }

    /// Where the names of all files say that they lie.
    fn all_named(&self, places: &Places) -> HashSet<PathBuf> {
        self.layout.files().filter_map(|file| places.named(file)).collect()
    }

    /// The outermost folder around this one (or itself) that is not there.
    fn absent_ancestor(&self, folder: &Path) -> Option<PathBuf> {
        // One of another form may be there.
        if !folder.as_os_str().as_bytes().is_ascii() {
            return None;
        }
        let ancestors: Vec<_> = folder.ancestors().collect();
        let absent = ancestors.into_iter().rev().find(|folder| !self.is_folder(folder));
        absent.map(Path::to_owned)
    }

    /// The file under the name that it has in another client while it lacks something, if what it holds is the torrent's: such
    /// names are given to other things too.
    fn unfinished(
        &self,
        folder: &Path,
        name: &OsStr,
        file: FileIndex,
        listing: Option<&Listing>,
        places: &Places,
    ) -> Result<Option<PathBuf>, StorageError> {
        // Mostly there is nothing at all.
        if listing.is_some_and(Listing::is_empty) {
            return Ok(None);
        }
        let length = self.layout.file_len(file);
        for suffix in UNFINISHED {
            let mut name = name.to_owned();
            name.push(suffix);
            if listing.is_some_and(|listing| !listing.contains(&name)) {
                continue;
            }
            let path = folder.join(name);
            let is_possible = self.length(&path).is_some_and(|found| (1..=length).contains(&found));
            if is_possible && self.is_vouched(&path, file, places)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Files that got their names because of the file system, now or in an earlier run.
    fn by_style(&self, places: &mut Places, absent: &Bitfield) -> Result<(), StorageError> {
        for style in Style::PARTICULAR {
            let Some(styled) = places.names().restyled(style) else { continue };
            let changed: Vec<_> = styled
                .changed()
                .filter(|(file, ..)| absent.get(file.0) && places.alias(*file).is_none())
                .map(|(file, _, path)| (file, places.rebased(path)))
                .collect();
            for (file, path) in changed {
                self.halt.check()?;
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
        Ok(())
    }

    fn by_other_clients(&self, places: &mut Places, absent: &Bitfield) -> Result<(), StorageError> {
        let mut found: HashMap<PathBuf, FileIndex> = HashMap::new();
        // Neighbours of a small file may have such names too.
        let mut guess = places.clone();
        for (file, path) in foreign_paths(self.info) {
            self.halt.check()?;
            if !absent.get(file.0) || places.alias(file).is_some() {
                continue;
            }
            let path = places.rebased(as_path(&path));
            if places.named(file).as_ref() != Some(&path) && self.is_whole(&path, file) {
                guess.place(file, path.clone(), Alias::OtherClient);
                found.insert(path, file);
            }
        }
        if let Some(path) = self.in_own_folder(places).filter(|_| absent.get(0)) {
            found.insert(path, FileIndex(0));
        }
        if found.is_empty() {
            return Ok(());
        }
        for file in self.layout.files() {
            if let Some(path) = places.path(file) {
                found.remove(&path);
            }
        }
        for (path, file) in found {
            // A file of this length may be anything.
            if self.is_vouched(&path, file, &guess)? {
                places.place(file, path, Alias::OtherClient);
            }
        }
        Ok(())
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
    fn groups(&self, places: &Places) -> Result<Vec<Group>, StorageError> {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_folder: HashMap<PathBuf, usize> = HashMap::new();
        let mut last: Option<usize> = None;
        for file in self.layout.files() {
            self.halt.check()?;
            let Some(path) = places.is_named(file) else { continue };
            let folder = split(&path).0;
            let at = match last {
                Some(at) if same_path(&groups[at].folder, folder) => at,
                _ => match by_folder.get(folder) {
                    Some(at) => *at,
                    None => {
                        by_folder.insert(folder.to_owned(), groups.len());
                        groups.push(Group { folder: folder.to_owned(), files: Vec::new() });
                        groups.len() - 1
                    }
                },
            };
            groups[at].files.push(file);
            last = Some(at);
        }
        Ok(groups)
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

/// The names of these files, without their folder; none of an only file.
fn others_of<'a>(names: &'a LocalPaths, files: &[FileIndex]) -> HashSet<&'a OsStr> {
    files.iter().filter(|_| 1 < files.len()).filter_map(|file| Some(split(names.path(*file)?).1)).collect()
}

/// Paths that come from names are the same when their bytes are.
fn same_path(a: &Path, b: &Path) -> bool {
    a.as_os_str() == b.as_os_str()
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn first(path: &Path) -> Option<OsString> {
    path.components().next().map(|component| component.as_os_str().to_owned())
}
