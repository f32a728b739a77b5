//! What is to be moved, how, and what would be in the way.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ferri_metainfo::FileIndex;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::beneath::{Access, Rights, Root, birth, identity};
use crate::disk::OpenFile;
use crate::error::StorageError;
use crate::folder::check_folder;
use crate::journal::{Origin, Stamp};
use crate::neighbors::Neighbors;
use crate::places::{Places, is_refusal};
use crate::storage::Storage;

/// Where files are to be.
#[derive(Debug)]
pub(super) struct Goal {
    /// The download folder.
    pub(super) root: PathBuf,
    /// A file that gets another path in it.
    pub(super) renamed: Option<(FileIndex, PathBuf)>,
}

/// Everything that is to be done.
pub(super) struct Plan<'g> {
    pub(super) goal: &'g Goal,
    /// Where files lie.
    places: Places,
    pub(super) steps: Vec<Step>,
    /// Files with pieces or a stamp that are not the torrent's and stay.
    pub(super) behind: Vec<FileIndex>,
}

/// A file that is moved.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) file: FileIndex,
    pub(super) stamp: Stamp,
    /// When it was born (ns since 1970, 0: not known).
    pub(super) born: i64,
    /// Bytes of the device that it takes.
    pub(super) allocated: u64,
    pub(super) way: Way,
}

/// How a file gets to its new place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Rename,
    /// It goes to another file system.
    Copy,
}

impl Plan<'_> {
    /// Where a file lies.
    pub(super) fn from(&self, file: FileIndex) -> PathBuf {
        self.places.path(file).unwrap_or_default()
    }

    /// Where it is to lie.
    pub(super) fn to(&self, file: FileIndex) -> PathBuf {
        match &self.goal.renamed {
            Some((renamed, path)) if *renamed == file => path.clone(),
            _ => self.from(file),
        }
    }

    pub(super) fn copies_all(&self) -> bool {
        self.steps.iter().all(|step| step.way == Way::Copy)
    }

    pub(super) fn copy_all(&mut self) {
        self.steps.iter_mut().for_each(|step| step.way = Way::Copy);
    }

    /// Bytes that have to be copied.
    pub(super) fn bytes_to_copy(&self) -> u64 {
        let copied = self.steps.iter().filter(|step| step.way == Way::Copy);
        copied.map(|step| step.stamp.size.min(step.allocated)).sum()
    }
}

impl Storage {
    /// Looks at everything before anything is done.
    pub(super) fn plan<'g>(&self, goal: &'g Goal) -> Result<Plan<'g>, StorageError> {
        check_folder(&goal.root)?;
        self.refuse_own_names(goal)?;
        let places = self.places().clone();
        let mut plan = Plan { goal, places, steps: Vec::new(), behind: Vec::new() };
        self.look_for_files(&mut plan)?;
        self.refuse_obstacles(&plan)?;
        self.refuse_shared(&plan)?;
        self.plan_room(&plan)?;
        Ok(plan)
    }

    /// No other file of the torrent is called so, lies in a folder that is called so, or is a folder on the way.
    fn refuse_own_names(&self, goal: &Goal) -> Result<(), StorageError> {
        let Some((renamed, new)) = &goal.renamed else { return Ok(()) };
        let places = self.places();
        for file in self.layout().files().filter(|file| file != renamed) {
            let mut others = [places.lies_at(file).map(std::borrow::Cow::into_owned), places.destined(file)];
            let is_met = |path: &mut Option<PathBuf>| {
                path.as_ref().is_some_and(|path| path.starts_with(new) || new.starts_with(path))
            };
            if others.iter_mut().any(is_met) {
                return Err(StorageError::Occupied { path: goal.root.join(new) });
            }
        }
        Ok(())
    }

    fn look_for_files(&self, plan: &mut Plan<'_>) -> Result<(), StorageError> {
        let root = match self.root(false) {
            // There is nothing yet.
            Err(StorageError::Missing { .. }) => return Ok(()),
            root => root?,
        };
        let (seen, parted) = (self.ledger.seen(), self.ledger.parted());
        let mut looks = root.looks();
        let only = plan.goal.renamed.as_ref().map(|(file, _)| *file);
        let device_there = device_of(&plan.goal.root);
        for file in self.layout().files().filter(|file| only.is_none_or(|only| only == *file)) {
            self.options().halt.check()?;
            let Some(path) = self.local_path(file) else { continue };
            let found = match self.stat_in(&mut looks, &path) {
                // Something of the user's is on the way to it.
                Err(Errno::LOOP | Errno::NOTDIR) => None,
                found => found.map_err(|errno| StorageError::reading(&root.full(&path), errno))?,
            };
            let Some(found) = found.filter(is_regular) else { continue };
            let owner = self.ledger.owner(file.0).filter(|owner| owner.inode == Stamp::of(&found).inode);
            let has_piece = |piece: u32| seen.get(piece) && !parted.contains(&(file.0, piece));
            let is_moved = match owner.map(|owner| owner.origin) {
                Some(Origin::Theirs) => false,
                Some(Origin::Made | Origin::Found) => true,
                // There is nothing in it that could be another's.
                None if self.layout().file_len(file) == 0 => found.st_size == 0,
                None => self.layout().file_pieces(file).any(has_piece),
            };
            if !is_moved {
                plan.behind.push(file);
                continue;
            }
            let way = if device(&found) == device_there { Way::Rename } else { Way::Copy };
            let opened = self.open_beneath(file, Access::Read)?;
            plan.steps.push(Step {
                file,
                stamp: Stamp::of(&found),
                born: birth(opened.as_fd()),
                // Blocks are counted in units of 512 bytes whatever the file system's are.
                allocated: u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512),
                way,
            });
        }
        if let Some(file) = only
            && plan.behind.contains(&file)
        {
            // It is the user's, and so is its name.
            let path = root.full(&plan.from(file));
            return Err(StorageError::InTheWay { path, why: crate::error::Conflict::Foreign });
        }
        Ok(())
    }

    /// Nothing lies where a file is to be, or is to be made.
    fn refuse_obstacles(&self, plan: &Plan<'_>) -> Result<(), StorageError> {
        let root = match Root::open(&plan.goal.root, Rights::Read) {
            Err(Errno::NOENT) => return Ok(()),
            root => root.map_err(|errno| StorageError::opening_folder(&plan.goal.root, errno))?,
        };
        let only = plan.goal.renamed.as_ref().map(|(file, _)| *file);
        let real = self.placement().real.clone();
        let mut looks = root.looks();
        for file in real.iter_ones().map(FileIndex).filter(|file| only.is_none_or(|only| only == *file)) {
            self.options().halt.check()?;
            if plan.places.lies_at(file).is_none() {
                continue;
            }
            let path = plan.to(file);
            let found = match self.hooks().call(crate::Op::Stat, &root.full(&path), || looks.stat(&path)) {
                Err(errno) if is_refusal(errno) => None,
                found => found
                    .map_err(|errno| root.blame(&path, StorageError::reading(&root.full(&path), errno)))?,
            };
            if let Some(found) = found {
                return Err(self.obstacle(&root, &path, &found, file));
            }
        }
        Ok(())
    }

    /// Whose something is that lies where a file is to go.
    fn obstacle(&self, root: &Root, path: &Path, found: &Stat, file: FileIndex) -> StorageError {
        let full = root.full(path);
        let occupied = StorageError::Occupied { path: full.clone() };
        let Ok(opened) = root.open_file(path, Access::Read) else { return occupied };
        let opened = OpenFile::new(opened, full.clone(), false);
        let neighbors = self.neighbors([Stamp::of(found).inode].into());
        match self.owner_beside_us(file, &opened, &neighbors) {
            Ok(Some(by)) => self.belongs_to(&full, &by),
            Ok(None) | Err(_) => occupied,
        }
    }

    fn belongs_to(&self, path: &Path, by: &str) -> StorageError {
        match by.strip_prefix("torrent ") {
            Some(torrent) => self.taken(path, torrent.to_owned()),
            None => StorageError::InUse { path: path.to_path_buf() },
        }
    }

    /// A file that another torrent has too stays where that looks for it.
    fn refuse_shared(&self, plan: &Plan<'_>) -> Result<(), StorageError> {
        let neighbors: Neighbors = self.neighbors(plan.steps.iter().map(|step| step.stamp.inode).collect());
        for step in &plan.steps {
            self.options().halt.check()?;
            let opened = self.open_beneath(step.file, Access::Read)?;
            if let Some(by) = self.owner_beside_us(step.file, &opened, &neighbors)? {
                return Err(self.belongs_to(opened.path(), &by));
            }
        }
        Ok(())
    }

    /// There is room for what has to be copied.
    pub(super) fn plan_room(&self, plan: &Plan<'_>) -> Result<(), StorageError> {
        let needed = plan.bytes_to_copy();
        let there = plan.goal.root.ancestors().find(|folder| folder.exists());
        let Some(found) = there.and_then(|folder| rustix::fs::statvfs(folder).ok()) else { return Ok(()) };
        let available = found.f_bavail.saturating_mul(found.f_frsize);
        match needed <= available {
            true => Ok(()),
            false => Err(StorageError::NoSpace { path: plan.goal.root.clone(), needed, available }),
        }
    }
}

fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

fn device(found: &Stat) -> u64 {
    identity(found).0
}

/// The device that a folder is on, or will be on once it is made.
fn device_of(folder: &Path) -> u64 {
    let there = folder.ancestors().find_map(|folder| rustix::fs::stat(folder).ok());
    there.map_or(0, |found| device(&found))
}
