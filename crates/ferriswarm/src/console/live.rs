//! Lines at the bottom of a terminal that are rewritten in place.
//!
//! The cursor rests at the beginning of the last line: what a terminal echoes there (`^C`) breaks no line. Each line is
//! narrower than the terminal when it is drawn. When the terminal narrows later, most terminals break the lines that are there
//! anew; how many rows they take is reckoned from the width at the time of the next drawing, so that nothing of them stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthChar;

use crate::env::{Env, Width};
use crate::sink::Sink;
use crate::text::{shorten, width};

/// Lines are redrawn no sooner than this after the last time: more often cannot be read and floods slow links. A little
/// less than the quarter of a second between two looks, so that no look is left out.
const REDRAW_AFTER: Duration = Duration::from_millis(200);

/// What a terminal does with lines that have become too wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Narrowing {
    /// It breaks them.
    Reflows,
    /// It cuts them.
    Cuts,
}

impl Narrowing {
    /// As far as the environment tells: xterm, the console and screen are those that cut.
    pub(crate) fn of(env: &Env) -> Self {
        let is_console = env.var("TERM").is_some_and(|term| term.as_os_str() == "linux");
        let is_screen = env.var("STY").is_some() && env.var("TMUX").is_none();
        // tmux inside an xterm inherits its variables.
        let is_xterm = env.var("XTERM_VERSION").is_some() && env.var("TMUX").is_none();
        if is_console || is_screen || is_xterm { Self::Cuts } else { Self::Reflows }
    }
}

/// The bottom of a terminal. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Bottom(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    sink: Sink,
    width: Width,
    narrowing: Narrowing,
    /// What is to be seen, by the number of the area.
    areas: BTreeMap<u64, Vec<String>>,
    /// What is on the terminal.
    drawn: Vec<String>,
    /// The terminal's width at that time.
    columns: usize,
    drawn_at: Option<Instant>,
}

impl Bottom {
    pub(crate) fn new(sink: Sink, width: Width, narrowing: Narrowing) -> Self {
        let (areas, drawn) = (BTreeMap::new(), Vec::new());
        Self(Arc::new(Mutex::new(State { sink, width, narrowing, areas, drawn, columns: 0, drawn_at: None })))
    }

    /// Does `write` where the lines are, and puts them below what it wrote.
    pub(crate) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        state.erase();
        let result = write();
        state.draw_if_due();
        result
    }

    /// New lines below those that are there.
    pub(crate) fn area(&self) -> Area {
        let mut state = self.state();
        let id = state.areas.last_key_value().map_or(0, |(last, _)| last + 1);
        state.areas.insert(id, Vec::new());
        Area { id, bottom: Some(self.clone()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some of the lines. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Area {
    id: u64,
    bottom: Option<Bottom>,
}

impl Area {
    /// Of an output that cannot be rewritten: nothing is ever seen of it.
    pub(crate) fn hidden() -> Self {
        Self { id: 0, bottom: None }
    }

    /// Replaces the lines.
    pub(crate) fn set(&self, lines: Vec<String>) {
        let Some(bottom) = &self.bottom else { return };
        let mut state = bottom.state();
        state.areas.insert(self.id, lines);
        state.draw_if_due();
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let Some(bottom) = &self.bottom else { return };
        let mut state = bottom.state();
        if state.areas.remove(&self.id).is_some_and(|lines| !lines.is_empty()) {
            state.erase();
        }
        state.draw_if_due();
    }
}

impl State {
    fn draw_if_due(&mut self) {
        if self.drawn_at.is_none_or(|at| REDRAW_AFTER <= at.elapsed()) {
            self.draw();
        }
    }

    /// Puts the lines over those that are there; nothing is blank in between, which would flicker.
    fn draw(&mut self) {
        let columns = usize::from(self.width.columns());
        // The last column stays free: many terminals wrap when it is written.
        let room = columns.saturating_sub(1);
        let lines: Vec<String> = self.areas.values().flatten().map(|line| shorten(line, room)).collect();
        if lines.is_empty() && self.drawn.is_empty() {
            return;
        }
        if self.columns != columns {
            // Rows of broken lines that are only written over still belong together for some terminals.
            self.erase();
        }
        let text: Vec<String> = lines.iter().map(|line| format!("\r{line}\u{1b}[K")).collect();
        // Whatever is left below belongs to lines that were more or longer.
        self.write(&format!("{}{}\u{1b}[J\r", self.to_the_top(), text.join("\r\n")));
        (self.drawn, self.columns) = (lines, columns);
        self.drawn_at = Some(Instant::now());
    }

    fn erase(&mut self) {
        if !self.drawn.is_empty() {
            self.write(&format!("{}\r\u{1b}[J", self.to_the_top()));
            self.drawn.clear();
        }
    }

    /// From the last line to the first one.
    fn to_the_top(&self) -> String {
        let columns = usize::from(self.width.columns());
        let above = self.drawn.split_last().map_or(&[][..], |(_, above)| above);
        let rows: usize = match self.narrowing {
            Narrowing::Reflows => above.iter().map(|line| rows(line, columns)).sum(),
            Narrowing::Cuts => above.len(),
        };
        if rows == 0 { String::new() } else { format!("\u{1b}[{rows}A") }
    }

    fn write(&self, text: &str) {
        self.sink.say(text.as_bytes());
    }
}

/// Rows that a line takes on a terminal of so many columns.
fn rows(line: &str, columns: usize) -> usize {
    if width(line) <= columns || columns == 0 {
        return 1;
    }
    let (mut rows, mut used) = (1, 0);
    for wide in line.chars().filter_map(UnicodeWidthChar::width) {
        // A wide character is not broken in two.
        if columns < used + wide {
            (rows, used) = (rows + 1, 0);
        }
        used += wide;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Captured, env};

    fn bottom(columns: u16, narrowing: Narrowing) -> (Bottom, Captured) {
        let (env, captured) = env(&[]);
        (Bottom::new(env.stdout, Width::Fixed(columns), narrowing), captured)
    }

    /// As if the last drawing were long ago.
    fn age(bottom: &Bottom) {
        bottom.state().drawn_at = None;
    }

    fn lines(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_put_over_the_old_ones_and_what_is_left_below_is_cleared() {
        let (bottom, captured) = bottom(80, Narrowing::Reflows);
        let area = bottom.area();
        area.set(lines(&["one", "two"]));
        assert_eq!(captured.stdout(), "\rone\u{1b}[K\r\n\rtwo\u{1b}[K\u{1b}[J\r");
        age(&bottom);
        area.set(lines(&["three"]));
        assert!(
            captured.stdout().ends_with("\r\u{1b}[1A\rthree\u{1b}[K\u{1b}[J\r"),
            "{:?}",
            captured.stdout()
        );
        drop(area);
        assert!(captured.stdout().ends_with("\r\r\u{1b}[J"), "{:?}", captured.stdout());
    }

    #[test]
    fn they_are_redrawn_no_more_often_than_can_be_read() {
        let (bottom, captured) = bottom(80, Narrowing::Reflows);
        let area = bottom.area();
        for n in 0..1000 {
            area.set(vec![format!("line {n}")]);
        }
        // The machine may be slow; a thousand drawings it is not.
        assert!(captured.stdout().matches("line").count() < 50, "{:?}", captured.stdout());
    }

    #[test]
    fn what_is_written_above_comes_before_the_lines() {
        let (bottom, captured) = bottom(80, Narrowing::Reflows);
        let area = bottom.area();
        area.set(lines(&["one", "two"]));
        age(&bottom);
        let sink = bottom.state().sink.clone();
        bottom.above(|| sink.say(b"news\n"));
        let text = captured.stdout();
        assert!(
            text.ends_with("\u{1b}[1A\r\u{1b}[Jnews\n\rone\u{1b}[K\r\n\rtwo\u{1b}[K\u{1b}[J\r"),
            "{text:?}"
        );
    }

    #[test]
    fn a_terminal_that_narrowed_is_cleared_of_all_rows_of_a_broken_line() {
        for (narrowing, up) in [(Narrowing::Reflows, 3), (Narrowing::Cuts, 1)] {
            let (bottom, captured) = bottom(80, narrowing);
            let area = bottom.area();
            area.set(vec!["x".repeat(60), "y".repeat(60)]);
            bottom.state().width = Width::Fixed(25);
            age(&bottom);
            area.set(lines(&["a", "b"]));
            let text = captured.stdout();
            let expected = format!("\r\u{1b}[{up}A\r\u{1b}[J\ra\u{1b}[K\r\n\rb\u{1b}[K\u{1b}[J\r");
            assert!(text.ends_with(&expected), "{narrowing:?}: {text:?}");
        }
    }

    #[test]
    fn a_line_is_cut_to_the_terminal_and_wide_characters_are_not_broken() {
        let (bottom, captured) = bottom(10, Narrowing::Reflows);
        bottom.area().set(vec!["0123456789abc".to_owned()]);
        assert!(captured.stdout().starts_with("\r012345…bc\u{1b}[K"), "{:?}", captured.stdout());
        assert_eq!((rows("日本語", 5), rows("日本語", 6), rows("日本語", 2), rows("", 5)), (2, 1, 3, 1));
    }

    #[test]
    fn areas_stand_below_each_other() {
        let (bottom, captured) = bottom(80, Narrowing::Reflows);
        let (first, second) = (bottom.area(), bottom.area());
        second.set(lines(&["below"]));
        age(&bottom);
        first.set(lines(&["above"]));
        assert!(captured.stdout().ends_with("\rabove\u{1b}[K\r\n\rbelow\u{1b}[K\u{1b}[J\r"));
        age(&bottom);
        drop(second);
        assert!(captured.stdout().ends_with("\rabove\u{1b}[K\u{1b}[J\r"), "{:?}", captured.stdout());
    }

    #[test]
    fn terminals_that_cut_are_told_by_their_variables() {
        let narrowing = |vars: &[(&str, &str)]| {
            let (mut env, _) = env(&[]);
            env.vars = vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
            Narrowing::of(&env)
        };
        assert_eq!(narrowing(&[("TERM", "xterm-256color")]), Narrowing::Reflows);
        assert_eq!(narrowing(&[("TERM", "linux")]), Narrowing::Cuts);
        assert_eq!(narrowing(&[("TERM", "screen"), ("STY", "1.tty")]), Narrowing::Cuts);
        assert_eq!(narrowing(&[("XTERM_VERSION", "XTerm(390)")]), Narrowing::Cuts);
        assert_eq!(narrowing(&[("TMUX", "/tmp/x"), ("XTERM_VERSION", "XTerm(390)")]), Narrowing::Reflows);
    }
}
