//! The UDP sockets of a session, one a family, shared by everything that speaks over UDP.
//!
//! The first byte of a datagram tells whose it is: KRPC is a Bencode dictionary and begins with `d` (BEP 5); what
//! begins otherwise is for nobody here and is dropped unread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::Error;
use crate::egress::Egress;

/// What came, and from whom.
pub(crate) type Datagram = (SocketAddr, Bytes);

/// The longest datagram that is read. Nothing that speaks here sends more than an Ethernet frame holds; of a longer one the
/// rest is lost, and what is left does not parse.
const DATAGRAM_MAX: usize = 2048;
/// Datagrams taken from a socket before others have their turn.
const BATCH_MAX: usize = 64;
/// Batches waiting for whoever they are for. When it cannot keep up the next ones are dropped, as a router would.
pub(crate) const BATCHES_MAX: usize = 16;

/// The sockets. Cheap to clone; closed with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
}

impl Sockets {
    /// Those that `egress` has, at one port; 0 lets the system choose.
    ///
    /// # Errors
    /// [`Error::Listen`] when no family can be had.
    pub(crate) fn bind(egress: &Egress, port: u16) -> Result<Self, Error> {
        let [v4, v6] = egress.datagrams(port)?.map(|socket| socket.map(Arc::new));
        Ok(Self { v4, v6 })
    }

    /// The local port, the same for both families.
    pub(crate) fn port(&self) -> u16 {
        let addr = self.v4.iter().chain(&self.v6).find_map(|socket| socket.local_addr().ok());
        addr.map_or(0, |addr| addr.port())
    }

    /// Which families there are: IPv4, IPv6.
    pub(crate) fn families(&self) -> (bool, bool) {
        (self.v4.is_some(), self.v6.is_some())
    }

    /// Sends without waiting. A datagram for which the kernel has no room is lost, as it could be anywhere on its way.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        // Past the runtime, which knows of a new socket only after a while that it can be written to.
        if let Some(socket) = socket
            && let Err(error) = SockRef::from(&**socket).send_to(bytes, &to.into())
        {
            tracing::trace!(%to, %error, "a datagram could not be sent");
        }
    }

    /// Reads until dropped, and hands on what is for the DHT.
    pub(crate) async fn read(self, dht: mpsc::Sender<Vec<Datagram>>) {
        tokio::join!(read_from(self.v4, &dht), read_from(self.v6, &dht));
    }
}

async fn read_from(socket: Option<Arc<UdpSocket>>, dht: &mpsc::Sender<Vec<Datagram>>) {
    let Some(socket) = socket else { return };
    let mut buffer = BytesMut::new();
    loop {
        if let Err(error) = socket.ready(Interest::READABLE).await {
            tracing::warn!(%error, "the UDP socket is gone");
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < BATCH_MAX {
            match receive(&socket, &mut buffer) {
                Ok((from, bytes)) if bytes.first() == Some(&b'd') => batch.push((from, bytes)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Somebody we sent to is not there (ICMP); the next one may be.
                Err(error) => tracing::trace!(%error, "nothing came of a datagram"),
            }
        }
        if !batch.is_empty() && matches!(dht.try_send(batch), Err(mpsc::error::TrySendError::Closed(_))) {
            return;
        }
        // Under a flood the sockets are always readable.
        tokio::task::yield_now().await;
    }
}

fn receive(socket: &UdpSocket, buffer: &mut BytesMut) -> io::Result<Datagram> {
    buffer.resize(DATAGRAM_MAX, 0);
    let (length, from) = socket.try_recv_from(buffer)?;
    // Copied, so that a small datagram that waits does not hold a large buffer.
    Ok((from, Bytes::copy_from_slice(&buffer[..length])))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn what_is_not_bencode_reaches_nobody() {
        let egress = Egress::new(Some(Ipv4Addr::LOCALHOST.into()));
        let (here, there) = (Sockets::bind(&egress, 0).unwrap(), Sockets::bind(&egress, 0).unwrap());
        assert_eq!(here.families(), (true, false));
        let (sender, mut batches) = mpsc::channel(BATCHES_MAX);
        let reader = tokio::spawn(here.clone().read(sender));
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), here.port());
        // The kernel keeps the order on loopback, so once the last one is here the others were too.
        for bytes in [&b""[..], b"\x01uTP some day", b"d1:ad2:id", b"x", b"de"] {
            there.send(to, bytes);
        }
        let mut came = Vec::new();
        while came.last().is_none_or(|bytes: &Bytes| bytes != "de") {
            came.extend(batches.recv().await.unwrap().into_iter().map(|(_, bytes)| bytes));
        }
        assert_eq!(came, ["d1:ad2:id", "de"]);
        reader.abort();
    }
}
