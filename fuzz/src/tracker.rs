//! Any bytes from a tracker: HTTP bodies, UDP packets, URLs out of torrents.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_tracker::exchange::{Answer, Connections, Exchange, Input, Output, Query};
use ferri_tracker::limits::{
    INTERVAL_MAX, INTERVAL_MIN, PEERS_MAX, REQUEST_TIME_MAX, SCRAPE_MAX, TEXT_BYTES_MAX, TRACKER_ID_BYTES_MAX,
};
use ferri_tracker::udp::{Family, Request, Response};
use ferri_tracker::url::{Transport, UdpTarget};
use ferri_tracker::{Announce, AnnounceResponse, Event, TrackerError, http, is_peer_address};

use crate::script::Script;

/// Any body as the answer to an announce: what is taken from it is within bounds, what is said about it is short.
pub fn tracker_announce(data: &[u8]) {
    match http::parse_announce(data) {
        Ok(answer) => {
            check_answer(&answer);
            assert_eq!(http::announce_answer(200, data).as_ref(), Ok(&answer));
        }
        Err(error) => check_error(&error),
    }
    if let Err(error) = http::announce_answer(404, data) {
        check_error(&error);
    }
    check_shown(&http::excerpt(data));
}

/// Any body as the answer to a scrape.
pub fn tracker_scrape(data: &[u8]) {
    match http::parse_scrape(data) {
        Ok(swarms) => {
            assert!(swarms.len() <= SCRAPE_MAX);
            assert!(swarms.is_sorted_by(|a, b| a.0 < b.0), "each swarm once");
        }
        Err(error) => check_error(&error),
    }
    if let Err(error) = http::scrape_answer(500, data) {
        check_error(&error);
    }
}

/// Any text as the URL of a tracker: the announce that is made of it can be sent, and UDP targets have all they need.
pub fn tracker_url(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else { return };
    check_shown(&ferri_metainfo::display::redact_url(url));
    let announce = some_announce(&mut Script::new(data));
    let asked = http::announce_url(url, &announce);
    match Transport::of(url) {
        Ok(Transport::Http) => {
            let asked = asked.expect("an HTTP URL can be announced to");
            let begin = url.split('#').next().unwrap_or_default().trim();
            assert!(asked.contains("info_hash=") && begin.len() < asked.len(), "{asked}");
            assert!(!asked.contains(char::is_control) && !asked.contains(' '), "{asked:?}");
            assert!(UdpTarget::parse(url).is_err());
        }
        Ok(Transport::Udp) => {
            assert!(asked.is_err());
            if let Ok(target) = UdpTarget::parse(url) {
                assert!(!target.host.is_empty() && target.port != 0);
            }
        }
        Err(error) => {
            check_error(&error);
            assert!(asked.is_err() && UdpTarget::parse(url).is_err());
        }
    }
    if let Some(asked) = http::scrape_url(url, &[announce.info_hash]) {
        assert!(asked.contains("info_hash=") && Transport::of(url) == Ok(Transport::Http));
    }
}

/// Any packet, read as either side would, written and read again.
pub fn tracker_packet(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        let bytes = request.encode();
        assert_eq!(Request::decode(&bytes), Ok(request));
        assert!(bytes.len() <= data.len() + 16, "{} bytes became {}", data.len(), bytes.len());
    }
    for family in [Family::V4, Family::V6] {
        let Ok(response) = Response::decode(data, family) else { continue };
        if let Response::Announce { peers, .. } = &response {
            check_peers(peers);
            // Addresses mapped into IPv6 become IPv4 ones, and would be written as such.
            if peers.iter().any(|peer| Family::of(*peer) != family) {
                continue;
            }
        }
        assert_eq!(Response::decode(&response.encode(), family), Ok(response));
    }
}

/// One exchange over UDP with a tracker, or an impostor, that sends what it likes and when. It ends exactly once, in
/// time, and sends few packets.
pub fn tracker_udp(data: &[u8]) {
    let mut script = Script::new(data);
    let start = Instant::now();
    let mut now = start;
    let mut connections = Connections::default();
    let tracker = SocketAddr::from(([192, 0, 2, 1], 6969));
    let family = if script.u8().is_multiple_of(2) { Family::V4 } else { Family::V6 };
    while !script.is_empty() {
        let query = some_query(&mut script);
        let begun = now;
        let reused = connections.get(tracker, now);
        let url_data = script.short().to_vec();
        let mut exchange =
            Exchange::new(query.clone(), url_data, family, reused, u64::from(script.u32()), now);
        let (mut sent, mut done) = (0, None);
        while done.is_none() {
            while let Some(output) = exchange.poll_output() {
                assert!(done.is_none(), "something comes behind the end");
                match output {
                    Output::Send(packet) => {
                        sent += 1;
                        let request = Request::decode(&packet).expect("what we send can be read");
                        check_request(&request, &query);
                    }
                    Output::Done(result) => done = Some(result),
                }
            }
            let Some(timeout) = exchange.poll_timeout() else { break };
            step(&mut exchange, &mut script, &mut now, timeout);
        }
        let result = done.expect("an exchange without a result");
        assert!(exchange.poll_timeout().is_none() && exchange.poll_output().is_none());
        assert!(sent <= 12, "{sent} packets for one question");
        assert!(now <= begun + REQUEST_TIME_MAX);
        check_result(&result, &query);
        connections.set(tracker, exchange.connection());
        now += Duration::from_secs(u64::from(script.u8()));
    }
}

/// Lets one thing happen to an exchange: a packet, or its timeout.
fn step(exchange: &mut Exchange, script: &mut Script<'_>, now: &mut Instant, timeout: Instant) {
    let kind = script.u8();
    if kind.is_multiple_of(4) || script.is_empty() {
        *now = timeout;
        exchange.handle(Input::Timeout, *now);
        return;
    }
    *now = timeout.min(*now + Duration::from_millis(u64::from(script.u16())));
    let mut packet = script.short().to_vec();
    if kind % 4 != 1 {
        // The right transaction, without which nothing is read.
        let head = packet.len().min(4);
        packet.splice(head..head, exchange.transaction().to_be_bytes());
    }
    exchange.handle(Input::Datagram(&packet), *now);
}

fn some_announce(script: &mut Script<'_>) -> Announce {
    let info_hash = InfoHash::from(script.bytes());
    let events =
        [None, Some(Event::Started), Some(Event::Completed), Some(Event::Stopped), Some(Event::Paused)];
    Announce {
        uploaded: u64::from(script.u32()),
        downloaded: u64::from(script.u32()) << 32,
        left: u64::from_be_bytes(script.bytes()),
        event: events[script.below(events.len())],
        numwant: Some(script.u32()).filter(|number| *number != 0),
        tracker_id: Some(script.short().to_vec()).filter(|id| !id.is_empty()),
        ..Announce::new(info_hash, script.bytes(), script.u16())
    }
}

fn some_query(script: &mut Script<'_>) -> Query {
    let count = usize::from(script.u8());
    if count.is_multiple_of(2) {
        return Query::Announce(some_announce(script));
    }
    Query::Scrape((0..count.min(SCRAPE_MAX)).map(|_| InfoHash::from(script.bytes())).collect())
}

/// The packet asks what was to be asked.
fn check_request(request: &Request, query: &Query) {
    match (request, query) {
        (Request::Connect { .. }, _) => {}
        (Request::Announce { announce, .. }, Query::Announce(asked)) => {
            assert_eq!((announce.info_hash, announce.peer_id), (asked.info_hash, asked.peer_id));
            // Trackers read signed numbers.
            let downloaded = asked.downloaded.min(i64::MAX as u64);
            assert_eq!((announce.port, announce.downloaded), (asked.port, downloaded));
        }
        (Request::Scrape { info_hashes, .. }, Query::Scrape(asked)) => assert_eq!(info_hashes, asked),
        _ => panic!("{request:?} does not ask {query:?}"),
    }
}

fn check_result(result: &Result<Answer, TrackerError>, query: &Query) {
    match (result, query) {
        (Ok(Answer::Announce(answer)), Query::Announce(_)) => check_answer(answer),
        (Ok(Answer::Scrape(swarms)), Query::Scrape(asked)) => assert_eq!(swarms.len(), asked.len()),
        (Ok(answer), _) => panic!("{answer:?} does not answer {query:?}"),
        (Err(error), _) => check_error(error),
    }
}

fn check_answer(answer: &AnnounceResponse) {
    check_peers(&answer.peers);
    let bounds = INTERVAL_MIN..=INTERVAL_MAX;
    assert!(bounds.contains(&answer.interval));
    assert!(answer.min_interval.is_none_or(|interval| bounds.contains(&interval)));
    assert!(answer.tracker_id.as_ref().is_none_or(|id| id.len() <= TRACKER_ID_BYTES_MAX));
    // Replaced bytes grow to three.
    assert!(answer.warning.as_ref().is_none_or(|text| text.len() <= 3 * TEXT_BYTES_MAX));
}

fn check_peers(peers: &[SocketAddr]) {
    assert!(peers.len() <= PEERS_MAX);
    assert!(peers.iter().all(|peer| is_peer_address(*peer)));
    assert_eq!(peers.iter().collect::<BTreeSet<_>>().len(), peers.len(), "an address comes twice");
}

/// What is said is short. A tracker's own words are shown elsewhere, made harmless.
fn check_error(error: &TrackerError) {
    let text = error.to_string();
    assert!(text.len() <= 4 * TEXT_BYTES_MAX, "{} bytes", text.len());
    if !matches!(error, TrackerError::Failure { .. }) {
        check_shown(&text);
    }
}

fn check_shown(text: &str) {
    assert_eq!(ferri_metainfo::display::sanitize(text), text, "not safe to show");
}
