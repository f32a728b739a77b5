//! The UDP sockets of a session, one a family, shared by everything that speaks over UDP.
//!
//! The first byte of a datagram tells whose it is: KRPC is a Bencode dictionary and begins with `d` (BEP 5); a
//! tracker's answer begins with the highest byte of its action, which is 0 (BEP 15), and belongs to the task that asked
//! that address with that transaction. What begins otherwise is dropped unread.

mod asked;
mod unreached;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

pub(crate) use self::asked::Reply;
use self::asked::{Answers, Asked};
use crate::Error;
use crate::egress::Egress;

/// What came, and from which address.
pub(crate) type Datagram = (SocketAddr, Bytes);

/// The longest datagram that there is; a tracker may name a thousand peers in one.
const DATAGRAM_MAX: usize = 64 << 10;
/// The longest that is kept for the DHT, where nothing is longer than an Ethernet frame: what waits is bounded by number.
const KRPC_MAX: usize = 2048;
/// Datagrams taken from a socket before others have their turn.
const BATCH_MAX: usize = 64;
/// Batches waiting for the DHT. When it cannot keep up the next ones are dropped, as a router would.
pub(crate) const BATCHES_MAX: usize = 16;
/// A datagram is offered to the kernel so often when it answers with what became of earlier ones.
const OFFERS_MAX: usize = 4;

/// The sockets. Cheap to clone; closed with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Sockets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    asked: Asked,
}

impl Sockets {
    /// Those that `egress` has, at one port; 0 lets the system choose.
    ///
    /// # Errors
    /// [`Error::Listen`] when no family can be had.
    pub(crate) fn bind(egress: &Egress, port: u16) -> Result<Self, Error> {
        let [v4, v6] = egress.datagrams(port)?;
        Ok(Self(Arc::new(Inner { v4, v6, asked: Asked::default() })))
    }

    /// None at all, for tests without a network.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Arc::new(Inner { v4: None, v6: None, asked: Asked::default() }))
    }

    /// The local port, the same for both families.
    #[cfg_attr(not(feature = "dht"), expect(dead_code, reason = "only `dht` needs it"))]
    pub(crate) fn port(&self) -> u16 {
        let addr = self.0.v4.iter().chain(&self.0.v6).find_map(|socket| socket.local_addr().ok());
        addr.map_or(0, |addr| addr.port())
    }

    /// Which families there are: IPv4, IPv6.
    #[cfg_attr(not(feature = "dht"), expect(dead_code, reason = "only `dht` needs it"))]
    pub(crate) fn families(&self) -> (bool, bool) {
        (self.0.v4.is_some(), self.0.v6.is_some())
    }

    /// Sends without waiting. A datagram for which the kernel has no room is lost, as it could be anywhere on its way.
    ///
    /// # Errors
    /// It did not leave; why.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let socket = if to.is_ipv4() { &self.0.v4 } else { &self.0.v6 };
        let socket = socket.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
        // Past the runtime, which knows of a new socket only after a while that it can be written to.
        let socket = SockRef::from(socket);
        let mut result = Err(io::ErrorKind::WouldBlock.into());
        // What the network said about an earlier datagram, to whomever, may be told with this one, which did not leave then.
        for _ in 0..OFFERS_MAX {
            result = socket.send_to(bytes, &to.into()).map(drop);
            match &result {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                _ => break,
            }
        }
        result
    }

    /// Hears what `from` answers.
    pub(crate) fn answers(&self, from: SocketAddr) -> Answers {
        Answers::new(self.clone(), from)
    }

    /// Reads until dropped; hands on what is for the DHT, and what was asked for.
    pub(crate) async fn read(self, dht: Option<mpsc::Sender<Vec<Datagram>>>) {
        tokio::join!(
            self.read_from(self.0.v4.as_ref(), dht.as_ref()),
            self.read_from(self.0.v6.as_ref(), dht.as_ref())
        );
    }

    async fn read_from(&self, socket: Option<&UdpSocket>, dht: Option<&mpsc::Sender<Vec<Datagram>>>) {
        let Some(socket) = socket else { return };
        let mut buffer = BytesMut::new();
        loop {
            let ready = match socket.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) => ready,
                Err(error) => return tracing::warn!(%error, "the UDP socket is gone"),
            };
            if ready.is_error() {
                self.hear_unreached(socket);
            }
            let batch = self.take(socket, &mut buffer);
            if !batch.is_empty()
                && let Some(dht) = dht
            {
                // A node that stopped hears nothing more, and one that is busy loses them.
                let _ = dht.try_send(batch);
            }
            // Under a flood the sockets are always readable.
            tokio::task::yield_now().await;
        }
    }

    /// What is there, up to a batch: returned when it is for the DHT.
    fn take(&self, socket: &UdpSocket, buffer: &mut BytesMut) -> Vec<Datagram> {
        let mut batch = Vec::new();
        for _ in 0..BATCH_MAX {
            buffer.resize(DATAGRAM_MAX, 0);
            match socket.try_recv_from(buffer) {
                Ok((length, from)) => {
                    let bytes = &buffer[..length];
                    match bytes.first() {
                        // Copied, so that a small datagram that waits does not hold a large buffer.
                        Some(b'd') if length <= KRPC_MAX => batch.push((from, Bytes::copy_from_slice(bytes))),
                        Some(0) => self.0.asked.came(from, bytes),
                        _ => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // One that we sent to is not there (ICMP); the next one may be.
                Err(error) => tracing::trace!(%error, "nothing came of a datagram"),
            }
        }
        batch
    }

    /// Tells the tasks that asked that no server is there.
    fn hear_unreached(&self, socket: &UdpSocket) {
        for _ in 0..BATCH_MAX {
            match unreached::next(socket) {
                Ok(unreached) => self.0.asked.refused(&unreached),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    fn sockets(ip: impl Into<IpAddr>) -> Sockets {
        Sockets::bind(&Egress::new(Some(ip.into())), 0).unwrap()
    }

    fn at(ip: impl Into<IpAddr>, sockets: &Sockets) -> SocketAddr {
        SocketAddr::new(ip.into(), sockets.port())
    }

    #[tokio::test]
    async fn what_is_neither_bencode_nor_an_answer_reaches_nobody() {
        let (here, there) = (sockets(Ipv4Addr::LOCALHOST), sockets(Ipv4Addr::LOCALHOST));
        assert_eq!(here.families(), (true, false));
        let (sender, mut batches) = mpsc::channel(BATCHES_MAX);
        let reader = tokio::spawn(here.clone().read(Some(sender)));
        let mut answers = here.answers(at(Ipv4Addr::LOCALHOST, &there));
        answers.expect(7);
        let to = at(Ipv4Addr::LOCALHOST, &here);
        // The kernel keeps the order on loopback, so once the last one is here the others were too.
        let (long, answer) = ([b'd'; KRPC_MAX + 1], b"\0\0\0\x01\0\0\0\x07x");
        for bytes in [&b""[..], b"\x01uTP some day", b"d1:ad2:id", &long, answer, b"x", b"de"] {
            there.send(to, bytes).unwrap();
        }
        let mut came = Vec::new();
        while came.last().is_none_or(|bytes: &Bytes| bytes != "de") {
            came.extend(batches.recv().await.unwrap().into_iter().map(|(_, bytes)| bytes));
        }
        assert_eq!(came, ["d1:ad2:id", "de"]);
        let Reply::Datagram(heard) = answers.next().await else { panic!("nobody is there") };
        assert_eq!(heard, &answer[..]);
        reader.abort();
    }

    #[tokio::test]
    async fn an_answer_counts_from_the_address_that_was_asked_and_to_the_last_question_alone() {
        let (here, there, other) =
            (sockets(Ipv4Addr::LOCALHOST), sockets(Ipv4Addr::LOCALHOST), sockets(Ipv4Addr::LOCALHOST));
        let reader = tokio::spawn(here.clone().read(None));
        let mut answers = here.answers(at(Ipv4Addr::LOCALHOST, &there));
        answers.expect(1);
        answers.expect(2);
        let to = at(Ipv4Addr::LOCALHOST, &here);
        let answer = |transaction: u8, word: u8| [0, 0, 0, 1, 0, 0, 0, transaction, word];
        other.send(to, &answer(2, b'o')).unwrap();
        there.send(to, &answer(1, b'e')).unwrap();
        there.send(to, &answer(2, b'r')).unwrap();
        let Reply::Datagram(heard) = answers.next().await else { panic!("nobody is there") };
        assert_eq!(heard[..], answer(2, b'r'));
        drop(answers);
        assert!(here.0.asked.is_empty(), "nobody waits any more");
        reader.abort();
    }

    /// One server is not there, and others are spoken to as before.
    #[cfg(target_os = "linux")]
    async fn check_refusal(ip: IpAddr) {
        let (here, there, gone) = (sockets(ip), sockets(ip), sockets(ip));
        let reader = tokio::spawn(here.clone().read(None));
        let (nobody, somebody) = (at(ip, &gone), at(ip, &there));
        drop(gone);
        let question = |transaction| [&[0; 15][..], &[transaction]].concat();
        let (mut refused, mut spared, mut unharmed) =
            (here.answers(nobody), here.answers(nobody), here.answers(somebody));
        refused.expect(1);
        spared.expect(2);
        unharmed.expect(3);
        here.send(nobody, &question(1)).unwrap();
        let Reply::Refused(error) = refused.next().await else { panic!("an answer from nobody") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        // What the kernel has to say about those keeps nothing from other tasks.
        for _ in 0..50 {
            here.send(nobody, &question(9)).unwrap();
            here.send(somebody, &question(3)).unwrap();
        }
        there.send(at(ip, &here), &[0, 0, 0, 1, 0, 0, 0, 3]).unwrap();
        assert!(matches!(unharmed.next().await, Reply::Datagram(_)));
        let silence = tokio::time::timeout(Duration::from_millis(50), spared.next()).await;
        assert!(silence.is_err(), "that datagram was not the one that was refused: {silence:?}");
        reader.abort();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_where_nobody_is_refuses_at_once() {
        check_refusal(Ipv4Addr::LOCALHOST.into()).await;
        check_refusal(Ipv6Addr::LOCALHOST.into()).await;
    }
}
