//! Any bytes over HTTP to our own tracker.

use ferri_bencode::Document;
use ferri_tracker_server::fuzzing::{HEAD_MAX, Outcome, read};
use ferri_tracker_server::{Cidr, ProxyHeader};

/// Any bytes as requests in a row, from a proxy: each is the same however much of the next one is there, and what is none is answered
/// in words that a client can read.
pub fn tracker_request(data: &[u8]) {
    let proxies: [Cidr; 2] = ["127.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
    for header in [ProxyHeader::XForwardedFor, ProxyHeader::XRealIp, ProxyHeader::Forwarded] {
        let mut rest = data;
        while !rest.is_empty() {
            match read(rest, &proxies, header) {
                Outcome::Partial => {
                    assert!(rest.len() < HEAD_MAX, "{} bytes are waited for", rest.len());
                    break;
                }
                Outcome::Refused(answer) => {
                    check_refusal(&answer);
                    break;
                }
                Outcome::Request { length, target, client } => {
                    assert!(0 < length && length <= rest.len().min(HEAD_MAX), "{length} of {}", rest.len());
                    assert!(!target.is_empty() && !target.contains([' ', '\r', '\n', '\0']), "{target:?}");
                    let alone = read(&rest[..length], &proxies, header);
                    assert_eq!(alone, Outcome::Request { length, target, client });
                    let cut = read(&rest[..length - 1], &proxies, header);
                    assert!(!matches!(cut, Outcome::Request { .. }), "{cut:?}");
                    rest = &rest[length..];
                }
            }
        }
    }
}

/// One HTTP answer with a failure reason in it, and nothing behind it.
fn check_refusal(answer: &[u8]) {
    let text = std::str::from_utf8(answer).expect("words of ours");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert!(head.ends_with("\r\nConnection: close"), "{head}");
    let document = Document::parse(body.as_bytes()).expect("bencode");
    let why =
        document.root().as_dict().and_then(|dict| dict.get(b"failure reason")?.as_bytes()).expect("a reason");
    assert!(10 < why.len(), "{body}");
}
