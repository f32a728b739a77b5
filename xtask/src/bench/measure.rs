//! One run of one client: the load around it, the clock, the kernel's books.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Mode;
use crate::clients::{self, Client, Encryption, Kind, PEER_PORT, Place, Tools};
use crate::interop::payload::{self, Random};
use crate::lab::{self, Host, Lab, Process};

/// Where the load's first peer listens; the next ones follow.
const PEERS_BASE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// Between two looks at the client; the precision of the wall clock.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A run that takes longer has failed.
const RUN_LIMIT: Duration = Duration::from_secs(600);

/// The name of the torrent and of its one file.
const NAME: &str = "payload.bin";

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// From the start of the process (leech, check) or of the transfer (seed) to the end of the work.
    pub(super) wall: Duration,
    /// User and system time of the process: its whole life (leech), or the transfer (seed), or the check.
    pub(super) cpu: Duration,
    /// The most memory that was resident, in bytes.
    pub(super) memory: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        write!(f, "{wall:7.2} s wall  {cpu:7.2} s CPU  {:6} MiB", self.memory >> 20)
    }
}

/// The payload, the cable, and what all runs share.
pub(super) struct Bench {
    work: PathBuf,
    tools: Tools,
    host: Arc<Host>,
    /// With a tracker that knows the load's seeders.
    busy: PathBuf,
    /// With a tracker that knows nobody: a client that fails to reach a peer may ban it, and the load's leechers have
    /// the same addresses as its seeders.
    lonely: PathBuf,
    size: u64,
    peers: u8,
    _trackers: [Process; 2],
}

impl Bench {
    /// Makes the payload and its torrent in `work`, and starts the trackers.
    pub(super) fn new(work: &Path, tools: Tools, size: u64, piece: u64, peers: u8) -> Result<Self> {
        let _ = fs::remove_dir_all(work);
        let seed = work.join("seed");
        payload::write_file(&seed.join(NAME), size, &mut Random::new(size))?;
        let plain = work.join("plain.torrent");
        payload::create(&seed.join(NAME), &plain, piece, Kind::Libtorrent, &tools)?;
        let host = Arc::new(Lab::cable(peers)?);
        let peer_list: Vec<String> = peer_addresses(peers).iter().map(ToString::to_string).collect();
        let tracked = |name: &str, port: u16, peers: &[&str]| -> Result<(PathBuf, Process)> {
            let torrent = work.join(format!("{name}.torrent"));
            let address = SocketAddr::from((Lab::ADDRESS, port));
            payload::announce(&plain, &format!("http://{address}/announce"), &torrent)?;
            let mut command = Command::new(&tools.ferri_bench);
            command.args(["tracker", "--listen", &address.to_string()]).args(peers);
            Ok((torrent, start_until_ready(&mut command, &work.join(format!("{name}-tracker.log")))?))
        };
        let (busy, first) = tracked("busy", 6969, &["--peers", &peer_list.join(",")])?;
        let (lonely, second) = tracked("lonely", 6970, &[])?;
        let trackers = [first, second];
        Ok(Self { work: work.to_owned(), tools, host, busy, lonely, size, peers, _trackers: trackers })
    }

    /// One run.
    pub(super) fn measure(&self, mode: Mode, kind: Kind) -> Result<Sample> {
        let home = self.work.join("client");
        let _ = fs::remove_dir_all(&home);
        rustix::fs::sync();
        self.touch_memory()?;
        let place = Place {
            host: Arc::clone(&self.host),
            home,
            tools: self.tools.clone(),
            peers: peer_addresses(self.peers),
            encryption: Encryption::Off,
        };
        let mut client = clients::make(kind, place)?;
        let sample = match mode {
            Mode::Leech => self.leech(client.as_mut()),
            Mode::Seed => self.seed(client.as_mut()),
            Mode::Check => self.check(client.as_mut()),
        };
        client.stop();
        sample
    }

    /// Removes the payload and everything else.
    pub(super) fn clean(self) {
        let _ = fs::remove_dir_all(&self.work);
    }

    fn leech(&self, client: &mut dyn Client) -> Result<Sample> {
        let mut command = Command::new(&self.tools.ferri_bench);
        let base = SocketAddr::from((PEERS_BASE, PEER_PORT)).to_string();
        command.args(["seeders", "--count", &self.peers.to_string(), "--listen-base", &base, "--torrent"]);
        command.arg(&self.busy).arg("--file").arg(self.work.join("seed").join(NAME));
        let _seeders = start_until_ready(&mut command, &self.work.join("seeders.log"))?;
        let dir = self.work.join("client/download");
        fs::create_dir_all(&dir)?;
        let sent_before = sent_through_the_cable()?;
        let start = Instant::now();
        client.start_leech(&self.busy, &dir)?;
        // Asking a client costs it time, so nobody asks before everything has been sent.
        let mut memory = 0;
        let wall = watch(client, start, &mut memory, |client| {
            let sent = sent_through_the_cable()? - sent_before;
            let ended = client.process().is_none_or(|process| !matches!(process.exit_status(), Ok(None)));
            Ok((sent >= self.size || ended) && client.is_done()?)
        })?;
        client.stop();
        let cpu = process(client)?.cpu_time()?;
        ensure!(
            same(&dir.join(NAME), &self.work.join("seed").join(NAME))?,
            "the download is not what was sent"
        );
        fs::remove_dir_all(&dir)?;
        Ok(Sample { wall, cpu, memory })
    }

    fn seed(&self, client: &mut dyn Client) -> Result<Sample> {
        client.start_seed(&self.lonely, &self.work.join("seed"))?;
        client.wait_done(RUN_LIMIT)?;
        let before = process(client)?.cpu_time()?;
        let mut command = Command::new(&self.tools.ferri_bench);
        let to = SocketAddr::from((self.host.address(), PEER_PORT)).to_string();
        command.args(["leechers", "--count", &self.peers.to_string(), "--connect", &to, "--torrent"]);
        command.arg(&self.lonely).args(["--bind-base", &PEERS_BASE.to_string()]);
        let log = self.work.join("leechers.log");
        let mut leechers = Process::start(&mut command, &log)?;
        let ended = leechers.wait(RUN_LIMIT)?;
        let cpu = process(client)?.cpu_time()?.saturating_sub(before);
        let memory = process(client)?.memory_peak().context("the client has ended")?;
        ensure!(ended.success(), "the leechers failed\n{}", lab::tail(&log));
        let report: Value = serde_json::from_slice(&fs::read(&log)?)?;
        ensure!(report["bytes"] == self.size, "the leechers did not get everything: {report}");
        let seconds = report["seconds"].as_f64().context("no seconds in the leechers' report")?;
        Ok(Sample { wall: Duration::from_secs_f64(seconds), cpu, memory })
    }

    fn check(&self, client: &mut dyn Client) -> Result<Sample> {
        let start = Instant::now();
        client.start_seed(&self.lonely, &self.work.join("seed"))?;
        let mut memory = 0;
        let wall = watch(client, start, &mut memory, |client| client.is_done())?;
        let cpu = process(client)?.cpu_time()?;
        Ok(Sample { wall, cpu, memory })
    }

    /// A virtual machine's host takes idle memory back, and the first touch of a page then costs more than a copy. What a
    /// download touches most is page cache, which comes from other corners of memory than a program's own: so a file of its
    /// size is written and removed, right before the run.
    fn touch_memory(&self) -> Result<()> {
        use std::io::Write as _;
        const MORE: u64 = 512 << 20;
        let path = self.work.join("touch");
        let mut file = fs::File::create(&path)?;
        let portion = vec![1_u8; 1 << 20];
        for _ in 0..(self.size + MORE) >> 20 {
            file.write_all(&portion)?;
        }
        fs::remove_file(&path)?;
        Ok(())
    }
}

/// Looks until the client is done, and at its memory meanwhile.
fn watch(
    client: &mut dyn Client,
    start: Instant,
    memory: &mut u64,
    mut is_done: impl FnMut(&mut dyn Client) -> Result<bool>,
) -> Result<Duration> {
    loop {
        let done = is_done(client)?;
        let wall = start.elapsed();
        *memory = process(client)?.memory_peak().unwrap_or(0).max(*memory);
        if done {
            return Ok(wall);
        }
        if RUN_LIMIT < wall {
            anyhow::bail!("not done after {} s\n{}", wall.as_secs(), process(client)?.log_tail());
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn process(client: &mut dyn Client) -> Result<&mut Process> {
    client.process().context("the client was started")
}

fn peer_addresses(count: u8) -> Vec<SocketAddr> {
    let [a, b, c, d] = PEERS_BASE.octets();
    (0..count).map(|n| SocketAddr::from(([a, b, c, d + n], PEER_PORT))).collect()
}

/// Bytes that left our end of the cable, headers included.
fn sent_through_the_cable() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/dev")?;
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix("cable:")).context("the cable is gone")?;
    let sent = line.split_whitespace().nth(8).context("no ninth column in /proc/net/dev")?;
    Ok(sent.parse()?)
}

fn start_until_ready(command: &mut Command, log: &Path) -> Result<Process> {
    const READY_LIMIT: Duration = Duration::from_secs(30);
    let mut process = Process::start(command, log)?;
    lab::wait_until(READY_LIMIT, "ferri-bench", || {
        process.ensure_running()?;
        Ok(fs::read_to_string(log)?.contains("ready"))
    })?;
    Ok(process)
}

/// Compares two files.
fn same(a: &Path, b: &Path) -> Result<bool> {
    use std::io::Read;
    const CHUNK: u64 = 4 << 20;
    if fs::metadata(a)?.len() != fs::metadata(b)?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (fs::File::open(a)?, fs::File::open(b)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        a.by_ref().take(CHUNK).read_to_end(&mut left)?;
        b.by_ref().take(CHUNK).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
