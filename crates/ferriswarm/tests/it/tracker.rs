//! `tracker`: what it says, which clients it refuses, and what signals do.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use ferriswarm::Exit;
use rustix::process::{Pid, Signal, kill_process};

use super::{Desk, PATIENCE};

/// The body of what is answered to `target` at an announce address such as `http://127.0.0.1:6969/announce`.
fn get(announce: &str, target: &str) -> String {
    let addr = announce.trim().trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn announce(byte: u8, peer: u8) -> String {
    let (hash, id) = (format!("%{byte:02x}").repeat(20), format!("%{peer:02x}").repeat(20));
    format!("/announce?info_hash={hash}&peer_id={id}&port={}&left=0", 7000 + u16::from(peer))
}

/// The first announce address that a tracker tells.
fn address(said: &str) -> String {
    let line = said.lines().find(|line| line.starts_with("tracker")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn it_names_addresses_that_work_and_ends_when_asked() {
    let desk = Desk::new();
    let running = desk.start(&["tracker", "-l", "0.0.0.0:0", "--workers", "1"]);
    let said = running.wait_for("stats ");
    assert!(!said.contains("0.0.0.0") && said.contains("udp://"), "{said}");
    assert!(get(&address(&said), &announce(1, 1)).contains("8:interval"));
    running.interrupt();
    let outcome = running.finish();
    outcome.is(Exit::Done);
    assert!(outcome.stdout.contains("stopped; knew 1 swarm, 1 peer\n"), "{}", outcome.stdout);
}

#[test]
fn who_listens_on_this_machine_only_or_keeps_nothing_is_told_so() {
    let desk = Desk::new();
    let running = desk.start(&["tracker", "-l", "127.0.0.1:0", "--listen", "localhost:0"]);
    let said = running.wait_for("nothing is kept for a restart");
    assert!(said.contains("only this machine can reach it"), "{said}");
    assert!(said.matches("http://").count() >= 3, "{said}");
    running.interrupt();
    running.finish().is(Exit::Done);
}

#[test]
fn what_it_cannot_begin_with_is_named_with_the_next_step() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let refused = desk.run(&["tracker", "-l", &taken]);
    refused.failed(Exit::Network, &taken).failed(Exit::Network, "choose another port");
    let at = ["tracker", "-l", "127.0.0.1:0"];
    let with = |words: &[&str]| desk.run(&[&at[..], words].concat());
    with(&["--allow", "none"]).failed(Exit::NotFound, "none");
    desk.write("bad", format!("{}\nxyz\n", "ab".repeat(20)));
    with(&["--deny", "bad"]).failed(Exit::Usage, "line 2: \"xyz\"").failed(Exit::Usage, "mend the line");
    let unreachable = with(&["--deny", "http://127.0.0.1:1/list?key=s3cret"]);
    unreachable.failed(Exit::Network, "cannot fetch it: Connection refused");
    assert!(!unreachable.stderr.contains("s3cret"), "{}", unreachable.stderr);
    desk.write("users", "secret-key peers=many\n");
    with(&["--passkeys", "users"]).failed(Exit::Usage, "line 1: peers= needs a number");
    with(&["--interval", "1s"]).failed(Exit::Usage, "1m");
    with(&["--interval", "1h", "--peer-lifetime", "10m"]).failed(Exit::Usage, "--peer-lifetime");
    with(&["--behind-proxy", "10.0.0.0/40"]).failed(Exit::Usage, "bits");
    with(&["--tls-cert", "bad"]).failed(Exit::Usage, "--tls-key");
    with(&["--listen-tls", "127.0.0.1:0"]).failed(Exit::Usage, "--tls-cert");
    with(&["--listen-tls", "127.0.0.1:0", "--tls-cert", "bad", "--tls-key", "bad"])
        .failed(Exit::Usage, "bad");
    with(&["--allow", "ftp://x/list"]).failed(Exit::Usage, "ftp://").failed(Exit::Usage, "https://");
    with(&["--tls-cert", "bad", "--tls-key", "bad"]).failed(Exit::Usage, "--listen-tls");
    with(&["--interval", "13h", "--peer-lifetime", "26h", "--deny", "none"]).failed(Exit::NotFound, "none");
    with(&["--peer-lifetime", "4d"]).failed(Exit::Usage, "3d");
    desk.run(&["tracker", "-l", "::1:80"]).failed(Exit::Usage, "[::]:6969");
}

#[test]
fn who_keeps_something_or_wants_nothing_kept_is_not_told_that_nothing_is() {
    let desk = Desk::new();
    for words in [&["--state", "peers"][..], &["--no-state"]] {
        let running = desk.start(&[&["tracker", "-l", "127.0.0.1:0"], words].concat());
        running.wait_for("only this machine can reach it");
        running.interrupt();
        let outcome = running.finish();
        outcome.is(Exit::Done);
        assert!(!outcome.stdout.contains("nothing is kept"), "{}", outcome.stdout);
    }
}

#[test]
fn behind_a_proxy_the_greeting_says_that_torrents_name_the_proxy() {
    let desk = Desk::new();
    for (words, is_told) in [(&["--behind-proxy", "127.0.0.1"][..], true), (&[], false)] {
        let running = desk.start(&[&["tracker", "-l", "127.0.0.1:0", "--no-state"], words].concat());
        running.wait_for("stats ");
        running.interrupt();
        let outcome = running.finish();
        assert_eq!(outcome.stdout.contains("put the proxy's public address"), is_told, "{}", outcome.stdout);
        assert_eq!(outcome.stdout.contains("only this machine can reach it"), !is_told, "{}", outcome.stdout);
    }
}

#[test]
fn addresses_that_clients_name_are_believed_where_that_is_wanted() {
    let desk = Desk::new();
    for (words, named) in
        [(&[][..], false), (&["--believe-ip", "loopback"], true), (&["--believe-ip", "private"], true)]
    {
        let running = desk.start(&[&["tracker", "-l", "127.0.0.1:0", "--no-state"], words].concat());
        let at = address(&running.wait_for("stats "));
        get(&at, &format!("{}&ip=192.0.2.77", announce(1, 1)));
        let told = get(&at, &announce(1, 2).replace("left=0", "left=1&compact=0"));
        assert_eq!(told.contains("2:ip10:192.0.2.77"), named, "{words:?}: {told}");
        running.interrupt();
        running.finish().is(Exit::Done);
    }
    desk.run(&["tracker", "--believe-ip", "all"]).failed(Exit::Usage, "private");
}

/// The program as a process of its own, and its first announce address.
fn spawn(desk: &Desk, words: &[&str]) -> (Child, String, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferriswarm"))
        .arg("tracker")
        .args(words)
        .current_dir(desk.folder.path())
        .env("XDG_STATE_HOME", desk.path("state-home"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    (child, address(&line), lines)
}

/// A list of torrents, as if it had been written some time ago: no more is waited for.
fn write_list(desk: &Desk, name: &str, bytes: &[&str]) {
    desk.write(name, bytes.iter().map(|byte| format!("{}\n", byte.repeat(20))).collect::<String>());
    let long_ago = SystemTime::now() - Duration::from_secs(100);
    File::options().write(true).open(desk.path(name)).unwrap().set_modified(long_ago).unwrap();
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn sighup_reads_the_lists_again_and_sigterm_ends_it() {
    let desk = Desk::new();
    write_list(&desk, "deny", &["01"]);
    let (mut child, at, mut lines) = spawn(&desk, &["-l", "127.0.0.1:0", "--deny", "deny"]);
    assert!(get(&at, &announce(1, 1)).contains("failure reason"));
    write_list(&desk, "deny", &["02", "03"]);
    signal(&child, Signal::HUP);
    let mut line = String::new();
    while !line.contains("deny) was read: 2 entries") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0);
    }
    assert!(get(&at, &announce(1, 1)).contains("8:interval"));
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopped; knew 1 swarm, 1 peer"), "{rest}");
}

#[test]
fn sigterm_and_a_kill_after_it_lose_nobody() {
    let desk = Desk::new();
    let words = ["-l", "127.0.0.1:0", "--state", "kept/peers"];
    let begin = || spawn(&desk, &words);
    let (mut child, at, _lines) = begin();
    assert!(get(&at, &announce(1, 1)).contains("8:interval"));
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    // Killed without a chance to write.
    let (mut child, _, _lines) = begin();
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let (mut child, at, mut lines) = begin();
    assert!(get(&at, &announce(1, 2)).contains("5:peers6:"));
    signal(&child, Signal::TERM);
    child.wait().unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("peers known from the last run: 1\n"), "{rest}");
    assert!(rest.contains("stopped; knew 1 swarm, 2 peers"), "{rest}");
    // Its state goes where --state says, and nowhere by default when any port will do.
    assert!(!desk.path("state-home").exists());
    desk.write("kept/peers", "nonsense");
    let (child, at, _lines) = begin();
    assert!(get(&at, &announce(1, 1)).contains("8:interval"));
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("kept/peers cannot be used") && said.contains("kept/peers.damaged"), "{said}");
    desk.run(&["tracker", "-l", "127.0.0.1:0", "--state", "kept/peers/x"]).failed(Exit::Io, "--no-state");
}

/// The number behind `name` in a line such as `KEY peers=3 torrents=1`.
fn limit(line: &str, name: &str) -> u32 {
    let value = line.split(name).nth(1).unwrap();
    value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn limits_of_the_read_me_lock_out_nobody_and_the_help_says_what_they_count() {
    let text = include_str!("../../../../README.md");
    let line = text.lines().find(|line| line.contains("torrents=")).unwrap();
    let (peers, torrents) = (limit(line, "peers="), limit(line, "torrents="));
    assert!(2 * torrents <= peers, "a client of both families has two peers a torrent: {line}");
    let (key, limits) = line.split_once('\'').unwrap().1.split_once('\'').unwrap().0.split_once(' ').unwrap();
    let desk = Desk::new();
    desk.write("users", format!("{key} {limits}\nsmall-key peers=2\n"));
    let running = desk.start(&["tracker", "-l", "127.0.0.1:0", "--passkeys", "users"]);
    let at = address(&running.wait_for("stats ")).replace("KEY/", "");
    for torrent in 1..=100 {
        assert!(get(&at, &format!("/{key}{}", announce(torrent, 1))).contains("8:interval"), "{torrent}");
    }
    assert!(get(&at, &format!("/small-key{}", announce(201, 1))).contains("8:interval"));
    assert!(get(&at, &format!("/small-key{}", announce(202, 1))).contains("8:interval"));
    let refused = get(&at, &format!("/small-key{}", announce(203, 1)));
    assert!(refused.contains("may have 2 peers, one a torrent and client"), "{refused}");
    running.interrupt();
    running.finish().is(Exit::Done);
    let help = desk.run(&["tracker", "--help"]).stdout;
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("A peer is one client in one torrent"), "{help}");
}

#[test]
fn a_second_tracker_with_the_same_state_is_refused() {
    let desk = Desk::new();
    let words = ["tracker", "-l", "127.0.0.1:0", "--state", "peers"];
    let running = desk.start(&words);
    running.wait_for("stats ");
    desk.run(&words).failed(Exit::AlreadyRunning, "another tracker").failed(Exit::AlreadyRunning, "--state");
    running.interrupt();
    running.finish().is(Exit::Done);
}
