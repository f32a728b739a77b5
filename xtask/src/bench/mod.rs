//! `cargo xtask bench`: whole programs side by side, one at a time, in a network of their own.
//!
//! A measurement is a list of comparisons ([`scenario`]); a comparison lets several programs do the same work in turns, so
//! that a noisy minute hits all of them, and becomes a table with medians and the range of all runs. Figures of two
//! tables are not comparable; the ratios in one are, and the project's goals are made of them ([`goals`]).
//! The load at the other end is `ferri-bench`, cheaper than any client. A program that fails stands in its table with
//! what it said, and the others go on.

mod crash;
mod dht;
mod document;
mod files;
mod goals;
mod hash;
mod hostile;
mod magnet;
mod many;
mod measure;
mod origin;
mod program;
mod scale;
mod scenario;
mod stage;
mod swarm;
mod table;
mod tracker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::clients::{Kind, Tools};
use crate::report::say;
use crate::{gate, install, lab};
use document::{Document, Reasons};
pub(crate) use measure::json as last_json;
use scenario::{Comparison, Scenario, Work};
use stage::Stage;
use table::{Found, Outcome, Table};

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
    /// Of `many`: torrents of the process, and seconds for which it is watched.
    torrents: usize,
    idle: u64,
    /// Whether the scenarios' sections of BENCHMARKS.md are replaced.
    write: bool,
    /// Whether the programs are measured as they are in the target folder.
    as_built: bool,
    /// A folder with another build of our programs, which takes part in transfers, checks and `many`.
    against: Option<PathBuf>,
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
            torrents: 5000,
            idle: 20,
            write: false,
            as_built: false,
            against: None,
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
                "--torrents" => options.torrents = value()?.parse()?,
                "--idle" => options.idle = value()?.parse()?,
                "--write" => options.write = true,
                "--as-built" => options.as_built = true,
                "--against" => {
                    options.against = Some(Path::new(value()?).canonicalize().context("--against FOLDER")?);
                }
                _ => bail!("there is no option {word}"),
            }
        }
        let peers = options.peers.iter().flatten();
        ensure!(peers.copied().all(|peers| (1..=lab::CABLE_PEERS_MAX).contains(&peers)), "too many peers");
        if options.against.is_some() {
            ensure!(!options.write, "figures of another build are for comparison, not for BENCHMARKS.md");
            options.clients.push(Kind::Earlier);
        }
        ensure!(options.runs > 0 && options.idle > 0, "at least one run, and one second");
        Ok(options)
    }
}

/// Builds and installs what is needed, measures each scenario in a lab of its own, and collects the tables. A scenario whose
/// lab fails does not keep the others from being measured.
///
/// # Errors
/// When something cannot be had, or BENCHMARKS.md cannot be written.
pub(crate) fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    if !options.as_built {
        prepare(root, options)?;
    }
    let (work, path, reasons) = (work(root), root.join("BENCHMARKS.md"), Reasons::read(root)?);
    let mut document = Document::read(&path)?;
    document.introduction = origin::introduction(&Tools::new(root, &gate::target(root)));
    let mut measured = Document::default();
    let mut failed = Vec::new();
    for scenario in &options.scenarios {
        if let Err(error) = run_in_a_lab(*scenario, options) {
            say(&format!("{}: {error:#}", scenario.name()));
            failed.push(scenario.name());
            continue;
        }
        let section = fs::read_to_string(tables(&work, *scenario))?;
        measured.replace(scenario.name(), section.clone());
        document.replace(scenario.name(), section);
        if options.write {
            // Each at once: what has been measured stays when something later fails.
            fs::write(&path, document.render(&reasons)).context("writing BENCHMARKS.md")?;
        }
    }
    say(&document::table(&measured.goals(), &reasons));
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Puts the goals into BENCHMARKS.md again, with the reasons as they are, and prints them; measures nothing.
///
/// # Errors
/// When the files cannot be read or written.
pub(crate) fn write_goals(root: &Path) -> Result<ExitCode> {
    let (path, reasons) = (root.join("BENCHMARKS.md"), Reasons::read(root)?);
    let document = Document::read(&path)?;
    fs::write(path, document.render(&reasons)).context("writing BENCHMARKS.md")?;
    say(&document::table(&document.goals(), &reasons));
    Ok(ExitCode::SUCCESS)
}

fn run_in_a_lab(scenario: Scenario, options: &Options) -> Result<()> {
    let words = ["lab", "bench", scenario.name()].into_iter().map(str::to_owned);
    let words = words.chain(options.words.iter().skip(1).cloned());
    let mut child = lab::command(words)?.spawn().context("starting unshare (package util-linux)")?;
    let alive = child.stdin.take();
    let status = child.wait()?;
    drop(alive);
    ensure!(status.success(), "the lab ended with {status}");
    Ok(())
}

fn prepare(root: &Path, options: &Options) -> Result<()> {
    install::foreign_clients(root)?;
    if options.scenarios.contains(&Scenario::Create) {
        install::makers()?;
    }
    if options.scenarios.contains(&Scenario::Tracker) {
        install::aquatic(root)?;
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
    let tools = Tools { earlier: options.against.clone(), ..Tools::new(root, &gate::target(root)) };
    let work = work(root);
    for &scenario in &options.scenarios {
        let start = Instant::now();
        let runs = scenario.runs(options.runs);
        let found = match scenario {
            Scenario::Scale => scale::measure(&tools, runs)?,
            Scenario::Hash => hash::measure(&tools, runs)?,
            Scenario::Crash => crash::measure(&tools, &work)?,
            Scenario::Dht => dht::measure(&tools, &work, options, runs)?,
            Scenario::Files => {
                // Its programs talk through loopback, which the cable brings along.
                let _cable = lab::Lab::cable(0)?;
                files::measure(&tools, &work, runs)?
            }
            Scenario::Magnet => magnet::measure(&tools, &work, options, runs)?,
            Scenario::Hostile => {
                let _cable = lab::Lab::cable(0)?;
                hostile::measure(&tools, &work, runs)?
            }
            Scenario::Tracker => {
                let _cable = lab::Lab::cable(0)?;
                tracker::measure(&tools, &work, runs)?
            }
            Scenario::Many => {
                // Its programs talk through loopback, which the cable brings along.
                let _cable = lab::Lab::cable(0)?;
                many::measure(&tools, &work, options, runs)?
            }
            _ => compare_all(&mut Stage::new(&work, tools.clone(), scenario.network())?, scenario, options)?,
        };
        say(&format!("\n{found}{} took {} s", scenario.name(), start.elapsed().as_secs()));
        fs::create_dir_all(&work)?;
        fs::write(tables(&work, scenario), origin::head(scenario, options)? + &found.to_string())?;
    }
    Ok(())
}

/// All comparisons of a scenario.
fn compare_all(stage: &mut Stage, scenario: Scenario, options: &Options) -> Result<Found> {
    let comparisons = scenario.comparisons(options);
    let mut measured = Vec::new();
    for comparison in &comparisons {
        measured.push((comparison, compare(stage, comparison)?));
    }
    let tables = measured.iter().map(|(comparison, outcomes)| Table::of(comparison, outcomes)).collect();
    Ok(Found { tables, goals: goals::judge(scenario, &measured) })
}

/// All runs of a comparison.
fn compare<'a>(stage: &mut Stage, comparison: &'a Comparison) -> Result<Vec<Outcome<'a>>> {
    stage.set(comparison)?;
    let mut outcomes: Vec<Outcome<'_>> = comparison.contenders.iter().map(Outcome::new).collect();
    let runs = comparison.contenders.iter().map(|contender| contender.runs).max().unwrap_or(0);
    say(&comparison.heading);
    for run in 0..runs {
        // Another one goes first each time.
        for turn in 0..outcomes.len() {
            let at = (run + turn) % outcomes.len();
            if table::is_finished(&outcomes, at) {
                continue;
            }
            let outcome = &mut outcomes[at];
            let measured = match comparison.work {
                Work::Create => program::create(stage, outcome.contender),
                Work::ReadCold => program::read_cold(stage, outcome.contender),
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
    Ok(outcomes)
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
        let compared = Options::parse(&["leech", "--clients", "ours", "--against", "/"]).unwrap();
        assert_eq!(compared.clients, [Kind::Ferriswarm, Kind::Earlier]);
        assert!(Options::parse(&["leech", "--against", "/", "--write"]).is_err());
        assert_eq!(Options::parse(&["all"]).unwrap().scenarios, Scenario::ALL);
    }
}
