//! What goes to the peer: bytes until they are acknowledged, and the packets that carry them.
//!
//! A packet is a range of the stream, so nothing is copied to send it again. A packet's number is its place in a ring.
//! Each time that a packet is sent it gets the next number of a second row, its *turn*, as in QUIC: of two packets, the
//! one with the higher turn was sent later, whatever the order of their bytes (RFC 9002).

use std::collections::VecDeque;

use crate::packet::SelectiveAck;
use crate::receive::{AHEAD_MAX, reserve};
use crate::rtt::Rtt;
use crate::seq::Seq;
use crate::time::Time;

/// A packet is lost when one that was sent so many turns later has arrived (BEP 29).
const TURNS_MIN: u64 = 3;
/// The same on a path that was seen to change the order.
const TURNS_MAX: u64 = 64;
/// A peer that acknowledges again what it acknowledged this long ago sent it then; before that it is made up.
const STALE_MAX: u16 = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    UnderWay,
    Arrived,
    /// It has to be sent again.
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Where in the stream it begins.
    begin: u64,
    length: u16,
    fate: Fate,
    is_probe: bool,
    was_resent: bool,
    at: Time,
    turn: u64,
}

/// A packet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) seq: Seq,
    begin: u64,
    pub(crate) length: u16,
    /// Longer than others, and not to be fragmented.
    pub(crate) is_probe: bool,
    pub(crate) is_end: bool,
}

/// What a packet may be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// Bytes that the network may hold.
    pub(crate) congestion_window: u32,
    /// Bytes that the peer has room for.
    pub(crate) peer_window: u32,
    /// Bytes of the stream in a full packet.
    pub(crate) full: u16,
    /// Those in a probe of the path's MTU, if one is due.
    pub(crate) probe: Option<u16>,
    /// A packet is sent although the peer has no room: it may have told us otherwise in vain.
    pub(crate) in_spite_of_window: bool,
}

/// What an acknowledgement told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Bytes, headers left out. A packet without any counts as one.
    pub(crate) bytes: u32,
    /// Packets.
    pub(crate) packets: u32,
    /// Bytes that were under way before.
    pub(crate) in_flight_before: u32,
    /// When the one sent last of those that were sent once was sent.
    pub(crate) sent_at: Option<Time>,
    /// The bytes of a probe that arrived.
    pub(crate) probe: Option<u16>,
    /// What counted as lost was only late.
    pub(crate) was_late: bool,
}

/// What turned out to be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Packets, probes of the path's MTU left out.
    pub(crate) packets: u32,
    /// The latest turn among them.
    pub(crate) turn: u64,
    /// The bytes of a lost probe.
    pub(crate) probe: Option<u16>,
    /// When to look again.
    pub(crate) look_at: Option<Time>,
}

/// The sending half of a stream.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    /// From the first byte that is not acknowledged on.
    bytes: VecDeque<u8>,
    /// Where in the stream `bytes` begins.
    begin: u64,
    /// Where in the stream the bytes begin that are in no packet.
    fresh: u64,
    packets: VecDeque<Sent>,
    /// The number of the first of `packets`, or of the next one if there is none.
    first: Seq,
    /// Bytes under way.
    in_flight: u32,
    /// Packets that have to be sent again.
    lost: u32,
    turn: u64,
    /// The latest turn that arrived.
    arrived_turn: u64,
    /// How many turns a packet may be late.
    turns: u64,
    /// A packet that was not full, and is not acknowledged as far as we know.
    small: Option<Seq>,
    end: End,
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Nothing follows what was written.
    Wanted,
    /// The last of the packets says so.
    Sent,
}

impl SendBuffer {
    /// `first` is the number of the first packet.
    pub(crate) fn new(first: Seq, limit: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            begin: 0,
            fresh: 0,
            packets: VecDeque::new(),
            first,
            in_flight: 0,
            lost: 0,
            turn: 0,
            arrived_turn: 0,
            turns: TURNS_MIN,
            small: None,
            end: End::Open,
            limit,
        }
    }

    /// Takes what there is room for; how much.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        if self.end != End::Open {
            return 0;
        }
        let count = bytes.len().min(self.room());
        reserve(&mut self.bytes, count, self.limit);
        self.bytes.extend(&bytes[..count]);
        count
    }

    /// Bytes that there is room for.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// Whether there is nothing that the peer lacks, the end left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nothing will be written any more.
    pub(crate) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Wanted;
        }
    }

    /// Whether the peer has everything, and knows that it is everything.
    pub(crate) fn is_done(&self) -> bool {
        self.end == End::Sent && self.packets.is_empty()
    }

    /// Whether the peer has everything, and may not know that it is everything.
    pub(crate) fn is_all_but_done(&self) -> bool {
        self.end == End::Sent && self.bytes.is_empty()
    }

    /// Whether anything was sent and not acknowledged.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.packets.is_empty()
    }

    /// Whether there is something that no packet carries yet.
    pub(crate) fn has_fresh(&self) -> bool {
        self.unsent() != 0 || self.end == End::Wanted
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// The number that the next new packet will have.
    pub(crate) fn next_seq(&self) -> Seq {
        self.first.plus(self.packets.len() as u16)
    }

    /// Whether a packet that acknowledges `ack` can be an answer to what we sent.
    pub(crate) fn is_plausible(&self, ack: Seq) -> bool {
        usize::from(ack.plus(1).since(self.first)) <= self.packets.len()
            || (ack.is_before(self.first) && self.first.since(ack) <= STALE_MAX)
    }

    /// Whether a reset that names `ack` answers something that we sent and that is not acknowledged. A SYN has the number
    /// before the first packet, and a packet without data that of the next one.
    pub(crate) fn is_answer(&self, ack: Seq) -> bool {
        usize::from(ack.plus(1).since(self.first)) <= self.packets.len() + 1
    }

    /// Gives memory back that a quiet connection does not need.
    pub(crate) fn rest(&mut self) {
        if self.bytes.is_empty() && self.packets.is_empty() {
            self.bytes = VecDeque::new();
            self.packets = VecDeque::new();
        }
    }

    fn unsent(&self) -> usize {
        (self.begin + self.bytes.len() as u64 - self.fresh) as usize
    }

    /// The packet that may be sent now.
    pub(crate) fn next(&self, allowed: Allowance) -> Option<Next> {
        let fits = |length: u16| {
            self.in_flight == 0 || self.in_flight + u32::from(length) <= allowed.congestion_window
        };
        if self.lost != 0 {
            let at = self.packets.iter().position(|packet| packet.fate == Fate::Lost)?;
            let packet = self.packets[at];
            return fits(packet.length).then(|| self.packet(at, packet.begin, packet.length));
        }
        if AHEAD_MAX <= self.packets.len() {
            return None;
        }
        let unsent = self.unsent();
        if unsent == 0 {
            // The end needs no window.
            return (self.end == End::Wanted).then(|| self.packet(self.packets.len(), self.fresh, 0));
        }
        let room = allowed.peer_window.saturating_sub(self.in_flight);
        if let Some(probe) = allowed.probe.filter(|probe| usize::from(*probe) <= unsent && fits(*probe))
            && u32::from(probe) <= room
        {
            let next = self.packet(self.packets.len(), self.fresh, probe);
            return Some(Next { is_probe: true, ..next });
        }
        let mut length = unsent.min(usize::from(allowed.full)) as u16;
        if room < u32::from(length) {
            if self.in_flight != 0 || (room == 0 && !allowed.in_spite_of_window) {
                return None;
            }
            length = length.min((room as u16).max(1));
        } else if length < allowed.full && self.end == End::Open && self.small_is_under_way() {
            // Small writes wait for each other, so that they go in few packets (Nagle, as Minshall mended it).
            return None;
        }
        fits(length).then(|| self.packet(self.packets.len(), self.fresh, length))
    }

    fn small_is_under_way(&self) -> bool {
        self.small.is_some_and(|small| !small.is_before(self.first))
    }

    fn packet(&self, at: usize, begin: u64, length: u16) -> Next {
        let is_end = length == 0;
        Next { seq: self.first.plus(at as u16), begin, length, is_probe: false, is_end }
    }

    /// The bytes of a packet.
    pub(crate) fn copy(&self, next: Next, out: &mut Vec<u8>) {
        let begin = (next.begin - self.begin) as usize;
        let end = begin + usize::from(next.length);
        let (front, back) = self.bytes.as_slices();
        out.extend_from_slice(&front[begin.min(front.len())..end.min(front.len())]);
        out.extend_from_slice(&back[begin.saturating_sub(front.len())..end.saturating_sub(front.len())]);
    }

    /// It was sent.
    pub(crate) fn sent(&mut self, next: Next, full: u16, now: Time) {
        let at = usize::from(next.seq.since(self.first));
        self.turn += 1;
        self.in_flight += weight(next.length);
        let turn = self.turn;
        let fate = Fate::UnderWay;
        if let Some(packet) = self.packets.get_mut(at) {
            self.lost -= u32::from(packet.fate == Fate::Lost);
            *packet = Sent { fate, is_probe: false, was_resent: true, at: now, turn, ..*packet };
            return;
        }
        let Next { begin, length, is_probe, .. } = next;
        self.packets.push_back(Sent { begin, length, fate, is_probe, was_resent: false, at: now, turn });
        self.fresh += u64::from(length);
        if next.is_end {
            self.end = End::Sent;
        } else if length < full {
            self.small = Some(next.seq);
        }
    }

    /// The peer has everything up to `ack`, and the packets of `selective`.
    pub(crate) fn acknowledge(
        &mut self,
        ack: Seq,
        selective: Option<SelectiveAck<'_>>,
        rtt: &Rtt,
        now: Time,
    ) -> Acked {
        let mut acked = Acked { in_flight_before: self.in_flight, ..Acked::default() };
        let count = usize::from(ack.plus(1).since(self.first));
        if self.packets.len() < count {
            // An old packet, overtaken by others.
            return acked;
        }
        for at in 0..count {
            self.arrived(at, rtt, now, &mut acked);
        }
        if 0 < count {
            self.first = self.first.plus(count as u16);
            self.packets.drain(..count);
            let begin = self.packets.front().map_or(self.fresh, |packet| packet.begin);
            self.bytes.drain(..(begin - self.begin) as usize);
            self.begin = begin;
        }
        for offset in selective.into_iter().flat_map(SelectiveAck::offsets) {
            // The first of the packets is `ack + 1`.
            let at = usize::from(offset - 1);
            if self.packets.len() <= at {
                break;
            }
            self.arrived(at, rtt, now, &mut acked);
        }
        acked
    }

    fn arrived(&mut self, at: usize, rtt: &Rtt, now: Time, acked: &mut Acked) {
        let packet = &mut self.packets[at];
        match packet.fate {
            Fate::Arrived => return,
            Fate::UnderWay => self.in_flight -= weight(packet.length),
            Fate::Lost => self.lost -= 1,
        }
        // The answer to a packet sent again cannot come before a round trip is over: it is one to the first copy.
        let is_late = packet.fate == Fate::Lost
            || (packet.was_resent && now.since(packet.at) < rtt.min().saturating_sub(rtt.min() / 8));
        packet.fate = Fate::Arrived;
        acked.bytes += weight(packet.length);
        acked.packets += 1;
        if packet.is_probe {
            acked.probe = Some(packet.length);
        }
        if !packet.was_resent {
            acked.sent_at = acked.sent_at.max(Some(packet.at));
        }
        if is_late {
            acked.was_late = true;
            self.turns = (2 * self.turns).min(TURNS_MAX);
        } else {
            self.arrived_turn = self.arrived_turn.max(packet.turn);
        }
    }

    /// Finds out which packets are lost, when others arrived that were sent after them.
    pub(crate) fn detect_losses(&mut self, rtt: &Rtt, now: Time) -> Losses {
        let mut losses = Losses::default();
        if self.in_flight == 0 {
            return losses;
        }
        let late = rtt.reorder_time();
        for packet in self.packets.iter_mut() {
            if self.arrived_turn < packet.turn && !packet.was_resent {
                // All behind it were sent even later.
                break;
            }
            if packet.fate != Fate::UnderWay || self.arrived_turn <= packet.turn {
                continue;
            }
            let gone_at = packet.at.plus(late);
            if packet.turn + self.turns <= self.arrived_turn || gone_at <= now {
                lose(packet, &mut self.in_flight, &mut self.lost, &mut losses);
            } else {
                losses.look_at = Some(losses.look_at.map_or(gone_at, |earlier: Time| earlier.min(gone_at)));
            }
        }
        losses
    }

    /// The peer says for the third time that it still waits for the first packet, and nothing of those after it: it does
    /// not know selective acknowledgements.
    pub(crate) fn lose_first(&mut self) -> Losses {
        let mut losses = Losses::default();
        if let Some(packet) = self.packets.front_mut().filter(|packet| packet.fate == Fate::UnderWay) {
            lose(packet, &mut self.in_flight, &mut self.lost, &mut losses);
        }
        losses
    }

    /// Nothing came for long: all that is under way is lost.
    pub(crate) fn lose_all(&mut self) -> Losses {
        let mut losses = Losses::default();
        for packet in self.packets.iter_mut().filter(|packet| packet.fate == Fate::UnderWay) {
            lose(packet, &mut self.in_flight, &mut self.lost, &mut losses);
        }
        losses
    }

    /// The last packet is to be sent again, so that the answer tells which ones are missing.
    pub(crate) fn lose_last(&mut self) -> Losses {
        let mut losses = Losses::default();
        if let Some(packet) = self.packets.iter_mut().rfind(|packet| packet.fate == Fate::UnderWay) {
            lose(packet, &mut self.in_flight, &mut self.lost, &mut losses);
        }
        losses
    }
}

/// Bytes that count as under way. The end of the stream has none, but is to be noticed.
fn weight(length: u16) -> u32 {
    u32::from(length.max(1))
}

fn lose(packet: &mut Sent, in_flight: &mut u32, lost: &mut u32, losses: &mut Losses) {
    packet.fate = Fate::Lost;
    *in_flight -= weight(packet.length);
    *lost += 1;
    if packet.is_probe {
        losses.probe = Some(packet.length);
        packet.is_probe = false;
    } else {
        losses.packets += 1;
        losses.turn = losses.turn.max(packet.turn);
    }
}
