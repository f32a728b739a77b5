//! Recycled 16 KiB buffers for blocks, so that steady downloading allocates nothing.
//!
//! A buffer is taken, filled by the socket, frozen into [`Bytes`] without a copy, and comes back to the pool when the
//! last clone is dropped. The pool counts what is out, which is what a memory budget wants to know; it never refuses,
//! because only the owner of the budget knows which peers to slow.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ferri_metainfo::limits::BLOCK_LENGTH;

/// Bytes in one buffer: one block.
pub const BUFFER_LENGTH: usize = BLOCK_LENGTH as usize;

/// A shared store of block buffers. Clones share the store.
#[derive(Clone)]
pub struct BlockPool {
    shared: Arc<Shared>,
}

struct Shared {
    free: Mutex<Vec<Box<[u8]>>>,
    /// So many free buffers are kept whatever happens.
    spare: usize,
    /// Bytes.
    in_use: AtomicUsize,
    /// The most bytes in use since the pool was trimmed last.
    peak: AtomicUsize,
}

impl BlockPool {
    /// A pool that keeps `spare` unused buffers (16 KiB each) for good, and others until [`Self::trim`] finds them
    /// superfluous.
    #[must_use]
    pub fn new(spare: usize) -> Self {
        let (free, in_use, peak) = Default::default();
        Self { shared: Arc::new(Shared { free, spare, in_use, peak }) }
    }

    /// Gives back to the allocator what was not needed since the last time: to be called now and then while buffers come
    /// and go. The buffers of a large piece that was written are those of the next one; given back at once they would
    /// be allocated again by other threads, from other places of the allocator, whose memory would grow beyond what is in use.
    pub fn trim(&self) {
        let in_use = self.shared.in_use.load(Ordering::Relaxed);
        let peak = self.shared.peak.swap(in_use, Ordering::Relaxed);
        self.shared.shrink(peak.saturating_sub(in_use) / BUFFER_LENGTH);
    }

    /// Gives back all but the spare ones: they are not needed soon.
    pub fn release(&self) {
        self.shared.shrink(0);
    }

    /// A buffer of [`BUFFER_LENGTH`] bytes. What it holds is left over from its last use.
    #[must_use]
    pub fn take(&self) -> BlockBuffer {
        let recycled = self.shared.lock().pop();
        let data = recycled.unwrap_or_else(|| vec![0; BUFFER_LENGTH].into_boxed_slice());
        let in_use = self.shared.in_use.fetch_add(BUFFER_LENGTH, Ordering::Relaxed) + BUFFER_LENGTH;
        self.shared.peak.fetch_max(in_use, Ordering::Relaxed);
        BlockBuffer { data, pool: Arc::clone(&self.shared) }
    }

    /// Room for `length` bytes: pooled for a block of the usual size, of its own for a larger one.
    #[must_use]
    pub fn take_for(&self, length: usize) -> BlockBytes {
        let room =
            if length <= BUFFER_LENGTH { Room::Pooled(self.take()) } else { Room::Own(vec![0; length]) };
        BlockBytes { room, length }
    }

    /// Bytes in buffers that were taken and not yet dropped.
    #[must_use]
    pub fn bytes_in_use(&self) -> usize {
        self.shared.in_use.load(Ordering::Relaxed)
    }

    /// Unused buffers kept for later.
    #[must_use]
    pub fn free_count(&self) -> usize {
        self.shared.lock().len()
    }
}

impl fmt::Debug for BlockPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockPool").field("in_use", &self.bytes_in_use()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
        // A list of buffers is whole after every operation, so a panic elsewhere cannot have spoilt it.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps so many free buffers, or as many as are always kept.
    fn shrink(&self, count: usize) {
        let superfluous = {
            let mut free = self.lock();
            let count = count.max(self.spare).min(free.len());
            free.split_off(count)
        };
        drop(superfluous);
    }
}

/// One buffer of [`BUFFER_LENGTH`] bytes; dropped, it goes back to its pool.
pub struct BlockBuffer {
    /// Empty only while dropping.
    data: Box<[u8]>,
    pool: Arc<Shared>,
}

impl BlockBuffer {
    /// The first `length` bytes as shared, immutable bytes, without a copy.
    ///
    /// A `length` beyond the buffer means all of it.
    #[must_use]
    pub fn freeze(self, length: usize) -> Bytes {
        let length = length.min(self.data.len());
        Bytes::from_owner(Frozen { buffer: self, length })
    }
}

impl Deref for BlockBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl DerefMut for BlockBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl fmt::Debug for BlockBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockBuffer").field("length", &self.data.len()).finish_non_exhaustive()
    }
}

impl Drop for BlockBuffer {
    fn drop(&mut self) {
        self.pool.in_use.fetch_sub(BUFFER_LENGTH, Ordering::Relaxed);
        self.pool.lock().push(std::mem::take(&mut self.data));
    }
}

/// The bytes of one block. They have one owner, so that the sender may change them on the way.
#[derive(Debug)]
pub struct BlockBytes {
    room: Room,
    length: usize,
}

#[derive(Debug)]
enum Room {
    Pooled(BlockBuffer),
    /// Hardly any peer asks for more than 16 KiB at once, though up to 128 KiB is allowed.
    Own(Vec<u8>),
}

impl Deref for BlockBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.room {
            Room::Pooled(buffer) => &buffer[..self.length],
            Room::Own(bytes) => bytes,
        }
    }
}

impl DerefMut for BlockBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.room {
            Room::Pooled(buffer) => &mut buffer[..self.length],
            Room::Own(bytes) => bytes,
        }
    }
}

struct Frozen {
    buffer: BlockBuffer,
    length: usize,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.data[..self.length]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_block_has_its_own_length_whatever_room_it_is_in() {
        let pool = BlockPool::new(4);
        for length in [0, 1, BUFFER_LENGTH, BUFFER_LENGTH + 1] {
            let mut block = pool.take_for(length);
            block.fill(7);
            assert_eq!((block.len(), block.iter().all(|byte| *byte == 7)), (length, true));
            assert_eq!(pool.bytes_in_use() != 0, length <= BUFFER_LENGTH);
        }
        assert_eq!(pool.bytes_in_use(), 0);
    }

    #[test]
    fn a_buffer_comes_back_when_the_last_clone_of_its_bytes_is_dropped() {
        let pool = BlockPool::new(4);
        let mut buffer = pool.take();
        buffer[..3].copy_from_slice(b"abc");
        let bytes = buffer.freeze(3);
        let tail = bytes.slice(1..);
        drop(bytes);
        assert_eq!(&tail[..], b"bc");
        assert_eq!((pool.bytes_in_use(), pool.free_count()), (BUFFER_LENGTH, 0));
        drop(tail);
        assert_eq!((pool.bytes_in_use(), pool.free_count()), (0, 1));
        assert_eq!(&pool.take()[..3], b"abc", "recycled, not allocated again");
    }

    #[test]
    fn what_was_not_needed_since_the_last_time_is_given_back() {
        let pool = BlockPool::new(2);
        let mut out: Vec<_> = (0..100).map(|_| pool.take()).collect();
        out.truncate(60);
        assert_eq!((pool.bytes_in_use() / BUFFER_LENGTH, pool.free_count()), (60, 40));
        pool.trim();
        assert_eq!(pool.free_count(), 40, "100 were in use");
        out.truncate(50);
        assert_eq!(pool.free_count(), 50);
        pool.trim();
        assert_eq!(pool.free_count(), 10, "no more than 60 were");
        drop(out);
        pool.release();
        assert_eq!((pool.bytes_in_use(), pool.free_count()), (0, 2));
    }

    #[test]
    fn freezing_more_than_there_is_gives_all() {
        assert_eq!(BlockPool::new(0).take().freeze(usize::MAX).len(), BUFFER_LENGTH);
    }
}
