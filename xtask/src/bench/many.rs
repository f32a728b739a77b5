//! `cargo xtask bench many`: thousands of complete torrents in one process, ours and other people's.
//!
//! Every client is started over what it knows from an earlier run. `ferri-bench many` measures the library; a script
//! drives the others over the same torrents. Nothing here needs a network beyond loopback.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::report::say;
use crate::{gate, install};

/// What is shown of a client's figures, under which head.
const COLUMNS: [(&str, &str); 7] = [
    ("serving_after_s", "all serve after, s"),
    ("start_cpu_s", "CPU until then, s"),
    ("rss_kib", "memory, KiB"),
    ("idle_cpu_percent", "idle CPU, %"),
    ("fds", "descriptors"),
    ("threads", "threads"),
    ("tasks", "tasks"),
];

/// Measures and prints a table; `words` are those after `bench many`.
///
/// # Errors
/// When a client fails or a word is not understood.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<ExitCode> {
    let (mut torrents, mut idle) = ("5000", "20");
    for pair in words.chunks(2) {
        match pair {
            ["--torrents", number] => torrents = number,
            ["--idle", seconds] => idle = seconds,
            _ => bail!("bench many takes --torrents and --idle"),
        }
    }
    install::foreign_clients(root)?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--quiet", "-p", "ferri-bench"]).current_dir(root);
    ensure!(build.status()?.success(), "the build failed");
    let target = gate::target(root);
    let dir = target.join("bench/many");
    let mut ours = Command::new(target.join("release/ferri-bench"));
    ours.args(["many", "--torrents", torrents, "--idle", idle, "--dir"]).arg(&dir);
    let mut rows = vec![("ferriswarm", figures(&mut ours)?)];
    for client in ["libtorrent", "transmission"] {
        let mut theirs = Command::new(root.join(".cache/venv/bin/python"));
        theirs.arg(root.join("xtask/assets/many.py")).arg(client).arg(&dir).args([torrents, idle]);
        rows.push((client, figures(&mut theirs)?));
    }
    say(&table(torrents, &rows));
    Ok(ExitCode::SUCCESS)
}

fn figures(command: &mut Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} failed: {errors}", command.get_program());
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
}

fn table(torrents: &str, rows: &[(&str, Value)]) -> String {
    let heads: Vec<_> = COLUMNS.iter().map(|(_, head)| *head).collect();
    let mut text =
        format!("| {torrents} torrents | {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(heads.len()));
    for (client, figures) in rows {
        let cells: Vec<_> = COLUMNS
            .iter()
            .map(|(name, _)| figures.get(name).map_or_else(|| "–".to_owned(), ToString::to_string))
            .collect();
        text.push_str(&format!("| {client} | {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::table;

    #[test]
    fn what_a_client_does_not_have_is_a_dash() {
        let text = table("9", &[("other", json!({ "rss_kib": 5, "fds": 2 }))]);
        assert!(text.ends_with("| other | – | – | 5 | – | 2 | – | – |\n"), "{text}");
    }
}
