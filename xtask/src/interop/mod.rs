//! Interoperation: our client and the clients that other people wrote, against each other in a lab.
//!
//! Every case has its own hosts, tracker and folders, so two can run side by side. A case passes when the leechers say
//! that they are done and every file they wrote has the right SHA-256. `--hub NAME` puts another client in our place,
//! which proves the drivers without our program.

mod cut;
mod differential;
mod full;
mod gateway;
mod harm;
pub(crate) mod kill;
mod mount;
pub(crate) mod payload;
pub(crate) mod proofs;
mod scene;
mod state;
pub(crate) mod tracker;
pub(crate) mod trackerless;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::clients::{self, Client, Encryption, Kind, Place, Tools};
use crate::lab::{Host, Lab};
use crate::report::{Tally, say};
use payload::{Payload, Shape};
use tracker::{Protocol, Tracker};

/// Bytes of each payload, about.
const PAYLOAD_LENGTH: u64 = 64 << 20;

const PIECE_LENGTH: u64 = 256 << 10;

/// Bytes of the small one.
const SMALL_LENGTH: u64 = 2 << 20;

/// A transfer of `PAYLOAD_LENGTH` between two clients on one machine, with their start; slow ones take 20 s.
const TRANSFER_LIMIT: Duration = Duration::from_secs(150);

/// What the one seeder of the mixed swarm sends, in bytes a second: slow enough that leechers must trade.
const MIXED_SEED_RATE: u64 = 12 << 20;

/// Two cores, and a case is a sender and a receiver that wait for each other.
const CASES_AT_ONCE: usize = 2;

/// What to run, and where.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where logs and payloads go.
    pub(crate) work: PathBuf,
    /// The programs.
    pub(crate) tools: Tools,
    /// The client under test.
    pub(crate) hub: Kind,
    /// Only cases whose name contains this.
    pub(crate) filter: Option<String>,
}

/// One thing to prove.
#[derive(Clone, Debug)]
enum Case {
    /// One seeds, the other downloads.
    Pair { seed: Kind, leech: Kind, shape: Shape, tracker: tracker::Kind, protocol: Protocol },
    /// One seeds, the other downloads, and the one that is not ours speaks with no peer that does not encrypt. The one that
    /// downloads dials.
    Encrypted { seed: Kind, leech: Kind, demand: Encryption },
    /// One that has only a magnet link finds the seeder by our tracker, and by nothing else. Some say `left=0` while they
    /// do not know the size.
    Magnet { leech: Kind, protocol: Protocol },
    /// One seeder, all others download.
    Mixed { seed: Kind, leechers: Vec<Kind> },
    /// Two programs make the same torrent of the same files.
    Create { shape: Shape },
    /// The same questions to three trackers.
    Differential,
    /// Cases of their own, with names of their own.
    Trackerless(trackerless::Group),
}

impl Case {
    fn name(&self) -> String {
        match self {
            Self::Pair { seed, leech, shape, tracker, protocol } => {
                let tracker = match tracker {
                    tracker::Kind::Opentracker => "opentracker",
                    tracker::Kind::Ours => "our tracker",
                };
                format!("{seed} to {leech}, {}, {tracker} over {}", shape.name(), protocol.name())
            }
            Self::Encrypted { seed, leech, demand } => {
                format!("{seed} to {leech}, where one demands: {}", demand.name())
            }
            Self::Magnet { leech, protocol } => {
                format!("magnet link, our tracker alone over {}: to {leech}", protocol.name())
            }
            Self::Mixed { seed, leechers } => {
                let names: Vec<&str> = leechers.iter().map(|kind| kind.name()).collect();
                format!("mixed swarm: {seed} to {}", names.join(", "))
            }
            Self::Create { shape } => format!("create, {}: the same info hash as libtorrent's", shape.name()),
            Self::Differential => "500 questions to our tracker, opentracker and bittorrent-tracker".into(),
            Self::Trackerless(group) => format!("{group:?}"),
        }
    }
}

/// Everything the cases share.
struct Bench {
    lab: Lab,
    options: Options,
    single: Payload,
    multi: Payload,
    /// One that is there in no time.
    small: Payload,
}

/// Runs the cases; inside a lab only.
///
/// # Errors
/// When the lab or the payloads cannot be made; a case that fails is counted, not an error.
pub(crate) fn run(options: Options) -> Result<Tally> {
    let cases: VecDeque<Case> = cases(options.hub)
        .into_iter()
        .filter(|case| {
            let is_group = matches!(case, Case::Trackerless(_));
            is_group || options.filter.as_ref().is_none_or(|part| case.name().contains(part.as_str()))
        })
        .collect();
    let work = &options.work;
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work).with_context(|| format!("creating {}", work.display()))?;
    let make = |dir: &Path, shape, length| {
        Payload::make(dir, shape, length, PIECE_LENGTH, options.hub, &options.tools)
            .with_context(|| format!("making the {} payload", shape.name()))
    };
    let bench = Bench {
        lab: Lab::new()?,
        single: make(work, Shape::Single, PAYLOAD_LENGTH)?,
        multi: make(work, Shape::Multi, PAYLOAD_LENGTH)?,
        small: make(&work.join("payload/small"), Shape::Single, SMALL_LENGTH)?,
        options: options.clone(),
    };
    let queue = Mutex::new(cases);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = next(&queue) {
                    let count = run_one(&bench, &case);
                    *tally.lock().unwrap_or_else(PoisonError::into_inner) += count;
                }
            });
        }
    });
    let _ = fs::remove_dir_all(bench.options.work.join("payload"));
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn next(queue: &Mutex<VecDeque<Case>>) -> Option<Case> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// All of them; the long one first, so that it does not run alone at the end.
fn cases(hub: Kind) -> Vec<Case> {
    use tracker::Kind::{Opentracker, Ours};
    let foreign: Vec<Kind> = Kind::FOREIGN.into_iter().filter(|kind| *kind != hub).collect();
    let mut leechers = vec![hub];
    leechers.extend(foreign.iter().copied().filter(|kind| *kind != Kind::Libtorrent));
    let mut cases: Vec<Case> = trackerless::Group::ALL.into_iter().map(Case::Trackerless).collect();
    cases.push(Case::Mixed { seed: Kind::Libtorrent, leechers });
    if hub == Kind::Ferriswarm {
        for (n, &leech) in foreign.iter().chain([&hub]).enumerate() {
            let udp = leech != Kind::Aria2 && n % 2 == 1;
            let protocol = if udp { Protocol::Udp } else { Protocol::Http };
            cases.push(Case::Magnet { leech, protocol });
        }
        for &kind in &foreign {
            for &demand in kind.demands() {
                cases.push(Case::Encrypted { seed: kind, leech: hub, demand });
                cases.push(Case::Encrypted { seed: hub, leech: kind, demand });
            }
        }
    }
    for (n, &kind) in foreign.iter().enumerate() {
        for shape in [Shape::Single, Shape::Multi] {
            // Alternating, so that every client meets both protocols.
            // aria2 speaks UDP to trackers only with its DHT on, which a closed network has no use for.
            let udp = kind != Kind::Aria2 && (n % 2 == 0) == (shape == Shape::Single);
            let protocol = if udp { Protocol::Udp } else { Protocol::Http };
            let pair = |seed, leech| Case::Pair { seed, leech, shape, tracker: Opentracker, protocol };
            cases.extend([pair(kind, hub), pair(hub, kind)]);
        }
    }
    let same =
        |tracker, protocol| Case::Pair { seed: hub, leech: hub, shape: Shape::Multi, tracker, protocol };
    cases.extend([same(Opentracker, Protocol::Http), same(Opentracker, Protocol::Udp)]);
    if hub == Kind::Ferriswarm {
        cases.push(Case::Differential);
        cases.extend([same(Ours, Protocol::Http), same(Ours, Protocol::Udp)]);
        let foreign = |leech, protocol| Case::Pair {
            seed: Kind::Transmission,
            leech,
            shape: Shape::Single,
            tracker: Ours,
            protocol,
        };
        cases.extend([foreign(Kind::Aria2, Protocol::Http), foreign(Kind::Qbittorrent, Protocol::Udp)]);
        // Of one file only: programs order the files of a folder as they like.
        cases.push(Case::Create { shape: Shape::Single });
    }
    cases
}

/// Runs a case, says how it went, removes its downloads.
fn run_one(bench: &Bench, case: &Case) -> Tally {
    let name = case.name();
    let folder: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let work = bench.options.work.join(folder);
    if let Case::Trackerless(group) = case {
        let scene = scene::Scene { options: &bench.options, lab: &bench.lab, work };
        let tally = trackerless::run(&scene, *group);
        if tally.failed == 0 {
            let _ = fs::remove_dir_all(&scene.work);
        }
        return tally;
    }
    let start = Instant::now();
    let outcome = fs::create_dir_all(&work).map_err(Into::into).and_then(|()| match case {
        Case::Pair { seed, leech, shape, tracker, protocol } => {
            pair(bench, &work, (*seed, *leech), *shape, *tracker, *protocol)
        }
        Case::Encrypted { seed, leech, demand } => encrypted(bench, &work, (*seed, *leech), *demand),
        Case::Magnet { leech, protocol } => magnet(bench, &work, *leech, *protocol),
        Case::Mixed { seed, leechers } => mixed(bench, &work, *seed, leechers),
        Case::Create { shape } => create(bench, &work, *shape),
        Case::Differential => differential::run(&bench.options.tools, &work),
        Case::Trackerless(_) => Ok(()),
    });
    let seconds = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(()) => {
            say(&format!("  ok    {seconds:5.1} s  {name}"));
            let _ = fs::remove_dir_all(&work);
        }
        Err(error) => say(&format!("  FAIL  {seconds:5.1} s  {name}\n{error:#}\n  logs: {}", work.display())),
    }
    let mut tally = Tally::default();
    tally.count(outcome.is_ok());
    tally
}

fn pair(
    bench: &Bench,
    work: &Path,
    (seed, leech): (Kind, Kind),
    shape: Shape,
    tracker: tracker::Kind,
    protocol: Protocol,
) -> Result<()> {
    let payload = bench.payload(shape);
    let tools = &bench.options.tools;
    let tracker = Tracker::start(tracker, bench.lab.host()?, &work.join("tracker"), &payload.torrent, tools)?;
    let torrent = work.join("payload.torrent");
    payload.with_tracker(&tracker.url(protocol), &torrent)?;
    let mut seeder = clients::make(seed, bench.place(&work.join("seed"))?)?;
    seeder.start_seed(&torrent, &payload.dir).context("starting the seeder")?;
    seeder.wait_done(TRANSFER_LIMIT).context("the seeder")?;
    tracker.wait_for(1, 0).context("the seeder's announce")?;
    let download = Download::start(bench, work, leech, &torrent)?;
    let outcome = download.finish(payload);
    let log = seeder.process().map(|process| process.log_tail()).unwrap_or_default();
    seeder.stop();
    outcome.with_context(|| format!("the seeder wrote\n{log}"))
}

/// Ours is as it is by itself, and must find out what the other one wants.
fn encrypted(bench: &Bench, work: &Path, (seed, leech): (Kind, Kind), demand: Encryption) -> Result<()> {
    let (payload, tools) = (&bench.small, &bench.options.tools);
    let tracker = tracker::Kind::Ours;
    let tracker = Tracker::start(tracker, bench.lab.host()?, &work.join("tracker"), &payload.torrent, tools)?;
    let torrent = work.join("payload.torrent");
    payload.with_tracker(&tracker.url(Protocol::Http), &torrent)?;
    let make = |kind, home: &Path| -> Result<Box<dyn Client>> {
        let place = bench.place(home)?;
        Ok(match kind {
            Kind::Ferriswarm => {
                fs::create_dir_all(home)?;
                Box::new(clients::Ferriswarm::new(place).with_options(&["-v"]))
            }
            _ => clients::make(kind, Place { encryption: demand, ..place })?,
        })
    };
    let (seed_home, leech_home) = (work.join("seed"), work.join("leech"));
    let mut seeder = make(seed, &seed_home)?;
    seeder.start_seed(&torrent, &payload.dir).context("starting the seeder")?;
    seeder.wait_done(TRANSFER_LIMIT).context("the seeder")?;
    tracker.wait_for(1, 0).context("the seeder's announce")?;
    let dir = leech_home.join("download");
    fs::create_dir_all(&dir)?;
    let mut client = make(leech, &leech_home)?;
    client.start_leech(&torrent, &dir).context("starting the leecher")?;
    let download = Download { kind: leech, client, dir };
    download.finish(payload)?;
    seeder.stop();
    let ours = if seed == Kind::Ferriswarm { seed_home } else { leech_home };
    let log = fs::read_to_string(ours.join("log"))?;
    let connected: Vec<&str> = log.lines().filter(|line| line.contains(" connected ")).collect();
    let demanded = format!("encryption={}", demand.name());
    ensure!(connected.iter().any(|line| line.contains(&demanded)), "no connection has {demanded}:\n{log}");
    Ok(())
}

fn magnet(bench: &Bench, work: &Path, leech: Kind, protocol: Protocol) -> Result<()> {
    let payload = bench.payload(Shape::Single);
    let ours = tracker::Kind::Ours;
    let host = bench.lab.host()?;
    let tracker = Tracker::start(ours, host, &work.join("tracker"), &payload.torrent, &bench.options.tools)?;
    let torrent = work.join("payload.torrent");
    payload.with_tracker(&tracker.url(protocol), &torrent)?;
    let mut seeder = clients::make(bench.options.hub, bench.place(&work.join("seed"))?)?;
    seeder.start_seed(&torrent, &payload.dir).context("starting the seeder")?;
    seeder.wait_done(TRANSFER_LIMIT).context("the seeder")?;
    tracker.wait_for(1, 0).context("the seeder's announce")?;
    let url = tracker.url(protocol).replace(':', "%3A").replace('/', "%2F");
    let hash = payload::info_hash(&payload.torrent)?;
    let link = format!("magnet:?xt=urn:btih:{hash}&tr={url}");
    let mut download = Download::start(bench, work, leech, Path::new(&link))?;
    download.wait()?;
    // rtorrent leaves the torrent's metadata behind.
    let _ = fs::remove_file(download.dir.join(format!("{}.meta", hash.to_uppercase())));
    download.finish(payload)
}

fn mixed(bench: &Bench, work: &Path, seed: Kind, leechers: &[Kind]) -> Result<()> {
    ensure!(seed == Kind::Libtorrent, "only libtorrent's driver can limit what it sends");
    let payload = bench.payload(Shape::Multi);
    let tools = &bench.options.tools;
    let opentracker = tracker::Kind::Opentracker;
    let tracker =
        Tracker::start(opentracker, bench.lab.host()?, &work.join("tracker"), &payload.torrent, tools)?;
    let torrent = work.join("payload.torrent");
    payload.with_tracker(&tracker.url(Protocol::Http), &torrent)?;
    let mut seeder =
        clients::Libtorrent::new(bench.place(&work.join("seed"))?).with_upload_limit(MIXED_SEED_RATE);
    fs::create_dir_all(work.join("seed"))?;
    seeder.start_seed(&torrent, &payload.dir)?;
    seeder.wait_done(TRANSFER_LIMIT).context("the seeder")?;
    tracker.wait_for(1, 0).context("the seeder's announce")?;
    let mut downloads = Vec::new();
    for &kind in leechers {
        downloads.push(Download::start(bench, work, kind, &torrent)?);
    }
    let mut outcome = Ok(());
    for download in &mut downloads {
        let done = download.wait();
        outcome = outcome.and(done);
    }
    let sent = seeder.state()?.uploaded;
    // All are done (or none will be), so that no client needs the others any more.
    for download in downloads {
        let compared = download.finish(payload);
        outcome = outcome.and(compared);
    }
    outcome?;
    let copies = u64::try_from(leechers.len())? * payload.length()?;
    ensure!(sent < copies, "the leechers did not trade: the seeder sent all {sent} bytes of {copies}");
    Ok(())
}

fn create(bench: &Bench, work: &Path, shape: Shape) -> Result<()> {
    let payload = bench.payload(shape);
    let top = fs::read_dir(&payload.dir)?.next().context("the payload is empty")??.path();
    let other = work.join("libtorrent.torrent");
    payload::create(&top, &other, PIECE_LENGTH, Kind::Libtorrent, &bench.options.tools)?;
    let (ours, theirs) = (payload::info_hash(&payload.torrent)?, payload::info_hash(&other)?);
    ensure!(ours == theirs, "our info hash is {ours}, libtorrent's is {theirs}");
    Ok(())
}

/// A client that downloads into a folder of its own.
struct Download {
    kind: Kind,
    client: Box<dyn Client>,
    dir: PathBuf,
}

impl Download {
    fn start(bench: &Bench, work: &Path, kind: Kind, torrent: &Path) -> Result<Self> {
        let home = work.join(format!("leech-{kind}"));
        let dir = home.join("download");
        fs::create_dir_all(&dir)?;
        let mut client = clients::make(kind, bench.place(&home)?)?;
        client.start_leech(torrent, &dir).with_context(|| format!("starting {kind} as a leecher"))?;
        Ok(Self { kind, client, dir })
    }

    fn wait(&mut self) -> Result<()> {
        self.client.wait_done(TRANSFER_LIMIT).with_context(|| format!("{} as a leecher", self.kind))
    }

    /// Waits, stops the client and compares what it wrote.
    fn finish(mut self, payload: &Payload) -> Result<()> {
        self.wait()?;
        self.client.stop();
        // Some clients write no empty files; ours does.
        let lenient = self.kind != Kind::Ferriswarm;
        payload.compare(&self.dir, lenient).with_context(|| format!("what {} wrote", self.kind))
    }
}

impl Bench {
    fn payload(&self, shape: Shape) -> &Payload {
        match shape {
            Shape::Single => &self.single,
            Shape::Multi => &self.multi,
        }
    }

    fn place(&self, home: &Path) -> Result<Place> {
        let host: Arc<Host> = Arc::new(self.lab.host()?);
        Ok(Place::new(host, home.to_owned(), self.options.tools.clone()))
    }
}
