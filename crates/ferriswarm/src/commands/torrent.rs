//! `torrent`: what a magnet link stands for, as a .torrent file.

use std::ffi::OsStr;
use std::path::PathBuf;

use ferri_metainfo::Metainfo;
use ferri_metainfo::names::LocalPaths;
use serde::Serialize;

use crate::args::TorrentArgs;
use crate::commands::stopped;
use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::{Exit, Failure};
use crate::facts::{Facts, Redacted, local_text};
use crate::out::{Existing, Out, torrent_name};
use crate::{loading, seek, source, text};

pub(crate) async fn run(
    env: &mut Env,
    console: &Console,
    args: &TorrentArgs,
    interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let aside = console.aside();
    let load = {
        // A warning is an event too.
        let (console, bind) = (console.clone(), args.network.bind);
        move |env: &mut Env, source: &OsStr| loading::alone(source::load_magnet(env, source, bind, &console))
    };
    let loaded = loading::load(env, &args.source, load, &aside, &interrupts).await?;
    let magnet = loaded.ok_or_else(loading::interrupted)?;
    let existing = Existing::with_force(args.force);
    // What was typed is looked at before any peer is asked.
    let typed = args.output.clone().map(|typed| Out::new(env, typed, existing)).transpose()?;
    let (console, wait) = match typed {
        Some(Out::Stdout) if console.is_json() => {
            return Err(Failure::usage("--json and -o - both want standard output")
                .hint("write the torrent to a file with -o, or leave --json away"));
        }
        Some(Out::Stdout) => (console.quiet(), console.aside()),
        _ => (console.clone(), console.clone()),
    };
    let Some(metainfo) = seek::fetch(env, &wait, magnet, &args.network, args.patience, &interrupts).await?
    else {
        stopped(env, &wait, "peers have not told what the link stands for");
        return Ok(Exit::Interrupted);
    };
    let out = match typed {
        Some(out) => out,
        None => Out::new(env, default_name(&metainfo)?, existing)?,
    };
    let bytes = metainfo.encode().map_err(|error| {
        Failure::new(Exit::BadTorrent, error.to_string())
            .hint("peers give them with the payload, and transfer of version 2 is not there yet")
    })?;
    let info = metainfo.info();
    if info.version().has_v2() && info.files().iter().any(|file| u64::from(info.piece_length()) < file.length)
    {
        wait.warn("the file lacks the version 2 hashes of pieces, which peers do not give with the description: some programs refuse it");
    }
    out.write(&bytes, &console)?;
    if let Out::File { path, typed, .. } = &out {
        let facts = Facts::new(&metainfo);
        console.event(&Saved { event: "saved", output: local_text(path), facts: facts.redacted() });
        console.line(&facts.headline(&console));
        console.line(&format!("  written to {}", text::harmless(&typed.to_string_lossy())));
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Saved<'a> {
    event: &'static str,
    output: String,
    #[serde(flatten)]
    facts: Redacted<'a>,
}

/// The torrent's own name, as it would be on this disk.
fn default_name(metainfo: &Metainfo) -> Result<PathBuf, Failure> {
    let names = LocalPaths::new(metainfo.info())
        .map_err(|error| Failure::new(Exit::BadTorrent, error.to_string()).hint("name the file with -o"))?;
    Ok(torrent_name(names.top().as_os_str()))
}
