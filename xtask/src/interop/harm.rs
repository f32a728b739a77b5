//! What others do to a download while it runs: the folder is read-only or deleted; the file that is being
//! served is cut short. The program says path, cause and next step, and the same command goes on when it is put right.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::mount::Mount;
use super::payload::Shape;
use super::scene::{Life, PATIENCE, Scene, notes, verified};
use crate::clients::{Client, Ferriswarm};
use crate::lab;

const PIECE_LENGTH: u64 = 256 << 10;

const LENGTH: u64 = 32 << 20;

/// Six seconds of download.
const RATE: u64 = 5 << 20;

/// A disk is looked at every five seconds.
const RESUME_LIMIT: Duration = Duration::from_secs(30);

/// What 17 means among the exit codes.
const IO: i32 = 17;

/// Ctrl-C while it waits; then the same again, and the folder becomes writable.
pub(super) fn read_only(scene: &Scene<'_>) -> Result<String> {
    let payload = scene.payload(Shape::Single, LENGTH, PIECE_LENGTH)?;
    let seeder = scene.seeder("seed", &payload, 0)?;
    let download = scene.download("leech", &payload, &[&seeder])?;
    let disk = Mount::tmpfs(&download.dir, 2 * LENGTH)?;
    disk.remount("ro")?;
    let mut life = download.start()?;
    let said = wait_error(&mut life)?;
    ensure!(
        said.starts_with(&*download.dir.to_string_lossy()) && said.contains("read-only; remount"),
        "path, cause and next step were expected, it said {said:?}"
    );
    let (code, log) = life.interrupt()?;
    ensure!(code == IO, "exit code {IO} was expected after Ctrl-C, {code} was seen\n{log}");
    let mut life = download.start()?;
    wait_error(&mut life)?;
    disk.remount("rw")?;
    let start = Instant::now();
    life.wait_for(RESUME_LIMIT, "a piece once the folder is writable", |event| event["event"] == "piece")?;
    let waited = start.elapsed();
    life.done(PATIENCE)?;
    payload.compare(&download.dir, false)?;
    Ok(format!("goes on {waited:?} after the folder became writable"))
}

/// The download folder goes away, with everything in it; the same command begins anew.
pub(super) fn deleted(scene: &Scene<'_>) -> Result<String> {
    let payload = scene.payload(Shape::Multi, LENGTH, PIECE_LENGTH)?;
    let seeder = scene.seeder("seed", &payload, RATE)?;
    let download = scene.download("leech", &payload, &[&seeder])?;
    let mut life = download.start()?;
    lab::wait_until(PATIENCE, "twenty pieces", || Ok(20 <= verified(&life.events()?).count()))?;
    fs::remove_dir_all(&download.dir)?;
    let (code, said) = life.ended(PATIENCE)?;
    ensure!(code == IO, "exit code {IO} was expected, {code} was seen\n{said}");
    ensure!(
        said.contains(&*download.dir.to_string_lossy()) && said.contains("missing"),
        "path and cause were expected, it said\n{said}"
    );
    let life = download.finish(&payload)?;
    let said = notes(&life.events()?);
    Ok(format!("ends with {code}; the same command says {said:?} and completes"))
}

/// A file that is served loses its end: the rest is served on, and after it was put right the same command serves all.
pub(super) fn cut_short(scene: &Scene<'_>) -> Result<String> {
    let payload = scene.payload(Shape::Single, LENGTH, PIECE_LENGTH)?;
    let place = scene.place("seed")?;
    let seeder = || -> Result<Ferriswarm> {
        let mut seeder = Ferriswarm::new(place.clone()).with_options(&["--no-trackers"]);
        seeder.start_seed(&payload.torrent, &payload.dir)?;
        seeder.wait_done(PATIENCE)?;
        Ok(seeder)
    };
    let mut first = seeder()?;
    let (name, _) = payload.sums.first_key_value().context("a payload has a file")?;
    let (file, whole) = (payload.dir.join(name), scene.work.join("whole"));
    fs::copy(&file, &whole)?;
    fs::OpenOptions::new().write(true).open(&file)?.set_len(LENGTH / 2)?;

    let mut download = scene.download("leech", &payload, &[])?;
    download.options.extend(["--peer".to_owned(), place.peer_address().to_string()]);
    let mut life = download.start()?;
    lab::wait_until(PATIENCE, "the seeder to say which file was changed", || {
        let said = notes(&first.events()?);
        Ok(said
            .iter()
            .any(|note| note.contains(&*file.to_string_lossy()) && note.contains("changed this file")))
    })?;
    first.process().context("it was started")?.ensure_running()?;
    first.stop();
    fs::copy(&whole, &file)?;
    life.interrupt()?;
    let fetched = verified(&life.events()?).count();
    let mut second = seeder()?;
    download.finish(&payload)?;
    second.stop();
    Ok(format!("the seeder named the file and ran on, {fetched} pieces were served before it was put right"))
}

fn wait_error(life: &mut Life) -> Result<String> {
    let error = life.wait_for(PATIENCE, "an error", |event| event["event"] == "error")?;
    Ok(error["message"].as_str().unwrap_or_default().to_owned())
}
