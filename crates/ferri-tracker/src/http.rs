//! Announces and scrapes over HTTP: the URLs we ask for and the answers we read ([BEP 3], [7], [23], [24], [31], [48]).
//!
//! No HTTP here: the caller that fetches the URL also limits redirects, time and the length of the body
//! ([`crate::limits`]).
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [7]: https://www.bittorrent.org/beps/bep_0007.html
//! [23]: https://www.bittorrent.org/beps/bep_0023.html
//! [24]: https://www.bittorrent.org/beps/bep_0024.html
//! [31]: https://www.bittorrent.org/beps/bep_0031.html
//! [48]: https://www.bittorrent.org/beps/bep_0048.html

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use ferri_bencode::{Dict, Document, Error, ErrorKind, Value};
use ferri_metainfo::InfoHash;
use ferri_metainfo::display::sanitize;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::announce::{
    Announce, AnnounceResponse, RetryIn, Scrape, TrackerError, bounded_text, interval_from_seconds,
};
use crate::limits::{
    EXCERPT_CHARS_MAX, INTERVAL_DEFAULT, INTERVAL_MAX, INTERVAL_MIN, RESPONSE_BYTES_MAX, SCRAPE_MAX,
    TRACKER_ID_BYTES_MAX,
};
use crate::peers::PeerList;
use crate::url::{Parts, Transport, parts};

/// Everything but the unreserved characters of RFC 3986. Trackers compare some parameters before decoding them, so we
/// write what other clients write.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URL of an announce. The query that `base` has (a passkey, say) is kept as it is and comes first.
///
/// # Errors
/// [`TrackerError::BadUrl`] when `base` is not an HTTP URL.
pub fn announce_url(base: &str, announce: &Announce) -> Result<String, TrackerError> {
    let mut url = query_begun(http_parts(base)?.whole);
    let left = announce.left.min(i64::MAX as u64);
    push_escaped(&mut url, "info_hash", announce.info_hash.as_bytes());
    push_escaped(&mut url, "&peer_id", &announce.peer_id);
    let (port, uploaded, downloaded) = (announce.port, announce.uploaded, announce.downloaded);
    push(&mut url, format_args!("&port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}"));
    push(&mut url, format_args!("&compact=1&no_peer_id=1&key={:08X}", announce.key));
    if let Some(numwant) = announce.numwant {
        push(&mut url, format_args!("&numwant={numwant}"));
    }
    if let Some(event) = announce.event {
        push(&mut url, format_args!("&event={event}"));
    }
    if let Some(tracker_id) = &announce.tracker_id {
        push_escaped(&mut url, "&trackerid", tracker_id);
    }
    if let Some(ip) = announce.ip {
        push_escaped(&mut url, "&ip", ip.to_string().as_bytes());
    }
    Ok(url)
}

/// The URL that asks an announce URL's tracker about swarms (BEP 48). `None` when it is not an HTTP URL, or one whose
/// path names no `announce` in its last part: such a tracker cannot be scraped.
pub fn scrape_url(base: &str, info_hashes: &[InfoHash]) -> Option<String> {
    let Parts { whole, path_and_query, .. } = http_parts(base).ok()?;
    let path_length = path_and_query.find('?').unwrap_or(path_and_query.len());
    let name_at = path_and_query[..path_length].rfind('/')? + 1;
    let (name, rest) = (&path_and_query[name_at..path_length], &path_and_query[path_length..]);
    let renamed = name.strip_prefix("announce")?;
    let before = &whole[..whole.len() - path_and_query.len() + name_at];
    let mut url = query_begun(&format!("{before}scrape{renamed}{rest}"));
    for (at, info_hash) in info_hashes.iter().take(SCRAPE_MAX).enumerate() {
        let name = if at == 0 { "info_hash" } else { "&info_hash" };
        push_escaped(&mut url, name, info_hash.as_bytes());
    }
    Some(url)
}

/// Reads the answer to an announce as HTTP brought it: a refusal that comes with an error status is still a refusal in
/// the tracker's own words.
///
/// # Errors
/// As for [`parse_announce`], and [`TrackerError::Status`] for other answers than 200.
pub fn announce_answer(status: u16, body: &[u8]) -> Result<AnnounceResponse, TrackerError> {
    by_status(status, body, parse_announce(body))
}

/// Reads the answer to a scrape as HTTP brought it.
///
/// # Errors
/// As for [`parse_scrape`], and [`TrackerError::Status`] for other answers than 200.
pub fn scrape_answer(status: u16, body: &[u8]) -> Result<Vec<(InfoHash, Scrape)>, TrackerError> {
    by_status(status, body, parse_scrape(body))
}

fn by_status<T>(status: u16, body: &[u8], parsed: Result<T, TrackerError>) -> Result<T, TrackerError> {
    match parsed {
        Err(TrackerError::Failure { .. }) => parsed,
        _ if status == 200 => parsed,
        _ => Err(TrackerError::Status { status, excerpt: excerpt(body), retry_after: None }),
    }
}

/// Reads the body of an answer to an announce.
///
/// Tolerated, because trackers do it: keys out of order, bytes around the dictionary, numbers written as strings or out
/// of range, peers in either form or both, peers that cannot be.
///
/// # Errors
/// [`TrackerError::Failure`] when the tracker refuses, [`TrackerError::TooLong`], and [`TrackerError::Malformed`] for
/// what is not bencode or holds nothing an answer must hold.
pub fn parse_announce(body: &[u8]) -> Result<AnnounceResponse, TrackerError> {
    with_dict(body, |dict| {
        if dict.get(b"interval").is_none() && dict.get(b"peers").is_none() && dict.get(b"peers6").is_none() {
            return Err(malformed("it has neither an interval nor peers"));
        }
        let interval = |key: &[u8]| dict.get(key).and_then(number).map(interval_from_seconds);
        let tracker_id = dict.get(b"tracker id").and_then(Value::as_bytes);
        Ok(AnnounceResponse {
            interval: interval(b"interval").unwrap_or(INTERVAL_DEFAULT),
            min_interval: interval(b"min interval"),
            peers: peers(dict),
            seeders: count(dict, b"complete"),
            leechers: count(dict, b"incomplete"),
            downloaded: count(dict, b"downloaded"),
            tracker_id: tracker_id.filter(|id| id.len() <= TRACKER_ID_BYTES_MAX).map(<[u8]>::to_vec),
            warning: text(dict, b"warning message"),
            external_ip: dict.get(b"external ip").and_then(Value::as_bytes).and_then(packed_ip),
        })
    })
}

/// Reads the body of an answer to a scrape: what it says of each swarm, at most
/// [`SCRAPE_MAX`] of them, in the order of their info hashes.
///
/// # Errors
/// As for [`parse_announce`].
pub fn parse_scrape(body: &[u8]) -> Result<Vec<(InfoHash, Scrape)>, TrackerError> {
    with_dict(body, |dict| {
        let files =
            dict.get(b"files").and_then(Value::as_dict).ok_or_else(|| malformed("it has no files"))?;
        let swarms = files.iter().filter_map(|(hash, swarm)| {
            let info_hash = InfoHash::from(<[u8; 20]>::try_from(hash).ok()?);
            let swarm = swarm.as_dict()?;
            let count_of = |key: &[u8]| count(swarm, key);
            Some((
                info_hash,
                Scrape {
                    seeders: count_of(b"complete").unwrap_or(0),
                    leechers: count_of(b"incomplete").unwrap_or(0),
                    downloaded: count_of(b"downloaded").unwrap_or(0),
                    downloaders: count_of(b"downloaders"),
                },
            ))
        });
        Ok(swarms.take(SCRAPE_MAX).collect())
    })
}

fn http_parts(base: &str) -> Result<Parts<'_>, TrackerError> {
    let parts = parts(base)?;
    match parts.transport {
        Transport::Http => Ok(parts),
        Transport::Udp => Err(TrackerError::BadUrl { why: "not an HTTP URL".to_owned() }),
    }
}

/// `url` with a `?` or `&` behind it, so that parameters can follow.
fn query_begun(url: &str) -> String {
    let glue = match url.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{url}{glue}")
}

fn push_escaped(url: &mut String, name: &str, value: &[u8]) {
    push(url, format_args!("{name}={}", percent_encode(value, ESCAPED)));
}

fn push(url: &mut String, arguments: std::fmt::Arguments<'_>) {
    url.write_fmt(arguments).expect("a String takes everything");
}

/// Parses a body, deals with refusals, and hands on the dictionary.
fn with_dict<T>(
    body: &[u8],
    read: impl FnOnce(Dict<'_>) -> Result<T, TrackerError>,
) -> Result<T, TrackerError> {
    if RESPONSE_BYTES_MAX < body.len() {
        return Err(TrackerError::TooLong);
    }
    let body = within_range(body.trim_ascii_start());
    let (document, _) = Document::parse_prefix(&body).map_err(|error| not_bencode(&body, error))?;
    let dict = document.root().as_dict().ok_or_else(|| malformed("it is not a dictionary"))?;
    if let Some(reason) = text(dict, b"failure reason") {
        return Err(TrackerError::Failure { reason, retry_in: retry_in(dict) });
    }
    read(dict)
}

/// The body with integers beyond 64 bits replaced by the nearest that fit. Some trackers send 2^63 and more where they
/// mean "never"; their peers are as good as others'.
fn within_range(body: &[u8]) -> Cow<'_, [u8]> {
    /// More of them than an answer has fields is an attack on our patience.
    const REPLACED_MAX: usize = 4;
    let mut body = Cow::Borrowed(body);
    for _ in 0..REPLACED_MAX {
        let Err(Error { kind: ErrorKind::Overflow, offset }) = Document::parse_prefix(&body) else { break };
        let Some((b'i', digits)) = body.get(offset..).and_then(<[u8]>::split_first) else { break };
        let Some(length) = digits.iter().position(|&byte| byte == b'e') else { break };
        let nearest = if digits.starts_with(b"-") { i64::MIN } else { i64::MAX };
        let (before, after) = (&body[..=offset], &digits[length..]);
        body = Cow::Owned([before, nearest.to_string().as_bytes(), after].concat());
    }
    body
}

fn not_bencode(body: &[u8], error: Error) -> TrackerError {
    let why = match body.first() {
        None => "it is empty".to_owned(),
        Some(b'd') => format!("its bencode is broken: {error}"),
        Some(_) => format!("not bencode but {}", excerpt(body)),
    };
    TrackerError::Malformed { why }
}

fn malformed(why: &str) -> TrackerError {
    TrackerError::Malformed { why: why.to_owned() }
}

/// BEP 31 says a positive integer of minutes or `never`, and shows the integer as a string.
fn retry_in(dict: Dict<'_>) -> RetryIn {
    let Some(value) = dict.get(b"retry in") else { return RetryIn::Unspecified };
    if value.as_bytes() == Some(b"never") {
        return RetryIn::Never;
    }
    match number(value).and_then(|minutes| u64::try_from(minutes).ok()) {
        None | Some(0) => RetryIn::Unspecified,
        Some(minutes) => {
            let wait = Duration::from_secs(minutes.saturating_mul(60));
            RetryIn::After(wait.clamp(INTERVAL_MIN, INTERVAL_MAX))
        }
    }
}

/// A number, or a string of digits.
fn number(value: Value<'_>) -> Option<i64> {
    value.as_int().or_else(|| value.as_str()?.trim().parse().ok())
}

/// `None` for what is missing, negative or no number.
fn count(dict: Dict<'_>, key: &[u8]) -> Option<u32> {
    let count = u64::try_from(number(dict.get(key)?)?).ok()?;
    Some(u32::try_from(count).unwrap_or(u32::MAX))
}

fn text(dict: Dict<'_>, key: &[u8]) -> Option<String> {
    dict.get(key)?.as_bytes().map(bounded_text)
}

fn peers(dict: Dict<'_>) -> Vec<std::net::SocketAddr> {
    let mut list = PeerList::default();
    if let Some(peers) = dict.get(b"peers") {
        if let Some(compact) = peers.as_bytes() {
            list.extend_v4(compact);
        }
        for peer in peers.as_list().into_iter().flat_map(ferri_bencode::List::iter) {
            if list.is_full() {
                break;
            }
            if let Some((ip, port)) = peer.as_dict().and_then(listed_peer) {
                list.push(ip, port);
            }
        }
    }
    if let Some(compact) = dict.get(b"peers6").and_then(Value::as_bytes) {
        list.extend_v6(compact);
    }
    list.into_addrs()
}

/// A peer in the wordy form. `None` for names instead of addresses: looking them up for a stranger would let it choose
/// which servers we ask what.
fn listed_peer(peer: Dict<'_>) -> Option<(IpAddr, u16)> {
    let ip = peer.get(b"ip")?.as_str()?;
    let ip = ip.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let port = u16::try_from(number(peer.get(b"port")?)?).ok()?;
    Some((ip, port))
}

/// BEP 24: 4 or 16 bytes. Some send it as text.
fn packed_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    // Eight letters and two colons can be 16 bytes too, but no tracker sends both.
    if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        return Some(IpAddr::from(v6).to_canonical());
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// How a body that is no tracker's answer begins, in one short line that is safe to show: a web page by its title,
/// anything else by its first words.
pub fn excerpt(body: &[u8]) -> String {
    /// A title comes early.
    const LOOKED_AT: usize = 4 << 10;
    let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
    let lower = text.to_ascii_lowercase();
    let is_page = ["<html", "<!doctype", "<head", "<title", "<body"].iter().any(|tag| lower.contains(tag));
    let title = lower.find("<title").and_then(|at| {
        let begin = at + lower[at..].find('>')? + 1;
        let end = begin + lower[begin..].find("</title")?;
        Some(&text[begin..end])
    });
    let words = title.map_or_else(|| without_tags(&text, is_page), str::to_owned);
    let line = one_line(&words);
    match (line.is_empty(), is_page) {
        (true, true) => "a web page without words".to_owned(),
        (true, false) => "nothing readable".to_owned(),
        (false, true) => format!("a web page: \"{line}\""),
        (false, false) => format!("\"{line}\""),
    }
}

fn without_tags(text: &str, is_page: bool) -> String {
    if !is_page {
        return text.to_owned();
    }
    let parts = text.split('<').enumerate().map(|(at, part)| match part.split_once('>') {
        Some((_, words)) => words,
        None if at == 0 => part,
        None => "",
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// Blanks collapsed, the harmful replaced, and cut.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean = sanitize(&words);
    match clean.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &clean[..end]),
        None => clean.into_owned(),
    }
}

#[cfg(test)]
mod tests;
