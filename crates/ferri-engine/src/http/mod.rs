//! Asking HTTP servers without trusting them.
//!
//! A tracker or a web server may be slow, dead, endless, compressed a thousandfold or a circle of redirects: it costs at
//! most [`TIMEOUT`] and the caller's limit of bytes. What is read from the connection is counted, interim answers and
//! framing included, and what comes out of decompression. Every address is judged before it is connected to, see
//! [`crate::address_policy`]. TLS is verified; nothing here can turn that off. Proxies from the environment are not used, since they
//! would carry traffic elsewhere than the user bound it to.
//!
//! HTTP itself is spoken by `hyper`, one connection at a time, on sockets that `egress` made: a client that opens them by itself would hide
//! which address answers, how much came, and whether a connection was a fresh one.

mod body;
mod dial;
mod kept;
mod link;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use ferri_tracker::udp::Family;
use http_body_util::Empty;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use hyper::{Request, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use url::{Position, Url};

use crate::address_policy::{self, Hop, Named, Refusal, Zone};
use crate::egress::Egress;
use crate::feature::{Feature, NotBuilt};
use dial::Place;
use kept::Kept;
use link::Link;
use tls::Tls;

/// From the first packet to the last byte.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Looking up the name, connecting, and TLS, at each hop.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const REDIRECTS_MAX: usize = 5;
/// The longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What a server is told that asks who we are.
pub const USER_AGENT: &str = concat!("ferriswarm/", env!("CARGO_PKG_VERSION"));

/// What is asked for, and what may be done for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a str,
    /// Bytes of the answer, after decompression.
    pub(crate) limit: usize,
    pub(crate) named: Named,
    /// The family to go by; `None` is any.
    pub(crate) family: Option<Family>,
}

/// What a server answered, whatever the status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    /// How long it wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Where it sends us, when that is not followed: not http or https.
    pub(crate) location: Option<String>,
}

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct HttpError {
    pub(crate) text: String,
    pub(crate) fault: Fault,
}

/// What became of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The name did not resolve.
    Name,
    /// There is no way by this family: the server has no address of it, or we have none.
    NoWay,
    /// The server cannot have seen the request.
    Unseen,
    /// The connection ended before the answer began.
    HungUp,
    /// The deadline passed.
    TimedOut,
    /// The answer went on beyond the limit.
    TooLong,
    /// It answered something that is of no use.
    Useless,
    /// This build has no TLS.
    NoTls,
}

impl HttpError {
    fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { text: text.into(), fault }
    }

    fn no_tls() -> Self {
        Self::new(Fault::NoTls, NotBuilt(Feature::Tls).to_string())
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        Self::new(Fault::Unseen, refusal.to_string())
    }
}

/// What asks servers.
#[derive(Debug)]
pub(crate) struct Http {
    egress: Arc<Egress>,
    tls: Tls,
    kept: Kept,
}

impl Http {
    /// Connects by way of `egress`.
    pub(crate) fn new(egress: Arc<Egress>) -> Self {
        Self { egress, tls: Tls::default(), kept: Kept::default() }
    }

    /// With an egress of its own, which is bound to no address.
    #[cfg(test)]
    fn unbound() -> Self {
        Self::new(Arc::new(Egress::new(None)))
    }

    /// As [`Self::new`], with these instead of the system's root certificates.
    #[cfg(all(test, feature = "tls"))]
    fn with_tls(tls: Tls) -> Self {
        Self { tls, ..Self::unbound() }
    }

    /// Gets a document, by way of redirects.
    pub(crate) async fn get(&self, ask: Ask<'_>) -> Result<Answer, HttpError> {
        let asking = self.follow(ask);
        timeout(TIMEOUT, asking)
            .await
            .unwrap_or_else(|_| Err(HttpError::new(Fault::TimedOut, "no answer in time")))
    }

    /// Closes connections that were not used for a while. Ends when dropped.
    pub(crate) async fn close_idle(&self) {
        self.kept.close_idle().await;
    }

    async fn follow(&self, ask: Ask<'_>) -> Result<Answer, HttpError> {
        let first = Url::parse(ask.url)
            .map_err(|error| HttpError::new(Fault::Useless, format!("not a usable address: {error}")))?;
        let mut url = first.clone();
        let mut from = None;
        for _ in 0..=REDIRECTS_MAX {
            if !is_http(&url) {
                let text = format!("addresses of the kind {}: cannot be fetched", url.scheme());
                return Err(HttpError::new(Fault::Useless, text));
            }
            let hop = Hop { named: ask.named, from, path: url.path() };
            // A password is for the server that it was written for.
            let secret = (url.origin() == first.origin()).then(|| authorization(&first)).flatten();
            let (mut answer, zone) = self.one(&ask, &hop, &url, secret).await?;
            let target = answer.location.take().and_then(|location| url.join(&location).ok());
            match target {
                Some(target) if is_http(&target) => (url, from) = (target, Some(zone)),
                target => return Ok(Answer { location: target.map(String::from), ..answer }),
            }
        }
        Err(HttpError::new(Fault::Useless, "too many redirects"))
    }

    /// One request. A server may end a kept connection at any moment, also just when the next request arrives: then it is
    /// asked once more on a fresh one.
    async fn one(
        &self,
        ask: &Ask<'_>,
        hop: &Hop<'_>,
        url: &Url,
        secret: Option<HeaderValue>,
    ) -> Result<(Answer, Zone), HttpError> {
        let place = Place::of(url, ask.family)?;
        let request = request(url, secret)?;
        if let Some(link) = self.kept.take(&place, |ip| address_policy::judge(hop, ip).is_ok()) {
            match self.answer_over(link, &place, request.clone(), ask.limit).await {
                Err(HttpError { fault: Fault::HungUp, .. }) => {}
                answered => return answered,
            }
        }
        let opening = timeout(CONNECT_TIMEOUT, self.open(&place, hop));
        let opened = opening.await.unwrap_or_else(|_| {
            let seconds = CONNECT_TIMEOUT.as_secs();
            Err(HttpError::new(Fault::Unseen, format!("no connection within {seconds} seconds")))
        });
        self.answer_over(opened?, &place, request, ask.limit).await
    }

    async fn open(&self, place: &Place, hop: &Hop<'_>) -> Result<Link, HttpError> {
        let (stream, ip) = dial::dial(&self.egress, place, hop).await?;
        if place.tls {
            let tls = self.tls.handshake(place, stream).await?;
            Link::new(Box::new(tls), ip).await
        } else {
            Link::new(Box::new(stream), ip).await
        }
    }

    async fn answer_over(
        &self,
        mut link: Link,
        place: &Place,
        request: Request<Empty<Bytes>>,
        limit: usize,
    ) -> Result<(Answer, Zone), HttpError> {
        let zone = address_policy::zone(link.ip);
        let response = link.ask(request, limit, place).await?;
        let (head, incoming) = response.into_parts();
        let location = if head.status.is_redirection() { location(&head.headers) } else { None };
        let retry_after = retry_after(&head.headers);
        let answer = Answer { status: head.status, body: Vec::new(), retry_after, location };
        let body = body::read(&mut link, incoming, &head.headers, limit).await;
        // Where a redirect leads is known by its head, whatever its body is.
        let body = if answer.location.is_some() { body.unwrap_or_default() } else { body? };
        if link.is_ready() {
            self.kept.keep(place, link);
        }
        Ok((Answer { body, ..answer }, zone))
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

fn request(url: &Url, secret: Option<HeaderValue>) -> Result<Request<Empty<Bytes>>, HttpError> {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    // The port is left out when it is the usual one.
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let request = Request::get(if target.is_empty() { "/" } else { target })
        .header(HOST, host)
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "gzip")
        .header(hyper::header::USER_AGENT, USER_AGENT);
    let request = match secret {
        Some(secret) => request.header(AUTHORIZATION, secret),
        None => request,
    };
    let unusable = |error| HttpError::new(Fault::Useless, format!("not a usable address: {error}"));
    request.body(Empty::new()).map_err(unusable)
}

/// User name and password of the address, as HTTP has them (RFC 7617).
fn authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut plain: Vec<u8> = percent_decode_str(url.username()).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(url.password().unwrap_or("")));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(&plain))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn location(headers: &HeaderMap) -> Option<String> {
    let bytes = headers.get(LOCATION)?.as_bytes();
    let text = String::from_utf8_lossy(bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Only seconds: a date would need our clock to be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
