//! `replay`: a recorded trace goes through its machines again, and must come out the same.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use ferri_engine::trace::{Kind, Replay, ReplayError, Step, What};

use crate::args::ReplayArgs;
use crate::console::Console;
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::text::harmless;
use crate::units;

/// Bytes of a line. The longest says what the torrent is made of, with about 30 bytes for each of at most 2^20 files.
const LINE_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(env: &Env, console: &Console, args: &ReplayArgs) -> Result<Exit, Failure> {
    let failed = |error: io::Error| Failure::file("read", &args.file, &error);
    let mut file = BufReader::new(File::open(env.path(&args.file)).map_err(failed)?);
    // Machines have no clock; any instant is as good as another.
    let mut replay = Replay::new(Instant::now());
    let (mut inputs, mut outputs) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        let text = match std::str::from_utf8(&line) {
            Ok(_) if line.len() as u64 == LINE_BYTES_MAX => Err("it does not end within 64 MiB"),
            Ok(text) => Ok(text),
            Err(_) => Err("it is not UTF-8"),
        };
        let text = text.map_err(|why| {
            let message = format!("line {} is not a line of a trace: {why}", replay.lines() + 1);
            damaged(&args.file, &message)
        })?;
        let Some(step) = replay.feed(text).map_err(|error| refused(&args.file, &error))? else { continue };
        match &step.what {
            What::Start | What::End { .. } => {}
            What::Input { .. } => inputs += 1,
            What::Output { .. } => outputs += 1,
        }
        console.line(&harmless(&words(&step)));
    }
    for (name, swarm) in replay.swarms() {
        let stats = swarm.stats();
        console.line(&format!(
            "swarm {name}  {}, {} received, {} sent",
            units::count(stats.have_pieces.into(), "piece verified", "pieces verified"),
            units::size(stats.downloaded),
            units::size(stats.uploaded)
        ));
    }
    for (kind, one, many) in OTHERS {
        let count = replay.count(kind);
        if count != 0 {
            console.line(&units::count(count as u64, one, many));
        }
    }
    console.line(&format!(
        "the same: after {} the machines said again all {} of the trace",
        units::count(inputs, "input", "inputs"),
        units::count(outputs, "output", "outputs")
    ));
    Ok(Exit::Done)
}

/// The machines that have nothing to show at the end, and their names.
const OTHERS: [(Kind, &str, &str); 4] = [
    (Kind::Search, "search for a magnet link", "searches for magnet links"),
    (Kind::Schedule, "schedule of announces", "schedules of announces"),
    (Kind::Pace, "pace of all announces", "paces of all announces"),
    (Kind::Dht, "DHT node", "DHT nodes"),
];

/// `   0.012345 s  swarm 0a1b2c3d heard  PeerConnected { .. }`, and what it answered below.
fn words(step: &Step) -> String {
    // The beginning of an info hash tells torrents apart.
    let of = step.of.get(..8).unwrap_or(&step.of);
    let whose = format!("{:>8} {of}", step.machine);
    match &step.what {
        What::Start => format!("{:>14}  {whose} starts", ""),
        What::Input { at, text } => format!("{}  {whose} heard  {text}", stamp(*at)),
        What::Output { text } => format!("{:>14}  {whose} says   {text}", ""),
        What::End { why } => format!("{:>14}  {whose} is not recorded any further: {why}", ""),
    }
}

fn stamp(at: Duration) -> String {
    format!("{:>5}.{:06} s", at.as_secs(), at.subsec_micros())
}

fn refused(file: &Path, error: &ReplayError) -> Failure {
    match error {
        ReplayError::Differs { line, expected, found } => Failure::new(
            Exit::Internal,
            format!("line {line}: the trace says {expected}, but the machine says {found}"),
        )
        .hint("the trace was changed, or was recorded by another version of the machine"),
        ReplayError::NoVersion { .. } | ReplayError::OtherVersion { .. } => {
            Failure::new(Exit::BadTorrent, format!("{}: {error}", file.display()))
                .hint("a trace is replayed by the version of the program that wrote it")
        }
        other => damaged(file, &other.to_string()),
    }
}

fn damaged(file: &Path, message: &str) -> Failure {
    Failure::new(Exit::BadTorrent, format!("{}: {message}", file.display()))
        .hint("a trace is what --trace wrote, whole; one whose end is missing can be replayed up to its last whole line")
}
