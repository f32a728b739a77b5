//! `get`: download, verify, end. `seed`: verify, serve. The same engine, another goal.

mod guard;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferri_engine::{AddTorrent, Check, FilePriority, Session, SessionOptions};

use crate::args::{GetArgs, Network, Report, SeedArgs, SeedUntil};
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::events::Event;
use crate::exit::{Exit, Failure};
use crate::facts::{self, Facts};
use crate::place::Place;
use crate::select::Selection;
use crate::session::Hearing;
use crate::watch::{Ended, Goal, Setup, Watched, watch};
use crate::{session, source, text, units};

pub(crate) async fn get(
    env: &mut Env,
    console: &Console,
    args: &GetArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let selection = Selection::new(args.select.clone(), &args.only)?;
    let output = env.path(&args.output);
    let state_dir = state_dir(env, &args.network)?;
    let mut adds = Vec::new();
    for source in &args.sources {
        let metainfo = source::load_torrent(env, source).await?;
        let files = facts::visible_files(&metainfo);
        let paths = files.iter().map(|(_, path)| path.as_str());
        let wanted = selection.wanted(metainfo.info().name(), paths)?;
        let mut priorities = vec![FilePriority::Normal; metainfo.info().files().len()];
        for ((index, _), wanted) in files.iter().zip(wanted) {
            if !wanted {
                priorities[index.as_usize()] = FilePriority::Skip;
            }
        }
        let mut add = AddTorrent::new(metainfo, &output);
        add.priorities = priorities;
        add.sequential = args.sequential;
        add.preallocate = args.preallocate;
        if !args.overwrite {
            let guarded = guard::guard(add, &state_dir, console, &interrupts).await?;
            let Some(guarded) = guarded else {
                return Err(Failure::new(Exit::Interrupted, "stopped before anything was started"));
            };
            add = guarded;
        }
        adds.push(add);
    }
    let goal = match (args.until, args.seed) {
        (SeedUntil { seed_ratio: None, seed_time: None }, false) => Goal::Verified,
        (until, _) => seeding(until),
    };
    transfer(env, console, Plan { adds, goal, network: &args.network, report: &args.report }, interrupts)
        .await
}

pub(crate) async fn seed(
    env: &mut Env,
    console: &Console,
    args: &SeedArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let metainfo = source::load_torrent(env, &args.source).await?;
    let place = Place::at(&metainfo, &env.path(&args.path), &args.path)?;
    let payload = place.payload().to_owned();
    let output = payload.parent().map_or_else(|| env.dir.clone(), Path::to_owned);
    let mut add = AddTorrent::new(metainfo, output);
    add.payload = Some(payload);
    add.check = Check::Full;
    add.seed_only = true;
    let goal = seeding(args.until);
    let plan = Plan { adds: vec![add], goal, network: &args.network, report: &args.report };
    transfer(env, console, plan, interrupts).await
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
    let session = session::start(session_options(env, plan.network, plan.report)?).await?;
    let ended = start_and_watch(console, &session, &plan, &interrupts).await;
    if matches!(ended, Ok((Ended::Interrupted, _))) {
        console
            .line("stopping: telling the trackers, writing what is verified (Ctrl-C again ends at once)")?;
    }
    session.shutdown().await;
    let (ended, torrents) = ended?;
    match ended {
        Ended::Reached => Ok(Exit::Done),
        Ended::Interrupted => interrupted(env, console, plan.goal, &torrents),
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
        let mut add = add.clone();
        add.extra_trackers.clone_from(&plan.network.tracker);
        add.no_trackers = plan.network.no_trackers;
        add.peers.clone_from(&plan.network.peer);
        let setup = Setup {
            facts: Facts::new(&add.metainfo),
            path: local_path(&add)?,
            port: session.listen_addr().port(),
            goal: plan.goal,
            is_seeder: add.seed_only,
        };
        let added = session::add(session, add, Hearing::Events).await?;
        let watched = Watched::new(added, setup);
        watched.introduce(console)?;
        torrents.push(watched);
    }
    let ended = watch(&mut torrents, plan.report.progress, &mut (), console, interrupts).await?;
    Ok((ended, torrents))
}

/// Where the torrent's file or folder is.
fn local_path(add: &AddTorrent) -> Result<PathBuf, Failure> {
    if let Some(payload) = &add.payload {
        return Ok(payload.clone());
    }
    Ok(Place::in_folder(add.metainfo.info(), &add.output)?.payload().to_owned())
}

fn state_dir(env: &Env, network: &Network) -> Result<PathBuf, Failure> {
    if let Some(dir) = &network.state_dir {
        return Ok(env.path(dir));
    }
    env.default_state_dir().ok_or_else(|| {
        Failure::usage("neither HOME nor XDG_STATE_HOME says where state is kept")
            .hint("choose a folder with --state-dir DIR")
    })
}

fn session_options(env: &Env, network: &Network, report: &Report) -> Result<SessionOptions, Failure> {
    let mut options = SessionOptions::new(state_dir(env, network)?);
    options.listen_port = network.port;
    options.bind = network.bind;
    options.memory = network.memory;
    options.down_limit = network.down.and_then(|rate| rate.0);
    options.up_limit = network.up.and_then(|rate| rate.0);
    options.trace = report.trace.as_deref().map(|path| env.path(path));
    if let Some(max) = network.max_peers {
        options.peers_max = usize::from(max);
        options.peers_per_torrent = options.peers_per_torrent.min(usize::from(max));
    }
    Ok(options)
}

/// After a clean stop on Ctrl-C: what is safe, and how to go on.
fn interrupted(env: &Env, console: &Console, goal: Goal, torrents: &[Watched]) -> Result<Exit, Failure> {
    let statuses: Vec<_> = torrents.iter().map(Watched::status).collect();
    let is_complete = torrents.iter().all(Watched::is_complete);
    if is_complete && goal == Goal::SeedForGood {
        let sent = statuses.iter().map(|status| status.uploaded).sum();
        console.line(&format!("stopped; sent {}", units::size(sent)))?;
        return Ok(Exit::Done);
    }
    let (done, wanted) =
        statuses.iter().fold((0, 0), |(done, wanted), s| (done + s.wanted_done, wanted + s.wanted));
    let words: Vec<_> = env.args.iter().map(|word| word.to_string_lossy()).collect();
    let command = text::shell_quote(words.iter().map(AsRef::as_ref));
    console.event(&Event::Stopped { command: &command })?;
    console
        .line(&format!("stopped: {} are verified and saved. To continue:", units::size_of(done, wanted)))?;
    console.line(&format!("  {}", text::harmless(&command)))?;
    Ok(torrents.iter().find_map(Watched::trouble).unwrap_or(Exit::Interrupted))
}
