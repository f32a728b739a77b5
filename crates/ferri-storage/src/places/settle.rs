//! A file gets its name when it is made: the first one that the file system keeps for it alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ferri_metainfo::FileIndex;
use ferri_metainfo::names::Style;
use rustix::io::Errno;

use super::Alias;
use crate::beneath::{Access, Root, identity};
use crate::disk::OpenFile;
use crate::error::StorageError;
use crate::faults::Op;
use crate::journal::Stamp;
use crate::storage::Storage;
use crate::witness::Change;

/// Whether a file system says with this that it cannot hold the name.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NAMETOOLONG | Errno::ILSEQ)
}

/// What the name that a file was just opened under is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// The file's alone.
    Own,
    /// For the file system it is another file's too, and it is written as this file's.
    Shared,
    /// For the file system it is another file's too, and it is written as the other's.
    Others,
}

/// How a file stands after its name was compared.
enum Settled {
    Yes,
    /// It has another name and is to be opened under that.
    Renamed,
}

impl Storage {
    /// Opens a file for writing, or makes it, with what it looked like before (`None`: it was not there).
    pub(crate) fn open_or_make(&self, file: FileIndex) -> Result<(OpenFile, Option<Stamp>), StorageError> {
        // Each round but the last gives the file another name.
        for _ in 0..=Style::PARTICULAR.len() {
            let (opened, before) = match self.open_beneath(file, Access::Write) {
                Ok(opened) => {
                    let stamp = Stamp::of_open(&opened)?;
                    (opened, stamp)
                }
                Err(StorageError::Missing { .. }) => match self.open_beneath(file, Access::New) {
                    Ok(opened) => (opened, None),
                    // Another program was quicker.
                    Err(StorageError::Write { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
                        continue;
                    }
                    Err(StorageError::Name { path, source }) => {
                        self.restyle(file).ok_or(StorageError::Name { path, source })?;
                        continue;
                    }
                    Err(error) => return Err(self.explain(error)),
                },
                Err(error) => return Err(error),
            };
            let is_new = before.is_none();
            match self.settle(file, &opened, is_new)? {
                Settled::Yes if is_new => return Ok((opened, before)),
                Settled::Yes => {
                    self.refuse_twin(file, &opened)?;
                    return Ok((opened, before));
                }
                Settled::Renamed => {}
            }
        }
        Err(StorageError::Invalid("no style of names is left"))
    }

    /// Gives a file the name of the next style in which it has another one. `None`: there is none.
    fn restyle(&self, file: FileIndex) -> Option<()> {
        let mut places = self.places_mut();
        let last = match places.alias(file) {
            Some(Alias::Styled(style)) => style,
            // The user wants no other name.
            Some(Alias::Renamed) => return None,
            _ => Style::Exact,
        };
        let now = places.path(file)?;
        // Folding is no reason to refuse a name.
        let left = Style::PARTICULAR.into_iter().filter(|style| Style::Folded < *style && last < *style);
        for style in left {
            let Some(styled) = places.names().restyled(style) else { continue };
            let path = match &places.top {
                // The folder is there, whatever it is called.
                Some(_) => places.rebased(styled.path(file)?),
                None => styled.path(file)?.to_path_buf(),
            };
            if path != now {
                tracing::info!(from = %now.display(), to = %path.display(), "the file system refuses the name");
                places.place(file, path, Alias::Styled(style));
                return Some(());
            }
        }
        None
    }

    /// Sees to it that no other file of the torrent has the name that `file` was opened under.
    fn settle(&self, file: FileIndex, opened: &OpenFile, is_new: bool) -> Result<Settled, StorageError> {
        let name = self.look_at_name(file, opened, is_new)?;
        if name == Name::Own {
            return Ok(Settled::Yes);
        }
        let stays = name == Name::Shared && !is_new;
        self.number_rivals(stays.then_some(file));
        let (named, path) = {
            let places = self.places();
            (places.named(file).unwrap_or_default(), places.path(file).unwrap_or_default())
        };
        if path == named {
            let is_other = name == Name::Others && !is_new;
            return if is_other {
                Err(StorageError::SameFile { path: opened.path().into() })
            } else {
                Ok(Settled::Yes)
            };
        }
        tracing::info!(from = %named.display(), to = %path.display(), "the file system takes the name for another file's");
        if is_new {
            let root = self.root(false)?;
            let removed = self.hooks().call(Op::Remove, opened.path(), || root.remove_file(&named));
            removed.map_err(|errno| StorageError::writing(opened.path(), errno))?;
            self.hooks().tell(Change::Removed(opened.path()));
        }
        Ok(Settled::Renamed)
    }

    fn look_at_name(&self, file: FileIndex, opened: &OpenFile, is_new: bool) -> Result<Name, StorageError> {
        let (path, (rival, holds_name)) = {
            let places = self.places();
            let Some(rival) = places.rival(file) else { return Ok(Name::Own) };
            let Some(path) = places.path(file) else { return Ok(Name::Own) };
            if places.named(file).as_ref() != Some(&path) {
                // No other file of the torrent has a name like this one, in whatever style.
                return Ok(Name::Own);
            }
            (path, rival)
        };
        let root = self.root(false)?;
        let failed = |errno| StorageError::reading(opened.path(), errno);
        let Some(found) = root.stat(&rival).map_err(failed)? else { return Ok(Name::Own) };
        if path.file_name() == rival.file_name() {
            // Two folders that are one: who made this cannot be told from its name.
            let is_one = listed(&root, path.parent().unwrap_or(&path), rival.parent().unwrap_or(&rival))
                != Some((true, true));
            let name = if holds_name || is_new { Name::Shared } else { Name::Others };
            return Ok(if is_one { name } else { Name::Own });
        }
        Ok(match listed(&root, &path, &rival) {
            Some((true, true)) => Name::Own,
            Some((true, false)) => Name::Shared,
            Some((false, _)) => Name::Others,
            None if identity(&found) != identity(&rustix::fs::fstat(opened).map_err(failed)?) => Name::Own,
            None if is_new => Name::Shared,
            None => Name::Others,
        })
    }

    /// Files whose names are like another's get numbers, but for those that are there and for `but`.
    fn number_rivals(&self, but: Option<FileIndex>) {
        let names = self.places().names().clone();
        let Some(folded) = names.restyled(Style::Folded) else { return };
        // Not while the places are held: who has the ledger may wait for them.
        let unknown: Vec<_> = folded.changed().filter(|(file, ..)| !self.ledger.has_stamp(file.0)).collect();
        let mut places = self.places_mut();
        for (file, _, path) in unknown {
            let is_settled = Some(file) == but || places.alias(file).is_some();
            if !is_settled {
                let path = places.rebased(path);
                places.place(file, path, Alias::Styled(Style::Folded));
            }
        }
    }

    /// Refuses a file that is another one of the torrent under a second name (a hard link): who writes one writes both.
    fn refuse_twin(&self, file: FileIndex, opened: &OpenFile) -> Result<(), StorageError> {
        let stat = rustix::fs::fstat(opened).map_err(|errno| StorageError::reading(opened.path(), errno))?;
        let id = identity(&stat);
        let other = *self.identities().entry(id).or_insert(file);
        if other == file {
            return Ok(());
        }
        // A number is given again when a file was removed or a disk mounted anew.
        let root = self.root(false)?;
        let other = self.local_path(other).and_then(|path| root.stat(&path).ok()?);
        if other.is_some_and(|other| identity(&other) == id) {
            return Err(StorageError::SameFile { path: opened.path().into() });
        }
        self.identities().insert(id, file);
        Ok(())
    }
}

/// Whether `path` is listed as it is written, and whether `rival` is, in the first folder that does not list both; both
/// where one lists both. `None`: a folder cannot be listed.
fn listed(root: &Root, path: &Path, rival: &Path) -> Option<(bool, bool)> {
    let mut folder = PathBuf::new();
    let mut found = (true, false);
    for (a, b) in path.components().zip(rival.components()) {
        if a != b {
            let names = root.list(&folder, usize::MAX)?;
            found = (names.contains(a.as_os_str()), names.contains(b.as_os_str()));
            if found == (true, true) {
                return Some(found);
            }
        }
        folder.push(a);
    }
    Some(found)
}

impl Storage {
    /// Where a file's name says that it lies, if the user chose no other name for the torrent's folder than `top`.
    pub(crate) fn named_path(&self, file: FileIndex) -> Option<PathBuf> {
        let path = self.paths().path(file)?;
        let Some(top) = &self.options().top else { return Some(path.to_path_buf()) };
        let mut components = path.components();
        components.next();
        let rest = components.as_path();
        Some(if rest.as_os_str().is_empty() { PathBuf::from(top) } else { Path::new(top).join(rest) })
    }
}
