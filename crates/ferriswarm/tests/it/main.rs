//! The program from outside: most commands run inside the test's own process, a few as the real binary.

mod batch;
mod bind;
mod create;
mod dht;
mod json_page;
mod killed;
mod magnet;
mod many_files;
mod names;
mod offline;
mod output;
mod places;
mod scrape;
mod secrets;
mod sources;
#[path = "../../src/stutter.rs"]
mod stutter;
mod swarm;
mod told_twice;
mod tracker;
mod tty;

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ferriswarm::{Env, Exit, Input, InterruptSource, Sink, Width};
use tempfile::TempDir;
use tokio::sync::watch;

/// A folder of its own, and commands that run in it.
struct Desk {
    folder: TempDir,
    stdin: Vec<u8>,
    is_tty: bool,
    /// How often Ctrl-C was pressed before the command begins.
    presses: u32,
}

/// What a command printed and how it ended.
#[derive(Debug)]
struct Outcome {
    exit: Exit,
    stdout: String,
    stderr: String,
    /// `stdout` as it was.
    bytes: Vec<u8>,
}

#[allow(clippy::unwrap_used)]
impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), stdin: Vec::new(), is_tty: false, presses: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// `words` without the program's name.
    fn run(&self, words: &[&str]) -> Outcome {
        self.start(words).finish()
    }

    /// Runs on a thread of its own, to be interrupted.
    fn start(&self, words: &[&str]) -> Running {
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let (press, presses) = watch::channel(self.presses);
        let state = self.path("state-home");
        let env = Env {
            args: std::iter::once(&"ferriswarm").chain(words).map(Into::into).collect(),
            dir: self.folder.path().to_owned(),
            stdin: Input(Box::new(Cursor::new(self.stdin.clone()))),
            stdout: Sink::new(stdout.clone()),
            stderr: Sink::new(stderr.clone()),
            is_tty: self.is_tty,
            is_err_tty: false,
            width: Width::Fixed(100),
            vars: BTreeMap::from([
                ("XDG_STATE_HOME".into(), state.into()),
                ("TMPDIR".into(), self.folder.path().into()),
            ]),
            interrupts: InterruptSource::Count(presses),
            start_logging: |_, _| {},
        };
        let thread = std::thread::spawn(move || ferriswarm::run(env));
        Running { thread, press, stdout, stderr }
    }
}

struct Running {
    thread: std::thread::JoinHandle<Exit>,
    press: watch::Sender<u32>,
    stdout: Captured,
    stderr: Captured,
}

#[allow(clippy::unwrap_used)]
impl Running {
    fn interrupt(&self) {
        self.press.send_modify(|count| *count += 1);
    }

    /// Two at once: between two single ones a fast program ends by itself.
    fn interrupt_twice(&self) {
        self.press.send_modify(|count| *count += 2);
    }

    /// Waits until `text` was printed on standard output, and returns all that was.
    fn wait_for(&self, text: &str) -> String {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let stdout = self.stdout.text();
            if stdout.contains(text) {
                return stdout;
            }
            let stderr = self.stderr.text();
            assert!(!self.thread.is_finished(), "ended before {text:?}: {stdout}{stderr}");
            assert!(std::time::Instant::now() < deadline, "{text:?} never came: {stdout}{stderr}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn finish(self) -> Outcome {
        let exit = self.thread.join().unwrap();
        let (stdout, stderr, bytes) = (self.stdout.text(), self.stderr.text(), self.stdout.bytes());
        Outcome { exit, stdout, stderr, bytes }
    }
}

/// Flags with which a command talks only to addresses that a test names.
const ALONE: [&str; 7] = ["--bind", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd", "--no-port-mapping"];

/// Longer than anything here takes on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

#[allow(clippy::unwrap_used)]
impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

#[allow(clippy::unwrap_used)]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Outcome {
    #[track_caller]
    fn is(&self, exit: Exit) -> &Self {
        assert_eq!(self.exit, exit, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Failed with `exit`, telling why on standard error and nothing on standard output.
    #[track_caller]
    fn failed(&self, exit: Exit, why: &str) -> &Self {
        self.is(exit);
        assert!(self.stderr.contains(why), "{why:?} is not in {:?}", self.stderr);
        assert_eq!(self.stdout, "");
        self
    }

    #[allow(clippy::unwrap_used)]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The JSON lines of one kind.
    #[allow(clippy::unwrap_used)]
    fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let lines = self.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|event| event["event"] == kind).collect()
    }
}

/// Bytes that look random and are the same every time.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Names below `folder`, for finding out what was left behind.
#[allow(clippy::unwrap_used)]
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
