//! Writing: the lines of one machine.

use std::borrow::Cow;
use std::time::Instant;

use crate::line::{Line, write};
use crate::machines::Machine;

/// Makes the lines of one machine, each without its end.
#[derive(Debug)]
pub struct Recorder<M: Machine> {
    of: String,
    /// When the trace began.
    since: Instant,
    mask: M::Mask,
    /// Bytes of all its lines.
    bytes: u64,
}

impl<M: Machine> Recorder<M> {
    /// Begins to write about a machine that is made of `start` at `now`, in a trace that began at `since`. Returns the first
    /// line. `of` says whose it is.
    pub fn new(of: &str, start: &M::Start, since: Instant, now: Instant) -> (Self, String) {
        let mut recorder = Self { of: of.to_owned(), since, mask: M::Mask::default(), bytes: 0 };
        let start = M::shown_start(start, &mut recorder.mask);
        let at = Some(recorder.at(now));
        let line =
            write(&Line::<&M::Start, ()> { at, start: Some(&*start), ..Line::new(M::KIND, &recorder.of) });
        recorder.bytes = line.len() as u64;
        (recorder, line)
    }

    /// The line of an input, to be written before its outputs. `None` when enough was written about the machine.
    pub fn input(&mut self, input: &M::Input, now: Instant) -> Option<String> {
        if M::BYTES_MAX <= self.bytes {
            return None;
        }
        let input = M::shown_input(input, &mut self.mask);
        let at = Some(self.at(now));
        let line = write(&Line::<(), &M::Input> { at, input: Some(&*input), ..Line::new(M::KIND, &self.of) });
        self.bytes = self.bytes.saturating_add(line.len() as u64);
        if M::BYTES_MAX <= self.bytes {
            // Instead of an input whose outputs would not follow.
            let end = Some(Cow::Owned(format!("more than {} MiB", M::BYTES_MAX >> 20)));
            return Some(write(&Line::<(), ()> { at, end, ..Line::new(M::KIND, &self.of) }));
        }
        Some(line)
    }

    /// The line of an output. `None` when enough was written about the machine.
    pub fn output(&mut self, output: &M::Output) -> Option<String> {
        if M::BYTES_MAX <= self.bytes {
            return None;
        }
        let output = Some(Cow::Owned(M::text(output, &self.mask, self.since)));
        let line = write(&Line::<(), ()> { output, ..Line::new(M::KIND, &self.of) });
        // The next input is the last one when that was too much.
        self.bytes = self.bytes.saturating_add(line.len() as u64).min(M::BYTES_MAX - 1);
        Some(line)
    }

    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX)
    }
}
