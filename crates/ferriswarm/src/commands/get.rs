//! `get`: download, verify, end. `seed`: verify, serve. The same engine, another goal.

mod batch;
mod list;
mod plan;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferri_engine::{AddTorrent, Check};
use ferri_metainfo::Metainfo;
use ferri_metainfo::magnet::Magnet;

use crate::args::files::FileWishes;
use crate::args::{GetArgs, SeedArgs, SeedUntil};
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::loading::{self, Load};
use crate::network;
use crate::select::Selection;
use crate::session;
use crate::source::{self, Source};
use crate::watch::Goal;

use batch::Batch;
use plan::{Kind, Plan};

pub(crate) async fn get(
    env: &mut Env,
    console: &Console,
    args: &GetArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    source::refuse_mistyped_command(env, &args.sources)?;
    let wishes = Wishes {
        selection: Selection::new(&args.files, &args.wishes),
        output: env.path(&args.output),
        sequential: args.sequential,
        preallocate: args.preallocate,
        overwrite: args.overwrite,
        check: if args.check { Check::Full } else { Check::Journal },
    };
    let list = args.batch.input.as_deref();
    let sources = list::all(&args.sources, list, env, console, &interrupts).await?;
    check_folder(wishes.output.clone(), &interrupts).await?;
    let goal = match (args.until, args.seed) {
        (SeedUntil { seed_ratio: None, seed_time: None }, false) => Goal::Verified,
        (until, _) => seeding(until),
    };
    let plan = Plan {
        kind: Kind::Get(wishes),
        goal,
        network: args.network.clone(),
        report: args.report.clone(),
        session: session_options(env, &args.network, args.report.trace.as_deref())?,
        peers: network::peers(&args.network, console, &interrupts).await.ok_or_else(loading::interrupted)?,
        patience: args.patience.stop_after_stalled,
        at_once: args.batch.at_once.map_or(usize::MAX, usize::from),
        on_done: args.batch.on_done.clone(),
    };
    let sources = sources.ok_or_else(loading::interrupted)?;
    Batch::new(plan, sources, Arc::new(loading::any(args.network.bind)), env, console, &interrupts)?
        .run()
        .await
}

pub(crate) async fn seed(
    env: &mut Env,
    console: &Console,
    args: &SeedArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let (sources, typed) = source::split(&args.words, env)?;
    let plan = Plan {
        kind: Kind::Seed {
            path: env.path(&typed),
            typed,
            selection: Selection::new(&args.files, &FileWishes::default()),
        },
        goal: seeding(args.until),
        network: args.network.clone(),
        report: args.report.clone(),
        session: session_options(env, &args.network, args.report.trace.as_deref())?,
        peers: network::peers(&args.network, console, &interrupts).await.ok_or_else(loading::interrupted)?,
        patience: None,
        at_once: usize::MAX,
        on_done: None,
    };
    let torrent = loading::torrent(args.network.bind, network::state_dir(env, &args.network).ok());
    let load: Load<Source> =
        Arc::new(move |env, source| torrent(env, source).map(|metainfo| Source::Torrent(Box::new(metainfo))));
    Batch::new(plan, sources, load, env, console, &interrupts)?.run().await
}

/// That the download folder can be had is known before any peer is asked for what shall lie in it.
async fn check_folder(folder: PathBuf, interrupts: &Interrupts) -> Result<(), Failure> {
    // A disk may sleep.
    let checked = tokio::task::spawn_blocking(move || ferri_engine::check_folder(&folder));
    tokio::select! {
        biased;
        () = interrupts.pressed(1) => Err(loading::interrupted()),
        checked = checked => checked
            .map_err(|error| Failure::new(Exit::Internal, format!("looking at the folder failed: {error}")))?
            .map_err(|error| session::disk(&error)),
    }
}

fn session_options(
    env: &Env,
    network: &crate::args::Network,
    trace: Option<&Path>,
) -> Result<ferri_engine::SessionOptions, Failure> {
    let mut options = network::session_options(env, network)?;
    options.trace = trace.map(|path| env.path(path));
    Ok(options)
}

/// What `get` wants of each torrent.
#[derive(Debug)]
struct Wishes {
    selection: Selection,
    output: PathBuf,
    sequential: bool,
    preallocate: bool,
    overwrite: bool,
    check: Check,
}

impl Wishes {
    /// What to add for a torrent, which came of `magnet` or of a file.
    fn add(&self, metainfo: Metainfo, magnet: Option<&Magnet>) -> Result<AddTorrent, Failure> {
        let named = magnet.and_then(|magnet| magnet.select_only.as_ref());
        let priorities = self.selection.priorities(&metainfo, named)?;
        let mut add = AddTorrent::new(metainfo, &self.output);
        add.priorities = priorities;
        add.sequential = self.sequential;
        add.preallocate = self.preallocate;
        add.overwrite = self.overwrite;
        add.check = self.check.clone();
        Ok(add)
    }
}

fn seeding(until: SeedUntil) -> Goal {
    match until {
        SeedUntil { seed_ratio: None, seed_time: None } => Goal::SeedForGood,
        SeedUntil { seed_ratio: ratio, seed_time: time } => Goal::SeedUntil { ratio, time },
    }
}
