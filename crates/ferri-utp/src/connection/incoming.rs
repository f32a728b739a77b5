//! What packets do to a connection.

use super::{ACK_DELAY, ACK_PACKETS, Attempts, Connection, State};
use crate::ledbat::Arrived;
use crate::output::CloseReason;
use crate::packet::{HEADER_LEN, Kind, Packet};
use crate::pool::Pool;
use crate::receive::Arrival;
use crate::time::Time;

/// BEP 29: an acknowledgement repeated so often tells that the packet after it is lost.
const DUPLICATES_MAX: u32 = 3;

impl Connection {
    /// A packet of this connection came.
    pub(crate) fn handle(&mut self, packet: &Packet<'_>, pool: &mut Pool, now: Time) {
        match (self.state, packet.header.kind) {
            (State::Broken(_) | State::Gone, _) => {}
            (_, Kind::Reset) => self.handle_reset(packet),
            // Our answer to it was lost.
            (State::Connected | State::Lingering, Kind::Syn) => self.owed.at = Some(now),
            (State::Connecting, Kind::State) => self.answered(packet, now),
            (State::Connecting, _) => {}
            (State::Connected, _) => self.handle_packet(packet, pool, now),
            (State::Lingering, Kind::State) => {}
            (State::Lingering, _) => self.owed.at = Some(now),
        }
    }

    /// A reset names what it answers. So a stranger has to guess that as well.
    fn handle_reset(&mut self, packet: &Packet<'_>) {
        if self.send.is_answer(packet.header.ack) {
            // A peer that said and has everything need not wait until we know that.
            let is_done = self.receive.has_ended() && self.send.is_all_but_done();
            self.end(if is_done { CloseReason::Finished } else { CloseReason::Reset });
        }
    }

    /// The answer to our SYN. It has the number that the peer's first packet will have.
    fn answered(&mut self, packet: &Packet<'_>, now: Time) {
        if packet.header.ack != self.send.next_seq().minus(1) {
            return;
        }
        if self.attempts.unanswered == 1 {
            self.rtt.add(now.since(self.times.progress));
        }
        self.receive.begin(packet.header.seq);
        self.state = State::Connected;
        self.news.connected = true;
        self.attempts = Attempts::default();
        self.times.progress = now;
        // Until it hears from us again, the peer does not know that we are who we seem to be.
        self.owed.at = Some(now.plus(ACK_DELAY));
        self.heard(packet, now);
        // A window of 0 here means that the peer has not thought about it (libtorrent's SYN has it).
        self.peer.window = packet.header.window.max(u32::from(self.full()));
        self.peer.ack = packet.header.ack;
    }

    fn heard(&mut self, packet: &Packet<'_>, now: Time) {
        self.times.heard = now;
        self.attempts.unanswered = 0;
        self.delays.heard(packet.header.timestamp, now);
    }

    fn handle_packet(&mut self, packet: &Packet<'_>, pool: &mut Pool, now: Time) {
        // What acknowledges what was never sent was made up by a stranger.
        if !self.send.is_plausible(packet.header.ack) {
            return;
        }
        self.heard(packet, now);
        self.handle_ack(packet, now);
        if packet.header.kind != Kind::State {
            self.handle_data(packet, pool, now);
        }
        self.check_end(now);
    }

    fn handle_ack(&mut self, packet: &Packet<'_>, now: Time) {
        let header = &packet.header;
        let is_old = header.ack.is_before(self.peer.ack);
        let is_duplicate = header.kind == Kind::State
            && header.ack == self.peer.ack
            && header.window == self.peer.window
            && packet.selective_ack.is_none()
            && 0 < self.send.in_flight();
        if !is_old {
            self.peer.ack = header.ack;
            self.peer.window = header.window;
        }
        let acked = self.send.acknowledge(header.ack, packet.selective_ack, &self.rtt, now);
        if 0 < acked.packets {
            self.progress(now);
            if let Some(sent_at) = acked.sent_at {
                self.rtt.add(now.since(sent_at));
            }
            if header.timestamp_difference != 0 {
                self.delays.told(header.timestamp_difference, now);
            }
            if let Some(length) = acked.probe {
                self.mtu.arrived(length + HEADER_LEN as u16, now);
            }
            if acked.was_late {
                self.ledbat.was_late();
            }
            let arrived = Arrived {
                bytes: acked.bytes,
                packets: acked.packets,
                in_flight: acked.in_flight_before,
                queue: self.delays.queue(),
                rtt: self.rtt.smoothed(),
                full: self.full(),
            };
            self.ledbat.arrived(arrived, now);
            if self.user.wants_room && 0 < self.send.room() {
                self.user.wants_room = false;
                self.news.writable = true;
            }
        }
        if is_duplicate {
            self.peer.duplicates += 1;
            if self.peer.duplicates == DUPLICATES_MAX {
                let losses = self.send.lose_first();
                self.account(losses, now);
            }
        } else if 0 < acked.packets {
            self.peer.duplicates = 0;
        }
        let losses = self.send.detect_losses(&self.rtt, now);
        self.times.look_at = losses.look_at;
        self.account(losses, now);
    }

    fn progress(&mut self, now: Time) {
        self.times.progress = now;
        self.times.acked = now;
        self.attempts = Attempts::default();
    }

    fn handle_data(&mut self, packet: &Packet<'_>, pool: &mut Pool, now: Time) {
        let is_end = packet.header.kind == Kind::Fin;
        let arrival = self.receive.accept(packet.header.seq, packet.payload, is_end, pool);
        self.owed.packets += 1;
        let due = match arrival {
            Arrival::InOrder { closed_gap: false }
                if self.owed.packets < ACK_PACKETS && !self.receive.has_ended() =>
            {
                now.plus(ACK_DELAY)
            }
            // The peer learns at once what is missing, what is no longer missing, and that there is no room.
            _ => now,
        };
        self.owed.at = Some(self.owed.at.map_or(due, |at| at.min(due)));
        if matches!(arrival, Arrival::InOrder { .. }) && !self.user.knows_readable {
            self.user.knows_readable = true;
            self.news.readable = true;
        }
    }
}
