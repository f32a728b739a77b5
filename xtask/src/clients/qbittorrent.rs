//! qbittorrent-nox, through its web API (no login for the lab's addresses).
//!
//! The DHT's routers are the well-known ones and nothing else: where the DHT is on, the lab's names lead to one of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{CONTROL_PORT, Client, Discovery, Encryption, PEER_PORT, Place, magnet};
use crate::http;
use crate::lab::{self, DEVICE, Process};

/// From its start to the first answer of its web API.
const START_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Qbittorrent {
    place: Place,
    process: Option<Process>,
}

impl Qbittorrent {
    pub(super) fn new(place: Place) -> Self {
        Self { place, process: None }
    }

    fn settings(&self) -> String {
        let Discovery { dht, pex, lsd, .. } = self.place.discovery;
        let dht = dht.is_some();
        // On a segment it must know which of its addresses is meant.
        let interface = match self.place.host.segment_addresses() {
            [] => String::new(),
            [ip, ..] => format!(
                "Session\\Interface={DEVICE}\nSession\\InterfaceName={DEVICE}\nSession\\InterfaceAddress={ip}\n"
            ),
        };
        // It has no word for plaintext behind an encrypted handshake.
        let encryption = match self.place.encryption {
            Encryption::Default => 0,
            Encryption::Rc4 | Encryption::Handshake => 1,
            Encryption::Off => 2,
        };
        format!(
            "[LegalNotice]\nAccepted=true\n\
             [BitTorrent]\nSession\\AddTrackersEnabled=false\nSession\\DHTEnabled={dht}\n{interface}\
             Session\\Encryption={encryption}\nSession\\LSDEnabled={lsd}\nSession\\PeXEnabled={pex}\nSession\\Port={PEER_PORT}\n\
             Session\\Preallocation=false\nSession\\QueueingSystemEnabled=false\n\
             Session\\BTProtocol=TCP\nSession\\MultiConnectionsPerIp=true\n\
             [Network]\nPortForwardingEnabled=false\n\
             [Preferences]\nGeneral\\Locale=en\nWebUI\\Address=*\nWebUI\\Enabled=true\n\
             WebUI\\Port={CONTROL_PORT}\nWebUI\\LocalHostAuth=false\nWebUI\\UseUPnP=false\n\
             WebUI\\AuthSubnetWhitelistEnabled=true\nWebUI\\AuthSubnetWhitelist=10.77.0.0/24\n\
             WebUI\\HostHeaderValidation=false\nWebUI\\CSRFProtection=false\n"
        )
    }

    fn start(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.place.write("qBittorrent/config/qBittorrent.conf", &self.settings())?;
        let mut command = self.place.command("qbittorrent-nox");
        command.arg(format!("--profile={}", self.place.home.display()));
        let to = self.place.control_address();
        let process = self.process.insert(Process::start(&mut command, &self.place.log())?);
        lab::wait_until(START_LIMIT, "qbittorrent's web API", || {
            process.ensure_running()?;
            Ok(http::get(to, "/api/v2/app/version").is_ok_and(|answer| answer.status == 200))
        })?;
        let (kind, body) = form(torrent, dir)?;
        let answer = http::post(to, "/api/v2/torrents/add", &[&kind], &body)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 200 && text == "Ok.", "qbittorrent did not take the torrent: {text}");
        Ok(())
    }
}

impl Client for Qbittorrent {
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        self.start(torrent, dir)
    }

    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()> {
        // It checks what it finds in the folder by itself.
        self.start(torrent, dir)
    }

    fn is_done(&mut self) -> Result<bool> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        // Whether it answers at all is for the caller that waits for it to say.
        let Ok(answer) = http::get(self.place.control_address(), "/api/v2/torrents/info") else {
            return Ok(false);
        };
        let torrents = answer.json()?;
        let torrent = &torrents[0];
        let seeding = ["uploading", "stalledUP", "forcedUP"].iter().any(|state| torrent["state"] == *state);
        Ok(seeding && torrent["amount_left"] == 0)
    }

    fn has_piece(&mut self) -> Result<bool> {
        self.process.as_mut().context("not started")?.ensure_running()?;
        let torrents = http::get(self.place.control_address(), "/api/v2/torrents/info")?.json()?;
        let Some(hash) = torrents[0]["hash"].as_str() else { return Ok(false) };
        let states = format!("/api/v2/torrents/pieceStates?hash={hash}");
        const DOWNLOADED: u64 = 2;
        let states = http::get(self.place.control_address(), &states)?;
        // It says that there is no such torrent as long as the metadata is not there.
        let Ok(states) = states.json() else { return Ok(false) };
        Ok(states.as_array().is_some_and(|states| states.iter().any(|state| *state == DOWNLOADED)))
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

/// The upload form: its Content-Type header and its body.
fn form(torrent: &Path, dir: &Path) -> Result<(String, Vec<u8>)> {
    const BOUNDARY: &str = "a-line-that-no-torrent-contains-7d1f";
    let dir = dir.to_str().context("the download folder's path is not text")?;
    let mut body = Vec::new();
    for (name, value) in [("savepath", dir), ("autoTMM", "false"), ("root_folder", "true")] {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"torrents\"; filename=\"a.torrent\"\r\n\
         Content-Type: application/x-bittorrent\r\n\r\n"
    );
    let link = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"urls\"\r\n\r\n");
    match magnet(torrent) {
        Some(magnet) => body.extend_from_slice((link + magnet).as_bytes()),
        None => {
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&fs::read(torrent)?);
        }
    }
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    Ok((format!("Content-Type: multipart/form-data; boundary={BOUNDARY}"), body))
}
