//! A session that moves its files to other folders and renames them, while other things happen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ferri_metainfo::FileIndex;
use ferri_storage::StorageError;

use super::record::{Event, Listed};
use super::session::Session;
use crate::scenario::Dice;

impl Session<'_> {
    /// All files go to another folder: renamed, or copied as to another file system. Sometimes something fails, and
    /// sometimes pieces come meanwhile, which are refused or written before.
    pub(super) fn relocate(&mut self, dice: &mut Dice) -> Result<(), StorageError> {
        let folder = self.machine.folders()[dice.below(4) as usize].clone();
        self.with_trouble(dice, &folder.clone(), |session, dice| {
            let pieces: BTreeSet<u32> = match dice.below(3) {
                0 => (0..2).filter_map(|_| session.missing(dice)).collect(),
                _ => BTreeSet::new(),
            };
            let (storage, torrent) = (session.storage(), &session.machine.torrent);
            let (moved, written) = std::thread::scope(|scope| {
                let write = |piece| move || storage.write_piece(torrent.piece(piece), &torrent.blocks(piece));
                let writers: Vec<_> =
                    pieces.iter().map(|&piece| (piece, scope.spawn(write(piece)))).collect();
                let moved = storage.move_to(&folder, &|_| {}).map(drop);
                let is_written = |result: std::thread::Result<Result<(), _>>| matches!(result, Ok(Ok(())));
                let written =
                    writers.into_iter().filter_map(|(piece, it)| is_written(it.join()).then_some(piece));
                (moved, written.collect::<Vec<_>>())
            });
            written.into_iter().for_each(|piece| session.verified(piece));
            moved
        })
    }

    /// A file gets another name, in its folder or in others.
    pub(super) fn rename(&mut self, dice: &mut Dice) -> Result<(), StorageError> {
        let files: Vec<FileIndex> = self.machine.torrent.info.layout().files().collect();
        let file = files[dice.below(files.len() as u64) as usize];
        let Some(own) = self.storage().places().named(file) else { return Ok(()) };
        let name = match dice.below(4) {
            0 => own,
            1 => PathBuf::from(format!("name {}", file.0)),
            2 => PathBuf::from(format!("t/folder 1/name {}", file.0)),
            _ => PathBuf::from(format!("a/b/name {}", file.0)),
        };
        let folder = self.storage().place().root.clone();
        self.with_trouble(dice, &folder, |session, _| session.storage().rename_file(file, &name))
    }

    fn with_trouble(
        &mut self,
        dice: &mut Dice,
        to: &Path,
        work: impl FnOnce(&mut Self, &mut Dice) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        // What was written before is not in question.
        self.sync()?;
        let is_lasting = dice.below(3) == 0;
        let left = if dice.below(3) == 0 { dice.between(1, 60) } else { 0 };
        self.machine.trouble.set(dice.below(2) == 0, left, is_lasting);
        self.recorder.push(Event::Moving(Some(to.to_path_buf())));
        let moved = work(self, dice);
        if moved.is_ok() {
            self.recorder.push(Event::Lies(self.storage().place().root.clone()));
        }
        self.recorder.push(Event::Moving(None));
        self.machine.trouble.set(false, 0, false);
        self.look_at_doubtful()?;
        match moved {
            Ok(()) => self.keep_place(dice),
            // A disk that takes nothing any more also keeps what was done from being undone: a start does that.
            Err(_) if is_lasting && left != 0 => self.kill(dice)?,
            // Something of ours is in the way: a folder may be called like a file.
            Err(StorageError::Occupied { .. } | StorageError::NotAFolder { .. }) => {}
            Err(_) if left != 0 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The session's list learns where the files are, but for now and then, and then the storage that it did.
    pub(super) fn keep_place(&mut self, dice: &mut Dice) {
        if !self.storage().is_unconfirmed() || dice.below(4) == 0 {
            return;
        }
        let storage = self.storage();
        self.listed = Listed { root: storage.place().root.clone(), names: storage.renamed() };
        self.recorder.push(Event::Listed(self.listed.clone()));
        if dice.below(8) != 0 {
            self.storage().confirm_move(&self.listed.root);
        }
    }
}
