//! What a run is measured by: the clock, and the kernel's books about a process.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::clients::Client;
use crate::lab::Process;

/// Between two looks at a program in the beginning: the precision of a short wall time.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Many clients have to be asked whether they are done, which costs them time; so a long wall time is known to a part of
/// this many only.
const PRECISION: u32 = 200;

/// A run that takes longer has failed.
pub(super) const RUN_LIMIT: Duration = Duration::from_secs(120);

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// From the start of the process, or of the transfer, to the end of the work.
    pub(super) wall: Duration,
    /// User and system time of the process: of its life so far, or of the transfer.
    pub(super) cpu: Duration,
    /// The most memory that was resident, in bytes.
    pub(super) memory: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        write!(f, "{wall:7.2} s wall  {cpu:7.2} s CPU  {:6} MiB", self.memory >> 20)
    }
}

/// Looks until the client is done, and at its memory meanwhile.
pub(super) fn watch(
    client: &mut dyn Client,
    start: Instant,
    memory: &mut u64,
    mut is_done: impl FnMut(&mut dyn Client) -> Result<bool>,
) -> Result<Duration> {
    loop {
        let done = is_done(client)?;
        let wall = start.elapsed();
        *memory = process(client)?.memory_peak().unwrap_or(0).max(*memory);
        if done {
            return Ok(wall);
        }
        if RUN_LIMIT < wall {
            bail!("not done after {} s\n{}", wall.as_secs(), process(client)?.log_tail());
        }
        thread::sleep(LOOK_INTERVAL.max(wall / PRECISION));
    }
}

/// What a program prints in its last line, which is JSON.
///
/// # Errors
/// When it fails or prints something else.
pub(crate) fn json(command: &mut Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} ended with {}: {errors}", command.get_program(), output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
}

/// The process of a client that was started.
pub(super) fn process(client: &mut dyn Client) -> Result<&mut Process> {
    client.process().context("the client was started")
}

/// Bytes that left our end of the cable, headers included.
pub(super) fn sent_through_the_cable() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/dev")?;
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix("cable:")).context("the cable is gone")?;
    let sent = line.split_whitespace().nth(8).context("no ninth column in /proc/net/dev")?;
    Ok(sent.parse()?)
}

/// Compares two files.
pub(super) fn same(a: &Path, b: &Path) -> Result<bool> {
    use std::io::Read;
    const CHUNK: u64 = 4 << 20;
    if fs::metadata(a)?.len() != fs::metadata(b)?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (fs::File::open(a)?, fs::File::open(b)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        a.by_ref().take(CHUNK).read_to_end(&mut left)?;
        b.by_ref().take(CHUNK).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
