//! Which torrent of this process writes to which file, by device, inode and time of birth: two must not write to one, unless to both it is
//! the same data. Other processes are kept away by a lock on the file ([`crate::lock::hold`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferri_metainfo::{FileIndex, Info, Layout, PieceIndex};

/// Who writes to a file.
#[derive(Debug)]
struct Writer {
    /// Of the storage.
    id: u64,
    info: Arc<Info>,
    file: FileIndex,
}

/// Device and inode, and when that was born, for numbers of inodes are used again.
pub(crate) type Place = ((u64, u64), i64);

/// Never an empty list.
static PLACES: Mutex<BTreeMap<Place, Vec<Writer>>> = Mutex::new(BTreeMap::new());

/// What a torrent found in the place that it entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    /// Nobody else writes there.
    Alone,
    /// Others do, and what they write is the same.
    Together,
}

/// Enters a file that a torrent is about to write to.
///
/// # Errors
/// The name of the torrent whose other data goes there.
pub(crate) fn enter(place: Place, id: u64, info: &Arc<Info>, file: FileIndex) -> Result<Entered, String> {
    let mut places = lock();
    let writers = places.entry(place).or_default();
    if let Some(other) = writers.iter().find(|other| {
        let is_self = other.id == id && other.file == file;
        !is_self && !is_same_data((&other.info, other.file), (info, file))
    }) {
        return Err(other.info.name().to_owned());
    }
    if writers.iter().all(|other| other.id != id) {
        writers.push(Writer { id, info: info.clone(), file });
    }
    Ok(if writers.len() == 1 { Entered::Alone } else { Entered::Together })
}

/// Whether several torrents write the same to this file.
pub(crate) fn is_shared(place: Place) -> bool {
    lock().get(&place).is_some_and(|writers| 1 < writers.len())
}

/// A torrent writes nowhere any more.
pub(crate) fn leave(id: u64) {
    lock().retain(|_, writers| {
        writers.retain(|writer| writer.id != id);
        !writers.is_empty()
    });
}

/// Whether two files are the same as far as hashes can tell: pieces of their own, all alike.
fn is_same_data((info, file): (&Info, FileIndex), (other, twin): (&Info, FileIndex)) -> bool {
    let (layout, other_layout) = (info.layout(), other.layout());
    if layout.file_len(file) != other_layout.file_len(twin) {
        return false;
    }
    let pieces = |layout: &Layout, file| {
        let pieces = layout.file_pieces(file).filter_map(|piece| layout.piece(piece));
        pieces.collect::<Vec<PieceIndex>>()
    };
    let (mine, theirs) = (pieces(layout, file), pieces(other_layout, twin));
    mine.len() == theirs.len()
        && mine.iter().zip(&theirs).all(|(&mine, &theirs)| {
            let has_hash = info.piece_hash_v1(mine).is_some() || info.piece_tree_v2(mine).is_some();
            has_hash
                && !is_mixed(layout, mine, file)
                && !is_mixed(other_layout, theirs, twin)
                && layout.piece_len(mine) == other_layout.piece_len(theirs)
                && info.piece_hash_v1(mine) == other.piece_hash_v1(theirs)
                && info.piece_tree_v2(mine).map(|tree| tree.root)
                    == other.piece_tree_v2(theirs).map(|tree| tree.root)
        })
}

/// Whether a piece has bytes of other files.
fn is_mixed(layout: &Layout, piece: PieceIndex, file: FileIndex) -> bool {
    layout.file_spans(piece, 0, u32::MAX).any(|span| !span.is_pad && span.file != file)
}

fn lock() -> MutexGuard<'static, BTreeMap<Place, Vec<Writer>>> {
    // The map is whole after every operation.
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}
