//! Long work on threads of its own, shown while it lasts and ended by Ctrl-C.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferri_engine::Halt;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use crate::console::Console;
use crate::env::Interrupts;
use crate::exit::{Exit, Failure};
use crate::progress::View;
use crate::units;

/// How far the work is, and whether it should go on. Shared between the worker and the thread that watches it.
#[derive(Debug)]
pub(crate) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    unit: Unit,
    halt: Halt,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    /// How many there are is not known.
    Files,
}

impl Progress {
    /// `total` in bytes.
    pub(crate) fn new(total: u64) -> Self {
        Self::counting(Unit::Bytes, total)
    }

    /// Of files, of which it is not known how many there will be.
    pub(crate) fn of_files() -> Self {
        Self::counting(Unit::Files, 0)
    }

    fn counting(unit: Unit, total: u64) -> Self {
        Self { done: AtomicU64::new(0), total: AtomicU64::new(total), unit, halt: Halt::default() }
    }

    /// So many more bytes or files.
    pub(crate) fn add(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    /// For workers that count by themselves.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Raised when the work should end.
    pub(crate) fn halt(&self) -> &Halt {
        &self.halt
    }

    fn view(&self, what: &str, since: Duration) -> View {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        match self.unit {
            Unit::Bytes => View::of_work(what, done, total, since),
            Unit::Files => View::of_files(what, done, since),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.halt.is_raised()
    }
}

/// When live lines are drawn and snapshots looked at.
pub(crate) fn looks() -> Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until `next` gives something, and has `tell` say what is waited for. `None`: Ctrl-C. `next` may be dropped while it
/// waits.
pub(crate) async fn wait_for<S, T>(
    state: &mut S,
    next: impl AsyncFn(&mut S) -> Result<Option<T>, Failure>,
    tell: impl Fn(&mut S) -> Result<(), Failure>,
    interrupts: &Interrupts,
) -> Result<Option<T>, Failure> {
    let mut ticks = looks();
    loop {
        tokio::select! {
            biased;
            () = interrupts.pressed(1) => return Ok(None),
            found = next(state) => if let Some(found) = found? {
                return Ok(Some(found));
            },
            _ = ticks.tick() => tell(state)?,
        }
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
    follow_until(what, work, progress, (console, interrupts), None).await
}

/// The same for work that only looks. After Ctrl-C it is waited for no longer than [`PATIENCE`]: a disk may sleep, and
/// nothing is left to be tidied.
pub(crate) async fn look<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    progress: &Progress,
    console: &Console,
    interrupts: &Interrupts,
) -> Result<Option<T>, Failure> {
    follow_until(what, work, progress, (console, interrupts), Some(PATIENCE)).await
}

async fn follow_until<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    progress: &Progress,
    (console, interrupts): (&Console, &Interrupts),
    patience: Option<Duration>,
) -> Result<Option<T>, Failure> {
    // A caller that stops waiting for the work, by a second Ctrl-C say, also stops the work.
    let _cancel_on_drop = CancelOnDrop(progress);
    let started = Instant::now();
    let mut work = tokio::task::spawn_blocking(work);
    let mut ticks = looks();
    let live = console.live_area();
    let mut told = Told::default();
    let mut gives_up_at = None;
    let result = loop {
        tokio::select! {
            biased;
            () = interrupts.pressed(1), if !progress.is_cancelled() => {
                progress.halt.raise();
                gives_up_at = patience.map(|patience| tokio::time::Instant::now() + patience);
            }
            result = &mut work => break result,
            () = sleep_until(gives_up_at.unwrap_or_else(tokio::time::Instant::now)), if gives_up_at.is_some() => {
                return Ok(None);
            }
            _ = ticks.tick() => {
                if console.is_live() {
                    live.set(console.table(&[progress.view(what, started.elapsed())]));
                } else if let Some(news) = told.news(progress, started.elapsed()) {
                    console.line(&format!("{what}{news}"));
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
/// Work that was told to stop has so long to do it.
const PATIENCE: Duration = Duration::from_millis(500);
/// An output that cannot be rewritten hears of what takes longer than this.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// What an output that cannot be rewritten has heard.
#[derive(Debug, Default)]
struct Told {
    tenth: u64,
    is_begun: bool,
}

impl Told {
    /// Each tenth of bytes, and files once.
    fn news(&mut self, progress: &Progress, since: Duration) -> Option<String> {
        let (done, total) = (progress.done.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
        if progress.unit == Unit::Files {
            let is_due = TOLD_AFTER <= since && !self.is_begun;
            self.is_begun |= is_due;
            return is_due.then(String::new);
        }
        let tenth = 10 * done / total.max(1);
        let is_due = tenth != self.tenth;
        self.tenth = tenth;
        is_due.then(|| format!("  {}", units::percent(done, total)))
    }
}

struct CancelOnDrop<'a>(&'a Progress);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.halt.raise();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use tokio::sync::watch;

    use super::*;
    use crate::console::Wanted;
    use crate::env::InterruptSource;
    use crate::testing;

    #[tokio::test]
    async fn nobody_waits_after_ctrl_c_for_a_look_that_hangs() {
        let (mut env, _captured) = testing::env(&[]);
        let (_presses, pressed) = watch::channel(1);
        env.interrupts = InterruptSource::Count(pressed);
        let (_never, wait) = mpsc::channel::<()>();
        let hang = move || {
            let _ = wait.recv();
            Ok(())
        };
        let progress = Progress::new(1);
        let console = Console::new(&env, Wanted::default(), None);
        let looked = look("looking", hang, &progress, &console, &env.interrupts.listen()).await;
        assert!(looked.unwrap().is_none() && progress.is_cancelled());
    }
}
