//! Files that belong to another: to another torrent, or to the user after all.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use ferriswarm::Exit;

use crate::swarm::{desk_with_payload, seed, stop};
use crate::{ALONE, Desk, Outcome, noise};

/// Two torrents of the name `x.bin` with other data.
fn rivals() -> Desk {
    let desk = Desk::new();
    for (name, number) in [("a", 1), ("b", 2)] {
        let (payload, torrent) = (format!("{name}/x.bin"), format!("{name}.torrent"));
        desk.write(&payload, noise(500_000, number));
        desk.run(&["create", &payload, "-o", &torrent, "--piece-length", "16k"]).is(Exit::Done);
    }
    desk
}

fn hash(desk: &Desk, torrent: &str) -> String {
    desk.run(&["show", "--json", torrent]).json()["info_hash_v1"].as_str().unwrap().to_owned()
}

/// The download of a torrent that no peer has.
fn lonely<'a>(torrent: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["get", torrent, "-o", "here", "--no-trackers", "--json"][..], &ALONE, more].concat()
}

/// The program as a process of its own, once it works on its torrent.
fn begin(desk: &Desk, words: &[&str]) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferriswarm"))
        .args(words)
        .current_dir(desk.folder.path())
        .env("XDG_STATE_HOME", desk.path("state-home"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"added\"")), "it ended");
    // It may write as long as it likes.
    std::thread::spawn(move || lines.count());
    child
}

fn end(mut child: Child) {
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

/// A peer is asked what a link stands for only when there is a place for it.
#[test]
fn a_folder_that_cannot_be_made_is_told_before_anybody_is_asked() {
    let desk = Desk::new();
    desk.write("file", "mine");
    let link = format!("magnet:?xt=urn:btih:{}", "ab".repeat(20));
    let long = format!("new/{}/deeper", "x".repeat(256));
    for (folder, exit, part, why) in [
        ("file", Exit::WouldOverwrite, "file", "this is not a folder"),
        ("file/deeper", Exit::WouldOverwrite, "file", "this is not a folder"),
        (&long, Exit::Io, long.trim_end_matches("/deeper"), "this folder cannot be made: File name too long"),
    ] {
        let words = [&["get", &link, "-o", folder, "--no-trackers"][..], &ALONE].concat();
        let failed = desk.run(&words);
        failed.failed(exit, &format!("{part}: {why}"));
        assert!(!desk.path("new").exists());
    }
    assert_eq!(desk.read("file"), b"mine");
}

/// The same obstacle has one code, whatever is to be written or read there.
#[test]
fn a_path_that_cannot_be_used_ends_every_command_with_the_same_code() {
    let desk = rivals();
    desk.write("file", "mine");
    std::os::unix::fs::symlink("loop", desk.path("loop")).unwrap();
    let link = format!("magnet:?xt=urn:btih:{}", "ab".repeat(20));
    let long = "x".repeat(256);
    let is = |words: &[&str], exit: Exit| {
        let outcome = desk.run(words);
        assert_eq!(outcome.exit, exit, "{words:?}: {}{}", outcome.stdout, outcome.stderr);
    };
    for (place, writing, reading) in [
        ("file/deeper", Exit::WouldOverwrite, Exit::NotFound),
        ("loop/deeper", Exit::WouldOverwrite, Exit::Io),
        (&format!("{long}/deeper"), Exit::Io, Exit::Io),
        ("/proc/none", Exit::Io, Exit::NotFound),
    ] {
        // That no folder can be made in `/proc` shows when one is made: when the first piece comes.
        if !place.starts_with("/proc") {
            for source in ["a.torrent", &link] {
                is(&[&["get", source, "-o", place, "--no-trackers"][..], &ALONE].concat(), writing);
            }
        }
        is(&["create", "a/x.bin", "-o", place], writing);
        is(&[&["torrent", &link, "-o", place][..], &ALONE].concat(), writing);
        is(&["verify", "a.torrent", place], reading);
        is(&[&["seed", "a.torrent", place, "--no-trackers"][..], &ALONE].concat(), reading);
        is(&["create", place, "-o", "new.torrent"], reading);
    }
    // Only `get` makes folders.
    is(&["create", "a/x.bin", "-o", "none/x.torrent"], Exit::NotFound);
    is(&[&["torrent", &link, "-o", "none/x.torrent"][..], &ALONE].concat(), Exit::NotFound);
    is(&["verify", "a.torrent", "none"], Exit::NotFound);
    assert_eq!(desk.read("file"), b"mine");
}

/// Refused with 13, naming the file, both torrents and what can be done.
#[track_caller]
fn is_refused(desk: &Desk, outcome: &Outcome) {
    let said = &outcome.is(Exit::WouldOverwrite).stderr;
    for word in ["here/x.bin: ", &hash(desk, "a.torrent"), &hash(desk, "b.torrent"), "another folder"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
}

#[test]
fn of_two_processes_the_second_is_refused_before_the_first_has_made_the_file() {
    let desk = rivals();
    let first = begin(&desk, &lonely("a.torrent", &[]));
    for more in [&[][..], &["--overwrite"], &["--check"]] {
        is_refused(&desk, &desk.run(&lonely("b.torrent", more)));
    }
    assert!(!desk.path("here").exists());
    end(first);
    // Nothing came of it, so that no torrent is kept away.
    let second = begin(&desk, &lonely("b.torrent", &[]));
    is_refused(&desk, &desk.run(&lonely("a.torrent", &[])));
    end(second);
}

#[test]
fn in_one_command_the_second_of_two_with_one_path_is_refused() {
    let desk = rivals();
    let words = lonely("a.torrent", &["b.torrent", "--stop-after-stalled", "1s"]);
    is_refused(&desk, &desk.run(&words));
}

#[test]
fn a_later_run_names_the_torrent_that_began_a_file_until_it_is_given_up() {
    let desk = rivals();
    let serve = |name: &str| {
        let state = desk.path(&format!("seed-{name}"));
        let (torrent, state) = (format!("{name}.torrent"), state.to_str().unwrap().to_owned());
        let words =
            ["seed", &torrent, name, "--json", "--no-trackers", "--state-dir", &state, "--up", "200k"];
        let running = desk.start(&[&words[..], &ALONE].concat());
        let said = running.wait_for("\"event\":\"seeding\"");
        let port = said.split("\"port\":").nth(1).unwrap().split('}').next().unwrap().to_owned();
        (running, format!("127.0.0.1:{port}"))
    };
    let (seeder, peer) = serve("a");
    let half = desk.start(&lonely("a.torrent", &["--peer", &peer]));
    half.wait_for("\"event\":\"piece\"");
    stop(half).is(Exit::Interrupted);
    is_refused(&desk, &desk.run(&lonely("b.torrent", &[])));
    is_refused(&desk, &desk.run(&lonely("b.torrent", &["--check"])));
    desk.run(&lonely("a.torrent", &["--peer", &peer])).is(Exit::Done);
    stop(seeder);
    assert_eq!(desk.read("here/x.bin"), noise(500_000, 1));
    // Complete, and the same.
    is_refused(&desk, &desk.run(&lonely("b.torrent", &[])));
    let (seeder, peer) = serve("b");
    desk.run(&lonely("b.torrent", &["--peer", &peer, "--overwrite"])).is(Exit::Done);
    stop(seeder);
    assert_eq!(desk.read("here/x.bin"), noise(500_000, 2));
    is_refused(&desk, &desk.run(&lonely("a.torrent", &[])));
    assert_eq!(desk.read("here/x.bin"), noise(500_000, 2));
}

/// Changes three bytes without a trace, as a disk does.
fn rot(desk: &Desk) {
    let file = std::fs::File::options().write(true).open(desk.path("here/payload.bin")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"rot", 1_000_000).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn an_edit_that_set_its_time_back_is_found_without_a_check_and_kept() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let get = |more: &[&str]| {
        let words = ["get", "p.torrent", "-o", "here", "--no-trackers", "--json", "--peer", &peer];
        desk.run(&[&words[..], &ALONE, more].concat())
    };
    let whole = desk.read("there/payload.bin");
    get(&[]).is(Exit::Done);
    rot(&desk);
    let rotten = desk.read("here/payload.bin");
    for more in [&[][..], &["--check"]] {
        let outcome = get(more);
        let refused = &outcome.is(Exit::WouldOverwrite).stderr;
        assert!(refused.contains("was complete and has changed since"), "{refused}");
        assert_eq!(desk.read("here/payload.bin"), rotten);
    }
    let mended = get(&["--overwrite"]);
    assert_eq!(mended.is(Exit::Done).events("piece").len(), 1);
    assert_eq!(desk.read("here/payload.bin"), whole);
    // Nothing to mend, nothing fetched.
    assert_eq!(get(&["--check"]).is(Exit::Done).events("piece").len(), 0);
    stop(seeder);
}

#[test]
fn what_was_only_found_and_rots_is_named_with_the_way_on() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let whole = desk.read("there/payload.bin");
    desk.write("here/payload.bin", &whole);
    let get = |more: &[&str]| {
        let words = ["get", "p.torrent", "-o", "here", "--no-trackers", "--json", "--peer", &peer];
        desk.run(&[&words[..], &ALONE, more].concat())
    };
    get(&[]).is(Exit::Done);
    rot(&desk);
    let rotten = desk.read("here/payload.bin");
    for _ in 0..2 {
        let refused = get(&["--check"]);
        let said = &refused.is(Exit::WouldOverwrite).stderr;
        let told = "here/payload.bin: this file is there already and was complete and has changed since";
        assert!(said.contains(told) && said.contains("--overwrite"), "{said}");
        assert_eq!(desk.read("here/payload.bin"), rotten);
    }
    let mended = get(&["--check", "--overwrite"]);
    assert_eq!(mended.is(Exit::Done).events("piece").len(), 1);
    assert_eq!(desk.read("here/payload.bin"), whole);
    stop(seeder);
}
