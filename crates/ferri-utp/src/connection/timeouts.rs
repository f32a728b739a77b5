//! What time does to a connection.

use super::{Connection, LINGER, PEER_END_MAX, State};
use crate::options::Options;
use crate::output::CloseReason;
use crate::send::Losses;
use crate::time::{SECOND, Time, micros};

/// The first pause before a SYN is sent again; it doubles each time.
const SYN_PAUSE: u64 = SECOND;
/// How long a peer may acknowledge nothing when our user left.
const LEFT_MAX: u64 = 60 * SECOND;
/// After so many timeouts the length of the datagrams may be the reason.
const BLACK_HOLE_TIMEOUTS: u32 = 2;

impl Connection {
    /// When [`Connection::timeout`] has something to do, or something can be sent that cannot be sent now.
    pub(crate) fn next_timeout(&self, options: &Options, now: Time) -> Option<Time> {
        // What is owed already leaves as soon as the socket takes it.
        let owed_at = self.owed.at.filter(|at| now < *at);
        match self.state {
            State::Connecting => self.owed.at.is_none().then(|| self.times.progress.plus(self.syn_pause())),
            State::Connected => {
                let times = [owed_at, self.times.look_at, self.probe_at(), self.stalled_at(), self.left_at()];
                let quiet = self.times.said.plus(micros(options.keep_alive));
                let idle = self.times.heard.plus(micros(options.idle_timeout));
                times.into_iter().flatten().chain([quiet, idle]).min()
            }
            State::Lingering => self.times.closed.map(|at| at.plus(LINGER)),
            State::Broken(_) | State::Gone => None,
        }
    }

    fn syn_pause(&self) -> u64 {
        SYN_PAUSE << (self.attempts.unanswered.max(1) - 1).min(10)
    }

    /// When the last packet is sent again.
    fn probe_at(&self) -> Option<Time> {
        let is_due = 0 < self.send.in_flight() && !self.attempts.probed && self.attempts.backoff == 0;
        let after = self.rtt.probe_timeout().filter(|_| is_due)?;
        (after < self.rtt.timeout(0)).then(|| self.times.progress.plus(after))
    }

    /// When everything under way counts as lost, or the peer is asked for room.
    fn stalled_at(&self) -> Option<Time> {
        let is_waiting = self.send.is_waiting() || self.send.has_fresh();
        is_waiting.then(|| self.times.progress.plus(self.rtt.timeout(self.attempts.backoff)))
    }

    /// When a connection whose user left is given up.
    fn left_at(&self) -> Option<Time> {
        let patience = if self.send.is_done() { PEER_END_MAX } else { LEFT_MAX };
        self.times.closed.map(|closed| closed.max(self.times.acked).plus(patience))
    }

    /// Does what is due.
    pub(crate) fn timeout(&mut self, options: &Options, now: Time) {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        match self.state {
            State::Connecting => {
                if self.owed.at.is_none() && is_due(Some(self.times.progress.plus(self.syn_pause()))) {
                    self.syn_timed_out(options, now);
                }
            }
            State::Connected => {
                if now.since(self.times.heard) >= micros(options.idle_timeout) {
                    return self.end(CloseReason::TimedOut);
                }
                if is_due(self.left_at()) {
                    return self.end(CloseReason::TimedOut);
                }
                if is_due(self.times.look_at) {
                    let losses = self.send.detect_losses(&self.rtt, now);
                    self.times.look_at = losses.look_at;
                    self.account(losses, now);
                }
                if is_due(self.stalled_at()) {
                    self.stalled(options, now);
                } else if is_due(self.probe_at()) {
                    self.attempts.probed = true;
                    // It says nothing about congestion.
                    let losses = self.send.lose_last();
                    self.account(Losses { packets: 0, ..losses }, now);
                }
                if now.since(self.times.said) >= micros(options.keep_alive) {
                    self.times.said = now;
                    self.owed.at = Some(now);
                    self.rest();
                }
            }
            State::Lingering => {
                if self.times.closed.is_none_or(|at| LINGER <= now.since(at)) {
                    self.state = State::Gone;
                }
            }
            State::Broken(_) | State::Gone => {}
        }
    }

    fn syn_timed_out(&mut self, options: &Options, now: Time) {
        if options.syn_attempts <= self.attempts.unanswered {
            self.end(CloseReason::NotAnswered);
        } else {
            self.owed.at = Some(now);
        }
    }

    /// No progress for long.
    fn stalled(&mut self, options: &Options, now: Time) {
        self.times.progress = now;
        if !self.send.is_waiting() {
            // The peer has no room, as far as we know.
            self.attempts.probe_window = true;
            self.attempts.backoff += 1;
            return;
        }
        // A peer without room need not answer; `idle_timeout` is its bound.
        if 0 < self.peer.window {
            if options.timeouts_max <= self.attempts.unanswered {
                return self.end(CloseReason::TimedOut);
            }
            self.attempts.unanswered += 1;
        }
        self.attempts.backoff += 1;
        let losses = self.send.lose_all();
        self.account(Losses { packets: 0, ..losses }, now);
        // A probe that was lost alone is no congestion.
        if 0 < losses.packets {
            self.ledbat.timed_out(self.send.turn(), self.full());
        }
        if BLACK_HOLE_TIMEOUTS <= self.attempts.backoff {
            self.mtu.black_hole(now);
        }
    }
}
