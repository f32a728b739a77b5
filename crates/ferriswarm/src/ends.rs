//! What became of each of several sources: told in one summary, whose worst is the exit code.

use std::ffi::{OsStr, OsString};

use ferri_metainfo::InfoHashes;
use ferri_metainfo::display::redact_url;

use crate::console::Console;
use crate::events::{JsonEvent, SourceEnd};
use crate::exit::{Exit, Failure};
use crate::text::{harmless, shorten};
use crate::{loading, units};

/// How a source ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    /// It is the torrent of another source.
    SameAs(usize),
    Failed(Failure),
    /// Ctrl-C; the exit code is that of a disk that was in the way, if one was.
    Stopped(Exit),
}

impl Outcome {
    /// That of the source whose torrent it is, where it is another's.
    fn exit(&self, ends: &[End]) -> Exit {
        let mut outcome = self;
        // A chain is no longer than there are sources.
        for _ in ends {
            let Self::SameAs(other) = outcome else { break };
            let Some(known) = &ends[*other].outcome else { break };
            outcome = known;
        }
        match outcome {
            Self::Done | Self::SameAs(_) => Exit::Done,
            Self::Failed(failure) => failure.exit,
            Self::Stopped(exit) => *exit,
        }
    }
}

/// One source and its end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) source: OsString,
    pub(crate) hashes: Option<InfoHashes>,
    /// `None` while it has not ended.
    pub(crate) outcome: Option<Outcome>,
}

impl End {
    /// Of a source of which nothing is known yet.
    pub(crate) fn new(source: OsString) -> Self {
        Self { source, hashes: None, outcome: None }
    }
}

/// The exit code of all.
pub(crate) fn worst(ends: &[End]) -> Exit {
    let outcomes = ends.iter().filter_map(|end| end.outcome.as_ref());
    outcomes.map(|outcome| outcome.exit(ends)).max_by_key(|exit| exit.severity()).unwrap_or(Exit::Done)
}

/// Tells what became of each.
pub(crate) fn list(ends: &[End], console: &Console) {
    let mut sources = Vec::new();
    let mut lines = Vec::new();
    let mut done = 0;
    for End { source, hashes, outcome } in ends {
        let name = short_name(source);
        let Some(outcome) = outcome else { continue };
        let (word, why) = match outcome {
            Outcome::Done => ("done", None),
            Outcome::SameAs(other) => {
                ("same", Some(format!("the torrent of {}", short_name(&ends[*other].source))))
            }
            Outcome::Failed(failure) => ("failed", Some(failure.message.clone())),
            Outcome::Stopped(_) => ("stopped", None),
        };
        let exit = outcome.exit(ends);
        done += u64::from(matches!(outcome, Outcome::Done | Outcome::SameAs(_)) && exit == Exit::Done);
        let why_text = why.as_deref().map_or_else(String::new, |why| format!("  {}", harmless(why)));
        lines.push(format!("  {word:<8} {name}{why_text}"));
        sources.push(SourceEnd {
            source: name,
            info_hash: hashes.map(|hashes| hashes.wire().to_string()),
            outcome: word,
            code: exit.code(),
            message: why,
        });
    }
    console.event(&JsonEvent::Summary { sources: &sources });
    console.line(&format!("{done} of {} done", units::count(ends.len() as u64, "source", "sources")));
    for line in lines {
        console.line(&line);
    }
}

/// A source as a person knows it, without what only its server or tracker may know.
pub(crate) fn short_name(source: &OsStr) -> String {
    let text = source.to_string_lossy();
    let name = if loading::is_far(source) {
        redact_url(&text)
    } else {
        match text.split_once('&') {
            Some((link, _)) if link.to_ascii_lowercase().starts_with("magnet:") => format!("{link}&…"),
            _ => text.into_owned(),
        }
    };
    shorten(&harmless(&name), NAME_COLUMNS)
}

/// A hash with what is before it.
const NAME_COLUMNS: usize = 64;

/// Whether these name one torrent.
pub(crate) fn is_same(a: &InfoHashes, b: &InfoHashes) -> bool {
    a.v1.is_some() && a.v1 == b.v1 || a.v2.is_some() && a.v2 == b.v2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_the_same_as_one_that_failed_has_failed() {
        let mut ends: Vec<End> = ["a", "b", "c", "d"].map(|name| End::new(name.into())).into();
        ends[0].outcome = Some(Outcome::SameAs(1));
        ends[1].outcome = Some(Outcome::SameAs(2));
        ends[2].outcome = Some(Outcome::Failed(Failure::new(Exit::Network, "no peer answers")));
        ends[3].outcome = Some(Outcome::Done);
        let exits: Vec<_> =
            ends.iter().filter_map(|end| end.outcome.as_ref()).map(|outcome| outcome.exit(&ends)).collect();
        assert_eq!(exits, [Exit::Network, Exit::Network, Exit::Network, Exit::Done]);
        ends[2].outcome = Some(Outcome::Done);
        assert_eq!(worst(&ends), Exit::Done);
    }

    #[test]
    fn a_torrent_is_known_again_by_either_of_its_hashes() {
        let hashes = |v1: Option<u8>, v2: Option<u8>| InfoHashes {
            v1: v1.map(|n| [n; 20].into()),
            v2: v2.map(|n| [n; 32].into()),
        };
        for (a, b, same) in [
            ((Some(1), None), (Some(1), Some(2)), true),
            ((None, Some(2)), (Some(1), Some(2)), true),
            ((Some(1), None), (None, Some(2)), false),
            ((Some(1), Some(2)), (Some(3), None), false),
        ] {
            assert_eq!(is_same(&hashes(a.0, a.1), &hashes(b.0, b.1)), same);
        }
    }
}
