//! `show`: what a torrent is. Reads the torrent only; asks peers for what a magnet link stands for, if that is wanted.

mod scrape;

use std::fmt::Write as _;

use ferri_metainfo::Metainfo;
use ferri_metainfo::display::{redact_url, sanitize};
use ferri_metainfo::magnet::Magnet;
use serde::Serialize;

use crate::args::ShowArgs;
use crate::commands::stopped;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::{Facts, without_addresses};
use crate::source::{self, Source};
use crate::text::harmless;
use crate::{json, loading, network, seek, units};
use scrape::Scrape;

pub(crate) async fn run(
    env: &mut Env,
    console: &Console,
    args: &ShowArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let loaded =
        loading::load(env, &args.source, loading::any(args.network.bind), &console.aside(), &interrupts)
            .await?;
    let magnet = match loaded.ok_or_else(loading::interrupted)? {
        Source::Torrent(metainfo) => return show(&metainfo, console, args, &interrupts).await,
        Source::Magnet(magnet) => magnet,
    };
    let state_dir = network::state_dir(env, &args.network).ok();
    if let Some(known) = state_dir.and_then(|state_dir| ferri_engine::known_torrent(&state_dir, &magnet)) {
        return show(&known, console, args, &interrupts).await;
    }
    if args.fetch {
        let wait = console.aside();
        let Some(metainfo) =
            seek::fetch(env, &wait, *magnet, &args.network, args.patience, &interrupts).await?
        else {
            stopped(env, &wait, "peers have not told what the link stands for");
            return Ok(Exit::Interrupted);
        };
        return show(&metainfo, console, args, &interrupts).await;
    }
    let facts = MagnetFacts::new(&magnet);
    let scrape = Scrape::of(args, magnet.info_hashes.wire(), &facts.trackers);
    if args.json {
        return answer(console, &facts, scrape, &interrupts).await;
    }
    console.answer(&describe_magnet(&facts, console))?;
    for warning in &facts.warnings {
        console.warn(warning);
    }
    tell_scrape(scrape, console, &interrupts).await
}

async fn show(
    metainfo: &Metainfo,
    console: &Console,
    args: &ShowArgs,
    interrupts: &Interrupts,
) -> Result<Exit, Failure> {
    let facts = Facts::new(metainfo);
    let scrape = Scrape::of(args, metainfo.info().info_hashes().wire(), &facts.trackers);
    if args.json {
        return answer(console, &facts, scrape, interrupts).await;
    }
    console.answer(&describe(&facts, console))?;
    list_files(&facts, console)?;
    list_names(&facts, console)?;
    for warning in &facts.warnings {
        console.warn(warning);
    }
    tell_scrape(scrape, console, interrupts).await
}

async fn tell_scrape(
    scrape: Option<Scrape>,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Exit, Failure> {
    let Some(scrape) = scrape else { return Ok(Exit::Done) };
    let answers = scrape.ask(console, interrupts).await?;
    console.answer(&scrape::describe(&answers))?;
    Ok(scrape::exit(&answers))
}

/// The answer of `show --json --scrape`.
#[derive(Serialize)]
struct WithScrape<'a, F> {
    #[serde(flatten)]
    facts: &'a F,
    scrape: Vec<scrape::TrackerNumbers>,
}

async fn answer(
    console: &Console,
    facts: &impl Serialize,
    scrape: Option<Scrape>,
    interrupts: &Interrupts,
) -> Result<Exit, Failure> {
    let Some(scrape) = scrape else {
        print_json(console, facts)?;
        return Ok(Exit::Done);
    };
    let answers = scrape.ask(console, interrupts).await?;
    let exit = scrape::exit(&answers);
    print_json(console, &WithScrape { facts, scrape: answers })?;
    Ok(exit)
}

fn print_json(console: &Console, facts: &impl Serialize) -> Result<(), Failure> {
    console.answer_in_portions(|write| json::pretty(facts, write))
}

fn describe(facts: &Facts, console: &Console) -> String {
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
    let redacted = facts.redacted();
    for (tier, urls) in redacted.trackers.iter().enumerate() {
        row(&format!("tracker {}", tier + 1), &urls.join("  "));
    }
    for url in &redacted.web_seeds {
        row("web seed", url);
    }
    row("magnet", &redacted.magnet);
    if let Some(note) = &facts.note {
        row("note", note);
    }
    out.push('\n');
    out
}

/// A torrent may have a million files, so lines go out in portions.
fn list_files(facts: &Facts, console: &Console) -> Result<(), Failure> {
    let mut out = String::new();
    let width = facts.file_count().to_string().len().max(3);
    let mut path = String::new();
    for (number, file) in facts.files.numbered() {
        path.clear();
        file.write_path(&mut path);
        let size = units::size(file.length);
        // Writing to a string cannot fail.
        let _ = write!(out, "{number:>width$}  {size:>9}  {}", sanitize(&path));
        if !file.attributes.is_empty() {
            let _ = write!(out, "  [{}]", file.attributes);
        }
        out.push('\n');
        if PORTION < out.len() {
            console.answer(&out)?;
            out.clear();
        }
    }
    console.answer(&out)
}

/// Names that cannot be what they are in the torrent are told before a download surprises the user.
fn list_names(facts: &Facts, console: &Console) -> Result<(), Failure> {
    let paths = match facts.files.names() {
        Ok(paths) => paths,
        Err(error) => {
            let text = format!("\nThis torrent cannot be downloaded: {}\n", harmless(&error.to_string()));
            return console.answer(&text);
        }
    };
    let mut out = String::new();
    for (at, (index, original, local)) in paths.changed().enumerate() {
        if at == 0 {
            out.push_str("\nOn disk some names are different:\n");
        }
        let local = local.to_string_lossy();
        let number = facts.files.number(index).unwrap_or(index.as_usize() + 1);
        out.push_str(&format!("{number:>3}  {} -> {}\n", harmless(original), harmless(&local)));
        if PORTION < out.len() {
            console.answer(&std::mem::take(&mut out))?;
        }
    }
    console.answer(&out)
}

/// Bytes of text that are printed at once.
const PORTION: usize = 64 << 10;

/// What a magnet link tells without asking any peer; same keys as for a torrent.
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
        row("tracker", &redact_url(url));
    }
    for url in &facts.web_seeds {
        row("web seed", &redact_url(url));
    }
    row("magnet", &without_addresses(&facts.magnet));
    out
}
