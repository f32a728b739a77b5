//! Whether a file whose name says little is the torrent's by what it holds.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::{FileIndex, FileSpan, PieceIndex};

use super::Places;
use super::find::{Search, UNFINISHED};
use crate::beneath::Access;
use crate::error::StorageError;
use crate::verify::Verifier;

/// Read at once.
const READ_LENGTH: usize = 1 << 20;

impl Search<'_> {
    /// Whether the file at `path` holds a whole piece of this file, which is more than zeros; or, if it is too small to have one of
    /// its own, all pieces in which it has a part, with what lies in the places of its neighbours. Costs at most what a check of
    /// the file does.
    pub(super) fn is_vouched(
        &self,
        path: &Path,
        file: FileIndex,
        places: &Places,
    ) -> Result<bool, StorageError> {
        let Some(opened) = self.open(path) else { return Ok(false) };
        let mut scratch = vec![0; READ_LENGTH];
        let mut has_own = false;
        let pieces = || self.layout.file_pieces(file).filter_map(|piece| self.layout.piece(piece));
        for piece in pieces() {
            self.halt.check()?;
            let mut spans = self.layout.file_spans(piece, 0, u32::MAX).filter(|span| !span.is_pad);
            if spans.any(|span| span.file != file) {
                continue;
            }
            has_own = true;
            if self.matches(piece, (file, &opened), places, &mut scratch) {
                return Ok(true);
            }
        }
        if has_own {
            return Ok(false);
        }
        for piece in pieces() {
            self.halt.check()?;
            if !self.matches(piece, (file, &opened), places, &mut scratch) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a piece is right and more than zeros, with this file in the place of its own.
    fn matches(
        &self,
        piece: PieceIndex,
        (file, opened): (FileIndex, &File),
        places: &Places,
        scratch: &mut [u8],
    ) -> bool {
        let Some(mut verifier) = Verifier::new(self.info, piece) else { return false };
        let mut is_blank = true;
        for span in self.layout.file_spans(piece, 0, u32::MAX) {
            let neighbor;
            let from = if span.is_pad {
                None
            } else if span.file == file {
                Some(opened)
            } else {
                neighbor = self.neighbor(span.file, places);
                if neighbor.is_none() {
                    return false;
                }
                neighbor.as_ref()
            };
            let is_there = feed(from, &span, scratch, |bytes| {
                is_blank &= bytes.iter().all(|byte| *byte == 0);
                verifier.update(bytes);
            });
            if !is_there {
                return false;
            }
        }
        !is_blank && verifier.finish()
    }

    /// What lies in another file's place, or beside it as unfinished.
    fn neighbor(&self, file: FileIndex, places: &Places) -> Option<File> {
        let path = places.path(file)?;
        let unfinished = UNFINISHED.iter().map(|suffix| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        });
        self.open(&path).or_else(|| unfinished.into_iter().find_map(|path| self.open(&path)))
    }

    fn open(&self, path: &Path) -> Option<File> {
        self.root.open_file(path, Access::Read).ok().map(File::from)
    }
}

/// Hands out the bytes of a span; `None` is padding. `false`: they are not all there.
fn feed(from: Option<&File>, span: &FileSpan, scratch: &mut [u8], mut take: impl FnMut(&[u8])) -> bool {
    let mut done = 0;
    while done < span.length {
        let length = (span.length - done).min(scratch.len() as u64) as usize;
        let part = &mut scratch[..length];
        match from {
            Some(file) => {
                if file.read_exact_at(part, span.offset + done).is_err() {
                    return false;
                }
            }
            None => part.fill(0),
        }
        take(part);
        done += length as u64;
    }
    true
}
