//! Addresses of trackers and web servers hold passkeys, and servers repeat them: none gets out but where a person asks for it.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use ferriswarm::Exit;

use crate::swarm::{desk_with_payload, stop};
use crate::{ALONE, Desk};

/// What only the server and its user know.
const KEY: &str = "5e5aMe5e5aMe0123456789";
/// Of a magnet link whose torrent no peer has.
const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

/// A web server and tracker that repeats the key wherever it can.
fn talkative() -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(['?', ' ']).nth(1).unwrap_or("").to_owned();
            let _ = stream.write_all(&answer(&addr.to_string(), path.trim_start_matches(&format!("/{KEY}"))));
        }
    });
    format!("http://{addr}/{KEY}")
}

fn answer(addr: &str, path: &str) -> Vec<u8> {
    let url = format!("http://{addr}/{KEY}/announce");
    let text = |text: String| format!("{}:{text}", text.len());
    let refusal = format!("d14:failure reason{}e", text(format!("no user {KEY}, see {url}?key={KEY}")));
    let (head, body) = match path {
        "/torrent" => {
            let info =
                format!("4:infod6:lengthi1e4:name1:n12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
            ("200 OK".to_owned(), format!("d8:announce{}{info}e", text(url)))
        }
        "/page" => ("200 OK".to_owned(), format!("<html><title>no user {KEY} at {url}</title>")),
        "/json" => ("200 OK".to_owned(), format!("{{\"error\": \"no user {KEY}\"}}")),
        "/noise" => ("200 OK".to_owned(), format!("no torrent {KEY}")),
        "/magnet" => {
            let link = format!("magnet:?xt=urn:btih:{HASH}1&tr=http://{addr}/{KEY}/announce");
            (format!("302 Found\r\nlocation: {link}"), String::new())
        }
        "/gone" => (format!("404 no user {KEY}"), String::new()),
        "/warning/announce" => {
            let warning = text(format!("{KEY} is old, use {url}"));
            ("200 OK".to_owned(), format!("d8:intervali1800e5:peers0:15:warning message{warning}e"))
        }
        "/status/announce" => {
            ("500 oh".to_owned(), format!("<p>no user {KEY}</p> <a href=\"{url}?k={KEY}\">"))
        }
        "/malformed/announce" => ("200 OK".to_owned(), format!("{KEY} {url}")),
        "/away/announce" => (format!("302 Found\r\nlocation: {url}/{KEY}/announce"), String::new()),
        _ => ("200 OK".to_owned(), refusal),
    };
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// All that a server at `base` may be asked for by `get` as a source.
fn sources(base: &str) -> Vec<String> {
    ["page", "json", "noise", "magnet", "gone", "refused"]
        .iter()
        .map(|path| format!("{base}/{path}"))
        .collect()
}

/// All trackers that answer with the key, each in another way.
fn trackers(base: &str) -> Vec<String> {
    let ways = ["", "/warning", "/status", "/malformed", "/away"];
    let mut all: Vec<String> = ways.iter().map(|way| format!("{base}{way}/announce")).collect();
    all.push(format!("http://127.0.0.1:1/{KEY}/announce"));
    all.push(format!("https://me:{KEY}@127.0.0.1:1/announce"));
    all
}

#[track_caller]
fn tells_nothing(what: &str, text: &str) {
    assert!(!text.contains(&KEY[..10]) && !text.contains(&KEY.to_lowercase()[..10]), "{what}: {text}");
}

/// A torrent of the payload that is announced to all of them.
fn announced(desk: &Desk, base: &str) {
    let trackers = trackers(base);
    let flags: Vec<&str> = trackers.iter().flat_map(|url| ["-t", url]).collect();
    let created =
        desk.run(&[&["create", "there/payload.bin", "-o", "t.torrent", "--json"], &flags[..]].concat());
    tells_nothing("create --json", &created.is(Exit::Done).stdout);
}

#[test]
fn no_command_that_fails_or_describes_tells_a_key() {
    let (desk, base) = (desk_with_payload(), talkative());
    announced(&desk, &base);
    let link = format!(
        "magnet:?xt=urn:btih:{HASH}&tr=http%3A%2F%2Ft.example%2F{KEY}%2Fannounce&ws=http://t.example/{KEY}"
    );
    let odd = format!("magnet:?xt=urn:btih:{HASH}&tr=%3Cb%3Ehttp://t.example/{KEY}");
    let mut commands: Vec<Vec<String>> = Vec::new();
    let mut add = |words: &[&str]| commands.push(words.iter().map(|word| (*word).to_owned()).collect());
    let sources = sources(&base);
    for source in sources.iter().map(String::as_str).chain(["http://127.0.0.1:1/5e5aMe5e5aMe0123456789"]) {
        for command in ["get", "show", "verify", "torrent", "magnet", "seed"] {
            add(&[command, source]);
        }
        add(&["get", source, "--json"]);
        add(&["get", source, "--log-file", "log"]);
    }
    let both: Vec<&str> = sources.iter().map(String::as_str).collect();
    add(&[&["get", "--json"], &both[..]].concat());
    add(&[&["get"], &both[..]].concat());
    let torrent = format!("{base}/torrent");
    for words in [
        vec!["show", &torrent],
        vec!["show", "t.torrent"],
        vec!["show", "--scrape", "t.torrent"],
        vec!["show", &link],
        vec!["show", &odd],
        vec!["torrent", &torrent],
        vec!["verify", &torrent, "there"],
        vec!["create", "there/payload.bin", "-o", "x.torrent", "-t", &base[4..]],
        vec!["create", "there/payload.bin", "-o", "y.torrent", "-w", &base, "-t", &torrent],
    ] {
        add(&words);
    }
    for words in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let outcome = desk.run(&words);
        tells_nothing(&format!("{words:?}"), &format!("{}{}", outcome.stdout, outcome.stderr));
    }
    tells_nothing("--log-file", &String::from_utf8_lossy(&desk.read("log")));
    // These are asked for it.
    for words in [&["show", "--json", "t.torrent"][..], &["magnet", "t.torrent"]] {
        assert!(desk.run(words).is(Exit::Done).stdout.contains(KEY), "{words:?}");
    }
}

#[test]
fn no_transfer_tells_a_key() {
    let (desk, base) = (desk_with_payload(), talkative());
    announced(&desk, &base);
    let typed = format!("{base}/typed/announce");
    let link = format!("magnet:?xt=urn:btih:{HASH}&tr={}", typed.replace(':', "%3A").replace('/', "%2F"));
    let flags = ["--tracker", &typed, "-o", "got", "--log-file", "log"];
    for (words, told) in [
        (&["get", "t.torrent", "--trace", "trace"][..], "refused"),
        (&["get", "t.torrent", "--json"], "\"event\":\"tracker\""),
        (&["get", "t.torrent", "-v"], "refused"),
        (&["get", &link], "refused"),
    ] {
        let running = desk.start(&[words, &flags, &ALONE].concat());
        running.wait_for(told);
        let outcome = stop(running);
        let text = format!("{}{}", outcome.is(Exit::Interrupted).stdout, outcome.stderr);
        tells_nothing(&format!("{words:?}"), &text);
        assert!(text.contains("***"), "{words:?}: {text}");
    }
    for file in ["log", "trace"] {
        let bytes = desk.read(file);
        assert!(!bytes.is_empty(), "{file}");
        tells_nothing(file, &String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn no_log_tells_a_key() {
    let (desk, base) = (desk_with_payload(), talkative());
    announced(&desk, &base);
    let url = format!("{base}/torrent");
    let output = Command::new(env!("CARGO_BIN_EXE_ferriswarm"))
        .args(["get", &url, "-vv", "--stop-after-stalled", "1s", "-o", "got", "--state-dir", "state"])
        .args(ALONE)
        .current_dir(desk.folder.path())
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(i32::from(Exit::Stalled.code())));
    let text = [&output.stdout[..], &output.stderr].concat();
    tells_nothing("-vv", &String::from_utf8_lossy(&text));
    assert!(String::from_utf8_lossy(&text).contains("refused"));
}
