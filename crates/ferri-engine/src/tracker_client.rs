//! Asking a tracker, over HTTP or UDP: one question, one answer, within the deadline of `ferri_tracker::limits`.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ferri_metainfo::InfoHash;
use ferri_tracker::exchange::{self, Answer, Exchange, Query};
use ferri_tracker::limits::{REQUEST_TIME_MAX, RESPONSE_BYTES_MAX};
use ferri_tracker::udp::Family;
use ferri_tracker::url::{Transport, UdpTarget};
use ferri_tracker::{Announce, AnnounceResponse, Scrape, TrackerError, http as tracker_http};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{sleep_until, timeout};

use crate::http::{Http, HttpError};

/// A tracker's datagram: room for a full UDP packet.
const DATAGRAM_MAX: usize = 64 << 10;

/// Announces once to `url`, from `bind` when given.
pub(crate) async fn announce(
    client: &Http,
    bind: Option<IpAddr>,
    url: &str,
    announce: Announce,
) -> Result<AnnounceResponse, TrackerError> {
    let work = async {
        match Transport::of(url)? {
            Transport::Http => {
                let (status, body) = over_http(client, &tracker_http::announce_url(url, &announce)?).await?;
                tracker_http::announce_answer(status, &body)
            }
            Transport::Udp => match over_udp(bind, url, Query::Announce(announce)).await? {
                Answer::Announce(response) => Ok(response),
                Answer::Scrape(_) => Err(confused()),
            },
        }
    };
    timeout(REQUEST_TIME_MAX, work).await.unwrap_or(Err(TrackerError::TimedOut))
}

/// Asks for the numbers of one swarm. `url` is a scrape address for HTTP, an announce address for UDP.
pub(crate) async fn scrape(
    client: &Http,
    bind: Option<IpAddr>,
    url: &str,
    info_hash: InfoHash,
) -> Result<Scrape, TrackerError> {
    let work = async {
        match Transport::of(url)? {
            Transport::Http => {
                let (status, body) = over_http(client, url).await?;
                let swarms = tracker_http::scrape_answer(status, &body)?;
                swarms.into_iter().find_map(|(hash, scrape)| (hash == info_hash).then_some(scrape))
            }
            Transport::Udp => match over_udp(bind, url, Query::Scrape(vec![info_hash])).await? {
                Answer::Scrape(swarms) => swarms.first().copied(),
                Answer::Announce(_) => None,
            },
        }
        .ok_or_else(confused)
    };
    timeout(REQUEST_TIME_MAX, work).await.unwrap_or(Err(TrackerError::TimedOut))
}

fn confused() -> TrackerError {
    TrackerError::Malformed { why: "it answers another question".to_owned() }
}

async fn over_http(client: &Http, url: &str) -> Result<(u16, Vec<u8>), TrackerError> {
    match client.get(url, RESPONSE_BYTES_MAX).await {
        Ok((status, body)) => Ok((status.as_u16(), body)),
        Err(HttpError { timeout: true, .. }) => Err(TrackerError::TimedOut),
        Err(HttpError { too_long: true, .. }) => Err(TrackerError::TooLong),
        Err(HttpError { unseen: true, text, .. }) => Err(TrackerError::Unreachable { why: text }),
        Err(HttpError { text, .. }) => Err(TrackerError::Malformed { why: text }),
    }
}

/// A socket of its own for each exchange: connected, so that the kernel drops what others send to it.
async fn over_udp(bind: Option<IpAddr>, url: &str, query: Query) -> Result<Answer, TrackerError> {
    let target = UdpTarget::parse(url)?;
    let socket = connect(bind, &target).await?;
    let family = Family::of(socket.peer_addr().map_err(unreachable)?);
    let mut exchange = Exchange::new(query, target.url_data, family, None, rand::random(), Instant::now());
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        while let Some(output) = exchange.poll_output() {
            match output {
                // A datagram that cannot leave now is repeated like one that was lost.
                exchange::Output::Send(datagram) => drop(socket.send(&datagram).await),
                exchange::Output::Done(result) => return result,
            }
        }
        let deadline = exchange.poll_timeout().unwrap_or_else(Instant::now);
        tokio::select! {
            received = socket.recv(&mut buffer) => match received {
                Ok(length) => exchange.handle(exchange::Input::Datagram(&buffer[..length]), Instant::now()),
                Err(error) => return Err(unreachable(error)),
            },
            () = sleep_until(deadline.into()) => exchange.handle(exchange::Input::Timeout, Instant::now()),
        }
    }
}

/// The first address of the tracker's name that fits the address we are bound to.
async fn connect(bind: Option<IpAddr>, target: &UdpTarget) -> Result<UdpSocket, TrackerError> {
    let bind = bind.filter(|ip| !ip.is_unspecified());
    let addrs = lookup_host((target.host.as_str(), target.port)).await;
    let addrs =
        addrs.map_err(|_| TrackerError::Unreachable { why: "its name does not resolve".to_owned() })?;
    let mut failure = None;
    for addr in addrs.filter(|addr| bind.is_none_or(|ip| ip.is_ipv4() == addr.is_ipv4())) {
        let any = if addr.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        let result = async {
            let socket = UdpSocket::bind(SocketAddr::new(bind.unwrap_or(any), 0)).await?;
            socket.connect(addr).await?;
            Ok(socket)
        };
        match result.await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = Some(unreachable(error)),
        }
    }
    Err(failure.unwrap_or_else(|| TrackerError::Unreachable {
        why: "it has no address of the family that we are bound to".to_owned(),
    }))
}

fn unreachable(error: std::io::Error) -> TrackerError {
    TrackerError::Unreachable { why: error.to_string() }
}
