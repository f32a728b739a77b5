//! transmission-daemon, through its JSON RPC.
//!
//! Transmission ignores peers at loopback addresses, and hangs up on everyone when a tracker says that nobody is
//! incomplete; the lab's addresses and a tracker that counts answer both.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{CONTROL_PORT, Client, Encryption, PEER_PORT, Place, wait_for_listener};
use crate::http;
use crate::lab::Process;

pub(super) struct Transmission {
    place: Place,
    process: Option<Process>,
}

impl Transmission {
    pub(super) fn new(place: Place) -> Self {
        Self { place, process: None }
    }

    fn start(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        // 0 prefers plain connections, 1 (the default) encrypted ones.
        let encryption = u8::from(self.place.encryption == Encryption::Default);
        let settings = json!({
            "bind-address-ipv4": self.place.host.address().to_string(),
            "cache-size-mb": 4,
            "dht-enabled": false,
            "download-dir": dir,
            "encryption": encryption,
            "lpd-enabled": false,
            "peer-port": PEER_PORT,
            "pex-enabled": false,
            "port-forwarding-enabled": false,
            "preallocation": 0,
            "rpc-authentication-required": false,
            "rpc-bind-address": "0.0.0.0",
            "rpc-host-whitelist-enabled": false,
            "rpc-port": CONTROL_PORT,
            "rpc-whitelist-enabled": false,
            "utp-enabled": false,
        });
        self.place.write("settings.json", &settings.to_string())?;
        let mut command = self.place.command("transmission-daemon");
        command.args(["--foreground", "--config-dir"]).arg(&self.place.home);
        let process = self.process.insert(Process::start(&mut command, &self.place.log())?);
        wait_for_listener(process, self.place.control_address())?;
        let answer = self.call("torrent-add", json!({ "filename": torrent, "download-dir": dir }))?;
        ensure!(answer["torrent-added"].is_object(), "transmission did not take the torrent: {answer}");
        Ok(())
    }

    fn call(&self, method: &str, arguments: Value) -> Result<Value> {
        let body = json!({ "method": method, "arguments": arguments }).to_string();
        let to = self.place.control_address();
        let mut answer = http::post(to, "/transmission/rpc", &[], body.as_bytes())?;
        if answer.status == 409 {
            let id = answer.header("x-transmission-session-id").context("a 409 without a session id")?;
            let header = format!("X-Transmission-Session-Id: {id}");
            answer = http::post(to, "/transmission/rpc", &[&header], body.as_bytes())?;
        }
        let answer = answer.json()?;
        ensure!(answer["result"] == "success", "transmission refused {method}: {answer}");
        Ok(answer["arguments"].clone())
    }
}

impl Client for Transmission {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start(torrent, dir)
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        // It verifies what it finds in the folder by itself.
        self.start(torrent, dir)
    }

    fn is_done(&mut self) -> Result<bool> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        let fields = json!({ "fields": ["leftUntilDone", "sizeWhenDone", "status", "errorString"] });
        let answer = self.call("torrent-get", fields)?;
        const SEEDING: u64 = 6;
        let torrent = &answer["torrents"][0];
        Ok(torrent["leftUntilDone"] == 0 && torrent["sizeWhenDone"] != 0 && torrent["status"] == SEEDING)
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
