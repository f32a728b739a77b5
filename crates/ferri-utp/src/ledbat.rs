//! How much may be under way: LEDBAT ([RFC 6817]), with what LEDBAT++ and experience changed.
//!
//! The window grows while packets find short queues and shrinks when they wait for longer than a target of 100 ms. So
//! uTP fills a link that is idle, and makes room as soon as other traffic fills the queue. It differs from the RFC:
//!
//! - **It begins with a slow start** that gets slower as the queue gets longer, and ends at three quarters of the
//!   target.
//! - **It shrinks in proportion to itself** when the queue is too long (LEDBAT++), down to half in a round trip. With
//!   the RFC's linear decrease a window that is far too large stays so for a long time.
//! - **It makes a pause now and then** (LEDBAT++) if it never saw a short queue since the last one: in a pause the queue
//!   drains, and all connections see how short the way is. Otherwise a newcomer takes the queue of the others for a part
//!   of the way and adds its own to it. All connections of a machine pause at once, and come back a little smaller.
//! - **It grows slowly for a while after others filled the queue**: TCP halves its window when the queue overflows, and
//!   needs a while to grow again. What it gave up is not ours to take.
//! - **It tells congestion from damage.** A packet that is lost while the queue is short, on a path that lately had a
//!   long one without losing anything, was not lost to a full queue. Then the window shrinks a little and is soon back.
//!   If a packet is lost in a queue shorter than the target, the buffer is small, and half of that queue is the target
//!   for a while: otherwise losses would steer us as they steer TCP, and we would not make room for it.
//!
//! A loss shrinks the window at most once in a round trip.
//!
//! [RFC 6817]: https://www.rfc-editor.org/rfc/rfc6817

use crate::time::{MILLISECOND, SECOND, Time};

/// BEP 29: how long our packets may make others wait.
const TARGET: u64 = 100 * MILLISECOND;
/// In the smallest of buffers. Below this a queue cannot be told from noise.
const TARGET_MIN: u64 = 5 * MILLISECOND;
/// How long a small buffer is remembered.
const SMALL_BUFFER: u64 = 60 * SECOND;
/// A queue so long that was seen without a loss tells that the buffer is large.
const LONG_QUEUE: u64 = 20 * MILLISECOND;
/// How long that is remembered.
const LARGE_BUFFER: u64 = 60 * SECOND;
/// Packets that the window grows by in a round trip when there is no queue.
const GAIN: f64 = 2.0;
/// The same when others use the link: they get what they gave up back before we have taken it.
const GAIN_CONTESTED: f64 = 0.25;
/// A queue that is longer than the target by so much, and stays so for so many round trips although we shrink, is not ours.
const CONTESTED: f64 = 1.25;
const CONTESTED_ROUNDS: u64 = 4;
/// How long that is remembered.
const CONTEST: u64 = 30 * SECOND;
/// Packets to begin with (RFC 3390).
const INITIAL_PACKETS: f64 = 4.0;
/// The window is never smaller: with one packet a delayed acknowledgement would stop us each time.
const MIN_PACKETS: f64 = 2.0;
/// What is left of the window after a loss.
const CONGESTED: f64 = 0.5;
const DAMAGED: f64 = 0.7;
/// More than this part of the packets being lost is congestion, whatever the delays say.
const DAMAGE_MAX: f64 = 0.05;
/// A pause begins when the clock is at a multiple of this, so that all connections of a machine pause at once: most of
/// them share the bottleneck, and it is their own queue that has to drain.
const PAUSE_EVERY: u64 = 15 * SECOND;
/// What is left of the window after a pause. Connections that share a queue do not change each other's part of it while it
/// is as long as all of them want; the part that they give up is divided anew.
const AFTER_PAUSE: f64 = 0.75;
/// How many round trips a pause lasts.
const PAUSE_ROUNDS: u64 = 2;

/// The congestion window, in bytes of the stream.
#[derive(Debug)]
pub(crate) struct Ledbat {
    window: f64,
    /// Slow start goes on up to here.
    threshold: f64,
    /// Losses of packets with an earlier turn were answered already.
    recovery_turn: u64,
    /// The window before the last loss, if it turns out that nothing was lost.
    before: Option<(f64, f64)>,
    buffer: Buffer,
    round: Round,
    pause: Pause,
    contest: Contest,
}

/// What is known of the buffer in front of the bottleneck.
#[derive(Clone, Copy, Debug, Default)]
struct Buffer {
    /// The longest queue of the last minute, and when it was seen.
    longest: Option<(u64, Time)>,
    /// How long the queue was in which a packet was lost, and when.
    full: Option<(u64, Time)>,
}

/// What was lost of the packets of this round trip and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// When it is over and the next one begins.
    ends_at: Time,
    arrived: [u32; 2],
    lost: [u32; 2],
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    /// When the next one is due.
    next_at: Time,
    /// When the one under way ends.
    ends_at: Option<Time>,
    /// The shortest queue since the last one.
    shortest_queue: u64,
}

/// Whether others use the link.
#[derive(Clone, Copy, Debug, Default)]
struct Contest {
    /// Since when the queue is too long.
    long_since: Option<Time>,
    /// When others were noticed last.
    noticed: Option<Time>,
}

/// A packet arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// Bytes that arrived.
    pub(crate) bytes: u32,
    /// Packets that arrived.
    pub(crate) packets: u32,
    /// Bytes that had been under way.
    pub(crate) in_flight: u32,
    /// How long our packets wait, if that is known.
    pub(crate) queue: Option<u64>,
    /// The smoothed round-trip time.
    pub(crate) rtt: u64,
    /// Bytes of the stream in a full packet.
    pub(crate) full: u16,
}

impl Ledbat {
    pub(crate) fn new(full: u16) -> Self {
        Self {
            window: INITIAL_PACKETS * f64::from(full),
            threshold: f64::INFINITY,
            recovery_turn: 0,
            before: None,
            buffer: Buffer::default(),
            round: Round::default(),
            pause: Pause { next_at: Time::default(), ends_at: None, shortest_queue: u64::MAX },
            contest: Contest::default(),
        }
    }

    /// Bytes that may be under way.
    pub(crate) fn window(&self) -> u32 {
        self.window as u32
    }

    /// The delay to aim at, in microseconds.
    fn target(&self, now: Time) -> u64 {
        match self.buffer.full {
            Some((queue, at)) if now.since(at) < SMALL_BUFFER => (queue / 2).clamp(TARGET_MIN, TARGET),
            _ => TARGET,
        }
    }

    /// Packets arrived.
    pub(crate) fn arrived(&mut self, arrived: Arrived, now: Time) {
        self.round.arrived(arrived, now);
        let full = f64::from(arrived.full);
        let Some(queue) = arrived.queue else {
            // A peer that measures nothing is sent to as a TCP would.
            return self.grow(arrived, 0.0, full, now);
        };
        self.buffer.note(queue, now);
        self.pause.shortest_queue = self.pause.shortest_queue.min(queue);
        if self.is_paused(now) {
            return;
        }
        let target = self.target(now);
        let fill = queue as f64 / target as f64;
        self.contest.note(fill, arrived.rtt, now);
        if fill <= 1.0 {
            self.grow(arrived, fill, full, now);
        } else {
            self.threshold = self.threshold.min(self.window);
            self.window -= f64::from(arrived.bytes) * (fill - 1.0).min(0.5);
        }
        self.window = self.window.max(MIN_PACKETS * full);
        self.plan_pause(arrived, target, now);
    }

    /// `fill` is how long the queue is, as a part of the target.
    fn grow(&mut self, arrived: Arrived, fill: f64, full: f64, now: Time) {
        // What was not used proved nothing.
        let slack = if self.is_slow_start() { self.window / 2.0 } else { 2.0 * full };
        if f64::from(arrived.in_flight) + slack < self.window {
            return;
        }
        let bytes = f64::from(arrived.bytes);
        if self.is_slow_start() {
            if 0.75 <= fill {
                self.threshold = self.window;
            } else {
                self.window =
                    (self.window + bytes * (1.0 - fill / 0.75)).min(self.threshold.max(self.window));
            }
        } else {
            let gain = if self.contest.is_on(now) { GAIN_CONTESTED } else { GAIN };
            self.window += gain * (1.0 - fill) * full * bytes / self.window;
        }
    }

    fn is_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// Packets are lost; the last of them was sent at `turn`, and the next one will be sent after `next_turn`.
    pub(crate) fn lost(
        &mut self,
        packets: u32,
        turn: u64,
        next_turn: u64,
        queue: Option<u64>,
        full: u16,
        now: Time,
    ) {
        self.round.lost[0] += packets;
        if turn <= self.recovery_turn {
            return;
        }
        self.recovery_turn = next_turn;
        self.before = Some((self.window, self.threshold));
        let queue = queue.unwrap_or(0);
        let is_short = queue < self.target(now) / 4;
        let is_thin = self.round.loss() < DAMAGE_MAX;
        let longest = self.buffer.longest(now);
        let has_room = LONG_QUEUE <= longest && queue < longest / 2;
        let is_beginning = is_short && self.threshold == f64::INFINITY;
        if is_thin && (has_room || is_beginning) {
            // Slow start goes on after single losses: a queue that overflows loses many at once.
            self.threshold = self.threshold.max(self.window);
            self.window *= DAMAGED;
        } else {
            if (TARGET_MIN..TARGET).contains(&queue) && longest <= queue + queue / 4 {
                self.buffer.full = Some((queue, now));
            }
            self.window *= if is_short && is_thin { DAMAGED } else { CONGESTED };
            self.threshold = self.window;
        }
        self.window = self.window.max(MIN_PACKETS * f64::from(full));
    }

    /// What counted as lost was only late: the window is as it was.
    pub(crate) fn was_late(&mut self) {
        if let Some((window, threshold)) = self.before.take() {
            self.window = self.window.max(window);
            self.threshold = self.threshold.max(threshold);
        }
    }

    /// Nothing arrived for long.
    pub(crate) fn timed_out(&mut self, turn: u64, full: u16) {
        self.before = None;
        self.recovery_turn = turn;
        self.threshold = (self.window / 2.0).max(MIN_PACKETS * f64::from(full));
        self.window = MIN_PACKETS * f64::from(full);
    }

    /// Nothing was sent for a while: the network is no longer as it was, and is not to be hit by all at once.
    pub(crate) fn rested(&mut self, full: u16) {
        let initial = INITIAL_PACKETS * f64::from(full);
        if initial < self.window {
            self.threshold = self.threshold.min(self.window);
            self.window = initial;
        }
    }

    /// Begins a pause when one is due.
    fn plan_pause(&mut self, arrived: Arrived, target: u64, now: Time) {
        if now < self.pause.next_at || self.is_slow_start() {
            return;
        }
        let is_first = self.pause.next_at == Time::default();
        self.pause.next_at = Time((now.0 / PAUSE_EVERY + 1) * PAUSE_EVERY);
        let shortest = std::mem::replace(&mut self.pause.shortest_queue, u64::MAX);
        // A queue that was short all by itself has shown how short the way is.
        if !is_first && target / 8 <= shortest {
            self.pause.ends_at = Some(now.plus(PAUSE_ROUNDS * arrived.rtt));
            self.threshold = AFTER_PAUSE * self.window;
            self.window = MIN_PACKETS * f64::from(arrived.full);
        }
    }

    fn is_paused(&mut self, now: Time) -> bool {
        if self.pause.ends_at.is_some_and(|ends_at| ends_at <= now) {
            self.pause.ends_at = None;
        }
        self.pause.ends_at.is_some()
    }
}

impl Buffer {
    fn note(&mut self, queue: u64, now: Time) {
        if self.longest(now) <= queue {
            self.longest = Some((queue, now));
        }
    }

    fn longest(&self, now: Time) -> u64 {
        self.longest.filter(|(_, at)| now.since(*at) < LARGE_BUFFER).map_or(0, |(queue, _)| queue)
    }
}

impl Contest {
    /// `fill` is how long the queue is, as a part of the target.
    fn note(&mut self, fill: f64, rtt: u64, now: Time) {
        if fill < CONTESTED {
            self.long_since = None;
            return;
        }
        let since = *self.long_since.get_or_insert(now);
        if CONTESTED_ROUNDS * rtt <= now.since(since) {
            self.noticed = Some(now);
        }
    }

    fn is_on(&self, now: Time) -> bool {
        self.noticed.is_some_and(|at| now.since(at) < CONTEST)
    }
}

impl Round {
    fn arrived(&mut self, arrived: Arrived, now: Time) {
        if self.ends_at <= now {
            self.ends_at = now.plus(arrived.rtt);
            self.arrived = [0, self.arrived[0]];
            self.lost = [0, self.lost[0]];
        }
        self.arrived[0] += arrived.packets;
    }

    /// The part of the packets that was lost.
    fn loss(&self) -> f64 {
        let [lost, arrived] = [self.lost, self.arrived].map(|rounds| f64::from(rounds[0] + rounds[1]));
        lost / (lost + arrived).max(1.0)
    }
}
