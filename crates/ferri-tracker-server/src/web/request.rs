//! Requests from bytes, and the heads of answers. No I/O.

use std::io::Write as _;
use std::mem::MaybeUninit;

/// Bytes of a request's head. A target of 8 KiB is a full scrape; headers of people's browsers and proxies come on top.
pub(crate) const HEAD_MAX: usize = 16 << 10;

/// Bytes of a request's target: a full scrape of 74 torrents is 5 KiB.
pub(crate) const TARGET_MAX: usize = 8 << 10;

/// Headers of one request. Browsers behind two proxies send 40.
const HEADERS_MAX: usize = 64;

/// A request, or why it is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// More bytes are needed.
    Partial,
    /// A whole one, of `length` bytes.
    Request(Request<'a>),
    /// What comes cannot be understood; the connection ends after this answer.
    Bad(u16, &'static str),
}

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) length: usize,
    pub(crate) method: Method,
    /// Path and query, behind the host when who asks takes us for a proxy.
    pub(crate) target: &'a str,
    pub(crate) persistence: Persistence,
    /// A body follows, which is not read.
    pub(crate) has_body: bool,
    /// What a proxy says about the client it asks for.
    pub(crate) forwarded: Forwarded<'a>,
}

/// What is asked to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Other,
}

/// What becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// HTTP/1.1 without a word about it.
    Kept,
    /// HTTP/1.0 that asks for it, and has to be told.
    KeptAndTold,
    Closed,
}

/// The headers of the name that is looked for. A proxy adds its word to those of others in the same one or in one more, so that its
/// own is the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forwarded<'a> {
    /// The values, in order; only the last ones when there are more.
    values: [&'a [u8]; FORWARDED_MAX],
    count: usize,
}

/// Headers of one name that are looked at: more than there are proxies in a row.
const FORWARDED_MAX: usize = 4;

impl<'a> Forwarded<'a> {
    fn push(&mut self, value: &'a [u8]) {
        if self.count == FORWARDED_MAX {
            self.values.rotate_left(1);
            self.count -= 1;
        }
        self.values[self.count] = value;
        self.count += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values, last first.
    pub(crate) fn last_first(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.values[..self.count].iter().rev().copied()
    }
}

/// Reads one request from the beginning of `bytes`. `proxy_header` is what its proxy says, if it may say anything.
pub(crate) fn parse<'a>(bytes: &'a [u8], proxy_header: Option<&str>) -> Parsed<'a> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX => whole(length, &request, proxy_header),
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => Parsed::Partial,
        Ok(_) => too_long(bytes),
        Err(httparse::Error::TooManyHeaders) => Parsed::Bad(431, "the request has too many headers"),
        Err(_) if bytes.first() == Some(&TLS_HANDSHAKE) => {
            Parsed::Bad(400, "this address speaks HTTP and not HTTPS: write http:// in the announce address")
        }
        Err(httparse::Error::Version) => Parsed::Bad(
            400,
            "the request line does not end in HTTP/1.0 or HTTP/1.1: blanks in the address must be written as %20",
        ),
        Err(httparse::Error::Token) => Parsed::Bad(
            400,
            "the request line cannot be read: blanks and binary bytes must be written as %20",
        ),
        Err(_) => Parsed::Bad(400, "the request cannot be read: it is not HTTP as RFC 9112 has it"),
    }
}

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

fn too_long(bytes: &[u8]) -> Parsed<'static> {
    if bytes.iter().take(HEAD_MAX).any(|byte| *byte == b'\n') {
        Parsed::Bad(431, "the headers of the request are too long")
    } else {
        Parsed::Bad(414, "the address of the request is too long")
    }
}

fn whole<'a>(length: usize, request: &httparse::Request<'_, 'a>, proxy_header: Option<&str>) -> Parsed<'a> {
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Parsed::Bad(400, "the request has no method or no address");
    };
    if TARGET_MAX < target.len() {
        return Parsed::Bad(414, "the address of the request is too long");
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let mut persistence = if request.version == Some(0) { Persistence::Closed } else { Persistence::Kept };
    let (mut forwarded, mut has_body) = (Forwarded::default(), false);
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("connection") {
            if has_token(header.value, b"close") {
                persistence = Persistence::Closed;
            } else if request.version == Some(0) && has_token(header.value, b"keep-alive") {
                persistence = Persistence::KeptAndTold;
            }
        } else if (is("content-length") && header.value != b"0") || is("transfer-encoding") {
            has_body = true;
        } else if proxy_header.is_some_and(is) {
            forwarded.push(header.value);
        }
    }
    if method == Method::Other || has_body {
        // What follows the body would not be found.
        persistence = Persistence::Closed;
    }
    Parsed::Request(Request { length, method, target, persistence, has_body, forwarded })
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// Writes the head of an answer whose body has `length` bytes.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    status: u16,
    content_type: &str,
    length: usize,
    persistence: Persistence,
) {
    let connection = match persistence {
        Persistence::Kept => "",
        Persistence::KeptAndTold => "Connection: keep-alive\r\n",
        Persistence::Closed => "Connection: close\r\n",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    write!(
        out,
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{allow}{connection}\r\n",
        reason(status)
    )
    .expect("a Vec takes everything");
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    }
}

/// Writes the dictionary that clients read a refusal from. `why` is a text of ours.
pub(crate) fn write_failure(body: &mut Vec<u8>, why: &str) {
    write!(body, "d14:failure reason{}:{why}e", why.len()).expect("a Vec takes everything");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: (Method, &str, Persistence)) {
        match parse(text.as_bytes(), None) {
            Parsed::Request(request) => {
                assert_eq!((request.method, request.target, request.persistence), expected, "{text:?}");
                assert_eq!(request.length, text.find("\r\n\r\n").unwrap() + 4);
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn connections_are_kept_as_the_version_and_the_header_have_it() {
        use Method::{Get, Head, Other};
        use Persistence::{Closed, Kept, KeptAndTold};
        check("GET /a?b HTTP/1.1\r\nHost: x\r\n\r\nGET", (Get, "/a?b", Kept));
        check("GET /a HTTP/1.1\r\nConnection: Upgrade, Close\r\n\r\n", (Get, "/a", Closed));
        check("GET /a HTTP/1.0\r\n\r\n", (Get, "/a", Closed));
        check("GET /a HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", (Get, "/a", KeptAndTold));
        check("HEAD / HTTP/1.1\r\n\r\n", (Head, "/", Kept));
        check("POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", (Other, "/a", Closed));
        check("GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", (Get, "/a", Closed));
        check("GET /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", (Get, "/a", Kept));
        check("GET http://host:80/a?b HTTP/1.1\r\n\r\n", (Get, "http://host:80/a?b", Kept));
        check("GET /a?b=http://c HTTP/1.1\r\n\r\n", (Get, "/a?b=http://c", Kept));
    }

    #[test]
    fn what_is_too_long_or_no_request_is_told_in_words() {
        let bad = |bytes: &[u8]| match parse(bytes, None) {
            Parsed::Bad(status, why) => (status, why.to_owned()),
            other => panic!("{other:?}"),
        };
        assert_eq!(bad(&[b'a'; HEAD_MAX]).0, 414);
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(TARGET_MAX));
        assert_eq!(bad(long.as_bytes()).0, 414);
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n", "a".repeat(HEAD_MAX));
        assert_eq!(bad(long.as_bytes()).0, 431);
        let long = format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(bad(long.as_bytes()).0, 431);
        assert!(bad(b"\x16\x03\x01\x02\x00\x01").1.contains("http://"));
        assert!(bad(b"GET /announce?info_hash=a b HTTP/1.1\r\n\r\n").1.contains("%20"));
        assert_eq!(bad(b"GET /a HTTP/2.0\r\n\r\n").0, 400);
        assert_eq!(bad(b"\x00\x01\x02").0, 400);
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_partial_until_its_end() {
        let text = b"GET /announce?a HTTP/1.1\r\nHost: x\r\n\r\n";
        for length in 0..text.len() {
            assert_eq!(parse(&text[..length], None), Parsed::Partial, "{length}");
        }
        assert!(matches!(parse(text, None), Parsed::Request(_)));
    }

    proptest! {
        /// Whatever comes is answered with words, taken or waited for within the bounds, and a request that is whole is the same
        /// however much of the next one is there.
        #[test]
        fn any_bytes_are_a_request_or_an_answer(
            bytes in prop_oneof![
                vec(any::<u8>(), 0..300),
                "(GET|HEAD|POST) /[!-~]{0,40} HTTP/1.[01]\r\n(X-Forwarded-For|Connection|[a-z]{1,9}): [ -~]{0,40}\r\n\r\n.{0,20}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            match parse(&bytes, Some("X-Forwarded-For")) {
                Parsed::Partial => prop_assert!(bytes.len() < HEAD_MAX),
                Parsed::Bad(status, why) => prop_assert!(400 <= status && !why.is_empty()),
                Parsed::Request(request) => {
                    prop_assert!(request.length <= bytes.len());
                    prop_assert_eq!(
                        parse(&bytes[..request.length], Some("X-Forwarded-For")),
                        Parsed::Request(request)
                    );
                }
            }
        }
    }

    #[test]
    fn of_many_headers_of_a_proxy_the_last_ones_count() {
        let mut text = "GET / HTTP/1.1\r\n".to_owned();
        for number in 0..9 {
            text.push_str(&format!("x-FORWARDED-for: {number}\r\n"));
        }
        text.push_str("\r\n");
        let Parsed::Request(request) = parse(text.as_bytes(), Some("X-Forwarded-For")) else { panic!() };
        let values: Vec<&[u8]> = request.forwarded.last_first().collect();
        assert_eq!(values, [b"8", b"7", b"6", b"5"]);
    }

    #[test]
    fn a_failure_is_bencode() {
        let mut body = Vec::new();
        write_failure(&mut body, "no");
        assert_eq!(body, b"d14:failure reason2:noe");
    }
}
