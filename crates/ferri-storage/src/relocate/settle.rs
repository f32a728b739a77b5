//! A start after a move: one that was interrupted is undone, and one that is done is followed by a caller that still names the
//! old folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use ferri_metainfo::FileIndex;
use rustix::fs::{FileType, Stat};

use super::remove_empty_folders;
use crate::atomic::sync_folder;
use crate::beneath::{Rights, Root};
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::{Identity, Moves, Parsed, Stamp, UnderWay};
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
        let mut told = Vec::new();
        if found.identity.root == identity.root
            && let Some(under_way) = found.state.moves.under_way.take()
        {
            self.undo_interrupted(&under_way, found)?;
            told.push(format!("a move to {} was interrupted and was undone", under_way.root.display()));
            // It has to be said before anything else is.
            found.is_current = false;
            self.look_for_places(&found.state.moves.renamed)?;
        }
        if let Some(done) = found.state.moves.done.clone() {
            if done.root == identity.root && found.identity.root != identity.root {
                if self.lies_at(&done.root, found) && !self.lies_at(&found.identity.root, found) {
                    // The last word of the journal was lost with the power.
                    found.identity.root.clone_from(&identity.root);
                    (found.state.moves.done, found.is_current) = (None, false);
                } else {
                    identity.root.clone_from(&found.identity.root);
                    self.set_root(identity.root.clone());
                    told.push(format!("the files were moved to {}", identity.root.display()));
                }
            } else if done.root != found.identity.root && found.identity.root == identity.root {
                // The caller knows.
                (found.state.moves.done, found.is_current) = (None, false);
            }
            self.look_for_places(&found.state.moves.renamed)?;
            self.remove_left(&done.root, &done.left);
        } else if found.identity.root == identity.root && self.differs(&found.state.moves.renamed) {
            self.look_for_places(&found.state.moves.renamed)?;
        }
        Ok(told)
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

    /// Whether a file of the journal lies beneath this folder.
    fn lies_at(&self, folder: &Path, found: &Parsed) -> bool {
        let Ok(root) = Root::open(folder, Rights::Read) else { return false };
        let is_there = |file: FileIndex| {
            let renamed = found.state.moves.renamed.get(&file.0).cloned();
            let path = renamed.or_else(|| self.local_path(file))?;
            let stamp = found.state.stamps.get(file.0)?;
            Some(Stamp::of(&root.stat(&path).ok()??).inode == stamp.inode)
        };
        self.layout().files().any(|file| is_there(file) == Some(true))
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
        remove_empty_folders(&to, targets.iter().map(PathBuf::as_path));
        let mut folders: Vec<PathBuf> = Vec::new();
        for (old, new) in &around {
            let (old, new) = (from.full(old), to.full(new));
            folders.extend([old.parent(), new.parent()].into_iter().flatten().map(Path::to_path_buf));
        }
        folders.sort();
        folders.dedup();
        for folder in folders.iter().filter(|folder| folder.exists()) {
            sync_folder(folder, self.hooks())?;
        }
        Ok(())
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
        let known = found.state.stamps.get(file.0);
        if known.is_some_and(|known| known.inode == Stamp::of(stat).inode) {
            from.make_folders(old.parent().unwrap_or_else(|| Path::new("")))
                .map_err(|errno| StorageError::writing(&from.full(old), errno))?;
            let renamed = self.hooks().call(Op::Rename, &full, || to.rename_into(new, from, old));
            renamed.map_err(|errno| match errno {
                rustix::io::Errno::EXIST => StorageError::Occupied { path: from.full(old) },
                errno => StorageError::writing(&full, errno),
            })?;
            self.hooks().tell(Change::Renamed { from: &full, to: &from.full(old) });
        } else if stat.st_size == 0 && matches!(from.stat(old), Ok(Some(_))) {
            // It was made a moment before the process died, and nothing was put into it.
            let removed = self.hooks().call(Op::Remove, &full, || to.remove_file(new));
            if removed.is_ok() {
                self.hooks().tell(Change::Removed(&full));
            }
        }
        Ok(())
    }

    /// Removes what was copied and is still there, and folders that are empty since.
    fn remove_left(&self, folder: &Path, left: &BTreeMap<u32, (PathBuf, crate::journal::Birth)>) {
        let Ok(root) = Root::open(folder, Rights::Write) else { return };
        for (path, file) in left.values() {
            self.remove_birth(&root, path, *file);
        }
        let around = |file| [self.named_path(file), self.local_path(file)];
        let mut paths: Vec<PathBuf> = self.layout().files().flat_map(around).flatten().collect();
        paths.extend(left.values().map(|(path, _)| path.clone()));
        remove_empty_folders(&root, paths.iter().map(PathBuf::as_path));
    }
}
