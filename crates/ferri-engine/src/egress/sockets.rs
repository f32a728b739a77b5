//! How the sockets of each kind are set up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

/// The listener's backlog.
const BACKLOG: i32 = 1024;
/// What the kernel is asked to hold of the session's datagrams while we are busy: a burst of a thousand.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Datagrams to a group stay on their link.
const HOPS: u32 = 1;

/// A listener; on `::` also for IPv4.
pub(super) fn listener(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // A restart must not wait for the connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A datagram socket of one family.
pub(super) fn datagrams(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Only a wish: the system may have a lower limit.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    #[cfg(target_os = "linux")]
    hear_of_unreached(&socket, addr)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// Has the kernel keep what the network says about datagrams that did not arrive.
#[cfg(target_os = "linux")]
fn hear_of_unreached(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};

    let set = if addr.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    };
    Ok(set?)
}

/// A datagram socket at our address, whose datagrams to groups leave there too.
pub(super) async fn datagrams_from(local: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(local, 0)).await?;
    SockRef::from(&socket).set_multicast_if_v4(&local)?;
    Ok(socket)
}

/// A socket for a group, at a port that all programs of a host share.
pub(super) fn group(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Every client of the host has this port, and each gets every datagram to a group.
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    let here: IpAddr = match addr.ip() {
        // Bound to the group, the socket does not hear what is sent to this host alone, from wherever.
        group if cfg!(unix) => group,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    if addr.is_ipv4() {
        socket.set_multicast_ttl_v4(HOPS)?;
        // Groups that other programs joined on interfaces that are not ours to use.
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v4(false)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_multicast_hops_v6(HOPS)?;
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v6(false)?;
    }
    socket.bind(&SocketAddr::new(here, addr.port()).into())?;
    UdpSocket::from_std(socket.into())
}
