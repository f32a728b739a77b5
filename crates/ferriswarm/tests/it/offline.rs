//! Commands that need no peer: output and exit codes.
#![allow(clippy::unwrap_used)]

use ferriswarm::Exit;

use crate::{ALONE, Desk, noise};

pub(crate) fn desk_with_album() -> Desk {
    let desk = Desk::new();
    desk.write("album/cd1/01.bin", noise(100_000, 1));
    desk.write("album/cd2/02.bin", noise(70_000, 2));
    desk.write("album/notes.txt", "three words here\n");
    desk.write("album/empty", "");
    desk
}

#[test]
fn what_is_created_can_be_shown_and_verified() {
    for format in ["--v1", "--v2", "--hybrid"] {
        let desk = desk_with_album();
        desk.run(&["create", "album", "-o", "a.torrent", format]).is(Exit::Done);
        let shown = desk.run(&["show", "--json", "a.torrent"]).is(Exit::Done).json();
        assert_eq!(shown["name"], "album");
        assert_eq!(shown["total_size"], 170_017);
        assert_eq!(shown["info_hash_v1"].is_string(), format != "--v2");
        assert_eq!(shown["info_hash_v2"].is_string(), format != "--v1");
        let verified = desk.run(&["verify", "a.torrent", "album"]);
        assert!(verified.is(Exit::Done).stdout.contains("good"), "{format}: {}", verified.stdout);
        // The folder that holds it will do as well.
        desk.run(&["verify", "a.torrent", "."]).is(Exit::Done);
    }
}

#[test]
fn show_has_exactly_the_keys_that_scripts_rely_on() {
    let desk = desk_with_album();
    let flags =
        ["--tracker", "http://a.example/announce,udp://b.example:1", "--tracker", "http://c.example/x"];
    let more = [
        "--web-seed",
        "http://d.example/",
        "--private",
        "--source",
        "S",
        "--comment",
        "C",
        "--piece-length",
        "32k",
    ];
    let words = [&["create", "album", "-o", "a.torrent"][..], &flags, &more].concat();
    desk.run(&words).is(Exit::Done);
    let shown = desk.run(&["show", "a.torrent", "--json"]).json();
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    let mut expected = [
        "name",
        "info_hash_v1",
        "info_hash_v2",
        "piece_length",
        "piece_count",
        "total_size",
        "private",
        "files",
        "trackers",
        "web_seeds",
        "comment",
        "created_by",
        "creation_date",
        "source",
        "magnet",
        "warnings",
        "note",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(shown["trackers"][0].as_array().unwrap().len(), 2);
    assert_eq!(shown["trackers"][1][0], "http://c.example/x");
    assert_eq!(shown["web_seeds"][0], "http://d.example/");
    assert_eq!(
        (&shown["private"], &shown["source"], &shown["comment"]),
        (&true.into(), &"S".into(), &"C".into())
    );
    assert_eq!((&shown["piece_length"], &shown["piece_count"]), (&32_768.into(), &6.into()));
    assert!(shown["creation_date"].is_null() && shown["info_hash_v2"].is_null());
    assert_eq!(shown["files"][0]["path"], "cd1/01.bin");
    assert_eq!(shown["files"][0]["size"], 100_000);
    assert!(shown["files"][0]["attr"].is_string());
    assert!(shown["magnet"].as_str().unwrap().starts_with("magnet:?xt=urn:btih:"));
}

#[test]
fn a_torrent_can_go_through_pipes() {
    let mut desk = desk_with_album();
    let made = desk.run(&["create", "album/notes.txt", "-o", "-"]);
    desk.stdin = made.is(Exit::Done).bytes.clone();
    let shown = desk.run(&["show", "-", "--json"]);
    assert_eq!(shown.is(Exit::Done).json()["name"], "notes.txt");
}

#[test]
fn a_flipped_byte_a_missing_file_and_one_too_long_are_found() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "-o", "a.torrent", "--piece-length", "16k", "--hybrid"]).is(Exit::Done);
    let mut bytes = desk.read("album/cd1/01.bin");
    bytes[50_000] ^= 1;
    desk.write("album/cd1/01.bin", bytes);
    std::fs::remove_file(desk.path("album/cd2/02.bin")).unwrap();
    desk.write("album/notes.txt", "three words here\nand more");
    let verdict = desk.run(&["verify", "a.torrent", "album", "--json"]);
    let json = verdict.is(Exit::VerifyFailed).json();
    let status = |n: usize| json["files"][n]["status"].as_str().unwrap().to_owned();
    assert_eq!([status(0), status(1), status(2), status(3)], ["bad", "missing", "good", "long"]);
    assert_eq!(json["files"][0]["bad_pieces"][0], 3);
    assert_eq!(json["bad_files"].as_array().unwrap().len(), 3);
    assert!(json["bytes_bad"].as_u64().unwrap() < 110_000);
    let said = desk.run(&["verify", "a.torrent", "."]);
    assert!(said.is(Exit::VerifyFailed).stdout.contains("missing    cd2/02.bin"), "{}", said.stdout);
    desk.run(&["verify", "a.torrent", "nowhere"]).failed(Exit::NotFound, "nowhere");
}

/// As Transmission 3.00 leaves them: it makes a file when the first byte of it comes.
#[test]
fn an_empty_file_that_is_not_there_is_told_and_made_and_no_data_is_missing() {
    for format in ["--v1", "--hybrid"] {
        let desk = desk_with_album();
        desk.write("album/cd1/two", "");
        desk.run(&["create", "album", "-o", "a.torrent", format]).is(Exit::Done);
        let verify = |more: &[&str]| desk.run(&[&["verify", "a.torrent", "album"][..], more].concat());
        for name in ["album/empty", "album/cd1/two"] {
            std::fs::remove_file(desk.path(name)).unwrap();
        }
        let said = verify(&[]);
        let told = "absent     2 empty files: cd1/two, empty: no data is missing";
        assert!(said.is(Exit::Done).stdout.contains(told), "{}", said.stdout);
        assert!(said.stdout.contains("album  good: "), "{}", said.stdout);
        let json = verify(&["--json"]).is(Exit::Done).json();
        let status = |path: &str| {
            let files = json["files"].as_array().unwrap();
            files.iter().find(|file| file["path"] == path).unwrap()["status"].clone()
        };
        assert_eq!((status("empty"), status("cd1/01.bin")), ("absent".into(), "good".into()));
        assert_eq!((&json["bad"], json["bad_files"].as_array().unwrap().len()), (&0.into(), 0));

        // What is missing beside is missing, and something else in its place is not what the torrent says.
        let notes = desk.read("album/notes.txt");
        std::fs::remove_file(desk.path("album/notes.txt")).unwrap();
        let said = verify(&[]);
        assert!(said.is(Exit::VerifyFailed).stdout.contains("missing    notes.txt"), "{}", said.stdout);
        assert!(said.stdout.contains(told) && said.stdout.contains(" of 5 files differ"), "{}", said.stdout);
        desk.write("album/notes.txt", notes);
        std::fs::create_dir(desk.path("album/empty")).unwrap();
        let said = verify(&[]);
        assert!(said.is(Exit::VerifyFailed).stdout.contains("missing    empty"), "{}", said.stdout);
        std::fs::remove_dir(desk.path("album/empty")).unwrap();

        let words = ["get", "a.torrent", "-o", ".", "--check", "--no-trackers", "--json"];
        let made = desk.run(&[&words[..], &ALONE].concat());
        assert_eq!(made.is(Exit::Done).events("piece").len(), 0, "{format}");
        assert!(desk.read("album/empty").is_empty() && desk.read("album/cd1/two").is_empty());
        assert!(!verify(&[]).is(Exit::Done).stdout.contains("absent"));
    }
}

#[test]
fn verify_looks_at_the_chosen_files_only() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "-o", "a.torrent", "--piece-length", "16k"]).is(Exit::Done);
    let mut bytes = desk.read("album/cd1/01.bin");
    bytes[50_000] ^= 1;
    desk.write("album/cd1/01.bin", bytes);
    desk.run(&["verify", "a.torrent", "album"]).is(Exit::VerifyFailed);
    for choice in
        [&["--only", "cd2/"][..], &["--select", "2"], &["--exclude", "cd1", "--exclude", "notes.txt"]]
    {
        let words = [&["verify", "--json", "a.torrent", "album"][..], choice].concat();
        let json = desk.run(&words).is(Exit::Done).json();
        assert_eq!(json["files"][0]["path"], "cd2/02.bin", "{choice:?}");
        assert_eq!((&json["files"][0]["number"], &json["bad"]), (&2.into(), &0.into()), "{choice:?}");
        assert_eq!(json["pieces"], 5, "{choice:?}");
    }
    desk.run(&["verify", "a.torrent", "album", "--only", "cd1/"]).is(Exit::VerifyFailed);
    // What is shared with a file that is not there cannot be told, and is not called bad.
    std::fs::remove_file(desk.path("album/cd1/01.bin")).unwrap();
    let said = desk.run(&["verify", "a.torrent", "album", "--select", "2"]);
    assert!(said.is(Exit::Done).stdout.contains("unsure     1 piece: 6: shared with"), "{}", said.stdout);
}

#[test]
fn what_is_no_torrent_is_told_with_the_reason() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "-o", "a.torrent"]).is(Exit::Done);
    let whole = desk.read("a.torrent");
    desk.write("cut.torrent", &whole[..whole.len() / 2]);
    desk.write("page.torrent", "<!DOCTYPE html><title>404</title>");
    desk.write("empty.torrent", "");
    for command in ["show", "get"] {
        desk.run(&[command, "cut.torrent"]).failed(Exit::BadTorrent, "cut.torrent: not a usable torrent");
        desk.run(&[command, "page.torrent"]).failed(Exit::BadTorrent, "looks like a web page");
        desk.run(&[command, "empty.torrent"]).failed(Exit::BadTorrent, "empty");
        desk.run(&[command, "album"]).failed(Exit::BadTorrent, "is a folder");
        desk.run(&[command, "no.torrent"]).failed(Exit::NotFound, "no.torrent");
        desk.run(&[command, "-"]).failed(Exit::BadTorrent, "standard input");
    }
    desk.run(&["shwo", "a.torrent"]).failed(Exit::Usage, "did you mean `ferriswarm show`?");
    desk.run(&["get", "shwo"]).failed(Exit::NotFound, "did you mean the command `show`?");
}

#[test]
fn magnet_links_that_are_none_are_refused_with_the_parameter_at_fault() {
    let desk = Desk::new();
    desk.run(&["magnet:?xt=urn:btih:0123&dn=x"]).failed(Exit::BadMagnet, "not a usable magnet link");
    desk.run(&["magnet:?dn=x"]).failed(Exit::BadMagnet, "not a usable magnet link");
    desk.run(&["torrent", "magnet:?dn=x"]).failed(Exit::BadMagnet, "not a usable magnet link");
}

#[test]
fn a_magnet_link_is_shown_and_made_without_asking_anybody() {
    let desk = desk_with_album();
    let hash = "0123456789012345678901234567890123456789";
    let link = format!("magnet:?xt=urn:btih:{hash}&dn=x");
    let shown = desk.run(&["show", "--json", &link]).is(Exit::Done).json();
    assert_eq!((&shown["info_hash_v1"], &shown["name"]), (&hash.into(), &"x".into()));
    assert_eq!(desk.run(&["magnet", hash]).is(Exit::Done).stdout, format!("magnet:?xt=urn:btih:{hash}\n"));

    desk.run(&["create", "album", "-o", "a.torrent", "-t", "http://a.example/x"]).is(Exit::Done);
    let link = desk.run(&["magnet", "a.torrent"]).is(Exit::Done).stdout.clone();
    let torrent = desk.run(&["show", "--json", "a.torrent"]).json();
    assert_eq!(torrent["magnet"], link.trim_end());
    let shown = desk.run(&["show", "--json", link.trim_end()]).json();
    assert_eq!(shown["info_hash_v1"], torrent["info_hash_v1"]);
    assert_eq!(shown["trackers"], torrent["trackers"]);
}

#[test]
fn what_needs_the_torrent_itself_says_how_to_get_it() {
    let desk = Desk::new();
    let hash = "0123456789012345678901234567890123456789";
    for words in [&["verify", hash][..], &["seed", hash]] {
        desk.run(words).failed(Exit::BadMagnet, "ferriswarm torrent MAGNET");
    }
    desk.write("a", "x");
    desk.run(&["create", "a", "-o", "a.torrent"]).is(Exit::Done);
    desk.run(&["torrent", "a.torrent"]).failed(Exit::Usage, "is a torrent already");
}

#[test]
fn with_json_a_failure_is_an_event_too() {
    let desk = Desk::new();
    let failed = desk.run(&["get", "--json", "no.torrent"]);
    assert_eq!(failed.is(Exit::NotFound).events("failed")[0]["code"], 3);
    assert!(failed.stderr.starts_with("error: "), "{}", failed.stderr);
}

#[test]
fn command_lines_that_make_no_sense_exit_2() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "-o", "a.torrent"]).is(Exit::Done);
    let wrong: [&[&str]; 21] = [
        &[],
        &["get"],
        &["get", "a.torrent", "--down", "fast"],
        &["get", "a.torrent", "--seed-time", "10"],
        &["get", "a.torrent", "--seed-ratio", "-1"],
        &["get", "a.torrent", "--select", "0"],
        &["get", "a.torrent", "--select", "99"],
        &["get", "a.torrent", "--only", "*.mkv"],
        &["get", "a.torrent", "--only", "*", "--select", "1"],
        &["get", "a.torrent", "--peer", "localhost"],
        &["get", "a.torrent", "--tracker", "ftp://x"],
        &["get", "a.torrent", "--memory", "1"],
        &["show", "a.torrent", "-q", "-v"],
        &["create", "album", "--v1", "--v2"],
        &["sede", "a.torrent"],
        &["get", "a.torrent", "--exclude", "*"],
        &["get", "a.torrent", "--priority", "99=high"],
        &["get", "a.torrent", "--priority", "1=soon"],
        &["verify", "a.torrent", "album", "--only", "cd3/"],
        &["seed", "a.torrent", "album", "--down", "1M"],
        &["show", "a.torrent", "--peer", "127.0.0.1:1"],
    ];
    for words in wrong {
        let outcome = desk.run(words);
        outcome.failed(Exit::Usage, "");
        assert!(!outcome.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn failures_say_what_to_do_next() {
    let desk = desk_with_album();
    desk.run(&["create", "album", "-o", "a.torrent"]).is(Exit::Done);
    desk.write("cut.torrent", "d4:info");
    let failing: [&[&str]; 13] = [
        &["get", "no.torrent"],
        &["get", "cut.torrent"],
        &["get", "album"],
        &["get", "a.torrent", "--select", "99"],
        &["get", "a.torrent", "--only", "*.mkv"],
        &["seed", "a.torrent", "no-such-folder"],
        &["seed", "a.torrent", "album/notes.txt"],
        &["verify", "a.torrent", "no-such-folder"],
        &["create", "album", "-o", "a.torrent"],
        &["create", "album", "-o", "-", "--json"],
        &["magnet:?dn=x"],
        &["torrent", "a.torrent"],
        &["nonsense"],
    ];
    for words in failing {
        let outcome = desk.run(words);
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert!(lines.len() == 2 && lines[1].starts_with("  "), "{words:?}: {}", outcome.stderr);
    }
}

#[test]
fn help_goes_to_standard_output_and_names_the_exit_codes() {
    let desk = Desk::new();
    for words in [&["--help"][..], &["get", "--help"], &["help", "seed"], &["-V"], &["demo", "-h"]] {
        let outcome = desk.run(words);
        assert_eq!(outcome.is(Exit::Done).stderr, "", "{words:?}");
        assert!(!outcome.stdout.is_empty() && !outcome.stdout.contains('\u{1b}'), "{words:?}");
    }
    assert!(desk.run(&["--help"]).stdout.contains("130 ended at once by a second Ctrl-C"));
}

#[test]
fn completions_and_the_manual_know_all_commands() {
    let desk = Desk::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(desk.run(&["completions", shell]).is(Exit::Done).stdout.contains("verify"), "{shell}");
    }
    let man = desk.run(&["man"]);
    assert!(!man.is(Exit::Done).stdout.contains(".SH EXTRA"));
    let commands = "get seed create show torrent magnet verify tracker demo replay completions man";
    let dht = ["dht", "dht node", "dht get", "dht put"];
    for command in commands.split(' ').chain(dht) {
        let head = format!("\n.SH FERRISWARM {}\n", command.to_uppercase());
        let (_, part) = man.stdout.split_once(&head).unwrap_or_else(|| panic!("{command} is not there"));
        let part = part.split("\n.SH ").next().unwrap();
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = desk.run(&words);
        let lines = help.stdout.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        let flags = lines.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--")));
        let flags: Vec<&str> = flags.map(|flag| flag.trim_end_matches('.')).collect();
        assert!(flags.contains(&"--help"), "{command}: {flags:?}");
        for flag in flags {
            assert!(part.contains(&flag.replace('-', "\\-")), "{command} {flag}");
        }
    }
}

#[test]
fn quiet_commands_print_nothing_but_their_answer() {
    let desk = desk_with_album();
    assert_eq!(desk.run(&["-q", "create", "album", "-o", "a.torrent"]).is(Exit::Done).stdout, "");
    assert_eq!(desk.run(&["verify", "-q", "a.torrent", "album"]).is(Exit::Done).stdout, "");
    assert!(desk.run(&["show", "-q", "a.torrent"]).stdout.contains("album"));
}

/// A torrent whose names try everything, written by hand because nothing here would make one.
fn hostile() -> Vec<u8> {
    let name = "a\u{1b}[2Jb\u{9b}31m\u{202e}gpj.exe\r\n";
    let text = |s: &str| format!("{}:{s}", s.len());
    let file = format!("d6:lengthi5e4:pathl{}{}ee", text("..\u{1b}]0;x\u{7}"), text(name));
    let info =
        format!("d5:filesl{file}e4:name{}12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae", text(name));
    format!("d7:comment{}10:created by{}4:info{info}e", text(name), text(name)).into_bytes()
}

#[test]
fn hostile_names_reach_no_terminal_unharmed() {
    let desk = Desk::new();
    desk.write("h.torrent", hostile());
    for words in [
        &["show", "h.torrent"][..],
        &["show", "--json", "h.torrent"],
        &["verify", "h.torrent", "."],
        &["verify", "--json", "h.torrent", "."],
        &["get", "h.torrent", "--only", "nothing"],
    ] {
        let outcome = desk.run(words);
        let printed = format!("{}{}", outcome.stdout, outcome.stderr);
        let bad =
            printed.chars().find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c));
        assert_eq!(bad, None, "{words:?}: {printed:?}");
    }
    let shown = desk.run(&["show", "--json", "h.torrent"]).json();
    assert_eq!(shown["name"], "a\u{1b}[2Jb\u{9b}31m\u{202e}gpj.exe\r\n");
}

#[test]
fn somebody_elses_file_is_not_overwritten() {
    let desk = desk_with_album();
    desk.run(&["create", "album/cd1/01.bin", "-o", "a.torrent"]).is(Exit::Done);
    desk.write("here/01.bin", noise(100_000, 99));
    let get = [&["get", "a.torrent", "-o", "here", "--no-trackers"][..], &ALONE].concat();
    let refused = desk.run(&get);
    let said = &refused.is(Exit::WouldOverwrite).stderr;
    assert!(
        said.contains("here/01.bin: this file is there already and holds nothing of this torrent"),
        "{said}"
    );
    desk.write("here/01.bin", noise(100_001, 1));
    let refused = desk.run(&get);
    let said = &refused.is(Exit::WouldOverwrite).stderr;
    assert!(said.contains("is longer") && said.contains("--overwrite"), "{said}");
    assert_eq!(desk.read("here/01.bin"), noise(100_001, 1));
}
