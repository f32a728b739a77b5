//! The figures as a person reads them: Markdown, medians with ranges, ratios.

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::Result;

use super::measure::Sample;
use super::{Mode, Options};
use crate::clients::{Kind, Tools};

/// All runs of one measurement.
pub(super) struct Table {
    pub(super) mode: Mode,
    /// Bytes moved or checked in a run.
    pub(super) size: u64,
    pub(super) samples: Vec<(Kind, Vec<Sample>)>,
}

impl Table {
    /// What the others are compared with: ours if it ran, else the first.
    fn reference(&self) -> Option<&(Kind, Vec<Sample>)> {
        self.samples.iter().find(|(kind, _)| *kind == Kind::Ferriswarm).or_else(|| self.samples.first())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((reference, base)) = self.reference() else { return Ok(()) };
        let (base_wall, base_cpu) = (Range::of(base, wall), Range::of(base, cpu));
        let gib = self.size as f64 / f64::from(1_u32 << 30);
        writeln!(f, "### {}\n", self.mode.name())?;
        writeln!(
            f,
            "| client | wall, s | CPU, s | CPU, s per GiB | peak memory, MiB | wall / {reference} | CPU / {reference} |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|")?;
        for (kind, samples) in &self.samples {
            let (wall, cpu) = (Range::of(samples, wall), Range::of(samples, cpu));
            let memory = Range::of(samples, |sample| sample.memory as f64 / f64::from(1_u32 << 20));
            writeln!(
                f,
                "| {kind} | {wall} | {cpu} | {:.2} | {:.0} | {:.2} | {:.2} |",
                cpu.median / gib,
                memory.median,
                wall.median / base_wall.median,
                cpu.median / base_cpu.median,
            )?;
        }
        writeln!(f)
    }
}

/// A median and what is around it.
#[derive(Clone, Copy, Debug)]
struct Range {
    min: f64,
    median: f64,
    max: f64,
}

impl Range {
    fn of(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Self {
        let mut figures: Vec<f64> = samples.iter().map(figure).collect();
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

fn wall(sample: &Sample) -> f64 {
    sample.wall.as_secs_f64()
}

fn cpu(sample: &Sample) -> f64 {
    sample.cpu.as_secs_f64()
}

/// What stands above the tables in BENCHMARKS.md.
pub(super) fn introduction(options: &Options, tools: &Tools) -> Result<String> {
    let mut text = format!(
        "# Measurements\n\n\
         Made by `cargo xtask bench {}` on {}: {}.\n\n\
         Whole processes, one at a time, at the end of a virtual Ethernet cable between two network namespaces; the \
         other end is `ferri-bench`, which is cheaper than any client. {} MiB in pieces of {} KiB, {} peers, medians \
         of {} runs in turns with the range of all of them. Wall and CPU of a download are from the start of the \
         program, CPU to its end; of an upload and of a check, from the first connection or the start to the end of \
         the work. Ratios within a table mean something; figures of two tables do not compare.\n\n\
         `floor` is not a client: it does the least that a transfer can take (payload read straight into the piece, \
         hashed once, one write a piece; uploads by `sendfile`).\n\n",
        options.words.join(" "),
        first_line(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        machine()?,
        options.size >> 20,
        options.piece >> 10,
        options.peers,
        options.runs,
    );
    for &kind in &options.clients {
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
        Kind::Floor => first_line(Command::new(&tools.ferri_bench).arg("--version")),
        Kind::Rqbit => first_line(Command::new(&tools.rqbit).arg("--version")),
        Kind::Libtorrent => {
            let script = "import libtorrent; print('libtorrent', libtorrent.__version__)";
            first_line(Command::new(&tools.python).args(["-c", script]))
        }
        Kind::Transmission => ask("transmission-daemon", "--version"),
        Kind::Aria2 => ask("aria2c", "--version"),
        Kind::Qbittorrent => ask("qbittorrent-nox", "--version"),
        Kind::Rtorrent => ask("rtorrent", "-h"),
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
    use std::time::Duration;

    #[test]
    fn the_median_lies_in_the_middle() {
        let sample = |wall| Sample { wall: Duration::from_secs(wall), cpu: Duration::ZERO, memory: 0 };
        let range = Range::of(&[sample(5), sample(1), sample(2), sample(4)], wall);
        assert_eq!((range.min, range.median, range.max), (1.0, 3.0, 5.0));
    }
}
