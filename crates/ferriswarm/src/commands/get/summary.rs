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
        let unchecked = torrents.iter().filter(|torrent| torrent.is_unchecked()).count();
        stopped(env, console, &what_is_safe(done, wanted, (unchecked, torrents.len())));
        exit
    }
}

/// What a person has after Ctrl-C: bytes, and of how many torrents out of how many it is not known what is there.
fn what_is_safe(done: u64, wanted: u64, (unchecked, torrents): (usize, usize)) -> String {
    let have = units::size_of(done, wanted);
    match unchecked {
        _ if torrents == 0 => NOTHING.to_owned(),
        0 => format!("{have} are verified and saved"),
        _ if unchecked == torrents => {
            "what is there was not checked to the end, and nothing of it was changed".to_owned()
        }
        _ => {
            let others = units::count(unchecked as u64, "torrent was", "torrents were");
            format!("{have} are verified and saved; {others} not checked to the end")
        }
    }
}

/// No torrent was at work: its files may be whole, and were not looked at to the end.
const NOTHING: &str = "nothing was fetched, and nothing of what is there was changed";

#[cfg(test)]
mod tests {
    use super::{NOTHING, what_is_safe};

    #[test]
    fn what_was_not_looked_at_is_not_called_missing() {
        let unchecked = "what is there was not checked to the end, and nothing of it was changed";
        for (done, wanted, torrents, said) in [
            (0, 0, (0, 0), NOTHING),
            (512, 1024, (0, 1), "0.50/1 KiB are verified and saved"),
            (0, 1024, (1, 1), unchecked),
            (0, 1024, (2, 2), unchecked),
            (512, 2048, (1, 2), "0.50/2 KiB are verified and saved; 1 torrent was not checked to the end"),
        ] {
            assert_eq!(what_is_safe(done, wanted, torrents), said);
        }
    }
}
