//! What the project wants of its measurements, as data, and whether it is so.
//!
//! A goal is judged by the figure as it is printed, rounded to hundredths, from medians. Goals are written below the tables
//! that they judge and collected from there ([`super::document`]).

use std::fmt;

use super::scenario::{Comparison, Scenario};
use super::table::Outcome;
use crate::clients::Kind;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    Below(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn holds(self, figure: f64) -> bool {
        let figure = (figure * 100.0).round() / 100.0;
        match self {
            Self::Below(limit) => figure < limit,
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(limit) => write!(f, "below {limit}"),
            Self::AtMost(limit) => write!(f, "at most {limit}"),
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
        }
    }
}

/// How a goal's figure comes out of a comparison; "ours" and "others" are clients, not the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    /// Our processor time through the least of the others.
    CpuToOthers,
    /// Our wall time through the least of the others.
    WallToOthers,
    /// The least wall time of the others through ours.
    TimesAsFast,
    CpuToFloor,
    WallToFloor,
    /// Our processor time in the last comparison through that in the first.
    CpuToFirst,
    /// MiB.
    PeakMemory,
    ShareOfPlainTcp,
    /// Our wall time with a peer that stalls through that without.
    WallToTwin,
    /// Our wall time through the comparison's bound.
    WallToBound,
    /// The scenario has figures of its own and says them to `Goal::new`.
    Told,
}

/// A goal for every table of a scenario.
struct Demand {
    scenario: Scenario,
    key: &'static str,
    what: &'static str,
    measure: Measure,
    limit: Limit,
}

const fn demand(
    scenario: Scenario,
    key: &'static str,
    what: &'static str,
    measure: Measure,
    limit: Limit,
) -> Demand {
    Demand { scenario, key, what, measure, limit }
}

const DEMANDS: &[Demand] = {
    use Limit::{AtLeast, AtMost, Below};
    use Measure as M;
    use Scenario as S;
    &[
        demand(S::Hash, "hash-sha1-avx512", "SHA-1 of many, GB/s", M::Told, AtLeast(5.0)),
        demand(S::Hash, "hash-sha1", "SHA-1 of many, GB/s", M::Told, AtLeast(3.0)),
        demand(S::Hash, "hash-sha256", "SHA-256 of many, GB/s", M::Told, AtLeast(3.0)),
        demand(S::Leech, "leech-cpu", "CPU / least other", M::CpuToOthers, Below(1.0)),
        demand(S::Leech, "leech-wall", "wall / fastest other", M::WallToOthers, AtMost(0.8)),
        demand(S::Leech, "leech-memory", "peak memory, MiB", M::PeakMemory, AtMost(24.0)),
        demand(S::Seed, "seed-floor", "CPU / floor", M::CpuToFloor, AtMost(1.15)),
        demand(S::Seed, "seed-cpu", "CPU / least other", M::CpuToOthers, Below(1.0)),
        demand(S::Seed, "seed-memory", "peak memory, MiB", M::PeakMemory, AtMost(24.0)),
        demand(S::Seed, "seed-many", "CPU to most / to fewest leechers", M::CpuToFirst, AtMost(1.0)),
        demand(S::Check, "check-speed", "times as fast as the fastest other", M::TimesAsFast, AtLeast(3.0)),
        demand(S::Check, "check-memory", "peak memory, MiB", M::PeakMemory, AtMost(64.0)),
        demand(S::Cold, "cold-speed", "wall / reading alone", M::WallToFloor, AtMost(1.1)),
        demand(S::Create, "create-speed", "times as fast as the fastest other", M::TimesAsFast, AtLeast(3.0)),
        demand(S::Create, "create-memory", "peak memory, MiB", M::PeakMemory, AtMost(64.0)),
        demand(S::Relay, "relay-speed", "speed / plain TCP", M::ShareOfPlainTcp, AtLeast(0.9)),
        demand(S::Stall, "stall-wall", "wall with the staller / without", M::WallToTwin, AtMost(1.05)),
        demand(S::Swarm, "swarm-wall", "wall / bound", M::WallToBound, AtMost(1.1)),
        demand(S::Memory, "memory-budget", "peak memory, MiB", M::PeakMemory, AtMost(80.0)),
        // "Does not grow", with what cache misses and noise may add.
        demand(
            S::Scale,
            "scale-pieces",
            "CPU a block, 2^20 / 2^10 pieces, most of all columns",
            M::Told,
            AtMost(1.2),
        ),
        demand(S::Scale, "scale-peers", "CPU a block, 500 / 4 peers, most of all rows", M::Told, AtMost(1.2)),
        demand(S::Many, "many-memory", "peak memory, MiB", M::Told, AtMost(120.0)),
        demand(S::Many, "many-idle", "idle CPU, % of a core", M::Told, AtMost(2.0)),
        demand(S::Many, "many-start", "seconds until all serve", M::Told, AtMost(3.0)),
        // A constant that no number of idle torrents reaches by chance.
        demand(
            S::Many,
            "many-rest",
            "descriptors, threads or tasks in all, the most of the three",
            M::Told,
            AtMost(100.0),
        ),
        demand(
            S::Many,
            "many-announces",
            "% of all torrents that announce in the busiest second",
            M::Told,
            AtMost(1.0),
        ),
        demand(S::Crash, "crash-twice", "MiB fetched twice a kill", M::Told, AtMost(2.0)),
        demand(
            S::Crash,
            "crash-start",
            "seconds from a restart to its first request, at worst",
            M::Told,
            AtMost(1.0),
        ),
        // What may be written and not yet called durable: 64 MiB, and the pieces under way.
        demand(S::Crash, "crash-check", "most MiB that a start looks at again", M::Told, AtMost(72.0)),
        demand(
            S::Hostile,
            "hostile-newcomer",
            "seconds that a newcomer waits for a MiB",
            M::Told,
            AtMost(3.0),
        ),
        demand(S::Hostile, "hostile-memory", "peak memory, MiB", M::Told, AtMost(24.0)),
        demand(S::Hostile, "hostile-halves", "wall with them / without", M::Told, AtMost(1.15)),
        demand(S::Magnet, "magnet-wall", "wall / fastest other", M::Told, AtMost(1.0)),
        demand(
            S::Dht,
            "dht-queries",
            "answers per CPU second / libtorrent's, least of all queries",
            M::Told,
            AtLeast(1.0),
        ),
        demand(S::Dht, "dht-peer", "bytes a stored peer / libtorrent's", M::Told, AtMost(1.0)),
        demand(
            S::Files,
            "files-show-memory",
            "`show`: peak memory / (4 times the file and 16 MiB)",
            M::Told,
            AtMost(1.0),
        ),
        demand(
            S::Tracker,
            "tracker-flat",
            "CPU an announce, most / least of 10 to 10^6 peers a swarm",
            M::Told,
            // "The same", with what cache misses and noise may add.
            AtMost(1.2),
        ),
        demand(
            S::Tracker,
            "tracker-opentracker",
            "UDP answers a CPU second / opentracker's",
            M::Told,
            AtLeast(1.25),
        ),
        demand(S::Tracker, "tracker-aquatic", "UDP answers a CPU second / aquatic's", M::Told, AtLeast(1.0)),
        demand(S::Tracker, "tracker-http", "HTTP answers a CPU second / 51,000", M::Told, AtLeast(3.0)),
        demand(S::Tracker, "tracker-memory", "bytes an IPv4 peer", M::Told, AtMost(40.0)),
        demand(S::Tracker, "tracker-room", "of 1,000,000 peers not registered", M::Told, AtMost(0.0)),
        demand(S::Tracker, "tracker-cores", "two cores / one core", M::Told, AtLeast(1.8)),
        demand(S::Files, "files-show", "`show`: CPU, s", M::Told, AtMost(1.0)),
        demand(S::Files, "files-absent", "`verify` of absent files: CPU, s", M::Told, AtMost(5.0)),
        demand(S::Files, "files-present", "`verify` of present files: CPU, s", M::Told, AtMost(10.0)),
        demand(S::Files, "files-begin", "`get`: seconds until a peer is asked", M::Told, AtMost(2.0)),
        demand(S::Files, "files-end", "seconds from Ctrl-C to the end, in any phase", M::Told, AtMost(1.0)),
    ]
};

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    Missed,
    /// A client that is needed for the figure did not take part.
    NotMeasured,
}

impl Verdict {
    const ALL: [Self; 3] = [Self::Met, Self::Missed, Self::NotMeasured];

    fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A goal that was judged: a row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    /// Names the goal; reasons are kept by it.
    pub(super) key: String,
    /// Which table of the scenario; empty when there is one.
    pub(super) case: String,
    pub(super) wanted: String,
    pub(super) figure: String,
    pub(super) verdict: Verdict,
}

impl Goal {
    /// The head of a table of goals; they are found by it.
    pub(super) const HEAD: &str = "| goal | for | wanted | figure | result |\n|---|---|---|---|---|\n";

    /// A goal with this key, judged by this figure; `None` is not measured. `words` say where the figure comes from.
    pub(super) fn new(key: &str, case: &str, figure: Option<f64>, words: &str) -> Self {
        let demand =
            DEMANDS.iter().find(|demand| demand.key == key).expect("callers name goals of the table");
        let verdict = match figure {
            None => Verdict::NotMeasured,
            Some(figure) if demand.limit.holds(figure) => Verdict::Met,
            Some(_) => Verdict::Missed,
        };
        let number = figure.map(|figure| format!("{figure:.2}"));
        let parts = [number.unwrap_or_default(), words.to_owned()];
        Self {
            key: key.to_owned(),
            case: cell(case),
            wanted: format!("{} {}", demand.what, demand.limit),
            figure: cell(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")),
            verdict,
        }
    }

    /// The row that `Display` wrote; `None` for any other line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let cells: Vec<&str> =
            line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [key, case, wanted, figure, verdict] = cells.try_into().ok()?;
        Some(Self {
            key: key.trim_matches('`').to_owned(),
            case: case.to_owned(),
            wanted: wanted.to_owned(),
            figure: figure.to_owned(),
            verdict: Verdict::ALL.into_iter().find(|known| known.words() == verdict)?,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, case, wanted, figure, verdict } = self;
        write!(f, "| `{key}` | {case} | {wanted} | {figure} | {} |", verdict.words())
    }
}

/// The goals of a scenario whose tables are these.
pub(super) fn judge(scenario: Scenario, tables: &[(&Comparison, Vec<Outcome<'_>>)]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for demand in DEMANDS.iter().filter(|demand| demand.scenario == scenario) {
        if demand.measure == Measure::CpuToFirst {
            goals.extend(growth(demand.key, tables));
            continue;
        }
        for (comparison, outcomes) in tables {
            let failure =
                outcomes.iter().filter(|outcome| is_ours(outcome)).find_map(|ours| ours.failure.as_ref());
            let goal = if failure.is_some() {
                // Infinitely bad, whichever way the limit looks.
                Goal {
                    figure: "it failed".into(),
                    ..Goal::new(demand.key, &comparison.case, Some(f64::NAN), "")
                }
            } else {
                let (figure, words) = read(demand.measure, comparison, outcomes).unzip();
                Goal::new(demand.key, &comparison.case, figure, &words.unwrap_or_default())
            };
            goals.push(goal);
        }
    }
    goals
}

/// The figure, and the figures that it was made of; `None` when a client is missing.
fn read(measure: Measure, comparison: &Comparison, outcomes: &[Outcome<'_>]) -> Option<(f64, String)> {
    let ours = outcomes.iter().find(|outcome| is_ours(outcome) && outcome.is_measured())?;
    let (wall, cpu) = (ours.wall().median, ours.cpu().median);
    let of = |kind| outcomes.iter().find(|outcome| outcome.contender.kind == kind && outcome.is_measured());
    let against = |figure: f64, ours: f64, theirs: f64, who: &str| {
        (figure, format!("{ours:.2} s, {who} {theirs:.2} s"))
    };
    let least = |figure: fn(&Outcome<'_>) -> f64| {
        let others = outcomes.iter().filter(|outcome| is_other(outcome) && outcome.is_measured());
        let figures = others.map(|other| (figure(other), other.contender.label.as_str()));
        figures.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let least_wall = || least(|outcome| outcome.wall().median);
    Some(match measure {
        Measure::CpuToOthers => {
            let (theirs, who) = least(|outcome| outcome.cpu().median)?;
            against(cpu / theirs, cpu, theirs, who)
        }
        Measure::WallToOthers => {
            let (theirs, who) = least_wall()?;
            against(wall / theirs, wall, theirs, who)
        }
        Measure::TimesAsFast => {
            let (theirs, who) = least_wall()?;
            against(theirs / wall, wall, theirs, who)
        }
        Measure::CpuToFloor => {
            let floor = of(Kind::Floor)?.cpu().median;
            against(cpu / floor, cpu, floor, "floor")
        }
        Measure::WallToFloor => {
            let floor = of(Kind::Floor)?.wall().median;
            against(wall / floor, wall, floor, "floor")
        }
        Measure::PeakMemory => (ours.memory().median, String::new()),
        Measure::ShareOfPlainTcp => {
            let plain = of(Kind::PlainTcp)?.wall().median;
            against(plain / wall, wall, plain, "plain TCP")
        }
        Measure::WallToTwin => {
            let twin = outcomes.iter().find(|outcome| is_ours(outcome) && outcome.contender.with_staller)?;
            let with = twin.is_measured().then(|| twin.wall().median)?;
            against(with / wall, with, wall, "without")
        }
        Measure::WallToBound => {
            let bound = comparison.bound()?.as_secs_f64();
            against(wall / bound, wall, bound, "bound")
        }
        Measure::CpuToFirst | Measure::Told => return None,
    })
}

/// Our processor time in the last table through that in the first.
fn growth(key: &str, tables: &[(&Comparison, Vec<Outcome<'_>>)]) -> Option<Goal> {
    let [first, .., last] = tables else { return None };
    let cpu = |(_, outcomes): &(&Comparison, Vec<Outcome<'_>>)| {
        let ours = outcomes.iter().find(|outcome| is_ours(outcome) && outcome.is_measured())?;
        Some(ours.cpu().median)
    };
    let figures = cpu(first).zip(cpu(last));
    let words = figures.map(|(first, last)| format!("{last:.2} s, {first:.2} s")).unwrap_or_default();
    let case = format!("{} / {}", last.0.case, first.0.case);
    Some(Goal::new(key, &case, figures.map(|(first, last)| last / first), &words))
}

fn is_ours(outcome: &Outcome<'_>) -> bool {
    outcome.contender.kind == Kind::Ferriswarm
}

/// A client that is not ours.
pub(super) fn is_other(outcome: &Outcome<'_>) -> bool {
    !matches!(outcome.contender.kind, Kind::Ferriswarm | Kind::Earlier | Kind::Floor | Kind::PlainTcp)
}

/// What may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::super::Options;
    use super::super::measure::Sample;
    use super::*;

    /// The goals of a scenario whose contenders took so many milliseconds (wall, processor time) and MiB, table by table.
    fn goals(words: &[&str], figures: &[&[(u64, u64, u64)]]) -> Vec<Goal> {
        let options = Options::parse(words).unwrap();
        let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name() == words[0]).unwrap();
        let comparisons = scenario.comparisons(&options);
        assert_eq!(comparisons.len(), figures.len());
        let outcomes = |comparison, figures: &[(u64, u64, u64)]| {
            let of = |(contender, &(wall, cpu, memory))| {
                let (wall, cpu) = (Duration::from_millis(wall), Duration::from_millis(cpu));
                let mut outcome = Outcome::new(contender);
                outcome.samples.push(Sample { wall, cpu, memory: memory << 20 });
                outcome
            };
            let comparison: &Comparison = comparison;
            assert_eq!(comparison.contenders.len(), figures.len());
            comparison.contenders.iter().zip(figures).map(of).collect()
        };
        let tables: Vec<_> = comparisons
            .iter()
            .zip(figures)
            .map(|(comparison, figures)| (comparison, outcomes(comparison, figures)))
            .collect();
        judge(scenario, &tables)
    }

    fn rows(goals: &[Goal]) -> Vec<String> {
        goals.iter().map(|goal| format!("{} {} {}", goal.key, goal.figure, goal.verdict.words())).collect()
    }

    #[test]
    fn a_download_is_compared_with_the_best_of_the_others() {
        let words = ["leech", "--clients", "floor,ours,rqbit,aria2", "--piece", "1MiB"];
        let goals = goals(&words, &[&[(500, 500, 5), (800, 1500, 25), (1000, 3000, 9), (4000, 2000, 9)]]);
        let expected = [
            "leech-cpu 0.75: 1.50 s, aria2 2.00 s met",
            "leech-wall 0.80: 0.80 s, rqbit 1.00 s met",
            "leech-memory 25.00 missed",
        ];
        assert_eq!(rows(&goals), expected, "the floor is not a client");
        assert_eq!(goals[0].case, "1 MiB, 4 peers");
        assert_eq!(goals[1].wanted, "wall / fastest other at most 0.8");
    }

    #[test]
    fn an_upload_is_compared_with_the_floor_and_with_itself() {
        let words = ["seed", "--clients", "floor,ours,rqbit", "--peers", "4,200"];
        let few = [(400, 400, 5), (400, 460, 12), (900, 900, 9)];
        let many = [(400, 400, 5), (400, 480, 16), (900, 480, 9)];
        let expected = [
            "seed-floor 1.15: 0.46 s, floor 0.40 s met",
            "seed-floor 1.20: 0.48 s, floor 0.40 s missed",
            "seed-cpu 0.51: 0.46 s, rqbit 0.90 s met",
            "seed-cpu 1.00: 0.48 s, rqbit 0.48 s missed",
            "seed-memory 12.00 met",
            "seed-memory 16.00 met",
            "seed-many 1.04: 0.48 s, 0.46 s missed",
        ];
        assert_eq!(rows(&goals(&words, &[&few, &many])), expected);
    }

    #[test]
    fn speeds_twins_and_bounds() {
        let check =
            goals(&["check", "--clients", "ours,rqbit", "--piece", "1MiB"], &[&[(1000, 0, 5), (3100, 0, 9)]]);
        assert_eq!(rows(&check)[0], "check-speed 3.10: 1.00 s, rqbit 3.10 s met");
        let relay = [(9000, 0, 1), (10_100, 0, 1)];
        let relay = goals(&["relay", "--clients", "ours"], &[&relay, &relay]);
        assert_eq!(rows(&relay)[0], "relay-speed 0.89: 10.10 s, plain TCP 9.00 s missed");
        assert_ne!(relay[0].case, relay[1].case);
        let stall = goals(&["stall", "--clients", "ours"], &[&[(10_000, 0, 1), (10_400, 0, 1)]]);
        assert_eq!(rows(&stall), ["stall-wall 1.04: 10.40 s, without 10.00 s met"]);
        let swarm = goals(&["swarm", "--clients", "ours"], &[&[(32_000, 0, 1)]]);
        assert_eq!(rows(&swarm), ["swarm-wall 1.25: 32.00 s, bound 25.60 s missed"]);
    }

    #[test]
    fn a_figure_without_somebody_is_not_measured() {
        let alone = goals(&["leech", "--clients", "ours", "--piece", "1MiB"], &[&[(800, 1500, 20)]]);
        let expected = ["leech-cpu  not measured", "leech-wall  not measured", "leech-memory 20.00 met"];
        assert_eq!(rows(&alone), expected);
    }

    #[test]
    fn a_client_of_ours_that_fails_misses_its_goals() {
        let options = Options::parse(&["leech", "--clients", "ours,rqbit", "--piece", "1MiB"]).unwrap();
        let comparisons = Scenario::Leech.comparisons(&options);
        let mut outcomes: Vec<Outcome<'_>> = comparisons[0].contenders.iter().map(Outcome::new).collect();
        outcomes[0].failure = Some("it ended early".into());
        let goals = judge(Scenario::Leech, &[(&comparisons[0], outcomes)]);
        assert!(goals.len() == 3 && goals.iter().all(|goal| goal.verdict == Verdict::Missed), "{goals:?}");
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let goal = Goal::new("many-start", "5 | 6 torrents", Some(2.5), "a | b");
        assert_eq!(Goal::parse(&goal.to_string()), Some(goal));
        assert_eq!(Goal::parse("| client | 1 | 2 | 3 | 4 |"), None);
        assert_eq!(Goal::parse("text"), None);
    }

    #[test]
    fn what_is_printed_is_what_counts() {
        assert!(Limit::AtMost(1.15).holds(1.154) && !Limit::AtMost(1.15).holds(1.156));
        assert!(!Limit::Below(1.0).holds(0.998) && Limit::AtLeast(3.0).holds(2.996));
    }
}
