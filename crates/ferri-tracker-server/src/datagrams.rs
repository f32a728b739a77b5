//! The tracker over UDP: a worker takes what has come in with one call, up to [`BATCH`] datagrams, and sends all answers with
//! another. It never waits for room to send: who gets no answer asks again.
//!
//! A socket that is bound to no address in particular answers from the one that was asked ([`source`]), since a client takes no
//! answer from elsewhere. Such answers leave one by one: `sendmmsg` could send them together, but no safe interface to it takes where
//! each comes from and says how many left.

mod source;

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ferri_tracker::server::udp::ANSWER_BYTES_MAX;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;

use crate::service::{Service, count};
use source::Source;

/// Datagrams taken with one call. Beyond this the calls cost nothing any more beside the work.
const BATCH: usize = 64;

/// Bytes looked at of a datagram. Larger than any request of BEP 15 with options (BEP 41).
const DATAGRAM_MAX: usize = 2048;

/// Ends the waiting of the thread that serves this socket, after its `stop` was set.
pub(crate) fn wake(socket: &UdpSocket) {
    // An error says that the socket is not connected; the thread that waits is woken nevertheless.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Answers datagrams until `stop`.
pub(crate) fn serve(socket: &UdpSocket, service: &Service, stop: &AtomicBool) {
    match socket.local_addr() {
        Ok(SocketAddr::V6(_)) => serve_family::<SockaddrIn6>(socket, service, stop),
        _ => serve_family::<SockaddrIn>(socket, service, stop),
    }
}

/// An address as the kernel writes it, of one family.
trait KernelAddress: SockaddrLike + Copy {
    fn addr(self) -> SocketAddr;
}

/// A datagram: how long it is, who sent it, and which of our addresses it was sent to where that matters.
struct Datagram {
    length: usize,
    from: SocketAddr,
    to: Option<Source>,
}

impl KernelAddress for SockaddrIn {
    fn addr(self) -> SocketAddr {
        SocketAddrV4::from(self).into()
    }
}

impl KernelAddress for SockaddrIn6 {
    fn addr(self) -> SocketAddr {
        SocketAddrV6::from(self).into()
    }
}

fn serve_family<A: KernelAddress>(socket: &UdpSocket, service: &Service, stop: &AtomicBool) {
    let control = source::is_needed(socket).then(source::space);
    let mut headers = MultiHeaders::<A>::preallocate(BATCH, control);
    let mut incoming = Box::new([[0; DATAGRAM_MAX]; BATCH]);
    let mut answers = Box::new([[0; ANSWER_BYTES_MAX]; BATCH]);
    let mut view = service.view();
    while !stop.load(Ordering::Relaxed) {
        let received = match receive(socket, &mut headers, &mut incoming, stop) {
            Ok(received) => received,
            // Nothing came in time, or a signal did.
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            // An ICMP answer to an earlier datagram; nothing is wrong with the socket.
            Err(error) => {
                tracing::debug!(%error, "UDP receive");
                continue;
            }
        };
        let now = Instant::now();
        service.refresh(&mut view);
        let mut outgoing: SmallVec<[Outgoing<'_>; BATCH]> = SmallVec::new();
        for ((buffer, answer), Datagram { length, from, to }) in
            incoming.iter().zip(&mut *answers).zip(received)
        {
            let asker = SocketAddr::new(from.ip().to_canonical(), from.port());
            let Some(length) = service.datagram(&view, &buffer[..length], asker, now, answer) else {
                continue;
            };
            match to {
                None => outgoing.push(Outgoing { to: from.into(), bytes: &answer[..length] }),
                Some(source) => source.send(socket, &answer[..length], from).unwrap_or_else(|_| {
                    // No room, or no way there. The network might have lost it too.
                    count(&service.tally.unsent, 1);
                }),
            }
        }
        send(socket, &outgoing, service);
    }
}

/// An answer.
struct Outgoing<'a> {
    to: SocketAddrAny,
    bytes: &'a [u8],
}

type Received = SmallVec<[Datagram; BATCH]>;

/// Waits for a datagram, and takes those that came with it.
fn receive<A: KernelAddress>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<A>,
    incoming: &mut [[u8; DATAGRAM_MAX]; BATCH],
    stop: &AtomicBool,
) -> Result<Received, Errno> {
    let mut slices = incoming.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
    let flags = MsgFlags::MSG_WAITFORONE;
    let messages = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
    if stop.load(Ordering::Relaxed) {
        // What woke us was no datagram, and has no address.
        return Ok(Received::new());
    }
    let datagram = |message: RecvMsg<'_, '_, A>| {
        let from = message.address?.addr();
        Some(Datagram { length: message.bytes, from, to: Source::of(&message) })
    };
    Ok(messages.map_while(datagram).collect())
}

fn send(socket: &UdpSocket, outgoing: &[Outgoing<'_>], service: &Service) {
    let slices: SmallVec<[[IoSlice<'_>; 1]; BATCH]> =
        outgoing.iter().map(|answer| [IoSlice::new(answer.bytes)]).collect();
    let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; BATCH]> =
        outgoing.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: SmallVec<[MMsgHdr<'_>; BATCH]> = outgoing
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((answer, slice), control)| MMsgHdr::new_with_addr(&answer.to, slice, control))
        .collect();
    let mut rest = &mut messages[..];
    while !rest.is_empty() {
        let done = match sendmmsg(socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(rustix::io::Errno::INTR) => 0,
            // The socket is full. The network might have lost them too; the askers ask again.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => {
                count(&service.tally.unsent, rest.len() as u64);
                return;
            }
            // That client cannot be reached; the others can.
            Err(_) => {
                count(&service.tally.unsent, 1);
                1
            }
        };
        let done = done.min(rest.len());
        rest = &mut rest[done..];
    }
}
