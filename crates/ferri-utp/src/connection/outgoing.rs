//! Makes packets.

use super::{Connection, State, payload};
use crate::options::Options;
use crate::packet::{HEADER_LEN, Header, Kind};
use crate::send::{Allowance, Next};
use crate::seq::Seq;
use crate::time::Time;

/// Bytes of a selective acknowledgement: 1,024 packets, which is all that the receiver keeps.
const SELECTIVE_ACK_MAX: usize = 128;

/// Datagrams of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) segment: usize,
    pub(crate) dont_fragment: bool,
}

impl Connection {
    /// Appends the datagrams that can be sent now, up to a run. `None` when there are none; otherwise there may be more.
    /// `bits` is scratch space.
    pub(crate) fn transmit(
        &mut self,
        out: &mut Vec<u8>,
        bits: &mut Vec<u8>,
        options: &Options,
        now: Time,
    ) -> Option<Run> {
        let run = match self.state {
            State::Connecting => self.syn(out, now),
            // What is missing is told without data: so data packets have one length.
            State::Connected if self.receive.has_gap() && self.owes(now) => {
                self.acknowledgement(out, bits, now)
            }
            State::Connected => {
                self.data(out, options, now).or_else(|| self.plain_acknowledgement(out, bits, now))
            }
            State::Lingering => self.plain_acknowledgement(out, bits, now),
            State::Broken(_) | State::Gone => None,
        };
        if run.is_some() {
            self.times.said = now;
        }
        run
    }

    /// The SYN, when it is due: `Attempts::unanswered` counts those that were sent.
    fn syn(&mut self, out: &mut Vec<u8>, now: Time) -> Option<Run> {
        if self.owed.at.is_none_or(|at| now < at) {
            return None;
        }
        self.owed.at = None;
        self.attempts.unanswered += 1;
        self.times.progress = now;
        // A SYN has the id that the answer will have.
        let mut header = self.header(Kind::Syn, self.send.next_seq().minus(1), now);
        header.connection_id = self.send_id.wrapping_sub(1);
        header.ack = Seq(0);
        header.write(out);
        Some(Run { segment: HEADER_LEN, dont_fragment: false })
    }

    fn owes(&self, now: Time) -> bool {
        self.owed.at.is_some_and(|at| at <= now)
    }

    fn plain_acknowledgement(&mut self, out: &mut Vec<u8>, bits: &mut Vec<u8>, now: Time) -> Option<Run> {
        if self.owes(now) { self.acknowledgement(out, bits, now) } else { None }
    }

    fn acknowledgement(&mut self, out: &mut Vec<u8>, bits: &mut Vec<u8>, now: Time) -> Option<Run> {
        let header = self.header(Kind::State, self.send.next_seq(), now);
        let before = out.len();
        if self.receive.has_gap() {
            self.receive.selective_ack(SELECTIVE_ACK_MAX, bits);
            header.write_selective(bits, out);
        } else {
            header.write(out);
        }
        self.acknowledged();
        Some(Run { segment: out.len() - before, dont_fragment: false })
    }

    fn acknowledged(&mut self) {
        self.owed.at = None;
        self.owed.packets = 0;
        self.owed.window = self.receive.window();
    }

    /// Packets of the stream, as many as may be sent and have one length.
    fn data(&mut self, out: &mut Vec<u8>, options: &Options, now: Time) -> Option<Run> {
        let mut run: Option<Run> = None;
        for _ in 0..options.run_max.max(1) {
            let Some(next) = self.send.next(self.allowance(now)) else { break };
            let length = HEADER_LEN + usize::from(next.length);
            match run {
                Some(run) if run.segment < length || next.is_probe => break,
                Some(_) => {}
                None => run = Some(Run { segment: length, dont_fragment: next.is_probe }),
            }
            self.write_packet(next, out, now);
            if next.is_probe || run.is_some_and(|run| length < run.segment) {
                break;
            }
        }
        run
    }

    fn allowance(&self, now: Time) -> Allowance {
        Allowance {
            congestion_window: self.ledbat.window(),
            peer_window: self.peer.window,
            full: self.full(),
            probe: self.mtu.probe(now).map(payload),
            in_spite_of_window: self.attempts.probe_window,
        }
    }

    fn write_packet(&mut self, next: Next, out: &mut Vec<u8>, now: Time) {
        if !self.send.is_waiting() {
            self.times.progress = now;
        }
        self.attempts.probe_window = false;
        let kind = if next.is_end { Kind::Fin } else { Kind::Data };
        self.header(kind, next.seq, now).write(out);
        self.send.copy(next, out);
        self.send.sent(next, self.full(), now);
        if next.is_probe {
            self.mtu.sent();
        }
        self.acknowledged();
    }

    fn header(&self, kind: Kind, seq: Seq, now: Time) -> Header {
        Header {
            kind,
            connection_id: self.send_id,
            timestamp: now.stamp(),
            timestamp_difference: self.delays.reply(),
            window: u32::try_from(self.receive.window()).unwrap_or(u32::MAX),
            seq,
            ack: self.receive.ack(),
        }
    }

    /// The packet that breaks the connection off.
    pub(crate) fn reset(&self, now: Time) -> Header {
        self.header(Kind::Reset, self.send.next_seq(), now)
    }
}
