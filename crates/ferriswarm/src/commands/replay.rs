//! `replay`: a recorded trace goes through the swarm machine again, and must come out the same.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use ferri_engine::trace::{Replay, ReplayError, Step};

use crate::args::ReplayArgs;
use crate::console::Console;
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::text::harmless;
use crate::units;

pub(crate) fn run(env: &Env, console: &Console, args: &ReplayArgs) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::file("read", &args.file, &error);
    let file = File::open(env.path(&args.file)).map_err(failed)?;
    // The machine has no clock; any instant is as good as another.
    let mut replay = Replay::new(Instant::now());
    let (mut inputs, mut outputs) = (0, 0);
    for line in BufReader::new(file).lines() {
        let line = line.map_err(failed)?;
        let Some(step) = replay.feed(&line).map_err(|error| differs(&error))? else { continue };
        match &step {
            Step::Start { .. } => {}
            Step::Input { .. } => inputs += 1,
            Step::Output { .. } => outputs += 1,
        }
        console.line(&harmless(&words(&step)))?;
    }
    for (name, swarm) in replay.swarms() {
        let stats = swarm.stats();
        console.line(&format!(
            "swarm {name}  {}, {} received, {} sent",
            units::count(stats.have_pieces.into(), "piece verified", "pieces verified"),
            units::size(stats.downloaded),
            units::size(stats.uploaded)
        ))?;
    }
    console.line(&format!(
        "the same: after {} the machine said again all {} of the trace",
        units::count(inputs, "input", "inputs"),
        units::count(outputs, "output", "outputs")
    ))?;
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

fn differs(error: &ReplayError) -> Failure {
    match error {
        ReplayError::Differs { line, expected, found } => Failure::new(
            Exit::Internal,
            format!("line {line}: the trace says {expected}, but the machine says {found}"),
        )
        .hint("the trace was changed, or was recorded by another version of the machine"),
        other => Failure::new(Exit::Internal, other.to_string()),
    }
}
