//! `--on-done PROGRAM`: told of each torrent that is complete. Not a shell: the program gets its words and variables as
//! they are, whatever names strangers chose.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::events::JsonEvent;
use crate::exit::{Exit, Failure};
use crate::text::harmless;
use crate::units;

/// Programs at once; further ones wait for their turn. They may be as heavy as unpacking.
const AT_ONCE_MAX: usize = 4;
/// At the end programs are waited for, but not for ever: what still runs then goes on alone.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// The programs that run, and those that are to run.
#[derive(Debug)]
pub(crate) struct Hooks {
    program: Option<Program>,
    waiting: VecDeque<Done>,
    running: JoinSet<Ended>,
}

#[derive(Debug, Clone)]
struct Program {
    typed: OsString,
    dir: PathBuf,
}

/// What a program is told.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) name: String,
    pub(crate) info_hash: String,
    /// Where its file or folder is.
    pub(crate) path: PathBuf,
    /// As it was typed.
    pub(crate) source: String,
    pub(crate) size: u64,
    pub(crate) downloaded: u64,
    pub(crate) uploaded: u64,
}

/// How a program ended, or why it did not begin.
#[derive(Debug)]
pub(crate) struct Ended {
    done: Done,
    result: io::Result<ExitStatus>,
}

impl Hooks {
    /// `typed` is what follows `--on-done`. Fails when there is no such program: at the end of a long download that would be
    /// told too late.
    pub(crate) fn new(env: &Env, typed: Option<&OsStr>) -> Result<Self, Failure> {
        let program = match typed {
            None => None,
            Some(typed) if is_there(env, typed) => {
                Some(Program { typed: typed.to_owned(), dir: env.dir.clone() })
            }
            Some(typed) => {
                let typed = typed.to_string_lossy();
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("--on-done {typed}: there is no such program"),
                )
                .hint("name one program without arguments; a script of yours can run whatever it likes"));
            }
        };
        Ok(Self { program, waiting: VecDeque::new(), running: JoinSet::new() })
    }

    /// A torrent is complete.
    pub(crate) fn tell(&mut self, done: Done) {
        if self.program.is_some() {
            self.waiting.push_back(done);
            self.start();
        }
    }

    /// Whether none runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    fn start(&mut self) {
        while self.running.len() < AT_ONCE_MAX
            && let (Some(program), Some(done)) = (&self.program, self.waiting.pop_front())
        {
            let program = program.clone();
            self.running.spawn_blocking(move || {
                let result = program.run(&done);
                Ended { done, result }
            });
        }
    }

    /// The next one that ends, for [`Self::ended`]; never while none runs. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Ended {
        loop {
            match self.running.join_next().await {
                Some(Ok(ended)) => return ended,
                // A thread that is no more.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Says how it went, and starts another one.
    pub(crate) fn ended(&mut self, ended: Ended, console: &Console) {
        self.start();
        let Some(program) = &self.program else { return };
        let typed = program.typed.to_string_lossy();
        let Ended { done, result } = ended;
        let (code, signal) = match &result {
            Ok(status) => (status.code(), status.signal()),
            Err(_) => (None, None),
        };
        let why = match (&result, code, signal) {
            (Err(error), ..) => Some(format!("could not be run: {error}")),
            (_, Some(0), _) => None,
            (_, Some(code), _) => Some(format!("ended with exit code {code}")),
            (_, None, Some(signal)) => Some(format!("was ended by signal {signal}")),
            (_, None, None) => Some("ended in an unknown way".to_owned()),
        };
        console.event(&JsonEvent::OnDone {
            info_hash: &done.info_hash,
            program: &typed,
            code,
            signal,
            message: why.as_deref(),
        });
        if let Some(why) = why {
            console.warn(&format!(
                "{}: --on-done {typed} {why}; the download is not touched by that",
                done.name
            ));
        }
    }

    /// At the end: waits for those that run and those that are to run, unless Ctrl-C is pressed once more than `presses`
    /// times. None is ended.
    pub(crate) async fn finish(&mut self, console: &Console, interrupts: &Interrupts, presses: u32) {
        let deadline = Instant::now() + WAIT_MAX;
        let mut is_told = false;
        while !self.is_idle() {
            if !is_told {
                is_told = true;
                let count =
                    units::count((self.running.len() + self.waiting.len()) as u64, "program", "programs");
                console.line(&format!("waiting for {count} of --on-done"));
            }
            tokio::select! {
                biased;
                () = interrupts.pressed(presses + 1) => break,
                () = tokio::time::sleep_until(deadline.into()) => break,
                ended = self.next() => self.ended(ended, console),
            }
        }
        let names = self.waiting.iter().map(|done| harmless(&done.name)).collect::<Vec<_>>();
        if !self.is_idle() {
            console.warn(&format!(
                "{} of --on-done still running; not waited for any longer",
                units::count(self.running.len() as u64, "program is", "programs are")
            ));
        }
        if !names.is_empty() {
            console.warn(&format!("--on-done was not run for {}", names.join(", ")));
        }
        // A thread that waits for a program is let go, not the program.
        self.running.detach_all();
    }
}

impl Program {
    fn run(&self, done: &Done) -> io::Result<ExitStatus> {
        // Standard output may be the JSON lines of the command.
        let told = || Ok::<_, io::Error>(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
        let mut command = Command::new(&self.typed);
        command.arg(&done.path).arg(&done.info_hash).current_dir(&self.dir);
        command.env("FERRISWARM_PATH", &done.path);
        for (name, value) in [
            ("FERRISWARM_EVENT", "done"),
            ("FERRISWARM_NAME", &done.name),
            ("FERRISWARM_INFO_HASH", &done.info_hash),
            ("FERRISWARM_SOURCE", &done.source),
            ("FERRISWARM_SIZE", &done.size.to_string()),
            ("FERRISWARM_DOWNLOADED", &done.downloaded.to_string()),
            ("FERRISWARM_UPLOADED", &done.uploaded.to_string()),
        ] {
            // A name may hold what no variable can.
            command.env(name, value.replace('\0', ""));
        }
        command.stdin(Stdio::null()).stdout(told()?).stderr(told()?);
        // Ctrl-C in a terminal is for us.
        command.process_group(0).spawn()?.wait()
    }
}

fn is_there(env: &Env, typed: &OsStr) -> bool {
    let path = Path::new(typed);
    if path.components().count() != 1 || typed.as_encoded_bytes().contains(&b'/') {
        return env.path(path).is_file();
    }
    let places = env.var("PATH").map(|path| path.as_os_str().to_owned()).unwrap_or_default();
    std::env::split_paths(&places).any(|place| env.path(&place).join(path).is_file())
}
