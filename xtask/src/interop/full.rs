//! A disk that is full, really: two torrents in one process of which one lies on a small file system, and a state folder
//! without room. What lies elsewhere goes on; what is full says so, waits, and goes on by itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferri_sim::Chance;
use serde_json::Value;

use super::mount::Mount;
use super::payload::{Payload, Shape, info_hash, write_file};
use super::scene::{Life, PATIENCE, Scene, Witness, verified};
use crate::lab;

const PIECE_LENGTH: u64 = 256 << 10;

/// Of each torrent.
const LENGTH: u64 = 48 << 20;

/// Room for the full one, at first.
const ROOM: u64 = 24 << 20;

/// It has filled its room in two seconds.
const FAST: u64 = 16 << 20;

/// The other one is at work for ten.
const SLOW: u64 = 5 << 20;

/// From room to the next piece.
const RESUME_LIMIT: Duration = Duration::from_secs(30);

/// What 9 means among the exit codes.
const DISK_FULL: i32 = 9;

/// A tmpfs that grows.
pub(super) fn on_tmpfs(scene: &Scene<'_>) -> Result<String> {
    let dir = scene.work.join("small");
    let small = Mount::tmpfs(&dir, ROOM)?;
    two_torrents(scene, &dir, || small.remount(&format!("size={}", 2 * LENGTH)))
}

/// An ext4 with blocks in reserve for the superuser, which we are not; a file is deleted.
pub(super) fn on_ext4(scene: &Scene<'_>) -> Result<String> {
    let dir = scene.work.join("small");
    let _small = Mount::ext4(&scene.work.join("small.img").to_string_lossy(), &dir, 2 * LENGTH)?;
    let ballast = dir.join("lost+found/ballast");
    let free = rustix::fs::statvfs(&dir).map(|stat| stat.f_bavail * stat.f_frsize)?;
    write_file(&ballast, free.saturating_sub(ROOM), &mut Chance::new(1))?;
    two_torrents(scene, &dir, || fs::remove_file(&ballast).context("removing the ballast"))
}

/// Downloads into `small`, where one torrent finds too little room; the other one's folder there leads elsewhere.
fn two_torrents(scene: &Scene<'_>, small: &Path, make_room: impl FnOnce() -> Result<()>) -> Result<String> {
    let full = scene.payload(Shape::Single, LENGTH, PIECE_LENGTH)?;
    let other = scene.payload(Shape::Multi, LENGTH, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed-full", &full, FAST)?;
    let other_seeder = scene.seeder("seed-other", &other, SLOW)?;
    let roomy = scene.work.join("roomy");
    fs::create_dir_all(roomy.join("multi"))?;
    let elsewhere = Mount::bind(&roomy.join("multi"), &small.join("multi"))?;
    let mut download = scene.download("leech", &full, &[&seeder, &other_seeder])?;
    download.dir = small.to_owned();
    download.options.push(other.torrent.display().to_string());
    download.place.tools.ferriswarm = scene.without_reserve()?;

    let (hash, other_hash) = (info_hash(&full.torrent)?, info_hash(&other.torrent)?);
    let mut life = download.start()?;
    let error = wait_full(&mut life, &hash)?;
    says_what_is_missing(&error, small, LENGTH - ROOM)?;
    life.wait_for(PATIENCE, "the other torrent to complete", |event| {
        event["event"] == "done" && event["info_hash"] == other_hash
    })?;
    ensure!(!is_done(&life, &hash)?, "the torrent on the full disk was done before there was room");

    let waited = resumes(&mut life, &hash, make_room)?;
    life.done(PATIENCE)?;
    drop(elsewhere);
    fs::remove_dir(small.join("multi"))?;
    let _ = fs::remove_dir(small.join("lost+found"));
    full.compare(small, false).context("what was written on the small disk")?;
    other.compare(&roomy, false).context("what was written elsewhere")?;
    let again = fetched_again(&mut seeder, &full)?;
    ensure!(
        again <= PIECE_LENGTH,
        "at most one piece of {PIECE_LENGTH} bytes fetched again was expected, {again} bytes were seen"
    );
    let missing = &error["missing"];
    Ok(format!(
        "{missing} bytes said to be missing; goes on {waited:?} after there was room; {again} bytes again"
    ))
}

/// A state folder that fills up in the middle, twice: room comes back; Ctrl-C comes first. Then one that is full when
/// the program starts.
pub(super) fn state_folder(scene: &Scene<'_>) -> Result<String> {
    let payload = scene.payload(Shape::Single, LENGTH, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed", &payload, SLOW)?;
    let download = scene.download("leech", &payload, &[&seeder])?;
    let _small = Mount::tmpfs(&download.state_dir(), 1 << 20)?;
    let ballast = download.state_dir().join("ballast");
    let hash = info_hash(&payload.torrent)?;

    let mut life = download.start()?;
    life.wait_for(PATIENCE, "a verified piece", |event| event["event"] == "piece")?;
    fill(&ballast)?;
    let error = wait_full(&mut life, &hash)?;
    says_what_is_missing(&error, &download.state_dir(), 1)?;
    let waited = resumes(&mut life, &hash, || fs::remove_file(&ballast).context("removing the ballast"))?;
    let errors = count(&life.events()?, "error");
    fill(&ballast)?;
    lab::wait_until(PATIENCE, "the state folder to be full again", || {
        Ok(errors < count(&life.events()?, "error"))
    })?;
    let (code, said) = life.interrupt()?;
    ensure!(
        code == DISK_FULL,
        "exit code {DISK_FULL} was expected after Ctrl-C on a full disk, {code} was seen\n{said}"
    );
    // What a process says to others of the files it makes is gone with it, and leaves a little room.
    fill(&ballast)?;
    let mut life = download.start()?;
    let (code, said) = life.ended(PATIENCE)?;
    ensure!(
        code == DISK_FULL && said.contains(&*download.state_dir().to_string_lossy()),
        "exit code {DISK_FULL} and the path were expected at a start on a full state folder, seen was {code}\n{said}"
    );
    fs::remove_file(&ballast)?;
    download.finish(&payload)?;
    let again = fetched_again(&mut seeder, &payload)?;
    Ok(format!("goes on {waited:?} after there was room; {again} bytes again over a Ctrl-C"))
}

/// Waits until it says that its disk is full, and until two reports in a row, a second apart, say the same.
fn wait_full(life: &mut Life, hash: &str) -> Result<Value> {
    let error = life.wait_for(PATIENCE, "an error about a full disk", |event| {
        event["event"] == "error" && event["info_hash"] == hash && !event["missing"].is_null()
    })?;
    lab::wait_until(PATIENCE, "the full torrent to come to rest", || {
        let events = life.events()?;
        let reports =
            events.iter().filter(|event| event["event"] == "progress" && event["info_hash"] == hash);
        let last: Vec<&Value> = reports.rev().take(2).collect();
        Ok(last.len() == 2
            && last.iter().all(|report| report["state"] == "error")
            && last[0]["pieces"] == last[1]["pieces"])
    })?;
    Ok(error)
}

fn says_what_is_missing(error: &Value, dir: &Path, least: u64) -> Result<()> {
    let (text, missing) = (error["message"].as_str().unwrap_or(""), error["missing"].as_u64().unwrap_or(0));
    ensure!(
        text.starts_with(&*dir.to_string_lossy()) && text.contains("no space left"),
        "an error with a path beneath {} was expected, it said {text:?}",
        dir.display()
    );
    // One or two pieces more are on disk than the figure of free space suggests, or fewer.
    let slack = 4 * PIECE_LENGTH;
    ensure!(least.saturating_sub(slack) <= missing, "{least} bytes are missing, it said {missing}");
    ensure!(missing <= LENGTH, "no more than {LENGTH} bytes can be missing, it said {missing}");
    ensure!(error["recoverable"] == true, "a full disk can get better, it said {error}");
    Ok(())
}

/// Makes room, and how long until the next piece was verified.
fn resumes(life: &mut Life, hash: &str, make_room: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let pieces = |life: &Life| -> Result<usize> {
        let events = life.events()?;
        let own: Vec<Value> = events.into_iter().filter(|event| event["info_hash"] == hash).collect();
        Ok(verified(&own).count())
    };
    let before = pieces(life)?;
    make_room()?;
    let start = Instant::now();
    lab::wait_until(RESUME_LIMIT, "the torrent to go on after there was room", || {
        ensure!(!life.has_ended()?, "it ended instead of going on\n{}", life.log()?);
        Ok(before < pieces(life)?)
    })?;
    Ok(start.elapsed())
}

fn is_done(life: &Life, hash: &str) -> Result<bool> {
    Ok(life.events()?.iter().any(|event| event["event"] == "done" && event["info_hash"] == hash))
}

fn count(events: &[Value], what: &str) -> usize {
    events.iter().filter(|event| event["event"] == what).count()
}

fn fetched_again(seeder: &mut Witness, payload: &Payload) -> Result<u64> {
    Ok(seeder.sent()?.saturating_sub(payload.length()?))
}

/// Writes until nothing more fits.
fn fill(path: &Path) -> Result<()> {
    use std::io::{ErrorKind, Write};
    let mut file = fs::File::create(path)?;
    loop {
        match file.write(&[0; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("filling the disk"),
        }
    }
}
