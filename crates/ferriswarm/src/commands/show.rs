//! `show`: what a torrent is. Reads the torrent only; asks peers for what a magnet link stands for, if that is wanted.

use ferri_metainfo::Metainfo;
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::names::LocalPaths;
use serde::Serialize;

use crate::args::ShowArgs;
use crate::commands::stopped;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::Facts;
use crate::source::{self, Source};
use crate::text::harmless;
use crate::{json, network, seek, units};

pub(crate) async fn run(
    env: &mut Env,
    console: &Console,
    args: &ShowArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let magnet = match source::load(env, &args.source).await? {
        Source::Torrent(metainfo) => return show(&metainfo, console, args),
        Source::Magnet(magnet) => magnet,
    };
    let state_dir = network::state_dir(env, &args.network).ok();
    if let Some(known) = state_dir.and_then(|state_dir| ferri_engine::known_torrent(&state_dir, &magnet)) {
        return show(&known, console, args);
    }
    if args.fetch {
        let wait = console.aside();
        let Some(metainfo) = seek::fetch(env, &wait, *magnet, &args.network, &interrupts).await? else {
            stopped(env, &wait, "peers have not told what the link stands for");
            return Ok(Exit::Interrupted);
        };
        return show(&metainfo, console, args);
    }
    let facts = MagnetFacts::new(&magnet);
    if args.json {
        return answer(console, &facts);
    }
    console.answer(&describe_magnet(&facts, console))?;
    for warning in &facts.warnings {
        console.warn(warning);
    }
    Ok(Exit::Done)
}

fn show(metainfo: &Metainfo, console: &Console, args: &ShowArgs) -> Result<Exit, Failure> {
    let facts = Facts::new(metainfo);
    if args.json {
        return answer(console, &facts);
    }
    console.answer(&describe(&facts, metainfo, console))?;
    for warning in &facts.warnings {
        console.warn(warning);
    }
    Ok(Exit::Done)
}

fn answer(console: &Console, facts: &impl Serialize) -> Result<Exit, Failure> {
    let text = json::pretty(facts)
        .map_err(|error| Failure::new(Exit::Internal, format!("cannot describe this as JSON: {error}")))?;
    console.answer(&text)?;
    Ok(Exit::Done)
}

fn describe(facts: &Facts, metainfo: &Metainfo, console: &Console) -> String {
    let mut out = format!("{}\n", console.strong(&harmless(&facts.name)));
    let mut row = |name: &str, value: &str| out.push_str(&format!("  {name:<14}{}\n", harmless(value)));
    row("size", &format!("{} ({} bytes)", units::size(facts.total_size), facts.total_size));
    row("files", &facts.file_count().to_string());
    let piece_length = units::size(facts.piece_length.into());
    row("pieces", &format!("{} of {piece_length}", facts.piece_count));
    row("version", facts.version());
    for (name, hash) in [("info hash v1", &facts.info_hash_v1), ("info hash v2", &facts.info_hash_v2)] {
        if let Some(hash) = hash {
            row(name, hash);
        }
    }
    if facts.private {
        row("private", "yes: peers come from the trackers only");
    }
    for (name, text) in
        [("source", &facts.source), ("comment", &facts.comment), ("created by", &facts.created_by)]
    {
        if let Some(text) = text {
            row(name, text);
        }
    }
    if let Some(date) = facts.creation_date {
        let date = jiff::Timestamp::from_second(date)
            .map_or_else(|_| format!("{date} seconds after 1970"), |at| at.to_string());
        row("created", &date);
    }
    for (tier, urls) in facts.trackers.iter().enumerate() {
        row(&format!("tracker {}", tier + 1), &urls.join("  "));
    }
    for url in &facts.web_seeds {
        row("web seed", url);
    }
    row("magnet", &facts.magnet);
    out.push_str(&files(facts));
    out.push_str(&local_names(metainfo));
    out
}

fn files(facts: &Facts) -> String {
    let mut out = String::from("\n");
    let width = facts.file_count().to_string().len().max(3);
    for file in &facts.files {
        let Some(number) = file.number else { continue };
        let attr = if file.attr.is_empty() { String::new() } else { format!("  [{}]", file.attr) };
        let size = units::size(file.size);
        out.push_str(&format!("{number:>width$}  {size:>9}  {}{attr}\n", harmless(&file.path)));
    }
    out
}

/// Names that cannot be what they are in the torrent are told before a download surprises somebody.
fn local_names(metainfo: &Metainfo) -> String {
    let paths = match LocalPaths::new(metainfo.info()) {
        Ok(paths) => paths,
        Err(error) => {
            return format!("\nThis torrent cannot be downloaded: {}\n", harmless(&error.to_string()));
        }
    };
    let mut out = String::new();
    for (index, original, local) in paths.changed() {
        if out.is_empty() {
            out.push_str("\nOn disk some names are different:\n");
        }
        let local = local.to_string_lossy();
        out.push_str(&format!("{:>3}  {} -> {}\n", index.0 + 1, harmless(original), harmless(&local)));
    }
    out
}

/// What a magnet link tells without anybody being asked; same keys as for a torrent.
#[derive(Debug, Serialize)]
struct MagnetFacts {
    name: Option<String>,
    info_hash_v1: Option<String>,
    info_hash_v2: Option<String>,
    total_size: Option<u64>,
    trackers: Vec<Vec<String>>,
    web_seeds: Vec<String>,
    magnet: String,
    /// What was left out of the link.
    warnings: Vec<String>,
}

impl MagnetFacts {
    fn new(magnet: &Magnet) -> Self {
        Self {
            name: magnet.display_name.clone(),
            info_hash_v1: magnet.info_hashes.v1.map(|hash| hash.to_string()),
            info_hash_v2: magnet.info_hashes.v2.map(|hash| hash.to_string()),
            total_size: magnet.length,
            trackers: magnet.trackers.iter().map(|url| vec![url.clone()]).collect(),
            web_seeds: magnet.web_seeds.clone(),
            magnet: magnet.to_string(),
            warnings: magnet.warnings.iter().map(source::left_out_text).collect(),
        }
    }
}

fn describe_magnet(facts: &MagnetFacts, console: &Console) -> String {
    let name = facts.name.as_deref().unwrap_or("(no name)");
    let mut out = format!("{}\n", console.strong(&harmless(name)));
    let mut row = |name: &str, value: &str| out.push_str(&format!("  {name:<14}{}\n", harmless(value)));
    for (name, hash) in [("info hash v1", &facts.info_hash_v1), ("info hash v2", &facts.info_hash_v2)] {
        if let Some(hash) = hash {
            row(name, hash);
        }
    }
    if let Some(size) = facts.total_size {
        row("size", &format!("{} (as the link claims)", units::size(size)));
    }
    for url in facts.trackers.iter().flatten() {
        row("tracker", url);
    }
    for url in &facts.web_seeds {
        row("web seed", url);
    }
    row("magnet", &facts.magnet);
    out
}
