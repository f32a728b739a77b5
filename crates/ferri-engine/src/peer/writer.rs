//! From messages and requested blocks to a socket, several at a time in one vectored write.
//!
//! Blocks are read only when the socket has room: from the page cache inline, without waiting, or by a disk thread
//! when the kernel would have to wait for the device. A slow disk therefore delays this peer's blocks and nothing
//! else.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use ferri_metainfo::Block;
use ferri_storage::{BUFFER_LENGTH, BlockPool, Storage};
use ferri_wire::encode_piece_header;

/// Slices in one vectored write.
const SLICES_MAX: usize = 64;
/// Payload read ahead of the socket.
const AHEAD_MAX: usize = 8;

/// What a peer is to be sent, in order.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// Encoded messages.
    Bytes(Bytes),
    /// A block of ours, read when its turn comes.
    Block(Block),
}

/// A block on its way out, in the order of the socket.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Payload bytes that are sent once this chunk is; 0 for headers and messages.
    payload: u64,
}

/// The sending half of one connection.
#[derive(Debug)]
pub(crate) struct Writer {
    pool: BlockPool,
    /// `None`: there are no blocks to send.
    storage: Option<Arc<Storage>>,
    items: VecDeque<Item>,
    ready: VecDeque<Chunk>,
    blocks_ready: usize,
    /// A disk thread is reading the block at the head of `items`.
    loading: bool,
}

/// What left, since it was asked last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Blocks whose last byte was handed to the socket.
    pub(crate) blocks: u32,
    /// Their payload bytes.
    pub(crate) bytes: u64,
}

/// What [`Writer::fill`] needs next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Nothing: there is something to write, or nothing to do.
    Done,
    /// This block must come from the device; give it to [`Writer::loaded`].
    Load(Block),
}

impl Writer {
    pub(crate) fn new(pool: BlockPool) -> Self {
        Self {
            pool,
            storage: None,
            items: VecDeque::new(),
            ready: VecDeque::new(),
            blocks_ready: 0,
            loading: false,
        }
    }

    /// Blocks come from here from now on.
    pub(crate) fn read_from(&mut self, storage: Option<Arc<Storage>>) {
        self.storage = storage;
    }

    pub(crate) fn push(&mut self, items: impl IntoIterator<Item = Item>) {
        self.items.extend(items);
    }

    /// Something could be written now, if the socket took it.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() || (!self.items.is_empty() && !self.loading)
    }

    /// The payload length of the block that would be read next; what a rate limiter is asked for.
    pub(crate) fn next_block_len(&self) -> Option<usize> {
        match self.items.front() {
            Some(Item::Block(block)) if self.ready.is_empty() && !self.loading => {
                Some(block.length() as usize)
            }
            _ => None,
        }
    }

    /// Moves items into `ready`, reading at most `blocks_max` blocks.
    pub(crate) fn fill(&mut self, blocks_max: usize) -> Fill {
        let blocks_max = blocks_max.min(AHEAD_MAX);
        while self.ready.len() < SLICES_MAX && !self.loading {
            match self.items.front() {
                None => break,
                Some(Item::Bytes(_)) => {
                    if let Some(Item::Bytes(bytes)) = self.items.pop_front() {
                        self.ready.push_back(Chunk { bytes, payload: 0 });
                    }
                }
                Some(Item::Block(_)) if blocks_max <= self.blocks_ready => break,
                Some(&Item::Block(block)) => {
                    let read = self.read_cached(block, blocks_max - self.blocks_ready);
                    if read.is_empty() {
                        self.loading = true;
                        return Fill::Load(block);
                    }
                    for data in read {
                        if let Some(Item::Block(block)) = self.items.pop_front() {
                            self.push_block(block, data);
                        }
                    }
                }
            }
        }
        Fill::Done
    }

    /// The block's bytes, and those of up to `count - 1` that are next and lie next to it, as far as the page cache has
    /// them.
    fn read_cached(&self, block: Block, count: usize) -> Vec<Bytes> {
        let Some(storage) = &self.storage else { return Vec::new() };
        let length = block.length() as usize;
        let (piece, begin) = (block.piece(), block.begin());
        if BUFFER_LENGTH < length {
            // Hardly anybody asks for more than 16 KiB at once, though up to 128 KiB is allowed.
            let mut buffer = vec![0; length];
            let is_cached = storage.read_cached(piece, begin, &mut buffer);
            return if is_cached { vec![Bytes::from(buffer)] } else { Vec::new() };
        }
        let lengths: Vec<usize> = self.neighbours(block).take(count).collect();
        let mut buffers: Vec<_> = lengths.iter().map(|_| self.pool.take()).collect();
        let mut slices: Vec<_> = buffers
            .iter_mut()
            .zip(&lengths)
            .map(|(buffer, length)| IoSliceMut::new(&mut buffer[..*length]))
            .collect();
        if slices.len() == 1 || !storage.read_cached_together(piece, begin, &mut slices) {
            buffers.truncate(1);
            if !storage.read_cached(piece, begin, &mut buffers[0][..length]) {
                return Vec::new();
            }
        }
        buffers.into_iter().zip(lengths).map(|(buffer, length)| buffer.freeze(length)).collect()
    }

    /// Lengths of the first block and of those after it that continue it.
    fn neighbours(&self, first: Block) -> impl Iterator<Item = usize> {
        let mut next = first.begin();
        self.items.iter().map_while(move |item| match item {
            Item::Block(block)
                if (block.piece(), block.begin()) == (first.piece(), next)
                    && block.length() as usize <= BUFFER_LENGTH =>
            {
                next += block.length();
                Some(block.length() as usize)
            }
            _ => None,
        })
    }

    /// The data of the block that [`Fill::Load`] asked for.
    pub(crate) fn loaded(&mut self, data: Bytes) {
        self.loading = false;
        if let Some(Item::Block(block)) = self.items.pop_front() {
            self.push_block(block, data);
        }
    }

    /// That block cannot be had.
    pub(crate) fn skip(&mut self) {
        self.loading = false;
        self.items.pop_front();
    }

    fn push_block(&mut self, block: Block, data: Bytes) {
        let header = encode_piece_header(block.piece().get(), block.begin(), block.length());
        self.ready.push_back(Chunk { bytes: Bytes::copy_from_slice(&header), payload: 0 });
        self.ready.push_back(Chunk { payload: data.len() as u64, bytes: data });
        self.blocks_ready += 1;
    }

    /// Writes once through `write`. `Ok(Sent)` says which blocks left whole.
    pub(crate) fn write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Sent> {
        let mut sent = Sent::default();
        if self.ready.is_empty() {
            return Ok(sent);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = self.ready.len().min(SLICES_MAX);
        for (slice, chunk) in slices.iter_mut().zip(&self.ready) {
            *slice = IoSlice::new(&chunk.bytes);
        }
        let mut written = write(&slices[..count])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(chunk) = self.ready.front_mut() {
            if written < chunk.bytes.len() {
                chunk.bytes.advance(written);
                break;
            }
            written -= chunk.bytes.len();
            if 0 < chunk.payload {
                sent.blocks += 1;
                sent.bytes += chunk.payload;
                self.blocks_ready -= 1;
            }
            self.ready.pop_front();
        }
        Ok(sent)
    }
}
