//! Which datagrams did not arrive, as ICMP tells: for a socket that speaks to many, Linux keeps that in a queue beside
//! what came. Other systems tell only a socket that speaks to one address; there a task that waits for an answer waits
//! in vain.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A datagram that did not arrive.
#[derive(Debug)]
pub(super) struct Unreached {
    /// Where it should have.
    pub(super) to: SocketAddr,
    /// As much of it as was sent back.
    pub(super) datagram: Bytes,
    /// Why.
    pub(super) error: io::Error,
}

/// The next one.
///
/// # Errors
/// `WouldBlock` when there is none, or the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn next(socket: &UdpSocket) -> io::Result<Unreached> {
    use std::io::IoSliceMut;
    use std::os::fd::AsRawFd;

    use nix::libc::{sock_extended_err, sockaddr_in6};
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

    /// Of the datagram, what tells it apart from others.
    const QUOTED_MAX: usize = 64;

    socket.try_io(Interest::ERROR, || {
        let mut quoted = [0; QUOTED_MAX];
        let mut control = nix::cmsg_space!(sock_extended_err, sockaddr_in6);
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let mut slices = [IoSliceMut::new(&mut quoted)];
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
        let code = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
                i32::try_from(error.ee_errno).ok()
            }
            _ => None,
        });
        let to = message.address.as_ref().and_then(addr_of);
        let length = message.bytes;
        match (to, code) {
            (Some(to), Some(code)) => Ok(Unreached {
                to,
                datagram: Bytes::copy_from_slice(&quoted[..length]),
                error: io::Error::from_raw_os_error(code),
            }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    })
}

#[cfg(target_os = "linux")]
fn addr_of(addr: &nix::sys::socket::SockaddrStorage) -> Option<SocketAddr> {
    let v4 = addr.as_sockaddr_in().map(|addr| SocketAddr::V4((*addr).into()));
    v4.or_else(|| addr.as_sockaddr_in6().map(|addr| SocketAddr::V6((*addr).into())))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn next(socket: &UdpSocket) -> io::Result<Unreached> {
    // What is said about the socket as a whole is taken, or the runtime would hear of it again and again.
    socket.try_io(Interest::ERROR, || {
        let _ = socket.take_error()?;
        Err(io::ErrorKind::WouldBlock.into())
    })
}
