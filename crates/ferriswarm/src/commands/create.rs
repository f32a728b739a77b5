//! `create`: a torrent of a file or folder, hashed by all cores.

mod hashing;
mod walk;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::create::Builder;
use ferri_metainfo::{Metainfo, Version};
use serde::Serialize;

use crate::args::CreateArgs;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::{Facts, local_text};
use crate::out::{Existing, Out};
use crate::work::{Progress, follow};
use crate::{text, units};

pub(crate) async fn run(
    env: &Env,
    console: &Console,
    args: &CreateArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let root = env.path(&args.path);
    let root = root.canonicalize().map_err(|error| Failure::file("read", &args.path, &error))?;
    let typed = args.output.clone().unwrap_or_else(|| default_name(&root));
    // Before anything is hashed.
    let out = Out::new(env, typed, Existing::with_force(args.force))?;
    let quiet = console.quiet();
    let console = match out {
        Out::Stdout if console.is_json() => {
            return Err(Failure::usage("--json and -o - both want standard output"));
        }
        Out::Stdout => &quiet,
        Out::File { .. } => console,
    };
    let payload = walk::payload(&root, out.path())?;
    for skipped in &payload.skipped {
        console.warn(&format!("left out {}: {}", skipped.path.display(), skipped.why));
    }
    let plan = builder(args, &root, &payload)?
        .plan()
        .map_err(|error| Failure::usage(format!("{}: {error}", args.path.display())))?;
    let started = Instant::now();
    let total = plan.total_length();
    let progress = Arc::new(Progress::new(total));
    let hashing = {
        let progress = progress.clone();
        move || hashing::hash(plan, &payload.paths, &progress)
    };
    let Some(bytes) = follow("hashing", hashing, &progress, console, &interrupts).await? else {
        return Err(Failure::new(Exit::Interrupted, "stopped; nothing was written"));
    };
    out.write(&bytes, console)?;
    if let Out::File { path, typed } = &out {
        tell(&bytes, path, typed, started, console)?;
    }
    Ok(Exit::Done)
}

/// What the flags mean, for this payload.
fn builder(args: &CreateArgs, root: &Path, payload: &walk::Payload) -> Result<Builder, Failure> {
    let version = match args {
        CreateArgs { v2: true, .. } => Version::V2,
        CreateArgs { hybrid: true, .. } => Version::Hybrid,
        _ => Version::V1,
    };
    let name = root
        .file_name()
        .and_then(OsStr::to_str)
        .ok_or_else(|| Failure::usage(format!("{}: its name is no UTF-8 text", args.path.display())))?;
    let mut builder = Builder::new(version, name, payload.content.clone());
    builder.piece_length = match args.piece_length {
        Some(bytes) => {
            let too_long = |_| Failure::usage("--piece-length: at most 512M");
            Some(u32::try_from(bytes).map_err(too_long)?)
        }
        None => None,
    };
    builder.trackers = args.tracker.iter().map(|tier| words(tier)).collect();
    builder.web_seeds.clone_from(&args.web_seed);
    builder.private = args.private;
    builder.source.clone_from(&args.source);
    builder.comment.clone_from(&args.comment);
    builder.created_by = Some(concat!("ferriswarm ", env!("CARGO_PKG_VERSION")).to_owned());
    builder.creation_date = args.date.then(|| jiff::Timestamp::now().as_second());
    Ok(builder)
}

/// `a,b` is one tier of two.
fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The name that is written to when nothing is said about it.
fn default_name(root: &Path) -> PathBuf {
    let mut name = root.file_name().map_or_else(|| OsString::from("root"), OsStr::to_owned);
    name.push(".torrent");
    PathBuf::from(name)
}

fn tell(bytes: &[u8], path: &Path, typed: &Path, started: Instant, console: &Console) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Created<'a> {
        output: String,
        #[serde(flatten)]
        facts: &'a Facts,
    }
    let metainfo = Metainfo::parse(bytes)
        .map_err(|error| Failure::new(Exit::Internal, format!("our own torrent does not parse: {error}")))?;
    let facts = Facts::new(&metainfo);
    if console.is_json() {
        console.event(&Created { output: local_text(path), facts: &facts });
        return Ok(());
    }
    console.line(&facts.headline(console));
    for (what, hash) in [("info hash v1", &facts.info_hash_v1), ("info hash v2", &facts.info_hash_v2)] {
        if let Some(hash) = hash {
            console.line(&format!("  {what}  {hash}"));
        }
    }
    let piece_length = units::size(facts.piece_length.into());
    let (took, rate) = (started.elapsed(), units::mean_rate(facts.total_size, started.elapsed()));
    console.line(&format!(
        "  {} of {piece_length}, hashed in {} ({})",
        units::count(facts.piece_count.into(), "piece", "pieces"),
        units::took(took),
        units::rate(rate)
    ));
    console.line(&format!("  written to {}", text::harmless(&typed.to_string_lossy())));
    Ok(())
}
