//! The stage of a comparison: payload, torrents, network and trackers, and the runs on it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ferri_sim::Chance;
use serde_json::Value;

use super::measure::{RUN_LIMIT, Sample, process, same, sent_through_the_cable, watch};
use super::scenario::{Comparison, Contender, Network, Work};
use crate::clients::{self, Client, Encryption, Kind, PEER_PORT, PLAIN_PORT, Place, Tools};
use crate::interop::payload;
use crate::lab::{self, Host, Lab, Process};

/// Where the load's first peer listens; the next ones follow.
const PEERS_BASE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// The name of the torrent and of its one file.
pub(super) const NAME: &str = "payload.bin";

/// A link that is long and fast.
const RELAY: [&str; 4] = ["--delay-ms", "50", "--rate", "1000000000"];

/// What all runs share.
pub(super) struct Stage {
    work: PathBuf,
    tools: Tools,
    /// The switch, if there is one.
    lab: Option<Lab>,
    /// Where a client under test is.
    host: Arc<Host>,
    _relay: Option<Process>,
    set: Option<Set>,
}

/// What the runs of one comparison share.
struct Set {
    /// The folder with the payload, and what it is for.
    dir: PathBuf,
    piece: u64,
    size: u64,
    /// With a tracker that knows the peers.
    busy: PathBuf,
    /// With a tracker that knows no peer: a client that fails to reach a peer may ban it, and the load's leechers have
    /// the same addresses as its seeders.
    lonely: PathBuf,
    _trackers: [Process; 2],
}

impl Stage {
    /// Makes the network. Once a lab.
    pub(super) fn new(work: &Path, tools: Tools, network: Network) -> Result<Self> {
        fs::create_dir_all(work)?;
        let mut relay = None;
        let (lab, host) = match network {
            Network::Cable => (None, Lab::cable(lab::CABLE_PEERS_MAX)?),
            Network::Bridge => {
                let lab = Lab::new()?;
                let host = lab.host()?;
                (Some(lab), host)
            }
            Network::Relay => {
                let mut command = Command::new(&tools.ferri_bench);
                command.args(["relay", "--one", lab::TUN_NEAR, "--other", lab::TUN_FAR]).args(RELAY);
                relay = Some(start_until_ready(&mut command, &work.join("relay.log"))?);
                (None, Lab::tunnel(lab::CABLE_PEERS_MAX)?)
            }
        };
        Ok(Self { work: work.to_owned(), tools, lab, host: Arc::new(host), _relay: relay, set: None })
    }

    /// Prepares for the runs of a comparison. Payloads are made once and stay until `run` removes the folder.
    pub(super) fn set(&mut self, comparison: &Comparison) -> Result<()> {
        // The old trackers go first: the new ones want their addresses.
        self.set = None;
        let peers: Vec<SocketAddr> = match comparison.work {
            Work::Swarm { leechers, .. } => {
                (0..=leechers).map(|n| (self.host.neighbour(n), PEER_PORT).into()).collect()
            }
            _ => peer_addresses(comparison.peers + 1),
        };
        let (size, piece) = (comparison.size, comparison.piece);
        let dir = self.work.join(format!("{size}"));
        let file = dir.join("seed").join(NAME);
        if !fs::metadata(&file).is_ok_and(|known| known.len() == size) {
            payload::write_file(&file, size, &mut Chance::new(size))?;
        }
        let plain = dir.join(format!("{piece}.torrent"));
        if !plain.exists() {
            payload::create(&file, &plain, piece, Kind::Libtorrent, &self.tools)?;
        }
        let tracked = |name: &str, port: u16, peers: &[SocketAddr]| -> Result<(PathBuf, Process)> {
            let torrent = dir.join(format!("{piece}-{name}.torrent"));
            let address = SocketAddr::from((Lab::ADDRESS, port));
            payload::announce(&plain, &format!("http://{address}/announce"), &torrent)?;
            let mut command = Command::new(&self.tools.ferri_bench);
            command.args(["tracker", "--listen", &address.to_string()]);
            if !peers.is_empty() {
                command.args(["--peers", &joined(peers)]);
            }
            Ok((torrent, start_until_ready(&mut command, &self.work.join(format!("{name}-tracker.log")))?))
        };
        let (busy, first) = tracked("busy", 6969, &peers)?;
        let (lonely, second) = tracked("lonely", 6970, &[])?;
        if let Some(most) = comparison.buffers {
            lab::set_tcp_buffers(&self.host, most)?;
        }
        self.set = Some(Set { dir, piece, size, busy, lonely, _trackers: [first, second] });
        Ok(())
    }

    /// One run of a transfer or a check.
    pub(super) fn measure(&self, comparison: &Comparison, contender: &Contender) -> Result<Sample> {
        self.touch_memory(comparison.work)?;
        let mut peers = peer_addresses(comparison.peers);
        if contender.kind == Kind::PlainTcp {
            peers[0].set_port(PLAIN_PORT);
        }
        let mut client = self.client(contender.kind, &self.host, "client", peers)?;
        let sample = match comparison.work {
            Work::Seed { leechers } => self.seed(client.as_mut(), leechers),
            Work::Check => self.check(client.as_mut()),
            _ => self.leech(client.as_mut(), comparison, contender),
        };
        client.stop();
        sample
    }

    /// A client on `host` with an empty folder of its own, not started.
    fn client(
        &self,
        kind: Kind,
        host: &Arc<Host>,
        name: &str,
        peers: Vec<SocketAddr>,
    ) -> Result<Box<dyn Client>> {
        clients::make(kind, self.place(host, name, peers))
    }

    /// An empty folder on `host`.
    pub(super) fn place(&self, host: &Arc<Host>, name: &str, peers: Vec<SocketAddr>) -> Place {
        let home = self.work.join(name);
        let _ = fs::remove_dir_all(&home);
        let place = Place::new(Arc::clone(host), home, self.tools.clone());
        Place { peers, encryption: Encryption::Off, ..place }
    }

    /// The first host, and `more` new ones.
    pub(super) fn hosts(&self, more: u8) -> Result<Vec<Arc<Host>>> {
        let lab = self.lab.as_ref().context("this network has one host only")?;
        let first = std::iter::once(Ok(Arc::clone(&self.host)));
        first.chain((0..more).map(|_| Ok(Arc::new(lab.host()?)))).collect()
    }

    pub(super) fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The payload, and what is to be made of it: size and piece length.
    pub(super) fn payload(&self) -> Result<(PathBuf, u64, u64)> {
        let set = self.prepared()?;
        Ok((set.dir.join("seed").join(NAME), set.size, set.piece))
    }

    /// The torrent whose tracker knows all peers.
    pub(super) fn torrent(&self) -> Result<&Path> {
        Ok(&self.prepared()?.busy)
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.work
    }

    fn prepared(&self) -> Result<&Set> {
        self.set.as_ref().context("a stage is set before it is used")
    }

    fn leech(
        &self,
        client: &mut dyn Client,
        comparison: &Comparison,
        contender: &Contender,
    ) -> Result<Sample> {
        let set = self.prepared()?;
        let payload = set.dir.join("seed").join(NAME);
        let _seeders = self.start_seeders(comparison, contender)?;
        let dir = self.work.join("client/download");
        fs::create_dir_all(&dir)?;
        let sent_before = sent_through_the_cable()?;
        let start = Instant::now();
        client.start_leech(&set.busy, &dir)?;
        // Asking a client costs it time, so none is asked before everything has been sent.
        let mut memory = 0;
        let wall = watch(client, start, &mut memory, |client| {
            let sent = sent_through_the_cable()? - sent_before;
            let ended = client.process().is_none_or(|process| !matches!(process.exit_status(), Ok(None)));
            Ok((sent >= set.size || ended) && client.is_done()?)
        })?;
        client.stop();
        let cpu = process(client)?.cpu_time()?;
        if contender.kind != Kind::PlainTcp {
            ensure!(same(&dir.join(NAME), &payload)?, "the download is not what was sent");
        }
        fs::remove_dir_all(&dir)?;
        Ok(Sample { wall, cpu, memory })
    }

    fn start_seeders(&self, comparison: &Comparison, contender: &Contender) -> Result<Process> {
        let set = self.prepared()?;
        let payload = set.dir.join("seed").join(NAME);
        let mut command = Command::new(&self.tools.ferri_bench);
        if contender.kind == Kind::PlainTcp {
            let listen = SocketAddr::from((PEERS_BASE, PLAIN_PORT)).to_string();
            command.args(["push", "--listen", &listen, "--file"]).arg(payload);
        } else {
            let base = SocketAddr::from((PEERS_BASE, PEER_PORT)).to_string();
            command.args(["seeders", "--count", &comparison.peers.to_string(), "--listen-base", &base]);
            if !comparison.rates.is_empty() {
                command.args(["--rates", &joined(&comparison.rates)]);
            }
            if contender.with_staller {
                command.arg("--stall");
            }
            command.arg("--torrent").arg(&set.busy).arg("--file").arg(payload);
        }
        start_until_ready(&mut command, &self.work.join("seeders.log"))
    }

    fn seed(&self, client: &mut dyn Client, leechers: u8) -> Result<Sample> {
        let set = self.prepared()?;
        client.start_seed(&set.lonely, &set.dir.join("seed"))?;
        client.wait_done(RUN_LIMIT)?;
        let before = process(client)?.cpu_time()?;
        let mut command = Command::new(&self.tools.ferri_bench);
        let to = SocketAddr::from((self.host.address(), PEER_PORT)).to_string();
        command.args(["leechers", "--count", &leechers.to_string(), "--connect", &to, "--torrent"]);
        command.arg(&set.lonely).args(["--bind-base", &PEERS_BASE.to_string()]);
        let log = self.work.join("leechers.log");
        let mut leechers = Process::start(&mut command, &log)?;
        let ended = leechers.wait(RUN_LIMIT).with_context(|| lab::tail(&log))?;
        let cpu = process(client)?.cpu_time()?.saturating_sub(before);
        let memory = process(client)?.memory_peak().context("the client has ended")?;
        if !ended.success() {
            let text = fs::read_to_string(&log)?;
            let error = text.lines().find_map(|line| line.strip_prefix("Error: ")).unwrap_or("they failed");
            bail!("the leechers: {error}\n{}", lab::tail(&log));
        }
        let report: Value = serde_json::from_slice(&fs::read(&log)?)?;
        ensure!(report["bytes"] == set.size, "the leechers did not get everything: {report}");
        let seconds = report["seconds"].as_f64().context("no seconds in the leechers' report")?;
        Ok(Sample { wall: Duration::from_secs_f64(seconds), cpu, memory })
    }

    fn check(&self, client: &mut dyn Client) -> Result<Sample> {
        let set = self.prepared()?;
        let start = Instant::now();
        client.start_seed(&set.lonely, &set.dir.join("seed"))?;
        let mut memory = 0;
        let wall = watch(client, start, &mut memory, |client| client.is_done())?;
        let cpu = process(client)?.cpu_time()?;
        Ok(Sample { wall, cpu, memory })
    }

    /// A virtual machine's host takes idle memory back, and the first touch of a page then costs more than a copy. So what
    /// a run will touch is touched right before it, again and again until that gets no faster: the payload is read, and for
    /// a download, whose page cache comes from other corners of memory than a program's own, a file of its size is written
    /// and removed.
    pub(super) fn touch_memory(&self, work: Work) -> Result<()> {
        const MORE: u64 = 512 << 20;
        let set = self.prepared()?;
        rustix::fs::sync();
        let payload = set.dir.join("seed").join(NAME);
        until_steady(|| {
            let start = Instant::now();
            io::copy(&mut fs::File::open(&payload)?, &mut io::sink())?;
            Ok(start.elapsed())
        })?;
        let downloads = match work {
            Work::Check | Work::ReadCold | Work::Create | Work::Seed { .. } => 0,
            Work::Leech => 1,
            Work::Swarm { leechers, .. } => u64::from(leechers),
        };
        until_steady(|| {
            let start = Instant::now();
            write_and_remove(&self.work.join("touch"), downloads * set.size + MORE)?;
            Ok(start.elapsed())
        })
    }
}

/// Repeats a pass until it is hardly faster than the one before, or for ever gets faster.
fn until_steady(mut pass: impl FnMut() -> Result<Duration>) -> Result<()> {
    const PASSES_MAX: usize = 6;
    /// What a pass that touched new memory is slower than the next one, at least.
    const GAIN: f64 = 1.15;
    let mut before = pass()?;
    for _ in 1..PASSES_MAX {
        let now = pass()?;
        if before <= now.mul_f64(GAIN) {
            break;
        }
        before = now;
    }
    Ok(())
}

fn write_and_remove(path: &Path, size: u64) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    // As much at once as any client writes: the kernel takes large pieces of its cache from elsewhere than small ones.
    let portion = vec![1_u8; 4 << 20];
    for _ in 0..size.div_ceil(portion.len() as u64) {
        file.write_all(&portion)?;
    }
    Ok(fs::remove_file(path)?)
}

/// Starts a part of the load and waits until it says that it is ready.
fn start_until_ready(command: &mut Command, log: &Path) -> Result<Process> {
    const READY_LIMIT: Duration = Duration::from_secs(30);
    let mut process = Process::start(command, log)?;
    lab::wait_until(READY_LIMIT, "ferri-bench", || {
        process.ensure_running()?;
        Ok(fs::read_to_string(log)?.contains("ready"))
    })?;
    Ok(process)
}

fn peer_addresses(count: u8) -> Vec<SocketAddr> {
    let [a, b, c, d] = PEERS_BASE.octets();
    (0..count).map(|n| SocketAddr::from(([a, b, c, d + n], PEER_PORT))).collect()
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn passes(times: &[u64]) -> usize {
        let mut count = 0;
        until_steady(|| {
            count += 1;
            Ok(Duration::from_millis(times[(count - 1).min(times.len() - 1)]))
        })
        .unwrap();
        count
    }

    #[test]
    fn memory_is_touched_until_that_gets_no_faster() {
        assert_eq!(passes(&[200, 190]), 2);
        assert_eq!(passes(&[1600, 600, 270, 190, 185, 180]), 5);
        assert_eq!(passes(&[200, 300, 100]), 2, "a slower pass touched nothing new");
        assert_eq!(passes(&[64, 32, 16, 8, 4, 2, 1]), 6, "there is an end");
    }
}
