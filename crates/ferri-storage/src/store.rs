//! Where the pieces of a torrent are kept, one level above files.
//!
//! [`PieceStore`] is all that is asked of such a place. [`Storage`] keeps pieces in files, [`MemoryStore`] in memory; others
//! may keep them where they like. A [`Store`] is what disk threads and connections hold: files are called as they are, so
//! that their way to a peer has no dynamic dispatch, and all else through the trait.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IoSliceMut;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ferri_metainfo::{Bitfield, Info, Layout, PieceIndex};

use crate::error::StorageError;
use crate::halt::Halt;
use crate::ledger::parts_number;
use crate::resume::Resumed;
use crate::storage::Storage;
use crate::totals::Totals;
use crate::verify::Verifier;

/// A place for the pieces of one torrent. Used from any number of threads; every method may block.
///
/// Only pieces whose hash matched come in, each as a whole. What comes out is sent to peers as it is: a store that cannot
/// vouch for its bytes says so ([`StorageError::Changed`], [`StorageError::Missing`]), and the piece is fetched again.
pub trait PieceStore: fmt::Debug + Send + Sync {
    /// Fills `buffer` with the bytes of the piece from `begin` on; they lie inside the piece.
    ///
    /// # Errors
    /// [`StorageError::Missing`] when they are not there; whatever keeps them from being read.
    fn read(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<(), StorageError>;

    /// Keeps a piece, given as consecutive slices that add up to its length. After `Ok` it can be read.
    ///
    /// # Errors
    /// Whatever keeps it from being stored; nothing of it is claimed then. A [recoverable](StorageError::is_recoverable)
    /// error is tried again every few seconds.
    fn put(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StorageError>;

    /// Pieces that can be read.
    fn have(&self) -> Bitfield;

    /// Makes every piece that was put before this call last as long as the store does.
    ///
    /// # Errors
    /// Whatever keeps it from that. It is tried again.
    fn sync(&self) -> Result<(), StorageError>;
}

impl PieceStore for Storage {
    fn read(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<(), StorageError> {
        Self::read(self, piece, begin, buffer)
    }

    fn put(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StorageError> {
        self.write_piece(piece, blocks)
    }

    fn have(&self) -> Bitfield {
        self.on_disk()
    }

    fn sync(&self) -> Result<(), StorageError> {
        Self::sync(self)
    }
}

/// Pieces in memory, as long as it lives; with room for so many bytes, as a disk has.
#[derive(Debug)]
pub struct MemoryStore {
    layout: Layout,
    room: AtomicU64,
    pieces: Mutex<BTreeMap<u32, Vec<u8>>>,
}

impl MemoryStore {
    /// Nothing in it, and no limit.
    #[must_use]
    pub fn new(info: &Info) -> Self {
        let layout = info.layout().clone();
        Self { layout, room: AtomicU64::new(u64::MAX), pieces: Mutex::default() }
    }

    /// All of a torrent, whose bytes are `data` in the order of its pieces, padding included.
    #[must_use]
    pub fn full(info: &Info, data: &[u8]) -> Self {
        let store = Self::new(info);
        let length = store.layout.piece_length() as usize;
        *store.lock() = (0..).zip(data.chunks(length.max(1)).map(<[u8]>::to_vec)).collect();
        store
    }

    /// From here on it holds so many bytes. What is in it stays.
    pub fn set_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<u8>>> {
        // The map is whole after every operation.
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands for the path where there is none.
const MEMORY: &str = "memory";

impl PieceStore for MemoryStore {
    fn read(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<(), StorageError> {
        let pieces = self.lock();
        let missing = || StorageError::Missing { path: MEMORY.into() };
        let bytes = pieces.get(&piece.get()).ok_or_else(missing)?;
        let found = bytes.get(begin as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(StorageError::Invalid("bytes beyond the end of a piece"))?);
        Ok(())
    }

    fn put(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StorageError> {
        let bytes = blocks.concat();
        if bytes.len() != self.layout.piece_len(piece) as usize {
            return Err(StorageError::Invalid("the blocks of a piece do not add up to its length"));
        }
        let mut pieces = self.lock();
        let held: u64 = pieces.values().map(|bytes| bytes.len() as u64).sum();
        let available = self.room.load(Ordering::Relaxed).saturating_sub(held);
        if available < bytes.len() as u64 && !pieces.contains_key(&piece.get()) {
            let needed = self.layout.total_length().saturating_sub(held);
            return Err(StorageError::NoSpace { path: MEMORY.into(), needed, available });
        }
        pieces.insert(piece.get(), bytes);
        Ok(())
    }

    fn have(&self) -> Bitfield {
        let mut have = Bitfield::new(self.layout.piece_count());
        for piece in self.lock().keys().filter(|piece| **piece < self.layout.piece_count()) {
            have.set(*piece);
        }
        have
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Where a torrent's pieces are.
#[derive(Debug)]
pub enum Store {
    /// In its files.
    Files(Box<Storage>),
    /// Elsewhere.
    Pieces(Box<PlainStore>),
}

impl From<Storage> for Store {
    fn from(storage: Storage) -> Self {
        Self::Files(Box::new(storage))
    }
}

/// Pieces that lie in no file: there is nothing of the user's in their way, no other name, no last touch, and no journal,
/// since the store itself says what there is.
#[derive(Debug)]
pub struct PlainStore {
    id: u64,
    info: Arc<Info>,
    pieces: Arc<dyn PieceStore>,
    wanted: Mutex<Bitfield>,
    /// Blocks of pieces that are put together here, by piece and offset.
    spilled: Mutex<BTreeMap<u32, BTreeMap<u32, Bytes>>>,
    halt: Halt,
}

impl PlainStore {
    /// The pieces of this torrent are in `pieces`. `wanted` is as for [`Storage::new`].
    #[must_use]
    pub fn new(info: Arc<Info>, pieces: Arc<dyn PieceStore>, wanted: &[bool]) -> Self {
        let wanted = Mutex::new(selection(info.layout(), wanted));
        let (spilled, halt) = (Mutex::default(), Halt::default());
        Self { id: Storage::next_id(), info, pieces, wanted, spilled, halt }
    }

    fn is_right(&self, piece: PieceIndex, scratch: &mut Vec<u8>) -> Result<bool, StorageError> {
        let Some(mut verifier) = Verifier::new(&self.info, piece) else { return Ok(false) };
        scratch.resize(self.info.layout().piece_len(piece) as usize, 0);
        match self.pieces.read(piece, 0, scratch) {
            Ok(()) => {
                verifier.update(scratch);
                Ok(verifier.finish())
            }
            Err(
                StorageError::Missing { .. } | StorageError::Truncated { .. } | StorageError::Changed { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the store holds the piece, and it is right.
    pub(crate) fn check_piece(&self, piece: PieceIndex, scratch: &mut Vec<u8>) -> Result<bool, StorageError> {
        self.halt.check()?;
        self.is_right(piece, scratch)
    }

    fn commit(&self, piece: PieceIndex) -> Result<bool, StorageError> {
        let blocks = lock(&self.spilled).get(&piece.get()).cloned().unwrap_or_default();
        let blocks: Vec<Bytes> = blocks.into_values().collect();
        let Some(mut verifier) = Verifier::new(&self.info, piece) else { return Ok(false) };
        blocks.iter().for_each(|block| verifier.update(block));
        if !verifier.finish() {
            return Ok(false);
        }
        self.pieces.put(piece, &blocks)?;
        lock(&self.spilled).remove(&piece.get());
        Ok(true)
    }
}

fn selection(layout: &Layout, wanted: &[bool]) -> Bitfield {
    let mut files = Bitfield::new(parts_number(layout));
    for file in layout.files().filter(|file| wanted.get(file.as_usize()).copied().unwrap_or(true)) {
        files.set(file.0);
    }
    files
}

impl Store {
    /// What it stores.
    #[must_use]
    pub fn info(&self) -> &Arc<Info> {
        match self {
            Self::Files(files) => files.info(),
            Self::Pieces(plain) => &plain.info,
        }
    }

    /// Where its bytes are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.info().layout()
    }

    /// A number that no other store of this process has.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Files(files) => files.id(),
            Self::Pieces(plain) => plain.id,
        }
    }

    /// As [`Storage::resume`]; to be called once, first.
    ///
    /// # Errors
    /// As [`Storage::resume`].
    pub fn resume(&self) -> Result<Resumed, StorageError> {
        match self {
            Self::Files(files) => files.resume(),
            Self::Pieces(plain) => {
                Ok(Resumed { have: plain.pieces.have(), recheck: Vec::new(), why: Vec::new() })
            }
        }
    }

    /// Fills `buffer` from the piece, from `begin` bytes on, for a peer.
    ///
    /// # Errors
    /// As [`PieceStore::read`].
    pub fn read(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> Result<(), StorageError> {
        match self {
            Self::Files(files) => files.read(piece, begin, buffer),
            Self::Pieces(plain) => plain.pieces.read(piece, begin, buffer),
        }
    }

    /// As [`Storage::read_cached`]; `false` where that is not known.
    #[must_use]
    pub fn read_cached(&self, piece: PieceIndex, begin: u32, buffer: &mut [u8]) -> bool {
        match self {
            Self::Files(files) => files.read_cached(piece, begin, buffer),
            Self::Pieces(_) => false,
        }
    }

    /// As [`Storage::read_cached_together`]; `false` where that is not known.
    #[must_use]
    pub fn read_cached_together(
        &self,
        piece: PieceIndex,
        begin: u32,
        buffers: &mut [IoSliceMut<'_>],
    ) -> bool {
        match self {
            Self::Files(files) => files.read_cached_together(piece, begin, buffers),
            Self::Pieces(_) => false,
        }
    }

    /// As [`Storage::read_ahead`].
    pub(crate) fn read_ahead(&self, piece: PieceIndex, begin: u32, length: u32) {
        if let Self::Files(files) = self {
            files.read_ahead(piece, begin, length);
        }
    }

    /// Keeps a piece whose hash matched.
    ///
    /// # Errors
    /// As [`PieceStore::put`].
    pub fn put(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StorageError> {
        match self {
            Self::Files(files) => files.write_piece(piece, blocks),
            Self::Pieces(plain) => plain.pieces.put(piece, blocks),
        }
    }

    /// As [`Storage::spill`].
    ///
    /// # Errors
    /// As [`Storage::spill`].
    pub fn spill(&self, piece: PieceIndex, begin: u32, blocks: &[Bytes]) -> Result<(), StorageError> {
        match self {
            Self::Files(files) => files.spill(piece, begin, blocks),
            Self::Pieces(plain) => {
                let mut at = begin;
                let mut spilled = lock(&plain.spilled);
                let piece = spilled.entry(piece.get()).or_default();
                for block in blocks {
                    piece.insert(at, block.clone());
                    at = at.saturating_add(u32::try_from(block.len()).unwrap_or(u32::MAX));
                }
                Ok(())
            }
        }
    }

    /// As [`Storage::commit_spilled`].
    ///
    /// # Errors
    /// As [`Storage::commit_spilled`].
    pub fn commit_spilled(&self, piece: PieceIndex) -> Result<bool, StorageError> {
        match self {
            Self::Files(files) => files.commit_spilled(piece),
            Self::Pieces(plain) => plain.commit(piece),
        }
    }

    /// Makes every piece that was put before this call last.
    ///
    /// # Errors
    /// As [`PieceStore::sync`].
    pub fn sync(&self) -> Result<(), StorageError> {
        match self {
            Self::Files(files) => files.sync(),
            Self::Pieces(plain) => plain.pieces.sync(),
        }
    }

    /// As [`Storage::close`].
    ///
    /// # Errors
    /// As [`Storage::close`].
    pub fn close(&self) -> Result<(), StorageError> {
        match self {
            Self::Files(files) => files.close(),
            Self::Pieces(plain) => plain.pieces.sync(),
        }
    }

    /// As [`Storage::set_wanted`].
    ///
    /// # Errors
    /// As [`Storage::set_wanted`].
    pub fn set_wanted(&self, wanted: &[bool]) -> Result<(), StorageError> {
        match self {
            Self::Files(files) => files.set_wanted(wanted),
            Self::Pieces(plain) => {
                *lock(&plain.wanted) = selection(plain.info.layout(), wanted);
                Ok(())
            }
        }
    }

    /// As [`Storage::wanted`].
    #[must_use]
    pub fn wanted(&self) -> Bitfield {
        match self {
            Self::Files(files) => files.wanted(),
            Self::Pieces(plain) => lock(&plain.wanted).clone(),
        }
    }

    /// As [`Storage::halt`].
    pub fn halt(&self) {
        match self {
            Self::Files(files) => files.halt(),
            Self::Pieces(plain) => plain.halt.raise(),
        }
    }

    /// As [`Storage::lost_with`].
    ///
    /// # Errors
    /// As [`Storage::lost_with`].
    pub fn lost_with(&self, piece: PieceIndex) -> Result<Vec<PieceIndex>, StorageError> {
        match self {
            Self::Files(files) => files.lost_with(piece),
            Self::Pieces(_) => Ok(vec![piece]),
        }
    }

    /// As [`Storage::probe_after`] or, without a path, [`Storage::probe`]. Of what is no file only the next try tells.
    ///
    /// # Errors
    /// As [`Storage::probe`].
    pub fn probe(&self, failed: Option<&Path>) -> Result<(), StorageError> {
        match (self, failed) {
            (Self::Files(files), Some(path)) => files.probe_after(path),
            (Self::Files(files), None) => files.probe(),
            (Self::Pieces(_), _) => Ok(()),
        }
    }

    /// As [`Storage::guard`]. In the way of what is no file lies nothing.
    ///
    /// # Errors
    /// As [`Storage::guard`].
    pub fn guard(&self) -> Result<(), StorageError> {
        self.files().map_or(Ok(()), Storage::guard)
    }

    /// As [`Storage::finish`]. What is no file has no last touches.
    ///
    /// # Errors
    /// As [`Storage::finish`].
    pub fn finish(&self) -> Result<(), StorageError> {
        self.files().map_or(Ok(()), Storage::finish)
    }

    /// As [`Storage::awaited`].
    #[must_use]
    pub fn awaited(&self) -> Vec<PieceIndex> {
        self.files().map(Storage::awaited).unwrap_or_default()
    }

    /// As [`Storage::doubtful`].
    #[must_use]
    pub fn doubtful(&self) -> Vec<PieceIndex> {
        self.files().map(Storage::doubtful).unwrap_or_default()
    }

    /// As [`Storage::write_totals`]. Without files there is no folder for them.
    ///
    /// # Errors
    /// As [`Storage::write_totals`].
    pub fn write_totals(&self, totals: &Totals) -> Result<(), StorageError> {
        self.files().map_or(Ok(()), |files| files.write_totals(totals))
    }

    /// As [`Storage::close_idle`].
    pub fn close_idle(&self) {
        if let Self::Files(files) = self {
            files.close_idle();
        }
    }

    /// As [`Storage::leave`].
    pub fn leave(&self) {
        if let Self::Files(files) = self {
            files.leave();
        }
    }

    /// The files, where the pieces are in some.
    #[must_use]
    pub fn files(&self) -> Option<&Storage> {
        match self {
            Self::Files(files) => Some(files),
            Self::Pieces(_) => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one operation.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
