//! A connection as its task sees it: bytes in, bytes out, and who is at the other end, whatever carries them.
//!
//! What differs between ways of carrying bytes stays in here, and so does encryption. There is no dynamic dispatch, and
//! plain TCP costs nothing beyond its calls of the system: reads fill the reader's buffers, writes take the writer's. What
//! is encrypted is changed in the same buffers.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use ferri_wire::mse::{Ciphers, Established};
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

#[cfg(test)]
use super::memory;
use crate::status::PeerEncryption;

/// Bytes that can be looked at before they are read: more than any greeting has.
const AHEAD_MAX: usize = 256;

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct Link {
    way: Way,
    addr: SocketAddr,
    encryption: PeerEncryption,
    /// There exactly if the stream is encrypted.
    ciphers: Option<Box<Ciphers>>,
    /// What came and was only looked at, or came with the key exchange: the first to be read. It is decrypted.
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
    /// TCP.
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
        Self::plain(Way::Tcp(stream), addr)
    }

    #[cfg(test)]
    pub(super) fn memory(end: memory::End, addr: SocketAddr) -> Self {
        Self::plain(Way::Memory(end), addr)
    }

    fn plain(way: Way, addr: SocketAddr) -> Self {
        Self { way, addr, encryption: PeerEncryption::None, ciphers: None, ahead: BytesMut::new() }
    }

    /// The same connection behind a key exchange of which all bytes were read.
    pub(crate) fn establish(&mut self, established: Established) {
        debug_assert!(self.ahead.is_empty(), "what came was given to the exchange");
        self.encryption = match established.ciphers {
            Some(_) => PeerEncryption::Rc4,
            None => PeerEncryption::Handshake,
        };
        self.ciphers = established.ciphers;
        self.ahead = BytesMut::from(&*established.received);
    }

    /// How much of the connection is encrypted.
    pub(crate) fn encryption(&self) -> PeerEncryption {
        self.encryption
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
        if let Some(ciphers) = &mut self.ciphers {
            ciphers.seals.apply(bytes);
        }
        match (&mut self.way, bytes) {
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
        if !self.ahead.is_empty() {
            return Ok(read_ahead(&mut self.ahead, slices));
        }
        let read = self.way.try_read(slices)?;
        if let Some(ciphers) = &mut self.ciphers {
            open(ciphers, slices, read);
        }
        Ok(read)
    }

    /// Writes what there is room for, of bytes that were sealed.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; otherwise the connection is over.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.way.try_write(slices)
    }

    /// Waits until at least `count` bytes have come that were not read, and shows them with what else is there. They stay.
    /// May be dropped while it waits. Only at the beginning of a connection, before all encryption.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) async fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        debug_assert!(count <= AHEAD_MAX, "nothing that begins a connection is that long");
        debug_assert!(self.ciphers.is_none(), "what is looked at is as it came");
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

/// Decrypts what was read into the slices.
fn open(ciphers: &mut Ciphers, slices: &mut [IoSliceMut<'_>], read: usize) {
    let mut left = read;
    for slice in slices {
        let count = slice.len().min(left);
        ciphers.opens.apply(&mut slice[..count]);
        left -= count;
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
