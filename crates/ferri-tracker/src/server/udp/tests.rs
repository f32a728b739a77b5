//! Datagrams in, datagrams out.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use super::super::access::{InfoHashList, Passkeys};
use super::super::refusal::NOT_CONNECTED;
use super::super::registry::RegistryOptions;
use super::*;
use crate::announce::Announce;
use crate::udp::{Request, Response};

fn registry() -> (Registry, Instant) {
    let now = Instant::now();
    (Registry::new(RegistryOptions::default(), [1; 16], now), now)
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 5000))
}

fn reply_of(
    registry: &Registry,
    access: &Access,
    packet: &[u8],
    from: SocketAddr,
    now: Instant,
) -> Option<Vec<u8>> {
    let mut out = [0xaa; ANSWER_BYTES_MAX];
    let length = answer(registry, access, packet, from, now, &mut out)?;
    Some(out[..length].to_vec())
}

fn reply(registry: &Registry, packet: &[u8], from: SocketAddr, now: Instant) -> Option<Vec<u8>> {
    reply_of(registry, &Access::default(), packet, from, now)
}

fn connect(registry: &Registry, from: SocketAddr, now: Instant) -> u64 {
    let reply = reply(registry, &Request::Connect { transaction: 7 }.encode(), from, now).unwrap();
    match Response::decode(&reply, Family::of(from)) {
        Ok(Response::Connect { transaction: 7, connection }) => connection,
        other => panic!("{other:?}"),
    }
}

fn request(connection: u64, from: SocketAddr, url_data: &[u8]) -> Vec<u8> {
    let mut peer_id = [0; 20];
    peer_id.iter_mut().zip(from.ip().to_string().bytes()).for_each(|(id, byte)| *id = byte);
    let announce = Announce { left: 1, ..Announce::new(InfoHash::from([3; 20]), peer_id, 6881) };
    Request::Announce { connection, transaction: 9, announce, url_data: url_data.to_vec() }.encode()
}

fn announce(
    registry: &Registry,
    access: &Access,
    url_data: &[u8],
    from: SocketAddr,
    now: Instant,
) -> Response {
    let request = request(connect(registry, from, now), from, url_data);
    let reply = reply_of(registry, access, &request, from, now).unwrap();
    Response::decode(&reply, Family::of(from)).unwrap()
}

#[test]
fn a_connection_id_lasts_between_one_and_two_minutes_and_belongs_to_an_address() {
    let (registry, begin) = registry();
    for issued in [0, 1, 30, 59, 61] {
        let issued = begin + Duration::from_secs(issued);
        let id = connect(&registry, addr(1), issued);
        for (after, accepted) in [(0, true), (58, true), (121, false), (3600, false)] {
            let now = issued + Duration::from_secs(after);
            assert_eq!(is_connected(&registry, id, addr(1).ip(), now), accepted, "{after}");
            assert!(!is_connected(&registry, id, addr(2).ip(), now));
            assert!(!is_connected(&registry, id ^ 1, addr(1).ip(), now));
        }
    }
    assert!(!is_connected(&registry, 0, addr(1).ip(), begin));
    assert!(!is_connected(&registry, 1, addr(1).ip(), begin));
}

#[test]
fn a_registry_that_shares_connections_knows_the_ids_of_the_one_before() {
    const UNIX: u64 = 1_700_000_055;
    let (mut before, begin) = registry();
    before.share_connections([9; 16], UNIX);
    let restarted = begin + Duration::from_secs(4_000);
    let mut after = Registry::new(RegistryOptions::default(), [2; 16], restarted);
    after.share_connections([9; 16], UNIX + 4_000);
    for age in [0, 1, 30, 58] {
        let id = connect(&before, addr(1), restarted - Duration::from_secs(age));
        assert!(is_connected(&after, id, addr(1).ip(), restarted), "{age}");
        assert!(!is_connected(&after, id, addr(2).ip(), restarted));
        // And no longer than before.
        assert!(!is_connected(&after, id, addr(1).ip(), restarted + Duration::from_secs(120 - age)), "{age}");
    }
    let (stranger, _) = registry();
    assert!(!is_connected(&stranger, connect(&after, addr(1), restarted), addr(1).ip(), begin));
}

#[test]
fn peers_find_each_other_by_family() {
    let (registry, now) = registry();
    let v6: SocketAddr = "[2001:db8::7]:5000".parse().unwrap();
    for from in [addr(1), addr(2), v6, "[::ffff:192.0.2.3]:5000".parse().unwrap()] {
        let response = announce(&registry, &Access::default(), b"/announce", from, now);
        let Response::Announce { peers, interval, .. } = response else { panic!() };
        assert!((525..=600).contains(&interval));
        let before = match from.ip().to_canonical() {
            IpAddr::V4(ip) => usize::from(ip.octets()[3] - 1),
            IpAddr::V6(_) => 0,
        };
        assert_eq!(peers.len(), before);
        assert!(peers.iter().all(|peer| peer.port() == 6881 && peer.is_ipv4()));
    }
    let counters = registry.counters();
    assert_eq!((registry.census().peers, counters.udp[0].announces, counters.udp[1].announces), (4, 3, 1));
    assert_eq!((counters.udp[0].connects, counters.refused()), (3, 0));
}

#[test]
fn whoever_has_no_connection_id_gets_no_more_than_it_sent_and_leaves_no_trace() {
    let (registry, now) = registry();
    let forged = reply(&registry, &request(1, addr(1), b""), addr(1), now).unwrap();
    let Ok(Response::Error { message, transaction: 9 }) = Response::decode(&forged, Family::V4) else {
        panic!()
    };
    assert_eq!(message, NOT_CONNECTED);
    for count in 0..74 {
        let info_hashes = vec![InfoHash::from([3; 20]); count];
        let scrape = Request::Scrape { connection: 1, transaction: 9, info_hashes }.encode();
        let reply = reply(&registry, &scrape, addr(1), now).unwrap();
        assert!(reply.len() <= scrape.len());
    }
    let connect = Request::Connect { transaction: 9 }.encode();
    assert_eq!(reply(&registry, &connect, addr(1), now).unwrap().len(), connect.len());
    let not_connected = registry.counters().refused_by_reason().find(|(name, _)| *name == "not_connected");
    assert_eq!((registry.census().peers, not_connected), (0, Some(("not_connected", 75))));
}

#[test]
fn trackers_do_not_answer_each_others_errors() {
    let (registry, now) = registry();
    let error = reply(&registry, &request(1, addr(1), b""), addr(1), now).unwrap();
    assert_eq!(reply(&registry, &error, addr(2), now), None);
    let given = reply(&registry, &Request::Connect { transaction: 9 }.encode(), addr(1), now).unwrap();
    assert_eq!(reply(&registry, &given, addr(2), now), None);
    assert_eq!(reply(&registry, &[0; 16], addr(2), now), None);
    assert_eq!(reply(&registry, b"", addr(2), now), None);
}

#[test]
fn a_request_that_is_cut_short_is_told_so() {
    let (registry, now) = registry();
    let whole = request(connect(&registry, addr(1), now), addr(1), b"");
    for length in 16..whole.len() {
        let reply = reply(&registry, &whole[..length], addr(1), now).unwrap();
        assert!(reply.len() <= length && reply[..8] == [0, 0, 0, 3, 0, 0, 0, 9]);
        let text = format!("too short: {length} bytes");
        assert_eq!(reply[8..], text.as_bytes()[..text.len().min(length - 8)]);
    }
    assert_eq!(registry.census().peers, 0);
}

#[test]
fn scrapes_are_answered_in_order() {
    let (registry, now) = registry();
    announce(&registry, &Access::default(), b"", addr(1), now);
    let connection = connect(&registry, addr(1), now);
    let info_hashes = vec![InfoHash::from([1; 20]), InfoHash::from([3; 20])];
    let scrape = Request::Scrape { connection, transaction: 9, info_hashes }.encode();
    let leechers = |access: &Access| {
        let reply = reply_of(&registry, access, &scrape, addr(1), now).unwrap();
        let Ok(Response::Scrape { swarms, .. }) = Response::decode(&reply, Family::V4) else { panic!() };
        swarms.iter().map(|swarm| swarm.leechers).collect::<Vec<_>>()
    };
    assert_eq!(leechers(&Access::default()), [0, 1]);
    let (denied, _) = InfoHashList::parse("03".repeat(20).as_bytes()).unwrap();
    assert_eq!(leechers(&Access { denied: Some(Arc::new(denied)), ..Access::default() }), [0, 0]);
}

fn private() -> Access {
    let (passkeys, _) = Passkeys::parse(b"secret-key-0001\n", [1; 16]).unwrap();
    Access { passkeys: Some(Arc::new(passkeys)), ..Access::default() }
}

fn check_private(url_data: &[u8], error: Option<&str>) {
    let (registry, now) = registry();
    match (announce(&registry, &private(), url_data, addr(1), now), error) {
        (Response::Announce { .. }, None) => {}
        (Response::Error { message, .. }, Some(error)) => assert_eq!(message, error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_passkey_is_in_the_path_that_comes_behind_an_announce() {
    check_private(b"/secret-key-0001/announce", None);
    check_private(b"/secret-key-0001/announce?x=/y", None);
    check_private(b"/secret-key-0001", Some(&Refusal::AccessRefusal(AccessRefusal::NoPasskey).to_string()));
    check_private(b"/announce", Some(&Refusal::AccessRefusal(AccessRefusal::NoPasskey).to_string()));
    check_private(b"", Some(&Refusal::AccessRefusal(AccessRefusal::NoPasskey).to_string()));
    let unknown = Refusal::AccessRefusal(AccessRefusal::UnknownPasskey).to_string();
    check_private(b"/secret-key-0002/announce", Some(&unknown));
    check_private(
        &[b"/".to_vec(), vec![b'x'; 5000], b"/announce".to_vec()].concat(),
        Some(&Refusal::AccessRefusal(AccessRefusal::NoPasskey).to_string()),
    );
    // Cut into several options, with others between them.
    let (registry, now) = registry();
    let bare = request(connect(&registry, addr(1), now), addr(1), b"");
    let options = b"\x02\x05/secr\x01\x09\x02zz\x02\x0eet-key-0001/an\x00\x02\x04junk";
    let reply = reply_of(&registry, &private(), &[&bare[..], options].concat(), addr(1), now).unwrap();
    assert!(matches!(Response::decode(&reply, Family::V4), Ok(Response::Announce { .. })));
}

#[test]
fn a_private_tracker_answers_no_scrape_over_udp() {
    let (registry, now) = registry();
    let connection = connect(&registry, addr(1), now);
    let scrape =
        Request::Scrape { connection, transaction: 9, info_hashes: vec![InfoHash::from([3; 20]); 4] }
            .encode();
    let reply = reply_of(&registry, &private(), &scrape, addr(1), now).unwrap();
    let Ok(Response::Error { message, .. }) = Response::decode(&reply, Family::V4) else { panic!() };
    assert_eq!(message, "scrape over HTTP: UDP has no room for a passkey");
    // One of a single torrent is answered with 28 bytes of it.
    let reply = reply_of(&registry, &private(), &scrape[..36], addr(1), now).unwrap();
    let Ok(Response::Error { message, .. }) = Response::decode(&reply, Family::V4) else { panic!() };
    assert_eq!(message, "scrape over HTTP: UDP has no");
}

#[test]
fn a_stranger_to_a_private_tracker_does_not_learn_which_torrents_it_serves() {
    let (registry, now) = registry();
    let list = |text: &str| Some(Arc::new(InfoHashList::parse(text.as_bytes()).unwrap().0));
    let is_private = |access: &Access| {
        let Response::Error { message, .. } = announce(&registry, access, b"", addr(1), now) else {
            panic!()
        };
        message.starts_with("this tracker is private")
    };
    let hash = "03".repeat(20);
    assert!(is_private(&Access { allowed: list(&hash), ..private() }));
    assert!(is_private(&Access { allowed: list(""), ..private() }));
    assert!(is_private(&Access { denied: list(&hash), ..private() }));
}

#[test]
fn torrents_that_are_not_served_are_told_so() {
    let (registry, now) = registry();
    let list = || Some(Arc::new(InfoHashList::parse("03".repeat(20).as_bytes()).unwrap().0));
    let empty = Some(Arc::new(InfoHashList::parse(b"").unwrap().0));
    let message = |access: &Access| match announce(&registry, access, b"", addr(1), now) {
        Response::Error { message, .. } => message,
        _ => String::new(),
    };
    let denied = Access { denied: list(), ..Access::default() };
    assert_eq!(message(&denied), Refusal::AccessRefusal(AccessRefusal::Denied).to_string());
    let other = Access { allowed: empty, ..Access::default() };
    assert_eq!(message(&other), Refusal::AccessRefusal(AccessRefusal::NotAllowed).to_string());
    assert_eq!(message(&Access { allowed: list(), ..Access::default() }), "");
}

#[test]
fn an_answer_has_as_many_peers_as_were_wanted_and_fit() {
    let (registry, now) = registry();
    for number in 0..=255u8 {
        let from = SocketAddr::from(([10, 0, 0, number], 5000));
        announce(&registry, &Access::default(), b"", from, now);
        let from = SocketAddr::from(([0x2001, 0xdb8, 0, u16::from(number), 0, 0, 0, 1], 5000));
        announce(&registry, &Access::default(), b"", from, now);
    }
    let count = |from: SocketAddr, numwant: Option<u32>, room: usize| {
        let connection = connect(&registry, from, now);
        let announce = Announce { left: 1, numwant, ..Announce::new(InfoHash::from([3; 20]), [0; 20], 6881) };
        let packet =
            Request::Announce { connection, transaction: 9, announce, url_data: Vec::new() }.encode();
        let mut out = vec![0; room];
        let length = answer(&registry, &Access::default(), &packet, from, now, &mut out).unwrap();
        let each = if from.is_ipv4() { 6 } else { 18 };
        assert_eq!((length - 20) % each, 0);
        (length - 20) / each
    };
    let v6 = "[2001:db8:ff::1]:5000".parse().unwrap();
    assert_eq!((count(addr(1), None, 1500), count(addr(1), Some(0), 1500)), (50, 0));
    assert_eq!((count(addr(1), Some(7), 1500), count(addr(1), Some(u32::MAX >> 1), 1500)), (7, 200));
    assert_eq!((count(v6, None, 1500), count(v6, Some(200), 1500)), (50, 66));
    assert_eq!(count(addr(1), Some(200), 60), 6);
}
