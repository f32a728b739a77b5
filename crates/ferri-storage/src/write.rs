//! A verified piece goes to its files.

use bytes::Bytes;
use ferri_metainfo::PieceIndex;

use crate::beneath::Access;
use crate::disk::{self, OpenFile};
use crate::error::{Conflict, StorageError};
use crate::guard::NewBytes;
use crate::ledger::{Ended, Numbered};
use crate::slices::Slices;
use crate::storage::{Storage, Target};

/// A piece over thousands of tiny files is written so many files at a time, or descriptors would run out.
const TARGETS_AT_ONCE: usize = 64;

/// Puts a target's bytes into its file; `None` is padding.
pub(crate) type WriteTarget<'a> = dyn FnMut(Option<&OpenFile>, &Target) -> Result<(), StorageError> + 'a;

/// Puts a piece into its targets.
pub(crate) type WritePiece<'a> = dyn FnMut(&[Target]) -> Result<(), StorageError> + 'a;

impl Storage {
    /// Writes a whole piece, given as consecutive slices; its hash must have matched ([`Storage::hash_blocks`]).
    ///
    /// After `Ok` the bytes can be read back and survive the death of this process; [`Storage::sync`] makes them
    /// survive that of the machine.
    ///
    /// # Errors
    /// Any [`StorageError`]; the piece is then not on disk, and nothing claims that it is.
    pub fn write_piece(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StorageError> {
        let length = self.layout().piece_len(piece);
        if blocks.iter().map(|block| block.len() as u64).sum::<u64>() != u64::from(length) {
            return Err(StorageError::Invalid("the blocks of a piece do not add up to its length"));
        }
        let new = |at: u64, buffer: &mut [u8]| {
            Slices::new(blocks).copy_to(at, buffer);
            Ok(())
        };
        self.put(piece, &new, &mut |targets| {
            let mut slices = Slices::new(blocks);
            self.write_targets(piece, targets, &new, &mut |file, target| match file {
                None => {
                    match slices.take(target.length).iter().all(|slice| slice.iter().all(|byte| *byte == 0)) {
                        true => Ok(()),
                        false => Err(self.odd_padding(piece)),
                    }
                }
                Some(file) => {
                    disk::write_all(file, &mut slices.take(target.length), target.offset, self.hooks())
                        .map_err(|errno| self.explain(StorageError::writing(file.path(), errno)))
                }
            })
        })
        .map(drop)
    }

    /// Lets `write` put a piece where its bytes go, which is known when it is known whose the files are; where they went.
    pub(crate) fn put(
        &self,
        piece: PieceIndex,
        new: &NewBytes<'_>,
        write: &mut WritePiece<'_>,
    ) -> Result<Vec<Target>, StorageError> {
        let mut rounds = self.layout().file_spans(piece, 0, u32::MAX).count();
        loop {
            let times = self.held.times();
            self.decide(piece, new)?;
            let placement = self.placement();
            self.may_change(&placement)?;
            let targets = self.destinations(&placement, piece);
            self.lay(piece, &targets).map_err(|error| self.explain(error))?;
            match write(&targets) {
                // Each round but the last finds a file that is held from here on.
                Err(StorageError::InTheWay { why: Conflict::Undecided, .. })
                    if rounds != 0 && times != self.held.times() =>
                {
                    rounds -= 1;
                }
                written => return written.map(|()| targets),
            }
        }
    }

    /// Padding is not kept and reads as zeros, so a piece in which it is something else would not be what was written.
    pub(crate) fn odd_padding(&self, piece: PieceIndex) -> StorageError {
        StorageError::Padding { path: self.place().root.clone(), piece: piece.get() }
    }

    /// Lets `write` put each target's bytes into its file (`None`: padding), between the announcement and the end
    /// that the ledger wants.
    pub(crate) fn write_targets(
        &self,
        piece: PieceIndex,
        targets: &[Target],
        new: &NewBytes<'_>,
        write: &mut WriteTarget<'_>,
    ) -> Result<(), StorageError> {
        self.may_write()?;
        let piece = piece.get();
        let groups = targets.chunks(TARGETS_AT_ONCE);
        let last = groups.len().saturating_sub(1);
        let mut begin = 0;
        for (at, group) in groups.enumerate() {
            let ends = ((at == 0).then_some(piece), (at == last).then_some(piece));
            let result = self.write_group((group, begin), ends, new, write);
            begin += group.iter().map(|target| target.length as u64).sum::<u64>();
            if let Err((error, was_announced)) = result {
                if was_announced || at != 0 {
                    self.ledger.end(Some(Ended::Failed(piece)), &[]);
                }
                return Err(self.explain(error));
            }
        }
        Ok(())
    }

    /// The flag says whether the piece was announced, so that its failure has to be told.
    fn write_group(
        &self,
        (group, mut at): (&[Target], u64),
        (first, last): (Option<u32>, Option<u32>),
        new: &NewBytes<'_>,
        write: &mut WriteTarget<'_>,
    ) -> Result<(), (StorageError, bool)> {
        let mut opened = Vec::with_capacity(group.len());
        for target in group {
            let file = self.open(target.location, Access::Create).map_err(|error| (error, false))?;
            if let Some(file) = &file {
                self.compare(target, file, at, new).map_err(|error| (error, false))?;
            }
            at += target.length as u64;
            opened.push(file);
        }
        let mut files: Vec<Numbered<'_>> = Vec::with_capacity(group.len());
        for (target, file) in group.iter().zip(&opened) {
            // Several targets may be runs of the parts file.
            if let (Some(number), Some(file)) = (self.number(target.location), file)
                && files.iter().all(|(other, _)| *other != number)
            {
                files.push((number, file));
            }
        }
        if let Err(error) = self.ledger.begin(first, &files) {
            if let StorageError::Missing { .. } = error {
                files.iter().for_each(|(number, _)| self.forget_open(*number));
            }
            return Err((error, false));
        }
        let written = group.iter().zip(&opened).try_for_each(|(target, file)| write(file.as_deref(), target));
        let ended = if written.is_ok() { last.map(Ended::Written) } else { None };
        self.ledger.end(ended, &files);
        written.map_err(|error| (error, true))
    }
}
