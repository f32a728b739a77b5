//! The cases about crashes, disks and routers: each with a folder, hosts and a seeder of its own, so that several run at a time.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use super::scene::Scene;
use super::{Options, cut, full, gateway, harm, kill, state};
use crate::lab::{self, Lab};
use crate::report::{Tally, say};

/// Most of them wait most of the time: for a seeder's limit, or for the next look at a disk.
const CASES_AT_ONCE: usize = 4;

/// Proves something, and says what was measured by the way.
type Proof = fn(&Scene<'_>) -> Result<String>;

/// The long ones first, so that none of them runs alone at the end.
const CASES: &[(&str, Proof)] = &[
    ("state files are damaged", state::damaged),
    ("kill -9 at random moments", |scene| kill::run(scene, &kill::Plan::SHORT)),
    ("the state folder fills up", full::state_folder),
    ("a tmpfs fills up, another torrent goes on", full::on_tmpfs),
    ("a seeder behind miniupnpd is reached", gateway::miniupnpd),
    ("Ctrl-C at random moments", cut::interrupts),
    ("kill -9 in the last sync", cut::at_the_end),
    ("the download folder is read-only", harm::read_only),
    ("the download folder is deleted", harm::deleted),
    ("a file that is seeded is cut short", harm::cut_short),
];

/// These mount a file system image, which only the superuser may.
const SUPERUSER_CASES: &[(&str, Proof)] = &[
    ("power cuts at random moments", cut::power),
    ("an ext4 fills up, another torrent goes on", full::on_ext4),
    ("power cuts in the last sync", cut::power_at_the_end),
];

/// What runs the cases that only the superuser can.
const AS_SUPERUSER: &str = "sudo -E env PATH=\"$PATH\" cargo xtask test --only kill";

/// Runs the cases; inside a lab only.
///
/// # Errors
/// When the lab cannot be made; a case that fails is counted, not an error.
pub(crate) fn run(options: &Options) -> Result<Tally> {
    let lab = prepare(options)?;
    let is_asked_for = |name: &str| options.filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let (mut cases, mut tally) = (VecDeque::new(), Tally::default());
    for case in SUPERUSER_CASES.iter().filter(|(name, _)| is_asked_for(name)) {
        if lab::is_inside_as_root() {
            cases.push_back(case);
        } else {
            say(&format!("  FAIL  {}: only the superuser may mount an image; run: {AS_SUPERUSER}", case.0));
            tally.count(false);
        }
    }
    cases.extend(CASES.iter().filter(|(name, _)| is_asked_for(name)));
    let (queue, tally) = (Mutex::new(cases), Mutex::new(tally));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some((name, proof)) = next() {
                    let passed = run_one(options, &lab, name, proof);
                    tally.lock().unwrap_or_else(PoisonError::into_inner).count(passed);
                }
            });
        }
    });
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Runs the kill test with a plan of the caller's; inside a lab only.
///
/// # Errors
/// When the lab cannot be made.
pub(crate) fn run_long_kill(options: &Options, plan: &kill::Plan) -> Result<Tally> {
    let lab = prepare(options)?;
    let mut tally = Tally::default();
    tally.count(run_one(options, &lab, "kill -9 at random moments", |scene| kill::run(scene, plan)));
    Ok(tally)
}

/// The figures of such a test; inside a lab only.
///
/// # Errors
/// When the lab cannot be made, or the download was not as it should be.
pub(crate) fn measure_kills(options: &Options, plan: &kill::Plan) -> Result<kill::Figures> {
    let lab = prepare(options)?;
    let scene = Scene { options, lab: &lab, work: options.work.join("kill") };
    fs::create_dir_all(&scene.work)?;
    kill::measure(&scene, plan)
}

fn prepare(options: &Options) -> Result<Lab> {
    let work = &options.work;
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work).with_context(|| format!("creating {}", work.display()))?;
    Lab::new()
}

/// Runs a case, says how it went, removes its files unless they are evidence.
fn run_one(
    options: &Options,
    lab: &Lab,
    name: &str,
    proof: impl FnOnce(&Scene<'_>) -> Result<String>,
) -> bool {
    let folder: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let scene = Scene { options, lab, work: options.work.join(folder) };
    let start = Instant::now();
    let outcome = fs::create_dir_all(&scene.work).map_err(Into::into).and_then(|()| proof(&scene));
    let seconds = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(figures) => {
            say(&format!("  ok    {seconds:5.1} s  {name}\n                 {figures}"));
            let _ = fs::remove_dir_all(&scene.work);
        }
        Err(error) => {
            say(&format!("  FAIL  {seconds:5.1} s  {name}\n{error:#}\n  logs: {}", scene.work.display()));
        }
    }
    outcome.is_ok()
}
