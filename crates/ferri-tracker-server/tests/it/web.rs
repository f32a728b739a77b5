//! HTTP as clients, proxies and strangers speak it.

use std::io::Write;
use std::time::Duration;

use super::{Client, announce, tracker, who};

#[test]
fn a_connection_is_kept_and_peers_find_each_other() {
    let tracker = tracker();
    let mut first = Client::from(tracker.addr(), who(2));
    let answer = first.get(&announce(1, 1, 100));
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("Content-Type: text/plain\r\n") && !answer.head.contains("close"));
    let mut second = Client::from(tracker.addr(), who(3));
    for _ in 0..3 {
        let answer = second.get(&announce(1, 2, 0));
        let expected = [b"5:peers6:".as_slice(), &[127, 0, 0, 2], &6001_u16.to_be_bytes()].concat();
        assert!(answer.body.windows(15).any(|window| window == expected), "{}", answer.text());
    }
    assert_eq!(tracker.counts(), (1, 2));
    assert_eq!(first.get("/stats?format=text").status, 200);
    tracker.shutdown();
    assert!(first.is_at_end());
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let tracker = tracker();
    let mut client = Client::new(tracker.addr());
    let request = |number: u8| format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", announce(number, 1, 1));
    // More than is answered at once, and more than the sockets hold: the client has to read while it sends.
    let count = 5000;
    let mut stream = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for number in 0..count {
            let target =
                if number % 50 == 49 { "/nothing".to_owned() } else { announce((number % 7) as u8, 1, 1) };
            stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        }
    });
    for number in 0..count {
        let expected = if number % 50 == 49 { 404 } else { 200 };
        assert_eq!(client.answer().status, expected, "{number}");
    }
    sender.join().unwrap();
    client.send([request(1), request(2)].concat());
    assert!(client.answer().text().contains("8:complete"));
    assert!(client.answer().text().contains("8:complete"));
}

#[test]
fn whoever_asks_a_lot_and_reads_nothing_holds_up_nobody() {
    let tracker = tracker();
    let clients: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::from(tracker.addr(), who(9));
            client.stream.set_nonblocking(true).unwrap();
            let request = format!("GET {} HTTP/1.1\r\n\r\n", announce(1, 1, 1)).repeat(100);
            // Until the tracker takes no more: it holds back a client that does not read.
            for _ in 0..1000 {
                if client.stream.write(request.as_bytes()).is_err() {
                    return client;
                }
            }
            panic!("20 MB of requests were taken without an answer being read");
        })
        .collect();
    assert_eq!(Client::from(tracker.addr(), who(2)).get(&announce(1, 2, 0)).status, 200);
    drop(clients);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let tracker = tracker();
    let mut client = Client::new(tracker.addr());
    for byte in
        format!("\r\nGET {} HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\n\r\n", announce(1, 1, 1)).bytes()
    {
        client.send([byte]);
    }
    assert_eq!((client.answer().status, client.answer().status), (200, 404));
}

#[test]
fn http_1_0_is_closed_unless_it_asks_otherwise() {
    let tracker = tracker();
    let mut client = Client::new(tracker.addr());
    client.send(format!("GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", announce(1, 1, 1)));
    assert!(client.answer().head.contains("Connection: keep-alive\r\n"));
    client.send(format!("GET {} HTTP/1.0\r\n\r\n", announce(1, 1, 1)));
    assert!(client.answer().head.contains("Connection: close\r\n"));
    assert!(client.is_at_end());
    // A client that says that it sends no more is answered all the same.
    let mut client = Client::new(tracker.addr());
    client.send("GET /stats HTTP/1.1\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().status, 200);
    assert!(client.is_at_end());
}

/// What is sent ends in this status, these words and the end of the connection.
fn check_refused(request: impl AsRef<[u8]>, status: u16, words: &str) {
    let tracker = tracker();
    let mut client = Client::new(tracker.addr());
    client.send(request);
    let answer = client.answer();
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.body.starts_with(b"d14:failure reason"), "{}", answer.text());
    assert!(answer.text().contains(words), "{}", answer.text());
    assert!(client.is_at_end());
}

#[test]
fn what_is_no_request_is_refused_in_words_and_never_hung_up_on() {
    let body = "x".repeat(100_000);
    check_refused(
        format!("POST /announce HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        405,
        "GET",
    );
    check_refused("PUT /announce HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 405, "GET");
    check_refused("OPTIONS * HTTP/1.1\r\n\r\n", 405, "GET");
    check_refused(format!("GET /announce?{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)), 414, "too long");
    check_refused(format!("GET /{}", "a".repeat(17_000)), 414, "too long");
    check_refused(format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "a".repeat(17_000)), 431, "headers");
    check_refused(format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(70)), 431, "headers");
    check_refused("GET /announce?info_hash=a b HTTP/1.1\r\n\r\n", 400, "%20");
    check_refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "http://");
    check_refused("HELO tracker\r\n\r\n", 400, "");
}

#[test]
fn asking_for_the_head_only_changes_nothing() {
    let tracker = tracker();
    let mut client = Client::new(tracker.addr());
    client.send(format!("HEAD {} HTTP/1.1\r\n\r\n", announce(1, 1, 1)));
    assert_eq!(client.answer().status, 405);
    assert_eq!(tracker.counts(), (0, 0));
    client.send("HEAD /stats HTTP/1.1\r\n\r\nGET /stats HTTP/1.1\r\n\r\n");
    client.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    while !client.unread.windows(8).any(|window| window == b"</html>\n") {
        assert!(client.fill());
    }
    let text = String::from_utf8(std::mem::take(&mut client.unread)).unwrap();
    assert_eq!((text.matches("HTTP/1.1 200").count(), text.matches("<html").count()), (2, 1));
    let lengths = |text: &str| -> Vec<usize> {
        let values = text.lines().filter_map(|line| line.strip_prefix("Content-Length: "));
        values.map(|length| length.trim().parse().unwrap()).collect()
    };
    client.send("HEAD /metrics HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n");
    while client.fill() {}
    let lengths = lengths(&String::from_utf8(std::mem::take(&mut client.unread)).unwrap());
    // But for a digit more of a number that grows.
    assert!(lengths.len() == 2 && lengths[0].abs_diff(lengths[1]) < 16, "{lengths:?}");
}

#[test]
fn a_client_that_ends_its_side_is_answered_and_hung_up_on_at_once() {
    let tracker = tracker();
    for half in ["", "GET /an"] {
        let mut client = Client::new(tracker.addr());
        client.send(format!("GET {} HTTP/1.1\r\n\r\n{half}", announce(1, 1, 1)));
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(client.answer().status, 200);
        assert!(client.is_at_end());
        // Idle connections are kept for a minute, half-sent requests for 15 seconds.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
