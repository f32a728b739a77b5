//! Commands that are killed while they write: what is under a final name is whole.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ferriswarm::Exit;

use crate::swarm::{SIZE, desk_with_payload, seed, stop};
use crate::{ALONE, Desk, PATIENCE, names, noise};

fn begin(desk: &Desk, words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ferriswarm"))
        .args(words)
        .current_dir(desk.folder.path())
        .env("XDG_STATE_HOME", desk.path("state-home"))
        .stdin(Stdio::null())
        .stdout(File::create(desk.path("stdout")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the command go on until `is_so`, or its end, and kills it then. Whether it still ran.
fn kill_when(mut child: Child, is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it neither came nor ended");
        std::thread::yield_now();
    }
    let is_alive = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    is_alive
}

#[test]
fn a_torrent_that_is_being_written_has_its_name_when_it_is_whole() {
    let desk = Desk::new();
    desk.write("payload.bin", noise(8_000_000, 3));
    desk.run(&["create", "payload.bin", "-o", "old.torrent", "-c", "old"]).is(Exit::Done);
    let old = desk.read("old.torrent");
    std::fs::create_dir(desk.path("out")).unwrap();
    let mut killed = 0;
    for round in 0..6 {
        // The second half replaces one.
        let is_there = 3 <= round;
        if is_there {
            desk.write("out/new.torrent", &old);
        } else {
            let _ = std::fs::remove_file(desk.path("out/new.torrent"));
        }
        let words = ["create", "payload.bin", "-o", "out/new.torrent", "-l", "16k", "--force"];
        // The proof that it can be written is a file without a name; the first with one holds the torrent.
        let is_begun = || names(&desk.path("out")).iter().any(|name| name.starts_with(".ferriswarm-"));
        killed += usize::from(kill_when(begin(&desk, &words), is_begun));
        match std::fs::read(desk.path("out/new.torrent")) {
            Ok(found) if is_there && found == old => {}
            Ok(_) => {
                desk.run(&["show", "out/new.torrent"]).is(Exit::Done);
                desk.run(&["verify", "out/new.torrent", "payload.bin"]).is(Exit::Done);
            }
            Err(_) => assert!(!is_there, "what was there is gone"),
        }
    }
    assert_ne!(killed, 0, "it was always faster");
}

/// What a torrent's totals say was sent; see `ferri-storage`'s `totals`: two slots, of which the last one counts.
fn sent(totals: &Path) -> u64 {
    let bytes = std::fs::read(totals).unwrap_or_default();
    let uploaded = |at: usize| Some(u64::from_le_bytes(bytes.get(at + 18..at + 26)?.try_into().unwrap()));
    [0, 512].into_iter().filter_map(uploaded).max().unwrap_or(0)
}

#[test]
fn what_a_killed_seeder_sent_counts_for_its_ratio_in_the_next_run() {
    let desk = desk_with_payload();
    let state = desk.path("seed-state");
    let words = ["seed", "p.torrent", "there", "--no-trackers", "--state-dir", state.to_str().unwrap()];
    let words = [&words[..], &ALONE, &["--log-file", "log", "-v"]].concat();
    let seeder = begin(&desk, &[&words[..], &["--json"]].concat());
    let deadline = Instant::now() + PATIENCE;
    let port = loop {
        assert!(Instant::now() < deadline, "it does not serve");
        let said = String::from_utf8(desk.read("stdout")).unwrap();
        let port = said.split("\"seeding\"").nth(1).and_then(|rest| rest.split("\"port\":").nth(1));
        match port.and_then(|rest| rest.split('}').next()) {
            Some(port) => break port.to_owned(),
            None => std::thread::yield_now(),
        }
    };
    let peer = format!("127.0.0.1:{port}");
    let get = ["get", "p.torrent", "-o", "here", "--no-trackers", "--peer", &peer];
    desk.run(&[&get[..], &ALONE].concat()).is(Exit::Done);
    let info_hash = desk.run(&["show", "p.torrent", "--json"]).json()["info_hash_v1"].clone();
    let totals = state.join("torrents").join(info_hash.as_str().unwrap()).join("totals");
    let downloaded = Instant::now();
    assert!(kill_when(seeder, || SIZE as u64 <= sent(&totals)));
    assert!(downloaded.elapsed().as_secs() < 10, "{:?}", downloaded.elapsed());
    // It has sent all of it once, and so has nothing left to do.
    let again = desk.run(&[&words[..], &["--json", "--seed-ratio", "0.9"]].concat());
    let done = &again.is(Exit::Done).events("done")[0];
    assert_eq!((&done["uploaded"], done["ratio"].as_f64()), (&0.into(), Some(1.0)));
}

#[test]
fn a_trace_of_a_killed_command_is_whole_lines() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &["--up", "2M"]);
    let words = ["get", "p.torrent", "-o", "here", "--no-trackers", "--peer", &peer, "--trace", "t.jsonl"];
    let is_long = || std::fs::metadata(desk.path("t.jsonl")).is_ok_and(|found| 50_000 < found.len());
    assert!(kill_when(begin(&desk, &[&words[..], &ALONE].concat()), is_long));
    let trace = String::from_utf8(desk.read("t.jsonl")).unwrap();
    assert!(trace.ends_with('\n'), "{:?}", trace.lines().last());
    for line in trace.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    desk.run(&["replay", "t.jsonl"]).is(Exit::Done);
    stop(seeder);
}
