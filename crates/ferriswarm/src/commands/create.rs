//! `create`: a torrent of a file or folder, hashed by all cores.

mod choice;
mod hashing;
mod preview;
mod walk;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ferri_metainfo::create::Builder;
use ferri_metainfo::{Metainfo, Version};
use serde::Serialize;

use crate::args::{About, CreateArgs};
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::{Facts, local_text};
use crate::out::{Existing, Out, torrent_name};
use crate::work::{Progress, follow};
use crate::{text, units};
use choice::Choice;
use walk::LeftOut;

pub(crate) async fn run(
    env: &Env,
    console: &Console,
    args: &CreateArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let root = env.path(&args.path);
    let root = root.canonicalize().map_err(|error| Failure::file("read", &args.path, &error))?;
    let name = name(args, &root)?;
    let typed = args.output.clone().unwrap_or_else(|| torrent_name(OsStr::new(&name)));
    // Before anything is hashed.
    let out = Out::new(env, typed, Existing::with_force(args.force))?;
    let quiet = console.quiet();
    let console = match out {
        Out::Stdout if console.is_json() && !args.dry_run => {
            return Err(Failure::usage("--json and -o - both want standard output")
                .hint("write the torrent to a file with -o, or leave --json away"));
        }
        Out::Stdout if !args.dry_run => &quiet,
        _ => console,
    };
    let choice = Choice::new(&args.choice, &name)?;
    let payload = walk::payload(&root, out.replaced(), &choice)?;
    tell_left_out(&payload.left_out, console);
    let plan = builder(&args.about, &name, &payload)
        .plan()
        .map_err(|error| Failure::usage(format!("{}: {error}", args.path.display())))?;
    if args.dry_run {
        return preview::tell(&plan, &name, &out, &payload.left_out, console);
    }
    let started = Instant::now();
    let progress = Arc::new(Progress::new(plan.total_length()));
    let walk::Payload { paths, left_out, .. } = payload;
    let hashing = {
        let progress = progress.clone();
        move || hashing::hash(plan, &paths, &progress)
    };
    let Some(bytes) = follow("hashing", hashing, &progress, console, &interrupts).await? else {
        return Err(Failure::new(Exit::Interrupted, "stopped; nothing was written"));
    };
    out.write(&bytes, console)?;
    if let Out::File { path, typed, .. } = &out {
        tell(&bytes, (path, typed), &left_out, started, console)?;
    }
    Ok(Exit::Done)
}

/// The torrent's name: what `--name` says, else that of the payload.
fn name(args: &CreateArgs, root: &Path) -> Result<String, Failure> {
    if let Some(name) = &args.about.name {
        return Ok(name.clone());
    }
    let Some(name) = root.file_name() else {
        return Err(
            Failure::usage(format!("{} has no name", args.path.display())).hint("give one with --name")
        );
    };
    name.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!("{}: its name is no UTF-8 text", args.path.display()))
            .hint("give one with --name")
    })
}

/// What the flags mean, for this payload.
fn builder(about: &About, name: &str, payload: &walk::Payload) -> Builder {
    let version = match about {
        About { v2: true, .. } => Version::V2,
        About { hybrid: true, .. } => Version::Hybrid,
        _ => Version::V1,
    };
    let mut builder = Builder::new(version, name, payload.content.clone());
    builder.piece_length = about.piece_length;
    builder.trackers = about.tracker.iter().map(|tier| words(tier)).collect();
    builder.web_seeds.clone_from(&about.web_seed);
    builder.private = about.private;
    builder.source.clone_from(&about.source);
    builder.comment.clone_from(&about.comment);
    let program = concat!("ferriswarm ", env!("CARGO_PKG_VERSION"));
    builder.created_by = (!about.no_created_by).then(|| program.to_owned());
    builder.creation_date = about.date.then(|| jiff::Timestamp::now().as_second());
    builder
}

/// `a,b` is one tier of two.
fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Says what is not shared: links and the like by name, as somebody may miss them, the rest by number.
fn tell_left_out(left_out: &LeftOut, console: &Console) {
    for (path, why) in &left_out.specials {
        console.warn(&format!("left out {}: {why}", path.display()));
    }
    let more = left_out.special - left_out.specials.len() as u64;
    if more != 0 {
        console.warn(&format!("left out {more} more that are neither files nor folders"));
    }
    if left_out.litter != 0 {
        let names: Vec<&str> = left_out.litter_names.iter().map(String::as_str).collect();
        console.line(&format!(
            "left out {} of operating systems ({}); --include NAME takes one",
            units::count(left_out.litter, "entry", "entries"),
            text::harmless(&names.join(", "))
        ));
    }
    for (count, why) in [(left_out.hidden, "hidden"), (left_out.excluded, "unwanted")] {
        if count != 0 {
            console.line(&format!("left out {count} {why}"));
        }
    }
}

/// `written` is where the torrent is, and how the person wrote that.
fn tell(
    bytes: &[u8],
    written: (&Path, &Path),
    left_out: &LeftOut,
    started: Instant,
    console: &Console,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Created<'a> {
        output: String,
        left_out: &'a LeftOut,
        #[serde(flatten)]
        facts: &'a Facts,
    }
    let metainfo = Metainfo::parse(bytes)
        .map_err(|error| Failure::new(Exit::Internal, format!("our own torrent does not parse: {error}")))?;
    let facts = Facts::new(&metainfo);
    let (path, typed) = written;
    if console.is_json() {
        console.event(&Created { output: local_text(path), left_out, facts: &facts });
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
