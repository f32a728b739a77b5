//! From messages and requested blocks to a socket, several at a time in one vectored write.
//!
//! Blocks are read only when the socket has room: from the page cache inline, without waiting, or by a disk thread
//! when the kernel would have to wait for the device. A slow disk therefore delays this peer's blocks and nothing
//! else.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};

use bytes::BytesMut;
use ferri_metainfo::Block;
use ferri_storage::{BUFFER_LENGTH, BlockBytes, BlockPool};
use ferri_wire::{Message, PIECE_HEADER_LEN, encode, encode_piece_header, encoded_len};

use super::PieceSource;

/// Slices in one vectored write.
const SLICES_MAX: usize = 64;
/// Payload read ahead of the socket.
const AHEAD_MAX: usize = 8;
/// Encoded messages that leave as one buffer, unless a single one is longer.
const MESSAGES_LEN: usize = 4 << 10;

/// What a peer is to be sent, in order.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A message.
    Message(Message),
    /// A block of ours, read when its turn comes.
    Block(Block),
}

/// Bytes of a message that a peer can have us say. What we say about our pieces is said once a piece, and a block waits as
/// a few numbers.
fn answer_len(item: &Item) -> usize {
    match item {
        Item::Message(Message::Have { .. }) | Item::Block(_) => 0,
        Item::Message(message) => encoded_len(message),
    }
}

/// Bytes on their way out, in the order of the link, which has sealed them.
#[derive(Debug)]
enum Chunk {
    Messages(BytesMut),
    Header([u8; PIECE_HEADER_LEN]),
    /// The payload of a block.
    Block(BlockBytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Messages(bytes) => bytes,
            Self::Header(bytes) => bytes,
            Self::Block(bytes) => bytes,
        }
    }
}

/// The sending half of one connection.
#[derive(Debug)]
pub(crate) struct Writer {
    pool: BlockPool,
    source: PieceSource,
    items: VecDeque<Item>,
    /// Bytes of the messages in `items` that a peer can have us say as often as it likes.
    owed: usize,
    ready: VecDeque<Chunk>,
    /// Bytes of the first of them that have left.
    left: usize,
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
    /// Blocks come from `source`; messages need none.
    pub(crate) fn new(pool: BlockPool, source: PieceSource) -> Self {
        Self {
            pool,
            source,
            items: VecDeque::new(),
            owed: 0,
            ready: VecDeque::new(),
            left: 0,
            blocks_ready: 0,
            loading: false,
        }
    }

    pub(crate) fn push(&mut self, items: impl IntoIterator<Item = Item>) {
        self.items.extend(items.into_iter().inspect(|item| self.owed += answer_len(item)));
    }

    /// Bytes of messages that wait and that may be answers: a peer that asks and does not read lets them grow.
    pub(crate) fn owed(&self) -> usize {
        self.owed
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

    /// Moves items into `ready`, reading at most `blocks_max` blocks. `seal` changes what leaves, in its order.
    pub(crate) fn fill(&mut self, blocks_max: usize, mut seal: impl FnMut(&mut [u8])) -> Fill {
        let blocks_max = blocks_max.min(AHEAD_MAX);
        while self.ready.len() < SLICES_MAX && !self.loading {
            match self.items.front() {
                None => break,
                Some(Item::Message(_)) => {
                    let mut bytes = self.encode_messages();
                    seal(&mut bytes);
                    self.ready.push_back(Chunk::Messages(bytes));
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
                            self.push_block(block, data, &mut seal);
                        }
                    }
                }
            }
        }
        Fill::Done
    }

    /// The messages before the next block, as far as they are one buffer.
    fn encode_messages(&mut self) -> BytesMut {
        let mut bytes = BytesMut::new();
        while bytes.len() < MESSAGES_LEN
            && let Some(Item::Message(message)) = self.items.front()
        {
            encode(message, &mut bytes);
            let item = self.items.pop_front();
            self.owed -= item.map_or(0, |item| answer_len(&item));
        }
        bytes
    }

    /// The block's bytes, and those of up to `count - 1` that are next and lie next to it, as far as the page cache has
    /// them.
    fn read_cached(&self, block: Block, count: usize) -> Vec<BlockBytes> {
        let Some(storage) = self.source.get() else { return Vec::new() };
        let length = block.length() as usize;
        let (piece, begin) = (block.piece(), block.begin());
        if BUFFER_LENGTH < length {
            let mut bytes = self.pool.take_for(length);
            let is_cached = storage.read_cached(piece, begin, &mut bytes);
            return if is_cached { vec![bytes] } else { Vec::new() };
        }
        let lengths = self.neighbours(block).take(count);
        let mut buffers: Vec<_> = lengths.map(|length| self.pool.take_for(length)).collect();
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        if slices.len() == 1 || !storage.read_cached_together(piece, begin, &mut slices) {
            buffers.truncate(1);
            if !storage.read_cached(piece, begin, &mut buffers[0]) {
                return Vec::new();
            }
        }
        buffers
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
    pub(crate) fn loaded(&mut self, data: BlockBytes, seal: impl FnMut(&mut [u8])) {
        self.loading = false;
        if let Some(Item::Block(block)) = self.items.pop_front() {
            self.push_block(block, data, seal);
        }
    }

    /// That block cannot be asked for at the moment; [`Self::fill`] tries again.
    pub(crate) fn put_off(&mut self) {
        self.loading = false;
    }

    /// That block cannot be had.
    pub(crate) fn skip(&mut self) {
        self.loading = false;
        self.items.pop_front();
    }

    fn push_block(&mut self, block: Block, mut data: BlockBytes, mut seal: impl FnMut(&mut [u8])) {
        let mut header = encode_piece_header(block.piece().get(), block.begin(), block.length());
        seal(&mut header);
        seal(&mut data);
        self.ready.push_back(Chunk::Header(header));
        self.ready.push_back(Chunk::Block(data));
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
            *slice = IoSlice::new(chunk.bytes());
        }
        slices[0].advance(self.left);
        let written = write(&slices[..count])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.left += written;
        while let Some(chunk) = self.ready.pop_front_if(|chunk| chunk.bytes().len() <= self.left) {
            let length = chunk.bytes().len();
            self.left -= length;
            if let Chunk::Block(_) = chunk {
                sent.blocks += 1;
                sent.bytes += length as u64;
                self.blocks_ready -= 1;
            }
        }
        Ok(sent)
    }
}
