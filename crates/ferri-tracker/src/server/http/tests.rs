//! Requests in, bodies out.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::super::access::{InfoHashList, Passkeys};
use super::super::registry::{IpParameter, RegistryOptions};
use super::*;
use crate::http;

fn registry() -> (Registry, Instant) {
    let now = Instant::now();
    (Registry::new(RegistryOptions::default(), [1; 16], now), now)
}

fn ask_of(registry: &Registry, access: &Access, url: &str, from: IpAddr, now: Instant) -> (Status, Vec<u8>) {
    let request = Request { method: b"GET", target: url.as_bytes(), from, via: Via::Direct };
    // What is there already stays.
    let mut out = b"head".to_vec();
    let status = answer(registry, access, &request, now, &mut out);
    (status, out.strip_prefix(b"head").unwrap().to_vec())
}

fn get(registry: &Registry, url: &str, last: u8, now: Instant) -> String {
    let (status, body) = ask_of(registry, &Access::default(), url, [192, 0, 2, last].into(), now);
    assert_eq!(status, Status { code: 200, body: Body::Bencode });
    // Times differ by chance.
    let body = String::from_utf8_lossy(&body).into_owned();
    match body.split_once("8:intervali") {
        Some((before, after)) => format!("{before}{}", after.split_once('e').unwrap().1),
        None => body,
    }
}

const ANNOUNCE: &str = "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881";

#[test]
fn an_announce_registers_and_names_others() {
    let (registry, now) = registry();
    let first = get(&registry, &format!("{ANNOUNCE}&left=0&event=started"), 1, now);
    assert_eq!(
        first,
        "d8:completei1e10:downloadedi0e11:external ip4:\u{fffd}\0\u{2}\u{1}10:incompletei0e12:min intervali60e5:peers0:e"
    );
    let second = ANNOUNCE.replace('b', "c");
    let listed = get(&registry, &format!("{second}&left=5&compact=0"), 2, now);
    assert!(listed.contains("5:peersld2:ip9:192.0.2.14:porti6881eee"), "{listed}");
    let compact = get(&registry, &format!("{second}&left=5"), 2, now);
    assert!(compact.ends_with("5:peers6:\u{fffd}\0\u{2}\u{1}\u{1a}\u{fffd}e"), "{compact}");
    assert_eq!((registry.census().peers, registry.counters().http[0].announces), (2, 3));
}

#[test]
fn both_families_are_named_each_in_its_form() {
    let (registry, now) = registry();
    get(&registry, &format!("{ANNOUNCE}&left=0"), 1, now);
    let v6: IpAddr = "2001:db8::3".parse().unwrap();
    let url = format!("{}&left=5", ANNOUNCE.replace('b', "c"));
    let (_, body) = ask_of(&registry, &Access::default(), &url, v6, now);
    let answer = http::parse_announce(&body).unwrap();
    assert_eq!((answer.peers, answer.external_ip), (vec!["192.0.2.1:6881".parse().unwrap()], Some(v6)));
    let url = format!("{}&left=5&compact=0", ANNOUNCE.replace('b', "d"));
    let (_, body) = ask_of(&registry, &Access::default(), &url, "2001:db8::4".parse().unwrap(), now);
    let mut peers = http::parse_announce(&body).unwrap().peers;
    peers.sort_unstable();
    assert_eq!(peers, ["192.0.2.1:6881".parse().unwrap(), SocketAddr::new(v6, 6881)]);
}

fn check_refused(url: &str, reason: &str) {
    let (registry, now) = registry();
    let body = get(&registry, url, 1, now);
    assert_eq!(body, format!("d14:failure reason{}:{reason}e", reason.len()), "{url}");
    assert_eq!((registry.counters().refused(), registry.census().peers), (1, 0));
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    check_refused("/announce", "info_hash is missing");
    check_refused("/announce?info_hash=abc", "info_hash must be 20 bytes, not 3");
    check_refused("/announce?info_hash=%", "info_hash is not percent-encoded properly");
    check_refused("/announce?info_hash=%4", "info_hash is not percent-encoded properly");
    check_refused("/announce?info_hash=%+1aaaaaaaaaaaaaaaaaaa", "info_hash is not percent-encoded properly");
    check_refused("/announce?info_hash=aaaaaaaaaaaaaaaaaaaa", "peer_id is missing");
    check_refused(&ANNOUNCE.replace("peer_id=b", "peer_id="), "peer_id must be 20 bytes, not 19");
    check_refused(&ANNOUNCE.replace("&port=6881", ""), "port is missing");
    check_refused(&format!("{ANNOUNCE}&info_hash=aaaaaaaaaaaaaaaaaaaa"), "more than one info_hash");
    check_refused(&format!("{ANNOUNCE}&port=65536"), "port must be a number up to 65535");
    check_refused(&format!("{ANNOUNCE}&left=many"), "left must be a number");
    check_refused(&format!("{ANNOUNCE}&key=%zz"), "key is not percent-encoded properly");
    check_refused(&format!("{ANNOUNCE}&uploaded=1e3"), "uploaded must be a number");
    check_refused("/scrape", "a scrape must name at least one info_hash");
    check_refused("/scrape?info_hash=", "info_hash must be 20 bytes, not 0");
    check_refused(&format!("/announce?{}", "a".repeat(URL_BYTES_MAX)), "the request is too long");
}

#[test]
fn other_methods_are_told_so_too() {
    let (registry, now) = registry();
    for method in ["POST", "HEAD", "get", ""] {
        let request = Request {
            method: method.as_bytes(),
            target: ANNOUNCE.as_bytes(),
            from: [192, 0, 2, 1].into(),
            via: Via::Direct,
        };
        let mut out = Vec::new();
        let status = answer(&registry, &Access::default(), &request, now, &mut out);
        assert_eq!(status, Status { code: 405, body: Body::Bencode });
        assert_eq!(out, b"d14:failure reason38:this tracker answers GET requests onlye");
    }
}

#[test]
fn scrapes_answer_for_each_swarm_once() {
    let (registry, now) = registry();
    get(&registry, &format!("{ANNOUNCE}&left=5&event=paused"), 1, now);
    let url = "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=%00aaaaaaaaaaaaaaaaaaa&info_hash=aaaaaaaaaaaaaaaaaaaa";
    let (_, body) = ask_of(&registry, &Access::default(), url, [192, 0, 2, 1].into(), now);
    let swarms = http::parse_scrape(&body).unwrap();
    let partial = swarms[1].1;
    assert_eq!((swarms.len(), partial.leechers, partial.downloaders), (2, 1, Some(0)));
    let (denied, _) = InfoHashList::parse("61".repeat(20).as_bytes()).unwrap();
    let access = Access { denied: Some(Arc::new(denied)), ..Access::default() };
    let (_, body) = ask_of(&registry, &access, url, [192, 0, 2, 1].into(), now);
    assert_eq!(http::parse_scrape(&body).unwrap()[1].1.leechers, 0);
}

#[test]
fn whoever_says_completed_is_a_seed() {
    let (registry, now) = registry();
    get(&registry, &format!("{ANNOUNCE}&event=completed"), 1, now);
    let scrape = registry.scrape(&"61".repeat(20).parse().unwrap());
    assert_eq!((scrape.seeders, scrape.leechers, scrape.downloaded), (1, 0, 1));
}

#[test]
fn other_paths_are_not_found() {
    let (registry, now) = registry();
    for path in ["/", "", "/announce/", "/favicon.ico", "*", "/a/stats", "/a/b/announce", "/a/metrics"] {
        let (status, body) = ask_of(&registry, &Access::default(), path, [192, 0, 2, 1].into(), now);
        assert_eq!(status, Status { code: 404, body: Body::Text }, "{path}");
        let words = "This is a BitTorrent tracker. It answers at /announce, /scrape, /stats and /metrics.\n";
        assert_eq!(String::from_utf8_lossy(&body), words);
    }
    let (passkeys, _) = Passkeys::parse(b"secret-key", [1; 16]).unwrap();
    let private = Access { passkeys: Some(Arc::new(passkeys)), ..Access::default() };
    let (_, body) = ask_of(&registry, &private, "/", [192, 0, 2, 1].into(), now);
    let words =
        "This is a BitTorrent tracker. It answers at /KEY/announce, /KEY/scrape, /stats and /metrics.\n";
    assert_eq!(String::from_utf8_lossy(&body), words);
}

#[test]
fn a_private_tracker_wants_a_passkey_in_the_path_and_never_repeats_it() {
    let (registry, now) = registry();
    let (passkeys, _) = Passkeys::parse(b"secret-key-0001 announces=1\n", [1; 16]).unwrap();
    let access = Access { passkeys: Some(Arc::new(passkeys)), ..Access::default() };
    let ask = |url: &str| {
        let (status, body) = ask_of(&registry, &access, url, [192, 0, 2, 1].into(), now);
        assert_eq!(status.code, 200);
        String::from_utf8_lossy(&body).into_owned()
    };
    assert!(ask(&format!("{ANNOUNCE}&left=1")).contains("passkey in it, /KEY/announce8:retry ini15ee"));
    assert!(ask("/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa").contains("failure reason"));
    let wrong = ask(&format!("/secret-key-9999{ANNOUNCE}&left=1"));
    assert!(wrong.contains("this passkey is not known") && !wrong.contains("9999"), "{wrong}");
    assert_eq!(registry.census().peers, 0);
    assert!(ask(&format!("/secret-key-0001{ANNOUNCE}&left=1")).starts_with("d8:complete"));
    assert!(ask("/secret-key-0001/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa").contains("10:incompletei1e"));
    let often = ask(&format!("/secret-key-0001{ANNOUNCE}&left=1"));
    assert!(often.contains("announce 1 times a minute; wait one8:retry ini1ee"), "{often}");
    let refused: Vec<_> = registry.counters().refused_by_reason().filter(|(_, count)| *count != 0).collect();
    assert_eq!(refused, [("passkey", 3), ("passkey_limit", 1)]);
    // On a tracker for all a key is a mistake.
    assert!(get(&registry, &format!("/some-key{ANNOUNCE}"), 1, now).contains("takes no passkeys"));
}

#[test]
fn torrents_that_are_not_served_are_told_so_and_whether_to_come_back() {
    let (registry, now) = registry();
    let list = |hash: &str| Some(Arc::new(InfoHashList::parse(hash.repeat(20).as_bytes()).unwrap().0));
    let ask = |access: &Access| {
        let (_, body) = ask_of(&registry, access, &format!("{ANNOUNCE}&left=1"), [192, 0, 2, 1].into(), now);
        String::from_utf8_lossy(&body).into_owned()
    };
    assert!(ask(&Access { denied: list("61"), ..Access::default() }).ends_with("8:retry in5:nevere"));
    assert!(ask(&Access { allowed: list("62"), ..Access::default() }).ends_with("8:retry ini15ee"));
    assert!(ask(&Access { allowed: list("61"), ..Access::default() }).starts_with("d8:complete"));
}

#[test]
fn addresses_in_parameters_are_believed_only_where_that_was_chosen() {
    let cases = [
        (IpParameter::Ignored, "127.0.0.1", "&ip=10.9.9.9", None),
        (IpParameter::FromLoopback, "127.0.0.1", "&ip=10.9.9.9", Some("10.9.9.9:6881")),
        (IpParameter::FromLoopback, "10.0.0.1", "&ip=10.9.9.9", Some("10.0.0.1:6881")),
        (IpParameter::FromPrivate, "10.0.0.1", "&ipv4=10.9.9.9&ipv6=fd00::1", Some("10.9.9.9:6881")),
        (IpParameter::FromPrivate, "fd00::7", "&ipv4=10.9.9.9&ipv6=fd00::1", Some("[fd00::1]:6881")),
        (IpParameter::FromPrivate, "192.0.2.9", "&ip=10.9.9.9", Some("192.0.2.9:6881")),
    ];
    for (ip_parameter, from, claims, expected) in cases {
        let now = Instant::now();
        let options = RegistryOptions { ip_parameter, ..RegistryOptions::default() };
        let registry = Registry::new(options, [1; 16], now);
        let url = format!("{ANNOUNCE}&left=1{claims}");
        ask_of(&registry, &Access::default(), &url, from.parse().unwrap(), now);
        let url = format!("{}&left=1", ANNOUNCE.replace('b', "c"));
        let (_, body) = ask_of(&registry, &Access::default(), &url, [192, 0, 2, 77].into(), now);
        // A loopback address is not named to other machines.
        let expected: Vec<SocketAddr> = expected.iter().map(|addr| addr.parse().unwrap()).collect();
        assert_eq!(http::parse_announce(&body).unwrap().peers, expected, "{ip_parameter:?} {from}");
    }
}
