//! Recording what the machines of a session hear and say, as JSON lines in one file, to be replayed later.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ferri_trace::{Machine, Recorder, first_line};

use crate::clock;

/// So many bytes go to the file at once.
const BUFFER_LENGTH: usize = 8 << 10;

/// The file that all machines of a session write to. Whole lines alone go to it, so that however the process ends there is a
/// trace that can be replayed.
#[derive(Debug)]
pub(crate) struct TraceFile {
    /// When it began: times count from then.
    since: Instant,
    lines: Mutex<Lines>,
}

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
        let lines = Lines { file: File::create_new(path)?, waiting: Vec::new() };
        let file = Self { since: clock::now(), lines: Mutex::new(lines) };
        file.line(&first_line(concat!("Ferriswarm ", env!("CARGO_PKG_VERSION"))));
        Ok(file)
    }

    fn line(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.waiting.extend(line.as_bytes());
        lines.waiting.push(b'\n');
        if BUFFER_LENGTH <= lines.waiting.len() {
            lines.flush();
        }
    }

    /// Hands what is buffered to the system.
    pub(crate) fn flush(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

/// A machine that is recorded, when the session has a trace. It is looked at as if it were alone.
#[derive(Debug)]
pub(crate) struct Traced<M: Machine> {
    machine: M,
    trace: Option<Box<Trace<M>>>,
}

#[derive(Debug)]
struct Trace<M: Machine> {
    file: Arc<TraceFile>,
    recorder: Recorder<M>,
}

impl<M: Machine> Traced<M> {
    /// Makes the machine. `of` says in the trace whose it is.
    ///
    /// # Panics
    /// When the parts of `start` do not fit each other.
    pub(crate) fn new(file: Option<&Arc<TraceFile>>, of: &str, start: M::Start, now: Instant) -> Self {
        let trace = file.map(|file| {
            let (recorder, line) = Recorder::new(of, &start, file.since, now);
            file.line(&line);
            Box::new(Trace { file: file.clone(), recorder })
        });
        let machine = M::begin(start, now).expect("its parts were made for each other");
        Self { machine, trace }
    }

    pub(crate) fn handle(&mut self, input: M::Input, now: Instant) {
        if let Some(trace) = &mut self.trace
            && let Some(line) = trace.recorder.input(&input, now)
        {
            trace.file.line(&line);
        }
        self.machine.handle(input, now);
    }

    pub(crate) fn poll_output(&mut self) -> Option<M::Output> {
        let output = self.machine.poll_output()?;
        if let Some(trace) = &mut self.trace
            && let Some(line) = trace.recorder.output(&output)
        {
            trace.file.line(&line);
        }
        Some(output)
    }

    /// The machine alone: its trace is over.
    pub(crate) fn into_inner(self) -> M {
        self.machine
    }
}

impl<M: Machine> Deref for Traced<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}
