//! What the hash functions reach.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::goals::Goal;
use super::measure::json;
use super::table::{Found, Range, Table};
use crate::clients::Tools;

/// Inputs together that the goals are about: as many as the widest kernel takes.
const TOGETHER: u64 = 16;

/// A row for each function, a column for each number of inputs.
///
/// # Errors
/// When `ferri-bench` fails.
pub(super) fn measure(tools: &Tools, runs: usize) -> Result<Found> {
    let reports = (0..runs).map(|_| json(Command::new(&tools.ferri_bench).arg("hash")));
    let reports: Vec<Value> = reports.collect::<Result<_>>()?;
    let counts: Vec<u64> =
        serde_json::from_value(reports.first().context("at least one run")?["inputs"].clone())?;
    let mut rows = Vec::new();
    let mut goals = Vec::new();
    for (name, field) in [("SHA-1", "sha1"), ("SHA-256", "sha256")] {
        let mut row = vec![name.to_owned()];
        for (at, &count) in counts.iter().enumerate() {
            let figures = reports.iter().filter_map(|report| report[field][at].as_f64()).collect();
            let range = Range::of(figures);
            row.push(range.to_string());
            if count == TOGETHER {
                goals.push(Goal::new(key(field), "", Some(range.median), ""));
            }
        }
        rows.push(row);
    }
    let columns =
        counts.iter().map(|count| if *count == 1 { "1 block".into() } else { format!("{count} blocks") });
    let columns = std::iter::once(String::new()).chain(columns).collect();
    Ok(Found { tables: vec![Table { heading: "hash: GB/s on one core".into(), columns, rows }], goals })
}

/// SHA-1 has two goals, and the processor says which one counts.
fn key(field: &str) -> &'static str {
    match field {
        "sha256" => "hash-sha256",
        _ if has_avx512() => "hash-sha1-avx512",
        _ => "hash-sha1",
    }
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}
