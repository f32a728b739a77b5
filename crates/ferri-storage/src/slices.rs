//! Consecutive runs of a list of blocks, as the slices that `pwritev` takes.

use std::io::IoSlice;

use bytes::Bytes;

/// Walks through blocks from front to back, in runs of any length.
pub(crate) struct Slices<'a> {
    blocks: &'a [Bytes],
    /// Bytes of the first block that are done with.
    done: usize,
}

impl<'a> Slices<'a> {
    pub(crate) fn new(blocks: &'a [Bytes]) -> Self {
        Self { blocks, done: 0 }
    }

    /// The next `length` bytes, or fewer when there are fewer.
    pub(crate) fn take(&mut self, length: usize) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::new();
        self.advance(length, |part| slices.push(IoSlice::new(part)));
        slices
    }

    /// Fills `buffer` with the bytes from `at` on.
    pub(crate) fn copy_to(mut self, at: u64, buffer: &mut [u8]) {
        self.advance(usize::try_from(at).unwrap_or(usize::MAX), |_| {});
        let mut filled = 0;
        self.advance(buffer.len(), |part| {
            buffer[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        });
    }

    fn advance(&mut self, mut length: usize, mut each: impl FnMut(&'a [u8])) {
        while length != 0
            && let Some((block, rest)) = self.blocks.split_first()
        {
            let part = &block[self.done..];
            let part = &part[..part.len().min(length)];
            if !part.is_empty() {
                each(part);
            }
            length -= part.len();
            self.done += part.len();
            if self.done == block.len() {
                (self.blocks, self.done) = (rest, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cross_blocks_and_empty_blocks_vanish() {
        let blocks: Vec<Bytes> = ["abc", "", "de", "fghi"].map(Bytes::from_static_str).into();
        let mut slices = Slices::new(&blocks);
        let text = |slices: Vec<IoSlice<'_>>| {
            slices.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(text(slices.take(2)), ["ab"]);
        assert_eq!(text(slices.take(1)), ["c"]);
        assert_eq!(text(slices.take(4)), ["de", "fg"]);
        assert_eq!(text(slices.take(100)), ["hi"]);
        assert_eq!(text(slices.take(1)), Vec::<String>::new());
        let mut copy = [b'-'; 5];
        Slices::new(&blocks).copy_to(2, &mut copy);
        assert_eq!(&copy, b"cdefg");
    }

    trait FromStr {
        fn from_static_str(text: &'static str) -> Bytes;
    }

    impl FromStr for Bytes {
        fn from_static_str(text: &'static str) -> Bytes {
            Self::from_static(text.as_bytes())
        }
    }
}
