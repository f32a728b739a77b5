//! Several sources in one command, and the ends of waiting.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ferriswarm::Exit;
use serde_json::Value;

use crate::swarm::{SIZE, desk_with_payload, seed, stop};
use crate::{ALONE, Desk, Outcome, noise};

/// `get` with a peer and no other source of peers.
fn get(desk: &Desk, peer: &str, more: &[&str]) -> Outcome {
    let words = ["get", "-o", "here", "--no-trackers", "--peer", peer];
    desk.run(&[&words[..], &ALONE, more].concat())
}

fn link(desk: &Desk) -> String {
    let shown = desk.run(&["show", "--json", "p.torrent"]).json();
    format!("magnet:?xt=urn:btih:{}", shown["info_hash_v1"].as_str().unwrap())
}

/// Another torrent, whose payload is elsewhere.
fn other_torrent(desk: &Desk, name: &str, length: usize) {
    desk.write(&format!("there/{name}"), noise(length, length as u64));
    let (payload, torrent) = (format!("there/{name}"), format!("{name}.torrent"));
    desk.run(&["create", &payload, "-o", &torrent, "--piece-length", "64k"]).is(Exit::Done);
}

#[test]
fn a_bad_source_does_not_end_the_others_and_the_summary_names_each() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    other_torrent(&desk, "mine.bin", 100_000);
    desk.write("here/mine.bin", noise(100_000, 9));
    desk.write("copy.torrent", desk.read("p.torrent"));
    desk.write("junk.torrent", "junk");
    let link = link(&desk);
    let sources = ["no.torrent", "mine.bin.torrent", "junk.torrent", &link, "p.torrent", "copy.torrent"];
    let outcome = get(&desk, &peer, &[&["--json"], &sources[..]].concat());
    outcome.is(Exit::WouldOverwrite);
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    assert_eq!(desk.read("here/mine.bin"), noise(100_000, 9));
    // That a file of another torrent is in the way is found when the torrent looks at its files.
    assert_eq!((outcome.events("added").len(), outcome.events("done").len()), (2, 1));
    let summary = &outcome.events("summary")[0]["sources"];
    let ends: Vec<(Value, Value)> =
        summary.as_array().unwrap().iter().map(|end| (end["outcome"].clone(), end["code"].clone())).collect();
    let expected = [("failed", 3), ("failed", 13), ("failed", 26), ("done", 0), ("same", 0), ("same", 0)];
    assert_eq!(ends, expected.map(|(outcome, code)| (outcome.into(), code.into())));
    let failed: Vec<Value> = outcome.events("failed").iter().map(|event| event["source"].clone()).collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert!(failed.contains(&"mine.bin.torrent".into()), "{failed:?}");

    // The same for a person.
    let outcome = get(&desk, &peer, &["no.torrent", "p.torrent", "copy.torrent"]);
    let stdout = &outcome.is(Exit::NotFound).stdout;
    for said in [
        "copy.torrent is the same torrent as p.torrent: it is one download",
        "2 of 3 sources done\n  failed   no.torrent  cannot read no.torrent",
        "\n  done     p.torrent\n  same     copy.torrent  the torrent of p.torrent\n",
    ] {
        assert!(stdout.contains(said), "{said:?} is not in {stdout}");
    }
    assert!(outcome.stderr.starts_with("error: cannot read no.torrent"), "{}", outcome.stderr);
    stop(seeder);
}

#[test]
fn a_list_names_sources_and_at_once_keeps_their_order() {
    let mut desk = desk_with_payload();
    other_torrent(&desk, "b.bin", 700_000);
    other_torrent(&desk, "c.bin", 200_000);
    let all = ["seed", "p.torrent", "b.bin.torrent", "c.bin.torrent", "there", "--json", "--no-trackers"];
    let state = desk.path("seed-state");
    let seeder = desk.start(&[&all[..], &ALONE, &["--state-dir", state.to_str().unwrap()]].concat());
    seeder.wait_for("\"name\":\"c.bin\",\"size\"");
    let said = seeder.wait_for("\"event\":\"seeding\"");
    let port = said.split("\"port\":").nth(1).unwrap().split('}').next().unwrap().to_owned();
    let peer = format!("localhost:{port}");
    desk.write("list", "# what I want\r\nb.bin.torrent\r\n\nc.bin.torrent\n");
    let outcome = get(&desk, &peer, &["--json", "--at-once", "1", "-i", "list", "p.torrent"]);
    let events: Vec<(Value, Value)> = outcome
        .is(Exit::Done)
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "added" || event["event"] == "done")
        .map(|event| (event["event"].clone(), event["name"].clone()))
        .collect();
    let expected = ["payload.bin", "b.bin", "c.bin"]
        .into_iter()
        .flat_map(|name| [("added".into(), name.into()), ("done".into(), name.into())]);
    assert_eq!(events, expected.collect::<Vec<(Value, Value)>>());
    stop(seeder).is(Exit::Done);

    // From standard input, which no other source may want then.
    desk.stdin = b"p.torrent\nno.torrent\n".to_vec();
    get(&desk, &peer, &["-i", "-"]).is(Exit::NotFound);
    get(&desk, &peer, &["-i", "-", "-"]).failed(Exit::Usage, "both want standard input");
    get(&desk, &peer, &["-", "-"]).failed(Exit::Usage, "one source only");
    desk.write("empty", "# nothing\n");
    get(&desk, &peer, &["-i", "empty"]).failed(Exit::Usage, "empty names no source");
    get(&desk, &peer, &["-i", "no-list"]).failed(Exit::NotFound, "cannot read no-list");
}

#[test]
fn what_does_not_move_is_given_up_and_the_others_are_not() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    other_torrent(&desk, "lonely.bin", 100_000);
    let stalled = ["--stop-after-stalled", "1s"];
    let outcome = get(&desk, &peer, &[&["p.torrent", "lonely.bin.torrent"], &stalled[..]].concat());
    outcome.is(Exit::Stalled);
    assert!(outcome.stderr.contains("lonely.bin: no peer has it; 0/97.6 KiB are here"), "{}", outcome.stderr);
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    stop(seeder);
    let nobody = format!("magnet:?xt=urn:btih:{}", "7".repeat(40));
    for words in [&["get"][..], &["show", "--fetch"], &["torrent"]] {
        let words = [words, &[&nobody, "--no-trackers"], &ALONE, &stalled].concat();
        let outcome = desk.run(&words);
        assert!(outcome.is(Exit::Stalled).stderr.contains("nothing moved for 1"), "{}", outcome.stderr);
    }
}

#[test]
fn what_only_a_web_seed_has_says_so() {
    let desk = desk_with_payload();
    let words = ["create", "there/payload.bin", "-o", "web.torrent", "-w", "http://127.0.0.1:1/payload.bin"];
    desk.run(&words).is(Exit::Done);
    let why = "its web seeds are not asked, which this version cannot do yet";
    assert!(desk.run(&["show", "web.torrent"]).is(Exit::Done).stdout.contains(why));
    assert!(desk.run(&["show", "--json", "web.torrent"]).json()["note"].as_str().unwrap().contains(why));
    assert!(desk.run(&["show", "--json", "p.torrent"]).json()["note"].is_null());
    let words = ["get", "web.torrent", "-o", "here", "--json", "--stop-after-stalled", "11s"];
    let outcome = desk.run(&[&words[..], &ALONE].concat());
    assert!(outcome.is(Exit::Stalled).stderr.contains(why), "{}", outcome.stderr);
    let note = &outcome.events("note")[0]["message"];
    assert_eq!(note, &format!("no peer was found so far; {why}"));
}

#[test]
fn a_program_is_told_of_each_torrent_that_is_complete_and_decides_about_nothing() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let script = "#!/bin/sh\nsleep 1\nprintf '%s|%s|%s|%s|%s\\n' \"$1\" \"$2\" \"$FERRISWARM_NAME\" \
                  \"$FERRISWARM_SIZE\" \"$FERRISWARM_SOURCE\" >> told\nexit 4\n";
    desk.write("hook", script);
    Command::new("chmod").args(["+x", desk.path("hook").to_str().unwrap()]).status().unwrap();
    let outcome = get(&desk, &peer, &["p.torrent", "--json", "--on-done", "./hook"]);
    outcome.is(Exit::Done);
    let told = String::from_utf8(desk.read("told")).unwrap();
    let hash = outcome.events("done")[0]["info_hash"].as_str().unwrap().to_owned();
    let path = desk.path("here/payload.bin");
    assert_eq!(told, format!("{}|{hash}|payload.bin|{SIZE}|p.torrent\n", path.display()));
    let event = &outcome.events("on_done")[0];
    assert_eq!((&event["code"], &event["program"]), (&4.into(), &"./hook".into()));
    assert!(outcome.stderr.contains("--on-done ./hook ended with exit code 4"), "{}", outcome.stderr);
    for missing in ["./no-hook", "no-such-program-anywhere"] {
        get(&desk, &peer, &["p.torrent", "--on-done", missing]).failed(Exit::NotFound, "no such program");
    }
    stop(seeder);
}

#[test]
fn what_came_to_be_in_the_way_of_the_last_step_is_the_end_and_no_program_is_told() {
    let desk = desk_with_payload();
    // No peer listens there before it is to go on.
    let (seeder, peer) = seed(&desk, &[]);
    stop(seeder);
    desk.write("hook", "#!/bin/sh\necho told >> told\n");
    Command::new("chmod").args(["+x", desk.path("hook").to_str().unwrap()]).status().unwrap();
    desk.write("here/payload.bin.part", &noise(SIZE, 7)[..SIZE / 2]);
    let words = ["get", "p.torrent", "-o", "here", "--no-trackers", "--peer", &peer];
    let getting = desk.start(&[&words[..], &ALONE, &["--on-done", "./hook"]].concat());
    getting.wait_for("continues: ");
    desk.write("here/payload.bin", "mine");
    let port = peer.rsplit(':').next().unwrap();
    let alone = ALONE.map(|word| if word == "0" { port } else { word });
    let state = desk.path("seed-state");
    let words = ["seed", "p.torrent", "there", "--no-trackers", "--state-dir", state.to_str().unwrap()];
    let seeder = desk.start(&[&words[..], &alone].concat());
    let outcome = getting.finish();
    let path = desk.path("here/payload.bin");
    let said = format!("{}: something has come to lie here, and is not replaced", path.display());
    assert!(outcome.is(Exit::WouldOverwrite).stderr.contains(&said), "{}", outcome.stderr);
    assert!(!outcome.stdout.contains("done: "), "{}", outcome.stdout);
    assert!(!desk.path("told").exists());
    assert_eq!(desk.read("here/payload.bin"), b"mine");
    assert_eq!(desk.read("here/payload.bin.part"), noise(SIZE, 7));
    // When it is moved away the same command ends well, without a peer.
    std::fs::remove_file(&path).unwrap();
    stop(seeder);
    let outcome = get(&desk, "127.0.0.1:1", &["p.torrent", "--on-done", "./hook"]);
    outcome.is(Exit::Done);
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    assert_eq!(desk.read("told"), b"told\n");
}

#[test]
fn a_log_file_is_appended_to_and_never_a_reason_to_stop() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    desk.write("log", "before\n");
    for out in ["a", "b"] {
        let words =
            ["get", "p.torrent", "-q", "-o", out, "--no-trackers", "--log-file", "log", "--peer", &peer];
        let state = desk.path(&format!("state-{out}"));
        let outcome = desk.run(&[&words[..], &ALONE, &["--state-dir", state.to_str().unwrap()]].concat());
        assert_eq!(outcome.is(Exit::Done).stdout, "");
    }
    let log = String::from_utf8(desk.read("log")).unwrap();
    assert!(log.starts_with("before\n") && log.matches("Z  payload.bin  done: ").count() == 2, "{log}");
    for (out, file, why) in
        [("c", "there", "cannot write the log file there"), ("d", "/dev/full", "the log file")]
    {
        let state = desk.path(&format!("state-{out}"));
        let words = ["get", "p.torrent", "-o", out, "--no-trackers", "--log-file", file, "--peer", &peer];
        let outcome = desk.run(&[&words[..], &ALONE, &["--state-dir", state.to_str().unwrap()]].concat());
        assert!(outcome.is(Exit::Done).stderr.contains(why) || file == "/dev/full", "{}", outcome.stderr);
    }
    stop(seeder);
}

#[test]
fn peers_may_have_names_and_one_that_has_no_address_is_told() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let named = peer.replace("127.0.0.1", "localhost");
    let outcome = get(&desk, "no-such-host.invalid:6881", &["p.torrent", "--peer", &named]);
    let warned = "--peer no-such-host.invalid:6881 is left out: ";
    assert!(outcome.is(Exit::Done).stderr.contains(warned), "{}", outcome.stderr);
    for wrong in ["nobody", "host:0", "host:99999", ":1"] {
        get(&desk, wrong, &["p.torrent"]).failed(Exit::Usage, "write a host and a port");
    }
    stop(seeder);
}

#[test]
fn whatever_loads_says_so_and_obeys_ctrl_c() {
    let desk = desk_with_payload();
    // It takes the connection and says nothing.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.torrent?passkey=secret", server.local_addr().unwrap());
    for (words, more) in [
        (&["get"][..], &ALONE[..]),
        (&["seed"], &ALONE),
        (&["show"], &[]),
        (&["magnet"], &[]),
        (&["verify"], &[]),
        (&["torrent"], &ALONE),
    ] {
        let running = desk.start(&[words, &[&url], more].concat());
        std::thread::sleep(Duration::from_millis(1500));
        running.interrupt();
        let asked = Instant::now();
        let outcome = running.finish();
        outcome.is(Exit::Interrupted);
        assert!(asked.elapsed() < Duration::from_secs(1), "{words:?} {:?}", asked.elapsed());
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let line = said.lines().find(|line| line.contains("fetching http://127.0.0.1:"));
        assert!(line.is_some_and(|line| !line.contains("secret")), "{words:?} {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    // The user types, or does not.
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferriswarm"))
        .args(["get", "-"])
        .args(ALONE)
        .env("XDG_STATE_HOME", desk.path("state-home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"d8:announce").unwrap();
    let mut said = [0; 22];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"reading standard input");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let asked = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn a_torrent_that_reached_its_goal_is_stopped_while_others_go_on() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    other_torrent(&desk, "lonely.bin", 100_000);
    let words =
        ["--json", "p.torrent", "lonely.bin.torrent", "--seed-time", "1s", "--stop-after-stalled", "8s"];
    let outcome = get(&desk, &peer, &words);
    outcome.is(Exit::Stalled);
    let told = outcome.events("progress");
    let seeding = told.iter().filter(|event| event["state"] == "seeding").count();
    assert!(seeding <= 4, "it was served for {seeding} seconds");
    stop(seeder);
}

/// A torrent of three bytes that says of itself what it should not.
const ODD: &str =
    "d4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa7:privatei2eee";

#[test]
fn what_is_odd_in_a_torrent_is_told_by_whoever_uses_it() {
    let desk = Desk::new();
    desk.write("odd.torrent", ODD);
    desk.write("data/x", "abc");
    let said = "warning: odd.torrent: info.private: should be";
    let verified = desk.run(&["verify", "odd.torrent", "data"]);
    assert!(verified.is(Exit::VerifyFailed).stderr.contains(said), "{}", verified.stderr);
    let verified = desk.run(&["verify", "--json", "odd.torrent", "data"]);
    assert!(verified.is(Exit::VerifyFailed).stderr.contains(said), "{}", verified.stderr);
    assert!(verified.json()["warnings"][0].as_str().unwrap().starts_with("info.private: should be"));
    let seeded = desk.run(&[&["seed", "odd.torrent", "data", "--seed-time", "1s"], &ALONE[..]].concat());
    assert!(seeded.stderr.contains(said), "{}", seeded.stderr);
    let words = ["get", "--json", "odd.torrent", "-o", "here", "--stop-after-stalled", "1s"];
    let got = desk.run(&[&words[..], &ALONE].concat());
    let events = got.is(Exit::Stalled).events("warning");
    assert_eq!(events.len(), 1, "{}", got.stdout);
    assert_eq!(events[0]["source"], "odd.torrent");
    assert!(events[0]["message"].as_str().unwrap().starts_with("info.private: should be"), "{events:?}");
    assert!(got.stderr.contains(said), "{}", got.stderr);
}

#[test]
fn several_torrents_are_verified_each_with_its_own_verdict_and_the_worst_is_the_exit_code() {
    let desk = desk_with_payload();
    other_torrent(&desk, "b.bin", 200_000);
    other_torrent(&desk, "c.bin", 100_000);
    let all = ["p.torrent", "b.bin.torrent", "c.bin.torrent"];
    let good = desk.run(&[&["verify"], &all[..], &["there"]].concat());
    assert!(good.is(Exit::Done).stdout.contains("\n3 of 3 sources done\n  done     p.torrent\n"));
    desk.write("there/b.bin", noise(200_000, 9));
    desk.write("copy.torrent", desk.read("p.torrent"));
    let words = ["p.torrent", "b.bin.torrent", "no.torrent", "copy.torrent", "c.bin.torrent", "there"];
    let outcome = desk.run(&[&["verify"], &words[..]].concat());
    let stdout = &outcome.is(Exit::VerifyFailed).stdout;
    for said in [
        "payload.bin  good: ",
        "b.bin  1 of 1 file differ, 4 of 4 pieces",
        "c.bin  good: ",
        "3 of 5 sources done",
        "  failed   b.bin.torrent  1 of 1 file differ",
        "  failed   no.torrent  cannot read no.torrent",
        "  same     copy.torrent  the torrent of p.torrent",
    ] {
        assert!(stdout.contains(said), "{said:?} is not in {stdout}");
    }
    assert!(outcome.stderr.starts_with("error: cannot read no.torrent"), "{}", outcome.stderr);

    let outcome = desk.run(&[&["verify", "--json"], &words[..]].concat());
    outcome.is(Exit::VerifyFailed);
    let lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts: Vec<(Value, Value)> = lines
        .iter()
        .filter(|line| line.get("event").is_none())
        .map(|line| (line["source"].clone(), line["bad"].clone()))
        .collect();
    let expected = [("p.torrent", 0), ("b.bin.torrent", 4), ("c.bin.torrent", 0)];
    assert_eq!(verdicts, expected.map(|(source, bad)| (source.into(), bad.into())));
    let summary = outcome.events("summary")[0]["sources"].clone();
    let codes: Vec<i64> =
        summary.as_array().unwrap().iter().map(|end| end["code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [0, 32, 3, 0, 0]);
    assert_eq!(outcome.events("failed")[0]["source"], "no.torrent");

    desk.run(&["verify", "-", "-", "there"]).failed(Exit::Usage, "one source only");
    desk.run(&["seed", "-", "-", "there"]).failed(Exit::Usage, "one source only");
}

#[test]
fn ctrl_c_ends_several_verdicts_and_the_summary_says_which_were_reached() {
    let desk = desk_with_payload();
    // It takes the connection and says nothing.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.torrent?passkey=secret", server.local_addr().unwrap());
    let running = desk.start(&["verify", "p.torrent", &url, "no.torrent", "there"]);
    running.wait_for("payload.bin  good: ");
    let _asked = server.accept().unwrap();
    running.interrupt();
    let outcome = running.finish();
    let stdout = &outcome.is(Exit::Interrupted).stdout;
    let summary = "1 of 3 sources done\n  done     p.torrent\n  stopped  http://127.0.0.1:";
    assert!(stdout.contains(summary) && stdout.ends_with("  stopped  no.torrent\n"), "{stdout}");
    assert!(!stdout.contains("secret") && !outcome.stderr.contains("secret"), "{stdout}");
}
