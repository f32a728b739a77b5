//! A start after a move: one that was interrupted is undone, and one that is done is followed by a caller that still names the
//! old folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use ferri_metainfo::FileIndex;
use rustix::fs::{FileType, Stat};

use crate::beneath::{Rights, Root, identity};
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::{Birth, Former, Identity, Moves, Owner, Parsed, Stamp, Stamps, UnderWay};
use crate::places::{Alias, Places};
use crate::storage::Storage;
use crate::witness::Change;

impl Storage {
    /// Brings the files to where the journal says that they are, or finds that out; `identity` is what the journal should say.
    /// Sentences for the user.
    pub(crate) fn settle_move(
        &self,
        found: &mut Parsed,
        identity: &mut Identity,
    ) -> Result<Vec<String>, StorageError> {
        let own = Identity { root: found.identity.root.clone(), ..identity.clone() };
        if found.state.moves == Moves::default() || found.identity != own {
            return Ok(Vec::new());
        }
        let is_former = found.state.moves.done.iter().any(|former| former.root == identity.root);
        if !is_former && found.identity.root != identity.root {
            return Ok(Vec::new());
        }
        let mut told = Vec::new();
        if let Some(under_way) = found.state.moves.under_way.take() {
            self.set_root(found.identity.root.clone());
            self.undo_interrupted(&under_way, found)?;
            self.set_root(identity.root.clone());
            told.push(format!("a move to {} was interrupted and was undone", under_way.root.display()));
            // It has to be said before anything else is.
            found.is_current = false;
            self.look_for_places(&found.state.moves.renamed)?;
        }
        if !found.state.moves.done.is_empty() {
            if found.identity.root != identity.root {
                self.take_back_last(found);
            }
            let is_known = found.identity.root == identity.root;
            if !is_known {
                identity.root.clone_from(&found.identity.root);
                self.set_root(identity.root.clone());
                told.push(format!("the files were moved to {}", identity.root.display()));
            }
            self.take_back_names(found);
            // What is left may look as if it were the torrent's.
            let is_gone = self.remove_left(found);
            self.look_for_places(&found.state.moves.renamed)?;
            let is_elsewhere = |former: &Former| former.root != found.identity.root;
            if is_known && is_gone && found.state.moves.done.iter().any(is_elsewhere) {
                // The caller knows.
                (found.state.moves.done, found.is_current) = (Vec::new(), false);
            }
        } else if found.identity.root == identity.root && self.differs(&found.state.moves.renamed) {
            self.look_for_places(&found.state.moves.renamed)?;
        }
        Ok(told)
    }

    /// The last word of the journal may be one that was not to hold: it could not be seen whether it was written, and the
    /// files went back. Then none of them is where it says.
    fn take_back_last(&self, found: &mut Parsed) {
        let Some(last) = found.state.moves.done.last().cloned() else { return };
        if self.lies_at(&found.identity.root, found) || !self.lies_at(&last.root, found) {
            return;
        }
        found.state.moves.done.pop();
        found.identity.root.clone_from(&last.root);
        found.is_current = false;
        for (&file, (_, left)) in &last.left {
            return_to(&mut found.state.stamps, &mut found.state.owners, (file, *left));
        }
    }

    /// The same of files that were to get other names in their folder.
    fn take_back_names(&self, found: &mut Parsed) {
        let Ok(root) = Root::open(&found.identity.root, Rights::Read) else { return };
        let moves = &mut found.state.moves;
        let Some(former) = moves.done.iter_mut().find(|former| former.root == found.identity.root) else {
            return;
        };
        for (&file, (path, left)) in &former.left {
            let own = self.named_path(FileIndex(file));
            let new = moves.renamed.get(&file).cloned().or_else(|| own.clone());
            let lies_there = new.is_some_and(|new| inode_at(&root, &new).is_some());
            if lies_there || left.inode == 0 || inode_at(&root, path) != Some(left.inode) {
                continue;
            }
            match own.as_ref() == Some(path) {
                true => moves.renamed.remove(&file),
                false => moves.renamed.insert(file, path.clone()),
            };
            return_to(&mut found.state.stamps, &mut found.state.owners, (file, *left));
            found.is_current = false;
        }
    }

    fn differs(&self, renamed: &BTreeMap<u32, PathBuf>) -> bool {
        let known: BTreeMap<u32, PathBuf> =
            self.renamed().into_iter().map(|(file, path)| (file.0, path)).collect();
        known != *renamed
    }

    /// Looks for the files again, and for those of them that are not wanted.
    fn look_for_places(&self, renamed: &BTreeMap<u32, PathBuf>) -> Result<(), StorageError> {
        let (root, options) = (self.place().root.clone(), self.options());
        let mut places =
            Places::find_until(self.info(), self.paths().clone(), &root, options.top.clone(), &options.halt)?;
        for (&file, path) in renamed {
            places.place(FileIndex(file), path.clone(), Alias::Renamed);
        }
        *self.places_mut() = places;
        let wanted: Vec<bool> = {
            let placement = self.placement();
            self.layout().files().map(|file| placement.wanted.get(file.0)).collect()
        };
        let new = self.placement_for(&wanted)?;
        let mut placement = self.placement_lock().write().unwrap_or_else(PoisonError::into_inner);
        placement.real = new.real;
        Ok(())
    }

    /// Whether a file of the journal lies beneath this folder, or what it was copied from.
    fn lies_at(&self, folder: &Path, found: &Parsed) -> bool {
        let Ok(root) = Root::open(folder, Rights::Read) else { return false };
        let former = found.state.moves.done.iter().find(|former| former.root == folder);
        let is_left = |file: FileIndex| {
            let (path, left) = former?.left.get(&file.0)?;
            Some(inode_at(&root, path)? == left.inode)
        };
        let is_there = |file| is_left(file).unwrap_or_else(|| self.lies(&root, file, found));
        self.layout().files().any(is_there)
    }

    /// Whether a file lies there as the journal knows it.
    fn lies(&self, root: &Root, file: FileIndex, found: &Parsed) -> bool {
        let Some(stamp) = found.state.stamps.get(file.0) else { return false };
        let moves = &found.state.moves;
        let named = match moves.renamed.get(&file.0) {
            Some(path) => vec![path.clone()],
            None => {
                let left = moves.done.iter().filter_map(|former| Some(former.left.get(&file.0)?.0.clone()));
                left.chain(self.local_path(file)).chain(self.named_path(file)).collect()
            }
        };
        named.iter().any(|path| inode_at(root, path) == Some(stamp.inode))
    }

    /// Files that are at the new place go back to the old one, and copies are removed.
    fn undo_interrupted(&self, under_way: &UnderWay, found: &Parsed) -> Result<(), StorageError> {
        let to = match Root::open(&under_way.root, Rights::Write) {
            Ok(to) => to,
            // Nothing can have been put there.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(StorageError::opening_folder(&under_way.root, errno)),
        };
        let from = self.root(true)?;
        let (mut around, mut targets) = (Vec::new(), Vec::new());
        for file in self.layout().files() {
            let renamed = found.state.moves.renamed.get(&file.0).cloned();
            let plain = || renamed.clone().or_else(|| self.named_path(file));
            let (old, new) = match under_way.paths.get(&file.0) {
                Some((old, new)) => (old.clone(), new.clone()),
                None => {
                    let Some(path) = plain() else { continue };
                    (path.clone(), path)
                }
            };
            // What cannot be looked at is told when it is opened.
            let found_there = to.stat(&new).ok().flatten();
            // Folders may have been made for it.
            targets.push(new.clone());
            let Some(stat) = found_there else { continue };
            if let Some(copy) = under_way.copies.get(&file.0) {
                self.remove_birth(&to, &new, *copy);
            } else {
                self.settle_file(file, (&from, &old), (&to, &new, &stat), found)?;
            }
            around.push((old, new));
        }
        self.remove_empty_folders(&to, targets.iter().map(PathBuf::as_path));
        let around: Vec<PathBuf> =
            around.iter().flat_map(|(old, new)| [from.full(old), to.full(new)]).collect();
        self.sync_around(&around)
    }

    /// One that may have been renamed, or created to be a copy.
    fn settle_file(
        &self,
        file: FileIndex,
        (from, old): (&Root, &Path),
        (to, new, stat): (&Root, &Path, &Stat),
        found: &Parsed,
    ) -> Result<(), StorageError> {
        let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_same_place = from.full(old) == to.full(new);
        if !is_regular || is_same_place {
            return Ok(());
        }
        let full = to.full(new);
        let inode = Stamp::of(stat).inode;
        let known = found.state.stamps.get(file.0).map(|known| known.inode);
        let is_it =
            known == Some(inode) || found.state.owners.get(&file.0).is_some_and(|owner| owner.inode == inode);
        let lies_there = from.stat(old).ok().flatten();
        // Where a file system knows no other way, it was renamed by a second name. One name that is understood as two has but
        // one link.
        let has_both =
            1 < stat.st_nlink && lies_there.is_some_and(|there| identity(&there) == identity(stat));
        if is_it && !has_both {
            let folder = old.parent().unwrap_or_else(|| Path::new(""));
            let made =
                from.make_folders(folder).map_err(|errno| StorageError::writing(&from.full(old), errno))?;
            made.iter().for_each(|folder| self.hooks().tell(Change::FolderCreated(&from.full(folder))));
            let renamed = self.hooks().call(Op::Rename, &full, || to.rename_into(new, from, old));
            renamed.map_err(|errno| match errno {
                rustix::io::Errno::EXIST => StorageError::Occupied { path: from.full(old) },
                errno => StorageError::writing(&full, errno),
            })?;
            self.hooks().tell(Change::Renamed { from: &full, to: &from.full(old) });
        } else if has_both || (stat.st_size == 0 && lies_there.is_some()) {
            // It was made a moment before the process died, and nothing was put into it.
            let removed = self.hooks().call(Op::Remove, &full, || to.remove_file(new));
            if removed.is_ok() {
                self.hooks().tell(Change::Removed(&full));
            }
        }
        Ok(())
    }

    /// Removes what was copied and is still there, and folders that are empty since. What is not where it was copied to stays.
    /// `false`: a power cut may bring it back.
    fn remove_left(&self, found: &Parsed) -> bool {
        let moves = &found.state.moves;
        let mut is_gone = true;
        let new = Root::open(&found.identity.root, Rights::Read);
        for former in &moves.done {
            let is_elsewhere = former.root != found.identity.root;
            if !is_elsewhere && former.left.is_empty() {
                continue;
            }
            let Ok(root) = Root::open(&former.root, Rights::Write) else { continue };
            let mut around = Vec::new();
            for (&file, (path, left)) in &former.left {
                // Files may have come back to this folder since; numbers of inodes do, too.
                let is_left = is_elsewhere || moves.renamed.get(&file).is_some_and(|new| new != path);
                let is_copied = || new.as_ref().is_ok_and(|new| self.lies(new, FileIndex(file), found));
                if is_left && is_copied() && self.remove_birth(&root, path, *left) {
                    around.push(root.full(path));
                }
            }
            let names = |file| [self.named_path(file), self.local_path(file)];
            let mut paths: Vec<PathBuf> = former.left.values().map(|(path, _)| path.clone()).collect();
            if is_elsewhere {
                paths.extend(self.layout().files().flat_map(names).flatten());
            }
            self.remove_empty_folders(&root, paths.iter().map(PathBuf::as_path));
            if self.sync_around(&around).is_err() {
                self.ledger.expect_back();
                is_gone = false;
            }
        }
        is_gone
    }
}

/// The inode of what has this name, if anything has.
fn inode_at(root: &Root, path: &Path) -> Option<u64> {
    root.stat(path).ok().flatten().map(|found| Stamp::of(&found).inode)
}

/// What a file was copied from is the file again. Size and time are those of the copy, so they tell whether it is as it was.
fn return_to(stamps: &mut Stamps, owners: &mut BTreeMap<u32, Owner>, (file, left): (u32, Birth)) {
    if let Some(known) = stamps.get(file) {
        stamps.insert(file, Stamp { inode: left.inode, ctime: 0, ..known });
    }
    if let Some(owner) = owners.get_mut(&file) {
        (owner.inode, owner.born) = (left.inode, left.born);
    }
}
