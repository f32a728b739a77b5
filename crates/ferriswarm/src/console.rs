//! Standard output and standard error with one voice each: plain lines, live lines, JSON lines.
//!
//! Human text goes to standard output, failures and warnings to standard error. With `--json` standard output
//! carries JSON lines and nothing else.
//!
//! What is told on the way ([`Console::line`], [`Console::event`]) never fails: whether it is read decides about
//! nothing. Only an answer that a command exists for ([`Console::answer`]) is a failure when it cannot be written.

mod live;

use std::fmt;
use std::io;

use serde::Serialize;

use crate::env::{Env, Width};
use crate::events::JsonEvent;
use crate::exit::{Exit, Failure};
use crate::log::Log;
use crate::progress::{self, Charset, Size, View};
use crate::sink::Sink;
use crate::{json, text, units};

pub(crate) use live::Area;
use live::{Bottom, Narrowing};

/// What is printed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A person at a terminal: lines that rewrite themselves, colour unless `NO_COLOR`.
    Live,
    /// A file, a pipe, or a terminal that also shows logs: whole lines only, no colour, no `\r`.
    Plain,
    /// One JSON object a line on standard output.
    Json,
    /// Failures only.
    Quiet,
}

/// Where a command prints. Cheap to clone; all clones share the streams and the live lines.
#[derive(Clone)]
pub(crate) struct Console {
    mode: Mode,
    width: Width,
    stdout: Sink,
    stderr: Sink,
    has_colour: bool,
    has_error_colour: bool,
    charset: Charset,
    /// Only of a terminal whose lines may be rewritten.
    bottom: Option<Bottom>,
    log: Option<Log>,
}

impl Console {
    pub(crate) fn new(env: &Env, wanted: Wanted, log: Option<Log>) -> Self {
        let is_dumb = env.var("TERM").is_some_and(|term| term.as_os_str() == "dumb");
        let mode = match wanted {
            Wanted { json: true, .. } => Mode::Json,
            Wanted { quiet: true, .. } => Mode::Quiet,
            // Logs and live lines would overwrite each other.
            Wanted { verbose: 1.., .. } => Mode::Plain,
            _ if env.is_tty && !is_dumb => Mode::Live,
            _ => Mode::Plain,
        };
        let no_colour = is_dumb || env.var("NO_COLOR").is_some();
        let bottom =
            (mode == Mode::Live).then(|| Bottom::new(env.stdout.clone(), env.width, Narrowing::of(env)));
        Self {
            mode,
            width: env.width,
            stdout: env.stdout.clone(),
            stderr: env.stderr.clone(),
            has_colour: mode == Mode::Live && !no_colour,
            has_error_colour: env.is_err_tty && !no_colour,
            charset: charset(env),
            bottom,
            log,
        }
    }

    /// The same, but only answers and failures are printed: for when the answer itself is data on standard output.
    pub(crate) fn quiet(&self) -> Self {
        Self { mode: Mode::Quiet, bottom: None, ..self.clone() }
    }

    /// Where a wait is told of when the answer on standard output is for a script: above the answer on a terminal, on
    /// standard error else.
    pub(crate) fn aside(&self) -> Self {
        match self.mode {
            Mode::Live | Mode::Quiet => self.clone(),
            Mode::Plain | Mode::Json => {
                Self { mode: Mode::Plain, stdout: self.stderr.clone(), ..self.clone() }
            }
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.mode == Mode::Json
    }

    pub(crate) fn is_live(&self) -> bool {
        self.mode == Mode::Live
    }

    /// Columns of a line.
    pub(crate) fn columns(&self) -> usize {
        usize::from(self.width.columns())
    }

    /// What these look like on a terminal of this size.
    pub(crate) fn table(&self, views: &[View]) -> Vec<String> {
        let size = Size { columns: self.columns(), rows: usize::from(self.width.rows()) };
        progress::lines(size, self.charset, views)
    }

    /// A line for a person, above the live lines. Nothing with `--json` and `-q`.
    pub(crate) fn line(&self, line: &str) {
        self.log(line);
        match self.mode {
            Mode::Json | Mode::Quiet => {}
            Mode::Live | Mode::Plain => self.say(&format!("{line}\n")),
        }
    }

    /// What happened to something that has a name. On a terminal no wider than it; elsewhere as it is.
    pub(crate) fn news(&self, name: &str, text: &str) {
        let line = format!("{}  {}", self.name(name), text::harmless(text));
        match self.mode {
            Mode::Live => self.line(&text::shorten(&line, self.columns().saturating_sub(1))),
            Mode::Plain | Mode::Json | Mode::Quiet => self.line(&line),
        }
    }

    /// A name as lines begin with it: on a terminal it leaves room for what is said.
    pub(crate) fn name(&self, name: &str) -> String {
        let name = text::harmless(name);
        match self.mode {
            Mode::Live => text::shorten(&name, (self.columns() / NAME_SHARE).max(NAME_MIN)),
            Mode::Plain | Mode::Json | Mode::Quiet => name,
        }
    }

    /// The answer a command exists for: printed whatever `-q` says. Waits until it is written.
    pub(crate) fn answer(&self, text: &str) -> Result<(), Failure> {
        self.answer_bytes(text.as_bytes())
    }

    /// As [`Self::answer`], for what is no text.
    pub(crate) fn answer_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.stderr.settle();
        let delivered = self.above(|| self.stdout.deliver(bytes));
        delivered.map_err(|error| Failure::unanswered(&error))
    }

    /// As [`Self::answer`]: one JSON object on a line of its own.
    pub(crate) fn answer_json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.answer_in_portions(|write| json::long_line(value, write))
    }

    /// The same for what writes itself.
    pub(crate) fn answer_in_portions(
        &self,
        describe: impl FnOnce(&mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut refused = None;
        let written = describe(&mut |portion| {
            self.answer(portion).map_err(|failure| {
                refused = Some(failure);
                io::Error::other("not written")
            })
        });
        match (refused, written) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => {
                Err(Failure::new(Exit::Internal, format!("cannot describe this as JSON: {error}")))
            }
            (None, Ok(())) => Ok(()),
        }
    }

    /// One JSON object, with `--json` only.
    pub(crate) fn event(&self, event: &impl Serialize) {
        if self.mode != Mode::Json {
            return;
        }
        match json::line(event) {
            Ok(line) => self.say(&line),
            Err(error) => self.warn(&format!("cannot describe an event as JSON: {error}")),
        }
    }

    /// Now and then while something goes on: says once, on standard error, that standard output takes nothing.
    pub(crate) fn look_at_output(&self) {
        if let Some(error) = self.log.as_ref().and_then(|log| log.sink().take_failure()) {
            self.warn(&format!("the log file cannot be written: {error}; this goes on without it"));
        }
        let Some(error) = self.stdout.take_failure() else { return };
        let why = match error.kind() {
            io::ErrorKind::BrokenPipe => "its reader has left".to_owned(),
            _ => error.to_string(),
        };
        self.warn(&format!(
            "standard output cannot be written: {why}; this goes on without it, Ctrl-C stops it"
        ));
    }

    /// A warning for a person, on standard error.
    pub(crate) fn warn(&self, warning: &str) {
        let label = if self.has_error_colour { "\u{1b}[33mwarning:\u{1b}[0m" } else { "warning:" };
        let warning = text::harmless(warning);
        self.log(&format!("warning: {warning}"));
        self.write_err(&format!("{label} {warning}\n"));
    }

    /// Why the command ends, on standard error; with `--json` also as an event.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.tell_failure(None, failure);
    }

    /// Why one of several sources ends.
    pub(crate) fn failure_of(&self, source: &str, failure: &Failure) {
        self.tell_failure(Some(source), failure);
    }

    fn tell_failure(&self, source: Option<&str>, failure: &Failure) {
        let message = text::harmless(&failure.message);
        let hint = failure.hint.as_deref().map(text::harmless);
        let whose = source.filter(|source| !message.contains(source)).map(|source| format!("{source}: "));
        let whose = whose.unwrap_or_default();
        let label = if self.has_error_colour { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
        let below = hint.as_deref().map_or_else(String::new, |hint| format!("  {hint}\n"));
        self.log(&format!("error: {whose}{message}"));
        self.write_err(&format!("{label} {whose}{message}\n{below}"));
        let (code, hint) = (failure.exit.code(), hint.as_deref());
        self.event(&JsonEvent::Failed { source, code, message: &message, hint });
    }

    fn log(&self, text: &str) {
        if let Some(log) = &self.log {
            log.line(text);
        }
    }

    /// Prints over the live lines' heads without leaving scraps of them.
    fn say(&self, text: &str) {
        // Both streams may be one terminal or one file: what was said first is to stand first.
        self.stderr.settle();
        self.above(|| {
            match self.stdout.take_lost() {
                0 => {}
                lost => self.stdout.say(self.lost(lost).as_bytes()),
            }
            self.stdout.say(text.as_bytes());
        });
    }

    /// What a reader is told who has taken nothing for a while.
    fn lost(&self, lines: u64) -> String {
        let text = match self.mode {
            Mode::Json => json::line(&JsonEvent::Lost { lines }).ok(),
            Mode::Live | Mode::Plain | Mode::Quiet => None,
        };
        text.unwrap_or_else(|| {
            format!("({} left out: they were not read in time)\n", units::count(lines, "line", "lines"))
        })
    }

    fn write_err(&self, text: &str) {
        self.above(|| {
            self.stdout.settle();
            self.stderr.say(text.as_bytes());
            self.stderr.settle();
        });
    }

    fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bottom {
            Some(bottom) => bottom.above(write),
            None => write(),
        }
    }

    /// Bold, where colour is wanted.
    pub(crate) fn strong(&self, text: &str) -> String {
        if self.has_colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// New live lines at the bottom; invisible unless live.
    pub(crate) fn live_area(&self) -> Area {
        self.bottom.as_ref().map_or_else(Area::hidden, Bottom::area)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A name takes at most this part of a line...
const NAME_SHARE: usize = 3;
/// ...but a shorter one is no longer recognised.
const NAME_MIN: usize = 16;

/// A locale that names another character set than UTF-8 means it; most that name none have it.
fn charset(env: &Env) -> Charset {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env.var(name));
    let is_utf8 = locale.is_none_or(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    if is_utf8 { Charset::Unicode } else { Charset::Ascii }
}

/// What the flags say about printing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// How many `-v`.
    pub(crate) verbose: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Captured, env};

    fn console(is_tty: bool, wanted: Wanted) -> (Console, Captured) {
        let (mut env, captured) = env(&[]);
        env.is_tty = is_tty;
        (Console::new(&env, wanted, None), captured)
    }

    #[test]
    fn a_live_line_is_rewritten_and_leaves_nothing_behind() {
        let (console, captured) = console(true, Wanted::default());
        let live = console.live_area();
        live.set(vec!["one".to_owned()]);
        drop(live);
        console.line("end");
        let text = captured.stdout();
        assert!(text.contains("one") && text.contains('\r'), "{text:?}");
        assert!(text.ends_with("end\n"), "{text:?}");
    }

    #[test]
    fn a_pipe_gets_whole_lines_only() {
        let (console, captured) = console(false, Wanted::default());
        let live = console.live_area();
        live.set(vec!["one".to_owned()]);
        console.line("two");
        drop(live);
        assert_eq!(captured.stdout(), "two\n");
    }

    #[test]
    fn news_fit_a_terminal_and_are_whole_elsewhere() {
        let name = "a-name-that-is-longer-than-most-names-are.iso";
        let text = "tracker http://tracker.example/announce: cannot be reached: connection refused";
        let (live, seen) = console(true, Wanted::default());
        live.news(name, text);
        let line = seen.stdout();
        assert_eq!(text::width(line.trim_end()), 79);
        assert!(line.starts_with("a-name-that-is-lo…-are.iso  tracker"), "{line}");
        assert!(line.ends_with("connection refused\n"), "{line}");
        let (plain, seen) = console(false, Wanted::default());
        plain.news(name, text);
        assert_eq!(seen.stdout(), format!("{name}  {text}\n"));
    }

    #[test]
    fn json_carries_nothing_else_on_standard_output() {
        let (console, captured) = console(true, Wanted { json: true, ..Wanted::default() });
        console.line("for people");
        console.failure(&Failure::new(Exit::Network, "no\u{1b}[31m way"));
        assert_eq!(
            captured.stdout(),
            "{\"event\":\"failed\",\"source\":null,\"code\":6,\"message\":\"no\u{fffd}[31m way\",\"hint\":null}\n"
        );
        assert_eq!(captured.stderr(), "error: no\u{fffd}[31m way\n");
    }
}
