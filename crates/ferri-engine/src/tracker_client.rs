//! Asking a tracker, over HTTP or UDP: one question, one answer, within the deadline of `ferri_tracker::limits`.

use std::sync::Arc;

use ferri_metainfo::InfoHash;
use ferri_metainfo::display::redact_words;
use ferri_tracker::exchange::{Answer, Query};
use ferri_tracker::limits::RESPONSE_BYTES_MAX;
use ferri_tracker::udp::Family;
use ferri_tracker::url::{Transport, UdpTarget};
use ferri_tracker::{Announce, AnnounceResponse, Scrape, TrackerError, http as tracker_http};

use crate::address_policy::Named;
use crate::http::{Answer as HttpAnswer, Ask, Fault, Http};
use crate::tracker_udp::{Question, UdpTrackers};

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) http: Arc<Http>,
    pub(crate) udp: Arc<UdpTrackers>,
    /// Whether the user himself named the tracker.
    pub(crate) is_typed: bool,
}

impl Client {
    /// For a request on top of the tracker's URL `base`.
    fn named(&self, base: &str) -> Named {
        if self.is_typed { Named::ByUser } else { Named::ByTorrent { own_query: base.contains('?') } }
    }
}

/// Announces once to `url`, by one family. What the tracker says has no secrets of `url` in it.
pub(crate) async fn announce(
    client: &Client,
    url: &str,
    family: Family,
    announce: Announce,
) -> Result<AnnounceResponse, TrackerError> {
    let response = ask(client, url, family, announce).await.map_err(|error| error.without_secrets(url))?;
    let warning = response.warning.map(|words| redact_words(&words, url));
    Ok(AnnounceResponse { warning, ..response })
}

async fn ask(
    client: &Client,
    url: &str,
    family: Family,
    announce: Announce,
) -> Result<AnnounceResponse, TrackerError> {
    match Transport::of(url)? {
        Transport::Http => {
            let asked = tracker_http::announce_url(url, &announce)?;
            let answer = over_http(client, &asked, client.named(url), Some(family)).await?;
            let response = tracker_http::announce_answer(answer.status.as_u16(), &answer.body);
            response.map_err(|error| error.with_retry_after(answer.retry_after))
        }
        Transport::Udp => match over_udp(client, url, Query::Announce(announce), Some(family)).await? {
            Answer::Announce(response) => Ok(response),
            Answer::Scrape(_) => Err(confused()),
        },
    }
}

/// Asks for the numbers of one swarm. `url` is a scrape address for HTTP, an announce address for UDP.
pub(crate) async fn scrape(client: &Client, url: &str, info_hash: InfoHash) -> Result<Scrape, TrackerError> {
    scrape_if_known(client, url, info_hash).await?.ok_or_else(confused)
}

/// As [`scrape`]. `None`: the tracker leaves out the swarm, as some do with those that they do not know.
pub(crate) async fn scrape_if_known(
    client: &Client,
    url: &str,
    info_hash: InfoHash,
) -> Result<Option<Scrape>, TrackerError> {
    ask_for_numbers(client, url, info_hash).await.map_err(|error| error.without_secrets(url))
}

async fn ask_for_numbers(
    client: &Client,
    url: &str,
    info_hash: InfoHash,
) -> Result<Option<Scrape>, TrackerError> {
    Ok(match Transport::of(url)? {
        Transport::Http => {
            let (base, query) = url.split_once("info_hash=").unwrap_or((url, ""));
            let base = if query.contains('&') { url } else { base.trim_end_matches('?') };
            let answer = over_http(client, url, client.named(base), None).await?;
            let swarms = tracker_http::scrape_answer(answer.status.as_u16(), &answer.body)?;
            swarms.into_iter().find_map(|(hash, scrape)| (hash == info_hash).then_some(scrape))
        }
        Transport::Udp => match over_udp(client, url, Query::Scrape(vec![info_hash]), None).await? {
            Answer::Scrape(swarms) => swarms.first().copied(),
            Answer::Announce(_) => return Err(confused()),
        },
    })
}

fn confused() -> TrackerError {
    TrackerError::Malformed { why: "it answers another question".to_owned() }
}

async fn over_http(
    client: &Client,
    url: &str,
    named: Named,
    family: Option<Family>,
) -> Result<HttpAnswer, TrackerError> {
    let ask = Ask { url, limit: RESPONSE_BYTES_MAX, named, family };
    client.http.get(ask).await.map_err(|error| match error.fault {
        Fault::NoWay => TrackerError::NoWay { why: error.text },
        Fault::Name | Fault::Unseen => TrackerError::Unreachable { why: error.text },
        Fault::NoTls => TrackerError::BadUrl { why: error.text },
        Fault::TimedOut => TrackerError::TimedOut,
        Fault::TooLong => TrackerError::TooLong,
        Fault::HungUp | Fault::Useless => TrackerError::Malformed { why: error.text },
    })
}

async fn over_udp(
    client: &Client,
    url: &str,
    query: Query,
    family: Option<Family>,
) -> Result<Answer, TrackerError> {
    let target = UdpTarget::parse(url)?;
    // A datagram has no query that another service understands.
    let named = client.named("");
    client.udp.ask(Question { target: &target, query, family, named }).await
}
