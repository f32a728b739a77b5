//! Trackers that mean harm: each costs little memory and time, and what it did is said in words. A binary of its own,
//! one test at a time, so that memory can be measured.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ferri_engine::{AddTorrent, Event, Session};

use support::{Payload, options, resident_bytes};

/// What one bad tracker may cost.
const MEMORY_MAX: u64 = 16 << 20;
const TIME_MAX: Duration = Duration::from_secs(32);

/// Runs `serve` for every connection to a port of its own, on threads that end with their connection.
fn server(serve: impl Fn(&mut TcpStream, SocketAddr) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                serve(&mut stream, addr);
            });
        }
    });
    addr
}

static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Announces to `url` and returns what was said of it.
async fn verdict(url: String) -> String {
    let _alone = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let session = Session::start(options(&dir)).await.unwrap();
    let payload = Payload::single(100_000, 16384);
    let mut add = AddTorrent::new(payload.metainfo(&[]), dir.path().join("out"));
    add.extra_trackers = vec![url];
    let before = resident_bytes();
    let started = Instant::now();
    let torrent = session.add(add).await.unwrap();
    let mut events = torrent.events();
    let said = loop {
        match events.recv().await.unwrap() {
            Event::TrackerFailed { error, .. } => break error.to_string(),
            Event::TrackerAnswered { peers, .. } => break format!("answered with {peers} peers"),
            _ => {}
        }
    };
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{said}: memory grew by {} KiB", grown >> 10);
    assert!(started.elapsed() < TIME_MAX, "{said}: took {:?}", started.elapsed());
    session.shutdown().await;
    said
}

async fn check(expected: &str, serve: impl Fn(&mut TcpStream, SocketAddr) + Send + Sync + Clone + 'static) {
    let addr = server(serve);
    let said = verdict(format!("http://{addr}/announce")).await;
    assert!(said.contains(expected), "expected {expected:?} in {said:?}");
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    check("longer than", |stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nd");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn a_gzip_bomb_is_cut_after_what_it_unpacks_to() {
    // 64 MiB of zeros take 64 KiB; the decoder must stop long before the end.
    let mut bomb = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut bomb, flate2::Compression::best());
    for _ in 0..1024 {
        encoder.write_all(&[0; 65536]).unwrap();
    }
    encoder.finish().unwrap();
    check("longer than", move |stream, _| {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&bomb);
    })
    .await;
}

#[tokio::test]
async fn endless_headers_are_cut() {
    check("", |stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        let mut n = 0;
        while stream.write_all(format!("X-{n}: {}\r\n", "y".repeat(1000)).as_bytes()).is_ok() {
            n += 1;
        }
    })
    .await;
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    check("redirect", |stream, addr| {
        let answer =
            format!("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: http://{addr}/again\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
    })
    .await;
}

#[tokio::test]
async fn a_page_instead_of_an_answer_is_quoted() {
    check("web page", |stream, _| {
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n<html>No tracker.</html>\r\n");
    })
    .await;
}

#[tokio::test]
async fn a_slow_drip_is_given_up() {
    check("no answer", |stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        while stream.write_all(b"d").is_ok() {
            std::thread::sleep(Duration::from_secs(2));
        }
    })
    .await;
}

#[tokio::test]
async fn a_hundred_thousand_peers_are_bounded() {
    check("answered with 2000 peers", |stream, _| {
        let mut peers = Vec::new();
        for n in 0..100_000u32 {
            peers.extend_from_slice(&(0x7f02_0000 + n % 60_000).to_be_bytes());
            peers.extend_from_slice(&6881u16.to_be_bytes());
        }
        let mut body = format!("d8:intervali-1e5:peers{}:", peers.len()).into_bytes();
        body.extend_from_slice(&peers);
        body.push(b'e');
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&body);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_said() {
    let said = verdict("http://tracker.invalid/announce".to_owned()).await;
    assert!(said.contains("resolve"), "{said}");
}

#[tokio::test]
async fn a_dead_port_is_said() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = verdict(format!("http://{addr}/announce")).await;
    assert!(said.contains("refused"), "{said}");
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused() {
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(cert.signing_key.serialize_der()).unwrap();
    let config = std::sync::Arc::new(
        rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.cert.der().clone()], key)
            .unwrap(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let _ = tls.read(&mut [0; 1024]);
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde");
        }
    });
    let said = verdict(format!("https://localhost:{port}/announce")).await;
    assert!(said.contains("certificate"), "{said}");
}
