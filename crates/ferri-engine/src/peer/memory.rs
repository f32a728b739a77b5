//! Connections in memory, for tests: no socket, no kernel, and time that stands still until the test moves it.
//!
//! What passes is enciphered by a stream that both ends count along, so that a byte that is sealed twice, not at all or in
//! the wrong order does not arrive as it left.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{Interest, Ready};
use tokio::sync::{Notify, mpsc};

use super::link::Link;

/// Two ends of a connection. Each direction holds `room` bytes that were not read yet, as a socket's buffers would.
pub(crate) fn pair(addrs: [SocketAddr; 2], room: usize) -> (Link, Link) {
    let [there, back] = [(); 2].map(|()| Arc::new(Pipe::new(room)));
    let end = |from, to| End { from, to, opened: Keystream::default(), sealed: Keystream::default() };
    let (first, second) = (end(back.clone(), there.clone()), end(there, back));
    // Each knows the address of the other.
    (Link::memory(first, addrs[1]), Link::memory(second, addrs[0]))
}

/// Addresses in memory at which peers can be dialled.
#[derive(Debug)]
pub(crate) struct Net {
    room: usize,
    listeners: Mutex<BTreeMap<SocketAddr, Listener>>,
}

/// What comes of a call.
#[derive(Debug)]
enum Listener {
    /// It is heard.
    Hears(mpsc::UnboundedSender<Link>),
    /// Nothing, as behind a firewall.
    Silent,
}

impl Net {
    /// Both ends' buffers of a connection hold `room` bytes together, in each direction.
    pub(crate) fn new(room: usize) -> Self {
        Self { room, listeners: Mutex::default() }
    }

    /// Connections to this address come here from now on; a listener that had it before gets none.
    pub(crate) fn listen(&self, addr: SocketAddr) -> mpsc::UnboundedReceiver<Link> {
        let (sender, calls) = mpsc::unbounded_channel();
        self.listeners().insert(addr, Listener::Hears(sender));
        calls
    }

    /// A dial to this address waits for ever.
    pub(crate) fn silence(&self, addr: SocketAddr) {
        self.listeners().insert(addr, Listener::Silent);
    }

    /// Nothing is there any more.
    pub(crate) fn close(&self, addr: SocketAddr) {
        self.listeners().remove(&addr);
    }

    /// Connects.
    pub(crate) async fn dial(&self, from: SocketAddr, to: SocketAddr) -> io::Result<Link> {
        let (ours, theirs) = pair([from, to], self.room);
        let heard = match self.listeners().get(&to) {
            None => return Err(io::ErrorKind::ConnectionRefused.into()),
            Some(Listener::Hears(calls)) => Some(calls.send(theirs).is_ok()),
            Some(Listener::Silent) => None,
        };
        let Some(heard) = heard else { return pending().await };
        if heard { Ok(ours) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end. Dropped, it is hung up: what was sent can still be read.
#[derive(Debug)]
pub(crate) struct End {
    from: Arc<Pipe>,
    to: Arc<Pipe>,
    opened: Keystream,
    sealed: Keystream,
}

/// As a stream cipher: each byte has its own key.
#[derive(Debug, Default)]
struct Keystream(u64);

impl Keystream {
    fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 += 1;
            *byte ^= self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        }
    }
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    flow: Mutex<Flow>,
    changed: Notify,
}

#[derive(Debug)]
struct Flow {
    bytes: VecDeque<u8>,
    room: usize,
    is_over: bool,
}

impl Pipe {
    fn new(room: usize) -> Self {
        let flow = Flow { bytes: VecDeque::new(), room, is_over: false };
        Self { flow: Mutex::new(flow), changed: Notify::new() }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Flow) -> T) -> T {
        let changed = change(&mut self.flow());
        self.changed.notify_waiters();
        changed
    }
}

impl End {
    pub(super) async fn ready(&self, interest: Interest) -> Ready {
        loop {
            let (mut came, mut left) = (pin!(self.from.changed.notified()), pin!(self.to.changed.notified()));
            // What changes from here on is heard.
            came.as_mut().enable();
            left.as_mut().enable();
            let ready = self.readiness(interest);
            if !ready.is_empty() {
                return ready;
            }
            tokio::select! {
                () = came => {}
                () = left => {}
            }
        }
    }

    fn readiness(&self, interest: Interest) -> Ready {
        let mut ready = Ready::EMPTY;
        if interest.is_readable() {
            let from = self.from.flow();
            if from.is_over {
                ready |= Ready::READ_CLOSED;
            }
            if from.is_over || !from.bytes.is_empty() {
                ready |= Ready::READABLE;
            }
        }
        if interest.is_writable() {
            let to = self.to.flow();
            if to.is_over || to.bytes.len() < to.room {
                ready |= Ready::WRITABLE;
            }
        }
        ready
    }

    pub(super) fn seal(&mut self, bytes: &mut [u8]) {
        self.sealed.apply(bytes);
    }

    pub(super) fn try_read(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let opened = &mut self.opened;
        self.from.change(|from| {
            if from.bytes.is_empty() {
                return if from.is_over { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
            }
            let mut read = 0;
            for slice in slices {
                let count = slice.len().min(from.bytes.len());
                from.bytes.read_exact(&mut slice[..count])?;
                opened.apply(&mut slice[..count]);
                read += count;
            }
            Ok(read)
        })
    }

    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.to.change(|to| {
            if to.is_over {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let before = to.bytes.len();
            for slice in slices {
                let count = slice.len().min(to.room - to.bytes.len());
                to.bytes.write_all(&slice[..count])?;
            }
            match to.bytes.len() - before {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                written => Ok(written),
            }
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for pipe in [&self.from, &self.to] {
            pipe.change(|flow| flow.is_over = true);
        }
    }
}
