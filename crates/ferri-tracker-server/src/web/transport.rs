//! Bytes to and from a client, plain or by TLS.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{InvalidMessage, ServerConfig, ServerConnection};

/// Bytes that are encrypted before the socket takes any: one answer and the rest of one.
const TLS_BUFFER: usize = 64 << 10;

/// What [`Transport::bytes_held`] says of TLS.
const TLS_BYTES: usize = 32 << 10;

/// A connection's socket.
#[derive(Debug)]
pub(super) struct Transport {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// This many bytes, and there may be more.
    Some(usize),
    /// This many bytes, which are all for the time being. It may be none.
    Last(usize),
    /// The client sends no more.
    End,
    /// It speaks HTTP where TLS is spoken.
    NotTls,
}

impl Transport {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    pub(super) fn tls(stream: TcpStream, config: &Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut tls = ServerConnection::new(config.clone())?;
        tls.set_buffer_limit(Some(TLS_BUFFER));
        Ok(Self { stream, tls: Some(Box::new(tls)) })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let Some(tls) = &mut self.tls else {
            return Ok(match retried(|| self.stream.read(buffer)) {
                Ok(0) => Read::End,
                // A socket that had more would have filled the buffer; what comes later is told (epoll(7)).
                Ok(length) if length < buffer.len() => Read::Last(length),
                Ok(length) => Read::Some(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Last(0),
                Err(error) => return Err(error),
            });
        };
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => return Ok(Read::End),
                Ok(length) => return Ok(Read::Some(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match retried(|| tls.read_tls(&mut self.stream)) {
                Ok(0) => return Ok(Read::End),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Read::Last(0)),
                Err(error) => return Err(error),
            }
            if let Err(error) = tls.process_new_packets() {
                let is_plain =
                    matches!(error, rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
                if is_plain && tls.is_handshaking() {
                    // Told in the clear, since that is what the client speaks.
                    self.tls = None;
                    return Ok(Read::NotTls);
                }
                // The alert says what is wrong.
                let _ = tls.write_tls(&mut self.stream);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            write_tls(tls, &mut self.stream)?;
        }
    }

    /// Sends what the socket takes of `bytes`, and what waited before. Returns how many bytes need not be handed in again.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => write_plain(&mut self.stream, bytes),
            Some(tls) => {
                let mut taken = 0;
                while write_tls(tls, &mut self.stream)? && taken < bytes.len() {
                    taken += tls.writer().write(&bytes[taken..])?;
                }
                Ok(taken)
            }
        }
    }

    /// Whether bytes wait here for the socket.
    pub(super) fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Bytes that TLS keeps for it, at a guess: the state of its ciphers, a record that is not whole, one that has to leave.
    pub(super) fn bytes_held(&self) -> usize {
        if self.tls.is_some() { TLS_BYTES } else { 0 }
    }

    /// Says within TLS that nothing more comes.
    pub(super) fn notify_end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.stream);
        }
    }

    /// Tells the client that nothing more comes, and leaves what it says.
    pub(super) fn end_writing(&self) {
        // A client that has hung up knows.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

fn write_plain(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match retried(|| stream.write(&bytes[taken..])) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => taken += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Whether everything that waited has left.
fn write_tls(tls: &mut ServerConnection, stream: &mut TcpStream) -> io::Result<bool> {
    while tls.wants_write() {
        match retried(|| tls.write_tls(stream)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
