//! What `kill -9` costs a download.

use std::path::Path;

use anyhow::Result;

use super::goals::Goal;
use super::table::{Found, Table};
use crate::clients::{Kind, Tools};
use crate::interop::kill::{Figures, Plan, mebibytes};
use crate::interop::{self, proofs};

/// The table, and our goals.
///
/// # Errors
/// When the network cannot be had, a verified piece was asked for again, or the files are not what they should be.
pub(super) fn measure(tools: &Tools, work: &Path) -> Result<Found> {
    let work = work.join("crash");
    let options = interop::Options { work, tools: tools.clone(), hub: Kind::Ferriswarm, filter: None };
    Ok(show(&proofs::measure_kills(&options, &Plan::LONG)?))
}

fn show(figures: &Figures) -> Found {
    let milliseconds = |time: std::time::Duration| time.as_millis().to_string();
    let cells = [
        ("", "ferriswarm".to_owned()),
        ("kills", figures.kills.to_string()),
        ("verified pieces", figures.verified.to_string()),
        ("of them asked for again", "0".to_owned()),
        ("MiB fetched twice a kill", format!("{:.2}", mebibytes(figures.twice_a_kill))),
        ("to the first request, ms, median", milliseconds(figures.median)),
        ("at worst", milliseconds(figures.worst)),
        ("restarts that came so far", figures.restarts.to_string()),
        ("pieces of 1 MiB looked at again, at most", figures.unsure.to_string()),
    ];
    let case = format!("{:.0} MiB at {:.0} MiB/s", mebibytes(figures.length), mebibytes(figures.rate));
    let (columns, row) = cells.into_iter().map(|(head, cell)| (head.to_owned(), cell)).unzip();
    let goal = |key: &str, figure: f64| Goal::new(key, &case, Some(figure), "");
    let goals = vec![
        goal("crash-twice", mebibytes(figures.twice_a_kill)),
        goal("crash-start", figures.worst.as_secs_f64()),
        goal("crash-check", f64::from(figures.unsure)),
    ];
    Found { tables: vec![Table { heading: format!("crash: {case}"), columns, rows: vec![row] }], goals }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::goals::Verdict;
    use super::*;

    #[test]
    fn the_goals_come_from_the_figures() {
        let figures = Figures {
            kills: 200,
            length: 2 << 30,
            rate: 20 << 20,
            twice_a_kill: 1 << 19,
            restarts: 190,
            median: Duration::from_millis(15),
            worst: Duration::from_millis(1_200),
            verified: 2_048,
            unsure: 19,
        };
        let found = show(&figures);
        let verdicts: Vec<Verdict> = found.goals.iter().map(|goal| goal.verdict).collect();
        assert_eq!(verdicts, [Verdict::Met, Verdict::Missed, Verdict::Met]);
        assert_eq!(found.tables[0].heading, "crash: 2048 MiB at 20 MiB/s");
        assert_eq!(found.tables[0].rows[0].len(), found.tables[0].columns.len());
    }
}
