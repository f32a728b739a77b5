//! A disk that keeps what was not synced for as long as it likes, and what a power cut leaves of it.
//!
//! The rules are those of POSIX, not of one file system: `fdatasync` saves the bytes and the length of a file, `fsync`
//! its times too, `fsync` of a folder the entries of that folder and nothing else. Whatever was not saved may be there
//! after a crash or not, each sector and each entry for itself, in any [`Order`]. This is more than ext4, XFS and
//! btrfs allow themselves together. A rename is whole or not at all, also from one folder to another, where a sync of
//! the new one saves it; the entries of one folder change in their order, and no file is lost with its folder. These all
//! of them promise.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ferri_storage::Synced;

use super::record::{Edit, Event};
use crate::scenario::Dice;

/// What survives of the changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// None.
    Nothing,
    /// Any of them: sectors and lengths of each file and entries of each folder as the dice fall.
    Anything,
    /// The last ones and not the first; all entries and lengths before any of the bytes.
    Reversed,
}

impl Order {
    /// All.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Anything, Self::Reversed];
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(u64),
    Folder,
    Link(PathBuf),
}

/// What is there after a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<PathBuf, Node>,
    /// By inode: the bytes and the time of the last change.
    pub(super) files: BTreeMap<u64, (Vec<u8>, SystemTime)>,
}

/// The disk while the machine runs.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Where it is mounted.
    root: PathBuf,
    /// As saved.
    names: BTreeMap<PathBuf, Node>,
    /// As programs see them.
    live: BTreeMap<PathBuf, Node>,
    /// Changes of entries that were not saved, ascending.
    entries: Vec<(u64, Entry)>,
    files: BTreeMap<u64, File>,
    /// When the syncs under way began.
    syncing: BTreeMap<PathBuf, u64>,
    /// Counts changes.
    clock: u64,
}

#[derive(Clone, Debug)]
enum Entry {
    Add(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
struct File {
    /// As saved.
    bytes: Vec<u8>,
    /// Every time it had since its times were saved, the saved one first.
    times: Vec<SystemTime>,
    /// Not saved, ascending.
    edits: Vec<(u64, Edit)>,
}

impl Disk {
    /// A disk on which all of this is saved.
    pub(super) fn new(root: PathBuf, image: &Image) -> Self {
        let file = |(bytes, time): &(Vec<u8>, SystemTime)| File {
            bytes: bytes.clone(),
            times: vec![*time],
            edits: Vec::new(),
        };
        Self {
            root,
            names: image.names.clone(),
            live: image.names.clone(),
            files: image.files.iter().map(|(&inode, found)| (inode, file(found))).collect(),
            ..Self::default()
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        self.clock += 1;
        let clock = self.clock;
        match event {
            Event::File(path, inode, time) => {
                self.files.entry(*inode).or_insert_with(|| File::new(*time));
                self.add(path, Node::File(*inode));
            }
            Event::Folder(path) => self.add(path, Node::Folder),
            Event::Link(path, target) => self.add(path, Node::Link(target.clone())),
            Event::Data(inode, edit, time) => {
                // Another thread may write to a file before the one that made it has told of it.
                let file = self.files.entry(*inode).or_insert_with(|| File::new(*time));
                file.edits.push((clock, edit.clone()));
                file.times.push(*time);
            }
            Event::Renamed(from, to) => {
                if let Some(node) = self.live.remove(from) {
                    self.live.insert(to.clone(), node.clone());
                    self.entries.push((clock, Entry::Rename(from.clone(), to.clone(), node)));
                }
            }
            Event::Removed(path) => {
                self.live.remove(path);
                self.entries.push((clock, Entry::Remove(path.clone())));
            }
            Event::Syncing(path) => {
                self.syncing.insert(path.clone(), clock);
            }
            Event::Synced(path, what) => {
                if let Some(began) = self.syncing.remove(path) {
                    self.save(path, *what, began);
                }
            }
            Event::Verified(_)
            | Event::Promised(_)
            | Event::Moved(_)
            | Event::Wanted(_)
            | Event::Moving(_)
            | Event::Lies(_)
            | Event::Listed(_) => {}
        }
    }

    fn add(&mut self, path: &Path, node: Node) {
        if !self.live.contains_key(path) {
            self.live.insert(path.into(), node.clone());
            self.entries.push((self.clock, Entry::Add(path.into(), node)));
        }
    }

    fn save(&mut self, path: &Path, what: Synced, began: u64) {
        match what {
            Synced::Data | Synced::File => {
                if let Some(Node::File(inode)) = self.live.get(path) {
                    save_file(self.files.get_mut(inode), what, began);
                }
            }
            Synced::Folder => self.save_entries(began, |entry| entry.folder() == Some(path)),
            Synced::FileSystem => {
                for (name, node) in &self.live {
                    if let Node::File(inode) = node
                        && name.starts_with(path)
                    {
                        save_file(self.files.get_mut(inode), Synced::File, began);
                    }
                }
                self.save_entries(began, |entry| {
                    entry.folder().is_some_and(|folder| folder.starts_with(path))
                });
            }
        }
    }

    fn save_entries(&mut self, began: u64, is_covered: impl Fn(&Entry) -> bool) {
        // A name that goes from one folder to another is saved with all that happened in both before.
        let mut both = BTreeSet::new();
        let mut is_saved = vec![false; self.entries.len()];
        for ((time, entry), is_saved) in self.entries.iter().zip(&mut is_saved).rev() {
            let is_before = [entry.folder(), entry.left()].iter().flatten().any(|at| both.contains(at));
            *is_saved = is_before || (*time < began && is_covered(entry));
            if *is_saved && entry.left().is_some() {
                both.extend([entry.folder(), entry.left()].into_iter().flatten());
            }
            // So is a folder that is gone with all that left it.
            if let (true, Entry::Remove(path)) = (*is_saved, entry) {
                both.insert(path.as_path());
            }
        }
        let mut is_saved = is_saved.into_iter();
        for (time, entry) in std::mem::take(&mut self.entries) {
            if is_saved.next() == Some(true) {
                entry.apply(&mut self.names, &self.root);
            } else {
                self.entries.push((time, entry));
            }
        }
    }

    /// The power goes.
    pub(super) fn crash(&self, order: Order, dice: &mut Dice) -> Image {
        let mut names = self.names.clone();
        let keep = self.surviving_entries(order, dice);
        for ((_, entry), _) in self.entries.iter().zip(keep).filter(|(_, keep)| *keep) {
            entry.apply(&mut names, &self.root);
        }
        // What is in a folder that is not there is not there. Parents come before their children.
        let mut folders = BTreeSet::from([self.root.clone()]);
        names.retain(|path, node| {
            let is_there = path.parent().is_some_and(|folder| folders.contains(folder));
            if is_there && matches!(node, Node::Folder) {
                folders.insert(path.clone());
            }
            is_there
        });
        let first = self.files.values().filter_map(|file| file.edits.first()).map(|edit| edit.0).min();
        let cut = first.map_or(0, |first| first + dice.below(self.clock + 1 - first.min(self.clock)));
        let sector = [512, 4096][dice.below(2) as usize];
        let mut files = BTreeMap::new();
        for node in names.values() {
            if let Node::File(inode) = node
                && let Some(file) = self.files.get(inode)
            {
                files.insert(*inode, file.crash(order, cut, sector, dice));
            }
        }
        Image { names, files }
    }

    fn surviving_entries(&self, order: Order, dice: &mut Dice) -> Vec<bool> {
        let count = self.entries.len();
        match order {
            Order::Nothing => vec![false; count],
            Order::Reversed => vec![true; count],
            // One log for the whole file system...
            Order::Anything if dice.below(2) == 0 => {
                let cut = dice.below(count as u64 + 1) as usize;
                (0..count).map(|at| at < cut).collect()
            }
            // ...or one for each folder.
            Order::Anything => {
                let mut ended = BTreeSet::new();
                let mut survives = Vec::new();
                for (_, entry) in &self.entries {
                    let folders = [entry.folder(), entry.left().or_else(|| entry.folder())];
                    // What is lost in one of two folders is lost in both.
                    if dice.below(3) == 0 || folders.iter().any(|folder| ended.contains(folder)) {
                        ended.extend(folders);
                    }
                    survives.push(!ended.contains(&entry.folder()));
                }
                survives
            }
        }
    }
}

impl Entry {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Add(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => path.parent(),
        }
    }

    /// The folder that a name left for another one.
    fn left(&self) -> Option<&Path> {
        match self {
            Self::Rename(from, to, _) if from.parent() != to.parent() => from.parent(),
            _ => None,
        }
    }

    /// No file is lost with its folder: none goes to one that is not there, and one that is not empty stays.
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>, root: &Path) {
        match self {
            Self::Add(path, node) => {
                names.insert(path.clone(), node.clone());
            }
            Self::Remove(path) => {
                let next = names.range::<Path, _>((Bound::Excluded(path.as_path()), Bound::Unbounded)).next();
                if next.is_none_or(|(next, _)| !next.starts_with(path)) {
                    names.remove(path);
                }
            }
            Self::Rename(from, to, node) => {
                let mut around = to.ancestors().skip(1).take_while(|folder| *folder != root);
                if around.all(|folder| names.contains_key(folder)) {
                    names.remove(from);
                    names.insert(to.clone(), node.clone());
                }
            }
        }
    }
}

impl File {
    fn new(time: SystemTime) -> Self {
        Self { times: vec![time], ..Self::default() }
    }

    fn crash(&self, order: Order, cut: u64, sector: u64, dice: &mut Dice) -> (Vec<u8>, SystemTime) {
        let mut bytes = self.bytes.clone();
        let any = dice.below(self.times.len() as u64) as usize;
        let (length, time) = match order {
            Order::Nothing => (bytes.len() as u64, 0),
            Order::Anything => {
                let grown = dice.below(self.edits.len() as u64 + 1) as usize;
                (self.length_after(grown), any)
            }
            Order::Reversed => {
                (self.length_after(self.edits.len()), [0, self.times.len() - 1][dice.below(2) as usize])
            }
        };
        let permille = [0, 100, 500, 900, 1000][dice.below(5) as usize];
        for (at, edit) in &self.edits {
            match order {
                Order::Nothing => {}
                Order::Anything => edit.apply(&mut bytes, sector, |_| dice.below(1000) < permille),
                Order::Reversed if *at == cut => edit.apply(&mut bytes, sector, |_| dice.below(2) == 0),
                Order::Reversed => edit.apply(&mut bytes, sector, |_| cut < *at),
            }
        }
        bytes.resize(length as usize, 0);
        (bytes, self.times.get(time).copied().unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// The length after the first so many edits.
    fn length_after(&self, count: usize) -> u64 {
        let grow = |length: u64, (_, edit): &(u64, Edit)| match edit {
            Edit::Write(offset, bytes) => length.max(offset + bytes.len() as u64),
            Edit::Resize(length) => *length,
            Edit::Clear(..) => length,
        };
        self.edits[..count].iter().fold(self.bytes.len() as u64, grow)
    }
}

impl Edit {
    /// Writes those sectors that survive. Lengths are written elsewhere.
    fn apply(&self, to: &mut Vec<u8>, sector: u64, mut survives: impl FnMut(u64) -> bool) {
        let (offset, length) = match self {
            Self::Write(offset, bytes) => (*offset, bytes.len() as u64),
            Self::Clear(offset, length) => (*offset, *length),
            Self::Resize(_) => return,
        };
        let mut at = offset;
        while at < offset + length {
            let end = (offset + length).min((at / sector + 1) * sector);
            if survives(at) {
                if (to.len() as u64) < end {
                    to.resize(end as usize, 0);
                }
                let range = at as usize..end as usize;
                match self {
                    Self::Write(_, bytes) => {
                        to[range].copy_from_slice(&bytes[(at - offset) as usize..(end - offset) as usize]);
                    }
                    _ => to[range].fill(0),
                }
            }
            at = end;
        }
    }
}

fn save_file(file: Option<&mut File>, what: Synced, began: u64) {
    let Some(file) = file else { return };
    let saved = file.edits.partition_point(|(time, _)| *time < began);
    let length = file.length_after(saved);
    for (_, edit) in file.edits.drain(..saved) {
        edit.apply(&mut file.bytes, u64::MAX / 2, |_| true);
    }
    file.bytes.resize(length as usize, 0);
    if what == Synced::File {
        // One time for each edit, and the one that was saved before.
        let last = file.times.len() - file.edits.len();
        file.times.drain(..last.saturating_sub(1));
    }
}
