//! Where the torrents go: each has a file of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ferri_metainfo::display::redact_url;

use super::Target;
use crate::args::CreateArgs;
use crate::env::Env;
use crate::exit::Failure;
use crate::out::{Out, torrent_name};
use crate::units;

/// The file for the torrent of something that is called so.
pub(super) fn of(env: &Env, args: &CreateArgs, name: &str) -> PathBuf {
    let default = torrent_name(OsStr::new(name));
    match &args.output {
        None => default,
        Some(typed) if is_folder(env, typed) => typed.join(default),
        Some(typed) => typed.clone(),
    }
}

fn is_folder(env: &Env, typed: &Path) -> bool {
    typed.as_os_str().as_bytes().ends_with(b"/") || env.path(typed).is_dir()
}

/// What can be true of one torrent only.
pub(super) fn refuse_for_several(env: &Env, args: &CreateArgs) -> Result<(), Failure> {
    if args.paths.len() < 2 {
        return Ok(());
    }
    let sources = units::count(args.paths.len() as u64, "source", "sources");
    if let Some(typed) = args.output.as_ref().filter(|typed| !is_folder(env, typed)) {
        let message = format!("-o {} is one file for {sources}", typed.display());
        return Err(Failure::usage(message).hint("name a folder that is there, as in -o FOLDER/"));
    }
    if args.about.name.is_some() {
        return Err(Failure::usage(format!("--name is one name for {sources}"))
            .hint("leave it away, or make the torrents one by one"));
    }
    if let Some(url) = args.about.web_seed.iter().find(|url| !url.ends_with('/')) {
        return Err(Failure::usage(format!("--web-seed {} is one file for {sources}", redact_url(url)))
            .hint("end it with a slash: the names of the payloads are put behind it"));
    }
    Ok(())
}

/// Two payloads of one name have one file for their torrents.
pub(super) fn refuse_doubled(targets: &[Result<Target, Failure>]) -> Result<(), Failure> {
    let mut writers: BTreeMap<&Path, &Path> = BTreeMap::new();
    for target in targets.iter().flatten() {
        let Out::File { path, typed, .. } = &target.out else { continue };
        if let Some(first) = writers.insert(path, &target.typed) {
            let (first, second) = (first.display(), target.typed.display());
            let message = format!("the torrents of {first} and {second} are both {}", typed.display());
            return Err(Failure::usage(message).hint("make them one by one, with -o"));
        }
    }
    Ok(())
}
