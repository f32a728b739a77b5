//! What a command may touch: arguments, folder, streams, terminal, variables, interrupts. All of it is handed
//! in, so that tests run commands inside their own process and look at what came out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

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
    /// Called once with the number of `-v` when the command line is understood.
    pub start_logging: fn(u8),
}

impl Env {
    /// The surroundings of this process. `start_logging` is given the number of `-v`.
    ///
    /// # Errors
    ///
    /// The working folder is gone.
    pub fn of_process(start_logging: fn(u8)) -> io::Result<Self> {
        Ok(Self {
            args: std::env::args_os().collect(),
            dir: std::env::current_dir()?,
            stdin: Input(Box::new(io::stdin())),
            is_tty: io::stdout().is_terminal(),
            is_err_tty: io::stderr().is_terminal(),
            stdout: Sink::new(io::stdout()),
            stderr: Sink::new(io::stderr()),
            width: Width::Terminal,
            vars: std::env::vars_os().collect(),
            interrupts: InterruptSource::Signals,
            start_logging,
        })
    }

    pub(crate) fn var(&self, name: &str) -> Option<&Path> {
        self.vars.get(&OsString::from(name)).map(Path::new).filter(|value| !value.as_os_str().is_empty())
    }

    /// `path` as typed, seen from [`Self::dir`].
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
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

/// A stream that several parts of a command write to; each write is whole.
#[derive(Clone)]
pub struct Sink(Arc<Mutex<Box<dyn Write + Send>>>);

impl Sink {
    /// Writes go to `writer`.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(writer))))
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(bytes)?;
        writer.flush()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// How wide lines may be.
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

/// What a terminal that does not tell its width is taken to have.
const WIDTH_UNKNOWN: u16 = 80;

/// Where Ctrl-C comes from.
#[derive(Debug)]
pub enum InterruptSource {
    /// SIGINT, SIGTERM and SIGHUP of this process.
    Signals,
    /// How many times it was pressed so far.
    Count(watch::Receiver<u32>),
}

/// Counts Ctrl-C from the moment it was made; until then a signal ends the process as usual.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts(watch::Receiver<u32>);

impl InterruptSource {
    /// Starts to listen. Needs the runtime.
    pub(crate) fn listen(&self) -> Interrupts {
        match self {
            Self::Count(receiver) => Interrupts(receiver.clone()),
            Self::Signals => {
                let (sender, receiver) = watch::channel(0);
                for kind in [
                    tokio::signal::unix::SignalKind::interrupt(),
                    tokio::signal::unix::SignalKind::terminate(),
                    tokio::signal::unix::SignalKind::hangup(),
                ] {
                    let sender = sender.clone();
                    // A signal that cannot be listened to keeps its usual effect, which is to end the process.
                    let Ok(mut signals) = tokio::signal::unix::signal(kind) else { continue };
                    tokio::spawn(async move {
                        while signals.recv().await.is_some() {
                            sender.send_modify(|count| *count += 1);
                        }
                    });
                }
                Interrupts(receiver)
            }
        }
    }
}

impl Interrupts {
    /// Returns once Ctrl-C was pressed at least `times` times.
    pub(crate) async fn pressed(&self, times: u32) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|count| times <= *count).await.is_err() {
            // Nobody can press it any more.
            std::future::pending::<()>().await;
        }
    }
}
