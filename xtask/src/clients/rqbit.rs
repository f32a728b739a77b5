//! rqbit, for measurements, through its HTTP API.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

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

    /// What of discovery is on and off. Its local discovery cannot be told.
    fn discovery(&self) -> Vec<String> {
        match self.place.discovery.dht {
            None => vec!["--disable-dht".into()],
            Some(router) => {
                vec!["--disable-dht-persistence".into(), "--dht-bootstrap-addrs".into(), router.to_string()]
            }
        }
    }

    /// What its API says of the one download; nothing while that, or the API, is not there.
    fn stats(&mut self) -> Result<Value> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        let answer = http::get(self.place.control_address(), "/torrents/0/stats/v1");
        Ok(answer.and_then(|answer| answer.json()).unwrap_or_default())
    }

    fn start(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        let mut command = self.place.command(&self.place.tools.rqbit);
        command
            .args(["--disable-upnp-port-forward", "--listen-ip", "0.0.0.0"])
            .args(self.discovery())
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
        let stats = self.stats()?;
        Ok(stats["finished"] == true && stats["state"] == "live")
    }

    fn has_piece(&mut self) -> Result<bool> {
        // Bytes of pieces that were checked.
        Ok(self.stats()?["progress_bytes"].as_u64().is_some_and(|bytes| bytes > 0))
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
