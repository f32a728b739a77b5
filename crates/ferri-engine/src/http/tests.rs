//! Servers on loopback, and what the client makes of them.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustls::pki_types::PrivateKeyDer;

use super::*;

/// Longer than any answer here.
const LIMIT: usize = 100_000;

/// Requests as they came, each with the number of its connection.
type Log = Arc<Mutex<Vec<(usize, String)>>>;

/// A server on loopback: `serve` is given every request, with its number on its connection from 0, and says whether the connection
/// goes on.
fn server(serve: impl Fn(&mut TcpStream, usize, &str) -> bool + Send + Sync + 'static) -> (SocketAddr, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let log = Log::default();
    let (serve, seen) = (Arc::new(serve), log.clone());
    std::thread::spawn(move || {
        for (number, mut stream) in listener.incoming().flatten().enumerate() {
            let (serve, seen) = (serve.clone(), seen.clone());
            std::thread::spawn(move || {
                for turn in 0.. {
                    let Some(request) = read_head(&mut stream) else { return };
                    seen.lock().unwrap().push((number, request.clone()));
                    if !serve(&mut stream, turn, &request) {
                        return;
                    }
                }
            });
        }
    });
    (addr, log)
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

fn say(stream: &mut TcpStream, head: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).is_ok() && stream.write_all(body).is_ok()
}

fn ask(url: &str) -> Ask<'_> {
    Ask { url, limit: LIMIT, named: Named::ByUser, family: None }
}

#[tokio::test]
async fn a_kept_connection_is_used_again() {
    let (addr, log) = server(|stream, _, _| say(stream, "200 OK", b"hello"));
    let http = Http::unbound();
    for path in ["a", "b", "c"] {
        let answer = http.get(ask(&format!("http://{addr}/{path}"))).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]));
    }
    let log = log.lock().unwrap();
    assert_eq!(log.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 0, 0]);
    assert!(log[0].1.starts_with("GET /a HTTP/1.1\r\n"), "{}", log[0].1);
    assert!(log[0].1.to_lowercase().contains(&format!("\r\nhost: {addr}\r\n")), "{}", log[0].1);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_ends_is_made_anew_once() {
    // The second request of a connection is read and never answered.
    let (addr, log) = server(|stream, turn, _| turn == 0 && say(stream, "200 OK", b""));
    let http = Http::unbound();
    for path in ["a", "b", "c"] {
        http.get(ask(&format!("http://{addr}/{path}"))).await.unwrap();
    }
    let seen: Vec<_> =
        log.lock().unwrap().iter().map(|(number, head)| (*number, head.as_bytes()[5])).collect();
    assert_eq!(seen, [(0, b'a'), (0, b'b'), (1, b'b'), (1, b'c'), (2, b'c')]);
}

#[tokio::test]
async fn a_fresh_connection_without_an_answer_is_not_asked_again() {
    let (addr, log) = server(|_, _, _| false);
    let error = Http::unbound().get(ask(&format!("http://{addr}/"))).await.unwrap_err();
    assert_eq!(error.fault, Fault::HungUp, "{error}");
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_connection_that_idles_is_closed() {
    let (addr, _) = server(|stream, _, _| say(stream, "200 OK", b""));
    let http = Http::unbound();
    http.get(ask(&format!("http://{addr}/"))).await.unwrap();
    let place = Place::of(&Url::parse(&format!("http://{addr}/")).unwrap(), None).unwrap();
    assert!(http.kept.take(&place, |_| false).is_none(), "not for whom it is not allowed");
    let link = http.kept.take(&place, |_| true).unwrap();
    http.kept.keep(&place, link);
    let now = Instant::now();
    assert!(http.kept.drop_idle(now + Duration::from_secs(14)).is_some());
    assert!(http.kept.drop_idle(now + Duration::from_secs(16)).is_none());
    assert!(http.kept.take(&place, |_| true).is_none());
}

#[tokio::test]
async fn interim_answers_count() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let (addr, _) = server(move |stream, _, _| {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(100);
        while stream.write_all(interim.as_bytes()).is_ok() {
            count.fetch_add(interim.len(), Ordering::Relaxed);
        }
        false
    });
    let error = Http::unbound().get(ask(&format!("http://{addr}/"))).await.unwrap_err();
    assert_eq!(error.fault, Fault::TooLong, "{error}");
    // What was read, and what the sockets' buffers hold.
    let written = written.load(Ordering::Relaxed);
    assert!(written < 16 << 20, "{written} bytes");
}

#[tokio::test]
async fn a_few_interim_answers_do_no_harm() {
    let (addr, _) = server(|stream, _, _| {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
        say(stream, "200 OK", b"hello")
    });
    let answer = Http::unbound().get(ask(&format!("http://{addr}/"))).await.unwrap();
    assert_eq!(answer.body, b"hello");
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_one_request() {
    for location in ["", "\r\nLocation: ", "\r\nLocation: http://", "\r\nLocation: http://[::"] {
        let (addr, log) = server(move |stream, _, _| say(stream, &format!("302 Found{location}"), b"moved"));
        let answer = Http::unbound().get(ask(&format!("http://{addr}/"))).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.location), (302, None), "{location:?}");
        assert_eq!(log.lock().unwrap().len(), 1, "{location:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_something_else_is_handed_on() {
    let (addr, _) = server(|stream, _, _| say(stream, "302 Found\r\nLocation: magnet:?xt=1", b""));
    let answer = Http::unbound().get(ask(&format!("http://{addr}/"))).await.unwrap();
    assert_eq!(answer.location.as_deref(), Some("magnet:?xt=1"));
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_sixth() {
    let (addr, _) = server(|stream, _, head| {
        let left: u32 = head[5..6].parse().unwrap();
        match left {
            0 => say(stream, "200 OK", b"here"),
            _ => say(stream, &format!("301 Moved\r\nLocation: /{}", left - 1), b"elsewhere"),
        }
    });
    let http = Http::unbound();
    assert_eq!(http.get(ask(&format!("http://{addr}/5"))).await.unwrap().body, b"here");
    assert!(http.get(ask(&format!("http://{addr}/6"))).await.unwrap_err().text.contains("redirects"));
}

#[tokio::test]
async fn a_password_goes_to_its_server_alone() {
    let (other, others) = server(|stream, _, _| say(stream, "200 OK", b""));
    let (addr, log) = server(move |stream, _, head| match &head[4..6] {
        "/a" => say(stream, "302 Found\r\nLocation: /b", b""),
        _ => say(stream, &format!("302 Found\r\nLocation: http://{other}/"), b""),
    });
    Http::unbound().get(ask(&format!("http://me:p%40ss@{addr}/a"))).await.unwrap();
    let log = log.lock().unwrap();
    assert!(log.iter().all(|(_, head)| head.contains("Basic bWU6cEBzcw==")), "{log:?}");
    assert_eq!(log.len(), 2);
    let others = others.lock().unwrap();
    assert!(!others[0].1.to_lowercase().contains("authorization"), "{others:?}");
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_stands_for() {
    let place = Place::of(&Url::parse("http://localhost:9/").unwrap(), None).unwrap();
    let hop = Hop { named: Named::ByUser, from: Some(Zone::Public), path: "/" };
    let error = dial::dial(&Arc::new(Egress::new(None)), &place, &hop).await.unwrap_err();
    assert_eq!(error.text, Refusal::IntoHost.to_string());
    let hop = Hop { named: Named::ByTorrent { own_query: false }, from: None, path: "/admin" };
    let error = dial::dial(&Arc::new(Egress::new(None)), &place, &hop).await.unwrap_err();
    assert_eq!(error.text, Refusal::NoTracker.to_string());
}

#[tokio::test]
async fn a_torrent_reaches_only_trackers_on_this_host() {
    let (addr, log) = server(|stream, _, head| match &head[4..14] {
        "/moved/ann" => say(stream, "302 Found\r\nLocation: /shutdown", b""),
        _ => say(stream, "200 OK", b""),
    });
    let http = Http::unbound();
    let listed = |own_query| Named::ByTorrent { own_query };
    for (path, named, refusal) in [
        ("announce?info_hash=x", listed(false), None),
        ("announce?cmd=1&info_hash=x", listed(true), Some(Refusal::OwnQuery)),
        ("shutdown", listed(false), Some(Refusal::NoTracker)),
        ("moved/announce", listed(false), Some(Refusal::NoTracker)),
    ] {
        let url = format!("http://{addr}/{path}");
        let result = http.get(Ask { named, ..ask(&url) }).await;
        assert_eq!(
            result.err().map(|error| error.text),
            refusal.map(|refusal| refusal.to_string()),
            "{path}"
        );
    }
    let paths = log.lock().unwrap().iter().map(|(_, head)| head[4..9].to_owned()).collect::<Vec<_>>();
    assert_eq!(paths, ["/anno", "/move"]);
}

#[tokio::test]
async fn a_family_that_is_not_there_is_no_failure_of_the_server() {
    let (addr, _) = server(|stream, _, _| say(stream, "200 OK", b""));
    let url = format!("http://{addr}/");
    let by = |family| Ask { family: Some(family), ..ask(&url) };
    let http = Http::unbound();
    assert!(http.get(by(Family::V4)).await.is_ok());
    assert_eq!(http.get(by(Family::V6)).await.unwrap_err().fault, Fault::NoWay);
}

#[tokio::test]
async fn packed_bodies_are_unpacked_and_damaged_ones_named() {
    let pack = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let whole = pack(&[7; 5000]);
    let mut trailed = whole.clone();
    trailed.extend_from_slice(b"\0\0\0\0");
    let cases: [(Vec<u8>, Result<usize, Fault>); 5] = [
        (whole.clone(), Ok(5000)),
        (trailed, Ok(5000)),
        (Vec::new(), Ok(0)),
        (whole[..whole.len() / 2].to_vec(), Err(Fault::Useless)),
        (pack(&[0; 10 * LIMIT]), Err(Fault::TooLong)),
    ];
    for (packed, expected) in cases {
        let (addr, _) = server(move |stream, _, _| say(stream, "200 OK\r\nContent-Encoding: gzip", &packed));
        let result = Http::unbound().get(ask(&format!("http://{addr}/"))).await;
        assert_eq!(result.map(|answer| answer.body.len()).map_err(|error| error.fault), expected);
    }
}

#[tokio::test]
async fn a_wish_to_be_left_alone_is_heard() {
    for (value, expected) in [("7", Some(7)), (" 120 ", Some(120)), ("-1", None), ("Wed, 21 Oct 2026", None)]
    {
        let head = format!("503 Busy\r\nRetry-After: {value}");
        let (addr, _) = server(move |stream, _, _| say(stream, &head, b""));
        let answer = Http::unbound().get(ask(&format!("http://{addr}/"))).await.unwrap();
        assert_eq!(answer.retry_after, expected.map(Duration::from_secs), "{value}");
    }
}

/// A server with a certificate of ours, and a client that trusts `trusted`.
async fn refusal_of(names: &[&str], years: (i32, i32), is_trusted: bool) -> String {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let _ = tls.read(&mut [0; 1024]);
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    if is_trusted {
        roots.add(ca_cert.der().clone()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let http = Http::with_tls(Tls::with(Arc::new(config)));
    match http.get(ask(&format!("https://localhost:{port}/announce?passkey=secret"))).await {
        Ok(answer) => String::from_utf8(answer.body).unwrap(),
        Err(error) => error.text,
    }
}

#[tokio::test]
async fn refused_certificates_are_told_in_words() {
    let valid = (2020, 2120);
    assert_eq!(refusal_of(&["localhost"], valid, true).await, "hi");
    let check = |text: String, words: &str| assert!(text.contains(words), "{words:?} in {text:?}");
    check(refusal_of(&["localhost"], (2010, 2011), true).await, "has expired");
    check(refusal_of(&["localhost"], (2110, 2120), true).await, "not valid yet");
    check(refusal_of(&["example.org"], valid, true).await, "for another name, not for localhost");
    check(refusal_of(&["localhost"], valid, false).await, "no authority that this machine trusts");
}

#[tokio::test]
async fn the_wrong_scheme_is_told_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let answers = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = Http::unbound().get(ask(&format!("https://{answers}/"))).await.unwrap_err();
    assert!(error.text.contains("http://"), "{error}");
    assert_eq!(error.fault, Fault::Unseen);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            // The alert of a TLS server that hears something else.
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 10]);
        }
    });
    let error = Http::unbound().get(ask(&format!("http://{tls}/"))).await.unwrap_err();
    assert!(error.text.contains("https://"), "{error}");
}
