//! The end of a download's life and the next one: Ctrl-C, `kill -9` in the last sync, and power cuts.
//!
//! A power cut is an ext4 of its own that is shut down without a flush, so that only what had reached its device is
//! there after the next mount, and a program that is told another boot id from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferri_sim::Chance;

use super::mount::{Mount, sync_file_system};
use super::payload::{Payload, Shape};
use super::scene::{Download, Life, PATIENCE, Scene, Witness, notes, verified};
use crate::lab;

const PIECE_LENGTH: u64 = 256 << 10;

const LENGTH: u64 = 64 << 20;

const RATE: u64 = 16 << 20;

/// What 7 means among the exit codes: stopped on request, the same command continues.
const INTERRUPTED: i32 = 7;

/// Ctrl-C so often.
const INTERRUPTS: u32 = 5;

/// What a clean stop may leave behind: the pieces in flight and what lies in the sockets.
const LEFT_MAX: u64 = 2 << 20;

/// Between two looks at what it printed.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The same moments every time.
const SEED: u64 = 5;

/// Ctrl-C at random moments: what was verified is not looked at again, let alone fetched.
pub(super) fn interrupts(scene: &Scene<'_>) -> Result<String> {
    let payload = scene.payload(Shape::Multi, LENGTH, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed", &payload, RATE)?;
    let download = scene.download("leech", &payload, &[&seeder])?;
    let mut random = Chance::new(SEED);
    let mut safe = BTreeSet::new();
    for _ in 0..INTERRUPTS {
        let mut life = download.start()?;
        let pieces = usize::try_from(4 + random.next() % 30)?;
        lab::wait_until(PATIENCE, "some pieces", || Ok(pieces <= verified(&life.events()?).count()))?;
        let (code, said) = life.interrupt()?;
        ensure!(code == INTERRUPTED, "exit code {INTERRUPTED} was expected, {code} was seen\n{said}");
        asked_for_no(&mut seeder, &safe)?;
        nothing_said(&life)?;
        safe.extend(verified(&life.events()?));
    }
    let last = download.finish(&payload)?;
    asked_for_no(&mut seeder, &safe)?;
    nothing_said(&last)?;
    let again = seeder.sent()?.saturating_sub(payload.length()?);
    let bound = u64::from(INTERRUPTS) * LEFT_MAX;
    ensure!(again <= bound, "at most {bound} bytes fetched again were expected, {again} were seen");
    Ok(format!(
        "{INTERRUPTS} times; none of {} verified pieces looked at or asked for again, {again} bytes of unfinished pieces",
        safe.len()
    ))
}

/// `kill -9` in the moments around the last piece, the last sync and the last word.
pub(super) fn at_the_end(scene: &Scene<'_>) -> Result<String> {
    const TIMES: u32 = 6;
    let payload = scene.payload(Shape::Single, LENGTH, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed", &payload, 0)?;
    let mut random = Chance::new(SEED);
    let (mut again, mut before_done) = (0, 0);
    let mut sent = seeder.sent()?;
    for n in 0..TIMES {
        let download = scene.download(&format!("leech-{n}"), &payload, &[&seeder])?;
        let mut life = download.start()?;
        let pieces = payload.length()?.div_ceil(PIECE_LENGTH);
        lab::wait_until(PATIENCE, "the last piece", || {
            Ok(pieces == verified(&life.events()?).count() as u64 || life.has_ended()?)
        })?;
        thread::sleep(Duration::from_millis(random.next() % 60));
        let is_done = life.has_ended()?;
        before_done += u32::from(!is_done);
        life.kill()?;
        seeder.last_requests()?;
        download.finish(&payload)?;
        ensure!(
            seeder.last_requests()?.is_empty(),
            "every piece was verified, and blocks were asked for again"
        );
        let now = seeder.sent()?;
        again += (now - sent).saturating_sub(payload.length()?);
        sent = now;
        fs::remove_dir_all(&download.dir)?;
    }
    Ok(format!("{before_done} of {TIMES} before it had ended by itself; {again} bytes fetched again"))
}

/// Power cuts at random moments of a download.
pub(super) fn power(scene: &Scene<'_>) -> Result<String> {
    const CUTS: u32 = 4;
    const SLOWLY: u64 = 4 << 20;
    /// What was verified this long before a cut has been synced: five seconds, and some for the sync.
    const SYNCED_AFTER: Duration = Duration::from_millis(6500);
    let payload = scene.payload(Shape::Multi, LENGTH, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed", &payload, SLOWLY)?;
    let mut machine = Machine::new(scene, &payload, &seeder)?;
    let mut random = Chance::new(SEED);
    let mut safe = BTreeSet::new();
    let mut fetched = 0;
    for _ in 0..CUTS {
        let mut life = machine.download.start()?;
        let limit = Duration::from_millis(1000 + random.next() % 9000);
        let (start, mut seen) = (Instant::now(), BTreeMap::new());
        while start.elapsed() < limit && !life.has_ended()? {
            verified(&life.events()?).for_each(|piece| {
                seen.entry(piece).or_insert_with(Instant::now);
            });
            thread::sleep(LOOK_INTERVAL);
        }
        // The cut itself takes a while on a busy machine.
        let cut_at = Instant::now();
        machine.cut(&mut life)?;
        asked_for_no(&mut seeder, &safe)?;
        fetched += verified(&life.events()?).count();
        let synced = seen.iter().filter(|(_, at)| SYNCED_AFTER <= cut_at.duration_since(**at));
        safe.extend(synced.map(|(piece, _)| *piece));
    }
    machine.download.finish(&payload)?;
    asked_for_no(&mut seeder, &safe)?;
    let again = seeder.sent()?.saturating_sub(payload.length()?);
    Ok(format!(
        "{CUTS} cuts; {fetched} pieces verified before them, none of the {} old enough to be synced asked for again; \
         {again} bytes fetched again",
        safe.len()
    ))
}

/// Power cuts in the moments after the last piece, while everything is synced.
pub(super) fn power_at_the_end(scene: &Scene<'_>) -> Result<String> {
    const CUTS: u32 = 5;
    let payload = scene.payload(Shape::Multi, LENGTH / 2, PIECE_LENGTH)?;
    let mut seeder = scene.seeder("seed", &payload, 0)?;
    let mut machine = Machine::new(scene, &payload, &seeder)?;
    let (mut ended, mut again) = (0, 0);
    for n in 0..CUTS {
        let mut life = machine.download.start()?;
        lab::wait_until(PATIENCE, "the last word", || {
            Ok(life.events()?.iter().any(|event| event["event"] == "done") || life.has_ended()?)
        })?;
        if n + 1 == CUTS {
            life.ended(PATIENCE)?;
        }
        thread::sleep(LOOK_INTERVAL * n);
        let has_ended = life.has_ended()?;
        machine.cut(&mut life)?;
        seeder.last_requests()?;
        machine.download.finish(&payload).with_context(|| format!("cut {n}"))?;
        let requests = seeder.last_requests()?;
        again += requests.iter().map(|request| request.length).sum::<u64>();
        ended += u32::from(has_ended);
        ensure!(
            !has_ended || requests.is_empty(),
            "it had ended in order, so nothing was to be lost; {} blocks were asked for again",
            requests.len()
        );
        fs::remove_dir_all(&machine.download.dir)?;
        fs::remove_dir_all(machine.dir.join("state/torrents"))?;
    }
    Ok(format!("{CUTS} cuts, {ended} after it had ended; {again} bytes fetched again"))
}

/// A machine that loses its power: a disk, and the program on it.
struct Machine<'a> {
    scene: &'a Scene<'a>,
    /// Where its disk is mounted.
    dir: PathBuf,
    image: String,
    /// Taken out while the power is off.
    disk: Option<Mount>,
    boots: u32,
    download: Download,
}

impl<'a> Machine<'a> {
    fn new(scene: &'a Scene<'a>, payload: &Payload, seeder: &Witness) -> Result<Self> {
        let (image, dir) = (scene.work.join("disk.img").display().to_string(), scene.work.join("disk"));
        let disk = Some(Mount::ext4(&image, &dir, 3 * LENGTH)?);
        let mut download = scene.download("leech", payload, &[seeder])?;
        download.dir = dir.join("download");
        fs::create_dir(dir.join("state"))?;
        std::os::unix::fs::symlink(dir.join("state"), download.state_dir())?;
        sync_file_system(&dir)?;
        let mut machine = Self { scene, dir, image, disk, boots: 0, download };
        machine.boot()?;
        Ok(machine)
    }

    /// What is not on the disk is lost; the machine starts again.
    fn cut(&mut self, life: &mut Life) -> Result<()> {
        let disk = self.disk.take().context("the power is on")?;
        disk.cut(&self.scene.options.tools.python)?;
        life.kill()?;
        disk.end(&self.image)?;
        self.disk = Some(Mount::again(&self.image, &self.dir)?);
        self.boot()
    }

    /// The program finds another boot id from here on.
    fn boot(&mut self) -> Result<()> {
        self.boots += 1;
        self.download.place.tools.ferriswarm = boots(self.scene, self.boots)?;
        Ok(())
    }
}

/// Our program as it would find the machine after it was started once more.
fn boots(scene: &Scene<'_>, boot: u32) -> Result<PathBuf> {
    let id = scene.work.join(format!("boot-{boot}"));
    fs::write(&id, format!("{boot:08x}-0000-4000-8000-000000000000\n"))?;
    let (id, program) = (id.display(), scene.options.tools.ferriswarm.display());
    let line = format!("mount --bind '{id}' /proc/sys/kernel/random/boot_id && exec '{program}' \"$@\"");
    let inner = scene.script(&format!("boot-{boot}-inner"), &line)?;
    scene
        .script(&format!("boot-{boot}-run"), &format!("exec unshare --mount -- '{}' \"$@\"", inner.display()))
}

fn asked_for_no(seeder: &mut Witness, safe: &BTreeSet<u32>) -> Result<()> {
    match seeder.last_requests()?.into_iter().find(|request| safe.contains(&request.piece)) {
        Some(request) => anyhow::bail!("piece {} was verified, and asked for again", request.piece),
        None => Ok(()),
    }
}

fn nothing_said(life: &Life) -> Result<()> {
    let said = notes(&life.events()?);
    ensure!(said.is_empty(), "after a clean stop nothing was to be looked at, it said {said:?}");
    Ok(())
}
