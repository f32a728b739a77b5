//! Long runs of the simulators; `cargo test` makes short ones.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ferri_sim::dht::{self, Families, Networks, Report, Scenario, quantile};

use crate::USAGE;
use crate::report::{Tally, say};

/// What was asked for.
struct Plan {
    seeds: Option<u64>,
    from: u64,
    disks: u64,
    points: usize,
    dht: Option<usize>,
}

/// `cargo xtask sim`, with the words behind it.
///
/// # Errors
/// When the words are not understood, or a simulation cannot be set up.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    let mut plan = Plan { seeds: None, from: 0, disks: 100, points: 40, dht: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match *word {
            "--seeds" => plan.seeds = Some(value()?.parse().context("--seeds needs a number")?),
            "--from" => plan.from = value()?.parse().context("--from needs a number")?,
            "--disks" => plan.disks = value()?.parse().context("--disks needs a number")?,
            "--points" => plan.points = value()?.parse().context("--points needs a number")?,
            "--dht" => plan.dht = Some(value()?.parse().context("--dht needs a number of nodes")?),
            _ => bail!("there is no option {word}\n\n{USAGE}"),
        }
    }
    let mut tally = Tally::default();
    if let Some(nodes) = plan.dht {
        let seeds = plan.from..plan.from + plan.seeds.unwrap_or(1);
        tally += sim_dht(nodes, seeds.clone());
        tally += sim_sybils(seeds.clone());
        tally += sim_flood(seeds);
    } else {
        tally += sim_swarms(plan.from, plan.seeds.unwrap_or(10_000));
        tally += sim_disks(plan.from, plan.disks, plan.points)?;
    }
    let Tally { passed, failed } = tally;
    say(&format!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What issue numbers call the goals: the share of announces that is found, and of peers among sybils, of a hundred.
const FOUND: f64 = 99.0;
const FOUND_AMONG_SYBILS: f64 = 95.0;

fn sim_dht(nodes: usize, seeds: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let kinds = [
        ("v4", Families::V4, nodes),
        ("v6", Families::V6, nodes.min(500)),
        ("mixed", Families::Mixed, nodes.min(500)),
    ];
    say(
        "| network | nodes | seed | lookups of | queries to first peers | to the closest nodes | found | s to first peers | to the end |",
    );
    say("|---|---|---|---|---|---|---|---|---|");
    for (name, families, nodes) in kinds {
        let scenario = Scenario { families, ..Scenario::internet(nodes) };
        for seed in seeds.clone() {
            let begun = Instant::now();
            let report = dht::run(&scenario, seed);
            for (kind, lookups) in [("old nodes", &report.old), ("fresh nodes", &report.fresh)] {
                let queries = |list: &[u64]| format!("{} / {}", quantile(list, 0.5), quantile(list, 0.99));
                let seconds = |list: &[u64]| {
                    let at = |share| quantile(list, share) as f64 / 1e3;
                    format!("{:.2} / {:.2}", at(0.5), at(0.99))
                };
                say(&format!(
                    "| {name} | {nodes} | {seed} | {kind} | {} | {} | {} of {} | {} | {} |",
                    queries(&lookups.queries_to_peers),
                    queries(&lookups.queries),
                    lookups.found,
                    lookups.made,
                    seconds(&lookups.time_to_peers),
                    seconds(&lookups.time),
                ));
                let median = quantile(&lookups.queries_to_peers, 0.5) as f64;
                tally.count(median <= scenario.queries_allowed());
                tally.count(FOUND <= lookups.found_percent());
            }
            tally += conclude(&report, begun);
        }
    }
    say("median / 99th percentile");
    tally
}

/// Those of the attacker whose ids belong to their addresses are shown and promised nothing of.
fn sim_sybils(seeds: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let networks = [
        ("4 networks /24", Networks::Slash24(4)),
        ("16 networks /24", Networks::Slash24(16)),
        ("4 networks /16", Networks::Slash16(4)),
        ("2,000 networks /24", Networks::Everywhere),
    ];
    say("\n| 2,000 sybils in | ids | seed | honest peer found |\n|---|---|---|---|");
    for (ids, ids_fit) in [("as they like", false), ("of their addresses", true)] {
        for (name, networks) in networks {
            for seed in seeds.clone() {
                let begun = Instant::now();
                let report = dht::run(&Scenario::sybils(networks, ids_fit), seed);
                say(&format!(
                    "| {name} | {ids} | {seed} | {:.1} % of {} |",
                    report.old.found_percent(),
                    report.old.made
                ));
                tally.count(ids_fit || FOUND_AMONG_SYBILS <= report.old.found_percent());
                tally += conclude(&report, begun);
            }
        }
    }
    tally
}

fn sim_flood(seeds: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    say(
        "\n| hostile packets | seed | peers, items, MiB after 20 s | after 60 s | found | honest queries answered |\n|---|---|---|---|---|---|",
    );
    for seed in seeds {
        let begun = Instant::now();
        let report = dht::run(&Scenario::flood(50_000, Duration::from_secs(60)), seed);
        let flood = &report.flood;
        let sizes = |second: usize| {
            let sizes = flood.sizes.get(second).copied().unwrap_or_default();
            format!("{}, {}, {}", sizes.peers, sizes.items, sizes.memory >> 20)
        };
        say(&format!(
            "| {} | {seed} | {} | {} | {} of {} | {} of {} |",
            flood.packets,
            sizes(20),
            sizes(59),
            report.old.found,
            report.old.made,
            flood.honest_answers,
            flood.honest_queries
        ));
        tally.count(report.old.made * 95 <= report.old.found * 100);
        tally += conclude(&report, begun);
    }
    tally
}

/// The whole of a report, when it broke something.
fn conclude(report: &Report, begun: Instant) -> Tally {
    let mut tally = Tally::default();
    let kept = report.breaches.is_empty();
    if !kept {
        say(report.to_string().trim_end());
    }
    let events = report.events as f64 / begun.elapsed().as_secs_f64();
    say(&format!("<!-- {:.1} s, {events:.0} events a second -->", begun.elapsed().as_secs_f64()));
    tally.count(kept);
    tally
}

fn sim_swarms(from: u64, seeds: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in from..from + seeds {
        let report = ferri_sim::run(&ferri_sim::Scenario::random(seed), seed);
        if !report.breaches.is_empty() {
            say(&format!("seed {seed}: {report}"));
        }
        tally.count(report.breaches.is_empty());
    }
    tally
}

/// The sum of all runs, and the runs that broke a promise.
fn sim_disks(from: u64, seeds: u64, points: usize) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut sum = ferri_sim::disk::CrashReport::default();
    for seed in from..from + seeds {
        let report = ferri_sim::disk::run(seed, points)?;
        if !report.breaches.is_empty() {
            say(report.to_string().trim_end());
        }
        tally.count(report.breaches.is_empty());
        sum.points += report.points;
        sum.images += report.images;
        sum.changes += report.changes;
        sum.rechecked += report.rechecked;
        sum.lost_max = sum.lost_max.max(report.lost_max);
    }
    say(&format!(
        "virtual disk: {} power cuts in {} changes of {seeds} downloads, {} disks started from, {} pieces hashed again, \
         at most {} verified bytes lost by one cut",
        sum.points, sum.changes, sum.images, sum.rechecked, sum.lost_max
    ));
    Ok(tally)
}
