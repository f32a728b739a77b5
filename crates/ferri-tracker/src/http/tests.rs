//! Vectors for the HTTP client side: URLs, and answers as trackers send them, the odd ones included.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::announce::Event;

fn announce() -> Announce {
    let info_hash =
        InfoHash::from(*b"\x12\x34\x56\x78\x9a\xbc\xde\xf1\x23\x45\x67\x89\xab\xcd\xef\x12\x34\x56\x78\x9a");
    Announce { left: 1000, key: 0xab, ..Announce::new(info_hash, *b"-FS0001-abcdef~._-01", 6881) }
}

const HASH: &str = "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-FS0001-abcdef~._-01";
const REST: &str = "&port=6881&uploaded=0&downloaded=0&left=1000&compact=1&no_peer_id=1&key=000000AB";

#[test]
fn every_byte_of_the_info_hash_arrives_and_the_query_of_the_torrent_stays() {
    for (base, begun) in [
        ("http://t.example/announce", "http://t.example/announce?"),
        ("http://t.example/announce?passkey=a%20b", "http://t.example/announce?passkey=a%20b&"),
        ("http://t.example/announce?", "http://t.example/announce?"),
        ("http://t.example/announce?a=1&", "http://t.example/announce?a=1&"),
        ("https://t.example", "https://t.example?"),
        ("http://t.example/announce#part", "http://t.example/announce?"),
    ] {
        assert_eq!(announce_url(base, &announce()), Ok(format!("{begun}{HASH}{REST}")));
    }
    for base in ["udp://t.example:80", "http://", "", "http://a b/"] {
        assert!(matches!(announce_url(base, &announce()), Err(TrackerError::BadUrl { .. })), "{base}");
    }
}

#[test]
fn what_is_optional_comes_behind() {
    let announce = Announce {
        event: Some(Event::Paused),
        numwant: Some(0),
        tracker_id: Some(b"a&b=\xff".to_vec()),
        ip: Some("2001:db8::1".parse().unwrap()),
        left: u64::MAX,
        ..announce()
    };
    let url = announce_url("http://t.example/a", &announce).unwrap();
    assert!(url.ends_with("&numwant=0&event=paused&trackerid=a%26b%3D%FF&ip=2001%3Adb8%3A%3A1"), "{url}");
    assert!(url.contains("&left=9223372036854775807&"), "{url}");
}

fn check_scrape_url(base: &str, expected: Option<&str>) {
    assert_eq!(scrape_url(base, &[InfoHash::from(*b"aaaaaaaaaaaaaaaaaaaa")]).as_deref(), expected, "{base}");
}

#[test]
fn announce_becomes_scrape_in_the_last_part_of_the_path() {
    const A: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa";
    check_scrape_url("http://t/announce", Some(&format!("http://t/scrape?{A}")));
    check_scrape_url(
        "http://t/x/announce.php?k=/announce",
        Some(&format!("http://t/x/scrape.php?k=/announce&{A}")),
    );
    // Not what the host or a folder is called: libtorrent 2.1.1 asks another host for the first.
    check_scrape_url(
        "http://announce.example/announce",
        Some(&format!("http://announce.example/scrape?{A}")),
    );
    check_scrape_url("http://t/announcements/announce", Some(&format!("http://t/announcements/scrape?{A}")));
    check_scrape_url("http://t/announce/x", None);
    check_scrape_url("http://announce/x", None);
    check_scrape_url("http://t/reannounce", None);
    check_scrape_url("http://t", None);
    check_scrape_url("udp://t:1/announce", None);
    let two = scrape_url("http://t/announce", &[InfoHash::from([b'a'; 20]), InfoHash::from([b'b'; 20])]);
    assert!(two.unwrap().ends_with("a&info_hash=bbbbbbbbbbbbbbbbbbbb"));
}

fn peers_of(body: &[u8]) -> Vec<String> {
    parse_announce(body).unwrap().peers.iter().map(ToString::to_string).collect()
}

#[test]
fn peers_come_in_three_forms() {
    assert_eq!(peers_of(b"d8:intervali1800e5:peers6:\x01\x02\x03\x04\x1a\xe1e"), ["1.2.3.4:6881"]);
    assert_eq!(
        peers_of(b"d8:intervali1800e5:peersld2:ip7:1.2.3.47:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881eed2:ip11:2001:db8::14:porti1eeee"),
        ["1.2.3.4:6881", "[2001:db8::1]:1"]
    );
    let both = b"d8:intervali1800e5:peers6:\x01\x02\x03\x04\x1a\xe16:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1e";
    assert_eq!(peers_of(both), ["1.2.3.4:6881", "[2001:db8::1]:6881"]);
    // Names, bad ports, port 0, doubles and the half peer at the end are no peers.
    assert_eq!(
        peers_of(b"d5:peersld2:ip4:host4:porti1eed2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.44:porti0eed2:ip7:1.2.3.44:port4:6881ed2:ip7:1.2.3.44:porti6881eei7eleee"),
        ["1.2.3.4:6881"]
    );
    assert_eq!(peers_of(b"d5:peers9:\x01\x02\x03\x04\x1a\xe1\x05\x06\x07e"), ["1.2.3.4:6881"]);
    assert_eq!(peers_of(b"d5:peers0:e"), [""; 0]);
}

#[test]
fn all_that_an_answer_can_hold_is_read() {
    let body = b"d8:completei7e10:downloadedi9e11:external ip4:\x01\x02\x03\x0410:incompletei8e8:intervali1800e12:min intervali900e5:peers0:10:tracker id3:abc15:warning message4:minde";
    let response = parse_announce(body).unwrap();
    assert_eq!((response.seeders, response.leechers, response.downloaded), (Some(7), Some(8), Some(9)));
    assert_eq!(response.interval.as_secs(), 1800);
    assert_eq!(response.min_interval.map(|interval| interval.as_secs()), Some(900));
    assert_eq!(response.tracker_id.as_deref(), Some(&b"abc"[..]));
    assert_eq!(response.warning.as_deref(), Some("mind"));
    assert_eq!(response.external_ip, Some("1.2.3.4".parse().unwrap()));
}

fn check_interval(value: &str, seconds: u64) {
    let body = format!("d8:interval{value}5:peers6:\x01\x02\x03\x04\x1a\x01e");
    let response = parse_announce(body.as_bytes()).unwrap();
    assert_eq!((response.interval.as_secs(), response.peers.len()), (seconds, 1), "{value}");
}

#[test]
fn an_interval_that_lies_is_clamped_and_the_peers_are_kept() {
    check_interval("i-1e", 60);
    check_interval("i0e", 60);
    check_interval("i1800e", 1800);
    check_interval("i9223372036854775807e", 86_400);
    check_interval("i9223372036854775808e", 86_400);
    check_interval("i-99999999999999999999999e", 60);
    check_interval("4:1800", 1800);
    check_interval("4:soon", 1800);
    check_interval("le", 1800);
}

#[test]
fn a_tracker_may_be_untidy_around_the_dictionary() {
    assert_eq!(
        peers_of(b"\r\n d5:peers6:\x01\x02\x03\x04\x1a\xe18:intervali60ee\n<!-- x -->"),
        ["1.2.3.4:6881"]
    );
}

fn check_failure(body: &str, reason: &str, retry_in: RetryIn) {
    let expected = Err(TrackerError::Failure { reason: reason.to_owned(), retry_in });
    assert_eq!(parse_announce(body.as_bytes()), expected, "{body}");
    // BEP 31 came of servers that are no trackers; they may send it with any status.
    assert_eq!(announce_answer(404, body.as_bytes()), expected, "{body}");
}

#[test]
fn a_refusal_is_told_with_its_time() {
    let minutes = |count: u64| RetryIn::After(Duration::from_secs(60 * count));
    check_failure("d14:failure reason6:banned8:intervali9ee", "banned", RetryIn::Unspecified);
    check_failure("d14:failure reason10:Overloaded8:retry in1:5e", "Overloaded", minutes(5));
    check_failure("d14:failure reason10:Overloaded8:retry ini5ee", "Overloaded", minutes(5));
    check_failure("d14:failure reason4:no!!8:retry in5:nevere", "no!!", RetryIn::Never);
    check_failure("d14:failure reason0:8:retry ini-5ee", "", RetryIn::Unspecified);
    check_failure("d14:failure reason0:8:retry ini9223372036854775807ee", "", minutes(24 * 60));
    check_failure("d14:failure reason0:8:retry in4:soone", "", RetryIn::Unspecified);
}

fn check_malformed(body: &[u8], expected: &str) {
    match parse_announce(body) {
        Err(TrackerError::Malformed { why }) => assert_eq!(why, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_answer_is_described() {
    let page = b"<!DOCTYPE html>\n<html><head>\n<TITLE lang=en>\n 404  Not Found\n</TITLE></head><body>long</body></html>";
    check_malformed(page, "not bencode but a web page: \"404 Not Found\"");
    check_malformed(b"<html><body><h1>It works!</h1></body>", "not bencode but a web page: \"It works!\"");
    check_malformed(b"<html></html>", "not bencode but a web page without words");
    check_malformed(b"Not \x1b[31mhere", "not bencode but \"Not \u{fffd}[31mhere\"");
    check_malformed(b"", "it is empty");
    check_malformed(b"  \n", "it is empty");
    check_malformed(b"de", "it has neither an interval nor peers");
    check_malformed(b"i5e", "it is not a dictionary");
    check_malformed(
        b"d8:interval",
        "its bencode is broken: the data ends in the middle of a value at byte 11",
    );
    let long = "x".repeat(1000);
    check_malformed(long.as_bytes(), &format!("not bencode but \"{}...\"", "x".repeat(80)));
}

#[test]
fn a_status_says_more_than_the_page_that_comes_with_it() {
    let error = announce_answer(502, b"<html><title>Bad Gateway</title></html>").unwrap_err();
    assert_eq!(error.to_string(), "HTTP status 502: a web page: \"Bad Gateway\"");
    assert_eq!(parse_announce(&vec![b'd'; RESPONSE_BYTES_MAX + 1]), Err(TrackerError::TooLong));
    assert!(announce_answer(200, b"d5:peers0:e").is_ok());
}

#[test]
fn texts_that_never_end_are_cut() {
    let body = format!("d14:failure reason100000:{}e", "y".repeat(100_000));
    let Err(TrackerError::Failure { reason, .. }) = parse_announce(body.as_bytes()) else { panic!() };
    assert_eq!(reason.len(), crate::limits::TEXT_BYTES_MAX);
    let body = format!("d5:peers0:10:tracker id1000:{}e", "y".repeat(1000));
    assert_eq!(parse_announce(body.as_bytes()).unwrap().tracker_id, None);
}

#[test]
fn the_scrape_of_the_bep_is_read() {
    let body = b"d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei11e10:downloadedi13772e10:incompletei19ee20:yyyyyyyyyyyyyyyyyyyyd8:completei21e10:downloadedi206e11:downloadersi3e10:incompletei20eeee";
    let swarms = parse_scrape(body).unwrap();
    let first = Scrape { seeders: 11, leechers: 19, downloaded: 13772, downloaders: None };
    let second = Scrape { seeders: 21, leechers: 20, downloaded: 206, downloaders: Some(3) };
    assert_eq!(swarms, [(InfoHash::from([b'x'; 20]), first), (InfoHash::from([b'y'; 20]), second)]);
    assert_eq!(parse_scrape(b"d5:filesd3:abcd8:completei1eeee"), Ok(Vec::new()));
    assert!(matches!(parse_scrape(b"de"), Err(TrackerError::Malformed { .. })));
    assert!(matches!(scrape_answer(404, b"x"), Err(TrackerError::Status { status: 404, .. })));
}
