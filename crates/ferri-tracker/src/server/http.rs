//! The tracker over HTTP: `/announce`, `/scrape` and `/stats` ([BEP 3], [7], [21], [23], [24], [48]).
//!
//! Of a request only path and query are looked at; connections, headers and time-outs are the HTTP server's business.
//! Clients read refusals from the body, so those come with status 200, as everywhere.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html
//! [7]: https://www.bittorrent.org/beps/bep_0007.html
//! [21]: https://www.bittorrent.org/beps/bep_0021.html
//! [23]: https://www.bittorrent.org/beps/bep_0023.html
//! [24]: https://www.bittorrent.org/beps/bep_0024.html
//! [48]: https://www.bittorrent.org/beps/bep_0048.html

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferri_bencode::Encoder;
use ferri_metainfo::InfoHash;

use super::access::{Access, Barred};
use super::registry::{Announced, Registry, Swarms};
use super::stats;
use crate::announce::{Announce, Event};
use crate::limits::{SCRAPE_MAX, URL_BYTES_MAX};
use crate::peers::encode_compact;
use crate::siphash::siphash;

/// Parameters looked at in one query: those of an announce several times over, or a full scrape.
const PARAMETERS_MAX: usize = 100;

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
    /// Through a proxy, whose word about the address is taken. Nobody behind it is on this machine.
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
    let reply = reply(registry, access, request, now);
    out.extend_from_slice(&reply.body);
    Status { code: reply.status, body: reply.body_kind }
}

fn reply(registry: &Registry, access: &Access, request: &Request<'_>, now: Instant) -> Reply {
    let swarms = &mut *registry.lock();
    if request.method != b"GET" {
        return refused(swarms, "this tracker answers GET requests only");
    }
    let target = String::from_utf8_lossy(request.target);
    let (key, target) = split_key(&target);
    match access.user(key.map(str::as_bytes)) {
        Ok(_) | Err(Barred::NoSuchPath) => {
            let (_, query) = target.split_once('?').unwrap_or((target, ""));
            match parse_announce(query).map(|(announce, _)| access.torrent(&announce.info_hash)) {
                Ok(Err(_)) => refused(swarms, "this tracker does not serve this torrent"),
                _ => http_reply(swarms, target, request.from, now),
            }
        }
        Err(Barred::NoPasskey) => refused(swarms, "the address of this tracker has a passkey in it"),
        Err(_) => refused(swarms, "unknown passkey"),
    }
}

fn split_key(target: &str) -> (Option<&str>, &str) {
    let path = target.split('?').next().unwrap_or(target);
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((key, _)) => (Some(key), &target[1 + key.len()..]),
        None => (None, target),
    }
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The status code.
    pub(super) status: u16,
    /// What the body is.
    pub(super) body_kind: Body,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: u16, body_kind: Body, body: Vec<u8>) -> Self {
        Self { status, body_kind, body }
    }

    fn bencode(body: Vec<u8>) -> Self {
        Self::new(200, Body::Bencode, body)
    }
}

/// Answers a GET request for `path_and_query` that came from `from`.
pub(super) fn http_reply(registry: &mut Swarms, path_and_query: &str, from: IpAddr, now: Instant) -> Reply {
    if URL_BYTES_MAX < path_and_query.len() {
        return refused(registry, "the request is too long");
    }
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    match path {
        "/announce" => announce(registry, query, from, now).unwrap_or_else(|why| refused(registry, &why)),
        "/scrape" => scrape(registry, query).unwrap_or_else(|why| refused(registry, &why)),
        "/stats" => stats::page(registry, query, from, now),
        _ => {
            registry.counters.refused += 1;
            let text = "This is a BitTorrent tracker. It answers at /announce, /scrape and /stats.\n";
            Reply::new(404, Body::Text, text.into())
        }
    }
}

fn refused(registry: &mut Swarms, why: &str) -> Reply {
    registry.counters.refused += 1;
    let mut encoder = Encoder::new();
    encoder.begin_dict().key(b"failure reason").bytes(why.as_bytes()).end();
    Reply::bencode(encoder.into_bytes())
}

fn announce(registry: &mut Swarms, query: &str, from: IpAddr, now: Instant) -> Result<Reply, String> {
    let (announce, form) = parse_announce(query)?;
    let announced = registry.announce(&announce, from, None, now).map_err(|refusal| refusal.to_string())?;
    registry.counters.http_announces += 1;
    let options = registry.options();
    let mut encoder = Encoder::new();
    encoder.begin_dict();
    count(&mut encoder, b"complete", announced.numbers.seeders);
    count(&mut encoder, b"downloaded", announced.numbers.downloaded);
    encoder.key(b"external ip");
    match from.to_canonical() {
        IpAddr::V4(ip) => encoder.bytes(&ip.octets()),
        IpAddr::V6(ip) => encoder.bytes(&ip.octets()),
    };
    count(&mut encoder, b"incomplete", announced.numbers.leechers);
    seconds(&mut encoder, b"interval", options.interval);
    seconds(&mut encoder, b"min interval", options.min_interval);
    encode_peers(&mut encoder, &announced, form);
    encoder.end();
    Ok(Reply::bencode(encoder.into_bytes()))
}

/// How the asker wants peers written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// BEP 23 and BEP 7, the usual one.
    Compact,
    /// `compact=0`.
    Listed,
    /// `compact=0&no_peer_id=1`.
    ListedWithoutId,
}

fn encode_peers(encoder: &mut Encoder, announced: &Announced, form: Form) {
    if form == Form::Compact {
        let compact = |v4: bool| {
            let mut bytes = Vec::new();
            for (addr, _) in announced.peers.iter().filter(|(addr, _)| addr.is_ipv4() == v4) {
                encode_compact(*addr, &mut bytes);
            }
            bytes
        };
        encoder.key(b"peers").bytes(&compact(true));
        let v6 = compact(false);
        if !v6.is_empty() {
            encoder.key(b"peers6").bytes(&v6);
        }
        return;
    }
    encoder.key(b"peers").begin_list();
    for (addr, peer_id) in &announced.peers {
        encode_listed(encoder, *addr, (form == Form::Listed).then_some(peer_id));
    }
    encoder.end();
}

fn encode_listed(encoder: &mut Encoder, addr: SocketAddr, peer_id: Option<&[u8; 20]>) {
    encoder.begin_dict();
    encoder.key(b"ip").bytes(addr.ip().to_string().as_bytes());
    if let Some(peer_id) = peer_id {
        encoder.key(b"peer id").bytes(peer_id);
    }
    encoder.key(b"port").int(i64::from(addr.port()));
    encoder.end();
}

fn scrape(registry: &mut Swarms, query: &str) -> Result<Reply, String> {
    // A dictionary has each key once, in order.
    let mut info_hashes = BTreeSet::new();
    for (name, value) in parameters(query) {
        if name == "info_hash" && info_hashes.len() < SCRAPE_MAX {
            info_hashes.insert(InfoHash::from(twenty_bytes(name, value)?));
        }
    }
    if info_hashes.is_empty() {
        return Err("a scrape must name at least one info_hash".to_owned());
    }
    registry.counters.http_scrapes += 1;
    let mut encoder = Encoder::new();
    encoder.begin_dict().key(b"files").begin_dict();
    for info_hash in &info_hashes {
        let numbers = registry.scrape(info_hash);
        encoder.key(info_hash.as_bytes()).begin_dict();
        count(&mut encoder, b"complete", numbers.seeders);
        count(&mut encoder, b"downloaded", numbers.downloaded);
        count(&mut encoder, b"downloaders", numbers.downloaders.unwrap_or(0));
        count(&mut encoder, b"incomplete", numbers.leechers);
        encoder.end();
    }
    encoder.end().end();
    Ok(Reply::bencode(encoder.into_bytes()))
}

fn count(encoder: &mut Encoder, key: &[u8], count: u32) {
    encoder.key(key).int(i64::from(count));
}

fn seconds(encoder: &mut Encoder, key: &[u8], time: Duration) {
    encoder.key(key).int(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
}

/// Reads the query of an announce. The error is the failure reason.
fn parse_announce(query: &str) -> Result<(Announce, Form), String> {
    let (mut info_hash, mut peer_id, mut port, mut compact, mut no_peer_id) = (None, None, None, true, false);
    let mut announce = Announce { left: u64::MAX, ..Announce::new(InfoHash::from([0; 20]), [0; 20], 0) };
    for (name, value) in parameters(query) {
        match name {
            "info_hash" if info_hash.is_some() => return Err("more than one info_hash".to_owned()),
            "info_hash" => info_hash = Some(InfoHash::from(twenty_bytes(name, value)?)),
            "peer_id" => peer_id = Some(twenty_bytes(name, value)?),
            "port" => {
                let parsed = value.parse::<u16>().map_err(|_| "port must be a number up to 65535".to_owned());
                port = Some(parsed?);
            }
            "uploaded" => announce.uploaded = amount(name, value)?,
            "downloaded" => announce.downloaded = amount(name, value)?,
            // Who does not know yet says nothing, or -1.
            "left" if value.is_empty() || value.starts_with('-') => {}
            "left" => announce.left = amount(name, value)?,
            "event" => announce.event = Event::from_name(value.as_bytes()),
            "numwant" => announce.numwant = value.parse().ok(),
            "key" => announce.key = key(&decode(name, value)?),
            "compact" => compact = value != "0",
            "no_peer_id" => no_peer_id = value == "1",
            "trackerid" => announce.tracker_id = Some(decode(name, value)?),
            "ip" => {
                announce.ip = std::str::from_utf8(&decode(name, value)?).ok().and_then(|ip| ip.parse().ok());
            }
            _ => {}
        }
    }
    announce.info_hash = info_hash.ok_or("info_hash is missing")?;
    announce.peer_id = peer_id.ok_or("peer_id is missing")?;
    announce.port = port.ok_or("port is missing")?;
    let form = match (compact, no_peer_id) {
        (true, _) => Form::Compact,
        (false, false) => Form::Listed,
        (false, true) => Form::ListedWithoutId,
    };
    Ok((announce, form))
}

/// Names and values, still percent-encoded. A plus sign is a plus sign: queries of trackers are no forms.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let parameters = query.split('&').filter(|part| !part.is_empty()).take(PARAMETERS_MAX);
    parameters.map(|part| part.split_once('=').unwrap_or((part, "")))
}

fn amount(name: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{name} must be a number"))
}

/// Keys are hexadecimal by custom; others are as good, since they are only compared.
fn key(value: &[u8]) -> u32 {
    let number = std::str::from_utf8(value).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
    number.unwrap_or_else(|| siphash(&[0; 16], value) as u32)
}

fn twenty_bytes(name: &str, value: &str) -> Result<[u8; 20], String> {
    let bytes = decode(name, value)?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| format!("{name} must be 20 bytes, not {length}"))
}

/// Undoes percent-encoding, and takes no half ones: an info hash read wrongly would be another torrent.
fn decode(name: &str, value: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.split_first_chunk::<2>().and_then(|([high, low], behind)| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some((digit(*high)? * 16 + digit(*low)?, behind))
        });
        let (number, behind) = digits.ok_or_else(|| format!("{name} is not percent-encoded properly"))?;
        bytes.push(u8::try_from(number).expect("two hexadecimal digits"));
        rest = behind;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::registry::{RegistryOptions, Swarms};
    use super::*;
    use crate::http;

    fn registry() -> (Swarms, Instant) {
        let now = Instant::now();
        (Swarms::new(RegistryOptions::default(), [1; 16], now), now)
    }

    fn get(registry: &mut Swarms, url: &str, last: u8, now: Instant) -> String {
        let reply = http_reply(registry, url, [192, 0, 2, last].into(), now);
        assert_eq!(reply.status, 200);
        String::from_utf8_lossy(&reply.body).into_owned()
    }

    const ANNOUNCE: &str = "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881";

    #[test]
    fn an_announce_registers_and_names_others() {
        let (mut registry, now) = registry();
        let first = get(&mut registry, &format!("{ANNOUNCE}&left=0&event=started"), 1, now);
        assert_eq!(
            first,
            "d8:completei1e10:downloadedi0e11:external ip4:\u{fffd}\0\u{2}\u{1}10:incompletei0e8:intervali600e12:min intervali60e5:peers0:e"
        );
        let second = ANNOUNCE.replace('b', "c");
        let listed = get(&mut registry, &format!("{second}&left=5&compact=0"), 2, now);
        assert!(
            listed.contains("5:peersld2:ip9:192.0.2.17:peer id20:bbbbbbbbbbbbbbbbbbbb4:porti6881eee"),
            "{listed}"
        );
        let brief = get(&mut registry, &format!("{second}&left=5&compact=0&no_peer_id=1"), 2, now);
        assert!(brief.contains("5:peersld2:ip9:192.0.2.14:porti6881eee"), "{brief}");
        assert_eq!(registry.peer_count(), 2);
    }

    fn check_refused(url: &str, reason: &str) {
        let (mut registry, now) = registry();
        let body = get(&mut registry, url, 1, now);
        assert_eq!(body, format!("d14:failure reason{}:{reason}e", reason.len()), "{url}");
        assert_eq!((registry.counters().refused, registry.peer_count()), (1, 0));
    }

    #[test]
    fn wrong_requests_are_told_what_is_wrong() {
        check_refused("/announce", "info_hash is missing");
        check_refused("/announce?info_hash=abc", "info_hash must be 20 bytes, not 3");
        check_refused("/announce?info_hash=%", "info_hash is not percent-encoded properly");
        check_refused("/announce?info_hash=%4", "info_hash is not percent-encoded properly");
        check_refused(
            "/announce?info_hash=%+1aaaaaaaaaaaaaaaaaaa",
            "info_hash is not percent-encoded properly",
        );
        check_refused("/announce?info_hash=aaaaaaaaaaaaaaaaaaaa", "peer_id is missing");
        check_refused(
            "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb",
            "port is missing",
        );
        check_refused(&format!("{ANNOUNCE}&info_hash=aaaaaaaaaaaaaaaaaaaa"), "more than one info_hash");
        check_refused(&format!("{ANNOUNCE}&port=65536"), "port must be a number up to 65535");
        check_refused(&format!("{ANNOUNCE}&left=many"), "left must be a number");
        check_refused("/scrape", "a scrape must name at least one info_hash");
        check_refused("/scrape?info_hash=", "info_hash must be 20 bytes, not 0");
        check_refused(&format!("/announce?{}", "a".repeat(URL_BYTES_MAX)), "the request is too long");
    }

    #[test]
    fn odd_values_are_taken_as_they_are_meant() {
        let (announce, form) =
            parse_announce(&format!("{}&left=-1&numwant=-1&event=&key=secret!&ip=host", &ANNOUNCE[10..]))
                .unwrap();
        assert_eq!((announce.left, announce.numwant, announce.event), (u64::MAX, None, None));
        assert_eq!((announce.ip, form), (None, Form::Compact));
        assert_ne!(announce.key, 0);
        let plus =
            parse_announce("info_hash=a+aaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1").unwrap();
        assert_eq!(plus.0.info_hash, InfoHash::from(*b"a+aaaaaaaaaaaaaaaaaa"));
    }

    #[test]
    fn scrapes_answer_for_each_swarm_once() {
        let (mut registry, now) = registry();
        get(&mut registry, &format!("{ANNOUNCE}&left=5&event=paused"), 1, now);
        let url = "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=%00aaaaaaaaaaaaaaaaaaa&info_hash=aaaaaaaaaaaaaaaaaaaa";
        let reply = http_reply(&mut registry, url, [192, 0, 2, 1].into(), now);
        let swarms = http::parse_scrape(&reply.body).unwrap();
        let partial = swarms[1].1;
        assert_eq!((swarms.len(), partial.leechers, partial.downloaders), (2, 1, Some(0)));
    }

    #[test]
    fn other_paths_are_not_found() {
        let (mut registry, now) = registry();
        for path in ["/", "", "/announce/", "/favicon.ico", "*"] {
            assert_eq!(http_reply(&mut registry, path, [192, 0, 2, 1].into(), now).status, 404);
        }
    }
}
