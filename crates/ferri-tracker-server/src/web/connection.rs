//! One client of the tracker over HTTP: what it has sent, what it has not taken, and what it is waited for.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::answer;
use super::request::{self, HEAD_MAX, Parsed, Persistence};
use super::transport::{Read, Transport};
use crate::network::Network;
use crate::service::{Service, View};

/// A whole request has to be there this long after its first byte, or after the dial.
const ASKING_TIME: Duration = Duration::from_secs(15);

const OVERDUE: &str = "the rest of the request did not come within 15 seconds";

/// What was answered has to be taken in this time.
const ANSWERING_TIME: Duration = Duration::from_secs(15);

/// A kept connection without a request. Clients announce every half hour and do not come back to it; proxies and scripts do.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How long a client whose connection we end may take to read why.
const CLOSING_TIME: Duration = Duration::from_secs(2);

/// Bytes of answers that are put together before they are sent: more requests wait until the client has read.
const ANSWERS_MAX: usize = 16 << 10;

/// Bytes read at once.
const READ_MAX: usize = 16 << 10;

/// Reads of one client in a row, before the others have their turn.
const READS_MAX: usize = 8;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A request.
    Idle,
    /// The rest of a request, or the first one.
    Asking,
    /// The client, to take answers.
    Answering,
    /// The client, to read the last answer and hang up.
    Closing,
}

impl State {
    fn patience(self) -> Duration {
        match self {
            Self::Idle => IDLE_TIME,
            Self::Asking => ASKING_TIME,
            Self::Answering => ANSWERING_TIME,
            Self::Closing => CLOSING_TIME,
        }
    }
}

/// What a worker has one of, whatever the number of its connections.
#[derive(Debug)]
pub(super) struct WorkerBuffers {
    /// Who may use the tracker.
    pub(super) view: View,
    input: Box<[u8]>,
    output: Vec<u8>,
    body: Vec<u8>,
}

impl WorkerBuffers {
    pub(super) fn new(view: View) -> Self {
        // A head that is not whole yet, and one read.
        Self { view, input: vec![0; HEAD_MAX + READ_MAX].into(), output: Vec::new(), body: Vec::new() }
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The socket tells when there is something to do.
    Wait,
    /// There is more to do than others should wait for.
    Again,
    Close,
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    from: IpAddr,
    pub(super) network: Network,
    pub(super) state: State,
    pub(super) since: Instant,
    /// Read, and not answered yet. At most [`WorkerBuffers::input`].
    unread: Vec<u8>,
    /// `unread` may hold whole requests, which wait until the client takes answers.
    is_behind: bool,
    /// Answered, and not taken yet. At most [`ANSWERS_MAX`] and one answer.
    unsent: Vec<u8>,
    /// The last answer is given.
    is_last: bool,
    /// The client may still be sending what is not read.
    is_sending: bool,
    /// The end of what the client sends has come in, and is not told again (epoll(7)): everything up to it is read.
    pub(super) has_ended: bool,
}

impl Connection {
    pub(super) fn new(transport: Transport, from: IpAddr, now: Instant) -> Self {
        Self {
            transport,
            from,
            network: Network::from(from),
            state: State::Asking,
            since: now,
            unread: Vec::new(),
            is_behind: false,
            unsent: Vec::new(),
            is_last: false,
            is_sending: false,
            has_ended: false,
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.state.patience() < now.saturating_duration_since(self.since)
    }

    /// Begins to tell a client whose time is over why. `false`: it has sent nothing that could be answered, or was told already.
    pub(super) fn tell_overdue(&mut self, buffers: &mut WorkerBuffers) -> bool {
        let is_told = self.state == State::Asking && !self.unread.is_empty() && !self.is_last;
        if is_told {
            self.unread = Vec::new();
            self.last_word(buffers, 408, OVERDUE);
        }
        is_told
    }

    /// Bytes that are kept for it while it keeps us waiting.
    pub(super) fn bytes_held(&self) -> usize {
        self.unread.capacity() + self.unsent.capacity() + self.transport.bytes_held()
    }

    /// Does what can be done without waiting.
    pub(super) fn drive(&mut self, service: &Service, buffers: &mut WorkerBuffers, now: Instant) -> Next {
        for _ in 0..READS_MAX {
            if self.state == State::Closing {
                return self.drain(buffers);
            }
            match self.flush(now) {
                Ok(true) => {}
                Ok(false) => return Next::Wait,
                Err(_) => return Next::Close,
            }
            if self.is_last {
                self.transport.notify_end();
                if !self.is_sending {
                    return Next::Close;
                }
                self.transport.end_writing();
                self.turn(State::Closing, now);
                continue;
            }
            let kept = self.unread.len();
            buffers.input[..kept].copy_from_slice(&self.unread);
            let read = if self.is_behind {
                Ok(Read::Some(0))
            } else {
                self.transport.read(&mut buffers.input[kept..kept + READ_MAX])
            };
            let length = match read {
                Ok(Read::Some(length) | Read::Last(length)) => length,
                Ok(Read::NotTls) => {
                    let why = "this address speaks HTTPS: write https:// in the announce address";
                    self.last_word(buffers, 400, why);
                    continue;
                }
                Ok(Read::End) | Err(_) => return Next::Close,
            };
            if self.answer_all(service, buffers, kept + length, now).is_err() {
                return Next::Close;
            }
            let is_all = matches!(read, Ok(Read::Last(_))) && !self.has_ended;
            if is_all && self.unsent.is_empty() && !self.is_last && !self.is_behind {
                return Next::Wait;
            }
        }
        Next::Again
    }

    /// Sends what waits. `false`: the socket takes no more.
    fn flush(&mut self, now: Instant) -> io::Result<bool> {
        if self.unsent.is_empty() && !self.transport.holds_back() {
            return Ok(true);
        }
        let taken = self.transport.write(&self.unsent)?;
        self.unsent.drain(..taken);
        if !self.unsent.is_empty() || self.transport.holds_back() {
            self.turn(State::Answering, now);
            return Ok(false);
        }
        self.unsent = Vec::new();
        self.turn(State::Idle, now);
        Ok(true)
    }

    /// Answers the requests at the beginning of the buffers's first `length` bytes, and keeps the rest.
    fn answer_all(
        &mut self,
        service: &Service,
        buffers: &mut WorkerBuffers,
        length: usize,
        now: Instant,
    ) -> io::Result<()> {
        buffers.output.clear();
        let mut at = 0;
        while at < length && !self.is_last && buffers.output.len() < ANSWERS_MAX {
            match request::parse(&buffers.input[at..length], service.proxies.header_for(self.from)) {
                Parsed::Partial => break,
                Parsed::Bad(status, why) => {
                    answer::failure(&mut buffers.output, &mut buffers.body, status, why);
                    (self.is_last, self.is_sending) = (true, true);
                }
                Parsed::Request(request) => {
                    let tools = (service, &buffers.view);
                    answer::answer(&mut buffers.output, &mut buffers.body, tools, &request, self.from, now);
                    self.is_last = request.persistence == Persistence::Closed;
                    at += request.length;
                    self.is_sending = self.is_last && (request.has_body || at < length);
                }
            }
        }
        let rest = if self.is_last { &[] } else { &buffers.input[at..length] };
        self.is_behind = ANSWERS_MAX <= buffers.output.len() && !rest.is_empty();
        if rest.is_empty() {
            // A connection at rest holds no buffer.
            self.unread = Vec::new();
        } else {
            self.unread.clear();
            self.unread.extend_from_slice(rest);
        }
        self.turn_after(at, now);
        if !buffers.output.is_empty() {
            let taken = self.transport.write(&buffers.output)?;
            self.unsent.extend_from_slice(&buffers.output[taken..]);
        }
        Ok(())
    }

    fn turn_after(&mut self, answered: usize, now: Instant) {
        match (self.unread.is_empty(), answered) {
            // Nothing came: a client that has just dialled still owes its request.
            (true, 0) => {}
            (true, _) => {
                self.state = State::Idle;
                self.since = now;
            }
            (false, 0) => self.turn(State::Asking, now),
            (false, _) => {
                self.state = State::Asking;
                self.since = now;
            }
        }
    }

    fn last_word(&mut self, buffers: &mut WorkerBuffers, status: u16, why: &str) {
        buffers.output.clear();
        answer::failure(&mut buffers.output, &mut buffers.body, status, why);
        self.unsent.extend_from_slice(&buffers.output);
        (self.is_last, self.is_sending) = (true, true);
    }

    /// Reads and forgets until the client hangs up: closing a socket with unread bytes would take the last answer from it.
    fn drain(&mut self, buffers: &mut WorkerBuffers) -> Next {
        for _ in 0..READS_MAX {
            match self.transport.read(&mut buffers.input) {
                Ok(Read::Some(_)) => {}
                Ok(Read::Last(_)) if self.has_ended => {}
                Ok(Read::Last(_)) => return Next::Wait,
                Ok(Read::End | Read::NotTls) | Err(_) => return Next::Close,
            }
        }
        Next::Again
    }

    fn turn(&mut self, state: State, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}
