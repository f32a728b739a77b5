//! Standard output and standard error with one voice each: plain lines, live lines, JSON lines.
//!
//! Human text goes to standard output, failures and warnings to standard error. With `--json` standard output
//! carries JSON lines and nothing else.

use std::fmt;
use std::io;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use serde::Serialize;

use crate::env::{Env, Sink, Width};
use crate::exit::{Exit, Failure};
use crate::{json, text};

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
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        match self.mode {
            Mode::Json | Mode::Quiet => Ok(()),
            Mode::Live | Mode::Plain => self.write_out(&format!("{line}\n")),
        }
    }

    /// The answer a command exists for: printed whatever `-q` says.
    pub(crate) fn answer(&self, text: &str) -> Result<(), Failure> {
        self.write_out(text)
    }

    /// As [`Self::answer`], for what is no text.
    pub(crate) fn answer_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.live.suspend(|| self.stdout.write(bytes)).map_err(Failure::from)
    }

    /// One JSON object, with `--json` only.
    pub(crate) fn event(&self, event: &impl Serialize) -> Result<(), Failure> {
        if self.mode != Mode::Json {
            return Ok(());
        }
        self.json(event)
    }

    /// One JSON object on a line of its own.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let line = json::line(value).map_err(|error| {
            Failure::new(Exit::Internal, format!("cannot describe an event as JSON: {error}"))
        })?;
        self.write_out(&line)
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
        // Standard error has told it; a standard output that is closed as well changes nothing.
        let _ = self.event(&Event { event: "error", code: failure.exit.code(), message: &message });
    }

    /// Prints over the live lines' heads without leaving scraps of them.
    fn write_out(&self, text: &str) -> Result<(), Failure> {
        self.live.suspend(|| self.stdout.write(text.as_bytes())).map_err(Failure::from)
    }

    fn write_err(&self, text: &str) {
        // Nowhere is left to tell that standard error cannot be written.
        let _ = self.live.suspend(|| self.stderr.write(text.as_bytes()));
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
        self.sink.write(format!("\u{1b}[{count}{letter}").as_bytes())
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
        self.sink.write(format!("{s}\r\n").as_bytes())
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.sink.write(s.as_bytes())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.sink.write(b"\r\x1b[2K")
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
        assert!(console.line("end").is_ok());
        let text = captured.stdout();
        assert!(text.contains("one") && text.contains('\r'), "{text:?}");
        assert!(text.ends_with("end\n"), "{text:?}");
    }

    #[test]
    fn a_pipe_gets_whole_lines_only() {
        let (console, captured) = console(false, Wanted::default());
        let live = console.live_line();
        live.set("one".to_owned());
        assert!(console.line("two").is_ok());
        drop(live);
        assert_eq!(captured.stdout(), "two\n");
    }

    #[test]
    fn json_carries_nothing_else_on_standard_output() {
        let (console, captured) = console(true, Wanted { json: true, ..Wanted::default() });
        assert!(console.line("for people").is_ok());
        console.failure(&Failure::new(Exit::Network, "no\u{1b}[31m way"));
        assert_eq!(
            captured.stdout(),
            "{\"event\":\"error\",\"code\":6,\"message\":\"no\u{fffd}[31m way\"}\n"
        );
        assert_eq!(captured.stderr(), "error: no\u{fffd}[31m way\n");
    }
}
