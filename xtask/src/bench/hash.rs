//! What the hash functions reach.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::goals::Goal;
use super::measure::json;
use super::table::{Found, Range, Table};
use crate::clients::Tools;

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
        let ranges = (0..counts.len())
            .map(|at| Range::of(reports.iter().filter_map(|report| report[field][at].as_f64()).collect()));
        let ranges: Vec<Range> = ranges.collect();
        let many = counts.iter().zip(&ranges).filter(|(count, _)| **count > 1);
        let best = many.max_by(|a, b| a.1.median.total_cmp(&b.1.median));
        let (rate, words) = best.map(|(count, range)| (range.median, format!("{count} blocks"))).unzip();
        goals.push(Goal::new(key(field), "", rate, &words.unwrap_or_default()));
        let row = std::iter::once(name.to_owned()).chain(ranges.iter().map(ToString::to_string)).collect();
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
