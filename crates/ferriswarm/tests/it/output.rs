//! Output that cannot be written decides about no transfer, and fails only what is nothing but output.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ferriswarm::Exit;

use crate::swarm::{SIZE, desk_with_payload, seed, stop};
use crate::{ALONE, Desk, PATIENCE, noise};

/// A stream that takes nothing.
#[derive(Debug, Clone, Copy)]
enum Dead {
    /// A disk without room.
    Full,
    /// A pipe whose reader has left.
    Left,
    /// The descriptor was closed before the program began.
    Closed,
}

const DEAD: [Dead; 3] = [Dead::Full, Dead::Left, Dead::Closed];

impl Dead {
    fn stream(self) -> Stdio {
        match self {
            Self::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            Self::Left => {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                writer.into()
            }
            // Closed by the shell below.
            Self::Closed => Stdio::null(),
        }
    }
}

fn program(desk: &Desk, words: &[&str], dead: Dead) -> Command {
    let binary = env!("CARGO_BIN_EXE_ferriswarm");
    let mut command = match dead {
        Dead::Closed => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-", binary]);
            shell
        }
        Dead::Full | Dead::Left => Command::new(binary),
    };
    command.args(words).current_dir(desk.folder.path()).env("XDG_STATE_HOME", desk.path("state-home"));
    command.env("TMPDIR", desk.folder.path()).stdin(Stdio::null());
    command
}

/// The exit code of the program when neither stream takes anything.
fn code(desk: &Desk, words: &[&str], dead: Dead) -> i32 {
    let mut command = program(desk, words, dead);
    command.stdout(dead.stream()).stderr(dead.stream()).status().unwrap().code().unwrap()
}

#[test]
fn what_is_nothing_but_output_fails_when_it_cannot_be_written_unless_its_reader_left() {
    let desk = desk_with_payload();
    for words in [
        &["--help"][..],
        &["get", "--help"],
        &["--version"],
        &["man"],
        &["completions", "bash"],
        &["show", "p.torrent"],
        &["show", "--json", "p.torrent"],
        &["magnet", "p.torrent"],
        &["create", "there", "-o", "-"],
        &["verify", "--json", "p.torrent", "there"],
    ] {
        assert_eq!(code(&desk, words, Dead::Full), 9, "{words:?}");
        assert_eq!(code(&desk, words, Dead::Left), 0, "{words:?}");
        // The system library gives the program /dev/null instead.
        assert_eq!(code(&desk, words, Dead::Closed), 0, "{words:?}");
    }
}

#[test]
fn what_leaves_more_behind_than_output_ends_as_if_it_were_read() {
    let desk = desk_with_payload();
    desk.write("other/payload.bin", noise(SIZE, 8));
    desk.run(&["demo", "--size", "1M", "--trace", "t.jsonl"]).is(Exit::Done);
    for dead in DEAD {
        for (words, expected) in [
            (&["create", "there", "-f", "-o", "c.torrent"][..], 0),
            (&["create", "there", "-f", "-o", "c.torrent", "--json"], 0),
            (&["verify", "p.torrent", "there"], 0),
            (&["verify", "p.torrent", "other"], 32),
            (&["verify", "--json", "p.torrent", "other"], 32),
            (&["demo", "--size", "1M"], 0),
            (&["demo", "--size", "1M", "--explain", "-vv"], 0),
            (&["replay", "t.jsonl"], 0),
            (&["show", "no.torrent"], 3),
            (&["get", "--no-such-flag"], 2),
        ] {
            assert_eq!(code(&desk, words, dead), expected, "{dead:?} {words:?}");
        }
    }
}

#[test]
fn a_download_does_not_care_whether_anybody_reads_about_it() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    for dead in DEAD {
        for flags in [&[][..], &["--json"], &["-v"], &["-vv", "--json"], &["-q"]] {
            let words = ["get", "p.torrent", "-o", "here", "--no-trackers", "--peer", &peer];
            assert_eq!(code(&desk, &[&words[..], &ALONE, flags].concat(), dead), 0, "{dead:?} {flags:?}");
            assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
            std::fs::remove_dir_all(desk.path("here")).unwrap();
            std::fs::remove_dir_all(desk.path("state-home")).unwrap();
        }
    }
    stop(seeder);
}

#[test]
fn serving_ends_at_its_time_though_nobody_downloads() {
    let desk = desk_with_payload();
    for dead in DEAD {
        let started = Instant::now();
        let words = ["seed", "p.torrent", "there", "--no-trackers", "--seed-time", "1s"];
        assert_eq!(code(&desk, &[&words[..], &ALONE].concat(), dead), 0, "{dead:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
    // What is complete already is served for that long too.
    let words = ["get", "p.torrent", "-o", "there", "--no-trackers", "--seed-time", "1s"];
    let outcome = desk.run(&[&words[..], &ALONE].concat());
    assert!(outcome.is(Exit::Done).stdout.contains("seeding on port"), "{}", outcome.stdout);
}

/// How many peers a tracker of ours knows.
fn peers_known(addr: &str) -> u32 {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /stats?format=text HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let peers = page.lines().find_map(|line| line.strip_prefix("peers ")).unwrap();
    // Of how many there can be stands behind it.
    peers.split_whitespace().next().unwrap().parse().unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a download that finds no peer, with dead streams, and returns once the tracker knows it.
fn lonely(desk: &Desk, url: &str, addr: &str, dead: Dead, before: &str) -> Child {
    let words = [&["get", "p.torrent", "-o", "here", "--tracker", url][..], &ALONE].concat();
    let program = program(desk, &words, dead);
    // The tests may run where SIGHUP is ignored, as under `nohup`; a shell cannot undo that, `env` can.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", "sh", "-c", &format!("{before} exec \"$0\" \"$@\"")]);
    command.arg(program.get_program()).args(program.get_args()).current_dir(desk.folder.path());
    command.stdin(Stdio::null()).env("XDG_STATE_HOME", desk.path("state-home"));
    command.env("TMPDIR", desk.folder.path());
    let child = command.stdout(dead.stream()).stderr(dead.stream()).process_group(0).spawn().unwrap();
    wait_until("the announce", || peers_known(addr) == 1);
    child
}

fn signal(child: &Child, name: &str) {
    Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
}

#[test]
fn every_signal_to_stop_tells_the_trackers_though_nobody_reads_about_it() {
    let desk = desk_with_payload();
    let tracker = desk.start(&["tracker", "--listen", "127.0.0.1:0"]);
    let said = tracker.wait_for("stats");
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let addr = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    for (dead, name) in
        [(Dead::Full, "INT"), (Dead::Left, "TERM"), (Dead::Left, "HUP"), (Dead::Closed, "HUP")]
    {
        let mut child = lonely(&desk, &url, &addr, dead, "");
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(7), "{dead:?} {name}");
        assert_eq!(peers_known(&addr), 0);
    }
    // As `nohup` has it.
    let mut child = lonely(&desk, &url, &addr, Dead::Full, "trap '' HUP;");
    signal(&child, "HUP");
    signal(&child, "HUP");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it ended though it was told to ignore this");
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(peers_known(&addr), 0);
    stop(tracker).is(Exit::Done);
}

#[test]
fn a_reader_that_stops_reading_holds_up_neither_the_download_nor_its_end() {
    let desk = desk_with_payload();
    let (seeder, peer) = seed(&desk, &[]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    // What the pipe takes is used up before.
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let words = ["get", "p.torrent", "-o", "here", "--no-trackers", "--json", "--peer", &peer];
    let mut command = program(&desk, &[&words[..], &ALONE].concat(), Dead::Full);
    let status = command.stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(desk.read("here/payload.bin"), noise(SIZE, 7));
    drop(reader);
    stop(seeder);
}
