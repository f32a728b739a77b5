//! Commands that talk to each other over loopback.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ferriswarm::Exit;

use crate::{ALONE, Desk, Outcome, Running, names, noise};

pub(crate) const SIZE: usize = 3_000_000;

/// A payload, its torrent, and what only that torrent's seeder is told.
pub(crate) fn desk_with_payload() -> Desk {
    let desk = Desk::new();
    desk.write("there/payload.bin", noise(SIZE, 7));
    desk.run(&["create", "there/payload.bin", "-o", "p.torrent", "--piece-length", "64k"]).is(Exit::Done);
    desk
}

/// Serves the payload on a port of its own; gives the address.
pub(crate) fn seed(desk: &Desk, more: &[&str]) -> (Running, String) {
    let words = ["seed", "p.torrent", "there", "--json", "--no-trackers"];
    let state = desk.path("seed-state");
    let state = ["--state-dir", state.to_str().unwrap()];
    let running = desk.start(&[&words[..], &ALONE, &state, more].concat());
    let seeding = running.wait_for("\"event\":\"seeding\"");
    let line = seeding.lines().find(|line| line.contains("\"seeding\"")).unwrap();
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    (running, format!("127.0.0.1:{}", event["port"]))
}

fn get(desk: &Desk, peer: &str, more: &[&str]) -> Running {
    let words = ["get", "p.torrent", "-o", "here", "--no-trackers", "--peer", peer];
    desk.start(&[&words[..], &ALONE, more].concat())
}

pub(crate) fn stop(running: Running) -> Outcome {
    running.interrupt();
    running.finish()
}

#[test]
fn a_download_ends_when_it_is_verified_and_says_what_it_did() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let outcome = get(&desk, &peer, &[]).finish();
    let stdout = &outcome.is(Exit::Done).stdout;
    assert!(stdout.starts_with("payload.bin  2.86 MiB  1 file  v1  0 trackers\n  info hash "), "{stdout}");
    assert!(stdout.contains("done: 2.86 MiB in "), "{stdout}");
    assert!(!stdout.contains('\r') && !stdout.contains('\u{1b}'), "{stdout:?}");
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    let seeded = stop(seeder);
    assert_eq!(seeded.is(Exit::Done).events("done").len(), 1);

    // Again: it is complete, which costs nothing.
    let again = get(&desk, "127.0.0.1:1", &[]).finish();
    assert!(again.is(Exit::Done).stdout.contains("complete: 2.86 MiB verified"), "{}", again.stdout);
}

#[test]
fn json_lines_tell_a_download_from_its_beginning_to_its_end() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let outcome = get(&desk, &peer, &["--json"]).finish();
    outcome.is(Exit::Done);
    let added = &outcome.events("added")[0];
    assert_eq!((&added["name"], &added["total_size"]), (&"payload.bin".into(), &SIZE.into()));
    let pieces = outcome.events("piece").len();
    assert_eq!(pieces, SIZE.div_ceil(65536), "{}", outcome.stdout);
    let done = &outcome.events("done")[0];
    assert!(done["path"].as_str().unwrap().ends_with("here/payload.bin"));
    assert_eq!((&done["size"], &done["downloaded"]), (&SIZE.into(), &SIZE.into()));
    assert!(done["seconds"].is_f64() && done["rate"].is_u64());
    stop(seeder).is(Exit::Done);
}

#[test]
fn json_lines_tell_each_wanted_file_once_when_it_is_complete() {
    let desk = Desk::new();
    // The first three share a piece, and one has nothing in it.
    let lengths = [("a", 100), ("b", 0), ("c", 20_000), ("d", 100_000), ("e", 50_000)];
    for (name, length) in lengths {
        desk.write(&format!("there/set/{name}"), noise(length, length as u64 + 1));
    }
    desk.run(&["create", "there/set", "-o", "p.torrent", "--piece-length", "16k"]).is(Exit::Done);
    let (seeder, peer) = seed(&desk, &[]);
    let told = |outcome: &Outcome| {
        let files = outcome.is(Exit::Done).events("file");
        let mut told: Vec<_> = files
            .iter()
            .map(|file| (file["number"].as_u64().unwrap(), file["path"].as_str().unwrap().to_owned()))
            .collect();
        told.sort();
        told
    };
    let named = |numbers: &[u64]| -> Vec<_> {
        numbers.iter().map(|number| (*number, lengths[*number as usize - 1].0.to_owned())).collect()
    };
    // `c` comes with `a`, though it is not wanted.
    let some = get(&desk, &peer, &["--json", "--select", "3,4"]).finish();
    assert_eq!(told(&some), named(&[3, 4]));
    let order: Vec<String> =
        some.stdout.lines().map(|line| line.split('"').nth(3).unwrap().to_owned()).collect();
    let at = |kind: &str| order.iter().rposition(|other| other == kind).unwrap();
    assert!(at("piece") < at("file") && at("file") < at("done"), "{order:?}");
    let rest = get(&desk, &peer, &["--json"]).finish();
    assert_eq!(told(&rest), named(&[2, 5]), "what was there when it began is not told\n{}", rest.stdout);
    assert_eq!(told(&get(&desk, &peer, &["--json"]).finish()), []);
    stop(seeder);
}

#[test]
fn ctrl_c_saves_what_is_there_and_the_same_command_continues() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &["--up", "1M"]);
    let running = get(&desk, &peer, &["--json"]);
    for _ in 0..3 {
        running.wait_for("\"event\":\"piece\"");
    }
    let stopped = stop(running);
    let command = stopped.is(Exit::Interrupted).events("stopped")[0]["command"].clone();
    assert!(command.as_str().unwrap().starts_with("ferriswarm get p.torrent -o here"), "{command}");
    let first = stopped.events("piece").len();
    stop(seeder).is(Exit::Done);

    let (seeder, peer) = seed(&desk, &[]);
    let rest = get(&desk, &peer, &["--json"]).finish();
    let pieces = rest.is(Exit::Done).events("piece").len();
    assert!(first + pieces <= SIZE.div_ceil(65536) + 1, "{first} and then {pieces}");
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    stop(seeder);
}

#[test]
fn a_second_run_with_the_same_state_is_refused() {
    let desk = desk_with_payload();
    let running = get(&desk, "127.0.0.1:1", &["--json"]);
    running.wait_for("\"event\":\"added\"");
    get(&desk, "127.0.0.1:1", &[]).finish().is(Exit::AlreadyRunning);
    stop(running).is(Exit::Interrupted);
}

#[test]
fn seeding_ends_at_its_ratio_and_refuses_what_is_not_there() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &["--seed-ratio", "0.9"]);
    get(&desk, &peer, &[]).finish().is(Exit::Done);
    seeder.finish().is(Exit::Done);
    desk.write("elsewhere/payload.bin", noise(SIZE, 8));
    let words = ["seed", "p.torrent", "elsewhere", "--no-trackers"];
    let refused = desk.run(&[&words[..], &ALONE].concat());
    assert!(refused.is(Exit::VerifyFailed).stderr.contains("name the file or folder that holds it"));
}

#[test]
fn a_seeder_looks_at_and_serves_the_chosen_files_only() {
    let desk = Desk::new();
    for (name, length) in [("a.bin", 100_000), ("b.bin", 200_000), ("c.bin", 100_000)] {
        desk.write(&format!("there/set/{name}"), noise(length, length as u64 + 1));
    }
    desk.run(&["create", "there/set", "-o", "p.torrent", "--piece-length", "16k"]).is(Exit::Done);
    // What was not chosen may be anything.
    desk.write("there/set/a.bin", noise(100_000, 9));
    let (seeder, peer) = seed(&desk, &["--only", "b.bin", "--only", "c.bin"]);
    let line = seeder.wait_for("\"event\":\"seeding\"");
    let size = line.split("\"event\":\"seeding\"").nth(1).unwrap();
    // Its first piece is shared with the other file, and differs; the last one is short.
    let served = 400_000 - 7 * 16384;
    assert!(size.contains(&format!("\"size\":{served},")), "{size}");
    get(&desk, &peer, &["--only", "c.bin", "--priority", "3=high"]).finish().is(Exit::Done);
    assert_eq!(desk.read("here/set/c.bin"), noise(100_000, 100_001));
    stop(seeder);
}

#[test]
fn two_torrents_download_together_and_only_the_chosen_files_are_made() {
    let desk = desk_with_payload();
    desk.write("there/set/a.txt", noise(40_000, 3));
    desk.write("there/set/b.txt", noise(50_000, 4));
    desk.write("there/set/c.bin", noise(60_000, 5));
    desk.run(&["create", "there/set", "-o", "set.torrent", "--piece-length", "16k"]).is(Exit::Done);
    let words = ["seed", "set.torrent", "there", "--json", "--no-trackers"];
    let seeder = desk.start(&[&words[..], &ALONE].concat());
    let line = seeder.wait_for("\"event\":\"seeding\"");
    let port = line.split("\"port\":").nth(1).unwrap().trim_end().trim_end_matches('}').to_owned();
    let (other, peer) = seed(&desk, &[]);
    let set = format!("127.0.0.1:{port}");
    let state = desk.path("get-state");
    let more = ["set.torrent", "--peer", &set, "--only", "*.bin", "--state-dir", state.to_str().unwrap()];
    get(&desk, &peer, &more).finish().is(Exit::Done);
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    assert_eq!(names(&desk.path("here/set")), ["c.bin"]);
    assert_eq!(desk.read("here/set/c.bin"), noise(60_000, 5));
    stop(seeder);
    stop(other);
}

#[test]
fn a_tracker_brings_them_together() {
    let desk = desk_with_payload();
    let tracker = desk.start(&["tracker", "--listen", "127.0.0.1:0"]);
    let said = tracker.wait_for("stats");
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let state = desk.path("seed-state");
    let network = [&ALONE[..], &["--tracker", &url]].concat();
    let words = ["seed", "p.torrent", "there", "--state-dir", state.to_str().unwrap()];
    let seeder = desk.start(&[&words[..], &network].concat());
    seeder.wait_for("tracker http");
    let outcome = desk.run(&[&["get", "p.torrent", "-o", "here"][..], &network].concat());
    assert!(outcome.is(Exit::Done).stdout.contains("1 seed, 1 leecher"), "{}", outcome.stdout);
    stop(seeder).is(Exit::Done);
    stop(tracker).is(Exit::Done);
}

#[test]
fn the_demo_downloads_verifies_explains_and_leaves_nothing_behind() {
    let desk = Desk::new();
    let outcome = desk.run(&["demo", "--size", "6M", "--explain", "--trace", "t.jsonl"]);
    let stdout = &outcome.is(Exit::Done).stdout;
    for said in ["what arrived is what was sent", "Ann ", "I am starting", "shook hands", "Send me 16 KiB"] {
        assert!(stdout.contains(said), "{said:?} is not in {stdout}");
    }
    assert_eq!(names(desk.folder.path()), ["t.jsonl"]);
    let replayed = desk.run(&["replay", "t.jsonl"]);
    assert!(replayed.is(Exit::Done).stdout.contains("same"), "{}", replayed.stdout);
}

#[test]
fn the_demo_removes_what_it_made_and_nothing_else() {
    let desk = Desk::new();
    let running = desk.start(&["demo", "--size", "200M"]);
    running.wait_for("seeder    Cleo");
    let [folder] = &names(desk.folder.path())[..] else { panic!("{:?}", names(desk.folder.path())) };
    desk.write(&format!("{folder}/mine.txt"), b"mine");
    stop(running).is(Exit::Interrupted);
    assert_eq!(names(&desk.path(folder)), ["mine.txt"]);
}

#[test]
fn a_trace_never_replaces_a_file_and_a_session_that_cannot_start_leaves_none() {
    let desk = desk_with_payload();
    desk.write("t.jsonl", b"mine");
    let words = ["get", "p.torrent", "--no-trackers", "--trace", "t.jsonl"];
    let outcome = desk.run(&[&words[..], &ALONE].concat());
    assert!(outcome.is(Exit::WouldOverwrite).stderr.contains("t.jsonl is there already"), "{outcome:?}");
    assert_eq!(desk.read("t.jsonl"), b"mine");
    let outcome = desk.run(&["demo", "--size", "1M", "--trace", "t.jsonl"]);
    outcome.is(Exit::WouldOverwrite);
    assert_eq!(desk.read("t.jsonl"), b"mine");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let words = ["get", "p.torrent", "--no-trackers", "--bind", "127.0.0.1", "--port", &port];
    desk.run(&[&words[..], &["--trace", "new.jsonl"]].concat()).is(Exit::Network);
    assert!(!desk.path("new.jsonl").exists());
}

#[test]
fn a_damaged_trace_is_told_with_its_line() {
    let desk = Desk::new();
    desk.run(&["demo", "--size", "1M", "--trace", "t.jsonl"]).is(Exit::Done);
    let whole = desk.read("t.jsonl");
    let lines = whole.iter().filter(|byte| **byte == b'\n').count();
    desk.write("cut.jsonl", &whole[..whole.len() - 20]);
    let cut = desk.run(&["replay", "cut.jsonl"]);
    assert!(cut.is(Exit::BadTorrent).stderr.contains(&format!("cut.jsonl: line {lines} ")), "{}", cut.stderr);
    desk.write("bytes.jsonl", [&whole[..], b"\xff\xfe\n"].concat());
    let bytes = desk.run(&["replay", "bytes.jsonl"]);
    assert!(bytes.is(Exit::BadTorrent).stderr.contains("it is not UTF-8"), "{}", bytes.stderr);
    desk.write("other.jsonl", b"{\"hello\": 1}\n");
    let other = desk.run(&["replay", "other.jsonl"]);
    assert!(other.is(Exit::BadTorrent).stderr.contains("line 1 "), "{}", other.stderr);
    // As long as memory, without an end.
    let endless = std::fs::File::create(desk.path("endless.jsonl")).unwrap();
    endless.set_len(1 << 40).unwrap();
    let endless = desk.run(&["replay", "endless.jsonl"]);
    assert!(endless.is(Exit::BadTorrent).stderr.contains("does not end"), "{}", endless.stderr);
}

#[test]
fn state_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let desk = desk_with_payload();
    desk.write("there/two/a", noise(20_000, 1));
    desk.write("there/two/b", noise(30_000, 2));
    desk.run(&["create", "there/two", "-o", "two.torrent", "--piece-length", "16k"]).is(Exit::Done);
    let words = ["seed", "two.torrent", "there", "--json", "--no-trackers"];
    let seed_state = desk.path("seed-state");
    let state = ["--state-dir", seed_state.to_str().unwrap()];
    let seeder = desk.start(&[&words[..], &ALONE, &state].concat());
    let line = seeder.wait_for("\"event\":\"seeding\"");
    let port = line.split("\"port\":").nth(1).unwrap().trim_end().trim_end_matches('}').to_owned();
    // What an earlier version left open is closed; the state folder itself may be a shared one of the user.
    std::fs::create_dir_all(desk.path("state/torrents")).unwrap();
    let state = desk.path("state");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let peer = format!("127.0.0.1:{port}");
    let words = ["get", "two.torrent", "-o", "here", "--select", "1", "--no-trackers", "--peer", &peer];
    let state_dir = ["--state-dir", state.to_str().unwrap()];
    desk.run(&[&words[..], &ALONE, &state_dir].concat()).is(Exit::Done);
    stop(seeder).is(Exit::Done);
    let mut seen = 0;
    let mut folders = vec![state.join("torrents"), seed_state];
    while let Some(folder) = folders.pop() {
        for path in std::iter::once(folder.clone()).chain(children(&folder)) {
            let found = path.symlink_metadata().unwrap();
            assert_eq!(found.permissions().mode() & 0o077, 0, "{}", path.display());
            seen += usize::from(found.is_file());
            if found.is_dir() && path != folder {
                folders.push(path);
            }
        }
    }
    assert!(4 <= seen, "journals, locks and the parts file, but {seen} were seen");
    let mode = state.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755, "somebody else's folder stays as it is");
}

fn children(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let desk = Desk::new();
    let running = desk.start(&["demo", "--size", "200M"]);
    running.wait_for("seeder    Cleo");
    stop(running).is(Exit::Interrupted);
    assert_eq!(names(desk.folder.path()), [""; 0]);
}

/// It answers all announces but `stopped`, for which a program that leaves waits five seconds.
fn tracker_that_lets_nobody_go() -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", server.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap_or(0);
            if String::from_utf8_lossy(&request[..length]).contains("event=stopped") {
                held.push(stream);
                continue;
            }
            let body = "d8:completei2e10:incompletei1e8:intervali1800e5:peers0:e";
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let desk = desk_with_payload();
    let tracker = tracker_that_lets_nobody_go();
    let words = ["get", "p.torrent", "-o", "here", "--tracker", &tracker];
    let running = desk.start(&[&words[..], &ALONE].concat());
    running.wait_for("2 seeds");
    running.interrupt();
    running.wait_for("stopping: ");
    let pressed = Instant::now();
    running.interrupt();
    assert!(running.finish().is(Exit::Killed).stderr.is_empty());
    assert!(pressed.elapsed() < Duration::from_secs(4), "waited for the tracker: {:?}", pressed.elapsed());

    let running = desk.start(&["demo", "--size", "200M"]);
    running.wait_for("seeder    Cleo");
    running.interrupt_twice();
    // A fast one has ended by itself.
    let outcome = running.finish();
    assert!([Exit::Killed, Exit::Interrupted].contains(&outcome.exit), "{outcome:?}");
    let left: Vec<_> = names(desk.folder.path()).into_iter().filter(|name| name.contains("demo")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn seeding_changes_no_file_whatever_lies_there() {
    let desk = desk_with_payload();
    let whole = noise(SIZE, 7);
    let seed = |place: &str| desk.run(&[&["seed", "p.torrent", place, "--no-trackers"][..], &ALONE].concat());
    desk.write("foreign/other.bin", noise(5 << 20, 8));
    seed("foreign/other.bin").is(Exit::VerifyFailed);
    assert_eq!(desk.read("foreign/other.bin"), noise(5 << 20, 8));

    desk.write("empty/mine.txt", "mine");
    seed("empty").is(Exit::VerifyFailed);
    assert_eq!(names(&desk.path("empty")), ["mine.txt"]);

    for (name, bytes) in [("short", whole[..2_000_000].to_vec()), ("long", [&whole[..], b"tag"].concat())] {
        desk.write(&format!("{name}/payload.bin"), &bytes);
        let time = || std::fs::metadata(desk.path(name).join("payload.bin")).unwrap().modified().unwrap();
        let before = time();
        let running = desk.start(&[&["seed", "p.torrent", name, "--no-trackers"][..], &ALONE].concat());
        running.wait_for("seeding on port");
        stop(running);
        assert_eq!((desk.read(&format!("{name}/payload.bin")), time()), (bytes, before));
    }
}

#[test]
fn what_a_seed_has_is_told_by_its_bytes_and_not_by_its_pieces() {
    let desk = desk_with_payload();
    let last = SIZE % 65_536;
    let mut bytes = noise(SIZE, 8);
    bytes.truncate(SIZE - last);
    bytes.extend_from_slice(&noise(SIZE, 7)[SIZE - last..]);
    desk.write("there/payload.bin", bytes);
    let (seeder, _) = seed(&desk, &[]);
    let outcome = stop(seeder);
    assert_eq!(outcome.events("seeding")[0]["size"], last, "{}", outcome.stdout);
}

#[test]
fn a_check_that_is_stopped_does_not_say_that_nothing_is_there() {
    let desk = Desk::new();
    // Enough to be busy with for a while; what it should hold does not matter.
    let length = 8_u64 << 30;
    let pieces = "x".repeat(20 * (length >> 24) as usize);
    let info = format!(
        "d4:infod6:lengthi{length}e4:name1:b12:piece lengthi{}e6:pieces{}:{pieces}ee",
        1 << 24,
        pieces.len()
    );
    desk.write("b.torrent", info);
    desk.write("here/b", "");
    std::fs::File::options().write(true).open(desk.path("here/b")).unwrap().set_len(length).unwrap();
    let words = ["get", "b.torrent", "-o", "here", "--check", "--no-trackers", "--progress", "every:1s"];
    let running = desk.start(&[&words[..], &ALONE].concat());
    running.wait_for("checking");
    let said = stop(running);
    assert!(said.is(Exit::Interrupted).stdout.contains("was not checked to the end"), "{}", said.stdout);
    assert!(!said.stdout.contains("verified and saved"), "{}", said.stdout);
}

#[test]
fn a_folder_in_the_place_of_an_empty_file_is_no_complete_payload_to_a_seeder_either() {
    let desk = Desk::new();
    desk.write("set/a.bin", noise(100_000, 1));
    desk.write("set/none", "");
    desk.run(&["create", "set", "-o", "set.torrent"]).is(Exit::Done);
    std::fs::remove_file(desk.path("set/none")).unwrap();
    std::fs::create_dir(desk.path("set/none")).unwrap();
    desk.run(&["verify", "set.torrent", "set"]).is(Exit::VerifyFailed);
    let words = [&["seed", "set.torrent", "set", "--json", "--no-trackers"][..], &ALONE].concat();
    let seeder = desk.start(&words);
    let said = seeder.wait_for("\"event\":\"seeding\"");
    assert!(said.contains("none is no plain file; serving the pieces"), "{said}");
    assert!(!said.contains("\"event\":\"done\""), "{said}");
    stop(seeder);
    // What no program makes from such a torrent is no fault.
    std::fs::remove_dir(desk.path("set/none")).unwrap();
    let seeder = desk.start(&words);
    seeder.wait_for("\"event\":\"seeding\"");
    assert_eq!(stop(seeder).is(Exit::Done).events("done").len(), 1);
}

#[test]
fn a_seeder_names_the_unfinished_file_beside_the_one_that_is_wanted() {
    let desk = desk_with_payload();
    std::fs::rename(desk.path("there/payload.bin"), desk.path("there/payload.bin.part")).unwrap();
    let seed = |path: &str| desk.run(&[&["seed", "p.torrent", path, "--no-trackers"][..], &ALONE].concat());
    let missing = seed("there/payload.bin");
    missing.is(Exit::NotFound);
    assert!(missing.stderr.contains("payload.bin.part is"), "{}", missing.stderr);
    // As after a download whose name was taken.
    desk.write("there/payload.bin", "mine");
    let other = seed("there");
    other.is(Exit::VerifyFailed);
    assert!(other.stderr.contains("payload.bin.part lies beside it"), "{}", other.stderr);
}

#[test]
fn a_whole_file_that_keeps_an_unfinished_name_is_called_so_everywhere() {
    let desk = Desk::new();
    for name in ["x.part", "x"] {
        desk.write(&format!("{name}-in/{name}"), noise(100_000, 1));
        let (payload, torrent) = (format!("{name}-in/{name}"), format!("{name}.torrent"));
        desk.run(&["create", &payload, "-o", &torrent]).is(Exit::Done);
    }
    desk.write("here/x.part", noise(100_000, 1));
    let get = |torrent: &str, more: &[&str]| {
        let words = ["get", torrent, "-o", "here", "--no-trackers", "--json"];
        desk.run(&[&words[..], &ALONE, more].concat())
    };
    get("x.part.torrent", &[]).is(Exit::Done);
    let told = desk.path("told");
    desk.write("hook", format!("#!/bin/sh\nprintf '%s' \"$1\" > {}\n", told.display()));
    let hook = desk.path("hook");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for _ in 0..2 {
        let outcome = get("x.torrent", &["--on-done", hook.to_str().unwrap()]);
        outcome.is(Exit::Done);
        let lies_at = desk.path("here/x.part").to_str().unwrap().to_owned();
        let added = &outcome.events("added")[0];
        assert_eq!(
            (&added["path"], &added["files"][0]["disk_path"]),
            (&lies_at.clone().into(), &"x.part".into())
        );
        assert_eq!(outcome.events("done")[0]["path"], lies_at.as_str());
        assert_eq!(String::from_utf8(desk.read("told")).unwrap(), lies_at);
        assert_eq!(names(&desk.path("here")), ["x.part"]);
    }
    let last = get("x.torrent", &[]);
    let notes = last.is(Exit::Done).events("note");
    assert!(
        notes
            .iter()
            .any(|note| note["message"].as_str().unwrap().contains("it is whole, and kept this name")),
        "{notes:?}"
    );
    // Without the other torrent it gets its own name, and is called so.
    std::fs::remove_dir_all(desk.path("state-home")).unwrap();
    let outcome = get("x.torrent", &[]);
    outcome.is(Exit::Done);
    let lies_at = desk.path("here/x").to_str().unwrap().to_owned();
    assert_eq!(outcome.events("done")[0]["path"], lies_at.as_str());
    assert_eq!(names(&desk.path("here")), ["x"]);
}
