//! From which of its addresses a machine answers a datagram (`IP_PKTINFO`, `IPV6_PKTINFO`).
//!
//! A socket on `0.0.0.0` or `[::]` would answer from the address that routing prefers: of several on one interface, temporary ones of
//! IPv6 among them, that is seldom the one that was asked.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};

use nix::libc;
use nix::sys::socket::{ControlMessageOwned, RecvMsg, setsockopt, sockopt};
use socket2::{MsgHdr, SockAddr, SockRef};

/// Bytes of a control message with the larger of both structures, as the kernel lays it out: its length, level and type, then the
/// structure, all of it aligned.
const CONTROL_MAX: usize = HEAD + 24;

/// Length, level and type.
const HEAD: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();

/// Whether answers of this socket must say where they come from. From then on its datagrams say where they were sent to.
pub(super) fn is_needed(socket: &UdpSocket) -> bool {
    match socket.local_addr() {
        Ok(SocketAddr::V4(addr)) if addr.ip().is_unspecified() => {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true).is_ok()
        }
        Ok(SocketAddr::V6(addr)) if addr.ip().is_unspecified() => {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true).is_ok()
        }
        _ => false,
    }
}

/// Room for what a datagram says besides.
pub(super) fn space() -> Vec<u8> {
    nix::cmsg_space!(libc::in6_pktinfo)
}

/// One of our addresses, as a control message that makes a datagram leave from there.
#[derive(Clone, Copy)]
pub(super) struct Source {
    control: [u8; CONTROL_MAX],
    length: usize,
}

impl Source {
    /// Where a datagram was sent to, if it says so.
    pub(super) fn of<A>(message: &RecvMsg<'_, '_, A>) -> Option<Self> {
        message.cmsgs().ok()?.find_map(|control| match control {
            // The interface is left to routing.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let mut body = [0; 12];
                body[4..8].copy_from_slice(&info.ipi_spec_dst.s_addr.to_ne_bytes());
                Some(Self::new(libc::IPPROTO_IP, libc::IP_PKTINFO, &body))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let mut body = [0; 20];
                body[..16].copy_from_slice(&info.ipi6_addr.s6_addr);
                Some(Self::new(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &body))
            }
            _ => None,
        })
    }

    fn new(level: libc::c_int, kind: libc::c_int, body: &[u8]) -> Self {
        let mut control = [0; CONTROL_MAX];
        let used = HEAD + body.len();
        control[..size_of::<usize>()].copy_from_slice(&used.to_ne_bytes());
        control[HEAD - 8..HEAD - 4].copy_from_slice(&level.to_ne_bytes());
        control[HEAD - 4..HEAD].copy_from_slice(&kind.to_ne_bytes());
        control[HEAD..used].copy_from_slice(body);
        Self { control, length: used.next_multiple_of(size_of::<usize>()) }
    }

    /// Sends from there, if the socket has room.
    pub(super) fn send(&self, socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = SockAddr::from(to);
        let buffers = [IoSlice::new(bytes)];
        let message =
            MsgHdr::new().with_addr(&to).with_buffers(&buffers).with_control(&self.control[..self.length]);
        SockRef::from(socket).sendmsg(&message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL).map(drop)
    }
}
