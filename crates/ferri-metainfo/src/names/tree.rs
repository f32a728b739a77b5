//! All names of a torrent as one tree of folders: rules 9 to 11 of the table in [`crate::names`], in any style.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::style::Style;
use crate::FileIndex;

/// What the mapping must know about a file.
#[derive(Debug, Clone)]
pub(super) struct Source<'a> {
    /// Components below the torrent's folder, as the torrent has them.
    pub(super) path: Vec<&'a str>,
    pub(super) is_pad: bool,
    /// Where it links to, if it is a link.
    pub(super) link: Option<&'a [String]>,
}

/// A folder in the tree; [`Folder::TOP`] is the torrent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Folder(u32);

impl Folder {
    pub(super) const TOP: Self = Self(0);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Folder(Folder),
    File(FileIndex),
}

/// Every local name, as far as it tells names apart, and what it is. Looked up, never iterated.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    style: Style,
    entries: HashMap<(Folder, Cow<'a, str>), Entry>,
    folders: u32,
    /// Files that could not have the name they would have had, and the number that was added to it.
    numbered: BTreeMap<FileIndex, u32>,
}

/// A file whose folders are in the tree but whose own name may not be.
#[derive(Debug, Clone, Copy)]
struct Unplaced {
    file: FileIndex,
    folder: Folder,
    /// No rule changed its path.
    is_unchanged: bool,
}

impl<'a> Tree<'a> {
    /// Folders first, for they keep their names; then files whose path is unchanged; then the others, each group in
    /// the order of the torrent. Files without any name get none.
    pub(super) fn build(style: Style, count: u32, source: &impl Fn(FileIndex) -> Source<'a>) -> Self {
        let entries = HashMap::with_capacity(count as usize);
        let mut tree = Self { style, entries, folders: 1, numbered: BTreeMap::new() };
        let mut unplaced = tree.add_folders(count, source);
        unplaced.retain(|file| {
            !(file.is_unchanged && tree.place(file.folder, tree.name(source, file.file), file.file))
        });
        // By folder and name: the number to try next. Without it a million files of one name would be a quadratic
        // search.
        let mut numbers: HashMap<(Folder, Cow<'a, str>), u32> = HashMap::new();
        for Unplaced { file, folder, .. } in unplaced {
            let name = tree.name(source, file);
            if tree.place(folder, name.clone(), file) {
                continue;
            }
            let number = numbers.entry((folder, style.key(name.clone()))).or_insert(1);
            while !tree.place(folder, Cow::Owned(style.numbered(&name, *number)), file) {
                *number += 1;
            }
            tree.numbered.insert(file, *number);
            *number += 1;
        }
        tree
    }

    /// The local components of a file's path; empty if there is no name in it.
    pub(super) fn local_path<'s>(&self, file: FileIndex, source: &Source<'s>) -> Vec<Cow<'s, str>> {
        let mut path = self.components(&source.path);
        if let (Some(name), Some(number)) = (path.last_mut(), self.numbered.get(&file)) {
            *name = Cow::Owned(self.style.numbered(name, *number));
        }
        path
    }

    pub(super) fn get(&self, folder: Folder, name: &'a str) -> Option<Entry> {
        self.entries.get(&(folder, Cow::Borrowed(name))).copied()
    }

    fn add_folders(&mut self, count: u32, source: &impl Fn(FileIndex) -> Source<'a>) -> Vec<Unplaced> {
        let mut unplaced = Vec::with_capacity(count as usize);
        // The folders around the file before: neighbours mostly share them.
        let mut open: Vec<(Cow<'a, str>, Folder)> = Vec::new();
        for file in (0..count).map(FileIndex) {
            let source = source(file);
            let mut local = self.components(&source.path);
            let is_unchanged = source.path == local;
            if source.is_pad || local.pop().is_none() {
                continue;
            }
            let common = open.iter().zip(&local).take_while(|((a, _), b)| a == *b).count();
            open.truncate(common);
            for name in local.drain(common..) {
                let around = open.last().map_or(Folder::TOP, |(_, folder)| *folder);
                let folder = self.folder(around, name.clone());
                open.push((name, folder));
            }
            let folder = open.last().map_or(Folder::TOP, |(_, folder)| *folder);
            unplaced.push(Unplaced { file, folder, is_unchanged });
        }
        unplaced
    }

    fn folder(&mut self, around: Folder, name: Cow<'a, str>) -> Folder {
        let next = Folder(self.folders);
        match *self.entries.entry((around, self.style.key(name))).or_insert(Entry::Folder(next)) {
            Entry::Folder(folder) => {
                self.folders += u32::from(folder == next);
                folder
            }
            Entry::File(_) => unreachable!("files are placed after all folders"),
        }
    }

    /// `false` if the name is taken.
    fn place(&mut self, folder: Folder, name: Cow<'a, str>, file: FileIndex) -> bool {
        let entry = Entry::File(file);
        *self.entries.entry((folder, self.style.key(name))).or_insert(entry) == entry
    }

    fn components<'s>(&self, path: &[&'s str]) -> Vec<Cow<'s, str>> {
        path.iter().filter_map(|part| self.style.component(part)).collect()
    }

    /// The file's own local name, before numbering.
    fn name(&self, source: &impl Fn(FileIndex) -> Source<'a>, file: FileIndex) -> Cow<'a, str> {
        let path = source(file).path;
        path.iter()
            .rev()
            .find_map(|part| self.style.component(part))
            .expect("files without a name are not placed")
    }
}
