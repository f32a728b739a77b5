//! Files of which only the inode changed: their stamp stays the old one until their bytes were looked at, so that a start
//! after a kill sees the same.

use std::collections::BTreeSet;

use ferri_metainfo::PieceIndex;

use super::{Inner, Ledger};
use crate::error::StorageError;
use crate::journal::{Record, Stamp};
use crate::stamp::Likeness;

/// A file of which only the inode changed since the last stamp.
#[derive(Debug)]
pub(crate) struct Retouched {
    /// How it was found.
    pub(crate) stamp: Stamp,
    /// Pieces of it that were not looked at since. Never empty.
    pub(crate) unseen: BTreeSet<u32>,
}

impl Ledger {
    /// Pieces were looked at: what is to be said of files all of which were found to be right. One in which something is wrong
    /// keeps its old stamp.
    pub(super) fn looked_into(&self, inner: &mut Inner, results: &[(PieceIndex, bool)]) -> Vec<Record> {
        let mut records = Vec::new();
        if inner.retouched.is_empty() {
            return records;
        }
        let right = results.iter().filter(|(_, matched)| *matched).map(|(piece, _)| *piece);
        for piece in right {
            for span in self.layout.file_spans(piece, 0, u32::MAX) {
                let Some(file) = inner.retouched.get_mut(&span.file.0) else { continue };
                file.unseen.remove(&piece.get());
                if file.unseen.is_empty() {
                    records.push(Record::Stamp { file: span.file.0, stamp: Some(file.stamp) });
                    inner.retouched.remove(&span.file.0);
                }
            }
        }
        records
    }

    /// A file whose bytes were found to be right looks like this. Of one that looks otherwise by now nothing is said.
    pub(crate) fn restamp(&self, number: u32, stamp: Stamp) -> Result<(), StorageError> {
        let mut inner = self.lock();
        if inner.flights.contains_key(&number) || inner.state.stamps.get(number) == Some(stamp) {
            return Ok(());
        }
        inner.retouched.remove(&number);
        inner.append(&[Record::Stamp { file: number, stamp: Some(stamp) }], &self.hooks)
    }

    /// We gave a file another mode or name: how it looked before and after.
    pub(crate) fn own_touch(&self, number: u32, before: Stamp, after: Stamp) -> Result<(), StorageError> {
        let mut inner = self.lock();
        let known = inner.state.stamps.get(number);
        if before == after
            || inner.flights.contains_key(&number)
            || known.is_none_or(|known| before.compare(&known) != Likeness::Same)
        {
            return Ok(());
        }
        // The time of the inode is to be synced with the rest.
        inner.touched.insert(number);
        inner.append(&[Record::Stamp { file: number, stamp: Some(after) }], &self.hooks)
    }
}
