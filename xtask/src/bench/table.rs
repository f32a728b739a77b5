//! The figures as a person reads them: Markdown, medians with ranges, ratios.

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::Result;

use super::Options;
use super::measure::Sample;
use super::scenario::{Comparison, Contender, Ratios};
use crate::clients::{Kind, Tools};

/// All runs of one contender.
pub(super) struct Outcome<'a> {
    pub(super) contender: &'a Contender,
    pub(super) samples: Vec<Sample>,
    /// What it said when it failed; it is not asked again.
    pub(super) failure: Option<String>,
}

impl<'a> Outcome<'a> {
    pub(super) fn new(contender: &'a Contender) -> Self {
        Self { contender, samples: Vec::new(), failure: None }
    }

    fn range(&self, figure: impl Fn(&Sample) -> f64) -> Range {
        Range::of(self.samples.iter().map(figure).collect())
    }

    fn wall(&self) -> Range {
        self.range(|sample| sample.wall.as_secs_f64())
    }

    fn cpu(&self) -> Range {
        self.range(|sample| sample.cpu.as_secs_f64())
    }

    /// In MiB.
    fn memory(&self) -> Range {
        self.range(|sample| sample.memory as f64 / f64::from(1_u32 << 20))
    }
}

/// A table of Markdown.
pub(super) struct Table {
    pub(super) heading: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Everything a comparison found.
    pub(super) fn of(comparison: &Comparison, outcomes: &[Outcome<'_>]) -> Self {
        let mut columns = vec!["", "wall, s", "CPU, s", "CPU, s per GiB", "peak memory, MiB"];
        columns.extend_from_slice(match comparison.ratios {
            Ratios::Others => &["wall / ours", "CPU / ours", "CPU / floor"],
            Ratios::Speed => &["MiB/s", "of plain TCP"],
            Ratios::Twin => &["wall / without"],
            Ratios::Bound(_) => &["wall / bound"],
        });
        let gib = comparison.size as f64 / f64::from(1_u32 << 30);
        let rows = (0..outcomes.len()).map(|at| {
            let outcome = &outcomes[at];
            let mut row = vec![outcome.contender.label.clone()];
            if let Some(failure) = &outcome.failure {
                row.push(format!("failed: {}", failure.lines().next().unwrap_or_default().replace('|', "/")));
                row.resize(columns.len(), String::new());
                return row;
            }
            let (wall, cpu, memory) = (outcome.wall(), outcome.cpu(), outcome.memory());
            let per_gib = format!("{:.2}", cpu.median / gib);
            row.extend([wall.to_string(), cpu.to_string(), per_gib, format!("{:.1}", memory.median)]);
            row.extend(ratios(comparison, outcomes, at));
            row
        });
        let rows = rows.collect();
        let columns = columns.into_iter().map(str::to_owned).collect();
        Self { heading: comparison.heading.clone(), columns, rows }
    }
}

/// What a row has behind wall, processor time and memory.
fn ratios(comparison: &Comparison, outcomes: &[Outcome<'_>], at: usize) -> Vec<String> {
    let (wall, cpu) = (outcomes[at].wall().median, outcomes[at].cpu().median);
    let of = |kind| outcomes.iter().find(|outcome| outcome.contender.kind == kind);
    let to = |figure: f64, base: Option<f64>| {
        base.map_or_else(|| "-".into(), |base| format!("{:.2}", figure / base))
    };
    match comparison.ratios {
        Ratios::Others => {
            let (ours, floor) = (of(Kind::Ferriswarm), of(Kind::Floor));
            vec![
                to(wall, ours.map(|ours| ours.wall().median)),
                to(cpu, ours.map(|ours| ours.cpu().median)),
                to(cpu, floor.map(|floor| floor.cpu().median)),
            ]
        }
        Ratios::Speed => {
            let speed = comparison.size as f64 / f64::from(1_u32 << 20) / wall;
            vec![format!("{speed:.1}"), format!("{:.0} %", 100.0 * outcomes[0].wall().median / wall)]
        }
        Ratios::Twin => {
            let without = (at % 2 == 1).then(|| outcomes[at - 1].wall().median);
            vec![to(wall, without)]
        }
        Ratios::Bound(bound) => vec![to(wall, Some(bound.as_secs_f64()))],
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.heading)?;
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|---|{}", "---:|".repeat(self.columns.len() - 1))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        writeln!(f)
    }
}

/// A median and what is around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Range {
    pub(super) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |at: usize| figures.get(at).copied().unwrap_or(f64::NAN);
        let last = figures.len().saturating_sub(1);
        // Between the two in the middle when there are two.
        let median = f64::midpoint(at(last / 2), at(figures.len() / 2));
        Self { min: at(0), median, max: at(last) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.min, self.max)
    }
}

/// What stands above the tables in BENCHMARKS.md.
pub(super) fn introduction(options: &Options, tools: &Tools) -> Result<String> {
    let mut text = format!(
        "# Measurements\n\n\
         Made by `cargo xtask bench {}` on {}: {}.\n\n\
         Whole processes, one at a time, in network namespaces; the other end is `ferri-bench`, which is cheaper than \
         any client. Medians of {} runs in turns, with the least and the most of them. Ratios within a table mean \
         something; figures of two tables do not compare.\n\n\
         `floor` is not a client: it does the least that the work can take (payload read straight into the piece, \
         pieces hashed together, one write each; uploads by `sendfile`).\n\n",
        options.words.join(" "),
        first_line(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        machine()?,
        options.runs,
    );
    for kind in options.clients.iter().copied().chain([Kind::Mktorrent]) {
        text.push_str(&format!("- {kind}: {}\n", version(kind, tools)));
    }
    text.push('\n');
    Ok(text)
}

fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": a processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {model}, {} GiB of memory, Linux {}", kib >> 20, kernel.trim()))
}

fn version(kind: Kind, tools: &Tools) -> String {
    let ask = |program: &str, word: &str| first_line(Command::new(program).arg(word));
    match kind {
        Kind::Ferriswarm => first_line(Command::new(&tools.ferriswarm).arg("--version")),
        Kind::Floor | Kind::PlainTcp => first_line(Command::new(&tools.ferri_bench).arg("--version")),
        Kind::Rqbit => first_line(Command::new(&tools.rqbit).arg("--version")),
        Kind::Libtorrent | Kind::LibtorrentHp => {
            let script = "import libtorrent; print('libtorrent', libtorrent.__version__)";
            let version = first_line(Command::new(&tools.python).args(["-c", script]));
            let preset = if kind == Kind::Libtorrent { "default settings" } else { "high_performance_seed" };
            format!("{version}, {preset}")
        }
        Kind::Transmission => ask("transmission-daemon", "--version"),
        Kind::Aria2 => ask("aria2c", "--version"),
        Kind::Qbittorrent => ask("qbittorrent-nox", "--version"),
        Kind::Rtorrent => ask("rtorrent", "-h"),
        Kind::Mktorrent => ask("mktorrent", "-h"),
    }
}

/// The first line that a program prints, wherever.
fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "?".into() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("?").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let range = Range::of(vec![5.0, 1.0, 2.0, 4.0]);
        assert_eq!((range.min, range.median, range.max), (1.0, 3.0, 5.0));
    }
}
