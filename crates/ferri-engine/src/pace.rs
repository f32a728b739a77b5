//! The turns of all torrents of a session, shared: `ferri_tracker::pace` decides, and each torrent asks it in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferri_metainfo::InfoHash;
use ferri_trace::machines::PaceStart;
use ferri_tracker::pace::{Input, Output, Pace};
use ferri_tracker::url::authority;

use crate::clock;
use crate::trace_file::{TraceFile, Traced};

/// Whose turn it is to announce.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<Traced<Pace>>);

/// An announce under way; over when dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    turns: Arc<Turns>,
    host: String,
}

impl Turns {
    /// Nothing is under way. What is asked for is recorded there.
    pub(crate) fn new(trace: Option<&Arc<TraceFile>>) -> Self {
        Self(Mutex::new(Traced::new(trace, "session", PaceStart {}, clock::now())))
    }

    /// Asks for a turn at a tracker's host: how long to wait for it. `had`: one that was given has come.
    pub(crate) fn ask(&self, torrent: InfoHash, host: String, had: bool, now: Instant) -> Duration {
        let mut pace = self.lock();
        pace.handle(Input::Ask { torrent, host, had }, now);
        let mut answer = Duration::ZERO;
        while let Some(Output::Turn { wait, .. }) = pace.poll_output() {
            answer = wait;
        }
        answer
    }

    /// Counts an announce to the tracker with this URL until the answer is dropped.
    pub(crate) fn flight(self: &Arc<Self>, url: &str, now: Instant) -> Flight {
        // What cannot be asked anyway has a line of its own.
        let host = authority(url).unwrap_or_default().to_owned();
        self.lock().handle(Input::Begun { host: host.clone() }, now);
        Flight { turns: self.clone(), host }
    }

    fn lock(&self) -> MutexGuard<'_, Traced<Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let host = std::mem::take(&mut self.host);
        self.turns.lock().handle(Input::Over { host }, clock::now());
    }
}
