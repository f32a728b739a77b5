//! Whatever bytes come, nothing panics and every bound holds.

use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_tracker::exchange::{Exchange, Input, Query};
use ferri_tracker::limits::{INTERVAL_MAX, INTERVAL_MIN, PEERS_MAX, TEXT_BYTES_MAX};
use ferri_tracker::server::{Registry, RegistryOptions};
use ferri_tracker::udp::{Family, Request, Response};
use ferri_tracker::url::{Transport, UdpTarget};
use ferri_tracker::{Announce, TrackerError, http};
use proptest::prelude::*;

use crate::asking::{http_reply, udp_reply};

/// Bytes that look like an answer now and then.
fn nearly_bencode() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        &b"d"[..],
        b"l",
        b"e",
        b"i5e",
        b"i-1e",
        b"i99999999999999999999e",
        b"5:peers",
        b"6:peers6",
        b"8:interval",
        b"2:ip",
        b"4:port",
        b"9:127.0.0.1",
        b"6:\x01\x02\x03\x04\x1a\xe1",
        b"14:failure reason",
        b"8:retry in",
        b"5:never",
        b"10:tracker id",
        b"5:files",
        b"8:complete",
        b"11:external ip",
        b"4:abcd",
        b"20:aaaaaaaaaaaaaaaaaaaa",
    ]);
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

/// Turns one real packet into many broken ones.
fn nearly_packet() -> impl Strategy<Value = Vec<u8>> {
    let announce = Announce::new(InfoHash::from([1; 20]), [2; 20], 3);
    let request = Request::Announce { connection: 4, transaction: 5, announce, url_data: b"/x".repeat(200) };
    let packet = request.encode();
    let length = packet.len();
    (0..=length, 0..length, any::<u8>(), 0u32..5).prop_map(move |(cut, at, byte, action)| {
        let mut packet = packet.clone();
        packet[8..12].copy_from_slice(&action.to_be_bytes());
        packet[at] = byte;
        packet.truncate(cut);
        packet
    })
}

fn check_body(body: &[u8]) -> Result<(), TestCaseError> {
    match http::parse_announce(body) {
        Ok(response) => {
            prop_assert!((INTERVAL_MIN..=INTERVAL_MAX).contains(&response.interval));
            prop_assert!(response.peers.len() <= PEERS_MAX);
            prop_assert!(response.peers.iter().all(|peer| ferri_tracker::is_peer_address(*peer)));
        }
        Err(TrackerError::Failure { reason, .. }) => prop_assert!(reason.len() <= 3 * TEXT_BYTES_MAX),
        Err(error) => prop_assert!(!error.to_string().contains(|c: char| c.is_control()), "{}", error),
    }
    let _ = http::announce_answer(500, body);
    let _ = http::parse_scrape(body);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check_body(&body)?;
    }

    #[test]
    fn any_mixture_of_real_words_is_read_or_refused(body in nearly_bencode()) {
        check_body(&body)?;
        check_body(&[&b"d"[..], &body, b"e"].concat())?;
        check_body(&[&b"d8:intervali60e5:peersl"[..], &body, b"ee"].concat())?;
    }

    #[test]
    fn any_packet_is_read_or_refused(
        packet in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), nearly_packet()],
        transaction in any::<bool>(),
    ) {
        let now = Instant::now();
        for family in [Family::V4, Family::V6] {
            let _ = Response::decode(&packet, family);
            let announce = Announce::new(InfoHash::from([1; 20]), [2; 20], 3);
            let mut exchange = Exchange::new(Query::Announce(announce), Vec::new(), family, None, 1, now);
            let mut packet = packet.clone();
            if transaction && 8 <= packet.len() {
                packet[4..8].copy_from_slice(&exchange.transaction().to_be_bytes());
            }
            exchange.handle(Input::Datagram(&packet), now);
            while exchange.poll_output().is_some() {}
        }
        if let Ok(request) = Request::decode(&packet) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let registry = Registry::new(RegistryOptions::default(), [0; 16], now);
        let reply = udp_reply(&registry, &packet, ([192, 0, 2, 1], 9).into(), now);
        prop_assert!(reply.is_none_or(|reply| reply.len() <= packet.len()));
        prop_assert_eq!(registry.census().peers, 0);
    }

    #[test]
    fn any_request_gets_a_reply(
        path in prop_oneof![Just("/announce"), Just("/scrape"), Just("/stats"), Just("")],
        query in "[a-z_=&%0-9?#\\PC]{0,80}",
    ) {
        let now = Instant::now();
        let registry = Registry::new(RegistryOptions::default(), [0; 16], now);
        let (_, body) = http_reply(&registry, &format!("{path}?{query}"), [127, 0, 0, 1].into(), now);
        prop_assert!(!body.is_empty());
        if path == "/announce" {
            prop_assert!(http::parse_announce(&body).is_err());
        }
    }

    #[test]
    fn any_url_is_used_or_refused(url in "(http|udp)?:?/?/?[a-z@:?#/0-9\\[\\]\\PC]{0,40}") {
        let announce = Announce::new(InfoHash::from([1; 20]), [2; 20], 3);
        let _ = (Transport::of(&url), UdpTarget::parse(&url), http::scrape_url(&url, &[announce.info_hash]));
        if let Ok(asked) = http::announce_url(&url, &announce) {
            prop_assert!(asked.starts_with(url.split('#').next().unwrap()));
        }
    }
}

#[test]
fn a_hostile_body_is_read_in_no_time() {
    let begin = Instant::now();
    let deep = "l".repeat(2 << 20);
    let digits = format!("d8:intervali{}e5:peers0:e", "9".repeat(1 << 20));
    let many = format!("d5:peersl{}ee", "d2:ip7:1.2.3.44:porti9ee".repeat(80_000));
    let html = format!("<html>{}", "<title ".repeat(250_000));
    for body in [deep, digits, many, html] {
        let _ = http::parse_announce(body.as_bytes());
    }
    // Generous: a debug build on a busy machine.
    assert!(begin.elapsed() < Duration::from_secs(10));
}
