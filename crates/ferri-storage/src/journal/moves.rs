//! What a journal says of files that are moved to another folder or renamed.
//!
//! Before a file leaves its place the journal says where it is going ([`MoveRecord::Begin`]). When all of them are there it is
//! written anew, with the new folder as its own: that is the moment at which they are moved. [`MoveRecord::From`] then says
//! where they were, for a caller whose own list still names that folder, until [`MoveRecord::End`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::take;

/// So many folders in which the files were are remembered; a caller whose list takes no word moves no more often.
const FORMER_MAX: usize = 64;

/// Bytes of a path that are kept; Linux ends paths at 4096.
const PATH_MAX: usize = 8 << 10;

/// A file by its inode and the time at which that was born (ns since 1970, 0 where the file system does not tell).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) inode: u64,
    pub(crate) born: i64,
}

/// A step of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MoveRecord {
    /// Files are about to be moved to this folder.
    Begin { root: PathBuf },
    /// This one of them lies at `from` (relative, as all but folders), which is not what its name says, or goes to another
    /// path.
    Path { file: u32, from: PathBuf, to: PathBuf },
    /// This file is copied to where it goes, since that is on another file system. The copy is ours.
    Copy { file: u32, copy: Birth },
    /// Nothing is to be said of moves any more: there was none, or everyone knows.
    End,
    /// The files were in this folder, and are in the journal's; nothing is under way.
    From { root: PathBuf },
    /// This is still there, beneath the folder that was named last, and is to be removed.
    Left { file: u32, path: PathBuf, left: Birth },
    /// The user calls a file so; `None`: as it is called itself.
    Renamed { file: u32, path: Option<PathBuf> },
}

/// What is known of moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// One that began and did not end.
    pub(crate) under_way: Option<UnderWay>,
    /// Folders in which the files were before, the last one last, of which a caller may still name one.
    pub(crate) done: Vec<Former>,
    /// Where files lie that the user renamed, relative to the download folder.
    pub(crate) renamed: BTreeMap<u32, PathBuf>,
}

/// A move that began and did not end: files lie at the old place or at the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// The folder to which they go.
    pub(crate) root: PathBuf,
    /// From where to where, for files of which that is not plain.
    pub(crate) paths: BTreeMap<u32, (PathBuf, PathBuf)>,
    /// Copies that were made there.
    pub(crate) copies: BTreeMap<u32, Birth>,
}

/// A folder in which the files were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Former {
    /// The folder.
    pub(crate) root: PathBuf,
    /// Those that were copied, and may still lie there.
    pub(crate) left: BTreeMap<u32, (PathBuf, Birth)>,
}

impl Moves {
    /// `false`: the record makes no sense for a torrent of so many files, and nothing was changed.
    pub(super) fn apply(&mut self, record: &MoveRecord, files: u32) -> bool {
        match record {
            MoveRecord::Begin { root } => {
                let (paths, copies) = (BTreeMap::new(), BTreeMap::new());
                self.under_way = Some(UnderWay { root: root.clone(), paths, copies });
            }
            MoveRecord::Path { file, from, to } if *file < files => {
                let Some(under_way) = &mut self.under_way else { return false };
                under_way.paths.insert(*file, (from.clone(), to.clone()));
            }
            MoveRecord::Copy { file, copy } if *file < files => {
                let Some(under_way) = &mut self.under_way else { return false };
                under_way.copies.insert(*file, *copy);
            }
            MoveRecord::End => (self.under_way, self.done) = (None, Vec::new()),
            MoveRecord::From { root } => {
                self.under_way = None;
                self.leave(root);
            }
            MoveRecord::Left { file, path, left } if *file < files => {
                let Some(former) = self.done.last_mut() else { return false };
                former.left.insert(*file, (path.clone(), *left));
            }
            MoveRecord::Renamed { file, path } if *file < files => {
                match path {
                    Some(path) => self.renamed.insert(*file, path.clone()),
                    None => self.renamed.remove(file),
                };
            }
            _ => return false,
        }
        true
    }

    /// The files were in this folder last.
    fn leave(&mut self, root: &Path) {
        let known = self.done.iter().position(|former| former.root == root);
        let former = known.map(|at| self.done.remove(at));
        self.done.push(former.unwrap_or_else(|| Former { root: root.to_path_buf(), left: BTreeMap::new() }));
        if FORMER_MAX < self.done.len() {
            // The first one is the one that a list names which has taken no word since.
            self.done.remove(1);
        }
    }

    /// What says that the move under way did not happen, and unsays none that did.
    pub(crate) fn given_up(&self) -> MoveRecord {
        match self.done.last() {
            Some(former) => MoveRecord::From { root: former.root.clone() },
            None => MoveRecord::End,
        }
    }

    /// The fewest records that add up to this.
    pub(super) fn records(&self) -> Vec<MoveRecord> {
        let mut records = Vec::new();
        let renamed = self.renamed.iter();
        records.extend(renamed.map(|(&file, path)| MoveRecord::Renamed { file, path: Some(path.clone()) }));
        for former in &self.done {
            records.push(MoveRecord::From { root: former.root.clone() });
            let left = former.left.iter();
            records.extend(left.map(|(&file, (path, left))| MoveRecord::Left {
                file,
                path: path.clone(),
                left: *left,
            }));
        }
        if let Some(under_way) = &self.under_way {
            records.push(MoveRecord::Begin { root: under_way.root.clone() });
            let paths = under_way.paths.iter();
            records.extend(paths.map(|(&file, (from, to))| MoveRecord::Path {
                file,
                from: from.clone(),
                to: to.clone(),
            }));
            let copies = under_way.copies.iter();
            records.extend(copies.map(|(&file, &copy)| MoveRecord::Copy { file, copy }));
        }
        records
    }
}

pub(super) const fn kind(record: &MoveRecord) -> u8 {
    match record {
        MoveRecord::Begin { .. } => 18,
        MoveRecord::Path { .. } => 19,
        MoveRecord::Copy { .. } => 20,
        MoveRecord::End => 21,
        MoveRecord::From { .. } => 22,
        MoveRecord::Left { .. } => 23,
        MoveRecord::Renamed { .. } => 24,
    }
}

pub(super) fn encode(record: &MoveRecord, out: &mut Vec<u8>) {
    match record {
        MoveRecord::Begin { root } | MoveRecord::From { root } => out.extend(bytes(root)),
        MoveRecord::Path { file, from, to } => {
            out.extend(file.to_le_bytes());
            let from = bytes(from);
            out.extend(u16::try_from(from.len()).expect("PATH_MAX is below").to_le_bytes());
            out.extend(from);
            out.extend(bytes(to));
        }
        MoveRecord::Copy { file, copy } => {
            out.extend(file.to_le_bytes());
            encode_birth(copy, out);
        }
        MoveRecord::End => {}
        MoveRecord::Left { file, path, left } => {
            out.extend(file.to_le_bytes());
            encode_birth(left, out);
            out.extend(bytes(path));
        }
        MoveRecord::Renamed { file, path } => {
            out.extend(file.to_le_bytes());
            out.extend(path.as_deref().map(bytes).unwrap_or_default());
        }
    }
}

/// `None`: this is no record of this kind. What is left of the payload is too much.
pub(super) fn decode(kind: u8, payload: &mut &[u8]) -> Option<MoveRecord> {
    let p = payload;
    Some(match kind {
        18 => MoveRecord::Begin { root: take_path(p)? },
        19 => {
            let file = u32::from_le_bytes(take(p)?);
            let length = usize::from(u16::from_le_bytes(take(p)?));
            let (mut from, to) = p.split_at_checked(length)?;
            *p = to;
            MoveRecord::Path { file, from: take_path(&mut from)?, to: take_path(p)? }
        }
        20 => MoveRecord::Copy { file: u32::from_le_bytes(take(p)?), copy: take_birth(p)? },
        21 => MoveRecord::End,
        22 => MoveRecord::From { root: take_path(p)? },
        23 => {
            let (file, left) = (u32::from_le_bytes(take(p)?), take_birth(p)?);
            MoveRecord::Left { file, path: take_path(p)?, left }
        }
        24 => {
            let file = u32::from_le_bytes(take(p)?);
            let path = if p.is_empty() { None } else { Some(take_path(p)?) };
            MoveRecord::Renamed { file, path }
        }
        _ => return None,
    })
}

fn encode_birth(file: &Birth, out: &mut Vec<u8>) {
    out.extend(file.inode.to_le_bytes());
    out.extend(file.born.to_le_bytes());
}

fn take_birth(bytes: &mut &[u8]) -> Option<Birth> {
    Some(Birth { inode: u64::from_le_bytes(take(bytes)?), born: i64::from_le_bytes(take(bytes)?) })
}

/// What is longer could not have been opened.
fn bytes(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    &bytes[..bytes.len().min(PATH_MAX)]
}

/// The rest is a path; an empty one is none.
fn take_path(bytes: &mut &[u8]) -> Option<PathBuf> {
    let path = std::mem::take(bytes);
    let is_path = !path.is_empty() && path.len() <= PATH_MAX;
    is_path.then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
}
