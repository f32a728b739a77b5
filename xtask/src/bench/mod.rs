//! `cargo xtask bench`: whole clients side by side, one at a time, at the end of one virtual cable.
//!
//! The other end is `ferri-bench`, cheaper than any client. Clients take turns, so that a noisy minute hits all of
//! them, and a table has medians with the range of all runs. Figures of two tables are not comparable; the ratios in
//! one are. What a client does after its start and before its end all counts.

mod measure;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::clients::{Kind, Tools};
use crate::report::say;
use crate::{gate, install, lab};
use measure::{Bench, Sample};
use table::Table;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A download from `peers` seeders.
    Leech,
    /// An upload to `peers` leechers, each of which takes its share of the torrent.
    Seed,
    /// The check of a complete file before seeding it; the file is in the page cache.
    Check,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Leech, Self::Seed, Self::Check];

    fn name(self) -> &'static str {
        match self {
            Self::Leech => "leech",
            Self::Seed => "seed",
            Self::Check => "check",
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    modes: Vec<Mode>,
    clients: Vec<Kind>,
    /// Bytes of the torrent.
    size: u64,
    /// Bytes of a piece.
    piece: u64,
    peers: u8,
    runs: usize,
    /// Whether the table replaces BENCHMARKS.md.
    write: bool,
    /// The words all this was parsed from, for the inner process.
    words: Vec<String>,
}

impl Options {
    /// From the words after `bench`.
    ///
    /// # Errors
    /// When a word is not understood.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let (mode, rest) = words.split_first().context("leech, seed, check or all?")?;
        let modes = match *mode {
            "all" => Mode::ALL.to_vec(),
            name => vec![
                Mode::ALL
                    .into_iter()
                    .find(|mode| mode.name() == name)
                    .with_context(|| format!("there is no measurement {name:?}"))?,
            ],
        };
        let mut options = Self {
            modes,
            clients: vec![Kind::Floor, Kind::Ferriswarm, Kind::Rqbit, Kind::Libtorrent],
            size: 1 << 30,
            piece: 1 << 20,
            peers: 4,
            runs: 3,
            write: false,
            words: words.iter().map(ToString::to_string).collect(),
        };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().copied().with_context(|| format!("{word} needs a value"));
            match *word {
                "--clients" => {
                    options.clients = value()?.split(',').map(Kind::from_str).collect::<Result<_>>()?;
                }
                "--size" => options.size = size(value()?)?,
                "--piece" => options.piece = size(value()?)?,
                "--peers" => options.peers = value()?.parse()?,
                "--runs" => options.runs = value()?.parse()?,
                "--write" => options.write = true,
                _ => bail!("there is no option {word}"),
            }
        }
        ensure!((1..=100).contains(&options.peers) && options.runs > 0, "at least one peer and one run");
        Ok(options)
    }
}

/// Builds and installs what is needed, then measures inside a lab.
///
/// # Errors
/// When something cannot be had or a client fails.
pub(crate) fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    install::foreign_clients(root)?;
    if options.clients.contains(&Kind::Rqbit) {
        install::rqbit(root)?;
    }
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--quiet", "-p", "ferri-bench"]).current_dir(root);
    if options.clients.contains(&Kind::Ferriswarm) {
        build.args(["-p", "ferriswarm"]);
    }
    ensure!(build.status()?.success(), "the build failed");
    let words = ["lab", "bench"].into_iter().chain(options.words.iter().map(String::as_str));
    let mut child = lab::command(words)?.spawn().context("starting unshare (package util-linux)")?;
    let alive = child.stdin.take();
    let status = child.wait()?;
    drop(alive);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures; inside a lab only.
///
/// # Errors
/// When a client fails.
pub(crate) fn run_inside(root: &Path, options: &Options) -> Result<()> {
    let target: PathBuf = gate::target(root);
    let tools = Tools::new(root, &target);
    let bench = Bench::new(&target.join("bench"), tools.clone(), options.size, options.piece, options.peers)?;
    let mut text = table::introduction(options, &tools)?;
    for &mode in &options.modes {
        let mut samples: Vec<(Kind, Vec<Sample>)> =
            options.clients.iter().map(|kind| (*kind, Vec::new())).collect();
        for run in 0..options.runs {
            // Another client goes first each time.
            for turn in 0..samples.len() {
                let at = (run + turn) % options.clients.len();
                let (kind, done) = &mut samples[at];
                let sample =
                    bench.measure(mode, *kind).with_context(|| format!("{kind}, {}", mode.name()))?;
                say(&format!("{} {}/{}: {kind:<12} {sample}", mode.name(), run + 1, options.runs));
                done.push(sample);
            }
        }
        let table = Table { mode, size: options.size, samples };
        say(&format!("\n{table}"));
        text.push_str(&table.to_string());
    }
    if options.write {
        std::fs::write(root.join("BENCHMARKS.md"), text).context("writing BENCHMARKS.md")?;
        say("BENCHMARKS.md is written");
    }
    bench.clean();
    Ok(())
}

/// `1GiB`, `16KiB`, `256MiB` or bytes.
///
/// # Errors
/// When it is neither, or too large.
pub(crate) fn size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => bail!("there is no unit {unit:?}; KiB, MiB, GiB"),
    };
    let number: u64 = digits.parse().with_context(|| format!("not a size: {text:?}"))?;
    number.checked_mul(unit).with_context(|| format!("too large: {text:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("1GiB").unwrap(), 1 << 30);
        assert_eq!(size("12").unwrap(), 12);
        assert!(size("1GB").is_err() && size("99999999999GiB").is_err());
    }

    #[test]
    fn options_are_read() {
        let options = Options::parse(&["all", "--clients", "ours,rqbit", "--runs", "5", "--write"]).unwrap();
        assert_eq!(options.clients, [Kind::Ferriswarm, Kind::Rqbit]);
        assert_eq!((options.modes.len(), options.runs, options.write), (3, 5, true));
        assert!(Options::parse(&["fly"]).is_err());
    }
}
