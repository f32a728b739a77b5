//! The thread that makes the registry forget peers that went away without a word, and writes down the others.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::service::Service;
use crate::state::State;

/// As the registry wants it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps and writes until the other end of the channel is dropped, and writes once more then.
pub(crate) fn run(service: &Arc<Service>, state: Option<&State>, end: &Receiver<()>) {
    let mut written = Instant::now();
    while end.recv_timeout(SWEEP_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        service.registry.sweep(Instant::now());
        if let Some(state) = state.filter(|state| state.interval <= written.elapsed()) {
            state.write(&service.registry);
            written = Instant::now();
        }
    }
    state.inspect(|state| state.write(&service.registry));
}
