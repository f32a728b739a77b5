//! The tracker over HTTP: `/announce`, `/scrape`, `/stats` and `/metrics` ([BEP 3], [7], [21], [23], [24], [31], [48]).
//!
//! Of a request only method, path and query are looked at; connections, headers and time-outs are the HTTP server's business.
//! Clients read refusals from the body, so those come with status 200, as everywhere; only other methods than GET get 405, and
//! other paths 404. Heads that cannot be read are the server's to refuse (400, 414, 431). Answers to announces and scrapes are
//! written where they are sent from, without another allocation.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [7]: https://www.bittorrent.org/beps/bep_0007.html
//! [21]: https://www.bittorrent.org/beps/bep_0021.html
//! [23]: https://www.bittorrent.org/beps/bep_0023.html
//! [24]: https://www.bittorrent.org/beps/bep_0024.html
//! [31]: https://www.bittorrent.org/beps/bep_0031.html
//! [48]: https://www.bittorrent.org/beps/bep_0048.html

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::access::Access;
use super::counters::{Counted, Protocol};
use super::group::{Compact, Has};
use super::hashing::identity;
use super::query::{Fault, Form, Query, Scraped};
use super::refusal::{Refusal, Retry};
use super::registry::Registry;
use super::shard::{Answer, Ask, unknown};
use super::swarm::{Families, Picks};
use super::words::Words;
use super::{metrics, path, stats};
use crate::announce::{Event, Scrape};
use crate::limits::URL_BYTES_MAX;

/// A request, as far as a tracker looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, in capitals as it came.
    pub method: &'a [u8],
    /// Path and query, as they came: `/announce?info_hash=...`.
    pub target: &'a [u8],
    /// Who asks: the other end of the connection, or the address that a trusted proxy vouches for.
    pub from: IpAddr,
    /// How the request got here.
    pub via: Via,
}

/// How a request got here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// From the asker itself. One from loopback is from this machine, and may see which torrents there are.
    Direct,
    /// Through a proxy, whose word about the address is taken. No client behind it is on this machine.
    Proxy,
}

/// What to write before the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The status code of HTTP.
    pub code: u16,
    /// What the body is.
    pub body: Body,
}

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// For clients.
    Bencode,
    /// For people.
    Text,
    /// For people.
    Html,
    /// For Prometheus. The shell may append metrics of its own.
    Metrics,
}

impl Body {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            // As every tracker says it.
            Self::Bencode => "text/plain",
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Answers a request. The body is appended to `out`, and is never empty.
pub fn answer(
    registry: &Registry,
    access: &Access,
    request: &Request<'_>,
    now: Instant,
    out: &mut Vec<u8>,
) -> Status {
    let from = request.from.to_canonical();
    let refusal = match respond(registry, access, request, now, out) {
        Ok(status) => return status,
        Err(refusal) => refusal,
    };
    registry.tallies.refused(refusal.reason(), from);
    match refusal {
        Refusal::NoSuchPath => {
            let key = if access.passkeys.is_some() { "/KEY" } else { "" };
            push_text(
                out,
                format_args!(
                    "This is a BitTorrent tracker. It answers at {key}/announce, {key}/scrape, /stats and /metrics.\n"
                ),
            );
            Status { code: 404, body: Body::Text }
        }
        refusal => {
            refuse(out, refusal);
            let code = if refusal == Refusal::Method { 405 } else { 200 };
            Status { code, body: Body::Bencode }
        }
    }
}

fn respond(
    registry: &Registry,
    access: &Access,
    request: &Request<'_>,
    now: Instant,
    out: &mut Vec<u8>,
) -> Result<Status, Refusal> {
    if request.method != b"GET" {
        return Err(Refusal::Method);
    }
    if URL_BYTES_MAX < request.target.len() {
        return Err(Refusal::Fault(Fault::TooLong));
    }
    let from = request.from.to_canonical();
    let (whole_path, query) = path::path_and_query(request.target);
    let (key, path) = path::split(whole_path);
    match (path, key) {
        (b"/announce", key) => {
            let user = access.user(key).map_err(Refusal::AccessRefusal)?;
            let query = Query::parse(query).map_err(Refusal::Fault)?;
            access.torrent(&query.info_hash).map_err(Refusal::AccessRefusal)?;
            let ask = Ask { user, ..ask(registry, &query, from) };
            registry.announce(&ask, now, |answer| write_announce(registry, answer, query.form, from, out))?;
            registry.tallies.answered(Protocol::Http, Counted::Announce, from);
        }
        (b"/scrape", key) => {
            access.user(key).map_err(Refusal::AccessRefusal)?;
            let scraped = Scraped::parse(query).map_err(Refusal::Fault)?;
            write_scrape(registry, access, &scraped, out);
            registry.tallies.answered(Protocol::Http, Counted::Scrape, from);
        }
        (b"/stats", None) => {
            let is_ours = request.via == Via::Direct && from.is_loopback();
            return Ok(stats::write(registry, query, is_ours, now, out));
        }
        (b"/metrics", None) => {
            metrics::write(registry, now, out);
            return Ok(Status { code: 200, body: Body::Metrics });
        }
        _ => return Err(Refusal::NoSuchPath),
    }
    Ok(Status { code: 200, body: Body::Bencode })
}

fn ask(registry: &Registry, query: &Query, from: IpAddr) -> Ask {
    let has = match (query.left, query.event) {
        // A client that says so is a seed, whatever else it says.
        (Some(0), _) | (_, Some(Event::Completed)) => Has::All,
        (_, Some(Event::Paused)) => Has::Enough,
        _ => Has::Some,
    };
    Ask {
        info_hash: query.info_hash,
        addr: SocketAddr::new(own_ip(registry, query, from), query.port),
        identity: identity(&query.peer_id, query.key),
        has,
        event: query.event,
        numwant: query.numwant,
        families: Families::Both,
        user: None,
    }
}

/// Where the asker says it is, if its word is taken, and otherwise where it is. BEP 7 names both addresses of an asker; of
/// those the one counts that is of the connection's family.
fn own_ip(registry: &Registry, query: &Query, from: IpAddr) -> IpAddr {
    if !registry.believes(from) {
        return from;
    }
    let of_family = match from {
        IpAddr::V4(_) => query.ipv4.map(IpAddr::from),
        IpAddr::V6(_) => query.ipv6.map(IpAddr::from),
    };
    query.ip.or(of_family).map_or(from, |ip| ip.to_canonical())
}

fn write_announce(registry: &Registry, answer: &Answer<'_>, form: Form, from: IpAddr, out: &mut Vec<u8>) {
    let Scrape { seeders, leechers, downloaded, .. } = answer.numbers;
    let min_interval = registry.options().min_interval.as_secs().min(u64::from(answer.interval));
    out.push(b'd');
    push_number(out, b"8:complete", u64::from(seeders));
    push_number(out, b"10:downloaded", u64::from(downloaded));
    out.extend_from_slice(b"11:external ip");
    match from {
        IpAddr::V4(ip) => push_bytes(out, &ip.octets()),
        IpAddr::V6(ip) => push_bytes(out, &ip.octets()),
    }
    push_number(out, b"10:incomplete", u64::from(leechers));
    push_number(out, b"8:interval", u64::from(answer.interval));
    push_number(out, b"12:min interval", min_interval);
    match form {
        Form::Compact => write_compact(&answer.picks, out),
        Form::Listed => write_list(&answer.picks, out),
    }
    out.push(b'e');
}

fn write_compact(picks: &Picks<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"5:peers");
    push_decimal(out, 6 * picks.v4().count() as u64);
    out.push(b':');
    picks.v4().for_each(|addr| out.extend_from_slice(addr));
    let v6 = picks.v6().count();
    if 0 < v6 {
        out.extend_from_slice(b"6:peers6");
        push_decimal(out, 18 * v6 as u64);
        out.push(b':');
        picks.v6().for_each(|addr| out.extend_from_slice(addr));
    }
}

fn write_list(picks: &Picks<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"5:peersl");
    let addrs = picks.v4().map(Compact::addr).chain(picks.v6().map(Compact::addr));
    for addr in addrs {
        let mut ip = Words::default();
        // Never fails: an address is shorter than what fits.
        let _ = write!(ip, "{}", addr.ip());
        out.extend_from_slice(b"d2:ip");
        push_bytes(out, ip.as_bytes());
        push_number(out, b"4:port", u64::from(addr.port()));
        out.push(b'e');
    }
    out.push(b'e');
}

/// Torrents that are not served are answered like unknown ones.
fn write_scrape(registry: &Registry, access: &Access, scraped: &Scraped, out: &mut Vec<u8>) {
    out.extend_from_slice(b"d5:filesd");
    for info_hash in scraped.info_hashes() {
        let numbers = match access.torrent(info_hash) {
            Ok(()) => registry.scrape(info_hash),
            Err(_) => unknown(),
        };
        push_bytes(out, info_hash.as_bytes());
        out.push(b'd');
        push_number(out, b"8:complete", u64::from(numbers.seeders));
        push_number(out, b"10:downloaded", u64::from(numbers.downloaded));
        push_number(out, b"11:downloaders", u64::from(numbers.downloaders.unwrap_or(0)));
        push_number(out, b"10:incomplete", u64::from(numbers.leechers));
        out.push(b'e');
    }
    out.extend_from_slice(b"ee");
}

fn refuse(out: &mut Vec<u8>, refusal: Refusal) {
    let mut words = Words::default();
    // Never fails: words that are too many are left out.
    let _ = write!(words, "{refusal}");
    out.extend_from_slice(b"d14:failure reason");
    push_bytes(out, words.as_bytes());
    match refusal.retry() {
        Retry::Unsaid => {}
        Retry::Minutes(minutes) => push_number(out, b"8:retry in", u64::from(minutes)),
        Retry::Never => out.extend_from_slice(b"8:retry in5:never"),
    }
    out.push(b'e');
}

/// A key and a number.
fn push_number(out: &mut Vec<u8>, key: &[u8], number: u64) {
    out.extend_from_slice(key);
    out.push(b'i');
    push_decimal(out, number);
    out.push(b'e');
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_decimal(out, bytes.len() as u64);
    out.push(b':');
    out.extend_from_slice(bytes);
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

pub(super) fn push_text(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    match arguments.as_str() {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => out.extend_from_slice(arguments.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests;
