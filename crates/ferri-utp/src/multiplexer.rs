//! Many connections on one UDP socket.

mod strangers;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use thiserror::Error;

use self::strangers::Strangers;
use crate::connection::{Connection, News};
use crate::options::Options;
use crate::output::{ConnectionKey, ConnectionStatus, Output, Transmit};
use crate::packet::{HEADER_LEN, Kind, Packet};
use crate::pool::Pool;
use crate::random::{Random, Secret};
use crate::seq::Seq;
use crate::time::{Clock, Time};
use crate::timers::Timers;

/// Something for the machine to deal with.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram came.
    Datagram {
        /// Who sent it, or claims to have.
        from: SocketAddr,
        /// All of it.
        bytes: &'a [u8],
    },
    /// The system says that a datagram was too long for the path (`EMSGSIZE`, or an ICMP message). It counts as lost.
    TooLong {
        /// Where it was to go.
        to: SocketAddr,
        /// Its length in bytes, without the headers of IP and UDP.
        length: usize,
    },
    /// The time of [`Multiplexer::poll_timeout`] has come.
    Timeout,
}

/// Why a connection cannot be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// There are too many connections, or too many that were not answered yet. Ours; try later.
    #[error("too many uTP connections")]
    TooMany,
}

/// The connections of one UDP socket.
///
/// Drive it like this: hand in what happened ([`handle`](Self::handle), or one of the methods of a stream), send what
/// [`poll_transmit`](Self::poll_transmit) gives while the socket takes it, look at what
/// [`poll_output`](Self::poll_output) tells, and hand in [`Input::Timeout`] at the time of
/// [`poll_timeout`](Self::poll_timeout). Hand in a whole batch of datagrams before the rest: then one acknowledgement
/// answers all of them, and packets leave in long runs.
///
/// A connection that breaks stays until its user has read what came before, or closes it: read after each
/// [`Output::Readable`] until there is nothing more.
#[derive(Debug)]
pub struct Multiplexer {
    options: Options,
    clock: Clock,
    random: Random,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashMap<Id, u32, Secret>,
    timers: Timers,
    /// Slots that may have something to send, in order of their turns.
    ready: VecDeque<u32>,
    outputs: VecDeque<Output>,
    strangers: Strangers,
    pool: Pool,
    /// Scratch space for selective acknowledgements.
    bits: Vec<u8>,
}

/// What packets of a connection have in common: where they come from, and the id that they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    addr: SocketAddr,
    receive: u16,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    entry: Option<Box<Entry>>,
}

#[derive(Debug)]
struct Entry {
    id: Id,
    connection: Connection,
    /// In `ready`.
    is_ready: bool,
}

impl Multiplexer {
    /// Without connections. `seed` is secret and random: ids and first sequence numbers come from it.
    #[must_use]
    pub fn new(options: Options, seed: [u8; 32], now: Instant) -> Self {
        let secret = Secret::new(seed);
        Self {
            clock: Clock::new(now),
            random: Random::new(secret.clone()),
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::with_hasher(secret.clone()),
            timers: Timers::default(),
            ready: VecDeque::new(),
            outputs: VecDeque::new(),
            strangers: Strangers::new(secret),
            pool: Pool::default(),
            bits: Vec::new(),
            options,
        }
    }

    /// Deals with what happened. Time does not run backwards.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        let now = self.clock.time(now);
        match input {
            Input::Datagram { from, bytes } => self.datagram(from, bytes, now),
            Input::TooLong { to, length } => self.too_long(to, length, now),
            Input::Timeout => self.timeout(now),
        }
    }

    /// The next thing to know; `None` when there is none until something happens.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`]; `None` while there is no connection.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(time, _)| self.clock.instant(time))
    }

    /// Puts the next datagrams to send into `buffer`, whose contents are replaced. `None` when there are none until
    /// something happens. Connections take turns.
    pub fn poll_transmit(&mut self, buffer: &mut Vec<u8>, now: Instant) -> Option<Transmit> {
        let now = self.clock.time(now);
        buffer.clear();
        if let Some(to) = self.strangers.next_answer(buffer) {
            return Some(Transmit { to, segment: HEADER_LEN, dont_fragment: false });
        }
        while let Some(slot) = self.ready.pop_front() {
            let Some(entry) = self.slots[slot as usize].entry.as_deref_mut() else { continue };
            let run = entry.connection.transmit(buffer, &mut self.bits, &self.options, now);
            entry.is_ready = run.is_some();
            self.timers.set(slot, entry.connection.next_timeout(&self.options, now));
            let Some(run) = run else { continue };
            self.ready.push_back(slot);
            return Some(Transmit {
                to: entry.id.addr,
                segment: run.segment,
                dont_fragment: run.dont_fragment,
            });
        }
        None
    }

    /// Begins a connection. [`Output::Connected`] or [`Output::Closed`] follows.
    ///
    /// # Errors
    /// One of our bounds is reached.
    pub fn connect(&mut self, to: SocketAddr, now: Instant) -> Result<ConnectionKey, ConnectError> {
        let now = self.clock.time(now);
        let connecting = self.entries().filter(|entry| entry.connection.is_connecting()).count();
        if self.options.connections_max <= self.len() || self.options.connecting_max <= connecting {
            return Err(ConnectError::TooMany);
        }
        let mut id = Id { addr: to, receive: self.random.u16() };
        // There are more ids than connections.
        while self.by_id.contains_key(&id) {
            id.receive = id.receive.wrapping_add(1);
        }
        let seq = Seq(self.random.u16());
        let connection = Connection::connect(id.receive, seq, to.is_ipv4(), &self.options, now);
        let slot = self.insert(id, connection);
        self.settle(slot, now);
        Ok(self.key(slot))
    }

    /// Reads into `out`. `None` when nothing is there now; `Some(0)` at the end of the stream, or when the connection is
    /// over.
    pub fn read(&mut self, key: ConnectionKey, out: &mut [u8], now: Instant) -> Option<usize> {
        let Some(connection) = self.connection(key) else { return Some(0) };
        let (front, back) = connection.peek();
        let from_front = front.len().min(out.len());
        out[..from_front].copy_from_slice(&front[..from_front]);
        let from_back = back.len().min(out.len() - from_front);
        out[from_front..from_front + from_back].copy_from_slice(&back[..from_back]);
        let count = from_front + from_back;
        if count == 0 {
            return connection.is_read_up().then_some(0);
        }
        self.consume(key, count, now);
        Some(count)
    }

    /// What can be read, in two parts, without copying it. [`consume`](Self::consume) takes it away.
    #[must_use]
    pub fn peek(&self, key: ConnectionKey) -> (&[u8], &[u8]) {
        self.connection(key).map(Connection::peek).unwrap_or_default()
    }

    /// So many bytes were read.
    pub fn consume(&mut self, key: ConnectionKey, count: usize, now: Instant) {
        self.with(key, now, |connection, now| connection.consume(count, now));
    }

    /// Writes what there is room for and says how much that is. [`Output::Writable`] follows when it was not all.
    pub fn write(&mut self, key: ConnectionKey, bytes: &[u8], now: Instant) -> usize {
        self.with(key, now, |connection, now| connection.write(bytes, now)).unwrap_or(0)
    }

    /// Bytes that a write would take.
    #[must_use]
    pub fn room(&self, key: ConnectionKey) -> usize {
        self.connection(key).map_or(0, Connection::room)
    }

    /// Nothing will be written any more: the peer gets the rest and then the end. Reading goes on.
    /// [`Output::Closed`] follows when the peer's stream was read to its end, too.
    pub fn finish(&mut self, key: ConnectionKey, now: Instant) {
        self.with(key, now, Connection::finish);
    }

    /// The user leaves; the key is void at once and no output follows. The peer still gets what was written, and the end.
    /// What it sends is dropped.
    pub fn close(&mut self, key: ConnectionKey, now: Instant) {
        self.with(key, now, Connection::close);
    }

    /// Breaks a connection off; the key is void at once and no output follows.
    pub fn reset(&mut self, key: ConnectionKey, now: Instant) {
        let now = self.clock.time(now);
        let Some(connection) = self.connection(key) else { return };
        let header = connection.reset(now);
        if let Some(id) = self.remove(key.slot) {
            self.strangers.answer(id.addr, header);
        }
    }

    /// A connection at a glance; `None` when it is over.
    #[must_use]
    pub fn status(&self, key: ConnectionKey) -> Option<ConnectionStatus> {
        self.connection(key)?;
        let entry = self.slots[key.slot as usize].entry.as_deref()?;
        Some(entry.connection.status(entry.id.addr))
    }

    /// How many connections there are, those included that still answer packets after their end.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        let Ok(packet) = Packet::decode(bytes) else { return };
        let receive = match packet.header.kind {
            // It names the id of the side that sent it.
            Kind::Syn => packet.header.connection_id.wrapping_add(1),
            _ => packet.header.connection_id,
        };
        let found = self.find(Id { addr: from, receive }, &packet);
        let Some(slot) = found.or_else(|| self.admit(from, &packet, now)) else { return };
        if let Some(entry) = self.slots[slot as usize].entry.as_deref_mut() {
            entry.connection.handle(&packet, &mut self.pool, now);
        }
        self.settle(slot, now);
    }

    /// The connection that a packet belongs to.
    fn find(&self, id: Id, packet: &Packet<'_>) -> Option<u32> {
        if let Some(slot) = self.by_id.get(&id) {
            return Some(*slot);
        }
        // A peer that does not know a connection sends the id back that it got (as libutp does).
        let neighbours = [id.receive.wrapping_sub(1), id.receive.wrapping_add(1)];
        neighbours.into_iter().filter(|_| packet.header.kind == Kind::Reset).find_map(|receive| {
            let slot = *self.by_id.get(&Id { receive, ..id })?;
            let entry = self.slots[slot as usize].entry.as_deref()?;
            (entry.connection.send_id() == id.receive).then_some(slot)
        })
    }

    /// A packet of no connection: it may complete one.
    fn admit(&mut self, from: SocketAddr, packet: &Packet<'_>, now: Time) -> Option<u32> {
        let is_full = !self.options.accept || self.options.connections_max <= self.len();
        let greeting = self.strangers.packet(from, packet, is_full, self.options.receive_buffer, now)?;
        let receive = packet.header.connection_id;
        let connection =
            Connection::accept(receive, greeting.first, greeting.ours, from.is_ipv4(), &self.options, now);
        let slot = self.insert(Id { addr: from, receive }, connection);
        self.outputs.push_back(Output::Accepted { key: self.key(slot), from });
        Some(slot)
    }

    fn too_long(&mut self, to: SocketAddr, length: usize, now: Time) {
        let Ok(length) = u16::try_from(length) else { return };
        for slot in 0..self.slots.len() {
            let Some(entry) = self.slots[slot].entry.as_deref_mut().filter(|entry| entry.id.addr == to)
            else {
                continue;
            };
            entry.connection.too_long(length, now);
            self.settle(slot as u32, now);
        }
    }

    fn timeout(&mut self, now: Time) {
        while let Some((_, slot)) = self.timers.first().filter(|(time, _)| *time <= now) {
            self.timers.set(slot, None);
            if let Some(entry) = self.slots[slot as usize].entry.as_deref_mut() {
                entry.connection.timeout(&self.options, now);
            }
            self.settle(slot, now);
        }
    }

    /// Something happened to a connection: notes what follows from that.
    fn settle(&mut self, slot: u32, now: Time) {
        let Some(entry) = self.slots[slot as usize].entry.as_deref_mut() else { return };
        let news = entry.connection.take_news();
        if news != News::default() {
            self.tell(slot, news);
        }
        let Some(entry) = self.slots[slot as usize].entry.as_deref_mut() else { return };
        if entry.connection.is_gone() {
            self.remove(slot);
            return;
        }
        if !entry.is_ready {
            entry.is_ready = true;
            self.ready.push_back(slot);
        }
        self.timers.set(slot, entry.connection.next_timeout(&self.options, now));
    }

    fn tell(&mut self, slot: u32, news: News) {
        let key = self.key(slot);
        let told = [
            news.connected.then_some(Output::Connected { key }),
            news.readable.then_some(Output::Readable { key }),
            news.writable.then_some(Output::Writable { key }),
            news.closed.map(|reason| Output::Closed { key, reason }),
        ];
        self.outputs.extend(told.into_iter().flatten());
    }

    fn with<T>(
        &mut self,
        key: ConnectionKey,
        now: Instant,
        act: impl FnOnce(&mut Connection, Time) -> T,
    ) -> Option<T> {
        self.connection(key)?;
        let now = self.clock.time(now);
        let entry = self.slots[key.slot as usize].entry.as_deref_mut()?;
        let done = act(&mut entry.connection, now);
        self.settle(key.slot, now);
        Some(done)
    }

    fn connection(&self, key: ConnectionKey) -> Option<&Connection> {
        let slot = self.slots.get(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        slot.entry.as_deref().map(|entry| &entry.connection).filter(|connection| !connection.was_left())
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter_map(|slot| slot.entry.as_deref())
    }

    fn key(&self, slot: u32) -> ConnectionKey {
        ConnectionKey { slot, generation: self.slots[slot as usize].generation }
    }

    fn insert(&mut self, id: Id, connection: Connection) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("ids are fewer")
        });
        self.slots[slot as usize].entry = Some(Box::new(Entry { id, connection, is_ready: false }));
        self.by_id.insert(id, slot);
        slot
    }

    fn remove(&mut self, slot: u32) -> Option<Id> {
        let entry = self.slots[slot as usize].entry.take()?;
        self.slots[slot as usize].generation += 1;
        if entry.is_ready {
            self.ready.retain(|ready| *ready != slot);
        }
        self.timers.set(slot, None);
        self.by_id.remove(&entry.id);
        self.free.push(slot);
        Some(entry.id)
    }
}
