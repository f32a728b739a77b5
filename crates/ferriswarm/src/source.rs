//! SOURCE: a .torrent file, the http(s) address of one, `-` for standard input, or a magnet link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::CommandFactory;
use ferri_metainfo::limits::TORRENT_BYTES_MAX;
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::{Metainfo, MetainfoError};

use crate::args::Cli;
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::session;

/// What a source turned out to be.
#[derive(Debug)]
pub(crate) enum Source {
    Torrent(Box<Metainfo>),
    Magnet(Box<Magnet>),
}

/// Reads and parses `source`. A magnet link is parsed only.
pub(crate) async fn load(env: &mut Env, source: &OsStr) -> Result<Source, Failure> {
    let text = source.to_str().unwrap_or_default();
    if starts_with_ignoring_case(text, "magnet:") {
        let magnet = Magnet::parse(text).map_err(|error| {
            Failure::new(Exit::BadMagnet, format!("not a usable magnet link: {error}"))
                .hint("a shell needs quotes around it, or it is cut at the first &")
        })?;
        return Ok(Source::Magnet(Box::new(magnet)));
    }
    let is_address = ["http://", "https://"].iter().any(|scheme| starts_with_ignoring_case(text, scheme));
    let (bytes, name) = if is_address {
        (session::fetch(text).await?, text.to_owned())
    } else if source == "-" {
        let bytes = read_capped(&mut env.stdin.0)
            .map_err(|error| Failure::new(Exit::Io, format!("cannot read standard input: {error}")))?;
        (bytes, "standard input".to_owned())
    } else {
        let path = env.path(Path::new(source));
        if let (Ok(magnet), false) = (Magnet::parse_info_hash(text), path.exists()) {
            return Ok(Source::Magnet(Box::new(magnet)));
        }
        let bytes = File::open(&path)
            .and_then(|file| read_capped(&mut { file }))
            .map_err(|error| cannot_read(source, &path, &error))?;
        (bytes, source.to_string_lossy().into_owned())
    };
    Ok(Source::Torrent(Box::new(parse(&bytes, &name)?)))
}

/// As [`load`], for what needs the torrent itself. That of a magnet link is there if an earlier run has kept it in
/// `state_dir`.
pub(crate) async fn load_torrent(
    env: &mut Env,
    source: &OsStr,
    state_dir: Option<&Path>,
) -> Result<Metainfo, Failure> {
    let magnet = match load(env, source).await? {
        Source::Torrent(metainfo) => return Ok(*metainfo),
        Source::Magnet(magnet) => magnet,
    };
    state_dir.and_then(|state_dir| ferri_engine::known_torrent(state_dir, &magnet)).ok_or_else(|| {
        let hash = magnet.info_hashes.wire();
        Failure::new(
            Exit::BadMagnet,
            format!("the magnet link is good ({hash}), but this needs the torrent itself"),
        )
        .hint("`ferriswarm torrent MAGNET` fetches it from peers")
    })
}

/// As [`load`], for what needs a magnet link.
pub(crate) async fn load_magnet(env: &mut Env, source: &OsStr) -> Result<Magnet, Failure> {
    match load(env, source).await? {
        Source::Magnet(magnet) => Ok(*magnet),
        Source::Torrent(_) => {
            Err(Failure::usage(format!("{} is a torrent already", source.to_string_lossy()))
                .hint("this command takes a magnet link or an info hash"))
        }
    }
}

fn parse(bytes: &[u8], name: &str) -> Result<Metainfo, Failure> {
    if TORRENT_BYTES_MAX < bytes.len() {
        return Err(Failure::new(Exit::BadTorrent, format!("{name}: larger than any torrent (64 MiB)")));
    }
    Metainfo::parse(bytes).map_err(|error| unusable(bytes, name, &error))
}

fn unusable(bytes: &[u8], name: &str, error: &MetainfoError) -> Failure {
    let failure = Failure::new(Exit::BadTorrent, format!("{name}: not a usable torrent: {error}"));
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"<") {
        failure.hint("it looks like a web page; the address may need a login or be wrong")
    } else if start.starts_with(b"magnet:") {
        failure.hint("it holds a magnet link; give the link itself")
    } else {
        failure
    }
}

/// One byte more than is allowed is enough to tell that it is too much.
fn read_capped(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(TORRENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn cannot_read(source: &OsStr, path: &Path, error: &io::Error) -> Failure {
    let shown = source.to_string_lossy();
    if path.is_dir() {
        return Failure::new(Exit::BadTorrent, format!("{shown} is a folder, not a torrent"))
            .hint(format!("`ferriswarm create {shown} -o OUT.torrent` makes a torrent of it"));
    }
    let failure = Failure::file("read", Path::new(source), error);
    match command_meant(&shown) {
        Some(command) if error.kind() == io::ErrorKind::NotFound => {
            failure.hint(format!("did you mean the command `{command}`?"))
        }
        _ => failure,
    }
}

/// `shwo` is a file that is not there, and a command mistyped.
fn command_meant(word: &str) -> Option<String> {
    let command = Cli::command();
    let names = command.get_subcommands().map(clap::Command::get_name);
    let mut sorted: Vec<char> = word.chars().collect();
    sorted.sort_unstable();
    let is_near = |name: &&str| {
        let mut letters: Vec<char> = name.chars().collect();
        letters.sort_unstable();
        letters == sorted || 2 < word.len() && name.starts_with(word)
    };
    names.filter(is_near).map(str::to_owned).next()
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_is_recognised() {
        assert_eq!(command_meant("shwo").as_deref(), Some("show"));
        assert_eq!(command_meant("veri").as_deref(), Some("verify"));
        assert_eq!(command_meant("debian.iso.torrent"), None);
    }
}
