//! aria2c, with its JSON RPC on.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{CONTROL_PORT, Client, PEER_PORT, Place};
use crate::http;
use crate::lab::Process;

pub(super) struct Aria2 {
    place: Place,
    process: Option<Process>,
}

impl Aria2 {
    pub(super) fn new(place: Place) -> Self {
        Self { place, process: None }
    }

    fn start(&mut self, torrent: &Path, dir: &Path, check: bool) -> Result<()> {
        let mut command = self.place.command("aria2c");
        command
            .arg(format!("--dir={}", dir.display()))
            .arg(format!("--listen-port={PEER_PORT}"))
            .arg(format!("--rpc-listen-port={CONTROL_PORT}"))
            .arg(format!("--check-integrity={check}"))
            .args(["--enable-rpc=true", "--rpc-listen-all=true", "--seed-ratio=0.0"])
            .args(["--enable-dht=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false"])
            .args(["--disable-ipv6=true", "--no-conf=true", "--file-allocation=none"])
            .args(["--bt-max-peers=0", "--summary-interval=0", "--allow-overwrite=true"])
            .args(["--console-log-level=notice", "--show-console-readout=false"])
            .arg(torrent);
        self.process = Some(Process::start(&mut command, &self.place.log())?);
        Ok(())
    }

    fn call(&self, method: &str) -> Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method }).to_string();
        let answer = http::post(self.place.control_address(), "/jsonrpc", &[], body.as_bytes())?.json()?;
        ensure!(answer["error"].is_null(), "aria2 refused {method}: {answer}");
        Ok(answer["result"].clone())
    }
}

impl Client for Aria2 {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start(torrent, dir, false)
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start(torrent, dir, true)
    }

    fn is_done(&mut self) -> Result<bool> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        // Its remote control comes up a moment after the program; until then nothing is done.
        let Ok(active) = self.call("aria2.tellActive") else { return Ok(false) };
        let download = &active[0];
        Ok(download["seeder"] == "true" && download["completedLength"] == download["totalLength"])
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
