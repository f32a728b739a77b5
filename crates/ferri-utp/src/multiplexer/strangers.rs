//! Packets that belong to no connection.
//!
//! The address of a datagram can be forged. So a SYN makes no connection and takes no memory: our first sequence number,
//! which the answer carries, is a keyed hash of where the SYN came from and what it said. A peer that got the answer
//! acknowledges that number with its first packet, which also tells the number of its SYN. Then the hash can be made again,
//! and the connection begins. Until then what leaves is not longer than what came.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::budget::Budget;
use crate::packet::{Header, Kind, Packet};
use crate::random::Secret;
use crate::seq::Seq;
use crate::time::{SECOND, Time};

/// Answers that wait for the socket. More are dropped; SYNs are sent again.
const ANSWERS_MAX: usize = 256;
/// The answer to a SYN is good for this long, and up to twice as long.
const EPOCH: u64 = 60 * SECOND;
/// The first packets after a SYN may change their order: any of so many completes the handshake.
const FIRST_MAX: u16 = 8;

/// A completed handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The peer's first packet after its SYN.
    pub(super) first: Seq,
    /// Our first packet.
    pub(super) ours: Seq,
}

/// What strangers are answered.
#[derive(Debug)]
pub(super) struct Strangers {
    secret: Secret,
    answers: VecDeque<(SocketAddr, Header)>,
    resets: Budget,
}

impl Strangers {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, answers: VecDeque::new(), resets: Budget::new() }
    }

    /// Deals with a packet of no connection. `Some` when it completes a handshake. When it `is_full`, nothing is answered
    /// that would lead to one. `window` is what we would have room for.
    pub(super) fn packet(
        &mut self,
        from: SocketAddr,
        packet: &Packet<'_>,
        is_full: bool,
        window: usize,
        now: Time,
    ) -> Option<Greeting> {
        let header = packet.header;
        match header.kind {
            Kind::Syn if is_full => {}
            Kind::Syn => {
                let seq = self.cookie(from, header.connection_id, header.seq, now.0 / EPOCH);
                self.answer(from, answer_to(header, Kind::State, seq, window, now));
            }
            Kind::Reset => {}
            Kind::Data | Kind::State | Kind::Fin => {
                let greeting = self.greeting(from, header, now);
                if greeting.is_some() {
                    return greeting.filter(|_| !is_full);
                }
                if self.resets.take(now) {
                    self.answer(from, answer_to(header, Kind::Reset, Seq(0), 0, now));
                }
            }
        }
        None
    }

    /// Sends a packet without a connection.
    pub(super) fn answer(&mut self, to: SocketAddr, header: Header) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back((to, header));
        }
    }

    /// Appends the next answer to `out` and says where it goes.
    pub(super) fn next_answer(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, header) = self.answers.pop_front()?;
        header.write(out);
        Some(to)
    }

    /// Whether a packet answers our answer to a SYN.
    fn greeting(&self, from: SocketAddr, header: Header, now: Time) -> Option<Greeting> {
        let ours = header.ack.plus(1);
        let id = header.connection_id.wrapping_sub(1);
        let epoch = now.0 / EPOCH;
        (1..=FIRST_MAX).find_map(|behind| {
            let syn = header.seq.minus(behind);
            let is_ours = |epoch| self.cookie(from, id, syn, epoch) == ours;
            (is_ours(epoch) || (0 < epoch && is_ours(epoch - 1)))
                .then_some(Greeting { first: syn.plus(1), ours })
        })
    }

    fn cookie(&self, from: SocketAddr, id: u16, syn: Seq, epoch: u64) -> Seq {
        Seq(self.secret.hash(("syn", from, id, syn, epoch)) as u16)
    }
}

/// A packet of 20 bytes that answers one which is at least as long.
fn answer_to(header: Header, kind: Kind, seq: Seq, window: usize, now: Time) -> Header {
    Header {
        kind,
        connection_id: header.connection_id,
        timestamp: now.stamp(),
        timestamp_difference: now.stamp().wrapping_sub(header.timestamp),
        window: u32::try_from(window).unwrap_or(u32::MAX),
        seq,
        ack: header.seq,
    }
}
