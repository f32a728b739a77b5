//! From a socket to messages, with the payload of blocks received straight into pooled 16 KiB buffers.
//!
//! A downloading socket carries almost nothing but Piece messages of one size, so a read is laid out for that: 13
//! bytes for a header, 16 KiB for a block, again and again, in one vectored read. While the guess holds, payload is
//! never copied in user space. When something else arrives in between, the rest of that read goes through an
//! ordinary frame buffer until the stream is in step again. No buffer is held by a peer that is silent.

use std::io::{self, IoSliceMut};

use bytes::{BufMut, BytesMut};
use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_storage::{BlockBuffer, BlockPool};
use ferri_wire::{DecodeError, Message, decode, piece_header};

/// Bytes of a Piece message before its payload: length, id, piece, begin.
const PIECE_HEADER_LEN: usize = 13;
const BLOCK: usize = BLOCK_LENGTH as usize;
/// Blocks that one read may bring: 256 KiB, where larger reads stopped paying.
const SLOTS_MAX: usize = 16;
/// Room for everything that is not a block, in one read.
const FRAME_READ: usize = 4096;

/// Decodes one peer's byte stream.
#[derive(Debug)]
pub(crate) struct Reader {
    pool: BlockPool,
    /// Bytes of an unfinished message that is not a block's payload.
    frame: BytesMut,
    /// The block whose payload is arriving.
    partial: Option<Partial>,
    /// Blocks that the next read is laid out for; follows the peer's rate.
    slots: usize,
}

#[derive(Debug)]
struct Partial {
    piece: u32,
    begin: u32,
    /// Bytes of payload that this block will have; at most `BLOCK`.
    length: usize,
    filled: usize,
    buffer: BlockBuffer,
}

impl Reader {
    pub(crate) fn new(pool: BlockPool) -> Self {
        Self { pool, frame: BytesMut::new(), partial: None, slots: 1 }
    }

    /// Bytes that the next read would like to bring.
    pub(crate) fn wants(&self) -> usize {
        if self.frame.is_empty() { self.slots * (PIECE_HEADER_LEN + BLOCK) } else { FRAME_READ }
    }

    /// Reads once through `read`, at most `limit` bytes, and appends the messages that became whole. Returns the
    /// number of bytes read; 0 is the end of the stream.
    pub(crate) fn read(
        &mut self,
        limit: usize,
        messages: &mut Vec<Message>,
        read: impl FnMut(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> Result<usize, ReadError> {
        if self.frame.is_empty() {
            self.read_laid_out(limit, messages, read)
        } else {
            self.read_frame(limit, messages, read)
        }
    }

    /// The guess: the rest of the current block, then headers and blocks in turn.
    fn read_laid_out(
        &mut self,
        limit: usize,
        messages: &mut Vec<Message>,
        mut read: impl FnMut(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> Result<usize, ReadError> {
        let slots = self.slots;
        let mut headers = [[0u8; PIECE_HEADER_LEN]; SLOTS_MAX];
        let mut buffers: Vec<BlockBuffer> = (0..slots).map(|_| self.pool.take()).collect();
        let read_bytes = {
            let mut slices = Vec::with_capacity(1 + 2 * slots);
            let mut room = limit;
            if let Some(partial) = &mut self.partial {
                push_slice(&mut slices, &mut partial.buffer[partial.filled..partial.length], &mut room);
            }
            for (header, buffer) in headers.iter_mut().zip(&mut buffers) {
                push_slice(&mut slices, header, &mut room);
                push_slice(&mut slices, &mut buffer[..BLOCK], &mut room);
            }
            read(&mut slices)?
        };
        self.adapt(read_bytes);

        let mut left = read_bytes;
        if let Some(partial) = &mut self.partial {
            let taken = left.min(partial.length - partial.filled);
            partial.filled += taken;
            left -= taken;
            self.finish_partial(messages);
        }
        let mut slots = headers.iter().zip(buffers);
        while 0 < left {
            let Some((header, buffer)) = slots.next() else { break };
            let in_header = left.min(PIECE_HEADER_LEN);
            left -= in_header;
            let in_block = left.min(BLOCK);
            match piece_header(&header[..in_header]) {
                Some(head) if head.data_len as usize == BLOCK => {
                    left -= in_block;
                    self.partial = Some(Partial {
                        piece: head.piece,
                        begin: head.begin,
                        length: BLOCK,
                        filled: in_block,
                        buffer,
                    });
                    self.finish_partial(messages);
                }
                _ => {
                    // Out of step: everything from here on in this read goes through the frame buffer.
                    self.frame.reserve(in_header + left);
                    self.frame.put_slice(&header[..in_header]);
                    self.frame.put_slice(&buffer[..in_block]);
                    left -= in_block;
                    for (header, buffer) in slots.by_ref() {
                        let in_header = left.min(PIECE_HEADER_LEN);
                        self.frame.put_slice(&header[..in_header]);
                        left -= in_header;
                        let in_block = left.min(BLOCK);
                        self.frame.put_slice(&buffer[..in_block]);
                        left -= in_block;
                    }
                    self.decode_frame(messages)?;
                }
            }
        }
        Ok(read_bytes)
    }

    /// The careful way: the rest of an unfinished message, and whatever small follows it.
    fn read_frame(
        &mut self,
        limit: usize,
        messages: &mut Vec<Message>,
        mut read: impl FnMut(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> Result<usize, ReadError> {
        let start = self.frame.len();
        self.frame.resize(start + FRAME_READ.min(limit), 0);
        let result = read(&mut [IoSliceMut::new(&mut self.frame[start..])]);
        self.frame.truncate(start + *result.as_ref().unwrap_or(&0));
        let read_bytes = result?;
        self.decode_frame(messages)?;
        Ok(read_bytes)
    }

    fn decode_frame(&mut self, messages: &mut Vec<Message>) -> Result<(), ReadError> {
        loop {
            match piece_header(&self.frame) {
                Some(head) if head.data_len as usize <= BLOCK => {
                    let length = head.data_len as usize;
                    let mut buffer = self.pool.take();
                    let filled = length.min(self.frame.len() - PIECE_HEADER_LEN);
                    buffer[..filled]
                        .copy_from_slice(&self.frame[PIECE_HEADER_LEN..PIECE_HEADER_LEN + filled]);
                    let _ = self.frame.split_to(PIECE_HEADER_LEN + filled);
                    self.partial =
                        Some(Partial { piece: head.piece, begin: head.begin, length, filled, buffer });
                    self.finish_partial(messages);
                }
                _ => match decode(&mut self.frame)? {
                    Some(message) => messages.push(message),
                    None => break,
                },
            }
        }
        if self.frame.is_empty() {
            // A frame buffer grown by a burst is not kept by an idle peer.
            self.frame = BytesMut::new();
        }
        Ok(())
    }

    fn finish_partial(&mut self, messages: &mut Vec<Message>) {
        if let Some(partial) = self.partial.take_if(|partial| partial.filled == partial.length) {
            let data = partial.buffer.freeze(partial.length);
            messages.push(Message::Piece { piece: partial.piece, begin: partial.begin, data });
        }
    }

    /// A read that filled most of its room asks for more room next time; one that brought little asks for less.
    fn adapt(&mut self, read_bytes: usize) {
        let room = self.slots * (PIECE_HEADER_LEN + BLOCK);
        if room * 3 / 4 < read_bytes {
            self.slots = (self.slots * 2).min(SLOTS_MAX);
        } else if read_bytes < room / 4 {
            self.slots = (self.slots / 2).max(1);
        }
    }
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

fn push_slice<'a>(slices: &mut Vec<IoSliceMut<'a>>, bytes: &'a mut [u8], room: &mut usize) {
    let length = bytes.len().min(*room);
    if 0 < length {
        *room -= length;
        slices.push(IoSliceMut::new(&mut bytes[..length]));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::VecDeque;

    use bytes::Bytes;
    use ferri_wire::encode;

    use super::*;

    /// Feeds `stream` in pieces of the given sizes, round robin, and returns the messages that came out.
    fn run(stream: &[u8], sizes: &[usize]) -> Vec<Message> {
        let mut reader = Reader::new(BlockPool::new(64));
        let mut input: VecDeque<u8> = stream.iter().copied().collect();
        let mut messages = Vec::new();
        let mut sizes = sizes.iter().cycle();
        while !input.is_empty() {
            let limit = *sizes.next().unwrap();
            reader
                .read(limit, &mut messages, |slices| {
                    let mut total = 0;
                    for slice in slices {
                        for byte in slice.iter_mut() {
                            let Some(next) = input.pop_front() else { return Ok(total) };
                            *byte = next;
                            total += 1;
                        }
                    }
                    Ok(total)
                })
                .unwrap();
        }
        messages
    }

    fn block(piece: u32, begin: u32, length: usize) -> Message {
        Message::Piece { piece, begin, data: Bytes::from(vec![(piece + begin) as u8; length]) }
    }

    fn check(messages: &[Message]) {
        let mut stream = BytesMut::new();
        for message in messages {
            encode(message, &mut stream);
        }
        for sizes in [&[1 << 20][..], &[1], &[7, 4096, 13], &[16384], &[16397], &[13, 16384], &[40000, 3]] {
            assert!(run(&stream, sizes) == messages, "read sizes {sizes:?}");
        }
    }

    #[test]
    fn a_run_of_blocks_comes_out_as_it_went_in() {
        check(&(0..40).map(|n| block(n / 8, n % 8 * 16384, BLOCK)).collect::<Vec<_>>());
    }

    #[test]
    fn other_messages_between_blocks_are_found() {
        check(&[
            Message::Unchoke,
            block(0, 0, BLOCK),
            Message::Have { piece: 7 },
            block(0, 16384, BLOCK),
            block(0, 32768, 100),
            Message::KeepAlive,
            block(1, 0, BLOCK),
            Message::Choke,
            Message::Have { piece: 8 },
            block(1, 16384, BLOCK),
            block(1, 0, 1),
        ]);
    }

    #[test]
    fn blocks_of_unusual_size_pass() {
        check(&[block(0, 0, 40_000), block(0, 0, 16385), block(2, 0, BLOCK), block(3, 0, 5)]);
    }

    #[test]
    fn a_length_the_peer_invented_ends_the_stream() {
        let mut reader = Reader::new(BlockPool::new(4));
        let result = reader.read(4096, &mut Vec::new(), |slices| {
            slices[0][..5].copy_from_slice(b"\xff\xff\xff\xff\x07");
            Ok(5)
        });
        assert!(matches!(result, Err(ReadError::Decode(_))), "{result:?}");
    }
}
