//! What other clients call a torrent's files on disk, to find what they laid down. Nothing is stored under these names.
//!
//! libtorrent (qBittorrent, Deluge; seen with 2.1.1): `/`, `\`, NUL and bidirectional controls are dropped; an empty
//! component, `.`, `..`, other control characters and what is not UTF-8 become `_` (such a byte takes with it as many
//! bytes as it announces); a component ends after 240 bytes, but for an extension of at most 10; the later of two names that
//! differ by the case of ASCII letters is numbered; a torrent named `..` is called by its info hash. rTorrent and
//! Transmission keep the bytes.

use std::collections::HashSet;

use ferri_bencode::{Document, Value};

use crate::{FileIndex, Info};

/// Paths of the torrent's files in another client, as bytes, the torrent's own name included; padding is left out. Empty
/// for torrents of very many files and for those without a v1 side.
#[must_use]
pub fn foreign_paths(info: &Info) -> Vec<(FileIndex, Vec<u8>)> {
    if FOREIGN_FILES_MAX < info.files().len() {
        return Vec::new();
    }
    let Ok(document) = Document::parse_lenient(info.bytes()) else { return Vec::new() };
    let mut raw = raw_paths(info, document.root()).unwrap_or_default();
    let fallback = info.info_hashes().wire().to_string();
    let mut libtorrent = Libtorrent::default();
    let mut found = Vec::new();
    raw.retain(|(file, _)| info.file(*file).is_some_and(|file| !file.is_pad()));
    for (file, path) in libtorrent.paths(&raw, &fallback) {
        found.push((file, path.into_bytes()));
    }
    for (file, path) in &raw {
        let is_name = |part: &[u8]| {
            !matches!(part, b"" | b"." | b"..") && !part.iter().any(|byte| b"/\0".contains(byte))
        };
        if path.iter().all(|part| is_name(part)) && path.iter().any(|part| std::str::from_utf8(part).is_err())
        {
            found.push((*file, path.join(&b'/')));
        }
    }
    found
}

/// Components of every file as bytes, the torrent's name first.
type RawPaths<'a> = Vec<(FileIndex, Vec<&'a [u8]>)>;

/// The paths as the torrent has them. `None` without a v1 side.
fn raw_paths<'d>(info: &Info, root: Value<'d>) -> Option<RawPaths<'d>> {
    let root = root.as_dict()?;
    let utf8 =
        root.get(b"name.utf-8").and_then(Value::as_bytes).filter(|name| std::str::from_utf8(name).is_ok());
    let name = utf8.or_else(|| root.get(b"name")?.as_bytes()).unwrap_or_default();
    if !info.is_multi_file() {
        return Some(vec![(FileIndex(0), vec![name])]);
    }
    let path = |(number, file): (u32, Value<'d>)| {
        let file = file.as_dict()?;
        let path = file.get(b"path.utf-8").or_else(|| file.get(b"path"))?.as_list()?;
        let parts = std::iter::once(Some(name)).chain(path.iter().map(Value::as_bytes));
        Some((FileIndex(number), parts.collect::<Option<Vec<_>>>()?))
    };
    Some((0..).zip(root.get(b"files")?.as_list()?.iter()).filter_map(path).collect())
}

/// The names that libtorrent gives.
#[derive(Debug, Default)]
struct Libtorrent {
    /// Paths that are taken, in small letters.
    taken: HashSet<Vec<u8>>,
}

impl Libtorrent {
    fn paths(&mut self, raw: &RawPaths<'_>, fallback: &str) -> Vec<(FileIndex, String)> {
        let mut found = Vec::with_capacity(raw.len());
        for (file, parts) in raw {
            let mut path = String::new();
            for (depth, part) in parts.iter().enumerate() {
                if depth != 0 {
                    self.taken.insert(path.to_ascii_lowercase().into_bytes());
                    path.push('/');
                }
                if depth == 0 && *part == b".." {
                    path.push_str(fallback);
                } else {
                    path.push_str(&component(part));
                }
            }
            found.push((*file, path));
        }
        for (_, path) in &mut found {
            let mut numbered = path.clone();
            let mut number = 0;
            while !self.taken.insert(numbered.to_ascii_lowercase().into_bytes()) {
                number += 1;
                let dot =
                    path.rfind(['.', '/']).filter(|at| path[*at..].starts_with('.')).unwrap_or(path.len());
                numbered = format!("{}.{number}{}", &path[..dot], &path[dot..]);
            }
            *path = numbered;
        }
        found
    }
}

/// One component, as libtorrent sanitizes it.
fn component(raw: &[u8]) -> String {
    if matches!(raw, b"" | b"." | b"..") {
        return "_".to_owned();
    }
    let mut out = String::with_capacity(raw.len());
    let mut has_extension = false;
    let mut at = 0;
    while at < raw.len() {
        let length = sequence_length(raw[at]).min(raw.len() - at);
        let c = std::str::from_utf8(&raw[at..at + length]).ok().and_then(|text| text.chars().next());
        at += length;
        match c {
            Some('/' | '\\' | '\0' | '\u{202a}'..='\u{202e}' | '\u{200e}' | '\u{200f}') => continue,
            Some(c) if ' ' <= c => out.push(c),
            _ => out.push('_'),
        }
        if NAME_BYTES <= out.len() && !has_extension {
            let from = at.max(raw.len().saturating_sub(EXTENSION_BYTES));
            let Some(dot) = raw[from..].iter().rposition(|byte| *byte == b'.') else { break };
            has_extension = true;
            at = from + dot;
        }
    }
    out
}

/// Bytes that a lead byte announces.
fn sequence_length(lead: u8) -> usize {
    match lead {
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf8 => 4,
        _ => 1,
    }
}

/// After so many bytes libtorrent cuts a name.
const NAME_BYTES: usize = 240;

/// It looks for an extension in so many last bytes.
const EXTENSION_BYTES: usize = 9;

/// Torrents with more files are not looked for under other clients' names: each name would be asked for on its own,
/// and a start waits for it.
const FOREIGN_FILES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// What libtorrent 2.1.1 answered.
    #[test]
    fn components_are_what_libtorrent_makes_of_them() {
        for (raw, expected) in [
            (&b"a/b"[..], "ab"),
            (b"a\\b", "ab"),
            (b"", "_"),
            (b".", "_"),
            (b"..", "_"),
            (b"...", "..."),
            (b"\xe9t\xe9", "_"),
            (b"\xe9.iso", "_so"),
            (b"n\0ul", "nul"),
            (b"c\x01d", "c_d"),
            (b"q\xe2\x80\xaer", "qr"),
            (b"a:b?", "a:b?"),
        ] {
            assert_eq!(component(raw), expected, "{}", raw.escape_ascii());
        }
        let long = |stem: &str, count: usize, tail: &str| component((stem.repeat(count) + tail).as_bytes());
        assert_eq!(long("y", 300, ".flac"), "y".repeat(240) + ".flac");
        assert_eq!(long("é", 200, ".txt"), "é".repeat(120) + ".txt");
        assert_eq!(long("d", 239, ".jpeg"), "d".repeat(239) + ".");
        assert_eq!(long("e", 241, ".verylongext1"), "e".repeat(240));
    }

    #[test]
    fn paths_are_numbered_as_libtorrent_does() {
        let check = |paths: &[&str], expected: &[&str]| {
            let raw: RawPaths<'_> = (0..)
                .map(FileIndex)
                .zip(paths)
                .map(|(file, path)| {
                    (file, std::iter::once(&b"T"[..]).chain(path.split('/').map(str::as_bytes)).collect())
                })
                .collect();
            let found: Vec<_> =
                Libtorrent::default().paths(&raw, "hash").into_iter().map(|(_, path)| path).collect();
            let expected: Vec<_> = expected.iter().map(|path| format!("T/{path}")).collect();
            assert_eq!(found, expected);
        };
        check(&["X", "x", "X.txt", "x.TXT", "x.txt"], &["X", "x.1", "X.txt", "x.1.TXT", "x.2.txt"]);
        check(&["a", "a/b", "D/x", "d/x", "d/X"], &["a.1", "a/b", "D/x", "d/x.1", "d/X.2"]);
        check(&["d.tar.gz", "D.tar.gz", ".hid", ".HID"], &["d.tar.gz", "D.tar.1.gz", ".hid", ".1.HID"]);
    }
}
