//! `replay`: a recorded trace goes through the swarm machine again, and must come out the same.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use ferri_engine::trace::{Replay, ReplayError, Step};

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
    // The machine has no clock; any instant is as good as another.
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
        match &step {
            Step::Start { .. } => {}
            Step::Input { .. } => inputs += 1,
            Step::Output { .. } => outputs += 1,
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
    console.line(&format!(
        "the same: after {} the machine said again all {} of the trace",
        units::count(inputs, "input", "inputs"),
        units::count(outputs, "output", "outputs")
    ));
    Ok(Exit::Done)
}

/// `   0.012345 s  heard  PeerConnected { .. }`, and what it answered below.
fn words(step: &Step) -> String {
    match step {
        Step::Start { swarm } => format!("swarm {swarm} starts"),
        Step::Input { at, input, .. } => format!("{}  heard  {input:?}", stamp(*at)),
        Step::Output { text, .. } => format!("{:>14}  says   {text}", ""),
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
        other => damaged(file, &other.to_string()),
    }
}

fn damaged(file: &Path, message: &str) -> Failure {
    Failure::new(Exit::BadTorrent, format!("{}: {message}", file.display()))
        .hint("a trace is what --trace wrote, whole; one whose end is missing can be replayed up to its last whole line")
}
