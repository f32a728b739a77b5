//! What the swarm machine costs a block, by pieces and peers.

use std::process::Command;

use anyhow::{Context, Result};

use super::goals::Goal;
use super::measure::json;
use super::table::{Found, Range, Table};
use crate::clients::Tools;
use crate::report::say;

/// Half of what the smallest torrent has.
const BLOCKS: u32 = 8192;

const PIECES_LOG2: [u32; 6] = [10, 12, 14, 16, 18, 20];

const PEERS: [u16; 4] = [4, 32, 100, 500];

/// Nanoseconds a block: a row for each number of pieces, a column for each number of peers.
type Medians = [[f64; PEERS.len()]; PIECES_LOG2.len()];

/// The table, and how much its figures grow.
///
/// # Errors
/// When `ferri-bench` fails.
pub(super) fn measure(tools: &Tools, runs: usize) -> Result<Found> {
    let mut medians: Medians = Default::default();
    let mut rows = Vec::new();
    for (log2, medians) in PIECES_LOG2.into_iter().zip(&mut medians) {
        let mut row = vec![format!("2^{log2}")];
        for (peers, median) in PEERS.into_iter().zip(medians) {
            let figures: Vec<f64> =
                (0..runs).map(|_| once(tools, 1 << log2, peers)).collect::<Result<_>>()?;
            let range = Range::of(figures);
            *median = range.median;
            row.push(format!("{:.0} ({:.0} to {:.0})", range.median, range.min, range.max));
        }
        say(&row.join("  "));
        rows.push(row);
    }
    let columns = PEERS.map(|peers| format!("ns a block, {peers} peers"));
    let table = Table {
        heading: format!("scale: {BLOCKS} blocks of a torrent"),
        columns: std::iter::once("pieces".to_owned()).chain(columns).collect(),
        rows,
    };
    Ok(Found { tables: vec![table], goals: goals(&medians).to_vec() })
}

fn once(tools: &Tools, pieces: u32, peers: u16) -> Result<f64> {
    let mut command = Command::new(&tools.ferri_bench);
    command.args(["scale", "--pieces", &pieces.to_string(), "--peers", &peers.to_string()]);
    let report = json(command.args(["--blocks", &BLOCKS.to_string()]))?;
    report["nanoseconds"].as_f64().context("no nanoseconds in the report")
}

/// The last through the first, of the column and of the row where that is most.
fn goals(medians: &Medians) -> [Goal; 2] {
    let (first, last) = (&medians[0], &medians[PIECES_LOG2.len() - 1]);
    let by_pieces = PEERS
        .into_iter()
        .zip(first.iter().zip(last))
        .map(|(peers, (first, last))| (last / first, format!("{last:.0} ns, {first:.0} ns, {peers} peers")));
    let by_peers = PIECES_LOG2.into_iter().zip(medians).map(|(log2, row)| {
        let (first, last) = (row[0], row[PEERS.len() - 1]);
        (last / first, format!("{last:.0} ns, {first:.0} ns, 2^{log2} pieces"))
    });
    let goal = |key, growths: &mut dyn Iterator<Item = (f64, String)>| {
        let (growth, words) = growths.max_by(|a, b| a.0.total_cmp(&b.0)).unzip();
        Goal::new(key, "", growth, &words.unwrap_or_default())
    };
    [goal("scale-pieces", &mut { by_pieces }), goal("scale-peers", &mut { by_peers })]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::goals::Verdict;

    #[test]
    fn the_worst_column_and_the_worst_row_count() {
        let mut medians: Medians = [[100.0; PEERS.len()]; PIECES_LOG2.len()];
        medians[PIECES_LOG2.len() - 1][1] = 150.0;
        medians[2][PEERS.len() - 1] = 110.0;
        let [pieces, peers] = goals(&medians);
        assert_eq!(
            (pieces.figure.as_str(), pieces.verdict),
            ("1.50: 150 ns, 100 ns, 32 peers", Verdict::Missed)
        );
        assert_eq!(
            (peers.figure.as_str(), peers.verdict),
            ("1.10: 110 ns, 100 ns, 2^14 pieces", Verdict::Met)
        );
    }
}
