//! The floor of measurements: `ferri-bench` in a client's place, doing the least a transfer can take.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::{Client, Place};
use crate::lab::Process;

pub(super) struct Floor {
    place: Place,
    process: Option<Process>,
    seeds: bool,
}

impl Floor {
    pub(super) fn new(place: Place) -> Self {
        Self { place, process: None, seeds: false }
    }
}

impl Client for Floor {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        ensure!(!self.place.peers.is_empty(), "the floor asks no tracker and must be told its peers");
        let peers: Vec<String> = self.place.peers.iter().map(ToString::to_string).collect();
        let mut command = self.place.command(&self.place.tools.ferri_bench);
        command.args(["floor-leech", "--peers", &peers.join(","), "--torrent"]).arg(torrent);
        command.arg("--file").arg(dir.join("payload.bin"));
        self.process = Some(Process::start(&mut command, &self.place.log())?);
        Ok(())
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        let mut command = self.place.command(&self.place.tools.ferri_bench);
        command
            .args(["floor-seed", "--listen", &self.place.peer_address().to_string(), "--torrent"])
            .arg(torrent);
        command.arg("--file").arg(dir.join("payload.bin"));
        self.seeds = true;
        self.process = Some(Process::start(&mut command, &self.place.log())?);
        Ok(())
    }

    fn is_done(&mut self) -> Result<bool> {
        let ended = self.process.as_mut().context("not started")?.exit_status()?;
        match ended {
            Some(status) if self.seeds || !status.success() => bail!("ferri-bench ended early: {status}"),
            None if self.seeds => Ok(fs::read_to_string(self.place.log())?.contains("ready")),
            ended => Ok(ended.is_some()),
        }
    }

    fn stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stop(Signal::TERM);
        }
    }

    fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
