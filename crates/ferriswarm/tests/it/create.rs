//! `create`: what goes into a torrent, and where the torrent goes.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::process::Command;

use ferriswarm::Exit;
use serde_json::Value;

use crate::offline::desk_with_album;
use crate::{Desk, names, noise};

/// The paths in a torrent, or in what `--dry-run` says.
fn paths(shown: &Value) -> Vec<&str> {
    shown["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

fn desk_with_litter() -> Desk {
    let desk = desk_with_album();
    for name in
        [".DS_Store", "cd1/Thumbs.db", "cd2/desktop.ini", "cd2/._02.bin", "__MACOSX/x", ".hidden/y", ".z"]
    {
        desk.write(&format!("album/{name}"), "litter or hidden");
    }
    desk
}

#[test]
fn what_systems_leave_behind_is_left_out_and_counted() {
    let desk = desk_with_litter();
    let made = desk.run(&["create", "album", "-o", "a.torrent", "--json"]).is(Exit::Done).json();
    let rest = [".hidden/y", ".z", "cd1/01.bin", "cd2/02.bin", "empty", "notes.txt"];
    assert_eq!(paths(&made), rest);
    assert_eq!((&made["left_out"]["litter"], &made["left_out"]["hidden"]), (&5.into(), &0.into()));
    let said = desk.run(&["create", "album", "-o", "b.torrent", "--no-hidden"]);
    assert!(
        said.is(Exit::Done).stdout.contains("left out 5 entries of operating systems"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("left out 2 hidden"), "{}", said.stdout);
    let shown = desk.run(&["show", "--json", "b.torrent"]).json();
    assert_eq!(paths(&shown), ["cd1/01.bin", "cd2/02.bin", "empty", "notes.txt"]);
}

#[test]
fn globs_choose_what_is_shared() {
    let desk = desk_with_litter();
    let chosen = |flags: &[&str]| {
        let words = [&["create", "album", "--dry-run", "--json"][..], flags].concat();
        let shown = desk.run(&words).is(Exit::Done).json();
        paths(&shown).join(" ")
    };
    assert_eq!(chosen(&["--include", "*.bin"]), "cd1/01.bin cd2/._02.bin cd2/02.bin");
    assert_eq!(chosen(&["--include", "*.bin", "--exclude", "cd2"]), "cd1/01.bin");
    assert_eq!(chosen(&["--include", "cd1/", "--include", "album/empty"]), "cd1/01.bin cd1/Thumbs.db empty");
    assert_eq!(chosen(&["--exclude", ".*", "--exclude", "*/02.*"]), "cd1/01.bin empty notes.txt");
    assert_eq!(chosen(&["--include", "*", "--exclude", "*/*"]), ".DS_Store .z empty notes.txt");
    desk.run(&["-q", "create", "album", "--include", "*.flac"]).failed(Exit::Usage, "nothing to share");
    desk.run(&["create", "album", "--exclude", "["]).failed(Exit::Usage, "--exclude");
}

#[test]
fn links_are_followed_when_that_is_wanted() {
    let desk = desk_with_album();
    desk.write("outside/inner/x", "x");
    desk.write("alone", "y");
    symlink(desk.path("outside"), desk.path("album/folder")).unwrap();
    symlink(desk.path("alone"), desk.path("album/file")).unwrap();
    symlink("nowhere", desk.path("album/dangling")).unwrap();
    symlink("..", desk.path("album/cd1/round")).unwrap();
    let flags = ["create", "album", "--follow-symlinks", "--dry-run", "--json"];
    let followed = desk.run(&flags);
    let shown = followed.is(Exit::Done).json();
    let expected = ["cd1/01.bin", "cd2/02.bin", "empty", "file", "folder/inner/x", "notes.txt"];
    assert_eq!((paths(&shown), &shown["left_out"]["special"]), (expected.to_vec(), &2.into()));
    assert!(followed.stderr.contains("a folder that it lies in"), "{}", followed.stderr);
    assert!(followed.stderr.contains("leads nowhere"), "{}", followed.stderr);
    let left = desk.run(&["create", "album", "--dry-run", "--json"]).json();
    assert_eq!(left["left_out"]["special"], 4);
}

#[test]
fn a_dry_run_writes_nothing_and_refuses_the_same() {
    let desk = desk_with_album();
    let said = desk.run(&["create", "album", "-n"]);
    assert!(said.is(Exit::Done).stdout.contains("would be written to album.torrent"), "{}", said.stdout);
    assert!(said.stdout.contains("cd1/01.bin"), "{}", said.stdout);
    assert_eq!(names(desk.folder.path()), ["album"]);
    let shown = desk.run(&["create", "album", "-n", "--json", "-o", "-"]).json();
    assert_eq!(
        (&shown["dry_run"], &shown["total_size"], &shown["output"]),
        (&true.into(), &170_017.into(), &Value::Null)
    );
    assert_eq!((&shown["piece_length"], &shown["piece_count"]), (&16384.into(), &11.into()));
    desk.write("album.torrent", "mine");
    desk.run(&["create", "album", "-n"]).failed(Exit::WouldOverwrite, "is there already");
}

#[test]
fn the_name_and_the_maker_can_be_chosen() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "--name", "Best Of", "--no-created-by"]).is(Exit::Done);
    let shown = desk.run(&["show", "--json", "Best Of.torrent"]).json();
    assert_eq!((&shown["name"], &shown["created_by"]), (&"Best Of".into(), &Value::Null));
    desk.run(&["create", "album", "--name", "a/b"]).failed(Exit::NotFound, "a/b.torrent");
    desk.run(&["create", "album", "-o", "x", "--name", "a/b"]).failed(Exit::Usage, "slash");
    let long = "n".repeat(255);
    desk.write(&long, "long");
    desk.run(&["create", &long]).is(Exit::Done);
    let made = format!("{}.torrent", &long[..247]);
    assert_eq!(desk.run(&["show", "--json", &made]).is(Exit::Done).json()["name"], long);
}

#[test]
fn no_output_is_its_own_input() {
    let desk = desk_with_album();
    desk.write("a", "mine");
    for force in [&["--force"][..], &[]] {
        let refused = |words: &[&str], why: &str| {
            desk.run(&[&["create"], words, force].concat()).failed(Exit::WouldOverwrite, why);
        };
        let why = if force.is_empty() { "is there already" } else { "is part of what is shared" };
        refused(&["a", "-o", "a"], why);
        refused(&["album", "-o", "album/cd1/01.bin"], why);
        refused(&["album", "-o", "album/../album/notes.txt"], why);
    }
    symlink("a", desk.path("link")).unwrap();
    desk.run(&["create", "link", "-o", "a", "--force"])
        .failed(Exit::WouldOverwrite, "is part of what is shared");
    desk.run(&["create", "a", "-o", "link", "--force"]).failed(Exit::WouldOverwrite, "is a symbolic link");
    std::fs::hard_link(desk.path("a"), desk.path("same")).unwrap();
    desk.run(&["create", "a", "-o", "same", "--force"]).failed(Exit::WouldOverwrite, "is part of");
    assert_eq!((desk.read("a"), desk.read("album/cd1/01.bin")), (b"mine".to_vec(), noise(100_000, 1)));
}

#[test]
fn what_cannot_be_is_told_before_anything_is_read() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "-o", "missing/a.torrent"]).failed(Exit::NotFound, "missing/a.torrent");
    desk.run(&["create", "album", "-o", "/proc/a.torrent"]).failed(Exit::Io, "/proc/a.torrent");
    for length in ["20k", "1G", "8k", "0"] {
        desk.run(&["create", "album", "-l", length]).failed(Exit::Usage, "no piece length");
    }
    assert_eq!(names(desk.folder.path()), ["album"]);
}

#[test]
fn few_descriptors_are_enough() {
    let desk = desk_with_album();
    for number in 0..200 {
        desk.write(&format!("many/{number}"), noise(1000, number));
    }
    desk.run(&["create", "many", "-o", "a.torrent"]).is(Exit::Done);
    for limit in [20, 24, 64] {
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let words = ["-c", &script, "sh", env!("CARGO_BIN_EXE_ferriswarm"), "create", "many", "-o", "-"];
        let made = Command::new("sh").args(words).current_dir(desk.folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success() && made.stdout == desk.read("a.torrent"), "{limit}: {said}");
    }
}

#[test]
fn the_same_payload_gives_the_same_bytes() {
    let (first, second) = (desk_with_album(), desk_with_album());
    for desk in [&first, &second] {
        desk.run(&["create", "album", "-o", "a.torrent"]).is(Exit::Done);
    }
    assert_eq!(first.read("a.torrent"), second.read("a.torrent"));
    first.run(&["create", "album", "-o", "dated.torrent", "--date"]).is(Exit::Done);
    let shown = first.run(&["show", "--json", "dated.torrent"]).json();
    assert!(1_700_000_000 < shown["creation_date"].as_i64().unwrap());
}

#[test]
fn create_overwrites_only_when_told_to_and_leaves_no_scraps() {
    let desk = desk_with_album();
    desk.write("a.torrent", "precious");
    desk.run(&["create", "album", "-o", "a.torrent"]).failed(Exit::WouldOverwrite, "is there already");
    assert_eq!(desk.read("a.torrent"), b"precious");
    desk.run(&["create", "album", "-o", "a.torrent", "--force"]).is(Exit::Done);
    assert_ne!(desk.read("a.torrent"), b"precious");
    desk.run(&["create", "album"]).is(Exit::Done);
    assert_eq!(names(desk.folder.path()), ["a.torrent", "album", "album.torrent"]);
}

#[test]
fn a_torrent_made_inside_its_own_folder_does_not_contain_itself() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "-o", "album/a.torrent"]).is(Exit::Done);
    let first = desk.read("album/a.torrent");
    desk.run(&["create", "album", "-o", "album/a.torrent", "--force"]).is(Exit::Done);
    assert_eq!(first, desk.read("album/a.torrent"));
}

#[test]
fn links_are_left_out_and_said() {
    let desk = desk_with_album();
    symlink("/etc/passwd", desk.path("album/link")).unwrap();
    let made = desk.run(&["create", "album", "-o", "a.torrent"]);
    assert!(made.is(Exit::Done).stderr.contains("a symbolic link"), "{}", made.stderr);
    assert_eq!(desk.run(&["show", "--json", "a.torrent"]).json()["files"].as_array().unwrap().len(), 4);
}

#[test]
fn an_empty_folder_and_a_strange_piece_length_are_told() {
    let desk = desk_with_album();
    std::fs::create_dir(desk.path("nothing")).unwrap();
    desk.run(&["create", "nothing"]).failed(Exit::Usage, "nothing");
    desk.run(&["create", "album", "--piece-length", "1k"]).failed(Exit::Usage, "piece length");
    desk.run(&["create", "album", "--piece-length", "100G"]).failed(Exit::Usage, "piece-length");
    desk.run(&["create", "no-such-folder"]).failed(Exit::NotFound, "no-such-folder");
}

#[test]
fn several_payloads_become_a_torrent_each() {
    let desk = desk_with_album();
    desk.write("b/x", noise(50_000, 3));
    desk.write("c.bin", noise(70_000, 4));
    std::fs::create_dir(desk.path("out")).unwrap();
    let outcome =
        desk.run(&["create", "album", "gone", "b", "c.bin", "-o", "out/", "-t", "http://t.example/x"]);
    let stdout = &outcome.is(Exit::NotFound).stdout;
    assert!(outcome.stderr.starts_with("error: cannot read gone: "), "{}", outcome.stderr);
    let summary = "3 of 4 sources done\n  done     album\n  failed   gone  cannot read gone";
    assert!(stdout.contains(summary) && stdout.contains("written to out/b.torrent"), "{stdout}");
    assert_eq!(names(&desk.path("out")), ["album.torrent", "b.torrent", "c.bin.torrent"]);
    for name in ["album", "b", "c.bin"] {
        let made = format!("out/{name}.torrent");
        desk.run(&["verify", &made, name]).is(Exit::Done);
        // The same as one by one.
        let alone = format!("{name}.one");
        desk.run(&["create", name, "-o", &alone, "-t", "http://t.example/x"]).is(Exit::Done);
        assert_eq!(desk.read(&made), desk.read(&alone), "{name}");
    }
    let outcome = desk.run(&["create", "b", "c.bin", "--json"]);
    let lines: Vec<Value> =
        outcome.is(Exit::Done).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["name"], &lines[1]["name"]), (&"b".into(), &"c.bin".into()));
    assert_eq!(lines[2]["sources"][1]["info_hash"], lines[1]["info_hash_v1"]);
    assert!(desk.path("b.torrent").exists() && desk.path("c.bin.torrent").exists());
    desk.run(&["create", "b", "c.bin"]).is(Exit::WouldOverwrite);
    let preview = desk.run(&["create", "b", "c.bin", "--dry-run", "--force"]);
    assert!(
        preview.is(Exit::Done).stdout.contains("would be written to c.bin.torrent"),
        "{}",
        preview.stdout
    );
}

#[test]
fn what_can_be_true_of_one_torrent_only_is_refused_for_several() {
    let desk = desk_with_album();
    desk.write("b/x", noise(50_000, 3));
    desk.write("other/b/x", noise(50_000, 4));
    let before = names(desk.folder.path());
    for (words, why) in [
        (&["-o", "x.torrent"][..], "-o x.torrent is one file for 2 sources"),
        (&["-o", "-"], "-o - is one file for 2 sources"),
        (&["--name", "x"], "--name is one name for 2 sources"),
        (&["--web-seed", "http://w.example/b"], "is one file for 2 sources"),
    ] {
        desk.run(&[&["create", "album", "b"], words].concat()).failed(Exit::Usage, why);
    }
    desk.run(&["create", "b", "other/b"])
        .failed(Exit::Usage, "the torrents of b and other/b are both b.torrent");
    assert_eq!(names(desk.folder.path()), before);
    desk.run(&["create", "album", "b", "-w", "http://w.example/"]).is(Exit::Done);
}

#[test]
fn a_torrent_that_is_written_into_another_source_is_no_part_of_it() {
    let desk = desk_with_album();
    desk.write("b/x", noise(50_000, 3));
    desk.run(&["create", "b", "album", "-o", "album/"]).is(Exit::Done);
    let shown = desk.run(&["show", "--json", "album/album.torrent"]).json();
    assert_eq!(paths(&shown), ["cd1/01.bin", "cd2/02.bin", "empty", "notes.txt"]);
    // Nor when it is written over.
    desk.run(&["create", "b", "album", "-o", "album/", "--force"]).is(Exit::Done);
    let again = desk.run(&["show", "--json", "album/album.torrent"]).json();
    assert_eq!(paths(&again), paths(&shown));
}

#[test]
fn defaults_give_the_info_hashes_that_other_programs_give() {
    // `noise.bin` as libtorrent 2.1.1 makes it with its own piece length, and imdl 0.1.16: its version 1 is the same but
    // between 2 MiB and 2,684,355 bytes, where it takes twice the piece length (and so in each further row).
    for (size, v1, v2, imdl) in [
        (
            1,
            "7adbbf577934ba55c493a793274f45f6c740bad9",
            "d78214dcb3ac990751f14cefc3797c0a341a6048ffad3c8a5214af718b866136",
            None,
        ),
        (
            16_385,
            "c9e9f5b10538f10e7c14d380cfc6ec1984ad703d",
            "c91d8e16401aed078d8b75f90d9dab7381db42097ea36d908c979581007fa2b9",
            None,
        ),
        (
            2_097_152,
            "625a2bc7337894bc27c4ffab57d8b744914e4fa4",
            "09c874bcb6330c4047028b972b809e6d9e1f707b2e46628cc4359f690fbb8b0e",
            None,
        ),
        (
            2_684_355,
            "a1528f4e4e96509b951172a22ea10bfab4caa3f4",
            "e421d820960bef2a576701958a7a6b302e3f0a5e2f983bd545e5c44c2ac0f1a9",
            Some("3e4af298a3565278c4bb60ff9df56bca74c0b568"),
        ),
        (
            2_684_356,
            "8e6524ce55be2ef2c3063422fc49d7af7096605e",
            "ca0278e4d94296cdbd376cd48928f1e55440f465137810c9690ab1291c78c015",
            None,
        ),
        (
            4_194_305,
            "f19ab209db71973cef1f6a38cc975c9939718568",
            "358f587c22e0a438c42930336812c8c90eafc5221e6c8213986b969f57d778bf",
            None,
        ),
    ] {
        let desk = Desk::new();
        desk.write("noise.bin", noise(size, 3));
        let made = |flags: &[&str]| {
            desk.run(&[&["create", "noise.bin", "--json", "-f"], flags].concat()).is(Exit::Done).json()
        };
        assert_eq!(made(&[])["info_hash_v1"], v1, "{size}");
        assert_eq!(made(&["--v2"])["info_hash_v2"], v2, "{size}");
        if let Some(imdl) = imdl {
            assert_eq!(made(&["-l", "32k"])["info_hash_v1"], imdl, "{size}");
        }
    }
}

#[test]
fn ctrl_c_ends_the_look_at_files() {
    let mut desk = desk_with_album();
    desk.presses = 1;
    for words in [&["create", "album", "-o", "x.torrent"][..], &["create", "album", "album/cd1"]] {
        let outcome = desk.run(words);
        outcome.failed(Exit::Interrupted, "stopped; nothing was written");
    }
    assert_eq!(names(desk.folder.path()), ["album"]);
}
