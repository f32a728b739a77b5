//! The one door to the network: it makes every socket and looks up every name of a session, a fetch or a DHT node.
//!
//! What leaves, leaves from the address that the user bound us to. Who may be spoken to is decided elsewhere
//! (`address_policy`), and so is what is said.
//!
//! Two libraries are not behind it. `crab_nat` (PCP, NAT-PMP) opens a socket of its own for each question to the gateway
//! and takes none from us; it is only asked when the way to the gateway begins at the address we are bound to (`route`),
//! and then the system chooses that address. `if-addrs` asks the kernel of this machine for its interfaces.

mod names;
mod sockets;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
#[cfg(test)]
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_tracker::udp::Family;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use self::names::Names;
use crate::Error;
use crate::peer::link::Link;
#[cfg(test)]
use crate::peer::memory::Net;

pub use self::names::LookupError;
pub(crate) use self::names::host_and_port;

/// Ports tried first when the caller has no wish: those that people opened for BitTorrent long ago.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// An address is looked for on its link for a second; a system that was told to look more than once takes longer.
const USABLE_LIMIT: Duration = Duration::from_secs(5);
/// How often a socket is tried until then.
const USABLE_LOOK: Duration = Duration::from_millis(100);

/// The way out, and in.
#[derive(Debug)]
pub(crate) struct Egress {
    /// As the user said it; an unspecified address chooses a family alone.
    bind: Option<IpAddr>,
    names: Names,
    /// Instead of the system's network: where peers are, and our address among them.
    #[cfg(test)]
    in_memory: Option<(Arc<Net>, SocketAddr)>,
}

impl Egress {
    /// Everything leaves from `bind`, when given.
    pub(crate) fn new(bind: Option<IpAddr>) -> Self {
        Self {
            bind,
            names: Names::of_the_system(),
            #[cfg(test)]
            in_memory: None,
        }
    }

    /// Peers are dialled in memory, from `addr`.
    #[cfg(test)]
    pub(crate) fn in_memory(net: Arc<Net>, addr: SocketAddr) -> Self {
        Self { in_memory: Some((net, addr)), ..Self::new(None) }
    }

    /// A connection to a peer.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn link(&self, to: SocketAddr) -> io::Result<Link> {
        #[cfg(test)]
        if let Some((net, addr)) = &self.in_memory {
            return net.dial(*addr, to).await;
        }
        Ok(Link::tcp(self.connect(to).await?, to))
    }

    /// The address that everything leaves from; `None`: the system chooses.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.bind.filter(|ip| !ip.is_unspecified())
    }

    /// Whether there is a way to addresses of this family, as far as the user decides it.
    pub(crate) fn speaks(&self, family: Family) -> bool {
        match self.bind {
            Some(IpAddr::V4(_)) => family == Family::V4,
            Some(IpAddr::V6(ip)) if !ip.is_unspecified() => family == Family::V6,
            // A socket on `::` takes both.
            _ => true,
        }
    }

    /// The addresses of a host that can be spoken to, those that the system prefers first; of one family, when given. None:
    /// the name stands for something, but not for that.
    ///
    /// # Errors
    /// The name stands for nothing, or no server said so in time.
    pub(crate) async fn look_up(
        &self,
        host: &str,
        port: u16,
        family: Option<Family>,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        let mut addrs = self.names.look_up(host, port).await?;
        addrs.retain(|addr| {
            let its = if addr.is_ipv4() { Family::V4 } else { Family::V6 };
            self.speaks(its) && family.is_none_or(|family| family == its)
        });
        Ok(addrs)
    }

    /// A connection to a server.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        connect(self.source(), to).await
    }

    /// A connection to the gateway, from our address on its side.
    ///
    /// # Errors
    /// What the system says.
    #[cfg_attr(not(feature = "port-mapping"), expect(dead_code, reason = "only `port-mapping` needs it"))]
    pub(crate) async fn connect_from(&self, local: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
        connect(Some(local.into()), to).await
    }

    /// The session's listener, for both families where the system and the user allow it; at `port`, or at one of the usual
    /// ones. Waits a little for an address of this machine that cannot be used yet.
    ///
    /// # Errors
    /// [`Error::Listen`] when no address is to be had.
    pub(crate) async fn listen(&self, port: Option<u16>) -> Result<TcpListener, Error> {
        once_usable(|| self.listen_now(port)).await
    }

    fn listen_now(&self, port: Option<u16>) -> Result<TcpListener, Error> {
        let ips = match self.bind {
            Some(ip) => vec![ip],
            None => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
        };
        let ports: Vec<u16> = match port {
            Some(port) => vec![port],
            None => PORTS.chain([0]).collect(),
        };
        let mut failure = None;
        for port in ports {
            for &ip in &ips {
                let addr = SocketAddr::new(ip, port);
                match sockets::listener(addr) {
                    Ok(listener) => return Ok(listener),
                    Err(source) => failure = Some(Error::Listen { addr, source }),
                }
            }
        }
        Err(failure.unwrap_or(Error::Closed))
    }

    /// The session's datagram sockets, one a family, at one port; 0 lets the system choose.
    ///
    /// # Errors
    /// [`Error::Listen`] when no family is to be had.
    pub(crate) fn datagrams(&self, port: u16) -> Result<[Option<UdpSocket>; 2], Error> {
        if let Some(ip) = self.bind {
            let addr = SocketAddr::new(ip, port);
            let socket = sockets::datagrams(addr).map_err(|source| Error::Listen { addr, source })?;
            return Ok(if ip.is_ipv4() { [Some(socket), None] } else { [None, Some(socket)] });
        }
        let addr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let v4 = sockets::datagrams(addr);
        let port =
            v4.as_ref().ok().and_then(|socket| socket.local_addr().ok()).map_or(port, |addr| addr.port());
        let v6 = sockets::datagrams(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
        match (v4, v6) {
            (Err(source), Err(_)) => Err(Error::Listen { addr, source }),
            // A system without IPv4 or without IPv6 has the other one.
            (v4, v6) => Ok([v4.ok(), v6.ok()]),
        }
    }

    /// A datagram socket that speaks, also to groups, on the network where `local` is our address.
    ///
    /// # Errors
    /// What the system says.
    #[cfg_attr(not(feature = "port-mapping"), expect(dead_code, reason = "only `port-mapping` needs it"))]
    pub(crate) async fn datagrams_from(&self, local: Ipv4Addr) -> io::Result<UdpSocket> {
        sockets::datagrams_from(local).await
    }

    /// A socket that hears a group of local networks, at a port that other programs have too. No network is joined yet.
    ///
    /// # Errors
    /// What the system says; mostly that another program has the port alone, or that the family is not there.
    #[cfg_attr(not(feature = "lsd"), expect(dead_code, reason = "only `lsd` needs it"))]
    pub(crate) fn group(&self, group: SocketAddr) -> io::Result<UdpSocket> {
        sockets::group(group)
    }

    /// Our address for datagrams to `to`. None is sent.
    pub(crate) fn source_to(&self, to: SocketAddr) -> Option<IpAddr> {
        let socket = std::net::UdpSocket::bind((unspecified(to.ip()), 0)).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|addr| addr.ip())
    }
}

/// The addresses of `HOST:PORT` that can be spoken to from `bind`; none when the host has no address of that family.
///
/// # Errors
/// Why the name has none at all.
pub async fn look_up(place: &str, bind: Option<IpAddr>) -> Result<Vec<SocketAddr>, LookupError> {
    let (host, port) = host_and_port(place).ok_or(LookupError::NoPlace)?;
    Egress::new(bind).look_up(host, port, None).await
}

/// Binds, again and again while the address is one of this machine and is of no use yet: one of IPv6 is looked for on its link
/// first (RFC 4862, section 5.4), which is when services of a machine that has just started begin.
pub(crate) async fn once_usable<T>(mut bind: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        match bind() {
            Err(Error::Listen { addr, source })
                if source.kind() == io::ErrorKind::AddrNotAvailable
                    && begun.elapsed() < USABLE_LIMIT
                    && is_ours(addr.ip()) =>
            {
                tokio::time::sleep(USABLE_LOOK).await;
            }
            done => return done,
        }
    }
}

/// Whether an interface of this machine has the address.
fn is_ours(ip: IpAddr) -> bool {
    if_addrs::get_if_addrs().is_ok_and(|interfaces| interfaces.iter().any(|interface| interface.ip() == ip))
}

async fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = from {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Any address of ours of that family.
fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Whether this machine has nothing to send from by the family that was tried.
pub(crate) fn is_without_route(error: &io::Error) -> bool {
    /// The error number of a system that does not know the family (Linux).
    const EAFNOSUPPORT: i32 = 97;
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn speaks(bind: Option<&str>) -> (bool, bool) {
        let egress = Egress::new(bind.map(|ip| ip.parse().unwrap()));
        (egress.speaks(Family::V4), egress.speaks(Family::V6))
    }

    #[test]
    fn an_address_that_is_bound_to_chooses_the_family() {
        assert_eq!(speaks(None), (true, true));
        assert_eq!(speaks(Some("127.0.0.1")), (true, false));
        assert_eq!(speaks(Some("0.0.0.0")), (true, false));
        assert_eq!(speaks(Some("::1")), (false, true));
        assert_eq!(speaks(Some("::")), (true, true));
    }

    #[tokio::test]
    async fn everything_leaves_from_the_address_that_is_bound_to() {
        let egress = Egress::new(Some([127, 0, 0, 83].into()));
        let listener = egress.listen(Some(0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(addr.ip(), egress.source().unwrap());
        let stream = egress.connect(addr).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), addr.ip());
        assert!(stream.nodelay().unwrap());
        let [Some(v4), None] = egress.datagrams(0).unwrap() else { panic!("another family") };
        assert_eq!(v4.local_addr().unwrap().ip(), addr.ip());
    }

    #[tokio::test]
    async fn a_name_is_answered_by_family() {
        let egress = Egress::new(None);
        let v4 = egress.look_up("127.0.0.1", 9, Some(Family::V4)).await.unwrap();
        assert_eq!(v4, [SocketAddr::from(([127, 0, 0, 1], 9))]);
        assert!(egress.look_up("127.0.0.1", 9, Some(Family::V6)).await.unwrap().is_empty());
        let egress = Egress::new(Some(Ipv6Addr::LOCALHOST.into()));
        assert!(egress.look_up("127.0.0.1", 9, None).await.unwrap().is_empty());
        assert_eq!(egress.look_up("::1", 9, None).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_place_has_a_host_and_a_port() {
        assert_eq!(look_up("[::1]:7", None).await.unwrap(), ["[::1]:7".parse().unwrap()]);
        assert!(matches!(look_up("::1", None).await, Err(LookupError::NoPlace)));
        assert!(look_up("127.0.0.1:7", Some(Ipv6Addr::LOCALHOST.into())).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_taken_port_is_said_and_the_usual_ones_are_tried() {
        let egress = Egress::new(Some([127, 0, 0, 84].into()));
        let first = egress.datagrams(0).unwrap();
        let port = first[0].as_ref().unwrap().local_addr().unwrap().port();
        assert!(matches!(egress.datagrams(port), Err(Error::Listen { addr, .. }) if addr.port() == port));
        let listeners = [egress.listen(None).await.unwrap(), egress.listen(None).await.unwrap()];
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        assert!(matches!(egress.listen(Some(ports[0])).await, Err(Error::Listen { .. })));
        assert!(ports[0] != ports[1] && ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }

    #[tokio::test]
    async fn an_address_of_this_machine_is_waited_for_and_another_is_not() {
        let unusable = |ip: [u8; 4]| Error::Listen {
            addr: (ip, 7).into(),
            source: io::ErrorKind::AddrNotAvailable.into(),
        };
        let mut looks = 0;
        let soon = once_usable(|| {
            looks += 1;
            if looks < 3 { Err(unusable([127, 0, 0, 1])) } else { Ok(looks) }
        });
        assert_eq!(soon.await.unwrap(), 3);
        let mut looks = 0;
        let never = once_usable(|| {
            looks += 1;
            Err::<(), _>(unusable([192, 0, 2, 1]))
        });
        assert!(never.await.is_err() && looks == 1);
    }
}
