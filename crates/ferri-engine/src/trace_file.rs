//! Recording what the swarm machines hear and say, as JSON lines in one file, to be replayed later.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ferri_metainfo::{Bitfield, Layout};
use ferri_swarm::trace::Recorder;
use ferri_swarm::{Input, Output, SwarmOptions};

/// So many bytes go to the file at once.
const BUFFER_LENGTH: usize = 8 << 10;

/// The file that all torrents of a session write to. Whole lines alone go to it, so that however the process ends there is a
/// trace that can be replayed.
#[derive(Debug)]
pub(crate) struct TraceFile(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    file: File,
    /// Whole lines that are still to be written.
    waiting: Vec<u8>,
}

impl Lines {
    /// A trace that cannot be written must not stop a download; the reader sees that it ends early.
    fn flush(&mut self) {
        let _ = self.file.write_all(&self.waiting);
        self.waiting.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

impl TraceFile {
    /// A new file; what is there already is never replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(Lines { file: File::create_new(path)?, waiting: Vec::new() })))
    }

    fn line(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.waiting.extend(line.as_bytes());
        lines.waiting.push(b'\n');
        if BUFFER_LENGTH <= lines.waiting.len() {
            lines.flush();
        }
    }

    /// Hands what is buffered to the system.
    pub(crate) fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

/// One torrent's recorder.
#[derive(Debug)]
pub(crate) struct Trace {
    file: Arc<TraceFile>,
    recorder: Recorder,
}

impl Trace {
    /// Begins with what the machine is made of.
    pub(crate) fn new(
        file: Arc<TraceFile>,
        options: &SwarmOptions,
        layout: &Layout,
        have: &Bitfield,
        seed: u64,
        now: Instant,
    ) -> Self {
        let (recorder, line) = Recorder::new(options, layout, have, seed, now);
        file.line(&line);
        Self { file, recorder }
    }

    pub(crate) fn input(&self, input: &Input, now: Instant) {
        self.file.line(&self.recorder.input(input, now));
    }

    pub(crate) fn output(&self, output: &Output) {
        self.file.line(&self.recorder.output(output));
    }
}
