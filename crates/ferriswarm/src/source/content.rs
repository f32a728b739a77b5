//! What the bytes of a source are: a torrent, a link, either of them compressed, or something that came in their place.

use std::io::{self, Read};

use ferri_metainfo::limits::TORRENT_BYTES_MAX;
use ferri_metainfo::magnet::{MAGNET_BYTES_MAX, Magnet};
use ferri_metainfo::{Metainfo, MetainfoError, MetainfoErrorKind};
use flate2::read::MultiGzDecoder;

use super::Source;
use crate::exit::{Exit, Failure};

/// A text that is a magnet link, good or not.
pub(super) fn magnet(text: &str) -> Result<Source, Failure> {
    let magnet = Magnet::parse(text).map_err(|error| {
        Failure::new(Exit::BadMagnet, format!("not a usable magnet link: {error}"))
            .hint("a shell needs quotes around it, or it is cut at the first &")
    })?;
    Ok(Source::Magnet(Box::new(magnet)))
}

/// What `name` holds.
pub(super) fn read(bytes: Vec<u8>, name: &str) -> Result<Source, Failure> {
    let too_large = || {
        Failure::new(Exit::BadTorrent, format!("{name}: larger than any torrent (64 MiB)"))
            .hint("give the .torrent file, not what it describes: `ferriswarm create` makes one")
    };
    let bytes = match bytes.starts_with(GZIP) {
        true => gunzip(&bytes).map_err(|error| {
            Failure::new(Exit::BadTorrent, format!("{name}: cannot be unpacked: {error}"))
                .hint("it may be damaged: fetch it again, or ask the one who made it")
        })?,
        false => bytes,
    };
    if TORRENT_BYTES_MAX < bytes.len() {
        return Err(too_large());
    }
    let error = match Metainfo::parse(&bytes) {
        Ok(metainfo) => return Ok(Source::Torrent(Box::new(metainfo))),
        Err(error) => error,
    };
    match link(&bytes) {
        Some(link) => {
            link.map_err(|error| Failure { message: format!("{name}: {}", error.message), ..error })
        }
        None => Err(unusable(&bytes, name, &error)),
    }
}

/// How gzip begins.
const GZIP: &[u8] = b"\x1f\x8b";

/// One byte more than is allowed is enough to tell that it is too much.
fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(TORRENT_BYTES_MAX as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// The link that a text holds: on a line of its own, as an Internet shortcut has it, or broken at its parameters.
fn link(bytes: &[u8]) -> Option<Result<Source, Failure>> {
    if LINK_FILE_BYTES_MAX < bytes.len() {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let is_hash = |line: &str| Magnet::parse_info_hash(line).is_ok();
    let mut links: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        let line = line.strip_prefix("URL=").unwrap_or(line);
        match links.last_mut() {
            Some(link) if line.starts_with('&') => link.push_str(line),
            _ if Magnet::is_meant(line) || is_hash(line) => links.push(line.to_owned()),
            _ => {}
        }
    }
    match &links[..] {
        [] => None,
        [link] => match Magnet::parse_info_hash(link) {
            Ok(magnet) => Some(Ok(Source::Magnet(Box::new(magnet)))),
            Err(_) => Some(magnet(link)),
        },
        links => Some(Err(Failure::new(Exit::BadMagnet, format!("holds {} magnet links", links.len()))
            .hint("give the one that is meant, or each as an argument of its own"))),
    }
}

/// A text with a link is not longer: the link, and a page of words around it.
const LINK_FILE_BYTES_MAX: usize = 2 * MAGNET_BYTES_MAX;

fn unusable(bytes: &[u8], name: &str, error: &MetainfoError) -> Failure {
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let bad = |message: String| Failure::new(Exit::BadTorrent, message);
    if start.starts_with(b"<") {
        let title = title(start).map_or_else(String::new, |title| format!(": \"{title}\""));
        return bad(format!("{name}: a web page came instead of a torrent{title}"))
            .hint("it looks like a web page; the address may need a login or be wrong");
    }
    if start.starts_with(b"{") {
        return bad(format!("{name}: not a torrent but JSON: {}", shown(start)))
            .hint("the address may need a login or be wrong");
    }
    if let MetainfoErrorKind::FailureReason(_) = error.kind {
        return bad(format!("{name}: {error}")).hint("the address may need a login, or be that of a tracker");
    }
    let failure = bad(format!("{name}: not a usable torrent: {error}"));
    let packed =
        [(&b"PK\x03\x04"[..], "zip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")];
    match packed.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some((_, format)) => failure.hint(format!("it is packed with {format}; unpack it first")),
        None => failure.hint("it may be damaged or something else: fetch it again, or ask its maker"),
    }
}

/// The title of a web page.
fn title(page: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(&page[..page.len().min(HEAD_BYTES)]);
    // The same length, so that places in one are places in the other.
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title").unwrap_or(lower.len() - start);
    let title = page[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
    Some(shown(title.as_bytes())).filter(|title| !title.is_empty())
}

/// A page tells its title in so many bytes.
const HEAD_BYTES: usize = 16 << 10;

/// The beginning of a text from outside.
fn shown(text: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN_BYTES_MAX)]).into_owned();
    if SHOWN_BYTES_MAX < text.len() { format!("{shown}...") } else { shown }
}

/// So much of what came instead is repeated.
const SHOWN_BYTES_MAX: usize = 160;
