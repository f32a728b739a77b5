//! Behind a reverse proxy.

use ferri_tracker_server::{Options, ProxyHeader, TrackerServer};

use super::{Answer, Client, announce, who};

fn tracker(header: ProxyHeader) -> TrackerServer {
    let proxies = vec!["127.0.0.64/26".parse().unwrap()];
    TrackerServer::start(Options { proxies, proxy_header: header, ..Options::on("127.0.0.1:0") }).unwrap()
}

/// What a client at `from` is told that sends this header: the address that the tracker saw.
fn seen(tracker: &TrackerServer, from: u8, header: &str) -> Answer {
    let mut client = Client::from(tracker.addr(), who(from));
    client.send(format!("GET {} HTTP/1.1\r\n{header}\r\n", announce(1, from, 1)));
    client.answer()
}

fn check(tracker: &TrackerServer, from: u8, header: &str, ip: [u8; 4]) {
    let answer = seen(tracker, from, header);
    let expected = [b"11:external ip4:".as_slice(), &ip].concat();
    assert!(
        answer.body.windows(expected.len()).any(|window| window == expected),
        "{header}: {}",
        answer.text()
    );
}

#[test]
fn a_proxy_is_believed_and_nobody_else() {
    let tracker = tracker(ProxyHeader::XForwardedFor);
    check(&tracker, 65, "X-Forwarded-For: 192.0.2.1\r\n", [192, 0, 2, 1]);
    check(&tracker, 65, "X-Forwarded-For: 203.0.113.5, 192.0.2.1, 127.0.0.66\r\n", [192, 0, 2, 1]);
    check(&tracker, 65, "x-forwarded-for: 203.0.113.5\r\nX-Forwarded-For: 192.0.2.1:99\r\n", [192, 0, 2, 1]);
    check(&tracker, 2, "X-Forwarded-For: 192.0.2.1\r\n", [127, 0, 0, 2]);
    // Headers of other proxies may have been written by the client.
    let answer = seen(&tracker, 65, "X-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n");
    assert!(answer.text().contains("failure reason") && answer.text().contains("--proxy-header"));
}

#[test]
fn other_proxies_say_it_in_other_headers() {
    check(&tracker(ProxyHeader::XRealIp), 65, "X-Real-IP: 192.0.2.1\r\n", [192, 0, 2, 1]);
    let forwarded = tracker(ProxyHeader::Forwarded);
    check(&forwarded, 65, "Forwarded: for=\"192.0.2.1:80\";proto=https\r\n", [192, 0, 2, 1]);
}

#[test]
fn who_looks_after_the_proxys_machine_asks_without_it() {
    let tracker = tracker(ProxyHeader::XForwardedFor);
    assert!(seen(&tracker, 2, "").text().contains("interval"));
    let mut client = Client::from(tracker.addr(), who(65));
    for page in ["/stats", "/metrics"] {
        let answer = client.get(page);
        assert_eq!(answer.status, 200, "{page}");
        // A client that comes through a proxy is not on this machine: torrents are not listed.
        assert!(!answer.text().contains(&"01".repeat(20)), "{}", answer.text());
    }
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("\nferriswarm_tracker_http_connections "), "{metrics}");
}
