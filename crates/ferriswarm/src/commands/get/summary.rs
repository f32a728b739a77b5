//! What became of each source, and how the command ends.

use std::ffi::{OsStr, OsString};

use ferri_metainfo::InfoHashes;
use ferri_metainfo::display::redact_url;

use crate::commands::stopped;
use crate::console::Console;
use crate::env::Env;
use crate::events::{Event, SourceEnd};
use crate::exit::{Exit, Failure};
use crate::text::{harmless, shorten};
use crate::watch::{Goal, Watched};
use crate::{loading, units};

/// How a source ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// It is the torrent of another source.
    SameAs(usize),
    Failed(Failure),
    /// Ctrl-C; the exit code is that of a disk that was in the way, if one was.
    Stopped(Exit),
}

impl Outcome {
    fn exit(&self) -> Exit {
        match self {
            Self::Done | Self::SameAs(_) => Exit::Done,
            Self::Failed(failure) => failure.exit,
            Self::Stopped(exit) => *exit,
        }
    }
}

pub(super) struct Summary {
    /// In the order in which they were typed.
    pub(super) ends: Vec<(OsString, Option<InfoHashes>, Option<Outcome>)>,
    pub(super) is_interrupted: bool,
    pub(super) goal: Goal,
}

/// A hash with what is before it.
const NAME_COLUMNS: usize = 64;

/// A source as a person knows it, without what only its server or tracker may know.
pub(super) fn short_name(source: &OsStr) -> String {
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

impl Summary {
    /// Tells it and gives the exit code, which is the worst of all. What became of a single source is the command's own
    /// failure.
    pub(super) fn tell(
        mut self,
        env: &Env,
        console: &Console,
        torrents: &[Watched],
    ) -> Result<Exit, Failure> {
        let outcomes = || self.ends.iter().filter_map(|(.., outcome)| outcome.as_ref());
        let exit = outcomes().map(Outcome::exit).max_by_key(|exit| exit.severity()).unwrap_or(Exit::Done);
        if 1 < self.ends.len() {
            self.list(console);
        }
        let exit = if self.is_interrupted { self.interrupted(env, console, torrents, exit) } else { exit };
        match (self.ends.len(), self.ends.pop()) {
            (1, Some((.., Some(Outcome::Failed(failure))))) => Err(failure),
            _ => Ok(exit),
        }
    }

    fn list(&self, console: &Console) {
        let mut sources = Vec::new();
        let mut lines = Vec::new();
        let mut done = 0;
        for (source, hashes, outcome) in &self.ends {
            let name = short_name(source);
            let Some(outcome) = outcome else { continue };
            let (word, why) = match outcome {
                Outcome::Done => ("done", None),
                Outcome::SameAs(other) => {
                    ("same", Some(format!("the torrent of {}", short_name(&self.ends[*other].0))))
                }
                Outcome::Failed(failure) => ("failed", Some(failure.message.clone())),
                Outcome::Stopped(_) => ("stopped", None),
            };
            done += u64::from(matches!(outcome, Outcome::Done | Outcome::SameAs(_)));
            let why_text = why.as_deref().map_or_else(String::new, |why| format!("  {}", harmless(why)));
            lines.push(format!("  {word:<8} {name}{why_text}"));
            sources.push(SourceEnd {
                source: name,
                info_hash: hashes.map(|hashes| hashes.wire().to_string()),
                outcome: word,
                code: outcome.exit().code(),
                message: why,
            });
        }
        console.event(&Event::Summary { sources: &sources });
        console
            .line(&format!("{done} of {} done", units::count(self.ends.len() as u64, "source", "sources")));
        for line in lines {
            console.line(&line);
        }
    }

    /// After a clean stop on Ctrl-C: what is safe, and how to go on.
    fn interrupted(&self, env: &Env, console: &Console, torrents: &[Watched], exit: Exit) -> Exit {
        let statuses: Vec<_> = torrents.iter().map(Watched::status).collect();
        let is_started =
            |outcome: &Option<Outcome>| !matches!(outcome, Some(Outcome::SameAs(_) | Outcome::Failed(_)));
        let expected = self.ends.iter().filter(|(.., outcome)| is_started(outcome)).count();
        let is_complete = torrents.len() == expected && torrents.iter().all(Watched::is_complete);
        if is_complete && self.goal == Goal::SeedForGood && 0 < expected {
            let sent = statuses.iter().map(|status| status.uploaded).sum();
            console.line(&format!("stopped; sent {}", units::size(sent)));
            // To be stopped is how serving for good ends; what failed before still did.
            return if exit == Exit::Interrupted { Exit::Done } else { exit };
        }
        let (done, wanted) =
            statuses.iter().fold((0, 0), |(done, wanted), s| (done + s.wanted_done, wanted + s.wanted));
        let what = if torrents.is_empty() {
            "nothing was downloaded yet".to_owned()
        } else {
            format!("{} are verified and saved", units::size_of(done, wanted))
        };
        stopped(env, console, &what);
        exit
    }
}
