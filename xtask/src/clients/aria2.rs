//! aria2c, with its JSON RPC on.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{CONTROL_PORT, Client, Discovery, Encryption, PEER_PORT, Place};
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
            .args(self.discovery())
            .args(self.encryption())
            .args(["--no-conf=true", "--file-allocation=none"])
            .args(["--bt-max-peers=0", "--summary-interval=0", "--allow-overwrite=true"])
            .args(["--console-log-level=notice", "--show-console-readout=false"])
            .arg(torrent);
        self.process = Some(Process::start(&mut command, &self.place.log())?);
        Ok(())
    }

    fn encryption(&self) -> &'static [&'static str] {
        match self.place.encryption {
            Encryption::Default | Encryption::Off => &[],
            Encryption::Rc4 => &["--bt-require-crypto=true", "--bt-min-crypto-level=arc4"],
            Encryption::Handshake => &["--bt-require-crypto=true", "--bt-min-crypto-level=plain"],
        }
    }

    /// What of discovery is on and off.
    fn discovery(&self) -> Vec<String> {
        let Discovery { dht, pex, lsd, .. } = self.place.discovery;
        let ip = self.place.host.peer_ip();
        let mut words = vec![
            format!("--enable-dht={}", dht.is_some_and(|router| router.is_ipv4())),
            format!("--enable-dht6={}", dht.is_some_and(|router| router.is_ipv6())),
            format!("--enable-peer-exchange={pex}"),
            format!("--bt-enable-lpd={lsd}"),
            format!("--disable-ipv6={}", ip.is_ipv4()),
        ];
        if lsd {
            words.push(format!("--bt-lpd-interface={ip}"));
        }
        if let Some(router) = dht {
            let version = if router.is_ipv4() { "" } else { "6" };
            words.push(format!("--dht-listen-port={PEER_PORT}"));
            words.push(format!("--dht-entry-point{version}={router}"));
            words.push(format!("--dht-file-path{version}={}", self.place.home.join("dht.dat").display()));
            words.extend(ip.is_ipv6().then(|| format!("--dht-listen-addr6={ip}")));
        }
        words
    }

    /// The downloads of files; of a magnet link there is one of its metadata first.
    fn active(&mut self) -> Result<Option<Value>> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        // Its remote control comes up a moment after the program; until then nothing is done.
        let Ok(active) = self.call("aria2.tellActive") else { return Ok(None) };
        let downloads = active.as_array().into_iter().flatten();
        Ok(downloads.into_iter().find(|download| download["bittorrent"]["info"].is_object()).cloned())
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
        let Some(download) = self.active()? else { return Ok(false) };
        Ok(download["seeder"] == "true" && download["completedLength"] == download["totalLength"])
    }

    fn has_piece(&mut self) -> Result<bool> {
        // A bit for each piece, in hex; lengths count blocks of unfinished pieces.
        let Some(download) = self.active()? else { return Ok(false) };
        Ok(download["bitfield"].as_str().is_some_and(|bits| bits.contains(|bit| bit != '0')))
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
