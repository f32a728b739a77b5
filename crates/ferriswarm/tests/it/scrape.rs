//! `show --scrape`: what trackers say of a torrent.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ferriswarm::Exit;

use crate::swarm::{desk_with_payload, stop};
use crate::{ALONE, Desk};

/// Answers each request with `body`, for as long as the test lasts.
fn serve(body: &'static [u8]) -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    addr.to_string()
}

/// A torrent of the payload with these trackers.
fn torrent(desk: &Desk, name: &str, trackers: &[&str]) {
    let flags: Vec<&str> = trackers.iter().flat_map(|url| ["-t", url]).collect();
    desk.run(&[&["create", "there/payload.bin", "-o", name], &flags[..]].concat()).is(Exit::Done);
}

#[test]
fn every_tracker_says_its_numbers_or_why_not() {
    let desk = desk_with_payload();
    let tracker = desk.start(&["tracker", "--listen", "127.0.0.1:0"]);
    let said = tracker.wait_for("stats");
    let url = |scheme: &str| {
        let mut words = said.split_whitespace();
        words.find(|word| word.starts_with(scheme) && !word.ends_with("/stats")).unwrap().to_owned()
    };
    let (http, udp) = (url("http://"), url("udp://"));
    let forgetful = format!("http://{}/announce", serve(b"d5:filesdee"));
    let refusing = format!("http://{}/announce", serve(b"d14:failure reason7:go awaye"));
    let dead = "http://127.0.0.1:1/sesame/announce";
    torrent(&desk, "t.torrent", &[&http, &udp, dead, &forgetful, &refusing, "http://127.0.0.1:1/x"]);
    let words = ["seed", "t.torrent", "there", "--json"];
    let seeder = desk.start(&[&words[..], &ALONE].concat());
    seeder.wait_for("\"event\":\"tracker\"");

    let deadline = Instant::now() + crate::PATIENCE;
    let shown = loop {
        let shown = desk.run(&["show", "--scrape", "--json", "t.torrent"]).is(Exit::Done).json();
        if [0, 1].iter().all(|at| shown["scrape"][*at]["seeders"] == 1) {
            break shown;
        }
        assert!(Instant::now() < deadline, "{shown}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(shown["name"], "payload.bin");
    let scrape = shown["scrape"].as_array().unwrap();
    for (answer, url) in scrape.iter().zip([&http, &udp]) {
        let numbers = [&answer["seeders"], &answer["leechers"], &answer["downloads"], &answer["error"]];
        assert_eq!(numbers, [&1.into(), &0.into(), &0.into(), &serde_json::Value::Null], "{answer}");
        assert_eq!(answer["url"], **url);
    }
    let errors: Vec<&str> = scrape[2..].iter().map(|answer| answer["error"].as_str().unwrap()).collect();
    assert!(errors[0].starts_with("cannot be reached: "), "{errors:?}");
    assert_eq!(errors[1..3], ["it does not know this torrent", "the tracker refused: go away"]);
    assert!(errors[3].contains("this does not"), "{errors:?}");
    assert_eq!(scrape[2]["seeders"], serde_json::Value::Null);

    // The same for a person, without what only the tracker may know.
    let shown = desk.run(&["show", "--scrape", "t.torrent"]);
    let (_, told) = shown.is(Exit::Done).stdout.split_once("\nTrackers say:\n").unwrap();
    assert_eq!(told.lines().count(), 6, "{told}");
    assert_eq!(told.lines().next().unwrap(), format!("  {http}  1 seed, 0 leechers, 0 downloads"));
    assert!(told.contains("  http://127.0.0.1:1/***/announce  cannot be reached"), "{told}");
    assert!(!told.contains("sesame"), "{told}");

    // A link, and a tracker that is typed.
    let hash = shown.stdout.lines().find_map(|line| line.trim().strip_prefix("info hash v1")).unwrap().trim();
    let link = format!("magnet:?xt=urn:btih:{hash}&tr={udp}");
    let words = ["show", "--scrape", "--json", "--tracker", &http, &link, "--state-dir", "none"];
    let shown = desk.run(&words).is(Exit::Done).json();
    assert_eq!((&shown["scrape"][0]["seeders"], &shown["scrape"][1]["seeders"]), (&1.into(), &1.into()));
    assert_eq!(shown["scrape"][1]["url"], http);
    stop(seeder).is(Exit::Done);
    stop(tracker).is(Exit::Done);
}

#[test]
fn a_scrape_that_nobody_answers_has_an_exit_code_and_ends_by_ctrl_c() {
    let desk = desk_with_payload();
    torrent(&desk, "dead.torrent", &["http://127.0.0.1:1/announce", "http://127.0.0.1:1/announce"]);
    let outcome = desk.run(&["show", "--scrape", "--json", "dead.torrent"]);
    assert_eq!(outcome.is(Exit::Network).json()["scrape"].as_array().unwrap().len(), 1, "asked once");
    let outcome = desk.run(&["show", "--scrape", "p.torrent"]);
    assert!(outcome.is(Exit::Done).stderr.contains("it names no tracker"), "{}", outcome.stderr);
    desk.run(&["show", "--scrape", "--no-trackers", "p.torrent"]).is(Exit::Usage);
    // It takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", silent.local_addr().unwrap());
    torrent(&desk, "silent.torrent", &[&url]);
    let running = desk.start(&["show", "--scrape", "silent.torrent"]);
    running.wait_for("payload.bin");
    let _asked = silent.accept().unwrap();
    let asked = Instant::now();
    running.interrupt();
    let outcome = running.finish();
    outcome.is(Exit::Interrupted);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}
