//! SOURCE: a .torrent file, the address of one, `-` for standard input, a magnet link or an info hash; what is read may
//! hold a link too.

mod content;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use ferri_engine::Fetched;
use ferri_metainfo::Metainfo;
use ferri_metainfo::limits::TORRENT_BYTES_MAX;
use ferri_metainfo::magnet::{Magnet, MagnetError};
use percent_encoding::percent_decode_str;

use crate::args::verb::command_meant;
use crate::console::Console;
use crate::ends;
use crate::env::Env;
use crate::events::JsonEvent;
use crate::exit::{Exit, Failure};
use crate::session;

/// What a source turned out to be.
#[derive(Debug)]
pub(crate) enum Source {
    Torrent(Box<Metainfo>),
    Magnet(Box<Magnet>),
}

impl Source {
    /// What was odd about it and could be understood, or was left out.
    pub(crate) fn warnings(&self) -> Vec<String> {
        match self {
            Self::Torrent(metainfo) => metainfo.warnings().iter().map(ToString::to_string).collect(),
            Self::Magnet(magnet) => magnet.warnings.iter().map(left_out_text).collect(),
        }
    }

    /// Tells the warnings. `source` is as typed.
    pub(crate) fn warn(&self, source: &OsStr, console: &Console) {
        let source = ends::short_name(source);
        let name = match self {
            Self::Torrent(_) => &source,
            // The link itself may be long and is named by its parameters.
            Self::Magnet(_) => "magnet link",
        };
        for message in self.warnings() {
            console.event(&JsonEvent::Warning { source: &source, message: &message });
            console.warn(&format!("{name}: {message}"));
        }
    }
}

/// Why a part of a link was left out.
pub(crate) fn left_out_text(why: &MagnetError) -> String {
    format!("left out {why}")
}

/// Reads and parses `source`, or fetches it from `bind`. A magnet link is parsed only.
pub(crate) async fn load(env: &mut Env, source: &OsStr, bind: Option<IpAddr>) -> Result<Source, Failure> {
    let text = source.to_str().unwrap_or_default();
    if Magnet::is_meant(text) {
        return content::magnet(text);
    }
    if ["http://", "https://"].iter().any(|scheme| starts_with_ignoring_case(text, scheme)) {
        let loaded = match session::fetch(text, bind).await? {
            Fetched::Torrent(bytes) => content::read(bytes, &ends::short_name(source)),
            Fetched::Magnet(link) => content::magnet(&link),
        };
        return loaded.map_err(|failure| failure.without_secrets(text));
    }
    if source == "-" {
        let bytes = read_capped(&mut env.stdin.0).map_err(|error| Failure::stdin(&error))?;
        return content::read(bytes, "standard input");
    }
    let mut path = env.path(Path::new(source));
    if !path.exists() {
        if let Ok(magnet) = Magnet::parse_info_hash(text) {
            return Ok(Source::Magnet(Box::new(magnet)));
        }
        if let Some(address) = file_address(text) {
            path = env.path(&address?);
        }
    }
    let bytes = File::open(&path)
        .and_then(|file| read_capped(&mut { file }))
        .map_err(|error| cannot_read(source, &path, &error))?;
    content::read(bytes, &source.to_string_lossy())
}

/// The path in a `file:` address (RFC 8089), as desktops hand it over. `None` when it is none.
fn file_address(text: &str) -> Option<Result<PathBuf, Failure>> {
    if !starts_with_ignoring_case(text, "file:") {
        return None;
    }
    let rest = &text["file:".len()..];
    let encoded = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                let message = format!("{text}: the file is on another host, {host}");
                return Some(Err(Failure::new(Exit::NotFound, message).hint("give its path here")));
            }
            path
        }
    };
    let decoded: Vec<u8> = percent_decode_str(encoded).collect();
    let path = PathBuf::from(OsString::from_vec(decoded));
    // Some programs put `file://` before a path and encode nothing.
    let is_plain = !path.exists() && Path::new(encoded).exists();
    Some(Ok(if is_plain { PathBuf::from(encoded) } else { path }))
}

/// As [`load`], for what needs the torrent itself. That of a magnet link is there if an earlier run has kept it in
/// `state_dir`.
pub(crate) async fn load_torrent(
    env: &mut Env,
    source: &OsStr,
    bind: Option<IpAddr>,
    state_dir: Option<&Path>,
) -> Result<Metainfo, Failure> {
    let magnet = match load(env, source, bind).await? {
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
pub(crate) async fn load_magnet(
    env: &mut Env,
    source: &OsStr,
    bind: Option<IpAddr>,
    console: &Console,
) -> Result<Magnet, Failure> {
    let loaded = load(env, source, bind).await?;
    loaded.warn(source, console);
    match loaded {
        Source::Magnet(magnet) => Ok(*magnet),
        Source::Torrent(_) => {
            Err(Failure::usage(format!("{} is a torrent already", ends::short_name(source)))
                .hint("this command takes a magnet link or an info hash"))
        }
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
            failure.hint(format!("did you mean the command `{command}`? It goes before all flags"))
        }
        _ => failure,
    }
}

/// `shwo a.torrent` is a command mistyped: nothing is to be downloaded by accident.
pub(crate) fn refuse_mistyped_command(env: &Env, sources: &[OsString]) -> Result<(), Failure> {
    let Some((first, [_, ..])) = sources.split_first() else { return Ok(()) };
    let path = env.path(Path::new(first));
    if path.exists() || command_meant(&first.to_string_lossy()).is_none() {
        return Ok(());
    }
    Err(cannot_read(first, &path, &io::ErrorKind::NotFound.into()))
}

/// `SOURCE... [PATH]`: the last word is where the payload is, if it is a folder, or if the one before it is all there is
/// and it does not look like a torrent.
pub(crate) fn split(words: &[OsString], env: &Env) -> Result<(Vec<OsString>, PathBuf), Failure> {
    let (sources, path) = match words.split_last() {
        Some((last, sources)) if !sources.is_empty() && is_path(last, sources.len(), env) => {
            (sources, PathBuf::from(last))
        }
        _ => (words, PathBuf::from(".")),
    };
    refuse_doubled_stdin(sources)?;
    Ok((sources.to_vec(), path))
}

fn is_path(word: &OsStr, sources: usize, env: &Env) -> bool {
    let text = word.to_string_lossy();
    let is_file = text.to_ascii_lowercase().ends_with(".torrent");
    let is_link = text.contains(':')
        && text.split(':').next().is_some_and(|scheme| {
            ["magnet", "http", "https", "file"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        });
    let path = env.path(Path::new(word));
    let is_source =
        word == "-" || is_file || is_link || !path.exists() && Magnet::parse_info_hash(&text).is_ok();
    path.is_dir() || sources == 1 && !is_source
}

/// Two readers of one stream would get half of it each.
pub(crate) fn refuse_doubled_stdin(sources: &[OsString]) -> Result<(), Failure> {
    if 1 < sources.iter().filter(|source| *source == "-").count() {
        return Err(Failure::usage("standard input can be read as one source only")
            .hint("give the others by the names of their files"));
    }
    Ok(())
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::testing::env;

    #[test]
    fn the_last_word_is_a_place_when_it_cannot_be_a_torrent() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("music")).unwrap();
        let (mut env, _) = env(&[]);
        env.dir = folder.path().to_owned();
        let check = |words: &[&str], sources: usize, path: &str| {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            let (split, place) = split(&words, &env).unwrap();
            assert_eq!((split.len(), place.to_str()), (sources, Some(path)), "{words:?}");
        };
        check(&["a.torrent"], 1, ".");
        check(&["a.torrent", "music"], 1, "music");
        check(&["a.torrent", "payload.bin"], 1, "payload.bin");
        check(&["a.torrent", "b.torrent"], 2, ".");
        check(&["a.torrent", "b.torrent", "music"], 2, "music");
        check(&["a.torrent", "https://example.org/b"], 2, ".");
        check(&["music"], 1, ".");
    }

    #[test]
    fn two_sources_cannot_be_standard_input() {
        let (env, _) = env(&[]);
        let failure = split(&["-".into(), "-".into()], &env).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }
}
