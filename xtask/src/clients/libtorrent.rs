//! libtorrent, through a small Python script that prints its state as JSON lines.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

use super::{Client, Encryption, PEER_PORT, Place};
use crate::lab::Process;

/// libtorrent's own view, as the script prints it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// It has everything and serves it.
    pub(crate) done: bool,
    /// Payload bytes sent since its start, headers excluded.
    pub(crate) uploaded: u64,
    /// Verified pieces.
    pub(crate) pieces: u64,
}

/// The driver; public to the kill test, which counts what the seeder sent.
pub(crate) struct Libtorrent {
    place: Place,
    process: Option<Process>,
    rate: u64,
    preset: &'static str,
}

impl Libtorrent {
    /// Not started, with no limit.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, process: None, rate: 0, preset: "" }
    }

    /// Limits what it sends, in bytes a second; before its start.
    pub(crate) fn with_upload_limit(mut self, rate: u64) -> Self {
        self.rate = rate;
        self
    }

    /// With the settings that its makers recommend for seeding at high rates; before its start.
    pub(crate) fn with_high_performance(mut self) -> Self {
        self.preset = "high_performance_seed";
        self
    }

    /// The newest line of its state; the default before the first.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn state(&mut self) -> Result<State> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        let text = fs::read_to_string(self.output())?;
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let Some(line) = whole.lines().next_back() else { return Ok(State::default()) };
        let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        Ok(State {
            done: line["done"] == true,
            uploaded: line["uploaded"].as_u64().context("no count of uploaded bytes")?,
            // Not every script counts them.
            pieces: line["pieces"].as_u64().unwrap_or(0),
        })
    }

    /// Where others reach it.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.place.peer_address()
    }

    fn encryption(&self) -> &'static str {
        match self.place.encryption {
            Encryption::Default => "default",
            Encryption::Off => "off",
            Encryption::Rc4 => "rc4",
            Encryption::Handshake => "handshake",
        }
    }

    fn output(&self) -> PathBuf {
        self.place.home.join("state.jsonl")
    }

    fn start(&mut self, mode: &str, torrent: &Path, dir: &Path) -> Result<()> {
        let log = self.place.log();
        let discovery = self.place.discovery;
        let mut command = self.place.command(&self.place.tools.python);
        command
            .arg(&self.place.tools.peer_script)
            .arg(mode)
            .args([torrent, dir])
            .arg(self.place.host.peer_ip().to_string())
            .args([PEER_PORT.to_string(), self.place.upload_limit.unwrap_or(self.rate).to_string()])
            .env("ENCRYPTION", self.encryption())
            .env("PRESET", self.preset)
            .env("DHT", discovery.dht.map(|router| router.to_string()).unwrap_or_default())
            .env("PEX", if discovery.pex { "on" } else { "off" })
            .env("LSD", if discovery.lsd { "on" } else { "off" })
            .stdout(File::create(self.output())?)
            .stderr(File::create(&log)?);
        self.process = Some(Process::start_with_its_own_output(&mut command, &log)?);
        Ok(())
    }
}

impl Client for Libtorrent {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start("leech", torrent, dir)
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start("seed", torrent, dir)
    }

    fn is_done(&mut self) -> Result<bool> {
        Ok(self.state()?.done)
    }

    fn has_piece(&mut self) -> Result<bool> {
        Ok(self.state()?.pieces > 0)
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
