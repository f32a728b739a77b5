//! Blocks a peer asked us for: a bounded queue, from which as much is released as the connection can take.
//!
//! Released blocks cannot be taken back, so few are: enough to keep the connection busy, not more than a choke or a cancel can
//! regret.

use std::collections::VecDeque;
use std::time::Instant;

use ferri_metainfo::{Block, PieceIndex};

use crate::rate::Rate;

/// Requests a peer may have waiting with us (our `reqq`); more is memory it controls.
pub(crate) const INCOMING_REQUESTS_MAX: usize = 500;
/// Bytes released and not sent: at least this much to a peer, whatever its rate.
const CREDIT_MIN: u64 = 256 << 10;
/// And at most this much.
const CREDIT_MAX: u64 = 1 << 20;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits.
    Yes,
    /// The same one waits already.
    Duplicate,
    /// There is no room.
    Full,
}

/// The sending side of one peer.
#[derive(Debug)]
pub(crate) struct Upload {
    queue: VecDeque<Block>,
    /// Lengths of blocks released and not reported as done with.
    released: VecDeque<u32>,
    released_bytes: u64,
    /// Payload sent.
    pub(crate) rate: Rate,
    /// Payload sent since the peer was unchoked.
    pub(crate) sent_in_turn: u64,
    /// When it last began to ask or took something.
    pub(crate) taken_at: Instant,
    /// Pieces we suggested to it of which it has not asked for anything.
    pub(crate) suggested: Vec<PieceIndex>,
}

impl Upload {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            released: VecDeque::new(),
            released_bytes: 0,
            rate: Rate::new(now),
            sent_in_turn: 0,
            taken_at: now,
            suggested: Vec::new(),
        }
    }

    /// The peer asks for a block of a piece we have.
    pub(crate) fn request(&mut self, block: Block, now: Instant) -> Queued {
        // Requests come in ascending runs: one that is beyond the newest is most often new, but only looking tells.
        if self.queue.contains(&block) {
            return Queued::Duplicate;
        }
        if INCOMING_REQUESTS_MAX <= self.queue.len() {
            return Queued::Full;
        }
        if self.len() == 0 {
            self.taken_at = now;
        }
        self.queue.push_back(block);
        Queued::Yes
    }

    /// The peer takes a request back. Whether it still waited.
    pub(crate) fn cancel(&mut self, block: Block) -> bool {
        let at = self.queue.iter().position(|queued| *queued == block);
        at.is_some_and(|at| self.queue.remove(at).is_some())
    }

    /// Takes out the waiting requests that `drop` names.
    pub(crate) fn drop_where(&mut self, drop: impl Fn(Block) -> bool) -> Vec<Block> {
        let (dropped, kept): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|block| drop(*block));
        self.queue = kept.into();
        dropped
    }

    /// The next block to send, if the connection has room and `may` allows it.
    pub(crate) fn release(&mut self, may: impl Fn(Block) -> bool, now: Instant) -> Option<Block> {
        let block = *self.queue.front()?;
        if !may(block) || self.credit(now) <= self.released_bytes {
            return None;
        }
        self.queue.pop_front();
        self.released.push_back(block.length());
        self.released_bytes += u64::from(block.length());
        Some(block)
    }

    /// `blocks` of the released blocks are done with; `bytes` were sent. Returns the bytes that count as sent.
    pub(crate) fn sent(&mut self, blocks: u32, bytes: u64, now: Instant) -> u64 {
        let mut freed = 0;
        for _ in 0..blocks {
            freed += self.released.pop_front().map_or(0, u64::from);
        }
        self.released_bytes -= freed;
        let bytes = bytes.min(freed);
        if bytes != 0 {
            self.rate.add(bytes, now);
            self.sent_in_turn += bytes;
            self.taken_at = now;
        }
        bytes
    }

    /// Requests not answered: waiting ones and released ones.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.released.len()
    }

    /// Two seconds' worth, within bounds.
    fn credit(&self, now: Instant) -> u64 {
        if self.released_bytes < CREDIT_MIN {
            // Not worth computing a rate.
            return CREDIT_MIN;
        }
        (self.rate.per_second(now) * 2).clamp(CREDIT_MIN, CREDIT_MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use ferri_metainfo::Layout;

    use super::*;

    fn block(n: u32) -> Block {
        let layout = Layout::single(16 << 20, 16 << 20).unwrap();
        layout.nth_block(layout.piece(0).unwrap(), n).unwrap()
    }

    #[test]
    fn the_queue_is_bounded_and_knows_duplicates() {
        let now = Instant::now();
        let mut upload = Upload::new(now);
        (0..500).for_each(|n| assert_eq!(upload.request(block(n), now), Queued::Yes));
        assert_eq!(upload.request(block(7), now), Queued::Duplicate);
        assert_eq!(upload.request(block(500), now), Queued::Full);
        assert!(upload.cancel(block(7)) && !upload.cancel(block(7)));
        assert_eq!(upload.request(block(500), now), Queued::Yes);
    }

    #[test]
    fn blocks_are_released_by_credit_and_credit_comes_back() {
        let now = Instant::now();
        let mut upload = Upload::new(now);
        (0..100).for_each(|n| assert_eq!(upload.request(block(n), now), Queued::Yes));
        let release = |upload: &mut Upload, now| std::iter::from_fn(|| upload.release(|_| true, now)).count();
        assert_eq!(release(&mut upload, now), 16);
        assert_eq!(upload.sent(2, 16 << 10, now), 16 << 10);
        assert_eq!(release(&mut upload, now + Duration::from_secs(10)), 2);
        // A fast peer gets more: two seconds' worth.
        assert_eq!(upload.sent(16, 256 << 10, now), 256 << 10);
        assert_eq!(release(&mut upload, now), 64);
        assert_eq!(upload.sent(1000, u64::MAX, now), 64 * (16 << 10));
        assert_eq!(upload.len(), 18);
    }

    #[test]
    fn only_what_may_be_sent_is_released() {
        let now = Instant::now();
        let mut upload = Upload::new(now);
        (0..4).for_each(|n| assert_eq!(upload.request(block(n), now), Queued::Yes));
        assert_eq!(upload.release(|_| false, now), None);
        assert_eq!(upload.drop_where(|b| b != block(2)).len(), 3);
        assert_eq!(upload.release(|_| true, now), Some(block(2)));
    }
}
