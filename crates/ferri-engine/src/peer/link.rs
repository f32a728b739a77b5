//! A connection as its task sees it: bytes in, bytes out, and who is at the other end, whatever carries them.
//!
//! What differs between ways of carrying bytes stays in here. There is no dynamic dispatch, and plain TCP costs nothing
//! beyond its calls of the system: reads fill the reader's buffers, writes take the writer's.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

#[cfg(test)]
use super::memory;

/// Bytes that can be looked at before they are read: more than any greeting has.
const AHEAD_MAX: usize = 256;

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct Link {
    way: Way,
    addr: SocketAddr,
    /// What came and was only looked at: the first to be read.
    ahead: BytesMut,
}

#[derive(Debug)]
enum Way {
    Tcp(TcpStream),
    #[cfg(test)]
    Memory(memory::End),
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// TCP, in plain.
    Tcp,
    /// The memory of a test.
    #[cfg(test)]
    Memory,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            #[cfg(test)]
            Self::Memory => "memory",
        })
    }
}

impl Link {
    /// Over TCP, in plain, to the peer at `addr`.
    pub(crate) fn tcp(stream: TcpStream, addr: SocketAddr) -> Self {
        Self { way: Way::Tcp(stream), addr, ahead: BytesMut::new() }
    }

    #[cfg(test)]
    pub(super) fn memory(end: memory::End, addr: SocketAddr) -> Self {
        Self { way: Way::Memory(end), addr, ahead: BytesMut::new() }
    }

    /// The other end.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn kind(&self) -> LinkKind {
        match &self.way {
            Way::Tcp(_) => LinkKind::Tcp,
            #[cfg(test)]
            Way::Memory(_) => LinkKind::Memory,
        }
    }

    /// Waits until something of this can be done. May be dropped while it waits.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        if interest.is_readable() && !self.ahead.is_empty() {
            return Ok(Ready::READABLE);
        }
        self.way.ready(interest).await
    }

    /// Makes bytes fit to leave. Each byte passes here once, in the order in which it is written afterwards.
    pub(crate) fn seal(&mut self, bytes: &mut [u8]) {
        match (&mut self.way, bytes) {
            // They leave in plain.
            (Way::Tcp(_), _) => {}
            #[cfg(test)]
            (Way::Memory(end), bytes) => end.seal(bytes),
        }
    }

    /// Reads what is there into the slices, one after the other; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is; otherwise the connection is over.
    pub(crate) fn try_read(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            self.way.try_read(slices)
        } else {
            Ok(read_ahead(&mut self.ahead, slices))
        }
    }

    /// Writes what there is room for, of bytes that were sealed.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; otherwise the connection is over.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.way.try_write(slices)
    }

    /// Waits until at least `count` bytes have come that were not read, and shows them with what else is there. They stay.
    /// May be dropped while it waits.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) async fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        debug_assert!(count <= AHEAD_MAX, "nothing that begins a connection is that long");
        while self.ahead.len() < count {
            self.way.ready(Interest::READABLE).await?;
            let mut fresh = [0; AHEAD_MAX];
            let room = AHEAD_MAX - self.ahead.len();
            match self.way.try_read(&mut [IoSliceMut::new(&mut fresh[..room])]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.ahead.extend_from_slice(&fresh[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.ahead)
    }

    /// Waits for something to read; 0 is the end.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.ready(Interest::READABLE).await?;
            match self.try_read(&mut [IoSliceMut::new(buffer)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Seals and writes everything.
    pub(crate) async fn write_all(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.seal(bytes);
        let mut bytes = &*bytes;
        while !bytes.is_empty() {
            self.ready(Interest::WRITABLE).await?;
            match self.try_write(&[IoSlice::new(bytes)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Way {
    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            #[cfg(test)]
            Self::Memory(end) => Ok(end.ready(interest).await),
        }
    }

    fn try_read(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_vectored(slices),
            #[cfg(test)]
            Self::Memory(end) => end.try_read(slices),
        }
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            #[cfg(test)]
            Self::Memory(end) => end.try_write(slices),
        }
    }
}

fn read_ahead(ahead: &mut BytesMut, slices: &mut [IoSliceMut<'_>]) -> usize {
    let before = ahead.len();
    for slice in slices {
        let count = slice.len().min(ahead.len());
        ahead.copy_to_slice(&mut slice[..count]);
    }
    let read = before - ahead.len();
    if ahead.is_empty() {
        // It was needed at the beginning alone.
        *ahead = BytesMut::new();
    }
    read
}
