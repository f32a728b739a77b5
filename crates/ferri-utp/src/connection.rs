//! One stream: the state of both directions, and what its user does with it.
//!
//! `incoming.rs` has what packets do to it, `outgoing.rs` makes packets, `timeouts.rs` has what time does to it.

mod incoming;
mod outgoing;
mod timeouts;

use std::net::SocketAddr;
use std::time::Duration;

use crate::delay::Delays;
use crate::ledbat::Ledbat;
use crate::mtu::PathMtu;
use crate::options::Options;
use crate::output::{CloseReason, ConnectionStatus};
use crate::packet::HEADER_LEN;
use crate::receive::ReceiveBuffer;
use crate::rtt::Rtt;
use crate::send::{Losses, SendBuffer};
use crate::seq::Seq;
use crate::time::{MILLISECOND, SECOND, Time};

/// How long a single packet may wait for its acknowledgement.
const ACK_DELAY: u64 = 20 * MILLISECOND;
/// So many packets are acknowledged at once.
const ACK_PACKETS: u32 = 2;
/// How long a connection that has ended still answers, so that the peer's last packets do not find it gone: longer than
/// the longest pause before a packet is sent again.
const LINGER: u64 = 16 * SECOND;
/// How long the peer may take to end its stream after ours, when our reader left.
const PEER_END_MAX: u64 = 10 * SECOND;
/// After so long without sending anything the congestion window is that of the beginning.
const IDLE_RESET: u64 = SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// We sent a SYN.
    Connecting,
    Connected,
    /// Over, but the user has not read everything.
    Broken(CloseReason),
    /// Over, for the user. Packets are still answered.
    Lingering,
    /// To be removed.
    Gone,
}

/// What the user is to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) connected: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) closed: Option<CloseReason>,
}

/// The acknowledgements that we owe.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    /// Packets since the last acknowledgement.
    packets: u32,
    /// When it is due.
    at: Option<Time>,
    /// The window that the peer was told last.
    window: usize,
}

/// What the peer told, and how often.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// Bytes that it has room for.
    window: u32,
    /// The highest acknowledgement.
    ack: Seq,
    /// How often it was repeated.
    duplicates: u32,
}

/// When what happened. See `timeouts.rs`.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// When a packet of the peer came.
    heard: Time,
    /// When a packet was sent.
    said: Time,
    /// From when on an answer is waited for: something was acknowledged, or sent after a pause, or sent again.
    progress: Time,
    /// When the peer acknowledged something.
    acked: Time,
    /// When packets are looked at that may be lost.
    look_at: Option<Time>,
    /// When the user closed it, or it ended.
    closed: Option<Time>,
}

/// Timeouts in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// Without an answer of any kind.
    unanswered: u32,
    /// Without progress.
    backoff: u32,
    /// The last packet was sent again since the last progress.
    probed: bool,
    /// A packet is to be sent although the peer has no room.
    probe_window: bool,
}

/// What the user wants.
#[derive(Clone, Copy, Debug, Default)]
struct User {
    /// It was refused room, and is told when there is some.
    wants_room: bool,
    /// It was told that there is something to read, and has not read since.
    knows_readable: bool,
    /// It left, and hears no more of this connection.
    left: bool,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Connection {
    state: State,
    /// The id in packets that we send. Those we get have another one.
    send_id: u16,
    send: SendBuffer,
    receive: ReceiveBuffer,
    ledbat: Ledbat,
    rtt: Rtt,
    mtu: PathMtu,
    delays: Delays,
    owed: Owed,
    peer: Peer,
    times: Times,
    attempts: Attempts,
    user: User,
    news: News,
}

impl Connection {
    /// We begin it; `seq` is the number of our SYN.
    pub(crate) fn connect(receive_id: u16, seq: Seq, is_v4: bool, options: &Options, now: Time) -> Self {
        let receive = ReceiveBuffer::new(Seq(0), options.receive_buffer);
        let send_id = receive_id.wrapping_add(1);
        let mut connection = Self::new(State::Connecting, send_id, seq.plus(1), receive, is_v4, options, now);
        connection.owed.at = Some(now);
        connection
    }

    /// The peer began it, and proved to be where its packets come from: `first` is the number of its first packet after
    /// the SYN, `seq` that of our first one.
    pub(crate) fn accept(
        receive_id: u16,
        first: Seq,
        seq: Seq,
        is_v4: bool,
        options: &Options,
        now: Time,
    ) -> Self {
        let receive = ReceiveBuffer::new(first, options.receive_buffer);
        let send_id = receive_id.wrapping_sub(1);
        Self::new(State::Connected, send_id, seq, receive, is_v4, options, now)
    }

    fn new(
        state: State,
        send_id: u16,
        seq: Seq,
        receive: ReceiveBuffer,
        is_v4: bool,
        options: &Options,
        now: Time,
    ) -> Self {
        let max = if is_v4 { options.datagram_max_v4 } else { options.datagram_max_v6 };
        let mtu = PathMtu::new(is_v4, max);
        Self {
            state,
            send_id,
            send: SendBuffer::new(seq, options.send_buffer),
            owed: Owed { window: receive.window(), ..Owed::default() },
            receive,
            ledbat: Ledbat::new(payload(mtu.current())),
            rtt: Rtt::default(),
            mtu,
            delays: Delays::default(),
            peer: Peer { window: u32::from(payload(mtu.current())), ack: seq.minus(1), duplicates: 0 },
            times: Times { heard: now, said: now, progress: now, acked: now, look_at: None, closed: None },
            attempts: Attempts::default(),
            user: User::default(),
            news: News::default(),
        }
    }

    pub(crate) fn is_connecting(&self) -> bool {
        self.state == State::Connecting
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Whether this is the id of the packets that we send. A RESET may have it.
    pub(crate) fn send_id(&self) -> u16 {
        self.send_id
    }

    /// What the user is to be told, once.
    pub(crate) fn take_news(&mut self) -> News {
        let mut news = std::mem::take(&mut self.news);
        if self.user.left {
            news = News::default();
        }
        if news.closed.is_some() {
            self.user.left = true;
        }
        news
    }

    /// Takes what there is room for.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Time) -> usize {
        if self.is_over() {
            return 0;
        }
        if !self.send.is_waiting() && IDLE_RESET < now.since(self.times.progress) {
            self.ledbat.rested(self.full());
        }
        self.begin_to_wait(now);
        let count = self.send.write(bytes);
        self.user.wants_room = count < bytes.len();
        count
    }

    /// The bytes to read, in two parts.
    pub(crate) fn peek(&self) -> (&[u8], &[u8]) {
        self.receive.peek()
    }

    /// The reader took so many bytes.
    pub(crate) fn consume(&mut self, count: usize, now: Time) {
        self.receive.consume(count);
        self.user.knows_readable = self.receive.readable() != 0;
        // The end may have come before the read; the user is told of it by itself.
        self.news.readable |= 0 < count && self.is_read_up();
        if let State::Broken(reason) = self.state
            && self.receive.readable() == 0
        {
            self.end(reason);
        }
        self.tell_window(now);
        self.check_end(now);
    }

    /// Whether everything that the peer had to say was read.
    pub(crate) fn is_read_up(&self) -> bool {
        self.receive.has_ended() && self.receive.readable() == 0
    }

    /// Bytes that can be written.
    pub(crate) fn room(&self) -> usize {
        if self.is_over() { 0 } else { self.send.room() }
    }

    /// Nothing will be written any more. Reading goes on.
    pub(crate) fn finish(&mut self, now: Time) {
        self.begin_to_wait(now);
        self.send.finish();
    }

    /// There will be something to send.
    fn begin_to_wait(&mut self, now: Time) {
        if !self.send.is_waiting() && !self.send.has_fresh() {
            self.times.progress = now;
        }
    }

    /// The user leaves. What it wrote still gets to the peer.
    pub(crate) fn close(&mut self, now: Time) {
        self.finish(now);
        self.receive.discard();
        self.tell_window(now);
        self.user.left = true;
        self.times.closed = Some(now);
        match self.state {
            State::Connecting if self.send.is_empty() => self.state = State::Gone,
            State::Broken(_) => self.state = State::Gone,
            _ => {}
        }
        self.check_end(now);
    }

    /// Whether the user has nothing to do with it any more.
    pub(crate) fn was_left(&self) -> bool {
        self.user.left
    }

    /// A datagram of this length does not get through.
    pub(crate) fn too_long(&mut self, length: u16, now: Time) {
        self.mtu.is_too_long(length, now);
    }

    /// It at a glance.
    pub(crate) fn status(&self, addr: SocketAddr) -> ConnectionStatus {
        ConnectionStatus {
            addr,
            rtt: Duration::from_micros(self.rtt.smoothed()),
            queue: self.delays.queue().map(Duration::from_micros),
            window: self.ledbat.window(),
            in_flight: self.send.in_flight(),
            datagram: self.mtu.current(),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Broken(_) | State::Lingering | State::Gone)
    }

    /// Bytes of the stream in a full packet.
    fn full(&self) -> u16 {
        payload(self.mtu.current())
    }

    /// A reader that was slow made room: the peer may have stopped for want of it.
    fn tell_window(&mut self, now: Time) {
        let (window, told) = (self.receive.window(), self.owed.window);
        let step = (self.receive.limit() / 4).min(told.max(2 * usize::from(self.full())));
        if self.state == State::Connected && told + step <= window && told < self.receive.limit() / 2 {
            self.owed.at = Some(now);
        }
    }

    /// It is over, and the peer need not be told. What came in order can still be read.
    fn end(&mut self, reason: CloseReason) {
        if !self.user.left && self.receive.readable() != 0 {
            self.state = State::Broken(reason);
            self.news.readable = true;
        } else {
            self.state = State::Gone;
            self.news.closed = Some(reason);
        }
    }

    /// Both directions are done.
    fn linger(&mut self, now: Time) {
        self.state = State::Lingering;
        self.times.closed = Some(now);
        self.rest();
        self.news.closed = Some(CloseReason::Finished);
    }

    /// Gives memory back that a quiet connection does not need.
    fn rest(&mut self) {
        self.send.rest();
        self.receive.rest();
    }

    /// Looks whether both directions have ended.
    fn check_end(&mut self, now: Time) {
        let is_read = self.user.left || self.is_read_up();
        if self.state == State::Connected && self.send.is_done() && self.receive.has_ended() && is_read {
            self.linger(now);
        }
    }

    /// Answers losses.
    fn account(&mut self, losses: Losses, now: Time) {
        if let Some(length) = losses.probe {
            self.mtu.lost(length + HEADER_LEN as u16, now);
        }
        if 0 < losses.packets {
            let queue = self.delays.queue();
            self.ledbat.lost(losses.packets, losses.turn, self.send.turn(), queue, self.full(), now);
        }
    }
}

/// Bytes of the stream in a datagram of this length.
fn payload(datagram: u16) -> u16 {
    datagram.saturating_sub(HEADER_LEN as u16).max(1)
}
