//! What became of each source, and how the command ends.

use crate::commands::stopped;
use crate::console::Console;
use crate::ends::{self, End, Outcome};
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::units;
use crate::watch::{Goal, Watched};

pub(super) struct Summary {
    /// In the order in which they were typed.
    pub(super) ends: Vec<End>,
    pub(super) is_interrupted: bool,
    pub(super) goal: Goal,
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
        let exit = ends::worst(&self.ends);
        if 1 < self.ends.len() {
            ends::list(&self.ends, console);
        }
        let exit = if self.is_interrupted { self.interrupted(env, console, torrents, exit) } else { exit };
        match (self.ends.len(), self.ends.pop()) {
            (1, Some(End { outcome: Some(Outcome::Failed(failure)), .. })) => Err(failure),
            _ => Ok(exit),
        }
    }

    /// After a clean stop on Ctrl-C: what is safe, and how to go on.
    fn interrupted(&self, env: &Env, console: &Console, torrents: &[Watched], exit: Exit) -> Exit {
        let statuses: Vec<_> = torrents.iter().map(Watched::status).collect();
        let is_started =
            |outcome: &Option<Outcome>| !matches!(outcome, Some(Outcome::SameAs(_) | Outcome::Failed(_)));
        let expected = self.ends.iter().filter(|end| is_started(&end.outcome)).count();
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
