//! Buffers for packets that came too early, kept for the next ones.

/// Buffers that are kept. More are freed.
const KEPT_MAX: usize = 256;
/// A buffer that is larger is not kept: no honest packet needs it.
const CAPACITY_MAX: usize = 2_048;

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Vec<u8>>,
}

impl Pool {
    /// A buffer that holds `bytes`.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.free.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        buffer
    }

    pub(crate) fn put_back(&mut self, mut buffer: Vec<u8>) {
        if self.free.len() < KEPT_MAX && buffer.capacity() <= CAPACITY_MAX {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}
