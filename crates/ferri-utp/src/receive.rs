//! What came from the peer: in order for the reader, and what came too early.
//!
//! Only the number of a missing packet is known, not its length. So what comes after it waits in a buffer of its own,
//! and goes to the reader's bytes when the gap is closed. What comes in order is copied once.

use std::collections::VecDeque;

use crate::pool::Pool;
use crate::seq::Seq;

/// A packet that is further ahead of the missing one is dropped. No client sends more at once.
pub(crate) const AHEAD_MAX: usize = 1_024;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It was the next one. `closed_gap` when others had waited for it.
    InOrder { closed_gap: bool },
    /// An earlier one is missing.
    Early,
    /// It came before, or lies beyond the end of the stream.
    Useless,
    /// There is no room. It has to be sent again.
    Refused,
}

/// The receiving half of a stream.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    /// In order, for the reader.
    ready: VecDeque<u8>,
    /// The packet that is missing.
    next: Seq,
    /// Packets after the missing one: the first is `next + 1`.
    early: VecDeque<Option<Vec<u8>>>,
    early_bytes: usize,
    limit: usize,
    /// The number of the packet that ends the stream.
    end: Option<Seq>,
    ended: bool,
    /// Nothing is kept for a reader: it left.
    is_discarding: bool,
}

impl ReceiveBuffer {
    /// `next` is the first packet of the stream.
    pub(crate) fn new(next: Seq, limit: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            next,
            early: VecDeque::new(),
            early_bytes: 0,
            limit,
            end: None,
            ended: false,
            is_discarding: false,
        }
    }

    /// Where the stream begins, once the peer said so.
    pub(crate) fn begin(&mut self, next: Seq) {
        self.next = next;
    }

    /// The last packet that came in order.
    pub(crate) fn ack(&self) -> Seq {
        self.next.minus(1)
    }

    /// Bytes that there is room for.
    pub(crate) fn window(&self) -> usize {
        self.limit.saturating_sub(self.ready.len() + self.early_bytes)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that can be read.
    pub(crate) fn readable(&self) -> usize {
        self.ready.len()
    }

    /// Whether everything came that will ever come.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// The bytes to read, in two parts.
    pub(crate) fn peek(&self) -> (&[u8], &[u8]) {
        self.ready.as_slices()
    }

    /// The reader took so many bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.ready.drain(..count.min(self.ready.len()));
    }

    /// The reader left: what is there and what comes is dropped, so that the peer gets to the end of what it has to say.
    pub(crate) fn discard(&mut self) {
        self.is_discarding = true;
        self.ready = VecDeque::new();
    }

    /// Gives memory back that a quiet connection does not need.
    pub(crate) fn rest(&mut self) {
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }

    /// A packet of the stream; `is_end` when it is the last one.
    pub(crate) fn accept(&mut self, seq: Seq, payload: &[u8], is_end: bool, pool: &mut Pool) -> Arrival {
        let ahead = usize::from(seq.since(self.next));
        if self.ended || seq.is_before(self.next) || self.end.is_some_and(|end| end.is_before(seq)) {
            return Arrival::Useless;
        }
        // A packet cannot be divided. One that is longer than the buffer would otherwise stop the stream for ever.
        let is_awaited = ahead == 0 && self.ready.is_empty();
        if AHEAD_MAX < ahead || (self.window() < payload.len() && !is_awaited) {
            return Arrival::Refused;
        }
        if 0 < ahead && self.early.get(ahead - 1).is_some_and(Option::is_some) {
            return Arrival::Useless;
        }
        if is_end && self.end.is_none() {
            self.end = Some(seq);
        }
        if 0 < ahead {
            if self.early.len() < ahead {
                self.early.resize(ahead, None);
            }
            self.early[ahead - 1] = Some(pool.fill(payload));
            self.early_bytes += payload.len();
            return Arrival::Early;
        }
        let closed_gap = self.has_gap();
        self.deliver(payload);
        // The front belongs to the packet after the one just delivered.
        while let Some(front) = self.early.pop_front() {
            let Some(bytes) = front else { break };
            self.early_bytes -= bytes.len();
            self.deliver(&bytes);
            pool.put_back(bytes);
        }
        Arrival::InOrder { closed_gap }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        if !self.is_discarding {
            reserve(&mut self.ready, bytes.len(), self.limit);
            self.ready.extend(bytes);
        }
        self.ended = self.end == Some(self.next);
        self.next = self.next.plus(1);
    }

    /// Which packets came early: bit `i` is packet `ack + 2 + i`. At most `length` bytes.
    pub(crate) fn selective_ack(&self, length: usize, bits: &mut Vec<u8>) {
        bits.clear();
        bits.resize(self.early.len().div_ceil(8).min(length), 0);
        for (at, _) in (0..8 * bits.len()).zip(&self.early).filter(|(_, early)| early.is_some()) {
            bits[at / 8] |= 1 << (at % 8);
        }
    }
}

/// Room for `more` bytes: twice as much as before each time, so that growing is cheap, and no more than `limit`.
pub(crate) fn reserve(bytes: &mut VecDeque<u8>, more: usize, limit: usize) {
    let needed = bytes.len() + more;
    if bytes.capacity() < needed {
        let capacity = needed.max((2 * bytes.capacity()).min(limit)).max(8 << 10);
        bytes.reserve_exact(capacity - bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffer: &mut ReceiveBuffer) -> Vec<u8> {
        let bytes = [buffer.peek().0, buffer.peek().1].concat();
        buffer.consume(bytes.len());
        bytes
    }

    #[test]
    fn packets_are_put_in_order_across_the_wrap() {
        let mut pool = Pool::default();
        let mut buffer = ReceiveBuffer::new(Seq(65_534), 100);
        let mut accept = |seq, bytes: &[u8], is_end| buffer.accept(Seq(seq), bytes, is_end, &mut pool);
        assert_eq!(accept(0, b"cc", false), Arrival::Early);
        assert_eq!(accept(2, b"", true), Arrival::Early);
        assert_eq!(accept(0, b"xx", false), Arrival::Useless);
        assert_eq!(accept(65_534, b"aa", false), Arrival::InOrder { closed_gap: true });
        assert_eq!(accept(65_534, b"aa", false), Arrival::Useless);
        assert_eq!(accept(3, b"after the end", false), Arrival::Useless);
        let mut bits = Vec::new();
        buffer.selective_ack(100, &mut bits);
        assert_eq!((buffer.ack(), &*bits, buffer.window()), (Seq(65_534), &[0b101][..], 96));
        assert_eq!(
            buffer.accept(Seq(65_535), b"bb", false, &mut pool),
            Arrival::InOrder { closed_gap: true }
        );
        assert_eq!((read(&mut buffer), buffer.has_ended()), (b"aabbcc".to_vec(), false));
        assert_eq!(buffer.accept(Seq(1), b"dd", false, &mut pool), Arrival::InOrder { closed_gap: true });
        assert_eq!((read(&mut buffer), buffer.has_ended(), buffer.ack()), (b"dd".to_vec(), true, Seq(2)));
        assert!(!buffer.has_gap() && buffer.window() == 100);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut pool = Pool::default();
        let mut buffer = ReceiveBuffer::new(Seq(1), 10);
        assert_eq!(buffer.accept(Seq(1), &[1; 6], false, &mut pool), Arrival::InOrder { closed_gap: false });
        assert_eq!(buffer.accept(Seq(3), &[3; 5], false, &mut pool), Arrival::Refused);
        assert_eq!(buffer.accept(Seq(3), &[3; 4], false, &mut pool), Arrival::Early);
        assert_eq!((buffer.window(), buffer.readable()), (0, 6));
        assert_eq!(buffer.accept(Seq(2), &[2], false, &mut pool), Arrival::Refused);
        buffer.consume(6);
        assert_eq!(buffer.accept(Seq(2), &[2], false, &mut pool), Arrival::InOrder { closed_gap: true });
        assert_eq!(read(&mut buffer), [2, 3, 3, 3, 3]);
        assert_eq!(buffer.accept(Seq(4 + 1 + AHEAD_MAX as u16), &[], false, &mut pool), Arrival::Refused);
        assert_eq!(buffer.accept(Seq(4 + AHEAD_MAX as u16), &[], false, &mut pool), Arrival::Early);
    }
}
