//! One plain TCP stream in a client's place: what a link carries when no pieces are asked for.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Client, Place};
use crate::lab::Process;

pub(super) struct Plain {
    place: Place,
    process: Option<Process>,
}

impl Plain {
    pub(super) fn new(place: Place) -> Self {
        Self { place, process: None }
    }
}

impl Client for Plain {
    fn start_leech(&mut self, _torrent: &Path, _dir: &Path) -> Result<()> {
        let from = self.place.peers.first().context("a stream comes from somebody")?;
        let mut command = self.place.command(&self.place.tools.ferri_bench);
        command.args(["pull", "--from", &from.to_string()]);
        self.process = Some(Process::start(&mut command, &self.place.log())?);
        Ok(())
    }

    fn start_seed(&mut self, _torrent: &Path, _dir: &Path) -> Result<()> {
        bail!("a stream is received only")
    }

    fn is_done(&mut self) -> Result<bool> {
        let ended = self.process.as_mut().context("not started")?.exit_status()?;
        ensure!(ended.is_none_or(|status| status.success()), "the stream broke off");
        Ok(ended.is_some())
    }

    fn stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
