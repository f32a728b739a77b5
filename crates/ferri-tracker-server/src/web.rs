//! The tracker over HTTP: a worker waits for all its sockets at once (`epoll`), and answers what has come in without allocating.
//!
//! A worker decides alone: it has its listeners, its connections and its share of the bounds, and no lock but the registry's.

mod answer;
mod connection;
mod crowd;
pub(crate) mod request;
mod transport;

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustls::ServerConfig;

use crate::network::Network;
use crate::service::{Service, count};
use connection::{Connection, Next, WorkerBuffers};
use crowd::{Crowd, Held, victims};
use transport::Transport;

/// Events taken with one call.
const EVENTS_MAX: usize = 256;

/// Connections taken from one listener before those that are there have their turn.
const ACCEPTS_MAX: usize = 64;

/// How often everything is looked through for clients that keep us waiting.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A shortage that lasts is told this often.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Of the connections of a full worker this part is closed at once, so that room is not looked for at each dial.
const ROOM_PART: usize = 64;

/// The part of a worker's connections that one network may have.
const NETWORK_PART: usize = 4;

/// A listener of a worker.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// What ends all workers.
#[derive(Debug)]
pub(crate) struct Stop {
    is_asked: AtomicBool,
    /// Readable from then on.
    bell: OwnedFd,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { is_asked: AtomicBool::new(false), bell: eventfd(0, EventfdFlags::CLOEXEC)? })
    }

    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
        // A counter that is full is readable as well.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    pub(crate) fn is_asked(&self) -> &AtomicBool {
        &self.is_asked
    }
}

/// The thread that serves connections.
#[derive(Debug)]
pub(crate) struct Worker {
    epoll: OwnedFd,
    stop: Arc<Stop>,
    service: Arc<Service>,
    listeners: Vec<Listener>,
    connections: Vec<Slot>,
    free: Vec<usize>,
    crowd: Crowd,
    bounds: Bounds,
    /// Bytes that connections hold.
    bytes: usize,
    /// Connections that have more to do than one turn.
    again: Vec<u64>,
    /// No connection is taken until the next sweep.
    is_paused: bool,
    /// When it was last told that descriptors are short.
    warned: Option<Instant>,
    /// When everything was last looked through.
    swept: Instant,
}

/// A worker's share of what all have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Connections.
    pub(crate) connections: usize,
    /// Bytes of requests that are not whole, and of answers that are not taken.
    pub(crate) bytes: usize,
}

/// A place for a connection. The number makes events of an earlier one of the same place known as such.
#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// Events of the bell and the listeners are told from those of connections by the upper half.
const NO_CONNECTION: u64 = u64::MAX << 32;
const BELL: u64 = u64::MAX;

impl Worker {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        service: Arc<Service>,
        stop: Arc<Stop>,
        bounds: Bounds,
        now: Instant,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &stop.bell, EventData::new_u64(BELL), EventFlags::IN)?;
        for (number, listener) in listeners.iter().enumerate() {
            let data = EventData::new_u64(NO_CONNECTION | number as u64);
            epoll::add(&epoll, &listener.socket, data, EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            stop,
            service,
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            crowd: Crowd::default(),
            bounds,
            bytes: 0,
            again: Vec::new(),
            is_paused: false,
            warned: None,
            swept: now,
        })
    }

    /// Serves until it is asked to stop.
    pub(crate) fn run(mut self) {
        let mut buffers = WorkerBuffers::new(self.service.view());
        while !self.stop.is_asked().load(Ordering::Relaxed) {
            if let Err(error) = self.turn(&mut buffers, SWEEP_INTERVAL, Instant::now) {
                tracing::error!(%error, "cannot wait for sockets");
                return;
            }
        }
    }

    /// Waits until sockets have something to tell, at most so long, and does that, and what is due by the clock.
    fn turn(
        &mut self,
        buffers: &mut WorkerBuffers,
        longest: Duration,
        clock: impl FnOnce() -> Instant,
    ) -> Result<(), Errno> {
        let mut events = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        let wait = if self.again.is_empty() { longest } else { Duration::ZERO };
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: 0 };
        let told = match epoll::wait(&self.epoll, &mut events, Some(&wait)) {
            Ok((told, _)) => told,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = clock();
        self.service.refresh(&mut buffers.view);
        let again = std::mem::take(&mut self.again);
        let told = told.iter().map(|event| (event.data.u64(), { event.flags }.contains(EventFlags::RDHUP)));
        for (token, has_ended) in told.chain(again.into_iter().map(|token| (token, false))) {
            if token & NO_CONNECTION != NO_CONNECTION {
                if has_ended {
                    self.note_end(token);
                }
                self.drive(token, buffers, now);
            } else if token != BELL {
                self.accept((token ^ NO_CONNECTION) as usize, buffers, now);
            }
        }
        if SWEEP_INTERVAL <= now.saturating_duration_since(self.swept) {
            self.swept = now;
            self.sweep(buffers, now);
        }
        Ok(())
    }

    fn note_end(&mut self, token: u64) {
        let (index, generation) = place(token);
        let slot = self.connections.get_mut(index).filter(|slot| slot.generation == generation);
        if let Some(connection) = slot.and_then(|slot| slot.connection.as_mut()) {
            connection.has_ended = true;
        }
    }

    fn drive(&mut self, token: u64, buffers: &mut WorkerBuffers, now: Instant) {
        let (index, generation) = place(token);
        let Some(slot) = self.connections.get_mut(index).filter(|slot| slot.generation == generation) else {
            return;
        };
        let Some(connection) = &mut slot.connection else { return };
        let before = connection.bytes_held();
        let next = connection.drive(&self.service, buffers, now);
        self.bytes = self.bytes + connection.bytes_held() - before;
        match next {
            Next::Wait => {}
            Next::Again => self.again.push(token),
            Next::Close => self.close(index),
        }
        if self.bounds.bytes < self.bytes {
            self.make_room(|connection| connection.bytes_held() != 0);
        }
    }

    fn accept(&mut self, number: usize, buffers: &mut WorkerBuffers, now: Instant) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listeners.get(number) else { return };
            match rustix::net::acceptfrom_with(&listener.socket, flags) {
                Ok((socket, from)) => {
                    let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { continue };
                    self.take_in(socket.into(), from, number, buffers, now);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    if !self.relieve(now) {
                        return;
                    }
                }
                // The client has left already.
                Err(error) => tracing::debug!(%error, "accept"),
            }
        }
    }

    /// Makes room when descriptors or memory are short. `false`: there is nothing to close, and none is taken until the next sweep.
    fn relieve(&mut self, now: Instant) -> bool {
        if self.warned.is_none_or(|warned| WARN_INTERVAL <= now.saturating_duration_since(warned)) {
            self.warned = Some(now);
            tracing::warn!("out of descriptors or memory: connections are closed to make room");
        }
        let has_room = self.make_room(|_| true);
        if !has_room {
            // Others of this process have them all.
            self.listen(EventFlags::empty());
        }
        has_room
    }

    fn take_in(
        &mut self,
        stream: TcpStream,
        from: SocketAddr,
        number: usize,
        buffers: &mut WorkerBuffers,
        now: Instant,
    ) {
        let from = from.ip().to_canonical();
        let network = Network::from(from);
        // All clients come through a proxy.
        let is_crowd = !self.service.proxies.trust(from);
        if is_crowd && self.bounds.connections / NETWORK_PART <= self.crowd.count(network) {
            self.make_room(|connection| connection.network == network);
        }
        if self.bounds.connections <= self.connections.len() - self.free.len() {
            self.make_room(|_| true);
        }
        let transport = match &self.listeners[number].tls {
            None => Transport::plain(stream),
            Some(config) => match Transport::tls(stream, config) {
                Ok(transport) => transport,
                Err(error) => {
                    tracing::warn!(%error, "cannot begin TLS");
                    return;
                }
            },
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Slot::default());
            self.connections.len() - 1
        });
        let token = u64::from(self.connections[index].generation) << 32 | index as u64;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, transport.stream(), EventData::new_u64(token), flags) {
            tracing::warn!(%error, "cannot wait for a connection");
            self.free.push(index);
            return;
        }
        self.crowd.enter(network);
        count(&self.service.tally.connections, 1);
        let connection = Connection::new(transport, from, now);
        self.bytes += connection.bytes_held();
        self.connections[index].connection = Some(connection);
        // Most have sent their request by the time they are accepted.
        self.drive(token, buffers, now);
    }

    fn close(&mut self, index: usize) {
        let slot = &mut self.connections[index];
        if let Some(connection) = slot.connection.take() {
            self.crowd.leave(connection.network);
            self.bytes -= connection.bytes_held();
            self.service.tally.connections.fetch_sub(1, Ordering::Relaxed);
            slot.generation = (slot.generation + 1) % GENERATIONS;
            self.free.push(index);
        }
    }

    fn sweep(&mut self, buffers: &mut WorkerBuffers, now: Instant) {
        if self.is_paused {
            self.listen(EventFlags::IN);
        }
        let overdue = |(index, slot): (usize, &Slot)| {
            slot.connection.as_ref().filter(|connection| connection.is_overdue(now)).map(|_| index)
        };
        let overdue: Vec<usize> = self.connections.iter().enumerate().filter_map(overdue).collect();
        for index in overdue {
            let Slot { generation, connection } = &mut self.connections[index];
            let token = u64::from(*generation) << 32 | index as u64;
            let Some(connection) = connection else { continue };
            let before = connection.bytes_held();
            let is_told = connection.tell_overdue(buffers);
            self.bytes = self.bytes + connection.bytes_held() - before;
            if is_told {
                self.drive(token, buffers, now);
            } else {
                self.close(index);
            }
        }
    }

    /// Waits for connections, or for none until the next sweep: one that cannot be taken would wake us without end.
    fn listen(&mut self, flags: EventFlags) {
        self.is_paused = flags.is_empty();
        for (number, listener) in self.listeners.iter().enumerate() {
            let data = EventData::new_u64(NO_CONNECTION | number as u64);
            if let Err(error) = epoll::modify(&self.epoll, &listener.socket, data, flags) {
                tracing::error!(%error, "cannot wait for connections");
            }
        }
    }

    /// Closes some of these connections, of those networks that have the most of them. Whether there were any.
    fn make_room(&mut self, whose: impl Fn(&Connection) -> bool) -> bool {
        let held = |(index, slot): (usize, &Slot)| {
            let connection = slot.connection.as_ref().filter(|connection| whose(connection))?;
            let Connection { network, state, since, .. } = *connection;
            Some(Held { index, network, state, since })
        };
        let all: Vec<Held> = self.connections.iter().enumerate().filter_map(held).collect();
        let room = all.len().div_ceil(ROOM_PART);
        let victims = victims(&all, room);
        let is_any = !victims.is_empty();
        count(&self.service.tally.closed_for_room, victims.len() as u64);
        victims.into_iter().for_each(|index| self.close(index));
        is_any
    }
}

/// The whole answer to what cannot be read as a request.
pub(crate) fn refusal(status: u16, why: &str) -> Vec<u8> {
    let mut out = Vec::new();
    answer::failure(&mut out, &mut Vec::new(), status, why);
    out
}

/// The place and the generation of a connection.
fn place(token: u64) -> (usize, u32) {
    ((token & u64::from(u32::MAX)) as usize, (token >> 32) as u32)
}

/// Below what stands for "no connection" in the upper half of a token.
const GENERATIONS: u32 = u32::MAX;

#[cfg(test)]
mod tests;
