//! Standard output and standard error with one voice each: plain lines, live lines, JSON lines.
//!
//! Human text goes to standard output, failures and warnings to standard error. With `--json` standard output
//! carries JSON lines and nothing else.
//!
//! What is told on the way ([`Console::line`], [`Console::event`]) never fails: whether anybody reads it decides about
//! nothing. Only an answer that a command exists for ([`Console::answer`]) is a failure when it cannot be written.

use std::fmt;
use std::io;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use serde::Serialize;

use crate::env::{Env, Width};
use crate::exit::{Exit, Failure};
use crate::sink::Sink;
use crate::{json, text, units};

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
    live: MultiProgress,
}

impl Console {
    pub(crate) fn new(env: &Env, wanted: Wanted) -> Self {
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
        let target = match mode {
            Mode::Live => {
                let screen = Screen { sink: env.stdout.clone(), width: env.width };
                ProgressDrawTarget::term_like_with_hz(Box::new(screen), LIVE_HZ)
            }
            Mode::Plain | Mode::Json | Mode::Quiet => ProgressDrawTarget::hidden(),
        };
        Self {
            mode,
            width: env.width,
            stdout: env.stdout.clone(),
            stderr: env.stderr.clone(),
            has_colour: mode == Mode::Live && !no_colour,
            has_error_colour: env.is_err_tty && !no_colour,
            live: MultiProgress::with_draw_target(target),
        }
    }

    /// The same, but only answers and failures are printed: for when the answer itself is data on standard output.
    pub(crate) fn quiet(&self) -> Self {
        let live = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        Self { mode: Mode::Quiet, live, ..self.clone() }
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

    /// A line for a person, above the live lines. Nothing with `--json` and `-q`.
    pub(crate) fn line(&self, line: &str) {
        match self.mode {
            Mode::Json | Mode::Quiet => {}
            Mode::Live | Mode::Plain => self.say(&format!("{line}\n")),
        }
    }

    /// The answer a command exists for: printed whatever `-q` says. Waits until it is written.
    pub(crate) fn answer(&self, text: &str) -> Result<(), Failure> {
        self.answer_bytes(text.as_bytes())
    }

    /// As [`Self::answer`], for what is no text.
    pub(crate) fn answer_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.stderr.settle();
        let delivered = self.live.suspend(|| self.stdout.deliver(bytes));
        delivered.map_err(|error| Failure::unanswered(&error))
    }

    /// As [`Self::answer`]: one JSON object on a line of its own.
    pub(crate) fn answer_json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let line = json::line(value).map_err(|error| {
            Failure::new(Exit::Internal, format!("cannot describe this as JSON: {error}"))
        })?;
        self.answer(&line)
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
        let Some(error) = self.stdout.take_failure() else { return };
        let why = match error.kind() {
            io::ErrorKind::BrokenPipe => "whoever read it has left".to_owned(),
            _ => error.to_string(),
        };
        self.warn(&format!(
            "standard output cannot be written: {why}; this goes on without it, Ctrl-C stops it"
        ));
    }

    /// A warning for a person, on standard error.
    pub(crate) fn warn(&self, warning: &str) {
        let label = if self.has_error_colour { "\u{1b}[33mwarning:\u{1b}[0m" } else { "warning:" };
        self.write_err(&format!("{label} {}\n", text::harmless(warning)));
    }

    /// Why the command ends, on standard error; with `--json` also as an event.
    pub(crate) fn failure(&self, failure: &Failure) {
        #[derive(Serialize)]
        struct Event<'a> {
            event: &'static str,
            code: u8,
            message: &'a str,
        }
        let message = text::harmless(&failure.message);
        let label = if self.has_error_colour { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
        let hint = failure.hint.as_deref().map(text::harmless);
        let hint = hint.map_or_else(String::new, |hint| format!("  {hint}\n"));
        self.write_err(&format!("{label} {message}\n{hint}"));
        self.event(&Event { event: "error", code: failure.exit.code(), message: &message });
    }

    /// Prints over the live lines' heads without leaving scraps of them.
    fn say(&self, text: &str) {
        // Both streams may be one terminal or one file: what was said first is to stand first.
        self.stderr.settle();
        self.live.suspend(|| {
            match self.stdout.take_lost() {
                0 => {}
                lost => self.stdout.say(self.lost(lost).as_bytes()),
            }
            self.stdout.say(text.as_bytes());
        });
    }

    /// What a reader is told who has taken nothing for a while.
    fn lost(&self, lines: u64) -> String {
        #[derive(Serialize)]
        struct Event {
            event: &'static str,
            lines: u64,
        }
        let text = match self.mode {
            Mode::Json => json::line(&Event { event: "lost", lines }).ok(),
            Mode::Live | Mode::Plain | Mode::Quiet => None,
        };
        text.unwrap_or_else(|| {
            format!("({} left out: nobody read them in time)\n", units::count(lines, "line", "lines"))
        })
    }

    fn write_err(&self, text: &str) {
        self.live.suspend(|| {
            self.stdout.settle();
            self.stderr.say(text.as_bytes());
            self.stderr.settle();
        });
    }

    /// Bold, where colour is wanted.
    pub(crate) fn strong(&self, text: &str) -> String {
        if self.has_colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A new live line at the bottom; invisible unless live.
    pub(crate) fn live_line(&self) -> LiveLine {
        let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
        LiveLine(self.live.add(ProgressBar::new_spinner().with_style(style)))
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What the flags say about printing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// How many `-v`.
    pub(crate) verbose: u8,
}

/// Live lines are redrawn at most this often a second: faster cannot be read and floods slow links.
pub(crate) const LIVE_HZ: u8 = 4;

/// One line that is rewritten in place. Gone when dropped.
#[derive(Debug)]
pub(crate) struct LiveLine(ProgressBar);

impl LiveLine {
    /// `line` must be no wider than the terminal.
    pub(crate) fn set(&self, line: String) {
        self.0.set_message(line);
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The terminal as indicatif wants it, over a stream that tests can read.
#[derive(Debug)]
struct Screen {
    sink: Sink,
    width: Width,
}

impl Screen {
    fn control(&self, count: usize, letter: char) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.say(&format!("\u{1b}[{count}{letter}"))
    }

    fn say(&self, text: &str) -> io::Result<()> {
        self.sink.say(text.as_bytes());
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.width.columns()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.control(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.control(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.control(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.control(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.say(&format!("{s}\r\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.say(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.say("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Captured, env};

    fn console(is_tty: bool, wanted: Wanted) -> (Console, Captured) {
        let (mut env, captured) = env(&[]);
        env.is_tty = is_tty;
        (Console::new(&env, wanted), captured)
    }

    #[test]
    fn a_live_line_is_rewritten_and_leaves_nothing_behind() {
        let (console, captured) = console(true, Wanted::default());
        let live = console.live_line();
        live.set("one".to_owned());
        drop(live);
        console.line("end");
        let text = captured.stdout();
        assert!(text.contains("one") && text.contains('\r'), "{text:?}");
        assert!(text.ends_with("end\n"), "{text:?}");
    }

    #[test]
    fn a_pipe_gets_whole_lines_only() {
        let (console, captured) = console(false, Wanted::default());
        let live = console.live_line();
        live.set("one".to_owned());
        console.line("two");
        drop(live);
        assert_eq!(captured.stdout(), "two\n");
    }

    #[test]
    fn json_carries_nothing_else_on_standard_output() {
        let (console, captured) = console(true, Wanted { json: true, ..Wanted::default() });
        console.line("for people");
        console.failure(&Failure::new(Exit::Network, "no\u{1b}[31m way"));
        assert_eq!(
            captured.stdout(),
            "{\"event\":\"error\",\"code\":6,\"message\":\"no\u{fffd}[31m way\"}\n"
        );
        assert_eq!(captured.stderr(), "error: no\u{fffd}[31m way\n");
    }
}
