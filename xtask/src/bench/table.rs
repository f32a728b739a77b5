//! The figures as a person reads them: Markdown, medians with ranges, ratios.

use std::fmt;

use super::goals::{self, Goal};
use super::measure::Sample;
use super::scenario::{Comparison, Contender, Ratios};
use crate::clients::Kind;

/// All runs of one contender.
pub(super) struct Outcome<'a> {
    pub(super) contender: &'a Contender,
    pub(super) samples: Vec<Sample>,
    /// What it said when it failed; it is not asked again.
    pub(super) failure: Option<String>,
}

impl<'a> Outcome<'a> {
    pub(super) fn new(contender: &'a Contender) -> Self {
        Self { contender, samples: Vec::new(), failure: None }
    }

    fn range(&self, figure: impl Fn(&Sample) -> f64) -> Range {
        Range::of(self.samples.iter().map(figure).collect())
    }

    /// Whether it has figures.
    pub(super) fn is_measured(&self) -> bool {
        self.failure.is_none() && !self.samples.is_empty()
    }

    /// Seconds.
    pub(super) fn wall(&self) -> Range {
        self.range(|sample| sample.wall.as_secs_f64())
    }

    /// Seconds.
    pub(super) fn cpu(&self) -> Range {
        self.range(|sample| sample.cpu.as_secs_f64())
    }

    /// In MiB.
    pub(super) fn memory(&self) -> Range {
        self.range(|sample| sample.memory as f64 / f64::from(1_u32 << 20))
    }
}

/// Whether the one at `at` needs no further run: it failed, it has had its runs, or it is another client whose two runs took
/// twice the time and twice the processor time of others, so that no goal will compare ours with it, or very long.
pub(super) fn is_finished(outcomes: &[Outcome<'_>], at: usize) -> bool {
    const RUNS_BEFORE: usize = 2;
    /// Times as long as the fastest of the others.
    const VERY_LONG: f64 = 5.0;
    let this = &outcomes[at];
    if this.failure.is_some() || this.contender.runs <= this.samples.len() {
        return true;
    }
    if !goals::is_other(this) || this.samples.len() < RUNS_BEFORE {
        return false;
    }
    let others = || outcomes.iter().filter(|outcome| goals::is_other(outcome) && outcome.is_measured());
    let least = |figure: fn(&Outcome<'_>) -> f64| others().map(figure).fold(f64::INFINITY, f64::min);
    let (wall, cpu) = (|outcome: &Outcome<'_>| outcome.wall().min, |outcome: &Outcome<'_>| outcome.cpu().min);
    let times_as_long = wall(this) / least(wall);
    VERY_LONG < times_as_long || (2.0 < times_as_long && 2.0 * least(cpu) < cpu(this))
}

/// What a scenario found.
pub(super) struct Found {
    pub(super) tables: Vec<Table>,
    pub(super) goals: Vec<Goal>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        write!(f, "{}", Goal::HEAD)?;
        for goal in &self.goals {
            writeln!(f, "{goal}")?;
        }
        writeln!(f)
    }
}

/// A table of Markdown.
pub(super) struct Table {
    pub(super) heading: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Everything a comparison found.
    pub(super) fn of(comparison: &Comparison, outcomes: &[Outcome<'_>]) -> Self {
        let mut columns = vec!["", "runs", "wall, s", "CPU, s", "CPU, s per GiB", "peak memory, MiB"];
        columns.extend_from_slice(match comparison.ratios {
            Ratios::Others => &["wall / ours", "CPU / ours", "CPU / floor"],
            Ratios::Speed => &["MiB/s", "of plain TCP"],
            Ratios::Twin => &["wall / without"],
            Ratios::Bound(_) => &["wall / bound"],
        });
        let gib = comparison.size as f64 / f64::from(1_u32 << 30);
        let rows = (0..outcomes.len()).map(|at| {
            let outcome = &outcomes[at];
            let mut row = vec![outcome.contender.label.clone()];
            if let Some(failure) = &outcome.failure {
                row.push(format!("failed: {}", failure.lines().next().unwrap_or_default().replace('|', "/")));
                row.resize(columns.len(), String::new());
                return row;
            }
            let (wall, cpu, memory) = (outcome.wall(), outcome.cpu(), outcome.memory());
            let per_gib = format!("{:.2}", cpu.median / gib);
            let runs = outcome.samples.len().to_string();
            row.extend([runs, wall.to_string(), cpu.to_string(), per_gib, memory.to_string()]);
            row.extend(ratios(comparison, outcomes, at));
            row
        });
        let rows = rows.collect();
        let columns = columns.into_iter().map(str::to_owned).collect();
        Self { heading: comparison.heading.clone(), columns, rows }
    }
}

/// What a row has behind wall, processor time and memory.
fn ratios(comparison: &Comparison, outcomes: &[Outcome<'_>], at: usize) -> Vec<String> {
    let (wall, cpu) = (outcomes[at].wall().median, outcomes[at].cpu().median);
    let of = |kind| outcomes.iter().find(|outcome| outcome.contender.kind == kind && outcome.is_measured());
    let to = |figure: f64, base: Option<f64>| {
        base.map_or_else(|| "-".into(), |base| format!("{:.2}", figure / base))
    };
    match comparison.ratios {
        Ratios::Others => {
            let (ours, floor) = (of(Kind::Ferriswarm), of(Kind::Floor));
            vec![
                to(wall, ours.map(|ours| ours.wall().median)),
                to(cpu, ours.map(|ours| ours.cpu().median)),
                to(cpu, floor.map(|floor| floor.cpu().median)),
            ]
        }
        Ratios::Speed => {
            let speed = comparison.size as f64 / f64::from(1_u32 << 20) / wall;
            let plain = of(Kind::PlainTcp).map(|plain| plain.wall().median);
            vec![
                format!("{speed:.1}"),
                plain.map_or_else(|| "-".into(), |plain| format!("{:.0} %", 100.0 * plain / wall)),
            ]
        }
        Ratios::Twin => {
            let without = at.checked_sub(1).map(|before| &outcomes[before]);
            let without =
                without.filter(|_| outcomes[at].contender.with_staller).filter(|twin| twin.is_measured());
            vec![to(wall, without.map(|twin| twin.wall().median))]
        }
        Ratios::Bound(bound) => vec![to(wall, Some(bound.as_secs_f64()))],
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.heading)?;
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|---|{}", "---:|".repeat(self.columns.len() - 1))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        writeln!(f)
    }
}

/// A median and what is around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Range {
    pub(super) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |at: usize| figures.get(at).copied().unwrap_or(f64::NAN);
        let last = figures.len().saturating_sub(1);
        // Between the two in the middle when there are two.
        let median = f64::midpoint(at(last / 2), at(figures.len() / 2));
        Self { min: at(0), median, max: at(last) }
    }
}

impl Range {
    /// Whether it is one whole number, as a count is that was the same each time.
    pub(super) fn is_whole(&self) -> bool {
        self.min >= self.max && self.median.fract() == 0.0
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let range = Range::of(vec![5.0, 1.0, 2.0, 4.0]);
        assert_eq!((range.min, range.median, range.max), (1.0, 3.0, 5.0));
    }

    #[test]
    fn one_that_no_goal_will_be_compared_with_runs_twice() {
        use super::super::Options;
        use super::super::scenario::Scenario;
        use std::time::Duration;

        let words = ["leech", "--clients", "ours,rqbit,aria2,rtorrent,transmission", "--piece", "1MiB"];
        let comparisons = Scenario::Leech.comparisons(&Options::parse(&words).expect("words of the command"));
        let mut outcomes: Vec<Outcome<'_>> = comparisons[0].contenders.iter().map(Outcome::new).collect();
        // aria2 is slow but cheap, rtorrent is neither fast nor cheap, and transmission is cheap but takes very long.
        for (outcome, (wall, cpu)) in outcomes.iter_mut().zip([(9, 9), (2, 4), (5, 3), (5, 7), (11, 3)]) {
            let sample = Sample { wall: Duration::from_secs(wall), cpu: Duration::from_secs(cpu), memory: 0 };
            outcome.samples = vec![sample; 2];
        }
        let finished: Vec<bool> = (0..outcomes.len()).map(|at| is_finished(&outcomes, at)).collect();
        assert_eq!(finished, [false, false, false, true, true]);
        for outcome in &mut outcomes {
            outcome.samples.truncate(1);
        }
        assert!((0..outcomes.len()).all(|at| !is_finished(&outcomes, at)), "one run may be bad luck");
    }
}
