//! What thousands of seeding torrents cost: one session of the library, started again over torrents that are complete.
//!
//! The torrents, their payloads and the journals are made before, in processes of their own, so that what is measured
//! is a restart. Announces go to a tracker in yet another process, which counts them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferri_engine::{AddTorrent, Session, SessionOptions, Torrent};
use ferri_metainfo::create::{Builder, Content, Hasher};
use ferri_metainfo::{Metainfo, Version};

use crate::say;

/// A piece of these torrents, bytes.
const PIECE_LENGTH: u32 = 16 << 10;
/// Torrents asked whether they serve.
const ASKED: usize = 200;
/// Clock ticks a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// How many of what, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Many {
    #[arg(long, default_value_t = 5000)]
    torrents: usize,
    /// Where torrents, payloads and state are kept; what is there is used again
    #[arg(long)]
    dir: PathBuf,
    /// Bytes of each payload
    #[arg(long, default_value_t = 64 << 10)]
    size: u64,
    /// Announce here instead of to a counting tracker of our own
    #[arg(long)]
    tracker: Option<String>,
    /// Seconds during which the idle process is watched
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Only make what is missing
    #[arg(long)]
    prepare: bool,
}

/// Measures and says a line of JSON.
///
/// # Errors
/// When the torrents cannot be made or served.
pub(crate) fn run(many: &Many) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if many.prepare {
        make(many)?;
        return runtime.block_on(check(many));
    }
    let prepared = Command::new(std::env::current_exe()?)
        .args([
            "many",
            "--prepare",
            "--torrents",
            &many.torrents.to_string(),
            "--size",
            &many.size.to_string(),
        ])
        .arg("--dir")
        .arg(&many.dir)
        .status()?;
    ensure!(prepared.success(), "the torrents could not be made");
    let mut tracker = match &many.tracker {
        Some(_) => None,
        None => Some(Counting::start()?),
    };
    let url = many.tracker.clone().or_else(|| tracker.as_ref().map(|tracker| tracker.url.clone()));
    let line = runtime.block_on(measure(many, url))?;
    let counted = tracker.as_mut().map_or(Ok("null".to_owned()), Counting::end)?;
    say(&format!("{{{line},\"tracker\":{counted}}}"))
}

/// Makes payloads and torrents that are not there.
fn make(many: &Many) -> Result<()> {
    fs::create_dir_all(many.dir.join("torrents"))?;
    fs::create_dir_all(many.dir.join("payload"))?;
    for n in 0..many.torrents {
        let path = torrent_path(&many.dir, n);
        if path.exists() {
            continue;
        }
        let name = format!("file-{n:05}");
        let mut payload = vec![0; usize::try_from(many.size)?];
        // Every payload differs from the others in every piece.
        for (at, bytes) in (0u64..).zip(payload.chunks_mut(8)) {
            let number = ((n as u64) << 32 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            bytes.copy_from_slice(&number[..bytes.len()]);
        }
        let content = Content::File { length: many.size, executable: false };
        let mut builder = Builder::new(Version::V1, &name, content);
        builder.piece_length = Some(PIECE_LENGTH);
        let mut hasher = Hasher::new(builder.plan()?.into());
        hasher.feed(&payload)?;
        fs::write(many.dir.join("payload").join(&name), &payload)?;
        fs::write(path, hasher.finish()?)?;
    }
    Ok(())
}

/// Lets a session look at everything once.
async fn check(many: &Many) -> Result<()> {
    let session = start(many).await?;
    let torrents = add_all(many, &session, None).await?;
    for torrent in &torrents {
        torrent.wait_done().await;
    }
    session.shutdown().await;
    Ok(())
}

async fn start(many: &Many) -> Result<Session> {
    // As the other clients are measured.
    let mut options = SessionOptions::new(many.dir.join("state")).without_discovery();
    options.bind = Some([127, 0, 0, 1].into());
    options.listen_port = Some(0);
    Ok(Session::start(options).await?)
}

async fn add_all(many: &Many, session: &Session, tracker: Option<&String>) -> Result<Vec<Torrent>> {
    let mut torrents = Vec::with_capacity(many.torrents);
    for n in 0..many.torrents {
        let bytes = fs::read(torrent_path(&many.dir, n))?;
        let mut add = AddTorrent::new(Metainfo::parse(&bytes)?, many.dir.join("payload"));
        add.extra_trackers = tracker.cloned().into_iter().collect();
        torrents.push(session.add(add).await?);
    }
    Ok(torrents)
}

fn torrent_path(dir: &Path, n: usize) -> PathBuf {
    dir.join("torrents").join(format!("{n:05}.torrent"))
}

async fn measure(many: &Many, tracker: Option<String>) -> Result<String> {
    let before = Process::look()?;
    let started = Instant::now();
    let session = start(many).await?;
    let empty = Process::look()?;
    let torrents = add_all(many, &session, tracker.as_ref()).await?;
    for torrent in &torrents {
        torrent.wait_done().await;
    }
    let serving = started.elapsed();
    let after_start = Process::look()?;
    // Those that announce at once have gone to rest when the watch begins.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let idle = Process::look()?;
    tokio::time::sleep(Duration::from_secs(many.idle)).await;
    let end = Process::look()?;
    let served = asked(&session, &torrents).await?;
    let after_peers = Process::look()?;
    let stopping = Instant::now();
    session.shutdown().await;
    let stopped = stopping.elapsed();
    let cpu = |from: &Process, to: &Process| to.cpu_seconds - from.cpu_seconds;
    Ok(format!(
        r#""torrents":{},"serving_after_s":{:.3},"start_cpu_s":{:.2},"rss_empty_kib":{},"rss_kib":{},"rss_after_start_kib":{},"rss_peak_kib":{},"kib_each":{:.2},"idle_cpu_percent":{:.2},"fds":{},"threads":{},"tasks":{tasks},"asked":{},"served":{served},"fds_after_peers":{},"stop_s":{:.3},"stop_cpu_s":{:.2}"#,
        torrents.len(),
        serving.as_secs_f64(),
        cpu(&before, &after_start),
        empty.rss_kib,
        end.rss_kib,
        after_start.rss_kib,
        after_peers.peak_kib,
        (end.rss_kib - empty.rss_kib) as f64 / torrents.len().max(1) as f64,
        100.0 * cpu(&idle, &end) / many.idle.max(1) as f64,
        end.fds,
        end.threads,
        torrents.len().min(ASKED),
        after_peers.fds,
        stopped.as_secs_f64(),
        cpu(&after_peers, &Process::look()?),
    ))
}

/// How many torrents answer a handshake with their own and a message.
async fn asked(session: &Session, torrents: &[Torrent]) -> Result<usize> {
    let addr = session.listen_addr();
    let step = (torrents.len() / ASKED).max(1);
    let hashes: Vec<_> =
        torrents.iter().step_by(step).take(ASKED).map(|torrent| torrent.info_hashes().wire()).collect();
    let ask = move || hashes.iter().filter(|hash| greets(addr, hash.as_bytes()).unwrap_or(false)).count();
    Ok(tokio::task::spawn_blocking(ask).await?)
}

fn greets(addr: SocketAddr, info_hash: &[u8; 20]) -> Result<bool> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    hello.extend(info_hash);
    hello.extend(b"-XX0000-012345678901");
    stream.write_all(&hello)?;
    // The handshake, and the length and kind of the bitfield.
    let mut answer = [0; 68 + 5];
    stream.read_exact(&mut answer)?;
    Ok(answer[28..48] == info_hash[..] && answer[72] == 5)
}

/// This process, as the system sees it.
#[derive(Debug)]
struct Process {
    rss_kib: u64,
    peak_kib: u64,
    threads: u64,
    fds: usize,
    cpu_seconds: f64,
}

impl Process {
    fn look() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a field of /proc")?;
            Ok(line.split_whitespace().next().context("a number")?.parse()?)
        };
        let stat = fs::read_to_string("/proc/self/stat")?;
        let (_, after_name) = stat.rsplit_once(')').context("the name in /proc")?;
        let times: Vec<f64> =
            after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            rss_kib: field("VmRSS:")?,
            peak_kib: field("VmHWM:")?,
            threads: field("Threads:")?,
            fds: fs::read_dir("/proc/self/fd")?.count() - 1,
            cpu_seconds: times.iter().sum::<f64>() / TICKS,
        })
    }
}

/// The tracker that counts, in a process of its own.
#[derive(Debug)]
struct Counting {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Counting {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["announces", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("its output")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let url = line.trim().strip_prefix("ready ").context("the tracker did not start")?.to_owned();
        Ok(Self { child, out, url })
    }

    fn end(&mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        self.child.wait()?;
        Ok(line.trim().to_owned())
    }
}
