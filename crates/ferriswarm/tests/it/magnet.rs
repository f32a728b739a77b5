//! Magnet links over loopback: downloads, descriptions, and what is told meanwhile.
#![allow(clippy::unwrap_used)]

use ferri_metainfo::Metainfo;
use ferriswarm::Exit;

use crate::swarm::{SIZE, desk_with_payload, seed, stop};
use crate::{ALONE, Desk, Running, names, noise};

fn info_hash(desk: &Desk, torrent: &str) -> String {
    desk.run(&["show", "--json", torrent]).json()["info_hash_v1"].as_str().unwrap().to_owned()
}

fn link(desk: &Desk, more: &str) -> String {
    format!("magnet:?xt=urn:btih:{}{more}", info_hash(desk, "p.torrent"))
}

/// A command about a magnet link, with a state folder that no torrent file's command has used.
fn start(desk: &Desk, words: &[&str]) -> Running {
    let state = desk.path("magnet-state");
    desk.start(&[words, &ALONE, &["--state-dir", state.to_str().unwrap()]].concat())
}

#[test]
fn a_magnet_link_is_a_download_like_any_other() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let link = link(&desk, &format!("&dn=a+name&x.pe={peer}"));
    let outcome = start(&desk, &[&link, "-o", "here"]).finish();
    let stdout = &outcome.is(Exit::Done).stdout;
    let told = ["a name  magnet link\n  info hash ", "a name  found its description: ", "done: 2.86 MiB in "];
    for said in told {
        assert!(stdout.contains(said), "{said:?} is not in {stdout}");
    }
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    stop(seeder);
}

#[test]
fn bare_hashes_in_hex_and_base32_are_enough_with_a_peer() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let hex = info_hash(&desk, "p.torrent");
    let base32 = {
        let bytes: Vec<u8> =
            (0..40).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let digit = |at: usize| usize::from_str_radix(&bits[at..at + 5], 2).unwrap();
        (0..160)
            .step_by(5)
            .map(|at| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[digit(at)]))
            .collect::<String>()
    };
    for (hash, out) in [(&hex, "a"), (&base32, "b")] {
        let outcome = start(&desk, &["get", "--json", hash, "-o", out, "--peer", &peer]).finish();
        let found = &outcome.is(Exit::Done).events("found")[0];
        // The second time it is known already.
        assert_eq!(found["from_state"], out == "b", "{found}");
        assert_eq!(desk.read(&format!("{out}/payload.bin")), noise(SIZE, 7));
    }
    stop(seeder);
}

#[test]
fn a_link_that_another_process_looks_for_with_the_same_state_folder_is_refused_at_once() {
    let desk = desk_with_payload();
    let hash = info_hash(&desk, "p.torrent");
    let v2 = format!("1220{}", "7".repeat(64));
    let both = format!("magnet:?xt=urn:btih:{hash}&xt=urn:btmh:{v2}");
    let first = start(&desk, &["get", "--json", &both]);
    first.wait_for("\"event\":\"searching\"");
    for link in [both.clone(), format!("magnet:?xt=urn:btmh:{v2}"), format!("magnet:?xt=urn:btih:{hash}")] {
        let refused = start(&desk, &["get", &link]).finish();
        refused.is(Exit::AlreadyRunning);
        assert!(refused.stderr.contains("is already running with this state folder"), "{}", refused.stderr);
    }
    // Another link, and the same one with another state folder, have nothing to do with it.
    let other = format!("magnet:?xt=urn:btih:{}", "8".repeat(40));
    for words in [vec!["get", "--json", &other], vec!["get", "--json", &both, "--state-dir", "elsewhere"]] {
        let running =
            if words.len() == 3 { start(&desk, &words) } else { desk.start(&[&words[..], &ALONE].concat()) };
        running.wait_for("\"event\":\"searching\"");
        running.interrupt();
        running.finish().is(Exit::Interrupted);
    }
    first.interrupt();
    first.finish().is(Exit::Interrupted);
    let again = start(&desk, &["get", "--json", &both]);
    again.wait_for("\"event\":\"searching\"");
    again.interrupt();
    again.finish().is(Exit::Interrupted);
}

#[test]
fn a_search_tells_what_it_waits_for_and_stops_at_once() {
    let desk = desk_with_payload();
    let link = link(&desk, "&dn=wanted");
    let running = start(&desk, &["get", "--json", &link]);
    let said = running.wait_for("\"event\":\"searching\"");
    assert!(said.contains("looking for peers: no peer to ask"), "{said}");
    running.interrupt();
    let stopped = running.finish();
    let command = stopped.is(Exit::Interrupted).events("stopped")[0]["command"].clone();
    assert!(command.as_str().unwrap().starts_with("ferriswarm get --json 'magnet:"), "{command}");

    // It does not hold up what is known.
    let (seeder, peer) = seed(&desk, &[]);
    let other = format!("magnet:?xt=urn:btih:{}&dn=wanted", "7".repeat(40));
    let running = start(&desk, &["get", &other, "p.torrent", "-o", "here", "--peer", &peer]);
    running.wait_for("wanted  ");
    running.wait_for("done: 2.86 MiB in ");
    running.interrupt();
    running.finish().is(Exit::Interrupted);
    stop(seeder);
}

#[test]
fn files_that_the_link_names_are_fetched_unless_others_are_chosen() {
    let desk = Desk::new();
    for (name, length) in [("a.txt", 40_000), ("b.txt", 50_000), ("c.bin", 60_000)] {
        desk.write(&format!("there/set/{name}"), noise(length, length as u64));
    }
    desk.run(&["create", "there/set", "-o", "p.torrent", "--piece-length", "16k"]).is(Exit::Done);
    let (seeder, peer) = seed(&desk, &[]);
    let link = link(&desk, &format!("&so=1-2&x.pe={peer}"));
    start(&desk, &["get", &link, "-o", "named"]).finish().is(Exit::Done);
    assert_eq!(names(&desk.path("named/set")), ["b.txt", "c.bin"]);
    start(&desk, &["get", &link, "-o", "chosen", "--select", "1"]).finish().is(Exit::Done);
    assert_eq!(names(&desk.path("chosen/set")), ["a.txt"]);
    let far = link.replace("so=1-2", "so=7");
    start(&desk, &["get", &far, "-o", "none"]).finish().is(Exit::BadMagnet);
    stop(seeder);
}

#[test]
fn a_description_becomes_a_torrent_with_what_the_link_knew() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let link =
        link(&desk, &format!("&tr=http%3A%2F%2Fa.example%2Fx&ws=http%3A%2F%2Fw.example%2F&x.pe={peer}"));
    let words = ["torrent", &link, "--no-trackers"];
    let outcome = start(&desk, &[&words[..], &["-o", "made.torrent"]].concat()).finish();
    assert!(outcome.is(Exit::Done).stdout.contains("written to made.torrent"), "{}", outcome.stdout);
    let (made, original) = (
        desk.run(&["show", "--json", "made.torrent"]).json(),
        desk.run(&["show", "--json", "p.torrent"]).json(),
    );
    assert_eq!(made["info_hash_v1"], original["info_hash_v1"]);
    assert_eq!(
        (&made["trackers"][0][0], &made["web_seeds"][0]),
        (&"http://a.example/x".into(), &"http://w.example/".into())
    );

    let again = start(&desk, &[&words[..], &["-o", "made.torrent"]].concat()).finish();
    assert!(again.is(Exit::WouldOverwrite).stderr.contains("--force"), "{}", again.stderr);
    start(&desk, &[&words[..], &["-o", "made.torrent", "-f"]].concat()).finish().is(Exit::Done);
    // No peer is there any more, but it is known.
    stop(seeder);
    let piped = start(&desk, &[&words[..], &["-o", "-"]].concat()).finish();
    assert_eq!(piped.is(Exit::Done).bytes, desk.read("made.torrent"));
    start(&desk, &words).finish().is(Exit::Done);
    assert_eq!(desk.read("payload.bin.torrent"), desk.read("made.torrent"));
    let state = desk.path("magnet-state");
    let shown = desk.run(&["show", "--json", &link, "--state-dir", state.to_str().unwrap()]);
    assert_eq!(shown.json()["files"], original["files"]);
}

#[test]
fn show_fetches_when_it_is_asked_to_and_tells_of_it_elsewhere() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let link = link(&desk, "");
    let without = desk.run(&["show", "--json", &link]);
    assert!(without.is(Exit::Done).json().get("files").is_none());
    let shown = start(&desk, &["show", "--json", "--fetch", &link, "--peer", &peer]).finish();
    assert_eq!(shown.is(Exit::Done).json()["files"][0]["path"], "payload.bin");
    assert!(shown.stderr.contains("found its description"), "{}", shown.stderr);
    stop(seeder);
}

/// Leaves the description of a torrent where an earlier run of a command about a link would have.
fn leave(desk: &Desk, state: &str, torrent: &str, hash: &str) {
    let metainfo = Metainfo::parse(&desk.read(torrent)).unwrap();
    desk.write(&format!("{state}/torrents/{hash}/info"), metainfo.info_bytes());
}

#[test]
fn what_an_earlier_run_kept_is_verified_in_the_state_folder_that_is_named() {
    let desk = desk_with_payload();
    let hash = info_hash(&desk, "p.torrent");
    leave(&desk, "elsewhere", "p.torrent", &hash);
    desk.run(&["verify", &hash, "there"]).failed(Exit::BadMagnet, "this needs the torrent itself");
    desk.run(&["verify", &hash, "there", "--state-dir", "elsewhere"]).is(Exit::Done);
}

#[test]
fn links_to_both_names_of_a_hybrid_are_one_download() {
    let desk = Desk::new();
    desk.write("here/h.bin", noise(100_000, 3));
    desk.run(&["create", "here/h.bin", "--hybrid", "-l", "64k", "-o", "h.torrent"]).is(Exit::Done);
    let facts = desk.run(&["show", "--json", "h.torrent"]).json();
    let [v1, v2] = ["info_hash_v1", "info_hash_v2"].map(|key| facts[key].as_str().unwrap().to_owned());
    leave(&desk, "state", "h.torrent", &v1);
    leave(&desk, "state", "h.torrent", &v2[..40]);
    let links = [format!("magnet:?xt=urn:btih:{v1}"), format!("magnet:?xt=urn:btmh:1220{v2}")];
    let words = ["get", &links[0], &links[1], "-o", "here", "--json", "--state-dir", "state"];
    let outcome = desk.run(&[&words[..], &ALONE].concat());
    let summary = &outcome.is(Exit::Done).events("summary")[0];
    let outcomes = [&summary["sources"][0]["outcome"], &summary["sources"][1]["outcome"]];
    assert!(outcomes.iter().any(|outcome| *outcome == "same"), "{summary}");
    assert!(outcomes.iter().any(|outcome| *outcome == "done"), "{summary}");
    // The torrent comes after both, and no state knows it.
    let words = ["get", &links[1], &links[0], "h.torrent", "-o", "here", "--json", "--state-dir", "fresh"];
    let outcome = desk.run(&[&words[..], &ALONE].concat());
    let summary = &outcome.is(Exit::Done).events("summary")[0];
    let outcomes: Vec<_> = (0..3).map(|at| &summary["sources"][at]["outcome"]).collect();
    assert_eq!(outcomes, ["done", "same", "same"], "{summary}");
}
