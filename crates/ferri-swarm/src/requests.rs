//! Our requests to one peer: how many it should have at a time, when one is overdue, when the peer has gone silent.
//!
//! The window follows what the peer delivers: rate times the round trip plus a queue, so that the pipe never runs dry and little
//! is at stake when the peer fails. It starts small and grows by one a block while the rate still grows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ferri_metainfo::limits::BLOCK_LENGTH;
use ferri_metainfo::{Block, PieceIndex};

use crate::rate::Rate;

/// Requests a new peer gets.
const WINDOW_START: usize = 4;
/// No peer that delivers has fewer.
const WINDOW_MIN: usize = 2;
/// No peer has more, whatever it says about itself.
const WINDOW_MAX: usize = 2_000;
/// What we take a peer's `reqq` for until it says (libtorrent's and others' default is at least that).
const REQQ_DEFAULT: usize = 250;
/// How much a slow peer shall have queued beyond the round trip: covers pauses of the peer and of its disk.
const QUEUE_MAX: Duration = Duration::from_secs(2);
/// A fast peer needs less time for the same number of bytes, but some to be scheduled.
const QUEUE_MIN: Duration = Duration::from_millis(5);
/// Queued bytes above which the time shrinks: what waits at the peer is memory bound here for pieces that do not come sooner.
const QUEUE_BYTES: u64 = 512 << 10;
/// A peer that sent nothing for so long, although asked, is snubbing us, unless it is known to be slow.
const SNUB_MIN: Duration = Duration::from_secs(5);
/// However slow a peer is, silence of this length is snubbing.
const SNUB_MAX: Duration = Duration::from_secs(60);
/// A block is overdue after at least this long, while the peer answers others.
const OVERDUE_MIN: Duration = Duration::from_secs(8);
/// Requests we gave up whose answers may still be on their way.
const FORGIVEN_MAX: usize = WINDOW_MAX + 500;
/// How long a peer is not asked again for a piece it rejected, after its last reject.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// Pieces a peer rejected; more means it rejects everything.
const REFUSED_MAX: usize = 32;
/// Blocks a peer was asked for and kept back, of which so many make it one that is not relied on.
const DEBTS_TOLERATED: u32 = 3;
/// More are not counted: trust can be won back.
const DEBTS_MAX: u32 = 32;
/// Blocks that come in time make up for one that did not.
const BLOCKS_PER_DEBT: u32 = 4;
/// A window is refilled when a quarter of it (rounded up) is empty, or so many blocks, so that one write carries many
/// requests. More would let a long pipe run dry in between, and the window would shrink with the rate that this costs.
const REFILL_MAX: usize = 16;

/// A request that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    block: Block,
    sent: Instant,
}

/// Where a block that came belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was asked for.
    Yes,
    /// It had been asked for and given up.
    Once,
    /// It never was.
    Never,
}

/// How far one can count on what a peer was asked for. The worse it is, the sooner others are asked in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// It answers.
    Full,
    /// It answers, and has kept back what it was asked for.
    Little,
    /// It is behind what it did before, or has shown nothing yet.
    Stalled,
    /// It has sent nothing for long.
    Snubbing,
}

/// The receiving side of one peer.
#[derive(Debug)]
pub(crate) struct Requests {
    /// In the order in which they were sent, which is the order most peers answer in.
    outstanding: VecDeque<Pending>,
    /// Requests that were cancelled, timed out or dropped by a choke, oldest first.
    forgiven: VecDeque<Block>,
    window: usize,
    slow_start: bool,
    /// What the peer says it keeps, or was seen to.
    reqq: usize,
    /// Payload received.
    pub(crate) rate: Rate,
    last_rate: u64,
    /// The shortest time from a request to its block.
    rtt: Option<Duration>,
    /// Smoothed time between blocks while some are outstanding.
    interval: Option<Duration>,
    /// When the peer last made progress: a block came, or the first request went out.
    progress: Instant,
    /// Silent since it was asked; grows with each probe it does not answer either.
    snubs: u32,
    /// Rejects since the last block, those of a choke left out.
    rejects: u32,
    /// Blocks it was asked for and kept back.
    debts: u32,
    /// Blocks that came since the last change of `debts`.
    repaid: u32,
    /// The piece it gets blocks of.
    pub(crate) working: Option<PieceIndex>,
    /// Pieces it rejected requests for, since it unchoked us.
    pub(crate) refused: Vec<PieceIndex>,
    /// When it rejected the last of them.
    refused_at: Instant,
    /// There was nothing to ask it for at this epoch of the picker.
    pub(crate) idle_epoch: u64,
    /// When it may be asked for copies again: looking for them is not free.
    copies_at: Instant,
}

impl Requests {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            outstanding: VecDeque::new(),
            forgiven: VecDeque::new(),
            window: WINDOW_START,
            slow_start: true,
            reqq: REQQ_DEFAULT,
            rate: Rate::new(now),
            last_rate: 0,
            rtt: None,
            interval: None,
            progress: now,
            snubs: 0,
            rejects: 0,
            debts: 0,
            repaid: 0,
            working: None,
            refused: Vec::new(),
            refused_at: now,
            idle_epoch: 0,
            copies_at: now,
        }
    }

    /// How many requests to send. 0 while the window is full enough.
    pub(crate) fn room(&self, share: usize) -> usize {
        let window = self.window(share);
        let low = window - window.div_ceil(4).min(REFILL_MAX).min(window);
        if self.outstanding.len() <= low { window - self.outstanding.len().min(window) } else { 0 }
    }

    /// How many requests the peer should have; `share` is how many blocks the memory for pieces allows it.
    pub(crate) fn window(&self, share: usize) -> usize {
        if self.is_snubbed() { 1 } else { self.window.min(share.max(WINDOW_MIN)) }
    }

    /// Requests were sent.
    pub(crate) fn asked(&mut self, blocks: &[Block], now: Instant) {
        if self.outstanding.is_empty() {
            self.progress = now;
        }
        self.outstanding.extend(blocks.iter().map(|block| Pending { block: *block, sent: now }));
    }

    /// A block came: whether it was asked for.
    pub(crate) fn arrived(&mut self, block: Block, now: Instant) -> Asked {
        let Some(at) = self.outstanding.iter().position(|pending| pending.block == block) else {
            let once = self.forgiven.iter().position(|forgiven| *forgiven == block);
            if let Some(at) = once {
                self.forgiven.remove(at);
                self.delivered(block, now);
                // It was only late.
                self.debts = self.debts.saturating_sub(1);
                return Asked::Once;
            }
            return Asked::Never;
        };
        if let Some(pending) = self.outstanding.remove(at) {
            let took = now.saturating_duration_since(pending.sent);
            self.rtt = Some(self.rtt.map_or(took, |rtt| rtt.min(took)));
            if self.slow_start && self.queued(took) < QUEUE_BYTES {
                self.window = (self.window + 1).min(self.reqq.min(WINDOW_MAX));
            }
        }
        self.delivered(block, now);
        Asked::Yes
    }

    /// Bytes of the window that wait at the peer rather than travel: the share of a block's time beyond the round trip.
    fn queued(&self, took: Duration) -> u64 {
        let window = self.window as u64 * u64::from(BLOCK_LENGTH);
        let waited = took.saturating_sub(self.rtt.unwrap_or_default());
        let share = waited.as_secs_f64() / took.as_secs_f64().max(1e-6);
        (window as f64 * share) as u64
    }

    fn delivered(&mut self, block: Block, now: Instant) {
        self.rate.add(u64::from(block.length()), now);
        let waited = now.saturating_duration_since(self.progress);
        self.interval = Some(self.interval.map_or(waited, |interval| (interval * 7 + waited) / 8));
        self.progress = now;
        (self.snubs, self.rejects) = (0, 0);
        self.repaid += 1;
        if self.repaid == BLOCKS_PER_DEBT {
            (self.repaid, self.debts) = (0, self.debts.saturating_sub(1));
        }
    }

    /// Takes a request back because another peer answers it or is to; one that is late by now should have. Whether there
    /// was one.
    pub(crate) fn take_back(&mut self, block: Block, now: Instant) -> bool {
        let is_late = Trust::Stalled <= self.trust(now);
        let was_asked = self.forgive(block);
        self.owe(usize::from(was_asked && is_late));
        was_asked
    }

    /// Whether it keeps back what it is asked for, more than once by misfortune.
    pub(crate) fn is_defaulter(&self) -> bool {
        DEBTS_TOLERATED <= self.debts
    }

    fn owe(&mut self, blocks: usize) {
        self.debts = DEBTS_MAX.min(self.debts.saturating_add(u32::try_from(blocks).unwrap_or(DEBTS_MAX)));
    }

    /// How far one can count on it.
    pub(crate) fn trust(&self, now: Instant) -> Trust {
        match self {
            _ if self.is_snubbed() => Trust::Snubbing,
            _ if self.is_stalled(now) => Trust::Stalled,
            _ if self.is_defaulter() => Trust::Little,
            _ => Trust::Full,
        }
    }

    /// Takes a request back, whose answer may be on its way. Whether there was one.
    pub(crate) fn forgive(&mut self, block: Block) -> bool {
        let Some(at) = self.outstanding.iter().position(|pending| pending.block == block) else {
            return false;
        };
        self.outstanding.remove(at);
        self.remember(block);
        true
    }

    /// Takes all requests back that `which` names, in the order in which they were sent.
    pub(crate) fn forgive_where(&mut self, which: impl Fn(Block) -> bool) -> Vec<Block> {
        let mut taken = Vec::new();
        self.outstanding.retain(|pending| {
            let take = which(pending.block);
            if take {
                taken.push(pending.block);
            }
            !take
        });
        taken.iter().for_each(|block| self.remember(*block));
        taken
    }

    fn remember(&mut self, block: Block) {
        if FORGIVEN_MAX <= self.forgiven.len() {
            self.forgiven.pop_front();
        }
        self.forgiven.push_back(block);
    }

    /// The peer rejected a request (BEP 6): whether it was outstanding.
    pub(crate) fn rejected(&mut self, block: Block) -> Asked {
        if let Some(at) = self.outstanding.iter().position(|pending| pending.block == block) {
            self.outstanding.remove(at);
            return Asked::Yes;
        }
        let Some(at) = self.forgiven.iter().position(|forgiven| *forgiven == block) else {
            return Asked::Never;
        };
        self.forgiven.remove(at);
        Asked::Once
    }

    /// The peer rejected a request although it does not choke us: it keeps fewer than it said, or will not give this
    /// piece.
    pub(crate) fn refuse(&mut self, piece: PieceIndex, now: Instant) {
        self.refused_at = now;
        self.rejects += 1;
        self.slow_start = false;
        self.window = self.window.min(self.outstanding.len().max(WINDOW_MIN));
        if !self.refused.contains(&piece) && self.refused.len() < REFUSED_MAX {
            self.refused.push(piece);
        }
    }

    /// Rejects since the last block, those of a choke left out.
    pub(crate) fn rejects(&self) -> u32 {
        self.rejects
    }

    /// What the peer says it keeps.
    pub(crate) fn set_reqq(&mut self, reqq: u32) {
        self.reqq = (reqq as usize).clamp(1, WINDOW_MAX);
        self.window = self.window.min(self.reqq);
    }

    /// Once a second: the window follows the rate.
    pub(crate) fn adjust(&mut self, now: Instant) {
        let rate = self.rate.per_second(now);
        if self.slow_start && (rate < self.last_rate + self.last_rate / 8 || self.snubs != 0) && 0 < rate {
            self.slow_start = false;
        }
        if !self.slow_start && 0 < rate {
            let queue = Duration::from_millis((QUEUE_BYTES * 1000 / rate).min(u64::from(u32::MAX)));
            let ahead = self.rtt.unwrap_or_default() + queue.clamp(QUEUE_MIN, QUEUE_MAX);
            let bytes = u128::from(rate) * ahead.as_millis() / 1000;
            let blocks = usize::try_from(bytes / u128::from(BLOCK_LENGTH)).unwrap_or(WINDOW_MAX) + 1;
            self.window = blocks.clamp(WINDOW_MIN, WINDOW_MAX).min(self.reqq);
        }
        self.last_rate = rate;
        // A peer may reject what it is too busy for, and be the only one that has it.
        if !self.refused.is_empty() && REFUSED_FOR <= now.saturating_duration_since(self.refused_at) {
            self.refused.clear();
            self.idle_epoch = 0;
        }
    }

    /// Whether nothing came for so long that the peer counts as stalled. True once for each silence.
    pub(crate) fn went_silent(&mut self, now: Instant) -> bool {
        let silent =
            !self.outstanding.is_empty() && self.snub_after() <= now.saturating_duration_since(self.progress);
        if silent {
            self.snubs += 1;
            self.owe(self.outstanding.len());
            self.slow_start = true;
            self.window = WINDOW_MIN;
        }
        silent
    }

    fn snub_after(&self) -> Duration {
        let expected = self.interval.unwrap_or_default() * 4 + self.rtt.unwrap_or_default() * 2;
        expected.clamp(SNUB_MIN, SNUB_MAX).saturating_mul(1 << self.snubs.min(4)).min(SNUB_MAX)
    }

    /// Requests the peer must have overlooked: it answers others.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Block> {
        let expected = self.interval.unwrap_or_default() * (3 * self.outstanding.len() as u32);
        let limit = expected + self.rtt.unwrap_or_default() * 4 + OVERDUE_MIN;
        // The front is the oldest.
        let late =
            self.outstanding.iter().take_while(|p| limit <= now.saturating_duration_since(p.sent)).count();
        let late: Vec<Block> = self.outstanding.drain(..late).map(|pending| pending.block).collect();
        late.iter().for_each(|block| self.remember(*block));
        self.owe(late.len());
        late
    }

    /// Whether the peer stopped answering.
    pub(crate) fn is_snubbed(&self) -> bool {
        self.snubs != 0
    }

    /// Whether the peer is behind what it did before, or has shown nothing yet: sooner than snubbed, for the end game.
    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        let patience =
            self.interval.unwrap_or_default() * 4 + self.rtt.unwrap_or_default() + Duration::from_secs(1);
        self.is_snubbed()
            || !self.outstanding.is_empty() && patience < now.saturating_duration_since(self.progress)
    }

    /// How long one more block would take: what is outstanding, at the rate of late. `None`: unknown.
    pub(crate) fn drain_time(&self, now: Instant) -> Option<Duration> {
        let rate = self.rate.per_second(now);
        if rate == 0 {
            return None;
        }
        let bytes = (self.outstanding.len() as u64 + 1) * u64::from(BLOCK_LENGTH);
        let silence = now.saturating_duration_since(self.progress);
        Some(Duration::from_micros(bytes * 1_000_000 / rate) + self.rtt.unwrap_or_default().max(silence / 2))
    }

    /// Whether a whole piece of this length would come from the peer within a short time.
    pub(crate) fn is_fast(&self, piece_length: u32, now: Instant) -> bool {
        u64::from(piece_length) <= self.rate.per_second(now).saturating_mul(WHOLE_PIECE_SECONDS)
    }

    /// Whether the peer is about to run dry, so that blocks others were asked for may be asked of it too.
    pub(crate) fn may_copy(&mut self, now: Instant) -> bool {
        let may = self.copies_at <= now && self.outstanding.len() * 4 <= self.window;
        if may {
            self.copies_at = now + COPY_PAUSE;
        }
        may
    }

    pub(crate) fn outstanding(&self) -> impl DoubleEndedIterator<Item = Block> + '_ {
        self.outstanding.iter().map(|pending| pending.block)
    }

    pub(crate) fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// A new chance: the peer unchoked us.
    pub(crate) fn unchoked(&mut self, now: Instant) {
        self.refused.clear();
        self.idle_epoch = 0;
        self.progress = now;
        self.slow_start = true;
        self.window = self.window.clamp(WINDOW_MIN, WINDOW_START.max(self.window / 2)).min(self.reqq);
    }
}

/// Between two looks for copies for the same peer.
const COPY_PAUSE: Duration = Duration::from_millis(50);
/// A peer that sends a piece in this time gets whole pieces (one culprit if it is bad, one reader if its disk is slow).
const WHOLE_PIECE_SECONDS: u64 = 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ferri_metainfo::Layout;

    use super::*;

    const ALL: usize = usize::MAX;

    fn block(n: u32) -> Block {
        let layout = Layout::single(16 << 20, 64 << 20).unwrap();
        layout.nth_block(layout.piece(n / 1024).unwrap(), n % 1024).unwrap()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A peer with a round trip of 100 ms that sends a block each `interval`; returns its requests after a minute.
    fn run(interval: Duration, seconds: u64, reqq: u32) -> (Requests, Instant) {
        let start = Instant::now();
        let mut requests = Requests::new(start);
        requests.set_reqq(reqq);
        let (mut now, mut next, mut second) = (start, 0, start);
        // The peer was idle before.
        let mut free_at = start.checked_sub(interval).unwrap();
        while now < start + Duration::from_secs(seconds) {
            let room = requests.room(ALL);
            let blocks: Vec<_> = (next..next + room as u32).map(|n| block(n % 4096)).collect();
            next += room as u32;
            requests.asked(&blocks, now);
            let first = requests.outstanding.front().unwrap();
            free_at = (first.sent + ms(100)).max(free_at + interval);
            now = free_at;
            let front = first.block;
            assert_eq!(requests.arrived(front, now), Asked::Yes);
            while second + ms(1000) <= now {
                second += ms(1000);
                requests.adjust(now);
            }
        }
        (requests, now)
    }

    #[test]
    fn the_window_is_rate_times_round_trip_and_queue() {
        // 256 KiB/s: two seconds and a round trip of 100 ms are 34 blocks.
        let (requests, _) = run(Duration::from_micros(62_500), 60, 2000);
        assert!((31..=37).contains(&requests.window(ALL)), "{}", requests.window(ALL));
        // 1 MiB/s: a queue of half a MiB and a round trip are 39 blocks.
        let (requests, _) = run(Duration::from_micros(15_625), 60, 2000);
        assert!((36..=42).contains(&requests.window(ALL)), "{}", requests.window(ALL));
        // 64 MiB/s: the same queue and a round trip are 442 blocks.
        let (requests, _) = run(Duration::from_micros(244), 20, 2000);
        assert!((425..=520).contains(&requests.window(ALL)), "{}", requests.window(ALL));
        // 2 KiB/s.
        let (requests, _) = run(Duration::from_secs(8), 600, 2000);
        assert_eq!(requests.window(ALL), 2);
    }

    #[test]
    fn the_window_obeys_reqq_and_memory() {
        let (requests, _) = run(Duration::from_micros(244), 20, 64);
        assert_eq!(requests.window(ALL), 64);
        assert_eq!(requests.window(10), 10);
        assert_eq!(requests.window(0), WINDOW_MIN);
    }

    #[test]
    fn refills_come_in_batches() {
        let mut requests = Requests::new(Instant::now());
        requests.window = 100;
        let now = Instant::now();
        requests.asked(&(0..100).map(block).collect::<Vec<_>>(), now);
        let mut rooms = Vec::new();
        requests.slow_start = false;
        for n in 0..30 {
            requests.arrived(block(n), now);
            rooms.push(requests.room(ALL));
        }
        assert!(rooms[..15].iter().all(|room| *room == 0), "{rooms:?}");
        assert_eq!(rooms[15], 16);
    }

    #[test]
    fn a_peer_that_sends_nothing_is_snubbing_after_five_seconds_and_gets_one_request() {
        let start = Instant::now();
        let mut requests = Requests::new(start);
        requests.asked(&[block(0), block(1)], start);
        assert!(!requests.went_silent(start + ms(4_999)));
        assert!(requests.is_stalled(start + ms(1_001)));
        assert!(requests.went_silent(start + ms(5_000)));
        assert_eq!(requests.forgive_where(|_| true), [block(0), block(1)]);
        assert_eq!(requests.room(ALL), 1);
        requests.asked(&[block(2)], start + ms(5_000));
        assert!(!requests.went_silent(start + ms(14_999)));
        assert!(requests.went_silent(start + ms(15_000)));
        // It comes back.
        assert_eq!(requests.arrived(block(0), start + ms(16_000)), Asked::Once);
        assert!(!requests.is_snubbed());
    }

    #[test]
    fn a_slow_peer_is_given_its_time() {
        let (mut requests, now) = run(Duration::from_secs(4), 200, 2000);
        assert!(!requests.went_silent(now + ms(12_000)));
        assert!(requests.went_silent(now + ms(17_000)));
    }

    #[test]
    fn a_block_that_is_skipped_is_overdue() {
        let start = Instant::now();
        let mut requests = Requests::new(start);
        requests.asked(&[block(0), block(1)], start);
        assert_eq!(requests.arrived(block(1), start + ms(100)), Asked::Yes);
        assert_eq!(requests.overdue(start + ms(8_000)), []);
        assert_eq!(requests.overdue(start + ms(9_000)), [block(0)]);
        assert_eq!(requests.arrived(block(0), start + ms(9_500)), Asked::Once);
        assert_eq!(requests.arrived(block(0), start + ms(9_500)), Asked::Never);
    }

    #[test]
    fn who_keeps_blocks_back_is_trusted_less_until_it_has_made_up_for_it() {
        let start = Instant::now();
        let mut requests = Requests::new(start);
        let all: Vec<Block> = (0..100).map(block).collect();
        requests.asked(&all[..10], start);
        assert_eq!(requests.arrived(block(0), start + ms(10)), Asked::Yes);
        assert_eq!(requests.trust(start + ms(900)), Trust::Full);
        let later = start + ms(1_200);
        assert_eq!(requests.trust(later), Trust::Stalled);
        // Others get what it is late with; what they had got in time would be no fault of it.
        assert!((1..4).all(|n| requests.take_back(block(n), later)));
        assert!(requests.is_defaulter());
        assert!((4..9).all(|n| requests.forgive(block(n))));
        assert_eq!(requests.arrived(block(9), later), Asked::Yes);
        assert_eq!(requests.trust(later), Trust::Little);
        // What comes late all the same counts for it, and so do four that come in time.
        assert_eq!(requests.arrived(block(1), later), Asked::Once);
        assert_eq!(requests.trust(later), Trust::Full);
        let mut requests = Requests::new(start);
        requests.asked(&all[..3], start);
        assert!(requests.went_silent(start + ms(5_000)));
        let taken = requests.forgive_where(|_| true);
        assert_eq!((taken.len(), requests.trust(start + ms(5_000))), (3, Trust::Snubbing));
        requests.asked(&all[10..14], start + ms(5_000));
        (10..14).for_each(|n| assert_eq!(requests.arrived(block(n), start + ms(5_010)), Asked::Yes));
        assert_eq!(requests.trust(start + ms(5_010)), Trust::Full);
    }

    #[test]
    fn rejects_shrink_the_window_and_are_told_from_inventions() {
        let now = Instant::now();
        let mut requests = Requests::new(now);
        requests.asked(&(0..4).map(block).collect::<Vec<_>>(), now);
        assert_eq!(requests.rejected(block(3)), Asked::Yes);
        requests.refuse(block(3).piece(), Instant::now());
        assert_eq!((requests.window(ALL), requests.rejects()), (3, 1));
        assert!(requests.forgive(block(0)));
        assert_eq!(requests.rejected(block(0)), Asked::Once);
        assert_eq!(requests.rejected(block(0)), Asked::Never);
    }
}
