//! Programs that speak BitTorrent, driven alike: start to download, start to seed, are you done, stop.
//!
//! Each driver configures its program for a closed network (no DHT, no peer exchange, no local discovery, no port mapping)
//! unless its place says otherwise ([`Discovery`]), and asks it through its own remote control. Nothing here waits by
//! sleeping for a while and hoping.

mod aria2;
mod ferriswarm;
mod floor;
mod libtorrent;
mod plain;
mod qbittorrent;
mod rqbit;
mod rtorrent;
mod transmission;

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{self, Host, Process};

pub(crate) use ferriswarm::Ferriswarm;
pub(crate) use libtorrent::Libtorrent;
pub(crate) use transmission::Transmission;

/// The port on which every client listens for peers; each has an address of its own.
pub(crate) const PEER_PORT: u16 = 6881;

/// The port of a peer that sends a plain TCP stream.
pub(crate) const PLAIN_PORT: u16 = 6882;

/// The port of every client's remote control.
const CONTROL_PORT: u16 = 8080;

/// A client that a test or a measurement can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// This project's program.
    Ferriswarm,
    /// Another build of it, to compare with; for measurements.
    Earlier,
    /// libtorrent through its Python binding.
    Libtorrent,
    /// The same with its high-performance preset; for measurements.
    LibtorrentHp,
    /// transmission-daemon.
    Transmission,
    /// aria2c.
    Aria2,
    /// qbittorrent-nox.
    Qbittorrent,
    /// rtorrent.
    Rtorrent,
    /// rqbit; for measurements.
    Rqbit,
    /// The least a transfer can take; for measurements.
    Floor,
    /// One plain TCP stream, without BitTorrent; for measurements.
    PlainTcp,
    /// mktorrent, which makes torrents and nothing else; for measurements.
    Mktorrent,
}

impl Kind {
    /// The clients that other people wrote and that every release must get along with.
    pub(crate) const FOREIGN: [Self; 5] =
        [Self::Transmission, Self::Aria2, Self::Qbittorrent, Self::Rtorrent, Self::Libtorrent];

    /// Those that measurements compare.
    pub(crate) const MEASURED: [Self; 8] = [
        Self::Floor,
        Self::Ferriswarm,
        Self::Rqbit,
        Self::Libtorrent,
        Self::LibtorrentHp,
        Self::Aria2,
        Self::Rtorrent,
        Self::Transmission,
    ];

    /// What a program can demand of its peers. Transmission and qBittorrent demand RC4 or nothing.
    pub(crate) fn demands(self) -> &'static [Encryption] {
        match self {
            Self::Libtorrent | Self::Aria2 | Self::Rtorrent => &[Encryption::Rc4, Encryption::Handshake],
            Self::Transmission | Self::Qbittorrent => &[Encryption::Rc4],
            _ => &[],
        }
    }

    /// The name on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ferriswarm => "ferriswarm",
            Self::Earlier => "the other build",
            Self::Libtorrent => "libtorrent",
            Self::LibtorrentHp => "libtorrent-hp",
            Self::Transmission => "transmission",
            Self::Aria2 => "aria2",
            Self::Qbittorrent => "qbittorrent",
            Self::Rtorrent => "rtorrent",
            Self::Rqbit => "rqbit",
            Self::Floor => "floor",
            Self::PlainTcp => "plain TCP",
            Self::Mktorrent => "mktorrent",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = Self::FOREIGN.into_iter().chain(Self::MEASURED);
        if text == "ours" {
            return Ok(Self::Ferriswarm);
        }
        all.into_iter()
            .find(|kind| kind.name() == text)
            .with_context(|| format!("there is no client {text:?} to drive"))
    }
}

/// What the drivers need from the machine.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Our program, built.
    pub(crate) ferriswarm: PathBuf,
    /// The load generators, built.
    pub(crate) ferri_bench: PathBuf,
    /// The folder of another build of both, where a measurement has one to compare with.
    pub(crate) earlier: Option<PathBuf>,
    /// A Python that can import libtorrent.
    pub(crate) python: PathBuf,
    /// `assets/peer.py`.
    pub(crate) peer_script: PathBuf,
    /// rqbit, where a measurement wants it.
    pub(crate) rqbit: PathBuf,
    /// The folder of aquatic's trackers, where a measurement wants them.
    pub(crate) aquatic: PathBuf,
    /// The folder of npm's package bittorrent-tracker.
    pub(crate) bittorrent_tracker: PathBuf,
}

impl Tools {
    /// Where they are in the tree at `root`, with cargo's output in `target`.
    pub(crate) fn new(root: &Path, target: &Path) -> Self {
        Self {
            ferriswarm: target.join("release/ferriswarm"),
            ferri_bench: target.join("release/ferri-bench"),
            earlier: None,
            python: root.join(".cache/venv/bin/python"),
            peer_script: root.join("xtask/assets/peer.py"),
            rqbit: root.join(".cache/rqbit/bin/rqbit"),
            aquatic: root.join(".cache/aquatic/bin"),
            bittorrent_tracker: root.join(".cache/npm/node_modules/bittorrent-tracker"),
        }
    }
}

impl Tools {
    /// A program of the other build.
    ///
    /// # Errors
    /// When there is no other build, or it lacks that program.
    pub(crate) fn of_earlier(&self, program: &str) -> Result<PathBuf> {
        let path = self.earlier.as_ref().context("no other build was given")?.join(program);
        ensure!(
            path.exists(),
            "{} is not there; build it: cargo build --release -p {program}",
            path.display()
        );
        Ok(path)
    }
}

/// One running (or not yet started) client.
pub(crate) trait Client: Send {
    /// Begins to download what `torrent`, a file or a magnet link, describes into the folder `dir`, and to serve it
    /// meanwhile.
    ///
    /// # Errors
    /// When the program does not start or does not take the torrent.
    fn start_leech(&mut self, torrent: &Path, dir: &Path) -> Result<()>;

    /// Begins to serve what lies in `dir`.
    ///
    /// # Errors
    /// As `start_leech`.
    fn start_seed(&mut self, torrent: &Path, dir: &Path) -> Result<()>;

    /// Whether everything is there and verified, in the program's own words.
    ///
    /// # Errors
    /// When it cannot say, or has ended without being done.
    fn is_done(&mut self) -> Result<bool>;

    /// Whether at least one piece is there and verified, in the program's own words.
    ///
    /// # Errors
    /// As `is_done`.
    fn has_piece(&mut self) -> Result<bool> {
        self.is_done()
    }

    /// Ends it cleanly.
    fn stop(&mut self);

    /// The process, once started.
    fn process(&mut self) -> Option<&mut Process>;

    /// Waits for `is_done`.
    ///
    /// # Errors
    /// When it fails or does not come true within `limit`; with the end of the program's log.
    fn wait_done(&mut self, limit: Duration) -> Result<()> {
        let outcome = lab::wait_until(limit, "the client to be done", || self.is_done());
        match (outcome, self.process()) {
            (Err(error), Some(process)) => bail!("{error:#}\n{}", process.log_tail()),
            (outcome, _) => outcome,
        }
    }
}

/// Where one client of one test lives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its own host on the network.
    pub(crate) host: Arc<Host>,
    /// A folder for its settings, state and log.
    pub(crate) home: PathBuf,
    /// The programs.
    pub(crate) tools: Tools,
    /// Peers known beforehand; most clients ask the torrent's tracker instead.
    pub(crate) peers: Vec<SocketAddr>,
    /// Whether to offer and accept encrypted connections, as the client would by itself.
    pub(crate) encryption: Encryption,
    /// How it finds peers beside trackers.
    pub(crate) discovery: Discovery,
    /// Bytes a second that it sends at most; for those clients that the tests limit.
    pub(crate) upload_limit: Option<u64>,
}

/// How a client finds peers beside the torrent's trackers. The default is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discovery {
    /// In the DHT, beginning with this node.
    pub(crate) dht: Option<SocketAddr>,
    /// By what other peers tell (BEP 11).
    pub(crate) pex: bool,
    /// By what is said on the link (BEP 14).
    pub(crate) lsd: bool,
    /// By strangers, through a port of the gateway that leads here; ours only.
    pub(crate) mapping: bool,
}

/// What a client is told about encrypted connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Nothing: as its makers set it.
    Default,
    /// To do without, so that measurements compare transfers and not ciphers.
    Off,
    /// To speak with no peer that does not encrypt everything.
    Rc4,
    /// To speak with no peer that does not encrypt the handshake; what follows is in plain.
    Handshake,
}

impl Encryption {
    /// As reports, and the log of our program, have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "encryption as its makers set it",
            Self::Off => "plain",
            Self::Rc4 => "RC4",
            Self::Handshake => "encrypted handshake",
        }
    }
}

impl Place {
    /// One with nothing but a host, a home and the programs; for a closed network.
    pub(crate) fn new(host: Arc<Host>, home: PathBuf, tools: Tools) -> Self {
        let (peers, encryption, discovery) = (Vec::new(), Encryption::Default, Discovery::default());
        Self { host, home, tools, peers, encryption, discovery, upload_limit: None }
    }

    /// Where other peers reach the client.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        (self.host.peer_ip(), PEER_PORT).into()
    }

    fn control_address(&self) -> SocketAddr {
        (self.host.address(), CONTROL_PORT).into()
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// A command on the client's host whose home folder and temporary files are its own.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        let mut command = self.host.command(program);
        command
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", self.home.join("config"))
            .env("XDG_DATA_HOME", self.home.join("data"))
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .env("XDG_STATE_HOME", self.home.join("state"));
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.home.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// A client of this kind, not started.
///
/// # Errors
/// When its folder cannot be made.
pub(crate) fn make(kind: Kind, mut place: Place) -> Result<Box<dyn Client>> {
    fs::create_dir_all(&place.home).with_context(|| format!("creating {}", place.home.display()))?;
    Ok(match kind {
        Kind::Ferriswarm => Box::new(Ferriswarm::new(place)),
        Kind::Earlier => {
            place.tools.ferriswarm = place.tools.of_earlier("ferriswarm")?;
            Box::new(Ferriswarm::new(place))
        }
        Kind::Libtorrent => Box::new(Libtorrent::new(place)),
        Kind::LibtorrentHp => Box::new(Libtorrent::new(place).with_high_performance()),
        Kind::Transmission => Box::new(Transmission::new(place)),
        Kind::Aria2 => Box::new(aria2::Aria2::new(place)),
        Kind::Qbittorrent => Box::new(qbittorrent::Qbittorrent::new(place)),
        Kind::Rtorrent => Box::new(rtorrent::Rtorrent::new(place)),
        Kind::Floor => Box::new(floor::Floor::new(place)),
        Kind::Rqbit => Box::new(rqbit::Rqbit::new(place)),
        Kind::PlainTcp => Box::new(plain::Plain::new(place)),
        Kind::Mktorrent => bail!("mktorrent transfers nothing"),
    })
}

/// A magnet link, if that is what `torrent` is.
fn magnet(torrent: &Path) -> Option<&str> {
    torrent.to_str().filter(|text| text.starts_with("magnet:"))
}

/// Waits until a program that was just started listens on `address`.
fn wait_for_listener(process: &mut Process, address: SocketAddr) -> Result<()> {
    const LISTEN_LIMIT: Duration = Duration::from_secs(30);
    lab::wait_until(LISTEN_LIMIT, &format!("somebody to listen on {address}"), || {
        process.ensure_running()?;
        Ok(std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
    })
}
