//! Bytes for a reader that cannot verify them itself: a piece is read as a whole and hashed, and what is handed out are the very
//! bytes that were hashed, whatever becomes of the file meanwhile.

use std::collections::BTreeSet;
use std::ops::Range;

use ferri_metainfo::PieceIndex;

use crate::beneath::Access;
use crate::error::StorageError;
use crate::storage::{Location, Storage, Target};
use crate::store::Store;
use crate::verify::Verifier;

/// Read at once.
const READ_LENGTH: usize = 1 << 20;

impl Store {
    /// As [`Storage::read_verified`], wherever the pieces lie.
    ///
    /// # Errors
    /// When they could not be read, or `range` does not lie in the piece.
    pub fn read_verified(
        &self,
        piece: PieceIndex,
        range: Range<u32>,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(files) = self.files() {
            return files.read_verified(piece, range);
        }
        let length = self.layout().piece_len(piece);
        if range.end < range.start || length < range.end {
            return Err(StorageError::Invalid("bytes beyond the end of a piece"));
        }
        let Some(mut verifier) = Verifier::new(self.info(), piece) else { return Ok(None) };
        let range = range.start as usize..range.end as usize;
        let (mut kept, mut at) = (Vec::with_capacity(range.len()), 0);
        let mut buffer = vec![0; READ_LENGTH.min(length as usize)];
        while at < length {
            let part = &mut buffer[..READ_LENGTH.min((length - at) as usize)];
            match self.read(piece, at, part) {
                Ok(()) => {}
                Err(StorageError::Missing { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
            verifier.update(part);
            kept.extend_from_slice(&part[overlap(&range, at as usize, part.len())]);
            at += u32::try_from(part.len()).unwrap_or(u32::MAX);
        }
        Ok(verifier.finish().then_some(kept))
    }
}

impl Storage {
    /// The bytes `range` of a piece, counted from its start, after all of it was read and its hash matched. `None` when it
    /// does not match, or when a file is missing or too short. Takes as much memory as `range` is long, and 1 MiB.
    ///
    /// # Errors
    /// When the disk could not be read, something that is no file is in the way, or `range` does not lie in the piece.
    pub fn read_verified(
        &self,
        piece: PieceIndex,
        range: Range<u32>,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let length = self.layout().piece_len(piece);
        if range.end < range.start || length < range.end {
            return Err(StorageError::Invalid("bytes beyond the end of a piece"));
        }
        let moves = self.placement().moves;
        let found = self.read_whole(piece, range.start as usize..range.end as usize);
        let found = found.map_err(|error| self.unless_moved(moves, error))?;
        if found.is_none() {
            if self.placement().moves != moves {
                return Err(self.being_moved());
            }
            self.look_for_changes(&[piece]);
        }
        Ok(found)
    }

    fn read_whole(&self, piece: PieceIndex, range: Range<usize>) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(mut verifier) = Verifier::new(self.info(), piece) else { return Ok(None) };
        let length = self.layout().piece_len(piece);
        let (mut kept, mut scratch) = (Vec::with_capacity(range.len()), Vec::new());
        let (placement, mut at) = (self.placement(), 0);
        self.may_open(&placement)?;
        for target in self.targets(&placement, piece, 0, length) {
            let mut done = 0;
            while done < target.length {
                let part = Target {
                    offset: target.offset + done as u64,
                    length: (target.length - done).min(READ_LENGTH),
                    ..target
                };
                if scratch.len() < part.length {
                    scratch.resize(part.length, 0);
                }
                let bytes = &mut scratch[..part.length];
                if !self.read_if_there(part, bytes)? {
                    return Ok(None);
                }
                verifier.update(bytes);
                kept.extend_from_slice(&bytes[overlap(&range, at, part.length)]);
                (done, at) = (done + part.length, at + part.length);
            }
        }
        Ok(verifier.finish().then_some(kept))
    }

    /// Looks whether another program changed the files of these pieces, which were found to be wrong; those are
    /// [told of](Storage::take_changed).
    pub fn look_for_changes(&self, pieces: &[PieceIndex]) {
        let mut files = BTreeSet::new();
        {
            let placement = self.placement();
            for piece in pieces {
                let targets = self.targets(&placement, *piece, 0, u32::MAX);
                files.extend(targets.filter_map(|target| match target.location {
                    Location::File(file) => Some(file),
                    Location::Pad | Location::Parts => None,
                }));
            }
        }
        for file in files {
            if let Ok(Some(open)) = self.open(Location::File(file), Access::Read) {
                // What it says of the pieces is known.
                let _ = self.look(file, &open);
            }
        }
    }

    /// `false` when the bytes are not there.
    fn read_if_there(&self, target: Target, buffer: &mut [u8]) -> Result<bool, StorageError> {
        match self.read_target(target, buffer) {
            Ok(()) => Ok(true),
            Err(
                StorageError::Missing { .. }
                | StorageError::Truncated { .. }
                | StorageError::NotAFile { .. }
                | StorageError::NotAFolder { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Which of `length` bytes that begin at `at` lie in `range`.
fn overlap(range: &Range<usize>, at: usize, length: usize) -> Range<usize> {
    let inside = |position: usize| position.saturating_sub(at).min(length);
    inside(range.start)..inside(range.end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_parts_of_a_range_add_up_to_it() {
        let bytes: Vec<usize> = (0..100).collect();
        for range in [0..100, 0..0, 3..4, 9..10, 10..11, 5..95, 99..100, 100..100] {
            let parts = bytes.chunks(10).flat_map(|part| &part[overlap(&range, part[0], 10)]);
            assert_eq!(parts.copied().collect::<Vec<_>>(), bytes[range]);
        }
    }
}
