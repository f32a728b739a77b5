//! What a command may touch: arguments, folder, streams, terminal, variables, interrupts. All of it is handed
//! in, so that tests run commands inside their own process and look at what came out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::sink::{Sink, Standard};

/// The surroundings of one run of the program.
#[derive(Debug)]
pub struct Env {
    /// The words typed, the program's name first.
    pub args: Vec<OsString>,
    /// The folder that relative paths start from.
    pub dir: PathBuf,
    /// Standard input, for the source `-`.
    pub stdin: Input,
    /// What people and scripts read.
    pub stdout: Sink,
    /// Errors, warnings and logs.
    pub stderr: Sink,
    /// Standard output is a terminal: lines may be rewritten in place.
    pub is_tty: bool,
    /// Standard error is a terminal: it may be coloured.
    pub is_err_tty: bool,
    /// Columns of the terminal.
    pub width: Width,
    /// Environment variables. `HOME`, `XDG_STATE_HOME`, `NO_COLOR` and `TERM` are looked at.
    pub vars: BTreeMap<OsString, OsString>,
    /// Where Ctrl-C comes from.
    pub interrupts: InterruptSource,
    /// Called once with the number of `-v`, and where logs go, when the command line is understood.
    pub start_logging: fn(u8, Sink),
}

impl Env {
    /// The surroundings of this process. `start_logging` is given the number of `-v` and where logs go.
    ///
    /// # Errors
    ///
    /// The working folder is gone.
    pub fn of_process(start_logging: fn(u8, Sink)) -> io::Result<Self> {
        Ok(Self {
            args: std::env::args_os().collect(),
            dir: std::env::current_dir()?,
            stdin: Input(Box::new(io::stdin())),
            is_tty: io::stdout().is_terminal(),
            is_err_tty: io::stderr().is_terminal(),
            stdout: Sink::new(Standard::Output),
            stderr: Sink::new(Standard::Error),
            width: Width::Terminal,
            vars: std::env::vars_os().collect(),
            interrupts: InterruptSource::Signals,
            start_logging,
        })
    }

    pub(crate) fn var(&self, name: &str) -> Option<&Path> {
        self.vars.get(&OsString::from(name)).map(Path::new).filter(|value| !value.as_os_str().is_empty())
    }

    /// `path` as typed, seen from [`Self::dir`]; `.` between its parts is left out.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.dir.join(path).components().collect()
    }

    /// Where journals live unless `--state-dir` says otherwise: the XDG state folder.
    pub(crate) fn default_state_dir(&self) -> Option<PathBuf> {
        let xdg = self.var("XDG_STATE_HOME").filter(|path| path.is_absolute()).map(Path::to_owned);
        let state = xdg.or_else(|| Some(self.var("HOME")?.join(".local/state")))?;
        Some(state.join("ferriswarm"))
    }
}

/// Standard input, or what a test gives instead.
pub struct Input(pub Box<dyn Read + Send>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

/// How wide lines may be, and how many of them a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Ask the terminal each time; it can be resized.
    Terminal,
    /// This many columns.
    Fixed(u16),
}

impl Width {
    pub(crate) fn columns(self) -> u16 {
        match self {
            Self::Fixed(columns) => columns,
            Self::Terminal => match rustix::termios::tcgetwinsize(io::stdout()) {
                Ok(size) if size.ws_col != 0 => size.ws_col,
                _ => WIDTH_UNKNOWN,
            },
        }
    }
}

impl Width {
    /// Rows of the terminal.
    pub(crate) fn rows(self) -> u16 {
        match self {
            Self::Fixed(_) => ROWS_UNKNOWN,
            Self::Terminal => match rustix::termios::tcgetwinsize(io::stdout()) {
                Ok(size) if size.ws_row != 0 => size.ws_row,
                _ => ROWS_UNKNOWN,
            },
        }
    }
}

/// What a terminal that does not tell its width is taken to have.
const WIDTH_UNKNOWN: u16 = 80;
/// The same for its height.
const ROWS_UNKNOWN: u16 = 24;

/// Where Ctrl-C comes from.
#[derive(Debug, Clone)]
pub enum InterruptSource {
    /// SIGINT, SIGTERM and SIGHUP of this process; a SIGHUP that was ignored, as `nohup` has it, stays ignored.
    Signals,
    /// How many times it was pressed so far.
    Count(watch::Receiver<u32>),
}

/// Counts Ctrl-C from the moment it was made; until then a signal ends the process as usual.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    presses: watch::Receiver<u32>,
    /// Whether the command has heard of one.
    is_heard: Arc<AtomicBool>,
}

impl InterruptSource {
    /// Starts to listen. Needs the runtime.
    pub(crate) fn listen(&self) -> Interrupts {
        self.listen_as(Hangup::Stops).0
    }

    /// As [`Self::listen`] for what has no terminal, where SIGHUP asks to read files again. When the terminal that it was started from
    /// is closed that is a stop all the same.
    #[cfg_attr(
        not(feature = "tracker-server"),
        expect(dead_code, reason = "only `tracker` or `demo` needs it")
    )]
    pub(crate) fn listen_apart(&self) -> (Interrupts, Hangups) {
        self.listen_as(Hangup::IsTold)
    }

    fn listen_as(&self, hangup: Hangup) -> (Interrupts, Hangups) {
        let (hung_up, hangups) = watch::channel(());
        let hangups = Hangups(hangups);
        match self {
            Self::Count(receiver) => {
                (Interrupts { presses: receiver.clone(), is_heard: Arc::default() }, hangups)
            }
            Self::Signals => {
                let (sender, receiver) = watch::channel(0);
                let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
                if hangup == Hangup::IsTold || !is_ignored(SignalKind::hangup()) {
                    kinds.push(SignalKind::hangup());
                }
                let had_terminal = io::stdin().is_terminal();
                let counts = Arc::new(Mutex::new(BTreeMap::new()));
                for kind in kinds {
                    let (sender, counts, hung_up) = (sender.clone(), counts.clone(), hung_up.clone());
                    // A signal that cannot be listened to keeps its usual effect, which is to end the process.
                    let Ok(mut signals) = signal(kind) else { continue };
                    tokio::spawn(async move {
                        while signals.recv().await.is_some() {
                            let is_gone = had_terminal && !io::stdin().is_terminal();
                            if kind == SignalKind::hangup() && hangup == Hangup::IsTold && !is_gone {
                                hung_up.send_replace(());
                                continue;
                            }
                            let presses = pressed(&counts, kind);
                            sender.send_replace(presses);
                        }
                    });
                }
                tokio::spawn(end_at_second(receiver.clone()));
                let is_heard = Arc::new(AtomicBool::new(false));
                tokio::spawn(end_unheard(receiver.clone(), is_heard.clone()));
                (Interrupts { presses: receiver, is_heard }, hangups)
            }
        }
    }
}

/// What SIGHUP means to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hangup {
    Stops,
    IsTold,
}

/// Hears of SIGHUP.
#[derive(Debug)]
pub(crate) struct Hangups(watch::Receiver<()>);

impl Hangups {
    /// Returns after the next one. Several at once are one.
    #[cfg_attr(
        not(feature = "tracker-server"),
        expect(dead_code, reason = "only `tracker` or `demo` needs it")
    )]
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // There will be none.
            std::future::pending::<()>().await;
        }
    }
}

/// How often a stop was asked for, with this signal. A terminal that is closed and a logout come as several signals that
/// mean one stop; so those of one kind count, and of hangups one alone.
fn pressed(counts: &Mutex<BTreeMap<i32, u32>>, kind: SignalKind) -> u32 {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let count = counts.entry(kind.as_raw_value()).or_default();
    *count = if kind == SignalKind::hangup() { 1 } else { *count + 1 };
    counts.values().copied().max().unwrap_or(0)
}

/// Whether the process that started us wants this signal to be ignored. Unknown is no.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

/// A command that is held up by a reader or a disk cannot hear of the second Ctrl-C; it ends all the same.
async fn end_at_second(mut presses: watch::Receiver<u32>) {
    if presses.wait_for(|count| 2 <= *count).await.is_ok() {
        tokio::time::sleep(HEARING_TIME).await;
        std::process::exit(Exit::Killed.code().into());
    }
}

/// A command that reads, parses or looks at a million files before it does anything listens to no message meanwhile.
/// Nothing is lost when it ends there.
async fn end_unheard(mut presses: watch::Receiver<u32>, is_heard: Arc<AtomicBool>) {
    if presses.wait_for(|count| 1 <= *count).await.is_ok() {
        tokio::time::sleep(HEARING_TIME).await;
        if !is_heard.load(Ordering::Relaxed) {
            // Whether it is read changes nothing.
            let _ = writeln!(io::stderr(), "stopped while it was getting ready");
            std::process::exit(Exit::Interrupted.code().into());
        }
    }
}

/// A command that can hear ends within this time by itself, and tidies up.
const HEARING_TIME: Duration = Duration::from_millis(700);

impl Interrupts {
    /// Returns once Ctrl-C was pressed at least `times` times.
    pub(crate) async fn pressed(&self, times: u32) {
        let mut receiver = self.presses.clone();
        if receiver.wait_for(|count| times <= *count).await.is_err() {
            // It cannot be pressed any more.
            std::future::pending::<()>().await;
        }
        self.is_heard.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn paths_are_seen_from_the_folder_of_the_command() {
        let (mut env, _) = testing::env(&[]);
        env.dir = PathBuf::from("/home/me");
        for (typed, path) in
            [(".", "/home/me"), ("./a/./b", "/home/me/a/b"), ("../a", "/home/me/../a"), ("/x/./y", "/x/y")]
        {
            assert_eq!(env.path(Path::new(typed)).to_str(), Some(path), "{typed}");
        }
    }

    #[test]
    fn a_closed_terminal_and_a_logout_are_one_stop_and_a_second_ctrl_c_is_another() {
        let counts = Mutex::new(BTreeMap::new());
        let (int, term, hup) = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
        let presses: Vec<u32> =
            [hup, hup, term, int, hup, int].map(|kind| pressed(&counts, kind)).into_iter().collect();
        assert_eq!(presses, [1, 1, 1, 1, 1, 2]);
    }
}
