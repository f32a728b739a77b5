//! Trackers side by side: what an answer costs, and a peer.
//!
//! `ferri-bench tracker-load` fills the tracker and announces, and reads the tracker's books itself, at the edges of each phase.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::goals::Goal;
use super::measure::json;
use super::table::{Found, Range, Table};
use crate::clients::Tools;
use crate::lab::{self, Process};
use crate::opentracker;
use crate::report::say;

/// Free in a lab.
const PORT: u16 = 16_969;

const START_LIMIT: Duration = Duration::from_secs(20);

/// What `ferriswarm tracker` answered a CPU second over kept connections before it was made to be fast.
const HTTP_BEFORE: f64 = 51_000.0;

/// A tracker, by its name in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Ours,
    Opentracker,
    AquaticUdp,
    AquaticHttp,
}

/// How the cores are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cores {
    /// One for the tracker, the other for the load.
    One,
    /// Both for both.
    Two,
}

/// One table's work, or one row's of the series.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    programs: &'static [Program],
    /// `udp` or `http`.
    protocol: &'static str,
    listen: &'static str,
    cores: Cores,
    swarms: u32,
    peers: u32,
    numwant: u32,
    /// Requests that wait on each HTTP connection.
    depth: Option<u32>,
    /// Phases, as the load calls them.
    askers: &'static str,
}

const UDP: &[Program] = &[Program::Ours, Program::Opentracker, Program::AquaticUdp];
const HTTP: &[Program] = &[Program::Ours, Program::Opentracker, Program::AquaticHttp];

const fn udp(name: &'static str, swarms: u32, peers: u32) -> Case {
    Case {
        name,
        programs: UDP,
        protocol: "udp",
        listen: "127.0.0.1",
        cores: Cores::One,
        swarms,
        peers,
        numwant: 50,
        depth: None,
        askers: "all",
    }
}

const fn http(name: &'static str, depth: u32) -> Case {
    Case { programs: HTTP, protocol: "http", depth: Some(depth), ..udp(name, 1000, 200) }
}

/// As many peers in all whatever their swarms' size, and answers of one length, so that size is all that differs.
const fn flat(name: &'static str, listen: &'static str, peers: u32) -> Case {
    let case = udp(name, 1_000_000 / peers, peers);
    Case { programs: &[Program::Ours], listen, numwant: 4, askers: "seeds,leechers", ..case }
}

const SMALL: Case = udp("200 peers a swarm", 1000, 200);
const LARGE: Case = udp("100,000 peers a swarm", 2, 100_000);
const MANY: Case = udp("1,000,000 peers in 20,000 swarms", 20_000, 50);
const TWO: Case = Case { cores: Cores::Two, ..udp("200 peers a swarm, two cores", 1000, 200) };
/// opentracker ends a connection after its first answer, and aquatic_http answers the first of requests that come together.
const PIPELINED: &[Program] = &[Program::Ours];
const HTTP_CASES: [Case; 2] = [
    http("HTTP, a request at a time", 1),
    Case { programs: PIPELINED, ..http("HTTP, 8 requests at a time", 8) },
];
const FLAT: [Case; 8] = [
    flat("10, IPv4", "127.0.0.1", 10),
    flat("1,000, IPv4", "127.0.0.1", 1000),
    flat("100,000, IPv4", "127.0.0.1", 100_000),
    flat("1,000,000, IPv4", "127.0.0.1", 1_000_000),
    flat("10, IPv6", "::1", 10),
    flat("1,000, IPv6", "::1", 1000),
    flat("100,000, IPv6", "::1", 100_000),
    flat("1,000,000, IPv6", "::1", 1_000_000),
];

/// What one run of a program in a case showed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Run {
    /// Answers a second of the tracker's processor time, for each phase.
    answers: Vec<f64>,
    /// Answers a second, and peers that an answer names, in the first phase.
    wall_answers: f64,
    named: f64,
    bytes_a_peer: f64,
    /// Peers that announced themselves and are not there.
    missing: f64,
}

/// All runs of a program in a case, or what it said when it failed.
type Runs = Result<Vec<Run>, String>;

/// What was found for each program of each case.
struct All(Vec<(Case, Vec<(Program, Runs)>)>);

/// The tables, and our goals.
///
/// # Errors
/// When the addresses cannot be had.
pub(super) fn measure(tools: &Tools, work: &Path, runs: usize) -> Result<Found> {
    lab::own_an_ipv6_network()?;
    let cases = [SMALL, LARGE, MANY, TWO].into_iter().chain(HTTP_CASES).chain(FLAT);
    let none = |case: Case| (case, case.programs.iter().map(|program| (*program, Ok(Vec::new()))).collect());
    let mut all = All(cases.map(none).collect());
    for turn in 1..=runs {
        for (case, programs) in &mut all.0 {
            for (program, known) in programs.iter_mut() {
                let Ok(known_runs) = known else { continue };
                let name = format!("{turn}/{runs}: {}, {}", case.name, program.name());
                match once(tools, &work.join("tracker"), *program, case) {
                    Ok(run) => {
                        say(&format!("{name:<60} {run:.1?}"));
                        known_runs.push(run);
                    }
                    Err(error) => {
                        say(&format!("{name:<60} failed: {error:#}"));
                        *known = Err(format!("{error:#}"));
                    }
                }
            }
        }
    }
    Ok(Found { tables: all.tables(), goals: all.goals() })
}

fn once(tools: &Tools, dir: &Path, program: Program, case: &Case) -> Result<Run> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let listen = SocketAddr::new(case.listen.parse()?, PORT);
    let mut load = taskset(case.cores, "1", &tools.ferri_bench.to_string_lossy());
    load.args(["tracker-load", "--protocol", case.protocol, "--to", &listen.to_string()]);
    load.args(["--swarms", &case.swarms.to_string(), "--peers", &case.peers.to_string()]);
    load.args(["--numwant", &case.numwant.to_string(), "--askers", case.askers]);
    if let Some(depth) = case.depth {
        load.args(["--depth", &depth.to_string()]);
    }
    let mut tracker = start(tools, dir, program, case, listen)?;
    load.args(["--process", &tracker.id().to_string()]);
    // A table has room for the first line.
    let report =
        json(&mut load).map_err(|error| anyhow!("{error:#}\nthe tracker wrote\n{}", tracker.log_tail()))?;
    tracker.ensure_running()?;
    tracker.stop(Signal::TERM);
    read(&report, case)
}

fn start(tools: &Tools, dir: &Path, program: Program, case: &Case, listen: SocketAddr) -> Result<Process> {
    let pinned = |name: &str| taskset(case.cores, "0", name);
    let workers = if case.cores == Cores::One { 1 } else { 2 };
    let mut command = match program {
        Program::Ours => {
            let mut command = pinned(&tools.ferriswarm.to_string_lossy());
            command.args(["tracker", "--quiet", "--listen", &listen.to_string()]).current_dir(dir);
            // Whatever it keeps over a restart is kept for this run alone.
            command.env("XDG_STATE_HOME", dir);
            command
        }
        Program::Opentracker => {
            let mut hashes = Command::new(&tools.ferri_bench);
            hashes.args(["tracker-load", "--hashes", "--peers", "1", "--to", &listen.to_string()]);
            let hashes = hashes.args(["--swarms", &case.swarms.to_string()]).output()?;
            ensure!(
                hashes.status.success(),
                "no list of hashes: {}",
                String::from_utf8_lossy(&hashes.stderr)
            );
            opentracker::command(&dir.join("home"), listen, &String::from_utf8(hashes.stdout)?, pinned)?
        }
        Program::AquaticUdp => {
            let config = format!(
                "socket_workers = {workers}\n[network]\naddress = \"{listen}\"\n[protocol]\nmax_response_peers = 200\n"
            );
            aquatic(tools, dir, "aquatic_udp", &config, pinned)?
        }
        Program::AquaticHttp => {
            let config = format!(
                "socket_workers = {workers}\nswarm_workers = 1\n[network]\naddress = \"{listen}\"\n[protocol]\nmax_peers = 200\n"
            );
            aquatic(tools, dir, "aquatic_http", &config, pinned)?
        }
    };
    let mut tracker = Process::start(&mut command, &dir.join("log"))?;
    if case.protocol == "http" {
        lab::wait_until(START_LIMIT, "the tracker", || {
            tracker.ensure_running()?;
            Ok(TcpStream::connect(listen).is_ok())
        })?;
    }
    Ok(tracker)
}

fn aquatic(
    tools: &Tools,
    dir: &Path,
    name: &str,
    config: &str,
    pinned: impl Fn(&str) -> Command,
) -> Result<Command> {
    let path = dir.join("aquatic.toml");
    fs::write(&path, config)?;
    let mut command = pinned(&tools.aquatic.join(name).to_string_lossy());
    command.arg("-c").arg(path).current_dir(dir);
    Ok(command)
}

/// A command that runs on this core alone, where cores are not shared. The process it becomes is the program itself.
fn taskset(cores: Cores, core: &str, program: &str) -> Command {
    match cores {
        Cores::One => {
            let mut command = Command::new("taskset");
            command.args(["-c", core, program]);
            command
        }
        Cores::Two => Command::new(program),
    }
}

fn read(report: &Value, case: &Case) -> Result<Run> {
    let number = |value: &Value| value.as_f64().with_context(|| format!("a figure is missing in {report}"));
    let phases = report["phases"].as_array().context("no phases")?;
    let mut answers = Vec::new();
    for phase in [&report["fill"]].into_iter().chain(phases) {
        let refused = number(&phase["errors"])?;
        ensure!(refused == 0.0, "{refused} announces were refused: {}", phase["complaint"]);
    }
    for phase in phases {
        answers.push(number(&phase["answers"])? / number(&phase["cpu"])?);
    }
    let first = phases.first().context("no phase")?;
    let count = number(&first["answers"])?;
    let peers = f64::from(case.swarms) * f64::from(case.peers);
    let grown = number(&report["memory_full"])? - number(&report["memory_empty"])?;
    Ok(Run {
        answers,
        wall_answers: count / number(&first["seconds"])?,
        named: number(&first["peers"])? / count,
        bytes_a_peer: grown / peers,
        missing: peers - number(&report["registered"])?,
    })
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ferriswarm",
            Self::Opentracker => "opentracker",
            Self::AquaticUdp => "aquatic_udp",
            Self::AquaticHttp => "aquatic_http",
        }
    }
}

impl All {
    fn runs(&self, case: &Case, program: Program) -> Option<&[Run]> {
        let (_, programs) = self.0.iter().find(|(known, _)| known.name == case.name)?;
        let (_, runs) = programs.iter().find(|(known, _)| *known == program)?;
        runs.as_deref().ok().filter(|runs| !runs.is_empty())
    }

    fn median(&self, case: &Case, program: Program, figure: impl Fn(&Run) -> f64) -> Option<f64> {
        Some(Range::of(self.runs(case, program)?.iter().map(figure).collect()).median)
    }

    /// In the first phase.
    fn answers(&self, case: &Case, program: Program) -> Option<f64> {
        self.median(case, program, |run| run.answers[0])
    }

    fn tables(&self) -> Vec<Table> {
        let (cases, flat): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(case, _)| FLAT.iter().all(|flat| flat.name != case.name));
        let mut tables: Vec<Table> =
            cases.iter().map(|(case, programs)| self.table(case, programs)).collect();
        let columns =
            ["peers of a swarm", "runs", "by a seed, CPU us", "by a leecher, CPU us"].map(str::to_owned);
        let rows = flat
            .iter()
            .flat_map(|(case, programs)| programs.iter().map(move |(_, runs)| flat_row(case, runs)));
        let heading =
            "tracker: an announce in a swarm of any size, 1,000,000 peers in all, 4 named".to_owned();
        tables.push(Table { heading, columns: columns.to_vec(), rows: rows.collect() });
        tables
    }

    fn table(&self, case: &Case, programs: &[(Program, Runs)]) -> Table {
        let columns = [
            "",
            "runs",
            "answers a CPU second",
            "/ ours",
            "answers a second",
            "peers an answer names",
            "bytes a peer",
            "not registered",
        ];
        let ours = self.answers(case, Program::Ours);
        let rows = programs.iter().map(|(program, runs)| {
            let mut row = vec![program.name().to_owned()];
            match runs {
                Ok(runs) => {
                    let range = |figure: fn(&Run) -> f64| Range::of(runs.iter().map(figure).collect());
                    let whole =
                        |range: Range| format!("{:.0} ({:.0} to {:.0})", range.median, range.min, range.max);
                    let answers = range(|run| run.answers[0]);
                    let ratio =
                        ours.map_or_else(|| "-".to_owned(), |ours| format!("{:.2}", answers.median / ours));
                    row.extend([runs.len().to_string(), whole(answers), ratio]);
                    row.push(format!("{:.0}", range(|run| run.wall_answers).median));
                    row.push(format!("{:.1}", range(|run| run.named).median));
                    row.push(whole(range(|run| run.bytes_a_peer)));
                    row.push(format!("{:.0}", range(|run| run.missing).median));
                }
                Err(failure) => row.push(failed(failure)),
            }
            row.resize(columns.len(), String::new());
            row
        });
        let rows = rows.collect();
        let Case { name, swarms, peers, .. } = case;
        let heading = format!("tracker: {name} ({swarms} swarms of {peers})");
        Table { heading, columns: columns.map(str::to_owned).to_vec(), rows }
    }

    fn goals(&self) -> Vec<Goal> {
        let mut goals: Vec<Goal> =
            ["IPv4", "IPv6"].iter().flat_map(|family| self.flat_goals(family)).collect();
        let ratio = |key: &str, case: &Case, other: Program| {
            let (ours, others) = (self.answers(case, Program::Ours), self.answers(case, other));
            let words = ours.zip(others).map(|(ours, other)| format!("{ours:.0}, {other:.0}"));
            let ratio = ours.zip(others).map(|(ours, other)| ours / other);
            Goal::new(key, case.name, ratio, &words.unwrap_or_default())
        };
        for case in [SMALL, LARGE] {
            goals.push(ratio("tracker-opentracker", &case, Program::Opentracker));
            goals.push(ratio("tracker-aquatic", &case, Program::AquaticUdp));
        }
        for case in HTTP_CASES {
            let answers = self.answers(&case, Program::Ours);
            let words = answers.map(|answers| format!("{answers:.0}")).unwrap_or_default();
            goals.push(Goal::new(
                "tracker-http",
                case.name,
                answers.map(|answers| answers / HTTP_BEFORE),
                &words,
            ));
        }
        let bytes = self.median(&MANY, Program::Ours, |run| run.bytes_a_peer);
        goals.push(Goal::new("tracker-memory", MANY.name, bytes, ""));
        let missing = self.median(&MANY, Program::Ours, |run| run.missing.max(0.0));
        goals.push(Goal::new("tracker-room", MANY.name, missing, ""));
        let (one, two) = (self.answers(&SMALL, Program::Ours), self.answers(&TWO, Program::Ours));
        let figure = one.zip(two).map(|(one, two)| 2.0 * two / one);
        let words = one.zip(two).map(|(one, two)| format!("twice {two:.0}, {one:.0} a CPU second"));
        goals.push(Goal::new("tracker-cores", TWO.name, figure, &words.unwrap_or_default()));
        goals
    }

    /// By seeds, and by leechers.
    fn flat_goals(&self, family: &str) -> [Goal; 2] {
        [("seeds", 0), ("leechers", 1)].map(|(askers, phase)| {
            let sizes = FLAT.iter().filter(|case| case.name.ends_with(family));
            let costs: Option<Vec<f64>> =
                sizes.map(|case| self.median(case, Program::Ours, |run| 1e6 / run.answers[phase])).collect();
            let range = costs.map(Range::of);
            let words = range.map(|range| format!("{:.2} us, {:.2} us", range.max, range.min));
            let figure = range.map(|range| range.max / range.min);
            Goal::new("tracker-flat", &format!("{askers}, {family}"), figure, &words.unwrap_or_default())
        })
    }
}

fn flat_row(case: &Case, runs: &Runs) -> Vec<String> {
    let mut row = vec![case.name.to_owned()];
    match runs {
        Ok(runs) => {
            row.push(runs.len().to_string());
            let cost = |phase: usize| Range::of(runs.iter().map(|run| 1e6 / run.answers[phase]).collect());
            row.extend([0, 1].map(|phase| cost(phase).to_string()));
        }
        Err(failure) => row.extend([failed(failure), String::new(), String::new()]),
    }
    row
}

fn failed(failure: &str) -> String {
    format!("failed: {}", failure.lines().next().unwrap_or_default().replace('|', "/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::goals::Verdict;
    use super::*;

    fn run(answers: f64, bytes_a_peer: f64) -> Run {
        Run { answers: vec![answers, answers / 2.0], bytes_a_peer, ..Run::default() }
    }

    #[test]
    fn a_report_becomes_figures_and_a_refusal_a_failure() {
        let case = udp("two", 2, 100);
        let phase = json!({"answers": 100, "cpu": 0.5, "seconds": 2.0, "peers": 400, "errors": 0});
        let mut report = json!({
            "registered": 199, "memory_empty": 1000, "memory_full": 9000, "fill": phase, "phases": [phase],
        });
        let expected =
            Run { answers: vec![200.0], wall_answers: 50.0, named: 4.0, bytes_a_peer: 40.0, missing: 1.0 };
        assert_eq!(read(&report, &case).ok(), Some(expected));
        report["fill"]["errors"] = 3.into();
        report["fill"]["complaint"] = "no room".into();
        assert_eq!(
            read(&report, &case).map_err(|error| error.to_string()),
            Err("3 announces were refused: \"no room\"".to_owned())
        );
    }

    #[test]
    fn goals_come_from_ratios_of_medians() {
        let mut cases = vec![
            (
                SMALL,
                vec![
                    (Program::Ours, Ok(vec![run(500.0, 30.0)])),
                    (Program::Opentracker, Ok(vec![run(400.0, 9.0)])),
                ],
            ),
            (TWO, vec![(Program::Ours, Ok(vec![run(400.0, 30.0)]))]),
            (MANY, vec![(Program::Ours, Err("no room".to_owned()))]),
        ];
        // Each size costs a tenth more than the one before; the largest of IPv6 was not measured.
        cases.extend(
            FLAT[..7]
                .iter()
                .zip([100.0, 110.0, 120.0, 130.0].into_iter().cycle())
                .map(|(case, cost)| (*case, vec![(Program::Ours, Ok(vec![run(1e6 / cost, 0.0)]))])),
        );
        let all = All(cases);
        let goals = all.goals();
        let verdict = |key: &str, case: &str| {
            let goal = goals.iter().find(|goal| goal.key == key && goal.case == case).expect("a goal");
            (goal.verdict, goal.figure.clone())
        };
        use Verdict::{Met, Missed, NotMeasured};
        assert_eq!(verdict("tracker-flat", "seeds, IPv4"), (Missed, "1.30: 130.00 us, 100.00 us".to_owned()));
        assert_eq!(verdict("tracker-flat", "leechers, IPv6").0, NotMeasured);
        assert_eq!(verdict("tracker-opentracker", SMALL.name), (Met, "1.25: 500, 400".to_owned()));
        assert_eq!(verdict("tracker-aquatic", SMALL.name).0, NotMeasured);
        assert_eq!(verdict("tracker-memory", MANY.name).0, NotMeasured);
        assert_eq!(verdict("tracker-cores", TWO.name).0, Missed);
        let tables = all.tables();
        assert!(tables.iter().all(|table| table.rows.iter().all(|row| row.len() == table.columns.len())));
        assert_eq!(tables.last().map(|table| table.rows.len()), Some(7), "the series has a table of its own");
    }
}
