//! Asking a tracker, over HTTP or UDP: one question, one answer, within the deadline of `ferri_tracker::limits`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::InfoHash;
use ferri_tracker::exchange::{self, Answer, Exchange, Query};
use ferri_tracker::limits::{REQUEST_TIME_MAX, RESPONSE_BYTES_MAX};
use ferri_tracker::udp::Family;
use ferri_tracker::url::{Transport, UdpTarget};
use ferri_tracker::{Announce, AnnounceResponse, Scrape, TrackerError, http as tracker_http};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{sleep_until, timeout};

use crate::address_policy::{Named, judge_datagram};
use crate::http::{Answer as HttpAnswer, Ask, Fault, Http};

/// A tracker's datagram: room for a full UDP packet.
const DATAGRAM_MAX: usize = 64 << 10;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) http: Arc<Http>,
    /// The address to ask from.
    pub(crate) bind: Option<IpAddr>,
    /// Whether the user himself named the tracker.
    pub(crate) is_typed: bool,
}

impl Client {
    /// For a request on top of the tracker's URL `base`.
    fn named(&self, base: &str) -> Named {
        if self.is_typed { Named::ByUser } else { Named::ByTorrent { own_query: base.contains('?') } }
    }
}

/// Announces once to `url`.
pub(crate) async fn announce(
    client: &Client,
    url: &str,
    announce: Announce,
) -> Result<AnnounceResponse, TrackerError> {
    let work = async {
        match Transport::of(url)? {
            Transport::Http => {
                let asked = tracker_http::announce_url(url, &announce)?;
                let answer = over_http(client, &asked, client.named(url)).await?;
                let response = tracker_http::announce_answer(answer.status.as_u16(), &answer.body);
                response.map_err(|error| error.with_retry_after(answer.retry_after))
            }
            Transport::Udp => match over_udp(client, url, Query::Announce(announce)).await? {
                Answer::Announce(response) => Ok(response),
                Answer::Scrape(_) => Err(confused()),
            },
        }
    };
    timeout(REQUEST_TIME_MAX, work).await.unwrap_or(Err(TrackerError::TimedOut))
}

/// Asks for the numbers of one swarm. `url` is a scrape address for HTTP, an announce address for UDP.
pub(crate) async fn scrape(client: &Client, url: &str, info_hash: InfoHash) -> Result<Scrape, TrackerError> {
    let work = async {
        match Transport::of(url)? {
            Transport::Http => {
                let (base, query) = url.split_once("info_hash=").unwrap_or((url, ""));
                let base = if query.contains('&') { url } else { base.trim_end_matches('?') };
                let answer = over_http(client, url, client.named(base)).await?;
                let swarms = tracker_http::scrape_answer(answer.status.as_u16(), &answer.body)?;
                swarms.into_iter().find_map(|(hash, scrape)| (hash == info_hash).then_some(scrape))
            }
            Transport::Udp => match over_udp(client, url, Query::Scrape(vec![info_hash])).await? {
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

async fn over_http(client: &Client, url: &str, named: Named) -> Result<HttpAnswer, TrackerError> {
    let ask = Ask { url, limit: RESPONSE_BYTES_MAX, named, family: None };
    client.http.get(ask).await.map_err(|error| match error.fault {
        Fault::Name | Fault::NoWay | Fault::Unseen => TrackerError::Unreachable { why: error.text },
        Fault::TimedOut => TrackerError::TimedOut,
        Fault::TooLong => TrackerError::TooLong,
        Fault::HungUp | Fault::Useless => TrackerError::Malformed { why: error.text },
    })
}

/// A socket of its own for each exchange: connected, so that the kernel drops what others send to it.
async fn over_udp(client: &Client, url: &str, query: Query) -> Result<Answer, TrackerError> {
    let target = UdpTarget::parse(url)?;
    let socket = connect(client, &target).await?;
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
async fn connect(client: &Client, target: &UdpTarget) -> Result<UdpSocket, TrackerError> {
    let bind = client.bind.filter(|ip| !ip.is_unspecified());
    let named = client.named("");
    let addrs = lookup_host((target.host.as_str(), target.port)).await;
    let addrs =
        addrs.map_err(|_| TrackerError::Unreachable { why: "its name does not resolve".to_owned() })?;
    let mut failure = None;
    for addr in addrs.filter(|addr| bind.is_none_or(|ip| ip.is_ipv4() == addr.is_ipv4())) {
        let any = if addr.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        if let Err(refusal) = judge_datagram(named, addr.ip()) {
            failure = Some(TrackerError::Unreachable { why: refusal.to_string() });
            continue;
        }
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
