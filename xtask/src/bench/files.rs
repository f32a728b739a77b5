//! What a torrent of a million files costs: to be shown, to be compared with nothing and with itself, to begin, to end.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sha1::{Digest, Sha1};

use super::goals::Goal;
use super::table::{Found, Range, Table};
use crate::clients::Tools;
use crate::lab::Process;
use crate::report::say;

/// Files of the torrent, in so many folders; each has one byte.
const FILES: usize = 1 << 20;
const FOLDERS: usize = 1 << 10;

const PIECE: usize = 16 << 10;

/// What `show` may use beside four times the .torrent file.
const SHOW_MEMORY_MIB: f64 = 16.0;

/// Between two looks at a program.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// A run that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// Ctrl-C comes so long after a start, to meet the program in every phase.
const INTERRUPTS: [u64; 7] = [50, 200, 500, 1000, 1700, 2500, 4000];

/// The tables, and our goals.
///
/// # Errors
/// When a run fails or the payload cannot be made.
pub(super) fn measure(tools: &Tools, work: &Path, runs: usize) -> Result<Found> {
    let stage = Stage::new(tools, &work.join("files"))?;
    let mut rows: Vec<(&str, Vec<Sample>)> = Vec::new();
    let jobs: [(&str, Job); 4] = [
        ("show", Job::Show),
        ("show --json", Job::ShowJson),
        ("verify, absent", Job::Absent),
        ("verify, present", Job::Present),
    ];
    for (name, job) in jobs {
        let samples: Vec<Sample> = (0..runs).map(|_| stage.run(job)).collect::<Result<_>>()?;
        say(&format!("{name}: {samples:?}"));
        rows.push((name, samples));
    }
    let begins: Vec<f64> = (0..runs).map(|_| stage.begin()).collect::<Result<_>>()?;
    say(&format!("get begins after {begins:?} s"));
    let mut ends = Vec::new();
    for job in [Job::Show, Job::Absent, Job::Present, Job::Get, Job::GetPresent, Job::Create] {
        let mut worst: f64 = 0.0;
        for after in INTERRUPTS {
            worst = worst.max(stage.interrupt(job, Duration::from_millis(after))?);
        }
        say(&format!("{job:?}: gone {worst:.2} s after Ctrl-C at worst"));
        ends.push((job, worst));
    }
    Ok(stage.found(&rows, begins, &ends))
}

#[derive(Clone, Copy, Debug)]
enum Job {
    Show,
    ShowJson,
    Absent,
    Present,
    Get,
    GetPresent,
    Create,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    wall: f64,
    cpu: f64,
    /// MiB.
    memory: f64,
}

struct Stage {
    program: PathBuf,
    dir: PathBuf,
    torrent: PathBuf,
    /// Bytes of the .torrent file.
    length: u64,
}

impl Stage {
    fn new(tools: &Tools, dir: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir.join("empty/t"))?;
        let payload = dir.join("present/t");
        for folder in 0..FOLDERS {
            fs::create_dir_all(payload.join(folder_name(folder)))?;
        }
        for file in 0..FILES {
            let path = payload.join(folder_name(file / (FILES / FOLDERS))).join(file_name(file));
            fs::File::create(&path)
                .and_then(|mut file| file.write_all(b"a"))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        let torrent = dir.join("t.torrent");
        fs::write(&torrent, metainfo())?;
        let length = fs::metadata(&torrent)?.len();
        Ok(Self { program: tools.ferriswarm.clone(), dir: dir.to_owned(), torrent, length })
    }

    fn command(&self, job: Job) -> Command {
        let mut command = Command::new(&self.program);
        let (empty, present) = (self.dir.join("empty"), self.dir.join("present"));
        let get = |command: &mut Command, output: PathBuf| {
            let state = self.dir.join("state");
            let _ = fs::remove_dir_all(&state);
            command.arg("get").arg(&self.torrent).arg("-o").arg(output).arg("--state-dir").arg(state);
            command.args(["--port", "0", "--no-trackers", "--no-dht", "--no-lsd", "--no-port-mapping"]);
        };
        match job {
            Job::Show => drop(command.arg("show").arg(&self.torrent)),
            Job::ShowJson => drop(command.args(["show", "--json"]).arg(&self.torrent)),
            Job::Absent => drop(command.arg("verify").arg(&self.torrent).arg(empty)),
            Job::Present => drop(command.arg("verify").arg(&self.torrent).arg(present)),
            Job::Get => get(&mut command, empty),
            Job::GetPresent => get(&mut command, present),
            Job::Create => {
                let out = self.dir.join("made.torrent");
                let _ = fs::remove_file(&out);
                command.arg("create").arg(present.join("t")).arg("-o").arg(out);
            }
        }
        command
    }

    fn run(&self, job: Job) -> Result<Sample> {
        let start = Instant::now();
        let mut process = Process::start(&mut self.command(job), &self.dir.join("log"))?;
        let mut memory = 0;
        while process.exit_status()?.is_none() {
            memory = process.memory_peak().unwrap_or(0).max(memory);
            ensure!(start.elapsed() < LIMIT, "not done in time\n{}", process.log_tail());
            thread::sleep(LOOK_INTERVAL);
        }
        let wall = start.elapsed().as_secs_f64();
        let cpu = process.cpu_time()?.as_secs_f64();
        let code = process.exit_status()?.and_then(|status| status.code());
        // 32: what was verified differs.
        let expected = if matches!(job, Job::Absent) { 32 } else { 0 };
        ensure!(code == Some(expected), "{job:?} ended with {code:?}\n{}", process.log_tail());
        Ok(Sample { wall, cpu, memory: memory as f64 / f64::from(1 << 20) })
    }

    /// Seconds until `get` asks a peer.
    fn begin(&self) -> Result<f64> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let mut command = self.command(Job::Get);
        command.args(["--peer", &listener.local_addr()?.to_string()]);
        let start = Instant::now();
        let mut process = Process::start(&mut command, &self.dir.join("log"))?;
        loop {
            if listener.accept().is_ok() {
                return Ok(start.elapsed().as_secs_f64());
            }
            process.ensure_running()?;
            ensure!(start.elapsed() < LIMIT, "it asks nobody\n{}", process.log_tail());
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Seconds from Ctrl-C to the end; 0 when it was done before.
    fn interrupt(&self, job: Job, after: Duration) -> Result<f64> {
        let mut process = Process::start(&mut self.command(job), &self.dir.join("log"))?;
        let start = Instant::now();
        while start.elapsed() < after {
            if process.exit_status()?.is_some() {
                return Ok(0.0);
            }
            thread::sleep(LOOK_INTERVAL);
        }
        process.signal(Signal::INT);
        let asked = Instant::now();
        while process.exit_status()?.is_none() {
            ensure!(asked.elapsed() < LIMIT, "it does not end\n{}", process.log_tail());
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(asked.elapsed().as_secs_f64())
    }

    fn found(&self, rows: &[(&str, Vec<Sample>)], begins: Vec<f64>, ends: &[(Job, f64)]) -> Found {
        let range =
            |samples: &[Sample], figure: fn(&Sample) -> f64| Range::of(samples.iter().map(figure).collect());
        let row = |(name, samples): &(&str, Vec<Sample>)| {
            let [wall, cpu, memory] =
                [range(samples, |it| it.wall), range(samples, |it| it.cpu), range(samples, |it| it.memory)];
            vec![(*name).to_owned(), wall.to_string(), cpu.to_string(), memory.to_string()]
        };
        let cpu = |job: usize| Some(range(&rows[job].1, |it| it.cpu).median);
        let most = |jobs: [usize; 2], figure: fn(&Sample) -> f64| {
            jobs.into_iter().map(|job| range(&rows[job].1, figure).median).max_by(f64::total_cmp)
        };
        let memory = most([0, 1], |it| it.memory);
        let allowed = 4.0 * mebibytes(self.length) + SHOW_MEMORY_MIB;
        let worst = ends.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let begin = Range::of(begins);
        let case = "2^20 files";
        let words = format!("{:.0} MiB of {allowed:.0}", memory.unwrap_or_default());
        let goals = vec![
            Goal::new("files-show-memory", case, memory.map(|memory| memory / allowed), &words),
            Goal::new("files-show", case, most([0, 1], |it| it.cpu), ""),
            Goal::new("files-absent", case, cpu(2), ""),
            Goal::new("files-present", case, cpu(3), ""),
            Goal::new("files-begin", case, Some(begin.median), ""),
            Goal::new(
                "files-end",
                case,
                worst.map(|(_, worst)| *worst),
                &worst.map(|(job, _)| format!("{job:?}")).unwrap_or_default(),
            ),
        ];
        let heading =
            format!("files: {FILES} files of a byte, a .torrent of {:.1} MiB", mebibytes(self.length));
        let columns = ["", "wall, s", "CPU, s", "memory, MiB"].map(str::to_owned).to_vec();
        let costs = Table { heading, columns, rows: rows.iter().map(row).collect() };
        let mut rows = vec![vec!["get asks a peer".to_owned(), begin.to_string()]];
        rows.extend(
            ends.iter().map(|(job, worst)| {
                vec![format!("{job:?} ends after Ctrl-C, at worst"), format!("{worst:.2}")]
            }),
        );
        let heading = "files: beginning and ending".to_owned();
        let times = Table { heading, columns: ["", "s"].map(str::to_owned).to_vec(), rows };
        Found { tables: vec![costs, times], goals }
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn folder_name(folder: usize) -> String {
    format!("folder {folder:04}")
}

fn file_name(file: usize) -> String {
    format!("file {file:07}.dat")
}

/// A multi-file torrent whose every byte is an `a`.
fn metainfo() -> Vec<u8> {
    let mut out = b"d4:infod5:filesl".to_vec();
    for file in 0..FILES {
        let (folder, name) = (folder_name(file / (FILES / FOLDERS)), file_name(file));
        out.extend(format!("d6:lengthi1e4:pathl{}:{folder}{}:{name}ee", folder.len(), name.len()).bytes());
    }
    let pieces = FILES.div_ceil(PIECE);
    out.extend(format!("e4:name1:t12:piece lengthi{PIECE}e6:pieces{}:", 20 * pieces).bytes());
    let hash = Sha1::digest(vec![b'a'; PIECE]);
    (0..pieces).for_each(|_| out.extend(hash));
    out.extend(b"ee");
    out
}
