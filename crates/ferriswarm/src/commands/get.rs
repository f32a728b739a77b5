//! `get`: download, verify, end. `seed`: verify, serve. The same engine, another goal.

mod guard;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferri_engine::{AddTorrent, Check, FilePriority, Session};
use ferri_metainfo::magnet::{Magnet, SelectOnly};
use ferri_metainfo::{FileIndex, Metainfo};

use crate::args::{GetArgs, Network, Report, SeedArgs, SeedUntil};
use crate::commands::stopped;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::{self, Facts};
use crate::place::Place;
use crate::seek::{Found, Seekers};
use crate::select::Selection;
use crate::session::Hearing;
use crate::source::Source;
use crate::talk::TrackerTalk;
use crate::watch::{Ended, Goal, Setup, Watched, watch_all};
use crate::{network, session, source, units};

pub(crate) async fn get(
    env: &mut Env,
    console: &Console,
    args: &GetArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let wishes = Wishes {
        selection: Selection::new(args.select.clone(), &args.only)?,
        output: env.path(&args.output),
        state_dir: network::state_dir(env, &args.network)?,
        args,
    };
    let (mut adds, mut magnets) = (Vec::new(), Vec::new());
    for source in &args.sources {
        let loaded = source::load(env, source).await?;
        loaded.warn(source, console);
        match loaded {
            Source::Magnet(magnet) => magnets.push(*magnet),
            Source::Torrent(metainfo) => match wishes.add(*metainfo, None, console, &interrupts).await? {
                Some(add) => adds.push(add),
                None => return Err(Failure::new(Exit::Interrupted, "stopped before anything was started")),
            },
        }
    }
    let goal = match (args.until, args.seed) {
        (SeedUntil { seed_ratio: None, seed_time: None }, false) => Goal::Verified,
        (until, _) => seeding(until),
    };
    let plan =
        Plan { adds, magnets, wishes: Some(wishes), goal, network: &args.network, report: &args.report };
    transfer(env, console, plan, interrupts).await
}

pub(crate) async fn seed(
    env: &mut Env,
    console: &Console,
    args: &SeedArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let state_dir = network::state_dir(env, &args.network).ok();
    let metainfo = source::load_torrent(env, &args.source, state_dir.as_deref()).await?;
    let place = Place::at(&metainfo, &env.path(&args.path), &args.path)?;
    let payload = place.payload().to_owned();
    let output = payload.parent().map_or_else(|| env.dir.clone(), Path::to_owned);
    let mut add = AddTorrent::new(metainfo, output);
    add.payload = Some(payload);
    add.check = Check::Full;
    add.seed_only = true;
    let goal = seeding(args.until);
    let plan = Plan {
        adds: vec![add],
        magnets: Vec::new(),
        wishes: None,
        goal,
        network: &args.network,
        report: &args.report,
    };
    transfer(env, console, plan, interrupts).await
}

/// What `get` wants of each torrent.
struct Wishes<'a> {
    selection: Selection,
    output: PathBuf,
    state_dir: PathBuf,
    args: &'a GetArgs,
}

impl Wishes<'_> {
    /// What to add for a torrent, which came of `magnet` or of a file. `None`: Ctrl-C.
    async fn add(
        &self,
        metainfo: Metainfo,
        magnet: Option<&Magnet>,
        console: &Console,
        interrupts: &Interrupts,
    ) -> Result<Option<AddTorrent>, Failure> {
        let files = facts::visible_files(&metainfo);
        let named = magnet.and_then(|magnet| magnet.select_only.as_ref());
        let wanted = match named.filter(|_| self.selection.is_all()) {
            Some(named) => of_link(named, &files)?,
            None => {
                let paths = files.iter().map(|(_, path)| path.as_str());
                self.selection.wanted(metainfo.info().name(), paths)?
            }
        };
        let mut priorities = vec![FilePriority::Normal; metainfo.info().files().len()];
        for ((index, _), wanted) in files.iter().zip(wanted) {
            if !wanted {
                priorities[index.as_usize()] = FilePriority::Skip;
            }
        }
        let mut add = AddTorrent::new(metainfo, &self.output);
        add.priorities = priorities;
        add.sequential = self.args.sequential;
        add.preallocate = self.args.preallocate;
        if self.args.overwrite {
            return Ok(Some(add));
        }
        guard::guard(add, &self.state_dir, console, interrupts).await
    }
}

/// The files that a magnet link names (BEP 53), one answer a file.
fn of_link(named: &SelectOnly, files: &[(FileIndex, String)]) -> Result<Vec<bool>, Failure> {
    let wanted: Vec<bool> = files.iter().map(|(index, _)| named.contains(*index)).collect();
    if wanted.contains(&true) {
        return Ok(wanted);
    }
    let message = format!("so={named}: the magnet link wants files that the torrent does not have");
    Err(Failure::new(Exit::BadMagnet, message).hint("choose files with --select or --only"))
}

fn seeding(until: SeedUntil) -> Goal {
    match until {
        SeedUntil { seed_ratio: None, seed_time: None } => Goal::SeedForGood,
        SeedUntil { seed_ratio: ratio, seed_time: time } => Goal::SeedUntil { ratio, time },
    }
}

/// What the flags mean.
struct Plan<'a> {
    adds: Vec<AddTorrent>,
    magnets: Vec<Magnet>,
    /// What is wanted of the torrents that come of magnet links.
    wishes: Option<Wishes<'a>>,
    goal: Goal,
    network: &'a Network,
    report: &'a Report,
}

async fn transfer(
    env: &Env,
    console: &Console,
    plan: Plan<'_>,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let mut options = network::session_options(env, plan.network)?;
    options.trace = plan.report.trace.as_deref().map(|path| env.path(path));
    let session = session::start(options).await?;
    let ended = start_and_watch(console, &session, &plan, &interrupts).await;
    if matches!(ended, Ok((Ended::Interrupted, _))) {
        console.line("stopping: telling the trackers, writing what is verified (Ctrl-C again ends at once)");
    }
    session.shutdown().await;
    let (ended, torrents) = ended?;
    match ended {
        Ended::Reached => Ok(Exit::Done),
        Ended::Interrupted => interrupted(env, console, &plan, &torrents),
    }
}

async fn start_and_watch(
    console: &Console,
    session: &Arc<Session>,
    plan: &Plan<'_>,
    interrupts: &Interrupts,
) -> Result<(Ended, Vec<Watched>), Failure> {
    let mut torrents = Vec::new();
    for add in &plan.adds {
        torrents.push(plan.start(session, add.clone(), None, console).await?);
    }
    let mut seekers = Seekers::new(plan.report.progress);
    for magnet in &plan.magnets {
        let resolving = session::resolve(session, network::resolve(magnet.clone(), plan.network)).await?;
        seekers.add(magnet.clone(), resolving, console);
    }
    let admit = async |found: Found| {
        let Some(wishes) = &plan.wishes else { return Ok(None) };
        let metainfo = found.resolved.metainfo().clone();
        match wishes.add(metainfo, Some(&found.magnet), console, interrupts).await? {
            Some(add) => plan.start(session, add, Some(found), console).await.map(Some),
            None => Ok(None),
        }
    };
    let ended = watch_all(&mut torrents, &mut seekers, admit, &mut (), console, interrupts).await?;
    Ok((ended, torrents))
}

impl Plan<'_> {
    /// Adds a torrent to the session.
    async fn start(
        &self,
        session: &Arc<Session>,
        mut add: AddTorrent,
        found: Option<Found>,
        console: &Console,
    ) -> Result<Watched, Failure> {
        add.extra_trackers.clone_from(&self.network.tracker);
        add.no_trackers = self.network.no_trackers;
        add.peers.clone_from(&self.network.peer);
        let (resolved, talk) = match found {
            Some(found) => (Some(found.resolved), found.talk),
            None => (None, TrackerTalk::default()),
        };
        let setup = Setup {
            facts: Facts::new(&add.metainfo),
            path: local_path(&add)?,
            port: session.listen_addr().port(),
            goal: self.goal,
            is_seeder: add.seed_only,
            talk,
        };
        let added = session::add(session, add, resolved, Hearing::Events).await?;
        let watched = Watched::new(added, setup);
        watched.introduce(console);
        Ok(watched)
    }
}

/// Where the torrent's file or folder is.
fn local_path(add: &AddTorrent) -> Result<PathBuf, Failure> {
    if let Some(payload) = &add.payload {
        return Ok(payload.clone());
    }
    Ok(Place::in_folder(add.metainfo.info(), &add.output)?.payload().to_owned())
}

/// After a clean stop on Ctrl-C: what is safe, and how to go on.
fn interrupted(env: &Env, console: &Console, plan: &Plan<'_>, torrents: &[Watched]) -> Result<Exit, Failure> {
    let statuses: Vec<_> = torrents.iter().map(Watched::status).collect();
    let is_complete =
        torrents.len() == plan.adds.len() + plan.magnets.len() && torrents.iter().all(Watched::is_complete);
    if is_complete && plan.goal == Goal::SeedForGood {
        let sent = statuses.iter().map(|status| status.uploaded).sum();
        console.line(&format!("stopped; sent {}", units::size(sent)));
        return Ok(Exit::Done);
    }
    let (done, wanted) =
        statuses.iter().fold((0, 0), |(done, wanted), s| (done + s.wanted_done, wanted + s.wanted));
    let what = if torrents.is_empty() {
        "peers have not told what the link stands for".to_owned()
    } else {
        format!("{} are verified and saved", units::size_of(done, wanted))
    };
    stopped(env, console, &what);
    Ok(torrents.iter().find_map(Watched::trouble).unwrap_or(Exit::Interrupted))
}
