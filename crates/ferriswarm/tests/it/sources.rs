//! Where a torrent or a link comes from, and what comes in its place.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;

use ferriswarm::Exit;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::Desk;

const HASH: &str = "c58645e2e922428dceb1f98f51ffa424810570f0";

fn desk() -> (Desk, Vec<u8>, String) {
    let desk = Desk::new();
    desk.write("a", "content");
    desk.run(&["create", "a", "-o", "my file #1.torrent"]).is(Exit::Done);
    let torrent = desk.read("my file #1.torrent");
    let shown = desk.run(&["show", "--json", "my file #1.torrent"]).json();
    (desk, torrent, shown["info_hash_v1"].as_str().unwrap().to_owned())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The address of a server that gives `answer` to the first that asks.
fn serve(head: &str, body: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let answer = [head.as_bytes(), body].concat();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(&answer).unwrap();
    });
    format!("http://127.0.0.1:{port}/dl?id=1")
}

#[track_caller]
fn shows(desk: &Desk, source: &str, hash: &str) {
    assert_eq!(desk.run(&["show", "--json", source]).is(Exit::Done).json()["info_hash_v1"], hash);
}

#[test]
fn a_torrent_is_read_from_wherever_people_have_it() {
    let (mut desk, torrent, hash) = desk();
    let path = desk.path("my file #1.torrent").to_str().unwrap().to_owned();
    let encoded = path.replace(' ', "%20").replace('#', "%23");
    for address in [
        format!("file://{encoded}"),
        format!("FILE://localhost{encoded}"),
        format!("file:{encoded}"),
        format!("file://{path}"),
    ] {
        shows(&desk, &address, &hash);
    }
    desk.run(&["show", "file://elsewhere/a"]).failed(Exit::NotFound, "on another host");
    desk.run(&["show", "file:///no/such"]).failed(Exit::NotFound, "there is no such file");
    desk.write("a.torrent.gz", gzip(&torrent));
    shows(&desk, "a.torrent.gz", &hash);
    shows(&desk, &serve("200 OK", &torrent), &hash);
    shows(&desk, &serve("200 OK", &gzip(&torrent)), &hash);
    shows(&desk, &serve("200 OK\r\nContent-Encoding: gzip", &gzip(&torrent)), &hash);
    shows(&desk, &serve(&format!("302 Found\r\nLocation: {}", serve("200 OK", &torrent)), b""), &hash);
    desk.stdin = gzip(&torrent);
    shows(&desk, "-", &hash);
    let bomb = gzip(&vec![0; 65 << 20]);
    desk.write("bomb.gz", bomb);
    desk.run(&["show", "bomb.gz"]).failed(Exit::BadTorrent, "larger than any torrent");
    desk.write("cut.gz", &gzip(&torrent)[..40]);
    desk.run(&["show", "cut.gz"]).failed(Exit::BadTorrent, "cannot be unpacked");
}

#[test]
fn a_link_is_found_in_what_is_read() {
    let mut desk = Desk::new();
    let link = format!("magnet:?xt=urn:btih:{HASH}&dn=x");
    for text in [
        link.clone(),
        format!("{link}\n"),
        format!("\n  <{link}>\r\n"),
        format!("[InternetShortcut]\r\nURL={link}\r\n"),
        format!("magnet:?xt=urn:btih:{HASH}\n&dn=x\n"),
        format!("urn:btih:{HASH}"),
        format!("{HASH}\n"),
        "magnet%3A%3Fxt%3Durn%3Abtih%3A".to_owned() + HASH,
    ] {
        desk.write("link", &text);
        shows(&desk, "link", HASH);
        desk.stdin = text.into_bytes();
        shows(&desk, "-", HASH);
    }
    desk.write("link", format!("{link}\n{link}2\n"));
    desk.run(&["show", "link"]).failed(Exit::BadMagnet, "link: holds 2 magnet links");
    desk.write("link", "magnet:?xt=urn:btih:12");
    desk.run(&["show", "link"]).failed(Exit::BadMagnet, "link: not a usable magnet link");
    shows(&desk, &format!("urn:btih:{HASH}"), HASH);
    // Indexers send those who ask for a torrent to a link.
    let there = format!("302 Found\r\nLocation: magnet:?xt=urn:btih:{HASH}&dn=Track #3&tr=udp://t:1");
    let shown = desk.run(&["show", "--json", &serve(&there, b"")]).is(Exit::Done).json();
    assert_eq!((&shown["info_hash_v1"], &shown["name"]), (&HASH.into(), &"Track #3".into()));
    assert_eq!(shown["trackers"][0][0], "udp://t:1");
    desk.run(&["show", &serve("302 Found\r\nLocation: ftp://a/b", b"")]).failed(Exit::Network, "302");
}

#[test]
fn what_came_instead_of_a_torrent_is_said() {
    let desk = Desk::new();
    let page = b"<!DOCTYPE html><html><head>\n<TITLE lang=en>Just a\n moment...\x1b[2J</title>";
    desk.run(&["show", &serve("200 OK\r\nContent-Type: text/html", page)])
        .failed(Exit::BadTorrent, "a web page came instead of a torrent: \"Just a moment...\u{fffd}[2J\"");
    desk.run(&["show", &serve("200 OK", b"<html>")]).failed(Exit::BadTorrent, "a web page came");
    desk.run(&["show", &serve("200 OK", b"d14:failure reason13:not logged ine")])
        .failed(Exit::BadTorrent, "\"not logged in\"");
    desk.run(&["show", &serve("200 OK", br#"{"error":"no such id"}"#)])
        .failed(Exit::BadTorrent, r#"JSON: {"error":"no such id"}"#);
    desk.run(&["show", &serve("404 Not Found", b"")]).failed(Exit::NotFound, "404");
    desk.write("a.zip", b"PK\x03\x04....");
    desk.run(&["show", "a.zip"]).failed(Exit::BadTorrent, "packed with zip");
}

#[test]
fn what_is_odd_is_told_with_the_rest() {
    let desk = Desk::new();
    let link = format!("magnet:?xt=urn:btih:{HASH}&dn=x&xl=&so=&x.pe=host&tr=<b>x");
    let shown = desk.run(&["show", "--json", &link]).is(Exit::Done).json();
    let warnings: Vec<&str> =
        shown["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings[0].starts_with("left out xl: "), "{warnings:?}");
    let plain = desk.run(&["show", &link]);
    assert_eq!(plain.is(Exit::Done).stderr.matches("warning: left out ").count(), 4, "{}", plain.stderr);
    let clean = desk.run(&["magnet", &link]);
    assert_eq!(clean.is(Exit::Done).stdout, format!("magnet:?xt=urn:btih:{HASH}&dn=x\n"));
    assert!(clean.stderr.contains("magnet link: left out so: "), "{}", clean.stderr);

    let odd =
        "d4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa7:privatei2eee";
    desk.write("odd.torrent", odd);
    let shown = desk.run(&["show", "--json", "odd.torrent"]).is(Exit::Done).json();
    assert_eq!((&shown["private"], shown["warnings"].as_array().unwrap().len()), (&true.into(), 1));
    assert!(desk.run(&["show", "odd.torrent"]).stderr.contains("warning: info.private: should be"));
    assert!(desk.run(&["magnet", "odd.torrent"]).stderr.contains("odd.torrent: info.private: should be"));
}

#[test]
fn a_link_can_be_written_to_a_file_that_is_not_there() {
    let desk = Desk::new();
    desk.run(&["magnet", HASH, "-o", "a.magnet"]).is(Exit::Done);
    assert_eq!(desk.read("a.magnet"), format!("magnet:?xt=urn:btih:{HASH}\n").into_bytes());
    desk.run(&["magnet", HASH, "-o", "a.magnet"]).failed(Exit::WouldOverwrite, "is there already");
    desk.run(&["magnet", HASH, "-o", "a.magnet", "--force"]).is(Exit::Done);
}
