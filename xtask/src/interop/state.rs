//! State files that were damaged: cut short, bits turned over, junk beside them. The program starts, has every piece
//! that is really there, and says what it looked at again.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ferri_storage::resume::parse;

use super::payload::Shape;
use super::scene::{Download, PATIENCE, Scene, notes, verified};
use crate::clients::{Client, Ferriswarm};
use crate::lab;

const PIECE_LENGTH: u64 = 64 << 10;

const LENGTH: u64 = 16 << 20;

const RATE: u64 = 4 << 20;

/// Places in a file at which it is damaged; the storage's own tests take every one.
const PLACES: usize = 20;

/// What 7 means among the exit codes: stopped on request, the same command continues.
const INTERRUPTED: i32 = 7;

/// Half a download, whose journal is damaged in forty ways; then it completes, and is served from a damaged state too.
pub(super) fn damaged(scene: &Scene<'_>) -> Result<String> {
    let payload = scene.payload(Shape::Multi, LENGTH, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed", &payload, RATE)?;
    let download = scene.download("leech", &payload, &[&seeder])?;
    let mut life = download.start()?;
    lab::wait_until(PATIENCE, "half of the pieces", || Ok(120 <= verified(&life.events()?).count()))?;
    life.interrupt()?;
    let good = verified(&life.events()?).count();

    // At an address that the seeder does not know, or it would dial and bring more.
    let mut alone = download.clone();
    alone.place = scene.place("alone")?;
    alone.place.home.clone_from(&download.place.home);
    alone.options = vec!["--no-trackers".to_owned()];
    let journal = download.state_folder()?.join("journal");
    let whole = fs::read(&journal)?;
    let mut told = 0;
    let damages = (0..PLACES).flat_map(|n| {
        let at = n * whole.len() / PLACES;
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (n % 8);
        [
            (format!("cut after {at} bytes"), whole[..at].to_vec()),
            (format!("bit {at}:{} flipped", n % 8), flipped),
        ]
    });
    let mut tries = 0;
    for (what, bytes) in damages {
        // A cut between two records looks like the journal of a killed program. Then what was written in the two
        // seconds after it is taken for that program's last write, and may be fetched again.
        let looks_whole = parse(&bytes).is_ok_and(|journal| !journal.is_torn);
        let least = if looks_whole { 0 } else { good };
        fs::write(&journal, bytes)?;
        let said = starts(&alone, least..=good).with_context(|| format!("the journal, {what}"))?;
        told += usize::from(!said.is_empty());
        tries += 1;
    }
    ensure!(told == tries, "a start from a damaged journal was to say so; {told} of {tries} did");
    for (what, harm) in JUNK {
        fs::write(&journal, &whole)?;
        harm(&download).with_context(|| format!("making junk: {what}"))?;
        starts(&alone, good..=good).with_context(|| format!("junk in the state folder: {what}"))?;
        tries += 1;
    }
    fs::write(&journal, &whole[..whole.len() / 2])?;
    seeder.last_requests()?;
    download.finish(&payload)?;
    let again = seeder.sent()?.saturating_sub(payload.length()?);
    let seeds = seeds(scene, &download, &journal)?;
    Ok(format!(
        "{tries} starts with all of {good} pieces, {seeds} of a seeder; {again} bytes fetched again in the end"
    ))
}

type Harm = fn(&Download) -> Result<()>;

/// What may lie about in a state folder.
const JUNK: &[(&str, Harm)] = &[
    ("files of no meaning", |download| {
        fs::write(download.state_dir().join("junk"), [0xff; 1000])?;
        fs::write(download.state_dir().join("torrents/junk"), [])?;
        Ok(fs::write(download.state_folder()?.join(".journal.1-0.tmp"), b"ferrijnl")?)
    }),
    ("a folder of another torrent's name", |download| {
        Ok(fs::create_dir_all(download.state_dir().join("torrents").join("0".repeat(40)).join("journal"))?)
    }),
    ("a lock with content", |download| Ok(fs::write(download.state_folder()?.join("lock"), [7; 100])?)),
    ("parts that nobody knows", |download| {
        Ok(fs::write(download.state_folder()?.join("parts"), [7; 100_000])?)
    }),
    ("no journal", |download| Ok(fs::remove_file(download.state_folder()?.join("journal"))?)),
];

/// Starts it without peers, and what it says: it must have so many pieces, and end in order.
fn starts(alone: &Download, good: RangeInclusive<usize>) -> Result<Vec<String>> {
    let mut life = alone.start()?;
    let report = life.wait_for(PATIENCE, "a report of a download", |event| {
        event["event"] == "progress" && event["state"] == "downloading"
    })?;
    let (code, said) = life.interrupt()?;
    ensure!(code == INTERRUPTED, "exit code {INTERRUPTED} was expected, {code} was seen\n{said}");
    let said = notes(&life.events()?);
    let found = usize::try_from(report["pieces"].as_u64().context("no count of pieces")?)?;
    ensure!(good.contains(&found), "{} pieces are there, it found {found}; it said {said:?}", good.end());
    Ok(said)
}

/// Serves what was downloaded, from a journal that is damaged in some ways.
fn seeds(scene: &Scene<'_>, download: &Download, journal: &Path) -> Result<usize> {
    let whole = fs::read(journal)?;
    let mut place = scene.place("again")?;
    place.home.clone_from(&download.place.home);
    let damages: [&[u8]; 4] = [b"", &whole[..whole.len() / 3], &[0; 5000], b"ferrijnl\xff\xff"];
    for bytes in damages {
        fs::write(journal, bytes)?;
        let mut seeder = Ferriswarm::new(place.clone()).with_options(&["--no-trackers"]);
        let dir: PathBuf = download.dir.join("multi");
        seeder.start_seed(&download.torrent, &dir)?;
        seeder.wait_done(PATIENCE).context("a seeder with a damaged journal")?;
        let done = seeder.events()?.into_iter().find(|event| event["event"] == "done");
        ensure!(done.is_some(), "everything is there, and the seeder did not say so");
        seeder.stop();
    }
    Ok(damages.len())
}
