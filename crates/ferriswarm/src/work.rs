//! Long work on threads of its own, shown while it lasts and ended by Ctrl-C.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::console::Console;
use crate::env::Interrupts;
use crate::exit::{Exit, Failure};
use crate::progress::View;
use crate::units;

/// How far the work is, and whether it should go on. Shared between the worker and whoever watches it.
#[derive(Debug)]
pub(crate) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    is_cancelled: AtomicBool,
}

impl Progress {
    /// `total` in bytes.
    pub(crate) fn new(total: u64) -> Self {
        Self { done: AtomicU64::new(0), total: AtomicU64::new(total), is_cancelled: AtomicBool::new(false) }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// For workers that count by themselves.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Raised when the work should end.
    pub(crate) fn cancel_flag(&self) -> &AtomicBool {
        &self.is_cancelled
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// Runs `work` on a thread that may block and shows how far it is. `None`: Ctrl-C was pressed and the work has
/// ended early.
pub(crate) async fn follow<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    progress: &Progress,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Option<T>, Failure> {
    // Whoever stops waiting for the work, by a second Ctrl-C say, also stops the work.
    let _cancel_on_drop = CancelOnDrop(progress);
    let started = Instant::now();
    let mut work = tokio::task::spawn_blocking(work);
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let live = console.live_area();
    let mut tenth = 0;
    let result = loop {
        tokio::select! {
            biased;
            () = interrupts.pressed(1), if !progress.is_cancelled() => {
                progress.is_cancelled.store(true, Ordering::Relaxed);
            }
            result = &mut work => break result,
            _ = ticks.tick() => {
                let done = progress.done.load(Ordering::Relaxed);
                let total = progress.total.load(Ordering::Relaxed);
                if console.is_live() {
                    live.set(console.table(&[View::of_work(what, done, total, started.elapsed())]));
                } else if 10 * done / total.max(1) != tenth {
                    tenth = 10 * done / total.max(1);
                    console.line(&format!("{what}  {}", units::percent(done, total)));
                }
            }
        }
    };
    drop(live);
    match result {
        Ok(_) if progress.is_cancelled() => Ok(None),
        Ok(result) => result.map(Some),
        Err(error) => Err(Failure::new(Exit::Internal, format!("{what} failed: {error}"))),
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(250);

struct CancelOnDrop<'a>(&'a Progress);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }
}
