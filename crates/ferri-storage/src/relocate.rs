//! A torrent's files go to another folder, or one of them gets another name, while the torrent is at work.
//!
//! All of it happens or nothing. The steps:
//! 1. Nothing is written from here on ([`Transit`]), and what was written is synced.
//! 2. What would be in the way is looked for, and the new places are claimed (`plan.rs`).
//! 3. The journal says where the files are going, and this is synced.
//! 4. Files that go to another file system are copied, and the copies synced (`copy.rs`). Reading goes on meanwhile.
//! 5. All others are renamed, which replaces nothing. This takes as long as so many calls, and nothing is read meanwhile.
//! 6. The journal is written anew with the new folder: from here on the files are there.
//! 7. What was copied is removed at the old place, and folders that are empty then.
//!
//! A failure before step 6 undoes what was done. A process that died in between left the journal, by which the next start
//! does the same (`settle.rs`).
//!
//! Only files with data of the torrent are moved: what lies in the place of one and is the user's stays. The parts file is in
//! the state folder and stays too.

mod copy;
mod plan;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ferri_metainfo::names::PathProblem;
use ferri_metainfo::{Bitfield, FileIndex};
use rustix::io::Errno;

use self::plan::{Goal, Plan, Step, Way};
use crate::atomic::{SHARED_FOLDER, create_folders, sync_folder};
use crate::beneath::{Access, Rights, Root, birth};
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::{Birth, MoveRecord, Owner, Record, Stamp};
use crate::ledger::parts_number;
use crate::neighbors;
use crate::places::Alias;
use crate::register::{self, Claim};
use crate::resume::resolved;
use crate::stamp::Likeness;
use crate::storage::{Storage, Transit};
use crate::witness::{Change, Synced};

/// With more folders than this, one `syncfs` is cheaper than so many syncs.
const FOLDERS_SYNCED_MAX: usize = 128;

/// So many files that stay are named; the others are counted.
const STAYED_NAMED_MAX: usize = 100;

/// How far a move has come, in bytes that are copied to another file system. Renaming takes no time worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveProgress {
    /// Bytes copied.
    pub done: u64,
    /// Bytes to copy.
    pub total: u64,
}

/// What was moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// Files that are at the new place.
    pub files: usize,
    /// Bytes that were copied for that, because they lay on another file system.
    pub copied: u64,
    /// The first hundred files that are still at the old place: what is not the torrent's, and copies that could not be removed.
    pub stayed: Vec<PathBuf>,
    /// How many more.
    pub more: usize,
}

impl Moved {
    fn stay(&mut self, path: PathBuf) {
        if self.stayed.len() < STAYED_NAMED_MAX {
            self.stayed.push(path);
        } else {
            self.more += 1;
        }
    }
}

/// What was done of a move, to be undone.
#[derive(Debug, Default)]
struct Undo {
    /// Folders that hold the download folder, and it, as far as they were made; the outermost first.
    roots: Vec<PathBuf>,
    /// Folders beneath it.
    folders: Vec<PathBuf>,
    /// Files that were created at the new place.
    copies: Vec<(PathBuf, Birth)>,
    /// Positions in the plan.
    renamed: Vec<usize>,
}

impl Storage {
    /// Moves the torrent's files to another download folder, which is made if it is missing. Reading goes on, but for the
    /// moment in which files are renamed ([`StorageError::BeingMoved`]); nothing may be written meanwhile. Takes as long as
    /// copying does where the folder is on another file system: `progress` hears of it, and [`Storage::halt`] ends it.
    ///
    /// A caller that remembers the folder calls [`Storage::confirm_move`] when it remembers the new one. Until then a start
    /// with the old folder finds the files in the new one.
    ///
    /// # Errors
    /// Everything is where it was then. [`StorageError::Occupied`]: something lies where a file was to go, which is named.
    /// [`StorageError::Taken`]: it is another torrent's, or that is going to make it. [`StorageError::NoSpace`] and other
    /// errors of the disk. [`StorageError::Halted`]. [`StorageError::OnlyRead`]: files that are only shared are not moved.
    pub fn move_to(
        &self,
        folder: &Path,
        progress: &(dyn Fn(MoveProgress) + Sync),
    ) -> Result<Moved, StorageError> {
        self.may_write()?;
        let root = std::path::absolute(folder).map_err(|error| StorageError::writing_io(folder, error))?;
        if resolved(&root) == resolved(&self.place().root) {
            return Ok(Moved::default());
        }
        self.relocate(&Goal { root, renamed: None }, progress)
    }

    /// Gives a file another path, relative to the download folder. It keeps it from here on, also when it is only made later.
    ///
    /// # Errors
    /// Nothing was changed then. [`StorageError::BadPath`]: no file may be called so. [`StorageError::Occupied`]: another
    /// file of the torrent is called so, or something lies there. Otherwise as [`Storage::move_to`].
    pub fn rename_file(&self, file: FileIndex, path: &Path) -> Result<(), StorageError> {
        self.may_write()?;
        let Some(now) = self.local_path(file) else {
            return Err(StorageError::Invalid("padding has no file"));
        };
        let path = ferri_metainfo::names::user_path(path).map_err(|why| self.bad_path(path, why))?;
        if path == now {
            return Ok(());
        }
        let goal = Goal { root: self.place().root.clone(), renamed: Some((file, path)) };
        self.relocate(&goal, &|_| {}).map(drop)
    }

    fn bad_path(&self, path: &Path, why: PathProblem) -> StorageError {
        // `join` with an absolute path would hide where it was to lie.
        StorageError::BadPath { path: path.to_path_buf(), why }
    }

    /// Files that the user renamed, and where they lie, relative to the download folder.
    #[must_use]
    pub fn renamed(&self) -> BTreeMap<FileIndex, PathBuf> {
        let places = self.places();
        let renamed = places.moved().filter(|(_, _, alias)| *alias == Alias::Renamed);
        renamed.map(|(file, path, _)| (file, path.to_path_buf())).collect()
    }

    /// Whether a move is done and was not [confirmed](Storage::confirm_move): the caller may name another folder, or know other
    /// names.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        !self.ledger.moves().done.is_empty()
    }

    /// Waits until files that are being moved are at one place, as after [`StorageError::BeingMoved`].
    pub fn wait_until_moved(&self) {
        drop(self.lock_sync());
    }

    /// A caller remembers that the files are in `folder`, the download folder after a move, and all names: a start need not
    /// find out. Has no effect when they have left that folder meanwhile, or are about to.
    pub fn confirm_move(&self, folder: &Path) {
        self.ledger.confirm_move(&resolved(folder));
    }

    fn relocate(&self, goal: &Goal, progress: &(dyn Fn(MoveProgress) + Sync)) -> Result<Moved, StorageError> {
        self.enter_transit()?;
        let synced = self.sync();
        // Held to the end: who closes the files waits for it, and so does who reads them.
        let _turn = self.lock_sync();
        let moved = synced.and_then(|()| self.relocate_still(goal, progress));
        if moved.is_err() {
            self.leave_transit();
        }
        moved.map_err(|error| self.explain(error))
    }

    /// The same when nothing is written.
    fn relocate_still(
        &self,
        goal: &Goal,
        progress: &(dyn Fn(MoveProgress) + Sync),
    ) -> Result<Moved, StorageError> {
        let mut plan = self.plan(goal)?;
        let reserved = self.reserve(goal)?;
        let result = match self.carry_out(&plan, progress) {
            // What looks like one file system may be two: one mounted twice, or parts of one that are kept apart.
            Err(StorageError::Write { source, .. })
                if source.kind() == std::io::ErrorKind::CrossesDevices && !plan.copies_all() =>
            {
                plan.copy_all();
                self.plan_room(&plan)?;
                self.stay();
                self.carry_out(&plan, progress)
            }
            result => result,
        };
        result?;
        let moved = self.arrive(&plan);
        reserved.keep();
        Ok(moved)
    }

    fn enter_transit(&self) -> Result<(), StorageError> {
        let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
        self.may_change(&placement)?;
        placement.transit = Transit::Copied;
        Ok(())
    }

    fn leave_transit(&self) {
        let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
        placement.transit = Transit::None;
        placement.moves += 1;
    }

    /// Files may be opened again where they are.
    fn stay(&self) {
        let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
        placement.transit = Transit::Copied;
        placement.moves += 1;
    }

    /// From here on no file is opened.
    fn set_out(&self) {
        let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
        placement.transit = Transit::OnTheWay;
        placement.moves += 1;
    }

    /// Steps 3 to 6. After an error all of it is undone.
    fn carry_out(
        &self,
        plan: &Plan<'_>,
        progress: &(dyn Fn(MoveProgress) + Sync),
    ) -> Result<(), StorageError> {
        let mut undo = Undo::default();
        let done = self.try_to_carry_out(plan, &mut undo, progress);
        if done.is_err() {
            self.undo(plan, undo);
        }
        done
    }

    fn try_to_carry_out(
        &self,
        plan: &Plan<'_>,
        undo: &mut Undo,
        progress: &(dyn Fn(MoveProgress) + Sync),
    ) -> Result<(), StorageError> {
        let behind: Vec<u32> = plan.behind.iter().map(|file| file.0).collect();
        if plan.steps.is_empty() {
            // Nothing is there: it will be made at the new place.
            let records = self.records(plan, None, &BTreeMap::new())?;
            return self.ledger.relocate(resolved(&plan.goal.root), records, &behind);
        }
        let missing = plan.goal.root.ancestors().take_while(|folder| !folder.exists());
        undo.roots = missing.map(Path::to_path_buf).collect();
        undo.roots.reverse();
        create_folders(&plan.goal.root, SHARED_FOLDER, self.hooks())?;
        let to = Root::open(&plan.goal.root, Rights::Write)
            .map_err(|errno| StorageError::opening_folder(&plan.goal.root, errno))?;
        let from = self.root(false)?;
        self.ledger.announce_move(self.announcement(plan))?;
        let copies = self.copy_all(plan, &to, undo, progress)?;
        self.options().halt.check()?;
        self.set_out();
        for (at, step) in plan.steps.iter().enumerate().filter(|(_, step)| step.way == Way::Rename) {
            self.rename_step(plan, step, (&from, &to), undo)?;
            undo.renamed.push(at);
        }
        self.sync_moved_folders(plan, (&from, &to))?;
        let records = self.records(plan, Some(&to), &copies)?;
        self.ledger.relocate(resolved(&plan.goal.root), records, &behind)
    }

    /// What the journal says before anything is moved.
    fn announcement(&self, plan: &Plan<'_>) -> Vec<MoveRecord> {
        let mut records = vec![MoveRecord::Begin { root: resolved(&plan.goal.root) }];
        for step in &plan.steps {
            let (from, to) = (plan.from(step.file), plan.to(step.file));
            // A start finds the others by their names.
            if from != to || self.named_path(step.file).as_ref() != Some(&from) {
                records.push(MoveRecord::Path { file: step.file.0, from, to });
            }
        }
        records
    }

    fn rename_step(
        &self,
        plan: &Plan<'_>,
        step: &Step,
        (from, to): (&Root, &Root),
        undo: &mut Undo,
    ) -> Result<(), StorageError> {
        let (old, new) = (plan.from(step.file), plan.to(step.file));
        let (full, target) = (from.full(&old), to.full(&new));
        let found = from.stat(&old).map_err(|errno| StorageError::reading(&full, errno))?;
        if found.is_none_or(|found| Stamp::of(&found) != step.stamp) {
            return Err(StorageError::Changed { path: full });
        }
        self.make_folder_of(&new, to, undo)?;
        match self.hooks().call(Op::Rename, &full, || from.rename_into(&old, to, &new)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(StorageError::Occupied { path: target }),
            Err(errno) => return Err(to.blame(&new, StorageError::writing(&target, errno))),
        }
        self.hooks().tell(Change::Renamed { from: &full, to: &target });
        Ok(())
    }

    /// Makes the folders around a file at the new place.
    fn make_folder_of(&self, path: &Path, to: &Root, undo: &mut Undo) -> Result<(), StorageError> {
        let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            return Ok(());
        };
        let full = to.full(folder);
        let made = self.hooks().call(Op::CreateFolder, &full, || to.make_folders(folder));
        let made = made.map_err(|errno| to.blame(path, StorageError::writing(&full, errno)))?;
        for folder in made {
            self.hooks().tell(Change::FolderCreated(&to.full(&folder)));
            undo.folders.push(folder);
        }
        Ok(())
    }

    /// Makes it last that files have left their folders and are in other ones.
    fn sync_moved_folders(&self, plan: &Plan<'_>, (from, to): (&Root, &Root)) -> Result<(), StorageError> {
        let around = |path: PathBuf| path.ancestors().skip(1).map(Path::to_path_buf).collect::<Vec<_>>();
        let old: BTreeSet<PathBuf> =
            plan.steps.iter().flat_map(|step| around(plan.from(step.file))).collect();
        let new: BTreeSet<PathBuf> = plan.steps.iter().flat_map(|step| around(plan.to(step.file))).collect();
        for (root, folders) in [(to, new), (from, old)] {
            if FOLDERS_SYNCED_MAX < folders.len() {
                let path = root.full(Path::new(""));
                let synced = self.hooks().sync((Op::Sync, &path, Synced::FileSystem), || {
                    root.open_folder(Path::new("")).and_then(rustix::fs::syncfs)
                });
                synced.map_err(|errno| StorageError::writing(&path, errno))?;
                continue;
            }
            for folder in folders {
                sync_folder(&root.full(&folder), self.hooks())?;
            }
        }
        Ok(())
    }

    /// How the files look at the new place, and what is to be said of the old one.
    fn records(
        &self,
        plan: &Plan<'_>,
        to: Option<&Root>,
        copies: &BTreeMap<FileIndex, Birth>,
    ) -> Result<Vec<Record>, StorageError> {
        let mut records = Vec::with_capacity(plan.steps.len() + 2);
        for step in &plan.steps {
            let Some(to) = to else { break };
            let path = plan.to(step.file);
            let failed = |errno| StorageError::reading(&to.full(&path), errno);
            let found = to.stat(&path).map_err(failed)?;
            let found = found.ok_or_else(|| StorageError::Missing { path: to.full(&path) })?;
            let file = step.file.0;
            records.push(Record::Stamp { file, stamp: Some(Stamp::of(&found)) });
            if let Some(copy) = copies.get(&step.file)
                && let Some(Owner { origin, .. }) = self.ledger.owner(file)
            {
                let owner = Owner { origin, inode: copy.inode, born: copy.born };
                records.push(Record::Owner { file, owner: Some(owner) });
            }
        }
        records.push(Record::Move(MoveRecord::From { root: resolved(&self.place().root) }));
        // Of a name it says where the file goes back to if the word turns out not to hold.
        let is_told = |step: &&Step| step.way == Way::Copy || plan.goal.renamed.is_some();
        for step in plan.steps.iter().filter(is_told) {
            let (path, left) = (plan.from(step.file), Birth { inode: step.stamp.inode, born: step.born });
            records.push(Record::Move(MoveRecord::Left { file: step.file.0, path, left }));
        }
        if let Some((file, path)) = &plan.goal.renamed {
            let path = Some(path.clone()).filter(|path| self.named_path(*file).as_ref() != Some(path));
            records.push(Record::Move(MoveRecord::Renamed { file: file.0, path }));
        }
        Ok(records)
    }

    /// Everything back to where it was, on the disk too before the journal says so.
    fn undo(&self, plan: &Plan<'_>, undo: Undo) {
        let mut is_undone = true;
        let mut changed = Vec::new();
        if let (Ok(from), Ok(to)) = (self.root(false), Root::open(&plan.goal.root, Rights::Write)) {
            for step in undo.renamed.iter().rev().map(|at| &plan.steps[*at]) {
                let (old, new) = (plan.from(step.file), plan.to(step.file));
                changed.extend([from.full(&old), to.full(&new)]);
                match self.hooks().call(Op::Rename, &to.full(&new), || to.rename_into(&new, &from, &old)) {
                    Ok(()) => {
                        self.hooks().tell(Change::Renamed { from: &to.full(&new), to: &from.full(&old) });
                        self.restamp_back(step, &from, &old);
                    }
                    Err(errno) => {
                        is_undone = false;
                        tracing::error!(path = %to.full(&new).display(), error = %std::io::Error::from(errno), "a file that was moved cannot be moved back; the next start tries again");
                    }
                }
            }
            for (path, copy) in undo.copies.iter().rev() {
                changed.push(to.full(path));
                is_undone &= self.remove_birth(&to, path, *copy);
            }
            for folder in undo.folders.iter().rev() {
                if to.remove_folder(folder).is_ok() {
                    self.hooks().tell(Change::Removed(&to.full(folder)));
                }
            }
        }
        for folder in undo.roots.iter().rev() {
            if std::fs::remove_dir(folder).is_ok() {
                self.hooks().tell(Change::Removed(folder));
            }
        }
        if is_undone && self.sync_around(&changed).is_ok() {
            self.ledger.give_up_move();
        }
    }

    /// Makes it last that files are gone from these places, or are there again. Of a folder that is gone the one around it
    /// says so.
    fn sync_around(&self, paths: &[PathBuf]) -> Result<(), StorageError> {
        let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        let there =
            folders.into_iter().filter_map(|folder| folder.ancestors().find(|folder| folder.is_dir()));
        there
            .collect::<BTreeSet<&Path>>()
            .into_iter()
            .try_for_each(|folder| sync_folder(folder, self.hooks()))
    }

    /// A file was renamed there and back, which changed its inode and nothing else.
    fn restamp_back(&self, step: &Step, from: &Root, path: &Path) {
        if let Ok(Some(found)) = from.stat(path) {
            // What the journal cannot take waits.
            let _ = self.ledger.own_touch(step.file.0, step.stamp, Stamp::of(&found));
        }
    }

    /// Removes a file if it is this one. Whether it is gone.
    fn remove_birth(&self, root: &Root, path: &Path, file: Birth) -> bool {
        let full = root.full(path);
        let is_it = root.open_file(path, Access::Read).and_then(|opened| {
            let found = rustix::fs::fstat(&opened)?;
            let born = birth(std::os::fd::AsFd::as_fd(&opened));
            let is_born = born == 0 || file.born == 0 || born == file.born;
            Ok(Stamp::of(&found).inode == file.inode && is_born)
        });
        match is_it {
            Err(Errno::NOENT) => return true,
            Ok(true) => {}
            Ok(false) | Err(_) => return false,
        }
        match self.hooks().call(Op::Remove, &full, || root.remove_file(path)) {
            Ok(()) => {
                self.hooks().tell(Change::Removed(&full));
                true
            }
            Err(errno) => errno == Errno::NOENT,
        }
    }

    /// Step 7, and what this process knows of the files.
    fn arrive(&self, plan: &Plan<'_>) -> Moved {
        let old = self.root(false);
        let links: Vec<_> = self.own_links(&old, plan);
        {
            let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
            if let Some((file, path)) = &plan.goal.renamed {
                let mut places = self.places_mut();
                places.replace(*file);
                if places.named(*file).as_ref() != Some(path) {
                    places.place(*file, path.clone(), Alias::Renamed);
                }
            } else {
                self.set_root(plan.goal.root.clone());
                self.set_odd_places(Vec::new());
            }
            for file in &plan.behind {
                if !placement.wanted.get(file.0) {
                    placement.real.clear(file.0);
                }
            }
            *self.lock_prepared() = Bitfield::new(parts_number(self.layout()));
            self.options().files.remove_all(self.id());
            placement.transit = Transit::None;
            placement.moves += 1;
        }
        self.rehold(plan);
        let mut moved = Moved { files: plan.steps.len(), ..Moved::default() };
        let Ok(old) = old else { return moved };
        let mut removed = Vec::new();
        for step in plan.steps.iter().filter(|step| step.way == Way::Copy) {
            let path = plan.from(step.file);
            moved.copied += step.stamp.size;
            if self.is_changed(&old, &path, step) {
                self.ledger.leave_to_user(step.file.0, path.clone());
                moved.stay(old.full(&path));
                continue;
            }
            let left = Birth { inode: step.stamp.inode, born: step.born };
            match self.remove_birth(&old, &path, left) {
                true => removed.push(old.full(&path)),
                false => moved.stay(old.full(&path)),
            }
        }
        for file in &plan.behind {
            moved.stay(old.full(&plan.from(*file)));
        }
        for link in links {
            let path = plan.from(link);
            // One that cannot be made is put with the last touches.
            if old.remove_file(&path).is_ok() {
                self.hooks().tell(Change::Removed(&old.full(&path)));
                let _ = self.make_link(link);
            }
        }
        let paths: Vec<PathBuf> = plan.steps.iter().map(|step| plan.from(step.file)).collect();
        self.remove_empty_folders(&old, paths.iter().map(PathBuf::as_path));
        if let Err(error) = self.sync_around(&removed) {
            tracing::debug!(%error, "files that were copied and removed may be there again after a power cut");
            self.ledger.expect_back();
        }
        moved
    }

    /// Whether another program wrote to a file after it was copied. One that is not there was not written to.
    fn is_changed(&self, root: &Root, path: &Path, step: &Step) -> bool {
        let found = root.stat(path).ok().flatten().map(|found| Stamp::of(&found));
        found.is_some_and(|found| found.compare(&step.stamp) == Likeness::Changed)
    }

    /// Removes folders around these paths that are empty, the deepest first, and not the download folder.
    fn remove_empty_folders<'p>(&self, root: &Root, paths: impl Iterator<Item = &'p Path>) {
        let folders: BTreeSet<&Path> = paths.flat_map(|path| path.ancestors().skip(1)).collect();
        for folder in folders.iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
            if root.remove_folder(folder).is_ok() {
                self.hooks().tell(Change::Removed(&root.full(folder)));
            }
        }
    }

    /// Links of the torrent that the last touches put.
    fn own_links(&self, root: &Result<Root, StorageError>, plan: &Plan<'_>) -> Vec<FileIndex> {
        let (Ok(root), None) = (root, &plan.goal.renamed) else { return Vec::new() };
        let files = self.info().files().iter().filter(|file| file.attributes.symlink);
        let is_ours = |file: &FileIndex| {
            self.local_path(*file).is_some_and(|path| self.is_our_link(root, *file, &path))
        };
        files.map(|file| file.index).filter(is_ours).collect()
    }

    /// Files that are held look otherwise, and what came for them agrees still.
    fn rehold(&self, plan: &Plan<'_>) {
        for step in plan.steps.iter().filter(|step| self.held.has(step.file)) {
            if let Some(stamp) = self.ledger.stamp(step.file.0) {
                self.held.restamp(step.file, stamp);
            }
        }
    }

    /// Files that are wanted, for they may all be made at the new place. Of a file that is renamed, what was claimed and that file.
    fn files_to_claim(&self, goal: &Goal) -> Bitfield {
        let mut files = Bitfield::new(parts_number(self.layout()));
        let wanted = self.wanted();
        let is_made = |file: &FileIndex| {
            let is_link = self.info().file(*file).is_none_or(|file| file.attributes.symlink);
            wanted.get(file.0) && !is_link && !self.layout().is_pad(*file)
        };
        if let Some((file, _)) = &goal.renamed {
            if let Some(claimed) = register::claimed(self.id()) {
                files.union(&claimed.files);
            }
            if is_made(file) {
                files.set(file.0);
            }
            return files;
        }
        for file in self.layout().files().filter(is_made) {
            files.set(file.0);
        }
        files
    }

    /// Claims the new places, beside the old ones.
    fn reserve<'s>(&'s self, goal: &Goal) -> Result<Reserved<'s>, StorageError> {
        let id = Self::next_id();
        let mut places = self.places().clone();
        if let Some((file, path)) = &goal.renamed {
            places.place(*file, path.clone(), Alias::Renamed);
        }
        let files = self.files_to_claim(goal);
        let claim = Claim {
            id,
            info: self.info().clone(),
            root: resolved(&goal.root),
            places: Arc::new(RwLock::new(places)),
            files,
        };
        let path_of = |file| goal.root.join(claim.path(file).unwrap_or_default());
        register::begin(id, self.info(), self.place().state_dir.clone());
        let reserved = Reserved { storage: self, id, is_kept: false };
        if claim.files.none() {
            return Ok(reserved);
        }
        register::claim_beside(&claim, self.id())
            .map_err(|clash| self.taken(&path_of(clash.file), crate::guard::told(&clash.by)))?;
        let own = Claim { id: self.id(), ..claim.clone() };
        self.tell_others(&own).map_err(|elsewhere| {
            self.taken(&path_of(elsewhere.file), neighbors::told(&elsewhere.name, &elsewhere.info_hash))
        })?;
        Ok(reserved)
    }
}

/// Places that are claimed for a move; given back unless it is done.
struct Reserved<'s> {
    storage: &'s Storage,
    id: u64,
    is_kept: bool,
}

impl Reserved<'_> {
    fn keep(mut self) {
        self.is_kept = true;
        register::succeed(self.storage.id(), self.id, &self.storage.shared_places());
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        register::leave(self.id);
        // Other processes heard of the new places only.
        if let Some(claim) = register::claimed(self.storage.id()) {
            let _ = self.storage.tell_others(&claim);
        }
    }
}
