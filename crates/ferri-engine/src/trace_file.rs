//! Recording what the swarm machines hear and say, as JSON lines in one file, to be replayed later.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ferri_metainfo::{Bitfield, Layout};
use ferri_swarm::trace::Recorder;
use ferri_swarm::{Input, Output, SwarmOptions};

/// The file that all torrents of a session write to.
#[derive(Debug)]
pub(crate) struct TraceFile(Mutex<BufWriter<File>>);

impl TraceFile {
    /// A new file; what is there already is never replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(BufWriter::new(File::create_new(path)?))))
    }

    fn line(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A trace that cannot be written must not stop a download; the reader sees that it ends early.
        let _ = writeln!(file, "{line}");
    }

    /// Hands what is buffered to the system.
    pub(crate) fn flush(&self) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
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
