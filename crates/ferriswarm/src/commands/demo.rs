//! `demo`: a payload, a torrent, a tracker, three seeders and a downloader inside this process, talking over
//! loopback with real sockets. Leaves nothing behind.

mod explain;
mod folder;
mod payload;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferri_engine::{AddTorrent, Check, Event, Session, SessionOptions, Torrent};
use ferri_metainfo::{Bitfield, Metainfo};
use ferri_tracker_server::{Options, TrackerServer};

use crate::args::DemoArgs;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::Facts;
use crate::judged::Odd;
use crate::session::Hearing;
use crate::talk::TrackerTalk;
use crate::watch::{Audience, Ended, Goal, Setup, Watched, watch};
use crate::work::{Progress, follow};
use crate::{session, units};

use explain::{Cast, Story};
use folder::DemoFolder;

pub(crate) async fn run(
    env: &Env,
    console: &Console,
    args: &DemoArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let folder = DemoFolder::new(env)?;
    let trace = args.trace.as_deref().map(|path| env.path(path));
    let Some(made) = make(folder.path(), args, console, &interrupts).await? else {
        return Ok(Exit::Interrupted);
    };
    let tracker = TrackerServer::start(Options::on(SocketAddr::new(LEECHER_IP, 0)))
        .map_err(|error| Failure::new(Exit::Network, error.to_string()).hint("loopback must be up"))?;
    let metainfo = with_tracker(&made, &tracker)?;
    let mut seeders = Vec::new();
    for role in &ROLES {
        seeders.push(Seeder::start(role, &metainfo, folder.path(), &made.path).await?);
    }
    console.line(&format!("tracker   {}", tracker.http_url()));
    for seeder in &seeders {
        console.line(&seeder.describe());
    }
    let download = Download { folder: &folder, trace, is_explained: args.explain };
    let result = download.run(&metainfo, &seeders, console, &interrupts).await;
    for seeder in &seeders {
        seeder.session.shutdown().await;
    }
    tracker.shutdown();
    match result? {
        None => {
            console.line("stopped; nothing is left behind");
            Ok(Exit::Interrupted)
        }
        Some(finished) => {
            let received = folder.download().join(NAME);
            let same = compare(&received, &made, console, &interrupts).await?;
            report(&finished, &seeders, &made, same, console)
        }
    }
}

/// What a seeder is like.
struct Role {
    name: &'static str,
    ip: IpAddr,
    /// The pieces it has, in percent of all, from and to.
    has: (u64, u64),
    /// Upload limit, bytes a second.
    up: u64,
}

/// Each has an address of its own, so that the conversation can be told apart whichever side dialled. Alone, none but
/// the slowest has everything.
const ROLES: [Role; 3] = [
    Role { name: "Ann", ip: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), has: (0, 100), up: 12 << 20 },
    Role { name: "Ben", ip: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), has: (0, 60), up: 24 << 20 },
    Role { name: "Cleo", ip: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4)), has: (40, 100), up: 18 << 20 },
];

const LEECHER_IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The payload's name.
const NAME: &str = "demo.bin";

/// Makes the payload and hashes it. `None`: Ctrl-C.
async fn make(
    folder: &Path,
    args: &DemoArgs,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Option<payload::Made>, Failure> {
    if args.size == 0 {
        return Err(Failure::usage("--size: there must be something to download")
            .hint("give a size such as --size 64M"));
    }
    let (path, size, seed) = (folder.join(NAME), args.size, args.number);
    let progress = Arc::new(Progress::new(size));
    let work = {
        let progress = progress.clone();
        move || payload::make(&path, size, seed, &progress)
    };
    follow("making a payload", work, &progress, console, interrupts).await
}

/// The torrent knows its tracker only now that it listens somewhere.
fn with_tracker(made: &payload::Made, tracker: &TrackerServer) -> Result<Metainfo, Failure> {
    let bytes = made.torrent(vec![vec![tracker.http_url()], vec![tracker.udp_url()]])?;
    Metainfo::parse(&bytes)
        .map_err(|error| Failure::new(Exit::Internal, format!("our own torrent does not parse: {error}")))
}

struct Seeder {
    role: &'static Role,
    session: Arc<Session>,
    torrent: Torrent,
    have: u32,
}

impl Seeder {
    async fn start(
        role: &'static Role,
        metainfo: &Metainfo,
        folder: &Path,
        payload: &Path,
    ) -> Result<Self, Failure> {
        let mut options = options(role.ip, folder.join(role.name));
        options.limits.up = Some(role.up);
        let session = session::start(options).await?;
        let count = metainfo.info().layout().piece_count();
        let share = |percent: u64| u64::from(count) * percent / 100;
        let mut have = Bitfield::new(count);
        for piece in metainfo.info().layout().pieces() {
            if (share(role.has.0)..share(role.has.1).max(1)).contains(&u64::from(piece.get())) {
                have.set(piece.get());
            }
        }
        let have_count = have.count_ones();
        let mut add = AddTorrent::new(metainfo.clone(), folder);
        add.payload = Some(payload.to_owned());
        add.check = Check::Trust(have);
        add.seed_only = true;
        let (torrent, _) = session::add(&session, add, Hearing::Events).await?;
        Ok(Self { role, session, torrent, have: have_count })
    }

    fn describe(&self) -> String {
        format!(
            "seeder    {:<5} at {}, has {} pieces, sends at most {}",
            self.role.name,
            self.session.listen_addr(),
            self.have,
            units::rate(self.role.up)
        )
    }
}

fn options(ip: IpAddr, state_dir: PathBuf) -> SessionOptions {
    // What happens in this machine stays there.
    let mut options = SessionOptions::new(state_dir).without_discovery();
    options.bind = Some(ip);
    options.listen_port = Some(0);
    options
}

struct Download<'a> {
    folder: &'a DemoFolder,
    trace: Option<PathBuf>,
    is_explained: bool,
}

/// What there is to tell about a download that reached its end.
struct Finished {
    time: Duration,
    downloaded: u64,
    wasted: u64,
    counts: Counts,
}

impl Download<'_> {
    /// `None`: Ctrl-C.
    async fn run(
        self,
        metainfo: &Metainfo,
        seeders: &[Seeder],
        console: &Console,
        interrupts: &Interrupts,
    ) -> Result<Option<Finished>, Failure> {
        let mut options = options(LEECHER_IP, self.folder.state());
        options.trace = self.trace;
        let session = session::start(options).await?;
        let output = self.folder.download();
        let add = AddTorrent::new(metainfo.clone(), &output);
        let started = Instant::now();
        let hearing = if self.is_explained { Hearing::EveryMessage } else { Hearing::Events };
        let (torrent, events) = session::add(&session, add, hearing).await?;
        let path = output.join(NAME);
        let setup = Setup {
            facts: Facts::new(metainfo),
            lies_at: path.clone(),
            path,
            odd: Odd::default(),
            port: session.listen_addr().port(),
            goal: Goal::Verified,
            is_seeder: false,
            part: None,
            talk: TrackerTalk::default(),
        };
        let watched = Watched::new((torrent.clone(), events), setup);
        watched.introduce(console);
        let cast = Cast {
            peers: seeders.iter().map(|seeder| (seeder.role.ip, seeder.role.name)).collect(),
            piece_count: metainfo.info().layout().piece_count(),
        };
        let mut listener =
            Listener { counts: Counts::default(), story: self.is_explained.then(|| Story::new(cast)) };
        let ended = watch(vec![watched], &mut listener, console, interrupts).await;
        let time = started.elapsed();
        session.shutdown().await;
        let status = torrent.status();
        Ok(match ended? {
            Ended::Interrupted => None,
            Ended::Reached => {
                let counts = listener.counts;
                Some(Finished { time, downloaded: status.downloaded, wasted: status.wasted, counts })
            }
        })
    }
}

/// What happened, in numbers.
#[derive(Debug, Default)]
struct Counts {
    announces: u64,
    connections: u64,
    failed_pieces: u64,
}

/// Counts what happens, and tells the story if the user wants to hear it.
struct Listener {
    counts: Counts,
    story: Option<Story>,
}

impl Audience for Listener {
    fn hear(&mut self, event: &Event, console: &Console) {
        match event {
            Event::Announcing { .. } => self.counts.announces += 1,
            Event::PeerConnected { .. } => self.counts.connections += 1,
            Event::PieceFailed { .. } => self.counts.failed_pieces += 1,
            _ => {}
        }
        if let Some(line) = self.story.as_mut().and_then(|story| story.tell(event, Instant::now())) {
            console.line(&line);
        }
    }

    fn tick(&mut self, console: &Console) {
        if let Some(line) = self.story.as_mut().and_then(|story| story.sum(Instant::now())) {
            console.line(&line);
        }
    }
}

/// Whether the file that arrived is the payload, told by other means than the torrent's own hashes.
async fn compare(
    received: &Path,
    made: &payload::Made,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<bool, Failure> {
    let (path, size) = (received.to_owned(), made.size);
    let progress = Arc::new(Progress::new(size));
    let work = {
        let progress = progress.clone();
        move || payload::digest(&path, &progress)
    };
    let digest = follow("comparing", work, &progress, console, interrupts).await?;
    Ok(digest == Some(made.digest))
}

fn report(
    finished: &Finished,
    seeders: &[Seeder],
    made: &payload::Made,
    is_same: bool,
    console: &Console,
) -> Result<Exit, Failure> {
    let digest = made.digest_text();
    if !is_same {
        return Err(Failure::new(
            Exit::VerifyFailed,
            format!("what arrived is not what was sent (SHA-256 of the payload: {digest})"),
        ));
    }
    console.line(&format!("\nwhat arrived is what was sent: SHA-256 {digest}"));
    console.line(&format!(
        "{} in {}: {}",
        units::size(made.size),
        units::took(finished.time),
        units::rate(units::mean_rate(made.size, finished.time))
    ));
    let statuses: Vec<_> = seeders.iter().map(|seeder| seeder.torrent.status()).collect();
    let total: u64 = statuses.iter().map(|status| status.uploaded).sum();
    for (seeder, status) in seeders.iter().zip(&statuses) {
        console.line(&format!(
            "  {:<5} sent {:>9}  {:>5}  (had {}-{} % of the pieces, limit {})",
            seeder.role.name,
            units::size(status.uploaded),
            units::percent(status.uploaded, total.max(1)),
            seeder.role.has.0,
            seeder.role.has.1,
            units::rate(seeder.role.up)
        ));
    }
    let counts = &finished.counts;
    console.line(&format!(
        "{}, {}, {} failed, {} received in vain, {}",
        units::count(counts.announces, "announce to the tracker", "announces to the tracker"),
        units::count(counts.connections, "connection", "connections"),
        units::count(counts.failed_pieces, "piece", "pieces"),
        units::size(finished.wasted),
        units::count(finished.downloaded.div_ceil(u64::from(BLOCK)), "block", "blocks"),
    ));
    Ok(Exit::Done)
}

const BLOCK: u32 = ferri_metainfo::limits::BLOCK_LENGTH;
