//! Thousands of complete torrents in one process, ours and other people's.
//!
//! Every client is started over what it knows from an earlier run. `ferri-bench many` measures the library; a script
//! drives the others over the same torrents. Nothing here needs a network beyond loopback.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Options;
use super::goals::Goal;
use super::measure::json;
use super::table::{Found, Range, Table};
use crate::clients::{Kind, Tools};
use crate::report::say;

/// What is shown of a client's figures, under which head.
const COLUMNS: [(&str, &str); 8] = [
    ("serving_after_s", "all serve after, s"),
    ("start_cpu_s", "CPU until then, s"),
    ("rss_mib", "memory, MiB"),
    ("rss_peak_mib", "peak memory, MiB"),
    ("idle_cpu_percent", "idle CPU, %"),
    ("fds", "descriptors"),
    ("threads", "threads"),
    ("tasks", "tasks"),
];

/// Those that can be asked to hold so many.
const HOLDERS: [Kind; 4] = [Kind::Ferriswarm, Kind::Earlier, Kind::Libtorrent, Kind::Transmission];

/// What a client showed in each run; or what it said when it failed.
type Reports = Result<Vec<Value>, String>;

/// The table, a row for each client, and our goals.
///
/// # Errors
/// When no client can be started.
pub(super) fn measure(tools: &Tools, work: &Path, options: &Options, runs: usize) -> Result<Found> {
    let dir = work.join("many");
    let kinds: Vec<Kind> = HOLDERS.into_iter().filter(|kind| options.clients.contains(kind)).collect();
    let mut all: Vec<Reports> = vec![Ok(Vec::new()); kinds.len()];
    for run in 1..=runs {
        for (&kind, reports) in kinds.iter().zip(&mut all) {
            let Ok(known) = reports else { continue };
            match once(tools, &dir, kind, options) {
                Ok(report) => {
                    say(&format!("{run}/{runs}: {kind:<24} {report}"));
                    known.push(report);
                }
                Err(error) => {
                    say(&format!("{run}/{runs}: {kind:<24} failed: {error:#}"));
                    *reports = Err(format!("{error:#}"));
                }
            }
        }
    }
    let rows = kinds.iter().zip(&all).map(|(kind, reports)| row(*kind, reports)).collect();
    let heads = COLUMNS.map(|(_, head)| head.to_owned());
    let columns = [String::new(), "runs".into()].into_iter().chain(heads).collect();
    let table = Table { heading: format!("many: {} torrents", options.torrents), columns, rows };
    let ours = kinds.iter().zip(&all).find(|(kind, _)| **kind == Kind::Ferriswarm);
    let ours = ours.map_or(&[][..], |(_, reports)| reports.as_deref().unwrap_or_default());
    Ok(Found { tables: vec![table], goals: goals(ours, options.torrents) })
}

fn once(tools: &Tools, dir: &Path, kind: Kind, options: &Options) -> Result<Value> {
    let (torrents, idle) = (options.torrents.to_string(), options.idle.to_string());
    let mut command;
    if let Kind::Ferriswarm | Kind::Earlier = kind {
        let ours = kind == Kind::Ferriswarm;
        let program = if ours { tools.ferri_bench.clone() } else { tools.of_earlier("ferri-bench")? };
        command = Command::new(program);
        command.args(["many", "--torrents", &torrents, "--idle", &idle, "--dir"]).arg(dir);
    } else {
        command = Command::new(&tools.python);
        command
            .arg(tools.peer_script.with_file_name("many.py"))
            .arg(kind.name())
            .arg(dir)
            .args([torrents, idle]);
    }
    let mut report = json(&mut command)?;
    ensure!(report["asked"] == report["served"], "not all that were asked serve: {report}");
    for (kib, mib) in [("rss_kib", "rss_mib"), ("rss_peak_kib", "rss_peak_mib")] {
        if let Some(size) = report[kib].as_f64() {
            report[mib] = (size / 1024.0).into();
        }
    }
    Ok(report)
}

/// All runs' figures of this name.
fn range(reports: &[Value], name: &str) -> Option<Range> {
    let figures: Vec<f64> = reports.iter().filter_map(|report| report[name].as_f64()).collect();
    (!figures.is_empty()).then(|| Range::of(figures))
}

fn row(kind: Kind, reports: &Reports) -> Vec<String> {
    let mut row = vec![kind.name().to_owned()];
    match reports {
        Ok(reports) => {
            row.push(reports.len().to_string());
            let cell = |name: &str| match range(reports, name) {
                None => "-".to_owned(),
                Some(range) if range.is_whole() => range.median.to_string(),
                Some(range) => range.to_string(),
            };
            row.extend(COLUMNS.map(|(name, _)| cell(name)));
        }
        Err(failure) => {
            row.push(format!("failed: {}", failure.lines().next().unwrap_or_default().replace('|', "/")));
            row.resize(COLUMNS.len() + 2, String::new());
        }
    }
    row
}

fn goals(ours: &[Value], torrents: usize) -> Vec<Goal> {
    let median = |name: &str| range(ours, name).map(|range| range.median);
    let case = format!("{torrents} torrents");
    let rest = ["fds", "threads", "tasks"].map(median).into_iter().flatten().max_by(f64::total_cmp);
    let busiest = ours.iter().filter_map(busiest_second).max();
    let share = busiest.map(|count| 100.0 * count as f64 / torrents.max(1) as f64);
    let words = busiest.map(|count| format!("{count} announces")).unwrap_or_default();
    vec![
        Goal::new("many-memory", &case, median("rss_peak_mib"), ""),
        Goal::new("many-idle", &case, median("idle_cpu_percent"), ""),
        Goal::new("many-start", &case, median("serving_after_s"), ""),
        Goal::new("many-rest", &case, rest, ""),
        Goal::new("many-announces", &case, share, &words),
    ]
}

/// Announces in the second that had most of them; `ferri-bench` leaves out those that end a session.
fn busiest_second(report: &Value) -> Option<u64> {
    let seconds = report["tracker"]["a_second"].as_array()?;
    seconds.iter().filter_map(|second| second[1].as_u64()).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::goals::Verdict;

    #[test]
    fn what_a_client_does_not_have_is_a_dash() {
        let reports = vec![json!({ "rss_mib": 5.5, "fds": 2 }), json!({ "rss_mib": 6.5, "fds": 2 })];
        let cells = row(Kind::Transmission, &Ok(reports));
        assert_eq!(cells, ["transmission", "2", "-", "-", "6.00 (5.50 to 6.50)", "-", "-", "2", "-", "-"]);
        let failed = row(Kind::Transmission, &Err("no | such\nthing".into()));
        assert_eq!((failed.len(), failed[1].as_str()), (cells.len(), "failed: no / such"));
    }

    #[test]
    fn our_goals_come_from_our_reports() {
        let report = json!({
            "rss_peak_mib": 100.0, "idle_cpu_percent": 0.3, "serving_after_s": 3.5, "fds": 30, "threads": 6, "tasks": 9,
            "tracker": { "a_second": [[0, 10], [1, 60]] },
        });
        let goals = goals(&[report], 5000);
        let verdicts: Vec<Verdict> = goals.iter().map(|goal| goal.verdict).collect();
        assert_eq!(verdicts, [Verdict::Met, Verdict::Met, Verdict::Missed, Verdict::Met, Verdict::Missed]);
        assert_eq!(goals[4].figure, "1.20: 60 announces");
        assert!(super::goals(&[], 5000).iter().all(|goal| goal.verdict == Verdict::NotMeasured));
    }
}
