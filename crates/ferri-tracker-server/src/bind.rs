//! The sockets: for each address one TCP listener and one UDP socket a worker, which the kernel deals requests out to
//! (`SO_REUSEPORT`).
//!
//! The first socket of an address is bound without sharing it: so an address that another process serves is an error, and not
//! silently shared with it.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::Error;
use crate::options::{Listen, Scheme};

/// Connections that the kernel keeps for a worker until it takes them. The system's own bound (`somaxconn`) is the smaller one on most.
const BACKLOG: i32 = 4096;

/// Bytes of datagrams that wait for a worker, as far as the system allows: what comes in while it is not scheduled.
const UDP_BUFFER: usize = 4 << 20;

/// How long a worker waits for a datagram before it looks whether it is to stop, in case that nothing woke it.
pub(crate) const UDP_WAIT: Duration = Duration::from_secs(1);

/// Ports that are tried when any will do, until one is free for both TCP and UDP.
const PORTS_TRIED: u32 = 16;

/// The sockets of one address.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) addr: SocketAddr,
    pub(crate) scheme: Scheme,
    /// IPv4 is left to others on this port.
    pub(crate) only_v6: bool,
    /// One a worker.
    pub(crate) tcp: Vec<TcpListener>,
    /// One a worker; none for TLS.
    pub(crate) udp: Vec<UdpSocket>,
}

/// Binds everything that is to be served.
pub(crate) fn bind_all(listens: &[Listen], workers: usize) -> Result<Vec<Bound>, Error> {
    let mut addrs: Vec<(SocketAddr, Scheme)> = Vec::new();
    for listen in listens {
        for addr in resolve(&listen.place)? {
            let wanted = (addr, listen.scheme);
            // `--listen localhost:80 --listen 127.0.0.1:80` is one. Port 0 is another one each time.
            if addr.port() == 0 || !addrs.contains(&wanted) {
                addrs.push(wanted);
            }
        }
    }
    let mut bound = Vec::new();
    for (addr, scheme) in &addrs {
        // Beside an IPv4 address of the same port the IPv6 one leaves that family alone. Port 0 is another one each time.
        let is_same_port = |other: &SocketAddr| addr.port() != 0 && other.port() == addr.port();
        let has_v4 = addrs.iter().any(|(other, _)| other.is_ipv4() && is_same_port(other));
        let only_v6 = addr.is_ipv6() && (has_v4 || !addr.ip().is_unspecified());
        bound.push(bind(*addr, *scheme, workers, only_v6).map_err(|error| own_fault(error, &bound))?);
    }
    Ok(bound)
}

/// An address that is taken by another one that we listen on ourselves is told as that.
fn own_fault(error: Error, bound: &[Bound]) -> Error {
    let Error::Listen { addr, source } = &error else { return error };
    let is_in_the_way = |other: &SocketAddr| {
        let is_any = addr.ip().is_unspecified() || other.ip().is_unspecified();
        other.port() == addr.port()
            && other.is_ipv4() == addr.is_ipv4()
            && (is_any || other.ip() == addr.ip())
    };
    match bound.iter().map(|bound| bound.addr).find(is_in_the_way) {
        Some(other) if source.kind() == io::ErrorKind::AddrInUse => Error::Twice { addr: *addr, other },
        _ => error,
    }
}

fn resolve(place: &str) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(addr) = place.parse() {
        return Ok(vec![addr]);
    }
    let unknown = |source| Error::Resolve { place: place.to_owned(), source };
    let found: Vec<SocketAddr> = place.to_socket_addrs().map_err(unknown)?.collect();
    if found.is_empty() {
        return Err(unknown(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
    }
    Ok(found)
}

fn bind(addr: SocketAddr, scheme: Scheme, workers: usize, only_v6: bool) -> Result<Bound, Error> {
    let mut tries = if addr.port() == 0 { PORTS_TRIED } else { 1 };
    loop {
        tries -= 1;
        let tcp = share(addr, workers, |addr, sharing| tcp_socket(addr, only_v6, sharing))
            .map_err(|source| Error::Listen { addr, source })?;
        let (bound, tcp) = tcp;
        if scheme == Scheme::Https {
            return Ok(Bound { addr: bound, scheme, only_v6, tcp, udp: Vec::new() });
        }
        match share(bound, workers, |addr, sharing| udp_socket(addr, only_v6, sharing)) {
            Ok((_, udp)) => return Ok(Bound { addr: bound, scheme, only_v6, tcp, udp }),
            Err(source) if tries == 0 => return Err(Error::Listen { addr: bound, source }),
            // Another program has this port for UDP; TCP gets another one.
            Err(_) => {}
        }
    }
}

/// Whether the socket may be bound beside others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    No,
    Yes,
}

/// As many sockets on one address as there are workers.
fn share<T>(
    addr: SocketAddr,
    workers: usize,
    open: impl Fn(SocketAddr, Sharing) -> io::Result<(SocketAddr, T)>,
) -> io::Result<(SocketAddr, Vec<T>)> {
    let (addr, first) = open(addr, Sharing::No)?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(open(addr, Sharing::Yes)?.1);
    }
    Ok((addr, sockets))
}

fn tcp_socket(addr: SocketAddr, only_v6: bool, sharing: Sharing) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that linger do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Handed on to accepted connections: answers leave at once.
    socket.set_tcp_nodelay(true)?;
    let addr = bind_shared(&socket, addr, only_v6, sharing)?;
    socket.listen(BACKLOG)?;
    Ok((addr, socket.into()))
}

fn udp_socket(addr: SocketAddr, only_v6: bool, sharing: Sharing) -> io::Result<(SocketAddr, UdpSocket)> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_read_timeout(Some(UDP_WAIT))?;
    // A smaller buffer works too.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    let addr = bind_shared(&socket, addr, only_v6, sharing)?;
    Ok((addr, socket.into()))
}

fn bind_shared(socket: &Socket, addr: SocketAddr, only_v6: bool, sharing: Sharing) -> io::Result<SocketAddr> {
    if addr.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    if sharing == Sharing::Yes {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    // From here on the address is shared with the other workers, and with no other user's processes.
    socket.set_reuse_port(true)?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("bound to no internet address"))
}

/// The addresses under which others can ask what listens on `addr`. For the unspecified address those are this machine's.
pub(crate) fn reachable(addr: SocketAddr, only_v6: bool) -> Vec<SocketAddr> {
    if !addr.ip().is_unspecified() {
        return vec![addr];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
    ips.retain(|ip| is_told(*ip) && if ip.is_ipv4() { !only_v6 } else { addr.is_ipv6() });
    // What others reach comes before what only this machine does, and within that IPv4 first.
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    ips.dedup();
    if ips.iter().any(|ip| !ip.is_loopback()) {
        ips.retain(|ip| !ip.is_loopback());
    }
    if ips.is_empty() {
        ips.push(if addr.is_ipv4() { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    ips.into_iter().map(|ip| SocketAddr::new(ip, addr.port())).collect()
}

/// Link-local addresses need a zone, which an announce address cannot have.
fn is_told(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listen(place: &str) -> Listen {
        Listen { place: place.to_owned(), scheme: Scheme::Http }
    }

    #[test]
    fn every_worker_has_sockets_on_the_same_port_for_tcp_and_udp() {
        let bound = bind_all(&[listen("127.0.0.1:0")], 3).unwrap();
        assert_eq!((bound.len(), bound[0].tcp.len(), bound[0].udp.len()), (1, 3, 3));
        assert_ne!(bound[0].addr.port(), 0);
        assert!(bound[0].tcp.iter().all(|tcp| tcp.local_addr().unwrap() == bound[0].addr));
        assert!(bound[0].udp.iter().all(|udp| udp.local_addr().unwrap() == bound[0].addr));
    }

    #[test]
    fn askers_are_dealt_out_to_all_workers() {
        let bound = bind_all(&[listen("127.0.0.1:0")], 2).unwrap();
        let askers: Vec<(UdpSocket, std::net::TcpStream)> = (0..100)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.send_to(b"x", bound[0].addr).unwrap();
                (socket, std::net::TcpStream::connect(bound[0].addr).unwrap())
            })
            .collect();
        // On loopback everything has arrived. By chance alone one of two has fewer than 20 of 100 once in a billion runs.
        for (tcp, udp) in bound[0].tcp.iter().zip(&bound[0].udp) {
            udp.set_nonblocking(true).unwrap();
            let datagrams = (0..).take_while(|_| udp.recv(&mut [0; 9]).is_ok()).count();
            let connections = (0..).take_while(|_| tcp.accept().is_ok()).count();
            assert!((20..=80).contains(&datagrams), "{datagrams} datagrams");
            assert!((20..=80).contains(&connections), "{connections} connections");
        }
        drop(askers);
    }

    #[test]
    fn an_address_that_somebody_serves_is_not_shared_with_him() {
        let first = bind_all(&[listen("127.0.0.1:0")], 2).unwrap();
        let taken = first[0].addr;
        let error = bind_all(&[listen(&taken.to_string())], 2).unwrap_err();
        assert!(matches!(error, Error::Listen { addr, .. } if addr == taken), "{error}");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = socket.local_addr().unwrap().to_string();
        assert!(matches!(bind_all(&[listen(&taken)], 1), Err(Error::Listen { .. })));
    }

    #[test]
    fn an_address_of_both_families_leaves_room_for_one_of_its_own() {
        let both = bind_all(&[listen("[::]:0")], 1).unwrap();
        let port = both[0].addr.port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(both);
        let places = [listen(&format!("0.0.0.0:{port}")), listen(&format!("[::]:{port}"))];
        let each = bind_all(&places, 2).unwrap();
        assert_eq!(each.iter().map(|bound| bound.only_v6).collect::<Vec<_>>(), [false, true]);
        assert!(reachable(each[1].addr, true).iter().all(SocketAddr::is_ipv6));
        // Of any free ports each is another one.
        let each = bind_all(&[listen("127.0.0.1:0"), listen("[::]:0")], 1).unwrap();
        assert!(!each[1].only_v6);
        std::net::TcpStream::connect(("127.0.0.1", each[1].addr.port())).unwrap();
    }

    #[test]
    fn two_addresses_of_ours_that_are_in_each_others_way_are_both_named() {
        let port = bind_all(&[listen("127.0.0.1:0")], 1).unwrap()[0].addr.port();
        let places = [listen(&format!("127.0.0.1:{port}")), listen(&format!("0.0.0.0:{port}"))];
        let error = bind_all(&places, 1).unwrap_err();
        assert!(matches!(error, Error::Twice { .. }), "{error}");
    }

    #[test]
    fn nobody_is_told_to_ask_the_unspecified_address() {
        for addr in ["0.0.0.0:6969", "[::]:6969"] {
            let told = reachable(addr.parse().unwrap(), false);
            assert!(!told.is_empty() && told.iter().all(|told| !told.ip().is_unspecified()), "{told:?}");
            assert!(told.iter().all(|told| told.port() == 6969), "{told:?}");
        }
        let named = "192.0.2.1:80".parse().unwrap();
        assert_eq!(reachable(named, false), [named]);
    }
}
