//! What the ledger knows of moves: a move is what the journal says of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use ferri_metainfo::Bitfield;

use super::{Dirty, Ledger};
use crate::error::StorageError;
use crate::journal::{Birth, MoveRecord, Moves, Record};

impl Ledger {
    /// What is known of moves.
    pub(crate) fn moves(&self) -> Moves {
        self.lock().state.moves.clone()
    }

    /// Pieces that are there, or may be.
    pub(crate) fn seen(&self) -> Bitfield {
        let inner = self.lock();
        let mut seen = inner.state.durable.clone();
        seen.union(&inner.state.unsure);
        seen
    }

    /// Says what is going to happen, so that it survives a power cut before it does.
    pub(crate) fn announce_move(&self, records: Vec<MoveRecord>) -> Result<(), StorageError> {
        let records: Vec<Record> = records.into_iter().map(Record::Move).collect();
        self.lock().append(&records, &self.hooks)?;
        self.commit(&Dirty::default())
    }

    /// The move under way did not happen. That this is not written is no harm: a start finds out.
    pub(crate) fn give_up_move(&self) {
        let mut inner = self.lock();
        if inner.state.moves.under_way.is_some() {
            let record = Record::Move(inner.state.moves.given_up());
            let _ = inner.append(&[record], &self.hooks);
        }
    }

    /// A caller knows that the files are in this folder. Of one that they have left since, and of a move that has begun since,
    /// that says nothing.
    pub(crate) fn confirm_move(&self, root: &Path) {
        let mut inner = self.lock();
        let is_there = inner.journal.as_ref().is_none_or(|journal| journal.identity.root == root);
        let moves = &inner.state.moves;
        let is_last = !self.may_come_back.load(Ordering::Acquire);
        if is_last && is_there && moves.under_way.is_none() && !moves.done.is_empty() {
            let _ = inner.append(&[Record::Move(MoveRecord::End)], &self.hooks);
        }
    }

    /// The removal of what was copied could not be synced: the next start sees to it, whatever is confirmed.
    pub(crate) fn expect_back(&self) {
        self.may_come_back.store(true, Ordering::Release);
    }

    /// A file that was copied is not to be removed where it was: it is its user's.
    pub(crate) fn leave_to_user(&self, file: u32, path: PathBuf) {
        let mut inner = self.lock();
        if !inner.state.moves.done.is_empty() {
            // No file has this number.
            let left = Birth { inode: 0, born: 0 };
            let _ = inner.append(&[Record::Move(MoveRecord::Left { file, path, left })], &self.hooks);
        }
    }

    /// The files are in this folder: the journal is written anew with `records`, which is the moment at which they are moved.
    /// Files that stayed `behind` are not the torrent's any more, and their pieces are in doubt.
    ///
    /// # Errors
    /// They are where they were, as far as the journal will say.
    pub(crate) fn relocate(
        &self,
        root: PathBuf,
        mut records: Vec<Record>,
        behind: &[u32],
    ) -> Result<(), StorageError> {
        let mut inner = self.lock();
        inner.open_session(&self.hooks);
        let mut state = inner.state.clone();
        for &file in behind {
            let pieces = self.layout.file_pieces(ferri_metainfo::FileIndex(file));
            let lost =
                pieces.filter(|piece| state.durable.get(*piece) && !state.parted.contains(&(file, *piece)));
            records.extend(lost.map(|first| Record::Unsure { first, count: 1 }));
            records.push(Record::Stamp { file, stamp: None });
            records.push(Record::Owner { file, owner: None });
        }
        for record in &records {
            let applied = state.apply(record);
            debug_assert!(applied, "our own record makes sense: {record:?}");
        }
        let inner = &mut *inner;
        if let Some(journal) = &mut inner.journal {
            if journal.lock.is_none() {
                journal.lock = Some(super::lock_torrent(
                    &journal.path,
                    &journal.identity,
                    crate::lock::LockOwner::new(),
                )?);
            }
            let before = std::mem::replace(&mut journal.identity.root, root);
            if let Err(error) = journal.rewrite(&state, &self.hooks) {
                // Whichever of the two is there, the next word is written with what holds.
                journal.identity.root = before;
                journal.is_doubtful = true;
                let _ = journal.flush(&inner.state, &self.hooks);
                return Err(error);
            }
        }
        for &file in behind {
            // As if another program had taken it away.
            let _ = self.doubt(inner, file);
        }
        let stamped = records.iter().filter_map(|record| match record {
            Record::Stamp { file, stamp: Some(_) } => Some(*file),
            _ => None,
        });
        // The times of their inodes are to be synced with the rest.
        inner.touched.extend(stamped);
        inner.retouched.retain(|file, _| !state.stamps.contains(*file));
        inner.state = state;
        Ok(())
    }
}
