//! Peers without a tracker: the DHT, peer exchange, local discovery, port mapping, and that each can be switched off.
//!
//! Every case has a segment of the network to itself ([`crate::lab::Segment`]), with clients that other people wrote, so that
//! nothing is found by any other way than the one under test.

mod dht;
mod flood;
mod lsd;
mod pex;
mod quiet;
mod race;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::payload::{Payload, Shape, info_hash};
use super::scene::Scene;
use crate::clients::{Discovery, Kind, Place};
use crate::lab::{self, Family, Host, Process, Segment};
use crate::report::{Tally, say};

pub(crate) use flood::Plan as FloodPlan;
pub(crate) use race::Race;

const PIECE_LENGTH: u64 = 64 << 10;

/// A group of proofs that share a network, or that are short enough to run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Magnet links over a DHT of many kinds of nodes.
    Dht(Family),
    /// Peers that only another peer knows.
    Pex,
    /// Peers on the same link.
    Lsd,
    /// What must not be said.
    Quiet,
    /// Hostile packets to a node of the DHT.
    Flood,
}

impl Group {
    /// The long ones first.
    pub(super) const ALL: [Self; 6] =
        [Self::Dht(Family::V4), Self::Dht(Family::V6), Self::Pex, Self::Lsd, Self::Quiet, Self::Flood];
}

/// One thing to prove.
pub(super) struct Case<'a> {
    name: String,
    prove: Box<Prove<'a>>,
}

/// Proves something in a folder of its own, and says what was measured by the way.
type Prove<'a> = dyn FnOnce(&Scene<'_>) -> Result<String> + Send + 'a;

impl<'a> Case<'a> {
    fn new(name: String, prove: impl FnOnce(&Scene<'_>) -> Result<String> + Send + 'a) -> Self {
        Self { name, prove: Box::new(prove) }
    }
}

/// Runs the group's cases that were asked for.
pub(super) fn run(scene: &Scene<'_>, group: Group) -> Tally {
    match group {
        Group::Dht(family) => dht::run(scene, family),
        Group::Pex => run_all(scene, pex::cases(scene.options.hub), 3),
        Group::Lsd => run_all(scene, lsd::cases(scene.options.hub), 4),
        Group::Quiet => run_all(scene, quiet::cases(scene.options.hub), 2),
        Group::Flood => run_all(scene, flood::cases(scene.options.hub, FloodPlan::SHORT), 1),
    }
}

/// Floods with a plan of the caller's; inside a lab only.
///
/// # Errors
/// When the lab cannot be made.
pub(crate) fn run_long_flood(options: &super::Options, plan: FloodPlan) -> Result<Tally> {
    let lab = lab::Lab::new()?;
    let scene = Scene { options, lab: &lab, work: options.work.clone() };
    Ok(run_all(&scene, flood::cases(options.hub, plan), 1))
}

/// Whether a peer wants it.
fn is_wanted(scene: &Scene<'_>, name: &str) -> bool {
    scene.options.filter.as_ref().is_none_or(|part| name.contains(part.as_str()))
}

/// Runs those of the cases that were asked for, so many side by side.
fn run_all(scene: &Scene<'_>, cases: Vec<Case<'_>>, width: usize) -> Tally {
    let cases: VecDeque<Case<'_>> = cases.into_iter().filter(|case| is_wanted(scene, &case.name)).collect();
    let width = width.min(cases.len());
    let (queue, tally) = (Mutex::new(cases), Mutex::new(Tally::default()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let passed = run_one(scene, case);
                    tally.lock().unwrap_or_else(PoisonError::into_inner).count(passed);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a case, says how it went, removes its files unless they are evidence.
fn run_one(scene: &Scene<'_>, case: Case<'_>) -> bool {
    let name = case.name;
    let folder: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let inner = Scene { options: scene.options, lab: scene.lab, work: scene.work.join(folder) };
    let start = Instant::now();
    let prove = case.prove;
    let outcome = fs::create_dir_all(&inner.work).map_err(Into::into).and_then(|()| prove(&inner));
    let seconds = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(figures) => {
            say(&format!("  ok    {seconds:5.1} s  {name}\n                 {figures}"));
            let _ = fs::remove_dir_all(&inner.work);
        }
        Err(error) => {
            say(&format!("  FAIL  {seconds:5.1} s  {name}\n{error:#}\n  logs: {}", inner.work.display()));
        }
    }
    outcome.is_ok()
}

impl Scene<'_> {
    /// A host of `segment` and a home folder, for a client that finds peers like this.
    fn place_on(&self, segment: &Segment, name: &str, discovery: Discovery) -> Result<Place> {
        self.place_at(Arc::new(segment.host(1)?), name, discovery)
    }

    /// The same on a host that is there.
    fn place_at(&self, host: Arc<Host>, name: &str, discovery: Discovery) -> Result<Place> {
        let home = self.folder(name)?;
        Ok(Place { discovery, ..Place::new(host, home, self.options.tools.clone()) })
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    /// A file that no other case has, about so long, and its torrent.
    fn own_payload(&self, length: u64) -> Result<Payload> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let length = length + (COUNT.fetch_add(1, Ordering::Relaxed) << 10);
        let maker = if self.options.hub == Kind::Ferriswarm { Kind::Ferriswarm } else { Kind::Libtorrent };
        Payload::make(&self.work, Shape::Single, length, PIECE_LENGTH, maker, &self.options.tools)
            .context("making the payload")
    }
}

/// A magnet link with nothing but the hash.
fn magnet(torrent: &Path) -> Result<PathBuf> {
    Ok(format!("magnet:?xt=urn:btih:{}", info_hash(torrent)?).into())
}

/// Waits until `client` has a piece; the time since `start`.
fn first_piece(client: &mut dyn crate::clients::Client, start: Instant, limit: Duration) -> Result<Duration> {
    let outcome = lab::wait_until(limit, "the first piece", || client.has_piece());
    let took = start.elapsed();
    let log = client.process().map(|process| process.log_tail()).unwrap_or_default();
    outcome.with_context(|| format!("the downloader wrote\n{log}"))?;
    ensure!(took <= limit, "the first piece took {took:?}, {limit:?} are allowed");
    Ok(took)
}

/// Starts a program of a test's own and waits until it says that it is ready.
fn start_until_ready(command: &mut std::process::Command, log: &Path) -> Result<Process> {
    const READY_LIMIT: Duration = Duration::from_secs(30);
    let mut process = Process::start(command, log)?;
    lab::wait_until(READY_LIMIT, "a program of the test", || {
        process.ensure_running()?;
        Ok(fs::read_to_string(log)?.contains("ready"))
    })?;
    Ok(process)
}
