//! Tasks that panic: it is logged with its name and place, and the parts that count on the task hear of it.
//!
//! The runtime keeps a panic for the caller that joins the task, and ours are not joined before the session ends. So
//! what may panic is [`caught`], and what has to be there for as long as the session is [`kept`].

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// What is begun again after a panic waits so long at first, and twice as long each further time...
const AGAIN_MIN: Duration = Duration::from_secs(1);
/// ...up to this: what fails again and again is told of now and then, and costs next to nothing.
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// What went well for so long may begin again soon.
const WENT_WELL: Duration = Duration::from_secs(600);

/// What a task said when it panicked, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    text: String,
    /// File and line.
    place: Option<String>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} at {place}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl Panic {
    fn new(payload: &(dyn Any + Send), place: Option<String>) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self { text: text.unwrap_or_else(|| "it gave no reason".to_owned()), place }
    }
}

thread_local! {
    /// This thread runs something that is caught.
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
    /// Where it panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has the places of panics noted from here on: only the process's panic hook is told of them. The hook that is there goes
/// on as before.
pub(crate) fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_CATCHING.get() {
                PLACE.set(info.location().map(ToString::to_string));
            }
            hook(info);
        }));
    });
}

/// Does something that may panic.
pub(crate) fn caught_now<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    let was_catching = IS_CATCHING.replace(true);
    // What a panic left half done is seen only by the code that drops it.
    let result = catch_unwind(AssertUnwindSafe(f));
    IS_CATCHING.set(was_catching);
    result.map_err(|payload| Panic::new(&*payload, PLACE.take()))
}

/// Runs a future that may panic.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Panic> {
    let mut future = Box::pin(future);
    poll_fn(move |context| match caught_now(|| future.as_mut().poll(context)) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Runs a part of the session, and begins it again when it panicked.
pub(crate) async fn kept<F: Future<Output = ()>>(
    part: &'static str,
    stop: CancellationToken,
    begin: impl FnMut() -> F,
) {
    kept_after(AGAIN_MIN, part, stop, begin).await;
}

async fn kept_after<F: Future<Output = ()>>(
    first: Duration,
    part: &'static str,
    stop: CancellationToken,
    mut begin: impl FnMut() -> F,
) {
    let mut pause = first;
    loop {
        let began = Instant::now();
        let Err(panic) = caught(begin()).await else { return };
        if WENT_WELL <= began.elapsed() {
            pause = first;
        }
        tracing::error!(part, %panic, ?pause, "a part of the session failed by a fault of ours; it begins again");
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        pause = AGAIN_MAX.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_panic_is_known_by_its_words_and_its_place() {
        note_places();
        let place = format!("{}:{}:", file!(), line!() + 1);
        let panic = caught(async { panic!("{} apples", 3) }).await.map(|(): ()| ()).unwrap_err();
        let said = panic.to_string();
        assert!(said.starts_with(&format!("3 apples at {place}")), "{said}");
        let quiet = caught(async { std::panic::resume_unwind(Box::new(7)) }).await.map(|(): ()| ());
        assert_eq!(quiet.unwrap_err().to_string(), "it gave no reason");
        assert_eq!(caught(async { 5 }).await, Ok(5));
    }

    #[tokio::test]
    async fn a_part_that_panics_begins_again_until_it_ends_or_is_stopped() {
        let stop = CancellationToken::new();
        let mut runs = 0;
        kept_after(Duration::from_millis(1), "a test", stop.clone(), || {
            runs += 1;
            let run = runs;
            async move { assert!(3 <= run, "on purpose") }
        })
        .await;
        assert_eq!(runs, 3);
        let mut runs = 0;
        let kept = kept_after(Duration::from_secs(3600), "a test", stop.clone(), || {
            runs += 1;
            async { panic!("on purpose") }
        });
        tokio::join!(kept, async { stop.cancel() });
        assert_eq!(runs, 1);
    }
}
