//! A hash that comes in parts, and the padding at its end: what SHA-1 and SHA-256 share (FIPS 180-4, section 5.1.1).

use crate::kernels::{Block, Function};
use crate::schedule::{Job, compress_all};

/// Bytes in a block.
const BLOCK_LENGTH: usize = size_of::<Block>();

/// Where the padding's last 8 bytes begin: the length of the message in bits.
const LENGTH_AT: usize = BLOCK_LENGTH - 8;

/// Inputs that are hashed together, which bounds the memory for their paddings.
const GROUP: usize = 256;

/// The chaining value, how much came in all, and what came since the last whole block.
#[derive(Clone, Debug)]
pub(crate) struct Stream<const WORDS: usize> {
    state: [u32; WORDS],
    /// Bytes so far. The last `length % 64` of them wait at the front of `buffer`.
    length: u64,
    buffer: Block,
}

impl<const WORDS: usize> Stream<WORDS> {
    pub(crate) fn new(function: &Function<WORDS>) -> Self {
        Self { state: function.initial, length: 0, buffer: [0; BLOCK_LENGTH] }
    }

    pub(crate) fn update(&mut self, function: &Function<WORDS>, input: &[u8]) {
        if let Some(job) = self.begin(input) {
            job.parts.iter().for_each(|blocks| (function.compress)(job.state, blocks));
        }
        self.end(input);
    }

    /// Takes note of an input; what it makes whole is the job. Once that is done comes [`Self::end`].
    pub(crate) fn begin<'a>(&'a mut self, input: &'a [u8]) -> Option<Job<'a, WORDS>> {
        let waiting = self.waiting();
        self.length += input.len() as u64;
        if waiting == 0 {
            return Some(Job { state: &mut self.state, parts: [input.as_chunks().0, &[]] });
        }
        let (head, rest) = input.split_at(input.len().min(BLOCK_LENGTH - waiting));
        self.buffer[waiting..waiting + head.len()].copy_from_slice(head);
        let is_whole = waiting + head.len() == BLOCK_LENGTH;
        let parts = [std::slice::from_ref(&self.buffer), rest.as_chunks().0];
        is_whole.then_some(Job { state: &mut self.state, parts })
    }

    /// Keeps what is left of the input behind its last whole block.
    pub(crate) fn end(&mut self, input: &[u8]) {
        let waiting = self.waiting();
        // Fewer bytes than wait: they did not end a block, and lie in the buffer since `begin`.
        if let Some(start) = input.len().checked_sub(waiting) {
            self.buffer[..waiting].copy_from_slice(&input[start..]);
        }
    }

    pub(crate) fn finish(mut self, function: &Function<WORDS>) -> [u32; WORDS] {
        let padding = Padding::new(&self.buffer[..self.waiting()], self.length);
        (function.compress)(&mut self.state, padding.blocks());
        self.state
    }

    fn waiting(&self) -> usize {
        (self.length % BLOCK_LENGTH as u64) as usize
    }
}

/// The last chaining values of whole inputs, handed to `each` in order.
pub(crate) fn digest_many<const WORDS: usize>(
    function: &Function<WORDS>,
    inputs: &[&[u8]],
    mut each: impl FnMut(&[u32; WORDS]),
) {
    for inputs in inputs.chunks(GROUP) {
        let mut states = [function.initial; GROUP];
        let whole: Vec<(&[Block], &[u8])> = inputs.iter().map(|input| input.as_chunks()).collect();
        let padding = |((_, tail), input): (&(_, &[u8]), &&[u8])| Padding::new(tail, input.len() as u64);
        let paddings: Vec<Padding> = whole.iter().zip(inputs).map(padding).collect();
        let parts = whole.iter().zip(&paddings).map(|((blocks, _), padding)| [*blocks, padding.blocks()]);
        compress_all(function, states.iter_mut().zip(parts).map(|(state, parts)| Job { state, parts }));
        states[..inputs.len()].iter().for_each(&mut each);
    }
}

/// What follows the last whole block: the rest of the message, a one bit, zeros, and the length of the message.
struct Padding {
    blocks: [Block; 2],
    count: usize,
}

impl Padding {
    /// `length` is that of the whole message; `tail` are the bytes behind its last whole block.
    fn new(tail: &[u8], length: u64) -> Self {
        let mut blocks = [[0; BLOCK_LENGTH]; 2];
        let bytes = blocks.as_flattened_mut();
        bytes[..tail.len()].copy_from_slice(tail);
        bytes[tail.len()] = 0x80;
        let count = if tail.len() < LENGTH_AT { 1 } else { 2 };
        let end = count * BLOCK_LENGTH;
        bytes[end - 8..end].copy_from_slice(&(length << 3).to_be_bytes());
        Self { blocks, count }
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks[..self.count]
    }
}
