//! Peers that mean harm, on loopback: what a newcomer waits for at a seed that a crowd besieges, and what a download takes
//! with peers that keep half of each piece back.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::goals::Goal;
use super::measure::json;
use super::table::{Found, Range, Table};
use crate::clients::Tools;
use crate::lab::{self, Process};
use crate::report::say;

/// Connections that the crowd tries to hold.
const CROWD: u32 = 300;
/// Addresses that it comes from, one table row each.
const ADDRESSES: [u32; 2] = [1, 200];
/// Peers that keep half of each piece back.
const HALVERS: u8 = 20;
/// Bytes of the torrent, of a piece, and a second that the honest seeder sends.
const SIZE: usize = 16 << 20;
const PIECE: &str = "256KiB";
const RATE: u64 = 4_000_000;
const PORT: u16 = 42_317;
/// Whatever is measured here takes less unless it hangs.
const LIMIT: Duration = Duration::from_secs(150);

/// What one run of all showed.
#[derive(Clone, Debug, Default)]
struct Run {
    /// Seconds that the newcomer waited who waited longest, and MiB of the seed, for each of [`ADDRESSES`].
    sieges: Vec<(f64, f64)>,
    /// Seconds of the download without and with those who keep half back.
    halves: (f64, f64),
}

/// The tables, and our goals.
///
/// # Errors
/// When a program fails.
pub(super) fn measure(tools: &Tools, work: &Path, runs: usize) -> Result<Found> {
    let dir = work.join("hostile");
    let mut all = Vec::new();
    for run in 1..=runs {
        let _ = fs::remove_dir_all(&dir);
        prepare(tools, &dir)?;
        let mut found = Run::default();
        for addresses in ADDRESSES {
            found.sieges.push(siege(tools, &dir, addresses)?);
        }
        found.halves = (download(tools, &dir, 0)?, download(tools, &dir, HALVERS)?);
        say(&format!("{run}/{runs}: {found:.2?}"));
        all.push(found);
    }
    Ok(show(&all))
}

/// A file that no two pieces of are alike, and its torrent.
fn prepare(tools: &Tools, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("seed"))?;
    let mut state = 1_u64;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    fs::write(dir.join("seed/payload"), bytes)?;
    let mut create = Command::new(&tools.ferriswarm);
    create.args(["create", "seed/payload", "-o", "t.torrent", "-l", PIECE, "--quiet"]).current_dir(dir);
    let made = create.output().context("starting ferriswarm")?;
    ensure!(made.status.success(), "no torrent: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// Our program with nothing around it but the peers that are named.
fn ours(tools: &Tools, dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(&tools.ferriswarm);
    command.args(words).args(["--no-trackers", "--no-dht", "--no-lsd", "--no-port-mapping"]);
    command.args(["--quiet", "--state-dir"]).arg(dir.join("state")).current_dir(dir);
    command
}

fn siege(tools: &Tools, dir: &Path, addresses: u32) -> Result<(f64, f64)> {
    let port = PORT.to_string();
    let mut seed = ours(tools, dir, &["seed", "t.torrent", "seed", "--port", &port]);
    let mut seed = Process::start(&mut seed, &dir.join("seed.log"))?;
    let mut load = Command::new(&tools.ferri_bench);
    load.args([
        "siege",
        "--torrent",
        "t.torrent",
        "--crowd-base",
        "127.5.0.1",
        "--newcomer-base",
        "127.200.0.1",
    ]);
    load.args(["--connect", &format!("127.0.0.1:{port}"), "--crowd", &CROWD.to_string()]);
    load.args(["--addresses", &addresses.to_string()]).current_dir(dir);
    let report = json(&mut load).with_context(|| seed.log_tail())?;
    let worst = report["worst"].as_f64().with_context(|| format!("no figure in {report}"))?;
    let memory = seed.memory_peak().context("the seed is gone")? as f64 / f64::from(1_u32 << 20);
    seed.stop(Signal::INT);
    Ok((worst, memory))
}

/// Seconds of a download from one honest seeder, and `halvers` that keep half of each piece.
fn download(tools: &Tools, dir: &Path, halvers: u8) -> Result<f64> {
    let base = SocketAddr::from(([127, 9, 0, 2], PORT));
    let mut load = Command::new(&tools.ferri_bench);
    load.args(["seeders", "--torrent", "t.torrent", "--file", "seed/payload", "--count", "1"]);
    load.args(["--rates", &RATE.to_string(), "--halving", &halvers.to_string()]);
    load.args(["--listen-base", &base.to_string()]).current_dir(dir);
    let log = dir.join("seeders.log");
    let mut load = Process::start(&mut load, &log)?;
    lab::wait_until(Duration::from_secs(10), "the seeders", || {
        ensure!(load.exit_status()?.is_none(), "the seeders failed\n{}", load.log_tail());
        Ok(fs::read_to_string(&log)?.contains("ready"))
    })?;
    for folder in ["out", "state"] {
        let _ = fs::remove_dir_all(dir.join(folder));
    }
    let mut get = ours(tools, dir, &["get", "t.torrent", "-o", "out", "--port", "0"]);
    for n in 0..=halvers {
        let addr = SocketAddr::from(([127, 9, 0, 2 + n], PORT));
        get.args(["--peer", &addr.to_string()]);
    }
    let start = Instant::now();
    let mut get = Process::start(&mut get, &dir.join("get.log"))?;
    let status = get.wait(LIMIT)?;
    let took = start.elapsed();
    ensure!(status.success(), "the download ended with {status}\n{}", get.log_tail());
    ensure!(super::measure::same(&dir.join("seed/payload"), &dir.join("out/payload"))?, "wrong data");
    load.stop(Signal::KILL);
    Ok(took.as_secs_f64())
}

fn show(runs: &[Run]) -> Found {
    let range = |figure: &dyn Fn(&Run) -> f64| Range::of(runs.iter().map(figure).collect());
    let columns = ["", "runs", "the longest wait for a MiB, s", "peak memory, MiB"].map(str::to_owned);
    let (mut rows, mut goals) = (Vec::new(), Vec::new());
    for (n, addresses) in ADDRESSES.into_iter().enumerate() {
        let (waits, memory) = (range(&|run| run.sieges[n].0), range(&|run| run.sieges[n].1));
        let case = format!("{CROWD} idle peers from {addresses}");
        rows.push(vec![case.clone(), runs.len().to_string(), waits.to_string(), memory.to_string()]);
        goals.push(Goal::new("hostile-newcomer", &case, Some(waits.median), ""));
        goals.push(Goal::new("hostile-memory", &case, Some(memory.median), ""));
    }
    let siege = Table {
        heading: format!("hostile: a seed that {CROWD} interested peers keep busy which ask for nothing"),
        columns: columns.to_vec(),
        rows,
    };
    let (without, with) = (range(&|run| run.halves.0), range(&|run| run.halves.1));
    let ratio = range(&|run| run.halves.1 / run.halves.0);
    let case = format!("{HALVERS} that keep half of each piece");
    let row = |name: &str, wall: &Range, ratio: String| {
        vec![name.to_owned(), runs.len().to_string(), wall.to_string(), ratio]
    };
    let halves = Table {
        heading: format!("hostile: {} MiB from one seeder of {} MB/s", SIZE >> 20, RATE / 1_000_000),
        columns: ["", "runs", "wall, s", "wall / without"].map(str::to_owned).to_vec(),
        rows: vec![row("the seeder alone", &without, "-".to_owned()), row(&case, &with, ratio.to_string())],
    };
    let words = format!("{:.2} s, {:.2} s", with.median, without.median);
    goals.push(Goal::new("hostile-halves", &case, Some(ratio.median), &words));
    Found { tables: vec![siege, halves], goals }
}

#[cfg(test)]
mod tests {
    use super::super::goals::Verdict;
    use super::*;

    #[test]
    fn the_goals_come_from_the_runs() {
        let run = Run { sieges: vec![(1.0, 20.0), (4.0, 30.0)], halves: (4.0, 4.8) };
        let found = show(&[run]);
        let verdicts: Vec<Verdict> = found.goals.iter().map(|goal| goal.verdict).collect();
        use Verdict::{Met, Missed};
        assert_eq!(verdicts, [Met, Met, Missed, Missed, Missed]);
        assert_eq!(found.goals[4].figure, "1.20: 4.80 s, 4.00 s");
        assert!(
            found.tables.iter().all(|table| table.rows.iter().all(|row| row.len() == table.columns.len()))
        );
    }
}
