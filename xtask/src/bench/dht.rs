//! A node of the DHT: what a query costs it, and what a peer that it stores.
//!
//! `ferri-bench` asks at a pace that no limit is met at, from hundreds of addresses, each of which answers as a node does. What
//! is measured is the processor time of the node's process (in nanoseconds, from the scheduler's books), so that it does
//! not matter how fast it could be asked.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Options;
use super::goals::Goal;
use super::table::{Found, Range, Table};
use crate::clients::{Kind, PEER_PORT, Tools};
use crate::lab::{self, Host, Lab, Process};
use crate::report::say;

/// What is asked, in this order, of one process.
const QUERIES: [&str; 4] = ["ping", "find-node", "get-peers", "announce"];

/// Queries a second: answers of up to 700 bytes stay below what ours says in a second (375,000 bytes to strangers).
const RATE: u32 = 400;

/// For each kind of query; the last one stores a peer for each.
const SECONDS: [u32; QUERIES.len()] = [5, 5, 5, 25];

/// Of the queries that must be answered, in percent: else it is a limit that is measured.
const ANSWERED_MIN: u64 = 98;

const NODES: [Kind; 2] = [Kind::Ferriswarm, Kind::Libtorrent];

/// What one process showed.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// Answers a second of processor time, for each kind of query.
    answers: [f64; QUERIES.len()],
    bytes_a_peer: f64,
    /// MiB, in the end.
    memory: f64,
}

/// The table, a row for each program, and our goals.
///
/// # Errors
/// When the network cannot be had.
pub(super) fn measure(tools: &Tools, work: &Path, options: &Options, runs: usize) -> Result<Found> {
    let host = Lab::cable(0)?;
    lab::own_a_network(&host)?;
    let kinds: Vec<Kind> = NODES.into_iter().filter(|kind| options.clients.contains(kind)).collect();
    let mut all: Vec<Result<Vec<Run>, String>> = vec![Ok(Vec::new()); kinds.len()];
    for turn in 1..=runs {
        for (&kind, found) in kinds.iter().zip(&mut all) {
            let Ok(known) = found else { continue };
            match once(tools, &host, &work.join("dht"), kind) {
                Ok(run) => {
                    say(&format!("{turn}/{runs}: {kind:<24} {run:.0?}"));
                    known.push(run);
                }
                Err(error) => {
                    say(&format!("{turn}/{runs}: {kind:<24} failed: {error:#}"));
                    *found = Err(format!("{error:#}"));
                }
            }
        }
    }
    let rows = kinds.iter().zip(&all).map(|(kind, found)| row(*kind, found)).collect();
    let heads = QUERIES.map(|query| format!("{query}: answers per CPU second"));
    let last = ["bytes a stored peer", "memory, MiB"].map(str::to_owned);
    let columns = [String::new(), "runs".into()].into_iter().chain(heads).chain(last).collect();
    let stored = RATE * SECONDS[QUERIES.len() - 1];
    let table = Table { heading: format!("dht: {RATE} queries a second, {stored} peers"), columns, rows };
    let of = |kind: Kind| {
        let found = kinds.iter().zip(&all).find(|(known, _)| **known == kind);
        found.and_then(|(_, found)| found.as_deref().ok()).unwrap_or_default()
    };
    Ok(Found { tables: vec![table], goals: goals(of(Kind::Ferriswarm), of(Kind::Libtorrent)).to_vec() })
}

fn once(tools: &Tools, host: &Host, dir: &Path, kind: Kind) -> Result<Run> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let address = SocketAddr::from((host.address(), PEER_PORT));
    let mut node = start(tools, host, dir, kind, address)?;
    let ping = format!("krpc-ping --to {address}");
    let mut ping = load(tools, dir, &ping)?;
    ensure!(ping.wait(Duration::from_secs(30))?.success(), "it answers no ping\n{}", node.log_tail());
    let mut run = Run::default();
    for (n, (query, seconds)) in QUERIES.into_iter().zip(SECONDS).enumerate() {
        let words = format!("krpc-load --to {address} --query {query} --rate {RATE} --seconds {seconds}");
        let mut load = load(tools, dir, &words)?;
        let log = dir.join("load.log");
        lab::wait_until(Duration::from_secs(30), "the load to begin", || {
            ensure!(load.exit_status()?.is_none(), "the load failed\n{}", load.log_tail());
            Ok(fs::read_to_string(&log)?.contains("ready"))
        })?;
        let (cpu, memory) = (node.cpu_time_exactly()?, node.memory()?);
        let status = load.wait(Duration::from_secs(u64::from(seconds) + 30))?;
        ensure!(status.success(), "the load failed\n{}", load.log_tail());
        let cpu = node.cpu_time_exactly()?.saturating_sub(cpu);
        let text = fs::read_to_string(&log)?;
        let report: Value = serde_json::from_str(text.lines().next_back().unwrap_or_default())?;
        let count = |name: &str| report[name].as_u64().with_context(|| format!("no {name} in {report}"));
        let (sent, answered, stored) = (count("sent")?, count("answered")?, count("stored")?);
        ensure!(sent * ANSWERED_MIN <= answered * 100, "{query}: of {sent} only {answered} were answered");
        run.answers[n] = (answered + stored) as f64 / cpu.as_secs_f64();
        if query == "announce" {
            ensure!(
                sent * ANSWERED_MIN <= stored * 100,
                "of {sent} peers only {stored} were stored: {report}"
            );
            let grown = node.memory()?.saturating_sub(memory);
            run.bytes_a_peer = grown as f64 / stored as f64;
        }
    }
    run.memory = node.memory()? as f64 / f64::from(1_u32 << 20);
    node.stop(rustix::process::Signal::TERM);
    Ok(run)
}

fn start(tools: &Tools, host: &Host, dir: &Path, kind: Kind, address: SocketAddr) -> Result<Process> {
    let mut command;
    if kind == Kind::Ferriswarm {
        command = host.command(&tools.ferriswarm);
        command.args(["dht", "node", "--json", "--dht-port", &PEER_PORT.to_string()]);
        // A router that no node is at; without it the public ones would be asked.
        command.args([
            "--bind",
            &host.address().to_string(),
            "--dht-router",
            "20.255.255.1:9",
            "--state-dir",
        ]);
        command.arg(dir.join("state"));
    } else {
        command = host.command(&tools.python);
        command.arg(tools.peer_script.with_file_name("dht.py"));
        command.args([address.to_string(), address.to_string()]).env("ALONE", "yes");
    }
    Process::start(command.current_dir(dir), &dir.join("node.log"))
}

/// Our end of the cable.
fn load(tools: &Tools, dir: &Path, words: &str) -> Result<Process> {
    let mut command = std::process::Command::new(&tools.ferri_bench);
    Process::start(command.args(words.split(' ')), &dir.join("load.log"))
}

fn row(kind: Kind, found: &Result<Vec<Run>, String>) -> Vec<String> {
    let mut row = vec![kind.name().to_owned()];
    match found {
        Ok(runs) => {
            row.push(runs.len().to_string());
            let cell = |figure: &dyn Fn(&Run) -> f64| {
                let range = Range::of(runs.iter().map(figure).collect());
                format!("{:.0} ({:.0} to {:.0})", range.median, range.min, range.max)
            };
            row.extend((0..QUERIES.len()).map(|n| cell(&|run| run.answers[n])));
            row.extend([cell(&|run| run.bytes_a_peer), cell(&|run| run.memory)]);
        }
        Err(failure) => {
            row.push(format!("failed: {}", failure.lines().next().unwrap_or_default().replace('|', "/")));
            row.resize(QUERIES.len() + 4, String::new());
        }
    }
    row
}

/// Of the kind of query at which we are worst, and of a stored peer.
fn goals(ours: &[Run], other: &[Run]) -> [Goal; 2] {
    let is_measured = !ours.is_empty() && !other.is_empty();
    let median =
        |runs: &[Run], figure: &dyn Fn(&Run) -> f64| Range::of(runs.iter().map(figure).collect()).median;
    let worst = QUERIES
        .into_iter()
        .enumerate()
        .map(|(n, query)| {
            let (ours, other) = (median(ours, &|run| run.answers[n]), median(other, &|run| run.answers[n]));
            (ours / other, format!("{ours:.0}, {other:.0}, {query}"))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|_| is_measured);
    let (figure, words) = worst.unzip();
    let (bytes, others) = (median(ours, &|run| run.bytes_a_peer), median(other, &|run| run.bytes_a_peer));
    let words_of_bytes = if is_measured { format!("{bytes:.0}, {others:.0}") } else { String::new() };
    [
        Goal::new("dht-queries", "", figure, &words.unwrap_or_default()),
        Goal::new("dht-peer", "", is_measured.then_some(bytes / others), &words_of_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::goals::Verdict;

    #[test]
    fn the_kind_of_query_at_which_we_are_worst_counts() {
        let run = |answers, bytes_a_peer| Run { answers, bytes_a_peer, memory: 1.0 };
        let [queries, peer] = goals(&[run([90.0, 90.0, 40.0, 90.0], 50.0)], &[run([50.0; 4], 100.0)]);
        assert_eq!((queries.figure.as_str(), queries.verdict), ("0.80: 40, 50, get-peers", Verdict::Missed));
        assert_eq!((peer.figure.as_str(), peer.verdict), ("0.50: 50, 100", Verdict::Met));
        assert!(goals(&[], &[]).iter().all(|goal| goal.verdict == Verdict::NotMeasured));
    }
}
