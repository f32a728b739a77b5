//! `cargo xtask test`: the one gate. Every step runs even when an earlier one failed; the last line says how many
//! checks passed and failed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::interop::kill::Plan;
use crate::interop::trackerless::FloodPlan;
use crate::report::{Tally, say, test_result};
use crate::{install, lab};

/// One step of the gate, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// rustfmt has nothing to change.
    Fmt,
    /// clippy has nothing to say.
    Clippy,
    /// The program builds without any of its features and without each of them, and clippy has nothing to say.
    Features,
    /// Licences, sources and duplicate versions of what we depend on are those of `deny.toml`.
    Deny,
    /// `cargo test`: units, properties, simulation, the fuzzers' corpora, tidy.
    Unit,
    /// The program as people get it.
    Build,
    /// Our client and other people's.
    Interop,
    /// `kill -9`, power cuts, full and broken disks, and going on.
    Kill,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Fmt,
        Self::Clippy,
        Self::Features,
        Self::Deny,
        Self::Unit,
        Self::Build,
        Self::Interop,
        Self::Kill,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Features => "features",
            Self::Deny => "deny",
            Self::Unit => "unit",
            Self::Build => "build",
            Self::Interop => "interop",
            Self::Kill => "kill",
        }
    }
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.map(Self::name).join(",");
        Self::ALL
            .into_iter()
            .find(|step| step.name() == text)
            .with_context(|| format!("there is no step {text:?}; there are {known}"))
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The steps; empty means all.
    pub(crate) only: Vec<Step>,
    /// For interop and kill: only cases whose name contains this.
    pub(crate) filter: Option<String>,
    /// For interop: another client in our place.
    pub(crate) hub: Option<String>,
}

/// Runs the gate.
///
/// # Errors
/// When what the steps need cannot be had; a step that fails is counted.
pub(crate) fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let steps = steps(options);
    if steps.iter().any(|step| matches!(step, Step::Interop | Step::Kill)) {
        install::foreign_clients(root)?;
    }
    let mut total = Tally::default();
    let mut failures = Vec::new();
    for step in steps {
        say(&format!("\n== {}", step.name()));
        let start = Instant::now();
        let tally = perform(step.name(), commands(root, step, options));
        let Tally { passed, failed } = tally;
        say(&format!(
            "-- {}: {passed} passed, {failed} failed, {:.1} s",
            step.name(),
            start.elapsed().as_secs_f64()
        ));
        if failed > 0 {
            failures.push(step.name());
        }
        total += tally;
    }
    say(&format!("\n{:.0} s in all", start.elapsed().as_secs_f64()));
    if !failures.is_empty() {
        say(&format!("failed: {}", failures.join(", ")));
    }
    say(&format!("{} passed, {} failed", total.passed, total.failed));
    Ok(if total.failed == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the commands of a step and counts. A step that cannot be begun, or that checks nothing, has failed: a gate that says
/// "passed" has looked.
fn perform(name: &str, commands: Result<Vec<(Command, Counts)>>) -> Tally {
    let mut sum = Tally::default();
    let run = commands.and_then(|commands| {
        for (command, counts) in commands {
            sum += stream(command, counts)?;
        }
        Ok(())
    });
    judge(name, sum, run)
}

/// What a step counts that counted `sum` and ended so.
fn judge(name: &str, mut sum: Tally, run: Result<()>) -> Tally {
    if let Err(reason) = run {
        say(&format!("{name}: {reason:#}"));
        sum.count(false);
    }
    if sum == Tally::default() {
        say(&format!("{name}: nothing was checked; no case has a name that fits the filter"));
        sum.count(false);
    }
    sum
}

/// The long form of the kill test, with the words after `kill`.
///
/// # Errors
/// When the words are not understood or what it needs cannot be had.
pub(crate) fn kill(root: &Path, words: &[&str]) -> Result<ExitCode> {
    Plan::parse(words)?;
    install::foreign_clients(root)?;
    long(root, "long-kill", words)
}

/// The long form of the flood, with the words after `flood`.
///
/// # Errors
/// When the words are not understood or what it needs cannot be had.
pub(crate) fn flood(root: &Path, words: &[&str]) -> Result<ExitCode> {
    FloodPlan::parse(words)?;
    install::foreign_clients(root)?;
    long(root, "long-flood", words)
}

/// Builds, and runs a long form in a lab.
fn long(root: &Path, test: &str, words: &[&str]) -> Result<ExitCode> {
    let build = commands(root, Step::Build, &Options::default())?;
    let words = ["lab", test].into_iter().chain(words.iter().copied());
    let mut total = Tally::default();
    for (command, counts) in build.into_iter().chain([(lab::command(words)?, Counts::TestResults)]) {
        total += stream(command, counts)?;
    }
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those asked for, and the build that they need.
fn steps(options: &Options) -> Vec<Step> {
    if options.only.is_empty() {
        return Step::ALL.to_vec();
    }
    let mut steps = options.only.clone();
    let ours = options.hub.is_none();
    if ours && steps.iter().any(|step| matches!(step, Step::Interop | Step::Kill)) {
        steps.push(Step::Build);
    }
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// What a build of the program may leave out.
const FEATURES: [&str; 5] = ["dht", "lsd", "port-mapping", "tls", "tracker-server"];

/// How a command's success is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// One check: its exit code.
    ExitCode,
    /// As many as its `test result:` lines say.
    TestResults,
}

fn commands(root: &Path, step: Step, options: &Options) -> Result<Vec<(Command, Counts)>> {
    let cargo = |args: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args).current_dir(root);
        command
    };
    let inside = |args: &[&str]| -> Result<Command> {
        let mut args: Vec<&str> = args.to_vec();
        if let Some(filter) = &options.filter {
            args.extend(["--filter", filter]);
        }
        if let Some(hub) = &options.hub {
            args.extend(["--hub", hub]);
        }
        lab::command(args)
    };
    Ok(match step {
        Step::Fmt => vec![(cargo(&["fmt", "--all", "--check"]), Counts::ExitCode)],
        Step::Clippy => {
            let args = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
            vec![(cargo(&args), Counts::ExitCode)]
        }
        Step::Features => {
            let without = |features: String| {
                let mut command = cargo(&["clippy", "--quiet", "-p", "ferriswarm", "--no-default-features"]);
                command.args(["--features", &features, "--", "-D", "warnings"]);
                (command, Counts::ExitCode)
            };
            let all_but = |left_out| {
                let features: Vec<_> = FEATURES.into_iter().filter(|feature| *feature != left_out).collect();
                without(features.join(","))
            };
            [without(String::new())].into_iter().chain(FEATURES.map(all_but)).collect()
        }
        Step::Deny => {
            let mut deny = Command::new(install::cargo_deny(root)?);
            // Not `advisories`: their database is on the network, and a fault found today is none of this commit.
            deny.args(["--log-level", "error", "check", "licenses", "bans", "sources"]).current_dir(root);
            vec![(deny, Counts::ExitCode)]
        }
        Step::Unit => {
            vec![(cargo(&["test", "--workspace", "--no-fail-fast", "--quiet"]), Counts::TestResults)]
        }
        Step::Build => {
            let args = ["build", "--release", "--quiet", "-p", "ferriswarm", "-p", "ferri-bench"];
            vec![(cargo(&args), Counts::ExitCode)]
        }
        Step::Interop => vec![(inside(&["lab", "interop"])?, Counts::TestResults)],
        Step::Kill => vec![(inside(&["lab", "kill"])?, Counts::TestResults)],
    })
}

/// Runs a command, shows what it prints while it prints it, and counts.
fn stream(mut command: Command, counts: Counts) -> Result<Tally> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    // Held open until the end: a lab ends when its standard input does.
    let alive = child.stdin.take();
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("the pipe was asked for")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        say(&line);
        if let (Counts::TestResults, Some(result)) = (counts, test_result(&line)) {
            tally += result;
        }
    }
    let passed = child.wait()?.success();
    drop(alive);
    let unexplained = !passed && tally.failed == 0;
    if counts == Counts::ExitCode || unexplained {
        tally.count(passed);
    }
    Ok(tally)
}

/// Cargo's output folder for the tree at `root`.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_cannot_be_begun_or_checks_nothing_fails() {
        let failure = Tally { passed: 0, failed: 1 };
        assert_eq!(perform("test", Err(anyhow::anyhow!("there is no lab"))), failure);
        for program in ["no-program-has-this-name", "false"] {
            assert_eq!(perform("test", Ok(vec![(Command::new(program), Counts::TestResults)])), failure);
        }
        assert_eq!(judge("test", Tally::default(), Ok(())), failure);
        let two = Tally { passed: 2, failed: 0 };
        assert_eq!(judge("test", two, Ok(())), two);
        assert_eq!(judge("test", two, Err(anyhow::anyhow!("the lab is gone"))), Tally { failed: 1, ..two });
    }

    #[test]
    fn interop_needs_the_program() {
        let options = Options { only: vec![Step::Kill, Step::Fmt], ..Options::default() };
        assert_eq!(steps(&options), [Step::Fmt, Step::Build, Step::Kill]);
        let foreign =
            Options { only: vec![Step::Interop], hub: Some("libtorrent".into()), ..Options::default() };
        assert_eq!(steps(&foreign), [Step::Interop]);
    }
}
