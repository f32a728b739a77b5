//! rtorrent, as a daemon, through SCGI.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::{CONTROL_PORT, Client, Encryption, PEER_PORT, Place};
use crate::http;
use crate::lab::Process;

pub(super) struct Rtorrent {
    place: Place,
    process: Option<Process>,
}

impl Rtorrent {
    pub(super) fn new(place: Place) -> Self {
        Self { place, process: None }
    }

    fn start(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        fs::create_dir_all(self.place.home.join("session"))?;
        let discovery = self.place.discovery;
        let settings = format!(
            "system.daemon.set = true\n\
             session.path.set = {home}/session\n\
             directory.default.set = \"{dir}\"\n\
             network.scgi.open_port = 0.0.0.0:{CONTROL_PORT}\n\
             network.bind_address.set = {address}\n\
             network.port_range.set = {PEER_PORT}-{PEER_PORT}\n\
             network.port_random.set = no\n\
             dht.mode.set = {mode}\n\
             dht.port.set = {PEER_PORT}\n\
             protocol.pex.set = {pex}\n\
             {encryption}\
             trackers.use_udp.set = yes\n\
             trackers.numwant.set = 100\n\
             pieces.hash.on_completion.set = no\n\
             pieces.memory.max.set = 1800M\n\
             throttle.max_peers.normal.set = 100\n\
             throttle.max_uploads.set = 50\n\
             log.open_file = \"log\", {home}/rtorrent.log\n\
             log.add_output = \"info\", \"log\"\n\
             log.add_output = \"tracker_info\", \"log\"\n\
             {node}\
             schedule2 = load, {delay}, 0, \"load.start={torrent}\"\n",
            home = self.place.home.display(),
            dir = dir.display(),
            address = self.place.host.peer_ip(),
            mode = if discovery.dht.is_some() { "on" } else { "disable" },
            encryption = match self.place.encryption {
                Encryption::Default | Encryption::Off => "",
                Encryption::Rc4 => {
                    "protocol.encryption.set = allow_incoming,try_outgoing,require,require_RC4\n"
                }
                Encryption::Handshake => {
                    "protocol.encryption.set = allow_incoming,try_outgoing,require,prefer_plaintext\n"
                }
            },
            pex = if discovery.pex { "yes" } else { "no" },
            // The DHT is there once the settings are read.
            node = discovery.dht.map_or_else(String::new, |router| {
                format!("schedule2 = node, 0, 0, \"dht.add_node={router}\"\n")
            }),
            delay = u8::from(discovery.dht.is_some()),
            torrent = torrent.display(),
        );
        let file = self.place.write("rtorrent.rc", &settings)?;
        let mut command = self.place.command("rtorrent");
        command.args(["-n", "-o"]).arg(format!("import={}", file.display())).env("TERM", "dumb");
        self.process = Some(Process::start(&mut command, &self.place.log())?);
        Ok(())
    }
}

impl Rtorrent {
    /// Numbers about the one download; none while its remote control, which comes up a moment after the program, is not
    /// there.
    fn ask(&mut self, what: &[&str]) -> Result<Vec<String>> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        let word = |word: &str| format!("<param><value><string>{word}</string></value></param>");
        let words: String = ["", "main"].iter().chain(what).map(|text| word(text)).collect();
        let call = format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>d.multicall2</methodName><params>{words}</params></methodCall>"
        );
        let answer = http::scgi(self.place.control_address(), &call).unwrap_or_default();
        Ok(numbers(&answer).into_iter().map(str::to_owned).collect())
    }
}

impl Client for Rtorrent {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start(torrent, dir)
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        // It hashes what it finds in the folder before it starts.
        self.start(torrent, dir)
    }

    fn is_done(&mut self) -> Result<bool> {
        Ok(self.ask(&["d.complete=", "d.is_active=", "d.hashing=", "d.is_meta="])? == ["1", "1", "0", "0"])
    }

    fn has_piece(&mut self) -> Result<bool> {
        // A magnet link is a download of one file, its metadata, until that is there.
        let state = self.ask(&["d.is_meta=", "d.completed_chunks="])?;
        Ok(matches!(&state[..], [meta, pieces] if meta == "0" && pieces != "0"))
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

/// The integers of an XML-RPC answer, in order.
fn numbers(xml: &str) -> Vec<&str> {
    xml.split("<i8>").skip(1).filter_map(|rest| Some(rest.split_once("</i8>")?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn integers_are_found_in_an_answer() {
        assert_eq!(numbers("<data><value><i8>1</i8></value><value><i8>0</i8></value></data>"), ["1", "0"]);
    }
}
