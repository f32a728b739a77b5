//! Sources: those that are typed, and those of a list (`-i`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use ferri_metainfo::magnet::Magnet;

use crate::console::Console;
use crate::env::{Env, Interrupts};
use crate::exit::Failure;
use crate::{loading, source};

/// A list of a hundred thousand magnet links.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// What is typed, then what the list names. `None`: Ctrl-C.
pub(super) async fn all(
    typed: &[OsString],
    list: Option<&Path>,
    env: &mut Env,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Option<Vec<OsString>>, Failure> {
    let mut sources = typed.to_vec();
    if let Some(list) = list {
        let Some(more) = loading::load(env, list.as_os_str(), read, console, interrupts).await? else {
            return Ok(None);
        };
        if more.is_empty() && sources.is_empty() {
            return Err(Failure::usage(format!("{} names no source", list.display()))
                .hint("write one a line: a .torrent file, an address, a magnet link or an info hash"));
        }
        if list.as_os_str() == "-" && more.iter().chain(typed).any(|source| source == "-") {
            return Err(Failure::usage("the list and a source both want standard input")
                .hint("give one of them by the name of a file"));
        }
        sources.extend(more);
    }
    source::refuse_doubled_stdin(&sources)?;
    Ok(Some(sources))
}

fn read(env: &mut Env, list: &OsStr) -> Result<Vec<OsString>, Failure> {
    let mut bytes = Vec::new();
    let read = if list == "-" {
        (&mut env.stdin.0).take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        File::open(env.path(Path::new(list)))
            .and_then(|file| file.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error: io::Error| match list.as_bytes() {
        b"-" => Failure::stdin(&error),
        _ => Failure::file("read", Path::new(list), &error),
    })?;
    if LIST_BYTES_MAX < bytes.len() as u64 {
        let message = format!("{}: larger than any list (64 MiB)", list.to_string_lossy());
        return Err(Failure::usage(message).hint("give it in parts"));
    }
    parse(&bytes).map_err(|why| {
        Failure::usage(format!("{}: {why}", list.to_string_lossy()))
            .hint("write one source a line: a .torrent file, an address, a magnet link or an info hash")
    })
}

/// One source a line; empty lines and those that begin with `#` say nothing.
fn parse(list: &[u8]) -> Result<Vec<OsString>, String> {
    let list = list.strip_prefix(b"\xef\xbb\xbf").unwrap_or(list);
    let mut sources = Vec::new();
    for (line, number) in list.split(|byte| *byte == b'\n').zip(1..) {
        let source = line.trim_ascii();
        if source.is_empty() || source.starts_with(b"#") {
            continue;
        }
        // aria2 has the options of a source there.
        let is_option = line.starts_with(b" ") || line.starts_with(b"\t");
        if is_option && source.contains(&b'=') && Magnet::parse(&String::from_utf8_lossy(source)).is_err() {
            let text = String::from_utf8_lossy(source).into_owned();
            return Err(format!("line {number}: {text}: options of a single source are not known here"));
        }
        if source.contains(&0) {
            return Err(format!("line {number}: not text; is it a torrent itself?"));
        }
        sources.push(OsString::from_vec(source.to_vec()));
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_list_has_one_source_a_line_and_says_what_it_cannot_have() {
        let list = b"\xef\xbb\xbfa.torrent\r\n\n# a note\n magnet:?xt=urn:btih:c58645e2e922428dceb1f98f51ffa424810570f0\nb c.torrent";
        let sources = parse(list).unwrap();
        assert_eq!(sources.len(), 3);
        assert_eq!((sources[0].to_str(), sources[2].to_str()), (Some("a.torrent"), Some("b c.torrent")));
        assert!(parse(b"a.torrent\n  dir=/tmp\n").unwrap_err().starts_with("line 2: dir=/tmp: options"));
        assert!(parse(b"d8:announce\0").unwrap_err().starts_with("line 1: not text"));
    }
}
