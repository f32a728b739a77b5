//! What can be wrong with a [`Builder`] before anything is read.

use std::collections::BTreeSet;

use super::{Builder, Content, CreateError, FILES_MAX, NewFile, PATH_COMPONENT_BYTES_MAX};
use crate::display::{redact_addresses, sanitize};
use crate::limits::{DEPTH_MAX, PIECE_LENGTH_MAX_MADE, PIECE_LENGTH_MIN, URL_BYTES_MAX};

pub(super) fn builder(builder: &Builder) -> Result<(), CreateError> {
    component(&builder.name, &builder.name)?;
    if let Content::Folder(files) = &builder.content {
        folder(files)?;
    }
    if let Some(length) = builder.piece_length {
        if !(PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX_MADE).contains(&length) {
            return Err(CreateError::PieceLength(length));
        }
        if builder.version.has_v2() && !length.is_power_of_two() {
            return Err(CreateError::NotPowerOfTwo(length));
        }
    }
    for tracker in builder.trackers.iter().flatten() {
        url("tracker", tracker, &["http", "https", "udp", "ws", "wss"])?;
    }
    for seed in &builder.web_seeds {
        url("web seed", seed, &["http", "https", "ftp"])?;
    }
    for (host, port) in &builder.nodes {
        if host.is_empty() || *port == 0 || host.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(CreateError::Url { what: "node", url: sanitize(host).into_owned() });
        }
    }
    Ok(())
}

fn folder(files: &[NewFile]) -> Result<(), CreateError> {
    if FILES_MAX < files.len() {
        return Err(CreateError::TooManyFiles(files.len()));
    }
    let mut paths = BTreeSet::new();
    for file in files {
        path(&file.path)?;
        if let Some(target) = &file.symlink_target {
            path(target)?;
            if file.length != 0 {
                return Err(name(&file.path.join("/"), "a symbolic link has no bytes of its own"));
            }
        }
        if !paths.insert(file.path.as_slice()) {
            return Err(name(&file.path.join("/"), "it is there twice"));
        }
    }
    // Below `a` come exactly the paths that follow it directly in this order and begin with it.
    for (before, after) in paths.iter().zip(paths.iter().skip(1)) {
        if after.starts_with(before) {
            return Err(name(&before.join("/"), "it is both a file and a folder"));
        }
    }
    Ok(())
}

fn path(components: &[String]) -> Result<(), CreateError> {
    let whole = || components.join("/");
    if components.is_empty() {
        return Err(name("", "it has no name"));
    }
    if PATH_COMPONENTS_MAX < components.len() {
        return Err(name(&whole(), "it lies too deep"));
    }
    components.iter().try_for_each(|part| component(part, &whole()))
}

fn component(part: &str, whole: &str) -> Result<(), CreateError> {
    let problem = match part {
        "" => "a name is empty",
        "." | ".." => "a name is \".\" or \"..\"",
        _ if part.contains(['/', '\0']) => "a name contains a slash or NUL",
        _ if PATH_COMPONENT_BYTES_MAX < part.len() => "a name is too long",
        _ => return Ok(()),
    };
    Err(name(whole, problem))
}

fn name(path: &str, problem: &'static str) -> CreateError {
    CreateError::Name { path: sanitize(path).into_owned(), problem }
}

fn url(what: &'static str, text: &str, schemes: &[&str]) -> Result<(), CreateError> {
    let fine = text.len() <= URL_BYTES_MAX
        && !text.contains(|c: char| c.is_control() || c.is_whitespace())
        && text.split_once("://").is_some_and(|(scheme, rest)| {
            !rest.is_empty() && schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known))
        });
    if fine {
        Ok(())
    } else {
        Err(CreateError::Url { what, url: sanitize(&redact_addresses(text)).into_owned() })
    }
}

/// In a v2 file tree each component is a dictionary inside the last; the torrent, the info and the tree are around
/// them, the file's own dictionary is inside.
const PATH_COMPONENTS_MAX: usize = DEPTH_MAX - 4;
