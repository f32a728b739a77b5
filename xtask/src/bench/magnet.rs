//! From nothing but a hash to the first verified piece.

use std::path::Path;

use anyhow::Result;

use super::Options;
use super::goals::Goal;
use super::measure::{Sample, watch};
use super::table::{Found, Range, Table};
use crate::clients::{Kind, Tools};
use crate::interop::{self, trackerless::Race};
use crate::lab::Lab;
use crate::report::say;

const RACERS: [Kind; 5] = [Kind::Ferriswarm, Kind::Rqbit, Kind::Libtorrent, Kind::Aria2, Kind::Transmission];

/// Runs of one that took very long in the first.
const RUNS_OF_SLOW: usize = 2;

/// Seconds.
const SLOW: f64 = 40.0;

/// The table, a row for each client, and our goal.
///
/// # Errors
/// When the network cannot be had.
pub(super) fn measure(tools: &Tools, work: &Path, options: &Options, runs: usize) -> Result<Found> {
    let lab = Lab::new()?;
    let work = work.join("magnet");
    // Nothing in the scene is ours but who is measured.
    let setting = interop::Options { work, tools: tools.clone(), hub: Kind::Libtorrent, filter: None };
    let race = Race::prepare(&setting, &lab)?;
    let kinds: Vec<Kind> = RACERS.into_iter().filter(|kind| options.clients.contains(kind)).collect();
    let mut all: Vec<(Vec<Sample>, Option<String>)> = vec![(Vec::new(), None); kinds.len()];
    for run in 0..runs {
        // Another one goes first each time.
        for turn in 0..kinds.len() {
            let at = (run + turn) % kinds.len();
            let (kind, (samples, failure)) = (kinds[at], &mut all[at]);
            let is_slow = samples.iter().any(|sample| SLOW < sample.wall.as_secs_f64());
            if failure.is_some() || (is_slow && RUNS_OF_SLOW <= samples.len()) {
                continue;
            }
            match once(&race, kind) {
                Ok(sample) => {
                    say(&format!("{}/{runs}: {kind:<24} {sample}", run + 1));
                    samples.push(sample);
                }
                Err(error) => {
                    say(&format!("{}/{runs}: {kind:<24} failed: {error:#}", run + 1));
                    *failure = Some(format!("{error:#}"));
                }
            }
        }
    }
    let ours = kinds.iter().position(|kind| *kind == Kind::Ferriswarm).map(|at| wall(&all[at].0));
    let rows = kinds.iter().zip(&all).map(|(kind, found)| row(*kind, found, ours)).collect();
    let columns =
        ["", "runs", "to the first piece, s", "CPU until then, s", "peak memory, MiB", "wall / ours"];
    let columns = columns.map(str::to_owned).to_vec();
    let table = Table { heading: format!("magnet: {}", Race::SCENE), columns, rows };
    let others = kinds.iter().zip(&all).filter(|(kind, (samples, failure))| {
        **kind != Kind::Ferriswarm && failure.is_none() && !samples.is_empty()
    });
    let fastest = others.map(|(kind, (samples, _))| (wall(samples), kind)).min_by(|a, b| a.0.total_cmp(&b.0));
    let figure = ours.zip(fastest).filter(|(ours, _)| ours.is_finite());
    let words = figure.map(|(ours, (wall, kind))| format!("{ours:.2} s, {kind} {wall:.2} s"));
    let figure = figure.map(|(ours, (wall, _))| ours / wall);
    Ok(Found {
        tables: vec![table],
        goals: vec![Goal::new("magnet-wall", "", figure, &words.unwrap_or_default())],
    })
}

fn once(race: &Race<'_>, kind: Kind) -> Result<Sample> {
    let (mut client, start) = race.start(kind)?;
    let mut memory = 0;
    let wall = watch(client.as_mut(), start, &mut memory, |client| client.has_piece())?;
    let process = super::measure::process(client.as_mut())?;
    let sample = Sample { wall, cpu: process.cpu_time()?, memory };
    client.stop();
    Ok(sample)
}

/// Seconds; not a number when there is none.
fn wall(samples: &[Sample]) -> f64 {
    range(samples, |sample| sample.wall.as_secs_f64()).median
}

fn range(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Range {
    Range::of(samples.iter().map(figure).collect())
}

fn row(kind: Kind, (samples, failure): &(Vec<Sample>, Option<String>), ours: Option<f64>) -> Vec<String> {
    if let Some(failure) = failure {
        let failure = failure.lines().next().unwrap_or_default().replace('|', "/");
        let mut row = vec![kind.name().to_owned(), format!("failed: {failure}")];
        row.resize(6, String::new());
        return row;
    }
    let ratio = ours.map_or_else(|| "-".to_owned(), |ours| format!("{:.2}", wall(samples) / ours));
    vec![
        kind.name().to_owned(),
        samples.len().to_string(),
        range(samples, |sample| sample.wall.as_secs_f64()).to_string(),
        range(samples, |sample| sample.cpu.as_secs_f64()).to_string(),
        range(samples, |sample| sample.memory as f64 / f64::from(1_u32 << 20)).to_string(),
        ratio,
    ]
}
