//! From the name of a server to a connection: looked up, judged, and dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferri_tracker::udp::Family;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;
use url::{Host, Url};

use crate::address_policy::{Hop, judge};

use super::{Fault, HttpError};

/// How long an address has for itself before the next one is dialled as well (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(300);
/// Addresses of one name that are dialled.
const ADDRESSES_MAX: usize = 8;

/// A server, and the family by which it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tls: bool,
    /// In the URL's own form: an IPv6 address in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether only IPv4, or only IPv6.
    only_v4: Option<bool>,
}

impl Place {
    pub(super) fn of(url: &Url, family: Option<Family>) -> Result<Self, HttpError> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(HttpError::new(Fault::Useless, "not a usable address: it names no host"));
        };
        let only_v4 = family.map(|family| family == Family::V4);
        Ok(Self { tls: url.scheme() == "https", host: host.to_owned(), port, only_v4 })
    }

    /// The host without brackets.
    pub(super) fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// A connection to one of the server's addresses, and which.
pub(super) async fn dial(
    place: &Place,
    bind: Option<IpAddr>,
    hop: &Hop<'_>,
) -> Result<(TcpStream, IpAddr), HttpError> {
    let addrs = addresses(place, bind, hop).await?;
    let stream = race(&addrs, bind).await.map_err(|error| {
        // Without an address of ours to come from, it is not the server that fails.
        let is_ours = bind.is_none() && is_without_route(&error);
        HttpError::new(if is_ours { Fault::NoWay } else { Fault::Unseen }, error.to_string())
    })?;
    let ip = stream.peer_addr().map_err(|error| HttpError::new(Fault::Unseen, error.to_string()))?.ip();
    Ok((stream, ip))
}

/// Those that may be connected to.
async fn addresses(place: &Place, bind: Option<IpAddr>, hop: &Hop<'_>) -> Result<Vec<SocketAddr>, HttpError> {
    let found: Vec<SocketAddr> = match Host::parse(&place.host) {
        Ok(Host::Ipv4(ip)) => vec![(ip, place.port).into()],
        Ok(Host::Ipv6(ip)) => vec![(ip, place.port).into()],
        _ => lookup_host((place.host.as_str(), place.port))
            .await
            .map_err(|_| HttpError::new(Fault::Name, "the server's name does not resolve"))?
            .collect(),
    };
    let is_ours = |addr: &SocketAddr| bind.is_none_or(|ip| ip.is_ipv4() == addr.is_ipv4());
    let is_asked = |addr: &SocketAddr| place.only_v4.is_none_or(|v4| v4 == addr.is_ipv4());
    let mut refused = None;
    let mut allowed = Vec::new();
    for addr in found.into_iter().filter(|addr| is_ours(addr) && is_asked(addr)) {
        match judge(hop, addr.ip()) {
            Ok(_) => allowed.push(addr),
            Err(refusal) => refused = Some(refusal),
        }
    }
    allowed.truncate(ADDRESSES_MAX);
    match refused {
        _ if !allowed.is_empty() => Ok(allowed),
        Some(refusal) => Err(refusal.into()),
        None => Err(HttpError::new(Fault::NoWay, "it has no address of the family that is asked for")),
    }
}

/// The first of `addrs` that answers; each is dialled when the one before has failed or had its head start.
async fn race(addrs: &[SocketAddr], bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut dials = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    let mut rest = addrs.iter();
    loop {
        match rest.next() {
            Some(&addr) => drop(dials.spawn(connect(addr, bind))),
            None if dials.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(dialled) = dials.join_next() => match dialled {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => {}
            },
            () = sleep(HEAD_START), if 0 < rest.len() => {}
        }
    }
}

async fn connect(addr: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = bind {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    let stream = socket.connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether this machine has nothing to send from by the family that was tried.
pub(crate) fn is_without_route(error: &io::Error) -> bool {
    /// The error number of a system that does not know the family (Linux).
    const EAFNOSUPPORT: i32 = 97;
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}
