//! Power cuts: downloads on a disk that forgets what was not synced, and what the next start makes of the rest.
//!
//! [`run`] lets a real `ferri_storage::Storage` download a random torrent on real files and writes down every change it
//! makes. At many points of that record the power goes: a model of the disk says what may be left of it, in three
//! [`Order`]s, and a new `Storage` starts on each of these images. It must start, claim only what hashes, have
//! everything that a sync had promised, and know of every file that lies there. From one of the images the download then
//! goes on, into the next crash. Meanwhile its files are moved to other folders, renamed and copied, which also fails.
//!
//! Time is an argument here too: the five seconds between syncs are counted, not waited.

mod image;
mod model;
mod moves;
mod record;
mod session;
mod torrent;
mod trouble;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;

use ferri_storage::Synced;

use self::image::Bench;
pub use self::model::Order;
use self::model::{Disk, Image};
use self::record::{Event, Listed};
use self::session::{Machine, check};
use self::torrent::Torrent;
use crate::scenario::Dice;

/// Crashes one after the other in a run.
const SESSIONS: usize = 4;

/// A mistake put on purpose into what the disk is told, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The payload is synced after the journal that calls it durable.
    JournalFirst,
    /// The payload is not synced at all.
    NoDataSync,
    /// The journal is not synced, neither when it grows nor when it is replaced.
    NoJournalSync,
    /// No folder is synced.
    NoFolderSync,
    /// The folders to which files are moved are not synced.
    NoTargetSync,
    /// Where files are moved to is not synced before they are.
    NoAnnouncement,
    /// What is copied to another file system is not synced.
    NoCopySync,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// Its seed.
    pub seed: u64,
    /// Instants at which the power went.
    pub points: usize,
    /// Disks that were started from.
    pub images: usize,
    /// Those that a move left, in the middle or before the session's list knew of it.
    pub moved: usize,
    /// Changes of the disk.
    pub changes: usize,
    /// The most verified bytes that one crash cost.
    pub lost_max: u64,
    /// Pieces that had to be hashed again after a crash.
    pub rechecked: usize,
    /// Promises that were broken. Empty is what one wants.
    pub breaches: Vec<String>,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, points, images, moved, changes, lost_max, rechecked, breaches } = self;
        writeln!(
            f,
            "seed {seed}: {points} crashes in {changes} changes, {images} disks, {moved} of a move, {rechecked} pieces hashed again, at most {lost_max} verified bytes lost"
        )?;
        breaches.iter().take(10).try_for_each(|breach| writeln!(f, "  {breach}"))
    }
}

/// A download with `points` crashes, three orders each. Everything follows from the seed but how threads interleave.
///
/// # Errors
/// When the folder for the simulated disk (in `/dev/shm` or the temporary folder) cannot be used.
pub fn run(seed: u64, points: usize) -> io::Result<CrashReport> {
    run_with(seed, points, None)
}

/// The same with a mistake.
///
/// # Errors
/// As for [`run`].
pub fn run_with(seed: u64, points: usize, sabotage: Option<Sabotage>) -> io::Result<CrashReport> {
    let mut dice = Dice::new(seed ^ 0x00c0_ffee);
    let bench = Bench::new()?;
    let machine = Machine::random(Torrent::random(&mut dice), bench.disk(), &mut dice);
    let mut report = CrashReport { seed, ..CrashReport::default() };
    let mut start = Start::default();
    start.known.listed.root = machine.folders()[0].clone();
    for session in 0..SESSIONS {
        bench.restore(&start.image)?;
        let record = machine.download(&bench, session as u64, &start, &mut dice);
        let events = match record {
            Ok(events) => sabotaged(events, sabotage),
            Err(error) => {
                report.breaches.push(format!("session {session}: {error}"));
                return Ok(report);
            }
        };
        report.changes += events.len();
        let share = points / SESSIONS + usize::from(session < points % SESSIONS);
        start = crashes(&machine, &bench, (session as u64, start, &events, share), &mut report, &mut dice)?;
    }
    Ok(report)
}

/// What a session begins with.
#[derive(Clone, Debug, Default)]
struct Start {
    image: Image,
    known: Known,
}

/// What is known of a download at an instant.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Pieces that every start has to have.
    promised: BTreeSet<u32>,
    /// Pieces that were written since the last promise.
    verified: BTreeSet<u32>,
    wanted: Vec<bool>,
    /// Where the session's list says that the files are.
    listed: Listed,
    /// Where they are, if the list may not know it.
    lies: Option<PathBuf>,
    /// They are on their way.
    is_moving: bool,
}

impl Known {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Verified(piece) => {
                self.verified.insert(*piece);
            }
            Event::Promised(pieces) => {
                pieces.iter().for_each(|piece| {
                    self.verified.remove(piece);
                });
                self.promised.extend(pieces);
            }
            Event::Moved(pieces) => pieces.iter().for_each(|piece| {
                if self.promised.remove(piece) {
                    self.verified.insert(*piece);
                }
            }),
            Event::Wanted(wanted) => self.wanted.clone_from(wanted),
            Event::Moving(to) => self.is_moving = to.is_some(),
            Event::Lies(root) => self.lies = Some(root.clone()),
            Event::Listed(listed) => {
                self.listed.clone_from(listed);
                self.lies = None;
            }
            _ => {}
        }
    }

    /// What a start may be told of where the files are.
    fn places(&self) -> Vec<Listed> {
        let new = self.lies.iter().filter(|root| **root != self.listed.root);
        let new = new.map(|root| Listed { root: root.clone(), ..self.listed.clone() });
        std::iter::once(self.listed.clone()).chain(new).collect()
    }
}

/// Lets the power go at `share` instants of a session; returns where the next session starts.
fn crashes(
    machine: &Machine,
    bench: &Bench,
    (session, start, events, share): (u64, Start, &[Event], usize),
    report: &mut CrashReport,
    dice: &mut Dice,
) -> io::Result<Start> {
    let mut at: Vec<usize> = (0..share).map(|_| instant(events, dice)).collect();
    at.sort_unstable();
    let next = dice.below(share.max(1) as u64) as usize;
    let mut disk = Disk::new(bench.disk(), &start.image);
    let mut known = start.known;
    let mut done = 0;
    let mut result = Start::default();
    for (number, &at) in at.iter().enumerate() {
        for event in &events[done..at] {
            disk.apply(event);
            known.apply(event);
        }
        done = at;
        report.points += 1;
        for order in Order::ALL {
            let image = disk.crash(order, dice);
            report.images += 1;
            let places = known.places();
            report.moved += usize::from(known.is_moving || 1 < places.len());
            for listed in places {
                bench.restore(&image)?;
                let found = check(machine, session, (&known, &listed), dice);
                report.lost_max = report.lost_max.max(found.lost);
                report.rechecked += found.rechecked;
                let told = |breach| {
                    let root = listed.root.display();
                    format!("session {session}, change {at} of {}, {order:?}, {root}: {breach}", events.len())
                };
                report.breaches.extend(found.breaches.into_iter().map(told));
            }
            if number == next && dice.below(2) == 0 || result.known.wanted.is_empty() {
                let known =
                    Known { verified: BTreeSet::new(), lies: None, is_moving: false, ..known.clone() };
                result = Start { image, known };
            }
        }
    }
    Ok(result)
}

/// Anywhere, but half of the time close to a sync, where the order of things matters.
fn instant(events: &[Event], dice: &mut Dice) -> usize {
    let at = dice.below(events.len() as u64 + 1) as usize;
    if dice.below(2) == 0 {
        return at;
    }
    let sync = events[at..].iter().position(|event| matches!(event, Event::Synced(..)));
    (at + sync.unwrap_or(0) + dice.below(3) as usize).min(events.len())
}

fn sabotaged(events: Vec<Event>, sabotage: Option<Sabotage>) -> Vec<Event> {
    let Some(sabotage) = sabotage else { return events };
    let mut held = Vec::new();
    let mut result = Vec::new();
    let mut moving = None;
    for event in events {
        if let Event::Moving(to) = &event {
            moving.clone_from(to);
        }
        let is_there =
            |path: &PathBuf| moving.as_ref().is_some_and(|to| path.starts_with(to) || to.starts_with(path));
        let of = match &event {
            Event::Syncing(path) | Event::Synced(path, Synced::Data | Synced::File) => Some(path),
            _ => None,
        };
        let is_journal = of.is_some_and(|path| path.to_string_lossy().contains("journal"));
        let is_folder = matches!(&event, Event::Synced(_, Synced::Folder | Synced::FileSystem));
        let is_payload = of.is_some() && !is_journal;
        match sabotage {
            Sabotage::JournalFirst if is_payload => held.push(event),
            Sabotage::JournalFirst => {
                let is_over = is_journal && matches!(event, Event::Synced(..));
                result.push(event);
                if is_over {
                    result.append(&mut held);
                }
            }
            Sabotage::NoDataSync if is_payload && matches!(event, Event::Synced(..)) => {}
            Sabotage::NoJournalSync if is_journal && matches!(event, Event::Synced(..)) => {}
            Sabotage::NoFolderSync if is_folder => {}
            Sabotage::NoTargetSync
                if is_folder && matches!(&event, Event::Synced(path, _) if is_there(path)) => {}
            Sabotage::NoAnnouncement
                if is_journal && moving.is_some() && matches!(event, Event::Synced(_, Synced::Data)) => {}
            Sabotage::NoCopySync
                if is_payload && moving.is_some() && matches!(event, Event::Synced(_, Synced::File)) => {}
            _ => result.push(event),
        }
    }
    result
}
