//! No message says anything twice, whatever it is about: magnet links, names, trackers, the DHT.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::stutter::stutters;
use crate::swarm::desk_with_payload;
use crate::{ALONE, Desk, Outcome};

/// Each line, with what is long and not words taken out.
#[track_caller]
fn check(outcome: &Outcome, what: &str) {
    let mut lines = outcome.stderr.lines().chain(outcome.stdout.lines()).peekable();
    assert!(lines.peek().is_some(), "{what}: nothing was said");
    for line in lines {
        // What a message is about comes first, and the kind of message before it.
        let line = line.trim().trim_start_matches("error: ").trim_start_matches("warning: ");
        assert!(!stutters(line), "{what}: {line}");
    }
}

const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn magnet_links_that_make_no_sense() {
    let desk = Desk::new();
    let xt = format!("xt=urn:btih:{HASH}");
    let other = HASH.replace('0', "f");
    for link in [
        "magnet:".to_owned(),
        "magnet:?".to_owned(),
        "magnet:?xt=urn:btih:12".to_owned(),
        "magnet:?xt=urn:sha1:abc".to_owned(),
        "magnet:?dn=name".to_owned(),
        "magnet:?xt=urn:btmh:1220aa".to_owned(),
        format!("magnet:?{xt}&xt=urn:btih:{other}"),
        format!("magnet:?{xt}&tr=nonsense&x.pe=nowhere&so=a-b&xl=many&ws=:"),
        format!("magnet:?{xt}&tr={}", "http://a/announce&tr=".repeat(500)),
        format!("magnet:?{xt}&dn={}", "x".repeat(70_000)),
        "0123".to_owned(),
    ] {
        check(&desk.run(&["show", &link]), &link.chars().take(60).collect::<String>());
    }
}

/// A torrent of files with these path components.
fn torrent(name: &str, files: &[&str]) -> Vec<u8> {
    let text = |text: &str| format!("{}:{text}", text.len());
    let file = |path: &&str| format!("d6:lengthi1e4:pathl{}ee", text(path));
    let files: String = files.iter().map(file).collect();
    format!(
        "d4:infod5:filesl{files}e4:name{}12:piece lengthi16384e6:pieces20:{}ee",
        text(name),
        "a".repeat(20)
    )
    .into_bytes()
}

#[test]
fn names_that_have_no_place() {
    let desk = Desk::new();
    let long = "n".repeat(5_000);
    for (name, files) in [
        ("", &["a"][..]),
        ("..", &["a"]),
        ("t", &[""]),
        ("t", &["..", "a"]),
        ("t", &["a", "a"]),
        (long.as_str(), &[long.as_str()]),
    ] {
        desk.write("t.torrent", torrent(name, files));
        for words in [&["show", "t.torrent"][..], &["verify", "t.torrent", "."]] {
            check(&desk.run(words), &format!("{words:?} of {:?}", &name[..name.len().min(9)]));
        }
    }
}

/// Answers each request with these bytes and hangs up.
fn serve(answer: &'static [u8]) -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 2048]);
            let _ = stream.write_all(answer);
        }
    });
    format!("http://{addr}/announce")
}

#[test]
fn trackers_that_fail() {
    let desk = desk_with_payload();
    let urls = [
        serve(b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found"),
        serve(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        serve(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>"),
        serve(b"HTTP/1.1 200 OK\r\ncontent-length: 28\r\n\r\nd14:failure reason7:go awaye"),
        serve(b"HTTP/1.1 302 Found\r\nlocation: ftp://x/\r\ncontent-length: 0\r\n\r\n"),
        serve(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"),
        serve(b"garbage"),
        serve(b""),
        "http://127.0.0.1:1/announce".to_owned(),
        "https://127.0.0.1:1/announce".to_owned(),
        "udp://127.0.0.1:1/announce".to_owned(),
        "http://no-such-host.invalid/announce".to_owned(),
        "udp://no-such-host.invalid:1/announce".to_owned(),
    ];
    let flags: Vec<&str> = urls.iter().flat_map(|url| ["-t", url]).collect();
    desk.run(&[&["create", "there/payload.bin", "-o", "t.torrent"][..], &flags].concat());
    check(&desk.run(&["show", "--scrape", "t.torrent"]), "scrape");
    for url in &urls {
        let words = ["get", "p.torrent", "-o", "here", "--tracker", url, "--stop-after-stalled", "1s"];
        check(&desk.run(&[&words[..], &ALONE].concat()), url);
    }
}

#[test]
fn what_the_dht_is_not_asked() {
    let desk = Desk::new();
    desk.write("bad.key", "no key");
    for words in [
        &["dht", "get", "xyz"][..],
        &["dht", "put", "--bencode", "d1:b"],
        &["dht", "put", "--info-hash", "xyz"],
        &["dht", "put", "--salt", "s", "value"],
        &["dht", "put", "--key", "bad.key", "value"],
        &["dht", "put", "--key", "no/folder/key", "value"],
        &["dht", "get", HASH, "--bind", "192.0.2.1"],
        &["dht", "node", "--bind", "192.0.2.1"],
        &["dht", "get", HASH, "--dht-router", "nonsense"],
    ] {
        check(&desk.run(words), &format!("{words:?}"));
    }
}
