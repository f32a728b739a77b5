//! The picture in the README: the demo in a real terminal, its screen drawn as SVG.
//!
//! tmux is the terminal; what it shows, colours included, becomes one `<text>` a line. No font is embedded: any
//! monospaced one will do, since every line is stretched to its width in cells.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const COLUMNS: usize = 120;
const ROWS: usize = 26;
const CELL_WIDTH: f64 = 8.4;
const CELL_HEIGHT: f64 = 19.0;
const MARGIN: f64 = 18.0;
const TITLE: f64 = 30.0;
/// The demo takes seconds; a machine that needs longer has another problem.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `binary` with `arguments` in a terminal and draws the screen as it is when `ready` says so.
pub(crate) fn draw(binary: &Path, arguments: &str, ready: impl Fn(&str) -> bool, out: &Path) -> Result<()> {
    let session = format!("ferriswarm-picture-{}", std::process::id());
    let _end = Session(session.clone());
    let size = [COLUMNS.to_string(), ROWS.to_string()];
    let shell = "env -i PATH=/usr/bin:/bin TERM=tmux-256color LANG=C.UTF-8 PS1='$ ' sh";
    tmux(&["-u", "new-session", "-d", "-s", &session, "-x", &size[0], "-y", &size[1], shell])?;
    let folder = binary.parent().context("the binary lies in a folder")?;
    let path = format!("PATH={}:$PATH; clear", folder.display());
    tmux(&["send-keys", "-t", &session, &path, "Enter"])?;
    wait(&session, |screen| screen.trim() == "$")?;
    tmux(&["send-keys", "-t", &session, &format!("ferriswarm {arguments}"), "Enter"])?;
    let screen = wait(&session, ready)?;
    std::fs::write(out, svg(&screen)).with_context(|| format!("writing {}", out.display()))
}

/// The screen, colours included, once it is as wanted.
fn wait(session: &str, ready: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let screen = tmux(&["capture-pane", "-p", "-e", "-t", session])?;
        if ready(&screen) {
            return Ok(screen);
        }
        ensure!(Instant::now() < deadline, "the screen never came to this:\n{screen}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Session(String);

impl Drop for Session {
    fn drop(&mut self) {
        // Gone already when the shell ended.
        let _ = tmux(&["kill-session", "-t", &self.0]);
    }
}

fn tmux(arguments: &[&str]) -> Result<String> {
    let output =
        Command::new("tmux").args(arguments).output().context("running tmux (apt-get install tmux)")?;
    if !output.status.success() {
        bail!("tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A run of cells that look alike.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    column: usize,
    text: String,
    style: Style,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    colour: Option<u8>,
    bold: bool,
    dim: bool,
}

fn svg(screen: &str) -> String {
    let lines: Vec<&str> = screen.trim_end().lines().collect();
    let width = COLUMNS as f64 * CELL_WIDTH + 2.0 * MARGIN;
    let height = lines.len() as f64 * CELL_HEIGHT + 2.0 * MARGIN + TITLE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#16181d\"/>\n"
    );
    for (n, colour) in ["#ff5f57", "#febc2e", "#28c840"].iter().enumerate() {
        let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"20\" r=\"6\" fill=\"{colour}\"/>", 22 + n * 20);
    }
    let mut style = Style::default();
    for (row, line) in lines.iter().enumerate() {
        let y = MARGIN + TITLE + (row as f64 + 0.75) * CELL_HEIGHT;
        for run in runs(line, &mut style) {
            let cells = run.text.chars().count();
            let x = MARGIN + run.column as f64 * CELL_WIDTH;
            let length = cells as f64 * CELL_WIDTH;
            let weight = if run.style.bold { " font-weight=\"bold\"" } else { "" };
            let opacity = if run.style.dim { " opacity=\"0.6\"" } else { "" };
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
                 fill=\"{}\"{weight}{opacity} xml:space=\"preserve\">{}</text>",
                hex(run.style.colour),
                escape(&run.text)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Splits a line at its SGR sequences and at wide gaps. `style` goes on from line to line.
fn runs(line: &str, style: &mut Style) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut column = 0;
    let mut rest = line;
    while !rest.is_empty() {
        if let Some((codes, after)) = rest.strip_prefix("\x1b[").and_then(|rest| rest.split_once('m')) {
            apply(codes, style);
            rest = after;
            continue;
        }
        let end = rest.find('\x1b').unwrap_or(rest.len());
        let (text, after) = rest.split_at(end.max(1));
        let trimmed = text.trim_start_matches(' ');
        let indent = text.len() - trimmed.len();
        if !trimmed.trim_end().is_empty() {
            let text = trimmed.trim_end().to_owned();
            runs.push(Run { column: column + indent, text, style: *style });
        }
        column += text.chars().count();
        rest = after;
    }
    runs
}

fn apply(codes: &str, style: &mut Style) {
    let mut codes = codes.split(';').map(|code| code.parse().unwrap_or(0));
    while let Some(code) = codes.next() {
        match code {
            0 => *style = Style::default(),
            1 => style.bold = true,
            2 => style.dim = true,
            22 => (style.bold, style.dim) = (false, false),
            30..=37 => style.colour = Some(code - 30),
            90..=97 => style.colour = Some(code - 82),
            39 => style.colour = None,
            38 => style.colour = codes.nth(1),
            _ => {}
        }
    }
}

fn hex(colour: Option<u8>) -> &'static str {
    match colour {
        Some(1 | 9) => "#ff6b6b",
        Some(2 | 10) => "#7bd88f",
        Some(3 | 11) => "#ffd866",
        Some(4 | 12) => "#78a9ff",
        Some(5 | 13) => "#c79bf2",
        Some(6 | 14) => "#6fd3d8",
        Some(0 | 8) => "#7f848e",
        _ => "#d6d9e0",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coloured_line_is_split_where_the_colour_changes() {
        let mut style = Style::default();
        let runs = runs("$ \x1b[1;32mdone\x1b[0m  in 3 s", &mut style);
        let found: Vec<_> = runs.iter().map(|run| (run.column, run.text.as_str(), run.style.bold)).collect();
        assert_eq!(found, [(0, "$", false), (2, "done", true), (8, "in 3 s", false)]);
        assert_eq!(runs[1].style.colour, Some(2));
    }

    #[test]
    fn markup_on_the_screen_is_text_in_the_picture() {
        assert!(svg("a <b> & c").contains("a &lt;b&gt; &amp; c"));
    }
}
