//! The thread that makes the registry forget peers that went away without a word.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::service::Service;

/// As the registry wants it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps until whoever holds the other end lets go.
pub(crate) fn run(service: &Arc<Service>, end: &Receiver<()>) {
    while end.recv_timeout(SWEEP_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        service.registry.sweep(Instant::now());
    }
}
