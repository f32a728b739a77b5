//! transmission-daemon, through its JSON RPC.
//!
//! Transmission ignores peers at loopback addresses, and hangs up on all seeds when a tracker says that no peer is
//! incomplete; the lab's addresses and a tracker that counts answer both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::{CONTROL_PORT, Client, Encryption, PEER_PORT, Place, wait_for_listener};
use crate::http;
use crate::lab::Process;

/// The driver; public to the tests of the DHT, where it is a node without torrents.
pub(crate) struct Transmission {
    place: Place,
    process: Option<Process>,
}

impl Transmission {
    /// Not started.
    pub(crate) fn new(place: Place) -> Self {
        Self { place, process: None }
    }

    /// Where others reach it.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.place.peer_address()
    }

    /// Starts it, without a torrent.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn launch(&mut self) -> Result<()> {
        // It has no word for plaintext behind an encrypted handshake.
        let encryption = match self.place.encryption {
            Encryption::Off => 0,
            Encryption::Default => 1,
            Encryption::Rc4 | Encryption::Handshake => 2,
        };
        let (ip, discovery) = (self.place.host.peer_ip(), self.place.discovery);
        let mut settings = json!({
            "cache-size-mb": 4,
            "dht-enabled": discovery.dht.is_some(),
            "download-dir": self.place.home.join("download"),
            "encryption": encryption,
            "lpd-enabled": discovery.lsd,
            "peer-port": PEER_PORT,
            "pex-enabled": discovery.pex,
            "port-forwarding-enabled": false,
            "preallocation": 0,
            "rpc-authentication-required": false,
            "rpc-bind-address": "0.0.0.0",
            "rpc-host-whitelist-enabled": false,
            "rpc-port": CONTROL_PORT,
            "rpc-whitelist-enabled": false,
            // In thousands of bytes a second.
            "speed-limit-up": self.place.upload_limit.map_or(0, |rate| rate.div_ceil(1000)),
            "speed-limit-up-enabled": self.place.upload_limit.is_some(),
            "utp-enabled": false,
        });
        if ip.is_ipv4() {
            settings["bind-address-ipv4"] = json!(ip.to_string());
        } else {
            settings["bind-address-ipv4"] = json!("127.0.0.1");
            settings["bind-address-ipv6"] = json!(ip.to_string());
        }
        self.place.write("settings.json", &settings.to_string())?;
        if let Some(router) = discovery.dht {
            fs::write(self.place.home.join("dht.dat"), known_node(router, self.place.peer_address()))?;
        }
        let mut command = self.place.command("transmission-daemon");
        command.args(["--foreground", "--config-dir"]).arg(&self.place.home);
        let process = self.process.insert(Process::start(&mut command, &self.place.log())?);
        wait_for_listener(process, self.place.control_address())
    }

    fn start(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.launch()?;
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

    fn has_piece(&mut self) -> Result<bool> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        // Of a magnet link without metadata it has nothing.
        let answer = self.call("torrent-get", json!({ "fields": ["haveValid"] }))?;
        Ok(answer["torrents"][0]["haveValid"].as_u64().is_some_and(|bytes| bytes > 0))
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

/// What it keeps of the DHT between two lives, with one node. Its own id is any that no other has.
fn known_node(node: SocketAddr, own: SocketAddr) -> Vec<u8> {
    let ip = match node {
        SocketAddr::V4(node) => node.ip().octets().to_vec(),
        SocketAddr::V6(node) => node.ip().octets().to_vec(),
    };
    let id = Sha1::digest(own.to_string());
    let key = if node.is_ipv4() { "5:nodes" } else { "6:nodes6" };
    let mut text = [b"d2:id20:".as_slice(), &id[..], key.as_bytes()].concat();
    text.extend_from_slice(format!("{}:", ip.len() + 2).as_bytes());
    text.extend_from_slice(&ip);
    text.extend_from_slice(&node.port().to_be_bytes());
    text.push(b'e');
    text
}
