//! Recording what the swarm machines hear and say, as JSON lines in one file, to be replayed later.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ferri_metainfo::{Bitfield, Layout};
use ferri_swarm::{Input, Output, SwarmOptions};

/// The file that all torrents of a session write to.
#[derive(Debug)]
pub(crate) struct TraceFile(Mutex<BufWriter<File>>);

impl TraceFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(BufWriter::new(File::create(path)?))))
    }

    pub(crate) fn flush(&self) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

/// One torrent's recorder.
pub(crate) struct Trace {
    _file: Arc<TraceFile>,
}

impl Trace {
    pub(crate) fn new(
        file: Arc<TraceFile>,
        _o: &SwarmOptions,
        _l: &Layout,
        _h: &Bitfield,
        _s: u64,
        _n: Instant,
    ) -> Self {
        Self { _file: file }
    }
    pub(crate) fn input(&mut self, _input: &Input, _now: Instant) {}
    pub(crate) fn output(&mut self, _output: &Output) {}
}
