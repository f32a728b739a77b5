//! A few words in a buffer on the stack, so that refusing a flood of nonsense allocates nothing.

use std::fmt;

/// Bytes of the longest refusal, with room to spare.
const BYTES_MAX: usize = 160;

/// Text that is cut where the buffer ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    bytes: [u8; BYTES_MAX],
    length: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self { bytes: [0; BYTES_MAX], length: 0 }
    }
}

impl Words {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let taken = text.floor_char_boundary(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        Ok(())
    }
}
