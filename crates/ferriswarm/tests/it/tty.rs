//! The real binary: under a pseudo-terminal, through a pipe, and with signals.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs the program with `words` under a terminal of 80 columns that Python's `pty` makes, sends Ctrl-C `presses`
/// times (a third of a second apart) once `after` was seen, and prints what the terminal got.
const TERMINAL: &str = r#"
import os, pty, select, struct, sys, termios, fcntl, time
after, presses, words = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(words[0], words)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
seen, pressed_at, end = b'', 0.0, time.time() + 60
while time.time() < end:
    if select.select([terminal], [], [], 0.05)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    if presses and after in seen and time.time() - pressed_at > 0.33:
        os.write(terminal, b'\x03')
        presses, pressed_at = presses - 1, time.time()
status = os.waitpid(pid, 0)[1]
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"#;

struct Seen {
    code: i32,
    text: String,
}

fn in_a_terminal(after: &str, presses: u32, words: &[&str], folder: &std::path::Path) -> Seen {
    let output = Command::new("python3")
        .args(["-c", TERMINAL, after, &presses.to_string(), env!("CARGO_BIN_EXE_ferriswarm")])
        .args(words)
        .env("TMPDIR", folder)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .current_dir(folder)
        .output()
        .unwrap();
    Seen { code: output.status.code().unwrap(), text: String::from_utf8_lossy(&output.stdout).into_owned() }
}

fn through_a_pipe(words: &[&str], folder: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferriswarm"));
    command.args(words).env("TMPDIR", folder).current_dir(folder).output().unwrap()
}

#[test]
fn a_terminal_gets_a_line_that_rewrites_itself_and_a_pipe_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["demo", "--size", "48M"];
    let seen = in_a_terminal("", 0, &words, folder.path());
    assert_eq!(seen.code, 0, "{}", seen.text);
    let drawn = seen.text.matches("demo.bin  ").count();
    assert!(seen.text.contains("\u{1b}[K") && seen.text.contains('↓'), "{:?}", seen.text);
    assert!(drawn < 200, "{drawn} redraws in a few seconds");

    let piped = through_a_pipe(&words, folder.path());
    let text = String::from_utf8(piped.stdout).unwrap();
    assert!(piped.status.success(), "{text}");
    assert!(!text.contains('\r') && !text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("what arrived is what was sent"), "{text}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let seen = in_a_terminal("", 0, &["demo", "--size", "24M"], folder.path());
    let plain = seen.text.replace("\u{1b}[K", "").replace("\u{1b}[J", "");
    let live: Vec<&str> = plain.split(['\r', '\n']).filter(|line| line.contains("ETA")).collect();
    assert!(!live.is_empty(), "{:?}", seen.text);
    for line in live {
        assert!(line.chars().count() <= 80 && line.trim_end().chars().count() < 80, "{line:?}");
    }
}

#[test]
fn the_first_ctrl_c_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let seen = in_a_terminal("seeder    Cleo", 1, &["demo", "--size", "200M"], folder.path());
    assert_eq!(seen.code, 7, "{}", seen.text);
    assert!(seen.text.contains("nothing is left behind"), "{}", seen.text);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let bold = "\u{1b}[1m";
    let make = ["demo", "--size", "1M"];
    assert!(in_a_terminal("", 0, &make, folder.path()).text.contains(bold));
    let words = ["-c", TERMINAL, "", "0", env!("CARGO_BIN_EXE_ferriswarm")];
    let mut command = Command::new("python3");
    let output = command.args(words).args(make).env("NO_COLOR", "1").env("TMPDIR", folder.path()).output();
    assert!(!String::from_utf8_lossy(&output.unwrap().stdout).contains(bold));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferriswarm"))
        .arg("man")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn standard_input_can_be_a_torrent() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferriswarm"))
        .args(["show", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"this is none").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(26));
    assert!(
        String::from_utf8_lossy(&output.stderr).starts_with("error: standard input: not a usable torrent")
    );
}
