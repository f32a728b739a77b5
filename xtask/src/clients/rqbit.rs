//! rqbit, for measurements, through its HTTP API.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::{CONTROL_PORT, Client, PEER_PORT, Place};
use crate::http;
use crate::lab::Process;

pub(super) struct Rqbit {
    place: Place,
    process: Option<Process>,
}

impl Rqbit {
    pub(super) fn new(place: Place) -> Self {
        Self { place, process: None }
    }

    fn start(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        let mut command = self.place.command(&self.place.tools.rqbit);
        command
            .args(["--disable-dht", "--disable-upnp-port-forward", "--listen-ip", "0.0.0.0"])
            .args(["--listen-port", &PEER_PORT.to_string()])
            .args(["--http-api-listen-addr", &format!("0.0.0.0:{CONTROL_PORT}")])
            .args(["download", "--overwrite", "--output-folder"])
            .args([dir, torrent]);
        self.process = Some(Process::start(&mut command, &self.place.log())?);
        Ok(())
    }
}

impl Client for Rqbit {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start(torrent, dir)
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        // It checks what it finds in the folder by itself.
        self.start(torrent, dir)
    }

    fn is_done(&mut self) -> Result<bool> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        // Its API comes up a moment after the program, and the torrent a moment after that.
        let Ok(answer) = http::get(self.place.control_address(), "/torrents/0/stats/v1") else {
            return Ok(false);
        };
        let Ok(stats) = answer.json() else { return Ok(false) };
        Ok(stats["finished"] == true && stats["state"] == "live")
    }

    fn stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stop(Signal::INT);
        }
    }

    fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
