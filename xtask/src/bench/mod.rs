//! `cargo xtask bench`: whole programs side by side, one at a time, in a network of their own.
//!
//! A measurement is a list of comparisons ([`scenario`]); a comparison lets several programs do the same work in turns, so
//! that a noisy minute hits all of them, and becomes a table with medians and the range of all runs. Figures of two
//! tables are not comparable; the ratios in one are. What a program does after its start and before its end all counts.
//! The load at the other end is `ferri-bench`, cheaper than any client. A program that fails stands in its table with
//! what it said, and the others go on.

mod create;
pub(crate) mod many;
mod measure;
mod scale;
mod scenario;
mod stage;
mod swarm;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::clients::{Kind, Tools};
use crate::report::say;
use crate::{gate, install, lab};
use scenario::{Comparison, Scenario, Work};
use stage::Stage;
use table::Outcome;

/// What was asked for. What is `None` is as the measurement has it.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    scenarios: Vec<Scenario>,
    clients: Vec<Kind>,
    /// Bytes of the torrent.
    size: Option<u64>,
    /// Bytes of a piece, one table each.
    pieces: Option<Vec<u64>>,
    /// Peers at the other end, one table each.
    peers: Option<Vec<u8>>,
    runs: usize,
    /// Whether the tables replace BENCHMARKS.md.
    write: bool,
    /// Whether the programs are measured as they are in the target folder.
    as_built: bool,
    /// The words all this was parsed from.
    words: Vec<String>,
}

impl Options {
    /// From the words after `bench`.
    ///
    /// # Errors
    /// When a word is not understood.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let names = || Scenario::ALL.map(Scenario::name).join(", ");
        let (what, rest) = words.split_first().with_context(|| format!("all, or {}?", names()))?;
        let scenarios = if *what == "all" {
            Scenario::ALL.to_vec()
        } else {
            let one = |name| Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
            let known = |name| {
                one(name).with_context(|| format!("there is no measurement {name:?}; all, or {}", names()))
            };
            what.split(',').map(known).collect::<Result<_>>()?
        };
        let mut options = Self {
            scenarios,
            clients: Kind::MEASURED.to_vec(),
            size: None,
            pieces: None,
            peers: None,
            runs: 5,
            write: false,
            as_built: false,
            words: words.iter().map(ToString::to_string).collect(),
        };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().copied().with_context(|| format!("{word} needs a value"));
            match *word {
                "--clients" => {
                    options.clients = value()?.split(',').map(Kind::from_str).collect::<Result<_>>()?;
                }
                "--size" => options.size = Some(size(value()?)?),
                "--piece" => options.pieces = Some(value()?.split(',').map(size).collect::<Result<_>>()?),
                "--peers" => {
                    options.peers = Some(value()?.split(',').map(u8::from_str).collect::<Result<_, _>>()?);
                }
                "--runs" => options.runs = value()?.parse()?,
                "--write" => options.write = true,
                "--as-built" => options.as_built = true,
                _ => bail!("there is no option {word}"),
            }
        }
        let peers = options.peers.iter().flatten();
        ensure!(peers.copied().all(|peers| (1..=lab::CABLE_PEERS_MAX).contains(&peers)), "too many peers");
        ensure!(options.runs > 0, "at least one run");
        Ok(options)
    }
}

/// Builds and installs what is needed, measures each scenario in a lab of its own, and collects the tables.
///
/// # Errors
/// When something cannot be had or a lab fails.
pub(crate) fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    if !options.as_built {
        prepare(root, options)?;
    }
    let work = work(root);
    let mut text = String::new();
    for scenario in &options.scenarios {
        let words = ["lab", "bench", scenario.name()].into_iter().map(str::to_owned);
        let words = words.chain(options.words.iter().skip(1).cloned());
        let mut child = lab::command(words)?.spawn().context("starting unshare (package util-linux)")?;
        let alive = child.stdin.take();
        let status = child.wait()?;
        drop(alive);
        ensure!(status.success(), "the lab of {} ended with {status}", scenario.name());
        text.push_str(&fs::read_to_string(tables(&work, *scenario))?);
    }
    if options.write {
        let text = table::introduction(options, &Tools::new(root, &gate::target(root)))? + &text;
        fs::write(root.join("BENCHMARKS.md"), text).context("writing BENCHMARKS.md")?;
        say("BENCHMARKS.md is written");
    }
    fs::remove_dir_all(work)?;
    Ok(ExitCode::SUCCESS)
}

fn prepare(root: &Path, options: &Options) -> Result<()> {
    install::foreign_clients(root)?;
    if options.scenarios.contains(&Scenario::Create) {
        install::makers()?;
    }
    if options.clients.contains(&Kind::Rqbit) {
        install::rqbit(root)?;
    }
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--quiet", "-p", "ferri-bench", "-p", "ferriswarm"]).current_dir(root);
    ensure!(build.status()?.success(), "the build failed");
    Ok(())
}

/// Measures one scenario; inside a lab only. Its tables are printed, and left where `run` finds them.
///
/// # Errors
/// When the lab cannot be had.
pub(crate) fn run_inside(root: &Path, options: &Options) -> Result<()> {
    let tools = Tools::new(root, &gate::target(root));
    let work = work(root);
    for &scenario in &options.scenarios {
        let mut text = format!("## {}\n\n{}\n\n", scenario.name(), scenario.description());
        if scenario == Scenario::Scale {
            let table = scale::measure(&tools, options.runs)?.to_string();
            say(&format!("\n{table}"));
            text.push_str(&table);
        } else {
            let mut stage = Stage::new(&work, tools.clone(), scenario.network())?;
            for comparison in scenario.comparisons(options) {
                let table = compare(&mut stage, &comparison, options.runs)?;
                say(&format!("\n{table}"));
                text.push_str(&table);
            }
        }
        fs::create_dir_all(&work)?;
        fs::write(tables(&work, scenario), text)?;
    }
    Ok(())
}

/// All runs of a comparison, as its table.
fn compare(stage: &mut Stage, comparison: &Comparison, runs: usize) -> Result<String> {
    stage.set(comparison)?;
    let mut outcomes: Vec<Outcome<'_>> = comparison.contenders.iter().map(Outcome::new).collect();
    say(&comparison.heading);
    for run in 0..runs {
        // Another one goes first each time.
        for turn in 0..outcomes.len() {
            let at = (run + turn) % outcomes.len();
            let outcome = &mut outcomes[at];
            if outcome.failure.is_some() {
                continue;
            }
            let measured = match comparison.work {
                Work::Create => create::measure(stage, outcome.contender),
                Work::Swarm { leechers, rate } => swarm::measure(stage, outcome.contender, leechers, rate),
                Work::Leech | Work::Seed { .. } | Work::Check => stage.measure(comparison, outcome.contender),
            };
            let label = &outcome.contender.label;
            match measured {
                Ok(sample) => {
                    say(&format!("{}/{runs}: {label:<24} {sample}", run + 1));
                    outcome.samples.push(sample);
                }
                Err(error) => {
                    say(&format!("{}/{runs}: {label:<24} failed: {error:#}", run + 1));
                    outcome.failure = Some(format!("{error:#}"));
                }
            }
        }
    }
    Ok(table::Table::of(comparison, &outcomes).to_string())
}

fn work(root: &Path) -> PathBuf {
    gate::target(root).join("bench")
}

fn tables(work: &Path, scenario: Scenario) -> PathBuf {
    work.join(format!("{}.md", scenario.name()))
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
        let words =
            ["leech,seed", "--clients", "ours,rqbit", "--runs", "5", "--piece", "256KiB,1MiB", "--write"];
        let options = Options::parse(&words).unwrap();
        assert_eq!(options.clients, [Kind::Ferriswarm, Kind::Rqbit]);
        assert_eq!((options.scenarios.len(), options.runs, options.write), (2, 5, true));
        assert_eq!(options.pieces, Some(vec![256 << 10, 1 << 20]));
        assert!(Options::parse(&["fly"]).is_err());
        assert_eq!(Options::parse(&["all"]).unwrap().scenarios, Scenario::ALL);
    }
}
