//! Development tasks: `cargo xtask test` is the gate, `cargo xtask bench` measures.

mod bench;
mod clients;
mod gate;
mod http;
mod install;
mod interop;
mod lab;
mod opentracker;
mod picture;
mod report;
mod sim;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use clients::{Kind, Tools};
use report::{Tally, say};

const USAGE: &str = "\
cargo xtask test [--only fmt,clippy,features,deny,unit,build,interop,kill] [--filter NAME] [--hub CLIENT]
    The gate. Installs what is missing, runs the steps, ends with `N passed, N failed`.
    --filter NAME   interop, kill: only cases whose name contains NAME
    --hub CLIENT    interop: another client (libtorrent, transmission, ...) in ferriswarm's place

cargo xtask kill [--kills 200] [--size 2GiB] [--rate 20MiB]
    kill -9 that often over one download, then completion; a table. The gate runs a short form.

cargo xtask flood [--seconds 60] [--rate 50000]
    Hostile packets to a node of the DHT for so long. The gate runs a short form.

cargo xtask bench all|leech,seed,check,cold,create,relay,stall,swarm,memory,scale,many,crash,hash,magnet,dht,files,hostile,tracker
                  [--clients floor,ours,rqbit,libtorrent,libtorrent-hp,aria2,rtorrent,transmission] [--runs 5]
                  [--size 1GiB] [--piece 256KiB,1MiB] [--peers 4,200] [--torrents 5000] [--idle 20]
                  [--against FOLDER] [--write] [--as-built]
    Measures whole processes side by side, and compares them with the goals.
    --torrents N    many: torrents of the process, watched idle for --idle seconds
    --against FOLDER
                    leech, seed, check, memory, many: another build of ferriswarm and ferri-bench takes part
    --write         puts tables and goals into BENCHMARKS.md, the sections of these measurements only
    --as-built      builds nothing before

cargo xtask bench goals
    Puts the goals into BENCHMARKS.md again, with the reasons that xtask/assets/reasons.md gives.

cargo xtask sim [--seeds 10000] [--from 0] [--disks 100] [--points 40]
    Runs that many random swarms on the virtual network, and downloads on the virtual disk with that many power cuts
    each (three disks a cut), and prints what broke a promise.

cargo xtask sim --dht 10000 [--seeds 1] [--from 0]
    Runs a DHT of that many nodes with churn, loss and NAT, 2,000 sybils in several kinds of networks against 200 nodes,
    and a flood of 50,000 packets a second at one node, with so many seeds each. Prints tables and what broke a promise.

cargo xtask picture
    Draws the demo's terminal into docs/demo.svg, for the README.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    // What cargo says now is right even when the tree was moved after the build.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = xtask.parent().context("xtask lies in the workspace")?;
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", rest @ ..] => gate::run(root, &test_options(rest)?),
        ["kill", rest @ ..] => gate::kill(root, rest),
        ["flood", rest @ ..] => gate::flood(root, rest),
        ["bench", "goals"] => bench::write_goals(root),
        ["bench", rest @ ..] => bench::run(root, &bench::Options::parse(rest)?),
        ["lab", "bench", rest @ ..] => {
            bench::run_inside(root, &bench::Options::parse(rest)?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["lab", "long-kill", rest @ ..] => long_kill(root, rest),
        ["lab", "long-flood", rest @ ..] => long_flood(root, rest),
        ["lab", test, rest @ ..] => inside(root, test, rest),
        ["sim", rest @ ..] => sim::run(rest),
        ["picture"] => picture(root),
        ["help" | "--help" | "-h"] => {
            say(USAGE);
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("what to do?\n\n{USAGE}"),
    }
}

fn picture(root: &Path) -> Result<ExitCode> {
    let build = std::process::Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "--quiet", "-p", "ferriswarm"])
        .status()?;
    anyhow::ensure!(build.success(), "the program does not build");
    std::fs::create_dir_all(root.join("docs"))?;
    let binary = gate::target(root).join("release/ferriswarm");
    // Well into the download, so that the live line is seen at work.
    let ready = |screen: &str| {
        let mut shares = (600..900).map(|share| format!("  {}.{}%", share / 10, share % 10));
        screen.contains("  peers ") && shares.any(|share| screen.contains(&share))
    };
    picture::draw(&binary, "demo", ready, &root.join("docs/demo.svg"))?;
    Ok(ExitCode::SUCCESS)
}

fn test_options(words: &[&str]) -> Result<gate::Options> {
    let mut options = gate::Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match *word {
            "--only" => options.only = value()?.split(',').map(str::parse).collect::<Result<_>>()?,
            "--filter" => options.filter = Some((*value()?).to_owned()),
            "--hub" => options.hub = Some((*value()?).to_owned()),
            _ => bail!("there is no option {word}\n\n{USAGE}"),
        }
    }
    Ok(options)
}

/// What `gate` runs inside a lab; it ends with the line that `cargo test` would print.
fn inside(root: &Path, test: &str, words: &[&str]) -> Result<ExitCode> {
    let gate::Options { filter, hub, .. } = test_options(words)?;
    let target: PathBuf = gate::target(root);
    let options = interop::Options {
        work: target.join(test),
        tools: Tools::new(root, &target),
        hub: hub.map_or(Ok(Kind::Ferriswarm), |name| name.parse())?,
        filter,
    };
    let tally = match test {
        "interop" => interop::run(options)?,
        "kill" => interop::proofs::run(&options)?,
        _ => bail!("there is no test {test:?} to run in a lab"),
    };
    Ok(conclude(tally))
}

/// What `gate::kill` runs inside a lab.
fn long_kill(root: &Path, words: &[&str]) -> Result<ExitCode> {
    let plan = interop::kill::Plan::parse(words)?;
    let target = gate::target(root);
    let (work, tools) = (target.join("long-kill"), Tools::new(root, &target));
    let options = interop::Options { work, tools, hub: Kind::Ferriswarm, filter: None };
    Ok(conclude(interop::proofs::run_long_kill(&options, &plan)?))
}

/// What `gate::flood` runs inside a lab.
fn long_flood(root: &Path, words: &[&str]) -> Result<ExitCode> {
    let plan = interop::trackerless::FloodPlan::parse(words)?;
    let target = gate::target(root);
    let (work, tools) = (target.join("long-flood"), Tools::new(root, &target));
    let options = interop::Options { work, tools, hub: Kind::Ferriswarm, filter: None };
    Ok(conclude(interop::trackerless::run_long_flood(&options, plan)?))
}

/// Prints the line that `cargo test` would.
fn conclude(tally: Tally) -> ExitCode {
    let Tally { passed, failed } = tally;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!("test result: {word}. {passed} passed; {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
