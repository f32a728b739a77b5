//! From the name of a server to a connection: looked up, judged, and dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferri_tracker::udp::Family;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use url::Url;

use super::{Fault, HttpError};
use crate::address_policy::{Hop, judge};
use crate::egress::{Egress, LookupError, is_without_route};
use crate::feature::Feature;

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
    /// `None` is any.
    family: Option<Family>,
}

impl Place {
    pub(super) fn of(url: &Url, family: Option<Family>) -> Result<Self, HttpError> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(HttpError::new(Fault::Useless, "not a usable address: it names no host"));
        };
        let tls = url.scheme() == "https";
        if tls && !Feature::Tls.is_built() {
            return Err(HttpError::no_tls());
        }
        Ok(Self { tls, host: host.to_owned(), port, family })
    }

    /// The host without brackets.
    pub(super) fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// A connection to one of the server's addresses, and which.
pub(super) async fn dial(
    egress: &Arc<Egress>,
    place: &Place,
    hop: &Hop<'_>,
) -> Result<(TcpStream, IpAddr), HttpError> {
    let addrs = addresses(egress, place, hop).await?;
    let stream = race(egress, &addrs).await.map_err(|error| {
        // Without an address of ours to come from, it is not the server that fails.
        let is_ours = egress.source().is_none() && is_without_route(&error);
        HttpError::new(if is_ours { Fault::NoWay } else { Fault::Unseen }, error.to_string())
    })?;
    let ip = stream.peer_addr().map_err(|error| HttpError::new(Fault::Unseen, error.to_string()))?.ip();
    Ok((stream, ip))
}

/// Those that may be connected to.
async fn addresses(egress: &Egress, place: &Place, hop: &Hop<'_>) -> Result<Vec<SocketAddr>, HttpError> {
    let found = egress.look_up(place.name(), place.port, place.family).await;
    let found = found.map_err(|error| match error {
        LookupError::Unknown(_) => HttpError::new(Fault::Name, "the server's name does not resolve"),
        error => HttpError::new(Fault::Name, error.to_string()),
    })?;
    let mut refused = None;
    let mut allowed = Vec::new();
    for addr in found {
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
async fn race(egress: &Arc<Egress>, addrs: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut dials = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    let mut rest = addrs.iter();
    loop {
        match rest.next() {
            Some(&addr) => {
                let egress = egress.clone();
                dials.spawn(async move { egress.connect(addr).await });
            }
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
