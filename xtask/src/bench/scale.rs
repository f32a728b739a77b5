//! What the swarm machine costs a block, by pieces and peers.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::table::{Range, Table};
use crate::clients::Tools;
use crate::report::say;

/// Half of what the smallest torrent has.
const BLOCKS: u32 = 8192;

const PIECES_LOG2: [u32; 6] = [10, 12, 14, 16, 18, 20];

const PEERS: [u16; 4] = [4, 32, 100, 500];

/// The table: a row for each number of pieces, a column for each number of peers.
///
/// # Errors
/// When `ferri-bench` fails.
pub(super) fn measure(tools: &Tools, runs: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for log2 in PIECES_LOG2 {
        let mut row = vec![format!("2^{log2}")];
        for peers in PEERS {
            let figures: Vec<f64> =
                (0..runs).map(|_| once(tools, 1 << log2, peers)).collect::<Result<_>>()?;
            let range = Range::of(figures);
            row.push(format!("{:.0} ({:.0} to {:.0})", range.median, range.min, range.max));
        }
        say(&row.join("  "));
        rows.push(row);
    }
    let columns = PEERS.map(|peers| format!("ns a block, {peers} peers"));
    Ok(Table {
        heading: format!("scale: {BLOCKS} blocks of a torrent"),
        columns: std::iter::once("pieces".to_owned()).chain(columns).collect(),
        rows,
    })
}

fn once(tools: &Tools, pieces: u32, peers: u16) -> Result<f64> {
    let mut command = Command::new(&tools.ferri_bench);
    command.args(["scale", "--pieces", &pieces.to_string(), "--peers", &peers.to_string()]);
    let output = command.args(["--blocks", &BLOCKS.to_string()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    report["nanoseconds"].as_f64().context("no nanoseconds in the report")
}
