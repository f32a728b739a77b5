//! An [`Env`] whose streams can be read afterwards, for the unit tests of this crate.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::env::{Env, Input, InterruptSource, Width};
use crate::sink::Sink;

/// What a command printed so far.
pub(crate) struct Captured {
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    sinks: Vec<Sink>,
}

impl Captured {
    pub(crate) fn stdout(&self) -> String {
        self.settle();
        read(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        self.settle();
        read(&self.stderr)
    }

    fn settle(&self) {
        self.sinks.iter().for_each(Sink::settle);
    }
}

/// No terminal, 80 columns, no variables, no Ctrl-C, folder `/`.
pub(crate) fn env(args: &[&str]) -> (Env, Captured) {
    let mut captured = Captured { stdout: Arc::default(), stderr: Arc::default(), sinks: Vec::new() };
    let (_, interrupts) = watch::channel(0);
    let env = Env {
        args: args.iter().map(Into::into).collect(),
        dir: PathBuf::from("/"),
        stdin: Input(Box::new(io::empty())),
        stdout: Sink::new(Shared(captured.stdout.clone())),
        stderr: Sink::new(Shared(captured.stderr.clone())),
        is_tty: false,
        is_err_tty: false,
        width: Width::Fixed(80),
        vars: BTreeMap::new(),
        interrupts: InterruptSource::Count(interrupts),
        start_logging: |_, _| {},
    };
    captured.sinks = vec![env.stdout.clone(), env.stderr.clone()];
    (env, captured)
}

fn read(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
