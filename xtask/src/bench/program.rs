//! One run of a program that does its work and ends: one that makes a torrent, or one that reads what is on the disk.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::measure::{RUN_LIMIT, Sample};
use super::scenario::{Contender, Work};
use super::stage::Stage;
use crate::clients::Kind;
use crate::lab::Process;

/// Between two looks; a program's memory right before its end is seen this late at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Makes a torrent of the payload.
///
/// # Errors
/// When the program fails or makes none.
pub(super) fn create(stage: &Stage, contender: &Contender) -> Result<Sample> {
    stage.touch_memory(Work::Create)?;
    let (payload, _, piece) = stage.payload()?;
    let out = stage.scratch().join("made.torrent");
    let _ = fs::remove_file(&out);
    let tools = stage.tools();
    let mut command;
    match contender.kind {
        Kind::Ferriswarm => {
            command = Command::new(&tools.ferriswarm);
            command.arg("create").arg(payload).arg("-o").arg(&out).args(["-l", &piece.to_string()]);
        }
        Kind::Libtorrent => {
            command = Command::new(&tools.python);
            command.arg(&tools.peer_script).arg("create").arg(payload).arg(&out).arg(piece.to_string());
        }
        Kind::Transmission => {
            command = Command::new("transmission-create");
            command.arg("-o").arg(&out).args(["-s", &(piece >> 10).to_string()]).arg(payload);
        }
        Kind::Mktorrent => {
            command = Command::new("mktorrent");
            command.args(["-l", &piece.ilog2().to_string(), "-o"]).arg(&out).arg(payload);
        }
        Kind::Floor => {
            command = Command::new(&tools.ferri_bench);
            command.args(["floor-check", "--torrent"]).arg(stage.torrent()?).arg("--file").arg(payload);
        }
        kind => bail!("{kind} makes no torrents"),
    }
    let sample = run(stage, &mut command)?;
    ensure!(out.exists() || contender.kind == Kind::Floor, "it made no torrent");
    Ok(sample)
}

/// Reads the payload from the device.
///
/// # Errors
/// When the program fails.
pub(super) fn read_cold(stage: &Stage, contender: &Contender) -> Result<Sample> {
    stage.touch_memory(Work::ReadCold)?;
    let (payload, ..) = stage.payload()?;
    // What is dirty is not evicted; `touch_memory` has synced.
    let file = fs::File::open(&payload)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let mut command;
    match contender.kind {
        Kind::Ferriswarm => {
            command = Command::new(&stage.tools().ferriswarm);
            command.arg("verify").arg(stage.torrent()?).arg(&payload);
        }
        Kind::Floor => {
            command = Command::new("dd");
            command.arg(format!("if={}", payload.display())).args(["of=/dev/null", "bs=4M", "iflag=direct"]);
        }
        kind => bail!("{kind} does not take part"),
    }
    run(stage, &mut command)
}

/// From the program's start to its end.
fn run(stage: &Stage, command: &mut Command) -> Result<Sample> {
    let start = Instant::now();
    let mut process = Process::start(command, &stage.scratch().join("program.log"))?;
    let mut memory = 0;
    while process.exit_status()?.is_none() {
        memory = process.memory_peak().unwrap_or(0).max(memory);
        ensure!(start.elapsed() < RUN_LIMIT, "not done in time\n{}", process.log_tail());
        thread::sleep(LOOK_INTERVAL);
    }
    let wall = start.elapsed();
    let succeeded = process.exit_status()?.is_some_and(|status| status.success());
    ensure!(succeeded, "it failed\n{}", process.log_tail());
    Ok(Sample { wall, cpu: process.cpu_time()?, memory })
}
